"""The three ways of a transaction: step by step, pipelined (RFC 2920), chunked (RFC 3030).

Each takes transactions from an iterator, one at a time as it can use them, and gives them back in order once
they are done. What a server did not offer is not used: without PIPELINING every command waits for its reply.
"""

from __future__ import annotations

import contextlib
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import printable
from ..stdlib import smtplib

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import TypeAlias

    from .conversation import Conversation
    from .replies import Reply
    from .transaction import Transaction

    Then: TypeAlias = Callable[[Reply], object]

__all__ = ["Delivery"]

_RSET = b"RSET\r\n"
_DATA = b"DATA\r\n"
# What may be sent ahead of the replies to it, in octets and in messages: a connection that breaks leaves so
# much in doubt.
_OCTETS_AHEAD = 65536
_MESSAGES_AHEAD = 64
_TOGETHER = 16384  # octets, about what a TLS record takes, that go in one write where the source never waits


class Delivery:
    """Sends transactions over one connection.

    Args:
        session: with its extensions known.
        transactions: one that bears an error already is given back unsent.
        pipelining: commands may go ahead of the replies to those before them.
        chunking: messages go by BDAT.
        lmtp: each recipient gets a reply of its own behind the message (RFC 2033 4.2).
        gathering: the source gives the next transaction at once, so that several can go in one write.

    Attributes:
        needs_reset: a transaction was left open, and RSET must come before the next.
    """

    def __init__(
        self,
        session: Conversation,
        transactions: Iterable[Transaction],
        *,
        pipelining: bool,
        chunking: bool,
        lmtp: bool,
        gathering: bool,
    ) -> None:
        self._session = session
        self._source = iter(transactions)
        self._pipelining = pipelining
        self._chunking = chunking
        self._lmtp = lmtp
        self._gathering = gathering
        self._held: list[bytes] = []  # not yet written
        self._held_alone = False  # no reply was outstanding when the first of them was held
        self._taken: deque[Transaction] = deque()  # in order, not yet given back
        # The replies that are to come: who takes them, how long they may take, and how much had been written
        # when they were asked for.
        self._expected: deque[tuple[Then, str, int]] = deque()
        self._answered = session._written  # so much of what was written has its replies
        self.needs_reset = False
        self._source_error: Exception | None = None

    def run(self) -> Generator[Transaction, None, None]:
        """Give the transactions back in order, each with its verdict.

        The end of the connection is part of the verdicts; what is still in the source then was not sent. An
        error of the source comes last, when every transaction that was taken has been given back.
        """
        way = self._step_by_step
        if self._pipelining:
            way = self._chunked if self._chunking else self._pipelined
        try:
            yield from way()
        except smtplib.SMTPServerDisconnected as error:
            yield from self._lost(error)
        except GeneratorExit:
            if self._expected or self.needs_reset:  # nobody will take these replies, or send that RSET
                self._session.close()
            raise
        except BaseException:
            self._session.close()
            raise
        if self._source_error is not None:
            raise self._source_error

    def _lost(self, failure: smtplib.SMTPServerDisconnected) -> Iterator[Transaction]:
        # A write that failed leaves what the server had said to the commands before it.
        for reply, (then, _, written) in zip(self._session._late_replies, self._expected, strict=False):
            if written > self._session._written:
                break
            with contextlib.suppress(smtplib.SMTPServerDisconnected):  # it has ended already
                then(reply)
        for transaction in self._taken:
            if transaction.error is None and not transaction.done:
                transaction.lose(failure, self._session._written)
            transaction.done = True
        yield from self._finished()
        while (transaction := self._take()) is not None:
            transaction.lose(failure, 0)
            transaction.done = True
            yield from self._finished()
        yield from self._finished()

    def _take(self) -> Any:
        """The next transaction that can be sent, or None."""
        if self._source_error is not None:
            return None
        try:
            for transaction in self._source:
                self._taken.append(transaction)
                if transaction.error is None:
                    return transaction
                transaction.done = True
        except Exception as error:  # noqa: BLE001 - the caller's own, raised again by run()
            self._source_error = error
        return None

    def _finished(self) -> Iterator[Transaction]:
        while self._taken and self._taken[0].done:
            yield self._taken.popleft()

    # --- step by step ------------------------------------------------------------------------------

    def _step_by_step(self) -> Iterator[Transaction]:
        while (transaction := self._take()) is not None:
            yield from self._finished()
            if self.needs_reset:
                self._say(_RSET, self._on_reset)
            self._converse(transaction)
            self.needs_reset = transaction.error is not None
            transaction.done = True
            yield from self._finished()
        yield from self._finished()

    def _converse(self, transaction: Transaction) -> None:
        self._say(transaction.mail, transaction.on_mail)
        for rcpt in transaction.rcpts:
            if transaction.error is not None:
                return
            self._say(rcpt, transaction.on_rcpt)
        if self._chunking:
            for piece, last in _with_last(transaction.body.pieces()):
                if transaction.error is not None:
                    return
                self._send_chunk(b"", piece, transaction, last=last)
                self._hear()
        elif transaction.error is None:
            self._say(_DATA, partial(self._on_data, transaction), "data_start")
            if transaction.error is None:
                self._send_data(transaction)
                self._hear()

    def _say(self, command: bytes, then: Then, step: str = "command") -> None:
        self._transmit(command, b"", (then, step))
        self._hear()

    # --- pipelined ---------------------------------------------------------------------------------

    def _pipelined(self) -> Iterator[Transaction]:
        following: Transaction | None = None
        while True:
            if following is None:
                following = self._take()
                yield from self._finished()
                if following is None:
                    return
                self._open(following)
            current, following = following, None
            self._hear()
            if current.error is None:
                ends = self._send_data(current)
                # The next one's commands go ahead of the reply to this one's message.
                following = self._take()
                if following is not None:
                    self._open(following)
                self._hear(ends)
            else:
                self.needs_reset = True
                if current.reply is not None and current.reply.code == 354:
                    self._send_no_data(current)
            current.done = True
            yield from self._finished()

    def _open(self, transaction: Transaction) -> None:
        """Send all that can go ahead of a message."""
        commands, expected = self._opening(transaction)
        self._transmit(commands + _DATA, b"", *expected, (partial(self._on_data, transaction), "data_start"))

    def _opening(self, transaction: Transaction) -> tuple[bytes, list[tuple[Then, str]]]:
        commands = [transaction.mail, *transaction.rcpts]
        expected: list[tuple[Then, str]] = [(transaction.on_mail, "command")]
        expected += [(transaction.on_rcpt, "command")] * len(transaction.rcpts)
        if self.needs_reset:
            commands.insert(0, _RSET)
            expected.insert(0, (self._on_reset, "command"))
            self.needs_reset = False
        return b"".join(commands), expected

    def _send_no_data(self, transaction: Transaction) -> None:
        """End the data of a message that was refused, and whose DATA was accepted (RFC 2920 3.1)."""
        if transaction.accepted or self._lmtp:
            # It would mail nothing to somebody, or nobody knows how many replies there will be.
            self._session.close()
            raise smtplib.SMTPServerDisconnected(
                "the server wanted the data of a message that it had refused"
            )
        self._say(b".\r\n", _ignore, "data_end")

    # --- chunked -----------------------------------------------------------------------------------

    def _chunked(self) -> Iterator[Transaction]:
        while (transaction := self._take()) is not None:
            yield from self._finished()
            self._send_chunks(transaction)
            if self._is_far_ahead(1):
                # Some way back, so that there is room for several at once.
                while self._expected and self._is_far_ahead(2):
                    self._hear(1)
            yield from self._finished()
        while self._expected:
            self._hear(1)
            yield from self._finished()
        yield from self._finished()

    def _is_far_ahead(self, part: int) -> bool:
        octets = self._position() - self._answered
        return octets > _OCTETS_AHEAD // part or len(self._taken) > _MESSAGES_AHEAD // part

    def _send_chunks(self, transaction: Transaction) -> None:
        # What becomes of the one before is not known yet, and a BDAT that failed leaves it open.
        self.needs_reset = self.needs_reset or bool(self._expected)
        opening, expected = self._opening(transaction)
        for piece, last in _with_last(transaction.body.pieces()):
            self._send_chunk(opening, piece, transaction, *expected, last=last)
            opening, expected = b"", []
            while self._expected and not last and self._session._has_reply():
                self._hear(1)
            if transaction.error is not None and not last:  # there is no use in sending the rest
                self._hear()
                transaction.done = self.needs_reset = True
                return

    def _send_chunk(
        self, opening: bytes, piece: bytes, transaction: Transaction, *expected: tuple[Then, str], last: bool
    ) -> None:
        commands = opening + b"BDAT %d%s\r\n" % (len(piece), b" LAST" if last else b"")
        if last:
            transaction.complete_at = self._position() + len(commands) + len(piece)
        then = partial(self._on_last_chunk, transaction) if last else transaction.on_chunk
        self._transmit(commands, piece, *expected, (then, "data_end"))

    def _on_last_chunk(self, transaction: Transaction, reply: Reply) -> None:
        transaction.on_end(reply)
        transaction.done = True
        self.needs_reset = self.needs_reset or transaction.error is not None

    # --- all of them -------------------------------------------------------------------------------

    def _send_data(self, transaction: Transaction) -> int:
        """Send a message behind a 354; gives the number of replies that will answer it."""
        ends: list[Then] = [transaction.on_end]
        if self._lmtp:
            ends = [partial(transaction.on_lmtp_end, index) for index in range(len(transaction.accepted))]
        for piece, last in _with_last(transaction.body.stuffed()):
            if last:
                transaction.complete_at = self._position() + len(piece)
            # A reply that is there before the end of the message is none to it.
            self._transmit(b"", piece, *((then, "data_end") for then in ends if last))
        return len(ends)

    def _on_data(self, transaction: Transaction, reply: Reply) -> None:
        transaction.on_data(reply)
        if 200 <= reply.code <= 299:
            # It is for another command, or means nothing: what the server waits for now, nobody knows.
            self._session.close()
            raise smtplib.SMTPServerDisconnected(f"DATA was answered by {reply.code}")

    def _on_reset(self, reply: Reply) -> None:
        if reply.code != 250:  # RFC 5321 4.1.1.5: there is no other
            self._session.close()
            raise smtplib.SMTPServerDisconnected(f"RSET was answered by {reply.code}")

    def _transmit(self, commands: bytes, data: bytes, *expected: tuple[Then, str]) -> None:
        """Send, and expect these replies; where none is outstanding, none may be there."""
        if not self._held:
            self._held_alone = not self._expected
        self._held += (commands, data)
        if self._session.debuglevel > 0:
            self._session._print_sent(commands, data)
        position = self._position()
        self._expected.extend((then, step, position) for then, step in expected)
        if not self._gathering or position - self._session._written >= _TOGETHER:
            self._write()

    def _write(self) -> None:
        octets = b"".join(self._held)
        self._held.clear()
        self._session._transmit(octets, alone=self._held_alone)

    def _position(self) -> int:
        """How many octets will have been written when all that is held is."""
        return self._session._written + sum(map(len, self._held))

    def _hear(self, count: int | None = None) -> None:
        """Wait for the replies that are to come, or for so many of them."""
        if self._held:
            self._write()
        expected, answer = self._expected, self._session._read_reply
        for _ in range(len(expected) if count is None else count):
            then, step, self._answered = expected[0]
            reply = answer(step)
            expected.popleft()
            if not expected:
                self._session._expect_no_more()
            then(reply)
            if reply[0] == 421:  # RFC 5321 3.8: the server closes now
                self._session.close()
                raise smtplib.SMTPServerDisconnected(
                    f"the server closed the connection: 421 {printable(reply.text)}"
                )


def _ignore(reply: Reply) -> None:
    """Take a reply that decides nothing."""


def _with_last(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each piece, and whether it is the last; there is one at least."""
    following = iter(pieces)
    before = next(following)
    for piece in following:
        yield before, False
        before = piece
    yield before, True
