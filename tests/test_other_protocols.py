"""`create_context()` in `imaplib` and `poplib`, also where TLS begins with a command of theirs."""

from __future__ import annotations

import contextlib
import imaplib
import poplib
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from smtpverify import Trust, create_context
from tests.bed import HOST
from tests.bed.network import LOOPBACK
from tests.gate import OTHER_PIN, pin_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from tests.bed import Issued, World

REFUSED = {
    "wrong_name": smtpverify.HostnameMismatchError,
    "unknown_issuer": smtpverify.UntrustedCertificateError,
    "expired": smtpverify.CertificateExpiredError,
}


class MailboxServer(threading.Thread):
    """Serves one connection, IMAP (RFC 9051) or POP3 (RFC 1939), as far as a client logs in and leaves."""

    def __init__(self, protocol: str, issued: Issued, *, implicit: bool) -> None:
        super().__init__(daemon=True)
        self._answer: Callable[..., bytes] = self._imap if protocol == "imap" else self._pop3
        self._greeting = {"imap": b"* OK ready", "pop3": b"+OK ready"}[protocol]
        self._tls, self._implicit = issued.server_context(), implicit
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.settimeout(10)
        self.port = self._listener.getsockname()[1]
        self.clear: list[bytes] = []
        self.secure: list[bytes] = []

    def __enter__(self) -> MailboxServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join(10)
        self._listener.close()
        assert not self.is_alive()

    def run(self) -> None:
        with contextlib.suppress(OSError), self._accepted() as sock:  # what the client refuses ends so
            if self._implicit:
                with self._tls.wrap_socket(sock, server_side=True) as secured:
                    secured.sendall(self._greeting + b"\r\n")
                    self._converse(secured, self.secure)
                return
            sock.sendall(self._greeting + b"\r\n")
            if self._converse(sock, self.clear):
                with self._tls.wrap_socket(sock, server_side=True) as secured:
                    self._converse(secured, self.secure)

    def _accepted(self) -> socket.socket:
        sock, _ = self._listener.accept()
        sock.settimeout(10)
        return sock

    def _converse(self, sock: socket.socket, seen: list[bytes]) -> bool:
        """Answer until the client leaves, or asks for TLS."""
        with sock.makefile("rb", buffering=0) as lines:  # nothing is read ahead of a handshake
            for line in lines:
                seen.append(line.rstrip())
                sock.sendall(self._answer(*line.decode().split()))
                if line.rstrip().endswith((b"STARTTLS", b"STLS")):
                    return True
        return False

    def _imap(self, tag: str, verb: str, *_: str) -> bytes:
        said = {"CAPABILITY": "* CAPABILITY IMAP4REV1 STARTTLS\r\n", "LOGOUT": "* BYE\r\n"}.get(verb, "")
        return f"{said}{tag} OK done\r\n".encode()

    def _pop3(self, verb: str, *_: str) -> bytes:
        return b"+OK\r\nSTLS\r\n.\r\n" if verb == "CAPA" else b"+OK\r\n"


def imap(port: int, context: ssl.SSLContext) -> None:
    with imaplib.IMAP4_SSL(HOST, port, ssl_context=context, timeout=10) as client:
        client.login("alice", "secret")


def imap_starttls(port: int, context: ssl.SSLContext) -> None:
    client = imaplib.IMAP4(HOST, port, timeout=10)
    client.starttls(context)  # the gate has closed the socket where this fails
    client.login("alice", "secret")
    client.logout()


def pop3(port: int, context: ssl.SSLContext) -> None:
    log_in(poplib.POP3_SSL(HOST, port, context=context, timeout=10))


def pop3_stls(port: int, context: ssl.SSLContext) -> None:
    client = poplib.POP3(HOST, port, timeout=10)
    client.stls(context)
    log_in(client)


def log_in(client: poplib.POP3) -> None:
    client.user("alice")
    client.pass_("secret")
    client.quit()


CLIENTS: list[Callable[[int, ssl.SSLContext], None]] = [imap, imap_starttls, pop3, pop3_stls]
over_clients: pytest.MarkDecorator = pytest.mark.parametrize("client", CLIENTS, ids=lambda one: one.__name__)


def serving(client: Any, issued: Issued) -> MailboxServer:
    protocol, _, command = client.__name__.partition("_")
    return MailboxServer(protocol, issued, implicit=not command)


@over_clients
@pytest.mark.parametrize("pinned", [False, True])
def test_the_right_server_gets_the_password_in_tls(world: World, client: Any, pinned: bool) -> None:
    context = create_context(Trust(pins=pin_of(world.good())) if pinned else None)
    with serving(client, world.good()) as server:
        client(server.port, context)
    assert any(b"secret" in line for line in server.secure)
    assert not any(b"secret" in line for line in server.clear)


@over_clients
@pytest.mark.parametrize("kind", REFUSED)
def test_an_impostor_gets_nothing(world: World, client: Any, kind: str) -> None:
    with serving(client, world.served(kind)) as server, pytest.raises(REFUSED[kind]):
        client(server.port, create_context())
    assert_nothing_given_away(server)


@over_clients
@pytest.mark.parametrize("pins_only", [False, True])
def test_a_wrong_pin_gets_nothing(world: World, client: Any, pins_only: bool) -> None:
    with serving(client, world.good()) as server, pytest.raises(smtpverify.PinMismatchError):
        client(server.port, create_context(Trust(pins=OTHER_PIN, pins_only=pins_only)))
    assert_nothing_given_away(server)


def assert_nothing_given_away(server: MailboxServer) -> None:
    assert server.secure == []
    verbs = {line.split()[-1].decode() for line in server.clear}
    assert verbs <= {"CAPABILITY", "CAPA", "STARTTLS", "STLS"}


def test_who_swallows_the_error_has_no_connection_left(world: World) -> None:
    with serving(imap_starttls, world.served("wrong_name")) as server:
        client = imaplib.IMAP4(HOST, server.port, timeout=10)
        with pytest.raises(smtpverify.HostnameMismatchError):
            client.starttls(create_context())
        with pytest.raises((OSError, imaplib.IMAP4.abort)):
            client.login("alice", "secret")
    assert_nothing_given_away(server)
