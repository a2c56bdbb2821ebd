"""What ties an authentication to a TLS connection: channel binding `tls-server-end-point` (RFC 5929 4). Pure.

The value is a hash of the server's certificate. Who logs in with it logs in to whoever holds that
certificate's key, and an impostor with another certificate, be it from a trusted CA, can't pass it on.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from .der import OID, SEQUENCE, Reader

if TYPE_CHECKING:
    from .x509 import Certificate

__all__ = ["server_end_point"]

_SHA1 = b"\x2b\x0e\x03\x02\x1a"  # 1.3.14.3.2.26
_SHA2 = b"\x60\x86\x48\x01\x65\x03\x04\x02"  # 2.16.840.1.101.3.4.2
_RSA = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01"  # 1.2.840.113549.1.1
_ECDSA = b"\x2a\x86\x48\xce\x3d\x04"  # 1.2.840.10045.4
_PSS = _RSA + b"\x0a"
_MGF1 = _RSA + b"\x08"

_HASHES = {
    _SHA1: "sha1",
    _SHA2 + b"\x01": "sha256",
    _SHA2 + b"\x02": "sha384",
    _SHA2 + b"\x03": "sha512",
    _SHA2 + b"\x04": "sha224",
}
# Signature algorithms that hash once (RFC 8017 A.2.4, RFC 5758 3.2). Ed25519 and Ed448 do not hash in this
# sense, and have no binding of this type.
_SIGNATURES = {
    _RSA + b"\x04": "md5",
    _RSA + b"\x05": "sha1",
    _RSA + b"\x0b": "sha256",
    _RSA + b"\x0c": "sha384",
    _RSA + b"\x0d": "sha512",
    _RSA + b"\x0e": "sha224",
    _ECDSA + b"\x01": "sha1",
    _ECDSA + b"\x03\x01": "sha224",
    _ECDSA + b"\x03\x02": "sha256",
    _ECDSA + b"\x03\x03": "sha384",
    _ECDSA + b"\x03\x04": "sha512",
}


def server_end_point(certificate: Certificate) -> bytes | None:
    """The channel binding data of type `tls-server-end-point` (RFC 5929 4.1).

    Args:
        certificate: the server's own.

    Returns:
        Its hash by the hash function of its signature, by SHA-256 where that is MD5 or SHA-1; None where the
        signature has no hash function, or two, or one that is not known.

    Raises:
        CertificateFormatError: the signature's algorithm can't be read.
    """
    name = _signature_hash(certificate.signature_algorithm)
    if name is None:
        return None
    return hashlib.new("sha256" if name in ("md5", "sha1") else name, certificate.der).digest()


def _signature_hash(algorithm: bytes) -> str | None:
    identifier = Reader(algorithm, "signatureAlgorithm").enter(SEQUENCE, "signatureAlgorithm")
    oid = identifier.read(OID, "signatureAlgorithm").content
    if oid != _PSS:
        return _SIGNATURES.get(oid)
    # RSASSA-PSS-params (RFC 8017 A.2.3): one hash of the message, one inside the mask; SHA-1 by default.
    parameters = identifier.enter(SEQUENCE, "RSASSA-PSS-params")
    message_hash: str | None = "sha1"
    mask_hash: str | None = "sha1"
    explicit = parameters.optional(0xA0)
    if explicit is not None:
        message_hash = _hash(Reader(explicit.content, "hashAlgorithm"))
    explicit = parameters.optional(0xA1)
    if explicit is not None:
        mask = Reader(explicit.content, "maskGenAlgorithm").enter(SEQUENCE, "maskGenAlgorithm")
        if mask.read(OID, "maskGenAlgorithm").content != _MGF1:
            return None
        mask_hash = _hash(mask)
    return message_hash if message_hash == mask_hash else None


def _hash(reader: Reader) -> str | None:
    oid = reader.enter(SEQUENCE, "AlgorithmIdentifier").read(OID, "AlgorithmIdentifier").content
    return _HASHES.get(oid)
