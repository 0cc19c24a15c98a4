"""Secrets of the local runtime: where they are looked for and how they are written."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from forebay_cli.errors import UsageProblem
from forebay_cli.local.secrets import SecretPlaces, find_secret, parse_env_lines, parse_secret_options, write_secret

FIELD = "spec.sink.connectionSecretRef"


def places(tmp_path: Path, **overrides: Path) -> SecretPlaces:
    folders = (tmp_path / "beside" / "secrets", tmp_path / "here" / "secrets")
    return SecretPlaces(folders=folders, overrides=overrides, written_to=tmp_path / "state")


def test_the_folder_beside_the_pipeline_file_comes_first(tmp_path: Path) -> None:
    for folder in places(tmp_path).folders:
        (folder / "db").mkdir(parents=True)
    assert find_secret("db", places(tmp_path), field=FIELD) == tmp_path / "beside" / "secrets" / "db"


def test_the_working_directory_is_looked_at_next(tmp_path: Path) -> None:
    (tmp_path / "here" / "secrets" / "db").mkdir(parents=True)
    assert find_secret("db", places(tmp_path), field=FIELD) == tmp_path / "here" / "secrets" / "db"


def test_an_option_is_written_out_for_this_user_only(tmp_path: Path) -> None:
    file = tmp_path / "db.env"
    file.write_text("# the database\nhost=10.0.0.1\n\nexport password='a=b # c'\n")
    folder = find_secret("db", places(tmp_path, db=file), field=FIELD)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"host": "10.0.0.1", "password": "a=b # c"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_secret_written_again_forgets_keys_that_are_gone(tmp_path: Path) -> None:
    write_secret(tmp_path / "db", {"host": "a", "old": "x"})
    folder = write_secret(tmp_path / "db", {"host": "b"})
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"host": "b"}


def test_a_missing_secret_names_the_field_and_the_remedies(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem) as caught:
        find_secret("db", places(tmp_path), field=FIELD)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{FIELD}: Secret 'db' not found")
    assert str(tmp_path / "beside" / "secrets" / "db") in problem
    assert "--secret db=FILE" in problem


def test_an_option_s_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match=r"absent\.env"):
        find_secret("db", places(tmp_path, db=tmp_path / "absent.env"), field=FIELD)


def test_wrong_lines_are_reported_by_number_without_their_text() -> None:
    with pytest.raises(UsageProblem) as caught:
        parse_env_lines("host=a\nhunter2\n../up=1\n", where="db.env")
    assert caught.value.problems == ("db.env, line 2: expected KEY=VALUE", "db.env, line 3: expected KEY=VALUE")


def test_options_are_parsed_and_all_wrong_ones_reported() -> None:
    assert parse_secret_options(["db=a.env", "kafka=b=c"]) == {"db": Path("a.env"), "kafka": Path("b=c")}
    with pytest.raises(UsageProblem) as caught:
        parse_secret_options(["db", "=x", "fine=x"])
    assert len(caught.value.problems) == 2
