"""The System V segment that PostgreSQL leaves when its postmaster is killed: few bytes, but there until reboot."""

from __future__ import annotations

import ctypes
from pathlib import Path

SEGMENTS = Path("/proc/sysvipc/shm")
IPC_RMID = 0
"""shmctl's command to remove a segment; from <sys/ipc.h>, the same on every Linux."""
PID_FILE = "postmaster.pid"
SEGMENT_LINE = 6
"""Index of the line "key id" in postmaster.pid (src/include/utils/pidfile.h, LOCK_FILE_LINE_SHMEM_KEY = 7)."""


def remove_segments_of(folder: Path) -> None:
    """Remove the unused segments named by any postmaster.pid in or directly below the folder's sub-folders."""
    for pattern in (PID_FILE, f"*/{PID_FILE}", f"*/*/{PID_FILE}"):
        for pid_file in folder.glob(pattern):
            remove_segment(pid_file)


def remove_segment(pid_file: Path) -> None:
    """Remove the segment named in the file if it exists under that very key and nobody is attached to it."""
    lines = pid_file.read_text().splitlines()
    if len(lines) <= SEGMENT_LINE or len(lines[SEGMENT_LINE].split()) != 2:
        return
    key, segment = (int(word) for word in lines[SEGMENT_LINE].split())
    if (key, segment) in _read_unused():
        ctypes.CDLL(None).shmctl(ctypes.c_int(segment), ctypes.c_int(IPC_RMID), None)


def _read_unused() -> set[tuple[int, int]]:
    """Return (key, id) of every segment that nobody is attached to (columns: key shmid perms size cpid lpid nattch)."""
    try:
        rows = [line.split() for line in SEGMENTS.read_text().splitlines()[1:]]
    except FileNotFoundError:
        return set()
    return {(int(row[0]) & 0xFFFFFFFF, int(row[1])) for row in rows if row[6] == "0"}
