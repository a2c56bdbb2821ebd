"""One mail transaction: what is to be sent, and what the replies to it come to (RFC 5321 3.3). Pure.

The verdict is smtplib's for the same replies, whether they came one by one or all at once.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import DeliveryUnknownError, LMTPDataError
from ..stdlib import smtplib

if TYPE_CHECKING:
    from .replies import Reply
    from .wire import Body

__all__ = ["Outcome", "SendResult", "Transaction"]


class Outcome(enum.Enum):
    """What became of a message."""

    ACCEPTED = "accepted"  # by the server, for at least one recipient
    REFUSED = "refused"  # by the server, or by us because it can't be sent; nobody got it
    UNKNOWN = "unknown"  # sent whole, and the connection ended before the reply
    NOT_SENT = "not sent"  # the connection ended before the message was whole


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of one message of `SMTP.send_messages`.

    Attributes:
        outcome: the one word for it.
        refused: recipient -> reply (code, text), of those that were refused.
        error: what `SMTP.sendmail` would have raised, or None where it was accepted.
        reply: the server's last word on it, or None where there was none.
    """

    outcome: Outcome
    refused: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    error: Exception | None = None
    reply: Reply | None = None

    @property
    def accepted(self) -> bool:
        """Whether the server has taken it, for at least one recipient."""
        return self.outcome is Outcome.ACCEPTED


class Transaction:
    """A message on its way.

    Args:
        sender: as given.
        mail: the MAIL command, with its line end.
        recipients: as given.
        rcpts: their RCPT commands.
        body: the message.

    Attributes:
        refused: recipient -> reply.
        accepted: the recipients that the server accepted.
        error: what there is to raise; set at once for a message that can't be sent.
        complete_at: how many octets have been written when the message is whole, or None.
        done: no reply to it is outstanding.
    """

    def __init__(
        self, sender: str, mail: bytes, recipients: list[str], rcpts: list[bytes], body: Body
    ) -> None:
        self.sender = sender
        self.mail = mail
        self.recipients = recipients
        self.rcpts = rcpts
        self.body = body
        self.refused: dict[str, tuple[int, bytes]] = {}
        self.accepted: list[str] = []
        self.error: Exception | None = None
        self.reply: Reply | None = None
        self.complete_at: int | None = None
        self.done = False
        self._lost: Outcome | None = None
        self._answered = 0  # recipients that have their reply
        self._late_refusals = 0

    # --- replies, in the order in which they come --------------------------------------------------

    def on_mail(self, reply: Reply) -> None:
        """Take the reply to MAIL."""
        self.reply = reply
        if reply.code != 250:
            self.error = smtplib.SMTPSenderRefused(reply.code, reply.text, self.sender)

    def on_rcpt(self, reply: Reply) -> None:
        """Take the reply to the next RCPT."""
        self.reply = reply
        recipient = self.recipients[self._answered]
        self._answered += 1
        if reply[0] in (250, 251):
            self.accepted.append(recipient)
            return
        if self.error is not None:  # MAIL was refused, and a 503 here says only that it was
            return
        self._refuse(recipient, reply)
        nobody = self._answered == len(self.recipients) and not self.accepted
        if nobody or reply.code == 421:
            self.error = smtplib.SMTPRecipientsRefused(self.refused)

    def on_data(self, reply: Reply) -> None:
        """Take the reply to DATA."""
        self.reply = reply
        if reply.code != 354:
            self._refuse_data(reply)

    def on_chunk(self, reply: Reply) -> None:
        """Take the reply to a BDAT that is not the last."""
        self.reply = reply
        if reply.code != 250:
            self._refuse_data(reply)

    def on_end(self, reply: Reply) -> None:
        """Take the reply to the whole message."""
        self.done = True
        self.on_chunk(reply)
        if reply.code == 250 and self.error is not None:
            self.lose(DeliveryUnknownError("the server refused the message and then accepted it"), 0)

    def on_lmtp_end(self, index: int, reply: Reply) -> None:
        """Take the reply for one of the recipients that were accepted (RFC 2033 4.2)."""
        self.reply = reply
        self.done = index == len(self.accepted) - 1  # even where that reply is 421
        if reply.code == 250:
            return
        self._refuse(self.accepted[index], reply)
        self._late_refusals += 1
        if self._late_refusals == len(self.accepted):
            code, text = self.refused[self.accepted[0]]
            if len(self.accepted) == 1:
                self.error = smtplib.SMTPDataError(code, text)
                return
            self.error = LMTPDataError(
                "every recipient was refused after the data",
                recipients=dict(self.refused),
                smtp_code=code,
                smtp_error=text,
            )

    def _refuse(self, recipient: str, reply: Reply) -> None:
        # A plain tuple: it prints as smtplib's, and can be unpickled where there is no smtpverify.
        self.refused[recipient] = (reply.code, reply.text)

    def _refuse_data(self, reply: Reply) -> None:
        if self.error is None:
            self.error = smtplib.SMTPDataError(reply.code, reply.text)

    # --- the end -----------------------------------------------------------------------------------

    def lose(self, error: Exception, written: int) -> None:
        """Conclude, since the connection has ended.

        Args:
            error: how it ended.
            written: octets that had been written by then.
        """
        self.done = True
        if not isinstance(error, DeliveryUnknownError):
            if self.complete_at is None or written < self.complete_at:
                self._lost, self.error = Outcome.NOT_SENT, error
                return
            told = DeliveryUnknownError(f"the message was sent, and its reply did not come: {error}")
            told.__cause__ = error
            error = told
        self._lost, self.error = Outcome.UNKNOWN, error

    def result(self) -> SendResult:
        """The verdict as a value."""
        outcome = self._lost or (Outcome.ACCEPTED if self.error is None else Outcome.REFUSED)
        return SendResult(outcome, self.refused, self.error, self.reply)
