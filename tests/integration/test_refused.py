"""C14: the table of refused specs against KubeRay's real CRDs, and what `submit -f` and `lint` say to it."""

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
    """Without the operator, which these specs do not concern."""
    return await Lab.open(cluster, head)


async def is_taken(lab: Lab, body: Body, validation: str) -> bool:
    """Whether the API server would create it, by a dry run."""
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
    """Whether the API server is to take it; of CRDs that were not measured, only its own checks are known."""
    refused = version in spec.crd or (validation == "Strict" and version in spec.dropped)
    if version in ("1.5", "1.6", "1.7"):
        return not refused
    return BY_NAME[spec.rule].authority is not Authority.API_SERVER


def measured(specs: list[RefusedSpec], version: str) -> list[RefusedSpec]:
    """All of them for a version in the table; else those that the API server itself refuses."""
    if version in ("1.5", "1.6", "1.7"):
        return specs
    return [one for one in specs if BY_NAME[one.rule].authority is Authority.API_SERVER]


@pytest.mark.parametrize("validation", ["Ignore", "Strict"])
async def test_c14_the_real_crds_refuse_what_the_table_says(
    lab: Lab, kuberay_version: str, validation: str
) -> None:
    specs = measured(SPECS, kuberay_version)
    taken = await asyncio.gather(*(is_taken(lab, spec.body, validation) for spec in specs))
    found = {str(spec.patch): answer for spec, answer in zip(specs, taken, strict=True)}
    assert found == {
        str(spec.patch): is_expected(spec, kuberay_version, validation) for spec in specs
    }
    assert await is_taken(lab, BASE, validation)


async def test_c14_whatever_the_api_server_refuses_of_odd_types_a_rule_finds(
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
    taken = await asyncio.gather(*(is_taken(lab, body, "Ignore") for body in bodies))
    unfound = [
        body["spec"]
        for body, answer in zip(bodies, taken, strict=True)
        if not answer and not validate(body, yaml_text.load)
    ]
    assert unfound == []


async def test_c14_submit_tells_every_problem_and_creates_nothing(
    cluster: Cluster, lab: Lab, tmp_path: Path
) -> None:
    spec = {"suspend": True, "ttlSecondsAfterFinished": -1, "backoffLimit": 1}
    file = tmp_path / "refused.yaml"
    body = merge(BASE, {"metadata": {"namespace": lab.namespace}, "spec": spec})
    await asyncio.to_thread(file.write_text, json.dumps(body))
    person = Person(cluster.kubeconfig, cluster.kubectl, lab.namespace)
    answer = await person.submits("-f", str(file))
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines() == [
        "raysweep: spec.suspend: true without shutdownAfterJobFinishes: true, which KubeRay refuses: "
        "set that, or leave suspend out",
        "raysweep: spec.ttlSecondsAfterFinished: -1 is below 0, which KubeRay refuses: use 0 or more",
        "raysweep: spec.backoffLimit: 1 in InteractiveMode, which KubeRay refuses: leave it out",
    ]
    assert await lab.remaining() == set()
