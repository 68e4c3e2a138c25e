"""The admission bundle on a real API server: what it reserves and for whom, what it lets pass, and what it says."""

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
"""What, the write, who may do it, and words of what everybody else is told."""

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
    ("a RayCronJob as its owner", create(ownerReferences=[controlled_by("RayCronJob")], annotations=TICK),
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
     "the platform", f"spec.clusterSelector may be changed after the RayJob was made by {PLATFORM}"),
    ("no clusterSelector any more", update("selecting", spec={"clusterSelector": None}),
     "the platform", "spec.clusterSelector may be changed after"),
    ("another submissionMode", update("waiting", spec={"submissionMode": "HTTPMode"}),
     "the platform", f"spec.submissionMode may be changed after the RayJob was made by {PLATFORM}"),
    ("suspending what waits for a job", update("waiting", spec={"suspend": True}),
     "MultiKueue", "Waiting is not suspended by KubeRay; delete it, or submit its job"),
    ("a forged time of the status", update("train", managedFields=[FORGED], labels={"x": "y"}),
     "the platform", "leave managedFields out"),
    ("a forged time from the first", create(managedFields=[FORGED]),
     "the platform", "leave managedFields out"),
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


def reserved(*columns: str) -> pytest.MarkDecorator:
    rows = [
        pytest.param(
            *(dict(zip(("write", "who", "told"), row[1:], strict=True))[c] for c in columns),
            id=row[0],
        )
        for row in RESERVED
    ]
    return pytest.mark.parametrize(columns, rows)


@reserved("write", "told")
async def test_a_tenant_is_refused_and_told_who_may(
    bundle: Bundle, write: Write, told: str
) -> None:
    refused = await bundle.refusal("a tenant", write)

    assert refused.startswith("403 ")
    assert told in refused


@reserved("write", "who")
async def test_whoever_it_is_reserved_for_does_it(bundle: Bundle, write: Write, who: str) -> None:
    assert await bundle.refusal(who, write) == ""


@pytest.mark.parametrize(
    ("who", "write"),
    [
        pytest.param(
            "the platform",
            update("train", annotations=ours({"outcome": f"failed {LATER}"})),
            id="the platform writes no outcome",
        ),
        pytest.param(
            "the platform",
            status("train", jobDeploymentStatus="Running"),
            id="the platform writes no status",
        ),
        pytest.param(
            "Argo CD",
            update("train", annotations=ours({"keep_until": LATER})),
            id="what a tenant commits, Argo CD does not keep",
        ),
        pytest.param("Argo CD", update("train", labels=ORIGIN), id="nor exempt"),
        pytest.param("Flux", update("train", finalizers=["example.com/hold"]), id="nor hold"),
        pytest.param(
            "a workflow engine",
            update("train", annotations=TRACKED),
            id="a workflow engine is no GitOps tool",
        ),
        pytest.param("KubeRay", update("train", labels=ORIGIN), id="KubeRay is no MultiKueue"),
        pytest.param(
            "whoever owns the Namespace",
            update_namespace(keep_until=LATER),
            id="a Namespace keeps for the platform only",
        ),
        pytest.param(
            "whoever owns the Namespace",
            update_namespace(ttl="never"),
            id="and is never for the platform only",
        ),
    ],
)
async def test_each_may_do_no_more_than_its_own(bundle: Bundle, who: str, write: Write) -> None:
    assert (await bundle.refusal(who, write)).startswith("403 ")


