"""A socket on this machine that leads to another: a tunnel's near end, a proxy, a helper on a Unix socket.

In plaintext, credentials stay on this machine. Where a connection leads is decided by the host that a program
names, and not by the address that its socket happens to be connected to. One rule, for each face.
"""

from __future__ import annotations

import contextlib
import functools
import smtplib
import socket
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from smtpverify import inject_into_smtplib, stdlib
from smtpverify.smtp.endpoints import is_local
from tests.bed import HOST, Server, Tls, World
from tests.gate import OTHER_PIN, pin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import ServerFactory

NEAR = "127.0.0.1"
TIMEOUT = 5.0
on_unix: pytest.MarkDecorator = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Unix sockets")


@pytest.fixture(params=["ours", "injected"])
def smtp_class(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each face's `SMTP`."""
    if request.param == "ours":
        yield smtpverify.SMTP
    else:
        with inject_into_smtplib():
            yield smtplib.SMTP


def subclass(base: Any, **methods: Callable[..., Any]) -> Any:
    return type("Subclass", (base,), methods)


# Each gives a connection that leads to `host`, over a socket to the server on this machine.


def by_connect(base: Any, host: str, server: Server) -> Any:
    def connect(self: Any, host: str = "localhost", port: int = 0, source_address: Any = None) -> Any:
        return base.connect(self, NEAR, port)

    return subclass(base, connect=connect)(host, server.port, timeout=TIMEOUT)


def by_connect_of_a_port(base: Any, host: str, server: Server) -> Any:
    def connect(self: Any, host: str = "localhost", port: int = 0, source_address: Any = None) -> Any:
        return base.connect(self, f"{NEAR}:{server.port}")

    return subclass(base, connect=connect)(f"{host}:587", timeout=TIMEOUT)


def by_name(base: Any, host: str, server: Server) -> Any:
    smtp = base(timeout=TIMEOUT)
    smtp._host = host
    smtp.connect(NEAR, server.port)
    return smtp


def by_name_of_octets(base: Any, host: str, server: Server) -> Any:
    smtp = base(timeout=TIMEOUT)
    smtp._host = host.encode()
    smtp.connect(NEAR, server.port)
    return smtp


def by_name_twice(base: Any, host: str, server: Server) -> Any:
    smtp = by_name(base, host, server)
    smtp.close()
    smtp.connect(NEAR, server.port)
    return smtp


def by_name_afterwards(base: Any, host: str, server: Server) -> Any:
    smtp = base(NEAR, server.port, timeout=TIMEOUT)
    smtp._host = host
    return smtp


def by_get_socket(base: Any, host: str, server: Server) -> Any:
    def dial(self: Any, host: str, port: int, timeout: float) -> Any:
        return base._get_socket(self, NEAR, server.port, timeout)

    return subclass(base, _get_socket=dial)(host, 25, timeout=TIMEOUT)


def by_own_socket(base: Any, host: str, server: Server) -> Any:
    def dial(self: Any, host: str, port: int, timeout: float) -> Any:
        return socket.create_connection((NEAR, port), timeout)

    return subclass(base, _get_socket=dial)(host, server.port, timeout=TIMEOUT)


def by_create_connection(base: Any, host: str, server: Server) -> Any:
    original = socket.create_connection

    @functools.wraps(original)
    def through(address: Any, *args: Any, **kwargs: Any) -> socket.socket:
        return original((NEAR, server.port), *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_connection", through)
        return base(host, 25, timeout=TIMEOUT)


class Foreign(socket.socket):
    """What PySocks and its like put in place of `socket.socket`."""


def by_socket_class(base: Any, host: str, server: Server) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", Foreign)
        smtp = base(host, server.port, timeout=TIMEOUT)
    assert type(smtp.sock) is Foreign
    return smtp


WAYS = (
    by_connect,
    by_connect_of_a_port,
    by_name,
    by_name_of_octets,
    by_name_twice,
    by_name_afterwards,
    by_get_socket,
    by_own_socket,
    by_create_connection,
    by_socket_class,
)


def secrets(smtp: Any) -> tuple[Callable[[], object], ...]:
    return (
        lambda: smtp.login("alice", "secret"),
        lambda: smtp.docmd("AUTH PLAIN AGFsaWNlAHNlY3JldA=="),
        lambda: smtp.send("AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"),
        lambda: smtp.send(b"auth plain AGFsaWNlAHNlY3JldA==\r\n"),
    )


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("number", range(4))
def test_no_password_into_a_tunnel(
    way: Callable[..., Any], number: int, smtp_class: Any, smtp_server: ServerFactory
) -> None:
    with smtp_server() as server:
        smtp = way(smtp_class, HOST, server)
        smtp.ehlo()
        with pytest.raises(smtpverify.PlaintextCredentialsError):
            secrets(smtp)[number]()
        smtp.close()
    assert server.leaked() == []
    assert [seen.credentials for seen in server.connections if seen.credentials] == []


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_mail_into_a_tunnel_is_warned_of(
    way: Callable[..., Any], smtp_class: Any, smtp_server: ServerFactory
) -> None:
    with smtp_server() as server:
        smtp = way(smtp_class, HOST, server)
        with pytest.warns(smtpverify.PlaintextWarning, match="in plaintext"):
            smtp.sendmail("alice@example.org", ["bob@example.org"], "hello")
        smtp.quit()
    assert len(server.messages) == 1


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_host_that_is_this_machine_by_name(
    way: Callable[..., Any], smtp_class: Any, smtp_server: ServerFactory
) -> None:
    with smtp_server() as server:
        smtp = way(smtp_class, "localhost", server)
        smtp.login("alice", "secret")
        smtp.quit()
    assert [seen.credentials[0].password for seen in server.connections if seen.credentials] == ["secret"]


def test_the_name_that_was_given_by_hand_stays(smtp_class: Any, smtp_server: ServerFactory) -> None:
    """Newer versions of smtplib write the host of `connect()` over it."""
    with smtp_server() as server:
        smtp = by_name(smtp_class, HOST, server)
        assert stdlib.host_of(smtp) == HOST
        smtp.close()
        smtp = by_connect(smtp_class, HOST, server)
        assert stdlib.host_of(smtp) == HOST
        smtp.close()


def test_another_host_is_another_name(smtp_class: Any, smtp_server: ServerFactory) -> None:
    """What `connect()` itself was given is no name given by hand."""
    with smtp_server() as server:
        smtp = smtp_class(HOST, server.port, timeout=TIMEOUT)
        assert stdlib.host_of(smtp) == HOST
        smtp.close()
        smtp.connect("localhost", server.port)
        assert stdlib.host_of(smtp) == "localhost"
        smtp.login("alice", "secret")
        smtp.quit()


class Tunnelled(smtpverify.SMTP):
    """Is told of the far end, and connects to the near one."""

    near_end = 0

    def connect(
        self, host: str = "localhost", port: int = 0, source_address: Any = None
    ) -> tuple[int, bytes]:
        return super().connect(NEAR, self.near_end)


@pytest.mark.parametrize("scheme", ["tls", "smtps"])
def test_a_url_holds_at_the_near_end(scheme: str, smtp_server: ServerFactory, world: World) -> None:
    """Its scheme, its pin, its user and the name to verify, in whatever way the subclass connects."""
    tls = Tls.STARTTLS if scheme == "tls" else Tls.IMPLICIT
    pin = pin_of(world.good())
    with smtp_server(tls=tls) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tunnelled, "near_end", server.port)
        with Tunnelled(f"{scheme}://alice:secret@{HOST}?cafile={world.root_file}&pin={pin}") as smtp:
            assert smtp.peer is not None
            assert (smtp.peer.reference.text, str(smtp.peer.pin)) == (HOST, str(pin))
            smtp.sendmail("alice@example.org", ["bob@example.org"], "hello")
        with pytest.raises(smtpverify.PinMismatchError):
            Tunnelled(f"{scheme}://{HOST}?cafile={world.root_file}&pin={OTHER_PIN}")
    assert len(server.messages) == 1
    assert [len(seen.credentials) for seen in server.connections] == [1, 0]
    with smtp_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tunnelled, "near_end", server.port)
        with pytest.raises(smtpverify.SMTPVerifyError):
            Tunnelled(f"{scheme}://alice:secret@{HOST}", timeout=TIMEOUT)
    assert server.leaked() == []


