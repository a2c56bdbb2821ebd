"""Run the benchmarks, and print a table; the figures are for reading, and nothing fails by them."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from benchmarks import imports, sending
from benchmarks.measures import machine, pin_to_one_cpu, shown


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("case", nargs="*", help=f"of {', '.join(['imports', *sending.CASES])}; all if none")
    parser.add_argument("--rounds", type=int, default=20, help="of each measurement (%(default)s)")
    options = parser.parse_args()
    wanted = options.case or ["imports", *sending.CASES]
    unknown = set(wanted) - {"imports", *sending.CASES}
    if unknown:
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    print(machine() + ("; all on one CPU" if pin_to_one_cpu() else ""), flush=True)
    if "imports" in wanted:
        imports.run()
    with ExitStack() as stack:
        bench = sending.Bench(stack, options.rounds)
        rows = [row for name in sending.CASES if name in wanted for row in sending.CASES[name](bench)]
    print(shown(rows))


if __name__ == "__main__":
    main()
