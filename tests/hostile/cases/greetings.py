"""Servers of other protocols.

An attacker can send a connection on to any other service, of the same host even, whose certificate is then
the right one (ALPACA: Brinkmann et al. 2021).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hostile.case import Must, Step, case

if TYPE_CHECKING:
    from tests.hostile.conversation import Conversation

ALPACA = "ALPACA (2021)"

OTHERS = {
    "http": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "imap": b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] mail.example.org ready\r\n",
    "pop3": b"+OK mail.example.org ready <1896.697170952@example.org>\r\n",
    "nntp": b"200 news.example.org InterNetNews ready\r\n",  # a code of SMTP as well
    "sieve": b'"IMPLEMENTATION" "sieved"\r\n"STARTTLS"\r\nOK\r\n',
    "telnet": b"\xff\xfd\x18\xff\xfd\x20\xff\xfd\x23\xff\xfd\x27",
    "vnc": b"RFB 003.008\n",
    "mysql": b"\x4a\x00\x00\x00\x0a8.0.36\x00\x08\x00\x00\x00",
    "xmpp": b"<?xml version='1.0'?><stream:stream xmlns='jabber:client'>\r\n",
    "tls_alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "tls_handshake": b"\x16\x03\x03\x00\x2a\x02\x00\x00\x26\x03\x03" + bytes(37),
}
ODD = {
    "nothing_but_line_ends": 8 * b"\r\n",
    "nuls": bytes(1000),
    "every_octet": bytes(range(256)),
    "utf_16": "220 mail.example.org ESMTP\r\n".encode("utf-16"),
    "a_byte_order_mark": "\ufeff220 mail.example.org ESMTP\r\n".encode(),
    "no_code": b"mail.example.org ESMTP\r\n",
    "code_250": b"250 mail.example.org ESMTP\r\n",
    "code_354": b"354 mail.example.org ESMTP\r\n",
    "code_554": b"554 5.3.2 No SMTP service here\r\n",
    "two_codes": b"220-mail.example.org\r\n554 No SMTP service here\r\n",
}


@case(Must.RAISE, ALPACA, each=OTHERS)
def speaks(c: Conversation, greeting: bytes) -> None:
    """Speaks {} in place of SMTP."""
    c.serve(until=Step.GREETING)
    c.send(greeting)
    c.serve()


@case(Must.RAISE, ALPACA, each={name: OTHERS[name] for name in ("http", "imap", "pop3")}, implicit=True)
def speaks_in_tls(c: Conversation, greeting: bytes) -> None:
    """Speaks {} in TLS, with the right certificate."""
    c.serve(until=Step.GREETING)
    c.send(greeting)
    c.serve()


@case(Must.RAISE, "RFC 959, " + ALPACA)
def speaks_ftp(c: Conversation) -> None:
    """Speaks FTP, whose greeting has the code of SMTP's."""
    c.say("220 (vsFTPd 3.0.5)")
    while True:
        verb = c.hear().partition(" ")[0]
        c.say("221 Goodbye." if verb.upper() == "QUIT" else "530 Please login with USER and PASS.")


@case(Must.RAISE, "RFC 5321 3.1, 4.2", each=ODD)
def greets_by(c: Conversation, greeting: bytes) -> None:
    """Greets by {}."""
    c.serve(until=Step.GREETING)
    c.send(greeting)
    c.serve()
