"""The tries that a scheme stands for, and what may follow a failed one.

Two rules are owned here. A secure channel that was asked for is never traded for plaintext: only
`smtp+tls://` has a try in plaintext. And a certificate that was seen and failed ends the matter in every
scheme: an absent certificate is a configuration, a wrong one an attack or a mistake. Pure.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from ..errors import (
    PeerVerificationError,
    PlaintextInjectionError,
    SMTPVerifyError,
    STARTTLSRefusedError,
    TLSDowngradeError,
    TLSHandshakeError,
    TLSRequiredError,
)
from ..schemes import Mode
from ..stdlib import smtplib

__all__ = ["Attempt", "attempts", "may_fall_back"]

# Seconds. Where STARTTLS is tried first, a server of implicit TLS may sit, which waits for us to speak
# first; a greeting that a busy server delays on purpose comes within this time.
_GREETING_WAIT = 30.0

# What a firewall's rejection of one port looks like.
_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH)

_SUBMISSIONS = 465  # implicit TLS by registration (RFC 8314 7.3)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One connection to try.

    Attributes:
        mode: how it is secured.
        port: to connect to.
        greeting_wait: seconds after which silence is an answer, or None where only the timeout counts.
    """

    mode: Mode
    port: int
    greeting_wait: float | None = None


def attempts(mode: Mode, port: int | None, default_port: int) -> tuple[Attempt, ...]:
    """The connections to try in order.

    Args:
        mode: the scheme's.
        port: the explicit port, or None; it serves every try.
        default_port: where none is explicit.
    """
    if mode is Mode.STARTTLS_IF_OFFERED:
        return (Attempt(Mode.STARTTLS, port or default_port), Attempt(Mode.PLAINTEXT, port or default_port))
    if mode is Mode.STARTTLS_OR_IMPLICIT:
        if port == _SUBMISSIONS:  # nobody would send a greeting there
            return (Attempt(Mode.IMPLICIT, port), Attempt(Mode.STARTTLS, port))
        return (
            Attempt(Mode.STARTTLS, port or default_port, _GREETING_WAIT),
            Attempt(Mode.IMPLICIT, port or _SUBMISSIONS),
        )
    return (Attempt(mode, port or default_port),)


def may_fall_back(mode: Mode, error: BaseException) -> bool:
    """Whether the next try of a scheme may follow a failed one.

    Args:
        mode: the scheme's mode.
        error: what ended the try.
    """
    if isinstance(error, (PeerVerificationError, PlaintextInjectionError, TLSDowngradeError)):
        return False
    if mode is Mode.STARTTLS_IF_OFFERED:
        # Not for a server that is away: plaintext would find it so too.
        return isinstance(error, (TLSRequiredError, TLSHandshakeError, smtplib.SMTPHeloError))
    if isinstance(error, (STARTTLSRefusedError, smtplib.SMTPHeloError)):
        return False  # a reply is an answer; TLS on another port was not what the server offered
    if isinstance(error, smtplib.SMTPConnectError):
        return error.smtp_code == -1  # no SMTP greeting at all
    if isinstance(error, SMTPVerifyError):
        return isinstance(error, (TLSRequiredError, TLSHandshakeError, smtplib.SMTPServerDisconnected))
    if isinstance(error, smtplib.SMTPException):
        return isinstance(error, smtplib.SMTPServerDisconnected)
    return isinstance(error, (ConnectionError, TimeoutError)) or getattr(error, "errno", None) in _UNREACHABLE
