"""The page of the documentation that tells what the tools said."""

from __future__ import annotations

import platform
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from tests.diagnosis import BROKEN, CA_FILE, GOOD, HOST, SUBJECTS
from tests.diagnosis.tools import TOOLS, versions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.diagnosis import Subject
    from tests.diagnosis.tools import Said

    # Subject's name -> tool's name -> what it said.
    Results = Mapping[str, Mapping[str, Said]]

PAGE = Path(__file__).parents[2] / "docs" / "diagnosis.md"
# A row of the summary: the server's name, in a link to its section.
ROW = r"^\| \[([^\]]+)\]\(#[a-z-]+\) \|"

INTRODUCTION = """\
# What each tool says

{count} servers, each broken in one way, and a good one, as three tools see them:
[`smtpverify check`](shell.md#smtpverify-check), Postfix's `posttls-finger`, and `openssl s_client`.

```sh
smtpverify check --cafile {ca} tls://{host}:25
posttls-finger -c -l secure -F {ca} '[127.0.0.1]:25' {host}
openssl s_client -connect {host}:25 -starttls smtp -verify_hostname {host} -verify_return_error -CAfile {ca}
```

Where TLS is expected from the first byte, the scheme is `smtps://`, `posttls-finger` has `-w`, and `openssl`
has no `-starttls`. The servers are those of the test bed, on loopback, at ports that show as 25 here. The
results were written by

```sh
{command}
```

with {versions}.

A tool *names the cause* if its words say what is wrong, in jargon or not. That an issuer is not known says so
of an unknown CA, and not where a known CA vouches for an issuer whose certificate was not sent. A *remedy* is
whatever says what to do. A tool that has not ended after {limit:g} seconds is killed.

## Summary

The exit status, and what was named. A status of 0 for a broken server is one that a script can't use.

"""

AFTERWORD = """
## Beside the point of this page

`posttls-finger` judges as Postfix on the same machine would, and knows DANE (TLSA records in DNS), which
smtpverify does not. Its verdict is in its text; the exit status tells only that it has run. `-c` leaves out
the SMTP dialogue, in which a reader would find that STARTTLS is missing. `openssl s_client` shows a handshake
in every detail, and speaks many protocols; it begins one even where STARTTLS is not to be had, and waits for
the answer. Neither is made to give advice.
"""


def render(results: Results, limit: float) -> str:
    """Write the page.

    Args:
        results: of all subjects.
        limit: after which a tool was killed, in seconds.
    """
    introduction = INTRODUCTION.format(
        count=len(BROKEN),
        ca=CA_FILE,
        host=HOST,
        command="python -m tests.diagnosis.run --write docs/diagnosis.md",
        versions=f"Python {platform.python_version()} ({' '.join(ssl.OPENSSL_VERSION.split()[:2])}), "
        + versions(),
        limit=limit,
    )
    sections = "".join("".join(_section(subject, results)) for subject in SUBJECTS)
    return introduction + "".join(_summary(results)) + sections + AFTERWORD


def _summary(results: Results) -> Iterator[str]:
    yield _row("what is wrong", *(f"`{tool.name}`" for tool in TOOLS))
    yield _row(*["---"] * (1 + len(TOOLS)))
    for subject in SUBJECTS:
        said = [results[subject.name][tool.name] for tool in TOOLS]
        yield _row(f"[{subject.name}](#{slug(subject.name)})", *(_cell(subject, each) for each in said))
    yield _row("**causes named**", *(f"**{_named(results, tool.name)} of {len(BROKEN)}**" for tool in TOOLS))


def _named(results: Results, tool: str) -> int:
    return sum(results[subject.name][tool].names(subject) for subject in BROKEN)


def _cell(subject: Subject, said: Said) -> str:
    if subject is GOOD:
        return _status(said)
    named = "cause" if said.names(subject) else "✗"
    return f"{_status(said)}: {named}{', remedy' if said.remedy else ''}"


def _status(said: Said) -> str:
    return "killed" if said.status is None else str(said.status)


def _section(subject: Subject, results: Results) -> Iterator[str]:
    yield f"\n## {subject.name}\n\n{subject.what}\n"
    for tool in TOOLS:
        said = results[subject.name][tool.name]
        status = "killed" if said.status is None else f"status {said.status}"
        yield f"\n`{tool.name}`, {status}:\n\n```text\n"
        yield "".join(f"{line}\n" for line in (*said.lines, said.remedy) if line) or "(nothing)\n"
        yield "```\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def slug(heading: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^a-z0-9 -]+", "", heading.lower()).replace(" ", "-")
