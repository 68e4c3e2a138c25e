"""Makes what chart and code know by themselves: deploy/manifests, deploy/admission, parts of the chart. No prose of its own.

`python -m deploy.render` writes them; with --check it writes nothing and fails where a file differs.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from raysweep.core.durations import format_duration
from raysweep.settings import Settings
from tests.support.helm import CHART, render

DEPLOY = Path(__file__).parent
MANIFESTS = {
    "templates/serviceaccount.yaml": "10-service-account.yaml",
    "templates/rbac.yaml": "20-rbac.yaml",
    "templates/policy-readers.yaml": "22-policy-readers.yaml",
    "templates/configmap.yaml": "25-settings.yaml",
    "templates/deployment.yaml": "30-deployment.yaml",
    "templates/service.yaml": "40-metrics-service.yaml",
    "templates/networkpolicy.yaml": "45-network-policy.yaml",
    "templates/poddisruptionbudget.yaml": "50-disruption-budget.yaml",
}
"""The chart's templates with its defaults; 00-namespace.yaml is written by hand, for Helm makes Namespaces by itself."""
ADMISSION = "templates/admission/"
HELMS_OWN = re.compile(
    r"^ +(?:helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n|^ +annotations:\n +checksum/settings: .*\n",
    re.MULTILINE,
)
"""Says nothing true where Helm is not used: its labels, and the checksum by which an upgrade restarts the Pods."""
COPIES = {
    "crds/raysweep.io_rayjobcleanuppolicies.yaml": "crds/raysweep.io_rayjobcleanuppolicies.yaml",
    "monitoring/rules.yaml": "files/rules.yaml",
    "monitoring/dashboard.json": "files/dashboard.json",
}
"""Files of deploy/ that the chart has too, since nothing outside of it is packed."""

OF_THE_CHART = {
    "mode", "namespaces", "read_namespaces", "head_tokens", "kubeconfig", "context", "listen", "lease_namespace", "lease_name",
    "identity",
}  # fmt: skip
"""Settings that have a value of their own, or that the chart knows itself."""
PATTERNS = {
    "head_proxy": r"^(http://[A-Za-z0-9.\-\[\]:]+/?)?$",
    "cluster_domain": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
}
LIMITS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}


def main(arguments: list[str]) -> int:
    """0 where all files are as they should be."""
    wanted = files()
    stale = [
        path for path, text in wanted.items() if not path.is_file() or path.read_text() != text
    ]
    surplus = sorted(set(kept()) - set(wanted))
    if "--check" in arguments:
        sys.stdout.writelines(
            f"{path.relative_to(DEPLOY.parent)} differs; run make manifests\n"
            for path in [*stale, *surplus]
        )
        return 1 if stale or surplus else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
        sys.stdout.write(f"wrote {path.relative_to(DEPLOY.parent)}\n")
    for path in surplus:
        path.unlink()
    return 0


def files() -> dict[Path, str]:
    """Every file that is made, with its text."""
    copies = {CHART / copy: (DEPLOY / source).read_text() for source, copy in COPIES.items()}
    made = {CHART / "values.schema.json": _schema(), CHART / "README.md": _readme()}
    return {**copies, **made, **dict(_manifests()), **dict(_admission())}


def kept() -> Iterable[Path]:
    """What lies where only made files may."""
    yield from (path for path in _of(DEPLOY / "manifests") if path.name != "00-namespace.yaml")
    for folder in (DEPLOY / "admission", CHART / "crds", CHART / "files"):
        yield from _of(folder)


def _of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix in (".yaml", ".json"))


def _manifests() -> Iterable[tuple[Path, str]]:
    texts = render({})
    for template, name in MANIFESTS.items():
        yield DEPLOY / "manifests" / name, _plain(texts[template])


def _admission() -> Iterable[tuple[Path, str]]:
    for template, text in render({"admission": {"enabled": True}}).items():
        if template.startswith(ADMISSION):
            yield DEPLOY / "admission" / template.removeprefix(ADMISSION), _plain(text)


