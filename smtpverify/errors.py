"""Every exception and warning of smtpverify, and how they print.

Each class keeps the base that callers of :mod:`smtplib` and :mod:`ssl` already catch. What a peer
sent never reaches a message unescaped: whoever builds one passes the text through `printable`.
"""

from __future__ import annotations

import smtplib
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, TypedDict

    from typing_extensions import Unpack

    from .tls.evidence import Diagnosis

    class _Where(TypedDict, total=False):
        """What every exception here takes by keyword."""

        host: str | None
        port: int | None
        diagnosis: Diagnosis | None

    class _Reply(_Where, total=False):
        """What one with a reply takes besides."""

        smtp_code: int
        smtp_error: bytes | None


__all__ = [
    "AuthenticationError",
    "CertificateExpiredError",
    "CertificateFormatError",
    "CommandArgumentError",
    "DeliveryUnknownError",
    "GreetingError",
    "HostnameMismatchError",
    "InsecureContextError",
    "InsecureContextWarning",
    "KnownHostsWarning",
    "LMTPDataError",
    "MalformedReplyError",
    "MessageTooLargeError",
    "PeerVerificationError",
    "PinFormatError",
    "PinMismatchError",
    "PlaintextCredentialsError",
    "PlaintextFallbackWarning",
    "PlaintextInjectionError",
    "PlaintextWarning",
    "ProtocolError",
    "ReferenceIdentifierError",
    "RelayURLError",
    "SMTPVerifyError",
    "STARTTLSRefusedError",
    "ServerSignatureError",
    "TLSDowngradeError",
    "TLSHandshakeError",
    "TLSHandshakeTimeoutError",
    "TLSRequiredError",
    "TrustError",
    "UnsolicitedReplyError",
    "UntrustedCertificateError",
    "printable",
]


def printable(text: str | bytes, limit: int = 200) -> str:
    """Escape text from a peer for a log or a terminal.

    Every character that is not printable (control, format and bidirectional characters,
    surrogates, line separators) and the backslash become backslash escapes, so that the result is
    one line and unambiguous. Bytes are read as ASCII. At most `limit` characters of the input are
    kept; a longer one ends in an ellipsis.
    """
    if isinstance(text, bytes):
        # Bytes outside ASCII become lone surrogates, which the escaping below shows as \xNN.
        text = text[: limit + 1].decode("ascii", "surrogateescape")
    shown = "".join(char if char.isprintable() and char != "\\" else _escape(char) for char in text[:limit])
    return shown + "…" if len(text) > limit else shown


def _escape(char: str) -> str:
    code = ord(char)
    if char == "\\":
        return "\\\\"
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # a byte that was no ASCII
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class SMTPVerifyError(smtplib.SMTPException):
    """Base of every exception of smtpverify; an `smtplib.SMTPException`.

    `args` has the form of the class of smtplib that callers unpack: `(message,)`, or what the subclass says.

    Attributes:
        message: what happened, without host and port.
        host: the host that was asked for, or None where none is concerned.
        port: its port, or None where it is not known (a Unix socket, an in-memory TLS object).
        diagnosis: what was found out about the failure (`Diagnosis`), or None.
    """

    def __init__(
        self,
        message: str,
        *,
        host: str | None = None,
        port: int | None = None,
        diagnosis: Diagnosis | None = None,
    ) -> None:
        # Set directly, since the inherited initialisers each want arguments of their own.
        self.args = (message,)
        self.message = message
        self.host = host
        self.port = port
        self.diagnosis = diagnosis

    def __reduce__(self) -> tuple[Any, ...]:
        # By BaseException's own, the constructor would get `args` back.
        return _restored, (type(self), self.args), vars(self)

    def __str__(self) -> str:
        # An ssl.SSLError of one argument would print as a tuple.
        message = self.message
        if self.host is None:
            return message
        host = printable(self.host)
        if self.port is None:
            return f"{host}: {message}"
        return f"[{host}]:{self.port}: {message}" if ":" in host else f"{host}:{self.port}: {message}"


