"""Every refusal explains itself: its cause, words and remedy, in real handshakes."""

from __future__ import annotations

import base64
import datetime
import hashlib
import re
import ssl
import sysconfig
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from smtpverify import (
    Cause,
    CertificateExpiredError,
    PinMismatchError,
    PlaintextInjectionError,
    ProtocolError,
    STARTTLSRefusedError,
    TLSHandshakeError,
    TLSRequiredError,
    Trust,
    UntrustedCertificateError,
    create_context,
)
from smtpverify.errors import printable
from smtpverify.tls.diagnosis import handshake_failure
from smtpverify.tls.evidence import Evidence
from smtpverify.tls.foreign import identify, secure
from smtpverify.tls.names import reference_identifier
from tests.bed import HOST, Behaviour, Handshake, Issued, Server, Starttls, Tls, World
from tests.bed.certs import CLIENT_AUTH, DAY, NOW, Authority, der, rsa_key
from tests.gate import IMPLICIT, OTHER, OTHER_PIN, refusal, tcp, wrap
from tests.minting import CN, ORG, UTF8, Parts, name, rdn, validity
from tests.refusals import (
    CASES,
    CLIENT_CERT,
    ESCAPED,
    HOSTILE,
    TLS12,
    TLS13,
    answering,
    assert_one_line,
    assert_survives_a_pickle,
    connect,
    verdict,
)
from tests.test_causes import alert, assert_well_said

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bed.network import Resolver
    from tests.conftest import ServerFactory

REFERENCE = reference_identifier(HOST)
STRICT = bool(ssl.create_default_context().verify_flags & ssl.VERIFY_X509_STRICT)

# --- one case a cause ------------------------------------------------------------------------------


@pytest.mark.parametrize("which", CASES)
def test_refusals(world: World, smtp_server: ServerFactory, resolve: Resolver, which: str) -> None:
    case = CASES[which]
    resolve[case.host] = "127.0.0.1"
    served = world.served(case.served) if isinstance(case.served, str) else case.served(world)
    silent = case.behaviour.handshake is Handshake.SILENT
    with smtp_server(case.behaviour, certificate=case.behaviour.certificate or served) as server:
        scheme = "tls" if case.behaviour.tls is Tls.STARTTLS else "smtps"
        timeout = 0.3 if silent else 5
        error = refusal(
            case.kind, case.cause, connect, server, scheme, case.host, case.trust, timeout=timeout
        )
    own = {
        "reason": getattr(error, "reason", "") or "the server closed the connection",
        "verdict": getattr(error, "verify_message", ""),
        "sha256": f"sha256:{hashlib.sha256(served.leaf_der).hexdigest()}"
        if isinstance(served, Issued)
        else "",
    }
    diagnosis = error.diagnosis
    assert diagnosis.summary == case.summary.format_map(own)
    assert str(error) == f"{case.shown or case.host}:{server.port}: {diagnosis.summary}"
    assert case.remedy.format_map(own) in diagnosis.remedy
    assert_well_said(diagnosis.summary, diagnosis.remedy)
    assert_one_line(error)
    assert_survives_a_pickle(error)
    kinds = case.by if isinstance(case.by, tuple) else (case.by or type(None),)
    assert type(error.__cause__) in kinds
    seen = served.chain_ders if isinstance(served, Issued) and case.kind is not TLSHandshakeError else ()
    assert diagnosis.chain == (() if silent else seen)
    assert len(server.connections) == 1
    assert server.leaked() == []


# Told by the session, whose own tests have the words.
BY_SESSION: dict[Cause, tuple[type[BaseException], Behaviour]] = {
    Cause.STARTTLS_NOT_OFFERED: (TLSRequiredError, Behaviour(tls=Tls.STARTTLS, starttls=Starttls.ABSENT)),
    Cause.STARTTLS_REFUSED: (
        STARTTLSRefusedError,
        Behaviour(tls=Tls.STARTTLS, starttls=Starttls.REFUSED, starttls_refusal=f"454 {HOSTILE[3:]}"),
    ),
    Cause.PLAINTEXT_INJECTED: (
        PlaintextInjectionError,
        Behaviour(tls=Tls.STARTTLS, starttls=Starttls.INJECTED_FRAGMENT, injection=HOSTILE.encode()),
    ),
    Cause.TLS_NOT_PLAINTEXT: (ProtocolError, answering(alert(40))),
    Cause.NO_GREETING: (ProtocolError, IMPLICIT),
}


