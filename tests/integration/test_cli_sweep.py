"""`kubectl raysweep sweep` on a real API server: deletions, refusals, question and Ctrl-C."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio

from sandbox.cluster import Cluster
from sandbox.heads import Head
from sandbox.waiting import until
from tests.support.person import SEES_NAMESPACE, Answer, Person, kubeconfig_with
from tests.support.workbench import Body, Lab, utc_now

KEEP = {"raysweep.io/keep-until": "2199-01-01T00:00:00Z"}
SEES: Body = {
    "apiGroups": ["ray.io"],
    "resources": ["rayjobs", "rayclusters"],
    "verbs": ["get", "list"],
}
DELETES_RAYJOBS: Body = {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["delete"]}
RUNS: Body = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "endTime": None}


@pytest_asyncio.fixture
async def bench(cluster: Cluster, head: Head) -> Lab:
    """A namespace without TTLs, in which an operator deletes nothing."""
    return await Lab.open(cluster, head)


@pytest_asyncio.fixture(scope="module")
async def busy(cluster: Cluster) -> AsyncIterator[Head]:
    """Somebody's job runs there."""
    head = await cluster.heads.light("busy-for-sweeps")
    await head.put_record("somebodys", status="RUNNING", start_time=utc_now())
    yield head
    await head.stop()


@pytest.fixture
def person(bench: Lab) -> Person:
    cluster = bench.cluster
    return Person(
        cluster.kubeconfig,
        cluster.kubectl,
        bench.namespace,
        {"RAYSWEEP_HEAD_PROXY": cluster.head_proxy},
    )


async def sweeps(person: Person, *words: str) -> Answer:
    return await person.types("raysweep", "sweep", "-n", person.namespace, *words)


def results(answer: Answer) -> dict[str, tuple[str, str | None]]:
    """Name to result and reason."""
    return {name: (row["result"], row["reason"]) for name, row in answer.rows.items()}


