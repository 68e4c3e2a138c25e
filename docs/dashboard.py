"""The Grafana dashboard as JSON, from its short description in YAML: what a panel asks stands there, what Grafana wants here."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

Body = dict[str, Any]

SCHEMA_VERSION = 39
"""Grafana 11; later ones migrate it by themselves when they load it."""
WIDTH = 24
SIZES = {"stat": (6, 4), "timeseries": (8, 8), "table": (8, 8)}
"""Width and height of a panel by its kind, on Grafana's grid."""
LABELS = {"$here": 'job=~"$job", namespace=~"$namespace"', "$job": 'job=~"$job"'}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard(short: Mapping[str, Any]) -> str:
    """The file that Grafana loads."""
    body: Body = {
        "title": short["title"],
        "uid": "raysweep",
        "tags": ["raysweep", "ray", "kubernetes"],
        "description": "Made from deploy/monitoring/dashboard.yaml by `python docs/generate.py`.",
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": [{"id": number, **panel} for number, panel in enumerate(_panels(short), 1)],
    }
    return json.dumps(body, indent=1) + "\n"


def _variables() -> list[Body]:
    """job: which Raysweep; namespace: whose RayJobs, where the metrics tell it; otherwise: the one guess in it all."""
    hours = ["1", "8", "24", "72", "168"]
    options = [{"text": each, "value": each, "selected": each == "24"} for each in hours]
    otherwise = {
        "name": "otherwise",
        "label": "Without Raysweep clusters would stay (hours)",
        "type": "custom",
    }
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        _labels_of("job", "raysweep_build_info"),
        _labels_of("namespace", "raysweep_rayjobs"),
        {
            **otherwise,
            "query": ",".join(hours),
            "options": options,
            "current": {"text": "24", "value": "24"},
        },
    ]


def _labels_of(name: str, metric: str) -> Body:
    """`.*` matches a label that is not there, too."""
    asked = {"query": f"label_values({metric}, {name})", "refId": name}
    many = {
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": SOURCE,
        "query": asked,
        "refresh": 2,
        "sort": 1,
        **many,
    }


def _panels(short: Mapping[str, Any]) -> Iterator[Body]:
    """Rows of panels, each set beside the one before as long as there is room."""
    top = 0
    for row in short["rows"]:
        yield {
            "type": "row",
            "title": row["title"],
            "collapsed": False,
            "panels": [],
            "gridPos": _at(0, top, WIDTH, 1),
        }
        left, top, deep = 0, top + 1, 0
        for panel in row["panels"]:
            wide, high = SIZES[panel.get("kind", "timeseries")]
            if left + wide > WIDTH or (left and high != deep):
                left, top = 0, top + deep
            yield _panel(panel, _at(left, top, wide, high))
            left, deep = left + wide, high
        top += deep


def _at(left: int, top: int, wide: int, high: int) -> Body:
    return {"x": left, "y": top, "w": wide, "h": high}


def _panel(panel: Mapping[str, Any], place: Body) -> Body:
    kind = panel.get("kind", "timeseries")
    return {
        "type": kind,
        "title": panel["title"],
        "description": panel["about"],
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.get("unit", "short"), "min": 0},
            "overrides": [],
        },
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}} if kind == "stat" else {},
        "targets": [
            _target(query, chr(ord("A") + number), kind)
            for number, query in enumerate(panel["queries"])
        ],
    }


def _target(query: str | Mapping[str, str], ref: str, kind: str) -> Body:
    """A query alone, or a query under its legend. What is one figure, or a table, is asked for the end of the time shown."""
    legend, text = ("", query) if isinstance(query, str) else next(iter(query.items()))
    for short, labels in LABELS.items():
        text = text.replace(f"{short}}}", f"{labels}}}")
    one = {"instant": True, "range": False, "format": "table" if kind == "table" else "time_series"}
    many = {"instant": False, "range": True, "format": "time_series"}
    return {
        "refId": ref,
        "datasource": SOURCE,
        "expr": text,
        "legendFormat": legend,
        **(many if kind == "timeseries" else one),
    }
