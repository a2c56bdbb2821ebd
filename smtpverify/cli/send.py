"""`smtpverify send`: a message to a relay, with the exit statuses of sendmail."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from ..errors import RelayURLError, SMTPVerifyError, printable
from ..relay import Relay
from ..smtp.timeouts import Timeouts
from ..smtp.wire import forward_path
from ..stdlib import smtplib
from . import EX_UNAVAILABLE, EX_USAGE, CommandError
from ._client import Client, LMTPClient, Watch
from ._message import Letter, Parts, composed, prepared, read
from ._options import add_trust_arguments, trust_of
from ._prompt import password_for
from ._screen import Screen
from ._status import EX_DATAERR, explained, refusal

if TYPE_CHECKING:
    import argparse

    from ..smtp.credentials import Keeper
    from ..tls.trust import Trust

__all__ = ["configure", "run"]

_DESCRIPTION = """\
Hands a message to a relay: that of FILE or of standard input, as it is, or one
made of --subject, --body and --attach. Nothing goes to a server that fails
verification. Says nothing if all goes well.

An argument with an @ and without a / (on Windows, also without a \\) is a
recipient; where there is none, the recipients are those of the headers To, Cc
and Bcc. Bcc is never sent. Date and Message-ID are added where they are
missing.

Where the URL and what it names, netrc and the keyring have no password, it is
asked for at the terminal.
"""

_EPILOG = """\
examples:
  smtpverify send tls://alice@mail.example.org:587 -f alice@example.org -t \\
      bob@example.org carol@example.org letter.eml
  df -h | smtpverify send smtps://mail.example.org -f root@example.org -t \\
      admin@example.org --subject 'Disks' --attach /etc/fstab
  smtpverify send tls://mail.example.org -ti < letter.eml

