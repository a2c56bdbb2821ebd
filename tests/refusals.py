"""What the tests of diagnoses share: the words of each refusal, and that they are fit for a log."""

from __future__ import annotations

import copy
import pickle
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import smtpverify
from smtpverify import (
    Cause,
    HostnameMismatchError,
    PinMismatchError,
    TLSHandshakeError,
    TLSHandshakeTimeoutError,
    Trust,
    UntrustedCertificateError,
)
from tests.bed import HOST, Behaviour, Handshake, Issued, Server, Tls, World
from tests.bed.certs import DNS_NAME, RFC822_NAME, Authority, rsa_key, san_der
from tests.gate import IMPLICIT, OTHER, OTHER_PIN
from tests.test_causes import alert, server_hello

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpverify import Diagnosis

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


# Line ends, a colour, NUL, a bidirectional override, a line separator, and what would undo an escape.
HOSTILE = "a\r\nb\x1b[31m\0\u202e\u2028\\x41\x7f"
ESCAPED = r"a\x0d\x0ab\x1b[31m\x00\u202e\u2028\\x41\x7f"


def connect(
    server: Server, scheme: str = "smtps", host: str = HOST, trust: Trust | None = None, timeout: float = 5
) -> None:
    smtpverify.connect(f"{scheme}://{host}:{server.port}", trust=trust, timeout=timeout).close()


def verdict(code: int, message: str = "in OpenSSL's words") -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, message)
    error.verify_code, error.verify_message = code, message
    return error


def assert_one_line(error: Any) -> None:
    """A log can bear it: nothing in it that moves a cursor, ends a line or turns the text around."""
    diagnosis: Diagnosis = error.diagnosis
    assert len(str(error)) < 3000
    shown = (str(error), diagnosis.summary, diagnosis.remedy, diagnosis.subject, diagnosis.issuer)
    messages = (diagnosis.verify_message, diagnosis.openssl_message, repr(diagnosis))
    for text in (*shown, *messages, *diagnosis.names, *diagnosis.expected_pins):
        assert text is None or text.isprintable()
    assert error.message == diagnosis.summary
    assert repr(error).isprintable()


def assert_survives_a_pickle(error: Any) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


