"""Why a peer is refused: the causes, and what OpenSSL's codes and mnemonics mean in their terms.

Tables for `diagnosis`, which looks at the evidence besides. Pure.
"""

from __future__ import annotations

import enum

__all__ = ["Cause", "explain_reason", "explain_verdict"]


class Cause(enum.Enum):
    """Why a peer was refused; the value is a short phrase for people."""

    WRONG_NAME = "certificate for another name"
    COMMON_NAME_ONLY = "name in the common name only"
    TOO_DEEP_FOR_WILDCARD = "name too deep for the wildcard"
    INTERNATIONALIZED_NAME = "certificate lacks the internationalized name"
    ADDRESS_NOT_IN_CERTIFICATE = "address instead of a name"
    UNKNOWN_ISSUER = "unknown issuer"
    SELF_SIGNED_LEAF = "self-signed certificate"
    SELF_SIGNED_ROOT_IN_CHAIN = "untrusted root in the chain"
    MISSING_INTERMEDIATE = "intermediate certificate not sent"
    EXPIRED = "certificate expired"
    NOT_YET_VALID = "certificate not yet valid"
    WRONG_KEY_USAGE = "certificate not made for servers"
    WEAK_KEY_OR_SIGNATURE = "key or signature too weak"
    DISTRUSTED_KEY = "key distrusted"
    STRICT_PROFILE = "certificate breaks RFC 5280"
    INVALID_CHAIN = "invalid chain"
    MALFORMED_CERTIFICATE = "malformed certificate"
    NO_CERTIFICATE = "no certificate"
    SESSION_RESUMED = "session resumed without verification"
    CONTEXT_NOT_VERIFYING = "TLS set up without verification"
    PIN_MISMATCH = "pin mismatch"
    KNOWN_KEY_CHANGED = "key of a known host changed"
    VERSION_TOO_OLD = "TLS version too old"
    NO_COMMON_CIPHER = "no common cipher"
    SERVER_NAME_UNKNOWN = "server does not know the name"
    CLIENT_CERTIFICATE_REFUSED = "client certificate missing or refused"
    PLAINTEXT_NOT_TLS = "plaintext where TLS was expected"
    TLS_NOT_PLAINTEXT = "TLS where plaintext was expected"
    PLAINTEXT_INJECTED = "plaintext behind the change to TLS"
    STARTTLS_NOT_OFFERED = "STARTTLS not offered"
    STARTTLS_REFUSED = "STARTTLS refused"
    TLS_DOWNGRADE = "TLS no longer offered"
    NO_GREETING = "no greeting"
    BROKEN_OFF = "handshake broken off"


def explain_verdict(code: int, message: str) -> tuple[Cause, str, str]:
    """Explain OpenSSL's verdict on a chain by its code alone.

    Args:
        code: X509_V_ERR_*, as `ssl.SSLCertVerificationError.verify_code`.
        message: OpenSSL's text for it.

    Returns:
        Cause, summary and remedy.
    """
    if code == 26:
        return (
            Cause.WRONG_KEY_USAGE,
            f"the certificate is not made for servers: {message}",
            "Have it reissued with serverAuth among its extended key usages (RFC 5280 4.2.1.12).",
        )
    if code == 28:  # X509_V_ERR_CERT_REJECTED
        return (
            Cause.DISTRUSTED_KEY,
            f"a key in the chain is distrusted: {message}",
            (
                "Have the server's certificate issued by another CA. Newer Pythons (from 3.13 on) refuse "
                "CA keys that are known to be compromised; a file of TRUSTED CERTIFICATEs can reject one too."
            ),
        )
    if code in (66, 67, 68):
        return (
            Cause.WEAK_KEY_OR_SIGNATURE,
            f"a key or signature in the chain is too weak: {message}",
            "Have the chain reissued with RSA of 2048 bits or more, or ECDSA, and SHA-256 or better.",
        )
    if 80 <= code <= 94:  # the checks that VERIFY_X509_STRICT adds
        return (
            Cause.STRICT_PROFILE,
            f"the chain breaks RFC 5280: {message}",
            (
                "Python 3.13 and later refuse this (VERIFY_X509_STRICT). Have the private CA's certificates "
                "reissued by a current tool, with key identifiers, basic constraints and key usage."
            ),
        )
    return (
        Cause.INVALID_CHAIN,
        f"the chain is not valid: {message} (verify code {code})",
        "Have the server's certificate and its chain reissued or put in order.",
    )


