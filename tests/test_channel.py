"""Octets to and from a socket within time, over TCP and TLS."""

from __future__ import annotations

import io
import select
import socket
import ssl
import struct
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from smtpverify import MalformedReplyError, create_context
from smtpverify.smtp.channel import Channel, PeerClosed, _seconds
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

    with Peer(drip), pytest.raises(TimeoutError, match=r"^the server did not answer within 0.3 seconds$"):
        Channel(ours).read(0.3)
    assert Channel(ours).own_timeout() is not None  # of the wait that failed: the connection is over


@pytest.mark.parametrize(("limit", "told"), [(1, "1 second"), (1.5, "1.5 seconds"), (300, "300 seconds")])
def test_how_long_was_waited(limit: float, told: str) -> None:
    assert _seconds(limit) == told


def test_a_record_that_does_not_end(pair: Pair) -> None:
    """Nor does it help to be silent within a TLS record, or never to begin one."""
    ours, theirs = pair
    channel = Channel(ours)
    if isinstance(theirs, ssl.SSLSocket):
        socket.socket.send(theirs, b"\x17\x03\x03\x00\x40half of it")
    assert channel.unread() == b""
    started = monotonic()
    with pytest.raises(TimeoutError, match=r"^the server did not answer within 0.2 seconds$"):
        channel.read(0.2)
    assert 0.15 < monotonic() - started < 5
    with pytest.raises(TimeoutError, match=r"^the server did not answer within 0 seconds$"):
        channel.read(0)
    assert not channel.ended


def test_a_wait_in_steps(pair: Pair) -> None:
    """The limit counts, and not the shorter timeout that the socket happens to have."""
    ours, theirs = pair
    channel = Channel(ours)
    ours.settimeout(0.05)

    def late(ended: threading.Event) -> None:
        ended.wait(0.3)
        theirs.sendall(b"250 late\r\n")

    with Peer(late) as peer:
        assert channel.read(10) == (250, b"late")
        assert not peer.ended.is_set()
    assert channel.own_timeout() == 0.05


class Counting(socket.socket):
    """A socket of another library, which might count its timeout anew for each packet."""

    calls = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        self.calls += 1
        assert self.gettimeout() == 0, "it waits by itself"
        return super().recv(size, flags)


def test_a_socket_of_another_library() -> None:
    """It is waited for, and is not asked again and again; the limit is for the whole reply."""
    plain, theirs = tcp()
    with theirs, Counting(plain.family, plain.type, plain.proto, plain.detach()) as ours:
        ours.settimeout(5)
        channel = Channel(ours)
        assert channel.unread() == b""

        def late(ended: threading.Event) -> None:
            ended.wait(0.2)
            theirs.sendall(b"250 late\r\n")

        ours.calls = 0
        with Peer(late):
            assert channel.read(10) == (250, b"late")
        assert ours.calls <= 3
        assert 0 < (ours.gettimeout() or 0) <= 10
        theirs.sendall(b"250 ")
        with pytest.raises(TimeoutError, match=r"^the server did not answer within 0.2 seconds$"):
            channel.read(0.2)
        assert ours.calls <= 8
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        with pytest.raises(ConnectionResetError):
            channel.read(5)


def test_what_another_has_left_of_it(pair: Pair) -> None:
    """A TLS record that was read in part is in no system's buffer."""
    ours, theirs = pair
    theirs.sendall(b"x250 o")
    assert ours.recv(1) == b"x"
    channel = Channel(ours)
    assert channel.unread() == channel.buffered() == b"250 o"
    theirs.sendall(b"k\r\n250-more")
    assert channel.read(5) == (250, b"ok")
    while channel.unread() != b"250-more":
        pass
    assert channel.buffered() == b"250-more"
    assert not channel.ended


def test_a_peer_that_does_not_read(pair: Pair) -> None:
    channel = Channel(pair[0])
    with pytest.raises(TimeoutError, match=r"^the server took nothing for 0.3 seconds$"):
        channel.write(bytes(30_000_000), 0.3)
    assert 0 < channel.written < 30_000_000


