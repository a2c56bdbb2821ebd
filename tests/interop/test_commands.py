"""`smtpverify send` before Postfix and Dovecot: what arrives, and the exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.servers import FULL, HOST, command
from tests.interop.test_servers import BODIES, HEAD, SENDER, arrived, to

if TYPE_CHECKING:
    from pathlib import Path

    from smtpverify import Trust
    from tests.interop.servers import Running


def send(*arguments: str, message: bytes, trust: Trust | None = None) -> Any:
    trusted = ["--cafile", str(trust.roots)] if trust else []
    return subprocess.run(
        [sys.executable, "-m", "smtpverify", "send", *arguments, *trusted],
        input=message,
        capture_output=True,
        timeout=60,
        check=False,
        start_new_session=True,
        env={**os.environ, "PYTHONUTF8": "1"},
    )


@pytest.mark.parametrize("body", BODIES)
def test_octet_for_octet(postfix: Running, trust: Trust, body: str) -> None:
    message = HEAD + BODIES[body]
    scheme, port = ("smtps", "implicit") if body == "dots" else ("tls", "starttls")
    url = f"{scheme}://{HOST}:{postfix.ports[port]}"
    run = send(url, "-i", "-f", SENDER, *to("bob"), message=message, trust=trust)
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")
    arrived(postfix.delivered("bob")[0], message)


def test_recipients_of_the_header(postfix: Running, trust: Trust) -> None:
    shown, hidden = f"To: {to('bob')[0]}\r\n".encode(), f"Bcc: {to('carol')[0]}\r\n".encode()
    url = f"tls://{HOST}:{postfix.ports['starttls']}"
    run = send(url, "-ti", message=HEAD + shown + hidden + b"\r\nhello\r\n", trust=trust)
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")
    for user in ("bob", "carol"):
        arrived(postfix.delivered(user)[0], HEAD + shown + b"\r\nhello\r\n")


def test_refusals(postfix: Running, trust: Trust) -> None:
    message = HEAD + b"\r\n" + b"hello\r\n" * 5000
    url, small = (f"tls://{HOST}:{postfix.ports[port]}" for port in ("starttls", "small"))
    some = send(url, *to("bob", "nobody"), message=message, trust=trust)
    assert some.returncode == 1
    assert some.stderr.startswith(b"smtpverify send: refused: nobody@example.net: 550 5.1.1 ")
    arrived(postfix.delivered("bob")[0], message)
    assert send(url, *to("nobody", "noone"), message=message, trust=trust).returncode == 67
    assert send(small, *to("bob"), message=message, trust=trust).returncode == 65
    impostor = send(url, *to("bob"), message=message)  # of whose CA nobody knows
    assert impostor.returncode == 77
    assert b"issued by " in impostor.stderr


def test_known_by_its_key(postfix: Running, certificate: Path) -> None:
    """Of no CA that anybody knows, and trusted by the fingerprint that openssl shows of its own file."""
    shown = subprocess.run(
        [command("openssl"), "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256"],
        check=True,
        capture_output=True,
        text=True,
    )
    message = HEAD + b"\r\nhello\r\n"
    urls = [
        f"{scheme}://{HOST}:{postfix.ports[port]}"
        for scheme, port in (("tls", "starttls"), ("smtps", "implicit"), ("smtp+tls", "starttls"))
    ]
    assert send(urls[0], *to("bob"), message=message).returncode == 77
    trusting = subprocess.run(
        [sys.executable, "-m", "smtpverify", "trust", "--fingerprint", shown.stdout.strip(), urls[0]],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert (trusting.returncode, trusting.stderr) == (0, "")
    for url in urls:
        run = send(url, *to("bob"), message=message)
        assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")
    for delivered in postfix.delivered("bob", len(urls)):
        arrived(delivered, message)


def test_lmtp(dovecot: Running) -> None:
    message = HEAD + b"\r\nhello\r\n"
    url = f"lmtp://{dovecot.path}"
    some = send(url, "-f", SENDER, "--to", "bob", "--to", FULL, "--to", "nobody", message=message)
    assert some.returncode == 1
    first, second = sorted(some.stderr.decode().splitlines())
    assert first.startswith(f"smtpverify send: refused: {FULL}: 552 5.2.2 ")
    assert second.startswith("smtpverify send: refused: nobody: 550 5.1.1 ")
    arrived(dovecot.delivered("bob")[0], message)
    for user in ("nobody", FULL):
        assert send(url, "-f", SENDER, "--to", user, message=message).returncode == 67
