"""The real Kueue controller with its webhooks, beside a sandbox."""

import base64
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import yaml

from sandbox import binaries, controlplane
from sandbox.cluster import Cluster
from sandbox.ports import free_ports
from tests.support.certificates import Authority

Body = dict[str, Any]

GROUP = "/apis/kueue.x-k8s.io/v1beta2"
QUEUE = "team"
"""The LocalQueue that create_queue creates."""
FRAMEWORKS = ["ray.io/rayjob"]
METRICS_CERTIFICATES = "kueue/metrics/certs"
"""Kueue reads them from this folder of /etc, which no setting changes (cmd/kueue/main.go)."""
HANDLED = ("kueue-x-k8s-io", "ray-io-v1-rayjob")
"""Parts of the paths of the webhooks for these frameworks and for Kueue's own kinds."""


@contextlib.asynccontextmanager
async def running_kueue(cluster: Cluster) -> AsyncIterator[None]:
    """Installs Kueue's CRDs and webhooks, and runs its controller."""
    await binaries.provide([binaries.KUEUE], print)
    files = binaries.KUEUE.folder
    await controlplane.install_crds(cluster.api, files / binaries.CRDS)
    await cluster.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": "kueue-system"}})
    metrics, probes, webhook = free_ports(3)
    authority = Authority(cluster.folder / "kueue")
    certificate, key = authority.issue("kueue", ["127.0.0.1"])
    certificates = authority.folder / "etc" / METRICS_CERTIFICATES
    certificates.mkdir(parents=True)
    certificate.rename(certificates / "tls.crt")
    key.rename(certificates / "tls.key")
    config = authority.folder / "config.yaml"
    config.write_text(yaml.safe_dump(_configuration(metrics, probes, webhook, certificates)))
    program = cluster.processes.start(
        "kueue",
        *_with_etc(authority.folder / "etc"),
        files / "kueue",
        f"--config={config}",
        "--feature-gates=VisibilityOnDemand=false",
        environment={"KUBECONFIG": str(cluster.kubeconfig)},
    )
    cluster.network.expose(webhook)
    await controlplane.until_ready(program, probes)
    for body in _webhooks(files / "webhook" / "manifests.yaml", webhook, authority.file):
        path = f"/apis/{body['apiVersion']}/{body['kind'].lower()}s"
        await cluster.api.request("POST", path, body)
    yield
    await program.stop()


def _with_etc(folder: Path) -> tuple[str, ...]:
    """The words before a command that runs it with this folder as /etc."""
    mapped = () if os.getuid() == 0 else ("--user", "--map-root-user")
    script = 'mount --bind "$1" /etc && shift && exec "$@"'
    return ("unshare", "--mount", *mapped, "sh", "-c", script, "sh", str(folder))


def _configuration(metrics: int, probes: int, webhook: int, folder: Path) -> Body:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": f"127.0.0.1:{probes}"},
        "metrics": {"bindAddress": f"127.0.0.1:{metrics}"},
        "webhook": {"host": "127.0.0.1", "port": webhook, "certDir": str(folder)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "integrations": {"frameworks": FRAMEWORKS},
    }


def _webhooks(manifests: Path, port: int, ca: Path) -> list[Body]:
    """The configurations of the module, with an address on loopback instead of a Service."""
    bundle = base64.b64encode(ca.read_bytes()).decode()
    configurations = [one for one in yaml.safe_load_all(manifests.read_text()) if one]
    for configuration in configurations:
        configuration["metadata"]["name"] = f"kueue-{configuration['metadata']['name']}"
        handled = [
            one
            for one in configuration["webhooks"]
            if any(part in one["clientConfig"]["service"]["path"] for part in HANDLED)
        ]
        for one in handled:
            path = one["clientConfig"]["service"]["path"]
            url = f"https://127.0.0.1:{port}{path}"
            one["clientConfig"] = {"url": url, "caBundle": bundle}
        configuration["webhooks"] = handled
    return configurations


async def create_object(
    cluster: Cluster, kind: str, name: str, *, namespace: str = "", **fields: object
) -> None:
    """Creates an object of Kueue."""
    place = f"/namespaces/{namespace}" if namespace else ""
    plural = "workloadpriorityclasses" if kind == "WorkloadPriorityClass" else f"{kind.lower()}s"
    version = GROUP.removeprefix("/apis/")
    body = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}
    await cluster.api.request("POST", f"{GROUP}{place}/{plural}", body)


async def create_queue(cluster: Cluster, namespace: str, *, cpu: str) -> None:
    """Creates a LocalQueue, and for it a ClusterQueue with this quota of CPUs."""
    if await cluster.api.find(f"{GROUP}/resourceflavors/default") is None:
        await create_object(cluster, "ResourceFlavor", "default")
    resources = [
        {"name": "cpu", "nominalQuota": cpu},
        {"name": "memory", "nominalQuota": "64Gi"},
    ]
    flavors = [{"name": "default", "resources": resources}]
    spec = {
        "namespaceSelector": {},
        "preemption": {"withinClusterQueue": "LowerPriority"},
        "resourceGroups": [{"coveredResources": ["cpu", "memory"], "flavors": flavors}],
    }
    await create_object(cluster, "ClusterQueue", namespace, spec=spec)
    local = {"clusterQueue": namespace}
    await create_object(cluster, "LocalQueue", QUEUE, namespace=namespace, spec=local)


async def used_cpu(cluster: Cluster, namespace: str) -> str:
    """The CPUs that the ClusterQueue of this namespace has given away."""
    queue = await cluster.api.request("GET", f"{GROUP}/clusterqueues/{namespace}")
    (flavor,) = queue["status"]["flavorsReservation"]
    return next(str(one["total"]) for one in flavor["resources"] if one["name"] == "cpu")
