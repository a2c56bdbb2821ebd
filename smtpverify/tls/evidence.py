"""What was found out about a peer that was refused, and what there is to judge by.

What comes from the peer is escaped here, so that a `Diagnosis` may go to a log as it stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import CertificateFormatError, printable
from .pins import Pin
from .x509 import Certificate

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Sequence

    from .causes import Cause
    from .names import ReferenceIdentifier

__all__ = ["Diagnosis", "Evidence", "read", "words_of"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found out about a peer that was refused. Every text is escaped and of one line.

    Attributes:
        cause: the cause, as an enum.
        summary: what happened, in a sentence without the host.
        remedy: what to do, in a sentence or two.
        names: the presented identifiers, as text, in the order of the certificate.
        subject, issuer: of the peer's certificate, or None where there was none.
        not_before, not_after: its validity, aware datetimes in UTC, or None.
        sha256: its fingerprint as a pin (`sha256:…`), or None.
        spki_pin: its public key's (`spki-sha256:…`), or None.
        chain: the certificates in DER as the peer sent them, its own first; unescaped, of course.
        verify_code, verify_message: OpenSSL's verdict, 0 and "" where it gave none.
        openssl_message: the text of the error below, or "".
        expected_pins: the pins of which none matched.
    """

    cause: Cause
    summary: str
    remedy: str
    names: tuple[str, ...] = ()
    subject: str | None = None
    issuer: str | None = None
    not_before: datetime.datetime | None = None
    not_after: datetime.datetime | None = None
    sha256: str | None = None
    spki_pin: str | None = None
    chain: tuple[bytes, ...] = field(default=(), repr=False)
    verify_code: int = 0
    verify_message: str = ""
    openssl_message: str = ""
    expected_pins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a connection gives to judge by.

    Attributes:
        reference: whom the client wanted.
        chain: what the peer sent, DER, its own certificate first.
        roots: gives the trusted roots in DER; asked on failure only.
        error: the error that ended the handshake, or None where one of our checks did.
    """

    reference: ReferenceIdentifier
    chain: Sequence[bytes] = ()
    roots: Callable[[], list[bytes]] = list
    error: BaseException | None = None

    def leaf(self) -> Certificate | None:
        """The peer's own certificate, or None where it sent none that can be read."""
        return read(self.chain[0]) if self.chain else None

    def diagnosis(self, cause: Cause, summary: str, remedy: str, pins: Sequence[Pin] = ()) -> Diagnosis:
        """What is to be told of it; `pins` are those of which none matched."""
        leaf = self.leaf()
        shown: dict[str, Any] = {}
        if leaf is not None:
            shown = {
                "names": tuple(map(str, leaf.san)),
                "subject": str(leaf.subject),
                "issuer": str(leaf.issuer),
                "not_before": leaf.not_before,
                "not_after": leaf.not_after,
                "sha256": str(Pin.of_certificate(leaf)),
                "spki_pin": str(Pin.of_spki(leaf)),
            }
        return Diagnosis(
            cause,
            summary,
            remedy,
            chain=tuple(self.chain),
            verify_code=getattr(self.error, "verify_code", 0),
            verify_message=printable(getattr(self.error, "verify_message", "")),
            openssl_message=printable(words_of(self.error)) if self.error else "",
            expected_pins=tuple(map(str, pins)),
            **shown,
        )


def words_of(error: BaseException | None) -> str:
    """The text of an error, also of an `ssl.SSLError` of one argument, which would print as a tuple."""
    args: Sequence[object] = getattr(error, "args", ())
    return str(args[0] if len(args) == 1 else error)


def read(der: bytes) -> Certificate | None:
    """A certificate for show; None where it can't be read, which is a verdict for others to give."""
    try:
        return Certificate.from_der(der)
    except CertificateFormatError:
        return None
