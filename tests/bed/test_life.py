"""Whom the server asks for and shows, how it lives and ends; and where tests cannot go."""

from __future__ import annotations

import smtplib
import socket
import ssl
import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.bed import (
    HOST,
    BedError,
    Behaviour,
    End,
    OutsideNetwork,
    Resolver,
    Server,
    Sni,
    Starttls,
    Tls,
    World,
    closed_port,
    silent_port,
)
from tests.bed.raw import TIMEOUT, Raw

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed import Issued
    from tests.conftest import ServerFactory

EHLO = b"EHLO client.example.org\r\n"
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
MAIL = b"MAIL FROM:<a@example.org>\r\n"


# Who is asked for.


def test_sni_chooses_the_certificate(smtp_server: ServerFactory, world: World) -> None:
    def certificate(name: str | None) -> Issued | None:
        return None if name == "none.example.org" else world.good(name or "default.example.org")

    with smtp_server(tls=Tls.IMPLICIT, certificate=certificate) as server:
        for name in ("one.example.org", "two.example.org"):
            with smtplib.SMTP_SSL(name, server.port, context=world.client_context(), timeout=TIMEOUT):
                pass
        with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
            smtplib.SMTP_SSL("none.example.org", server.port, context=world.client_context(), timeout=TIMEOUT)
    assert [seen.sni for seen in server.connections] == [
        "one.example.org",
        "two.example.org",
        "none.example.org",
    ]
    assert [seen.end for seen in server.connections] == [End.QUIT, End.QUIT, End.REFUSED]


def test_sni_required(smtp_server: ServerFactory, world: World) -> None:
    blind = world.client_context()
    blind.check_hostname = False
    for sni, accepted in ((Sni.OPTIONAL, True), (Sni.REQUIRED, False)):
        with (
            smtp_server(tls=Tls.IMPLICIT, sni=sni) as server,
            socket.create_connection((server.host, server.port), TIMEOUT) as plain,
        ):
            if accepted:
                blind.wrap_socket(plain).close()
            else:
                with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
                    blind.wrap_socket(plain)
        (seen,) = server.connections
        assert (seen.sni, seen.handshake_done) == (None, accepted)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_served_for_the_client_to_refuse(smtp_server: ServerFactory, world: World) -> None:
    old = world.client_context()
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1
    new = world.client_context()
    new.minimum_version = ssl.TLSVersion.TLSv1_2  # a distribution's Python may leave it open
    for context, accepted in ((old, True), (new, False)):
        with smtp_server(tls=Tls.IMPLICIT, tls_version=ssl.TLSVersion.TLSv1_1) as server:
            if accepted:
                smtplib.SMTP_SSL(HOST, server.port, context=context, timeout=TIMEOUT).quit()
            else:
                with pytest.raises(ssl.SSLError, match="PROTOCOL"):
                    smtplib.SMTP_SSL(HOST, server.port, context=context, timeout=TIMEOUT)
        assert server.connections[0].tls_version == ("TLSv1.1" if accepted else None)


def test_context_in_place_of_a_certificate(smtp_server: ServerFactory, world: World) -> None:
    cipher = "ECDHE-ECDSA-CHACHA20-POLY1305"
    context = world.good().server_context(maximum_version=ssl.TLSVersion.TLSv1_2, ciphers=cipher)
    with smtp_server(tls=Tls.IMPLICIT, certificate=context) as server:
        smtplib.SMTP_SSL(HOST, server.port, context=world.client_context(), timeout=TIMEOUT).quit()
    (seen,) = server.connections
    assert (seen.cipher, seen.sni) == (cipher, HOST)


