"""Renders the chart offline. tests/integration installs it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.render import camel_case
from raysweep.core.durations import format_duration
from raysweep.settings import Settings, load, variable
from tests.support import helm

Body = dict[str, Any]

KUBERNETES = ["1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"]
FOREIGN = "monitoring.coreos.com/"
"""The group of the Prometheus operator, for which there are no schemas."""
CI = [
    pytest.param(helm.read(path), id=path.stem.removesuffix("-values")) for path in helm.ci_values()
]
IDENTITY = {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
TWO = {"namespaces": ["team-a", "team-b"]}


def only(kind: str, values: Body | None = None) -> Body:
    (body,) = (body for body in helm.documents(values) if body["kind"] == kind)
    return body


def pod(values: Body | None = None) -> Body:
    spec: Body = only("Deployment", values)["spec"]["template"]["spec"]
    return spec


def settings_of(values: Body) -> dict[str, str]:
    """The settings of a release as environment variables."""
    config_map = next(
        body
        for body in helm.documents(values)
        if body["kind"] == "ConfigMap" and variable("mode") in body["data"]
    )
    return dict(config_map["data"])


def rights(values: Body, kind: str) -> set[tuple[str, str, str, str]]:
    """(namespace, group, resource, verb) of every Role or ClusterRole."""
    return {
        (body["metadata"].get("namespace", ""), group, resource, verb)
        for body in helm.documents(values)
        if body["kind"] == kind
        for rule in body["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def selectors(body: Any) -> Iterator[Body]:
    """Every selector for Pods or Services of the release in an object."""
    if isinstance(body, dict):
        for key, value in body.items():
            if key in ("selector", "podSelector", "labelSelector") and isinstance(value, dict):
                yield value.get("matchLabels", value)
            else:
                yield from selectors(value)
    elif isinstance(body, list):
        for item in body:
            yield from selectors(item)


@pytest.mark.parametrize("values", CI)
def test_strict_lint_reports_nothing(values: Body) -> None:
    assert helm.lint(values) == []


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", CI)
def test_every_object_is_valid_in_every_supported_kubernetes(values: Body, version: str) -> None:
    for body in helm.documents(values):
        if not body["apiVersion"].startswith(FOREIGN):
            kubernetes_validate.validate(body, version, strict=True)


REFUSED: list[tuple[Body, str]] = [
    ({"mode": "Dryrun"}, "at '/mode': value must be one of 'Enforce', 'DryRun'"),
    ({"ttl": "1d"}, "additional properties 'ttl' not allowed"),
    ({"replica": 1}, "additional properties 'replica' not allowed"),
    ({"image": {"repo": "raysweep"}}, "at '/image': additional properties 'repo' not allowed"),
    ({"livenessProbe": {"period": 3}}, "at '/livenessProbe': additional properties 'period'"),
    ({"settings": {"relist": "5m"}}, "at '/settings': additional properties 'relist'"),
    ({"settings": {"RAYSWEEP_MODE": "DryRun"}}, "'RAYSWEEP_MODE' not allowed"),
    ({"settings": {"mode": "DryRun"}}, "at '/settings': additional properties 'mode'"),
    ({"settings": {"relistEvery": "five minutes"}}, "at '/settings/relistEvery'"),
    ({"settings": {"bulkExpiryWait": "30s1m"}}, "at '/settings/bulkExpiryWait'"),
    ({"settings": {"bulkExpiryWait": "0s"}}, "at '/settings/bulkExpiryWait'"),
    ({"settings": {"bulkExpiryWait": "never"}}, "at '/settings/bulkExpiryWait'"),
    ({"settings": {"relistEvery": -5}}, "minimum: got -5, want 1"),
    ({"settings": {"headsSilentShare": 1.5}}, "maximum: got 1.5, want 1"),
    ({"settings": {"deletionsPerSecond": 0}}, "exclusiveMinimum: got 0, want 0"),
    ({"settings": {"bulkExpiryMax": "many"}}, "got string, want integer"),
    ({"settings": {"protectedNamespaces": "a,b"}}, "got string, want array"),
    ({"settings": {"protectedNamespaces": ["Team_A"]}}, "'Team_A' does not match pattern"),
    ({"settings": {"headAccess": "proxy"}}, "must be one of 'direct', 'api-server'"),
    ({"settings": {"headProxy": "proxy:3128"}}, "'proxy:3128' does not match pattern"),
    ({"settings": {"logLevel": "verbose"}}, "must be one of 'debug', 'info'"),
    ({"namespaces": ["team-a team-b"]}, "'team-a team-b' does not match pattern"),
    ({"namespaces": ["team-a", "team-a"]}, "items at 0 and 1 are equal"),
    ({"namespaces": "team-a"}, "got string, want array"),
    ({"admission": {"enabled": "yes"}}, "got string, want boolean"),
    ({"admission": {"annotations": "Refuse"}}, "must be one of 'Warn', 'Deny'"),
    ({**TWO, "admission": {"enabled": True}}, "'/admission/enabled': value must be false"),
    ({"admission": {"platformUsers": ["anna, nora"]}}, "does not match pattern"),
    ({"admission": {"exemptNamespaces": []}}, "minItems: got 0, want 1"),
    ({"replicas": 1.5}, "got number, want integer"),
    ({"image": {"pullPolicy": "Sometimes"}}, "must be one of 'Always'"),
    ({"image": {"digest": "sha256:abc"}}, "'sha256:abc' does not match pattern"),
    ({"image": {"tag": "a:b"}}, "'a:b' does not match pattern"),
    ({"serviceAccount": {"create": False}}, "minLength: got 0, want 1"),
    (
        {"commonLabels": {"app.kubernetes.io/name": "mine"}},
        "invalid propertyName 'app.kubernetes.io/name'",
    ),
    ({"podAnnotations": {"a": 1}}, "got number, want string"),
    ({"resources": {"limits": {"memory": "512MB"}}}, "at '/resources/limits/memory'"),
    ({"resources": {"limits": {"ram": "1Gi"}}}, "additional properties 'ram' not allowed"),
    ({"extraEnv": [{"name": "A"}]}, "minProperties: got 1, want 2"),
    ({"extraEnv": [{"name": "A-B", "value": ""}]}, "'A-B' does not match pattern"),
    ({"tolerations": [{"keys": "a"}]}, "additional properties 'keys' not allowed"),
    ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "missing properties"),
    ({"networkPolicy": {"heads": {"ports": [80000]}}}, "maximum: got 80,000, want 65,535"),
    ({"networkPolicy": {"apiServer": {"cidrs": ["10.0.0.1"]}}}, "does not match pattern"),
    (
        {"metrics": {kind: {"enabled": True} for kind in ("serviceMonitor", "podMonitor")}},
        "must be false",
    ),
    ({"settings": {"leaderElection": False}}, "at '/replicas': maximum: got 2, want 1"),
    ({"settings": {"headAccess": "api-server", "headProxy": "http://a:1"}}, "must be ''"),
    ({"fullnameOverride": "2024"}, "'2024' does not match pattern '^[a-z]'"),
    ({"networkPolicy": {"extraEgress": [{"cidr": "10.0.0.1/32"}]}}, "missing property 'ports'"),
    ({"terminationGracePeriodSeconds": 1}, "minimum: got 1, want 10"),
]
"""Values that the schema refuses, and a part of the message."""


def test_the_schema_refuses_unknown_and_invalid_values() -> None:
    for values, message in REFUSED:
        assert message in helm.refusal(values), values


CONTRADICTORY: list[tuple[Body, str]] = [
    ({"settings": {"leaseDuration": "5s"}}, "settings.leaseDuration is 5s: use a longer time"),
    (
        {"settings": {"leaseDuration": "1h", "renewDeadline": "90m"}},
        "settings.leaseDuration is 1h: use a longer time than settings.renewDeadline (90m)",
    ),
    ({"settings": {"retryPeriod": 10}}, "longer time than settings.retryPeriod (10)"),
    (
        {"settings": {"terminationGrace": "20.5s"}},
        "terminationGracePeriodSeconds is 30: use at least 10 seconds more",
    ),
    (
        {
            "networkPolicy": {"egress": {"enabled": True}},
            "settings": {"headProxy": "http://proxy:3128"},
        },
        "add it to networkPolicy.extraEgress",
    ),
    ({**TWO, "headTokens": {"namespaces": ["team-z"]}}, "headTokens.namespaces has team-z"),
]
"""Values that contradict each other, and a part of the message."""


def test_values_that_contradict_each_other_are_refused() -> None:
    for values, message in CONTRADICTORY:
        with pytest.raises(helm.Refused, match=re.escape(message)):
            helm.render(values)


def test_the_checks_use_the_defaults_of_the_settings() -> None:
    text = (helm.CHART / "templates" / "_checks.tpl").read_text()
    defaults = dict(re.findall(r'(?:list|dig) "(\w+)" "(\w+)"', text))
    fields = {camel_case(name): field.default for name, field in Settings.model_fields.items()}
    assert set(defaults) == {"leaseDuration", "renewDeadline", "retryPeriod", "terminationGrace"}
    assert defaults == {name: format_duration(fields[name]) for name in defaults}


def test_the_checks_understand_every_unit_of_a_duration() -> None:
    lease = {"leaseDuration": "1.5h", "renewDeadline": "1h29m59s", "retryPeriod": 5398}
    assert settings_of({"settings": lease})["RAYSWEEP_LEASE_DURATION"] == "1.5h"


def test_names_that_look_like_other_yaml_types_stay_names() -> None:
    values: Body = {"namespaces": ["123", "null", "on"], "headTokens": {"namespaces": ["null"]}}
    documents = helm.documents(values, name="2024", namespace="1e3")
    named = [body["metadata"].get("namespace") for body in documents]
    assert set(named) == {"123", "null", "on", "1e3"}
    assert all(
        isinstance(value, str)
        for body in documents
        for value in body["metadata"]["labels"].values()
    )
    assert settings_of(values | {"mode": "Enforce"})["RAYSWEEP_NAMESPACES"] == "123,null,on"


@pytest.mark.parametrize("kind", ["serviceMonitor", "podMonitor"])
def test_a_monitor_keeps_the_label_namespace(kind: str) -> None:
    monitor = only(kind[0].upper() + kind[1:], {"metrics": {kind: {"enabled": True}}})
    (endpoint,) = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is True


def test_the_schema_refuses_unknown_keys_in_every_object() -> None:
    """Exceptions are `global` of Helm, and affinity, which Kubernetes checks."""
    schema = yaml.safe_load((helm.CHART / "values.schema.json").read_text())

    def open_ones(node: Any, path: str) -> Iterator[str]:
        if isinstance(node, dict):
            if node.get("type") == "object" and node.get("additionalProperties", True) is True:
                yield path
            for key, value in node.items():
                yield from open_ones(value, f"{path}/{key}") if key not in ("if", "then") else ()
        elif isinstance(node, list):
            for value in node:
                yield from open_ones(value, path)

    affinity = "/$defs/affinity/properties/"
    expected = {
        "/properties/global",
        *(f"{affinity}{kind}" for kind in ("nodeAffinity", "podAffinity", "podAntiAffinity")),
    }
    assert set(open_ones(schema, "")) == expected


@pytest.mark.parametrize("values", CI)
def test_the_operator_accepts_the_settings_of_a_release(values: Body) -> None:
    given = settings_of(values)
    assert {
        key for key in given if key.removeprefix("RAYSWEEP_").lower() not in Settings.model_fields
    } == set()
    settings = load({name: given.get(variable(name)) for name in Settings.model_fields})
    assert settings.mode.value == values.get("mode", "Enforce")
    for name, value in values.get("settings", {}).items():
        field = next(field for field in Settings.model_fields if camel_case(field) == name)
        read = getattr(settings, field)
        assert (
            (set(read) == set(value))
            if isinstance(value, list)
            else given[variable(field)] == _written(value)
        )


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("values", CI)
def test_every_object_has_the_recommended_labels(values: Body) -> None:
    recommended = {
        f"app.kubernetes.io/{name}"
        for name in ("name", "instance", "version", "component", "part-of", "managed-by")
    }
    for body in helm.documents(values):
        assert recommended | {"helm.sh/chart"} <= set(body["metadata"]["labels"])
        assert set(values.get("commonLabels", {}).items()) <= set(
            body["metadata"]["labels"].items()
        )


@pytest.mark.parametrize(
    "kind", ["Deployment", "Service", "PodDisruptionBudget", "ServiceMonitor", "NetworkPolicy"]
)
def test_selectors_use_only_name_and_instance(kind: str) -> None:
    values = {"metrics": {"serviceMonitor": {"enabled": True}}, "commonLabels": {"a": "b"}}
    own_selectors = [
        each for each in selectors(only(kind, values)["spec"]) if "ray.io/node-type" not in each
    ]
    assert own_selectors
    assert all(set(each) == IDENTITY for each in own_selectors)


@pytest.mark.parametrize("values", CI)
def test_the_name_of_every_object_begins_with_the_release(values: Body) -> None:
    name = values.get("fullnameOverride", "sweeper-raysweep")
    account = values.get("serviceAccount", {}).get("name", "")
    for body in helm.documents(values, name="sweeper", namespace="tools"):
        assert body["metadata"]["name"].startswith((name, account) if account else name)
        assert body["metadata"].get("namespace", "tools") in ("tools", "team-a", "team-b")


@pytest.mark.parametrize("values", CI)
def test_the_pod_passes_the_restricted_standard(values: Body) -> None:
    spec = pod(values)
    outer, (container,) = spec["securityContext"], spec["containers"]
    assert (outer["runAsNonRoot"], outer["runAsUser"], outer["seccompProfile"]) == (
        True,
        65532,
        {"type": "RuntimeDefault"},
    )
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & set(spec)


def test_there_is_no_cpu_limit() -> None:
    assert set(pod()["containers"][0]["resources"]["limits"]) == {"memory"}


@pytest.mark.parametrize(
    ("replicas", "budgets"),
    [
        pytest.param(0, 0, id="none"),
        pytest.param(1, 0, id="one"),
        pytest.param(2, 1, id="two"),
    ],
)
def test_only_several_replicas_have_a_disruption_budget(replicas: int, budgets: int) -> None:
    assert (
        sum(
            body["kind"] == "PodDisruptionBudget" for body in helm.documents({"replicas": replicas})
        )
        == budgets
    )


@pytest.mark.parametrize(
    ("image", "used"),
    [
        pytest.param({}, "raysweep:0.1.0", id="the chart's version"),
        pytest.param({"tag": "0.1.1"}, "raysweep:0.1.1", id="a tag"),
        pytest.param(
            {"tag": "0.1.1", "digest": f"sha256:{'0' * 64}"},
            f"raysweep@sha256:{'0' * 64}",
            id="a digest wins",
        ),
    ],
)
def test_the_image_has_a_tag_or_a_digest(image: Body, used: str) -> None:
    assert pod({"image": image})["containers"][0]["image"] == used


def test_a_changed_setting_restarts_the_pods() -> None:
    one, other = ({"settings": {"relistEvery": every}} for every in ("5m", "6m"))
    sums = {
        only("Deployment", v)["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
        for v in (one, other)
    }
    assert len(sums) == 2


@pytest.mark.parametrize("values", CI)
def test_no_right_is_a_wildcard_or_updates_a_rayjob(values: Body) -> None:
    granted = rights(values, "Role") | rights(values, "ClusterRole")
    assert "*" not in {part for right in granted for part in right}
    assert {right for right in granted if right[3] in ("update", "create")} <= {
        ("raysweep", "coordination.k8s.io", "leases", "create"),
        ("raysweep", "coordination.k8s.io", "leases", "update"),
        *(
            (namespace, "events.k8s.io", "events", "create")
            for namespace in ("", "team-a", "team-b")
        ),
    }


def test_secrets_can_be_read_only_in_the_listed_namespaces() -> None:
    values = {"headTokens": {"namespaces": ["team-b"]}}
    assert {right[0] for right in rights(values, "Role") if right[2] == "secrets"} == {"team-b"}
    assert "secrets" not in {right[2] for right in rights(values, "ClusterRole")}
    assert "secrets" not in {right[2] for right in rights({}, "Role") | rights({}, "ClusterRole")}


def test_the_right_to_services_proxy_needs_head_access_api_server() -> None:
    by_proxy = {"settings": {"headAccess": "api-server"}}
    assert ("", "", "services/proxy", "get") in rights(by_proxy, "ClusterRole")
    assert "services/proxy" not in {
        right[2] for right in rights({}, "ClusterRole") | rights({}, "Role")
    }


def test_the_right_to_pods_needs_delete_pods() -> None:
    rows: list[tuple[Body, set[tuple[str, str]]]] = [
        ({}, set()),
        ({"settings": {"deletePods": False}}, set()),
        ({"settings": {"deletePods": True}}, {("", "list"), ("", "delete")}),
        (
            {**TWO, "settings": {"deletePods": True}},
            {(name, verb) for name in TWO["namespaces"] for verb in ("list", "delete")},
        ),
    ]
    for values, expected in rows:
        granted = rights(values, "ClusterRole") | rights(values, "Role")
        assert {(right[0], right[3]) for right in granted if right[2] == "pods"} == expected


def test_a_namespaced_installation_has_rights_only_in_its_namespaces() -> None:
    kinds = {body["kind"] for body in helm.documents(TWO)}
    assert not {kind for kind in kinds if kind.startswith("Cluster")}
    assert {right[0] for right in rights(TWO, "Role") if right[2] != "leases"} == set(
        TWO["namespaces"]
    )


def test_the_right_to_read_namespaces_is_a_value() -> None:
    narrow = {**TWO, "readNamespaces": False}
    assert {right[0] for right in rights(TWO, "Role") if right[2] == "namespaces"} == set(
        TWO["namespaces"]
    )
    assert "namespaces" not in {right[2] for right in rights(narrow, "Role")}


def test_the_default_network_policy_admits_only_the_metrics_port() -> None:
    spec, (container,) = (
        only("NetworkPolicy", {})["spec"],
        only("Deployment", {})["spec"]["template"]["spec"]["containers"],
    )
    (port,) = container["ports"]
    assert spec["policyTypes"] == ["Ingress"]
    assert "egress" not in spec
    assert spec["ingress"] == [{"ports": [{"port": port["containerPort"], "protocol": "TCP"}]}]
    assert {container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("liveness", "readiness")} == {
        port["name"]
    }


def test_the_network_policy_selects_the_pods_and_can_be_disabled() -> None:
    labels = only("Deployment", {})["spec"]["template"]["metadata"]["labels"]
    assert only("NetworkPolicy", {})["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert "NetworkPolicy" not in {
        body["kind"] for body in helm.documents({"networkPolicy": {"enabled": False}})
    }


def test_a_head_proxy_needs_no_egress_rule_by_default() -> None:
    spec = only("NetworkPolicy", {"settings": {"headProxy": "http://proxy:3128"}})["spec"]
    assert "egress" not in spec


def test_egress_to_heads_is_allowed_only_for_direct_access() -> None:
    def ports(**settings: str) -> set[int]:
        spec = only(
            "NetworkPolicy", {"networkPolicy": {"egress": {"enabled": True}}, "settings": settings}
        )["spec"]
        return {port["port"] for rule in spec["egress"] for port in rule["ports"]}

    assert ports() == {443, 6443, 53, 8265}
    assert ports(headAccess="api-server") == {443, 6443, 53}


def test_the_notes_name_mode_scope_and_the_command_that_stops_it() -> None:
    rows: list[tuple[Body, str]] = [
        ({}, "Enforce"),
        ({"mode": "DryRun"}, "DryRun"),
        ({}, "kubectl -n raysweep scale deployment raysweep --replicas 0"),
        ({}, "kubectl raysweep plan -A --all"),
        ({"settings": {"bulkExpiryWait": "2h"}}, "waits 2h"),
        (TWO, "namespaces team-a, team-b"),
    ]
    for values, part in rows:
        assert part in helm.render(values)[helm.NOTES], values


@pytest.mark.parametrize(
    "path", sorted(Path(helm.CHART / "templates").glob("**/*.yaml")), ids=lambda path: path.name
)
def test_the_ci_values_render_every_template(path: Path) -> None:
    template = str(path.relative_to(helm.CHART))
    assert any(template in helm.render(helm.read(values)) for values in helm.ci_values())


def test_chart_and_program_have_the_same_version() -> None:
    chart = yaml.safe_load((helm.CHART / "Chart.yaml").read_text())
    program = re.search(
        r'^version = "(.+)"$', (helm.CHART.parents[2] / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert program
    assert {chart["version"], chart["appVersion"]} == {program[1]}
