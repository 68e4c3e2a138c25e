"""Alerts, dashboard and documented queries with promtool and a real Prometheus."""

import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
import yaml

from sandbox import cluster as sandbox_cluster
from sandbox.waiting import until
from tests.support.operator_process import DEPLOY, Operator, deploy, running_operator
from tests.support.prometheus import Prometheus, needed, promtool, scraping
from tests.support.workbench import Lab

pytestmark = [pytest.mark.xdist_group("monitoring"), needed]

MONITORING, DOCS = DEPLOY / "monitoring", DEPLOY.parent / "docs"
DUE, HELD = (
    {"raysweep.io/ttl": "0"},
    {"rayClusterStatus": {"desiredCPU": "8", "desiredGPU": "4", "desiredMemory": "16Gi"}},
)
VARIABLES = {"$__rate_interval": "1m", "$__range": "5m", "$job": "raysweep", "$otherwise": "24"}
PENDING = {"RaysweepInvalidAnnotations", "RaysweepDryRun"}
"""What the run below gives cause for."""


@dataclass(frozen=True)
class Run:
    """An operator with deleted, kept and unreachable RayJobs, and a Prometheus that scrapes it."""

    operator: Operator
    prometheus: Prometheus
    lab: Lab
    by_namespace: bool


@pytest_asyncio.fixture(
    scope="module", params=[False, True], ids=["as it ships", "with the label namespace"]
)
async def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Run]:
    folder = tmp_path_factory.mktemp("monitoring")
    async with sandbox_cluster.start(say=lambda _: None) as cluster:
        kubeconfig, head = await deploy(cluster), await cluster.heads.light("quiet")
        async with running_operator(
            cluster,
            kubeconfig,
            metrics_namespaces=str(request.param),
            relist_every="3s",
            policies_every="1s",
        ) as operator:
            address = operator.url.removeprefix("http://")
            async with scraping(
                folder, address, MONITORING / "rules.yaml", "raysweep"
            ) as prometheus:
                lab, trial = await Lab.open(cluster, head), await Lab.open(cluster, head)
                await trial.set_policy("trial", {"mode": "DryRun"})
                await _work(lab)
                yield Run(operator, prometheus, lab, request.param)


async def _work(lab: Lab) -> None:
    """Creates RayJobs that are deleted, have no TTL, are invalid, or have an unreachable head."""
    await lab.create_finished("no-ttl", status=HELD)
    await lab.create_finished("odd", annotations={"raysweep.io/ttl": "soon"}, status=HELD)
    rayjob = await lab.create_finished(
        "silent", with_cluster=False, status={**HELD, "jobDeploymentStatus": "Running"}
    )
    await lab.create_cluster(rayjob, "silent-c")
    lab.cluster.heads.route(lab.namespace, "silent-c-head-svc", None)
    await lab.annotate("silent", DUE)
    await lab.set_status("silent", {"jobDeploymentStatus": "Complete"})
    for number in range(2):
        for outcome in ("SUCCEEDED", "FAILED"):
            name = f"{outcome.lower()}-{number}"
            await lab.create_finished(name, outcome=outcome, annotations=DUE, status=HELD)
            await lab.expect_deleted("rayclusters", f"{name}-c")
    await lab.expect_event("silent", "HeadUnreachable")


def _panels() -> list[tuple[str, str, str]]:
    """(panel, legend, query) of the dashboard, with variables."""
    board: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
    targets = (
        (panel["title"], target) for panel in board["panels"] for target in panel.get("targets", ())
    )
    return [(title, target["legendFormat"], target["expr"]) for title, target in targets]


def _filled(query: str, namespace: str) -> str:
    """A query with its variables replaced as Grafana does."""
    for variable, value in {**VARIABLES, "$namespace": namespace}.items():
        query = query.replace(variable, value)
    assert "$" not in query
    return query


def _documented() -> Iterator[tuple[str, str]]:
    """(page, query) of every PromQL query in the documents."""
    for page in ("reference/metrics.md", "how-to/runbook.md"):
        for block in re.findall(r"```promql\n(.*?)```", (DOCS / page).read_text(), re.DOTALL):
            queries = [block] if page == "reference/metrics.md" else block.splitlines()
            yield from ((page, query.strip()) for query in queries)


