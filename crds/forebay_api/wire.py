"""Names that two programs must agree on: API group, labels, environment variables, ports, paths, metrics.

What must not live here: anything that one program alone uses.
"""

from __future__ import annotations

from enum import StrEnum

GROUP = "forebay.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "IngestPipeline"
PLURAL = "ingestpipelines"

CONSUMER_HTTP_PORT = 8080
"""Port of /livez /readyz /state /metrics in a pod; the local runtime lets the system choose."""


class Env(StrEnum):
    """Environment of the consumer program."""

    PIPELINE_FILE = "FOREBAY_PIPELINE_FILE"  # path: the IngestPipeline as JSON or YAML
    KAFKA_CONFIG_DIR = "FOREBAY_KAFKA_CONFIG_DIR"  # folder: librdkafka properties, one file a key (optional)
    # Folder: host, port, dbname, user, password, or uri; one file a key.
    SINK_SECRET_DIR = "FOREBAY_SINK_SECRET_DIR"  # noqa: S105  (names a variable, is no password)
    SINK_CA_FILE = "FOREBAY_SINK_CA_FILE"  # path: PEM (optional)
    CONSUMER_ID = "FOREBAY_CONSUMER_ID"  # unique and stable for the process' life; default hostname-pid
    HTTP_HOST = "FOREBAY_HTTP_HOST"  # default 0.0.0.0
    HTTP_PORT = "FOREBAY_HTTP_PORT"  # default CONSUMER_HTTP_PORT; 0 = any free port
    HTTP_PORT_FILE = "FOREBAY_HTTP_PORT_FILE"  # path: where the port in use is written, atomically (optional)
    GRACE_SECONDS = "FOREBAY_GRACE_SECONDS"  # from SIGTERM to the last moment of a drain; default 30
    LOG_LEVEL = "FOREBAY_LOG_LEVEL"  # DEBUG INFO WARNING ERROR; default INFO


class ExitCode:
    """Exit codes of the consumer program."""

    DRAINED = 0
    FATAL = 1
    BAD_CONFIG = 2


class Metric(StrEnum):
    """Prometheus names; the unit is in the name."""

    RECORDS = "forebay_records_total"
    ROWS = "forebay_rows_total"
    BYTES = "forebay_record_bytes_total"
    DEAD_LETTERS = "forebay_dead_letters_total"
    LETTERS_MIRRORED = "forebay_dead_letters_mirrored_total"
    LETTERS_PURGED = "forebay_dead_letters_purged_total"
    LETTERS_UNMIRRORED = "forebay_dead_letters_unmirrored"
    OLDEST_UNMIRRORED_SECONDS = "forebay_oldest_unmirrored_dead_letter_seconds"
    LETTERS_TROUBLED = "forebay_dead_letters_troubled"
    TRANSACTIONS = "forebay_transactions_total"
    RETRIES = "forebay_transaction_retries_total"
    FENCED = "forebay_fenced_total"
    CLAIMS = "forebay_claims_total"
    REWOUND = "forebay_rewound_records_total"
    OFFSET_GAPS = "forebay_offset_gap_records_total"
    LOST = "forebay_lost_records_total"
    MADE_ANEW = "forebay_made_anew_partitions_total"
    COMMIT_SECONDS = "forebay_commit_seconds"
    TRANSACTION_SECONDS = "forebay_transaction_seconds"
    BUSY_FRACTION = "forebay_busy_fraction"
    PARTITIONS = "forebay_partitions"
    BUFFERED_BYTES = "forebay_buffered_bytes"
    SINK_READY = "forebay_sink_ready"
    OLDEST_UNWRITTEN_SECONDS = "forebay_oldest_unwritten_seconds"
