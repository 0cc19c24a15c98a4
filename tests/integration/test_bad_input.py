"""What is wrong is said clearly at /readyz, and goes away without a restart once it is put right."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.flood import TABLE, ConsumerProcess, Flood, eventually
from support.preload import payment, preload
from support.testbed.servers import DatabaseFactory, KafkaFactory, create_topic, unique_name

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]


async def says(run: Flood, consumer: ConsumerProcess, *words: str) -> None:
    """Wait until /readyz answers 503 with all these words."""
    seen = ""

    def matches() -> bool:
        nonlocal seen
        answer = consumer.read("/readyz")
        seen = "" if answer is None else answer[1]
        return answer is not None and answer[0] == 503 and all(word in seen for word in words)

    await eventually(matches, 90, lambda: f"/readyz says {seen!r}; {run.tails()}")


async def recovers(run: Flood, consumer: ConsumerProcess, rows: int) -> None:
    """Wait until the rows are there and /readyz answers 200, from the same process."""
    await eventually(lambda: (s := consumer.state()) is not None and s.totals.rows >= rows, 90, run.tails)
    await eventually(lambda: (answer := consumer.read("/readyz")) is not None and answer[0] == 200, 60, run.tails)
    assert consumer.child.is_running()
    assert run.run_sql("SELECT count(*) FROM payments") == str(rows)


def fill(run: Flood, records: int = 500) -> None:
    preload(run.kafka.bootstrap, run.topic, run.ledger, [payment(n) for n in range(records)])


async def test_missing_table(flood: Callable[..., Flood]) -> None:
    run = flood(table="")
    fill(run)
    consumer = run.start_consumer()
    await says(run, consumer, "TableMissing", "public.payments", "spec.sink.table")
    run.run_sql(TABLE)
    await recovers(run, consumer, 500)


async def test_wrong_password(flood: Callable[..., Flood]) -> None:
    run = flood()
    fill(run)
    run.write_secret(password="wrong")
    consumer = run.start_consumer()
    await says(run, consumer, "AuthenticationFailed", "password")
    run.write_secret()
    await recovers(run, consumer, 500)


async def test_incomplete_secret(flood: Callable[..., Flood]) -> None:
    run = flood()
    fill(run)
    (run.folder / "sink" / "host").unlink()
    (run.folder / "sink" / "port").write_text("many")
    consumer = run.start_consumer()
    await says(run, consumer, "host", "port")
    run.write_secret()
    await recovers(run, consumer, 500)


async def test_role_without_rights(flood: Callable[..., Flood], database: DatabaseFactory) -> None:
    poor = database(owner=False)
    run = flood(table="", database=poor)
    fill(run)
    consumer = run.start_consumer()
    await says(run, consumer, "CREATE SCHEMA", "forebay")
    run.run_sql_as_admin(f'GRANT CREATE ON DATABASE "{poor.dbname}" TO "{poor.user}"; {TABLE}')
    await says(run, consumer, "GRANT INSERT", "payments")
    run.run_sql_as_admin(f'GRANT SELECT, INSERT ON payments TO "{poor.user}"')
    await recovers(run, consumer, 500)


async def test_unreachable_broker(
    flood: Callable[..., Flood], own_kafka: KafkaFactory, database: DatabaseFactory
) -> None:
    broker = own_kafka()
    create_topic(broker.bootstrap, "payments", 3, {})
    run = flood(kafka=broker, topic="payments", database=database())
    fill(run)
    broker.stop()
    consumer = run.start_consumer()
    await says(run, consumer, "spec.source.bootstrapServers", broker.bootstrap)
    broker.start()
    await recovers(run, consumer, 500)


async def test_missing_topic(flood: Callable[..., Flood]) -> None:
    run = flood(topic=unique_name("late"))
    consumer = run.start_consumer()
    await says(run, consumer, run.topic, "spec.source.topic")
    create_topic(run.kafka.bootstrap, run.topic, 3, {})
    fill(run)
    await recovers(run, consumer, 500)


async def test_required_column_that_the_records_lack_opens_the_breaker(flood: Callable[..., Flood]) -> None:
    run = flood(table=TABLE.replace("id bigint NOT NULL", "id bigint NOT NULL, branch text NOT NULL"))
    fill(run, 2_000)
    consumer = run.start_consumer()
    await says(run, consumer, "Breaker", "spec.sink.deadLetters", "branch")
    written = int(run.run_sql("SELECT count(*) FROM forebay.dead_letters"))
    assert written < 100, "the breaker lets through less than its minimum"
    run.run_sql("ALTER TABLE payments ALTER branch SET DEFAULT 'main'")
    await recovers(run, consumer, 2_000 - written)


async def test_batch_of_ten_thousand_with_one_refused_row_costs_one_retry(flood: Callable[..., Flood]) -> None:
    run = flood(partitions=1)
    values = [payment(n, amount_cents=-1 if n == 6_000 else n) for n in range(10_000)]
    preload(run.kafka.bootstrap, run.topic, run.ledger, values)
    consumer = run.start_consumer()
    await recovers(run, consumer, 9_999)
    state = consumer.state()
    assert state is not None
    assert (state.totals.dead_letters, state.totals.retries) == (1, 1)
    reason = run.run_sql("SELECT reason, record_offset, message FROM forebay.dead_letters")
    assert reason.startswith("ConstraintViolation\t6000\t")
    assert "payments_amount_cents_check" in reason
