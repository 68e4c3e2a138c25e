"""The rules of `raysweep lint`: which text breaks which rule, and at which position.

test_lint_command.py tests the command, test_yaml_positions.py how texts are read.
"""

import itertools
import json
import string
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raysweep import names
from raysweep.cli.common import formatting
from raysweep.cli.lint.files import lint_files
from raysweep.cli.lint.policy_rules import MOST_COMPARED
from raysweep.cli.lint.problems import Problem, Rule
from raysweep.cli.lint.report import UNCHECKED, Report
from raysweep.clients.parsing.policy import parse_policy
from raysweep.core.model.facts import Policy
from raysweep.core.retention.annotations import errors
from raysweep.core.retention.policies import selects
from tests.support.builders import Body
from tests.support.manifests import documents, policy_yaml, rayjob_yaml

NOW = datetime(2026, 11, 22, 18, tzinfo=UTC)
CLUSTER = (
    "entrypoint: 'true', rayClusterSpec: {headGroupSpec: {template: {spec: "
    "{containers: [{name: ray}]}}}}"
)


ROWS: dict[str, tuple[str, list[str]]] = {
    "a runtime environment that Ray refuses, without the values in it (C15)": (
        rayjob_yaml(
            "a: b",
            spec='{runtimeEnvYAML: "env_vars: {SECRET: 1234, B: yes}\\npip: [a]\\nconda: x"}',
        ),
        [
            "7:24 refused-by-ray spec.runtimeEnvYAML",
            "7:24 refused-by-ray spec.runtimeEnvYAML",
            "7:24 refused-by-ray spec.runtimeEnvYAML",
        ],
    ),
    "a key of a runtime environment that Ray itself does not read (C15)": (
        rayjob_yaml("a: b", spec='{runtimeEnvYAML: "pypi: [emoji]\\nconfig: {timeout: 5}"}'),
        [
            "7:24 unread-by-ray spec.runtimeEnvYAML | did you mean pip?",
            "7:24 unread-by-ray spec.runtimeEnvYAML | did you mean setup_timeout_seconds?",
        ],
    ),
    "a runtime environment that is no YAML (C15)": (
        rayjob_yaml("a: b", spec='{runtimeEnvYAML: "a: ["}'),
        ["7:24 refused-by-kuberay spec.runtimeEnvYAML"],
    ),
    "a runtime environment that is no text (C15)": (
        rayjob_yaml("a: b", spec="{runtimeEnvYAML: {pip: [a]}}"),
        ["7:24 invalid-spec spec.runtimeEnvYAML"],
    ),
    "a runtime environment that has no end (H26)": (
        rayjob_yaml("a: b", spec="{runtimeEnvYAML: 'a: &a [*a]'}"),
        ["7:24 refused-by-kuberay spec.runtimeEnvYAML"],
    ),
    "the runtime environment of a RayCronJob (C15)": (
        (
            "apiVersion: ray.io/v1\nkind: RayCronJob\nmetadata: {name: cron}\nspec: "
            "{jobTemplate: {runtimeEnvYAML: 'pip: 5'}}\n"
        ),
        ["4:38 refused-by-ray spec.jobTemplate.runtimeEnvYAML"],
    ),
    "an invalid duration is reported at the value": (
        rayjob_yaml("raysweep.io/ttl: soon"),
        ["6:22 invalid-value annotation raysweep.io/ttl"],
    ),
    "an invalid keep-until": (
        rayjob_yaml("raysweep.io/keep-until: tomorrow"),
        ["6:29 invalid-value annotation raysweep.io/keep-until"],
    ),
    "a misspelled key is reported at the key, with a suggestion": (
        rayjob_yaml("raysweep.io/ttl-fail: 1h"),
        [
            (
                "6:5 unknown-key annotation 'raysweep.io/ttl-fail' | did you mean "
                "raysweep.io/ttl-failed?"
            )
        ],
    ),
    "a key in another spelling": (
        rayjob_yaml("raysweep.io/keepUntil: x"),
        [
            (
                "6:5 unknown-key annotation 'raysweep.io/keepUntil' | did you mean "
                "raysweep.io/keep-until?"
            )
        ],
    ),
    "a key that is like none": (
        rayjob_yaml("raysweep.io/owner: ann"),
        ["6:5 unknown-key annotation 'raysweep.io/owner'"],
    ),
    "annotations that are not texts in YAML, with any key": (
        rayjob_yaml(
            "raysweep.io/ttl: 3600",
            "raysweep.io/ttl-failed: yes",
            "raysweep.io/ttl-stopped:",
            "team: [vision]",
            "empty:",
        ),
        [
            "6:22 not-a-text annotation raysweep.io/ttl",
            "7:29 not-a-text annotation raysweep.io/ttl-failed",
            "8:5 invalid-value annotation raysweep.io/ttl-stopped",
            "9:11 not-a-text annotation 'team'",
        ],
    ),
    "numbers in quotes and times without, which kubectl takes for texts": (
        rayjob_yaml(
            'raysweep.io/ttl: "3600"',
            "raysweep.io/keep-until: 2026-12-24T18:00:00Z",
            "raysweep.io/ttl-failed: !!str 60",
        ),
        [],
    ),
    "an outcome that a person writes": (
        rayjob_yaml("raysweep.io/outcome: failed 2026-11-22T19:38:36Z"),
        ["6:26 written-outcome annotation raysweep.io/outcome"],
    ),
    "the defaults of a Namespace likewise": (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: team-a\n"
        "  annotations: {raysweep.io/ttl: soon, raysweep.io/tl: 1h}\n",
        [
            "5:34 invalid-value annotation raysweep.io/ttl",
            "5:40 unknown-key annotation 'raysweep.io/tl' | did you mean raysweep.io/ttl?",
        ],
    ),
    "a duplicate key": (
        rayjob_yaml("raysweep.io/ttl: 1h", "raysweep.io/ttl: 2h"),
        ["7:5 duplicate-key 'raysweep.io/ttl'"],
    ),
    "annotations and labels that are no mappings": (
        "kind: RayJob\napiVersion: ray.io/v1\nmetadata:\n  annotations: []\n  labels: x\n",
        ["4:16 invalid-object metadata.annotations", "5:11 invalid-object metadata.labels"],
    ),
    "a keep-until that passes this moment": (
        rayjob_yaml("raysweep.io/keep-until: 2026-11-22T18:00:00Z"),
        ["6:29 keep-in-the-past annotation raysweep.io/keep-until"],
    ),
    "a keep-until that passes in a second": (
        rayjob_yaml("raysweep.io/keep-until: 2026-11-22T18:00:01Z"),
        [],
    ),
    "a reason that keeps nothing": (
        rayjob_yaml("raysweep.io/keep-reason: audit"),
        ["6:5 reason-without-keep annotation raysweep.io/keep-reason"],
    ),
    "a ttl that is shorter than the cluster-ttl": (
        rayjob_yaml("raysweep.io/ttl: 1h", "raysweep.io/cluster-ttl: 1h1s"),
        ["6:22 ttl-before-cluster annotation raysweep.io/ttl"],
    ),
    "a ttl as long as the cluster-ttl": (
        rayjob_yaml("raysweep.io/ttl: 1h", "raysweep.io/cluster-ttl: 60m"),
        [],
    ),
    "a ttl that is too short after one outcome": (
        rayjob_yaml(
            "raysweep.io/ttl: 1d", "raysweep.io/ttl-failed: 1h", "raysweep.io/cluster-ttl: 2h"
        ),
        ["7:29 ttl-before-cluster annotation raysweep.io/ttl-failed"],
    ),
    "a label": (
        rayjob_yaml("team: vision", labels="{raysweep.io/ttl: 1h}"),
        ["7:12 unread-key metadata.labels 'raysweep.io/ttl'"],
    ),
    "an annotation of the Pods": (
        rayjob_yaml(
            "team: vision",
            spec="{rayClusterSpec: {headGroupSpec: {template: {metadata: {annotations: "
            "{raysweep.io/ttl: 1h}}, "
            "spec: {containers: [{name: ray}]}}}}, entrypoint: 'true'}",
        ),
        [
            (
                "7:77 unread-key "
                "spec.rayClusterSpec.headGroupSpec.template.metadata.annotations "
                "'raysweep.io/ttl'"
            )
        ],
    ),
    "an annotation of a RayCluster": (
        (
            "apiVersion: ray.io/v1\nkind: RayCluster\nmetadata: {name: c, namespace: "
            "team-a, annotations: {raysweep.io/ttl: 1h}}\n"
        ),
        ["3:54 unread-key metadata.annotations 'raysweep.io/ttl'"],
    ),
    "a RayJob of another group": (
        (
            "apiVersion: example.com/v1\nkind: RayJob\nmetadata: {name: c, annotations: "
            "{raysweep.io/ttl: soon}}\n"
        ),
        ["3:35 unread-key metadata.annotations 'raysweep.io/ttl'"],
    ),
    "a key with a similar prefix": (
        rayjob_yaml("raysweep/ttl: 1h", "submit.raysweep.io/id: x"),
        ["6:5 unread-key annotation 'raysweep/ttl' | did you mean raysweep.io/ttl?"],
    ),
    "a RayCronJob, whose metadata reaches no RayJob": (
        "apiVersion: ray.io/v1\nkind: RayCronJob\nmetadata: {name: cron, annotations: "
        "{raysweep.io/ttl: 1h}}\n"
        "spec:\n  jobTemplate:\n    metadata: {annotations: {raysweep.io/ttl: 1h}}\n   "
        " ttlSecondsAfterFinished: 60\n",
        [
            "3:38 unread-key metadata.annotations 'raysweep.io/ttl'",
            "6:29 invalid-spec spec.jobTemplate.metadata.annotations",
            "6:30 unread-key spec.jobTemplate.metadata.annotations 'raysweep.io/ttl'",
            "7:30 refused-by-kuberay spec.jobTemplate.ttlSecondsAfterFinished",
        ],
    ),
    "a TTL below 0": (
        rayjob_yaml(
            "team: a", spec="{ttlSecondsAfterFinished: -1, shutdownAfterJobFinishes: true}"
        ),
        ["7:33 refused-by-kuberay spec.ttlSecondsAfterFinished"],
    ),
    "a TTL without shutdown": (
        rayjob_yaml("team: a", spec="{ttlSecondsAfterFinished: 60}"),
        ["7:33 refused-by-kuberay spec.ttlSecondsAfterFinished"],
    ),
    "a TTL of 0, which is the CRD's default": (
        rayjob_yaml("team: a", spec="{ttlSecondsAfterFinished: 0}"),
        [],
    ),
    "rules beside shutdown, and one with a TTL below 0": (
        rayjob_yaml(
            "team: a",
            spec="{shutdownAfterJobFinishes: true, "
            "deletionStrategy: {deletionRules: [{policy: DeleteSelf, condition: "
            "{jobStatus: FAILED, ttlSeconds: -5}}]}}",
        ),
        [
            "7:34 refused-by-kuberay spec.shutdownAfterJobFinishes",
            "7:139 refused-by-kuberay spec.deletionStrategy.deletionRules[0].condition.ttlSeconds",
        ],
    ),
    "a TTL in quotes": (
        rayjob_yaml(
            "team: a", spec='{ttlSecondsAfterFinished: "60", shutdownAfterJobFinishes: true}'
        ),
        ["7:33 invalid-spec spec.ttlSecondsAfterFinished"],
    ),
    "C14: what Kueue, KubeRay and the API server refuse at once": (
        rayjob_yaml(
            "team: a",
            labels="{kueue.x-k8s.io/queue-name: lq, team: a b}",
            spec=f"{{{CLUSTER}, suspend: true}}",
        ),
        [
            "7:49 invalid-object label team",
            "8:7 refused-by-kueue spec.shutdownAfterJobFinishes",
            "8:119 refused-by-kuberay spec.suspend",
        ],
    ),
    "C14: a template where only a rule looks": (
        rayjob_yaml("team: a", spec='{managedBy: "{{ .Values.manager }}"}'),
        ["7:20 template"],
    ),
    "KubeRay's shutdown comes before the cluster-ttl": (
        rayjob_yaml(
            "raysweep.io/cluster-ttl: 1d",
            spec="{shutdownAfterJobFinishes: true, ttlSecondsAfterFinished: 3600}",
        ),
        [
            (
                "6:30 kuberay-first annotation raysweep.io/cluster-ttl | KubeRay deletes the "
                "RayCluster 1h after the end of the job, by spec.shutdownAfterJobFinishes with "
                "ttlSecondsAfterFinished 3600"
            )
        ],
    ),
    "KubeRay's shutdown comes with the cluster-ttl": (
        rayjob_yaml(
            "raysweep.io/cluster-ttl: 1h",
            spec="{shutdownAfterJobFinishes: true, ttlSecondsAfterFinished: 3600}",
        ),
        [],
    ),
    "a rule of KubeRay's deletes failed ones that are kept": (
        rayjob_yaml(
            "raysweep.io/ttl-failed: never",
            "raysweep.io/ttl: 2h",
            spec=(
                "{deletionStrategy: {deletionRules: [{policy: DeleteSelf, condition: "
                "{jobStatus: FAILED, ttlSeconds: 60}}]}}"
            ),
        ),
        [
            (
                "6:29 kuberay-first annotation raysweep.io/ttl-failed | KubeRay deletes the "
                "RayJob 1m after the end of a failed job, by spec.deletionStrategy"
            )
        ],
    ),
    "KubeRay's deletion of the RayJob takes the cluster too": (
        rayjob_yaml(
            "raysweep.io/ttl: 1h",
            "raysweep.io/cluster-ttl: 2h",
            spec="{deletionPolicy: DeleteSelf}",
        ),
        [
            "6:22 ttl-before-cluster annotation raysweep.io/ttl",
            (
                "6:22 kuberay-first annotation raysweep.io/ttl | KubeRay deletes the RayJob 0s "
                "after the end of the job, by spec.deletionPolicy"
            ),
            (
                "7:30 kuberay-first annotation raysweep.io/cluster-ttl | KubeRay deletes the "
                "RayCluster 0s after the end of the job, by spec.deletionPolicy"
            ),
            "8:24 refused-by-some-versions spec.deletionPolicy",
        ],
    ),
    "keep-until does not bind KubeRay": (
        rayjob_yaml(
            "raysweep.io/keep-until: 2027-01-01T00:00:00Z",
            spec="{shutdownAfterJobFinishes: true, ttlSecondsAfterFinished: 3600}",
        ),
        [
            (
                "6:29 kuberay-first annotation raysweep.io/keep-until | KubeRay ignores it and "
                "deletes the RayCluster 1h after the end, by spec.shutdownAfterJobFinishes "
                "with ttlSecondsAfterFinished 3600"
            )
        ],
    ),
    "with a clusterSelector KubeRay deletes nothing": (
        rayjob_yaml(
            "raysweep.io/ttl: 1d",
            spec=(
                "{shutdownAfterJobFinishes: true, clusterSelector: {ray.io/cluster: shared}, "
                "entrypoint: 'true'}"
            ),
        ),
        [],
    ),
    "Argo CD tracks it, and it has no ttl of its own": (
        rayjob_yaml("argocd.argoproj.io/tracking-id: x"),
        ["6:5 will-be-recreated annotation argocd.argoproj.io/tracking-id"],
    ),
    "Flux tracks it, and it has a ttl after one outcome": (
        rayjob_yaml(
            "raysweep.io/ttl-failed: 1d", labels="{kustomize.toolkit.fluxcd.io/name: apps}"
        ),
        [
            (
                "7:12 will-be-recreated label kustomize.toolkit.fluxcd.io/name | if the job is "
                "succeeded or stopped"
            )
        ],
    ),
    "Flux tracks it, and it has a ttl": (
        rayjob_yaml("raysweep.io/ttl: 1d", labels="{helm.toolkit.fluxcd.io/name: apps}"),
        [],
    ),
    "a policy with values, keys and an object that are wrong": (
        policy_yaml(
            "{retention: {rayJob: {default: soon, failde: 1h}}, limits: {keep: {}}, mod: DryRun}"
        ),
        [
            "4:38 invalid-policy spec.retention.rayJob.default",
            "4:44 invalid-policy spec.retention.rayJob.failde | did you mean failed?",
            "4:73 invalid-policy spec.limits.keep",
            "4:78 invalid-policy spec.mod | did you mean mode?",
        ],
    ),
    "a misplaced key, a mode in lower case, and a missing field, reported at its parent": (
        policy_yaml(
            "{retention: {rayJob: {max: 1h}}, mode: observe, namespaceSelector: "
            "{matchExpressions: [{operator: In}]}}"
        ),
        [
            "4:29 invalid-policy spec.retention.rayJob.max",
            "4:46 invalid-policy spec.mode",
            "4:94 invalid-policy spec.namespaceSelector.matchExpressions.0.key",
        ],
    ),
    "a label with dots and a number": (
        policy_yaml(
            '{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: 7, a: "b"}}, '
            "stuck: {jobLost: 0}}"
        ),
        [
            "4:71 invalid-policy spec.namespaceSelector.matchLabels.kubernetes.io/metadata.name",
            "4:101 invalid-policy spec.stuck.jobLost",
        ],
    ),
    "limits that allow nothing, and limits by tenants' labels": (
        policy_yaml(
            "{limits: {rayJob: {min: 2d, max: 1d}}, rayJobSelector: {matchLabels: {a: b}}}"
        ),
        ["4:31 invalid-policy spec.limits.rayJob.min", "4:62 invalid-policy spec.rayJobSelector"],
    ),
    "policies that say nothing": (
        documents(policy_yaml("{}"), policy_yaml("").replace("spec: \n", "")),
        ["4:7 invalid-policy spec", "6:1 invalid-policy spec"],
    ),
    "a policy in a namespace": (
        policy_yaml("{mode: DryRun}").replace("{name: base}", "{name: base, namespace: team-a}"),
        ["3:35 policy-namespace metadata.namespace"],
    ),
    "a wrong apiVersion, and a missing one": (
        documents(
            policy_yaml("{mode: DryRun}").replace("v1alpha1", "v1"),
            "kind: RayJobCleanupPolicy\nmetadata: {}\nspec: {mode: DryRun}\n",
        ),
        ["1:13 api-version apiVersion", "6:1 api-version apiVersion"],
    ),
    "a kind that our group does not have": (
        policy_yaml("{mode: DryRun}").replace("kind: RayJob", "kind: Rayjob"),
        ["2:7 unknown-kind kind"],
    ),
    "a policy whose times are outside its own limits": (
        policy_yaml(
            "{retention: {rayJob: {default: 30d, failed: 1d}, rayCluster: {default: "
            "never}}, limits: {rayJob: {max: 2w}}}"
        ),
        [
            (
                "4:38 clamped spec.retention.rayJob.default | lowered from 4w2d by "
                "RayJobCleanupPolicy base spec.limits.rayJob.max"
            ),
            "4:38 ttl-before-cluster spec.retention.rayJob.default",
            "4:51 ttl-before-cluster spec.retention.rayJob.failed",
            (
                "4:78 clamped spec.retention.rayCluster.default | lowered from never by "
                "RayJobCleanupPolicy base spec.limits.rayJob.max"
            ),
        ],
    ),
    "two policies whose limits contradict each other": (
        documents(
            policy_yaml("{limits: {rayJob: {max: 1d}}}", name="short"),
            policy_yaml("{limits: {rayJob: {min: 2d}}}", name="long"),
        ),
        ["4:16 limits-conflict spec.limits"],
    ),
    "two policies of one priority that set the same": (
        documents(
            policy_yaml("{retention: {rayJob: {default: 1d}}}", name="a"),
            policy_yaml("{retention: {rayJob: {default: 2d}}}", name="b"),
        ),
        ["9:7 same-priority spec.priority"],
    ),
    "policies that never select the same, set something else, or have another priority": (
        documents(
            policy_yaml(
                (
                    "{retention: {rayJob: {default: 1d}}, namespaceSelector: {matchLabels: {env: "
                    "dev}}}"
                ),
                name="a",
            ),
            policy_yaml(
                (
                    "{retention: {rayJob: {default: 2d}}, namespaceSelector: {matchLabels: {env: "
                    "prod}}}"
                ),
                name="b",
            ),
            policy_yaml(
                "{retention: {rayJob: {default: 2d}}, namespaceSelector: {matchExpressions: "
                "[{key: env, operator: NotIn, values: [dev, prod]}]}}",
                name="c",
            ),
            policy_yaml("{retention: {rayCluster: {default: 2d}}}", name="d"),
            policy_yaml("{retention: {rayCluster: {default: 2d}}, priority: 1}", name="e"),
        ),
        [],
    ),
    "a list, and a name that is made": (
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: ray.io/v1\n  kind: RayJob\n "
        " metadata:\n    generateName: train-\n"
        "    annotations: {raysweep.io/ttl: soon}\n",
        ["8:36 invalid-value annotation raysweep.io/ttl"],
    ),
    "JSON with tabs and a typed list": (
        '{"kind": "NamespaceList", "apiVersion": "v1",\n\t"items": [{"metadata": '
        '{"name": "\\ud83d\\ude00",\n\t\t'
        '"annotations": {"raysweep.io/ttl": 60}}}]}\n',
        ["3:38 not-a-text annotation raysweep.io/ttl"],
    ),
    "anchors, aliases and merged mappings, of which the own key counts": (
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, annotations: &ours "
        "{raysweep.io/ttl: soon}}\n"
        "x: &more\n  raysweep.io/keep-reason: x\ny:\n  <<: *more\n---\n"
        + rayjob_yaml("<<: {raysweep.io/ttl: soon}", "raysweep.io/ttl: 1h"),
        ["3:58 invalid-value annotation raysweep.io/ttl"],
    ),
    "a tab": ("metadata:\n\tname: x\n", ["2:1 invalid-yaml"]),
    "no YAML": ("kind: [\n", ["2:1 invalid-yaml"]),
    "a Helm template": ("kind: RayJob\nmetadata:\n  name: {{ .Values.name }}\n", ["3:9 template"]),
    "a Helm template that is YAML as well": (
        rayjob_yaml('raysweep.io/ttl: "{{ .Values.ttl }}"'),
        ["6:23 template"],
    ),
    "braces where lint does not look": (
        rayjob_yaml(
            "raysweep.io/ttl: 1h",
            spec='{entrypoint: "echo {{not ours}}", clusterSelector: {ray.io/cluster: shared}}',
        ),
        [],
    ),
}


