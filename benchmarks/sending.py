"""Connect, verify, send one message, quit: our CPU beside smtplib's with a context made each time.

`ssl.create_default_context()` for each connection is how smtplib is used by those who verify at all. The
server is a process of its own, so that its work does not count; the roots are certifi's bundle and the
server's CA, as many as a system has.
"""

from __future__ import annotations

import smtplib
import ssl
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import certifi
import trustme

import smtpverify
from benchmarks.server import running_server

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGE = b"Subject: hello\r\n\r\nOne short message.\r\n"


def _deliver(client: smtplib.SMTP) -> None:
    client.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
    client.quit()


def _cpu(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def run(rounds: int = 150) -> float:
    """Measure, print, and return the ratio."""
    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as directory:
        roots = Path(directory) / "roots.pem"
        roots.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
        trust = smtpverify.Trust(roots)
        with running_server(authority.issue_cert("localhost")) as port:

            def plain(context: ssl.SSLContext) -> None:
                client = smtplib.SMTP("localhost", port, "client.example.org")
                client.starttls(context=context)
                _deliver(client)

            def verifying() -> None:
                plain(ssl.create_default_context(cafile=str(roots)))

            def ours() -> None:
                client = smtpverify.SMTP("localhost", port, "client.example.org", trust=trust)
                client.starttls()
                _deliver(client)

            shared = ssl.create_default_context(cafile=str(roots))
            peers = {
                "smtplib, a context each time": verifying,
                "smtplib, one context": lambda: plain(shared),
                "smtpverify": ours,
            }
            for work in peers.values():
                work()
            times: dict[str, list[float]] = {name: [] for name in peers}
            for _ in range(rounds):
                for name, work in peers.items():
                    times[name].append(_cpu(work))
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    ratio = medians["smtpverify"] / medians["smtplib, a context each time"]
    print("connect, STARTTLS, verify, send one message, quit (CPU of the client, median):")
    for name, seconds in medians.items():
        print(f"  {name:30}{seconds * 1000:7.2f} ms")
    print(f"  ratio {ratio:.3f} (to reach: at most 0.15)")
    return ratio