@pytest.mark.parametrize(
    ("who", "write"),
    [
        pytest.param("a tenant", create(), id="a plain RayJob"),
        pytest.param("a tenant", create(spec=SELECTS), id="a RayJob that selects a RayCluster"),
        pytest.param("a tenant", create(spec={"suspend": True, "shutdownAfterJobFinishes": True}),
                     id="a suspended one, as Kueue makes them"),
        pytest.param("a tenant", create(annotations=ours({"ttl": "1h"}), labels={"team": "a"}),
                     id="a TTL and a label of its own"),
        pytest.param("a tenant", create(finalizers=["ray.io/rayjob-finalizer"]),
                     id="KubeRay's finalizer, as in an exported manifest"),
        pytest.param("a tenant", create(ownerReferences=[controlled_by("Workflow") | {"controller": False}]),
                     id="an owner that is no controller"),
        pytest.param("a tenant", update("train", annotations={"note": "x"}), id="an annotation of others"),
        pytest.param("a tenant", update("train", annotations=ours({"ttl": "2h", "cluster_ttl": "0"})), id="other durations"),
        pytest.param("a tenant", update("train", spec={"entrypoint": "python other.py"}), id="the entrypoint"),
        pytest.param("a tenant", update("train", spec={"suspend": True}), id="suspending what does not wait for a job"),
        pytest.param("a tenant", update("train", spec={"managedBy": "ray.io/kuberay-operator"}),
                     id="KubeRay's own name as its manager"),
        pytest.param("a tenant", update("waiting", spec={"jobId": "j"}), id="submitting what waits for a job"),
        pytest.param("a tenant", update("kept", annotations={"raysweep.io/keep-until": None}), id="taking keep-until away"),
        pytest.param("a tenant", update("old", annotations={"note": "x"}),
                     id="old values that would be refused now, left as they are"),
        pytest.param("a tenant", update("old", labels={"kueue.x-k8s.io/multikueue-origin": None}),
                     id="taking an exempting label away"),
        pytest.param("a tenant", update("old", finalizers=None), id="taking a finalizer away"),
        pytest.param("a tenant", update("elsewhere", labels={"x": "y"}), id="a label where another manager stands already"),
        pytest.param("a tenant", update("elsewhere", spec={"entrypoint": "x"}), id="the spec there"),
        pytest.param("a tenant", update("tick", ownerReferences=None), id="taking the owner away"),
        pytest.param("a tenant", update("tick", annotations={"note": "x"}), id="an annotation of a RayCronJob's RayJob"),
        pytest.param("a tenant", update("bare", annotations={"note": "x"}), id="a RayJob without a spec"),
        pytest.param("a tenant", delete("train"), id="a deletion"),
        pytest.param("a tenant", delete("train", propagationPolicy="Background"), id="in the background"),
        pytest.param("a tenant", delete("train", propagationPolicy="Foreground"), id="in the foreground"),
        pytest.param("Raysweep", delete("orphan", propagationPolicy="Background"), id="of the RayCluster too, said aloud"),
        pytest.param("a tenant", delete("", propagationPolicy="Background"), id="of all at once"),
        pytest.param("KubeRay", update("old", finalizers=["example.com/hold", "ray.io/rayjob-finalizer"]),
                     id="KubeRay's finalizer beside what it finds there"),
        pytest.param("KubeRay", status("old", jobDeploymentStatus="Complete"), id="KubeRay's status beside malformed values"),
        pytest.param("Raysweep", delete("old", propagationPolicy="Background"), id="Raysweep's deletion"),
        pytest.param("whoever owns the Namespace", update_namespace(ttl="1d"), id="a duration on a Namespace"),
        pytest.param("the platform", update_namespace(ttl="never", keep_until=LATER), id="the platform on a Namespace"),
    ],
)  # fmt: skip
async def test_what_is_not_reserved_passes(bundle: Bundle, who: str, write: Write) -> None:
    assert await bundle.refusal(who, write) == ""


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(update("train", labels=ORIGIN), id="labels"),
        pytest.param(update("train", annotations=ours({"ttl": "never"})), id="annotations"),
        pytest.param(update("train", spec=SELECTS), id="spec"),
        pytest.param(status("train", jobDeploymentStatus="Running"), id="status"),
        pytest.param(delete("train", propagationPolicy="Orphan"), id="deletion"),
    ],
)
async def test_an_older_version_of_the_api_is_no_way_round(bundle: Bundle, write: Write) -> None:
    assert (await bundle.refusal("a tenant", write.by("v1alpha1"))).startswith("403 ")


