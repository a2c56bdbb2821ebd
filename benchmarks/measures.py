"""How things are measured: in turns, so that a noisy machine is noisy for all of them; medians and ratios."""

from __future__ import annotations

import os
import platform
import random
import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PEER = "smtplib"


@dataclass(frozen=True)
class Row:
    """One line of the table: seconds (or what else) by contender, and the ratio that is to be reached."""

    case: str
    figures: Mapping[str, float]
    unit: str
    target: str
    peer: str = PEER
    scale: float = 1000.0

    def ratio(self, name: str) -> float | None:
        """How much of the peer's figure another one is."""
        base = self.figures.get(self.peer)
        return self.figures[name] / base if base else None


def interleaved(
    work: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """The median seconds of each over the rounds, whose order changes: what ran before leaves its traces."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for name in work:
        work[name]()  # fills the caches
    order = list(work)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            start = clock()
            work[name]()
            times[name].append(clock() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def pin_to_one_cpu() -> bool:
    """Put this process and its children on one CPU, where the system can do that."""
    if sys.platform != "linux":
        return False
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return True


def machine() -> str:
    """What this is, for the head of a table."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - a file of Linux
            model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {platform.system()}, {model}"


def shown(rows: list[Row]) -> str:
    """The rows as a table of Markdown, readable as it stands."""
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    head = ["case", *names, "ratio", "to reach"]
    table = [head, ["---"] * len(head)]
    for row in rows:
        cells = [
            f"{row.figures[name] * row.scale:.3g} {row.unit}" if name in row.figures else "" for name in names
        ]
        ratio = row.ratio("smtpverify")
        table.append([row.case, *cells, "" if ratio is None else f"{ratio:.3f}", row.target])
    return "\n".join(f"| {' | '.join(line)} |" for line in table)
