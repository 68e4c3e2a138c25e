"""Connections where kubectl is no yardstick: the operator's, credentials that change while a session lasts, and errors."""

import json
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from raysweep.clients.connection import client_config, proxies
from raysweep.clients.connection.client_config import ClientConfig
from raysweep.clients.connection.credentials import Credentials
from raysweep.clients.connection.kubeconfig import ClientConfigError
from raysweep.clients.connection.overrides import Overrides
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import UnreachableError
from tests.support.builders import namespace_json
from tests.support.certificates import Authority
from tests.support.scripted_api import Script, json_response, serving

ALWAYS = timedelta()
"""Read the token's file again at every request."""
NEVER_IN_THIS_TEST = timedelta(days=1)
EXPIRED = "2020-01-01T00:00:00Z"
VALID = "2199-01-01T00:00:00Z"
VERSION = "client.authentication.k8s.io/v1"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
async def api(authority: Authority) -> AsyncIterator[Script]:
    async with serving(
        json_response(namespace_json()), tls=authority.server("127.0.0.1", wants_certificate=True)
    ) as script:
        yield script


@pytest.fixture
def kubeconfig(tmp_path: Path, authority: Authority, api: Script) -> Any:
    """Writes a kubeconfig with this user, and returns its path."""

    def write(user: dict[str, Any], **cluster: Any) -> Path:
        ca = {"certificate-authority": str(authority.file)}
        config = {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": api.url} | ca | cluster}],
            "users": [{"name": "test", "user": user}],
        }
        (tmp_path / "config").write_text(json.dumps(config))
        return tmp_path / "config"

    return write


def found(path: Path, **more: Any) -> ClientConfig:
    return client_config.find(Overrides(kubeconfig=path, **more), {})


async def ask(credentials: Credentials, script: Script) -> set[str]:
    """The Authorization that a request of our client carries, and that of a bare session."""
    kubernetes = Kubernetes(credentials.api_client(), lambda _verb, _code: None)
    try:
        await kubernetes.namespace("team-a")
    finally:
        await kubernetes.close()
    async with credentials.session() as session, session.get(f"{script.url}/x") as response:
        await response.read()
    return {asked.headers.get("Authorization", "") for asked in script.requests[-2:]}


async def test_without_a_user_nothing_is_claimed(kubeconfig: Any, api: Script) -> None:
    assert await ask(Credentials(found(kubeconfig({}))), api) == {""}


async def test_every_request_names_raysweep_and_is_counted(kubeconfig: Any, api: Script) -> None:
    credentials = Credentials(found(kubeconfig({"token": "abc"})))
    counted: list[tuple[str, int]] = []
    session = credentials.session(lambda verb, code: counted.append((verb, code)))
    async with session, session.get(f"{api.url}/x") as response:
        await response.read()
    await ask(credentials, api)
    assert {asked.headers["User-Agent"] for asked in api.requests} == {"raysweep"}
    assert counted == [("GET", 200)]


