"""One program before a good server and before impostors, in a process of its own, and what they got."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bed import Behaviour, Server, Starttls, Tls
from tests.programs import ALONE, HOST, PASSWORD, RUN, Program

if TYPE_CHECKING:
    from tests.bed import World

ROOT = Path(__file__).parents[2]
GOOD, STRIPPED = "good", "no STARTTLS"
CERTIFICATES = ("unknown_issuer", "wrong_name", "self_signed_leaf", "expired")
# What there is to be offered, and the servers for it.
SERVERS = {Tls.STARTTLS: (GOOD, *CERTIFICATES, STRIPPED), Tls.IMPLICIT: (GOOD, *CERTIFICATES)}
PATIENCE = 50  # seconds for all of a program's mails
PYTHON = {ALONE: [], RUN: ["-m", "smtpverify", "run"]}


@dataclass(frozen=True)
class Got:
    """What a server was given."""

    password: bool
    mail: bool
    lines: int  # that gave anything away, be it a user's name
    connections: int

    @classmethod
    def by(cls, server: Server) -> Got:
        credentials = [one.password for seen in server.connections for one in seen.credentials]
        password = any(PASSWORD in each for each in credentials)
        lines = server.leaked()
        addresses = any(line.upper().startswith(("MAIL FROM:", "RCPT TO:")) for line in lines)
        return cls(password, bool(server.messages) or addresses, len(lines), len(server.connections))

    @property
    def anything(self) -> bool:
        return self.password or self.mail or self.lines > 0

    @property
    def everything(self) -> bool:
        return self.password and self.mail


# By what was asked for, and the server.
Outcome = dict[tuple[Tls, str], Got]


def version(program: Program) -> str | None:
    """The program's version, or None where it is not installed."""
    if not program.distribution:
        return platform.python_version()
    try:
        return metadata.version(program.distribution)
    except metadata.PackageNotFoundError:
        return None


def servers(program: Program) -> list[tuple[Tls, str]]:
    """All that it is to meet."""
    offered = [Tls.STARTTLS, *([Tls.IMPLICIT] if program.implicit else [])]
    return [(tls, kind) for tls in offered for kind in SERVERS[tls]]


def behaviour(world: World, tls: Tls, kind: str) -> Behaviour:
    if kind == STRIPPED:
        return Behaviour(tls=tls, starttls=Starttls.ABSENT)
    return Behaviour(tls=tls, certificate=world.served(kind, HOST))


def meet(world: World, program: Program, way: str) -> tuple[Outcome, str]:
    """Have a program send to all servers; return what they got, and what it said on standard error."""
    with ExitStack() as stack:
        met = {
            (tls, kind): stack.enter_context(Server(behaviour(world, tls, kind)))
            for tls, kind in servers(program)
        }
        addresses = [
            f"{'tls' if tls is Tls.IMPLICIT else 'starttls'}:{server.port}"
            for (tls, _), server in met.items()
        ]
        done = subprocess.run(
            [
                sys.executable,
                *PYTHON.get(way, []),
                "-m",
                "tests.programs.send",
                program.name,
                way,
                *addresses,
            ],
            check=False,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
            cwd=ROOT,
            env={
                **os.environ,
                "SSL_CERT_FILE": str(world.root_file),
                "SSL_CERT_DIR": str(world.empty_directory),
                "HGRCPATH": "",
            },
        )
    return {where: Got.by(server) for where, server in met.items()}, done.stderr


def faults(outcome: Outcome, *, impostors: bool = True) -> list[str]:
    """Who got what he should not have, or did not get what he should; of impostors only if asked for."""
    found = []
    for (tls, kind), got in outcome.items():
        where = f"{kind} ({tls.value})"
        if not got.connections:
            found.append(f"{where} was never called")
        elif (not got.everything) if kind == GOOD else (impostors and got.anything):
            found.append(f"{where} got {got}")
    return found
