"""RayClusters, head Services, tokens, jobs and nodes from JSON. Pure.

The entrypoint, the runtime_env and Pod templates are not read, since they may hold secrets. A token
is a SecretStr.
"""

import base64
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, FailFast, Field, SecretStr, ValidationError

from raysweep import names
from raysweep.clients.parsing.common import (
    Json,
    Milliseconds,
    Model,
    Text,
    Texts,
    Time,
    first_error,
    metadata_of,
)
from raysweep.core.model.facts import JobEntry, RayCluster, Service


class _Head(Model):
    service_name: Text = ""
    pod_name: Text = ""
    pod_ip: Text = Field(default="", alias="podIP")


class _Condition(Model):
    type: Text = ""
    status: Text = ""
    reason: Text = ""
    last_transition_time: Time = None


class _RayClusterStatus(Model):
    head: _Head | None = None
    conditions: Annotated[list[_Condition], Field(fail_fast=True)] | None = None

    @property
    def head_pod_ready(self) -> _Condition | None:
        return next(
            (condition for condition in self.conditions or () if condition.type == "HeadPodReady"),
            None,
        )


_BOOLEAN = {"True": True, "False": False}
"""The statuses of a condition (meta/v1) but Unknown."""


class _Port(Model):
    name: Text = ""
    container_port: int


class _Container(Model):
    ports: Annotated[list[_Port], Field(fail_fast=True)] | None = None


class _PodSpec(Model):
    containers: Annotated[list[_Container], Field(fail_fast=True)] = Field(min_length=1)


class _Template(Model):
    spec: _PodSpec


class _HeadGroup(Model):
    template: _Template


class _AuthOptions(Model):
    mode: Text = ""
    secret_name: Text = ""


class _RayClusterSpec(Model):
    head_group_spec: _HeadGroup
    auth_options: _AuthOptions | None = None
    gcs_fault_tolerance_options: object = None


class _RayCluster(Model):
    spec: _RayClusterSpec
    status: _RayClusterStatus | None = None


LONGEST_TEXT = 1024
"""Characters of one text of a job entry. Entries are kept in memory, and Ray's texts are short."""
MOST_NODES = 1_000
"""Raysweep asks for one node, and Ray lists at most 100."""


class _JobEntry(BaseModel):
    """What a decision needs of ray.dashboard.modules.job.pydantic_models.JobDetails."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, str_max_length=LONGEST_TEXT)

    type: str
    status: str
    submission_id: Text = ""
    job_id: Text = ""
    end_time: Milliseconds = None
    driver_node_id: Text = ""


class _Node(BaseModel):
    """ray.util.state.common.NodeState."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    node_id: str
    state: str


class _NodePage(BaseModel):
    """FailFast: errors for half a million invalid rows would take hundreds of MiB."""

    result: Annotated[list[_Node], FailFast(), Field(max_length=MOST_NODES)]


class _NodeData(BaseModel):
    result: _NodePage


class _NodeAnswer(BaseModel):
    """The envelope of Ray's state API, ray.dashboard.state_api_utils.do_reply."""

    data: _NodeData


class _ServiceSpec(Model):
    type: Text = ""
    selector: Texts = None


class _Service(Model):
    spec: _ServiceSpec


def parse_raycluster(json: Json) -> RayCluster:
    """A RayCluster, or only its metadata (PartialObjectMetadata).

    Raises ValueError like parse_rayjob.
    """
    metadata, problem = metadata_of(json)
    identity: dict[str, Any] = {
        "namespace": metadata.namespace,
        "name": metadata.name,
        "uid": metadata.uid,
        "resource_version": metadata.resource_version,
        "controller_uid": metadata.controller.uid,
        "deleting": metadata.deletion_timestamp is not None,
    }
    if "spec" not in json:
        return RayCluster(**identity, unreadable=problem)
    try:
        parsed = _RayCluster.model_validate(json)
    except ValidationError as error:
        return RayCluster(**identity, unreadable=problem or str(first_error(error)))
    ports = parsed.spec.head_group_spec.template.spec.containers[0].ports or ()
    dashboard_ports = (
        port.container_port for port in ports if port.name == names.DASHBOARD_PORT_NAME
    )
    status = parsed.status or _RayClusterStatus()
    head, ready = status.head or _Head(), status.head_pod_ready
    is_ready = _BOOLEAN.get(ready.status) if ready else None
    return RayCluster(
        **identity,
        head_service=head.service_name,
        dashboard_port=next(dashboard_ports, None),
        head_ready=is_ready,
        head_ready_since=ready.last_transition_time if ready and is_ready else None,
        auth_secret=_auth_secret(metadata.name, parsed.spec.auth_options or _AuthOptions()),
        has_status=bool(json.get("status")),
        head_reason=ready.reason if ready else None,
        head_pod_name=head.pod_name,
        head_pod_ip=head.pod_ip,
        is_fault_tolerant=_is_fault_tolerant(metadata.annotations or {}, parsed.spec),
        unreadable=problem,
    )


def _is_fault_tolerant(annotations: Mapping[str, str], spec: _RayClusterSpec) -> bool:
    """Whether GCS fault tolerance is on, as KubeRay sees it (utils.IsGCSFaultToleranceEnabled)."""
    is_annotated = annotations.get(names.FAULT_TOLERANCE, "").lower() == "true"
    return is_annotated or spec.gcs_fault_tolerance_options is not None


def _auth_secret(cluster: str, options: _AuthOptions) -> str:
    """The Secret with the token.

    KubeRay's default is the end of the cluster's name, as for all its names (utils.CheckName).
    """
    if options.mode != "token":
        return ""
    name = cluster[-50:]
    return options.secret_name or (name if name[:1].isalpha() else f"r{name[1:]}")


def parse_entry(json: object) -> JobEntry:
    """One entry of Ray's job list. Unknown statuses are kept as they are.

    Raises ValueError for anything else. The message names the field and shows no value.
    """
    try:
        entry = _JobEntry.model_validate(json)
    except ValidationError as error:
        raise ValueError(str(first_error(error, is_shown=False))) from None
    return JobEntry(
        entry.type,
        entry.submission_id,
        entry.status,
        entry.job_id,
        entry.end_time,
        entry.driver_node_id,
    )


def parse_node_states(json: object) -> dict[str, str]:
    """The state of each node in an answer of Ray's GET /api/v0/nodes.

    Raises ValueError like parse_entry.
    """
    try:
        nodes = _NodeAnswer.model_validate(json).data.result.result
    except ValidationError as error:
        raise ValueError(str(first_error(error, is_shown=False))) from None
    return {node.node_id: node.state for node in nodes}


def parse_service(json: Json) -> Service:
    """A Service. Raises ValueError like parse_rayjob, and if its spec is invalid."""
    metadata, _ = metadata_of(json)
    try:
        spec = _Service.model_validate(json).spec
    except ValidationError as error:
        raise ValueError(str(first_error(error))) from None
    return Service(
        metadata.controller.uid, leads_to_pods=bool(spec.selector) and spec.type != "ExternalName"
    )


def parse_head_token(json: Json) -> SecretStr | None:
    """auth_token of a Secret. None if there is none, empty if it is not a text in base64."""
    data = json.get("data")
    encoded = data.get("auth_token") if isinstance(data, Mapping) else None
    if encoded is None:
        return None
    try:
        return SecretStr(base64.b64decode(encoded, validate=True).decode())
    except (ValueError, TypeError):
        return SecretStr("")
