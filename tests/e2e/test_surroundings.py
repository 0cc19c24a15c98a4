"""Other surroundings than usual: a broker that wants passwords, another operator's database, an own autoscaler."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.postgres_programs import find_postgres
from forebay_cli.local.postgres_server import ConnectionParts, run_psql
from forebay_cli.local.server_errors import SqlFailed
from support.cluster_kafka import INSIDE_SASL, SASL_USERS
from support.cluster_servers import deploy_plain_postgres
from support.exactly_once import assert_exactly_once
from support.product import TABLE, WAIT_S, PipelineOnCluster, Product
from support.product_plugin import NewPipeline

OPERATORS_SECRET = "forebay-kafka"
PIPELINES_SECRET = "kafka-client"


@pytest.fixture
def secrets(product: Product, new_pipeline: NewPipeline) -> Iterator[PipelineOnCluster]:
    """A pipeline at the broker's listener with passwords, and a Secret for each of the two who sign in."""
    pipeline = new_pipeline()
    pipeline.kubectl("apply", "--filename", "-", stdin=_client_secret(PIPELINES_SECRET, "ingest"))
    product.kubectl("apply", "--filename", "-", stdin=_client_secret(OPERATORS_SECRET, "operator"))
    pipeline.spec["source"] |= {"bootstrapServers": INSIDE_SASL, "configSecretRef": {"name": PIPELINES_SECRET}}
    yield pipeline
    product.install()
    product.kubectl("delete", "secret", OPERATORS_SECRET)
    pipeline.kubectl("delete", "secret", PIPELINES_SECRET)


@pytest.mark.operator
async def test_secured_broker_is_read_by_both_with_passwords_of_their_own(
    secrets: PipelineOnCluster, product: Product
) -> None:
    pipeline = secrets
    pipeline.produce(10_000)
    pipeline.apply()
    await assert_exactly_once(pipeline)
    told = pipeline.wait_condition("LagAvailable", "False")
    assert "kafkaClients" in told

    clients = f"kafkaClients[0].brokers={INSIDE_SASL},kafkaClients[0].secretName={OPERATORS_SECRET}"
    product.install("--set", clients)

    pipeline.wait_condition("LagAvailable", "True")
    pipeline.produce(10_000)
    await assert_exactly_once(pipeline)
    assert wait_until(lambda: pipeline.status().get("lagRecords") == 0, WAIT_S, 0.3), pipeline.describe()


def test_secret_of_another_operator_leads_to_its_database(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline()
    parts = deploy_plain_postgres(pipeline.cluster, pipeline.servers.image)
    run_psql(find_postgres(), parts, TABLE.format(table=pipeline.table))
    del pipeline.spec["sink"]["postgresClusterRef"]
    pipeline.spec["sink"]["connectionSecretRef"] = {"name": "ledger-app"}
    pipeline.produce(10_000)

    pipeline.apply()

    pipeline.wait_condition("Ready", "True")
    assert wait_until(lambda: _count(parts, pipeline.table) == (10_000, 10_000), WAIT_S, 0.3), pipeline.describe()


def test_autoscaler_of_the_pipeline_itself_is_followed_in_manual_mode(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline(mode="Manual", replicas=1)
    pipeline.apply()
    pipeline.wait_replicas(1)

    pipeline.kubectl("autoscale", f"ingest/{pipeline.name}", "--min=2", "--max=4", "--cpu=80%")
    try:
        pipeline.wait_replicas(2)
        assert pipeline.read()["spec"]["scaling"]["replicas"] == 2
        assert pipeline.condition("Conflict")[0] != "True"
    finally:
        pipeline.kubectl("delete", "hpa", pipeline.name)


def _client_secret(name: str, user: str) -> str:
    """As spec.source.configSecretRef and the chart's kafkaClients want it: a key for each property of librdkafka."""
    properties = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": SASL_USERS[user],
    }
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": properties})


def _count(parts: ConnectionParts, table: str) -> tuple[int, int]:
    """Rows, and different ones."""
    try:
        said = run_psql(find_postgres(), parts, f"SELECT count(*), count(DISTINCT id) FROM {table}")
    except SqlFailed:
        return 0, 0
    rows, different = said.split("\t")
    return int(rows), int(different)
