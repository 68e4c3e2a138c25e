"""What the verbs of `python -m sandbox` do: bring a sandbox up and keep it until told to end, or only build its programs."""

import asyncio
from pathlib import Path

from sandbox import binaries, cluster
from sandbox.lifetime import Lifetime


async def up(life: Lifetime, crds: Path | None, namespaces: list[str]) -> int:
    """Stays until a signal or the end of a part of the control plane. A head that ends is said, as its Pod says it."""
    sandbox = await cluster.launch(life, say=_say, crds=crds, on_lost=_say_lost)
    for namespace in namespaces:
        sandbox.kuberay.watch(namespace)
    _say(
        f"  export KUBECONFIG={sandbox.kubeconfig}\n"
        f"  export RAYSWEEP_HEAD_PROXY={sandbox.head_proxy}\n"
        f"  kubectl: {sandbox.kubectl}\n"
        f"a head: curl -x $RAYSWEEP_HEAD_PROXY http://SERVICE.NAMESPACE.svc:8265/api/jobs/\n"
        f"KubeRay's stand-in acts in: {', '.join(namespaces)}. Ctrl-C ends everything."
    )
    await asyncio.Event().wait()
    return 0


async def build(_: Lifetime) -> int:
    """Builds the control plane's programs, where they are not there yet, and says where they are."""
    _say(str(binaries.find() or await binaries.build(_say)))
    return 0


def _say_lost(lost: Exception) -> None:
    _say(f"error: {str(lost) or repr(lost)}")


def _say(line: str) -> None:
    print(line, flush=True)
