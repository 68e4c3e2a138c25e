"""Real jobs on real Ray heads, deleted by the installed program."""

from sandbox.cluster import Cluster
from sandbox.kuberay import KubeRay
from sandbox.waiting import until
from tests.support.operator_process import Operator
from tests.support.real_jobs import RUNS_ON, cluster_name, reaches
from tests.support.workbench import Lab, rfc3339, utc_now

SUCCEEDS = "python -c 'print(1)'"
NOTEBOOK = (
    "env -u RAY_JOB_CONFIG_JSON_ENV_VAR setsid "
    "python -c 'import ray, time; ray.init(address=\"auto\"); time.sleep(600)' "
    ">/dev/null 2>&1 & sleep 1"
)
"""A driver that outlives the submission that started it, as in a notebook."""


async def _counted(operator: Operator, **labels: str) -> None:
    """The operator counts a deletion after the response, a moment after the deletion."""

    async def is_counted() -> bool:
        return await operator.metric("raysweep_deletions_total", **labels) == 1

    await until(is_counted, timeout=90)


async def test_a_stopped_job_is_deleted(lab: Lab, operator: Operator) -> None:
    await lab.create(
        "train",
        annotations={"sandbox/head": "full", "raysweep.io/ttl-stopped": "0"},
        spec={"entrypoint": RUNS_ON},
    )
    await reaches(lab, "train", ("Running", "RUNNING"))
    rayjob = await lab.get("rayjobs", "train")
    assert rayjob is not None
    head = lab.cluster.heads[f"{lab.namespace}/{rayjob['status']['rayClusterName']}"]

    await head.post(f"/api/jobs/{rayjob['status']['jobId']}/stop", {})

    await lab.expect_deleted("rayjobs", "train")
    await _counted(operator, kind="RayJob", outcome="stopped")


async def test_a_failed_rayjob_with_a_running_job_is_kept(
    lab: Lab, operator: Operator, cluster: Cluster, kuberay: KubeRay
) -> None:
    await lab.create(
        "train",
        annotations={"sandbox/head": "full", "raysweep.io/ttl": "0"},
        spec={"entrypoint": RUNS_ON},
    )
    await reaches(lab, "train", ("Running", "RUNNING"))
    await kuberay.stop()
    try:
        await lab.set_status(
            "train",
            {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "endTime": rfc3339(utc_now())},
        )

        note = await lab.expect_event("train", "StillRunning")
    finally:
        await kuberay.start()

    assert "RUNNING" in note
    assert {entry.split("/")[0] for entry in await lab.remaining()} == {"rayjobs", "rayclusters"}
    assert await lab.requested("train", "delete") == []


async def test_a_second_job_in_the_cluster_keeps_it_until_it_ends(
    lab: Lab, operator: Operator
) -> None:
    await lab.create(
        "train",
        annotations={"sandbox/head": "full", "raysweep.io/ttl": "6s"},
        spec={"entrypoint": SUCCEEDS},
    )
    await reaches(lab, "train", ("Complete", "SUCCEEDED"))
    head = lab.cluster.heads[f"{lab.namespace}/{await cluster_name(lab, 'train')}"]
    await head.submit(RUNS_ON, "a-second-submit")

    note = await lab.expect_event("train", "ClusterInUse")
    assert "'a-second-submit'" in note
    assert await lab.requested("train", "delete") == []


async def test_a_driver_in_the_cluster_keeps_it(lab: Lab, operator: Operator) -> None:
    await lab.create(
        "train",
        annotations={"sandbox/head": "full", "raysweep.io/ttl": "12s"},
        spec={"entrypoint": SUCCEEDS},
    )
    await reaches(lab, "train", ("Complete", "SUCCEEDED"))
    head = lab.cluster.heads[f"{lab.namespace}/{await cluster_name(lab, 'train')}"]
    await head.submit(NOTEBOOK, "starts-a-notebook")
    await head.wait_for("starts-a-notebook", "SUCCEEDED")

    note = await lab.expect_event("train", "ClusterInUse", timeout=60)
    assert "driver '" in note
    assert await lab.requested("train", "delete") == []


async def test_no_output_contains_secrets(lab: Lab, operator: Operator, cluster: Cluster) -> None:
    canary = f"canary-{utc_now().timestamp()}"
    container = {"name": "ray-head", "image": "ray", "env": [{"name": "PASSWORD", "value": canary}]}
    spec = {
        "entrypoint": f"python -c 'raise SystemExit(\"{canary}\")'",
        "runtimeEnvYAML": f"env_vars:\n  TOKEN: {canary}\n",
        "rayClusterSpec": {
            "headGroupSpec": {
                "rayStartParams": {},
                "template": {"spec": {"containers": [container]}},
            }
        },
    }
    await lab.create(
        "train", annotations={"sandbox/head": "full", "raysweep.io/ttl": "0"}, spec=spec
    )
    await lab.create(
        "kept", annotations={"sandbox/head": "full", "raysweep.io/ttl": "zero"}, spec=spec
    )

    await lab.expect_deleted("rayjobs", "train", timeout=90)
    await lab.expect_event("train", "Expired")
    await lab.expect_event("kept", "Invalid")

    told = (
        operator.output.read_text()
        + (await operator.get("/metrics"))[1]
        + str(await lab.events("train"))
        + str(await lab.events("kept"))
    )
    assert "Expired" in told
    assert canary not in told
