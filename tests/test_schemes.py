"""Every scheme against every kind of server, on TLS 1.2 and 1.3: what happens, and what the server saw."""

from __future__ import annotations

import functools
import smtplib
import ssl
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from smtpverify import Cause
from tests.bed import (
    BAD,
    GOOD,
    HOST,
    Behaviour,
    Greeting,
    Handshake,
    Pieces,
    Server,
    Starttls,
    Tls,
    World,
    closed_port,
    host_of,
    silent_port,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import ServerFactory

STRICT = bool(ssl.create_default_context().verify_flags & ssl.VERIFY_X509_STRICT)
MESSAGE = b"Subject: hello\r\n\r\nhello\r\n"

# Kind of certificate -> what is raised and why.
VERDICTS: dict[str, tuple[type[smtpverify.PeerVerificationError], Cause]] = {
    "wrong_name": (smtpverify.HostnameMismatchError, Cause.WRONG_NAME),
    "wildcard_too_deep": (smtpverify.HostnameMismatchError, Cause.TOO_DEEP_FOR_WILDCARD),
    "wildcard_of_host": (smtpverify.HostnameMismatchError, Cause.WRONG_NAME),
    "wildcard_partial": (smtpverify.HostnameMismatchError, Cause.WRONG_NAME),
    "common_name_only": (smtpverify.HostnameMismatchError, Cause.COMMON_NAME_ONLY),
    "common_name_beside_san": (smtpverify.HostnameMismatchError, Cause.COMMON_NAME_ONLY),
    "srv_name_only": (smtpverify.HostnameMismatchError, Cause.WRONG_NAME),
    "name_with_nul": (smtpverify.HostnameMismatchError, Cause.WRONG_NAME),
    "wrong_address": (smtpverify.HostnameMismatchError, Cause.ADDRESS_NOT_IN_CERTIFICATE),
    "address_as_dns_name": (smtpverify.HostnameMismatchError, Cause.ADDRESS_NOT_IN_CERTIFICATE),
    "unknown_issuer": (smtpverify.UntrustedCertificateError, Cause.UNKNOWN_ISSUER),
    "unknown_issuer_with_intermediate": (smtpverify.UntrustedCertificateError, Cause.UNKNOWN_ISSUER),
    "self_signed_leaf": (smtpverify.UntrustedCertificateError, Cause.SELF_SIGNED_LEAF),
    "self_signed_root_in_chain": (smtpverify.UntrustedCertificateError, Cause.SELF_SIGNED_ROOT_IN_CHAIN),
    "missing_intermediate": (smtpverify.UntrustedCertificateError, Cause.MISSING_INTERMEDIATE),
    "missing_intermediate_no_aia": (smtpverify.UntrustedCertificateError, Cause.MISSING_INTERMEDIATE),
    "expired": (smtpverify.CertificateExpiredError, Cause.EXPIRED),
    "not_yet_valid": (smtpverify.CertificateExpiredError, Cause.NOT_YET_VALID),
    "expired_intermediate": (smtpverify.CertificateExpiredError, Cause.EXPIRED),
    "wrong_usage": (smtpverify.UntrustedCertificateError, Cause.WRONG_KEY_USAGE),
    "weak_key": (smtpverify.UntrustedCertificateError, Cause.WEAK_KEY_OR_SIGNATURE),
    "weak_signature": (smtpverify.UntrustedCertificateError, Cause.WEAK_KEY_OR_SIGNATURE),
    "no_aki": (smtpverify.UntrustedCertificateError, Cause.STRICT_PROFILE),
    "non_ca_issuer": (smtpverify.UntrustedCertificateError, Cause.INVALID_CHAIN),
    "path_too_long": (smtpverify.UntrustedCertificateError, Cause.INVALID_CHAIN),
    "outside_name_constraints": (smtpverify.UntrustedCertificateError, Cause.INVALID_CHAIN),
    "unknown_critical_extension": (smtpverify.UntrustedCertificateError, Cause.INVALID_CHAIN),
}

BROKEN_OFF = {
    Handshake.BROKEN_OFF: (smtpverify.TLSHandshakeError, Cause.BROKEN_OFF),
    Handshake.RESET: (smtpverify.TLSHandshakeError, Cause.BROKEN_OFF),
    Handshake.TRUNCATED: (smtpverify.TLSHandshakeError, Cause.BROKEN_OFF),
    Handshake.GARBAGE: (smtpverify.TLSHandshakeError, Cause.PLAINTEXT_NOT_TLS),
    Handshake.ALERT: (smtpverify.TLSHandshakeError, Cause.NO_COMMON_CIPHER),
    Handshake.SILENT: (smtpverify.TLSHandshakeTimeoutError, Cause.BROKEN_OFF),
}
INJECTED = (Starttls.INJECTED_SAME_SEGMENT, Starttls.INJECTED_FRAGMENT, Starttls.INJECTED_AHEAD)

VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True)
class Way:
    """A scheme of a dialect, and how a server must behave for it to be served."""

    scheme: str
    tls: Tls
    dialect: Any = "opensmtpd-2012"

    def url(self, port: int, host: str = HOST) -> str:
        return f"{self.scheme}://{host}:{port}"