@pytest.mark.parametrize("cause", BY_SESSION)
def test_refusals_by_the_session(smtp_server: ServerFactory, cause: Cause) -> None:
    kind, behaviour = BY_SESSION[cause]
    with smtp_server(behaviour) as server:
        timeout = 0.2 if cause is Cause.NO_GREETING else 5
        error = refusal(kind, cause, connect, server, "tls", timeout=timeout)
    assert str(error) == f"{HOST}:{server.port}: {error.diagnosis.summary}"
    assert_well_said(error.diagnosis.summary, error.diagnosis.remedy)
    assert_one_line(error)
    assert_survives_a_pickle(error)
    assert error.diagnosis.chain == ()


def judged_by_a_callers_context(server: Server, context: ssl.SSLContext) -> None:
    secure(tcp(server), HOST, Trust(), context)


def no_certificate(world: World, start: ServerFactory) -> Any:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context = world.client_context()
    for one in (nobody, context):
        one.set_ciphers("AECDH:@SECLEVEL=0")
        one.maximum_version = TLS12
    server = start(IMPLICIT, certificate=nobody)
    return refusal(UntrustedCertificateError, None, judged_by_a_callers_context, server, context)


def strict_profile(world: World, start: ServerFactory) -> Any:
    context = world.client_context()
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    server = start(IMPLICIT, certificate=world.served("no_aki"))
    return refusal(UntrustedCertificateError, None, judged_by_a_callers_context, server, context)


def session_resumed(world: World, start: ServerFactory) -> Any:
    context = world.client_context()
    server = start(IMPLICIT, tls_version=TLS12)
    with context.wrap_socket(tcp(server), server_hostname=HOST) as first:
        session = first.session
    second = context.wrap_socket(tcp(server), server_hostname=OTHER, session=session)
    return refusal(UntrustedCertificateError, None, identify, second, OTHER, Trust())


def context_not_verifying(world: World, start: ServerFactory) -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sock = context.wrap_socket(tcp(start(IMPLICIT)), server_hostname=HOST)
    return refusal(UntrustedCertificateError, None, identify, sock, HOST, Trust())


BY_CONTEXT: dict[Cause, Callable[[World, ServerFactory], Any]] = {
    Cause.NO_CERTIFICATE: no_certificate,
    Cause.STRICT_PROFILE: strict_profile,
    Cause.SESSION_RESUMED: session_resumed,
    Cause.CONTEXT_NOT_VERIFYING: context_not_verifying,
}


@pytest.mark.parametrize("cause", BY_CONTEXT)
def test_refusals_of_callers_contexts(world: World, smtp_server: ServerFactory, cause: Cause) -> None:
    error = BY_CONTEXT[cause](world, smtp_server)
    assert error.diagnosis.cause is cause
    assert re.fullmatch(rf"({HOST}|{OTHER}):\d+: .+", str(error))
    assert_well_said(error.diagnosis.summary, error.diagnosis.remedy)
    assert_one_line(error)
    assert_survives_a_pickle(error)


def test_no_cause_is_left_out() -> None:
    dates = {cause for cause, *_ in DATES.values()}
    by_memory = {Cause.KNOWN_KEY_CHANGED, Cause.TLS_DOWNGRADE}  # tests/test_known_hosts.py
    told = {case.cause for case in CASES.values()} | set(BY_SESSION) | set(BY_CONTEXT) | dates
    by_python = {Cause.DISTRUSTED_KEY}  # below, of a Python that has a list of such
    assert told | by_memory | by_python == set(Cause)


# --- dates -----------------------------------------------------------------------------------------

OUTSIDE: dict[str, dict[str, Any]] = {
    "expired": {"not_before": NOW - 9 * DAY, "not_after": NOW - 2.5 * DAY},
    "not yet valid": {"not_before": NOW + 2.5 * DAY, "not_after": NOW + 9 * DAY},
}
EXPIRED = "{subject} expired on {not_after:%Y-%m-%d %H:%M} UTC, 2 days ago"
EARLY = "{subject} is not valid before {not_before:%Y-%m-%d %H:%M} UTC, 2 days from now"
ISSUER = "the issuer's certificate (CN=Odd,O=Bed Trust Services)"
ABOVE = "a certificate above those that the server sent"
CLOCK = r"this machine's clock says (\d{4}-\d\d-\d\d \d\d:\d\d) UTC\."
RENEW = rf" If it is valid, check the time: {CLOCK}"
SLOW = rf"Most often the local clock is slow: {CLOCK} Else have the certificate reissued\."

