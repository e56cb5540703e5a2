{{/*
A pod that runs `redkite run ROLE`. Takes a dict: root, role, values (of the role), port (for other roles; 0: none),
serves (whether clients come here), data (its volume), grace (seconds; else by common.gracefulStopTimeout).
*/}}

{{- define "redkite.pod" -}}
{{- $values := .root.Values -}}
{{- $settings := include "redkite.settings" .root | fromYaml -}}
{{- $timeout := $settings.common.gracefulStopTimeout -}}
{{- if kindIs "string" $timeout -}}
{{- fail "common.gracefulStopTimeout: a number of seconds is needed here" -}}
{{- end -}}
metadata:
  labels:
    {{- include "redkite.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .role }}
    {{- with $values.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # New settings are new pods.
    checksum/settings: {{ include "redkite.settings" .root | sha256sum }}
    {{- with mergeOverwrite (deepCopy $values.annotations) .values.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "redkite.serviceAccount" .root }}
  automountServiceAccountToken: false
  # Kubernetes would describe services by variables such as MINIO_PORT=tcp://10.0.0.1:9000, and that is a setting.
  enableServiceLinks: false
  # Who is told to stop hands over first; a little more, so that it is not killed when it has just given up waiting.
  terminationGracePeriodSeconds: {{ .grace | default (add (int $timeout) 30) }}
  {{- with $values.image.all.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.nodeSelector | default $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.tolerations | default $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  affinity:
    {{- with .values.affinity | default $values.affinity }}
    {{- toYaml . | nindent 4 }}
    {{- else }}
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "redkite.selector" .root | nindent 16 }}
                app.kubernetes.io/component: {{ .role }}
    {{- end }}
  {{- with .values.topologySpreadConstraints | default $values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .role }}
      image: {{ include "redkite.image" .root | quote }}
      imagePullPolicy: {{ $values.image.all.pullPolicy }}
      args: ["run", {{ .role | quote }}, "--config", "/etc/redkite/redkite.yaml"]
      {{- with include "redkite.environment" . | trim }}
      env:
        {{- . | nindent 8 }}
      {{- end }}
      ports:
        {{- if .serves }}
        - name: milvus
          containerPort: {{ $settings.proxy.port }}
        {{- end }}
        {{- with .port }}
        - name: internal
          containerPort: {{ . }}
        {{- end }}
        - name: metrics
          containerPort: {{ $settings.metrics.port }}
      {{- if $values.startupProbe.enabled }}
      startupProbe:
        httpGet:
          # A proxy's port is open before it serves.
          path: {{ eq .role "proxy" | ternary "/healthz" "/livez" }}
          port: metrics
        {{- toYaml (omit $values.startupProbe "enabled") | nindent 8 }}
      {{- end }}
      {{- with $values.livenessProbe }}
      {{- if .enabled }}
      livenessProbe:
        httpGet:
          path: /livez
          port: metrics
        {{- toYaml (omit . "enabled") | nindent 8 }}
      {{- end }}
      {{- end }}
      {{- if $values.readinessProbe.enabled }}
      readinessProbe:
        {{- if .serves }}
        tcpSocket:
          port: milvus
        {{- else }}
        httpGet:
          path: /healthz
          port: metrics
        {{- end }}
        {{- toYaml (omit $values.readinessProbe "enabled") | nindent 8 }}
      {{- end }}
      {{- with .values.drainSeconds }}
      lifecycle:
        preStop:
          exec:
            command: ["sleep", {{ . | quote }}]
      {{- end }}
      {{- with $values.containerSecurityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - name: settings
          mountPath: /etc/redkite
          readOnly: true
        - name: data
          mountPath: /var/lib/redkite
          {{- with .subPath }}
          subPath: {{ . }}
          {{- end }}
        {{- with $values.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: settings
      configMap:
        name: {{ include "redkite.fullname" .root }}
    - name: data
      {{- toYaml .data | nindent 6 }}
    {{- with $values.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Secrets, and what the role's values add. */}}
{{- define "redkite.environment" -}}
{{- $values := .root.Values -}}
{{- if $values.cluster.enabled -}}
{{- if not (and $values.externalS3.enabled $values.externalS3.useIAM) -}}
{{- $secret := include "redkite.bucketSecret" .root -}}
- name: MINIO_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: accesskey
- name: MINIO_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: secretkey
{{- end }}
{{- if and $values.externalEtcd.enabled $values.externalEtcd.existingSecret }}
- name: ETCD_AUTH_USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ $values.externalEtcd.existingSecret }}
      key: username
- name: ETCD_AUTH_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ $values.externalEtcd.existingSecret }}
      key: password
{{- end }}
{{- end }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
