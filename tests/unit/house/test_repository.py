"""Files that must say the same, and what no file may say."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from forebay_api import wire

REPOSITORY = Path(__file__).parents[3]
CHART = REPOSITORY / "charts" / "forebay"
LOCKS = sorted(REPOSITORY.glob("requirements*.lock"))

_CONTROL_LINE = re.compile(r"^\s*\{\{-?\s*(if|else|end|range|with|define)\b.*\}\}\s*$", re.MULTILINE)
_EXPRESSION = re.compile(r"\{\{.*?\}\}")


def _yaml_files() -> list[Path]:
    folders = ("crds", "manifests", "charts", ".github")
    files = [
        each for folder in folders for each in (REPOSITORY / folder).rglob("*") if each.suffix in (".yaml", ".yml")
    ]
    return sorted(files)


def _load(file: Path) -> list[Any]:
    """The documents; a chart's template with every expression replaced by a word."""
    text = file.read_text()
    if file.parent.name == "templates":
        text = _EXPRESSION.sub("word", _CONTROL_LINE.sub("", text))
    return [document for document in yaml.safe_load_all(text) if document is not None]


@pytest.mark.parametrize("file", [pytest.param(each, id=str(each.relative_to(REPOSITORY))) for each in _yaml_files()])
def test_yaml_file_loads(file: Path) -> None:
    assert _load(file)


def test_chart_carries_the_definition_of_crds() -> None:
    copied = (CHART / "crds" / "ingestpipelines.yaml").read_text()

    assert copied == (REPOSITORY / "crds" / "ingestpipelines.yaml").read_text()
    assert not (CHART / "crds" / "ingestpipelines.yaml").is_symlink()


def test_chart_gives_the_operator_no_secrets_and_no_wildcards() -> None:
    (role,) = (each for each in _load(CHART / "templates" / "rbac.yaml") if "rules" in each)
    granted = {resource for rule in role["rules"] for resource in rule["resources"]}
    words = {word for rule in role["rules"] for word in rule["verbs"] + rule["apiGroups"]}

    assert {wire.PLURAL, f"{wire.PLURAL}/status", "deployments/scale"} <= granted
    assert "secrets" not in granted
    assert "*" not in granted | words


@pytest.mark.parametrize("lock", [pytest.param(each, id=each.name) for each in LOCKS])
def test_lock_is_hashed_and_names_no_machine(lock: Path) -> None:
    text = lock.read_text()
    pins = re.findall(r"^[a-z0-9][^ \n]*==", text, re.MULTILINE)

    assert pins
    assert len(re.findall(r"^[a-z0-9].*\\\n    --hash=sha256:", text, re.MULTILINE)) == len(pins)
    assert re.findall(r"://|--index|--find-links|/\w+/\w+/", text) == []


def test_locks_of_the_images_pin_what_the_tests_ran_with() -> None:
    tested = _pins(REPOSITORY / "requirements.lock")

    assert len(LOCKS) == 3
    assert [pin for lock in LOCKS for pin in _pins(lock) - tested] == []


def _pins(lock: Path) -> set[str]:
    return set(re.findall(r"^[a-z0-9][^ \n]*==[^ \n]+", lock.read_text(), re.MULTILINE))


def test_no_tracked_file_names_a_path_of_a_home_or_a_workspace() -> None:
    search = [
        "git",
        "grep",
        "-lIE",
        "[^a-z.](/home|/root|/work|/Users)/",
        "--",
        ":!tests/unit/house/test_repository.py",
    ]

    found = subprocess.run(search, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert found.returncode in (0, 1), found.stderr
    assert found.stdout.splitlines() == []
