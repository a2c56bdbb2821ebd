"""The private names of the standard library that smtpverify uses, and no other module may.

A verifying client needs some things that `smtplib` and `ssl` offer no public way to: the name that a
connection is verified against, the socket that a subclass opens, the chain of a failed handshake. Each
private name is listed in `SEAMS`: what it is for, since which Python it has been as it is, and what is done
where it is missing. A Python that lacks a name without an alternative is refused at import.
"""

from __future__ import annotations

import _socket
import _ssl
import email.generator
import smtplib
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from types import FrameType

__all__ = [
    "CONNECT_HOOK",
    "DEFAULT_TIMEOUT",
    "SEAMS",
    "Client",
    "Generator",
    "Seam",
    "StockLMTP",
    "StockSMTP",
    "StockSMTP_SSL",
    "caller_frame",
    "changes_context",
    "commands_of",
    "has_cram_md5",
    "has_tls",
    "host_of",
    "interpreter_options",
    "is_socket",
    "parser_actions",
    "peer_address",
    "presented_chain",
    "print_debug",
    "set_challenge_count",
    "set_host",
    "set_natively",
    "smtplib",
    "socket_behind",
    "verified_chain",
]


class Seam(NamedTuple):
    """A private name of the standard library.

    Attributes:
        owner: where it is, as a dotted name of a module or class.
        name: the name.
        since: the first Python, from 3.10 on, in which it is as it is used here.
        purpose: what it is used for.
        otherwise: what is done where it is missing; "" where there is no other way, and importing this module
            fails.
        per_object: an attribute of instances, which the class does not have.
    """

    owner: str
    name: str
    since: str
    purpose: str
    otherwise: str = ""
    per_object: bool = False


SEAMS = (
    Seam(
        "smtplib.SMTP",
        "_host",
        "3.10; newer patch releases of 3.13 and later write it in connect(), older ones in the constructor",
        "the name that the server is verified against, which programs also write by hand",
        "the host that connect() was given",
        per_object=True,
    ),
    Seam("smtplib.SMTP", "_get_socket", "3.10", "opening the connection, which subclasses override"),
    Seam("smtplib.SMTP_SSL", "_get_socket", "3.10", "opening a connection with TLS from the first byte"),
    Seam("smtplib.SMTP", "_print_debug", "3.10", "printing the conversation", "printing to standard error"),
    Seam("smtplib.SMTP", "_rset", "3.10", "the RSET after a failed transaction", "rset() itself"),
    Seam(
        "smtplib.SMTP",
        "_auth_challenge_count",
        "3.10",
        "auth_login(), which answers the second challenge with the password",
        "it is counted for ourselves",
        per_object=True,
    ),
    Seam(
        "smtplib",
        "_have_cram_md5_support",
        "newer patch releases of 3.13",
        "whether CRAM-MD5 can be used",
        "trying HMAC-MD5",
    ),
    Seam(
        "socket",
        "_GLOBAL_DEFAULT_TIMEOUT",
        "3.10",
        "the default of `timeout`, as in smtplib's signatures",
        "the default of smtplib.SMTP's own `timeout`",
    ),
    Seam(
        "_socket",
        "socket",
        "3.10",
        "knowing the standard library's sockets where socket.socket has been replaced, and those made before",
        "socket.SocketType",
    ),
    Seam(
        "socket.SocketIO",
        "_sock",
        "3.10",
        "the plaintext socket that a file still reads from after STARTTLS by hand",
        "the object's present socket",
        per_object=True,
    ),
    Seam(
        "ssl.SSLSocket",
        "_sslobj",
        "3.10",
        "whether a socket is in TLS; before 3.13, the chain that the peer sent",
        per_object=True,
    ),
    Seam(
        "_ssl",
        "_SSLContext",
        "3.10",
        "setting a context's attributes where ssl.SSLContext has been replaced",
        "the setters of ssl.SSLContext",
    ),
    Seam("_ssl", "ENCODING_DER", "3.10", "certificates of the chain, before 3.13", "its value, 2"),
    Seam(
        "email.generator.BytesGenerator",
        "_fp",
        "3.10",
        "writing the octets of a part",
        "they are written as text",
        per_object=True,
    ),
    Seam(
        "email.generator.Generator",
        "_write_lines",
        "3.10",
        "writing a part at once, ten times as fast",
        "it is written line by line",
    ),
    Seam(
        "email.generator.Generator",
        "_make_boundary",
        "3.10",
        "a boundary that need not be looked for in all of the text",
        "it is looked for",
    ),
    Seam(
        "sys",
        "_getframe",
        "3.10",
        "naming the caller's line in a warning",
        "the line in smtpverify is named",
    ),
    Seam("argparse.ArgumentParser", "_actions", "3.10", "reading options, and completion", per_object=True),
    Seam("argparse", "_SubParsersAction", "3.10", "completion of commands"),
    Seam(
        "subprocess",
        "_args_from_interpreter_flags",
        "3.10",
        "starting a program by this interpreter with the same options",
        "it is started without them",
    ),
)


