"""A broker that wants passwords: consumers and operator sign in, each with its own."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from forebay_cli.local.deadlines import wait_until
from support.cluster_kafka import INSIDE_SASL, SASL_USERS
from support.exactly_once import assert_exactly_once
from support.product import WAIT_S, PipelineOnCluster, Product
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


def _client_secret(name: str, user: str) -> str:
    """As spec.source.configSecretRef and the chart's kafkaClients want it: a key for each property of librdkafka."""
    properties = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": SASL_USERS[user],
    }
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": properties})
