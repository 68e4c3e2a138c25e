{{- define "raysweep.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 40 characters, so that suffixes such as -policy-reader fit. */ -}}
{{- define "raysweep.fullname" -}}
{{- $name := include "raysweep.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "raysweep.serviceAccount" -}}
{{- default (include "raysweep.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "raysweep.selectorLabels" -}}
app.kubernetes.io/name: {{ include "raysweep.name" . | toYaml }}
app.kubernetes.io/instance: {{ toYaml .Release.Name }}
{{- end -}}

{{- define "raysweep.labels" -}}
{{ include "raysweep.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: raysweep
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "raysweep.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "raysweep.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "raysweep.serviceAccount" . | toYaml }}
    namespace: {{ toYaml .Release.Namespace }}
{{- end -}}

{{- /* Rules for RayJobs, RayClusters, Events and Pods, for a ClusterRole and a Role. */ -}}
{{- define "raysweep.rules" -}}
- apiGroups: [ray.io]
  resources: [rayjobs]
  verbs: [get, list, watch, delete, patch]
- apiGroups: [ray.io]
  resources: [rayclusters]
  verbs: [get, list, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- if eq (default "direct" .Values.settings.headAccess) "api-server" }}
- apiGroups: [""]
  resources: [services/proxy]
  verbs: [get]
{{- end }}
{{- if eq (toString .Values.settings.deletePods) "true" }}
- apiGroups: [""]
  resources: [pods]
  verbs: [list, delete]
{{- end }}
{{- end -}}

{{- /* A setting as the value of an environment variable: lists with commas, numbers without exponent. */ -}}
{{- define "raysweep.setting" -}}
{{- if kindIs "slice" . }}{{ join "," . }}{{ else if kindIs "string" . }}{{ . }}{{ else }}{{ toJson . }}{{ end -}}
{{- end -}}

{{- /* A list in the ConfigMap of the admission bundle, one name per line. */ -}}
{{- define "raysweep.list" -}}
{{- if . }} |
    {{- range . }}
    {{ . }}
    {{- end }}
{{- else }} ""
{{- end -}}
{{- end -}}
