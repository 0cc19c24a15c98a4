"""Everything the command line raises on purpose. Each is printed as it is, without a traceback."""

from __future__ import annotations


class ForebayError(Exception):
    """Root of this program's errors; never raised itself."""


class UsageProblem(ForebayError):
    """The command line, the pipeline file or a Secret is wrong (exit code 2). problems: sentences with fields."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Refused(ForebayError):
    """What was asked for is not safe now; the message says why and what to do: exit code 1."""


class BrokenLedger(ForebayError):
    """The file is not a whole ledger of the demo's producer; the message says what is wrong."""


class DeliveryFailed(ForebayError):
    """A record of the demo was not delivered for good; the message is librdkafka's."""


class DemoFailed(ForebayError):
    """The demo could not be carried through; the message says what did not happen in time."""
