"""Relay URL <-> `Relay`: what was asked for, as a value.

Everything is checked here, files too, before any packet. Opens no socket.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import PinFormatError, ReferenceIdentifierError, RelayURLError, TrustError, printable
from .schemes import DIALECTS, Mode, Scheme, extension_names
from .tls.names import IdentifierKind, reference_identifier, split_host_port
from .tls.pins import Pin
from .tls.trust import Trust

if TYPE_CHECKING:
    from .schemes import Dialect

__all__ = ["Relay"]


_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LOCATION = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::([^:]*))?")  # host and port (RFC 3986 3.2.2, 3.2.3)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9._~-]{1,64}", re.ASCII)  # RFC 6874 2, without its percent-encoding
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # and what UTF-8 can't encode
_QUERY_KEYS = (
    "pin",
    "pin-only",
    "cafile",
    "server-name",
    "client-cert",
    "client-key",
    "ignore-extension",
)
_REPEATED = ("pin", "pin-only", "ignore-extension")
_FLAG = ("", "1", "yes", "true")  # values of pin-only that are no pin: the pins are those of pin=


@dataclass(frozen=True, slots=True)
class Relay:
    """A server to talk to, and how.

    Attributes:
        scheme: in lower case, or "" for a bare host.
        host: host name as it is looked up (A-labels) or address, with an IPv6 zone if there was one;
            "" for a Unix socket.
        port: the explicit port, or None for the scheme's own.
        path: of a Unix socket (LMTP), or None.
        user, password: decoded, or None. The password never shows in `str()` or `repr()`.
        server_name: whom the server must prove to be where that is not the host, or None.
        trust: what is believed of it.
        dialect: the table that the scheme was looked up in.
        ignored_extensions: EHLO keywords in lower case that count as not offered.
    """

    scheme: str
    host: str
    port: int | None = None
    path: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    server_name: str | None = None
    trust: Trust = field(default_factory=Trust)
    dialect: Dialect = "opensmtpd-2012"
    ignored_extensions: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.scheme and self.scheme not in DIALECTS.get(self.dialect, ()):
            raise RelayURLError(f"scheme: {self.scheme}:// is unknown in the dialect {self.dialect}")
        if self.password is not None and self.user is None:
            raise RelayURLError("user: it is missing; a password needs its user")
        if self.port is not None and not 0 < self.port < 65536:
            raise RelayURLError("port: it is no number from 1 to 65535")
        for part, value in (
            ("path", self.path if self.scheme else None),
            ("user", self.user),
            ("password", self.password),
            ("server-name", self.server_name),
        ):
            if value is not None and _CONTROL.search(value):
                raise RelayURLError(f"{part}: it contains a control character")

    @classmethod
    def parse(
        cls, text: str | bytes, *, trust: Trust | None = None, dialect: Dialect = "opensmtpd-2012"
    ) -> Relay:
        """Read a relay URL, or a bare host with or without a port.

        Args:
            text: such as `tls://alice:secret@mail.example.org:587?pin=sha256:…`. What is special in a
                URL is percent-encoded (RFC 3986 2.1); an IPv6 address stands in brackets.
            trust: what is believed where the URL says nothing of it.
            dialect: `"opensmtpd-2012"` or `"opensmtpd-6.4"`.

        Raises:
            RelayURLError: the text can't be used; the message names the part.
        """
        if dialect not in DIALECTS:
            raise RelayURLError(f"dialect: {dialect!r} is none of {', '.join(DIALECTS)}")
        if isinstance(text, bytes):
            text = text.decode("ascii", "surrogateescape")
        if not isinstance(text, str):
            raise RelayURLError(f"relay: a str is wanted, not {type(text).__name__}")
        match = _SCHEME.match(text)
        trust = Trust() if trust is None else trust
        if match is None:
            return cls._bare(text, trust, dialect)
        _no_control_characters(text)
        return cls._url(match[1].lower(), text[match.end() :], trust, dialect)

    @classmethod
    def _bare(cls, text: str, trust: Trust, dialect: Dialect) -> Relay:
        # What can't be read may hold a password: it is not repeated in errors here and below.
        if text.startswith("//") or "://" in text:
            raise RelayURLError("scheme: it is missing or can't be read; a relay URL begins with one")
        if text.startswith("/"):
            if "\0" in text:  # the system would stop reading there
                raise RelayURLError("path: it contains a control character")
            if re.search("[\ud800-\udbff]", text):
                raise RelayURLError("path: it contains half a character")
            return cls("", "", path=text, trust=trust, dialect=dialect)
        if "@" in text or "/" in text:
            raise RelayURLError("relay: neither a host nor a URL with a scheme, as in tls://user@host")
        host, port = split_host_port(text)
        return cls("", _host(host), _port(port), trust=trust, dialect=dialect)

    @classmethod
    def _url(cls, scheme: str, rest: str, trust: Trust, dialect: Dialect) -> Relay:
        meaning = DIALECTS[dialect].get(scheme)
        if meaning is None:
            known = ", ".join(f"{each}://" for each in DIALECTS[dialect])
            raise RelayURLError(f"scheme: {scheme}:// is unknown; known are {known}")
        if "#" in rest:
            raise RelayURLError("fragment: a relay URL has none; write # in a password as %23")
        rest, _, query = rest.partition("?")
        authority, _, path = rest.partition("/")
        user, password, location = _userinfo(authority)
        if "@" in query:
            raise RelayURLError("query: write @ as %40, and ? in a user or password as %3F")
        if meaning.auth and user is None:
            raise RelayURLError(f"user: {scheme}:// wants one, as in {scheme}://user:password@host")
        # The query comes last: where the rest makes no sense, it may be the end of a password.
        host, port, socket_path = "", None, None
        if meaning.lmtp and not location and path:
            if user is not None:
                raise RelayURLError("user: a Unix socket takes none")
            if "@" in path:
                raise RelayURLError("path: write @ as %40, and / in a user or password as %2F")
            socket_path = "/" + _decoded("path", path)
        elif path:
            raise RelayURLError(f"path: {scheme}:// has none; write / in a password as %2F")
        else:
            host, port = _host_and_port(location)
            if port is None and meaning.port is None:
                raise RelayURLError(f"port: {scheme}:// has no default port; write {scheme}://host:port")
        options = _query(query)
        ignored = extension_names(options.pop("ignore-extension", ()))
        if options and not meaning.mode.uses_tls:
            raise RelayURLError(f"query: {scheme}:// never uses TLS; {', '.join(options)} would be of no use")
        if trust.pins and not meaning.mode.uses_tls:
            raise RelayURLError(f"trust: {scheme}:// never uses TLS; its pins would be of no use")
        server_name = options.get("server-name", [None])[0]
        trust = _trust(options, trust)
        return cls(scheme, host, port, socket_path, user, password, server_name, trust, dialect, ignored)

    @property
    def meaning(self) -> Scheme:
        """What the scheme stands for; of a bare host, `Mode.CALLER` and no port."""
        if not self.scheme:
            return Scheme(Mode.CALLER, None, lmtp=self.path is not None)
        return DIALECTS[self.dialect][self.scheme]

    @property
    def mode(self) -> Mode:
        """How the connection is secured."""
        return self.meaning.mode

    @property
    def strict_scheme(self) -> str:
        """The scheme of the same dialect by which STARTTLS is required."""
        schemes = DIALECTS[self.dialect].items()
        return next(name for name, scheme in schemes if scheme.mode is Mode.STARTTLS)

    def to_url(self, *, password: bool = True) -> str:
        """Write the relay as a URL, from which `parse` makes an equal one.

        Args:
            password: False puts `***` in the place of the password.

        Raises:
            RelayURLError: part of its trust (such as `minimum_version`) can't be said in a URL.
        """
        return f"{self._location(password=password)}{_options(self)}"

    def _location(self, *, password: bool) -> str:
        from urllib.parse import quote

        if self.path is not None:
            return f"{self.scheme}://{quote(self.path)}" if self.scheme else self.path
        userinfo = ""
        if self.user is not None:
            userinfo = quote(self.user, safe="")
            if self.password is not None:
                userinfo += ":" + (quote(self.password, safe="") if password else "***")
            userinfo += "@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        if not self.scheme:
            return f"{host}{port}"
        return f"{self.scheme}://{userinfo}{host.replace('%', '%25')}{port}"

    def __str__(self) -> str:
        """The URL without password and query, for a log."""
        return printable(self._location(password=False))


def _no_control_characters(text: str) -> None:
    for char in text:
        if not char.isprintable() or char.isspace():
            raise RelayURLError(f"relay: the character U+{ord(char):04X} must be percent-encoded")


def _userinfo(authority: str) -> tuple[str | None, str | None, str]:
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
    return _decoded("user", user), _decoded("password", password) if colon else None, location


def _decoded(part: str, text: str) -> str:
    """Percent-decode strictly (RFC 3986 2.1): whole escapes, UTF-8, no control characters."""
    if "%" not in text:
        return text
    from urllib.parse import unquote_to_bytes

    if part == "host" and text.startswith("["):
        return text.replace("%25", "%", 1)  # the zone of an IPv6 address (RFC 6874 2)
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise RelayURLError(f"{part}: a % must be followed by two hexadecimal digits; write % as %25")
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise RelayURLError(f"{part}: its percent-encoded octets are not UTF-8") from None
    if _CONTROL.search(decoded):
        raise RelayURLError(f"{part}: it contains a control character")
    return decoded


def _host_and_port(location: str) -> tuple[str, int | None]:
    match = _LOCATION.fullmatch(location)
    if match is None:
        raise RelayURLError("host: an IPv6 address stands in brackets, as in [::1]:25")
    host = _decoded("host", match[1])
    if ":" in host and not host.startswith("["):
        raise RelayURLError("host: it contains a colon")
    return _host(host), _port(match[2])


def _host(host: str) -> str:
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


def _port(port: str | None) -> int | None:
    if port is None:
        return None
    if not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise RelayURLError("port: it is no number from 1 to 65535")
    return int(port)


def _query(query: str) -> dict[str, list[str]]:
    options: dict[str, list[str]] = {}
    for item in query.split("&") if query else ():
        key, _, value = item.partition("=")
        key = _decoded("query", key)
        if key not in _QUERY_KEYS:
            known = ", ".join(_QUERY_KEYS)
            raise RelayURLError(f"query: the key '{printable(key)}' is unknown; known are {known}")
        if key in options and key not in _REPEATED:
            raise RelayURLError(f"{key}: it is given twice")
        options.setdefault(key, []).append(_decoded(key, value))
    for key in ("cafile", "client-cert", "client-key", "server-name"):
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


def _trust(options: dict[str, list[str]], base: Trust) -> Trust:
    """The caller's trust with what the URL says of it; where both speak, nobody knows who is meant."""
    if not options.keys() - {"server-name"}:
        return base
    pins = [text for text in options.get("pin-only", ()) if text not in _FLAG] + options.get("pin", [])
    for key, said in (
        ("pin", bool(base.pins)),
        ("pin-only", bool(base.pins)),
        ("cafile", base.roots is not None),
        ("client-cert", base.client_cert is not None),
        ("client-key", base.client_cert is not None),
    ):
        if key in options and said:
            raise RelayURLError(f"{key}: the URL and the trust argument both give one")
    cafile = options.get("cafile", [None])[0]
    if cafile in ("system", "certifi"):
        cafile = f"./{cafile}"  # a file's name here, not a Trust's word
    try:
        return Trust(
            roots=cafile or base.roots,
            pins=[_pin(text) for text in pins] or base.pins,
            pins_only="pin-only" in options or base.pins_only,
            client_cert=options.get("client-cert", [base.client_cert])[0],
            client_key=options.get("client-key", [base.client_key])[0],
            client_key_password=base.client_key_password,
            minimum_version=base.minimum_version,
        )
    except TrustError as error:
        part, _, problem = str(error).partition(": ")
        keys = {"roots": "cafile", "pins_only": "pin-only", "client_key": "client-key"}
        raise RelayURLError(f"{keys.get(part, 'client-cert')}: {problem}") from error


def _pin(text: str) -> Pin:
    try:
        return Pin.parse(text)
    except PinFormatError as error:
        raise RelayURLError(f"pin: {error}") from error


def _options(relay: Relay) -> str:
    """The query of a relay's URL. Reads no file: a CA file that has changed is still the same words."""
    from urllib.parse import quote

    trust = relay.trust
    pairs = [("pin-only" if trust.pins_only else "pin", str(pin)) for pin in trust.pins]
    pairs += [
        (key, value)
        for key, value in (
            ("cafile", trust.roots),
            ("server-name", relay.server_name),
            ("client-cert", trust.client_cert),
            ("client-key", trust.client_key),
        )
        if value is not None
    ]
    unsayable = (
        trust.roots in ("system", "certifi")
        or trust.client_key_password is not None
        or trust.minimum_version != Trust().minimum_version
        or any(_CONTROL.search(value) for _, value in pairs)
    )
    if unsayable or (pairs and not relay.mode.uses_tls):
        raise RelayURLError("trust: part of it can't be said in a relay URL")
    pairs += [("ignore-extension", name) for name in sorted(relay.ignored_extensions)]
    return "?" + "&".join(f"{key}={quote(value, safe=':/+')}" for key, value in pairs) if pairs else ""
