"""What is logged of errors that nobody raises."""

from __future__ import annotations

import logging
import threading

from ...errors import (
    PeerVerificationError,
    PlaintextCredentialsError,
    PlaintextInjectionError,
    ServerSignatureError,
    SMTPVerifyError,
    TLSHandshakeError,
    TLSRequiredError,
    printable,
)

__all__ = ["HIDDEN", "report"]

HIDDEN = "hidden by fail_silently"

# Not below the logger "django", whose errors Django itself may send by mail.
_logger = logging.getLogger("smtpverify.integrations.django")
_reporting = threading.local()

# Somebody may be in the server's place, or a password was about to go to whoever listens.
_UNVERIFIED = (
    PeerVerificationError,
    TLSRequiredError,
    TLSHandshakeError,
    PlaintextInjectionError,
    PlaintextCredentialsError,
    ServerSignatureError,
)


def report(error: Exception, host: str, why: str) -> None:
    """Log an error that is not raised: a failed verification as ERROR, any other as INFO.

    A handler that mails what it is given (Django's AdminEmailHandler) may come back here by the same failure;
    then nothing is logged, or there would be no end.
    """
    if getattr(_reporting, "now", False):
        return
    _reporting.now = True
    try:
        level = logging.ERROR if isinstance(error, _UNVERIFIED) else logging.INFO
        told = isinstance(error, SMTPVerifyError) and error.host is not None  # by its text
        where = "" if told else f"{printable(host)}: "
        _logger.log(level, "%s%s (%s)", where, error, why)
    finally:
        _reporting.now = False
