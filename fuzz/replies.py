"""Replies: what is read from any octets, in whatever pieces they come (RFC 5321 4.2).

Input: an octet that says how it is cut, and what the server sends.
"""

from __future__ import annotations

import io
import re
import smtplib
import socket

from smtpverify.errors import MalformedReplyError
from smtpverify.smtp.channel import Channel, PeerClosed
from smtpverify.smtp.replies import MAX_LINE, MAX_REPLY, Reply, ReplyParser, enhanced_status

Outcome = list[object]  # replies, and how it ends

_WHOLE = re.compile(rb"[2-5][0-9][0-9](?:[ -][^\n]*)?\r?")

_STATUS = re.compile(rb"[245]\.[0-9]{1,3}\.[0-9]{1,3}")  # RFC 2034 4


def check(octets: bytes) -> None:
    """Whole or in pieces, by the parser or from a file: the same replies, and smtplib's."""
    cut, octets = (octets[0] if octets else 0), octets[1:]
    expected = _expected(octets)
    assert _parsed([octets]) == expected
    step = cut % 64 + 1
    assert _parsed([octets[at : at + step] for at in range(0, len(octets), step)]) == expected
    assert _read(octets) == expected
    assert _heard([octets[at : at + step] for at in range(0, len(octets), step)][:64]) == _expected(
        octets[: 64 * step]
    )
    replies = [one for one in expected if isinstance(one, tuple)]
    stock = smtplib.SMTP(local_hostname="client.example.org")
    stock.file = io.BytesIO(octets)
    for code, text in replies:
        assert stock.getreply() == (code, text)
        word = re.split(rb"[ \t\n]", text)[0]
        status = _STATUS.fullmatch(word) is not None and word[0] == ord(str(code)[0])
        assert enhanced_status((code, text)) == (word.decode() if status else None)
    stock.file = None


def _parsed(pieces: list[bytes]) -> Outcome:
    parser, found = ReplyParser(), Outcome()
    for piece in pieces:
        parser.feed(piece)
        try:
            while (reply := parser.next()) is not None:
                found.append(tuple(_checked(reply)))
        except MalformedReplyError as error:
            assert str(error).isprintable()
            return [*found, "malformed"]
    return [*found, "more"]


def _checked(reply: Reply) -> Reply:
    assert isinstance(reply, Reply)
    assert 200 <= reply.code <= 599
    return reply


class _File:
    """What smtplib's mocks have of a socket."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._octets)


def _read(octets: bytes) -> Outcome:
    channel, found = Channel(_File(octets)), Outcome()
    while True:
        try:
            found.append(tuple(channel.read(1.0)))
        except MalformedReplyError:
            return [*found, "malformed"]
        except PeerClosed:
            assert channel.ended
            return [*found, "more"]


def _heard(pieces: list[bytes]) -> Outcome:
    """From a socket, on which somebody looks at each piece as it comes."""
    near, far = socket.socketpair()
    channel, found = Channel(near), Outcome()
    with near, far:
        try:
            for piece in pieces:
                far.sendall(piece)
                channel.unread()
                while (reply := channel.received_reply()) is not None:
                    found.append(tuple(reply))
            far.shutdown(socket.SHUT_WR)
            while True:
                found.append(tuple(channel.read(5.0)))
        except MalformedReplyError:
            return [*found, "malformed"]
        except PeerClosed:
            return [*found, "more"]


# --- a second reader, which is slow and has no state -----------------------------------------------


def _expected(octets: bytes) -> Outcome:
    found, lines = Outcome(), list[bytes]()
    while octets:
        line, end, octets = octets.partition(b"\n")
        size = sum(len(one) + 1 for one in lines) + len(line) + len(end)
        if not end:
            possible = _WHOLE.fullmatch(line + b"00"[len(line) - 1 :])
            return [*found, "more" if possible and not _too_long(line, size) else "malformed"]
        if not _WHOLE.fullmatch(line) or _too_long(line + end, size, 1):
            return [*found, "malformed"]
        if lines and lines[0][:3] != line[:3]:
            return [*found, "malformed"]
        lines.append(line)
        if line[3:4] != b"-":
            text = b"\n".join(one[4:].strip(b" \t\r\n") for one in lines)
            found.append((int(line[:3]), text))
            lines = []
    return [*found, "more"]


def _too_long(line: bytes, size: int, whole: int = 0) -> bool:
    # A line that has all the octets that it may, and no end among them, will be too long.
    return len(line) >= MAX_LINE + whole or size > MAX_REPLY
