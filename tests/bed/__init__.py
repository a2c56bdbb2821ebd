"""The test bed: certificates of every kind, and a mail server that misbehaves as it is told."""

from __future__ import annotations

from tests.bed.behaviour import (
    Behaviour,
    Connection,
    Credential,
    End,
    Greeting,
    Handshake,
    Message,
    Pieces,
    Protocol,
    Sni,
    Starttls,
    Tls,
)
from tests.bed.certs import Authority, Issued, self_signed
from tests.bed.kinds import BAD, GOOD, HOST, KINDS, World, host_of
from tests.bed.network import OutsideNetwork, Resolver
from tests.bed.server import BedError, Server, closed_port, silent_port

__all__ = [
    "BAD",
    "GOOD",
    "HOST",
    "KINDS",
    "Authority",
    "BedError",
    "Behaviour",
    "Connection",
    "Credential",
    "End",
    "Greeting",
    "Handshake",
    "Issued",
    "Message",
    "OutsideNetwork",
    "Pieces",
    "Protocol",
    "Resolver",
    "Server",
    "Sni",
    "Starttls",
    "Tls",
    "World",
    "closed_port",
    "host_of",
    "self_signed",
    "silent_port",
]
