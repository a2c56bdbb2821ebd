"""`smtpverify trust`: the key of a server that no CA vouches for, confirmed by a person and remembered."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

from ..errors import SMTPVerifyError
from ..memory import forget, remember_keys
from ..relay import Relay
from ..tls.known_hosts import read_known_hosts
from ..tls.names import reference_identifier
from ..tls.pins import Pin, find_pin
from ..tls.trust import Trust
from . import EX_USAGE, CommandError
from ._client import Watch
from ._options import (
    add_connection_arguments,
    add_known_hosts_argument,
    add_relays_argument,
    at_a_shell,
    known_hosts_of,
)
from ._probe import Findings, Verdict, look_at
from ._screen import Screen, Style
from .check import read_relays

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from ..tls.x509 import Certificate

__all__ = ["configure", "run"]

_NAMES_SHOWN = 10
# What should be mended rather than overruled; that nobody knows the CA has no other remedy than this one.
_OTHER_CURES = (
    "WRONG_NAME",
    "COMMON_NAME_ONLY",
    "TOO_DEEP_FOR_WILDCARD",
    "ADDRESS_NOT_IN_CERTIFICATE",
    "MISSING_INTERMEDIATE",
    "EXPIRED",
    "NOT_YET_VALID",
)

_DESCRIPTION = """\
Shows the fingerprint of a server that no CA vouches for, asks whether it is the
server's own, and remembers its key among the known hosts. From then on that key
stands in place of a CA and of the name, for this host alone, on all of its
ports; and a server with another key is refused. This is the way of SSH.

Compare the fingerprint with what the server's administrator, or its own
display, tells you: whoever sits in between shows a fingerprint too, which is
his own.

The known hosts are a file in TOML, $XDG_CONFIG_HOME/smtpverify/known_hosts, or
else ~/.config/smtpverify/known_hosts (on Windows, known_hosts in
%APPDATA%\\smtpverify). The commands use it; a program does so by
Trust(known_hosts=True), or ?known-hosts in a relay URL. Opportunistic relays
write there besides which servers have offered TLS.
"""

_EPILOG = """\
examples:
  smtpverify trust printer.example.org:465
  smtpverify trust --fingerprint 'sha256 Fingerprint=04:...' printer.example.org
  smtpverify trust --list
  smtpverify trust --forget printer.example.org

exit status: 0 if the server is known now, or verified without; 1 if it is not
to be trusted, or not by this fingerprint; 2 if it could not be connected to; 64
for a usage error, also where there is nobody to ask; 71 if the known hosts
can't be written.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command and its arguments."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    add_relays_argument(parser, "*")
    parser.add_argument(
        "--fingerprint",
        metavar="PIN",
        action="append",
        default=[],
        help="do not ask; remember the key if this is the server's fingerprint, known from elsewhere",
    )
    parser.add_argument("--add", action="store_true", help="keep the keys that the host is known by already")
    parser.add_argument("--forget", action="store_true", help="strike the hosts from the known ones")
    parser.add_argument("--list", action="store_true", help="print what is known")
    parser.add_argument("--cafile", metavar="FILE", help="trust these CA certificates in place of the usual")
    add_known_hosts_argument(parser)
    add_connection_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Trust servers, or list or forget them.

    Returns:
        0, 1 or 2, as the help says; the highest of several.

    Raises:
        CommandError: an argument can't be used, or there is nobody to ask.
    """
    screen = Screen()
    try:
        path = Trust(known_hosts=known_hosts_of(arguments)).known_hosts
        if path is None:
            raise CommandError("without known hosts there is nowhere to remember a key", EX_USAGE)
        if arguments.list:
            if arguments.forget or arguments.fingerprint or arguments.add or arguments.relays:
                raise CommandError("--list prints all that is known; nothing goes with it", EX_USAGE)
            return _list(screen, path)
        if arguments.forget and (arguments.fingerprint or arguments.add):
            raise CommandError("--forget goes neither with --fingerprint nor with --add", EX_USAGE)
        if arguments.forget:
            return max([_forget(screen, path, text) for text in _given(arguments)])
        fingerprints = tuple(Pin.parse(text) for text in arguments.fingerprint)
        trust = Trust(arguments.cafile, known_hosts=path)
    except SMTPVerifyError as error:
        raise CommandError(at_a_shell(error), EX_USAGE) from error
    watch = Watch(Screen(sys.stderr), verbose=arguments.verbose)
    asked = _Asked(path, fingerprints, arguments.timeout, watch, arguments.add)
    return max([_meet(screen, relay, asked) for relay in read_relays(arguments, trust)])


@dataclasses.dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for, of every relay."""

    path: str
    fingerprints: Sequence[Pin]
    timeout: float
    watch: Watch
    add: bool


def _given(arguments: argparse.Namespace) -> Sequence[str]:
    if not arguments.relays:
        raise CommandError("no relay was given", EX_USAGE)
    return arguments.relays  # type: ignore[no-any-return]


def _name(relay: Relay) -> str:
    return reference_identifier(relay.server_name or relay.host).text


# --- what is known -------------------------------------------------------------------------------


def _list(screen: Screen, path: str) -> int:
    known = read_known_hosts(path)
    for host, pins in known.keys.items():
        screen.line(f"{host} {' '.join(map(str, pins))}")
    for (host, port), day in known.tls.items():
        shown = f"[{host}]" if ":" in host else host
        screen.line(f"{shown}:{port} has offered TLS since {day}")
    if not known.keys and not known.tls:
        Screen(sys.stderr).line(f"nobody is known: {path}")
    return 0


