"""One cluster for all workers of a run (pytest-xdist), and turns: who disturbs all others works alone."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forebay_cli.local.downloads import locked
from support.kind_cluster import ClusterSettings, KindCluster


class Turns:
    """Of the processes of one run: several that bear each other at a time, or one alone.

    Who waits to be alone gets the turn when nobody else is at work; the kernel ends the turn of a process that died.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / "turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self, *, alone: bool) -> None:
        """Wait for it."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)

    def release(self) -> None:
        """Let others have theirs."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)


@contextmanager
def share_cluster(folder: Path, turns: Turns) -> Iterator[KindCluster]:
    """The cluster of all processes that share the folder: made by the first, removed by it after all have left.

    The caller must be in its turn, and has none any more when this returns: to wait for others in it would hold up
    the one that waits to be alone.
    """
    with (folder / "users").open("w") as users:
        with locked(folder / "cluster"):
            name = folder / "cluster"
            is_maker = not name.exists()
            cluster = KindCluster(None if is_maker else ClusterSettings(keep=name.read_text(), is_anothers=True))
            cluster.__enter__()
            name.write_text(cluster.name)
            fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield cluster
        finally:
            turns.release()
            fcntl.flock(users, fcntl.LOCK_UN)
            if is_maker:
                with locked(name):  # who comes now makes another one
                    name.unlink()
                fcntl.flock(users, fcntl.LOCK_EX)
            cluster.__exit__(None, None, None)
