"""The page of the documentation that tells what came of a run."""

from __future__ import annotations

import platform
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bed import Tls
from tests.programs import RUN, Program
from tests.programs.trial import SERVERS, STRIPPED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.programs.trial import Got, Outcome

PAGE = Path(__file__).parents[2] / "docs" / "programs-table.md"
# A row of a program: its name, whether CI has it, and its version.
ROW = r"^\| ([^|\\]+?)(\\\*)? ([^ |]+) \| (STARTTLS|TLS) \|"
HEADS = {
    "unknown_issuer": "unknown CA",
    "wrong_name": "wrong name",
    "self_signed_leaf": "self-signed",
    "expired": "expired",
    STRIPPED: "STARTTLS taken out",
}
OFFERED = {Tls.STARTTLS: "STARTTLS", Tls.IMPLICIT: "TLS"}

INTRODUCTION = """\
# Programs that were tried

{count} programs and libraries, each of which sends one mail with a login, as its documentation shows for a
server that wants TLS and a password, to a good server and to impostors. Each runs in a process of its own, by
itself and with smtpverify, and what the servers got is what is told here; nothing was read off the code. The
results were written by

```sh
python -m tests.programs.run --write docs/programs-table.md
```

with {versions}. The good server got password and mail of each, by itself and with smtpverify.
With smtpverify no impostor got anything{without}.
CI tries that anew, with the newest versions, for all without a star.

## By themselves

*Password* and *mail* are what the impostor got; a mail counts as soon as an address was given away. *TLS* is
TLS from the first byte, where the program offers it, and works on this Python. Of {count} programs over
STARTTLS, and of {implicit} over TLS from the first byte, so many gave something away:

"""
LINES = """
## What makes them verify

[`smtpverify run PROGRAM…`](inject.md#run), or `smtpverify.inject_into_smtplib()` in a process of your own,
reaches all that sends by `smtplib`. The lines in the last column are told of on the pages for
[Django](django.md), [Mercurial](mercurial.md) and [others](programs.md). All of this was tried:

"""


@dataclass(frozen=True)
class Row:
    """A program, and what servers got of it by itself."""

    program: Program
    version: str
    alone: Outcome

    def given(self, tls: Tls) -> dict[str, Got]:
        """What impostors got that it met in this way, by their kind."""
        return {kind: got for (one, kind), got in self.alone.items() if one is tls and kind in HEADS}

    def text(self) -> str:
        """For a terminal, in short."""
        told = [f"{OFFERED[tls]}: {kind} got {what(got)}" for (tls, kind), got in self.alone.items()]
        return "\n  ".join([f"{self.program.name} {self.version}", *told])


def what(got: Got) -> str:
    """What a server was given, in words."""
    parts = [name for name, given in (("password", got.password), ("mail", got.mail)) if given]
    return ", ".join(parts) or ("something" if got.anything else "nothing")


def render(rows: Sequence[Row]) -> str:
    """Write the page."""
    page = INTRODUCTION.format(
        count=len(rows),
        implicit=sum(row.program.implicit for row in rows),
        versions=f"Python {platform.python_version()}, {' '.join(ssl.OPENSSL_VERSION.split()[:2])}",
        without=_without(rows),
    )
    return page + "".join([*_summary(rows), "\n", *_alone(rows), LINES, *_lines(rows)])


def _without(rows: Iterable[Row]) -> str:
    names = [row.program.name for row in rows if not row.program.ways]
    return f" (of {', '.join(names)} none did without it, and there is nothing to add)" if names else ""


def _summary(rows: Sequence[Row]) -> Iterator[str]:
    yield _head("")
    for tls, name in OFFERED.items():
        given = [row.given(tls) for row in rows if row.given(tls)]
        counts = [sum(kind in one and one[kind].anything for one in given) for kind in HEADS]
        yield _row(name, *(_count(count, kind, tls) for count, kind in zip(counts, HEADS, strict=True)))


def _count(count: int, kind: str, tls: Tls) -> str:
    return str(count) if kind in SERVERS[tls] else ""


def _alone(rows: Iterable[Row]) -> Iterator[str]:
    yield _head("", "")
    for row in rows:
        star = "" if row.program.in_ci else "\\*"
        for tls, name in OFFERED.items():
            given = row.given(tls)
            if given:
                cells = [_cell(given[kind]) if kind in given else "" for kind in HEADS]
                yield _row(f"{row.program.name}{star} {row.version}", name, *cells)


def _lines(rows: Iterable[Row]) -> Iterator[str]:
    yield _row("program", "under `smtpverify run`", "or, in its configuration or code")
    yield _row(*["---"] * 3)
    for row in rows:
        program = row.program
        reached = "verifies" if RUN in program.ways else "not reached: no `smtplib`"
        yield _row(program.name, reached, program.line)


def _head(*cells: str) -> str:
    return _row(*cells, *HEADS.values()) + _row(*["---"] * (len(cells) + len(HEADS)))


def _cell(got: Got) -> str:
    return f"✗ {what(got)}" if got.anything else "nothing"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"