async def test_a_token_file_is_read_again(kubeconfig: Any, api: Script, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first")
    credentials = Credentials(found(kubeconfig({"tokenFile": "token"})), read_again_after=ALWAYS)
    assert await ask(credentials, api) == {"Bearer first"}
    (tmp_path / "token").write_text("second")
    assert await ask(credentials, api) == {"Bearer second"}
    (tmp_path / "token").unlink()
    assert await ask(credentials, api) == {"Bearer second"}


async def test_a_token_file_is_not_read_at_every_request(
    kubeconfig: Any, api: Script, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("first")
    credentials = Credentials(
        found(kubeconfig({"tokenFile": "token"})), read_again_after=NEVER_IN_THIS_TEST
    )
    (tmp_path / "token").write_text("second")
    assert await ask(credentials, api) == {"Bearer first"}


async def test_the_flag_token_wins_over_a_token_file(
    kubeconfig: Any, api: Script, tmp_path: Path
) -> None:
    """The one difference from kubectl, which sends the file's token: that may have more rights than the one asked for."""
    (tmp_path / "token").write_text("admin")
    credentials = Credentials(found(kubeconfig({"tokenFile": "token"}), token="readonly"))
    assert await ask(credentials, api) == {"Bearer readonly"}


class Plugin:
    """An exec plugin that prints what stands in a file, and counts its runs."""

    def __init__(self, folder: Path) -> None:
        self.answer = folder / "answer"
        self.runs = folder / "runs"
        code = (
            f"import sys; open({str(self.runs)!r}, 'a').write('.')\n"
            f"text = open({str(self.answer)!r}).read()\nsys.stdout.write(text)\nraise SystemExit(text == '')"
        )
        plugin = {
            "apiVersion": VERSION,
            "command": sys.executable,
            "args": ["-c", code],
            "interactiveMode": "Never",
        }
        self.user = {"exec": plugin}

    def prints(self, **status: str) -> None:
        self.answer.write_text(
            json.dumps({"apiVersion": VERSION, "kind": "ExecCredential", "status": status})
        )

    @property
    def times(self) -> int:
        return len(self.runs.read_text())


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


async def test_c10_a_plugin_runs_again_only_after_its_token_has_expired(
    kubeconfig: Any, api: Script, plugin: Plugin
) -> None:
    plugin.prints(token="first", expirationTimestamp=EXPIRED)
    credentials = Credentials(found(kubeconfig(plugin.user)))
    assert await ask(credentials, api) == {"Bearer first"}
    plugin.prints(token="second", expirationTimestamp=VALID)
    assert await ask(credentials, api) == {"Bearer second"}
    times = plugin.times
    plugin.prints(token="third", expirationTimestamp=VALID)
    assert await ask(credentials, api) == {"Bearer second"}
    assert plugin.times == times


async def test_c10_after_a_401_the_plugin_runs_once_and_the_request_is_sent_again(
    kubeconfig: Any, authority: Authority, plugin: Plugin
) -> None:
    answers = (json_response({}, 401), json_response(namespace_json()))
    async with serving(*answers, tls=authority.server("127.0.0.1")) as script:
        plugin.prints(token="first", expirationTimestamp=VALID)
        credentials = Credentials(found(kubeconfig(plugin.user, server=script.url)))
        await credentials.log_in()
        plugin.prints(token="second", expirationTimestamp=VALID)
        async with (
            credentials.session() as session,
            session.post(f"{script.url}/x", json={"a": 1}) as response,
        ):
            assert response.status == 200
    assert [asked.headers["Authorization"] for asked in script.requests] == [
        "Bearer first",
        "Bearer second",
    ]
    assert [asked.body for asked in script.requests] == [{"a": 1}] * 2
    assert plugin.times == 2


async def test_c10_a_token_that_stays_refused_is_an_answer_and_no_endless_loop(
    kubeconfig: Any, authority: Authority, plugin: Plugin
) -> None:
    async with serving(json_response({}, 401), tls=authority.server("127.0.0.1")) as script:
        plugin.prints(token="first")
        credentials = Credentials(found(kubeconfig(plugin.user, server=script.url)))
        async with credentials.session() as session, session.get(f"{script.url}/x") as response:
            assert response.status == 401
    assert len(script.requests) == 1
    assert plugin.times == 2


async def test_c10_a_certificate_that_the_plugin_renews_is_used(
    kubeconfig: Any, authority: Authority, plugin: Plugin, api: Script
) -> None:
    for name in ("alice", "bob"):
        certificate, key = authority.issue(name)
        plugin.prints(
            clientCertificateData=certificate.read_text(),
            clientKeyData=key.read_text(),
            expirationTimestamp=EXPIRED,
        )
        credentials = Credentials(found(kubeconfig(plugin.user)))
        await ask(credentials, api)
        assert api.requests[-1].certificate == name


@pytest.mark.parametrize("answer", ["", "garbage", "[]", "{}", '{"status": null}'], ids=repr)
async def test_c10_a_plugin_that_fails_later_is_named_and_its_output_is_not(
    answer: str, kubeconfig: Any, plugin: Plugin
) -> None:
    plugin.prints(token="first", expirationTimestamp=EXPIRED)
    credentials = Credentials(found(kubeconfig(plugin.user)))
    await credentials.log_in()
    plugin.answer.write_text(answer)
    kubernetes = Kubernetes(credentials.api_client(), lambda _verb, _code: None)
    with pytest.raises(UnreachableError, match=r"^exec plugin .*python") as error:
        await kubernetes.namespace("team-a")
    await kubernetes.close()
    assert "garbage" not in str(error.value)


async def test_c11_a_ca_without_key_identifiers_is_trusted(tmp_path: Path, kubeconfig: Any) -> None:
    authority = Authority(tmp_path / "plain", key_identifiers=False)
    async with serving(json_response({}), tls=authority.server("127.0.0.1")) as script:
        path = kubeconfig(
            {"token": "abc"}, **{"server": script.url, "certificate-authority": str(authority.file)}
        )
        credentials = Credentials(found(path))
        async with credentials.session() as session, session.get(f"{script.url}/x") as response:
            assert response.status == 200


@pytest.fixture
def service_account(tmp_path: Path, authority: Authority) -> Path:
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text("pod")
    (folder / "ca.crt").write_bytes(authority.file.read_bytes())
    return folder


def in_a_pod(api: Script, **more: str) -> dict[str, str]:
    host, port = api.url.removeprefix("https://").split(":")
    return {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port, **more}


@pytest.mark.parametrize(
    ("flags", "variables", "source", "token"),
    [
        pytest.param({}, {}, "service account", "Bearer pod", id="nothing names a kubeconfig"),
        pytest.param(
            {},
            {"KUBECONFIG": "missing"},
            "service account",
            "Bearer pod",
            id="KUBECONFIG names no file",
        ),
        pytest.param(
            {}, {"KUBECONFIG": "here"}, "kubeconfig", "Bearer file", id="KUBECONFIG names a file"
        ),
        pytest.param(
            {"kubeconfig": "here"}, {}, "kubeconfig", "Bearer file", id="--kubeconfig names a file"
        ),
        pytest.param({"token": "flag"}, {}, "service account", "Bearer flag", id="--token alone"),
    ],
)
async def test_c6_in_a_pod_a_command_goes_by_kubectls_order(
    flags: dict[str, Any],
    variables: dict[str, str],
    source: str,
    token: str,
    kubeconfig: Any,
    service_account: Path,
    api: Script,
    tmp_path: Path,
) -> None:
    path = kubeconfig({"token": "file"})
    places = {"here": path, "missing": tmp_path / "missing"}
    environment = {"HOME": str(tmp_path)} | {
        name: str(places[value]) for name, value in variables.items()
    }
    given = {name: places.get(value, value) for name, value in flags.items()}
    config = client_config.find(Overrides(**given), in_a_pod(api, **environment), service_account)
    assert config.source.startswith(source)
    assert await ask(Credentials(config), api) == {token}


async def test_c6_impersonation_flags_hold_in_a_pod_too(
    service_account: Path, api: Script, tmp_path: Path
) -> None:
    """kubectl ignores them there, and so acts with more rights than its caller asked for."""
    environment = in_a_pod(api, HOME=str(tmp_path), KUBECONFIG=str(tmp_path / "missing"))
    config = client_config.find(
        Overrides(as_user="bob", as_group=("viewers",)), environment, service_account
    )
    await ask(Credentials(config), api)
    assert api.requests[-1].headers["Impersonate-User"] == "bob"
    assert api.requests[-1].groups == ("viewers",)


@pytest.mark.parametrize(
    ("flags", "token", "counts"),
    [
        pytest.param({}, "Bearer pod", False, id="the service account comes first"),
        pytest.param(
            {"kubeconfig": True},
            "Bearer file",
            False,
            id="--kubeconfig wins, and still no proxy counts",
        ),
    ],
)
async def test_c6_c9_the_operator_in_a_pod(
    flags: dict[str, Any],
    token: str,
    counts: bool,
    kubeconfig: Any,
    service_account: Path,
    api: Script,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = kubeconfig({"token": "file"})
    monkeypatch.setattr(client_config, "SERVICE_ACCOUNT", service_account)
    for name, value in in_a_pod(
        api, KUBECONFIG=str(path), HTTPS_PROXY="http://proxy.example.com:1"
    ).items():
        monkeypatch.setenv(name, value)
    credentials = Credentials.for_operator(Overrides(kubeconfig=path) if flags else Overrides())
    assert await ask(credentials, api) == {token}
    assert (credentials._proxy is not None) == counts


async def test_c9_the_operator_outside_of_a_pod_goes_by_the_environment(
    kubeconfig: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(client_config, "SERVICE_ACCOUNT", tmp_path / "nowhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:1")
    path = kubeconfig({"token": "file"}, server="https://kubernetes.example.com")
    assert (
        Credentials.for_operator(Overrides(kubeconfig=path))._proxy == "http://proxy.example.com:1"
    )


@pytest.mark.parametrize(
    ("text", "own"), [("platform\n", "platform"), (None, "")], ids=["is named", "is not named"]
)
async def test_in_a_pod_its_namespace_is_known_where_it(
    text: str | None, own: str, service_account: Path, api: Script
) -> None:
    if text:
        (service_account / "namespace").write_text(text)
    config = client_config.in_cluster(Overrides(), in_a_pod(api), service_account)
    assert (config.pod_namespace, config.namespace) == (own, own or "default")


@pytest.mark.parametrize("lacking", ["token", "ca.crt"])
async def test_a_service_account_that_lacks_a_file_is_named(
    lacking: str, service_account: Path, api: Script
) -> None:
    (service_account / lacking).unlink()
    with pytest.raises(
        ClientConfigError,
        match=f"service account in {service_account}: {lacking} is missing or empty",
    ):
        client_config.in_cluster(Overrides(), in_a_pod(api), service_account)


async def test_d4_without_any_kubeconfig_the_error_says_where_it_looked_and_what_to_set(
    tmp_path: Path,
) -> None:
    with pytest.raises(ClientConfigError) as error:
        client_config.find(
            Overrides(), {"KUBECONFIG": str(tmp_path / "gone")}, tmp_path / "nowhere"
        )
    assert str(error.value) == (
        f"no kubeconfig found at {tmp_path}/gone (named by KUBECONFIG), and this is not a Pod. "
        "Set KUBECONFIG, or use --kubeconfig FILE or --server URL."
    )


UNUSABLE = {
    "auth-provider": (
        {"auth-provider": {"name": "gcp"}},
        {},
        "user 'test' uses 'auth-provider', which is not supported: use the exec plugin of your provider, such as ",
    ),
    "a proxy of an unknown kind": (
        {},
        {"proxy-url": "ftp://proxy.example.com"},
        "cluster 'test': proxy-url must be a URL with one of the schemes http, https, socks5",
    ),
    "groups without as": (
        {"as-groups": ["a"]},
        {},
        "user 'test' has as-uid, as-groups or as-user-extra without as",
    ),
    "a CA beside insecure": (
        {},
        {"insecure-skip-tls-verify": True},
        "cluster 'test' has insecure-skip-tls-verify beside a certificate authority; keep one",
    ),
    "a number for a token": (
        {"token": 12345},
        {},
        "users.0.user.token: Input should be a valid string",
    ),
}


@pytest.mark.parametrize(("user", "cluster", "words"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_field_that_cannot_be_honored_is_named(
    user: dict[str, Any], cluster: dict[str, Any], words: str, kubeconfig: Any
) -> None:
    path = kubeconfig(user, **cluster)
    with pytest.raises(ClientConfigError) as error:
        found(path)
    assert str(error.value).startswith(f"kubeconfig {path}: {words}")
    assert "12345" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not valid YAML in line 1"),
        ("[]", "the file: Input should be a valid dictionary"),
        ("{}", "has no current-context. Use --context with one of: none."),
        ("current-context: gone", "context 'gone' does not exist in kubeconfig"),
        (
            "a0: &a0 [x]\n"
            + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}, *a{n}, *a{n}]\n" for n in range(40)),
            "has more than 200000 nodes",
        ),
    ],
    ids=["not YAML", "a list", "empty", "no such context", "a bomb"],
)
def test_a_file_that_cannot_be_used_is_named(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(ClientConfigError) as error:
        found(tmp_path / "config")
    message = str(error.value)
    assert f"kubeconfig {tmp_path}/config" in message
    assert words in message


CIDRS = {
    "10.0.0.0/8": ("https://10.1.2.3:6443", True),
    "10.0.0.0/16": ("https://10.1.2.3:6443", False),
    "fd00::/8": ("https://[fd00::1]", True),
    "10.1.2.3": ("https://10.1.2.3:6443", True),
    "10.1.2.3:443": ("https://10.1.2.3:6443", False),
    "[fd00::1]:443": ("https://[fd00::1]", True),
    "*.example.com": ("https://api.example.com", True),
    "*": ("https://api.example.com", True),
    "not/a/network": ("https://10.1.2.3", False),
}


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_direct"), [(entry, *rest) for entry, rest in CIDRS.items()], ids=CIDRS
)
def test_c9_no_proxy_takes_networks_and_ports(no_proxy: str, url: str, is_direct: bool) -> None:
    environment = {"HTTPS_PROXY": "http://proxy.example.com", "NO_PROXY": no_proxy}
    assert (proxies.proxy_for(url, environment) is None) == is_direct


async def test_what_a_head_sets_through_the_api_server_does_not_come_back_to_another(
    kubeconfig: Any, authority: Authority
) -> None:
    tls = authority.server("localhost")
    async with serving(json_response([], Set_Cookie="a=b; Path=/"), tls=tls) as script:
        path = kubeconfig(
            {}, server=script.url.replace("127.0.0.1", "localhost")
        )  # a jar keeps none of bare addresses
        credentials = Credentials(found(path))
        async with credentials.session() as session:
            for _ in range(2):
                async with session.get(f"{credentials.server}/x"):
                    pass
    assert ["Cookie" in asked.headers for asked in script.requests] == [False, False]


async def test_a_redirect_takes_no_credentials_to_another_host(
    kubeconfig: Any, authority: Authority
) -> None:
    user = {"token": "abc", "as": "jane", "as-groups": ["team-a"]}
    tls = authority.server("127.0.0.1")
    async with (
        serving(json_response([]), tls=tls) as elsewhere,
        serving(json_response([], status=307, Location=elsewhere.url), tls=tls) as api,
    ):
        credentials = Credentials(found(kubeconfig(user, server=api.url)))
        async with credentials.session() as session, session.get(f"{api.url}/x"):
            pass
    headers = [asked.headers for asked in (*api.requests, *elsewhere.requests)]
    assert [("Authorization" in each, "Impersonate-User" in each) for each in headers] == [
        (True, True),
        (False, False),
    ]


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        pytest.param("limit=500", {"limit": "3"}, id="a page"),
        pytest.param("limit=2", {"limit": "2"}, id="a small page"),
        pytest.param(
            "limit=500&continue=a%2Bb%3D%3D",
            {"limit": "3", "continue": "a+b=="},
            id="the next page",
        ),
        pytest.param(
            "watch=true&resourceVersion=7", {"watch": "true", "resourceVersion": "7"}, id="a watch"
        ),
        pytest.param("limit=x", {"limit": "x"}, id="something else"),
    ],
)
async def test_h6_kopf_lists_in_pages_that_the_complete_list_found_safe(
    kubeconfig: Any, api: Script, query: str, sent: dict[str, str]
) -> None:
    credentials = Credentials(found(kubeconfig({"token": "abc"})))
    limits = {"/apis/ray.io/v1/rayjobs": 3}
    async with credentials.session(page_limit=limits.__getitem__) as session:
        await session.get(f"{api.url}/apis/ray.io/v1/rayjobs?{query}")
    assert api.requests[0].query == sent


