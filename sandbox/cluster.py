"""Starts a sandbox. `Cluster` is what tests and the demo use of it."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from sandbox import binaries, controlplane, objects, prepared
from sandbox.api import Api, ApiError
from sandbox.controlplane import SMALL, ControlPlane, Tuning
from sandbox.heads import Head, Heads
from sandbox.kubelet import Kubelet
from sandbox.kuberay import KubeRay
from sandbox.lifetime import Lifetime, lifetime
from sandbox.network import Network
from sandbox.processes import Processes, Program, scratch_folder
from sandbox.scripts import Scripts
from sandbox.waiting import until


class Cluster:
    """A running sandbox.

    `api` is a client of its administrator, whose token is `token`. `etcd` is the URL of etcd.
    `head_proxy` is the URL of the forward proxy that leads to every routed head Service.
    """

    def __init__(
        self,
        plane: ControlPlane,
        controllers: Program,
        api: Api,
        heads: Heads,
        *,
        network: Network,
        head_proxy: str,
    ) -> None:
        self.folder = plane.folder
        self.kubeconfig = plane.folder / "admin.kubeconfig"
        self.server = plane.server
        self.etcd = plane.etcd
        self.apiserver_pid = plane.apiserver.identity.pid
        self.controllers_pid = controllers.identity.pid
        self.certificate = plane.certificate
        self.token = plane.token
        self.kubectl = binaries.KUBERNETES.folder / "kubectl"
        self.audit_log = plane.folder / "audit.log"
        self.api = api
        self.heads = heads
        self.network = network
        self.head_proxy = head_proxy
        self.processes = plane.processes
        self._plane = plane
        self._controllers = controllers

    async def start_kuberay(self, *namespaces: str) -> KubeRay:
        """Starts the KubeRay operator for these namespaces, or for all."""
        await binaries.provide([binaries.KUBERAY], print)
        kuberay = KubeRay(self._plane, self.head_proxy, namespaces)
        await kuberay.start()
        return kuberay

    async def audit(self, user_agent_prefix: str | None = None) -> list[dict[str, Any]]:
        """All audit events so far. A watch is in it once it has ended."""
        text = await asyncio.to_thread(self.audit_log.read_text)
        complete = text[: text.rfind("\n") + 1].splitlines()  # the last line may be incomplete
        events: list[dict[str, Any]] = [json.loads(line) for line in complete]
        return [e for e in events if e.get("userAgent", "").startswith(user_agent_prefix or "")]

    async def kubeconfig_for(
        self, namespace: str, service_account: str, *, duration: timedelta = timedelta(hours=1)
    ) -> Path:
        """Writes a kubeconfig of a service account, with its token in a file beside it.

        Kubernetes grants tokens for 10 minutes or more.
        """
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        spec = {"expirationSeconds": round(duration.total_seconds())}
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = await self.api.request("POST", path, request)
        name = f"{namespace}-{service_account}"
        token = self.folder / f"{name}.token"
        token.touch(mode=0o600)
        token.write_text(answer["status"]["token"])
        return self._plane.kubeconfig(name, {"tokenFile": str(token)}, namespace)

    async def route_service(
        self, namespace: str, service: str, head: Head, *, timeout: float = 20
    ) -> None:
        """Creates a Service and Pod for a head without a RayCluster. Waits until it answers."""
        core = f"/api/v1/namespaces/{namespace}"
        if not await self.api.find(f"{core}/services/{service}"):
            await self.api.request("POST", f"{core}/services", objects.head_service(service))
        await self.api.request(
            "POST", f"{core}/pods", objects.head_pod(service, f"name:{head.name}")
        )
        await until(lambda: self._answers(namespace, service), timeout=timeout)

    async def _answers(self, namespace: str, service: str) -> bool:
        with contextlib.suppress(ApiError):
            await self.api.request(
                "GET",
                f"/api/v1/namespaces/{namespace}/services/{service}:dashboard/proxy/api/version",
            )
            return True
        return False

    @contextlib.contextmanager
    def without_controllers(self) -> Iterator[None]:
        """Suspends kube-controller-manager, with its garbage collector, during the block."""
        self._controllers.identity.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._controllers.identity.signal(signal.SIGCONT)

    async def suspend_apiserver(self) -> None:
        """Makes the API server hang: connections stay open without an answer."""
        self._plane.apiserver.identity.signal(signal.SIGSTOP)

    async def resume_apiserver(self) -> None:
        self._plane.apiserver.identity.signal(signal.SIGCONT)


@contextlib.asynccontextmanager
async def start(
    *,
    say: Callable[[str], None] = print,
    crds: Path | None = None,
    tuning: Tuning = SMALL,
) -> AsyncIterator[Cluster]:
    """A sandbox that is ready in about 3 s and stops with the block.

    The block ends when a part of the control plane exits.
    """
    async with lifetime() as life:
        yield await launch(life, say=say, crds=crds, tuning=tuning)


async def launch(
    life: Lifetime,
    *,
    say: Callable[[str], None],
    crds: Path | None = None,
    on_lost: Callable[[Exception], None] = lambda _: None,
    tuning: Tuning = SMALL,
) -> Cluster:
    """Starts a sandbox in an existing lifetime. For `on_lost` see Kubelet."""
    needed = binaries.SANDBOX if crds is None else binaries.CONTROL_PLANE
    await binaries.provide(needed, say)
    folder = await life.stack.enter_async_context(scratch_folder())
    processes, network = Processes(folder), Network()
    life.stack.push_async_callback(processes.stop_all)
    life.watchers.create_task(processes.watch())
    heads = Heads(folder, Processes(folder), network)
    life.stack.push_async_callback(heads.stop_all)
    head_proxy = await life.stack.enter_async_context(network.proxies(folder / "egress"))
    plane = await controlplane.start(
        folder,
        processes,
        connect_socket=folder / "egress",
        data=await prepared.etcd_data(crds or binaries.kuberay_crds(), say),
        tuning=tuning,
    )
    api, kubelet_api = [
        # a client and a user agent for each
        await life.stack.enter_async_context(plane.client(name))
        for name in ("sandbox", "kubelet")
    ]
    await controlplane.until_crds_are_served(api)
    controllers = await controlplane.start_controllers(plane, api, tuning)
    scripts = Scripts(folder, Processes(folder), folder / "egress")
    life.stack.push_async_callback(scripts.stop_all)
    life.watchers.create_task(Kubelet(kubelet_api, heads, scripts, network, on_lost).run())
    say(f"sandbox ready: {plane.server}")
    return Cluster(plane, controllers, api, heads, network=network, head_proxy=head_proxy)
