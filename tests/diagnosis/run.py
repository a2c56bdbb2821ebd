"""Ask the tools about all servers: ``python -m tests.diagnosis.run [--limit SECONDS] [--write PAGE]``.

Needs posttls-finger (Debian's package postfix) and openssl. Ends with status 1 if smtpverify did not name
a cause.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bed import World
from tests.diagnosis import BROKEN, HOST, SUBJECTS
from tests.diagnosis.page import render
from tests.diagnosis.tools import TOOLS, MissingToolError

if TYPE_CHECKING:
    from tests.diagnosis.page import Results


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.diagnosis.run", description="Compare diagnoses.")
    parser.add_argument("--limit", type=float, default=10.0, help="for each tool and server, in seconds")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the page with the results")
    arguments = parser.parse_args()
    try:
        results = ask(arguments.limit)
        if arguments.write is not None:
            arguments.write.write_text(render(results, arguments.limit), "utf-8")
    except MissingToolError as error:
        parser.error(str(error))
    for tool in TOOLS:
        named = [subject for subject in BROKEN if results[subject.name][tool.name].names(subject)]
        print(f"{tool.name}: names the cause of {len(named)} of {len(BROKEN)}")
    return int(not all(results[subject.name]["smtpverify"].names(subject) for subject in BROKEN))


def ask(limit: float, jobs: int = 4) -> Results:
    """Ask each tool about each server.

    Args:
        limit: seconds until a tool is killed.
        jobs: so many at a time.
    """
    with tempfile.TemporaryDirectory(prefix="diagnosis-") as name, ThreadPoolExecutor(jobs) as pool:
        base = Path(name)
        world = World.make(base)
        (base / "main.cf").write_text("compatibility_level = 3.6\n", "ascii")
        for subject in SUBJECTS:
            world.served(subject.kind, HOST)  # here: two threads would make two of it
        asked = {
            subject.name: {tool.name: pool.submit(tool.ask, subject, world, base, limit) for tool in TOOLS}
            for subject in SUBJECTS
        }
        return {
            name: {tool: future.result() for tool, future in of_subject.items()}
            for name, of_subject in asked.items()
        }


if __name__ == "__main__":
    sys.exit(main())
