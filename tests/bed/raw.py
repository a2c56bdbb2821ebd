"""A client without any manners, to see what the server does with it."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.bed.server import Server

TIMEOUT = 5.0


class Raw:
    """A plaintext client that says what it is told, and gives back what one read yields.

    The server sends a reply in one piece, so one read yields one reply.
    """

    def __init__(self, server: Server) -> None:
        self.socket = self._connected(server)

    @staticmethod
    def _connected(server: Server) -> socket.socket:
        if not server.path:
            return socket.create_connection((server.host, server.port), TIMEOUT)
        if sys.platform == "win32":
            raise NotImplementedError
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT)
        sock.connect(server.path)
        return sock

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def hear(self) -> bytes:
        """Return what one read yields; nothing at the end of file."""
        return self.socket.recv(65536)

    def ask(self, octets: bytes) -> bytes:
        """Send some octets, and return what one read yields."""
        self.socket.sendall(octets)
        return self.hear()
