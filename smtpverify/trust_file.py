"""A trust file: one line for each host, with what is believed of its server.

    mail.example.org  cafile=our-ca.pem  pin=sha256:0433…
    printer.example.org  pin-only=spki-sha256:cdpL…

The keys are those of a relay URL's query. Whatever is not understood is an error that names its line.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from .errors import PinFormatError, ReferenceIdentifierError, TrustError, printable
from .tls.names import host_key
from .tls.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .tls.trust import StrPath

__all__ = ["read_trust_file"]

_KEYS = ("cafile", "pin", "pin-only", "client-cert", "client-key")
_REPEATED = ("pin", "pin-only")
_WORD = re.compile(r'(?:[^\s"]|"[^"]*")+')


def read_trust_file(path: StrPath) -> dict[str, Trust]:
    """Read a trust file.

    Args:
        path: of the file, in UTF-8. Paths in it are relative to its directory.

    Returns:
        Host (the reference identifier's text) -> trust.

    Raises:
        TrustError: the file can't be read; or a line of it is no such line, or can't be used, and is named.
    """
    shown = printable(os.fspath(path))
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().split("\n")
    except OSError as error:
        raise TrustError(f"trust file: {shown}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TrustError(f"trust file: {shown}: it is not UTF-8") from error
    directory = os.path.dirname(os.path.abspath(path))
    trusts: dict[str, Trust] = {}
    for number, line in enumerate(lines, 1):
        try:
            words = _words(line)
            if words:
                host = host_key(words[0])
                if host in trusts:
                    raise TrustError(f"{printable(words[0])} has a line already")
                trusts[host] = _trust(words[1:], directory)
        except (PinFormatError, ReferenceIdentifierError, TrustError) as error:
            raise TrustError(f"trust file: {shown}:{number}: {error}") from error
    return trusts


def _words(line: str) -> list[str]:
    """The line's words, in which "…" keeps spaces together, up to one that begins with #."""
    words: list[str] = []
    at = 0
    line = line.strip()
    while at < len(line) and line[at] != "#":
        found = _WORD.match(line, at)
        if found is None:
            raise TrustError("a quotation mark is missing")
        words.append(found[0].replace('"', ""))
        at = found.end()
        if line[at : at + 1] == '"':
            raise TrustError("a quotation mark is missing")
        at = len(line) - len(line[at:].lstrip())
    return words


def _trust(settings: Iterable[str], directory: str) -> Trust:
    said: dict[str, list[str]] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if key not in _KEYS:
            raise TrustError(f"the key '{printable(key)}' is unknown; known are {', '.join(_KEYS)}")
        if not equals or not value:
            raise TrustError(f"{key}: it has no value, as in {key}=…")
        if key in said and key not in _REPEATED:
            raise TrustError(f"{key}: it is given twice")
        said.setdefault(key, []).append(value)
    if "pin" in said and "pin-only" in said:
        raise TrustError("pin-only: it stands in place of the chain, and pin beside it; give one of them")
    if "pin-only" in said and "cafile" in said:
        raise TrustError("pin-only: it stands in place of the chain, for which cafile would be")

    def file(key: str) -> str | None:
        return os.path.join(directory, said[key][0]) if key in said else None

    return Trust(
        file("cafile"),
        pins=said.get("pin", []) + said.get("pin-only", []),
        pins_only="pin-only" in said,
        client_cert=file("client-cert"),
        client_key=file("client-key"),
    )
