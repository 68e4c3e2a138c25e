"""The CRD RayJobCleanupPolicy: accepted and rejected specs, messages, kubectl output."""

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

NO_DURATION = "not a duration: use seconds (3600)"
OUT_OF_ORDER = "the units are out of order: use w, d, h, m, s in this order, each at most once"
TOO_LONG = "longer than 100 years: use 36525d or less"
NO_NEVER = "never is not allowed in limits: remove the field if you want no limit"
TOO_SHORT = (
    "0 is too short, because a job is stuck only after some time: "
    "use a longer duration (1h), or never"
)
NO_KEY = "not a label key: use NAME or PREFIX/NAME"
NO_VALUE = "not a label value: use at most 63 letters, digits, -, _ and ."


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
        """The message for a rejected policy. Empty if it is accepted. It is a dry run."""
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
            str(self._cluster.kubectl), *arguments,
            env=os.environ | {"KUBECONFIG": str(self._cluster.kubeconfig)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
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
    ("DryRun alone, the emergency stop for all Namespaces", "mode: DryRun"),
    ("one time for all RayJobs", "retention: {rayJob: {default: 7d}}"),
    ("seconds as integers", "retention: {rayJob: {default: 3600, failed: 0}}"),
    ("seconds as text", "retention: {rayJob: {default: '3600'}}"),
    (
        "never, and units combined",
        "retention: {rayJob: {default: never}, rayCluster: {succeeded: 0s, failed: 1h30m}}",
    ),
    ("fractions", "retention: {rayCluster: {default: 1.5h, stopped: 0.25d}}"),
    ("the lowest priority", "{retention: {rayJob: {default: 1d}}, priority: -1000000}"),
    ("the highest priority", "{retention: {rayJob: {default: 1d}}, priority: 1000000}"),
    ("the default mode, written out", "{mode: Enforce, retention: {rayJob: {default: 1d}}}"),
    (
        "empty selectors select all",
        "{retention: {rayJob: {default: 1d}}, namespaceSelector: {}, rayJobSelector: {}}",
    ),
    (
        "every operator of a selector",
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
    ),
    ("a limit on keep alone", "limits: {keep: {max: 14d}}"),
    ("min and max are the same length", "limits: {rayJob: {min: 1h, max: 60m}}"),
    (
        "min and max are the same length, one as a fraction",
        "limits: {rayJob: {min: 1.1h, max: 66m}}",
    ),
    (
        "RayCluster min is as long as RayJob max",
        "limits: {rayJob: {max: 7d}, rayCluster: {min: 604800}}",
    ),
    ("a limit may be 0", "limits: {rayJob: {max: 0}, rayCluster: {max: 0}}"),
    (
        "limits for some Namespaces",
        "{limits: {rayCluster: {max: 1d}}, namespaceSelector: {matchLabels: {a: b}}}",
    ),
    (
        "every stuck TTL",
        "stuck: {neverSubmitted: 1h, jobLost: never, initializing: 90, stillRunning: 0.5s, "
        "clusterInUse: 2w, "
        "headUnreachable: 1d}",
    ),
]


async def test_valid_policies_are_accepted(policies: Policies) -> None:
    for title, spec in GOOD:
        assert await policies.refusal(yaml.safe_load(spec)) == "", title


