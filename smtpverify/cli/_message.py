"""A message as octets: read as it is, or made of parts, and made ready to go.

What is read is changed in its header alone, and there only so: Bcc goes, Date and Message-ID come where they
are missing. Lines are told apart as `smtp.wire` does when it sends them, so that a header here is one there.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import printable
from . import EX_USAGE, CommandError
from ._status import EX_DATAERR, EX_IOERR, EX_NOINPUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from email.message import Message
    from typing import BinaryIO

__all__ = ["Letter", "Parts", "composed", "prepared", "read"]

_LINE = re.compile(rb"([^\r\n]*)(?:\r\n|\r|\n|\Z)")
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")  # RFC 5322 2.2, 4.5
_UNSEEN = (b"bcc", b"resent-bcc")
_SENDERS = ("Sender", "From")
_RECIPIENTS = ("To", "Cc", "Bcc")
# What an address of this machine, such as root, is told by.
_NO_DOMAIN = "no domain"


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that is ready to go.

    Attributes:
        sender, recipients: of the envelope.
        octets: the message.
        utf8: its header holds UTF-8 (RFC 6532).
    """

    sender: str
    recipients: Sequence[str]
    octets: bytes
    utf8: bool


@dataclass(frozen=True, slots=True)
class Parts:
    """What a message is made of.

    Attributes:
        subject: or None.
        text: the body.
        attachments: paths of files.
    """

    subject: str | None
    text: str
    attachments: Sequence[str] = ()


def read(path: str | None, standard_input: BinaryIO | None) -> bytes:
    """The octets of a file; of standard input for `-` or None.

    Raises:
        CommandError: there is no such file, or it can't be read.
    """
    shown = "standard input" if path is None or path == "-" else printable(path) or "''"
    try:
        if path is not None and path != "-":
            standard_input = open(path, "rb")  # noqa: SIM115 - closed below
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or error
        raise CommandError(f"{shown}: {problem}", EX_NOINPUT) from error
    if standard_input is None:
        raise CommandError("standard input is closed", EX_NOINPUT)
    try:
        with standard_input as file:
            return file.read()
    except OSError as error:
        raise CommandError(f"{shown}: {error.strerror or error}", EX_IOERR) from error


# --- read ----------------------------------------------------------------------------------------


def prepared(octets: bytes, sender: str | None, recipients: Iterable[str]) -> Letter:
    """Make a message ready to go.

    Args:
        octets: the message; line ends of any kind.
        sender: of the envelope; if None, that of the header.
        recipients: of the envelope; if there are none, those of the header.

    Raises:
        CommandError: it is malformed, or names no sender or recipient where it should.
    """
    fields, rest = _split(octets)
    header = b"".join(text for _, text in fields)
    parsed = _parsed(header)
    prefix = _prefix(parsed)
    if sender is None:
        found = _addresses(parsed, f"{prefix}{_SENDERS[0]}") or _addresses(parsed, f"{prefix}{_SENDERS[1]}")
        if not found:
            raise CommandError("there is no sender: give -f FROM, or a header From", EX_USAGE)
        sender = found[0]
    recipients = [*recipients] or [
        address for name in _RECIPIENTS for address in _addresses(parsed, f"{prefix}{name}")
    ]
    if not recipients:
        raise CommandError("there is no recipient, neither given nor in To, Cc or Bcc", EX_USAGE)
    kept = b"".join(text for name, text in fields if name not in _UNSEEN)
    names = {name for name, _ in fields}
    ready = b"".join((_added(names, sender), kept, octets[rest:]))
    return Letter(sender, list(dict.fromkeys(recipients)), ready, _is_utf8(kept))


