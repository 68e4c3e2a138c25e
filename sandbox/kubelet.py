"""The stand-in for the kubelet: it runs the Pods that KubeRay and the Job controller create.

A head Pod becomes a real Ray head, and a submitter container really runs its script. Other
containers of these Pods are only reported as running. What KubeRay does must not enter here.
"""

import asyncio
import base64
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus

import aiohttp

from sandbox.api import Api, ApiError, Body
from sandbox.heads import Head, Heads
from sandbox.lifetime import watched
from sandbox.network import Network
from sandbox.pods import (
    CLUSTER_LABEL,
    HEAD,
    NODE,
    SUBMITTER,
    Container,
    Pod,
    PodStatus,
    environment_of,
    secrets_of,
)
from sandbox.processes import ProgramDiedError, SandboxError
from sandbox.scripts import Scripts
from sandbox.waiting import until

log = logging.getLogger("sandbox.kubelet")

ATTEMPTS = 3
AFTER_AN_ERROR = 0.5
BACKOFF, LONGEST_BACKOFF = 1.0, 300.0
"""Seconds before the restarts of a container. Each waits twice as long as the one before."""
PROBE_EVERY, PROBE_TIMEOUT, PROBE_FAILURES = 5.0, 5.0, 10
"""The readiness probe that KubeRay sets for a head."""


