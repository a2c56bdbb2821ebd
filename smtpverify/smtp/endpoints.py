"""What the system can tell: the port that is meant, and where a socket leads."""

from __future__ import annotations

import socket
import sys
from typing import Any

from ..errors import RelayURLError, printable
from ..stdlib import peer_address

__all__ = [
    "as_text",
    "connects_directly",
    "has_unix_sockets",
    "is_local",
    "leads_here",
    "port_number",
    "prepare",
    "undelivered",
]

# Their functions and sockets connect to the address that they are given, and to no proxy.
_DIRECT = frozenset({"socket", "gevent", "eventlet"})


def port_number(port: Any) -> int | None:
    """A port argument as smtplib takes it: a number, also in text, or a service's name; None for 0 or none.

    Raises:
        RelayURLError: there is no such port. The system's resolver would have taken 65536 for 0.
    """
    if not port:
        return None
    number = port
    if isinstance(port, (str, bytes)):
        port = port if isinstance(port, str) else port.decode("latin-1")
        try:
            number = int(port) if port.isascii() and port.isdigit() else socket.getservbyname(port, "tcp")
        except (OSError, ValueError) as error:
            raise RelayURLError(f"port: '{printable(port, 40)}' is neither a number nor a service") from error
    if not isinstance(number, int) or not 0 < number < 65536:
        raise RelayURLError(f"port: {printable(repr(port), 40)} is no number from 1 to 65535")
    return number


# Octets that the system queues and has not sent: so that a slow link's progress shows in steps smaller than a
# send buffer.
_UNSENT = 131072
_SO_NWRITE = 0x1024  # of Darwin's sys/socket.h; the socket module has no name for it


def prepare(sock: Any) -> None:
    """Set a TCP socket up for a conversation.

    Nagle's algorithm would hold the EHLO behind TLS's Finished for a round trip.
    """
    if getattr(sock, "family", None) in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        low_water = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        if low_water is not None:
            sock.setsockopt(socket.IPPROTO_TCP, low_water, _UNSENT)


def undelivered(sock: Any) -> int:
    """How many octets the system has taken over and not delivered; 0 where it does not tell."""
    if sys.platform == "win32":
        return 0
    try:
        if sys.platform == "darwin":  # where TIOCOUTQ is for terminals alone
            return int(sock.getsockopt(socket.SOL_SOCKET, _SO_NWRITE))
        import fcntl
        import termios

        octets = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except (AttributeError, ImportError, OSError):  # a system, or a socket, without that question
        return 0
    return int.from_bytes(octets, sys.byteorder)


def has_unix_sockets() -> bool:
    """Whether this Python can connect to a Unix socket: on Windows none can."""
    return hasattr(socket, "AF_UNIX")


def is_unix(sock: Any) -> bool:
    """Whether it is a Unix socket."""
    return getattr(sock, "family", None) == getattr(socket, "AF_UNIX", -1)


def is_system_socket(sock: Any) -> bool:
    """Whether a socket is the standard library's, or gevent's or eventlet's in its place.

    One of another library may lead to a proxy, also inside of one of eventlet's.
    """
    package = type(sock).__module__.partition(".")[0]
    return is_system_socket(getattr(sock, "fd", None)) if package == "eventlet" else package in _DIRECT


def connects_directly(connect: object) -> bool:
    """Whether a `create_connection()` is the standard library's, gevent's or eventlet's."""
    # Not by __module__, which functools.wraps() copies.
    module = getattr(connect, "__globals__", {}).get("__name__", "")
    return module.partition(".")[0] in _DIRECT


def leads_here(sock: Any, name: str, *, dialled: bool) -> bool:
    """Whether a connection's server is on this machine, so that mail and credentials stay here in plaintext.

    A socket on this machine may be that of a proxy, a tunnel or a helper, which leads to another.

    Args:
        sock: the connection's socket.
        name: the host that it is to lead to; "" where it has none.
        dialled: the socket was connected to that very host, in the standard library's way.
    """
    direct = dialled and is_system_socket(sock)
    has_name = name[:1] not in ("", "/")
    return (direct or is_loopback(name) or (is_unix(sock) and not has_name)) and is_local(sock)


def as_text(host: str | bytes) -> str:
    """A host as text: octets and text are not compared (`python -b`)."""
    return host.decode("latin-1") if isinstance(host, bytes) else host


def is_local(sock: Any) -> bool:
    """Whether the peer is on this machine, by the address that the socket is connected to."""
    if is_unix(sock):
        return True
    try:
        return _is_loopback_address(peer_address(sock)[0])
    except (AttributeError, OSError):  # no socket of the system's, or none that leads anywhere
        return False


def is_loopback(host: str | bytes) -> bool:
    """Whether a host is this machine by its very name (RFC 6761 6.3) or address."""
    text = host.decode("latin-1") if isinstance(host, bytes) else str(host)
    name = text.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost") or _is_loopback_address(name)


def _is_loopback_address(text: str) -> bool:
    from ipaddress import ip_address

    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
