"""Starts etcd, kube-apiserver and kube-controller-manager on loopback.

What runs on them must not enter here.
"""

import asyncio
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox import binaries
from sandbox.api import Api, ApiError
from sandbox.ports import free_ports
from sandbox.processes import Processes, Program
from sandbox.waiting import until

CONTROLLERS = (
    "garbage-collector-controller,namespace-controller,job-controller,deployment-controller,replicaset-controller,"
    "serviceaccount-controller,serviceaccount-token-controller,ttl-after-finished-controller,"
    "root-ca-certificate-publisher-controller,endpoints-controller,endpointslice-controller"
)

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAMES_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
AGGREGATED_DISCOVERY = "application/json;as=APIGroupDiscoveryList;g=apidiscovery.k8s.io;v=v2"
"""What kubectl and the garbage collector read."""


@dataclass(frozen=True)
class Tuning:
    """How much of the machine the control plane may use.

    apiserver_memory: a soft limit in Go's notation. Below it the API server collects garbage
        rarely, since a start with KubeRay's CRDs makes much of it. Above it, the API server spends
        much CPU time on garbage collection.
    controller_flags: flags of kube-controller-manager.
    """

    apiserver_memory: str
    controller_flags: tuple[str, ...]


SMALL = Tuning(
    "700MiB", ("--kube-api-qps=500", "--kube-api-burst=1000", "--concurrent-gc-syncs=20")
)
"""For tests: many sandboxes fit on a machine, and owned objects are deleted at once."""
DEFAULT = Tuning("12GiB", ())
"""For benchmarks: kube-controller-manager works at its default rate, as in most clusters."""


@dataclass(frozen=True)
class ControlPlane:
    """The address of the API server and the credentials of its administrator.

    etcd: the URL of etcd, which has no authentication.
    """

    folder: Path
    processes: Processes
    port: int
    etcd: str
    token: str
    apiserver: Program

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def certificate(self) -> Path:
        """The certificate of the API server. It holds the CA that the API server created for it."""
        return self.folder / "certificates" / "apiserver.crt"

    def kubeconfig(self, name: str, user: dict[str, str], namespace: str = "default") -> Path:
        """Writes a kubeconfig for a user with a `token` or a `tokenFile`. Returns its path."""
        cluster = {"server": self.server, "certificate-authority": str(self.certificate)}
        context = {"cluster": "sandbox", "user": name, "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "sandbox",
            "clusters": [{"name": "sandbox", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "sandbox", "context": context}],
        }
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        path.chmod(0o600)
        return path

    def client(self, user_agent: str) -> Api:
        return Api(self.server, self.token, str(self.certificate), user_agent=user_agent)


async def start(
    folder: Path,
    processes: Processes,
    *,
    connect_socket: Path,
    data: Path | None = None,
    tuning: Tuning = SMALL,
) -> ControlPlane:
    """Starts etcd and kube-apiserver. Call start_controllers after it.

    data: a folder that data_folder returned for another control plane, which has ended. etcd starts
        with a copy of it.
    """
    if data is not None:
        await asyncio.to_thread(shutil.copytree, data, data_folder(folder))
    etcd_port, port = free_ports(2)
    etcd = f"http://127.0.0.1:{etcd_port}"
    token = secrets.token_urlsafe(24)
    _start_etcd(folder, processes, etcd)
    _write_settings(folder, token, connect_socket)
    flags = _apiserver_flags(folder, etcd, port)
    apiserver = processes.start(
        "kube-apiserver",
        binaries.KUBERNETES.folder / "kube-apiserver",
        *flags,
        environment={"GOGC": "400", "GOMEMLIMIT": tuning.apiserver_memory},
    )
    plane = ControlPlane(folder, processes, port, etcd, token, apiserver)
    plane.kubeconfig("admin", {"token": token})
    await _until_served(plane)
    return plane


def data_folder(folder: Path) -> Path:
    """The folder in which the etcd of the control plane of `folder` keeps its data."""
    return folder / "etcd"


async def install_crds(api: Api, folder: Path) -> None:
    """Creates the CRDs of a folder and waits until they are served.

    KubeRay's CRDs are too large for the annotation that `kubectl apply` writes.
    """
    for crd in await asyncio.to_thread(_documents, folder):
        await api.request("POST", CRDS, crd)
        made = f"{CRDS}/{crd['metadata']['name']}"
        await until(lambda made=made: _is_established(api, made), timeout=30)  # type: ignore[misc]


async def until_crds_are_served(api: Api) -> None:
    """Waits until discovery lists the kinds of all CRDs."""
    crds = await api.request("GET", CRDS, accept=NAMES_ONLY)
    names = {crd["metadata"]["name"] for crd in crds["items"]}

    async def are_discovered() -> bool:
        return names <= await _resources(api)

    await until(are_discovered, timeout=60)


