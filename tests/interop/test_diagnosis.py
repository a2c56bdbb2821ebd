"""What tools say of broken servers: `smtpverify check` names each cause, and the page has them all."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.diagnosis import BROKEN, GOOD, HOST, SUBJECTS
from tests.diagnosis.page import PAGE, ROW, render
from tests.diagnosis.run import ask
from tests.diagnosis.tools import MissingToolError

if TYPE_CHECKING:
    from tests.diagnosis import Subject
    from tests.diagnosis.page import Results

LIMIT = 20.0  # seconds: a whole one is waited for openssl, which does not end where STARTTLS is not to be had

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def results() -> Results:
    try:
        return ask(LIMIT)
    except MissingToolError as reason:
        if "CI" in os.environ:
            raise
        pytest.skip(str(reason))


def listed(page: str) -> list[str]:
    return re.findall(ROW, page, re.MULTILINE)


def test_the_good_server_is_good(results: Results) -> None:
    """Or the tools would not be asked as they should be."""
    ours, postfix, openssl = results[GOOD.name].values()
    assert (ours.status, ours.remedy) == (0, "")
    assert ours.lines[0].startswith(f"✓ verified: {HOST}: certificate for {HOST}, ")
    assert (postfix.status, postfix.lines[-1].partition(" to ")[0]) == (
        0,
        "Verified TLS connection established",
    )
    assert (openssl.status, openssl.lines) == (0, ("Verification: OK", f"Verified peername: {HOST}"))


@pytest.mark.parametrize("subject", BROKEN, ids=lambda subject: subject.name)
def test_the_cause_is_named(results: Results, subject: Subject) -> None:
    ours = results[subject.name]["smtpverify"]
    assert ours.status == 1
    assert ours.names(subject), ours.lines
    assert ours.remedy
    assert [other.name for other in BROKEN if ours.names(other)] == [subject.name]


@pytest.mark.parametrize("subject", BROKEN[:2], ids=lambda subject: subject.name)
def test_others_are_read_aright(results: Results, subject: Subject) -> None:
    """A tool of whose output nothing was found would look as if it had nothing to say."""
    assert all(said.names(subject) for said in results[subject.name].values())


def test_the_page_lists_the_servers(results: Results) -> None:
    names = [subject.name for subject in SUBJECTS]
    assert listed(PAGE.read_text("utf-8")) == names
    assert listed(render(results, LIMIT)) == names
