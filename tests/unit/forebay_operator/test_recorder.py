"""The recorder of Kubernetes: outages, deleted resources, events, broken specs. Server and clock are in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from forebay_api.v1alpha1 import Pipeline
from forebay_operator.decide import decide
from forebay_operator.errors import ClusterUnavailable, PipelineGone
from forebay_operator.kubernetes_cluster.recorder import MAX_WAITING, KubernetesRecorder
from forebay_operator.model import Event, EventType, Memory, Outcome, Report
from forebay_operator.report import build_report
from support.fake_transport import FakeClient, FakeTransport
from support.pipeline_builders import START, build_observation, build_pipeline, build_state
from support.queue_model import QueueModel
from support.recorded_world import PATH, UID, RecordedWorld

PIPELINE = replace(build_pipeline(), uid=UID, generation=1)
SELECTOR = "forebay.dev/pipeline=payments"


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now = START

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Desk:
    """A recorder with all that it needs."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.server = FakeTransport()
        self.server.put(PATH, {"metadata": {"name": "payments", "namespace": "bank", "uid": UID}})
        self.client: FakeClient = self.server.client()
        self.recorder = KubernetesRecorder(self.client, now=lambda: self.clock.now)

    @property
    def status(self) -> dict[str, object]:
        found = self.server.objects[PATH].get("status", {})
        assert isinstance(found, dict)
        return found

    def events(self) -> list[str]:
        return [body["reason"] for path, body in self.server.objects.items() if "/events/" in path]


def report(replicas: int = 1, *events: str, pipeline: Pipeline = PIPELINE) -> Report:
    states = [build_state(f"c{i}") for i in range(replicas)]
    seen = build_observation(replicas, [(1_000, 990)] * 4, at_s=0, states=states)
    plan, after = decide(pipeline, Memory(), seen, START)
    made = build_report(pipeline, Memory(), after, seen, plan, [Outcome(action=a) for a in plan.actions], START)
    return replace(made, events=tuple(Event(type=EventType.NORMAL, reason=r, message=r.lower()) for r in events))


async def test_status_is_applied_with_its_selector_over_the_version_that_was_seen() -> None:
    desk = Desk()

    await desk.recorder.record(PIPELINE, report(2))

    read, applied = desk.client.sent
    assert (read.method, applied.method, applied.path) == ("GET", "PATCH", f"{PATH}/status")
    assert applied.body["metadata"] == {"name": "payments", "namespace": "bank", "resourceVersion": "1"}
    assert SELECTOR in str(desk.status["selector"])
    assert (desk.status["replicas"], desk.status["desiredReplicas"]) == (2, 2)


async def test_next_status_costs_one_request() -> None:
    desk = Desk()
    await desk.recorder.record(PIPELINE, report(1))

    await desk.recorder.record(PIPELINE, report(2))

    assert [sent.method for sent in desk.client.sent] == ["GET", "PATCH", "PATCH"]
    assert desk.status["replicas"] == 2


async def test_status_is_written_although_others_have_written_the_resource() -> None:
    desk = Desk()
    await desk.recorder.record(PIPELINE, report(1))
    desk.server.put(PATH, desk.server.objects[PATH])

    await desk.recorder.record(PIPELINE, report(2))

    assert desk.status["replicas"] == 2


async def test_same_pass_again_is_not_written() -> None:
    desk = Desk()
    await desk.recorder.record(PIPELINE, report(2))
    desk.clock.move(3_600)

    await desk.recorder.record(PIPELINE, report(2))

    assert len(desk.client.writes()) == 1


async def test_outage_of_the_status_does_not_stop_scaling_and_the_status_catches_up() -> None:
    model = QueueModel(pipeline=build_pipeline(cap=6_000, max_replicas=6), arrival=lambda s: 20_000 if s > 20 else 100)
    world = RecordedWorld(model)
    await world.play(20)
    world.client.is_away, world.client.away_from = True, "ingestpipelines"
    shown = world.status["desiredReplicas"]

    await world.play(40)
    stale, tries = world.status["desiredReplicas"], len(world.client.writes("ingestpipelines"))
    world.client.is_away = False
    await world.play(61)

    assert [second for second, _ in model.scale_calls if 20 < second < 60]
    assert (stale, world.status["desiredReplicas"]) == (shown, model.replicas)
    assert stale != model.replicas
    assert tries < 10
    assert [line for line in world.writes() if "consumers:" in line]


async def test_events_wait_for_the_api_server_in_order_and_bounded() -> None:
    desk = Desk()
    await desk.recorder.record(PIPELINE, report(1))
    desk.client.is_away = True
    for i in range(MAX_WAITING + 5):
        await desk.recorder.record(PIPELINE, report(1, f"Reason{chr(65 + i)}"))
    desk.client.is_away = False
    desk.clock.move(61)

    await desk.recorder.record(PIPELINE, report(1))

    assert desk.events() == [f"Reason{chr(65 + i)}" for i in range(5, MAX_WAITING + 5)]


