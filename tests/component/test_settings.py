"""Settings: every field has a variable and a flag, and all problems are reported at once."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from raysweep import names
from raysweep.controller.run import command
from raysweep.core.model.parameters import DEFAULTS, KubeRayTTL, Mode, Parameters
from raysweep.settings import (
    HeadAccess,
    LogFormat,
    LogLevel,
    Settings,
    SettingsError,
    flag,
    group_of,
    load,
    metavar_of,
    variable,
)

VALID: dict[str, tuple[str, Any]] = {
    "kubeconfig": ("/tmp/config", Path("/tmp/config")),
    "context": ("prod", "prod"),
    "namespaces": ("team-a,team-b", frozenset({"team-a", "team-b"})),
    "read_namespaces": ("false", False),
    "protected_namespaces": ("team-a, team-b,", frozenset({"team-a", "team-b"})),
    "mode": ("DryRun", Mode.DRY_RUN),
    "delete_pods": ("true", True),
    "recreated_by": ("app.kubernetes.io/instance,", frozenset({"app.kubernetes.io/instance"})),
    "kuberay_ttl": ("RayCluster", KubeRayTTL.RAYCLUSTER),
    "kuberay_grace": ("2m", timedelta(minutes=2)),
    "cron_grace": ("5m", timedelta(minutes=5)),
    "unconfirmed_probes": ("5", 5),
    "unconfirmed_after": ("10m", timedelta(minutes=10)),
    "unchanged_after": ("1h", timedelta(hours=1)),
    "unreported_after": ("20m", timedelta(minutes=20)),
    "probe_again_after": ("2m", timedelta(minutes=2)),
    "probe_again_at_most": ("1h", timedelta(hours=1)),
    "silent_probe_after": ("1m", timedelta(minutes=1)),
    "silent_probe_at_most": ("10m", timedelta(minutes=10)),
    "status_probe_after": ("10m", timedelta(minutes=10)),
    "status_probe_at_most": ("1h", timedelta(hours=1)),
    "heads_window": ("5m", timedelta(minutes=5)),
    "heads_at_least": ("3", 3),
    "heads_silent_share": ("0.5", 0.5),
    "bulk_expiry_wait": ("1h", timedelta(hours=1)),
    "bulk_expiry_overdue": ("1m", timedelta(minutes=1)),
    "bulk_expiry_max": ("0", 0),
    "head_access": ("api-server", HeadAccess.API_SERVER),
    "head_proxy": ("http://127.0.0.1:3128", "http://127.0.0.1:3128"),
    "head_tokens": ("true", True),
    "cluster_domain": ("k8s.example.com", "k8s.example.com"),
    "deletions_per_second": ("0.5", 0.5),
    "deletion_burst": ("1", 1),
    "relist_every": ("1h30m", timedelta(minutes=90)),
    "policies_every": ("30s", timedelta(seconds=30)),
    "confirmed_within": ("1s", timedelta(seconds=1)),
    "leader_election": ("false", False),
    "lease_namespace": ("platform", "platform"),
    "lease_name": ("raysweep.team-a", "raysweep.team-a"),
    "lease_duration": ("30s", timedelta(seconds=30)),
    "renew_deadline": ("12s", timedelta(seconds=12)),
    "retry_period": ("5s", timedelta(seconds=5)),
    "identity": ("raysweep-0", "raysweep-0"),
    "termination_grace": ("50s", timedelta(seconds=50)),
    "preflight_every": ("5", timedelta(seconds=5)),
    "listen": ("127.0.0.1:0", "127.0.0.1:0"),
    "metrics_namespaces": ("true", True),
    "log_format": ("json", LogFormat.JSON),
    "log_level": ("debug", LogLevel.DEBUG),
}
INVALID_DURATIONS = ["soon", "0", "never", "-1s", "1.5", "999999999999w"]
INVALID: dict[str, list[str]] = {
    "namespaces": ["Team-A", "a/b", "*"],
    "read_namespaces": ["", "maybe", "2"],
    "protected_namespaces": ["Team-A", "a/b", "a b", "x" * 64],
    "mode": ["dryrun", "", "Observe"],
    "delete_pods": ["", "maybe", "2"],
    "kuberay_ttl": ["rayjob", "", "Both"],
    "kuberay_grace": INVALID_DURATIONS,
    "cron_grace": INVALID_DURATIONS,
    "unconfirmed_probes": ["0", "101", "1.5", "many"],
    "unconfirmed_after": INVALID_DURATIONS,
    "unchanged_after": INVALID_DURATIONS,
    "unreported_after": INVALID_DURATIONS,
    **dict.fromkeys(
        ("probe_again_after", "probe_again_at_most", "silent_probe_after", "silent_probe_at_most"),
        INVALID_DURATIONS,
    ),
    "status_probe_after": INVALID_DURATIONS,
    "status_probe_at_most": INVALID_DURATIONS,
    "heads_window": INVALID_DURATIONS,
    "heads_at_least": ["0", "10001", "many"],
    "heads_silent_share": ["0", "-0.1", "1.01", "many", "nan"],
    "bulk_expiry_wait": INVALID_DURATIONS,
    "bulk_expiry_overdue": INVALID_DURATIONS,
    "bulk_expiry_max": ["-1", "1000001", "many"],
    "head_access": ["proxy", "", "Direct"],
    "head_proxy": [
        "127.0.0.1:3128",
        "https://proxy:3128",
        "http://user:password@proxy:3128",
        "http://proxy/path",
    ],
    "head_tokens": ["", "maybe", "2"],
    "cluster_domain": ["", ".", "cluster.local.", "a..b", "Cluster.Local", "a/b"],
    "deletions_per_second": ["0", "-1", "many", "nan", "inf", "10001"],
    "deletion_burst": ["0", "1.5", "many", "10001"],
    "relist_every": INVALID_DURATIONS,
    "policies_every": INVALID_DURATIONS,
    "confirmed_within": INVALID_DURATIONS,
    "leader_election": ["", "maybe", "2"],
    "lease_namespace": ["Platform", "a.b", "a/b", "x" * 64],
    "lease_name": ["", "Raysweep", "a/b", "a..b", ".."],
    **dict.fromkeys(("lease_duration", "renew_deadline", "retry_period"), INVALID_DURATIONS),
    "identity": ["a b", "a\n", "é", "x" * 129],
    "termination_grace": INVALID_DURATIONS,
    "preflight_every": INVALID_DURATIONS,
    "listen": ["", "8080", ":8080", "0.0.0.0:", "0.0.0.0:http", "0.0.0.0:65536", "0.0.0.0:-1"],
    "metrics_namespaces": ["", "maybe", "2"],
    "log_format": ["xml", "JSON"],
    "log_level": ["loud", "INFO"],
}
ACCEPTS_ANY_TEXT = {"kubeconfig", "context", "recreated_by"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(variable(field), raising=False)


def test_every_field_has_valid_and_invalid_rows() -> None:
    assert set(VALID) == set(Settings.model_fields)
    assert set(INVALID) | ACCEPTS_ANY_TEXT == set(Settings.model_fields)


def test_defaults() -> None:
    settings = load({})
    assert settings.parameters == DEFAULTS
    assert settings.listen_address == ("0.0.0.0", 8080)
    assert (settings.deletions_per_second, settings.deletion_burst) == (1000, 1000)
    assert (settings.head_access, settings.head_proxy) == (HeadAccess.DIRECT, "")


def test_every_field_is_read_from_its_flag_and_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for field, (text, value) in VALID.items():
        assert getattr(load({field: text}), field) == value, field
        with monkeypatch.context() as environment:
            environment.setenv(variable(field), text)
            assert getattr(load({}), field) == value, field


def test_an_invalid_value_is_reported_with_its_flag_or_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for field, texts in INVALID.items():
        for text in texts:
            (problem,) = _problems({field: text})
            assert problem.startswith(f"{flag(field)}: '"), (field, text)
        with monkeypatch.context() as environment:
            environment.setenv(variable(field), texts[0])
            (problem,) = _problems({})
            assert problem.startswith(f"{variable(field)}: '"), field


def _problems(flags: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        load(flags)
    return raised.value.problems


def test_all_problems_are_reported_at_once() -> None:
    problems = _problems({field: texts[0] for field, texts in INVALID.items()})
    assert [problem.partition(":")[0] for problem in problems] == [
        flag(field) for field in Settings.model_fields if field in INVALID
    ]


def test_lists_add_to_the_built_in_values() -> None:
    flags = {"protected_namespaces": "team-a", "recreated_by": "app.kubernetes.io/instance"}
    parameters = load(flags).parameters
    assert parameters.protected_namespaces == names.ALWAYS_PROTECTED_NAMESPACES | {"team-a"}
    assert parameters.recreated_by == names.RECREATED_BY | {"app.kubernetes.io/instance"}


def test_every_parameter_of_decisions_has_a_setting() -> None:
    flags = {field: text for field, (text, _) in VALID.items() if field != "head_proxy"}
    parameters = load(flags).parameters
    for field in Parameters.__dataclass_fields__:
        assert getattr(parameters, field) != getattr(DEFAULTS, field), field


def test_names_of_flags_and_variables() -> None:
    assert (flag("head_proxy"), variable("head_proxy")) == ("--head-proxy", "RAYSWEEP_HEAD_PROXY")


def test_the_flag_has_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSWEEP_DELETION_BURST", "7")
    assert load({"deletion_burst": "3"}).deletion_burst == 3
    assert load({"deletion_burst": None}).deletion_burst == 7
    monkeypatch.setenv("RAYSWEEP_DELETION_BURST", "many")
    assert load({"deletion_burst": "3"}).deletion_burst == 3


def test_an_empty_kubeconfig_or_context_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSWEEP_KUBECONFIG", "")
    monkeypatch.setenv("RAYSWEEP_CONTEXT", "")
    assert (load({}).kubeconfig, load({}).context) == (None, None)


def test_contradictory_settings() -> None:
    rows = [
        (
            {"head_proxy": "http://proxy:1", "head_access": "api-server"},
            "RAYSWEEP_HEAD_PROXY: 'http://proxy:1': requires --head-access direct",
        ),
        (
            {"lease_duration": "10s"},
            "RAYSWEEP_RETRY_PERIOD 2s, RAYSWEEP_RENEW_DEADLINE 10s, RAYSWEEP_LEASE_DURATION 10s: "
            "each must be longer than the one before",
        ),
        (
            {"retry_period": "10s"},
            "RAYSWEEP_RETRY_PERIOD 10s, RAYSWEEP_RENEW_DEADLINE 10s, RAYSWEEP_LEASE_DURATION 15s: "
            "each must be longer than the one before",
        ),
    ]
    for flags, problem in rows:
        assert _problems(flags) == (problem,), flags


def test_the_address_to_listen_on() -> None:
    rows = {"127.0.0.1:80": ("127.0.0.1", 80), "[::1]:8080": ("::1", 8080)}
    for listen, address in rows.items():
        assert load({"listen": listen}).listen_address == address, listen


def test_help_lists_every_setting_in_its_group() -> None:
    text = CliRunner().invoke(command, ["--help"]).output
    for name, field in Settings.model_fields.items():
        _, _, section = text.partition(f"\n{group_of(field)}:\n")
        own_lines, _, _ = section.partition("\n\n")
        entry = f"{flag(name)} {metavar_of(field)} {field.description} [{variable(name)}]"
        assert _squeeze(entry) in _squeeze(own_lines), name


def _squeeze(text: str) -> str:
    """The text without white space, so that line breaks do not matter."""
    return "".join(text.split())


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load({}).deletion_burst = 5  # type: ignore[misc]
