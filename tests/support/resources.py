"""Good and bad IngestPipelines, each once, for everything that judges them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

MINIMAL = """
apiVersion: forebay.dev/v1alpha1
kind: IngestPipeline
metadata: {name: payments, namespace: bank}
spec:
  source: {bootstrapServers: "kafka:9092", topic: payments}
  sink: {connectionSecretRef: {name: payments-db}, table: public.payments}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """A resource that must be refused. path: the field that the parser must name.

    parser_only: why the API server's own schema takes it (empty: it must refuse it too).
    says: a part of the API server's message, for those whose plain message would not tell what to do.
    """

    id: str
    changes: str
    path: str
    parser_only: str = ""
    says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Good:
    """A resource that must be taken."""

    id: str
    changes: str


def build_resource(changes: str) -> Any:
    """MINIMAL with a YAML document merged into it, key by key."""
    return _merge(yaml.safe_load(MINIMAL), yaml.safe_load(changes) or {})


def _merge(base: Any, changes: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return {**base, **{key: _merge(base.get(key), value) for key, value in changes.items()}}


def _columns(text: str) -> str:
    return f"spec: {{sink: {{columns: [{text}]}}}}"


def _cluster(text: str) -> str:
    cluster = "name: acid-payments, user: ingest, database: bank"
    return f"spec: {{sink: {{connectionSecretRef: null, postgresClusterRef: {{{cluster}, {text}}}}}}}"


def _upsert(key: str, more: str = "") -> str:
    return f"spec: {{sink: {{mode: Upsert, keyColumns: [{key}], {more}}}}}"


GOOD = [
    Good(id="minimal", changes=""),
    Good(
        id="no-namespace-and-null-settings",
        changes="spec: {suspend: null, scaling: null, consumer: {maxRowsPerSecond: null, lanes: null}}",
    ),
    Good(id="metadata-of-a-cluster", changes="metadata: {labels: {a: b}, annotations: {c: d}, uid: u, generation: 4}"),
    Good(id="status-is-not-judged", changes="status: {replicas: 3}"),
    Good(id="several-brokers", changes='spec: {source: {bootstrapServers: "a-1.b:9092, 10.0.0.1:65535,[::1]:1"}}'),
    Good(id="odd-but-legal-topic", changes="spec: {source: {topic: a._-Z9}}"),
    Good(id="group-of-another-sink", changes='spec: {source: {group: "connect jdbc:payments", startFrom: Committed}}'),
    Good(id="skip-lost-positions", changes="spec: {source: {onPositionLost: SkipToEarliest, format: {type: JSON}}}"),
    Good(id="kafka-config", changes="spec: {source: {configSecretRef: {name: kafka.client}}}"),
    Good(id="table-without-schema", changes="spec: {sink: {table: payments}}"),
    Good(id="table-with-odd-letters", changes="spec: {sink: {table: 'Zahlungen 2.über-sicht'}}"),
    Good(id="verified-tls", changes="spec: {sink: {tls: {mode: verify-full, caSecretRef: {name: ca}}}}"),
    Good(id="ca-without-need", changes="spec: {sink: {tls: {mode: require, caSecretRef: {name: ca}}}}"),
    Good(id="column-from-path", changes=_columns("{name: a, from: {path: b.c.d}, epochUnit: Milliseconds}")),
    Good(id="typed-column", changes=_columns("{name: a, from: {path: b}, type: 'numeric(12,2)', nullable: false}")),
    Good(id="typed-by-words", changes=_columns("{name: a, from: {path: b}, type: 'app.span(3) with time zone[][3]'}")),
    Good(id="column-from-pointer", changes=_columns('{name: a, from: {path: "/b.c/d~1e/~0"}}')),
    Good(id="column-from-empty-key", changes=_columns('{name: a, from: {path: "/"}}')),
    Good(
        id="columns-from-everything",
        changes=_columns(
            "{name: a, from: {key: {}}}, {name: b, from: {timestamp: {}}}, {name: c, from: {partition: {}}},"
            " {name: d, from: {offset: {}}}, {name: e, from: {header: trace}, epochUnit: Seconds}"
        ),
    ),
    Good(id="null-beside-a-source", changes=_columns("{name: a, from: {key: null, path: b}}")),
    Good(id="upsert", changes=_upsert("id")),
    Good(id="upsert-by-two-columns", changes=_upsert('tenant, "Nr. 1"')),
    Good(id="upsert-with-deletions", changes=_upsert("id", 'deleteWhen: {path: meta.op, values: [d, "true", "1"]}')),
    Good(id="upsert-with-a-version", changes=_upsert("id", "versionColumn: updated_at")),
    Good(id="dead-letters-mirrored", changes="spec: {sink: {deadLetters: {topic: payments.dead, retentionDays: 30}}}"),
    Good(id="unknown-fields-to-dead-letters", changes="spec: {sink: {unknownFields: {policy: DeadLetter}}}"),
    Good(id="unknown-fields-collected", changes="spec: {sink: {unknownFields: {column: extra}}}"),
    Good(
        id="breaker-at-its-edges", changes="spec: {sink: {deadLetters: {maxFraction: 1, windowRecords: 5, minimum: 5}}}"
    ),
    Good(id="lanes", changes="spec: {consumer: {lanes: 16}}"),
    Good(id="whole-float-is-whole", changes="spec: {consumer: {maxRowsPerSecond: 3.0}}"),
    Good(id="scale-to-zero", changes="spec: {scaling: {minReplicas: 0, replicas: 0, mode: Manual}}"),
    Good(id="exactly-one", changes="spec: {scaling: {minReplicas: 1, maxReplicas: 1, capacityPerReplica: 2500.5}}"),
    Good(
        id="timing-of-a-demo",
        changes="spec: {scaling: {timing: {sampleSeconds: 1.5, fastWindowSeconds: 1.5, scaleInWindowSeconds: 0}}}",
    ),
    Good(id="cluster", changes=_cluster("")),
    Good(
        id="cluster-behind-haproxy",
        changes=_cluster("serviceName: acid-payments-haproxy, port: 5000, secretName: own.secret"),
    ),
    Good(id="cluster-user-with-underscore", changes=_cluster("user: bank_writer.v-2")),
    Good(id="paused-halves", changes="spec: {suspend: true, scaling: {pauseScaleIn: true, pauseScaleOut: false}}"),
]

_ROOT = "the API server picks the schema by apiVersion and kind"
_NAME = "the API server itself judges namespaces"

BAD = [
    Bad(id="other-version", changes="apiVersion: forebay.dev/v1", path="apiVersion", parser_only=_ROOT),
    Bad(id="other-kind", changes="kind: Pipeline", path="kind", parser_only=_ROOT),
    Bad(
        id="namespace-in-capitals", changes="metadata: {namespace: Bank}", path="metadata.namespace", parser_only=_NAME
    ),
    Bad(id="name-in-capitals", changes="metadata: {name: Payments}", path="metadata.name"),
    Bad(id="name-with-dot", changes="metadata: {name: a.b}", path="metadata.name"),
    Bad(id="name-too-long", changes=f"metadata: {{name: {'n' * 51}}}", path="metadata.name"),
    Bad(id="unknown-at-the-root", changes="specs: {}", path="specs"),
    Bad(id="unknown-in-spec", changes="spec: {sources: {}}", path="spec.sources"),
    Bad(id="no-spec", changes="spec: null", path="spec"),
    Bad(id="spec-is-a-list", changes="spec: []", path="spec"),
    Bad(id="no-source", changes="spec: {source: null}", path="spec.source"),
    Bad(id="no-brokers", changes="spec: {source: {bootstrapServers: null}}", path="spec.source.bootstrapServers"),
    Bad(
        id="broker-without-port",
        changes="spec: {source: {bootstrapServers: kafka}}",
        path="spec.source.bootstrapServers",
    ),
    Bad(
        id="port-too-high", changes='spec: {source: {bootstrapServers: "a:65536"}}', path="spec.source.bootstrapServers"
    ),
    Bad(
        id="broker-with-scheme",
        changes='spec: {source: {bootstrapServers: "SSL://a:1"}}',
        path="spec.source.bootstrapServers",
    ),
    Bad(id="trailing-comma", changes='spec: {source: {bootstrapServers: "a:1,"}}', path="spec.source.bootstrapServers"),
    Bad(id="topic-with-slash", changes="spec: {source: {topic: a/b}}", path="spec.source.topic"),
    Bad(id="topic-of-dots", changes="spec: {source: {topic: ..}}", path="spec.source.topic"),
    Bad(id="topic-too-long", changes=f"spec: {{source: {{topic: {'t' * 250}}}}}", path="spec.source.topic"),
    Bad(id="topic-is-a-number", changes="spec: {source: {topic: 5}}", path="spec.source.topic"),
    Bad(id="empty-group", changes='spec: {source: {group: ""}}', path="spec.source.group"),
    Bad(id="group-ends-in-space", changes='spec: {source: {group: "a "}}', path="spec.source.group"),
    Bad(id="start-from-in-small-letters", changes="spec: {source: {startFrom: latest}}", path="spec.source.startFrom"),
    Bad(id="format-of-later", changes="spec: {source: {format: {type: Avro}}}", path="spec.source.format.type"),
    Bad(
        id="secret-in-capitals",
        changes="spec: {source: {configSecretRef: {name: K}}}",
        path="spec.source.configSecretRef.name",
    ),
    Bad(
        id="secret-without-name",
        changes="spec: {source: {configSecretRef: {}}}",
        path="spec.source.configSecretRef.name",
    ),
    Bad(
        id="cluster-without-user",
        changes="spec: {sink: {connectionSecretRef: null, postgresClusterRef: {name: a, database: d}}}",
        path="spec.sink.postgresClusterRef.user",
    ),
    Bad(
        id="neither-cluster-nor-secret",
        changes="spec: {sink: {connectionSecretRef: null}}",
        path="spec.sink",
        says="must have exactly one of postgresClusterRef and connectionSecretRef",
    ),
    Bad(
        id="both-cluster-and-secret",
        changes="spec: {sink: {postgresClusterRef: {name: a, user: u, database: d}}}",
        path="spec.sink",
        says="must have exactly one of postgresClusterRef and connectionSecretRef",
    ),
    Bad(id="cluster-in-capitals", changes=_cluster("name: Acid"), path="spec.sink.postgresClusterRef.name"),
    Bad(id="cluster-name-too-long", changes=_cluster(f"name: {'n' * 59}"), path="spec.sink.postgresClusterRef.name"),
    Bad(id="user-in-capitals", changes=_cluster("user: Ingest"), path="spec.sink.postgresClusterRef.user"),
    Bad(
        id="database-too-long", changes=_cluster(f"database: {'d' * 64}"), path="spec.sink.postgresClusterRef.database"
    ),
    Bad(
        id="service-of-another-namespace",
        changes=_cluster("serviceName: a.b.svc"),
        path="spec.sink.postgresClusterRef.serviceName",
    ),
    Bad(id="port-of-zero", changes=_cluster("port: 0"), path="spec.sink.postgresClusterRef.port"),
    Bad(id="password-in-the-clear", changes=_cluster("password: p"), path="spec.sink.postgresClusterRef.password"),
    Bad(id="table-of-three-parts", changes="spec: {sink: {table: a.b.c}}", path="spec.sink.table"),
    Bad(id="quoted-table", changes="""spec: {sink: {table: '"a"'}}""", path="spec.sink.table"),
    Bad(id="merge-of-later", changes="spec: {sink: {mode: Merge}}", path="spec.sink.mode"),
    Bad(
        id="upsert-without-key",
        changes="spec: {sink: {mode: Upsert}}",
        path="spec.sink.keyColumns",
        says="is required in mode Upsert",
    ),
    Bad(id="key-in-append-mode", changes="spec: {sink: {keyColumns: [id]}}", path="spec.sink.keyColumns"),
    Bad(id="key-column-twice", changes=_upsert("a, b, a"), path="spec.sink.keyColumns", says="must be unique"),
    Bad(id="empty-key-column", changes=_upsert('a, ""'), path="spec.sink.keyColumns[1]"),
    Bad(id="too-many-key-columns", changes=_upsert(", ".join(f"c{n}" for n in range(33))), path="spec.sink.keyColumns"),
    Bad(
        id="deletion-in-append-mode",
        changes="spec: {sink: {deleteWhen: {path: op, values: [d]}}}",
        path="spec.sink.deleteWhen",
        says="has no meaning in mode Append",
    ),
    Bad(
        id="deletion-without-values",
        changes=_upsert("id", "deleteWhen: {path: op, values: []}"),
        path="spec.sink.deleteWhen.values",
    ),
    Bad(
        id="deletion-by-a-boolean",
        changes=_upsert("id", "deleteWhen: {path: op, values: [true]}"),
        path="spec.sink.deleteWhen.values[0]",
    ),
    Bad(
        id="deletion-without-path",
        changes=_upsert("id", "deleteWhen: {values: [d]}"),
        path="spec.sink.deleteWhen.path",
    ),
    Bad(id="tls-word-in-capitals", changes="spec: {sink: {tls: {mode: REQUIRE}}}", path="spec.sink.tls.mode"),
    Bad(id="verify-without-ca", changes="spec: {sink: {tls: {mode: verify-ca}}}", path="spec.sink.tls.caSecretRef"),
    Bad(id="columns-are-an-object", changes="spec: {sink: {columns: {}}}", path="spec.sink.columns"),
    Bad(id="column-is-null", changes="spec: {sink: {columns: [null]}}", path="spec.sink.columns[0]"),
    *(
        Bad(
            id=f"column-type-{name}",
            changes=_columns(f"{{name: a, from: {{path: b}}, type: {text!r}}}"),
            path="spec.sink.columns[0].type",
            says="must be a type's name",
        )
        for name, text in {
            "empty": "",
            "with-a-statement": "int; DROP TABLE t",
            "with-a-comment": "int--",
            "with-a-block-comment": "int/*",
            "with-a-default": "int default(1)+1",
            "quoted": '"int"',
            "of-a-column": "t.c%TYPE",
            "two-lines": "int\nx",
        }.items()
    ),
    Bad(
        id="nullable-without-type",
        changes=_columns("{name: a, from: {path: b}, nullable: true}"),
        path="spec.sink.columns[0].nullable",
        says="without type",
    ),
    Bad(id="column-without-source", changes=_columns("{name: a}"), path="spec.sink.columns[0].from"),
    Bad(id="column-with-empty-source", changes=_columns("{name: a, from: {}}"), path="spec.sink.columns[0].from"),
    Bad(
        id="column-with-null-source", changes=_columns("{name: a, from: {key: null}}"), path="spec.sink.columns[0].from"
    ),
    Bad(
        id="column-with-two-sources",
        changes=_columns("{name: a, from: {key: {}, path: b}}"),
        path="spec.sink.columns[0].from",
    ),
    Bad(
        id="unknown-source",
        changes=_columns("{name: a, from: {path: b, paht: c}}"),
        path="spec.sink.columns[0].from.paht",
    ),
    Bad(
        id="source-with-settings",
        changes=_columns("{name: a, from: {key: {b: 1}}}"),
        path="spec.sink.columns[0].from.key.b",
    ),
    Bad(
        id="path-with-empty-key",
        changes=_columns("{name: a, from: {path: b..c}}"),
        path="spec.sink.columns[0].from.path",
    ),
    Bad(id="path-is-empty", changes=_columns('{name: a, from: {path: ""}}'), path="spec.sink.columns[0].from.path"),
    Bad(
        id="pointer-with-bad-escape",
        changes=_columns("{name: a, from: {path: /b~2}}"),
        path="spec.sink.columns[0].from.path",
    ),
    Bad(id="empty-header", changes=_columns('{name: a, from: {header: ""}}'), path="spec.sink.columns[0].from.header"),
    Bad(
        id="epoch-unit-of-an-offset",
        changes=_columns("{name: a, from: {offset: {}}, epochUnit: Seconds}"),
        path="spec.sink.columns[0].epochUnit",
    ),
    Bad(
        id="column-twice",
        changes=_columns("{name: a, from: {path: a}}, {name: a, from: {path: b}}"),
        path="spec.sink.columns",
    ),
    Bad(
        id="collector-is-filled-too",
        changes="spec: {sink: {columns: [{name: a, from: {path: a}}], unknownFields: {column: a}}}",
        path="spec.sink.unknownFields",
    ),
    Bad(id="unknown-fields-as-a-word", changes="spec: {sink: {unknownFields: Ignore}}", path="spec.sink.unknownFields"),
    Bad(
        id="dead-letters-and-collector",
        changes="spec: {sink: {unknownFields: {policy: DeadLetter, column: extra}}}",
        path="spec.sink.unknownFields.policy",
    ),
    Bad(
        id="fraction-above-one",
        changes="spec: {sink: {deadLetters: {maxFraction: 1.5}}}",
        path="spec.sink.deadLetters.maxFraction",
    ),
    Bad(
        id="version-in-append-mode",
        changes="spec: {sink: {versionColumn: v}}",
        path="spec.sink.versionColumn",
        says="has no meaning in mode Append",
    ),
    Bad(
        id="version-in-the-key",
        changes=_upsert("id, v", "versionColumn: v"),
        path="spec.sink.versionColumn",
        says="keyColumns",
    ),
    Bad(id="empty-version", changes=_upsert("id", 'versionColumn: ""'), path="spec.sink.versionColumn"),
    Bad(
        id="dead-letters-into-the-source",
        changes="spec: {source: {topic: loop}, sink: {deadLetters: {topic: loop}}}",
        path="spec.sink",
        says="deadLetters.topic",
    ),
    Bad(
        id="illegal-dead-letter-topic",
        changes="spec: {sink: {deadLetters: {topic: 'a b'}}}",
        path="spec.sink.deadLetters.topic",
    ),
    Bad(
        id="retention-of-no-day",
        changes="spec: {sink: {deadLetters: {retentionDays: 0}}}",
        path="spec.sink.deadLetters.retentionDays",
    ),
    Bad(
        id="breaker-that-never-trips",
        changes="spec: {sink: {deadLetters: {windowRecords: 99}}}",
        path="spec.sink.deadLetters.minimum",
    ),
    Bad(id="negative-replicas", changes="spec: {scaling: {replicas: -1}}", path="spec.scaling.replicas"),
    Bad(
        id="no-replica-at-most",
        changes="spec: {scaling: {minReplicas: 0, maxReplicas: 0}}",
        path="spec.scaling.maxReplicas",
    ),
    Bad(id="more-at-least-than-at-most", changes="spec: {scaling: {minReplicas: 13}}", path="spec.scaling.minReplicas"),
    Bad(id="replicas-in-quotes", changes='spec: {scaling: {replicas: "3"}}', path="spec.scaling.replicas"),
    Bad(id="replicas-are-true", changes="spec: {scaling: {replicas: true}}", path="spec.scaling.replicas"),
    Bad(id="half-a-replica", changes="spec: {scaling: {replicas: 1.5}}", path="spec.scaling.replicas"),
    Bad(id="suspend-in-quotes", changes='spec: {suspend: "true"}', path="spec.suspend"),
    Bad(
        id="age-of-zero",
        changes="spec: {scaling: {objective: {maxAgeSeconds: 0}}}",
        path="spec.scaling.objective.maxAgeSeconds",
    ),
    Bad(
        id="age-is-a-word",
        changes="spec: {scaling: {objective: {maxAgeSeconds: 30s}}}",
        path="spec.scaling.objective.maxAgeSeconds",
    ),
    Bad(
        id="window-shorter-than-sample",
        changes="spec: {scaling: {timing: {sampleSeconds: 20}}}",
        path="spec.scaling.timing.fastWindowSeconds",
    ),
    Bad(id="python-spelling", changes="spec: {scaling: {max_replicas: 3}}", path="spec.scaling.max_replicas"),
    Bad(
        id="capacity-of-zero",
        changes="spec: {scaling: {capacityPerReplica: 0}}",
        path="spec.scaling.capacityPerReplica",
    ),
    Bad(id="cap-of-zero", changes="spec: {consumer: {maxRowsPerSecond: 0}}", path="spec.consumer.maxRowsPerSecond"),
    Bad(id="no-lane", changes="spec: {consumer: {lanes: 0}}", path="spec.consumer.lanes"),
    Bad(id="too-many-lanes", changes="spec: {consumer: {lanes: 17}}", path="spec.consumer.lanes"),
]
