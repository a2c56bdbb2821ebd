"""The bed sees what it looks for: careless clients are caught at each thing, good servers catch nobody."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.hostile import CASES
from tests.hostile.case import Must
from tests.hostile.page import CASE_ROW, PAGE
from tests.hostile.test_cases import PATIENT, laboratory

if TYPE_CHECKING:
    from tests.hostile.laboratory import Laboratory

__all__ = ["laboratory"]  # the fixture

forking: pytest.MarkDecorator = pytest.mark.skipif(sys.platform == "win32", reason="clients are forked")

# What `gullible` is caught at.
CAUGHT = {
    "stripped": "gave away AUTH PLAIN",
    "wrong_name_on_starttls": "gave away AUTH PLAIN",
    "wrong_name_on_implicit_tls": "completed",
    "message_answered_by_554": "reported as sent what was not",
    "loose_end_lf_dot_lf": "sent two messages for one",
    "forged_capability_in_plaintext": "believed a forged capability",
    "code_letter_o": "raised what nobody expects",
    "refuses_by_a_terminal_command": "raised a text that is not printable",
    "endless_reply_at_ehlo": "took ",
    "silent_at_mail": "never ended",
    "good_on_starttls": "left a socket open",
}


def test_the_table() -> None:
    assert len(CASES) >= 150
    assert [name for name, case in CASES.items() if not (case.source and case.what.endswith("."))] == []
    assert {case.must for case in CASES.values()} == set(Must)


@forking
@pytest.mark.parametrize("name", CAUGHT)
def test_a_gullible_client_is_caught(name: str, laboratory: Laboratory) -> None:
    outcome = laboratory.run(CASES[name], "gullible", timeout=1.0, bound=3.0)
    assert [fault for fault in outcome.faults if fault.startswith(CAUGHT[name])], outcome


@forking
def test_so_is_who_refuses_a_good_server_or_is_slow(laboratory: Laboratory) -> None:
    good, stripped = CASES["good_on_starttls"], CASES["stripped"]
    outcome = laboratory.run(replace(stripped, must=Must.COMPLETE), "smtpverify", PATIENT)
    assert outcome.faults == ("did not complete",)
    assert laboratory.run(good, "smtpverify", PATIENT, bound=0.0).faults == ("took 0 s",)


@forking
@pytest.mark.parametrize("side", ["on_starttls", "on_implicit_tls"])
def test_every_impostor_gets_password_and_message_from_who_does_not_verify(
    side: str, laboratory: Laboratory
) -> None:
    """Who uses smtplib without a context, which is how most programs do it."""
    impostors = {
        name: case
        for name, case in CASES.items()
        if case.group == "Certificates" and name.endswith(side) and "kilobytes" not in name
    }
    assert len(impostors) > 40
    for name, case in impostors.items():
        outcome = laboratory.run(case, "smtplib without a context", PATIENT)
        assert (outcome.accepted, outcome.report.error) == (1, ""), name
        assert "The code for the door is 7351." in outcome.lost, name
        assert any(line.startswith("AUTH PLAIN ") for line in outcome.lost), name


@forking
@pytest.mark.parametrize("client", ["smtplib", "smtpverify"])
def test_a_good_server_catches_nobody(client: str, laboratory: Laboratory) -> None:
    outcome = laboratory.run(CASES["good_on_starttls"], client, PATIENT)
    assert (outcome.faults, outcome.lost, outcome.accepted) == ((), (), 1)
    assert outcome.report.sent


def test_the_page_has_the_cases_of_the_table() -> None:
    """Its results are of a run of the past; its list is held to the code."""
    rows = re.findall(CASE_ROW, PAGE.read_text("utf-8"), re.MULTILINE)
    assert rows == [(name, case.must.value) for name, case in CASES.items()]
