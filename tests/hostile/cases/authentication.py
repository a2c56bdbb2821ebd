"""Logging in.

What a server can say to AUTH: challenges without sense or end, and successes that are none.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from tests.hostile.case import Must, Step, case

if TYPE_CHECKING:
    from tests.hostile.conversation import Conversation

RFC = "RFC 4954 4"


@case(Must.RAISE, "RFC 4954 6", each={str(code): code for code in (421, 454, 504, 530, 535, 554)})
def login_answered_by(c: Conversation, code: int) -> None:
    """Answers AUTH by {}, whatever is tried."""
    while True:
        c.serve(until=Step.AUTH)
        c.say(f"{code} No")


@case(Must.RAISE, RFC, each={str(code): code for code in (200, 220, 250, 354)})
def login_accepted_by(c: Conversation, code: int) -> None:
    """Answers AUTH by {}, which is no success of AUTH."""
    while True:
        c.serve(until=Step.AUTH)
        c.say(f"{code} Ok")


CHALLENGES = {
    "not_base64": "***!",
    "base64_cut_short": "QUJDR",
    "one_character": "a",
    "not_ascii": "\N{LATIN SMALL LETTER E WITH ACUTE}",
    "binary": "AAH//w==",
    "a_terminal_command": "\x1b[2J",
}


@case(Must.RAISE_WITHIN_BOUNDS, RFC, each=CHALLENGES)
def challenge(c: Conversation, text: str) -> None:
    """Answers AUTH by a challenge that makes no sense ({}), again and again."""
    c.serve(until=Step.AUTH)
    while True:
        c.say(f"334 {text}")
        c.hear()


@case(Must.RAISE_WITHIN_BOUNDS, RFC)
def challenges_for_ever(c: Conversation) -> None:
    """Answers AUTH by an empty challenge, and every answer by another."""
    c.serve(until=Step.AUTH)
    while True:
        c.say("334 ")
        c.hear()


@case(Must.RAISE_WITHIN_BOUNDS, "RFC 4954 4.5")
def challenge_of_a_megabyte(c: Conversation) -> None:
    """Answers AUTH by a challenge of a megabyte."""
    c.serve(until=Step.AUTH)
    c.say("334 " + 262_144 * "QUJD")
    c.serve()


@case(Must.RAISE_WITHIN_BOUNDS, "RFC 4954 4.5")
def challenge_of_many_lines(c: Conversation) -> None:
    """Answers AUTH by a challenge of a thousand lines, again and again."""
    c.serve(until=Step.AUTH)
    while True:
        c.say(*(999 * ["334-QUJD"]), "334 QUJD")
        c.hear()


@case(
    Must.RAISE,
    RFC,
    each={"unknown": ["X-UNKNOWN"], "gssapi": ["GSSAPI"], "no": [], "odd": ["=", "%s", "../../etc"]},
)
def mechanisms(c: Conversation, names: list[str]) -> None:
    """Offers AUTH with {} mechanisms."""
    c.in_tls = [" ".join(["AUTH", *names])]
    c.serve()


@case(Must.RAISE_WITHIN_BOUNDS, "RFC 5321 4.5.3.1.5")
def mechanisms_without_end(c: Conversation) -> None:
    """Offers 100,000 mechanisms."""
    c.in_tls = ["AUTH " + " ".join(f"X-{number}" for number in range(100_000))]
    c.serve()


@case(Must.RAISE, RFC)
def success_ahead(c: Conversation) -> None:
    """Has a success of AUTH right behind its reply to EHLO."""
    c.serve(until=Step.EHLO_IN_TLS)
    c.send(c.good_reply(Step.EHLO_IN_TLS) + c.good_reply(Step.AUTH))
    c.serve()


@case(Must.RAISE, RFC)
def success_and_refusal(c: Conversation) -> None:
    """Answers AUTH by a success, and the same AUTH by a refusal."""
    c.serve(until=Step.AUTH)
    c.send(c.good_reply(Step.AUTH) + b"535 5.7.8 Credentials invalid\r\n")
    c.serve()


@case(Must.RAISE, "RFC 4954 6")
def success_forgotten(c: Conversation) -> None:
    """Accepts the password, and then wants a login before it takes mail."""
    c.serve(until=Step.MAIL)
    c.say("530 5.7.0 Authentication required")
    c.serve()


SCRAM = "RFC 5802 5, 9"
SALT = "s=c2FsdHNhbHQ="
# {} is the client's nonce.
FIRST_MESSAGES = {
    "iterations_without_end": f"r={{}}server,{SALT},i=2147483647",
    "no_iterations": f"r={{}}server,{SALT},i=0",
    "iterations_that_are_no_number": f"r={{}}server,{SALT},i=4_096",
    "no_salt": "r={}server,s=,i=4096",
    "nothing_but_a_nonce": "r={}server",
    "another_nonce": f"r=another,{SALT},i=4096",
    "no_nonce_of_its_own": f"r={{}},{SALT},i=4096",
    "a_mandatory_extension": f"m=mandatory,r={{}}server,{SALT},i=4096",
}


@case(Must.RAISE_WITHIN_BOUNDS, SCRAM, each=FIRST_MESSAGES)
def scram_with(c: Conversation, first_message: str) -> None:
    """Offers SCRAM alone, and begins it with {}; then accepts whatever comes."""
    begin_scram(c, first_message)
    c.send(c.good_reply(Step.AUTH))
    c.serve()


@case(
    Must.RAISE,
    SCRAM,
    each={"no_proof": "", "a_false_proof": "v=" + 43 * "A" + "=", "an_error": "e=other-error"},
)
def scram_ends_with(c: Conversation, text: str) -> None:
    """Offers SCRAM alone, does not know the password, and ends with {} and a success."""
    begin_scram(c, f"r={{}}server,{SALT},i=4096")
    if text:
        c.say(f"334 {encoded(text)}")
        c.hear()
    c.send(c.good_reply(Step.AUTH))
    c.serve()


def begin_scram(c: Conversation, first_message: str) -> None:
    """Serve up to the client's answer to the server's first message."""
    c.in_tls = ["AUTH SCRAM-SHA-256"]
    c.serve(until=Step.AUTH)
    client_first = base64.b64decode(c.command.split()[2]).decode()
    c.say(f"334 {encoded(first_message.format(client_first.rpartition('r=')[2]))}")
    c.hear()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@case(Must.END, RFC)
def challenge_behind_the_answer(c: Conversation) -> None:
    """Has got the whole of PLAIN with AUTH, and asks for it once more."""
    c.serve(until=Step.AUTH)
    c.say("334 ")
    c.hear()
    c.send(c.good_reply(Step.AUTH))
    c.serve()
