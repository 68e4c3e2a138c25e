"""The chart, offline: what its schema refuses and what its templates come to. How it installs is seen in tests/integration."""

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
"""Of the Prometheus operator; its schemas are not Kubernetes' own."""
CI = [
    pytest.param(helm.read(path), id=path.stem.removesuffix("-values")) for path in helm.ci_values()
]
IDENTITY = {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
TWO = {"namespaces": ["team-a", "team-b"]}


def only(kind: str, values: Body | None = None) -> Body:
    found = [body for body in helm.documents(values) if body["kind"] == kind]
    assert len(found) == 1, [body["metadata"]["name"] for body in found]
    return found[0]


def pod(values: Body | None = None) -> Body:
    spec: Body = only("Deployment", values)["spec"]["template"]["spec"]
    return spec


def told(values: Body) -> dict[str, str]:
    """The environment that a release gives its Pods by its settings."""
    found = next(
        b
        for b in helm.documents(values)
        if b["kind"] == "ConfigMap" and variable("mode") in b["data"]
    )
    return dict(found["data"])


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
    """Every selector in an object that is meant for the Pods or Services of the release."""
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
def test_lint_finds_nothing_however_strict(values: Body) -> None:
    assert helm.lint(values) == []


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", CI)
def test_what_it_renders_is_valid_in_every_supported_kubernetes(values: Body, version: str) -> None:
    for body in helm.documents(values):
        if not body["apiVersion"].startswith(FOREIGN):
            kubernetes_validate.validate(body, version, strict=True)


REFUSED: list[tuple[str, Body, str]] = [
    ("a word that is no mode", {"mode": "Dryrun"}, "at '/mode': value must be one of 'Enforce', 'DryRun'"),
    ("a value that is not there", {"ttl": "1d"}, "additional properties 'ttl' not allowed"),
    ("a typo", {"replica": 1}, "additional properties 'replica' not allowed"),
    ("a typo further down", {"image": {"repo": "raysweep"}}, "at '/image': additional properties 'repo' not allowed"),
    ("a typo in the probes", {"livenessProbe": {"period": 3}}, "at '/livenessProbe': additional properties 'period'"),
    ("a setting that is not there", {"settings": {"relist": "5m"}}, "at '/settings': additional properties 'relist'"),
    ("a setting as its environment variable", {"settings": {"RAYSWEEP_MODE": "DryRun"}}, "'RAYSWEEP_MODE' not allowed"),
    ("a setting that has a value of its own", {"settings": {"mode": "DryRun"}}, "at '/settings': additional properties 'mode'"),
    ("words for a duration", {"settings": {"relistEvery": "five minutes"}}, "at '/settings/relistEvery'"),
    ("a duration in the wrong order", {"settings": {"bulkExpiryWait": "30s1m"}}, "at '/settings/bulkExpiryWait'"),
    ("a duration of nothing", {"settings": {"bulkExpiryWait": "0s"}}, "at '/settings/bulkExpiryWait'"),
    ("never, where it must end", {"settings": {"bulkExpiryWait": "never"}}, "at '/settings/bulkExpiryWait'"),
    ("a negative number of seconds", {"settings": {"relistEvery": -5}}, "minimum: got -5, want 1"),
    ("a share above one", {"settings": {"headsSilentShare": 1.5}}, "maximum: got 1.5, want 1"),
    ("no deletions at all", {"settings": {"deletionsPerSecond": 0}}, "exclusiveMinimum: got 0, want 0"),
    ("a text for a number", {"settings": {"bulkExpiryMax": "many"}}, "got string, want integer"),
    ("a text for a list", {"settings": {"protectedNamespaces": "a,b"}}, "got string, want array"),
    ("a namespace that is no name", {"settings": {"protectedNamespaces": ["Team_A"]}}, "'Team_A' does not match pattern"),
    ("a way to heads that is not there", {"settings": {"headAccess": "proxy"}}, "must be one of 'direct', 'api-server'"),
    ("a forward proxy without http", {"settings": {"headProxy": "proxy:3128"}}, "'proxy:3128' does not match pattern"),
    ("a level that is not there", {"settings": {"logLevel": "verbose"}}, "must be one of 'debug', 'info'"),
    ("a list with a blank in it", {"namespaces": ["team-a team-b"]}, "'team-a team-b' does not match pattern"),
    ("a namespace twice", {"namespaces": ["team-a", "team-a"]}, "items at 0 and 1 are equal"),
    ("a text for the namespaces", {"namespaces": "team-a"}, "got string, want array"),
    ("a text for a truth", {"admission": {"enabled": "yes"}}, "got string, want boolean"),
    ("a word that is no action", {"admission": {"annotations": "Refuse"}}, "must be one of 'Warn', 'Deny'"),
    ("the bundle in a namespaced install", {**TWO, "admission": {"enabled": True}}, "'/admission/enabled': value must be false"),
    ("a user with a comma", {"admission": {"platformUsers": ["anna, nora"]}}, "does not match pattern"),
    ("nobody exempt", {"admission": {"exemptNamespaces": []}}, "minItems: got 0, want 1"),
    ("half a replica", {"replicas": 1.5}, "got number, want integer"),
    ("a policy of pulling that is not there", {"image": {"pullPolicy": "Sometimes"}}, "must be one of 'Always'"),
    ("a digest that is cut short", {"image": {"digest": "sha256:abc"}}, "'sha256:abc' does not match pattern"),
    ("a tag with a colon", {"image": {"tag": "a:b"}}, "'a:b' does not match pattern"),
    ("an existing account without a name", {"serviceAccount": {"create": False}}, "minLength: got 0, want 1"),
    ("a label of ours", {"commonLabels": {"app.kubernetes.io/name": "mine"}}, "invalid propertyName 'app.kubernetes.io/name'"),
    ("an annotation that is a number", {"podAnnotations": {"a": 1}}, "got number, want string"),
    ("a quantity with a word", {"resources": {"limits": {"memory": "512MB"}}}, "at '/resources/limits/memory'"),
    ("a resource that is not there", {"resources": {"limits": {"ram": "1Gi"}}}, "additional properties 'ram' not allowed"),
    ("a variable with no value", {"extraEnv": [{"name": "A"}]}, "minProperties: got 1, want 2"),
    ("a name that is no variable's", {"extraEnv": [{"name": "A-B", "value": ""}]}, "'A-B' does not match pattern"),
    ("a toleration with a typo", {"tolerations": [{"keys": "a"}]}, "additional properties 'keys' not allowed"),
    ("a spread without a key", {"topologySpreadConstraints": [{"maxSkew": 1}]}, "missing properties"),
    ("a port that is none", {"networkPolicy": {"heads": {"ports": [80000]}}}, "maximum: got 80,000, want 65,535"),
    ("an address without a mask", {"networkPolicy": {"apiServer": {"cidrs": ["10.0.0.1"]}}}, "does not match pattern"),
    ("both monitors", {"metrics": {kind: {"enabled": True} for kind in ("serviceMonitor", "podMonitor")}}, "must be false"),
    ("two replicas without a leader", {"settings": {"leaderElection": False}}, "at '/replicas': maximum: got 2, want 1"),
    ("a proxy beside the API server's", {"settings": {"headAccess": "api-server", "headProxy": "http://a:1"}}, "must be ''"),
    ("a name that no Service may have", {"fullnameOverride": "2024"}, "'2024' does not match pattern '^[a-z]'"),
    ("a way out without a port", {"networkPolicy": {"extraEgress": [{"cidr": "10.0.0.1/32"}]}}, "missing property 'ports'"),
    ("no time to end", {"terminationGracePeriodSeconds": 1}, "minimum: got 1, want 10"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "why"), [pytest.param(values, why, id=what) for what, values, why in REFUSED]
)
def test_the_schema_refuses(values: Body, why: str) -> None:
    assert why in helm.refusal(values)


LEASE = {"leaseDuration": "1h", "renewDeadline": "90m"}
CONTRADICTORY: list[tuple[str, Body, str]] = [
    (
        "a Lease shorter than its renewal",
        {"settings": {"leaseDuration": "5s"}},
        "settings.leaseDuration is 5s, and must be longer",
    ),
    (
        "mixed units",
        {"settings": LEASE},
        "settings.leaseDuration is 1h, and must be longer than settings.renewDeadline, 90m",
    ),
    (
        "a pause as long as the deadline",
        {"settings": {"retryPeriod": 10}},
        "longer than settings.retryPeriod, 10",
    ),
    (
        "an end that is cut off",
        {"settings": {"terminationGrace": "20.5s"}},
        "terminationGracePeriodSeconds is 30, and must be 10 more",
    ),
    (
        "a proxy that no packet reaches",
        {
            "networkPolicy": {"egress": {"enabled": True}},
            "settings": {"headProxy": "http://proxy:3128"},
        },
        "name it in networkPolicy.extraEgress",
    ),
    (
        "tokens where it does not work",
        {**TWO, "headTokens": {"namespaces": ["team-z"]}},
        "headTokens.namespaces has team-z",
    ),
]


@pytest.mark.parametrize(
    ("values", "why"), [pytest.param(values, why, id=what) for what, values, why in CONTRADICTORY]
)
def test_two_values_that_contradict_each_other_are_refused_with_both(
    values: Body, why: str
) -> None:
    with pytest.raises(helm.Refused, match=re.escape(why)):
        helm.render(values)


def test_the_defaults_that_the_checks_reckon_with_are_those_of_the_settings() -> None:
    text = (helm.CHART / "templates" / "_checks.tpl").read_text()
    known = dict(re.findall(r'(?:list|dig) "(\w+)" "(\w+)"', text))
    fields = {camel_case(name): field.default for name, field in Settings.model_fields.items()}
    assert set(known) == {"leaseDuration", "renewDeadline", "retryPeriod", "terminationGrace"}
    assert known == {name: format_duration(fields[name]) for name in known}


def test_durations_are_reckoned_in_every_unit() -> None:
    lease = {"leaseDuration": "1.5h", "renewDeadline": "1h29m59s", "retryPeriod": 5398}
    assert told({"settings": lease})["RAYSWEEP_LEASE_DURATION"] == "1.5h"


def test_names_that_yaml_takes_for_something_else_stay_names() -> None:
    values: Body = {"namespaces": ["123", "null", "on"], "headTokens": {"namespaces": ["null"]}}
    documents = helm.documents(values, name="2024", namespace="1e3")
    named = [body["metadata"].get("namespace") for body in documents]
    assert set(named) == {"123", "null", "on", "1e3"}
    assert all(
        isinstance(value, str)
        for body in documents
        for value in body["metadata"]["labels"].values()
    )
    assert told(values | {"mode": "Enforce"})["RAYSWEEP_NAMESPACES"] == "123,null,on"


@pytest.mark.parametrize("kind", ["serviceMonitor", "podMonitor"])
def test_a_monitor_leaves_the_namespace_of_the_rayjobs_alone(kind: str) -> None:
    monitor = only(kind[0].upper() + kind[1:], {"metrics": {kind: {"enabled": True}}})
    (endpoint,) = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is True


def test_the_schema_is_closed_all_the_way_down() -> None:
    """Open are Helm's own `global`, and what Kubernetes itself checks within affinity."""
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
def test_the_settings_of_a_release_are_understood_by_the_operator(values: Body) -> None:
    given = told(values)
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
def test_every_object_carries_the_recommended_labels(values: Body) -> None:
    wanted = {
        f"app.kubernetes.io/{name}"
        for name in ("name", "instance", "version", "component", "part-of", "managed-by")
    }
    for body in helm.documents(values):
        assert wanted | {"helm.sh/chart"} <= set(body["metadata"]["labels"])
        assert set(values.get("commonLabels", {}).items()) <= set(
            body["metadata"]["labels"].items()
        )


@pytest.mark.parametrize(
    "kind", ["Deployment", "Service", "PodDisruptionBudget", "ServiceMonitor", "NetworkPolicy"]
)
def test_selectors_use_name_and_instance_alone(kind: str) -> None:
    values = {"metrics": {"serviceMonitor": {"enabled": True}}, "commonLabels": {"a": "b"}}
    found = [
        each for each in selectors(only(kind, values)["spec"]) if "ray.io/node-type" not in each
    ]
    assert found
    assert all(set(each) == IDENTITY for each in found)


@pytest.mark.parametrize("values", CI)
def test_every_object_is_named_after_the_release(values: Body) -> None:
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


def test_there_is_no_limit_on_its_processor() -> None:
    assert set(pod()["containers"][0]["resources"]["limits"]) == {"memory"}


@pytest.mark.parametrize(
    ("replicas", "budgets"),
    [
        pytest.param(0, 0, id="stopped"),
        pytest.param(1, 0, id="one would hold up every drain"),
        pytest.param(2, 1, id="two"),
    ],
)
def test_a_disruption_budget_comes_with_a_second_replica(replicas: int, budgets: int) -> None:
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
def test_the_image_is(image: Body, used: str) -> None:
    assert pod({"image": image})["containers"][0]["image"] == used


def test_a_changed_setting_restarts_the_pods() -> None:
    one, other = ({"settings": {"relistEvery": every}} for every in ("5m", "6m"))
    sums = {
        only("Deployment", v)["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
        for v in (one, other)
    }
    assert len(sums) == 2


@pytest.mark.parametrize("values", CI)
def test_no_right_is_a_star_and_none_updates_a_rayjob(values: Body) -> None:
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


def test_secrets_can_be_read_in_the_listed_namespaces_alone() -> None:
    values = {"headTokens": {"namespaces": ["team-b"]}}
    assert {right[0] for right in rights(values, "Role") if right[2] == "secrets"} == {"team-b"}
    assert "secrets" not in {right[2] for right in rights(values, "ClusterRole")}
    assert "secrets" not in {right[2] for right in rights({}, "Role") | rights({}, "ClusterRole")}


def test_services_are_reached_through_the_api_server_in_that_mode_alone() -> None:
    by_proxy = {"settings": {"headAccess": "api-server"}}
    assert ("", "", "services/proxy", "get") in rights(by_proxy, "ClusterRole")
    assert "services/proxy" not in {
        right[2] for right in rights({}, "ClusterRole") | rights({}, "Role")
    }


def test_a_namespaced_install_grants_nothing_beyond_its_namespaces() -> None:
    kinds = {body["kind"] for body in helm.documents(TWO)}
    assert not {kind for kind in kinds if kind.startswith("Cluster")}
    assert {right[0] for right in rights(TWO, "Role") if right[2] != "leases"} == set(
        TWO["namespaces"]
    )


def test_whether_the_namespaces_may_be_read_is_a_value() -> None:
    narrow = {**TWO, "readNamespaces": False}
    assert {right[0] for right in rights(TWO, "Role") if right[2] == "namespaces"} == set(
        TWO["namespaces"]
    )
    assert "namespaces" not in {right[2] for right in rights(narrow, "Role")}


def test_by_default_the_network_policy_lets_in_to_the_port_of_metrics_and_probes_and_restricts_nothing_else() -> (
    None
):
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


def test_the_network_policy_selects_the_pods_of_the_deployment_and_can_be_left_out() -> None:
    labels = only("Deployment", {})["spec"]["template"]["metadata"]["labels"]
    assert only("NetworkPolicy", {})["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert "NetworkPolicy" not in {
        body["kind"] for body in helm.documents({"networkPolicy": {"enabled": False}})
    }


def test_a_head_proxy_needs_no_way_out_while_egress_is_not_restricted() -> None:
    spec = only("NetworkPolicy", {"settings": {"headProxy": "http://proxy:3128"}})["spec"]
    assert "egress" not in spec


def test_the_network_policy_lets_out_to_heads_only_where_they_are_asked_directly() -> None:
    def ports(**settings: str) -> set[int]:
        spec = only(
            "NetworkPolicy", {"networkPolicy": {"egress": {"enabled": True}}, "settings": settings}
        )["spec"]
        return {port["port"] for rule in spec["egress"] for port in rule["ports"]}

    assert ports() == {443, 6443, 53, 8265}
    assert ports(headAccess="api-server") == {443, 6443, 53}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        pytest.param({}, "mode Enforce: it deletes", id="that it deletes"),
        pytest.param(
            {"mode": "DryRun"}, "mode DryRun: it deletes nothing", id="that it only observes"
        ),
        pytest.param({}, "Built-in TTL  never", id="that nothing goes by itself"),
        pytest.param({}, "scale deployment raysweep --replicas 0", id="how to stop it"),
        pytest.param({}, "kubectl raysweep plan -A --all", id="what to do first"),
        pytest.param({"settings": {"bulkExpiryWait": "2h"}}, "waits 2h", id="what was set"),
        pytest.param(TWO, "namespaces team-a, team-b alone", id="where it works"),
    ],
)
def test_the_notes_say(values: Body, says: str) -> None:
    assert says in helm.render(values)[helm.NOTES]


@pytest.mark.parametrize(
    "path", sorted(Path(helm.CHART / "templates").glob("**/*.yaml")), ids=lambda path: path.name
)
def test_every_template_is_rendered_by_a_values_file_of_the_ci_folder(path: Path) -> None:
    template = str(path.relative_to(helm.CHART))
    assert any(template in helm.render(helm.read(values)) for values in helm.ci_values())


def test_the_versions_of_chart_and_program_are_one() -> None:
    chart = yaml.safe_load((helm.CHART / "Chart.yaml").read_text())
    program = re.search(
        r'^version = "(.+)"$', (helm.CHART.parents[2] / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert program
    assert {chart["version"], chart["appVersion"]} == {program[1]}
