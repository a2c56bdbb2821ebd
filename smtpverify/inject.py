"""`inject_into_smtplib`: smtplib itself verifies, in programs that nobody can edit.

The classes are changed in place, so that it does not matter who has imported, subclassed or instantiated
them before. What is owned here is which of their methods are replaced, and by whose wish; what may go over
a connection is decided in `smtp.guard`. Our own classes, which derive from smtplib's, pass unchanged.
"""

from __future__ import annotations

import functools
import importlib
import os
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

from .smtp import guard
from .smtp.policy import Policy
from .smtp.session import Session
from .smtp.stock import begin, dialled, ended, state_of
from .tls.names import host_key
from .tls.trust import trust_given

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

    from .tls.trust import Trust

__all__ = ["Injection", "extract_from_smtplib", "inject_into_smtplib"]


class Injection:
    """What `inject_into_smtplib` returns: ends that injection, at the end of a `with` block too."""

    def __init__(
        self,
        trust: Trust | None,
        trust_by_host: Mapping[str, Trust],
        require_tls: bool,
        allow_plaintext_login: bool,
        lasting: bool = False,
    ) -> None:
        self._trust = None if trust is None else trust_given(trust)
        self._trust_by_host = {host_key(host): trust_given(trust) for host, trust in trust_by_host.items()}
        self._require_tls = require_tls
        self._allow_plaintext_login = allow_plaintext_login
        self._lasting = lasting  # to the end of the process: not the program's to end

    def extract(self) -> None:
        """End this injection, in whatever order; nothing where it has ended."""
        _injections.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.extract()


def inject_into_smtplib(
    trust: Trust | None = None,
    *,
    trust_by_host: Mapping[str, Trust] | None = None,
    require_tls: bool = False,
    allow_plaintext_login: bool = False,
) -> Injection:
    """Have every use of `smtplib` in this process verify its server, whoever imported it before.

    Several injections hold side by side: of their trusts the newest that says anything of a host counts, and
    the other two arguments hold if any has them.

    Args:
        trust: what is believed of the servers; if None, what an injection before says, or else `Trust()`.
        trust_by_host: what is believed of these hosts, in place of `trust`. Nothing goes to them in
            plaintext.
        require_tls: let no mail go in plaintext to another machine.
        allow_plaintext_login: let credentials go over plaintext to another machine.

    Returns:
        An `Injection`; in a `with` statement the injection ends with the block.

    Raises:
        ReferenceIdentifierError: a key of `trust_by_host` is neither a host name nor an address, or has a
            port.
        TrustError: a trust is something else, such as the path of a CA file.
    """
    injection = Injection(trust, trust_by_host or {}, require_tls, allow_plaintext_login)
    _injections.add(injection)
    return injection


def inject_for_good(
    trust: Trust | None, trust_by_host: Mapping[str, Trust], require_tls: bool, allow_plaintext_login: bool
) -> None:
    """The same, at the wish of whoever started the process: `extract_from_smtplib` does not end it."""
    _injections.add(Injection(trust, trust_by_host, require_tls, allow_plaintext_login, lasting=True))


def extract_from_smtplib() -> None:
    """End the newest injection. With the last one, smtplib's classes are again what they were.

    One that came from outside of the program, by `smtpverify run` or the environment, stays.
    """
    _injections.remove_newest()


# --- who wants it --------------------------------------------------------------------------------


class _Injections:
    """The injections that hold, and what follows from all of them."""

    def __init__(self) -> None:
        self.policy: Policy | None = None  # None: smtplib's classes do as they always did
        self._all: list[Injection] = []  # the newest first
        self.renew_lock()

    def renew_lock(self) -> None:
        """In a forked child: a thread that does not exist there may have held the lock."""
        self._lock = threading.Lock()

    def add(self, injection: Injection) -> None:
        with self._lock:
            self._all.insert(0, injection)
            self._apply()

    def remove(self, injection: Injection) -> None:
        with self._lock:
            if injection in self._all:
                self._all.remove(injection)
                self._apply()

    def remove_newest(self) -> None:
        with self._lock:
            for injection in self._all:
                if not injection._lasting:
                    self._all.remove(injection)
                    self._apply()
                    return

    def _apply(self) -> None:
        if not self._all:
            self.policy = None
            _patches.undo()
            return
        self.policy = Policy(
            tuple((each._trust_by_host, each._trust) for each in self._all),
            any(each._require_tls for each in self._all),
            any(each._allow_plaintext_login for each in self._all),
        )
        _patches.make()


_injections = _Injections()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_injections.renew_lock)


def _policy_for(smtp: object) -> Policy | None:
    policy = _injections.policy
    return None if policy is None or isinstance(smtp, Session) else policy


# --- smtplib's methods ---------------------------------------------------------------------------


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

    return connect


def _close(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def close(self: Any) -> None:
        if _policy_for(self) is not None:
            ended(self)
        original(self)

    return close


def _get_socket(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def get_socket(self: Any, host: Any, port: Any, timeout: Any) -> Any:
        sock = original(self, host, port, timeout)
        if _policy_for(self) is not None:
            dialled(self, host, sock)
        return sock

    return get_socket


def _get_tls_socket(cls: type[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def replace(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def get_socket(self: Any, host: Any, port: Any, timeout: Any) -> Any:
            policy = _policy_for(self)
            if policy is None:
                return original(self, host, port, timeout)
            # The same as there, up to the handshake.
            sock = super(cls, self)._get_socket(host, port, timeout)
            return guard.secure_from_first_byte(self, policy, sock)

        return get_socket

    return replace


_DEFAULT_TIMEOUT: Any = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]

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
            timeout: Any = _DEFAULT_TIMEOUT,
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


def _replacements(smtplib: Any) -> dict[tuple[type[Any], str], Callable[..., Any]]:
    smtp, smtp_ssl, lmtp = smtplib.SMTP, smtplib.SMTP_SSL, smtplib.LMTP
    return {
        (smtp, "connect"): _connect,
        (lmtp, "connect"): _connect,
        (smtp, "close"): _close,
        (smtp, "_get_socket"): _get_socket,
        (smtp_ssl, "_get_socket"): _get_tls_socket(smtp_ssl),
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

    def __init__(self) -> None:
        self._made: dict[tuple[type[Any], str], tuple[Any, Any]] = {}

    def make(self) -> None:
        # By name: somebody may have loaded it anew, with new classes.
        for (cls, name), replace in _replacements(importlib.import_module("smtplib")).items():
            present = vars(cls)[name]
            ours, original = self._made.get((cls, name), (None, present))
            # Ours, or on top of ours somebody else's, who has wrapped it.
            if ours is None or present is original:
                ours = replace(original)
                setattr(cls, name, ours)
                self._made[cls, name] = ours, original

    def undo(self) -> None:
        for (cls, name), (ours, original) in [*self._made.items()]:
            # Somebody may have wrapped ours, which then only passes on.
            if vars(cls)[name] is ours:
                setattr(cls, name, original)
                del self._made[cls, name]


_patches = _Patches()
