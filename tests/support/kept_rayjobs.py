"""RayJobs that are due at once by their annotation and that a check keeps, one function each."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from tests.support.workbench import Lab, rfc3339, utc_now

DUE = {"raysweep.io/ttl": "0"}


async def suspended(lab: Lab) -> None:
    spec = {"suspend": True, "shutdownAfterJobFinishes": True}
    await lab.create_finished(
        "train",
        annotations=DUE,
        spec=spec,
        status={"jobDeploymentStatus": "Suspended", "jobStatus": ""},
    )


async def suspended_before_it_ran(lab: Lab) -> None:
    spec = {"suspend": True, "shutdownAfterJobFinishes": True}
    await lab.create_finished(
        "train",
        annotations=DUE,
        spec=spec,
        status={"jobDeploymentStatus": "Initializing", "jobStatus": ""},
    )


async def managed_by_multikueue(lab: Lab) -> None:
    await lab.create_finished(
        "train", annotations=DUE, spec={"managedBy": "kueue.x-k8s.io/multikueue"}
    )


async def dispatched_by_multikueue(lab: Lab) -> None:
    await lab.create_finished(
        "train", annotations=DUE, labels={"kueue.x-k8s.io/multikueue-origin": "manager"}
    )


async def running(lab: Lab) -> None:
    await lab.create_finished(
        "train",
        annotations=DUE,
        status={"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "endTime": None},
    )


async def retrying(lab: Lab) -> None:
    await lab.create_finished(
        "train", annotations=DUE, status={"jobDeploymentStatus": "Retrying", "jobStatus": "FAILED"}
    )


async def unknown_deployment_status(lab: Lab) -> None:
    await lab.create_finished("train", annotations=DUE, status={"jobDeploymentStatus": "Completed"})


async def invalid_ttl(lab: Lab) -> None:
    await lab.create_finished("train", annotations={"raysweep.io/ttl": "0 seconds"})


async def unknown_key(lab: Lab) -> None:
    await lab.create_finished("train", annotations={**DUE, "raysweep.io/ttl-suceeded": "3d"})


async def held_by_a_user(lab: Lab) -> None:
    until = rfc3339(utc_now() + timedelta(hours=1))
    await lab.create_finished(
        "train",
        annotations={
            **DUE,
            "raysweep.io/keep-until": until,
            "raysweep.io/keep-reason": "debugging",
        },
    )


async def cluster_of_another_owner(lab: Lab) -> None:
    await lab.create_cluster(await lab.create("another"), "train-c")
    await lab.create_finished("train", annotations=DUE, with_cluster=False)


async def selected_cluster_of_an_unfinished_job(lab: Lab) -> None:
    """KubeRay's finalizer would stop the job."""
    await lab.create_cluster(
        await lab.create_finished("another", with_cluster=False, head_status=None), "train-c"
    )
    spec, status = (
        {"clusterSelector": {"ray.io/cluster": "train-c"}, "rayClusterSpec": None},
        {"jobStatus": "RUNNING"},
    )
    await lab.create_finished(
        "train", annotations=DUE, spec=spec, with_cluster=False, status=status
    )


KEPT_RAYJOBS: list[tuple[str, Callable[[Lab], Awaitable[None]]]] = [
    ("Suspended", suspended),
    ("Suspended", suspended_before_it_ran),
    ("ManagedElsewhere", managed_by_multikueue),
    ("ManagedElsewhere", dispatched_by_multikueue),
    ("NotFinished", running),
    ("NotFinished", retrying),
    ("NotFinished", unknown_deployment_status),
    ("Invalid", invalid_ttl),
    ("Invalid", unknown_key),
    ("KeptByUser", held_by_a_user),
    ("NotOwned", cluster_of_another_owner),
    ("NotFinished", selected_cluster_of_an_unfinished_job),
]
