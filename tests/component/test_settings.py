"""Settings: every field from its variable and its flag, and everything wrong with them told at once."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from raysweep import names
from raysweep.core.model.parameters import DEFAULTS, KubeRayTTL, Mode, Parameters
from raysweep.settings import (
    HeadAccess,
    LogFormat,
    LogLevel,
    Settings,
    SettingsError,
    flag,
    load,
    variable,
)

GOOD: dict[str, tuple[str, Any]] = {
    "kubeconfig": ("/tmp/config", Path("/tmp/config")),
    "context": ("prod", "prod"),
    "namespaces": ("team-a,team-b", frozenset({"team-a", "team-b"})),
    "read_namespaces": ("false", False),
    "protected_namespaces": ("team-a, team-b,", frozenset({"team-a", "team-b"})),
    "mode": ("DryRun", Mode.DRY_RUN),
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
NO_DURATION = ["soon", "0", "never", "-1s", "1.5", "999999999999w"]
BAD: dict[str, list[str]] = {
    "namespaces": ["Team-A", "a/b", "*"],
    "read_namespaces": ["", "maybe", "2"],
    "protected_namespaces": ["Team-A", "a/b", "a b", "x" * 64],
    "mode": ["observe", "", "DryRun"],
    "kuberay_ttl": ["rayjob", "", "Both"],
    "kuberay_grace": NO_DURATION,
    "cron_grace": NO_DURATION,
    "unconfirmed_probes": ["0", "101", "1.5", "many"],
    "unconfirmed_after": NO_DURATION,
    "unchanged_after": NO_DURATION,
    "unreported_after": NO_DURATION,
    **dict.fromkeys(
        ("probe_again_after", "probe_again_at_most", "silent_probe_after", "silent_probe_at_most"),
        NO_DURATION,
    ),
    "status_probe_after": NO_DURATION,
    "status_probe_at_most": NO_DURATION,
    "heads_window": NO_DURATION,
    "heads_at_least": ["0", "10001", "many"],
    "heads_silent_share": ["0", "-0.1", "1.01", "many", "nan"],
    "bulk_expiry_wait": NO_DURATION,
    "bulk_expiry_overdue": NO_DURATION,
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
    "deletions_per_second": ["0", "-1", "many", "nan", "inf", "1001"],
    "deletion_burst": ["0", "1.5", "many", "10001"],
    "relist_every": NO_DURATION,
    "policies_every": NO_DURATION,
    "confirmed_within": NO_DURATION,
    "leader_election": ["", "maybe", "2"],
    "lease_namespace": ["Platform", "a.b", "a/b", "x" * 64],
    "lease_name": ["", "Raysweep", "a/b", "a..b", ".."],
    **dict.fromkeys(("lease_duration", "renew_deadline", "retry_period"), NO_DURATION),
    "identity": ["a b", "a\n", "é", "x" * 129],
    "termination_grace": NO_DURATION,
    "preflight_every": NO_DURATION,
    "listen": ["", "8080", ":8080", "0.0.0.0:", "0.0.0.0:http", "0.0.0.0:65536", "0.0.0.0:-1"],
    "metrics_namespaces": ["", "maybe", "2"],
    "log_format": ["xml", "JSON"],
    "log_level": ["loud", "INFO"],
}
ANYTHING_GOES = {"kubeconfig", "context", "recreated_by"}
"""Names of things that only their file can refuse (transport's NoCredentialsError does then); and others' keys."""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(variable(field), raising=False)


def test_every_field_has_a_good_and_a_bad_input_row() -> None:
    assert set(GOOD) == set(Settings.model_fields)
    assert set(BAD) | ANYTHING_GOES == set(Settings.model_fields)


def test_the_defaults_need_nothing() -> None:
    settings = load({})
    assert settings.listen_address == ("0.0.0.0", 8080)
    assert (settings.deletions_per_second, settings.deletion_burst) == (5, 20)
    assert (settings.head_access, settings.head_proxy) == (HeadAccess.DIRECT, "")


@pytest.mark.parametrize(
    ("field", "text", "value"), [(field, *row) for field, row in GOOD.items()], ids=GOOD
)
def test_every_field_is_a_variable_and_a_flag(
    field: str, text: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert getattr(load({field: text}), field) == value
    monkeypatch.setenv(variable(field), text)
    assert getattr(load({}), field) == value


@pytest.mark.parametrize(
    ("field", "text"), [(field, text) for field, texts in BAD.items() for text in texts]
)
def test_a_bad_flag_is_named_with_its_value(field: str, text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load({field: text})
    (problem,) = raised.value.problems
    assert problem.startswith(f"{flag(field)}: '")


@pytest.mark.parametrize("field", BAD)
def test_a_bad_variable_is_named_as_the_variable(
    field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable(field), BAD[field][0])
    with pytest.raises(SettingsError) as raised:
        load({})
    (problem,) = raised.value.problems
    assert problem.startswith(f"{variable(field)}: '")


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        load({field: texts[0] for field, texts in BAD.items()})
    assert [problem.partition(":")[0] for problem in raised.value.problems] == [
        flag(field) for field in Settings.model_fields if field in BAD
    ]


def test_the_defaults_are_the_rules_own() -> None:
    assert load({}).parameters == DEFAULTS


def test_lists_of_settings_add_to_what_always_holds() -> None:
    rules = load(
        {"protected_namespaces": "team-a", "recreated_by": "app.kubernetes.io/instance"}
    ).parameters
    assert rules.protected_namespaces == names.ALWAYS_PROTECTED_NAMESPACES | {"team-a"}
    assert rules.recreated_by == names.RECREATED_BY | {"app.kubernetes.io/instance"}


def test_every_rule_is_a_setting() -> None:
    rules = load(
        {field: text for field, (text, _) in GOOD.items() if field != "head_proxy"}
    ).parameters
    same = {
        field
        for field in Parameters.__dataclass_fields__
        if getattr(rules, field) == getattr(DEFAULTS, field)
    }
    assert same == set()


def test_names() -> None:
    assert (flag("head_proxy"), variable("head_proxy")) == ("--head-proxy", "RAYSWEEP_HEAD_PROXY")


def test_the_flag_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSWEEP_DELETION_BURST", "7")
    assert load({"deletion_burst": "3"}).deletion_burst == 3
    assert load({"deletion_burst": None}).deletion_burst == 7


def test_a_bad_variable_does_not_matter_where_the_flag_is_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAYSWEEP_DELETION_BURST", "many")
    assert load({"deletion_burst": "3"}).deletion_burst == 3


def test_an_empty_kubeconfig_or_context_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSWEEP_KUBECONFIG", "")
    monkeypatch.setenv("RAYSWEEP_CONTEXT", "")
    assert (load({}).kubeconfig, load({}).context) == (None, None)


def test_a_proxy_for_heads_contradicts_the_way_through_the_api_server() -> None:
    with pytest.raises(
        SettingsError, match="RAYSWEEP_HEAD_PROXY: 'http://proxy:1': only for --head-access direct"
    ):
        load({"head_proxy": "http://proxy:1", "head_access": "api-server"})


@pytest.mark.parametrize(
    ("times", "named"),
    [
        pytest.param(
            {"lease_duration": "10s"},
            "RAYSWEEP_RENEW_DEADLINE 10s, RAYSWEEP_LEASE_DURATION 10s",
            id="both as long",
        ),
        pytest.param(
            {"retry_period": "10s"},
            "RAYSWEEP_RETRY_PERIOD 10s, RAYSWEEP_RENEW_DEADLINE 10s",
            id="one try at most",
        ),
    ],
)
def test_the_leader_must_give_up_before_another_may_begin_and_after_it_could_try_again(
    times: dict[str, str], named: str
) -> None:
    with pytest.raises(SettingsError, match=f"{named}.*: each must be longer than the one before"):
        load(times)


@pytest.mark.parametrize(
    ("listen", "address"), [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:8080", ("::1", 8080))]
)
def test_the_address_to_listen_on(listen: str, address: tuple[str, int]) -> None:
    assert load({"listen": listen}).listen_address == address


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load({}).deletion_burst = 5  # type: ignore[misc]
