"""TLS towards an API server: whom to trust, and the certificate of the user."""

import os
import ssl
import tempfile
from pathlib import Path

from raysweep.clients.connection.kubeconfig import ClientConfigError, Cluster, User
from raysweep.core.text import plain


class _Context(ssl.SSLContext):
    """A context for one server. Whatever address leads there, its certificate must have that server's name."""

    server_name = ""
    """Empty: the certificate must have the name of the address."""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As asyncio calls it for a new connection."""
        return super().wrap_bio(
            incoming, outgoing, server_side, self.server_name or server_hostname, session
        )


def context(cluster: Cluster, user: User, source: str) -> ssl.SSLContext:
    """A context for the connections of one session. Raises ClientConfigError.

    As in Go, any certificate among the CAs is trusted, and a CA needs no key identifier.
    """
    made = _Context(ssl.PROTOCOL_TLS_CLIENT)
    made.server_name = cluster.tls_server_name
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if cluster.insecure_skip_tls_verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    try:
        _load_authorities(made, cluster)
    except (OSError, ValueError) as error:
        raise ClientConfigError(
            f"{source}: the certificate authority cannot be used: {plain(error)}"
        ) from None
    try:
        _load_certificate(made, user)
    except (OSError, ValueError) as error:
        raise ClientConfigError(
            f"{source}: the client certificate cannot be used: {plain(error)}"
        ) from None
    return made


def _load_authorities(made: ssl.SSLContext, cluster: Cluster) -> None:
    if cluster.certificate_authority:
        made.load_verify_locations(cafile=cluster.certificate_authority)
    elif cluster.certificate_authority_data:
        made.load_verify_locations(
            cadata=cluster.certificate_authority_data.decode("ascii", "replace")
        )
    else:
        made.load_default_certs()


def _load_certificate(made: ssl.SSLContext, user: User) -> None:
    if not user.client_certificate and not user.client_certificate_data:
        return
    with tempfile.TemporaryDirectory(prefix="raysweep-") as folder:
        certificate = _file_of(
            user.client_certificate, user.client_certificate_data, Path(folder, "certificate")
        )
        key = _file_of(user.client_key, user.client_key_data, Path(folder, "key"))
        made.load_cert_chain(certificate, key)


def load_certificate(made: ssl.SSLContext, certificate: str, key: str) -> None:
    """The user's certificate for connections that are opened from now on, in PEM. Raises ValueError or OSError."""
    user = User(client_certificate_data=certificate.encode(), client_key_data=key.encode())
    _load_certificate(made, user)


def _file_of(given: str, data: bytes, path: Path) -> Path:
    """OpenSSL takes a certificate from files only. The folder is readable by its owner alone, and removed at once."""
    if given:
        return Path(given)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return path
