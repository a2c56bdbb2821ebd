"""A drop-in for `smtplib` that never talks to a mail server it has not verified.

`import smtpverify as smtplib` gives every name of `smtplib`; `SMTP`, `SMTP_SSL` and `LMTP` are ours.
"""

from __future__ import annotations

import importlib
import smtplib
import sys
from smtplib import (
    CRLF,
    LMTP_PORT,
    OLDSTYLE_AUTH,
    SMTP_PORT,
    SMTP_SSL_PORT,
    SMTPAuthenticationError,
    SMTPConnectError,
    SMTPDataError,
    SMTPException,
    SMTPHeloError,
    SMTPNotSupportedError,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPServerDisconnected,
    bCRLF,
    quoteaddr,
    quotedata,
)
from typing import TYPE_CHECKING

from . import stdlib as stdlib  # now: a program may put this package in smtplib's place later
from .errors import (
    AuthenticationError,
    CertificateExpiredError,
    CertificateFormatError,
    CommandArgumentError,
    DeliveryUnknownError,
    GreetingError,
    HostnameMismatchError,
    InsecureContextError,
    InsecureContextWarning,
    KnownHostsWarning,
    LMTPDataError,
    MalformedReplyError,
    MessageTooLargeError,
    PeerVerificationError,
    PinFormatError,
    PinMismatchError,
    PlaintextCredentialsError,
    PlaintextFallbackWarning,
    PlaintextInjectionError,
    PlaintextWarning,
    ProtocolError,
    ReferenceIdentifierError,
    RelayURLError,
    ServerSignatureError,
    SMTPVerifyError,
    STARTTLSRefusedError,
    TLSDowngradeError,
    TLSHandshakeError,
    TLSHandshakeTimeoutError,
    TLSRequiredError,
    TrustError,
    UnsolicitedReplyError,
    UntrustedCertificateError,
)

__all__ = [
    "CRLF",
    "LMTP",
    "LMTP_PORT",
    "OLDSTYLE_AUTH",
    "SMTP",
    "SMTP_PORT",
    "SMTP_SSL",
    "SMTP_SSL_PORT",
    "AuthenticationError",
    "Cause",
    "Certificate",
    "CertificateExpiredError",
    "CertificateFormatError",
    "CommandArgumentError",
    "DeliveryUnknownError",
    "Diagnosis",
    "DistinguishedName",
    "GreetingError",
    "HostnameMismatchError",
    "IdentifierKind",
    "Injection",
    "InsecureContextError",
    "InsecureContextWarning",
    "KnownHostsWarning",
    "LMTPDataError",
    "MalformedReplyError",
    "MessageTooLargeError",
    "Mode",
    "Outcome",
    "PeerIdentity",
    "PeerVerificationError",
    "Pin",
    "PinFormatError",
    "PinMismatchError",
    "PlaintextCredentialsError",
    "PlaintextFallbackWarning",
    "PlaintextInjectionError",
    "PlaintextWarning",
    "PresentedIdentifier",
    "ProtocolError",
    "ReferenceIdentifier",
    "ReferenceIdentifierError",
    "Relay",
    "RelayURLError",
    "Reply",
    "SMTPAuthenticationError",
    "SMTPConnectError",
    "SMTPDataError",
    "SMTPException",
    "SMTPHeloError",
    "SMTPNotSupportedError",
    "SMTPRecipientsRefused",
    "SMTPResponseException",
    "SMTPSenderRefused",
    "SMTPServerDisconnected",
    "SMTPVerifyError",
    "STARTTLSRefusedError",
    "SendResult",
    "ServerSignatureError",
    "TLSDowngradeError",
    "TLSHandshakeError",
    "TLSHandshakeTimeoutError",
    "TLSRequiredError",
    "Timeouts",
    "Trust",
    "TrustError",
    "UnsolicitedReplyError",
    "UntrustedCertificateError",
    "VerifyingContext",
    "bCRLF",
    "connect",
    "create_context",
    "enhanced_status",
    "extract_from_smtplib",
    "inject_into_smtplib",
    "quoteaddr",
    "quotedata",
]

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .inject import Injection, extract_from_smtplib, inject_into_smtplib
    from .relay import Relay
    from .schemes import Mode
    from .smtp.client import LMTP, SMTP, SMTP_SSL
    from .smtp.opening import connect
    from .smtp.replies import Reply, enhanced_status
    from .smtp.timeouts import Timeouts
    from .smtp.transaction import Outcome, SendResult
    from .tls.causes import Cause
    from .tls.context import VerifyingContext, create_context
    from .tls.evidence import Diagnosis
    from .tls.identity import PeerIdentity
    from .tls.names import IdentifierKind, PresentedIdentifier, ReferenceIdentifier
    from .tls.pins import Pin
    from .tls.trust import Trust
    from .tls.x509 import Certificate, DistinguishedName
else:
    # Loaded when first asked for: together they cost as much again as smtplib, and many a program
    # imports a mail library without sending mail.
    _LATE = {
        "Injection": "inject",
        "extract_from_smtplib": "inject",
        "inject_into_smtplib": "inject",
        "Mode": "schemes",
        "Relay": "relay",
        "LMTP": "smtp.client",
        "SMTP": "smtp.client",
        "SMTP_SSL": "smtp.client",
        "connect": "smtp.opening",
        "Reply": "smtp.replies",
        "enhanced_status": "smtp.replies",
        "Timeouts": "smtp.timeouts",
        "Outcome": "smtp.transaction",
        "SendResult": "smtp.transaction",
        "VerifyingContext": "tls.context",
        "create_context": "tls.context",
        "Cause": "tls.causes",
        "Diagnosis": "tls.evidence",
        "PeerIdentity": "tls.identity",
        "IdentifierKind": "tls.names",
        "PresentedIdentifier": "tls.names",
        "ReferenceIdentifier": "tls.names",
        "Pin": "tls.pins",
        "Trust": "tls.trust",
        "Certificate": "tls.x509",
        "DistinguishedName": "tls.x509",
    }

    def __getattr__(name: str) -> object:
        if name in _LATE:
            value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
            return value
        # `[extensions] smtpverify =` has Mercurial load the package, which must not pass for no extension.
        if name in ("uisetup", "minimumhgversion", "testedwith") and "mercurial" in sys.modules:
            return getattr(importlib.import_module(f"{__name__}.integrations.mercurial"), name)
        # What smtplib never promised, such as `smtplib.socket`, and programs take all the same.
        if name.startswith("__") or not hasattr(smtplib, name):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
        return getattr(smtplib, name)

    def __dir__() -> list[str]:
        return sorted(globals().keys() | _LATE.keys())
