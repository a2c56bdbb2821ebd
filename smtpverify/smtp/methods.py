"""smtplib's own methods, and what stands in their place while somebody injects: the same, guarded.

The classes are changed in place, so that it does not matter who has imported, subclassed or instantiated
them before. What may go over a connection is decided in `guard`. Our own classes, which derive from
smtplib's, pass unchanged.
"""

from __future__ import annotations

import functools
import importlib
import sys
from typing import TYPE_CHECKING, Any

from ..stdlib import CONNECT_HOOK, DEFAULT_TIMEOUT, StockLMTP, StockSMTP, StockSMTP_SSL, set_host
from . import guard
from .session import Session
from .stock import begin, begun, dialled, ended, state_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from .policy import Policy

__all__ = ["patches"]


def _policy_for(smtp: object) -> Policy | None:
    policy = patches.policy
    return None if policy is None or isinstance(smtp, Session) else policy


def _init(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def init(self: Any, host: Any = "", *args: Any, **kwargs: Any) -> None:
        # As older Pythons' constructor does: the connect() of a subclass may lead to a tunnel.
        if host and _policy_for(self) is not None:
            set_host(self, host)
        original(self, host, *args, **kwargs)

    return init


def _admitting(original: Callable[..., Any], verb_of: Callable[..., str]) -> Callable[..., Any]:
    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        policy = _policy_for(self)
        if policy is not None:
            guard.admit(self, policy, verb_of(*args, **kwargs))
        return original(self, *args, **kwargs)

    return method


def _says(verb: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return lambda original: _admitting(original, lambda *args, **kwargs: verb)


def _send(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def send(self: Any, s: Any) -> Any:
        policy = _policy_for(self)
        if policy is not None:
            guard.admit(self, policy, guard.verb_sent(self, s))
        return original(self, s)

    return send


def _putcmd(original: Callable[..., Any]) -> Callable[..., Any]:
    return _admitting(original, lambda cmd="", args="": guard.verb_of(cmd))


def _docmd(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def docmd(self: Any, cmd: Any, args: Any = "") -> Any:
        policy = _policy_for(self)
        if policy is None:
            return original(self, cmd, args)
        verb = guard.verb_of(cmd)
        guard.admit(self, policy, verb)
        if verb != "STARTTLS":
            return original(self, cmd, args)
        return guard.say_starttls(self, lambda: original(self, cmd, args))

    return docmd


def _data(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def data(self: Any, *args: Any, **kwargs: Any) -> Any:
        policy = _policy_for(self)
        if policy is None:
            return original(self, *args, **kwargs)
        guard.admit(self, policy, "DATA")
        state = state_of(self)
        state.in_message = True
        try:
            return original(self, *args, **kwargs)
        finally:
            state.in_message = False

    return data


def _connect(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def connect(self: Any, host: Any = "localhost", port: Any = 0, *args: Any, **kwargs: Any) -> Any:
        if _policy_for(self) is None:
            return original(self, host, port, *args, **kwargs)
        old = self.sock
        begin(self, host, port)
        try:
            return original(self, host, port, *args, **kwargs)
        except BaseException:
            if old is not None and self.sock is old:  # what was known of it is forgotten
                self.close()
            raise
        finally:
            begun(self)

    return connect


def _close(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def close(self: Any) -> None:
        if _policy_for(self) is not None:
            ended(self)
        original(self)

    return close


def _dial(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def get_socket(self: Any, host: Any, port: Any, timeout: Any) -> Any:
        sock = original(self, host, port, timeout)
        if _policy_for(self) is not None:
            dialled(self, host, sock)
        return sock

    return get_socket


def _dial_tls(cls: type[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def replace(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def get_socket(self: Any, host: Any, port: Any, timeout: Any) -> Any:
            policy = _policy_for(self)
            if policy is None:
                return original(self, host, port, timeout)
            # The same as there, up to the handshake.
            sock = getattr(super(cls, self), CONNECT_HOOK)(host, port, timeout)
            return guard.secure_from_first_byte(self, policy, sock)

        return get_socket

    return replace


# The signatures of the running Python: 3.12 has taken keyfile and certfile out.
if sys.version_info >= (3, 12):

    def _starttls(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def starttls(self: Any, *args: Any, **kwargs: Any) -> Any:
            policy = _policy_for(self)
            if policy is None:
                return original(self, *args, **kwargs)
            if args or kwargs.keys() - {"context"}:
                # The TypeError may be swallowed, or answered by another try; TLS was asked for.
                state_of(self).wants_tls = "starttls() was called"
                return original(self, *args, **kwargs)
            return guard.start_tls(self, policy, None, None, kwargs.get("context"))

        return starttls

    def _init_tls(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def init(
            self: Any, host: Any = "", *args: Any, context: ssl.SSLContext | None = None, **kwargs: Any
        ) -> None:
            policy = _policy_for(self)
            if policy is not None:
                context = guard.context_for(self, policy, host, (None, None), context)
            original(self, host, *args, context=context, **kwargs)

        return init

else:

    def _starttls(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def starttls(
            self: Any, keyfile: Any = None, certfile: Any = None, context: ssl.SSLContext | None = None
        ) -> Any:
            policy = _policy_for(self)
            if policy is None:
                return original(self, keyfile, certfile, context)
            return guard.start_tls(self, policy, keyfile, certfile, context)

        return starttls

    def _init_tls(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def init(
            self: Any,
            host: Any = "",
            port: Any = 0,
            local_hostname: Any = None,
            keyfile: Any = None,
            certfile: Any = None,
            timeout: Any = DEFAULT_TIMEOUT,
            source_address: Any = None,
            context: ssl.SSLContext | None = None,
        ) -> None:
            policy = _policy_for(self)
            client = (keyfile, certfile)
            if policy is not None:
                context = guard.context_for(self, policy, host, client, context)
                keyfile = certfile = None  # in that context
            original(self, host, port, local_hostname, keyfile, certfile, timeout, source_address, context)
            self.keyfile, self.certfile = client

        return init


def _stock(known: type[Any]) -> Any:
    """A class of smtplib's by its name, since it may have been loaded anew; or the one that is known.

    The latter where something else goes by that name: smtpverify, a subclass, a mock.
    """
    present = getattr(importlib.import_module("smtplib"), known.__name__, None)
    return present if getattr(present, "__module__", None) == "smtplib" else known


def _replacements() -> dict[tuple[type[Any], str], Callable[..., Any]]:
    smtp, smtp_ssl, lmtp = _stock(StockSMTP), _stock(StockSMTP_SSL), _stock(StockLMTP)
    return {
        (smtp, "__init__"): _init,
        (smtp, "connect"): _connect,
        (lmtp, "connect"): _connect,
        (smtp, "close"): _close,
        (smtp, CONNECT_HOOK): _dial,
        (smtp_ssl, CONNECT_HOOK): _dial_tls(smtp_ssl),
        (smtp_ssl, "__init__"): _init_tls,
        (smtp, "starttls"): _starttls,
        # All that is said goes through send(). The others stand here for subclasses with a send() of
        # their own, and so that EHLO is said again, where it has to be, before it is relied on.
        (smtp, "send"): _send,
        (smtp, "putcmd"): _putcmd,
        (smtp, "docmd"): _docmd,
        (smtp, "ehlo"): _says("EHLO"),
        (smtp, "helo"): _says("HELO"),
        (smtp, "ehlo_or_helo_if_needed"): _says("EHLO"),
        (smtp, "auth"): _says("AUTH"),
        (smtp, "mail"): _says("MAIL"),
        (smtp, "rcpt"): _says("RCPT"),
        (smtp, "data"): _data,
    }


class _Patches:
    """What we have put into smtplib's classes, and what was there."""

    policy: Policy | None = None  # what was asked for; None: smtplib's classes do as they always did

    def __init__(self) -> None:
        self._made: dict[tuple[type[Any], str], tuple[Any, Any]] = {}

    def make(self, policy: Policy) -> None:
        """Put them in, where they are not in, to do as a policy has it."""
        self.policy = policy
        for (cls, name), replace in _replacements().items():
            present = vars(cls)[name]
            ours, original = self._made.get((cls, name), (None, present))
            # Ours, or on top of ours somebody else's, who has wrapped it.
            if ours is None or present is original:
                ours = replace(original)
                setattr(cls, name, ours)
                self._made[cls, name] = ours, original

    def undo(self) -> None:
        """Take them out."""
        self.policy = None
        for (cls, name), (ours, original) in [*self._made.items()]:
            # Somebody may have wrapped ours, which then only passes on.
            if vars(cls)[name] is ours:
                setattr(cls, name, original)
                del self._made[cls, name]


patches = _Patches()
