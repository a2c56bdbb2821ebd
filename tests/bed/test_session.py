"""What the bed's server says and records, apart from how TLS begins; and that tests cannot go astray."""

from __future__ import annotations

import base64
import smtplib
from itertools import repeat
from typing import TYPE_CHECKING

import pytest

from tests.bed import (
    HOST,
    Credential,
    End,
    Greeting,
    Message,
    Pieces,
    Protocol,
    Tls,
    World,
)
from tests.bed.raw import TIMEOUT, Raw

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import ServerFactory

EHLO = b"EHLO client.example.org\r\n"
MAIL = b"MAIL FROM:<a@example.org>\r\n"
RCPT = b"RCPT TO:<b@example.net>\r\n"


def b64(octets: bytes) -> bytes:
    return base64.b64encode(octets)


# What is said.


@pytest.mark.parametrize(
    ("kind", "heard", "end"),
    [(Greeting.SPOKEN, b"554 5.7.1 Go away\r\n", End.EOF), (Greeting.CLOSED, b"", End.SCRIPTED)],
)
def test_greeting(smtp_server: ServerFactory, kind: Greeting, heard: bytes, end: End) -> None:
    with smtp_server(greeting="554 5.7.1 Go away", greeting_kind=kind) as server, Raw(server) as raw:
        assert raw.hear() == heard
    assert server.connections[0].end is end


def test_extensions_differ_before_and_after_tls(smtp_server: ServerFactory, world: World) -> None:
    with (
        smtp_server(tls=Tls.STARTTLS, before_tls=("SIZE 1",), after_tls=("DSN", "AUTH PLAIN")) as server,
        smtplib.SMTP(HOST, server.port, timeout=TIMEOUT) as client,
    ):
        client.ehlo()
        assert client.esmtp_features == {"size": "1", "starttls": ""}
        client.starttls(context=world.client_context())
        # smtplib forgets, and so does the server.
        assert client.docmd("MAIL", "FROM:<a@example.org>")[0] == 503
        client.ehlo()
        assert client.esmtp_features == {"dsn": "", "auth": " PLAIN"}
    assert server.connections[0].clear_commands == ["ehlo client.example.org", "STARTTLS"]


def test_message_is_recorded_as_it_was_meant(smtp_server: ServerFactory) -> None:
    with smtp_server() as server, smtplib.SMTP(HOST, server.port, timeout=TIMEOUT) as client:
        client.sendmail(
            "a@example.org", ["b@example.net", "c@example.net"], b".\r\n..x\r\nend", ["BODY=8BITMIME"]
        )
    (message,) = server.messages
    assert (message.mail_from, message.rcpts) == ("a@example.org", ("b@example.net", "c@example.net"))
    assert (message.data, message.mail_parameters) == (b".\r\n..x\r\nend\r\n", "BODY=8BITMIME")
    assert server.connections[0].closed_cleanly
    # How smtplib spells its commands depends on the version; the data's lines follow.
    assert [line[:10].upper() for line in server.leaked()] == [
        "MAIL FROM:",
        "RCPT TO:<B",
        "RCPT TO:<C",
        "DATA",
        "..",
        "...X",
        "END",
        ".",
    ]


def test_pipelined_and_chunked_in_one_round_trip(smtp_server: ServerFactory) -> None:
    with smtp_server() as server, Raw(server) as raw:
        raw.hear()
        raw.ask(EHLO)
        raw.socket.sendall(MAIL + RCPT + b"BDAT 3\r\nab\rBDAT 2 LAST\r\n\ncQUIT\r\n")
        heard = b"".join(iter(raw.hear, b""))
    assert heard.endswith(b"250 2.0.0 Ok: queued\r\n221 2.0.0 Bye\r\n")
    assert server.messages == [Message("a@example.org", ("b@example.net",), b"ab\r\nc", "", ("",))]
    # The greeting, EHLO, the rest, and the client's end of file.
    assert server.connections[0].round_trips == 3
    assert server.connections[0].end is End.QUIT


def test_empty_message_and_wrong_sequences(smtp_server: ServerFactory) -> None:
    with smtp_server() as server, Raw(server) as raw:
        raw.hear()
        for line, code in (
            (MAIL, b"503"),
            (EHLO, b"250"),
            (RCPT, b"503"),
            (b"DATA\r\n", b"503"),
            (b"BDAT 2 LAST\r\nxx", b"503"),
            (MAIL.replace(b"<", b""), b"501"),
            (MAIL, b"250"),
            (b"DATA\r\n", b"554"),
            (b"RSET\r\n", b"250"),
            (MAIL, b"250"),
            (b'RCPT TO:<"a>b"@example.net> NOTIFY=NEVER\r\n', b"250"),
            (b"DATA\r\n", b"354"),
            (b".\r\n", b"250"),
            (b"LHLO x\r\n", b"502"),
            (b"XYZZY\r\n", b"500"),
        ):
            assert raw.ask(line)[:4] == code + raw_separator(line), line
    (message,) = server.messages
    assert (message.rcpts, message.rcpt_parameters) == (('"a>b"@example.net',), ("NOTIFY=NEVER",))
    assert message.data == b""


