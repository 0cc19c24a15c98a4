"""The operator's exceptions. Library errors are converted to these at the one door of each library.

What must not live here: bad data or an unknown lag, which are values.
"""

from __future__ import annotations


class ForebayError(Exception):
    """Root of the operator's errors; never raised itself."""


class Retryable(ForebayError):
    """The same input may work later: the loop backs off and tries again, and nothing is scaled meanwhile."""


class Fatal(ForebayError):
    """A person must change something: the loop of this pipeline ends and says why."""


class ClusterUnavailable(Retryable):
    """The workload could not be read or written (API server away, process table unreadable)."""


class LagUnavailable(Retryable):
    """Kafka gave no answer at all. `reason` is a CamelCase word, `message` names the remedy where there is one."""

    def __init__(self, *, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
