"""The chart patroni-haproxy: a configuration that HAProxy accepts, and the objects around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.charts import pick, render, render_haproxy_config, render_notes
from support.haproxy import check_config

CLUSTER = {"clusterName": "acid-payments"}
STATIC = [{"name": "pg1", "host": "10.0.0.11"}, {"name": "pg2", "host": "10.0.0.12", "port": 6432, "restPort": 9008}]
NAMED = [{"name": "pg1", "host": "pg1.example.com"}]


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="pods"),
        pytest.param({"members": {"static": STATIC}}, id="addresses"),
        pytest.param({"members": {"static": NAMED}}, id="names"),
        pytest.param({"replicas": {"enabled": False}}, id="no-replica-port"),
        pytest.param({"bind": "127.0.0.1", "maxConnections": 100000, "threads": 1}, id="bound-and-big"),
    ],
)
def test_haproxy_accepts_the_configuration_without_a_warning(more: dict[str, Any], tmp_path: Path) -> None:
    assert check_config(render_haproxy_config(CLUSTER | more), tmp_path) == ""


def test_members_are_found_by_the_charts_own_headless_service() -> None:
    config = render_haproxy_config(CLUSTER)
    service = pick(render("patroni-haproxy", CLUSTER, namespace="bank"), "Service", "acid-payments-haproxy-members")

    assert "server-template member 1-8 acid-payments-haproxy-members.bank.svc.cluster.local:5432" in config
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"application": "spilo", "cluster-name": "acid-payments"}


def test_labels_of_the_members_can_be_those_of_another_operator() -> None:
    values = CLUSTER | {"members": {"podLabels": {"team": "db", "pg": "payments"}}}

    service = pick(render("patroni-haproxy", values), "Service", "acid-payments-haproxy-members")

    assert service["spec"]["selector"] == {"team": "db", "pg": "payments"}


def test_static_members_need_neither_dns_nor_a_service() -> None:
    values = CLUSTER | {"members": {"static": STATIC}}
    config = render_haproxy_config(values)
    services = [each["metadata"]["name"] for each in render("patroni-haproxy", values) if each["kind"] == "Service"]

    assert "server pg1 10.0.0.11:5432 check port 8008\n" in config
    assert "server pg2 10.0.0.12:6432 check port 9008\n" in config
    assert "resolvers" not in config
    assert services == ["acid-payments-haproxy", "acid-payments-haproxy-metrics"]


def test_checks_have_the_measured_timings_and_the_lag_bound_in_bytes() -> None:
    config = render_haproxy_config(CLUSTER)

    assert (
        config.count("inter 1000ms fastinter 500ms downinter 500ms fall 2 rise 1 on-marked-down shutdown-sessions") == 2
    )
    assert "timeout check 1000ms" in config
    assert "retries 0" in config
    assert "option httpchk OPTIONS /primary\n" in config
    assert "option httpchk OPTIONS /replica?lag=16777216\n" in config


def test_service_has_the_name_and_ports_that_pipelines_expect() -> None:
    service = pick(render("patroni-haproxy", CLUSTER, release="anything"), "Service", "acid-payments-haproxy")

    assert {each["name"]: each["port"] for each in service["spec"]["ports"]} == {"primary": 5432, "replicas": 5433}


def test_changed_configuration_rolls_the_pods() -> None:
    def checksum(values: dict[str, Any]) -> str:
        template = pick(render("patroni-haproxy", values), "Deployment")["spec"]["template"]
        found: str = template["metadata"]["annotations"]["checksum/config"]
        return found

    assert checksum(CLUSTER) == checksum(CLUSTER | {"podLabels": {"a": "b"}})
    assert checksum(CLUSTER) != checksum(CLUSTER | {"checks": {"fall": 3}})


def test_pod_that_goes_drains_within_its_grace_period() -> None:
    values = CLUSTER | {"drain": {"unpublishSeconds": 7, "sessionSeconds": 20}}
    pod = pick(render("patroni-haproxy", values), "Deployment")["spec"]["template"]["spec"]
    stop = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]

    assert stop == ["/bin/sh", "-c", "sleep 7; kill -USR1 1; sleep 20"]
    assert pod["terminationGracePeriodSeconds"] > 27
    assert "hard-stop-after 20s" in render_haproxy_config(values)


def test_notes_name_the_service_and_the_ports() -> None:
    notes = render_notes("patroni-haproxy", CLUSTER)

    assert "acid-payments-haproxy.ops:5432" in notes
    assert "acid-payments-haproxy.ops:5433" in notes
    assert "serviceName: acid-payments-haproxy" in notes
