"""Patroni members, etcd and HAProxy on loopback: a highly available PostgreSQL, in folders and on ports of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.downloads import choose_cache_folder
from forebay_cli.local.free_ports import LOOPBACK, find_free_port
from forebay_cli.local.ha.etcd import EtcdServer, EtcdSilent
from forebay_cli.local.ha.haproxy_config import TEMPLATE, HaproxyMember, HaproxyPorts, fill_haproxy_config
from forebay_cli.local.ha.haproxy_server import Haproxy, start_haproxy
from forebay_cli.local.ha.health import find_trouble, join_members, read_heirs
from forebay_cli.local.ha.network import Network
from forebay_cli.local.ha.patroni_config import LEADER_KEY, SYNC_KEY, MemberPlace, MemberPorts, ServerPasswords
from forebay_cli.local.ha.patroni_member import PatroniMember
from forebay_cli.local.ha.patroni_program import unpack_patroni
from forebay_cli.local.ha.patroni_rest import MemberState, ask_member, parse_member, read_sync_states
from forebay_cli.local.ha.sessions import WRITE_NOTHING
from forebay_cli.local.ha.settings import HaSettings
from forebay_cli.local.postgres_programs import PostgresPrograms, find_postgres, require_entrance
from forebay_cli.local.postgres_server import SUPERUSER, ConnectionParts, run_psql
from forebay_cli.local.process import create_guarded_folder
from forebay_cli.local.server_errors import ServerError, SqlFailed, read_tail

LOOK_EVERY_S = 0.1


class NotHealthy(ServerError):
    """The cluster did not become what it should be in time; the message says what was missing last."""


class HaCluster:
    """A cluster in a folder of its own; `with HaCluster() as cluster:` starts it and removes it."""

    def __init__(self, settings: HaSettings | None = None, *, cache: Path | None = None) -> None:
        """cache: see choose_cache_folder; None = this user's."""
        self.settings = settings or HaSettings()
        self._cache = cache or choose_cache_folder(os.environ)
        self._folder: Path | None = None
        self._programs: PostgresPrograms | None = None
        self._haproxy: Haproxy | None = None
        self._password = secrets.token_urlsafe(24)
        self._etcd: EtcdServer | None = None
        self.network: Network | None = None
        """None: settings.network is off."""
        self.nodes: dict[str, PatroniMember] = {}

    def __enter__(self) -> HaCluster:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def folder(self) -> Path:
        """Where everything of this cluster lives, logs included."""
        assert self._folder is not None, "start() makes the folder"
        return self._folder

    @property
    def etcd(self) -> EtcdServer:
        """Where Patroni keeps its state."""
        assert self._etcd is not None, "start() starts it"
        return self._etcd

    @property
    def haproxy(self) -> Haproxy:
        """The way to the cluster."""
        assert self._haproxy is not None, "start() starts it"
        return self._haproxy

    @property
    def primary_port(self) -> int:
        """HAProxy's port on 127.0.0.1 that leads to the primary."""
        return self.haproxy.primary_port

    @property
    def replicas_port(self) -> int:
        """HAProxy's port on 127.0.0.1 that leads to the replicas."""
        return self.haproxy.replicas_port

    def start(self) -> None:
        """Start everything and wait until it is healthy. Raises ServerError; nothing is left then."""
        try:
            self._start()
            self.wait_healthy(self.settings.start_timeout_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill everything and remove the folder."""
        for node in self.nodes.values():
            node.remove()
        if self._haproxy is not None:
            self._haproxy.child.kill_family()
        if self._etcd is not None:
            self._etcd.kill()
        if self.network is not None:
            self.network.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def admin(self, dbname: str = "postgres") -> ConnectionParts:
        """Return how the superuser signs in to the primary, through HAProxy."""
        return ConnectionParts(
            host=LOOPBACK, port=self.primary_port, dbname=dbname, user=SUPERUSER, password=self._password
        )

    def run_sql(
        self, sql: str, *, parts: ConnectionParts | None = None, variables: Mapping[str, str] | None = None
    ) -> str:
        """Run SQL as PostgresServer.run_sql does. parts: None = the superuser at the primary. Raises SqlFailed."""
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

    def leader(self) -> str | None:
        """Who holds the lock; None when nobody does. A dead one holds it until its time to live is over.

        Raises EtcdSilent.
        """
        found = self.etcd.read(LEADER_KEY)
        return None if found is None else found.value

    def members(self) -> tuple[MemberState, ...]:
        """What each member says of itself now; one that is down or frozen has nothing but a name."""
        answers = {name: ask_member(node.place.ports.rest) for name, node in self.nodes.items()}
        states = [parse_member(name, said or {}) for name, said in answers.items()]
        sync_states: dict[str, str] = {}
        for said in answers.values():
            sync_states |= read_sync_states(said or {})
        return join_members(states, sync_states)

    def find_trouble(self) -> str | None:
        """Return what keeps the cluster from being healthy, for a person to read; None when all is well.

        Healthy: every member answers, one primary with the lock, all others streaming on its timeline, a synchronous
        standby where the mode wants one, HAProxy agrees with all that, and a commit at its primary port succeeds.
        """
        try:
            leader = self.leader()
            sync = self.etcd.read(SYNC_KEY)
        except EtcdSilent as silent:
            return str(silent)
        heirs = read_heirs(None if sync is None else sync.value)
        checks = self.haproxy.read_checks()
        trouble = find_trouble(leader, self.members(), heirs, checks, self.settings.durability)
        return trouble or self._try_to_write()

    def wait_healthy(self, timeout_s: float = 60.0) -> None:
        """Wait until all is well (find_trouble). Raises NotHealthy with what was missing, and the ends of the logs."""
        trouble: list[str | None] = [None]

        def is_healthy() -> bool:
            trouble[0] = self.find_trouble()
            return trouble[0] is None

        if not wait_until(is_healthy, timeout_s, LOOK_EVERY_S):
            logs = "".join(
                f"\n--- the end of {each.log_file}:\n{read_tail(each.log_file)}" for each in self.nodes.values()
            )
            raise NotHealthy(f"not healthy after {timeout_s:.0f} s: {trouble[0]}{logs}")

    def wait_new_primary(self, old: str, timeout_s: float = 60.0) -> str:
        """Wait until another member than `old` holds the lock; return its name. Raises NotHealthy."""
        seen: list[str | None] = [None]

        def has_changed() -> bool:
            try:
                seen[0] = self.leader()
            except EtcdSilent:
                return False
            return seen[0] not in (None, old)

        if not wait_until(has_changed, timeout_s):
            raise NotHealthy(f"nobody took over from {old} within {timeout_s:.0f} s; the lock's holder: {seen[0]}")
        assert seen[0] is not None, "as has_changed() says"
        return seen[0]

    def _start(self) -> None:
        self._programs = find_postgres()
        self._folder = create_guarded_folder(prefix="forebay-ha-")
        require_entrance(self._folder, self._programs.user)
        self._etcd = EtcdServer(self._folder / "etcd")
        self._etcd.start()
        program = unpack_patroni(self._cache, self._folder / "patroni", self._programs.user)
        passwords = ServerPasswords(
            superuser=self._password, replication=secrets.token_urlsafe(24), rewind=secrets.token_urlsafe(24)
        )
        self.network = Network() if self.settings.network else None
        for name in self.settings.names:
            node = PatroniMember(self._choose_place(name, self._folder / name), self._programs.user)
            self.nodes[name] = node
            node.prepare(program, self.settings, passwords)
            node.start()
        self._haproxy = self._start_haproxy()

    def _choose_place(self, name: str, folder: Path) -> MemberPlace:
        assert self._programs is not None, "_start() comes first"
        sql, rest = find_free_port(), find_free_port()
        seen_sql, seen_rest, etcd = (self._lead(name, port) for port in (sql, rest, self.etcd.port))
        ports = MemberPorts(sql=sql, rest=rest, seen_sql=seen_sql, seen_rest=seen_rest, etcd=etcd)
        return MemberPlace(name=name, folder=folder, bin=self._programs.bin, ports=ports)

    def _lead(self, member: str, port: int) -> int:
        return port if self.network is None else self.network.lead(member, port)

    def _start_haproxy(self) -> Haproxy:
        ports = HaproxyPorts(primary=find_free_port(), replicas=find_free_port(), stats=find_free_port())
        members = tuple(
            HaproxyMember(name=name, sql=node.place.ports.seen_sql, rest=node.place.ports.seen_rest)
            for name, node in self.nodes.items()
        )
        return start_haproxy(fill_haproxy_config(TEMPLATE.read_text(), ports, members), ports, self.folder)

    def _try_to_write(self) -> str | None:
        try:
            self.run_sql(f"{WRITE_NOTHING};")
        except (SqlFailed, subprocess.TimeoutExpired) as error:
            return f"nothing can be written through HAProxy: {error}"
        return None
