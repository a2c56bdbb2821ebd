"""What is believed of which server, and what may go in plaintext, in a process that was injected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ReferenceIdentifierError
from ..tls.names import reference_identifier
from ..tls.trust import Trust, with_client_certificate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..tls.names import ReferenceIdentifier

__all__ = ["Policy"]


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

    def trust_for(self, name: str | bytes, client: tuple[Any, Any] = (None, None)) -> Trust:
        """What is believed of the server that has to prove to be this.

        Args:
            name: of the server.
            client: files of the client's key and certificate, if the program gives any.

        Raises:
            TrustError: the known hosts can't be read.
        """
        reference = _reference(name)
        trust = self.trust_given(name, client)
        return trust if reference is None else trust.for_host(reference)

    def trust_given(self, name: str | bytes, client: tuple[Any, Any] = (None, None)) -> Trust:
        """The same, before the known hosts are asked."""
        reference = _reference(name)
        for by_host, others in self.trusts:
            trust = others if reference is None else by_host.get(reference.text, others)
            if trust is not None:
                return with_client_certificate(trust, *client)
        return with_client_certificate(Trust(), *client)

    def names(self, name: str | bytes) -> bool:
        """Whether a trust was given for this very host, or its key is known: plaintext proves neither."""
        reference = _reference(name)
        if reference is None:
            return False
        return (
            any(reference.text in by_host for by_host, _ in self.trusts)
            or self.trust_for(name).keys_from is not None
        )


def _reference(name: str | bytes) -> ReferenceIdentifier | None:
    try:
        return reference_identifier(name)
    except ReferenceIdentifierError:  # a path, or nothing that a certificate could be for
        return None