async def test_finished_rayjobs_are_deleted_regardless_of_ttl_unless_a_check_refuses(
    bench: Lab, person: Person, busy: Head
) -> None:
    held = {"rayClusterStatus": {"desiredCPU": "8", "desiredGPU": "2", "desiredMemory": "32Gi"}}
    await bench.create_finished("nobody-said", status=held)
    await bench.create_finished("failed", outcome="FAILED", annotations={"raysweep.io/ttl": "1d"})
    await bench.create_finished(
        "never", outcome="STOPPED", annotations={"raysweep.io/ttl": "never"}
    )
    await bench.create_finished(
        "kuberay-ttl", spec={"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 9999}
    )
    await bench.create_finished("without", with_cluster=False, status={"rayClusterName": ""})
    await bench.create_finished("kept", annotations=KEEP)
    await bench.create_finished("running", status=RUNS)
    await bench.create_finished("shared", head=busy, head_status=None)
    await bench.create_finished("misspelt", annotations={"raysweep.io/ttl": "soon"})
    await bench.create_finished("foreign", with_cluster=False, status={"rayClusterName": "kept-c"})
    await bench.create_finished("tracked", annotations={"argocd.argoproj.io/tracking-id": "x"})
    await bench.create_finished(
        "going", metadata={"finalizers": ["test/stays"]}, with_cluster=False
    )
    await bench.cluster.api.delete(bench.path("rayjobs", "going"))
    expected = {
        "nobody-said": ("deleted", "Swept"),
        "failed": ("deleted", "Swept"),
        "never": ("deleted", "Swept"),
        "kuberay-ttl": ("deleted", "Swept"),
        "without": ("deleted", "Swept"),
        "kept": ("refused", "KeptByUser"),
        "running": ("refused", "NotFinished"),
        "shared": ("refused", "ClusterInUse"),
        "misspelt": ("refused", "Invalid"),
        "foreign": ("refused", "NotOwned"),
        "tracked": ("refused", "WillBeRecreated"),
        "going": ("gone", "BeingDeleted"),
        "nobody": ("not found", None),
    }

    before = await bench.remaining()
    dry = await sweeps(person, *expected, "--dry-run", "-o", "json")
    assert results(dry) == {
        name: ("to delete" if found == "deleted" else found, why)
        for name, (found, why) in expected.items()
    }
    assert (dry.code, dry.json["dryRun"]) == (3, True)
    assert await bench.remaining() == before

    answer = await sweeps(person, *expected, "--yes", "-o", "json")
    assert results(answer) == expected
    assert answer.code == 3
    assert [(d["kind"], d["name"]) for d in answer.rows["nobody-said"]["deletes"]] == [
        ("RayJob", "nobody-said"),
        ("RayCluster", "nobody-said-c"),
    ]
    assert answer.json["summary"]["frees"] == {"gpu": 2, "cpu": 8, "memory": 32 * 2**30}
    assert await bench.remaining() == {
        *(
            f"rayjobs/{name}"
            for name in ("kept", "running", "shared", "misspelt", "foreign", "tracked")
        ),
        *(f"rayclusters/{name}-c" for name in ("kept", "running", "shared", "misspelt", "tracked")),
    }
    note = await bench.expect_event("nobody-said", "Swept")
    assert "RayJob nobody-said and RayCluster nobody-said-c" in note


async def test_all_finished_deletes_only_finished_rayjobs(bench: Lab, person: Person) -> None:
    await bench.create_finished("one", labels={"team": "vision"})
    await bench.create_finished("two", labels={"team": "speech"})
    await bench.create_finished("running", labels={"team": "vision"}, status=RUNS)

    by_label = await sweeps(person, "-l", "team=vision", "--yes", "-o", "json")
    assert (by_label.code, results(by_label)) == (
        3,
        {"one": ("deleted", "Swept"), "running": ("refused", "NotFinished")},
    )
    finished = await sweeps(person, "-l", "team", "--all-finished", "--yes")
    assert finished.code == 0
    assert "1 deleted" in finished.out.splitlines()[-1]
    again = await sweeps(person, "--all-finished", "--yes", "-o", "json")
    assert (again.code, results(again)) == (0, {})
    assert await bench.remaining() == {"rayjobs/running", "rayclusters/running-c"}


async def test_in_all_namespaces_by_label(bench: Lab, person: Person) -> None:
    other = await Lab.open(bench.cluster, bench.head)
    for lab in (bench, other):
        await lab.create_finished("train", labels={"test": bench.namespace})
    answer = await person.types(
        "raysweep", "sweep", "-A", "-l", f"test={bench.namespace}", "--yes", "-o", "name"
    )
    assert (answer.code, sorted(answer.out.split())) == (
        0,
        ["raycluster.ray.io/train-c"] * 2 + ["rayjob.ray.io/train"] * 2,
    )
    assert await bench.remaining() | await other.remaining() == set()


async def test_without_a_right_the_error_of_the_api_server_is_reported(
    bench: Lab, person: Person
) -> None:
    await bench.create_finished("train")
    sees = replace(person, kubeconfig=await kubeconfig_with(bench, "sees", SEES, SEES_NAMESPACE))
    answer = await sweeps(sees, "train", "nobody", "--yes", "-o", "json")
    assert (answer.code, results(answer)) == (
        1,
        {"nobody": ("not found", None), "train": ("failed", "Swept")},
    )
    assert 'cannot delete resource "rayjobs"' in answer.rows["train"]["problem"]
    assert len(await bench.remaining()) == 2

    half = replace(
        person,
        kubeconfig=await kubeconfig_with(bench, "half", SEES, SEES_NAMESPACE, DELETES_RAYJOBS),
    )
    answer = await sweeps(half, "train", "--yes", "-o", "json")
    assert (answer.code, results(answer)) == (1, {"train": ("failed", "Swept")})
    assert [each["kind"] for each in answer.rows["train"]["deletes"]] == ["RayJob"]
    assert 'cannot delete resource "rayclusters"' in answer.rows["train"]["problem"]

    nothing = replace(person, kubeconfig=await kubeconfig_with(bench, "nothing"))
    answer = await sweeps(nothing, "--all-finished", "--yes")
    assert (answer.code, answer.out) == (1, "")
    assert 'cannot list resource "rayjobs"' in answer.err


async def test_a_user_who_may_not_get_the_namespace_deletes_nothing(
    bench: Lab, person: Person
) -> None:
    await bench.create_finished("train")
    blind = replace(person, kubeconfig=await kubeconfig_with(bench, "blind", SEES, DELETES_RAYJOBS))
    answer = await sweeps(blind, "train", "--yes", "-o", "json")
    assert (answer.code, results(answer)) == (3, {"train": ("refused", "NamespaceUnknown")})
    assert f"Namespace {bench.namespace}" in answer.err


@asynccontextmanager
async def operator_in_dry_run(cluster: Cluster) -> AsyncIterator[None]:
    """Sets the mode DryRun in the ConfigMap of the operator during the block."""
    api, maps = cluster.api, "/api/v1/namespaces/raysweep/configmaps"
    if not await api.find("/api/v1/namespaces/raysweep"):
        await api.request("POST", "/api/v1/namespaces", {"metadata": {"name": "raysweep"}})
    if not await api.find(f"{maps}/raysweep"):
        await api.request("POST", maps, {"metadata": {"name": "raysweep"}, "data": {}})
    await api.patch(f"{maps}/raysweep", {"data": {"RAYSWEEP_MODE": "DryRun"}})
    try:
        yield
    finally:
        await api.patch(f"{maps}/raysweep", {"data": {"RAYSWEEP_MODE": None}})


async def test_the_dry_run_of_the_operator_refuses_every_deletion(
    bench: Lab, person: Person
) -> None:
    await bench.create_finished("train")
    async with operator_in_dry_run(bench.cluster):
        answer = await sweeps(person, "train", "--yes", "-o", "json")
    assert (answer.code, results(answer), answer.json["mode"]) == (
        3,
        {"train": ("refused", "DryRun")},
        "DryRun",
    )
    assert answer.rows["train"]["dryRunBy"] == "the setting mode"
    assert (
        answer.rows["train"]["message"]
        == "the setting mode is set to DryRun, so nothing is deleted"
    )
    assert len(await bench.remaining()) == 2


async def test_without_a_terminal_it_requires_yes(bench: Lab, person: Person) -> None:
    await bench.create_finished("train")
    answer = await sweeps(person, "train")
    assert (answer.code, answer.out) == (2, "")
    assert "--yes" in answer.err
    assert len(await bench.remaining()) == 2


@pytest.mark.parametrize("typed", ["n", "", "yep", "N"])
async def test_every_answer_but_y_deletes_nothing(bench: Lab, person: Person, typed: str) -> None:
    await bench.create_finished("train")
    await bench.create_finished("kept", annotations=KEEP)
    answer = await person.is_asked(
        "raysweep", "sweep", "train", "kept", "-n", bench.namespace, answers=typed
    )
    assert answer.code == 3
    assert f"1 RayJob and 1 RayCluster in namespace {bench.namespace}? [y/N] " in answer.err
    assert [line.split()[1:5] for line in answer.out.splitlines()[1:]] == [
        ["kept", "-", "refused", "KeptByUser"],
        ["train", "RayJob+RayCluster", "to", "delete"],
    ]
    assert len(await bench.remaining()) == 4


@pytest.mark.parametrize("typed", ["y", "YES"])
async def test_y_deletes_what_the_question_listed(bench: Lab, person: Person, typed: str) -> None:
    await bench.create_finished("train")
    answer = await person.is_asked(
        "raysweep", "sweep", "--all-finished", "-n", bench.namespace, "-o", "json", answers=typed
    )
    assert (answer.code, results(answer)) == (0, {"train": ("deleted", "Swept")})
    assert "train-c" not in answer.err
    assert "RayJob+RayCluster" in answer.err  # stdout is the answer's
    assert await bench.remaining() == set()


async def test_without_a_candidate_it_does_not_ask(bench: Lab, person: Person) -> None:
    await bench.create_finished("kept", annotations=KEEP)
    async with person.typing(
        "raysweep", "sweep", "kept", "-n", bench.namespace, at_terminal=True
    ) as typed:
        assert await asyncio.wait_for(typed.process.wait(), 60) == 3
    assert b"[y/N]" not in typed.err


async def test_changes_before_the_answer_count(bench: Lab, person: Person) -> None:
    """Every RayJob is judged again right before its deletion."""
    for name in ("kept-meanwhile", "gone-meanwhile", "made-anew", "train"):
        await bench.create_finished(name)
    words = ("raysweep", "sweep", "--all-finished", "-n", bench.namespace, "-o", "json")
    async with person.typing(*words, at_terminal=True) as typed:
        await typed.says("4 RayJobs and 4 RayClusters in")
        await bench.annotate("kept-meanwhile", KEEP)
        for name in ("gone-meanwhile", "made-anew"):
            for plural, each in (("rayjobs", name), ("rayclusters", f"{name}-c")):
                await bench.cluster.api.delete(bench.path(plural, each))
                await bench.expect_deleted(plural, each)
        await bench.create_finished("made-anew")
        await bench.create_finished("finished-meanwhile")
        typed.enters("y")
        code = await asyncio.wait_for(typed.process.wait(), 60)
    answer = Answer(code, typed.out.decode(), typed.err.decode())
    assert (code, results(answer)) == (
        3,
        {
            "kept-meanwhile": ("refused", "KeptByUser"),
            "gone-meanwhile": ("gone", None),
            "made-anew": ("gone", None),
            "train": ("deleted", "Swept"),
        },
    )
    names = ("kept-meanwhile", "made-anew", "finished-meanwhile")
    assert await bench.remaining() == {f"rayjobs/{one}" for one in names} | {
        f"rayclusters/{one}-c" for one in names
    }


async def test_a_hold_of_the_namespace_before_the_answer_counts(bench: Lab, person: Person) -> None:
    await bench.create_finished("train")
    async with person.typing(
        "raysweep", "sweep", "train", "-n", bench.namespace, at_terminal=True
    ) as typed:
        await typed.says("[y/N] ")
        await bench.annotate_namespace(KEEP)
        typed.enters("y")
        assert await asyncio.wait_for(typed.process.wait(), 60) == 3
    assert b"KeptByUser" in typed.out
    assert len(await bench.remaining()) == 2


async def test_ctrl_c_at_the_question_deletes_nothing(bench: Lab, person: Person) -> None:
    await bench.create_finished("train")
    async with person.typing(
        "raysweep", "sweep", "train", "-n", bench.namespace, at_terminal=True
    ) as typed:
        await typed.says("[y/N] ")
        typed.press_ctrl_c()
        assert await asyncio.wait_for(typed.process.wait(), 60) == 130
    assert b"interrupted" in typed.err
    assert len(await bench.remaining()) == 2


async def seen(lab: Lab) -> int:
    """The number of GET requests of the command line for RayJobs and RayClusters named b-..."""
    asked = [
        event for event in await lab.cluster.audit("kubectl-raysweep") if event["verb"] == "get"
    ]
    objects: list[Body] = [event.get("objectRef", {}) for event in asked]
    names = [each.get("name", "") for each in objects if each.get("namespace") == lab.namespace]
    return len([name for name in names if name.startswith("b-")])


@pytest_asyncio.fixture
async def hangs(bench: Lab) -> AsyncIterator[Head]:
    """A head that hangs until it is resumed."""
    head = await bench.cluster.heads.light(f"hangs-{bench.namespace}")
    yield head
    head.resume()
    await head.stop()


async def test_ctrl_c_during_deletions_starts_no_more_and_reports_the_results(
    bench: Lab, person: Person, hangs: Head
) -> None:
    """Eight deletions run at once. The heads of eight RayJobs hang, and the last RayJob waits."""
    ago = utc_now() - timedelta(minutes=1)
    await bench.create_finished("a-train", ended_at=ago)
    for number in range(9):
        await bench.create_finished(f"b-{number}", ended_at=ago, head=hangs)
    hangs.suspend()
    words = ("raysweep", "sweep", "--all-finished", "-n", bench.namespace, "-o", "json")

    async def is_stuck_after(many: int, before: int = 0) -> bool:
        return await seen(bench) == before + many

    async with person.typing(*words, "--yes") as typed:
        await until(lambda: is_stuck_after(16), timeout=60)
        typed.press_ctrl_c()
        await typed.says("Ctrl-C")
        code = await asyncio.wait_for(typed.process.wait(), 90)
    answer = Answer(code, typed.out.decode(), typed.err.decode())
    silent = {f"b-{number}": ("refused", "HeadUnreachable") for number in range(8)}
    assert (code, answer.json["interrupted"]) == (130, True)
    assert results(answer) == {
        "a-train": ("deleted", "Swept"),
        **silent,
        "b-8": ("not reached", None),
    }
    assert len(await bench.remaining()) == 18

    before = await seen(bench)
    async with person.typing(*words, "--yes") as typed:
        await until(lambda: is_stuck_after(16, before), timeout=60)
        typed.press_ctrl_c()
        await typed.says("Ctrl-C")
        typed.press_ctrl_c()
        code = await asyncio.wait_for(typed.process.wait(), 30)
    answer = Answer(code, typed.out.decode(), typed.err.decode())
    assert (code, results(answer)) == (
        130,
        dict.fromkeys(silent, ("failed", None)) | {"b-8": ("not reached", None)},
    )

    before = await seen(bench)
    async with person.typing(*words, "--dry-run") as typed:
        await until(lambda: is_stuck_after(9, before), timeout=60)
        typed.press_ctrl_c()
        code = await asyncio.wait_for(typed.process.wait(), 30)
    assert (code, bytes(typed.out)) == (130, b"")
    assert b"interrupted" in typed.err


@pytest.mark.parametrize(
    ("annotations", "came"),
    [
        pytest.param({"example.com/note": "mine"}, ("deleted", "Swept"), id="it goes all the same"),
        pytest.param(KEEP, ("refused", "KeptByUser"), id="it is kept now"),
    ],
)
async def test_a_change_during_the_query_of_the_head_is_judged_again(
    bench: Lab, person: Person, hangs: Head, annotations: dict[str, str], came: tuple[str, str]
) -> None:
    await bench.create_finished("b-train", head=hangs)
    hangs.suspend()

    async def is_at_its_head() -> bool:
        return await seen(bench) == 2

    async with person.typing(
        "raysweep", "sweep", "b-train", "-n", bench.namespace, "--yes", "-o", "json"
    ) as typed:
        await until(is_at_its_head, timeout=60)
        await bench.annotate("b-train", annotations)
        hangs.resume()
        code = await asyncio.wait_for(typed.process.wait(), 60)
    assert results(Answer(code, typed.out.decode(), typed.err.decode())) == {"b-train": came}
    deletions = [
        event
        for event in await bench.cluster.audit("kubectl-raysweep")
        if event["verb"] == "delete"
    ]
    told = [(event["objectRef"], event["responseStatus"]["code"]) for event in deletions]
    codes = [
        code
        for ref, code in told
        if (ref["resource"], ref.get("namespace")) == ("rayjobs", bench.namespace)
    ]
    assert codes == ([409, 200] if came[0] == "deleted" else [409])
