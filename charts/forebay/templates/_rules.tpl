{{/*
What the operator may do with pipelines and what it makes of them: the one list behind the ClusterRole and the Roles.
No Secrets: consumers mount theirs as files, and the operator never reads a password. Nothing is deleted: what a pipeline
owns goes with it by owner references. Server-side apply is a patch, and a create where the object is missing.
*/}}
{{- define "forebay.rules" -}}
- apiGroups: [forebay.dev]
  resources: [ingestpipelines]
  verbs: [get, list, watch]
- apiGroups: [forebay.dev]
  resources: [ingestpipelines/status]
  verbs: [get, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [get, patch]
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services]
  verbs: [get, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch]
{{- if .Values.rbac.kedaScaledObjects }}
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [list, watch]
{{- end }}
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* Who is leader, in the operator's own namespace. A create cannot be bound to a name, the rest is. */}}
{{- define "forebay.leaderRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "forebay.leaseName" . }}]
  verbs: [get, update, patch]
{{- end -}}
