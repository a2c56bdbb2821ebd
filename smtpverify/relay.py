"""Relay URL <-> `Relay`: what was asked for, as a value.

Everything is checked here, files too, before any packet. Opens no socket.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import PinFormatError, RelayURLError, TrustError, printable
from .schemes import DIALECTS, EXTERNAL, Mode, Scheme, extension_names, mechanism_name
from .tls.names import split_host_port
from .tls.pins import Pin
from .tls.trust import Trust, trust_given
from .urls import (
    CONTROL,
    FLAG,
    NO_FLAG,
    checked_host,
    checked_port,
    decoded,
    host_and_port,
    no_control_characters,
    options_of,
    userinfo_of,
)

if TYPE_CHECKING:
    from .schemes import Dialect

__all__ = ["Relay"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


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
        auth: the mechanism of AUTH to use, or None for the strongest.
        password_env, password_file: the environment variable and the file that hold the password, or None.
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
    auth: str | None = None
    password_env: str | None = None
    password_file: str | None = None

    def __post_init__(self) -> None:
        if self.scheme and self.scheme not in DIALECTS.get(self.dialect, ()):
            raise RelayURLError(f"scheme: {self.scheme}:// is unknown in the dialect {self.dialect}")
        if self.user is None:
            for part, value in (
                ("password", self.password),
                ("password-env", self.password_env),
                ("password-file", self.password_file),
                ("auth", self.auth if self.auth != EXTERNAL else None),
            ):
                if value is not None:
                    raise RelayURLError(f"user: it is missing; {part} needs one")
        if self.password is not None and (self.password_env or self.password_file):
            raise RelayURLError("password: it is given twice")
        if self.port is not None and not 0 < self.port < 65536:
            raise RelayURLError("port: it is no number from 1 to 65535")
        for part, value in (
            ("path", self.path if self.scheme else None),
            ("user", self.user),
            ("password", self.password),
            ("password-env", self.password_env),
            ("password-file", self.password_file),
            ("server-name", self.server_name),
        ):
            if value is not None and CONTROL.search(value):
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
        try:
            return cls._parsed(text, trust_given(trust), dialect)
        except RelayURLError as error:
            # The frames and errors behind it hold the password.
            failure = error.with_traceback(None)
            failure.__context__ = failure.__cause__
        text = ""
        raise failure

    @classmethod
    def _parsed(cls, text: str, trust: Trust, dialect: Dialect) -> Relay:
        match = _SCHEME.match(text)
        if match is None:
            return cls._bare(text, trust, dialect)
        no_control_characters(text)
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
        return cls("", checked_host(host), checked_port(port), trust=trust, dialect=dialect)

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
        user, password, location = userinfo_of(authority)
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
            socket_path = "/" + decoded("path", path)
        elif path:
            raise RelayURLError(f"path: {scheme}:// has none; write / in a password as %2F")
        else:
            host, port = host_and_port(location)
            if port is None and meaning.port is None:
                raise RelayURLError(f"port: {scheme}:// has no default port; write {scheme}://host:port")
        options = options_of(query)
        ignored = extension_names(options.pop("ignore-extension", ()))
        (auth,) = options.pop("auth", [None])
        (password_env,) = options.pop("password-env", [None])
        (password_file,) = options.pop("password-file", [None])
        if options and not meaning.mode.uses_tls:
            raise RelayURLError(f"query: {scheme}:// never uses TLS; {', '.join(options)} would be of no use")
        if trust.pins and not meaning.mode.uses_tls:
            raise RelayURLError(f"trust: {scheme}:// never uses TLS; its pins would be of no use")
        server_name = options.get("server-name", [None])[0]
        trust = _trust(options, trust)
        return cls(
            scheme,
            host,
            port,
            socket_path,
            user,
            password,
            server_name,
            trust,
            dialect,
            ignored,
            None if auth is None else mechanism_name(auth),
            password_env,
            password_file,
        )

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


def _trust(options: dict[str, list[str]], base: Trust) -> Trust:
    """The caller's trust with what the URL says of it; where both speak, nobody knows who is meant."""
    if not options.keys() - {"server-name"}:
        return base
    pins = [text for text in options.get("pin-only", ()) if text not in FLAG] + options.get("pin", [])
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
    known_hosts: str | bool | None = options.get("known-hosts", [base.known_hosts])[0]
    if known_hosts in NO_FLAG:
        raise RelayURLError(f"known-hosts: leave it out for none; a file of that name is ./{known_hosts}")
    try:
        return Trust(
            roots=cafile or base.roots,
            pins=[_pin(text) for text in pins] or base.pins,
            pins_only="pin-only" in options or base.pins_only,
            known_hosts=known_hosts in FLAG or known_hosts,
            client_cert=options.get("client-cert", [base.client_cert])[0],
            client_key=options.get("client-key", [base.client_key])[0],
            client_key_password=base.client_key_password,
            minimum_version=base.minimum_version,
        )
    except TrustError as error:
        part, _, problem = str(error).partition(": ")
        keys = {
            "roots": "cafile",
            "pins_only": "pin-only",
            "client_key": "client-key",
            "known_hosts": "known-hosts",
            "known hosts": "known-hosts",
        }
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
            ("known-hosts", trust.known_hosts),
        )
        if value is not None
    ]
    unsayable = (
        trust.roots in ("system", "certifi")
        or trust.client_key_password is not None
        or trust.minimum_version != Trust().minimum_version
        or any(CONTROL.search(value) for _, value in pairs)
    )
    if unsayable or (pairs and not relay.mode.uses_tls):
        raise RelayURLError("trust: part of it can't be said in a relay URL")
    pairs += [
        (key, value)
        for key, value in (
            ("auth", relay.auth and relay.auth.lower()),
            ("password-env", relay.password_env),
            ("password-file", relay.password_file),
            *(("ignore-extension", name) for name in sorted(relay.ignored_extensions)),
        )
        if value is not None
    ]
    return "?" + "&".join(f"{key}={quote(value, safe=':/+')}" for key, value in pairs) if pairs else ""
