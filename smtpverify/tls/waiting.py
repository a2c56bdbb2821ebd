"""Waiting for a socket, within a time limit: owns how to ask whether one is ready.

`select` and the sockets may be those of gevent or eventlet, so that other greenlets run meanwhile. They can
be replaced at any time, so that each call looks them up. The sockets of both count a timeout anew for each
packet, and a peer could make it last as long as it likes. Here a limit holds for all steps together.
"""

from __future__ import annotations

import math
import select
import ssl
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal, TypeAlias

    Way: TypeAlias = Literal["read", "write"]

__all__ = ["counts_anew", "is_ready", "make_handshake", "now", "set_timeout", "would_block"]

_LONGEST = 2147483647  # milliseconds that poll() takes
_EXACT = frozenset({"builtins", "socket", "_socket", "ssl", __name__.partition(".")[0]})

# Tests may freeze time.monotonic(), or move it. The clock that is asked for by its number stays the real one.
if sys.platform == "win32":
    now = time.monotonic
else:
    now = partial(time.clock_gettime, time.CLOCK_MONOTONIC)


def counts_anew(sock: object) -> bool:
    """Whether a socket may count its timeout anew for each packet: one of another library than Python's."""
    return any(kind.__module__.partition(".")[0] not in _EXACT for kind in type(sock).__mro__)


def set_timeout(sock: Any, seconds: float | None) -> None:
    """Set a socket's timeout: None to wait without end, 0 not to wait."""
    # The TLS sockets of eventlet change between the two by setblocking() only.
    if seconds == 0:
        sock.setblocking(False)
        return
    if sock.gettimeout() == 0:
        sock.setblocking(True)
    sock.settimeout(seconds)


def would_block(error: OSError, operation: Way) -> Way | None:
    """For which way a socket that does not wait must be ready, or None where the error is another.

    Args:
        error: of an operation on the socket.
        operation: what it was: TLS may have to read before it writes, and the other way round.
    """
    if isinstance(error, ssl.SSLWantReadError):
        return "read"
    if isinstance(error, ssl.SSLWantWriteError):
        return "write"
    return operation if isinstance(error, BlockingIOError) else None


def is_ready(sock: Any, *, readable: bool, writable: bool, seconds: float | None) -> bool:
    """Whether the system's socket is one of these within the time; None waits without end."""
    if sys.platform == "win32" or not hasattr(select, "poll"):  # as under eventlet
        reads, writes = ([sock] if wanted else [] for wanted in (readable, writable))
        longest = None if seconds is None else min(seconds, _LONGEST / 1000)  # macOS refuses more
        return any(select.select(reads, writes, [], longest))
    poll = select.poll()
    poll.register(sock, select.POLLIN * readable | select.POLLOUT * writable)
    return bool(poll.poll(None if seconds is None else min(math.ceil(seconds * 1000), _LONGEST)))


def make_handshake(sock: Any, step: Callable[[], None], *, block: bool = False) -> None:
    """Make a TLS handshake within the socket's timeout.

    Args:
        sock: the socket; one that does not wait makes a single step.
        step: its own handshake.
        block: wait without end where the socket does not wait.

    Raises:
        TimeoutError: it did not end in time.
        OSError: from the socket.
    """
    own = sock.gettimeout()
    if own == 0 and not block:
        step()
        return
    deadline = now() + (own or math.inf)
    set_timeout(sock, 0)
    try:
        while True:
            try:
                step()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                wanted = would_block(error, "read")
            else:
                return
            left = deadline - now()
            if left <= 0 or not is_ready(
                sock,
                readable=wanted == "read",
                writable=wanted == "write",
                seconds=None if left == math.inf else left,
            ):
                raise TimeoutError("The handshake operation timed out")
    finally:
        if sock.fileno() >= 0:
            set_timeout(sock, own)
