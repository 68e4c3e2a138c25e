"""The settings of the running operator, as far as a command can know them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from raysweep.cli.common.errors import FailedError
from raysweep.clients.kubernetes.errors import ForbiddenError
from raysweep.clients.kubernetes.user_client import UserClient
from raysweep.core.durations import format_duration
from raysweep.core.model.parameters import Mode
from raysweep.settings import Settings, SettingsError, flag, load, variable

OPERATOR_NAMESPACE = "raysweep"
CONFIG_MAP = "raysweep"
ASSUMED = "assumed"
USED_SETTINGS = (
    "mode",
    "protected_namespaces",
    "recreated_by",
    "kuberay_ttl",
    "kuberay_grace",
    "cron_grace",
)
"""Settings that change the decision of a command. Only the running operator uses the others."""


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """The settings and their source: the operator's ConfigMap, or ASSUMED."""

    settings: Settings
    source: str
    assumed_because: str | None = None

    def notes(self) -> list[str]:
        """What a reader of a decision should know about the operator."""
        notes = []
        if self.assumed_because:
            notes.append(f"{self.assumed_because}, so {self._assumed_settings()}")
        if self.settings.mode is Mode.DRY_RUN:
            notes.append("the operator runs in DryRun mode and deletes nothing")
        if self.settings.namespaces:
            namespaces = ", ".join(sorted(self.settings.namespaces))
            notes.append(
                f"the operator works only in namespaces {namespaces}: it deletes nothing elsewhere "
                "and ignores RayJobCleanupPolicies"
            )
        return notes

    def _assumed_settings(self) -> str:
        values = (
            f"{flag(name).removeprefix('--')} {_value_text(getattr(self.settings, name))}"
            for name in USED_SETTINGS
        )
        return f"the operator's defaults are assumed: {', '.join(values)}"


async def read_operator_settings(kubernetes: UserClient) -> OperatorSettings:
    """Reads the operator's ConfigMap, whose keys are names of environment variables.

    Assumes the defaults if there is none, or if the user may not read it. Raises FailedError.
    """
    place = f"ConfigMap {CONFIG_MAP} in namespace {OPERATOR_NAMESPACE}"
    try:
        data = await kubernetes.config_map(OPERATOR_NAMESPACE, CONFIG_MAP)
    except ForbiddenError:
        return OperatorSettings(_parse({}, place), ASSUMED, f"you may not read {place}")
    if data is None:
        return OperatorSettings(_parse({}, place), ASSUMED, f"there is no {place}")
    return OperatorSettings(_parse(data, place), place)


def _parse(data: Mapping[str, str], place: str) -> Settings:
    """Sets every field, so that RAYSWEEP_ variables of the user's own environment do not count."""
    values = {
        name: data.get(variable(name), field.default)
        for name, field in Settings.model_fields.items()
    }
    try:
        return load(values)
    except SettingsError as error:
        keys = {flag(name): variable(name) for name in Settings.model_fields}
        problems = []
        for problem in error.problems:
            flag_name, _, text = problem.partition(":")
            problems.append(f"{keys.get(flag_name, '')}:{text}")
        raise FailedError(f"{place} holds invalid settings: {', '.join(problems)}") from error


def _value_text(value: object) -> str:
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, frozenset):
        return ",".join(sorted(value)) or "none"
    return str(value) or "none"
