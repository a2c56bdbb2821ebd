"""What ended a delivery -> a text for people and an exit status for scripts, which is one of sysexits.h.

75 is for what may pass by itself, so that a program with a queue may try again; what is certain to fail again
has another.
"""

from __future__ import annotations

import socket

from ..errors import (
    AuthenticationError,
    CommandArgumentError,
    DeliveryUnknownError,
    MessageTooLargeError,
    PeerVerificationError,
    PinFormatError,
    PlaintextCredentialsError,
    ProtocolError,
    ReferenceIdentifierError,
    RelayURLError,
    SMTPVerifyError,
    STARTTLSRefusedError,
    TLSHandshakeError,
    TLSRequiredError,
    TrustError,
    printable,
)
from ..smtp.replies import enhanced_status
from ..stdlib import smtplib
from ..tls.causes import Cause
from . import EX_UNAVAILABLE, EX_USAGE, CommandError

__all__ = [
    "EX_DATAERR",
    "EX_IOERR",
    "EX_NOINPUT",
    "EX_NOPERM",
    "EX_NOUSER",
    "EX_PROTOCOL",
    "EX_TEMPFAIL",
    "answer",
    "explained",
    "refusal",
]

EX_DATAERR = 65
EX_NOINPUT = 66
EX_NOUSER = 67
EX_NOHOST = 68
EX_IOERR = 74
EX_TEMPFAIL = 75
EX_PROTOCOL = 76
EX_NOPERM = 77

_USAGE = (RelayURLError, TrustError, PinFormatError, CommandArgumentError, ReferenceIdentifierError)


def explained(error: smtplib.SMTPException | OSError, relay: str) -> CommandError:
    """What to tell of an error, and the exit status.

    Args:
        error: by which a delivery ended.
        relay: where to, for errors that do not say so.
    """
    text, status = _verdict(error)
    if not (isinstance(error, SMTPVerifyError) and error.host is not None) and status != EX_USAGE:
        text = f"{relay}: {text}"
    diagnosis = getattr(error, "diagnosis", None)
    if diagnosis is not None and diagnosis.remedy:
        text += f"\n  {diagnosis.remedy}"
    return CommandError(text, status)


def refusal(recipient: str, reply: tuple[int, bytes | str]) -> str:
    """A line about a recipient that was refused."""
    return f"refused: {printable(recipient)}: {_said(*reply)}"


def _verdict(error: smtplib.SMTPException | OSError) -> tuple[str, int]:
    if isinstance(error, DeliveryUnknownError):
        doubt = "it may have been delivered all the same, and sending it again may deliver it twice"
        return f"{error}; {doubt}", EX_TEMPFAIL
    if isinstance(error, smtplib.SMTPRecipientsRefused):  # LMTPDataError too
        return _nobody(error)
    if isinstance(error, SMTPVerifyError):
        return str(error), _status_of_ours(error)
    if isinstance(error, smtplib.SMTPResponseException):
        return _of_a_reply(error)
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return str(error), EX_TEMPFAIL
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return str(error), EX_UNAVAILABLE
    if isinstance(error, smtplib.SMTPException):
        return str(error), EX_PROTOCOL
    text = error.strerror or str(error)
    if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
        return text, EX_NOHOST
    return text, EX_TEMPFAIL


def _status_of_ours(error: SMTPVerifyError) -> int:
    if isinstance(error, _USAGE):
        return EX_USAGE
    if isinstance(error, MessageTooLargeError):
        return EX_DATAERR
    if isinstance(error, AuthenticationError):
        return EX_TEMPFAIL if 400 <= error.smtp_code <= 499 else EX_NOPERM
    if isinstance(error, (PeerVerificationError, PlaintextCredentialsError)):
        return EX_NOPERM
    if isinstance(error, STARTTLSRefusedError) and 400 <= error.smtp_code <= 499:
        return EX_TEMPFAIL
    if isinstance(error, TLSRequiredError):
        return EX_UNAVAILABLE
    if isinstance(error, TLSHandshakeError):
        return EX_TEMPFAIL if isinstance(error, TimeoutError) else EX_PROTOCOL
    if isinstance(error, ProtocolError) and error.diagnosis is not None:
        return EX_TEMPFAIL if error.diagnosis.cause is Cause.NO_GREETING else EX_PROTOCOL
    return EX_PROTOCOL


def _nobody(error: smtplib.SMTPRecipientsRefused) -> tuple[str, int]:
    lines = [refusal(recipient, reply) for recipient, reply in error.recipients.items()]
    for_good = all(500 <= code <= 599 for code, _ in error.recipients.values())
    return "\n".join(["every recipient was refused", *lines]), EX_NOUSER if for_good else EX_TEMPFAIL


def answer(error: smtplib.SMTPResponseException) -> str:
    """What the server refused, and in which words, as one line."""
    what = "the server refused a command"
    if isinstance(error, smtplib.SMTPSenderRefused):
        what = f"the server refused the sender {printable(error.sender) or '<>'}"
    elif isinstance(error, smtplib.SMTPDataError):
        what = "the server refused the message"
    elif isinstance(error, smtplib.SMTPHeloError):
        what = "the server refused EHLO"
    elif isinstance(error, smtplib.SMTPConnectError):
        what = "the server refused the connection"
    return f"{what}: {_said(error.smtp_code, error.smtp_error)}"


def _of_a_reply(error: smtplib.SMTPResponseException) -> tuple[str, int]:
    code, text = error.smtp_code, answer(error)
    if 400 <= code <= 499:
        return text, EX_TEMPFAIL
    if not 500 <= code <= 599:
        return text, EX_PROTOCOL
    subject = (enhanced_status((code, error.smtp_error)) or "").partition(".")[2]  # RFC 3463 3
    about_a_message = isinstance(error, (smtplib.SMTPSenderRefused, smtplib.SMTPDataError))
    if about_a_message and code == 552 and subject in ("", "3.4", "2.3"):  # too large (RFC 1870 6)
        return text, EX_DATAERR
    if isinstance(error, smtplib.SMTPDataError) and subject.startswith(("1.", "2.")):  # LMTP's only recipient
        return text, EX_NOUSER
    if code == 530:  # RFC 4954 6
        return f"{text}\n  It wants a login: write the user into the URL, as in tls://alice@host.", EX_NOPERM
    return text, EX_UNAVAILABLE


def _said(code: int, text: bytes | str) -> str:
    octets = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    words = printable(" ".join(octets.decode("utf-8", "surrogateescape").split()), 500)
    return f"{code} {words}" if code > 0 else words
