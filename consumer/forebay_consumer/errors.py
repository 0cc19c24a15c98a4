"""Everything the consumer raises on purpose. Bad data is not here: it becomes a DeadLetter."""

from __future__ import annotations

CONFLICT = "Conflict"
"""SinkBroken.reason when the group and topic are another pipeline's, or another table's."""


class ForebayError(Exception):
    """Root of this program's errors; never raised itself."""


class Retryable(ForebayError):
    """The same input may work later: back off, keep nothing buffered, commit nothing, claim again."""


class Fatal(ForebayError):
    """Stop the process with ExitCode.FATAL; nothing is committed."""


class SinkUnavailable(Retryable):
    """The database cannot be reached, is starting, is read-only, or the connection broke: reconnect and claim again.

    reason: CamelCase word for /state. outcome_unknown: a COMMIT was under way; only the next claim tells what became
    of it.
    """

    def __init__(self, reason: str, message: str, *, outcome_unknown: bool = False) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.outcome_unknown = outcome_unknown


class SinkBroken(Retryable):
    """A person must act (rights, table, password, disk, breaker): stop the whole pipeline loudly, retry every 10-30 s.

    message says what is wrong and the remedy, naming the field or the SQL.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class Fenced(Retryable):
    """Another consumer has claimed a partition of the batch, or its position is not the expected one; nothing was
    written.

    partitions: those whose claim no longer holds (empty when it could not be told).
    """

    def __init__(self, partitions: tuple[int, ...]) -> None:
        super().__init__(f"fenced: partitions {list(partitions)}")
        self.partitions = partitions


class SourceUnavailable(Retryable):
    """Kafka did not answer in time or refused; message names the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadConfig(ForebayError):
    """The environment, the pipeline file or a Secret's folder is wrong.

    Problems lists every one of them, each with its field.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
