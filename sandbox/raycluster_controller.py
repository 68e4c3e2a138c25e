"""KubeRay's part for RayClusters: the head Service, the head Pod, and the status that follows the Pod.

What runs behind the Pod belongs to kubelet.py.
"""

from datetime import UTC, datetime

from sandbox import objects
from sandbox.api import Api, Body

GONE = -1.0


class RayClusters:
    """`look` brings one RayCluster a step further and says in how many seconds to look again, None: when told to."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def look(self, namespace: str, name: str) -> float | None:
        path = f"/apis/ray.io/v1/namespaces/{namespace}/rayclusters/{name}"
        cluster = await self._api.find(path)
        if cluster is None:
            return GONE
        if "deletionTimestamp" in cluster["metadata"]:
            return None
        pod = await self.head_pod(cluster)
        status = objects.cluster_status(cluster, pod, datetime.now(UTC))
        if status != cluster.get("status"):
            await self._api.request("PUT", f"{path}/status", cluster | {"status": status})
        return None

    async def head_pod(self, cluster: Body) -> Body:
        """There already, or made now together with the head Service."""
        name, namespace = cluster["metadata"]["name"], cluster["metadata"]["namespace"]
        core, service, owners = (
            f"/api/v1/namespaces/{namespace}",
            f"{name}-head-svc",
            objects.owned_by(cluster),
        )
        selector = {"labelSelector": f"{objects.IS_HEAD},{objects.CLUSTER_LABEL}={name}"}
        listed = await self._api.request("GET", f"{core}/pods", params=selector)
        for pod in listed["items"]:
            if pod["metadata"]["ownerReferences"][0]["uid"] == cluster["metadata"]["uid"]:
                return dict(pod)
        if not await self._api.find(f"{core}/services/{service}"):
            await self._api.request(
                "POST", f"{core}/services", objects.head_service(service, name, owners)
            )
        wanted = cluster["metadata"].get("annotations", {}).get(objects.HEAD, "full")
        made: Body = await self._api.request(
            "POST", f"{core}/pods", objects.head_pod(name, service, wanted, owners)
        )
        return made
