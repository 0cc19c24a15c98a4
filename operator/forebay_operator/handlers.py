"""kopf watches; the only importer of kopf. Events go to the fleet as hints, and nothing else is done with them.

Only low-level event handlers: they need no finalizer, no annotation and no index, so a deleted resource goes even when
no operator runs. What must not live here: decisions, requests, state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import kopf
from forebay_api import wire

from forebay_operator.fleet import Fleet
from forebay_operator.resources import MANAGED_BY, MANAGED_BY_LABEL, PIPELINE_LABEL, workload_name

SERVER_TIMEOUT_S = 300
"""A watch is asked for again so often, whatever is shown: a frozen one (kopf#232 and its like) is out by then."""

CLIENT_TIMEOUT_S = 310
"""After the server's, for the server that does not keep its own."""

INACTIVITY_S = 70.0
"""A watch that shows nothing for so long is dead: the API server sends a bookmark once a minute."""

REQUEST_TIMEOUT_S = 30.0
"""Of a list."""

CHUNK = 500
"""Objects a page of a list."""

MANAGED_SELECTOR = f"{MANAGED_BY_LABEL}={MANAGED_BY}"

WORKLOAD_SUFFIX = workload_name("")

OnEvent = Callable[[str], None]
"""Called with the kind of each object that was shown."""


class _Patience:
    """Pauses in seconds between attempts, without an end: the watch outlasts any outage of the API server."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1, 2, 3)
        while True:
            yield 5


async def watch(
    fleet: Fleet,
    *,
    namespaces: Sequence[str],
    in_cluster: bool,
    on_event: OnEvent,
    ready: asyncio.Event,
    stop: asyncio.Event,
) -> None:
    """Until `stop` is set. namespaces: empty = all. `ready` is set when the watches begin. Raises what ends kopf.

    It takes SIGTERM and SIGINT for itself before `ready`, and cancels all tasks that began after it when it ends.
    """
    registry = kopf.OperatorRegistry()
    _register_login(registry, in_cluster)
    _register_hints(registry, fleet, on_event)
    await kopf.operator(
        registry=registry,
        settings=_build_settings(),
        standalone=True,  # whose turn it is the Lease says
        clusterwide=not namespaces,
        namespaces=namespaces,
        ready_flag=ready,
        stop_flag=stop,
    )


def _build_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # events are the recorder's
    settings.scanning.disabled = True  # nothing cluster-wide but the resources themselves
    settings.watching.server_timeout = SERVER_TIMEOUT_S
    settings.watching.client_timeout = CLIENT_TIMEOUT_S
    settings.watching.connect_timeout = REQUEST_TIMEOUT_S
    settings.watching.inactivity_timeout = INACTIVITY_S
    settings.watching.chunk_size = CHUNK
    settings.watching.label_selectors["apps", "v1", "deployments"] = MANAGED_SELECTOR
    settings.watching.label_selectors["v1", "pods"] = MANAGED_SELECTOR
    settings.networking.request_timeout = REQUEST_TIMEOUT_S
    settings.networking.connect_timeout = REQUEST_TIMEOUT_S
    settings.networking.error_backoffs = _Patience()
    settings.process.ultimate_exiting_timeout = None
    # Nothing is ever stored with these handlers; should kopf come to store anything, it is under our own name.
    settings.persistence.finalizer = f"{wire.GROUP}/never"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=f"kopf.{wire.GROUP}")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=f"kopf.{wire.GROUP}")
    return settings


def _register_login(registry: kopf.OperatorRegistry, in_cluster: bool) -> None:
    """kopf would choose the library's synchronous client, whose import alone costs tens of megabytes."""

    @kopf.on.login(registry=registry)
    async def login(**facts: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**facts) if in_cluster else kopf.login_with_kubeconfig(**facts)


def _register_hints(registry: kopf.OperatorRegistry, fleet: Fleet, on_event: OnEvent) -> None:
    @kopf.on.event(wire.GROUP, wire.VERSION, wire.PLURAL, registry=registry)
    async def pipeline(event: Any, **_: Any) -> None:
        on_event(wire.KIND)
        body = event["object"]
        if event["type"] == "DELETED":
            fleet.gone(body["metadata"]["namespace"], body["metadata"]["name"], body["metadata"]["uid"])
        else:
            fleet.seen(body)

    @kopf.on.event("apps", "v1", "deployments", registry=registry)
    @kopf.on.event("v1", "pods", registry=registry)
    async def owned(event: Any, **_: Any) -> None:
        metadata = event["object"]["metadata"]
        on_event(event["object"].get("kind", "Pod"))
        name = metadata.get("labels", {}).get(PIPELINE_LABEL)
        if name:
            fleet.touched(metadata["namespace"], name)

    @kopf.on.event("autoscaling", "v2", "horizontalpodautoscalers", registry=registry)
    async def rival(event: Any, **_: Any) -> None:
        on_event("HorizontalPodAutoscaler")
        target = event["object"].get("spec", {}).get("scaleTargetRef", {})
        if target.get("kind") == "Deployment" and str(target.get("name")).endswith(WORKLOAD_SUFFIX):
            fleet.touched(event["object"]["metadata"]["namespace"], target["name"].removesuffix(WORKLOAD_SUFFIX))
