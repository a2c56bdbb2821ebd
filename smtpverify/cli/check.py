"""`smtpverify check`: why a server is refused, or that it is not."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import PinFormatError, SMTPVerifyError, printable
from ..relay import Relay
from ..tls.names import IdentifierKind, reference_identifier
from ..tls.pins import Pin
from ..tls.trust import Trust, source_of_roots
from . import EX_USAGE, CommandError
from ._options import add_relays_argument, add_trust_arguments, trust_of
from ._probe import Findings, Verdict, look_at_all
from ._screen import Screen, Style, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..tls.identity import PeerIdentity
    from ..tls.names import PresentedIdentifier
    from ..tls.x509 import Certificate

__all__ = ["configure", "read_relays", "run"]

_DESCRIPTION = """\
Connects to each relay as the library does, and tells what happened at each
step, what the server showed, and whether it is verified, or else why not and
what to do. Nobody is logged in, and nothing is sent.

A host without a scheme is tried as smtps:// on port 465, and as tls:// on
others.
"""

_EPILOG = """\
examples:
  smtpverify check mail.example.org:587
  smtpverify check --all mail.example.org
  smtpverify check --json --expires-in 14 --file relays.txt

exit status: 0 if all are verified, 1 if one is refused, is in plaintext or
expires too soon, else 2 if one could not be connected to or kept silent, 64 for
a usage error. With --all one verified way to a host is enough for 0, if none is
refused.
"""
_EVERYWHERE = ("smtps://{}:465", "tls://{}:587", "tls://{}:25")  # in the order of preference (RFC 8314 3)
_READERS = {
    "mercurial": "  (Mercurial)",
    "openssl": "  (openssl x509)",
    "curl": "  (curl)",
    "msmtp": "  (msmtp)",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command and its arguments."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    add_relays_argument(parser, "*")
    parser.add_argument(
        "--file", metavar="FILE", help="read more relays from FILE, one a line; - for standard input"
    )
    parser.add_argument(
        "--all", action="store_true", help="try each way that a provider may offer, and recommend one"
    )
    parser.add_argument(
        "--expires-in", type=_days, metavar="DAYS", help="refuse a certificate with fewer days left"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_trust_arguments(parser)


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{printable(text)!r} is not a number of days")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Check the relays.

    Returns:
        0, 1 or 2, as the help says.

    Raises:
        CommandError: a relay or an option can't be used.
    """
    relays = read_relays(arguments)
    found = look_at_all(relays, arguments.timeout, verbose=arguments.verbose)
    for findings in found:
        _refuse_if_old(findings, arguments.expires_in)
    if arguments.json:
        print(json.dumps({"version": 1, "relays": [as_json(each) for each in found]}, indent=2))
    else:
        screen = Screen()
        for number, findings in enumerate(found):
            if number:
                screen.line()
            _show(screen, findings)
        if arguments.all:
            _recommend(screen, found)
    return _status([found] if not arguments.all else _by_host(found), any_will_do=arguments.all)


def read_relays(arguments: argparse.Namespace, trust: Trust | None = None) -> list[Relay]:
    """The relays of the command line.

    Args:
        arguments: the command's.
        trust: of the relays; that of the options if None.

    Raises:
        CommandError: there is none, or one can't be used.
    """
    texts = [("", text) for text in arguments.relays]
    try:
        if getattr(arguments, "file", None) is not None:
            texts += _lines(arguments.file)
        if not texts:
            raise CommandError("no relay was given", EX_USAGE)
        trust = trust or trust_of(arguments)
        return [
            relay
            for where, text in texts
            for relay in _read(where, text, trust, everywhere=getattr(arguments, "all", False))
        ]
    except SMTPVerifyError as error:
        raise CommandError(str(error), EX_USAGE) from error
    except (OSError, ValueError) as error:  # which open() raises for a path that is none
        told = getattr(error, "strerror", None) or error
        raise CommandError(f"{printable(arguments.file)}: {told}", EX_USAGE) from error


def _lines(path: str) -> list[tuple[str, str]]:
    """The lines of a file, or of standard input, but for comments; each behind its place in words."""
    if path == "-" and sys.stdin is None:
        raise CommandError("standard input is closed", EX_USAGE)
    with sys.stdin if path == "-" else open(path, encoding="utf-8-sig") as file:
        name = "standard input" if path == "-" else printable(path)
        lines = enumerate(map(str.strip, file), 1)
        return [(f"{name}:{number}: ", line) for number, line in lines if line and not line.startswith("#")]


