"""What init is to a machine: the parent of everything that runs on one node, also of what lost its own parent.

`python -m forebay_cli.local.ha.subreaper USER PID_FILE PROGRAM ARGUMENT...`; USER "-" = our own. Patroni lets its
PostgreSQL be init's child, so that it survives Patroni. Here it becomes this process's child instead: whoever ends this
process with its descendants (process_table.find_family) ends the whole node, and nothing else.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
"""From <linux/prctl.h>."""


def main() -> None:
    """Start the program, and stay until the last descendant is gone."""
    user, pid_file, *command = sys.argv[1:]
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("prctl(PR_SET_CHILD_SUBREAPER) failed")
    owner = None if user == "-" else user
    popen = subprocess.Popen(  # noqa: S603 - what patroni_member.py names
        command, user=owner, group=owner, extra_groups=None if owner is None else []
    )
    draft = Path(f"{pid_file}.new")
    draft.write_text(f"{popen.pid}\n")
    draft.rename(pid_file)
    try:
        while True:
            os.wait()
    except ChildProcessError:
        popen.returncode = 0  # waited for above; else Popen's destructor warns
        return


if __name__ == "__main__":
    main()
