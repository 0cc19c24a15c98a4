"""The operator's environment: defaults, and every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from forebay_operator.config import Config, config_from_env
from forebay_operator.errors import BadConfig

NEEDED = {"FOREBAY_NAMESPACE": "ops", "FOREBAY_CONSUMER_IMAGE": "forebay-consumer:1"}


def read(**more: str) -> Config:
    return config_from_env({**NEEDED, **more}, default_id="host-1")


def test_defaults_are_those_of_the_chart() -> None:
    config = read()

    assert (config.namespace, config.pod_name, config.consumer_image) == ("ops", "host-1", "forebay-consumer:1")
    assert (config.watch_namespaces, config.http_port, config.log_level) == ((), 8080, "INFO")
    assert (config.lease.lease_duration_s, config.lease.renew_deadline_s, config.lease.retry_period_s) == (15, 10, 2)
    assert (config.kubeconfig, config.kafka_clients_dir, config.http_port_file) == (None, None, None)


def test_everything_can_be_set(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text("{}")

    config = read(
        FOREBAY_POD_NAME="pod-1",
        FOREBAY_WATCH_NAMESPACES=" bank, shop,bank ",
        FOREBAY_CONSUMER_IMAGE_PULL_POLICY="Never",
        FOREBAY_KAFKA_CLIENTS_DIR=str(tmp_path / "none"),
        FOREBAY_LEASE_DURATION_SECONDS="3",
        FOREBAY_RENEW_DEADLINE_SECONDS="2",
        FOREBAY_RETRY_PERIOD_SECONDS="0.5",
        FOREBAY_HTTP_PORT="0",
        KUBECONFIG=str(kubeconfig),
    )

    assert config.watch_namespaces == ("bank", "shop")
    assert (config.pod_name, config.consumer_image_pull_policy, config.http_port) == ("pod-1", "Never", 0)
    assert (config.kafka_clients_dir, config.kubeconfig) == (tmp_path / "none", kubeconfig)


def test_every_problem_is_named_at_once() -> None:
    env = {
        "FOREBAY_NAMESPACE": "No Name",
        "FOREBAY_WATCH_NAMESPACES": "ok,NOT",
        "FOREBAY_CONSUMER_IMAGE_PULL_POLICY": "Sometimes",
        "FOREBAY_LEASE_DURATION_SECONDS": "soon",
        "FOREBAY_RENEW_DEADLINE_SECONDS": "20",
        "FOREBAY_HTTP_PORT": "65536",
        "FOREBAY_LOG_LEVEL": "LOUD",
        "KUBECONFIG": "/nowhere",
    }

    with pytest.raises(BadConfig) as caught:
        config_from_env(env, default_id="host-1")

    named = [problem.split(":")[0].split(",")[0] for problem in caught.value.problems]
    assert sorted(named) == sorted(
        [*env.keys() - {"FOREBAY_RENEW_DEADLINE_SECONDS"}, "FOREBAY_CONSUMER_IMAGE", "FOREBAY_RETRY_PERIOD_SECONDS"]
    )
