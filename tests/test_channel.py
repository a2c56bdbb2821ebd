"""Octets to and from a socket within time, over TCP and TLS."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from smtpverify import MalformedReplyError, create_context
from smtpverify.smtp.channel import Channel, PeerClosed
from smtpverify.smtp.endpoints import prepare
from tests.bed import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bed import World

Pair = tuple[socket.socket, socket.socket]


def tcp() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname(), 5)
        theirs, _ = listener.accept()
    theirs.settimeout(10)
    return ours, theirs


@pytest.fixture(params=["tcp", "tls"])
def pair(request: pytest.FixtureRequest, world: World) -> Iterator[Pair]:
    """Our end and the peer's; neither waits longer than its timeout."""
    ours, theirs = tcp()
    if request.param == "tls":
        context = world.good().server_context()
        wrapped: list[ssl.SSLSocket] = []
        thread = threading.Thread(
            target=lambda: wrapped.append(context.wrap_socket(theirs, server_side=True))
        )
        thread.start()
        ours = create_context().wrap_socket(ours, server_hostname=HOST)
        thread.join()
        theirs = wrapped[0]
    ours.settimeout(None)
    with ours, theirs:
        yield ours, theirs


class Peer:
    """What the other end does, in a thread."""

    def __init__(self, work: Callable[[threading.Event], None]) -> None:
        self.ended = threading.Event()
        self._thread = threading.Thread(target=work, args=(self.ended,))

    def __enter__(self) -> Peer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._thread.join()


def test_replies(pair: Pair) -> None:
    ours, theirs = pair
    channel = Channel(ours)
    assert channel.unread() == b""
    theirs.sendall(b"250-one\r\n250 two\r\n251 three\r\n")
    assert channel.read(5) == (250, b"one\ntwo")
    assert channel.received_reply() == (251, b"three")
    assert channel.received_reply() is None
    theirs.sendall(b"x\r\n")
    with pytest.raises(MalformedReplyError):
        channel.read(5)


def test_an_end(pair: Pair) -> None:
    for sent, told in ((b"", ""), (b"250 que", "in the middle of a reply")):
        ours, theirs = tcp()
        with ours, theirs:
            channel = Channel(ours)
            theirs.sendall(sent)
            theirs.close()
            with pytest.raises(PeerClosed, match=f"^{told}$"):
                channel.read(5)
            assert channel.ended
    ours, theirs = pair
    theirs.close()
    channel = Channel(ours)
    while not channel.ended:
        assert channel.unread() == b""


def test_one_octet_at_a_time(pair: Pair) -> None:
    """The time is for the whole reply."""
    ours, theirs = pair

    def drip(ended: threading.Event) -> None:
        theirs.sendall(b"250 ")
        while not ended.wait(0.02):
            theirs.sendall(b"x")

    with Peer(drip), pytest.raises(TimeoutError, match=r"^timed out$"):
        Channel(ours).read(0.3)
    assert Channel(ours).own_timeout() is not None  # of the wait that failed: the connection is over


def test_a_peer_that_does_not_read(pair: Pair) -> None:
    with pytest.raises(TimeoutError, match=r"^timed out$"):
        Channel(pair[0]).write(bytes(30_000_000), 0.3)