def _restored(kind: type[SMTPVerifyError], args: tuple[Any, ...]) -> SMTPVerifyError:
    """Make an exception again that was pickled or copied; its attributes follow."""
    error = kind.__new__(kind)
    error.args = args
    return error


class _ReplyError(SMTPVerifyError, smtplib.SMTPResponseException):
    """Base of those that stand for a reply, whose `args` are its code and text, as smtplib's.

    They can be made of these `args` alone, as Celery and others make an exception again.
    """

    smtp_error: bytes

    def __init__(
        self,
        message: str | int,
        text: bytes | str = b"",
        *,
        smtp_code: int = -1,
        smtp_error: bytes | None = None,
        **where: Unpack[_Where],
    ) -> None:
        if not isinstance(message, str):
            smtp_code = message
            smtp_error = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
            message = f"{smtp_code} {printable(smtp_error)}"
        super().__init__(message, **where)
        self.smtp_code = smtp_code
        self.smtp_error = message.encode("utf-8", "replace") if smtp_error is None else smtp_error
        self.args = self.smtp_code, self.smtp_error


class PeerVerificationError(SMTPVerifyError, ssl.SSLCertVerificationError):
    """The peer showed who it is, and it is not whom we asked for. Nothing was sent to it.

    `diagnosis` is always set. `verify_code` (int) and `verify_message` (str) are OpenSSL's own,
    0 and "" where OpenSSL was content and one of our checks was not.
    """

    library = "SSL"
    reason = "CERTIFICATE_VERIFY_FAILED"
    verify_code = 0
    verify_message = ""


class UntrustedCertificateError(PeerVerificationError):
    """No chain of acceptable certificates leads from the peer's to a trusted root (RFC 5280 6)."""


class CertificateExpiredError(PeerVerificationError):
    """A certificate of the chain is outside its validity period, on either side of it."""


class HostnameMismatchError(PeerVerificationError):
    """No presented identifier matches the reference identifier (RFC 9525 6)."""


class PinMismatchError(PeerVerificationError):
    """The peer's certificate matches none of the pins."""


class TLSRequiredError(SMTPVerifyError, smtplib.SMTPNotSupportedError):
    """TLS was asked for, and the server does not offer STARTTLS (RFC 3207)."""


class STARTTLSRefusedError(TLSRequiredError, _ReplyError):
    """The server offered STARTTLS and refused it; `smtp_code` and `smtp_error`, and `args`, are its reply."""


class TLSDowngradeError(TLSRequiredError):
    """TLS is known to be on offer there, and was not to be had; an opportunistic URL goes no further."""


class TLSHandshakeError(SMTPVerifyError, ssl.SSLError):
    """The TLS handshake broke off before the peer could be judged."""

    library = "SSL"
    reason = ""


class TLSHandshakeTimeoutError(TLSHandshakeError, TimeoutError):
    """The TLS handshake did not end in time."""


class ProtocolError(SMTPVerifyError, smtplib.SMTPServerDisconnected):
    """The peer broke the SMTP protocol; the connection is closed."""


class PlaintextInjectionError(ProtocolError):
    """Bytes in plaintext waited where only TLS may follow (RFC 3207 4.2); the connection is closed."""


class MalformedReplyError(ProtocolError, _ReplyError):
    """What came is no reply (RFC 5321 4.2); the connection is closed.

    `smtp_code` and `smtp_error`, and `args`, are what could be made of it: -1 where there is no code, and
    `message` in octets where there is no text.
    """


class GreetingError(_ReplyError, smtplib.SMTPConnectError):
    """What came in the place of a greeting is no reply (RFC 5321 4.2); the connection is closed.

    `smtp_code` and `smtp_error`, and `args`, are what could be made of it: -1 where there is no code, and
    `message` in octets where there is no text.
    """


class UnsolicitedReplyError(ProtocolError):
    """The server spoke where it was not its turn; the connection is closed, and nothing more was sent."""


class DeliveryUnknownError(SMTPVerifyError, smtplib.SMTPServerDisconnected):
    """A message was sent whole, and its reply did not come: it may have been accepted."""


