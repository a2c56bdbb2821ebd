"""The page of the documentation that tells what came of a run."""

from __future__ import annotations

import platform
import re
import ssl
from collections import Counter
from importlib import metadata
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING

from tests.hostile import CASES, GROUPS
from tests.hostile.judgement import MEMORY, TIMEOUTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tests.hostile.judgement import Outcome

PAGE = Path(__file__).parents[2] / "docs" / "hostile.md"
# A row of a case: its name, what the server does, the source, what a client must do.
CASE_ROW = r"^\| `([^`|]+)` \| [^|]+ \| [^|]+ \| ([a-z ]+) \|"

INTRODUCTION = """\
# Hostile servers

{count} servers, each of which misbehaves in one way, and what clients made of them. They are small functions
in `tests/hostile`; every client runs in a process of its own, which is measured from outside.

Whatever a server does, no client may

- give away an address, mail or a credential in plaintext, or in TLS to a server whose certificate proves
  nothing;
- believe in an extension that was announced in plaintext only;
- report as sent what the server did not accept, or make two messages of one;
- take longer than {timeouts} times its timeout, or {memory} MB of memory more than for a good server;
- leave a socket open, while the exception is handled or after it;
- raise what its documentation does not tell programs to catch (of `smtplib` and smtpverify that is
  `smtplib.SMTPException` and `OSError`), or with a text that could steer a terminal.

A server that answers each step just in time may take the timeout at every step (RFC 5321 4.5.3.2);
`slow_and_steady` does, within measure, and is a good one.

Besides, a client must

| | |
| --- | --- |
| `raise` | raise an exception |
| `raise within bounds` | do so before a server that tries to exceed the bounds |
| `complete` | log in and deliver |
| `end within bounds` | do the one or the other |

All clients do the same: connect, secure the connection, log in, send one message, take leave. Each has a
context that verifies; `smtplib` and smtpverify run the very same code. The results were written by

```sh
{command}
```

with {versions}.
Where a client did what it may not, there is a ✗ and the reason. CI runs all cases for smtpverify, and fails
at a ✗.

## Summary

"""


def render(results: Mapping[str, Sequence[Outcome]], timeout: float) -> str:
    """Write the page.

    Args:
        results: client -> outcomes, in the order of CASES.
        timeout: the clients', in seconds.
    """
    command = f"python -m tests.hostile.run --timeout {timeout:g} --write docs/hostile.md"
    page = INTRODUCTION.format(
        count=len(CASES),
        timeouts=TIMEOUTS,
        memory=MEMORY // 2**20,
        command=command,
        versions=versions(results),
    )
    return page + "".join(_summary(results)) + "".join(_tables(results))


def versions(clients: Iterable[str]) -> str:
    """What was measured."""
    names = [f"Python {platform.python_version()}", " ".join(ssl.OPENSSL_VERSION.split()[:2])]
    names += [f"{client} {metadata.version(client)}" for client in clients if client == "aiosmtplib"]
    return ", ".join(names)


def _summary(results: Mapping[str, Sequence[Outcome]]) -> Iterator[str]:
    yield _row("", *results)
    yield _row(*["---"] * (1 + len(results)))
    columns = [list(zip(CASES.values(), outcomes, strict=True)) for outcomes in results.values()]
    for group in GROUPS:
        of_group = [[outcome for case, outcome in column if case.group == group] for column in columns]
        yield _row(f"[{group}](#{slug(group)})", *map(_passed, of_group))
    yield _row("**all**", *(f"**{_passed(outcomes)}**" for outcomes in results.values()))
    yield "\nWhat went wrong, and in how many cases:\n\n"
    yield _row("", *results)
    yield _row(*["---"] * (1 + len(results)))
    counts = [Counter(map(_kind, chain(*(one.faults for one in column)))) for column in results.values()]
    for kind in sorted(set().union(*counts), key=lambda kind: -max(count[kind] for count in counts)):
        yield _row(kind, *(str(count[kind]) for count in counts))


def _passed(outcomes: Sequence[Outcome]) -> str:
    return f"{sum(not outcome.faults for outcome in outcomes)} of {len(outcomes)}"


def _kind(fault: str) -> str:
    """What several faults have in common."""
    if fault.startswith("gave away"):
        return "gave away password or mail"
    if fault.startswith("took"):
        return f"took too much {'memory' if fault.endswith('MB') else 'time'}"
    return fault


def _tables(results: Mapping[str, Sequence[Outcome]]) -> Iterator[str]:
    rows = zip(CASES.values(), *results.values(), strict=True)
    for group, of_group in groupby(rows, key=lambda row: row[0].group):
        yield f"\n## {group}\n\n"
        if GROUPS[group]:
            yield f"{GROUPS[group]}\n\n"
        yield _row("case", "the server", "source", "must", *results)
        yield _row(*["---"] * (4 + len(results)))
        for case, *outcomes in of_group:
            yield _row(f"`{case.name}`", case.what, case.source, case.must.value, *map(_cell, outcomes))


def _cell(outcome: Outcome) -> str:
    if outcome.faults:
        return "✗ " + "; ".join(outcome.faults)
    return f"`{outcome.report.error}`" if outcome.report.error else "completed"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def slug(heading: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
