"""Commands and replies, one by one: what is refused before it is sent, and what before it is believed."""

from __future__ import annotations

import contextlib
import io
import select
import smtplib
import socket
import struct
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from smtpverify import SMTP, Timeouts
from tests.bed import HOST, Behaviour, Handshake, Pieces, Tls
from tests.bed.network import LOOPBACK
from tests.scripted import Death, Plan, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bed import Server
    from tests.conftest import ServerFactory

SENDER, RECIPIENT = "alice@example.org", "bob@example.net"


def connected(server: Server, **options: Any) -> SMTP:
    return SMTP(LOOPBACK, server.port, "client.example.org", **{"timeout": 5, **options})


# --- arguments -----------------------------------------------------------------------------------

CONTROL = [chr(code) for code in (*range(0x20), 0x7F, 0x80, 0x85, 0x9F)]
METHODS: list[Callable[[SMTP, str], object]] = [
    lambda smtp, bad: smtp.putcmd(bad),
    lambda smtp, bad: smtp.putcmd("NOOP", bad),
    lambda smtp, bad: smtp.docmd("NOOP", bad),
    lambda smtp, bad: smtp.helo(bad),
    lambda smtp, bad: smtp.ehlo(bad),
    lambda smtp, bad: smtp.help(bad),
    lambda smtp, bad: smtp.mail(bad),
    lambda smtp, bad: smtp.mail(SENDER, [bad]),
    lambda smtp, bad: smtp.rcpt(bad),
    lambda smtp, bad: smtp.rcpt(RECIPIENT, [bad]),
    lambda smtp, bad: smtp.verify(bad),
    lambda smtp, bad: smtp.expn(bad),
    lambda smtp, bad: smtp.sendmail(bad, RECIPIENT, "x"),
    lambda smtp, bad: smtp.sendmail(SENDER, bad, "x"),
    lambda smtp, bad: smtp.sendmail(SENDER, [RECIPIENT, bad], "x"),
    lambda smtp, bad: smtp.sendmail(SENDER, RECIPIENT, "x", [bad]),
    lambda smtp, bad: smtp.sendmail(SENDER, RECIPIENT, "x", [], [bad]),
    lambda smtp, bad: smtp.docmd(bad),
    lambda smtp, bad: smtp.docmd(bad, "x"),
    lambda smtp, bad: smtp.vrfy(bad),
    lambda smtp, bad: smtp.mail(SENDER, ["SIZE=1", bad]),
    lambda smtp, bad: smtp.auth(bad, lambda challenge=None: "x"),
    lambda smtp, bad: smtp.send_message(plain(), bad),
    lambda smtp, bad: smtp.send_message(plain(), SENDER, [bad]),
    lambda smtp, bad: smtp.send_message(plain(), SENDER, RECIPIENT, [bad]),
    lambda smtp, bad: smtp.send_message(plain(), SENDER, RECIPIENT, [], [bad]),
]


def plain() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = SENDER, RECIPIENT
    message.set_content("hello")
    return message


@pytest.mark.parametrize("number", range(len(METHODS)))
@pytest.mark.parametrize("extensions", [(), ("PIPELINING", "CHUNKING", "SMTPUTF8")])
def test_no_control_character_leaves(
    smtp_server: ServerFactory, number: int, extensions: tuple[str, ...]
) -> None:
    """Of every argument of every command (RFC 5321 4.1.2): an error, and not an octet is sent."""
    with smtp_server(before_tls=extensions) as server, connected(server) as smtp:
        smtp.ehlo()
        for character in CONTROL:
            for bad in (f"a{character}b@example.net", f"{character}NOOP", f"x@example.net{character}"):
                # By send_message an address that is not ASCII is refused for that already.
                kinds = (ValueError, *(() if character.isascii() else (smtplib.SMTPNotSupportedError,)))
                with pytest.raises(kinds, match=r"prohibited|no address|no name|require internationalized"):
                    METHODS[number](smtp, bad)
    assert [command.split()[0].upper() for command in server.connections[0].commands] == ["EHLO", "QUIT"]