# When, and whose -> the cause, the summary, and the remedy as a regular expression.
DATES: dict[tuple[str, str], tuple[Cause, str, str]] = {
    ("expired", "leaf"): (Cause.EXPIRED, EXPIRED, rf"Have the server's certificate renewed\.{RENEW}"),
    ("expired", "intermediate"): (Cause.EXPIRED, EXPIRED, rf"Have the server's chain renewed\.{RENEW}"),
    ("expired", "root"): (
        Cause.EXPIRED,
        f"{ABOVE} expired",
        rf"Have the server's chain renewed, or this machine's CA certificates brought up to date\.{RENEW}",
    ),
    ("not yet valid", "leaf"): (Cause.NOT_YET_VALID, EARLY, SLOW),
    ("not yet valid", "intermediate"): (Cause.NOT_YET_VALID, EARLY, SLOW),
    ("not yet valid", "root"): (Cause.NOT_YET_VALID, f"{ABOVE} is not valid yet", SLOW),
}


@pytest.mark.parametrize(("when", "whose"), DATES)
def test_dates(world: World, smtp_server: ServerFactory, tmp_path: Path, when: str, whose: str) -> None:
    cause, summary, remedy = DATES[when, whose]
    dates, subject, trust = OUTSIDE[when], "the certificate", None
    if whose == "leaf":
        served = world.root.issue(HOST, **dates)
    elif whose == "intermediate":
        served, subject = world.root.intermediate("Odd", **dates).issue(HOST), ISSUER
    else:
        root = Authority.root("Odd", **dates)
        served, trust = root.issue(HOST), Trust(roots=root.write(tmp_path / "odd.pem"))
    with smtp_server(IMPLICIT, certificate=served) as server:
        error = refusal(CertificateExpiredError, cause, connect, server, trust=trust)
    assert error.diagnosis.summary == summary.format(subject=subject, **dates)
    told = re.fullmatch(remedy, error.diagnosis.remedy)
    assert told is not None
    clock = datetime.datetime.strptime(f"{told[1]} +0000", "%Y-%m-%d %H:%M %z")
    assert abs(clock - datetime.datetime.now(datetime.timezone.utc)) < datetime.timedelta(minutes=5)
    assert_well_said(error.diagnosis.summary, error.diagnosis.remedy)
    assert_one_line(error)
    assert type(error.__cause__) is ssl.SSLCertVerificationError
    assert error.diagnosis.chain == served.chain_ders
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (10, "less than a minute"),
        (70, "1 minute"),
        (59 * 60 + 10, "59 minutes"),
        (60 * 60 - 10, "1 hour"),
        (23 * 3600 + 600, "23 hours"),
        (86400 - 10, "1 day"),  # as the dates have it
        (2 * 86400 - 10, "2 days"),
        (400 * 86400, "400 days"),
    ],
)
def test_how_long_ago(seconds: int, said: str) -> None:
    for sign, code, words in ((-1, 10, f", {said} ago"), (1, 9, f", {said} from now")):
        moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=sign * seconds)
        time = moment.strftime("%y%m%d%H%M%SZ").encode()
        far = (b"200101000000Z", time) if code == 10 else (time, b"490101000000Z")
        error = handshake_failure(
            Evidence(REFERENCE, [Parts(validity=validity(*far)).der()], list, verdict(code))
        )
        assert error.diagnosis is not None
        assert error.diagnosis.summary.endswith(words)


# --- the chain -------------------------------------------------------------------------------------


def named(subject: bytes, issuer: bytes) -> bytes:
    return Parts(subject=name(rdn((CN, UTF8, subject))), issuer=name(rdn((CN, UTF8, issuer)))).der()


JUNK, LEAF = b"0junk", named(b"leaf", b"A")


@pytest.mark.parametrize("code", [2, 20, 21, 27])
@pytest.mark.parametrize(
    ("sent", "end"),
    [
        ([LEAF], "issued by CN=A"),
        ([LEAF, named(b"B", b"C")], "issued by CN=A"),  # of somebody else
        ([LEAF, JUNK, named(b"A", b"B")], "at CN=A, issued by CN=B"),
        ([LEAF, named(b"B", b"C"), named(b"A", b"B")], "at CN=B, issued by CN=C"),
        ([LEAF, named(b"A", b"B"), named(b"B", b"A")], "at CN=B, issued by CN=A"),  # for ever
        ([LEAF, named(b"A", b"A"), named(b"A", b"B")], "at CN=A, issued by CN=A"),
        ([named(b"A", b"A"), named(b"A", b"B")], "issued by CN=A"),
    ],
)
def test_where_the_chain_ends(sent: list[bytes], end: str, code: int) -> None:
    evidence = Evidence(REFERENCE, sent, lambda: [JUNK], verdict(code))
    error = handshake_failure(evidence)
    assert error.diagnosis is not None
    assert error.diagnosis.cause is Cause.UNKNOWN_ISSUER
    assert f"{end}, which is not trusted" in error.diagnosis.summary