WRONG = [
    # the policy as a whole
    (
        "an empty spec",
        "{}",
        "spec",
        "the policy sets nothing: set retention, limits, stuck, or mode DryRun",
    ),
    (
        "a mode and a priority of nothing",
        "{mode: Enforce, priority: 5}",
        "spec",
        "the policy sets nothing",
    ),
    ("no spec", "null", "spec", "Required value"),
    (
        "a mode in small letters",
        "{mode: observe}",
        "spec.mode",
        'supported values: "Enforce", "DryRun"',
    ),
    (
        "a priority in words",
        "{mode: DryRun, priority: high}",
        "spec.priority",
        "must be of type integer",
    ),
    (
        "half a priority",
        "{mode: DryRun, priority: 1.5}",
        "spec.priority",
        "must be of type integer",
    ),
    (
        "too high a priority",
        "{mode: DryRun, priority: 1000001}",
        "spec.priority",
        "less than or equal to 1000000",
    ),
    (
        "too low a priority",
        "{mode: DryRun, priority: -1000001}",
        "spec.priority",
        "or equal to -1000000",
    ),
    (
        "a rayJobSelector beside limits",
        "{limits: {keep: {max: 1d}}, rayJobSelector: {matchLabels: {a: b}}}",
        "spec",
        "rayJobSelector is not allowed together with limits",
    ),
    (
        "even an empty rayJobSelector beside limits",
        "{limits: {keep: {max: 1d}}, rayJobSelector: {}}",
        "spec",
        "use namespaceSelector",
    ),
    # selectors
    (
        "In without values",
        "{mode: DryRun, namespaceSelector: {matchExpressions: [{key: a, operator: In}]}}",
        "spec.namespaceSelector.matchExpressions[0].values",
        "the operators In and NotIn need values: list at least one",
    ),
    (
        "NotIn with an empty list of values",
        "{mode: DryRun, rayJobSelector: {matchExpressions: "
        "[{key: a, operator: NotIn, values: []}]}}",
        "spec.rayJobSelector.matchExpressions[0].values",
        "the operators In and NotIn need values: list at least one",
    ),
    (
        "Exists with a value",
        "{mode: DryRun, rayJobSelector: {matchExpressions: "
        "[{key: a, operator: Exists, values: [b]}]}}",
        "spec.rayJobSelector.matchExpressions[0].values",
        "the operators Exists and DoesNotExist take no values: remove values, or use In or NotIn",
    ),
    (
        "DoesNotExist with a value",
        "{mode: DryRun, namespaceSelector: {matchExpressions: "
        "[{key: a, operator: DoesNotExist, values: [b]}]}}",
        "spec.namespaceSelector.matchExpressions[0].values",
        "the operators Exists and DoesNotExist take no values: remove values, or use In or NotIn",
    ),
    (
        "an operator that is none",
        "{mode: DryRun, namespaceSelector: {matchExpressions: "
        "[{key: a, operator: Equals, values: [b]}]}}",
        "spec.namespaceSelector.matchExpressions[0].operator",
        'supported values: "In", "NotIn", "Exists", "DoesNotExist"',
    ),
    (
        "an expression without a key",
        "{mode: DryRun, namespaceSelector: {matchExpressions: [{operator: Exists}]}}",
        "spec.namespaceSelector.matchExpressions[0].key",
        "Required value",
    ),
    (
        "an expression without an operator",
        "{mode: DryRun, namespaceSelector: {matchExpressions: [{key: a}]}}",
        "spec.namespaceSelector.matchExpressions[0].operator",
        "Required value",
    ),
    (
        "a key with two slashes",
        "{mode: DryRun, namespaceSelector: {matchExpressions: [{key: a/b/c, operator: Exists}]}}",
        "spec.namespaceSelector.matchExpressions[0].key",
        NO_KEY,
    ),
    (
        "a key that is too long",
        "{mode: DryRun, namespaceSelector: {matchExpressions: "
        f"[{{key: {'a' * 64}, operator: Exists}}]}}}}",
        "spec.namespaceSelector.matchExpressions[0].key",
        NO_KEY,
    ),
    (
        "a prefix of a key that is too long",
        f"{{mode: DryRun, namespaceSelector: {{matchLabels: {{{'a' * 254}/b: c}}}}}}",
        "spec.namespaceSelector.matchLabels",
        NO_KEY,
    ),
    (
        "a prefix of a key in capitals",
        "{mode: DryRun, rayJobSelector: {matchLabels: {Example.com/a: b}}}",
        "spec.rayJobSelector.matchLabels",
        NO_KEY,
    ),
    (
        "a label's value with a space",
        "{mode: DryRun, namespaceSelector: {matchLabels: {a: b c}}}",
        "spec.namespaceSelector.matchLabels[a]",
        NO_VALUE,
    ),
    (
        "a label's value that begins with a dash",
        "{mode: DryRun, namespaceSelector: {matchExpressions: "
        "[{key: a, operator: In, values: [b, -c]}]}}",
        "spec.namespaceSelector.matchExpressions[0].values[1]",
        NO_VALUE,
    ),
    (
        "a label's value that is too long",
        f"{{mode: DryRun, namespaceSelector: {{matchLabels: {{a: {'b' * 64}}}}}}}",
        "spec.namespaceSelector.matchLabels.a",
        "Too long",
    ),
    # nothing said
    (
        "an empty retention",
        "retention: {}",
        "spec.retention",
        "retention is empty: set rayJob or rayCluster",
    ),
    (
        "an empty retention.rayJob",
        "retention: {rayJob: {}}",
        "spec.retention.rayJob",
        "retention.rayJob is empty: set default, succeeded, failed or stopped",
    ),
    (
        "an empty retention.rayCluster",
        "retention: {rayCluster: {}}",
        "spec.retention.rayCluster",
        "retention.rayCluster is empty: set default, succeeded, failed or stopped",
    ),
    (
        "empty limits",
        "limits: {}",
        "spec.limits",
        "limits is empty: set rayJob, rayCluster or keep",
    ),
    (
        "an empty limits.rayJob",
        "limits: {rayJob: {}}",
        "spec.limits.rayJob",
        "limits.rayJob is empty: set min or max",
    ),
    (
        "an empty limits.rayCluster",
        "limits: {rayCluster: {}}",
        "spec.limits.rayCluster",
        "limits.rayCluster is empty: set min or max",
    ),
    (
        "an empty limits.keep",
        "limits: {keep: {}}",
        "spec.limits.keep",
        "limits.keep is empty: set max",
    ),
    ("an empty stuck", "stuck: {}", "spec.stuck", "stuck is empty: set neverSubmitted, jobLost"),
    # durations
    (
        "an unknown unit",
        "retention: {rayJob: {default: 1y}}",
        "spec.retention.rayJob.default",
        NO_DURATION,
    ),
    (
        "a word",
        "retention: {rayJob: {succeeded: soon}}",
        "spec.retention.rayJob.succeeded",
        NO_DURATION,
    ),
    (
        "an empty text",
        "retention: {rayJob: {failed: ''}}",
        "spec.retention.rayJob.failed",
        NO_DURATION,
    ),
    (
        "a space",
        "retention: {rayJob: {stopped: 1h 30m}}",
        "spec.retention.rayJob.stopped",
        NO_DURATION,
    ),
    (
        "a negative number",
        "retention: {rayCluster: {default: -5}}",
        "spec.retention.rayCluster.default",
        NO_DURATION,
    ),
    (
        "a capital unit",
        "retention: {rayCluster: {failed: 1H}}",
        "spec.retention.rayCluster.failed",
        NO_DURATION,
    ),
    (
        "a wrong fraction",
        "retention: {rayCluster: {stopped: 1.h}}",
        "spec.retention.rayCluster.stopped",
        NO_DURATION,
    ),
    (
        "a fraction without a unit",
        "retention: {rayJob: {default: '1.5'}}",
        "spec.retention.rayJob.default",
        NO_DURATION,
    ),
    (
        "a number with a point",
        "retention: {rayJob: {default: 1.5}}",
        "spec.retention.rayJob.default",
        "integer,string",
    ),
    (
        "yes or no",
        "retention: {rayJob: {default: true}}",
        "spec.retention.rayJob.default",
        "integer,string",
    ),
    (
        "units in the wrong order",
        "retention: {rayJob: {default: 30m1h}}",
        "spec.retention.rayJob.default",
        OUT_OF_ORDER,
    ),
    (
        "a unit twice",
        "retention: {rayCluster: {succeeded: 1h1h}}",
        "spec.retention.rayCluster.succeeded",
        OUT_OF_ORDER,
    ),
    (
        "too long a sum",
        "retention: {rayJob: {default: 101w36500d}}",
        "spec.retention.rayJob.default",
        TOO_LONG,
    ),
    (
        "too long an integer",
        "retention: {rayJob: {default: 3155760001}}",
        "spec.retention.rayJob.default",
        TOO_LONG,
    ),
    (
        "too long a text",
        f"retention: {{rayJob: {{default: {'0' * 100}1s}}}}",
        "spec.retention.rayJob.default",
        "Too long",
    ),
    # limits
    (
        "never as the limit on keep",
        "limits: {keep: {max: never}}",
        "spec.limits.keep.max",
        NO_NEVER,
    ),
    ("never as a min", "limits: {rayJob: {min: never}}", "spec.limits.rayJob.min", NO_NEVER),
    ("never as a max", "limits: {rayJob: {max: never}}", "spec.limits.rayJob.max", NO_NEVER),
    (
        "never as a RayCluster's min",
        "limits: {rayCluster: {min: never}}",
        "spec.limits.rayCluster.min",
        NO_NEVER,
    ),
    (
        "never as a RayCluster's max",
        "limits: {rayCluster: {max: never}}",
        "spec.limits.rayCluster.max",
        NO_NEVER,
    ),
    ("no duration as a limit", "limits: {keep: {max: 1y}}", "spec.limits.keep.max", NO_DURATION),
    ("too long a limit", "limits: {keep: {max: 36526d}}", "spec.limits.keep.max", TOO_LONG),
    (
        "a RayJob's min above its max",
        "limits: {rayJob: {min: 2d, max: 1d}}",
        "spec.limits.rayJob",
        "limits.rayJob.min is longer than limits.rayJob.max, so no time is allowed: "
        "lower min or raise max",
    ),
    (
        "an integer as min above a text as max",
        "limits: {rayJob: {min: 3601, max: 1h}}",
        "spec.limits.rayJob",
        "limits.rayJob.min is longer than limits.rayJob.max",
    ),
    (
        "a RayCluster's min a moment above its max",
        "limits: {rayCluster: {min: 1h0.000001s, max: 60m}}",
        "spec.limits.rayCluster",
        "limits.rayCluster.min is longer than limits.rayCluster.max, so no time is allowed: "
        "lower min or raise max",
    ),
    (
        "a RayCluster's min above the RayJob's max",
        "limits: {rayJob: {max: 1d}, rayCluster: {min: 25h}}",
        "spec.limits",
        "limits.rayCluster.min is longer than limits.rayJob.max, "
        "so no time is allowed, because a RayJob",
    ),
    # stuck
    ("never submitted, 0", "stuck: {neverSubmitted: 0}", "spec.stuck.neverSubmitted", TOO_SHORT),
    ("job lost, 0 as text", "stuck: {jobLost: '0'}", "spec.stuck.jobLost", TOO_SHORT),
    (
        "initializing, 0 in units",
        "stuck: {initializing: 0h0m}",
        "spec.stuck.initializing",
        TOO_SHORT,
    ),
    (
        "still running, 0 as a fraction",
        "stuck: {stillRunning: 0.0s}",
        "spec.stuck.stillRunning",
        TOO_SHORT,
    ),
    ("cluster in use, 0", "stuck: {clusterInUse: 0s}", "spec.stuck.clusterInUse", TOO_SHORT),
    ("head unreachable, 0", "stuck: {headUnreachable: 0}", "spec.stuck.headUnreachable", TOO_SHORT),
    (
        "a stuck TTL out of order",
        "stuck: {clusterInUse: 1d1w}",
        "spec.stuck.clusterInUse",
        OUT_OF_ORDER,
    ),
    ("a stuck TTL that is a word", "stuck: {jobLost: long}", "spec.stuck.jobLost", NO_DURATION),
]


