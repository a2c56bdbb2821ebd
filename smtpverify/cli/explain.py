"""`smtpverify explain`: what a relay URL means, in each dialect. Connects to nobody, and reads no secret."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..errors import RelayURLError, SMTPVerifyError, printable
from ..relay import Relay
from ..schemes import DIALECTS, EXTERNAL, OAUTH, PASSWORD, Mode
from ..smtp.attempts import Attempt, attempts
from ..smtp.credentials import refuse_what_others_read
from ..smtp.endpoints import has_unix_sockets, is_loopback
from ..tls.known_hosts import read_known_hosts
from ..tls.names import reference_identifier
from ..tls.trust import source_of_roots
from . import EX_USAGE
from ._screen import Screen, Style

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from ..schemes import Dialect
    from ..tls.names import ReferenceIdentifier

__all__ = ["configure", "explanation", "run"]

_DESCRIPTION = """\
Tells what would be done with each relay URL, in each dialect: how the server is
connected to, whether that can end in plaintext, whom it must prove to be, what
is believed, and where the password would come from. Nobody is connected to, and
no password is read or shown. Files of certificates are read, as they are when
the URL is used. The known hosts count if the URL names them (?known-hosts).
"""

_EPILOG = """\
examples:
  smtpverify explain 'tls://alice@mail.example.org:587?password-env=MAIL'
  smtpverify explain --dialect opensmtpd-6.4 smtp+tls://mail.example.org

exit status: 0, or 64 if a URL can't be used in any of the dialects.
"""
_DEFAULT: Dialect = "opensmtpd-2012"
# What a second try waits for (docs/relays.md), by its mode.
_SECOND = {
    Mode.PLAINTEXT: "if STARTTLS is not offered or refused, EHLO is refused, or the handshake breaks off",
    Mode.IMPLICIT: "if STARTTLS is not offered, or the first try breaks off or gets no greeting",
    Mode.STARTTLS: "if the first try breaks off",
}
_IMPLICIT_FIRST = "TLS from the first byte, else STARTTLS"  # ssl:// on port 465
_TRY = {"STARTTLS": "STARTTLS", "IMPLICIT": Mode.IMPLICIT.value, "PLAINTEXT": Mode.PLAINTEXT.value}
_PLAINTEXT = {
    "never": "never",
    "fallback": "possible, with a warning; not behind a certificate that failed",
    "always": "always",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command and its arguments."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("urls", metavar="URL", nargs="+", help="a relay URL")
    parser.add_argument("--dialect", choices=list(DIALECTS), help="in this dialect alone")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Explain the URLs.

    Returns:
        0, or 64 where one can't be used.
    """
    dialects: Sequence[Any] = [arguments.dialect] if arguments.dialect else list(DIALECTS)
    explained = [{dialect: explanation(url, dialect) for dialect in dialects} for url in arguments.urls]
    titles = [next((each["relay"] for each in found.values() if each["relay"]), None) for found in explained]
    if arguments.json:
        relays = [{"relay": title, "dialects": found} for title, found in zip(titles, explained, strict=True)]
        print(json.dumps({"version": 1, "relays": relays}, indent=2))
    else:
        screen = Screen()
        for number, (title, found) in enumerate(zip(titles, explained, strict=True), 1):
            if number > 1:
                screen.line()
            # What can't be read may hold a password: it has a number for a name.
            screen.line(title or f"URL {number}", Style.TITLE)
            _show(screen, found)
    return 0 if all(titles) else EX_USAGE


# --- what it means -------------------------------------------------------------------------------


def explanation(url: str, dialect: Dialect) -> dict[str, Any]:
    """What a URL means in a dialect, in a form that stays: keys are added, and never changed."""
    try:
        relay = Relay.parse(url, dialect=dialect)
        if not relay.scheme:
            raise RelayURLError(f"scheme: it is missing; write tls://{relay} (STARTTLS) or smtps://{relay}")
    except SMTPVerifyError as error:
        return {"relay": None, "error": str(error)}
    mode = relay.mode
    plaintext = "never" if mode.requires_tls else "fallback" if mode.uses_tls else "always"
    tries = attempts(mode, relay.port, relay.meaning.port or 0)
    swapped = len(tries) > 1 and tries[0].mode is Mode.IMPLICIT
    return {
        "relay": str(relay),
        "error": None,
        "protocol": "LMTP" if relay.meaning.lmtp else "SMTP",
        "mode": mode.name,
        "connection": _IMPLICIT_FIRST if swapped else mode.value,
        "tries": [_try(relay, attempt, second=number > 0) for number, attempt in enumerate(tries)],
        "plaintext": plaintext,
        "server": _server(relay) if mode.uses_tls else None,
        "trust": _trust(relay) if mode.uses_tls else None,
        "login": _login(relay),
        "ignored_extensions": sorted(relay.ignored_extensions),
        "notes": list(_notes(relay, plaintext)),
    }


