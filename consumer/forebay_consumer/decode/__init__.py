"""How records become rows and dead letters. Pure and total."""

from __future__ import annotations

from forebay_api.v1alpha1 import ColumnSource

from forebay_consumer.decode.native import NativeDecoder, build_native_decoder
from forebay_consumer.decode.reference import ReferenceDecoder
from forebay_consumer.plan import TablePlan
from forebay_consumer.ports import Wanted


def build_decoder(plan: TablePlan) -> NativeDecoder | ReferenceDecoder:
    """The fastest decoder that this installation has for the plan; its `decoder_name` is "native" or "python".

    One decoder is used by one thread at a time.
    """
    return build_native_decoder(plan) or ReferenceDecoder(plan)


def wanted_parts(plan: TablePlan) -> Wanted:
    """Which parts of a record besides its value, partition and offset the plan needs; with a key, tombstones do."""
    sources = {planned.source for planned in plan.columns}
    return Wanted(
        keys=ColumnSource.KEY in sources or bool(plan.key),
        timestamps=ColumnSource.TIMESTAMP in sources,
        headers=ColumnSource.HEADER in sources,
    )
