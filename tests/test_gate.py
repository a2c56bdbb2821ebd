"""The gate's handshakes: whoever is refused gets no byte, in whatever way the handshake comes about."""

from __future__ import annotations

import asyncio
import errno
import http.client
import imaplib
import io
import poplib
import select
import smtplib
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any

import pytest

from smtpverify import (
    Cause,
    HostnameMismatchError,
    InsecureContextError,
    TLSHandshakeError,
    TLSHandshakeTimeoutError,
    Trust,
    VerifyingContext,
    create_context,
)
from smtpverify.tls.context import VerifyingObject, VerifyingSocket
from tests.bed import HOST, Behaviour, Handshake, Server, Tls, World
from tests.gate import (
    IMPLICIT,
    MISMATCH,
    OTHER_PIN,
    REFUSED,
    SECRET,
    assert_no_byte,
    in_uvloop,
    pin_of,
    refusal,
    tcp,
    wrap,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import ServerFactory


# --- every way to a handshake --------------------------------------------------------------------


def by_wrap_socket(context: VerifyingContext, server: Server) -> None:
    with context.wrap_socket(tcp(server), server_hostname=HOST) as sock:
        sock.sendall(SECRET)


def by_connect(context: VerifyingContext, server: Server) -> None:
    with context.wrap_socket(socket.socket(), server_hostname=HOST) as sock:
        assert sock.peer is None
        sock.connect((server.host, server.port))
        sock.sendall(SECRET)


def by_connect_ex(context: VerifyingContext, server: Server) -> None:
    with context.wrap_socket(socket.socket(), server_hostname=HOST) as sock:
        assert sock.connect_ex((server.host, server.port)) == 0
        sock.sendall(SECRET)


def by_nonblocking_socket(context: VerifyingContext, server: Server) -> None:
    plain = socket.socket()
    plain.setblocking(False)
    with context.wrap_socket(plain, server_hostname=HOST) as sock:
        assert sock.connect_ex((server.host, server.port)) in (0, errno.EINPROGRESS)
        select.select([], [sock], [], 5)
        while sock.peer is None:
            try:
                sock.send(SECRET)
            except ssl.SSLWantReadError:
                select.select([sock], [], [], 5)


def by_memory(context: VerifyingContext, server: Server) -> None:
    """As asyncio does it, without asyncio."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=HOST)
    assert type(tls) is VerifyingObject
    with tcp(server) as sock:
        try:
            while tls.peer is None:
                try:
                    tls.write(SECRET)
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    incoming.write(sock.recv(65536))
        finally:
            sock.sendall(outgoing.read())


def by_open_connection(context: VerifyingContext, server: Server, run: Any = asyncio.run) -> None:
    async def converse() -> None:
        reader, writer = await asyncio.open_connection(
            server.host, server.port, ssl=context, server_hostname=HOST
        )
        assert isinstance(writer.get_extra_info("ssl_object"), VerifyingObject)
        await reader.readline()
        writer.write(SECRET)
        await reader.readline()
        writer.close()
        await writer.wait_closed()

    run(converse())


def by_start_tls(context: VerifyingContext, server: Server, run: Any = asyncio.run) -> None:
    async def converse() -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        plain, _ = await loop.create_connection(lambda: protocol, server.host, server.port)
        transport = await loop.start_tls(plain, protocol, context, server_hostname=HOST)
        assert transport is not None
        await reader.readline()
        transport.write(SECRET)
        await reader.readline()
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        writer.close()
        await writer.wait_closed()

    run(converse())


def by_open_connection_of_uvloop(context: VerifyingContext, server: Server) -> None:
    by_open_connection(context, server, in_uvloop)


def by_start_tls_of_uvloop(context: VerifyingContext, server: Server) -> None:
    by_start_tls(context, server, in_uvloop)


def by_smtplib(context: VerifyingContext, server: Server) -> None:
    with smtplib.SMTP_SSL(HOST, server.port, context=context, timeout=5) as smtp:
        smtp.noop()


def by_poplib(context: VerifyingContext, server: Server) -> None:
    poplib.POP3_SSL(HOST, server.port, context=context, timeout=5).quit()


def by_imaplib(context: VerifyingContext, server: Server) -> None:
    imaplib.IMAP4_SSL(HOST, server.port, ssl_context=context, timeout=5).logout()


def by_http(context: VerifyingContext, server: Server) -> None:
    connection = http.client.HTTPSConnection(HOST, server.port, context=context, timeout=5)
    try:
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hi"
    finally:
        connection.close()


class Imap(dict[str, Any]):
    """Answers to every tag."""

    def get(self, verb: str, default: object = None) -> Any:
        return lambda line: f"* CAPABILITY IMAP4REV1\r\n{verb} OK done".encode() + b"\r\n"


POP = Behaviour(greeting="+OK POP3 ready", replies={"QUIT": "+OK bye"})
IMAP = Behaviour(greeting="* OK IMAP4rev1 ready", replies=Imap())
HTTP = Behaviour(greeting=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

WAYS: dict[Callable[[VerifyingContext, Server], None], Behaviour] = {
    by_wrap_socket: Behaviour(),
    by_connect: Behaviour(),
    by_connect_ex: Behaviour(),
    by_nonblocking_socket: Behaviour(),
    by_memory: Behaviour(),
    by_open_connection: Behaviour(),
    by_open_connection_of_uvloop: Behaviour(),
    by_start_tls_of_uvloop: Behaviour(),
    by_smtplib: Behaviour(),
    by_poplib: POP,
    by_imaplib: IMAP,
    by_http: HTTP,
}
if sys.version_info >= (3, 11):  # where start_tls() fails, 3.10 leaves a transport open
    WAYS[by_start_tls] = Behaviour()
over_ways: pytest.MarkDecorator = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@over_ways
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_the_right_peer_is_spoken_to(
    world: World, smtp_server: ServerFactory, way: Any, version: ssl.TLSVersion
) -> None:
    with smtp_server(WAYS[way], tls=Tls.IMPLICIT, tls_version=version) as server:
        way(create_context(Trust(pins=pin_of(world.good()))), server)
    assert [bool(seen.secure) for seen in server.connections] == [True]
    assert server.connections[0].clear == b""
    assert server.connections[0].sni == HOST


@over_ways
@pytest.mark.parametrize("kind", REFUSED)
def test_a_wrong_peer_gets_no_byte(world: World, smtp_server: ServerFactory, way: Any, kind: str) -> None:
    server = smtp_server(WAYS[way], tls=Tls.IMPLICIT, certificate=world.served(kind))
    refusal(*REFUSED[kind], way, create_context(), server)
    assert_no_byte(server)


@over_ways
@pytest.mark.parametrize("pins_only", [False, True])
def test_a_peer_without_the_pin_gets_no_byte(smtp_server: ServerFactory, way: Any, pins_only: bool) -> None:
    """Here OpenSSL is content, and our own check is not."""
    server = smtp_server(WAYS[way], tls=Tls.IMPLICIT)
    context = create_context(Trust(pins=OTHER_PIN, pins_only=pins_only))
    error = refusal(*MISMATCH, way, context, server)
    assert (error.verify_code, error.verify_message) == (0, "")
    assert_no_byte(server)


@pytest.mark.parametrize(
    ("handshake", "cause"),
    [
        (Handshake.BROKEN_OFF, Cause.BROKEN_OFF),
        (Handshake.TRUNCATED, Cause.BROKEN_OFF),
        (Handshake.GARBAGE, Cause.PLAINTEXT_NOT_TLS),
        (Handshake.ALERT, Cause.NO_COMMON_CIPHER),
    ],
)
@pytest.mark.parametrize("way", [by_wrap_socket, by_connect])
def test_no_verdict(smtp_server: ServerFactory, way: Any, handshake: Handshake, cause: Cause) -> None:
    server = smtp_server(IMPLICIT, handshake=handshake)
    refusal(TLSHandshakeError, cause, way, create_context(), server)
    assert_no_byte(server)


def test_silence(smtp_server: ServerFactory) -> None:
    server = smtp_server(IMPLICIT, handshake=Handshake.SILENT)
    with tcp(server) as sock:
        sock.settimeout(0.1)
        wrap_socket = create_context().wrap_socket
        refusal(TLSHandshakeTimeoutError, Cause.BROKEN_OFF, wrap_socket, sock, server_hostname=HOST)
    assert_no_byte(server)


# --- the first byte makes the handshake ----------------------------------------------------------


def send_file(sock: VerifyingSocket) -> None:
    sock.sendfile(io.BytesIO(SECRET))


def write_to_file(sock: VerifyingSocket) -> None:
    with sock.makefile("wb") as file:
        file.write(SECRET)


def read_from_file(sock: VerifyingSocket) -> None:
    with sock.makefile("rb") as file:
        assert file.readline().startswith(b"220 ")


FIRST: dict[str, Callable[[VerifyingSocket], object]] = {
    "do_handshake": lambda sock: sock.do_handshake(),
    "do_handshake(block)": lambda sock: sock.do_handshake(block=True),
    "send": lambda sock: sock.send(SECRET),
    "sendall": lambda sock: sock.sendall(SECRET),
    "sendfile": send_file,
    "write": lambda sock: sock.write(SECRET),
    "makefile.write": write_to_file,
    "read": lambda sock: sock.read(3),
    "recv": lambda sock: sock.recv(3),
    "recv_into": lambda sock: sock.recv_into(bytearray(3)),
    "makefile.readline": read_from_file,
}
READS = ("do_handshake", "read", "recv", "makefile.readline")


@pytest.mark.parametrize("first", FIRST)
def test_the_handshake_comes_before_the_first_byte(smtp_server: ServerFactory, first: str) -> None:
    with smtp_server(IMPLICIT) as server, wrap(server, do_handshake_on_connect=False) as sock:
        assert sock.peer is None
        FIRST[first](sock)
        assert sock.peer is not None
    assert server.connections[0].secure == (b"" if first.startswith(READS) else SECRET)


@pytest.mark.parametrize("first", FIRST)
def test_the_refused_get_no_first_byte(world: World, smtp_server: ServerFactory, first: str) -> None:
    server = smtp_server(IMPLICIT, certificate=world.served("wrong_name"))
    with wrap(server, do_handshake_on_connect=False) as sock:
        error = refusal(HostnameMismatchError, Cause.WRONG_NAME, FIRST[first], sock)
        assert (error.host, error.port) == (HOST, server.port)
        assert sock.peer is None
        assert sock.fileno() == -1
        # Refused once is refused for good.
        for again in FIRST.values():
            assert "was refused: " in str(refusal(TLSHandshakeError, None, again, sock))
    assert_no_byte(server)


def test_a_refused_object_stays_refused() -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = create_context().wrap_bio(incoming, outgoing, server_hostname=HOST)
    incoming.write(b"220 no TLS here\r\n")
    error = refusal(TLSHandshakeError, Cause.PLAINTEXT_NOT_TLS, tls.do_handshake)
    assert error.port is None
    for again in (tls.do_handshake, tls.read, lambda: tls.write(SECRET)):
        assert "was refused: mail.example.org: " in str(refusal(TLSHandshakeError, None, again))
    assert tls.peer is None


def test_unwrapping_before_the_handshake_makes_none(smtp_server: ServerFactory) -> None:
    server = smtp_server(IMPLICIT)
    with wrap(server, do_handshake_on_connect=False) as sock:
        refusal(ssl.SSLError, None, sock.unwrap)
    assert_no_byte(server)


# --- never in plaintext --------------------------------------------------------------------------

WITHOUT_TLS: dict[str, Callable[[Any], object]] = FIRST | {
    "sendto": lambda sock: sock.sendto(SECRET, ("127.0.0.1", 9)),
    "recvfrom": lambda sock: sock.recvfrom(3),
    "recvfrom_into": lambda sock: sock.recvfrom_into(bytearray(3)),
}


def shut_down(sock: VerifyingSocket) -> None:
    sock.shutdown(socket.SHUT_RD)


def shut_down_wrongly(sock: VerifyingSocket) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        sock.shutdown(99)


def unwrap(sock: VerifyingSocket) -> None:
    while sock.recv(1024):
        pass
    assert sock.unwrap() is sock


def assert_no_tls(sock: VerifyingSocket, name: str) -> None:
    with pytest.raises(OSError, match="no TLS on this socket") as caught:
        WITHOUT_TLS[name](sock)
    assert caught.value.errno == errno.ENOTCONN


@pytest.mark.parametrize("name", WITHOUT_TLS)
@pytest.mark.parametrize("ended", [shut_down, shut_down_wrongly, unwrap])
def test_nothing_passes_when_tls_has_ended(smtp_server: ServerFactory, ended: Any, name: str) -> None:
    """An ssl.SSLSocket would go on in plaintext."""
    with smtp_server(IMPLICIT, closes_after=("",)) as server, wrap(server) as sock:
        ended(sock)
        assert_no_tls(sock, name)


@pytest.mark.parametrize("name", WITHOUT_TLS)
def test_nothing_passes_before_tls(smtp_server: ServerFactory, name: str) -> None:
    """A non-blocking connect() leaves an ssl.SSLSocket connected and without TLS."""
    server = smtp_server(IMPLICIT)
    plain = socket.socket()
    plain.setblocking(False)
    with create_context().wrap_socket(plain, server_hostname=HOST) as sock:
        assert_no_tls(sock, name)
        with pytest.raises(BlockingIOError):
            sock.connect((server.host, server.port))
        select.select([], [sock], [], 5)
        assert_no_tls(sock, name)
    assert_no_byte(server)


def test_a_nonblocking_socket_makes_its_handshake_later(smtp_server: ServerFactory) -> None:
    with smtp_server(IMPLICIT) as server, tcp(server) as sock:
        sock.setblocking(False)
        with pytest.raises(ValueError, match="non-blocking sockets"):
            create_context().wrap_socket(sock, server_hostname=HOST)
        assert sock.fileno() == -1


# --- what a connection was made with stays -------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_sessions_are_never_resumed(
    world: World, smtp_server: ServerFactory, version: ssl.TLSVersion
) -> None:
    """A server offers to: the standard library's context resumes, and ours makes a full handshake."""
    usual, session = world.client_context(), None
    with smtp_server(IMPLICIT, tls_version=version) as server:
        for _ in range(2):
            with usual.wrap_socket(tcp(server), server_hostname=HOST, session=session) as sock:
                assert sock.recv(3) == b"220"  # and the tickets of TLS 1.3 with it
                session = sock.session
        for _ in range(2):
            with wrap(server) as verifying:
                assert verifying.recv(3) == b"220"
                assert verifying.session is not None
    assert [seen.session_reused for seen in server.connections] == [False, True, False, False]


def test_no_session_is_accepted(smtp_server: ServerFactory) -> None:
    """OpenSSL verifies nothing of a resumed session."""
    context, bio = create_context(), ssl.MemoryBIO()
    tls = context.wrap_bio(bio, bio, server_hostname=HOST)
    with smtp_server(IMPLICIT, tls_version=ssl.TLSVersion.TLSv1_2) as server:
        with wrap(server) as sock:
            name = {"server_hostname": HOST, "session": sock.session}
        with wrap(server, do_handshake_on_connect=False) as sock:
            for error in (
                refusal(InsecureContextError, None, context.wrap_socket, sock, **name),
                refusal(InsecureContextError, None, context.wrap_bio, bio, bio, **name),
                refusal(InsecureContextError, None, setattr, sock, "session", name["session"]),
                refusal(InsecureContextError, None, setattr, tls, "session", name["session"]),
            ):
                assert "never resumed" in str(error)
            sock.do_handshake()
            assert sock.session_reused is False


def test_the_context_of_a_connection_stays(world: World, smtp_server: ServerFactory) -> None:
    context = create_context()
    with smtp_server(IMPLICIT) as server, wrap(server, do_handshake_on_connect=False) as sock:
        tls = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=HOST)
        for connection in (sock, tls):
            assert connection.context is context
            assert connection.session is None
            with pytest.raises(InsecureContextError, match="can't be exchanged"):
                connection.context = world.client_context()
            with pytest.raises(AttributeError):
                connection.peer = None  # type: ignore[misc]
            assert connection.context is context
