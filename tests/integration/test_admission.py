"""The admission policies on a real API server: reserved writes, allowed writes, messages."""

import asyncio
import json
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import yaml

from sandbox.waiting import until
from tests.support.admission import (
    ADMISSION,
    FILES,
    FORGED,
    INSTANCE,
    KUSTOMIZED,
    LATER,
    LISTS,
    MULTIKUEUE,
    ORIGIN,
    RELEASED,
    SELECTS,
    TICK,
    TRACKED,
    Bundle,
    Write,
    controlled_by,
    create,
    delete,
    kubectl,
    ours,
    status,
    update,
    update_namespace,
)
from tests.support.operator_process import running_operator
from tests.support.workbench import Lab

pytestmark = pytest.mark.xdist_group("admission")

PLATFORM = "platform-users and platform-groups of ConfigMap raysweep/raysweep-admission only"
BINDINGS = f"{ADMISSION}/validatingadmissionpolicybindings"
NOTED = "validation.policy.admission.k8s.io/validation_failure"

Row = tuple[str, Write, str, str]
"""Title, write, who may do it, and a part of the message for all others."""

RESERVED: list[Row] = [
    ("keep-until", update("train", annotations=ours({"keep_until": LATER})),
     "the platform", f"keep-until may be set or changed by {PLATFORM}"),
    ("a later keep-until", update("kept", annotations=ours({"keep_until": LATER})),
     "the platform", f"keep-until may be set or changed by {PLATFORM}"),
    ("keep-reason", update("kept", annotations=ours({"keep_reason": "x"})),
     "the platform", f"keep-reason may be set or changed by {PLATFORM}"),
    ("keep-until from the first", create(annotations=ours({"keep_until": LATER})),
     "MultiKueue", f"keep-until may be set or changed by {PLATFORM}"),
    ("ttl never", update("train", annotations=ours({"ttl": "never"})),
     "the platform", f"raysweep.io/ttl may be set to never by {PLATFORM}"),
    ("cluster-ttl-failed never", update("train", annotations=ours({"cluster_ttl_failed": "never"})),
     "the platform", "cluster-ttl-failed may be set to never"),
    ("ttl-unsubmitted never", update("waiting", annotations=ours({"ttl_unsubmitted": "never"})),
     "the platform", "ttl-unsubmitted may be set to never"),
    ("never from the first", create(annotations=ours({"cluster_ttl": "never"})),
     "the platform", f"raysweep.io/cluster-ttl may be set to never by {PLATFORM}"),
    ("outcome", update("train", annotations=ours({"outcome": f"failed {LATER}"})),
     "Raysweep", "outcome is written by raysweep-users"),
    ("a malformed outcome", update("train", annotations=ours({"outcome": "x"})),
     "Raysweep", "outcome is written by raysweep-users"),
    ("MultiKueue's label", update("train", labels=ORIGIN),
     "MultiKueue", f"kueue.x-k8s.io/multikueue-origin may be set or changed by {PLATFORM}"),
    ("MultiKueue's label from the first", create(labels=ORIGIN),
     "MultiKueue", "kueue.x-k8s.io/multikueue-origin may be set or changed by"),
    ("another value of it", update("old", labels={"kueue.x-k8s.io/multikueue-origin": "x"}),
     "MultiKueue", "multikueue-origin may be set or changed by"),
    ("Argo CD's tracking", update("train", annotations=TRACKED),
     "Argo CD", "argocd.argoproj.io/tracking-id may be set or changed by gitops-users"),
    ("Argo CD's tracking from the first", create(annotations=TRACKED),
     "Argo CD", "argocd.argoproj.io/tracking-id may be set or changed by gitops-users"),
    ("the same as a label", update("train", labels={"argocd.argoproj.io/tracking-id": "x"}),
     "Argo CD", "argocd.argoproj.io/tracking-id may be set"),
    ("Flux's label", update("train", labels=KUSTOMIZED),
     "Flux", "kustomize.toolkit.fluxcd.io/name may be set or changed by gitops-users"),
    ("Flux's label of a Helm release", create(labels=RELEASED),
     "Flux", "helm.toolkit.fluxcd.io/name may be set or changed by gitops-users"),
    ("a key of the setting recreated-by", update("train", labels=INSTANCE),
     "Argo CD", "app.kubernetes.io/instance may be set or changed by gitops-users"),
    ("a key that policies select by", update("train", labels={"team/tier": "gold"}),
     "the platform", f"team/tier may be set or changed by {PLATFORM}"),
    ("a controller owner", update("train", ownerReferences=[controlled_by("Workflow")]),
     "a workflow engine", 'Workflow "boss" may be made its controller by owner-users'),
    ("a controller owner from the first", create(ownerReferences=[controlled_by("Workflow")]),
     "a workflow engine", "may be made its controller by owner-users"),
    ("a RayCronJob as its owner",
     create(ownerReferences=[controlled_by("RayCronJob")], annotations=TICK),
     "KubeRay", 'RayCronJob "boss" may be made its controller by'),
    ("another tick", update("tick", annotations=TICK),
     "KubeRay", "ray.io/cronjob-scheduled-timestamp may be set or changed by kuberay-users"),
    ("the finalizer orphan", update("train", finalizers=["orphan"]),
     "the platform", 'finalizer "orphan" may be added by owner-users, kuberay-users'),
    ("any finalizer", update("train", finalizers=["ray.io/rayjob-finalizer", "example.com/hold"]),
     "a workflow engine", 'finalizer "example.com/hold" may be added by'),
    ("a finalizer from the first", create(finalizers=["example.com/hold"]),
     "KubeRay", 'finalizer "example.com/hold" may be added by'),
    ("Argo CD's finalizer", update("train", finalizers=["argocd.argoproj.io/hook-finalizer"]),
     "Argo CD", "may be added by owner-users"),
    ("another manager, later", update("train", spec=MULTIKUEUE),
     "the platform", f'spec.managedBy "kueue.x-k8s.io/multikueue" may be set by {PLATFORM}'),
    ("another manager from the first", create(spec=MULTIKUEUE),
     "MultiKueue", "is not in managed-by, and may be set by"),
    ("a clusterSelector, later", update("train", spec=SELECTS),
     "the platform", f"spec.clusterSelector may be changed after the creation by {PLATFORM}"),
    ("no clusterSelector any more", update("selecting", spec={"clusterSelector": None}),
     "the platform", "spec.clusterSelector may be changed after"),
    ("another submissionMode", update("waiting", spec={"submissionMode": "HTTPMode"}),
     "the platform", f"spec.submissionMode may be changed after the creation by {PLATFORM}"),
    ("suspending what waits for a job", update("waiting", spec={"suspend": True}),
     "MultiKueue", "Waiting: delete it, or submit its job"),
    ("a forged time of the status", update("train", managedFields=[FORGED], labels={"x": "y"}),
     "the platform", "remove managedFields"),
    ("a forged time from the first", create(managedFields=[FORGED]),
     "the platform", "remove managedFields"),
    ("the status", status("train", jobDeploymentStatus="Running"),
     "KubeRay", "the status of a RayJob is written by kuberay-users"),
    ("a RayCluster's name in it", status("train", rayClusterName="Ü"),
     "KubeRay", "the status of a RayJob is written by kuberay-users"),
    ("deletion without the RayCluster", delete("train", propagationPolicy="Orphan"),
     "the garbage collector", f"(propagationPolicy Orphan) by {PLATFORM}"),
    ("the same said in the old way", delete("train", orphanDependents=True),
     "the platform", f"(propagationPolicy Orphan) by {PLATFORM}"),
    ("the same said by its finalizer", delete("orphan"),
     "the platform", f"(propagationPolicy Orphan) by {PLATFORM}"),
    ("the same for all at once", delete("", propagationPolicy="Orphan"),
     "the platform", f"(propagationPolicy Orphan) by {PLATFORM}"),
]  # fmt: skip