def _forget(screen: Screen, path: str, text: str) -> int:
    relay = Relay.parse(text)
    host = _name(relay)
    if forget(relay.trust.known_hosts or path, host):
        screen.line(f"✓ {host} is forgotten", Style.GOOD)
        return 0
    screen.line(f"✗ {host} is not known", Style.BAD)
    return 1


# --- a server ------------------------------------------------------------------------------------


def _meet(screen: Screen, relay: Relay, asked: _Asked) -> int:
    """Look at a server, and have somebody say whether it is the right one."""
    if relay.trust.pins:
        raise CommandError(f"{relay}: the URL has a pin, which says already what is trusted", EX_USAGE)
    if not relay.mode.uses_tls:
        raise CommandError(f"{relay}: {relay.scheme}:// never uses TLS, and shows no key", EX_USAGE)
    found = look_at(relay, asked.timeout, asked.watch)
    screen.line(str(relay), Style.TITLE)
    if found.verdict is Verdict.VERIFIED:
        return _vouched_for(screen, found, asked)
    if not found.chain:
        return _nothing_to_trust(screen, found)
    leaf, pin = found.chain[0], Pin.of_spki(found.chain[0])
    # A handshake that was refused has not shown that the server has the key; and more than the chain may be
    # amiss.
    by_key = dataclasses.replace(relay.trust, roots=None, pins=(pin,), pins_only=True, known_hosts=None)
    again = look_at(dataclasses.replace(relay, trust=by_key), asked.timeout, asked.watch)
    if again.verdict is not Verdict.VERIFIED:
        return _nothing_to_trust(screen, again)
    _show(screen, found, leaf, pin)
    host = _name(relay)
    path = relay.trust.known_hosts or asked.path  # a URL may name others, which are asked for it
    known = read_known_hosts(path).keys.get(host, ())
    if known:
        _warn_of_change(screen, host, known)
    if not _confirmed(screen, host, leaf, asked, replaced=bool(known) and not asked.add):
        screen.line("✗ not trusted; nothing was stored", Style.BAD)
        return 1
    remember_keys(path, host, [pin], add=asked.add)
    screen.verdict(f"✓ {host} is known by its key now: {path}", Style.GOOD)
    return 0


def _vouched_for(screen: Screen, found: Findings, asked: _Asked) -> int:
    certificate = found.chain[0]
    if asked.fingerprints and find_pin(asked.fingerprints, certificate) is None:
        screen.verdict(
            f"✗ verified, and of another fingerprint: {Pin.of_certificate(certificate)}", Style.BAD
        )
        return 1
    by_key = found.peer is not None and found.peer.matched is None
    why = "it is known by its key" if by_key else "a CA vouches for it, and no key need be stored"
    screen.verdict(f"✓ verified: {why}", Style.GOOD)
    return 0


def _nothing_to_trust(screen: Screen, found: Findings) -> int:
    screen.verdict(f"✗ {found.verdict.value}: {found.summary}", Style.BAD)
    if found.remedy:
        screen.paragraph(f"  {found.remedy}")
    return 2 if found.verdict is Verdict.UNREACHABLE else 1


def _show(screen: Screen, found: Findings, leaf: Certificate, pin: Pin) -> None:
    # Whoever answers has chosen what is said here, and may want it to look like another's fingerprint.
    screen.item("  not verified: ", found.summary)
    if found.cause in _OTHER_CURES:
        screen.paragraph(f"  {found.remedy}")
    names = [*map(str, leaf.san[:_NAMES_SHOWN])]
    names += [f"and {len(leaf.san) - _NAMES_SHOWN} more"] * (len(leaf.san) > _NAMES_SHOWN)
    screen.item(f"    {'names':<12} ", ", ".join(names) or "none")
    screen.item(f"    {'subject':<12} ", str(leaf.subject))
    digest = Pin.of_certificate(leaf).digest
    for label, text in (
        ("valid", f"from {leaf.not_before:%Y-%m-%d} until {leaf.not_after:%Y-%m-%d}"),
        ("fingerprint", f"SHA-256 {digest[:16].hex(':').upper()}"),  # in two lines, for an eye to compare
        ("", f"        {digest[16:].hex(':').upper()}"),
        ("key", str(pin)),
    ):
        screen.line(f"    {label:<12} {text}")


def _warn_of_change(screen: Screen, host: str, known: Sequence[Pin]) -> None:
    screen.verdict(
        f"✗ {host} is known by another key: {' and '.join(map(str, known))}. Its key was changed, or "
        "somebody is between you and the server.",
        Style.BAD,
    )


def _confirmed(screen: Screen, host: str, leaf: Certificate, asked: _Asked, *, replaced: bool) -> bool:
    if asked.fingerprints:
        if find_pin(asked.fingerprints, leaf) is not None:
            return True
        screen.line("✗ this is not the fingerprint that was given", Style.BAD)
        return False
    if sys.stdin is None or not sys.stdin.isatty():
        raise CommandError("there is no terminal to ask at; give the server's own by --fingerprint", EX_USAGE)
    screen.paragraph(
        "  Compare the fingerprint with what the server's administrator or its own display tells you. On the "
        "server itself:"
    )
    screen.line("    openssl x509 -in server.pem -noout -fingerprint -sha256")
    instead = " instead of the other" if replaced else ""
    print(screen.shown(f"Is it the same, and {host} to be trusted by this key{instead}? (yes/no) "), end="")
    sys.stdout.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):  # Ctrl-D leaves the cursor behind the question
        screen.line()
    return answer.strip().lower() == "yes"
