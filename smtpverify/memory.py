"""What is learned of servers, written down: into the known hosts, at once and whole.

Whoever reads the file meanwhile sees it as it was or as it is, and of several who write none undoes what
another has written. Lines that are not concerned stay as they are, comments too.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import stat
import sys
import tempfile
from time import sleep
from typing import TYPE_CHECKING

from .errors import TrustError, printable
from .tls.known_hosts import Entry, check, entries, retried_on_windows, text_of
from .tls.names import host_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .tls.pins import Pin

__all__ = ["forget", "remember_keys", "remember_tls"]

_PATIENCE = 10.0  # seconds: another who writes needs milliseconds
_AGAIN = 0.01
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # that another has put there, for us to make a file where it leads


def remember_keys(path: str, host: str, pins: Sequence[Pin], *, add: bool = False) -> None:
    """Write down the keys of a host, in the place of those that it may have.

    Args:
        path: of the known hosts; they and their directory are made if need be, for their owner alone.
        host: a host name or an address, without a port.
        pins: of which its certificate must bear one.
        add: keep those that it has besides.

    Raises:
        TrustError: the file makes no sense, or can't be written; it is as it was.
    """
    name = host_key(host)

    def edit(text: str) -> str:
        # As they are now: another may have written since the caller has looked.
        before = [pin for entry in entries(text) if add and entry.host == name for pin in entry.pins]
        kept = [pin for pin in before if pin not in pins]
        shown = ", ".join(f'"{pin}"' for pin in (*kept, *pins))
        line = f'"{name}" = [{shown}]'
        return _with(text, "keys", line, lambda entry: entry.host == name)

    _change(path, edit)


def remember_tls(path: str, host: str, port: int) -> None:
    """Write down that TLS is on offer at a port of a host since today, unless that is known already.

    Raises:
        TrustError: as `remember_keys`.
    """
    name = host_key(host)
    shown = f"[{name}]" if ":" in name else name
    today = datetime.datetime.now(datetime.timezone.utc).date()
    line = f'"{shown}:{port}" = {today.isoformat()}'

    def edit(text: str) -> str:
        if any((entry.host, entry.port) == (name, port) for entry in entries(text, path)):
            return text
        return _with(text, "tls", line, lambda entry: False)

    _change(path, edit)


def forget(path: str, host: str) -> bool:
    """Strike all that is known of a host; tell whether there was anything.

    Raises:
        TrustError: as `remember_keys`.
    """
    name = host_key(host)
    struck = False

    def edit(text: str) -> str:
        nonlocal struck
        gone = {entry.number for entry in entries(text, path) if entry.host == name}
        struck = bool(gone)
        lines = enumerate(re.split(r"(?<=\n)", text), 1)  # each goes with its end
        return "".join(line for number, line in lines if number not in gone)

    _change(path, edit)
    return struck


def _with(text: str, table: str, line: str, replaces: Callable[[Entry], bool]) -> str:
    """The text with a line in a table: in the place of another, or else as the last."""
    lines = text.split("\n")
    last = None
    for entry in entries(text):
        if entry.table == table:
            last = entry.number
            if entry.host and replaces(entry):
                lines[last - 1] = line
                return "\n".join(lines)
    if last is None:
        above = text.rstrip("\n")
        return f"{above}\n\n[{table}]\n{line}\n" if above else f"[{table}]\n{line}\n"
    return "\n".join([*lines[:last], line, *lines[last:]])


# --- the file ------------------------------------------------------------------------------------


def _change(path: str, edit: Callable[[str], str]) -> None:
    path = os.path.realpath(path)  # a link to it stays one
    try:
        _make_directory(os.path.dirname(path))
        with _alone(f"{path}.lock"):
            text = text_of(path)
            check(text, path)  # what makes no sense is not for us to write anew
            changed = edit(text)
            if changed != text:
                check(changed, path)  # nor is what would stop everybody who reads it
                _replace(path, changed)
    except TrustError:  # an OSError too, as all of smtplib's
        raise
    except OSError as error:
        raise TrustError(f"known hosts: {printable(path)}: {error.strerror or error}") from error


def _make_directory(path: str) -> None:
    """Make a directory, and those above it that are missing, for their owner alone."""
    above = os.path.dirname(path)  # os.makedirs() would leave it to the umask
    if not os.path.exists(above):
        if above == path:  # the root of a drive or share of Windows
            raise TrustError(f"known hosts: {printable(path)}: there is no such drive")
        _make_directory(above)
    os.makedirs(path, mode=0o700, exist_ok=True)


def _replace(path: str, text: str) -> None:
    directory, name = os.path.split(path)
    descriptor, new = tempfile.mkstemp(prefix=f".{name}.", dir=directory)  # 0600
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            _let_the_same_read(path, file.fileno())
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _rename(new, path)
    except BaseException:  # Ctrl-C, too
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        raise


def _rename(new: str, path: str) -> None:
    """Replace the old file by the new one, which Windows refuses while another process reads the old."""
    retried_on_windows(lambda: os.replace(new, path), _PATIENCE)


def _let_the_same_read(path: str, descriptor: int) -> None:
    """Give the new file the readers of the old: root's, below /etc perhaps, is for those who send mail."""
    if sys.platform == "win32":
        return
    try:
        old = os.stat(path)
    except FileNotFoundError:
        return
    readers = stat.S_IMODE(old.st_mode) & 0o044
    try:
        os.fchown(descriptor, -1, old.st_gid)
    except PermissionError:  # no group of ours: another is not to read in its place
        readers &= 0o004
    os.fchmod(descriptor, 0o600 | readers)


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    """Hold the lock that every writer takes. Its file stays: others may be waiting for it."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o600), "rb") as file:
        waited = 0.0  # by its pauses: a clock may stand still
        while not _lock(file.fileno()):
            if waited > _PATIENCE:
                raise TrustError(f"known hosts: {printable(path)}: another process holds it")
            sleep(_AGAIN)
            waited += _AGAIN
        try:
            yield
        finally:  # to close it does not do where somebody has forked; the end of a process does
            _unlock(file.fileno())


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
