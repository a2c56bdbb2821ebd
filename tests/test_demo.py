"""`smtpverify demo`, in processes of its own and in this one."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import platform
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from smtpverify import cli
from smtpverify.cli import _demo_acts, _demo_clients, _demo_servers, demo
from smtpverify.cli._demo_certs import mint
from smtpverify.cli._demo_servers import Offer, Service, serving
from smtpverify.smtp.client import SMTP
from smtpverify.tls.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpverify.cli._demo_certs import Certificates
    from smtpverify.tls.identity import PeerIdentity

ROOT = Path(__file__).parent.parent
STRICT = [sys.executable, "-W", "error", "-X", "dev"]
DEMO = [*STRICT, "-m", "smtpverify", "demo"]
IMPOSTORS = ("wrong name", "unknown CA", "self-signed", "expired", "text injected", "no STARTTLS*")
VERDICT = "smtplib gave them all the password and the mail; smtpverify, nothing."
ACCOUNT = ("alice", "secret")
SECONDS = 30

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals of Unix")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("NO_COLOR", "COLUMNS", "PYTHONIOENCODING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("PYTHONUTF8", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def finish(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, check=False, capture_output=True, encoding="utf-8", cwd=ROOT, timeout=SECONDS
    )


def row(output: str, name: str) -> list[str]:
    """The cells of the first line of an impostor's row."""
    (line,) = (line for line in output.splitlines() if line.startswith(f"{name} "))
    return re.split(r" {2,}", line)


# --- as a process --------------------------------------------------------------------------------


def test_the_whole(tmp_path: Path) -> None:
    done = finish(DEMO)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == f"✓ {VERDICT}"
    assert max(map(len, lines)) <= 80
    assert list(tmp_path.iterdir()) == []


def test_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = finish(DEMO)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    lines = done.stdout.splitlines()
    assert lines[-1] == f"+ {VERDICT}"
    assert max(map(len, lines)) <= 80
    assert row(done.stdout, "expired")[1:3] == ["x password, mail", "+ nothing"]


