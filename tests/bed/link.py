"""One accepted connection: octets and TLS, every wait ended by the closing of the server."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
from typing import TYPE_CHECKING, NoReturn, TypeVar

from tests.bed.behaviour import Connection, End

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Only a backstop: a server that is being closed wakes every wait.
PATIENCE = 60.0
CHUNK = 65536


# RFC 8446 5.1: content type, legacy version 0x03xx, length.
RECORD_STARTS = (b"\x14", b"\x15", b"\x16", b"\x17", b"\x18")
HANDSHAKE_RECORD = 0x16


def is_record(octets: bytes | bytearray) -> bool:
    """Return whether a TLS record begins here, as far as can be seen."""
    return octets[:1] in RECORD_STARTS and octets[1:2] in (b"\x03", b"")


def record_size(octets: bytes | bytearray) -> int:
    """Return the size of the record that begins here, its header included."""
    return 5 + int.from_bytes(octets[3:5], "big")


def is_hello(octets: bytes | bytearray) -> bool:
    """Return whether a ClientHello's record begins here."""
    return is_record(octets) and octets[0] == HANDSHAKE_RECORD


def outside_records(octets: bytes | bytearray) -> bytes:
    """Return what remains when the TLS records are taken out; a cut-off record is one, too."""
    rest, at = bytearray(), 0
    while at < len(octets):
        head = octets[at : at + 5]
        if is_record(head):
            at += record_size(head)
        else:
            rest += head[:1]
            at += 1
    return bytes(rest)


class Ended(Exception):
    """The connection is over; the reason is its argument."""

    def __init__(self, end: End) -> None:
        super().__init__(end)
        self.end = end


