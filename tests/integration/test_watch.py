"""`plan --watch` and `why --watch` at a pseudo-terminal: updates come from watches."""

import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta

import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.heads import Head
from tests.support.operator_process import deploy, running_operator
from tests.support.person import BIN, SEES_JOBS, SEES_NAMESPACE, USER_AGENT, kubeconfig_with
from tests.support.terminal import terminal_session
from tests.support.workbench import Body, Lab, utc_now

FAR = "2199-01-01T00:00:00Z"
WATCHES_JOBS: Body = {**SEES_JOBS, "verbs": ["get", "list", "watch"]}
PROGRAM = str(BIN / "raysweep")


@pytest_asyncio.fixture(scope="module")
async def watched() -> AsyncIterator[Cluster]:
    """A sandbox with an installed Raysweep. Some tests run the operator."""
    async with sandbox_cluster.start(say=lambda _: None) as running:
        await deploy(running)
        yield running


@pytest_asyncio.fixture(scope="module")
async def quiet(watched: Cluster) -> Head:
    return await watched.heads.light("quiet")


@pytest_asyncio.fixture
async def bench(watched: Cluster, quiet: Head) -> Lab:
    return await Lab.open(watched, quiet)


def environment(cluster: Cluster, kubeconfig: object = None) -> Mapping[str, str]:
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("RAYSWEEP_", "COLUMNS"))
    }
    return clean | {
        "KUBECONFIG": str(kubeconfig or cluster.kubeconfig),
        "TERM": "xterm",
        "RAYSWEEP_HEAD_PROXY": cluster.head_proxy,
    }


async def asked(cluster: Cluster, since: int = 0) -> Counter[tuple[str, str]]:
    """The number of requests of commands by verb and resource, after the first `since`."""
    requests = (await cluster.audit(USER_AGENT))[since:]
    return Counter(
        (request["verb"], request["objectRef"]["resource"])
        for request in requests
        if "objectRef" in request
    )


def row(text: str, name: str) -> str:
    return next((line for line in text.splitlines() if line.split()[1:2] == [name]), "")


async def test_a_plan_shows_changes_and_lists_once(watched: Cluster, bench: Lab) -> None:
    before = len(await watched.audit(USER_AGENT))
    await bench.create_finished(
        "old", annotations={"raysweep.io/ttl": "50w"}, with_cluster=False, head_status=None
    )
    command = [PROGRAM, "plan", "--watch", "--all", "-n", bench.namespace]
    async with terminal_session(command, environment(watched), columns=140) as person:
        await person.sees_that(lambda text: "NotDue" in row(text, "old"))
        await bench.create("train")
        await person.sees_that(lambda text: "NotFinished" in row(text, "train"))
        await bench.annotate("old", {"raysweep.io/keep-until": FAR})
        await person.sees_that(lambda text: "KeptByUser" in row(text, "old"))
        await bench.annotate_namespace({"raysweep.io/keep-until": "soon"})
        await person.sees_that(lambda text: "Invalid" in row(text, "old"))
        await bench.annotate_namespace({"raysweep.io/keep-until": None})
        await bench.set_policy("stop", {"mode": "DryRun"})
        await person.sees("(DryRun): stop")
        await bench.delete_policy("stop")
        await bench.cluster.api.delete(bench.path("rayjobs", "old"))
        await person.sees_that(lambda text: not row(text, "old") and bool(row(text, "train")))
        person.types("\x03")
        await person.ends(130)
    assert person.is_as_before
    found = await asked(watched, before)
    assert {verb for verb, _ in found} <= {"get", "list", "watch"}
    lists = {resource: count for (verb, resource), count in found.items() if verb == "list"}
    assert lists == {"rayjobs": 1, "rayclusters": 1, "rayjobcleanuppolicies": 1}
    assert {resource for verb, resource in found if verb == "watch"} == {*lists, "namespaces"}
    assert found["get", "namespaces"] == 1


async def test_with_all_namespaces_and_labels_it_lists_once(
    watched: Cluster, quiet: Head, bench: Lab
) -> None:
    other = await Lab.open(watched, quiet)
    for lab in (bench, other):
        await lab.create_finished(
            "mine",
            labels={"team": bench.namespace},
            annotations={"raysweep.io/ttl": "50w"},
            with_cluster=False,
            head_status=None,
        )
    before = len(await watched.audit(USER_AGENT))
    command = [PROGRAM, "plan", "-w", "-A", "-l", f"team={bench.namespace}"]
    async with terminal_session(command, environment(watched), columns=140) as person:
        await person.sees("all namespaces: 0 due now, 2 later")
        await other.annotate_namespace({"raysweep.io/keep-until": FAR})
        await person.sees("KeptByUser")
        third = await Lab.open(watched, quiet, annotations={"raysweep.io/ttl": "40w"})
        await third.create_finished(
            "train", labels={"team": bench.namespace}, with_cluster=False, head_status=None
        )
        await person.sees(f"Namespace {third.namespace} annotation raysweep.io/ttl")
        await watched.api.patch(
            bench.path("rayjobs", "mine"), {"metadata": {"labels": {"team": None}}}
        )
        await person.sees_that(lambda text: text.count("  mine  ") == 1)
        person.types("\x03")
        await person.ends(130)
    found = await asked(watched, before)
    assert found["list", "rayjobs"] == 2, "one of them by labels"
    assert (found["list", "rayclusters"], found["list", "namespaces"]) == (1, 1)


async def test_without_the_right_to_watch_a_resource_it_is_read_again(
    watched: Cluster, bench: Lab
) -> None:
    await bench.create_finished(
        "train", annotations={"raysweep.io/ttl": "50w"}, with_cluster=False, head_status=None
    )
    ann = await kubeconfig_with(bench, "ann", WATCHES_JOBS, SEES_NAMESPACE)
    before = len(await watched.audit(USER_AGENT))
    async with terminal_session(
        [PROGRAM, "plan", "-w"], environment(watched, ann), columns=140
    ) as person:
        await person.sees("you may not watch Namespaces, so they are read again every 10 s")
        await person.sees_that(lambda text: "NotDue" in row(text, "train"))
        await bench.annotate_namespace({"raysweep.io/keep-until": FAR})
        await person.sees_that(lambda text: "KeptByUser" in row(text, "train"))
    assert person.text.count("you may not watch") == 1
    assert (await asked(watched, before))["list", "rayjobs"] == 1


async def test_why_ends_with_the_event_of_its_deletion(watched: Cluster, bench: Lab) -> None:
    await bench.create_finished(
        "train", annotations={"raysweep.io/ttl": "20s"}, ended_at=utc_now() + timedelta(seconds=5)
    )
    kubeconfig = await watched.kubeconfig_for("raysweep", "raysweep")
    command = [PROGRAM, "why", "train", "--watch", "-n", bench.namespace]
    async with (
        running_operator(watched, kubeconfig),
        terminal_session(command, environment(watched), columns=140) as person,
    ):
        await person.sees(f"RayJob {bench.namespace}/train ")
        await person.ends(0)
    assert f"RayJob {bench.namespace}/train was deleted." in person.text
    assert "Expired  Deleted RayJob train" in person.text
    assert person.is_as_before
