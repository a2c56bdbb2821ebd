"""The syntax of relay URLs (RFC 3986), read strictly: each part decoded, checked, named in errors. Pure.

What is refused is not repeated where it may hold a password.
"""

from __future__ import annotations

import re

from .errors import ReferenceIdentifierError, RelayURLError, printable
from .tls.names import IdentifierKind, reference_identifier, split_host_port

__all__ = [
    "CONTROL",
    "FLAG",
    "NO_FLAG",
    "QUERY_KEYS",
    "checked_host",
    "checked_port",
    "decoded",
    "host_and_port",
    "no_control_characters",
    "options_of",
    "userinfo_of",
]

_LOCATION = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::([^:]*))?")  # host and port (RFC 3986 3.2.2, 3.2.3)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9._~-]{1,64}", re.ASCII)  # RFC 6874 2, without its percent-encoding
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # and what UTF-8 can't encode
QUERY_KEYS = (
    "pin",
    "pin-only",
    "cafile",
    "server-name",
    "client-cert",
    "client-key",
    "known-hosts",
    "auth",
    "password-env",
    "password-file",
    "ignore-extension",
)
_REPEATED = ("pin", "pin-only", "ignore-extension")
# Values of pin-only that are no pin (they are those of pin=), and of known-hosts that are no path (the user's
# own file is meant).
FLAG = ("", "1", "yes", "true")
# By which nobody means a file in the current directory.
NO_FLAG = ("0", "no", "false", "none")


def no_control_characters(text: str) -> None:
    """Refuse what must be percent-encoded (RFC 3986 2)."""
    for char in text:
        if not char.isprintable() or char.isspace():
            raise RelayURLError(f"relay: the character U+{ord(char):04X} must be percent-encoded")


def userinfo_of(authority: str) -> tuple[str | None, str | None, str]:
    """User, password and the rest of an authority (RFC 3986 3.2)."""
    userinfo, at, location = authority.rpartition("@")
    if not at:
        return None, None, authority
    if "@" in userinfo:
        raise RelayURLError("user: write @ in a user or password as %40")
    user, colon, password = userinfo.partition(":")
    if not user:
        raise RelayURLError("user: it is empty; a password needs its user, as in tls://user:password@host")
    if colon and not password:
        raise RelayURLError("password: it is empty; leave out the colon if there is none")
    if ":" in password:
        raise RelayURLError("password: write : in a password as %3A")
    return decoded("user", user), decoded("password", password) if colon else None, location


def decoded(part: str, text: str) -> str:
    """Percent-decode strictly (RFC 3986 2.1): whole escapes, UTF-8, no control characters."""
    if "%" not in text:
        return text
    from urllib.parse import unquote_to_bytes

    if part == "host" and text.startswith("["):
        return text.replace("%25", "%", 1)  # the zone of an IPv6 address (RFC 6874 2)
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise RelayURLError(f"{part}: a % must be followed by two hexadecimal digits; write % as %25")
    try:
        plain = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise RelayURLError(f"{part}: its percent-encoded octets are not UTF-8") from None
    if CONTROL.search(plain):
        raise RelayURLError(f"{part}: it contains a control character")
    return plain


def host_and_port(location: str) -> tuple[str, int | None]:
    """Host and port of an authority without userinfo (RFC 3986 3.2.2, 3.2.3)."""
    match = _LOCATION.fullmatch(location)
    if match is None:
        raise RelayURLError("host: an IPv6 address stands in brackets, as in [::1]:25")
    host = decoded("host", match[1])
    if ":" in host and not host.startswith("["):
        raise RelayURLError("host: it contains a colon")
    return checked_host(host), checked_port(match[2])


def checked_host(host: str) -> str:
    """The host in the form in which it is looked up."""
    if not host:
        raise RelayURLError("host: it is missing")
    try:
        reference = reference_identifier(host)
    except ReferenceIdentifierError as error:
        # Repeated only where it can't be a user and a password.
        if set(host).isdisjoint(":@[]"):
            raise RelayURLError(f"host: {error}") from error
        raise RelayURLError("host: it is neither a host name nor an address") from None
    if reference.kind is IdentifierKind.IP and "%" in host:
        zone = host.strip("[]").partition("%")[2]
        if not _ZONE.fullmatch(zone):
            raise RelayURLError("host: the zone behind % may hold ASCII letters, digits, and . _ ~ - alone")
        return f"{reference.text}%{zone}"
    if reference.kind is IdentifierKind.DNS and host[-1] in ".\u3002\uff0e\uff61":
        return f"{reference.text}."  # which keeps the resolver from adding a domain of its own
    return reference.text


def checked_port(port: str | None) -> int | None:
    """The port as a number."""
    if port is None:
        return None
    if not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise RelayURLError("port: it is no number from 1 to 65535")
    return int(port)


def options_of(query: str) -> dict[str, list[str]]:
    """The values of each key of a query, in order, decoded."""
    options: dict[str, list[str]] = {}
    for item in query.split("&") if query else ():
        key, _, value = item.partition("=")
        key = decoded("query", key)
        if key not in QUERY_KEYS:
            known = ", ".join(QUERY_KEYS)
            raise RelayURLError(f"query: the key '{printable(key)}' is unknown; known are {known}")
        if key in options and key not in _REPEATED:
            raise RelayURLError(f"{key}: it is given twice")
        options.setdefault(key, []).append(decoded(key, value))
    for key in ("cafile", "client-cert", "client-key", "server-name", "password-env", "password-file"):
        if options.get(key) == [""]:
            raise RelayURLError(f"{key}: it is empty")
    for name in options.get("server-name", ()):
        if split_host_port(name)[1] is not None:
            raise RelayURLError("server-name: it has no port")
        try:
            reference_identifier(name)
        except ReferenceIdentifierError as error:
            raise RelayURLError(f"server-name: {error}") from error
    return options
