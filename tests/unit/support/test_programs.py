"""Programs come from PATH when recent, else from the cache, else from the compiler."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from forebay_cli.local.server_errors import ServerNotReady
from support.programs import MODULES, RECIPES, MissingGo, Recipe, find_installed, hash_recipe, program

FAKE_GO = """
while [ "$1" != -o ]; do shift; done
echo built >>"$(dirname "$0")/builds"
echo "$CGO_ENABLED $GOFLAGS" >"$2"
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder in front of PATH, and an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("FOREBAY_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.mark.parametrize(
    ("name", "says", "taken"),
    [
        pytest.param("helm", "v3.16.0", True, id="least-helm"),
        pytest.param("helm", "v3.15.9", False, id="old-helm"),
        pytest.param("helm", "v4.0.1", True, id="next-major"),
        pytest.param("kind", "kind v0.33.0 go1.26.8 linux/amd64", True, id="kind"),
        pytest.param("kind", "kind v0.9.0 go1.15 linux/amd64", False, id="numbers-are-not-text"),
        pytest.param("kubectl", "  gitVersion: v1.32.4-dispatcher", False, id="kubectl-out-of-skew"),
        pytest.param("kubectl", "none of your business", False, id="no-version"),
        pytest.param("etcd", "v99.0.0", False, id="only-ours-will-do"),
    ],
)
def test_installed_program_is_taken_when_recent(path: Path, name: str, says: str, taken: bool) -> None:
    make_program(path / name, f"echo '{says}'")
    assert find_installed(name) == (path / name if taken else None)


def test_installed_program_that_fails_is_not_taken(path: Path) -> None:
    make_program(path / "helm", "echo v3.17.0; exit 1")
    assert find_installed("helm") is None


def test_program_is_built_once_static_and_found_again(path: Path) -> None:
    make_program(path / "go", FAKE_GO)
    several_at_once = threading.Barrier(3)
    found: list[Path] = []

    def start() -> None:
        several_at_once.wait()
        found.append(program("pause"))

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(found)) == 1
    assert found[0].read_text() == "0 -trimpath -buildvcs=false -mod=readonly\n"
    assert (path / "builds").read_text() == "built\n"


def test_missing_compiler_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(path))
    with pytest.raises(MissingGo, match=r"go was not found, which builds etcd: install Go"):
        program("etcd")


def test_failed_build_tells_what_the_compiler_said(path: Path) -> None:
    make_program(path / "go", "echo 'pause.go:1: no such thing'; exit 2")
    with pytest.raises(ServerNotReady, match=r"(?s)build of pause failed with exit code 2.*no such thing"):
        program("pause")


def test_hash_changes_with_recipe_and_module() -> None:
    hashes = {hash_recipe(recipe) for recipe in RECIPES.values()}
    assert len(hashes) == len(RECIPES)
    assert hash_recipe(Recipe(module="pause", package=".", link="-X a=b")) not in hashes


def test_every_recipe_has_its_pins() -> None:
    modules = {recipe.module for recipe in RECIPES.values()}
    assert {file.parent.name for file in MODULES.glob("*/go.mod")} == modules
    assert {file.parent.name for file in MODULES.glob("*/go.sum")} == modules - {"pause", "probe"}


def make_program(file: Path, body: str) -> None:
    """Write an executable shell script."""
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
