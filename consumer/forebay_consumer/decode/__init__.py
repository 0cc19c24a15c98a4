"""How records become rows and dead letters. Pure and total."""

from __future__ import annotations

from forebay_consumer.decode.native import NativeDecoder, build_native_decoder, compile_plan
from forebay_consumer.decode.reference import ReferenceDecoder
from forebay_consumer.plan import TablePlan
from forebay_consumer.ports import Wanted


def build_decoder(plan: TablePlan) -> NativeDecoder | ReferenceDecoder:
    """The fastest decoder that this installation has for the plan; its `decoder_name` is "native" or "python".

    One decoder is used by one thread at a time.
    """
    return build_native_decoder(plan) or ReferenceDecoder(plan)


def wanted_parts(plan: TablePlan) -> Wanted:
    """Everything, whatever the plan uses now: any record may become a dead letter, which keeps it whole, so that it
    can be replayed by a plan that uses more of it."""
    return Wanted(keys=True, timestamps=True, headers=True, plan=compile_plan(plan))
