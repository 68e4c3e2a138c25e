"""The chart on a real API server: install, upgrade, rollback, uninstall, and what is left."""

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from sandbox import binaries
from sandbox import cluster as sandbox_cluster
from sandbox.api import ApiError
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support import helm
from tests.support.cluster_diff import Inventory, ObjectKey, added_marks, list_everything
from tests.support.helm import Helm
from tests.support.operator_process import deploy, running_operator, wait_for_policy_crd
from tests.support.workbench import Body, Lab

ROOT = Path(__file__).parents[2]
TEAMS = ("team-a", "team-b")
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEPLOYMENT = "/apis/apps/v1/namespaces/raysweep/deployments/raysweep"
CONFIG_MAP = "/api/v1/namespaces/raysweep/configmaps/raysweep"
WHAT_STAYS = (
    (ROOT / "docs" / "how-to" / "upgrade-and-uninstall.md")
    .read_text()
    .partition("### What stays")[2]
    .partition("\n#")[0]
)
STAYS = set(re.findall(r"^\| `([^`]+)` \|", WHAT_STAYS, re.MULTILINE))
"""What the documents say of an uninstalled chart, as patterns of resource, namespace and name."""
MONITORING = {
    "ServiceMonitor": "servicemonitors",
    "PodMonitor": "podmonitors",
    "PrometheusRule": "prometheusrules",
}


@pytest_asyncio.fixture(scope="module")
async def bare() -> AsyncIterator[Cluster]:
    """A sandbox without Raysweep, with the namespaces and CRDs of the chart's values files."""
    async with sandbox_cluster.start(say=lambda _: None) as running:
        for name in (*TEAMS, "raysweep"):
            await running.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        for kind, plural in MONITORING.items():
            await running.api.request(
                "POST",
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                _foreign(kind, plural),
            )
        for plural in MONITORING.values():
            await until(
                partial(_is_served, running, f"/apis/monitoring.coreos.com/v1/{plural}"), timeout=90
            )
        yield running


@pytest_asyncio.fixture
async def alone() -> AsyncIterator[Cluster]:
    """A sandbox for one test."""
    async with sandbox_cluster.start(say=lambda _: None) as running:
        yield running


@pytest.fixture
def release(alone: Cluster) -> Iterator[Helm]:
    with helm.connected(alone.kubeconfig) as connected:
        yield connected