CLEAN = {
    "C14: a RayJob that is not refused": rayjob_yaml("raysweep.io/ttl: 1d", spec=f"{{{CLUSTER}}}"),
    "a RayJob": rayjob_yaml(
        "raysweep.io/ttl: 1d", "raysweep.io/ttl-failed: 2w", "raysweep.io/cluster-ttl: 10m"
    ),
    "a policy": policy_yaml(
        "{retention: {rayJob: {default: 1d, failed: 3600}}, limits: {rayCluster: {max: 2d}}}"
    ),
    "other documents": (
        "kind: Kustomization\nresources: [a.yaml]\n---\n---\n- a\n- b\n---\njust text\n"
    ),
    "nothing": "",
    "a remark": "# only a remark\n",
}


def lint(folder: Path, text: str | bytes) -> Report:
    file = folder / "it.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return lint_files([file], NOW)


def summary(problem: Problem) -> str:
    """`6:22 invalid-value annotation raysweep.io/ttl`."""
    assert problem.position is not None
    line, column = problem.position
    return f"{line}:{column} {problem.rule} {problem.place}".strip()


def test_problems_have_a_position_a_rule_and_a_place(tmp_path: Path) -> None:
    for label, (text, expected) in ROWS.items():
        problems = lint(tmp_path, text).problems
        rows = [row.partition(" | ") for row in expected]
        assert list(map(summary, problems)) == [row[0] for row in rows], label
        for problem, (_, _, fragment) in zip(problems, rows, strict=True):
            assert fragment in problem.message, label


