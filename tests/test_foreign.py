"""Contexts and sockets of others: what they must do, what we judge besides, and that we change nothing."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from smtpverify import (
    Cause,
    HostnameMismatchError,
    InsecureContextError,
    ReferenceIdentifierError,
    TLSHandshakeError,
    TLSHandshakeTimeoutError,
    Trust,
    UntrustedCertificateError,
    create_context,
)
from smtpverify.tls.foreign import check_context, identify, is_tls, secure
from smtpverify.tls.identity import port_of
from tests.bed import HOST, Handshake, World
from tests.gate import (
    IMPLICIT,
    MISMATCH,
    OTHER,
    OTHER_PIN,
    REFUSED,
    assert_no_byte,
    pin_of,
    refusal,
    tcp,
    wrap,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bed import Server
    from tests.conftest import ServerFactory

NOT_VERIFYING = (UntrustedCertificateError, Cause.CONTEXT_NOT_VERIFYING)
versions: pytest.MarkDecorator = pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"]
)


def settings(context: ssl.SSLContext) -> dict[str, object]:
    """All that a context is set to."""
    names = [name for name in dir(ssl.SSLContext) if not name.startswith("__")]
    values = {name: getattr(context, name) for name in names if not callable(getattr(context, name))}
    classes = {"sslsocket_class": context.sslsocket_class, "sslobject_class": context.sslobject_class}
    return values | classes | {"roots": context.get_ca_certs(True), "ciphers": context.get_ciphers()}


def without_names(world: World) -> ssl.SSLContext:
    context = world.client_context()
    context.check_hostname = False
    return context


def optional(world: World) -> ssl.SSLContext:
    context = without_names(world)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def unverified(world: World) -> ssl.SSLContext:
    context = without_names(world)
    context.verify_mode = ssl.CERT_NONE
    return context


def private(_: World) -> ssl.SSLContext:
    return ssl._create_unverified_context()  # noqa: S323, RUF100


def anonymous(world: World) -> ssl.SSLContext:
    """A context that passes for verifying, and needs no certificate (RFC 5246 F.1.1.1)."""
    context = world.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH:@SECLEVEL=0")
    return context


class Own(ssl.SSLContext):
    """A context that verifies in its own wrap_socket(), as truststore's does."""

    failure: Callable[[], Exception] | None = None
    seen: str | None = None

    def wrap_socket(self, sock: socket.socket, *args: Any, **options: Any) -> ssl.SSLSocket:
        wrapped = super().wrap_socket(sock, *args, **options)
        self.seen = wrapped.version()
        if self.failure is not None:
            wrapped.close()
            raise self.failure()
        return wrapped


