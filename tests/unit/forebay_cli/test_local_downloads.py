"""The cache is filled once and whole; what is not installed is named."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from forebay_cli.local import postgres_programs
from forebay_cli.local.downloads import choose_cache_folder, fill_once
from forebay_cli.local.free_ports import find_free_port, is_free, recall_port
from forebay_cli.local.kafka_jars import fetch_kafka_jars
from forebay_cli.local.kafka_java import find_kafka_java
from forebay_cli.local.postgres_programs import find_postgres, require_entrance
from forebay_cli.local.server_errors import MissingProgram, ServerNotReady, UnusableFolder


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        pytest.param({"FOREBAY_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a", id="own-variable-wins"),
        pytest.param({"FOREBAY_CACHE": "", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/forebay", id="shared-cache"),
        pytest.param({"HOME": "/c"}, "/c/.cache/forebay", id="home"),
    ],
)
def test_cache_folder_follows_the_environment(env: dict[str, str], folder: str) -> None:
    assert choose_cache_folder(env) == Path(folder)


def test_parallel_starters_fill_the_cache_once(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "thing"
    fills: list[Path] = []
    several_at_once = threading.Barrier(4)

    def fill(draft: Path) -> None:
        fills.append(draft)
        (draft / "content").write_text("whole")

    def start() -> None:
        several_at_once.wait()
        fill_once(target, fill)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fills) == 1
    assert (target / "content").read_text() == "whole"


def test_failed_fill_leaves_nothing_and_may_be_tried_again(tmp_path: Path) -> None:
    target = tmp_path / "thing"

    def fail(draft: Path) -> None:
        (draft / "half").touch()
        raise OSError("line cut")

    with pytest.raises(OSError, match="line cut"):
        fill_once(target, fail)
    assert [entry.name for entry in tmp_path.iterdir()] == [".thing.lock"]
    fill_once(target, lambda draft: (draft / "whole").touch())
    assert (target / "whole").exists()


def test_missing_java_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgram, match=r"java was not found.*apt-get install openjdk-17-jre-headless"):
        find_kafka_java(tmp_path / "cache")


def test_missing_maven_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_program(tmp_path / "java", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgram, match=r"mvn was not found.*apt-get install maven"):
        fetch_kafka_jars(tmp_path / "cache")


def test_failed_download_tells_what_maven_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_program(tmp_path / "java", "exit 0")
    make_program(tmp_path / "mvn", "echo cannot resolve; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ServerNotReady, match=r"(?s)download of Kafka failed with exit code 1.*cannot resolve"):
        fetch_kafka_jars(tmp_path / "cache")


def test_missing_postgres_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgram, match="apt-get install postgresql"):
        find_postgres(debian_root=tmp_path)


def test_newest_of_several_servers_is_taken(tmp_path: Path) -> None:
    for version in ("9", "14", "18"):
        for name in postgres_programs.NEEDED:
            make_program(tmp_path / version / "bin" / name, "exit 0")
    assert find_postgres(debian_root=tmp_path).bin == tmp_path / "18" / "bin"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who starts servers as another user")
def test_folder_closed_to_the_servers_user_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "inner").mkdir(parents=True)
    closed.chmod(0o700)
    with pytest.raises(UnusableFolder, match=r"user nobody cannot enter .*: choose a folder elsewhere"):
        require_entrance(closed / "inner", "nobody")


def test_ports_are_free_and_never_given_twice() -> None:
    ports = {find_free_port() for _ in range(20)}
    assert len(ports) == 20
    assert all(is_free(port) for port in ports)


def test_noted_port_is_used_again(tmp_path: Path) -> None:
    assert recall_port(tmp_path / "port") == recall_port(tmp_path / "port")


def make_program(file: Path, body: str) -> None:
    """Write an executable shell script."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
