"""`raysweep plan` without a cluster: what will become of a RayJob, and how that is printed. Judging is tests/unit's."""

import json
import re
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from raysweep.cli.common import formatting
from raysweep.cli.common.cluster_snapshot import Listed
from raysweep.cli.common.timeline_cache import TimelineCache
from raysweep.cli.plan import command as plan
from raysweep.cli.plan.command import About, Row
from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Delete, ProbeHead
from raysweep.core.model.facts import KubeRayCleanup, Resources
from raysweep.core.timeline import foresee
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    MOMENT,
    a_driver,
    a_namespace,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_silent_probe,
    a_submission,
    an_assessment,
    says,
)

BIG = Resources(cpu=8, gpu=2, memory=32 * 2**30)
DAY = 24 * HOUR
SOON = END + timedelta(minutes=1)
OWN = "annotation raysweep.io/"
ABOUT = About(
    "https://1.2.3.4:6443",
    "team-a",
    "team=vision",
    heads_asked=False,
    settings="assumed",
    mode="Enforce",
)
DOCS = Path(__file__).parents[2] / "docs" / "reference" / "json.md"


def a_job(**annotations: str) -> Assessment:
    return an_assessment(rayjob=a_rayjob(annotations=says(**annotations)))


NATIVE = an_assessment(
    rayjob=a_rayjob(annotations={}, kuberay_cleanup=KubeRayCleanup(shutdown=True)),
    namespace=a_namespace(ttl="1d"),
)
BOTH, CLUSTER, JOB = ("RayJob", "RayCluster"), ("RayCluster",), ("RayJob",)
ROWS = [
    pytest.param(an_assessment(), SOON, BOTH, DUE, "NotDue", id="its time has not come"),
    pytest.param(an_assessment(), DUE, BOTH, DUE, "Expired", id="its time has come"),
    pytest.param(an_assessment(owned=()), DUE, JOB, DUE, "Expired", id="its cluster has gone before"),
    pytest.param(a_job(ttl="1d", cluster_ttl="1h"), SOON, CLUSTER, DUE, "NotDue", id="its cluster goes earlier"),
    pytest.param(a_job(ttl="1h", cluster_ttl="1d"), SOON, BOTH, END + DAY, "NotDue", id="its cluster holds it back"),
    pytest.param(a_job(), SOON, (), None, "NoTTL", id="nobody said when"),
    pytest.param(a_job(ttl="never"), SOON, (), None, "NoTTL", id="somebody said never"),
    pytest.param(a_job(ttl="soon"), DUE, (), None, "Invalid", id="nobody knows what was said"),
    pytest.param(
        a_job(ttl="1h", keep_until="2026-11-23T18:00:00Z"),
        SOON, BOTH, datetime(2026, 11, 23, 18, tzinfo=UTC), "KeptByUser", id="kept beyond its time",
    ),
    pytest.param(a_job(ttl="1h", keep_until="2026-11-22T18:30:00Z"), SOON, BOTH, DUE, "NotDue", id="kept, but not so long"),
    pytest.param(
        an_assessment(owned=(a_raycluster(), a_raycluster(name="other", uid="uid-other"))),
        SOON, (), None, "OtherCluster", id="not due yet, and something will be in the way then",
    ),
    pytest.param(an_assessment(rayjob=a_rayjob(deployment_status="Running")), SOON, (), None, "NotFinished", id="still running"),
    pytest.param(an_assessment(namespace=None), SOON, (), None, "NamespaceUnknown", id="its Namespace cannot be read"),
    pytest.param(NATIVE, SOON, CLUSTER, END + timedelta(seconds=62), "WaitingForKubeRay", id="KubeRay comes first"),
    pytest.param(an_assessment(probe=a_probe()), DUE, BOTH, DUE, "Expired", id="asked, and nothing is against it"),
    pytest.param(an_assessment(probe=a_silent_probe()), DUE, (), None, "HeadUnreachable", id="asked in vain"),
    pytest.param(
        an_assessment(probe=a_probe(a_submission(), a_driver())), DUE, (), None, "ClusterInUse", id="asked, and somebody is at work there"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("assessment", "now", "kinds", "at", "reason"), ROWS)
def test_what_will_become_of_it(
    assessment: Assessment, now: datetime, kinds: tuple[str, ...], at: datetime | None, reason: str
) -> None:
    found = foresee(replace(assessment, now=now))
    assert (found.kinds, found.at, found.explanation.reason.value) == (kinds, at, reason)


@pytest.mark.parametrize(("assessment", "now", "kinds", "at", "reason"), ROWS)
def test_at_that_time_the_ladder_lets_it_go_and_a_moment_before_it_does_not(
    assessment: Assessment, now: datetime, kinds: tuple[str, ...], at: datetime | None, reason: str
) -> None:
    if at is None:
        assert not isinstance(decide(replace(assessment, now=now)), ProbeHead | Delete)
        return
    assert isinstance(decide(replace(assessment, now=at)), ProbeHead | Delete)
    assert at == now or not isinstance(
        decide(replace(assessment, now=at - MOMENT)), ProbeHead | Delete
    )


@pytest.mark.parametrize(("assessment", "now", "kinds", "at", "reason"), ROWS)
def test_an_outlook_that_is_used_again_says_what_a_new_one_says(
    assessment: Assessment, now: datetime, kinds: tuple[str, ...], at: datetime | None, reason: str
) -> None:
    cache = TimelineCache()
    for moment in (
        now,
        now + MOMENT,
        *([at - MOMENT, at, at + MOMENT] if at else []),
        now + DAY,
        now + 100 * DAY,
    ):
        kept, new = (
            cache.foresee(replace(replace(assessment, uptime=moment - now), now=moment)),
            foresee(replace(assessment, now=moment)),
        )
        assert (kept.targets, kept.explanation.reason, kept.is_due) == (
            new.targets,
            new.explanation.reason,
            new.is_due,
        )
        assert kept.at == new.at or (kept.at and new.at and kept.at <= moment == new.at), (
            "due now is due since"
        )


def test_an_outlook_is_used_again_only_while_the_facts_are_the_same() -> None:
    cache, assessment = TimelineCache(), a_job(ttl="1h")
    first = cache.foresee(replace(assessment, now=SOON))
    assert cache.foresee(replace(replace(assessment, uptime=HOUR), now=SOON + MOMENT)) is first
    kept = replace(
        assessment,
        rayjob=replace(
            assessment.rayjob, annotations=says(ttl="1h", keep_until="2199-01-01T00:00:00Z")
        ),
    )
    assert cache.foresee(replace(kept, now=SOON + MOMENT)).explanation.reason == "KeptByUser"
    cache.keep_only(set())
    assert cache.foresee(replace(assessment, now=SOON + MOMENT)) is not first


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (timedelta(0), "now"),
        (timedelta(seconds=-5), "now"),
        (timedelta(microseconds=1), "in 1s"),
        (timedelta(seconds=59), "in 59s"),
        (timedelta(minutes=12), "in 12m"),
        (timedelta(minutes=12, seconds=5), "in 12m5s"),
        (timedelta(hours=1, minutes=5, seconds=9), "in 1h5m"),
        (timedelta(days=3, hours=4, minutes=9), "in 3d4h"),
        (timedelta(days=39, hours=4), "in 5w4d"),
    ],
)
def test_times_are_told_from_now_on(left: timedelta, text: str) -> None:
    assert formatting.relative(END + left, END) == text


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        (Resources(), "-"),
        (BIG, "2 GPU, 8 CPU, 32Gi"),
        (Resources(cpu=0.5, memory=2**29), "0.5 CPU, 0.5Gi"),
        (Resources(gpu=1), "1 GPU"),
    ],
)
def test_what_is_freed(resources: Resources, text: str) -> None:
    assert formatting.resources_text(resources) == text


