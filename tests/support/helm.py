"""Helm for the tests and for deploy/render.py. Only this module imports helm-python-sdk.

The calls block. Use asyncio.to_thread if a test must continue meanwhile.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python
import yaml

Values = Mapping[str, Any]

CHART = Path(__file__).parents[2] / "deploy" / "charts" / "raysweep"
RELEASE = "raysweep"
NOTES = "templates/NOTES.txt"
Refused = helm_python.HelmError
"""The error for values that the chart rejects."""
WARNING = 2
"""A severity of lint. Lower ones are advice, such as a missing icon."""


def ci_values() -> list[Path]:
    """The values files of the chart, one per major option."""
    return sorted((CHART / "ci").glob("*-values.yaml"))


def read(path: Path) -> dict[str, Any]:
    """A values file."""
    return dict(yaml.safe_load(path.read_text()) or {})


def render(
    values: Values | None = None, *, name: str = RELEASE, namespace: str = RELEASE
) -> dict[str, str]:
    """The rendered templates by their path in the chart, without empty ones."""
    with helm_python.Chart.load(CHART) as chart:
        texts = chart.render(dict(values or {}), name=name, namespace=namespace)
    return {path.partition("/")[2]: text for path, text in texts.items() if text.strip()}


def documents(
    values: Values | None = None, *, name: str = RELEASE, namespace: str = RELEASE
) -> list[dict[str, Any]]:
    """Every object of a release."""
    texts = render(values, name=name, namespace=namespace)
    return [
        body
        for path, text in texts.items()
        if path != NOTES
        for body in yaml.safe_load_all(text)
        if body
    ]


def refusal(values: Values) -> str:
    """What the schema says against values; "" where nothing."""
    with helm_python.Chart.load(CHART) as chart:
        try:
            chart.validate_schema(dict(values))
        except helm_python.HelmValuesError as error:
            return str(error)
    return ""


def lint(values: Values | None = None) -> list[str]:
    """What `helm lint --strict` finds: warnings and errors."""
    report = helm_python.lint(CHART, dict(values or {}), strict=True, namespace=RELEASE)
    assert report["total_charts_linted"] == 1
    told = [
        f"{one['path']}: {one['error']}" for one in report["messages"] if one["severity"] >= WARNING
    ]
    return [*told, *map(str, report["errors"])]


@dataclass(frozen=True)
class Helm:
    """Helm on one cluster, for one release."""

    config: helm_python.Config
    namespace: str = RELEASE
    name: str = RELEASE

    def install(self, values: Values | None = None, **options: Any) -> dict[str, Any]:
        return self.config.install(
            str(CHART), self.name, dict(values or {}), namespace=self.namespace, **options
        )

    def upgrade(self, values: Values | None = None) -> dict[str, Any]:
        return self.config.upgrade(
            str(CHART), self.name, dict(values or {}), namespace=self.namespace
        )

    def rollback(self, revision: int) -> None:
        self.config.rollback(self.name, version=revision)

    def uninstall(self) -> None:
        self.config.uninstall(self.name)

    def history(self) -> list[tuple[int, str]]:
        """(revision, status), oldest first."""
        found = self.config.history(self.name)
        return sorted((one["revision"], one["status"]) for one in found)


@contextmanager
def connected(kubeconfig: Path, *, namespace: str = RELEASE, name: str = RELEASE) -> Iterator[Helm]:
    """Helm with that kubeconfig."""
    with helm_python.Config(kubeconfig_path=kubeconfig, namespace=namespace) as config:
        yield Helm(config, namespace, name)
