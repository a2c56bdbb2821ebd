"""What OpenSSL's codes and mnemonics mean, by tables; and that a tired reader understands the words."""

from __future__ import annotations

import re
import ssl

import pytest

from smtpverify.tls.causes import Cause, explain_reason, explain_verdict

MNEMONIC = re.compile(r"[A-Z0-9]{2,}_[A-Z0-9_]{2,}")
PIN_TO_COPY = re.compile(r"pin-only=sha256:[0-9a-f]{64}")


def assert_well_said(summary: str, remedy: str) -> None:
    """Sentences of one line each; OpenSSL's words stand behind ours, as an addition."""
    assert summary.isprintable()
    assert remedy.isprintable()
    assert summary.startswith("TLS ") or summary[0].islower()
    assert not summary.endswith(".")
    ours = re.sub(r" \([^()]*\)", "", summary)
    assert "error" not in ours
    assert not MNEMONIC.search(ours)
    assert remedy[0].isupper()
    assert remedy.endswith(".") or PIN_TO_COPY.fullmatch(remedy.rpartition(" ")[2])


# --- the causes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", Cause, ids=lambda cause: cause.name)
def test_a_cause_is_a_short_phrase(cause: Cause) -> None:
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9 -]{5,45}", cause.value)
    assert not MNEMONIC.search(cause.value)
    assert Cause(cause.value) is cause


def test_no_two_causes_are_the_same() -> None:
    assert len(Cause.__members__) == len(Cause)  # an alias would be a member more


# --- verdicts on a chain -------------------------------------------------------------------------

WEAK, STRICT, USAGE = Cause.WEAK_KEY_OR_SIGNATURE, Cause.STRICT_PROFILE, Cause.WRONG_KEY_USAGE

# X509_V_ERR_* of x509_vfy.h; those that only VERIFY_X509_STRICT gives are a run.
VERDICTS: dict[int, Cause] = {
    7: Cause.INVALID_CHAIN,  # CERT_SIGNATURE_FAILURE
    23: Cause.INVALID_CHAIN,  # CERT_REVOKED
    25: Cause.INVALID_CHAIN,  # PATH_LENGTH_EXCEEDED
    26: USAGE,  # INVALID_PURPOSE
    28: Cause.DISTRUSTED_KEY,  # CERT_REJECTED
    34: Cause.INVALID_CHAIN,  # UNHANDLED_CRITICAL_EXTENSION
    47: Cause.INVALID_CHAIN,  # PERMITTED_VIOLATION
    66: WEAK,  # EE_KEY_TOO_SMALL
    67: WEAK,  # CA_KEY_TOO_SMALL
    68: WEAK,  # CA_MD_TOO_WEAK
    79: Cause.INVALID_CHAIN,  # INVALID_CA
    80: STRICT,  # PATHLEN_INVALID_FOR_NON_CA
    85: STRICT,  # MISSING_AUTHORITY_KEY_IDENTIFIER
    86: STRICT,  # MISSING_SUBJECT_KEY_IDENTIFIER
    89: STRICT,  # CA_BCONS_NOT_CRITICAL
    92: STRICT,  # CA_CERT_MISSING_KEY_USAGE
    93: STRICT,  # EXTENSIONS_REQUIRE_VERSION_3
    94: STRICT,  # EC_KEY_EXPLICIT_PARAMS
}
REMEDIES = {
    USAGE: "serverAuth",
    WEAK: "RSA of 2048 bits or more, or ECDSA, and SHA-256 or better",
    Cause.DISTRUSTED_KEY: "issued by another CA",
    STRICT: "Python 3.13 and later refuse this (VERIFY_X509_STRICT)",
    Cause.INVALID_CHAIN: "reissued or put in order",
}


