"""What a connection remembers: whom it is to, why it was closed, and what may go over it."""

from __future__ import annotations

import smtplib
import socket
import ssl
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from smtpverify import LMTP, SMTP, SMTP_SSL, Cause, Trust
from tests.bed import HOST, Behaviour, End, Protocol, Server, Starttls, Tls, World, closed_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import ServerFactory

MESSAGE = b"Subject: hello\r\n\r\nhello\r\n"
TIMEOUT = 5.0

starttls_server = Behaviour(tls=Tls.STARTTLS)
AWAY = pytest.mark.parametrize(
    "command",
    [
        lambda smtp: smtp.login("alice", "secret"),
        lambda smtp: smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE),
        lambda smtp: smtp.mail("alice@example.org"),
        lambda smtp: smtp.docmd("AUTH", "PLAIN AGFsaWNlAHNlY3JldA=="),
        lambda smtp: smtp.putcmd("NOOP"),
        lambda smtp: smtp.send(b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"),
        lambda smtp: smtp.ehlo(),
        lambda smtp: smtp.getreply(),
        lambda smtp: smtp.starttls(),
        lambda smtp: smtp.quit(),
        lambda smtp: smtp.auth("PLAIN", lambda challenge=None: "\0alice\0secret"),
    ],
    ids=[
        "login",
        "sendmail",
        "mail",
        "docmd",
        "putcmd",
        "send",
        "ehlo",
        "getreply",
        "starttls",
        "quit",
        "auth",
    ],
)


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let loopback pass for another machine."""
    monkeypatch.setattr("smtpverify.smtp.endpoints.is_local", lambda sock: False)


def client(server: Server, host: str = HOST, **options: Any) -> SMTP:
    return SMTP(host, server.port, timeout=TIMEOUT, **options)


def send(smtp: smtplib.SMTP) -> None:
    smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)


# --- what failed stays failed ------------------------------------------------------------------------


@AWAY
def test_a_failed_verification_is_told_by_every_later_command(
    smtp_server: ServerFactory, command: Callable[[SMTP], object]
) -> None:
    """A program that swallows the first error and goes on neither leaks nor hides why."""
    with smtp_server(starttls_server) as server:
        smtp = client(server, "other.example.net")
        with pytest.raises(smtpverify.HostnameMismatchError) as failed:
            smtp.starttls()
        assert (smtp.sock, smtp.peer) == (None, None)
        with pytest.raises(smtplib.SMTPServerDisconnected, match=r"not for other\.example\.net$") as caught:
            command(smtp)
        assert caught.value.__cause__ is failed.value
    assert server.leaked() == []
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (Behaviour(tls=Tls.STARTTLS, starttls=Starttls.ABSENT), smtpverify.TLSRequiredError),
        (Behaviour(tls=Tls.STARTTLS, starttls=Starttls.REFUSED), smtpverify.STARTTLSRefusedError),
        (
            Behaviour(tls=Tls.STARTTLS, starttls=Starttls.INJECTED_SAME_SEGMENT),
            smtpverify.PlaintextInjectionError,
        ),
    ],
    ids=["absent", "refused", "injected"],
)
def test_starttls_that_was_asked_for_and_is_not_to_be_had_closes(
    smtp_server: ServerFactory, behaviour: Behaviour, kind: type[smtpverify.SMTPVerifyError]
) -> None:
    with smtp_server(behaviour) as server:
        smtp = client(server)
        with pytest.raises(kind) as failed:
            smtp.starttls()
        with pytest.raises(smtplib.SMTPServerDisconnected) as caught:
            smtp.login("alice", "secret")
        assert caught.value.__cause__ is failed.value
        assert str(failed.value) in str(caught.value)
    assert server.leaked() == []


def test_a_new_connection_starts_afresh(smtp_server: ServerFactory) -> None:
    with smtp_server(Behaviour(tls=Tls.STARTTLS, starttls=Starttls.ABSENT), starttls_server) as server:
        smtp = client(server)
        with pytest.raises(smtpverify.TLSRequiredError):
            smtp.starttls()
        smtp.connect(HOST, server.port)
        smtp.starttls()
        smtp.login("alice", "secret")
        send(smtp)
        smtp.quit()
        with pytest.raises(smtplib.SMTPServerDisconnected, match=r"^please run connect"):
            smtp.noop()
    assert server.connections[0].leaked() == []
    assert server.connections[1].end is End.QUIT


def test_the_failure_of_a_first_try_is_forgotten(smtp_server: ServerFactory) -> None:
    with smtp_server(Behaviour(), Behaviour(tls=Tls.IMPLICIT)) as server:
        smtp = client(server, f"ssl://{HOST}")
        smtp.close()
        for command in (smtp.noop, smtp.starttls):
            with pytest.raises(smtplib.SMTPServerDisconnected, match=r"^please run connect"):
                command()


@pytest.mark.parametrize("scheme", ["tls", "ssl", "smtp+tls"])
def test_an_interrupt_closes_too(
    smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """Ctrl-C between the greeting and STARTTLS: a program that goes on must not do so in plaintext."""

    def interrupted(self: SMTP, name: str = "") -> Any:
        raise KeyboardInterrupt

    with smtp_server(starttls_server) as server:
        smtp = SMTP(timeout=TIMEOUT)
        with monkeypatch.context() as patch:
            patch.setattr(SMTP, "ehlo", interrupted)
            with pytest.raises(KeyboardInterrupt):
                smtp.connect(f"{scheme}://{HOST}:{server.port}")
        with pytest.raises(smtplib.SMTPServerDisconnected) as caught:
            send(smtp)
        assert type(caught.value.__cause__) is KeyboardInterrupt
    assert len(server.connections) == 1
    assert server.leaked() == []


def test_an_interrupt_within_starttls_closes_too(
    smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with smtp_server(starttls_server) as server:
        smtp = client(server)
        with monkeypatch.context() as patch:
            patch.setattr("smtpverify.smtp.session.secure", interrupted)
            with pytest.raises(KeyboardInterrupt):
                smtp.starttls()
        with pytest.raises(smtplib.SMTPServerDisconnected) as caught:
            send(smtp)
        assert type(caught.value.__cause__) is KeyboardInterrupt
    assert server.leaked() == []


@AWAY
def test_a_scheme_s_tls_is_not_exchanged_for_plaintext(
    smtp_server: ServerFactory, command: Callable[[SMTP], object]
) -> None:
    with smtp_server(starttls_server) as server:
        smtp = client(server, f"tls://{HOST}")
        secured = smtp.sock
        smtp.sock = socket.create_connection(("127.0.0.1", server.port), TIMEOUT)
        smtp.file = None
        with secured, pytest.raises(smtpverify.TLSRequiredError, match="exchanged for one without"):
            command(smtp)
        assert smtp.sock is None
    assert server.connections[1].clear == b""


def test_a_with_block_tells_the_first_error(smtp_server: ServerFactory) -> None:
    with (
        smtp_server(starttls_server) as server,
        pytest.raises(smtpverify.HostnameMismatchError),
        client(server, "other.example.net") as smtp,
    ):
        smtp.starttls()
    assert server.leaked() == []


def test_starttls_inside_tls_is_not_supported_and_does_no_harm(smtp_server: ServerFactory) -> None:
    """RFC 3207 4.2; such a server would be a strange one."""
    strange = ("STARTTLS", "AUTH PLAIN")
    with smtp_server(starttls_server, Behaviour(tls=Tls.IMPLICIT), after_tls=strange) as server:
        smtp = client(server)
        smtp.starttls()
        implicit = SMTP_SSL(HOST, server.port, timeout=TIMEOUT)
        for one in (smtp, implicit):
            with pytest.raises(smtplib.SMTPNotSupportedError, match="in TLS already"):
                one.starttls()
            send(one)
            one.quit()
    assert len(server.messages) == 2


# --- who the peer is -----------------------------------------------------------------------------------


def test_the_peer_is_evidence_or_none(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(starttls_server) as server:
        smtp = client(server)
        assert smtp.peer is None
        smtp.starttls()
        assert smtp.peer is not None
        assert smtp.peer.certificate.der == world.good().leaf_der
        assert smtp.peer is smtp.sock.peer
        smtp.connect(HOST, server.port)
        assert smtp.peer is None
        smtp.starttls()
        with closed_port() as port, pytest.raises(ConnectionRefusedError):
            smtp.connect(HOST, port)
        assert smtp.peer is None


@pytest.mark.parametrize(("scheme", "tls"), [("tls", Tls.STARTTLS), ("smtps", Tls.IMPLICIT)])
def test_what_a_url_says_of_trust_counts(
    smtp_server: ServerFactory, world: World, scheme: str, tls: Tls
) -> None:
    other = world.unknown.issue("other.example.net")
    with smtp_server(tls=tls, certificate=other) as server:
        url = f"{scheme}://{HOST}?cafile={world.unknown_file}"
        smtp = client(server, f"{url}&server-name=other.example.net")
        send(smtp)
        smtp.quit()
        with pytest.raises(smtpverify.HostnameMismatchError):
            client(server, url)
        with pytest.raises(smtpverify.UntrustedCertificateError):
            client(server, f"{scheme}://{HOST}?server-name=other.example.net")
        with pytest.raises(smtpverify.PinMismatchError):
            client(server, f"{url}&server-name=other.example.net&pin=sha256:{'00' * 32}")
    assert [len(seen.messages) for seen in server.connections] == [1, 0, 0, 0]


def by_hand(smtp: SMTP, context: ssl.SSLContext, name: str | None) -> None:
    """STARTTLS as programs do it that mistrust smtplib, or are older than its own."""
    smtp.ehlo()
    assert smtp.docmd("STARTTLS")[0] == 220
    smtp.sock = context.wrap_socket(smtp.sock, server_hostname=name)
    smtp.file = None
    smtp.ehlo_resp = smtp.helo_resp = None


def test_a_socket_that_somebody_else_has_verified_passes(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(starttls_server) as server:
        smtp = client(server)
        by_hand(smtp, ssl.create_default_context(cafile=world.root_file), HOST)
        smtp.login("alice", "secret")
        assert smtp.peer is not None
        assert smtp.peer.certificate.der == world.good().leaf_der
        send(smtp)
        smtp.quit()
    assert len(server.messages) == 1


@pytest.mark.parametrize("name", [HOST, None])
@AWAY
def test_a_socket_that_nobody_has_verified_gets_nothing(
    smtp_server: ServerFactory, command: Callable[[SMTP], object], name: str | None
) -> None:
    with smtp_server(starttls_server) as server:
        smtp = client(server)
        by_hand(smtp, ssl._create_unverified_context(), name)
        with pytest.raises(smtpverify.UntrustedCertificateError) as caught:
            command(smtp)
        assert caught.value.diagnosis is not None
        assert caught.value.diagnosis.cause is Cause.CONTEXT_NOT_VERIFYING
        assert smtp.sock is None
        with pytest.raises(smtplib.SMTPServerDisconnected) as later:
            command(smtp)
        assert later.value.__cause__ is caught.value
    assert server.leaked() == []
    assert server.connections[0].secure == b""


def test_a_socket_that_was_verified_for_another_name(smtp_server: ServerFactory, world: World) -> None:
    """A chain that is good for somebody is good for an impostor too."""
    context = ssl.create_default_context(cafile=world.root_file)
    with smtp_server(starttls_server) as server:
        smtp = client(server, "other.example.net")
        by_hand(smtp, context, HOST)
        with pytest.raises(smtpverify.HostnameMismatchError, match=r"not for other\.example\.net$"):
            smtp.login("alice", "secret")
    assert server.leaked() == []
    assert server.connections[0].secure == b""


def test_a_subclass_that_gives_its_own_tls_socket(smtp_server: ServerFactory, world: World) -> None:
    class Own(SMTP):
        context = ssl.create_default_context(cafile=world.root_file)

        def _get_socket(self, host: str, port: int, timeout: float | None) -> Any:
            return self.context.wrap_socket(super()._get_socket(host, port, timeout), server_hostname=HOST)

    class Blind(Own):
        context = ssl._create_unverified_context()

    with smtp_server(tls=Tls.IMPLICIT) as server:
        smtp = Own(HOST, server.port, timeout=TIMEOUT)
        assert smtp.peer is not None
        send(smtp)
        smtp.quit()
        with pytest.raises(smtpverify.UntrustedCertificateError):
            Blind(HOST, server.port, timeout=TIMEOUT)
    assert len(server.messages) == 1
    assert server.connections[1].secure == b""


def test_a_name_is_needed_to_verify(smtp_server: ServerFactory, tmp_path: Path) -> None:
    with smtp_server(starttls_server, protocol=Protocol.LMTP, path=tmp_path / "lmtp") as server:
        smtp = LMTP(server.path, timeout=TIMEOUT)
        with pytest.raises(smtpverify.ReferenceIdentifierError, match="give server_hostname"):
            smtp.starttls()
    assert server.connections[0].clear_commands[-1] == "STARTTLS"
    assert server.leaked() == []


# --- mail and credentials over plaintext ---------------------------------------------------------------


@pytest.mark.usefixtures("remote")
def test_mail_in_plaintext_warns_once_a_connection(smtp_server: ServerFactory) -> None:
    with smtp_server() as server:
        smtp = client(server)
        with pytest.warns(smtpverify.PlaintextWarning, match="org: the mail goes in plaintext") as caught:
            send(smtp)
        assert [warning.filename for warning in caught] == [__file__]
        send(smtp)  # without a warning, which would be an error here
        smtp.connect(HOST, server.port)
        with pytest.warns(smtpverify.PlaintextWarning) as caught:
            send(smtp)
        assert len(caught) == 1
        smtp.quit()
    assert len(server.messages) == 3


@pytest.mark.usefixtures("remote")
@pytest.mark.parametrize("scheme", ["smtp", "smtp+notls"])
def test_mail_in_plaintext_as_the_scheme_says(smtp_server: ServerFactory, scheme: str) -> None:
    with smtp_server() as server:
        smtp = client(server, f"{scheme}://{HOST}")
        send(smtp)
        smtp.quit()
    assert len(server.messages) == 1


@pytest.mark.usefixtures("remote")
def test_a_fallback_has_warned_already(smtp_server: ServerFactory) -> None:
    with smtp_server() as server:
        with pytest.warns(smtpverify.PlaintextFallbackWarning):
            smtp = client(server, f"smtp+tls://{HOST}")
        send(smtp)
        smtp.quit()
    assert len(server.messages) == 1


@pytest.mark.usefixtures("remote")
def test_a_warning_made_an_error_sends_nothing(smtp_server: ServerFactory) -> None:
    with smtp_server() as server, warnings.catch_warnings():
        warnings.simplefilter("error", smtpverify.PlaintextWarning)
        smtp = client(server)
        with pytest.raises(smtpverify.PlaintextWarning):
            send(smtp)
        smtp.quit()
    assert server.leaked() == []


def test_mail_over_loopback_or_tls_does_not_warn(smtp_server: ServerFactory) -> None:
    with smtp_server(starttls_server) as server:
        smtp = client(server)
        send(smtp)
        smtp.starttls()
        send(smtp)
        smtp.quit()
    assert len(server.messages) == 2


@pytest.mark.usefixtures("remote")
@pytest.mark.parametrize(
    "command",
    [
        lambda smtp: smtp.login("alice", "secret"),
        lambda smtp: smtp.docmd("AUTH", "PLAIN AGFsaWNlAHNlY3JldA=="),
        lambda smtp: smtp.docmd("auth plain"),
        lambda smtp: smtp.putcmd(" Auth PLAIN", "AGFsaWNlAHNlY3JldA=="),
        lambda smtp: smtp.auth("PLAIN", lambda challenge=None: "\0alice\0secret"),
        lambda smtp: smtp.auth("LOGIN", lambda challenge=None: None, initial_response_ok=False),
    ],
    ids=["login", "docmd", "lower", "space", "auth", "without"],
)
def test_credentials_do_not_go_over_plaintext(
    smtp_server: ServerFactory, command: Callable[[SMTP], object]
) -> None:
    with smtp_server(starttls_server) as server:
        smtp = client(server)
        with pytest.raises(smtpverify.PlaintextCredentialsError) as caught:
            command(smtp)
        assert (caught.value.host, caught.value.port) == (HOST, server.port)
        smtp.starttls()  # the connection is as it was
        smtp.login("alice", "secret")
        smtp.quit()
    assert not any("AUTH" in line.upper() for line in server.connections[0].clear_commands)
    assert len(server.connections[0].credentials) == 1


@pytest.mark.usefixtures("remote")
@pytest.mark.parametrize("scheme", ["smtp", "smtp+notls", "smtp+tls"])
@pytest.mark.filterwarnings("ignore::smtpverify.PlaintextFallbackWarning")
def test_nor_do_those_of_a_url(smtp_server: ServerFactory, scheme: str) -> None:
    with smtp_server() as server, pytest.raises(smtpverify.PlaintextCredentialsError):
        client(server, f"{scheme}://alice:secret@{HOST}")
    assert server.leaked() == []


@pytest.mark.usefixtures("remote")
def test_unless_somebody_says_so(smtp_server: ServerFactory) -> None:
    with smtp_server() as server:
        smtp = client(server, allow_plaintext_login=True)
        smtp.login("alice", "secret")
        smtp.quit()
        url = f"smtp+notls://alice:secret@{HOST}:{server.port}"
        smtpverify.connect(url, timeout=TIMEOUT, allow_plaintext_login=True).quit()
    assert [len(seen.credentials) for seen in server.connections] == [1, 1]


def test_or_it_stays_on_this_machine(smtp_server: ServerFactory) -> None:
    with smtp_server() as server:
        smtp = client(server)
        smtp.login("alice", "secret")
        smtp.quit()
    assert len(server.connections[0].credentials) == 1


# --- LMTP ----------------------------------------------------------------------------------------------


def lmtp_server(smtp_server: ServerFactory, tmp_path: Path, **fields: Any) -> Server:
    return smtp_server(protocol=Protocol.LMTP, path=tmp_path / "lmtp", **fields)


@pytest.mark.parametrize("url", [False, True])
def test_lmtp_over_a_unix_socket(smtp_server: ServerFactory, tmp_path: Path, url: bool) -> None:
    with lmtp_server(smtp_server, tmp_path) as server:
        host = f"lmtp://{server.path}" if url else server.path
        smtp = smtpverify.connect(host, timeout=TIMEOUT) if url else LMTP(host, timeout=TIMEOUT)
        assert type(smtp) is LMTP
        send(smtp)
        smtp.login("alice", "secret")
        smtp.quit()
    assert len(server.messages) == 1
    assert server.connections[0].clear_commands[0].startswith("lhlo ")


def test_lmtp_over_a_unix_socket_with_starttls(smtp_server: ServerFactory, tmp_path: Path) -> None:
    with lmtp_server(smtp_server, tmp_path, tls=Tls.STARTTLS) as server:
        smtp = LMTP(server.path, timeout=TIMEOUT, server_hostname=HOST)
        smtp.starttls()
        assert smtp.peer is not None
        send(smtp)
        smtp.quit()
        smtp = LMTP(server.path, timeout=TIMEOUT, server_hostname="other.example.net")
        with pytest.raises(smtpverify.HostnameMismatchError, match="not for other"):
            smtp.starttls()
    assert len(server.connections[0].messages) == 1
    assert server.connections[1].leaked() == []


def test_lmtp_over_tcp(smtp_server: ServerFactory) -> None:
    with smtp_server(starttls_server, protocol=Protocol.LMTP) as server:
        smtp: SMTP = LMTP(HOST, server.port, timeout=TIMEOUT)
        smtp.starttls()
        send(smtp)
        smtp.quit()
        smtp = smtpverify.connect(f"lmtp://{HOST}:{server.port}", timeout=TIMEOUT)
        send(smtp)
        smtp.quit()
    assert len(server.messages) == 2


def test_lmtp_and_a_greeting_other_than_220(smtp_server: ServerFactory, tmp_path: Path) -> None:
    with lmtp_server(smtp_server, tmp_path, greeting="421 not now") as server:
        with pytest.raises(smtplib.SMTPConnectError) as caught:
            LMTP(server.path, timeout=TIMEOUT)
        assert caught.value.smtp_code == 421


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_lmtp_without_a_socket_there(tmp_path: Path) -> None:
    smtp = LMTP(timeout=TIMEOUT)
    with pytest.raises(FileNotFoundError):
        smtp.connect(str(tmp_path / "nobody"))
    with pytest.raises(smtplib.SMTPServerDisconnected, match="No such file"):
        smtp.noop()


@pytest.mark.parametrize("url", ["tls://mail.example.org", "smtp://mail.example.org"])
def test_smtp_urls_are_not_for_lmtp(url: str) -> None:
    with pytest.raises(smtpverify.RelayURLError, match=r"is for SMTP, not for LMTP$"):
        LMTP(url)


def test_pins_of_ours_count_for_a_context_of_the_caller(smtp_server: ServerFactory, world: World) -> None:
    context = ssl.create_default_context(cafile=world.root_file)
    with smtp_server(starttls_server) as server:
        smtp = client(server, trust=Trust(pins="sha256:" + "00" * 32))
        with pytest.raises(smtpverify.PinMismatchError):
            smtp.starttls(context=context)
    assert server.leaked() == []


# --- a socket without connect() ------------------------------------------------------------------------


@pytest.mark.parametrize("name", [HOST, HOST.encode()])
def test_a_socket_put_in_by_hand(smtp_server: ServerFactory, name: Any) -> None:
    """Through a proxy, say: nobody called `connect()`, and the name was written by hand."""
    with smtp_server(Behaviour(), starttls_server) as server:
        for secured in (False, True):
            smtp = SMTP(timeout=TIMEOUT)
            smtp._host = name
            smtp.sock = socket.create_connection(("127.0.0.1", server.port), TIMEOUT)
            assert smtp.getreply()[0] == 220
            if secured:
                smtp.starttls()
                send(smtp)
                smtp.quit()
                continue
            with pytest.raises(smtpverify.TLSRequiredError) as caught:
                smtp.starttls()
            assert (caught.value.host, caught.value.port) == (HOST, None)
    assert server.connections[0].leaked() == []
    assert len(server.connections[1].messages) == 1


# --- what was found by review ----------------------------------------------------------------------


@pytest.mark.parametrize("url", ["smtps://{}:{}", "ssl://{}:{}", "{}:{}"])
def test_a_subclass_that_dials_by_itself_gets_tls_all_the_same(smtp_server: ServerFactory, url: str) -> None:
    """The usual recipe for a proxy: its plain socket is not taken for one with TLS."""

    class Dialling(smtpverify.SMTP_SSL if "/" not in url else SMTP):  # type: ignore[misc]
        def _get_socket(self, host: str, port: int, timeout: float | None) -> socket.socket:
            return socket.create_connection(("127.0.0.1", port), 5)

    with smtp_server(tls=Tls.IMPLICIT) as server:
        smtp = Dialling(url.format(HOST, server.port), timeout=TIMEOUT)
        assert smtp.peer.reference.text == HOST
        send(smtp)
        smtp.quit()
    assert server.connections[-1].clear == b""
    plain = smtp_server(before_tls=("AUTH PLAIN",))
    with pytest.raises(smtpverify.SMTPVerifyError):
        Dialling(url.format(HOST, plain.port), timeout=0.5)
    plain.close()
    assert plain.leaked() == []


@pytest.mark.parametrize("arguments", [{}, {"certfile": "/nonexistent"}, {"context": "blind"}])
def test_whatever_starttls_fails_at_ends_the_connection(
    smtp_server: ServerFactory, arguments: dict[str, Any]
) -> None:
    """Who swallows the error, be it of EHLO or of an argument, does not go on in plaintext."""
    if arguments.get("context"):
        arguments = {"context": ssl._create_unverified_context()}
    replies = {} if arguments else {"EHLO": "550 no", "HELO": "550 no"}
    with smtp_server(tls=Tls.STARTTLS, replies=replies) as server:
        smtp = SMTP(HOST, server.port, timeout=TIMEOUT)
        with pytest.raises((smtplib.SMTPException, ValueError)):
            smtp.starttls(**arguments)
        with pytest.raises(smtplib.SMTPServerDisconnected, match="the connection was closed"):
            send(smtp)
    assert server.leaked() == []


def test_a_context_and_a_trust_that_both_name_roots(smtp_server: ServerFactory, world: World) -> None:
    wide = ssl.create_default_context(cafile=world.root_file)
    narrow = Trust(world.unknown_file)
    with smtp_server(tls=Tls.IMPLICIT) as server:
        port = server.port
        with pytest.raises(smtpverify.InsecureContextError, match="the relay URL, gives roots too"):
            SMTP_SSL(HOST, port, timeout=TIMEOUT, context=wide, trust=narrow)
        url = f"smtps://{HOST}:{port}?cafile={world.unknown_file}"
        with pytest.raises(smtpverify.InsecureContextError, match="the relay URL, gives roots too"):
            SMTP_SSL(url, timeout=TIMEOUT, context=wide)
        same = Trust(world.root_file)
        context = smtpverify.create_context(same)
        smtpverify.SMTP_SSL(HOST, server.port, timeout=TIMEOUT, context=context, trust=same).quit()
    assert server.leaked() == []


def test_the_context_of_smtp_ssl_counts_for_starttls_too(smtp_server: ServerFactory, world: World) -> None:
    narrow = ssl.create_default_context(cafile=world.unknown_file)
    with smtp_server(starttls_server) as server, pytest.raises(smtpverify.UntrustedCertificateError):
        smtpverify.SMTP_SSL(f"tls://{HOST}:{server.port}", timeout=TIMEOUT, context=narrow)
    assert server.leaked() == []


@pytest.mark.usefixtures("remote")
def test_attributes_of_a_subclass_are_not_our_evidence(smtp_server: ServerFactory) -> None:
    class Mailer(SMTP):
        def __init__(self, host: str, port: int) -> None:
            super().__init__(host, port, timeout=TIMEOUT)
            self.peer = self.relay = (host, port)

    with smtp_server() as server:
        smtp = Mailer(HOST, server.port)
        assert smtp.peer == smtp.relay == (HOST, server.port)  # type: ignore[comparison-overlap]
        smtp.ehlo()
        with pytest.raises(smtpverify.PlaintextCredentialsError):
            smtp.login("alice", "secret")
        with pytest.warns(smtpverify.PlaintextWarning):
            smtp.mail("alice@example.org")
        smtp.quit()
    assert server.connections[0].credentials == []


def test_plaintext_put_behind_starttls(smtp_server: ServerFactory) -> None:
    with smtp_server(tls=Tls.STARTTLS) as server, smtp_server() as plain:
        smtp = SMTP(HOST, server.port, timeout=TIMEOUT)
        smtp.starttls()
        smtp.ehlo()
        smtp.sock.close()
        smtp.sock = socket.create_connection(("127.0.0.1", plain.port), 5)
        with pytest.raises(smtpverify.TLSRequiredError, match="exchanged for one without"):
            send(smtp)
    assert plain.leaked() == []


def test_a_foreign_socket_that_lost_its_tls(smtp_server: ServerFactory, world: World) -> None:
    context = ssl.create_default_context(cafile=world.root_file)
    with smtp_server(tls=Tls.IMPLICIT) as server:
        smtp = smtpverify.SMTP_SSL(HOST, server.port, timeout=TIMEOUT, context=context)
        smtp.sock.shutdown(socket.SHUT_RD)
        with pytest.raises(smtpverify.TLSHandshakeError):
            smtp.putcmd("MAIL", "FROM:<alice@example.org>")
    assert server.connections[0].clear == b""
