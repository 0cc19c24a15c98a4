"""What a killed member leaves in its data folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from forebay_cli.local.ha.patroni_config import MemberPlace, MemberPorts
from forebay_cli.local.ha.patroni_member import PatroniMember


@pytest.fixture
def member(tmp_path: Path) -> PatroniMember:
    ports = MemberPorts(sql=1, rest=2, seen_sql=3, seen_rest=4, etcd=5)
    (tmp_path / "data").mkdir()
    return PatroniMember(MemberPlace(name="pg1", folder=tmp_path, bin=tmp_path, ports=ports), user=None)


def test_lock_file_of_a_dead_postmaster_that_nobody_has_waited_for_is_removed(member: PatroniMember) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    lock_file = member.place.data / "postmaster.pid"
    lock_file.write_text(f"{dead.pid}\n/data\n")

    member.kill()

    assert not lock_file.exists()
    dead.wait()


def test_lock_file_of_what_lives_is_kept(member: PatroniMember) -> None:
    lock_file = member.place.data / "postmaster.pid"
    lock_file.write_text(f"{os.getpid()}\n/data\n")

    member.kill()

    assert lock_file.exists()


def test_folder_without_a_lock_file_is_left_alone(member: PatroniMember) -> None:
    member.kill()

    assert list(member.place.data.iterdir()) == []
