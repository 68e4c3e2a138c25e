"""The admission policies and Raysweep reject the same values, with a hint."""

import asyncio
import random
import re
from collections.abc import Mapping

import pytest

from raysweep import names
from raysweep.core.durations import parse_duration
from raysweep.core.model.facts import RayJob
from raysweep.core.model.provenance import InvalidValue
from raysweep.core.retention.annotations import errors, recorded_outcome
from tests.support.admission import FILES, STRICT, Bundle, ours, update, update_namespace

pytestmark = pytest.mark.xdist_group("admission")

HINT = "use seconds, a value such as 1h30m (w, d, h, m, s), or never (at most 100 years)"
DURATIONS = [
    "0", "90", "15s", "1h30m", "2w1d", "1.5h", "0.000001s", "1w2d3h4m5.6s", "999999s",
    "000000000007", "never", "36525d", "3155760000", "36524.9d2.4h", "5217.857142w0.0144m",
    "876600h", "36525d0.000001s", "3155760001", "36525.000001d", "5217w6d", "5217w6d1s",
    "999999999999", "999999999999w", "140000000w999999999d",
    "999999999999w999999999999d999999999999h", "", "soon", "Never", "-5", "+5", "1h ", " 1h",
    "1h\n", "1m1h", "1h1h", "1y", "h", "1.h", ".5h", "1.5", "1e3", "1,5h", "1H", "\u0661h",
    "1234567890123", "1234567890123h", "1.1234567s", "1h 30m", "P1D", "never ", "0x10", "1ms",
    "9" * 5000,
]  # fmt: skip
TIMES = [
    "2026-11-22T18:00:00Z", "2026-11-22t18:00:00z", "2026-11-22T18:00:00.123456Z",
    "2026-11-22T18:00:00+01:00", "2024-02-29T00:00:00Z", "2000-02-29T00:00:00Z",
    "0001-01-01T00:00:00Z", "0001-01-01T01:00:00+01:00", "9999-12-31T23:59:59Z",
    "9999-12-31T22:59:59-01:00", "2026-11-22T18:00:00-23:59", "", "tomorrow", "2026-11-22",
    "2026-11-22 18:00:00Z", "2026-11-22T18:00:00", "2026-11-22T18:00Z",
    "2026-11-22T18:00:00.1234567Z", "2026-11-22T18:00:00.Z", "2026-13-01T00:00:00Z",
    "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-32T00:00:00Z",
    "2026-04-31T00:00:00Z", "2026-02-29T00:00:00Z", "2026-02-30T00:00:00Z",
    "1900-02-29T00:00:00Z", "2026-11-22T24:00:00Z", "2026-11-22T18:00:00+05:99",
    "2026-11-22T18:00:00+24:00", "2026-11-22T18:60:00Z", "2026-11-22T18:00:60Z",
    "2026-11-22T18:00:00+24:00", "2026-11-22T18:00:00+0100", "2026-11-22T18:00:00Z\n",
    "0000-01-01T00:00:00Z", "0001-01-01T00:59:59+01:00", "9999-12-31T23:00:00-01:00",
    "\u0662026-11-22T18:00:00Z", "1795370400", "failed 2026-11-22T18:00:00Z",
]  # fmt: skip
OUTCOMES = [
    "failed 2026-11-22T19:38:36Z", "succeeded 2026-11-22T19:38:36+01:00",
    "stopped 2026-11-22T19:38:36Z", "", "failed", "failed ", "lost 2026-11-22T19:38:36Z",
    "failed  2026-11-22T19:38:36Z", "Failed 2026-11-22T19:38:36Z", "failed 2026-02-29T00:00:00Z",
    "2026-11-22T19:38:36Z", "failed 2026-11-22T19:38:36Z ", "failed failed 2026-11-22T19:38:36Z",
]  # fmt: skip
SETS: list[Mapping[str, str]] = [
    {},
    ours(
        {
            "ttl": "1h",
            "ttl_succeeded": "1d",
            "ttl_failed": "2w",
            "ttl_stopped": "0",
            "ttl_unsubmitted": "1h",
        }
    ),
    ours(
        {
            "cluster_ttl": "1h",
            "cluster_ttl_succeeded": "1d",
            "cluster_ttl_failed": "2w",
            "cluster_ttl_stopped": "0",
        }
    ),
    ours({"keep_reason": "because\nof 1y"}),
    ours({"kepp_until": "2026-11-22T18:00:00Z"}),
    ours({"ttl_lost": "1h"}),
    ours({"TTL": "1h"}),
    {"raysweep.io/ttl.failed": "1h"},
    {"submit.raysweep.io/id": "x", "example.com/ttl": "soon"},
    ours({"ttl": "1h", "cluster_ttl_stopped": "1y"}),
]


async def test_both_accept_the_same_durations(bundle: Bundle) -> None:
    for text in DURATIONS:
        assert await is_accepted(bundle, ours({"ttl_failed": text})) is is_duration(text), text


async def test_every_key_of_a_duration_is_checked(bundle: Bundle) -> None:
    keys = (*names.DURATION_ANNOTATIONS, names.TTL_UNSUBMITTED)
    assert [await is_accepted(bundle, {key: "soon"}) for key in keys] == [False] * len(keys)


async def test_both_accept_the_same_times(bundle: Bundle) -> None:
    for text in TIMES:
        values = ours({"keep_until": text})
        assert await is_accepted(bundle, values) is (errors(values, "RayJob") == ()), text


async def test_both_accept_the_same_outcomes(bundle: Bundle) -> None:
    for text in OUTCOMES:
        values = ours({"outcome": text})
        read = recorded_outcome(RayJob("team-strict", "train", "uid", "1", annotations=values))
        assert await is_accepted(bundle, values) is not isinstance(read, InvalidValue), text


