"""The settings of the operator, from environment variables and flags. Nothing else reads them.

Every field is an environment variable RAYSWEEP_<FIELD> and a flag --<field>. The flag wins.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum, StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from raysweep.core.durations import Never, format_duration, parse_duration
from raysweep.core.model.parameters import DEFAULTS, Backoff, KubeRayTTL, Mode, Parameters
from raysweep.core.text import quoted

ENVIRONMENT_PREFIX = "RAYSWEEP_"
LEASE_TIMES = ("retry_period", "renew_deadline", "lease_duration")
"""In ascending order: each must be longer than the one before."""
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class HeadAccess(StrEnum):
    """How Raysweep connects to Ray heads."""

    DIRECT = "direct"
    API_SERVER = "api-server"


class LogFormat(StrEnum):
    """Format of log lines. `auto` is text on a terminal, else JSON."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    """The lowest level of log lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Group(StrEnum):
    """Headings of the flags in `raysweep run --help`."""

    CONNECTION = "Connection"
    DELETION = "What is deleted"
    PROBES = "Probing Ray heads"
    BULK_EXPIRY = "Bulk expiry"
    PACE = "Pace"
    LEADER_ELECTION = "Leader election"
    SERVING = "Serving"
    LOGGING = "Logging"


class SettingsError(Exception):
    """The settings are invalid. Each problem names the place, the value and the remedy."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _check_duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    duration = parse_duration(value)
    if isinstance(duration, Never) or duration <= timedelta():
        raise ValueError("use a duration longer than 0, such as 30s or 1h30m")
    return duration


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return frozenset(part.strip() for part in value.split(",") if part.strip())


def _check_namespaces(value: frozenset[str]) -> frozenset[str]:
    for name in sorted(value):
        if not _DNS_LABEL.fullmatch(name):
            raise ValueError(f"invalid namespace {quoted(name)}: use names separated by commas")
    return value


def _check_domain(value: str) -> str:
    if not value or not all(_DNS_LABEL.fullmatch(part) for part in value.split(".")):
        raise ValueError("use a DNS domain, such as cluster.local")
    return value


def _check_proxy(value: str) -> str:
    if value and not re.fullmatch(r"http://[A-Za-z0-9.\-\[\]:]+/?", value):
        raise ValueError("use the form http://HOST:PORT")
    return value


def _check_address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ValueError("use the form HOST:PORT, such as 0.0.0.0:8080")
    return value


def _check_object_name(value: str) -> str:
    if not all(_DNS_LABEL.fullmatch(part) for part in value.split(".")):
        raise ValueError("use lowercase letters, digits, dashes and dots")
    return value


def _check_namespace(value: str) -> str:
    if value and not _DNS_LABEL.fullmatch(value):
        raise ValueError("use lowercase letters, digits and dashes")
    return value


def _check_identity(value: str) -> str:
    if not re.fullmatch(r"[!-~]{0,128}", value):
        raise ValueError("use at most 128 printable ASCII characters without spaces")
    return value


def _empty_to_none(value: object) -> object:
    return None if value == "" else value


def _setting(
    group: Group, default: Any, description: str, metavar: str | None = None, **limits: Any
) -> Any:
    """A field with its help. metavar: None derives it from the type."""
    extra: dict[str, Any] = {"group": group, "metavar": metavar}
    return Field(default, description=description, json_schema_extra=extra, **limits)


_Duration = Annotated[timedelta, BeforeValidator(_check_duration)]
_Names = Annotated[frozenset[str], NoDecode, BeforeValidator(_split)]
_Namespaces = Annotated[
    frozenset[str], NoDecode, BeforeValidator(_split), AfterValidator(_check_namespaces)
]


class Settings(BaseSettings):
    """All settings of the operator. A duration is written as 30s, 5m or 1h30m."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="ignore")

    kubeconfig: Annotated[Path | None, BeforeValidator(_empty_to_none)] = _setting(
        Group.CONNECTION,
        None,
        "kubeconfig file; default: the service account in a Pod, else KUBECONFIG or ~/.kube/config",
        "FILE",
    )
    context: Annotated[str | None, BeforeValidator(_empty_to_none)] = _setting(
        Group.CONNECTION, None, "kubeconfig context; default: the current one", "NAME"
    )
    namespaces: _Namespaces = _setting(
        Group.DELETION,
        frozenset(),
        "watch only these namespaces, separated by commas, with Roles instead of a ClusterRole; "
        "policies do not apply then; default: all namespaces",
    )
    read_namespaces: bool = _setting(
        Group.DELETION,
        True,
        "read the Namespaces listed in `namespaces`; if false, their annotations do not apply",
    )
    protected_namespaces: _Namespaces = _setting(
        Group.DELETION,
        frozenset(),
        "never delete in these namespaces, separated by commas, "
        "nor in kube-system, kube-public and kube-node-lease",
    )
    mode: Mode = _setting(
        Group.DELETION,
        Mode.ENFORCE,
        "Enforce deletes; DryRun only reports what it would delete",
    )
    delete_pods: bool = _setting(
        Group.DELETION,
        False,
        "delete the Pods of a deleted RayCluster at once, before the garbage collector does; "
        "requires permission to list and delete Pods",
    )
    recreated_by: _Names = _setting(
        Group.DELETION,
        frozenset(),
        "labels or annotations, separated by commas, of tools that recreate a deleted RayJob, "
        "in addition to the built-in list",
        "KEYS",
    )
    kuberay_ttl: KubeRayTTL = _setting(
        Group.DELETION,
        KubeRayTTL.RAYJOB,
        "what a spec.ttlSecondsAfterFinished above 0 applies to",
    )
    kuberay_grace: _Duration = _setting(
        Group.DELETION,
        DEFAULTS.kuberay_grace,
        "how long after its deadline KubeRay's own cleanup counts as missed",
    )
    cron_grace: _Duration = _setting(
        Group.DELETION,
        DEFAULTS.cron_grace,
        "how long after its scheduled time to keep a RayJob of a RayCronJob",
    )
    head_access: HeadAccess = _setting(
        Group.PROBES,
        HeadAccess.DIRECT,
        "how to connect to Ray heads: directly, or through the API server's service proxy",
    )
    head_proxy: Annotated[str, AfterValidator(_check_proxy)] = _setting(
        Group.PROBES,
        "",
        "HTTP proxy for direct connections to Ray heads; proxies of the environment are ignored",
        "URL",
    )
    head_tokens: bool = _setting(
        Group.PROBES,
        False,
        "authenticate to Ray heads with the token of their cluster; "
        "requires permission to get Secrets and Services",
    )
    cluster_domain: Annotated[str, AfterValidator(_check_domain)] = _setting(
        Group.PROBES, "cluster.local", "DNS domain of the cluster, for head Services", "DOMAIN"
    )
    unchanged_after: _Duration = _setting(
        Group.PROBES,
        DEFAULTS.unchanged_after,
        "how long the status of a running job must be unchanged before its head is probed",
    )
    unreported_after: _Duration = _setting(
        Group.PROBES,
        DEFAULTS.unreported_after,
        "how far apart two head reports of a finished job must be for FinishedUnreported",
    )
    unconfirmed_probes: int = _setting(
        Group.PROBES,
        DEFAULTS.unconfirmed_probes,
        "how many failed probes are required for Unconfirmed",
        ge=1,
        le=100,
    )
    unconfirmed_after: _Duration = _setting(
        Group.PROBES,
        DEFAULTS.unconfirmed_after,
        "how long a head must be unreachable for Unconfirmed",
    )
    probe_again_after: _Duration = _setting(
        Group.PROBES,
        DEFAULTS.probe_again.first,
        "first delay after a probe that led to no deletion; it doubles each time",
    )
    probe_again_at_most: _Duration = _setting(
        Group.PROBES, DEFAULTS.probe_again.last, "longest delay after such a probe"
    )
    silent_probe_after: _Duration = _setting(
        Group.PROBES,
        DEFAULTS.silent_probe.first,
        "first delay after a failed probe; it doubles each time",
    )
    silent_probe_at_most: _Duration = _setting(
        Group.PROBES, DEFAULTS.silent_probe.last, "longest delay after a failed probe"
    )
    status_probe_after: _Duration = _setting(
        Group.PROBES,
        DEFAULTS.status_probe.first,
        "first delay between status probes of a job that never seems to end; it doubles each time",
    )
    status_probe_at_most: _Duration = _setting(
        Group.PROBES, DEFAULTS.status_probe.last, "longest delay between status probes"
    )
    heads_window: _Duration = _setting(
        Group.PROBES,
        timedelta(minutes=10),
        "how long the last answer of a head counts for HeadsUnreachable",
    )
    heads_at_least: int = _setting(
        Group.PROBES,
        10,
        "how many heads must have been probed for HeadsUnreachable, per namespace or in total",
        ge=1,
        le=10_000,
    )
    heads_silent_share: float = _setting(
        Group.PROBES,
        0.3,
        "share of unreachable heads per namespace, and of such namespaces, for HeadsUnreachable",
        gt=0,
        le=1,
    )
    bulk_expiry_wait: _Duration = _setting(
        Group.BULK_EXPIRY,
        DEFAULTS.bulk_expiry_wait,
        "how long RayJobs that became due all at once are kept, so that you can correct a mistake",
    )
    bulk_expiry_overdue: _Duration = _setting(
        Group.BULK_EXPIRY,
        DEFAULTS.bulk_expiry_overdue,
        "how overdue a RayJob with its own TTL must be when Raysweep first sees it to count as "
        "bulk expiry; with a default TTL, any RayJob that is overdue then counts",
    )
    bulk_expiry_max: int = _setting(
        Group.BULK_EXPIRY,
        DEFAULTS.bulk_expiry_max,
        "if more RayJobs of a namespace become due all at once, none of them is deleted",
        ge=0,
        le=1_000_000,
    )
    deletions_per_second: float = _setting(
        Group.PACE,
        1000.0,
        "ceiling of the deletions that may start per second; below it, the pace adapts to the "
        "API server",
        gt=0,
        le=10_000,
    )
    deletion_burst: int = _setting(
        Group.PACE, 1000, "ceiling of the deletions that may start at once", ge=1, le=10_000
    )
    relist_every: _Duration = _setting(
        Group.PACE, timedelta(minutes=5), "how often to list all objects, in addition to the watch"
    )
    policies_every: _Duration = _setting(
        Group.PACE,
        timedelta(seconds=10),
        "how often to read policies if none changes; a change is read at once",
    )
    confirmed_within: _Duration = _setting(
        Group.PACE,
        timedelta(seconds=10),
        "how old the answer of the head, and the last read of Namespace and policies, may be when "
        "a deletion starts",
    )
    leader_election: bool = _setting(
        Group.LEADER_ELECTION,
        True,
        "elect a leader among the replicas by a Lease; if false, run only one replica",
    )
    lease_namespace: Annotated[str, AfterValidator(_check_namespace)] = _setting(
        Group.LEADER_ELECTION,
        "",
        "namespace of the Lease; default: the namespace of the Pod, else raysweep",
        "NAME",
    )
    lease_name: Annotated[str, AfterValidator(_check_object_name)] = _setting(
        Group.LEADER_ELECTION, "raysweep", "name of the Lease", "NAME"
    )
    lease_duration: _Duration = _setting(
        Group.LEADER_ELECTION,
        timedelta(seconds=15),
        "how long the Lease must be unchanged before another replica takes it",
    )
    renew_deadline: _Duration = _setting(
        Group.LEADER_ELECTION,
        timedelta(seconds=10),
        "how long after its last renewal the leader stops",
    )
    retry_period: _Duration = _setting(
        Group.LEADER_ELECTION,
        timedelta(seconds=2),
        "how often the leader renews the Lease, and a standby reads it",
    )
    identity: Annotated[str, AfterValidator(_check_identity)] = _setting(
        Group.LEADER_ELECTION,
        "",
        "name of this replica in the Lease; default: the host name and a random suffix",
        "NAME",
    )
    termination_grace: _Duration = _setting(
        Group.SERVING,
        timedelta(seconds=20),
        "how long to wait for deletions in progress after SIGTERM; "
        "set the grace period of the Pod to at least 10 s more",
    )
    preflight_every: _Duration = _setting(
        Group.SERVING,
        timedelta(seconds=30),
        "how often to check again for a missing CRD, permission or Lease namespace",
    )
    listen: Annotated[str, AfterValidator(_check_address)] = _setting(
        Group.SERVING, "0.0.0.0:8080", "address of /livez, /readyz and /metrics", "HOST:PORT"
    )
    metrics_namespaces: bool = _setting(
        Group.SERVING,
        False,
        "add the label namespace to metrics of deletions, RayJobs, held and freed resources",
    )
    log_format: LogFormat = _setting(
        Group.LOGGING, LogFormat.AUTO, "format of log lines; auto: text on a terminal, else json"
    )
    log_level: LogLevel = _setting(
        Group.LOGGING, LogLevel.INFO, "lowest level of log lines to write"
    )

    @property
    def parameters(self) -> Parameters:
        """The parameters of decisions. Lists add to the built-in values and never replace them."""
        computed: dict[str, Any] = {
            "protected_namespaces": DEFAULTS.protected_namespaces | self.protected_namespaces,
            "recreated_by": DEFAULTS.recreated_by | self.recreated_by,
            "probe_again": Backoff(self.probe_again_after, self.probe_again_at_most),
            "silent_probe": Backoff(self.silent_probe_after, self.silent_probe_at_most),
            "status_probe": Backoff(self.status_probe_after, self.status_probe_at_most),
        }
        same_name = {
            name: getattr(self, name)
            for name in Parameters.__dataclass_fields__
            if name not in computed
        }
        return Parameters(**computed, **same_name)

    @property
    def listen_address(self) -> tuple[str, int]:
        """Host and port of `listen`."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


def load(flags: Mapping[str, Any]) -> Settings:
    """Reads the settings. flags: values by field name, None if not given.

    Raises SettingsError with every problem.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        problems = tuple(_problem(entry, given) for entry in error.errors(include_url=False))
        raise SettingsError(problems) from None
    contradictions = _contradictions(settings)
    if contradictions:
        raise SettingsError(contradictions)
    return settings