UNREACHABLE = {
    "nobody listens": (
        "https://127.0.0.1:1",
        {},
        "cannot connect to 127.0.0.1:1: connection refused",
    ),
    "a name that does not exist": (
        "https://nowhere.invalid",
        {},
        "cannot connect to nowhere.invalid:443: Name or service not known",
    ),
    "an HTTP proxy that is away": (
        "https://nowhere.invalid",
        {"proxy-url": "http://127.0.0.1:1"},
        "cannot connect to the proxy 127.0.0.1:1: connection refused",
    ),
    "a SOCKS proxy that is away": (
        "https://nowhere.invalid",
        {"proxy-url": "socks5://127.0.0.1:1"},
        "SOCKS proxy: [Errno 111] Couldn't connect to proxy 127.0.0.1:1",
    ),
}


@pytest.mark.parametrize(("server", "cluster", "words"), UNREACHABLE.values(), ids=UNREACHABLE)
async def test_c9_a_way_that_is_closed_is_named(
    server: str, cluster: dict[str, str], words: str, kubeconfig: Any
) -> None:
    credentials = Credentials(found(kubeconfig({"token": "abc"}, server=server, **cluster)))
    kubernetes = Kubernetes(credentials.api_client(), lambda _verb, _code: None)
    with pytest.raises(UnreachableError) as error:
        await kubernetes.namespace("team-a")
    await kubernetes.close()
    assert str(error.value).startswith(f"GET /api/v1/namespaces/team-a: {words}")
