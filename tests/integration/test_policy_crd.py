"""What the CRD RayJobCleanupPolicy accepts, what it refuses with which words, and how kubectl shows it. No operator enters."""

import asyncio
import itertools
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from raysweep.core.durations import parse_duration
from sandbox.api import ApiError
from sandbox.cluster import Cluster
from sandbox.waiting import until

CRDS = Path(__file__).parents[2] / "deploy" / "crds"
CRD = CRDS / "raysweep.io_rayjobcleanuppolicies.yaml"
POLICIES = "/apis/raysweep.io/v1alpha1/rayjobcleanuppolicies"
CHECKED = {"dryRun": "All", "fieldValidation": "Strict"}
NOBODY = {"namespaceSelector": {"matchLabels": {"team": "nobody"}}}
"""For policies that are really made: they select no RayJob of any other test."""
_numbers = itertools.count(1)

NO_DURATION = "not a duration; write a number of seconds (3600)"
OUT_OF_ORDER = "the units are out of order; write w, d, h, m, s in this order, each once at most"
TOO_LONG = "longer than 100 years, which is taken for a mistake; write 36525d or less"
NO_NEVER = "never is not allowed in limits; leave the field out where nothing is to be limited"
TOO_SHORT = (
    "0 is too short, for a job is stuck only after a while; write a longer duration (1h), or never"
)
NO_KEY = "not a label key; write name or prefix/name"
NO_VALUE = "not a label value; write at most 63 letters, digits, -, _ and ."


