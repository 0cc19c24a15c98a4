"""Which replica leads: a Lease that its holder renews, and that another takes over when it has not seen it renewed.

As client-go does it: nobody's wall clock is believed. A candidate measures on its own monotonic clock how long ago it
saw the record change; the holder gives up earlier than that, measured from before the request that last renewed it.
The library's own election was not used: it compares wall clocks, never releases, and ends on a refused connection.
What must not live here: what leading means.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from math import ceil
from typing import Any

from forebay_operator.config import LeaseTiming
from forebay_operator.errors import NotFound, Retryable, WriteConflict
from forebay_operator.kubernetes_cluster.paths import LEASES
from forebay_operator.kubernetes_cluster.transport import Transport

log = logging.getLogger(__name__)

RELEASED_S = 1
"""Duration of a Lease that was handed back; the API asks for at least 1."""

RELEASE_TRIES = 3
"""A renewal that was cut off may still be on its way and make the first try too old."""

FAILED_PACE = 2
"""So many times faster a holder tries again after a renewal that failed: an outage may end just before its deadline."""

Callback = Callable[[], Awaitable[None]]


class LeaseElection:
    """One candidate. identity: unique among the candidates that run; now: for people who read the Lease."""

    def __init__(
        self,
        api: Transport,
        *,
        namespace: str,
        name: str,
        identity: str,
        timing: LeaseTiming,
        now: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._timing = timing
        self._now = now
        self._lease: dict[str, Any] | None = None
        self._changed_at = 0.0
        self._renewed_at: float | None = None
        self._may_hold = False
        self._is_told = False

    @property
    def is_leader(self) -> bool:
        """Whether this process may act now; false as soon as the renew deadline has passed, even before it is told."""
        return self._renewed_at is not None and self._left_s(self._renewed_at) > 0

    async def run(self, on_started: Callback, on_lost: Callback) -> None:
        """Wait for the Lease, call on_started, renew it; call on_lost and return when that has failed too long.

        Cancel it before release().
        """
        await self._acquire()
        log.info("lease acquired", extra={"lease": self._name, "identity": self._identity})
        await on_started()
        reason = await self._keep()
        self._renewed_at = None
        log.error("lease lost", extra={"lease": self._name, "because": reason})
        await on_lost()

    async def release(self) -> None:
        """Hand it back, so that another needs not wait for its end. Nothing when another holds it. Raises Retryable."""
        self._renewed_at = None
        for _ in range(RELEASE_TRIES if self._may_hold else 0):
            lease = await self._read()
            if lease is None or _holder(lease) != self._identity:
                return
            spec = self._spec(lease) | {"holderIdentity": "", "leaseDurationSeconds": RELEASED_S}
            try:
                await self._put(lease, spec)
            except (WriteConflict, NotFound):
                continue
            self._may_hold = False
            return

    # --- candidate --------------------------------------------------------------------------------------------------

    async def _acquire(self) -> None:
        while not await self._try_quietly():  # noqa: ASYNC110  the Lease is far away, no event of this process tells
            await asyncio.sleep(self._timing.retry_period_s)

    async def _try_quietly(self) -> bool:
        """Whether it is held now. What fails is tried again and told once."""
        try:
            is_held = await self._try()
        except Retryable as e:
            if not self._is_told:
                log.warning("lease not read or written", extra={"lease": self._name, "error": str(e)})
            self._is_told = True
            return False
        self._is_told = False
        return is_held

    async def _try(self) -> bool:
        """Take or renew it, if nobody else holds it. Only a write that succeeded makes a leader. Raises Retryable."""
        started = _monotonic_s()
        if self._renewed_at is not None and self._lease is not None:
            try:
                await self._take(self._lease, started)
            except (WriteConflict, NotFound):
                log.info("lease was changed by others", extra={"lease": self._name})
            else:
                return True
        try:
            lease = await self._read()
            if lease is None:
                await self._create(started)
            elif self._is_free(lease):
                await self._take(lease, started)
            else:
                return False
        except (WriteConflict, NotFound):
            return False
        return True

    def _is_free(self, lease: Mapping[str, Any]) -> bool:
        """Nobody's, this process's own, or not renewed for as long as its holder said."""
        if _holder(lease) in ("", self._identity):
            return True
        said_s = lease["spec"].get("leaseDurationSeconds") or self._timing.lease_duration_s
        return _monotonic_s() - self._changed_at >= float(said_s)

    # --- holder -----------------------------------------------------------------------------------------------------

    async def _keep(self) -> str:
        """Renew until it is lost; says why it is."""
        is_held = True
        while True:
            renewed_at = self._renewed_at or 0.0
            pause_s = self._timing.retry_period_s / (1 if is_held else FAILED_PACE)
            await asyncio.sleep(max(0.0, min(pause_s, self._left_s(renewed_at))))
            if self._left_s(renewed_at) <= 0:
                return f"not renewed within {self._timing.renew_deadline_s:g} s"
            is_held = await self._try_quietly()
            holder = "" if self._lease is None else _holder(self._lease)
            if not is_held and holder not in ("", self._identity):
                return f"{holder} holds it"

    def _left_s(self, renewed_at: float) -> float:
        """Seconds until a holder that last renewed then must give up."""
        return renewed_at + self._timing.renew_deadline_s - _monotonic_s()

    # --- requests ---------------------------------------------------------------------------------------------------

    def _timeout_s(self) -> float:
        """Room for a second try before the renew deadline, and never beyond it."""
        half_s = self._timing.renew_deadline_s / 2
        return half_s if self._renewed_at is None else min(half_s, max(0.01, self._left_s(self._renewed_at)))

    async def _read(self) -> dict[str, Any] | None:
        path = LEASES.path(self._namespace, self._name)
        try:
            lease = await self._api.request("GET", path, timeout_s=self._timeout_s())
        except NotFound:
            self._lease = None
            return None
        self._note(lease)
        return lease

    async def _create(self, started: float) -> None:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._spec({}),
        }
        self._may_hold = True
        lease = await self._api.request("POST", LEASES.path(self._namespace), body=body, timeout_s=self._timeout_s())
        self._note(lease)
        self._renewed_at = started

    async def _take(self, lease: Mapping[str, Any], started: float) -> None:
        self._may_hold = True
        self._note(await self._put(lease, self._spec(lease)))
        self._renewed_at = started

    async def _put(self, lease: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
        """Write over this very version. Raises WriteConflict when there is a newer one."""
        path = LEASES.path(self._namespace, self._name)
        return await self._api.request("PUT", path, body={**lease, "spec": dict(spec)}, timeout_s=self._timeout_s())

    def _note(self, lease: dict[str, Any]) -> None:
        if self._lease is None or self._lease.get("spec") != lease.get("spec"):
            self._changed_at = _monotonic_s()
        self._lease = lease

    def _spec(self, lease: Mapping[str, Any]) -> dict[str, Any]:
        """As this process holds it from now on. Unknown fields stay."""
        old = lease.get("spec") or {}
        time = self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        is_mine = old.get("holderIdentity") == self._identity
        return {
            **old,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": ceil(self._timing.lease_duration_s),
            "acquireTime": old.get("acquireTime") or time if is_mine else time,
            "renewTime": time,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (1 if old and not is_mine else 0),
        }


def _holder(lease: Mapping[str, Any]) -> str:
    return (lease.get("spec") or {}).get("holderIdentity") or ""


def _monotonic_s() -> float:
    return asyncio.get_running_loop().time()
