"""What a socket tells of itself, on real sockets wherever this machine has them."""

from __future__ import annotations

import select
import socket
import struct
import sys
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, BinaryIO, cast

import pytest

from smtpverify.smtp.endpoints import is_local, no_delay, waiting_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")

Pair = tuple[socket.socket, socket.socket]


def connected(family: int, address: str, target: str = "") -> Pair:
    """Both ends of a TCP connection, ours first; skips the test where the machine has no such address."""
    with ExitStack() as stack:
        try:
            listener = stack.enter_context(socket.socket(family))
            listener.bind((address, 0))
        except OSError:
            pytest.skip(f"no address {address} here")
        listener.listen(1)
        ours = stack.enter_context(socket.socket(family))
        ours.settimeout(10)
        ours.connect((target or address, listener.getsockname()[1]))
        theirs, _ = listener.accept()
        stack.pop_all()
    listener.close()
    return ours, theirs


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A TCP connection over loopback, our end first."""
    ours, theirs = connected(socket.AF_INET, "127.0.0.1")
    with closing(ours), closing(theirs):
        yield ours, theirs


# --- is_local ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "address", "target"),
    [
        (socket.AF_INET, "127.0.0.1", ""),
        (socket.AF_INET, "127.0.0.2", ""),
        (socket.AF_INET6, "::1", ""),
        (socket.AF_INET6, "::", "::1"),
    ],
)
def test_loopback_is_local(family: int, address: str, target: str) -> None:
    ours, theirs = connected(family, address, target)
    with closing(ours), closing(theirs):
        assert is_local(ours) is True
        assert is_local(theirs) is True


def test_a_mapped_address_is_local() -> None:
    with ExitStack() as stack:
        try:
            listener = stack.enter_context(socket.socket(socket.AF_INET6))
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(("::", 0))
        except OSError:
            pytest.skip("no IPv6 here that takes IPv4 as well")
        listener.listen(1)
        ours = stack.enter_context(socket.create_connection(("127.0.0.1", listener.getsockname()[1]), 10))
        theirs = stack.enter_context(listener.accept()[0])
        assert theirs.getpeername()[:2] == ("::ffff:127.0.0.1", ours.getsockname()[1])
        assert is_local(theirs) is True


@unix
def test_unix_socket_is_local() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with closing(ours), closing(theirs):
        assert is_local(ours) is True


class Elsewhere:
    """A socket whose peer is no neighbour: the tests have none. The name is as the system gives it."""

    def __init__(self, family: int, *name: object) -> None:
        self.family = family
        self._name = name

    def getpeername(self) -> tuple[object, ...]:
        return self._name


@pytest.mark.parametrize(
    ("family", "name"),
    [
        (socket.AF_INET, ("192.0.2.1", 25)),
        (socket.AF_INET, ("0.0.0.0", 25)),
        (socket.AF_INET, ("126.255.255.255", 25)),
        (socket.AF_INET, ("128.0.0.1", 25)),
        (socket.AF_INET, ("10.0.0.1", 25)),
        (socket.AF_INET6, ("2001:db8::1", 25, 0, 0)),
        (socket.AF_INET6, ("fe80::1%eth0", 25, 0, 2)),
        (socket.AF_INET6, ("::", 25, 0, 0)),
        (socket.AF_INET6, ("::ffff:192.0.2.1", 25, 0, 0)),
        (socket.AF_INET6, ("::7f00:1", 25, 0, 0)),  # IPv4-compatible, which nobody routes to loopback
        (socket.AF_INET, ("localhost", 25)),  # what a proxy's socket may say
        (socket.AF_INET, ("127.0.0.1.example.org", 25)),
        (socket.AF_INET, ("", 25)),
    ],
)
def test_any_other_is_not(family: int, name: tuple[object, ...]) -> None:
    assert is_local(Elsewhere(family, *name)) is False


@pytest.mark.parametrize(
    ("family", "name"),
    [
        (socket.AF_INET, ("127.255.255.254", 25)),
        (socket.AF_INET6, ("::1", 25, 0, 0)),
        (socket.AF_INET6, ("::1%lo", 25, 0, 1)),
        (socket.AF_INET6, ("::ffff:127.0.0.1", 25, 0, 0)),
    ],
)
def test_loopback_by_its_name(family: int, name: tuple[object, ...]) -> None:
    assert is_local(Elsewhere(family, *name)) is True


def test_a_socket_that_leads_nowhere_is_not(pair: Pair) -> None:
    with socket.socket(socket.AF_INET) as sock:
        assert is_local(sock) is False
    pair[0].close()
    assert is_local(pair[0]) is False


# --- no_delay ------------------------------------------------------------------------------------


def test_no_delay(pair: Pair) -> None:
    assert pair[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
    no_delay(pair[0])
    assert pair[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    assert pair[1].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0


def test_no_delay_over_ipv6() -> None:
    ours, theirs = connected(socket.AF_INET6, "::1")
    with closing(ours), closing(theirs):
        no_delay(ours)
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@unix
def test_a_unix_socket_has_no_such_option() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with closing(ours), closing(theirs):
        no_delay(ours)
        ours.sendall(b"x")
        assert theirs.recv(1) == b"x"


def test_a_socket_of_no_family_is_left_alone() -> None:
    no_delay(object())


# --- waiting_bytes -------------------------------------------------------------------------------


def arrive(pair: Pair, data: bytes) -> None:
    """Send, and wait until the system has it for us."""
    pair[1].sendall(data)
    while len(pair[0].recv(len(data), socket.MSG_PEEK)) < len(data):
        pass


@pytest.fixture
def file(pair: Pair) -> Iterator[BinaryIO]:
    """What smtplib reads replies from."""
    with cast("BinaryIO", pair[0].makefile("rb")) as reader:
        yield reader


def test_before_anything_was_read(pair: Pair) -> None:
    arrive(pair, b"220 hello\r\n")
    assert waiting_bytes(pair[0], None) == b""


@pytest.mark.parametrize("timeout", [None, 10.0, 0.0])
def test_nothing_waits(pair: Pair, file: BinaryIO, timeout: float | None) -> None:
    pair[0].settimeout(timeout)
    assert waiting_bytes(pair[0], file) == b""
    assert pair[0].gettimeout() == timeout
    pair[0].settimeout(10)
    arrive(pair, b"220 hello\r\n")
    assert file.readline() == b"220 hello\r\n"  # the reader is as it was
    assert waiting_bytes(pair[0], file) == b""


@pytest.mark.parametrize("data", [b"\r", b"250 fragment", b"250-injected\r\n250 AUTH PLAIN\r\n", bytes(8192)])
def test_waiting_in_the_system(pair: Pair, file: BinaryIO, data: bytes) -> None:
    arrive(pair, data)
    assert waiting_bytes(pair[0], file) == data
    assert pair[0].gettimeout() == 10
    assert waiting_bytes(pair[0], file) == data  # it is not taken away
    assert file.read(len(data)) == data


@pytest.mark.parametrize("rest", [b"x", b"250 fragment", b"250-injected\r\n250 AUTH PLAIN\r\n"])
def test_waiting_in_the_buffer(pair: Pair, file: BinaryIO, rest: bytes) -> None:
    arrive(pair, b"220 ready\r\n" + rest)
    assert file.readline() == b"220 ready\r\n"
    assert waiting_bytes(pair[0], file) == rest
    arrive(pair, b"more")
    assert waiting_bytes(pair[0], file).startswith(rest)


def test_the_end_of_file_counts_as_nothing(pair: Pair, file: BinaryIO) -> None:
    pair[1].shutdown(socket.SHUT_WR)
    assert pair[0].recv(1, socket.MSG_PEEK) == b""  # it has arrived
    assert waiting_bytes(pair[0], file) == b""
    assert file.readline() == b""


def test_what_came_before_the_end_of_file(pair: Pair, file: BinaryIO) -> None:
    arrive(pair, b"bye")
    pair[1].close()
    assert waiting_bytes(pair[0], file) == b"bye"


def test_a_reset_is_told_and_the_timeout_restored(pair: Pair, file: BinaryIO) -> None:
    linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
    pair[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    pair[1].close()  # a reset
    assert select.select([pair[0]], [], [], 10)[0] == [pair[0]]
    with pytest.raises(ConnectionResetError):
        waiting_bytes(pair[0], file)
    assert pair[0].gettimeout() == 10


@unix
def test_over_a_unix_socket() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with closing(ours), closing(theirs), ours.makefile("rb") as file:
        assert waiting_bytes(ours, cast("BinaryIO", file)) == b""
        theirs.sendall(b"x")
        assert waiting_bytes(ours, cast("BinaryIO", file)) == b"x"
