"""What a program is, and the table of them."""

from __future__ import annotations

import email.message
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

HOST, USER, PASSWORD = "localhost", "alice", "secret"
SENDER, RECIPIENT = "alice@example.org", "bob@example.org"
SUBJECT, TEXT = "hello", "hello Bob"

ALONE, RUN, LINE = "alone", "run", "line"  # the ways: as it is, under `smtpverify run`, with a line of ours


@dataclass(frozen=True)
class Errand:
    """Where to send one mail, and how."""

    port: int
    implicit: bool = False  # TLS from the first byte, in the place of STARTTLS
    line: bool = False  # with the line of the documentation


@dataclass(frozen=True)
class Program:
    """A program that is made to send."""

    name: str
    distribution: str  # what pip installs; nothing for the standard library's own
    modules: tuple[str, ...]  # what it takes most of the time to import
    send: Callable[[Errand], object]
    implicit: bool  # whether it offers TLS from the first byte
    by_smtplib: bool  # and so is reached by `smtpverify run`
    line: str  # of Markdown: what else makes it verify
    in_ci: bool  # whether pyproject.toml's group `programs` has it

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways in which no impostor may get anything."""
        return (*([RUN] if self.by_smtplib else []), *([LINE] if self.line else []))


# By name, in the order of the table.
PROGRAMS: dict[str, Program] = {}


def program(
    name: str,
    distribution: str = "",
    *modules: str,
    implicit: bool = False,
    by_smtplib: bool = True,
    line: str = "",
    in_ci: bool = True,
) -> Callable[[Callable[[Errand], object]], Callable[[Errand], object]]:
    """Enter an adapter into the table."""

    def register(send: Callable[[Errand], object]) -> Callable[[Errand], object]:
        PROGRAMS[name] = Program(name, distribution, modules, send, implicit, by_smtplib, line, in_ci)
        return send

    return register


def use(module: str) -> Any:
    """Import a module that has no types, and may not be installed."""
    return import_module(module)


def message() -> email.message.EmailMessage:
    made = email.message.EmailMessage()
    made["From"], made["To"], made["Subject"] = SENDER, RECIPIENT, SUBJECT
    made.set_content(TEXT)
    return made
