"""Sending by smtplib, aiosmtplib and smtpverify to one fast sink, over verified TLS."""

from __future__ import annotations

import asyncio
import base64
import os
import smtplib
import ssl
import tempfile
import time
import tracemalloc
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiosmtplib
import certifi
import trustme

import smtpverify
from benchmarks.delay import delaying
from benchmarks.measures import Row, interleaved
from tests.sink import build, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

HOST, LOCAL, SENDER, ONE = "localhost", "client.example.org", "alice@example.org", ["bob@example.org"]
HUNDRED = [f"user{number}@example.org" for number in range(100)]
SMALL = b"Subject: hello\r\n\r\n" + b"A line of a message of two kilobytes.\r\n" * 52
PIPELINING = ("PIPELINING", "SIZE 100000000", "8BITMIME")
CHUNKING = (*PIPELINING, "CHUNKING")
ROUND_TRIP = 0.05


class Bench:
    """The sinks, and how each contender reaches them."""

    def __init__(self, stack: ExitStack, rounds: int) -> None:
        self.rounds = rounds
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        authority = trustme.CA()
        self.roots = directory / "roots.pem"
        # As many roots as a system has.
        self.roots.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
        self.trust = smtpverify.Trust(self.roots)
        self.context = ssl.create_default_context(cafile=str(self.roots))
        pem = authority.issue_cert(HOST).private_key_and_cert_chain_pem.bytes()
        program = build(directory)
        self.pipelining = stack.enter_context(running(program, pem, *PIPELINING))
        self.chunking = stack.enter_context(running(program, pem, *CHUNKING))

    def stock(self, port: int, context: ssl.SSLContext | None = None) -> smtplib.SMTP:
        smtp = smtplib.SMTP(HOST, port, LOCAL)
        smtp.starttls(context=context or self.context)
        smtp.login("alice", "secret")
        return smtp

    def ours(self, port: int) -> smtpverify.SMTP:
        smtp = smtpverify.SMTP(HOST, port, LOCAL, trust=self.trust)
        smtp.starttls()
        smtp.login("alice", "secret")
        return smtp

    async def other(self, port: int) -> aiosmtplib.SMTP:
        smtp = aiosmtplib.SMTP(
            hostname=HOST, port=port, local_hostname=LOCAL, start_tls=True, tls_context=self.context
        )
        await smtp.connect()
        await smtp.login("alice", "secret")
        return smtp


def connections(bench: Bench) -> list[Row]:
    """Connect, STARTTLS, AUTH, 2 KB, QUIT: the client's CPU."""
    port = bench.pipelining.port
    loop = asyncio.new_event_loop()

    def stock(context: ssl.SSLContext | None = None) -> None:
        smtp = bench.stock(port, context)
        smtp.sendmail(SENDER, ONE, SMALL)
        smtp.quit()

    def ours(to: int = port) -> None:
        smtp = bench.ours(to)
        smtp.sendmail(SENDER, ONE, SMALL)
        smtp.quit()

    async def other() -> None:
        smtp = await bench.other(port)
        await smtp.sendmail(SENDER, ONE, SMALL)
        await smtp.quit()

    figures = interleaved(
        {
            "smtplib, a context each": lambda: stock(ssl.create_default_context(cafile=str(bench.roots))),
            "smtplib": stock,
            "aiosmtplib": lambda: loop.run_until_complete(other()),
            "smtpverify": ours,
            "smtpverify, chunking": lambda: ours(bench.chunking.port),
        },
        bench.rounds * 10,
        time.process_time,
    )
    loop.close()
    each = figures.pop("smtplib, a context each")
    chunked = figures.pop("smtpverify, chunking")
    case = "connect, STARTTLS, AUTH, 2 KB, QUIT: CPU"
    return [
        Row(f"{case}; smtplib with a context each time", {**figures, "smtplib": each}, "ms", "0.10"),
        Row(f"{case}; smtplib with one context", figures, "ms", "1.0"),
        Row(f"{case}; the same, CHUNKING", {**figures, "smtpverify": chunked}, "ms", "1.0"),
    ]


def turns(bench: Bench) -> list[Row]:
    """How often the client waits for a reply, from the greeting to QUIT."""
    rows = []
    for recipients in (2, 100, 1000):
        to = [f"user{number}@example.org" for number in range(recipients)]
        for sink, name, target in ((bench.pipelining, "", "8"), (bench.chunking, ", CHUNKING", "7")):
            figures = {}
            for who, connect in (("smtplib", bench.stock), ("smtpverify", bench.ours)):
                smtp = connect(sink.port)
                smtp.sendmail(SENDER, to, SMALL)
                smtp.quit()
                # Other connections have been told of before.
                counts = next(found for found in iter(sink.counts, None) if found.recipients == recipients)
                figures[who] = float(counts.turns)
            case = f"waits for a reply, {recipients} recipients{name}"
            rows.append(Row(case, figures, "", target, scale=1))
    return rows


