"""Pins: fingerprints of a certificate or of its public key, as people write them.

Read are the spellings of Mercurial (`sha256:aa:bb…`), openssl (`SHA256 Fingerprint=AA:BB…`), msmtp
(`AA:BB…` or bare hexadecimal), and curl (`sha256//base64`, the public key), besides our own
`spki-sha256:` with base64 or hexadecimal. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..errors import PinFormatError, printable
from .x509 import Certificate

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Pin", "find_pin"]

_SIZES = {"sha256": 32, "sha384": 48, "sha512": 64}
_WEAK_SIZES = {"md5": 16, "sha1": 20}  # collisions can be made: worth no trust
_BY_SIZE = {size: name for name, size in (_SIZES | _WEAK_SIZES).items()}

_FLAGS = re.IGNORECASE | re.ASCII  # else the Kelvin sign counts as a k
# openssl x509 -fingerprint prints "sha256 Fingerprint=" or, before 3.0, "SHA256 Fingerprint=".
_OPENSSL = re.compile(r"(?P<hash>[a-z0-9-]+) fingerprint=(?P<digest>.*)", _FLAGS)
_CURL = re.compile(r"(?P<hash>[a-z0-9-]+)//(?P<digest>.*)", _FLAGS)
_OURS = re.compile(r"(?P<spki>spki-)?(?P<hash>(?:sha|md)-?[0-9]+):(?P<digest>.*)", _FLAGS)
_HEX = re.compile(r"[0-9a-f]{2}(?::?[0-9a-f]{2})*", _FLAGS)

# The hashes that a program's pins are made with: Mercurial's hostsecurity, curl's pinnedpubkey, msmtp's
# tls_fingerprint.
_WRITTEN: dict[str, tuple[str, ...]] = {
    "mercurial": ("sha256", "sha512"),
    "openssl": ("sha256", "sha384", "sha512"),
    "curl": ("sha256",),
    "msmtp": ("sha256",),
}

_KNOWN = "sha256:…, sha384:…, sha512:… (certificate) or spki-sha256:… (public key)"


@dataclass(frozen=True, slots=True)
class Pin:
    """A digest of the peer's certificate, or of its SubjectPublicKeyInfo (RFC 7469 2.4).

    Attributes:
        of: `"certificate"`, or `"spki"`, which survives a renewal that keeps the key.
        algorithm: `"sha256"`, `"sha384"` or `"sha512"`.
        digest: the raw digest.
    """

    of: Literal["certificate", "spki"]
    algorithm: str
    digest: bytes

    def __post_init__(self) -> None:
        if self.of not in ("certificate", "spki"):
            raise PinFormatError(f"a pin is of a certificate or an spki, not of {self.of!r}")
        if not isinstance(self.digest, bytes):
            raise PinFormatError(f"a digest is bytes, not {type(self.digest).__name__}")
        if self.algorithm not in _SIZES:
            raise PinFormatError(f"a pin is made with {', '.join(_SIZES)}, not with {self.algorithm!r}")
        if len(self.digest) != _SIZES[self.algorithm]:
            raise PinFormatError(
                f"a {self.algorithm} digest has {_SIZES[self.algorithm]} octets, not {len(self.digest)}"
            )

    @classmethod
    def parse(cls, text: str, *, certificate: Certificate | bytes | None = None) -> Pin:
        """Read a pin in any of the spellings above.

        Args:
            text: the pin.
            certificate: the peer's, where it is at hand. A fingerprint by MD5 or SHA-1 is refused
                all the same; if it is this certificate's, the error says what to write instead.

        Raises:
            PinFormatError: the text is no pin, or one by MD5 or SHA-1.
            CertificateFormatError: `certificate` was needed, and is none.
        """
        if not isinstance(text, str):
            raise PinFormatError(f"a pin is a str, not {type(text).__name__}")
        stripped = text.strip()
        of: Literal["certificate", "spki"] = "certificate"
        algorithm: str | None = None
        written = stripped
        if match := _OURS.fullmatch(stripped):
            of = "spki" if match["spki"] else "certificate"
        elif match := _CURL.fullmatch(stripped):
            of = "spki"
        else:
            match = _OPENSSL.fullmatch(stripped)
        if match:
            algorithm = match["hash"].lower().replace("-", "")
            written = match["digest"].strip()
            if algorithm not in _SIZES | _WEAK_SIZES:
                raise PinFormatError(f"pin '{printable(text)}': unknown hash; write {_KNOWN}")
        digest = _digest(written, of, (_SIZES | _WEAK_SIZES).get(algorithm or ""))
        if digest is None:
            raise PinFormatError(
                f"pin '{printable(text)}': the digest is not "
                f"{'base64 or hexadecimal' if of == 'spki' else 'hexadecimal'}; write {_KNOWN}"
            )
        algorithm = algorithm or _BY_SIZE.get(len(digest))
        if algorithm in _WEAK_SIZES:
            raise PinFormatError(_weak(text, of, algorithm, digest, certificate))
        if algorithm is None or len(digest) != _SIZES[algorithm]:
            expected = f"{_SIZES[algorithm]} for {algorithm}" if algorithm else "32, 48 or 64"
            raise PinFormatError(
                f"pin '{printable(text)}': the digest has {len(digest)} octets, not {expected}"
            )
        return cls(of, algorithm, digest)

    @classmethod
    def of_certificate(cls, certificate: Certificate, algorithm: str = "sha256") -> Pin:
        """The pin of a certificate."""
        return cls("certificate", algorithm, _hash(algorithm, certificate.der))

    @classmethod
    def of_spki(cls, certificate: Certificate, algorithm: str = "sha256") -> Pin:
        """The pin of a certificate's public key."""
        return cls("spki", algorithm, _hash(algorithm, certificate.spki))

    def matches(self, certificate: Certificate) -> bool:
        """Whether the certificate, always a peer's own and never one of its issuers', bears the pin."""
        pinned = certificate.der if self.of == "certificate" else certificate.spki
        return _hash(self.algorithm, pinned) == self.digest

    def format(self, spelling: Literal["smtpverify", "mercurial", "openssl", "curl", "msmtp"]) -> str:
        """Write the pin as a program reads it.

        Raises:
            PinFormatError: the program has no such pins (curl pins public keys alone, the others
                certificates alone; and each has hashes of its own).
        """
        if spelling == "smtpverify":
            return str(self)
        if (self.of == "spki") != (spelling == "curl"):
            raise PinFormatError(
                f"{spelling} has no pins of a{'n spki' if self.of == 'spki' else ' certificate'}"
            )
        if self.algorithm not in _WRITTEN[spelling]:
            raise PinFormatError(f"{spelling} has no pins made with {self.algorithm}")
        colons = self.digest.hex(":")
        return {
            "mercurial": f"{self.algorithm}:{colons}",
            "openssl": f"{self.algorithm} Fingerprint={colons.upper()}",
            "curl": f"{self.algorithm}//{base64.b64encode(self.digest).decode('ascii')}",
            "msmtp": colons.upper(),
        }[spelling]

    def __str__(self) -> str:
        if self.of == "certificate":
            return f"{self.algorithm}:{self.digest.hex()}"
        return f"spki-{self.algorithm}:{base64.b64encode(self.digest).decode('ascii')}"


