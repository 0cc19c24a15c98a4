"""Hypothesis strategies for pipelines: any value that the API allows."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from forebay_api import bounds, fields
from forebay_api.parse import RULES
from forebay_api.v1alpha1 import (
    ColumnSource,
    ColumnSpec,
    DeleteWhen,
    EpochUnit,
    Pipeline,
    PipelineSpec,
    PostgresClusterRef,
    SecretRef,
    SinkMode,
    SinkSpec,
    Variable,
)
from hypothesis import strategies as st

_PASSED_ON: dict[str, list[Any]] = {
    "tolerations": [(), fields.freeze([{"key": "only", "operator": "Exists"}])],
    "affinity": [fields.freeze({"nodeAffinity": {}})],
    "topology_spread_constraints": [
        (),
        fields.freeze([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]),
    ],
}
"""JSON that is passed on unread: a few samples do."""

_ENTRIES = [fields.freeze(each) for each in ({}, {"a": "1"}, {"example.com/b.c": "2", "d": "3"})]
"""Legal as labels, annotations and quantities alike."""


def json_keys() -> st.SearchStrategy[tuple[str, ...]]:
    """The keys of a JSON path, odd ones included."""
    key = st.text(alphabet=st.sampled_from("ab./~0 1é\n"), max_size=4)
    return st.lists(key, min_size=1, max_size=4).map(tuple)


def pipelines() -> st.SearchStrategy[Pipeline]:
    """Any legal pipeline."""
    return st.builds(
        Pipeline,
        namespace=_text(bounds.NAMESPACE),
        name=_text(bounds.PIPELINE_NAME),
        spec=_legal(PipelineSpec),
        generation=st.integers(min_value=0, max_value=2**40),
        uid=st.uuids().map(str),
    )


def _legal(cls: type) -> st.SearchStrategy[Any]:
    """Any instance that keeps the rules of its class; those of its parts are kept by the parts."""
    drawn_together = _SINK_CHOICES if cls is SinkSpec else ()
    parts = {member.name: _member(member) for member in fields.members(cls) if member.name not in drawn_together}
    if cls is SinkSpec:
        cluster, secret = _legal(PostgresClusterRef), _legal(SecretRef)
        references = st.tuples(cluster, st.none()) | st.tuples(st.none(), secret)
        key = st.lists(_text(bounds.COLUMN), min_size=1, max_size=3, unique=True).map(tuple)
        ways = st.just(_APPEND) | st.tuples(st.just(SinkMode.UPSERT), key, st.none() | _delete_when())
        return st.builds(_sink, references, ways, **parts).filter(_keeps_rules)
    return st.builds(cls, **parts).filter(_keeps_rules)


_SINK_CHOICES = ("postgres_cluster_ref", "connection_secret_ref", "mode", "key_columns", "delete_when")
"""Drawn each for itself, nearly all would break the rules of the references and of the mode."""

_Way = tuple[SinkMode, tuple[str, ...], DeleteWhen | None]
_APPEND: _Way = (SinkMode.APPEND, (), None)


def _sink(pair: tuple[PostgresClusterRef | None, SecretRef | None], way: _Way, **parts: Any) -> SinkSpec:
    mode, key, marker = way
    return SinkSpec(
        postgres_cluster_ref=pair[0],
        connection_secret_ref=pair[1],
        mode=mode,
        key_columns=key,
        delete_when=marker,
        **parts,
    )


def _delete_when() -> st.SearchStrategy[DeleteWhen]:
    values = st.lists(_text(bounds.DELETE_VALUE), min_size=1, max_size=3).map(tuple)
    return st.builds(DeleteWhen, path=json_keys(), values=values)


def _keeps_rules(value: Any) -> bool:
    rules = RULES.get(type(value), ())
    return not any(rule.check(*(getattr(value, name) for name in rule.needs)) for rule in rules)


def _member(member: fields.Member) -> st.SearchStrategy[Any]:
    strategy = _value(member)
    return st.none() | strategy if member.is_optional else strategy


def _value(member: fields.Member) -> st.SearchStrategy[Any]:
    if member.name == "columns":
        return st.lists(_columns(), max_size=3, unique_by=lambda column: column.name).map(tuple)
    if member.name in _PASSED_ON:
        return st.sampled_from(_PASSED_ON[member.name])
    if member.name == "env":
        return st.lists(_legal(Variable), max_size=3, unique_by=lambda variable: variable.name).map(tuple)
    if dataclasses.is_dataclass(member.type):
        return _legal(member.type)  # type: ignore[arg-type]  # a class, as members() gives no instances
    match member.bounds:
        case (bounds.Text() as text,):
            return _text(text)
        case (bounds.Range() as span,) if member.type is int:
            return st.integers(min_value=int(span.minimum), max_value=int(span.maximum))
        case (bounds.Range() as span,):
            return st.floats(min_value=span.minimum, max_value=span.maximum)
        case (bounds.Entries(),):
            return st.sampled_from(_ENTRIES)
        case (bounds.Items(),):
            item, _ = fields.split_annotation(typing.get_args(member.type)[0])
            return st.lists(_legal(item), max_size=2).map(tuple)
        case _:
            return st.from_type(member.type)


def _text(text: bounds.Text) -> st.SearchStrategy[str]:
    return st.from_regex(text.pattern, fullmatch=True).filter(lambda value: len(value) <= text.max_length)


def _columns() -> st.SearchStrategy[ColumnSpec]:
    return st.sampled_from(ColumnSource).flatmap(_column)


def _column(source: ColumnSource) -> st.SearchStrategy[ColumnSpec]:
    typings = st.just((None, True)) | st.tuples(_text(bounds.COLUMN_TYPE), st.booleans())
    return typings.flatmap(lambda typing: _typed_column(source, *typing))


def _typed_column(source: ColumnSource, type_: str | None, nullable: bool) -> st.SearchStrategy[ColumnSpec]:
    has_unit = source in (ColumnSource.PATH, ColumnSource.KEY, ColumnSource.HEADER)
    return st.builds(
        ColumnSpec,
        name=_text(bounds.COLUMN),
        source=st.just(source),
        path=json_keys() if source is ColumnSource.PATH else st.just(()),
        header=_text(bounds.HEADER) if source is ColumnSource.HEADER else st.none(),
        epoch_unit=st.none() | st.sampled_from(EpochUnit) if has_unit else st.none(),
        type=st.just(type_),
        nullable=st.just(nullable),
    )