def _split(octets: bytes) -> tuple[list[tuple[bytes, bytes]], int]:
    """The header's fields (name in lower case, octets), and where the rest begins: at the empty line."""
    if not octets.strip():
        raise CommandError("the message is empty", EX_DATAERR)
    fields: list[tuple[bytes, bytes]] = []
    for number, line in enumerate(_LINE.finditer(octets), 1):
        if not line[1]:  # at the end too
            return fields, line.start()
        match = _FIELD.match(line[1])
        if match:
            fields.append((match[1].lower(), line[0]))
        elif line[1][:1] in b" \t" and fields:
            fields[-1] = (fields[-1][0], fields[-1][1] + line[0])
        elif number > 1 or not line[1].startswith(b"From "):  # of a mailbox file, which is no header
            raise CommandError(
                f"the message is malformed: its line {number} is no header, and no empty line stands before "
                "it; --subject makes a message of any text",
                EX_DATAERR,
            )
    return fields, len(octets)


def _parsed(header: bytes) -> Message[Any, Any]:
    from email import policy
    from email.parser import HeaderParser

    text = header.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    return HeaderParser(policy=policy.default).parsestr(text)


def _prefix(parsed: Message[Any, Any]) -> str:
    """Of the headers that count: a message that was sent anew has a set of its own (RFC 5322 3.6.6)."""
    blocks = len(parsed.get_all("Resent-Date", ()))
    if blocks > 1:
        raise CommandError("the message has several sets of Resent- headers", EX_DATAERR)
    return "Resent-" if blocks else ""


def _addresses(parsed: Message[Any, Any], name: str) -> list[str]:
    from email.errors import InvalidHeaderDefect

    found: list[str] = []
    headers: Any = parsed.get_all(name, ())
    for header in headers:
        # What email reads from a broken list may be another's address.
        if any(
            isinstance(defect, InvalidHeaderDefect) and _NO_DOMAIN not in str(defect)
            for defect in header.defects
        ):
            raise CommandError(f"the header {name} can't be read as addresses", EX_DATAERR)
        addresses = header.addresses if hasattr(header, "addresses") else ()
        found += [address.addr_spec for address in addresses]
    return found


def _added(names: set[bytes], sender: str) -> bytes:
    """The headers that are missing (RFC 5322 3.6), unless somebody has signed that they are."""
    from email.utils import formatdate, make_msgid

    if b"dkim-signature" in names:
        return b""
    added = ""
    if b"date" not in names:
        added += f"Date: {formatdate(localtime=True)}\r\n"
    if b"message-id" not in names:
        domain = sender.rpartition("@")[2].rstrip("> ")
        plain = re.fullmatch(r"[A-Za-z0-9.-]+", domain)
        added += f"Message-ID: {make_msgid(domain=domain if plain else None)}\r\n"
    return added.encode("ascii")


def _is_utf8(header: bytes) -> bool:
    if header.isascii():
        return False
    try:
        header.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


# --- made ----------------------------------------------------------------------------------------


def composed(parts: Parts, sender: str, recipients: Sequence[str]) -> bytes:
    """Make a message of parts.

    Raises:
        CommandError: an attachment can't be read, or a part makes no header.
    """
    from email import policy
    from email.errors import MessageError
    from email.message import EmailMessage

    ascii_addresses = all(map(str.isascii, (sender, *recipients)))
    message = EmailMessage(policy=policy.SMTP if ascii_addresses else policy.SMTPUTF8)
    try:
        message["From"] = sender
        message["To"] = ", ".join(recipients)
        if parts.subject is not None:
            message["Subject"] = parts.subject
        message.set_content(parts.text)
        for path in parts.attachments:
            _attach(message, path)
        return message.as_bytes()
    except (ValueError, IndexError, MessageError) as error:  # of email's header parser
        raise CommandError(f"no message can be made of this: {error}", EX_USAGE) from error


def _attach(message: Any, path: str) -> None:
    from mimetypes import guess_type

    octets = read(f"./{path}" if path == "-" else path, None)
    kind, encoding = guess_type(os.path.basename(path))
    if kind is None or encoding is not None or kind.startswith(("message/", "multipart/")):
        kind = "application/octet-stream"  # such as a message may not go in Base64 (RFC 2045 6.4)
    main, _, sub = kind.partition("/")
    message.add_attachment(octets, maintype=main, subtype=sub, filename=os.path.basename(path))
