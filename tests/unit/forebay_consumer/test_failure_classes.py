"""Every class of SQLSTATE, every exception of the database's client and every code of Kafka's has a meaning.

A client that brings a class or a code that nobody has given one fails here.
"""

from __future__ import annotations

import asyncpg
import pytest
from asyncpg import exceptions
from confluent_kafka import KafkaError
from forebay_api.v1alpha1 import SourceSpec
from forebay_consumer.failures import Data, Failure, Symptom, Systemic, Transient, classify
from forebay_consumer.kafka_source import codes
from forebay_consumer.kafka_source.trouble import TroubleKind, describe_trouble
from forebay_consumer.postgres_sink.refused import symptom_of
from forebay_consumer.records import Reason

UNKNOWN = "DatabaseError"
"""The reason given for what nobody has classed."""

APPENDIX_A: dict[str, type[Failure]] = {
    "01": Data,  # warning
    "02": Data,  # no data
    "03": Transient,  # statement not yet complete
    "08": Transient,  # connection exception
    "09": Data,  # triggered action exception
    "0A": Systemic,  # feature not supported
    "0B": Transient,  # invalid transaction initiation
    "0F": Systemic,  # locator exception
    "0L": Systemic,  # invalid grantor
    "0P": Systemic,  # invalid role specification
    "0Z": Systemic,  # diagnostics exception
    "10": Data,  # XQuery error
    "20": Data,  # case not found
    "21": Systemic,  # cardinality violation
    "22": Data,  # data exception
    "23": Data,  # integrity constraint violation
    "24": Systemic,  # invalid cursor state
    "25": Transient,  # invalid transaction state
    "26": Transient,  # invalid statement name
    "27": Data,  # triggered data change violation
    "28": Systemic,  # invalid authorization specification
    "2B": Systemic,  # dependent privilege descriptors still exist
    "2D": Systemic,  # invalid transaction termination
    "2F": Systemic,  # SQL routine exception
    "34": Systemic,  # invalid cursor name
    "38": Systemic,  # external routine exception
    "39": Systemic,  # external routine invocation exception
    "3B": Transient,  # savepoint exception
    "3D": Systemic,  # invalid catalog name
    "3F": Systemic,  # invalid schema name
    "40": Transient,  # transaction rollback
    "42": Systemic,  # syntax error or access rule violation
    "44": Data,  # WITH CHECK OPTION violation
    "53": Transient,  # insufficient resources
    "54": Systemic,  # program limit exceeded
    "55": Transient,  # object not in prerequisite state
    "57": Transient,  # operator intervention
    "58": Transient,  # system error
    "72": Transient,  # snapshot failure
    "F0": Systemic,  # configuration file error
    "HV": Systemic,  # foreign data wrapper error
    "P0": Data,  # PL/pgSQL error
    "XX": Transient,  # internal error
}
"""Class -> what an error of it means of which nothing else is known. 00 is success."""

APART: dict[str, type[Failure]] = {
    "53100": Systemic,
    "54000": Data,
    "55000": Systemic,
    "58P01": Systemic,
    "XX001": Systemic,
    "XX002": Systemic,
    "HV001": Transient,
    "HV00N": Transient,
}
"""SQLSTATEs that mean another thing than the rest of their class."""

WITH_SQLSTATE = sorted(
    {
        each.sqlstate
        for each in vars(exceptions).values()
        if isinstance(each, type) and issubclass(each, asyncpg.PostgresError) and each.sqlstate
    }
)
BESIDE = {
    "ClientConfigurationError": Systemic,
    "FatalPostgresError": Transient,
    "InterfaceError": Transient,
    "InternalClientError": Transient,
    "OutdatedSchemaCacheError": Transient,
    "PostgresError": Transient,
    "ProtocolError": Transient,
    "TargetServerAttributeNotMatched": Transient,
    "UnknownPostgresError": Transient,
    "UnsupportedClientFeatureError": Systemic,
    "UnsupportedServerFeatureError": Systemic,
}
"""Exceptions without an SQLSTATE of their own."""


@pytest.mark.parametrize("sqlclass", sorted(APPENDIX_A))
def test_each_class_of_sqlstate_has_a_meaning(sqlclass: str) -> None:
    failure = classify(Symptom(kind="PostgresError", message="told", sqlstate=f"{sqlclass}ZZZ"))
    assert type(failure) is APPENDIX_A[sqlclass]
    assert failure.reason != UNKNOWN


