"""A certificate authority for a test, and the certificates that it issues."""

import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
END = BEGIN + timedelta(days=36_500)


@dataclass
class Authority:
    """A CA. `key_identifiers` adds extensions that RFC 5280 requires and many clusters lack."""

    folder: Path
    key_identifiers: bool = True
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.file = self.folder / "ca.crt"
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        built = _builder(self.name, self.name, self.key).add_extension(
            x509.BasicConstraints(True, None), True
        )
        if self.key_identifiers:
            built = built.add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False
            )
        self.file.write_bytes(
            built.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )

    def issue(self, common_name: str, names: Iterable[str] = ()) -> tuple[Path, Path]:
        """Issues a certificate for DNS names and addresses. Returns certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        built = _builder(subject, self.name, key)
        if alternatives := [_general_name(name) for name in names]:
            built = built.add_extension(x509.SubjectAlternativeName(alternatives), False)
        if self.key_identifiers:
            built = built.add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
            )
        certificate, secret = self.folder / f"{common_name}.crt", self.folder / f"{common_name}.key"
        certificate.write_bytes(
            built.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, secret

    def server(self, *names: str, wants_certificate: bool = False) -> ssl.SSLContext:
        """The TLS context of a server with these names."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self.issue(names[0], names))
        # Go servers verify client certificates without the strict flag.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if wants_certificate:
            context.load_verify_locations(self.file)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
    )
    return (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(BEGIN)
        .not_valid_after(END)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
