{{- define "farebox.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* The release's name where it says farebox already, else both. */}}
{{- define "farebox.fullname" -}}
{{- $name := include "farebox.name" . }}
{{- $both := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- default $both .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "farebox.selector" -}}
app.kubernetes.io/name: {{ include "farebox.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "farebox.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "farebox.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "farebox.serviceAccount" -}}
{{- default (.Values.serviceAccount.create | ternary (include "farebox.fullname" .) "default") .Values.serviceAccount.name }}
{{- end }}

{{- define "farebox.image" -}}
{{- $tagged := printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- .Values.image.digest | empty | ternary $tagged (printf "%s@%s" $tagged .Values.image.digest) }}
{{- end }}

{{- /* Not empty where replicas share a store. */}}
{{- define "farebox.shared" -}}
{{- .Values.postgresql.existingSecret }}
{{- end }}
