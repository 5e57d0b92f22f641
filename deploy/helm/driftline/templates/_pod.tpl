{{- /* The pod of a role: (dict "root" $ "role" "judge" "command" (list "judge") "resources" {...}).
     A job, `job`, has no probes, and says what it is in `component` and who it runs as. */ -}}
{{- define "driftline.pod" -}}
{{- $root := .root -}}
{{- $role := .role -}}
{{- $values := .root.Values -}}
{{- $withStore := has $role (list "store" "serve") -}}
metadata:
  labels:
    {{- include "driftline.selector" (dict "root" $root "role" (default $role .component)) | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "driftline.config" $root | sha256sum }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ default (include "driftline.serviceAccount" $root) .serviceAccount }}
  automountServiceAccountToken: {{ and (eq $role "deliver") $values.serviceAccount.deliverToken }}
  enableServiceLinks: false
  {{- if .job }}
  restartPolicy: OnFailure
  {{- else }}
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  {{- end }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not .job }}
  topologySpreadConstraints:
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "driftline.selector" (dict "root" $root "role" $role) | nindent 10 }}
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: {{ $role }}
      image: {{ include "driftline.image" $root | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: {{- toYaml .command | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      env:
        - name: DRIFTLINE_CONFIG
          value: /etc/driftline/config/driftline.yaml
        {{- include "driftline.kafkaUser" (dict "root" $root "role" $role) | trim | nindent 8 }}
        {{- if and (eq $role "store") $values.store.readerPasswordSecret.name }}
        - name: DRIFTLINE__STORE__READER_PASSWORD_FILE
          value: /etc/driftline/reader/password
        {{- end }}
        {{- if eq $role "serve" }}
        {{- if not $values.serve.tlsSecret }}
        - name: DRIFTLINE_HEALTH_URL
          value: http://127.0.0.1:{{ $values.serve.port }}/readyz
        {{- end }}
        {{- with $values.serve.hookSecret }}
        {{- if .name }}
        - name: DRIFTLINE_HOOK_SECRET
          valueFrom: {secretKeyRef: {name: {{ .name | quote }}, key: {{ .key | quote }}}}
        {{- end }}
        {{- end }}
        {{- end }}
        {{- with $values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if not .job }}
      ports:
        {{- if eq $role "serve" }}
        - {name: http, containerPort: {{ $values.serve.port }}}
        {{- else }}
        - {name: metrics, containerPort: 9464}
        {{- end }}
      # Ready: it has its partitions, or its verdicts. Alive: it answers at all. The first start of a
      # judge restores its tables, which may take a while.
      {{- if eq $role "serve" }}
      {{- $scheme := ternary "HTTPS" "HTTP" (ne $values.serve.tlsSecret "") }}
      startupProbe: {httpGet: {path: /healthz, port: http, scheme: {{ $scheme }}}, periodSeconds: 2, failureThreshold: 60}
      readinessProbe: {httpGet: {path: /readyz, port: http, scheme: {{ $scheme }}}, periodSeconds: 5, timeoutSeconds: 3}
      livenessProbe: {httpGet: {path: /healthz, port: http, scheme: {{ $scheme }}}, periodSeconds: 15, timeoutSeconds: 5, failureThreshold: 4}
      {{- else }}
      startupProbe: {tcpSocket: {port: metrics}, periodSeconds: 5, failureThreshold: 120}
      readinessProbe: {exec: {command: [test, -f, /run/driftline/ready]}, periodSeconds: 5}
      livenessProbe: {httpGet: {path: /metrics, port: metrics}, periodSeconds: 20, timeoutSeconds: 10, failureThreshold: 6}
      {{- end }}
      {{- end }}
      resources: {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/driftline/config, readOnly: true}
        - {name: run, mountPath: /run/driftline}
        - {name: tmp, mountPath: /tmp}
        - {name: work, mountPath: /var/lib/driftline}
        {{- if eq $role "summarize" }}
        - {name: compiled, mountPath: /var/cache/driftline}
        {{- end }}
        {{- if and (hasSuffix "SSL" $values.kafka.securityProtocol) $values.kafka.ca.secret }}
        - {name: kafka-ca, mountPath: /etc/driftline/kafka-ca, readOnly: true}
        {{- end }}
        {{- if eq $values.kafka.securityProtocol "SSL" }}
        - {name: kafka-user, mountPath: /etc/driftline/kafka-user, readOnly: true}
        {{- end }}
        {{- if and $withStore $values.store.ca.secret }}
        - {name: store-ca, mountPath: /etc/driftline/store-ca, readOnly: true}
        {{- end }}
        {{- if and $withStore $values.store.passwordSecret.name }}
        - {name: store-password, mountPath: /etc/driftline/store, readOnly: true}
        {{- end }}
        {{- if and (eq $role "store") $values.store.readerPasswordSecret.name }}
        - {name: reader-password, mountPath: /etc/driftline/reader, readOnly: true}
        {{- end }}
        {{- if and (eq $role "serve") (not $values.serve.open) }}
        - {name: tokens, mountPath: /etc/driftline/tokens, readOnly: true}
        {{- end }}
        {{- if and (eq $role "serve") $values.serve.tlsSecret }}
        - {name: tls, mountPath: /etc/driftline/tls, readOnly: true}
        {{- end }}
        {{- if and .job $values.references.configMap }}
        - {name: references, mountPath: /etc/driftline/references, readOnly: true}
        {{- end }}
        {{- if eq $role "deliver" }}
        {{- range $values.deliverSecrets }}
        - {name: {{ printf "secret-%s" . }}, mountPath: {{ printf "/run/secrets/driftline/%s" . }}, readOnly: true}
        {{- end }}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ .configMap | default (include "driftline.name" $root) }}}
    - {name: run, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
    - {name: tmp, emptyDir: {sizeLimit: 64Mi}}
    - {name: work, emptyDir: {sizeLimit: 16Mi}}
    {{- if eq $role "summarize" }}
    - {name: compiled, emptyDir: {sizeLimit: 256Mi}}
    {{- end }}
    {{- if and (hasSuffix "SSL" $values.kafka.securityProtocol) $values.kafka.ca.secret }}
    - name: kafka-ca
      secret:
        secretName: {{ $values.kafka.ca.secret }}
        items: [{key: {{ $values.kafka.ca.key }}, path: ca.crt}]
    {{- end }}
    {{- if eq $values.kafka.securityProtocol "SSL" }}
    - name: kafka-user
      secret:
        secretName: {{ $values.kafka.user.secret | replace "{role}" $role }}
        defaultMode: 0440
        items:
          - {key: {{ $values.kafka.user.certificateKey }}, path: user.crt}
          - {key: {{ $values.kafka.user.privateKeyKey }}, path: user.key}
    {{- end }}
    {{- if and $withStore $values.store.ca.secret }}
    - name: store-ca
      secret:
        secretName: {{ $values.store.ca.secret }}
        items: [{key: {{ $values.store.ca.key }}, path: ca.crt}]
    {{- end }}
    {{- if and $withStore $values.store.passwordSecret.name }}
    - name: store-password
      secret:
        secretName: {{ $values.store.passwordSecret.name }}
        defaultMode: 0440
        items: [{key: {{ $values.store.passwordSecret.key }}, path: password}]
    {{- end }}
    {{- if and (eq $role "store") $values.store.readerPasswordSecret.name }}
    - name: reader-password
      secret:
        secretName: {{ $values.store.readerPasswordSecret.name }}
        defaultMode: 0440
        items: [{key: {{ $values.store.readerPasswordSecret.key }}, path: password}]
    {{- end }}
    {{- if and (eq $role "serve") (not $values.serve.open) }}
    - name: tokens
      secret:
        secretName: {{ $values.serve.tokenSecret.name }}
        defaultMode: 0440
        items: [{key: {{ $values.serve.tokenSecret.key }}, path: tokens}]
    {{- end }}
    {{- if and (eq $role "serve") $values.serve.tlsSecret }}
    - name: tls
      secret:
        secretName: {{ $values.serve.tlsSecret }}
        defaultMode: 0440
        items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]
    {{- end }}
    {{- if and .job $values.references.configMap }}
    - name: references
      configMap: {name: {{ $values.references.configMap }}}
    {{- end }}
    {{- if eq $role "deliver" }}
    {{- range $values.deliverSecrets }}
    - name: {{ printf "secret-%s" . }}
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
    {{- end }}
{{- end -}}
