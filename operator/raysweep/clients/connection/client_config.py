"""Merges kubeconfig files, flags and the service account into one cluster, user and namespace.

The rules are those of client-go (tools/clientcmd: DirectClientConfig and
DeferredLoadingClientConfig).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from raysweep.clients.connection import kubeconfig
from raysweep.clients.connection.kubeconfig import ClientConfigError, Cluster, Kubeconfig, User
from raysweep.clients.connection.overrides import Overrides
from raysweep.core.text import quoted

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PROXY_SCHEMES = ("http", "https", "socks5")
INTERACTIVE_MODES = ("Never", "IfAvailable", "Always")
EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """The configuration of a connection. Errors name its `source`."""

    cluster: Cluster
    user: User = field(repr=False)
    source: str
    namespace: str = "default"
    pod_namespace: str = ""
    """The namespace of this Pod. Empty if the identity is not the Pod's service account."""
    request_timeout: timedelta | None = None


def find(
    overrides: Overrides, environ: Mapping[str, str], service_account: Path | None = None
) -> ClientConfig:
    """Uses flags, KUBECONFIG and ~/.kube/config as kubectl does, or else the service account.

    Raises ClientConfigError.
    """
    service_account = service_account or SERVICE_ACCOUNT
    explicit = overrides.kubeconfig
    paths = (explicit,) if explicit else kubeconfig.default_paths(environ)
    merged = kubeconfig.read(paths, must_exist=explicit is not None)
    if merged.paths or overrides.server:
        return from_kubeconfig(merged, overrides)
    if _is_in_pod(environ, service_account):
        return in_cluster(overrides, environ, service_account)
    raise ClientConfigError(_not_found_message(paths, environ))


def from_kubeconfig(config: Kubeconfig, overrides: Overrides) -> ClientConfig:
    """The cluster and the user of the context, changed by flags. Raises ClientConfigError."""
    source = f"kubeconfig {config}" if config.paths else "the connection flags"
    context = _context(config, overrides, source)
    cluster_name = overrides.cluster or context.cluster
    user_name = overrides.user or context.user
    cluster = _part(config.clusters, cluster_name, "cluster", source, required=not overrides.server)
    user = _part(config.users, user_name, "user", source, required=overrides.user is not None)
    cluster = _with_cluster_flags(cluster or Cluster(), overrides)
    user = _with_user_flags(user or User(), overrides)
    cluster_place = f"cluster {quoted(cluster_name)}" if cluster_name else "the cluster"
    user_place = f"user {quoted(user_name)}" if user_name else "the user"
    _check(source, _cluster_problems(cluster, cluster_place), _user_problems(user, user_place))
    return ClientConfig(
        _with_scheme(cluster),
        _with_exec_defaults(user),
        source,
        namespace=context.namespace or "default",
        request_timeout=overrides.request_timeout,
    )


def in_cluster(
    overrides: Overrides, environ: Mapping[str, str], service_account: Path | None = None
) -> ClientConfig:
    """Uses the service account of this Pod: its folder and KUBERNETES_SERVICE_HOST and _PORT.

    Raises ClientConfigError.
    """
    folder = service_account or SERVICE_ACCOUNT
    source = f"service account in {folder}"
    host = environ.get("KUBERNETES_SERVICE_HOST", "")
    port = environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise ClientConfigError(
            f"{source}: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be set"
        )
    for name in ("token", "ca.crt"):
        if not _content(folder / name):
            raise ClientConfigError(f"{source}: {name} is missing or empty")
    address = f"[{host}]" if ":" in host else host
    cluster = Cluster(
        server=f"https://{address}:{port}", certificate_authority=str(folder / "ca.crt")
    )
    cluster = _with_cluster_flags(cluster, overrides)
    user = _with_user_flags(User(token_file=str(folder / "token")), overrides)
    _check(source, _cluster_problems(cluster, "the cluster"), _user_problems(user, "the user"))
    pod_namespace = _content(folder / "namespace")
    return ClientConfig(
        cluster,
        user,
        source,
        namespace=environ.get("POD_NAMESPACE") or pod_namespace or "default",
        pod_namespace=pod_namespace,
        request_timeout=overrides.request_timeout,
    )


