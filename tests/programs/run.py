"""Programs of others before a good server and before impostors: by themselves, and with smtpverify.

Run as `python -m tests.programs.run [PROGRAM…] [--write PAGE]`, with a Python that has smtpverify, the
dependency groups `interop` and `programs`, c7n-mailer and salt; what is missing is told, and left out. Ends
with status 1, and writes no page, where a good server did not get password and mail, or with smtpverify an
impostor got anything.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bed import World
from tests.programs import ALONE, PROGRAMS, Program
from tests.programs.page import Row, render
from tests.programs.trial import faults, meet, version


def row(world: World, program: Program, of_version: str) -> tuple[Row, list[str]]:
    """A program's row of the table, and what went wrong."""
    alone, told = meet(world, program, ALONE)
    wrong = [(ALONE, fault, told) for fault in faults(alone, impostors=not program.ways)]
    for way in program.ways:
        outcome, told = meet(world, program, way)
        wrong += [(way, fault, told) for fault in faults(outcome)]
    return Row(program, of_version, alone), [
        f"{program.name}, {way}: {fault}\n{told}" for way, fault, told in wrong
    ]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.programs.run", description="Try programs.")
    parser.add_argument("program", nargs="*", default=[*PROGRAMS], help="all if none is given")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the page with the results")
    arguments = parser.parse_args()
    chosen = [(PROGRAMS[name], version(PROGRAMS[name])) for name in arguments.program]
    rows, failed = [], False
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(os.cpu_count()) as pool:
        world = World.make(Path(directory))
        running = {
            program.name: pool.submit(row, world, program, of_version)
            for program, of_version in chosen
            if of_version is not None
        }
        for program, _ in chosen:
            if program.name not in running:
                print(f"{program.name} is not installed", file=sys.stderr)
                continue
            made, wrong = running[program.name].result()
            rows.append(made)
            failed = failed or bool(wrong)
            print(made.text(), *wrong, sep="\n", flush=True)
    if arguments.write is not None and not failed:
        arguments.write.write_text(render(rows), "utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
