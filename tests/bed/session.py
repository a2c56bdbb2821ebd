"""The server's side of SMTP (RFC 5321) and LMTP (RFC 2033), with the misbehaviour asked for."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from tests.bed.behaviour import (
    Behaviour,
    Connection,
    Credential,
    End,
    Greeting,
    Handshake,
    Message,
    Pieces,
    Protocol,
    Reply,
    Starttls,
    Tls,
)
from tests.bed.link import Ended, Link

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

FATAL_HANDSHAKE_FAILURE = b"\x15\x03\x03\x00\x02\x02\x28"  # RFC 8446 6.2: alert 40
GARBAGE = b"454 4.7.0 No TLS here after all\r\n"
READY = b"220 2.0.0 Ready to start TLS\r\n"
CRAM_CHALLENGE = b"<1896.697170952@mail.example.org>"  # RFC 2195

# A path in angle brackets, where a quoted local part may hold any of the delimiters.
_PATH = re.compile(r'(?:FROM|TO):\s*<((?:"(?:\\.|[^"\\])*"|[^">])*)>\s*(.*)', re.IGNORECASE)


class Session:
    """One conversation."""

    def __init__(
        self,
        link: Link,
        behaviour: Behaviour,
        record: Connection,
        context: Callable[[], ssl.SSLContext],
    ) -> None:
        self._link = link
        self._is = behaviour
        self._record = record
        self._context = context
        self._secure = False
        self._greeted = False
        self._commands: dict[str, Callable[[str, str], None]] = {
            "HELO": self._helo,
            "EHLO": self._ehlo,
            "LHLO": self._ehlo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "BDAT": self._bdat,
            "RSET": self._rset,
            "QUIT": self._quit,
        }
        self._forget_mail()

    def run(self) -> None:
        """Converse until `Ended`."""
        if self._is.tls is Tls.IMPLICIT:
            self._handshake()
        self._greet()
        while True:
            line = self._link.read_until(b"\r\n")[:-2].decode("utf-8", "surrogateescape")
            self._record.commands.append(line)
            verb, _, rest = line.partition(" ")
            verb = verb.upper()
            if not self._allowed(verb):
                self._answer(verb, line, "502 5.5.1 Command not implemented")
            else:
                self._commands.get(verb, self._other)(line, rest)

    def _allowed(self, verb: str) -> bool:
        lmtp = self._is.protocol is Protocol.LMTP
        return verb not in (("HELO", "EHLO") if lmtp else ("LHLO",))

    # Replies.

    def _send(self, reply: Reply) -> bytes:
        """Send a reply, and return its code, or as much as there is of one."""
        if isinstance(reply, str):
            reply = reply.encode("utf-8") + b"\r\n"
        if isinstance(reply, bytes):
            if reply:
                self._link.send(reply)
            return reply[:3]
        return self._send_pieces(reply)

    def _send_pieces(self, reply: Pieces) -> bytes:
        code = b""
        for number, piece in enumerate(reply.pieces()):
            if number and reply.pause:
                self._link.pause(reply.pause)
            self._link.send(piece)
            if len(code) < 3:
                code = (code + piece)[:3]
        return code

    def _answer(self, verb: str, line: str, usual: Reply) -> bytes:
        """Send the reply that the test wants, or else the usual one; return its code."""
        answer = self._is.replies.get(verb)
        if callable(answer):
            answer = answer(line)
        code = self._send(usual if answer is None else answer)
        if verb in self._is.closes_after:
            self._end(End.SCRIPTED)
        return code

    def _end(self, end: End) -> None:
        self._link.finish()
        raise Ended(self._link.drain(end))

    def _greet(self) -> None:
        if self._is.greeting_kind is Greeting.CLOSED:
            self._end(End.SCRIPTED)
        if self._is.greeting_kind is Greeting.SILENT:
            self._link.listen()
        self._send(self._is.greeting)
        if "" in self._is.closes_after:
            self._end(End.SCRIPTED)

    # TLS.

    def _handshake(self) -> None:
        kind, link = self._is.handshake, self._link
        if kind is Handshake.COMPLETE:
            link.start_tls(self._context())
            self._secure, self._greeted = True, False
            self._forget_mail()
        elif kind is Handshake.BROKEN_OFF:
            self._end(End.SCRIPTED)
        elif kind is Handshake.RESET:
            link.await_client_hello()
            link.reset()
            raise Ended(End.SCRIPTED)
        elif kind is Handshake.TRUNCATED:
            link.await_client_hello()
            link.send_half_a_flight(self._context())
            self._end(End.SCRIPTED)
        elif kind is Handshake.SILENT:
            link.listen()
        elif kind is Handshake.ALERT:
            link.await_client_hello()
            link.send(FATAL_HANDSHAKE_FAILURE)
        elif self._is.tls is Tls.STARTTLS:
            link.await_client_hello()
            link.send(GARBAGE)
        # Behind an alert, behind garbage, and on an implicit-TLS port that speaks plaintext, the
        # server goes on in plaintext, for a client that would do so too.

    def _starttls(self, line: str, rest: str) -> None:
        if self._is.tls is not Tls.STARTTLS or self._is.starttls is Starttls.ABSENT:
            self._answer("STARTTLS", line, "502 5.5.1 Command not implemented")
            return
        if self._secure:
            self._answer("STARTTLS", line, "503 5.5.1 TLS is on already")
            return
        ready = READY
        if self._is.starttls is Starttls.REFUSED:
            ready = self._is.starttls_refusal.encode("utf-8") + b"\r\n"
        elif self._is.starttls is Starttls.INJECTED_SAME_SEGMENT:
            ready += self._is.injection
        elif self._is.starttls is Starttls.INJECTED_FRAGMENT:
            ready += self._is.injection.rstrip(b"\r\n")
        elif self._is.starttls is Starttls.INJECTED_AHEAD:
            ready = b""
        code = self._answer("STARTTLS", line, ready)
        if code == b"220" or not ready:
            self._handshake()

    # Commands.

    def _helo(self, line: str, rest: str) -> None:
        self._greeted = True
        self._forget_mail()
        self._answer("HELO", line, f"250 {self._is.name}")

    def _ehlo(self, line: str, rest: str) -> None:
        self._greeted = True
        self._forget_mail()
        lines = [self._is.name, *self._extensions()]
        reply = "".join(f"250-{one}\r\n" for one in lines[:-1]) + f"250 {lines[-1]}\r\n"
        octets = reply.encode("utf-8")
        if self._is.starttls is Starttls.INJECTED_AHEAD and not self._secure:
            octets += READY
        self._answer(line[:4].upper(), line, octets)

    def _extensions(self) -> tuple[str, ...]:
        if self._secure:
            return self._is.after_tls
        absent = self._is.tls is not Tls.STARTTLS or self._is.starttls is Starttls.ABSENT
        return self._is.before_tls + (() if absent else ("STARTTLS",))

    def _other(self, line: str, rest: str) -> None:
        verb = line.partition(" ")[0].upper()
        usual = {
            "NOOP": "250 2.0.0 Ok",
            "HELP": "214 2.0.0 See RFC 5321",
            "VRFY": "252 2.0.0 Send it and see",
        }
        self._answer(verb, line, usual.get(verb, "500 5.5.2 Command unrecognized"))

    def _quit(self, line: str, rest: str) -> None:
        self._answer("QUIT", line, "221 2.0.0 Bye")
        self._end(End.QUIT)

    def _rset(self, line: str, rest: str) -> None:
        self._forget_mail()
        self._answer("RSET", line, "250 2.0.0 Ok")

    def _forget_mail(self) -> None:
        self._from: tuple[str, str] | None = None
        self._to: list[tuple[str, str]] = []
        self._chunks: list[bytes] = []

    def _mail(self, line: str, rest: str) -> None:
        path = _PATH.fullmatch(rest)
        if not self._greeted or self._from is not None:
            self._answer("MAIL", line, "503 5.5.1 Bad sequence of commands")
        elif path is None:
            self._answer("MAIL", line, "501 5.5.4 Syntax: MAIL FROM:<address>")
        elif self._answer("MAIL", line, "250 2.1.0 Ok").startswith(b"2"):
            self._from = (path[1], path[2])

    def _rcpt(self, line: str, rest: str) -> None:
        path = _PATH.fullmatch(rest)
        if self._from is None:
            self._answer("RCPT", line, "503 5.5.1 MAIL first")
        elif path is None:
            self._answer("RCPT", line, "501 5.5.4 Syntax: RCPT TO:<address>")
        elif self._answer("RCPT", line, "250 2.1.5 Ok").startswith(b"2"):
            self._to.append((path[1], path[2]))

    def _data(self, line: str, rest: str) -> None:
        usual = "354 End data with <CR><LF>.<CR><LF>"
        if not self._to:  # RFC 5321 3.3 allows both codes
            usual = "503 5.5.1 MAIL first" if self._from is None else "554 5.5.1 No recipients"
        if self._answer("DATA", line, usual) != b"354":
            return
        if self._link.starts_with(b".\r\n"):
            data = self._link.read_exactly(3)[:0]
        else:
            data = self._link.read_until(b"\r\n.\r\n")[:-3]
        # RFC 5321 4.5.2.
        data = data[1:] if data.startswith(b".") else data
        self._mail_is_complete(data.replace(b"\r\n.", b"\r\n"))

    def _bdat(self, line: str, rest: str) -> None:
        words = rest.upper().split()
        if not words or not words[0].isdecimal() or words[1:] not in ([], ["LAST"]):
            self._answer("BDAT", line, "501 5.5.4 Syntax: BDAT size [LAST]")
            return
        chunk = self._link.read_exactly(int(words[0]))  # RFC 3030 2: taken even when refused
        if not self._to:
            self._answer("BDAT", line, "503 5.5.1 No valid recipients")
            return
        self._chunks.append(chunk)
        if len(words) == 2:
            self._mail_is_complete(b"".join(self._chunks))
        elif not self._answer("BDAT", line, f"250 2.0.0 {len(chunk)} octets").startswith(b"2"):
            self._forget_mail()

    def _mail_is_complete(self, data: bytes) -> None:
        if self._from is not None and self._to:
            self._record.messages.append(
                Message(
                    mail_from=self._from[0],
                    rcpts=tuple(rcpt for rcpt, _ in self._to),
                    data=data,
                    mail_parameters=self._from[1],
                    rcpt_parameters=tuple(parameters for _, parameters in self._to),
                )
            )
        if self._is.protocol is Protocol.LMTP:
            for rcpt, _ in self._to:  # RFC 2033 4.2
                self._answer(".", f"RCPT TO:<{rcpt}>", "250 2.1.5 Delivered")
        else:
            self._answer(".", ".", "250 2.0.0 Ok: queued")
        self._forget_mail()

    # AUTH (RFC 4954).

    def _auth(self, line: str, rest: str) -> None:
        mechanism, _, initial = rest.partition(" ")
        mechanism = mechanism.upper()
        offered = [one.upper().split()[1:] for one in self._extensions() if one.startswith("AUTH ")]
        if "AUTH" in self._is.replies:
            self._answer("AUTH", line, "")
            return
        if not any(mechanism in mechanisms for mechanisms in offered):
            self._answer("AUTH", line, "504 5.5.4 Unrecognized authentication type")
            return
        if self._is.authenticator is not None:
            first = (
                None if not initial else b"" if initial == "=" else base64.b64decode(initial, validate=True)
            )
            self._answer("AUTH", line, self._is.authenticator(mechanism, first, self._ask))
            return
        try:
            self._record.credentials.append(self._credential(mechanism, initial))
        except (binascii.Error, ValueError):
            self._answer("AUTH", line, "501 5.5.2 Cannot decode response")
        else:
            self._answer("AUTH", line, self._is.auth_reply)

    def _credential(self, mechanism: str, initial: str) -> Credential:
        if mechanism == "LOGIN":
            username = self._response(b"Username:", initial)
            password = self._response(b"Password:", "")
            return Credential(mechanism, username.decode("utf-8"), password.decode("utf-8"))
        response = self._response(CRAM_CHALLENGE if mechanism == "CRAM-MD5" else b"", initial)
        if mechanism == "PLAIN":
            _, username, password = response.split(b"\0")  # RFC 4616
            return Credential(mechanism, username.decode("utf-8"), password.decode("utf-8"))
        return Credential(mechanism, "", "", response)

    def _ask(self, challenge: bytes | str) -> bytes:
        if isinstance(challenge, str):
            self._send(challenge)
        else:
            self._send("334 " + base64.b64encode(challenge).decode("ascii"))
        return base64.b64decode(self._link.read_until(b"\r\n")[:-2], validate=True)

    def _response(self, challenge: bytes, initial: str) -> bytes:
        if initial == "=":  # RFC 4954 4: an initial response of no octets
            return b""
        if initial:
            return base64.b64decode(initial, validate=True)
        return self._ask(challenge)
