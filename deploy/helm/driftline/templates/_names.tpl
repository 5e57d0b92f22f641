{{- define "driftline.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "driftline.labels" -}}
app.kubernetes.io/name: driftline
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* Call with (dict "root" $ "role" "judge"). */ -}}
{{- define "driftline.selector" -}}
app.kubernetes.io/name: driftline
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "driftline.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "driftline.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "driftline.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- /* The configuration in full: what people wrote, and on top what the chart knows. */ -}}
{{- define "driftline.config" -}}
{{- $properties := dict "security.protocol" .Values.kafka.securityProtocol -}}
{{- if hasPrefix "SASL" .Values.kafka.securityProtocol -}}
{{- $_ := set $properties "sasl.mechanisms" .Values.kafka.saslMechanism -}}
{{- end -}}
{{- if and (hasSuffix "SSL" .Values.kafka.securityProtocol) .Values.kafka.ca.secret -}}
{{- $_ := set $properties "ssl.ca.location" "/etc/driftline/kafka-ca/ca.crt" -}}
{{- end -}}
{{- if eq .Values.kafka.securityProtocol "SSL" -}}
{{- $_ := set $properties "ssl.certificate.location" "/etc/driftline/kafka-user/user.crt" -}}
{{- $_ := set $properties "ssl.key.location" "/etc/driftline/kafka-user/user.key" -}}
{{- end -}}
{{- $store := dict "url" .Values.store.url -}}
{{- if .Values.store.passwordSecret.name -}}
{{- $_ := set $store "password_file" "/etc/driftline/store/password" -}}
{{- end -}}
{{- if .Values.store.ca.secret -}}
{{- $_ := set $store "ca_file" "/etc/driftline/store-ca/ca.crt" -}}
{{- end -}}
{{- $serve := dict "host" "0.0.0.0" "port" (int .Values.serve.port) -}}
{{- if not .Values.serve.open -}}
{{- $_ := set $serve "token_file" "/etc/driftline/tokens/tokens" -}}
{{- end -}}
{{- if .Values.serve.tlsSecret -}}
{{- $_ := set $serve "tls_cert_file" "/etc/driftline/tls/tls.crt" -}}
{{- $_ := set $serve "tls_key_file" "/etc/driftline/tls/tls.key" -}}
{{- end -}}
{{- $files := list -}}
{{- range .Values.references.files -}}
{{- $files = append $files (printf "/etc/driftline/references/%s" .) -}}
{{- end -}}
{{- $chart := dict
  "kafka" (dict "bootstrap" .Values.kafka.bootstrap "properties" $properties)
  "store" $store "serve" $serve "metrics" (dict "port" 9464 "host" "0.0.0.0") -}}
{{- if $files -}}
{{- $_ := set $chart "references" (dict "files" $files) -}}
{{- end -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) $chart) -}}
{{- end -}}

{{- /* The user's name and password of a role, where SASL asks for them. */ -}}
{{- define "driftline.kafkaUser" -}}
{{- $user := .root.Values.kafka.user -}}
{{- $secret := $user.secret | replace "{role}" .role -}}
{{- if hasPrefix "SASL" .root.Values.kafka.securityProtocol }}
- name: DRIFTLINE__KAFKA__PROPERTIES__sasl.username
{{- if $user.usernameKey }}
  valueFrom: {secretKeyRef: {name: {{ $secret | quote }}, key: {{ $user.usernameKey | quote }}}}
{{- else }}
  value: {{ $user.name | replace "{role}" .role | quote }}
{{- end }}
- name: DRIFTLINE__KAFKA__PROPERTIES__sasl.password
  valueFrom: {secretKeyRef: {name: {{ $secret | quote }}, key: {{ $user.passwordKey | quote }}}}
{{- end }}
{{- end -}}
