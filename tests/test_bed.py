"""The bed, judged with the standard library's own client: it does what it says, and sees what happened."""

from __future__ import annotations

import smtplib
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.bed import (
    BAD,
    GOOD,
    HOST,
    KINDS,
    End,
    Handshake,
    Server,
    Starttls,
    Tls,
    World,
    host_of,
)
from tests.bed.link import outside_records
from tests.bed.raw import TIMEOUT, Raw

if TYPE_CHECKING:
    from tests.conftest import ServerFactory

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
MODES = (Tls.STARTTLS, Tls.IMPLICIT)
BODY = "Subject: one\r\n\r\n.dot\r\n"
EHLO = b"EHLO client.example.org\r\n"

# X509_V_ERR_*, as ssl.create_default_context() sees them; None: accepted.
VERIFY_CODES = {
    **dict.fromkeys(GOOD),
    "wrong_name": 62,
    "wildcard_too_deep": 62,
    "wildcard_of_host": 62,
    "wildcard_partial": 62,
    "common_name_only": None,  # hostname_checks_common_name
    "common_name_beside_san": 62,
    "srv_name_only": 62,
    "name_with_nul": 62,
    "wrong_address": 64,
    "address_as_dns_name": 64,
    "unknown_issuer": 20,
    "unknown_issuer_with_intermediate": 20,
    "self_signed_leaf": 18,
    "self_signed_root_in_chain": 19,
    "missing_intermediate": 20,
    "missing_intermediate_no_aia": 20,
    "expired": 10,
    "not_yet_valid": 9,
    "expired_intermediate": 10,
    "wrong_usage": 26,
    "weak_key": 66,
    "weak_signature": 68,
    "no_aki": None,  # VERIFY_X509_STRICT
    "non_ca_issuer": 79,
    "path_too_long": 25,
    "outside_name_constraints": 47,
    "unknown_critical_extension": 34,
}


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    value: ssl.TLSVersion = request.param
    return value


@pytest.fixture(params=MODES, ids=lambda mode: mode.name)
def mode(request: pytest.FixtureRequest) -> Tls:
    value: Tls = request.param
    return value


