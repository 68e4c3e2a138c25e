"""JSON to facts about clusters and their heads: RayClusters, head Services, tokens, jobs and nodes. Nothing is fetched here.

The entrypoint, runtime_env and Pod templates carry secrets and have no place here; a token stays a SecretStr.
"""

import base64
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from raysweep import names
from raysweep.clients.fields import Json, Milliseconds, Model, Text, Texts, first_problem, metadata_of
from raysweep.core.facts import JobEntry, RayCluster, Service


class _Head(Model):
    service_name: Text = ""


class _Said(Model):
    type: Text = ""
    status: Text = ""


class _RayClusterStatus(Model):
    head: _Head | None = None
    conditions: Annotated[list[_Said], Field(fail_fast=True)] | None = None

    @property
    def head_ready(self) -> bool | None:
        said = (condition.status for condition in self.conditions or () if condition.type == "HeadPodReady")
        return {"True": True, "False": False}.get(next(said, ""))


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


class _RayCluster(Model):
    spec: _RayClusterSpec
    status: _RayClusterStatus | None = None


class _JobEntry(BaseModel):
    """ray.dashboard.modules.job.pydantic_models.JobDetails, of which only what a decision needs."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

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
    result: list[_Node]


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
    """A RayCluster, whole or its metadata alone (PartialObjectMetadata). ValueError as for parse_rayjob."""
    metadata, problem = metadata_of(json)
    known: dict[str, Any] = {
        "namespace": metadata.namespace,
        "name": metadata.name,
        "uid": metadata.uid,
        "resource_version": metadata.resource_version,
        "controller_uid": metadata.controller.uid,
        "deleting": metadata.deletion_timestamp is not None,
    }
    if "spec" not in json:
        return RayCluster(**known, unreadable=problem)
    try:
        parsed = _RayCluster.model_validate(json)
    except ValidationError as error:
        return RayCluster(**known, unreadable=problem or first_problem(error))
    ports = parsed.spec.head_group_spec.template.spec.containers[0].ports or ()
    named = (port.container_port for port in ports if port.name == names.DASHBOARD_PORT_NAME)
    status = parsed.status or _RayClusterStatus()
    return RayCluster(
        **known,
        head_service=status.head.service_name if status.head else "",
        dashboard_port=next(named, None),
        head_ready=status.head_ready,
        auth_secret=_auth_secret(metadata.name, parsed.spec.auth_options or _AuthOptions()),
        unreadable=problem,
    )


def _auth_secret(cluster: str, options: _AuthOptions) -> str:
    """KubeRay's default is the cluster's name, cut to its end as all of its names (utils.CheckName)."""
    if options.mode != "token":
        return ""
    name = cluster[-50:]
    return options.secret_name or (name if name[:1].isalpha() else f"r{name[1:]}")


def parse_entry(json: object) -> JobEntry:
    """One entry of Ray's job list; ValueError where it is none. Unknown words of status are kept as they are."""
    try:
        entry = _JobEntry.model_validate(json)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None
    return JobEntry(entry.type, entry.submission_id, entry.status, entry.job_id, entry.end_time, entry.driver_node_id)


def parse_node_states(json: object) -> dict[str, str]:
    """The state of each node in an answer of Ray's GET /api/v0/nodes; ValueError where it is none."""
    try:
        nodes = _NodeAnswer.model_validate(json).data.result.result
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None
    return {node.node_id: node.state for node in nodes}


def parse_service(json: Json) -> Service:
    """A Service. ValueError as for parse_rayjob, and where its spec is odd."""
    metadata, _ = metadata_of(json)
    try:
        spec = _Service.model_validate(json).spec
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None
    return Service(metadata.controller.uid, leads_to_pods=bool(spec.selector) and spec.type != "ExternalName")


def parse_head_token(json: Json) -> SecretStr | None:
    """auth_token of a Secret, which no repr shows; None where it has none, empty where it is no text in base64."""
    data = json.get("data")
    encoded = data.get("auth_token") if isinstance(data, Mapping) else None
    if encoded is None:
        return None
    try:
        return SecretStr(base64.b64decode(encoded, validate=True).decode())
    except (ValueError, TypeError):
        return SecretStr("")