def test_a_peer_that_reads_slowly(pair: Pair) -> None:
    """A message may take as long as it does, while it moves."""
    ours, theirs = pair
    prepare(ours)
    size, got = 20_000_000, 0

    def read(ended: threading.Event) -> None:
        nonlocal got
        while got < size and not ended.wait(0.01):
            got += sum(len(theirs.recv(16384)) for _ in range(min(16, (size - got) // 16384 or 1)))

    started = monotonic()
    with Peer(read) as peer:
        channel = Channel(ours)
        channel.write(bytes(size), 0.4)
        assert channel.written == size
        while got < size and not peer.ended.wait(0.01):
            pass
    assert got == size
    assert monotonic() - started > 0.4


def test_garbage(pair: Pair) -> None:
    """What is no TLS inside of TLS ends it, by an error of the ssl module; in plaintext it is no reply."""
    ours, theirs = pair
    channel = Channel(ours)
    socket.socket.send(theirs, b"GET / HTTP/1.1\r\n" * 10)
    with pytest.raises((ssl.SSLError, MalformedReplyError)):
        channel.read(5)


def test_two_full_buffers(pair: Pair) -> None:
    """A peer that reads no more before its replies are read (RFC 2920 3.1)."""
    ours, theirs = pair
    command, reply, count = b"x" * 90 + b"\r\n", b"250 " + b"y" * 90 + b"\r\n", 20_000

    def answer(ended: threading.Event) -> None:
        got = 0
        while got < count * len(command):
            octets = len(theirs.recv(9200))
            theirs.sendall(reply * ((got + octets) // len(command) - got // len(command)))
            got += octets

    channel = Channel(ours)
    with Peer(answer):
        # So many replies are more than what is kept unread: they are read in between.
        for _ in range(0, count, 5000):
            channel.write(command * 5000, 5)
            for _ in range(5000):
                assert channel.read(5).code == 250


def test_a_peer_that_closes_while_we_write(pair: Pair) -> None:
    ours, theirs = pair
    channel = Channel(ours)

    def refuse(ended: threading.Event) -> None:
        theirs.recv(1000)
        theirs.sendall(b"552 5.3.4 too large\r\n")
        theirs.shutdown(socket.SHUT_WR) if not isinstance(theirs, ssl.SSLSocket) else None
        ended.wait(5)
        theirs.close()

    with Peer(refuse) as peer:
        if isinstance(theirs, ssl.SSLSocket):
            with pytest.raises(TimeoutError):
                channel.write(bytes(30_000_000), 0.3)
        else:
            with pytest.raises(PeerClosed):
                channel.write(bytes(30_000_000), 5)
        assert channel.last_reply() == (552, b"5.3.4 too large")
        assert channel.last_reply() is None
        peer.ended.set()


def test_the_timeout_of_others(pair: Pair) -> None:
    """A timeout set by somebody else counts; what the channel sets for itself does not."""
    ours, theirs = pair
    channel = Channel(ours)
    assert channel.limit(300) == 300
    theirs.sendall(b"250 ok\r\n")
    channel.read(300)
    assert channel.limit(120) == 120
    channel.write(b"x", 77, alone=True)
    channel.write(bytes(9000), 77)
    assert channel.limit(120) == 120
    ours.settimeout(5)
    assert channel.limit(120) == channel.own_timeout() == 5
    theirs.sendall(b"250 ok\r\n")
    channel.read(5)
    ours.settimeout(None)
    assert channel.limit(120) == 120


def test_without_poll(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.delattr(select, "poll")
    ours, theirs = pair
    channel = Channel(ours)
    assert channel.unread() == b""
    theirs.sendall(b"250 ok\r\n")
    while not channel.unread():
        pass
    assert channel.read(5).code == 250
    with pytest.raises(TimeoutError):
        channel.write(bytes(30_000_000), 0.2)


def test_a_closed_socket(pair: Pair) -> None:
    channel = Channel(pair[0])
    pair[0].close()
    assert channel.unread() == b""
    with pytest.raises(OSError, match=r"Bad file descriptor|closed"):
        channel.write(b"x", 5)
    assert channel.last_reply() is None


def test_whatever_reads_and_writes() -> None:
    class Other:
        sent = b""

        def makefile(self, mode: str) -> Any:
            return iter([b"250-a\r\n", b"250 b\r\n", b""])

        def sendall(self, octets: bytes) -> None:
            self.sent += octets

    class File:
        def __init__(self, lines: Any) -> None:
            self._lines = lines

        def readline(self, limit: int) -> bytes:
            return next(self._lines)  # type: ignore[no-any-return]

    sock = Other()
    channel = Channel(sock, File(sock.makefile("rb")))
    assert channel.limit(7) == 7
    assert channel.read(7) == (250, b"a\nb")
    assert channel.unread() == b""
    channel.write(b"noop\r\n", 7)
    assert (sock.sent, channel.written) == (b"noop\r\n", 6)
    with pytest.raises(PeerClosed):
        channel.read(7)
