"""Octets to and from one socket, within time: owns the wait, and the buffer of what came.

A timeout holds for the whole of what is waited for, since one octet a second is no way to stay alive; a large
message is held to progress instead. A wait that has lasted as long as it may is over, whatever the clock
says. While a write waits, what the server sends is read, so that no two full buffers wait for each other,
however much is sent before a reply is looked at.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ..stdlib import is_socket
from ..tls.waiting import counts_anew, is_ready, now, set_timeout, would_block
from .endpoints import undelivered
from .replies import MAX_LINE, ReplyParser

if TYPE_CHECKING:
    from ..tls.waiting import Way
    from .replies import Reply

__all__ = ["Channel", "PeerClosed", "TimedOut"]

_BLOCK = 16384  # octets that must be taken within the limit of a write; a TLS record (RFC 8446 5.1)
_LITTLE = 4096  # octets that fit into any system's buffer
_UNREAD = 1048576  # octets of replies that are kept while we send
_READ = 16384


class PeerClosed(OSError):
    """The peer has closed the connection. Within this package only."""


class TimedOut(TimeoutError):
    """The peer has kept us waiting; the text says all there is to say. Within this package only."""


class Channel:
    """A socket's two directions.

    Args:
        sock: of the socket module, or of the ssl module; or whatever has `makefile` and `sendall`, which
            is then taken as it is, without deadlines.
        file: a file to read from in the place of the socket, or None.
    """

    def __init__(self, sock: Any, file: Any = None) -> None:
        self.sock = sock
        self.file = file
        self.written = 0  # octets that the system has taken
        self.ended = False  # whether the peer has closed its side
        self._replies = ReplyParser()
        self.received_reply = self._replies.next  # the next reply, if it has been received already
        self._reader = file
        # A mock with the specification of a socket has no descriptor.
        self._is_socket = is_socket(sock) and isinstance(sock.fileno(), int)
        self._counts_anew = counts_anew(sock)
        if not self._is_socket:
            self._reader = file or sock.makefile("rb")
            return
        # The socket's timeout as others have set it, and as we have left it for the next wait.
        self._own: float | None = sock.gettimeout()
        self._left = self._own

    def limit(self, otherwise: float) -> float:
        """Seconds to wait by the timeout that others have given the socket, or `otherwise`."""
        own = self.own_timeout() if self._is_socket else None
        return otherwise if own is None else own

    def own_timeout(self) -> float | None:
        """The socket's timeout as others have set it."""
        self._look_at_timeout()
        return self._own

    def _look_at_timeout(self) -> None:
        present = self.sock.gettimeout()
        if present != self._left:
            self._own = self._left = present

    def _set_timeout(self, seconds: float | None) -> None:
        if seconds != self._left:
            set_timeout(self.sock, seconds)
            self._left = self.sock.gettimeout()  # it is rounded

    # --- in --------------------------------------------------------------------------------------

    def read(self, limit: float) -> Reply:
        """The next reply, whole, in at most `limit` seconds.

        Raises:
            PeerClosed: the end came first.
            MalformedReplyError: what came is no reply.
            TimedOut: it did not come in time.
            OSError: from the socket.
        """
        reply = self._replies.next()
        if reply is not None:
            return reply
        if self._reader is not None:
            while reply is None:
                self._take(self._reader.readline(MAX_LINE + 1))
                reply = self._replies.next()
            return reply
        self._look_at_timeout()
        deadline, left = now() + limit, limit
        while left > 0:
            data, waited = self._receive_within(left)
            if data is not None:
                self._take(data)
                reply = self._replies.next()
                if reply is not None:
                    return reply
            left = min(left - waited, deadline - now())
        raise TimedOut(f"the server did not answer within {_seconds(limit)}")

    def _receive_within(self, seconds: float) -> tuple[bytes | None, float]:
        """Read once, and wait for it; None where nothing came, with the seconds that were waited for it."""
        if not self._counts_anew:
            # A timeout that is somewhat shorter stays as it is: changing it costs more than waiting again.
            if not self._left or not seconds / 8 < self._left <= seconds:
                self._set_timeout(seconds)
            try:
                return self.sock.recv(_READ), 0.0
            except TimeoutError as error:
                if error.errno is not None:  # the system's own: ETIMEDOUT
                    raise
                return None, self._left or seconds
        self._set_timeout(0.0)
        try:
            return self.sock.recv(_READ), 0.0
        except OSError as error:
            wanted = would_block(error, "read")
            if wanted is None:
                raise
        finally:
            self._set_timeout(seconds)  # the socket is left as one that waits
        ready = is_ready(self.sock, readable=wanted == "read", writable=wanted == "write", seconds=seconds)
        return None, 0.0 if ready else seconds

    def late_replies(self) -> list[Reply]:
        """The replies that are there, where nothing more is to be had: what a server said before the end."""
        found = []
        with contextlib.suppress(OSError):  # the error that led here says more
            self.unread()
            while (reply := self._replies.next()) is not None:
                found.append(reply)
                self.unread()
        return found

    def buffered(self) -> bytes:
        """What was read from the socket and not given out as a reply."""
        return self._replies.unread()

    def unread(self) -> bytes:
        """What has come and was not given out as a reply; waits for nothing. See `ended`."""
        unread = self._replies.unread()
        if unread or self._reader is not None or self.sock.fileno() < 0:
            return unread
        pending = getattr(self.sock, "pending", None)  # of TLS: decrypted, and not in the system's buffer
        if (
            self._counts_anew  # whose poll() may want more time than none
            or (pending is not None and pending())
            or is_ready(self.sock, readable=True, writable=False, seconds=0)
        ):
            self._look_at_timeout()
            self._set_timeout(0.0)
            self._receive()
        return self._replies.unread()

    def _take(self, data: bytes) -> None:
        if not data:
            self.ended = True
            raise PeerClosed("in the middle of a reply" if self._replies.unread() else "")
        self._replies.feed(data)

    def _receive(self) -> None:
        """Read once from a socket that does not wait."""
        try:
            data = self.sock.recv(_READ)
        except OSError as error:
            if would_block(error, "read") is None:
                raise
            return
        self.ended = self.ended or not data
        self._replies.feed(data)

    # --- out -------------------------------------------------------------------------------------

    def write(self, data: bytes, limit: float, *, alone: bool = False) -> None:
        """Hand all of it to the system, each 16 KiB in at most `limit` seconds.

        What the server sends in the meantime is kept for `read`.

        Args:
            data: what to send.
            limit: seconds.
            alone: all that was sent before has its reply, so that the system has room for a little.

        Raises:
            PeerClosed: the server closed instead of reading.
            TimedOut: it reads no more.
            OSError: from the socket.
        """
        if not self._is_socket:
            self.sock.sendall(data)
            self.written += len(data)
            return
        self._look_at_timeout()
        sent = 0
        if alone and len(data) <= _LITTLE:
            if not self._left:
                self._set_timeout(limit)
            sent = self.sock.send(data)
            self.written += sent
        if sent < len(data):
            self._set_timeout(0.0)
            self._write(memoryview(data)[sent:], limit)

    def _write(self, rest: memoryview, limit: float) -> None:
        block = self.written + _BLOCK
        deadline, queued = 0.0, 0  # the latter is what the system had not delivered when the wait began
        while rest:
            try:
                # Of more, TLS would not tell how much is gone before all of it is.
                sent = self.sock.send(rest[:_BLOCK])
                wanted: Way | None = None if sent else "write"  # gevent's TLS sockets do not raise
            except OSError as error:
                sent, wanted = 0, would_block(error, "write")
                if wanted is None:
                    raise
            if wanted is not None:
                if not deadline:
                    deadline, queued = now() + limit, undelivered(self.sock)
                if not self._wait(wanted, deadline - now()):
                    # The system may make room in larger steps than it delivers.
                    before, queued = queued, undelivered(self.sock)
                    if before - queued < _BLOCK:
                        raise TimedOut(f"the server took nothing for {_seconds(limit)}") from None
                    deadline = now() + limit
                continue
            rest = rest[sent:]
            self.written += sent
            if self.written >= block:
                block, deadline = self.written + _BLOCK, 0.0

    def _wait(self, wanted: Way, left: float) -> bool:
        """Wait until the socket may go on, and take in what comes meanwhile; False if nothing happens."""
        # A server that never reads may not fill our memory; what it owes us is a reply a command.
        listens = len(self._replies.unread()) < _UNREAD
        readable, writable = listens or wanted == "read", wanted == "write"
        if left <= 0 or not is_ready(self.sock, readable=readable, writable=writable, seconds=left):
            return False
        if listens:
            self._receive()
            if self.ended:
                raise PeerClosed("while we were sending")
        return True


def _seconds(limit: float) -> str:
    return f"{limit:g} second{'' if limit == 1 else 's'}"