def _check(source: str, *problems: list[str]) -> None:
    sentences = [sentence for part in problems for sentence in part]
    if sentences:
        raise ClientConfigError(f"{source}: {'; '.join(sentences)}")


def _is_in_pod(environ: Mapping[str, str], folder: Path) -> bool:
    has_address = environ.get("KUBERNETES_SERVICE_HOST") and environ.get("KUBERNETES_SERVICE_PORT")
    return bool(has_address) and (folder / "token").is_file()


def _content(path: Path) -> str:
    """The stripped text of a file. Empty if the file cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _not_found_message(paths: tuple[Path, ...], environ: Mapping[str, str]) -> str:
    listed = ", ".join(str(path) for path in paths)
    origin = "named by KUBECONFIG" if environ.get("KUBECONFIG") else "KUBECONFIG is not set"
    return (
        f"no kubeconfig found at {listed} ({origin}), and this is not a Pod. "
        "Set KUBECONFIG, or use --kubeconfig FILE or --server URL."
    )


def _context(config: Kubeconfig, overrides: Overrides, source: str) -> kubeconfig.Context:
    name = overrides.context or config.current_context
    if name in config.contexts:
        return config.contexts[name]
    if not name and (overrides.server or overrides.cluster):
        return kubeconfig.Context()
    hint = f"Use --context with one of: {_listed(config.contexts)}."
    if name:
        raise ClientConfigError(f"context {quoted(name)} does not exist in {source}. {hint}")
    raise ClientConfigError(f"{source} has no current-context. {hint}")


def _part(parts: Mapping[str, Any], name: str, kind: str, source: str, *, required: bool) -> Any:
    """The cluster or the user with a name. None if the name is empty and not required."""
    if name in parts:
        return parts[name]
    if name:
        raise ClientConfigError(f"{source} has no {kind} {quoted(name)}. Known: {_listed(parts)}.")
    if required:
        raise ClientConfigError(f"{source}: the context names no {kind}. Use --{kind}.")
    return None


def _listed(parts: Mapping[str, Any]) -> str:
    return ", ".join(sorted(parts)) or "none"


def _with_cluster_flags(cluster: Cluster, flags: Overrides) -> Cluster:
    update: dict[str, Any] = {}
    if flags.insecure_skip_tls_verify or flags.certificate_authority:
        update["insecure_skip_tls_verify"] = flags.insecure_skip_tls_verify
        update["certificate_authority"] = flags.certificate_authority or ""
        update["certificate_authority_data"] = b""
    if flags.server or flags.tls_server_name:
        update["tls_server_name"] = flags.tls_server_name or ""
    update |= _non_empty(
        server=flags.server,
        proxy_url=flags.proxy_url,
        disable_compression=flags.disable_compression,
    )
    return cluster.model_copy(update=update)


def _with_user_flags(user: User, flags: Overrides) -> User:
    update = _non_empty(
        username=flags.username,
        password=flags.password,
        impersonate=flags.as_user,
        impersonate_uid=flags.as_uid,
        impersonate_groups=list(flags.as_group),
        impersonate_extra={key: list(values) for key, values in flags.as_user_extra.items()},
    )
    if flags.token:
        update |= {"token": flags.token, "token_file": ""}
    if flags.client_certificate:
        update |= {"client_certificate": flags.client_certificate, "client_certificate_data": b""}
    if flags.client_key:
        update |= {"client_key": flags.client_key, "client_key_data": b""}
    return user.model_copy(update=update)


def _non_empty(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _cluster_problems(cluster: Cluster, place: str) -> list[str]:
    problems = kubeconfig.refused_fields(cluster, place)
    has_file = bool(cluster.certificate_authority)
    has_data = bool(cluster.certificate_authority_data)
    if not cluster.server:
        problems.append(f"{place} has no server")
    elif not _is_address(cluster.server):
        problems.append(
            f"{place}: server {quoted(cluster.server)} is not an address such as https://HOST:PORT"
        )
    if cluster.proxy_url and not is_proxy(cluster.proxy_url):
        schemes = ", ".join(PROXY_SCHEMES)
        problems.append(f"{place}: proxy-url must be a URL with one of the schemes {schemes}")
    if has_file and has_data:
        problems.append(
            f"{place} has both certificate-authority and certificate-authority-data; keep one"
        )
    if cluster.insecure_skip_tls_verify and (has_file or has_data):
        problems.append(
            f"{place} has insecure-skip-tls-verify beside a certificate authority; keep one"
        )
    if has_file:
        problems += _unreadable(cluster.certificate_authority, "certificate-authority", place)
    return problems


def _is_address(server: str) -> bool:
    try:
        parts = urlsplit(server if "://" in server else f"https://{server}")
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_proxy(url: str) -> bool:
    """Whether a URL is the address of a proxy of a kind that kubectl supports."""
    try:
        parts = urlsplit(url)
        return parts.scheme in PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _user_problems(user: User, place: str) -> list[str]:
    problems = kubeconfig.refused_fields(user, place)
    if user.token and (user.username or user.password):
        problems.append(f"{place} has both a token and a username or password; keep one")
    needs_user = user.impersonate_uid or user.impersonate_groups or user.impersonate_extra
    if needs_user and not user.impersonate:
        problems.append(f"{place} has as-uid, as-groups or as-user-extra without as")
    return problems + _certificate_problems(user, place) + _exec_problems(user.exec, place)


def _certificate_problems(user: User, place: str) -> list[str]:
    has_file, has_data = bool(user.client_certificate), bool(user.client_certificate_data)
    if not has_file and not has_data:
        return []
    problems = []
    if has_file and has_data:
        problems.append(
            f"{place} has both client-certificate and client-certificate-data; keep one"
        )
    if user.client_key and user.client_key_data:
        problems.append(f"{place} has both client-key and client-key-data; keep one")
    if not user.client_key and not user.client_key_data:
        problems.append(f"{place} has a client certificate without client-key or client-key-data")
    if has_file:
        problems += _unreadable(user.client_certificate, "client-certificate", place)
    if user.client_key:
        problems += _unreadable(user.client_key, "client-key", place)
    return problems


def _exec_problems(plugin: kubeconfig.Exec | None, place: str) -> list[str]:
    if plugin is None:
        return []
    problems = []
    if not plugin.command:
        problems.append(f"{place}: exec has no command")
    if plugin.api_version not in EXEC_VERSIONS:
        version, versions = quoted(plugin.api_version), " or ".join(EXEC_VERSIONS)
        problems.append(f"{place}: exec.apiVersion is {version}; use {versions}")
    if any(not variable.name for variable in plugin.env):
        problems.append(f"{place}: exec.env has an entry without a name")
    mode, needs_mode = plugin.interactive_mode, plugin.api_version == EXEC_VERSIONS[0]
    if mode not in INTERACTIVE_MODES and (mode or needs_mode):
        modes = ", ".join(INTERACTIVE_MODES)
        problems.append(f"{place}: exec.interactiveMode is {quoted(mode)}; use {modes}")
    return problems


def _unreadable(path: str, key: str, place: str) -> list[str]:
    if os.access(path, os.R_OK):
        return []
    return [f"{place}: the file {path} of {key} cannot be read"]


def _with_scheme(cluster: Cluster) -> Cluster:
    """Adds http to a server without a scheme."""
    if "://" in cluster.server:
        return cluster
    return cluster.model_copy(update={"server": f"http://{cluster.server}"})


def _with_exec_defaults(user: User) -> User:
    """Adds the default interactiveMode of v1beta1, IfAvailable, as client-go does."""
    if user.exec is None or user.exec.interactive_mode:
        return user
    plugin = user.exec.model_copy(update={"interactive_mode": "IfAvailable"})
    return user.model_copy(update={"exec": plugin})
