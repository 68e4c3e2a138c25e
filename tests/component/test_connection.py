"""Connections that kubectl has no counterpart for: the operator's, renewed credentials, errors."""

import contextlib
import json
import subprocess
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

AT_EVERY_REQUEST = timedelta()
IN_A_DAY = timedelta(days=1)
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
    """A function that writes a kubeconfig with a user and returns its path."""

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


def config_of(path: Path, **flags: Any) -> ClientConfig:
    return client_config.find(Overrides(kubeconfig=path, **flags), {})


async def sent_headers(credentials: Credentials, script: Script) -> set[str]:
    """The Authorization headers of a request by the client and of one by a bare session."""
    async with client_of_credentials(credentials) as client:
        await client.namespace("team-a")
    async with credentials.session() as session, session.get(f"{script.url}/x") as response:
        await response.read()
    return {request.headers.get("Authorization", "") for request in script.requests[-2:]}


@contextlib.asynccontextmanager
async def client_of_credentials(credentials: Credentials) -> AsyncIterator[Kubernetes]:
    client = Kubernetes(credentials.api_client(), lambda _method, _status: None)
    try:
        yield client
    finally:
        await client.close()


async def test_without_credentials_no_header_is_sent(kubeconfig: Any, api: Script) -> None:
    assert await sent_headers(Credentials(config_of(kubeconfig({}))), api) == {""}


async def test_every_request_names_raysweep_and_is_counted(kubeconfig: Any, api: Script) -> None:
    credentials = Credentials(config_of(kubeconfig({"token": "abc"})))
    counted: list[tuple[str, int]] = []
    session = credentials.session(lambda verb, code: counted.append((verb, code)))
    async with session, session.get(f"{api.url}/x") as response:
        await response.read()
    await sent_headers(credentials, api)
    assert {request.headers["User-Agent"] for request in api.requests} == {"raysweep"}
    assert counted == [("GET", 200)]


