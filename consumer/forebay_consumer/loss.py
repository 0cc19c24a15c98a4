"""What became of a position that means nothing any more, and what may be done about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from forebay_consumer.ports import PositionLost
from forebay_consumer.records import Claim

RESET = "suspend the pipeline and use `forebay positions reset`"
SKIP = "set spec.source.onPositionLost: SkipToEarliest"


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeAnew:
    """At its claim a position turned out to be another topic's, which had the same name. The partition is not read."""

    partition: int
    claim_id: int
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A position at which nobody can read on. why: what happened and what to do, for people.

    skip_to: the offset at which spec.source.onPositionLost: SkipToEarliest goes on; None: a person must say where.
    topic_id: of the topic whose offset that is, if it is not the claim's. lost_records: that are known to be gone.
    """

    why: str
    skip_to: int | None
    topic_id: str | None = None
    lost_records: int = 0

    @property
    def is_made_anew(self) -> bool:
        """The topic is another one than it was."""
        return self.topic_id is not None


def is_another(stored: str | None, present: str | None) -> bool:
    """Whether these ids are of two topics. None (not known, or Kafka gives none) is taken for the same as ever."""
    return stored is not None and present is not None and stored != present


def judge_another_topic(claim: Claim, topic_id: str, log_start: int) -> Loss:
    """The topic was deleted and made anew. log_start: of the new one."""
    why = (
        f"the topic was deleted and made anew (its id was {claim.topic_id} and is {topic_id}): position "
        f"{claim.next_offset} is one of the old topic; {SKIP} to read the new one from its start, or {RESET}"
    )
    return Loss(why=why, skip_to=log_start, topic_id=topic_id, lost_records=log_start)


def judge_same_topic(event: PositionLost) -> Loss:
    """Retention was faster, or the log is shorter than it was."""
    if event.position < event.log_start:
        gone = event.log_start - event.position
        why = (
            f"retention removed {gone} unwritten records: position {event.position}, "
            f"the log starts at {event.log_start}; {SKIP}, or {RESET}"
        )
        return Loss(why=why, skip_to=event.log_start, lost_records=gone)
    why = (
        f"position {event.position} lies beyond the log's end {event.log_end}: "
        f"the topic was made anew or truncated; {RESET}"
    )
    return Loss(why=why, skip_to=None)
