"""Environment and flags to one frozen Settings, or a list of everything wrong with them. Nothing else reads the environment.

Every field is an environment variable RAYSWEEP_<FIELD> and a flag --<field>; the flag wins.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from raysweep.core.durations import Never, format_duration, parse_duration
from raysweep.core.model.parameters import DEFAULTS, Backoff, KubeRayTTL, Mode, Parameters
from raysweep.core.text import quoted

ENVIRONMENT_PREFIX = "RAYSWEEP_"
LEASE_TIMES = ("retry_period", "renew_deadline", "lease_duration")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class HeadAccess(StrEnum):
    """How Ray heads are reached."""

    DIRECT = "direct"
    API_SERVER = "api-server"


class LogFormat(StrEnum):
    """How log lines look; auto: text on a terminal, else JSON."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    """From which level on log lines are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class SettingsError(Exception):
    """Everything wrong with the settings, one line each: the value, the place and the remedy."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _a_duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    duration = parse_duration(value)
    if isinstance(duration, Never) or duration <= timedelta():
        raise ValueError("must be longer than 0 and end some time")
    return duration


def _a_list(value: object) -> object:
    return (
        frozenset(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, str)
        else value
    )


def _namespaces(value: frozenset[str]) -> frozenset[str]:
    wrong = [name for name in sorted(value) if not _LABEL.fullmatch(name)]
    if wrong:
        raise ValueError(f"{quoted(wrong[0])} is no namespace; write names separated by commas")
    return value


def _a_domain(value: str) -> str:
    if not value or not all(_LABEL.fullmatch(part) for part in value.split(".")):
        raise ValueError("is no DNS domain; the usual one is cluster.local")
    return value


def _a_proxy(value: str) -> str:
    if value and not re.fullmatch(r"http://[A-Za-z0-9.\-\[\]:]+/?", value):
        raise ValueError("is no proxy; write http://HOST:PORT")
    return value


def _an_address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ValueError("is no address; write HOST:PORT, as 0.0.0.0:8080")
    return value


def _a_name(value: str) -> str:
    if not all(_LABEL.fullmatch(part) for part in value.split(".")):
        raise ValueError("is no name of an object; write small letters, digits, dashes and dots")
    return value


def _a_namespace(value: str) -> str:
    if value and not _LABEL.fullmatch(value):
        raise ValueError("is no namespace")
    return value


def _an_identity(value: str) -> str:
    if not re.fullmatch(r"[!-~]{0,128}", value):
        raise ValueError(
            "is no identity; write at most 128 letters, digits and signs without blanks"
        )
    return value


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


_Duration = Annotated[timedelta, BeforeValidator(_a_duration)]


class Settings(BaseSettings):
    """What the operator was told. Durations are written as everywhere in Raysweep: 30s, 5m, 1h30m."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="ignore")

    kubeconfig: Annotated[Path | None, BeforeValidator(_empty_is_none)] = Field(
        None,
        description="kubeconfig file; without one the Pod's service account, else kubectl's default",
    )
    context: Annotated[str | None, BeforeValidator(_empty_is_none)] = Field(
        None, description="context of the kubeconfig"
    )
    namespaces: Annotated[
        frozenset[str], NoDecode, BeforeValidator(_a_list), AfterValidator(_namespaces)
    ] = Field(
        frozenset(),
        description="the only namespaces to work in, comma separated, with rights there alone and without policies; none: all",
    )
    read_namespaces: bool = Field(
        True,
        description="with namespaces: read those Namespaces; false: it may not, and their annotations do not count",
    )
    protected_namespaces: Annotated[
        frozenset[str], NoDecode, BeforeValidator(_a_list), AfterValidator(_namespaces)
    ] = Field(
        frozenset(),
        description="namespaces, comma separated, never touched besides Kubernetes' own",
    )
    mode: Mode = Field(
        Mode.ENFORCE,
        description="Enforce, or DryRun: everything but the deletions, and tell what would go",
    )
    recreated_by: Annotated[frozenset[str], NoDecode, BeforeValidator(_a_list)] = Field(
        frozenset(),
        description="labels or annotations, comma separated, of tools that create RayJobs again, besides those that are known",
    )
    kuberay_ttl: KubeRayTTL = Field(
        KubeRayTTL.RAYJOB,
        description="what a spec's ttlSecondsAfterFinished above 0 is the time of: RayJob or RayCluster",
    )
    kuberay_grace: _Duration = Field(
        DEFAULTS.kuberay_grace,
        description="how long after KubeRay's own time its cleanup counts as missed",
    )
    cron_grace: _Duration = Field(
        DEFAULTS.cron_grace,
        description="how long a RayCronJob's child is left alone after its tick",
    )
    unconfirmed_probes: int = Field(
        DEFAULTS.unconfirmed_probes,
        ge=1,
        le=100,
        description="looks at a silent head before Unconfirmed",
    )
    unconfirmed_after: _Duration = Field(
        DEFAULTS.unconfirmed_after, description="time a head must be silent before Unconfirmed"
    )
    unchanged_after: _Duration = Field(
        DEFAULTS.unchanged_after,
        description="how long a running job's status must stand still before its head is asked",
    )
    unreported_after: _Duration = Field(
        DEFAULTS.unreported_after,
        description="how far two answers must lie apart before FinishedUnreported",
    )
    probe_again_after: _Duration = Field(
        DEFAULTS.probe_again.first,
        description="first wait after a look that led to no deletion; it doubles",
    )
    probe_again_at_most: _Duration = Field(
        DEFAULTS.probe_again.last, description="longest wait after such a look"
    )
    silent_probe_after: _Duration = Field(
        DEFAULTS.silent_probe.first, description="first wait after a head's silence; it doubles"
    )
    silent_probe_at_most: _Duration = Field(
        DEFAULTS.silent_probe.last, description="longest wait after a head's silence"
    )
    status_probe_after: _Duration = Field(
        DEFAULTS.status_probe.first,
        description="first wait between polls of a job that seems to run for ever; it doubles",
    )
    status_probe_at_most: _Duration = Field(
        DEFAULTS.status_probe.last, description="longest wait between such polls"
    )
    heads_window: _Duration = Field(
        timedelta(minutes=10),
        description="how long a head's last answer counts for HeadsUnreachable",
    )
    heads_at_least: int = Field(
        10,
        ge=1,
        le=10_000,
        description="how many heads must have been asked for HeadsUnreachable, in a namespace or in all",
    )
    heads_silent_share: float = Field(
        0.3,
        gt=0,
        le=1,
        description="share of silent heads in a namespace, and of such namespaces, for HeadsUnreachable",
    )
    bulk_expiry_wait: _Duration = Field(
        DEFAULTS.bulk_expiry_wait,
        description="how long the backlog waits, so that a mistake can be stopped",
    )
    bulk_expiry_overdue: _Duration = Field(
        DEFAULTS.bulk_expiry_overdue,
        description="how overdue by its own time a job must be at first sight to go into the backlog (by a default: at all)",
    )
    bulk_expiry_max: int = Field(
        DEFAULTS.bulk_expiry_max,
        ge=0,
        le=1_000_000,
        description="how many RayJobs of a namespace may become due all at once before none of them is deleted",
    )
    head_access: HeadAccess = Field(
        HeadAccess.DIRECT,
        description="how Ray heads are reached: direct, or api-server (its service proxy)",
    )
    head_proxy: Annotated[str, AfterValidator(_a_proxy)] = Field(
        "",
        description="forward proxy for direct access, http://HOST:PORT; proxies of the environment are not used",
    )
    head_tokens: bool = Field(
        False,
        description="true: send heads their cluster's token; takes the rights to get secrets and services",
    )
    cluster_domain: Annotated[str, AfterValidator(_a_domain)] = Field(
        "cluster.local", description="the cluster's DNS domain, for the addresses of head Services"
    )
    deletions_per_second: float = Field(
        5.0, gt=0, le=1000, description="how many deletions may start in a second"
    )
    deletion_burst: int = Field(
        20, ge=1, le=10_000, description="how many deletions may start at once"
    )
    relist_every: _Duration = Field(
        timedelta(minutes=5), description="how often everything is listed, besides watching"
    )
    policies_every: _Duration = Field(
        timedelta(seconds=10),
        description="how often policies are read at the least; a change is read at once",
    )
    confirmed_within: _Duration = Field(
        timedelta(seconds=10),
        description="how long before a deletion the Namespace and the policies may have been read last",
    )
    leader_election: bool = Field(
        True,
        description="one replica works, the others stand by; false: this is the only one, and needs no Lease",
    )
    lease_namespace: Annotated[str, AfterValidator(_a_namespace)] = Field(
        "",
        description="namespace of the leader's Lease; without one the Pod's own, else `raysweep`",
    )
    lease_name: Annotated[str, AfterValidator(_a_name)] = Field(
        "raysweep", description="name of the leader's Lease"
    )
    lease_duration: _Duration = Field(
        timedelta(seconds=15),
        description="how long the Lease must stand still before a standby takes it",
    )
    renew_deadline: _Duration = Field(
        timedelta(seconds=10),
        description="how long after its last renewal the leader may go on; then it ends",
    )
    retry_period: _Duration = Field(
        timedelta(seconds=2),
        description="how often the leader renews its Lease, and a standby looks at it",
    )
    identity: Annotated[str, AfterValidator(_an_identity)] = Field(
        "",
        description="name of this replica in the Lease; without one the host's name and some random letters",
    )
    termination_grace: _Duration = Field(
        timedelta(seconds=20),
        description="how long deletions under way may take after SIGTERM; 10 s less than the Pod's grace period, at least",
    )
    preflight_every: _Duration = Field(
        timedelta(seconds=30),
        description="how often to look again for a missing CRD, right or Namespace of the Lease",
    )
    listen: Annotated[str, AfterValidator(_an_address)] = Field(
        "0.0.0.0:8080", description="address for /livez, /readyz and /metrics, HOST:PORT"
    )
    metrics_namespaces: bool = Field(
        False,
        description="true: a label namespace on what metrics tell of deletions, RayJobs, held and freed resources",
    )
    log_format: LogFormat = Field(
        LogFormat.AUTO, description="json, text, or auto (text on a terminal)"
    )
    log_level: LogLevel = Field(LogLevel.INFO, description="debug, info, warning or error")

    @property
    def parameters(self) -> Parameters:
        """What decisions reckon with; lists of settings add to what always holds, and never replace it."""
        computed: dict[str, Any] = {
            "protected_namespaces": DEFAULTS.protected_namespaces | self.protected_namespaces,
            "recreated_by": DEFAULTS.recreated_by | self.recreated_by,
            "probe_again": Backoff(self.probe_again_after, self.probe_again_at_most),
            "silent_probe": Backoff(self.silent_probe_after, self.silent_probe_at_most),
            "status_probe": Backoff(self.status_probe_after, self.status_probe_at_most),
        }
        rest = {
            name: getattr(self, name)
            for name in Parameters.__dataclass_fields__
            if name not in computed
        }
        return Parameters(**computed, **rest)

    @property
    def listen_address(self) -> tuple[str, int]:
        """Host and port of `listen`."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


def load(flags: Mapping[str, Any]) -> Settings:
    """The settings; SettingsError with every problem. flags: by field name, None where not given."""
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise SettingsError(
            tuple(_problem(fault, given) for fault in error.errors(include_url=False))
        ) from None
    problems = _contradictions(settings)
    if problems:
        raise SettingsError(problems)
    return settings


def flag(field: str) -> str:
    """The flag of a field: `head_proxy` is `--head-proxy`."""
    return f"--{field.replace('_', '-')}"


def variable(field: str) -> str:
    """The environment variable of a field: `head_proxy` is `RAYSWEEP_HEAD_PROXY`."""
    return f"{ENVIRONMENT_PREFIX}{field.upper()}"


def _problem(fault: Any, given: Mapping[str, Any]) -> str:
    field = str(fault["loc"][0])
    place = flag(field) if field in given else variable(field)
    return f"{place}: {quoted(fault['input'])}: {fault['msg'].removeprefix('Value error, ')}"


def _contradictions(settings: Settings) -> tuple[str, ...]:
    problems = []
    if settings.head_proxy and settings.head_access is not HeadAccess.DIRECT:
        problems.append(
            f"{variable('head_proxy')}: {quoted(settings.head_proxy)}: only for {flag('head_access')} direct"
        )
    if not settings.retry_period < settings.renew_deadline < settings.lease_duration:
        told = ", ".join(
            f"{variable(n)} {format_duration(getattr(settings, n))}" for n in LEASE_TIMES
        )
        problems.append(f"{told}: each must be longer than the one before")
    return tuple(problems)
