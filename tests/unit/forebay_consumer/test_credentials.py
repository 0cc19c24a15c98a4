"""Reading a Secret's folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from forebay_api.v1alpha1 import PostgresClusterRef, SecretRef, SinkSpec, TlsMode
from forebay_consumer.credentials import BadCredentials, Credentials, read_credentials, stronger_tls

BY_SECRET = SinkSpec(table="t", connection_secret_ref=SecretRef(name="my-db"))
BY_CLUSTER = SinkSpec(
    table="t",
    postgres_cluster_ref=PostgresClusterRef(
        name="acid", user="in_gest", database="bank", service_name="acid-haproxy", port=5000
    ),
)


def secret(folder: Path, **keys: str) -> Path:
    for name, value in keys.items():
        (folder / name).write_text(value, encoding="utf-8")
    return folder


def test_single_keys_are_read_and_line_ends_dropped(tmp_path: Path) -> None:
    folder = secret(tmp_path, host="db\n", port="6432\n", dbname="bank", user="ingest", password=" p@ss \n")
    assert read_credentials(folder, BY_SECRET) == Credentials(
        host="db", port=6432, dbname="bank", user="ingest", password=" p@ss "
    )


def test_a_uri_is_taken_apart(tmp_path: Path) -> None:
    folder = secret(tmp_path, uri="postgresql://us%40er:p%2Fw@db.example:6000/ba%20nk?sslmode=verify-full")
    assert read_credentials(folder, BY_SECRET) == Credentials(
        host="db.example", port=6000, dbname="ba nk", user="us@er", password="p/w", tls=TlsMode.VERIFY_FULL
    )


def test_single_keys_win_over_the_uri(tmp_path: Path) -> None:
    folder = secret(tmp_path, URI="postgres://a:b@old/db", host="new", username="rotated", password="fresh")
    assert read_credentials(folder, BY_SECRET) == Credentials(
        host="new", port=5432, dbname="db", user="rotated", password="fresh"
    )


def test_an_empty_password_is_one(tmp_path: Path) -> None:
    assert read_credentials(secret(tmp_path, host="h", dbname="d", user="u", password=""), BY_SECRET).password == ""


def test_all_problems_are_told_at_once_by_file(tmp_path: Path) -> None:
    with pytest.raises(BadCredentials) as bad:
        read_credentials(secret(tmp_path, port="many"), BY_SECRET)
    for problem in ("host is missing", "dbname is missing", "user is missing", "password is missing", "key port"):
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
        read_credentials(secret(tmp_path, uri=uri), BY_SECRET)
    assert problem in bad.value.message
    assert "geheim" not in str(bad.value)


@pytest.mark.parametrize("folder", ["nowhere", "mounted"])
def test_a_secret_that_does_not_exist_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "mounted" / "..2026_01_01").mkdir(parents=True)  # Kubernetes' own
    with pytest.raises(BadCredentials, match=r"Secret my-db of spec\.sink\.connectionSecretRef .*: it has no keys"):
        read_credentials(tmp_path / folder, BY_SECRET)


def test_a_cluster_says_where_and_its_secret_as_whom(tmp_path: Path) -> None:
    folder = secret(tmp_path, username="ingest260131\n", password=" p@ss \n")
    assert read_credentials(folder, BY_CLUSTER) == Credentials(
        host="acid-haproxy", port=5000, dbname="bank", user="ingest260131", password=" p@ss "
    )


def test_a_clusters_secret_leads_nowhere_else(tmp_path: Path) -> None:
    folder = secret(tmp_path, username="u", password="p", host="old", port="1", dbname="x", uri="postgres://a:b@c/d")
    found = read_credentials(folder, BY_CLUSTER)
    assert (found.host, found.port, found.dbname, found.user) == ("acid-haproxy", 5000, "bank", "u")


def test_a_cluster_without_service_is_reached_by_its_name(tmp_path: Path) -> None:
    plain = PostgresClusterRef(name="acid", user="ingest", database="bank")
    folder = secret(tmp_path, username="u", password="p")
    found = read_credentials(folder, SinkSpec(table="t", postgres_cluster_ref=plain))
    assert (found.host, found.port) == ("acid", 5432)


@pytest.mark.parametrize(
    ("keys", "missing"),
    [
        pytest.param({"user": "u", "password": "p"}, "key username is missing", id="other-name"),
        pytest.param({"username": "u"}, "key password is missing", id="no-password"),
        pytest.param({"username": "", "password": "p"}, "key username is missing", id="empty"),
        pytest.param({"ca.crt": ""}, "key username is missing; key password is missing", id="both"),
    ],
)
def test_what_a_clusters_secret_lacks_is_told_with_its_name(tmp_path: Path, keys: dict[str, str], missing: str) -> None:
    with pytest.raises(BadCredentials) as bad:
        read_credentials(secret(tmp_path, **keys), BY_CLUSTER)
    name = "in-gest.acid.credentials.postgresql.acid.zalan.do"
    assert bad.value.message == f"Secret {name} of spec.sink.postgresClusterRef (read from {tmp_path}): {missing}"


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
