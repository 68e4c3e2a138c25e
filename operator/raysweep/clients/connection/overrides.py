"""The values of kubectl's connection flags. Imports nothing slow, so that `--help` is fast."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from raysweep.core.text import command_line


@dataclass(frozen=True, slots=True)
class Overrides:
    """The values of the flags. None or an empty value means that a flag was not given."""

    kubeconfig: Path | None = None
    context: str | None = None
    cluster: str | None = None
    user: str | None = None
    server: str | None = None
    tls_server_name: str | None = None
    insecure_skip_tls_verify: bool = False
    certificate_authority: str | None = None
    proxy_url: str | None = None
    disable_compression: bool = False
    client_certificate: str | None = None
    client_key: str | None = None
    token: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    as_user: str | None = None
    as_uid: str | None = None
    as_group: tuple[str, ...] = ()
    as_user_extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    request_timeout: timedelta | None = None
    """Zero means no limit."""
    verbosity: int = 0
    """From 6 on, every request is printed to stderr, as with kubectl."""

    def as_flags(self) -> list[str]:
        """The flags for a command that the user can paste, without tokens and passwords."""
        words = []
        for flag, value in self._plain().items():
            words += [flag, value] if value else []
        if self.insecure_skip_tls_verify:
            words.append("--insecure-skip-tls-verify")
        for group in self.as_group:
            words += ["--as-group", group]
        for key, values in self.as_user_extra.items():
            for value in values:
                words += ["--as-user-extra", f"{key}={value}"]
        return words

    def kubectl(self, *words: str) -> str:
        """A kubectl command for the same cluster and user, which the user can paste."""
        return command_line("kubectl", *words, *self.as_flags())

    def _plain(self) -> dict[str, str | None]:
        return {
            "--kubeconfig": str(self.kubeconfig.absolute()) if self.kubeconfig else None,
            "--context": self.context,
            "--cluster": self.cluster,
            "--user": self.user,
            "--server": self.server,
            "--tls-server-name": self.tls_server_name,
            "--certificate-authority": _absolute(self.certificate_authority),
            "--proxy-url": self.proxy_url,
            "--client-certificate": _absolute(self.client_certificate),
            "--client-key": _absolute(self.client_key),
            "--as": self.as_user,
            "--as-uid": self.as_uid,
        }


def _absolute(path: str | None) -> str | None:
    return str(Path(path).absolute()) if path else None
