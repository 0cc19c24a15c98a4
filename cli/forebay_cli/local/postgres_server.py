"""One PostgreSQL server as a process of this machine, on the loopback interface and a socket in its own folder."""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.free_ports import LOOPBACK, recall_port
from forebay_cli.local.postgres_programs import PostgresPrograms, find_postgres, require_entrance
from forebay_cli.local.process import Child, run_step, start_child
from forebay_cli.local.server_errors import ServerNotReady, SqlFailed
from forebay_cli.local.shared_memory import remove_segments_of

SUPERUSER = "postgres"
INITDB_S = 60.0
STOP_S = 30.0
SQL_S = 30.0
STATUS_LINE = 7
"""Index of the server's state in postmaster.pid (src/include/utils/pidfile.h, LOCK_FILE_LINE_PM_STATUS = 8)."""
LONGEST_SOCKET_PATH = 100
"""Linux allows 107 bytes for the address of a Unix socket."""


class StopMode(StrEnum):
    """How clients are treated at a shutdown."""

    FAST = "fast"
    """Roll back, disconnect, write a checkpoint."""
    IMMEDIATE = "immediate"
    """Drop everything at once; the next start recovers from the log, as after a crash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresOptions:
    """How the server runs."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """Lines of postgresql.conf; tests may turn fsync off. ALTER SYSTEM wins over them."""
    superuser_password: str | None = field(default=None, repr=False)
    """None: a random one, kept in the folder. Everyone signs in by password (scram-sha-256)."""
    start_timeout_s: float = 120.0
    """Includes crash recovery."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionParts:
    """Everything that a client needs to sign in to one database."""

    host: str
    port: int
    dbname: str
    user: str
    password: str = field(repr=False)

    @property
    def dsn(self) -> str:
        """The parts as postgresql://..."""
        user, password, dbname = (quote(part, safe="") for part in (self.user, self.password, self.dbname))
        return f"postgresql://{user}:{password}@{self.host}:{self.port}/{dbname}"

    @property
    def secret(self) -> dict[str, str]:
        """The parts as keys of the Secret that connectionSecretRef names; write_secret() makes a folder of it."""
        named = {"host": self.host, "port": str(self.port), "dbname": self.dbname}
        return named | {"user": self.user, "password": self.password}

    @property
    def environment(self) -> dict[str, str]:
        """The parts as libpq's variables, for psql and the like."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGDATABASE": self.dbname,
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGCLIENTENCODING": "UTF8",
        }


class PostgresServer:
    """A server in a folder of its own. start, stop and kill may alternate: port and data stay."""

    def __init__(self, folder: Path, *, options: PostgresOptions | None = None) -> None:
        """folder: made if missing; data of an earlier server in it is taken over."""
        self.folder = folder.absolute()
        self.options = options or PostgresOptions()
        self._programs: PostgresPrograms | None = None
        self._child: Child | None = None
        self._port: int | None = None

    @property
    def port(self) -> int:
        """Port on 127.0.0.1; known from the first start on."""
        assert self._port is not None, "start() chooses the port"
        return self._port

    @property
    def data(self) -> Path:
        """PGDATA."""
        return self.folder / "data"

    @property
    def log_file(self) -> Path:
        """The server's own log, of all its starts."""
        return self.folder / "postgres.log"

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster; None while it does not run."""
        return self._child.pid if self._child is not None and self._child.is_running() else None

    def admin(self, dbname: str = "postgres") -> ConnectionParts:
        """Return how the superuser signs in to a database."""
        password = (self.folder / "superuser-password").read_text().strip()
        return ConnectionParts(host=LOOPBACK, port=self.port, dbname=dbname, user=SUPERUSER, password=password)

    def start(self) -> None:
        """Start, recover if need be, and wait until clients are let in; does nothing when it runs."""
        if self.pid is not None:
            return
        programs = self._prepare()
        command = [programs.bin / "postgres", "-D", self.data]
        child = start_child(command, self.log_file, cwd=self.folder, user=programs.user, ask_with=signal.SIGQUIT)
        self._child = child
        wait_until(lambda: self._is_ready(child) or not child.is_running(), self.options.start_timeout_s)
        if not self._is_ready(child):
            self.kill()
            raise ServerNotReady("PostgreSQL", "did not start", self.log_file)

    def stop(self, mode: StopMode = StopMode.FAST) -> None:
        """Shut down; killed when that takes longer than 30 s."""
        if self._child is None:
            return
        self._child.signal_family(signal.SIGCONT)
        self._child.send(signal.SIGINT if mode is StopMode.FAST else signal.SIGQUIT)
        if self._child.wait(STOP_S) is None:
            self.kill()
        self._child = None

    def kill(self) -> None:
        """End postmaster and backends as a crash of the machine would (SIGKILL), and the shared memory with them."""
        if self._child is not None:
            self._child.kill_family()
            self._child = None
            remove_segments_of(self.folder)

    def freeze(self) -> None:
        """Stop postmaster and backends without a word to their clients (SIGSTOP)."""
        if self._child is not None:
            self._child.signal_family(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on after freeze()."""
        if self._child is not None:
            self._child.signal_family(signal.SIGCONT)

    def run_sql(
        self, sql: str, *, parts: ConnectionParts | None = None, variables: Mapping[str, str] | None = None
    ) -> str:
        """Run SQL through psql, each statement for itself, and return the rows, tab-separated, one a line.

        parts: who and where; None = the superuser in postgres.
        variables: psql's, written :'value' or :"name" in the SQL.
        """
        assert self._programs is not None, "start() finds the programs"
        return run_psql(self._programs, parts or self.admin(), sql, variables)

    def create_role(self, name: str, password: str) -> None:
        """Create an ordinary role that may sign in."""
        self.run_sql(
            "CREATE ROLE :\"name\" LOGIN PASSWORD :'password';", variables={"name": name, "password": password}
        )

    def create_database(self, dbname: str, owner: str = SUPERUSER) -> None:
        """Create an empty database."""
        self.run_sql('CREATE DATABASE :"name" OWNER :"owner";', variables={"name": dbname, "owner": owner})

    def drop_database(self, dbname: str) -> None:
        """Drop a database if it exists, whoever is connected to it."""
        self.run_sql('DROP DATABASE IF EXISTS :"name" WITH (FORCE);', variables={"name": dbname})

    def drop_role(self, name: str) -> None:
        """Drop a role that owns nothing any more."""
        self.run_sql('DROP ROLE IF EXISTS :"name";', variables={"name": name})

    def _is_ready(self, child: Child) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > STATUS_LINE and lines[0].strip() == str(child.pid) and lines[STATUS_LINE].strip() == "ready"

    def _prepare(self) -> PostgresPrograms:
        if self._programs is None:
            self._programs = find_postgres()
        if not self.folder.exists():
            self.folder.mkdir(parents=True, mode=0o711)
        if self._programs.user is not None:
            shutil.chown(self.folder, self._programs.user, self._programs.user)
        require_entrance(self.folder, self._programs.user)
        if self._port is None:
            self._port = recall_port(self.folder / "port")
        if not (self.data / "PG_VERSION").exists():
            self._initialize(self._programs)
        (self.data / "forebay.conf").write_text(
            build_settings(self.port, self._choose_socket_folder(), self.options.settings)
        )
        return self._programs

    def _initialize(self, programs: PostgresPrograms) -> None:
        password_file = self.folder / "superuser-password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.options.superuser_password or secrets.token_urlsafe(24))
        if programs.user is not None:
            shutil.chown(password_file, programs.user, programs.user)
        how = ["--auth=scram-sha-256", f"--pwfile={password_file}", f"--username={SUPERUSER}"]
        look = ["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        command = [programs.bin / "initdb", "-D", self.data, *how, *look]
        run_step("initdb", command, self.folder / "initdb.log", INITDB_S, cwd=self.folder, user=programs.user)
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.write("include 'forebay.conf'\n")

    def _choose_socket_folder(self) -> Path | None:
        """Return where the Unix socket goes; None where the path would be too long for one."""
        return self.folder if len(str(self.folder / f".s.PGSQL.{self.port}")) <= LONGEST_SOCKET_PATH else None


def build_settings(port: int, socket_folder: Path | None, settings: Mapping[str, str]) -> str:
    """Return the server's own part of postgresql.conf; settings win."""
    lines = {
        "listen_addresses": LOOPBACK,
        "port": str(port),
        "unix_socket_directories": "" if socket_folder is None else str(socket_folder),
        # Files below PGDATA instead of /dev/shm: nothing outside the folder survives a SIGKILL.
        "dynamic_shared_memory_type": "mmap",
        "max_connections": "100",
        "shared_buffers": "128MB",
        **settings,
    }
    return "".join(f"{name} = {_quote(value)}\n" for name, value in lines.items())


def _quote(value: str) -> str:
    """Quote as postgresql.conf and psql's \\set both read it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def run_psql(
    programs: PostgresPrograms, parts: ConnectionParts, sql: str, variables: Mapping[str, str] | None = None
) -> str:
    """Run SQL as PostgresServer.run_sql does, at any server. Raises SqlFailed."""
    # Through the input: arguments, a password among them, would be in everybody's process list.
    given = "".join(f"\\set {name} {_quote(value)}\n" for name, value in (variables or {}).items())
    done = subprocess.run(  # noqa: S603 - psql as found by find_postgres, its input from our own code
        [programs.bin / "psql", "-XqAt", "-F", "\t", "-v", "ON_ERROR_STOP=1"],
        input=given + sql,
        env=parts.environment,
        capture_output=True,
        text=True,
        timeout=SQL_S,
        check=False,
    )
    if done.returncode != 0:
        raise SqlFailed(done.stderr.strip())
    return done.stdout.rstrip("\n")
