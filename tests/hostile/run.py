"""Let clients meet all hostile servers: ``python -m tests.hostile.run [--client NAME]… [--write PAGE]``.

Needs aiosmtplib for the client of that name. Ends with status 1 if smtpverify was at fault.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from tests.bed import World
from tests.hostile import CASES
from tests.hostile.laboratory import Laboratory
from tests.hostile.page import render

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.hostile.judgement import Outcome

CLIENTS = ("smtpverify", "smtplib", "aiosmtplib")


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.run", description="Meet hostile servers.")
    parser.add_argument(
        "--client", action="append", choices=CLIENTS, help="one or more; all if none is given"
    )
    parser.add_argument("--timeout", type=float, default=5.0, help="of the clients, in seconds")
    parser.add_argument("--jobs", type=int, default=12, help="so many at a time; most only wait")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the page with the results")
    arguments = parser.parse_args()
    clients = tuple(arguments.client or CLIENTS)
    results = meet(clients, arguments.timeout, arguments.jobs)
    if arguments.write is not None:
        arguments.write.write_text(render(results, arguments.timeout), "utf-8")
    for client, outcomes in results.items():
        print(f"{client}: {sum(not outcome.faults for outcome in outcomes)} of {len(outcomes)}")
    return int(any(outcome.faults for outcome in results.get("smtpverify", ())))


def meet(clients: Iterable[str], timeout: float, jobs: int) -> dict[str, list[Outcome]]:
    """Run all cases for each client, and show the faults as they are found."""
    laboratories: SimpleQueue[Laboratory] = SimpleQueue()
    with ExitStack() as stack, ThreadPoolExecutor(jobs) as pool:
        world = World.make(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hostile-"))))
        modules = [client for client in clients if client == "aiosmtplib"]
        for _ in range(jobs):
            laboratories.put(stack.enter_context(Laboratory(world, *modules)))

        def run(client: str, name: str) -> Outcome:
            laboratory = laboratories.get()
            try:
                outcome = laboratory.run(CASES[name], client, timeout)
            finally:
                laboratories.put(laboratory)
            if outcome.faults:
                print(f"{client}: {name}: {'; '.join(outcome.faults)}", flush=True)
            return outcome

        futures = {client: [pool.submit(run, client, name) for name in CASES] for client in clients}
        return {client: [future.result() for future in made] for client, made in futures.items()}


if __name__ == "__main__":
    sys.exit(main())