@pytest.mark.parametrize("smuggled", ["a@b> SIZE=1", "a@b c", "a b@c", "<a@b> X", "a@b>", "a\\@b", "<<a@b>>"])
def test_an_address_stays_one(smtp_server: ServerFactory, smuggled: str) -> None:
    with smtp_server(before_tls=("PIPELINING",)) as server, connected(server) as smtp:
        with contextlib.suppress(smtpverify.CommandArgumentError):
            smtp.sendmail(SENDER, smuggled, "x")
        with contextlib.suppress(smtpverify.CommandArgumentError):
            smtp.sendmail(smuggled, RECIPIENT, "x")
    for message in server.connections[0].messages:
        assert message.mail_parameters == "".join(message.rcpt_parameters) == ""
        assert not {" ", "<", ">", "\\"} & set("".join((message.mail_from, *message.rcpts)))


# --- replies that nobody asked for -----------------------------------------------------------------


@pytest.mark.parametrize("reply", ["250 ok", "421 4.4.2 you slept", "250", "x"])
def test_unsolicited(smtp_server: ServerFactory, reply: str) -> None:
    replies = {"NOOP": f"250 ok\r\n{reply}".encode() + b"\r\n"}
    with smtp_server(before_tls=("PIPELINING",), replies=replies) as server:
        for command in (SMTP.noop, SMTP.rset, lambda smtp: smtp.sendmail(SENDER, RECIPIENT, "x")):
            smtp = connected(server)
            smtp.ehlo()
            assert smtp.noop() == (250, b"ok")
            with pytest.raises(
                smtpverify.UnsolicitedReplyError, match=rf"the server spoke unasked: '{reply}'$"
            ):
                command(smtp)
            with pytest.raises(smtplib.SMTPServerDisconnected, match="the server spoke unasked"):
                smtp.noop()
    assert all(len(connection.commands) == 2 for connection in server.connections)


def test_commands_pipelined_by_hand(smtp_server: ServerFactory) -> None:
    """Who asks twice before reading gets both replies, as with smtplib."""
    with smtp_server() as server, connected(server) as smtp:
        smtp.ehlo()
        smtp.putcmd("NOOP")
        smtp.putcmd("HELP")
        smtp.send("VRFY bob\r\n")
        assert [smtp.getreply()[0] for _ in range(3)] == [250, 214, 252]
        assert smtp.noop()[0] == 250


def test_a_connection_that_ended_meanwhile(smtp_server: ServerFactory) -> None:
    with smtp_server(closes_after=("NOOP",)) as server:
        smtp = connected(server)
        smtp.noop()
        server.close()
        with pytest.raises(smtplib.SMTPServerDisconnected, match=r"^Connection unexpectedly closed$"):
            smtp.noop()


# --- replies -------------------------------------------------------------------------------------


def test_a_reset_where_replies_are_looked_for() -> None:
    """Found where a message is sent in chunks, and the replies to those before are looked for."""
    smtp = SMTP(local_hostname="client.example.org")
    with socket.create_server((LOOPBACK, 0)) as listener:
        smtp.sock = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        assert select.select([smtp.sock], [], [], 10)[0]
        with pytest.raises(smtplib.SMTPServerDisconnected, match=r"reset by peer$"):
            smtp._has_reply()
    assert smtp.sock is None


def test_the_enhanced_status_of_a_reply(smtp_server: ServerFactory) -> None:
    with (
        smtp_server(replies={"NOOP": "550-5.7.1 no\r\n550 5.7.1 never"}) as server,
        connected(server) as smtp,
    ):
        reply = smtp.noop()
        assert reply == (550, b"5.7.1 no\n5.7.1 never")
        assert smtpverify.enhanced_status(reply) == "5.7.1"