def test_an_organisation_is_known_by_the_name_of_a_root() -> None:
    """By O alone, one of several, and all of it; a root that can't be read spoils nothing."""
    leaf = Parts(
        issuer=name(rdn((ORG, UTF8, b"Known")), rdn((ORG, UTF8, b"New")), rdn((CN, UTF8, b"CA")))
    ).der()
    for organisation, cause in ((b"Known", Cause.MISSING_INTERMEDIATE), (b"Know", Cause.UNKNOWN_ISSUER)):
        root = Parts(subject=name(rdn((ORG, UTF8, organisation)), rdn((CN, UTF8, b"Known")))).der()
        error = handshake_failure(Evidence(REFERENCE, [leaf], lambda: [JUNK, root], verdict(20)))  # noqa: B023
        assert error.diagnosis is not None
        assert error.diagnosis.cause is cause


@pytest.mark.skipif(STRICT, reason="this Python's default verify flags want key identifiers")
def test_a_chain_without_key_identifiers_is_accepted(world: World, smtp_server: ServerFactory) -> None:
    with smtp_server(IMPLICIT, certificate=world.served("no_aki")) as server:
        connect(server)
    assert server.connections[0].handshake_done


@pytest.mark.skipif(not STRICT, reason="this Python's default verify flags ask for no key identifiers")
@pytest.mark.parametrize(
    "serve",
    [
        lambda world: world.served("no_aki"),
        lambda world: world.root.intermediate("Odd", ski=False).issue(HOST, aki=False),
    ],
)
def test_a_chain_without_key_identifiers_is_refused(
    world: World, smtp_server: ServerFactory, serve: Callable[[World], Issued]
) -> None:
    with smtp_server(IMPLICIT, certificate=serve(world)) as server:
        error = refusal(UntrustedCertificateError, Cause.STRICT_PROFILE, connect, server)
    assert error.diagnosis.summary == f"the chain breaks RFC 5280: {error.verify_message}"
    assert "Python 3.13 and later refuse this" in error.diagnosis.remedy


def test_an_end_without_a_reason() -> None:
    """As Python 3.11.2 tells it, and others with other versions of OpenSSL."""
    end = ssl.SSLZeroReturnError(6, "TLS/SSL connection has been closed (EOF) (_ssl.c:992)")
    error = handshake_failure(Evidence(REFERENCE, error=end))
    assert error.diagnosis is not None
    assert error.diagnosis.cause is Cause.BROKEN_OFF
    assert error.diagnosis.summary == "the TLS handshake broke off (the server closed the connection)"


DISTRUSTED = sysconfig.get_path("stdlib") + "/test/certdata/distrusted.zip"


@pytest.mark.skipif(
    not Path(DISTRUSTED).exists(), reason="this Python has no list of distrusted keys, or no tests"
)
def test_a_key_that_python_distrusts(tmp_path: Path) -> None:
    """By CPython's own example, whose chain is valid but for the key of a CA that was compromised."""
    with zipfile.ZipFile(DISTRUSTED) as archive:
        archive.extractall(tmp_path, pwd=b"Brave Sir Robin")  # CPython's test_ssl has it
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(tmp_path / "distrusted" / "distrusted_keycert.pem")
    there, here = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(there, here, server_side=True)
    context = create_context(Trust(tmp_path / "distrusted" / "distrusted_root.pem"))
    client = context.wrap_bio(here, there, server_hostname="localhost")
    for end in (client, server):
        with pytest.raises(ssl.SSLWantReadError):
            end.do_handshake()
    error = refusal(UntrustedCertificateError, Cause.DISTRUSTED_KEY, client.do_handshake)
    assert error.verify_code == 28
    assert error.diagnosis.summary == "a key in the chain is distrusted: certificate rejected"
    assert "another CA" in error.diagnosis.remedy
    assert len(error.diagnosis.chain) > 1


# --- pins, ciphers, client certificates ------------------------------------------------------------


