"""What a server is told to do (`Behaviour`), and what it saw (`Connection`)."""

from __future__ import annotations

import enum
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tests.bed.certs import Authority, Issued


class Protocol(enum.Enum):
    SMTP = "smtp"
    LMTP = "lmtp"  # RFC 2033: LHLO, and one reply a recipient behind the data


class Tls(enum.Enum):
    NONE = "none"  # never spoken; STARTTLS is an unknown command
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class Starttls(enum.Enum):
    OFFERED = "offered"
    ABSENT = "absent"  # not announced, and 502 when asked for all the same
    REFUSED = "refused"  # announced, and then refused with Behaviour.starttls_refusal
    # Plaintext of an attacker's, which a careless client takes for the server's word in TLS.
    INJECTED_SAME_SEGMENT = "injected_same_segment"  # whole lines behind the 220
    INJECTED_FRAGMENT = "injected_fragment"  # behind the 220, a line without its end
    INJECTED_AHEAD = "injected_ahead"  # the 220 itself, sent along with the reply to EHLO


class Handshake(enum.Enum):
    """How TLS begins, in STARTTLS behind the 220, in implicit TLS at once."""

    COMPLETE = "complete"
    BROKEN_OFF = "broken_off"  # end of file where the ServerHello should come
    RESET = "reset"  # the same with a RST, once the ClientHello has come
    TRUNCATED = "truncated"  # end of file in the middle of the server's first flight
    GARBAGE = "garbage"  # a line of SMTP where the ServerHello should come
    ALERT = "alert"  # handshake_failure
    SILENT = "silent"  # nothing, until the client gives up


class Greeting(enum.Enum):
    SPOKEN = "spoken"  # Behaviour.greeting, be it 220 or another
    SILENT = "silent"
    CLOSED = "closed"  # the connection is closed in its place


class Sni(enum.Enum):
    OPTIONAL = "optional"
    REQUIRED = "required"  # unrecognized_name for a client that sends none


@dataclass(frozen=True)
class Pieces:
    """A reply sent piece by piece, with a pause of so many seconds in between; may be endless."""

    pieces: Callable[[], Iterable[bytes]]
    pause: float = 0.0


# A line without its CRLF, or octets sent as they are (none: no reply), or pieces.
Reply = str | bytes | Pieces
# Called with the command line; None stands for the usual reply.
Answer = Reply | Callable[[str], Reply | None]

# Sends a challenge, which is encoded, or a whole line, and returns the answer, decoded.
Ask = Callable[[bytes | str], bytes]
# Called with the mechanism, the initial response or None, and how to go on; returns the last reply.
Authenticator = Callable[[str, bytes | None, Ask], Reply]

Certificate = Issued | ssl.SSLContext
# Called with the server name that the client sent, or None; None aborts with unrecognized_name.
Certificates = Callable[[str | None], Certificate | None]


@dataclass(frozen=True)
class Behaviour:
    """All that a server is told; the default is a good plaintext server."""

    protocol: Protocol = Protocol.SMTP
    tls: Tls = Tls.NONE
    starttls: Starttls = Starttls.OFFERED
    handshake: Handshake = Handshake.COMPLETE
    certificate: Certificate | Certificates | None = None
    tls_version: ssl.TLSVersion | None = None  # exactly that one
    client_roots: tuple[Authority, ...] = ()  # where given, a client certificate is demanded
    sni: Sni = Sni.OPTIONAL
    name: str = "mail.example.org"
    greeting_kind: Greeting = Greeting.SPOKEN
    greeting: Reply = "220 mail.example.org ESMTP"
    # AUTH is announced in plaintext as well, to tempt a careless client.
    before_tls: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SMTPUTF8", "AUTH PLAIN LOGIN")
    after_tls: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SMTPUTF8", "AUTH PLAIN LOGIN")
    starttls_refusal: str = "454 4.7.0 TLS not available due to temporary reason"
    injection: bytes = b"250-injected.example.net\r\n250 AUTH PLAIN LOGIN\r\n"
    auth_reply: str = "235 2.7.0 Authentication successful"  # when all was said; 535 to refuse
    authenticator: Authenticator | None = None  # in the place of the bed's own
    # By verb ("EHLO", "RCPT"); "." is the end of the data, by DATA or BDAT LAST, for LMTP once a
    # recipient, with "RCPT TO:<…>" for the command line.
    replies: Mapping[str, Answer] = field(default_factory=dict)
    closes_after: tuple[str, ...] = ()  # the verbs behind whose reply the connection is closed
    socket_buffer: int | None = None  # SO_SNDBUF and SO_RCVBUF, octets; the first behaviour's counts

    @property
    def needs_certificate(self) -> bool:
        """Whether a ServerHello may be sent."""
        without = self.starttls in (Starttls.ABSENT, Starttls.REFUSED) and self.tls is Tls.STARTTLS
        shown = self.handshake in (Handshake.COMPLETE, Handshake.TRUNCATED)
        return shown and self.tls is not Tls.NONE and not without