def flag(field: str) -> str:
    """The flag of a field: `head_proxy` is `--head-proxy`."""
    return f"--{field.replace('_', '-')}"


def variable(field: str) -> str:
    """The environment variable of a field: `head_proxy` is `RAYSWEEP_HEAD_PROXY`."""
    return f"{ENVIRONMENT_PREFIX}{field.upper()}"


def group_of(field: FieldInfo) -> Group:
    """The heading under which `raysweep run --help` lists this field."""
    return Group(_extra(field)["group"])


def metavar_of(field: FieldInfo) -> str:
    """What `raysweep run --help` shows as the value of this field's flag."""
    kind: Any = field.annotation
    if metavar := _extra(field)["metavar"]:
        return str(metavar)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"[{'|'.join(member.value for member in kind)}]"
    metavars = {
        timedelta: "DURATION",
        bool: "[true|false]",
        int: "COUNT",
        float: "NUMBER",
        frozenset[str]: "NAMES",
    }
    return metavars[kind]


def _extra(field: FieldInfo) -> dict[str, Any]:
    assert isinstance(field.json_schema_extra, dict)
    return field.json_schema_extra


def _problem(error: Any, given: Mapping[str, Any]) -> str:
    field = str(error["loc"][0])
    place = flag(field) if field in given else variable(field)
    return f"{place}: {quoted(error['input'])}: {error['msg'].removeprefix('Value error, ')}"


def _contradictions(settings: Settings) -> tuple[str, ...]:
    problems = []
    if settings.head_proxy and settings.head_access is not HeadAccess.DIRECT:
        place, proxy = variable("head_proxy"), quoted(settings.head_proxy)
        problems.append(f"{place}: {proxy}: requires {flag('head_access')} direct")
    if not settings.retry_period < settings.renew_deadline < settings.lease_duration:
        times = ", ".join(
            f"{variable(name)} {format_duration(getattr(settings, name))}" for name in LEASE_TIMES
        )
        problems.append(f"{times}: each must be longer than the one before")
    return tuple(problems)
