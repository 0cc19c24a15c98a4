"""Records put into real partitions one by one, and what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from forebay_cli.local.kafka_server import KafkaServer
from support.flood import ConsumerProcess, Flood, eventually
from support.preload import payment
from support.testbed.servers import create_topic, unique_name

ANSWER_S = 60.0
TRANSACTION_S = 120.0

Headers = Sequence[tuple[str, str | bytes | None]]


def payments(first: int, count: int, width: int = 16) -> list[bytes]:
    """Good payments with ids from `first` on."""
    return [payment(number, width) for number in range(first, first + count)]


def send(
    kafka: KafkaServer,
    topic: str,
    values: Iterable[bytes | None],
    *,
    partition: int = 0,
    keys: Sequence[str] | None = None,
    headers: Headers | None = None,
) -> None:
    """Append to one partition; returns when the broker has them all. keys: one a value."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 20, "message.max.bytes": 4_000_000})
    failed: list[object] = []
    for index, value in enumerate(values):
        while True:
            try:
                producer.produce(
                    topic,
                    value,
                    key=keys[index] if keys else None,
                    partition=partition,
                    headers=list(headers) if headers else None,
                    on_delivery=lambda error, _message: failed.append(error) if error else None,
                )
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(60) == 0
    assert failed == []


def transacting(bootstrap: str) -> Producer:
    """A producer in a transaction. For the first of all the broker makes its coordinator, which takes a while."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": unique_name("tx")})
    producer.init_transactions(TRANSACTION_S)
    producer.begin_transaction()
    return producer


def delete_before(kafka: KafkaServer, topic: str, offset: int, *, partition: int = 0) -> None:
    """Retention."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    place = TopicPartition(topic, partition, offset)
    admin.delete_records([place])[place].result(ANSWER_S)


def make_anew(kafka: KafkaServer, topic: str, partitions: int) -> None:
    """Delete the topic, and make another of its name at once."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_topics([topic])[topic].result(ANSWER_S)
    create_topic(kafka.bootstrap, topic, partitions, {})


async def written(run: Flood, rows: int, deadline_s: float = 90.0) -> None:
    """Wait until the table has so many rows."""
    await eventually(lambda: count(run) >= rows, deadline_s, lambda: f"{count(run)} of {rows} rows; {run.tails()}")
    assert count(run) == rows


def count(run: Flood) -> int:
    """Rows of the table."""
    return int(run.run_sql("SELECT count(*) FROM payments"))


def ids(run: Flood) -> list[int]:
    """All ids in the table, ascending, repeated ones included."""
    return [int(line) for line in run.run_sql("SELECT id FROM payments ORDER BY id").split()]


def position(run: Flood, partition: int = 0) -> int | None:
    """The stored position; None if there is none."""
    if not run.run_sql("SELECT to_regclass('forebay.positions')").strip():
        return None
    found = run.run_sql(
        f"SELECT next_offset FROM forebay.positions WHERE \"group\" = '{run.group}' AND partition = {partition}"
    )
    return int(found) if found.strip() else None


async def stopped(run: Flood, consumer: ConsumerProcess, *words: str, partition: int = 0) -> None:
    """Wait until the consumer says that the partition is stopped, with all these words."""

    def says() -> str:
        state = consumer.state()
        found = [p.why or "" for p in state.partitions if p.partition == partition] if state else []
        return found[0] if found else ""

    await eventually(lambda: all(word in says() for word in words), 90.0, lambda: f"{says()!r}; {run.tails()}")
