"""`SMTP`, `SMTP_SSL`, `LMTP`: smtplib's classes, whose peer is verified.

A host may be a relay URL, whose scheme stands for one or more tries (`attempts`). Each try is a new
connection that knows nothing of the one before. The constructors have the signatures of the running
Python's smtplib, positional order included, and ours by keyword.
"""

from __future__ import annotations

import socket
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import KnownHostsWarning, PlaintextFallbackWarning, RelayURLError, TLSDowngradeError
from ..relay import Relay
from ..schemes import EXTERNAL, OAUTH, Mode, extension_names
from ..stdlib import (
    DEFAULT_TIMEOUT,
    StockLMTP,
    StockSMTP,
    StockSMTP_SSL,
    host_of,
    is_socket,
    print_debug,
    set_host,
    smtplib,
)
from ..tls.context import create_context
from ..tls.foreign import check_context, is_tls
from ..tls.trust import Trust, trust_given, with_client_certificate
from .attempts import Attempt, attempts, may_fall_back
from .credentials import find_password, kept
from .downgrade import downgrade, keep_in_mind
from .endpoints import as_text, connects_directly, has_unix_sockets, port_number, prepare
from .mailing import Mailing
from .secrecy import veiled
from .session import one_of
from .timeouts import Timeouts

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable
    from typing import TypeAlias

    from typing_extensions import Buffer

    from ..schemes import Dialect
    from .credentials import Keeper, Password

    # As typeshed has it.
    if sys.version_info >= (3, 15):
        SourceAddress: TypeAlias = tuple[Any, ...] | str | Buffer | int
    else:
        SourceAddress: TypeAlias = tuple[Any, ...] | str | Buffer

__all__ = ["DEFAULT_DIALECT", "DEFAULT_TIMEOUT", "LMTP", "SMTP", "SMTP_SSL"]

DEFAULT_DIALECT: Dialect = "opensmtpd-2012"


