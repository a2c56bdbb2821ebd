"""The known hosts: keys by which servers prove who they are where no CA does, and who has offered TLS.

    [keys]
    "printer.example.org" = ["spki-sha256:cdpL…"]

    [tls]
    "mx.example.net:25" = 2026-11-21

That is TOML, of which just this much is understood: two tables, a host a line, comments. (Python 3.10 reads
no TOML, and none writes it.) Whatever is something else is an error that names its line.
"""

from __future__ import annotations

import datetime
import os
import re
import stat
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from time import sleep
from typing import TYPE_CHECKING

from ..errors import PinFormatError, ReferenceIdentifierError, TrustError, printable
from ..paths import configuration_directory
from .names import host_key, split_host_port
from .pins import Pin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    T = TypeVar("T")

__all__ = [
    "HEADING",
    "Entry",
    "KnownHosts",
    "check",
    "entries",
    "parse_known_hosts",
    "read_known_hosts",
    "retried_on_windows",
    "text_of",
    "user_known_hosts",
]

HEADING = """\
# Mail servers that smtpverify knows. 'smtpverify trust --help' tells more; lines may be taken out by hand.

[keys] # by which a server proves who it is, where no CA vouches for it

[tls] # since when TLS is known to be on offer; opportunistic relays go there in plaintext no more
"""

_LARGEST = 4_000_000  # octets: some forty thousand hosts
_TABLES = ("keys", "tls")
_PATIENCE = 1.0  # seconds
_AGAIN = 0.01

_STRING = r'"[^"\\\x00-\x08\x0a-\x1f\x7f]*"'  # TOML's basic string, without escapes
_HEADER = re.compile(r"\[[ \t]*([A-Za-z0-9_-]+)[ \t]*\][ \t]*(?:#.*)?")
_LINE = re.compile(
    rf"(?P<host>{_STRING}|[A-Za-z0-9_-]+)[ \t]*=[ \t]*"
    # No two runs of spaces stand side by side: to try how to divide them takes quadratic time.
    rf"(?:(?P<one>{_STRING})|\[[ \t]*(?P<many>(?:{_STRING}[ \t]*(?:,[ \t]*|(?=\])))*)\]"
    r"|(?P<day>[0-9-]+))"
    r"[ \t]*(?:#.*)?"
)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")  # what stands in no TOML


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """What is known of servers.

    Attributes:
        keys: host (a reference identifier's text) -> pins, of which its certificate must bear one, in place
            of chain and name.
        tls: host and port -> the day from which on TLS is known to be offered there.
    """

    keys: dict[str, tuple[Pin, ...]] = field(default_factory=dict)
    tls: dict[tuple[str, int], datetime.date] = field(default_factory=dict)


def user_known_hosts() -> str | None:
    """The path of the user's own file, in the configuration directory; None where the user has no home."""
    directory = configuration_directory()
    return None if directory is None else os.path.join(directory, "smtpverify", "known_hosts")


def read_known_hosts(path: str) -> KnownHosts:
    """Read a file, again only where it has changed; nobody is known where there is none.

    Raises:
        TrustError: it can't be read, is not only its owner's to write, or a line makes no sense.
    """
    try:
        state = os.stat(path)
    except FileNotFoundError:
        return KnownHosts()
    except OSError as error:
        raise _unusable(path, error.strerror) from error
    return _read(path, (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns))


@lru_cache(maxsize=16)
def _read(path: str, state: object) -> KnownHosts:
    return parse_known_hosts(text_of(path), path)


def text_of(path: str) -> str:
    """The text of a file; `HEADING` where there is none.

    Raises:
        TrustError: it can't be read, or is not only its owner's to write.
    """
    try:
        with open(path, "rb", opener=_open) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _unusable(path, "it is no file")
            _refuse_what_others_write(path, status)
            octets = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return HEADING
    except TrustError:  # an OSError too, as all of smtplib's
        raise
    except OSError as error:
        raise _unusable(path, error.strerror) from error
    _refuse_too_large(path, octets)
    try:
        return octets.decode("utf-8-sig")  # the editors of Windows begin with a mark, which no TOML has
    except UnicodeDecodeError as error:
        raise _unusable(path, "it is not UTF-8") from error


def _open(path: str, flags: int) -> int:
    # Without waiting for somebody at the other end of what is no file at all.
    flags |= getattr(os, "O_NONBLOCK", 0)
    # Windows refuses for the moment in which another process puts a new file in its place.
    return retried_on_windows(lambda: os.open(path, flags), _PATIENCE)


