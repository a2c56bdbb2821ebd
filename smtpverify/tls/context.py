"""The gate: every TLS handshake of ours goes through here, and of whoever is handed a context.

OpenSSL judges the chain, the dates and the name; then our own matcher and the pins judge the peer's
certificate. Both must be content. Only then does a byte pass: a handshake that fails closes the
connection, and a connection whose handshake nobody asked for makes it before its first byte.

OpenSSL checks nothing of this again on a resumed session, so that sessions are never resumed.
"""

from __future__ import annotations

import errno
import functools
import os
import ssl
import threading
from typing import TYPE_CHECKING, Any

from ..errors import InsecureContextError, SMTPVerifyError, TLSHandshakeError
from ..stdlib import changes_context, has_tls, set_natively
from .causes import Cause, explain_reason
from .ciphers import restrict_ciphers
from .diagnosis import handshake_failure
from .identity import PeerIdentity, evidence_of, judge, port_of
from .names import ReferenceIdentifier, reference_identifier
from .trust import (
    StockContext,
    Trust,
    load_client_certificate,
    load_roots,
    present_context_class,
    trust_given,
)
from .waiting import make_handshake

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from ssl import SSLSocket as _Inherited
    from typing import NoReturn

    from typing_extensions import Self
else:
    _Inherited = object  # see `_verifying`

__all__ = ["VerifyingContext", "VerifyingObject", "VerifyingSocket", "create_context"]

_NOT_YET = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


# --- connections ---------------------------------------------------------------------------------


class _Gate:
    """What `VerifyingSocket` and `VerifyingObject` share; stands before the ssl class in both."""

    _reference: ReferenceIdentifier
    _trust: Trust
    _peer: PeerIdentity | None = None
    _refused: str | None = None

    @property
    def peer(self) -> PeerIdentity | None:
        """The verified peer, or None before the handshake."""
        return self._peer

    @property
    def context(self) -> ssl.SSLContext:
        """The context that made this connection."""
        return super().context  # type: ignore[misc, no-any-return]

    @context.setter
    def context(self, context: ssl.SSLContext) -> NoReturn:
        raise InsecureContextError("the context of a verifying connection can't be exchanged")

    @property
    def session(self) -> ssl.SSLSession | None:
        """The TLS session; it can be read, and never be set."""
        return super().session  # type: ignore[misc, no-any-return]

    @session.setter
    def session(self, session: ssl.SSLSession | None) -> NoReturn:
        raise InsecureContextError(_NO_RESUMPTION)

    def _pass(self, handshake: Callable[[], None]) -> None:
        if self._refused is not None:
            raise TLSHandshakeError(f"the connection was refused: {self._refused}", host=self._reference.text)
        try:
            handshake()
        except _NOT_YET:
            raise
        except OSError as error:
            failure = handshake_failure(evidence_of(self, self._reference, error))
            self._end(failure)
            raise failure from error
        try:
            self._peer = judge(self, self._reference, self._trust)
        except SMTPVerifyError as failure:
            self._end(failure)
            raise

    def _explain(self, error: ssl.SSLError) -> None:
        """Raise ours for an error that is the server's answer to our handshake.

        Under TLS 1.3 a server looks at the client's certificate when the client's handshake has ended
        (RFC 8446 4.4.2.4), so that a refusal comes in the place of the first data.
        """
        if isinstance(error, (*_NOT_YET, SMTPVerifyError)):
            return  # recv_into() calls read()
        if explain_reason(error.reason or "")[0] is Cause.CLIENT_CERTIFICATE_REFUSED:
            failure = handshake_failure(evidence_of(self, self._reference, error))
            self._end(failure)
            raise failure from error

    def _end(self, failure: SMTPVerifyError) -> None:
        self._refused = str(failure)


class VerifyingSocket(_Gate, _Inherited):
    """An `ssl.SSLSocket` whose peer is verified before the first byte; made by a `VerifyingContext`.

    Each is of a subclass, which also inherits from the class that `ssl.SSLSocket` was when it was made:
    gevent and eventlet put their own in its place, before or after we are imported.
    """

    def do_handshake(self, block: bool = False) -> None:
        """Make the handshake and verify the peer, within the socket's timeout.

        Raises:
            PeerVerificationError: the peer is not whom we asked for; the socket is closed.
            TLSHandshakeError: the handshake broke off; the socket is closed.
        """
        if self._refused is None:
            self._require_tls()
        self._pass(lambda: make_handshake(self, self._step, block=block))

    def _step(self) -> None:
        self._require_tls()
        super().do_handshake()  # without arguments: gevent's takes none

    def _require_tls(self) -> None:
        if not has_tls(self):
            raise OSError(errno.ENOTCONN, "no TLS on this socket: not connected, or shut down")

    def _end(self, failure: SMTPVerifyError) -> None:
        failure.port = port_of(self)
        super()._end(failure)
        self.close()