exit status: 0 if the relay took it for every recipient, 1 if for some of them
alone (the others are printed), or as in sysexits.h: 64 usage, 65 a message that
is malformed or too large, 66 no input, 67 every recipient was refused for good,
68 no such host, 69 the server does not do what is asked for, 74 an error while
reading, 75 try again later (a reply of 4xx, no connection, or one that broke:
if the message may have been delivered, that is said), 76 the server broke the
protocol, 77 it failed verification, or the login did.
"""
_LARGE = 1_000_000  # octets from which on a bar shows how far it is


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command and its arguments."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.usage = "%(prog)s [options] RELAY [-f FROM] [-t] [TO ...] [FILE]"
    parser.add_argument("relay", metavar="RELAY", help="a relay URL")
    parser.add_argument(
        "words", metavar="TO", nargs="*", default=[], help="a recipient, or FILE; - for standard input"
    )
    parser.add_argument(
        "-f", "--from", dest="sender", metavar="FROM", help="the sender; else that of the header"
    )
    parser.add_argument(
        "-t",
        action="store_true",
        help="recipients follow; or if there are none, take those of the header: what is done without it too",
    )
    parser.add_argument(
        "--to", metavar="TO", action="append", default=[], help="a recipient, also one without an @"
    )
    parser.add_argument("--subject", metavar="TEXT", help="make a message, with this subject")
    parser.add_argument("--body", metavar="TEXT", help="make a message, of this text instead of FILE's")
    parser.add_argument(
        "--attach", metavar="FILE", action="append", default=[], help="make a message, with this attachment"
    )
    parser.add_argument("-i", action="store_true", help="for scripts: a dot alone never ends the message")
    parser.add_argument("-o", metavar="OPTION", action="append", help="for scripts: sendmail's, ignored")
    add_trust_arguments(parser, timeout=None)


def run(arguments: argparse.Namespace) -> int:
    """Send the message.

    Returns:
        The exit status: 0, or 1 where some recipients were refused.

    Raises:
        CommandError: it was not sent, or nobody knows.
    """
    try:
        trust = trust_of(arguments)
        relay = Relay.parse(arguments.relay, trust=trust)
        if not relay.scheme:
            raise RelayURLError(f"scheme: it is missing; write tls://{relay} (STARTTLS) or smtps://{relay}")
        timeouts = _timeouts(arguments.timeout)
        password = password_for(relay, piped=False)
        letter = _letter(arguments)
        for address in (letter.sender, *letter.recipients):
            forward_path(address, utf8=True)
    except SMTPVerifyError as error:
        raise CommandError(str(error), EX_USAGE) from error
    screen = Screen(sys.stderr)
    drawn = len(letter.octets) > _LARGE and screen.draws and not arguments.verbose
    watch = Watch(screen, verbose=arguments.verbose, total=len(letter.octets) if drawn else 0)
    try:
        refused = _deliver(arguments.relay, relay, letter, watch, trust, timeouts, password)
    except (smtplib.SMTPException, OSError) as error:
        watch.end()
        raise explained(error, str(relay)) from error
    finally:
        watch.end()
    for recipient, reply in refused.items():
        print(f"smtpverify send: {refusal(recipient, reply)}", file=sys.stderr)
    return 1 if refused else 0


def _timeouts(seconds: float | None) -> Timeouts:
    return Timeouts() if seconds is None else Timeouts(*[seconds] * 6)


# --- the message ---------------------------------------------------------------------------------


def _letter(arguments: argparse.Namespace) -> Letter:
    recipients = [*arguments.to, *(word for word in arguments.words if _is_address(word))]
    files = [word for word in arguments.words if not _is_address(word)]
    for address in (arguments.sender or "", *recipients):
        if not address.isprintable():  # octets that are no UTF-8 too
            raise CommandError(f"no address: {printable(address)}", EX_USAGE)
    if len(files) > 1:
        told = ", ".join(map(printable, files))
        raise CommandError(f"several files, or recipients without an @ (see --to): {told}", EX_USAGE)
    path = files[0] if files else None
    if arguments.subject is None and arguments.body is None and not arguments.attach:
        return prepared(_read(path), arguments.sender, recipients)
    if not arguments.sender:
        raise CommandError("a message that is made needs a sender: -f FROM", EX_USAGE)
    if not recipients:
        raise CommandError(
            "a message that is made needs a recipient; one without an @ is --to NAME", EX_USAGE
        )
    if arguments.body is not None and path is not None:
        raise CommandError(f"the text is given twice, by --body and in {printable(path)}", EX_USAGE)
    try:
        text = _read(path).decode("utf-8") if arguments.body is None else arguments.body
    except UnicodeDecodeError as error:
        raise CommandError(f"the text is not in UTF-8: {error}", EX_DATAERR) from error
    made = composed(Parts(arguments.subject, text, arguments.attach), arguments.sender, recipients)
    return prepared(made, arguments.sender, recipients)


def _is_address(word: str) -> bool:
    return "@" in word and "/" not in word and os.sep not in word


def _read(path: str | None) -> bytes:
    return read(path, sys.stdin.buffer if sys.stdin is not None else None)


# --- the delivery --------------------------------------------------------------------------------


def _deliver(
    url: str,
    relay: Relay,
    letter: Letter,
    watch: Watch,
    trust: Trust,
    timeouts: Timeouts,
    password: Keeper | None,
) -> dict[str, tuple[int, bytes]]:
    kind = LMTPClient if relay.meaning.lmtp else Client
    client = kind(watch, timeout=timeouts, trust=trust, password=password)
    try:
        client.connect(url)
        client.ehlo_or_helo_if_needed()
        refused = client.sendmail(letter.sender, letter.recipients, letter.octets, _options(client, letter))
    except (smtplib.SMTPException, OSError, CommandError):
        with contextlib.suppress(smtplib.SMTPException, OSError):  # the failure says more
            client.quit()
        raise
    else:
        client.quit()
        return refused
    finally:
        client.close()


def _options(client: Client, letter: Letter) -> list[str]:
    """Of MAIL: what the octets need, as far as the server knows of it."""
    addresses = (letter.sender, *letter.recipients)
    local_parts = [address.rpartition("@")[0] if "@" in address else address for address in addresses]
    utf8 = client.has_extn("smtputf8")
    if not utf8 and not all(map(str.isascii, local_parts)):
        raise CommandError(
            "an address is not in ASCII, and the server can't take it (SMTPUTF8, RFC 6531)", EX_UNAVAILABLE
        )
    options = []
    if utf8 and (letter.utf8 or not all(map(str.isascii, addresses))):
        options.append("SMTPUTF8")
    if not letter.octets.isascii() and client.has_extn("8bitmime"):
        options.append("BODY=8BITMIME")  # RFC 6152; else it goes as it is, as sendmail does
    return options
