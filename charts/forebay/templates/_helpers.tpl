{{/* The name of everything in the release; 52 characters leave room for suffixes. */}}
{{- define "forebay.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "forebay.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Helm adds app.kubernetes.io/managed-by itself; plain manifests are not managed by it. */}}
{{- define "forebay.labels" -}}
{{ include "forebay.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "forebay.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "forebay.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "forebay.leaseName" -}}
{{ include "forebay.fullname" . }}-leader
{{- end -}}

{{/* The reference of an image: {image: values, appVersion: default tag}. */}}
{{- define "forebay.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .appVersion) -}}
{{- end -}}
{{- end -}}

{{/* What a JSON schema cannot say. */}}
{{- define "forebay.validate" -}}
{{- with .Values.leaderElection -}}
{{- if ge (int .renewDeadlineSeconds) (int .leaseDurationSeconds) -}}
{{- fail (printf "leaderElection.renewDeadlineSeconds (%d) must be below leaseDurationSeconds (%d): a leader that cannot renew has to stop before another may start" (int .renewDeadlineSeconds) (int .leaseDurationSeconds)) -}}
{{- end -}}
{{- if ge (int .retryPeriodSeconds) (int .renewDeadlineSeconds) -}}
{{- fail (printf "leaderElection.retryPeriodSeconds (%d) must be below renewDeadlineSeconds (%d): otherwise one failed renewal costs the leadership" (int .retryPeriodSeconds) (int .renewDeadlineSeconds)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
