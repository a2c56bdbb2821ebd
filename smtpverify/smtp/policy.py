"""What is believed of which server, and what may go in plaintext, in a process that was injected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ReferenceIdentifierError, printable
from ..tls.names import reference_identifier, split_host_port
from ..tls.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Policy", "host_key"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What was asked for by those who injected.

    Attributes:
        trusts: of each injection, the newest first, its trust by host (the reference identifier's text) and
            its trust for all other hosts, or None.
        require_tls: whether mail to another machine needs TLS, whatever the program asks for.
        allow_plaintext_login: whether credentials may go to another machine in plaintext.
    """

    trusts: tuple[tuple[Mapping[str, Trust], Trust | None], ...]
    require_tls: bool
    allow_plaintext_login: bool

    def trust_for(self, name: str | bytes) -> Trust:
        """What is believed of the server that has to prove to be this."""
        key = _reference_text(name)
        for by_host, others in self.trusts:
            trust = by_host.get(key, others)
            if trust is not None:
                return trust
        return Trust()

    def names(self, name: str | bytes) -> bool:
        """Whether somebody gave a trust for this very host: plaintext proves nothing of what it says."""
        key = _reference_text(name)
        return any(key in by_host for by_host, _ in self.trusts)


def _reference_text(name: str | bytes) -> str:
    try:
        return reference_identifier(name).text
    except ReferenceIdentifierError:
        return ""  # a path, or nothing that a certificate could be for: nobody can have named it


def host_key(host: str) -> str:
    """The reference identifier's text of a host that a trust is given for.

    Raises:
        ReferenceIdentifierError: it is neither a host name nor an address, or has a port.
    """
    if split_host_port(host)[1] is not None:
        raise ReferenceIdentifierError(f"'{printable(host)}' has a port; a trust is for all ports of a host")
    return reference_identifier(host).text
