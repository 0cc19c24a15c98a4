"""The highly available cluster on paper: Patroni's file, HAProxy's file, and what counts as healthy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from forebay_cli.local.ha.haproxy_config import TEMPLATE, HaproxyMember, HaproxyPorts, fill_haproxy_config
from forebay_cli.local.ha.haproxy_server import parse_checks
from forebay_cli.local.ha.health import Checks, find_trouble, join_members, read_heirs
from forebay_cli.local.ha.patroni_config import (
    MemberPlace,
    MemberPorts,
    ServerPasswords,
    build_dynamic_config,
    build_patroni_config,
)
from forebay_cli.local.ha.patroni_rest import MemberState, Role, parse_member, read_sync_states
from forebay_cli.local.ha.settings import DEFAULT, FAST, Durability, HaSettings, Timing
from support.haproxy import check_config

PLACE = MemberPlace(
    name="pg1",
    folder=Path("/rig/pg1"),
    bin=Path("/usr/lib/postgresql/15/bin"),
    ports=MemberPorts(sql=1001, rest=1002, seen_sql=2001, seen_rest=2002, etcd=2003),
)
PASSWORDS = ServerPasswords(superuser="one", replication="two", rewind="three")
MEMBERS = (
    MemberState(name="pg1", role=Role.PRIMARY, state="running", timeline=3),
    MemberState(name="pg2", role=Role.REPLICA, state="running", timeline=3, streaming=True, sync_state="sync"),
    MemberState(name="pg3", role=Role.REPLICA, state="running", timeline=3, streaming=True, sync_state="async"),
)
CHECKS = {
    "primary": {"pg1": True, "pg2": False, "pg3": False},
    "replicas": {"pg1": False, "pg2": True, "pg3": True},
}
STATISTICS = """\
# pxname,svname,status,check_status,
primary,FRONTEND,OPEN,,
primary,pg1,UP,L7OK,
primary,pg2,DOWN,L7STS,
primary,pg3,UP,INI,
primary,BACKEND,UP,,
replicas,pg1,UP 1/2,L7STS,
replicas,pg2,MAINT,,
"""


@pytest.mark.parametrize(
    ("durability", "expected"),
    [
        pytest.param(Durability.ASYNCHRONOUS, (False, None), id="asynchronous"),
        pytest.param(Durability.SYNCHRONOUS, (True, None), id="synchronous"),
        pytest.param(Durability.STRICT, (True, True), id="strict"),
        pytest.param(Durability.QUORUM, ("quorum", None), id="quorum"),
    ],
)
def test_durability_in_patronis_words(durability: Durability, expected: tuple[object, object]) -> None:
    config = build_dynamic_config(HaSettings(durability=durability))

    assert (config["synchronous_mode"], config.get("synchronous_mode_strict")) == expected


@pytest.mark.parametrize("timing", [pytest.param(FAST, id="fast"), pytest.param(DEFAULT, id="default")])
def test_timing_is_one_that_patroni_accepts(timing: Timing) -> None:
    """Patroni's own bounds (config.py): smaller numbers are raised, a larger loop_wait is lowered, without an error."""
    assert timing.ttl_s >= 20
    assert timing.loop_wait_s >= 1
    assert timing.retry_timeout_s >= 3
    assert timing.loop_wait_s + 2 * timing.retry_timeout_s <= timing.ttl_s


def test_member_is_found_where_others_see_it_and_listens_behind_that() -> None:
    config = build_patroni_config(PLACE, HaSettings(), PASSWORDS)

    assert config["restapi"] == {"listen": "127.0.0.1:1002", "connect_address": "127.0.0.1:2002"}
    assert config["postgresql"]["listen"] == "127.0.0.1:1001"
    assert config["postgresql"]["connect_address"] == "127.0.0.1:2001"
    assert config["etcd3"] == {"hosts": ["127.0.0.1:2003"], "use_proxies": True}


def test_parameters_win_over_the_rigs_own() -> None:
    settings = HaSettings(parameters={"shared_buffers": "64MB"})

    parameters = build_patroni_config(PLACE, settings, PASSWORDS)["postgresql"]["parameters"]

    assert parameters["shared_buffers"] == "64MB"
    assert parameters["dynamic_shared_memory_type"] == "mmap"
    assert "fsync" not in parameters


def test_nobody_signs_in_without_a_password() -> None:
    rules = build_patroni_config(PLACE, HaSettings(), PASSWORDS)["postgresql"]["pg_hba"]

    assert rules
    assert all(rule.startswith("host ") and rule.endswith(" 127.0.0.1/32 scram-sha-256") for rule in rules)


def test_haproxys_template_is_filled_for_every_member_and_accepted(tmp_path: Path) -> None:
    ports = HaproxyPorts(primary=15001, replicas=15002, stats=15003)
    members = tuple(HaproxyMember(name=f"pg{n}", sql=16000 + n, rest=17000 + n) for n in (1, 2, 3))

    config = fill_haproxy_config(TEMPLATE.read_text(), ports, members)

    assert config.count("server pg2 127.0.0.1:16002 check port 17002\n") == 2
    assert [f"bind 127.0.0.1:{port}\n" in config for port in (15001, 15002, 15003)] == [True, True, True]
    assert "6000" not in config.replace("16000", "")
    assert "MEMBER" not in config
    assert check_config(config, tmp_path) == ""