class VerifyingObject(_Gate, ssl.SSLObject):
    """An `ssl.SSLObject` (asyncio) whose peer is verified before the first byte."""

    def do_handshake(self) -> None:
        """Make a step of the handshake, and verify the peer after the last.

        Raises:
            PeerVerificationError: the peer is not whom we asked for; nothing more passes.
            TLSHandshakeError: the handshake broke off.
        """
        self._pass(lambda: ssl.SSLObject.do_handshake(self))


def _after_handshake(kind: Any, name: str) -> Callable[..., Any]:
    inherited = getattr(kind, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        # do_handshake_on_connect=False leaves the handshake to OpenSSL's first read or write, where
        # nobody would look at the result. An SSLSocket without TLS (shut down, unwrapped, its connect()
        # interrupted) is a plain socket: do_handshake() refuses.
        if self._peer is None or not has_tls(self):
            self.do_handshake()
        try:
            return inherited(self, *args, **kwargs)
        except ssl.SSLError as error:
            self._explain(error)
            raise

    method.__name__, method.__doc__ = name, f"As `ssl.{kind.__name__}.{name}`, after the handshake."
    return method


for _name in ("read", "write"):
    setattr(VerifyingObject, _name, _after_handshake(ssl.SSLObject, _name))

_READS = ("read", "recv", "recv_into", "recvfrom", "recvfrom_into")
_WRITES = ("write", "send", "sendall", "sendfile", "sendto")


@functools.cache
def _verifying(kind: type[Any]) -> type[VerifyingSocket]:
    """The `VerifyingSocket` that inherits from a class of TLS sockets."""
    methods = {name: _after_handshake(kind, name) for name in (*_READS, *_WRITES)}
    return type("VerifyingSocket", (VerifyingSocket, kind), {"__module__": __name__, **methods})


def _socket_class(_: object) -> type[VerifyingSocket]:
    """The class of new sockets."""
    present: Any = ssl.SSLSocket
    return _verifying(present)


def _put_gate(sock: Any, context: ssl.SSLContext) -> None:
    """Have a TLS socket that a library made of its own class verify its peer before the first byte."""
    kind: Any = type(sock)
    try:
        if not issubclass(kind, ssl.SSLSocket):
            raise TypeError("they are not of the class ssl.SSLSocket")
        if sock.context is not context:  # whose roots and flags OpenSSL would not have gone by
            raise TypeError("they are of another context")
        sock.__class__ = _verifying(kind)
    except TypeError as error:
        sock.close()
        raise InsecureContextError(
            f"a library has replaced the ssl module's sockets ({kind.__name__}), and they can't be "
            f"verified: {error}; do without that library, or connect in another process"
        ) from error


# --- the context ---------------------------------------------------------------------------------

# As it was: some programs put another in its place, which verifies nothing.
_default_context = ssl.create_default_context
_NO_RESUMPTION = "a TLS session is never resumed: OpenSSL would verify nothing again"
# All that a context can be set to, in the running Python, besides what its methods load.
_SETTINGS = (
    "trust",
    "sslobject_class",
    *(
        name
        for name in dir(StockContext)
        if not name.startswith("__") and hasattr(getattr(StockContext, name), "__set__")
    ),
)
_IMMUTABLE = "a VerifyingContext is shared and can't be changed ({}); make a Trust for what you need"


class VerifyingContext(StockContext):
    """An `ssl.SSLContext` for clients that verifies, and can't be told not to.

    It goes wherever an `ssl.SSLContext` goes: `wrap_socket`, `wrap_bio`, asyncio, aiosmtplib, imaplib.
    `server_hostname` is required; names are read by IDNA 2008. Everybody with an equal `Trust` shares
    one, so that it is immutable: setting anything to another value raises `InsecureContextError`.

    Args:
        trust: what is believed of the peers; `Trust()` if None. Use `create_context`, which caches.
    """

    sslsocket_class: Any = property(_socket_class)
    sslobject_class = VerifyingObject
    _sealed = False
    trust: Trust

    def __new__(cls, trust: Trust | None = None) -> Self:  # noqa: D102
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, trust: Trust | None = None) -> None:
        self.trust = trust = trust_given(trust)
        self.minimum_version = trust.minimum_version
        self.hostname_checks_common_name = False
        # With a purpose for which it loads no roots, this costs little and asks the running Python.
        self.verify_flags = _default_context(ssl.Purpose.CLIENT_AUTH).verify_flags
        # Nothing may exchange the certificate once it was verified.
        self.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        restrict_ciphers(self)
        load_client_certificate(self, trust)
        if trust.pins_only:
            # OpenSSL's verdict would be on the chain and the name, in whose place the pins stand.
            self.check_hostname = False
            self.verify_mode = ssl.CERT_NONE
        else:
            self.check_hostname = True
            self.verify_mode = ssl.CERT_REQUIRED
            load_roots(self, trust.roots)
        self._born = self._settings()
        self._sealed = True

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> VerifyingSocket:
        """As `ssl.SSLContext.wrap_socket`, for clients.

        Raises:
            InsecureContextError: no `server_hostname`, or a `session`, or `server_side`.
            ReferenceIdentifierError: `server_hostname` is neither a name nor an address.
            PeerVerificationError: the peer is not whom we asked for; the socket is closed.
            TLSHandshakeError: the handshake broke off; the socket is closed.
            TrustError: the known hosts can't be read.
        """
        reference = self._reference(server_side, server_hostname, session)
        chosen = self._for(reference)
        if chosen is not self:
            return chosen.wrap_socket(
                sock, False, do_handshake_on_connect, suppress_ragged_eofs, server_hostname
            )
        # By keywords, which eventlet wants. It makes a socket of its own class.
        wrapped: Any = present_context_class().wrap_socket(
            self,
            sock,
            server_side=False,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=suppress_ragged_eofs,
            server_hostname=reference.text,
        )
        if not isinstance(wrapped, VerifyingSocket):
            _put_gate(wrapped, self)
        wrapped._reference, wrapped._trust = reference, self.trust
        wrapped.do_handshake_on_connect = do_handshake_on_connect
        if do_handshake_on_connect and has_tls(wrapped):
            if wrapped.gettimeout() == 0:
                wrapped.close()
                raise ValueError("do_handshake_on_connect should not be specified for non-blocking sockets")
            try:
                wrapped.do_handshake()
            except BaseException:  # of Ctrl-C nobody else takes care
                wrapped.close()
                raise
        return wrapped  # type: ignore[no-any-return]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> VerifyingObject:
        """As `ssl.SSLContext.wrap_bio`, for clients; raises as `wrap_socket`."""
        reference = self._reference(server_side, server_hostname, session)
        chosen = self._for(reference)
        if chosen is not self:
            return chosen.wrap_bio(incoming, outgoing, False, server_hostname)
        wrapped: Any = super().wrap_bio(incoming, outgoing, False, reference.text)
        wrapped._reference, wrapped._trust = reference, self.trust
        return wrapped  # type: ignore[no-any-return]

    def _reference(
        self, server_side: bool, server_hostname: str | bytes | None, session: ssl.SSLSession | None
    ) -> ReferenceIdentifier:
        if server_side:
            raise InsecureContextError("a VerifyingContext is for clients, not for server_side")
        if session is not None:
            raise InsecureContextError(_NO_RESUMPTION)
        if not server_hostname:
            raise InsecureContextError("server_hostname: say who the peer must be")
        if self._settings() != self._born:
            raise InsecureContextError("the context was changed behind its back; it is of no use any more")
        return reference_identifier(server_hostname)

    def _for(self, reference: ReferenceIdentifier) -> VerifyingContext:
        """The context for one host: another than this where it has a key among the known hosts."""
        trust = self.trust.for_host(reference)
        return self if trust is self.trust else create_context(trust)

    def _settings(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in _SETTINGS)

    def __setattr__(self, name: str, value: object) -> None:
        if not self._sealed:
            if not set_natively(self, name, value):
                super().__setattr__(name, value)
        elif not hasattr(self, name) or getattr(self, name) != value:
            raise InsecureContextError(_IMMUTABLE.format(name))

    def __delattr__(self, name: str) -> NoReturn:
        raise InsecureContextError(_IMMUTABLE.format(name))


