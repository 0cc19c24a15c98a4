"""Prometheus metrics of the consumer; the only importer of prometheus_client here.

Counters and gauges are read from the consumer's state at each scrape, so that /state and /metrics cannot disagree;
only the histograms are fed while records flow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from forebay_api.state import ConsumerState, SinkHealth
from forebay_api.wire import Metric as Name
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from forebay_consumer.records import Reason, WriteReceipt

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class _StateCollector(Collector):
    def __init__(self, read_state: Callable[[], ConsumerState]) -> None:
        self._read_state = read_state

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        state = self._read_state()
        totals = state.totals
        for name, help_text, value in (
            (Name.RECORDS, "Kafka records written, as rows or dead letters", totals.records),
            (Name.BYTES, "Bytes of these records: values, keys and headers", totals.record_bytes),
            (Name.ROWS, "Rows written to the table", totals.rows),
            (Name.TRANSACTIONS, "Transactions committed", totals.transactions),
            (Name.RETRIES, "Transactions repeated without refused rows", totals.retries),
            (Name.FENCED, "Partitions found to be owned by another consumer", totals.fenced),
            (Name.CLAIMS, "Partitions claimed", totals.claims),
            (Name.REWOUND, "Records read again because the database lost their commits", totals.rewound_records),
            (Name.OFFSET_GAPS, "Offsets without a record (compaction, transactions)", totals.gap_records),
            (Name.LOST, "Records removed by retention before they were written", totals.lost_records),
            (Name.MADE_ANEW, "Partitions moved to the start of a topic that was made anew", totals.made_anew),
            (Name.LETTERS_MIRRORED, "Dead letters copied to their topic", state.dead_letters.mirrored),
            (Name.LETTERS_PURGED, "Dead letters deleted because of their age", state.dead_letters.purged),
        ):
            yield CounterMetricFamily(name.removesuffix("_total"), help_text, value=value)
        for name, help_text, gauge in (
            (Name.BUSY_FRACTION, "Utilisation of the busiest stage, 0 to 1", state.busy_fraction),
            (Name.PARTITIONS, "Partitions assigned", len(state.partitions)),
            (Name.BUFFERED_BYTES, "Bytes read and not written", state.buffered_bytes),
            (Name.SINK_READY, "1 when the database takes writes", int(state.sink.health is SinkHealth.READY)),
            (Name.LETTERS_UNMIRRORED, "Dead letters that their topic does not have", state.dead_letters.unmirrored),
            (
                Name.OLDEST_UNMIRRORED_SECONDS,
                "Age of the oldest dead letter that its topic does not have",
                state.dead_letters.oldest_unmirrored_s,
            ),
            (
                Name.LETTERS_TROUBLED,
                "1 while dead letters cannot be copied or deleted; /state says why",
                int(state.dead_letters.message is not None),
            ),
            (Name.OLDEST_UNWRITTEN_SECONDS, "Age of the oldest record read and not written", state.oldest_unwritten_s),
        ):
            if gauge is not None:  # unknown is no sample, never 0
                yield GaugeMetricFamily(name, help_text, value=gauge)


class Telemetry:
    """One registry of its own: nothing global, so that several may live in one test process."""

    def __init__(self, read_state: Callable[[], ConsumerState]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_StateCollector(read_state))
        self._commit = Histogram(Name.COMMIT_SECONDS, "Duration of COMMIT", buckets=_BUCKETS_S, registry=self._registry)
        self._transaction = Histogram(
            Name.TRANSACTION_SECONDS,
            "Duration from BEGIN to the end of COMMIT",
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        letters = Counter(
            Name.DEAD_LETTERS, "Records kept in forebay.dead_letters", labelnames=("reason",), registry=self._registry
        )
        self._letters = {reason: letters.labels(reason.value) for reason in Reason}

    def on_receipt(self, receipt: WriteReceipt) -> None:
        """A batch was committed."""
        self._commit.observe(receipt.commit_s)
        self._transaction.observe(receipt.took_s)
        for reason, letters in receipt.reasons.items():
            self._letters[reason].inc(letters)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)
