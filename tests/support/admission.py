"""A sandbox with the admission bundle in force, and people in it, each with a service account. No expectation enters here."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sandbox.api import Api, ApiError
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.operator_process import deploy
from tests.support.person import Person
from tests.support.workbench import CLUSTER_SPEC, RAY, Body

FILES = Path(__file__).parents[2] / "deploy" / "admission"
TEAM = "team-a"
STRICT = "team-strict"
"""A namespace where malformed annotations are refused, not only told of."""

PEOPLE = {
    "a tenant": f"{TEAM}/anna",
    "whoever owns the Namespace": f"{TEAM}/nora",
    "the platform": "platform/paula",
    "KubeRay": "kuberay-system/kuberay-operator",
    "Raysweep": "raysweep/raysweep",
    "MultiKueue": "kueue-system/multikueue-sa",
    "Argo CD": "argocd/argocd-application-controller",
    "Flux": "flux-system/kustomize-controller",
    "a workflow engine": "flyte/flytepropeller",
    "the garbage collector": "kube-system/generic-garbage-collector",
}
"""Who is who, as namespace/service account."""

LISTED = {
    "platform-groups": "system:masters, system:serviceaccounts:platform",
    "kuberay-users": "system:serviceaccount:kuberay-system:kuberay-operator\nadmin\n",  # admin is the stand-in for KubeRay
    "owner-users": " system:serviceaccount:flyte:flytepropeller ,",
    "recreated-by": "app.kubernetes.io/instance",
    "reserved-keys": "team/tier",
}
"""What a platform would write into the ConfigMap."""

LATER = "2099-01-01T00:00:00Z"
ORIGIN = {"kueue.x-k8s.io/multikueue-origin": "manager"}
TRACKED = {"argocd.argoproj.io/tracking-id": "app:ray.io/RayJob:team-a/train"}
KUSTOMIZED = {"kustomize.toolkit.fluxcd.io/name": "jobs"}
RELEASED = {"helm.toolkit.fluxcd.io/name": "jobs"}
INSTANCE = {"app.kubernetes.io/instance": "jobs"}
TICK = {"ray.io/cronjob-scheduled-timestamp": LATER}
FORGED = {
    "manager": "kuberay-operator",
    "operation": "Update",
    "apiVersion": "ray.io/v1",
    "time": LATER,
    "fieldsType": "FieldsV1",
    "fieldsV1": {"f:status": {"f:message": {}}},
    "subresource": "status",
}
SELECTS = {"clusterSelector": {"ray.io/cluster": "shared"}}
MULTIKUEUE = {"managedBy": "kueue.x-k8s.io/multikueue"}

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
LISTS = "/api/v1/namespaces/raysweep/configmaps/raysweep-admission"
MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Write:
    """A request that would change something; nothing is kept of it unless it is for real."""

    method: str
    path: str
    body: Any = None
    params: Mapping[str, str] = field(default_factory=lambda: {"dryRun": "All"})

    def for_real(self) -> "Write":
        body = (
            {key: value for key, value in self.body.items() if key != "dryRun"}
            if self.body
            else None
        )
        return replace(self, body=body, params={})

    def by(self, version: str) -> "Write":
        """The same through another version of the API."""
        return replace(self, path=self.path.replace("/ray.io/v1/", f"/ray.io/{version}/"))


@dataclass(frozen=True)
class Bundle:
    """The sandbox, and one client for each of PEOPLE."""

    cluster: Cluster
    people: Mapping[str, Api]

    async def refusal(self, who: str, write: Write) -> str:
        """What the API server answers, beginning with its code, where it refuses; "" where it does not."""
        kind = MERGE_PATCH if write.method == "PATCH" else "application/json"
        try:
            await self.people[who].request(
                write.method, write.path, write.body, params=write.params, content_type=kind
            )
        except ApiError as error:
            return f"{error.status} {error.message}"
        return ""

    async def person(self, who: str) -> Person:
        """The same at a terminal."""
        namespace, _, name = PEOPLE[who].partition("/")
        return Person(
            await self.cluster.kubeconfig_for(namespace, name), self.cluster.kubectl, namespace
        )

    async def is_enforced(self) -> bool:
        """Whether every file's rules hold by now: the API server takes a moment to notice a change."""
        samples = [
            update("train", annotations={"raysweep.io/keep-until": "2099-01-01T00:00:00Z"}),
            update("train", labels={"team/tier": "gold"}),
            delete("train", propagationPolicy="Orphan"),
            status("train", jobDeploymentStatus="Running"),
            update("train", namespace=STRICT, annotations={"raysweep.io/ttl": "soon"}),
        ]
        return all([await self.refusal("a tenant", sample) for sample in samples])


