"""Pins: any text is refused in words of ours, or stands for one digest, in every spelling.

Input: an octet that says which certificate is at hand, and the text.
"""

from __future__ import annotations

from typing import Literal

from smtpverify.errors import CertificateFormatError, PinFormatError
from smtpverify.tls.pins import Pin

from .source import Source, text as as_text

Spelling = Literal["smtpverify", "mercurial", "openssl", "curl", "msmtp"]
SIZES = {"sha256": 32, "sha384": 48, "sha512": 64}
SPELLINGS: tuple[Spelling, ...] = ("smtpverify", "mercurial", "openssl", "curl", "msmtp")


def check(octets: bytes) -> None:
    """Nothing weak is taken; what is taken is written, and read again, as the same."""
    source = Source(octets)
    certificate = source.one((None, b"", b"0\0", b"no certificate"))
    text = as_text(source.rest())
    try:
        pin = Pin.parse(text, certificate=certificate)
    except PinFormatError as error:
        assert str(error).isprintable(), str(error)
        return
    except CertificateFormatError:
        assert certificate is not None
        assert "md5" in text.lower() or "sha" in text.lower() or len(text.strip()) < 64
        return
    assert len(pin.digest) == SIZES[pin.algorithm]
    assert Pin.parse(text) == pin
    assert _occurs(pin.digest, text)
    for spelling in SPELLINGS:
        try:
            written = pin.format(spelling)
        except PinFormatError:
            assert spelling != "smtpverify"
            continue
        assert Pin.parse(written) == Pin.parse(f" {written}\n") == pin


def _occurs(digest: bytes, text: str) -> bool:
    """Whether the digest is what stands in the text."""
    from base64 import b64encode

    return digest.hex() in text.replace(":", "").lower() or b64encode(digest).decode("ascii") in text
