"""Reading a pipeline file, and which of its changes a running pipeline can take."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from forebay_api.parse import InvalidPipeline, parse_pipeline
from forebay_api.v1alpha1 import Pipeline

from forebay_cli.errors import UsageProblem


def read_documents(path: Path) -> list[object]:
    """All of a YAML or JSON file, `-` for standard input. Raises UsageProblem."""
    try:
        text = sys.stdin.read() if path == Path("-") else path.read_text(encoding="utf-8")
        return list(yaml.safe_load_all(text))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise UsageProblem(f"{path}: no YAML: {error}") from error


def read_pipeline_file(path: Path) -> Pipeline:
    """The pipeline of a YAML or JSON file. Raises UsageProblem with every problem, each with its field."""
    documents = read_documents(path)
    body = documents[0] if len(documents) == 1 else None
    if not isinstance(body, Mapping):
        raise UsageProblem(f"{path}: expected one IngestPipeline, with apiVersion, kind, metadata and spec")
    try:
        return parse_pipeline(body)
    except InvalidPipeline as error:
        raise UsageProblem(*(str(problem) for problem in error.problems)) from error


def find_forbidden_changes(old: Pipeline, new: Pipeline) -> tuple[str, ...]:
    """Why `new` cannot take the place of a running `old`; empty when it can."""
    fixed = (
        ("metadata.namespace", old.namespace, new.namespace),
        ("metadata.name", old.name, new.name),
        ("spec.source.group", old.spec.source.group, new.spec.source.group),
        ("spec.sink.table", old.spec.sink.table, new.spec.sink.table),
    )
    return tuple(
        f"{field}: cannot change from {a!r} to {b!r}; start another pipeline" for field, a, b in fixed if a != b
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What changes when a file does, also when it is replaced by another one of the same length and time."""

    modified_ns: int
    size: int
    inode: int


def read_stamp(path: Path) -> Stamp | None:
    """None while there is no file (an editor is replacing it)."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(modified_ns=found.st_mtime_ns, size=found.st_size, inode=found.st_ino)
