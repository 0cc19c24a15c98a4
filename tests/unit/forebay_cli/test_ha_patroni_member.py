"""What a killed member leaves in its data folder."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
from forebay_cli.local.ha.patroni_config import MemberPlace, MemberPorts
from forebay_cli.local.ha.patroni_member import PatroniMember
from forebay_cli.local.ha.patroni_program import PatroniProgram
from forebay_cli.local.shared_memory import IPC_RMID


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


def test_shared_memory_of_a_postmaster_whose_lock_file_is_removed_goes_with_it(member: PatroniMember) -> None:
    library = ctypes.CDLL(None)
    key = 0x46420000 | os.getpid() & 0xFFFF
    segment = library.shmget(key, 16, 0o1600)  # IPC_CREAT, for its owner alone
    assert segment >= 0
    dead = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    lines = [str(dead.pid), "/data", "0", "1", "/tmp", "localhost", f"{key} {segment}"]
    (member.place.data / "postmaster.pid").write_text("\n".join(lines))

    member.kill()

    assert library.shmctl(segment, IPC_RMID, None) == -1, "it was still there"
    dead.wait()


def test_member_that_is_coming_up_is_not_started_twice(member: PatroniMember, tmp_path: Path) -> None:
    """Healing again right after healing would otherwise give it a second Patroni."""
    (tmp_path / "patroni.py").write_text("import time\ntime.sleep(60)\n")
    member._program = PatroniProgram(python=sys.executable, packages=tmp_path)
    try:
        member.start()
        member.start()
        assert len(member._families) == 1
    finally:
        member.kill()
