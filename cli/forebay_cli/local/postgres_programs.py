"""Where PostgreSQL's programs are on this machine, and as which user they may run."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from forebay_cli.local.server_errors import MissingProgram, UnusableFolder

DEBIAN_ROOT = Path("/usr/lib/postgresql")
DEBIAN_PACKAGE = "postgresql"
SERVER_USER = "postgres"
"""Who runs the server when this process is root's: PostgreSQL refuses to run as root. Debian's package creates it."""
NEEDED = ("initdb", "postgres", "psql")


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresPrograms:
    """bin: folder of initdb, postgres and psql. user: operating-system user to run as, None = our own."""

    bin: Path
    user: str | None


def find_postgres(debian_root: Path = DEBIAN_ROOT) -> PostgresPrograms:
    """Return the newest server of Debian's folders, else pg_config's, else that in PATH; else MissingProgram."""
    for folder in [*_list_debian_folders(debian_root), *_ask_pg_config(), *_look_in_path()]:
        if all((folder / program).is_file() for program in NEEDED):
            return PostgresPrograms(bin=folder, user=_choose_user())
    raise MissingProgram("PostgreSQL's server (initdb, postgres)", DEBIAN_PACKAGE)


def require_entrance(folder: Path, user: str | None) -> None:
    """Raise UnusableFolder where the user cannot come as far as the folder (None = our own user, who made it)."""
    if user is None:
        return
    user_id = pwd.getpwnam(user).pw_uid
    for step in reversed([folder, *folder.parents]):
        stat = step.stat()
        if stat.st_uid != user_id and not stat.st_mode & 0o001:
            raise UnusableFolder(folder, user, step)


def _list_debian_folders(debian_root: Path) -> list[Path]:
    versions = [entry for entry in debian_root.glob("*") if entry.name.isdigit()]
    return [entry / "bin" for entry in sorted(versions, key=lambda entry: int(entry.name), reverse=True)]


def _ask_pg_config() -> list[Path]:
    pg_config = shutil.which("pg_config")
    if pg_config is None:
        return []
    answer = subprocess.run(  # noqa: S603 - fixed arguments
        [pg_config, "--bindir"], capture_output=True, text=True, check=False
    )
    return [Path(answer.stdout.strip())] if answer.returncode == 0 else []


def _look_in_path() -> list[Path]:
    postgres = shutil.which("postgres")
    return [] if postgres is None else [Path(postgres).resolve().parent]


def _choose_user() -> str | None:
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(SERVER_USER)
    except KeyError:
        raise MissingProgram(
            f"the user {SERVER_USER}, needed because root may not run PostgreSQL,", DEBIAN_PACKAGE
        ) from None
    return SERVER_USER
