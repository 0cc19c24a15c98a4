"""Files of the local runtime: where a pipeline's state lives, who runs it, and replacing a file at once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from forebay_cli.errors import Refused


def choose_state_root(env: Mapping[str, str]) -> Path:
    """$XDG_STATE_HOME/forebay, else ~/.local/state/forebay."""
    base = env.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "forebay"


def write_atomically(path: Path, text: str) -> None:
    """Replace a file at once: a reader sees the old text or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


@contextmanager
def hold_pid_file(folder: Path) -> Iterator[None]:
    """Be the only runtime of this folder's pipeline. Raises Refused when another one is.

    The lock, not the number in the file, says who runs: it goes with the process however that ends.
    """
    path = folder / "pid"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = path.read_text().strip() or "unknown"
            raise Refused(
                f"the pipeline runs already (pid {pid}, {folder}); stop it with: forebay local down"
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def read_running_pid(folder: Path) -> int | None:
    """The runtime's process id; None when none runs."""
    path = folder / "pid"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = path.read_text().strip()
        return int(text) if text else None
    finally:
        os.close(descriptor)
    return None