def _rows(now: datetime, *assessments: Assessment) -> list[Row]:
    return sorted(
        (Row(foresee(replace(assessment, now=now))) for assessment in assessments),
        key=lambda row: row.order,
    )


def _of_a_team() -> list[Row]:
    jobs = (
        a_rayjob(name="late", uid="1", annotations={}),
        a_rayjob(name="due", uid="2", desired=BIG),
        a_rayjob(name="soon", uid="3", annotations=says(ttl="1d", cluster_ttl="72m"), desired=BIG),
    )
    return _rows(
        DUE,
        *(an_assessment(rayjob=job, owned=(a_raycluster(controller_uid=job.uid),)) for job in jobs),
    )


def test_the_table_is_sorted_by_time_and_what_stays_is_last() -> None:
    lines = plan.as_table(_of_a_team(), DUE, wide=False).splitlines()
    assert [re.split(" {3,}", line) for line in lines] == [
        ["NAMESPACE", "NAME", "WHAT", "WHEN", "REASON", "RULE", "FREES"],
        [
            "team-a",
            "due",
            "RayJob+RayCluster",
            "now",
            "Expired (head not asked)",
            f"ttl 1h, {OWN}ttl",
            "2 GPU, 8 CPU, 32Gi",
        ],
        [
            "team-a",
            "soon",
            "RayCluster",
            "in 12m",
            "NotDue",
            f"cluster-ttl 1h12m, {OWN}cluster-ttl",
            "2 GPU, 8 CPU, 32Gi",
        ],
        [
            "team-a",
            "late",
            "-",
            "stays",
            "NoTTL",
            "ttl never, built in: nothing is deleted until you set a TTL",
            "-",
        ],
    ]
    assert (
        len(
            {
                line.index(cell)
                for line, cell in zip(lines, ("RULE", "ttl", "cluster-ttl", "ttl"), strict=True)
            }
        )
        == 1
    )


