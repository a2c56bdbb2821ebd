"""Every test: the bed's roots, a resolver of its own, and no way out of loopback."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from hypothesis import settings

from tests.bed import Behaviour, Server, World
from tests.bed.network import LOOPBACK, Resolver, stay_on_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# How long an example takes is the machine's business; pytest-timeout ends what hangs.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a shell's background job: what the tests start would be deaf to Ctrl-C, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Whom the tests trust, and whom they do not."""
    return World.make(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def own_roots(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the world's root the only one that OpenSSL finds by itself."""
    monkeypatch.setenv("SSL_CERT_FILE", str(world.root_file))
    monkeypatch.setenv("SSL_CERT_DIR", str(world.empty_directory))


@pytest.fixture(autouse=True)
def own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a configuration directory of its own, which is not there yet."""
    directory = tmp_path / "configuration"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(directory))
    return directory


@pytest.fixture(autouse=True)
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Resolve names without a network; a test may put entries of its own in."""
    stay_on_loopback()
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
    monkeypatch.setattr(socket, "getfqdn", lambda name="": name or "client.example.org")
    return resolver


class ServerFactory(Protocol):
    """Starts a server: one behaviour a connection, or `Behaviour`'s fields as keywords, or both."""

    def __call__(
        self, *behaviours: Behaviour, host: str = LOOPBACK, path: str | Path = "", **fields: Any
    ) -> Server: ...


@pytest.fixture
def smtp_server(world: World) -> Iterator[ServerFactory]:
    """Give a factory of running servers, with the good certificate unless another is given.

    Behind ``with smtp_server(tls=Tls.STARTTLS) as server:`` the server's connections are final; without
    ``with`` they are so behind `Server.close`. What is still open when the test ends is closed.
    """
    with ExitStack() as stack:

        def start(
            *behaviours: Behaviour, host: str = LOOPBACK, path: str | Path = "", **fields: Any
        ) -> Server:
            if path and not hasattr(socket, "AF_UNIX"):
                pytest.skip("no Unix sockets")
            told = [replace(one, **fields) for one in behaviours or (Behaviour(),)]
            told = [
                replace(one, certificate=world.good()) if one.certificate is None else one for one in told
            ]
            return stack.enter_context(Server(*told, host=host, path=path))

        yield start
