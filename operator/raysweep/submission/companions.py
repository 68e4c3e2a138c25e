"""The other objects of a file with a RayJob: located by discovery, checked, and applied before it.

They are applied as `kubectl apply --server-side` does it, and remain if the submission fails.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raysweep.clients.kubernetes.errors import ApiError, ConflictError, UnconfirmedNotFoundError
from raysweep.clients.kubernetes.user_writer import UserWriter
from raysweep.core.text import plain, quoted

Json = Mapping[str, Any]


class CompanionError(Exception):
    """Objects that cannot be applied. Each problem names its object."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class Companion:
    """An object and its place on the API server. It may be a Secret.

    namespace: "" if its kind is cluster-scoped.
    """

    path: str
    namespace: str
    body: Json = field(repr=False)

    @property
    def title(self) -> str:
        """`ConfigMap team-a/code`."""
        return _title(self.body, self.namespace)


async def locate(writer: UserWriter, namespace: str, bodies: Iterable[Json]) -> list[Companion]:
    """Finds the path of each object. Objects without a namespace belong to the given one.

    Raises CompanionError if the API server does not have a kind, and ApiError.
    """
    companions, problems = [], []
    for body in bodies:
        metadata, version, kind = body["metadata"], str(body["apiVersion"]), str(body["kind"])
        own_namespace = str(metadata.get("namespace") or namespace)
        resource = await writer.rest_mapping(version, kind)
        if resource is None:
            message = f"the API server has no kind {quoted(kind)} in {quoted(version)}"
            hint = "correct apiVersion and kind, or install the CustomResourceDefinition"
            problems.append(f"{_title(body, own_namespace)}: {message}: {hint}")
            continue
        path = resource.path(own_namespace, str(metadata["name"]))
        if resource.is_namespaced:
            placed = {**body, "metadata": {**metadata, "namespace": own_namespace}}
            companions.append(Companion(path, own_namespace, placed))
        else:
            companions.append(Companion(path, "", body))
    if problems:
        raise CompanionError(problems)
    return companions


async def dry_run(writer: UserWriter, companions: Sequence[Companion]) -> list[dict[str, Any]]:
    """Returns the objects as they would be applied. Raises CompanionError with every refusal."""
    new_namespaces = {
        companion.body["metadata"]["name"]
        for companion in companions
        if companion.body["kind"] == "Namespace"
    }
    results, problems = [], []
    for companion in companions:
        try:
            results.append(await writer.apply(companion.path, companion.body, dry_run=True))
        except UnconfirmedNotFoundError as error:
            # A Namespace of the same file does not exist yet.
            if companion.namespace in new_namespaces:
                results.append(dict(companion.body))
            else:
                problems.append(_refusal(companion, error))
        except ApiError as error:
            problems.append(_refusal(companion, error))
    if problems:
        raise CompanionError(problems)
    return results


async def apply(writer: UserWriter, companion: Companion) -> None:
    """Applies one object. Raises CompanionError."""
    try:
        await writer.apply(companion.path, companion.body)
    except ApiError as error:
        raise CompanionError([_refusal(companion, error)]) from error


def kept_note(applied: Iterable[Companion]) -> str:
    """What a failed submission leaves of them, as a sentence at the end; "" if nothing."""
    titles = ", ".join(companion.title for companion in applied)
    return f". Applied and kept: {titles}" if titles else ""


def _title(body: Json, namespace: str) -> str:
    name = str(body["metadata"]["name"])
    full_name = f"{namespace}/{name}" if namespace else name
    return f"{plain(body['kind'])} {plain(full_name)}"


def _refusal(companion: Companion, error: ApiError) -> str:
    message = f"{companion.title}: {error}"
    if isinstance(error, ConflictError):
        return f"{message}: apply it with kubectl, and submit a file without it"
    return message
