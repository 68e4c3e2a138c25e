"""Alerts, their tests, the runbook and the dashboard against each other and against the metrics that there are."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysweep.controller.metrics import Metrics, Snapshot
from raysweep.core.model.reasons import Reason

Body = dict[str, Any]

ROOT = Path(__file__).parents[2]
MONITORING, RUNBOOK = ROOT / "deploy" / "monitoring", ROOT / "docs" / "how-to" / "runbook.md"
SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "info": ("_info",),
    "gauge": ("",),
}


@cache
def alerts() -> dict[str, Body]:
    """Every alert by its name."""
    groups = yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@cache
def entries() -> dict[str, str]:
    """The text of every entry of the runbook by its heading."""
    _, *parts = re.split(r"^## ", RUNBOOK.read_text(), flags=re.MULTILINE)
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


@cache
def series() -> dict[str, set[str]]:
    """Every name that a query may use, by the metric it belongs to."""
    metrics = Metrics(by_namespace=True)
    metrics.watch(Snapshot)
    found = ((family.name, SUFFIXES[family.type]) for family in metrics.registry.collect())
    return {name: {f"{name}{suffix}" for suffix in suffixes} for name, suffixes in found}


def queries() -> Iterator[str]:
    """Every query of the alerts and the dashboard."""
    yield from (rule["expr"] for rule in alerts().values())
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def test_every_alert_has_an_entry_in_the_runbook_and_every_entry_an_alert_in_one_order() -> None:
    assert list(entries()) == list(alerts())


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_how_bad_what_how_much_and_where_to_read_on(name: str) -> None:
    rule = alerts()[name]
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/how-to/runbook.md#{name.lower()}"
    assert (
        "$value" in rule["annotations"]["description"]
        or "absent(" in rule["expr"]
        or rule["expr"].endswith("== 0")
    )


@pytest.mark.parametrize("name", alerts())
def test_an_alert_is_tested_to_fire_and_to_be_silent(name: str) -> None:
    assessments = [
        bool(asked["exp_alerts"])
        for test in yaml.safe_load((MONITORING / "rules_test.yaml").read_text())["tests"]
        for asked in test["alert_rule_test"]
        if asked["alertname"] == name
    ]
    assert set(assessments) == {True, False}


@pytest.mark.parametrize("name", entries())
def test_an_entry_says_what_it_means_how_to_look_and_what_to_do(name: str) -> None:
    text = entries()[name]
    places = [
        text.find(part)
        for part in ("**Means.** ", "**Look.**", "```console\n$ kubectl ", "**Do.**")
    ]
    assert -1 < places[0] < places[1] < places[2] < places[3]


@pytest.mark.parametrize(
    "path",
    [*MONITORING.glob("*"), RUNBOOK, ROOT / "docs" / "reference" / "metrics.md"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_metric_that_is_named_is_there(path: Path) -> None:
    named = set(re.findall(r"\b(?:raysweep|process)_[a-z_]*[a-z]\b", path.read_text()))
    assert named
    whole = (
        set(series()) if path.suffix == ".md" else set()
    )  # prose names a histogram as one, queries only its parts
    assert named - set().union(whole, *series().values()) == set()


def test_the_dashboard_shows_every_metric_of_ours() -> None:
    asked = " ".join(queries())
    ours = {name: names for name, names in series().items() if name.startswith("raysweep_")}
    assert {
        name
        for name, names in ours.items()
        if not any(re.search(rf"\b{one}\b", asked) for one in names)
    } == set()


def test_every_reason_that_is_named_is_in_the_vocabulary() -> None:
    named = {
        word
        for query in queries()
        for words in re.findall(r'reason(?:=|!=|=~|!~)"([A-Za-z|]+)"', query)
        for word in words.split("|")
    }
    assert {"KeptByUser", "BulkExpiryBlocked", "Invalid"} <= named
    assert named - set(Reason) == set()


def test_the_panels_of_the_dashboard_stand_beside_each_other() -> None:
    board = json.loads((MONITORING / "dashboard.json").read_text())
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in board["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
