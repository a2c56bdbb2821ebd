"""smtpverify before every hostile server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.hostile import CASES, Must
from tests.hostile.laboratory import Laboratory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bed import World

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the clients' processes are forked")

# Seconds. Who has to wait waits little; who has not may be held up by other work of the machine.
WAITING, PATIENT = 0.5, 10.0


@pytest.fixture(scope="session")
def laboratory(world: World) -> Iterator[Laboratory]:
    with Laboratory(world) as laboratory:
        yield laboratory


@pytest.mark.parametrize("name", CASES)
def test_smtpverify(name: str, laboratory: Laboratory) -> None:
    case = CASES[name]
    waits = case.must in (Must.RAISE_WITHIN_BOUNDS, Must.END)
    outcome = laboratory.run(case, "smtpverify", WAITING if waits else PATIENT)
    assert outcome.faults == (), outcome


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("injected_")])
def test_what_was_injected_is_an_error(name: str, laboratory: Laboratory) -> None:
    """The table would let us throw it away; we have promised more."""
    report = laboratory.run(CASES[name], "smtpverify", PATIENT).report
    assert report.error in INJECTED.get(name, ("PlaintextInjectionError",))


# What came too late to be seen before the handshake, or too early to be about it.
INJECTED = {
    "injected_for_the_client_hello": ("TLSHandshakeError",),
    "injected_with_the_greeting": ("UnsolicitedReplyError",),
    "injected_into_tls": ("SMTPServerDisconnected",),
    **dict.fromkeys(
        (name for name in CASES if name.startswith("injected_later")),
        ("PlaintextInjectionError", "TLSHandshakeError"),
    ),
}
