"""The testbed's fixtures. `kafka` and `postgres` are shared by the whole run: to kill one, take an own_ one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from forebay_cli.local.kafka_server import KafkaServer
from forebay_cli.local.postgres_server import PostgresServer
from support.testbed.control_plane import ControlPlane, start_control_plane
from support.testbed.servers import DatabaseFactory, KafkaFactory, PostgresFactory, TopicFactory


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    """A running broker for all tests of the run; never stop it."""
    factory = KafkaFactory()
    try:
        yield factory()
    finally:
        factory.remove_all()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL for all tests of the run; never stop it."""
    factory = PostgresFactory()
    try:
        yield factory()
    finally:
        factory.remove_all()


@pytest.fixture
def topic(kafka: KafkaServer) -> Iterator[TopicFactory]:
    """topic(partitions) creates a topic of the shared broker and returns its name."""
    factory = TopicFactory(kafka)
    yield factory
    factory.delete_all()


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[DatabaseFactory]:
    """database() creates an empty database of the shared server, with an ordinary role."""
    factory = DatabaseFactory(postgres)
    yield factory
    factory.drop_all()


@pytest.fixture
def own_kafka() -> Iterator[KafkaFactory]:
    """own_kafka() starts a broker that the test may stop, kill and freeze."""
    factory = KafkaFactory()
    try:
        yield factory
    finally:
        factory.remove_all()


@pytest.fixture
def own_postgres() -> Iterator[PostgresFactory]:
    """own_postgres() starts a PostgreSQL that the test may stop, kill and freeze."""
    factory = PostgresFactory()
    try:
        yield factory
    finally:
        factory.remove_all()


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """etcd and kube-apiserver for all tests of the run; restart the API server, but leave it running."""
    plane = start_control_plane()
    yield plane
    plane.remove()
