"""A small server that does commands properly, replies by a script, and dies where it is told to.

What the bed can't do: end a connection at one step of one message, by a FIN or by a RST, with any octets
before that; and keep, message by message, what it has whole and what it has said to that.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.bed.network import LOOPBACK

if TYPE_CHECKING:
    from types import TracebackType

PATIENCE = 10.0
STEPS = ("MAIL", "RCPT", "DATA", "half", ".")  # "half": in the middle of the octets


@dataclass(frozen=True)
class Plan:
    """What is said to one message: codes."""

    mail: int = 250
    rcpts: tuple[int, ...] = (250,)
    data: int = 354
    end: int = 250


@dataclass(frozen=True)
class Death:
    """Where the connection ends: at a step of a message, counted from 0, after some octets."""

    message: int
    step: str
    said: bytes = b""
    reset: bool = False


@dataclass
class Seen:
    """What the server knows of one message."""

    whole: bool = False
    told: int | None = None  # the code of the whole reply to it


@dataclass
class ScriptedServer:
    """One connection's server. `sender` of message n must be ``n@…``."""

    extensions: tuple[str, ...]
    plans: list[Plan]
    death: Death | None = None
    lines: int = 1  # of each reply
    commands: list[str] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    def __enter__(self) -> ScriptedServer:
        self.seen = [Seen() for _ in self.plans]
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.settimeout(PATIENCE)
        self.port: int = self._listener.getsockname()[1]
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.join(PATIENCE)
        self._listener.close()
        assert not self._thread.is_alive()
        if self._failure is not None and error is None:
            raise self._failure

    def _run(self) -> None:
        try:
            with self._listener.accept()[0] as sock, sock.makefile("rb") as file:
                sock.settimeout(PATIENCE)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sock, self._file = sock, file
                with contextlib.suppress(_Over, ConnectionError):
                    self._converse()
        except BaseException as failure:  # noqa: BLE001 - raised by __exit__
            self._failure = failure

    # --- the conversation ------------------------------------------------------------------------

    def _say(self, code: int) -> None:
        status = b"%d.7.1 " % (code // 100) if code >= 400 else b""
        first = (b"%d-%smore\r\n" % (code, status)) * (self.lines - 1)
        self._sock.sendall(first + b"%d %ssaid\r\n" % (code, status))
        if code == 421:
            self._end()

    def _end(self, *, reset: bool = False) -> None:
        if reset:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            with contextlib.suppress(OSError):  # the client was quicker, by a RST
                self._sock.shutdown(socket.SHUT_WR)
        raise _Over

    def _may_die(self, step: str) -> None:
        death = self.death
        if death is not None and (death.message, death.step) == (self._number, step):
            self._sock.sendall(death.said)
            self._end(reset=death.reset)

    def _converse(self) -> None:
        self._number = -1
        self._forget()
        self._say(220)
        while line := self._file.readline():
            command = line.decode("ascii").rstrip("\r\n")
            self.commands.append(command)
            verb = command[:4].upper()
            getattr(self, f"_{verb.lower()}")(command)
            if verb == "QUIT":
                return

    def _forget(self) -> None:
        self._open = False
        self._accepted = self._asked = 0

    def _ehlo(self, command: str) -> None:
        lines = ["scripted.example.org", *self.extensions]
        reply = "".join(f"250-{line}\r\n" for line in lines[:-1]) + f"250 {lines[-1]}\r\n"
        self._sock.sendall(reply.encode("ascii"))

    def _rset(self, command: str) -> None:
        self._forget()
        self._say(250)

    def _quit(self, command: str) -> None:
        self._say(221)

    def _noop(self, command: str) -> None:
        self._say(250)

    def _mail(self, command: str) -> None:
        if self._open:
            self._say(503)
            return
        found = re.search(r"<([0-9]+)@", command)
        assert found is not None
        self._number = int(found[1])
        self._forget()
        self._may_die("MAIL")
        self._say(self._plan.mail)
        self._open = self._plan.mail == 250

    @property
    def _plan(self) -> Plan:
        return self.plans[self._number]

    def _rcpt(self, command: str) -> None:
        if not self._open:
            self._say(503)
            return
        if self._asked == len(self._plan.rcpts) - 1:  # at the last of them
            self._may_die("RCPT")
        code = self._plan.rcpts[self._asked]
        self._asked += 1
        self._say(code)
        self._accepted += code in (250, 251)

    def _data(self, command: str) -> None:
        if not self._accepted:
            self._say(503)
            return
        self._may_die("DATA")
        self._say(self._plan.data)
        if self._plan.data == 354:
            self._file.readline()
            self._may_die("half")
            while self._file.readline() not in (b".\r\n", b""):
                pass
            self._message_is_whole()

    def _bdat(self, command: str) -> None:
        size, last = int(command.split()[1]), command.endswith("LAST")
        self._file.read(size // 2)
        if self._open:
            self._may_die("half")
        self._file.read(size - size // 2)
        if not self._accepted:
            self._say(503)
        elif last:
            self._message_is_whole()
        else:
            self._say(250)

    def _message_is_whole(self) -> None:
        seen = self.seen[self._number]
        seen.whole = True
        self._may_die(".")
        seen.told = self._plan.end
        self._say(self._plan.end)
        self._forget()


class _Over(Exception):
    """The connection has ended."""
