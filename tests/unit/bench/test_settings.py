"""The changes that are measured are pipelines that a consumer takes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from forebay_api.parse import parse_pipeline
from forebay_api.v1alpha1 import SinkMode
from forebay_api.wire import Env

from bench.settings import CHANGES, Change, build_group
from bench.write_path import consumer_environment


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_each_change_makes_a_pipeline_with_what_it_names(change: Change, tmp_path: Path) -> None:
    rig = SimpleNamespace(
        folder=tmp_path, dsn="postgresql://nobody@127.0.0.1/db", kafka=SimpleNamespace(bootstrap="b:1")
    )
    told = consumer_environment(rig, build_group(change, -1), sink=change.sink, consumer={"lanes": change.lanes})  # type: ignore[arg-type]  # what it reads of a Rig
    spec = parse_pipeline(json.loads(Path(told[Env.PIPELINE_FILE]).read_text())).spec
    assert spec.consumer.lanes == change.lanes
    assert (spec.sink.mode is SinkMode.UPSERT) == change.name.startswith("upsert")


def test_names_are_the_changes_own() -> None:
    assert len({change.name for change in CHANGES}) == len(CHANGES)
