"""Contexts and connections that others made: checked, used, and never changed."""

from __future__ import annotations

import errno
import ssl
from typing import TYPE_CHECKING, Any

from ..errors import InsecureContextError, SMTPVerifyError, printable
from ..stdlib import has_tls
from .causes import Cause, explain_verdict
from .context import VerifyingContext, VerifyingSocket, create_context
from .diagnosis import handshake_failure, untrusted
from .evidence import Evidence
from .identity import PeerIdentity, evidence_of, is_recent, judge, port_of
from .names import reference_identifier
from .pins import find_pin
from .trust import StockContext, present_context_class
from .waiting import make_handshake

if TYPE_CHECKING:
    import socket

    from .names import ReferenceIdentifier
    from .trust import Trust

__all__ = [
    "check_context",
    "identify",
    "is_tls",
    "secure",
    "still_has_tls",
    "verifies_chain",
]

# The standard library's own, from which those of gevent and eventlet derive.
_NativeContext: Any = next((kind for kind in StockContext.__mro__ if kind.__module__ == "ssl"), StockContext)
_SocketAtImport = ssl.SSLSocket  # gevent may put another in its place, while sockets of this one go on


def check_context(context: ssl.SSLContext) -> None:
    """Check that a context handed in by a caller verifies; it is not changed.

    Raises:
        InsecureContextError: it does not.
    """
    if isinstance(context, VerifyingContext):
        return
    if not isinstance(context, _NativeContext):
        raise InsecureContextError(f"context: an ssl.SSLContext is wanted, not {type(context).__name__}")
    missing = [
        what
        for what, present in (
            ("verify_mode is not CERT_REQUIRED", context.verify_mode == ssl.CERT_REQUIRED),
            ("check_hostname is off", context.check_hostname),
        )
        if not present
    ]
    if missing:
        raise InsecureContextError(
            f"context: it accepts an impostor ({', '.join(missing)}); leave it out, or pass one from "
            "smtpverify.create_context() or ssl.create_default_context()"
        )


def verifies_chain(context: object) -> bool:
    """Whether a context verifies the chain; the name is matched after its handshake in any case."""
    if isinstance(context, VerifyingContext):
        return True
    return isinstance(context, _NativeContext) and context.verify_mode == ssl.CERT_REQUIRED


def is_tls(sock: object) -> bool:
    """Whether a socket does TLS, in the standard library's way or in pyOpenSSL's.

    An object that has every attribute, such as a mock, shows nothing by having these.
    """
    if _is_ssl_socket(sock):
        return True
    has_certificate = hasattr(sock, "getpeercert") or hasattr(sock, "get_peer_certificate")
    return has_certificate and not hasattr(sock, "_no_socket_has_this")


def _is_ssl_socket(sock: object) -> bool:
    return isinstance(sock, (_SocketAtImport, ssl.SSLSocket, VerifyingSocket))


def still_has_tls(sock: object) -> bool:
    """Whether a socket that did TLS does so still: one that was shut down sends in plaintext."""
    # A socket of ours refuses by itself.
    return isinstance(sock, VerifyingSocket) or has_tls(sock)


def secure(
    sock: socket.socket,
    server_hostname: str | bytes,
    trust: Trust,
    context: ssl.SSLContext | None = None,
    *,
    chain_suffices: bool = False,
) -> tuple[ssl.SSLSocket, PeerIdentity]:
    """Set TLS up on a connected socket and verify the peer.

    Args:
        sock: the socket; it is taken over, and closed on failure.
        server_hostname: whom the peer must prove to be.
        trust: what is believed of it. With a `context` its pins count, and the context's roots.
        context: a caller's own verifying context, or None for that of `trust`.
        chain_suffices: take a context that verifies the chain and leaves the name to us.

    Raises:
        InsecureContextError: the context does not verify, or the trust has roots, a client certificate,
            `pins_only` or a known key of its own.
        ReferenceIdentifierError: `server_hostname` is neither a name nor an address.
        PeerVerificationError, TLSHandshakeError: as `VerifyingContext.wrap_socket`.
    """
    wrapped: ssl.SSLSocket
    try:
        reference = reference_identifier(server_hostname)
        trust = trust.for_host(reference)
        if context is None:
            context = create_context(trust)
        if not (chain_suffices and verifies_chain(context)):
            check_context(context)
        _check_agreement(context, trust, reference)
        if isinstance(context, VerifyingContext):
            wrapped = context.wrap_socket(sock, server_hostname=server_hostname)
        else:
            wrapped = _wrap(sock, reference, context)
    except BaseException:
        sock.close()
        raise
    return wrapped, identify(wrapped, server_hostname, trust)


