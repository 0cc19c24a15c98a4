"""Pipelines to render, and what is made of them."""

from __future__ import annotations

from typing import Any

from forebay_api.parse import parse_pipeline
from forebay_api.v1alpha1 import Pipeline
from forebay_operator.resources import ConsumerImage, Json, render
from support.resources import build_resource

IMAGE = ConsumerImage(name="forebay-consumer:1.2.3", pull_policy="IfNotPresent")
UID = "11111111-2222-3333-4444-555555555555"

FULL = """
spec:
  source:
    configSecretRef: {name: kafka-client}
  sink:
    connectionSecretRef: null
    postgresClusterRef: {name: acid-payments, user: ingest_rows, database: bank, serviceName: acid-payments-haproxy}
    tls: {mode: verify-full, caSecretRef: {name: payments-ca}}
  consumer:
    image: registry.example/forebay-consumer:2
    maxRowsPerSecond: 5000
    resources:
      requests: {cpu: "0.25", memory: 1Gi}
      limits: {memory: 1.5Gi}
    podTemplate:
      labels: {team: payments}
      annotations: {example.com/why: because}
      env: [{name: HTTPS_PROXY, value: "http://proxy:3128"}, {name: TZ, value: UTC}]
      nodeSelector: {disk: ssd}
      tolerations: [{key: dedicated, operator: Equal, value: ingest, effect: NoSchedule}]
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [a, b]}]}]
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: zone
          whenUnsatisfiable: ScheduleAnyway
          labelSelector: {matchLabels: {team: payments}}
      priorityClassName: system-cluster-critical
      serviceAccountName: payments
      imagePullSecrets: [{name: registry}]
"""


def build_owned_pipeline(changes: str = "", *, uid: str = UID) -> Pipeline:
    """A pipeline as the API server hands it out, changes merged into a minimal one."""
    resource: dict[str, Any] = build_resource(changes)
    resource["metadata"] = {**resource["metadata"], "uid": uid, "generation": 1}
    return parse_pipeline(resource)


def render_kinds(changes: str = "", *, image: ConsumerImage = IMAGE) -> dict[str, Json]:
    """Rendered objects by kind."""
    return {wanted["kind"]: wanted for wanted in render(build_owned_pipeline(changes), image)}
