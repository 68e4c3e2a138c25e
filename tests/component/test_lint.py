"""`raysweep lint` over files, in the process: what it finds in which document, to the column. The program's face is in
test_lint_command.py, how texts are read in test_marked.py."""

import itertools
import json
import string
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raysweep import names
from raysweep.cli.common import formatting
from raysweep.cli.lint.files import lint_files
from raysweep.cli.lint.policy_rules import MOST_COMPARED
from raysweep.cli.lint.problems import ERROR, WARNING, Rule
from raysweep.cli.lint.report import UNCHECKED, Report
from raysweep.clients.parsing.policy import parse_policy
from raysweep.core.model.facts import Policy
from raysweep.core.retention.annotations import errors
from raysweep.core.retention.policies import selects
from tests.support.builders import Body

NOW = datetime(2026, 11, 22, 18, tzinfo=UTC)
DURATION = "write a number of seconds, numbers with w, d, h, m, s (as in 1h30m), or never; at most 100 years"
CLUSTER = "entrypoint: 'true', rayClusterSpec: {headGroupSpec: {template: {spec: {containers: [{name: ray}]}}}}"
TRACKED = "who tracks the RayJob by this would create it again, so it stays"
OURS = "Raysweep reads annotations of RayJobs and Namespaces only; move it to one"
SHUTDOWN = (
    "spec.shutdownAfterJobFinishes with ttlSecondsAfterFinished 3600; "
    "the RayJob too, where it runs with DELETE_RAYJOB_CR_AFTER_JOB_FINISHES=true"
)


def rayjob(*annotations: str, labels: str = "", spec: str = "") -> str:
    """Annotations stand from line 6 on, each on its own line and from column 5 on."""
    lines = [
        "apiVersion: ray.io/v1",
        "kind: RayJob",
        "metadata:",
        "  name: train",
        "  annotations:",
    ]
    lines += [f"    {line}" for line in annotations]
    return (
        "\n".join(
            [
                *lines,
                *([f"  labels: {labels}"] if labels else []),
                *([f"spec: {spec}"] if spec else []),
            ]
        )
        + "\n"
    )


def policy(spec: str, *, name: str = "base") -> str:
    """The spec stands in line 4, from column 7 on."""
    return f"apiVersion: raysweep.io/v1alpha1\nkind: RayJobCleanupPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def documents(*texts: str) -> str:
    return "---\n".join(texts)


