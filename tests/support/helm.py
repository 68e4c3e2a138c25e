"""Helm: the one module that knows helm-python-sdk, for the tests and for deploy/render.py. No expectation enters here.

The calls block; within a test that must go on meanwhile they belong into asyncio.to_thread.
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
"""Values that the chart itself refuses."""
WARNING = 2
"""Of the severities of lint; below it is advice (the chart has no icon)."""


def ci_values() -> list[Path]:
    """The chart's values files, one for each major option."""
    return sorted((CHART / "ci").glob("*-values.yaml"))


def read(path: Path) -> dict[str, Any]:
    """A values file."""
    return dict(yaml.safe_load(path.read_text()) or {})


def render(
    values: Values | None = None, *, name: str = RELEASE, namespace: str = RELEASE
) -> dict[str, str]:
    """What each template comes to, by its path within the chart; those that come to nothing are left out."""
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
