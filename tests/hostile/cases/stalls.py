"""Silence, drips and floods.

What costs the server nothing, and a client all its time or memory: a clock that starts again with every
octet never runs out, and a line or reply without a bound has room for anything.
"""

from __future__ import annotations

from itertools import chain, count
from typing import TYPE_CHECKING

from tests.hostile.case import EVERYWHERE, REPLIES, Must, Step, case
from tests.hostile.conversation import forever

if TYPE_CHECKING:
    from tests.hostile.conversation import Conversation

TIME_LIMITS = "RFC 5321 4.5.3.2"
LIMITS = "RFC 5321 4.5.3.1, CVE-2013-1752"
SLOWLORIS = "Slowloris (Hansen 2009)"
FLOOD = 64 * 1024 * 1024  # octets that stand for endless ones
BLOCK = 65536
FLOODED = [
    Step.GREETING,
    Step.EHLO,
    Step.STARTTLS,
    Step.EHLO_IN_TLS,
    Step.AUTH,
    Step.MAIL,
    Step.END,
    Step.QUIT,
]


@case(Must.RAISE_WITHIN_BOUNDS, TIME_LIMITS, at=[step for step in EVERYWHERE if step is not Step.BODY])
def silent(c: Conversation, step: Step) -> None:
    """Says nothing any more, from {} on."""
    c.serve(until=step)
    c.be_silent()


@case(Must.RAISE_WITHIN_BOUNDS, TIME_LIMITS, at=[Step.BODY])
def deaf(c: Conversation, step: Step) -> None:
    """Stops reading in the middle of {}."""
    c.serve(until=step)
    c.wire.hold()


@case(Must.RAISE_WITHIN_BOUNDS, TIME_LIMITS, both=True)
def silent_for_a_client_hello(c: Conversation) -> None:
    """Says nothing to the ClientHello."""
    c.serve(until=Step.HANDSHAKE)
    c.be_silent()


@case(Must.RAISE_WITHIN_BOUNDS, SLOWLORIS, at=REPLIES)
def dripping(c: Conversation, step: Step) -> None:
    """Answers {} by a line without end, octet by octet."""
    c.serve(until=step)
    c.drip(chain([c.good_reply(step)[:3], b"-"], forever(b"x")))


@case(Must.RAISE_WITHIN_BOUNDS, SLOWLORIS, at=[Step.GREETING, Step.EHLO, Step.EHLO_IN_TLS, Step.END])
def dripping_lines(c: Conversation, step: Step) -> None:
    """Answers {} by a reply without end, line by line."""
    c.serve(until=step)
    c.drip(forever(c.good_reply(step)[:3] + b"-x\r\n"))


@case(Must.RAISE_WITHIN_BOUNDS, SLOWLORIS, both=True)
def dripping_handshake(c: Conversation) -> None:
    """Sends its part of the handshake octet by octet."""
    c.serve(until=Step.HANDSHAKE)
    c.wire.pace = c.timeout / 5
    c.start_tls()


@case(Must.RAISE_WITHIN_BOUNDS, TIME_LIMITS, at=[Step.BODY])
def sipping(c: Conversation, step: Step) -> None:
    """Reads {} octet by octet."""
    c.serve(until=step)
    while True:
        c.wire.read_exactly(1)
        c.wire.pause(c.timeout / 5)


@case(Must.RAISE_WITHIN_BOUNDS, LIMITS, at=FLOODED)
def endless_line(c: Conversation, step: Step) -> None:
    """Answers {} by a line without end, as fast as it goes."""
    c.serve(until=step)
    c.send(c.good_reply(step)[:3] + b" ")
    for _ in range(FLOOD // BLOCK):
        c.send(BLOCK * b"x")


@case(Must.RAISE_WITHIN_BOUNDS, LIMITS, at=FLOODED)
def endless_reply(c: Conversation, step: Step) -> None:
    """Answers {} by a reply without end, as fast as it goes."""
    c.serve(until=step)
    for _ in range(FLOOD // BLOCK):
        c.send(BLOCK // 16 * (c.good_reply(step)[:3] + b"-and so on\r\n"))


@case(Must.RAISE_WITHIN_BOUNDS, LIMITS, at=[Step.EHLO, Step.EHLO_IN_TLS])
def endless_features(c: Conversation, step: Step) -> None:
    """Answers {} by extensions without end, none twice."""
    c.serve(until=step)
    numbers = count()
    for _ in range(FLOOD // BLOCK):
        c.send(b"".join(b"250-X-%08d\r\n" % next(numbers) for _ in range(BLOCK // 16)))


@case(Must.RAISE_WITHIN_BOUNDS, LIMITS, at=[Step.EHLO, Step.EHLO_IN_TLS, Step.MAIL])
def endless_replies(c: Conversation, step: Step) -> None:
    """Answers {} by a good reply, and then by more of them, without end."""
    c.serve(until=step)
    for _ in range(FLOOD // BLOCK):
        c.send(BLOCK // 12 * b"250 2.1.0 Ok\r\n")


@case(Must.RAISE_WITHIN_BOUNDS, LIMITS, each={"10000": 10_000, "1000000": 1_000_000})
def long_line_of(c: Conversation, octets: int) -> None:
    """Answers MAIL by a line of {} octets, and means it well."""
    c.serve(until=Step.MAIL)
    c.say("250 " + octets * "x")
    c.serve()
