"""What a member that was killed had written: read from its disk alone, before it may come back and give it up."""

from __future__ import annotations

import re
import subprocess

from forebay_cli.local.ha.patroni_member import PatroniMember
from forebay_cli.local.postgres_programs import find_postgres
from forebay_cli.local.server_errors import SqlFailed

READ_S = 60.0
"""Recovery of what was written since the last checkpoint is most of it."""

_VALUE = re.compile(r'^\t 1: \w+ = "([^"]*)"', re.MULTILINE)
"""How a server in single-user mode shows the first column of a row."""


def find_values(shown: str) -> list[str]:
    """The first column of each row in what a server in single-user mode printed."""
    return _VALUE.findall(shown)


def read_dead_member(node: PatroniMember, dbname: str, query: str) -> list[str]:
    """Return the first column of a query, from a server that nobody else can reach; as Patroni itself recovers one.

    The member must not run, and may be started afterwards. query: one line without line breaks. Raises SqlFailed.
    """
    assert not node.is_running(), "two servers on one data folder would destroy it"
    programs = find_postgres()
    try:
        done = subprocess.run(  # noqa: S603 - postgres as found by find_postgres, the query from our own code
            [programs.bin / "postgres", "--single", "-D", node.place.data, dbname],
            input=f"{query}\n",
            cwd=node.place.data,
            user=programs.user,
            group=programs.user,
            extra_groups=None if programs.user is None else [],
            capture_output=True,
            text=True,
            timeout=READ_S,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise SqlFailed(f"the data of {node.name} could not be read within {READ_S:.0f} s") from late
    values = find_values(done.stdout)
    if done.returncode != 0 or not values:
        raise SqlFailed(f"the data of {node.name} could not be read: {done.stderr.strip()[-500:]}")
    return values
