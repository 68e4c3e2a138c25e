"""Annotations, and how long a job is kept: every source and key, and invalid values."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from raysweep import names
from raysweep.core.durations import NEVER, Duration
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import BUILT_IN, InvalidValue, SourcedDuration
from raysweep.core.model.reasons import Reason
from raysweep.core.retention.annotations import errors, recorded_outcome
from raysweep.core.retention.resolve import (
    Retention,
    Sources,
    is_any_time_set,
    keep_until,
    resolve,
    resolve_unsubmitted,
)
from tests.support.builders import DUE, a_namespace, a_rayjob, says

SUCCEEDED, FAILED, STOPPED = Outcome.SUCCEEDED, Outcome.FAILED, Outcome.STOPPED
RAYJOB, NAMESPACE, BUILT_IN_SOURCE = (
    "RayJob team-a/train annotation",
    "Namespace team-a annotation",
    "built in",
)
HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)

Annotations = dict[str, str]


def _sources(rayjob: Annotations, namespace: Annotations, **fields: Any) -> Sources:
    return Sources(a_rayjob(annotations=says(**rayjob), **fields), a_namespace(**namespace))


def _resolved(rayjob: Annotations, namespace: Annotations, *outcomes: Outcome) -> Retention:
    return resolve(_sources(rayjob, namespace), frozenset(outcomes or {SUCCEEDED}))


def _by(place: str, key: str, value: Duration) -> SourcedDuration:
    return (
        BUILT_IN
        if place == BUILT_IN_SOURCE
        else SourcedDuration(value, f"{place} raysweep.io/{key}", inherited=place == NAMESPACE)
    )


PRECEDENCE: dict[str, tuple[Annotations, Annotations, SourcedDuration, SourcedDuration]] = {
    "no source sets a time: never": ({}, {}, BUILT_IN, BUILT_IN),
    "the RayJob sets ttl alone: it counts for both": (
        {"ttl": "1h"},
        {},
        _by(RAYJOB, "ttl", HOUR),
        _by(RAYJOB, "ttl", HOUR),
    ),
    "it sets cluster-ttl alone": (
        {"cluster_ttl": "1h"},
        {},
        BUILT_IN,
        _by(RAYJOB, "cluster-ttl", HOUR),
    ),
    "it sets both": (
        {"ttl": "1d", "cluster_ttl": "1h"},
        {},
        _by(RAYJOB, "ttl", DAY),
        _by(RAYJOB, "cluster-ttl", HOUR),
    ),
    "the Namespace's ttl is a default": (
        {},
        {"ttl": "1h"},
        _by(NAMESPACE, "ttl", HOUR),
        _by(NAMESPACE, "ttl", HOUR),
    ),
    "and so is its cluster-ttl": (
        {},
        {"cluster_ttl": "0"},
        BUILT_IN,
        _by(NAMESPACE, "cluster-ttl", timedelta()),
    ),
    "the RayJob's ttl alone beats both of the Namespace": (
        {"ttl": "1h"},
        {"ttl": "1d", "cluster_ttl": "1w"},
        _by(RAYJOB, "ttl", HOUR),
        _by(RAYJOB, "ttl", HOUR),
    ),
    "the RayJob's cluster-ttl leaves ttl to the Namespace": (
        {"cluster_ttl": "1h"},
        {"ttl": "1d"},
        _by(NAMESPACE, "ttl", DAY),
        _by(RAYJOB, "cluster-ttl", HOUR),
    ),
    "never is a time like any other": (
        {"ttl": "never"},
        {"ttl": "1h"},
        _by(RAYJOB, "ttl", NEVER),
        _by(RAYJOB, "ttl", NEVER),
    ),
    "the outcome's own key beats the general one": (
        {"ttl": "1h", "ttl_succeeded": "1d"},
        {},
        _by(RAYJOB, "ttl-succeeded", DAY),
        _by(RAYJOB, "ttl-succeeded", DAY),
    ),
    "another outcome's key does not": (
        {"ttl": "1h", "ttl_failed": "1d"},
        {},
        _by(RAYJOB, "ttl", HOUR),
        _by(RAYJOB, "ttl", HOUR),
    ),
    "nor does the outcome's own key of a weaker source": (
        {"ttl": "1h"},
        {"ttl_succeeded": "1d"},
        _by(RAYJOB, "ttl", HOUR),
        _by(RAYJOB, "ttl", HOUR),
    ),
    "the outcome's own cluster-ttl beats the general one": (
        {"ttl": "1d", "cluster_ttl": "1w", "cluster_ttl_succeeded": "0"},
        {},
        _by(RAYJOB, "ttl", DAY),
        _by(RAYJOB, "cluster-ttl-succeeded", timedelta()),
    ),
}


def test_the_strongest_source_takes_precedence() -> None:
    for label, (rayjob, namespace, ttl, cluster_ttl) in PRECEDENCE.items():
        assert _resolved(rayjob, namespace) == Retention(ttl, cluster_ttl), label


@pytest.mark.parametrize("source", [RAYJOB, NAMESPACE])
@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_keys_of_its_own_in_every_source(source: str, outcome: Outcome) -> None:
    own = {f"ttl_{outcome}": "1d", f"cluster_ttl_{outcome}": "1h"}
    rayjob, namespace = (own, {}) if source == RAYJOB else ({}, own)
    expected = Retention(
        _by(source, f"ttl-{outcome}", DAY), _by(source, f"cluster-ttl-{outcome}", HOUR)
    )
    assert _resolved(rayjob, namespace, outcome) == expected
    assert all(
        _resolved(rayjob, namespace, other) == Retention(BUILT_IN, BUILT_IN)
        for other in set(Outcome) - {outcome}
    )


def test_of_several_outcomes_the_longer_of_each_time_applies() -> None:
    own = {
        "ttl_succeeded": "1h",
        "cluster_ttl_succeeded": "30m",
        "ttl_failed": "1w",
        "cluster_ttl_failed": "0",
    }
    both = Retention(
        _by(RAYJOB, "ttl-failed", WEEK), _by(RAYJOB, "cluster-ttl-succeeded", timedelta(minutes=30))
    )
    assert _resolved(own, {}, SUCCEEDED, FAILED) == both


def test_of_several_outcomes_one_without_a_time_makes_it_never() -> None:
    assert _resolved({"ttl_succeeded": "1h"}, {}, SUCCEEDED, FAILED) == Retention(
        BUILT_IN, BUILT_IN
    )


def _invalid(place: str, key: str) -> SourcedDuration:
    return SourcedDuration(NEVER, f"{place} raysweep.io/{key}, invalid")


INVALID_VALUES: dict[
    str, tuple[Annotations, Annotations, SourcedDuration, SourcedDuration, bool]
] = {
    "a RayJob's ttl alone: both never": (
        {"ttl": "soon"},
        {},
        _invalid(RAYJOB, "ttl"),
        _invalid(RAYJOB, "ttl"),
        True,
    ),
    "a RayJob's ttl beside a good cluster-ttl: that time alone is never": (
        {"ttl": "soon", "cluster_ttl": "1h"},
        {},
        _invalid(RAYJOB, "ttl"),
        _by(RAYJOB, "cluster-ttl", HOUR),
        False,
    ),
    "a RayJob's cluster-ttl: that time alone is never": (
        {"ttl": "1h", "cluster_ttl": "soon"},
        {},
        _by(RAYJOB, "ttl", HOUR),
        _invalid(RAYJOB, "cluster-ttl"),
        False,
    ),
    "it does not fall through to the Namespace": (
        {"ttl": "soon"},
        {"ttl": "1h"},
        _invalid(RAYJOB, "ttl"),
        _invalid(RAYJOB, "ttl"),
        True,
    ),
    "nor from the outcome's own key to the general one": (
        {"ttl": "1h", "ttl_succeeded": "soon"},
        {},
        _invalid(RAYJOB, "ttl-succeeded"),
        _invalid(RAYJOB, "ttl-succeeded"),
        True,
    ),
    "another outcome's value decides nothing": (
        {"ttl": "1h", "ttl_failed": "soon"},
        {},
        _by(RAYJOB, "ttl", HOUR),
        _by(RAYJOB, "ttl", HOUR),
        False,
    ),
    "a Namespace's value that decides one time keeps all": (
        {},
        {"ttl": "1h", "cluster_ttl": "soon"},
        _by(NAMESPACE, "ttl", HOUR),
        _invalid(NAMESPACE, "cluster-ttl"),
        True,
    ),
    "also where the RayJob decides the other time": (
        {"cluster_ttl": "1h"},
        {"ttl": "soon"},
        _invalid(NAMESPACE, "ttl"),
        _by(RAYJOB, "cluster-ttl", HOUR),
        True,
    ),
    "a Namespace's value that would decide nothing keeps nothing": (
        {"ttl": "1h"},
        {"ttl": "soon"},
        _by(RAYJOB, "ttl", HOUR),
        _by(RAYJOB, "ttl", HOUR),
        False,
    ),
    "nor does its unknown key": (
        {"ttl": "1h"},
        {"tll": "1h"},
        _by(RAYJOB, "ttl", HOUR),
        _by(RAYJOB, "ttl", HOUR),
        False,
    ),
}


def test_an_invalid_value_keeps() -> None:
    for label, (
        rayjob,
        namespace,
        ttl,
        cluster_ttl,
        keeps_all,
    ) in INVALID_VALUES.items():
        retention = _resolved(rayjob, namespace)
        assert (retention.ttl, retention.cluster_ttl, retention.invalid is not None) == (
            ttl,
            cluster_ttl,
            keeps_all,
        ), label


@pytest.mark.parametrize("source", ["RayJob", "Namespace"])
def test_an_unknown_key_may_be_misspelled_and_keeps_everything(source: str) -> None:
    own = {"ttl": "1h", "cluster_ttl": "1h", "tll_failed": "1w"}
    retention = _resolved(own, {}) if source == "RayJob" else _resolved({}, own)
    assert retention.invalid is not None
    assert retention.invalid.source in {
        "RayJob team-a/train annotation 'raysweep.io/tll-failed'",
        f"{NAMESPACE} 'raysweep.io/tll-failed'",
    }
    assert (retention.ttl.value, retention.cluster_ttl.value) == (NEVER, NEVER)


KEEP_TIMES: dict[str, tuple[Annotations, Annotations, datetime | None]] = {
    "no annotation": ({}, {}, None),
    "on the RayJob": (
        {"keep_until": "2026-11-22T18:00:00Z"},
        {},
        datetime(2026, 11, 22, 18, tzinfo=UTC),
    ),
    "on the Namespace": (
        {},
        {"keep_until": "2026-11-22T18:00:00Z"},
        datetime(2026, 11, 22, 18, tzinfo=UTC),
    ),
    "the Namespace's is later: it counts": (
        {"keep_until": "2026-11-22T18:00:00Z"},
        {"keep_until": "2026-11-23T18:00:00Z"},
        datetime(2026, 11, 23, 18, tzinfo=UTC),
    ),
    "the RayJob's is later: it counts": (
        {"keep_until": "2026-11-24T18:00:00Z"},
        {"keep_until": "2026-11-23T18:00:00Z"},
        datetime(2026, 11, 24, 18, tzinfo=UTC),
    ),
    "another zone": (
        {"keep_until": "2026-11-22T18:00:00.5+05:30"},
        {},
        datetime(2026, 11, 22, 12, 30, 0, 500_000, UTC),
    ),
    "small letters": (
        {"keep_until": "2026-11-22t18:00:00z"},
        {},
        datetime(2026, 11, 22, 18, tzinfo=UTC),
    ),
}


def test_the_later_keep_until_applies() -> None:
    for label, (rayjob, namespace, until) in KEEP_TIMES.items():
        assert keep_until(_sources(rayjob, namespace), DUE, timedelta()) == until, label


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("tomorrow", id="a word"),
        pytest.param("2026-11-22", id="a day"),
        pytest.param("2026-11-22T18:00:00", id="no zone"),
        pytest.param("2026-11-22 18:00:00Z", id="a blank instead of the T"),
        pytest.param("2026-02-30T18:00:00Z", id="a day that is none"),
        pytest.param("2026-11-22T18:00:00+25:00", id="a zone that is none"),
        pytest.param("9999-12-31T23:59:59-01:00", id="after the last year"),
        pytest.param("\u0662\u0660\u0662\u0666-11-22T18:00:00Z", id="digits of another script"),
        pytest.param("1795284000", id="Unix seconds"),
    ],
)
@pytest.mark.parametrize("source", ["RayJob", "Namespace"])
def test_an_invalid_keep_until_keeps_without_an_end(source: str, text: str) -> None:
    good, bad = {"keep_until": "2026-11-22T18:00:00Z"}, {"keep_until": text}
    rayjob, namespace = (bad, good) if source == "RayJob" else (good, bad)
    until = keep_until(_sources(rayjob, namespace), DUE, timedelta())
    assert isinstance(until, InvalidValue)
    assert until.source == f"{RAYJOB if source == 'RayJob' else NAMESPACE} raysweep.io/keep-until"


BAD_INPUT = {
    **dict.fromkeys((*names.DURATION_ANNOTATIONS, names.TTL_UNSUBMITTED), "soon"),
    names.KEEP_UNTIL: "tomorrow",
}
FREE_TEXTS = {names.KEEP_REASON, names.OUTCOME}
"""A text for people, and a text that Raysweep itself writes (see recorded_outcome())."""


def test_every_annotation_has_an_invalid_value() -> None:
    assert set(BAD_INPUT) | FREE_TEXTS == names.ANNOTATIONS


@pytest.mark.parametrize(("key", "value"), BAD_INPUT.items(), ids=BAD_INPUT)
def test_an_invalid_value_is_reported_with_its_place_and_a_hint(key: str, value: str) -> None:
    (invalid,) = errors({key: value}, "Namespace team-a")
    assert invalid.source == f"Namespace team-a annotation {key}"
    assert repr(value) in invalid.problem
    assert invalid.hint.startswith("use ")


def test_an_unknown_key_is_reported_with_the_known_keys() -> None:
    (invalid,) = errors({"raysweep.io/tll": "1h"}, "RayJob team-a/train")
    assert str(invalid) == (
        "unknown key in annotation 'raysweep.io/tll' of RayJob team-a/train: use one of "
        "cluster-ttl, cluster-ttl-failed, cluster-ttl-stopped, cluster-ttl-succeeded, keep-reason, "
        "keep-until, outcome, ttl, ttl-failed, ttl-stopped, ttl-succeeded, ttl-unsubmitted"
    )


def test_every_invalid_annotation_of_raysweep_is_reported_at_once() -> None:
    annotations = says(ttl="soon", cluster_ttl="1h", keep_until="tomorrow", tll="1h") | {
        "ttl": "soon",
        "example.com/ttl": "soon",
    }
    keys = [invalid.field.removeprefix("annotation ") for invalid in errors(annotations, "X")]
    assert keys == ["'raysweep.io/tll'", "raysweep.io/ttl", "raysweep.io/keep-until"]


def test_a_hostile_value_is_shown_without_control_characters_and_cut() -> None:
    (invalid,) = errors(says(ttl="\x1b[2J\n" + "9" * 5000), "RayJob team-a/train")
    assert "\n" not in str(invalid)
    assert "\x1b" not in str(invalid)
    assert len(str(invalid)) < 400


UNSUBMITTED = "ttl-unsubmitted"


UNSUBMITTED_TTLS: dict[str, tuple[Annotations, Annotations, SourcedDuration, bool]] = {
    "no source sets a time: never": ({}, {}, BUILT_IN, False),
    "a ttl is for jobs that ended": ({"ttl": "1h"}, {"ttl": "1h"}, BUILT_IN, False),
    "on the RayJob": ({"ttl_unsubmitted": "1h"}, {}, _by(RAYJOB, UNSUBMITTED, HOUR), False),
    "on the Namespace": ({}, {"ttl_unsubmitted": "1h"}, _by(NAMESPACE, UNSUBMITTED, HOUR), False),
    "the RayJob's beats the Namespace's": (
        {"ttl_unsubmitted": "never"},
        {"ttl_unsubmitted": "1h"},
        _by(RAYJOB, UNSUBMITTED, NEVER),
        False,
    ),
    "invalid": (
        {"ttl_unsubmitted": "soon"},
        {"ttl_unsubmitted": "1h"},
        _invalid(RAYJOB, UNSUBMITTED),
        True,
    ),
    "invalid on the Namespace": (
        {},
        {"ttl_unsubmitted": "soon"},
        _invalid(NAMESPACE, UNSUBMITTED),
        True,
    ),
    "where it decides nothing": (
        {"ttl_unsubmitted": "1h"},
        {"ttl_unsubmitted": "soon"},
        _by(RAYJOB, UNSUBMITTED, HOUR),
        False,
    ),
    "an unknown key may be misspelled": (
        {"ttl_unsubmited": "never"},
        {"ttl_unsubmitted": "1h"},
        SourcedDuration(NEVER, f"{RAYJOB} 'raysweep.io/ttl-unsubmited', invalid"),
        True,
    ),
}


def test_how_long_an_unsubmitted_job_is_kept() -> None:
    for label, (rayjob, namespace, ttl, is_invalid) in UNSUBMITTED_TTLS.items():
        retention = resolve_unsubmitted(
            _sources(rayjob, namespace, submission_mode=names.INTERACTIVE_MODE),
            Reason.NEVER_SUBMITTED,
        )
        assert (retention.ttl, retention.cluster_ttl, retention.invalid is not None) == (
            ttl,
            ttl,
            is_invalid,
        ), label


ANY_TIME: dict[str, tuple[Annotations, Annotations, bool]] = {
    "no source sets a time": ({}, {}, False),
    "never, and the default does not count": ({"ttl": "never"}, {"ttl": "1h"}, False),
    "for one outcome": ({"ttl_stopped": "1h"}, {}, True),
    "for the cluster": ({}, {"cluster_ttl": "0"}, True),
    "for unsubmitted jobs": ({}, {"ttl_unsubmitted": "1h"}, True),
    "invalid": ({"ttl": "soon"}, {"ttl": "1h"}, False),
}


def test_whether_any_time_is_set() -> None:
    for label, (rayjob, namespace, is_set) in ANY_TIME.items():
        assert (
            is_any_time_set(_sources(rayjob, namespace, submission_mode=names.INTERACTIVE_MODE))
            is is_set
        ), label


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("succeeded 2026-11-22T18:00:00Z", SUCCEEDED),
        ("failed 2026-11-22T18:00:00Z", FAILED),
        ("stopped 2026-11-22T18:00:00Z", STOPPED),
    ],
)
def test_a_recorded_outcome_is_read(text: str, outcome: Outcome) -> None:
    assert recorded_outcome(a_rayjob(annotations=says(outcome=text))) == (
        outcome,
        datetime(2026, 11, 22, 18, tzinfo=UTC),
    )


INVALID_OUTCOMES: list[str] = [
    "",
    "failed",
    "failed ",
    "failed soon",
    "Failed 2026-11-22T18:00:00Z",
    "2026-11-22T18:00:00Z",
    "failed 2026-11-22T18:00:00",
]


def test_an_invalid_outcome_is_reported() -> None:
    for text in INVALID_OUTCOMES:
        outcome = recorded_outcome(a_rayjob(annotations=says(outcome=text)))
        assert isinstance(outcome, InvalidValue), text
        assert outcome.source == f"{RAYJOB} raysweep.io/outcome", text
