"""smtplib under injection: whatever a program does with its classes, only a verified server gets anything."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging.handlers
import smtplib
import socket
import ssl
import sys
import threading
import warnings
from dataclasses import replace

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


class OwnPutcmd(OwnSend):
    """And puts the command together."""

    def putcmd(self, cmd: str, args: str = "") -> None:
        self.send(f"{cmd} {args}\r\n" if args else f"{cmd}\r\n")


class OwnCommands(OwnPutcmd):
    """And reads the reply."""

    def docmd(self, cmd: str, args: str = "") -> tuple[int, bytes]:
        self.putcmd(cmd, args)
        return self.getreply()


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
    smtp._host = HOST
    smtp.sock = context.wrap_socket(raw, server_hostname=HOST)
    smtp.file = smtp.sock.makefile("rb")
    smtp.getreply()


def connect_with(smtp: Any, port: int, context: ssl.SSLContext) -> None:
    smtp.context = context
    smtp.connect(HOST, port)


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
    "a subclass with its own send() and putcmd()": Way(
        starttls_server,
        lambda port: OwnPutcmd(HOST, port, timeout=TIMEOUT),
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
        lambda smtp, port, world: connect_with(smtp, port, unverified()),
    ),
    "SMTP_SSL with a context that verifies": Way(
        implicit_server,
        unconnected_tls,
        lambda smtp, port, world: connect_with(smtp, port, world.client_context()),
    ),
    "SMTP_SSL with a socket of its own": Way(
        implicit_server,
        lambda port: OwnTls(timeout=TIMEOUT),
        lambda smtp, port, world: smtp.connect(HOST, port),
    ),
    "a socket put in place": Way(
        implicit_server,
        lambda port: SMTP(timeout=TIMEOUT),
        lambda smtp, port, world: put_in_place(smtp, port, by_chain_alone(world)),
    ),
}

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
    def program(smtp: smtplib.SMTP) -> None:
        way.secure(smtp, server.port, world)
        smtp.ehlo()  # where the handshake was the program's, the verdict comes with the first command

    # The program's own handshake refuses what it can see itself.
    refused = (smtpverify.PeerVerificationError, ssl.SSLCertVerificationError)
    with smtp_server(way.server, certificate=world.served(kind)) as server:
        smtp = way.make(server.port)
        with pytest.raises(refused) as caught:
            program(smtp)
        if isinstance(caught.value, smtpverify.PeerVerificationError):
            assert type(caught.value) is IMPOSTORS[kind][0]
            assert caught.value.diagnosis is not None
            assert caught.value.diagnosis.cause is IMPOSTORS[kind][1]
            assert (caught.value.host, caught.value.port) == (HOST, server.port)
            assert smtp.sock is None
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
        smtp.ehlo,
        smtp.starttls,
        lambda: smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE),
        smtp.quit,
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


def test_without_injection_an_impostor_gets_everything(smtp_server: ServerFactory, world: World) -> None:
    """What the tests above refuse is what smtplib does by itself."""
    with smtp_server(starttls_server, certificate=world.served("unknown_issuer")) as server:
        smtp = connected(server.port)
        smtp.starttls()
        log_in_and_send(smtp)
        smtp.quit()
    assert_sent(server)


# --- what a program that fails is told -----------------------------------------------------------


def test_starttls_that_is_not_to_be_had_closes_for_good(smtp_server: ServerFactory, injected: None) -> None:
    with smtp_server(stripped) as server:
        smtp = connected(server.port)
        failed = refusal(smtpverify.TLSRequiredError, Cause.STARTTLS_NOT_OFFERED, smtp.starttls)
        assert isinstance(failed, smtplib.SMTPNotSupportedError)
        assert str(failed) == f"{HOST}:{server.port}: the server does not offer STARTTLS"
        for command in (smtp.noop, smtp.quit, lambda: smtp.login("alice", "secret"), smtp.starttls):
            with pytest.raises(smtplib.SMTPServerDisconnected, match=r"not offer STARTTLS$") as caught:
                command()
            assert str(caught.value).startswith(f"the connection was closed: {HOST}:{server.port}: ")
            assert caught.value.__cause__ is failed
    assert server.leaked() == []


def test_starttls_that_is_refused_raises_with_the_reply(smtp_server: ServerFactory, injected: None) -> None:
    with smtp_server(starttls_server, starttls=Starttls.REFUSED) as server:
        smtp = connected(server.port)
        failed = refusal(smtpverify.STARTTLSRefusedError, Cause.STARTTLS_REFUSED, smtp.starttls)
        assert isinstance(failed, smtplib.SMTPResponseException)
        assert (failed.smtp_code, failed.smtp_error[:5]) == (454, b"4.7.0")
        assert smtp.sock is None
    assert server.leaked() == []


@pytest.mark.parametrize(
    "kind", [Starttls.INJECTED_AHEAD, Starttls.INJECTED_SAME_SEGMENT, Starttls.INJECTED_FRAGMENT]
)
@pytest.mark.parametrize("hand", [False, True])
def test_plaintext_around_the_change_to_tls(
    kind: Starttls, hand: bool, smtp_server: ServerFactory, world: World, injected: None
) -> None:
    with smtp_server(starttls_server, starttls=kind) as server:
        smtp = connected(server.port)
        smtp.ehlo()
        work = (lambda: by_hand(smtp, world.client_context())) if hand else smtp.starttls
        error = refusal(smtpverify.PlaintextInjectionError, Cause.PLAINTEXT_INJECTED, work)
        assert isinstance(error, smtplib.SMTPServerDisconnected)
        assert smtp.sock is None
    assert server.leaked() == []


def test_what_a_stale_file_has_read_is_no_reply(
    smtp_server: ServerFactory, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that changes to TLS before it is injected, and keeps the file of the plaintext connection."""
    with smtp_server(starttls_server, starttls=Starttls.INJECTED_SAME_SEGMENT) as server:
        smtp: Any = connected(server.port)
        smtp.docmd("STARTTLS")
        smtp.sock = world.client_context().wrap_socket(smtp.sock, server_hostname=HOST)
        with inject_into_smtplib():
            refusal(smtpverify.PlaintextInjectionError, Cause.PLAINTEXT_INJECTED, smtp.ehlo)
    assert server.leaked() == []


def test_a_file_that_was_forgotten_is_made_anew(
    smtp_server: ServerFactory, world: World, injected: None
) -> None:
    with smtp_server(starttls_server) as server:
        smtp: Any = connected(server.port)
        smtp.docmd("STARTTLS")
        smtp.sock = world.client_context().wrap_socket(smtp.sock, server_hostname=HOST)
        log_in_and_send(smtp)
        smtp.quit()
    assert_sent(server)


