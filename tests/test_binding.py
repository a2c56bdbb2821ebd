"""Channel binding data: the hash of a certificate by the rule for its signature (RFC 5929 4.1)."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding
from cryptography.x509.oid import NameOID

from smtpverify import Certificate, CertificateFormatError
from smtpverify.tls.binding import server_end_point
from tests.bed.certs import der, rsa_key

RSA = "2a864886f70d0101"
MD5, SHA1, MD2 = "04", "05", "02"


def issued(key: Any, algorithm: Any, **options: Any) -> bytes:
    """A certificate in DER, signed by its own key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.org")])
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    return builder.sign(key, algorithm, **options).public_bytes(serialization.Encoding.DER)


def pss(algorithm: hashes.HashAlgorithm, mask: hashes.HashAlgorithm) -> dict[str, Any]:
    return {"rsa_padding": padding.PSS(padding.MGF1(mask), 20)}


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [
        (hashes.SHA224(), "sha224"),
        (hashes.SHA256(), "sha256"),
        (hashes.SHA384(), "sha384"),
        (hashes.SHA512(), "sha512"),
    ],
)
@pytest.mark.parametrize("kind", ["rsa", "pss", "ec"])
def test_the_signature_s_own_hash(kind: str, algorithm: Any, name: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa_key(2048)
    certificate = issued(key, algorithm, **(pss(algorithm, algorithm) if kind == "pss" else {}))
    expected = hashlib.new(name, certificate).digest()
    assert server_end_point(Certificate.from_der(certificate)) == expected


@pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), ed448.Ed448PrivateKey.generate()])
def test_signatures_without_a_hash(key: Any) -> None:
    assert server_end_point(Certificate.from_der(issued(key, None))) is None


def test_two_hashes() -> None:
    """RFC 5929 4.1: with multiple hash functions the binding is undefined."""
    certificate = issued(rsa_key(2048), hashes.SHA256(), **pss(hashes.SHA256(), hashes.SHA384()))
    assert server_end_point(Certificate.from_der(certificate)) is None


def signed_with(algorithm: bytes) -> Certificate:
    """A certificate whose AlgorithmIdentifier has this content, which no library would write."""
    certificate = Certificate.from_der(issued(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()))
    return dataclasses.replace(certificate, signature_algorithm=der(0x30, algorithm))


def oid(encoded: str) -> bytes:
    return der(6, bytes.fromhex(encoded))


@pytest.mark.parametrize("encoded", [RSA + MD5, RSA + SHA1, "2a8648ce3d0401"])
def test_md5_and_sha1_become_sha256(encoded: str) -> None:
    certificate = signed_with(oid(encoded) + b"\5\0")
    assert server_end_point(certificate) == hashlib.sha256(certificate.der).digest()


def test_pss_of_sha1() -> None:
    """The defaults of RFC 8017 A.2.3, said and unsaid."""
    sha1 = der(0x30, oid("2b0e03021a") + b"\5\0")
    mask = der(0x30, oid(RSA + "08") + sha1)
    for parameters in (b"", der(0xA0, sha1), der(0xA1, mask), der(0xA0, sha1) + der(0xA1, mask)):
        certificate = signed_with(oid(RSA + "0a") + der(0x30, parameters))
        assert server_end_point(certificate) == hashlib.sha256(certificate.der).digest()


@pytest.mark.parametrize(
    "algorithm",
    [
        oid(RSA + MD2),
        oid("2a0304"),
        oid(RSA + "0a") + der(0x30, der(0xA0, der(0x30, oid("2a0304")))),  # PSS of an unknown hash
        oid(RSA + "0a") + der(0x30, der(0xA1, der(0x30, oid("2a0304")))),  # and of an unknown mask
    ],
)
def test_signatures_that_are_not_known(algorithm: bytes) -> None:
    assert server_end_point(signed_with(algorithm)) is None


@pytest.mark.parametrize(
    "algorithm", [b"", b"\5\0", oid(RSA + "0a"), oid(RSA + "0a") + der(0x30, der(0xA0, b"\5\0"))]
)
def test_an_algorithm_that_can_t_be_read(algorithm: bytes) -> None:
    with pytest.raises(CertificateFormatError):
        server_end_point(signed_with(algorithm))