@pytest.mark.parametrize("sqlstate", WITH_SQLSTATE)
def test_each_sqlstate_that_the_client_knows_has_a_meaning(sqlstate: str) -> None:
    """A class that is new in the client is a KeyError here: give it a meaning in failures.py."""
    failure = classify(Symptom(kind="PostgresError", message="told", sqlstate=sqlstate))
    sqlclass = APPENDIX_A[sqlstate[:2]]
    assert type(failure) is APART.get(sqlstate, sqlclass)
    assert failure.reason != UNKNOWN
    if isinstance(failure, Systemic):
        assert failure.message.startswith(f"told (SQLSTATE {sqlstate}); "), "the remedy comes last"


def test_each_exception_of_the_client_without_an_sqlstate_has_a_meaning() -> None:
    raised = {
        name: each
        for name, each in vars(exceptions).items()
        if isinstance(each, type)
        and issubclass(each, Exception)
        and not issubclass(each, Warning)
        and getattr(each, "sqlstate", None) is None
    }
    assert raised.keys() == BESIDE.keys(), "give what is new a meaning in failures.py"
    for name, each in raised.items():
        failure = classify(symptom_of(each("told")))
        assert type(failure) is BESIDE[name]
        assert failure.reason != "Unreachable", f"{name} is nobody's lost connection"


@pytest.mark.parametrize(
    ("sqlstate", "meaning", "reason"),
    [
        pytest.param("P0001", Data, Reason.REJECTED, id="raised-by-a-trigger"),
        pytest.param("57014", Transient, "Cancelled", id="cancelled-or-statement-timeout"),
        pytest.param("53200", Transient, "OutOfMemory", id="out-of-memory"),
        pytest.param("53100", Systemic, "DiskFull", id="disk-full"),
        pytest.param("42P10", Systemic, "KeyIndexMissing", id="no-unique-index"),
    ],
)
def test_the_named_ones(sqlstate: str, meaning: type[Failure], reason: str) -> None:
    failure = classify(Symptom(kind="PostgresError", message="told", sqlstate=sqlstate))
    assert (type(failure), failure.reason) == (meaning, reason)


@pytest.mark.parametrize(
    ("context", "meaning"),
    [
        pytest.param(None, Transient, id="from-nowhere"),
        pytest.param("COPY events, line 3", Data, id="in-a-copy"),
        pytest.param("PL/pgSQL function app.refuse() line 1 at RAISE\nSQL statement", Data, id="in-a-function"),
    ],
)
def test_an_sqlstate_of_somebodys_own_is_the_rows_fault_where_a_row_was_at_hand(
    context: str | None, meaning: type[Failure]
) -> None:
    """RAISE EXCEPTION ... USING ERRCODE = 'MY001' in a trigger; as a lost connection it would be retried for ever."""
    failure = classify(Symptom(kind="PostgresError", message="told", sqlstate="MY001", context=context))
    assert type(failure) is meaning


KAFKA_CODES = {
    name: code
    for name in dir(KafkaError)
    if name.lstrip("_").isupper() and isinstance(code := getattr(KafkaError, name), int)
}
SETS = {
    "BROKERS": codes.BROKERS,
    "CREDENTIALS": codes.CREDENTIALS,
    "TOPIC_MISSING": codes.TOPIC_MISSING,
    "TOPIC_REFUSED": codes.TOPIC_REFUSED,
    "GROUP": codes.GROUP,
    "DAMAGED": codes.DAMAGED,
    "POSITION": codes.POSITION,
    "SPENT": codes.SPENT,
    "PASSING": codes.PASSING,
    "FOREIGN": codes.FOREIGN,
}
TOLD = {
    "BROKERS": TroubleKind.BROKERS,
    "CREDENTIALS": TroubleKind.CREDENTIALS,
    "TOPIC_MISSING": TroubleKind.TOPIC,
    "TOPIC_REFUSED": TroubleKind.TOPIC,
    "GROUP": TroubleKind.GROUP,
    "DAMAGED": TroubleKind.RECORDS,
}
SPEC = SourceSpec(bootstrap_servers="kafka:9092", topic="payments", group="bank.payments")


@pytest.mark.parametrize("name", sorted(KAFKA_CODES))
def test_each_code_of_kafkas_client_has_one_meaning(name: str) -> None:
    """A code that is new in the client stands in no set: give it one in kafka_source/codes.py."""
    code = KAFKA_CODES[name]
    found = [each for each, members in SETS.items() if code in members]
    if code in codes.UNSUPPORTED - codes.GROUP:
        found.append("UNSUPPORTED")
    assert len(found) == 1
    assert code in codes.CLASSED
    trouble = describe_trouble(KafkaError(code, "told"), SPEC)
    assert (None if trouble is None else trouble.kind) == TOLD.get(found[0])
    if trouble is not None:
        assert "spec.source." in trouble.message, "the message names what to look at"
