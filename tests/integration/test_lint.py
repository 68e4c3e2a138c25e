"""`kubectl raysweep lint --live` on a real API server, with all and with few rights."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.heads import Head
from tests.support.operator_process import POLICIES, deploy
from tests.support.person import SEES_NAMESPACE, Answer, Person, kubeconfig_with
from tests.support.workbench import Body, Lab

SEES_JOBS: Body = {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["list"]}
CLI, OPERATOR = "kubectl-raysweep", "raysweep"


@pytest_asyncio.fixture(scope="module")
async def unattended() -> AsyncIterator[Cluster]:
    """A sandbox with an installed Raysweep whose operator does not run."""
    async with sandbox_cluster.start(say=lambda _: None) as running:
        await deploy(running)
        yield running


@pytest_asyncio.fixture(scope="module")
async def head(unattended: Cluster) -> Head:
    """A head that no test queries."""
    return await unattended.heads.light("quiet")


@pytest_asyncio.fixture
async def lab(unattended: Cluster, head: Head) -> Lab:
    """A namespace with an invalid annotation, and RayJobs with invalid annotations."""
    lab = await Lab.open(unattended, head, annotations={"raysweep.io/ttl": "one day"})
    await lab.create(
        "misspelt", annotations={"raysweep.io/ttl-fail": "1d"}, labels={"team": "vision"}
    )
    await lab.create(
        "forged",
        annotations={"raysweep.io/outcome": "succeeded 2026-11-22T19:38:36Z"},
        labels={"team": "speech"},
    )
    await lab.create("good", annotations={"raysweep.io/ttl": "1d"}, labels={"team": "vision"})
    return lab


def admin(lab: Lab) -> Person:
    return Person(lab.cluster.kubeconfig, lab.cluster.kubectl, lab.namespace)


async def person_with(lab: Lab, name: str, *rules: Body) -> Person:
    """A service account with these rights in the namespace of the lab."""
    return Person(await kubeconfig_with(lab, name, *rules), lab.cluster.kubectl, lab.namespace)


async def linted(person: Person, *words: str) -> Answer:
    return await person.types("raysweep", "lint", "--live", *words)


def found(answer: Answer) -> dict[tuple[str, str], str]:
    """The failed rule by kind and name of the object."""
    return {(item["kind"], item["name"]): item["rule"] for item in answer.json["items"]}


async def test_every_problem_of_a_namespace_is_reported(lab: Lab) -> None:
    answer = await linted(admin(lab), "-n", lab.namespace, "-o", "json")
    assert answer.code == 3
    assert found(answer) == {
        ("RayJob", "misspelt"): "unknown-key",
        ("RayJob", "forged"): "written-outcome",
        ("Namespace", lab.namespace): "invalid-value",
    }
    assert (answer.json["namespace"], answer.json["server"]) == (lab.namespace, lab.cluster.server)
    assert (
        answer.err.splitlines()[-1]
        == f"4 objects in namespace {lab.namespace}: 3 errors, 0 warnings"
    )


async def test_the_text_output_names_object_and_key(lab: Lab) -> None:
    answer = await linted(admin(lab), "-n", lab.namespace, "-l", "team=vision")
    assert answer.code == 3
    key = "annotation 'raysweep.io/ttl-fail': unknown key: did you mean raysweep.io/ttl-failed?"
    assert answer.out.splitlines()[0] == f"RayJob {lab.namespace}/misspelt: error: {key}"
    assert answer.out.splitlines()[1].startswith(
        f"Namespace {lab.namespace}: error: annotation raysweep.io/ttl: invalid duration 'one day'"
    )
    assert "forged" not in answer.out


async def test_all_namespaces_are_checked(lab: Lab) -> None:
    answer = await linted(admin(lab), "-A", "-o", "json")
    assert found(answer)["Namespace", lab.namespace] == "invalid-value"
    assert answer.json["namespace"] is None
    assert answer.err.splitlines()[-1].partition(":")[0].endswith("objects in all namespaces")


async def test_an_outcome_of_the_operator_is_valid(lab: Lab) -> None:
    """The API server records the user agent of a client as field manager."""
    person = admin(lab)
    merged = '{"metadata": {"annotations": {"raysweep.io/outcome": "failed 2026-11-22T19:38:36Z"}}}'
    words = ("-n", lab.namespace, "--type", "merge", "-p", merged, "--field-manager", OPERATOR)
    assert (await person.types("patch", "rayjob", "good", *words)).code == 0
    assert ("RayJob", "good") not in found(await linted(person, "-n", lab.namespace, "-o", "json"))


async def test_a_user_who_may_get_the_namespace_gets_all_problems(lab: Lab) -> None:
    ann = await person_with(lab, "ann", SEES_JOBS, SEES_NAMESPACE)
    answer = await linted(ann, "-o", "json")  # her kubeconfig names the namespace
    assert (answer.code, len(answer.json["items"])) == (3, 3)
    assert [note.partition(",")[0] for note in answer.json["notes"]] == [
        "you may not read ConfigMap raysweep in namespace raysweep"
    ]


async def test_a_user_who_may_list_rayjobs_only_gets_notes_about_the_rest(lab: Lab) -> None:
    bob = await person_with(lab, "bob", SEES_JOBS)
    answer = await linted(bob)
    assert answer.code == 3
    assert [line.split(":")[0] for line in answer.out.splitlines()] == [
        f"RayJob {lab.namespace}/forged",
        f"RayJob {lab.namespace}/misspelt",
    ]
    assert f"Namespace {lab.namespace}" in answer.err


async def test_a_user_without_rights_gets_the_error_of_the_api_server(lab: Lab) -> None:
    eve = await person_with(lab, "eve")
    for words in ((), ("-A",)):
        answer = await linted(eve, *words)
        assert (answer.code, answer.out) == (1, "")
        assert 'cannot list resource "rayjobs" in API group "ray.io"' in answer.err


async def test_files_are_checked_without_a_kubeconfig_as_the_api_server_does(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """lint and kubectl reject the same values that are not strings."""
    folder = tmp_path_factory.mktemp("manifests")
    for value, is_taken in (
        ("3600", False),
        ("yes", False),
        ("", True),
        ('"3600"', True),
        ("2026-12-24T18:00:00Z", True),
        ("1:30", True),
    ):
        file = folder / "namespace.yaml"
        file.write_text(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: tried\n"
            f"  annotations: {{raysweep.io/keep-reason: {value}}}\n"
        )
        person = admin(lab)
        applied = await person.types("create", "--dry-run=server", "-f", str(file))
        assert (applied.code == 0) == is_taken, applied.err
        nowhere = Person(folder / "no-kubeconfig", lab.cluster.kubectl, lab.namespace)
        checked = await nowhere.types("raysweep", "lint", str(file))
        assert ("in YAML, and the API server takes texts only" in checked.out) != is_taken


async def test_lint_wrote_nothing(lab: Lab) -> None:
    await linted(admin(lab), "-A")
    requests = await lab.cluster.audit(CLI)
    assert requests
    assert {request["verb"] for request in requests} <= {"get", "list"}


async def test_live_policies_are_checked_one_by_one_and_together(lab: Lab) -> None:
    await lab.set_policy(
        "long", {"retention": {"rayJob": {"default": "30d"}}, "limits": {"rayJob": {"min": "10d"}}}
    )
    await lab.set_policy(
        "short", {"retention": {"rayJob": {"default": "1d"}}, "limits": {"rayJob": {"max": "5d"}}}
    )
    try:
        answer = await linted(admin(lab), "-A")
    finally:
        for item in (await lab.cluster.api.request("GET", POLICIES))["items"]:
            await lab.delete_policy(item["metadata"]["name"])
    (told,) = [line for line in answer.out.splitlines() if line.startswith("RayJobCleanupPolicy")]
    assert told.startswith("RayJobCleanupPolicy short: warning: spec.limits: limits conflict")
    assert "RayJobCleanupPolicy long spec.limits.rayJob.min 1w3d contradicts" in told
    assert (
        "RayJobCleanupPolicy long has the same priority 0 and also sets retention.rayJob.default: "
        "long takes precedence" in told
    )
