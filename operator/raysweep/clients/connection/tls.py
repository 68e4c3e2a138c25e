"""TLS contexts for an API server: the trusted CAs and the user's certificate."""

import os
import ssl
import tempfile
from pathlib import Path

from raysweep.clients.connection.kubeconfig import ClientConfigError, Cluster, User
from raysweep.core.text import plain


class _Context(ssl.SSLContext):
    """A context that expects a fixed server name in the certificate, whatever the address."""

    server_name = ""
    """If it is empty, the certificate must contain the host of the address."""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Called by asyncio for a new connection."""
        return super().wrap_bio(
            incoming, outgoing, server_side, self.server_name or server_hostname, session
        )


def context(cluster: Cluster, user: User, source: str) -> ssl.SSLContext:
    """A context for the connections of one session. Raises ClientConfigError.

    As in Go, an intermediate certificate among the CAs is trusted, and a CA needs no key
    identifier.
    """
    tls_context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    tls_context.server_name = cluster.tls_server_name
    tls_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if cluster.insecure_skip_tls_verify:
        tls_context.check_hostname = False
        tls_context.verify_mode = ssl.CERT_NONE
    part = "certificate authority"
    try:
        _load_authorities(tls_context, cluster)
        part = "client certificate"
        _load_certificate(tls_context, user)
    except (OSError, ValueError) as error:
        message = f"{source}: the {part} cannot be used: {plain(error)}"
        raise ClientConfigError(message) from None
    return tls_context


def _load_authorities(tls_context: ssl.SSLContext, cluster: Cluster) -> None:
    if cluster.certificate_authority:
        tls_context.load_verify_locations(cafile=cluster.certificate_authority)
    elif cluster.certificate_authority_data:
        authorities = cluster.certificate_authority_data.decode("ascii", "replace")
        tls_context.load_verify_locations(cadata=authorities)
    else:
        tls_context.load_default_certs()


def _load_certificate(tls_context: ssl.SSLContext, user: User) -> None:
    if not user.client_certificate and not user.client_certificate_data:
        return
    with tempfile.TemporaryDirectory(prefix="raysweep-") as folder:
        certificate = _certificate_file(
            user.client_certificate, user.client_certificate_data, Path(folder, "certificate")
        )
        key = _certificate_file(user.client_key, user.client_key_data, Path(folder, "key"))
        tls_context.load_cert_chain(certificate, key)


def load_certificate(tls_context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Sets the certificate, in PEM, for new connections. Raises ValueError or OSError."""
    user = User(client_certificate_data=certificate.encode(), client_key_data=key.encode())
    _load_certificate(tls_context, user)


def _certificate_file(file_name: str, data: bytes, path: Path) -> Path:
    """The named file, or a new file with the data, since OpenSSL loads certificates from files."""
    if file_name:
        return Path(file_name)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return path
