"""Compares the connections of kubectl and Raysweep: kubeconfig, flags and environment."""

import asyncio
import base64
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import click
import pytest
import pytest_asyncio

from raysweep.clients.connection import flags
from raysweep.clients.connection.credentials import Credentials
from raysweep.clients.connection.kubeconfig import ClientConfigError
from raysweep.clients.connection.overrides import Overrides
from sandbox import binaries
from tests.support.certificates import Authority
from tests.support.proxies import Proxy, connect_proxy, socks_proxy
from tests.support.scripted_api import RecordedRequest, Script, json_response, serving

NAME = "kubernetes.test"
"""The server's name. Only the proxies know where it is."""


@dataclass(frozen=True)
class Seen:
    """A request as the server and the proxies received it. None: no request was sent."""

    authorization: str
    impersonated: tuple[tuple[str, str], ...]
    groups: tuple[str, ...]
    certificate: str
    server_name: str
    proxied: tuple[str, ...]


@dataclass
class World:
    """A server, and all files that a kubeconfig can refer to."""

    folder: Path
    script: Script
    authority: Authority
    other: Authority
    connect: Proxy
    secure: Proxy
    socks: Proxy
    names: list[str]
    kubectl: Path

    @property
    def certificate(self) -> Path:
        """The CA of the server."""
        return self.authority.folder / f"{NAME}.crt"

    @property
    def port(self) -> int:
        return int(self.script.url.rpartition(":")[2])

    def file(self, name: str, text: str) -> str:
        """Writes a file and returns its path."""
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def plugin(
        self, status: Mapping[str, Any] | None, version: str = "v1", **more: Any
    ) -> dict[str, Any]:
        """An exec plugin that prints this status."""
        answer = {
            "apiVersion": f"client.authentication.k8s.io/{version}",
            "kind": "ExecCredential",
            "status": status,
        }
        code = f"print({json.dumps(answer)!r})" if status is not None else "raise SystemExit(3)"
        plugin = {
            "apiVersion": f"client.authentication.k8s.io/{version}",
            "command": sys.executable,
            "args": ["-c", code],
        }
        return {"exec": plugin | {"interactiveMode": "IfAvailable"} | more}

    def echo(self, expression: str, **more: Any) -> dict[str, Any]:
        """An exec plugin with a Python expression over `info` (KUBERNETES_EXEC_INFO) as token."""
        code = (
            "import base64, hashlib, json, os, sys\n"
            "info = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
            f"text = json.dumps({expression}, sort_keys=True)\n"
            "status = {'token': base64.b16encode(text.encode()).decode()}\n"
            "kinds = {'apiVersion': info['apiVersion'], 'kind': 'ExecCredential'}\n"
            "print(json.dumps({**kinds, 'status': status}))"
        )
        plugin = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": ["-c", code],
        }
        return {"exec": plugin | {"interactiveMode": "IfAvailable"} | more}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("world")
    authority, other = Authority(folder / "ca"), Authority(folder / "other")
    names: list[str] = []
    context = authority.server(NAME, "127.0.0.1", "other.test", wants_certificate=True)

    def note_name(_socket: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        names.append(name or "")

    context.sni_callback = note_name
    async with AsyncExitStack() as stack:
        script = await stack.enter_async_context(serving(json_response({}), tls=context))
        port = int(script.url.rpartition(":")[2])
        connect = await stack.enter_async_context(connect_proxy(port))
        secure = await stack.enter_async_context(connect_proxy(port, authority.server("127.0.0.1")))
        socks = await stack.enter_async_context(socks_proxy(port))
        kubectl = await asyncio.to_thread(binaries.program, binaries.KUBERNETES, "kubectl")
        yield World(folder, script, authority, other, connect, secure, socks, names, kubectl)


Part = Callable[[World], dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """One way to connect. `sends`: whether kubectl and Raysweep send a request."""

    sends: bool = True
    cluster: Part = lambda _: {}
    user: Part = lambda _: {"token": "abc"}
    flags: Callable[[World], list[str]] = lambda _: []
    environment: Callable[[World], dict[str, str]] = lambda _: {}
    by_name: bool = False  # the server's address is its name, which only a proxy knows
    context: dict[str, Any] = field(default_factory=dict)


def _ca(world: World) -> dict[str, Any]:
    return {"certificate-authority": str(world.authority.file)}


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _certificate(world: World, name: str = "alice") -> tuple[Path, Path]:
    return world.authority.issue(name)


def _certificate_data(world: World, name: str = "alice") -> dict[str, Any]:
    certificate, key = _certificate(world, name)
    return {"client-certificate-data": _data(certificate), "client-key-data": _data(key)}


def _certificate_files(world: World, name: str = "bob") -> dict[str, Any]:
    certificate, key = _certificate(world, name)
    return {"client-certificate": str(certificate), "client-key": str(key)}


def _certificate_flags(world: World) -> list[str]:
    certificate, key = _certificate(world, "carol")
    return ["--client-certificate", str(certificate), "--client-key", str(key)]


def _printed_certificate(world: World) -> dict[str, Any]:
    certificate, key = _certificate(world, "plugged")
    return {"clientCertificateData": certificate.read_text(), "clientKeyData": key.read_text()}


ROWS = {
    "a token": Row(user=lambda _: {"token": "abc"}),
    "a token file": Row(user=lambda w: {"tokenFile": w.file("token", "from-file\n")}),
    "a token and a token file": Row(
        user=lambda w: {"token": "abc", "tokenFile": w.file("token", "from-file")}
    ),
    "a token file that is missing": Row(sends=False, user=lambda _: {"tokenFile": "missing"}),
    "a user name and a password": Row(
        user=lambda _: {"username": "alice", "password": "pass:word"}
    ),
    "a token and a user name": Row(
        sends=False, user=lambda _: {"token": "abc", "username": "alice", "password": "x"}
    ),
    "a client certificate as data": Row(user=_certificate_data),
    "a client certificate in files": Row(user=_certificate_files),
    "a client certificate beside a token": Row(
        user=lambda w: _certificate_data(w) | {"token": "abc"}
    ),
    "a client certificate as data and in files": Row(
        sends=False, user=lambda w: _certificate_data(w) | _certificate_files(w)
    ),
    "a client certificate without a key": Row(
        sends=False,
        user=lambda w: {"client-certificate-data": _certificate_data(w)["client-certificate-data"]},
    ),
    "a client certificate that is missing": Row(
        sends=False, user=lambda _: {"client-certificate": "missing", "client-key": "missing"}
    ),
    "as, with groups, uid and extra": Row(
        user=lambda _: {
            "token": "admin",
            "as": "readonly",
            "as-groups": ["viewers", "guests"],
            "as-uid": "42",
            "as-user-extra": {"scopes": ["a", "b"], "example.com/Team name%": ["x"]},
        }
    ),
    "groups without as": Row(
        sends=False, user=lambda _: {"token": "admin", "as-groups": ["viewers"]}
    ),
    "--as and --as-group": Row(
        user=lambda _: {"token": "admin"},
        flags=lambda _: ["--as", "bob", "--as-group", "a", "--as-group", "b"],
    ),
    "--as over as, whose groups stay": Row(
        user=lambda _: {"token": "admin", "as": "alice", "as-groups": ["viewers"]},
        flags=lambda _: ["--as", "bob"],
    ),
    "--as-uid and --as-user-extra": Row(
        user=lambda _: {"token": "admin"},
        flags=lambda _: [
            "--as=bob",
            "--as-uid=7",
            "--as-user-extra=team=a",
            "--as-user-extra=team=b=c",
        ],
    ),
    "--as-uid alone": Row(
        sends=False, user=lambda _: {"token": "admin"}, flags=lambda _: ["--as-uid", "7"]
    ),
    "--token beside a plugin": Row(
        user=lambda w: w.plugin({"token": "plugged"}), flags=lambda _: ["--token", "flag"]
    ),
    "--username and --password": Row(
        user=lambda _: {}, flags=lambda _: ["--username", "alice", "--password", "secret"]
    ),
    "--client-certificate over data": Row(user=_certificate_data, flags=_certificate_flags),
    "the CA as data": Row(
        cluster=lambda w: {"certificate-authority-data": _data(w.authority.file)}
    ),
    "the CA as data and as a file": Row(
        sends=False,
        cluster=lambda w: _ca(w) | {"certificate-authority-data": _data(w.authority.file)},
    ),
    "a CA that is missing": Row(
        sends=False, cluster=lambda _: {"certificate-authority": "missing"}
    ),
    "the server's own certificate as the CA": Row(
        cluster=lambda w: {"certificate-authority": str(w.certificate)}
    ),
    "another CA": Row(sends=False, cluster=lambda w: {"certificate-authority": str(w.other.file)}),
    "another CA, and --certificate-authority": Row(
        cluster=lambda w: {"certificate-authority-data": _data(w.other.file)},
        flags=lambda w: ["--certificate-authority", str(w.authority.file)],
    ),
    "no CA": Row(sends=False, cluster=lambda _: {"certificate-authority": None}),
    "no CA, insecure": Row(
        cluster=lambda _: {"certificate-authority": None, "insecure-skip-tls-verify": True}
    ),
    "a CA, insecure": Row(
        sends=False, cluster=lambda w: _ca(w) | {"insecure-skip-tls-verify": True}
    ),
    "--insecure-skip-tls-verify over a CA": Row(
        cluster=lambda w: {"certificate-authority": str(w.other.file)},
        flags=lambda _: ["--insecure-skip-tls-verify"],
    ),
    "tls-server-name": Row(cluster=lambda w: _ca(w) | {"tls-server-name": "other.test"}),
    "tls-server-name that the certificate lacks": Row(
        sends=False, cluster=lambda w: _ca(w) | {"tls-server-name": "wrong.test"}
    ),
    "--tls-server-name": Row(flags=lambda _: ["--tls-server-name", "other.test"]),
    "--server takes tls-server-name away": Row(
        cluster=lambda w: _ca(w) | {"tls-server-name": "wrong.test"},
        flags=lambda w: ["--server", w.script.url],
    ),
    "-s": Row(
        cluster=lambda w: _ca(w) | {"server": "https://127.0.0.1:1"},
        flags=lambda w: ["-s", w.script.url],
    ),
    "a server without a scheme, which means plain http": Row(
        sends=False, cluster=lambda w: _ca(w) | {"server": w.script.url.removeprefix("https://")}
    ),
    "a server with a path": Row(
        cluster=lambda w: _ca(w) | {"server": f"{w.script.url}/k8s/clusters/c-1"}
    ),
    "plain http with a token and as": Row(
        sends=False,
        cluster=lambda w: {"server": w.script.url.replace("https", "http")},
        user=lambda _: {"token": "abc"},
    ),
    "proxy-url http": Row(by_name=True, cluster=lambda w: _ca(w) | {"proxy-url": w.connect.url}),
    "proxy-url http with a password": Row(
        by_name=True,
        cluster=lambda w: _ca(w) | {"proxy-url": w.connect.url.replace("//", "//alice:s%3Acret@")},
    ),
    "proxy-url https": Row(by_name=True, cluster=lambda w: _ca(w) | {"proxy-url": w.secure.url}),
    "proxy-url socks5": Row(by_name=True, cluster=lambda w: _ca(w) | {"proxy-url": w.socks.url}),
    "proxy-url socks5 and tls-server-name": Row(
        by_name=True,
        cluster=lambda w: _ca(w) | {"proxy-url": w.socks.url, "tls-server-name": "other.test"},
    ),
    "proxy-url http and tls-server-name": Row(
        by_name=True,
        cluster=lambda w: _ca(w) | {"proxy-url": w.connect.url, "tls-server-name": "other.test"},
    ),
    "proxy-url with a scheme that there is not": Row(
        sends=False,
        by_name=True,
        cluster=lambda w: _ca(w) | {"proxy-url": w.connect.url.replace("http", "ftp")},
    ),
    "proxy-url over HTTPS_PROXY": Row(
        by_name=True,
        cluster=lambda w: _ca(w) | {"proxy-url": w.connect.url},
        environment=lambda w: {"HTTPS_PROXY": w.socks.url},
    ),
    "proxy-url over NO_PROXY": Row(
        by_name=True,
        cluster=lambda w: _ca(w) | {"proxy-url": w.connect.url},
        environment=lambda _: {"NO_PROXY": "*"},
    ),
    "HTTPS_PROXY": Row(by_name=True, environment=lambda w: {"HTTPS_PROXY": w.connect.url}),
    "https_proxy": Row(by_name=True, environment=lambda w: {"https_proxy": w.connect.url}),
    "HTTPS_PROXY over https_proxy": Row(
        by_name=True,
        environment=lambda w: {"HTTPS_PROXY": w.connect.url, "https_proxy": w.socks.url},
    ),
    "HTTPS_PROXY without a scheme": Row(
        by_name=True, environment=lambda w: {"HTTPS_PROXY": w.connect.url.removeprefix("http://")}
    ),
    "HTTPS_PROXY with https": Row(
        by_name=True, environment=lambda w: {"HTTPS_PROXY": w.secure.url}
    ),
    "HTTPS_PROXY with socks5": Row(
        by_name=True, environment=lambda w: {"HTTPS_PROXY": w.socks.url}
    ),
    "HTTPS_PROXY with socks5h": Row(
        by_name=True,
        environment=lambda w: {"HTTPS_PROXY": w.socks.url.replace("socks5", "socks5h")},
    ),
    "HTTP_PROXY, which is not for https": Row(
        sends=False, by_name=True, environment=lambda w: {"HTTP_PROXY": w.connect.url}
    ),
    "HTTPS_PROXY towards this machine": Row(
        environment=lambda _: {"HTTPS_PROXY": "http://127.0.0.1:1"}
    ),
    "NO_PROXY with the name": Row(
        sends=False,
        by_name=True,
        environment=lambda w: {"HTTPS_PROXY": w.connect.url, "NO_PROXY": f"a.test, {NAME}"},
    ),
    "NO_PROXY with a suffix": Row(
        sends=False,
        by_name=True,
        environment=lambda w: {"HTTPS_PROXY": w.connect.url, "NO_PROXY": ".test"},
    ),
    "no_proxy with the domain": Row(
        sends=False,
        by_name=True,
        environment=lambda w: {"HTTPS_PROXY": w.connect.url, "no_proxy": "test"},
    ),
    "NO_PROXY with another port": Row(
        by_name=True, environment=lambda w: {"HTTPS_PROXY": w.connect.url, "NO_PROXY": f"{NAME}:1"}
    ),
    "NO_PROXY with names that only look alike": Row(
        by_name=True,
        environment=lambda w: {
            "HTTPS_PROXY": w.connect.url,
            "NO_PROXY": "netes.test,x.kubernetes.test",
        },
    ),
    "an exec plugin": Row(user=lambda w: w.plugin({"token": "plugged"})),
    "an exec plugin of v1beta1 without interactiveMode": Row(
        user=lambda w: w.plugin({"token": "plugged"}, "v1beta1", interactiveMode=None)
    ),
    "an exec plugin of v1 without interactiveMode": Row(
        sends=False, user=lambda w: w.plugin({"token": "plugged"}, interactiveMode=None)
    ),
    "an exec plugin with an unknown interactiveMode": Row(
        sends=False, user=lambda w: w.plugin({"token": "plugged"}, interactiveMode="Sometimes")
    ),
    "an exec plugin that always needs a terminal": Row(
        sends=False, user=lambda w: w.plugin({"token": "plugged"}, interactiveMode="Always")
    ),
    "an exec plugin of an unknown version": Row(
        sends=False, user=lambda w: w.plugin({"token": "plugged"}, "v1alpha1")
    ),
    "an exec plugin with a certificate": Row(user=lambda w: w.plugin(_printed_certificate(w))),
    "an exec plugin with a certificate and a token": Row(
        user=lambda w: w.plugin(_printed_certificate(w) | {"token": "plugged"})
    ),
    "an exec plugin with a certificate and no key": Row(
        sends=False,
        user=lambda w: w.plugin(
            {"clientCertificateData": _printed_certificate(w)["clientCertificateData"]}
        ),
    ),
    "an exec plugin that answers in another version": Row(
        sends=False,
        user=lambda w: {
            "exec": w.plugin({"token": "x"})["exec"]
            | {"apiVersion": "client.authentication.k8s.io/v1beta1"}
        },
    ),
    "an exec plugin without a status": Row(sends=False, user=lambda w: w.plugin({})),
    "an exec plugin that fails": Row(sends=False, user=lambda w: w.plugin(None)),
    "an exec plugin that is missing": Row(
        sends=False,
        user=lambda w: {"exec": w.plugin({"token": "x"})["exec"] | {"command": "missing-plugin"}},
    ),
    "an exec plugin without a command": Row(
        sends=False, user=lambda w: {"exec": w.plugin({"token": "x"})["exec"] | {"command": ""}}
    ),
    "an exec plugin beside a token": Row(
        user=lambda w: w.plugin({"token": "plugged"}) | {"token": "abc"}
    ),
    "an exec plugin beside a certificate": Row(
        user=lambda w: w.plugin({"token": "plugged"}) | _certificate_data(w)
    ),
    "an exec plugin that gets no cluster": Row(user=lambda w: w.echo("info")),
    "an exec plugin that gets the cluster": Row(
        user=lambda w: w.echo("info", provideClusterInfo=True)
    ),
    "an exec plugin of v1beta1 that gets the cluster": Row(
        user=lambda w: w.echo(
            "info", provideClusterInfo=True, apiVersion="client.authentication.k8s.io/v1beta1"
        )
    ),
    "an exec plugin that gets everything of the cluster": Row(
        by_name=True,
        cluster=lambda w: (
            _ca(w)
            | {
                "tls-server-name": "other.test",
                "proxy-url": w.connect.url,
                "disable-compression": True,
                "extensions": [
                    {"name": "other", "extension": {"a": 1}},
                    {
                        "name": "client.authentication.k8s.io/exec",
                        "extension": {"audience": "06e3fbd1", "n": [1, None]},
                    },
                ],
            }
        ),
        user=lambda w: w.echo("info", provideClusterInfo=True),
    ),
    "an exec plugin that gets the flags' cluster": Row(
        user=lambda w: w.echo("info", provideClusterInfo=True),
        flags=lambda _: ["--tls-server-name", "other.test"],
    ),
    "an exec plugin with env, over the environment's": Row(
        user=lambda w: w.echo(
            "[os.environ.get(name) for name in ('A', 'B')]", env=[{"name": "A", "value": "plugin"}]
        ),
        environment=lambda _: {"A": "mine", "B": "mine"},
    ),
    "an exec plugin and as": Row(user=lambda w: w.plugin({"token": "plugged"}) | {"as": "bob"}),
    "--cluster": Row(
        cluster=lambda _: {"certificate-authority": "missing"},
        flags=lambda _: ["--cluster", "spare"],
    ),
    "--user": Row(user=lambda _: {"token": "abc"}, flags=lambda _: ["--user", "spare"]),
    "--context": Row(user=lambda _: {"token": "abc"}, flags=lambda _: ["--context", "spare"]),
    "--cluster that there is not": Row(sends=False, flags=lambda _: ["--cluster", "missing"]),
    "--user that there is not": Row(sends=False, flags=lambda _: ["--user", "missing"]),
    "--context that there is not": Row(sends=False, flags=lambda _: ["--context", "missing"]),
    "disable-compression": Row(cluster=lambda w: _ca(w) | {"disable-compression": True}),
    "--disable-compression": Row(flags=lambda _: ["--disable-compression"]),
    "--request-timeout": Row(flags=lambda _: ["--request-timeout", "10s"]),
    "a token that is a number": Row(sends=False, user=lambda _: {"token": 123}),
    "a CA that is not base64": Row(
        sends=False, cluster=lambda _: {"certificate-authority-data": "???"}
    ),
    "null means absent": Row(
        user=lambda _: {"token": "abc", "exec": None, "as-groups": None, "tokenFile": None}
    ),
    "fields that nobody knows": Row(
        cluster=lambda w: _ca(w) | {"new-field": 1},
        user=lambda _: {"token": "abc", "new-field": {"a": 1}},
    ),
}


def _kubeconfig(world: World, row: Row) -> dict[str, Any]:
    server = f"https://{NAME}:6443" if row.by_name else world.script.url
    cluster = {"server": server} | (_ca(world) | row.cluster(world))
    if "certificate-authority-data" in row.cluster(
        world
    ) and "certificate-authority" not in row.cluster(world):
        del cluster["certificate-authority"]
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [
            {"name": "test", "context": {"cluster": "test", "user": "test"} | row.context},
            {"name": "spare", "context": {"cluster": "spare", "user": "spare"}},
        ],
        "clusters": [
            {"name": "test", "cluster": cluster},
            {"name": "spare", "cluster": {"server": world.script.url} | _ca(world)},
        ],
        "users": [
            {"name": "test", "user": row.user(world)},
            {"name": "spare", "user": {"token": "spare"}},
        ],
    }


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_kubectl_and_raysweep_send_the_same_requests(
    row: Row, world: World, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    del capfd  # plugins write to the real stderr
    path = world.folder / "config"
    path.write_text(json.dumps(_kubeconfig(world, row)))
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(path))
    for name, value in row.environment(world).items():
        monkeypatch.setenv(name, value)
    words = row.flags(world)
    theirs = await _seen(world, _by_kubectl(world, words))
    ours = await _seen(world, _by_us(words))
    assert ours == theirs
    assert (ours is not None) == row.sends


@dataclass(frozen=True)
class Files:
    """Files of kubeconfigs. `write` creates them in HOME and returns flags and variables."""

    write: Callable[[World, Path], tuple[list[str], dict[str, str]]]
    sends: bool = True


def _config(world: World, token: str, current: str = "test", **users: Any) -> str:
    """A complete kubeconfig whose user `test` has this token."""
    named = {"test": {"token": token}} | users
    config = {
        "current-context": current,
        "contexts": [
            {"name": name, "context": {"cluster": "test", "user": name}} for name in named
        ],
        "clusters": [{"name": "test", "cluster": {"server": world.script.url} | _ca(world)}],
        "users": [{"name": name, "user": user} for name, user in named.items()],
    }
    return json.dumps(config)


def _listed(*names: str, **texts: Callable[[World], str]) -> Files:
    """The variable KUBECONFIG with these names, some of which exist."""

    def write(world: World, folder: Path) -> tuple[list[str], dict[str, str]]:
        for name, text in texts.items():
            (folder / name).write_text(text(world))
        return [], {"KUBECONFIG": ":".join(str(folder / name) if name else "" for name in names)}

    return Files(write)


def _relative(world: World, folder: Path) -> tuple[list[str], dict[str, str]]:
    (folder / "sub").mkdir()
    (folder / "sub" / "token").write_text("by-path")
    (folder / "sub" / "config").write_text(_config(world, "x", "here", here={"tokenFile": "token"}))
    return [], {"KUBECONFIG": str(folder / "sub" / "config")}


def _relative_plugin(world: World, folder: Path) -> tuple[list[str], dict[str, str]]:
    (folder / "bin").mkdir()
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "by-path"},
    }
    (folder / "bin" / "plugin").write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    (folder / "bin" / "plugin").chmod(0o755)
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "bin/plugin",
        "interactiveMode": "Never",
    }
    (folder / "config").write_text(_config(world, "x", "here", here={"exec": plugin}))
    return ["--kubeconfig", str(folder / "config")], {}


