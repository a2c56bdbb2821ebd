"""What a socket tells of itself, on real sockets wherever this machine has them."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from smtpverify.smtp.endpoints import is_local, prepare

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
    if sys.platform == "win32":
        raise NotImplementedError
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


# --- prepare ------------------------------------------------------------------------------------


def test_prepare(pair: Pair) -> None:
    assert pair[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
    prepare(pair[0])
    assert pair[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    assert pair[1].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0


def test_prepare_over_ipv6() -> None:
    ours, theirs = connected(socket.AF_INET6, "::1")
    with closing(ours), closing(theirs):
        prepare(ours)
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@unix
def test_a_unix_socket_has_no_such_option() -> None:
    if sys.platform == "win32":
        raise NotImplementedError
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with closing(ours), closing(theirs):
        prepare(ours)
        ours.sendall(b"x")
        assert theirs.recv(1) == b"x"


def test_a_socket_of_no_family_is_left_alone() -> None:
    prepare(object())
