"""Secrets, and how they do not show: in no `repr()`, log, audit event or traceback's locals. Pure.

A `Secret` is what somebody gave us, `Hidden` what goes over the wire, and `scrubbed` takes both out of what
the server says. Python can't wipe memory: whoever can read the process's has them all the same.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import CommandArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Hidden",
    "Secret",
    "begun_line",
    "hidden_command",
    "hidden_words",
    "holds_auth",
    "scrubbed",
    "shown",
    "veiled",
]

_MARK = b"***"
# Taking out less would tear holes into ordinary words, and tell by them what was meant.
_SHORTEST = 4
_BEGINNING = 64  # octets of a line, by which AUTH is known
# A line of AUTH, first or behind others, and as much of it as is no secret. Behind others there may be text,
# and a line of that may begin with the word.
_PIECE = re.compile(rb"[A-Za-z0-9+/]{8,}")  # of Base64; a word is hardly ever part of a secret's
_AUTH = re.compile(
    rb"(?:\A\s*AUTH|[\r\n][ \t]*AUTH(?=[ \t]+[\w-]{1,20}(?:[ \t]+[A-Z0-9+/=]+)?[ \t]*(?:[\r\n]|\Z)))"
    rb"(\s+\S+\s+(?=\S))?",
    re.IGNORECASE,
)


class Secret:
    """A password or token.

    Whoever is given one makes it a `Secret`, which never fails, lets go of what was given, and only then
    looks whether it is `valid`: so no error finds it among the local variables.

    Args:
        text: octets are read as UTF-8; a `Secret` stays what it is.
        what: what it is, for errors.
    """

    __slots__ = ("_octets", "_problem")

    def __init__(self, text: str | bytes | Secret, what: str = "password") -> None:
        self._octets, self._problem = b"", ""
        if isinstance(text, Secret):
            self._octets, self._problem = text._octets, text._problem
        elif not isinstance(text, (str, bytes)):
            self._problem = f"{what}: a str is wanted, not {type(text).__name__}"
        else:
            try:
                octets = text.encode("utf-8") if isinstance(text, str) else bytes(text)
                octets.decode("utf-8")
                self._octets = octets
            except UnicodeError:
                self._problem = f"{what}: it can't be written in UTF-8"

    def valid(self) -> Secret:
        """The secret itself.

        Raises:
            CommandArgumentError: it is no text.
        """
        if self._problem:
            raise CommandArgumentError(self._problem)
        return self

    @property
    def octets(self) -> bytes:
        """The secret, in UTF-8; raises as `valid`."""
        return self.valid()._octets

    @property
    def text(self) -> str:
        """The secret; raises as `valid`."""
        return self.octets.decode("utf-8")

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


class Hidden(bytes):
    """Octets for the wire of which only the beginning shows.

    Args:
        octets: what is sent.
        beginning: as much of it as is no secret.
    """

    beginning: bytes

    def __new__(cls, octets: bytes, beginning: bytes = b"") -> Hidden:  # noqa: D102
        hidden = super().__new__(cls, octets)
        hidden.beginning = beginning
        return hidden

    def __repr__(self) -> str:
        return repr(shown(self))

    __str__ = __repr__  # bytes has one of its own

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


class _Veiled(str):
    """A text as any other, but for its `repr()`, which is what tools print of local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_MARK.decode())


def veiled(host: Any) -> Any:
    """A host as it was given, which shows in no traceback if it is a URL that may hold a password."""
    if isinstance(host, bytes):
        return Hidden(host) if b"@" in host else host
    return _Veiled(host) if isinstance(host, str) and "@" in host else host


def shown(octets: bytes) -> bytes:
    """What of a command may be seen."""
    if not isinstance(octets, Hidden):
        return octets
    return octets.beginning + _MARK + (b"\r\n" if octets.endswith(b"\n") else b"")


def holds_auth(lines: bytes) -> bool:
    """Whether a command is AUTH, or one of several."""
    return _AUTH.search(lines) is not None


def begun_line(octets: bytes) -> bytes:
    """The beginning of a line that comes in pieces, by which it is known with the next one; or nothing."""
    start = max(octets.rfind(b"\n"), octets.rfind(b"\r")) + 1  # a bare CR ends a line for some servers
    return bytes(octets[start:].lstrip()[:_BEGINNING])


def hidden_command(line: bytes) -> bytes:
    """A command, whose secret is hidden if it is an AUTH that bears one (RFC 4954 4)."""
    match = _AUTH.search(line)
    return Hidden(line, bytes(line[: match.end()])) if match and match[1] else line


def hidden_words(line: bytes) -> tuple[Hidden, ...]:
    """What is hidden of a line, word by word, decoded where it is Base64."""
    if not isinstance(line, Hidden):
        return ()
    return tuple(Hidden(_decoded(word)) for word in line[len(line.beginning) :].split())


def _decoded(word: bytes) -> bytes:
    try:
        return b64decode(word, validate=True)
    except ValueError:
        return word


def scrubbed(said: bytes, secrets: Iterable[bytes]) -> bytes:
    """Take what is secret out of what a server said: some repeat the command that they refuse.

    Args:
        said: of any kind.
        secrets: in the clear; they are found in Base64 (RFC 4648 4) too where it stands for them alone.
    """
    encoded = []
    for secret in sorted(secrets, key=len, reverse=True):
        encoded.append(b64encode(secret).rstrip(b"="))
        for form in (secret, encoded[-1]):
            if len(form) >= _SHORTEST:
                said = said.replace(form, _MARK)
    # Of a long command some repeat the beginning alone, or break it into lines.
    return _PIECE.sub(lambda piece: _MARK if any(piece[0] in form for form in encoded) else piece[0], said)
