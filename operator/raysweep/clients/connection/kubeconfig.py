"""Kubeconfig files: their fields, and how several files are merged.

Fields and rules are those of client-go (tools/clientcmd, API `Config` v1), which kubectl uses.
docs/reference/connections.md is generated from the descriptions and the support of each field.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from raysweep.clients.parsing import yaml_text
from raysweep.core.text import plain, quoted

DEFAULT_PATH = Path("~/.kube/config")
EXEC_EXTENSION = "client.authentication.k8s.io/exec"
"""The extension of a cluster that an exec plugin receives as `spec.cluster.config`."""


class ClientConfigError(Exception):
    """An invalid kubeconfig, flag or service account. The text names place, field and remedy."""


class Refused:
    """Marks a field that Raysweep does not support. It is an error in a selected part."""

    def __init__(self, hint: str) -> None:
        self.hint = hint


class NoEffect:
    """Marks a field that kubectl reads without any effect on requests."""


def _decoded(value: object) -> object:
    """Decodes base64, as Go does for a field of type []byte."""
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except binascii.Error:
        raise ValueError("is not valid base64") from None


_Data = Annotated[bytes, BeforeValidator(_decoded)]


class _Part(BaseModel):
    """A part of a kubeconfig. As in kubectl, unknown fields and null are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {key: item for key, item in value.items() if item is not None}


class EnvVar(_Part):
    """An environment variable for an exec plugin."""

    name: str = Field("", description="its name")
    value: str = Field("", description="its value")


class Exec(_Part):
    """An exec credential plugin: a program that prints credentials."""

    command: str = Field(
        "", description="the program; with a slash, relative to the kubeconfig's folder"
    )
    args: list[str] = Field([], description="its arguments")
    env: list[EnvVar] = Field([], description="environment variables added to your own")
    api_version: str = Field(
        "",
        alias="apiVersion",
        description="client.authentication.k8s.io/v1 or v1beta1; the plugin must answer in it",
    )
    install_hint: str = Field(
        "", alias="installHint", description="shown if the program is not found"
    )
    provide_cluster_info: bool = Field(
        False,
        alias="provideClusterInfo",
        description="passes the cluster to the plugin in KUBERNETES_EXEC_INFO",
    )
    interactive_mode: str = Field(
        "",
        alias="interactiveMode",
        description="Never, IfAvailable or Always: whether the plugin gets your terminal",
    )


class NamedExtension(_Part):
    """Data of other tools."""

    name: str = Field("", description="its key")
    extension: Any = Field(None, description="its content")


class Cluster(_Part):
    """An API server: its address and how to verify it."""

    server: str = Field("", description="the address; a path in it is kept")
    tls_server_name: str = Field(
        "",
        alias="tls-server-name",
        description="the name that the certificate must have; also sent as SNI",
    )
    insecure_skip_tls_verify: bool = Field(
        False,
        alias="insecure-skip-tls-verify",
        description="the certificate is not verified; an error beside a CA",
    )
    certificate_authority: str = Field(
        "",
        alias="certificate-authority",
        description="file with the CAs to trust; relative to the kubeconfig's folder",
    )
    certificate_authority_data: _Data = Field(
        b"",
        alias="certificate-authority-data",
        description="the CAs to trust; an error beside the file",
    )
    proxy_url: str = Field(
        "",
        alias="proxy-url",
        description="http, https or socks5 proxy; wins over HTTPS_PROXY and NO_PROXY",
    )
    disable_compression: bool = Field(
        False,
        alias="disable-compression",
        description="no effect: Raysweep never requests compressed responses",
    )
    extensions: list[NamedExtension] = Field(
        [], description=f"only `{EXEC_EXTENSION}`, for exec plugins"
    )


class User(_Part):
    """An identity. Over plain http only impersonation is sent, as in kubectl."""

    client_certificate: str = Field(
        "",
        alias="client-certificate",
        description="certificate file; relative to the kubeconfig's folder",
    )
    client_certificate_data: _Data = Field(
        b"",
        alias="client-certificate-data",
        description="the certificate; an error beside the file",
    )
    client_key: str = Field(
        "", alias="client-key", description="key file; relative to the kubeconfig's folder"
    )
    client_key_data: _Data = Field(
        b"", alias="client-key-data", description="the key; an error beside the file"
    )
    token: str = Field("", description="bearer token")
    token_file: str = Field(
        "",
        alias="tokenFile",
        description="file with a bearer token, read again every 30 s; wins over `token`",
    )
    impersonate: str = Field("", alias="as", description="user to impersonate")
    impersonate_uid: str = Field("", alias="as-uid", description="uid to impersonate; needs `as`")
    impersonate_groups: list[str] = Field(
        [], alias="as-groups", description="groups to impersonate; need `as`"
    )
    impersonate_extra: dict[str, list[str]] = Field(
        {}, alias="as-user-extra", description="extra fields to impersonate; need `as`"
    )
    username: str = Field("", description="for basic authentication")
    password: str = Field("", description="for basic authentication")
    auth_provider: Annotated[
        dict[str, Any] | None,
        Refused(
            "use the exec plugin of your provider, such as gke-gcloud-auth-plugin or kubelogin"
        ),
    ] = Field(None, alias="auth-provider", description="legacy authentication plugin")
    exec: Exec | None = Field(
        None,
        description=(
            "exec credential plugin; not run beside a token, basic authentication or a certificate"
        ),
    )
    extensions: Annotated[list[NamedExtension], NoEffect()] = Field(
        [], description="data of other tools"
    )


class Context(_Part):
    """A cluster, a user and a namespace."""

    cluster: str = Field("", description="name of the cluster")
    user: str = Field("", description="name of the user")
    namespace: str = Field("", description="the namespace, if -n does not name one")
    extensions: Annotated[list[NamedExtension], NoEffect()] = Field(
        [], description="data of other tools"
    )


