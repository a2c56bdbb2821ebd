"""A resolver of the tests' own, and no way out of loopback."""

from __future__ import annotations

import functools
import ipaddress
import socket
import sys
from typing import Any

LOOPBACK = "127.0.0.1"
OWN_DOMAINS = (".example.org", ".example.net", ".test")
LEAVING = ("socket.connect", "socket.sendto", "socket.sendmsg")
ASKING = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")

Addresses = str | tuple[str, ...] | None


class OutsideNetwork(AssertionError):
    """A test tried to leave loopback. No OSError, or a caller that falls back would hide it."""


def _is_loopback(host: object) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _needs_no_resolver(host: str | bytes | None) -> bool:
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else host or ""
    # inet_aton's odd forms as well ("010.0.0.1"): the C library reads them as addresses.
    return ":" in text or text.replace(".", "").isdigit() or text in ("", "localhost")


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    if event in LEAVING:
        sock, address = arguments
        inet = sock.family in (socket.AF_INET, socket.AF_INET6) and address is not None
        if inet and not _is_loopback(address[0]):
            raise OutsideNetwork(f"{event} to {address!r}")
    elif event in ASKING and not _needs_no_resolver(arguments[0]):
        raise OutsideNetwork(f"{event} of {arguments[0]!r}")


@functools.cache
def stay_on_loopback() -> None:
    """Make it an error to leave loopback or to ask the system's resolver, for the rest of the process."""
    sys.addaudithook(_guard)


class Resolver(dict[str, Addresses]):
    """Maps a host (A-labels, lower case, no trailing dot) to its address or addresses, or to None.

    None stands for a host that does not exist, as does an absent entry; but names under example.org,
    example.net and test are at 127.0.0.1 unless an entry says otherwise.
    """

    def __init__(self) -> None:
        super().__init__(localhost=LOOPBACK)
        self.asked: list[str] = []  # the names, as the caller spelt them
        self._real = socket.getaddrinfo

    def addresses(self, host: str | bytes) -> tuple[str, ...]:
        """Return the addresses of a host; none if there is no such host."""
        spelt = host.decode("ascii") if isinstance(host, bytes) else host
        self.asked.append(spelt)
        # What the real one does with a U-label; smtpverify should have come with A-labels.
        name = spelt if spelt.isascii() else spelt.encode("idna").decode("ascii")
        name = name.lower().removesuffix(".")
        found = self.get(name, LOOPBACK if f".{name}".endswith(OWN_DOMAINS) else None)
        return (found,) if isinstance(found, str) else found or ()

    def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Do what socket.getaddrinfo does, without asking anybody."""
        if host not in ("localhost", b"localhost") and _needs_no_resolver(host):
            return self._real(host, port, family, type, proto, flags)
        found = [
            entry
            for address in self.addresses(host or "")
            if family in (0, socket.AF_INET6 if ":" in address else socket.AF_INET)
            for entry in self._real(address, port, family, type, proto, flags)
        ]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found
