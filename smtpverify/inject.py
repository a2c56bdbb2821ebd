"""`inject_into_smtplib`: smtplib itself verifies, in programs that nobody can edit.

Its classes are changed in place (`smtp.methods`), so that it does not matter who has imported, subclassed or
instantiated them before. What is owned here is by whose wish, and how long.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from .smtp.methods import patches
from .smtp.policy import Policy
from .tls.names import host_key
from .tls.trust import trust_given

if TYPE_CHECKING:
    from collections.abc import Mapping

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
            patches.undo()
            return
        policy = Policy(
            tuple((each._trust_by_host, each._trust) for each in self._all),
            any(each._require_tls for each in self._all),
            any(each._allow_plaintext_login for each in self._all),
        )
        patches.make(policy)


_injections = _Injections()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_injections.renew_lock)