def test_pins_are_shown_as_they_were_expected(world: World, smtp_server: ServerFactory) -> None:
    """Of the same kind and hash, each once, so that they can be compared, and copied."""
    issued = world.good()
    expected = (
        OTHER_PIN,
        f"sha256:{64 * '1'}",
        f"sha512:{128 * '2'}",
        f"spki-sha256:{43 * 'A'}=",
        f"spki-sha512:{85 * 'A'}Q==",
    )
    seen = (
        f"sha256:{hashlib.sha256(issued.leaf_der).hexdigest()}",
        f"sha512:{hashlib.sha512(issued.leaf_der).hexdigest()}",
        f"spki-sha256:{base64.b64encode(hashlib.sha256(issued.spki_der).digest()).decode()}",
        f"spki-sha512:{base64.b64encode(hashlib.sha512(issued.spki_der).digest()).decode()}",
    )
    with smtp_server(IMPLICIT) as server:
        error = refusal(PinMismatchError, Cause.PIN_MISMATCH, connect, server, trust=Trust(pins=expected))
    summary = (
        f"the certificate is not the pinned one: expected {' or '.join(expected)}, seen {', '.join(seen)}"
    )
    assert error.diagnosis.summary == summary
    assert error.diagnosis.expected_pins == expected
    assert error.diagnosis.verify_code == 0


OAKLEY_GROUP_2 = (  # RFC 2409 6.2: a prime of 1024 bits
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A0879"
    "8E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B"
    "0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF"
)


def test_a_key_exchange_too_weak(world: World, smtp_server: ServerFactory, tmp_path: Path) -> None:
    issued = world.root.issue(HOST, key=rsa_key(2048))
    context = issued.server_context(maximum_version=TLS12, ciphers="DHE-RSA-AES128-GCM-SHA256")
    numbers = b"".join(der(0x02, bytes.fromhex(number)) for number in (f"00{OAKLEY_GROUP_2}", "02"))
    parameters = base64.encodebytes(der(0x30, numbers)).decode()
    file = tmp_path / "dh.pem"
    file.write_text(f"-----BEGIN DH PARAMETERS-----\n{parameters}-----END DH PARAMETERS-----\n")
    context.load_dh_params(str(file))
    with smtp_server(IMPLICIT, certificate=context) as server:
        error = refusal(TLSHandshakeError, Cause.WEAK_KEY_OR_SIGNATURE, connect, server)
    assert error.diagnosis.summary == "the server's key or signature is too weak (DH_KEY_TOO_SMALL)"
    assert error.diagnosis.chain == issued.chain_ders


@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
def test_a_client_certificate_is_wanted(
    world: World, smtp_server: ServerFactory, tmp_path: Path, version: ssl.TLSVersion, shown: bool
) -> None:
    """None, or one of a CA that the server does not know; in TLS 1.3 the answer comes with the first data.

    In TLS 1.2 the alert for none is that of no common cipher too (RFC 5246 7.4.6), but there was one:
    the server has shown its certificate.
    """
    trust = None
    if shown:
        chain, key = world.unknown.issue("c.test", extended_key_usage=[CLIENT_AUTH]).write(tmp_path)
        trust = Trust(client_cert=chain, client_key=key)
    with smtp_server(IMPLICIT, client_roots=(world.root,), tls_version=version) as server:
        error = refusal(
            TLSHandshakeError, Cause.CLIENT_CERTIFICATE_REFUSED, lambda: wrap(server, trust).read(3)
        )
    assert str(error) == f"{HOST}:{server.port}: {CLIENT_CERT.format(reason=error.reason)}"
    assert "client_cert and client_key" in error.diagnosis.remedy
    assert type(error.__cause__) is ssl.SSLError
    assert error.diagnosis.openssl_message == printable(str(error.__cause__))
    # The server's OpenSSL adds the root, which it knows for its clients' sake.
    assert error.diagnosis.chain == (world.good().leaf_der, world.root.der)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(5, "Input/output error"), "(Input/output error)"),
        (ssl.SSLError("odd\n"), r"(odd\x0a)"),
        (ConnectionResetError(), "(ConnectionResetError)"),
        (OSError(5, HOSTILE), f"({ESCAPED})"),
    ],
)
def test_an_end_without_a_mnemonic(error: OSError, said: str) -> None:
    failure = handshake_failure(Evidence(REFERENCE, error=error))
    assert type(failure) is TLSHandshakeError
    assert failure.reason == ""
    assert str(failure) == f"{HOST}: the TLS handshake broke off {said}"
