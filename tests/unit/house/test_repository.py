"""Files that must say the same, and what no file may say."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[3]
LOCKS = sorted(REPOSITORY.glob("requirements*.lock"))


def _yaml_files() -> list[Path]:
    """All but the charts' templates, which are no YAML before Helm has rendered them."""
    folders = ("crds", "manifests", "charts", ".github")
    files = [
        each for folder in folders for each in (REPOSITORY / folder).rglob("*") if each.suffix in (".yaml", ".yml")
    ]
    return sorted(each for each in files if each.parent.name != "templates")


@pytest.mark.parametrize("file", [pytest.param(each, id=str(each.relative_to(REPOSITORY))) for each in _yaml_files()])
def test_yaml_file_loads(file: Path) -> None:
    documents = list(yaml.safe_load_all(file.read_text()))

    assert documents
    assert None not in documents


@pytest.mark.parametrize("lock", [pytest.param(each, id=each.name) for each in LOCKS])
def test_lock_is_hashed_and_names_no_machine(lock: Path) -> None:
    text = lock.read_text()
    pins = re.findall(r"^[a-z0-9][^ \n]*==", text, re.MULTILINE)

    assert pins
    assert len(re.findall(r"^[a-z0-9].*\\\n    --hash=sha256:", text, re.MULTILINE)) == len(pins)
    assert re.findall(r"://|--index|--find-links|/\w+/\w+/", text) == []


def test_locks_of_the_images_pin_what_the_tests_ran_with() -> None:
    tested = _pins(REPOSITORY / "requirements.lock")

    assert len(LOCKS) == 4
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