STRICT_STARTTLS = [Way("tls", Tls.STARTTLS), Way("smtp+tls", Tls.STARTTLS, "opensmtpd-6.4")]
OPPORTUNISTIC = [Way("smtp+tls", Tls.STARTTLS), Way("smtp", Tls.STARTTLS, "opensmtpd-6.4")]
IMPLICIT = [Way("smtps", Tls.IMPLICIT), Way("smtps", Tls.IMPLICIT, "opensmtpd-6.4")]
EITHER = [Way("ssl", Tls.STARTTLS)]
PLAINTEXT = [
    Way("smtp", Tls.NONE),
    Way("smtp+notls", Tls.NONE),
    Way("smtp+notls", Tls.NONE, "opensmtpd-6.4"),
]
STARTTLS_WAYS = STRICT_STARTTLS + OPPORTUNISTIC + EITHER
TLS_WAYS = STARTTLS_WAYS + IMPLICIT


def name(value: object) -> str | None:
    if isinstance(value, Way):
        return f"{value.scheme}({value.dialect[-4:]})"
    return getattr(value, "value", None)


over_versions: pytest.MarkDecorator = pytest.mark.parametrize("version", VERSIONS)


def over(ways: list[Way]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("way", ways, ids=name)


def deliver(way: Way, port: int, host: str = HOST, *, timeout: float = 5, login: bool = True) -> Any:
    """Do what a program does: connect, log in, send, quit. Returns the peer."""
    with smtpverify.SMTP(way.url(port, host), timeout=timeout, dialect=way.dialect) as smtp:
        if login:
            smtp.login("alice", "secret")
        smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
        return smtp.peer


def refusal(kind: type[BaseException], work: Callable[[], object]) -> Any:
    """What `work` raises, which is exactly of that class."""
    with pytest.raises(kind) as caught:
        work()
    assert type(caught.value) is kind
    return caught.value


def assert_delivered_in_tls(server: Server, connection: int = -1, version: str | None = None) -> None:
    seen = server.connections[connection]
    assert [message.data for message in seen.messages] == [MESSAGE]
    assert version is None or seen.tls_version == version
    assert all(line.upper().startswith(("EHLO", "STARTTLS")) for line in seen.clear_commands)
    assert not seen.session_reused


# --- good servers --------------------------------------------------------------------------------


@over_versions
@pytest.mark.parametrize("kind", GOOD)
@over(TLS_WAYS)
def test_good_servers_get_the_mail(
    smtp_server: ServerFactory, world: World, way: Way, kind: str, version: str
) -> None:
    host = host_of(kind)
    with smtp_server(tls=way.tls, certificate=world.served(kind), tls_version=VERSIONS[version]) as server:
        peer = deliver(way, server.port, host)
    assert_delivered_in_tls(server, version=version)
    assert len(server.connections) == 1
    assert peer.reference.text == host
    assert peer.tls_version == version
    assert peer.certificate.der == world.served(kind).leaf_der
    # An address is never sent as server name (RFC 6066 3), a name always is.
    assert server.connections[0].sni == (None if kind == "address_good" else host)


@over(PLAINTEXT)
def test_plaintext_schemes_say_so_and_do_not_warn(smtp_server: ServerFactory, way: Way) -> None:
    with smtp_server() as server:
        peer = deliver(way, server.port)
    assert peer is None
    assert len(server.messages) == 1
    assert not server.connections[0].client_hello


# --- bad certificates ----------------------------------------------------------------------------


def test_every_bad_kind_has_its_verdict() -> None:
    assert set(VERDICTS) == set(BAD)


@over_versions
@pytest.mark.parametrize("kind", BAD)
@over(TLS_WAYS)
def test_bad_certificates_get_nothing_and_no_second_try(
    smtp_server: ServerFactory, world: World, way: Way, kind: str, version: str
) -> None:
    if kind == "no_aki" and not STRICT:
        pytest.skip("this Python's default verify flags do not ask for key identifiers")
    error_type, cause = VERDICTS[kind]
    served = world.served(kind)
    with smtp_server(tls=way.tls, certificate=served, tls_version=VERSIONS[version]) as server:
        error = refusal(error_type, lambda: deliver(way, server.port, host_of(kind)))
        assert str(error).startswith(f"{host_of(kind)}:{server.port}: ")
        assert (error.host, error.port) == (host_of(kind), server.port)
    assert server.leaked() == []
    assert len(server.connections) == 1
    diagnosis = error.diagnosis
    assert diagnosis.cause is cause
    assert diagnosis.chain == served.chain_ders
    assert diagnosis.remedy
    assert str(error).isprintable()


# --- STARTTLS that is not to be had ----------------------------------------------------------------


@over(STRICT_STARTTLS)
def test_required_and_absent(smtp_server: ServerFactory, way: Way) -> None:
    with smtp_server(tls=Tls.STARTTLS, starttls=Starttls.ABSENT) as server:
        error = refusal(smtpverify.TLSRequiredError, lambda: deliver(way, server.port))
    assert error.diagnosis.cause is Cause.STARTTLS_NOT_OFFERED
    assert server.leaked() == []
    assert len(server.connections) == 1


@pytest.mark.parametrize("reply", ["454 4.7.0 not now", "501 no parameters", "250 fine, in clear", "554 no"])
@over(STRICT_STARTTLS + EITHER)
def test_required_and_refused(smtp_server: ServerFactory, way: Way, reply: str) -> None:
    behaviour = Behaviour(tls=Tls.STARTTLS, starttls=Starttls.REFUSED, starttls_refusal=reply)
    with smtp_server(behaviour) as server:
        error = refusal(smtpverify.STARTTLSRefusedError, lambda: deliver(way, server.port))
    assert error.diagnosis.cause is Cause.STARTTLS_REFUSED
    assert (error.smtp_code, error.smtp_error) == (int(reply[:3]), reply[4:].encode())
    assert server.leaked() == []
    assert len(server.connections) == 1


@pytest.mark.parametrize("starttls", [Starttls.ABSENT, Starttls.REFUSED], ids=name)
@over(OPPORTUNISTIC)
def test_opportunistic_falls_to_plaintext_and_says_so(
    smtp_server: ServerFactory, way: Way, starttls: Starttls
) -> None:
    strict = "tls://" if way.dialect == "opensmtpd-2012" else "smtp+tls://"
    behaviour = Behaviour(tls=Tls.STARTTLS, starttls=starttls, before_tls=("X-FIRST",))
    with (
        smtp_server(behaviour, Behaviour()) as server,
        pytest.warns(smtpverify.PlaintextFallbackWarning, match=f"; {strict.replace('+', '.')}") as caught,
    ):
        peer = deliver(way, server.port, login=False)
    assert caught[0].filename == __file__
    assert peer is None
    first, second = server.connections
    assert first.leaked() == []
    assert len(second.messages) == 1
    # Nothing learned from the old connection: EHLO is said anew.
    assert second.clear_commands[0].upper().startswith("EHLO")


def test_either_falls_to_implicit_where_starttls_is_absent(smtp_server: ServerFactory) -> None:
    absent = Behaviour(tls=Tls.STARTTLS, starttls=Starttls.ABSENT)
    with smtp_server(absent, Behaviour(tls=Tls.IMPLICIT)) as server:
        deliver(EITHER[0], server.port)
    assert server.connections[0].leaked() == []
    assert_delivered_in_tls(server, 1)


def test_either_gives_up_where_no_tls_is_to_be_had(smtp_server: ServerFactory) -> None:
    with smtp_server() as server:
        error = refusal(smtpverify.TLSHandshakeError, lambda: deliver(EITHER[0], server.port))
    assert error.diagnosis.cause is Cause.PLAINTEXT_NOT_TLS
    assert server.leaked() == []
    assert len(server.connections) == 2


def test_the_second_try_of_either_verifies_too(smtp_server: ServerFactory, world: World) -> None:
    absent = Behaviour(tls=Tls.STARTTLS, starttls=Starttls.ABSENT)
    impostor = Behaviour(tls=Tls.IMPLICIT, certificate=world.served("wrong_name"))
    with smtp_server(absent, impostor) as server:
        refusal(smtpverify.HostnameMismatchError, lambda: deliver(EITHER[0], server.port))
    assert server.leaked() == []
    assert len(server.connections) == 2


# --- injection -----------------------------------------------------------------------------------


@over_versions
@pytest.mark.parametrize("starttls", INJECTED, ids=name)
@over(STARTTLS_WAYS)
def test_injected_plaintext_is_final(
    smtp_server: ServerFactory, way: Way, starttls: Starttls, version: str
) -> None:
    with smtp_server(tls=Tls.STARTTLS, starttls=starttls, tls_version=VERSIONS[version]) as server:
        error = refusal(smtpverify.PlaintextInjectionError, lambda: deliver(way, server.port))
    assert error.diagnosis.cause is Cause.PLAINTEXT_INJECTED
    assert server.leaked() == []
    assert len(server.connections) == 1
    assert not server.connections[0].client_hello


# --- the handshake breaks off ----------------------------------------------------------------------


@over_versions
@pytest.mark.parametrize("handshake", BROKEN_OFF, ids=name)
@over(STRICT_STARTTLS + IMPLICIT)
def test_broken_off(smtp_server: ServerFactory, way: Way, handshake: Handshake, version: str) -> None:
    error_type, cause = BROKEN_OFF[handshake]
    with smtp_server(tls=way.tls, handshake=handshake, tls_version=VERSIONS[version]) as server:
        error = refusal(error_type, lambda: deliver(way, server.port, timeout=0.4))
        assert str(error).startswith(f"{HOST}:{server.port}: ")
    assert error.diagnosis.cause is cause
    assert server.leaked() == []
    assert len(server.connections) == 1


@pytest.mark.parametrize("handshake", BROKEN_OFF, ids=name)
def test_either_goes_on_when_the_handshake_breaks_off(
    smtp_server: ServerFactory, handshake: Handshake
) -> None:
    first = Behaviour(tls=Tls.STARTTLS, handshake=handshake)
    with smtp_server(first, Behaviour(tls=Tls.IMPLICIT)) as server:
        deliver(EITHER[0], server.port, timeout=0.4)
    assert server.connections[0].leaked() == []
    assert_delivered_in_tls(server, 1)


@pytest.mark.parametrize("handshake", BROKEN_OFF, ids=name)
@over(OPPORTUNISTIC)
def test_opportunistic_goes_on_when_the_handshake_breaks_off(
    smtp_server: ServerFactory, way: Way, handshake: Handshake
) -> None:
    with (
        smtp_server(Behaviour(tls=Tls.STARTTLS, handshake=handshake), Behaviour()) as server,
        pytest.warns(smtpverify.PlaintextFallbackWarning),
    ):
        deliver(way, server.port, timeout=0.4, login=False)
    assert server.connections[0].leaked() == []
    assert len(server.connections[1].messages) == 1


# --- ports: closed, silent, of the other kind --------------------------------------------------------


@over(TLS_WAYS + PLAINTEXT)
def test_closed_port(way: Way) -> None:
    with closed_port() as port, warnings.catch_warnings():
        warnings.simplefilter("error")
        refusal(ConnectionRefusedError, lambda: deliver(way, port))


@over(STRICT_STARTTLS + OPPORTUNISTIC + PLAINTEXT)
def test_silent_port_where_a_greeting_should_come(way: Way) -> None:
    with silent_port() as port:
        error = refusal(smtpverify.ProtocolError, lambda: deliver(way, port, timeout=0.3))
    assert error.diagnosis.cause is Cause.NO_GREETING
    assert "smtps://" in error.diagnosis.remedy


@over(IMPLICIT + EITHER)
def test_silent_port_where_tls_should_come(way: Way) -> None:
    with silent_port() as port:
        error = refusal(smtpverify.TLSHandshakeTimeoutError, lambda: deliver(way, port, timeout=0.3))
    assert isinstance(error, TimeoutError)


def test_either_meets_an_implicit_port(smtp_server: ServerFactory) -> None:
    with smtp_server(tls=Tls.IMPLICIT) as server:
        deliver(EITHER[0], server.port, timeout=0.4)
    assert_delivered_in_tls(server, 1)
    assert not server.connections[0].client_hello


@over([*STRICT_STARTTLS, *OPPORTUNISTIC])
def test_a_greeting_may_take_its_time(
    smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    """Only `ssl://` takes silence for a sign; a busy server makes others wait until their timeout."""
    monkeypatch.setattr("smtpverify.smtp.attempts._GREETING_WAIT", 0.05)
    late = Pieces(lambda: [b"", b"220 mail.example.org ESMTP\r\n"], pause=0.15)
    with smtp_server(tls=Tls.STARTTLS, greeting=late) as server:
        deliver(way, server.port)
    assert_delivered_in_tls(server)
    assert len(server.connections) == 1


def test_either_takes_silence_for_a_sign(smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpverify.smtp.attempts._GREETING_WAIT", 0.05)
    with smtp_server(Behaviour(greeting_kind=Greeting.SILENT), Behaviour(tls=Tls.IMPLICIT)) as server:
        deliver(EITHER[0], server.port)
    assert_delivered_in_tls(server, 1)


@pytest.mark.parametrize("greeting", [Greeting.CLOSED, Greeting.SILENT], ids=name)
def test_either_goes_on_without_a_greeting(smtp_server: ServerFactory, greeting: Greeting) -> None:
    first = Behaviour(tls=Tls.STARTTLS, greeting_kind=greeting)
    with smtp_server(first, Behaviour(tls=Tls.IMPLICIT)) as server:
        deliver(EITHER[0], server.port, timeout=0.4)
    assert_delivered_in_tls(server, 1)


def test_either_goes_on_when_the_greeting_is_no_smtp(smtp_server: ServerFactory) -> None:
    first = Behaviour(greeting="SSH-2.0-OpenSSH_9.2")
    with smtp_server(first, Behaviour(tls=Tls.IMPLICIT)) as server:
        deliver(EITHER[0], server.port)
    assert_delivered_in_tls(server, 1)


@pytest.mark.parametrize("greeting", ["554 no service", "421 not now", "250 odd"])
@over(TLS_WAYS[:-2] + PLAINTEXT)
def test_a_greeting_other_than_220_is_final(smtp_server: ServerFactory, way: Way, greeting: str) -> None:
    with smtp_server(greeting=greeting) as server:
        error = refusal(smtplib.SMTPConnectError, lambda: deliver(way, server.port))
    assert error.smtp_code == int(greeting[:3])
    assert len(server.connections) == 1
    assert server.leaked() == []


@over(STRICT_STARTTLS + EITHER)
def test_ehlo_refused_is_final(smtp_server: ServerFactory, way: Way) -> None:
    with smtp_server(tls=Tls.STARTTLS, replies={"EHLO": "502 unknown"}) as server:
        refusal(smtplib.SMTPHeloError, lambda: deliver(way, server.port))
    assert len(server.connections) == 1
    assert server.leaked() == []


@over(IMPLICIT)
def test_implicit_tls_meets_a_starttls_port(smtp_server: ServerFactory, way: Way) -> None:
    with smtp_server(tls=Tls.STARTTLS) as server:
        error = refusal(smtpverify.TLSHandshakeError, lambda: deliver(way, server.port))
    assert error.diagnosis.cause is Cause.PLAINTEXT_NOT_TLS
    assert "587" in error.diagnosis.remedy


def test_a_starttls_client_meets_a_server_that_speaks_tls_at_once(smtp_server: ServerFactory) -> None:
    with smtp_server(greeting=b"\x15\x03\x01\x00\x02\x02\x28") as server:
        error = refusal(smtpverify.ProtocolError, lambda: deliver(STRICT_STARTTLS[0], server.port))
    assert error.diagnosis.cause is Cause.TLS_NOT_PLAINTEXT
    assert server.leaked() == []


def test_a_server_that_closes_in_the_place_of_a_greeting(smtp_server: ServerFactory) -> None:
    """As one that speaks TLS from the first byte does, once it is tired of waiting."""
    for tls, way, remedy in (
        (Tls.STARTTLS, STRICT_STARTTLS[0], "write smtps://"),
        (Tls.IMPLICIT, IMPLICIT[0], ""),
    ):
        with smtp_server(tls=tls, greeting_kind=Greeting.CLOSED) as server:
            error = refusal(smtpverify.ProtocolError, functools.partial(deliver, way, server.port))
        assert str(error) == f"{HOST}:{server.port}: no SMTP greeting came: the server closed the connection"
        assert error.diagnosis.cause is Cause.NO_GREETING
        assert remedy in error.diagnosis.remedy
        assert bool(remedy) is bool(error.diagnosis.remedy)


@over(STRICT_STARTTLS[:1] + IMPLICIT[:1])
def test_a_server_of_another_protocol(smtp_server: ServerFactory, way: Way) -> None:
    """What smtplib makes of it, with what came, and whence."""
    tls = Tls.IMPLICIT if way in IMPLICIT else Tls.STARTTLS
    with smtp_server(tls=tls, greeting="HTTP/1.1 400 Bad Request") as server:
        error = refusal(smtpverify.GreetingError, lambda: deliver(way, server.port))
    assert isinstance(error.__cause__, smtpverify.MalformedReplyError)
    assert (error.smtp_code, error.smtp_error) == (-1, b"/1.1 400 Bad Request")
    assert str(error) == (
        f"{HOST}:{server.port}: no SMTP greeting came: the server broke RFC 5321 4.2: "
        "'HTTP/1.1 400 Bad Request' is no line of a reply"
    )
    assert error.diagnosis.cause is Cause.NO_GREETING
    assert "port" in error.diagnosis.remedy
    assert server.leaked() == []


# --- default ports -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("smtp://h.test", [25]),
        ("smtp+tls://h.test", [25]),
        ("smtp+notls://h.test", [25]),
        ("tls://h.test", [25]),
        ("smtps://h.test", [465]),
        ("ssl://h.test", [25, 465]),
        ("ssl://h.test:587", [587, 587]),
        ("ssl://h.test:465", [465, 465]),
    ],
)
def test_ports_that_are_tried(url: str, ports: list[int]) -> None:
    tried: list[int] = []

    class Recording(smtpverify.SMTP):
        def _get_socket(self, host: str, port: int, timeout: float | None) -> Any:
            tried.append(port)
            raise ConnectionRefusedError(111, "refused")

    with pytest.raises(ConnectionRefusedError):
        Recording(url)
    assert tried == ports


def test_the_submissions_port_is_spoken_to_in_tls_first(
    smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On 465 (RFC 8314 7.3) nobody waits for a greeting that never comes."""
    monkeypatch.setattr("smtpverify.smtp.attempts._SUBMISSIONS", None)
    with smtp_server(tls=Tls.IMPLICIT) as server:
        monkeypatch.setattr("smtpverify.smtp.attempts._SUBMISSIONS", server.port)
        deliver(EITHER[0], server.port)
    assert len(server.connections) == 1
    assert_delivered_in_tls(server)
