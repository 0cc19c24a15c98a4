"""Patroni itself: a wheel of its own, pinned, kept in the cache; what it imports is Debian's.

It runs in a Python of the system's, since the server's user may not reach ours (a virtual environment below /root).
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from forebay_cli.local.downloads import fill_once
from forebay_cli.local.process import run_step
from forebay_cli.local.server_errors import MissingProgram

REQUIREMENTS = Path(__file__).with_name("patroni.txt")
SYSTEM_PYTHON = "/usr/bin/python3"
IMPORTS = ("click", "dateutil", "etcd", "psutil", "psycopg2", "urllib3", "yaml")
"""What Patroni needs; each is Debian's package python3-NAME, and etcd's brings dns."""
DOWNLOAD_S = 300.0
"""Deadline of the download, 0.4 MB."""
COMPILE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PatroniProgram:
    """How Patroni is started; packages: the folder for PYTHONPATH."""

    python: str
    packages: Path

    @property
    def command(self) -> list[str]:
        """The start of its command line."""
        return [self.python, "-m", "patroni"]

    @property
    def environment(self) -> dict[str, str]:
        """Its whole environment: nothing of ours, a proxy or PATRONI_... least of all."""
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(self.packages)}


def fetch_patroni(cache: Path) -> Path:
    """Return Patroni's wheel, after a download where the cache lacks it. Raises ServerNotReady."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]

    def download(draft: Path) -> None:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        argv = [*pip, "--only-binary", ":all:", "--requirement", REQUIREMENTS, "--dest", draft]
        run_step("the download of Patroni", argv, draft / "download.log", DOWNLOAD_S)

    (wheel,) = fill_once(cache / f"patroni-{digest}", download).glob("*.whl")
    return wheel


def unpack_patroni(cache: Path, folder: Path, user: str | None) -> PatroniProgram:
    """Put Patroni into the folder, where user (None = our own) can read it, and find a Python that runs it.

    Raises MissingProgram when no Python has what Patroni imports.
    """
    python = _find_python(user)
    wheel = fetch_patroni(cache)
    unpacked = fill_once(wheel.parent.with_name(f"{wheel.parent.name}-unpacked"), lambda draft: _unpack(wheel, draft))
    shutil.copytree(unpacked, folder)
    return PatroniProgram(python=python, packages=folder)


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith("patroni/")])
    for each in folder.rglob("*"):
        each.chmod(0o755 if each.is_dir() else 0o644)
    # The members' user cannot write there: without this each start would compile everything again.
    run_step("compiling Patroni", [SYSTEM_PYTHON, "-m", "compileall", "-q", folder], folder / "compile.log", COMPILE_S)


def _find_python(user: str | None) -> str:
    for python in (SYSTEM_PYTHON, sys.executable):
        if _can_run(python, user):
            return python
    packages = " ".join(f"python3-{name}" for name in IMPORTS)
    raise MissingProgram(f"what Patroni needs in {SYSTEM_PYTHON} ({', '.join(IMPORTS)})", packages)


def _can_run(python: str, user: str | None) -> bool:
    """Tell whether the user can start this Python, and whether it has everything that Patroni imports."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            [python, "-c", f"import dns, {', '.join(IMPORTS)}"],
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            env={"PATH": "/usr/bin:/bin"},
            cwd="/",
            capture_output=True,
            check=False,
        )
    except OSError:  # no such program, or not for this user
        return False
    return done.returncode == 0
