{{/* redkite.yaml: what the chart's values say, with extraConfigFiles laid over it. */}}

{{- define "redkite.settings" -}}
{{- $settings := include "redkite.chartSettings" . | fromYaml -}}
{{- $user := index .Values.extraConfigFiles "user.yaml" | default "" | fromYaml -}}
{{- if and (hasKey $user "Error") (eq (len $user) 1) -}}
{{- fail (printf "extraConfigFiles: user.yaml: %s" $user.Error) -}}
{{- end -}}
{{- mergeOverwrite $settings $user | toYaml -}}
{{- end -}}

{{- define "redkite.chartSettings" -}}
log:
  level: {{ .Values.log.level | quote }}
  format: {{ .Values.log.format }}
metrics:
  port: 9091
proxy:
  port: 19530
common:
  gracefulStopTimeout: {{ .Values.gracefulStopTimeout }}
localStorage:
  path: /var/lib/redkite
  cacheCapacity: {{ .Values.localStorage.cacheCapacity | quote }}
{{- if .Values.cluster.enabled }}
{{ include "redkite.etcdSettings" . }}
{{ include "redkite.bucketSettings" . }}
{{- range $section, $value := dict "mixCoord" "mixCoordinator" "rootCoord" "rootCoordinator" "queryCoord" "queryCoordinator" "dataCoord" "dataCoordinator" }}
{{- $coordinator := index $.Values $value }}
{{- if $coordinator.enabled }}
{{ $section }}:
  enableActiveStandby: {{ $coordinator.activeStandby.enabled }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "redkite.etcdSettings" -}}
etcd:
  endpoints:
{{- if .Values.externalEtcd.enabled }}
  {{- range .Values.externalEtcd.endpoints }}
    - {{ . | quote }}
  {{- end }}
  rootPath: {{ default (include "redkite.rootPath" .) .Values.externalEtcd.rootPath | quote }}
  auth:
    enabled: {{ ne .Values.externalEtcd.existingSecret "" }}
{{- else }}
  {{- $name := printf "%s-etcd" (include "redkite.fullname" .) }}
  {{- range $number := until (int .Values.etcd.replicaCount) }}
    - {{ $name }}-{{ $number }}.{{ $name }}:2379
  {{- end }}
  rootPath: {{ include "redkite.rootPath" . | quote }}
{{- end }}
{{- end -}}

{{/* The keys come from a secret, by the environment. */}}
{{- define "redkite.bucketSettings" -}}
minio:
{{- if .Values.externalS3.enabled }}
  address: {{ .Values.externalS3.host | quote }}
  {{- with .Values.externalS3.port }}
  port: {{ . }}
  {{- end }}
  useSSL: {{ .Values.externalS3.useSSL }}
  bucketName: {{ .Values.externalS3.bucketName | quote }}
  rootPath: {{ default (include "redkite.rootPath" .) .Values.externalS3.rootPath | quote }}
  useIAM: {{ .Values.externalS3.useIAM }}
  iamEndpoint: {{ .Values.externalS3.iamEndpoint | quote }}
  region: {{ .Values.externalS3.region | quote }}
  useVirtualHost: {{ .Values.externalS3.useVirtualHost }}
{{- else }}
  address: {{ include "redkite.fullname" . }}-minio
  port: 9000
  bucketName: {{ .Values.minio.bucketName | quote }}
  rootPath: {{ .Values.minio.rootPath | quote }}
{{- end }}
{{- end -}}