class NamedCluster(_Part):
    """An entry of `clusters`."""

    name: str = Field("", description="its name in contexts")
    cluster: Cluster = Field(Cluster(), description="see below")


class NamedUser(_Part):
    """An entry of `users`."""

    name: str = Field("", description="its name in contexts")
    user: User = Field(User(), description="see below")


class NamedContext(_Part):
    """An entry of `contexts`."""

    name: str = Field("", description="its name in `current-context` and --context")
    context: Context = Field(Context(), description="see below")


class File(_Part):
    """One kubeconfig file."""

    kind: Annotated[str, NoEffect()] = Field("", description="Config")
    api_version: Annotated[str, NoEffect()] = Field("", alias="apiVersion", description="v1")
    preferences: Annotated[Any, NoEffect()] = Field(None, description="preferences of kubectl")
    clusters: list[NamedCluster] = Field([], description="see below")
    users: list[NamedUser] = Field([], description="see below")
    contexts: list[NamedContext] = Field([], description="see below")
    current_context: str = Field(
        "", alias="current-context", description="the context, if --context does not name one"
    )
    extensions: Annotated[list[NamedExtension], NoEffect()] = Field(
        [], description="data of other tools"
    )


class Kubeconfig:
    """Merged kubeconfig files. The first file wins for each name and for the current context."""

    def __init__(self, paths: tuple[Path, ...], files: tuple[File, ...]) -> None:
        self.paths = paths
        self.clusters: dict[str, Cluster] = {}
        self.users: dict[str, User] = {}
        self.contexts: dict[str, Context] = {}
        self.current_context = ""
        for path, file in zip(paths, files, strict=True):
            self._add(path.parent, file)

    def __str__(self) -> str:
        return ":".join(str(path) for path in self.paths) or "(none)"

    def _add(self, folder: Path, file: File) -> None:
        self.current_context = self.current_context or file.current_context
        for cluster in file.clusters:
            self.clusters.setdefault(cluster.name, _cluster_from(folder, cluster.cluster))
        for user in file.users:
            self.users.setdefault(user.name, _user_from(folder, user.user))
        for context in file.contexts:
            self.contexts.setdefault(context.name, context.context)


def default_paths(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The files that kubectl reads without --kubeconfig: KUBECONFIG or ~/.kube/config."""
    listed = environ.get("KUBECONFIG", "")
    if listed:
        return tuple(dict.fromkeys(Path(part) for part in listed.split(":") if part))
    return (DEFAULT_PATH.expanduser(),)


def read(paths: tuple[Path, ...], *, must_exist: bool) -> Kubeconfig:
    """Reads and merges files. Missing files are ignored unless `must_exist`.

    Raises ClientConfigError.
    """
    files: dict[Path, File] = {}
    for path in paths:
        try:
            files[path] = parse(path.read_bytes(), path)
        except FileNotFoundError:
            if must_exist:
                raise ClientConfigError(
                    f"kubeconfig {path} does not exist. Use --kubeconfig with an existing file."
                ) from None
        except OSError as error:
            raise ClientConfigError(f"kubeconfig {path} cannot be read: {error.strerror}") from None
    return Kubeconfig(tuple(path.absolute() for path in files), tuple(files.values()))


def parse(text: bytes, path: Path) -> File:
    """Parses one file. Raises ClientConfigError."""
    try:
        content = yaml_text.load(text)
    except yaml_text.YamlError as error:
        raise ClientConfigError(f"kubeconfig {path} {error}") from None
    try:
        return File.model_validate({} if content is None else content)
    except ValidationError as error:
        raise ClientConfigError(f"kubeconfig {path}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    """The first problem of a file. Leaves out the value, which may be a secret."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"]) or "the file"
    return f"{place}: {plain(problem['msg'].removeprefix('Value error, '))}"


def _cluster_from(folder: Path, cluster: Cluster) -> Cluster:
    return cluster.model_copy(update=_absolute(folder, cluster, "certificate_authority"))


def _user_from(folder: Path, user: User) -> User:
    update: dict[str, Any] = _absolute(
        folder, user, "client_certificate", "client_key", "token_file"
    )
    if user.exec and "/" in user.exec.command:
        update["exec"] = user.exec.model_copy(update={"command": str(folder / user.exec.command)})
    return user.model_copy(update=update)


def _absolute(folder: Path, part: _Part, *fields: str) -> dict[str, Any]:
    return {name: str(folder / getattr(part, name)) for name in fields if getattr(part, name)}


def field_rows() -> Iterator[tuple[str, str, str]]:
    """Each field, its support and its description, for docs/reference/connections.md."""
    parts: dict[str, type[_Part]] = {
        "": File,
        "clusters[].cluster.": Cluster,
        "users[].user.": User,
        "users[].user.exec.": Exec,
        "contexts[].context.": Context,
    }
    for place, part in parts.items():
        for name, info in part.model_fields.items():
            yield f"`{place}{info.alias or name}`", _support(info), info.description or ""


def _support(info: FieldInfo) -> str:
    for mark in info.metadata:
        if isinstance(mark, Refused):
            return f"refused: {mark.hint}"
        if isinstance(mark, NoEffect):
            return "no effect, as with kubectl"
    return "honored"


def refused_fields(part: _Part, place: str) -> list[str]:
    """A sentence for each field that is set and not supported."""
    problems = []
    for name, info in type(part).model_fields.items():
        refused = [mark for mark in info.metadata if isinstance(mark, Refused)]
        if refused and getattr(part, name):
            field = quoted(info.alias or name)
            problems.append(f"{place} uses {field}, which is not supported: {refused[0].hint}")
    return problems
