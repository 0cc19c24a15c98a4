"""Other surroundings than usual: the database of another operator, an autoscaler of the pipeline itself."""

from __future__ import annotations

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.postgres_programs import find_postgres
from forebay_cli.local.postgres_server import ConnectionParts, run_psql
from forebay_cli.local.server_errors import SqlFailed
from support.cluster_servers import deploy_plain_postgres
from support.product import TABLE, WAIT_S
from support.product_plugin import NewPipeline

OPERATORS_SECRET = "forebay-kafka"
PIPELINES_SECRET = "kafka-client"


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


def _count(parts: ConnectionParts, table: str) -> tuple[int, int]:
    """Rows, and different ones."""
    try:
        said = run_psql(find_postgres(), parts, f"SELECT count(*), count(DISTINCT id) FROM {table}")
    except SqlFailed:
        return 0, 0
    rows, different = said.split("\t")
    return int(rows), int(different)
