"""The demo's clients: what is to be sent, and the code that sends it, as people write it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import TYPE_CHECKING

from .. import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..stdlib import smtplib
    from ..tls.identity import PeerIdentity

__all__ = ["Errand", "as_documented", "by_url", "where_offered"]

_SECONDS = 10.0  # for one reply; on loopback none takes so long
# Otherwise smtplib asks the resolver, which may ask DNS, for this machine's name.
_LOCAL_NAME = "localhost"


@dataclass(frozen=True, slots=True)
class Errand:
    """A message, and the account that may send it.

    Attributes:
        user, password: of the account.
        message: what is to arrive.
        secret: a text in the message's body that stands nowhere else.
    """

    user: str
    password: str = field(repr=False)
    message: EmailMessage
    secret: str

    @classmethod
    def make(cls) -> Errand:
        """Make an errand with a password and a secret of its own."""
        secret = secrets.token_hex(8)
        message = EmailMessage()
        message["From"] = "Alice <alice@example.org>"
        message["To"] = "Bob <bob@example.com>"
        message["Subject"] = "For your eyes only"
        message["Date"] = "Mon, 03 Dec 2012 12:00:00 +0000"
        message.set_payload(
            f"The code for the door is {secret}.\n.A line that begins with a dot arrives with its dot.\n"
        )
        return cls("alice", secrets.token_urlsafe(12), message, secret)

    @property
    def wire(self) -> bytes:
        """The message as it should arrive, byte for byte."""
        return self.message.as_bytes(policy=self.message.policy.clone(linesep="\r\n"))


def as_documented(smtp_class: Callable[..., smtplib.SMTP], errand: Errand, host: str, port: int) -> None:
    """Send in the way that smtplib's documentation shows."""
    smtp = smtp_class(host, port, local_hostname=_LOCAL_NAME, timeout=_SECONDS)
    try:
        smtp.starttls()
        _log_in_and_send(smtp, errand)
    finally:
        smtp.close()


def where_offered(smtp_class: Callable[..., smtplib.SMTP], errand: Errand, host: str, port: int) -> None:
    """Send with the widespread `if smtp.has_extn("starttls")`: in clear, where TLS is not offered."""
    smtp = smtp_class(host, port, local_hostname=_LOCAL_NAME, timeout=_SECONDS)
    try:
        smtp.ehlo()
        if smtp.has_extn("starttls"):
            smtp.starttls()
        _log_in_and_send(smtp, errand)
    finally:
        smtp.close()


def by_url(url: str, errand: Errand) -> PeerIdentity | None:
    """Send to a relay URL, which holds user and password; return who the server proved to be."""
    smtp = connect(url, local_hostname=_LOCAL_NAME, timeout=_SECONDS)
    try:
        smtp.send_message(errand.message)
        peer = smtp.peer
        smtp.quit()
    finally:
        smtp.close()
    return peer


def _log_in_and_send(smtp: smtplib.SMTP, errand: Errand) -> None:
    smtp.login(errand.user, errand.password)
    smtp.send_message(errand.message)
    smtp.quit()
