"""Connections to a real API server: proxies, TLS names, exec plugins, impersonation, flags."""

import base64
import json
import os
import shlex
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
import yaml

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.heads import Head
from tests.support.operator_process import deploy, running_operator
from tests.support.person import USER_AGENT, Person
from tests.support.proxies import Proxy, connect_proxy, socks_proxy
from tests.support.terminal import run_at_terminal
from tests.support.workbench import Body, Lab, utc_now

NAME = "kubernetes.default.svc"
"""A name that the API server's certificate has, and that nobody but a proxy can look up."""
DUE = {"raysweep.io/ttl": "0"}


@pytest_asyncio.fixture(scope="module")
async def unattended() -> AsyncIterator[Cluster]:
    """A sandbox with an installed Raysweep whose operator does not run."""
    async with sandbox_cluster.start(say=lambda _: None) as running:
        await deploy(running)
        yield running


@pytest_asyncio.fixture(scope="module")
async def quiet(unattended: Cluster) -> Head:
    return await unattended.heads.light("quiet")


@pytest_asyncio.fixture
async def bench(unattended: Cluster, quiet: Head) -> Lab:
    return await Lab.open(unattended, quiet)


async def finished(bench: Lab) -> None:
    """Creates a RayJob that is due and whose head is reachable in both ways."""
    await bench.cluster.route_service(bench.namespace, "train-c-head-svc", bench.head)
    await bench.create_finished("train", annotations=DUE, ended_at=utc_now() - timedelta(minutes=1))


def changed(kubeconfig: Path, folder: Path, *, user: Body | None = None, **cluster: Any) -> Path:
    """A copy of a kubeconfig with changed fields of its cluster and user."""
    config = yaml.safe_load(kubeconfig.read_text())
    for each in config["clusters"]:
        each["cluster"] |= {name.replace("_", "-"): value for name, value in cluster.items()}
    if user is not None:
        config["users"][0]["user"] = user
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


def by_name(kubeconfig: Path, folder: Path, **cluster: Any) -> Path:
    """A copy of a kubeconfig with a server name that only a proxy resolves."""
    return changed(kubeconfig, folder, server=f"https://{NAME}:6443", **cluster)


def port_of(cluster: Cluster) -> int:
    port = urlsplit(cluster.server).port
    assert port
    return port


def somebody(cluster: Cluster, kubeconfig: Path, **variables: str) -> Person:
    return Person(kubeconfig, cluster.kubectl, "", variables)


@asynccontextmanager
async def _environment_connect(
    cluster: Cluster,
) -> AsyncIterator[tuple[Proxy, Body, dict[str, str]]]:
    async with connect_proxy(port_of(cluster)) as proxy:
        yield (
            proxy,
            {},
            {"HTTPS_PROXY": proxy.url, "NO_PROXY": "10.0.0.0/8,127.0.0.0/8,.svc.cluster.local"},
        )


@asynccontextmanager
async def _proxy_url_connect(cluster: Cluster) -> AsyncIterator[tuple[Proxy, Body, dict[str, str]]]:
    async with connect_proxy(port_of(cluster)) as proxy:
        yield proxy, {"proxy_url": proxy.url}, {}


@asynccontextmanager
async def _proxy_url_socks(cluster: Cluster) -> AsyncIterator[tuple[Proxy, Body, dict[str, str]]]:
    async with socks_proxy(port_of(cluster)) as proxy:
        yield proxy, {"proxy_url": proxy.url}, {}


