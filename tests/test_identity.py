"""Whom the gate lets pass: names, pins, versions, client certificates, and the evidence of it."""

from __future__ import annotations

import dataclasses
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from smtpverify import (
    Cause,
    HostnameMismatchError,
    InsecureContextError,
    Pin,
    ReferenceIdentifierError,
    TLSHandshakeError,
    Trust,
    UntrustedCertificateError,
    create_context,
)
from smtpverify.tls.names import reference_identifier
from smtpverify.tls.x509 import Certificate
from tests.bed import HOST, Issued, Sni, World, self_signed
from tests.bed.certs import CLIENT_AUTH, DNS_NAME, san_der
from tests.gate import (
    IMPLICIT,
    MISMATCH,
    OTHER,
    OTHER_PIN,
    REFUSED,
    SECRET,
    assert_no_byte,
    pin_of,
    refusal,
    wrap,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import ServerFactory

# --- who the peer must be ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kind", "sni"),
    [
        (HOST, "good", HOST),
        ("Mail.EXAMPLE.org", "good", HOST),
        (f"{HOST}.", "good", HOST),
        (f"{HOST}:465", "good", HOST),
        (HOST.encode(), "good", HOST),
        ("bücher.example.org", "idn_good", "xn--bcher-kva.example.org"),
        ("127.0.0.1", "address_good", None),
        ("[::1]:465", "address_good", None),
    ],
)
def test_server_name(
    world: World, smtp_server: ServerFactory, given: Any, kind: str, sni: str | None
) -> None:
    """RFC 6066 3: a host name in A-labels without a trailing dot, and never an address."""
    with smtp_server(IMPLICIT, certificate=world.served(kind)) as server, wrap(server, host=given) as sock:
        assert sock.peer is not None
        assert sock.peer.reference == reference_identifier(given)
    assert server.connections[0].sni == sni


def test_a_server_that_wants_a_server_name(world: World, smtp_server: ServerFactory) -> None:
    with smtp_server(IMPLICIT, sni=Sni.REQUIRED, certificate=lambda _: world.good()) as server:
        wrap(server).close()
    with smtp_server(IMPLICIT, sni=Sni.REQUIRED, certificate=world.served("address_good")) as server:
        refusal(TLSHandshakeError, Cause.SERVER_NAME_UNKNOWN, wrap, server, host="127.0.0.1")


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"server_hostname": None}, InsecureContextError, "say who the peer must be"),
        ({"server_hostname": ""}, InsecureContextError, "say who the peer must be"),
        ({"server_hostname": HOST, "server_side": True}, InsecureContextError, "not for server_side"),
        ({"server_hostname": "*.example.org"}, ReferenceIdentifierError, "wildcard"),
        ({"server_hostname": "010.0.0.1"}, ReferenceIdentifierError, "leading zeros"),
    ],
)
def test_arguments_refused(options: dict[str, Any], kind: type[BaseException], message: str) -> None:
    with socket.socket() as sock:
        error = refusal(kind, None, create_context().wrap_socket, sock, **options)
        assert message in str(error)
        assert sock.fileno() != -1
    error = refusal(kind, None, create_context().wrap_bio, ssl.MemoryBIO(), ssl.MemoryBIO(), **options)
    assert message in str(error)


def test_server_hostname_can_be_changed_for_openssl_alone(world: World, smtp_server: ServerFactory) -> None:
    """The attribute is the standard library's; whom we wanted stays what it was."""
    server = smtp_server(IMPLICIT, certificate=world.good(OTHER))
    with create_context().wrap_socket(socket.socket(), server_hostname=HOST) as sock:
        sock.server_hostname = OTHER
        refusal(HostnameMismatchError, Cause.WRONG_NAME, sock.connect, (server.host, server.port))
    assert_no_byte(server)


