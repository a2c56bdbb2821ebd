"""The options that several commands have: whom to trust, what to show, and how long to wait."""

from __future__ import annotations

import argparse
import math
import re

from ..errors import TrustError, printable
from ..tls.known_hosts import user_known_hosts
from ..tls.trust import Trust
from . import EX_USAGE, CommandError

__all__ = [
    "add_connection_arguments",
    "add_known_hosts_argument",
    "add_relays_argument",
    "add_trust_arguments",
    "at_a_shell",
    "known_hosts_of",
    "trust_of",
]

_YEAR = 366 * 86400  # seconds


def add_relays_argument(parser: argparse.ArgumentParser, nargs: str) -> None:
    """Add the relays that are looked at; `nargs` as for argparse."""
    parser.add_argument(
        "relays", metavar="RELAY", nargs=nargs, help="a relay URL, or a host with or without a port"
    )


def add_trust_arguments(parser: argparse.ArgumentParser, *, timeout: float | None = 10) -> None:
    """Add what the commands that connect have in common.

    Args:
        parser: the command's.
        timeout: seconds for each step, where nobody says otherwise; None for RFC 5321's own.
    """
    parser.add_argument("--cafile", metavar="FILE", help="trust these CA certificates in place of the usual")
    parser.add_argument(
        "--pin", metavar="PIN", action="append", default=[], help="demand a pin too; may be repeated"
    )
    parser.add_argument(
        "--pin-only", metavar="PIN", action="append", default=[], help="demand a pin in place of CA and name"
    )
    add_known_hosts_argument(parser)
    add_connection_arguments(parser, timeout=timeout)


def add_connection_arguments(parser: argparse.ArgumentParser, *, timeout: float | None = 10) -> None:
    """Add `-v` and `--timeout`; the arguments are as for `add_trust_arguments`."""
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="show the conversation on standard error, without secrets",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=timeout,
        metavar="SECONDS",
        help=f"for each step (default: {timeout or 'those of RFC 5321'})",
    )


def add_known_hosts_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument for `known_hosts_of`."""
    parser.add_argument(
        "--known-hosts", metavar="FILE", help="those in FILE in place of your own; none for none at all"
    )


def known_hosts_of(arguments: argparse.Namespace) -> str | None:
    """The known hosts that the options ask for; else the user's own, if the user has a home."""
    given: str | None = arguments.known_hosts
    return user_known_hosts() if given is None else None if given == "none" else given


def _seconds(text: str) -> float:
    """The value of `--timeout`.

    Raises:
        argparse.ArgumentTypeError: it is no time that somebody could wait.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= _YEAR:  # the system's clocks have limits too
        raise argparse.ArgumentTypeError(
            f"{printable(text)!r} is not a positive number of seconds (a year at most)"
        )
    return number


def trust_of(arguments: argparse.Namespace) -> Trust:
    """The trust that the options ask for.

    Raises:
        CommandError: they contradict each other, or a file can't be used.
        PinFormatError: a pin can't be read.
    """
    if arguments.pin_only and (arguments.pin or arguments.cafile is not None):
        raise CommandError("--pin-only: the pin stands in the place of --cafile and --pin", EX_USAGE)
    try:
        return Trust(
            arguments.cafile,
            pins=arguments.pin_only or arguments.pin,
            pins_only=bool(arguments.pin_only),
            known_hosts=known_hosts_of(arguments),
        )
    except TrustError as error:
        raise CommandError(at_a_shell(error), EX_USAGE) from error


def at_a_shell(error: Exception) -> str:
    """What an error says, with an option for what bears another name in Python."""
    return re.sub("^roots:", "--cafile:", str(error))
