"""/livez /readyz /metrics, and what the metrics say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import aiohttp
from forebay_operator.http_server import serve_http
from forebay_operator.model import ConditionStatus
from forebay_operator.reconcile import PassResult, PipelineLoop
from forebay_operator.telemetry import Telemetry
from prometheus_client.parser import text_string_to_metric_families
from support.pipeline_builders import build_pipeline
from support.queue_model import QueueModel


async def get(port: int, path: str) -> tuple[int, str]:
    """Status and body."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


async def test_probes_say_why_and_metrics_are_served(tmp_path: Path) -> None:
    dead: list[str] = []
    unready = ["the API server does not answer"]
    port_file = tmp_path / "port"
    async with serve_http(
        port=0,
        port_file=port_file,
        reasons_dead=lambda: dead,
        reasons_not_ready=lambda: unready,
        render_metrics=lambda: b"forebay_operator_leader 1.0\n",
    ) as port:
        assert int(port_file.read_text()) == port
        assert await get(port, "/livez") == (200, "ok\n")
        assert await get(port, "/readyz") == (503, "the API server does not answer\n")
        assert await get(port, "/metrics") == (200, "forebay_operator_leader 1.0\n")
        dead.append("the watch is dead")
        unready.clear()
        assert await get(port, "/livez") == (500, "the watch is dead\n")
        assert await get(port, "/readyz") == (200, "ok\n")


def read_samples(telemetry: Telemetry) -> Mapping[tuple[str, ...], float]:
    """Name and label values → value."""
    families = text_string_to_metric_families(telemetry.render().decode())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


async def observe_passes(telemetry: Telemetry, passes: int) -> None:
    """A pipeline's loop over a modelled queue, measured."""
    model = QueueModel(pipeline=build_pipeline(cap=6_000, max_replicas=6), arrival=lambda _: 1_000)
    loop = PipelineLoop(model.ports(), model.pipeline, model, on_pass=telemetry.on_pass)
    while len(model.reports) < passes:
        await loop._run_pass()
    telemetry.on_report(model.pipeline, model.reports[-1][1])


async def test_pipelines_numbers_are_those_of_its_last_pass_and_go_with_it() -> None:
    telemetry = Telemetry(now_s=lambda: 1_000.0, count_pipelines=lambda: 1)
    await observe_passes(telemetry, 3)

    samples = read_samples(telemetry)
    assert samples["forebay_operator_reconcile_total", PassResult.SUCCESS] == 3
    assert samples["forebay_operator_reconcile_seconds_count",] == 3
    assert samples["forebay_operator_pipelines",] == 1
    assert samples["forebay_pipeline_desired_replicas", "bank", "payments"] == 1
    assert samples["forebay_pipeline_last_reconcile_timestamp_seconds", "bank", "payments"] == 1_000
    states = [samples["forebay_pipeline_conditions", "bank", "payments", s, "Ready"] for s in ConditionStatus]
    assert sorted(states) == [0, 0, 1]

    telemetry.forget("bank", "payments")
    assert not [name for name in read_samples(telemetry) if name[0].startswith("forebay_pipeline_")]


async def test_replica_that_does_not_lead_shows_no_pipelines_numbers() -> None:
    telemetry = Telemetry(now_s=lambda: 1_000.0, count_pipelines=lambda: 1)
    await observe_passes(telemetry, 1)
    telemetry.set_leader(True)
    assert read_samples(telemetry)["forebay_operator_leader",] == 1

    telemetry.set_leader(False)

    samples = read_samples(telemetry)
    assert samples["forebay_operator_leader",] == 0
    assert not [name for name in samples if name[0].startswith("forebay_pipeline_")]


def test_requests_events_and_restarts_are_counted() -> None:
    telemetry = Telemetry(now_s=lambda: 7.0, count_pipelines=lambda: 0)

    telemetry.on_request("patch", "deployments/scale", "409")
    telemetry.on_event("Pod")
    telemetry.on_restart()

    samples = read_samples(telemetry)
    # The labels' order is the library's: alphabetical.
    assert samples["forebay_operator_api_requests_total", "409", "deployments/scale", "patch"] == 1
    assert samples["forebay_operator_watch_events_total", "Pod"] == 1
    assert samples["forebay_operator_watch_last_event_timestamp_seconds", "Pod"] == 7
    assert samples["forebay_operator_loop_restarts_total",] == 1
