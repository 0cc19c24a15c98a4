"""Good and bad settings of consumers, each once, for everything that judges them."""

from __future__ import annotations

from dataclasses import dataclass

from support.resources import Bad, Good


@dataclass(frozen=True, slots=True, kw_only=True)
class BadForKubernetes:
    """A resource that the API server must refuse and the parser passes on unread. path, says: of its message."""

    id: str
    changes: str
    path: str
    says: str


def _pods(text: str) -> str:
    return f"spec: {{consumer: {{podTemplate: {{{text}}}}}}}"


CONSUMERS_GOOD = [
    Good(id="image-by-digest", changes=f"spec: {{consumer: {{image: 'reg.example:5000/a/b:1.2@sha256:{'0a' * 32}'}}}}"),
    Good(
        id="resources",
        changes="spec: {consumer: {resources: {requests: {cpu: 1, memory: 1.5Gi}, limits: {a.b/gpu: 2, cpu: 500m}}}}",
    ),
    Good(
        id="pods-with-everything",
        changes=_pods(
            "labels: {team: bank, example.com/cost-centre: ''}, annotations: {note: 'Über\n'},"
            " nodeSelector: {disk: ssd},"
            " env: [{name: TZ, value: UTC}, {name: HTTPS_PROXY}], priorityClassName: high, serviceAccountName: own,"
            " imagePullSecrets: [{name: registry}],"
            " tolerations: [{key: only, operator: Exists, effect: NoExecute, tolerationSeconds: 30},"
            " {operator: Exists}]"
        ),
    ),
    Good(
        id="pods-spread-over-zones",
        changes=_pods(
            "topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable:"
            " ScheduleAnyway, labelSelector: {matchLabels: {forebay.dev/pipeline: payments}}}]"
        ),
    ),
    Good(
        id="pods-with-affinities",
        changes=_pods(
            "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms:"
            " [{matchExpressions: [{key: a, operator: In, values: [b]}]}]},"
            " preferredDuringSchedulingIgnoredDuringExecution:"
            " [{weight: 1, preference: {matchFields: [{key: metadata.name, operator: In, values: [n]}]}}]},"
            " podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, podAffinityTerm:"
            " {topologyKey: kubernetes.io/hostname,"
            " labelSelector: {matchExpressions: [{key: a, operator: Exists}]}}}]}}"
        ),
    ),
]

_KEYS = "schemas have no word for the keys of a mapping"