def path(name: str = "", *, namespace: str = TEAM) -> str:
    return f"{RAY}/namespaces/{namespace}/rayjobs" + (f"/{name}" if name else "")


def update(name: str, *, namespace: str = TEAM, spec: Body | None = None, **metadata: Any) -> Write:
    """A change of a RayJob that is there."""
    body = {"metadata": metadata} | ({"spec": spec} if spec else {})
    return Write("PATCH", path(name, namespace=namespace), body)


def update_namespace(**annotations: str) -> Write:
    return Write(
        "PATCH", f"/api/v1/namespaces/{TEAM}", {"metadata": {"annotations": ours(annotations)}}
    )


def create(
    name: str = "new", *, namespace: str = TEAM, spec: Body | None = None, **metadata: Any
) -> Write:
    """A RayJob as a user writes it."""
    whole = {
        "entrypoint": "python train.py",
        "submissionMode": "HTTPMode",
        "rayClusterSpec": CLUSTER_SPEC,
        **(spec or {}),
    }
    body = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name, **metadata},
        "spec": whole,
    }
    return Write("POST", path(namespace=namespace), body)


def status(name: str, **fields: Any) -> Write:
    return Write("PATCH", f"{path(name)}/status", {"status": fields})


def delete(name: str, **options: Any) -> Write:
    body = (
        {"dryRun": ["All"], **options} if options else None
    )  # where there is a body, the API server reads no parameters
    return Write("DELETE", path(name), body)


def ours(values: Mapping[str, str]) -> dict[str, str]:
    """`ours({"keep_until": ...})` is the annotation raysweep.io/keep-until."""
    return {f"raysweep.io/{key.replace('_', '-')}": value for key, value in values.items()}


def controlled_by(kind: str, name: str = "boss") -> Body:
    """A controller owner, of a group that is not served: the garbage collector leaves what it owns."""
    return {
        "apiVersion": "example.com/v1",
        "kind": kind,
        "name": name,
        "uid": f"uid-{name}",
        "controller": True,
    }


@contextlib.asynccontextmanager
async def applied(cluster: Cluster) -> AsyncIterator[Bundle]:
    """The bundle in force, over RayJobs that were there before it."""
    async with contextlib.AsyncExitStack() as stack:
        await _serve_v1alpha1(cluster.api)
        for namespace in {place.partition("/")[0] for place in PEOPLE.values()} - {
            "kube-system"
        } | {STRICT}:
            await cluster.api.request(
                "POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}
            )
        await deploy(cluster)
        await _grant(cluster.api)
        people = {
            who: await stack.enter_async_context(await _client(cluster, place))
            for who, place in PEOPLE.items()
        }
        bundle = Bundle(cluster, people)
        await _fill(cluster.api)
        await kubectl(cluster, "apply", "-f", str(FILES))
        await cluster.api.patch(LISTS, {"data": LISTED})
        await cluster.api.request(
            "POST", f"{ADMISSION}/validatingadmissionpolicybindings", _strict_binding()
        )
        await until(bundle.is_enforced, timeout=60)
        yield bundle


async def kubectl(cluster: Cluster, *words: str) -> str:
    """As the admin; it must succeed."""
    answer = await Person(cluster.kubeconfig, cluster.kubectl, "default").types(*words)
    assert answer.code == 0, answer.err
    return answer.out


