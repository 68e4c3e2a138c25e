"""What lies in the cluster for `raysweep lint --live`, read with its caller's rights. It only reads.

Imported when it is needed: the clients load slowly.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from raysweep import names
from raysweep.cli.common.options import Options
from raysweep.cli.common.session import FailedError, Session, open_session
from raysweep.cli.lint.files import Found
from raysweep.cli.lint.kuberay_rules import problems_of
from raysweep.cli.lint.object_rules import Situation
from raysweep.cli.lint.problems import Kind, Subject
from raysweep.cli.lint.report import Report
from raysweep.cli.lint.yaml_positions import Marked
from raysweep.clients.kubernetes.errors import ForbiddenError, NotFoundError
from raysweep.core.model.facts import Namespace

API_VERSIONS = {
    Kind.RAYJOB: f"{names.RAY_GROUP}/{names.RAY_VERSION}",
    Kind.NAMESPACE: "v1",
    Kind.POLICY: f"{names.POLICY_GROUP}/{names.POLICY_VERSION}",
}
NAMED_AT_MOST = 5


async def lint_cluster(asked_for: Options, answer: Callable[[Report], int]) -> int:
    """The exit code; what may not be read is noted, and only where nothing may be, it fails. Raises ApiError, FailedError."""
    async with open_session(asked_for) as session:
        report = await _Reading(session).report()
    return answer(report)


class _Reading:
    """One pass over what the caller may read."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kubernetes = session.kubernetes
        self._found = Found(
            Situation(session.now(), session.operator.settings.parameters.recreated_by)
        )
        self._has_read = False

    async def report(self) -> Report:
        """RayJobs, Namespaces, then policies."""
        session, notes = self._session, self._found.notes
        homes = await self._rayjobs()
        namespaces = await self._namespaces(homes)
        await self._policies()
        if not self._has_read:
            raise FailedError(notes[0])
        self._found.compare(namespaces)
        if session.operator.assumed and homes:
            known = "only the marks that Raysweep knows by default count as a sign that something would create a RayJob again"
            notes.append(f"{session.operator.assumed}, so {known}")
        return Report(
            tuple(dict.fromkeys(self._found.problems)),
            self._found.objects,
            session.now(),
            server=session.server,
            namespace=session.namespace or None,
            selector=session.options.selector,
            notes=tuple(notes),
        )

    async def _rayjobs(self) -> set[str]:
        """The names of the Namespaces that have some."""
        session = self._session
        try:
            seen = await self._all(
                Kind.RAYJOB,
                self._kubernetes.raw_rayjobs(session.namespace, session.options.selector),
            )
        except NotFoundError:
            self._found.notes.append(
                f"there are no RayJobs on {session.server}: KubeRay's CRDs are not installed there"
            )
            return set()
        except ForbiddenError as error:
            self._found.notes.append(f"you may not list RayJobs: {error}")
            return set()
        return {subject.namespace for subject in seen}

    async def _namespaces(self, homes: set[str]) -> list[Namespace] | None:
        """By list where all are meant and the caller may; else one by one, and then nobody knows which others there are."""
        if not self._session.namespace:
            try:
                seen = await self._all(Kind.NAMESPACE, self._kubernetes.raw_namespaces())
                return [Namespace(one.name, "", "", labels=one.texts("labels")) for one in seen]
            except ForbiddenError as error:
                self._found.notes.append(
                    f"you may not list Namespaces, so only those with RayJobs are read: {error}"
                )
        refused = []
        for name in sorted({self._session.namespace} if self._session.namespace else homes):
            try:
                body = await self._kubernetes.raw_namespace(name)
            except ForbiddenError:
                refused.append(name)
                continue
            if body is None:
                self._found.notes.append(f"there is no Namespace {name}")
            else:
                self._look_at(Kind.NAMESPACE, body)
        if refused:
            more = (
                f" and {len(refused) - NAMED_AT_MOST} more" if len(refused) > NAMED_AT_MOST else ""
            )
            self._found.notes.append(
                f"you may not read Namespace {', '.join(refused[:NAMED_AT_MOST])}{more}"
            )
        return None

    async def _policies(self) -> None:
        """A 403 comes first where the CRD is not there at all; discovery, which everybody may ask, tells the two apart."""
        try:
            await self._all(Kind.POLICY, self._kubernetes.raw_policies())
        except NotFoundError:
            return
        except ForbiddenError as error:
            if await self._kubernetes.serves(API_VERSIONS[Kind.POLICY], names.POLICIES):
                self._found.notes.append(f"you may not list RayJobCleanupPolicies: {error}")

    async def _all(self, kind: Kind, pages: AsyncIterator[list[dict[str, Any]]]) -> list[Subject]:
        seen = [self._look_at(kind, body) async for page in pages for body in page]
        self._has_read |= (
            kind is not Kind.POLICY
        )  # everybody may read those; a check of RayJobs that saw none must not pass
        return seen

    def _look_at(self, kind: Kind, body: Mapping[str, Any]) -> Subject:
        """In a list objects may not say what they are."""
        self._has_read = True
        subject = Subject(
            Marked({**body, "apiVersion": API_VERSIONS[kind], "kind": kind.value}), kind
        )
        self._found.probe_heads(subject, problems_of(subject))
        return subject
