"""The manual pages: each command has one, which has all of its options, and which groff can read."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs import manpages
from smtpverify.cli import COMMANDS, whole_parser

GROFF = shutil.which("groff")


def parser_of(name: str) -> argparse.ArgumentParser:
    commands = next(each for each in whole_parser()._actions if isinstance(each, argparse._SubParsersAction))
    parser: argparse.ArgumentParser = commands.choices[name]
    return parser


def test_a_page_for_each_command() -> None:
    assert list(manpages.pages()) == ["smtpverify.1", *(f"smtpverify-{name}.1" for name in COMMANDS)]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command(name: str) -> None:
    page = manpages.pages()[f"smtpverify-{name}.1"]
    assert page.startswith(f'.TH SMTPVERIFY\\-{name.upper()} 1 "" "smtpverify ')
    for action in parser_of(name)._actions:
        assert action.help, action
        if action.help == argparse.SUPPRESS:
            continue
        told = " ".join((action.help % {**vars(action), "prog": "smtpverify"}).split())
        assert told.replace("-", "\\-") in page
        for option in action.option_strings:
            assert f"\\fB{option}\\fR".replace("-", "\\-") in page
        if not action.option_strings:
            assert f"\n.TP\n\\fI{action.metavar or '|'.join(action.choices or ())}\\fR\n" in page
    assert ".SH EXIT STATUS\n" in page
    assert ".SH EXAMPLES\n.nf\n  " in page


def test_the_page_of_all() -> None:
    page = manpages.pages()["smtpverify.1"]
    commands = page[page.index("\n.SH COMMANDS\n.TP\n") : page.index(".SH EXAMPLES")]
    assert commands.count(".TP\n") == len(COMMANDS)
    assert "\n.PP\n\\&'smtpverify COMMAND \\-\\-help' tells more of a command.\n" in commands
    for name, summary in COMMANDS.items():
        assert f".TP\n.B {name}\n" in page
        assert summary.replace("-", "\\-") in page
        assert f"\\fBsmtpverify\\-{name}\\fR(1)" in page
    assert "\\fB\\-\\-version\\fR\n" in page


def test_what_stands_behind_the_options() -> None:
    page = manpages.pages()["smtpverify-run.1"]
    assert "for a shell's eval\n.PP\nA trust file has a line for each host" in page


def test_what_groff_would_take_for_its_own() -> None:
    parser = argparse.ArgumentParser(prog="p", description=".dot\n'quote\n\\back -x\n\n  kept\nend")
    page = list(manpages._page("p", "s", parser, []))
    text = page[page.index(".SH DESCRIPTION") + 1 : page.index(".SH OPTIONS")]
    assert text == ["\\&.dot", "\\&'quote", "\\eback \\-x", ".PP", ".nf", "  kept", ".fi", "end"]


def test_as_a_tool(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, str(root / "docs" / "manpages.py"), str(tmp_path / "build" / "man")],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    written = [Path(line) for line in done.stdout.splitlines()]
    assert {path.name: path.read_text("utf-8") for path in written} == manpages.pages()


@pytest.mark.skipif(GROFF is None, reason="groff is not installed")
@pytest.mark.parametrize("name", sorted(manpages.pages()))
def test_groff_reads_it(name: str) -> None:
    done = subprocess.run(
        [GROFF or "", "-man", "-Tascii", "-ww", "-z"],
        input=manpages.pages()[name],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
