"""Everything that asyncpg was seen to raise in 82 failovers and beside them, and what the consumer makes of each."""

from __future__ import annotations

import asyncpg
import pytest
from forebay_consumer.errors import SinkBroken, SinkUnavailable
from forebay_consumer.postgres_sink.refused import Refused, as_sink_error, converting

CLOSED = "connection was closed in the middle of operation"
TABLE = [
    pytest.param(asyncpg.ConnectionDoesNotExistError(CLOSED), "ConnectionLost", id="lost-in-copy-or-query-or-commit"),
    pytest.param(
        asyncpg.ConnectionDoesNotExistError(f"{CLOSED}: terminating connection due to administrator command"),
        "ConnectionLost",
        id="terminated-or-switchover-in-copy",
    ),
    pytest.param(
        asyncpg.ConnectionDoesNotExistError(f"{CLOSED}: terminating connection due to unexpected postmaster exit"),
        "ConnectionLost",
        id="postmaster-died-in-copy",
    ),
    pytest.param(asyncpg.AdminShutdownError("terminating connection"), "ServerStopping", id="57P01-by-itself"),
    pytest.param(asyncpg.CrashShutdownError("terminating connection"), "ServerStopping", id="57P02-by-itself"),
    pytest.param(asyncpg.InterfaceError("connection is closed"), "ConnectionLost", id="lost-while-idle"),
    pytest.param(
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        "ConnectionLost",
        id="lost-between-two-states",
    ),
    pytest.param(
        asyncpg.ProtocolError("unexpected response to a cancelled query"), "ConnectionLost", id="protocol-out-of-step"
    ),
    pytest.param(
        RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"),
        "ConnectionLost",
        id="lost-before-asyncpg-heard-of-it-uvloop",
    ),
    pytest.param(ConnectionError("unexpected connection_lost() call"), "Unreachable", id="haproxy-has-no-server"),
    pytest.param(ConnectionRefusedError(111, "refused"), "Unreachable", id="member-is-dead"),
    pytest.param(ConnectionResetError(104, "reset"), "Unreachable", id="reset-while-connecting"),
    pytest.param(BrokenPipeError(32, "broken pipe"), "Unreachable", id="broken-pipe"),
    pytest.param(OSError(113, "no route to host"), "Unreachable", id="no-route"),
    pytest.param(OSError(9, "bad file descriptor"), "Unreachable", id="socket-gone-before-keepalives"),
    pytest.param(TimeoutError(), "TimedOut", id="member-is-frozen"),
    pytest.param(asyncpg.CannotConnectNowError("the database system is starting up"), "ServerStarting", id="starting"),
    pytest.param(
        asyncpg.CannotConnectNowError("the database system is shutting down"), "ServerStarting", id="shutting-down"
    ),
    pytest.param(
        asyncpg.CannotConnectNowError("the database system is in recovery mode"), "ServerStarting", id="crash-recovery"
    ),
    pytest.param(
        asyncpg.CannotConnectNowError("the database system is not yet accepting connections"),
        "ServerStarting",
        id="not-yet-accepting",
    ),
    pytest.param(
        asyncpg.ReadOnlySQLTransactionError("cannot execute COPY during recovery"),
        "ReadOnly",
        id="copy-on-standby",
    ),
    pytest.param(
        asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"),
        "ReadOnly",
        id="insert-on-standby",
    ),
    pytest.param(
        asyncpg.exceptions.TargetServerAttributeNotMatched("None of the hosts match"), "ReadOnly", id="wrong-attribute"
    ),
    pytest.param(asyncpg.QueryCanceledError("canceling statement due to user request"), "Cancelled", id="cancelled"),
    pytest.param(asyncpg.TooManyConnectionsError("sorry, too many clients already"), "TooManyConnections", id="full"),
    pytest.param(asyncpg.LockNotAvailableError("lock timeout"), "LockTimeout", id="lock-timeout"),
    pytest.param(
        asyncpg.IdleInTransactionSessionTimeoutError("idle-in-transaction timeout"),
        "TransactionLost",
        id="idle-in-transaction-timeout",
    ),
]


@pytest.mark.parametrize(("error", "reason"), TABLE)
def test_what_a_failover_raises_means_reconnect_and_claim_again(error: Exception, reason: str) -> None:
    with pytest.raises(Refused) as refused, converting():
        raise error
    failure = as_sink_error(refused.value.symptom)
    assert isinstance(failure, SinkUnavailable)
    assert failure.reason == reason


def test_a_wrong_password_needs_a_person() -> None:
    with pytest.raises(Refused) as refused, converting():
        raise asyncpg.InvalidPasswordError("password authentication failed")
    failure = as_sink_error(refused.value.symptom)
    assert isinstance(failure, SinkBroken)
    assert failure.reason == "AuthenticationFailed"


def test_a_mistake_of_our_own_is_not_taken_for_a_failover() -> None:
    with pytest.raises(KeyError), converting():
        raise KeyError("mistake")
