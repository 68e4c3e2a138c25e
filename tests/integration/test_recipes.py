"""Executes docs/how-to/recipes.md and checks the effect of each recipe on RayJobs."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from tests.support.operator_process import POLICIES, Operator, deploy, running_operator
from tests.support.person import BIN, Person
from tests.support.workbench import Lab, utc_now

pytestmark = pytest.mark.xdist_group("recipes")

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "recipes.md").read_text()
SECTIONS = dict(re.findall(r"^## (\d+\. [^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
LONG_AGO = timedelta(minutes=5)


@dataclass
class Kitchen:
    """A sandbox with the operator and a user."""

    cluster: Cluster
    operator: Operator
    person: Person

    async def lab(self, name: str, **labels: str) -> Lab:
        """Creates a namespace with these labels."""
        lab = await Lab.open(self.cluster, await self.cluster.heads.light("quiet"), name=name)
        await self.cluster.api.patch(f"/api/v1/namespaces/{name}", {"metadata": {"labels": labels}})
        return lab

    async def follow(self, title: str, only: int | None = None) -> None:
        """Executes the blocks of a recipe: applies YAML and runs commands."""
        blocks = re.findall(
            r"^```(yaml|console)\n(.*?)^```", SECTIONS[title], re.MULTILINE | re.DOTALL
        )
        for kind, text in blocks if only is None else [blocks[only]]:
            if kind == "yaml":
                await self._shell("kubectl apply -f -", text)
            else:
                for command in re.findall(r"^\$ (.*)", text, re.MULTILINE):
                    await self._shell(command)

    async def _shell(self, command: str, typed: str = "") -> None:
        path = os.pathsep.join(
            [str(self.cluster.kubectl.parent), str(BIN), os.environ.get("PATH", os.defpath)]
        )
        process = await asyncio.create_subprocess_exec(
            "bash", "-euc", command,
            env=os.environ | {"KUBECONFIG": str(self.cluster.kubeconfig), "PATH": path},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate(typed.encode())
        assert process.returncode == 0, f"{command}: {said.decode()}"

    async def why(self, lab: Lab, name: str) -> dict[str, Any]:
        answer = await self.person.types(
            "raysweep", "why", name, "-n", lab.namespace, "--no-ask", "-o", "json"
        )
        found: dict[str, Any] = answer.json
        return found

    async def times(self, lab: Lab, name: str) -> tuple[str, str]:
        """(cluster-ttl, ttl) as `why` reports them."""
        found = await self.why(lab, name)
        return found["clusterTTL"]["value"], found["ttl"]["value"]


@pytest_asyncio.fixture(scope="module")
async def kitchen() -> AsyncIterator[Kitchen]:
    async with sandbox_cluster.start(say=lambda _: None) as cluster:
        kubeconfig = await deploy(cluster)
        async with running_operator(
            cluster, kubeconfig, bulk_expiry_wait="1s", kuberay_grace="1s"
        ) as operator:
            yield Kitchen(cluster, operator, Person(cluster.kubeconfig, cluster.kubectl, "default"))


@pytest_asyncio.fixture
async def clean(kitchen: Kitchen) -> AsyncIterator[Kitchen]:
    """The sandbox without the policies of another recipe."""
    yield kitchen
    for item in (await kitchen.cluster.api.request("GET", POLICIES))["items"]:
        await kitchen.cluster.api.delete(f"{POLICIES}/{item['metadata']['name']}")


async def short_tests(kitchen: Kitchen, title: str) -> None:
    lab = await kitchen.lab("playground")
    await kitchen.follow(title)
    await lab.create_finished("fresh")
    await lab.create_finished("train", ended_at=utc_now() - LONG_AGO)
    await lab.expect_deleted("rayjobs", "train")
    assert await kitchen.times(lab, "fresh") == ("1m", "1m")


async def production(kitchen: Kitchen, title: str) -> None:
    lab = await kitchen.lab("prod", env="production")
    await kitchen.follow(title)
    await lab.create_finished("train")
    await lab.create_finished("failed", outcome="FAILED")
    await lab.create_finished("never", annotations={"raysweep.io/ttl": "never"})
    await lab.create_finished(
        "at-once", annotations={"raysweep.io/ttl": "0", "raysweep.io/cluster-ttl": "1h"}
    )
    assert await kitchen.times(lab, "train") == ("1h", "1w")
    assert await kitchen.times(lab, "failed") == ("12h", "4w2d")
    assert await kitchen.times(lab, "never") == ("2d", "12w6d")
    assert await kitchen.times(lab, "at-once") == ("1h", "1h")
    assert "limits.rayCluster.max" in (await kitchen.why(lab, "never"))["clusterTTL"]["clamp"]


async def logs_for_a_day(kitchen: Kitchen, title: str) -> None:
    await kitchen.follow(title)
    lab = Lab(kitchen.cluster, "research", await kitchen.cluster.heads.light("quiet"))
    await lab.create_finished("train")
    await lab.create_finished("failed", outcome="FAILED")
    assert await kitchen.times(lab, "train") == ("10m", "1d")
    assert await kitchen.times(lab, "failed") == ("1d", "1d")


async def per_team(kitchen: Kitchen, title: str) -> None:
    vision, other = (
        await kitchen.lab("vision-1", team="vision"),
        await kitchen.lab("nlp-1", team="nlp"),
    )
    await kitchen.follow(title)
    await vision.create_finished("train")
    await other.create_finished("train")
    assert await kitchen.times(vision, "train") == ("30m", "3d")
    assert await kitchen.times(other, "train") == ("1d", "1d")
    assert (await kitchen.why(vision, "train"))["policies"] == ["team-vision", "everybody"]


async def kueue(kitchen: Kitchen, title: str) -> None:
    lab = await kitchen.lab("queued")
    await kitchen.follow(title)
    queued = {"kueue.x-k8s.io/queue-name": "gpus"}
    spec = {"shutdownAfterJobFinishes": True}
    await lab.create_finished("train", labels=queued, spec=spec)
    await lab.create_finished("failed", labels=queued, spec=spec, outcome="FAILED")
    await lab.create_finished("by-hand")
    assert await kitchen.times(lab, "train") == ("0s", "1d")
    assert await kitchen.times(lab, "failed") == ("0s", "2w")
    assert await kitchen.times(lab, "by-hand") == ("never", "never")
    await lab.expect_deleted("rayclusters", "train-c")
    assert "rayjobs/train" in await lab.remaining()


async def cron_jobs(kitchen: Kitchen, title: str) -> None:
    lab = await kitchen.lab("nightly")
    await kitchen.follow(title)
    await lab.create_finished("nightly-1", labels={"ray.io/cronjob-name": "nightly"})
    await lab.create_finished("by-hand")
    await lab.expect_deleted("rayclusters", "nightly-1-c")
    assert await kitchen.times(lab, "nightly-1") == ("0s", "2d")
    assert await kitchen.times(lab, "by-hand") == ("never", "never")


async def gpus_back(kitchen: Kitchen, title: str) -> None:
    lab = await kitchen.lab("scarce", gpu="scarce")
    await kitchen.follow(title)
    await lab.create_finished("train")
    await lab.expect_deleted("rayclusters", "train-c")
    assert await kitchen.times(lab, "train") == ("0s", "4w2d")
    assert "rayjobs/train" in await lab.remaining()


async def freeze(kitchen: Kitchen, title: str) -> None:
    lab = await kitchen.lab("incident")
    await kitchen.follow(title, only=0)
    await lab.create_finished("train", annotations={"raysweep.io/ttl": "0"})
    elsewhere = await kitchen.lab("elsewhere")
    await elsewhere.wait_until_judged()
    told = await kitchen.why(lab, "train")
    assert (told["reason"], "review of incident 4711" in told["message"]) == ("KeptByUser", True)
    assert await lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}
    await kitchen.follow(title, only=1)
    await lab.expect_deleted("rayjobs", "train")


async def observe_first(kitchen: Kitchen, title: str) -> None:
    lab = await kitchen.lab("observed")
    await kitchen.follow(title, only=0)
    await lab.condition("observe-first", "Accepted")
    await lab.create_finished("train", annotations={"raysweep.io/ttl": "0"})
    assert "DryRun" in await lab.expect_event("train", "Expired")
    await kitchen.follow(title, only=1)
    assert "rayjobs/train" in await lab.remaining()
    await kitchen.follow(title, only=2)
    await lab.expect_deleted("rayjobs", "train")


async def emergency_stop(kitchen: Kitchen, title: str) -> None:
    lab = await kitchen.lab("stopped")
    await kitchen.follow(title)
    await lab.condition("stop", "Accepted")
    await lab.create_finished("train", annotations={"raysweep.io/ttl": "0"})
    assert "RayJobCleanupPolicy stop" in await lab.expect_event("train", "Expired")
    assert "rayjobs/train" in await lab.remaining()
    await lab.delete_policy("stop")
    await lab.expect_deleted("rayjobs", "train")


Check = Callable[[Kitchen, str], Awaitable[None]]
CHECKS: dict[int, Check] = {
    1: short_tests,
    2: production,
    3: logs_for_a_day,
    4: per_team,
    5: kueue,
    6: cron_jobs,
    7: gpus_back,
    8: freeze,
    9: observe_first,
    10: emergency_stop,
}


def test_every_recipe_is_checked() -> None:
    assert [int(title.partition(".")[0]) for title in SECTIONS] == list(CHECKS)


@pytest.mark.parametrize("title", SECTIONS)
async def test_a_recipe_has_its_effect(clean: Kitchen, title: str) -> None:
    await CHECKS[int(title.partition(".")[0])](clean, title)
