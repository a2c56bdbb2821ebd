"""`email.message.Message` -> sender, recipients, octets.

Nothing that a signature covers is changed: no `From ` line is mangled, and in a message that bears a
signature no header is folded anew.
"""

from __future__ import annotations

import copy
import io
import os
from email.utils import getaddresses
from typing import TYPE_CHECKING, Any

from ..stdlib import Generator
from .wire import with_crlf

if TYPE_CHECKING:
    from collections.abc import Iterable
    from email.message import Message

__all__ = ["addresses", "flattened"]


def addresses(
    message: Message[Any, Any], sender: str | None, recipients: Iterable[str] | str | None
) -> tuple[str, list[str]]:
    """Sender and recipients, from the headers where they are not given (RFC 5322 3.6.2, 3.6.6).

    Raises:
        ValueError: there is no sender, or more than one set of Resent- headers, of which none can be said to
            be the last.
    """
    resent = message.get_all("Resent-Date")
    if resent is not None and len(resent) > 1:
        raise ValueError("message has more than one 'Resent-' header block")
    prefix = "" if resent is None else "Resent-"
    if sender is None:
        header = message.get(f"{prefix}Sender", message[f"{prefix}From"])
        found = getaddresses([] if header is None else [str(header)])
        if not found:
            raise ValueError(
                f"message has neither {prefix}Sender nor {prefix}From, and no from_addr was given"
            )
        sender = found[0][1]
    if recipients is None:
        fields = (message[f"{prefix}{field}"] for field in ("To", "Bcc", "Cc"))
        recipients = [
            address for _, address in getaddresses([str(each) for each in fields if each is not None])
        ]
    return sender, [recipients] if isinstance(recipients, str) else list(recipients)


def flattened(message: Message[Any, Any], *, utf8: bool) -> bytes:
    """The message as octets with CRLF line ends, without its Bcc headers.

    Args:
        message: it is not changed.
        utf8: headers may be in UTF-8 (RFC 6531).
    """
    shown = _copy(message)
    del shown["Bcc"]
    del shown["Resent-Bcc"]
    policy: Any = message.policy
    if utf8 and hasattr(policy, "utf8"):  # compat32 has no such thing, and encodes by RFC 2047
        policy = policy.clone(utf8=True)
    if _is_signed(message):
        policy = _keeping_headers(policy)
    with io.BytesIO() as octets:
        _Generator(octets, mangle_from_=False, policy=policy).flatten(shown, linesep="\r\n")
        return octets.getvalue()


def _copy(message: Message[Any, Any]) -> Message[Any, Any]:
    """A copy that shares the texts, and no part that the generator may give a boundary."""
    copied = copy.copy(message)
    if message.is_multipart():
        parts: Any = message.get_payload()
        copied.set_payload([_copy(part) for part in parts])
    return copied


def _is_signed(message: Message[Any, Any]) -> bool:
    """Whether somebody vouches for headers or structure: DKIM, ARC, OpenPGP, S/MIME."""
    return "DKIM-Signature" in message or "ARC-Seal" in message or "multipart/signed" in _types(message)


def _types(message: Message[Any, Any]) -> set[str]:
    return {part.get_content_type() for part in message.walk()}


def _keeping_headers(policy: Any) -> Any:
    """A policy that leaves the headers' line ends where they are."""
    if hasattr(policy, "refold_source"):
        return policy.clone(refold_source="none")
    return policy.clone(max_line_length=0)


class _Generator(Generator):
    """Writes a text at once; the standard one writes it line by line, ten times as slowly.

    Where a method of the standard one has another name some day, it does its own work again.
    """

    @classmethod
    def boundary(cls, text: str | None = None) -> str:
        # So random that it need not be looked for in all of the text (RFC 2046 5.1.1).
        return f"=_{os.urandom(16).hex()}_="

    def write_text(self, text: str) -> None:
        if text:
            self.write_octets(with_crlf(text.encode("ascii", "surrogateescape")))
