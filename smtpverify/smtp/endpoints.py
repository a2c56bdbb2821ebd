"""What the system can tell: the port that is meant, where a socket leads, and what waits in it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from ..errors import RelayURLError, printable

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["is_local", "no_delay", "port_number", "waiting_bytes"]


def port_number(port: Any) -> int | None:
    """A port argument as smtplib takes it: a number, also in text, or a service's name; None for 0 or none.

    Raises:
        RelayURLError: there is no such port. The system's resolver would have taken 65536 for 0.
    """
    if not port:
        return None
    number = port
    if isinstance(port, str):
        try:
            number = int(port) if port.isascii() and port.isdigit() else socket.getservbyname(port, "tcp")
        except (OSError, ValueError) as error:
            raise RelayURLError(f"port: '{printable(port, 40)}' is neither a number nor a service") from error
    if not isinstance(number, int) or not 0 < number < 65536:
        raise RelayURLError(f"port: {printable(repr(port), 40)} is no number from 1 to 65535")
    return number


def no_delay(sock: Any) -> None:
    """Switch Nagle's algorithm off: it holds the EHLO behind TLS's Finished for a round trip."""
    if getattr(sock, "family", None) in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def is_local(sock: Any) -> bool:
    """Whether the peer is on this machine, by the address that the socket is connected to."""
    if getattr(sock, "family", None) == getattr(socket, "AF_UNIX", -1):
        return True
    from ipaddress import ip_address

    try:
        address = ip_address(sock.getpeername()[0].partition("%")[0])
    except (OSError, ValueError):
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def waiting_bytes(sock: Any, file: BinaryIO | None) -> bytes:
    """What has arrived and was not read, in the buffer of `file` or in the system's; waits for nothing.

    An end of file counts as nothing.
    """
    if file is None:
        return b""
    timeout = sock.gettimeout()
    sock.settimeout(0)
    try:
        # Gives what is buffered; else reads once from the system, and takes "not now" for nothing.
        return file.peek(1)  # type: ignore[attr-defined, no-any-return]
    finally:
        sock.settimeout(timeout)
