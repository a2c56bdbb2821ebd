"""Run targets: `python -m fuzz.run [--runs N] [--seed K] [--engine atheris|plain] [TARGET …]`.

By atheris (libFuzzer) where it is installed, else by a mutator of our own that looks for new lines.
What is found lies in `build/fuzz`: `TARGET-…` what broke a promise, `TARGET/` what reached something new.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import subprocess
import sys
import traceback
from pathlib import Path
from time import monotonic

from . import TARGETS
from .plain import Coverage, Mutator

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
FOUND = HERE.parent / "build" / "fuzz"
LONGEST = {"der": 4096, "transaction": 256}  # octets of an input; of the others 512


def seeds(target: str) -> list[bytes]:
    """The corpus of a target, in order."""
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


def run_plain(target: str, runs: int, seed: int) -> bool:
    """Run by our own mutator; False where something was found."""
    coverage = Coverage("smtpverify")
    module = importlib.import_module(f"{__package__}.{target}")
    mutator = Mutator(seeds(target), seed, LONGEST.get(target, 512))
    start, done = monotonic(), 0
    with coverage:
        for octets in mutator.inputs(runs):
            done += 1
            try:
                module.check(octets)
            except Exception:  # noqa: BLE001 - whatever it is, it is what was looked for
                path = FOUND / f"{target}-{seed}-{done}"
                path.write_bytes(octets)
                traceback.print_exc()
                print(f"{target}: found in run {done}: {path}: {octets!r}", flush=True)
                return False
            if coverage.grew():
                mutator.keep(octets)
    heard = f"{module.said} replies, " if target == "transaction" else ""
    print(
        f"{target}: {done} runs in {monotonic() - start:.0f} s, {heard}{coverage.lines} lines reached, "
        f"{mutator.kept} inputs kept, nothing found",
        flush=True,
    )
    return True


def run_atheris(target: str, runs: int, seed: int) -> bool:
    """Run by libFuzzer, which ends its process; False where something was found."""
    new = FOUND / target
    new.mkdir(exist_ok=True)
    options = [
        f"-runs={runs}",
        f"-seed={seed}",
        f"-max_len={LONGEST.get(target, 512)}",
        f"-artifact_prefix={FOUND / target}-",
        "-print_final_stats=1",
        "-timeout=20",
        str(new),
        str(CORPUS / target),
    ]
    command = [sys.executable, "-m", f"{__package__}.under_atheris", target, *options]
    return subprocess.run(command, check=False).returncode == 0


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line says; the exit status."""
    parser = argparse.ArgumentParser(prog="fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--runs", type=int, default=100_000, help="of each target")
    parser.add_argument("--seed", type=int, default=1)
    here = importlib.util.find_spec("atheris") is not None
    parser.add_argument("--engine", choices=("atheris", "plain"), default="atheris" if here else "plain")
    options = parser.parse_args(arguments)
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no target: {', '.join(sorted(unknown))}")
    FOUND.mkdir(parents=True, exist_ok=True)
    run = run_atheris if options.engine == "atheris" else run_plain
    results = [run(target, options.runs, options.seed) for target in options.targets or TARGETS]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
