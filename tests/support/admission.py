"""A sandbox with the admission policies, and users with a service account each.

What a test expects must not enter here.
"""

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
"""A namespace in which invalid annotations are rejected. Elsewhere they cause a warning."""

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
"""The service account of each user, as namespace/name."""

LISTED = {
    "platform-groups": "system:masters, system:serviceaccounts:platform",
    # The administrator of the sandbox writes what KubeRay would write.
    "kuberay-users": "system:serviceaccount:kuberay-system:kuberay-operator\nadmin\n",
    "owner-users": " system:serviceaccount:flyte:flytepropeller ,",
    "recreated-by": "app.kubernetes.io/instance",
    "reserved-keys": "team/tier",
}
"""The lists that a platform team writes in the ConfigMap."""

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
    """A write request, by default as a dry run."""

    method: str
    path: str
    body: Any = None
    params: Mapping[str, str] = field(default_factory=lambda: {"dryRun": "All"})

    def for_real(self) -> "Write":
        body = {key: value for key, value in (self.body or {}).items() if key != "dryRun"}
        return replace(self, body=body or None, params={})

    def by(self, version: str) -> "Write":
        """The same write in another API version."""
        return replace(self, path=self.path.replace("/ray.io/v1/", f"/ray.io/{version}/"))


@dataclass(frozen=True)
class Bundle:
    """The sandbox and a client for each user."""

    cluster: Cluster
    people: Mapping[str, Api]

    async def refusal(self, who: str, write: Write) -> str:
        """Status code and message of a rejected write. Empty if the write is accepted."""
        kind = MERGE_PATCH if write.method == "PATCH" else "application/json"
        try:
            await self.people[who].request(
                write.method, write.path, write.body, params=write.params, content_type=kind
            )
        except ApiError as error:
            return f"{error.status} {error.message}"
        return ""

    async def person(self, who: str) -> Person:
        """A user at a terminal."""
        namespace, _, name = PEOPLE[who].partition("/")
        return Person(
            await self.cluster.kubeconfig_for(namespace, name), self.cluster.kubectl, namespace
        )

    async def is_enforced(self) -> bool:
        """Whether the policies of every file are active, which takes the API server a moment."""
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
    """A change of an existing RayJob."""
    body = {"metadata": metadata} | ({"spec": spec} if spec else {})
    return Write("PATCH", path(name, namespace=namespace), body)


def update_namespace(**annotations: str) -> Write:
    return Write(
        "PATCH", f"/api/v1/namespaces/{TEAM}", {"metadata": {"annotations": ours(annotations)}}
    )


def create(
    name: str = "new", *, namespace: str = TEAM, spec: Body | None = None, **metadata: Any
) -> Write:
    """The creation of a RayJob as a user writes it."""
    fields = {
        "entrypoint": "python train.py",
        "submissionMode": "HTTPMode",
        "rayClusterSpec": CLUSTER_SPEC,
        **(spec or {}),
    }
    body = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name, **metadata},
        "spec": fields,
    }
    return Write("POST", path(namespace=namespace), body)


def status(name: str, **fields: Any) -> Write:
    return Write("PATCH", f"{path(name)}/status", {"status": fields})


def delete(name: str, **options: Any) -> Write:
    # The API server ignores the parameters of a DELETE that has a body.
    body = {"dryRun": ["All"], **options} if options else None
    return Write("DELETE", path(name), body)


def ours(values: Mapping[str, str]) -> dict[str, str]:
    """`ours({"keep_until": ...})` is the annotation raysweep.io/keep-until."""
    return {f"raysweep.io/{key.replace('_', '-')}": value for key, value in values.items()}


def controlled_by(kind: str, name: str = "boss") -> Body:
    """A controller owner of an unknown group, whose objects the garbage collector ignores."""
    return {
        "apiVersion": "example.com/v1",
        "kind": kind,
        "name": name,
        "uid": f"uid-{name}",
        "controller": True,
    }


@contextlib.asynccontextmanager
async def applied(cluster: Cluster) -> AsyncIterator[Bundle]:
    """Installs the admission policies in a cluster that has RayJobs already."""
    async with contextlib.AsyncExitStack() as stack:
        await _until_v1alpha1_is_served(cluster.api)
        namespaces = {account.partition("/")[0] for account in PEOPLE.values()} | {STRICT}
        for namespace in namespaces - {"kube-system"}:
            body = {"metadata": {"name": namespace}}
            await cluster.api.request("POST", "/api/v1/namespaces", body)
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
    """Runs kubectl as the administrator. It must succeed."""
    answer = await Person(cluster.kubeconfig, cluster.kubectl, "default").types(*words)
    assert answer.code == 0, answer.err
    return answer.out


async def _until_v1alpha1_is_served(api: Api) -> None:
    async def is_served() -> bool:
        served = await api.find("/apis/ray.io/v1alpha1")
        return "rayjobs/status" in {
            resource["name"] for resource in (served or {"resources": []})["resources"]
        }

    await until(is_served, timeout=90)


async def _grant(api: Api) -> None:
    """Grants the tenant all rights on RayJobs in two namespaces, the other users in all."""
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
    """Creates RayJobs that exist before the policies."""
    tick = {"ray.io/cronjob-scheduled-timestamp": "2026-11-22T18:00:00Z"}
    old = ours({"ttl": "soon", "cluster_ttl": "never", "kepp": "1", "keep_until": "tomorrow"})
    writes = [
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
    for write in writes:
        await api.request(write.method, write.path, write.body)
    for name, word in (("train", "Complete"), ("waiting", "Waiting"), ("old", "Running")):
        await api.patch(f"{path(name)}/status", {"status": {"jobDeploymentStatus": word}})
    bare = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "bare"}}
    await api.request("POST", path(), bare)


def _strict_binding() -> Body:
    """A second binding of a policy, which denies in one namespace. The first warns in all."""
    selector = {"matchLabels": {"kubernetes.io/metadata.name": STRICT}}
    spec = {
        "policyName": "raysweep-annotations",
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": selector},
    }
    return {"metadata": {"name": "raysweep-annotations-strict"}, "spec": spec}
