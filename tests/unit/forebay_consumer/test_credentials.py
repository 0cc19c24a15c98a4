"""Reading a Secret's folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from forebay_api.v1alpha1 import TlsMode
from forebay_consumer.credentials import BadCredentials, Credentials, read_credentials, stronger_tls


def secret(folder: Path, **keys: str) -> Path:
    for name, value in keys.items():
        (folder / name).write_text(value, encoding="utf-8")
    return folder


def test_single_keys_are_read_and_line_ends_dropped(tmp_path: Path) -> None:
    folder = secret(tmp_path, host="db\n", port="6432\n", dbname="bank", user="ingest", password=" p@ss \n")
    assert read_credentials(folder) == Credentials(
        host="db", port=6432, dbname="bank", user="ingest", password=" p@ss "
    )


def test_a_uri_is_taken_apart(tmp_path: Path) -> None:
    folder = secret(tmp_path, uri="postgresql://us%40er:p%2Fw@db.example:6000/ba%20nk?sslmode=verify-full")
    assert read_credentials(folder) == Credentials(
        host="db.example", port=6000, dbname="ba nk", user="us@er", password="p/w", tls=TlsMode.VERIFY_FULL
    )


def test_single_keys_win_over_the_uri(tmp_path: Path) -> None:
    folder = secret(tmp_path, URI="postgres://a:b@old/db", host="new", username="rotated", password="fresh")
    assert read_credentials(folder) == Credentials(host="new", port=5432, dbname="db", user="rotated", password="fresh")


def test_an_empty_password_is_one(tmp_path: Path) -> None:
    assert read_credentials(secret(tmp_path, host="h", dbname="d", user="u", password="")).password == ""


def test_all_problems_are_told_at_once_by_file(tmp_path: Path) -> None:
    with pytest.raises(BadCredentials) as bad:
        read_credentials(secret(tmp_path, port="many"))
    for problem in ("host is missing", "dbname is missing", "user is missing", "password is missing", "file port"):
        assert problem in bad.value.message
    assert bad.value.reason == "BadCredentials"


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("mysql://u:geheim@h/d", "must begin with postgresql://"),
        ("postgresql://u:geheim@h:99999/d", "one host and a numeric port"),
        ("postgresql://u:geheim@h/d?sslmode=strong", "sslmode must be one of"),
    ],
)
def test_a_bad_uri_is_told_without_its_password(tmp_path: Path, uri: str, problem: str) -> None:
    with pytest.raises(BadCredentials) as bad:
        read_credentials(secret(tmp_path, uri=uri))
    assert problem in bad.value.message
    assert "geheim" not in str(bad.value)


def test_a_missing_folder_lists_the_files(tmp_path: Path) -> None:
    with pytest.raises(BadCredentials, match="file host is missing"):
        read_credentials(tmp_path / "nowhere")


def test_the_password_is_not_shown() -> None:
    assert "geheim" not in repr(Credentials(host="h", port=1, dbname="d", user="u", password="geheim"))


@pytest.mark.parametrize(
    ("spec", "uri", "used"),
    [
        (TlsMode.PREFER, None, TlsMode.PREFER),
        (TlsMode.PREFER, TlsMode.REQUIRE, TlsMode.REQUIRE),
        (TlsMode.VERIFY_FULL, TlsMode.DISABLE, TlsMode.VERIFY_FULL),
    ],
)
def test_the_stricter_tls_mode_holds(spec: TlsMode, uri: TlsMode | None, used: TlsMode) -> None:
    assert stronger_tls(spec, uri) is used