@pytest.fixture
def lenient(world: World) -> ssl.SSLContext:
    """The world's verifying context, without the strictness that Python 3.13 added."""
    context = world.client_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def everything() -> ssl.SSLContext:
    """Return a context that accepts every certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def deliver(server: Server, mode: Tls, context: ssl.SSLContext, host: str = HOST) -> None:
    """Log in and send a mail by smtplib."""
    client: smtplib.SMTP
    if mode is Tls.IMPLICIT:
        client = smtplib.SMTP_SSL(host, server.port, timeout=TIMEOUT, context=context)
    else:
        client = smtplib.SMTP(host, server.port, timeout=TIMEOUT)
    with client:
        if mode is Tls.STARTTLS:
            client.starttls(context=context)
        client.login("alice", "secret")
        client.sendmail("alice@example.org", ["bob@example.net"], BODY)


# Certificates.


def test_every_kind_is_in_the_table() -> None:
    assert VERIFY_CODES.keys() == KINDS.keys()
    assert {*GOOD, *BAD} == KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_kind(
    world: World,
    smtp_server: ServerFactory,
    lenient: ssl.SSLContext,
    kind: str,
    mode: Tls,
    version: ssl.TLSVersion,
) -> None:
    code, host = VERIFY_CODES[kind], host_of(kind)
    with smtp_server(tls=mode, certificate=world.served(kind), tls_version=version) as server:
        if code is None:
            deliver(server, mode, lenient, host)
        else:
            with pytest.raises(ssl.SSLCertVerificationError) as caught:
                deliver(server, mode, lenient, host)
            assert caught.value.verify_code == code
    (seen,) = server.connections
    if code is None:
        assert (seen.tls_version, seen.end) == (version.name.replace("_", "."), End.QUIT)
        assert [message.rcpts for message in server.messages] == [("bob@example.net",)]
    else:
        assert (server.leaked(), seen.secure, seen.handshake_done) == ([], b"", False)
        assert seen.client_hello
        assert "ALERT" in (seen.handshake_error or "")


@pytest.mark.parametrize("kind", BAD)
def test_bad_kind_is_served_to_those_who_look_away(
    world: World, smtp_server: ServerFactory, kind: str, version: ssl.TLSVersion
) -> None:
    with smtp_server(tls=Tls.IMPLICIT, certificate=world.served(kind), tls_version=version) as server:
        deliver(server, Tls.IMPLICIT, everything())
    assert len(server.messages) == 1


def test_kinds_that_only_a_stricter_context_refuses(world: World, smtp_server: ServerFactory) -> None:
    strict, no_common_name = world.client_context(), world.client_context()
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    no_common_name.hostname_checks_common_name = False
    for kind, context, code in (("no_aki", strict, 85), ("common_name_only", no_common_name, 62)):
        with (
            smtp_server(tls=Tls.IMPLICIT, certificate=world.served(kind)) as server,
            pytest.raises(ssl.SSLCertVerificationError) as caught,
        ):
            deliver(server, Tls.IMPLICIT, context)
        assert caught.value.verify_code == code
        assert server.leaked() == []


@pytest.mark.parametrize("kind", GOOD)
def test_good_kinds_stand_strictness(world: World, smtp_server: ServerFactory, kind: str) -> None:
    strict = world.client_context()
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    strict.hostname_checks_common_name = False
    with smtp_server(tls=Tls.IMPLICIT, certificate=world.served(kind)) as server:
        deliver(server, Tls.IMPLICIT, strict, host_of(kind))
    assert len(server.messages) == 1


def test_server_sends_the_chain_that_it_is_told(world: World, smtp_server: ServerFactory) -> None:
    issued = world.good().sending(world.unknown.certificate, world.root.certificate)
    with (
        smtp_server(tls=Tls.IMPLICIT, certificate=issued) as server,
        socket.create_connection((server.host, server.port), TIMEOUT) as plain,
        world.client_context().wrap_socket(plain, server_hostname=HOST) as tls,
    ):
        assert tls.getpeercert(binary_form=True) == issued.leaf_der
        # Public since Python 3.13.
        chain = tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
        assert tuple(one.public_bytes(2) for one in chain) == issued.chain_ders
    assert issued.chain_ders[1:] == (world.unknown.der, world.root.der)


# STARTTLS and the handshake.


@pytest.mark.parametrize("kind", [Starttls.ABSENT, Starttls.REFUSED])
def test_starttls_not_to_be_had(smtp_server: ServerFactory, world: World, kind: Starttls) -> None:
    error = smtplib.SMTPNotSupportedError if kind is Starttls.ABSENT else smtplib.SMTPResponseException
    with smtp_server(tls=Tls.STARTTLS, starttls=kind) as server:
        with pytest.raises(error):
            deliver(server, Tls.STARTTLS, world.client_context())
        with Raw(server) as raw:
            raw.hear()
            announced = b"STARTTLS" in raw.ask(EHLO)
            assert announced is (kind is Starttls.REFUSED)
            assert raw.ask(b"STARTTLS\r\n").startswith(b"454 " if announced else b"502 ")
            # The server stays at the client's service, to see whether it goes on in plaintext.
            assert raw.ask(b"MAIL FROM:<a@example.org>\r\n").startswith(b"250 ")
    assert server.leaked() == ["MAIL FROM:<a@example.org>"]


@pytest.mark.parametrize("kind", [kind for kind in Starttls if kind.name.startswith("INJECTED")])
def test_starttls_injected(
    smtp_server: ServerFactory, world: World, kind: Starttls, version: ssl.TLSVersion
) -> None:
    ready = b"220 2.0.0 Ready to start TLS\r\n"
    with smtp_server(tls=Tls.STARTTLS, starttls=kind, tls_version=version) as server:
        # smtplib notices nothing: the rest of the bed's answer goes on as usual.
        deliver(server, Tls.STARTTLS, world.client_context())
        with Raw(server) as raw:
            raw.hear()
            hello = raw.ask(EHLO)
            assert hello.endswith(b"250 STARTTLS\r\n" + (ready if kind is Starttls.INJECTED_AHEAD else b""))
            if kind is not Starttls.INJECTED_AHEAD:
                lines = b"250-injected.example.net\r\n250 AUTH PLAIN LOGIN"
                end = b"\r\n" if kind is Starttls.INJECTED_SAME_SEGMENT else b""
                assert raw.ask(b"STARTTLS\r\n") == ready + lines + end
    assert len(server.messages) == 1
    assert server.connections[0].handshake_done


ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError)  # the latter by Python 3.11.2


@pytest.mark.parametrize(
    ("kind", "error", "reason", "end"),
    [
        (Handshake.BROKEN_OFF, ENDED, "EOF", End.SCRIPTED),
        (Handshake.RESET, ConnectionResetError, "reset by peer", End.SCRIPTED),
        (Handshake.TRUNCATED, ENDED, "EOF", End.SCRIPTED),
        (Handshake.GARBAGE, ssl.SSLError, "WRONG_VERSION_NUMBER", None),
        (Handshake.ALERT, ssl.SSLError, "ALERT_HANDSHAKE_FAILURE", None),
    ],
)
def test_handshake_breaks_off(
    smtp_server: ServerFactory,
    world: World,
    kind: Handshake,
    error: type[OSError] | tuple[type[OSError], ...],
    reason: str,
    end: End | None,
    mode: Tls,
    version: ssl.TLSVersion,
) -> None:
    with (
        smtp_server(tls=mode, handshake=kind, tls_version=version) as server,
        pytest.raises(error, match=reason),
    ):
        deliver(server, mode, world.client_context())
    (seen,) = server.connections
    assert seen.client_hello
    assert not seen.handshake_done
    assert (server.leaked(), seen.secure) == ([], b"")
    assert seen.clear_commands == ([] if mode is Tls.IMPLICIT else ["ehlo client.example.org", "STARTTLS"])
    # Whether a client that gives up closes by FIN or RST depends on what it has read by then.
    assert seen.end in ((end,) if end else (End.EOF, End.RESET))


def test_handshake_silent(smtp_server: ServerFactory, world: World, mode: Tls) -> None:
    with smtp_server(tls=mode, handshake=Handshake.SILENT) as server:
        plain = socket.create_connection((server.host, server.port), TIMEOUT)
        with plain:
            if mode is Tls.STARTTLS:
                plain.recv(65536)
                plain.sendall(b"STARTTLS\r\n")
                assert plain.recv(65536).startswith(b"220 ")
            plain.settimeout(0.05)
            with pytest.raises(TimeoutError):
                world.client_context().wrap_socket(plain, server_hostname=HOST)
    (seen,) = server.connections
    assert seen.client_hello
    assert (server.leaked(), seen.end) == ([], End.EOF)


@pytest.mark.parametrize("kind", [Handshake.GARBAGE, Handshake.ALERT])
def test_plaintext_behind_a_failed_handshake_is_served_and_seen(
    smtp_server: ServerFactory, kind: Handshake
) -> None:
    with smtp_server(tls=Tls.STARTTLS, handshake=kind) as server, Raw(server) as raw:
        raw.hear()
        raw.ask(b"STARTTLS\r\n")
        raw.ask(b"\x16\x03\x01\x00\x02hi")  # a record in the place of a ClientHello
        # The client's alert, and then what it must never do.
        assert raw.ask(b"\x15\x03\x01\x00\x02\x02\x46" + EHLO).startswith(b"250-")
        raw.ask(b"MAIL FROM:<a@example.org>\r\n")
    assert server.leaked() == ["MAIL FROM:<a@example.org>"]
    assert b"hi" not in server.connections[0].clear


def test_handshake_that_fails_on_plaintext_keeps_it_on_record(smtp_server: ServerFactory) -> None:
    with smtp_server(tls=Tls.IMPLICIT) as server, Raw(server) as raw:
        raw.ask(EHLO + b"MAIL FROM:<a@example.org>\r\n")
    (seen,) = server.connections
    assert seen.handshake_error is not None
    assert (seen.end, seen.client_hello) == (End.REFUSED, False)
    assert server.leaked() == ["MAIL FROM:<a@example.org>"]


def test_client_hello_on_a_plaintext_port(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server() as server, pytest.raises(ssl.SSLError, match="WRONG_VERSION_NUMBER"):
        deliver(server, Tls.IMPLICIT, world.client_context())
    assert server.connections[0].client_hello
    assert server.connections[0].clear == b""


def test_outside_records() -> None:
    hello = b"\x16\x03\x01\x00\x04abcd"
    assert outside_records(hello + b"MAIL\r\n" + hello) == b"MAIL\r\n"
    assert outside_records(hello[:7]) == outside_records(hello[:1]) == b""
    assert outside_records(b"\x16\x04") == b"\x16\x04"
