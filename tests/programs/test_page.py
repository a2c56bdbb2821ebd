"""The table of programs: that the page has all, and that the judgement on them can go against them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.bed import Tls
from tests.programs import PROGRAMS
from tests.programs.page import PAGE, ROW, Row, render
from tests.programs.trial import Got, Outcome, faults, servers

ALL = Got(password=True, mail=True, lines=5, connections=1)
NOTHING = Got(password=False, mail=False, lines=0, connections=1)
MAIL = Got(password=False, mail=True, lines=3, connections=1)
NAME = Got(password=False, mail=False, lines=1, connections=1)
NOT_CALLED = Got(password=False, mail=False, lines=0, connections=0)


def verified(name: str) -> Outcome:
    """What there is to be got of a program that verifies."""
    return {(tls, kind): ALL if kind == "good" else NOTHING for tls, kind in servers(PROGRAMS[name])}


def test_the_page_has_these_programs_in_this_order() -> None:
    rows = re.findall(ROW, PAGE.read_text("utf-8"), re.MULTILINE)
    offered = [
        (program.name, "" if program.in_ci else "\\*", tls)
        for program in PROGRAMS.values()
        for tls in ("STARTTLS", "TLS")
        if tls == "STARTTLS" or program.implicit
    ]
    assert [(name, star, tls) for name, star, _, tls in rows] == offered


def test_the_page_has_their_lines() -> None:
    page = PAGE.read_text("utf-8")
    for program in PROGRAMS.values():
        assert f"| {program.name} | " in page
        assert program.line in page


def test_ci_installs_them() -> None:
    """But for the standard library's own, and those with a star."""
    tomllib = pytest.importorskip("tomllib")
    project = Path(__file__).parents[2] / "pyproject.toml"
    groups = tomllib.loads(project.read_text("utf-8"))["dependency-groups"]
    entries = [entry for name in ("programs", "interop", "test") for entry in groups[name]]
    installed = {re.split(r"[ \[>]", entry)[0].lower() for entry in entries if isinstance(entry, str)}
    wanted = {one.distribution.lower() for one in PROGRAMS.values() if one.in_ci and one.distribution}
    assert wanted - installed == set()
    assert {entry.lower() for entry in groups["programs"]} - wanted == set()


def test_one_that_verifies_has_no_faults() -> None:
    assert faults(verified("yagmail")) == []


@pytest.mark.parametrize(
    ("where", "got", "fault"),
    [
        ((Tls.STARTTLS, "good"), NOTHING, "good (starttls) got "),
        ((Tls.IMPLICIT, "good"), MAIL, "good (implicit) got "),
        ((Tls.STARTTLS, "wrong_name"), MAIL, "wrong_name (starttls) got "),
        ((Tls.IMPLICIT, "expired"), ALL, "expired (implicit) got "),
        ((Tls.IMPLICIT, "expired"), NAME, "expired (implicit) got "),
        ((Tls.STARTTLS, "no STARTTLS"), NOT_CALLED, "no STARTTLS (starttls) was never called"),
    ],
)
def test_faults(where: tuple[Tls, str], got: Got, fault: str) -> None:
    (found,) = faults(verified("yagmail") | {where: got})
    assert found.startswith(fault)


def test_a_program_by_itself_is_only_to_send() -> None:
    outcome = verified("yagmail") | {(Tls.STARTTLS, "wrong_name"): ALL}
    assert faults(outcome, impostors=False) == []
    assert len(faults(outcome | {(Tls.STARTTLS, "good"): NOTHING}, impostors=False)) == 1


def test_a_page() -> None:
    careless = verified("yagmail") | {(Tls.IMPLICIT, "expired"): ALL, (Tls.STARTTLS, "no STARTTLS"): MAIL}
    careless[Tls.STARTTLS, "wrong_name"] = NAME
    page = render(
        [
            Row(PROGRAMS["yagmail"], "1.0", careless),
            Row(PROGRAMS["salt"], "2.0", verified("salt")),
            Row(PROGRAMS["fastapi-mail"], "3.0", verified("fastapi-mail")),
        ]
    )
    assert "| STARTTLS | 0 | 1 | 0 | 0 | 1 |\n| TLS | 0 | 0 | 0 | 1 |  |\n" in page
    assert "| yagmail 1.0 | STARTTLS | nothing | ✗ something | nothing | nothing | ✗ mail |\n" in page
    assert "| yagmail 1.0 | TLS | nothing | nothing | nothing | ✗ password, mail |  |\n" in page
    assert "| salt\\* 2.0 | STARTTLS | nothing |" in page
    assert "| salt\\* 2.0 | TLS |" not in page
    assert "anything (of fastapi-mail none did without it" in page
    assert "| fastapi-mail | not reached: no `smtplib` |  |\n" in page
