"""Executes the README: its installation, its three lines of YAML and its question, word for word.

pipx and helm are the real ones. The sandbox has no nodes: the test reports the Pod of the
Deployment as ready, and `raysweep run` runs as a process with the rights that the chart granted.
"""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from sandbox import binaries
from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from tests.support.operator_process import running_operator
from tests.support.workbench import Lab

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PODS = "/api/v1/namespaces/raysweep/pods"


def _section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _commands(title: str) -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```", _section(title), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in re.findall(r"^\$ (.*)", block, re.MULTILINE)]


HELM, ROLLOUT, PIPX, HELP = _commands("Install")
(WHY,) = _commands("Ask why")
(SNIPPET,) = re.findall(r"^```yaml\n(.*?)^```", _section("Set a TTL"), re.MULTILINE | re.DOTALL)


@pytest_asyncio.fixture
async def bare() -> AsyncIterator[Cluster]:
    """A sandbox without Raysweep."""
    async with sandbox_cluster.start(say=lambda _: None) as running:
        yield running


async def _report_pods_as_ready(cluster: Cluster) -> None:
    """Does the part of a node for each new Pod."""
    condition = {"type": "Ready", "status": "True"}
    while True:
        for pod in (await cluster.api.request("GET", PODS))["items"]:
            path = f"{PODS}/{pod['metadata']['name']}/status"
            status = {"phase": "Running", "conditions": [condition]}
            await cluster.api.patch(path, {"status": status})
        await asyncio.sleep(0.5)


class Shell:
    """A shell of a person whose PATH has kubectl, helm and pipx, and an empty pipx."""

    def __init__(self, cluster: Cluster, helm: Path, home: Path) -> None:
        programs = [home / "bin", cluster.kubectl.parent, helm.parent, Path(sys.executable).parent]
        self.environment = {
            **os.environ,
            "KUBECONFIG": str(cluster.kubeconfig),
            "PATH": os.pathsep.join([*map(str, programs), os.environ.get("PATH", os.defpath)]),
            "PIPX_HOME": str(home / "pipx"),
            "PIPX_BIN_DIR": str(home / "bin"),
            "PIPX_MAN_DIR": str(home / "man"),
            "PIPX_DEFAULT_PYTHON": sys.executable,
        }

    async def run(self, command: str) -> str:
        """Runs a command in the root of the repository, and returns what it printed."""
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euc", command),
            cwd=ROOT,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, f"{command}\n{output.decode()}"
        return output.decode()


async def test_the_readme_works_as_it_is_written(bare: Cluster, tmp_path: Path) -> None:
    helm = await asyncio.to_thread(binaries.program, binaries.HELM, "helm")
    shell = Shell(bare, helm, tmp_path)

    await shell.run(HELM)
    node = asyncio.create_task(_report_pods_as_ready(bare))
    try:
        assert "successfully rolled out" in await shell.run(ROLLOUT)
    finally:
        node.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await node

    await shell.run(PIPX)
    plugin = (tmp_path / "bin" / "kubectl-raysweep").resolve()
    assert (tmp_path / "pipx").resolve() in plugin.parents
    assert "why" in await shell.run(HELP)

    annotations = yaml.safe_load(SNIPPET)["annotations"]
    head = await bare.heads.light("quiet")
    lab = await Lab.open(bare, head, name="team-a", annotations=annotations)
    kubeconfig = await bare.kubeconfig_for("raysweep", "raysweep")
    async with running_operator(bare, kubeconfig):
        await lab.create_finished("train")
        answer = await shell.run(WHY)
    assert answer.startswith("RayJob team-a/train waits: NotDue."), answer
