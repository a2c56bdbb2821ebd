"""Deliveries: an SMTP object and a server of any manners; what is reported is what the server knows.

Input: what the server offers, what is sent, and, reply by reply, what the server makes of it. The server runs
inside `send()` of the client's own socket, so that a run needs no thread and no waiting.
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from smtpverify.errors import DeliveryUnknownError
from smtpverify.smtp.client import LMTP, SMTP
from smtpverify.smtp.transaction import Outcome, SendResult

from .source import Source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

EXTENSIONS = ("PIPELINING", "CHUNKING", "SMTPUTF8", "SIZE 50", "8BITMIME", "ENHANCEDSTATUSCODES")
USUAL = {"mail": 250, "rcpt": 250, "data": 354, "bdat": 250, "rset": 250, "noop": 250, "quit": 221, ".": 250}
CODES = (250, 251, 252, 220, 354, 421, 450, 451, 500, 503, 550, 552, 554, 200, 599)
BODIES: tuple[str | bytes, ...] = ("hello", b"hello\n.\n", "", ".\r\n", b"\0.\r", "a" * 60)
PATH = re.compile(r"(?i)mail from:<([0-9]+)@")
REPLY = re.compile(rb"(?:([2-5][0-9][0-9])-[^\n]*\n)*([2-5][0-9][0-9])(?: [^\n]*)?\r?\n")
# Why a client leaves a server that keeps its turn.
LEFT = re.compile("RSET was answered by|DATA was answered by|message that it had refused")

said = 0  # replies, of all servers, for the driver's account


@dataclass
class Known:
    """What the server knows of a message."""

    whole: bool = False
    verdicts: list[int | None] = field(default_factory=list)  # behind it; of LMTP one a recipient
    refused: list[int] = field(default_factory=list)  # by number of recipient, where RCPT was


class Server:
    """One connection's."""

    def __init__(self, source: Source, *, lmtp: bool) -> None:
        self._source, self._lmtp = source, lmtp
        # Not `create_connection()`: nobody listens.
        self.near, self._far = _Wire.pair(self)
        self._extensions = [one for one in EXTENSIONS if source.number(2)]
        self._octets, self._body, self._chunk = b"", b"", 0
        self._in_data = self._last = self.dead = False
        self.in_turn = True  # a reply a command, and each of them one
        self._asked_for, self._said = 0, b""
        self.messages: dict[int, Known] = {}
        self._forget()
        self._say("", 220)

    def _forget(self) -> None:
        self._now: Known | None = None
        self._asked = self._accepted = 0

    # --- replies -----------------------------------------------------------------------------------

    def _say(self, step: str, code: int) -> int | None:
        """Say what is usual, or what the source has instead; gives the code of what was said."""
        global said  # noqa: PLW0603
        said += 1
        self._asked_for += 1
        kind = self._source.number(24) if self._source and step else 0
        octets = b"%d ok\r\n" % code
        if kind in (12, 13, 14, 15):
            octets = b"%d 4.0.0 so\r\n" % self._source.one(CODES)
        elif kind == 16:
            octets = b"%d-one\r\n%d two\r\n" % (code, self._source.one((code, code, 550)))
        elif kind == 17:
            octets += b"%d ok\r\n" % self._source.one(CODES)
        elif kind in (18, 19):
            octets = self._source.take(12)
        elif kind == 20:
            octets = b""
        elif kind == 21:
            octets = octets[: self._source.number(8)]
        elif kind == 22:
            octets = b"%d\n" % self._source.one(CODES)
        first = REPLY.match(octets)
        with contextlib.suppress(OSError):
            self._far.sendall(octets)
        if kind in (20, 21) or (kind == 23 and self._source.number(2)) or not octets.endswith(b"\n"):
            self._die()
        told = int(first[2]) if first and first[1] in (None, first[2]) else None
        if told == 421:
            self._die()
        self.in_turn = self.in_turn and told is not None and first is not None and first.end() == len(octets)
        self._said += octets
        return told

    def said_too_much(self) -> bool:
        """Whether there were more replies than commands; what is balanced out nobody can tell."""
        count, at = 0, 0
        while found := REPLY.match(self._said, at):
            count, at = count + 1, found.end()
        return count > self._asked_for and not self.dead

    def _die(self) -> None:
        self.dead = True
        with contextlib.suppress(OSError):
            self._far.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._far.close()
        self.near.close()

    # --- commands ----------------------------------------------------------------------------------

    def take(self, octets: bytes) -> None:
        """Take what the client sends, and say what is to be said to it."""
        self._octets += octets
        while not self.dead:
            if self._chunk:
                part, self._octets = self._octets[: self._chunk], self._octets[self._chunk :]
                self._body += part
                self._chunk -= len(part)
                if self._chunk:
                    return
                self._end_of_chunk()
            elif self._in_data:
                body, end, rest = (b"\r\n" + self._octets).partition(b"\r\n.\r\n")
                if not end:
                    return
                self._body, self._octets, self._in_data = body[2:], rest, False
                self._end_of_message()
            else:
                line, end, rest = self._octets.partition(b"\r\n")
                if not end:
                    return
                self._octets = rest
                self._command(line.decode("utf-8"))

    def _command(self, line: str) -> None:
        verb = line.partition(" ")[0].lower()
        if verb in ("ehlo", "lhlo"):
            said = (
                "".join(f"250-{one}\r\n" for one in ("server.example.org", *self._extensions))
                + "250 HELP\r\n"
            )
            self._far.sendall(said.encode("ascii"))
        elif verb == "mail":
            self._mail(line)
        elif verb == "rcpt":
            self._rcpt()
        elif verb == "data":
            told = self._say("data", 354 if self._accepted else 503)
            self._in_data = told == 354
        elif verb == "bdat":
            self._chunk, self._last = int(line.split()[1]), line.upper().endswith("LAST")
            if not self._chunk:
                self._end_of_chunk()
        else:
            if verb == "rset":
                self._forget()
            self._say(verb, USUAL.get(verb, 500))
            if verb == "quit":
                self._die()

    def _mail(self, line: str) -> None:
        found = PATH.match(line)
        assert found is not None, line
        number = int(found[1])
        assert number not in self.messages, "sent twice"
        self._forget()
        known = self.messages[number] = Known()
        if self._say("mail", 250) == 250:
            self._now = known

    def _rcpt(self) -> None:
        if self._now is None:
            self._say("rcpt", 503)
            return
        number, self._asked = self._asked, self._asked + 1
        if self._say("rcpt", 250) in (250, 251):
            self._accepted += 1
        else:
            self._now.refused.append(number)

    def _end_of_chunk(self) -> None:
        if self._last:
            self._end_of_message()
        else:
            self._say("bdat", 250 if self._accepted else 503)

    def _end_of_message(self) -> None:
        now, self._body = self._now, b""
        if now is None or not self._accepted:
            self._say(".", 503)
            return
        now.whole = True
        for _ in range(self._accepted if self._lmtp else 1):
            # A server that has lost its place has no verdict that anybody could know.
            now.verdicts.append(self._say(".", 250) if not self.dead else None)
        self._forget()


