"""`kubectl raysweep keep` prints a command that stops the cleanup of KubeRay."""

from pathlib import Path

import pytest

from sandbox.cluster import Cluster
from tests.support.operator_process import Operator
from tests.support.person import Person
from tests.support.real_jobs import cluster_name, reaches
from tests.support.workbench import Body, Lab

AT_ONCE: Body = {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 2}
RULE: Body = {
    "deletionRules": [
        {"policy": "DeleteCluster", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 2}}
    ]
}
WAITS = "python -c \"import os, time\nwhile not os.path.exists('{}'): time.sleep(0.1)\""


@pytest.mark.parametrize(
    ("spec", "labels"),
    [
        pytest.param(AT_ONCE, {}, id="shutdown with a TTL"),
        pytest.param({"deletionStrategy": RULE}, {}, id="a rule"),
        pytest.param(AT_ONCE, {"kueue.x-k8s.io/queue-name": "team"}, id="queued by Kueue"),
    ],
)
async def test_after_the_printed_command_raysweep_deletes_the_cluster_instead_of_kuberay(
    lab: Lab, cluster: Cluster, operator: Operator, tmp_path: Path, spec: Body, labels: Body
) -> None:
    """Two RayJobs that differ only in the hold. The held one ends first."""
    person = Person(cluster.kubeconfig, cluster.kubectl, lab.namespace)
    for name in ("kept", "other"):
        entrypoint = WAITS.format(tmp_path / name)
        annotations = {"sandbox/head": "name:shared"}
        await lab.create(
            name, annotations=annotations, labels=labels, spec={"entrypoint": entrypoint, **spec}
        )
    for name in ("kept", "other"):
        await reaches(lab, name, ("Running", "RUNNING"))

    answer = await person.types("raysweep", "keep", "kept", "1d", "-n", lab.namespace)
    assert answer.code == 3, answer.out + answer.err
    assert "It may delete as soon as the job has ended" in answer.out
    pasted = await person.pastes(answer.out.splitlines()[-1])
    assert pasted.code == 0, pasted.err
    again = await person.types("raysweep", "keep", "kept", "1d", "-n", lab.namespace)
    assert again.code == 0, again.out + again.err

    for name in ("kept", "other"):
        (tmp_path / name).touch()
        await reaches(lab, name, ("Complete", "SUCCEEDED"))
    kept, other = [await cluster_name(lab, name) for name in ("kept", "other")]
    await lab.expect_deleted("rayclusters", other, timeout=60)
    assert {"rayjobs/kept", f"rayclusters/{kept}"} <= await lab.remaining()

    assert (
        await person.types("raysweep", "keep", "kept", "--clear", "-n", lab.namespace)
    ).code == 0
    await lab.expect_deleted("rayclusters", kept, timeout=60)
    await lab.expect_event("kept", "Expired")
