"""Between plaintext and TLS.

STARTTLS hidden, refused, or accepted and not meant; plaintext that is put before the change to TLS, to be
taken for the server's word behind it; and what was said before, and must be forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hostile.case import Must, Step, case
from tests.hostile.conversation import listing

if TYPE_CHECKING:
    from tests.hostile.conversation import Conversation

NO_STARTTLS = "NO STARTTLS (Poddebniak et al. 2021)"
STRIPPING = "RFC 3207 6, CVE-2016-0772"
INJECTION = f"{NO_STARTTLS}, CVE-2020-15646"

FORGED = listing(["X-FORGED", "AUTH PLAIN LOGIN"])
WHOLE_SESSION = FORGED + (
    b"235 2.7.0 Ok\r\n250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 Go on\r\n250 2.0.0 Ok: queued\r\n221 2.0.0 Bye\r\n"
)

# --- stripped, refused ------------------------------------------------------------------------------


@case(Must.RAISE, STRIPPING)
def stripped(c: Conversation) -> None:
    """Does not offer STARTTLS."""
    c.in_clear.remove("STARTTLS")
    c.in_clear.append("AUTH PLAIN LOGIN")
    c.serve()


@case(Must.RAISE, "Cisco PIX `fixup protocol smtp`")
def stripped_by_a_firewall(c: Conversation) -> None:
    """Has STARTTLS painted over by a middlebox: XXXXXXXA."""
    c.in_clear[c.in_clear.index("STARTTLS")] = "XXXXXXXA"
    c.serve()


@case(Must.RAISE, STRIPPING)
def stripped_of_ehlo(c: Conversation) -> None:
    """Refuses EHLO, and takes HELO, which has no extensions."""
    c.serve(until=Step.EHLO)
    c.say("502 5.5.1 Command not implemented")
    c.serve()


@case(Must.RAISE, STRIPPING)
def stripped_of_everything(c: Conversation) -> None:
    """Refuses EHLO and HELO."""
    while True:
        c.serve(until=Step.EHLO)
        c.say("502 5.5.1 Command not implemented")
        if c.hear().startswith("helo"):
            c.say("502 5.5.1 Command not implemented")
            c.serve()


REFUSALS = (421, 450, 451, 454, 500, 501, 502, 503, 504, 530, 534, 535, 538, 550, 554, 555)


@case(Must.RAISE, STRIPPING, each={str(code): code for code in REFUSALS})
def refused_with(c: Conversation, code: int) -> None:
    """Offers STARTTLS, and answers it by {}."""
    c.serve(until=Step.STARTTLS)
    c.say(f"{code} TLS not available")
    c.serve()


@case(Must.RAISE, "RFC 3207 4", each={str(code): code for code in (200, 221, 235, 250, 334, 354)})
def accepted_with(c: Conversation, code: int) -> None:
    """Offers STARTTLS, and answers it by {}, which is neither yes nor no."""
    c.serve(until=Step.STARTTLS)
    c.say(f"{code} Ready")
    c.serve()


# --- accepted, and not meant ------------------------------------------------------------------------

NO_TLS = {
    "another_220": b"220 2.0.0 Ready\r\n",
    "an_error": b"454 4.7.0 TLS not available\r\n",
    "a_reply_to_ehlo": FORGED,
    "a_whole_session": WHOLE_SESSION,
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "nuls": bytes(64),
    "an_empty_line": b"\r\n",
}


@case(Must.RAISE, NO_STARTTLS, each=NO_TLS)
def no_tls_but(c: Conversation, octets: bytes) -> None:
    """Says 220 to STARTTLS, and {} to the ClientHello."""
    c.serve(until=Step.HANDSHAKE)
    c.wire.await_client_hello()
    c.send(octets)
    c.serve()


# --- injected ---------------------------------------------------------------------------------------

INJECTED = {
    "a_line": b"250 Ok\r\n",
    "half_a_line": b"250-mail.exam",
    "an_octet": b"2",
    "a_nul": b"\0",
    "a_line_end": b"\r\n",
    "a_line_feed": b"\n",
    "another_220": b"220 Ready\r\n",
    "a_reply_to_ehlo": FORGED,
    "a_whole_session": WHOLE_SESSION,
    "60000_octets": 6000 * b"250-x....\n",
    "a_tls_alert": b"\x15\x03\x03\x00\x02\x01\x00",
}


# What was injected may be refused, as our own promise is, or thrown away; it may not be believed.
@case(Must.END, INJECTION, each=INJECTED)
def injected_behind(c: Conversation, octets: bytes) -> None:
    """Sends {} in one segment with the 220 to STARTTLS."""
    c.serve(until=Step.STARTTLS)
    c.send(c.good_reply(Step.STARTTLS) + octets)
    c.serve()


@case(Must.END, INJECTION, each={name: INJECTED[name] for name in ("a_line", "an_octet", "a_reply_to_ehlo")})
def injected_later(c: Conversation, octets: bytes) -> None:
    """Sends {} in a segment of its own behind the 220 to STARTTLS."""
    c.serve(until=Step.STARTTLS)
    c.send(c.good_reply(Step.STARTTLS))
    c.send(octets)
    c.serve()


@case(Must.RAISE, INJECTION)
def injected_for_the_client_hello(c: Conversation) -> None:
    """Sends a reply to EHLO when the ClientHello has come, and then does the handshake."""
    c.serve(until=Step.HANDSHAKE)
    c.wire.await_client_hello()
    c.send(FORGED)
    c.start_tls()
    c.serve()


@case(Must.RAISE, INJECTION)
def injected_220_ahead(c: Conversation) -> None:
    """Sends the 220 to STARTTLS in one segment with the reply to EHLO."""
    c.serve(until=Step.EHLO)
    c.send(c.good_reply(Step.EHLO) + c.good_reply(Step.STARTTLS))
    c.serve(until=Step.STARTTLS)
    c.send(b"220")
    c.serve()


@case(Must.RAISE, INJECTION)
def injected_with_the_greeting(c: Conversation) -> None:
    """Sends a reply to EHLO in one segment with the greeting."""
    c.serve(until=Step.GREETING)
    c.send(c.good_reply(Step.GREETING) + listing(["X-FORGED", "STARTTLS"]))
    c.serve()


@case(Must.RAISE, INJECTION)
def injected_behind_ehlo(c: Conversation) -> None:
    """Sends a second reply to EHLO in one segment with the first."""
    c.serve(until=Step.EHLO)
    c.send(c.good_reply(Step.EHLO) + FORGED)
    c.serve()


@case(Must.RAISE, f"{NO_STARTTLS}, RFC 8446 5.2")
def injected_into_tls(c: Conversation) -> None:
    """Sends a line of plaintext between the records of TLS."""
    c.serve(until=Step.EHLO_IN_TLS)
    c.wire.send_below_tls(FORGED)
    c.serve()


# --- to be forgotten --------------------------------------------------------------------------------

FORGET = "RFC 3207 4.2"


@case(Must.COMPLETE, FORGET)
def forged_capability_in_plaintext(c: Conversation) -> None:
    """Offers X-FORGED in plaintext only."""
    c.in_clear.append("X-FORGED")
    c.serve()


@case(Must.COMPLETE, FORGET)
def size_in_plaintext(c: Conversation) -> None:
    """Takes no message of more than one octet, it says in plaintext only."""
    c.in_clear.append("SIZE 1")
    c.serve()


@case(Must.COMPLETE, FORGET)
def chunking_in_plaintext(c: Conversation) -> None:
    """Offers CHUNKING and PIPELINING in plaintext only, and in TLS does not know BDAT."""
    c.in_clear += ["CHUNKING", "PIPELINING"]
    c.serve()


@case(Must.RAISE, FORGET)
def auth_in_plaintext(c: Conversation) -> None:
    """Offers AUTH in plaintext only."""
    c.in_tls.remove("AUTH PLAIN")
    c.serve()


@case(Must.RAISE, FORGET, each={"502": 502, "503": 503})
def no_ehlo_in_tls(c: Conversation, code: int) -> None:
    """Answers EHLO in TLS by {}, as if the one in plaintext would do."""
    c.serve(until=Step.EHLO_IN_TLS)
    c.say(f"{code} 5.5.1 Duplicate HELO/EHLO")
    c.serve()


# --- confused with TLS from the first byte -------------------------------------------------------------

OPOSSUM = "Opossum (2025), RFC 8314 3.3"
# What a server that believes to be in STARTTLS says, because of what the attacker has said to it before.
SPLICED = {
    "a_reply_to_ehlo": FORGED,
    "a_reply_to_noop": b"250 2.0.0 Ok\r\n",
    "a_reply_to_auth": b"235 2.7.0 Authentication successful\r\n",
    "a_reply_to_data": b"354 Go on\r\n",
    "a_reply_to_quit": b"221 2.0.0 Bye\r\n",
    "an_error": b"503 5.5.1 Bad sequence of commands\r\n",
    "an_unknown_command": b"500 5.5.2 Command unrecognized\r\n",
}


@case(Must.RAISE, OPOSSUM, each=SPLICED, implicit=True)
def spliced(c: Conversation, octets: bytes) -> None:
    """Is reached by TLS from the first byte, and has {} in the place of its greeting."""
    c.serve(until=Step.GREETING)
    c.send(octets)
    c.serve()


@case(Must.RAISE_WITHIN_BOUNDS, OPOSSUM, implicit=True)
def spliced_and_silent(c: Conversation) -> None:
    """Is reached by TLS from the first byte, and waits for EHLO without a greeting."""
    c.serve(until=Step.GREETING)
    c.be_silent()


@case(Must.RAISE, OPOSSUM, implicit=True)
def spliced_behind_the_greeting(c: Conversation) -> None:
    """Is reached by TLS from the first byte, and has a reply to EHLO right behind its greeting."""
    c.serve(until=Step.GREETING)
    c.send(c.good_reply(Step.GREETING) + FORGED)
    c.serve()


@case(Must.RAISE, OPOSSUM)
def spliced_the_other_way(c: Conversation) -> None:
    """Is reached by STARTTLS, and greets once more in TLS, as on TLS from the first byte."""
    c.serve(until=Step.HANDSHAKE)
    c.start_tls()
    c.send(c.good_reply(Step.GREETING))
    c.serve()
