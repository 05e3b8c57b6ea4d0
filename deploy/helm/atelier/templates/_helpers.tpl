{{/* Name of the release, cut to what a label may hold with a component behind it. */}}
{{- define "atelier.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What a release runs, blank between. A component's binary is atelier-<component>. */}}
{{- define "atelier.components" -}}
gateway text moderation image
{{- end -}}

{{/* Where a component's values stand: `image` is the container image, as in every chart. Takes its name. */}}
{{- define "atelier.values" -}}
{{- if eq . "image" }}imageService{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{/* Where the gateway reaches a component. Takes (dict "root" $ "component" "text"). */}}
{{- define "atelier.endpoint" -}}
{{- $values := index .root.Values (include "atelier.values" .component) -}}
{{- printf "http://%s-%s:%d" (include "atelier.fullname" .root) .component (int $values.service.port) -}}
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
{{- $values := index $root.Values (include "atelier.values" .component) -}}
{{- $config := dict
  "server" (dict
    "listen" (printf "0.0.0.0:%d" (int $values.service.port))
    "admin_listen" "0.0.0.0:9090"
    "drain_notice" (printf "%ds" (int $root.Values.drain.noticeSeconds))
    "drain_timeout" (printf "%ds" (int $root.Values.drain.timeoutSeconds)))
  "telemetry" (dict "format" "json") -}}
{{- if eq .component "gateway" -}}
{{- range $component := list "text" "image" -}}
{{- $connection := dict "endpoint" (include "atelier.endpoint" (dict "root" $root "component" $component)) -}}
{{- $_ := set $config $component (dict "upstreams" (list (dict "connection" $connection))) -}}
{{- end -}}
{{- $moderation := dict "endpoint" (include "atelier.endpoint" (dict "root" $root "component" "moderation")) -}}
{{- $_ := set $config "moderation" (dict "upstreams" (list $moderation)) -}}
{{- if $root.Values.policy -}}
{{- $_ := set $config "policy" (dict "file" "/etc/atelier/policy/policy.yaml") -}}
{{- end -}}
{{- end -}}
{{- if eq .component "moderation" -}}
{{- if $values.rules.configMap -}}
{{- $_ := set $config "rules" (dict "file" "/etc/atelier/rules/rules.yaml") -}}
{{- end -}}
{{- if $values.works.existingClaim -}}
{{- $_ := set $config "works" (dict "folder" "/var/lib/atelier/works") -}}
{{- end -}}
{{- end -}}
{{- mergeOverwrite $config (deepCopy $values.config) | toYaml -}}
{{- end -}}