def _at_home(world: World, folder: Path) -> tuple[list[str], dict[str, str]]:
    (folder / ".kube").mkdir()
    (folder / ".kube" / "config").write_text(_config(world, "home"))
    return [], {"KUBECONFIG": ""}


def _flag_over_variable(world: World, folder: Path) -> tuple[list[str], dict[str, str]]:
    (folder / "one").write_text(_config(world, "one"))
    (folder / "two").write_text(_config(world, "two"))
    return ["--kubeconfig", str(folder / "two")], {"KUBECONFIG": str(folder / "one")}


def _missing_flag(world: World, folder: Path) -> tuple[list[str], dict[str, str]]:
    (folder / "one").write_text(_config(world, "one"))
    return ["--kubeconfig", str(folder / "missing")], {"KUBECONFIG": str(folder / "one")}


def _only_flags(world: World, folder: Path) -> tuple[list[str], dict[str, str]]:
    words = [
        "--server",
        world.script.url,
        "--token",
        "flag",
        "--certificate-authority",
        str(world.authority.file),
    ]
    return words, {"KUBECONFIG": str(folder / "missing")}


def _with_anchors(world: World) -> str:
    return (
        f"base: &base {{server: '{world.script.url}', "
        f"certificate-authority: {world.authority.file}}}\n"
        "current-context: &name test\n"
        "contexts: [{name: *name, context: {cluster: *name, user: *name}}]\n"
        "clusters: [{name: *name, cluster: *base}]\n"
        "users: [{name: *name, user: {token: anchored}}]\n"
    )


