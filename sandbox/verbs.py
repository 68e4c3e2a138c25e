"""The verbs of `python -m sandbox`: `up` runs a sandbox, `build` builds its programs."""

import asyncio
from pathlib import Path

from sandbox import binaries, cluster, prepared
from sandbox.lifetime import Lifetime

READY = """\
  export KUBECONFIG={kubeconfig}
  export RAYSWEEP_HEAD_PROXY={head_proxy}
  kubectl: {kubectl}
To query a head: curl -x $RAYSWEEP_HEAD_PROXY http://SERVICE.NAMESPACE.svc:8265/api/jobs/
KubeRay watches all namespaces. Press Ctrl-C to stop everything."""


async def up(life: Lifetime, crds: Path | None) -> int:
    """Runs until a signal or until a part of the control plane exits. Reports lost heads."""
    sandbox = await cluster.launch(life, say=_say, crds=crds, on_lost=_report_lost_head)
    await sandbox.start_kuberay()
    _say(
        READY.format(
            kubeconfig=sandbox.kubeconfig,
            head_proxy=sandbox.head_proxy,
            kubectl=sandbox.kubectl,
        )
    )
    await asyncio.Event().wait()
    return 0


async def build(_: Lifetime, *, for_tests: bool) -> int:
    """Makes what is missing: programs, and the data of etcd with which a sandbox starts."""
    more = binaries.OF_TESTS if for_tests else ()
    await binaries.provide([*binaries.SANDBOX, *more], _say)
    await prepared.etcd_data(binaries.kuberay_crds(), _say)
    return 0


def _report_lost_head(error: Exception) -> None:
    _say(f"error: {str(error) or repr(error)}")


def _say(line: str) -> None:
    print(line, flush=True)