ROWS = [
    pytest.param(
        rayjob(
            "a: b",
            spec='{runtimeEnvYAML: "env_vars: {SECRET: 1234, B: yes}\\npip: [a]\\nconda: x"}',
        ),
        [
            "7:24: error: RayJob train: spec.runtimeEnvYAML: env_vars.SECRET: is a number, but Ray accepts only text; "
            "write a text in quotes",
            "7:24: error: RayJob train: spec.runtimeEnvYAML: env_vars.B: is a boolean, but Ray accepts only text; "
            "write a text in quotes",
            "7:24: error: RayJob train: spec.runtimeEnvYAML: pip: excludes conda: Ray takes one of them; "
            "keep one; conda installs what pip would if its dependencies name it",
        ],
        id="a runtime environment that Ray refuses, without the values in it (C15)",
    ),
    pytest.param(
        rayjob("a: b", spec='{runtimeEnvYAML: "pypi: [emoji]\\nconfig: {timeout: 5}"}'),
        [
            "7:24: warning: RayJob train: spec.runtimeEnvYAML: pypi: unknown key; did you mean pip?",
            "7:24: warning: RayJob train: spec.runtimeEnvYAML: config.timeout: Ray ignores this key; "
            "did you mean setup_timeout_seconds?",
        ],
        id="a key of a runtime environment that Ray itself does not read (C15)",
    ),
    pytest.param(
        rayjob("a: b", spec='{runtimeEnvYAML: "a: ["}'),
        [
            "7:24: error: RayJob train: spec.runtimeEnvYAML: it is not valid YAML in line 1, which KubeRay refuses; "
            "write a mapping, as 'pip: [emoji]'"
        ],
        id="a runtime environment that is no YAML (C15)",
    ),
    pytest.param(
        rayjob("a: b", spec="{runtimeEnvYAML: {pip: [a]}}"),
        [
            "7:24: error: RayJob train: spec.runtimeEnvYAML: the value is not a text, which KubeRay's CRD refuses; "
            "write it in quotes"
        ],
        id="a runtime environment that is no text (C15)",
    ),
    pytest.param(
        rayjob("a: b", spec="{runtimeEnvYAML: 'a: &a [*a]'}"),
        [
            "7:24: error: RayJob train: spec.runtimeEnvYAML: it has more than 200000 nodes, aliases included, "
            "which KubeRay refuses; write a mapping, as 'pip: [emoji]'"
        ],
        id="a runtime environment that has no end (H26)",
    ),
    pytest.param(
        "apiVersion: ray.io/v1\nkind: RayCronJob\nmetadata: {name: cron}\nspec: {jobTemplate: {runtimeEnvYAML: 'pip: 5'}}\n",
        [
            "4:38: error: RayCronJob cron: spec.jobTemplate.runtimeEnvYAML: pip: is a number; "
            "write a list of packages, the path of a requirements file, or a mapping"
        ],
        id="the runtime environment of a RayCronJob (C15)",
    ),
    pytest.param(
        rayjob("raysweep.io/ttl: soon"),
        [
            f"6:22: error: RayJob train: annotation raysweep.io/ttl: 'soon' is no duration; {DURATION}"
        ],
        id="a value that is no duration stands at the value",
    ),
    pytest.param(
        rayjob("raysweep.io/keep-until: tomorrow"),
        [
            "6:29: error: RayJob train: annotation raysweep.io/keep-until: 'tomorrow' is no time; "
            "write an RFC 3339 time with its zone, as 2026-11-22T18:00:00Z"
        ],
        id="a keep-until that is no time",
    ),
    pytest.param(
        rayjob("raysweep.io/ttl-fail: 1h"),
        [
            "6:5: error: RayJob train: annotation 'raysweep.io/ttl-fail': unknown key; did you mean raysweep.io/ttl-failed?"
        ],
        id="a misspelt key stands at the key, with the one that was meant",
    ),
    pytest.param(
        rayjob("raysweep.io/keepUntil: x"),
        [
            "6:5: error: RayJob train: annotation 'raysweep.io/keepUntil': unknown key; did you mean raysweep.io/keep-until?"
        ],
        id="a key in another spelling",
    ),
    pytest.param(
        rayjob("raysweep.io/owner: ann"),
        [
            "6:5: error: RayJob train: annotation 'raysweep.io/owner': unknown key; raysweep.io/ has cluster-ttl, "
            "cluster-ttl-failed, cluster-ttl-stopped, cluster-ttl-succeeded, keep-reason, keep-until, outcome, ttl, "
            "ttl-failed, ttl-stopped, ttl-succeeded, ttl-unsubmitted"
        ],
        id="a key that is like none",
    ),
    pytest.param(
        rayjob(
            "raysweep.io/ttl: 3600",
            "raysweep.io/ttl-failed: yes",
            "raysweep.io/ttl-stopped:",
            "team: [vision]",
            "empty:",
        ),
        [
            "6:22: error: RayJob train: annotation raysweep.io/ttl: '3600' is a number in YAML, "
            "and the API server takes texts only; write it in quotes",
            "7:29: error: RayJob train: annotation raysweep.io/ttl-failed: 'yes' is a boolean in YAML, "
            "and the API server takes texts only; write it in quotes",
            f"8:5: error: RayJob train: annotation raysweep.io/ttl-stopped: '' is no duration; {DURATION}",
            "9:11: error: RayJob train: annotation 'team': it is a list, and the API server takes texts only; write one",
        ],
        id="annotations that are no texts in YAML, whosesoever",
    ),
    pytest.param(
        rayjob(
            'raysweep.io/ttl: "3600"',
            "raysweep.io/keep-until: 2026-12-24T18:00:00Z",
            "raysweep.io/ttl-failed: !!str 60",
        ),
        [],
        id="numbers in quotes and times without, which kubectl takes for texts",
    ),
    pytest.param(
        rayjob("raysweep.io/outcome: failed 2026-11-22T19:38:36Z"),
        [
            "6:26: error: RayJob train: annotation raysweep.io/outcome: 'failed 2026-11-22T19:38:36Z' is for Raysweep alone "
            "to write, on RayJobs whose cluster it deletes; remove it"
        ],
        id="an outcome that a person writes",
    ),
    pytest.param(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: team-a\n"
        "  annotations: {raysweep.io/ttl: soon, raysweep.io/tl: 1h}\n",
        [
            f"5:34: error: Namespace team-a: annotation raysweep.io/ttl: 'soon' is no duration; {DURATION}",
            "5:40: error: Namespace team-a: annotation 'raysweep.io/tl': unknown key; did you mean raysweep.io/ttl?",
        ],
        id="the defaults of a Namespace likewise",
    ),
    pytest.param(
        rayjob("raysweep.io/ttl: 1h", "raysweep.io/ttl: 2h"),
        [
            "7:5: error: RayJob train: 'raysweep.io/ttl': this key stands twice in one mapping, so one of the two is lost; "
            "remove one"
        ],
        id="a key that stands twice",
    ),
    pytest.param(
        "kind: RayJob\napiVersion: ray.io/v1\nmetadata:\n  annotations: []\n  labels: x\n",
        [
            "4:16: error: RayJob: metadata.annotations: is no mapping of keys to texts; write one",
            "5:11: error: RayJob: metadata.labels: is no mapping of keys to texts; write one",
        ],
        id="annotations and labels that are no mappings",
    ),
    pytest.param(
        rayjob("raysweep.io/keep-until: 2026-11-22T18:00:00Z"),
        [
            "6:29: warning: RayJob train: annotation raysweep.io/keep-until: '2026-11-22T18:00:00Z' has passed, "
            "so it keeps nothing; remove it, or write a later time"
        ],
        id="a keep-until that passes this moment",
    ),
    pytest.param(
        rayjob("raysweep.io/keep-until: 2026-11-22T18:00:01Z"),
        [],
        id="a keep-until that passes in a second",
    ),
    pytest.param(
        rayjob("raysweep.io/keep-reason: audit"),
        [
            "6:5: warning: RayJob train: annotation raysweep.io/keep-reason: without raysweep.io/keep-until it keeps nothing; "
            "write that too, or remove it"
        ],
        id="a reason that keeps nothing",
    ),
    pytest.param(
        rayjob("raysweep.io/ttl: 1h", "raysweep.io/cluster-ttl: 1h1s"),
        [
            "6:22: warning: RayJob train: annotation raysweep.io/ttl: '1h' is shorter than raysweep.io/cluster-ttl '1h1s', "
            "so the RayJob stays as long as its RayCluster; make it longer, or the other shorter"
        ],
        id="a ttl that is shorter than the cluster-ttl",
    ),
    pytest.param(
        rayjob("raysweep.io/ttl: 1h", "raysweep.io/cluster-ttl: 60m"),
        [],
        id="a ttl as long as the cluster-ttl",
    ),
    pytest.param(
        rayjob("raysweep.io/ttl: 1d", "raysweep.io/ttl-failed: 1h", "raysweep.io/cluster-ttl: 2h"),
        [
            "7:29: warning: RayJob train: annotation raysweep.io/ttl-failed: '1h' is shorter than raysweep.io/cluster-ttl '2h', "
            "so the RayJob stays as long as its RayCluster; make it longer, or the other shorter"
        ],
        id="a ttl that is too short after one outcome",
    ),
    pytest.param(
        rayjob("team: vision", labels="{raysweep.io/ttl: 1h}"),
        [
            "7:12: warning: RayJob train: metadata.labels 'raysweep.io/ttl': Raysweep reads annotations only; make it one"
        ],
        id="a label",
    ),
    pytest.param(
        rayjob(
            "team: vision",
            spec="{rayClusterSpec: {headGroupSpec: {template: {metadata: {annotations: {raysweep.io/ttl: 1h}}, "
            "spec: {containers: [{name: ray}]}}}}, entrypoint: 'true'}",
        ),
        [
            "7:77: warning: RayJob train: spec.rayClusterSpec.headGroupSpec.template.metadata.annotations 'raysweep.io/ttl': "
            "Raysweep reads the RayJob's own annotations only; move it there"
        ],
        id="an annotation of the Pods",
    ),
    pytest.param(
        "apiVersion: ray.io/v1\nkind: RayCluster\nmetadata: {name: c, namespace: team-a, annotations: {raysweep.io/ttl: 1h}}\n",
        [f"3:54: warning: RayCluster team-a/c: metadata.annotations 'raysweep.io/ttl': {OURS}"],
        id="an annotation of a RayCluster",
    ),
    pytest.param(
        "apiVersion: example.com/v1\nkind: RayJob\nmetadata: {name: c, annotations: {raysweep.io/ttl: soon}}\n",
        [f"3:35: warning: RayJob c: metadata.annotations 'raysweep.io/ttl': {OURS}"],
        id="a RayJob of somebody else's group",
    ),
    pytest.param(
        rayjob("raysweep/ttl: 1h", "submit.raysweep.io/id: x"),
        [
            "6:5: warning: RayJob train: annotation 'raysweep/ttl': Raysweep's keys begin with raysweep.io/, "
            "so nobody reads this one; did you mean raysweep.io/ttl?"
        ],
        id="a key with a prefix that is nearly ours",
    ),
    pytest.param(
        "apiVersion: ray.io/v1\nkind: RayCronJob\nmetadata: {name: cron, annotations: {raysweep.io/ttl: 1h}}\n"
        "spec:\n  jobTemplate:\n    metadata: {annotations: {raysweep.io/ttl: 1h}}\n    ttlSecondsAfterFinished: 60\n",
        [
            "3:38: warning: RayCronJob cron: metadata.annotations 'raysweep.io/ttl': KubeRay gives none of a RayCronJob's "
            "metadata to its RayJobs; set it on the Namespace, or in a policy",
            "6:29: error: RayCronJob cron: spec.jobTemplate.metadata.annotations: the value is not a text, "
            "which KubeRay's CRD refuses; write it in quotes",
            "6:30: warning: RayCronJob cron: spec.jobTemplate.metadata.annotations 'raysweep.io/ttl': KubeRay gives none of a "
            "RayCronJob's metadata to its RayJobs; set it on the Namespace, or in a policy",
            "7:30: error: RayCronJob cron: spec.jobTemplate.ttlSecondsAfterFinished: 60 without shutdownAfterJobFinishes: true, "
            "which KubeRay refuses; set that, or leave it out",
        ],
        id="a RayCronJob, whose metadata reaches no RayJob",
    ),
    pytest.param(
        rayjob("team: a", spec="{ttlSecondsAfterFinished: -1, shutdownAfterJobFinishes: true}"),
        [
            "7:33: error: RayJob train: spec.ttlSecondsAfterFinished: -1 is below 0, which KubeRay refuses; write 0 or more"
        ],
        id="a TTL below 0",
    ),
    pytest.param(
        rayjob("team: a", spec="{ttlSecondsAfterFinished: 60}"),
        [
            "7:33: error: RayJob train: spec.ttlSecondsAfterFinished: 60 without shutdownAfterJobFinishes: true, "
            "which KubeRay refuses; set that, or leave it out"
        ],
        id="a TTL without shutdown",
    ),
    pytest.param(
        rayjob("team: a", spec="{ttlSecondsAfterFinished: 0}"),
        [],
        id="a TTL of 0, which is the CRD's default",
    ),
    pytest.param(
        rayjob(
            "team: a",
            spec="{shutdownAfterJobFinishes: true, "
            "deletionStrategy: {deletionRules: [{policy: DeleteSelf, condition: {jobStatus: FAILED, ttlSeconds: -5}}]}}",
        ),
        [
            "7:34: error: RayJob train: spec.shutdownAfterJobFinishes: with deletionStrategy.deletionRules, which KubeRay "
            "refuses; leave out one of the two",
            "7:139: error: RayJob train: spec.deletionStrategy.deletionRules[0].condition.ttlSeconds: "
            "-5 is below 0, which KubeRay's CRD refuses; write 0 or more",
        ],
        id="rules beside shutdown, and one with a TTL below 0",
    ),
    pytest.param(
        rayjob("team: a", spec='{ttlSecondsAfterFinished: "60", shutdownAfterJobFinishes: true}'),
        [
            "7:33: error: RayJob train: spec.ttlSecondsAfterFinished: '60' is not a whole number of 32 bits, "
            "which KubeRay's CRD refuses; write one, without quotes"
        ],
        id="a TTL in quotes",
    ),
    pytest.param(
        rayjob(
            "team: a",
            labels="{kueue.x-k8s.io/queue-name: lq, team: a b}",
            spec=f"{{{CLUSTER}, suspend: true}}",
        ),
        [
            "7:49: error: RayJob train: label team: 'a b' is not a valid value of a label, which the API server refuses; "
            "use at most 63 letters, digits, '-', '_' and '.', no sign at either end",
            "8:7: error: RayJob train: spec.shutdownAfterJobFinishes: it is not true, and the label "
            "kueue.x-k8s.io/queue-name is set, which Kueue refuses; set it to true",
            "8:119: error: RayJob train: spec.suspend: true without shutdownAfterJobFinishes: true, "
            "which KubeRay refuses; set that, or leave suspend out",
        ],
        id="C14: what Kueue, KubeRay and the API server refuse at once",
    ),
    pytest.param(
        rayjob("team: a", spec='{managedBy: "{{ .Values.manager }}"}'),
        [
            "7:20: error: {{ makes this a template, as Helm's are; render it first: helm template CHART | raysweep lint -"
        ],
        id="C14: a template where only a rule looks",
    ),
    pytest.param(
        rayjob(
            "raysweep.io/cluster-ttl: 1d",
            spec="{shutdownAfterJobFinishes: true, ttlSecondsAfterFinished: 3600}",
        ),
        [
            "6:30: warning: RayJob train: annotation raysweep.io/cluster-ttl: KubeRay deletes the RayCluster 1h after the end "
            f"({SHUTDOWN}), before '1d'; change the spec, or shorten this time"
        ],
        id="KubeRay's shutdown comes before the cluster-ttl",
    ),
    pytest.param(
        rayjob(
            "raysweep.io/cluster-ttl: 1h",
            spec="{shutdownAfterJobFinishes: true, ttlSecondsAfterFinished: 3600}",
        ),
        [],
        id="KubeRay's shutdown comes with the cluster-ttl",
    ),
    pytest.param(
        rayjob(
            "raysweep.io/ttl-failed: never",
            "raysweep.io/ttl: 2h",
            spec="{deletionStrategy: {deletionRules: [{policy: DeleteSelf, condition: {jobStatus: FAILED, ttlSeconds: 60}}]}}",
        ),
        [
            "6:29: warning: RayJob train: annotation raysweep.io/ttl-failed: KubeRay deletes the RayJob 1m after an end that is "
            "failed (spec.deletionStrategy), before 'never'; change the spec, or shorten this time"
        ],
        id="a rule of KubeRay's deletes failed ones that are kept",
    ),
    pytest.param(
        rayjob(
            "raysweep.io/ttl: 1h",
            "raysweep.io/cluster-ttl: 2h",
            spec="{deletionPolicy: DeleteSelf}",
        ),
        [
            "6:22: warning: RayJob train: annotation raysweep.io/ttl: '1h' is shorter than raysweep.io/cluster-ttl '2h', "
            "so the RayJob stays as long as its RayCluster; make it longer, or the other shorter",
            "6:22: warning: RayJob train: annotation raysweep.io/ttl: KubeRay deletes the RayJob 0s after the end "
            "(spec.deletionPolicy), before '1h'; change the spec, or shorten this time",
            "7:30: warning: RayJob train: annotation raysweep.io/cluster-ttl: KubeRay deletes the RayCluster 0s after the end "
            "(spec.deletionPolicy), before '2h'; change the spec, or shorten this time",
            "8:24: warning: RayJob train: spec.deletionPolicy: 'DeleteSelf', which KubeRay 1.5 or later does not know "
            "and drops; use deletionStrategy.deletionRules",
        ],
        id="KubeRay's deletion of the RayJob takes the cluster too",
    ),
    pytest.param(
        rayjob(
            "raysweep.io/keep-until: 2027-01-01T00:00:00Z",
            spec="{shutdownAfterJobFinishes: true, ttlSecondsAfterFinished: 3600}",
        ),
        [
            "6:29: warning: RayJob train: annotation raysweep.io/keep-until: it does not bind KubeRay, which deletes the "
            f"RayCluster 1h after the end ({SHUTDOWN}); change the spec to keep that too"
        ],
        id="keep-until does not bind KubeRay",
    ),
    pytest.param(
        rayjob(
            "raysweep.io/ttl: 1d",
            spec="{shutdownAfterJobFinishes: true, clusterSelector: {ray.io/cluster: shared}, entrypoint: 'true'}",
        ),
        [],
        id="with a clusterSelector KubeRay deletes nothing",
    ),
    pytest.param(
        rayjob("argocd.argoproj.io/tracking-id: x"),
        [
            f"6:5: warning: RayJob train: annotation argocd.argoproj.io/tracking-id: {TRACKED} (WillBeRecreated) and at most its "
            "RayCluster goes; set raysweep.io/ttl on the RayJob itself if it may go"
        ],
        id="Argo CD tracks it, and it has no ttl of its own",
    ),
    pytest.param(
        rayjob("raysweep.io/ttl-failed: 1d", labels="{kustomize.toolkit.fluxcd.io/name: apps}"),
        [
            f"7:12: warning: RayJob train: label kustomize.toolkit.fluxcd.io/name: {TRACKED} after an end that is succeeded or "
            "stopped (WillBeRecreated) and at most its RayCluster goes; set raysweep.io/ttl on the RayJob itself if it may go"
        ],
        id="Flux tracks it, and it has a ttl after one outcome",
    ),
    pytest.param(
        rayjob("raysweep.io/ttl: 1d", labels="{helm.toolkit.fluxcd.io/name: apps}"),
        [],
        id="Flux tracks it, and it has a ttl",
    ),
    pytest.param(
        policy(
            "{retention: {rayJob: {default: soon, failde: 1h}}, limits: {keep: {}}, mod: DryRun}"
        ),
        [
            f"4:38: error: RayJobCleanupPolicy base: spec.retention.rayJob.default: 'soon' is no duration; {DURATION}",
            "4:44: error: RayJobCleanupPolicy base: spec.retention.rayJob.failde: unknown key; did you mean failed?",
            "4:73: error: RayJobCleanupPolicy base: spec.limits.keep: says nothing; leave it out",
            "4:78: error: RayJobCleanupPolicy base: spec.mod: unknown key; did you mean mode?",
        ],
        id="a policy with values, keys and an object that are wrong",
    ),
    pytest.param(
        policy(
            "{retention: {rayJob: {max: 1h}}, mode: observe, namespaceSelector: {matchExpressions: [{operator: In}]}}"
        ),
        [
            "4:29: error: RayJobCleanupPolicy base: spec.retention.rayJob.max: unknown key; "
            "remove it, or see docs/reference/policies.md for the right one",
            "4:46: error: RayJobCleanupPolicy base: spec.mode: 'observe' is none of its values; write 'Enforce' or 'DryRun'",
            "4:94: error: RayJobCleanupPolicy base: spec.namespaceSelector.matchExpressions.0.key: it is missing; write it",
        ],
        id="a key that stands elsewhere, a word in another case, and something missing, which stands at what it is missing in",
    ),
    pytest.param(
        policy(
            '{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: 7, a: "b"}}, stuck: {jobLost: 0}}'
        ),
        [
            "4:71: error: RayJobCleanupPolicy base: spec.namespaceSelector.matchLabels.kubernetes.io/metadata.name: "
            "'7' is no text; write it in quotes",
            "4:101: error: RayJobCleanupPolicy base: spec.stuck.jobLost: '0' would take jobs at once; "
            "write a time above 0, or never",
        ],
        id="a label with dots and a number",
    ),
    pytest.param(
        policy("{limits: {rayJob: {min: 2d, max: 1d}}, rayJobSelector: {matchLabels: {a: b}}}"),
        [
            "4:31: error: RayJobCleanupPolicy base: spec.limits.rayJob.min: 2d is longer than limits.rayJob.max 1d; "
            "no time would be allowed",
            "4:62: error: RayJobCleanupPolicy base: spec.rayJobSelector: limits cannot depend on labels that tenants choose "
            "themselves; remove it, or the limits",
        ],
        id="limits that allow nothing, and limits by tenants' labels",
    ),
    pytest.param(
        documents(policy("{}"), policy("").replace("spec: \n", "")),
        [
            "4:7: error: RayJobCleanupPolicy base: spec: it says nothing; set retention, limits or stuck, or the mode DryRun",
            "6:1: error: RayJobCleanupPolicy base: spec: it says nothing; set retention, limits or stuck, or the mode DryRun",
        ],
        id="policies that say nothing",
    ),
    pytest.param(
        policy("{mode: DryRun}").replace("{name: base}", "{name: base, namespace: team-a}"),
        [
            "3:35: error: RayJobCleanupPolicy base: metadata.namespace: 'team-a' has no effect, a policy is cluster-scoped; "
            "remove it, and select Namespaces with spec.namespaceSelector"
        ],
        id="a policy in a namespace",
    ),
    pytest.param(
        documents(
            policy("{mode: DryRun}").replace("v1alpha1", "v1"),
            "kind: RayJobCleanupPolicy\nmetadata: {}\nspec: {mode: DryRun}\n",
        ),
        [
            "1:13: error: RayJobCleanupPolicy base: apiVersion: 'cli.raysweep.io/v1' is none that a policy has; "
            "write raysweep.io/v1alpha1",
            "6:1: error: RayJobCleanupPolicy: apiVersion: it is missing; write raysweep.io/v1alpha1",
        ],
        id="an apiVersion that is not ours, or none",
    ),
    pytest.param(
        policy("{mode: DryRun}").replace("kind: RayJob", "kind: Rayjob"),
        [
            "2:7: error: RayjobCleanupPolicy base: kind: 'RayjobCleanupPolicy' is no kind of raysweep.io; "
            "write RayJobCleanupPolicy"
        ],
        id="a kind that our group does not have",
    ),
    pytest.param(
        policy(
            "{retention: {rayJob: {default: 30d, failed: 1d}, rayCluster: {default: never}}, limits: {rayJob: {max: 2w}}}"
        ),
        [
            "4:38: warning: RayJobCleanupPolicy base: spec.retention.rayJob.default: it is lowered from 4w2d by "
            "RayJobCleanupPolicy base spec.limits.rayJob.max; write a time within the limits",
            "4:38: warning: RayJobCleanupPolicy base: spec.retention.rayJob.default: '4w2d' is shorter than "
            "spec.retention.rayCluster.default 'never', so the RayJob stays as long as its RayCluster; "
            "make it longer, or the other shorter",
            "4:51: warning: RayJobCleanupPolicy base: spec.retention.rayJob.failed: '1d' is shorter than "
            "spec.retention.rayCluster.default 'never', so the RayJob stays as long as its RayCluster; "
            "make it longer, or the other shorter",
            "4:78: warning: RayJobCleanupPolicy base: spec.retention.rayCluster.default: it is lowered from never by "
            "RayJobCleanupPolicy base spec.limits.rayJob.max; write a time within the limits",
        ],
        id="a policy whose times are outside its own limits",
    ),
    pytest.param(
        documents(
            policy("{limits: {rayJob: {max: 1d}}}", name="short"),
            policy("{limits: {rayJob: {min: 2d}}}", name="long"),
        ),
        [
            "4:16: warning: RayJobCleanupPolicy short: spec.limits: limits that cannot both be kept, so RayJobs that both select "
            "stay: RayJobCleanupPolicy long spec.limits.rayJob.min 2d contradicts RayJobCleanupPolicy short "
            "spec.limits.rayJob.max 1d; change one of them"
        ],
        id="two policies whose limits contradict each other",
    ),
    pytest.param(
        documents(
            policy("{retention: {rayJob: {default: 1d}}}", name="a"),
            policy("{retention: {rayJob: {default: 2d}}}", name="b"),
        ),
        [
            "9:7: warning: RayJobCleanupPolicy b: spec.priority: RayJobCleanupPolicy a has priority 0 too and sets "
            "retention.rayJob.default: a's counts; give one of them another priority"
        ],
        id="two policies of one priority that set the same",
    ),
    pytest.param(
        documents(
            policy(
                "{retention: {rayJob: {default: 1d}}, namespaceSelector: {matchLabels: {env: dev}}}",
                name="a",
            ),
            policy(
                "{retention: {rayJob: {default: 2d}}, namespaceSelector: {matchLabels: {env: prod}}}",
                name="b",
            ),
            policy(
                "{retention: {rayJob: {default: 2d}}, namespaceSelector: {matchExpressions: "
                "[{key: env, operator: NotIn, values: [dev, prod]}]}}",
                name="c",
            ),
            policy("{retention: {rayCluster: {default: 2d}}}", name="d"),
            policy("{retention: {rayCluster: {default: 2d}}, priority: 1}", name="e"),
        ),
        [],
        id="policies that never select the same, set something else, or have another priority",
    ),
    pytest.param(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: ray.io/v1\n  kind: RayJob\n  metadata:\n    generateName: train-\n"
        "    annotations: {raysweep.io/ttl: soon}\n",
        [
            f"8:36: error: RayJob train-*: annotation raysweep.io/ttl: 'soon' is no duration; {DURATION}"
        ],
        id="a list, and a name that is made",
    ),
    pytest.param(
        '{"kind": "NamespaceList", "apiVersion": "v1",\n\t"items": [{"metadata": {"name": "\\ud83d\\ude00",\n\t\t'
        '"annotations": {"raysweep.io/ttl": 60}}}]}\n',
        [
            "3:38: error: Namespace ��: annotation raysweep.io/ttl: '60' is a number in YAML, and the API server takes texts "
            "only; write it in quotes"
        ],
        id="JSON with tabs and a typed list",
    ),
    pytest.param(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, annotations: &ours {raysweep.io/ttl: soon}}\n"
        "x: &more\n  raysweep.io/keep-reason: x\ny:\n  <<: *more\n---\n"
        + rayjob("<<: {raysweep.io/ttl: soon}", "raysweep.io/ttl: 1h"),
        [
            f"3:58: error: Namespace a: annotation raysweep.io/ttl: 'soon' is no duration; {DURATION}"
        ],
        id="anchors, aliases and merged mappings, of which the own key counts",
    ),
    pytest.param(
        "metadata:\n\tname: x\n",
        ["2:1: error: no YAML: a tab, where only spaces may stand"],
        id="a tab",
    ),
    pytest.param(
        "kind: [\n",
        ["2:1: error: no YAML: did not find expected node content while parsing a flow node"],
        id="no YAML",
    ),
    pytest.param(
        "kind: RayJob\nmetadata:\n  name: {{ .Values.name }}\n",
        [
            "3:9: error: {{ makes this a template, as Helm's are; render it first: helm template CHART | raysweep lint - "
            "(as it stands, line 3: a key that is no text)"
        ],
        id="a Helm template",
    ),
    pytest.param(
        rayjob('raysweep.io/ttl: "{{ .Values.ttl }}"'),
        [
            "6:23: error: {{ makes this a template, as Helm's are; render it first: helm template CHART | raysweep lint -"
        ],
        id="a Helm template that is YAML as well",
    ),
    pytest.param(
        rayjob(
            "raysweep.io/ttl: 1h",
            spec='{entrypoint: "echo {{not ours}}", clusterSelector: {ray.io/cluster: shared}}',
        ),
        [],
        id="braces where lint does not look",
    ),
]