class SMTP(Mailing):
    """As `smtplib.SMTP`, with a verified peer.

    Args:
        host: a host, `host:port`, or a relay URL, whose port wins over the `port` argument. A URL's
            scheme says how the connection is secured, and it is before the constructor returns.
        port, local_hostname, source_address: as in smtplib.
        timeout: seconds, for each step of `Timeouts`, or a `Timeouts`; where there is none, its defaults.
        trust: what is believed of the server; `Trust()` if None.
        server_hostname: whom the server must prove to be, where that is not `host`.
        password: of the URL's user, or an OAuth 2 token (`auth=xoauth2`); or a callable that gives a fresh
            one for each connection.
        allow_plaintext_login: let credentials go over plaintext to another machine.
        dialect: the meaning of relay URLs' schemes (see `Relay.parse`).
        ignore_extensions: names of extensions, such as `"chunking"`, that count as not offered.

    Attributes:
        peer: the verified peer (`PeerIdentity`), or None on plaintext.
        relay: what `host` was read as (`Relay`), or None before `connect()`.
        mechanism: by which the connection is logged in, or None.

    Raises:
        RelayURLError: `host` can't be used; nothing was sent.
        PeerVerificationError: the server is not whom we asked for; nothing was sent to it.
        TLSRequiredError, TLSHandshakeError: there was no TLS to be had.
        TLSDowngradeError: nor under an opportunistic URL, and it is known to have been.
        TrustError: the known hosts can't be read.
        smtplib.SMTPConnectError: a greeting other than 220.
    """

    _class_mode = Mode.CALLER
    _found_password: Keeper | None = None
    _known_host: object = ""  # what we wrote as the host's name; anything else was written by hand
    _adopted_host: str = ""  # what we wrote there of the constructor's host
    _constructor_host: str = ""  # which a connect() of a subclass may exchange for that of a tunnel

    def __init__(
        self,
        host: str = "",
        port: int = 0,
        local_hostname: str | None = None,
        timeout: float | Timeouts | None = DEFAULT_TIMEOUT,
        source_address: SourceAddress | None = None,
        *,
        trust: Trust | None = None,
        server_hostname: str | None = None,
        password: Password | None = None,
        allow_plaintext_login: bool = False,
        dialect: Dialect = DEFAULT_DIALECT,
        ignore_extensions: Iterable[str] = (),
    ) -> None:
        host = veiled(host)
        self._trust = trust_given(trust)
        self._server_hostname = server_hostname
        self._given_password, password = kept(password), None
        self._allow_plaintext_login = allow_plaintext_login
        self._dialect = dialect
        self._ignored = extension_names(ignore_extensions)
        if isinstance(timeout, Timeouts):
            self._timeouts, timeout = timeout, timeout.connect
        # Without a host: the local name must be known before a connection can say EHLO.
        seconds: Any = timeout  # None too, which typeshed does not have
        by_hand = host_of(self)  # of a subclass, written before this call
        StockSMTP.__init__(self, "", 0, local_hostname, seconds, source_address)
        # Older Pythons write over it. Newer ones leave what an earlier call of the constructor has written.
        set_host(self, "" if as_text(by_hand) in (self._known_host, self._adopted_host) else by_hand)
        self._known_host = self._constructor_host = self._adopted_host = ""
        if host:
            self._constructor_host = veiled(as_text(host))
            code, message = self.connect(host, port)
            if code != 220:  # from a connect() of a subclass
                self.close()
                raise smtplib.SMTPConnectError(code, message)

    def connect(
        self, host: str = "localhost", port: int = 0, source_address: SourceAddress | None = None
    ) -> tuple[int, bytes]:
        """Connect to a host or relay URL, and secure the connection as its scheme says.

        A connection that is open is closed, and all that was learned from it forgotten.

        Args:
            host, port, source_address: as for the class.

        Returns:
            The greeting's code and text.

        Raises:
            others: as for the class.
        """
        host = veiled(host)
        if source_address:
            self.source_address = source_address
        self._forget_connection()
        relay = self._parsed(host)
        self.__dict__.pop("relay", None)
        self._adopt_host(as_text(host), relay)
        relay = self._relay = self._with_constructor_url(as_text(host), relay)
        self._found_password = find_password(relay, self._given_password)
        mode = self._class_mode if relay.mode is Mode.CALLER else relay.mode
        default_port = relay.meaning.port or self.default_port
        tries = attempts(mode, relay.port or port_number(port), default_port)
        failure: BaseException | None = None
        for attempt in tries[:-1]:
            try:
                return self._try(relay, attempt)
            except BaseException as error:  # an interrupt too must not leave half a connection behind
                self._close_for(error)
                # Behind a verified peer there is nothing better to try, and plaintext would be worse.
                if self._peer is not None or not may_fall_back(mode, error):
                    raise
                failure = error
        try:
            return self._try(relay, tries[-1], failure)
        except BaseException as error:
            self._close_for(error)
            if failure is not None and error.__cause__ is None:
                raise error from failure
            raise

    def _try(self, relay: Relay, attempt: Attempt, failure: BaseException | None = None) -> tuple[int, bytes]:
        """Make one connection; what an earlier one, which ended in `failure`, taught is forgotten."""
        self._forget_connection()
        self._attempt = attempt
        if failure is not None and attempt.mode is Mode.PLAINTEXT:
            reason = downgrade(relay.trust, self._server_name(), attempt.port)
            if reason is not None:
                raise self._failed(TLSDowngradeError, *reason)
            self._warn(
                PlaintextFallbackWarning,
                f"{relay}: going on in plaintext, since {failure}; "
                f"{relay.strict_scheme}:// would have refused",
            )
        greeting = self._open(relay, attempt)
        if attempt.mode is Mode.STARTTLS:
            code, message = self.ehlo()
            if not 200 <= code <= 299:
                raise smtplib.SMTPHeloError(code, message)
            self._start_tls(self._callers_context(), relay.trust)
            if relay.mode is Mode.STARTTLS_IF_OFFERED:
                problem = keep_in_mind(relay.trust, self._server_name(), attempt.port)
                if problem is not None:
                    self._warn(KnownHostsWarning, problem)
        self._secured_by_scheme = relay.mode.uses_tls and attempt.mode.uses_tls
        if self._secured_by_scheme:
            self._judge_socket()
        self._log_in_as_told(relay)
        return greeting

    def _log_in_as_told(self, relay: Relay) -> None:
        user, password = relay.user or "", self._found_password
        if relay.auth == EXTERNAL:
            self.login_external(user)
        elif password is None:
            return
        elif relay.auth in OAUTH:
            self.login_oauth2(user, password.ask().text, mechanism=relay.auth)
        elif relay.auth is None:
            self.login(user, password.ask().text)  # a subclass's own knows no mechanism
        else:
            self.login(user, password.ask().text, mechanism=relay.auth)

    def _open(self, relay: Relay, attempt: Attempt) -> tuple[int, bytes]:
        sys.audit("smtplib.connect", self, relay.host, attempt.port)
        sock = self._open_socket(relay.host, attempt.port, self.timeout)
        if attempt.mode is Mode.IMPLICIT and not is_tls(sock):  # a subclass's own, to a proxy perhaps
            sock = self._secure(sock, self._callers_context(), self._effective_trust())
        self.sock, self.file = sock, None
        prepare(sock)
        wait = self._limit("greeting")
        plaintext = is_socket(sock) and not is_tls(sock)
        if attempt.greeting_wait is not None and plaintext:
            wait = min(wait, attempt.greeting_wait)
        try:
            reply = self._in_time(wait, self.getreply)
        except smtplib.SMTPServerDisconnected as error:
            self._explain_greeting(error, plaintext=plaintext)
            raise
        if self.debuglevel > 0:
            print_debug(self, "connect:", repr(reply[1]))
        if reply[0] != 220:
            raise smtplib.SMTPConnectError(*reply)
        return reply

    def _dial(self, host: str, port: int, timeout: Any) -> socket.socket:
        # smtplib's own, so that whoever replaces its sockets replaces ours.
        default = smtplib.socket.getdefaulttimeout()  # type: ignore[attr-defined]
        endless = timeout is None or (timeout is DEFAULT_TIMEOUT and default is None)
        wait = Timeouts().connect if endless else timeout
        implicit = self._attempt is not None and self._attempt.mode is Mode.IMPLICIT
        if implicit and self.debuglevel > 0:  # as smtplib.SMTP_SSL does
            print_debug(self, "connect:", (host, port))
        sock: socket.socket = super()._dial(host, port, wait)
        if endless:
            sock.settimeout(None)
        if connects_directly(socket.create_connection):
            self._dialled, self._dialled_host = sock, host
        if implicit:
            sock = self._secure(sock, self._callers_context(), self._effective_trust())
        return sock

    def _parsed(self, host: str) -> Relay:
        relay = Relay.parse(host, trust=self._trust, dialect=self._dialect)
        lmtp = relay.meaning.lmtp
        if lmtp != isinstance(self, StockLMTP) and (relay.scheme or lmtp):
            wanted = "LMTP" if lmtp else "SMTP"
            raise RelayURLError(f"scheme: {relay} is for {wanted}, not for {type(self).__name__}")
        if self._class_mode is Mode.IMPLICIT and relay.scheme and not relay.mode.requires_tls:
            raise RelayURLError(f"scheme: {type(self).__name__} uses TLS, and {relay.scheme}:// may not")
        return relay

    def _adopt_host(self, given: str, relay: Relay) -> None:
        """Keep the host's name where subclasses read it, and write it before they connect.

        A name that was written by hand says who the server must be, as in smtplib, unless it only repeats the
        host argument. So does the constructor's host, where a `connect()` of a subclass gives another here.
        """
        by_hand, asked = as_text(host_of(self)), self._constructor_host
        if not by_hand and asked not in ("", given):
            try:
                by_hand = Relay.parse(asked, dialect=self._dialect).host
            except RelayURLError:
                if "://" in asked or "@" in asked:  # it may hold a password
                    raise
                by_hand = str(asked)  # what only the subclass can read; no certificate is for it
            self._adopted_host = by_hand
            set_host(self, by_hand)
        if not by_hand or by_hand in (self._known_host, given):
            self._known_host = relay.host
            set_host(self, relay.host)

    def _with_constructor_url(self, given: str, relay: Relay) -> Relay:
        """Return the relay, secured as the constructor's URL says, where a subclass connects elsewhere."""
        asked = self._constructor_host
        if relay.scheme or "://" not in asked or asked == given:
            return relay
        meant = self._parsed(asked)
        if relay.host == meant.host or as_text(host_of(self)) != meant.host:  # not by way of a tunnel
            return relay
        return replace(meant, host=relay.host, port=relay.port, path=relay.path)

    def _callers_context(self) -> ssl.SSLContext | None:
        """The context that the caller gave for TLS from the first byte, or None."""
        return None