async def test_both_accept_the_same_sets_of_annotations(bundle: Bundle) -> None:
    for values in SETS:
        assert await is_accepted(bundle, values) is (errors(values, "RayJob") == ()), values


async def test_both_accept_the_same_random_durations(
    bundle: Bundle,
) -> None:
    chosen = random.Random(6)
    texts = [near_the_bound(chosen) for _ in range(200)] + [
        near_the_grammar(chosen) for _ in range(200)
    ]
    accepted = {text: await is_accepted(bundle, ours({"ttl": text})) for text in texts}

    assert {text: taken for text, taken in accepted.items() if taken is not is_duration(text)} == {}
    assert 50 < sum(accepted.values()) < 350, "too few of one kind"


MESSAGES = [
    (
        "a duration",
        {"ttl": "soon"},
        f'422 .*invalid duration "soon" in annotation raysweep.io/ttl: {HINT}',
    ),
    ("on one line", {"ttl": "1\n2"}, r'invalid duration "1\\n2" in annotation raysweep.io/ttl'),
    ("cut short", {"ttl": "9" * 9999}, r'invalid duration "9{60}" in annotation'),
    (
        "several",
        {"ttl": "a", "ttl_failed": "b"},
        '"a" in annotation raysweep.io/ttl, invalid duration "b" in annotation '
        "raysweep.io/ttl-failed",
    ),
    (
        "too long",
        {"ttl": "101.5w", "cluster_ttl": "9999w"},
        '"9999w" in annotation raysweep.io/cluster-ttl: it is longer than 100 years, use never',
    ),
    (
        "a time",
        {"keep_until": "tomorrow"},
        '"tomorrow" in annotation raysweep.io/keep-until: use an RFC 3339 time with its zone',
    ),
    (
        "a key",
        {"kepp": "1"},
        'unknown key in annotation "raysweep.io/kepp": use ttl or cluster-ttl, .*keep-until',
    ),
    (
        "an outcome",
        {"outcome": "x"},
        'invalid outcome "x" in annotation raysweep.io/outcome: remove it',
    ),
]


async def test_the_message_names_key_value_and_hint(bundle: Bundle) -> None:
    """The writers pass all other policies, because the API server returns one refusal only."""
    for title, values, message in MESSAGES:
        who = "Raysweep" if "outcome" in values else "the platform"
        write = update("train", namespace=STRICT, annotations=ours(values))
        refused = await bundle.refusal(who, write)
        pattern = message.replace("(", r"\(").replace(")", r"\)")
        assert re.search(pattern, refused), (title, refused)


async def test_a_namespace_has_the_same_rules_and_no_outcome(bundle: Bundle) -> None:
    nora = await bundle.person("whoever owns the Namespace")

    soon = await nora.types(
        "annotate", "namespace", nora.namespace, "raysweep.io/ttl=soon", "--dry-run=server"
    )
    assert 'invalid duration "soon" in annotation raysweep.io/ttl' in soon.err
    assert (await bundle.refusal("Raysweep", update_namespace(outcome="x"))).startswith("403 ")
    outcome = await bundle.refusal(
        "whoever owns the Namespace", update_namespace(outcome="failed 2026-11-22T19:38:36Z")
    )
    assert "outcome is written by raysweep-users" in outcome


async def test_the_files_list_all_keys_of_raysweep() -> None:
    files = {file.name: await asyncio.to_thread(file.read_text) for file in FILES.glob("*.yaml")}
    keys = {
        name: set(re.findall(r"'(raysweep\.io/[a-z-]+)'", text)) for name, text in files.items()
    }

    assert keys["10-annotations.yaml"] == set(names.ANNOTATIONS)
    assert keys["20-reserved.yaml"] == set(names.ANNOTATIONS)
    exempting = {
        names.MULTIKUEUE_ORIGIN_LABEL,
        *names.RECREATED_BY,
        names.CRON_TIMESTAMP,
        names.CRON_KIND,
        names.KUBERAY_MANAGER,
    }
    assert [key for key in exempting if f"'{key}'" not in files["30-exemptions.yaml"]] == []
    assert f"'{names.ORPHAN_FINALIZER}'" in files["40-orphans.yaml"]


async def is_accepted(bundle: Bundle, values: Mapping[str, str]) -> bool:
    """Whether the policies accept annotations. Only Raysweep may write the outcome."""
    who = "Raysweep" if names.OUTCOME in values else "the platform"
    return (
        await bundle.refusal(who, update("train", namespace=STRICT, annotations=dict(values))) == ""
    )


def is_duration(text: str) -> bool:
    try:
        parse_duration(text)
    except ValueError:
        return False
    return True


def near_the_bound(chosen: random.Random) -> str:
    """A duration of 100 years, plus or minus some microseconds or seconds."""
    left = 3_155_760_000_000_000 + chosen.choice(
        [0, 0, 1, -1, 10**6, -(10**6), chosen.randrange(-(10**9), 10**9)]
    )
    parts = []
    for unit, length in (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60)):
        count = left // (length * 1_000_000) // chosen.choice([1, 1, 2, 3])
        tenths = chosen.randrange(10) if count else 0
        if chosen.random() < 0.7 and count:
            parts.append(f"{count - 1}.{tenths}{unit}")
            left -= ((count - 1) * 10 + tenths) * length * 100_000
    return "".join(parts) + f"{left // 1_000_000}.{left % 1_000_000:06d}s"


def near_the_grammar(chosen: random.Random) -> str:
    return "".join(
        chosen.choice(["1", "30", "0.5", "w", "d", "h", "m", "s", "."])
        for _ in range(chosen.randrange(1, 6))
    )
