"""What `dead-letters` commands are told to choose, and what they show."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from forebay_cli.arguments import build_parser
from forebay_cli.errors import UsageProblem
from forebay_cli.letter_report import REMEDIES, build_list, describe_letter, describe_replay, list_to_json, show_bytes
from forebay_cli.letter_selection import build_selection, require_choice
from forebay_consumer.letters import LetterRow, ReasonCount, Selection, StoredLetter
from forebay_consumer.records import Reason
from rich.console import Console

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "selection"),
    [
        pytest.param({}, Selection(), id="nothing"),
        pytest.param({"ids": ["7", "3", "7"]}, Selection(ids=(3, 7)), id="ids"),
        pytest.param({"reason": "invalidjson"}, Selection(reason=Reason.INVALID_JSON), id="reason-in-any-case"),
        pytest.param({"partition": 0}, Selection(partition=0), id="partition"),
        pytest.param({"since": "90m"}, Selection(since=NOW - timedelta(minutes=90)), id="age"),
        pytest.param({"older_than": "2w"}, Selection(before=NOW - timedelta(weeks=2)), id="weeks"),
        pytest.param({"since": "2026-01-31 12:00"}, Selection(since=NOW), id="time-without-zone-is-utc"),
    ],
)
def test_selection_is_built(given: dict[str, Any], selection: Selection) -> None:
    assert build_selection(**given, now=NOW) == selection


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param({"ids": ["7", "x"]}, "x: is no id", id="id"),
        pytest.param({"ids": ["9" * 30]}, "is no id", id="id-too-large"),
        pytest.param({"reason": "Bad"}, "--reason Bad: must be one of InvalidJSON", id="reason"),
        pytest.param({"partition": -1}, "--partition -1: must be", id="partition"),
        pytest.param({"since": "yesterday"}, "--since yesterday: must be an age such as 90s", id="time"),
        pytest.param({"older_than": "999999999w"}, "--older-than 999999999w: must be", id="age-before-all-time"),
    ],
)
def test_wrong_words_are_refused_with_what_is_expected(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageProblem, match=told):
        build_selection(**given, now=NOW)


def test_all_wrong_words_are_told_at_once() -> None:
    with pytest.raises(UsageProblem) as caught:
        build_selection(ids=["x"], reason="y", since="z", now=NOW)
    assert len(caught.value.problems) == 3


def test_nothing_is_changed_by_leaving_something_out() -> None:
    require_choice(Selection(partition=0), wants_all=False, command="dead-letters purge")
    require_choice(Selection(), wants_all=True, command="dead-letters purge")
    with pytest.raises(UsageProblem, match=r"dead-letters purge: name ids, or .*; or --all"):
        require_choice(Selection(), wants_all=False, command="dead-letters purge")
    with pytest.raises(UsageProblem, match="cannot be combined"):
        require_choice(Selection(ids=(1,)), wants_all=True, command="dead-letters purge")


@pytest.mark.parametrize("command", ["list", "show", "replay", "purge"])
def test_each_command_names_its_pipeline(command: str) -> None:
    words = ["dead-letters", command, "p.yaml", *(["1"] if command == "show" else [])]
    assert str(build_parser().parse_args(words).file) == "p.yaml"


def test_every_reason_has_a_remedy() -> None:
    assert set(REMEDIES) == set(Reason)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        pytest.param(None, "none", id="none"),
        pytest.param('{"ü":\n1}'.encode(), '{"ü":\n1}', id="text"),
        pytest.param(b"\xff\x00", "hex ff00", id="no-utf8"),
        pytest.param(b"\x1b[2J", "hex 1b5b324a", id="what-a-terminal-would-obey"),
        pytest.param(b"a" * 70_000, "a" * 65_536 + " ... (70,000 bytes in all)", id="long"),
    ],
)
def test_bytes_are_shown_as_text_where_they_are_text(data: bytes | None, shown: str) -> None:
    assert show_bytes(data) == shown


def test_a_letter_is_shown_whole_with_its_remedy() -> None:
    letter = StoredLetter(
        id=5,
        topic="payments",
        partition=1,
        offset=9,
        reason=Reason.OUT_OF_RANGE,
        column="amount",
        message="too large",
        key=b"k",
        value=b"{}",
        headers=(("trace", b"t"),),
        timestamp=None,
        target="public.payments",
        created_at=NOW,
    )
    text = "\n".join(describe_letter(letter))
    for part in (
        "payments partition 1 offset 9, without a timestamp",
        "OutOfRange, column amount",
        "widen",
        "trace = t",
    ):
        assert part in text


ROW = LetterRow(
    id=5,
    partition=1,
    offset=9,
    reason="OutOfRange",
    column="amount",
    message="[red]too large",
    size_bytes=2,
    created_at=NOW,
    replayed_at=None,
)
COUNT = ReasonCount(reason="OutOfRange", letters=30, elsewhere=2, unmirrored=30, oldest=NOW, newest=NOW)


def shown(counts: list[ReasonCount], rows: list[LetterRow]) -> str:
    console = Console(width=150)
    with console.capture() as captured:
        console.print(build_list(counts, rows, 20))
    return captured.get()


def test_a_list_counts_first_and_says_what_it_leaves_out() -> None:
    text = shown([COUNT], [ROW])
    assert text.index("30") < text.index("amount: [red]too large")
    assert "2 are of another table" in text
    assert "newest 1 of 30" in text
    assert shown([], []).strip() == "no dead letters"


def test_a_list_for_programs_is_json() -> None:
    told = json.loads(list_to_json([COUNT], [ROW]))
    assert told["counts"][0]["letters"] == 30
    assert told["letters"][0] | {"id": 5, "valueBytes": 2, "replayedAt": None} == told["letters"][0]


def test_a_replay_says_what_it_did_and_what_is_left_and_why() -> None:
    lines = describe_replay(written=1200, discarded=3, left={"Superseded": 1, "WrongType": 4}, waiting=2, elsewhere=6)
    assert lines[0] == "1,200 written and no longer dead letters"
    assert lines[1] == "3 superseded, deleted"
    assert lines[2].startswith("4 left: WrongType: ")
    assert lines[3].startswith("1 left: Superseded: set spec.sink.versionColumn")
    assert [line.split()[0] for line in lines[4:]] == ["2", "6"]
    assert describe_replay(written=0, discarded=0, left={}, waiting=0, elsewhere=0) == [
        "0 written and no longer dead letters"
    ]
