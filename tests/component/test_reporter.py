"""Reports of decisions: each once, with a stable Event name and limited length."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest

from raysweep.cleanup.act import DeletionResult
from raysweep.cleanup.reconcile import Pass
from raysweep.clients.connection.api_client import ApiClient, Configuration
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.controller.metrics import Metrics
from raysweep.controller.reporter import Reporter
from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Delete
from raysweep.core.model.facts import Resources
from raysweep.core.model.memory import NOTHING
from raysweep.core.model.provenance import InvalidValue
from raysweep.core.retention import annotations
from tests.support.builders import (
    DUE,
    HOUR,
    Body,
    a_driver,
    a_namespace,
    a_policy,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_silent_probe,
    a_submission,
    an_assessment,
    says,
    written,
)
from tests.support.scripted_api import RecordedRequest, Script, json_response, serving

IN_USE = an_assessment(probe=a_probe(a_submission(), a_driver()))
NO_TTL = an_assessment(rayjob=a_rayjob(annotations={}))
UNREACHABLE = an_assessment(probe=a_silent_probe())
LAST = a_rayjob(name="last", uid="uid-last")
EXPIRED = an_assessment(rayjob=a_rayjob(desired=Resources(4, 1, 1024)), probe=a_probe())


def _pass(assessment: Assessment, *, deleted: bool = True, at: datetime = DUE) -> Pass:
    decision = decide(replace(assessment, now=at))
    targets = decision.targets if isinstance(decision, Delete) and deleted else ()
    return Pass(assessment.rayjob, decision, NOTHING, deletion=DeletionResult(targets))


@dataclass
class Reporting:
    """A reporter, its metrics, and an API server that accepts its Events."""

    reporter: Reporter
    metrics: Metrics
    script: Script

    async def events(self) -> list[Body]:
        """All Events so far. Sends one more and waits for it."""
        self.reporter.report_invalid(
            LAST, (InvalidValue("RayJob team-a/last", "no more after this"),)
        )
        bodies = [
            request.body
            async for request in self.script.until(
                lambda request: request.body["regarding"]["name"] == "last"
            )
        ]
        return bodies[:-1]

    def counted(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@contextlib.asynccontextmanager
async def _reporting(status: int = 201, now: datetime = DUE) -> AsyncIterator[Reporting]:
    async with serving(json_response({}, status)) as script:
        kubernetes, metrics = (
            Kubernetes(ApiClient(Configuration(host=script.url)), lambda _verb, _code: None),
            Metrics(),
        )
        reporter = Reporter(kubernetes, metrics, lambda: now)
        posting = asyncio.create_task(reporter.post_events())
        try:
            yield Reporting(reporter, metrics, script)
        finally:
            posting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await posting
            await kubernetes.close()


async def test_a_warning_is_one_event_on_the_rayjob() -> None:
    async with _reporting() as reporting:
        reporting.reporter.report(_pass(IN_USE))
        (event,) = await reporting.events()
        assert (
            reporting.script.requests[0].path == "/apis/events.k8s.io/v1/namespaces/team-a/events"
        )
    assert event.pop("reportingInstance")
    assert event.pop("metadata")["name"].startswith("train.")
    explanation = decide(replace(IN_USE, now=DUE)).explanation
    assert explanation.message in event.pop("note")
    assert event == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "eventTime": "2026-11-22T19:00:00.250000Z",
        "type": "Warning",
        "reason": "ClusterInUse",
        "action": "Keep",
        "regarding": {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "namespace": "team-a",
            "name": "train",
            "uid": "uid-train",
            "resourceVersion": "100",
        },
        "reportingController": "raysweep.io/operator",
    }


def _lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if "team-a/last" not in record.getMessage()]


def _changed(assessment: Assessment, **fields: Any) -> Assessment:
    return replace(assessment, rayjob=replace(assessment.rayjob, **fields))


@pytest.mark.parametrize(
    ("second", "events"),
    [
        pytest.param(IN_USE, 1, id="the same again is told once"),
        pytest.param(
            _changed(IN_USE, resource_version="101"), 2, id="another resourceVersion is news"
        ),
        pytest.param(UNREACHABLE, 2, id="another reason is news"),
        pytest.param(NO_TTL, 1, id="what is no warning is no Event"),
    ],
)
async def test_a_warning_is_reported_once_per_uid_reason_and_resource_version(
    second: Assessment, events: int
) -> None:
    async with _reporting() as reporting:
        reporting.reporter.report(_pass(IN_USE))
        reporting.reporter.report(_pass(second))
        reporting.reporter.report(_pass(IN_USE))
        assert len(await reporting.events()) == events


async def test_after_a_restart_the_same_event_has_the_same_name() -> None:
    names: list[str] = []
    for assessment in (
        IN_USE,
        IN_USE,
        _changed(IN_USE, resource_version="101"),
        _changed(IN_USE, uid="uid-again"),
        UNREACHABLE,
    ):
        async with _reporting(409) as reporting:
            reporting.reporter.report(_pass(assessment))
            (event,) = await reporting.events()
            names.append(event["metadata"]["name"])
    assert names[0] == names[1]
    assert len(set(names)) == 4


@pytest.mark.parametrize(
    "letter", ["x", "\u8a13", "\U0001f600"], ids=["latin", "three bytes each", "four bytes each"]
)
async def test_a_note_fits_the_limit_of_the_api_server(letter: str) -> None:
    values = {f"raysweep.io/{letter * 90}-{n}": "x" for n in range(9)}
    namespace = replace(a_namespace(), annotations=values)
    async with _reporting() as reporting:
        reporting.reporter.report_invalid(namespace, annotations.errors(values, "Namespace team-a"))
        (event,) = await reporting.events()
    assert 900 < len(event["note"].encode()) <= 1024
    assert event["note"].endswith("\u2026")


async def test_invalid_values_of_a_namespace_are_reported_on_it_once() -> None:
    namespace = a_namespace(ttl="soon", keep_until="tomorrow")
    async with _reporting() as reporting:
        for _ in range(3):
            reporting.reporter.report_invalid(
                namespace, annotations.errors(namespace.annotations, "Namespace team-a")
            )
        (event,) = await reporting.events()
        assert (
            reporting.script.requests[0].path == "/apis/events.k8s.io/v1/namespaces/default/events"
        )
    assert (event["regarding"]["kind"], event["regarding"]["name"], event["reason"]) == (
        "Namespace",
        "team-a",
        "Invalid",
    )
    assert "raysweep.io/ttl" in event["note"]
    assert "raysweep.io/keep-until" in event["note"]


async def test_no_errors_are_not_reported() -> None:
    async with _reporting() as reporting:
        reporting.reporter.report_invalid(a_namespace(), ())
        assert await reporting.events() == []


async def test_a_deletion_is_one_event_one_log_line_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "raysweep")
    async with _reporting() as reporting:
        reporting.reporter.report(_pass(EXPIRED))
        (event,) = await reporting.events()
    assert (event["type"], event["reason"], event["action"]) == ("Normal", "Expired", "Delete")
    assert event["note"].startswith("Deleted RayJob train and RayCluster train-cluster. ")
    (record,) = _lines(caplog)
    fields = record.__dict__["fields"]
    assert (fields["reason"], fields["check"], fields["outcome"], fields["lag_seconds"]) == (
        "Expired",
        "expired",
        "succeeded",
        0.0,
    )
    assert fields["ttl"] == {
        "value": "1h",
        "source": "RayJob team-a/train annotation raysweep.io/ttl",
        "clamp": None,
    }
    assert [deleted_object["kind"] for deleted_object in fields["deleted"]] == [
        "RayJob",
        "RayCluster",
    ]
    for kind in ("RayJob", "RayCluster"):
        assert (
            reporting.counted(
                "raysweep_deletions_total", kind=kind, reason="Expired", outcome="succeeded"
            )
            == 1
        )


@pytest.mark.parametrize(
    ("annotations", "lag"),
    [
        pytest.param(says(ttl="1h"), 7200, id="since it was due"),
        pytest.param(
            says(ttl="1h", keep_until=written(DUE + HOUR)),
            3600,
            id="since the end of the wait that somebody wanted",
        ),
    ],
)
async def test_the_lag_of_a_deletion(annotations: Mapping[str, str], lag: float) -> None:
    job = a_rayjob(annotations=annotations)
    async with _reporting(now=DUE + 2 * HOUR) as reporting:
        reporting.reporter.report(_pass(an_assessment(rayjob=job)))
        reporting.reporter.report(
            _pass(an_assessment(rayjob=job, probe=a_probe()), at=DUE + 2 * HOUR)
        )
    assert reporting.counted("raysweep_deletion_lag_seconds_sum") == pytest.approx(lag, abs=1)


async def test_a_deletion_without_effect_is_not_reported() -> None:
    async with _reporting() as reporting:
        reporting.reporter.report(_pass(EXPIRED, deleted=False))
        assert await reporting.events() == []
    assert (
        reporting.counted(
            "raysweep_deletions_total", kind="RayJob", reason="Expired", outcome="succeeded"
        )
        == 0
    )


async def test_a_cluster_is_freed_once_per_uid() -> None:
    async with _reporting() as reporting:
        reporting.reporter.report(_pass(EXPIRED))
        reporting.reporter.report(_pass(EXPIRED))
        await reporting.events()
    assert reporting.counted("raysweep_freed_resources_total", resource="cpu") == 4
    assert reporting.counted("raysweep_held_resource_seconds_total", resource="gpu") == 3600


async def test_an_internal_error_is_reported_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with _reporting() as reporting:
        reporting.reporter.report_internal_error(a_rayjob(), KeyError("what"))
        reporting.reporter.report_internal_error(a_rayjob(), KeyError("what"))
        (event,) = await reporting.events()
    assert (event["reason"], event["type"]) == ("InternalError", "Warning")
    assert "KeyError: 'what'" in event["note"]
    assert all(record.exc_info for record in _lines(caplog))
    assert reporting.counted("raysweep_internal_errors_total") == 2


async def test_the_last_reason_of_each_rayjob() -> None:
    async with _reporting() as reporting:
        reporting.reporter.report(_pass(IN_USE))
        reporting.reporter.report(_pass(_changed(NO_TTL, uid="uid-2")))
        reporting.reporter.report(_pass(_changed(NO_TTL, uid="uid-3")))
        reporting.reporter.forget("uid-3")
    stand = [
        reporting.reporter.reason_of(uid)
        for uid in ("uid-train", "uid-2", "uid-3", "uid-never-seen")
    ]
    assert stand == ["ClusterInUse", "NoTTL", None, None]


async def test_a_flood_of_events_is_dropped_and_counted_but_every_line_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "raysweep")
    async with _reporting() as reporting:
        for number in range(1100):
            reporting.reporter.report(_pass(_changed(IN_USE, uid=f"uid-{number}", name="train")))
    assert reporting.counted("raysweep_events_dropped_total") == 100
    assert len(caplog.records) == 1100


async def test_a_rejected_event_stops_no_other() -> None:
    async with _reporting(403) as reporting:
        reporting.reporter.report(_pass(IN_USE))
        reporting.reporter.report(_pass(UNREACHABLE))
        assert len(await reporting.events()) == 2


async def test_control_characters_of_tenants_are_removed_from_events_and_logs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "raysweep")
    evil = "x\n\x1b[2J\u202e"
    probe = a_probe(a_submission(), a_submission("RUN\nNING", evil))
    job = a_rayjob(annotations=says(ttl="1h"))
    async with _reporting() as reporting:
        reporting.reporter.report(_pass(an_assessment(rayjob=job, probe=probe)))
        (event,) = await reporting.events()
    shown = event["note"] + _lines(caplog)[0].getMessage()
    assert not {"\n", "\x1b", "\u202e"} & set(shown)


async def test_an_event_of_one_tenant_does_not_wait_for_a_thousand_of_another() -> None:
    """Namespaces take turns, and an Event of the flood is dropped."""
    theirs = an_assessment(
        rayjob=a_rayjob(namespace="team-b", uid="uid-theirs", name="theirs"), probe=a_probe()
    )
    theirs = replace(
        theirs,
        probe=replace(
            a_probe(), cluster=a_raycluster(namespace="team-b", controller_uid="uid-theirs")
        ),
    )
    async with _reporting() as reporting:
        for number in range(1000):
            reporting.reporter.report(
                _pass(_changed(IN_USE, uid=f"uid-{number}", name=f"flood-{number}"))
            )
        reporting.reporter.report(_pass(theirs))
        name = [
            request.body["regarding"]["name"]
            async for request in reporting.script.until(_is_of("theirs"))
        ]
    assert len(name) <= 3
    assert reporting.counted("raysweep_events_dropped_total") == 1


def _is_of(name: str) -> Callable[[RecordedRequest], bool]:
    return lambda request: request.body["regarding"]["name"] == name


async def test_sixteen_thousand_unknown_keys_are_one_short_line_and_one_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """256 KiB of them on one RayJob."""
    caplog.set_level(logging.WARNING, "raysweep")
    values = {f"raysweep.io/{number:05}": "" for number in range(16_000)}
    async with _reporting() as reporting:
        reporting.reporter.report_invalid(
            a_rayjob(annotations=values), annotations.errors(values, "RayJob team-a/train")
        )
        (event,) = await reporting.events()
    (line,) = _lines(caplog)
    assert len(line.getMessage()) < 5000
    assert "15995 more unknown keys" in line.getMessage()
    assert "raysweep.io/00000" in event["note"]


async def test_log_lines_have_a_limited_length(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "raysweep")
    policy = a_policy(errors=tuple(f"spec.{number}: {'x' * 100}" for number in range(1000)))
    async with _reporting() as reporting:
        reporting.reporter.report_invalid(
            policy,
            tuple(InvalidValue("RayJobCleanupPolicy base", fault) for fault in policy.errors),
        )
    assert len(caplog.records[0].getMessage()) < 5000


async def test_reports_of_older_resource_versions_are_forgotten() -> None:
    async with _reporting() as reporting:
        for version in range(1000):
            reporting.reporter.report(_pass(_changed(IN_USE, resource_version=str(version))))
    assert len(reporting.reporter._reported["uid-train"]) <= 2


async def test_reports_of_deleted_objects_are_forgotten() -> None:
    """This includes Namespaces and policies."""
    async with _reporting() as reporting:
        for number in range(100):
            namespace = replace(a_namespace(), uid=f"uid-{number}")
            reporting.reporter.report_invalid(
                namespace, (InvalidValue("Namespace team-a", "wrong"),)
            )
        reporting.reporter.forget_all_but({"uid-7"})
    assert list(reporting.reporter._reported) == ["uid-7"]