@pytest.mark.skipif(OLD, reason="smtplib has keyfile and certfile still")
@pytest.mark.parametrize("arguments", [{"keyfile": None}, {"certfile": "client.pem"}, None])
def test_starttls_with_arguments_that_python_has_taken_out(
    arguments: dict[str, Any] | None, smtp_server: ServerFactory, injected: None, remote: None
) -> None:
    """A program that swallows the TypeError has asked for TLS; one that knows both ways gets it."""
    with smtp_server(starttls_server) as server:
        for tries_again in (False, True):
            smtp: Any = connected(server.port)
            with pytest.raises(TypeError, match=r"^SMTP\.starttls\(\) "):
                smtp.starttls(**arguments) if arguments else smtp.starttls(None)
            if tries_again:
                smtp.starttls()
                log_in_and_send(smtp)
                smtp.quit()
            else:
                with pytest.raises(smtpverify.TLSRequiredError, match=r"since starttls\(\) was called$"):
                    smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
    assert_sent(server)


def test_a_failed_greeting_is_smtplib_s_own(smtp_server: ServerFactory, injected: None) -> None:
    with smtp_server(greeting="554 go away") as server, pytest.raises(smtplib.SMTPConnectError) as caught:
        connected(server.port)
    assert caught.value.smtp_code == 554


def test_without_a_connection(injected: None) -> None:
    for command in ("noop", "starttls", "ehlo", "quit"):
        with pytest.raises(smtplib.SMTPServerDisconnected, match=r"please run connect\(\) first$"):
            getattr(SMTP(), command)()


def test_tls_within_tls(smtp_server: ServerFactory, injected: None) -> None:
    with smtp_server(implicit_server) as server:
        smtp = SMTP_SSL(HOST, server.port, timeout=TIMEOUT)
        with pytest.raises(smtplib.SMTPNotSupportedError, match="in TLS already"):
            smtp.starttls()
        log_in_and_send(smtp)  # it goes on, as with smtplib
        smtp.quit()
    assert_sent(server)


# --- plaintext -----------------------------------------------------------------------------------


def test_credentials_do_not_go_in_plaintext(smtp_server: ServerFactory, injected: None, remote: None) -> None:
    with smtp_server() as server:
        smtp = connected(server.port)
        with pytest.raises(smtpverify.PlaintextCredentialsError) as caught:
            smtp.login("alice", "secret")
        assert (caught.value.host, caught.value.port) == (HOST, server.port)
        # Nor does mail that was to be sent behind a login.
        with pytest.raises(
            smtpverify.TLSRequiredError, match="since credentials were about to go in plaintext"
        ):
            smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
        assert smtp.sock is None
    assert server.leaked() == []


@pytest.mark.parametrize(
    "say",
    [
        lambda smtp: smtp.send(b"NOOP\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"),
        lambda smtp: smtp.send("RSET\r\n  auth plain AGFsaWNlAHNlY3JldA==\r\n"),
        lambda smtp: smtp.send(bytearray(b"NOOP\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n")),
        lambda smtp: smtp.docmd(" " * 21 + "AUTH", "PLAIN AGFsaWNlAHNlY3JldA=="),
        lambda smtp: smtp.putcmd(" " * 21 + "AUTH", "PLAIN AGFsaWNlAHNlY3JldA=="),
    ],
)
def test_credentials_behind_something_harmless(
    smtp_server: ServerFactory, injected: None, remote: None, say: Callable[[smtplib.SMTP], object]
) -> None:
    with smtp_server() as server:
        smtp = connected(server.port)
        with pytest.raises(smtpverify.PlaintextCredentialsError):
            say(smtp)
        smtp.send(b"NOOP\r\nRSET\r\n")  # what is harmless goes, also several at once
        assert [smtp.getreply()[0], smtp.getreply()[0]] == [250, 250]
        smtp.close()
    assert server.connections[0].clear_commands == ["NOOP", "RSET"]


@pytest.mark.parametrize(
    "pieces",
    [
        (b"AU", b"TH PLAIN AGFsaWNlAHNlY3JldA==\r\n"),
        (b"NOOP\r\n  a", b"u", bytearray(b"th"), " PLAIN AGFsaWNlAHNlY3JldA==\r\n"),
        (" " * 80, b"AUTH", " PLAIN AGFsaWNlAHNlY3JldA==\r\n"),
        (b"X" * 70 + b"\rAU", b"TH PLAIN AGFsaWNlAHNlY3JldA==\r\n"),
        (b"AUT", b"H PLAIN AGFsaWNlAHNlY3JldA=="),
    ],
)
def test_credentials_in_pieces(
    smtp_server: ServerFactory, injected: None, remote: None, pieces: tuple[Any, ...]
) -> None:
    def say(smtp: smtplib.SMTP) -> None:
        for piece in pieces:
            smtp.send(piece)

    with smtp_server() as server:
        smtp = connected(server.port)
        with pytest.raises(smtpverify.PlaintextCredentialsError):
            say(smtp)
        assert "AGFsaWNl" not in repr(vars(smtp))
        smtp.close()
    assert b"AGFsaWNl" not in server.connections[0].clear


def test_a_message_is_no_line_in_pieces(smtp_server: ServerFactory, injected: None) -> None:
    """Whatever its lines look like; and what comes behind it is judged anew."""
    with smtp_server(tls=Tls.STARTTLS) as server:
        smtp = connected(server.port)
        smtp.starttls()
        for _ in range(2):
            smtp.sendmail("alice@example.org", ["bob@example.org"], b"Subject: AU\r\n\r\nAUTH PLAIN x\r\nAU")
        smtp.quit()
    assert len(server.messages) == 2


def test_mail_behind_something_harmless(smtp_server: ServerFactory, remote: None) -> None:
    with smtp_server() as server, inject_into_smtplib(require_tls=True):
        smtp = connected(server.port)
        with pytest.raises(smtpverify.TLSRequiredError):
            smtp.send("NOOP\r\nMAIL FROM:<alice@example.org>\r\n")
        assert smtp.sock is None
    assert server.connections[0].clear_commands == []


def test_credentials_go_behind_starttls_after_all(
    smtp_server: ServerFactory, injected: None, remote: None
) -> None:
    with smtp_server(starttls_server) as server:
        smtp = connected(server.port)
        with pytest.raises(smtpverify.PlaintextCredentialsError):
            smtp.login("alice", "secret")
        smtp.starttls()
        log_in_and_send(smtp)
        smtp.quit()
    assert_sent(server)


def opportunist(smtp: smtplib.SMTP) -> None:
    """As five of the programs do of which the documentation tells."""
    smtp.ehlo()
    if smtp.has_extn("starttls"):
        smtp.starttls()
        smtp.ehlo()
    log_in_and_send(smtp)


def test_a_program_that_asks_for_starttls_politely(
    smtp_server: ServerFactory, injected: None, remote: None
) -> None:
    with smtp_server(starttls_server) as server:
        smtp = connected(server.port)
        opportunist(smtp)
        smtp.quit()
    assert_sent(server)
    with smtp_server(stripped) as server:
        smtp = connected(server.port)
        with pytest.raises(smtpverify.PlaintextCredentialsError):
            opportunist(smtp)
        smtp.close()
    assert server.leaked() == []