def _read(where: str, text: str, trust: Trust, *, everywhere: bool) -> Iterable[Relay]:
    try:
        relay = Relay.parse(text, trust=trust)
    except SMTPVerifyError as error:
        raise CommandError(f"{where}{error}", EX_USAGE) from error
    if relay.path is not None or relay.meaning.lmtp:
        raise CommandError(f"{where}{relay}: LMTP is without TLS, and there is nothing to verify", EX_USAGE)
    if not relay.scheme or everywhere:
        host = f"[{relay.host}]" if ":" in relay.host else relay.host
        if everywhere:
            urls = [way.format(host) for way in _EVERYWHERE]
        else:
            port = f":{relay.port}" if relay.port else ""
            urls = [f"{'smtps' if relay.port == 465 else 'tls'}://{host}{port}"]
        others = [Relay.parse(url, trust=relay.trust) for url in urls]
        name, ignored = relay.server_name, relay.ignored_extensions
        return [replace(other, server_name=name, ignored_extensions=ignored) for other in others]
    return [relay]


def _refuse_if_old(findings: Findings, days: int | None) -> None:
    if days is None or findings.verdict is not Verdict.VERIFIED:
        return
    left = min(map(findings.days_left, findings.chain))
    if left < days:
        findings.verdict = Verdict.REFUSED
        has = f"has {counted(left, 'day')} left, fewer than {days}" if left >= 0 else "has expired"
        findings.summary = f"a certificate of the chain {has}"
        findings.remedy = "Have it renewed."
        findings.cause = "EXPIRES_SOON"


def _by_host(found: Sequence[Findings]) -> list[list[Findings]]:
    hosts: dict[str, list[Findings]] = {}
    for findings in found:
        hosts.setdefault(findings.relay.host, []).append(findings)
    return list(hosts.values())


def _status(groups: Sequence[Sequence[Findings]], *, any_will_do: bool) -> int:
    worst = 0
    for group in groups:
        verdicts = [findings.verdict for findings in group]
        refused = any(verdict in (Verdict.REFUSED, Verdict.PLAINTEXT) for verdict in verdicts)
        if any_will_do and Verdict.VERIFIED in verdicts and not refused:
            continue
        if refused:
            return 1
        if Verdict.UNREACHABLE in verdicts:
            worst = 2
    return worst


# --- how it shows --------------------------------------------------------------------------------


def _show(screen: Screen, findings: Findings) -> None:
    screen.line(str(findings.relay), Style.TITLE)
    widest = max((len(step.name) for step in findings.steps), default=0)
    for step in findings.steps:
        mark = "✓" if step.good else "✗"
        time = f"{step.seconds * 1000:.1f} ms"
        screen.line(
            f"  {mark} {step.name:<{widest}} {time:>10}  {step.detail}",
            Style.PLAIN if step.good else Style.BAD,
        )
    for label, texts in _evidence(findings):
        for number, text in enumerate(texts):
            screen.line(f"    {label if not number else '':<12} {text}")
    if findings.verdict is Verdict.VERIFIED:
        screen.verdict(f"✓ verified: {findings.summary}", Style.GOOD)
        return
    screen.verdict(f"✗ {findings.verdict.value}: {findings.summary}", Style.BAD)
    if findings.remedy:
        screen.paragraph(f"  {findings.remedy}")


def _evidence(findings: Findings) -> Iterable[tuple[str, Sequence[str]]]:
    """What the server showed, as labels and lines."""
    peer, diagnosis, chain = findings.peer, findings.diagnosis, findings.chain
    if peer is not None:
        yield (
            "names",
            [str(name) + _by_which_rule(peer, name) for name in peer.certificate.san],
        )
    elif diagnosis is not None and diagnosis.names:
        yield "names", list(diagnosis.names)
    yield (
        "chain",
        [
            f"{each.subject}, issued by {each.issuer}, "
            f"until {each.not_after:%Y-%m-%d} ({_left(findings, each)})"
            for each in chain
        ],
    )
    if chain:
        yield "trust", [_source(findings.relay)]
        yield "pins", [f"{pin}{_READERS.get(name, '')}" for name, pin in _spellings(chain[0]).items()]
    if findings.extensions:
        yield "extensions", [" ".join(name.upper() for name in findings.extensions)]
    if findings.mechanisms:
        yield "mechanisms", [" ".join(findings.mechanisms)]
    if findings.size_limit:
        yield "size limit", [f"{findings.size_limit} octets"]
    yield "hints", findings.hints


