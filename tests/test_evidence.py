"""The evidence of a refusal: what the connection that failed has shown, whole and escaped."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from hypothesis import given, strategies as st

from smtpverify import (
    Cause,
    CertificateExpiredError,
    HostnameMismatchError,
    PeerVerificationError,
    PinMismatchError,
    Trust,
    UntrustedCertificateError,
)
from smtpverify.errors import printable
from smtpverify.tls.diagnosis import handshake_failure, name_mismatch
from smtpverify.tls.evidence import Diagnosis, Evidence
from smtpverify.tls.foreign import secure
from smtpverify.tls.names import reference_identifier
from smtpverify.tls.x509 import Certificate
from tests.bed import HOST, Issued, Tls, World
from tests.bed.certs import DAY, DNS_NAME, NOW, Authority, san_der
from tests.gate import IMPLICIT, OTHER, OTHER_PIN, pin_of, refusal, tcp, wrap
from tests.minting import CN, ORG, UTF8, Parts, dns_name, name, rdn, san, signer
from tests.refusals import (
    ESCAPED,
    HOSTILE,
    TLS12,
    TLS13,
    assert_one_line,
    assert_survives_a_pickle,
    connect,
    verdict,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from tests.conftest import ServerFactory

REFERENCE = reference_identifier(HOST)
JUNK = b"0junk"

# --- evidence --------------------------------------------------------------------------------------

PAST: dict[str, Any] = {"not_before": NOW - 9 * DAY, "not_after": NOW - 2 * DAY}
NAMES = ("192.0.2.7", "2001:db8::7", "SRVName:_smtps.example.net")
# What is wrong -> the error, OpenSSL's code, the trust, and the certificate's dates.
WRONG: dict[str, tuple[type[PeerVerificationError], int, Trust, dict[str, Any]]] = {
    "name": (HostnameMismatchError, 62, Trust(), {}),
    "chain": (UntrustedCertificateError, 20, Trust(), {}),
    "dates": (CertificateExpiredError, 10, Trust(), PAST),
    "pins": (PinMismatchError, 0, Trust(pins=OTHER_PIN, pins_only=True), {}),
}


@pytest.mark.parametrize("which", WRONG)
@pytest.mark.parametrize("scheme", ["tls", "smtps"])
@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
def test_evidence(
    world: World, smtp_server: ServerFactory, version: ssl.TLSVersion, scheme: str, which: str
) -> None:
    """All that is told was on the connection that failed, and no second one was made for it."""
    kind, code, trust, dates = WRONG[which]
    authority = world.unknown_intermediate if which == "chain" else world.intermediate
    other = HOST if which == "dates" else OTHER  # OpenSSL looks at the name before the dates
    served = authority.issue(
        other, *NAMES[:2], srv_names=["_smtps.example.net"], common_name="mail, again", **dates
    )
    tls = Tls.STARTTLS if scheme == "tls" else Tls.IMPLICIT
    with smtp_server(tls=tls, certificate=served, tls_version=version) as server:
        error = refusal(kind, None, connect, server, scheme, trust=trust)
    diagnosis, below = error.diagnosis, error.__cause__
    assert diagnosis.names == (other, *NAMES)
    assert diagnosis.subject == r"CN=mail\, again,O=Bed Mail"
    issuers = {"chain": "CN=Elsewhere Intermediate,O=Elsewhere"}
    assert diagnosis.issuer == issuers.get(which, "CN=Bed Intermediate,O=Bed Trust Services")
    assert diagnosis.not_before == served.certificate.not_valid_before_utc
    assert diagnosis.not_after == served.certificate.not_valid_after_utc
    assert diagnosis.sha256 == f"sha256:{hashlib.sha256(served.leaf_der).hexdigest()}"
    key = base64.b64encode(hashlib.sha256(served.spki_der).digest()).decode()
    assert diagnosis.spki_pin == f"spki-sha256:{key}"
    assert diagnosis.chain == served.chain_ders
    assert len(diagnosis.chain) == 2
    assert diagnosis.verify_code == error.verify_code == getattr(below, "verify_code", 0) == code
    assert diagnosis.verify_message == error.verify_message == getattr(below, "verify_message", "")
    assert diagnosis.openssl_message == (printable(str(below)) if below else "")
    assert ("certificate verify failed" in diagnosis.openssl_message) is (code != 0)
    assert diagnosis.expected_pins == ((OTHER_PIN,) if which == "pins" else ())
    assert [seen.client_hello for seen in server.connections] == [True]


def test_evidence_where_openssl_was_content(world: World, smtp_server: ServerFactory) -> None:
    """A caller's context takes the common name for the host's; our matcher does not."""
    served = world.served("common_name_only")
    server = smtp_server(IMPLICIT, certificate=served)
    work = (secure, tcp(server), HOST, Trust(), world.client_context())
    error = refusal(HostnameMismatchError, Cause.COMMON_NAME_ONLY, *work)
    diagnosis = error.diagnosis
    assert error.__cause__ is None
    assert (diagnosis.verify_code, diagnosis.verify_message, diagnosis.openssl_message) == (0, "", "")
    assert (diagnosis.names, diagnosis.subject) == ((), f"CN={HOST},O=Bed Mail")
    assert diagnosis.chain == served.chain_ders
    assert diagnosis.sha256 == pin_of(served)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("bücher.example.org", "xn--bcher-kva.example.org (bücher.example.org)"),
        # RFC 5892 A.1: a character that can't be seen and is allowed here.
        ("क्\u200dष.example.org", r"xn--11b2ezcw70k.example.org (क्\u200dष.example.org)"),
    ],
)
def test_the_name_as_it_was_given(smtp_server: ServerFactory, given: str, shown: str) -> None:
    server = smtp_server(IMPLICIT)
    error = refusal(HostnameMismatchError, Cause.INTERNATIONALIZED_NAME, wrap, server, host=given)
    assert error.diagnosis.summary.endswith(f", not for {shown}")
    assert_one_line(error)


def test_without_a_certificate_nothing_is_told_of_one() -> None:
    diagnosis = Evidence(REFERENCE).diagnosis(Cause.NO_CERTIFICATE, "none", "None.")
    assert diagnosis == Diagnosis(Cause.NO_CERTIFICATE, "none", "None.")
    unreadable = Evidence(REFERENCE, [JUNK]).diagnosis(Cause.MALFORMED_CERTIFICATE, "odd", "None.")
    assert unreadable == Diagnosis(Cause.MALFORMED_CERTIFICATE, "odd", "None.", chain=(JUNK,))
    assert "junk" not in repr(unreadable)


# --- escapes ---------------------------------------------------------------------------------------

LONG = "x" * 10240


def own_issuer(world: World) -> Issued:
    """A self-signed certificate with names of a size that no CA would sign."""
    who = name(rdn((ORG, UTF8, HOSTILE.encode())), rdn((CN, UTF8, LONG.encode())))
    return Issued(x509.load_der_x509_certificate(Parts(subject=who, issuer=who).signed()), signer())


def odd_names(world: World) -> Issued:
    return world.root.issue(raw_san=san_der((DNS_NAME, HOSTILE.encode()), (DNS_NAME, LONG.encode())))


HOSTILE_ONES: dict[str, tuple[Callable[[World], Issued], type[PeerVerificationError], Cause, str]] = {
    "SAN": (
        odd_names,
        HostnameMismatchError,
        Cause.WRONG_NAME,
        rf"for a\x0d\x0ab\x1b[31m\x00\xe2\x80\xae\xe2\x80\xa8\\x41\x7f, {'x' * 160}…, not for {HOST}",
    ),
    "subject": (
        own_issuer,
        UntrustedCertificateError,
        Cause.SELF_SIGNED_LEAF,
        f"(CN={'x' * 64}…,O={ESCAPED}): nobody",
    ),
    "issuer": (
        lambda world: Authority.root(HOSTILE, HOSTILE).issue(HOST, organisation=HOSTILE),
        UntrustedCertificateError,
        Cause.UNKNOWN_ISSUER,
        f"issued by CN={ESCAPED},O={ESCAPED}, which",
    ),
    "intermediate": (
        lambda world: world.root.intermediate(HOSTILE, None, **PAST).issue(HOST),
        CertificateExpiredError,
        Cause.EXPIRED,
        f"(CN={ESCAPED}) expired",
    ),
}


@pytest.mark.parametrize("which", HOSTILE_ONES)
def test_what_a_peer_writes_into_its_certificate(
    world: World, smtp_server: ServerFactory, which: str
) -> None:
    serve, kind, cause, shown = HOSTILE_ONES[which]
    served = serve(world)
    with smtp_server(IMPLICIT, certificate=served) as server:
        error = refusal(kind, cause, connect, server)
    assert shown in error.diagnosis.summary
    assert error.diagnosis.chain == served.chain_ders  # unescaped, of course
    assert_one_line(error)
    assert_survives_a_pickle(error)


octets = st.one_of(
    st.binary(max_size=30),
    st.text(max_size=30).map(str.encode),
    st.sampled_from([HOSTILE.encode(), LONG.encode(), b"*.example.org", b"mail.example.org\0", b""]),
)
codes = st.sampled_from([1, 7, 9, 10, 18, 19, 20, 26, 62, 64, 66, 85, 200])


@given(octets, octets, st.lists(octets, max_size=13), codes, st.text(max_size=300), st.booleans())
def test_nothing_that_a_peer_wrote_is_shown_as_it_was(
    subject: bytes, issuer: bytes, presented: list[bytes], code: int, message: str, own: bool
) -> None:
    who, by = (name(rdn((ORG, UTF8, one)), rdn((CN, UTF8, one))) for one in (subject, issuer))
    leaf = Parts(subject=who, issuer=who if own else by, extensions=(san(*map(dns_name, presented)),)).der()
    evidence = Evidence(REFERENCE, [leaf, Parts(subject=by).der()], lambda: [leaf], verdict(code, message))
    assert_one_line(handshake_failure(evidence))
    error = name_mismatch(evidence, Certificate.from_der(leaf))
    assert_one_line(error)
    assert error.diagnosis is not None
    assert len(error.diagnosis.names) == len(presented)
    assert_one_line(handshake_failure(Evidence(REFERENCE, [leaf], error=OSError(5, message))))
