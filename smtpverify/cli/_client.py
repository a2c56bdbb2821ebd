"""A client that shows what is said, or how far it is: secrets as `***`, and a message as its size."""

from __future__ import annotations

import errno
import re
import socket
from typing import TYPE_CHECKING, Any

from ..errors import SMTPVerifyError, printable
from ..smtp.client import LMTP, SMTP
from ..smtp.secrecy import shown
from ._screen import Style, counted

if TYPE_CHECKING:
    import ssl

    from ..smtp.replies import Reply
    from ..tls.trust import Trust
    from ._screen import Screen

__all__ = ["Client", "LMTPClient", "Watch", "address_of"]

_BDAT = re.compile(rb"BDAT (\d+)", re.IGNORECASE)
_LINE = 500  # characters of one
_BAR = 30  # columns


class Watch:
    """What a client says and hears, line by line, and how much of a message is gone.

    Args:
        screen: where it shows.
        verbose: show the conversation.
        total: octets of a message, of which a bar is drawn; 0 for none.
        title: what each line begins with, where several are watched at once.
        draws_steps: show each step while it is under way.
    """

    def __init__(
        self,
        screen: Screen,
        *,
        verbose: bool,
        total: int = 0,
        title: str = "",
        draws_steps: bool = False,
    ) -> None:
        self._screen = screen
        self._draws_steps = draws_steps
        self._title = f"{title} " if title else ""
        self._verbose = verbose
        self._total = total
        self._gone = 0
        self._drawn = False
        self._in_data = False  # behind a 354, until the reply
        self._chunk = 0  # octets of a BDAT that are still to come
        self._taken = 0  # octets of the message that were not yet told of

    def note(self, text: str) -> None:
        """Show what is neither said nor heard."""
        self._show(f"  {text}", Style.FAINT)

    def step(self, name: str) -> None:
        """Show what is under way, in the place of the step before."""
        if self._draws_steps:
            self._screen.draw(f"{name} …")

    def warn(self, text: str) -> None:
        """Show what should not go unseen."""
        self._screen.paragraph(f"warning: {text}", Style.BAD)

    def says(self, octets: bytes) -> None:
        """Show what is sent (RFC 5321 4.1; RFC 3030 2 for BDAT)."""
        if not (self._verbose or self._total):
            return
        octets, position = shown(octets), 0
        while position < len(octets):
            if self._in_data or self._chunk:
                self._draw()
                count = len(octets) - position
                if not self._in_data:
                    count = min(count, self._chunk)
                    self._chunk -= count
                position += count
                self._gone += count
                self._taken += count
                if not (self._in_data or self._chunk):
                    self._tell_of_message()
                continue
            end = octets.find(b"\r\n", position)
            line = octets[position:] if end < 0 else octets[position:end]
            position = len(octets) if end < 0 else end + 2
            match = _BDAT.match(line)
            if match:
                self._chunk = int(match[1])
            self._line("→", line)

    def sent(self) -> None:
        """Draw the bar anew, now that what was said is gone."""
        if self._gone:
            self._draw()

    def hears(self, reply: Reply) -> None:
        """Show a reply."""
        self._tell_of_message()
        self._in_data = reply.code == 354
        if reply.code == 334:  # a challenge: what it asks about is nobody's business
            self._line("←", b"334 ***")
            return
        lines = reply.text.split(b"\n")
        for number, line in enumerate(lines, 1):
            self._line("←", b"%d%s%s" % (reply.code, b" " if number == len(lines) else b"-", line))

    def end(self) -> None:
        """Take the bar away."""
        if self._drawn:
            self._screen.draw("")
            self._drawn = False

    def _draw(self) -> None:
        if self._total:
            self._drawn = True  # before it is: Ctrl-C may come in between
            part = min(1.0, self._gone / self._total)
            full = int(part * _BAR)
            bar = "#" * full + "-" * (_BAR - full)
            self._screen.draw(f"[{bar}] {part:4.0%} of {self._total / 1e6:.1f} MB")

    def _tell_of_message(self) -> None:
        if self._taken:
            self.note(f"({counted(self._taken, 'octet')} of the message)")
            self._taken = 0

    def _line(self, mark: str, octets: bytes) -> None:
        if self._verbose:
            text = octets.decode("utf-8", "surrogateescape")
            self._show(f"{mark} {printable(text, _LINE)}", Style.PLAIN)

    def _show(self, text: str, style: Style) -> None:
        if self._verbose:
            try:
                self._screen.line(f"{self._title}{text}", style)
            except OSError:  # whoever read this has gone, and what is done does not depend on it
                self._verbose = False


class Client(SMTP):
    """An `SMTP` that is watched."""

    def __init__(self, watch: Watch, **options: Any) -> None:
        self._watch = watch
        super().__init__(**options)

    # What the library calls on its way.

    def _warn(self, category: type[Warning], message: str) -> None:
        self._watch.warn(printable(message, _LINE))

    def _dial(self, host: str, port: int, timeout: Any) -> socket.socket:
        tried: list[str] = []
        last = OSError()
        for address in self._addresses(host, port):
            self._watch.note(f"connecting to {address} port {port}")
            try:
                return self._connected(address, port, timeout)
            except SMTPVerifyError:
                raise
            except OSError as error:
                last = error
                tried.append(f"{address} port {port} ({error.strerror or error})")
                self._watch.note(f"no connection to {tried[-1]}")
        # Of the same class, which its number decides.
        number = errno.ETIMEDOUT if isinstance(last, TimeoutError) else last.errno
        raise OSError(number, f"no connection to {', '.join(tried)}") from last

    def _addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host, of which there is one at least."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(address_of(info[4]) for info in found))

    def _connected(self, address: str, port: int, timeout: float | None) -> socket.socket:
        """Connect to one of them."""
        sock = super()._dial(address, port, timeout)
        if self._dialled is not None:
            self._dialled_host = self._relay.host if self._relay else ""
        return sock

    def _secure(self, sock: socket.socket, context: ssl.SSLContext | None, trust: Trust) -> ssl.SSLSocket:
        secured = super()._secure(sock, context, trust)
        self._watch.note(f"verified: {self._peer}")
        return secured

    def _transmit(self, octets: bytes, *, alone: bool) -> None:
        self._watch.says(octets)
        super()._transmit(octets, alone=alone)
        self._watch.sent()

    def _read_reply(self, step: str | float) -> Reply:
        reply = super()._read_reply(step)
        self._watch.hears(reply)
        return reply


class LMTPClient(Client, LMTP):
    """An `LMTP` that is watched."""


def address_of(found: tuple[Any, ...]) -> str:
    """An address of the system's, with the zone of one that has no meaning without (RFC 4007 11)."""
    address = str(found[0])
    zone = found[3] if len(found) == 4 else 0
    return f"{address}%{zone}" if zone and "%" not in address else address