class Link:
    """A connection, in plaintext first. TLS runs in memory, so that every octet can be seen.

    ``stop`` becomes readable when the server is closed. What the client has sent by then is read
    to its end all the same: on loopback it lies in the buffer already, so nothing is missed.
    """

    def __init__(self, sock: socket.socket, stop: socket.socket, record: Connection) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._stop = stop
        self._record = record
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._buffer = bytearray()  # received and, within TLS, decrypted; not yet taken
        self._tap: bytearray | None = None  # what came during the handshake, as it came
        self._spoken = False

    # Octets.

    def _receive_raw(self) -> bytes:
        if self._spoken:
            self._record.round_trips += 1
            self._spoken = False
        readable, _, _ = select.select([self._sock, self._stop], [], [], PATIENCE)
        if self._sock not in readable:
            raise Ended(End.STOPPED)
        try:
            data = self._sock.recv(CHUNK)
        except ConnectionError:
            raise Ended(End.RESET) from None
        if not data:
            raise Ended(End.EOF)
        if self._tap is not None:
            self._tap += data
        return data

    def _send_raw(self, data: bytes) -> None:
        self._spoken = True
        view = memoryview(data)
        while view:
            _, writable, _ = select.select([self._stop], [self._sock], [], PATIENCE)
            if not writable:
                raise Ended(End.STOPPED)
            try:
                view = view[self._sock.send(view) :]
            except ConnectionError:
                raise Ended(End.RESET) from None

    def pause(self, seconds: float) -> None:
        """Wait for so long, or for the closing of the server."""
        if select.select([self._stop], [], [], seconds)[0]:
            raise Ended(End.STOPPED)

    # What passes over it.

    def send(self, data: bytes) -> None:
        """Send, by TLS once that is on; one call goes out in one piece."""
        if self._tls is None:
            self._send_raw(data)
            return
        for at in range(0, len(data), CHUNK):
            self._tls.write(data[at : at + CHUNK])
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._send_raw(self._outgoing.read())

    def _more(self) -> None:
        """Receive into the buffer, something or `Ended`."""
        if self._tls is None:
            self._buffer += self._receive_raw()
            return
        try:
            data = self._run(lambda tls: tls.read(CHUNK))
        except ssl.SSLError as error:
            # An alert in TLS 1.3 may come when our side of the handshake is long done.
            self._record.handshake_error = error.reason or str(error)
            raise Ended(End.REFUSED) from None
        if not data:
            raise Ended(End.CLOSE_NOTIFY)
        self._buffer += data

    def _run(self, step: Callable[[ssl.SSLObject], T]) -> T:
        """Take a step of TLS, with what it needs to receive and has to send."""
        assert self._tls is not None
        while True:
            try:
                result = step(self._tls)
            except ssl.SSLWantReadError:
                self._flush()
                self._incoming.write(self._receive_raw())
            else:
                self._flush()
                return result

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        into = self._record.clear_bytes if self._tls is None else self._record.secure_bytes
        into += taken
        return taken

    def read_until(self, end: bytes) -> bytes:
        """Read up to and with ``end``."""
        searched = 0
        while True:
            self._skip_records()
            found = self._buffer.find(end, searched)
            if found >= 0:
                return self._take(found + len(end))
            searched = max(0, len(self._buffer) - len(end) + 1)
            self._more()

    def _skip_records(self) -> None:
        """Drop TLS records where a command is due: a client that tries TLS, or sends its alert."""
        while self._tls is None and is_record(self._buffer):
            self._record.client_hello = self._record.client_hello or is_hello(self._buffer)
            if len(self._buffer) < (size := record_size(self._buffer)):
                self._more()
            else:
                del self._buffer[:size]

    def read_exactly(self, size: int) -> bytes:
        """Read so many octets."""
        while len(self._buffer) < size:
            self._more()
        return self._take(size)

    def starts_with(self, octets: bytes) -> bool:
        """Return whether these are what comes next; waits until that is sure."""
        while len(self._buffer) < len(octets) and octets.startswith(self._buffer):
            self._more()
        return self._buffer.startswith(octets)

    # TLS.

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Do the handshake; `Ended` if it fails."""
        record = self._record
        # Whatever came that is no TLS must be on record if the handshake fails.
        self._tap = bytearray(self._buffer)
        self._incoming.write(self._buffer)
        self._buffer.clear()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        try:
            self._run(lambda tls: tls.do_handshake())
        except (ssl.SSLError, Ended) as error:
            record.client_hello = is_hello(self._tap)
            self._tls, self._buffer = None, self._tap
            if isinstance(error, Ended):
                record.handshake_error = error.end.name
                raise
            record.handshake_error = error.reason or str(error)
            with contextlib.suppress(Ended):  # our alert, if any, may find the client gone
                self._flush()
            self.finish()
            raise Ended(self.drain(End.REFUSED)) from None
        finally:
            self._tap = None
        record.handshake_done = record.client_hello = True
        record.tls_version = self._tls.version()
        cipher = self._tls.cipher()
        record.cipher = cipher[0] if cipher else None
        record.session_reused = bool(self._tls.session_reused)
        record.client_certificate = self._tls.getpeercert(binary_form=True)

    def await_client_hello(self) -> None:
        """Receive the beginning of what should be a ClientHello, and leave it in the buffer."""
        if not self._buffer:
            self._more()
        self._record.client_hello = is_hello(self._buffer)

    def send_half_a_flight(self, context: ssl.SSLContext) -> None:
        """Answer the ClientHello with the first half of what a handshake would send."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        incoming.write(self._buffer)
        while not outgoing.pending:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            if not outgoing.pending:
                size = len(self._buffer)
                self._more()
                incoming.write(self._buffer[size:])
        flight = outgoing.read()
        self.send(flight[: len(flight) // 2])

    # The end.

    def listen(self) -> NoReturn:
        """Only read, until the client has had enough."""
        while True:
            self._more()

    def drain(self, end: End) -> End:
        """Read to the client's end of file, so that all it says is on record; return ``end``."""
        try:
            self.listen()
        except Ended:
            return end

    def finish(self) -> None:
        """Close our direction, in TLS with a close_notify; the client's remains to be drained."""
        if self._tls is not None:
            # It would wait for the client's close_notify, and the client may have more to say.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()
        with contextlib.suppress(OSError):  # the client may have closed before
            self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Have the close send a RST in place of a FIN."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        """Close, with whatever was received and never taken put on the record."""
        if self._tls is None:
            self._record.client_hello = self._record.client_hello or is_hello(self._buffer)
            self._record.clear_bytes += outside_records(self._buffer)
        else:
            self._record.secure_bytes += self._buffer
        self._buffer.clear()
        self._sock.close()
