"""smtplib under injection: whatever a program does with its classes, only a verified server gets anything."""

from __future__ import annotations

import contextlib
import inspect
import logging.handlers
import smtplib
import socket
import ssl
import sys
import threading
import warnings

# As programs have imported them, long before anybody injects.
from smtplib import LMTP, SMTP, SMTP_SSL
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import smtpverify
from smtpverify import Cause, Trust, extract_from_smtplib, inject_into_smtplib
from tests.bed import HOST, Behaviour, End, Protocol, Server, Starttls, Tls, World
from tests.gate import OTHER, OTHER_PIN, pin_of, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import ServerFactory

CLASSES = (smtplib.SMTP, smtplib.SMTP_SSL, smtplib.LMTP)
MESSAGE = b"Subject: hello\r\n\r\nhello\r\n"
TIMEOUT = 5.0
# What a careless program passes over.
SWALLOWED = (smtplib.SMTPException, OSError, ValueError)
OLD = sys.version_info < (3, 12)  # smtplib has keyfile and certfile

starttls_server = Behaviour(tls=Tls.STARTTLS)
implicit_server = Behaviour(tls=Tls.IMPLICIT)
lmtp_server = Behaviour(tls=Tls.STARTTLS, protocol=Protocol.LMTP)
stripped = Behaviour(tls=Tls.STARTTLS, starttls=Starttls.ABSENT)
ahead = Behaviour(tls=Tls.STARTTLS, starttls=Starttls.INJECTED_AHEAD)

IMPOSTORS: dict[str, tuple[type[smtpverify.PeerVerificationError], Cause]] = {
    "unknown_issuer": (smtpverify.UntrustedCertificateError, Cause.UNKNOWN_ISSUER),
    "self_signed_leaf": (smtpverify.UntrustedCertificateError, Cause.SELF_SIGNED_LEAF),
    "wrong_name": (smtpverify.HostnameMismatchError, Cause.WRONG_NAME),
    "expired": (smtpverify.CertificateExpiredError, Cause.EXPIRED),
}


def stock() -> list[dict[str, object]]:
    return [dict(vars(cls)) for cls in CLASSES]


UNTOUCHED = stock()


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Nothing of an injection outlives its test."""
    assert stock() == UNTOUCHED
    yield
    for _ in range(10):
        extract_from_smtplib()
    assert stock() == UNTOUCHED


@pytest.fixture
def injected() -> Iterator[None]:
    with inject_into_smtplib():
        yield


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let loopback pass for another machine."""
    monkeypatch.setattr("smtpverify.smtp.guard.is_local", lambda sock: False)


def unverified() -> ssl.SSLContext:
    """The context of most programs: smtplib's own, and what is pasted from answers on the web."""
    return ssl._create_unverified_context()


def by_chain_alone(world: World) -> ssl.SSLContext:
    context = world.client_context()
    context.check_hostname = False
    return context


def log_in_and_send(smtp: smtplib.SMTP) -> None:
    smtp.login("alice", "secret")
    smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)


def assert_sent(server: Server, number: int = 1) -> None:
    server.close()
    assert [message.data for message in server.messages] == [MESSAGE] * number
    assert not any(seen.clear.upper().count(b"AUTH") for seen in server.connections)
    assert [each.password for seen in server.connections for each in seen.credentials] == ["secret"] * number


# --- the ways of programs ------------------------------------------------------------------------


class Way(NamedTuple):
    """How a program comes to a connection in TLS: an object first, and then what it does with it."""

    server: Behaviour
    make: Callable[[int], smtplib.SMTP]
    secure: Callable[[Any, int, World], object]


class Own(SMTP):
    """A subclass of a program's."""

    def starttls(self, *args: Any, **kwargs: Any) -> Any:
        return super().starttls(*args, **kwargs)


class OwnTls(SMTP_SSL):
    """A subclass that opens its connection itself, as for a proxy, and uses smtplib's context."""

    context: ssl.SSLContext

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        sock = socket.create_connection((host, port), timeout)
        return self.context.wrap_socket(sock, server_hostname=self._host)  # type: ignore[attr-defined]


class OwnSend(SMTP):
    """A subclass that writes to its socket itself."""

    def send(self, s: Any) -> None:
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("not connected")
        self.sock.sendall(s.encode("ascii") if isinstance(s, str) else bytes(s))

    def putcmd(self, cmd: str, args: str = "") -> None:
        self.send(f"{cmd} {args}\r\n" if args else f"{cmd}\r\n")


def connected(port: int) -> smtplib.SMTP:
    return SMTP(HOST, port, timeout=TIMEOUT)


