"""What is taken for the API server's word that something is not there: H7, H7b. Any other 404 keeps and is asked again."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from kubernetes_asyncio.client import ApiClient, Configuration

from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import (
    ApiError,
    InvalidResponseError,
    NotFoundError,
    UnconfirmedNotFoundError,
)
from raysweep.clients.kubernetes.leases import LeaseName, Term
from raysweep.clients.kubernetes.user_writer import UserWriter
from raysweep.core.model.decisions import Target
from tests.support.builders import Body, a_rayjob
from tests.support.scripted_api import (
    Answer,
    Script,
    json_response,
    not_found,
    object_not_found,
    serving,
)

LEASE = LeaseName("raysweep", "leader")
TARGET = Target("RayJob", "team-a", "train", "uid-train", "100")
NO_PAGE = web.Response(status=404, text="404 page not found\n")
GROUPS: Body = {"kind": "APIGroupList", "apiVersion": "v1"}
RAYSWEEP = {"name": "raysweep.io", "versions": [{"groupVersion": "raysweep.io/v1alpha1"}]}


@contextlib.asynccontextmanager
async def asking(*answers: Answer) -> AsyncIterator[tuple[UserWriter, Script]]:
    async with serving(*answers) as script:
        kubernetes = UserWriter(ApiClient(Configuration(host=script.url)), lambda *_: None)
        try:
            yield kubernetes, script
        finally:
            await kubernetes.close()


def status(**changes: Any) -> web.Response:
    """The Status of a RayCluster team-a/c that is not there, but for what is changed."""
    details = {"name": "c", "group": "ray.io", "kind": "rayclusters"} | changes.pop("details", {})
    whole = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": "NotFound",
        "code": 404,
    }
    return json_response(whole | {"details": details} | changes, 404)


async def test_a_raycluster_is_gone_if_the_api_server_says_so_of_that_very_object() -> None:
    async with asking(status()) as (kubernetes, _):
        assert await kubernetes.raycluster("team-a", "c") is None


NO_PROOF = [
    pytest.param(NO_PAGE, id="a gateway's page"),
    pytest.param(web.Response(status=404), id="nothing"),
    pytest.param(json_response({}, 404), id="an empty object"),
    pytest.param(json_response([], 404), id="a list"),
    pytest.param(json_response("x" * 2**20, 404), id="a large page"),
    pytest.param(json_response({"message": 'rayclusters.ray.io "c" not found'}, 404), id="the right words alone"),
    pytest.param(status(kind="State"), id="another kind"),
    pytest.param(status(apiVersion="v2"), id="another version"),
    pytest.param(status(reason="Gone"), id="another reason"),
    pytest.param(status(code=410), id="another code"),
    pytest.param(status(status="Success"), id="a success"),
    pytest.param(status(details={"name": "other"}), id="another cluster"),
    pytest.param(status(details={"kind": "rayjobs"}), id="another resource"),
    pytest.param(status(details={"kind": "RayCluster"}), id="a kind instead of a resource"),
    pytest.param(status(details={"group": ""}), id="no group"),
    pytest.param(status(details={"group": "example.com"}), id="another group"),
    pytest.param(status(details={"name": ["c"]}), id="a name that is none"),
    pytest.param(json_response({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}, 404),
                 id="no details"),
    pytest.param(not_found("namespaces", "team-a"), id="its Namespace"),
]  # fmt: skip


@pytest.mark.parametrize("answer", NO_PROOF)
async def test_any_other_404_for_a_raycluster_is_an_error(answer: Answer) -> None:
    """H7."""
    async with asking(answer) as (kubernetes, _):
        with pytest.raises(UnconfirmedNotFoundError) as raised:
            await kubernetes.raycluster("team-a", "c")
    assert raised.value.code == 404


Ask = Callable[[UserWriter], Awaitable[object]]
OBJECTS: list[tuple[str, Ask]] = [
    ("a RayJob", lambda author: author.rayjob("team-a", "train")),
    ("a whole RayJob", lambda author: author.raw_rayjob("team-a", "train")),
    ("a Namespace", lambda author: author.namespace("team-a")),
    ("a Namespace as it is", lambda author: author.raw_namespace("team-a")),
    ("a Service", lambda author: author.service("team-a", "train-head-svc")),
    ("a token", lambda author: author.head_token("team-a", "train")),
    ("a ConfigMap", lambda author: author.config_map("raysweep", "raysweep")),
    ("a Lease", lambda author: author.lease(LEASE)),
    ("a deletion by a person", lambda author: author.delete_rayjob(a_rayjob())),
]
WRITES: list[tuple[str, Ask]] = [
    ("a deletion", lambda author: author.delete(TARGET)),
    ("an annotation", lambda author: author.annotate(a_rayjob(), "raysweep.io/outcome", "x")),
    ("a keep", lambda author: author.keep(a_rayjob(), None, None)),
    ("a job ID", lambda author: author.set_job_id(a_rayjob(), "x")),
    ("a Lease that is made", lambda author: author.create_lease(LEASE, Term())),
    ("a RayJob that is made", lambda author: author.create_rayjob("team-a", {})),
    ("an Event", lambda author: author.post_event("team-a", {})),
]


@pytest.mark.parametrize("ask", [pytest.param(ask, id=name) for name, ask in OBJECTS])
async def test_the_api_servers_own_404_of_each_object_means_that_it_is_not_there(ask: Ask) -> None:
    async with asking(object_not_found) as (author, _):
        assert await ask(author) is None


@pytest.mark.parametrize("ask", [pytest.param(ask, id=name) for name, ask in WRITES])
async def test_the_api_servers_own_404_of_each_write_is_not_found(ask: Ask) -> None:
    async with asking(object_not_found) as (author, _):
        with pytest.raises(NotFoundError):
            await ask(author)


@pytest.mark.parametrize("ask", [pytest.param(ask, id=name) for name, ask in [*OBJECTS, *WRITES]])
async def test_a_gateways_page_is_an_error_whatever_is_asked(ask: Ask) -> None:
    """H7."""
    async with asking(NO_PAGE) as (author, _):
        with pytest.raises(UnconfirmedNotFoundError):
            await ask(author)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(
            [NO_PAGE, NO_PAGE, json_response(GROUPS | {"groups": []})], id="no such group"
        ),
        pytest.param(
            [NO_PAGE, NO_PAGE, json_response(GROUPS | {"groups": [{"name": "raysweep.io"}]})],
            id="no such version",
        ),
        pytest.param(
            [
                NO_PAGE,
                json_response(
                    {
                        "kind": "APIResourceList",
                        "apiVersion": "v1",
                        "groupVersion": "raysweep.io/v1alpha1",
                    }
                ),
            ],
            id="no such resource",
        ),
    ],
)
async def test_there_are_no_policies_if_discovery_says_that_there_is_no_crd(
    answers: list[Answer],
) -> None:
    async with asking(*answers) as (kubernetes, script):
        assert (await kubernetes.policies()).policies == ()
    paths = [asked.path for asked in script.requests]
    assert paths[1:] == ["/apis/raysweep.io/v1alpha1", "/apis"][: len(paths) - 1]


POLICY_RESOURCES = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": "raysweep.io/v1alpha1",
} | {"resources": [{"name": "rayjobcleanuppolicies"}]}


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([NO_PAGE], id="the page for everything"),
        pytest.param([NO_PAGE, json_response(POLICY_RESOURCES)], id="the page once"),
        pytest.param(
            [NO_PAGE, NO_PAGE, json_response(GROUPS | {"groups": [RAYSWEEP]})], id="the page twice"
        ),
        pytest.param(
            [NO_PAGE, NO_PAGE, json_response("<html>", 200)],
            id="the page twice, then another with 200",
        ),
        pytest.param([NO_PAGE, NO_PAGE, json_response({}, 403)], id="discovery is refused"),
        pytest.param(
            [NO_PAGE, json_response({"kind": "Status", "apiVersion": "v1"})], id="a Status with 200"
        ),
        pytest.param(
            [
                not_found("rayjobcleanuppolicies", "", "raysweep.io"),
                json_response(POLICY_RESOURCES),
            ],
            id="a Status that names none",
        ),
        pytest.param([json_response({})], id="an empty object with 200"),
        pytest.param([json_response({"items": {}})], id="items that are no list"),
        pytest.param([json_response({"metadata": {}})], id="a list without items"),
    ],
)
async def test_a_gateways_answer_for_the_list_of_policies_leaves_them_unknown(
    answers: list[Answer],
) -> None:
    """H7b."""
    async with asking(*answers) as (kubernetes, _):
        with pytest.raises(ApiError) as raised:
            await kubernetes.policies()
    assert not isinstance(raised.value, NotFoundError)


async def test_rayjobs_that_no_crd_is_there_for_are_not_found() -> None:
    async with asking(NO_PAGE, NO_PAGE, json_response(GROUPS | {"groups": []})) as (kubernetes, _):
        with pytest.raises(NotFoundError):
            [page async for page in kubernetes.rayjobs("team-a")]


async def test_the_list_of_namespaces_is_never_not_found() -> None:
    async with asking(NO_PAGE) as (kubernetes, script):
        with pytest.raises(UnconfirmedNotFoundError):
            [page async for page in kubernetes.namespaces()]
    assert len(script.requests) == 1


async def test_an_error_is_not_read_to_its_end() -> None:
    """H7: 64 KiB of it at most, however much there is."""
    sent = 0

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        stream = web.StreamResponse(status=404)
        await stream.prepare(request)
        while sent < 2**26:
            await stream.write(b"x" * 2**14)
            sent += 2**14
        return stream

    async with asking(endless) as (kubernetes, _):
        with pytest.raises(UnconfirmedNotFoundError):
            await kubernetes.raycluster("team-a", "c")
    assert sent < 2**24  # the rest of it are the sockets' buffers


async def test_one_object_that_is_too_large_is_a_bad_answer() -> None:
    async with asking(json_response("[" + "1," * 2**21 + "1]")) as (kubernetes, _):
        with pytest.raises(InvalidResponseError, match="larger than"):
            await kubernetes.namespace("team-a")


async def test_a_large_event_of_the_policies_watch_is_a_sign_as_any_other() -> None:
    async with asking(
        json_response(b'{"type": "MODIFIED", "object": "' + b"x" * 2**20 + b'"}\n')
    ) as (
        kubernetes,
        _,
    ):
        await Kubernetes.wait_for_policy_change(kubernetes, "7", timedelta(seconds=30))