def test_unchecked_server_counts_as_down() -> None:
    assert parse_checks(STATISTICS) == {
        "primary": {"pg1": True, "pg2": False, "pg3": False},
        "replicas": {"pg1": True, "pg2": False},
    }


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param({}, MemberState(name="pg1"), id="silent"),
        pytest.param(
            {"role": "primary", "state": "running", "timeline": 3, "xlog": {"location": 500}},
            MemberState(name="pg1", role=Role.PRIMARY, state="running", timeline=3, wal_position=500),
            id="primary",
        ),
        pytest.param(
            {
                "role": "replica",
                "state": "running",
                "timeline": 3,
                "replication_state": "streaming",
                "xlog": {"received_location": 450, "replayed_location": 400},
            },
            MemberState(name="pg1", role=Role.REPLICA, state="running", timeline=3, wal_position=400, streaming=True),
            id="replica",
        ),
        pytest.param(
            {"role": "uninitialized", "state": "creating replica"},
            MemberState(name="pg1", state="creating replica"),
            id="being-made",
        ),
    ],
)
def test_member_is_what_it_says(said: dict[str, Any], expected: MemberState) -> None:
    assert parse_member("pg1", said) == expected


def test_replica_is_as_far_behind_as_the_only_primary_is_ahead() -> None:
    primary = MemberState(name="pg1", role=Role.PRIMARY, wal_position=500)
    replica = MemberState(name="pg2", role=Role.REPLICA, wal_position=380)
    states = read_sync_states({"replication": [{"application_name": "pg2", "sync_state": "quorum"}]})

    _, joined = join_members([primary, replica], states)
    *_, unknown = join_members([primary, replace(primary, name="pg3"), replica], {})

    assert (joined.lag_bytes, joined.sync_state) == (120, "quorum")
    assert (unknown.lag_bytes, unknown.sync_state) == (None, None)


def _change(name: str, **changes: Any) -> tuple[MemberState, ...]:
    return tuple(replace(each, **changes) if each.name == name else each for each in MEMBERS)


@pytest.mark.parametrize(
    ("members", "checks", "trouble"),
    [
        pytest.param(MEMBERS, CHECKS, None, id="all-well"),
        pytest.param(_change("pg1", role=None, state=None), CHECKS, "pg1 should be a running primary", id="silent"),
        pytest.param(_change("pg3", role=Role.PRIMARY), CHECKS, "pg3 should be a running replica", id="two-primaries"),
        pytest.param(_change("pg3", state="starting"), CHECKS, "pg3 should be a running replica", id="starting"),
        pytest.param(_change("pg3", streaming=False), CHECKS, "pg3 is not streaming", id="not-streaming"),
        pytest.param(_change("pg3", timeline=2), CHECKS, "different timelines", id="old-timeline"),
        pytest.param(_change("pg2", sync_state="async"), CHECKS, "commits wait for []", id="no-sync-standby"),
        pytest.param(MEMBERS, CHECKS | {"primary": {}}, "HAProxy's primary", id="haproxy-knows-nothing"),
        pytest.param(
            MEMBERS, CHECKS | {"replicas": CHECKS["primary"]}, "HAProxy's replicas", id="primary-among-the-replicas"
        ),
    ],
)
def test_trouble_is_found_and_named(members: tuple[MemberState, ...], checks: Checks, trouble: str | None) -> None:
    found = find_trouble("pg1", members, frozenset({"pg2"}), checks, Durability.SYNCHRONOUS)

    assert (found is None) if trouble is None else (found is not None and trouble in found)


@pytest.mark.parametrize(
    ("durability", "sync", "is_healthy"),
    [
        pytest.param(Durability.ASYNCHRONOUS, None, True, id="asynchronous-needs-no-heir"),
        pytest.param(Durability.STRICT, '{"leader": "pg1", "sync_standby": "pg2"}', True, id="the-one-waited-for"),
        pytest.param(Durability.STRICT, '{"leader": "pg1", "sync_standby": null}', False, id="not-allowed-yet"),
        pytest.param(Durability.STRICT, None, False, id="nothing-stored"),
        pytest.param(Durability.QUORUM, '{"leader": "pg1", "sync_standby": "pg2,pg3"}', False, id="not-all-waited-for"),
    ],
)
def test_standby_has_to_be_allowed_to_take_over(durability: Durability, sync: str | None, is_healthy: bool) -> None:
    found = find_trouble("pg1", MEMBERS, read_heirs(sync), CHECKS, durability)

    assert (found is None) is is_healthy


def test_quorum_of_all_replicas_is_healthy() -> None:
    members = (MEMBERS[0], *(replace(each, sync_state="quorum") for each in MEMBERS[1:]))

    assert find_trouble("pg1", members, frozenset({"pg2", "pg3"}), CHECKS, Durability.QUORUM) is None
