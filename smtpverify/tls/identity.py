"""The peer's identity: what a connection presented, judged after OpenSSL has; and the evidence of it.

This judgement is not a second look at what OpenSSL saw: on a resumed session OpenSSL checks neither
chain nor name, and of pins it knows nothing.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..errors import CertificateFormatError
from ..stdlib import presented_chain, verified_chain
from .causes import Cause
from .diagnosis import key_changed, name_mismatch, pin_mismatch, untrusted
from .evidence import Evidence
from .names import ReferenceIdentifier, find_match
from .pins import Pin, find_pin
from .x509 import Certificate

if TYPE_CHECKING:
    import socket

    from .names import PresentedIdentifier
    from .trust import Trust

__all__ = ["PeerIdentity", "evidence_of", "is_recent", "judge", "port_of"]

_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """The evidence that the peer is whom we asked for, taken from the connection.

    Attributes:
        reference: whom the client wanted (RFC 9525).
        certificate: the peer's own.
        matched: the presented identifier that matched, or None where pins stood in place of names.
        pin: the pin that the certificate bears, or None where none was asked for.
        chain: the verified chain in DER, the peer's certificate first and the root last; empty where
            pins stood in place of the chain.
        tls_version: such as `TLSv1.3`.
        cipher: the cipher suite's name.
    """

    reference: ReferenceIdentifier
    certificate: Certificate
    matched: PresentedIdentifier | None
    pin: Pin | None
    chain: tuple[bytes, ...] = field(repr=False)
    tls_version: str
    cipher: str

    def __str__(self) -> str:
        proof = f"certificate for {self.matched}, issued by {self.certificate.issuer}" if self.matched else ""
        pinned = f"pinned {self.pin}" if self.pin else ""
        shown = ", ".join(part for part in (proof, pinned, self.tls_version, self.cipher) if part)
        return f"{self.reference.text}: {shown}"


def judge(connection: Any, reference: ReferenceIdentifier, trust: Trust) -> PeerIdentity:
    """Judge a connection by what the peer presented, after OpenSSL has.

    Args:
        connection: an `ssl.SSLSocket` or `ssl.SSLObject` after its handshake.
        reference: whom the peer must prove to be.
        trust: its pins and its minimum version count; the chain was OpenSSL's business. Of one with known
            hosts, that `for_host()`.

    Raises:
        PeerVerificationError: the peer is somebody else, or proved nothing.
    """

    def evidence() -> Evidence:
        return evidence_of(connection, reference)

    der = connection.getpeercert(True)
    if der is None:
        raise untrusted(
            evidence(),
            Cause.NO_CERTIFICATE,
            "the server showed no certificate",
            "Have anonymous ciphers switched off.",
        )
    try:
        leaf = _certificate(der)
    except CertificateFormatError as error:
        raise untrusted(
            evidence(),
            Cause.MALFORMED_CERTIFICATE,
            f"the certificate can't be read: {error}",
            "Have it reissued.",
        ) from error
    if connection.session_reused:
        raise untrusted(
            evidence(),
            Cause.SESSION_RESUMED,
            "the TLS session was resumed, and OpenSSL verified nothing again",
            "Connect without a session.",
        )
    matched = None if trust.pins_only else find_match(reference, leaf.san)
    if matched is None and not trust.pins_only:
        raise name_mismatch(evidence(), leaf)
    pin = find_pin(trust.pins, leaf)
    if trust.pins and pin is None:
        if trust.keys_from is not None:
            raise key_changed(evidence(), leaf, trust.pins, trust.keys_from)
        raise pin_mismatch(evidence(), leaf, trust.pins)
    version = connection.version()
    if not is_recent(version, trust):
        raise untrusted(
            evidence(),
            Cause.VERSION_TOO_OLD,
            f"the connection uses {version}, older than {trust.minimum_version.name}",
            "Have TLS 1.2 or 1.3 enabled on both sides.",
        )
    verified = () if trust.pins_only else verified_chain(connection)
    return PeerIdentity(reference, leaf, matched, pin, verified, version, connection.cipher()[0])


@lru_cache(maxsize=64)
def _certificate(der: bytes) -> Certificate:
    """A certificate that was read before is the same value: most programs talk to one server."""
    return Certificate.from_der(der)


def is_recent(version: str, trust: Trust) -> bool:
    """Whether a connection's version, such as `TLSv1.3`, is new enough for a trust."""
    return _VERSIONS.get(version, 0) >= trust.minimum_version


def evidence_of(connection: Any, reference: ReferenceIdentifier, error: OSError | None = None) -> Evidence:
    """What a connection, whose handshake may have ended in `error`, gives to judge by."""
    # wrap_socket() closes the socket on its way out: what the peer sent must be read here.
    return Evidence(
        reference,
        presented_chain(connection),
        lambda: connection.context.get_ca_certs(binary_form=True),
        error,
    )


def port_of(sock: socket.socket) -> int | None:
    """The peer's port, or None where there is none, or no peer any more."""
    try:
        name = sock.getpeername()
    except OSError:
        return None  # the peer is gone already
    return name[1] if isinstance(name, tuple) else None
