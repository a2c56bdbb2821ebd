"""Relay URLs: any text is refused in words of ours, or is what another reader of URLs sees in it.

Input: an octet of options, and the text.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from smtpverify.errors import RelayURLError
from smtpverify.relay import Relay
from smtpverify.schemes import Mode
from smtpverify.tls.names import reference_identifier
from smtpverify.tls.trust import Trust

from .source import Source, text as as_text

if TYPE_CHECKING:
    from smtpverify.schemes import Dialect

DIALECTS: tuple[Dialect, Dialect] = ("opensmtpd-2012", "opensmtpd-6.4")
TRUSTS = (None, Trust("certifi", pins=f"sha256:{'0' * 64}"))
STRICT = {
    "opensmtpd-2012": {"tls", "smtps", "ssl", "tls+auth", "smtps+auth", "ssl+auth"},
    "opensmtpd-6.4": {"smtp+tls", "smtps"},
}


def check(octets: bytes) -> None:
    """Refused in one line, without a secret; or the same there and back."""
    source = Source(octets)
    dialect, trust, as_bytes = source.one(DIALECTS), source.one(TRUSTS), source.number(2)
    rest = source.rest()
    given: Any = rest if as_bytes else as_text(rest)
    try:
        relay = Relay.parse(given, trust=trust, dialect=dialect)
    except RelayURLError as error:
        assert str(error).isprintable(), str(error)
        return
    if as_bytes:
        assert relay == Relay.parse(rest.decode("ascii", "surrogateescape"), trust=trust, dialect=dialect)
    _check_words(relay)
    _check_secrets(relay)
    if relay.scheme:
        _check_parts(relay, as_text(rest))
    try:
        written = relay.to_url()
    except RelayURLError:
        assert relay.trust != Trust() or relay.path is not None
        return
    assert Relay.parse(written, dialect=dialect) == relay, written


def _check_words(relay: Relay) -> None:
    if relay.scheme:
        assert relay.mode.requires_tls == (relay.scheme in STRICT[relay.dialect])
        assert relay.mode.uses_tls or relay.server_name is None
    else:
        assert relay.mode is Mode.CALLER
        assert (relay.user, relay.password, relay.server_name) == (None, None, None)
    assert (relay.path is None) == bool(relay.host)
    if relay.host:
        address = relay.host.partition("%")[0]
        assert reference_identifier(address).text == address.removesuffix(".")
        assert relay.host.isascii()
    assert relay.port is None or 0 < relay.port < 65536
    for word in (relay.user, relay.password, relay.server_name):
        assert word is None or not set(word) & {chr(code) for code in (*range(0x20), 0x7F)}
    assert "starttls" not in relay.ignored_extensions


def _check_secrets(relay: Relay) -> None:
    shown = (str(relay), repr(relay))
    assert str(relay).isprintable()
    if relay.password is not None:
        other = replace(relay, password="a longer and another one")
        assert shown == (str(other), repr(other))


def _check_parts(relay: Relay, given: str) -> None:
    """By the standard library's reader, which must find the same user, password and port."""
    try:
        split = urlsplit(given)
    except ValueError:  # brackets in a password, by which it is confused
        assert relay.user is not None
        assert set("[]") & set(given)
        return
    assert split.scheme == relay.scheme
    assert split.port == relay.port
    for other, ours in ((split.username, relay.user), (split.password, relay.password)):
        assert (None if other is None else unquote(other)) == ours
    if relay.path is not None:
        assert unquote(split.path) == relay.path
    elif split.hostname and split.hostname.isascii() and "%" not in split.hostname:
        assert split.hostname.rstrip(".") == relay.host.rstrip(".") or ":" in relay.host