CLEAN = [
    pytest.param(
        rayjob("raysweep.io/ttl: 1d", spec=f"{{{CLUSTER}}}"), id="C14: a RayJob that nobody refuses"
    ),
    pytest.param(
        rayjob("raysweep.io/ttl: 1d", "raysweep.io/ttl-failed: 2w", "raysweep.io/cluster-ttl: 10m"),
        id="a RayJob",
    ),
    pytest.param(
        policy(
            "{retention: {rayJob: {default: 1d, failed: 3600}}, limits: {rayCluster: {max: 2d}}}"
        ),
        id="a policy",
    ),
    pytest.param(
        "kind: Kustomization\nresources: [a.yaml]\n---\n---\n- a\n- b\n---\njust text\n",
        id="other documents",
    ),
    pytest.param("", id="nothing"),
    pytest.param("# only a remark\n", id="a remark"),
]


def lint(folder: Path, text: str | bytes) -> Report:
    file = folder / "it.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return lint_files([file], NOW)


@pytest.mark.parametrize(("text", "expected"), ROWS)
def test_what_is_wrong_and_where(tmp_path: Path, text: str, expected: list[str]) -> None:
    report = lint(tmp_path, text)
    assert [
        str(problem).removeprefix(f"{tmp_path}/it.yaml:") for problem in report.problems
    ] == expected


