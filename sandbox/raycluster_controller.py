"""Reconciles RayClusters as KubeRay does: head Service, head Pod and status.

kubelet.py runs the head of the Pod.
"""

from datetime import UTC, datetime

from sandbox import objects
from sandbox.api import Api, Body

GONE = -1.0


class RayClusters:
    """Reconciles one RayCluster. The result is the delay of the next time, None: after an event."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def reconcile(self, namespace: str, name: str) -> float | None:
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
        """The head Pod. It is created with the head Service if it does not exist."""
        name, namespace = cluster["metadata"]["name"], cluster["metadata"]["namespace"]
        core, service = f"/api/v1/namespaces/{namespace}", f"{name}-head-svc"
        owners = objects.owned_by(cluster)
        selector = {"labelSelector": f"{objects.IS_HEAD},{objects.CLUSTER_LABEL}={name}"}
        listed = await self._api.request("GET", f"{core}/pods", params=selector)
        for pod in listed["items"]:
            if pod["metadata"]["ownerReferences"][0]["uid"] == cluster["metadata"]["uid"]:
                return dict(pod)
        if not await self._api.find(f"{core}/services/{service}"):
            await self._api.request(
                "POST", f"{core}/services", objects.head_service(service, name, owners)
            )
        head = cluster["metadata"].get("annotations", {}).get(objects.HEAD, "full")
        created: Body = await self._api.request(
            "POST", f"{core}/pods", objects.head_pod(name, service, head, owners)
        )
        return created
