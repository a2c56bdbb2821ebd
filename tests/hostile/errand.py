"""What every client is asked to do: log in to a host and deliver one message. Imported by both sides."""

from __future__ import annotations

from dataclasses import dataclass

USER, PASSWORD = "alice", "correct-horse"
SENDER, RECIPIENT = "alice@example.org", "bob@example.com"
LOCAL_NAME = "client.example.org"
_HEAD = b"From: alice@example.org\r\nTo: bob@example.com\r\nSubject: secret\r\n\r\n"

# SMTP smuggling: a second message, for servers that end the first one where it does not end.
_SMUGGLED = b"MAIL FROM:<forged@example.org>%sRCPT TO:<bob@example.com>%sDATA%sforged%s.%s"
_LOOSE_ENDS = (b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\r\n\0.\r\n")

MESSAGES = {
    "short": _HEAD + b"The code for the door is 7351.\r\n",
    # More than the buffers of two systems take.
    "large": _HEAD + 90_000 * (b"The code for the door is 7351. ".ljust(76, b".") + b"\r\n"),
    "smuggling": _HEAD + b"".join(end + _SMUGGLED % (5 * (b"\r\n",)) for end in _LOOSE_ENDS),
}


@dataclass(frozen=True)
class Errand:
    """One client's task.

    Attributes:
        client: which of `clients.CLIENTS`.
        host, port: whom to ask for; the name leads to loopback.
        good_port: of a good server, to warm up.
        implicit: TLS from the first byte, not STARTTLS.
        timeout: seconds, as the client takes it.
        limit: seconds until it is killed.
        message: which of `MESSAGES` it sends.
    """

    client: str
    host: str
    port: int
    good_port: int
    implicit: bool
    timeout: float
    limit: float
    message: str


@dataclass
class Report:
    """What the client says of it, and what was measured of its process.

    Attributes:
        features: what it believes that the server offers in TLS, in lower case.
        sent: it believes that the message was accepted.
        error: the exception's class, or "" where it completed.
        expected: whether that class is one that programs catch.
        text: str() of the exception.
        sockets_held: open with the exception alive, more than before.
        sockets_left: the same when all objects are gone.
        killed: it did not end within the limit; what stands above is not known then.
        seconds: from the start of the process to its end.
        memory: octets, at the peak, above what the delivery of the same message to a good server takes.
    """

    features: list[str]
    sent: bool = False
    error: str = ""
    expected: bool = True
    text: str = ""
    sockets_held: int = 0
    sockets_left: int = 0
    killed: bool = False
    seconds: float = 0.0
    memory: int = 0