@pytest.mark.parametrize("text", CLEAN)
def test_nothing_is_wrong(tmp_path: Path, text: str) -> None:
    assert lint(tmp_path, text).problems == ()


def test_c14_what_only_older_versions_refuse_is_a_note(tmp_path: Path) -> None:
    rules = (
        "deletionStrategy: {deletionRules: [{policy: DeleteSelf, condition: {jobStatus: FAILED}}]}"
    )
    text = documents(*[rayjob("team: a", spec=f"{{{CLUSTER}, {rules}}}")] * 2)
    report = lint(tmp_path, text)
    assert report.problems == ()
    assert report.notes == (
        "RayJob train and 1 more: spec.deletionStrategy: a deletionStrategy, which KubeRay 1.5 without its "
        "feature gate RayJobDeletionPolicy refuses; turn the gate on, or use KubeRay 1.6 or later",
    )
    assert report.exit_code(strict=True) == 0


def test_every_check_has_a_row(tmp_path: Path) -> None:
    found = {
        problem.rule for row in ROWS for problem in lint(tmp_path, str(row.values[0])).problems
    }
    assert set(Rule) - found == {Rule.UNREADABLE_FILE}  # see test_lint_command.py


@pytest.mark.parametrize("severity", [ERROR, WARNING])
def test_a_check_is_an_error_or_a_warning_and_rows_say_which(tmp_path: Path, severity: str) -> None:
    found = [problem for row in ROWS for problem in lint(tmp_path, str(row.values[0])).problems]
    assert {
        f" {severity}: " in f" {problem}" for problem in found if problem.rule.severity == severity
    } == {True}


