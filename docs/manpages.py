"""Write the manual pages, from the parsers of the command line: `python docs/manpages.py DIRECTORY`.

One page for `smtpverify`, and one for each of its commands (man-pages(7), groff_man(7)).
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from smtpverify import __version__
from smtpverify.cli import COMMANDS, whole_parser

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["pages", "write"]

_SECTIONS = {"example:": "EXAMPLES", "examples:": "EXAMPLES", "exit status:": "EXIT STATUS"}


def pages() -> dict[str, str]:
    """The pages: file name -> text in groff's man macros."""
    parser = whole_parser()
    commands = next(each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    also = ["smtpverify", *(f"smtpverify-{name}" for name in COMMANDS)]
    found = {"smtpverify.1": "\n".join(_page("smtpverify", "mail over verified TLS", parser, also)) + "\n"}
    for name, command in commands.choices.items():
        page = _page(f"smtpverify-{name}", COMMANDS[name], command, also)
        found[f"smtpverify-{name}.1"] = "\n".join(page) + "\n"
    return found


def write(directory: Path) -> list[Path]:
    """Write the pages into a directory, which is made if need be; gives their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in pages().items():
        path = directory / name
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _page(name: str, summary: str, parser: argparse.ArgumentParser, also: list[str]) -> Iterable[str]:
    yield f'.TH {_escaped(name.upper())} 1 "" "smtpverify {__version__}" "User Commands"'
    yield from (".SH NAME", f"{_escaped(name)} \\- {_escaped(summary)}", ".SH SYNOPSIS")
    usage = " ".join(parser.format_usage().partition(":")[2].split())
    yield from (f".B {_escaped(usage.removesuffix(' ...'))}", ".SH DESCRIPTION")
    yield from _paragraphs((parser.description or "").splitlines())
    yield ".SH OPTIONS"
    for action in parser._actions:
        yield from _option(action)
    yield from _epilog((parser.epilog or "").splitlines())
    yield ".SH SEE ALSO"
    yield ", ".join(f"\\fB{_escaped(each)}\\fR(1)" for each in also if each != name)


def _option(action: argparse.Action) -> Iterable[str]:
    if isinstance(action, argparse._SubParsersAction):
        yield ".SH COMMANDS"
        for name in action.choices:
            yield from (".TP", f".B {_escaped(name)}", _text(COMMANDS[name]))
        return
    if action.help == argparse.SUPPRESS:  # the usage shows it
        return
    metavar = action.metavar or ("|".join(map(str, action.choices)) if action.choices else "")
    value = "" if action.nargs == 0 and action.option_strings else f"\\fI{_escaped(str(metavar))}\\fR"
    names = ", ".join(f"\\fB{_escaped(each)}\\fR" for each in action.option_strings)
    yield from (".TP", " ".join(filter(None, (names, value))))
    # What argparse would put in the place of %(default)s and the like.
    yield _text((action.help or "") % {**vars(action), "prog": "smtpverify"})


def _paragraphs(lines: list[str]) -> Iterable[str]:
    """Lines as they are; an empty one parts paragraphs, and one that is indented stays by itself."""
    verbatim = False
    for line in "\n".join(lines).strip("\n").splitlines():
        if line.startswith(" ") != verbatim:
            verbatim = not verbatim
            yield ".nf" if verbatim else ".fi"
        yield _text(line) if line else ".PP"
    if verbatim:
        yield ".fi"


def _epilog(lines: list[str]) -> Iterable[str]:
    """The epilog, whose paragraphs may begin with what makes a heading."""
    yield ".PP"  # what comes before any heading is no part of the last option
    section: list[str] = []
    for line in lines:
        heading = next((each for each in _SECTIONS if line.startswith(each)), None)
        if heading is None:
            section.append(line)
            continue
        yield from _paragraphs(section)
        yield f".SH {_SECTIONS[heading]}"
        section = [rest] if (rest := line.removeprefix(heading).strip()) else []
    yield from _paragraphs(section)


def _text(line: str) -> str:
    """A line of text: one that begins like a request is none."""
    escaped = _escaped(line)
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


def _escaped(text: str) -> str:
    return re.sub(r"[\\-]", lambda match: {"\\": "\\e", "-": "\\-"}[match[0]], text)


if __name__ == "__main__":
    for page in write(Path(sys.argv[1])):
        print(page)
