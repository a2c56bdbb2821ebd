"""Messages over a real connection: no server, however it looks for the end of one, finds it inside.

The rule itself is tested in test_wire.py; here, that every way and every form of a message obeys it.
"""

from __future__ import annotations

import array
import contextlib
import io
import mmap
import re
import smtplib
import string
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from smtpverify import LMTP, SMTP, SMTP_SSL, Outcome
from smtpverify.smtp import wire
from tests.bed import HOST, Protocol, Tls
from tests.test_wire import ENDS, reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bed.behaviour import Connection
    from tests.conftest import ServerFactory

SENDER, RECIPIENTS = "alice@example.org", ["bob@example.net", "carol@example.net"]


class ByItsSteps(SMTP):
    """A subclass with a step of its own, for which messages go by smtplib's course."""

    def rcpt(self, recip: str, options: Any = ()) -> tuple[int, bytes]:
        return super().rcpt(recip, options)


@dataclass(frozen=True)
class Way:
    """A client, and what its server offers."""

    client: type[SMTP] = SMTP
    server: dict[str, Any] = field(default_factory=dict)


WAYS = {
    "step by step": Way(server={"before_tls": ()}),
    "step by step, chunked": Way(server={"before_tls": ("CHUNKING",)}),
    "pipelined": Way(server={"before_tls": ("PIPELINING", "SIZE 0")}),
    "pipelined and chunked": Way(server={"before_tls": ("PIPELINING", "CHUNKING")}),
    "a subclass": Way(ByItsSteps, {"before_tls": ("PIPELINING", "CHUNKING", "SIZE")}),
    "in TLS": Way(SMTP_SSL, {"tls": Tls.IMPLICIT, "after_tls": ("PIPELINING",)}),
    "LMTP": Way(LMTP, {"protocol": Protocol.LMTP, "before_tls": ("CHUNKING",)}),
    "LMTP, pipelined": Way(LMTP, {"protocol": Protocol.LMTP, "before_tls": ("PIPELINING",)}),
}

often = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass
class Line:
    """One connection, and what goes over it."""

    smtp: SMTP
    connection: Connection
    _read: int = 0
    _commands: int = 0

    def news(self) -> tuple[list[str], bytes]:
        """The commands, and the octets, since the last time."""
        assert self.smtp.noop()[0] == 250  # all before it was heard
        octets = self.connection.clear + self.connection.secure
        commands = self.connection.commands[self._commands : -1]
        new = octets[self._read :].removesuffix(b"noop\r\n")
        self._read, self._commands = len(octets), len(self.connection.commands)
        return [command.partition(" ")[0].upper() for command in commands], new

    def sent(self) -> bytes:
        """The message that was sent, and nothing else was, as the server has it."""
        commands, octets = self.news()
        assert "MAIL RCPT RCPT" in " ".join(commands)
        if commands[3:] == ["DATA"]:
            _, data = re.split(rb"DATA\r\n", octets, maxsplit=1, flags=re.IGNORECASE)
            assert data == b".\r\n" or data.endswith(b"\r\n.\r\n")
            inside = (b"\r\n" + data).removesuffix(b"\r\n.\r\n") + b"\r\n"
            assert {server: find(inside) for server, find in ENDS.items()} == dict.fromkeys(ENDS, -1)
        else:
            assert set(commands[3:]) == {"BDAT"}
        return self.connection.messages.pop().data


@contextlib.contextmanager
def line(smtp_server: ServerFactory, way: str) -> Iterator[Line]:
    with smtp_server(**WAYS[way].server) as server:
        smtp = WAYS[way].client(HOST, server.port, "client.example.org", timeout=10)
        smtp.ehlo()
        one = Line(smtp, server.connections[0])
        one.news()
        try:
            yield one
        finally:
            smtp.close()
        assert server.messages == []