def _foreign(kind: str, plural: str) -> Body:
    """Creates CRDs with the names of the Prometheus operator and without a schema."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": anything},
    }
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    spec = {
        "group": "monitoring.coreos.com",
        "scope": "Namespaced",
        "names": names,
        "versions": [version],
    }
    return {"metadata": {"name": f"{plural}.monitoring.coreos.com"}, "spec": spec}


async def _is_served(cluster: Cluster, path: str) -> bool:
    """Waits until the API server serves a CRD. It answers 404 and 429 first."""
    with contextlib.suppress(ApiError):
        return await cluster.api.find(path) is not None
    return False


@pytest.mark.parametrize(
    "path", helm.ci_values(), ids=lambda path: path.stem.removesuffix("-values")
)
async def test_the_api_server_accepts_the_chart_with_every_values_file(
    bare: Cluster, path: Path, tmp_path: Path
) -> None:
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(yaml.safe_dump_all(helm.documents(helm.read(path))))
    said = await _run(
        bare,
        str(bare.kubectl),
        "apply",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        str(rendered),
    )
    assert "(server dry run)" in said


async def test_it_is_installed_upgraded_rolled_back_and_uninstalled(
    alone: Cluster, release: Helm
) -> None:
    await asyncio.to_thread(release.install, create_namespace=True)
    first = await alone.api.request("GET", DEPLOYMENT)
    assert await _mode(alone) == "Enforce"

    values = {
        "mode": "DryRun",
        "replicas": 3,
        "admission": {"enabled": True},
        "settings": {"relistEvery": "10m"},
    }
    await asyncio.to_thread(release.upgrade, values)
    upgraded = await alone.api.request("GET", DEPLOYMENT)
    assert (await _mode(alone), upgraded["spec"]["replicas"]) == ("DryRun", 3)
    assert upgraded["spec"]["selector"] == first["spec"]["selector"]
    assert upgraded["metadata"]["uid"] == first["metadata"]["uid"]
    assert len(await _admission_policies(alone)) == 5

    await asyncio.to_thread(release.rollback, 1)
    assert (
        await _mode(alone),
        (await alone.api.request("GET", DEPLOYMENT))["spec"]["replicas"],
    ) == ("Enforce", 2)
    assert await _admission_policies(alone) == []
    assert release.history() == [(1, "superseded"), (2, "superseded"), (3, "deployed")]

    await asyncio.to_thread(release.uninstall)
    assert await alone.api.find(DEPLOYMENT) is None
    assert await alone.api.find(CONFIG_MAP) is None


async def test_an_invalid_value_stops_the_installation_and_leaves_only_the_crd(
    bare: Cluster,
) -> None:
    """Helm installs CRDs before it validates values."""
    before = await list_everything(bare.api)
    with (
        helm.connected(bare.kubeconfig) as release,
        pytest.raises(Exception, match="additional properties 'tll' not allowed"),
    ):
        await asyncio.to_thread(release.install, {"settings": {"tll": "1d"}})
    made = {
        thing.resource.partition(".")[0] for thing in new(before, await list_everything(bare.api))
    }
    assert made == {"customresourcedefinitions", "apiservices"}


async def _mode(cluster: Cluster) -> str:
    return str((await cluster.api.request("GET", CONFIG_MAP))["data"]["RAYSWEEP_MODE"])


async def _admission_policies(cluster: Cluster) -> list[str]:
    listed = await cluster.api.request(
        "GET", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    )
    return [item["metadata"]["name"] for item in listed["items"]]


async def test_only_documented_objects_are_left_after_uninstall(
    alone: Cluster, release: Helm
) -> None:
    lab = await Lab.open(
        alone, await alone.heads.light("quiet"), name="team-a", annotations={"raysweep.io/ttl": "0"}
    )
    record = {"raysweep.io/ttl": "never", "raysweep.io/cluster-ttl": "0"}
    await lab.create_finished("train")
    await lab.create_finished("record", annotations=record)
    await lab.create_finished(
        "noted", annotations=record, head_status="FAILED"
    )  # the head's outcome is written down
    await lab.create_finished(
        "kept", annotations={"raysweep.io/keep-until": "2099-01-01T00:00:00Z"}
    )
    before = await list_everything(alone.api)

    values = {
        "admission": {"enabled": True, "kuberayUsers": []},
        "headTokens": {"namespaces": ["team-a"]},
        "settings": {"bulkExpiryWait": "1s"},
    }
    await asyncio.to_thread(release.install, values, create_namespace=True)
    await wait_for_policy_crd(alone)
    await lab.set_policy("everywhere", {"retention": {"rayJob": {"default": "7d"}}})
    kubeconfig, settings = (
        await alone.kubeconfig_for("raysweep", "raysweep"),
        await _settings(alone),
    )
    async with running_operator(alone, kubeconfig, ready=True, **settings):
        await lab.expect_deleted("rayjobs", "train")
        await lab.expect_deleted("rayclusters", "record-c")
        await lab.expect_deleted("rayclusters", "noted-c")
        await lab.condition("everywhere", "Accepted")
    await asyncio.to_thread(release.uninstall)

    await until(lambda: _settled(alone, "raysweep"), timeout=60)
    after = await list_everything(alone.api)
    _print("after uninstall", before, after)
    assert told_of(new(before, after)) == STAYS
    assert added_marks(before, after) == [
        "rayjobs.ray.io team-a/noted: annotations raysweep.io/outcome"
    ]
    assert "`raysweep.io/outcome`" in WHAT_STAYS

    await alone.api.request("DELETE", "/api/v1/namespaces/raysweep")
    await _run(alone, str(alone.kubectl), "delete", "-f", str(ROOT / "deploy" / "crds"))
    await until(lambda: _is_gone(alone, "/api/v1/namespaces/raysweep"), timeout=60)
    swept = await list_everything(alone.api)
    _print("after the rest of the documented way", before, swept)
    assert told_of(new(before, swept)) == {"events *", "events.events.k8s.io *"}


async def _settings(cluster: Cluster) -> dict[str, str]:
    """The settings in the ConfigMap of the release, as the Pods read them."""
    data = (await cluster.api.request("GET", CONFIG_MAP))["data"]
    told = {key.removeprefix("RAYSWEEP_").lower(): value for key, value in data.items()}
    return {name: value for name, value in told.items() if name != "log_format"}


def new(before: Inventory, after: Inventory) -> list[ObjectKey]:
    """Leaves out the Leases and Events of Kubernetes itself."""
    return sorted(each for each in after.keys() - before.keys() if each.namespace != "kube-system")


def told_of(things: list[ObjectKey]) -> set[str]:
    """The rows of docs/how-to/upgrade-and-uninstall.md that name the objects, else the objects."""
    return {
        next((row for row in STAYS if fnmatch(str(thing), row)), str(thing)) for thing in things
    }


async def _settled(cluster: Cluster, namespace: str) -> bool:
    """Waits until the garbage collector has deleted all Pods and ReplicaSets."""
    paths = (
        f"/api/v1/namespaces/{namespace}/pods",
        f"/apis/apps/v1/namespaces/{namespace}/replicasets",
    )
    return not any([(await cluster.api.request("GET", path))["items"] for path in paths])


async def _is_gone(cluster: Cluster, path: str) -> bool:
    return await cluster.api.find(path) is None


def _print(when: str, before: Inventory, after: Inventory) -> None:
    gone, made = sorted(before.keys() - after.keys()), new(before, after)
    lines = [
        *(f"- {thing}" for thing in gone),
        *(f"+ {thing}" for thing in made),
        *(f"~ {line}" for line in added_marks(before, after)),
    ]
    sys.stdout.write("\n  ".join(["", f"{when}:", *lines, ""]))


@pytest.mark.timeout(900)
async def test_the_helm_command_gives_the_same_result(alone: Cluster) -> None:
    program = str(await asyncio.to_thread(binaries.program, binaries.HELM, "helm"))
    chart = str(helm.CHART)

    async def types(*words: str) -> str:
        return await _run(alone, program, *words)

    assert "1 chart(s) linted, 0 chart(s) failed" in await types("lint", "--strict", chart)
    await types(
        "install", "raysweep", chart, "-n", "raysweep", "--create-namespace", "--set", "mode=DryRun"
    )
    assert await _mode(alone) == "DryRun"
    assert "DryRun: nothing is deleted" in await types("get", "notes", "raysweep", "-n", "raysweep")
    await types(
        "upgrade",
        "raysweep",
        chart,
        "-n",
        "raysweep",
        "--set",
        "mode=Enforce",
        "--set",
        "settings.bulkExpiryMax=1000000",
    )
    assert (await alone.api.request("GET", CONFIG_MAP))["data"][
        "RAYSWEEP_BULK_EXPIRY_MAX"
    ] == "1000000"
    await types("rollback", "raysweep", "1", "-n", "raysweep")
    assert await _mode(alone) == "DryRun"
    history = json.loads(await types("history", "raysweep", "-n", "raysweep", "-o", "json"))
    assert [entry["status"] for entry in history] == ["superseded", "superseded", "deployed"]
    await types("uninstall", "raysweep", "-n", "raysweep")
    assert await alone.api.find(DEPLOYMENT) is None


@pytest.mark.timeout(900)
async def test_the_documented_upgrade_of_the_crd_works(alone: Cluster, tmp_path: Path) -> None:
    """Follows docs/how-to/upgrade-and-uninstall.md."""
    program = str(await asyncio.to_thread(binaries.program, binaries.HELM, "helm"))
    chart, kubectl = str(helm.CHART), str(alone.kubectl)
    await _run(alone, program, "install", "raysweep", chart, "-n", "raysweep", "--create-namespace")

    newer = tmp_path / "newer.yaml"
    crd = yaml.safe_load(
        (helm.CHART / "crds" / "raysweep.io_rayjobcleanuppolicies.yaml").read_text()
    )
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "A newer one."
    newer.write_text(yaml.safe_dump(crd))
    with pytest.raises(AssertionError, match="conflict"):
        await _run(alone, kubectl, "apply", "--server-side", "-f", str(newer))
    await _run(alone, kubectl, "apply", "--server-side", "--force-conflicts", "-f", str(newer))
    there = await alone.api.request("GET", f"{CRDS}/rayjobcleanuppolicies.raysweep.io")
    assert (
        there["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] == "A newer one."
    )

    await _run(
        alone, kubectl, "-n", "raysweep", "scale", "deployment", "raysweep", "--replicas", "0"
    )
    await _run(
        alone, program, "upgrade", "raysweep", chart, "-n", "raysweep", "--set", "mode=DryRun"
    )
    assert (await _mode(alone), await _replicas(alone)) == ("DryRun", 2)
    await _run(
        alone, program, "upgrade", "raysweep", chart, "-n", "raysweep", "--set", "replicas=0"
    )
    assert await _replicas(alone) == 0


async def _replicas(cluster: Cluster) -> int:
    return int((await cluster.api.request("GET", DEPLOYMENT))["spec"]["replicas"])


@pytest.mark.timeout(900)
async def test_helm_takes_over_what_kubectl_installed(alone: Cluster) -> None:
    program = str(await asyncio.to_thread(binaries.program, binaries.HELM, "helm"))
    await deploy(alone)
    before = await alone.api.request("GET", CONFIG_MAP)
    await alone.api.delete(DEPLOYMENT)
    words = (
        "upgrade",
        "--install",
        "--take-ownership",
        "raysweep",
        str(helm.CHART),
        "-n",
        "raysweep",
    )
    await _run(alone, program, *words)
    after = await alone.api.request("GET", CONFIG_MAP)
    assert (after["metadata"]["uid"], after["data"]) == (before["metadata"]["uid"], before["data"])
    assert after["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    await _run(alone, program, "uninstall", "raysweep", "-n", "raysweep")
    assert await alone.api.find(CONFIG_MAP) is None


async def _run(cluster: Cluster, *command: str) -> str:
    """Runs a command as the administrator of the cluster. It must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={"KUBECONFIG": str(cluster.kubeconfig), "PATH": "", "HOME": str(cluster.folder)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()
