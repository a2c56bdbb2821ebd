"""The documents: their code compiles, their names exist, and their links lead somewhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import smtpverify
from smtpverify.schemes import DIALECTS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
FENCED = re.compile(r"^```([^`\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

over_pages: pytest.MarkDecorator = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(ROOT))
)


def test_there_are_pages() -> None:
    assert {page.name for page in PAGES} >= {"README.md", "CHANGELOG.md", "SECURITY.md", "quickstart.md"}


@over_pages
def test_code_compiles(page: Path) -> None:
    for language, code in FENCED.findall(page.read_text("utf-8")):
        if language == "python":
            compile(code, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


TESTING = ROOT / "docs" / "testing.md"
PROGRAMS = [code for language, code in FENCED.findall(TESTING.read_text("utf-8")) if language == "python"]


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_programs_of_the_page_on_tests_run(number: int) -> None:
    assert len(PROGRAMS) == 7
    command = [sys.executable, "-W", "error::UserWarning", "-c", PROGRAMS[number]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")


@over_pages
def test_names_exist(page: Path) -> None:
    """Both `smtpverify.name` in code and the targets of references."""
    for name in re.findall(r"\bsmtpverify\.(?![EW]\d{3}\b)([A-Za-z]\w*)", page.read_text("utf-8")):
        modules = [ROOT / "smtpverify" / name, ROOT / "smtpverify" / f"{name}.py"]
        assert hasattr(smtpverify, name) or any(path.exists() for path in modules), name


@over_pages
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", FENCED.sub("", page.read_text("utf-8"))):
        assert (page.parent / target).exists(), target


def test_the_pages_name_every_cause_error_and_scheme() -> None:
    errors = (ROOT / "docs" / "errors.md").read_text("utf-8")
    assert [cause.name for cause in smtpverify.Cause if f"`{cause.name}`" not in errors] == []
    assert [name for name in smtpverify.errors.__all__ if name != "printable" and name not in errors] == []
    relays = (ROOT / "docs" / "relays.md").read_text("utf-8")
    schemes = {scheme for dialect in DIALECTS.values() for scheme in dialect}
    assert [scheme for scheme in schemes if f"`{scheme}://" not in relays] == []


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/threat-model.md"])
def test_the_tests_that_show_a_promise_are_there(page: str) -> None:
    named = set(re.findall(r"`(test_\w+\.py|names_table\.py)`", (ROOT / page).read_text("utf-8")))
    assert len(named) > 5
    assert [name for name in named if not (ROOT / "tests" / name).exists()] == []


def test_every_promise_names_its_tests() -> None:
    model = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
    promises = model.partition("| promise |")[2].partition("\n\n")[0].splitlines()[2:]
    assert len(promises) > 15
    assert [promise for promise in promises if not re.search(r"`test_\w+\.py`", promise)] == []
