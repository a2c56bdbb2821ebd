"""The hostile server: the bed's, with a case in the place of good manners."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from tests.bed import Behaviour, Connection, Server, Tls
from tests.bed.link import PATIENCE, Link
from tests.hostile.conversation import Conversation

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from tests.bed import World
    from tests.hostile.case import Case

# Small, so that what a client sends to nobody soon waits on its side.
SOCKET_BUFFER = 65536


@dataclass
class Seen(Connection):
    """What the server saw on one connection, and which messages it said it had accepted."""

    accepted: list[bytes] = field(default_factory=list)


class Wire(Link):
    """A link that can do what no library would do of itself.

    `spoil` gets the next piece that goes out, below TLS, and gives what goes out in its place; `pace` is the
    pause behind each octet.
    """

    spoil: Callable[[bytes], bytes] | None = None
    pace: float | None = None

    @property
    def in_tls(self) -> bool:
        """Whether what is sent goes in TLS."""
        return self._tls is not None

    def send_below_tls(self, octets: bytes) -> None:
        """Send octets as they are, also where TLS is on."""
        self._send_raw(octets)

    def _send_raw(self, data: bytes) -> None:
        spoil, self.spoil = self.spoil, None
        if spoil is not None:
            data = spoil(data)
        if self.pace is None:
            super()._send_raw(data)
            return
        for octet in data:
            super()._send_raw(bytes([octet]))
            self.pause(self.pace)

    def cut(self) -> None:
        """Close our direction of the connection without a close_notify."""
        with contextlib.suppress(OSError):  # the client may have closed before
            self._sock.shutdown(socket.SHUT_WR)

    def hold(self) -> NoReturn:
        """Neither speak nor read, until the server is closed."""
        while True:
            self.pause(PATIENCE)


class HostileServer(Server):
    """A server that plays a case on every connection.

    Args:
        case: what to do.
        world: where certificates come from.
        timeout: the client's, in seconds.
    """

    link_type = Wire

    def __init__(self, case: Case, world: World, timeout: float) -> None:
        self._case = case
        self._world = world
        self._timeout = timeout
        tls = Tls.IMPLICIT if case.implicit else Tls.STARTTLS
        super().__init__(Behaviour(tls=tls, certificate=case.certificate(world), socket_buffer=SOCKET_BUFFER))

    @property
    def seen(self) -> list[Seen]:
        """What was seen on each connection."""
        return [one for one in self.connections if isinstance(one, Seen)]

    def new_record(self, number: int) -> Seen:
        """Return what a connection is to be recorded in."""
        return Seen(number)

    def converse(
        self, link: Link, behaviour: Behaviour, record: Connection, context: Callable[[], ssl.SSLContext]
    ) -> None:
        """Play the case, and then listen until the client has gone."""
        assert isinstance(link, Wire)
        assert isinstance(record, Seen)
        case = self._case
        case.play(
            Conversation(link, record, context, self._world, implicit=case.implicit, timeout=self._timeout)
        )
        link.listen()