def raw_separator(line: bytes) -> bytes:
    return b"-" if line == EHLO else b" "


def test_data_accepted_after_no_recipient_was(smtp_server: ServerFactory) -> None:
    with smtp_server(replies={"RCPT": "550 5.1.1 No", "DATA": "354 Go on"}) as server, Raw(server) as raw:
        raw.hear()
        raw.ask(EHLO)
        assert raw.ask(MAIL) + raw.ask(RCPT) == b"250 2.1.0 Ok\r\n550 5.1.1 No\r\n"
        assert raw.ask(b"DATA\r\n") == b"354 Go on\r\n"
        raw.ask(b".\r\n")
    assert server.messages == []


def test_lmtp_has_a_reply_for_each_recipient(smtp_server: ServerFactory, tmp_path: Path) -> None:
    def verdict(line: str) -> str | None:
        return "552 5.2.2 Full" if "full@" in line else None

    with (
        smtp_server(protocol=Protocol.LMTP, path=tmp_path / "lmtp", replies={".": verdict}) as server,
        Raw(server) as raw,
    ):
        raw.hear()
        assert raw.ask(EHLO).startswith(b"502 ")
        assert raw.ask(b"LHLO client.example.org\r\n").startswith(b"250-")
        raw.ask(MAIL)
        raw.ask(RCPT)
        raw.ask(b"RCPT TO:<full@example.net>\r\n")
        raw.ask(b"DATA\r\n")
        raw.socket.sendall(b"x\r\n.\r\nQUIT\r\n")
        heard = b"".join(iter(raw.hear, b""))
    assert heard == b"250 2.1.5 Delivered\r\n552 5.2.2 Full\r\n221 2.0.0 Bye\r\n"
    assert server.messages[0].data == b"x\r\n"


@pytest.mark.parametrize(
    ("said", "credential"),
    [
        ([b"AUTH PLAIN " + b64(b"\0me\0pw")], Credential("PLAIN", "me", "pw")),
        ([b"AUTH PLAIN", b64(b"\0me\0pw")], Credential("PLAIN", "me", "pw")),
        ([b"AUTH LOGIN", b64(b"me"), b64(b"pw")], Credential("LOGIN", "me", "pw")),
        ([b"AUTH LOGIN " + b64(b"me"), b64(b"pw")], Credential("LOGIN", "me", "pw")),
        ([b"AUTH XOAUTH2 " + b64(b"t")], Credential("XOAUTH2", "", "", b"t")),
        ([b"AUTH XOAUTH2 ="], Credential("XOAUTH2", "", "", b"")),
    ],
)
def test_auth(smtp_server: ServerFactory, said: list[bytes], credential: Credential) -> None:
    with (
        smtp_server(before_tls=("AUTH PLAIN LOGIN XOAUTH2",), auth_reply="535 5.7.8 No") as server,
        Raw(server) as raw,
    ):
        raw.hear()
        raw.ask(EHLO)
        *asked, last = (raw.ask(line + b"\r\n") for line in said)
        assert all(heard.startswith(b"334 ") for heard in asked)
        assert last == b"535 5.7.8 No\r\n"
        assert raw.ask(b"AUTH GSSAPI\r\n").startswith(b"504 ")
        assert raw.ask(b"AUTH PLAIN !\r\n").startswith(b"501 ")
    assert server.connections[0].credentials == [credential]
    assert len(server.leaked()) == len(said) + 2


def test_replies_of_every_form(smtp_server: ServerFactory) -> None:
    replies = {
        "NOOP": b"250",  # no line end
        "MAIL": lambda line: "450 4.2.0 Later" if "later@" in line else None,
        "VRFY": Pieces(lambda: [b"25", b"0 o", b"k\r\n"]),
        "RSET": b"",
    }
    with smtp_server(replies=replies, closes_after=("RSET",)) as server, Raw(server) as raw:
        raw.hear()
        assert raw.ask(b"NOOP\r\n") == b"250"
        raw.ask(EHLO)
        assert raw.ask(b"MAIL FROM:<later@example.org>\r\n") == b"450 4.2.0 Later\r\n"
        assert raw.ask(MAIL) == b"250 2.1.0 Ok\r\n"
        raw.socket.sendall(b"VRFY x\r\nRSET\r\n")
        assert b"".join(iter(raw.hear, b"")) == b"250 ok\r\n"
    assert server.connections[0].end is End.SCRIPTED


def test_endless_reply_ends_with_the_client(smtp_server: ServerFactory) -> None:
    endless = Pieces(lambda: repeat(b"250-more\r\n" * 1000))
    with smtp_server(replies={"EHLO": endless}) as server, Raw(server) as raw:
        raw.hear()
        assert raw.ask(EHLO).startswith(b"250-more\r\n")
    assert server.connections[0].end is End.RESET


def test_slow_reply_ends_with_the_server(smtp_server: ServerFactory) -> None:
    with (
        smtp_server(replies={"EHLO": Pieces(lambda: repeat(b"2"), pause=3600)}) as server,
        Raw(server) as raw,
    ):
        raw.hear()
        assert raw.ask(EHLO) == b"2"
        server.close()
        assert raw.hear() == b""
    assert server.connections[0].end is End.STOPPED
