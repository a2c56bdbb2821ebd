"""Where the password of a relay comes from, when it does not stand in the URL.

In this order: the caller, an environment variable, a file, netrc, the keyring. The first two after the caller
are asked only if the URL names them, and then must have it; the last two are asked if nothing was named, and
may know of nothing.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

from ..errors import RelayURLError, printable
from ..schemes import EXTERNAL
from .secrecy import Secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from ..relay import Relay

    Password: TypeAlias = str | bytes | Callable[[], str | bytes] | "Keeper"

__all__ = ["Keeper", "find_password", "kept", "refuse_what_others_read"]

_LONGEST = 65536  # octets of a file; a token has some thousands


class Keeper:
    """Keeps a password out of sight until it is needed.

    Args:
        password: as it is, or a callable that is asked each time.
    """

    __slots__ = ("_ask",)

    def __init__(self, password: str | bytes | Callable[[], str | bytes] | Secret) -> None:
        if callable(password):
            self._ask: Callable[[], Secret] | Secret = lambda: Secret(password())
        else:
            self._ask = Secret(password)

    def ask(self) -> Secret:
        """The password, now.

        Raises:
            CommandArgumentError: it is no text.
        """
        return (self._ask if isinstance(self._ask, Secret) else self._ask()).valid()

    def checked(self) -> Keeper:
        """The keeper itself; raises as `ask`, which it does not do for a callable."""
        if isinstance(self._ask, Secret):
            self._ask.valid()
        return self


def kept(password: Password | None) -> Keeper | None:
    """Keep a password that somebody gave, if they did, and it is not kept already."""
    return password if password is None or isinstance(password, Keeper) else Keeper(password)


def find_password(relay: Relay, given: Keeper | None) -> Keeper | None:
    """Find the password of a relay's user.

    Args:
        relay: what was asked for.
        given: by the caller, or None.

    Returns:
        None where there is none to be found, or none needed.

    Raises:
        RelayURLError: there is one where no user is; it is given twice; the source that the URL names has
            none, or others can read it; netrc or the keyring can't be read.
        CommandArgumentError: it is no text.
    """
    keeper = _find(relay, given)
    return None if keeper is None else keeper.checked()


def _find(relay: Relay, given: Keeper | None) -> Keeper | None:
    if given is not None and relay.user is None:
        raise RelayURLError("user: it is missing; a password needs its user, as in tls://user@host")
    if relay.user is None or relay.auth == EXTERNAL:
        return None
    if relay.password is not None:
        if given is not None:
            raise RelayURLError("password: the URL and the password argument both give one")
        return Keeper(relay.password)
    if given is not None:
        return given
    if relay.password_env is not None and (relay.password_file is None or relay.password_env in os.environ):
        return Keeper(_from_environment(relay.password_env))
    if relay.password_file is not None:
        return Keeper(_from_file(relay.password_file))
    secret = _from_netrc(relay.host, relay.user) or _from_keyring(relay.host, relay.user)
    if secret is None and relay.meaning.auth:
        raise RelayURLError(
            f"password: {relay.scheme}:// wants one, and neither the URL nor netrc nor the keyring has it"
        )
    return None if secret is None else Keeper(secret)


def _from_environment(name: str) -> Secret:
    value = os.environ.get(name)
    if not value:
        problem = "is not set" if value is None else "is empty"
        raise RelayURLError(f"password-env: the environment variable {printable(name)} {problem}")
    return Secret(value)


def _from_file(path: str) -> Secret:
    """The content of a file without the line end behind it."""
    try:
        with open(path, "rb") as file:
            refuse_what_others_read(path, os.fstat(file.fileno()))
            content = file.read(_LONGEST + 1)
    except RelayURLError:  # an OSError too, as all of smtplib's
        raise
    except OSError as error:
        raise RelayURLError(f"password-file: {printable(path)}: {error.strerror or error}") from error
    # The editors of Windows begin a file in UTF-8 with U+FEFF, which SASLprep drops (RFC 4013 2.1).
    content = content.removeprefix(b"\xef\xbb\xbf")
    lines = content.removesuffix(b"\n").removesuffix(b"\r").splitlines()
    if len(lines) != 1 or not lines[0] or len(content) > _LONGEST:
        problem = (
            "too much" if len(content) > _LONGEST else "more than one line" if len(lines) > 1 else "nothing"
        )
        content, lines = b"", []
        raise RelayURLError(f"password-file: {printable(path)}: it holds {problem}; wanted is one line")
    return Secret(lines[0])


def refuse_what_others_read(path: str, status: os.stat_result) -> None:
    """Refuse a file of a password that others than its user can read.

    Raises:
        RelayURLError: they can.
    """
    if sys.platform == "win32":  # whose modes say nothing of who may read
        return
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise RelayURLError(f"password-file: {printable(path)}: others can read it; try chmod 600")
    if status.st_uid not in (0, os.geteuid()):
        raise RelayURLError(f"password-file: {printable(path)}: it belongs to another user")


def _from_netrc(host: str, user: str) -> Secret | None:
    """The password of just that user at just that host; `default` entries count for every host."""
    from netrc import NetrcParseError, netrc

    entry, problem = None, ""
    try:
        entry = netrc().authenticators(host)
    except FileNotFoundError:
        return None
    except OSError as error:
        problem = str(error)
    except UnicodeDecodeError:
        problem = "it is not UTF-8"
    except NetrcParseError as error:
        # Of what it stumbles over, which may be of a password, it tells the most.
        of_mode = error.msg.startswith("~/.netrc ")
        problem = (
            error.msg if of_mode else f"{error.filename} makes no sense in line {error.lineno} or before"
        )
    if problem:
        raise RelayURLError(f"netrc: it can't be used: {printable(problem)}")
    if entry is None or entry[0] != user or not entry[2]:
        return None
    return Secret(entry[2])


def _from_keyring(host: str, user: str) -> Secret | None:
    """The password that `keyring set HOST USER` has stored, where the package keyring is installed."""
    from importlib.util import find_spec

    if find_spec("keyring") is None:
        return None
    import keyring
    from keyring.errors import KeyringError, NoKeyringError

    try:
        password = keyring.get_password(host, user)
    except NoKeyringError:
        return None
    except KeyringError as error:
        raise RelayURLError(f"keyring: it can't be read: {printable(str(error))}") from error
    return Secret(password) if password else None
