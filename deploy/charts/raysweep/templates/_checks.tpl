{{- /* Refuses contradictions between two values, which the schema cannot express. */ -}}
{{- define "raysweep.checks" -}}
{{- $settings := .Values.settings -}}
{{- $lease := list (list "leaseDuration" "15s") (list "renewDeadline" "10s") (list "retryPeriod" "2s") -}}
{{- range $index, $longer := slice $lease 0 2 -}}
{{- $shorter := index $lease (add1 $index | int) -}}
{{- $long := dig (first $longer) (last $longer) $settings -}}
{{- $short := dig (first $shorter) (last $shorter) $settings -}}
{{- if le (include "raysweep.seconds" $long | float64) (include "raysweep.seconds" $short | float64) -}}
{{- fail (printf "settings.%s is %v: use a longer time than settings.%s (%v)" (first $longer) $long (first $shorter) $short) -}}
{{- end -}}
{{- end -}}
{{- $grace := dig "terminationGrace" "20s" $settings -}}
{{- if lt (float64 .Values.terminationGracePeriodSeconds) (addf 10 (include "raysweep.seconds" $grace | float64)) -}}
{{- fail (printf "terminationGracePeriodSeconds is %v: use at least 10 seconds more than settings.terminationGrace (%v), so that deletions in progress can finish" .Values.terminationGracePeriodSeconds $grace) -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled .Values.networkPolicy.egress.enabled $settings.headProxy (not .Values.networkPolicy.extraEgress) -}}
{{- fail (printf "settings.headProxy is %s, which the NetworkPolicy does not allow: add it to networkPolicy.extraEgress" $settings.headProxy) -}}
{{- end -}}
{{- if .Values.namespaces -}}
{{- range .Values.headTokens.namespaces -}}
{{- if not (has . $.Values.namespaces) -}}
{{- fail (printf "headTokens.namespaces has %s, which is not in namespaces (%s): add it there, or remove it" . (join ", " $.Values.namespaces)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* A duration in seconds: 90, 1h30m, 1.5h. */ -}}
{{- define "raysweep.seconds" -}}
{{- if kindIs "string" . -}}
{{- $units := dict "w" 604800 "d" 86400 "h" 3600 "m" 60 "s" 1 -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9.]+[wdhms]" . -1 -}}
{{- $unit := substr (sub (len .) 1 | int) (len .) . -}}
{{- $sum = addf $sum (mulf (trimSuffix $unit . | float64) (get $units $unit)) -}}
{{- end -}}
{{- $sum -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}
