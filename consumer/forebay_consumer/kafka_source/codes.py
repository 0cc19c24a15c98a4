"""What each code of Kafka's client means to a consumer: one table, in which every code of the client must stand."""

from __future__ import annotations

from confluent_kafka import KafkaError

BROKERS = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._SSL,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
"""Nobody answers."""
CREDENTIALS = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SECURITY_DISABLED,
        KafkaError.PRINCIPAL_DESERIALIZATION_FAILURE,
        KafkaError.UNACCEPTABLE_CREDENTIAL,
    }
)
TOPIC_MISSING = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)
TOPIC_REFUSED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_EXCEPTION,
    }
)
GROUP = frozenset(
    {
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError.INVALID_GROUP_ID,
        KafkaError.GROUP_MAX_SIZE_REACHED,
        KafkaError.INVALID_SESSION_TIMEOUT,
        KafkaError.UNSUPPORTED_ASSIGNOR,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError._FENCED,
        KafkaError.UNRELEASED_INSTANCE_ID,
    }
)
DAMAGED = frozenset(
    {
        KafkaError._BAD_MSG,
        KafkaError._BAD_COMPRESSION,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
    }
)
"""Records that this client cannot read, or may not (receive.message.max.bytes). It asks for them again and again; what
comes later waits behind them."""
UNSUPPORTED = frozenset(
    {
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError._UNSUPPORTED_FEATURE,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    }
)
"""The broker is too old for what was asked of it: another client, with the classic protocol, may do."""
POSITION = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError.OFFSET_OUT_OF_RANGE,
    }
)
"""Kafka has no record at the position: session.py asks where the log begins and ends."""
SPENT = frozenset(
    {
        KafkaError._FATAL,
        KafkaError._CRIT_SYS_RESOURCE,
        KafkaError._FAIL,
    }
)
"""This client will not work any more (or says nothing else): fatal ones get a new client."""
PASSING = frozenset(
    {
        KafkaError.NO_ERROR,
        KafkaError.UNKNOWN,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.STALE_CTRL_EPOCH,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.NOT_CONTROLLER,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.FETCH_SESSION_ID_NOT_FOUND,
        KafkaError.INVALID_FETCH_SESSION_EPOCH,
        KafkaError.LISTENER_NOT_FOUND,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.STALE_BROKER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.MEMBER_ID_REQUIRED,
        KafkaError.PREFERRED_LEADER_NOT_AVAILABLE,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        KafkaError.THROTTLING_QUOTA_EXCEEDED,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError.INCONSISTENT_TOPIC_ID,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.REBOOTSTRAP_REQUIRED,
        KafkaError.GROUP_ID_NOT_FOUND,
        KafkaError.OFFSET_METADATA_TOO_LARGE,
        KafkaError.INVALID_COMMIT_OFFSET_SIZE,
        KafkaError._DESTROY,
        KafkaError._DESTROY_BROKER,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._PARTITION_EOF,
        KafkaError._WAIT_COORD,
        KafkaError._UNKNOWN_GROUP,
        KafkaError._IN_PROGRESS,
        KafkaError._PREV_IN_PROGRESS,
        KafkaError._EXISTING_SUBSCRIPTION,
        KafkaError._ASSIGN_PARTITIONS,
        KafkaError._REVOKE_PARTITIONS,
        KafkaError._CONFLICT,
        KafkaError._STATE,
        KafkaError._NO_OFFSET,
        KafkaError._OUTDATED,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._WAIT_CACHE,
        KafkaError._INTR,
        KafkaError._RETRY,
        KafkaError._UNDERFLOW,
        KafkaError._NOENT,
        KafkaError._PARTIAL,
        KafkaError._MAX_POLL_EXCEEDED,
        KafkaError._UNKNOWN_BROKER,
        KafkaError._NOT_CONFIGURED,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._NOOP,
        KafkaError._LOG_TRUNCATION,
        KafkaError._NODE_UPDATE,
    }
)
"""The client gets over it by itself, or it is no error: nobody is told."""
FOREIGN = frozenset(
    {
        KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.DELEGATION_TOKEN_AUTHORIZATION_FAILED,
        KafkaError.DELEGATION_TOKEN_AUTH_DISABLED,
        KafkaError.DELEGATION_TOKEN_EXPIRED,
        KafkaError.DELEGATION_TOKEN_NOT_FOUND,
        KafkaError.DELEGATION_TOKEN_OWNER_MISMATCH,
        KafkaError.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED,
        KafkaError.DUPLICATE_RESOURCE,
        KafkaError.DUPLICATE_SEQUENCE_NUMBER,
        KafkaError.DUPLICATE_VOTER,
        KafkaError.ELECTION_NOT_NEEDED,
        KafkaError.ELIGIBLE_LEADERS_NOT_AVAILABLE,
        KafkaError.FEATURE_UPDATE_FAILED,
        KafkaError.FENCED_STATE_EPOCH,
        KafkaError.GROUP_SUBSCRIBED_TO_TOPIC,
        KafkaError.INCONSISTENT_VOTER_SET,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_PRINCIPAL_TYPE,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.INVALID_RECORD_STATE,
        KafkaError.INVALID_REGISTRATION,
        KafkaError.INVALID_REGULAR_EXPRESSION,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.INVALID_REPLICA_ASSIGNMENT,
        KafkaError.INVALID_REQUEST,
        KafkaError.INVALID_REQUIRED_ACKS,
        KafkaError.INVALID_SHARE_SESSION_EPOCH,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
        KafkaError.INVALID_TXN_STATE,
        KafkaError.INVALID_UPDATE_VERSION,
        KafkaError.INVALID_VOTER_KEY,
        KafkaError.LOG_DIR_NOT_FOUND,
        KafkaError.MISMATCHED_ENDPOINT_TYPE,
        KafkaError.NON_EMPTY_GROUP,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.NO_REASSIGNMENT_IN_PROGRESS,
        KafkaError.OPERATION_NOT_ATTEMPTED,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError.POLICY_VIOLATION,
        KafkaError.PRODUCER_FENCED,
        KafkaError.REASSIGNMENT_IN_PROGRESS,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.RESOURCE_NOT_FOUND,
        KafkaError.SHARE_SESSION_LIMIT_REACHED,
        KafkaError.SHARE_SESSION_NOT_FOUND,
        KafkaError.STREAMS_INVALID_TOPOLOGY,
        KafkaError.STREAMS_INVALID_TOPOLOGY_EPOCH,
        KafkaError.STREAMS_TOPOLOGY_FENCED,
        KafkaError.TELEMETRY_TOO_LARGE,
        KafkaError.TOPIC_ALREADY_EXISTS,
        KafkaError.TOPIC_DELETION_DISABLED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTION_ABORTABLE,
        KafkaError.TRANSACTION_COORDINATOR_FENCED,
        KafkaError.UNKNOWN_CONTROLLER_ID,
        KafkaError.UNKNOWN_PRODUCER_ID,
        KafkaError.UNKNOWN_SUBSCRIPTION_ID,
        KafkaError.UNSUPPORTED_ENDPOINT_TYPE,
        KafkaError.VOTER_NOT_FOUND,
        KafkaError._APPLICATION,
        KafkaError._FS,
        KafkaError._GAPLESS_GUARANTEE,
        KafkaError._INCONSISTENT,
        KafkaError._INVALID_ARG,
        KafkaError._INVALID_DIFFERENT_RECORD,
        KafkaError._INVALID_TYPE,
        KafkaError._ISR_INSUFF,
        KafkaError._KEY_DESERIALIZATION,
        KafkaError._KEY_SERIALIZATION,
        KafkaError._NOT_IMPLEMENTED,
        KafkaError._PURGE_INFLIGHT,
        KafkaError._PURGE_QUEUE,
        KafkaError._QUEUE_FULL,
        KafkaError._READ_ONLY,
        KafkaError._UNKNOWN_PROTOCOL,
        KafkaError._VALUE_DESERIALIZATION,
        KafkaError._VALUE_SERIALIZATION,
    }
)
"""Of producers, administration, brokers among themselves, and other kinds of groups: a consumer is never told them."""

CLASSED = (
    BROKERS
    | CREDENTIALS
    | TOPIC_MISSING
    | TOPIC_REFUSED
    | GROUP
    | DAMAGED
    | UNSUPPORTED
    | POSITION
    | SPENT
    | PASSING
    | FOREIGN
)
"""Everything that this release knows. Another code is told to whoever reads the log."""