def find_pin(pins: Iterable[Pin], leaf: Certificate) -> Pin | None:
    """Find the first pin that the peer's own certificate bears, or None.

    The leaf alone is compared: a server may append to its chain whatever certificate it likes, the
    pinned one too.
    """
    for pin in pins:
        if pin.matches(leaf):
            return pin
    return None


def _hash(algorithm: str, data: bytes) -> bytes:
    return hashlib.new(algorithm, data).digest()


def _digest(written: str, of: str, size: int | None) -> bytes | None:
    digest = bytes.fromhex(written.replace(":", "")) if _HEX.fullmatch(written) else None
    if of == "certificate" or (digest is not None and len(digest) == size):
        return digest
    # Base64 may happen to be hexadecimal too (sha384 has no "=" at its end): the size decides.
    try:
        decoded = base64.b64decode(written, validate=True)
    except ValueError:  # binascii.Error is one
        return digest
    if base64.b64encode(decoded) != written.encode("ascii"):  # spare bits; and in 3.10 more padding
        return digest
    return decoded if digest is None or len(decoded) == size else digest


def _weak(text: str, of: str, algorithm: str, digest: bytes, certificate: Certificate | bytes | None) -> str:
    refusal = f"pin '{printable(text)}': {algorithm} can be forged"
    if certificate is None:
        return f"{refusal}; write {_KNOWN}"
    if isinstance(certificate, bytes):
        certificate = Certificate.from_der(certificate)
    pinned = certificate.der if of == "certificate" else certificate.spki
    # Only a fingerprint that fits may be translated: else the answer would bless whoever answers.
    if hashlib.new(algorithm, pinned, usedforsecurity=False).digest() != digest:
        return f"{refusal}, and the certificate at hand does not bear it"
    pin = Pin.of_certificate(certificate) if of == "certificate" else Pin.of_spki(certificate)
    return f"{refusal}; the certificate at hand bears it; write {pin} instead"