class SMTP_SSL(SMTP, StockSMTP_SSL):
    """As `smtplib.SMTP_SSL`: TLS from the first byte (RFC 8314 3.3), with a verified peer.

    Args:
        keyfile, certfile: PEM files with the client's key and certificate, by keyword in every version
            of Python.
        context: a verifying context to use in place of our own.
        others: as for `SMTP`.

    Raises:
        InsecureContextError: the context does not verify.
        others: as for `SMTP`.
    """

    default_port = smtplib.SMTP_SSL_PORT
    _class_mode = Mode.IMPLICIT

    def _prepare(
        self, trust: Trust | None, keyfile: Any, certfile: Any, context: ssl.SSLContext | None
    ) -> Trust:
        one_of(context, keyfile, certfile)
        if context is not None:
            check_context(context)
        trust = with_client_certificate(trust_given(trust), keyfile, certfile)
        self.keyfile, self.certfile = keyfile, certfile
        self._own_context = create_context(trust)
        self.context = self._own_context if context is None else context
        return trust

    def _callers_context(self) -> ssl.SSLContext | None:
        return None if self.context is self._own_context else self.context

    if sys.version_info >= (3, 12):

        def __init__(
            self,
            host: str = "",
            port: int = 0,
            local_hostname: str | None = None,
            *,
            timeout: float | Timeouts | None = DEFAULT_TIMEOUT,
            source_address: SourceAddress | None = None,
            context: ssl.SSLContext | None = None,
            keyfile: Any = None,
            certfile: Any = None,
            trust: Trust | None = None,
            server_hostname: str | None = None,
            password: Password | None = None,
            dialect: Dialect = DEFAULT_DIALECT,
            ignore_extensions: Iterable[str] = (),
        ) -> None:
            options: Any = {
                "trust": self._prepare(trust, keyfile, certfile, context),
                "server_hostname": server_hostname,
                "password": kept(password),
                "dialect": dialect,
                "ignore_extensions": ignore_extensions,
            }
            host, password = veiled(host), None
            SMTP.__init__(self, host, port, local_hostname, timeout, source_address, **options)

    else:

        def __init__(
            self,
            host: str = "",
            port: int = 0,
            local_hostname: str | None = None,
            keyfile: Any = None,
            certfile: Any = None,
            timeout: float | Timeouts | None = DEFAULT_TIMEOUT,
            source_address: SourceAddress | None = None,
            context: ssl.SSLContext | None = None,
            *,
            trust: Trust | None = None,
            server_hostname: str | None = None,
            password: Password | None = None,
            dialect: Dialect = DEFAULT_DIALECT,
            ignore_extensions: Iterable[str] = (),
        ) -> None:
            options: Any = {
                "trust": self._prepare(trust, keyfile, certfile, context),
                "server_hostname": server_hostname,
                "password": kept(password),
                "dialect": dialect,
                "ignore_extensions": ignore_extensions,
            }
            host, password = veiled(host), None
            SMTP.__init__(self, host, port, local_hostname, timeout, source_address, **options)


