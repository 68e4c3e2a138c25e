"""The table of rejected specs compared with KubeRay's CRDs, and `submit -f` with such a spec."""

import asyncio
import json
from pathlib import Path

import pytest
import pytest_asyncio

from raysweep.clients.parsing import yaml_text
from raysweep.core.validation.schema import SPEC
from raysweep.core.validation.validate import RULES, validate
from raysweep.core.validation.violation import Authority
from refused_specs import BASE, RefusedSpec, merge, refused_specs
from sandbox.api import ApiError
from sandbox.cluster import Cluster
from sandbox.heads import Head
from tests.support.person import Person
from tests.support.workbench import Body, Lab

pytestmark = pytest.mark.every_kuberay_version

SPECS = refused_specs()
BY_NAME = {rule.name: rule for rule in RULES}


@pytest_asyncio.fixture
async def lab(cluster: Cluster, head: Head) -> Lab:
    """A namespace without the operator, which these specs do not need."""
    return await Lab.open(cluster, head)


async def is_accepted(lab: Lab, body: Body, validation: str) -> bool:
    """Whether the API server accepts a RayJob in a dry run."""
    whole = merge(body, {"metadata": {"namespace": lab.namespace}})
    params = {"dryRun": "All", "fieldValidation": validation}
    try:
        await lab.cluster.api.request("POST", lab.path("rayjobs"), whole, params=params)
    except ApiError as error:
        if error.status not in (400, 422):
            raise
        return False
    return True


def is_expected(spec: RefusedSpec, version: str, validation: str) -> bool:
    """Whether the API server should accept a spec."""
    refused = version in spec.crd or (validation == "Strict" and version in spec.dropped)
    if version in ("1.5", "1.6", "1.7"):
        return not refused
    return BY_NAME[spec.rule].authority is not Authority.API_SERVER


def measured(specs: list[RefusedSpec], version: str) -> list[RefusedSpec]:
    """All specs for a version in the table, else those that the API server itself rejects."""
    if version in ("1.5", "1.6", "1.7"):
        return specs
    return [spec for spec in specs if BY_NAME[spec.rule].authority is Authority.API_SERVER]


@pytest.mark.parametrize("validation", ["Ignore", "Strict"])
async def test_the_crds_reject_the_specs_of_the_table(
    lab: Lab, kuberay_version: str, validation: str
) -> None:
    specs = measured(SPECS, kuberay_version)
    taken = await asyncio.gather(*(is_accepted(lab, spec.body, validation) for spec in specs))
    found = {str(spec.patch): answer for spec, answer in zip(specs, taken, strict=True)}
    assert found == {
        str(spec.patch): is_expected(spec, kuberay_version, validation) for spec in specs
    }
    assert await is_accepted(lab, BASE, validation)


async def test_the_rules_find_every_type_that_the_api_server_rejects(
    lab: Lab, kuberay_version: str
) -> None:
    """Every field of the spec that a rule reads, given values of every other type."""
    odd: list[object] = ["text", 7, 1.5, True, [], {}, ["a"], {"a": "b"}, {"a": 1}, -1, 2**31]
    bodies = [
        {**BASE, "spec": {**BASE["spec"], field: value}}
        for field in SPEC
        for value in odd
        if kuberay_version in ("1.5", "1.6", "1.7")
    ]
    taken = await asyncio.gather(*(is_accepted(lab, body, "Ignore") for body in bodies))
    unfound = [
        body["spec"]
        for body, answer in zip(bodies, taken, strict=True)
        if not answer and not validate(body, yaml_text.load)
    ]
    assert unfound == []


async def test_submit_reports_every_problem_and_creates_nothing(
    cluster: Cluster, lab: Lab, tmp_path: Path
) -> None:
    spec = {"suspend": True, "ttlSecondsAfterFinished": -1, "backoffLimit": 1}
    file = tmp_path / "refused.yaml"
    body = merge(BASE, {"metadata": {"namespace": lab.namespace}, "spec": spec})
    await asyncio.to_thread(file.write_text, json.dumps(body))
    person = Person(cluster.kubeconfig, cluster.kubectl, lab.namespace)
    answer = await person.submits("-f", str(file))
    assert (answer.code, answer.out) == (2, "")
    lines = answer.err.splitlines()
    for field in ("spec.suspend", "spec.ttlSecondsAfterFinished", "spec.backoffLimit"):
        assert len([line for line in lines if f" {field}: " in line]) == 1, (field, answer.err)
    assert await lab.remaining() == set()