def _check() -> None:
    """Refuse a Python that lacks what there is no other way to; what needs an import of its own is left."""
    modules = {each.__name__: each for each in (smtplib, socket, _socket, ssl, _ssl, sys, email)}
    for seam in SEAMS:
        module, *path = seam.owner.split(".")
        if seam.otherwise or seam.per_object or module not in modules:
            continue
        owner: Any = modules[module]
        for part in path:
            owner = _genuine(part) if owner is smtplib else getattr(owner, part)
        if seam.name not in vars(owner):
            _refuse(seam)


def _genuine(name: str) -> Any:
    """Return a class of smtplib itself, also where a program has put a subclass in its place."""
    present = getattr(smtplib, name)
    named = (
        kind
        for kind in getattr(present, "__mro__", ())
        if (kind.__module__, kind.__name__) == ("smtplib", name)
    )
    return next(named, present)


def _refuse(seam: Seam) -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    raise ImportError(
        f"smtpverify can't be used on Python {version}, where {seam.owner} has no {seam.name} "
        f"({seam.purpose}); use a newer smtpverify, or an older Python"
    )


_check()


# --- smtplib -------------------------------------------------------------------------------------

CONNECT_HOOK = "_get_socket"  # the method by which smtplib's classes open a connection
DEFAULT_TIMEOUT: Any = getattr(socket, "_GLOBAL_DEFAULT_TIMEOUT", None)
if DEFAULT_TIMEOUT is None:
    import inspect

    DEFAULT_TIMEOUT = inspect.signature(smtplib.SMTP).parameters["timeout"].default


# Kept by reference, as is the module: a program may put our classes, or our package, in place of smtplib's.
if TYPE_CHECKING:
    from smtplib import LMTP as StockLMTP, SMTP as StockSMTP, SMTP_SSL as StockSMTP_SSL
else:
    StockSMTP, StockSMTP_SSL, StockLMTP = map(_genuine, ("SMTP", "SMTP_SSL", "LMTP"))


class Client(StockSMTP):
    """`smtplib.SMTP` with names for what smtplib calls by private ones.

    smtplib and subclasses go on calling the private methods, which lead to the methods below.
    """

    _host: Any = ""  # the constructor of newer Pythons leaves it to connect()

    def _open_socket(self, host: str, port: int, timeout: Any) -> socket.socket:
        """Open a connection, by the method of a subclass where it has one of its own."""
        return self._get_socket(host, port, timeout)

    def _get_socket(self, host: str, port: int, timeout: Any) -> socket.socket:
        return self._dial(host, port, timeout)

    def _dial(self, host: str, port: int, timeout: Any) -> socket.socket:
        """Open a connection as `smtplib.SMTP` does."""
        return StockSMTP._get_socket(self, host, port, timeout)  # type: ignore[attr-defined, no-any-return]

    def _rset(self) -> None:
        self._reset()

    def _reset(self) -> None:
        """Send RSET after a failure."""
        self.rset()


def host_of(smtp: object) -> str | bytes:
    """The name that a client's server must prove to be, as it stands in the object; "" for none."""
    return getattr(smtp, "_host", "") or ""


def set_host(smtp: Any, host: str | bytes) -> None:
    """Write the name that a client's server must prove to be, where smtplib and subclasses read it."""
    smtp._host = host


def print_debug(smtp: Any, *args: object) -> None:
    """Print a line of the conversation as smtplib does, or as a subclass has it."""
    method = getattr(smtp, "_print_debug", None)
    if method is None:
        print(*args, file=sys.stderr)  # noqa: T201 # as smtplib does
    else:
        method(*args)


def set_challenge_count(smtp: Any, count: int) -> None:
    """Say how many answers an AUTH command has had; smtplib's auth_login() goes by it."""
    smtp._auth_challenge_count = count


