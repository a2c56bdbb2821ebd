"""The command `smtpverify`; one module a subcommand, each imported only when it is run.

A subcommand's module has `configure(parser)`, which adds its arguments and help, and
`run(arguments)`, which returns the exit status.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING

from ..stdlib import parser_actions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, NoReturn, TextIO

__all__ = ["COMMANDS", "CommandError", "Terminated", "main", "whole_parser"]

# The name of each subcommand, which is its module's too, and what it does.
COMMANDS = {
    "check": "tell why a server is refused, or that it is verified",
    "pin": "print a server's pins, and who vouches for them",
    "trust": "remember the key of a server that no CA vouches for, once you have compared it",
    "login": "log in to a relay, send nothing, and say by which mechanism",
    "send": "send a message, as sendmail does, to a relay that is verified",
    "explain": "tell what a relay URL means, without connecting",
    "completion": "print what makes a shell complete these commands",
    "run": "run a Python program so that its smtplib verifies",
    "demo": "send mail over TLS, and meet impostors, all on this machine",
}

_EPILOG = """\
'smtpverify COMMAND --help' tells more of a command.

examples:
  smtpverify check mail.example.org:587
  smtpverify send tls://alice@mail.example.org:587 -f alice@example.org -t \\
      bob@example.org --subject Hello --body 'Hello Bob.'
"""

# BSD's sysexits.h; `os` has them on Unix alone.
EX_USAGE = 64
EX_UNAVAILABLE = 69
EX_OSERR = 71
# As shells report an end by SIGINT, SIGPIPE or SIGTERM.
_INTERRUPTED = 130
_BROKEN_PIPE = 141
_TERMINATED = 143


class CommandError(Exception):
    """A subcommand can't go on; the message is for people, and `status` for the shell."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: what is open is closed, and what is drawn taken away."""


class _Parser(argparse.ArgumentParser):
    _intermixing = False
    _has_commands = False

    def add_subparsers(self, **options: Any) -> Any:
        self._has_commands = True
        return super().add_subparsers(**options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse's, with options anywhere between a command's arguments, in every version of Python."""
        # The rest of a line may be another program's, options and all.
        takes_rest = any(action.nargs == argparse.REMAINDER for action in parser_actions(self))
        if self._has_commands or self._intermixing:  # it calls this method itself
            return super().parse_known_args(args, namespace)
        if takes_rest:
            parsed, unknown = super().parse_known_args(args, namespace)
        else:
            self._intermixing = True
            try:
                parsed, unknown = self.parse_known_intermixed_args(args, namespace)
            finally:
                self._intermixing = False
        if unknown:  # else the parser above tells it, with a usage in which the command's options are not
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        if self._has_commands:  # whose usage names no command
            message += f"; '{self.prog} --help' lists the commands"
        with suppress(OSError):  # then the status alone tells it
            self.print_usage(sys.stderr)
            sys.stderr.write(f"{self.prog}: {message}\n")
        self.exit(EX_USAGE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments behind the command's name; those of the process if None.

    Returns:
        The exit status: 0, or 1 where the subcommand found fault, 64 for a usage error, 69 where something
        that is needed is not installed, 71 where the system refused something, such as to write the output,
        130 after Ctrl-C, 143 after SIGTERM.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the shell has closed it
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, open(nowhere, "w", encoding="utf-8", closefd=False))  # noqa: SIM115 - stays
    try:
        with _ended_by_sigterm():
            status = _run(arguments)
    except KeyboardInterrupt as end:
        status = _TERMINATED if isinstance(end, Terminated) else _INTERRUPTED
    except OSError as error:  # of the parser too, which prints by itself
        if _is_broken_pipe(error):
            _abandon(sys.stdout)
            status = _BROKEN_PIPE
        else:
            _tell(f"smtpverify: {error}")
            status = EX_OSERR
    return _flushed(status)


def _is_broken_pipe(error: OSError) -> bool:
    # To write to a pipe without a reader is an invalid argument to the C library of Windows.
    invalid = sys.platform == "win32" and error.errno == errno.EINVAL and error.filename is None
    return invalid or isinstance(error, BrokenPipeError)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Raise `Terminated` at SIGTERM, unless somebody else has a mind of his own about it."""

    def end(number: int, frame: object) -> None:
        raise Terminated

    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(arguments: list[str]) -> int:
    parser = _parser(arguments)
    try:
        chosen = parser.parse_args(arguments)
    except SystemExit as end:  # argparse has printed what there was to say
        return int(end.code or 0)
    try:
        return int(chosen.run(chosen))
    except CommandError as error:
        message, status = str(error), error.status
    except OSError as error:
        if _is_broken_pipe(error):
            raise
        message, status = str(error), EX_OSERR
    _tell(f"{parser.prog} {chosen.command}: {message}")
    return status


def _tell(message: str) -> None:
    """Tell why it did not go on; of a remedy, whose lines are indented, in lines that fit."""
    from ._screen import Screen

    screen = Screen(sys.stderr)
    with suppress(OSError):  # then the status alone tells it
        for line in message.split("\n"):
            if line.startswith(" "):
                screen.paragraph(line)
            else:
                screen.line(line)


def whole_parser() -> argparse.ArgumentParser:
    """The parser with every command's arguments, for completion and manual pages."""
    return _parser(list(COMMANDS))


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    from .. import __version__

    parser = _Parser(
        prog="smtpverify",
        description="Mail over TLS whose server is verified.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name in arguments:
            module = import_module(f".{name}", __name__)
            module.configure(command)
            command.set_defaults(run=module.run)
    return parser


def _flushed(status: int) -> int:
    """Hand on what is still buffered; gives the status, in which a failure shows."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _abandon(sys.stdout)
        if _is_broken_pipe(error):
            status = _BROKEN_PIPE
        elif not status:
            _tell(f"smtpverify: standard output: {error.strerror}")
            status = EX_OSERR
    try:
        sys.stderr.flush()
    except OSError:
        _abandon(sys.stderr)
    return status


def _abandon(stream: TextIO) -> None:
    """Let what is still buffered go nowhere: the interpreter flushes at its end, and would complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
