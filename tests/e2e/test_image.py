"""The container image, run as deploy/ does: help, packages, and a deletion by its operator."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from sandbox import cluster as sandbox_cluster
from sandbox import image as images
from sandbox.cluster import Cluster
from sandbox.story import SLOW_LEASE
from sandbox.waiting import until
from tests.support.operator_process import deploy
from tests.support.workbench import Lab

pytestmark = [
    pytest.mark.xdist_group("image"),
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        bool(images.missing()),
        reason=f"needs {', '.join(images.missing())}, as apt-get installs them",
    ),
]
SBOM = Path(sys.executable).parent.parent / "sbom" / "bin"


@pytest.fixture(scope="module")
def image() -> str:
    return images.build(None, print)


@pytest_asyncio.fixture(scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    async with sandbox_cluster.start(say=lambda _: None) as running:
        yield running


def ran(image: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["podman", *images.run_words(image), *words], capture_output=True, text=True, check=False
    )


def test_help_runs_without_root_or_a_writable_path(image: str) -> None:
    told = ran(image, "--help")
    assert told.returncode == 0, told.stderr
    assert all(
        f"  {command} " in told.stdout
        for command in ("run", "plan", "why", "keep", "sweep", "lint", "submit")
    )


def test_it_holds_the_packages_of_the_sbom_and_no_pip(image: str, tmp_path: Path) -> None:
    script = (
        "import importlib.metadata as m, json; "
        "print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))"
    )
    words = ["podman", *images.run_words(image, "--entrypoint=/opt/raysweep/bin/python3")]
    held = json.loads(
        subprocess.run([*words, "-c", script], capture_output=True, text=True, check=True).stdout
    )
    bill = tmp_path / "raysweep.cdx.json"
    command = [
        str(SBOM / "cyclonedx-py"),
        "requirements",
        "requirements.txt",
        "--pyproject",
        "pyproject.toml",
        "--of",
        "JSON",
    ]
    subprocess.run([*command, "-o", str(bill)], cwd=images.ROOT, capture_output=True, check=True)
    told = json.loads(bill.read_text())
    named = {part["name"].lower(): part["version"] for part in told["components"]}
    held = {name.replace("_", "-"): version for name, version in held.items()}
    ours = held.pop("raysweep")
    assert (told["metadata"]["component"]["name"], told["metadata"]["component"]["version"]) == (
        "raysweep",
        ours,
    )
    assert {name: named.get(name) for name in held} == held
    assert "pip" not in held


def _as_in_a_pod(cluster: Cluster, kubeconfig: Path, folder: Path) -> tuple[str, ...]:
    """Options that mount the service account and set the API server as a kubelet does."""
    told = yaml.safe_load(kubeconfig.read_text())
    certificate, token = (
        told["clusters"][0]["cluster"]["certificate-authority"],
        told["users"][0]["user"]["tokenFile"],
    )
    for name, text in (
        ("ca.crt", Path(certificate).read_text()),
        ("token", Path(token).read_text()),
        ("namespace", "raysweep"),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    host, _, port = cluster.server.removeprefix("https://").partition(":")
    mount = f"--volume={folder}:/var/run/secrets/kubernetes.io/serviceaccount:ro"
    return (mount, f"--env=KUBERNETES_SERVICE_HOST={host}", f"--env=KUBERNETES_SERVICE_PORT={port}")


async def test_its_operator_deletes_a_rayjob_and_exits_with_0_after_sigterm(
    image: str, cluster: Cluster
) -> None:
    lab = await Lab.open(cluster, await cluster.heads.light("quiet"))
    flags = ("run", "--head-proxy", cluster.head_proxy, "--listen", "127.0.0.1:0")
    kubeconfig = await deploy(cluster)
    with images.readable_folder() as folder:
        slow_lease = (f"--env={name}={value}" for name, value in SLOW_LEASE.items())
        options = (*_as_in_a_pod(cluster, kubeconfig, folder), *slow_lease)
        with images.running(image, *flags, options=options) as process:
            await lab.create_finished("train", annotations={"raysweep.io/ttl": "0"})
            await lab.expect_deleted("rayjobs", "train", timeout=60)
            process.terminate()
            await until(lambda: process.poll() is not None, timeout=90)
            assert process.returncode == 0
            assert process.stdout is not None
            said = await asyncio.to_thread(process.stdout.read)
    lines = [json.loads(line) for line in said.decode().splitlines() if line.startswith("{")]
    assert any(line["msg"].startswith("deleted RayJob train") for line in lines)
