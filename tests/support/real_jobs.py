"""How a test follows a RayJob that runs on a real Ray head."""

from sandbox.waiting import until
from tests.support.workbench import Lab

RUNS_ON = "python -c 'import time; time.sleep(600)'"


async def stage(lab: Lab, name: str) -> tuple[str, str]:
    """(jobDeploymentStatus, jobStatus)."""
    rayjob = await lab.get("rayjobs", name)
    status = (rayjob or {}).get("status", {})
    return status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")


async def reaches(lab: Lab, name: str, *stages: tuple[str, str]) -> None:
    async def is_there() -> bool:
        return await stage(lab, name) in stages

    await until(is_there, timeout=120)


async def cluster_name(lab: Lab, name: str) -> str:
    rayjob = await lab.get("rayjobs", name)
    assert rayjob is not None
    found: str = rayjob["status"]["rayClusterName"]
    return found
