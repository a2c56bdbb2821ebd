"""Replies (RFC 5321 4.2): their grammar, their bounds, their enhanced status codes. Pure.

A reply is whole or it is none: three digits of which the first is 2 to 5, the same on each line, and a line
end behind the last. What a careless client would take for a code (`+25`, `2_0`, `2500`) is an error.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import MalformedReplyError, printable

__all__ = ["MAX_LINE", "MAX_REPLY", "Reply", "ReplyParser", "enhanced_status"]

_KNOWN = 32  # replies that are recognized without being read again

# Octets, line end included. RFC 5321 4.5.3.1.5 asks for 512 a line; an EHLO line of 600 has been seen.
MAX_LINE = 2000
MAX_REPLY = 65536

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])([^\n]*))?\r?\n")
_BEGINNING = re.compile(rb"(?:[2-5](?:[0-9](?:[0-9](?:[ -].*|\r)?)?)?)?", re.DOTALL)
_ENHANCED = re.compile(rb"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?=[ \t\n]|\Z)")  # RFC 2034 4, RFC 3463 2


class Reply(NamedTuple):
    """A reply, equal to the pair of code and text that smtplib gives.

    Attributes:
        code: from 200 to 599.
        text: the lines without their codes, joined by a line feed; octets as the server sent them.
    """

    code: int
    text: bytes

    @property
    def enhanced_status(self) -> str | None:
        """The enhanced status code, such as `"5.1.1"` (RFC 2034), or None."""
        return enhanced_status(self)


def enhanced_status(reply: object) -> str | None:
    """The enhanced status code (RFC 2034, RFC 3463) of a reply, or of an exception that bears one.

    Args:
        reply: a pair of code and text, as in the result of `sendmail`, or an
            `smtplib.SMTPResponseException`.

    Returns:
        Such as `"5.1.1"`, or None where there is none, or where its class contradicts the code.
    """
    if isinstance(reply, tuple):
        code, text = reply
    else:
        code, text = getattr(reply, "smtp_code", None), getattr(reply, "smtp_error", b"")
    if isinstance(text, str):
        text = text.encode("ascii", "replace")
    match = _ENHANCED.match(text)
    if match is None or match[1][:1] != str(code)[:1].encode("ascii"):
        return None
    return match[1].decode("ascii")


class ReplyParser:
    """Cuts what comes from a server into replies."""

    def __init__(self) -> None:
        self._buffer = b""
        self._start = 0  # of what was not looked at, in the buffer
        self._texts: list[bytes] = []  # of the lines of a reply that goes on
        self._code = b""
        self._octets = 0
        self._known: dict[bytes, Reply] = {}  # by their line: a server says the same again and again

    def feed(self, data: bytes) -> None:
        """Take octets as they come."""
        self._buffer = self._buffer[self._start :] + data
        self._start = 0

    def unread(self) -> bytes:
        """What was fed and is not part of a reply that has been given out."""
        rest = self._buffer[self._start :]
        if not self._texts:
            return rest
        return b"\n".join([*(self._code + b"-" + text for text in self._texts), rest])

    def next(self) -> Reply | None:
        """The next whole reply, or None where more must be fed first.

        Raises:
            MalformedReplyError: what was fed can't become a reply.
        """
        if not self._texts:
            end = self._buffer.find(b"\n", self._start) + 1
            known = self._known.get(self._buffer[self._start : end]) if end else None
            if known is not None:
                self._start = end
                return known
        while True:
            match = _LINE.match(self._buffer, self._start)
            if match is None:
                if self._start < len(self._buffer):
                    self._check_line()
                return None
            code, mark, text = match.groups()
            octets, self._start = match.end() - self._start, match.end()
            self._octets += octets
            if octets > MAX_LINE or self._octets > MAX_REPLY:
                raise self._too_long()
            text = b"" if text is None else text.strip(b" \t\r\n")
            if self._texts and code != self._code:
                codes = f"{self._code.decode('ascii')} and {code.decode('ascii')}"
                raise _malformed(f"the lines of a reply bear different codes, {codes}", code, text)
            if mark != b"-":
                self._octets = 0
                if self._texts:
                    text = b"\n".join([*self._texts, text])
                    self._texts = []
                    return Reply(int(code), text)
                reply = Reply(int(code), text)
                if len(self._known) < _KNOWN:
                    self._known[match[0]] = reply
                return reply
            self._code = code
            self._texts.append(text)

    def _check_line(self) -> None:
        """Refuse what no line end could make a line of a reply."""
        line, end, _ = self._buffer[self._start :].partition(b"\n")
        if end or _BEGINNING.fullmatch(line) is None:
            shown = printable(line.rstrip(b"\r"), 60)
            raise _malformed(f"'{shown}' is no line of a reply", line[:3], line[4:])
        if len(line) >= MAX_LINE or self._octets + len(line) > MAX_REPLY:
            self._octets += len(line)
            raise self._too_long()

    def _too_long(self) -> MalformedReplyError:
        what = f"a reply of over {MAX_REPLY}" if self._octets > MAX_REPLY else f"a line of over {MAX_LINE}"
        return MalformedReplyError(
            f"the server sent {what} octets (RFC 5321 4.5.3.1)",
            smtp_code=500,  # this and the text are smtplib's own
            smtp_error=b"Line too long.",
        )


def _malformed(problem: str, code: bytes, text: bytes = b"") -> MalformedReplyError:
    return MalformedReplyError(
        f"the server broke RFC 5321 4.2: {problem}",
        smtp_code=int(code) if re.fullmatch(rb"[0-9]{3}", code) else -1,
        smtp_error=text.strip(b" \t\r\n") or None,
    )
