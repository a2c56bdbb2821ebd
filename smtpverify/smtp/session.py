"""A connection's state: who the peer is, what was learned from it, and why it was closed.

The conversation is smtplib's. What is added: TLS goes through the gate; a connection that failed stays
failed, whoever swallows the error; and what was learned from a server is forgotten with its connection.
No ssl context is touched here.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

from ..errors import (
    PlaintextInjectionError,
    ReferenceIdentifierError,
    SMTPVerifyError,
    STARTTLSRefusedError,
    TLSRequiredError,
    printable,
)
from ..stdlib import Client, caller_frame, host_of, smtplib
from ..tls.causes import Cause
from ..tls.evidence import Diagnosis
from ..tls.foreign import check_context, identify, is_tls, secure, still_has_tls
from ..tls.trust import with_client_certificate
from .channel import Channel
from .timeouts import Timeouts

if TYPE_CHECKING:
    import socket
    import ssl

    from ..relay import Relay
    from ..tls.identity import PeerIdentity
    from ..tls.trust import Trust
    from .attempts import Attempt

__all__ = [
    "EXCHANGED",
    "NOT_OFFERED",
    "Session",
    "injected",
    "one_of",
    "refused",
    "warn_caller",
]

_RFC_5321 = Timeouts()


# What a connection is closed for: cause, summary and remedy.
NOT_OFFERED = (
    Cause.STARTTLS_NOT_OFFERED,
    "the server does not offer STARTTLS",
    (
        "If it used to, somebody may be between you and the server. Some servers speak TLS from the "
        "first byte instead: smtps://, port 465."
    ),
)
EXCHANGED = (
    Cause.PLAINTEXT_NOT_TLS,
    "the connection was in TLS, and its socket was exchanged for one without",
    "Leave `sock` as it is, or put a socket of the ssl module there.",
)


def refused(code: int, reply: bytes) -> tuple[Cause, str, str]:
    """STARTTLS was offered, and then refused."""
    return (
        Cause.STARTTLS_REFUSED,
        f"the server refused STARTTLS: {code} {printable(reply)}",
        "Ask the server's administrator; a code 454 may pass by itself.",
    )


def injected(where: str, waiting: bytes) -> tuple[Cause, str, str]:
    """Octets came in plaintext around the reply to STARTTLS."""
    return (
        Cause.PLAINTEXT_INJECTED,
        f"plaintext came {where} the change to TLS: '{printable(waiting, 60)}'",
        (
            "Somebody between you and the server may have put it there (RFC 3207 4.2); "
            "tell the server's administrator."
        ),
    )


class Session(Client):
    """`smtplib.SMTP` with a peer that is verified, or known to be on plaintext. Base of our classes."""

    _peer: PeerIdentity | None = None
    _relay: Relay | None = None
    esmtp_features: dict[str, str]
    sock: Any
    _trust: Trust
    _server_hostname: str | None = None
    _allow_plaintext_login = False
    _attempt: Attempt | None = None
    _refusal: BaseException | None = None  # why the connection was closed by us
    _judged: object = None  # the socket that `peer` speaks of
    _secured_by_scheme = False
    _warned = False
    _timeouts: Timeouts | None = None  # where the caller gave more than a number
    _open_channel: Channel | None = None

    # --- TLS -------------------------------------------------------------------------------------

    def _starttls(self, keyfile: Any, certfile: Any, context: ssl.SSLContext | None) -> tuple[int, bytes]:
        """Put the connection into TLS and verify the server (RFC 3207), as `smtplib.SMTP.starttls`.

        On a connection that its relay URL has secured already, nothing is done and 220 returned; the
        arguments are not looked at.

        Args:
            keyfile, certfile: PEM files with the client's key and certificate, by keyword in every
                version of Python.
            context: a verifying context to use in place of our own.

        Returns:
            The reply to STARTTLS.

        Raises:
            TLSRequiredError: STARTTLS is not offered, or is refused. This and all of the following
                close the connection.
            PeerVerificationError: the server is not whom we asked for; nothing was sent to it.
            TLSHandshakeError: the handshake broke off.
            PlaintextInjectionError: there was plaintext where only TLS may follow.
            InsecureContextError: the context does not verify, or both it and the trust say whom to believe.
            TrustError: the certificate can't be used.
            smtplib.SMTPHeloError: EHLO and HELO were refused.
            smtplib.SMTPNotSupportedError: the connection is in TLS already, and stays so.
        """
        if self._secured_by_scheme and self.sock is not None:
            self._judge_socket()
            return 220, b"2.0.0 The connection is secured already"
        try:
            one_of(context, keyfile, certfile)
            if context is not None:
                check_context(context)
            trust = with_client_certificate(self._effective_trust(), keyfile, certfile)
            self.ehlo_or_helo_if_needed()
            if self._peer is None:
                return self._start_tls(context, trust)
        except BaseException as error:  # whatever it is must not leave plaintext where TLS was asked for
            self._close_for(error)
            raise
        raise smtplib.SMTPNotSupportedError("the connection is in TLS already (RFC 3207 4.2)")

    @property
    def peer(self) -> PeerIdentity | None:
        """The verified peer, or None on plaintext."""
        return self.__dict__.get("peer", self._peer)

    @peer.setter
    def peer(self, value: Any) -> None:
        self.__dict__["peer"] = value  # a subclass's own, from which nothing follows

    @property
    def relay(self) -> Relay | None:
        """What the host was read as, or None before `connect()`."""
        return self.__dict__.get("relay", self._relay)

    @relay.setter
    def relay(self, value: Any) -> None:
        self.__dict__["relay"] = value  # the same

    def _start_tls(self, context: ssl.SSLContext | None, trust: Trust) -> tuple[int, bytes]:
        if not self.has_extn("starttls"):
            raise self._failed(TLSRequiredError, *NOT_OFFERED)
        self._nothing_waits("ahead of")
        code, reply = self.docmd("STARTTLS")
        if code != 220:
            raise self._failed(STARTTLSRefusedError, *refused(code, reply), smtp_code=code, smtp_error=reply)
        self._nothing_waits("behind")
        self.sock = self._secure(self.sock, context, trust)
        self.file = None
        self._forget_ehlo()  # RFC 3207 4.2
        return code, reply

    def _nothing_waits(self, where: str) -> None:
        """Refuse bytes in plaintext that the server, or somebody before it, sent unasked."""
        waiting = self._channel().unread()
        if waiting:
            raise self._injected(where, waiting)

    def _injected(self, where: str, waiting: bytes) -> Any:
        return self._failed(PlaintextInjectionError, *injected(where, waiting))

    def _secure(self, sock: socket.socket, context: ssl.SSLContext | None, trust: Trust) -> ssl.SSLSocket:
        if self._open_channel is not None and self._open_channel.sock is sock:
            own = self._open_channel.own_timeout()
        else:
            own = sock.gettimeout()
        limit = _RFC_5321.command if own is None else own
        try:
            # It holds for the whole of the handshake.
            sock.settimeout(limit if self._timeouts is None else self._timeouts.command)
            secured, peer = secure(sock, self._server_name(), trust, context)
        except Exception as error:
            sock.close()
            self._close_with_port(error)
            raise
        secured.settimeout(own)
        self._peer, self._judged = peer, secured
        return secured

    def _judge_socket(self) -> None:
        """Judge a socket that somebody else has put into `sock`, before the first byte."""
        sock = self.sock
        if sock is self._judged and (self._peer is None or still_has_tls(sock)):
            return
        peer = None
        if (self._secured_by_scheme or self._peer is not None) and not is_tls(sock):
            raise self._failed(TLSRequiredError, *EXCHANGED)
        if is_tls(sock):
            try:
                peer = identify(sock, self._server_name(), self._effective_trust())
            except Exception as error:
                self._close_with_port(error)
                raise
        self._peer, self._judged = peer, sock

    # --- state and errors ------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connection and forget what was learned from the server."""
        super().close()
        self._forget_ehlo()

    def _channel(self) -> Channel:
        channel = self._open_channel
        if channel is None or channel.sock is not self.sock or channel.file is not self.file:
            self._want_connection()
            if channel is not None and channel.buffered():  # somebody put another socket in its place
                raise self._injected("behind", channel.buffered())
            channel = self._open_channel = Channel(self.sock, self.file)
        return channel

    def _want_connection(self) -> None:
        if self.sock is None:
            if self._refusal is None:
                raise smtplib.SMTPServerDisconnected("please run connect() first")
            raise smtplib.SMTPServerDisconnected(
                f"the connection was closed: {self._refusal}"
            ) from self._refusal
        self._judge_socket()

    def _server_name(self) -> str | bytes:
        relay_name = self._relay.server_name if self._relay else None
        name = self._server_hostname or relay_name or host_of(self)
        if not name:
            raise ReferenceIdentifierError("this connection has no host to verify; give server_hostname")
        return name

    def _effective_trust(self) -> Trust:
        return self._relay.trust if self._relay else self._trust

    def _forget_ehlo(self) -> None:
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False
        self.command_encoding = "ascii"

    def _forget_connection(self) -> None:
        self.close()
        self._peer = self._refusal = self._judged = self._attempt = self._open_channel = None
        self._secured_by_scheme = self._warned = False

    def _error(
        self, kind: type[Any], cause: Cause | None, summary: str, remedy: str = "", **attributes: Any
    ) -> Any:
        diagnosis = Diagnosis(cause, summary, remedy) if cause else None
        port = self._attempt.port if self._attempt else None
        return kind(summary, host=self._shown_host(), port=port, diagnosis=diagnosis, **attributes)

    def _shown_host(self) -> str:
        host = self._relay.host if self._relay else host_of(self)
        if isinstance(host, bytes):
            host = host.decode("ascii", "backslashreplace")
        return str(host or "Unix socket")

    def _failed(self, kind: type[Any], cause: Cause, summary: str, remedy: str, **attributes: Any) -> Any:
        """Make an error of ours and close for it."""
        error = self._error(kind, cause, summary, remedy, **attributes)
        self._close_for(error)
        return error

    def _close_with_port(self, error: Exception) -> None:
        """Close for an error of the gate, which knows the port of the socket and not the one asked for."""
        if isinstance(error, SMTPVerifyError) and self._attempt is not None:
            error.port = self._attempt.port
        self._close_for(error)

    def _close_for(self, error: BaseException) -> None:
        """Close for good: whoever swallows the error can't go on, and is told why."""
        self.close()
        self._refusal = error

    def _warn(self, category: type[Warning], message: str) -> None:
        warn_caller(category, message)

    # --- the signature of the running Python -----------------------------------------------------

    if sys.version_info >= (3, 12):

        def starttls(  # noqa: D102
            self, *, context: ssl.SSLContext | None = None, keyfile: Any = None, certfile: Any = None
        ) -> tuple[int, bytes]:
            return self._starttls(keyfile, certfile, context)

    else:

        def starttls(  # noqa: D102
            self, keyfile: Any = None, certfile: Any = None, context: ssl.SSLContext | None = None
        ) -> tuple[int, bytes]:
            return self._starttls(keyfile, certfile, context)

    starttls.__doc__ = _starttls.__doc__


def one_of(context: object, keyfile: object, certfile: object) -> None:
    """Refuse a context together with a key or certificate, as smtplib does."""
    for name, value in (("keyfile", keyfile), ("certfile", certfile)):
        if context is not None and value is not None:
            raise ValueError(f"context and {name} arguments are mutually exclusive")


def warn_caller(category: type[Warning], message: str) -> None:
    """Warn in the name of whoever called into the mail classes."""
    frame, level = caller_frame(0), 2  # the level at which warn() would name the frame above
    while (above := frame and frame.f_back) and _is_mail_code(above.f_globals.get("__name__")):
        frame, level = above, level + 1
    warnings.warn(message, category, stacklevel=level)


def _is_mail_code(module: object) -> bool:
    return module == "smtplib" or str(module).partition(".")[0] == __name__.partition(".")[0]
