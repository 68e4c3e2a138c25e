"""The command line: bring a sandbox up and keep it until told to end, or only build its programs."""

import argparse
import sys
from pathlib import Path

from sandbox.signals import Signals

DESCRIPTION = """\
A throw-away real Kubernetes cluster on loopback with real Ray heads.
etcd, kube-apiserver, kube-controller-manager and Ray are the real programs; KubeRay and the kubelet are stand-ins.

  up      start it all, KubeRay's stand-in acting in the given namespaces, and stay until Ctrl-C, SIGTERM or SIGHUP
  build   only build the control plane's programs (once, about 8 minutes)
"""
EPILOG = """\
A RayJob's annotation sandbox/head chooses the head of its cluster: `full` (the default: a real head that runs jobs),
`light` (Ray's dashboard without a node), or `name:X` (the running head X).

environment:
  KUBEBUILDER_ASSETS   a folder with etcd, kube-apiserver, kube-controller-manager and kubectl, instead of building them
  TMPDIR               where the sandbox keeps its files while it runs; must be short, for Ray's sockets

exit codes:
  1                    an error, or a part of the control plane ended
  128 + N              signal N: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m sandbox", description=DESCRIPTION, epilog=EPILOG, formatter_class=style
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="{up,build}")
    up = verbs.add_parser(
        "up", description="Start a sandbox and stay until Ctrl-C, SIGTERM or SIGHUP."
    )
    up.add_argument(
        "--crds", type=Path, help="a folder with KubeRay's own CRDs (default: a minimal pair)"
    )
    up.add_argument(
        "--namespace",
        action="append",
        help="where KubeRay's stand-in acts; may be repeated (default: default)",
    )
    verbs.add_parser("build", description="Only build the control plane's programs.")
    return parser.parse_args(arguments)


def main() -> int:
    """Runs the verb; its exit code. A signal is heard while the sandbox is still being imported."""
    signals = Signals()
    signals.listen()
    arguments = parse(sys.argv[1:])
    from sandbox import lifetime, verbs

    if arguments.verb == "build":
        return lifetime.run(verbs.build, signals)
    return lifetime.run(
        lambda life: verbs.up(life, arguments.crds, arguments.namespace or ["default"]), signals
    )


if __name__ == "__main__":
    sys.exit(main())