class MessageTooLargeError(_ReplyError, smtplib.SMTPSenderRefused):
    """The message is larger than the server's limit (RFC 1870); nothing was sent.

    Attributes:
        smtp_code, smtp_error: 552, and a text for it, as the server would have replied.
        sender: as given.
        args: the three of them.
    """

    def __init__(
        self,
        message: str | int,
        text: bytes | str = b"",
        sender: str = "",
        *,
        smtp_code: int = 552,
        smtp_error: bytes | None = None,
        **where: Unpack[_Where],
    ) -> None:
        if smtp_error is None:
            smtp_error = b"5.3.4 Message size exceeds the server's limit"
        super().__init__(message, text, smtp_code=smtp_code, smtp_error=smtp_error, **where)
        self.sender = sender
        self.args = self.smtp_code, self.smtp_error, sender


class LMTPDataError(  # type: ignore[misc] # typeshed gives each base an `args` of its own
    _ReplyError, smtplib.SMTPDataError, smtplib.SMTPRecipientsRefused
):
    """Every recipient that had been accepted was refused after the data (RFC 2033 4.2).

    Attributes:
        smtp_code, smtp_error: of the first such refusal; `args`, as of `SMTPDataError`, are the two.
        recipients: recipient -> (code, text), of all that were refused.
    """

    def __init__(
        self,
        message: str | int,
        text: bytes | str = b"",
        *,
        recipients: dict[str, tuple[int, bytes]] | None = None,
        **reply: Unpack[_Reply],
    ) -> None:
        super().__init__(message, text, **reply)
        self.recipients = {} if recipients is None else recipients


class CommandArgumentError(SMTPVerifyError, ValueError):
    """An argument of a command can't be sent (RFC 5321 4.1.2); nothing was."""


class PlaintextCredentialsError(SMTPVerifyError):
    """Credentials were about to go over plaintext to another machine; nothing was sent."""


class AuthenticationError(_ReplyError, smtplib.SMTPAuthenticationError):
    """A login failed (RFC 4954); no other mechanism was tried with the same password.

    Attributes:
        smtp_code: of the server's refusal; -1 where its challenges made no sense, and the connection was
            closed.
        smtp_error: the refusal's text; with -1, `message` in octets. `args` are the two.
        mechanism: what was tried.
        offered: the mechanisms that the server offers.
        complaint: what the server said besides its refusal, such as the JSON of RFC 7628 3.2.2; or empty.
    """

    def __init__(
        self,
        message: str | int,
        text: bytes | str = b"",
        *,
        mechanism: str = "",
        offered: tuple[str, ...] = (),
        complaint: bytes = b"",
        **reply: Unpack[_Reply],
    ) -> None:
        super().__init__(message, text, **reply)
        self.mechanism = mechanism
        self.offered = offered
        self.complaint = complaint


class ServerSignatureError(AuthenticationError):
    """The server could not prove that it knows the password (RFC 5802 5); the connection is closed."""


class RelayURLError(SMTPVerifyError, ValueError):
    """A host or relay URL can't be used; the message names the part. Nothing was sent."""


class ReferenceIdentifierError(SMTPVerifyError, ValueError):
    """A text is neither a host name nor an address that a certificate could be checked against."""


class PinFormatError(SMTPVerifyError, ValueError):
    """A text is no pin."""


class TrustError(SMTPVerifyError, ValueError):
    """CA file, CA directory, client certificate or key can't be used; the message names the file."""


class InsecureContextError(SMTPVerifyError, ValueError):
    """A context does not verify, or a verifying context was about to be changed."""


class CertificateFormatError(SMTPVerifyError, ValueError):
    """The bytes are no certificate in DER (X.690, RFC 5280 4.1)."""


class PlaintextWarning(UserWarning):
    """Mail goes out in plaintext, and nobody wrote a scheme that says so."""


class PlaintextFallbackWarning(PlaintextWarning):
    """An opportunistic relay URL fell back to plaintext."""


class InsecureContextWarning(UserWarning):
    """A program gave a context that accepts an impostor; the server was verified by ours in its place."""


class KnownHostsWarning(UserWarning):
    """What was learned of a server could not be written down: nobody will notice a later downgrade."""