def test_a_limit_of_years(pair: Pair) -> None:
    """Who wants to wait for ever may; poll() counts milliseconds, and not many."""
    ours, theirs = pair
    size = 8_000_000

    def read(ended: threading.Event) -> None:
        ended.wait(0.1)
        got = 0
        while got < size:
            got += len(theirs.recv(1_000_000))
        theirs.sendall(b"250 ok\r\n")

    channel = Channel(ours)
    with Peer(read):
        channel.write(bytes(size), 1e9)
        assert channel.read(1e9) == (250, b"ok")


def test_a_peer_that_reads_slowly(pair: Pair) -> None:
    """A message may take as long as it does, while it moves."""
    ours, theirs = pair
    prepare(ours)
    size, got = 40_000_000, 0

    def read(ended: threading.Event) -> None:
        nonlocal got
        while got < size and not ended.wait(0.01):
            got += sum(len(theirs.recv(16384)) for _ in range(min(16, (size - got) // 16384 or 1)))

    started = monotonic()
    with Peer(read) as peer:
        channel = Channel(ours)
        channel.write(bytes(size), 0.8)
        assert channel.written == size
        while got < size and not peer.ended.wait(0.01):
            pass
    assert got == size
    assert monotonic() - started > 0.8


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
        assert channel.late_replies() == [(552, b"5.3.4 too large")]
        assert channel.late_replies() == []
        peer.ended.set()


def test_a_peer_that_talks_and_talks(pair: Pair) -> None:
    """It may not fill our memory: after so many octets it is not read from, until its replies are taken."""
    ours, theirs = pair
    reply, size, replied = b"250 " + b"x" * 994 + b"\r\n", 8_000_000, 0
    channel = Channel(ours)

    def answer(ended: threading.Event) -> None:
        nonlocal replied
        theirs.settimeout(0)
        rest = reply
        while rest:
            try:
                rest = rest[theirs.send(rest) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                if len(channel.buffered()) >= 1_048_576:  # it reads no more
                    break
                select.select([], [theirs], [], 1)
            if not rest:
                rest, replied = reply, replied + 1
        theirs.settimeout(10)
        got = 0
        while got < size:
            got += len(theirs.recv(1_000_000))

    with Peer(answer):
        channel.write(bytes(size), 30)
        assert channel.written == size
    assert 1_048_576 <= len(channel.buffered()) < 1_048_576 + 16384
    assert replied > 1048
    for _ in range(replied):  # as many as were sent whole
        assert channel.read(5) == (250, b"x" * 994)


def test_a_connection_that_is_reset(pair: Pair) -> None:
    ours, theirs = pair
    channel = Channel(ours)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    socket.socket.close(theirs)
    assert channel.late_replies() == []
    with pytest.raises((ConnectionError, ssl.SSLError)):
        channel.write(bytes(30_000_000), 5)


class Trickling(socket.socket):
    """Takes a hundred octets now and then."""

    calls = 0
    never = threading.Event()

    def send(self, octets: Any, flags: int = 0) -> int:
        self.calls += 1
        if self.calls % 2:
            raise BlockingIOError
        self.never.wait(0.01)
        return super().send(octets[:100], flags)


def test_a_trickle() -> None:
    """Some progress is not enough: 16 KiB are to be taken within the limit."""
    plain, theirs = tcp()
    with theirs, Trickling(plain.family, plain.type, plain.proto, plain.detach()) as ours:
        channel = Channel(ours)
        with pytest.raises(TimeoutError, match=r"^the server took nothing for 0.2 seconds$"):
            channel.write(bytes(30_000), 0.2)
        assert 100 <= channel.written < 16384


class Renegotiating(socket.socket):
    """In the middle of a message, TLS wants to read first."""

    wants = 1

    def send(self, octets: Any, flags: int = 0) -> int:
        if self.wants:
            self.wants -= 1
            raise ssl.SSLWantReadError
        return super().send(octets, flags)


@pytest.mark.parametrize("said", [b"250 ok\r\n", b""])
def test_a_write_that_must_read_first(said: bytes) -> None:
    plain, theirs = tcp()
    with theirs, Renegotiating(plain.family, plain.type, plain.proto, plain.detach()) as ours:
        channel = Channel(ours)
        theirs.sendall(said)
        if said:
            channel.write(b"noop\r\n", 5)
            assert theirs.recv(100) == b"noop\r\n"
            assert channel.read(5) == (250, b"ok")
        else:
            with pytest.raises(TimeoutError, match=r"^the server took nothing for 0.1 seconds$"):
                channel.write(b"noop\r\n", 0.1)


def test_little_and_alone(pair: Pair) -> None:
    """What is little goes in one call, and nothing of the socket is changed for it."""
    ours, theirs = pair
    channel = Channel(ours)
    channel.write(b"noop\r\n", 7, alone=True)
    assert ours.gettimeout() == 7
    channel.write(b"rset\r\n", 9, alone=True)
    assert ours.gettimeout() == 7
    channel.write(b"x" * 4096, 9, alone=True)
    assert ours.gettimeout() == 7
    channel.write(b"x" * 4097, 9, alone=True)
    assert ours.gettimeout() == 0
    channel.write(b"noop\r\n", 9, alone=True)
    assert ours.gettimeout() == 9
    channel.write(b"noop\r\n", 9)
    assert ours.gettimeout() == 0
    assert channel.written == 6 + 6 + 4096 + 4097 + 6 + 6
    theirs.settimeout(5)
    got = 0
    while got < channel.written:
        got += len(theirs.recv(65536))
    assert got == channel.written


def test_last_words(pair: Pair) -> None:
    ours, theirs = pair
    channel = Channel(ours)
    assert channel.late_replies() == []
    theirs.sendall(b"250 ok\r\n421-4.3.2 going\r\n421 down\r\n")
    theirs.close()
    last = []
    while not channel.ended:
        last += channel.late_replies()
    assert last == [(250, b"ok"), (421, b"4.3.2 going\ndown")]


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
    # Whatever is done next, it is seen.
    ours.settimeout(6)
    channel.write(bytes(9000), 77)
    assert channel.own_timeout() == 6
    ours.settimeout(7)
    theirs.sendall(b"250 ok\r\n")
    channel.read(77)
    assert channel.own_timeout() == 7
    ours.settimeout(8)
    theirs.sendall(b"250 ok\r\n")
    while not channel.unread():
        pass
    assert channel.own_timeout() == 8


def test_without_poll(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.delattr(select, "poll", raising=False)
    ours, theirs = pair
    channel = Channel(ours)
    assert channel.unread() == b""
    theirs.sendall(b"250 ok\r\n")
    while not channel.unread():
        pass
    assert channel.read(5).code == 250
    with pytest.raises(TimeoutError, match=r"^the server took nothing for 0.2 seconds$"):
        channel.write(bytes(30_000_000), 0.2)


def test_two_full_buffers_without_poll(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "poll", raising=False)
    test_two_full_buffers(pair)


def test_a_socket_with_no_more_than_two_methods() -> None:
    """As a proxy's; it is read by the line, no further than a line may go."""
    limits: list[int] = []

    class File:
        def __init__(self, octets: bytes) -> None:
            self._file = io.BytesIO(octets)

        def readline(self, limit: int) -> bytes:
            limits.append(limit)
            return self._file.readline(limit)

    class Foreign:
        def makefile(self, mode: str) -> File:
            assert mode == "rb"
            return File(b"250 ok\r\n250-more\r\n")

    channel = Channel(Foreign())
    assert channel.read(7) == (250, b"ok")
    assert channel.received_reply() is None
    with pytest.raises(PeerClosed, match=r"^in the middle of a reply$"):
        channel.read(7)
    assert channel.ended
    assert channel.buffered() == channel.unread() == b"250-more\n"
    assert set(limits) == {2001}


def test_a_closed_socket(pair: Pair) -> None:
    channel = Channel(pair[0])
    pair[0].close()
    assert channel.unread() == b""
    with pytest.raises(OSError, match=r"Bad file descriptor|closed"):
        channel.write(b"x", 5)
    assert channel.late_replies() == []


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
