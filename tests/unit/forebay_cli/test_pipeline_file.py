"""Reading pipeline files and judging their changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from forebay_cli.errors import UsageProblem
from forebay_cli.pipeline_file import find_forbidden_changes, read_pipeline_file, read_stamp
from support.pipeline_builders import build_pipeline

FIVE_MISTAKES = """
apiVersion: forebay.dev/v1alpha1
kind: IngestPipeline
metadata: {name: payments, namespace: bank}
spec:
  source: {bootstrapServers: "kafka", topic: payments}
  sink:
    connectionSecretRef: {name: db}
    table: payments
    deadLetters: {maxFraction: 7}
  scaling: {minReplicas: 9, maxReplicas: 3, mode: Sometimes}
  consumer: {maxRowsPerSecnd: 5}
"""


def test_every_mistake_is_reported_with_its_field(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(FIVE_MISTAKES)
    with pytest.raises(UsageProblem) as caught:
        read_pipeline_file(file)
    fields = {problem.partition(":")[0] for problem in caught.value.problems}
    assert fields >= {
        "spec.source.bootstrapServers",
        "spec.sink.deadLetters.maxFraction",
        "spec.scaling.mode",
        "spec.consumer.maxRowsPerSecnd",
    }
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("a: [", "no YAML", id="broken"),
        pytest.param("- 1", "expected one IngestPipeline", id="a-list"),
        pytest.param("", "expected one IngestPipeline", id="empty"),
    ],
)
def test_what_is_no_resource_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(text)
    with pytest.raises(UsageProblem, match=words):
        read_pipeline_file(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="absent"):
        read_pipeline_file(tmp_path / "absent")


def test_scaling_may_change_and_identity_may_not() -> None:
    old = build_pipeline()
    spec = old.spec
    assert (
        find_forbidden_changes(old, replace(old, spec=replace(spec, scaling=replace(spec.scaling, max_replicas=3))))
        == ()
    )
    moved = replace(old, name="other", spec=replace(spec, sink=replace(spec.sink, table="public.other")))
    assert [problem.partition(":")[0] for problem in find_forbidden_changes(old, moved)] == [
        "metadata.name",
        "spec.sink.table",
    ]


def test_a_stamp_changes_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    assert read_stamp(file) is None
    file.write_text("a")
    before = read_stamp(file)
    replacement = tmp_path / "new"
    replacement.write_text("b")
    replacement.replace(file)
    assert read_stamp(file) != before