def test_policies_of_one_name_are_one_policy_written_twice(tmp_path: Path) -> None:
    text = documents(
        policy("{retention: {rayJob: {default: 1d}}}"),
        policy("{retention: {rayJob: {default: 2d}}}"),
    )
    assert lint(tmp_path, text).problems == ()


LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), max_size=2)
REQUIREMENTS = st.builds(
    lambda key, operator, values: {
        "key": key,
        "operator": operator,
        **({"values": values} if operator.endswith("In") else {}),
    },
    st.sampled_from("ab"),
    st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
    st.lists(st.sampled_from(["x", "y", "any-0"]), min_size=1, max_size=2),
)
SELECTORS = st.fixed_dictionaries(
    {"matchLabels": LABELS, "matchExpressions": st.lists(REQUIREMENTS, max_size=3)}
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(SELECTORS, SELECTORS)
def test_policies_meet_where_one_namespace_could_be_selected_by_both(
    tmp_path: Path, one: Body, other: Body
) -> None:
    texts = [
        policy(json.dumps({"retention": {"rayJob": {"default": "1d"}}, "namespaceSelector": s}))
        for s in (one, other)
    ]
    report = lint(tmp_path, documents(texts[0], texts[1].replace("{name: base}", "{name: other}")))
    selectors = [_policy_of(selector).namespaces for selector in (one, other)]
    values = [{}, *({"v": value} for value in ("x", "y", "any-0", "any-1"))]
    labels = [
        {key: v["v"] for key, v in zip("ab", pair, strict=True) if v}
        for pair in itertools.product(values, repeat=2)
    ]
    meet = any(all(selects(selector, has) for selector in selectors) for has in labels)
    assert [problem.rule for problem in report.problems] == ([Rule.SAME_PRIORITY] if meet else [])


def _policy_of(selector: Body) -> Policy:
    return parse_policy(
        {
            "metadata": {"name": "", "uid": "", "resourceVersion": ""},
            "spec": {"namespaceSelector": selector, "mode": "DryRun"},
        }
    )


def test_too_many_policies_are_not_compared_and_that_is_said(tmp_path: Path) -> None:
    spec = "{retention: {rayJob: {default: 1d}}}"
    report = lint(
        tmp_path,
        documents(*(policy(spec, name=f"p{number}") for number in range(MOST_COMPARED + 1))),
    )
    assert (report.problems, report.objects) == ((), MOST_COMPARED + 1)
    assert report.notes == (
        f"there are {MOST_COMPARED + 1} policies, too many to compare them with each other",
    )


def test_policies_of_several_files_are_compared(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(
            policy("{retention: {rayJob: {default: 1d}}}", name=name)
        )
    report = lint_files([tmp_path], NOW)
    assert [(problem.rule, Path(problem.file).name) for problem in report.problems] == [
        (Rule.SAME_PRIORITY, "b.yaml")
    ]


def test_nothing_foreign_reaches_a_terminal(tmp_path: Path) -> None:
    escape = "\\e]0;owned\\a\\e[2J\\u202e\\r\\n"
    text = documents(
        f'kind: RayJob\nmetadata: {{name: "{escape}",annotations: {{"raysweep.io/{escape}": x, raysweep.io/ttl: "{escape}"}}}}\n',
        policy(f'{{"{escape}": 1, mode: "{escape}"}}'),
        f'kind: "{escape}"\nmetadata: {{annotations: {{"raysweep.io/{escape}": x}}}}\n',
    )
    report = lint(tmp_path, text)
    printed = [formatting.safe(problem) for problem in report.problems] + [
        formatting.serialized(report.as_json(), "json")
    ]
    assert len(report.problems) >= 5
    assert not any(c in line for line in printed for c in "\x1b\x07\r\u202e")
    assert not any("\n" in line for line in printed[:-1])


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip(string.ascii_lowercase, string.ascii_lowercase[1:9], strict=False)
)
MERGES = "a: &a {k: v}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}]}}\n"
    for old, new in zip(string.ascii_lowercase, string.ascii_lowercase[1:9], strict=False)
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(
            BOMB, "aliases that stand for more than 100000 parts", id="aliases that multiply"
        ),
        pytest.param(
            MERGES, "aliases that stand for more than 100000 parts", id="merges that multiply"
        ),
        pytest.param(
            "---\n".join([BOMB.partition("e:")[0]] * 200),
            "aliases that stand for more than 100000 parts",
            id="many documents of them",
        ),
        pytest.param(
            "[" + "1," * 1_000_000 + "]", "more than 1000000 parts", id="a list without end"
        ),
        pytest.param("[" * 2_000_000, "nested more than 100 deep", id="nesting without end"),
        pytest.param(
            "{a: " * 101 + "1" + "}" * 101,
            "nested more than 100 deep",
            id="nesting a little too deep",
        ),
        pytest.param("a: &a [*a]", "the anchor 'a' contains itself", id="an anchor within itself"),
        pytest.param(
            "a: &a {<<: *a}", "the anchor 'a' contains itself", id="a mapping merged into itself"
        ),
        pytest.param("a: *b", "there is no anchor 'b'", id="an alias of nothing"),
        pytest.param("a: <<\n<<: b", "<< merges a mapping", id="a merge of no mapping"),
        pytest.param("a\x00b", "the character U+0000 may not stand in it", id="a NUL"),
        pytest.param(b"a: \xff", "is no UTF-8: byte 0xff", id="no UTF-8"),
        pytest.param("\ufeff\ufeffa: [", "no YAML", id="two byte order marks"),
        pytest.param("x" * (4 * 2**20 + 1), "has more than 4 MiB", id="a huge file"),
    ],
)
def test_hostile_files_are_refused_with_a_sentence(
    tmp_path: Path, text: str | bytes, told: str
) -> None:
    (problem,) = lint(tmp_path, text).problems
    assert told in problem.message
    assert problem.rule in UNCHECKED


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.binary(max_size=400)
    | st.text(max_size=400).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_whatever_is_in_a_file_there_is_an_answer(tmp_path: Path, raw: bytes) -> None:
    report = lint(tmp_path, raw)
    assert report.exit_code(strict=True) in (0, 2, 3)
    assert len(formatting.serialized(report.as_json(), "json")) > 0


