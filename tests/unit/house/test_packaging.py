"""The folder `operator/` never hides the standard library's module, wherever Forebay is imported from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
PACKAGES = ("forebay_api", "forebay_operator", "forebay_consumer", "forebay_cli")
PROOF = f"""
import operator, sys, sysconfig
assert operator.itemgetter(0)("ab") == "a"
assert operator.__file__.startswith(sysconfig.get_path("stdlib")), operator.__file__
import enum, json, {", ".join(PACKAGES)}
print(forebay_api.__file__)
"""


def _run(*options: str, cwd: Path, **environment: str) -> str:
    """The output of PROOF in a fresh interpreter without this one's environment."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, *options, "-c", PROOF],
        cwd=cwd,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        timeout=280,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_operator_is_the_standard_librarys_from_the_repository_root() -> None:
    imported_from = _run(cwd=REPOSITORY)

    assert Path(imported_from).is_relative_to(REPOSITORY / "crds")


def test_operator_is_the_standard_librarys_from_an_editable_install(tmp_path: Path) -> None:
    imported_from = _run("-P", cwd=tmp_path)

    assert Path(imported_from).is_relative_to(REPOSITORY / "crds")


def test_operator_is_the_standard_librarys_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")

    imported_from = _run("-S", cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))

    assert Path(imported_from).is_relative_to(tmp_path)


def test_wheel_holds_the_four_packages_and_nothing_beside_them(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]

    assert {name.split("/")[0] for name in names} == set(PACKAGES)
    assert [name for name in names if name.endswith((".pyc", ".o"))] == []


@pytest.mark.skipif(shutil.which("rustc") is None, reason="rustc, which compiles the native encoder, is missing")
def test_wheel_holds_the_native_encoder(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    assert "forebay_consumer/native/_forebay.so" in names


def test_source_folders_and_tests_are_no_packages() -> None:
    tests = [folder for folder in (REPOSITORY / "tests").rglob("*") if folder.is_dir()]
    folders = [REPOSITORY / name for name in ("operator", "consumer", "crds", "cli", "tests")]
    support = REPOSITORY / "tests" / "support"

    packages = [folder for folder in folders + tests if (folder / "__init__.py").exists()]

    assert [folder for folder in packages if not folder.is_relative_to(support / "testbed")] == []