@pytest.mark.parametrize("identified", [False, True])
def test_client_certificate(
    smtp_server: ServerFactory, world: World, tmp_path: Path, identified: bool
) -> None:
    client = world.root.issue("client.example.org", extended_key_usage=())
    context = world.client_context()
    if identified:
        context.load_cert_chain(*client.write(tmp_path, "client"))
    with smtp_server(tls=Tls.IMPLICIT, client_roots=(world.root,)) as server:
        plain = socket.create_connection((server.host, server.port), TIMEOUT)
        with context.wrap_socket(plain, server_hostname=HOST) as tls:
            # In TLS 1.3 the client is done before the server has judged; the verdict comes here.
            if identified:
                assert tls.recv(100).startswith(b"220 ")
            else:
                with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
                    tls.recv(100)
    (seen,) = server.connections
    assert seen.handshake_error == (None if identified else "PEER_DID_NOT_RETURN_A_CERTIFICATE")
    assert seen.client_certificate == (client.leaf_der if identified else None)


def test_sessions_can_be_resumed(smtp_server: ServerFactory, world: World) -> None:
    context = world.client_context()
    session = None
    with smtp_server(tls=Tls.IMPLICIT, tls_version=ssl.TLSVersion.TLSv1_2) as server:
        for _ in range(2):
            plain = socket.create_connection((server.host, server.port), TIMEOUT)
            with context.wrap_socket(plain, server_hostname=HOST, session=session) as tls:
                assert tls.recv(100).startswith(b"220 ")
                session = tls.session
    assert [seen.session_reused for seen in server.connections] == [False, True]


# How it lives, and ends.


def test_each_connection_has_its_behaviour(smtp_server: ServerFactory) -> None:
    with smtp_server(Behaviour(greeting="421 first"), Behaviour(greeting="220 others")) as server:
        heard = []
        for _ in range(3):
            with Raw(server) as raw:
                heard.append(raw.hear())
    assert heard == [b"421 first\r\n", b"220 others\r\n", b"220 others\r\n"]
    assert [seen.number for seen in server.connections] == [0, 1, 2]


def test_each_connection_has_its_tls_version(smtp_server: ServerFactory, world: World) -> None:
    old, new = (Behaviour(tls=Tls.IMPLICIT, tls_version=one) for one in VERSIONS)
    with smtp_server(old, new, old) as server:
        for _ in range(3):
            smtplib.SMTP_SSL(HOST, server.port, context=world.client_context(), timeout=TIMEOUT).quit()
    assert [seen.tls_version for seen in server.connections] == ["TLSv1.2", "TLSv1.3", "TLSv1.2"]


def test_addresses(smtp_server: ServerFactory, tmp_path: Path) -> None:
    for server in (smtp_server(host="::1"), smtp_server(path=tmp_path / "socket"), smtp_server()):
        with server, Raw(server) as raw:
            assert raw.hear().startswith(b"220 ")
    assert not (tmp_path / "socket").exists()


def test_closed_and_silent_ports() -> None:
    with closed_port() as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), TIMEOUT)
    with silent_port() as port, socket.create_connection(("127.0.0.1", port), 0.05) as sock:
        sock.sendall(EHLO)
        with pytest.raises(TimeoutError):
            sock.recv(1)


@pytest.mark.parametrize("abort", [False, True])
def test_what_was_sent_before_the_end_is_seen(abort: bool) -> None:
    for _ in range(20):
        with Server() as server:
            for _ in range(5):
                with Raw(server) as raw:
                    raw.socket.sendall(EHLO + MAIL)
                    if abort:
                        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert server.leaked() == ["MAIL FROM:<a@example.org>"] * 5
        # Which it is depends on whether the greeting had come when the client closed.
        assert {seen.end for seen in server.connections} <= {End.EOF, End.RESET}


def test_closing_ends_a_connection_that_is_held_open(smtp_server: ServerFactory) -> None:
    server = smtp_server()
    with Raw(server) as raw:
        raw.hear()
        raw.socket.sendall(EHLO + b"DATA")
        with pytest.raises(BedError, match="did not end"):
            server.wait_closed(timeout=0.01)
        server.close()
        (seen,) = server.connections
        assert (seen.end, seen.clear_commands) == (End.STOPPED, ["EHLO client.example.org", "DATA"])
    server.close()  # again: nothing to do


