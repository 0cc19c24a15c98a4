"""Images with Debian in them, made from packages alone: for machines that cannot pull one.

On the command line (with tests/ on the path): `python -m support.debian_image TAG PACKAGE ...`.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from forebay_cli.local.downloads import choose_cache_folder, fill_once
from forebay_cli.local.process import find_program, run_step
from support.docker_engine import open_engine

SUITE = "bookworm"
BUILD_S = 900.0
"""Deadline: 25-50 s on two free cores with packages near by."""
UNNEEDED = ("doc", "man", "locale", "info", "lintian")
"""Folders of /usr/share that no program reads."""
HOST_SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
"""Where this machine gets Debian from, if it is one: perhaps a mirror, where others cannot be reached."""
HOST_OPTIONS = Path("/etc/apt/apt.conf.d")
FORGET = 'cd "$1" && rm -rf etc/apt/sources.list* etc/apt/apt.conf.d/99* var/lib/apt/lists/* var/cache var/log/*'
"""The result tells nothing of where it was made, and is smaller."""

MERGED = "usr-is-merged"
"""For a system whose /usr is merged from the start; else Debian brings usrmerge, and with it 55 MB of Perl."""
MERGING_HOOKS = Path("/usr/share/mmdebstrap/hooks/merged-usr")


def debian_image(tag: str, packages: Sequence[str]) -> None:
    """Have an image of that tag in the engine: Debian's smallest system plus packages, in PATH's usual places, as root.

    Made once for a list of packages and kept as a tar archive in the cache. Raises MissingProgram, ServerNotReady with
    the end of mmdebstrap's log, and what open_engine raises.
    """
    engine = open_engine()
    label = f"dev.forebay.debian={hash_packages(packages)}"
    if engine.docker("images", "--quiet", "--filter", f"label={label}", tag):
        return
    path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    change = ["--change", path, "--change", f"LABEL {label}"]
    engine.docker("import", *change, str(debian_archive(packages)), tag)


def debian_archive(packages: Sequence[str], variant: str = "minbase") -> Path:
    """Return the root file system as a tar archive in the cache.

    variant: mmdebstrap's word; `extract` gives the packages' files and their dependencies' only, nothing set up.
    """
    folder = choose_cache_folder(os.environ) / f"debian-{SUITE}-{variant}-{hash_packages(packages)}"
    return fill_once(folder, lambda draft: _assemble(draft, packages, variant)) / "root.tar"


def hash_packages(packages: Sequence[str]) -> str:
    """The same for the same set of packages, made in the same way."""
    return hashlib.sha256(repr((SUITE, sorted(packages), UNNEEDED, FORGET)).encode()).hexdigest()[:12]


def _assemble(draft: Path, packages: Sequence[str], variant: str) -> None:
    options = ["--format=tar", f"--variant={variant}", f"--include={','.join(sorted(packages))}"]
    if MERGED in packages:
        options.append(f"--hook-dir={MERGING_HOOKS}")
    options += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNNEEDED]
    options += [f"--aptopt={file}" for file in sorted(HOST_OPTIONS.glob("99*"))]
    options += ["--aptopt=Acquire::Languages none", f"--customize-hook={FORGET}"]
    # Java's packages link their manual pages there and fail without the folder.
    options += ['--essential-hook=mkdir -p "$1"/usr/share/man/man1']
    sources = [file for file in HOST_SOURCES if file.exists() and "debian" in file.read_text()][:1]
    argv = [find_program("mmdebstrap", "mmdebstrap"), *options, SUITE, draft / "root.tar", *sources]
    run_step("the assembly of a Debian image", argv, draft / "mmdebstrap.log", BUILD_S, cwd=draft)


if __name__ == "__main__":
    debian_image(sys.argv[1], sys.argv[2:])
