"""What no client may ever do, whatever the server does; and whether it did what it must."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.hostile.case import Must

if TYPE_CHECKING:
    from tests.hostile.case import Case
    from tests.hostile.errand import Report
    from tests.hostile.server import Seen

TIMEOUTS = 4  # that one delivery may take, at most
LOADED = 15.0  # seconds that a machine with other work may take for any of them
MEMORY = 8 * 1024 * 1024  # octets above the start
FORGED = "x-forged"  # an extension that no server offers in TLS


@dataclass(frozen=True)
class Outcome:
    """What came of one run.

    Attributes:
        report: the client's side.
        lost: lines that gave away an address, mail or a credential to nobody who was verified.
        accepted: how many messages the server said it had accepted.
        faults: what the client did that it must not; empty where all is well.
    """

    report: Report
    lost: tuple[str, ...]
    accepted: int
    faults: tuple[str, ...]


def seconds_for(timeout: float) -> float:
    """How many seconds a client may take whose timeout is so long."""
    return max(TIMEOUTS * timeout, LOADED)


def judge(case: Case, report: Report, connections: list[Seen], seconds: float) -> Outcome:
    """Compare what a client did with what it must, and with what none may ever do."""
    lost = [
        line for seen in connections for line in (seen.leaked() if case.impostor else seen.leaked_in_clear())
    ]
    accepted = sum(len(seen.accepted) for seen in connections)
    faults = [text for text, found in _faults(case, report, accepted, seconds) if found]
    if lost:
        faults.insert(0, f"gave away {name(lost[0])}")
    return Outcome(report, tuple(lost), accepted, tuple(faults))


def _faults(case: Case, report: Report, accepted: int, seconds: float) -> list[tuple[str, bool]]:
    megabytes = f"took {report.memory / 2**20:.0f} MB"
    if report.killed:
        return [("never ended", True), (megabytes, report.memory > MEMORY)]
    raising = case.must in (Must.RAISE, Must.RAISE_WITHIN_BOUNDS)
    return [
        ("completed where it must raise", raising and not report.error),
        ("did not complete", case.must is Must.COMPLETE and bool(report.error)),
        ("reported as sent what was not", report.sent and not accepted),
        ("sent two messages for one", accepted > 1),
        ("believed a forged capability", FORGED in report.features),
        ("raised what nobody expects", not report.expected),
        ("raised a text that is not printable", not report.text.isprintable()),
        (f"took {report.seconds:.0f} s", report.seconds > seconds),
        (megabytes, report.memory > MEMORY),
        ("left a socket open", report.sockets_held > 0 or report.sockets_left > 0),
    ]


def name(line: str) -> str:
    """The line's first two words: `AUTH PLAIN`, `MAIL FROM`."""
    return " ".join(line.replace(":", " ").split()[:2])