def test_debugging_shows_both_sides(smtp_server: ServerFactory, capsys: pytest.CaptureFixture[str]) -> None:
    with smtp_server(before_tls=("PIPELINING",)) as server:
        smtp = SMTP(timeout=5)
        smtp.set_debuglevel(1)
        smtp.connect(LOOPBACK, server.port)
        smtp.sendmail(SENDER, RECIPIENT, "hello")
        smtp.mail(SENDER)
        smtp.rcpt(RECIPIENT)
        smtp.data("hello")
        smtp.quit()
    shown = capsys.readouterr().err
    for part in (
        "connect: to",
        "send: 'mail from:<alice@",
        "send: b'hello",
        "reply: retcode (250); Msg: b'2.1.0 Ok'",
    ):
        assert part in shown
    assert "data: (354, b'End data" in shown


# --- extensions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("by_url", [True, False])
def test_extensions_that_are_ignored(smtp_server: ServerFactory, by_url: bool) -> None:
    with smtp_server(before_tls=("PIPELINING", "CHUNKING", "SIZE 1")) as server:
        if by_url:
            url = f"smtp://{LOOPBACK}:{server.port}?ignore-extension=chunking&ignore-extension=SIZE"
            smtp = smtpverify.connect(url, timeout=5)
        else:
            smtp = connected(server, ignore_extensions=("CHUNKING", "size"))
        assert smtp.sendmail(SENDER, RECIPIENT, "hello") == {}
        assert smtp.has_extn("pipelining")
        assert not smtp.has_extn("chunking")
        smtp.quit()
    assert "DATA" in server.connections[0].commands
    with pytest.raises(smtpverify.RelayURLError, match="STARTTLS can't be ignored"):
        SMTP(ignore_extensions=("starttls",))


# --- time ----------------------------------------------------------------------------------------


def drip(text: bytes) -> Pieces:
    return Pieces(lambda: (bytes((octet,)) for octet in text), 0.05)