@pytest.mark.parametrize(("code", "cause"), VERDICTS.items())
def test_verdicts(code: int, cause: Cause) -> None:
    found, summary, remedy = explain_verdict(code, "OpenSSL's own words")
    assert found is cause
    assert "OpenSSL's own words" in summary
    assert REMEDIES[cause] in remedy
    assert_well_said(summary, remedy)


def test_what_is_not_in_the_table_is_told_with_its_code() -> None:
    """No code is without an explanation, nor has one of another's: 81 or 120, say, and 0."""
    for code in set(range(130)) - set(VERDICTS):
        cause, summary, remedy = explain_verdict(code, "odd")
        assert cause is (STRICT if 80 <= code <= 94 else Cause.INVALID_CHAIN)
        assert (f"(verify code {code})" in summary) is (cause is Cause.INVALID_CHAIN)
        assert_well_said(summary, remedy)


# --- reasons for no verdict ----------------------------------------------------------------------

REASONS: dict[Cause, tuple[str, ...]] = {
    Cause.PLAINTEXT_NOT_TLS: (
        "WRONG_VERSION_NUMBER",
        "PACKET_LENGTH_TOO_LONG",
        "HTTP_REQUEST",
        "RECORD_LAYER_FAILURE",
    ),
    Cause.VERSION_TOO_OLD: (
        "UNSUPPORTED_PROTOCOL",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "NO_PROTOCOLS_AVAILABLE",
        "VERSION_TOO_LOW",
    ),
    Cause.NO_COMMON_CIPHER: (
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "SSL/TLS_ALERT_HANDSHAKE_FAILURE",
        "NO_SHARED_CIPHER",
        "WRONG_CIPHER_RETURNED",
    ),
    Cause.WEAK_KEY_OR_SIGNATURE: ("DH_KEY_TOO_SMALL", "EE_KEY_TOO_SMALL", "WRONG_SIGNATURE_TYPE"),
    Cause.SERVER_NAME_UNKNOWN: (
        "TLSV1_UNRECOGNIZED_NAME",
        "TLSV1_ALERT_UNRECOGNIZED_NAME",
        "SSL/TLS_ALERT_UNRECOGNIZED_NAME",
    ),
    Cause.CLIENT_CERTIFICATE_REFUSED: (
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSL/TLS_ALERT_BAD_CERTIFICATE",
        "SSL/TLS_ALERT_UNSUPPORTED_CERTIFICATE",
        "SSL/TLS_ALERT_CERTIFICATE_REVOKED",
        "SSL/TLS_ALERT_CERTIFICATE_EXPIRED",
        "SSL/TLS_ALERT_CERTIFICATE_UNKNOWN",
        "TLSV1_ALERT_UNKNOWN_CA",
    ),
    Cause.BROKEN_OFF: ("", "UNEXPECTED_EOF_WHILE_READING", "TLSV1_ALERT_INTERNAL_ERROR", "NO_SUCH_REASON"),
}
ADVICE = {
    Cause.PLAINTEXT_NOT_TLS: ("answered in plaintext where TLS was expected", "port 465"),
    Cause.VERSION_TOO_OLD: ("no TLS version that is new enough", "TLS 1.3"),
    Cause.NO_COMMON_CIPHER: ("shares no cipher", "ECDHE"),
    Cause.WEAK_KEY_OR_SIGNATURE: ("too weak", "2048 bits"),
    Cause.SERVER_NAME_UNKNOWN: ("does not know itself by this name", "server_hostname"),
    Cause.CLIENT_CERTIFICATE_REFUSED: ("wants a client certificate, or refused ours", "client_cert"),
    Cause.BROKEN_OFF: ("broke off", "its log"),
}


@pytest.mark.parametrize(
    ("reason", "cause"), [(reason, cause) for cause, reasons in REASONS.items() for reason in reasons]
)
def test_reasons(reason: str, cause: Cause) -> None:
    """In the spelling of every OpenSSL: from 3.2 on an alert of SSLv3's is one of SSL/TLS."""
    found, summary, remedy = explain_reason(reason)
    assert found is cause
    said, advised = ADVICE[cause]
    assert said in summary
    assert advised in remedy
    assert_well_said(summary, remedy)


