"""`smtpverify login`: log in to a relay, send nothing, and say by which mechanism."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import EX_UNAVAILABLE, EX_USAGE, CommandError
from ._screen import Screen, Style
from .check import seconds

if TYPE_CHECKING:
    import argparse

__all__ = ["configure", "run"]

_DESCRIPTION = """\
Connects to a relay, verifies the server, logs in, and says who the server is
and which mechanism it took. No mail is sent. Where the URL and what it names,
netrc and the keyring have no password, it is asked for.
"""

_EPILOG = """\
example:
  smtpverify login tls://alice@mail.example.org:587

exit status: 0, 1 if the server failed verification or refused the login, 64
for a URL that can't be used, 69 if there was no connection to be had.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command and its arguments."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("relay", metavar="URL", help="a relay URL with a user")
    parser.add_argument(
        "--timeout", type=seconds, default=30, metavar="SECONDS", help="for each step (default: 30)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Log in.

    Returns:
        The exit status: 0, or 1 where the server is not whom it should be, or refuses.

    Raises:
        CommandError: the URL can't be used, or there is no connection to be had.
    """
    import smtplib
    import sys

    from ..errors import PeerVerificationError, PlaintextCredentialsError, RelayURLError
    from ..relay import Relay
    from ..schemes import EXTERNAL
    from ._client import Client, LMTPClient, Watch
    from ._prompt import password_for
    from ._status import explained

    screen = Screen()
    try:
        relay = Relay.parse(arguments.relay)
        if relay.user is None and relay.auth != EXTERNAL:
            raise RelayURLError("user: it is missing, as in tls://alice@mail.example.org:587")
        password = password_for(relay, piped=True)
    except RelayURLError as error:
        raise CommandError(str(error), EX_USAGE) from error
    kind = LMTPClient if relay.meaning.lmtp else Client
    watch = Watch(Screen(sys.stderr), verbose=False, total=0)  # it tells of a fallback to plaintext
    try:
        with kind(watch, password=password, timeout=arguments.timeout) as smtp:
            smtp.connect(arguments.relay)
            screen.line(f"✓ {smtp.peer or f'{relay}, in plaintext'}", Style.GOOD)
            who = f" as {relay.user}" if relay.user else ""
            screen.line(f"✓ logged in{who} by {smtp.mechanism}", Style.GOOD)
    except RelayURLError as error:
        raise CommandError(str(error), EX_USAGE) from error
    except (PeerVerificationError, PlaintextCredentialsError, smtplib.SMTPAuthenticationError) as error:
        screen.paragraph(f"✗ {error}", Style.BAD)
        if isinstance(error, PeerVerificationError) and error.diagnosis is not None:
            screen.paragraph(f"  {error.diagnosis.remedy}")
        return 1
    except (smtplib.SMTPException, OSError) as error:
        raise CommandError(str(explained(error, str(relay))), EX_UNAVAILABLE) from error
    return 0
