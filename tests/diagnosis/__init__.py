"""Broken servers, and what three tools say of them: ours, Postfix's and OpenSSL's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.bed import Behaviour, Handshake, Starttls, Tls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.bed import World

# The tools are processes, with the system's resolver, which knows no other name of ours.
HOST = "localhost"
CA_FILE = "our-ca.pem"


@dataclass(frozen=True)
class Subject:
    """A server that the tools are asked about.

    Attributes:
        name: what is wrong with it.
        what: what it does, for the page.
        told: a pattern for what any tool says that names the cause; "" for the good server.
        kind: of the certificate, as in `tests.bed.KINDS`.
        fields: of its `Behaviour`, where STARTTLS is offered unless they say otherwise.
        implicit: whether the tools are told to expect TLS from the first byte.
    """

    name: str
    what: str
    told: str = ""
    kind: str = "good"
    fields: Mapping[str, Any] = field(default_factory=dict)
    implicit: bool = False

    def behaviour(self, world: World) -> Behaviour:
        """What the server is told."""
        return Behaviour(**{"tls": Tls.STARTTLS, "certificate": world.served(self.kind, HOST), **self.fields})


GOOD = Subject("Nothing", f"The certificate is for {HOST}, from a CA in `{CA_FILE}`.")

# A pattern has the words of each tool, as far as they can be told from those for another fault.
BROKEN = (
    Subject(
        "Another name",
        f"The certificate is for other.example.net, not for {HOST}.",
        r"hostname mismatch|valid for other\.example\.net",
        kind="wrong_name",
    ),
    Subject(
        "Unknown CA",
        f"The certificate comes from a CA that is not in `{CA_FILE}`.",
        r"untrusted issuer|unable to get local issuer|which is not trusted",
        kind="unknown_issuer",
    ),
    Subject(
        "Self-signed",
        "Nobody but the server vouches for its certificate.",
        r"self-signed certificate|certificate is self-signed",
        kind="self_signed_leaf",
    ),
    Subject("Expired", "The certificate expired two days ago.", r"expired", kind="expired"),
    Subject(
        "Intermediate missing",
        f"The CA in `{CA_FILE}` vouches for the one that issued the certificate, whose own certificate the "
        "server does not send.",
        r"was not sent",  # that an issuer is unknown is said of an unknown CA, too
        kind="missing_intermediate",
    ),
    Subject(
        "Not for servers",
        "The certificate is for TLS clients alone.",
        r"not designated for use as a server|unsuitable certificate purpose|not made for servers",
        kind="wrong_usage",
    ),
    Subject("Weak key", "The server's key is RSA of 1024 bits.", r"too weak", kind="weak_key"),
    Subject(
        "No STARTTLS",
        "STARTTLS is not offered, and answered with 502.",
        r"not offer STARTTLS|find STARTTLS",
        fields={"starttls": Starttls.ABSENT},
    ),
    Subject(
        "STARTTLS refused",
        "STARTTLS is offered, and answered with 454.",
        r"\b454\b",
        fields={"starttls": Starttls.REFUSED},
    ),
    Subject(
        "Plaintext injected",
        "Behind the server's 220 to STARTTLS come lines in plaintext that somebody on the way has put there.",
        r"plaintext came",
        fields={"starttls": Starttls.INJECTED_SAME_SEGMENT},
    ),
    Subject(
        "Plaintext, not TLS",
        "TLS is expected from the first byte, on a port where the server speaks plaintext.",
        r"plaintext where TLS was expected",
        fields={"tls": Tls.NONE},
        implicit=True,
    ),
    Subject(
        "Alert",
        "The server answers STARTTLS with 220, and then breaks off with the alert handshake_failure.",
        r"alert.handshake.failure",
        fields={"handshake": Handshake.ALERT},
    ),
)
SUBJECTS = (GOOD, *BROKEN)
