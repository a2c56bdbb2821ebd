"""A good server's part in a conversation, that can be left at any step and taken up again.

    conversation.serve(until=Step.MAIL)  # be good until MAIL has come and waits for its reply
    conversation.say("2_0 Ok")           # do this in place of the reply
    conversation.serve()                 # and be good again, to the end

What a command leads to is decided by what was said to it, whoever said it: behind a 220 to STARTTLS comes a
handshake, behind a 354 to DATA a message, and a message is accepted by a whole 250.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, NoReturn

from tests.bed.behaviour import End
from tests.bed.link import Ended
from tests.hostile.case import Step
from tests.hostile.errand import PASSWORD, USER

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import TypeAlias

    from tests.bed import World
    from tests.hostile.server import Seen, Wire

    # The steps as they fall due; whoever sends True back has dealt with one himself.
    Dialogue: TypeAlias = Generator[Step, bool | None, None]

GOOD_REPLIES = {
    Step.GREETING: "220 mail.example.org ESMTP",
    Step.STARTTLS: "220 2.0.0 Ready to start TLS",
    Step.AUTH: "235 2.7.0 Authentication successful",
    Step.MAIL: "250 2.1.0 Ok",
    Step.RCPT: "250 2.1.5 Ok",
    Step.DATA: "354 End data with <CR><LF>.<CR><LF>",
    Step.END: "250 2.0.0 Ok: queued",
    Step.RSET: "250 2.0.0 Ok",
    Step.QUIT: "221 2.0.0 Bye",
}
PLAIN = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
ACCEPTED = re.compile(rb"(250-[^\n]*\r\n)*250( [^\n]*)?\r\n")


class Conversation:
    """One connection, from the server's side.

    Attributes:
        wire: what is below; for those who misbehave there.
        context: of the server's TLS.
        world: where certificates come from.
        in_clear, in_tls: the extensions that are offered.
        ends_of_data: what ends a message.
        refuses_recipient: whether RCPT is answered by 550.
        command: the client's last one.
        timeout: the client's, in seconds.
    """

    def __init__(
        self,
        wire: Wire,
        seen: Seen,
        context: Callable[[], ssl.SSLContext],
        world: World,
        *,
        implicit: bool,
        timeout: float,
    ) -> None:
        self.wire = wire
        self.context = context
        self.world = world
        self.timeout = timeout
        # AUTH in plaintext, to tempt a careless client.
        self.in_clear = ["8BITMIME", "AUTH PLAIN", "STARTTLS"]
        self.in_tls = ["8BITMIME", "AUTH PLAIN"]
        self.ends_of_data: tuple[bytes, ...] = (b"\r\n.\r\n",)
        self.refuses_recipient = False
        self.command = ""
        self._seen = seen
        self._said = b""
        self._dealt_with = False
        self._dialogue = self._converse(implicit)

    # --- what a case tells it ----------------------------------------------------------------------

    def serve(self, until: Step | None = None) -> None:
        """Be a good server until that step is due, or to the end."""
        if until is Step.RSET:
            self.refuses_recipient = True  # or nobody would reset
        dealt_with, self._dealt_with = self._dealt_with, False
        step = self._dialogue.send(True) if dealt_with else next(self._dialogue)
        while step is not until:
            step = next(self._dialogue)
        self._dealt_with = True
        self._said = b""

    def say(self, *lines: str) -> None:
        """Send lines, in one piece."""
        self.send("".join(f"{line}\r\n" for line in lines).encode())

    def send(self, octets: bytes) -> None:
        """Send octets, in one piece."""
        self._said += octets
        self.wire.send(octets)

    def drip(self, octets: Iterable[bytes]) -> None:
        """Send piece by piece, often enough that a client's clock for one read never runs out."""
        for piece in octets:
            self.send(piece)
            self.wire.pause(self.timeout / 5)

    def good_reply(self, step: Step) -> bytes:
        """What a good server would say."""
        if step in (Step.EHLO, Step.EHLO_IN_TLS):
            return listing(self.in_clear if step is Step.EHLO else self.in_tls)
        if step is Step.RCPT and self.refuses_recipient:
            return b"550 5.1.1 No such user\r\n"
        return f"{GOOD_REPLIES[step]}\r\n".encode()

    def hear(self) -> str:
        """Wait for a line of the client's."""
        return self.wire.read_until(b"\r\n")[:-2].decode("latin-1")

    def start_tls(self) -> None:
        """Do a good handshake."""
        self.wire.start_tls(self.context())

    def be_silent(self) -> NoReturn:
        """Only listen, until the client has had enough."""
        self.wire.listen()

    def close(self) -> NoReturn:
        """Close, in TLS with a close_notify."""
        self.wire.finish()
        raise Ended(self.wire.drain(End.SCRIPTED))

    def cut(self) -> NoReturn:
        """Close the TCP connection below TLS, as anybody on the way can (RFC 8446 6.1)."""
        self.wire.cut()
        raise Ended(self.wire.drain(End.SCRIPTED))

    def reset(self) -> NoReturn:
        """Close by a RST."""
        self.wire.reset()
        raise Ended(End.SCRIPTED)

    # --- the good server -----------------------------------------------------------------------------

    def _converse(self, implicit: bool) -> Dialogue:
        if implicit and not (yield Step.HANDSHAKE):
            self.start_tls()
        yield from self._reply(Step.GREETING)
        while True:
            line = self.command = self.hear()
            verb = line.partition(" ")[0].upper()
            if verb == "EHLO":
                yield from self._reply(Step.EHLO_IN_TLS if self.wire.in_tls else Step.EHLO)
            elif verb == "STARTTLS" and not self.wire.in_tls:
                yield from self._starttls()
            elif verb == "AUTH":
                yield from self._auth(line)
            elif verb == "DATA":
                yield from self._data()
            elif verb == "BDAT" and "CHUNKING" in self.in_tls:
                yield from self._bdat(line)
            elif verb in ("MAIL", "RCPT", "RSET"):
                yield from self._reply(Step[verb])
            elif verb == "QUIT":
                yield from self._reply(Step.QUIT)
                self.close()
            else:
                self.say("250 mail.example.org" if verb == "HELO" else "500 5.5.2 Command unrecognized")

    def _reply(self, step: Step) -> Dialogue:
        self._said = b""
        if not (yield step):
            self.send(self.good_reply(step))

    def _starttls(self) -> Dialogue:
        yield from self._reply(Step.STARTTLS)
        if self._said.startswith(b"220") and not (yield Step.HANDSHAKE):
            self.start_tls()

    def _auth(self, line: str) -> Dialogue:
        self._said = b""
        if (yield Step.AUTH):
            return
        if line.upper() == "AUTH PLAIN":
            self.say("334 ")
            line += f" {self.hear()}"
        good = line.partition(" ")[2] == f"PLAIN {PLAIN}"
        self.send(self.good_reply(Step.AUTH) if good else b"535 5.7.8 Credentials invalid\r\n")

    def _data(self) -> Dialogue:
        yield from self._reply(Step.DATA)
        if self._said.startswith(b"354"):
            yield Step.BODY
            yield from self._end(self._message())

    def _message(self) -> bytes:
        by_lines = all(end.endswith(b"\n") for end in self.ends_of_data)
        octets = bytearray(b"\r\n")  # behind which the first line begins
        while not octets.endswith(self.ends_of_data):
            octets += self.wire.read_until(b"\n") if by_lines else self.wire.read_exactly(1)
        return bytes(octets[2:])

    def _bdat(self, line: str) -> Dialogue:
        _, size, *last = line.split()
        octets = self.wire.read_exactly(int(size))
        if last:
            yield from self._end(octets)
        else:
            self.say("250 2.0.0 Go on")

    def _end(self, message: bytes) -> Dialogue:
        yield from self._reply(Step.END)
        if ACCEPTED.match(self._said):
            self._seen.accepted.append(message)


def listing(features: Iterable[str]) -> bytes:
    """A reply to EHLO."""
    lines = ["mail.example.org", *features]
    return "".join([*(f"250-{line}\r\n" for line in lines[:-1]), f"250 {lines[-1]}\r\n"]).encode()


def forever(octets: bytes) -> Iterator[bytes]:
    """The same again and again."""
    while True:
        yield octets