CONSUMERS_BAD = [
    Bad(id="image-with-scheme", changes="spec: {consumer: {image: 'docker://a/ b'}}", path="spec.consumer.image"),
    Bad(
        id="quantity-in-words",
        changes="spec: {consumer: {resources: {limits: {memory: lots}}}}",
        path="spec.consumer.resources.limits[memory]",
    ),
    Bad(
        id="quantity-below-zero",
        changes="spec: {consumer: {resources: {limits: {cpu: '-1'}}}}",
        path="spec.consumer.resources.limits[cpu]",
    ),
    Bad(
        id="resource-name-with-space",
        changes="spec: {consumer: {resources: {limits: {'c pu': 1}}}}",
        path="spec.consumer.resources.limits[c pu]",
        parser_only=_KEYS,
    ),
    Bad(
        id="variable-of-the-operator",
        changes=_pods("env: [{name: FOREBAY_LOG_LEVEL, value: DEBUG}]"),
        path="spec.consumer.podTemplate.env[0].name",
        says="names beginning with FOREBAY_ are the operator's own",
    ),
    Bad(id="variable-twice", changes=_pods("env: [{name: A}, {name: A}]"), path="spec.consumer.podTemplate.env"),
    Bad(
        id="variable-is-a-number",
        changes=_pods("env: [{name: A, value: 1}]"),
        path="spec.consumer.podTemplate.env[0].value",
    ),
    Bad(
        id="variable-from-a-secret",
        changes=_pods("env: [{name: A, valueFrom: {}}]"),
        path="spec.consumer.podTemplate.env[0].valueFrom",
    ),
    Bad(
        id="label-of-the-operator",
        changes=_pods("labels: {forebay.dev/pipeline: other}"),
        path="spec.consumer.podTemplate.labels",
        says="are the operator's own",
    ),
    Bad(
        id="label-the-selector-uses",
        changes=_pods("labels: {app.kubernetes.io/name: other}"),
        path="spec.consumer.podTemplate.labels",
        says="are the operator's own",
    ),
    Bad(id="label-value-with-space", changes=_pods("labels: {a: 'b c'}"), path="spec.consumer.podTemplate.labels[a]"),
    Bad(
        id="annotation-of-the-operator",
        changes=_pods("annotations: {forebay.dev/revision: x}"),
        path="spec.consumer.podTemplate.annotations",
        says="are the operator's own",
    ),
    Bad(
        id="node-selector-is-a-list", changes=_pods("nodeSelector: [a]"), path="spec.consumer.podTemplate.nodeSelector"
    ),
    Bad(
        id="toleration-is-a-word", changes=_pods("tolerations: [spot]"), path="spec.consumer.podTemplate.tolerations[0]"
    ),
    Bad(id="affinity-is-a-list", changes=_pods("affinity: []"), path="spec.consumer.podTemplate.affinity"),
    Bad(id="pods-with-volumes", changes=_pods("volumes: []"), path="spec.consumer.podTemplate.volumes"),
    Bad(
        id="service-account-in-capitals",
        changes=_pods("serviceAccountName: Own"),
        path="spec.consumer.podTemplate.serviceAccountName",
    ),
    Bad(
        id="pull-secret-as-a-word",
        changes=_pods("imagePullSecrets: [registry]"),
        path="spec.consumer.podTemplate.imagePullSecrets[0]",
    ),
]

_TOLERATION = "$.spec.consumer.podTemplate.tolerations[0]"
_SPREAD = "$.spec.consumer.podTemplate.topologySpreadConstraints[0]"

BAD_FOR_KUBERNETES = [
    BadForKubernetes(
        id="toleration-misspelt",
        changes=_pods("tolerations: [{ky: a, operator: Exists}]"),
        path=_TOLERATION,
        says="'ky' was unexpected",
    ),
    BadForKubernetes(
        id="toleration-of-everything-by-accident",
        changes=_pods("tolerations: [{effect: NoSchedule}]"),
        path=f"{_TOLERATION}.operator",
        says="must be Exists where there is no key",
    ),
    BadForKubernetes(
        id="toleration-that-exists-with-value",
        changes=_pods("tolerations: [{key: a, operator: Exists, value: b}]"),
        path=f"{_TOLERATION}.value",
        says="must be absent where operator is Exists",
    ),
    BadForKubernetes(
        id="toleration-for-a-time-of-nothing",
        changes=_pods("tolerations: [{key: a, operator: Exists, effect: NoSchedule, tolerationSeconds: 5}]"),
        path=f"{_TOLERATION}.effect",
        says="must be NoExecute where tolerationSeconds is set",
    ),
    BadForKubernetes(
        id="spread-without-key",
        changes=_pods("topologySpreadConstraints: [{maxSkew: 1, whenUnsatisfiable: DoNotSchedule}]"),
        path=_SPREAD,
        says="'topologyKey' is a required property",
    ),
    BadForKubernetes(
        id="spread-by-another-word",
        changes=_pods("topologySpreadConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: Never}]"),
        path=f"{_SPREAD}.whenUnsatisfiable",
        says="'Never' is not one of",
    ),
    BadForKubernetes(
        id="affinity-with-weight-of-zero",
        changes=_pods(
            "affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, preference: {}}]}}"
        ),
        path="$.spec.consumer.podTemplate.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight",
        says="0 is less than the minimum of 1",
    ),
    BadForKubernetes(
        id="affinity-misspelt",
        changes=_pods("affinity: {nodeAfinity: {}}"),
        path="$.spec.consumer.podTemplate.affinity",
        says="'nodeAfinity' was unexpected",
    ),
]
