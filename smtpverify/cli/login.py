"""`smtpverify login`: log in to a relay, send nothing, and say by which mechanism."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..errors import RelayURLError, SMTPVerifyError
from ..relay import Relay
from ..schemes import EXTERNAL
from ..stdlib import smtplib
from . import EX_USAGE, CommandError
from ._client import Client, LMTPClient, Watch
from ._options import add_trust_arguments, trust_of
from ._prompt import password_for
from ._screen import Screen, Style
from ._status import explained

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

exit status: 0 if the login is taken, else as of 'smtpverify send', above all 64
for a URL that can't be used, 75 for what may pass by itself, 77 if the server
failed verification or refused the login.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command and its arguments."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("relay", metavar="URL", help="a relay URL with a user")
    add_trust_arguments(parser, timeout=30)


def run(arguments: argparse.Namespace) -> int:
    """Log in.

    Returns:
        The exit status, 0.

    Raises:
        CommandError: nobody was logged in.
    """
    try:
        trust = trust_of(arguments)
        relay = Relay.parse(arguments.relay, trust=trust)
        if relay.user is None and relay.auth != EXTERNAL:
            raise RelayURLError("user: it is missing, as in tls://alice@mail.example.org:587")
        password = password_for(relay, piped=True)
    except SMTPVerifyError as error:
        raise CommandError(str(error), EX_USAGE) from error
    kind = LMTPClient if relay.meaning.lmtp else Client
    smtp = kind(
        Watch(Screen(sys.stderr), verbose=arguments.verbose),
        trust=trust,
        password=password,
        timeout=arguments.timeout,
    )
    try:
        smtp.connect(arguments.relay)
        peer, mechanism = smtp.peer, smtp.mechanism
        smtp.quit()
    except (smtplib.SMTPException, OSError) as error:
        raise explained(error, str(relay)) from error
    finally:
        smtp.close()
    screen = Screen()
    screen.line(f"✓ {peer or f'{relay}, in plaintext'}", Style.GOOD)
    who = f" as {relay.user}" if relay.user else ""
    screen.line(f"✓ logged in{who} by {mechanism}", Style.GOOD)
    return 0