# --- pins ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "pinned", "pins_only", "verdict"),
    [
        ("good", "good", False, None),
        ("good", "expired", False, MISMATCH),
        ("wrong_name", "wrong_name", False, REFUSED["wrong_name"]),
        ("expired", "expired", False, REFUSED["expired"]),
        ("self_signed_leaf", "self_signed_leaf", False, (UntrustedCertificateError, Cause.SELF_SIGNED_LEAF)),
        ("self_signed_leaf", "self_signed_leaf", True, None),
        ("wrong_name", "wrong_name", True, None),
        ("expired", "expired", True, None),
        ("self_signed_leaf", "good", True, MISMATCH),
        ("good", "self_signed_leaf", True, MISMATCH),
    ],
)
def test_pins(
    world: World, smtp_server: ServerFactory, kind: str, pinned: str, pins_only: bool, verdict: Any
) -> None:
    """On top of chain and name, or in their place where `pins_only` says so."""
    pin = Pin.parse(pin_of(world.served(pinned)))
    server = smtp_server(IMPLICIT, certificate=world.served(kind))
    trust = Trust(pins=[OTHER_PIN, pin], pins_only=pins_only)  # the first may be of the next certificate
    if verdict is not None:
        error = refusal(*verdict, wrap, server, trust)
        assert error.diagnosis.chain == world.served(kind).chain_ders
        assert_no_byte(server)
        return
    with wrap(server, trust) as sock:
        assert sock.peer is not None
        assert sock.peer.pin == pin
        sock.sendall(SECRET)
    server.close()
    assert server.connections[0].secure == SECRET


@pytest.mark.parametrize("pins_only", [False, True])
def test_an_impostor_appends_the_pinned_certificate(
    world: World, smtp_server: ServerFactory, pins_only: bool
) -> None:
    impostor = world.root.issue(HOST).sending(world.good().certificate)
    server = smtp_server(IMPLICIT, certificate=impostor)
    trust = Trust(pins=pin_of(world.good()), pins_only=pins_only)
    error = refusal(*MISMATCH, wrap, server, trust)
    assert world.good().leaf_der in error.diagnosis.chain
    assert_no_byte(server)


def test_a_pin_of_the_key_survives_a_renewal(world: World, smtp_server: ServerFactory) -> None:
    trust = Trust(pins=str(Pin.of_spki(Certificate.from_der(world.good().leaf_der))))
    renewed = world.root.issue(HOST, key=world.good().key)
    with smtp_server(IMPLICIT, certificate=renewed) as server, wrap(server, trust) as sock:
        assert sock.peer is not None
        assert sock.peer.certificate.der == renewed.leaf_der
    with smtp_server(IMPLICIT, certificate=world.root.issue(HOST)) as server:
        refusal(*MISMATCH, wrap, server, trust)


def test_a_certificate_that_only_openssl_can_read(world: World, smtp_server: ServerFactory) -> None:
    """Whose names we can't read is nobody, whatever the pins say."""
    served = world.root.issue(raw_san=san_der((DNS_NAME, HOST.encode())) + b"\0")
    server = smtp_server(IMPLICIT, certificate=served)
    trust = Trust(pins=OTHER_PIN, pins_only=True)
    refusal(UntrustedCertificateError, Cause.MALFORMED_CERTIFICATE, wrap, server, trust)
    assert_no_byte(server)


# --- version and client certificate --------------------------------------------------------------


def test_minimum_version(smtp_server: ServerFactory) -> None:
    trust = Trust(minimum_version=ssl.TLSVersion.TLSv1_3)
    with smtp_server(IMPLICIT, tls_version=ssl.TLSVersion.TLSv1_3) as server:
        wrap(server, trust).close()
    server = smtp_server(IMPLICIT, tls_version=ssl.TLSVersion.TLSv1_2)
    refusal(TLSHandshakeError, Cause.VERSION_TOO_OLD, wrap, server, trust)
    assert_no_byte(server)


@pytest.fixture
def client(world: World, tmp_path: Path) -> tuple[Issued, Trust]:
    """Give a client's certificate, and the trust with it."""
    issued = world.root.issue("client.example.org", extended_key_usage=[CLIENT_AUTH])
    chain, key = issued.write(tmp_path, "client")
    return issued, Trust(client_cert=chain, client_key=key)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_client_certificate(
    world: World, smtp_server: ServerFactory, client: tuple[Issued, Trust], version: ssl.TLSVersion
) -> None:
    issued, trust = client
    server = smtp_server(IMPLICIT, client_roots=(world.root,), tls_version=version)
    with server, wrap(server, trust) as sock:
        assert sock.recv(3) == b"220"
    assert [seen.client_certificate for seen in server.connections] == [issued.leaf_der]


