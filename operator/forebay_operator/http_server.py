"""/livez /readyz /metrics over HTTP.

/livez is 500 when only a restart helps: the watch is dead, or a loop hangs. /readyz is 503 when this process could not
serve; it says nothing about leading, or the replica that waits would never be ready.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Reasons = Callable[[], Sequence[str]]


@asynccontextmanager
async def serve_http(
    *,
    port: int,
    port_file: Path | None,
    reasons_dead: Reasons,
    reasons_not_ready: Reasons,
    render_metrics: Callable[[], bytes],
) -> AsyncIterator[int]:
    """Serve until the block ends; yields the port in use. Raises OSError when the port is taken."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=render_metrics(), headers={"Content-Type": METRICS_TYPE})

    app = web.Application()
    app.add_routes(
        [
            web.get("/livez", _probe(reasons_dead, 500)),
            web.get("/readyz", _probe(reasons_not_ready, 503)),
            web.get("/metrics", metrics),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        # All addresses of both families; any free port would be another one in each, so that is for this machine only.
        site = web.TCPSite(runner, None if port else "127.0.0.1", port)
        await site.start()
        used = int(runner.addresses[0][1])
        if port_file is not None:
            _write_atomically(port_file, f"{used}\n")
        yield used
    finally:
        await runner.cleanup()


def _probe(reasons: Reasons, bad_status: int) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        found = reasons()
        return web.Response(text="".join(f"{r}\n" for r in found) or "ok\n", status=bad_status if found else 200)

    return answer


def _write_atomically(path: Path, text: str) -> None:
    """A reader sees the old content or the new, never a part."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="ascii")
    part.replace(path)
