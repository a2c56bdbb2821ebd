"""An object of smtplib's own, and its present connection: what we know of both.

Kept in the object's `__dict__`: the objects are others', and some were made before anybody injected.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..stdlib import host_of, set_host
from .endpoints import as_text, connects_directly

if TYPE_CHECKING:
    from ..tls.identity import PeerIdentity

__all__ = [
    "State",
    "begin",
    "begun",
    "dialled",
    "ended",
    "forget_ehlo",
    "name_of",
    "split",
    "state_of",
]

_KEY = "_smtpverify"


@dataclass(slots=True)
class State:
    """What is known of an object and of its present connection.

    Attributes:
        host, port: what `connect()` was given.
        known_host: what we wrote into `_host`; anything else was written by hand.
        named_host: what was written there by hand before `connect()`, which newer Pythons write over; or "".
        dialled: the socket that smtplib connected to that host.
        judged: the socket that `peer` speaks of.
        peer: the verified peer, or None on plaintext.
        refusal: why we closed the connection.
        wants_tls: why nothing may go in plaintext, or "".
        in_message: whether what is sent is a message, and no command.
        line: the beginning of one that was sent without its end.
        warned: whether somebody was told of mail in plaintext.
        own_context: what we made for `SMTP_SSL.context`.
        client: key and certificate files of `SMTP_SSL`.
    """

    host: str | bytes | None = None
    port: int | None = None
    known_host: str = ""
    named_host: str | bytes = ""
    dialled: object = None
    judged: object = None
    peer: PeerIdentity | None = None
    refusal: BaseException | None = None
    wants_tls: str = ""
    in_message: bool = False
    line: bytes = b""
    warned: bool = False
    own_context: object = None
    client: tuple[Any, Any] = (None, None)


def state_of(smtp: Any) -> State:
    """The state of an object; a new one where it was made before the injection."""
    state: State | None = smtp.__dict__.get(_KEY)
    if state is None:
        state = smtp.__dict__[_KEY] = State()
    return state


def begin(smtp: Any, host: str | bytes, port: Any) -> None:
    """Forget the last connection, and keep whom the next one is to."""
    old = state_of(smtp)
    name, number = split(host or "", port or 0)
    state = smtp.__dict__[_KEY] = State(name, own_context=old.own_context, client=old.client)
    if as_text(name)[:1] != "/":
        state.port = number or smtp.default_port
    # The constructor's host, with its port perhaps, or nothing: the host of connect() is meant.
    if as_text(name_of(smtp)) in ("", old.known_host, as_text(host)):
        state.known_host = as_text(name)
        set_host(smtp, name)
    else:
        state.named_host = split(name_of(smtp), 0)[0]
        set_host(smtp, state.named_host)
    forget_ehlo(smtp)


def begun(smtp: Any) -> None:
    """Write the name given by hand once more, where smtplib's `connect()` has written its host over it."""
    set_host(smtp, name_of(smtp))


def ended(smtp: Any) -> None:
    """The connection was closed; a subclass may make the next one, in plaintext at first, by itself."""
    state = state_of(smtp)
    state.judged = state.peer = None


def split(host: str | bytes, port: Any) -> tuple[str | bytes, int | None]:
    """Host and port as smtplib reads them; what it will refuse is left as it is."""
    if not port and isinstance(host, str) and host.count(":") == 1:
        host, _, port = host.partition(":")
    digits = str(port)
    return host, int(digits) if digits.isascii() and digits.isdigit() else None


def dialled(smtp: Any, host: str | bytes, sock: object) -> None:
    """Keep the socket that smtplib has connected; one to a proxy, in a subclass, leads elsewhere.

    So does what somebody has put in the place of `socket.create_connection`.
    """
    state = state_of(smtp)
    if connects_directly(socket.create_connection) and host == state.host:
        state.dialled = sock


def name_of(smtp: Any) -> str | bytes:
    """Whom the server must prove to be, "" where nobody has said."""
    name, state = host_of(smtp), state_of(smtp)
    return state.named_host if state.named_host and as_text(name) == as_text(state.host or "") else name


def forget_ehlo(smtp: Any) -> None:
    """Forget what the server has said of itself."""
    smtp.helo_resp = smtp.ehlo_resp = None
    smtp.esmtp_features = {}
    smtp.does_esmtp = False
    smtp.command_encoding = "ascii"
