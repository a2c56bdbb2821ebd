"""Tests that freeze the clock, or move it: time limits hold in real time, and good mail is delivered."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from smtpverify import TrustError, memory
from smtpverify.smtp import channel
from smtpverify.smtp.channel import Channel
from tests.bed import HOST, Pieces, Tls
from tests.bed.network import LOOPBACK
from tests.test_channel import Peer, tcp

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import ServerFactory

PATIENCE = 30.0  # seconds; Python and the libraries have to be loaded
LIMIT = 0.4

CLOCKS = {
    "freezegun": "from freezegun import freeze_time\nstopped = freeze_time('2012-01-14')",
    "freezegun, jumps": (
        "from freezegun import freeze_time\nstopped = freeze_time('2012-01-14', auto_tick_seconds=3600)"
    ),
    "time-machine": "import time_machine\nstopped = time_machine.travel('2012-01-14', tick=False)",
}
# The import, and how a client is made.
FACES = {
    "SMTP": ("from smtpverify import SMTP", "SMTP"),
    "injected": (
        "import smtplib, smtpverify; smtpverify.inject_into_smtplib()",
        "smtplib.SMTP",
    ),
}
over_clocks = pytest.mark.parametrize("clock", CLOCKS)
over_faces = pytest.mark.parametrize("face", FACES)
over_orders = pytest.mark.parametrize("order", ["imported before", "imported within"])


def run(clock: str, face: str, order: str, code: str) -> str:
    """Run code under a clock in a fresh interpreter, with `client` for the class; return what it prints."""
    imports, client = FACES[face]
    loaded = f"{imports}\nclient = {client}"
    before, within = (loaded, "") if order == "imported before" else ("", loaded)
    lines = "\n".join("    " + line for line in f"{within}\n{code}".splitlines())
    command = [sys.executable, "-W", "error", "-W", "ignore::UserWarning", "-c"]
    program = f"{CLOCKS[clock]}\n{before}\nwith stopped:\n{lines}\n"
    done = subprocess.run([*command, program], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.stderr == ""
    return done.stdout.strip()


class Silent:
    """A server that accepts one connection, and says nothing until the client leaves."""

    def __enter__(self) -> Silent:
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.settimeout(PATIENCE)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        return self

    def _accept(self) -> None:
        with self._listener.accept()[0] as connection:
            connection.settimeout(PATIENCE)
            assert connection.recv(1) == b""

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._listener.close()


@over_clocks
@over_faces
@over_orders
def test_a_silent_server(clock: str, face: str, order: str) -> None:
    with Silent() as server:
        code = (
            f"try:\n    client({LOOPBACK!r}, {server.port}, 'client.example.org', timeout={LIMIT})\n"
            "except OSError as error:\n    print(error)"
        )
        said = run(clock, face, order, code)
    ours = (
        f"{LOOPBACK}:{server.port}: no SMTP greeting came: the server did not answer within {LIMIT} seconds"
    )
    assert said == (ours if face == "SMTP" else "Connection unexpectedly closed: timed out")


@over_clocks
@over_faces
@over_orders
def test_a_good_server(smtp_server: ServerFactory, clock: str, face: str, order: str) -> None:
    """The certificate is valid by OpenSSL's clock, which stays the system's; a reply may come in pieces."""
    if sys.platform == "win32" and "jumps" in clock:
        pytest.skip("the clock that jumps is the only one here")
    greeting = Pieces(lambda: (b"220-mail\r\n", b"220-example\r\n220 ", b"org\r\n"), 0.01)
    with smtp_server(tls=Tls.STARTTLS, greeting=greeting) as server:
        code = (
            f"smtp = client({LOOPBACK!r}, {server.port}, 'client.example.org', timeout=20)\n"
            f"smtp._host = {HOST!r}\n"  # whom the certificate is for
            "smtp.starttls()\n"
            "print(smtp.sendmail('alice@example.org', ['bob@example.net'], 'hello'))\n"
            "smtp.quit()"
        )
        assert run(clock, face, order, code) == "{}"
    assert server.connections[0].handshake_done
    assert [message.data for message in server.connections[0].messages] == [b"hello\r\n"]


@over_clocks
@over_orders
def test_a_dripping_server(smtp_server: ServerFactory, clock: str, order: str) -> None:
    """The limit is for the whole reply, in real time too where the system has a clock that goes on."""
    if sys.platform == "win32":
        pytest.skip("only the length of a reply bounds it here")

    def drip() -> Any:
        yield b"220 "
        while True:
            yield b"x"

    with smtp_server(greeting=Pieces(drip, 0.05)) as server:
        code = (
            f"try:\n    client({LOOPBACK!r}, {server.port}, 'client.example.org', timeout={LIMIT})\n"
            "except OSError as error:\n    print(error)"
        )
        assert run(clock, "SMTP", order, code).endswith(f"the server did not answer within {LIMIT} seconds")


@over_faces
@pytest.mark.parametrize("clock", [clock for clock in CLOCKS if "jumps" not in clock])
def test_a_server_that_says_nothing_after_its_greeting(
    smtp_server: ServerFactory, clock: str, face: str
) -> None:
    with smtp_server(replies={"NOOP": b""}) as server:
        code = (
            f"smtp = client({LOOPBACK!r}, {server.port}, 'client.example.org', timeout=20)\n"
            f"smtp.sock.settimeout({LIMIT})\n"
            "try:\n    smtp.noop()\nexcept OSError as error:\n    print(error)"
        )
        said = run(clock, face, "imported before", code)
    assert said == (
        f"the server did not answer within {LIMIT} seconds"
        if face == "SMTP"
        else "Connection unexpectedly closed: timed out"
    )


# --- without a clock that goes on ------------------------------------------------------------------


@pytest.fixture
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    # What the channel has on Windows, where the clock can be frozen for it: no public name leads there.
    monkeypatch.setattr(channel, "now", lambda: 1.0)


@pytest.mark.usefixtures("no_clock")
@pytest.mark.parametrize("timeout", [None, 0.05, 0.15])
def test_a_wait_is_over_when_it_has_lasted_long_enough(timeout: float | None) -> None:
    ours, theirs = tcp()
    ours.settimeout(timeout)
    with ours, theirs:
        began = monotonic()
        with pytest.raises(TimeoutError, match=r"^the server did not answer within 0.3 seconds$"):
            Channel(ours).read(0.3)
        assert monotonic() - began > 0.25


@pytest.mark.usefixtures("no_clock")
def test_pieces_that_wait_for_one_another() -> None:
    """What a wait in vain has used up is used up, though octets come in between."""
    ours, theirs = tcp()
    ours.settimeout(0.2)

    def drip(ended: threading.Event) -> None:
        while not ended.wait(0.35):
            theirs.sendall(b"250-x\r\n")

    with ours, theirs, Peer(drip), pytest.raises(TimeoutError, match=r"within 1 second$"):
        Channel(ours).read(1)


@pytest.mark.usefixtures("no_clock")
def test_a_peer_that_does_not_read() -> None:
    ours, theirs = tcp()
    with ours, theirs, pytest.raises(TimeoutError, match=r"^the server took nothing for 0.3 seconds$"):
        Channel(ours).write(bytes(30_000_000), 0.3)


class Abandoned(socket.socket):
    """The system has given the connection up."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")


def test_a_timeout_of_the_system_s_is_none_of_ours() -> None:
    plain, theirs = tcp()
    ours = Abandoned(plain.family, plain.type, plain.proto, plain.detach())
    with theirs, ours, pytest.raises(TimeoutError) as caught:
        Channel(ours).read(300)
    assert caught.value.errno == errno.ETIMEDOUT


def test_a_lock_is_not_waited_for_endlessly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the known hosts, while another process holds it."""
    freezegun = pytest.importorskip("freezegun")
    monkeypatch.setattr(memory, "_PATIENCE", 0.05)  # in place of ten seconds
    file = tmp_path / "hosts"
    stopped, lock = freezegun.freeze_time("2012-01-14"), memory._alone(f"{file}.lock")
    with stopped, lock, pytest.raises(TrustError, match="another process holds it"):
        memory.remember_tls(str(file), "mail.example.org", 25)
