"""A real mail server on loopback, that does what its `Behaviour` says and records what it sees."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bed.behaviour import (
    Behaviour,
    Certificate,
    Connection,
    End,
    Greeting,
    Message,
    Sni,
)
from tests.bed.link import Ended, Link
from tests.bed.network import LOOPBACK
from tests.bed.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

JOIN_TIMEOUT = 10.0


class BedError(Exception):
    """The bed itself failed, or a connection did not come to its end."""


class Server:
    """A mail server for use as a context manager; it takes any number of connections.

    With several behaviours each connection gets the next one, and the last is for all the rest.
    On exit every connection is at its end, and `connections` is final.
    """

    def __init__(
        self, *behaviours: Behaviour, host: str = LOOPBACK, path: str | os.PathLike[str] = ""
    ) -> None:
        self.behaviours: Sequence[Behaviour] = behaviours or (Behaviour(),)
        if any(one.needs_certificate and one.certificate is None for one in self.behaviours):
            raise BedError("a server that speaks TLS wants a certificate")
        self.connections: list[Connection] = []
        self.path = os.fspath(path)
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._accepting = threading.Lock()
        self._local = threading.local()
        self._making = threading.RLock()
        self._contexts: dict[tuple[int, int], tuple[ssl.SSLContext, Behaviour, object]] = {}
        for one in self.behaviours:
            if one.needs_certificate and not callable(one.certificate):
                self._context(one)  # now, and not at the cost of the first connection
        # Readable (end of file) from the moment of closing: it wakes every wait.
        self._stop, self._stopper = socket.socketpair()
        self._listener = self._listen(host)
        self.address = self._listener.getsockname()
        self.host: str = host if not self.path else self.path
        self.port: int = 0 if self.path else self.address[1]
        self._acceptor = threading.Thread(target=self._accept, name="bed-accept", daemon=True)

    def _listen(self, host: str) -> socket.socket:
        if self.path:
            if sys.platform == "win32":
                raise NotImplementedError
            listener = socket.socket(socket.AF_UNIX)
        else:
            listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        size = self.behaviours[0].socket_buffer
        if size is not None:  # inherited by the connections, and SO_RCVBUF must come before listen
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        listener.bind(self.path or (host, 0))
        listener.listen(128)
        listener.setblocking(False)
        return listener

    def __enter__(self) -> Server:
        if self._acceptor.ident is None:  # the fixture has entered it for the test
            self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        failures, self._failures = self._failures, []
        if failures and error is None:
            raise BedError("a connection's thread failed") from failures[0]

    # What was seen.

    def leaked(self) -> list[str]:
        """Return all lines, of all connections, that gave away an address, mail or a credential."""
        return [line for connection in self.connections for line in connection.leaked()]

    @property
    def messages(self) -> list[Message]:
        """All mails that arrived, in clear or in TLS."""
        return [message for connection in self.connections for message in connection.messages]

    # Life.

    def close(self) -> None:
        """Take no more connections, and end all there are once they have read what was sent."""
        if self._stopper.fileno() < 0:
            return
        self._stopper.close()
        self._acceptor.join(JOIN_TIMEOUT)
        try:
            self.wait_closed()
        finally:
            self._listener.close()
            self._stop.close()
            if self.path:
                Path(self.path).unlink()

    def wait_closed(self, timeout: float = JOIN_TIMEOUT) -> None:
        """Wait for the end of all connections made so far; raise `BedError` if it does not come."""
        self._accept_pending()
        for thread in self._threads:
            thread.join(timeout)
            if thread.is_alive():
                raise BedError(f"{thread.name} did not end within {timeout} s")

    def _accept(self) -> None:
        while True:
            readable, _, _ = select.select([self._listener, self._stop], [], [])
            self._accept_pending()
            if self._stop in readable:
                return

    def _accept_pending(self) -> None:
        with self._accepting:
            while True:
                try:
                    sock, _ = self._listener.accept()
                except BlockingIOError:
                    return
                self._begin(sock)

    def _begin(self, sock: socket.socket) -> None:
        record = self.new_record(len(self.connections))
        self.connections.append(record)
        behaviour = self.behaviours[min(record.number, len(self.behaviours) - 1)]
        if not self.path:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        thread = threading.Thread(
            target=self._serve,
            args=(sock, behaviour, record),
            name=f"bed-connection-{record.number}",
            daemon=True,
        )
        self._threads.append(thread)
        thread.start()

    def _serve(self, sock: socket.socket, behaviour: Behaviour, record: Connection) -> None:
        self._local.behaviour, self._local.record = behaviour, record
        link = self.link_type(sock, self._stop, record)
        end = End.SCRIPTED
        try:
            self.converse(link, behaviour, record, lambda: self._context(behaviour))
        except Ended as ended:
            end = ended.end
            if end in (End.RESET, End.STOPPED):  # noticed in sending, perhaps: read what there is
                link.drain(end)
        except Exception as failure:  # noqa: BLE001  raised by __exit__; a thread could only print it
            self._failures.append(failure)
        finally:
            link.close()
            record.end = end

    # What another kind of server does in another way.

    link_type: type[Link] = Link

    def new_record(self, number: int) -> Connection:
        """Return what a connection is to be recorded in."""
        return Connection(number)

    def converse(
        self, link: Link, behaviour: Behaviour, record: Connection, context: Callable[[], ssl.SSLContext]
    ) -> None:
        """Converse until `Ended`, or to the end."""
        Session(link, behaviour, record, context).run()

    # Certificates.

    def _context(self, behaviour: Behaviour) -> ssl.SSLContext:
        """Return the context that a handshake begins with; SNI may change it for another."""
        certificate = behaviour.certificate
        assert certificate is not None, "seen to by __init__"
        if callable(certificate):
            # The first context bears no certificate and is never left in place.
            return self._once(behaviour, certificate, lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        return self._context_of(behaviour, certificate)

    def _context_of(self, behaviour: Behaviour, certificate: Certificate) -> ssl.SSLContext:
        if isinstance(certificate, ssl.SSLContext):
            return self._once(behaviour, certificate, lambda: certificate)
        return self._once(
            behaviour,
            certificate,
            lambda: certificate.server_context(
                minimum_version=behaviour.tls_version,
                maximum_version=behaviour.tls_version,
                client_roots=behaviour.client_roots,
            ),
        )

    def _once(
        self, behaviour: Behaviour, source: object, make: Callable[[], ssl.SSLContext]
    ) -> ssl.SSLContext:
        # One context a behaviour and certificate, or no session could be resumed; both are kept with it,
        # so that their id() is not given to another.
        key = (id(behaviour), id(source))
        with self._making:
            if key not in self._contexts:
                context = make()
                context.sni_callback = self._choose
                self._contexts[key] = (context, behaviour, source)
            return self._contexts[key][0]

    def _choose(self, tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        """Record the server name of the ClientHello, and take the certificate that it asks for."""
        behaviour: Behaviour = self._local.behaviour
        record: Connection = self._local.record
        record.sni = name
        if name is None and behaviour.sni is Sni.REQUIRED:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        if callable(behaviour.certificate):
            try:
                certificate = behaviour.certificate(name)
                if certificate is None:
                    return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
                tls.context = self._context_of(behaviour, certificate)
            except Exception as failure:  # noqa: BLE001  raised by __exit__, as above
                self._failures.append(failure)
                return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        return None


@contextlib.contextmanager
def closed_port(host: str = LOOPBACK) -> Iterator[int]:
    """Give a port that refuses connections: bound, so that nobody else gets it, but not listening."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        yield sock.getsockname()[1]


@contextlib.contextmanager
def silent_port(host: str = LOOPBACK) -> Iterator[int]:
    """Give a port that accepts connections and says nothing."""
    with Server(Behaviour(greeting_kind=Greeting.SILENT), host=host) as server:
        yield server.port