def _try(relay: Relay, attempt: Attempt, *, second: bool) -> dict[str, Any]:
    return {
        "mode": attempt.mode.name,
        "host": relay.host or None,
        "port": attempt.port or None,
        "path": relay.path,
        "when": _SECOND[attempt.mode] if second else None,
    }


def _server(relay: Relay) -> dict[str, Any]:
    reference = _reference(relay)
    by_name = not relay.trust.for_host(reference).pins_only
    return {"name": reference.text, "kind": reference.kind.name, "verified": by_name}


def _reference(relay: Relay) -> ReferenceIdentifier:
    return reference_identifier(relay.server_name or relay.host)


def _trust(relay: Relay) -> dict[str, Any]:
    trust = relay.trust.for_host(_reference(relay))
    return {
        "roots": None if trust.pins_only else source_of_roots(trust),
        "pins": [str(pin) for pin in trust.pins],
        "pins_only": trust.pins_only,
        "known_hosts": _known(relay),
        "client_certificate": trust.client_cert,
        "client_key": trust.client_key or trust.client_cert,
        "minimum_version": trust.minimum_version.name,
    }


def _known(relay: Relay) -> dict[str, Any] | None:
    """What the known hosts say of the server, besides its key."""
    path = relay.trust.known_hosts
    if path is None:
        return None
    name = _reference(relay).text
    since = {str(port): str(day) for (host, port), day in read_known_hosts(path).tls.items() if host == name}
    return {"file": path, "tls_since": since}


def _login(relay: Relay) -> dict[str, Any] | None:
    if relay.auth == EXTERNAL:
        return {"user": relay.user, "mechanisms": [EXTERNAL], "password": []}
    if relay.user is None:
        return None
    mechanisms = [relay.auth] if relay.auth else list(PASSWORD)
    return {"user": relay.user, "mechanisms": mechanisms, "password": list(_sources(relay))}


def _sources(relay: Relay) -> Iterable[dict[str, Any]]:
    """Where the password would be looked for, in order (see `smtp.credentials`)."""
    variable, file = relay.password_env, relay.password_file
    if relay.password is not None:
        yield {"source": "url", "where": None, "there": True}
    elif variable is not None and (file is None or variable in os.environ):
        yield {"source": "environment", "where": variable, "there": variable in os.environ}
    elif file is not None:
        yield {"source": "file", "where": file, "there": os.path.exists(file)}
    else:
        netrc = os.path.join(os.path.expanduser("~"), ".netrc")
        yield {"source": "netrc", "where": netrc, "there": os.path.exists(netrc)}
        yield {"source": "keyring", "where": None, "there": find_spec("keyring") is not None}


def _notes(relay: Relay, plaintext: str) -> Iterable[str]:
    logs_in = relay.user is not None or relay.auth == EXTERNAL
    here = relay.path is not None or is_loopback(relay.host)
    if logs_in and plaintext != "never" and not here:
        yield "the login is refused where the connection is in plaintext: the server is on another machine"
    if relay.path is not None and not has_unix_sockets():
        yield "it can't be used on this system, which has no Unix sockets for Python; give lmtp://host:port"
    if relay.auth == EXTERNAL and relay.trust.client_cert is None:
        yield "EXTERNAL takes the identity from the client's certificate, and none is named (client-cert=)"
    if relay.mode is Mode.STARTTLS and relay.port == 465:
        yield "port 465 is for TLS from the first byte (RFC 8314): smtps://"
    if relay.mode is Mode.IMPLICIT and relay.port in (25, 587):
        yield f"port {relay.port} is for STARTTLS: {relay.strict_scheme}://"
    for source in _sources(relay) if relay.user is not None else ():
        if source["source"] == "file" and source["there"]:
            try:
                refuse_what_others_read(source["where"], os.stat(source["where"]))
            except RelayURLError as error:
                yield str(error)


