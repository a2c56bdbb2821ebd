"""What each scheme of a relay URL means, which mechanisms log in, and which extensions may be ignored.

The words are OpenSMTPD's, and their meaning has changed: what `smtp+tls://` allowed in 2012 (plaintext,
where TLS is not offered) `smtp://` allows since 2018, and `smtp+tls://` forbids. Hence two tables. Pure.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import RelayURLError, printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    Dialect = Literal["opensmtpd-2012", "opensmtpd-6.4"]

__all__ = ["DIALECTS", "EXTERNAL", "OAUTH", "PASSWORD", "Mode", "Scheme", "extension_names", "mechanism_name"]

_KEYWORD = re.compile(r"[a-z0-9][a-z0-9-]*", re.ASCII)  # of EHLO (RFC 5321 4.1.1.1), in lower case


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


# Mechanisms of AUTH, the strongest first: the server proves itself, to this very channel; it proves itself;
# the password stays here; the password goes over.
PASSWORD = (
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "CRAM-MD5",
    "PLAIN",
    "LOGIN",
)
OAUTH = ("OAUTHBEARER", "XOAUTH2")
EXTERNAL = "EXTERNAL"


def mechanism_name(text: str) -> str:
    """The name of a mechanism of ours, in any case, as it is registered.

    Raises:
        RelayURLError: there is none of this name.
    """
    name = text.upper()
    known = (*PASSWORD, *OAUTH, EXTERNAL)
    if name not in known:
        raise RelayURLError(
            f"auth: '{printable(text, 40)}' is no mechanism of ours; known are {', '.join(known)}"
        )
    return name


def extension_names(names: Iterable[str]) -> frozenset[str]:
    """The EHLO keywords of extensions that are to be ignored, in lower case.

    Raises:
        RelayURLError: one is no keyword, or is STARTTLS, without which nobody would be verified.
    """
    if isinstance(names, str):
        raise RelayURLError(f"ignore-extension: a collection of names is wanted, not {printable(names)!r}")
    lowered = frozenset(name.lower() for name in names)
    for name in lowered:
        if not _KEYWORD.fullmatch(name):
            raise RelayURLError(f"ignore-extension: '{printable(name)}' is no name of an extension")
    if "starttls" in lowered:
        raise RelayURLError("ignore-extension: STARTTLS can't be ignored; the scheme decides about TLS")
    return lowered