# How a presented identifier has matched (RFC 9525 6.3, 6.4).
_RULES = {
    "name": "the same name",
    "wildcard": "its wildcard stands for one label (RFC 9525 6.3)",
    "address": "the same address",
}


def _by_which_rule(peer: PeerIdentity, name: PresentedIdentifier) -> str:
    return f" (matched: {_RULES[_matched_by(peer)]})" if name == peer.matched else ""


def _matched_by(peer: PeerIdentity) -> str:
    """By which rule the peer was recognised: `name`, `wildcard`, `address`, or `pin` in their place."""
    if peer.matched is None:
        return "pin"
    if peer.matched.kind is IdentifierKind.IP:
        return "address"
    return "wildcard" if peer.matched.octets.startswith(b"*") else "name"


def _left(findings: Findings, certificate: Certificate) -> str:
    days = findings.days_left(certificate)
    return "expired" if days < 0 else f"{counted(days, 'day')} left"


def _source(relay: Relay) -> str:
    trust = relay.trust.for_host(reference_identifier(relay.server_name or relay.host))
    if trust.keys_from is not None:
        return f"the known hosts ({printable(trust.keys_from)})"
    if trust.pins_only:
        return "the pins alone"
    number = len(trust.pins)
    return source_of_roots(trust) + (f", and {counted(number, 'pin')}" if number else "")


def _spellings(leaf: Certificate) -> dict[str, str]:
    """Its pins as each program wants them; those of the public key by "spki"."""
    written = {"smtpverify": str(Pin.of_certificate(leaf)), "spki": str(Pin.of_spki(leaf))}
    for spelling in _READERS:
        for pin in (Pin.of_certificate(leaf), Pin.of_spki(leaf)):
            try:
                written[spelling] = pin.format(spelling)  # type: ignore[arg-type]
            except PinFormatError:  # it has the other kind alone
                continue
    return written


def _recommend(screen: Screen, found: Sequence[Findings]) -> None:
    for group in _by_host(found):
        best = next((each for each in group if each.verdict is Verdict.VERIFIED), None)
        screen.line()
        if best is None:
            screen.line(f"✗ {group[0].relay.host}: none of these can be used", Style.BAD)
        else:
            screen.line(f"✓ use {best.relay}", Style.GOOD)


def as_json(findings: Findings) -> dict[str, Any]:
    """What was found, in a form that stays: keys are added, and never changed, within a version."""
    peer, diagnosis, chain = findings.peer, findings.diagnosis, findings.chain
    names = (
        [str(name) for name in peer.certificate.san] if peer else list(diagnosis.names) if diagnosis else []
    )
    return {
        "relay": str(findings.relay),
        "verdict": findings.verdict.value,
        "summary": findings.summary,
        "remedy": findings.remedy,
        "cause": findings.cause,
        "address": findings.address or None,
        "steps": [
            {
                "step": step.name,
                "detail": step.detail,
                "milliseconds": round(step.seconds * 1000, 3),
                "ok": step.good,
            }
            for step in findings.steps
        ],
        "greeting": findings.greeting or None,
        "tls": {"version": peer.tls_version, "cipher": peer.cipher} if peer else None,
        "names": names,
        "matched": str(peer.matched) if peer and peer.matched else None,
        "matched_by": _matched_by(peer) if peer else None,
        "chain": [
            {
                "subject": str(each.subject),
                "issuer": str(each.issuer),
                "not_before": each.not_before.isoformat(),
                "not_after": each.not_after.isoformat(),
                "days_left": findings.days_left(each),
                "sha256": each.sha256,
            }
            for each in chain
        ],
        "trust": _source(findings.relay),
        "pins": _spellings(chain[0]) if chain else {},
        "extensions": findings.extensions,
        "mechanisms": list(findings.mechanisms),
        "size_limit": findings.size_limit,
        "hints": findings.hints,
    }
