"""The password of a relay's user: from where the library finds it, or else from whoever sits there."""

from __future__ import annotations

import dataclasses
import getpass
import os
import sys
from typing import TYPE_CHECKING

from ..schemes import EXTERNAL
from ..smtp.credentials import Keeper, find_password
from . import EX_USAGE, CommandError

if TYPE_CHECKING:
    from ..relay import Relay

__all__ = ["password_for"]


def password_for(relay: Relay, *, piped: bool) -> Keeper | None:
    """What `connect()` is to be given as the password.

    It is asked for late: once the server is verified.

    Args:
        relay: whose user it is.
        piped: where standard input is no terminal, its first line is the password; if it is something else
            than a password, there must be another terminal.

    Returns:
        None where the URL has it, or none is needed.

    Raises:
        RelayURLError: what the URL names has none.
        CommandError: there is none, and nobody to ask.
    """
    if relay.user is None or relay.password is not None or relay.auth == EXTERNAL:
        return None
    # With +auth a missing one would be an error; here it is asked for.
    found = find_password(dataclasses.replace(relay, scheme=relay.scheme.removesuffix("+auth")), None)
    if found is not None:
        return found
    if not piped and not _has_terminal():
        raise CommandError(
            f"there is no password for {relay.user}, and no terminal to ask at; "
            "see password-env= and password-file= of relay URLs",
            EX_USAGE,
        )
    return Keeper(lambda: _asked(relay, piped=piped and (sys.stdin is None or not sys.stdin.isatty())))


def _asked(relay: Relay, *, piped: bool) -> str:
    try:
        if piped:
            password = sys.stdin.readline().rstrip("\r\n") if sys.stdin is not None else ""
        else:
            password = getpass.getpass(f"Password of {relay.user} at {relay.host}: ")
    except EOFError:
        password = ""
    if not password:
        raise CommandError("no password was given", EX_USAGE)
    return password


def _has_terminal() -> bool:
    """Whether getpass() has somebody to ask: without a terminal it would read standard input."""
    if sys.platform == "win32":
        return sys.stderr is not None and sys.stderr.isatty()
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
