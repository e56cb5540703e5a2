{{/* What things are called. */}}

{{- define "redkite.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 43 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 43 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 43 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What never changes of a pod's labels. */}}
{{- define "redkite.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "redkite.labels" -}}
{{ include "redkite.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "redkite.image" -}}
{{ .Values.image.all.repository }}:{{ default .Chart.AppVersion .Values.image.all.tag }}
{{- end -}}

{{- define "redkite.serviceAccount" -}}
{{- $own := ternary (include "redkite.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $own .Values.serviceAccount.name -}}
{{- end -}}

{{/* The secret with the bucket's keys. */}}
{{- define "redkite.bucketSecret" -}}
{{- $given := ternary .Values.externalS3.existingSecret .Values.minio.existingSecret .Values.externalS3.enabled -}}
{{- default (printf "%s-bucket" (include "redkite.fullname" .)) $given -}}
{{- end -}}

{{/* Keeps clusters apart that share an etcd or a bucket. */}}
{{- define "redkite.rootPath" -}}
{{ .Release.Namespace }}-{{ .Release.Name }}
{{- end -}}

{{/* The class of a volume claim, of its `storageClass`. */}}
{{- define "redkite.storageClass" -}}
{{- $class := default "" . -}}
{{- if eq $class "-" -}}
storageClassName: ""
{{- else if $class -}}
storageClassName: {{ $class | quote }}
{{- end -}}
{{- end -}}