def _refuse_when_sealed(name: str) -> Callable[..., Any]:
    inherited = getattr(StockContext, name)

    def method(self: VerifyingContext, *args: Any, **kwargs: Any) -> Any:
        if self._sealed:
            raise InsecureContextError(_IMMUTABLE.format(name))
        return inherited(self, *args, **kwargs)

    method.__name__, method.__doc__ = name, f"Refused: a `VerifyingContext` is immutable (`{name}`)."
    return method


for _name in dir(StockContext):
    if changes_context(_name):
        setattr(VerifyingContext, _name, _refuse_when_sealed(_name))


# --- one context a Trust -------------------------------------------------------------------------


class _Cache:
    """The contexts that were made; the oldest goes where there are too many.

    Of those by a known key first: there may be as many as hosts, and without roots each costs little.
    """

    MOST = 64

    def __init__(self) -> None:
        self._contexts: dict[Trust, VerifyingContext] = {}
        self.renew_lock()

    def renew_lock(self) -> None:
        """In a forked child: a thread that does not exist there may have held the lock."""
        self._lock = threading.Lock()

    def get(self, trust: Trust) -> VerifyingContext:
        context = self._contexts.get(trust)
        if context is None:
            with self._lock:
                context = self._contexts.get(trust)
                if context is None:
                    context = VerifyingContext(trust)
                    while len(self._contexts) >= self.MOST:
                        oldest = min(self._contexts, key=lambda each: each.keys_from is None)
                        del self._contexts[oldest]
                    self._contexts[trust] = context
        return context


_cache = _Cache()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_cache.renew_lock)


def create_context(trust: Trust | None = None) -> VerifyingContext:
    """The verifying context for a `Trust`: the same object for the same trust, made when first asked for.

    Args:
        trust: what is believed of the peers; `Trust()` if None.

    Raises:
        TrustError: roots or client certificate can't be loaded, or it is no `Trust`.
    """
    return _cache.get(trust_given(trust))
