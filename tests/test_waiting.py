"""Waiting for a socket: a limit holds for all steps of a handshake, and the socket's timeout stays."""

from __future__ import annotations

import select
import socket
import ssl
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from smtpverify.tls.waiting import counts_anew, is_ready, make_handshake, set_timeout, would_block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smtpverify.tls.waiting import Way

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


class Other(socket.socket):
    """A socket of another library than Python's."""


def test_whose_timeouts_begin_anew() -> None:
    context = ssl.create_default_context()
    with socket.socket() as sock, Other() as other:
        assert not counts_anew(sock)
        assert counts_anew(other)
        with context.wrap_socket(sock, server_hostname="localhost") as tls:
            assert not counts_anew(tls)


def test_would_block() -> None:
    operations: tuple[Way, ...] = ("read", "write")
    for operation in operations:
        assert would_block(ssl.SSLWantReadError(), operation) == "read"
        assert would_block(ssl.SSLWantWriteError(), operation) == "write"
        assert would_block(BlockingIOError(), operation) == operation
        assert would_block(ConnectionResetError(), operation) is None
        assert would_block(TimeoutError(), operation) is None


def test_set_timeout(pair: Pair) -> None:
    """Between waiting and not waiting the way leads over setblocking(), which is all that eventlet minds."""
    calls: list[object] = []

    class Recording:
        timeout: float | None = None

        def gettimeout(self) -> float | None:
            return self.timeout

        def settimeout(self, seconds: float | None) -> None:
            calls.append(seconds)
            self.timeout = seconds

        def setblocking(self, flag: bool) -> None:
            calls.append(flag)
            self.timeout = None if flag else 0.0

    sock = Recording()
    for seconds in (5, 0, 7, 0.0, None):
        set_timeout(sock, seconds)
        assert sock.timeout == seconds
        set_timeout(pair[0], seconds)
        assert pair[0].gettimeout() == seconds
    assert calls == [5, False, True, 7, False, True, None]


@pytest.mark.parametrize("poll", [True, False])
def test_is_ready(pair: Pair, poll: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not poll:
        monkeypatch.delattr(select, "poll", raising=False)
    ours, theirs = pair
    assert not is_ready(ours, readable=True, writable=False, seconds=0)
    assert not is_ready(ours, readable=True, writable=False, seconds=0.01)
    assert is_ready(ours, readable=True, writable=True, seconds=None)
    theirs.sendall(b"x")
    assert is_ready(ours, readable=True, writable=False, seconds=1e9)
    assert is_ready(ours, readable=True, writable=False, seconds=None)


def stepping(*errors: OSError | None) -> tuple[Callable[[], None], list[float | None], list[socket.socket]]:
    """A handshake that raises these one by one; what its socket's timeout is at each step, and the socket."""
    timeouts: list[float | None] = []
    socks: list[socket.socket] = []
    left = [*errors]

    def step() -> None:
        timeouts.append(socks[0].gettimeout())
        if error := left.pop(0):
            raise error

    return step, timeouts, socks


WANT_READ, WANT_WRITE = ssl.SSLWantReadError(), ssl.SSLWantWriteError()


@pytest.mark.parametrize("timeout", [None, 5.0, 0.0])
def test_a_handshake_in_steps(pair: Pair, timeout: float | None) -> None:
    ours, theirs = pair
    theirs.sendall(b"x")
    ours.settimeout(timeout)
    step, timeouts, socks = stepping(WANT_READ, WANT_WRITE, WANT_READ, None)
    socks.append(ours)
    make_handshake(ours, step, block=True)
    assert timeouts == [0.0] * 4
    assert ours.gettimeout() == timeout


def test_a_socket_that_does_not_wait_makes_one_step(pair: Pair) -> None:
    ours = pair[0]
    ours.setblocking(False)
    step, timeouts, socks = stepping(WANT_READ, None)
    socks.append(ours)
    with pytest.raises(ssl.SSLWantReadError):
        make_handshake(ours, step)
    make_handshake(ours, step)
    assert timeouts == [0.0] * 2


def test_an_error_of_the_handshake(pair: Pair) -> None:
    ours = pair[0]
    ours.settimeout(5)
    step, _, socks = stepping(ConnectionResetError("gone"))
    socks.append(ours)
    with pytest.raises(ConnectionResetError, match="gone"):
        make_handshake(ours, step)
    assert ours.gettimeout() == 5


@pytest.mark.parametrize("dripping", [True, False])
def test_the_time_is_for_all_steps(pair: Pair, dripping: bool) -> None:
    ours, theirs = pair
    ours.settimeout(0.2)
    if dripping:  # ready at once, each time
        theirs.sendall(b"x")

    def step() -> None:
        raise WANT_READ

    started = monotonic()
    with pytest.raises(TimeoutError, match="handshake operation timed out"):
        make_handshake(ours, step)
    assert monotonic() - started > 0.15
    assert ours.gettimeout() == 0.2


def test_a_socket_that_is_closed_meanwhile(pair: Pair) -> None:
    ours = pair[0]
    ours.settimeout(5)

    def step() -> None:
        ours.close()
        raise OSError("no TLS on this socket")

    with pytest.raises(OSError, match="no TLS on this socket"):
        make_handshake(ours, step)
    assert ours.fileno() == -1
