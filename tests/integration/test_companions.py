"""Submits files with a RayJob and other objects to a real API server, without a head."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from refused_specs import BASE, merge
from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.heads import Head
from tests.support.person import Answer, Person, kubeconfig_with
from tests.support.workbench import Body, Lab

CODE: Body = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "code"},
    "data": {"train.py": "print(1)"},
}
SECRET: Body = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "token"},
    "stringData": {"token": "s3cr3t"},
}
CLAIM: Body = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
ACCOUNT: Body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "trainer"}}
RAYJOB: Body = merge(BASE, {"metadata": {"namespace": None}})
NO_HEAD = ("--head-timeout", "1s")


@pytest_asyncio.fixture(scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    """A sandbox with the newest CRDs and without the operator."""
    async with sandbox_cluster.start(say=lambda _: None) as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def head(cluster: Cluster) -> Head:
    """A head that no test queries."""
    return await cluster.heads.light("quiet")


@pytest_asyncio.fixture
async def lab(cluster: Cluster, head: Head) -> Lab:
    return await Lab.open(cluster, head)


@pytest.fixture
def person(lab: Lab) -> Person:
    return Person(lab.cluster.kubeconfig, lab.cluster.kubectl, lab.namespace)


async def submits(person: Person, folder: Path, bodies: list[Body], *words: str) -> Answer:
    """Writes a file with these documents."""
    file = folder / "job.yaml"
    await asyncio.to_thread(file.write_text, "---\n".join(yaml.safe_dump(one) for one in bodies))
    return await person.submits("-f", str(file), *words)


async def there(lab: Lab) -> set[str]:
    """The objects that a test created in the lab."""
    core = f"/api/v1/namespaces/{lab.namespace}"
    found: set[str] = set()
    for plural in ("configmaps", "secrets", "persistentvolumeclaims", "serviceaccounts"):
        items = (await lab.cluster.api.request("GET", f"{core}/{plural}"))["items"]
        named = {one["metadata"]["name"] for one in items} - {"default", "kube-root-ca.crt"}
        found |= {f"{plural}/{name}" for name in named}
    return found | {one for one in await lab.remaining() if one.startswith("rayjobs/")}


async def test_other_objects_are_applied_before_the_rayjob_and_stay_if_it_fails(
    lab: Lab, person: Person, tmp_path: Path
) -> None:
    answer = await submits(person, tmp_path, [CODE, RAYJOB, SECRET, CLAIM, ACCOUNT], *NO_HEAD)
    assert answer.code == 5
    lines = answer.err.splitlines()
    titles = [
        f"{one['kind']} {lab.namespace}/{one['metadata']['name']}"
        for one in (CODE, SECRET, CLAIM, ACCOUNT)
    ]
    told = [f"raysweep: applied {title}" for title in titles]
    assert [line for line in lines if "applied" in line][:4] == told
    assert lines.index(told[-1]) < lines.index(f"raysweep: created RayJob {lab.namespace}/train")
    assert lines[-1].endswith(f". Applied and kept: {', '.join(titles)}")
    assert await there(lab) == {
        "configmaps/code",
        "secrets/token",
        "persistentvolumeclaims/data",
        "serviceaccounts/trainer",
    }
    code = await lab.cluster.api.request(
        "GET", f"/api/v1/namespaces/{lab.namespace}/configmaps/code"
    )
    assert {one["manager"] for one in code["metadata"]["managedFields"]} == {"kubectl-raysweep"}
    assert "s3cr3t" not in answer.err + answer.out


async def test_changed_objects_are_applied_again(lab: Lab, person: Person, tmp_path: Path) -> None:
    await submits(person, tmp_path, [CODE, RAYJOB], *NO_HEAD)
    await submits(
        person, tmp_path, [merge(CODE, {"data": {"train.py": "print(2)"}}), RAYJOB], *NO_HEAD
    )
    code = await lab.cluster.api.request(
        "GET", f"/api/v1/namespaces/{lab.namespace}/configmaps/code"
    )
    assert code["data"] == {"train.py": "print(2)"}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        pytest.param(
            {"apiVersion": "example.com/v1", "kind": "Dataset", "metadata": {"name": "mnist"}},
            "Dataset {namespace}/mnist: the API server has no kind 'Dataset' in 'example.com/v1'",
            id="an unknown group",
        ),
        pytest.param(
            {"apiVersion": "v1", "kind": "Dataset", "metadata": {"name": "mnist"}},
            "the API server has no kind 'Dataset' in 'v1'",
            id="an unknown kind",
        ),
        pytest.param(
            merge(CODE, {"data": {"train.py": 7}}),
            "ConfigMap {namespace}/code: PATCH ",
            id="one that is invalid",
        ),
        pytest.param(
            merge(CODE, {"metadata": {"namespace": "nowhere"}}),
            'namespaces "nowhere" not found',
            id="no such namespace",
        ),
    ],
)
async def test_an_object_that_cannot_be_applied_is_an_error_before_any_creation(
    lab: Lab, person: Person, tmp_path: Path, other: Body, said: str
) -> None:
    file = tmp_path / "job.yaml"
    documents = [ACCOUNT, other, RAYJOB]
    await asyncio.to_thread(file.write_text, "---\n".join(yaml.safe_dump(one) for one in documents))
    answer = await person.types("raysweep", "submit", "-f", str(file), *NO_HEAD)
    assert answer.code == 2
    assert said.format(namespace=lab.namespace) in answer.err.replace(
        "default/", f"{lab.namespace}/"
    )
    assert await there(lab) == set()


async def test_a_missing_right_is_an_error_before_any_creation(lab: Lab, tmp_path: Path) -> None:
    rights: list[Body] = [
        {
            "apiGroups": ["ray.io"],
            "resources": ["rayjobs"],
            "verbs": ["create", "get", "patch", "delete"],
        },
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "patch"]},
    ]
    bob = Person(await kubeconfig_with(lab, "bob", *rights), lab.cluster.kubectl, lab.namespace)
    answer = await submits(bob, tmp_path, [CODE, SECRET, RAYJOB], *NO_HEAD)
    assert answer.code == 2
    assert f"Secret {lab.namespace}/token: PATCH" in answer.err
    assert 'cannot patch resource "secrets"' in answer.err
    assert await there(lab) == {"serviceaccounts/bob"}
    assert (await submits(bob, tmp_path, [CODE, RAYJOB], *NO_HEAD)).code == 5  # no head comes


async def test_a_conflict_with_another_field_manager_is_an_error_before_any_creation(
    lab: Lab, person: Person, tmp_path: Path
) -> None:
    file = tmp_path / "code.yaml"
    await asyncio.to_thread(file.write_text, json.dumps(CODE))
    assert (await person.types("apply", "-n", lab.namespace, "-f", str(file))).code == 0
    answer = await submits(
        person, tmp_path, [merge(CODE, {"data": {"train.py": "print(2)"}}), RAYJOB], *NO_HEAD
    )
    assert answer.code == 2
    assert 'conflict with "kubectl-client-side-apply"' in answer.err
    assert await there(lab) == {"configmaps/code"}


async def test_a_rejected_rayjob_leaves_nothing_applied(
    lab: Lab, person: Person, tmp_path: Path
) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "driver", "uid": ""}
    odd = merge(RAYJOB, {"metadata": {"ownerReferences": [owner]}})
    answer = await submits(person, tmp_path, [CODE, odd], *NO_HEAD)
    assert answer.code == 5
    assert await there(lab) == set()


async def test_a_name_conflict_leaves_nothing_applied(
    lab: Lab, person: Person, tmp_path: Path
) -> None:
    await lab.create_finished("train")
    assert (await submits(person, tmp_path, [CODE, RAYJOB], *NO_HEAD)).code == 3
    assert await there(lab) == {"rayjobs/train"}


async def test_a_file_can_create_the_namespace_of_its_objects(
    lab: Lab, person: Person, tmp_path: Path
) -> None:
    own = f"{lab.namespace}-own"
    space: Body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": own}}
    elsewhere = merge(CODE, {"metadata": {"namespace": own}})
    file = tmp_path / "job.yaml"
    rayjob = merge(RAYJOB, {"metadata": {"namespace": lab.namespace}})
    await asyncio.to_thread(
        file.write_text, "---\n".join(yaml.safe_dump(one) for one in (space, elsewhere, rayjob))
    )
    answer = await person.types("raysweep", "submit", "-f", str(file), *NO_HEAD)
    assert answer.code == 5, answer.err
    found = await lab.cluster.api.request("GET", f"/api/v1/namespaces/{own}/configmaps/code")
    assert found["data"] == CODE["data"]


async def test_dry_runs_print_every_object_and_apply_none(
    lab: Lab, person: Person, tmp_path: Path
) -> None:
    whole = await submits(person, tmp_path, [CODE, RAYJOB], "--dry-run=client", "-o", "json")
    assert (whole.code, whole.json["kind"]) == (0, "List"), whole.err
    assert [one["kind"] for one in whole.json["items"]] == ["ConfigMap", "RayJob"]
    texts = await submits(person, tmp_path, [CODE, RAYJOB], "--dry-run=server")
    assert [one["kind"] for one in yaml.safe_load_all(texts.out)] == ["ConfigMap", "RayJob"]
    names = await submits(person, tmp_path, [CODE, RAYJOB], "--dry-run=server", "-o", "name")
    assert names.out.split() == ["configmap/code", "rayjob.ray.io/train"]
    assert await there(lab) == set()


async def test_name_selects_one_of_several_rayjobs(
    lab: Lab, person: Person, tmp_path: Path
) -> None:
    second = merge(RAYJOB, {"metadata": {"name": "evaluate"}})
    refused = await submits(person, tmp_path, [CODE, RAYJOB, second], *NO_HEAD)
    assert refused.code == 2
    assert "train, evaluate" in refused.err
    assert "--name" in refused.err
    assert (await submits(person, tmp_path, [RAYJOB, second], "--name", "other")).code == 2
    assert await there(lab) == set()

    picked = await submits(person, tmp_path, [CODE, RAYJOB, second], "--name", "evaluate", *NO_HEAD)
    assert f"RayJob {lab.namespace}/evaluate" in picked.err


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        pytest.param([CODE, ACCOUNT], "has no RayJob of ray.io", id="no RayJob"),
        pytest.param(
            [RAYJOB, {"kind": "ConfigMap"}],
            "has no apiVersion, kind or metadata.name",
            id="a nameless one",
        ),
        pytest.param([RAYJOB, [1]], "has a document that is not an object: number 2", id="a list"),
        pytest.param(
            [RAYJOB, merge(CODE, {"metadata": {"namespace": "b"}})],
            "has namespace b",
            id="another namespace than -n",
        ),
    ],
)
async def test_files_that_cannot_be_submitted(
    lab: Lab, person: Person, tmp_path: Path, documents: list[Body], said: str
) -> None:
    answer = await submits(person, tmp_path, documents)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


async def test_a_list_is_treated_as_its_items(lab: Lab, person: Person, tmp_path: Path) -> None:
    whole: Body = {"apiVersion": "v1", "kind": "List", "items": [CODE, RAYJOB]}
    answer = await submits(person, tmp_path, [whole], "--dry-run=client", "-o", "name")
    assert answer.out.split() == ["configmap/code", "rayjob.ray.io/train"]