FILES = {
    "two files, of which the first wins": _listed(
        "a", "b", a=lambda w: _config(w, "a"), b=lambda w: _config(w, "b")
    ),
    "a file that is missing": _listed("missing", "b", b=lambda w: _config(w, "b")),
    "empty names in the list": _listed("", "b", "", b=lambda w: _config(w, "b")),
    "the same file twice": _listed("b", "b", b=lambda w: _config(w, "b")),
    "the current context of the first file that has one": _listed(
        "a",
        "b",
        a=lambda w: _config(w, "a", "", other={"token": "o"}),
        b=lambda w: _config(w, "b", "other"),
    ),
    "users of one file, the context of another": _listed(
        "a",
        "b",
        a=lambda _: json.dumps({"users": [{"name": "test", "user": {"token": "a"}}]}),
        b=lambda w: _config(w, "b"),
    ),
    "an empty file first": _listed("a", "b", a=lambda _: "", b=lambda w: _config(w, "b")),
    "anchors and aliases": _listed("a", a=_with_anchors),
    "a broken file beside a good one": replace(
        _listed("a", "b", a=lambda _: "{", b=lambda w: _config(w, "b")), sends=False
    ),
    "a list instead of a mapping": replace(_listed("a", a=lambda _: "[]"), sends=False),
    "no current context": replace(_listed("a", a=lambda w: _config(w, "a", "")), sends=False),
    "a current context that there is not": replace(
        _listed("a", a=lambda w: _config(w, "a", "gone")), sends=False
    ),
    "no file at all": replace(_listed("missing"), sends=False),
    "a token file relative to the kubeconfig": Files(_relative),
    "a plugin relative to the kubeconfig": Files(_relative_plugin),
    "~/.kube/config": Files(_at_home),
    "--kubeconfig over KUBECONFIG": Files(_flag_over_variable),
    "--kubeconfig that is missing": Files(_missing_flag, sends=False),
    "flags alone, without any file": Files(_only_flags),
}


