"""The cache of what is fetched or built once and kept outside the checkout."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from forebay_cli.local.process import create_guarded_folder


def choose_cache_folder(env: Mapping[str, str]) -> Path:
    """Return $FOREBAY_CACHE, else forebay in $XDG_CACHE_HOME, else ~/.cache/forebay (empty = unset)."""
    if own := env.get("FOREBAY_CACHE"):
        return Path(own).absolute()
    if shared := env.get("XDG_CACHE_HOME"):
        return Path(shared).absolute() / "forebay"
    return Path(env.get("HOME") or Path.home()) / ".cache" / "forebay"


def fill_once(target: Path, fill: Callable[[Path], None]) -> Path:
    """Return the folder target, made by fill(empty folder) if it does not exist yet; its parent is created.

    Whole or not at all: filled under another name, then renamed. Parallel callers wait for the first.
    """
    if target.is_dir():
        return target
    with locked(target):
        if not target.is_dir():
            draft = create_guarded_folder(target.parent, prefix=f".{target.name}-")
            try:
                fill(draft)
                draft.chmod(0o755)
                draft.rename(target)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    return target


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock that belongs to the target; the kernel releases it when its holder dies."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
