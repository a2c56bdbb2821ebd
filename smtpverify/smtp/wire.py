"""What goes over the wire: commands, and a message's octets (RFC 5321 4.1.2, 4.5.2). Pure.

Two rules are owned here. No argument ends a command, or begins another, or adds a parameter. And no message
holds what any server could take for its end: every line ends in CRLF and nothing else does, and a line that
begins with a dot, be it behind NULs, which some servers drop, begins with one dot more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import CommandArgumentError, ReferenceIdentifierError, printable
from ..stdlib import smtplib
from ..tls.names import reference_identifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from typing_extensions import Buffer

    MessageData: TypeAlias = str | Buffer

__all__ = ["CHUNK", "Body", "check_argument", "forward_path"]

CHUNK = 262144  # octets in one piece: what a message costs in memory on top of itself

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# What most addresses look like; of these quoteaddr, whose parser takes longer than a round trip on a local
# network, gives the same.
_ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"
_PLAIN_ADDRESS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@[A-Za-z0-9][A-Za-z0-9.-]*", re.ASCII)
# A path: what would end it early stands in a quoted string (RFC 5321 4.1.2).
_PATH = re.compile(r'<(?:[^\s<>"\\]|"(?:[^"\\]|\\.)*")*>')

# A quoted string, or a comment (RFC 5322 3.2.2).
_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*")|\([^()<>]*\)')

_OTHER: dict[type, Any] = {str: re.compile(r"[^\r\0]"), bytes: re.compile(rb"[^\r\0]")}
_NULS_AND_DOT = re.compile(rb"(?<=\n)\0+\.")


# --- commands ------------------------------------------------------------------------------------


def check_argument(command: str, *, secret: bool = False) -> None:
    """Refuse a command with what could end it on its way (RFC 5321 4.1.1.1).

    Args:
        command: all of it.
        secret: it does not show in the error.

    Raises:
        CommandArgumentError: it contains a control character.
    """
    found = _CONTROL.search(command)
    if found:
        what = "newline" if found[0] in "\r\n" else "control"
        shown = "***" if secret else printable(command).replace("\\x0a", "\\n").replace("\\x0d", "\\r")
        raise CommandArgumentError(f"command and arguments contain prohibited {what} characters: {shown}")


def forward_path(address: str, *, utf8: bool = False) -> str:
    """The path of MAIL and RCPT for an address, with or without a display name (RFC 5321 4.1.2).

    Args:
        address: as `smtplib.SMTP.sendmail` takes it.
        utf8: whether the address may go as it is (RFC 6531). If not, a domain that is an internationalized
            name goes as A-labels where the local part is ASCII.

    Raises:
        CommandArgumentError: the address would not stay one.
        UnicodeEncodeError: it is not ASCII, and can't be made so.
    """
    if _PLAIN_ADDRESS.fullmatch(address):
        return f"<{address}>"
    check_argument(address)
    path = smtplib.quoteaddr(address)
    if not _says(address, path) or not _PATH.fullmatch(path):
        raise CommandArgumentError(
            f"'{printable(address)}' is no address: space, <, > and \\ must stand in a quoted local part"
        )
    return path if utf8 or path.isascii() else _ascii_path(path)


def _says(address: str, path: str) -> bool:
    """Whether the path is the address's own: smtplib drops spaces, and makes one address of two."""
    address = _COMMENT.sub(r"\1", address).strip()
    # A display name may go, and a source route (RFC 5321 C).
    return path[1:-1] == address or address.endswith((path, f":{path[1:]}"))


def _ascii_path(path: str) -> str:
    local, at, domain = path[1:-1].rpartition("@")
    if not at or not local.isascii():
        path.encode("ascii")  # raises, and names the character
    try:
        return f"<{local}@{reference_identifier(domain).text}>"
    except ReferenceIdentifierError as error:
        raise CommandArgumentError(f"'{printable(path)}': {error}") from error


# --- messages ------------------------------------------------------------------------------------


class Body:
    """A message as octets, piece by piece; it is never held a second time.

    Args:
        message: text, which must be ASCII, or octets.

    Attributes:
        size: octets, for RFC 1870, which allows an estimate: of a message of one piece exact, of a longer
            one as given, so never more than what is sent.

    Raises:
        UnicodeEncodeError: the text is not ASCII.
    """

    def __init__(self, message: MessageData) -> None:
        if isinstance(message, str):
            if not message.isascii():
                message.encode("ascii")  # raises, and names the character
        elif not isinstance(message, bytes):
            message = bytes(memoryview(message))  # of a number bytes() would make NULs
        self._message: str | bytes = message
        self._whole: bytes | None = None
        self.size = len(message)
        if len(message) <= CHUNK:
            self._whole = b"".join(self._lines())
            self.size = len(self._whole)
            if not message or ord(message[-1:]) not in (10, 13):
                self.size -= 2  # its last line end is ours

    def pieces(self) -> Iterator[bytes]:
        """The octets with every line end a CRLF, the last line's too."""
        return self._lines() if self._whole is None else iter((self._whole,))

    def stuffed(self) -> Iterator[bytes]:
        """The same for DATA (RFC 5321 4.5.2), with the line that ends it."""
        before, ready = b"\n", b""
        for piece in self.pieces():
            if ready:
                yield ready
            ready = stuff(piece, before)
            before = piece[-1:]
        yield ready + b".\r\n"

    def _lines(self) -> Iterator[bytes]:
        message, start, length = self._message, 0, len(self._message)
        piece = b""
        while start < length:
            end = min(start + CHUNK, length)
            part = message[start:end]
            if end < length:
                # CRs and NULs stay with what follows them: what they are shows only there.
                part = part.rstrip("\r\0" if isinstance(part, str) else b"\r\0")  # type: ignore[arg-type]
                end = start + len(part)
                if not part:
                    found = _OTHER[str if isinstance(message, str) else bytes].search(message, start)
                    end = found.end() if found else length
                    part = message[start:end]
            piece = with_crlf(part if isinstance(part, bytes) else part.encode("ascii"))
            yield piece
            start = end
        if not piece.endswith(b"\n"):
            yield b"\r\n"


def with_crlf(octets: bytes) -> bytes:
    """The octets with CRLF for every bare CR and every bare LF (RFC 5321 2.3.8)."""
    if octets.replace(b"\r", b"").replace(b"\n", b"\r\n") == octets:
        return octets
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def stuff(lines: bytes, before: bytes = b"\n") -> bytes:
    """Put a dot before each line that begins with one, be it behind NULs; a server takes it away again.

    Args:
        lines: with CRLF line ends.
        before: the octet in front of them, by which their first line is one that begins here.
    """
    # One octet is found twenty times as fast as two.
    if b"." not in lines:
        return lines
    if b"\n." in lines:
        lines = lines.replace(b"\n.", b"\n..")
    if b"\0" in lines:
        lines = _NULS_AND_DOT.sub(rb".\g<0>", lines)
    if before == b"\n" and lines.lstrip(b"\0").startswith(b"."):
        lines = b"." + lines
    return lines
