"""Mocks of sockets in somebody's tests: they are used as by smtplib, and prove nothing."""

from __future__ import annotations

import smtplib
import socket
import ssl
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

import smtpverify
from tests.bed import HOST, Tls, World
from tests.bed.network import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import ServerFactory

GREETING = [b"220 mail.example.org ESMTP\r\n"]
REPLIES = [b"250 mail.example.org\r\n", *[b"250 ok\r\n"] * 2, b"354 go on\r\n", b"250 ok\r\n", b"221 bye\r\n"]
MOCKS = {
    "MagicMock": mock.MagicMock,
    "Mock": mock.Mock,
    "MagicMock of a socket": lambda: mock.MagicMock(spec=socket.socket),
    "Mock of a socket": lambda: mock.Mock(spec=socket.socket),
    "autospec": lambda: mock.create_autospec(socket.socket, instance=True),
}
over_mocks = pytest.mark.parametrize("kind", MOCKS)


@pytest.fixture(params=["SMTP", "injected"])
def face(request: pytest.FixtureRequest) -> Iterator[type[smtplib.SMTP]]:
    """A class of ours, and smtplib's own while it is injected."""
    if request.param == "SMTP":
        yield smtpverify.SMTP
    else:
        with smtpverify.inject_into_smtplib():
            yield smtplib.SMTP


def mocked(kind: str, lines: list[bytes]) -> Any:
    make: Any = MOCKS[kind]
    sock = make()
    sock.makefile.return_value.readline.side_effect = lines
    return sock


def sent_to(sock: Any) -> list[bytes]:
    return b"".join(call.args[0] for call in sock.sendall.call_args_list).lower().splitlines()


SENT = [
    b"ehlo client.example.org",
    b"mail from:<alice@example.org>",
    b"rcpt to:<bob@example.net>",
    b"data",
    b"hello",
    b".",
    b"quit",
]


@pytest.mark.filterwarnings("ignore::smtpverify.PlaintextWarning")
@over_mocks
def test_a_mock_that_is_put_into_sock(face: type[smtplib.SMTP], kind: str) -> None:
    smtp = face(local_hostname="client.example.org")
    sock = smtp.sock = mocked(kind, REPLIES)
    assert smtp.sendmail("alice@example.org", ["bob@example.net"], "hello") == {}
    assert getattr(smtp, "peer", None) is None
    smtp.quit()
    assert sent_to(sock) == SENT
    sock.close.assert_called()


@pytest.mark.filterwarnings("ignore::smtpverify.PlaintextWarning")
@over_mocks
def test_a_mock_that_is_connected_to(
    face: type[smtplib.SMTP], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sock = mocked(kind, GREETING + REPLIES)
    monkeypatch.setattr(socket, "create_connection", lambda *args, **kwargs: sock)
    with face(HOST, 25, "client.example.org") as smtp:
        assert smtp.sendmail("alice@example.org", ["bob@example.net"], "hello") == {}
        assert getattr(smtp, "peer", None) is None
    assert sent_to(sock) == SENT


@over_mocks
def test_a_mock_gets_no_password(face: type[smtplib.SMTP], kind: str) -> None:
    """It counts as plaintext to another machine, as every socket does that shows neither."""
    smtp = face(local_hostname="client.example.org")
    sock = smtp.sock = mocked(kind, [b"250-mail.example.org\r\n", b"250 AUTH PLAIN\r\n"])
    with pytest.raises(smtpverify.PlaintextCredentialsError):
        smtp.login("alice", "correct horse")
    assert b"auth" not in b"".join(sent_to(sock))


def test_a_mock_of_a_tls_socket_is_refused(face: type[smtplib.SMTP]) -> None:
    """What says that it is one has to prove its peer."""
    smtp = face(local_hostname="client.example.org")
    smtp._host = HOST  # type: ignore[attr-defined]
    smtp.sock = sock = mock.MagicMock(spec=ssl.SSLSocket)
    with pytest.raises(smtpverify.SMTPVerifyError):
        smtp.ehlo()
    sock.sendall.assert_not_called()
    sock.send.assert_not_called()


class Delegating:
    """A wrapper such as libraries have, which passes on what it does not do itself."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def test_a_wrapper_around_a_tls_socket_is_refused(
    smtp_server: ServerFactory, world: World, face: type[smtplib.SMTP]
) -> None:
    with smtp_server(tls=Tls.IMPLICIT, certificate=world.served("self_signed_leaf")) as server:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        smtp = face(local_hostname="client.example.org")
        smtp._host = HOST  # type: ignore[attr-defined]
        plain = socket.create_connection((LOOPBACK, server.port), 5)
        smtp.sock = Delegating(context.wrap_socket(plain))  # type: ignore[assignment]
        with pytest.raises(smtpverify.UntrustedCertificateError, match="Delegating, which can't be judged"):
            smtp.ehlo()
    assert server.connections[0].secure == b""


@over_mocks
def test_a_mock_in_the_place_of_a_verified_socket(
    smtp_server: ServerFactory, face: type[smtplib.SMTP], kind: str
) -> None:
    with smtp_server(tls=Tls.STARTTLS) as server:
        smtp = face(HOST, server.port, "client.example.org", timeout=5)
        smtp.starttls()
        verified, smtp.sock = smtp.sock, mocked(kind, REPLIES)
        sock: Any = smtp.sock
        with pytest.raises(smtpverify.TLSRequiredError, match="exchanged for one without"):
            smtp.ehlo()
        sock.sendall.assert_not_called()
        assert verified is not None
        verified.close()
