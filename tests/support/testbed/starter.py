"""A program to be killed: starts Kafka, PostgreSQL and a client with a busy query, tells what it started, and waits."""

from __future__ import annotations

import json
import os
import signal

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.downloads import choose_cache_folder
from forebay_cli.local.kafka_server import KafkaServer
from forebay_cli.local.postgres_programs import find_postgres
from forebay_cli.local.postgres_server import PostgresServer
from forebay_cli.local.process import create_guarded_folder, start_child

ENDLESS = "DO $$ BEGIN LOOP END LOOP; END $$"
"""A query that looks at nothing while it runs, not even whether its postmaster lives."""
BUSY = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO%' AND state = 'active';"


def main() -> None:
    """Start everything under one folder, print one line of JSON, wait to be killed."""
    folder = create_guarded_folder()
    kafka = KafkaServer(folder / "kafka", cache=choose_cache_folder(os.environ))
    postgres = PostgresServer(folder / "postgres")
    kafka.start()
    postgres.start()
    env = {"PATH": os.environ["PATH"], **postgres.admin().environment}
    client = start_child([find_postgres().bin / "psql", "-Xc", ENDLESS], folder / "psql.log", env=env)
    assert wait_until(lambda: postgres.run_sql(BUSY) == "1", 30)
    segment = (postgres.data / "postmaster.pid").read_text().splitlines()[6].split()[1]
    pids = [kafka.pid, postgres.pid, client.pid]
    print(json.dumps({"folder": str(folder), "pids": pids, "segment": segment}), flush=True)  # noqa: T201 - its answer
    signal.pause()


if __name__ == "__main__":
    main()
