"""What the testbed's fixtures hand out: topics, databases, and servers that a test may kill."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
from dataclasses import dataclass, field

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from forebay_cli.local.downloads import choose_cache_folder
from forebay_cli.local.ha.cluster import HaCluster
from forebay_cli.local.kafka_server import KafkaServer
from forebay_cli.local.kafka_settings import KafkaOptions
from forebay_cli.local.postgres_server import ConnectionParts, PostgresOptions, PostgresServer
from forebay_cli.local.process import create_guarded_folder

QUICK_SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "200"}
"""No waiting for the disk: the tests kill processes, not the machine, and the kernel keeps what was written."""
TOPIC_S = 60.0
"""Deadline for creating or deleting a topic."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshDatabase:
    """An empty database and an ordinary role that may sign in to it; admin: the superuser in the same database."""

    host: str
    port: int
    dbname: str
    user: str
    password: str = field(repr=False)
    admin: ConnectionParts

    @property
    def parts(self) -> ConnectionParts:
        """How the ordinary role signs in."""
        return ConnectionParts(
            host=self.host, port=self.port, dbname=self.dbname, user=self.user, password=self.password
        )

    @property
    def dsn(self) -> str:
        """The ordinary role's postgresql://..."""
        return self.parts.dsn


class TopicFactory:
    """Creates topics of one broker and deletes them in the end."""

    def __init__(self, server: KafkaServer) -> None:
        self._server = server
        self._created: list[str] = []

    def __call__(self, partitions: int = 1, *, name: str | None = None, **config: str) -> str:
        """Return a new topic's name; config: the topic's settings, with _ for . (retention_ms="1000")."""
        topic = name or unique_name("topic")
        settings = {key.replace("_", "."): value for key, value in config.items()}
        create_topic(self._server.bootstrap, topic, partitions, settings)
        self._created.append(topic)
        return topic

    def delete_all(self) -> None:
        """Delete what was created and is still there."""
        admin = AdminClient({"bootstrap.servers": self._server.bootstrap})
        known = admin.list_topics(timeout=TOPIC_S).topics
        wanted = [topic for topic in self._created if topic in known]
        for future in admin.delete_topics(wanted).values() if wanted else ():
            future.result(TOPIC_S)


class DatabaseFactory:
    """Creates databases of one server and drops them in the end."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._created: list[FreshDatabase] = []

    def __call__(self, *, owner: bool = True) -> FreshDatabase:
        """Return a new database.

        owner: the role owns it and may create schemas and tables; else it may connect, and do what it is granted.
        """
        database = create_database(self._server, owner=owner)
        self._created.append(database)
        return database

    def drop_all(self) -> None:
        """Drop what was created, whoever is still connected."""
        for database in self._created:
            self._server.drop_database(database.dbname)
            self._server.drop_role(database.user)


class KafkaFactory:
    """Starts brokers that belong to one test."""

    def __init__(self) -> None:
        self._servers: list[KafkaServer] = []

    def __call__(self, options: KafkaOptions | None = None) -> KafkaServer:
        """Return a running broker of the test's own."""
        server = KafkaServer(create_guarded_folder(), cache=choose_cache_folder(os.environ), options=options)
        self._servers.append(server)
        server.start()
        return server

    def remove_all(self) -> None:
        """Kill the brokers and remove their folders."""
        for server in self._servers:
            remove_server(server)


class PostgresFactory:
    """Starts PostgreSQL servers that belong to one test."""

    def __init__(self) -> None:
        self._servers: list[PostgresServer] = []

    def __call__(self, **settings: str) -> PostgresServer:
        """Return a running server of the test's own; settings: lines of postgresql.conf over QUICK_SETTINGS."""
        server = PostgresServer(
            create_guarded_folder(), options=PostgresOptions(settings={**QUICK_SETTINGS, **settings})
        )
        self._servers.append(server)
        server.start()
        return server

    def remove_all(self) -> None:
        """Kill the servers and remove their folders."""
        for server in self._servers:
            remove_server(server)


def unique_name(prefix: str) -> str:
    """Return a name that no other test, process or earlier run uses."""
    return f"{prefix}_{os.getpid()}_{next(_numbers)}_{secrets.token_hex(3)}"


def create_topic(bootstrap: str, topic: str, partitions: int, settings: dict[str, str] | None = None) -> None:
    """Create a topic."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=settings or {})
    admin.create_topics([new])[topic].result(TOPIC_S)


def create_database(server: PostgresServer | HaCluster, *, owner: bool = True) -> FreshDatabase:
    """Create an empty database and an ordinary role for it; owner as in DatabaseFactory."""
    name, password = unique_name("db"), secrets.token_urlsafe(12)
    server.create_role(name, password)
    if owner:
        server.create_database(name, owner=name)
    else:
        server.create_database(name)
    admin = server.admin(name)
    return FreshDatabase(host=admin.host, port=admin.port, dbname=name, user=name, password=password, admin=admin)


def remove_server(server: KafkaServer | PostgresServer) -> None:
    """Kill the server and remove its folder."""
    server.kill()
    shutil.rmtree(server.folder, ignore_errors=True)
