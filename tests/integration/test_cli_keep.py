"""`kubectl raysweep keep` on a real API server, and the commands that it prints."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import yaml

from tests.support.person import Answer, Person, kubeconfig_with
from tests.support.workbench import Body, Lab, rfc3339, utc_now

KEPT, WHY = "raysweep.io/keep-until", "raysweep.io/keep-reason"
AN_HOUR: Body = {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 3600}


@pytest.fixture
def person(lab: Lab) -> Person:
    cluster = lab.cluster
    return Person(
        cluster.kubeconfig,
        cluster.kubectl,
        lab.namespace,
        {"RAYSWEEP_HEAD_PROXY": cluster.head_proxy},
    )


async def keeps(person: Person, *words: str) -> Answer:
    return await person.types("raysweep", "keep", "-n", person.namespace, *words)


async def metadata(lab: Lab, name: str) -> Body:
    rayjob = await lab.get("rayjobs", name)
    assert rayjob is not None
    found: Body = rayjob["metadata"]
    return found


async def running(lab: Lab, name: str, **annotations: str) -> None:
    """Creates a RayJob with a running job and its RayCluster."""
    rayjob = await lab.create(name, annotations=annotations)
    await lab.create_cluster(rayjob, f"{name}-c")
    await lab.set_status(
        name,
        {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": f"{name}-c"},
    )


async def test_a_held_rayjob_is_kept_until_the_hold_is_removed(lab: Lab, person: Person) -> None:
    await running(lab, "train", **{"raysweep.io/ttl": "0"})
    before = utc_now()
    answer = await keeps(person, "train", "3d", "--reason", "the loss 'explodes'")
    assert answer.code == 0, answer.err
    kept = await metadata(lab, "train")
    until = datetime.fromisoformat(kept["annotations"][KEPT])
    assert timedelta(days=3) <= until - before <= timedelta(days=3, minutes=1)
    assert kept["annotations"][KEPT] == rfc3339(until)
    assert kept["annotations"][WHY] == "the loss 'explodes'"
    assert "kubectl-raysweep" in {entry["manager"] for entry in kept["managedFields"]}
    first_line = answer.out.splitlines()[0]
    for part in (f"RayJob {lab.namespace}/train", rfc3339(until), "the loss 'explodes'"):
        assert part in first_line

    ended = utc_now() - timedelta(seconds=1)
    await lab.head.put_record("it", status="SUCCEEDED", start_time=ended, end_time=ended)
    await lab.set_status(
        "train",
        {
            "jobDeploymentStatus": "Complete",
            "jobStatus": "SUCCEEDED",
            "jobId": "it",
            "endTime": rfc3339(ended),
        },
    )
    await lab.wait_until_judged()
    why = await person.types("raysweep", "why", "train", "-n", lab.namespace, "-o", "json")
    assert (why.json["decision"], why.json["reason"]) == ("wait", "KeptByUser")
    assert await lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}

    answer = await keeps(person, "train", "2199-01-01T00:00:00+01:00", "-o", "json")
    assert (answer.code, answer.json["keepUntil"], answer.json["keepReason"]) == (
        0,
        "2198-12-31T23:00:00Z",
        None,
    )
    assert (answer.json["withoutHold"]["decision"], answer.json["withoutHold"]["at"]) == (
        "delete",
        answer.json["generatedAt"],
    )
    assert (await metadata(lab, "train"))["annotations"] == {
        "raysweep.io/ttl": "0",
        KEPT: "2198-12-31T23:00:00Z",
    }
    assert await lab.requested("train", "delete") == []

    cleared = await keeps(person, "train", "--clear")
    assert (cleared.code, cleared.out.splitlines()[0]) == (
        0, f"RayJob {lab.namespace}/train has no hold of its own anymore",
    )  # fmt: skip
    await lab.expect_deleted("rayjobs", "train")
    await lab.expect_deleted("rayclusters", "train-c")


async def test_clear_without_a_hold_succeeds(lab: Lab, person: Person) -> None:
    await running(lab, "train")
    version = (await metadata(lab, "train"))["resourceVersion"]
    assert (await keeps(person, "train", "--clear")).code == 0
    assert (await metadata(lab, "train"))["resourceVersion"] == version


async def test_a_hold_that_fails_names_the_rayjob_or_the_missing_right(
    lab: Lab, person: Person
) -> None:
    nobody = await keeps(person, "nobody", "3d")
    assert (nobody.code, nobody.out) == (1, "")
    assert f"RayJob {lab.namespace}/nobody" in nobody.err

    await lab.create_finished("going", metadata={"finalizers": ["test/stays"]}, with_cluster=False)
    await lab.cluster.api.delete(lab.path("rayjobs", "going"))
    going = await keeps(person, "going", "3d")
    assert (going.code, going.out) == (1, "")
    assert f"{lab.namespace}/going" in going.err

    await running(lab, "train")
    sees: Body = {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["get"]}
    spectator = replace(person, kubeconfig=await kubeconfig_with(lab, "spectator", sees))
    refused = await keeps(spectator, "train", "3d")
    assert (refused.code, refused.out) == (1, "")
    assert 'cannot patch resource "rayjobs"' in refused.err
    assert KEPT not in (await metadata(lab, "train")).get("annotations", {})

    keeper = replace(
        person, kubeconfig=await kubeconfig_with(lab, "keeper", sees | {"verbs": ["get", "patch"]})
    )
    kept = await keeps(keeper, "train", "3d")
    assert kept.code == 0
    assert KEPT in (await metadata(lab, "train"))["annotations"]


RULES = [
    {"policy": "DeleteCluster", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 3600}},
    {"policy": "DeleteSelf", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 7200}},
    {"policy": "DeleteCluster", "condition": {"jobStatus": "FAILED", "ttlSeconds": 9000}},
]
QUEUED = {"kueue.x-k8s.io/queue-name": "team"}
FORMS = [
    pytest.param(AN_HOUR, {}, id="shutdown with a TTL"),
    pytest.param({"deletionStrategy": {"deletionRules": RULES}}, {}, id="rules"),
    pytest.param(
        {
            "deletionStrategy": {
                "onSuccess": {"policy": "DeleteCluster"},
                "onFailure": {"policy": "DeleteSelf"},
            }
        } | AN_HOUR, {},
        id="the older form",
    ),
    pytest.param({"deletionPolicy": "DeleteSelf"} | AN_HOUR, {}, id="the oldest form"),
    pytest.param(AN_HOUR, QUEUED, id="queued by Kueue"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "labels"), FORMS)
async def test_the_printed_command_stops_the_kuberay_cleanup(
    lab: Lab, person: Person, spec: Body, labels: Body
) -> None:
    await lab.create_finished("train", spec=spec, labels=labels)
    stored = await lab.get("rayjobs", "train")
    assert stored is not None
    acts = (
        "deletionStrategy" in stored["spec"] or AN_HOUR.items() <= stored["spec"].items()
    )  # CRDs leave out what they do not know
    asks = ("raysweep", "why", "train", "-n", lab.namespace, "--no-ask", "-o", "json")
    before = (await person.types(*asks)).json

    answer = await keeps(person, "train", "3d")
    assert answer.code == (3 if acts else 0), answer.out
    if not acts:
        return
    pasted = await person.pastes(answer.out.splitlines()[-1])
    assert (pasted.code, pasted.err) == (0, "")

    again = await keeps(person, "train", "3d", "-o", "json")
    assert (again.code, again.json["kuberayDeletesBefore"], again.json["patchCommand"]) == (
        0,
        False,
        None,
    )
    after = (await person.types(*asks)).json
    for time in ("ttl", "clusterTTL"):
        assert after[time]["value"] == before[time]["value"]
        assert " spec." not in after[time]["source"]
    changed = await lab.get("rayjobs", "train")
    assert changed is not None
    assert changed["spec"].get("shutdownAfterJobFinishes", False) is bool(labels)
    assert {"deletionStrategy", "deletionPolicy"} & set(changed["spec"]) == set()


async def test_the_printed_command_has_the_connection_flags_of_keep(
    lab: Lab, person: Person
) -> None:
    await lab.create_finished("train", spec=AN_HOUR)
    odd = person.kubeconfig.with_name("an odd name's kubeconfig")
    told = yaml.safe_load(person.kubeconfig.read_text())
    told["contexts"].append({"name": "my context", "context": told["contexts"][0]["context"]})
    odd.write_text(yaml.safe_dump(told | {"current-context": "nowhere"}))
    lost = replace(person, variables={**person.variables, "KUBECONFIG": "/nowhere/config"})

    answer = await keeps(lost, "train", "3d", "--kubeconfig", str(odd), "--context", "my context")
    assert answer.code == 3, answer.err
    pasted = await lost.pastes(answer.out.splitlines()[-1])
    assert (pasted.code, pasted.err) == (0, "")
    assert (await metadata(lab, "train"))["annotations"]["raysweep.io/ttl"] == "1h"


async def test_the_printed_command_fails_for_another_rayjob_of_the_same_name(
    lab: Lab, person: Person
) -> None:
    await lab.create_finished("train", spec=AN_HOUR)
    answer = await keeps(person, "train", "3d")
    for plural, name in (("rayjobs", "train"), ("rayclusters", "train-c")):
        await lab.cluster.api.delete(lab.path(plural, name))
        await lab.expect_deleted(plural, name)
    await lab.create_finished("train", spec=AN_HOUR)
    pasted = await person.pastes(answer.out.splitlines()[-1])
    assert pasted.code != 0
    rayjob = await lab.get("rayjobs", "train")
    assert rayjob is not None
    assert AN_HOUR.items() <= rayjob["spec"].items()