def test_loopback_and_unix_sockets_are_this_machine(
    smtp_server: ServerFactory, injected: None, tmp_path: Path
) -> None:
    with smtp_server() as server:
        smtp = SMTP("127.0.0.1", server.port, timeout=TIMEOUT)
        log_in_and_send(smtp)
        smtp.quit()
    assert [each.password for each in server.connections[0].credentials] == ["secret"]
    with smtp_server(protocol=Protocol.LMTP, path=tmp_path / "lmtp") as server:
        lmtp = LMTP(str(tmp_path / "lmtp"))
        log_in_and_send(lmtp)
        lmtp.quit()
    assert len(server.messages) == 1


def test_allowed_by_name(smtp_server: ServerFactory, remote: None) -> None:
    with smtp_server() as server, inject_into_smtplib(allow_plaintext_login=True):
        smtp = connected(server.port)
        with pytest.warns(smtpverify.PlaintextWarning):
            log_in_and_send(smtp)
        smtp.quit()
    assert len(server.messages) == 1


class Proxied(SMTP):
    """Reaches another machine by a proxy on this one, in the usual two ways."""

    proxy_port: int

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return super()._get_socket("127.0.0.1", self.proxy_port, timeout)  # type: ignore[misc, no-any-return]


class Foreign(socket.socket):
    """The socket of a library that replaces those of the standard library."""