def has_cram_md5() -> bool:
    """Whether smtplib can use CRAM-MD5: policy may have taken MD5 from this Python."""
    if not getattr(smtplib, "_have_cram_md5_support", True):
        return False
    import hmac

    try:
        hmac.new(b"", b"", "md5")
    except ValueError:
        return False
    return True


def socket_behind(file: object, otherwise: Any) -> Any:
    """The socket that a file made by `makefile()` reads from, or `otherwise` where it does not tell."""
    return getattr(getattr(file, "raw", None), "_sock", otherwise)


def is_socket(sock: object) -> bool:
    """Whether it is a socket of the standard library's, or of what has taken its place: with a timeout."""
    return isinstance(sock, (_STOCK_SOCKET, socket.socket))


def peer_address(sock: Any) -> Any:
    """Return the address that the system has connected a socket to; PySocks' own method gives another."""
    return _STOCK_SOCKET.getpeername(sock) if isinstance(sock, _STOCK_SOCKET) else sock.getpeername()


_STOCK_SOCKET: Any = getattr(_socket, "socket", socket.SocketType)


# --- ssl -----------------------------------------------------------------------------------------

_DER: int = getattr(_ssl, "ENCODING_DER", 2)


def has_tls(connection: Any) -> bool:
    """Whether an `ssl.SSLSocket` or `SSLObject` is in TLS: one that was shut down sends in plaintext."""
    return getattr(connection, "_sslobj", None) is not None


def presented_chain(connection: Any) -> tuple[bytes, ...]:
    """The certificates in DER that a peer sent, its own first, also after a handshake that failed."""
    return _chain(connection, "get_unverified_chain") if has_tls(connection) else ()


def verified_chain(connection: Any) -> tuple[bytes, ...]:
    """The chain in DER that OpenSSL verified; proof of nothing where the handshake failed."""
    return _chain(connection, "get_verified_chain")


def _chain(connection: Any, method: str) -> tuple[bytes, ...]:
    if sys.version_info >= (3, 13) and hasattr(connection, method):
        return tuple(getattr(connection, method)() or ())
    # Before 3.13, and on a socket of another library, such as gevent's.
    return tuple(each.public_bytes(_DER) for each in getattr(connection._sslobj, method)() or ())


def set_natively(context: Any, name: str, value: object) -> bool:
    """Set an attribute of a context in C, where ssl's own setter would look for ssl.SSLContext by its name.

    Returns:
        False where there is no such attribute in C.
    """
    native: Any = getattr(getattr(_ssl, "_SSLContext", None), name, None)
    if not hasattr(native, "__set__"):
        return False
    native.__set__(context, value)
    return True


def changes_context(method: str) -> bool:
    """Whether a method of `ssl.SSLContext`, by its name, changes the context."""
    return method.removeprefix("_").startswith(("set_", "load_"))


# --- email, argparse and the rest ----------------------------------------------------------------


class Generator(email.generator.BytesGenerator):
    """`BytesGenerator` with names for what it calls by private ones."""

    @classmethod
    def boundary(cls, text: str | None = None) -> str:
        """Make a boundary that `text` does not hold."""
        return super()._make_boundary(text)  # type: ignore[misc, no-any-return]

    @classmethod
    def _make_boundary(cls, text: str | None = None) -> str:
        return cls.boundary(text)

    def write_text(self, text: str) -> None:
        """Write a part's text, of any line ends."""
        super()._write_lines(text)  # type: ignore[misc]

    def _write_lines(self, lines: str) -> None:
        self.write_text(lines)

    def write_octets(self, octets: bytes) -> None:
        """Write octets as they are."""
        file = getattr(self, "_fp", None)
        if file is None:
            self.write(octets.decode("ascii", "surrogateescape"))
        else:
            file.write(octets)


def caller_frame(depth: int) -> FrameType | None:
    """The frame of a caller, 0 being the caller of this function; None where this Python does not tell."""
    get = getattr(sys, "_getframe", None)
    return None if get is None else get(depth + 1)


def parser_actions(parser: argparse.ArgumentParser) -> Sequence[argparse.Action]:
    """The arguments of a parser, those of its groups included."""
    return parser._actions


def commands_of(action: argparse.Action) -> Mapping[str, argparse.ArgumentParser] | None:
    """The parsers of an argument's commands, by name; None where it has no commands."""
    import argparse

    return action.choices if isinstance(action, argparse._SubParsersAction) else None


def interpreter_options() -> list[str]:
    """The options of this interpreter, for another of the same."""
    import subprocess

    options = getattr(subprocess, "_args_from_interpreter_flags", list)
    return list(options())
