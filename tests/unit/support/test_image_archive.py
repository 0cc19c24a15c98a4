"""An archive of images holds each layer once, under its digest, and names everything that a runtime looks for."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

from support.debian_image import hash_packages
from support.image_archive import Image, write_archive, write_layer


def test_archive_describes_its_images(tmp_path: Path) -> None:
    program = tmp_path / "tool"
    program.write_text("#!/bin/sh\n")
    own, shared = tmp_path / "own.tar", tmp_path / "shared.tar"
    write_layer(own, program, {"usr/sbin/alias": "tool"})
    write_layer(shared, program, {})
    images = [
        Image(names=["one:1", "one:2"], layers=[shared, own], program="tool"),
        Image(names=["two:1"], layers=[shared], program="tool"),
    ]

    write_archive(tmp_path / "images.tar", images)

    members, manifest = _read(tmp_path / "images.tar")
    assert [image["RepoTags"] for image in manifest] == [["one:1", "one:2"], ["two:1"]]
    assert manifest[0]["Layers"][:1] == manifest[1]["Layers"]
    for image in manifest:
        config = json.loads(members[image["Config"]])
        digests = [hashlib.sha256(members[layer]).hexdigest() for layer in image["Layers"]]
        assert config["rootfs"]["diff_ids"] == [f"sha256:{digest}" for digest in digests]
        assert config["config"]["Entrypoint"] == ["/usr/local/bin/tool"]
    assert len(members) == 2 + 2 + 1


def test_layer_is_the_same_wherever_it_is_made(tmp_path: Path) -> None:
    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        (folder / "tool").write_text("content")
        write_layer(folder / "layer.tar", folder / "tool", {"bin/alias": "../usr/local/bin/tool"})
        written.append((folder / "layer.tar").read_bytes())
    assert written[0] == written[1]
    with tarfile.open(tmp_path / "a" / "layer.tar") as layer:
        assert layer.getmember("usr/local/bin/tool").mode == 0o755
        assert layer.getmember("bin/alias").linkname == "../usr/local/bin/tool"


def test_order_of_packages_does_not_make_another_image() -> None:
    assert hash_packages(["a", "b"]) == hash_packages(("b", "a"))
    assert hash_packages(["a"]) != hash_packages(["a", "b"])


def _read(file: Path) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    with tarfile.open(file) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr] # files only
    return members, json.loads(members["manifest.json"])
