"""Good servers.

Whoever refuses these is of no use, and a bed that sees nothing but refusals proves nothing.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from tests.bed import HOST
from tests.hostile.case import REPLIES, Must, Step, case
from tests.hostile.conversation import listing

if TYPE_CHECKING:
    from tests.bed import World
    from tests.hostile.conversation import Conversation

TLS12 = ssl.TLSVersion.TLSv1_2


@case(Must.COMPLETE, "RFC 3207, RFC 8314 3.3", both=True)
def good(c: Conversation) -> None:
    """Does everything right."""
    c.serve()


@case(Must.COMPLETE, "RFC 2920", both=True)
def good_with_pipelining(c: Conversation) -> None:
    """Takes commands in groups."""
    c.in_tls.append("PIPELINING")
    c.serve()


@case(Must.COMPLETE, "RFC 3030")
def good_with_chunking(c: Conversation) -> None:
    """Takes messages by BDAT."""
    c.in_tls.append("CHUNKING")
    c.serve()


@case(Must.COMPLETE, "RFC 2920, RFC 3030", message="large")
def good_with_pipelining_and_chunking(c: Conversation) -> None:
    """Takes everything in one flight."""
    c.in_tls += ["PIPELINING", "CHUNKING"]
    c.serve()


@case(Must.COMPLETE, "RFC 5321 4.5.3.2")
def slow_and_steady(c: Conversation) -> None:
    """Takes up to a tenth of the client's patience for each reply."""
    for step in REPLIES:
        if step is not Step.RSET:
            c.serve(until=step)
            c.wire.pause(min(c.timeout, 5) / 10)
            c.send(c.good_reply(step))
    c.serve()


@case(Must.COMPLETE, "RFC 5321 4.2.1")
def replies_in_crumbs(c: Conversation) -> None:
    """Sends each reply octet by octet, each in a TLS record of its own."""
    for step in (Step.EHLO_IN_TLS, Step.AUTH, Step.MAIL, Step.RCPT, Step.DATA, Step.END):
        c.serve(until=step)
        for octet in c.good_reply(step):
            c.send(bytes([octet]))
    c.serve()


@case(Must.COMPLETE, "RFC 5321 4.2.1")
def replies_of_many_lines(c: Conversation) -> None:
    """Says everything on three lines."""
    for step in (Step.GREETING, Step.AUTH, Step.MAIL, Step.RCPT, Step.DATA, Step.END):
        c.serve(until=step)
        code, text = c.good_reply(step).split(b" ", 1)
        c.send(2 * (code + b"-" + text) + code + b" " + text)
    c.serve()


@case(Must.COMPLETE, "RFC 5321 4.2")
def replies_without_text(c: Conversation) -> None:
    """Says nothing but codes."""
    for step in (Step.AUTH, Step.MAIL, Step.RCPT, Step.DATA, Step.END):
        c.serve(until=step)
        c.send(c.good_reply(step)[:3] + b"\r\n")
    c.serve()


@case(Must.COMPLETE, "RFC 5321 4.1.1.1")
def fifty_features(c: Conversation) -> None:
    """Offers fifty extensions of its own."""
    c.in_tls += [f"X-OWN-{number} {60 * 'x'}" for number in range(50)]
    c.serve()


@case(Must.COMPLETE, "RFC 5321 2.4")
def lower_case_features(c: Conversation) -> None:
    """Writes its extensions in lower case."""
    c.serve(until=Step.EHLO)
    c.send(listing(["8bitmime", "starttls"]))
    c.in_tls = ["8bitmime", "auth PLAIN"]
    c.serve()


@case(Must.COMPLETE, "RFC 5246", certificate=lambda world: world.good().server_context(maximum_version=TLS12))
def only_tls_1_2(c: Conversation) -> None:
    """Knows no TLS 1.3."""
    c.serve()


def _with_many_tickets(world: World) -> ssl.SSLContext:
    context = world.good().server_context()
    context.num_tickets = 100
    return context


@case(Must.COMPLETE, "RFC 8446 4.6.1", certificate=_with_many_tickets)
def many_session_tickets(c: Conversation) -> None:
    """Sends a hundred session tickets behind the handshake."""
    c.serve()


def _asking_for_a_certificate(world: World) -> ssl.SSLContext:
    context = world.good().server_context()
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


@case(Must.COMPLETE, "RFC 8446 4.3.2", certificate=_asking_for_a_certificate)
def would_like_a_client_certificate(c: Conversation) -> None:
    """Asks for a client certificate, and goes on without."""
    c.serve()


@case(Must.COMPLETE, "RFC 5280 6.1", certificate=lambda world: world.served("good_via_intermediate"))
def certificate_via_an_intermediate(c: Conversation) -> None:
    """Shows a chain of two."""
    c.serve()


@case(Must.COMPLETE, "RFC 9525 6.3", certificate=lambda world: world.served("wildcard_good"))
def certificate_with_a_wildcard(c: Conversation) -> None:
    """Shows a certificate for `*.example.org`."""
    c.serve()


@case(Must.COMPLETE, "RFC 9525 6.5", certificate=lambda world: world.served("address_good"), host="127.0.0.1")
def certificate_for_an_address(c: Conversation) -> None:
    """Is asked for as 127.0.0.1, and has that as an iPAddress."""
    c.serve()


@case(
    Must.COMPLETE,
    "RFC 5280 4.2.1.6",
    certificate=lambda world: world.root.issue(*(f"mx{number}.example.net" for number in range(500)), HOST),
)
def certificate_with_500_names(c: Conversation) -> None:
    """Has 500 names, of which the host's is the last."""
    c.serve()
