"""build_table_plan: which columns are copied, from what, in which format; and every mistake it names."""

from __future__ import annotations

from dataclasses import replace

import pytest
from forebay_api.v1alpha1 import ColumnSource, DeleteWhen, EpochUnit, SinkSpec
from forebay_consumer.decode import wanted_parts
from forebay_consumer.decode.codecs import BINARY_CODECS
from forebay_consumer.plan import BINARY_TYPES, CatalogColumn, CopyFormat, PlanProblem
from forebay_consumer.ports import Wanted
from support.decoding import column, from_path, from_source, plan, sink

CATALOG = [
    column("id", "int8", is_not_null=True),
    column("body", "text"),
    column("created", "timestamptz", has_default=True, is_not_null=True),
    column("double_id", "int8", is_writable=False, is_not_null=True),
    column("extra", "jsonb"),
]


def test_binary_types_are_those_with_a_codec() -> None:
    assert BINARY_TYPES == BINARY_CODECS


def test_without_declared_columns_every_writable_column_takes_the_field_of_its_name() -> None:
    made = plan(CATALOG)

    assert [(c.column.name, c.path) for c in made.columns] == [
        ("id", ("id",)),
        ("body", ("body",)),
        ("created", ("created",)),
        ("extra", ("extra",)),
    ]
    assert made.copy_format is CopyFormat.BINARY


def test_declared_columns_come_in_table_order_with_their_sources() -> None:
    made = plan(CATALOG, sink(from_source("body", ColumnSource.KEY), from_path("id", "a", "b"), collector="extra"))

    assert [(c.column.name, c.source, c.path, c.collects_unknown) for c in made.columns] == [
        ("id", ColumnSource.PATH, ("a", "b"), False),
        ("body", ColumnSource.KEY, (), False),
        ("extra", ColumnSource.PATH, (), True),
    ]


def test_every_part_of_a_record_is_taken_so_that_a_dead_letter_is_whole() -> None:
    wanted = wanted_parts(plan(CATALOG))

    assert replace(wanted, plan=None) == Wanted(keys=True, timestamps=True, headers=True)
    assert wanted.plan is not None, "the usual plan is one that rows can be made by on the way in"


def test_one_column_without_a_binary_form_makes_the_table_text() -> None:
    assert plan([*CATALOG, column("span", "interval")]).copy_format is CopyFormat.TEXT


PROBLEMS = [
    pytest.param(sink(from_path("id"), from_path("nope")), "spec.sink.columns[1].name: the table has no", id="lacking"),
    pytest.param(
        sink(from_path("id"), from_path("double_id")),
        "spec.sink.columns[1].name: column 'double_id' is gen",
        id="generated",
    ),
    pytest.param(
        sink(from_path("id"), from_path("id")), "spec.sink.columns[1].name: column 'id' is declared twice", id="twice"
    ),
    pytest.param(
        sink(from_path("body")), "spec.sink.columns: column 'id' is NOT NULL without a default", id="unfilled"
    ),
    pytest.param(sink(collector="nope"), "spec.sink.unknownFields.column: the table has no", id="collector-lacking"),
    pytest.param(sink(collector="body"), "spec.sink.unknownFields.column: column 'body' is text", id="collector-type"),
    pytest.param(
        sink(from_path("id"), from_path("extra"), collector="extra"),
        "spec.sink.unknownFields.column: column 'extra' is also",
        id="collector-declared",
    ),
    pytest.param(
        sink(from_path("id"), from_source("created", ColumnSource.OFFSET)),
        "spec.sink.columns[1].from: offset cannot fill",
        id="misfit-offset",
    ),
    pytest.param(
        sink(from_path("id"), from_source("body", ColumnSource.TIMESTAMP)),
        "spec.sink.columns[1].from: timestamp cannot fill",
        id="misfit-timestamp",
    ),
    pytest.param(
        sink(from_path("id", epoch_unit=EpochUnit.SECONDS)),
        "spec.sink.columns[0].epochUnit: column 'id'",
        id="epoch-unit",
    ),
]