def test_the_last_line_counts_and_adds_up() -> None:
    said = "1 due now (1 with the head not asked), 1 later, 1 stay; frees 4 GPU, 16 CPU, 64Gi"
    assert plan.summary(_of_a_team(), DUE) == said
    assert plan.summary([], DUE) == "0 due now, 0 later, 0 stay; frees -"


def test_a_row_whose_head_was_asked_says_so() -> None:
    (row,) = _rows(DUE, an_assessment(probe=a_probe()))
    assert "not asked" not in plan.as_table([row], DUE, wide=True)
    assert plan.row_json(row, DUE)["head"] == "asked"


def test_a_row_that_could_not_be_looked_at_says_why() -> None:
    (row,) = _rows(DUE, an_assessment())
    assert "403 forbidden" in plan.as_table([replace(row, failed="403 forbidden")], DUE, wide=True)


HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e\r\nteam-b  root  \u2028\ud800"


@pytest.mark.parametrize(
    "assessment",
    [
        an_assessment(rayjob=a_rayjob(deployment_status=HOSTILE)),
        a_job(ttl=HOSTILE),
        a_job(ttl="1h", keep_until="2027-01-01T00:00:00Z", keep_reason=HOSTILE),
        an_assessment(namespace=a_namespace(**{HOSTILE: "1h"})),
        an_assessment(rayjob=a_rayjob(unreadable=HOSTILE)),
        an_assessment(rayjob=a_rayjob(managed_by=HOSTILE)),
        an_assessment(probe=a_silent_probe(HOSTILE)),
        an_assessment(probe=a_probe(a_submission(), a_submission("RUNNING", HOSTILE))),
    ],
)
def test_nothing_foreign_reaches_a_terminal(assessment: Assessment) -> None:
    rows = _rows(DUE, assessment)
    printed = [
        plan.as_table(rows, DUE, wide=True),
        *(
            formatting.serialized(plan.as_json(ABOUT, rows, rows, DUE), form)
            for form in ("json", "yaml")
        ),
    ]
    for text in printed:
        odd = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
        assert odd <= {"\n"}
    assert len(printed[0].splitlines()) == 2


