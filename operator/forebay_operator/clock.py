"""The system's clock; handed to the loop."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime


class SystemClock:
    """Clock of the running program."""

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime.now(UTC)

    async def wait(self, wake: asyncio.Event, timeout_s: float) -> None:
        """Return when `wake` is set or after timeout_s, whichever is first."""
        try:
            async with asyncio.timeout(timeout_s):
                await wake.wait()
        except TimeoutError:
            return
