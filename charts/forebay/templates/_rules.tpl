{{/*
What the operator may do with pipelines and what it makes of them: the one list behind the ClusterRole and the Roles.
No Secrets: consumers mount theirs as files, and the operator never reads a password. Nothing is deleted: what a pipeline
owns goes with it by owner references.
Server-side apply is a patch. Where the object is missing the API server asks for create, too; the audit log shows it as
the patch that it came from.
*/}}
{{- define "forebay.rules" -}}
- apiGroups: [forebay.dev]
  resources: [ingestpipelines]
  verbs: [get, list, watch]
- apiGroups: [forebay.dev]
  resources: [ingestpipelines/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services]
  verbs: [get, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/* Who is leader, in the operator's own namespace. A create cannot be bound to a name, the rest is. */}}
{{- define "forebay.leaderRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "forebay.leaseName" . }}]
  verbs: [get, update]
{{- end -}}