def unconnected(port: int) -> smtplib.SMTP:
    return SMTP(timeout=TIMEOUT)


def unconnected_tls(port: int) -> smtplib.SMTP:
    return SMTP_SSL(timeout=TIMEOUT)


def by_hand(smtp: Any, context: ssl.SSLContext, name: str | None = HOST) -> None:
    if smtp.docmd("STARTTLS")[0] == 220:
        smtp.sock = context.wrap_socket(smtp.sock, server_hostname=name)
        smtp.file = None


def put_in_place(smtp: Any, port: int, context: ssl.SSLContext) -> None:
    raw = socket.create_connection((HOST, port), TIMEOUT)
    smtp.sock = context.wrap_socket(raw, server_hostname=HOST)
    smtp.file = smtp.sock.makefile("rb")
    smtp.getreply()


def connect_and_start(smtp: Any, host: Any, port: Any) -> None:
    smtp.connect(host, port)
    smtp.starttls()


WAYS = {
    "starttls": Way(starttls_server, connected, lambda smtp, port, world: smtp.starttls()),
    "starttls behind ehlo": Way(
        starttls_server, connected, lambda smtp, port, world: (smtp.ehlo(), smtp.starttls(), smtp.ehlo())
    ),
    "name:port": Way(
        starttls_server,
        lambda port: SMTP(f"{HOST}:{port}", timeout=TIMEOUT),
        lambda smtp, port, world: smtp.starttls(),
    ),
    "everything by position": Way(
        starttls_server,
        lambda port: SMTP(HOST, port, "client.example.org", TIMEOUT, None),
        lambda smtp, port, world: smtp.starttls(),
    ),
    "connect() later": Way(
        starttls_server, unconnected, lambda smtp, port, world: connect_and_start(smtp, HOST, port)
    ),
    "connect() later to name:port": Way(
        starttls_server, unconnected, lambda smtp, port, world: connect_and_start(smtp, f"{HOST}:{port}", 0)
    ),
    "host in octets": Way(
        starttls_server, unconnected, lambda smtp, port, world: connect_and_start(smtp, HOST.encode(), port)
    ),
    "port in text": Way(
        starttls_server,
        lambda port: SMTP(HOST, str(port), timeout=TIMEOUT),  # type: ignore[arg-type]
        lambda smtp, port, world: smtp.starttls(),
    ),
    "a context that verifies": Way(
        starttls_server, connected, lambda smtp, port, world: smtp.starttls(context=world.client_context())
    ),
    "a context that verifies the chain": Way(
        starttls_server, connected, lambda smtp, port, world: smtp.starttls(context=by_chain_alone(world))
    ),
    "a context that verifies nothing": Way(
        starttls_server, connected, lambda smtp, port, world: smtp.starttls(context=unverified())
    ),
    "a subclass": Way(
        starttls_server,
        lambda port: Own(HOST, port, timeout=TIMEOUT),
        lambda smtp, port, world: smtp.starttls(),
    ),
    "a subclass with its own send()": Way(
        starttls_server,
        lambda port: OwnSend(HOST, port, timeout=TIMEOUT),
        lambda smtp, port, world: by_hand(smtp, by_chain_alone(world)),
    ),
    "STARTTLS by hand": Way(
        starttls_server, connected, lambda smtp, port, world: by_hand(smtp, by_chain_alone(world))
    ),
    "STARTTLS by hand without a name": Way(
        starttls_server, connected, lambda smtp, port, world: by_hand(smtp, by_chain_alone(world), None)
    ),
    "LMTP": Way(
        lmtp_server,
        lambda port: LMTP(HOST, port, timeout=TIMEOUT),
        lambda smtp, port, world: smtp.starttls(),
    ),
    "SMTP_SSL": Way(implicit_server, unconnected_tls, lambda smtp, port, world: smtp.connect(HOST, port)),
    "SMTP_SSL to name:port": Way(
        implicit_server, unconnected_tls, lambda smtp, port, world: smtp.connect(f"{HOST}:{port}")
    ),
    "SMTP_SSL with a context that verifies nothing": Way(
        implicit_server,
        lambda port: SMTP_SSL(timeout=TIMEOUT, context=unverified()),
        lambda smtp, port, world: smtp.connect(HOST, port),
    ),
    "SMTP_SSL with a context exchanged for one that verifies nothing": Way(
        implicit_server,
        unconnected_tls,
        lambda smtp, port, world: (setattr(smtp, "context", unverified()), smtp.connect(HOST, port)),
    ),
    "SMTP_SSL with a context that verifies": Way(
        implicit_server,
        unconnected_tls,
        lambda smtp, port, world: (
            setattr(smtp, "context", world.client_context()),
            smtp.connect(HOST, port),
        ),
    ),
    "SMTP_SSL with a socket of its own": Way(
        implicit_server,
        lambda port: OwnTls(timeout=TIMEOUT),
        lambda smtp, port, world: smtp.connect(HOST, port),
    ),
    "a socket put in place": Way(
        implicit_server,
        lambda port: SMTP(timeout=TIMEOUT),
        lambda smtp, port, world: (
            setattr(smtp, "_host", HOST),
            put_in_place(smtp, port, by_chain_alone(world)),
        ),
    ),
}
# The program's own handshake refuses what it can see itself.
THEIRS = {"put in place", "by hand", "its own send()"}