async def test_a_tenant_is_refused_with_the_list_of_who_may(bundle: Bundle) -> None:
    for title, write, _, message in RESERVED:
        refusal = await bundle.refusal("a tenant", write)
        assert refusal.startswith("403 "), title
        assert message in refusal, title


async def test_those_for_whom_a_write_is_reserved_may_write(bundle: Bundle) -> None:
    for title, write, who, _ in RESERVED:
        assert await bundle.refusal(who, write) == "", title


BEYOND_THEIR_OWN = [
    (
        "the platform writes no outcome",
        "the platform",
        update("train", annotations=ours({"outcome": f"failed {LATER}"})),
    ),
    (
        "the platform writes no status",
        "the platform",
        status("train", jobDeploymentStatus="Running"),
    ),
    (
        "what a tenant commits, Argo CD does not keep",
        "Argo CD",
        update("train", annotations=ours({"keep_until": LATER})),
    ),
    ("nor exempt", "Argo CD", update("train", labels=ORIGIN)),
    ("nor hold", "Flux", update("train", finalizers=["example.com/hold"])),
    (
        "a workflow engine is no GitOps tool",
        "a workflow engine",
        update("train", annotations=TRACKED),
    ),
    ("KubeRay is no MultiKueue", "KubeRay", update("train", labels=ORIGIN)),
    (
        "a Namespace keeps for the platform only",
        "whoever owns the Namespace",
        update_namespace(keep_until=LATER),
    ),
    (
        "and is never for the platform only",
        "whoever owns the Namespace",
        update_namespace(ttl="never"),
    ),
]


