"""The command line: bring a sandbox up and keep it until told to end, or only build its programs."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from sandbox import binaries, cluster
from sandbox.heads import NoNamespacesError
from sandbox.processes import ProgramDiedError

DESCRIPTION = """\
A throw-away real Kubernetes cluster on loopback with real Ray heads.
etcd, kube-apiserver, kube-controller-manager and Ray are the real programs; KubeRay and the kubelet are stand-ins.

  up      start it all, KubeRay's stand-in acting in the given namespaces, and stay until Ctrl-C or SIGTERM
  build   only build the control plane's programs (once, about 8 minutes)
"""
EPILOG = """\
A RayJob's annotation sandbox/head chooses the head of its cluster: `full` (the default: a real head that runs jobs),
`light` (Ray's dashboard without a node), or `name:X` (the running head X).

environment:
  KUBEBUILDER_ASSETS   a folder with etcd, kube-apiserver, kube-controller-manager and kubectl, instead of building them
  TMPDIR               where the sandbox keeps its files while it runs; must be short, for Ray's sockets
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m sandbox", description=DESCRIPTION, epilog=EPILOG, formatter_class=style)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="{up,build}")
    up = verbs.add_parser("up", description="Start a sandbox and stay until Ctrl-C or SIGTERM.")
    up.add_argument("--crds", type=Path, help="a folder with KubeRay's own CRDs (default: a minimal pair)")
    up.add_argument("--namespace", action="append", help="where KubeRay's stand-in acts; may be repeated (default: default)")
    verbs.add_parser("build", description="Only build the control plane's programs.")
    return parser.parse_args(arguments)


async def up(crds: Path | None, namespaces: list[str]) -> None:
    told_to_end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told_to_end.set)
    async with asyncio.TaskGroup() as group:
        living = group.create_task(_live(crds, namespaces))
        ending = group.create_task(told_to_end.wait())
        await asyncio.wait((living, ending), return_when=asyncio.FIRST_COMPLETED)
        living.cancel()
        ending.cancel()


async def _live(crds: Path | None, namespaces: list[str]) -> None:
    async with cluster.start(say=_say, crds=crds) as sandbox:
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


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    arguments = parse(sys.argv[1:])
    faults: list[Exception] = []
    try:
        if arguments.verb == "build":
            _say(str(binaries.find_or_build(_say)))
        else:
            asyncio.run(up(arguments.crds, arguments.namespace or ["default"]))
    except* (binaries.NoControlPlaneError, NoNamespacesError, ProgramDiedError, OSError) as group:
        faults += group.exceptions
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
