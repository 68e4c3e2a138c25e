"""Who we are towards the API server: where the identity comes from, that it follows rotations, and that every request has it."""

import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from raysweep.clients.kubernetes import Kubernetes
from raysweep.clients.transport import Credentials, NoCredentialsError
from tests.builders import namespace_json
from tests.component.scripted import Script, serving, told

ALWAYS = timedelta()
"""Read the token's source again at every request."""
NEVER_IN_THIS_TEST = timedelta(days=1)
EXPIRED = "2020-01-01T00:00:00Z"
VALID = "2199-01-01T00:00:00Z"


@pytest.fixture
async def api() -> AsyncIterator[Script]:
    async with serving(told(namespace_json())) as script:
        yield script


def _ca(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begin).not_valid_after(begin + timedelta(days=36500))
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def _kubeconfig(path: Path, server: str, user: dict[str, Any]) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "test", "user": user}],
    }
    path.write_text(json.dumps(config))
    return path


def _plugin(folder: Path) -> dict[str, Any]:
    """An exec plugin that prints what stands in the file `answer`; nothing there: it fails."""
    code = f"import pathlib, sys; sys.stdout.write(pathlib.Path({str(folder / 'answer')!r}).read_text())"
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": ["-c", code]}}


def _plugin_says(folder: Path, token: str, until: str) -> None:
    status = {"token": token, "expirationTimestamp": until}
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    (folder / "answer").write_text(json.dumps(answer))


async def _ask(credentials: Credentials, script: Script) -> tuple[str | None, str | None]:
    """The Authorization that a request of our client carries, and that of a bare session."""
    kubernetes = Kubernetes(credentials.api_client(), lambda _verb, _code: None)
    try:
        await kubernetes.namespace("team-a")
    finally:
        await kubernetes.close()
    async with credentials.session(lambda _verb, _code: None) as session, session.get(f"{script.url}/x") as response:
        await response.read()
    ours, bare = (asked.headers.get("Authorization") for asked in script.asked[-2:])
    return ours, bare


async def test_a_token_of_the_kubeconfig_is_on_every_request(tmp_path: Path, api: Script) -> None:
    path = _kubeconfig(tmp_path / "config", api.url, {"token": "abc"})
    credentials = await Credentials.kubeconfig(path, None)
    assert credentials.server == api.url
    assert await _ask(credentials, api) == ("Bearer abc", "Bearer abc")


async def test_without_a_user_nothing_is_claimed(tmp_path: Path, api: Script) -> None:
    credentials = await Credentials.kubeconfig(_kubeconfig(tmp_path / "config", api.url, {}), "test")
    assert await _ask(credentials, api) == (None, None)


async def test_our_name_is_on_every_request_and_the_answers_are_counted(tmp_path: Path, api: Script) -> None:
    credentials = await Credentials.kubeconfig(_kubeconfig(tmp_path / "config", api.url, {"token": "abc"}), None)
    counted: list[tuple[str, int]] = []
    session = credentials.session(lambda verb, code: counted.append((verb, code)))
    async with session, session.get(f"{api.url}/x") as response:
        await response.read()
    await _ask(credentials, api)
    assert {asked.headers["User-Agent"] for asked in api.asked} == {"raysweep"}
    assert counted == [("GET", 200)]


async def test_a_rotated_token_file_is_picked_up(tmp_path: Path, api: Script) -> None:
    (tmp_path / "token").write_text("first")
    path = _kubeconfig(tmp_path / "config", api.url, {"tokenFile": str(tmp_path / "token")})
    credentials = await Credentials.kubeconfig(path, None, read_again_after=ALWAYS)
    assert await _ask(credentials, api) == ("Bearer first", "Bearer first")
    (tmp_path / "token").write_text("second")
    assert await _ask(credentials, api) == ("Bearer second", "Bearer second")


async def test_a_token_is_not_read_again_at_every_request(tmp_path: Path, api: Script) -> None:
    (tmp_path / "token").write_text("first")
    path = _kubeconfig(tmp_path / "config", api.url, {"tokenFile": str(tmp_path / "token")})
    credentials = await Credentials.kubeconfig(path, None, read_again_after=NEVER_IN_THIS_TEST)
    (tmp_path / "token").write_text("second")
    assert await _ask(credentials, api) == ("Bearer first", "Bearer first")


async def test_a_token_file_that_is_away_for_a_moment_keeps_the_old_token(tmp_path: Path, api: Script) -> None:
    (tmp_path / "token").write_text("first")
    path = _kubeconfig(tmp_path / "config", api.url, {"tokenFile": str(tmp_path / "token")})
    credentials = await Credentials.kubeconfig(path, None, read_again_after=ALWAYS)
    (tmp_path / "token").unlink()
    assert await _ask(credentials, api) == ("Bearer first", "Bearer first")


async def test_an_exec_plugin_is_asked_again_once_its_token_has_expired(tmp_path: Path, api: Script) -> None:
    _plugin_says(tmp_path, "first", EXPIRED)
    credentials = await Credentials.kubeconfig(
        _kubeconfig(tmp_path / "config", api.url, _plugin(tmp_path)), None, read_again_after=ALWAYS
    )
    _plugin_says(tmp_path, "second", VALID)
    assert await _ask(credentials, api) == ("Bearer second", "Bearer second")
    _plugin_says(tmp_path, "third", VALID)
    assert await _ask(credentials, api) == ("Bearer second", "Bearer second")


