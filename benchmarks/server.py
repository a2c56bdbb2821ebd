"""An SMTP server in a process of its own: STARTTLS, and as little else as a client needs."""

from __future__ import annotations

import multiprocessing
import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trustme


def _converse(sock: socket.socket, context: ssl.SSLContext) -> None:
    stream = sock.makefile("rwb")
    stream.write(b"220 localhost ESMTP\r\n")
    stream.flush()
    while line := stream.readline():
        verb = line[:4].upper()
        if verb == b"DATA":
            stream.write(b"354 go on\r\n")
            stream.flush()
            while stream.readline() != b".\r\n":
                pass
        reply = {
            b"EHLO": b"250-localhost\r\n250 STARTTLS\r\n",
            b"STAR": b"220 ready\r\n",
            b"QUIT": b"221 bye\r\n",
        }
        stream.write(reply.get(verb, b"250 ok\r\n"))
        stream.flush()
        if verb == b"STAR":
            sock = context.wrap_socket(sock, server_side=True)
            stream = sock.makefile("rwb")
        if verb == b"QUIT":
            break
    stream.close()
    sock.close()


def _serve(listener: socket.socket, key_and_chain: bytes) -> None:
    import tempfile

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(key_and_chain)
        file.flush()
        context.load_cert_chain(file.name)
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _converse(sock, context)


@contextmanager
def running_server(certificate: trustme.LeafCert) -> Iterator[int]:
    """Run the server; gives its port on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        key_and_chain = certificate.private_key_and_cert_chain_pem.bytes()
        process = multiprocessing.get_context("fork").Process(target=_serve, args=(listener, key_and_chain))
        process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            process.join()
