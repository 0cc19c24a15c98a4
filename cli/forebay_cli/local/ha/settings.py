"""What a highly available PostgreSQL on this machine shall be like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Durability(StrEnum):
    """What an acknowledged commit has survived; Patroni's synchronous_mode."""

    ASYNCHRONOUS = "asynchronous"
    """Written by the primary alone: a failover may lose the last commits."""
    SYNCHRONOUS = "synchronous"
    """Also by one chosen standby; asynchronous while there is none."""
    STRICT = "strict"
    """Also by one standby; commits wait for ever while there is none."""
    QUORUM = "quorum"
    """Also by any one standby; asynchronous while there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Patroni's own clock, in seconds. docs/haproxy.md says what it costs in a failover."""

    ttl_s: int
    loop_wait_s: int
    retry_timeout_s: int
    primary_start_timeout_s: int
    """How long a crashed primary may take to come back before another member takes over; 0 = not at all."""


FAST = Timing(ttl_s=20, loop_wait_s=1, retry_timeout_s=3, primary_start_timeout_s=0)
"""The shortest that Patroni accepts."""
DEFAULT = Timing(ttl_s=30, loop_wait_s=10, retry_timeout_s=10, primary_start_timeout_s=300)
"""What Patroni does when it is told nothing."""

QUICK_PARAMETERS = {"fsync": "off"}
"""No waiting for the disk: processes are killed here, not the machine, and the kernel keeps what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HaSettings:
    """How the cluster runs."""

    durability: Durability = Durability.ASYNCHRONOUS
    members: int = 3
    timing: Timing = FAST
    failsafe: bool = False
    """Patroni's failsafe_mode: the primary stays one while etcd is away, as long as it reaches every member."""
    network: bool = False
    """Put a small proxy before each member and before its etcd, so that they can be cut off or slowed. Costs CPU."""
    max_connections: int = 100
    maximum_lag_bytes: int = 64 * 1024 * 1024
    """How far behind a standby may be and still become primary. Patroni's default, 1 MiB, is less than half a second of
    a flood: whether anybody is promoted then depends on when the old primary last wrote its position to etcd."""
    parameters: Mapping[str, str] = field(default_factory=lambda: QUICK_PARAMETERS)
    """Lines of postgresql.conf, the same for all members."""
    start_timeout_s: float = 180.0
    """From nothing to healthy; about 10 s on a free machine."""

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names."""
        return tuple(f"pg{number}" for number in range(1, self.members + 1))