def test_nothing_is_wrong(tmp_path: Path) -> None:
    for label, text in CLEAN.items():
        assert lint(tmp_path, text).problems == (), label


MESSAGES = {
    "refused-by-ray": (
        "env_vars.SECRET: is a number, but Ray accepts only text: write a text in quotes"
    ),
    "unread-by-ray": "pypi: unknown key: did you mean pip?",
    "refused-by-kuberay": (
        "it is not valid YAML in line 1, which KubeRay refuses: use a mapping, as 'pip: [emoji]'"
    ),
    "invalid-spec": "the value is not a text, which KubeRay's CRD refuses: use quotes",
    "invalid-value": (
        "invalid duration 'soon': use seconds, a value such as 1h30m (w, d, h, m, s), or "
        "never (at most 100 years)"
    ),
    "unknown-key": "unknown key: did you mean raysweep.io/ttl-failed?",
    "not-a-text": "'3600' is a number in YAML, and the API server takes texts only: use quotes",
    "written-outcome": (
        "'failed 2026-11-22T19:38:36Z': only Raysweep writes this annotation, on RayJobs "
        "whose RayCluster it deletes: remove it"
    ),
    "duplicate-key": "this mapping has the key twice, so one of the values is lost: remove one",
    "invalid-object": "not a mapping of keys to texts: use one",
    "keep-in-the-past": (
        "'2026-11-22T18:00:00Z' is in the past, so it has no effect: remove it, or use a later time"
    ),
    "reason-without-keep": "no effect without raysweep.io/keep-until: set that too, or remove it",
    "ttl-before-cluster": (
        "'1h' is shorter than raysweep.io/cluster-ttl '1h1s', so the RayJob is kept as "
        "long as its RayCluster: use a longer time, or shorten the other"
    ),
    "unread-key": "Raysweep reads annotations only: make it one",
    "refused-by-kueue": (
        "not true, although the label kueue.x-k8s.io/queue-name is set, which Kueue "
        "refuses: set it to true"
    ),
    "template": (
        "{{ makes this a template, such as Helm's: render it first, as with helm template "
        "CHART | raysweep lint -"
    ),
    "kuberay-first": (
        "KubeRay deletes the RayCluster 1h after the end of the job, by "
        "spec.shutdownAfterJobFinishes with ttlSecondsAfterFinished 3600, and the RayJob "
        "if KubeRay runs with DELETE_RAYJOB_CR_AFTER_JOB_FINISHES=true, before '1d': "
        "change the spec, or shorten this time"
    ),
    "refused-by-some-versions": (
        "'DeleteSelf', which KubeRay 1.5 or later drops as unknown: use "
        "deletionStrategy.deletionRules"
    ),
    "will-be-recreated": (
        "the tool that sets this would create the RayJob again, so Raysweep keeps the "
        "RayJob (WillBeRecreated) and deletes at most its RayCluster: set raysweep.io/ttl "
        "on the RayJob itself to have it deleted"
    ),
    "invalid-policy": (
        "invalid duration 'soon': use seconds, a value such as 1h30m (w, d, h, m, s), or "
        "never (at most 100 years)"
    ),
    "policy-namespace": (
        "'team-a' has no effect, since a policy is cluster-scoped: remove it, and select "
        "Namespaces with spec.namespaceSelector"
    ),
    "api-version": "invalid apiVersion 'raysweep.io/v1': use raysweep.io/v1alpha1",
    "unknown-kind": "'RayjobCleanupPolicy' is not a kind of raysweep.io: use RayJobCleanupPolicy",
    "clamped": (
        "the time is lowered from 4w2d by RayJobCleanupPolicy base spec.limits.rayJob.max: "
        "use a time within the limits"
    ),
    "limits-conflict": (
        "limits conflict, so RayJobs that both policies select are kept: "
        "RayJobCleanupPolicy long spec.limits.rayJob.min 2d contradicts "
        "RayJobCleanupPolicy short spec.limits.rayJob.max 1d; change one of the limits"
    ),
    "same-priority": (
        "RayJobCleanupPolicy a has the same priority 0 and also sets "
        "retention.rayJob.default: a takes precedence; give one of them another priority"
    ),
    "invalid-yaml": "not YAML: a tab where only spaces are allowed",
}
"""The message of the first row that breaks each rule."""


