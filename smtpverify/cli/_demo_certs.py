"""The demo's certificates: a good one by an authority that lives as long as the demo, and the impostors'."""

from __future__ import annotations

import datetime
import os
import ssl
from dataclasses import dataclass

__all__ = ["HOST", "WRONG_NAME", "Certificates", "mint"]

HOST = "localhost"
WRONG_NAME = "mail.example.net"
_ORGANIZATION = "smtpverify demo"
_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the demo's servers show, ready for use, and what its clients trust.

    Attributes:
        cafile: a PEM file with the one authority that is trusted.
        good: for `HOST`, by that authority.
        wrong_name: by that authority, for another name.
        unknown_ca: for `HOST`, by another authority.
        self_signed: for `HOST`, by nobody.
        expired: as the good one, until yesterday.
    """

    cafile: str
    good: ssl.SSLContext
    wrong_name: ssl.SSLContext
    unknown_ca: ssl.SSLContext
    self_signed: ssl.SSLContext
    expired: ssl.SSLContext


def mint(directory: str) -> Certificates:
    """Make the certificates.

    Args:
        directory: where the authority's certificate goes, and stays.
    """
    from trustme import CA

    authority = CA(organization_name=_ORGANIZATION, organization_unit_name="trusted CA")
    stranger = CA(organization_name="Rogue", organization_unit_name="CA")
    cafile = os.path.join(directory, "ca.pem")
    authority.cert_pem.write_to_path(cafile)
    now = datetime.datetime.now(datetime.timezone.utc)

    def issued(
        by: CA,
        name: str,
        not_before: datetime.datetime | None = None,
        not_after: datetime.datetime | None = None,
    ) -> ssl.SSLContext:
        leaf = by.issue_cert(
            name,
            organization_name=_ORGANIZATION,
            organization_unit_name="mail server",
            not_before=not_before,
            not_after=not_after,
        )
        return _context(directory, leaf.private_key_and_cert_chain_pem.bytes())

    return Certificates(
        cafile,
        good=issued(authority, HOST),
        wrong_name=issued(authority, WRONG_NAME),
        unknown_ca=issued(stranger, HOST),
        self_signed=_context(directory, _self_signed(now)),
        expired=issued(authority, HOST, now - 91 * _DAY, now - _DAY),
    )


def _self_signed(now: datetime.datetime) -> bytes:
    """Key and certificate, which trustme makes for authorities alone."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "anybody")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + 365 * _DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key_pem + certificate.public_bytes(serialization.Encoding.PEM)


def _context(directory: str, key_and_chain: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path = os.path.join(directory, "server.pem")  # load_cert_chain() reads files only
    with open(path, "wb") as file:
        file.write(key_and_chain)
    context.load_cert_chain(path)
    os.remove(path)
    return context