class End(enum.Enum):
    """How a connection came to its end."""

    QUIT = "quit"  # the client said QUIT, was answered, and closed
    CLOSE_NOTIFY = "close_notify"  # the client closed TLS in form, without QUIT
    EOF = "eof"  # the client closed
    RESET = "reset"
    REFUSED = "refused"  # the handshake failed on either side
    SCRIPTED = "scripted"  # the server was told to end it
    STOPPED = "stopped"  # the client held it open until the server was closed


@dataclass(frozen=True)
class Message:
    """A mail as it arrived; whole, or it is not listed."""

    mail_from: str
    rcpts: tuple[str, ...]
    data: bytes  # dots unstuffed
    mail_parameters: str = ""
    rcpt_parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Credential:
    mechanism: str
    username: str
    password: str
    response: bytes = b""  # of mechanisms other than PLAIN and LOGIN: the last one, decoded


# Commands that give nothing away.
HARMLESS = frozenset({"EHLO", "HELO", "LHLO", "STARTTLS", "QUIT", "RSET", "NOOP", "HELP", ""})


@dataclass
class Connection:
    """What the server saw on one connection."""

    number: int  # counted from 0
    clear_bytes: bytearray = field(default_factory=bytearray, repr=False)
    secure_bytes: bytearray = field(default_factory=bytearray, repr=False)
    commands: list[str] = field(default_factory=list)  # the lines, without data or AUTH's answers
    sni: str | None = None
    client_hello: bool = False  # the client tried to speak TLS
    handshake_done: bool = False
    handshake_error: str | None = None  # OpenSSL's reason, such as TLSV1_ALERT_UNKNOWN_CA
    tls_version: str | None = None
    cipher: str | None = None
    session_reused: bool = False
    client_certificate: bytes | None = None  # DER
    messages: list[Message] = field(default_factory=list)
    credentials: list[Credential] = field(default_factory=list)
    round_trips: int = 0  # how often the server had to wait for the client after it had spoken
    end: End | None = None  # None while it lasts

    @property
    def clear(self) -> bytes:
        """What came in plaintext; TLS records are not counted as such."""
        return bytes(self.clear_bytes)

    @property
    def secure(self) -> bytes:
        """What came inside TLS, decrypted."""
        return bytes(self.secure_bytes)

    @property
    def clear_commands(self) -> list[str]:
        """The lines that came in plaintext."""
        return _lines(self.clear_bytes)

    @property
    def secure_commands(self) -> list[str]:
        """The lines that came inside TLS, those of mails and of AUTH included."""
        return _lines(self.secure_bytes)

    @property
    def closed_cleanly(self) -> bool:
        """Whether the client took its leave by QUIT."""
        return self.end is End.QUIT

    def leaked(self) -> list[str]:
        """Return the lines that gave away an address, mail or a credential; in TLS counts too."""
        return _telling(self.clear_commands + self.secure_commands)

    def leaked_in_clear(self) -> list[str]:
        """Return those of them that came in plaintext."""
        return _telling(self.clear_commands)


def _telling(lines: list[str]) -> list[str]:
    return [line for line in lines if line.partition(" ")[0].upper() not in HARMLESS]


def _lines(received: bytearray) -> list[str]:
    # Not splitlines(): it knows more line ends than SMTP does.
    lines = received.decode("utf-8", "backslashreplace").replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]
