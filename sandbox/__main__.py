"""The command line of the sandbox: run one until a signal, or only build its programs."""

import argparse
import sys
from pathlib import Path

from sandbox.signals import Signals

DESCRIPTION = """\
A temporary real Kubernetes cluster on loopback with real Ray heads.
etcd, kube-apiserver, kube-controller-manager, KubeRay and Ray are the real programs.
The kubelet is a stand-in.

  up      run a sandbox until Ctrl-C, SIGTERM or SIGHUP
  build   only build the programs (once, about 11 minutes on two cores)
"""
EPILOG = """\
The annotation sandbox/head of a RayJob chooses the head of its RayCluster:
  full     a real head that runs jobs (the default)
  light    Ray's dashboard without a node
  name:X   the running head X

environment:
  KUBEBUILDER_ASSETS   a folder with etcd, kube-apiserver, kube-controller-manager
                       and kubectl; without it they are built
  KUBERAY_OPERATOR     a folder with kuberay-operator, and its CRDs in crds;
                       without it the pinned KubeRay is built
  SANDBOX_RAY          the bin folder of a virtual environment with another Ray
  TMPDIR               the folder for the files of a running sandbox; use a short path,
                       because the path of a Ray socket has at most 107 bytes

exit codes:
  1                    an error, or a part of the control plane exited
  128 + N              signal N: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m sandbox", description=DESCRIPTION, epilog=EPILOG, formatter_class=style
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="{up,build}")
    up = verbs.add_parser("up", description="Run a sandbox until Ctrl-C, SIGTERM or SIGHUP.")
    up.add_argument(
        "--crds", type=Path, help="a folder with CRDs (default: those of the KubeRay operator)"
    )
    build = verbs.add_parser("build", description="Only build the programs.")
    build.add_argument("--tests", action="store_true", help="build Helm and Kueue too, for tests")
    return parser.parse_args(arguments)


def main() -> int:
    """Runs a verb. Returns its exit code."""
    signals = Signals()
    signals.listen()  # before the slow imports
    arguments = parse(sys.argv[1:])
    from sandbox import lifetime, verbs

    if arguments.verb == "build":
        return lifetime.run(lambda life: verbs.build(life, for_tests=arguments.tests), signals)
    return lifetime.run(lambda life: verbs.up(life, arguments.crds), signals)


if __name__ == "__main__":
    sys.exit(main())
