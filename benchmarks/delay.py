"""A proxy that makes the way long: what goes in comes out half a round trip later, in both directions."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Each piece is held back for itself, so that the link is long and not narrow."""
    loop = asyncio.get_running_loop()
    while data := await reader.read(1 << 20):
        loop.call_later(seconds, writer.write, data)
    loop.call_later(seconds, writer.close)


async def _serve(listener: socket.socket, target: int, seconds: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(_carry(reader, to_there, seconds), _carry(there, writer, seconds))

    server = await asyncio.start_server(connected, sock=listener)
    await server.serve_forever()


def _run(listener: socket.socket, target: int, seconds: float) -> None:
    asyncio.run(_serve(listener, target, seconds))


@contextmanager
def delaying(target: int, round_trip: float) -> Iterator[int]:
    """Run the proxy in a process of its own; gives its port on loopback."""
    if sys.platform == "win32":
        raise NotImplementedError("the proxy is forked")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        arguments = (listener, target, round_trip / 2)
        process = multiprocessing.get_context("fork").Process(target=_run, args=arguments)
        process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            process.join()
