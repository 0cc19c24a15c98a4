"""What a killed member had written, as its server shows it in single-user mode."""

from __future__ import annotations

from forebay_cli.local.ha.dead_member import find_values

SHOWN = (
    "\nPostgreSQL stand-alone backend 15.18\n"
    "backend> \t 1: name\t(typeid = 19, len = 64, typmod = -1, byval = f)\n"
    "\t 2: number\t(typeid = 20, len = 8, typmod = -1, byval = t)\n"
    "\t----\n"
    '\t 1: name = "first"\t(typeid = 19, len = 64, typmod = -1, byval = f)\n'
    '\t 2: number = "17"\t(typeid = 20, len = 8, typmod = -1, byval = t)\n'
    "\t----\n"
    '\t 1: name = ""\t(typeid = 19, len = 64, typmod = -1, byval = f)\n'
    "\t----\n"
    "backend> "
)


def test_first_column_of_every_row_is_found() -> None:
    assert find_values(SHOWN) == ["first", ""]


def test_a_refused_query_has_no_values() -> None:
    assert find_values("backend> ERROR:  relation does not exist\n") == []
