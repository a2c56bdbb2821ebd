"""A drop-in for `smtplib` that never talks to a mail server it has not verified.

`import smtpverify as smtplib` gives every name of `smtplib`; `SMTP`, `SMTP_SSL` and `LMTP` are ours. What is
ours alone is imported by name: `from smtpverify import *` gives what smtplib's gives.
"""

from __future__ import annotations

import importlib
import sys
from smtplib import (
    CRLF as CRLF,
    LMTP_PORT as LMTP_PORT,
    OLDSTYLE_AUTH as OLDSTYLE_AUTH,
    SMTP_PORT as SMTP_PORT,
    SMTP_SSL_PORT as SMTP_SSL_PORT,
    SMTPAuthenticationError as SMTPAuthenticationError,
    SMTPConnectError as SMTPConnectError,
    SMTPDataError as SMTPDataError,
    SMTPException as SMTPException,
    SMTPHeloError as SMTPHeloError,
    SMTPNotSupportedError as SMTPNotSupportedError,
    SMTPRecipientsRefused as SMTPRecipientsRefused,
    SMTPResponseException as SMTPResponseException,
    SMTPSenderRefused as SMTPSenderRefused,
    SMTPServerDisconnected as SMTPServerDisconnected,
    bCRLF as bCRLF,
    quoteaddr as quoteaddr,
    quotedata as quotedata,
)
from typing import TYPE_CHECKING

from . import stdlib as stdlib  # now: a program may put this package in smtplib's place later
from .errors import (
    AuthenticationError as AuthenticationError,
    CertificateExpiredError as CertificateExpiredError,
    CertificateFormatError as CertificateFormatError,
    CommandArgumentError as CommandArgumentError,
    DeliveryUnknownError as DeliveryUnknownError,
    GreetingError as GreetingError,
    HostnameMismatchError as HostnameMismatchError,
    InsecureContextError as InsecureContextError,
    InsecureContextWarning as InsecureContextWarning,
    KnownHostsWarning as KnownHostsWarning,
    LMTPDataError as LMTPDataError,
    MalformedReplyError as MalformedReplyError,
    MessageTooLargeError as MessageTooLargeError,
    PeerVerificationError as PeerVerificationError,
    PinFormatError as PinFormatError,
    PinMismatchError as PinMismatchError,
    PlaintextCredentialsError as PlaintextCredentialsError,
    PlaintextFallbackWarning as PlaintextFallbackWarning,
    PlaintextInjectionError as PlaintextInjectionError,
    PlaintextWarning as PlaintextWarning,
    ProtocolError as ProtocolError,
    ReferenceIdentifierError as ReferenceIdentifierError,
    RelayURLError as RelayURLError,
    ServerSignatureError as ServerSignatureError,
    SMTPVerifyError as SMTPVerifyError,
    STARTTLSRefusedError as STARTTLSRefusedError,
    TLSDowngradeError as TLSDowngradeError,
    TLSHandshakeError as TLSHandshakeError,
    TLSHandshakeTimeoutError as TLSHandshakeTimeoutError,
    TLSRequiredError as TLSRequiredError,
    TrustError as TrustError,
    UnsolicitedReplyError as UnsolicitedReplyError,
    UntrustedCertificateError as UntrustedCertificateError,
)

__all__ = [  # noqa: RUF022 # in smtplib's order
    "SMTPException",
    "SMTPNotSupportedError",
    "SMTPServerDisconnected",
    "SMTPResponseException",
    "SMTPSenderRefused",
    "SMTPRecipientsRefused",
    "SMTPDataError",
    "SMTPConnectError",
    "SMTPHeloError",
    "SMTPAuthenticationError",
    "quoteaddr",
    "quotedata",
    "SMTP",
    "SMTP_SSL",
]

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .inject import (
        Injection as Injection,
        extract_from_smtplib as extract_from_smtplib,
        inject_into_smtplib as inject_into_smtplib,
    )
    from .relay import Relay as Relay
    from .schemes import Mode as Mode
    from .smtp.client import LMTP as LMTP, SMTP as SMTP, SMTP_SSL as SMTP_SSL
    from .smtp.opening import connect as connect
    from .smtp.replies import Reply as Reply, enhanced_status as enhanced_status
    from .smtp.timeouts import Timeouts as Timeouts
    from .smtp.transaction import Outcome as Outcome, SendResult as SendResult
    from .tls.causes import Cause as Cause
    from .tls.context import VerifyingContext as VerifyingContext, create_context as create_context
    from .tls.evidence import Diagnosis as Diagnosis
    from .tls.identity import PeerIdentity as PeerIdentity
    from .tls.names import (
        IdentifierKind as IdentifierKind,
        PresentedIdentifier as PresentedIdentifier,
        ReferenceIdentifier as ReferenceIdentifier,
    )
    from .tls.pins import Pin as Pin
    from .tls.trust import Trust as Trust
    from .tls.x509 import Certificate as Certificate, DistinguishedName as DistinguishedName
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
        if name.startswith("__") or not hasattr(stdlib.smtplib, name):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
        return getattr(stdlib.smtplib, name)

    def __dir__() -> list[str]:
        return sorted(globals().keys() | _LATE.keys())