class Kubelet:
    """The only node. It places the Pods on itself, runs them, and removes deleted ones."""

    def __init__(
        self,
        api: Api,
        heads: Heads,
        scripts: Scripts,
        network: Network,
        on_lost: Callable[[Exception], None],
    ) -> None:
        """Calls `on_lost` when a head exits or cannot start. Its errors end the kubelet."""
        self._api = api
        self._heads = heads
        self._scripts = scripts
        self._network = network
        self._on_lost = on_lost
        self._pods: dict[str, RunningPod] = {}

    async def run(self) -> None:
        """Runs until it is canceled. What its Pods run ends with it."""
        await self._api.request("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
        async with watched() as tasks:
            tasks.create_task(self._follow_services())
            async for kind, item in self._api.watch("/api/v1/pods"):
                if kind == "SYNCED":
                    for uid in self._pods.keys() - item["uids"]:
                        self._pods[uid].deleted.set()
                    continue
                pod = Pod(item)
                if pod.uid in self._pods:
                    if pod.is_being_deleted or kind == "DELETED":
                        self._pods[pod.uid].deleted.set()
                elif pod.is_of_ray and kind != "DELETED":
                    self._pods[pod.uid] = RunningPod(pod)
                    tasks.create_task(self._keep(self._pods[pod.uid]))

    async def _keep(self, running: "RunningPod") -> None:
        """Runs a Pod until it is deleted, and then removes it."""
        pod = running.pod
        if not pod.is_placed:
            target = {"metadata": {"name": pod.name}, "target": {"kind": "Node", "name": NODE}}
            await self._retried("POST", f"{pod.path}/binding", target)
        services = await self._services_of(pod)
        address = self._network.address(pod.namespace, next(iter(services), pod.name))
        running.status = PodStatus.of(pod, address)
        async with watched() as tasks:
            tasks.create_task(self._report(running))
            for body in pod.containers:
                tasks.create_task(self._keep_running(running, body))
            await running.deleted.wait()
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod.uid}}
        await self._retried("DELETE", pod.path, options)
        del self._pods[pod.uid]

    async def _keep_running(self, running: "RunningPod", body: Body) -> None:
        """Runs one container, and again after its end if the restart policy says so."""
        container, backoff = running.status.by_name[body["name"]], BACKOFF
        once: Callable[[RunningPod, Container, Body], Awaitable[tuple[int, str]]]
        if body["name"] == SUBMITTER:
            once = self._run_script
        elif running.pod.is_head and body is running.pod.containers[0]:
            once = self._run_head
        else:
            running.report(container.runs, ready=True)
            return
        while True:
            code, message = await once(running, container, body)
            running.report(container.ended, code, message=message)
            if not running.pod.restarts_after(code):
                return
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF)
            running.report(container.restarts_again)

    async def _run_script(
        self, running: "RunningPod", container: Container, body: Body
    ) -> tuple[int, str]:
        pod = running.pod
        listed = await self._api.request("GET", f"/api/v1/namespaces/{pod.namespace}/services")
        program = self._scripts.start(
            f"{container.name} of Pod {pod.namespace}/{pod.name}",
            [*body.get("command", []), *body.get("args", [])],
            environment=environment_of(body, await self._secrets(pod, body)),
            own=running.status.address,
            services=[f"{each['metadata']['name']}.{pod.namespace}" for each in listed["items"]],
        )
        try:
            running.report(container.runs, ready=True)
            await program.ended()
            return program.exit_code or 0, program.tail()
        finally:
            await program.stop()

    async def _secrets(self, pod: Pod, body: Body) -> dict[tuple[str, str], str]:
        values: dict[tuple[str, str], str] = {}
        for name in secrets_of(body):
            secret = await self._api.find(f"/api/v1/namespaces/{pod.namespace}/secrets/{name}")
            for key, value in (secret or {}).get("data", {}).items():
                values[name, key] = base64.b64decode(value).decode()
        return values

    async def _run_head(
        self, running: "RunningPod", container: Container, body: Body
    ) -> tuple[int, str]:
        pod = running.pod
        running.report(container.runs, ready=False)
        kind = await self._head_kind(pod)
        token = environment_of(body, await self._secrets(pod, body)).get("RAY_AUTH_TOKEN")
        try:
            head = await self._head(kind, f"{pod.namespace}/{pod.cluster or pod.name}", token)
        except (SandboxError, OSError, ValueError) as error:  # OSError: TimeoutError too
            self._on_lost(error)
            return 1, str(error)
        try:
            running.head = head
            await self._route(running)
            running.report(container.runs, ready=True)
            async with watched() as tasks:
                tasks.create_task(self._probe(running, container, head))
                await head.ended()
            self._report_lost(head)
        finally:
            running.head = None
            for service in running.services:
                self._network.unroute(pod.namespace, service, head.socket)
            if not kind.startswith("name:"):
                await self._heads.stop(head)
        return head.exit_code or 0, ""

    def _report_lost(self, head: Head) -> None:
        try:
            head.check()
        except ProgramDiedError as error:
            self._on_lost(error)

    async def _head_kind(self, pod: Pod) -> str:
        """The annotation that chooses the head. It is on the Pod or on its RayCluster."""
        path = f"/apis/ray.io/v1/namespaces/{pod.namespace}/rayclusters/{pod.cluster}"
        cluster = await self._api.find(path) if pod.cluster else None
        annotations = (cluster or {"metadata": {}})["metadata"].get("annotations", {})
        return str(pod.annotations.get(HEAD) or annotations.get(HEAD) or "full")

    async def _head(self, kind: str, own_name: str, token: str | None) -> Head:
        match kind.partition(":"):
            case ("full", "", ""):
                return await _restarted(lambda: self._heads.full(own_name, token=token))
            case ("light", "", ""):
                return await _restarted(lambda: self._heads.light(own_name))
            case ("name", ":", name):
                await until(lambda: self._heads.has_running(name), timeout=None)
                return self._heads[name]
        raise ValueError(f"invalid annotation {HEAD}={kind}: use full, light or name:X")

    async def _probe(self, running: "RunningPod", container: Container, head: Head) -> None:
        failures = 0
        while True:
            await asyncio.sleep(PROBE_EVERY)
            try:
                async with asyncio.timeout(PROBE_TIMEOUT):
                    await head.get("/api/version")
                failures = 0
            except (aiohttp.ClientError, OSError):
                failures += 1
            ready = failures < PROBE_FAILURES
            if ready != container.ready:
                running.report(container.runs, ready=ready)

    async def _services_of(self, pod: Pod) -> list[str]:
        """The Services that select a Pod. Those of a RayCluster have its label, as its Pods do."""
        path = f"/api/v1/namespaces/{pod.namespace}/services"
        selector = {"labelSelector": f"{CLUSTER_LABEL}={pod.cluster}"} if pod.cluster else {}
        listed = await self._api.request("GET", path, params=selector)
        return [each["metadata"]["name"] for each in listed["items"] if pod.is_selected_by(each)]

    async def _route(self, running: "RunningPod") -> None:
        """Leads the Services that select the Pod to its head."""
        pod = running.pod
        for service in [*await self._services_of(pod), pod.name]:
            self._lead(running, service)

    def _lead(self, running: "RunningPod", service: str) -> None:
        if running.head is not None:
            running.services.add(service)
            self._network.route(running.pod.namespace, service, running.head.socket)

    async def _follow_services(self) -> None:
        """Routes Services that are created after the Pod of the head."""
        async for kind, service in self._api.watch("/api/v1/services"):
            if kind != "ADDED":
                continue
            name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
            for running in self._pods.values():
                if running.pod.namespace == namespace and running.pod.is_selected_by(service):
                    self._lead(running, name)

    async def _report(self, running: "RunningPod") -> None:
        """Writes the status of a Pod after each change."""
        while True:
            running.changed.clear()
            status = running.status.body(datetime.now(UTC))
            await self._retried("PATCH", f"{running.pod.path}/status", {"status": status})
            await running.changed.wait()

    async def _retried(self, method: str, path: str, body: Body) -> None:
        """Sends a request until it succeeds, or its Pod is another one or does not exist."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        while True:
            try:
                await self._api.request(method, path, body, content_type=kind)
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                if isinstance(error, ApiError) and error.status in _FINAL:
                    return
                log.warning("retrying %s %s: %r", method, path, error)
                await asyncio.sleep(AFTER_AN_ERROR)
            else:
                return


_FINAL = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


class RunningPod:
    """A Pod, its status, and the head that runs for it."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.status = PodStatus.of(pod, "")
        self.head: Head | None = None
        self.services: set[str] = set()
        self.changed = asyncio.Event()
        self.deleted = asyncio.Event()
        if pod.is_being_deleted:
            self.deleted.set()

    def report(self, change: Callable[..., None], *arguments: object, **named: object) -> None:
        """Changes the state of a container. The status is written soon."""
        change(*arguments, now=datetime.now(UTC), **named)
        self.changed.set()


async def _restarted(start: Callable[[], Awaitable[Head]]) -> Head:
    """Starts a head, and tries again if this loaded machine was the cause.

    Raises the error of the last attempt.
    """
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(ProgramDiedError, OSError):
            return await start()
    return await start()