PIECES = [
    "apiVersion: ray.io/v1\n",
    "kind: RayJob\n",
    "kind: RayJobCleanupPolicy\n",
    "metadata:\n",
    "  annotations:\n",
    "spec:\n",
]
PIECES += [
    "    raysweep.io/ttl: ",
    "&a ",
    "*a",
    "<<: ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "x: ",
    "\n",
    "  ",
    "- ",
    "---\n",
    "!!int ",
    "'",
    '"',
    "3",
]
PIECES += [
    "retention: ",
    "limits: ",
    "rayJob: ",
    "default: ",
    "30d",
    "kind: List\n",
    "items:\n",
    "deletionStrategy: ",
    "~",
    "{{",
]


@settings(
    max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
def test_whatever_is_put_together_from_pieces_of_manifests_there_is_an_answer(
    tmp_path: Path, text: str
) -> None:
    assert lint(tmp_path, text).exit_code(strict=True) in (0, 2, 3)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(["1h", "never", "In"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*names.POLICY_DURATIONS[0].split("."), "limits", "min", "max", "matchLabels", "a"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
FIELDS = [
    "priority",
    "mode",
    "namespaceSelector",
    "rayJobSelector",
    "retention",
    "limits",
    "stuck",
    "ttlSecondsAfterFinished",
]
FIELDS += [
    "shutdownAfterJobFinishes",
    "deletionStrategy",
    "deletionPolicy",
    "clusterSelector",
    "suspend",
    "jobTemplate",
]


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(
        ["RayJob", "RayCronJob", "Namespace", "RayJobCleanupPolicy", "List", "RayJobList"]
    ),
    st.dictionaries(
        st.sampled_from(["name", "namespace", "labels", "annotations", "generateName"]),
        JSON,
        max_size=3,
    )
    | JSON,
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5) | JSON,
)
def test_whatever_an_object_says_there_is_an_answer(
    tmp_path: Path, kind: str, metadata: Any, spec: Any
) -> None:
    body = {
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
        "items": [{"metadata": metadata, "spec": spec}],
    }
    report = lint(tmp_path, yaml.safe_dump(body))
    assert report.exit_code(strict=True) in (0, 2, 3)
    assert all(problem.at for problem in report.problems)


KEYS = st.sampled_from(sorted(names.ANNOTATIONS - {names.OUTCOME})) | st.text(
    string.ascii_lowercase + "-", max_size=12
).map(lambda text: f"raysweep.io/{text}")
VALUES = st.sampled_from(
    ["1h", "0", "never", "soon", "2026-12-24T18:00:00Z", "", "1.5d", "-1"]
) | st.text(max_size=8)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(KEYS, VALUES, max_size=5), st.sampled_from(["RayJob", "Namespace"]))
def test_it_says_of_annotations_what_the_operator_would_say(
    tmp_path: Path, annotations: dict[str, str], kind: str
) -> None:
    annotations = {
        key: value
        for key, value in annotations.items()
        if "{{" not in value and key != names.OUTCOME
    }
    body = {"kind": kind, "metadata": {"name": "it", "annotations": annotations}}
    report = lint(
        tmp_path, yaml.safe_dump(body, default_style='"')
    )  # or N would be a boolean to kubectl
    found = [
        problem
        for problem in report.problems
        if problem.rule in (Rule.INVALID_VALUE, Rule.UNKNOWN_KEY)
    ]
    assert {_whole(problem.place, problem.message) for problem in found} == {
        _whole(fault.field, fault.message) for fault in errors(annotations, "")
    }


def _whole(place: str, message: str) -> tuple[str, str]:
    """The list of all keys gives way to the one that was meant."""
    return place.strip(), "unknown key" if message.startswith("unknown key;") else message
