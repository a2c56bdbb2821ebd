"""How commands end that are not let alone: by a signal at any stage, or with streams that take nothing."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from smtpverify import cli
from tests.bed import Behaviour, Tls
from tests.bed.network import LOOPBACK

if TYPE_CHECKING:
    from tests.bed import World
    from tests.conftest import ServerFactory

PATIENCE = 40.0
PLACE = "localhost"
# What a server says, each behind what the client said before it; then it falls silent.
SAID = {
    "greeting": (),
    "EHLO": (b"220 mail.example.org ESMTP\r\n",),
    "handshake": (
        b"220 mail.example.org ESMTP\r\n",
        b"250-mail.example.org\r\n250 STARTTLS\r\n",
        b"220 2.0.0 Go on\r\n",
    ),
}
MESSAGE = ("-f", "alice@example.org", "bob@example.org", "--body", "Hello")
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
posix = pytest.mark.skipif(sys.platform == "win32", reason="wants signals, and streams to close")
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="wants a device that is full")


def environment(home: Path) -> dict[str, str]:
    left_out = ("PYTHONUNBUFFERED", "PYTHONIOENCODING")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    ring = "keyring.backends.null.Keyring"
    return {**kept, "HOME": str(home), "PYTHONUTF8": "1", "PYTHON_KEYRING_BACKEND": ring}


def shell(line: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of shell, in which `it` is the command."""
    it = f'it() {{ {sys.executable} -X dev -m smtpverify "$@"; }}; '
    return subprocess.run(
        ["/bin/sh", "-c", it + line],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        env=environment(home),
        start_new_session=True,
    )


# --- signals -------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("stage", list(SAID))
@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (("check", "{}"), signal.SIGINT),
        (("check", "-v", "{}", "{}"), signal.SIGTERM),
        (("pin", "{}"), signal.SIGTERM),
        (("login", "{}"), signal.SIGINT),
        (("send", "{}", *MESSAGE), signal.SIGTERM),
    ],
)
def test_a_signal(arguments: tuple[str, ...], number: signal.Signals, stage: str, tmp_path: Path) -> None:
    """No traceback, no warning of what was left open, no waiting for a thread, no file."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    # Of a socket that the standard library is about to connect, nobody else can take care.
    options = [] if stage == "greeting" else ["-X", "dev"]
    with socket.create_server((LOOPBACK, 0)) as listening:
        listening.settimeout(PATIENCE)
        url = f"tls://alice:s3cret@{LOOPBACK}:{listening.getsockname()[1]}"
        command = [sys.executable, *options, "-m", "smtpverify", *(each.format(url) for each in arguments)]
        with (
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                env={**environment(tmp_path), "TMPDIR": str(temporary)},
            ) as process,
            listening.accept()[0] as sock,
        ):
            sock.settimeout(PATIENCE)
            for line in SAID[stage]:
                sock.sendall(line)
                assert sock.recv(4096)
            process.send_signal(number)
            out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (STATUS[number], "")
    assert all(re.match(r"tls://alice:\*\*\*@\S+ (  connecting|[→←]) ?", line) for line in err.splitlines())
    assert bool(err) is ("-v" in arguments)
    assert list(temporary.iterdir()) == []


@posix
def test_sigterm_that_somebody_minds_stays_his(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def look(arguments: list[str]) -> int:
        seen.append(signal.getsignal(signal.SIGTERM))
        return 0

    monkeypatch.setattr(cli, "_run", look)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert cli.main([]) == 0
        assert seen == [signal.getsignal(signal.SIGTERM)] == [signal.SIG_IGN]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert cli.main([]) == 0
    assert callable(seen[1])
    assert signal.getsignal(signal.SIGTERM) is before


# --- streams -------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(smtp_server: ServerFactory, world: World, tmp_path: Path, closed: str) -> None:
    """What there is to say goes nowhere, and above all not into the other stream, or to the server."""
    with smtp_server(Behaviour(tls=Tls.STARTTLS, certificate=world.good(PLACE))) as server:
        at = f"{PLACE}:{server.port}"
        check = shell(f"it check -v {at} {closed}", tmp_path)
        send = shell(f"it send -v tls://{at} {' '.join(MESSAGE)} {closed}", tmp_path)
        help_ = shell(f"it send --help {closed}", tmp_path)
    assert (check.returncode, send.returncode, help_.returncode) == (0, 0, 0)
    assert bool(check.stdout) is (" >" not in f" {closed}".replace("2>", ""))
    assert bool(check.stderr) is bool(send.stderr) is ("2>" not in closed)
    assert send.stdout == help_.stderr == ""
    assert "Traceback" not in check.stderr + send.stderr
    assert len(server.messages) == 1
    assert all(connection.closed_cleanly for connection in server.connections)


@posix
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("it check --file - <&-", "check: standard input is closed"),
        ("it login tls://alice@{} <&-", "login: no password was given"),
        ("it send tls://{} bob@example.org <&-", "send: standard input is closed"),
    ],
)
def test_no_standard_input(
    smtp_server: ServerFactory, world: World, tmp_path: Path, line: str, told: str
) -> None:
    with smtp_server(Behaviour(tls=Tls.STARTTLS, certificate=world.good(PLACE))) as server:
        run = shell(line.format(f"{PLACE}:{server.port}"), tmp_path)
    assert run.returncode in (64, 66)
    assert (run.stdout, run.stderr) == ("", f"smtpverify {told}\n")


@full
@pytest.mark.parametrize(
    "line", ["--help", "--version", "explain tls://h", "explain --json tls://h", "run --print-environment"]
)
def test_a_full_device(tmp_path: Path, line: str) -> None:
    run = shell(f"it {line} >/dev/full", tmp_path)
    assert (run.returncode, run.stdout) == (71, "")
    assert "Traceback" not in shell(f"PYTHONUNBUFFERED=1 it {line} >/dev/full", tmp_path).stderr
    assert re.fullmatch(r"smtpverify.*: .*No space left on device\n", run.stderr)


@full
def test_nobody_reads_the_conversation(smtp_server: ServerFactory, world: World, tmp_path: Path) -> None:
    """The mail does not depend on it."""
    with smtp_server(Behaviour(tls=Tls.STARTTLS, certificate=world.good(PLACE))) as server:
        send = f"it send -v tls://{PLACE}:{server.port} {' '.join(MESSAGE)}"
        run = shell(f"{send} 2>/dev/full", tmp_path)
        piped = shell(f"{{ {send} 2>&1 >/dev/null; echo $? >&2; }} | true", tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    assert piped.stderr == "0\n"
    assert len(server.messages) == 2
    assert all(connection.closed_cleanly for connection in server.connections)


@full
def test_a_failure_that_can_not_be_told(tmp_path: Path) -> None:
    assert shell("it send tls://h bob@example.org 2>/dev/full", tmp_path).returncode == 65
    assert shell("it dance 2>/dev/full", tmp_path).returncode == 64