class _Wire(socket.socket):
    """The client's end: what is sent is heard at once."""

    server: Server

    @classmethod
    def pair(cls, server: Server) -> tuple[_Wire, socket.socket]:
        near, far = socket.socketpair()
        wire = cls(near.family, near.type, near.proto, near.detach())
        wire.server = server
        return wire, far

    def send(self, data: Buffer, flags: int = 0) -> int:
        octets = bytes(data)
        if self.server.dead:
            raise BrokenPipeError("the server has closed")
        self.server.take(octets)
        return len(octets)


def _client(kind: type[SMTP], server: Server) -> SMTP:
    class Client(kind):  # type: ignore[misc, valid-type]
        def _get_socket(self, host: str, port: int, timeout: Any) -> socket.socket:
            server.near.settimeout(5)
            return server.near

    return Client("localhost", 25, "client.example.org", timeout=5)


# --- the oracle ------------------------------------------------------------------------------------


def check(octets: bytes) -> None:
    """Nothing is reported as accepted that was not, and no verdict is lost."""
    source = Source(octets)
    lmtp = source.number(4) == 0 and bool(octets)
    server = Server(source, lmtp=lmtp)
    try:
        client = _client(LMTP if lmtp else SMTP, server)
        number = 0
        for _ in range(source.number(4) + 1):
            number += _turn(client, server, source, number)
        client.close()
    finally:
        server.close()


def _turn(client: SMTP, server: Server, source: Source, number: int) -> int:
    """Do something; gives the number of messages that it was."""
    what = source.number(8)
    if what == 0:
        with contextlib.suppress(smtplib.SMTPException):
            client.noop()
        return 0
    count = source.number(4) + 1 if what > 4 else 1
    letters = [_letter(source, number + one) for one in range(count)]
    if what > 4:
        try:
            results = list(client.send_messages(letters if what > 5 else iter(letters)))
        except smtplib.SMTPException:
            assert client.esmtp_features == {} or client.sock is None  # EHLO was not answered
            return 0
        assert len(results) == count
    else:
        results = [_sent(client, *letters[0])]
    for one, (result, letter) in enumerate(zip(results, letters, strict=True)):
        known = server.messages.get(number + one, Known())
        _judge(result, letter[1], known, server, alone=count == 1)
    last = results[-1]
    # A server that contradicts itself is in its place still.
    if last.outcome in (Outcome.UNKNOWN, Outcome.NOT_SENT) and "then accepted" not in str(last.error):
        assert client.sock is None
    return count


def _letter(source: Source, number: int) -> tuple[str, list[str], str | bytes]:
    recipients = [f"user{one}@example.net" for one in range(source.number(3) + 1)]
    return f"{number}@example.org", recipients, source.one(BODIES)


def _sent(client: SMTP, sender: str, recipients: Iterable[str], body: str | bytes) -> SendResult:
    try:
        return SendResult(Outcome.ACCEPTED, client.sendmail(sender, recipients, body))
    except DeliveryUnknownError as error:
        return SendResult(Outcome.UNKNOWN, error=error)
    except smtplib.SMTPServerDisconnected as error:
        return SendResult(Outcome.NOT_SENT, error=error)
    except smtplib.SMTPException as error:
        return SendResult(Outcome.REFUSED, error=error)


def _judge(result: SendResult, recipients: list[str], known: Known, server: Server, *, alone: bool) -> None:
    # Of several messages one reply too many may be another's.
    if result.outcome is Outcome.ACCEPTED and (server.in_turn or (alone and server.said_too_much())):
        assert known.whole, "accepted, and not sent"
        assert 250 in known.verdicts, "accepted, and refused"
        if server.in_turn:
            assert len(result.refused) == len(known.refused) + sum(one != 250 for one in known.verdicts)
    if result.outcome is Outcome.REFUSED and server.in_turn:
        assert 250 not in known.verdicts, "refused, and accepted"
    if result.outcome is Outcome.NOT_SENT:
        assert not known.whole, "not sent, and there"
    if server.in_turn and not server.dead and known.whole:
        expected = Outcome.ACCEPTED if 250 in known.verdicts else Outcome.REFUSED
        assert result.outcome is expected or LEFT.search(str(result.error)), "a verdict that was lost"
    assert set(result.refused) <= set(recipients)
    assert (result.error is None) is (result.outcome is Outcome.ACCEPTED)