@posix
@pytest.mark.parametrize(
    ("name", "value", "colour"), [("TERM", "xterm", True), ("NO_COLOR", "1", False), ("TERM", "dumb", False)]
)
def test_a_terminal(name: str, value: str, colour: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    shown = on_a_terminal(DEMO)
    assert (f"\x1b[32m✓ {VERDICT}\x1b[0m" if colour else f"\n✓ {VERDICT}") in shown
    assert ("\x1b[1;31m✗ password, mail\x1b[0m" in shown) is colour
    assert ("\x1b" in shown) is colour


def on_a_terminal(command: list[str]) -> str:
    """Run a command whose standard output is a terminal; return what it shows there."""
    if sys.platform == "win32":
        raise NotImplementedError
    import pty

    ours, its = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        try:
            process = subprocess.Popen(command, stdout=its, stderr=subprocess.PIPE, cwd=ROOT)
        finally:
            os.close(its)
        shown = bytearray()
        with process:
            while piece := read(screen):
                shown += piece
            assert process.stderr is not None
            assert process.stderr.read() == b""
        assert process.returncode == 0
    return shown.decode().replace("\r\n", "\n")


def read(screen: Any) -> bytes:
    try:
        return bytes(screen.read(4096))
    except OSError:  # how Linux says that nobody writes any more
        return b""


@pytest.mark.parametrize("missing", ["aiosmtpd", "trustme"])
def test_the_extra_is_missing(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f"import sys\nsys.modules[{missing!r}] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(site))
    done = finish(DEMO)
    assert (done.returncode, done.stdout) == (69, "")
    assert re.fullmatch(
        rf"smtpverify demo: .*{missing}.*; .* pip install 'smtpverify\[demo\]'\n", done.stderr
    )
    assert finish([*DEMO, "--help"]).returncode == 0


def test_the_extra_is_missing_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    assert cli.main(["demo"]) == 69
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "pip install 'smtpverify[demo]'" in shown.err


# The demo, of which one client tells when it is where it should be, and stays there until its server ends.
STAY = """
import signal, socket, sys
from smtpverify.cli import _demo_clients, main
from smtpverify.relay import Relay

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background process ignores it

def stay(host, port):
    with socket.create_connection((host, port)) as sock, sock.makefile("rb") as file:
        for command, code in {dialogue!r}:
            sock.sendall(command)
            while not file.readline().startswith(code):
                pass
        print("HERE", flush=True)
        file.read()

def by_url(url, errand):
    relay = Relay.parse(url)
    stay(relay.host, relay.port)

def where_offered(smtp_class, errand, host, port):
    stay(host, port)

_demo_clients.{client} = {client}
sys.exit(main(["demo"]))
"""
GREETING = (b"", b"220 ")
EHLO = (b"EHLO localhost\r\n", b"250 ")
STARTTLS = (b"STARTTLS\r\n", b"220 ")


@posix
@pytest.mark.parametrize(
    ("client", "dialogue"),
    [
        pytest.param("by_url", [GREETING, EHLO], id="in plaintext"),
        pytest.param("by_url", [GREETING, EHLO, STARTTLS], id="in a handshake"),
        pytest.param("where_offered", [GREETING], id="in the second act"),
    ],
)
def test_ctrl_c(client: str, dialogue: list[tuple[bytes, bytes]], tmp_path: Path) -> None:
    program = STAY.format(client=client, dialogue=dialogue)
    with subprocess.Popen(
        [*STRICT, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", cwd=ROOT
    ) as process:
        try:
            assert process.stdout is not None
            while process.stdout.readline() not in ("HERE\n", ""):
                pass
            assert len(list(tmp_path.iterdir())) == 1
            process.send_signal(signal.SIGINT)
            told = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert (process.returncode, *told) == (130, "", "")
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.parametrize(
    ("number", "raised"), [(None, None), (signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, cli.Terminated)]
)
def test_a_signal_cancels_the_play_and_nothing_else(
    number: signal.Signals | None, raised: type[BaseException] | None
) -> None:
    ended: list[str] = []

    async def main() -> int:
        try:
            if number is not None:
                signal.raise_signal(number)
                await asyncio.Event().wait()
        finally:
            ended.append("orderly")
        return 5

    if raised is not None:
        with pytest.raises(raised) as caught:
            asyncio.run(demo.cancelled_by_signals(main()))
        assert caught.type is raised
    else:
        assert asyncio.run(demo.cancelled_by_signals(main())) == 5
    assert ended == ["orderly"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


# --- in this process: what is told ---------------------------------------------------------------


def play(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run the demo here; return its status and what it told."""
    status = cli.main(["demo"])
    shown = capsys.readouterr()
    assert shown.err == ""
    return status, shown.out


def test_who_got_what(capsys: pytest.CaptureFixture[str]) -> None:
    status, told = play(capsys)
    assert status == 0
    for name in IMPOSTORS:
        assert row(told, name)[1:3] == ["✗ password, mail", "✓ nothing"]
    assert told.endswith(f"\n\n✓ {VERDICT}\n")


def test_why_smtpverify_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # all but one in one line
    _, told = play(capsys)
    reasons = [row(told, name)[3] for name in IMPOSTORS]
    assert reasons[:3] == [
        "the certificate is valid for mail.example.net, not for localhost",
        "the certificate was issued by OU=CA,O=Rogue, which is not trusted",
        "the certificate is self-signed (CN=anybody): nobody vouches for it",
    ]
    assert re.fullmatch(r"the certificate expired on [-0-9]+ [:0-9]+ UTC, 1 day ago", reasons[3])
    assert reasons[4:] == [
        r"plaintext came behind the change to TLS: '250 read me\x0d\x0a'",
        "the server does not offer STARTTLS",
    ]


def test_the_mail_and_who_got_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    errands: list[_demo_clients.Errand] = []
    peers: list[PeerIdentity] = []

    def by_url(url: str, errand: _demo_clients.Errand, original: Any = _demo_clients.by_url) -> Any:
        errands.append(errand)
        peers.append(original(url, errand))
        return peers[-1]

    monkeypatch.setattr(_demo_clients, "by_url", by_url)
    status, told = play(capsys)
    assert status == 0
    assert re.search(r"^✓ tls://alice:\*\*\*@localhost:\d+\?cafile=… +STARTTLS$", told, re.MULTILINE)
    assert re.search(r"^✓ smtps://alice:\*\*\*@localhost:\d+\?cafile=… +TLS from the", told, re.MULTILINE)
    assert errands[0].password not in told
    mail = errands[0].wire.decode().replace("\r\n", "\n")
    assert "\n.A line that begins with a dot" in mail
    quoted = "".join(f"  │ {line}".rstrip() + "\n" for line in mail.splitlines())
    assert told.count(quoted) == 1  # the same by both ways
    assert (
        {str(peer.reference.text) for peer in peers} == {str(peer.matched) for peer in peers} == {"localhost"}
    )
    assert (
        "  │ reference  localhost\n"
        "  │ matched    localhost, in a certificate by OU=trusted CA,O=smtpverify demo\n"
        f"  │ over       {peers[0].tls_version}, {peers[0].cipher}\n"
    ) in told


def test_the_code_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    _, told = play(capsys)
    assert 'smtp = SMTP("localhost", port)\n' in told
    assert "smtp.starttls(); smtp.login(user, password); smtp.send_message(message)\n" in told
    assert "smtplib.SMTP, and with partial(smtpverify.SMTP, trust=Trust(cafile))" in told
    note = told[told.index("\n* ") :]
    assert """'if smtp.has_extn("starttls")'""" in note
    assert '"tls://localhost"' in note


def test_nothing_is_left_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = threading.enumerate()
    status, _ = play(capsys)  # an open socket would be a warning, and so an error
    assert status == 0
    assert threading.enumerate() == threads
    assert list(tmp_path.iterdir()) == []


# --- in this process: when things go wrong -------------------------------------------------------


def faults(told: str) -> list[str]:
    """The faults that stand in the place of the verdict."""
    assert VERDICT not in told
    last = told[told.rindex("\n\n") + 2 :].replace("\n  ", " ")
    return [line.removeprefix("✗ ") for line in last.splitlines()]


def test_smtpverify_gives_everything_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def careless(host: str, port: int, *, trust: object, **options: Any) -> smtplib.SMTP:
        return smtplib.SMTP(host.removeprefix("tls://"), port, **options)

    monkeypatch.setattr(_demo_acts, "SMTP", careless)
    status, told = play(capsys)
    assert status == 1
    assert row(told, "expired")[1:3] == ["✗ password, mail", "✗ password, mail"]
    assert faults(told) == [f"{name}: smtpverify gave the password and the mail away" for name in IMPOSTORS]


def test_smtpverify_gives_the_password_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Careless(smtplib.SMTP):
        def __init__(self, host: str, *arguments: Any, trust: object, **options: Any) -> None:
            super().__init__(host.removeprefix("tls://"), *arguments, **options)

        def send_message(self, *arguments: Any, **options: Any) -> dict[str, tuple[int, bytes]]:
            raise smtplib.SMTPDataError(554, b"no")

    monkeypatch.setattr(_demo_acts, "SMTP", Careless)
    status, told = play(capsys)
    assert status == 1
    assert row(told, "expired")[1:3] == ["✗ password, mail", "✗ password"]
    assert faults(told)[0] == "wrong name: smtpverify gave the password away"


def test_smtpverify_fails_for_another_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unplugged(*arguments: object, **options: object) -> smtplib.SMTP:
        raise OSError("the cable is out")

    monkeypatch.setattr(_demo_acts, "SMTP", unplugged)
    status, told = play(capsys)
    assert status == 1
    assert faults(told) == [
        f"{name}: smtpverify gave it nothing, but not for what it is: the cable is out" for name in IMPOSTORS
    ]


def test_smtpverify_refuses_for_another_cause(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = functools.partial(SMTP, server_hostname="elsewhere.example.org")
    monkeypatch.setattr(_demo_acts, "SMTP", refused)
    status, told = play(capsys)
    assert status == 1
    assert faults(told)[0].startswith("expired: smtpverify gave it nothing, but not for what it is: the cert")


def test_a_client_that_does_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_demo_clients, "where_offered", lambda smtp_class, errand, host, port: None)
    status, told = play(capsys)
    assert status == 1
    no_mail, no_loot = faults(told)
    assert no_mail == "no STARTTLS*: smtpverify gave it nothing, but not for what it is: no error"
    assert no_loot.startswith("no STARTTLS*: smtplib, which has never verified a server, did not give it ")
    assert row(told, "no STARTTLS*")[1:] == ["✓ nothing", "✓ nothing", "no error"]


def test_smtplib_refuses(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def starttls(smtp: smtplib.SMTP, **options: object) -> None:
        raise ssl.SSLCertVerificationError(1, "a new smtplib")

    monkeypatch.setattr(smtplib.SMTP, "starttls", starttls)
    status, told = play(capsys)
    assert status == 1
    assert faults(told) == [
        f"{name}: smtplib, which has never verified a server, did not give it everything; "
        f"this is that of Python {platform.python_version()}: a new smtplib"
        for name in IMPOSTORS[:-1]
    ]
    assert row(told, "expired")[1:3] == ["✓ nothing", "✓ nothing"]


def with_each_url(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Let `change(original, url, errand)` stand in for the client that sends by URL."""
    monkeypatch.setattr(_demo_clients, "by_url", functools.partial(change, _demo_clients.by_url))


def test_altered_mail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def alter(original: Any, url: str, errand: _demo_clients.Errand) -> Any:
        return original(url, replace(errand, message=_demo_clients.Errand.make().message))

    with_each_url(monkeypatch, alter)
    status, told = play(capsys)
    assert status == 1
    assert faults(told) == [
        "tls://: the mail did not arrive as it was sent",
        "smtps://: the mail did not arrive as it was sent",
    ]
    assert told.count("  What the server received:") == 2
    assert "\n✗ tls://alice:***@localhost:" in told


def test_mail_that_arrives_twice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def again(original: Any, url: str, errand: _demo_clients.Errand) -> Any:
        original(url, errand)
        return original(url, errand)

    with_each_url(monkeypatch, again)
    status, told = play(capsys)
    assert (status, faults(told)[0]) == (1, "tls://: the mail did not arrive as it was sent")


def test_mail_that_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def log_in_wrongly(original: Any, url: str, errand: _demo_clients.Errand) -> Any:
        return original(url.replace(errand.password, "guess"), errand)

    with_each_url(monkeypatch, log_in_wrongly)
    status, told = play(capsys)
    assert status == 1
    assert [fault.partition(": localhost")[0] for fault in faults(told)] == [
        "tls://: the mail was not sent",
        "smtps://: the mail was not sent",
    ]
    assert "5.7.8 Wrong user or password" in told
    assert "What the server received" not in told


def test_a_server_that_proved_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forget(original: Any, url: str, errand: _demo_clients.Errand) -> None:
        original(url, errand)

    with_each_url(monkeypatch, forget)
    status, told = play(capsys)
    assert status == 1
    assert faults(told)[1] == "smtps://: the mail was sent to a server that proved nothing"
    assert "smtp.peer" not in told


def test_no_loopback_address(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("192.0.2.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: elsewhere)
    assert cli.main(["demo"]) == 71
    assert capsys.readouterr().err == "smtpverify demo: localhost is not at a loopback address\n"


# --- the servers ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return mint(str(tmp_path_factory.mktemp("certificates")))


@contextmanager
def talk(port: int) -> Iterator[tuple[socket.socket, Any]]:
    """Connect, and give the socket, and a function that sends a line and returns the reply's last."""
    with socket.create_connection(("localhost", port), timeout=SECONDS) as sock, sock.makefile("rb") as file:

        def say(line: str) -> str:
            sock.sendall(f"{line}\r\n".encode() if line else b"")
            while (reply := file.readline().decode())[3:4] == "-":
                pass
            return reply.rstrip()

        assert say("").startswith("220 ")
        yield sock, say


def test_no_mail_before_login(certificates: Certificates) -> None:
    def client(port: int) -> None:
        with talk(port) as (_, say):
            assert say("EHLO client") == "250 HELP"
            assert say("MAIL FROM:<a@example.org>") == "530 5.7.0 Authentication required"
            assert say("AUTH PLAIN !") == "535 5.7.8 Wrong user or password"
            assert say("AUTH PLAIN AGFsaWNlAGd1ZXNz") == "535 5.7.8 Wrong user or password"
            assert say("MAIL FROM:<a@example.org>") == "530 5.7.0 Authentication required"
            assert say("AUTH PLAIN AGFsaWNlAHNlY3JldA==") == "235 2.7.0 Welcome"
            assert say("MAIL FROM:<a@example.org>") == "250 2.1.0 OK"
            assert say("QUIT").startswith("221 ")

    async def serve() -> _demo_servers.Server:
        async with serving(Service(certificates.good, Offer.NOTHING), ACCOUNT) as server:
            await server.visited_by(client, server.port)
        return server

    server = asyncio.run(serve())
    assert server.saw("secret")
    assert server.saw("a@example.org")
    assert not server.saw("b@example.org")
    assert server.deliveries == []


def test_what_came_by_each_of_two_connections_is_recorded(certificates: Certificates) -> None:
    def client(port: int) -> None:
        with talk(port) as (_, say_first):
            with talk(port) as (second, say_second):
                assert say_second("QUIT").startswith("221 ")
                assert second.recv(1000) == b""  # the server has closed it
            assert say_first("NOOP").startswith("250 ")

    async def serve() -> _demo_servers.Server:
        async with serving(Service(certificates.good), ACCOUNT) as server:
            await server.visited_by(client, server.port)
        return server

    assert asyncio.run(serve()).received == b"QUIT\r\nNOOP\r\n"


@pytest.mark.parametrize("send", [_demo_clients.as_documented, _demo_clients.where_offered])
def test_the_right_server_gets_the_mail_by_either_code(send: Any, certificates: Certificates) -> None:
    errand = _demo_clients.Errand.make()
    verifying = functools.partial(SMTP, trust=Trust(certificates.cafile))

    async def serve() -> _demo_servers.Server:
        async with serving(Service(certificates.good), (errand.user, errand.password)) as server:
            await server.visited_by(send, verifying, errand, "localhost", server.port)
        return server

    assert asyncio.run(serve()).deliveries == [errand.wire]


def test_a_visit_that_is_cancelled(certificates: Certificates) -> None:
    arrived = threading.Event()
    left = threading.Event()

    def client(port: int) -> None:
        with talk(port) as (sock, _):
            arrived.set()
            try:
                sock.recv(1000)
            finally:
                left.set()

    async def serve() -> None:
        async with serving(Service(certificates.good), ACCOUNT) as server:
            visit = asyncio.create_task(server.visited_by(client, server.port))
            await asyncio.to_thread(arrived.wait, SECONDS)
            visit.cancel()
            with pytest.raises(asyncio.CancelledError):
                await visit
            assert left.is_set()

    asyncio.run(serve())


def test_whoever_comes_after_the_end_is_broken_off(certificates: Certificates) -> None:
    def client(port: int) -> bytes:
        with socket.create_connection(("localhost", port), timeout=SECONDS) as sock:
            try:
                return sock.recv(1000)
            except ConnectionResetError:
                return b""

    async def serve() -> bytes:
        async with serving(Service(certificates.good), ACCOUNT) as server:
            server.abort()
            return await server.visited_by(client, server.port)

    assert asyncio.run(serve()) == b""


def test_an_address_that_this_machine_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.create_server

    def create_server(address: tuple[str, int], **options: Any) -> socket.socket:
        if address[0] == "::1":
            raise OSError("no IPv6")
        return real(address, **options)

    entries = [
        (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "create_server", create_server)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: entries)
    with _demo_servers._listen_on("localhost") as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
    del entries[1]
    with pytest.raises(OSError, match="no IPv6"):
        _demo_servers._listen_on("localhost")


@pytest.mark.parametrize(
    ("error", "told"), [(ConnectionResetError(), False), (ssl.SSLError(), False), (ValueError(), True)]
)
def test_only_broken_connections_are_passed_over(
    error: BaseException, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.set_exception_handler(_demo_servers.ignore_broken_connections)
        with caplog.at_level(logging.ERROR, "asyncio"):
            loop.call_exception_handler({"message": "trouble", "exception": error})
    finally:
        loop.close()
    assert ("trouble" in caplog.text) is told