def test_a_client_without_certificate_on_tls_1_2(world: World, smtp_server: ServerFactory) -> None:
    version = ssl.TLSVersion.TLSv1_2
    server = smtp_server(IMPLICIT, client_roots=(world.root,), tls_version=version)
    # The alert is a general one (RFC 5246 7.4.6); that the server has shown its certificate tells.
    refusal(TLSHandshakeError, Cause.CLIENT_CERTIFICATE_REFUSED, wrap, server)
    assert_no_byte(server)


def test_a_client_without_certificate_on_tls_1_3(world: World, smtp_server: ServerFactory) -> None:
    """The client learns of it when its own handshake is done (RFC 8446 4.4.2.4)."""
    version = ssl.TLSVersion.TLSv1_3
    server = smtp_server(IMPLICIT, client_roots=(world.root,), tls_version=version)
    sock = wrap(server)
    failure = refusal(TLSHandshakeError, Cause.CLIENT_CERTIFICATE_REFUSED, sock.recv, 3)
    assert failure.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    assert type(failure.__cause__) is ssl.SSLError
    assert failure.diagnosis.openssl_message == str(failure.__cause__)
    refusal(TLSHandshakeError, None, sock.send, b"x")
    assert sock.fileno() == -1
    assert_no_byte(server)


def test_another_error_behind_the_handshake_is_left_alone(smtp_server: ServerFactory) -> None:
    with smtp_server(IMPLICIT) as server, wrap(server) as sock:
        assert sock.recv(3) == b"220"
        sock.recv(100)
        sock.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            sock.recv(100)
        assert sock.peer is not None
        sock.setblocking(True)
        sock.sendall(b"QUIT\r\n")
        assert sock.recv(3) == b"221"


# --- evidence ------------------------------------------------------------------------------------


def test_peer_identity(world: World, smtp_server: ServerFactory) -> None:
    served = world.served("good_via_intermediate")
    pin = pin_of(served)
    with (
        smtp_server(IMPLICIT, certificate=served, tls_version=ssl.TLSVersion.TLSv1_3) as server,
        wrap(server, Trust(pins=pin), host=f"{HOST}.:465") as sock,
    ):
        peer = sock.peer
        cipher = sock.cipher()
    assert peer is not None
    assert cipher is not None
    assert peer.reference == reference_identifier(f"{HOST}.:465")
    assert peer.certificate == Certificate.from_der(served.leaf_der)
    assert str(peer.matched) == HOST
    assert str(peer.pin) == pin
    assert peer.chain == (*served.chain_ders, world.root.der)
    assert (peer.tls_version, peer.cipher) == ("TLSv1.3", cipher[0])
    assert str(peer) == (
        f"{HOST}: certificate for {HOST}, issued by {peer.certificate.issuer}, pinned {pin}, "
        f"TLSv1.3, {cipher[0]}"
    )
    assert "chain" not in repr(peer)
    with pytest.raises(dataclasses.FrozenInstanceError):
        peer.matched = None  # type: ignore[misc]


def test_peer_identity_by_a_pin_alone(smtp_server: ServerFactory) -> None:
    served = self_signed(OTHER)
    trust = Trust(pins=pin_of(served), pins_only=True)
    with smtp_server(IMPLICIT, certificate=served) as server, wrap(server, trust) as sock:
        peer = sock.peer
    assert peer is not None
    assert (peer.matched, peer.chain) == (None, ())
    assert str(peer) == f"{HOST}: pinned {pin_of(served)}, {peer.tls_version}, {peer.cipher}"


def test_without_pins_none_is_shown(smtp_server: ServerFactory) -> None:
    with smtp_server(IMPLICIT) as server, wrap(server) as sock:
        assert sock.peer is not None
        assert sock.peer.pin is None
        assert "pinned" not in str(sock.peer)


def test_a_unix_socket_has_no_port(world: World, smtp_server: ServerFactory, tmp_path: Path) -> None:
    server = smtp_server(IMPLICIT, certificate=world.served("wrong_name"), path=tmp_path / "s")
    error = refusal(HostnameMismatchError, Cause.WRONG_NAME, wrap, server)
    assert (error.host, error.port) == (HOST, None)
