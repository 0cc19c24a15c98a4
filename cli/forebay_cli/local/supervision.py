"""Which consumer processes to start, to ask to leave, to kill and to forget. Pure; times are monotonic seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FIRST_PAUSE_S = 1.0
"""Before a consumer that ended by itself is started again the first time."""

LONGEST_PAUSE_S = 60.0
"""Between starts that keep failing: an hour of it costs sixty starts, and a repair is noticed within a minute."""

PROVEN_AFTER_S = 30.0
"""A consumer that ran this long was no failed start: the pauses begin anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervised:
    """One consumer process. number: grows with each start. revision: of the spec that it was made from.

    leaves_by: when it is killed; None = it was not asked to leave. exit_code: None while it runs.
    """

    number: int
    revision: str
    started_at: float
    is_ready: bool = False
    leaves_by: float | None = None
    exit_code: int | None = None

    @property
    def stays(self) -> bool:
        """It runs and was not asked to leave."""
        return self.exit_code is None and self.leaves_by is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start this many consumers of the present revision."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """SIGTERM: drain and end within the grace period."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """SIGKILL: the grace period is over."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """It has ended. is_failure: nobody had asked it to."""

    number: int
    is_failure: bool


Step = Start | Ask | Kill | Forget


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Consumers that ended by themselves, one after the other. not_before: no start earlier than this."""

    count: int = 0
    not_before: float = 0.0


def plan_steps(
    consumers: Sequence[Supervised], *, wanted: int, revision: str, failures: Failures, now: float
) -> tuple[Step, ...]:
    """What to do now so that `wanted` consumers of `revision` run.

    The newest leave first: the oldest hold most of what is warm. Outdated ones are replaced one at a time, so that the
    others go on writing meanwhile.
    """
    ended = [c for c in consumers if c.exit_code is not None]
    leaving = [c for c in consumers if c.exit_code is None and c.leaves_by is not None]
    staying = sorted((c for c in consumers if c.stays), key=lambda c: c.number)
    steps: list[Step] = [Forget(number=c.number, is_failure=c.leaves_by is None) for c in ended]
    steps += [Kill(number=c.number) for c in leaving if c.leaves_by is not None and now >= c.leaves_by]
    steps += [Ask(number=c.number) for c in staying[wanted:][::-1]]
    kept = staying[:wanted]
    outdated = [c for c in kept if c.revision != revision]
    if outdated and not leaving and len(kept) == wanted:
        steps.append(Ask(number=outdated[0].number))
    missing = wanted - len(kept)
    failed_now = any(c.leaves_by is None for c in ended)
    if missing > 0 and now >= failures.not_before and not failed_now:
        steps.append(Start(count=missing))
    return tuple(steps)


def count_failure(failures: Failures, *, ran_s: float, now: float) -> Failures:
    """After a consumer ended by itself: pauses double from FIRST_PAUSE_S to LONGEST_PAUSE_S."""
    count = 1 if ran_s >= PROVEN_AFTER_S else failures.count + 1
    pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(count - 1, 16))
    return Failures(count=count, not_before=now + pause_s)


def is_settled(consumers: Sequence[Supervised], *, wanted: int, revision: str) -> bool:
    """As many as wanted run, all ready and of the present revision, and none is leaving."""
    return len(consumers) == wanted and all(c.stays and c.is_ready and c.revision == revision for c in consumers)
