"""The demo's mail servers: aiosmtpd on loopback, and what each of them really received.

For those who have the extra `demo`: aiosmtpd is imported here.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import enum
import functools
import ipaddress
import socket
import warnings
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from ._demo_certs import HOST

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of `typing.ByteString`, which it imports
    from aiosmtpd.smtp import SMTP, TLSSetupException

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable
    from typing import TypeVar

    from aiosmtpd.smtp import Envelope, Session

    T = TypeVar("T")

__all__ = ["Offer", "Server", "Service", "ignore_broken_connections", "serving"]

_SECONDS_TO_END = 10.0  # for what a connection has left to do when its client has gone


class Offer(enum.Enum):
    """What a server offers of TLS; the value is a short phrase for people."""

    NOTHING = "no TLS"
    STARTTLS = "STARTTLS"
    IMPLICIT = "TLS from the first byte"


@dataclass(frozen=True, slots=True)
class Service:
    """How a server behaves.

    Attributes:
        context: its certificate.
        offer: how it comes to TLS.
        injection: what comes in plaintext behind its reply to STARTTLS, in the same write.
    """

    context: ssl.SSLContext
    offer: Offer = Offer.STARTTLS
    injection: bytes = b""


@dataclass(eq=False)  # without slots, which do not bear how aiosmtpd looks at them in Python 3.10
class Server:
    """A server, and what came in.

    Attributes:
        service: how it behaves.
        account: the user and the password that it lets in.
        port: on loopback.
        received: every byte from its clients; of what came through TLS, the plaintext.
        deliveries: the messages that it accepted, each as it stood on the wire.
    """

    service: Service
    account: tuple[str, str]
    port: int
    received: bytearray = field(default_factory=bytearray)
    deliveries: list[bytes] = field(default_factory=list)
    _open: set[_Connection] = field(default_factory=set)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _over: bool = False

    def __post_init__(self) -> None:
        self._idle.set()

    def saw(self, text: str) -> bool:
        """Whether the text came in, as it is or in base64 (RFC 4954 4)."""
        wanted = text.encode()
        raw = bytes(self.received)
        return wanted in raw or any(wanted in _from_base64(word) for word in raw.split())

    # --- hooks of aiosmtpd -----------------------------------------------------------------------

    async def handle_AUTH(self, smtp: SMTP, session: Session, envelope: Envelope, args: list[str]) -> str:
        """Let the account in, and nobody else; the only mechanism offered is PLAIN (RFC 4616 2)."""
        expected = "\0".join(("", *self.account)).encode()
        session.authenticated = _from_base64(args[-1].encode()) == expected
        return "235 2.7.0 Welcome" if session.authenticated else "535 5.7.8 Wrong user or password"

    async def handle_MAIL(
        self, smtp: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take nobody's mail before the login."""
        if not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_DATA(self, smtp: SMTP, session: Session, envelope: Envelope) -> str:
        """Accept a message."""
        self.deliveries.append(envelope.original_content or b"")
        return "250 2.0.0 Accepted"

    # --- the life of its connections -------------------------------------------------------------

    def opened(self, connection: _Connection) -> None:
        """Keep count of a connection; may be told twice."""
        self._open.add(connection)
        self._idle.clear()
        if self._over:  # its TLS was being set up when the server ended
            connection.abort()

    def closed(self, connection: _Connection) -> None:
        """Count it no more; may be told twice."""
        self._open.discard(connection)
        if not self._open:
            self._idle.set()

    async def visited_by(self, client: Callable[..., T], *arguments: object) -> T:
        """Run a client, which blocks, in a thread.

        Its end is awaited even where this is cancelled, and hastened then by breaking its connection off.
        """
        visit = asyncio.get_running_loop().run_in_executor(None, functools.partial(client, *arguments))
        try:
            return await asyncio.shield(visit)
        except asyncio.CancelledError:
            self.abort()
            await asyncio.wait([visit])
            raise

    async def until_idle(self) -> None:
        """Wait until the connections have ended, so that what was recorded is all there was."""
        await asyncio.wait_for(self._idle.wait(), _SECONDS_TO_END)

    def abort(self) -> None:
        """Break off the connections that are open, and whichever comes yet."""
        self._over = True
        for connection in self._open:
            connection.abort()


def _from_base64(word: bytes) -> bytes:
    try:
        return base64.b64decode(word)
    except binascii.Error:
        return b""


class _Connection(SMTP):
    """A connection that records and, where its service says so, injects."""

    def __init__(self, server: Server) -> None:
        service = server.service
        starttls = service.offer is Offer.STARTTLS
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            hostname=HOST,
            ident="smtpverify demo",
            tls_context=service.context if starttls else None,
            auth_require_tls=starttls,
            auth_exclude_mechanism=["LOGIN"],
        )
        self._server = server
        self._behind_next_reply = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # aiosmtpd writes a reply line by line; each would wait for the last one's acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)
        self._server.opened(self)  # and again when STARTTLS has done its work

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._server.closed(self)

    def data_received(self, data: bytes) -> None:
        self._server.received += data
        super().data_received(data)

    def abort(self) -> None:
        """Break the connection off."""
        cast("asyncio.Transport", self.transport).abort()

    async def smtp_STARTTLS(self, arg: str) -> None:
        self._behind_next_reply = self._server.service.injection
        try:
            await super().smtp_STARTTLS(arg)
        except TLSSetupException:
            # The client refused the certificate. aiosmtpd would log that at length, and ends the
            # connection no better than this.
            self.connection_lost(None)

    async def push(self, status: Any) -> None:
        injection, self._behind_next_reply = self._behind_next_reply, b""
        await super().push(f"{status}\r\n".encode() + injection if injection else status)


@asynccontextmanager
async def serving(service: Service, account: tuple[str, str]) -> AsyncIterator[Server]:
    """Run a server; behind the `async with`, what it recorded is final.

    Args:
        service: how it behaves.
        account: the user and the password that it lets in.
    """
    with closing(_listen_on(HOST)) as listener:
        server = Server(service, account, listener.getsockname()[1])
        listening = await asyncio.get_running_loop().create_server(
            lambda: _Connection(server),
            sock=listener,
            ssl=service.context if service.offer is Offer.IMPLICIT else None,
        )
        try:
            yield server
            await server.until_idle()
        finally:
            listening.close()
            server.abort()  # what an exception has left open


def _listen_on(host: str) -> socket.socket:
    """Listen on the first of the host's loopback addresses that this machine has.

    Clients try the addresses in the same order, and so get through to no other.
    """
    failure: OSError | None = None
    for family, _, _, _, address in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM):
        if ipaddress.ip_address(address[0]).is_loopback:
            try:
                return socket.create_server((str(address[0]), 0), family=family)
            except OSError as error:  # such as ::1 in /etc/hosts, and IPv6 switched off
                failure = error
    raise failure or OSError(f"{host} is not at a loopback address")


def ignore_broken_connections(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Pass over what a client broke off, which is what the demo is about; a loop's exception handler."""
    if not isinstance(context.get("exception"), OSError):
        loop.default_exception_handler(context)