WAYS = {
    "HTTPS_PROXY": _environment_connect,
    "proxy-url http": _proxy_url_connect,
    "proxy-url socks5": _proxy_url_socks,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_lists_deletions_and_heads_use_the_same_proxy(
    way: Any, bench: Lab, tmp_path: Path
) -> None:
    await finished(bench)
    async with way(bench.cluster) as (proxy, fields, variables):
        person = somebody(
            bench.cluster, by_name(bench.cluster.kubeconfig, tmp_path, **fields), **variables
        )
        plan = await person.types("raysweep", "plan", "-n", bench.namespace, "--ask", "-o", "json")
        assert plan.rows["train"]["reason"] == "Expired", plan.err
        swept = await person.types("raysweep", "sweep", "train", "-n", bench.namespace, "--yes")
        assert swept.code == 0, swept.err
    assert set(proxy.targets) == {f"{NAME}:6443"}
    await bench.expect_deleted("rayjobs", "train")


async def test_the_operator_uses_the_proxy_for_watches_deletions_and_heads(
    bench: Lab, tmp_path: Path
) -> None:
    async with socks_proxy(port_of(bench.cluster)) as proxy:
        kubeconfig = by_name(bench.cluster.kubeconfig, tmp_path, proxy_url=proxy.url)
        async with running_operator(
            bench.cluster, kubeconfig, head_access="api-server", head_proxy=""
        ):
            await finished(bench)
            await bench.expect_deleted("rayjobs", "train")
    assert set(proxy.targets) == {f"{NAME}:6443"}


async def test_the_tls_server_name_is_verified_instead_of_the_address(
    bench: Lab, tmp_path: Path
) -> None:
    right = somebody(
        bench.cluster, changed(bench.cluster.kubeconfig, tmp_path, tls_server_name=NAME)
    )
    assert (await right.types("raysweep", "plan", "-n", bench.namespace)).code == 0
    wrong = await right.types(
        "raysweep", "plan", "-n", bench.namespace, "--tls-server-name", "other.example.com"
    )
    assert wrong.code == 1
    assert "other.example.com" in wrong.err


async def grant(lab: Lab, user: str, *rules: Body) -> None:
    """Grants a user these rights in the namespace of the lab."""
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{lab.namespace}"
    await lab.cluster.api.request(
        "POST", f"{rbac}/roles", {"metadata": {"name": user}, "rules": list(rules)}
    )
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
    binding = {"metadata": {"name": user}, "roleRef": reference, "subjects": [subject]}
    await lab.cluster.api.request("POST", f"{rbac}/rolebindings", binding)


READS = {"apiGroups": ["ray.io"], "resources": ["rayjobs", "rayclusters"], "verbs": ["get", "list"]}


def token_of(kubeconfig: Path) -> Body:
    return yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("place", ["kubeconfig", "flags"])
async def test_every_request_impersonates_the_user(place: str, bench: Lab, tmp_path: Path) -> None:
    """The rights of the impersonated user count. The audit log names the user."""
    await grant(bench, "readonly", READS)
    await finished(bench)
    admin = token_of(bench.cluster.kubeconfig)
    user = admin | {
        "as": "readonly",
        "as-groups": ["viewers"],
        "as-user-extra": {"team": ["vision"]},
    }
    words = (
        []
        if place == "kubeconfig"
        else ["--as", "readonly", "--as-group", "viewers", "--as-user-extra", "team=vision"]
    )
    kubeconfig = changed(
        bench.cluster.kubeconfig, tmp_path, user=user if place == "kubeconfig" else admin
    )
    person = somebody(bench.cluster, kubeconfig)
    before = len(await bench.cluster.audit(USER_AGENT))
    plan = await person.types(
        "raysweep", "plan", "-n", bench.namespace, "--all", "-o", "json", *words
    )
    assert plan.rows["train"]["reason"] == "NamespaceUnknown", plan.err
    swept = await person.types("raysweep", "sweep", "train", "-n", bench.namespace, "--yes", *words)
    assert swept.code != 0
    events = (await bench.cluster.audit(USER_AGENT))[before:]
    acted = {json.dumps(event["impersonatedUser"], sort_keys=True) for event in events}
    assert [json.loads(each) for each in acted] == [
        {
            "username": "readonly",
            "groups": ["viewers", "system:authenticated"],
            "extra": {"team": ["vision"]},
        }
    ]
    assert await bench.get("rayjobs", "train")


async def test_the_operator_accepts_the_flags_and_impersonates_in_watches(
    bench: Lab,
) -> None:
    """Every list, watch and deletion of `raysweep run --as` impersonates the user."""
    flags: dict[str, Any] = {"as": "cleaner", "as_group": "system:masters"}
    before = len(await bench.cluster.audit("raysweep"))
    async with running_operator(bench.cluster, bench.cluster.kubeconfig, **flags):
        await finished(bench)
        await bench.expect_deleted("rayjobs", "train")
    events = [
        each
        for each in (await bench.cluster.audit("raysweep"))[before:]
        if each["stage"] == "ResponseComplete"
    ]
    assert {event.get("impersonatedUser", {}).get("username") for event in events} == {"cleaner"}
    assert {"list", "watch", "delete"} <= {event["verb"] for event in events}


def plugin(
    folder: Path,
    token: Body,
    *,
    mode: str = "IfAvailable",
    asks: bool = False,
    cluster: bool = False,
) -> Body:
    """An exec plugin that shows a login code, can wait for Enter, and records its input."""
    code = (
        "import json, os, sys\n"
        f"open({str(folder / 'info')!r}, 'w').write(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "sys.stderr.write('open example.com/device and enter ABCD-1234\\n'); sys.stderr.flush()\n"
        + ("answer = sys.stdin.readline()\nassert answer == 'yes\\n', answer\n" if asks else "")
        + "version = json.loads(os.environ['KUBERNETES_EXEC_INFO'])['apiVersion']\n"
        f"status = {{'token': {token['token']!r}}}\n"
        "print(json.dumps({'apiVersion': version, 'kind': 'ExecCredential', 'status': status}))"
    )
    given = {
        "command": sys.executable,
        "args": ["-c", code],
        "interactiveMode": mode,
        "provideClusterInfo": cluster,
    }
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1"} | given}


async def test_a_plugin_shows_its_login_code_and_reads_from_the_terminal(
    bench: Lab, tmp_path: Path
) -> None:
    user = plugin(
        tmp_path, token_of(bench.cluster.kubeconfig), mode="Always", asks=True, cluster=True
    )
    kubeconfig = changed(bench.cluster.kubeconfig, tmp_path, user=user, tls_server_name=NAME)
    person = somebody(bench.cluster, kubeconfig)
    async with person.typing("raysweep", "plan", "-n", bench.namespace, at_terminal=True) as typed:
        await typed.says("open example.com/device and enter ABCD-1234")
        typed.enters("yes")
        assert await typed.process.wait() == 0, typed.err.decode()
    info = json.loads((tmp_path / "info").read_text())
    assert info["spec"]["interactive"] is True
    assert info["spec"]["cluster"]["server"] == bench.cluster.server
    assert info["spec"]["cluster"]["tls-server-name"] == NAME
    assert b"BEGIN CERTIFICATE" in base64.b64decode(
        info["spec"]["cluster"]["certificate-authority-data"]
    )


async def test_without_a_terminal_an_interactive_plugin_is_an_error(
    bench: Lab, tmp_path: Path
) -> None:
    user = plugin(tmp_path, token_of(bench.cluster.kubeconfig), mode="Always")
    person = somebody(bench.cluster, changed(bench.cluster.kubeconfig, tmp_path, user=user))
    answer = await person.types("raysweep", "plan", "-n", bench.namespace)
    assert answer.code == 1
    assert "interactiveMode Always" in answer.err
    assert not (tmp_path / "info").exists()


async def test_the_output_of_a_plugin_reaches_the_screen_unchanged(
    bench: Lab, tmp_path: Path
) -> None:
    user = plugin(tmp_path, token_of(bench.cluster.kubeconfig))
    kubeconfig = changed(bench.cluster.kubeconfig, tmp_path, user=user)
    program = str(Path(sys.executable).parent / "raysweep")
    words = [program, "plan", "-n", bench.namespace, "--kubeconfig", str(kubeconfig)]
    shown = await run_at_terminal(words, dict(os.environ))
    assert shown.code == 0
    assert "open example.com/device and enter ABCD-1234" in shown.text


async def test_flags_alone_define_a_connection(bench: Lab, tmp_path: Path) -> None:
    """Without a kubeconfig. -v 6 prints each request and no token."""
    kubeconfig = yaml.safe_load(bench.cluster.kubeconfig.read_text())
    cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    token = user["token"]
    person = somebody(bench.cluster, tmp_path / "missing")
    flags = [
        "--server",
        cluster["server"],
        "--certificate-authority",
        cluster["certificate-authority"],
        "--token",
        token,
    ]
    answer = await person.types(
        "raysweep", "plan", "-n", bench.namespace, "--request-timeout", "20s", "-v", "6", *flags
    )
    assert answer.code == 0, answer.err
    assert (
        f"GET {cluster['server']}/apis/ray.io/v1/namespaces/{bench.namespace}/rayjobs" in answer.err
    )
    assert token not in answer.err


async def kubectls_flags(cluster: Cluster) -> Mapping[str, str]:
    answer = await somebody(cluster, cluster.kubeconfig).types("options")
    words = (line.split()[0:2] for line in answer.out.splitlines() if line.strip().startswith("-"))
    return {
        word.split("=")[0].rstrip(":,"): ""
        for pair in words
        for word in pair
        if word.startswith("--")
    }


async def test_every_global_flag_of_kubectl_is_documented(unattended: Cluster) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "connections.md").read_text()
    missing = [flag for flag in await kubectls_flags(unattended) if f"`{flag}`" not in page]
    assert missing == []