async def test_a_token_file_is_read_again(kubeconfig: Any, api: Script, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first")
    credentials = Credentials(
        config_of(kubeconfig({"tokenFile": "token"})), read_again_after=AT_EVERY_REQUEST
    )
    assert await sent_headers(credentials, api) == {"Bearer first"}
    (tmp_path / "token").write_text("second")
    assert await sent_headers(credentials, api) == {"Bearer second"}
    (tmp_path / "token").unlink()
    assert await sent_headers(credentials, api) == {"Bearer second"}


async def test_a_token_file_is_read_again_after_some_time_only(
    kubeconfig: Any, api: Script, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("first")
    credentials = Credentials(
        config_of(kubeconfig({"tokenFile": "token"})), read_again_after=IN_A_DAY
    )
    (tmp_path / "token").write_text("second")
    assert await sent_headers(credentials, api) == {"Bearer first"}


async def test_the_flag_token_wins_over_a_token_file(
    kubeconfig: Any, api: Script, tmp_path: Path
) -> None:
    """The one difference from kubectl, whose token from the file may have more rights."""
    (tmp_path / "token").write_text("admin")
    credentials = Credentials(config_of(kubeconfig({"tokenFile": "token"}), token="readonly"))
    assert await sent_headers(credentials, api) == {"Bearer readonly"}


class Plugin:
    """An exec plugin that prints the content of a file and counts its runs."""

    def __init__(self, folder: Path) -> None:
        self.answer = folder / "answer"
        self.runs = folder / "runs"
        code = (
            f"import sys; open({str(self.runs)!r}, 'a').write('.')\n"
            f"text = open({str(self.answer)!r}).read()\n"
            "sys.stdout.write(text)\n"
            "raise SystemExit(text == '')"
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
    credentials = Credentials(config_of(kubeconfig(plugin.user)))
    assert await sent_headers(credentials, api) == {"Bearer first"}
    plugin.prints(token="second", expirationTimestamp=VALID)
    assert await sent_headers(credentials, api) == {"Bearer second"}
    times = plugin.times
    plugin.prints(token="third", expirationTimestamp=VALID)
    assert await sent_headers(credentials, api) == {"Bearer second"}
    assert plugin.times == times


async def test_c10_after_a_401_the_plugin_runs_once_and_the_request_is_sent_again(
    kubeconfig: Any, authority: Authority, plugin: Plugin
) -> None:
    answers = (json_response({}, 401), json_response(namespace_json()))
    async with serving(*answers, tls=authority.server("127.0.0.1")) as script:
        plugin.prints(token="first", expirationTimestamp=VALID)
        credentials = Credentials(config_of(kubeconfig(plugin.user, server=script.url)))
        await credentials.log_in()
        plugin.prints(token="second", expirationTimestamp=VALID)
        async with (
            credentials.session() as session,
            session.post(f"{script.url}/x", json={"a": 1}) as response,
        ):
            assert response.status == 200
    assert [request.headers["Authorization"] for request in script.requests] == [
        "Bearer first",
        "Bearer second",
    ]
    assert [request.body for request in script.requests] == [{"a": 1}] * 2
    assert plugin.times == 2


async def test_c10_a_token_that_stays_refused_ends_with_401(
    kubeconfig: Any, authority: Authority, plugin: Plugin
) -> None:
    async with serving(json_response({}, 401), tls=authority.server("127.0.0.1")) as script:
        plugin.prints(token="first")
        credentials = Credentials(config_of(kubeconfig(plugin.user, server=script.url)))
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
        credentials = Credentials(config_of(kubeconfig(plugin.user)))
        await sent_headers(credentials, api)
        assert api.requests[-1].certificate == name


async def test_c10_an_error_names_a_plugin_that_fails_later_without_its_output(
    kubeconfig: Any, plugin: Plugin
) -> None:
    for answer in ("", "garbage", "[]", "{}", '{"status": null}'):
        plugin.prints(token="first", expirationTimestamp=EXPIRED)
        credentials = Credentials(config_of(kubeconfig(plugin.user)))
        await credentials.log_in()
        plugin.answer.write_text(answer)
        async with client_of_credentials(credentials) as client:
            with pytest.raises(UnreachableError, match=r"^exec plugin .*python") as raised:
                await client.namespace("team-a")
        assert "garbage" not in str(raised.value)


async def test_c11_a_ca_without_key_identifiers_is_trusted(tmp_path: Path, kubeconfig: Any) -> None:
    authority = Authority(tmp_path / "plain", key_identifiers=False)
    async with serving(json_response({}), tls=authority.server("127.0.0.1")) as script:
        path = kubeconfig(
            {"token": "abc"}, **{"server": script.url, "certificate-authority": str(authority.file)}
        )
        credentials = Credentials(config_of(path))
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


async def test_c6_in_a_pod_a_command_follows_the_order_of_kubectl(
    kubeconfig: Any, service_account: Path, api: Script, tmp_path: Path
) -> None:
    path = kubeconfig({"token": "file"})
    missing = {"KUBECONFIG": str(tmp_path / "missing")}
    rows = [
        (Overrides(), {}, "service account", "pod"),
        (Overrides(), missing, "service account", "pod"),
        (Overrides(), {"KUBECONFIG": str(path)}, "kubeconfig", "file"),
        (Overrides(kubeconfig=path), {}, "kubeconfig", "file"),
        (Overrides(token="flag"), {}, "service account", "flag"),
    ]
    for flags, variables, source, token in rows:
        environment = in_a_pod(api, HOME=str(tmp_path), **variables)
        config = client_config.find(flags, environment, service_account)
        assert config.source.startswith(source), (flags, variables)
        headers = await sent_headers(Credentials(config), api)
        assert headers == {f"Bearer {token}"}, (flags, variables)


async def test_c6_impersonation_flags_apply_in_a_pod_too(
    service_account: Path, api: Script, tmp_path: Path
) -> None:
    """kubectl ignores them in a Pod, and so acts with more rights than requested."""
    environment = in_a_pod(api, HOME=str(tmp_path), KUBECONFIG=str(tmp_path / "missing"))
    config = client_config.find(
        Overrides(as_user="bob", as_group=("viewers",)), environment, service_account
    )
    await sent_headers(Credentials(config), api)
    assert api.requests[-1].headers["Impersonate-User"] == "bob"
    assert api.requests[-1].groups == ("viewers",)


@pytest.mark.parametrize(
    ("names_file", "token"),
    [
        pytest.param(False, "pod", id="the service account comes first"),
        pytest.param(True, "file", id="--kubeconfig wins"),
    ],
)
async def test_c6_c9_the_operator_in_a_pod_ignores_proxy_variables(
    names_file: bool,
    token: str,
    kubeconfig: Any,
    service_account: Path,
    api: Script,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = kubeconfig({"token": "file"})
    monkeypatch.setattr(client_config, "SERVICE_ACCOUNT", service_account)
    proxy = "http://proxy.example.com:1"
    for name, value in in_a_pod(api, KUBECONFIG=str(path), HTTPS_PROXY=proxy).items():
        monkeypatch.setenv(name, value)
    credentials = Credentials.for_operator(Overrides(kubeconfig=path if names_file else None))
    assert await sent_headers(credentials, api) == {f"Bearer {token}"}
    assert credentials._proxy is None


async def test_c9_the_operator_outside_a_pod_uses_proxy_variables(
    kubeconfig: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(client_config, "SERVICE_ACCOUNT", tmp_path / "nowhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:1")
    path = kubeconfig({"token": "file"}, server="https://kubernetes.example.com")
    credentials = Credentials.for_operator(Overrides(kubeconfig=path))
    assert credentials._proxy == "http://proxy.example.com:1"


async def test_the_service_account_names_the_namespace_of_the_pod(
    service_account: Path, api: Script
) -> None:
    config = client_config.in_cluster(Overrides(), in_a_pod(api), service_account)
    assert (config.pod_namespace, config.namespace) == ("", "default")
    (service_account / "namespace").write_text("platform\n")
    config = client_config.in_cluster(Overrides(), in_a_pod(api), service_account)
    assert (config.pod_namespace, config.namespace) == ("platform", "platform")


async def test_a_missing_file_of_the_service_account_is_named(
    service_account: Path, api: Script
) -> None:
    for missing in ("token", "ca.crt"):
        content = (service_account / missing).read_bytes()
        (service_account / missing).unlink()
        message = f"service account in {service_account}: {missing} is missing or empty"
        with pytest.raises(ClientConfigError, match=message):
            client_config.in_cluster(Overrides(), in_a_pod(api), service_account)
        (service_account / missing).write_bytes(content)


async def test_d4_without_a_kubeconfig_the_error_lists_places_and_remedies(tmp_path: Path) -> None:
    with pytest.raises(ClientConfigError) as error:
        client_config.find(
            Overrides(), {"KUBECONFIG": str(tmp_path / "gone")}, tmp_path / "nowhere"
        )
    assert str(error.value) == (
        f"no kubeconfig found at {tmp_path}/gone (named by KUBECONFIG), and this is not a Pod. "
        "Set KUBECONFIG, or use --kubeconfig FILE or --server URL."
    )


def test_a_field_that_cannot_be_honored_is_named(kubeconfig: Any) -> None:
    rows: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        (
            {"auth-provider": {"name": "gcp"}},
            {},
            "user 'test' uses 'auth-provider', which is not supported: use the exec plugin of",
        ),
        (
            {},
            {"proxy-url": "ftp://proxy.example.com"},
            "cluster 'test': proxy-url must be a URL with one of the schemes http, https, socks5",
        ),
        ({"as-groups": ["a"]}, {}, "user 'test' has as-uid, as-groups or as-user-extra without as"),
        (
            {},
            {"insecure-skip-tls-verify": True},
            "cluster 'test' has insecure-skip-tls-verify beside a certificate authority; keep one",
        ),
        ({"token": 12345}, {}, "users.0.user.token: Input should be a valid string"),
    ]
    for user, cluster, text in rows:
        path = kubeconfig(user, **cluster)
        with pytest.raises(ClientConfigError) as raised:
            config_of(path)
        assert str(raised.value).startswith(f"kubeconfig {path}: {text}")
        assert "12345" not in str(raised.value)


def test_an_unusable_file_is_named(tmp_path: Path) -> None:
    lists = (f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}, *a{n}, *a{n}]\n" for n in range(40))
    rows = {
        "{": "is not valid YAML in line 1",
        "[]": "the file: Input should be a valid dictionary",
        "{}": "has no current-context. Use --context with one of: none.",
        "current-context: gone": "context 'gone' does not exist in kubeconfig",
        "a0: &a0 [x]\n" + "".join(lists): "has more than 200000 nodes",
    }
    for content, text in rows.items():
        (tmp_path / "config").write_text(content)
        with pytest.raises(ClientConfigError) as raised:
            config_of(tmp_path / "config")
        assert f"kubeconfig {tmp_path}/config" in str(raised.value)
        assert text in str(raised.value)


def test_c9_no_proxy_matches_names_networks_and_ports() -> None:
    rows = [
        ("10.0.0.0/8", "https://10.1.2.3:6443", True),
        ("10.0.0.0/16", "https://10.1.2.3:6443", False),
        ("fd00::/8", "https://[fd00::1]", True),
        ("10.1.2.3", "https://10.1.2.3:6443", True),
        ("10.1.2.3:443", "https://10.1.2.3:6443", False),
        ("[fd00::1]:443", "https://[fd00::1]", True),
        ("*.example.com", "https://api.example.com", True),
        ("*", "https://api.example.com", True),
        ("not/a/network", "https://10.1.2.3", False),
    ]
    for no_proxy, url, is_direct in rows:
        environment = {"HTTPS_PROXY": "http://proxy.example.com", "NO_PROXY": no_proxy}
        assert (proxies.proxy_for(url, environment) is None) == is_direct, no_proxy


async def test_a_cookie_that_a_head_sets_is_not_sent_to_another(
    kubeconfig: Any, authority: Authority
) -> None:
    tls = authority.server("localhost")
    async with serving(json_response([], Set_Cookie="a=b; Path=/"), tls=tls) as script:
        # a cookie jar ignores the cookies of IP addresses
        path = kubeconfig({}, server=script.url.replace("127.0.0.1", "localhost"))
        credentials = Credentials(config_of(path))
        async with credentials.session() as session:
            for _ in range(2):
                async with session.get(f"{credentials.server}/x"):
                    pass
    assert ["Cookie" in request.headers for request in script.requests] == [False, False]


async def test_a_redirect_to_another_host_carries_no_credentials(
    kubeconfig: Any, authority: Authority
) -> None:
    user = {"token": "abc", "as": "jane", "as-groups": ["team-a"]}
    tls = authority.server("127.0.0.1")
    async with (
        serving(json_response([]), tls=tls) as elsewhere,
        serving(json_response([], status=307, Location=elsewhere.url), tls=tls) as api,
    ):
        credentials = Credentials(config_of(kubeconfig(user, server=api.url)))
        async with credentials.session() as session, session.get(f"{api.url}/x"):
            pass
    headers = [request.headers for request in (*api.requests, *elsewhere.requests)]
    assert [("Authorization" in each, "Impersonate-User" in each) for each in headers] == [
        (True, True),
        (False, False),
    ]


async def test_c9_an_error_names_the_address_that_cannot_be_reached(kubeconfig: Any) -> None:
    nowhere = "https://nowhere.invalid"
    rows: list[tuple[dict[str, str], str]] = [
        (
            {"server": "https://127.0.0.1:1"},
            "cannot connect to 127.0.0.1:1: connection refused",
        ),
        (
            {"server": nowhere},
            "cannot connect to nowhere.invalid:443: Name or service not known",
        ),
        (
            {"server": nowhere, "proxy-url": "http://127.0.0.1:1"},
            "cannot connect to the proxy 127.0.0.1:1: connection refused",
        ),
        (
            {"server": nowhere, "proxy-url": "socks5://127.0.0.1:1"},
            "SOCKS proxy: [Errno 111] Couldn't connect to proxy 127.0.0.1:1",
        ),
    ]
    for cluster, text in rows:
        credentials = Credentials(config_of(kubeconfig({"token": "abc"}, **cluster)))
        async with client_of_credentials(credentials) as client:
            with pytest.raises(UnreachableError) as raised:
                await client.namespace("team-a")
        assert str(raised.value).startswith(f"GET /api/v1/namespaces/team-a: {text}")


def test_the_client_imports_no_models_of_kubernetes_asyncio() -> None:
    code = (
        "import sys; from raysweep.clients.kubernetes import client; models = 'client.models.'; "
        "print([name for name in sys.modules if name.startswith(f'kubernetes_asyncio.{models}')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