class Policies:
    """The API server, asked about policies."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def body(self, spec: Any, name: str = "checked") -> dict[str, Any]:
        return {
            "apiVersion": "raysweep.io/v1alpha1",
            "kind": "RayJobCleanupPolicy",
            "metadata": {"name": name},
            "spec": spec,
        }

    async def refusal(self, spec: Any) -> str:
        """What is said to somebody who creates that policy; nothing where it is accepted. It is not kept."""
        return await self._refusal("POST", POLICIES, self.body(spec), CHECKED)

    async def create(self, spec: dict[str, Any]) -> str:
        """Really, for no RayJob; its name."""
        name = f"policy-{next(_numbers)}"
        assert (
            await self._refusal(
                "POST", POLICIES, self.body(NOBODY | spec, name), {"fieldValidation": "Strict"}
            )
            == ""
        )
        return name

    async def change(self, name: str, spec: dict[str, Any]) -> str:
        """What is said to somebody who changes that policy so."""
        found = await self._cluster.api.request("GET", f"{POLICIES}/{name}")
        return await self._refusal(
            "PUT", f"{POLICIES}/{name}", found | {"spec": NOBODY | spec}, CHECKED
        )

    async def set_status(self, name: str, status: dict[str, Any]) -> str:
        found = await self._cluster.api.request("GET", f"{POLICIES}/{name}")
        return await self._refusal(
            "PUT", f"{POLICIES}/{name}/status", found | {"status": status}, {}
        )

    async def _refusal(
        self, method: str, path: str, body: dict[str, Any], params: dict[str, str]
    ) -> str:
        try:
            await self._cluster.api.request(method, path, body, params=params)
        except ApiError as error:
            if error.status not in (400, 422):
                raise
            return error.message
        return ""

    async def kubectl(self, *arguments: str, stdin: Any = None) -> tuple[int, str]:
        """Exit status and what was said, errors included."""
        process = await asyncio.create_subprocess_exec(
            str(self._cluster.kubectl), *arguments, env=os.environ | {"KUBECONFIG": str(self._cluster.kubeconfig)},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate(yaml.safe_dump(stdin).encode())
        assert process.returncode is not None
        return process.returncode, said.decode()


@pytest_asyncio.fixture(scope="module")
async def policies(cluster: Cluster) -> AsyncIterator[Policies]:
    """With the CRD installed as a user installs it; no policy is left behind."""
    asked = Policies(cluster)
    readers = (
        CRDS.parent / "manifests" / "22-policy-readers.yaml"
    )  # who uses this cluster after us may read them, as everywhere
    installed, said = await asked.kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", str(CRDS), "-f", str(readers)
    )
    assert installed == 0, said

    async def is_served() -> bool:
        try:
            return await asked.refusal({"mode": "DryRun"}) == ""
        except ApiError as error:
            if error.status != 404:
                raise
            return False

    await until(is_served, timeout=90)
    yield asked
    for item in (await cluster.api.request("GET", POLICIES))["items"]:
        await cluster.api.delete(f"{POLICIES}/{item['metadata']['name']}")


GOOD = [
    pytest.param("mode: DryRun", id="DryRun alone, the emergency stop for all Namespaces"),
    pytest.param("retention: {rayJob: {default: 7d}}", id="one time for all RayJobs"),
    pytest.param("retention: {rayJob: {default: 3600, failed: 0}}", id="seconds as integers"),
    pytest.param("retention: {rayJob: {default: '3600'}}", id="seconds as text"),
    pytest.param(
        "retention: {rayJob: {default: never}, rayCluster: {succeeded: 0s, failed: 1h30m}}",
        id="never, and units combined",
    ),
    pytest.param("retention: {rayCluster: {default: 1.5h, stopped: 0.25d}}", id="fractions"),
    pytest.param(
        "{retention: {rayJob: {default: 1d}}, priority: -1000000}", id="the lowest priority"
    ),
    pytest.param(
        "{retention: {rayJob: {default: 1d}}, priority: 1000000}", id="the highest priority"
    ),
    pytest.param(
        "{mode: Enforce, retention: {rayJob: {default: 1d}}}", id="the default mode, written out"
    ),
    pytest.param(
        "{retention: {rayJob: {default: 1d}}, namespaceSelector: {}, rayJobSelector: {}}",
        id="empty selectors select all",
    ),
    pytest.param(
        """
        retention: {rayCluster: {default: 10m}}
        namespaceSelector:
          matchLabels: {team: vision, example.com/tier: ''}
          matchExpressions:
            - {key: kubernetes.io/metadata.name, operator: NotIn, values: [prod, prod-2]}
            - {key: env, operator: In, values: [dev]}
        rayJobSelector:
          matchExpressions:
            - {key: keep, operator: DoesNotExist}
            - {key: team, operator: Exists, values: []}
        """,
        id="every operator of a selector",
    ),
    pytest.param("limits: {keep: {max: 14d}}", id="a limit on keep alone"),
    pytest.param("limits: {rayJob: {min: 1h, max: 60m}}", id="min and max are the same length"),
    pytest.param(
        "limits: {rayJob: {min: 1.1h, max: 66m}}",
        id="min and max are the same length, one as a fraction",
    ),
    pytest.param(
        "limits: {rayJob: {max: 7d}, rayCluster: {min: 604800}}",
        id="RayCluster min is as long as RayJob max",
    ),
    pytest.param("limits: {rayJob: {max: 0}, rayCluster: {max: 0}}", id="a limit may be 0"),
    pytest.param(
        "{limits: {rayCluster: {max: 1d}}, namespaceSelector: {matchLabels: {a: b}}}",
        id="limits for some Namespaces",
    ),
    pytest.param(
        "stuck: {neverSubmitted: 1h, jobLost: never, initializing: 90, stillRunning: 0.5s, clusterInUse: 2w, "
        "headUnreachable: 1d}",
        id="every stuck TTL",
    ),
]


@pytest.mark.parametrize("spec", GOOD)
async def test_a_good_policy_is_accepted(policies: Policies, spec: str) -> None:
    assert await policies.refusal(yaml.safe_load(spec)) == ""


WRONG = [
    # the policy as a whole
    pytest.param(
        "{}",
        "spec",
        "the policy says nothing; set retention, limits or stuck, or mode DryRun",
        id="an empty spec",
    ),
    pytest.param(
        "{mode: Enforce, priority: 5}",
        "spec",
        "the policy says nothing",
        id="a mode and a priority of nothing",
    ),
    pytest.param("null", "spec", "Required value", id="no spec"),
    pytest.param(
        "{mode: observe}",
        "spec.mode",
        'supported values: "Enforce", "DryRun"',
        id="a mode in small letters",
    ),
    pytest.param(
        "{mode: DryRun, priority: high}",
        "spec.priority",
        "must be of type integer",
        id="a priority in words",
    ),
    pytest.param(
        "{mode: DryRun, priority: 1.5}",
        "spec.priority",
        "must be of type integer",
        id="half a priority",
    ),
    pytest.param(
        "{mode: DryRun, priority: 1000001}",
        "spec.priority",
        "less than or equal to 1000000",
        id="too high a priority",
    ),
    pytest.param(
        "{mode: DryRun, priority: -1000001}",
        "spec.priority",
        "or equal to -1000000",
        id="too low a priority",
    ),
    pytest.param(
        "{limits: {keep: {max: 1d}}, rayJobSelector: {matchLabels: {a: b}}}",
        "spec",
        "rayJobSelector is not allowed beside limits, for tenants choose the labels of their own RayJobs",
        id="a rayJobSelector beside limits",
    ),
    pytest.param(
        "{limits: {keep: {max: 1d}}, rayJobSelector: {}}",
        "spec",
        "select Namespaces with namespaceSelector",
        id="even an empty rayJobSelector beside limits",
    ),
    # selectors
    pytest.param(
        "{mode: DryRun, namespaceSelector: {matchExpressions: [{key: a, operator: In}]}}",
        "spec.namespaceSelector.matchExpressions[0].values",
        "the operators In and NotIn need values; name at least one",
        id="In without values",
    ),
    pytest.param(
        "{mode: DryRun, rayJobSelector: {matchExpressions: [{key: a, operator: NotIn, values: []}]}}",
        "spec.rayJobSelector.matchExpressions[0].values",
        "the operators In and NotIn need values; name at least one",
        id="NotIn with an empty list of values",
    ),
    pytest.param(
        "{mode: DryRun, rayJobSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}",
        "spec.rayJobSelector.matchExpressions[0].values",
        "the operators Exists and DoesNotExist take no values; leave values out, or use In or NotIn",
        id="Exists with a value",
    ),
    pytest.param(
        "{mode: DryRun, namespaceSelector: {matchExpressions: [{key: a, operator: DoesNotExist, values: [b]}]}}",
        "spec.namespaceSelector.matchExpressions[0].values",
        "the operators Exists and DoesNotExist take no values; leave values out, or use In or NotIn",
        id="DoesNotExist with a value",
    ),
    pytest.param(
        "{mode: DryRun, namespaceSelector: {matchExpressions: [{key: a, operator: Equals, values: [b]}]}}",
        "spec.namespaceSelector.matchExpressions[0].operator",
        'supported values: "In", "NotIn", "Exists", "DoesNotExist"',
        id="an operator that is none",
    ),
    pytest.param(
        "{mode: DryRun, namespaceSelector: {matchExpressions: [{operator: Exists}]}}",
        "spec.namespaceSelector.matchExpressions[0].key",
        "Required value",
        id="an expression without a key",
    ),
    pytest.param(
        "{mode: DryRun, namespaceSelector: {matchExpressions: [{key: a}]}}",
        "spec.namespaceSelector.matchExpressions[0].operator",
        "Required value",
        id="an expression without an operator",
    ),
    pytest.param(
        "{mode: DryRun, namespaceSelector: {matchExpressions: [{key: a/b/c, operator: Exists}]}}",
        "spec.namespaceSelector.matchExpressions[0].key",
        NO_KEY,
        id="a key with two slashes",
    ),
    pytest.param(
        f"{{mode: DryRun, namespaceSelector: {{matchExpressions: [{{key: {'a' * 64}, operator: Exists}}]}}}}",
        "spec.namespaceSelector.matchExpressions[0].key",
        NO_KEY,
        id="a key that is too long",
    ),
    pytest.param(
        f"{{mode: DryRun, namespaceSelector: {{matchLabels: {{{'a' * 254}/b: c}}}}}}",
        "spec.namespaceSelector.matchLabels",
        NO_KEY,
        id="a prefix of a key that is too long",
    ),
    pytest.param(
        "{mode: DryRun, rayJobSelector: {matchLabels: {Example.com/a: b}}}",
        "spec.rayJobSelector.matchLabels",
        NO_KEY,
        id="a prefix of a key in capitals",
    ),
    pytest.param(
        "{mode: DryRun, namespaceSelector: {matchLabels: {a: b c}}}",
        "spec.namespaceSelector.matchLabels[a]",
        NO_VALUE,
        id="a label's value with a space",
    ),
    pytest.param(
        "{mode: DryRun, namespaceSelector: {matchExpressions: [{key: a, operator: In, values: [b, -c]}]}}",
        "spec.namespaceSelector.matchExpressions[0].values[1]",
        NO_VALUE,
        id="a label's value that begins with a dash",
    ),
    pytest.param(
        f"{{mode: DryRun, namespaceSelector: {{matchLabels: {{a: {'b' * 64}}}}}}}",
        "spec.namespaceSelector.matchLabels.a",
        "Too long",
        id="a label's value that is too long",
    ),
    # nothing said
    pytest.param(
        "retention: {}",
        "spec.retention",
        "retention is empty; set rayJob or rayCluster",
        id="an empty retention",
    ),
    pytest.param(
        "retention: {rayJob: {}}",
        "spec.retention.rayJob",
        "retention.rayJob is empty; set default, succeeded, failed or stopped",
        id="an empty retention.rayJob",
    ),
    pytest.param(
        "retention: {rayCluster: {}}",
        "spec.retention.rayCluster",
        "retention.rayCluster is empty; set default, succeeded, failed or stopped",
        id="an empty retention.rayCluster",
    ),
    pytest.param(
        "limits: {}",
        "spec.limits",
        "limits is empty; set rayJob, rayCluster or keep",
        id="empty limits",
    ),
    pytest.param(
        "limits: {rayJob: {}}",
        "spec.limits.rayJob",
        "limits.rayJob is empty; set min or max",
        id="an empty limits.rayJob",
    ),
    pytest.param(
        "limits: {rayCluster: {}}",
        "spec.limits.rayCluster",
        "limits.rayCluster is empty; set min or max",
        id="an empty limits.rayCluster",
    ),
    pytest.param(
        "limits: {keep: {}}",
        "spec.limits.keep",
        "limits.keep is empty; set max",
        id="an empty limits.keep",
    ),
    pytest.param(
        "stuck: {}",
        "spec.stuck",
        "stuck is empty; set neverSubmitted, jobLost",
        id="an empty stuck",
    ),
    # durations
    pytest.param(
        "retention: {rayJob: {default: 1y}}",
        "spec.retention.rayJob.default",
        NO_DURATION,
        id="an unknown unit",
    ),
    pytest.param(
        "retention: {rayJob: {succeeded: soon}}",
        "spec.retention.rayJob.succeeded",
        NO_DURATION,
        id="a word",
    ),
    pytest.param(
        "retention: {rayJob: {failed: ''}}",
        "spec.retention.rayJob.failed",
        NO_DURATION,
        id="an empty text",
    ),
    pytest.param(
        "retention: {rayJob: {stopped: 1h 30m}}",
        "spec.retention.rayJob.stopped",
        NO_DURATION,
        id="a space",
    ),
    pytest.param(
        "retention: {rayCluster: {default: -5}}",
        "spec.retention.rayCluster.default",
        NO_DURATION,
        id="a negative number",
    ),
    pytest.param(
        "retention: {rayCluster: {failed: 1H}}",
        "spec.retention.rayCluster.failed",
        NO_DURATION,
        id="a capital unit",
    ),
    pytest.param(
        "retention: {rayCluster: {stopped: 1.h}}",
        "spec.retention.rayCluster.stopped",
        NO_DURATION,
        id="a wrong fraction",
    ),
    pytest.param(
        "retention: {rayJob: {default: '1.5'}}",
        "spec.retention.rayJob.default",
        NO_DURATION,
        id="a fraction without a unit",
    ),
    pytest.param(
        "retention: {rayJob: {default: 1.5}}",
        "spec.retention.rayJob.default",
        "integer,string",
        id="a number with a point",
    ),
    pytest.param(
        "retention: {rayJob: {default: true}}",
        "spec.retention.rayJob.default",
        "integer,string",
        id="yes or no",
    ),
    pytest.param(
        "retention: {rayJob: {default: 30m1h}}",
        "spec.retention.rayJob.default",
        OUT_OF_ORDER,
        id="units in the wrong order",
    ),
    pytest.param(
        "retention: {rayCluster: {succeeded: 1h1h}}",
        "spec.retention.rayCluster.succeeded",
        OUT_OF_ORDER,
        id="a unit twice",
    ),
    pytest.param(
        "retention: {rayJob: {default: 101w36500d}}",
        "spec.retention.rayJob.default",
        TOO_LONG,
        id="too long a sum",
    ),
    pytest.param(
        "retention: {rayJob: {default: 3155760001}}",
        "spec.retention.rayJob.default",
        TOO_LONG,
        id="too long an integer",
    ),
    pytest.param(
        f"retention: {{rayJob: {{default: {'0' * 100}1s}}}}",
        "spec.retention.rayJob.default",
        "Too long",
        id="too long a text",
    ),
    # limits
    pytest.param(
        "limits: {keep: {max: never}}",
        "spec.limits.keep.max",
        NO_NEVER,
        id="never as the limit on keep",
    ),
    pytest.param(
        "limits: {rayJob: {min: never}}", "spec.limits.rayJob.min", NO_NEVER, id="never as a min"
    ),
    pytest.param(
        "limits: {rayJob: {max: never}}", "spec.limits.rayJob.max", NO_NEVER, id="never as a max"
    ),
    pytest.param(
        "limits: {rayCluster: {min: never}}",
        "spec.limits.rayCluster.min",
        NO_NEVER,
        id="never as a RayCluster's min",
    ),
    pytest.param(
        "limits: {rayCluster: {max: never}}",
        "spec.limits.rayCluster.max",
        NO_NEVER,
        id="never as a RayCluster's max",
    ),
    pytest.param(
        "limits: {keep: {max: 1y}}",
        "spec.limits.keep.max",
        NO_DURATION,
        id="no duration as a limit",
    ),
    pytest.param(
        "limits: {keep: {max: 36526d}}", "spec.limits.keep.max", TOO_LONG, id="too long a limit"
    ),
    pytest.param(
        "limits: {rayJob: {min: 2d, max: 1d}}",
        "spec.limits.rayJob",
        "limits.rayJob.min is longer than limits.rayJob.max; no time would be allowed; lower min or raise max",
        id="a RayJob's min above its max",
    ),
    pytest.param(
        "limits: {rayJob: {min: 3601, max: 1h}}",
        "spec.limits.rayJob",
        "limits.rayJob.min is longer than limits.rayJob.max",
        id="an integer as min above a text as max",
    ),
    pytest.param(
        "limits: {rayCluster: {min: 1h0.000001s, max: 60m}}",
        "spec.limits.rayCluster",
        "limits.rayCluster.min is longer than limits.rayCluster.max; no time would be allowed; lower min or raise max",
        id="a RayCluster's min a moment above its max",
    ),
    pytest.param(
        "limits: {rayJob: {max: 1d}, rayCluster: {min: 25h}}",
        "spec.limits",
        "limits.rayCluster.min is longer than limits.rayJob.max; no time would be allowed, for a RayJob never goes before",
        id="a RayCluster's min above the RayJob's max",
    ),
    # stuck
    pytest.param(
        "stuck: {neverSubmitted: 0}",
        "spec.stuck.neverSubmitted",
        TOO_SHORT,
        id="never submitted, 0",
    ),
    pytest.param(
        "stuck: {jobLost: '0'}", "spec.stuck.jobLost", TOO_SHORT, id="job lost, 0 as text"
    ),
    pytest.param(
        "stuck: {initializing: 0h0m}",
        "spec.stuck.initializing",
        TOO_SHORT,
        id="initializing, 0 in units",
    ),
    pytest.param(
        "stuck: {stillRunning: 0.0s}",
        "spec.stuck.stillRunning",
        TOO_SHORT,
        id="still running, 0 as a fraction",
    ),
    pytest.param(
        "stuck: {clusterInUse: 0s}", "spec.stuck.clusterInUse", TOO_SHORT, id="cluster in use, 0"
    ),
    pytest.param(
        "stuck: {headUnreachable: 0}",
        "spec.stuck.headUnreachable",
        TOO_SHORT,
        id="head unreachable, 0",
    ),
    pytest.param(
        "stuck: {clusterInUse: 1d1w}",
        "spec.stuck.clusterInUse",
        OUT_OF_ORDER,
        id="a stuck TTL out of order",
    ),
    pytest.param(
        "stuck: {jobLost: long}", "spec.stuck.jobLost", NO_DURATION, id="a stuck TTL that is a word"
    ),
]


@pytest.mark.parametrize(("spec", "place", "said"), WRONG)
async def test_a_wrong_policy_is_refused_with_place_fault_and_remedy(
    policies: Policies, spec: str, place: str, said: str
) -> None:
    refusal = await policies.refusal(yaml.safe_load(spec))
    assert re.findall(r"\bspec[^:, ]*(?=: )", refusal) == [place], (
        "one fault is told once, where it is"
    )
    assert said in refusal
    assert "evaluating rule" not in refusal, (
        "a rule that cannot be evaluated says nothing to a person"
    )


async def test_several_faults_are_told_at_once(policies: Policies) -> None:
    spec = "{retention: {rayJob: {default: 5y, failed: 30m1h}}, limits: {keep: {max: never}}, stuck: {jobLost: 0}}"
    refusal = await policies.refusal(yaml.safe_load(spec))
    assert all(said in refusal for said in (NO_DURATION, OUT_OF_ORDER, NO_NEVER, TOO_SHORT))


async def test_kubectl_shows_the_refusal(policies: Policies) -> None:
    spec = {
        "retention": {"rayJob": {"default": "1y"}},
        "limits": {"rayJob": {"min": "2d", "max": 3600}},
    }
    status, said = await policies.kubectl(
        "apply", "--dry-run=server", "-f", "-", stdin=policies.body(spec)
    )
    assert status == 1
    assert f'* spec.retention.rayJob.default: Invalid value: "1y": {NO_DURATION}' in said
    assert "limits.rayJob.min is longer than limits.rayJob.max" in said


@pytest.mark.parametrize(
    ("spec", "unknown"),
    [
        pytest.param(
            {"mode": "DryRun", "limit": {}}, 'unknown field "spec.limit"', id="limit for limits"
        ),
        pytest.param(
            {"retention": {"rayJob": {"default": "1d", "faild": "3d"}}},
            'unknown field "spec.retention.rayJob.faild"',
            id="an outcome with a slip of the pen",
        ),
        pytest.param(
            {"limits": {"keep": {"min": "1d", "max": "2d"}}},
            'unknown field "spec.limits.keep.min"',
            id="a min of keep, which does not exist",
        ),
        pytest.param(
            {"mode": "DryRun", "namespaceSelector": {"team": "vision"}},
            'unknown field "spec.namespaceSelector.team"',
            id="a label without matchLabels",
        ),
    ],
)
async def test_kubectl_refuses_an_unknown_field(
    policies: Policies, spec: dict[str, Any], unknown: str
) -> None:
    status, said = await policies.kubectl(
        "apply", "--dry-run=server", "-f", "-", stdin=policies.body(spec)
    )
    assert status == 1
    assert unknown in said


async def test_a_good_policy_is_not_changed_into_a_wrong_one(policies: Policies) -> None:
    name = await policies.create({"limits": {"rayJob": {"min": "1h", "max": "1d"}}})
    assert await policies.change(name, {"limits": {"rayJob": {"min": "1d", "max": "1d"}}}) == ""
    assert "lower min or raise max" in await policies.change(
        name, {"limits": {"rayJob": {"min": "2d", "max": "1d"}}}
    )
    assert "the policy says nothing" in await policies.change(name, {})


# durations: the CRD and parse_duration must be of one mind

DURATIONS = [
    pytest.param("0", True, id="0"),
    pytest.param("90", True, id="seconds"),
    pytest.param("007", True, id="zeros in front"),
    pytest.param("15s", True, id="seconds with their unit"),
    pytest.param("1h30m", True, id="units combined"),
    pytest.param("1w2d3h4m5s", True, id="all units"),
    pytest.param("1w5s", True, id="units left out"),
    pytest.param("0w0d0h0m0s", True, id="all units, 0"),
    pytest.param("1.5h", True, id="a fraction"),
    pytest.param("1.5w1.5d1.5h1.5m1.5s", True, id="fractions of all units"),
    pytest.param("0.000001s", True, id="six digits of a fraction"),
    pytest.param("0.0000001s", False, id="seven digits of a fraction"),
    pytest.param("000000000001h", True, id="twelve digits"),
    pytest.param("0000000000001h", False, id="thirteen digits"),
    pytest.param("000000000001", True, id="twelve digits without a unit"),
    pytest.param("0000000000001", False, id="thirteen digits without a unit"),
    pytest.param(
        "".join(f"000000000001.000001{unit}" for unit in "wdhms"), True, id="a hundred characters"
    ),
    pytest.param("never", True, id="never"),
    pytest.param("Never", False, id="never in capitals"),
    pytest.param("nevers", False, id="never and more"),
    pytest.param("36525d", True, id="exactly 100 years in days"),
    pytest.param("36525d1s", False, id="a second above 100 years"),
    pytest.param("36525d0.000001s", False, id="a microsecond above 100 years"),
    pytest.param("36524d23h59m59.999999s", True, id="a microsecond below 100 years"),
    pytest.param("3155760000", True, id="exactly 100 years in seconds"),
    pytest.param("3155760001", False, id="a second above 100 years in seconds"),
    pytest.param("3155760000s", True, id="exactly 100 years in seconds with their unit"),
    pytest.param("3155760001s", False, id="a second above 100 years in seconds with their unit"),
    pytest.param("52596000m", True, id="exactly 100 years in minutes"),
    pytest.param("52596001m", False, id="a minute above 100 years"),
    pytest.param("876600h", True, id="exactly 100 years in hours"),
    pytest.param("876600.5h", False, id="half an hour above 100 years"),
    pytest.param("5217w", True, id="the last whole week of 100 years"),
    pytest.param("5217w6d", True, id="exactly 100 years in weeks and days"),
    pytest.param("5217w6d1s", False, id="a second above 100 years in weeks and days"),
    pytest.param("5218w", False, id="a day above 100 years in weeks"),
    pytest.param("999999999999", False, id="the largest number of seconds"),
    pytest.param(
        "999999999999w999999999999d999999999999h999999999999m999999999999s",
        False,
        id="the largest numbers of all units",
    ),
    pytest.param("", False, id="nothing"),
    pytest.param(" ", False, id="a space"),
    pytest.param("1h 30m", False, id="a space between"),
    pytest.param("1h\n", False, id="a line break behind"),
    pytest.param("\n1h", False, id="a line break before"),
    pytest.param("-1h", False, id="a minus"),
    pytest.param("+1h", False, id="a plus"),
    pytest.param("1H", False, id="a capital"),
    pytest.param("1y", False, id="years"),
    pytest.param("1ms", False, id="milliseconds"),
    pytest.param("h", False, id="a unit alone"),
    pytest.param("hm", False, id="units alone"),
    pytest.param("1hm", False, id="a unit without a number"),
    pytest.param("1h30", False, id="a number without a unit at the end"),
    pytest.param("1m1h", False, id="units in the wrong order"),
    pytest.param("1d1w", False, id="days before weeks"),
    pytest.param("1s1m", False, id="seconds before minutes"),
    pytest.param("1h1h", False, id="a unit twice"),
    pytest.param("1w1d1h1m1s1w", False, id="six units"),
    pytest.param("1.h", False, id="a point without a fraction"),
    pytest.param(".5h", False, id="a fraction without a number"),
    pytest.param("1.5", False, id="a fraction without a unit"),
    pytest.param("1.2.3h", False, id="two points"),
    pytest.param("1,5h", False, id="a comma"),
    pytest.param("1e3", False, id="an exponent"),
    pytest.param("0x10", False, id="hexadecimal"),
    pytest.param("1_000", False, id="digits in groups"),
    pytest.param("P1D", False, id="ISO 8601"),
    pytest.param("\u0661h", False, id="digits of another script"),
    pytest.param("1\u02b0", False, id="a unit of another script"),
    pytest.param("0" * 101, False, id="a hundred and one characters"),
]


def is_duration(text: str) -> bool:
    try:
        parse_duration(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(("text", "accepted"), DURATIONS)
async def test_crd_and_operator_read_the_same_durations(
    policies: Policies, text: str, accepted: bool
) -> None:
    assert is_duration(text) is accepted
    assert (await policies.refusal({"retention": {"rayJob": {"default": text}}}) == "") is accepted


@pytest.mark.parametrize(
    ("text", "accepted"), [row for row in DURATIONS if row.values[0] != "never"]
)
async def test_limits_and_stuck_read_them_too(
    policies: Policies, text: str, accepted: bool
) -> None:
    assert (await policies.refusal({"limits": {"keep": {"max": text}}}) == "") is accepted
    is_longer_than_0 = re.search("[1-9]", text) is not None
    assert (await policies.refusal({"stuck": {"jobLost": text}}) == "") is (
        accepted and is_longer_than_0
    )


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(0, id="0 is at once"),
        pytest.param(3600, id="an hour"),
        pytest.param(3155760000, id="exactly 100 years"),
        pytest.param(3155760001, id="a second above 100 years"),
        pytest.param(2**63 - 1, id="the largest integer"),
        pytest.param(-1, id="a second below 0"),
        pytest.param(-(2**63), id="the smallest integer"),
    ],
)
async def test_an_integer_is_read_as_its_digits(policies: Policies, seconds: int) -> None:
    assert (
        await policies.refusal({"retention": {"rayJob": {"default": seconds}}}) == ""
    ) is is_duration(str(seconds))


PLACES = [
    (kind, outcome)
    for kind in ("rayJob", "rayCluster")
    for outcome in ("default", "succeeded", "failed", "stopped")
]


def short_texts() -> Iterator[tuple[str, ...]]:
    """All texts of up to four of these characters, as many at once as a policy has places for."""
    texts = [
        "".join(text)
        for length in range(1, 5)
        for text in itertools.product("05.whs", repeat=length)
    ]
    return itertools.zip_longest(*[iter(texts)] * len(PLACES), fillvalue="0")


async def test_crd_and_operator_agree_on_every_short_text(policies: Policies) -> None:
    for texts in short_texts():
        retention: dict[str, dict[str, str]] = {"rayJob": {}, "rayCluster": {}}
        for (kind, outcome), text in zip(PLACES, texts, strict=True):
            retention[kind][outcome] = text
        refusal = await policies.refusal({"retention": retention})
        refused = {
            text
            for place, text in zip(PLACES, texts, strict=True)
            if f"spec.retention.{'.'.join(place)}: " in refusal
        }
        assert refused == {text for text in texts if not is_duration(text)}


# the schema itself, and how kubectl shows it


def crd() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(CRD.read_text())
    return loaded


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, each in schema.get("properties", {}).items():
        yield from fields(each, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from fields(schema[key], f"{path}[]")


def schema() -> dict[str, Any]:
    (version,) = crd()["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return found


def test_every_field_is_described() -> None:
    undescribed = [path for path, each in fields(schema(), "") if "description" not in each]
    assert undescribed == [".metadata"]  # Kubernetes describes it


def test_every_rule_has_a_message() -> None:
    rules = [
        rule
        for _, each in fields(schema(), "")
        for rule in each.get("x-kubernetes-validations", ())
    ]
    assert rules
    assert [rule["rule"] for rule in rules if not rule.get("message")] == []


async def test_the_rules_are_cheap_enough_for_kubernetes_1_30(
    policies: Policies, cluster: Cluster
) -> None:
    """Up to 1.33 the estimate of a rule's cost took no note of the maxLength of what may be an integer."""
    body = crd()
    for _, each in fields(body["spec"]["versions"][0]["schema"]["openAPIV3Schema"], ""):
        if each.get("x-kubernetes-int-or-string"):
            each.pop("maxLength", None)
    body["spec"]["group"] = "older.raysweep.io"
    body["metadata"]["name"] = "rayjobcleanuppolicies.older.raysweep.io"
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    answer = await cluster.api.request("POST", path, body, params=CHECKED)
    assert answer["metadata"]["name"] == body["metadata"]["name"]


