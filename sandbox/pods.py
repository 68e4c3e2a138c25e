"""Pods as the kubelet sees them: what is to run, and the status that it reports.

Pure: requests, clocks and programs must not enter here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

Body = dict[str, Any]

NODE = "sandbox"
HEAD = "sandbox/head"
"""Annotation of a Pod, RayCluster or RayJob: full, light or name:X. It chooses the Ray head."""
CLUSTER_LABEL = "ray.io/cluster"
NODE_TYPE = "ray.io/node-type"
SUBMITTER = "ray-job-submitter"
SIGNALED = 128


@dataclass(frozen=True)
class Pod:
    """A Pod as the API server has it."""

    body: Body

    @property
    def uid(self) -> str:
        return str(self.body["metadata"]["uid"])

    @property
    def namespace(self) -> str:
        return str(self.body["metadata"]["namespace"])

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    @property
    def labels(self) -> Mapping[str, str]:
        return self.body["metadata"].get("labels", {})  # type: ignore[no-any-return]

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.body["metadata"].get("annotations", {})  # type: ignore[no-any-return]

    @property
    def cluster(self) -> str:
        """The name of its RayCluster, empty if it has none."""
        return self.labels.get(CLUSTER_LABEL, "")

    @property
    def is_head(self) -> bool:
        return self.labels.get(NODE_TYPE) == "head"

    @property
    def is_of_ray(self) -> bool:
        """Whether KubeRay or the Job of a submitter created it."""
        return NODE_TYPE in self.labels or any(
            each["name"] == SUBMITTER for each in self.containers
        )

    @property
    def is_placed(self) -> bool:
        return "nodeName" in self.body["spec"]

    @property
    def is_being_deleted(self) -> bool:
        return "deletionTimestamp" in self.body["metadata"]

    @property
    def containers(self) -> list[Body]:
        return list(self.body["spec"]["containers"])

    def restarts_after(self, code: int) -> bool:
        """Whether its restart policy restarts a container that ended with this exit code."""
        policy = self.body["spec"].get("restartPolicy", "Always")
        return policy == "Always" or (policy == "OnFailure" and code != 0)

    def is_selected_by(self, service: Body) -> bool:
        selector = service["spec"].get("selector") or {}
        return bool(selector) and selector.items() <= self.labels.items()


@dataclass
class Container:
    """The state of one container."""

    name: str
    image: str
    ready: bool = False
    restarts: int = 0
    state: Body = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Body = field(default_factory=dict)

    @property
    def exit_code(self) -> int | None:
        ended = self.state.get("terminated")
        return None if ended is None else int(ended["exitCode"])

    def runs(self, *, now: datetime, ready: bool) -> None:
        started = self.state.get("running", {}).get("startedAt", _text(now))
        self.state, self.ready = {"running": {"startedAt": started}}, ready

    def ended(self, code: int, *, now: datetime, message: str) -> None:
        """Negative codes are signals, as in subprocess."""
        began = self.state.get("running", {}).get("startedAt", _text(now))
        self.ready = False
        self.state = {
            "terminated": {
                "exitCode": code if code >= 0 else SIGNALED - code,
                "reason": "Error" if code else "Completed",
                "startedAt": began,
                "finishedAt": _text(now),
                "message": message[-2000:],
            }
        }

    def restarts_again(self, *, now: datetime) -> None:
        self.last_state, self.state = self.state, {"running": {"startedAt": _text(now)}}
        self.restarts += 1

    def status(self) -> Body:
        return {
            "name": self.name,
            "image": self.image,
            "imageID": "",
            "ready": self.ready,
            "started": "running" in self.state,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last_state,
        }


@dataclass
class PodStatus:
    """What the kubelet reports about a Pod."""

    containers: list[Container]
    address: str
    _since: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, pod: Pod, address: str) -> "PodStatus":
        return cls([Container(each["name"], each["image"]) for each in pod.containers], address)

    @cached_property
    def by_name(self) -> dict[str, Container]:
        return {each.name: each for each in self.containers}

    def body(self, now: datetime) -> Body:
        """The status with phase and conditions as Kubernetes writes them."""
        phase = self._phase()
        unready = [each.name for each in self.containers if not each.ready]
        reason = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(
            phase, "ContainersNotReady"
        )
        message = f"containers with unready status: [{' '.join(unready)}]"
        why = {"reason": reason, "message": message} if unready else {}
        return {
            "phase": phase,
            "hostIP": "127.0.0.1",
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "containerStatuses": [each.status() for each in self.containers],
            "conditions": [
                self._condition(now, "PodScheduled", holds=True),
                self._condition(now, "Initialized", holds=True),
                self._condition(now, "ContainersReady", holds=not unready) | why,
                self._condition(now, "Ready", holds=not unready) | why,
            ],
        }

    def _phase(self) -> str:
        codes = [each.exit_code for each in self.containers]
        if None not in codes:
            return "Failed" if any(codes) else "Succeeded"
        if all("waiting" in each.state and not each.restarts for each in self.containers):
            return "Pending"
        return "Running"

    def _condition(self, now: datetime, kind: str, *, holds: bool) -> Body:
        if self._since.get(kind, ("",))[0] != str(holds):
            self._since[kind] = (str(holds), _text(now))
        status, since = self._since[kind]
        return {"type": kind, "status": status, "lastTransitionTime": since}


def environment_of(container: Body, secrets: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """The variables of a container. `secrets` has the values by name and key of the Secret."""
    result: dict[str, str] = {}
    for variable in container.get("env", []):
        if "valueFrom" not in variable:
            result[variable["name"]] = variable.get("value", "")
        elif reference := variable["valueFrom"].get("secretKeyRef"):
            result[variable["name"]] = secrets.get((reference["name"], reference["key"]), "")
    return result


def secrets_of(container: Body) -> Iterable[str]:
    """The names of the Secrets that the variables of a container refer to."""
    for variable in container.get("env", []):
        if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
            yield reference["name"]


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
