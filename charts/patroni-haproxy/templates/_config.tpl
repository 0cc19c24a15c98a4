{{/* haproxy.cfg. Every number comes from a value; docs/haproxy.md says where the defaults were measured. */}}
{{- define "patroni-haproxy.config" -}}
global
    maxconn {{ .Values.maxConnections }}
    # Given, because HAProxy would start one thread for each core of the node, whatever the pod may use.
    nbthread {{ .Values.threads }}
    log stdout format raw local0 info
    # After SIGUSR1 sessions live on this long and no longer: a stopping HAProxy checks nobody, so that it would keep
    # sessions on a primary that has been replaced.
    hard-stop-after {{ .Values.drain.sessionSeconds }}s

defaults
    mode tcp
    log global
    option dontlognull
    # A peer that vanished without a word (node lost, network cut) is noticed after 10 s + 3 x 5 s.
    option clitcpka
    option srvtcpka
    clitcpka-idle 10s
    clitcpka-intvl 5s
    clitcpka-cnt 3
    srvtcpka-idle 10s
    srvtcpka-intvl 5s
    srvtcpka-cnt 3
    # A refused connection is told to the client at once; each retry would first wait a second.
    retries 0
    timeout connect {{ .Values.timeouts.connectSeconds }}s
    timeout queue {{ .Values.timeouts.queueSeconds }}s
    timeout client {{ .Values.timeouts.idleSeconds }}s
    timeout server {{ .Values.timeouts.idleSeconds }}s
    timeout check {{ .Values.checks.timeoutMilliseconds }}ms
{{ include "patroni-haproxy.resolvers" . }}
listen primary
    bind {{ .Values.bind }}:{{ .Values.primary.port }}
    option tcplog
    # 200 only from the member that holds the leader lock.
    option httpchk OPTIONS /primary
    http-check expect status 200
    {{- include "patroni-haproxy.servers" . | nindent 4 }}
{{- if .Values.replicas.enabled }}

listen replicas
    bind {{ .Values.bind }}:{{ .Values.replicas.port }}
    option tcplog
    balance leastconn
    # 200 only from a running replica that is at most this many bytes behind the primary's last known position.
    option httpchk OPTIONS /replica?lag={{ int .Values.replicas.maxLagBytes }}
    http-check expect status 200
    {{- include "patroni-haproxy.servers" . | nindent 4 }}
{{- end }}

frontend stats
    mode http
    bind {{ .Values.bind }}:{{ .Values.stats.port }}
    no log
    timeout client 10s
    # Before 3.1 a server counts as up until its first check. There is one primary: several mean that not all are checked.
    # None is no reason to leave the Service: it would cost time when the next one is there.
    monitor-uri /readyz
    monitor fail if { nbsrv(primary) gt 1 }
    http-request return status 200 content-type text/plain string ok if { path /livez }
    http-request use-service prometheus-exporter if { path /metrics }
    stats enable
    stats uri /stats
    stats show-legends
{{ end -}}

{{/* Whom to check, how often, and what to do with those that fail. */}}
{{- define "patroni-haproxy.servers" -}}
{{- with .Values.checks -}}
# fall 2: one slow answer is no failover; shutdown-sessions: no client stays with a primary that was replaced.
default-server check inter {{ .intervalMilliseconds }}ms fastinter {{ .fastIntervalMilliseconds }}ms downinter {{ .downIntervalMilliseconds }}ms fall {{ .fall }} rise {{ .rise }} on-marked-down shutdown-sessions
{{- end }}
default-server maxconn {{ .Values.members.maxConnections }}
.if version_atleast(3.1)
# Nobody is sent to a member that was not checked yet, at the start as well as when a member gets a new address.
default-server init-state down
.endif
{{- range .Values.members.static }}
server {{ .name }} {{ .host }}:{{ .port | default $.Values.members.port }} check port {{ .restPort | default $.Values.members.restPort }}
{{- if not (include "patroni-haproxy.isAddress" .host) }} resolvers dns resolve-prefer ipv4 init-addr last,libc,none{{ end }}
{{- else }}
server-template member 1-{{ .Values.members.slots }} {{ include "patroni-haproxy.fullname" . }}-members.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:{{ .Values.members.port }} check port {{ .Values.members.restPort }} resolvers dns resolve-prefer ipv4 init-addr none
{{- end }}
{{- end -}}

{{- define "patroni-haproxy.isAddress" -}}
{{- if or (regexMatch "^[0-9.]+$" .) (contains ":" .) }}yes{{ end -}}
{{- end -}}

{{/* Only where a member has a name: pods always, static ones when their host is no address. */}}
{{- define "patroni-haproxy.resolvers" -}}
{{- $names := ternary "" "pods" (gt (len .Values.members.static) 0) -}}
{{- range .Values.members.static -}}
{{- if not (include "patroni-haproxy.isAddress" .host) }}{{ $names = .host }}{{ end -}}
{{- end -}}
{{- if $names }}
resolvers dns
    parse-resolv-conf
    # All members in one answer; 512 bytes would hold about 20, and fewer with long names.
    accepted_payload_size 8192
    resolve_retries 3
    timeout resolve 1s
    timeout retry 1s
    hold valid 1s
    hold obsolete 5s
    # An outage of DNS is none of the database: the checks say who lives.
    hold nx 1h
    hold other 1h
    hold refused 1h
    hold timeout 1h
{{ end -}}
{{- end -}}