def test_a_proxy_on_this_machine_is_not_the_server(
    smtp_server: ServerFactory, injected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with smtp_server() as server:
        smtp = Proxied(timeout=TIMEOUT)
        smtp.proxy_port = server.port
        smtp.connect(HOST, 25)
        with pytest.raises(smtpverify.PlaintextCredentialsError):
            smtp.login("alice", "secret")
        smtp.close()
        original = socket.socket
        monkeypatch.setattr(socket, "socket", Foreign)
        other = connected(server.port)
        monkeypatch.setattr(socket, "socket", original)
        assert type(other.sock) is Foreign
        with pytest.raises(smtpverify.PlaintextCredentialsError):
            other.login("alice", "secret")
        other.close()
    assert server.leaked() == []


def test_a_proxy_in_the_place_of_create_connection(
    smtp_server: ServerFactory, injected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket may be the standard library's, and lead to the proxy's address."""
    connect = socket.create_connection

    @functools.wraps(connect)
    def through(address: Any, *args: Any, **kwargs: Any) -> socket.socket:
        return connect(("127.0.0.1", server.port), *args, **kwargs)

    monkeypatch.setattr(socket, "create_connection", through)
    with smtp_server() as server:
        smtp = SMTP(HOST, 25, timeout=TIMEOUT)
        with pytest.raises(smtpverify.PlaintextCredentialsError):
            smtp.login("alice", "secret")
        smtp.close()
    assert server.leaked() == []


class Tunnelled(SMTP):
    """Is told of the far end, and connects to the near one."""

    def connect(self, host: str = "localhost", port: int = 0, source_address: Any = None) -> Any:
        return super().connect("127.0.0.1", port)


def test_the_near_end_of_a_tunnel_is_not_the_server(smtp_server: ServerFactory, injected: None) -> None:
    with smtp_server() as server:
        by_hand: Any = SMTP(timeout=TIMEOUT)
        by_hand._host = HOST
        by_hand.connect("127.0.0.1", server.port)
        for smtp in (Tunnelled(HOST, server.port, timeout=TIMEOUT), by_hand):
            with pytest.raises(smtpverify.PlaintextCredentialsError):
                smtp.login("alice", "secret")
            smtp.close()
        smtp = Tunnelled("localhost", server.port, timeout=TIMEOUT)
        smtp.login("alice", "secret")
        smtp.quit()
    assert [len(seen.credentials) for seen in server.connections] == [0, 0, 1]


@pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")
@pytest.mark.parametrize("host", [HOST, HOST.encode(), ""])
def test_a_unix_socket_to_a_named_host_leads_elsewhere(
    host: str, smtp_server: ServerFactory, injected: None, tmp_path: Path
) -> None:
    """To `ssh -W`, or whatever else reaches that host."""

    class Helped(SMTP):
        def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
            if sys.platform == "win32":
                raise NotImplementedError
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(tmp_path / "helper"))
            return sock

    with smtp_server(path=tmp_path / "helper") as server:
        smtp = Helped(timeout=TIMEOUT)
        smtp.connect(host, 25)
        with pytest.raises(smtpverify.PlaintextCredentialsError) if host else contextlib.nullcontext():
            smtp.login("alice", "secret")
        smtp.close()
    assert [len(seen.credentials) for seen in server.connections] == [not host]


def test_mail_in_plaintext_goes_with_a_warning(
    smtp_server: ServerFactory, injected: None, remote: None
) -> None:
    with smtp_server() as server:
        smtp = connected(server.port)
        with pytest.warns(smtpverify.PlaintextWarning, match="the mail goes in plaintext") as caught:
            smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
        smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
        smtp.quit()
    assert [warning.filename for warning in caught] == [__file__]  # once a connection
    assert len(server.messages) == 2


def test_a_warning_that_is_an_error_is_one_each_time(
    smtp_server: ServerFactory, injected: None, remote: None
) -> None:
    with smtp_server() as server, warnings.catch_warnings():
        warnings.simplefilter("error", smtpverify.PlaintextWarning)
        smtp = connected(server.port)
        for _ in range(2):
            with pytest.raises(smtpverify.PlaintextWarning):
                smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
        smtp.quit()
    assert server.leaked() == []


@pytest.mark.parametrize(
    "message", [b"Authentication-Results: example.org\r\n\r\nhello\r\n", b"AUTH PLAIN is a command.\r\n"]
)
def test_a_message_is_no_command(
    message: bytes, smtp_server: ServerFactory, injected: None, remote: None
) -> None:
    with smtp_server() as server:
        smtp = connected(server.port)
        with pytest.warns(smtpverify.PlaintextWarning):
            smtp.sendmail("alice@example.org", ["bob@example.org"], message)
        smtp.quit()
    assert [each.data for each in server.messages] == [message]


def test_credentials_behind_a_message(smtp_server: ServerFactory, injected: None, remote: None) -> None:
    with smtp_server() as server:
        smtp = connected(server.port)
        with pytest.warns(smtpverify.PlaintextWarning):
            smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
        with pytest.raises(smtpverify.PlaintextCredentialsError):
            smtp.login("alice", "secret")
        smtp.close()
    assert server.connections[0].credentials == []
    assert b"AUTH" not in server.connections[0].clear


def test_tls_required(smtp_server: ServerFactory, remote: None) -> None:
    with inject_into_smtplib(require_tls=True), smtp_server() as server:
        smtp = connected(server.port)
        smtp.ehlo()
        with pytest.raises(smtpverify.TLSRequiredError, match=r"since TLS is required$"):
            smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
        assert smtp.sock is None
    assert server.leaked() == []


def test_nor_where_another_name_was_written_by_hand(smtp_server: ServerFactory, world: World) -> None:
    with inject_into_smtplib(trust_by_host={HOST: Trust(world.root_file)}), smtp_server() as server:
        smtp = SMTP(HOST, server.port, timeout=TIMEOUT)
        smtp._host = "other.example.net"  # type: ignore[attr-defined]
        with pytest.raises(smtpverify.TLSRequiredError, match=r"since a trust was given for this host$"):
            smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
    assert server.leaked() == []


def test_tls_required_and_there(smtp_server: ServerFactory, remote: None) -> None:
    with inject_into_smtplib(require_tls=True), smtp_server(starttls_server) as server:
        smtp = connected(server.port)
        smtp.starttls()
        log_in_and_send(smtp)
        smtp.quit()
    assert_sent(server)


def test_mail_that_stays_on_this_machine_needs_no_tls(smtp_server: ServerFactory) -> None:
    with inject_into_smtplib(require_tls=True), smtp_server() as server:
        smtp = SMTP("localhost", server.port, timeout=TIMEOUT)
        smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
        smtp.quit()
    assert len(server.messages) == 1


def test_nothing_goes_in_plaintext_to_a_host_with_a_trust_of_its_own(
    smtp_server: ServerFactory, world: World
) -> None:
    trust = Trust(world.root_file)
    with inject_into_smtplib(trust_by_host={HOST.upper(): trust}), smtp_server() as server:
        smtp = SMTP(f"{HOST}:{server.port}", timeout=TIMEOUT)
        with pytest.raises(smtpverify.TLSRequiredError, match=r"since a trust was given for this host$"):
            smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
        assert server.leaked() == []
        smtp = SMTP("localhost", server.port, timeout=TIMEOUT)
        smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
        smtp.quit()
    assert len(server.messages) == 1


def test_smtp_ssl_without_tls(smtp_server: ServerFactory, injected: None) -> None:
    class Plain(SMTP_SSL):
        def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
            return socket.create_connection((host, port), timeout)

    with smtp_server() as server:
        smtp = Plain(HOST, server.port, timeout=TIMEOUT)
        with pytest.raises(smtpverify.TLSRequiredError, match=r"since Plain speaks TLS from the first byte$"):
            smtp.login("alice", "secret")
    assert server.leaked() == []


def test_a_socket_exchanged_for_one_without_tls(smtp_server: ServerFactory, injected: None) -> None:
    with smtp_server(starttls_server) as server:
        smtp: Any = connected(server.port)
        smtp.starttls()
        smtp.sock.close()
        smtp.sock, smtp.file = socket.create_connection((HOST, server.port), TIMEOUT), None
        smtp.getreply()
        refusal(smtpverify.TLSRequiredError, Cause.PLAINTEXT_NOT_TLS, smtp.ehlo)
        assert smtp.sock is None
    assert server.leaked() == []


def test_tls_that_was_taken_down(smtp_server: ServerFactory, world: World, injected: None) -> None:
    with smtp_server(starttls_server) as server:
        smtp: Any = connected(server.port)
        by_hand(smtp, world.client_context())
        smtp.ehlo()
        smtp.sock._sslobj = None  # as unwrap() does
        with pytest.raises(smtpverify.TLSHandshakeError, match="no TLS on this socket"):
            smtp.login("alice", "secret")
        assert smtp.sock is None
        smtp = connected(server.port)
        smtp.starttls()
        smtp.sock._sslobj = None
        with pytest.raises(smtplib.SMTPServerDisconnected):  # a socket of ours refuses by itself
            smtp.login("alice", "secret")
    assert server.leaked() == []


FIRST_COMMANDS: dict[str, Callable[[Any], object]] = {
    "ehlo": lambda smtp: smtp.ehlo(),
    "helo": lambda smtp: smtp.helo(),
    "login": lambda smtp: smtp.login("alice", "secret"),
    "auth": lambda smtp: smtp.auth("PLAIN", lambda challenge=None: "\0alice\0secret"),
    "sendmail": lambda smtp: smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE),
    "mail": lambda smtp: smtp.mail("alice@example.org"),
    "rcpt": lambda smtp: smtp.rcpt("bob@example.org"),
    "data": lambda smtp: smtp.data(MESSAGE),
    "ehlo_or_helo_if_needed": lambda smtp: smtp.ehlo_or_helo_if_needed(),
}
OF_SMTPLIB: dict[str, Callable[[Any], object]] = {
    "docmd": lambda smtp: smtp.docmd("AUTH", "PLAIN AGFsaWNlAHNlY3JldA=="),
    "putcmd": lambda smtp: smtp.putcmd("AUTH", "PLAIN AGFsaWNlAHNlY3JldA=="),
    "send": lambda smtp: smtp.send(b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"),
}


@pytest.mark.parametrize(
    ("cls", "command"),
    [
        *((SMTP, name) for name in (*FIRST_COMMANDS, *OF_SMTPLIB)),
        (OwnSend, "putcmd"),
        (OwnPutcmd, "docmd"),
        *((OwnCommands, name) for name in FIRST_COMMANDS),
    ],
)
def test_whatever_is_said_first_in_unverified_tls_is_not_said(
    cls: type[smtplib.SMTP], command: str, smtp_server: ServerFactory, injected: None
) -> None:
    with smtp_server(starttls_server) as server:
        smtp = cls(HOST, server.port, timeout=TIMEOUT)
        by_hand(smtp, unverified())
        say = {**FIRST_COMMANDS, **OF_SMTPLIB}[command]
        refusal(smtpverify.UntrustedCertificateError, Cause.CONTEXT_NOT_VERIFYING, say, smtp)
        assert smtp.sock is None
    assert [seen.secure for seen in server.connections] == [b""]


@pytest.mark.parametrize(
    ("cls", "command"),
    [*((SMTP, name) for name in ("auth", *OF_SMTPLIB)), (OwnCommands, "auth")],
)
def test_however_credentials_are_said_they_do_not_go_in_plaintext(
    cls: type[smtplib.SMTP], command: str, smtp_server: ServerFactory, injected: None, remote: None
) -> None:
    with smtp_server() as server:
        smtp = cls(HOST, server.port, timeout=TIMEOUT)
        with pytest.raises(smtpverify.PlaintextCredentialsError):
            {**FIRST_COMMANDS, **OF_SMTPLIB}[command](smtp)
        smtp.close()
    assert server.leaked() == []


def test_ehlo_is_said_again_behind_tls_by_hand(
    smtp_server: ServerFactory, world: World, injected: None
) -> None:
    with smtp_server(starttls_server) as server:
        smtp = connected(server.port)
        smtp.ehlo()
        by_hand(smtp, world.client_context())
        smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
        smtp.quit()
    assert server.connections[0].secure_commands[0].startswith("ehlo ")
    assert len(server.messages) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_subclass_that_does_not_close(fails: bool, smtp_server: ServerFactory, injected: None) -> None:
    class Open(SMTP):
        def close(self) -> None:
            if fails:
                raise LookupError("close")

    with smtp_server(stripped) as server:
        smtp: Any = Open(HOST, server.port, timeout=TIMEOUT)
        with pytest.raises(LookupError if fails else smtpverify.TLSRequiredError):
            smtp.starttls()
        assert (smtp.sock, smtp.file) == (None, None)
        with pytest.raises(smtplib.SMTPServerDisconnected, match="does not offer STARTTLS"):
            smtp.login("alice", "secret")
    assert server.leaked() == []


# --- contexts and sockets of the program's -------------------------------------------------------


def test_a_socket_that_nobody_verified_is_refused_even_before_a_good_server(
    smtp_server: ServerFactory, injected: None
) -> None:
    """Its chain can't be verified any more when the handshake is over."""
    with smtp_server(starttls_server) as server:
        smtp = connected(server.port)
        by_hand(smtp, unverified())
        refusal(
            smtpverify.UntrustedCertificateError,
            Cause.CONTEXT_NOT_VERIFYING,
            lambda: smtp.login("alice", "secret"),
        )
        assert smtp.sock is None
    assert server.leaked() == []


def test_tls_that_is_not_of_the_ssl_module(smtp_server: ServerFactory, injected: None) -> None:
    class OtherTls:
        def __init__(self, sock: Any) -> None:
            self._sock = sock

        def get_peer_certificate(self) -> None:
            """As pyOpenSSL has it."""

        def __getattr__(self, name: str) -> Any:
            return getattr(self._sock, name)

    with smtp_server() as server:
        smtp: Any = connected(server.port)
        smtp.sock = OtherTls(smtp.sock)
        error = refusal(smtpverify.UntrustedCertificateError, Cause.CONTEXT_NOT_VERIFYING, smtp.ehlo)
        assert "set up by a OtherTls" in str(error)
    assert server.leaked() == []


@pytest.mark.parametrize("cls", [smtplib.SMTP, Own])
def test_the_warning_names_the_line_that_gives_the_context(
    cls: type[smtplib.SMTP], smtp_server: ServerFactory, injected: None
) -> None:
    with smtp_server(starttls_server) as server:
        smtp = cls(HOST, server.port, timeout=TIMEOUT)
        with pytest.warns(smtpverify.InsecureContextWarning, match=f"^{HOST}: ") as caught:
            smtp.starttls(context=unverified())
        smtp.quit()
    line = inspect.getsourcelines(Own.starttls)[1] + 1
    assert [warning.filename for warning in caught] == [__file__]
    assert (caught[0].lineno == line) is (cls is Own)
    assert "client certificate" in str(caught[0].message)


def test_the_warning_of_a_constructor(smtp_server: ServerFactory, injected: None) -> None:
    class Deep(SMTP_SSL):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)

    with smtp_server(implicit_server) as server:
        with pytest.warns(smtpverify.InsecureContextWarning) as caught:
            smtp = Deep(HOST, server.port, timeout=TIMEOUT, context=unverified())
        log_in_and_send(smtp)
        smtp.quit()
    assert [warning.filename for warning in caught] == [__file__]
    assert_sent(server)


def test_a_warning_that_is_an_error_closes(smtp_server: ServerFactory, injected: None) -> None:
    with smtp_server(starttls_server) as server:
        smtp = connected(server.port)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(smtpverify.InsecureContextWarning):
                smtp.starttls(context=unverified())
        assert smtp.sock is None
    assert server.leaked() == []


@quietly
def test_a_default_context_that_verifies_nothing(
    smtp_server: ServerFactory, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever wants no verification anywhere puts it in the place of ssl's."""
    monkeypatch.setattr(ssl, "create_default_context", ssl._create_unverified_context)
    with inject_into_smtplib(Trust(pins=(*map(pin_of, (world.good(), world.served("unknown_issuer"))),))):
        with smtp_server(starttls_server) as server:
            smtp = connected(server.port)
            smtp.starttls(context=ssl.create_default_context())
            log_in_and_send(smtp)
            smtp.quit()
        assert_sent(server)
        with smtp_server(starttls_server, certificate=world.served("unknown_issuer")) as server:
            smtp = connected(server.port)
            refusal(smtpverify.UntrustedCertificateError, Cause.UNKNOWN_ISSUER, smtp.starttls)
        assert server.leaked() == []


def test_what_is_no_context_is_replaced_too(smtp_server: ServerFactory, injected: None) -> None:
    with smtp_server(starttls_server) as server:
        smtp: Any = connected(server.port)
        with pytest.warns(smtpverify.InsecureContextWarning):
            smtp.starttls(context=object())
        log_in_and_send(smtp)
        smtp.quit()
    assert_sent(server)


def test_a_program_s_own_ca_is_kept(smtp_server: ServerFactory, world: World, injected: None) -> None:
    context = ssl.create_default_context(cafile=str(world.unknown_file))
    with smtp_server(starttls_server, certificate=world.served("unknown_issuer")) as server:
        smtp = connected(server.port)
        smtp.starttls(context=context)
        log_in_and_send(smtp)
        smtp.quit()
    assert_sent(server)
    with smtp_server(starttls_server) as server:
        smtp = connected(server.port)
        refusal(
            smtpverify.UntrustedCertificateError,
            Cause.UNKNOWN_ISSUER,
            lambda: smtp.starttls(context=context),
        )
    assert server.leaked() == []


def test_a_trust_with_roots_stands_in_place_of_the_program_s_context(
    smtp_server: ServerFactory, world: World
) -> None:
    """Whoever injects has said whom to believe."""
    with inject_into_smtplib(Trust(world.unknown_file)):
        with smtp_server(starttls_server, certificate=world.served("unknown_issuer")) as server:
            smtp = connected(server.port)
            smtp.starttls(context=world.client_context())
            log_in_and_send(smtp)
            smtp.quit()
        assert_sent(server)
        with smtp_server(implicit_server) as server:
            refusal(
                smtpverify.UntrustedCertificateError,
                Cause.UNKNOWN_ISSUER,
                lambda: SMTP_SSL(HOST, server.port, timeout=TIMEOUT, context=world.client_context()),
            )
        assert server.leaked() == []


@pytest.mark.parametrize("make", [unverified, ssl.create_default_context])
@quietly
def test_pins_count_whoever_makes_the_context(
    make: Callable[[], ssl.SSLContext], smtp_server: ServerFactory, world: World
) -> None:
    with inject_into_smtplib(Trust(pins=pin_of(world.good()))), smtp_server(starttls_server) as server:
        smtp = connected(server.port)
        smtp.starttls(context=make())
        log_in_and_send(smtp)
        smtp.quit()
    assert_sent(server)
    with inject_into_smtplib(Trust(pins=OTHER_PIN)), smtp_server(starttls_server) as server:
        smtp = connected(server.port)
        refusal(smtpverify.PinMismatchError, Cause.PIN_MISMATCH, lambda: smtp.starttls(context=make()))
    assert server.leaked() == []


def test_pins_alone_judge_a_socket_that_nobody_verified(smtp_server: ServerFactory, world: World) -> None:
    served = world.served("self_signed_leaf")
    with inject_into_smtplib(Trust(pins=pin_of(served), pins_only=True)):
        with smtp_server(starttls_server, certificate=served) as server:
            smtp = connected(server.port)
            by_hand(smtp, unverified())
            log_in_and_send(smtp)
            smtp.quit()
        assert_sent(server)
        with smtp_server(starttls_server) as server:
            smtp = connected(server.port)
            by_hand(smtp, unverified())
            refusal(smtpverify.PinMismatchError, Cause.PIN_MISMATCH, smtp.ehlo)
        assert server.leaked() == []


def test_the_trust_s_client_certificate_is_shown(
    smtp_server: ServerFactory, world: World, tmp_path: Path
) -> None:
    certificate, key = world.unknown.issue("client.example.org", extended_key_usage=()).write(tmp_path)
    trust = Trust(client_cert=certificate, client_key=key)
    with inject_into_smtplib(trust), smtp_server(starttls_server, client_roots=(world.unknown,)) as server:
        smtp = connected(server.port)
        smtp.starttls()
        log_in_and_send(smtp)
        smtp.quit()
    assert_sent(server)
    assert server.connections[0].client_certificate is not None


def test_keyfile_and_certfile(
    smtp_server: ServerFactory, world: World, injected: None, tmp_path: Path
) -> None:
    certificate, key = map(str, world.unknown.issue("client", extended_key_usage=()).write(tmp_path))
    options: Any = {"keyfile": key, "certfile": certificate}
    with smtp_server(starttls_server, implicit_server, client_roots=(world.unknown,)) as server:
        smtp: Any = connected(server.port)
        if not OLD:
            with pytest.raises(TypeError):
                smtp.starttls(**options)
            with pytest.raises(TypeError):
                SMTP_SSL(HOST, server.port, **options)
            smtp.close()
            return
        smtp.starttls(key, certificate)
        log_in_and_send(smtp)
        smtp.quit()
        over_tls: Any = SMTP_SSL(HOST, server.port, timeout=TIMEOUT, **options)
        assert (over_tls.keyfile, over_tls.certfile) == (key, certificate)
        log_in_and_send(over_tls)
        over_tls.quit()
    assert_sent(server, 2)
    assert all(seen.client_certificate for seen in server.connections)


@pytest.mark.skipif(not OLD, reason="Python 3.12 has taken keyfile and certfile out")
def test_keyfile_beside_a_context(smtp_server: ServerFactory, world: World, injected: None) -> None:
    options: Any = {"keyfile": "key", "context": world.client_context()}
    with pytest.raises(ValueError, match="mutually exclusive"):
        SMTP_SSL(**options)
    with smtp_server(starttls_server) as server:
        smtp = connected(server.port)
        with pytest.raises(ValueError, match="mutually exclusive"):
            smtp.starttls(**options)
        assert smtp.sock is None
    assert server.leaked() == []


@pytest.mark.filterwarnings("ignore::BytesWarning")  # smtplib makes text of them, in its own way
@pytest.mark.parametrize("kind", ["good", "unknown_issuer"])
def test_credentials_in_octets(kind: str, smtp_server: ServerFactory, world: World, injected: None) -> None:
    with smtp_server(implicit_server, certificate=world.served(kind)) as server:
        smtp: Any = SMTP_SSL(timeout=TIMEOUT)
        with contextlib.suppress(*SWALLOWED):
            smtp.connect(HOST, server.port)
        with contextlib.suppress(*SWALLOWED):
            smtp.login(b"alice", b"secret")
        smtp.close()
    assert [len(seen.credentials) for seen in server.connections] == [kind == "good"]


# --- whom a connection is to ---------------------------------------------------------------------


def test_each_connect_asks_for_its_own_host(smtp_server: ServerFactory, world: World, injected: None) -> None:
    with smtp_server(starttls_server) as server:
        smtp: Any = connected(server.port)
        smtp.starttls()
        smtp.close()
        smtp.connect(OTHER, server.port)
        assert smtp._host == OTHER
        refusal(smtpverify.HostnameMismatchError, Cause.WRONG_NAME, smtp.starttls)
        smtp.connect(HOST, server.port)
        smtp.starttls()
        log_in_and_send(smtp)
        smtp.quit()
    assert_sent(server)


@pytest.mark.parametrize("kind", ["good", "wrong_name"])
def test_a_subclass_that_connects_by_itself_and_again(
    kind: str, smtp_server: ServerFactory, world: World, injected: None
) -> None:
    class Connecting(SMTP):
        def connect(self, host: str = "localhost", port: int = 0, source_address: Any = None) -> Any:
            self.sock = socket.create_connection((host, port), TIMEOUT)
            self.file = None
            return self.getreply()

    first, second = (
        replace(starttls_server, certificate=world.good()),
        replace(starttls_server, certificate=world.served(kind)),
    )
    with smtp_server(first, second) as server:
        smtp = Connecting(HOST, server.port, timeout=TIMEOUT)
        smtp.starttls()
        log_in_and_send(smtp)
        smtp.quit()
        smtp.connect(HOST, server.port)
        if kind == "good":
            smtp.starttls()
            log_in_and_send(smtp)
            smtp.quit()
        else:
            refusal(smtpverify.HostnameMismatchError, Cause.WRONG_NAME, smtp.starttls)
            with pytest.raises(smtplib.SMTPServerDisconnected, match=r"^the connection was closed: "):
                log_in_and_send(smtp)
    assert_sent(server, 1 + (kind == "good"))


def test_a_connection_ends_where_the_next_one_fails(
    smtp_server: ServerFactory, injected: None, remote: None
) -> None:
    """It would be taken for one to the next host, of which nothing bad is known."""
    with smtp_server() as server:
        smtp = connected(server.port)
        with pytest.raises(smtpverify.PlaintextCredentialsError):
            smtp.login("alice", "secret")
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectionRefusedError):
                smtp.connect("localhost", nobody.getsockname()[1])
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
    assert server.leaked() == []


def test_a_name_written_by_hand_says_who_the_server_must_be(
    smtp_server: ServerFactory, injected: None
) -> None:
    with smtp_server(starttls_server) as server:
        smtp: Any = SMTP(timeout=TIMEOUT)
        smtp._host = HOST  # of a tunnel's far end
        for _ in range(2):
            connect_and_start(smtp, "127.0.0.1", server.port)
            log_in_and_send(smtp)
            smtp.quit()
        smtp._host = OTHER
        with pytest.raises(smtpverify.HostnameMismatchError):
            connect_and_start(smtp, "127.0.0.1", server.port)
    assert_sent(server, 2)


def test_what_ehlo_taught_ends_with_the_connection(smtp_server: ServerFactory, injected: None) -> None:
    with smtp_server(starttls_server) as server:
        smtp = connected(server.port)
        smtp.starttls()
        smtp.ehlo()
        assert not smtp.has_extn("starttls")
        smtp.close()
        smtp.connect(HOST, server.port)
        smtp.starttls()
        log_in_and_send(smtp)
        smtp.quit()
    assert_sent(server)


def test_a_unix_socket_has_no_name(smtp_server: ServerFactory, tmp_path: Path, injected: None) -> None:
    path = tmp_path / "lmtp"
    with smtp_server(lmtp_server, path=path) as server:
        with pytest.raises(smtpverify.ReferenceIdentifierError):
            LMTP(str(path)).starttls()
        lmtp: Any = LMTP()
        lmtp._host = HOST
        lmtp.connect(str(path))
        lmtp.starttls()
        log_in_and_send(lmtp)
        lmtp.quit()
    assert_sent(server)


def test_each_connection_to_a_unix_socket_starts_afresh(
    smtp_server: ServerFactory, tmp_path: Path, injected: None
) -> None:
    path = tmp_path / "lmtp"
    with smtp_server(lmtp_server, starttls=Starttls.REFUSED, path=path) as server:
        lmtp = LMTP(str(path))
        lmtp.docmd("STARTTLS")
        with pytest.raises(smtpverify.TLSRequiredError, match=r"since STARTTLS was sent$"):
            lmtp.mail("alice@example.org")
        lmtp.connect(str(path))
        lmtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
        lmtp.quit()
    assert [len(seen.messages) for seen in server.connections] == [0, 1]


def test_the_trust_is_that_of_the_host_that_is_connected_to(smtp_server: ServerFactory, world: World) -> None:
    trust = {HOST: Trust()}
    with inject_into_smtplib(Trust(world.unknown_file), trust_by_host=trust):
        with smtp_server(implicit_server) as server:
            smtp = SMTP_SSL(timeout=TIMEOUT)  # nobody knows its host yet
            smtp.connect(HOST, server.port)
            log_in_and_send(smtp)
            smtp.quit()
            smtp.connect(HOST, server.port)
            smtp.quit()
            with pytest.raises(smtpverify.UntrustedCertificateError):
                smtp.connect(OTHER, server.port)
        assert_sent(server)


# --- made before, used after ---------------------------------------------------------------------


def test_an_object_that_was_in_tls_before(smtp_server: ServerFactory, world: World) -> None:
    """Judged at its next command: only what its own context has verified can go on."""
    with smtp_server(starttls_server) as server:
        kept, lost = connected(server.port), connected(server.port)
        kept.starttls(context=world.client_context())
        lost.starttls()
        for smtp in (kept, lost):
            smtp.login("alice", "secret")
        with inject_into_smtplib():
            kept.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
            refusal(
                smtpverify.UntrustedCertificateError,
                Cause.CONTEXT_NOT_VERIFYING,
                lambda: lost.sendmail("alice@example.org", ["bob@example.org"], MESSAGE),
            )
            kept.quit()
    assert len(server.messages) == 1
    assert [len(seen.messages) for seen in server.connections] == [1, 0]


def test_an_object_that_was_in_plaintext_before(
    smtp_server: ServerFactory, world: World, remote: None
) -> None:
    with smtp_server(starttls_server) as server:
        plain, started, nameless = connected(server.port), connected(server.port), SMTP(timeout=TIMEOUT)
        nameless.connect(HOST, server.port)
        with inject_into_smtplib():
            with pytest.raises(smtpverify.PlaintextCredentialsError):
                plain.login("alice", "secret")
            started.starttls()
            log_in_and_send(started)
            with pytest.raises(smtpverify.ReferenceIdentifierError, match="made before smtpverify"):
                nameless.starttls()  # smtplib has not kept its host
            for smtp in (plain, started):
                smtp.quit()
    assert_sent(server)


def test_methods_bound_before(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(starttls_server) as server:
        smtp = connected(server.port)
        login, sendmail, quit_ = smtp.login, smtp.sendmail, smtp.quit
        other = connected(server.port)
        late_starttls, late_login = other.starttls, other.login
        with inject_into_smtplib():
            smtp.starttls()
            login("alice", "secret")
            sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
            quit_()
            # smtplib's own, which verifies nothing: what follows sees that.
            late_starttls()
            with pytest.raises(smtpverify.UntrustedCertificateError, match="without verification"):
                late_login("alice", "secret")
    assert_sent(server)


def test_smtp_ssl_made_before(smtp_server: ServerFactory, world: World) -> None:
    smtp = SMTP_SSL(timeout=TIMEOUT)
    with inject_into_smtplib(), smtp_server(implicit_server) as server:
        with pytest.warns(smtpverify.InsecureContextWarning):  # nobody knows that it was smtplib's default
            smtp.connect(HOST, server.port)
        log_in_and_send(smtp)
        smtp.quit()
    assert_sent(server)


def test_what_was_injected_goes_on_when_it_is_extracted(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(starttls_server) as server:
        with inject_into_smtplib():
            smtp = connected(server.port)
            smtp.starttls()
        log_in_and_send(smtp)
        smtp.quit()
    assert_sent(server)


# --- programs of the standard library ------------------------------------------------------------


def log_by_mail(server: Server, secure: tuple[()] | tuple[str, str] | None = ()) -> None:
    handler = logging.handlers.SMTPHandler(
        (HOST, server.port),
        "alice@example.org",
        ["bob@example.org"],
        "alarm",
        credentials=("alice", "secret"),
        secure=secure,
        timeout=TIMEOUT,
    )
    handler.emit(logging.LogRecord("log", logging.ERROR, "file", 1, "fire", None, None))


@pytest.mark.parametrize("kind", ["good", *IMPOSTORS])
def test_the_log_handler(
    kind: str,
    smtp_server: ServerFactory,
    world: World,
    injected: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with (
        smtp_server(starttls_server, certificate=world.served(kind)) as server,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        log_by_mail(server)
    # From 3.12 on it hands over a context that verifies nothing.
    assert {warning.filename for warning in caught} <= {logging.handlers.__file__}
    told = capsys.readouterr().err
    if kind == "good":
        assert (len(server.messages), told) == (1, "")
    else:
        assert server.leaked() == []
        assert IMPOSTORS[kind][0].__name__ in told


# --- our own classes -----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["tls", "smtps"])
def test_our_own_classes_pass_untouched(
    scheme: str, smtp_server: ServerFactory, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("admit", "start_tls", "secure_from_first_byte", "context_for", "say_starttls"):
        monkeypatch.delattr(f"smtpverify.smtp.guard.{name}")
    behaviour = starttls_server if scheme == "tls" else implicit_server
    # Its roots are of no concern to them.
    with inject_into_smtplib(Trust(world.unknown_file), require_tls=True):
        with smtp_server(behaviour) as server:
            with smtpverify.connect(f"{scheme}://{HOST}:{server.port}", timeout=TIMEOUT) as smtp:
                log_in_and_send(smtp)
            assert "_smtpverify" not in vars(smtp)
        assert_sent(server)
        with (
            smtp_server(behaviour, certificate=world.served("wrong_name")) as server,
            pytest.raises(smtpverify.HostnameMismatchError),
        ):
            smtpverify.connect(f"{scheme}://{HOST}:{server.port}", timeout=TIMEOUT)
        assert server.leaked() == []


# --- injections ----------------------------------------------------------------------------------


def is_injected() -> bool:
    return stock() != UNTOUCHED


def test_extraction_restores_exactly() -> None:
    with inject_into_smtplib() as injection:
        assert isinstance(injection, smtpverify.Injection)
        assert is_injected()
        assert [[*each] for each in stock()] == [[*each] for each in UNTOUCHED]
    assert not is_injected()
    extract_from_smtplib()  # of nothing
    assert not is_injected()


@pytest.mark.parametrize("name", ["SMTP", "SMTP_SSL", "LMTP"])
def test_signatures_stay(name: str, injected: None) -> None:
    cls = getattr(smtplib, name)
    for method, original in UNTOUCHED[CLASSES.index(cls)].items():
        if inspect.isfunction(original):
            assert inspect.signature(getattr(cls, method)) == inspect.signature(original)
            assert getattr(cls, method).__doc__ == original.__doc__


def test_each_injection_is_ended_by_itself() -> None:
    first, second = inject_into_smtplib(), inject_into_smtplib()
    first.extract()
    first.extract()
    assert is_injected()
    second.extract()
    assert not is_injected()
    inject_into_smtplib()
    inject_into_smtplib()
    extract_from_smtplib()
    assert is_injected()
    extract_from_smtplib()
    assert not is_injected()


def test_nested_and_ended_out_of_order(smtp_server: ServerFactory, world: World) -> None:
    outer = inject_into_smtplib(Trust(pins=OTHER_PIN))
    with inject_into_smtplib(Trust(world.root_file)):
        outer.extract()
        with smtp_server(starttls_server) as server:
            smtp = connected(server.port)
            smtp.starttls()
            smtp.quit()
        assert is_injected()
    assert not is_injected()


def test_the_newest_that_says_anything_counts(smtp_server: ServerFactory, world: World) -> None:
    def verdict(server: Server) -> type[BaseException] | None:
        smtp = connected(server.port)
        try:
            smtp.starttls()
        except smtpverify.PeerVerificationError as error:
            return type(error)
        smtp.quit()
        return None

    mismatch, unknown = smtpverify.PinMismatchError, smtpverify.UntrustedCertificateError
    with smtp_server(starttls_server) as server:
        with inject_into_smtplib(Trust(pins=OTHER_PIN)):
            assert verdict(server) is mismatch
            with inject_into_smtplib():
                assert verdict(server) is mismatch
            with inject_into_smtplib(trust_by_host={OTHER: Trust()}):
                assert verdict(server) is mismatch
            with inject_into_smtplib(trust_by_host={HOST: Trust()}):
                assert verdict(server) is None
            with inject_into_smtplib(Trust(), trust_by_host={HOST: Trust(world.unknown_file)}):
                assert verdict(server) is unknown
                with inject_into_smtplib(Trust()):
                    assert verdict(server) is None
        with inject_into_smtplib():
            assert verdict(server) is None


def test_what_is_required_or_allowed_by_any_holds(smtp_server: ServerFactory, remote: None) -> None:
    with inject_into_smtplib(require_tls=True), inject_into_smtplib(), smtp_server() as server:
        smtp = connected(server.port)
        with pytest.raises(smtpverify.TLSRequiredError):
            smtp.mail("alice@example.org")
    with inject_into_smtplib(allow_plaintext_login=True), inject_into_smtplib(), smtp_server() as server:
        smtp = connected(server.port)
        smtp.login("alice", "secret")
        smtp.quit()


def test_a_key_that_is_no_host() -> None:
    with pytest.raises(smtpverify.ReferenceIdentifierError):
        inject_into_smtplib(trust_by_host={"a b": Trust()})
    assert not is_injected()


def test_somebody_else_on_top(
    smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    """Instrumentation, which wraps what it finds, and does not go when we do."""
    seen: list[str] = []
    with inject_into_smtplib():
        ours = SMTP.starttls

        def instrumented(self: smtplib.SMTP, *args: Any, **kwargs: Any) -> Any:
            seen.append("starttls")
            return ours(self, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(SMTP, "starttls", instrumented)
            extract_from_smtplib()
            assert SMTP.starttls is instrumented
            with smtp_server(starttls_server, certificate=world.served("wrong_name")) as server:
                smtp = connected(server.port)
                smtp.starttls()  # smtplib's own
                smtp.quit()
                with inject_into_smtplib():
                    assert SMTP.starttls is instrumented
                    smtp = connected(server.port)
                    with pytest.raises(smtpverify.HostnameMismatchError):
                        smtp.starttls()
    assert seen == ["starttls"] * 2
    inject_into_smtplib()
    extract_from_smtplib()  # and now what was left behind
    assert not is_injected()


@pytest.mark.parametrize("cls", [SMTP, SMTP_SSL])
def test_what_is_left_behind_only_passes_on(
    cls: type[smtplib.SMTP], smtp_server: ServerFactory, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviour = implicit_server if cls is SMTP_SSL else starttls_server
    with (
        monkeypatch.context() as patch,
        smtp_server(behaviour, certificate=world.served("unknown_issuer")) as server,
    ):
        injection = inject_into_smtplib()
        for each, untouched in zip(CLASSES, UNTOUCHED, strict=True):
            for name, ours in dict(vars(each)).items():
                if ours is not untouched.get(name, ours):
                    patch.setattr(each, name, functools.partialmethod(ours))
        injection.extract()
        smtp = cls(HOST, server.port, timeout=TIMEOUT)
        if cls is SMTP:
            smtp.starttls()
        log_in_and_send(smtp)
        smtp.quit()
        assert "_smtpverify" not in vars(smtp)
    assert_sent(server)
    inject_into_smtplib()
    extract_from_smtplib()  # which finds it again


def test_threads(smtp_server: ServerFactory, world: World) -> None:
    """However injections come and go meanwhile, one that lasts is enough."""
    failures: list[BaseException] = []
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            with inject_into_smtplib(Trust()):
                pass

    def ask(port: int) -> None:
        try:
            for _ in range(10):
                smtp = connected(port)
                with pytest.raises(smtpverify.UntrustedCertificateError):
                    smtp.starttls()
        except BaseException as error:  # noqa: BLE001  raised below
            failures.append(error)

    with inject_into_smtplib():
        with smtp_server(starttls_server, certificate=world.served("unknown_issuer")) as server:
            others = [threading.Thread(target=come_and_go) for _ in range(2)]
            askers = [threading.Thread(target=ask, args=(server.port,)) for _ in range(3)]
            for thread in (*others, *askers):
                thread.start()
            for thread in askers:
                thread.join()
            stop.set()
            for thread in others:
                thread.join()
        assert failures == []
        assert is_injected()
    assert len(server.connections) == 30
    assert server.leaked() == []
