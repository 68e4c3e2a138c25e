"""`raysweep lint --live`: checks the objects of a cluster with the rights of the user."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from raysweep import names
from raysweep.cli.common import session as sessions
from raysweep.cli.common.errors import FailedError
from raysweep.cli.common.options import Options
from raysweep.cli.common.session import Session, open_session
from raysweep.cli.lint.linter import Linter
from raysweep.cli.lint.object_rules import Context
from raysweep.cli.lint.report import Report, print_report
from raysweep.cli.lint.subjects import Kind, Subject
from raysweep.cli.lint.yaml_positions import YamlValue
from raysweep.clients.kubernetes.errors import ForbiddenError, NotFoundError
from raysweep.core.model.facts import Namespace

API_VERSIONS = {
    Kind.RAYJOB: f"{names.RAY_GROUP}/{names.RAY_VERSION}",
    Kind.NAMESPACE: "v1",
    Kind.POLICY: f"{names.POLICY_GROUP}/{names.POLICY_VERSION}",
}
MOST_NAMED = 5
DEFAULT_MARKS = (
    "only the marks that Raysweep knows by default count as a sign that a tool would create a"
    " RayJob again"
)


def run(options: Options, output: str, *, strict: bool) -> int:
    """Checks the cluster and prints the report. Returns the exit code."""
    return sessions.run(_lint_cluster(options, output, strict=strict))


async def _lint_cluster(options: Options, output: str, *, strict: bool) -> int:
    """Raises ApiError, and FailedError if the user may read no RayJob and no Namespace."""
    async with open_session(options) as session:
        report = await _ClusterReader(session).report()
    return print_report(report, output, strict=strict)


class _ClusterReader:
    """Reads what the user may read, and checks it. What is forbidden becomes a note."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kubernetes = session.kubernetes
        recreated_by = session.operator.settings.parameters.recreated_by
        self._linter = Linter(Context(session.now(), recreated_by))
        self._notes = self._linter.notes
        self._has_read = False

    async def report(self) -> Report:
        """The problems of RayJobs, Namespaces and policies."""
        session = self._session
        job_namespaces = await self._check_rayjobs()
        namespaces = await self._check_namespaces(job_namespaces)
        await self._check_policies()
        if not self._has_read:
            raise FailedError(self._notes[0])
        self._linter.finish(namespaces)
        if session.operator.assumed_because and job_namespaces:
            self._notes.append(f"{session.operator.assumed_because}, so {DEFAULT_MARKS}")
        return Report(
            tuple(dict.fromkeys(self._linter.problems)),
            self._linter.objects,
            session.now(),
            server=session.server,
            namespace=session.namespace or None,
            selector=session.options.selector,
            notes=tuple(self._notes),
        )

    async def _check_rayjobs(self) -> set[str]:
        """Returns the names of the Namespaces that have RayJobs."""
        session = self._session
        pages = self._kubernetes.raw_rayjobs(session.namespace, session.options.selector)
        try:
            subjects = await self._check_all(Kind.RAYJOB, pages)
        except NotFoundError:
            self._notes.append(f"{session.server} serves no RayJobs: KubeRay is not installed")
            return set()
        except ForbiddenError as error:
            self._notes.append(f"you may not list RayJobs: {error}")
            return set()
        return {subject.namespace for subject in subjects}

    async def _check_namespaces(self, job_namespaces: set[str]) -> list[Namespace] | None:
        """Returns all Namespaces. None if it can only get some of them."""
        if self._session.namespace:
            await self._check_named_namespaces({self._session.namespace})
            return None
        try:
            subjects = await self._check_all(Kind.NAMESPACE, self._kubernetes.raw_namespaces())
        except ForbiddenError as error:
            note = "you may not list Namespaces, so only those with RayJobs are checked"
            self._notes.append(f"{note}: {error}")
            await self._check_named_namespaces(job_namespaces)
            return None
        return [
            Namespace(subject.name, "", "", labels=subject.texts("labels")) for subject in subjects
        ]

    async def _check_named_namespaces(self, wanted_names: set[str]) -> None:
        forbidden = []
        for name in sorted(wanted_names):
            try:
                body = await self._kubernetes.raw_namespace(name)
            except ForbiddenError:
                forbidden.append(name)
                continue
            if body is None:
                self._notes.append(f"Namespace {name} does not exist")
            else:
                self._check(Kind.NAMESPACE, body)
        if forbidden:
            unnamed = len(forbidden) - MOST_NAMED
            more = f" and {unnamed} more" if unnamed > 0 else ""
            named = ", ".join(forbidden[:MOST_NAMED])
            self._notes.append(f"you may not read Namespace {named}{more}")

    async def _check_policies(self) -> None:
        """Without the CRD the API server answers 403 too, so discovery decides."""
        try:
            await self._check_all(Kind.POLICY, self._kubernetes.raw_policies())
        except NotFoundError:
            return
        except ForbiddenError as error:
            if await self._kubernetes.serves(API_VERSIONS[Kind.POLICY], names.POLICIES):
                self._notes.append(f"you may not list RayJobCleanupPolicies: {error}")

    async def _check_all(
        self, kind: Kind, pages: AsyncIterator[list[dict[str, Any]]]
    ) -> list[Subject]:
        subjects = [self._check(kind, body) async for page in pages for body in page]
        # Everyone may read policies. A check that could read nothing else must not succeed.
        if kind is not Kind.POLICY:
            self._has_read = True
        return subjects

    def _check(self, kind: Kind, body: Mapping[str, Any]) -> Subject:
        """Checks one object. The objects of a list may lack apiVersion and kind."""
        self._has_read = True
        typed = {**body, "apiVersion": API_VERSIONS[kind], "kind": kind.value}
        subject = Subject(YamlValue(typed), kind)
        self._linter.check(subject)
        return subject
