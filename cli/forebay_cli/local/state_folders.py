"""Finding the state of pipelines that run, or ran, on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from forebay_api.v1alpha1 import Pipeline

from forebay_cli.errors import Refused
from forebay_cli.local.files import read_running_pid
from forebay_cli.local.recorder import STATUS_FILE, StatusFile, read_status_file


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineState:
    """name: <namespace>.<name>. pid: of the runtime, None when none runs. status: None when it never made a pass."""

    name: str
    folder: Path
    pid: int | None
    status: StatusFile | None


def make_state_folder(root: Path, pipeline: Pipeline) -> Path:
    """The folder of one pipeline; only this user may look into it."""
    folder = root / f"{pipeline.namespace}.{pipeline.name}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def read_states(root: Path) -> list[PipelineState]:
    """All pipelines that have a state here, by name."""
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return [_read_state(folder) for folder in folders if (folder / "pid").exists() or (folder / STATUS_FILE).exists()]


def find_state(root: Path, name: str | None) -> PipelineState:
    """The pipeline of that name (`payments`, `bank.payments`, `bank/payments`); without one, the only one that runs.

    Raises Refused when there is none, or several.
    """
    states = read_states(root)
    if name is not None:
        found = [s for s in states if s.name == name.replace("/", ".") or s.name.partition(".")[2] == name]
    else:
        found = [s for s in states if s.pid is not None] or states
    if len(found) == 1:
        return found[0]
    if not found:
        raise Refused(f"no pipeline {name or ''}".rstrip() + f" has run here (looked in {root})")
    raise Refused(f"which one? {', '.join(s.name for s in found)}")


def _read_state(folder: Path) -> PipelineState:
    return PipelineState(name=folder.name, folder=folder, pid=read_running_pid(folder), status=read_status_file(folder))
