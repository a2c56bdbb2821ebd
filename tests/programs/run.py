"""Programs of others before a good server and before impostors, as they are and under `smtpverify run`.

Run as `python -m tests.programs.run [PROGRAM…]`, with a Python that has smtpverify, cryptography and the
programs installed; those that are missing are told, and left out. Prints a table of what each server got, and
fails where under injection a good server did not get the mail, or an impostor got anything.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bed import Behaviour, Server, Starttls, Tls, World
from tests.programs.adapters import HOST, PASSWORD, PROGRAMS

IMPOSTORS = ("unknown_issuer", "wrong_name", "self_signed_leaf", "expired", "no STARTTLS")
SERVERS = ("good", *IMPOSTORS)
INJECTED = ["-m", "smtpverify", "run"]
MISSING = "ModuleNotFoundError"


def behaviour(world: World, kind: str) -> Behaviour:
    if kind == "no STARTTLS":
        return Behaviour(tls=Tls.STARTTLS, starttls=Starttls.ABSENT)
    return Behaviour(tls=Tls.STARTTLS, certificate=world.served(kind, HOST))


def got(server: Server) -> str:
    """What a server was given: P for the password, M for the mail, and - for nothing."""
    passwords = [each.password for seen in server.connections for each in seen.credentials]
    password = "P" if any(PASSWORD in each for each in passwords) else ""
    mail = "M" if server.messages or server.leaked() else ""
    return (password + mail) or "-"


def send(world: World, name: str, kind: str, options: list[str]) -> tuple[str, str]:
    """What the server got of one program, and the last line that this told on standard error."""
    with Server(behaviour(world, kind)) as server:
        done = subprocess.run(
            [sys.executable, *options, "-m", "tests.programs.adapters", name, str(server.port)],
            check=False,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            env={
                **os.environ,
                "SSL_CERT_FILE": str(world.root_file),
                "SSL_CERT_DIR": str(world.empty_directory),
                "PROGRAMS_ARE_REMOTE": "1",
            },
        )
    told = done.stderr.strip().splitlines()
    return got(server), told[-1] if told else ""


def row(world: World, name: str) -> tuple[list[str], bool]:
    """What each server got, as `plain → injected`, and whether that is as it should be."""
    cells, right = [], True
    for kind in SERVERS:
        plain, told = send(world, name, kind, [])
        if told.startswith(MISSING):
            return [told], True
        injected, told = send(world, name, kind, INJECTED)
        cells.append(f"{plain} → {injected}")
        expected = "PM" if kind == "good" else "-"
        if injected != expected:
            right = False
            print(f"{name}, {kind}: got {injected}, not {expected}; {told}", file=sys.stderr)
    return cells, right


def main() -> int:
    """Print the table; return 0 where injection did what it should."""
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        world = World.make(Path(directory))
        print("".join(f"{title:17}" for title in ("program", *SERVERS)))
        for name in sys.argv[1:] or PROGRAMS:
            cells, right = row(world, name)
            failed += not right
            print("".join(f"{cell:17}" for cell in (name, *cells)), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
