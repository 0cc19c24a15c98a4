{{/* The operator's environment; FOREBAY_KAFKA_CLIENTS_DIR has one folder a client (see kafkaClients), or does not exist. */}}
{{- define "forebay.env" -}}
- name: FOREBAY_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: FOREBAY_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: FOREBAY_WATCH_NAMESPACES
  value: {{ join "," .Values.watchNamespaces | quote }}
- name: FOREBAY_CONSUMER_IMAGE
  value: {{ include "forebay.image" (dict "image" .Values.consumerImage "appVersion" .Chart.AppVersion) | quote }}
- name: FOREBAY_CONSUMER_IMAGE_PULL_POLICY
  value: {{ .Values.consumerImage.pullPolicy }}
- name: FOREBAY_KAFKA_CLIENTS_DIR
  value: /etc/forebay/kafka-clients
- name: FOREBAY_LEASE_NAME
  value: {{ include "forebay.leaseName" . }}
- name: FOREBAY_LEASE_DURATION_SECONDS
  value: {{ .Values.leaderElection.leaseDurationSeconds | quote }}
- name: FOREBAY_RENEW_DEADLINE_SECONDS
  value: {{ .Values.leaderElection.renewDeadlineSeconds | quote }}
- name: FOREBAY_RETRY_PERIOD_SECONDS
  value: {{ .Values.leaderElection.retryPeriodSeconds | quote }}
- name: FOREBAY_HTTP_PORT
  value: "8080"
- name: FOREBAY_LOG_LEVEL
  value: {{ .Values.logLevel }}
{{- end -}}
