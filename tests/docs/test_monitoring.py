"""Compares alerts, their tests, the runbook and the dashboard with each other and the metrics."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from raysweep.controller.metrics import Metrics, Snapshot
from raysweep.core.model.reasons import Reason

Body = dict[str, Any]

ROOT = Path(__file__).parents[2]
MONITORING, RUNBOOK = ROOT / "deploy" / "monitoring", ROOT / "docs" / "how-to" / "runbook.md"
METRICS_PAGE = ROOT / "docs" / "reference" / "metrics.md"
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
    """Every name that a query may use, by the metric that it belongs to."""
    metrics = Metrics(by_namespace=True)
    metrics.watch(Snapshot)
    return {
        family.name: {f"{family.name}{suffix}" for suffix in SUFFIXES[family.type]}
        for family in metrics.registry.collect()
    }


def panels() -> list[Body]:
    panels: list[Body] = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return panels


def queries() -> Iterator[str]:
    """Every query of the alerts and the dashboard."""
    yield from (rule["expr"] for rule in alerts().values())
    for panel in panels():
        yield from (target["expr"] for target in panel.get("targets", ()))


def test_the_runbook_has_one_entry_per_alert_in_the_same_order() -> None:
    assert list(entries()) == list(alerts())


def test_each_alert_has_a_severity_a_value_and_a_link_to_the_runbook() -> None:
    for name, rule in alerts().items():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, name
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, name
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, name
        link = f"docs/how-to/runbook.md#{name.lower()}"
        assert rule["annotations"]["runbook_url"] == link, name
        has_no_value = "absent(" in rule["expr"] or rule["expr"].endswith("== 0")
        assert has_no_value or "$value" in rule["annotations"]["description"], name


def test_each_alert_is_tested_to_fire_and_to_be_silent() -> None:
    tests = yaml.safe_load((MONITORING / "rules_test.yaml").read_text())["tests"]
    results: dict[str, set[bool]] = {}
    for test in tests:
        for expected in test["alert_rule_test"]:
            fires = bool(expected["exp_alerts"])
            results.setdefault(expected["alertname"], set()).add(fires)
    assert results == {name: {True, False} for name in alerts()}


def test_each_entry_of_the_runbook_has_its_three_parts() -> None:
    parts = ("**Meaning.** ", "**Diagnosis.**", "```console\n$ kubectl ", "**Action.**")
    for name, text in entries().items():
        positions = [text.find(part) for part in parts]
        assert positions == sorted(positions), name
        assert positions[0] >= 0, name


def test_every_metric_that_is_named_exists() -> None:
    for path in (*MONITORING.glob("*"), RUNBOOK, METRICS_PAGE):
        named = set(re.findall(r"\b(?:raysweep|process)_[a-z_]*[a-z]\b", path.read_text()))
        assert named, path.name
        # Pages name a histogram by its family, queries by its series.
        families = set(series()) if path.suffix == ".md" else set()
        assert named <= families.union(*series().values()), path.name


def test_the_dashboard_shows_every_metric_of_raysweep() -> None:
    text = " ".join(queries())
    missing = [
        family
        for family, names in series().items()
        if family.startswith("raysweep_")
        and not any(re.search(rf"\b{name}\b", text) for name in names)
    ]
    assert missing == []


def test_queries_name_only_existing_reasons() -> None:
    named = {
        reason
        for query in queries()
        for alternatives in re.findall(r'reason(?:=|!=|=~|!~)"([A-Za-z|]+)"', query)
        for reason in alternatives.split("|")
    }
    assert {"KeptByUser", "BulkExpiryBlocked", "Invalid"} <= named <= set(Reason)


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    cells = [
        (x, y)
        for position in (panel["gridPos"] for panel in panels())
        for x in range(position["x"], position["x"] + position["w"])
        for y in range(position["y"], position["y"] + position["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