# OpenSSL's reasons: the mnemonic of the error, in the spelling of before 3.2 where that differs.
_REASONS: dict[Cause, frozenset[str]] = {
    Cause.PLAINTEXT_NOT_TLS: frozenset(
        {"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST",
         "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "NOT_SERVER"}
    ),
    Cause.VERSION_TOO_OLD: frozenset(
        {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE", "VERSION_TOO_LOW",
         "TLSV1_ALERT_INAPPROPRIATE_FALLBACK"}
    ),
    Cause.NO_COMMON_CIPHER: frozenset(
        {"SSLV3_ALERT_HANDSHAKE_FAILURE", "NO_SHARED_CIPHER", "WRONG_CIPHER_RETURNED",
         "UNKNOWN_CIPHER_RETURNED", "NO_CIPHERS_AVAILABLE", "TLSV1_ALERT_INSUFFICIENT_SECURITY"}
    ),
    Cause.WEAK_KEY_OR_SIGNATURE: frozenset(
        {"DH_KEY_TOO_SMALL", "EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "WRONG_SIGNATURE_TYPE"}
    ),
    Cause.SERVER_NAME_UNKNOWN: frozenset(
        {"TLSV1_UNRECOGNIZED_NAME", "TLSV1_ALERT_UNRECOGNIZED_NAME", "SSLV3_ALERT_UNRECOGNIZED_NAME"}
    ),
    Cause.CLIENT_CERTIFICATE_REFUSED: frozenset(
        {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE", "TLSV1_ALERT_UNKNOWN_CA",
         "SSLV3_ALERT_CERTIFICATE_UNKNOWN", "SSLV3_ALERT_CERTIFICATE_EXPIRED",
         "SSLV3_ALERT_CERTIFICATE_REVOKED", "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
         "TLSV1_ALERT_ACCESS_DENIED"}
    ),
}  # fmt: skip

_ADVICE: dict[Cause, tuple[str, str]] = {
    Cause.PLAINTEXT_NOT_TLS: (
        "the server answered in plaintext where TLS was expected",
        (
            "Is this the right port? TLS from the first byte (smtps://, SMTP_SSL) is for port 465, "
            "STARTTLS (tls://, starttls()) for 587 and 25."
        ),
    ),
    Cause.VERSION_TOO_OLD: (
        "the server speaks no TLS version that is new enough",
        "Have TLS 1.3 enabled on the server, or TLS 1.2 where minimum_version allows it.",
    ),
    Cause.NO_COMMON_CIPHER: (
        "the server shares no cipher with us",
        "Have ciphers with forward secrecy (ECDHE) and a current TLS version enabled on the server.",
    ),
    Cause.WEAK_KEY_OR_SIGNATURE: (
        "the server's key or signature is too weak",
        "Have it replaced: RSA or DH of 2048 bits or more, or elliptic curves, and SHA-256 or better.",
    ),
    Cause.SERVER_NAME_UNKNOWN: (
        "the server does not know itself by this name",
        "Check the host name, or give the server's own name: ?server-name= in a URL, or server_hostname.",
    ),
    Cause.CLIENT_CERTIFICATE_REFUSED: (
        "the server wants a client certificate, or refused ours",
        (
            "Give one that the server knows: ?client-cert= and ?client-key= in a URL, or Trust's client_cert "
            "and client_key."
        ),
    ),
    Cause.BROKEN_OFF: (
        "the TLS handshake broke off",
        "Try again; if it goes on, ask the server's administrator for the reason in its log.",
    ),
}


def explain_reason(reason: str) -> tuple[Cause, str, str]:
    """Explain why a handshake ended without a verdict.

    Args:
        reason: OpenSSL's mnemonic, as `ssl.SSLError.reason`; "" where the network ended it.

    Returns:
        Cause, summary and remedy.
    """
    reason = reason.replace("SSL/TLS_ALERT_", "SSLV3_ALERT_")
    cause = next((each for each, reasons in _REASONS.items() if reason in reasons), Cause.BROKEN_OFF)
    return (cause, *_ADVICE[cause])
