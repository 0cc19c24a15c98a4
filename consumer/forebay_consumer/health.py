"""/livez /readyz /state /metrics over HTTP.

/livez answers while the event loop turns; a failed task ends the process instead. /readyz is 200 only while records
can be written, and otherwise says in words what keeps them from it: it informs, no traffic depends on it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from forebay_api.state import ConsumerState, PartitionState, SinkHealth, to_json_object


def reasons_not_ready(state: ConsumerState) -> tuple[str, ...]:
    """Why nothing, or not everything, can be written now; empty when all is well."""
    reasons = []
    if state.sink.health is not SinkHealth.READY:
        reason = state.sink.reason or state.sink.health
        reasons.append(f"sink: {reason}: {state.sink.message or 'the database has not been reached yet'}")
    if state.source_message is not None:
        reasons.append(f"source: {state.source_message}")
    stopped = (p for p in state.partitions if p.state is PartitionState.STOPPED)
    reasons.extend(f"partition {p.partition}: {p.why}" for p in stopped)
    return tuple(reasons)


@asynccontextmanager
async def serve_health(
    *,
    host: str,
    port: int,
    port_file: Path | None,
    read_state: Callable[[], ConsumerState],
    read_metrics: Callable[[], bytes],
) -> AsyncIterator[int]:
    """Serve until the block ends; yields the port in use. Raises OSError when the port is taken."""
    app = web.Application()
    app.add_routes(_routes(read_state, read_metrics))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        used = int(runner.addresses[0][1])
        if port_file is not None:
            _write_atomically(port_file, f"{used}\n")
        yield used
    finally:
        await runner.cleanup()


def _routes(read_state: Callable[[], ConsumerState], read_metrics: Callable[[], bytes]) -> list[web.RouteDef]:
    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        reasons = reasons_not_ready(read_state())
        return web.Response(text="".join(f"{r}\n" for r in reasons) or "ok\n", status=503 if reasons else 200)

    async def state(_: web.Request) -> web.Response:
        return web.json_response(to_json_object(read_state()))

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=read_metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    return [
        web.get("/livez", livez),
        web.get("/readyz", readyz),
        web.get("/state", state),
        web.get("/metrics", metrics),
    ]


def _write_atomically(path: Path, text: str) -> None:
    """A reader sees the old content or the new, never a part."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="ascii")
    part.replace(path)
