"""How long to wait for what (RFC 5321 4.5.3.2). Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Timeouts"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait, each for the whole of what it names; the defaults are RFC 5321's (4.5.3.2).

    Give it as `timeout` in the place of a number, which stands for all of them at once.

    Attributes:
        connect: for each address of the host that is tried.
        greeting: for the first reply.
        command: for a command, its reply, and a TLS handshake.
        data_start: for the reply to DATA.
        data_block: for each 16 KiB of a message to be taken; the whole of it may take as long as it does.
        data_end: for the reply to a message.

    Raises:
        ValueError: one of them is not a positive number.
    """

    connect: float = 60.0  # RFC 5321 leaves it to TCP, which may take minutes
    greeting: float = 300.0
    command: float = 300.0
    data_start: float = 120.0
    data_block: float = 180.0
    data_end: float = 600.0

    def __post_init__(self) -> None:
        for field in fields(self):
            seconds = getattr(self, field.name)
            if not isinstance(seconds, (int, float)) or not 0 < seconds < float("inf"):
                raise ValueError(f"{field.name}: {seconds!r} is not a positive number of seconds")