def test_waiting_for_the_end_of_all_connections(smtp_server: ServerFactory) -> None:
    with smtp_server() as server:
        for number in range(1, 51):
            with Raw(server) as raw:
                raw.socket.sendall(b"QUIT\r\n")
            # The server may not even have accepted it.
            server.wait_closed()
            assert len(server.connections) == number
            assert all(seen.clear_commands == ["QUIT"] for seen in server.connections)


def test_unfinished_line_in_tls_is_seen(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(tls=Tls.IMPLICIT) as server:
        plain = socket.create_connection((server.host, server.port), TIMEOUT)
        with world.client_context().wrap_socket(plain, server_hostname=HOST) as tls:
            tls.sendall(b"MAIL FROM:<a")
    (seen,) = server.connections
    assert (seen.clear, seen.secure) == (b"", b"MAIL FROM:<a")
    assert server.leaked() == ["MAIL FROM:<a"]


def fail(line: str) -> str:
    raise LookupError(line)


def test_failure_of_the_bed_is_the_failure_of_the_test() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(Server(Behaviour(replies={"NOOP": fail})))
        with Raw(server) as raw:
            raw.hear()
            assert raw.ask(b"NOOP\r\n") == b""
        with pytest.raises(BedError) as caught:
            stack.close()
    assert isinstance(caught.value.__cause__, LookupError)


def test_tls_wants_a_certificate() -> None:
    for tls in (Tls.IMPLICIT, Tls.STARTTLS):
        with pytest.raises(BedError):
            Server(Behaviour(tls=tls))
    with Server(Behaviour(tls=Tls.STARTTLS, starttls=Starttls.REFUSED)) as server, Raw(server) as raw:
        raw.hear()
        assert raw.ask(b"STARTTLS\r\n").startswith(b"454 ")


# Where tests cannot go.


def test_connections_stay_on_loopback() -> None:
    with socket.socket() as sock:
        with pytest.raises(OutsideNetwork):
            sock.connect(("192.0.2.1", 25))
        with pytest.raises(OutsideNetwork):
            sock.connect_ex(("192.0.2.1", 25))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(OutsideNetwork):
        sock.sendto(b"", ("192.0.2.1", 53))
    with pytest.raises(OutsideNetwork):
        socket.gethostbyname("mail.example.org")


def test_names_are_resolved_by_the_test(resolve: Resolver) -> None:
    def lookup(host: str | bytes | None, family: int = 0) -> list[str]:
        found = socket.getaddrinfo(host, 25, family, socket.SOCK_STREAM)
        return [str(entry[4][0]) for entry in found]

    resolve["mail.example.org"] = ("::1", "127.0.0.1")
    resolve["elsewhere.example.com"] = "192.0.2.1"
    resolve["gone.example.org"] = None
    assert lookup("Mail.Example.Org.") == ["::1", "127.0.0.1"]
    assert lookup("mail.example.org", socket.AF_INET) == ["127.0.0.1"]
    assert lookup("elsewhere.example.com") == ["192.0.2.1"]
    assert lookup("b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example.org") == ["127.0.0.1"]
    assert lookup(b"a.example.net") == lookup("x.test") == lookup("localhost") == ["127.0.0.1"]
    assert lookup("192.0.2.9") == ["192.0.2.9"]
    assert lookup("010.0.0.1") == ["8.0.0.1"]
    for absent in ("gone.example.org", "example.com", "notexample.org", "test.invalid"):
        with pytest.raises(socket.gaierror):
            lookup(absent)
    assert resolve.asked[0] == "Mail.Example.Org."
    assert socket.getfqdn() == "client.example.org"


def test_default_roots_are_the_world(world: World, smtp_server: ServerFactory) -> None:
    for certificate, accepted in ((world.good(), True), (world.unknown.issue(HOST), False)):
        context = ssl.create_default_context()
        with smtp_server(tls=Tls.IMPLICIT, certificate=certificate) as server:
            if accepted:
                smtplib.SMTP_SSL(HOST, server.port, context=context, timeout=TIMEOUT).close()
            else:
                with pytest.raises(ssl.SSLCertVerificationError):
                    smtplib.SMTP_SSL(HOST, server.port, context=context, timeout=TIMEOUT)