async def _resources(api: Api) -> set[str]:
    """The names of the resources that discovery lists, such as `rayjobs.ray.io`."""
    discovery = await api.request("GET", "/apis", accept=AGGREGATED_DISCOVERY)
    return {
        f"{resource['resource']}.{group['metadata']['name']}"
        for group in discovery["items"]
        for version in group["versions"]
        for resource in version.get("resources", ())
    }


def _documents(folder: Path) -> list[dict[str, Any]]:
    # KubeRay's CRDs take seconds without the loader in C.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents: list[dict[str, Any]] = []
    for file in sorted(folder.glob("*.y*ml")):
        documents += filter(None, yaml.load_all(file.read_text(), Loader=loader))
    return [each for each in documents if each["kind"] == "CustomResourceDefinition"]


async def start_controllers(plane: ControlPlane, api: Api, tuning: Tuning = SMALL) -> Program:
    """Starts the controller manager and waits until it has created the first service account.

    The CRDs must exist before, because its garbage collector discovers later ones slowly.
    """
    kubeconfig = plane.folder / "admin.kubeconfig"
    program = plane.processes.start(
        "kube-controller-manager",
        binaries.KUBERNETES.folder / "kube-controller-manager",
        f"--kubeconfig={kubeconfig}",
        f"--controllers={CONTROLLERS}",
        f"--service-account-private-key-file={plane.folder / 'service-accounts.key'}",
        f"--root-ca-file={plane.certificate}",
        "--leader-elect=false",
        "--secure-port=0",
        *tuning.controller_flags,
    )

    async def has_acted() -> bool:
        return await api.find("/api/v1/namespaces/default/serviceaccounts/default") is not None

    await until(has_acted, timeout=60)
    return program


def _start_etcd(folder: Path, processes: Processes, url: str) -> None:
    processes.start(
        "etcd",
        binaries.ETCD.folder / "etcd",
        f"--data-dir={data_folder(folder)}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        "--listen-peer-urls=http://127.0.0.1:0",
        "--unsafe-no-fsync",
        "--log-level=warn",
    )


def _apiserver_flags(folder: Path, etcd: str, port: int) -> tuple[str, ...]:
    return (
        f"--etcd-servers={etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'certificates'}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=RBAC",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--service-account-issuer=https://sandbox",
        f"--service-account-key-file={folder / 'service-accounts.key'}",
        f"--service-account-signing-key-file={folder / 'service-accounts.key'}",
        "--service-account-extend-token-expiration=false",
        "--disable-admission-plugins=ServiceAccount",  # our Pods would wait for one
        "--allow-privileged=true",
        "--endpoint-reconciler-type=none",
        f"--egress-selector-config-file={folder / 'egress.json'}",
        f"--audit-policy-file={folder / 'audit-policy.json'}",
        f"--audit-log-path={folder / 'audit.log'}",
        "--audit-log-maxsize=100000",
    )


def _write_settings(folder: Path, token: str, connect_socket: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    _private(
        folder / "service-accounts.key",
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode(),
    )
    _private(folder / "tokens.csv", f"{token},admin,admin,system:masters\n")
    audit = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted", "Panic"],
        "rules": [{"level": "Metadata"}],
    }
    transport = {"uds": {"udsName": str(connect_socket)}}
    egress = {
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [
            {
                "name": "cluster",
                "connection": {"proxyProtocol": "HTTPConnect", "transport": transport},
            }
        ],
    }
    _private(folder / "audit-policy.json", json.dumps(audit))
    _private(folder / "egress.json", json.dumps(egress))


def _private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(text)


async def _until_served(plane: ControlPlane) -> None:
    # The key is written after the certificate, which may be incomplete before.
    key = plane.certificate.with_suffix(".key")
    await until(key.exists, timeout=60)
    async with plane.client("sandbox") as api:
        await until(lambda: _is_served(api), timeout=60)


async def _is_served(api: Api) -> bool:
    try:
        await api.request("GET", "/readyz")
    except (ApiError, aiohttp.ClientError):
        return False
    return True


async def _is_established(api: Api, path: str) -> bool:
    crd = await api.request("GET", path)
    conditions = crd["status"]["conditions"] or []  # null at first
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


async def until_ready(program: Program, port: int) -> None:
    """Waits until a program answers /readyz. Raises ProgramDiedError if it exits before."""
    url = f"http://127.0.0.1:{port}/readyz"
    async with aiohttp.ClientSession(trust_env=False) as session:

        async def is_ready() -> bool:
            program.check()
            try:
                async with session.get(url) as response:
                    return response.status == 200
            except (aiohttp.ClientError, TimeoutError):
                return False

        await until(is_ready, timeout=90, every=0.1)
