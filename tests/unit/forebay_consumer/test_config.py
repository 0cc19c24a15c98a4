"""The consumer's environment: what is read, and that every bad variable is named at once. Also the program's exit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from forebay_api.wire import CONSUMER_HTTP_PORT, Env, ExitCode
from forebay_consumer.config import config_from_env
from forebay_consumer.errors import BadConfig
from support.resources import MINIMAL


@pytest.fixture
def good(tmp_path: Path) -> dict[str, str]:
    """The two variables that must be set."""
    file, folder = tmp_path / "pipeline.yaml", tmp_path / "secret"
    file.write_text(MINIMAL, encoding="utf-8")
    folder.mkdir()
    return {Env.PIPELINE_FILE: str(file), Env.SINK_SECRET_DIR: str(folder)}


def problems_of(env: dict[str, str]) -> list[str]:
    with pytest.raises(BadConfig) as bad:
        config_from_env(env, default_id="host-1")
    return list(bad.value.problems)


def test_two_variables_are_enough(good: dict[str, str]) -> None:
    config = config_from_env(good, default_id="host-1")
    assert config.pipeline.key == "bank/payments"
    assert (config.consumer_id, config.http_host, config.http_port) == ("host-1", "0.0.0.0", CONSUMER_HTTP_PORT)
    assert (config.grace_s, config.log_level) == (30.0, "INFO")
    assert (config.kafka_config_dir, config.sink_ca_file, config.http_port_file) == (None, None, None)


def test_all_variables_are_taken(good: dict[str, str], tmp_path: Path) -> None:
    extra = {
        Env.KAFKA_CONFIG_DIR: str(tmp_path),
        Env.SINK_CA_FILE: good[Env.PIPELINE_FILE],
        Env.CONSUMER_ID: "c-7",
        Env.HTTP_HOST: "127.0.0.1",
        Env.HTTP_PORT: "0",
        Env.HTTP_PORT_FILE: str(tmp_path / "port"),
        Env.GRACE_SECONDS: "12.5",
        Env.LOG_LEVEL: "DEBUG",
    }
    config = config_from_env(good | extra, default_id="host-1")
    assert set(extra) | set(good) == set(Env)
    assert (config.consumer_id, config.http_host, config.http_port) == ("c-7", "127.0.0.1", 0)
    assert (config.grace_s, config.log_level, config.http_port_file) == (12.5, "DEBUG", tmp_path / "port")
    assert (config.kafka_config_dir, config.sink_ca_file) == (tmp_path, Path(good[Env.PIPELINE_FILE]))


def test_empty_variable_is_one_that_is_not_set(good: dict[str, str]) -> None:
    empty = dict.fromkeys([name for name in Env if name not in good], "")
    assert config_from_env(good | empty, default_id="host-1") == config_from_env(good, default_id="host-1")


def test_every_bad_variable_is_reported_at_once(tmp_path: Path) -> None:
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(MINIMAL.replace("topic: payments", "topic: pay/ments, startForm: Latest"), encoding="utf-8")
    problems = problems_of(
        {
            Env.PIPELINE_FILE: str(pipeline),
            Env.KAFKA_CONFIG_DIR: "/nowhere",
            Env.SINK_CA_FILE: str(tmp_path),
            Env.HTTP_PORT: "70000",
            Env.GRACE_SECONDS: "soon",
            Env.LOG_LEVEL: "LOUD",
        }
    )
    assert [problem.split(" must be a Kafka")[0] for problem in problems] == [
        f"{Env.PIPELINE_FILE}: spec.source.startForm: unknown field; did you mean startFrom?",
        f"{Env.PIPELINE_FILE}: spec.source.topic:",
        f"{Env.SINK_SECRET_DIR}: is not set",
        f"{Env.KAFKA_CONFIG_DIR}: /nowhere is not a folder",
        f"{Env.SINK_CA_FILE}: {tmp_path} is not a file",
        f"{Env.HTTP_PORT}: must be a port from 0 (any) to 65535, is '70000'",
        f"{Env.GRACE_SECONDS}: must be seconds from 1 to 3600, is 'soon'",
        f"{Env.LOG_LEVEL}: must be one of DEBUG, INFO, WARNING, ERROR, is 'LOUD'",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param(Env.HTTP_PORT, "-1", id="negative-port"),
        pytest.param(Env.HTTP_PORT, "http", id="port-in-letters"),
        pytest.param(Env.HTTP_PORT, "9" * 5000, id="port-without-end"),
        pytest.param(Env.GRACE_SECONDS, "0", id="no-grace"),
        pytest.param(Env.GRACE_SECONDS, "nan", id="nan"),
        pytest.param(Env.GRACE_SECONDS, "inf", id="inf"),
        pytest.param(Env.LOG_LEVEL, "info", id="lower-case"),
    ],
)
def test_bad_value_is_named_with_its_variable(good: dict[str, str], name: Env, text: str) -> None:
    (problem,) = problems_of(good | {name: text})
    assert problem.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"a: [", "cannot be read as YAML", id="no-yaml"),
        pytest.param(b"\xff\xfe\xff", "cannot be read as YAML", id="no-utf8"),
        pytest.param(b"- a\n", "is not a YAML mapping", id="a-list"),
        pytest.param(b"", "is not a YAML mapping", id="empty"),
        pytest.param(b"when: 2025-13-45\n", "month must be", id="no-date"),
    ],
)
def test_pipeline_file_that_is_none_is_named(good: dict[str, str], content: bytes, words: str) -> None:
    Path(good[Env.PIPELINE_FILE]).write_bytes(content)
    problems = problems_of(good)
    assert any(words in problem for problem in problems)
    assert all(problem.startswith(f"{Env.PIPELINE_FILE}: ") for problem in problems)


def run_program(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FOREBAY_")}
    return subprocess.run(
        [sys.executable, "-m", "forebay_consumer"],
        env=inherited | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_program_without_environment_exits_with_2_and_all_problems_on_standard_error() -> None:
    ended = run_program({Env.HTTP_PORT: "x"})
    assert ended.returncode == ExitCode.BAD_CONFIG == 2
    assert ended.stderr.splitlines() == [
        f"{Env.PIPELINE_FILE}: is not set",
        f"{Env.SINK_SECRET_DIR}: is not set",
        f"{Env.HTTP_PORT}: must be a port from 0 (any) to 65535, is 'x'",
    ]
    assert ended.stdout == ""


def test_program_with_a_kafka_property_that_it_must_not_be_given_exits_with_2(
    good: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "kafka"
    folder.mkdir()
    (folder / "enable.auto.commit").write_text("true")
    ended = run_program(good | {Env.KAFKA_CONFIG_DIR: str(folder), Env.HTTP_PORT: "0"})
    assert ended.returncode == ExitCode.BAD_CONFIG
    assert "enable.auto.commit" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_program_whose_port_is_taken_exits_with_1_and_says_why(good: dict[str, str]) -> None:
    ended = run_program(good | {Env.HTTP_HOST: "192.0.2.1", Env.HTTP_PORT: "1"})  # an address of nobody
    assert ended.returncode == ExitCode.FATAL == 1
    assert '"message": "consumer failed"' in ended.stderr