async def test_clock_set_back_after_a_refusal_does_not_silence_it() -> None:
    desk = Desk()
    desk.client.is_away = True
    await desk.recorder.record(PIPELINE, report(1))
    desk.client.is_away = False
    desk.clock.move(-3600)

    await desk.recorder.record(PIPELINE, report(1))

    assert desk.status["replicas"] == 1


async def test_refused_events_do_not_delay_the_status() -> None:
    desk = Desk()
    desk.client.is_away, desk.client.away_from = True, "/events"
    await desk.recorder.record(PIPELINE, report(1, "Scaled"))

    await desk.recorder.record(PIPELINE, report(2))

    assert desk.status["replicas"] == 2


async def test_event_names_its_resource_and_is_bounded() -> None:
    desk = Desk()
    long = replace(report(), events=(Event(type=EventType.WARNING, reason="Blocked", message="x" * 5_000),))

    await desk.recorder.record(PIPELINE, long)

    (sent,) = desk.client.writes("/events")
    assert sent.path == "/api/v1/namespaces/bank/events"
    assert sent.body["involvedObject"] == {
        "apiVersion": "forebay.dev/v1alpha1",
        "kind": "IngestPipeline",
        "name": "payments",
        "namespace": "bank",
        "uid": UID,
    }
    assert (sent.body["type"], sent.body["reason"], len(sent.body["message"])) == ("Warning", "Blocked", 1024)


async def test_deleted_pipeline_is_gone() -> None:
    desk = Desk()
    del desk.server.objects[PATH]

    with pytest.raises(PipelineGone):
        await desk.recorder.record(PIPELINE, report())


async def test_pipeline_made_again_is_gone_and_keeps_its_own_status() -> None:
    desk = Desk()
    desk.server.put(PATH, {"metadata": {"name": "payments", "namespace": "bank", "uid": "another"}})

    with pytest.raises(PipelineGone):
        await desk.recorder.record(PIPELINE, report())

    assert desk.status == {}


async def test_pipeline_made_again_between_two_writes_is_gone_and_keeps_its_own_status() -> None:
    desk = Desk()
    await desk.recorder.record(PIPELINE, report(1))
    desk.server.put(PATH, {"metadata": {"name": "payments", "namespace": "bank", "uid": "another"}})

    with pytest.raises(PipelineGone):
        await desk.recorder.record(PIPELINE, report(2))

    assert desk.status == {}


async def test_successor_of_the_same_name_begins_anew() -> None:
    desk = Desk()
    await desk.recorder.record(PIPELINE, report(2))
    desk.server.put(PATH, {"metadata": {"name": "payments", "namespace": "bank", "uid": "another"}})

    await desk.recorder.record(replace(PIPELINE, uid="another"), report(2))

    assert desk.status["replicas"] == 2


async def test_failed_passes_in_a_row_are_one_event_and_leave_the_status() -> None:
    desk = Desk()
    await desk.recorder.record(PIPELINE, report())
    before = desk.status

    for retry_in_s in (5.0, 10.0, 20.0):
        await desk.recorder.record_problem(PIPELINE, ClusterUnavailable("list pods: forbidden"), retry_in_s)

    assert desk.events() == ["ReconcileFailed"]
    assert desk.status == before


async def test_invalid_spec_is_told_beside_what_was_seen_before() -> None:
    desk = Desk()
    await desk.recorder.record(PIPELINE, report(2))

    for _ in range(2):
        await desk.recorder.record_invalid(
            "bank", "payments", uid=UID, generation=2, status=desk.status, problem="spec.sink: is required"
        )

    conditions = desk.status["conditions"]
    assert isinstance(conditions, list)
    ready = next(c for c in conditions if c["type"] == "Ready")
    assert (ready["status"], ready["reason"], ready["message"]) == ("False", "InvalidSpec", "spec.sink: is required")
    assert (desk.status["observedGeneration"], desk.status["desiredReplicas"]) == (2, 2)
    assert len(desk.client.writes("/status")) == 2
    assert desk.events() == ["InvalidSpec"]


async def test_invalid_spec_that_the_status_tells_already_is_not_written_by_a_restart() -> None:
    desk = Desk()
    told = {"uid": UID, "generation": 2, "problem": "spec.sink: is required"}
    await desk.recorder.record_invalid("bank", "payments", status={}, **told)  # type: ignore[arg-type]
    desk.clock.move(60)
    again = KubernetesRecorder(desk.client, now=lambda: desk.clock.now)

    await again.record_invalid("bank", "payments", status=desk.status, **told)  # type: ignore[arg-type]

    assert len(desk.client.writes("/status")) == 1