async def _answered(prometheus: Prometheus, queries: list[tuple[str, str, str]]) -> list[str]:
    """Waits until all queries return a series. Reports count and first value of each."""
    rows: list[str] = []

    async def all_have_data() -> bool:
        rows.clear()
        for where, what, query in queries:
            found = await prometheus.query(query)
            value = f"{float(found[0]['value'][1]):.6g}" if found else "NO DATA"
            rows.append(f"{where} | {what} | {len(found)} | {value}")
        return not any(row.endswith(("NO DATA", "nan")) for row in rows)

    try:
        await until(all_have_data, timeout=45, every=1)
    except TimeoutError:
        pytest.fail("\n".join(rows))
    return rows


async def test_promtool_accepts_the_rules() -> None:
    code, said = await promtool("check", "rules", MONITORING / "rules.yaml")
    sys.stdout.write(said)
    assert (code, "SUCCESS: 14 rules found" in said) == (0, True), said


async def test_every_alert_fires_at_its_time() -> None:
    code, said = await promtool("test", "rules", MONITORING / "rules_test.yaml")
    sys.stdout.write(said)
    assert code == 0, said


async def test_promtool_accepts_the_metrics(run: Run) -> None:
    _, text = await run.operator.get("/metrics")
    assert "raysweep_deletions_total{" in text
    assert await promtool("check", "metrics", stdin=text) == (0, "")


async def test_every_query_of_the_dashboard_returns_data(run: Run) -> None:
    chosen = run.lab.namespace if run.by_namespace else ".*"  # of one namespace, or of all
    queries = [(title, legend, _filled(query, chosen)) for title, legend, query in _panels()]
    rows = await _answered(run.prometheus, queries)
    sys.stdout.write("\n".join(("panel | legend | series | first value", *rows, "")))
    assert len(rows) == len(queries) > 30


async def test_every_query_of_the_documents_returns_data(run: Run) -> None:
    # a month looked at every five minutes, in a run of one minute
    rows = await _answered(
        run.prometheus,
        [(page, query, query.replace("[30d:5m]", "[5m:1s]")) for page, query in _documented()],
    )
    sys.stdout.write("\n".join((*rows, "")))
    assert len(rows) > 5


async def test_only_alerts_with_a_cause_are_pending(
    run: Run,
) -> None:
    rules: list[dict[str, Any]] = []

    async def all_are_evaluated() -> bool:
        rules[:] = await run.prometheus.rules()
        return (
            all(rule["health"] != "unknown" for rule in rules)
            and {r["name"] for r in rules if r["alerts"]} >= PENDING
        )

    await until(all_are_evaluated, timeout=45)
    shipped = yaml.safe_load((MONITORING / "rules.yaml").read_text())
    assert {rule["name"] for rule in rules} == {
        rule["alert"] for group in shipped["groups"] for rule in group["rules"]
    }
    assert {
        rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] != "ok"
    } == {}
    assert {rule["name"] for rule in rules if rule["alerts"]} == PENDING
    for rule in rules:
        await run.prometheus.query(rule["query"])


async def test_metrics_of_gpus_match_the_rayjobs(run: Run) -> None:
    async def is_so() -> bool:
        freed = await run.prometheus.query('sum(raysweep_freed_resources_total{resource="gpu"})')
        held = await run.prometheus.query('sum(raysweep_held_resources{resource="gpu"})')
        return [float(one["value"][1]) for one in (*freed, *held)] == [16, 12]

    await until(is_so, timeout=45)


async def test_no_label_names_an_object_except_the_optional_namespace(
    run: Run,
) -> None:
    _, text = await run.operator.get("/metrics")
    labels = set(re.findall(r'="([^"]*)"', text))
    names = {path.partition("/")[2] for path in await run.lab.remaining()}
    assert {"silent", "silent-c", "no-ttl"} <= names
    assert labels & {*names, "succeeded-0", "succeeded-0-c"} == set()
    assert (run.lab.namespace in labels) is run.by_namespace