def test_yaml_says_what_json_says() -> None:
    body = plan.as_json(ABOUT, rows := _of_a_team(), rows, DUE)
    assert (
        yaml.safe_load(formatting.serialized(body, "yaml"))
        == json.loads(formatting.serialized(body, "json"))
        == body
    )


def paths(body: object, prefix: str = "") -> set[str]:
    """`deletes[].kind` and so on, of everything in it."""
    if isinstance(body, dict):
        found = {f"{prefix}{key}" for key in body}
        return found.union(*(paths(value, f"{prefix}{key}.") for key, value in body.items()))
    if isinstance(body, list):
        return set().union(*(paths(one, f"{prefix.removesuffix('.')}[].") for one in body))
    return set()


def documented(section: str, page: Path = DOCS) -> set[str]:
    """The fields that the table of that section of a page has."""
    table = page.read_text().partition(f"### {section}\n")[2].partition("\n#")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {field for cell in cells for field in re.findall(r"`([^`]+)`", cell)}


def test_every_field_is_documented_and_every_documented_field_is_there() -> None:
    body = plan.as_json(ABOUT, rows := _of_a_team(), rows, DUE)
    items = set().union(*(paths(item) for item in body.pop("items")))
    frees = {"summary", *(f"summary.frees.{key}" for key in ("gpu", "cpu", "memory"))}
    assert (paths(body) | {"items"}) - frees == documented("Plan")
    assert items == documented("Plan items")


def test_an_item_as_it_stands() -> None:
    (row, *_) = _of_a_team()
    assert plan.row_json(row, DUE) == {
        "namespace": "team-a",
        "name": "due",
        "uid": "2",
        "decision": "goes",
        "deletes": [
            {"kind": "RayJob", "name": "due", "uid": "2"},
            {"kind": "RayCluster", "name": "train-cluster", "uid": "uid-cluster"},
        ],
        "at": "2026-11-22T19:00:00Z",
        "in": "0s",
        "reason": "Expired",
        "check": "expired",
        "message": "succeeded 2026-11-22T18:00:00Z, ttl 1h (RayJob team-a/due annotation raysweep.io/ttl)",
        "head": "not asked",
        "problem": None,
        "outcome": "succeeded",
        "finishedAt": "2026-11-22T18:00:00Z",
        "ttl": {
            "value": "1h",
            "source": "RayJob team-a/due annotation raysweep.io/ttl",
            "clamp": None,
        },
        "clusterTTL": {
            "value": "1h",
            "source": "RayJob team-a/due annotation raysweep.io/ttl",
            "clamp": None,
        },
        "rule": "ttl",
        "frees": {"gpu": 2, "cpu": 8, "memory": 32 * 2**30},
        "dryRunBy": None,
    }


def test_a_cluster_that_a_fresh_list_does_not_show_is_gone() -> None:
    known = Listed()
    known.upsert_rayjob(a_rayjob())
    assert known.memory("uid-train").cluster_gone
    known.upsert_raycluster(a_raycluster())
    assert not known.memory("uid-train").cluster_gone
    assert known.owned_by("uid-train") == (a_raycluster(),)


def test_an_unfinished_job_that_selects_the_cluster_is_known() -> None:
    known = Listed()
    known.upsert_rayjob(a_rayjob())
    known.upsert_rayjob(
        a_rayjob(
            name="second", uid="2", deployment_status="Running", selected_cluster="train-cluster"
        )
    )
    known.upsert_rayjob(a_rayjob(name="third", uid="3", selected_cluster="train-cluster"))
    assert known.selecting(a_rayjob()) == ("second",)