def own(world: World) -> Own:
    context = Own(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(world.root_file)
    return context


def handshake(server: Server, context: ssl.SSLContext, host: str = HOST, **options: Any) -> ssl.SSLSocket:
    return context.wrap_socket(tcp(server), server_hostname=host, **options)


def secured(server: Server, context: ssl.SSLContext | None, trust: Trust | None = None) -> Any:
    """What `secure` gives, the socket closed."""
    sock, peer = secure(tcp(server), HOST, trust or Trust(), context)
    with sock:
        assert not context or type(sock) is context.sslsocket_class
        return peer


# --- contexts ------------------------------------------------------------------------------------


def test_a_verifying_context_is_accepted_and_not_changed(world: World, smtp_server: ServerFactory) -> None:
    context = world.client_context()
    before = settings(context)
    with smtp_server(IMPLICIT) as server:
        check_context(context)
        peer = secured(server, context)
    assert peer.certificate.der == world.good().leaf_der
    assert peer.chain == (world.good().leaf_der, world.root.der)
    assert settings(context) == before


def test_our_own_context_is_accepted(world: World, smtp_server: ServerFactory) -> None:
    trust = Trust(pins=pin_of(world.good()), pins_only=True)
    check_context(create_context(trust))
    with smtp_server(IMPLICIT) as server:
        assert secured(server, None).pin is None
        assert str(secured(server, create_context(trust)).pin) == pin_of(world.good())
    server = smtp_server(IMPLICIT, certificate=world.served("expired"))
    refusal(*MISMATCH, secured, server, create_context(trust))
    assert_no_byte(server)


@pytest.mark.parametrize(
    ("make", "missing"),
    [
        (unverified, "(verify_mode is not CERT_REQUIRED, check_hostname is off)"),
        (private, "(verify_mode is not CERT_REQUIRED, check_hostname is off)"),
        (optional, "(verify_mode is not CERT_REQUIRED, check_hostname is off)"),
        (without_names, "(check_hostname is off)"),
    ],
)
def test_a_context_that_does_not_verify_is_refused(
    world: World, smtp_server: ServerFactory, make: Any, missing: str
) -> None:
    context = make(world)
    before = settings(context)
    assert missing in str(refusal(InsecureContextError, None, check_context, context))
    server = smtp_server(IMPLICIT)
    with tcp(server) as sock:
        refusal(InsecureContextError, None, secure, sock, HOST, Trust(), context)
        assert sock.fileno() == -1
    # Not even where the pins stand in place of all else.
    trust = Trust(pins=pin_of(world.good()), pins_only=True)
    refusal(InsecureContextError, None, secured, server, context, trust)
    assert settings(context) == before
    server.close()
    assert not any(seen.client_hello for seen in server.connections)


@pytest.mark.parametrize("context", ["tls", object(), ssl])
def test_what_is_no_context_is_refused(context: Any) -> None:
    error = refusal(InsecureContextError, None, check_context, context)
    assert f"not {type(context).__name__}" in str(error)


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("make", [World.client_context, None])
def test_a_wrong_peer(world: World, smtp_server: ServerFactory, kind: str, make: Any) -> None:
    """Of a common name alone OpenSSL approves, and our matcher does not (RFC 9525 2)."""
    server = smtp_server(IMPLICIT, certificate=world.served(kind))
    error = refusal(*REFUSED[kind], secured, server, make and make(world))
    assert (error.host, error.port) == (HOST, server.port)
    assert error.diagnosis.chain == world.served(kind).chain_ders
    assert_no_byte(server)


def test_the_common_name_is_enough_for_openssl(world: World, smtp_server: ServerFactory) -> None:
    """Or the test above would show nothing."""
    with smtp_server(IMPLICIT, certificate=world.served("common_name_only")) as server:
        handshake(server, world.client_context()).close()
    assert server.connections[0].handshake_done


@pytest.mark.parametrize("make", [World.client_context, own, lambda _: create_context()])
def test_pins_count_with_a_callers_context(world: World, smtp_server: ServerFactory, make: Any) -> None:
    pin = pin_of(world.good())
    with smtp_server(IMPLICIT) as server:
        assert secured(server, make(world), Trust(pins=[OTHER_PIN, pin])).certificate.sha256 == pin[7:]
    server = smtp_server(IMPLICIT)
    refusal(*MISMATCH, secured, server, make(world), Trust(pins=OTHER_PIN))
    assert_no_byte(server)


@pytest.mark.parametrize("make", [World.client_context, own, lambda _: create_context()])
def test_the_version_counts_with_a_callers_context(
    world: World, smtp_server: ServerFactory, make: Any
) -> None:
    trust = Trust(minimum_version=ssl.TLSVersion.TLSv1_3)
    with smtp_server(IMPLICIT, tls_version=ssl.TLSVersion.TLSv1_3) as server:
        assert secured(server, make(world), trust).tls_version == "TLSv1.3"
    server = smtp_server(IMPLICIT, tls_version=ssl.TLSVersion.TLSv1_2)
    refusal(UntrustedCertificateError, Cause.VERSION_TOO_OLD, secured, server, make(world), trust)
    assert_no_byte(server)


def test_no_certificate_at_all(world: World, smtp_server: ServerFactory) -> None:
    """Of an anonymous cipher `CERT_REQUIRED` does not complain."""
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    nobody.set_ciphers("AECDH:@SECLEVEL=0")
    nobody.maximum_version = ssl.TLSVersion.TLSv1_2
    server = smtp_server(IMPLICIT, certificate=nobody)
    context = anonymous(world)
    check_context(context)
    refusal(UntrustedCertificateError, Cause.NO_CERTIFICATE, secured, server, context)
    assert_no_byte(server)


def test_no_verdict(world: World, smtp_server: ServerFactory) -> None:
    server = smtp_server(IMPLICIT, handshake=Handshake.GARBAGE)
    cause = Cause.PLAINTEXT_NOT_TLS
    error = refusal(TLSHandshakeError, cause, secured, server, world.client_context())
    assert (error.host, error.port) == (HOST, server.port)
    assert_no_byte(server)


@pytest.mark.parametrize("context", [None, World.client_context])
def test_no_reference_identifier(world: World, context: Any) -> None:
    with socket.socket() as sock:
        made = context and context(world)
        refusal(ReferenceIdentifierError, None, secure, sock, "*.example.org", Trust(), made)
        assert sock.fileno() == -1


# --- contexts with a wrap_socket() of their own --------------------------------------------------


def test_own_wrap_socket(world: World, smtp_server: ServerFactory) -> None:
    context = own(world)
    with smtp_server(IMPLICIT) as server:
        assert secured(server, context).certificate.der == world.good().leaf_der
    # The handshake was made in there, or there would have been nothing to verify.
    assert context.seen == server.connections[0].tls_version == "TLSv1.3"


def test_own_wrap_socket_refuses(world: World, smtp_server: ServerFactory) -> None:
    """What the peer sent is lost with the socket, and OpenSSL's verdict is not."""
    server = smtp_server(IMPLICIT, certificate=world.served("expired"))
    error = refusal(UntrustedCertificateError, Cause.INVALID_CHAIN, secured, server, own(world))
    assert (error.host, error.verify_code) == (HOST, 10)
    assert error.verify_message == "certificate has expired"
    assert isinstance(error.__cause__, ssl.SSLCertVerificationError)
    assert_no_byte(server)


@pytest.mark.parametrize(
    ("failure", "kind", "cause"),
    [
        (ssl.SSLCertVerificationError("no\x1b"), UntrustedCertificateError, Cause.INVALID_CHAIN),
        (TimeoutError("late"), TLSHandshakeTimeoutError, Cause.BROKEN_OFF),
        (ssl.SSLError("odd"), TLSHandshakeError, Cause.BROKEN_OFF),
        (ConnectionResetError(errno.ECONNRESET, "reset"), TLSHandshakeError, Cause.BROKEN_OFF),
    ],
)
def test_own_wrap_socket_fails_by_itself(
    world: World, smtp_server: ServerFactory, failure: Exception, kind: Any, cause: Cause
) -> None:
    context = own(world)
    context.failure = lambda: failure
    server = smtp_server(IMPLICIT)
    error = refusal(kind, cause, secured, server, context)
    assert error.__cause__ is failure
    assert "\x1b" not in str(error)
    assert_no_byte(server)


def test_own_wrap_socket_is_judged_too(world: World, smtp_server: ServerFactory) -> None:
    server = smtp_server(IMPLICIT, certificate=world.served("common_name_only"))
    refusal(HostnameMismatchError, Cause.COMMON_NAME_ONLY, secured, server, own(world))
    assert_no_byte(server)


# --- sockets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("done", [True, False])
def test_a_socket_of_a_verifying_context(world: World, smtp_server: ServerFactory, done: bool) -> None:
    server = smtp_server(IMPLICIT)
    with server, handshake(server, world.client_context(), do_handshake_on_connect=done) as sock:
        peer = identify(sock, HOST, Trust())
        assert peer.certificate.der == sock.getpeercert(True) == world.good().leaf_der
        assert (peer.tls_version, peer.cipher) == (sock.version(), (sock.cipher() or "")[0])
    assert server.connections[0].handshake_done


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("make", [unverified, private, optional])
def test_a_socket_of_a_context_that_does_not_verify(
    world: World, smtp_server: ServerFactory, done: bool, make: Any
) -> None:
    """The certificate is good: by luck, for a wrong one would have been accepted as well."""
    server = smtp_server(IMPLICIT)
    sock = handshake(server, make(world), do_handshake_on_connect=done)
    error = refusal(*NOT_VERIFYING, identify, sock, HOST, Trust())
    assert (error.host, error.port, sock.fileno()) == (HOST, server.port, -1)
    assert_no_byte(server)


def test_a_socket_whose_context_left_the_name_out(world: World, smtp_server: ServerFactory) -> None:
    """The chain was verified, and the name is ours to judge."""
    with smtp_server(IMPLICIT) as server, handshake(server, without_names(world)) as sock:
        assert identify(sock, HOST, Trust()).certificate.der == world.good().leaf_der
    server = smtp_server(IMPLICIT)
    sock = handshake(server, without_names(world))
    refusal(HostnameMismatchError, Cause.WRONG_NAME, identify, sock, OTHER, Trust())
    assert_no_byte(server)


@pytest.mark.parametrize("kind", REFUSED)
def test_a_socket_that_is_made_to_refuse(world: World, smtp_server: ServerFactory, kind: str) -> None:
    server = smtp_server(IMPLICIT, certificate=world.served(kind))
    for make in (world.client_context, create_context):
        sock = handshake(server, make(), do_handshake_on_connect=False)
        error = refusal(*REFUSED[kind], identify, sock, HOST, Trust())
        assert (error.host, error.port, sock.fileno()) == (HOST, server.port, -1)
    server.close()
    assert [seen.secure for seen in server.connections] == [b"", b""]


def test_pins_of_a_socket(world: World, smtp_server: ServerFactory) -> None:
    with smtp_server(IMPLICIT) as server, handshake(server, world.client_context()) as sock:
        assert str(identify(sock, HOST, Trust(pins=pin_of(world.good()))).pin) == pin_of(world.good())
    server = smtp_server(IMPLICIT)
    refusal(*MISMATCH, identify, handshake(server, world.client_context()), HOST, Trust(pins=OTHER_PIN))
    assert_no_byte(server)


@pytest.mark.parametrize("kind", ["good", "self_signed_leaf"])
def test_pins_alone_make_up_for_a_context(world: World, smtp_server: ServerFactory, kind: str) -> None:
    trust = Trust(pins=pin_of(world.served(kind)), pins_only=True)
    server = smtp_server(IMPLICIT, certificate=world.served(kind))
    with server, handshake(server, unverified(world)) as sock:
        peer = identify(sock, HOST, trust)
        assert (peer.matched, str(peer.pin), peer.chain) == (None, pin_of(world.served(kind)), ())
    server = smtp_server(IMPLICIT, certificate=world.served("wrong_name"))
    refusal(*MISMATCH, identify, handshake(server, unverified(world)), HOST, trust)
    assert_no_byte(server)


@versions
@pytest.mark.parametrize("host", [HOST, OTHER])
def test_a_resumed_session(
    world: World, smtp_server: ServerFactory, version: ssl.TLSVersion, host: str
) -> None:
    """OpenSSL compares neither name nor chain again: a session of one host does for another."""
    context = world.client_context()
    with smtp_server(IMPLICIT, tls_version=version) as server:
        with handshake(server, context) as first:
            assert first.recv(3) == b"220"
            assert identify(first, HOST, Trust()).matched is not None
            session = first.session
        second = handshake(server, context, host, session=session)
        assert second.session_reused
        error = refusal(UntrustedCertificateError, Cause.SESSION_RESUMED, identify, second, host, Trust())
        assert (error.port, second.fileno()) == (server.port, -1)
    assert server.connections[1].session_reused


class PyOpenSSL:
    """What a connection of pyOpenSSL's looks like."""

    closed = False

    def get_peer_certificate(self) -> None:
        raise AssertionError("nobody asks it")

    def close(self) -> None:
        self.closed = True


class Wrapper(PyOpenSSL):
    """Claims what it likes, as a proxy around an SSLSocket could."""

    def getpeercert(self, binary_form: bool = False) -> bytes:
        raise AssertionError("nobody asks it")


@pytest.mark.parametrize("kind", [PyOpenSSL, Wrapper])
def test_an_object_that_is_no_sslsocket(kind: type[PyOpenSSL]) -> None:
    sock = kind()
    assert is_tls(sock)
    error = refusal(*NOT_VERIFYING, identify, sock, HOST, Trust())
    assert kind.__name__ in str(error)
    assert (error.host, error.port, sock.closed) == (HOST, None, True)


def test_is_tls(world: World) -> None:
    with socket.socket() as plain:
        assert not is_tls(plain)
        with world.client_context().wrap_socket(plain, server_hostname=HOST) as sock:
            assert is_tls(sock)


def test_a_context_whose_sockets_are_of_another_kind(world: World, smtp_server: ServerFactory) -> None:
    context = own(world)
    context.wrap_socket = lambda sock, **_: sock  # type: ignore[method-assign]
    server = smtp_server(IMPLICIT)
    refusal(*NOT_VERIFYING, secured, server, context)
    assert_no_byte(server)


@pytest.mark.parametrize("make", [World.client_context, lambda _: create_context()])
def test_a_socket_without_tls(world: World, smtp_server: ServerFactory, make: Any) -> None:
    """Shut down or never connected: an ssl.SSLSocket then, and a plain one in truth."""
    server = smtp_server(IMPLICIT)
    sock = handshake(server, make(world))
    sock.shutdown(socket.SHUT_RD)
    error = refusal(TLSHandshakeError, Cause.BROKEN_OFF, identify, sock, HOST, Trust())
    assert "no TLS on this socket" in str(error)
    assert (error.port, sock.fileno()) == (server.port, -1)
    assert_no_byte(server)
    sock = make(world).wrap_socket(socket.socket(), server_hostname=HOST)
    refusal(TLSHandshakeError, Cause.BROKEN_OFF, identify, sock, HOST, Trust())
    assert sock.fileno() == -1


def test_a_context_from_before_the_ssl_module_was_replaced(
    world: World, smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sockets can't be made any more. Any other TypeError stays as it is."""
    context = own(world)
    context.failure = lambda: TypeError("super(type, obj)")
    with smtp_server(IMPLICIT) as server:
        refusal(TypeError, None, secured, server, context)
        monkeypatch.setattr(ssl, "SSLContext", type("SSLContext", (ssl.SSLContext,), {}))
        error = refusal(InsecureContextError, None, secured, server, context)
        assert str(error).endswith("make it after monkey-patching")
        context.failure = None  # nor is one refused that can still be used
        assert secured(server, context).certificate.der == world.good().leaf_der
    assert [seen.secure for seen in server.connections] == [b""] * 3


@pytest.mark.parametrize("kind", ["good", "wrong_name"])
def test_a_socket_from_before_the_ssl_module_was_replaced(
    world: World, smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """It goes on, and is judged as any other."""
    with smtp_server(IMPLICIT, certificate=world.served(kind)) as server:
        sock = handshake(server, without_names(world))
        with sock, monkeypatch.context() as patch:
            patch.setattr(ssl, "SSLSocket", type("SSLSocket", (), {}))
            if kind == "good":
                assert identify(sock, HOST, Trust()).certificate.der == world.good().leaf_der
            else:
                refusal(*REFUSED[kind], identify, sock, HOST, Trust())
                assert sock.fileno() == -1


# --- sockets of the gate -------------------------------------------------------------------------


def test_the_gates_verdict_counts(world: World, smtp_server: ServerFactory) -> None:
    """It was given by the trust of whoever made the socket."""
    served = world.served("self_signed_leaf", OTHER)
    trust = Trust(pins=pin_of(served), pins_only=True)
    with smtp_server(IMPLICIT, certificate=served) as server, wrap(server, trust) as sock:
        assert identify(sock, HOST, Trust()) is sock.peer
        assert identify(sock, f"{HOST}.", Trust()) is sock.peer
        assert identify(sock, HOST, Trust(pins=[OTHER_PIN, pin_of(served)])) is sock.peer


@pytest.mark.parametrize(
    ("host", "trust", "verdict"),
    [
        (OTHER, {}, NOT_VERIFYING),
        (HOST, {"pins": OTHER_PIN}, REFUSED["wrong_name"]),
        (HOST, {"pins": OTHER_PIN, "pins_only": True}, MISMATCH),
    ],
)
def test_the_gates_verdict_was_on_something_else(
    world: World, smtp_server: ServerFactory, host: str, trust: dict[str, Any], verdict: Any
) -> None:
    served = world.served("self_signed_leaf", OTHER)
    server = smtp_server(IMPLICIT, certificate=served)
    sock = wrap(server, Trust(pins=pin_of(served), pins_only=True))
    error = refusal(*verdict, identify, sock, host, Trust(**trust))
    assert (error.host, error.port, sock.fileno()) == (host, server.port, -1)
    assert_no_byte(server)


def test_the_gates_socket_for_another_host(world: World, smtp_server: ServerFactory) -> None:
    served = world.root.issue(HOST, OTHER)
    with smtp_server(IMPLICIT, certificate=served) as server, wrap(server) as sock:
        peer = identify(sock, OTHER, Trust())
        assert peer.reference.text == OTHER
        assert sock.peer is not None
        assert sock.peer.reference.text == HOST
    server = smtp_server(IMPLICIT)
    refusal(HostnameMismatchError, Cause.WRONG_NAME, identify, wrap(server), OTHER, Trust())
    assert_no_byte(server)


def test_a_nonblocking_socket_must_have_its_handshake(world: World, smtp_server: ServerFactory) -> None:
    server = smtp_server(IMPLICIT, handshake=Handshake.SILENT)  # who answers might be quicker than we look
    sock = handshake(server, world.client_context(), do_handshake_on_connect=False)
    sock.setblocking(False)
    refusal(TLSHandshakeError, Cause.BROKEN_OFF, identify, sock, HOST, Trust())
    assert sock.fileno() == -1
    assert_no_byte(server)


def test_a_peer_that_is_gone_has_no_port() -> None:
    with socket.socket() as sock:
        assert port_of(sock) is None
