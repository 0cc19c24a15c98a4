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


class BadConfig(Fatal):
    """The environment is wrong. problems: one line each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ClusterUnavailable(Retryable):
    """The workload could not be read or written (API server away, process table unreadable)."""


class NotFound(ClusterUnavailable):
    """The API server answered that the object does not exist."""


class Forbidden(ClusterUnavailable):
    """The API server refuses it to this operator: by its role, or by admission (quota, policy)."""


class WriteConflict(ClusterUnavailable):
    """The API server refused a write since somebody else wrote first, or since the object exists already."""


class PipelineGone(Retryable):
    """The IngestPipeline does not exist any more, or is another one of the same name: its loop must end."""


class LagUnavailable(Retryable):
    """Kafka gave no answer at all. `reason` is a CamelCase word, `message` names the remedy where there is one."""

    def __init__(self, *, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
