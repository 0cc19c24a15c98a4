"""What the Lease and the recorder need of the API server: one request. KubernetesApi is one.

What must not live here: anything that sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Transport(Protocol):
    """Sends requests to the API server."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object | None = None,
        content_type: str | None = None,
        timeout_s: float = 10.0,
    ) -> dict[str, Any]:
        """The answer. Raises NotFound, WriteConflict, ClusterUnavailable."""