def times(count: int, send: Callable[[], object]) -> None:
    """Do something so many times."""
    for _ in range(count):
        send()


def on_one_connection(bench: Bench) -> list[Row]:
    """Small messages one after the other, by the clock on the wall."""
    rows = []
    loop = asyncio.new_event_loop()
    for sink, name in ((bench.pipelining, ""), (bench.chunking, ", CHUNKING")):
        stock, ours = bench.stock(sink.port), bench.ours(sink.port)
        other = loop.run_until_complete(bench.other(sink.port))
        for to, count, target in ((ONE, 50, "0.50"), (HUNDRED, 5, "0.06")):
            # Some at a time, as they are sent in truth: what has just run is in the processor's caches.
            figures = interleaved(
                {
                    "smtplib": lambda: times(count, lambda: stock.sendmail(SENDER, to, SMALL)),  # noqa: B023
                    "aiosmtplib": lambda: times(
                        count,  # noqa: B023
                        lambda: loop.run_until_complete(other.sendmail(SENDER, to, SMALL)),  # noqa: B023
                    ),
                    "smtpverify": lambda: times(count, lambda: ours.sendmail(SENDER, to, SMALL)),  # noqa: B023
                },
                bench.rounds,
            )
            each = {who: seconds / count for who, seconds in figures.items()}
            case = f"2 KB on one connection, {len(to)} recipient{'s' if to is HUNDRED else ''}{name}"
            rows.append(Row(case, each, "ms", target))
        mails = [(SENDER, ONE, SMALL)] * 1000
        figures = interleaved(
            {
                "smtplib": lambda: [stock.sendmail(*mail) for mail in mails],  # noqa: B023
                "smtpverify": lambda: [*ours.send_messages(mails)],  # noqa: B023
            },
            max(2, bench.rounds // 4),
        )
        each = {who: seconds / len(mails) for who, seconds in figures.items()}
        rows.append(Row(f"2 KB, `send_messages()`{name}", each, "ms", "0.20"))
        stock.quit()
        ours.quit()
        loop.run_until_complete(other.quit())
    loop.close()
    return rows


def large(bench: Bench) -> list[Row]:
    """25 MB: CPU, and memory above the message."""
    content = os.urandom(18_000_000)
    octets = b"Subject: large\r\n\r\n" + base64.encodebytes(content).replace(b"\n", b"\r\n")
    text = octets.decode("ascii")
    message = EmailMessage()
    message["From"], message["To"] = SENDER, ONE[0]
    message.set_content("See what is attached.")
    message.add_attachment(content, maintype="application", subtype="octet-stream", filename="large")
    rows = []
    for sink, name in ((bench.pipelining, ""), (bench.chunking, ", CHUNKING")):
        stock, ours = bench.stock(sink.port), bench.ours(sink.port)
        ways: dict[str, tuple[Callable[[smtplib.SMTP], object], str]] = {
            "as octets": (lambda smtp: smtp.sendmail(SENDER, ONE, octets), "0.20"),
            "as text": (lambda smtp: smtp.sendmail(SENDER, ONE, text), "0.5"),
            "by `send_message()`": (lambda smtp: smtp.send_message(message), "0.3"),
        }
        for case, (send, target) in ways.items():
            work: dict[str, Callable[[], Any]] = {
                "smtplib": lambda: send(stock),  # noqa: B023 - run at once
                "smtpverify": lambda: send(ours),  # noqa: B023
            }
            figures = interleaved(work, max(3, bench.rounds // 4), time.process_time)
            rows.append(Row(f"25 MB {case}: CPU{name}", figures, "ms", target))
            if case == "as octets":
                peaks = {who: memory(run) for who, run in work.items()}
                rows.append(Row(f"25 MB {case}: memory above it{name}", peaks, "MB", "8 MB", scale=1e-6))
        stock.quit()
        ours.quit()
    return rows


def memory(run: Callable[[], object]) -> float:
    """The most octets that Python has held at once beyond those of before."""
    tracemalloc.start()
    run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return float(peak)


def far_away(bench: Bench) -> list[Row]:
    """Over a link of 50 ms there and back: round trips, from connect() to the end of quit()."""
    rows = []
    for sink, name, target in ((bench.pipelining, "", "10.5"), (bench.chunking, ", CHUNKING", "9.5")):
        figures = {}
        with delaying(sink.port, ROUND_TRIP) as port:
            for who, connect in (("smtplib", bench.stock), ("smtpverify", bench.ours)):
                start = time.perf_counter()
                smtp = connect(port)
                smtp.sendmail(SENDER, HUNDRED, SMALL)
                smtp.quit()
                # The proxy accepts at once, and TCP's own round trip is missing.
                figures[who] = (time.perf_counter() - start) / ROUND_TRIP + 1
        rows.append(Row(f"round trips at 50 ms, 100 recipients{name}", figures, "", target, scale=1))
    return rows


CASES = {
    "connections": connections,
    "turns": turns,
    "one-connection": on_one_connection,
    "large": large,
    "far-away": far_away,
}
