"""Prometheus metrics of the operator; the only importer of prometheus_client here.

Those about the operator itself are in controller-runtime's manner. Those of a pipeline are what its last pass saw, are
labelled with its namespace and name, and go when it goes; unknown is no sample, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from forebay_api.v1alpha1 import Pipeline
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from forebay_operator.model import ConditionStatus, Report, Terms
from forebay_operator.reconcile import PassResult

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_LABELS = ("namespace", "pipeline")


@dataclass(slots=True, kw_only=True)
class _Shown:
    """One pipeline's last pass."""

    report: Report | None = None
    last_success_s: float | None = None


class _PipelineCollector(Collector):
    def __init__(self) -> None:
        self.shown: dict[tuple[str, str], _Shown] = {}

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        reports = [(labels, shown.report) for labels, shown in self.shown.items() if shown.report is not None]
        for name, help_text, read in _NUMBERS:
            family = GaugeMetricFamily(f"forebay_pipeline_{name}", help_text, labels=_LABELS)
            for labels, report in reports:
                value = read(report)
                if value is not None:
                    family.add_metric(labels, value)
            yield family
        yield _collect_conditions(reports)
        help_text = "When the last pass without an error ended, in seconds since 1970"
        family = GaugeMetricFamily("forebay_pipeline_last_reconcile_timestamp_seconds", help_text, labels=_LABELS)
        for labels, shown in self.shown.items():
            if shown.last_success_s is not None:
                family.add_metric(labels, shown.last_success_s)
        yield family


def _collect_conditions(reports: list[tuple[tuple[str, str], Report]]) -> Metric:
    help_text = "1 for the status that the condition has, 0 for the other two"
    family = GaugeMetricFamily("forebay_pipeline_conditions", help_text, labels=(*_LABELS, "type", "status"))
    for labels, report in reports:
        for condition in report.conditions:
            for status in ConditionStatus:
                family.add_metric((*labels, condition.type, status), int(condition.status is status))
    return family


_NUMBERS: tuple[tuple[str, str, Callable[[Report], float | None]], ...] = (
    ("lag_records", "Records not yet written; of the partitions that are known", lambda r: _terms(r).lag_records),
    ("age_seconds", "Age of the oldest record not yet written", lambda r: _terms(r).age_s),
    ("arrival_records_per_second", "Records that arrive in the topic", lambda r: _terms(r).arrival),
    ("written_records_per_second", "Records that are written", lambda r: _terms(r).written),
    ("partitions", "Partitions of the topic", lambda r: _terms(r).partitions),
    (
        "replicas",
        "Consumers that run, starting and draining ones included",
        lambda r: None if r.seen.workload is None else len(r.seen.workload.consumers),
    ),
    ("desired_replicas", "Consumers that the last decision asks for", lambda r: r.plan.decision.to_replicas),
    (
        "capacity_records_per_second",
        "Records that one consumer can write, as learned",
        lambda r: None if r.capacity is None else r.capacity.records_per_second,
    ),
)


def _terms(report: Report) -> Terms:
    return report.plan.decision.terms


class Telemetry:
    """One registry of its own: nothing global, so that several may live in one test process."""

    def __init__(self, *, now_s: Callable[[], float], count_pipelines: Callable[[], int]) -> None:
        """now_s: seconds since 1970."""
        self._now_s = now_s
        self._registry = registry = CollectorRegistry()
        self._pipelines = _PipelineCollector()
        registry.register(self._pipelines)
        self._passes = Counter("forebay_operator_reconcile", "Passes by result", ["result"], registry=registry)
        for result in PassResult:
            self._passes.labels(result)
        self._pass_seconds = Histogram(
            "forebay_operator_reconcile_seconds", "Duration of a pass", buckets=_BUCKETS_S, registry=registry
        )
        self._requests = Counter(
            "forebay_operator_api_requests",
            "Requests to the API server by verb, resource and HTTP code (none: no answer), watches not included",
            ["verb", "resource", "code"],
            registry=registry,
        )
        self._restarts = Counter(
            "forebay_operator_loop_restarts", "Loops that failed by a defect and began again", registry=registry
        )
        self._watch_events = Counter("forebay_operator_watch_events", "Events by kind", ["kind"], registry=registry)
        self._watch_at = Gauge(
            "forebay_operator_watch_last_event_timestamp_seconds",
            "When the watch last showed anything of this kind, in seconds since 1970",
            ["kind"],
            registry=registry,
        )
        self._leader = Gauge("forebay_operator_leader", "1 while this replica leads", registry=registry)
        Gauge("forebay_operator_pipelines", "Pipelines that are served", registry=registry).set_function(
            lambda: float(count_pipelines())
        )

    def on_pass(self, pipeline: Pipeline, result: PassResult, took_s: float) -> None:
        """A pass was made, or not."""
        self._passes.labels(result).inc()
        self._pass_seconds.observe(took_s)
        if result is PassResult.SUCCESS:
            self._shown(pipeline.namespace, pipeline.name).last_success_s = self._now_s()

    def on_report(self, pipeline: Pipeline, report: Report) -> None:
        """What a pass saw and decided."""
        self._shown(pipeline.namespace, pipeline.name).report = report

    def on_request(self, verb: str, resource: str, code: str) -> None:
        """A request to the API server was answered, or not."""
        self._requests.labels(verb, resource, code).inc()

    def on_event(self, kind: str) -> None:
        """The watch showed something."""
        self._watch_events.labels(kind).inc()
        self._watch_at.labels(kind).set(self._now_s())

    def on_restart(self) -> None:
        """A loop failed and will begin again."""
        self._restarts.inc()

    def set_leader(self, leads: bool) -> None:
        """Whether this replica leads."""
        self._leader.set(int(leads))
        if not leads:
            self._pipelines.shown.clear()  # another one's numbers are the present ones

    def forget(self, namespace: str, name: str) -> None:
        """The pipeline is gone."""
        self._pipelines.shown.pop((namespace, name), None)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)

    def _shown(self, namespace: str, name: str) -> _Shown:
        return self._pipelines.shown.setdefault((namespace, name), _Shown())