def test_every_rule_has_a_row_and_a_message(tmp_path: Path) -> None:
    messages: dict[str, str] = {}
    for text, _ in ROWS.values():
        for problem in lint(tmp_path, text).problems:
            messages.setdefault(problem.rule.value, problem.message)
    assert messages == MESSAGES
    assert set(Rule) - set(messages) == {Rule.UNREADABLE_FILE}  # see test_lint_command.py


def test_c14_a_refusal_by_older_versions_only_is_a_note(tmp_path: Path) -> None:
    rules = (
        "deletionStrategy: {deletionRules: [{policy: DeleteSelf, condition: {jobStatus: FAILED}}]}"
    )
    text = documents(*[rayjob_yaml("team: a", spec=f"{{{CLUSTER}, {rules}}}")] * 2)
    report = lint(tmp_path, text)
    assert report.problems == ()
    assert report.notes == (
        "RayJob train and 1 more: spec.deletionStrategy: a deletionStrategy, which "
        "KubeRay 1.5 without its "
        "feature gate RayJobDeletionPolicy refuses: turn the gate on, or use KubeRay 1.6 or later",
    )
    assert report.exit_code(strict=True) == 0


def test_policies_of_one_name_are_one_policy_written_twice(tmp_path: Path) -> None:
    text = documents(
        policy_yaml("{retention: {rayJob: {default: 1d}}}"),
        policy_yaml("{retention: {rayJob: {default: 2d}}}"),
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
        policy_yaml(
            json.dumps({"retention": {"rayJob": {"default": "1d"}}, "namespaceSelector": s})
        )
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


def test_too_many_policies_are_not_compared_with_a_note(tmp_path: Path) -> None:
    spec = "{retention: {rayJob: {default: 1d}}}"
    report = lint(
        tmp_path,
        documents(*(policy_yaml(spec, name=f"p{number}") for number in range(MOST_COMPARED + 1))),
    )
    assert (report.problems, report.objects) == ((), MOST_COMPARED + 1)
    assert report.notes == (
        f"there are {MOST_COMPARED + 1} policies, too many to compare them with each other",
    )


def test_policies_of_several_files_are_compared(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(
            policy_yaml("{retention: {rayJob: {default: 1d}}}", name=name)
        )
    report = lint_files([tmp_path], NOW)
    assert [(problem.rule, Path(problem.file).name) for problem in report.problems] == [
        (Rule.SAME_PRIORITY, "b.yaml")
    ]


def test_no_control_character_reaches_a_terminal(tmp_path: Path) -> None:
    escape = "\\e]0;owned\\a\\e[2J\\u202e\\r\\n"
    text = documents(
        (
            f'kind: RayJob\nmetadata: {{name: "{escape}",annotations: '
            f'{{"raysweep.io/{escape}": x, raysweep.io/ttl: "{escape}"}}}}\n'
        ),
        policy_yaml(f'{{"{escape}": 1, mode: "{escape}"}}'),
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


ALIASES = "aliases that stand for more than 100000 parts"
PARTS, DEEP = "more than 1000000 parts", "nested more than 100 deep"
HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "aliases that multiply": (BOMB, ALIASES),
    "merges that multiply": (MERGES, ALIASES),
    "many documents of them": ("---\n".join([BOMB.partition("e:")[0]] * 200), ALIASES),
    "a huge list": ("[" + "1," * 1_000_000 + "]", PARTS),
    "deep nesting": ("[" * 2_000_000, DEEP),
    "nesting a little too deep": ("{a: " * 101 + "1" + "}" * 101, DEEP),
    "an anchor within itself": ("a: &a [*a]", "the anchor 'a' contains itself"),
    "a mapping merged into itself": ("a: &a {<<: *a}", "the anchor 'a' contains itself"),
    "an alias without anchor": ("a: *b", "the alias of 'b' has no anchor"),
    "a merge of a text": ("a: <<\n<<: b", "<< needs a mapping"),
    "a NUL": ("a\x00b", "the character U+0000 is not allowed"),
    "not UTF-8": (b"a: \xff", "not UTF-8: byte 0xff"),
    "two byte order marks": ("\ufeff\ufeffa: [", "not YAML"),
    "a huge file": ("x" * (4 * 2**20 + 1), "larger than 4 MiB"),
}


def test_hostile_files_are_refused_with_a_sentence(tmp_path: Path) -> None:
    for label, (text, message) in HOSTILE.items():
        (problem,) = lint(tmp_path, text).problems
        assert message in problem.message, label
        assert problem.rule in UNCHECKED, label


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
    assert all(problem.position for problem in report.problems)


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
def test_annotations_have_the_problems_that_the_operator_reports(
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
    problems = [
        problem
        for problem in report.problems
        if problem.rule in (Rule.INVALID_VALUE, Rule.UNKNOWN_KEY)
    ]
    assert {_whole(problem.place, problem.message) for problem in problems} == {
        _whole(invalid.field, invalid.message) for invalid in errors(annotations, "")
    }


def _whole(place: str, message: str) -> tuple[str, str]:
    """A suggestion replaces the list of known keys."""
    return place, "unknown key" if message.startswith("unknown key:") else message