def _plain(text: str) -> str:
    return HELMS_OWN.sub("", text).strip().removesuffix("---").strip() + "\n"


def _schema() -> str:
    """The schema as it stands, but for the settings, which settings.py knows."""
    path = CHART / "values.schema.json"
    schema = json.loads(path.read_text())
    schema["properties"]["settings"] = {
        "$comment": "made by deploy/render.py from settings.py",
        "type": "object",
        "additionalProperties": False,
        "properties": {camel_case(name): _of_field(name, field) for name, field in _settings()},
    }
    return json.dumps(schema, indent=2) + "\n"


def _settings() -> Iterable[tuple[str, FieldInfo]]:
    return (
        (name, field) for name, field in Settings.model_fields.items() if name not in OF_THE_CHART
    )


def camel_case(field: str) -> str:
    """`kuberay_ttl` is `kuberayTTL`, as Kubernetes writes it."""
    first, *rest = field.split("_")
    return first + "".join("TTL" if word == "ttl" else word.capitalize() for word in rest)


def _of_field(name: str, field: FieldInfo) -> dict[str, Any]:
    kind: Any = field.annotation
    if kind is timedelta:
        return {"$ref": "#/$defs/duration"}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [each.value for each in kind]}
    if kind in (int, float):
        bounds = {
            LIMITS[key]: getattr(one, key)
            for one in field.metadata
            for key in LIMITS
            if hasattr(one, key)
        }
        return {"type": "integer" if kind is int else "number", **bounds}
    if kind is bool:
        return {"type": "boolean"}
    if kind == frozenset[str]:
        of = "label" if name == "protected_namespaces" else "key"
        return {"type": "array", "items": {"$ref": f"#/$defs/{of}"}, "uniqueItems": True}
    assert kind is str, f"{name}: a type that the chart's schema does not know yet"
    return {"type": "string", **({"pattern": PATTERNS[name]} if name in PATTERNS else {})}


def _readme() -> str:
    text = (CHART / "README.md").read_text()
    text = _filled(text, "values", _table("value | default | means", _values()))
    return _filled(text, "settings", _table("setting | default | means", _setting_rows()))


def _values() -> Iterable[tuple[str, ...]]:
    """Every commented value, in the order of values.yaml."""
    text = (CHART / "values.yaml").read_text()
    lines, root = text.splitlines(), yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    yield from _commented(root, "", lines, yaml.safe_load(text))


def _commented(
    node: yaml.MappingNode, path: str, lines: list[str], values: Mapping[str, Any]
) -> Iterable[tuple[str, ...]]:
    for key, value in node.value:
        said = lines[key.start_mark.line - 1].strip()
        here = f"{path}{key.value}"
        if said.startswith("# -- "):
            yield f"`{here}`", f"`{json.dumps(values[key.value])}`", said.removeprefix("# -- ")
        else:
            assert isinstance(value, yaml.MappingNode), (
                f"values.yaml: {here} lacks a `# --` comment"
            )
            yield from _commented(value, f"{here}.", lines, values[key.value])


def _setting_rows() -> Iterable[tuple[str, ...]]:
    for name, field in _settings():
        yield f"`{camel_case(name)}`", _default(field.default), field.description or ""


def _default(value: Any) -> str:
    if value in ("", frozenset()):
        return ""
    if isinstance(value, timedelta):
        return f"`{format_duration(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _table(head: str, rows: Iterable[tuple[str, ...]]) -> str:
    columns = head.split(" | ")
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"
        for row in (columns, ["---"] * len(columns), *rows)
    )


def _filled(text: str, name: str, table: str) -> str:
    before, begin, rest = text.partition(
        f"<!-- {name}: made by `make manifests`; do not edit up to the end of the table -->"
    )
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    assert begin, f"the chart's README.md lacks the mark where the table of {name} begins"
    assert end, f"the chart's README.md lacks the mark where the table of {name} ends"
    return f"{before}{begin}\n{table}\n{end}{after}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