@pytest.mark.parametrize("host", ["mx1.example.org,mx2.example.org", "prod relay", "mail.example.org:smtp"])
def test_a_host_that_only_the_subclass_can_read(host: str, smtp_server: ServerFactory) -> None:
    with smtp_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tunnelled, "near_end", server.port)
        with Tunnelled(host) as smtp, pytest.raises(smtpverify.PlaintextCredentialsError):
            smtp.login("alice", "secret")
        with pytest.raises(smtpverify.RelayURLError):
            Tunnelled("tls://alice:secret@prod relay")
    assert server.leaked() == []


def test_a_constructor_that_is_called_again(smtp_server: ServerFactory) -> None:
    with smtp_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tunnelled, "near_end", server.port)
        smtp = Tunnelled("localhost")
        smtp.close()
        smtp.__init__(HOST)  # type: ignore[misc]
        assert stdlib.host_of(smtp) == HOST
        with pytest.raises(smtpverify.PlaintextCredentialsError):
            smtp.login("alice", "secret")
        smtp.close()
    assert server.leaked() == []


def test_a_name_that_was_written_before_the_constructor(smtp_class: Any, smtp_server: ServerFactory) -> None:
    def init(self: Any) -> None:
        self._host = HOST
        smtp_class.__init__(self)
        self._host = self._host or HOST  # older versions of smtplib's constructor write over it

    with smtp_server() as server:
        smtp = subclass(smtp_class, __init__=init)()
        smtp.connect(NEAR, server.port)
        assert stdlib.host_of(smtp) == HOST
        with pytest.raises(smtpverify.PlaintextCredentialsError):
            smtp.login("alice", "secret")
        smtp.close()
    assert server.leaked() == []


