"""What can go wrong when a server or another process of this machine is started; each message names the remedy."""

from __future__ import annotations

from pathlib import Path


class ServerError(Exception):
    """Root of the errors of embedded servers; never raised itself."""


class MissingProgram(ServerError):
    """A program that must be installed is not there; debian_package is what brings it."""

    def __init__(self, program: str, debian_package: str) -> None:
        super().__init__(f"{program} was not found: install it (Debian and Ubuntu: apt-get install {debian_package})")
        self.program = program
        self.debian_package = debian_package


class UnsupportedSystem(ServerError):
    """Processes are told apart by /proc, which only Linux has."""

    def __init__(self) -> None:
        super().__init__("servers and consumers as processes need Linux: run this in a Linux container or machine")


class UnusableFolder(ServerError):
    """The server's operating-system user cannot work there: take another folder, or open its parents (chmod o+x)."""

    def __init__(self, folder: Path, user: str, blocked_by: Path) -> None:
        super().__init__(
            f"user {user} cannot enter {blocked_by}: choose a folder elsewhere than {folder}, or chmod o+x it"
        )
        self.folder = folder
        self.user = user
        self.blocked_by = blocked_by


class ServerNotReady(ServerError):
    """A server, or a step of its preparation, failed or took too long; the end of its log is in the message."""

    def __init__(self, what: str, why: str, log_file: Path) -> None:
        super().__init__(f"{what} {why}; the end of {log_file}:\n{read_tail(log_file)}")
        self.what = what
        self.why = why
        self.log_file = log_file


class SqlFailed(ServerError):
    """psql refused a statement; the message is the server's own."""


TAIL_BYTES = 4000
"""How much of a log goes into an error: about forty lines, enough for a Java stack trace."""


def read_tail(log_file: Path) -> str:
    """Return the last lines of the file, or a word when there is none."""
    try:
        with log_file.open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(0, size - TAIL_BYTES))
            return log.read().decode(errors="replace").strip() or "(empty)"
    except FileNotFoundError:
        return "(no log)"
