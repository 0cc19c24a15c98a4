"""Writes images as a file that container runtimes load (`docker save`'s format), without an engine."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PLATFORM = {"architecture": "amd64", "os": "linux"}
PROGRAMS = "usr/local/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """names: with tag, all for the same image. layers: tar archives, the lowest first. program: to run by default."""

    names: Sequence[str]
    layers: Sequence[Path]
    program: str


def write_layer(file: Path, program: Path, links: Mapping[str, str]) -> None:
    """Write a layer with one program in /usr/local/bin and symbolic links (path without the first slash -> target).

    The same bytes for the same content: no times, no users.
    """
    with tarfile.open(file, "w") as layer:
        entry = tarfile.TarInfo(f"{PROGRAMS}/{program.name}")
        entry.mode, entry.size = 0o755, program.stat().st_size
        with program.open("rb") as content:
            layer.addfile(entry, content)
        for path, target in links.items():
            link = tarfile.TarInfo(path)
            link.type, link.linkname = tarfile.SYMTYPE, target
            layer.addfile(link)


def write_archive(file: Path, images: Sequence[Image]) -> None:
    """Write all images into one file; a layer that several have is written once."""
    layers = sorted({layer for image in images for layer in image.layers})
    digests = {layer: _digest(layer) for layer in layers}
    manifest = []
    with tarfile.open(file, "w") as archive:
        for layer in layers:
            archive.add(layer, f"{digests[layer]}.tar")
        for image in images:
            described = [digests[layer] for layer in image.layers]
            config = _describe(image.program, described)
            name = f"{hashlib.sha256(config).hexdigest()}.json"
            _add(archive, name, config)
            files = [f"{digest}.tar" for digest in described]
            manifest.append({"Config": name, "RepoTags": list(image.names), "Layers": files})
        _add(archive, "manifest.json", json.dumps(manifest).encode())


def _describe(program: str, digests: Sequence[str]) -> bytes:
    path = f"PATH=/{PROGRAMS}:/usr/sbin:/usr/bin:/sbin:/bin"
    config = {"Entrypoint": [f"/{PROGRAMS}/{program}"], "Env": [path]}
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]}
    return json.dumps({**PLATFORM, "config": config, "rootfs": rootfs}).encode()


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