def retried_on_windows(act: Callable[[], T], seconds: float) -> T:
    """Do what Windows refuses while another process has the file open; try again for some seconds.

    They are counted by the pauses, since tests may stop the clock.
    """
    for _ in range(round(seconds / _AGAIN) if sys.platform == "win32" else 0):
        try:
            return act()
        except PermissionError:
            sleep(_AGAIN)
    return act()


def _refuse_what_others_write(path: str, status: os.stat_result) -> None:
    # Whoever writes to it decides whom we believe.
    if sys.platform == "win32":  # where modes say nothing of who may write
        return
    if stat.S_IMODE(status.st_mode) & 0o022:
        raise _unusable(path, "others can write to it; try chmod 600")
    if status.st_uid not in (0, os.geteuid()):
        raise _unusable(path, "it belongs to another user")


def _refuse_too_large(path: str, octets: bytes) -> None:
    if len(octets) > _LARGEST:
        raise _unusable(path, f"it is larger than {_LARGEST} octets")


def _unusable(path: str, problem: str | None) -> TrustError:
    return TrustError(f"known hosts: {printable(path)}: {problem}")


def check(text: str, path: str) -> None:
    """Refuse a text for a file that nobody could read; raises as `text_of` and `parse_known_hosts`."""
    _refuse_too_large(path, text.encode("utf-8"))
    for _ in entries(text, path):
        pass


def parse_known_hosts(text: str, path: str = "") -> KnownHosts:
    """Read the text of a file; `path` is its name in errors.

    Raises:
        TrustError: a line makes no sense, and is named.
    """
    known = KnownHosts()
    for entry in entries(text, path):
        if entry.pins:
            known.keys[entry.host] = entry.pins
        elif entry.port and entry.day:
            known.tls[entry.host, entry.port] = entry.day
    return known


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a file that says something.

    Attributes:
        number: of the line, from 1 on.
        table: that it is in, or begins.
        host: a reference identifier's text; "" where it begins a table.
        pins: in the table `keys`.
        port, day: in the table `tls`.
    """

    number: int
    table: str
    host: str = ""
    pins: tuple[Pin, ...] = ()
    port: int | None = None
    day: datetime.date | None = None


def entries(text: str, path: str = "") -> Iterator[Entry]:
    """The lines of a file that say something; raises as `parse_known_hosts`."""
    table = ""
    seen = set()
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if number < len(lines):  # a CR that no LF follows ends no line of TOML
            line = line.removesuffix("\r")  # noqa: PLW2901 # of CR and LF
        try:
            entry = _entry(number, table, line.strip(" \t"))
            if entry is None:
                continue
            what = entry.table, entry.host, entry.port
            if what in seen:
                raise TrustError("a line above says the same, or something else, of it")
        except (PinFormatError, ReferenceIdentifierError, TrustError) as error:
            raise TrustError(f"known hosts: {printable(path)}:{number}: {error}") from error
        seen.add(what)
        table = entry.table
        yield entry


def _entry(number: int, table: str, line: str) -> Entry | None:
    if _CONTROL.search(line):
        raise TrustError("it contains a control character")
    if not line or line.startswith("#"):
        return None
    if header := _HEADER.fullmatch(line):
        if header[1] not in _TABLES:
            raise TrustError(f"the table [{header[1]}] is unknown; known are [keys] and [tls]")
        return Entry(number, header[1])
    match = _LINE.fullmatch(line)
    if match is None:
        raise TrustError('it is no line such as "mail.example.org" = ["spki-sha256:…"]')
    host = match["host"].strip('"')
    if table == "keys":
        return Entry(number, table, host_key(host), pins=_pins(match))
    if table == "tls":
        name, port = _host_and_port(host)
        return Entry(number, table, name, port=port, day=_day(match["day"] or ""))
    raise TrustError("it stands above [keys] and [tls]")


def _pins(match: re.Match[str]) -> tuple[Pin, ...]:
    texts = re.findall(_STRING, match["one"] or match["many"] or "")
    if not texts:
        raise TrustError('a key is missing, as in ["spki-sha256:…"]')
    return tuple(Pin.parse(text.strip('"')) for text in texts)


def _host_and_port(text: str) -> tuple[str, int]:
    host, port = split_host_port(text)
    if port is None or not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise TrustError(f"{printable(text)} has no port, as in mail.example.org:25")
    return host_key(host), int(port)


def _day(text: str) -> datetime.date:
    try:
        if _DAY.fullmatch(text):
            return datetime.date.fromisoformat(text)
    except ValueError:
        pass  # told below, as for what has not even the form
    raise TrustError("a day is wanted, as in 2026-11-21")