# --- how it shows --------------------------------------------------------------------------------


def _show(screen: Screen, found: dict[Any, dict[str, Any]]) -> None:
    shown: list[dict[str, Any]] = []
    for dialect, meaning in found.items():
        default = ", the default" if dialect == _DEFAULT else ""
        if meaning in shown and not meaning["error"]:
            screen.line(f"  {dialect}{default}: the same")
            continue
        shown.append(meaning)
        screen.line(f"  {dialect}{default}")
        if meaning["error"]:
            # A URL of the one dialect is no mistake for being none of the other.
            if any(not other["error"] for other in found.values()):
                screen.paragraph(f"    not in this dialect: {meaning['error']}")
            else:
                screen.paragraph(f"    ✗ {meaning['error']}", Style.BAD)
            continue
        for label, texts in _lines(meaning):
            for number, text in enumerate(texts):
                screen.line(f"    {label if not number else '':<12} {printable(text, 500)}")


def _lines(meaning: dict[str, Any]) -> Iterable[tuple[str, Sequence[str]]]:
    lmtp = " (LMTP)" if meaning["protocol"] == "LMTP" else ""
    yield "connection", [meaning["connection"] + lmtp]
    yield "tries", [_of_a_try(number, each) for number, each in enumerate(meaning["tries"], 1)]
    yield "plaintext", [_PLAINTEXT[meaning["plaintext"]]]
    server, trust = meaning["server"], meaning["trust"]
    if server is None:
        yield "server", ["is not verified"]
    else:
        named = f"must prove to be {server['name']}"
        yield "server", [named if server["verified"] else "must bear the pin, whatever its name"]
        yield "roots", [trust["roots"]] if trust["roots"] else ["none: the pins stand in their place"]
        yield "pins", trust["pins"]
        yield "known hosts", list(_lines_of_known(trust["known_hosts"]))
        certificate, key = trust["client_certificate"], trust["client_key"]
        if certificate:
            yield "our own", [certificate + (f", with the key in {key}" if key != certificate else "")]
        yield "TLS", [f"{trust['minimum_version'].replace('_', '.').replace('TLSv', '')} or later"]
    yield from _lines_of_login(meaning["login"])
    if meaning["ignored_extensions"]:
        yield "ignored", [" ".join(name.upper() for name in meaning["ignored_extensions"])]
    yield "notes", meaning["notes"]


def _lines_of_known(known: dict[str, Any] | None) -> Iterable[str]:
    if known is None:
        return
    yield known["file"]
    for port, day in known["tls_since"].items():
        yield f"port {port} has offered TLS since {day}: no plaintext there any more"


def _of_a_try(number: int, attempt: dict[str, Any]) -> str:
    where = attempt["path"] or f"{attempt['host']} port {attempt['port']}"
    when = f", {attempt['when']}" if attempt["when"] else ""
    return f"{number}. {where}: {_TRY[attempt['mode']]}{when}"


def _lines_of_login(login: dict[str, Any] | None) -> Iterable[tuple[str, Sequence[str]]]:
    if login is None:
        yield "login", ["none"]
        return
    mechanisms = login["mechanisms"]
    who = login["user"] or "whom the client's certificate names"
    how = mechanisms[0] if len(mechanisms) == 1 else f"the first on offer of {', '.join(mechanisms)}"
    yield "login", [f"as {who}, by {how}"]
    if login["password"]:
        what = "token" if mechanisms[0] in OAUTH else "password"
        sources = [_of_a_source(each) for each in login["password"]]
        if login["password"][0]["source"] == "netrc":
            sources.append("else the program's own password=; the commands ask for it")
        yield what, sources


def _of_a_source(source: dict[str, Any]) -> str:
    kind, where, there = source["source"], source["where"], source["there"]
    if kind == "url":
        return "in the URL itself"
    if kind == "environment":
        return f"in the environment variable {where}, which is {'set' if there else 'not set'}"
    if kind == "keyring":
        return f"in the system's keyring; the package keyring is {'' if there else 'not '}installed"
    return f"in {where}, which is {'there' if there else 'not there'}"
