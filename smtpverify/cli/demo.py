"""`smtpverify demo`: real mail over verified TLS, and what impostors get of it; all on this machine."""

from __future__ import annotations

import asyncio
import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from . import EX_UNAVAILABLE, CommandError, Terminated
from ._screen import Screen

if TYPE_CHECKING:
    import argparse
    from collections.abc import Coroutine

__all__ = ["configure", "run"]

_DESCRIPTION = """\
Sends a message to a mail server that it starts on this machine, over STARTTLS
and over TLS from the first byte, and shows what arrived. Then six impostors ask
for the same message: plain smtplib and smtpverify run the same code, and a
table shows which of them gave the password and the mail away.

Nothing leaves this machine, and nothing is left behind on it. Needs an extra:
pip install 'smtpverify[demo]'
"""

_EPILOG = """\
example:
  smtpverify demo

exit status: 0, or 1 if mail did not arrive as it was sent, if smtpverify gave
an impostor anything, or if smtplib, which verifies nothing, refused one.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command; it has no arguments."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG


def run(arguments: argparse.Namespace) -> int:
    """Run the demo.

    Returns:
        The exit status: 0, or 1 if anything was not as it should be.

    Raises:
        CommandError: the extra is not installed.
    """
    try:
        for module in (f"{__package__}._demo_servers", "trustme"):  # which imports aiosmtpd
            import_module(module)
    except ImportError as error:
        raise CommandError(
            f"{error}; the demo needs more than the library: pip install 'smtpverify[demo]'", EX_UNAVAILABLE
        ) from error
    from ._demo_acts import play

    playing = play(Screen())
    return asyncio.run(playing if sys.platform == "win32" else cancelled_by_signals(playing))


async def cancelled_by_signals(main: Coroutine[Any, Any, int]) -> int:
    """Run `main`, which Ctrl-C and SIGTERM cancel, and nothing else; until the event loop is closed.

    `asyncio.run()` by itself lets Ctrl-C interrupt whatever runs just then in Python 3.10, such as the
    accepting of a connection, and later does not wake up for one that comes when it is about to wait.
    """
    loop = asyncio.get_running_loop()
    ended = KeyboardInterrupt

    def cancel(kind: type[KeyboardInterrupt]) -> None:
        nonlocal ended
        ended = kind
        playing.cancel()

    playing = cast("asyncio.Task[int]", asyncio.current_task())
    loop.add_signal_handler(signal.SIGINT, cancel, KeyboardInterrupt)
    loop.add_signal_handler(signal.SIGTERM, cancel, Terminated)
    try:
        return await main
    except asyncio.CancelledError:
        raise ended from None
