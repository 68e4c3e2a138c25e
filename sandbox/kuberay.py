"""The KubeRay operator: the real program, pinned as a Go module or named by KUBERAY_OPERATOR."""

import signal
from collections.abc import Sequence

from sandbox import binaries
from sandbox.controlplane import ControlPlane, until_ready
from sandbox.ports import free_ports
from sandbox.processes import Program

GATES = "RayJobDeletionPolicy=true"
"""deletionRules need this gate up to KubeRay 1.5. Later versions have it on."""


class KubeRay:
    """One process of the operator, which reconciles the given namespaces or all."""

    def __init__(
        self, plane: ControlPlane, head_proxy: str, namespaces: Sequence[str] = ()
    ) -> None:
        self._plane = plane
        self._head_proxy = head_proxy
        self._namespaces = namespaces
        self._process: Program | None = None
        self._name = "kuberay-operator"
        if namespaces:
            self._name += f"-{namespaces[0]}"

    async def start(self) -> None:
        """Starts it and waits until it answers its readiness probe."""
        metrics, probes = free_ports(2)
        flags = (
            "--enable-leader-election=false",
            f"--metrics-addr=127.0.0.1:{metrics}",
            f"--health-probe-bind-address=127.0.0.1:{probes}",
            f"--watch-namespace={','.join(self._namespaces)}",
            f"--feature-gates={GATES}",
        )
        environment = {
            "KUBECONFIG": str(self._plane.folder / "admin.kubeconfig"),
            "ENABLE_WEBHOOKS": "false",
            "HTTP_PROXY": self._head_proxy,  # its requests to heads
            "NO_PROXY": "127.0.0.1",
        }
        self._process = self._plane.processes.start(
            self._name,
            binaries.KUBERAY.folder / "kuberay-operator",
            *flags,
            environment=environment,
        )
        await until_ready(self._process, probes)

    @property
    def _running(self) -> Program:
        if self._process is None:
            raise RuntimeError("the KubeRay operator was not started")
        return self._process

    async def stop(self) -> None:
        """Ends it. Finalizers stay and heads continue to run. It can be started again."""
        await self._running.stop()

    def suspend(self) -> None:
        """Makes it hang."""
        self._running.identity.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running.identity.signal(signal.SIGCONT)
