"""Sending: one message, or many, with smtplib's results and errors; and taking leave.

The transaction itself is `delivery`'s, in the fastest way that the server offers. A subclass that overrides a
step of it (`mail`, `rcpt`, `data`, `getreply`, …) gets smtplib's own course instead, through its steps.
"""

from __future__ import annotations

import contextlib
import sys
from email.message import Message
from typing import TYPE_CHECKING, Any

from ..errors import MessageTooLargeError
from ..stdlib import StockSMTP, smtplib
from .authentication import Authentication
from .delivery import Delivery
from .messages import addresses, flattened
from .transaction import Outcome, SendResult, Transaction
from .wire import Body, check_argument, forward_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeAlias

    from .wire import MessageData

    Recipients: TypeAlias = Iterable[str] | str
    Mail: TypeAlias = Message[Any, Any] | tuple[str, Recipients, MessageData]

__all__ = ["Mailing"]

_STEPS = ("mail", "rcpt", "data", "rset", "docmd", "putcmd", "getreply", "send")
_GONE = (221, b"The connection ended without a reply to QUIT")


class Mailing(Authentication):
    """A conversation that logs in and delivers mail."""

    _lmtp = False
    _late_refusals: dict[str, tuple[int, bytes]]  # by data(), of LMTP

    def sendmail(
        self,
        from_addr: str,
        to_addrs: Recipients,
        msg: MessageData,
        mail_options: Iterable[str] = (),
        rcpt_options: Iterable[str] = (),
    ) -> dict[str, tuple[int, bytes]]:
        """As `smtplib.SMTP.sendmail`, in fewer round trips where the server offers that.

        Args:
            from_addr: the sender; "" for a bounce.
            to_addrs: one recipient, or several.
            msg: text in ASCII, or octets. Every line end leaves as CRLF.
            mail_options, rcpt_options: parameters of MAIL and of each RCPT.

        Returns:
            Recipient -> reply (code, text), of those that were refused; with LMTP also of those that were
            refused after the data (RFC 2033 4.2).

        Raises:
            smtplib.SMTPSenderRefused, smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError: nobody got it.
            MessageTooLargeError: it is larger than the server takes (RFC 1870); nothing was sent.
            CommandArgumentError: an address or option can't be sent; nothing was.
            DeliveryUnknownError: it was sent, and the connection ended before the reply.
            smtplib.SMTPServerDisconnected: the connection ended, and nobody got it.
            others: as for smtplib.
        """
        self.ehlo_or_helo_if_needed()
        if not self._are_ours(_STEPS):
            return self._sendmail_by_steps(from_addr, to_addrs, msg, mail_options, rcpt_options)
        self._want_turn()
        transaction = self._transaction(from_addr, to_addrs, msg, mail_options, rcpt_options)
        for _ in self._delivery([transaction]).run():
            pass
        if transaction.error is not None:
            if self.sock is not None:
                self._reset()
            raise transaction.error
        return transaction.refused

    def send_message(
        self,
        msg: Message[Any, Any],
        from_addr: str | None = None,
        to_addrs: Recipients | None = None,
        mail_options: Iterable[str] = (),
        rcpt_options: Iterable[str] = (),
    ) -> dict[str, tuple[int, bytes]]:
        """As `smtplib.SMTP.send_message`; a signed message leaves as it was signed.

        Args:
            msg: its Bcc headers are not sent, and it is not changed.
            from_addr, to_addrs: in the place of the headers'.
            mail_options, rcpt_options: as for `sendmail`.

        Returns:
            As `sendmail`.

        Raises:
            ValueError: no sender is to be found, or more than one set of Resent- headers.
            smtplib.SMTPNotSupportedError: an address wants SMTPUTF8 (RFC 6531), which is not offered.
            others: as for `sendmail`.
        """
        self.ehlo_or_helo_if_needed()
        sender, recipients, octets, options = self._flattened(msg, from_addr, to_addrs)
        return self.sendmail(sender, recipients, octets, (*mail_options, *options), rcpt_options)

    def send_messages(self, messages: Iterable[Mail]) -> Iterator[SendResult]:
        """Send many messages over this connection, each ahead of the replies to the one before.

        Args:
            messages: each a message object, sent as by `send_message`, or (sender, recipients, text or
                octets), sent as by `sendmail`. One is taken at a time, some ahead of the results.

        Yields:
            One `SendResult` a message, in order. No error ends the iteration: when the connection does, the
            results say which messages were accepted, which were refused, which are unknown, and which were
            not sent. Nothing is sent twice.

            Whoever leaves the iteration early leaves unknown what became of the messages taken ahead, and
            the connection is closed.

        Raises:
            RuntimeError: another `send_messages` has not ended.
            smtplib.SMTPHeloError: the server refuses EHLO and HELO.
            others: as the iterable does, once every message that it gave has its result.
        """
        self.ehlo_or_helo_if_needed()
        self._want_turn()
        return self._send_messages(messages)

    def _send_messages(self, messages: Iterable[Mail]) -> Iterator[SendResult]:
        if not self._are_ours((*_STEPS, "sendmail", "send_message")):
            for mail in messages:
                yield self._result_by_steps(mail)
            return
        # What has a length is there; anything else may wait for what comes next.
        delivery = self._delivery(map(self._transaction_of, messages), gathering=hasattr(messages, "__len__"))
        done = delivery.run()
        self._want_turn()
        self._sending = True
        try:
            for transaction in done:
                yield transaction.result()
        finally:
            done.close()
            self._sending = False
            if delivery.needs_reset and self.sock is not None:
                self._reset()

    def data(self, msg: MessageData) -> tuple[int, bytes]:
        """As `smtplib.SMTP.data`; every line end leaves as CRLF.

        With LMTP the reply is one that accepts the message, if one of those for its recipients does.
        """
        body = Body(msg)
        code, text = self._in_time("data_start", self.docmd, "data")
        if code != 354:
            raise smtplib.SMTPDataError(code, text)
        if self._are_ours(("send",)):
            for piece in body.stuffed():
                if self.debuglevel > 0:
                    self._print_sent(b"", piece)
                self._transmit(piece, alone=True)
        else:
            self._send_whole(body)
        # Of recipients that did not go by rcpt() nothing is known: one reply, as smtplib.
        recipients = self._accepted if self._lmtp else ()
        replies = [self._in_time("data_end", self.getreply) for _ in recipients or "1"]
        verdicts = zip(recipients, replies, strict=False)
        self._late_refusals = {recipient: reply for recipient, reply in verdicts if reply[0] != 250}
        return next((reply for reply in replies if reply[0] == 250), replies[0])

    def _send_whole(self, body: Body) -> None:
        """Send a message by a `send` of somebody else's, which gets it in one piece, as from smtplib."""
        self._in_data = True
        try:
            self.send(b"".join(body.stuffed()))
        finally:
            self._in_data = False

    def quit(self) -> tuple[int, bytes]:
        """As `smtplib.SMTP.quit`; a reply to QUIT that is lost spoils nothing that was accepted before.

        Returns:
            The reply; where the connection ended without one, a 221 of ours.

        Raises:
            smtplib.SMTPServerDisconnected: there was no connection, and no exception is being handled,
                which this one would hide.
        """
        if self.sock is None and self._refusal is not None and sys.exc_info()[1] is not None:
            return _GONE
        if self._sending:
            self.close()
            return _GONE
        self._want_connection()
        try:
            return self.docmd("quit")
        except smtplib.SMTPServerDisconnected:
            return _GONE
        finally:
            self.close()

    def __exit__(self, *args: object) -> None:
        failure = args[1] if len(args) > 1 else None
        try:
            if failure is None:
                code, text = self.quit() if self.sock is not None else _GONE
                if code != 221:
                    raise smtplib.SMTPResponseException(code, text)
            elif isinstance(failure, Exception) and self.sock is not None:
                with contextlib.suppress(smtplib.SMTPException, OSError):  # the failure says more
                    self.quit()
        finally:
            self.close()

    def _reset(self) -> None:
        """As smtplib's, for use behind a failure; a server that can't reset is not spoken to again."""
        with contextlib.suppress(smtplib.SMTPServerDisconnected):
            if self.rset()[0] != 250:  # RFC 5321 4.1.1.5
                self.close()

    # --- transactions ------------------------------------------------------------------------------

    def _delivery(self, transactions: Iterable[Transaction], *, gathering: bool = False) -> Delivery:
        self._want_connection()
        self._warn_of_plaintext()
        return Delivery(
            self,
            transactions,
            pipelining=self.has_extn("pipelining"),
            # LMTP's one reply a recipient makes nothing faster by it.
            chunking=self.has_extn("chunking") and not self._lmtp,
            lmtp=self._lmtp,
            gathering=gathering,
        )

    def _transaction(
        self,
        sender: str,
        recipients: Recipients,
        message: MessageData,
        mail_options: Iterable[str] = (),
        rcpt_options: Iterable[str] = (),
    ) -> Transaction:
        """Make the commands, and refuse here what can't be sent."""
        recipients = [recipients] if isinstance(recipients, str) else list(recipients)
        if not recipients:
            raise smtplib.SMTPRecipientsRefused({})
        body = Body(message)
        sized = [f"size={body.size}"] if self.has_extn("size") else []
        if sized:
            self._check_size(body.size, sender)
        options = [*sized, *mail_options] if self.does_esmtp else []
        utf8 = self._goes_as_utf8(options)
        tail = "".join(f" {option}" for option in rcpt_options) if self.does_esmtp else ""
        mail = " ".join([f"mail from:{forward_path(sender, utf8=utf8)}", *options])
        check_argument(mail)
        check_argument(tail)
        encoding = "utf-8" if utf8 else "ascii"
        rcpts = [
            f"rcpt to:{forward_path(recipient, utf8=utf8)}{tail}\r\n".encode(encoding)
            for recipient in recipients
        ]
        return Transaction(sender, f"{mail}\r\n".encode(encoding), recipients, rcpts, body)

    def _transaction_of(self, mail: Mail) -> Transaction:
        """The transaction of an item of `send_messages`; one that can't be sent bears the error."""
        if self.sock is not None:
            try:
                if isinstance(mail, Message):
                    sender, recipients, octets, options = self._flattened(mail, None, None)
                    return self._transaction(sender, recipients, octets, options)
                return self._transaction(*mail)
            except Exception as error:  # noqa: BLE001 - of whatever kind: email's parsers raise many
                failed = Transaction("", b"", [], [], Body(b""))
                failed.error = error
                return failed
        return Transaction("", b"", [], [], Body(b""))

    def _check_size(self, size: int, sender: str) -> None:
        limit = self.esmtp_features["size"]
        if limit.isdecimal() and 0 < int(limit) < size:  # RFC 1870 4: 0 is no limit
            said = f"the message has {size} octets, and the server takes {limit}"
            raise self._error(MessageTooLargeError, None, said, sender=sender)

    def _flattened(
        self, message: Message[Any, Any], sender: str | None, recipients: Recipients | None
    ) -> tuple[str, list[str], bytes, tuple[str, ...]]:
        sender, recipients = addresses(message, sender, recipients)
        offered = self.has_extn("smtputf8")
        if not offered and not all(map(_can_be_ascii, (sender, *recipients))):
            raise smtplib.SMTPNotSupportedError(
                "One or more source or delivery addresses require internationalized email support, "
                "but the server does not advertise the required SMTPUTF8 capability"
            )
        utf8 = offered and not all(map(str.isascii, (sender, *recipients)))
        options = ("SMTPUTF8", "BODY=8BITMIME") if utf8 else ()
        return sender, recipients, flattened(message, utf8=utf8), options

    # --- steps of a subclass -------------------------------------------------------------------------

    def _are_ours(self, steps: tuple[str, ...]) -> bool:
        cls = type(self)
        return self.__dict__.keys().isdisjoint(steps) and all(
            getattr(cls, step) is getattr(Mailing, step) for step in steps
        )

    def _sendmail_by_steps(
        self, from_addr: str, to_addrs: Recipients, *others: Any
    ) -> dict[str, tuple[int, bytes]]:
        recipients = to_addrs if isinstance(to_addrs, str) else list(to_addrs)
        self._late_refusals = {}
        try:
            refused: Any = StockSMTP.sendmail(self, from_addr, recipients, *others)
        except (TypeError, ValueError):  # of a later recipient: smtplib leaves the transaction open
            if self.sock is not None:
                self._reset()
            raise
        return {**refused, **self._late_refusals}

    def _result_by_steps(self, mail: Mail) -> SendResult:
        if self.sock is None:
            return SendResult(
                Outcome.NOT_SENT, error=smtplib.SMTPServerDisconnected("the connection has ended")
            )
        try:
            refused = self.send_message(mail) if isinstance(mail, Message) else self.sendmail(*mail)
        except smtplib.SMTPServerDisconnected as error:  # between which steps, nobody knows
            return SendResult(Outcome.UNKNOWN, error=error)
        except (smtplib.SMTPException, TypeError, ValueError) as error:
            return SendResult(Outcome.REFUSED, error=error)
        return SendResult(Outcome.ACCEPTED, refused)


def _can_be_ascii(address: str) -> bool:
    """Whether an address is ASCII once its domain is written in A-labels (RFC 5891 4)."""
    return address.isascii() or ("@" in address and address.rpartition("@")[0].isascii())
