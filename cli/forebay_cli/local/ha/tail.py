"""Makes a primary's last commits exist nowhere else: its walsenders are stopped while it goes on."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.ha.cluster import HaCluster
from forebay_cli.local.ha.patroni_member import PatroniMember
from forebay_cli.local.process_table import read_process, send_signal

LOOK = """
    SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), coalesce(string_agg(pid::text, ' '), '')
    FROM pg_stat_replication;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LostTail:
    """Bytes of WAL: from: no replica has more. to: written at least when the node was killed.

    complete: it was killed because enough had happened, not because time was up.
    """

    from_position: int
    to_position: int
    complete: bool


class TailCutter:
    """Cuts the replicas of one primary off from its WAL."""

    def __init__(self, cluster: HaCluster, node: PatroniMember) -> None:
        self._cluster = cluster
        self._node = node

    def cut(self, enough: Callable[[], bool] | None, wal_bytes: int, timeout_s: float) -> LostTail:
        """Stop the walsenders, and wait for enough (None: for wal_bytes). The node is to be killed at once after."""
        self._stop_senders()
        from_position = self._stop_senders()
        reached = [from_position]

        def is_enough() -> bool:
            # Again and again: a replica that hears nothing for wal_receiver_timeout asks for a new walsender.
            reached[0] = self._stop_senders()
            return reached[0] - from_position >= wal_bytes if enough is None else enough()

        complete = wait_until(is_enough, timeout_s)
        return LostTail(from_position=from_position, to_position=reached[0], complete=complete)

    def _stop_senders(self) -> int:
        """Stop those that there are; return the primary's position before that."""
        position, pids = self._cluster.run_sql(LOOK, parts=self._node.admin()).split("\t")
        senders = [entry for pid in pids.split() if (entry := read_process(int(pid))) is not None]
        send_signal(senders, signal.SIGSTOP)
        return int(position)