@contextlib.contextmanager
def pieces_of(octets: int | None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if octets is not None:
            patch.setattr(wire, "CHUNK", octets)
        yield


# --- text and octets -----------------------------------------------------------------------------

telling = [
    b"\r",
    b"\n",
    b"\r\n",
    b".",
    b"\0",
    b"a",
    b"\r\n.\r\n",
    b"\n.\n",
    b"\r.\r",
    b"\n..\r\n",
    b"\x0b",
    b"\x1a",
]
bodies = st.lists(st.sampled_from(telling), max_size=14).map(b"".join)
FORMS: dict[str, Callable[[bytes], Any]] = {
    "str": lambda octets: octets.decode("ascii"),
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "every other octet": lambda octets: memoryview(b"".join(bytes([one, 46]) for one in octets))[::2],
    "array": lambda octets: array.array("B", octets),
    "a file's buffer": lambda octets: io.BytesIO(octets).getbuffer(),
}
HOW: dict[str, Callable[[SMTP, Any], None]] = {
    "sendmail": lambda smtp, body: refuse_none(smtp.sendmail(SENDER, RECIPIENTS, body)),
    "send_messages": lambda smtp, body: refuse_none(*smtp.send_messages([(SENDER, RECIPIENTS, body)])),
}


def refuse_none(result: Any) -> None:
    assert result == {} or result.outcome is Outcome.ACCEPTED


def by_hand(smtp: SMTP, body: Any) -> None:
    for reply in (smtp.mail(SENDER), *map(smtp.rcpt, RECIPIENTS), smtp.data(body)):
        assert reply[0] == 250


HOW["data"] = by_hand


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("way", WAYS)
def test_no_end_inside(smtp_server: ServerFactory, way: str, how: str) -> None:
    """RFC 5321 4.5.2, 4.1.1.4, RFC 3030 2: one message, whole, in whatever form and pieces."""
    with line(smtp_server, way) as one:

        @often
        @given(body=bodies, form=st.sampled_from(list(FORMS)), octets=st.none() | st.integers(2, 9))
        @example(body=b"a\n.\nMAIL FROM:<x@example.net>\n", form="str", octets=None)
        @example(body=b"a\r\n\0.\r\n", form="bytes", octets=4)
        @example(body=b"", form="bytes", octets=None)
        def check(body: bytes, form: str, octets: int | None) -> None:
            with pieces_of(octets):
                HOW[how](one.smtp, FORMS[form](body))
                assert one.sent() == reference(body)

        check()


@pytest.mark.parametrize("way", WAYS)
def test_a_mapped_file(smtp_server: ServerFactory, way: str, tmp_path: Any) -> None:
    path = tmp_path / "message"
    path.write_bytes(b"hello\n.\n\0.\r")
    with line(smtp_server, way) as one, path.open("rb") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            HOW["sendmail"](one.smtp, mapped)
        assert one.sent() == b"hello\r\n.\r\n\0.\r\n"


class Lazy:
    """A template, as some libraries have it."""

    def __str__(self) -> str:
        return "hello"

    def encode(self, *_: str) -> bytes:
        return b"hello\r\n.\r\nRSET\r\n"


NO_MESSAGES: dict[str, Callable[[], Any]] = {
    "an open file": lambda: io.BytesIO(b"hello"),
    "a text file": lambda: io.StringIO("hello"),
    "a number": lambda: 5,
    "nothing": lambda: None,
    "a list": lambda: [104, 105],
    "lines": lambda: iter(["hello\n"]),
    "a template": Lazy,
    "a message": EmailMessage,
}
# The last octets of these are LF's and CR's.
NO_TEXTS = [
    "\u010d\u010a.\u010d\u010a",
    "\u560d\u560a.\u560d\u560a",
    "\x85.\x85",
    "\u2028.\u2028",
    "\udc0a.\udc0d",
    "\u00e9",
]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_message(smtp_server: ServerFactory, way: str) -> None:
    """An error ahead of the wire; of a file as well, of which nobody knows what a second reading gives."""
    things: list[tuple[Any, type[Exception]]] = [(make(), TypeError) for make in NO_MESSAGES.values()]
    things += [(text, UnicodeEncodeError) for text in NO_TEXTS]
    with line(smtp_server, way) as one:
        for thing, error in things:
            for how in ("sendmail", "data"):
                if how == "data":
                    one.smtp.mail(SENDER)
                    one.smtp.rcpt(RECIPIENTS[0])
                    one.news()
                with pytest.raises(error):
                    HOW[how](one.smtp, thing) if how == "sendmail" else one.smtp.data(thing)
                commands, _ = one.news()
                # What a subclass's steps may have begun is taken back.
                assert commands == [] or (way == "a subclass" and commands[-1] == "RSET")
                assert not {"DATA", "BDAT"} & set(commands)
                one.smtp.rset()
                one.news()


# --- message objects -----------------------------------------------------------------------------

texts = bodies.map(lambda octets: octets.decode("ascii"))
fillings = st.lists(st.sampled_from(["\n", "\r", ".", "a", " ", "\u00e9", "\n.\n"]), max_size=12).map("".join)


def ascii_of(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")


def modern(text: str, octets: bytes, cte: str | None) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "."
    with contextlib.suppress(ValueError):  # 7bit, and it has eight
        message.set_content(text, cte=cte)
        message.add_attachment(octets, "application", "octet-stream")
        message.add_attachment(message_from_bytes(octets, policy=policy.default))
    return message


def mime(text: str, octets: bytes, _: str | None) -> Message[Any, Any]:
    message = MIMEMultipart(boundary=".")
    message.preamble = message.epilogue = ascii_of(text)
    message.attach(MIMEText(text, "plain", "utf-8" if not text.isascii() else "us-ascii"))
    return message


def plain(text: str, octets: bytes, _: str | None) -> Message[Any, Any]:
    message: Message[Any, Any] = Message()
    message.set_payload(ascii_of(text))
    return message


def parsed(text: str, octets: bytes, _: str | None) -> Message[Any, Any]:
    return message_from_bytes(b"X: y\r\n" + octets)


def parsed_modern(text: str, octets: bytes, _: str | None) -> Message[Any, Any]:
    return message_from_bytes(b"DKIM-Signature: v=1\r\n.: .\r\n" + octets, policy=policy.SMTP)


messages = st.builds(
    lambda make, text, octets, cte: make(text, octets, cte),
    st.sampled_from([modern, mime, plain, parsed, parsed_modern]),
    texts | fillings,
    bodies,
    st.sampled_from([None, "7bit", "8bit", "quoted-printable", "base64"]),
)


@pytest.mark.parametrize("by", ["send_message", "send_messages"])
@pytest.mark.parametrize("way", WAYS)
def test_no_end_inside_of_message_objects(smtp_server: ServerFactory, way: str, by: str) -> None:
    """Whatever email makes of a text: made by hand, of parts, or read from octets."""
    with line(smtp_server, way) as one:

        @often
        @given(messages, st.none() | st.integers(2, 9))
        def check(message: Message[Any, Any], octets: int | None) -> None:
            del message["From"], message["To"]
            message["From"], message["To"] = SENDER, ", ".join(RECIPIENTS)
            with pieces_of(octets):
                if by == "send_message":
                    refuse_none(one.smtp.send_message(message))
                else:
                    refuse_none(*one.smtp.send_messages([message]))
                data = one.sent()
            assert not re.search(rb"\r(?!\n)|(?<!\r)\n", data)
            assert b"From: alice@example.org\r\n" in data

        check()


def test_the_alphabet_is_telling() -> None:
    """Of plain smtplib these models of servers find ends: they would find ours."""
    for server, find in ENDS.items():
        stock = [smtplib._quote_periods(one) for one in telling]  # type: ignore[attr-defined]
        found = [find(b"\r\n" + first + second + b"a\r\n") for first in telling for second in stock]
        assert max(found) >= 0, server
    assert set(string.ascii_uppercase).isdisjoint(b"".join(telling).decode("ascii"))  # DATA stands out
