"""Policies in plan, why, keep and sweep, also for users who may not read them."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from tests.support.operator_process import POLICIES
from tests.support.person import Person, kubeconfig_with
from tests.support.workbench import Body, Lab, utc_now

SEES: list[Body] = [
    {"apiGroups": ["ray.io"], "resources": ["rayjobs", "rayclusters"], "verbs": ["get", "list"]},
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
]
READER = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/raysweep-policy-reader"


@pytest_asyncio.fixture
async def policies(lab: Lab) -> AsyncIterator[Lab]:
    """The lab. All policies, which are cluster-scoped, are deleted after the test."""
    yield lab
    for item in (await lab.cluster.api.request("GET", POLICIES))["items"]:
        await lab.delete_policy(item["metadata"]["name"])


@pytest.fixture
def person(policies: Lab) -> Person:
    cluster = policies.cluster
    return Person(
        cluster.kubeconfig,
        cluster.kubectl,
        policies.namespace,
        {"RAYSWEEP_HEAD_PROXY": cluster.head_proxy},
    )


async def test_why_names_policies_their_times_and_limits(policies: Lab, person: Person) -> None:
    await policies.set_policy("defaults", {"retention": {"rayJob": {"default": "2d"}}})
    await policies.set_policy("bounds", {"priority": 3, "limits": {"rayCluster": {"max": "1h"}}})
    await policies.create_finished("train")

    why = await person.types("raysweep", "why", "train", "-n", policies.namespace)
    default = "RayJobCleanupPolicy defaults spec.retention.rayJob.default"
    limit = "RayJobCleanupPolicy bounds spec.limits.rayCluster.max"
    assert re.search(rf"^ *ttl +2d.*{re.escape(default)}", why.out, re.MULTILINE)
    assert re.search(rf"^ *cluster-ttl +1h.*{re.escape(default)}.*{limit}", why.out, re.MULTILINE)
    words = ("raysweep", "why", "train", "-n", policies.namespace, "-o", "json")
    body = (await person.types(*words)).json
    assert body["policies"] == ["bounds", "defaults"]
    assert limit in body["clusterTTL"]["clamp"]


async def test_the_dry_run_of_a_policy_is_in_the_plan_and_stops_a_sweep(
    policies: Lab, person: Person
) -> None:
    await policies.set_policy("stop", {"mode": "DryRun"})
    await policies.condition("stop", "Accepted")
    await policies.create_finished(
        "train", annotations={"raysweep.io/ttl": "0"}, ended_at=utc_now()
    )
    await policies.expect_event("train", "Expired")

    plan = await person.types("raysweep", "plan", "-n", policies.namespace, "--ask")
    assert "Expired (DryRun)" in plan.out
    assert "DryRun" in plan.err
    why = await person.types("raysweep", "why", "train", "-n", policies.namespace)
    assert "RayJobCleanupPolicy stop is set to DryRun" in why.out
    swept = await person.types(
        "raysweep", "sweep", "train", "-n", policies.namespace, "--yes", "-o", "json"
    )
    assert (swept.code, swept.rows["train"]["dryRunBy"]) == (3, "RayJobCleanupPolicy stop")
    assert await policies.remaining() == {"rayjobs/train", "rayclusters/train-c"}


async def test_keep_names_the_limit_of_a_policy(policies: Lab, person: Person) -> None:
    await policies.set_policy("bounds", {"limits": {"keep": {"max": "2h"}}})
    await policies.create_finished("train", annotations={"raysweep.io/ttl": "1h"})

    kept = await person.types("raysweep", "keep", "train", "3d", "-n", policies.namespace)
    assert kept.code == 0
    assert (
        "RayJobCleanupPolicy bounds spec.limits.keep.max limits the hold to 2h after the due time"
        in kept.out
    )


async def test_a_sweep_ignores_the_retention_of_policies(policies: Lab, person: Person) -> None:
    await policies.set_policy(
        "long", {"retention": {"rayJob": {"default": "never"}}, "limits": {"rayJob": {"min": "1d"}}}
    )
    await policies.create_finished("train")
    swept = await person.types("raysweep", "sweep", "train", "-n", policies.namespace, "--yes")
    assert swept.code == 0
    assert await policies.remaining() == set()


async def test_all_users_may_read_policies(policies: Lab, person: Person) -> None:
    await policies.set_policy("defaults", {"retention": {"rayJob": {"default": "2d"}}})
    await policies.create_finished("train")
    narrow = replace(person, kubeconfig=await kubeconfig_with(policies, "narrow", *SEES))
    found = await narrow.types(
        "raysweep", "why", "train", "-n", policies.namespace, "--no-ask", "-o", "json"
    )
    assert (found.json["reason"], found.json["policies"]) == ("NotDue", ["defaults"])


async def test_a_user_who_may_not_read_policies_gets_policies_unknown(
    policies: Lab, person: Person
) -> None:
    api = policies.cluster.api
    binding = await api.request("GET", READER)
    narrow = replace(person, kubeconfig=await kubeconfig_with(policies, "blind", *SEES))
    await policies.create_finished("train", annotations={"raysweep.io/ttl": "1d"})
    await api.delete(READER)
    try:
        found = await narrow.types(
            "raysweep", "why", "train", "-n", policies.namespace, "--no-ask", "-o", "json"
        )
    finally:
        again = {key: binding[key] for key in ("roleRef", "subjects")} | {
            "metadata": {"name": binding["metadata"]["name"]}
        }
        await api.request("POST", READER.rpartition("/")[0], again)
    assert (found.json["reason"], found.json["policies"]) == ("PoliciesUnknown", None)
    assert "RayJobCleanupPolicies" in found.err
