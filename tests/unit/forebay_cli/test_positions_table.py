"""What `positions show` says of each partition."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from forebay_cli.kafka_bounds import Bounds
from forebay_cli.positions import build_positions_table
from forebay_consumer.postgres_sink.admin import StoredPosition
from support.pipeline_builders import build_pipeline


def stored(topic_id: str | None) -> StoredPosition:
    """A position at offset 7."""
    return StoredPosition(
        topic="payments",
        partition=0,
        epoch=1,
        next_offset=7,
        topic_id=topic_id,
        pipeline="bank/payments",
        target="public.payments",
        claimed_at=None,
        updated_at=datetime(2026, 1, 1, tzinfo=UTC),
        backend_pid=None,
        is_held=False,
    )


@pytest.mark.parametrize(
    ("own", "present", "behind", "says"),
    [
        pytest.param("a", "a", "3", "the same", id="same"),
        pytest.param("a", "b", "", "made anew: reset", id="made-anew"),
        pytest.param(None, "b", "3", "not to be told", id="stored-before-ids"),
        pytest.param("a", None, "3", "not to be told", id="brokers-without-ids"),
    ],
)
def test_a_position_of_another_topic_is_told_from_the_present_one(
    own: str | None, present: str | None, behind: str, says: str
) -> None:
    table = build_positions_table(build_pipeline(), {0: stored(own)}, {0: Bounds(log_start=0, log_end=10)}, present)
    cells = {str(column.header): next(iter(column.cells)) for column in table.columns}
    assert (cells["behind"], cells["topic"]) == (behind, says)
