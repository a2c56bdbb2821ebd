"""Endings.

A connection may end at any step: in due form, by a reset, or cut below TLS by somebody on the way. No end is
an answer, and least of all a success.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hostile.case import EVERYWHERE, IN_TLS, REPLIES, Must, Step, case

if TYPE_CHECKING:
    from tests.hostile.conversation import Conversation

TRUNCATION = "RFC 8446 6.1, Smyth & Pironti (2013)"
CUT = [Step.GREETING, Step.EHLO_IN_TLS, Step.AUTH, Step.MAIL, Step.END]


@case(Must.RAISE, "RFC 5321 3.8", at=EVERYWHERE)
def closes(c: Conversation, step: Step) -> None:
    """Closes the connection at {}, in TLS with a close_notify."""
    c.serve(until=step)
    c.close()


@case(Must.RAISE, "RFC 9293 3.5.2", at=EVERYWHERE)
def resets(c: Conversation, step: Step) -> None:
    """Resets the connection at {}."""
    c.serve(until=step)
    c.reset()


@case(Must.RAISE, TRUNCATION, at=IN_TLS)
def cut_off(c: Conversation, step: Step) -> None:
    """Is cut off at {}, without a close_notify."""
    c.serve(until=step)
    c.cut()


@case(Must.RAISE, "RFC 5321 3.8", at=REPLIES)
def says_421(c: Conversation, step: Step) -> None:
    """Answers {} by 421 and closes."""
    c.serve(until=step)
    c.say("421 4.3.2 Shutting down")
    c.close()


@case(Must.RAISE, "RFC 5321 4.2", at=CUT)
def ends_within_a_line(c: Conversation, step: Step) -> None:
    """Answers {} by a good reply, and closes ahead of its line end."""
    c.serve(until=step)
    c.send(c.good_reply(step)[:-2])
    c.close()


@case(Must.RAISE, "RFC 5321 4.2.1", at=[Step.EHLO, Step.EHLO_IN_TLS, Step.END, Step.QUIT])
def ends_between_lines(c: Conversation, step: Step) -> None:
    """Answers {} by the first line of a good reply, and closes ahead of the second."""
    c.serve(until=step)
    c.send(c.good_reply(step)[:3] + b"-The first line\r\n")
    c.close()


@case(Must.RAISE, TRUNCATION, at=[Step.EHLO_IN_TLS, Step.AUTH, Step.END])
def cut_within_a_line(c: Conversation, step: Step) -> None:
    """Answers {} by a good reply, and is cut off ahead of its line end."""
    c.serve(until=step)
    c.send(c.good_reply(step)[:-2])
    c.cut()


@case(Must.RAISE, TRUNCATION, at=[Step.EHLO_IN_TLS, Step.END])
def cut_within_a_record(c: Conversation, step: Step) -> None:
    """Answers {} by a good reply, and is cut off in the middle of its TLS record."""
    c.serve(until=step)
    c.wire.spoil = lambda record: record[: len(record) // 2]
    c.send(c.good_reply(step))
    c.cut()


@case(Must.RAISE, TRUNCATION, both=True)
def cut_within_the_handshake(c: Conversation) -> None:
    """Ends in the middle of its first flight."""
    c.serve(until=Step.HANDSHAKE)
    c.wire.await_client_hello()
    c.wire.send_half_a_flight(c.context())
    c.close()