class Socksified(socket.socket):
    """As PySocks' socket: connected to a proxy, it gives the destination's address."""

    destination = NEAR

    def getpeername(self) -> Any:
        return (self.destination, 25)


def test_the_address_is_the_system_s(smtp_server: ServerFactory) -> None:
    with Socksified() as sock:
        assert not is_local(sock)  # connected to nothing, whatever it says
        with smtp_server() as server:
            sock.connect((NEAR, server.port))
            sock.destination = "192.0.2.1"
            assert is_local(sock)


@on_unix
@pytest.mark.parametrize("host", [HOST, HOST.encode(), "localhost", ""])
def test_a_unix_socket_to_a_named_host_leads_elsewhere(
    host: str | bytes, smtp_class: Any, smtp_server: ServerFactory, tmp_path: Path
) -> None:
    """To `ssh -W`, or to another helper that reaches the host."""

    def dial(self: Any, host: str, port: int, timeout: float) -> Any:
        sock = socket.socket(vars(socket)["AF_UNIX"])
        sock.connect(str(tmp_path / "helper"))
        return sock

    here = host in ("localhost", "")
    with smtp_server(path=tmp_path / "helper") as server:
        smtp = subclass(smtp_class, _get_socket=dial)(timeout=TIMEOUT)
        if not host and smtp_class is smtpverify.SMTP:
            with pytest.raises(smtpverify.RelayURLError, match="host: it is missing"):
                smtp.connect(host, 25)
            return
        smtp.connect(host, 25)
        with contextlib.nullcontext() if here else pytest.raises(smtpverify.PlaintextCredentialsError):
            smtp.login("alice", "secret")
        smtp.close()
    assert [len(seen.credentials) for seen in server.connections] == [here]
