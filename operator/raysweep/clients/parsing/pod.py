"""Pods from the JSON of their metadata. Pure."""

from raysweep import names
from raysweep.clients.parsing.common import Json, metadata_of
from raysweep.core.model.facts import Pod


def parse_pod(json: Json) -> Pod:
    """A Pod from its metadata (PartialObjectMetadata). Raises ValueError like parse_rayjob.

    Owners that cannot be read count as no owners.
    """
    metadata, _ = metadata_of(json)
    owners, controller = metadata.owner_references or [], metadata.controller
    is_owned_by_cluster = len(owners) == 1 and (controller.group, controller.kind) == (
        names.RAY_GROUP,
        "RayCluster",
    )
    return Pod(
        metadata.namespace,
        metadata.name,
        metadata.uid,
        raycluster_uid=controller.uid if is_owned_by_cluster else "",
        deleting=metadata.deletion_timestamp is not None,
    )
