"""What a pipeline and its lanes take from outside besides their ports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from forebay_consumer.plan import TablePlan
from forebay_consumer.ports import Decoder, Wanted
from forebay_consumer.records import WriteReceipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """now: monotonic seconds. jitter: uniform in [0, 1). on_receipt: called after each commit.

    decoder_for, wanted_for: what a table's plan means for decoding.
    """

    now: Callable[[], float]
    jitter: Callable[[], float]
    decoder_for: Callable[[TablePlan], Decoder]
    wanted_for: Callable[[TablePlan], Wanted]
    on_receipt: Callable[[WriteReceipt], None]
