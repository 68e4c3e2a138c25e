"""Builds the Grafana dashboard as JSON from deploy/monitoring/dashboard.yaml.

The YAML file holds the titles and queries. This module adds what Grafana requires.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

Body = dict[str, Any]

SCHEMA_VERSION = 39
"""Of Grafana 11. Later versions migrate the dashboard when they load it."""
WIDTH = 24
SIZES = {"stat": (6, 4), "timeseries": (8, 8), "table": (8, 8)}
"""Width and height of a panel by its kind, on Grafana's grid."""
LABELS = {"$here": 'job=~"$job", namespace=~"$namespace"', "$job": 'job=~"$job"'}
"""Label matchers by the short form that the queries use."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard(short: Mapping[str, Any]) -> str:
    """The JSON file that Grafana loads."""
    body: Body = {
        "title": short["title"],
        "uid": "raysweep",
        "tags": ["raysweep", "ray", "kubernetes"],
        "description": "Generated from deploy/monitoring/dashboard.yaml.",
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": [{"id": number, **panel} for number, panel in enumerate(_panels(short), 1)],
    }
    return json.dumps(body, indent=1) + "\n"


def _variables() -> list[Body]:
    """The variables: data source, job, namespace, and the assumed lifetime without Raysweep."""
    hours = ["1", "8", "24", "72", "168"]
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        _label_variable("job", "raysweep_build_info"),
        _label_variable("namespace", "raysweep_rayjobs"),
        {
            "name": "otherwise",
            "label": "Lifetime of a RayCluster without Raysweep (hours)",
            "type": "custom",
            "query": ",".join(hours),
            "options": [{"text": each, "value": each, "selected": each == "24"} for each in hours],
            "current": {"text": "24", "value": "24"},
        },
    ]


def _label_variable(name: str, metric: str) -> Body:
    """A variable with the values of a label. `.*` matches series without that label, too."""
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": f"label_values({metric}, {name})", "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panels(short: Mapping[str, Any]) -> Iterator[Body]:
    """The rows, each with its panels placed side by side as long as there is room."""
    top = 0
    for row in short["rows"]:
        yield {
            "type": "row",
            "title": row["title"],
            "collapsed": False,
            "panels": [],
            "gridPos": _position(0, top, WIDTH, 1),
        }
        left, top, row_height = 0, top + 1, 0
        for panel in row["panels"]:
            width, height = SIZES[panel.get("kind", "timeseries")]
            if left + width > WIDTH or (left and height != row_height):
                left, top = 0, top + row_height
            yield _panel(panel, _position(left, top, width, height))
            left, row_height = left + width, height
        top += row_height


def _position(left: int, top: int, width: int, height: int) -> Body:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(panel: Mapping[str, Any], position: Body) -> Body:
    kind = panel.get("kind", "timeseries")
    return {
        "type": kind,
        "title": panel["title"],
        "description": panel["about"],
        "datasource": SOURCE,
        "gridPos": position,
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
    """A query of a panel: its text alone, or a mapping from the legend to the text.

    A stat and a table show the value at the end of the time range. A time series shows all values.
    """
    legend, text = ("", query) if isinstance(query, str) else next(iter(query.items()))
    for short, labels in LABELS.items():
        text = text.replace(f"{short}}}", f"{labels}}}")
    is_series = kind == "timeseries"
    return {
        "refId": ref,
        "datasource": SOURCE,
        "expr": text,
        "legendFormat": legend,
        "instant": not is_series,
        "range": is_series,
        "format": "table" if kind == "table" else "time_series",
    }