async def _serve_v1alpha1(api: Api) -> None:
    """KubeRay's own CRDs do; the minimal one does not."""
    crd_path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rayjobs.ray.io"
    versions = (await api.request("GET", crd_path))["spec"]["versions"]
    if "v1alpha1" not in {version["name"] for version in versions}:
        await api.patch(
            crd_path,
            {
                "spec": {
                    "versions": [*versions, {**versions[0], "name": "v1alpha1", "storage": False}]
                }
            },
        )

    async def is_served() -> bool:
        served = await api.find("/apis/ray.io/v1alpha1")
        return "rayjobs/status" in {
            resource["name"] for resource in (served or {"resources": []})["resources"]
        }

    await until(is_served, timeout=90)


async def _grant(api: Api) -> None:
    """To the tenant everything on RayJobs in two namespaces; Raysweep has its own rights; to the others everything on RayJobs."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    rayjobs = {"apiGroups": ["ray.io"], "resources": ["rayjobs", "rayjobs/status"], "verbs": ["*"]}
    namespaces = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["*"]}
    for place in set(PEOPLE.values()) - {PEOPLE["Raysweep"]}:
        namespace, _, name = place.partition("/")
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        if not await api.find(f"{accounts}/{name}"):
            await api.request("POST", accounts, {"metadata": {"name": name}})
    for name, rules in (("rayjobs", [rayjobs]), ("rayjobs-and-namespaces", [rayjobs, namespaces])):
        await api.request(
            "POST", f"{rbac}/clusterroles", {"metadata": {"name": name}, "rules": rules}
        )
    for namespace in (TEAM, STRICT):
        bindings = f"{rbac}/namespaces/{namespace}/rolebindings"
        await api.request("POST", bindings, _binding("rayjobs", [PEOPLE["a tenant"]]))
    others = sorted(set(PEOPLE.values()) - {PEOPLE["a tenant"], PEOPLE["Raysweep"]})
    await api.request(
        "POST", f"{rbac}/clusterrolebindings", _binding("rayjobs-and-namespaces", others)
    )


def _binding(role: str, places: list[str]) -> Body:
    subjects = [
        {"kind": "ServiceAccount", "namespace": ns, "name": name}
        for ns, name in (place.split("/") for place in places)
    ]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    return {"metadata": {"name": role}, "roleRef": reference, "subjects": subjects}


async def _client(cluster: Cluster, place: str) -> Api:
    namespace, _, name = place.partition("/")
    kubeconfig = await cluster.kubeconfig_for(namespace, name)
    token = await asyncio.to_thread(kubeconfig.with_suffix(".token").read_text)
    certificate = cluster.folder / "certificates" / "apiserver.crt"
    return Api(cluster.server, token, str(certificate), user_agent=name)


async def _fill(api: Api) -> None:
    """RayJobs from before the bundle, in states that matter."""
    tick = {"ray.io/cronjob-scheduled-timestamp": "2026-11-22T18:00:00Z"}
    old = ours({"ttl": "soon", "cluster_ttl": "never", "kepp": "1", "keep_until": "tomorrow"})
    made = [
        create("train"),
        create("train", namespace=STRICT),
        create("waiting", spec={"submissionMode": "InteractiveMode"}),
        create("selecting", spec={"clusterSelector": {"ray.io/cluster": "shared"}}),
        create("elsewhere", spec={"managedBy": "kueue.x-k8s.io/multikueue"}),
        create("tick", ownerReferences=[controlled_by("RayCronJob", "nightly")], annotations=tick),
        create("orphan", finalizers=["orphan"]),
        create("kept", annotations=ours({"keep_until": "2026-12-01T00:00:00Z"})),
        create(
            "old",
            annotations=old,
            labels={"kueue.x-k8s.io/multikueue-origin": "manager"},
            finalizers=["example.com/hold"],
        ),
    ]
    for write in made:
        await api.request(write.method, write.path, write.body)
    for name, word in (("train", "Complete"), ("waiting", "Waiting"), ("old", "Running")):
        await api.patch(f"{path(name)}/status", {"status": {"jobDeploymentStatus": word}})
    bare = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "bare"}}
    await api.request("POST", path(), bare)


def _strict_binding() -> Body:
    """A second binding of the same policy: Deny for some namespaces, where the first warns in all."""
    selector = {"matchLabels": {"kubernetes.io/metadata.name": STRICT}}
    spec = {
        "policyName": "raysweep-annotations",
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": selector},
    }
    return {"metadata": {"name": "raysweep-annotations-strict"}, "spec": spec}