class LMTP(SMTP, StockLMTP):
    """As `smtplib.LMTP` (RFC 2033): over TCP, or over a Unix socket, whose absolute path is the host.

    Each recipient has a verdict of its own after the data, which `sendmail` gives in its result. For
    `starttls()` over a Unix socket, which has no name, give `server_hostname`. Else as `SMTP`.
    """

    _lmtp = True

    def __init__(
        self,
        host: str = "",
        port: int = smtplib.LMTP_PORT,
        local_hostname: str | None = None,
        source_address: SourceAddress | None = None,
        timeout: float | Timeouts | None = DEFAULT_TIMEOUT,
        *,
        trust: Trust | None = None,
        server_hostname: str | None = None,
        password: Password | None = None,
        allow_plaintext_login: bool = False,
        dialect: Dialect = DEFAULT_DIALECT,
        ignore_extensions: Iterable[str] = (),
    ) -> None:
        host, keeper, password = veiled(host), kept(password), None
        SMTP.__init__(
            self,
            host,
            port,
            local_hostname,
            timeout,
            source_address,
            trust=trust,
            server_hostname=server_hostname,
            password=keeper,
            allow_plaintext_login=allow_plaintext_login,
            dialect=dialect,
            ignore_extensions=ignore_extensions,
        )

    def _parsed(self, host: str) -> Relay:
        relay = super()._parsed(host)
        if relay.path is not None and not has_unix_sockets():
            raise RelayURLError(
                "path: this system has no Unix sockets for Python; give a host and a port, as in lmtp://host:24"
            )
        return relay

    def _open(self, relay: Relay, attempt: Attempt) -> tuple[int, bytes]:
        if relay.path is None:
            return super()._open(relay, attempt)
        reply = self._in_time("greeting", StockLMTP.connect, self, relay.path)
        if reply[0] != 220:
            raise smtplib.SMTPConnectError(*reply)
        return reply
