"""The other objects of a file with a RayJob: found by discovery, checked, and applied before it.

They are applied as `kubectl apply --server-side` does it, and stay if the submission fails.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from raysweep.clients.kubernetes.errors import ApiError, ConflictError, UnconfirmedNotFoundError
from raysweep.clients.kubernetes.user_writer import UserWriter
from raysweep.core.text import plain, quoted

Json = Mapping[str, Any]


class CompanionError(Exception):
    """Objects that cannot be applied; each problem names its object."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class Companion:
    """One object, and where the API server has it."""

    path: str
    namespace: str  # "" if its kind is cluster-scoped
    body: Json = field(repr=False)  # may be a Secret

    @property
    def title(self) -> str:
        """`ConfigMap team-a/code`."""
        return title_of(self.body, self.namespace)


def title_of(body: Json, namespace: str) -> str:
    """An object as people write it."""
    name = str(body["metadata"]["name"])
    return f"{plain(body['kind'])} {plain('/'.join(part for part in (namespace, name) if part))}"


async def found(author: UserWriter, namespace: str, bodies: Iterable[Json]) -> list[Companion]:
    """Each object with its place; those without a namespace are of the given one.

    Raises CompanionError for a kind that the API server does not have, ApiError.
    """
    companions, problems = [], []
    for body in bodies:
        metadata, version, kind = body["metadata"], str(body["apiVersion"]), str(body["kind"])
        resource = await author.rest_mapping(version, kind)
        own = str(metadata.get("namespace") or namespace)
        if resource is None:
            known = f"the API server has no kind {quoted(kind)} of {quoted(version)}"
            hint = "correct apiVersion and kind, or install its CustomResourceDefinition"
            problems.append(f"{title_of(body, own)}: {known}; {hint}")
            continue
        scope = own if resource.is_namespaced else ""
        placed = {**body, "metadata": {**metadata, "namespace": own}} if scope else body
        companions.append(Companion(resource.path(own, str(metadata["name"])), scope, placed))
    if problems:
        raise CompanionError(problems)
    return companions


async def checked(author: UserWriter, companions: Iterable[Companion]) -> list[dict[str, Any]]:
    """What would become of them, by a dry run. Raises CompanionError with every refusal."""
    made = list(companions)
    new_namespaces = {
        one.body["metadata"]["name"] for one in made if one.body["kind"] == "Namespace"
    }
    answers, problems = [], []
    for one in made:
        try:
            answers.append(await author.apply(one.path, one.body, dry_run=True))
        except UnconfirmedNotFoundError as error:
            if one.namespace not in new_namespaces:
                problems.append(_refusal(one, error))
            else:  # its Namespace is only made with it
                answers.append(dict(one.body))
        except ApiError as error:
            problems.append(_refusal(one, error))
    if problems:
        raise CompanionError(problems)
    return answers


async def apply(author: UserWriter, one: Companion) -> None:
    """Raises CompanionError."""
    try:
        await author.apply(one.path, one.body)
    except ApiError as error:
        raise CompanionError([_refusal(one, error)]) from error


def still_there(companions: Iterable[Companion]) -> str:
    """What a failed submission leaves of them, as the end of a sentence; "" if nothing."""
    titles = ", ".join(one.title for one in companions)
    return f"; {titles} stay as applied" if titles else ""


def _refusal(one: Companion, error: ApiError) -> str:
    hint = ""
    if isinstance(error, ConflictError):
        hint = "; apply it with kubectl, and submit a file without it"
    return f"{one.title}: {error}{hint}"