ACCEPTED = {
    "type": "Accepted",
    "status": "True",
    "reason": "Accepted",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
OVERLAPS = {**ACCEPTED, "type": "Overlaps", "status": "False", "reason": "None"}
"""As the operator writes them, which may be at work in this sandbox."""


async def test_kubectl_get_prints_what_a_policy_says(policies: Policies) -> None:
    spec = {
        "priority": 7,
        "retention": {
            "rayJob": {"default": 3600},
            "rayCluster": {"default": "1h30m", "failed": "never"},
        },
    }
    name = await policies.create(spec)
    assert (
        await policies.set_status(
            name, {"observedGeneration": 1, "conditions": [ACCEPTED, OVERLAPS]}
        )
        == ""
    )
    _, narrow = await policies.kubectl("get", "rjcp", name)
    _, wide = await policies.kubectl("get", "rjcp", name, "-o", "wide")
    head, row = (line.split() for line in narrow.splitlines())
    assert head == ["NAME", "MODE", "PRIORITY", "RAYJOB", "RAYCLUSTER", "ACCEPTED", "AGE"]
    assert row[:-1] == [name, "Enforce", "7", "3600", "1h30m", "True"]
    head, row = (line.split() for line in wide.splitlines())
    assert head == [
        "NAME",
        "MODE",
        "PRIORITY",
        "RAYJOB",
        "RAYCLUSTER",
        "ACCEPTED",
        "OVERLAPS",
        "REASON",
        "AGE",
    ]
    assert row[:-1] == [name, "Enforce", "7", "3600", "1h30m", "True", "False", "Accepted"]


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        pytest.param([ACCEPTED, ACCEPTED], "Duplicate value", id="two of one type"),
        pytest.param(
            [{**ACCEPTED, "status": "Yes"}],
            'supported values: "True", "False", "Unknown"',
            id="a status that is none",
        ),
        pytest.param([{**ACCEPTED, "reason": ""}], "reason", id="no reason"),
        pytest.param([{**ACCEPTED, "reason": "two words"}], "reason", id="a reason in two words"),
        pytest.param(
            [{k: v for k, v in ACCEPTED.items() if k != "message"}],
            "message: Required value",
            id="no message",
        ),
        pytest.param(
            [{**ACCEPTED, "lastTransitionTime": "today"}],
            "lastTransitionTime",
            id="a time that is none",
        ),
    ],
)
async def test_a_condition_is_a_condition_of_kubernetes(
    policies: Policies, conditions: list[dict[str, str]], said: str
) -> None:
    name = await policies.create({"mode": "DryRun"})
    assert said in await policies.set_status(name, {"conditions": conditions})


async def test_the_status_is_written_apart_from_the_spec(policies: Policies) -> None:
    name = await policies.create({"mode": "DryRun"})
    assert (
        await policies.set_status(name, {"observedGeneration": 1, "conditions": [ACCEPTED]}) == ""
    )
    _, generation = await policies.kubectl(
        "get", "rjcp", name, "-o", "jsonpath={.metadata.generation} {.status.observedGeneration}"
    )
    assert generation == "1 1"


async def test_kubectl_explain_prints_the_description(policies: Policies) -> None:
    """Kubernetes publishes the schema of a new CRD a moment after it serves it."""
    description = next(
        each["description"]
        for path, each in fields(schema(), "")
        if path == ".spec.limits.keep.max"
    )

    async def is_explained() -> bool:
        _, said = await policies.kubectl("explain", "rjcp.spec.limits.keep.max")
        return description in " ".join(said.split())

    await until(is_explained, timeout=90, every=0.5)
