"""What each scheme of a relay URL means.

The words are OpenSMTPD's, and their meaning has changed: what `smtp+tls://` allowed in 2012 (plaintext,
where TLS is not offered) `smtp://` allows since 2018, and `smtp+tls://` forbids. Hence two tables. Pure.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Literal

    Dialect = Literal["opensmtpd-2012", "opensmtpd-6.4"]

__all__ = ["DIALECTS", "Mode", "Scheme"]


class Mode(enum.Enum):
    """How a connection comes to be secured, or not; the value is a short phrase for people."""

    CALLER = "as the caller says"  # a bare host: smtplib's way
    PLAINTEXT = "plaintext"
    STARTTLS_IF_OFFERED = "STARTTLS where offered, else plaintext"
    STARTTLS = "STARTTLS, required"
    IMPLICIT = "TLS from the first byte"
    STARTTLS_OR_IMPLICIT = "STARTTLS, else TLS from the first byte"

    @property
    def uses_tls(self) -> bool:
        """Whether TLS is set up, or at least tried, without the caller's doing."""
        return self not in (Mode.CALLER, Mode.PLAINTEXT)

    @property
    def requires_tls(self) -> bool:
        """Whether plaintext is out of the question."""
        return self in (Mode.STARTTLS, Mode.IMPLICIT, Mode.STARTTLS_OR_IMPLICIT)


@dataclass(frozen=True, slots=True)
class Scheme:
    """What a scheme stands for.

    Attributes:
        mode: how the connection is secured.
        port: the port where the URL gives none, or None where it must.
        lmtp: whether LMTP (RFC 2033) is spoken instead of SMTP.
        auth: whether a user is required.
    """

    mode: Mode
    port: int | None
    lmtp: bool = False
    auth: bool = False


DIALECTS: dict[str, dict[str, Scheme]] = {
    "opensmtpd-2012": {
        "smtp": Scheme(Mode.PLAINTEXT, 25),
        "smtp+tls": Scheme(Mode.STARTTLS_IF_OFFERED, 25),
        "tls": Scheme(Mode.STARTTLS, 25),
        "smtps": Scheme(Mode.IMPLICIT, 465),
        "ssl": Scheme(Mode.STARTTLS_OR_IMPLICIT, 25),  # and 465 for the second try
        "tls+auth": Scheme(Mode.STARTTLS, 25, auth=True),
        "smtps+auth": Scheme(Mode.IMPLICIT, 465, auth=True),
        "ssl+auth": Scheme(Mode.STARTTLS_OR_IMPLICIT, 25, auth=True),
        "smtp+notls": Scheme(Mode.PLAINTEXT, 25),
        "lmtp": Scheme(Mode.PLAINTEXT, None, lmtp=True),
    },
    "opensmtpd-6.4": {
        "smtp": Scheme(Mode.STARTTLS_IF_OFFERED, 25),
        "smtp+tls": Scheme(Mode.STARTTLS, 25),
        "smtps": Scheme(Mode.IMPLICIT, 465),
        "smtp+notls": Scheme(Mode.PLAINTEXT, 25),
        "lmtp": Scheme(Mode.PLAINTEXT, None, lmtp=True),
    },
}