@pytest.mark.parametrize("timeout", [0.4, Timeouts(command=0.4, greeting=0.4)])
def test_a_limit_is_for_the_whole_reply(smtp_server: ServerFactory, timeout: Any) -> None:
    with smtp_server(replies={"NOOP": drip(b"250 " + b"x" * 1000)}) as server:
        smtp = connected(server, timeout=timeout)
        with pytest.raises(
            smtplib.SMTPServerDisconnected, match=r"^the server did not answer within 0\.4 seconds$"
        ):
            smtp.noop()
    server = smtp_server(greeting=drip(b"220 " + b"x" * 1000))
    told = r"no SMTP greeting came: the server did not answer within 0\.4 seconds$"
    with server, pytest.raises(smtpverify.ProtocolError, match=told):
        connected(server, timeout=timeout)
    # A record of TLS that does not come to its end.
    server = smtp_server(greeting=drip(b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb" + b"x" * 1000))
    with server, pytest.raises(smtpverify.TLSHandshakeTimeoutError):
        smtpverify.connect(f"smtps://{HOST}:{server.port}", timeout=timeout)


@pytest.mark.parametrize("timeout", [0.5, Timeouts(command=0.5)])
@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
def test_a_limit_is_for_the_whole_handshake(smtp_server: ServerFactory, timeout: Any, tls: Tls) -> None:
    with smtp_server(Behaviour(tls=tls, handshake=Handshake.SILENT)) as server:
        scheme = "tls" if tls is Tls.STARTTLS else "smtps"
        with pytest.raises(smtpverify.TLSHandshakeTimeoutError):
            smtpverify.connect(f"{scheme}://{HOST}:{server.port}", timeout=timeout)


def test_a_limit_set_by_hand(smtp_server: ServerFactory) -> None:
    with smtp_server(replies={"NOOP": b""}) as server:
        for smtp in (connected(server, timeout=50), SMTP(LOOPBACK, server.port)):
            smtp.sock.settimeout(0.3)
            with pytest.raises(smtplib.SMTPServerDisconnected, match=r"within 0\.3 seconds"):
                smtp.noop()


def test_without_a_limit_there_is_one(smtp_server: ServerFactory) -> None:
    with smtp_server() as server:
        for timeout in (None, 7, Timeouts(command=8, greeting=9)):
            smtp = SMTP(LOOPBACK, server.port, timeout=timeout)
            found = [smtp._limit(step) for step in ("greeting", "command", "data_end")]
            assert found == {None: [300, 300, 600], 7: [7, 7, 7]}.get(timeout, [9, 8, 600])  # type: ignore[arg-type]
            smtp.quit()


# --- taking leave --------------------------------------------------------------------------------


def test_a_lost_reply_to_quit_spoils_nothing(smtp_server: ServerFactory) -> None:
    for reply in (b"", b"22", b"???\r\n"):
        with smtp_server(replies={"QUIT": reply}, closes_after=("QUIT",)) as server:
            smtp = connected(server)
            assert smtp.sendmail(SENDER, RECIPIENT, "hello") == {}
            assert smtp.quit()[0] == 221
            assert smtp.sock is None
            with connected(server) as smtp:
                assert smtp.sendmail(SENDER, RECIPIENT, "hello") == {}
    with smtp_server(closes_after=(".",)) as server:
        smtp = connected(server)
        smtp.sendmail(SENDER, RECIPIENT, "hello")
        assert smtp.quit()[0] == 221


def test_leave_is_refused(smtp_server: ServerFactory) -> None:
    with smtp_server(replies={"QUIT": "500 5.5.1 stay"}) as server:
        assert connected(server).quit() == (500, b"5.5.1 stay")
        with pytest.raises(smtplib.SMTPResponseException, match="stay"), connected(server):
            pass


def test_no_exception_is_hidden(smtp_server: ServerFactory) -> None:
    with smtp_server(replies={"QUIT": "500 5.5.1 stay"}, tls=Tls.STARTTLS, certificate=None) as server:

        def finally_quitting() -> None:
            smtp = SMTP("localhost", server.port, timeout=5)  # not the certificate's name
            try:
                smtp.starttls()
            finally:
                smtp.quit()

        with pytest.raises(smtpverify.HostnameMismatchError):
            finally_quitting()
        with pytest.raises(LookupError), connected(server):
            raise LookupError
        with pytest.raises(KeyboardInterrupt), connected(server):
            raise KeyboardInterrupt
        smtp = connected(server)
        smtp.close()
        with pytest.raises(smtplib.SMTPServerDisconnected, match="run connect"):
            smtp.quit()
        with smtp:  # closed already: there is nobody to take leave of
            pass


# --- internationalized addresses -------------------------------------------------------------------


def test_a_domain_in_a_labels(smtp_server: ServerFactory) -> None:
    message = EmailMessage()
    message["From"] = SENDER
    message["To"] = RECIPIENT
    message.set_content("hello")
    with smtp_server(before_tls=("PIPELINING",)) as server, connected(server) as smtp:
        assert smtp.sendmail("alice@fa\u00df.de", ["bob@b\u00fccher.example"], "hello") == {}
        assert smtp.send_message(message, to_addrs=["bob@b\u00fccher.example"]) == {}
        assert smtp.mail("alice@fa\u00df.de")[0] == 250
        with pytest.raises(UnicodeEncodeError):
            smtp.sendmail(SENDER, "b\u00f6b@example.net", "hello")
        with pytest.raises(smtplib.SMTPNotSupportedError):
            smtp.send_message(message, to_addrs=["b\u00f6b@example.net"])
        with pytest.raises(smtpverify.CommandArgumentError):
            smtp.sendmail(SENDER, "bob@\u00df..example", "hello")
    first, second = server.connections[0].messages
    assert (first.mail_from, first.rcpts) == ("alice@xn--fa-hia.de", ("bob@xn--bcher-kva.example",))
    assert second.rcpts == ("bob@xn--bcher-kva.example",)


def test_smtputf8(smtp_server: ServerFactory) -> None:
    message = EmailMessage()
    message["From"], message["To"] = SENDER, "b\u00f6b@b\u00fccher.example"
    message.set_content("hello")
    for extensions in (("SMTPUTF8",), ("SMTPUTF8", "PIPELINING", "CHUNKING")):
        with smtp_server(before_tls=extensions) as server, connected(server) as smtp:
            assert smtp.send_message(message) == {}
            smtp.mail("\u00e4lice@example.org", ["SMTPUTF8"])
            smtp.rcpt("b\u00f6b@example.net")
            smtp.rset()
        (sent,) = server.connections[0].messages
        assert sent.rcpts == ("b\u00f6b@b\u00fccher.example",)
        assert "SMTPUTF8" in sent.mail_parameters
        assert "To: b\u00f6b@b\u00fccher.example".encode() in sent.data


def test_characters_that_narrow_to_line_ends(smtp_server: ServerFactory) -> None:
    """U+760D U+760A, as CVE-2025-7962; U+010D U+010A."""
    for pair in ("\u760d\u760a", "\u010d\u010a"):
        with smtp_server(before_tls=("SMTPUTF8", "PIPELINING")) as server, connected(server) as smtp:
            evil = f"bob{pair}RSET@example.net"
            with pytest.raises(UnicodeEncodeError):
                smtp.sendmail(SENDER, evil, "hello")
            assert smtp.sendmail(SENDER, evil, "hello", ["SMTPUTF8"]) == {}
        assert server.connections[0].messages[0].rcpts == (evil,)
        assert not any(command.upper().startswith("RSET") for command in server.connections[0].commands)


# --- sockets that are not of the socket module -------------------------------------------------------


class Scripted:
    """What has `makefile` and `sendall`, as the mock sockets of other people's tests."""

    def __init__(self, replies: bytes) -> None:
        self.sent = b""
        self._file = io.BytesIO(replies)

    def makefile(self, mode: str) -> io.BytesIO:
        return self._file

    def sendall(self, octets: bytes) -> None:
        self.sent += octets

    def close(self) -> None:
        pass


def test_somebody_s_own_socket() -> None:
    sock = Scripted(
        b"220 hello\r\n250-mock\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n354 go\r\n250 done\r\n221 bye\r\n"
    )

    class Mocked(SMTP):
        def _get_socket(self, host: str, port: int, timeout: Any) -> Any:
            return sock

    smtp = Mocked("localhost", 25, "client.example.org")
    with pytest.warns(smtpverify.PlaintextWarning):  # nobody knows where it leads
        assert smtp.sendmail(SENDER, RECIPIENT, "hello") == {}
    assert smtp.quit()[0] == 221
    assert sock.sent.endswith(b"DATA\r\nhello\r\n.\r\nquit\r\n")


def test_a_file_put_in_place(smtp_server: ServerFactory) -> None:
    with smtp_server() as server:
        smtp = connected(server)
        smtp.file = smtp.sock.makefile("rb")
        assert smtp.noop()[0] == 250
        smtp.file.close()
        smtp.file = None
        assert smtp.noop()[0] == 250
        smtp.quit()


def iterator() -> Iterator[str]:
    yield RECIPIENT


def test_any_iterable_of_recipients(smtp_server: ServerFactory) -> None:
    with smtp_server() as server, connected(server) as smtp:
        assert smtp.sendmail(SENDER, iterator(), bytearray(b"hello")) == {}
        assert smtp.sendmail("", {RECIPIENT}, memoryview(b"hello")) == {}
    assert [message.mail_from for message in server.connections[0].messages] == [SENDER, ""]


# --- connections that are lost, and what they leave --------------------------------------------------


def test_a_local_name_of_two_lines(smtp_server: ServerFactory) -> None:
    with smtp_server() as server:
        smtp = SMTP(LOOPBACK, server.port, "client\r\nNOOP", timeout=5)
        for command in (SMTP.ehlo, SMTP.helo, lambda smtp: smtp.sendmail(SENDER, RECIPIENT, "x")):
            with pytest.raises(
                smtpverify.CommandArgumentError, match=r"newline characters: .*client\\r\\nNOOP$"
            ):
                command(smtp)
        smtp.quit()
    assert server.connections[0].commands == ["quit"]


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")])
def test_a_socket_that_somebody_has_closed(smtp_server: ServerFactory, extensions: tuple[str, ...]) -> None:
    """Of the error of the socket comes smtplib's, and the connection is closed; nothing counts as sent."""
    with smtp_server(before_tls=extensions) as server:
        commands: list[Callable[[SMTP], object]] = [
            lambda smtp: smtp.noop(),
            lambda smtp: smtp.sendmail(SENDER, RECIPIENT, "x"),
            lambda smtp: smtp.send("NOOP\r\n"),
        ]
        for command in commands:
            smtp = smtpverify.connect(f"smtp+notls://{LOOPBACK}:{server.port}", timeout=5)
            smtp.ehlo()
            smtp.sock.close()
            with pytest.raises(smtplib.SMTPServerDisconnected, match="Server not connected") as raised:
                command(smtp)
            assert isinstance(raised.value.__cause__, OSError)
            assert not isinstance(raised.value, smtpverify.DeliveryUnknownError)
            assert smtp.sock is None
            with pytest.raises(smtplib.SMTPServerDisconnected, match=r"was closed: Server not connected"):
                smtp.getreply()
    assert server.messages == []


def test_a_connection_that_was_reset_meanwhile(smtp_server: ServerFactory) -> None:
    """A RST that waits is found before the next command, which is not sent."""
    with smtp_server() as server:
        smtp = connected(server)
        smtp.ehlo()
        peer, ours = socket.socketpair()
        smtp.sock.close()
        smtp.sock, smtp.file = ours, None
        peer.sendall(b"x" * 10)
        ours.recv(1, socket.MSG_PEEK)
        with pytest.raises(smtpverify.UnsolicitedReplyError, match=r"unasked: 'xxxxxxxxxx'$"):
            smtp.noop()
        peer.settimeout(5)
        assert peer.recv(10) == b""
        peer.close()


def test_without_a_connection() -> None:
    """Every command says so, and what to do."""
    smtp = SMTP(timeout=5)
    for command in (
        smtp.noop,
        lambda: smtp.mail(SENDER),
        lambda: smtp.rcpt(RECIPIENT),
        smtp.getreply,
        lambda: smtp.send("NOOP\r\n"),
        lambda: smtp.sendmail(SENDER, RECIPIENT, "x"),
        lambda: smtp.send_message(plain()),
        lambda: smtp.send_messages([]),
        smtp.quit,
        lambda: smtp.login("alice", "secret"),
    ):
        with pytest.raises(smtplib.SMTPServerDisconnected, match=r"^please run connect"):
            command()


def test_utf8_that_is_not_offered(smtp_server: ServerFactory) -> None:
    """RFC 6531 3.1: an error by every way in, and nothing on the wire."""
    with smtp_server(before_tls=("PIPELINING",)) as server, connected(server) as smtp:
        smtp.ehlo()
        for command in (
            lambda: smtp.mail(SENDER, ["SMTPUTF8"]),
            lambda: smtp.mail(SENDER, ["body=8bitmime", "smtputf8"]),
            lambda: smtp.sendmail(SENDER, RECIPIENT, "x", ["SMTPUTF8"]),
            lambda: smtp.send_message(plain(), mail_options=["SMTPUTF8"]),
            lambda: smtp.send_message(plain(), "b\u00f6b@example.org"),
        ):
            with pytest.raises(smtplib.SMTPNotSupportedError, match="SMTPUTF8"):
                command()
        (result,) = smtp.send_messages([(SENDER, "b\u00f6b@example.org", "x")])
        assert type(result.error) is UnicodeEncodeError
    assert server.leaked() == []


def test_the_warning_of_plaintext(smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a connection, where the server is elsewhere, before anything of the mail is sent."""
    monkeypatch.setattr(SMTP, "_is_local", lambda self: False)
    with smtp_server(before_tls=("PIPELINING",)) as server:
        for command in (
            lambda smtp: smtp.mail(SENDER),
            lambda smtp: smtp.sendmail(SENDER, RECIPIENT, "x"),
            lambda smtp: list(smtp.send_messages([(SENDER, RECIPIENT, "x")])),
        ):
            smtp = connected(server)
            for _ in range(2):  # an error stops the mail, however often it is tried
                with pytest.raises(
                    smtpverify.PlaintextWarning, match=r"^127\.0\.0\.1: the mail goes in plaintext"
                ):
                    command(smtp)
            assert smtp.noop()[0] == 250
            with pytest.warns(smtpverify.PlaintextWarning):
                command(smtp)
            command(smtp)  # has been warned
            smtp.quit()
        with smtpverify.connect(f"smtp+notls://{LOOPBACK}:{server.port}", timeout=5) as told:
            assert told.sendmail(SENDER, RECIPIENT, "x") == {}
        smtp = connected(server)
        with pytest.raises(smtpverify.PlaintextCredentialsError):
            smtp.send("  auth PLAIN AGFsaWNlAHNlY3JldA==\r\n")
        smtp.close()
    assert not any(
        "auth" in command.lower() for connection in server.connections for command in connection.commands
    )


def test_a_reset_that_waits() -> None:
    """It is found before the next command; what was accepted before stays so."""
    with ScriptedServer((), [Plan()], Death(0, ".", b"250 queued\r\n", reset=True)) as server:
        smtp = SMTP(LOOPBACK, server.port, "client.example.org", timeout=5)
        assert smtp.sendmail("0@example.org", RECIPIENT, "hello") == {}
    with pytest.raises(smtplib.SMTPServerDisconnected, match=r"^Server not connected: ") as raised:
        smtp.noop()
    assert isinstance(raised.value.__cause__, ConnectionResetError)
    assert smtp.sock is None


def test_steps_by_hand(smtp_server: ServerFactory) -> None:
    """Replies as they are, for whoever speaks step by step; octets as well as text."""
    replies = {
        "RCPT": lambda line: "550 5.1.1 nobody" if "carol" in line else None,
        "EXPN": "252 2.5.1 not told",
        "VRFY": "252 2.5.1 not told",
    }
    with smtp_server(replies=replies) as server, connected(server) as smtp:
        smtp.ehlo()
        smtp.send(b"NOOP\r\n")
        assert smtp.getreply() == (250, b"2.0.0 Ok")
        assert smtp.expn("list") == smtp.vrfy("bob") == smtp.verify("bob") == (252, b"2.5.1 not told")
        assert smtp.mail(SENDER, ["BODY=8BITMIME"])[0] == 250
        refused = smtp.rcpt("carol@example.net")
        assert refused == (550, b"5.1.1 nobody")
        assert smtpverify.enhanced_status(refused) == "5.1.1"
        assert smtp.rcpt(RECIPIENT)[0] == 250
        assert smtp.data("hello\n.\r.") == (250, b"2.0.0 Ok: queued")
    (message,) = server.messages
    assert (message.rcpts, message.data) == ((RECIPIENT,), b"hello\r\n.\r\n.\r\n")
    assert message.mail_parameters == "BODY=8BITMIME"
    assert (SMTP()._written, SMTP()._heard) == (0, b"")
