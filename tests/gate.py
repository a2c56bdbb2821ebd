"""What the tests of the gate share: connections to the bed's servers, and exact refusals."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

from smtpverify import (
    Cause,
    CertificateExpiredError,
    HostnameMismatchError,
    Pin,
    PinMismatchError,
    Trust,
    UntrustedCertificateError,
    create_context,
)
from smtpverify.tls.x509 import Certificate
from tests.bed import HOST, Behaviour, Issued, Server, Tls
from tests.optional import require

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from smtpverify.tls.context import VerifyingSocket

IMPLICIT = Behaviour(tls=Tls.IMPLICIT)
OTHER = "other.example.net"
OTHER_PIN = "sha256:" + 64 * "0"
SECRET = b"secret\r\n"

Verdict = tuple[type[BaseException], Cause]

# Kind of certificate -> what is raised and why.
REFUSED: dict[str, Verdict] = {
    "wrong_name": (HostnameMismatchError, Cause.WRONG_NAME),
    "common_name_only": (HostnameMismatchError, Cause.COMMON_NAME_ONLY),
    "unknown_issuer": (UntrustedCertificateError, Cause.UNKNOWN_ISSUER),
    "expired": (CertificateExpiredError, Cause.EXPIRED),
}
MISMATCH: Verdict = (PinMismatchError, Cause.PIN_MISMATCH)


def pin_of(issued: Issued) -> str:
    return str(Pin.of_certificate(Certificate.from_der(issued.leaf_der)))


def tcp(server: Server) -> socket.socket:
    if not server.path:
        return socket.create_connection((server.host, server.port), timeout=5)
    if sys.platform == "win32":
        raise NotImplementedError
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(server.path)
    return sock


def wrap(server: Server, trust: Trust | None = None, host: Any = HOST, **options: Any) -> VerifyingSocket:
    return create_context(trust).wrap_socket(tcp(server), server_hostname=host, **options)


def refusal(
    kind: type[BaseException], cause: Cause | None, work: Callable[..., object], *args: Any, **options: Any
) -> Any:
    """What `work` raises: exactly of that class, and for that cause."""
    with pytest.raises(kind) as caught:
        work(*args, **options)
    assert type(caught.value) is kind
    if cause is not None:
        assert caught.value.diagnosis.cause is cause  # type: ignore[attr-defined]
    return caught.value


def assert_no_byte(server: Server) -> None:
    """The server's one connection is over, and nothing came over it but the handshake."""
    server.close()
    assert [seen.secure for seen in server.connections] == [b""]
    assert [seen.clear for seen in server.connections] == [b""]


def in_uvloop(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine as `asyncio.run` does, in the loop of uvloop."""
    try:
        require("uvloop")
        import uvloop

        loop = uvloop.new_event_loop()
    except BaseException:
        main.close()
        raise
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()
