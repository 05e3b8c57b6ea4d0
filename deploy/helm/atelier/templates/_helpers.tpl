{{/* Name of the release, cut to what a label may hold with a component behind it. */}}
{{- define "atelier.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select a component's pods. Takes (dict "root" $ "component" "text"). */}}
{{- define "atelier.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* All labels of a component's objects. */}}
{{- define "atelier.labels" -}}
{{ include "atelier.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: atelier
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "atelier.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "atelier.fullname" .) -}}
{{- end -}}

{{/* A component's configuration file: what the chart has to say, under what the user says. */}}
{{- define "atelier.config" -}}
{{- $root := .root -}}
{{- $values := index $root.Values .component -}}
{{- $config := dict
  "server" (dict
    "listen" (printf "0.0.0.0:%d" (int $values.service.port))
    "admin_listen" "0.0.0.0:9090"
    "drain_notice" (printf "%ds" (int $root.Values.drain.noticeSeconds))
    "drain_timeout" (printf "%ds" (int $root.Values.drain.timeoutSeconds)))
  "telemetry" (dict "format" "json") -}}
{{- if eq .component "gateway" -}}
{{- $name := include "atelier.fullname" $root -}}
{{- $text := dict "endpoint" (printf "http://%s-text:%d" $name (int $root.Values.text.service.port)) -}}
{{- $moderation := dict "endpoint" (printf "http://%s-moderation:%d" $name (int $root.Values.moderation.service.port)) -}}
{{- $_ := set $config "text" (dict "upstreams" (list (dict "connection" $text))) -}}
{{- $_ := set $config "moderation" (dict "upstreams" (list $moderation)) -}}
{{- if $root.Values.policy -}}
{{- $_ := set $config "policy" (dict "file" "/etc/atelier/policy/policy.yaml") -}}
{{- end -}}
{{- end -}}
{{- mergeOverwrite $config (deepCopy $values.config) | toYaml -}}
{{- end -}}
