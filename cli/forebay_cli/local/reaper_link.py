"""The parent's end of the reaper (reaper.py): one for each process that starts servers, made when first needed."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from pathlib import Path

from forebay_cli.local.server_errors import UnsupportedSystem

PROCESS_TABLE = Path("/proc/self/stat")

CLOSE_S = 20.0
"""How long an ending program waits for its reaper to have cleaned up; above the reaper's own deadlines."""


class Reaper:
    """A running reaper. Children get its pipe as standard input and register themselves (process.py)."""

    def __init__(self) -> None:
        read_end, self.pipe = os.pipe()
        self.owner = os.getpid()
        with open(read_end, "rb") as end:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "forebay_cli.local.reaper", str(self.owner)],
                stdin=end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )

    def is_running(self) -> bool:
        """Tell whether it is there to clean up."""
        return self._process.poll() is None

    def guard_folder(self, folder: Path) -> None:
        """Have the folder removed when this process ends."""
        os.write(self.pipe, f"folder {folder.absolute()}\n".encode())

    def close(self) -> None:
        """End all children, remove all guarded folders, and wait for that."""
        os.close(self.pipe)
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_reaper: Reaper | None = None
_opening = threading.Lock()


def open_reaper() -> Reaper:
    """Return this process's reaper, a new one after a fork or when the old one was killed."""
    global _reaper
    if not PROCESS_TABLE.exists():
        raise UnsupportedSystem
    with _opening:
        if _reaper is None or _reaper.owner != os.getpid() or not _reaper.is_running():
            _reaper = Reaper()
        return _reaper


def close_reaper() -> None:
    """End everything now; a program that ends in the ordinary way does it by itself."""
    global _reaper
    if _reaper is not None and _reaper.owner == os.getpid():
        reaper, _reaper = _reaper, None
        reaper.close()


atexit.register(close_reaper)