# --- the same, as the OpenSSL at hand spells it ----------------------------------------------------

# AlertDescription (RFC 8446 6 and its predecessors) of a fatal alert in the place of a ServerHello.
ALERTS: dict[int, Cause] = {
    40: Cause.NO_COMMON_CIPHER,  # handshake_failure
    42: Cause.CLIENT_CERTIFICATE_REFUSED,  # bad_certificate
    43: Cause.CLIENT_CERTIFICATE_REFUSED,  # unsupported_certificate
    44: Cause.CLIENT_CERTIFICATE_REFUSED,  # certificate_revoked
    45: Cause.CLIENT_CERTIFICATE_REFUSED,  # certificate_expired
    46: Cause.CLIENT_CERTIFICATE_REFUSED,  # certificate_unknown
    48: Cause.CLIENT_CERTIFICATE_REFUSED,  # unknown_ca
    49: Cause.CLIENT_CERTIFICATE_REFUSED,  # access_denied
    70: Cause.VERSION_TOO_OLD,  # protocol_version
    71: Cause.NO_COMMON_CIPHER,  # insufficient_security
    86: Cause.VERSION_TOO_OLD,  # inappropriate_fallback
    112: Cause.SERVER_NAME_UNKNOWN,  # unrecognized_name
    116: Cause.CLIENT_CERTIFICATE_REFUSED,  # certificate_required
}


def alert(description: int) -> bytes:
    return b"\x15\x03\x03\x00\x02\x02" + bytes([description])


def server_hello(version: int = 0x0303, cipher: int = 0xC02F) -> bytes:
    """Return a record with a ServerHello of RFC 5246 7.4.1.3, without session and extensions."""
    body = version.to_bytes(2, "big") + bytes(32) + b"\0" + cipher.to_bytes(2, "big") + b"\0"
    message = b"\x02" + len(body).to_bytes(3, "big") + body
    return b"\x16" + version.to_bytes(2, "big") + len(message).to_bytes(2, "big") + message


def reason_for(answer: bytes) -> str:
    """What OpenSSL says of a server that answers a ClientHello so."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # as the gate has it; a distribution's Python may not
    client = context.wrap_bio(incoming, outgoing, server_hostname="mail.example.org")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    incoming.write(answer)
    with pytest.raises(ssl.SSLError) as caught:
        client.do_handshake()
    return caught.value.reason or ""


@pytest.mark.parametrize(("description", "cause"), ALERTS.items())
def test_alerts(description: int, cause: Cause) -> None:
    assert explain_reason(reason_for(alert(description)))[0] is cause


def test_other_alerts_give_no_hint() -> None:
    for description in set(range(1, 130)) - set(ALERTS):
        assert explain_reason(reason_for(alert(description)))[0] is Cause.BROKEN_OFF


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"220 mail.example.org ESMTP\r\n", Cause.PLAINTEXT_NOT_TLS),
        (b"454 4.7.0 No TLS here after all\r\n", Cause.PLAINTEXT_NOT_TLS),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Cause.PLAINTEXT_NOT_TLS),
        (server_hello(version=0x0302), Cause.VERSION_TOO_OLD),
        (server_hello(version=0x0301), Cause.VERSION_TOO_OLD),
        (server_hello(version=0x0300), Cause.VERSION_TOO_OLD),
        (server_hello(cipher=0x0005), Cause.NO_COMMON_CIPHER),  # RC4, which we never offered
        (server_hello()[:-1] + b"\1", Cause.BROKEN_OFF),  # a compression that we never offered
    ],
)
def test_what_the_client_itself_refuses(answer: bytes, cause: Cause) -> None:
    assert explain_reason(reason_for(answer))[0] is cause