async def test_writers_may_not_write_what_is_reserved_for_others(bundle: Bundle) -> None:
    for title, who, write in BEYOND_THEIR_OWN:
        assert (await bundle.refusal(who, write)).startswith("403 "), title


ALLOWED = [
    ("a plain RayJob", "a tenant", create()),
    ("a RayJob that selects a RayCluster", "a tenant", create(spec=SELECTS)),
    (
        "a suspended one, as Kueue makes them",
        "a tenant",
        create(spec={"suspend": True, "shutdownAfterJobFinishes": True}),
    ),
    (
        "a TTL and a label of its own",
        "a tenant",
        create(annotations=ours({"ttl": "1h"}), labels={"team": "a"}),
    ),
    (
        "KubeRay's finalizer, as in an exported manifest",
        "a tenant",
        create(finalizers=["ray.io/rayjob-finalizer"]),
    ),
    (
        "an owner that is no controller",
        "a tenant",
        create(ownerReferences=[controlled_by("Workflow") | {"controller": False}]),
    ),
    ("an annotation of others", "a tenant", update("train", annotations={"note": "x"})),
    (
        "other durations",
        "a tenant",
        update("train", annotations=ours({"ttl": "2h", "cluster_ttl": "0"})),
    ),
    ("the entrypoint", "a tenant", update("train", spec={"entrypoint": "python other.py"})),
    (
        "suspending what does not wait for a job",
        "a tenant",
        update("train", spec={"suspend": True}),
    ),
    (
        "KubeRay's own name as its manager",
        "a tenant",
        update("train", spec={"managedBy": "ray.io/kuberay-operator"}),
    ),
    ("submitting what waits for a job", "a tenant", update("waiting", spec={"jobId": "j"})),
    (
        "taking keep-until away",
        "a tenant",
        update("kept", annotations={"raysweep.io/keep-until": None}),
    ),
    (
        "old values that would be refused now, left as they are",
        "a tenant",
        update("old", annotations={"note": "x"}),
    ),
    (
        "taking an exempting label away",
        "a tenant",
        update("old", labels={"kueue.x-k8s.io/multikueue-origin": None}),
    ),
    ("taking a finalizer away", "a tenant", update("old", finalizers=None)),
    (
        "a label where another manager stands already",
        "a tenant",
        update("elsewhere", labels={"x": "y"}),
    ),
    ("the spec there", "a tenant", update("elsewhere", spec={"entrypoint": "x"})),
    ("taking the owner away", "a tenant", update("tick", ownerReferences=None)),
    (
        "an annotation of a RayCronJob's RayJob",
        "a tenant",
        update("tick", annotations={"note": "x"}),
    ),
    ("a RayJob without a spec", "a tenant", update("bare", annotations={"note": "x"})),
    ("a deletion", "a tenant", delete("train")),
    ("in the background", "a tenant", delete("train", propagationPolicy="Background")),
    ("in the foreground", "a tenant", delete("train", propagationPolicy="Foreground")),
    (
        "of the RayCluster too, said aloud",
        "Raysweep",
        delete("orphan", propagationPolicy="Background"),
    ),
    ("of all at once", "a tenant", delete("", propagationPolicy="Background")),
    (
        "KubeRay's finalizer beside what it finds there",
        "KubeRay",
        update("old", finalizers=["example.com/hold", "ray.io/rayjob-finalizer"]),
    ),
    (
        "KubeRay's status beside malformed values",
        "KubeRay",
        status("old", jobDeploymentStatus="Complete"),
    ),
    ("Raysweep's deletion", "Raysweep", delete("old", propagationPolicy="Background")),
    ("a duration on a Namespace", "whoever owns the Namespace", update_namespace(ttl="1d")),
    (
        "the platform on a Namespace",
        "the platform",
        update_namespace(ttl="never", keep_until=LATER),
    ),
]


async def test_other_writes_are_allowed(bundle: Bundle) -> None:
    for title, who, write in ALLOWED:
        assert await bundle.refusal(who, write) == "", title