async def test_an_invalid_policy_is_rejected_once_with_field_and_hint(policies: Policies) -> None:
    for title, spec, field, hint in WRONG:
        refusal = await policies.refusal(yaml.safe_load(spec))
        assert re.findall(r"\bspec[^:, ]*(?=: )", refusal) == [field], title
        assert hint in refusal, title
        assert "evaluating rule" not in refusal, title


async def test_several_faults_are_told_at_once(policies: Policies) -> None:
    spec = (
        "{retention: {rayJob: {default: 5y, failed: 30m1h}}, "
        "limits: {keep: {max: never}}, stuck: {jobLost: 0}}"
    )
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
    assert "the policy sets nothing" in await policies.change(name, {})


# durations: the CRD and parse_duration must be of one mind

DURATIONS = [
    ("0", "0", True),
    ("seconds", "90", True),
    ("zeros in front", "007", True),
    ("seconds with their unit", "15s", True),
    ("units combined", "1h30m", True),
    ("all units", "1w2d3h4m5s", True),
    ("units left out", "1w5s", True),
    ("all units, 0", "0w0d0h0m0s", True),
    ("a fraction", "1.5h", True),
    ("fractions of all units", "1.5w1.5d1.5h1.5m1.5s", True),
    ("six digits of a fraction", "0.000001s", True),
    ("seven digits of a fraction", "0.0000001s", False),
    ("twelve digits", "000000000001h", True),
    ("thirteen digits", "0000000000001h", False),
    ("twelve digits without a unit", "000000000001", True),
    ("thirteen digits without a unit", "0000000000001", False),
    ("a hundred characters", "".join(f"000000000001.000001{unit}" for unit in "wdhms"), True),
    ("never", "never", True),
    ("never in capitals", "Never", False),
    ("never and more", "nevers", False),
    ("exactly 100 years in days", "36525d", True),
    ("a second above 100 years", "36525d1s", False),
    ("a microsecond above 100 years", "36525d0.000001s", False),
    ("a microsecond below 100 years", "36524d23h59m59.999999s", True),
    ("exactly 100 years in seconds", "3155760000", True),
    ("a second above 100 years in seconds", "3155760001", False),
    ("exactly 100 years in seconds with their unit", "3155760000s", True),
    ("a second above 100 years in seconds with their unit", "3155760001s", False),
    ("exactly 100 years in minutes", "52596000m", True),
    ("a minute above 100 years", "52596001m", False),
    ("exactly 100 years in hours", "876600h", True),
    ("half an hour above 100 years", "876600.5h", False),
    ("the last whole week of 100 years", "5217w", True),
    ("exactly 100 years in weeks and days", "5217w6d", True),
    ("a second above 100 years in weeks and days", "5217w6d1s", False),
    ("a day above 100 years in weeks", "5218w", False),
    ("the largest number of seconds", "999999999999", False),
    (
        "the largest numbers of all units",
        "999999999999w999999999999d999999999999h999999999999m999999999999s",
        False,
    ),
    ("nothing", "", False),
    ("a space", " ", False),
    ("a space between", "1h 30m", False),
    ("a line break behind", "1h\n", False),
    ("a line break before", "\n1h", False),
    ("a minus", "-1h", False),
    ("a plus", "+1h", False),
    ("a capital", "1H", False),
    ("years", "1y", False),
    ("milliseconds", "1ms", False),
    ("a unit alone", "h", False),
    ("units alone", "hm", False),
    ("a unit without a number", "1hm", False),
    ("a number without a unit at the end", "1h30", False),
    ("units in the wrong order", "1m1h", False),
    ("days before weeks", "1d1w", False),
    ("seconds before minutes", "1s1m", False),
    ("a unit twice", "1h1h", False),
    ("six units", "1w1d1h1m1s1w", False),
    ("a point without a fraction", "1.h", False),
    ("a fraction without a number", ".5h", False),
    ("a fraction without a unit", "1.5", False),
    ("two points", "1.2.3h", False),
    ("a comma", "1,5h", False),
    ("an exponent", "1e3", False),
    ("hexadecimal", "0x10", False),
    ("digits in groups", "1_000", False),
    ("ISO 8601", "P1D", False),
    ("digits of another script", "\u0661h", False),
    ("a unit of another script", "1\u02b0", False),
    ("a hundred and one characters", "0" * 101, False),
]