async def test_a_job_goes_through_its_life_in_spite_of_a_malformed_value(bundle: Bundle) -> None:
    """The tenant, KubeRay and Raysweep do for real what they always do."""
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


@pytest.mark.timeout(300)
async def test_the_operator_cleans_as_ever(bundle: Bundle) -> None:
    """It writes the outcome that its head alone knows, deletes the RayCluster alone, and deletes a RayJob with its RayCluster."""
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


async def test_a_lost_configmap_stops_nobody_and_its_return_is_noticed(bundle: Bundle) -> None:
    lists = await bundle.cluster.api.request("GET", LISTS)
    await bundle.cluster.api.delete(LISTS)
    try:
        for _, write, _, _ in RESERVED:
            await until(lambda write=write: _passes(bundle, write), timeout=90)  # type: ignore[misc]
    finally:
        again = {"metadata": {"name": "raysweep-admission"}, "data": lists["data"]}
        await bundle.cluster.api.request("POST", LISTS.rpartition("/")[0], again)
        await until(bundle.is_enforced, timeout=90)


async def test_a_list_without_kuberay_stops_no_job(bundle: Bundle) -> None:
    async with _listed(bundle, "kuberay-users", " \n,"):
        await until(
            lambda: _passes(bundle, status("train", jobDeploymentStatus="Running")), timeout=90
        )


async def test_a_multikueue_manager_cluster_lists_what_may_manage(bundle: Bundle) -> None:
    async with _listed(bundle, "managed-by", "kueue.x-k8s.io/multikueue"):
        await until(lambda: _passes(bundle, create(spec=MULTIKUEUE)), timeout=90)
        assert (await bundle.refusal("a tenant", update("train", spec=MULTIKUEUE))).startswith(
            "403 "
        )


async def test_a_group_is_no_user_and_a_user_no_group(bundle: Bundle) -> None:
    async with _listed(
        bundle, "platform-users", "system:serviceaccounts:team-a\nsystem:serviceaccount:team-a:ann"
    ):
        kept = update("train", annotations=ours({"keep_until": LATER}))
        await until(lambda: _is_refused(bundle, "MultiKueue", kept), timeout=90)
        assert (await bundle.refusal("a tenant", kept)).startswith("403 ")


async def test_kubernetes_own_namespaces_are_exempt(bundle: Bundle) -> None:
    write = create(namespace="kube-system", annotations=ours({"ttl": "never"}), labels=ORIGIN)
    assert await bundle.refusal("a workflow engine", write) == ""


async def test_what_is_malformed_is_told_at_the_terminal_and_in_the_audit_log(
    bundle: Bundle,
) -> None:
    anna = await bundle.person("a tenant")

    answer = await anna.types("annotate", "rayjob", "bare", "raysweep.io/ttl=soon")

    told = 'raysweep.io/ttl: "soon" is no duration; write a number of seconds, numbers with w, d, h, m, s (as in 1h30m), or never'
    assert answer.code == 0
    assert answer.err.startswith("Warning: ")
    assert told in answer.err
    noted = [event["annotations"].get(NOTED, "") for event in await bundle.cluster.audit("kubectl")]
    assert {json.loads(note)[0]["policy"] for note in noted if "soon" in note} == {
        "raysweep-annotations"
    }


async def test_the_documented_commands_choose_between_telling_and_refusing(bundle: Bundle) -> None:
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
        assert (answer.code, 'raysweep.io/ttl: "soon" is no duration' in answer.err) == (1, True)
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


async def test_the_page_says_of_each_file_what_it_does_as_installed() -> None:
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
    """The ConfigMap with another list, for a while."""
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