@pytest.mark.parametrize("files", FILES.values(), ids=FILES)
async def test_kubectl_and_raysweep_read_the_same_files(
    files: Files, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    words, variables = files.write(world, tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    theirs = await _seen(world, _by_kubectl(world, words))
    ours = await _seen(world, _by_us(words))
    assert ours == theirs
    assert (ours is not None) == files.sends


async def _seen(world: World, request: Any) -> Seen | None:
    proxies = (world.connect, world.secure, world.socks)
    world.script.requests.clear()
    world.names.clear()
    for proxy in proxies:
        proxy.targets.clear()
        proxy.logins.clear()
    await request
    if not world.script.requests:
        return None
    asked: RecordedRequest = world.script.requests[0]
    headers = {name.lower(): value for name, value in asked.headers.items()}
    impersonated = {
        name: value for name, value in headers.items() if name.startswith("impersonate-")
    }
    impersonated.pop("impersonate-group", None)
    proxied = [
        f"{urlsplit(proxy.url).scheme} {host}" for proxy in proxies for host in proxy.targets
    ]
    proxied += [login for proxy in proxies for login in proxy.logins]
    name = world.names[0] if world.names else ""
    sent = headers.get("authorization", "")
    return Seen(
        sent,
        tuple(sorted(impersonated.items())),
        asked.groups,
        asked.certificate,
        name,
        tuple(proxied),
    )


async def _by_kubectl(world: World, words: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        world.kubectl,
        "get",
        "--raw",
        "/version",
        *words,
        env=dict(os.environ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await process.communicate()


async def _by_us(words: list[str]) -> None:
    @click.command
    @flags.connection
    def command(overrides: Overrides) -> Overrides:
        return overrides

    try:
        credentials = Credentials.find(command.main(words, standalone_mode=False))
        await credentials.log_in()
        async with (
            credentials.session() as session,
            session.get(f"{credentials.server}/version") as response,
        ):
            await response.read()
    except (ClientConfigError, aiohttp.ClientError):
        return
