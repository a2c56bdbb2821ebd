"""`smtpverify login`, as a process: what it prints, what it asks for, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.bed import HOST, Behaviour, Tls, closed_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed import World
    from tests.conftest import ServerFactory

# The process has the system's resolver, which knows no name of ours but this one.
PLACE = "localhost"


def login(*arguments: str, typed: str = "", home: Path, **environment: str) -> Any:
    """Run the command with an empty home; `typed` is what comes on standard input."""
    return subprocess.run(
        [sys.executable, "-m", "smtpverify", "login", *arguments],
        input=typed,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=30,
        check=False,
        env={
            **os.environ,
            "HOME": str(home),
            "PYTHONUTF8": "1",
            "PYTHON_KEYRING_BACKEND": NO_RING,
            **environment,
        },
    )


NO_RING = "keyring.backends.null.Keyring"


@pytest.fixture
def good(world: World) -> Behaviour:
    return Behaviour(tls=Tls.STARTTLS, certificate=world.good(PLACE))


def test_asked_for_the_password(smtp_server: ServerFactory, good: Behaviour, tmp_path: Path) -> None:
    with smtp_server(good) as server:
        run = login(f"tls://alice@{PLACE}:{server.port}", typed="s3cret\n", home=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    first, second = run.stdout.splitlines()
    assert first.startswith(f"✓ {PLACE}: certificate for {PLACE}, issued by CN=Bed Root")
    assert second == "✓ logged in as alice by PLAIN"
    (credential,) = server.connections[0].credentials
    assert (credential.username, credential.password) == ("alice", "s3cret")
    assert server.connections[0].closed_cleanly
    assert server.messages == []


def test_the_password_of_the_url_and_of_the_environment(
    smtp_server: ServerFactory, good: Behaviour, tmp_path: Path
) -> None:
    with smtp_server(good) as server:
        at = f"{PLACE}:{server.port}"
        assert login(f"tls://alice:s3cret@{at}", home=tmp_path).returncode == 0
        named = login(f"tls://alice@{at}?password-env=P&auth=login", home=tmp_path, P="s3cret")
    assert named.stdout.endswith("logged in as alice by LOGIN\n")
    assert [each.credentials[0].password for each in server.connections] == ["s3cret", "s3cret"]


def test_a_refused_login(smtp_server: ServerFactory, good: Behaviour, tmp_path: Path) -> None:
    with smtp_server(good, auth_reply="535 5.7.8 No") as server:
        run = login(f"tls://alice@{PLACE}:{server.port}", typed="s3cret\n", home=tmp_path)
    assert (run.returncode, run.stdout) == (77, "")
    told = f"{PLACE}:{server.port}: the server refused PLAIN: 535 5.7.8 No; it offers PLAIN, LOGIN\n"
    assert run.stderr == f"smtpverify login: {told}"


def test_a_login_that_may_succeed_later(smtp_server: ServerFactory, good: Behaviour, tmp_path: Path) -> None:
    with smtp_server(good, auth_reply="454 4.7.0 Later") as server:
        run = login(f"tls://alice:s3cret@{PLACE}:{server.port}", home=tmp_path)
    assert (run.returncode, run.stdout) == (75, "")


def test_what_comes_of_quit_is_no_matter(smtp_server: ServerFactory, good: Behaviour, tmp_path: Path) -> None:
    with smtp_server(good, replies={"QUIT": b""}, closes_after=("QUIT",)) as server:
        run = login(f"tls://alice:s3cret@{PLACE}:{server.port}", home=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.endswith("logged in as alice by PLAIN\n")


def test_an_impostor(smtp_server: ServerFactory, world: World, tmp_path: Path) -> None:
    """Nothing is asked for, and nothing said to it; the remedy is told."""
    with smtp_server(tls=Tls.STARTTLS, certificate=world.served("unknown_issuer", PLACE)) as server:
        run = login(f"tls://alice@{PLACE}:{server.port}", typed="s3cret\n", home=tmp_path)
    assert (run.returncode, run.stdout) == (77, "")
    first, *remedy = run.stderr.splitlines()
    assert first.startswith(
        f"smtpverify login: {PLACE}:{server.port}: the certificate was issued by CN=Elsew"
    )
    assert len(remedy) > 1
    assert all(line.startswith("  ") and len(line) <= 80 for line in remedy)
    assert server.connections[0].leaked() == []


def test_whom_to_trust(smtp_server: ServerFactory, world: World, tmp_path: Path) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.served("unknown_issuer", PLACE)) as server:
        at = f"tls://alice:s3cret@{PLACE}:{server.port}"
        trusted = login(at, "--cafile", str(world.unknown_file), home=tmp_path)
        unpinned = login(
            at, "--cafile", str(world.unknown_file), "--pin", "sha256:" + "0" * 64, home=tmp_path
        )
    assert (trusted.returncode, trusted.stderr) == (0, "")
    assert (unpinned.returncode, unpinned.stdout) == (77, "")
    assert server.connections[1].leaked() == []


def test_verbose(smtp_server: ServerFactory, good: Behaviour, tmp_path: Path) -> None:
    with smtp_server(good) as server:
        run = login(f"tls://alice@{PLACE}:{server.port}", "-v", typed="s3cret\n", home=tmp_path)
    assert run.returncode == 0
    assert run.stdout.endswith("\n✓ logged in as alice by PLAIN\n")
    lines = run.stderr.splitlines()
    assert lines[0] == f"  connecting to 127.0.0.1 port {server.port}"
    assert "→ AUTH PLAIN ***" in lines
    assert "s3cret" not in run.stderr


@pytest.mark.parametrize(
    ("url", "typed", "status", "told"),
    [
        (HOST, "", 64, "user: it is missing, as in tls://alice@mail.example.org:587"),
        ("tls://alice@a..b", "", 64, "host: "),
        (
            f"tls://alice@{HOST}?password-env=NOT_SET",
            "",
            64,
            "password-env: the environment variable NOT_SET is not set",
        ),
        ("tls://alice:s3cret@[::1", "", 64, "host: "),
    ],
)
def test_usage(tmp_path: Path, url: str, typed: str, status: int, told: str) -> None:
    run = login(url, typed=typed, home=tmp_path)
    assert (run.returncode, run.stdout) == (status, "")
    assert run.stderr.startswith(f"smtpverify login: {told}")
    assert "s3cret" not in run.stderr


def test_no_password(smtp_server: ServerFactory, good: Behaviour, tmp_path: Path) -> None:
    with smtp_server(good) as server:
        run = login(f"tls://alice@{PLACE}:{server.port}", home=tmp_path)
    assert (run.returncode, run.stderr) == (64, "smtpverify login: no password was given\n")
    assert server.connections[0].leaked() == []


def test_nobody_there(tmp_path: Path) -> None:
    with closed_port() as port:
        run = login(f"tls://alice@127.0.0.1:{port}", typed="s3cret\n", home=tmp_path)
    assert (run.returncode, run.stdout) == (75, "")
    where = f"tls://alice@127.0.0.1:{port}: no connection to 127.0.0.1 port {port}"
    assert run.stderr == f"smtpverify login: {where} (Connection refused)\n"


def test_no_starttls(smtp_server: ServerFactory, tmp_path: Path) -> None:
    with smtp_server() as server:
        run = login(f"tls://alice@{PLACE}:{server.port}", typed="s3cret\n", home=tmp_path)
    assert (run.returncode, run.stdout) == (69, "")
    said, *remedy = run.stderr.splitlines()
    assert said == f"smtpverify login: {PLACE}:{server.port}: the server does not offer STARTTLS"
    assert remedy[0].startswith("  ")


def test_a_fallback_to_plaintext(smtp_server: ServerFactory, tmp_path: Path) -> None:
    with smtp_server() as server:
        run = login(f"smtp+tls://alice@{PLACE}:{server.port}", typed="s3cret\n", home=tmp_path)
    assert (run.returncode, run.stdout.splitlines()[1]) == (0, "✓ logged in as alice by PLAIN")
    assert " ".join(run.stderr.split()).startswith(
        f"warning: smtp+tls://alice@{PLACE}:{server.port}: going on in plaintext, since "
    )
    assert ".py" not in run.stderr


def test_help(tmp_path: Path) -> None:
    run = login("--help", home=tmp_path)
    assert run.returncode == 0
    assert "smtpverify login tls://alice@mail.example.org:587" in run.stdout