@pytest.mark.parametrize(("spec", "message"), PROBLEMS)
def test_a_mistake_is_named_with_its_field(spec: SinkSpec, message: str) -> None:
    with pytest.raises(PlanProblem) as caught:
        plan(CATALOG, spec)

    assert [problem for problem in caught.value.problems if problem.startswith(message)] == list(caught.value.problems)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(PlanProblem) as caught:
        plan(CATALOG, sink(from_path("x"), from_path("double_id"), collector="body"))

    assert len(caught.value.problems) == 4


@pytest.mark.parametrize("catalog", [[], [column("g", "int8", is_writable=False)]])
def test_a_table_without_writable_columns_is_a_problem(catalog: list[CatalogColumn]) -> None:
    with pytest.raises(PlanProblem, match="no column that can be written"):
        plan(catalog)


KEYED = [
    column("id", "int8", has_default=True),
    column("tenant", "text"),
    column("body", "text"),
    column("made", "int8", is_writable=False),
    column("extra", "jsonb"),
]


def test_key_columns_are_planned_as_required_and_the_others_as_they_are() -> None:
    made = plan(KEYED, sink(key=("tenant", "id"), delete_when=DeleteWhen(path=("op",), values=("d",))))

    assert (made.key, made.key_names, made.not_key) == ((1, 0), ("tenant", "id"), (2, 3))
    assert [(c.column.is_not_null, c.column.has_default) for c in made.columns[:3]] == [
        (True, False),
        (True, False),
        (False, False),
    ]
    assert made.delete_when == DeleteWhen(path=("op",), values=("d",))


def test_append_has_no_key() -> None:
    made = plan(KEYED)

    assert (made.key, made.delete_when) == ((), None)
    assert made.columns[0].column.has_default


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        pytest.param(sink(key=("id", "nope")), "keyColumns[1]: the table has no column 'nope'", id="lacking"),
        pytest.param(sink(key=("made",)), "keyColumns[0]: column 'made' is generated", id="generated"),
        pytest.param(sink(from_path("body"), key=("id",)), "keyColumns[0]: nothing fills column 'id'", id="unfilled"),
        pytest.param(sink(key=("extra",), collector="extra"), "keyColumns[0]: column 'extra' coll", id="collector"),
        pytest.param(sink(key=("extra",)), "keyColumns[0]: column 'extra' is jsonb, whose equal values", id="jsonb"),
    ],
)
def test_a_key_that_cannot_be_one_is_named(spec: SinkSpec, problem: str) -> None:
    with pytest.raises(PlanProblem) as raised:
        plan(KEYED, spec)

    (found,) = raised.value.problems
    assert found.startswith(f"spec.sink.{problem}")


PRECISION_3, FULL_PRECISION, NUMERIC_TENS = 3, 6, ((5 << 16) | (0x800 - 2)) + 4


@pytest.mark.parametrize(
    ("target", "can_identify"),
    [
        pytest.param(column("k", "text"), True, id="text"),
        pytest.param(replace(column("k", "text"), is_deterministic=False), False, id="text-of-a-loose-collation"),
        pytest.param(column("k", "numeric"), True, id="numeric"),
        pytest.param(column("k", "numeric", modifier=(10 << 16) + 4), True, id="whole-numeric"),
        pytest.param(column("k", "numeric", modifier=NUMERIC_TENS), False, id="numeric-of-negative-scale"),
        pytest.param(column("k", "timestamptz", modifier=FULL_PRECISION), True, id="microseconds"),
        pytest.param(column("k", "timestamptz", modifier=PRECISION_3), False, id="milliseconds"),
        pytest.param(column("k", "int4", is_array=True), False, id="array"),
        pytest.param(column("k", "interval"), False, id="interval"),
        pytest.param(column("k", "public.citext"), False, id="citext"),
        pytest.param(replace(column("k", "public.mood"), is_enum=True), True, id="enum"),
    ],
)
def test_a_key_is_of_a_type_whose_equal_values_look_equal(target: CatalogColumn, can_identify: bool) -> None:
    if can_identify:
        assert plan([target], sink(key=("k",))).key == (0,)
    else:
        with pytest.raises(PlanProblem, match="could not be told"):
            plan([target], sink(key=("k",)))