async def test_an_unsupported_flag_is_named(unattended: Cluster) -> None:
    answer = await somebody(unattended, unattended.kubeconfig).types(
        "raysweep", "plan", "--cache-dir", "x"
    )
    assert answer.code == 2
    assert "--cache-dir" in answer.err


async def test_the_printed_patch_uses_the_same_connection(bench: Lab) -> None:
    """The command that `keep` prints uses the same cluster and user and holds no token."""
    await bench.create_finished(
        "train", spec={"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 600}
    )
    person = somebody(bench.cluster, bench.cluster.kubeconfig)
    words = ["--as", "alice", "--as-group", "system:masters"]
    kept = await person.types("raysweep", "keep", "train", "3d", "-n", bench.namespace, *words)
    line = next(
        line for line in kept.out.splitlines() + kept.err.splitlines() if "kubectl patch" in line
    )
    command = shlex.split(line[line.index("kubectl patch") :])
    assert command[command.index("--as") + 1] == "alice"
    assert command[command.index("--as-group") + 1] == "system:masters"
    pasted = await person.pastes(line[line.index("kubectl patch") :])
    assert pasted.code == 0, pasted.err


async def test_loopback_addresses_bypass_the_proxy(bench: Lab) -> None:
    """As in kubectl, proxies of the environment do not apply to addresses of this machine."""
    person = somebody(bench.cluster, bench.cluster.kubeconfig, HTTPS_PROXY="http://127.0.0.1:9")
    assert (await person.types("raysweep", "plan", "-n", bench.namespace)).code == 0