every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
every_impostor = pytest.mark.parametrize("kind", IMPOSTORS)
quietly = pytest.mark.filterwarnings("ignore::smtpverify.InsecureContextWarning")


@quietly
@every_way
def test_a_good_server_gets_the_mail(
    way: Way, smtp_server: ServerFactory, world: World, injected: None
) -> None:
    with smtp_server(way.server) as server:
        smtp = way.make(server.port)
        way.secure(smtp, server.port, world)
        log_in_and_send(smtp)
        smtp.quit()
    assert_sent(server)
    assert [seen.end for seen in server.connections] == [End.QUIT]
    assert server.connections[0].secure_commands[0].upper().startswith(("EHLO", "LHLO"))


@quietly
@every_impostor
@every_way
def test_an_impostor_gets_nothing(
    way: Way, kind: str, smtp_server: ServerFactory, world: World, injected: None
) -> None:
    with smtp_server(way.server, certificate=world.served(kind)) as server:
        smtp = way.make(server.port)
        with pytest.raises((smtpverify.PeerVerificationError, ssl.SSLCertVerificationError)) as caught:
            way.secure(smtp, server.port, world)
            smtp.ehlo()  # where the handshake was the program's, the verdict comes with the first command
        if isinstance(caught.value, smtpverify.PeerVerificationError):
            expected, cause = IMPOSTORS[kind]
            assert type(caught.value) is expected
            assert (caught.value.host, caught.value.port) == (HOST, server.port)
            if way.server.tls is Tls.STARTTLS and "context" not in str(way):
                assert caught.value.diagnosis is not None
        smtp.close()
    assert server.leaked() == []


def careless(way: Way, smtp: Any, port: int, world: World) -> None:
    """Go on, whatever happens."""
    steps: list[Callable[[], object]] = [
        lambda: way.secure(smtp, port, world),
        lambda: smtp.login("alice", "secret"),
        lambda: smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE),
        lambda: smtp.docmd("AUTH", "PLAIN AGFsaWNlAHNlY3JldA=="),
        lambda: smtp.docmd("AGFsaWNlAHNlY3JldA=="),
        lambda: smtp.send(b"auth plain AGFsaWNlAHNlY3JldA==\r\n"),
        lambda: smtp.auth("PLAIN", lambda challenge=None: "\0alice\0secret"),
        lambda: smtp.mail("alice@example.org"),
        lambda: smtp.rcpt("bob@example.org"),
        lambda: smtp.data(MESSAGE),
        lambda: smtp.verify("bob@example.org"),
        lambda: smtp.ehlo(),
        lambda: smtp.starttls(),
        lambda: smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE),
        lambda: smtp.quit(),
    ]
    for step in steps:
        with contextlib.suppress(*SWALLOWED):
            step()
    smtp.close()


@quietly
@pytest.mark.parametrize("kind", [*IMPOSTORS, "stripped", "refused", "injected ahead", "injected behind"])
@every_way
def test_a_careless_program_leaks_nothing(
    way: Way, kind: str, smtp_server: ServerFactory, world: World, injected: None
) -> None:
    fields: dict[str, Any] = {"certificate": world.served(kind)} if kind in IMPOSTORS else {}
    if not fields:
        if way.server.tls is Tls.IMPLICIT:  # somebody answers in plaintext
            fields = {"tls": Tls.NONE}
        fields |= {
            "stripped": {"starttls": Starttls.ABSENT},
            "refused": {"starttls": Starttls.REFUSED},
            "injected ahead": {"starttls": Starttls.INJECTED_AHEAD},
            "injected behind": {"starttls": Starttls.INJECTED_SAME_SEGMENT},
        }[kind]
    with smtp_server(way.server, **fields) as server:
        careless(way, way.make(server.port), server.port, world)
    assert server.leaked() == []
    assert server.messages == []
