"""`smtpverify completion`: what makes a shell complete the commands and their options."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ..stdlib import commands_of, parser_actions
from . import COMMANDS, EX_UNAVAILABLE, CommandError, whole_parser
from ._screen import print_for_shell

if TYPE_CHECKING:
    import argparse

__all__ = ["configure", "run"]

_DESCRIPTION = """\
Prints what a shell reads to complete smtpverify's commands, options and file
names. Needs an extra: pip install 'smtpverify[cli]'
"""

_EPILOG = """\
examples:
  eval "$(smtpverify completion bash)"
  smtpverify completion zsh > ~/.zfunc/_smtpverify
  smtpverify completion tcsh > ~/.smtpverify.tcsh

The first for ~/.bashrc; the second wants ~/.zfunc in $fpath; the third is for
`source` in ~/.tcshrc.

exit status: 0, 64 for a usage error, 69 if the extra is not installed.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command and its arguments."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="whose completion")


def run(arguments: argparse.Namespace) -> int:
    """Print the completion.

    Returns:
        The exit status, 0.

    Raises:
        CommandError: the extra is not installed.
    """
    try:
        shtab = import_module("shtab")
    except ImportError as error:
        raise CommandError(
            f"{error}; completion needs more than the library: pip install 'smtpverify[cli]'", EX_UNAVAILABLE
        ) from error
    parser = whole_parser()
    _prepare(parser, shtab.FILE)
    print_for_shell(shtab.complete(parser, shell=arguments.shell))
    return 0


def _prepare(parser: argparse.ArgumentParser, file: object) -> None:
    """Say what is a file, and describe each command in a line."""
    for action in parser_actions(parser):
        commands = commands_of(action)
        if commands is not None:
            for name, command in commands.items():
                command.description = COMMANDS[name]
                _prepare(command, file)
        elif action.metavar == "FILE" or action.dest == "words":
            action.complete = file  # type: ignore[attr-defined] # shtab's own