def _check_agreement(context: ssl.SSLContext, trust: Trust, reference: ReferenceIdentifier) -> None:
    """Refuse a context beside a trust that says something else of what a context decides."""
    of_context = context.trust.for_host(reference) if isinstance(context, VerifyingContext) else None
    for name in ("keys_from", "roots", "client_cert", "pins_only"):
        said = getattr(trust, name)
        if said and getattr(of_context, name, None) != said:
            what = "known hosts with a key for the server" if name == "keys_from" else name
            raise InsecureContextError(
                f"context: the trust, or the relay URL, gives {what} too; leave one of them out"
            )


def _wrap(sock: socket.socket, reference: ReferenceIdentifier, context: ssl.SSLContext) -> ssl.SSLSocket:
    # A context with a wrap_socket() of its own (truststore) verifies there, and nowhere else.
    stock = (_NativeContext.wrap_socket, present_context_class().wrap_socket)
    own = type(context).wrap_socket not in stock
    try:
        return context.wrap_socket(sock, server_hostname=reference.text, do_handshake_on_connect=own)
    except TypeError as error:
        if isinstance(context, ssl.SSLContext):
            raise
        raise InsecureContextError(
            "context: it was made before gevent or eventlet replaced the classes of the ssl module, and "
            "can't be used any more; make it after monkey-patching"
        ) from error
    except OSError as error:
        # The socket is closed already: what the peer sent can't be read any more.
        evidence = Evidence(reference, error=error)
        if isinstance(error, ssl.SSLCertVerificationError):
            verdict = getattr(error, "verify_code", 0), getattr(error, "verify_message", str(error))
            failure = untrusted(evidence, *explain_verdict(verdict[0], printable(verdict[1])))
            failure.verify_code, failure.verify_message = verdict
            raise failure from error
        raise handshake_failure(evidence) from error


def identify(sock: Any, server_hostname: str | bytes, trust: Trust) -> PeerIdentity:
    """Judge a TLS socket that somebody else made, after its handshake, which is made if need be.

    Args:
        sock: the socket; it is closed on failure.
        server_hostname: whom the peer must prove to be.
        trust: whose pins count; the roots were those of the socket's own context.

    Raises:
        PeerVerificationError: the socket's context does not verify, or the peer is not whom we asked for.
        TLSHandshakeError: the handshake broke off.
    """
    try:
        return _identify(sock, server_hostname, trust)
    except BaseException as error:
        if isinstance(error, SMTPVerifyError) and _is_ssl_socket(sock):
            error.port = error.port or port_of(sock)  # the gate has closed the socket, and knew it
        sock.close()
        raise


def _identify(sock: Any, server_hostname: str | bytes, trust: Trust) -> PeerIdentity:
    reference = reference_identifier(server_hostname)
    trust = trust.for_host(reference)
    if not _is_ssl_socket(sock):
        raise untrusted(
            Evidence(reference),
            Cause.CONTEXT_NOT_VERIFYING,
            f"TLS was set up by a {type(sock).__name__}, which can't be judged",
            "Use a socket of the ssl module.",
        )
    try:
        if not has_tls(sock):
            raise OSError(errno.ENOTCONN, "no TLS on this socket: not connected, or shut down")
        if not isinstance(sock, VerifyingSocket):
            make_handshake(sock, sock.do_handshake)
        elif sock.peer is None:
            sock.do_handshake()
    except SMTPVerifyError:
        raise
    except OSError as error:
        raise handshake_failure(evidence_of(sock, reference, error)) from error
    if isinstance(sock, VerifyingSocket) and sock.peer is not None and sock.peer.reference == reference:
        # The gate has judged it, by a trust that its maker chose; pins and version of ours count besides.
        pinned = not trust.pins or find_pin(trust.pins, sock.peer.certificate)
        if pinned and is_recent(sock.peer.tls_version, trust):
            return sock.peer
    elif sock.context.verify_mode != ssl.CERT_REQUIRED and not trust.pins_only:
        raise untrusted(
            evidence_of(sock, reference),
            Cause.CONTEXT_NOT_VERIFYING,
            "TLS was set up without verification: whoever answered was accepted",
            "Set it up with smtpverify.create_context() or ssl.create_default_context().",
        )
    return judge(sock, reference, trust)
