{{/* The name that clients use; 52 characters leave room for suffixes. */}}
{{- define "patroni-haproxy.fullname" -}}
{{- .Values.fullnameOverride | default (printf "%s-haproxy" .Values.clusterName) | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "patroni-haproxy.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ include "patroni-haproxy.fullname" . }}
{{- end -}}

{{/* Helm adds app.kubernetes.io/managed-by itself; plain manifests are not managed by it. */}}
{{- define "patroni-haproxy.labels" -}}
{{ include "patroni-haproxy.selectorLabels" . }}
app.kubernetes.io/component: proxy
{{- end -}}

{{- define "patroni-haproxy.memberLabels" -}}
{{- if .Values.members.podLabels -}}
{{ toYaml .Values.members.podLabels }}
{{- else -}}
application: spilo
cluster-name: {{ .Values.clusterName }}
{{- end -}}
{{- end -}}

{{- define "patroni-haproxy.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}
