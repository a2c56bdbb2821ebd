"""`smtpverify pin`: a server's pins, and who vouches for them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..tls.pins import Pin
from ._options import add_relays_argument, add_trust_arguments
from ._probe import Findings, Verdict, look_at_all
from ._screen import Screen, Style
from .check import read_relays

if TYPE_CHECKING:
    import argparse

__all__ = ["configure", "run"]

_DESCRIPTION = """\
Prints the pins of a relay's certificate and of its public key, and tells, on
standard error, whether a CA vouches for them. A pin that no CA vouches for is
what somebody on the way may have shown: compare it with the server's own before
you use it.

The certificate's pin changes with the certificate, the key's with the key.
"""

_EPILOG = """\
example:
  smtpverify pin mail.example.org:587

exit status: 0 if the server is verified, 1 if not (its pins are printed, if it
showed a certificate), 2 if it could not be connected to, 64 for a usage error.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command and its arguments."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    add_relays_argument(parser, "+")
    add_trust_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the pins.

    Returns:
        0, 1 or 2, as the help says; the highest of several.

    Raises:
        CommandError: a relay or an option can't be used.
    """
    screen = Screen()
    found = look_at_all(read_relays(arguments), arguments.timeout, verbose=arguments.verbose)
    return max(_show(screen, findings, titled=len(found) > 1) for findings in found)


def _show(screen: Screen, findings: Findings, *, titled: bool) -> int:
    told = Screen(sys.stderr)
    if titled:
        screen.line(f"# {findings.relay}")
    chain = findings.chain
    if chain:
        screen.line(str(Pin.of_certificate(chain[0])))
        screen.line(str(Pin.of_spki(chain[0])))
    if findings.verdict is Verdict.VERIFIED:
        told.verdict(f"✓ verified: {findings.summary}", Style.GOOD)
        return 0
    what = "these pins are not verified" if chain else findings.verdict.value
    told.verdict(f"✗ {what}: {findings.summary}", Style.BAD)
    return 2 if findings.verdict is Verdict.UNREACHABLE else 1
