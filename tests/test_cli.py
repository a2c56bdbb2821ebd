"""The command line: its frame, its screen and its tables; what a subcommand does is tested apart."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import smtpverify
from smtpverify import cli
from smtpverify.cli import CommandError, demo
from smtpverify.cli._screen import Screen, Style
from smtpverify.cli._table import Cell, print_table

if TYPE_CHECKING:
    import argparse

ROOT = Path(__file__).parent.parent
STRICT = (sys.executable, "-W", "error", "-X", "dev")


def run(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [*STRICT, "-m", "smtpverify", *arguments],
        check=False,
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        cwd=ROOT,
        timeout=50,
    )


class Terminal(io.StringIO):
    """A stream that calls itself a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "COLUMNS", "PYTHONIOENCODING", "PYTHONUNBUFFERED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


# --- the frame -----------------------------------------------------------------------------------


def test_help_names_every_command() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: smtpverify ")
    for name, summary in cli.COMMANDS.items():
        assert re.search(rf"^    {name}( |$)", done.stdout, re.MULTILINE)
        assert summary.split()[0] in done.stdout


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"smtpverify {smtpverify.__version__}\n", "")


@pytest.mark.parametrize("name", ["", *cli.COMMANDS])
def test_help_fits_and_has_an_example(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert re.search(rf"^examples?:\n  .*smtpverify {name}", shown, re.MULTILINE)


def test_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--help"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("usage: smtpverify demo ")
    assert "pip install 'smtpverify[demo]'\n" in shown.out
    assert "exit status: 0, or 1 if mail did not arrive" in shown.out
    assert all(len(line) <= 80 for line in shown.out.splitlines())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "are required: COMMAND; 'smtpverify --help' lists the commands"),
        (["dance"], "smtpverify: argument COMMAND: invalid choice: 'dance' (choose from "),
        (["--dance"], "smtpverify: the following arguments are required: COMMAND"),
        (["demo", "twice"], "smtpverify demo: unrecognized arguments: twice"),
        (["demo", "--dance"], "smtpverify demo: unrecognized arguments: --dance"),
    ],
)
def test_usage_errors(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 64
    shown = capsys.readouterr()
    assert shown.out == ""
    usage, _, told = shown.err.partition("\n")
    assert usage.startswith("usage: smtpverify ")
    assert complaint in told


def test_a_usage_error_of_a_process() -> None:
    done = run("dance")
    assert (done.returncode, done.stdout) == (64, "")
    assert "invalid choice: 'dance'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("status", [0, 1])
def test_the_commands_status_is_the_shells(
    status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "run", lambda arguments: status)
    monkeypatch.setattr(sys, "argv", ["smtpverify", "demo"])
    assert cli.main() == status
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (CommandError("out of stamps", 69), 69, "smtpverify demo: out of stamps\n"),
        (OSError(98, "Address already in use"), 71, "smtpverify demo: [Errno 98] Address already in use\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_ends_a_command(
    error: BaseException,
    status: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def end(arguments: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(demo, "run", end)
    assert cli.main(["demo"]) == status
    assert capsys.readouterr() == ("", told)


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(arguments: argparse.Namespace) -> int:
        raise LookupError("a mistake")

    monkeypatch.setattr(demo, "run", stumble)
    with pytest.raises(LookupError, match="a mistake"):
        cli.main(["demo"])


@pytest.mark.parametrize("arguments", [["demo"], ["--help"]])
def test_a_reader_that_went_away(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run(*arguments, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(sys.platform == "win32", reason="a file's descriptor is all there is to break")
def test_a_reader_that_went_away_in_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def leave(arguments: argparse.Namespace) -> int:
        sys.stdout.write("unread")
        raise BrokenPipeError

    monkeypatch.setattr(demo, "run", leave)
    with (tmp_path / "stdout").open("w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert cli.main(["demo"]) == 141
    assert (tmp_path / "stdout").read_text() == ""
    assert capfd.readouterr() == ("", "")


# --- the screen ----------------------------------------------------------------------------------


@pytest.fixture
def windows_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only terminal of Windows that is known to show colours."""
    monkeypatch.setenv("WT_SESSION", "1")


@pytest.mark.usefixtures("windows_terminal")
def test_a_terminal_shows_colour() -> None:
    stream = Terminal()
    Screen(stream).line("lo!", Style.BAD)
    assert stream.getvalue() == "\x1b[1;31mlo!\x1b[0m\n"


def test_a_plain_line_has_no_colour_even_there() -> None:
    stream = Terminal()
    Screen(stream).line("lo!")
    assert stream.getvalue() == "lo!\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_unwanted(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    stream = Terminal()
    Screen(stream).line("lo!", Style.BAD)
    assert stream.getvalue() == "lo!\n"


@pytest.mark.usefixtures("windows_terminal")
def test_an_empty_no_color_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    assert Screen(Terminal()).colour


def test_no_terminal_no_colour() -> None:
    assert not Screen(io.StringIO()).colour


@pytest.mark.parametrize(("terminal", "colour"), [(None, False), ("1", True)])
def test_windows_has_a_terminal_of_each_kind(
    terminal: str | None, colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WT_SESSION", raising=False)
    if terminal:
        monkeypatch.setenv("WT_SESSION", terminal)
    stream = Terminal()
    with monkeypatch.context() as windows:
        windows.setattr(sys, "platform", "win32")
        screen = Screen(stream)
    assert screen.colour is colour


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("utf-8", "✓ ✗ │ … → ← é"), ("ascii", r"+ x | ... > < \xe9"), ("latin-1", "+ x | ... > < é")],
)
def test_characters_that_the_stream_can_take(encoding: str, shown: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    Screen(stream).line("✓ ✗ │ … → ← é")
    assert raw.getvalue().decode(encoding) == f"{shown}\n"


@pytest.mark.parametrize(("columns", "width"), [("80", 80), ("20", 60), ("100", 100), ("1000", 120)])
def test_width(columns: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert Screen(io.StringIO()).width == width


def test_a_paragraph_is_indented_and_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stream = io.StringIO()
    Screen(stream).paragraph("word " * 20)
    first, second = stream.getvalue().splitlines()
    assert first == "word " * 11 + "word"
    assert second == "  " + "word " * 7 + "word"


@pytest.mark.parametrize(("mark", "indent"), [("✗ ", 2), ("  ", 2), ("    ✗ ", 6), ("    ", 4)])
def test_the_lines_of_a_paragraph_stand_below_each_other(
    mark: str, indent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stream = io.StringIO()
    Screen(stream).paragraph(mark + "word " * 20)
    first, second = stream.getvalue().splitlines()
    assert first.startswith(mark + "word word")
    assert second.startswith(" " * indent + "word word")


def test_a_pin_stays_whole_to_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stream = io.StringIO()
    pin = "pin-only=sha256:" + "0123456789abcdef" * 4
    Screen(stream).paragraph(f"✗ The administrator confirms it, then pin it: {pin}")
    assert stream.getvalue().splitlines()[1:] == [f"  {pin}"]


def test_a_block_is_quoted_as_it_is() -> None:
    stream = io.StringIO()
    Screen(stream).block("A letter:", "Dear\n\n.dot")
    assert stream.getvalue() == "  A letter:\n  │ Dear\n  │\n  │ .dot\n"


def test_standard_output_is_the_stream(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().line("lo!")
    assert capsys.readouterr() == ("lo!\n", "")


# --- tables --------------------------------------------------------------------------------------


def test_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stream = io.StringIO()
    rows = [[Cell("one"), Cell("✓ a cell that wraps, as it is longer than what is left of the line")],
            [Cell("number two"), Cell("short")]]  # fmt: skip
    print_table(Screen(stream), ("Name", "Text"), rows)
    assert stream.getvalue() == (
        "Name        Text\n"
        "────────────────────────────────────────────────────────────\n"
        "one         ✓ a cell that wraps, as it is longer than what\n"
        "            is left of the line\n"
        "number two  short\n"
    )


@pytest.mark.usefixtures("windows_terminal")
def test_colour_has_no_width() -> None:
    rows = [[Cell("a", Style.GOOD), Cell("b")], [Cell("aaa"), Cell("b", Style.BAD)]]
    stream = Terminal()
    print_table(Screen(stream), ("A", "B"), rows)
    assert stream.getvalue().splitlines()[2:] == ["\x1b[32ma\x1b[0m    b", "aaa  \x1b[1;31mb\x1b[0m"]


def test_a_column_is_as_wide_as_what_is_shown_in_it() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", newline="\n")
    print_table(Screen(stream), ("A", "B"), [[Cell("…"), Cell("b")]])
    assert raw.getvalue().decode().splitlines()[2] == "...  b"


def test_the_last_column_keeps_a_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stream = io.StringIO()
    print_table(Screen(stream), ("A", "B"), [[Cell("a" * 60), Cell("b " * 15)]])
    assert stream.getvalue().splitlines()[2:] == ["a" * 60 + "  " + "b " * 9 + "b", " " * 62 + "b " * 4 + "b"]