# --- one case a cause, and more --------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A server, what its client asks for, and the words of the refusal.

    Attributes:
        summary: {reason} and {verdict} stand for OpenSSL's own, which differ between its versions.
        remedy: a part of it.
        served: a kind of certificate, or what makes one.
        by: the class of the error behind ours, or None where one of our checks refused.
        shown: the host as the error has it, where that is not as it was given.
    """

    kind: type[smtpverify.SMTPVerifyError]
    cause: Cause
    summary: str
    remedy: str
    served: str | Callable[[World], Issued | ssl.SSLContext] = "good"
    by: type[BaseException] | tuple[type[BaseException], ...] | None = ssl.SSLCertVerificationError
    behaviour: Behaviour = IMPLICIT
    host: str = HOST
    trust: Trust | None = None
    shown: str | None = None


def names(*entries: str, common_name: str | None = None) -> Callable[[World], Issued]:
    return lambda world: world.root.issue(*entries, common_name=common_name)


def raw_names(*entries: tuple[int, bytes]) -> Callable[[World], Issued]:
    return lambda world: world.root.issue(raw_san=san_der(*entries))


def ciphers(text: str, rsa_bits: int = 0) -> Callable[[World], ssl.SSLContext]:
    def served(world: World) -> ssl.SSLContext:
        issued = world.root.issue(HOST, key=rsa_key(rsa_bits) if rsa_bits else None)
        return issued.server_context(maximum_version=TLS12, ciphers=text)

    return served


def same_name_as_a_root(world: World) -> Issued:
    new = Authority.root("Bed Root 2", "Bed Trust Services")
    return new.intermediate("Bed Intermediate 2").issue(HOST)


def without_organisation(world: World) -> Issued:
    return Authority.root("Nameless", None).issue(HOST)


def not_to_be_read(world: World) -> Issued:
    return world.unknown.issue(raw_san=san_der((DNS_NAME, HOST.encode())) + b"\0")


def answering(octets: bytes) -> Behaviour:
    """A server whose first octets these are, whatever the client says."""
    return Behaviour(greeting=octets)


TWELVE = [f"mx{number}.example.net" for number in range(12)]
TEN = ", ".join(TWELVE[:10])
ISSUED_FOR_THIS = "Connect by a name that the certificate bears, or have"
IN_SAN = "have the certificate reissued with it there."
OWN_CA = "your organisation's own CA"
WHOLE_CHAIN = "send its whole chain (fullchain.pem, not cert.pem)"
U_LABEL = "bücher.example.org"
A_LABEL = "xn--bcher-kva.example.org"
REISSUE = "reissued or put in order"

NETEASE = "163mx02.mxmail.netease.com"
WRONG = (HostnameMismatchError, Cause.WRONG_NAME)
UNTRUSTED = UntrustedCertificateError
REFUSED = TLSHandshakeError
TOO_OLD = "the server speaks no TLS version that is new enough ({reason})"
NO_CIPHER = "the server shares no cipher with us ({reason})"
IN_PLAINTEXT = "the server answered in plaintext where TLS was expected ({reason})"
CLIENT_CERT = "the server wants a client certificate, or refused ours ({reason})"
BROKE_OFF = "the TLS handshake broke off ({reason})"

CASES: dict[str, Case] = {
    # Names.
    "another name": Case(
        *WRONG,
        f"the certificate is valid for *.163.com, 163.com, not for {NETEASE}",
        ISSUED_FOR_THIS,
        names("*.163.com", "163.com"),
        host=NETEASE,
    ),
    "ten names": Case(*WRONG, f"the certificate is valid for {TEN}, not for {HOST}", "", names(*TWELVE[:10])),
    "twelve names": Case(
        *WRONG, f"the certificate is valid for {TEN} and 2 more, not for {HOST}", "", names(*TWELVE)
    ),
    "no name": Case(
        *WRONG,
        f"the certificate names no host in subjectAltName, and so is not valid for {HOST}",
        ISSUED_FOR_THIS,
        raw_names((RFC822_NAME, b"postmaster@example.org")),
    ),
    "only in the common name": Case(
        HostnameMismatchError,
        Cause.COMMON_NAME_ONLY,
        f"the certificate names no host in subjectAltName, and so is not valid for {HOST}, "
        "which only its common name covers",
        IN_SAN,
        names(common_name="Mail.Example.org"),
    ),
    "wildcard in the common name": Case(
        HostnameMismatchError,
        Cause.COMMON_NAME_ONLY,
        f"the certificate is valid for {OTHER}, not for {HOST}, which only its common name covers",
        IN_SAN,
        names(OTHER, common_name="*.example.org"),
    ),
    "common name of another": Case(
        *WRONG,
        f"the certificate is valid for {OTHER}, not for {HOST}",
        ISSUED_FOR_THIS,
        names(OTHER, common_name="*.example.net"),
    ),
    "too deep": Case(
        HostnameMismatchError,
        Cause.TOO_DEEP_FOR_WILDCARD,
        f"the certificate is valid for {OTHER}, *.EXAMPLE.org, not for a.mail.example.org",
        "The wildcard *.example.org stands for exactly one label (RFC 9525 6.3). Connect by a name",
        names(OTHER, "*.EXAMPLE.org"),
        host="a.mail.example.org",
    ),
    "above": Case(
        *WRONG,
        f"the certificate is valid for example.org, *.mx.example.org, not for {HOST}",
        ISSUED_FOR_THIS,
        names("example.org", "*.mx.example.org"),
    ),
    "as deep, with an underscore": Case(
        *WRONG,
        "the certificate is valid for *.example.org, not for a_b.example.org",
        ISSUED_FOR_THIS,
        names("*.example.org"),
        host="a_b.example.org",
    ),
    "U-label": Case(
        HostnameMismatchError,
        Cause.INTERNATIONALIZED_NAME,
        f"the certificate is valid for b\\xc3\\xbccher.example.org, not for {A_LABEL} ({U_LABEL})",
        f"bears the A-labels {A_LABEL} (IDNA 2008, RFC 5891). Connect by",
        raw_names((DNS_NAME, U_LABEL.encode())),
        host=U_LABEL,
        shown=A_LABEL,
    ),
    "given in A-labels": Case(
        HostnameMismatchError,
        Cause.INTERNATIONALIZED_NAME,
        f"the certificate is valid for xn--bchr-bva.example.org, not for {A_LABEL} ({U_LABEL})",
        "A-labels",
        names("xn--bchr-bva.example.org"),
        host=A_LABEL,
    ),
    "address": Case(
        HostnameMismatchError,
        Cause.ADDRESS_NOT_IN_CERTIFICATE,
        f"the certificate is valid for {HOST}, 192.0.2.1, not for the address 127.0.0.1",
        "?server-name= in a URL, or server_hostname.",
        names(HOST, "192.0.2.1"),
        host="127.0.0.1",
    ),
    "address as DNS name": Case(
        HostnameMismatchError,
        Cause.ADDRESS_NOT_IN_CERTIFICATE,
        "the certificate is valid for 127.0.0.1, not for the address 127.0.0.1, which it bears as a DNS name",
        "reissued with the address as iPAddress",
        raw_names((DNS_NAME, b"127.0.0.1")),
        host="127.0.0.1",
    ),
    "address in the common name": Case(
        HostnameMismatchError,
        Cause.COMMON_NAME_ONLY,
        "the certificate names no host in subjectAltName, and so is not valid for the address 127.0.0.1, "
        "which only its common name covers",
        IN_SAN,
        names(common_name="127.0.0.1"),
        host="127.0.0.1",
    ),
    # Pins.
    "pin": Case(
        PinMismatchError,
        Cause.PIN_MISMATCH,
        f"the certificate is not the pinned one: expected {OTHER_PIN}, seen {{sha256}}",
        "only then change the pin",
        by=None,
        trust=Trust(pins=OTHER_PIN),
    ),
    # The chain.
    "unknown issuer": Case(
        UNTRUSTED,
        Cause.UNKNOWN_ISSUER,
        "the certificate was issued by CN=Elsewhere Root,O=Elsewhere, which is not trusted",
        OWN_CA,
        "unknown_issuer",
    ),
    "unknown issuer of an intermediate": Case(
        UNTRUSTED,
        Cause.UNKNOWN_ISSUER,
        "the chain ends at CN=Elsewhere Intermediate,O=Elsewhere, issued by CN=Elsewhere Root,O=Elsewhere, "
        "which is not trusted",
        "somebody may be between you and the server.",
        "unknown_issuer_with_intermediate",
    ),
    "unknown issuer without organisation": Case(
        UNTRUSTED,
        Cause.UNKNOWN_ISSUER,
        "the certificate was issued by CN=Nameless, which is not trusted",
        "out of date",
        without_organisation,
    ),
    "unknown issuer, said where, of an intermediate": Case(
        UNTRUSTED,
        Cause.UNKNOWN_ISSUER,
        "the chain ends at CN=Elsewhere Intermediate,O=Elsewhere, issued by CN=Elsewhere Root,O=Elsewhere, "
        "which is not trusted",
        OWN_CA,
        lambda world: world.unknown_intermediate.issue(HOST, aia_ca_issuers="http://ca.example.net/i.crt"),
    ),
    "missing intermediate, said where": Case(
        UNTRUSTED,
        Cause.MISSING_INTERMEDIATE,
        "the certificate of CN=Elsewhere Intermediate,O=Elsewhere, which issued the server's own, "
        "was not sent and is not among the trusted",
        WHOLE_CHAIN,
        lambda world: world.unknown_intermediate.issue(
            HOST, aia_ca_issuers="http://ca.example.net/i.crt"
        ).sending(),
    ),
    "missing intermediate of a known organisation": Case(
        UNTRUSTED,
        Cause.MISSING_INTERMEDIATE,
        "the certificate of CN=Bed Intermediate,O=Bed Trust Services, which issued the server's own, "
        "was not sent and is not among the trusted",
        WHOLE_CHAIN,
        "missing_intermediate_no_aia",
    ),
    "new root of a known organisation": Case(
        UNTRUSTED,
        Cause.MISSING_INTERMEDIATE,
        "the certificate of CN=Bed Root 2,O=Bed Trust Services, which issued that of "
        "CN=Bed Intermediate 2,O=Bed Trust Services, was not sent and is not among the trusted",
        "If only the root is missing, bring this machine's CA certificates up to date",
        same_name_as_a_root,
    ),
    "self-signed root": Case(
        UNTRUSTED,
        Cause.SELF_SIGNED_ROOT_IN_CHAIN,
        "the chain ends in a root that is not trusted: CN=Elsewhere Root,O=Elsewhere",
        OWN_CA,
        lambda world: world.unknown_intermediate.issue(HOST).sending(
            world.unknown.certificate, world.unknown_intermediate.certificate
        ),
    ),
    "self-signed": Case(
        UNTRUSTED,
        Cause.SELF_SIGNED_LEAF,
        f"the certificate is self-signed (CN={HOST},O=Bed Mail): nobody vouches for it",
        "or pin it in the URL: pin-only={sha256}",
        "self_signed_leaf",
    ),
    "wrong usage": Case(
        UNTRUSTED,
        Cause.WRONG_KEY_USAGE,
        "the certificate is not made for servers: {verdict}",
        "serverAuth",
        "wrong_usage",
    ),
    "weak key": Case(
        UNTRUSTED,
        Cause.WEAK_KEY_OR_SIGNATURE,
        "a key or signature in the chain is too weak: {verdict}",
        "2048 bits",
        "weak_key",
    ),
    "weak signature": Case(
        UNTRUSTED,
        Cause.WEAK_KEY_OR_SIGNATURE,
        "a key or signature in the chain is too weak: {verdict}",
        "SHA-256",
        "weak_signature",
    ),
    "path too long": Case(
        UNTRUSTED,
        Cause.INVALID_CHAIN,
        "the chain is not valid: {verdict} (verify code 25)",
        REISSUE,
        "path_too_long",
    ),
    "unreadable, and OpenSSL refuses": Case(
        UNTRUSTED,
        Cause.MALFORMED_CERTIFICATE,
        "the peer's certificate can't be read",
        "breaks DER or RFC 5280: have it reissued.",
        not_to_be_read,
    ),
    # No verdict.
    "TLS 1.1": Case(
        REFUSED,
        Cause.VERSION_TOO_OLD,
        TOO_OLD,
        "Have TLS 1.3 enabled",
        behaviour=Behaviour(tls=Tls.IMPLICIT, tls_version=ssl.TLSVersion.TLSv1_1),
        by=ssl.SSLError,
    ),
    "TLS 1.0, whatever we offer": Case(
        REFUSED,
        Cause.VERSION_TOO_OLD,
        TOO_OLD,
        "minimum_version",
        behaviour=answering(server_hello(version=0x0301)),
        by=ssl.SSLError,
    ),
    "TLS 1.2 for who wants 1.3": Case(
        REFUSED,
        Cause.VERSION_TOO_OLD,
        TOO_OLD,
        "minimum_version",
        behaviour=Behaviour(tls=Tls.STARTTLS, tls_version=TLS12),
        trust=Trust(minimum_version=TLS13),
        by=ssl.SSLError,
    ),
    "cipher without forward secrecy": Case(
        REFUSED, Cause.NO_COMMON_CIPHER, NO_CIPHER, "ECDHE", ciphers("AES128-SHA", 2048), ssl.SSLError
    ),
    "cipher of SHA-1": Case(
        REFUSED, Cause.NO_COMMON_CIPHER, NO_CIPHER, "ECDHE", ciphers("ECDHE-ECDSA-AES128-SHA"), ssl.SSLError
    ),
    "server name": Case(
        REFUSED,
        Cause.SERVER_NAME_UNKNOWN,
        "the server does not know itself by this name ({reason})",
        "server_hostname",
        by=ssl.SSLError,
        behaviour=Behaviour(tls=Tls.IMPLICIT, certificate=lambda _: None),
    ),
    "client certificate, before a ServerHello": Case(
        REFUSED,
        Cause.CLIENT_CERTIFICATE_REFUSED,
        CLIENT_CERT,
        "client_cert and client_key",
        by=ssl.SSLError,
        behaviour=answering(alert(42)),
    ),
    "STARTTLS port": Case(
        REFUSED,
        Cause.PLAINTEXT_NOT_TLS,
        IN_PLAINTEXT,
        "Is this the right port?",
        by=ssl.SSLError,
        behaviour=answering(b"220 mail.example.org ESMTP"),
    ),
    "plaintext behind STARTTLS": Case(
        REFUSED,
        Cause.PLAINTEXT_NOT_TLS,
        IN_PLAINTEXT,
        "587",
        by=ssl.SSLError,
        behaviour=Behaviour(tls=Tls.STARTTLS, handshake=Handshake.GARBAGE),
    ),
    "closed": Case(
        REFUSED,
        Cause.BROKEN_OFF,
        BROKE_OFF,
        "its log",
        by=(ssl.SSLEOFError, ssl.SSLZeroReturnError),  # by the latter up to Python 3.11.2
        behaviour=Behaviour(tls=Tls.STARTTLS, handshake=Handshake.BROKEN_OFF),
    ),
    "reset": Case(
        REFUSED,
        Cause.BROKEN_OFF,
        "the TLS handshake broke off (Connection reset by peer)",
        "Try again",
        by=ConnectionResetError,
        behaviour=Behaviour(tls=Tls.IMPLICIT, handshake=Handshake.RESET),
    ),
    "silent": Case(
        TLSHandshakeTimeoutError,
        Cause.BROKEN_OFF,
        "the TLS handshake did not end in time",
        "Try again",
        by=TimeoutError,
        behaviour=Behaviour(tls=Tls.STARTTLS, handshake=Handshake.SILENT),
    ),
}
