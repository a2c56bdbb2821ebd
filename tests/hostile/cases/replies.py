"""Replies that are none.

What `int()` or a careless pattern takes for a code; replies that contradict themselves, come early, twice, or
to nobody. A client that loses count takes the answer to one command for the answer to another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hostile.case import Must, Step, case

if TYPE_CHECKING:
    from tests.hostile.conversation import Conversation

GRAMMAR = "RFC 5321 4.2"
IN_TURN = "RFC 5321 4.3"

CODES = {
    "underscore": b"2_0",  # to int(), 20
    "plus": b"+25",
    "minus": b"-25",
    "four_digits": b"2500",
    "two_digits": b"25",
    "space_inside": b"2 5",
    "space_ahead": b" 250",
    "letter_o": b"25O",
    "hexadecimal": b"0xf",
    "arabic_digits": "\u0662\u0665\u0660".encode(),
    "fullwidth_digits": "\uff12\uff15\uff10".encode(),
    "superscript": "2\u20750".encode(),
    "nul": b"25\0",
    "000": b"000",
    "099": b"099",
    "600": b"600",
    "999": b"999",
}


@case(Must.RAISE, GRAMMAR, each=CODES)
def code(c: Conversation, digits: bytes) -> None:
    """Answers the message by a code that is none: {}."""
    c.serve(until=Step.END)
    c.send(digits + b" 2.0.0 Ok: queued\r\n")
    c.serve()


@case(Must.RAISE, GRAMMAR, each={name: CODES[name] for name in ("underscore", "plus", "arabic_digits")})
def greeting_code(c: Conversation, digits: bytes) -> None:
    """Greets by a code that is none: {}."""
    c.serve(until=Step.GREETING)
    c.send(digits.replace(b"25", b"22") + b" mail.example.org ESMTP\r\n")
    c.serve()


@case(Must.RAISE, "RFC 5321 4.2.1", each={"150": 150, "334": 334, "354": 354, "451": 451, "554": 554})
def message_answered_by(c: Conversation, code: int) -> None:
    """Answers the message by {}."""
    c.serve(until=Step.END)
    c.say(f"{code} 2.0.0 Ok: queued")
    c.serve()


@case(Must.RAISE, "RFC 5321 4.3.2", each={"220": 220, "334": 334, "354": 354, "550": 550})
def mail_answered_by(c: Conversation, code: int) -> None:
    """Answers MAIL by {}."""
    c.serve(until=Step.MAIL)
    c.say(f"{code} Ok")
    c.serve()


@case(Must.RAISE, "RFC 5321 4.3.2", each={"220": 220, "235": 235, "250": 250, "334": 334, "503": 503})
def data_answered_by(c: Conversation, code: int) -> None:
    """Answers DATA by {}."""
    c.serve(until=Step.DATA)
    c.say(f"{code} Ok")
    c.serve()


@case(Must.RAISE, "RFC 5321 4.2.1", at=[Step.EHLO, Step.EHLO_IN_TLS, Step.MAIL, Step.RCPT, Step.END])
def codes_disagree(c: Conversation, step: Step) -> None:
    """Answers {} by two lines, of which the first says yes and the second no."""
    c.serve(until=step)
    c.say("250-2.0.0 Ok", "554 5.7.1 No")
    c.serve()


@case(Must.RAISE, "RFC 5321 4.2.1", at=[Step.EHLO_IN_TLS, Step.RCPT, Step.END])
def codes_agree_too_late(c: Conversation, step: Step) -> None:
    """Answers {} by two lines, of which the first says no and the second yes."""
    c.serve(until=step)
    c.say("554-5.7.1 No", "250 2.0.0 Ok")
    c.serve()


@case(Must.RAISE, GRAMMAR, each={"a_letter": b"x", "an_underscore": b"_", "a_dot": b"."})
def code_and(c: Conversation, mark: bytes) -> None:
    """Answers the message by 250 and {} where a space or a hyphen belongs."""
    c.serve(until=Step.END)
    c.send(b"250" + mark + b"2.0.0 Ok: queued\r\n")
    c.serve()


@case(Must.RAISE, GRAMMAR, at=[Step.EHLO_IN_TLS, Step.MAIL, Step.END])
def empty_line_ahead(c: Conversation, step: Step) -> None:
    """Answers {} by an empty line, and then by a good reply."""
    c.serve(until=step)
    c.send(b"\r\n" + c.good_reply(step))
    c.serve()


@case(Must.RAISE_WITHIN_BOUNDS, "RFC 5321 2.3.8")
def carriage_return_alone(c: Conversation) -> None:
    """Ends its reply to the message by a CR alone."""
    c.serve(until=Step.END)
    c.send(b"250 2.0.0 Ok: queued\r")
    c.serve()


@case(Must.END, "RFC 5321 2.3.8")
def line_feed_alone(c: Conversation) -> None:
    """Ends its replies by an LF alone."""
    for step in (Step.EHLO_IN_TLS, Step.MAIL, Step.RCPT, Step.DATA):
        c.serve(until=step)
        c.send(c.good_reply(step).replace(b"\r\n", b"\n"))
    c.serve()


# --- out of turn -----------------------------------------------------------------------------------

TWICE = [Step.EHLO, Step.EHLO_IN_TLS, Step.AUTH, Step.MAIL, Step.RCPT, Step.DATA, Step.RSET, Step.QUIT]


@case(Must.RAISE, IN_TURN, at=TWICE)
def answers_twice(c: Conversation, step: Step) -> None:
    """Answers {} twice."""
    c.serve(until=step)
    c.send(2 * c.good_reply(step))
    c.serve()


@case(Must.END, IN_TURN)
def accepts_twice(c: Conversation) -> None:
    """Accepts the message twice."""
    c.serve(until=Step.END)
    c.send(2 * c.good_reply(Step.END))
    c.serve()


@case(Must.RAISE, IN_TURN, each={"one_by_one": False, "pipelined": True})
def answers_in_advance(c: Conversation, pipelining: object) -> None:
    """Answers MAIL, RCPT, DATA and the message all upon MAIL, and takes no message; commands {}."""
    if pipelining:
        c.in_tls.append("PIPELINING")
    c.serve(until=Step.MAIL)
    c.say("250 2.1.0 Ok", "250 2.1.5 Ok", "354 Go on", "250 2.0.0 Ok: queued")
    c.be_silent()


@case(Must.RAISE, IN_TURN)
def accepts_before_the_message(c: Conversation) -> None:
    """Answers DATA by 354, and the message before it has come."""
    c.serve(until=Step.DATA)
    c.say("354 Go on", "250 2.0.0 Ok: queued")
    c.be_silent()


@case(Must.RAISE, IN_TURN, message="large")
def accepts_in_the_middle(c: Conversation) -> None:
    """Accepts the message when it has the first line of many, and reads on."""
    c.serve(until=Step.BODY)
    c.hear()
    c.send(c.good_reply(Step.END))
    c.be_silent()


@case(Must.RAISE_WITHIN_BOUNDS, "RFC 2920 3.1")
def a_reply_too_few(c: Conversation) -> None:
    """Takes commands in groups, and answers one too few."""
    c.in_tls.append("PIPELINING")
    c.serve(until=Step.RCPT)
    c.send(b"")
    c.serve()


@case(Must.RAISE, "RFC 2920 3.1")
def a_reply_too_many(c: Conversation) -> None:
    """Takes commands in groups, and answers one too many."""
    c.in_tls.append("PIPELINING")
    c.serve(until=Step.RCPT)
    c.send(2 * c.good_reply(Step.RCPT))
    c.serve()


@case(Must.RAISE, "RFC 2920 3.1")
def wants_a_message_for_nobody(c: Conversation) -> None:
    """Takes commands in groups, refuses the recipient, and says 354 to DATA all the same."""
    c.in_tls.append("PIPELINING")
    c.refuses_recipient = True
    c.serve()


@case(Must.RAISE, "RFC 3030 2")
def refuses_the_last_chunk(c: Conversation) -> None:
    """Takes messages by BDAT, and refuses this one at its end."""
    c.in_tls += ["PIPELINING", "CHUNKING"]
    c.serve(until=Step.END)
    c.say("554 5.6.0 No")
    c.serve()