OLDER_VERSION = [
    ("labels", update("train", labels=ORIGIN)),
    ("annotations", update("train", annotations=ours({"ttl": "never"}))),
    ("spec", update("train", spec=SELECTS)),
    ("status", status("train", jobDeploymentStatus="Running")),
    ("deletion", delete("train", propagationPolicy="Orphan")),
]


async def test_an_older_api_version_is_checked_too(bundle: Bundle) -> None:
    for title, write in OLDER_VERSION:
        assert (await bundle.refusal("a tenant", write.by("v1alpha1"))).startswith("403 "), title


async def test_a_job_with_an_invalid_value_completes_its_life_cycle(bundle: Bundle) -> None:
    """The writes of the tenant, KubeRay and Raysweep are not dry runs here."""
    steps = [
        ("a tenant", create("life", annotations=ours({"ttl": "soon"}))),
        ("KubeRay", update("life", finalizers=["ray.io/rayjob-finalizer"])),
        (
            "KubeRay",
            status("life", jobDeploymentStatus="Running", jobId="life-1", rayClusterName="life-c"),
        ),
        ("a tenant", update("life", annotations={"note": "x"})),
        ("KubeRay", status("life", jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")),
        ("Raysweep", update("life", annotations=ours({"outcome": "failed 2026-11-22T19:38:36Z"}))),
        ("Raysweep", delete("life", propagationPolicy="Background")),
        ("KubeRay", update("life", finalizers=None)),
    ]
    assert [await bundle.refusal(who, write.for_real()) for who, write in steps] == [""] * len(
        steps
    )
    assert await bundle.cluster.api.find(update("life").path) is None


async def test_the_operator_is_not_hindered(bundle: Bundle) -> None:
    """It records an outcome, deletes a RayCluster alone, and deletes a RayJob."""
    kubeconfig = await bundle.cluster.kubeconfig_for("raysweep", "raysweep")
    lab = await Lab.open(bundle.cluster, await bundle.cluster.heads.light("quiet"))
    async with running_operator(bundle.cluster, kubeconfig):
        await lab.create_finished(
            "record", head_status="FAILED", annotations=ours({"ttl": "1d", "cluster_ttl": "0"})
        )
        await lab.expect_deleted("rayclusters", "record-c")
        await lab.create_finished("train", annotations=ours({"ttl": "0"}))
        await lab.expect_deleted("rayjobs", "train")

    record = await lab.get("rayjobs", "record")
    assert record is not None
    assert record["metadata"]["annotations"]["raysweep.io/outcome"].startswith("failed ")


async def test_without_the_configmap_every_write_is_allowed_until_it_returns(
    bundle: Bundle,
) -> None:
    lists = await bundle.cluster.api.request("GET", LISTS)
    await bundle.cluster.api.delete(LISTS)
    try:
        for _, write, _, _ in RESERVED:
            await until(lambda write=write: _passes(bundle, write), timeout=90)  # type: ignore[misc]
    finally:
        again = {"metadata": {"name": "raysweep-admission"}, "data": lists["data"]}
        await bundle.cluster.api.request("POST", LISTS.rpartition("/")[0], again)
        await until(bundle.is_enforced, timeout=90)


async def test_with_an_empty_list_kuberay_may_write(bundle: Bundle) -> None:
    async with _listed(bundle, "kuberay-users", " \n,"):
        await until(
            lambda: _passes(bundle, status("train", jobDeploymentStatus="Running")), timeout=90
        )


async def test_the_list_managed_by_allows_other_managers(bundle: Bundle) -> None:
    async with _listed(bundle, "managed-by", "kueue.x-k8s.io/multikueue"):
        await until(lambda: _passes(bundle, create(spec=MULTIKUEUE)), timeout=90)
        assert (await bundle.refusal("a tenant", update("train", spec=MULTIKUEUE))).startswith(
            "403 "
        )


async def test_a_group_in_a_list_of_users_is_ignored(bundle: Bundle) -> None:
    async with _listed(
        bundle, "platform-users", "system:serviceaccounts:team-a\nsystem:serviceaccount:team-a:ann"
    ):
        kept = update("train", annotations=ours({"keep_until": LATER}))
        await until(lambda: _is_refused(bundle, "MultiKueue", kept), timeout=90)
        assert (await bundle.refusal("a tenant", kept)).startswith("403 ")


async def test_the_namespaces_of_kubernetes_are_exempt(bundle: Bundle) -> None:
    write = create(namespace="kube-system", annotations=ours({"ttl": "never"}), labels=ORIGIN)
    assert await bundle.refusal("a workflow engine", write) == ""


async def test_an_invalid_value_causes_a_warning_and_an_audit_annotation(
    bundle: Bundle,
) -> None:
    anna = await bundle.person("a tenant")

    answer = await anna.types("annotate", "rayjob", "bare", "raysweep.io/ttl=soon")

    told = (
        'invalid duration "soon" in annotation raysweep.io/ttl: use seconds, a value such as 1h30m'
    )
    assert answer.code == 0
    assert answer.err.startswith("Warning: ")
    assert told in answer.err
    noted = [event["annotations"].get(NOTED, "") for event in await bundle.cluster.audit("kubectl")]
    assert {json.loads(note)[0]["policy"] for note in noted if "soon" in note} == {
        "raysweep-annotations"
    }


async def test_the_documented_commands_switch_between_warning_and_refusing(bundle: Bundle) -> None:
    page = await asyncio.to_thread(
        (FILES.parents[1] / "docs" / "how-to" / "admission.md").read_text
    )
    tell, refuse, refuse_malformed = (
        shlex.split(line) for line in page.splitlines() if line.startswith("$ kubectl patch")
    )
    anna, kept = (
        await bundle.person("a tenant"),
        update("train", annotations=ours({"keep_until": LATER})),
    )
    soon = update("train", annotations=ours({"ttl": "soon"}))
    try:
        await kubectl(bundle.cluster, *tell[2:])
        for _, write, _, _ in RESERVED:
            await until(lambda write=write: _passes(bundle, write), timeout=90)  # type: ignore[misc]
        told = await anna.types(
            "annotate", "rayjob", "train", f"raysweep.io/keep-until={LATER}", "--dry-run=server"
        )
        assert told.err.startswith("Warning: ")
        await kubectl(bundle.cluster, *refuse[2:])
        await until(lambda: _is_refused(bundle, "a tenant", kept), timeout=90)
        await kubectl(bundle.cluster, *refuse_malformed[2:])
        await until(lambda: _is_refused(bundle, "a tenant", soon), timeout=90)
        answer = await anna.types("annotate", "rayjob", "train", "raysweep.io/ttl=soon")
        assert (answer.code, 'invalid duration "soon"' in answer.err) == (1, True)
        assert (
            await bundle.refusal(
                "KubeRay", update("old", finalizers=["example.com/hold", "ray.io/rayjob-finalizer"])
            )
            == ""
        )
    finally:
        await kubectl(bundle.cluster, *refuse[2:])
        await bundle.cluster.api.patch(
            f"{BINDINGS}/raysweep-annotations", {"spec": {"validationActions": ["Warn", "Audit"]}}
        )
        await until(bundle.is_enforced, timeout=90)
        await until(lambda: _passes(bundle, soon), timeout=90)


async def test_the_page_lists_the_action_of_each_file() -> None:
    page = await asyncio.to_thread(
        (FILES.parents[1] / "docs" / "how-to" / "admission.md").read_text
    )
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]]
        for line in page.splitlines()
        if line.startswith("| `")
    ]
    told = {row[0]: (row[1], row[3].partition(",")[0]) for row in rows if row[0].endswith(".yaml")}
    found: dict[str, tuple[str, str]] = {}
    for file in sorted(FILES.glob("*.yaml")):
        bodies = list(yaml.safe_load_all(await asyncio.to_thread(file.read_text)))
        spec = bodies[-1].get("spec", {})
        assert {body["metadata"]["name"] for body in bodies} == {
            spec.get("policyName", "raysweep-admission")
        }
        does = {("Deny",): "refuses", ("Warn", "Audit"): "warns"}.get(
            tuple(spec.get("validationActions", ())), ""
        )
        found[file.name] = (spec.get("policyName", ""), does)
    assert told == found


@asynccontextmanager
async def _listed(bundle: Bundle, key: str, names: str) -> AsyncIterator[None]:
    """Changes a list of the ConfigMap during the block."""
    before = (await bundle.cluster.api.request("GET", LISTS))["data"][key]
    await bundle.cluster.api.patch(LISTS, {"data": {key: names}})
    try:
        yield
    finally:
        await bundle.cluster.api.patch(LISTS, {"data": {key: before}})
        await until(bundle.is_enforced, timeout=90)
        kept = update("train", annotations=ours({"keep_until": LATER}))
        await until(lambda: _passes(bundle, kept, who="MultiKueue"), timeout=90)


async def _passes(bundle: Bundle, write: Write, *, who: str = "a tenant") -> bool:
    return await bundle.refusal(who, write) == ""


async def _is_refused(bundle: Bundle, who: str, write: Write) -> bool:
    return await bundle.refusal(who, write) != ""