@pytest.mark.parametrize("answer", ["", "garbage", "[]", "{}", '{"status": null}'], ids=repr)
async def test_an_exec_plugin_that_fails_for_a_moment_keeps_the_old_token(answer: str, tmp_path: Path, api: Script) -> None:
    _plugin_says(tmp_path, "first", EXPIRED)
    credentials = await Credentials.kubeconfig(
        _kubeconfig(tmp_path / "config", api.url, _plugin(tmp_path)), None, read_again_after=ALWAYS
    )
    (tmp_path / "answer").write_text(answer)
    assert await _ask(credentials, api) == ("Bearer first", "Bearer first")


@pytest.fixture
def service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    (tmp_path / "token").write_text("first")
    _ca(tmp_path / "ca.crt")
    return tmp_path


async def test_in_a_pod_the_service_account_is_the_identity_and_its_rotation_is_picked_up(
    service_account: Path, api: Script
) -> None:
    credentials = await Credentials.in_cluster(service_account, read_again_after=ALWAYS)
    assert credentials.server == "https://10.0.0.1:443"
    for token in ("first", "second"):
        (service_account / "token").write_text(token)
        async with credentials.session(lambda _verb, _code: None) as session, session.get(f"{api.url}/x") as response:
            await response.read()
        assert api.asked[-1].headers["Authorization"] == f"Bearer {token}"


@pytest.mark.parametrize(("text", "own"), [("platform\n", "platform"), (None, "")], ids=["is named", "is not named"])
async def test_in_a_pod_its_namespace_is_known_where_it(text: str | None, own: str, service_account: Path) -> None:
    if text:
        (service_account / "namespace").write_text(text)
    credentials = await Credentials.in_cluster(service_account)
    assert (credentials.pod_namespace, credentials.namespace) == (own, own or "default")


async def test_outside_of_a_pod_the_namespace_of_the_kubeconfig_is_not_the_pod_s(tmp_path: Path, api: Script) -> None:
    credentials = await Credentials.kubeconfig(_kubeconfig(tmp_path / "config", api.url, {"token": "first"}), None)
    assert (credentials.pod_namespace, credentials.namespace) == ("", "default")


@pytest.mark.parametrize("lacking", ["token", "ca.crt"])
async def test_a_service_account_that_lacks_a_file_is_named(lacking: str, service_account: Path) -> None:
    (service_account / lacking).unlink()
    with pytest.raises(NoCredentialsError, match=f"service account in {service_account}: .*"):
        await Credentials.in_cluster(service_account)


async def test_outside_of_a_pod_the_service_account_is_none(service_account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(NoCredentialsError, match="service account in"):
        await Credentials.in_cluster(service_account)


@pytest.mark.parametrize(
    ("content", "context"),
    [
        pytest.param(None, None, id="no such file"),
        pytest.param("", None, id="an empty file"),
        pytest.param("{", None, id="no YAML"),
        pytest.param("[]", None, id="a list"),
        pytest.param("{}", None, id="no contexts"),
        pytest.param("good", "other", id="no such context"),
    ],
)
async def test_a_kubeconfig_that_cannot_be_used_is_named_with_the_remedy(
    content: str | None, context: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "config"
    if content == "good":
        _kubeconfig(path, "http://127.0.0.1:1", {})
    elif content is not None:
        path.write_text(content)
    with pytest.raises(NoCredentialsError, match=f"kubeconfig {path}: .* Name one with --kubeconfig"):
        await Credentials.find(path, context)


async def test_what_a_head_sets_through_the_api_server_does_not_come_back_to_another(tmp_path: Path) -> None:
    async with serving(told([], Set_Cookie="a=b; Path=/")) as script:
        _kubeconfig(tmp_path / "config", script.url.replace("127.0.0.1", "localhost"), {})  # a jar keeps none of bare addresses
        credentials = await Credentials.kubeconfig(tmp_path / "config", None)
        async with credentials.session(lambda _verb, _code: None) as session:
            for _ in range(2):
                async with session.get(f"{credentials.server}/x"):
                    pass
    assert ["Cookie" in asked.headers for asked in script.asked] == [False, False]


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        pytest.param("limit=500", {"limit": "3"}, id="a page"),
        pytest.param("limit=2", {"limit": "2"}, id="a small page"),
        pytest.param("limit=500&continue=a%2Bb%3D%3D", {"limit": "3", "continue": "a+b=="}, id="the next page"),
        pytest.param("watch=true&resourceVersion=7", {"watch": "true", "resourceVersion": "7"}, id="a watch"),
        pytest.param("limit=x", {"limit": "x"}, id="something else"),
    ],
)
async def test_kopf_lists_in_pages_that_the_complete_list_found_safe(
    tmp_path: Path, api: Script, query: str, sent: dict[str, str]
) -> None:
    """H6."""
    credentials = await Credentials.kubeconfig(_kubeconfig(tmp_path / "config", api.url, {"token": "abc"}), None)
    limits = {"/apis/ray.io/v1/rayjobs": 3}
    async with credentials.session(lambda *_: None, page_limit=limits.__getitem__) as session:
        await session.get(f"{api.url}/apis/ray.io/v1/rayjobs?{query}")
    assert api.asked[0].query == sent