def is_duration(text: str) -> bool:
    try:
        parse_duration(text)
    except ValueError:
        return False
    return True


async def test_crd_and_operator_accept_the_same_durations(policies: Policies) -> None:
    for title, text, accepted in DURATIONS:
        assert is_duration(text) is accepted, title
        refusal = await policies.refusal({"retention": {"rayJob": {"default": text}}})
        assert (refusal == "") is accepted, title


async def test_limits_and_stuck_accept_the_same_durations_except_never_and_0(
    policies: Policies,
) -> None:
    for title, text, accepted in DURATIONS:
        if text == "never":
            continue
        assert (await policies.refusal({"limits": {"keep": {"max": text}}}) == "") is accepted, (
            title
        )
        is_positive = re.search("[1-9]", text) is not None
        refusal = await policies.refusal({"stuck": {"jobLost": text}})
        assert (refusal == "") is (accepted and is_positive), title


async def test_an_integer_is_read_as_its_digits(policies: Policies) -> None:
    century = 3155760000
    for seconds in (0, 3600, century, century + 1, 2**63 - 1, -1, -(2**63)):
        refusal = await policies.refusal({"retention": {"rayJob": {"default": seconds}}})
        assert (refusal == "") is is_duration(str(seconds)), seconds


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
    """Up to 1.33 the cost estimate ignored the maxLength of integer-or-string fields."""
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
