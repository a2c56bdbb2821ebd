"""`smtpverify run`: a Python program whose smtplib verifies, and what it starts."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..environment import Settings, startup_directory
from ..errors import SMTPVerifyError
from ..stdlib import interpreter_options
from ..tls.known_hosts import user_known_hosts
from ..tls.pins import Pin
from . import EX_UNAVAILABLE, EX_USAGE, CommandError
from ._screen import print_for_shell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["configure", "run"]

_DESCRIPTION = """\
Runs a Python program as 'python SCRIPT ARGS' or 'python -m MODULE ARGS' does,
with one difference: smtplib verifies the mail server, in this program and in
every Python program that it starts, without a change to any of them. Without
verification they send nothing over TLS, and no password in plaintext.
"""

_EPILOG = """\
A trust file has a line for each host, in place of --cafile and --pin, with any
of cafile=, pin=, pin-only=, client-cert= and client-key=:

    mail.example.org  cafile=our-ca.pem  pin=sha256:0433...

Nothing goes in plaintext to a host that has a line.

examples:
  smtpverify run nightly_report.py --to admin@example.org
  smtpverify run --cafile our-ca.pem -m mailer.send

exit status: the program's; 64 if an argument can't be used, 69 if this Python
is isolated (-I, -E, -S), so that it would not be reached.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and its arguments."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.usage = "%(prog)s [OPTIONS] (SCRIPT | -m MODULE) [ARGS ...]"
    parser.add_argument("--cafile", metavar="FILE", help="trust the CA certificates in this file alone")
    parser.add_argument(
        "--pin",
        metavar="PIN",
        action="append",
        help="besides, the server's certificate must bear this pin, or another that is given",
    )
    parser.add_argument("--trust-file", metavar="FILE", help="whom to trust by host, see below")
    parser.add_argument(
        "--known-hosts", metavar="FILE", help="those in FILE in place of your own; none for none at all"
    )
    parser.add_argument(
        "--require-tls", action="store_true", help="let no mail go in plaintext to another machine"
    )
    parser.add_argument(
        "--allow-plaintext-login",
        action="store_true",
        help="let passwords go in plaintext to another machine",
    )
    parser.add_argument(
        "--print-environment",
        action="store_true",
        help="run nothing; print the variables that do it, for PowerShell's Invoke-Expression on Windows, or "
        "for a shell's eval",
    )
    parser.add_argument("-m", dest="module", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("program", metavar="SCRIPT", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Run the program in the place of this one.

    Returns:
        The program's exit status, where the system can't put it in our place.

    Raises:
        CommandError: an argument can't be used, or the program would not be reached.
    """
    variables = _variables(arguments)
    if arguments.print_environment:
        for name, value in variables.items():
            print_for_shell(_assignment(name, value))
        return 0
    program: list[str] = arguments.program
    if program[:1] == ["--"]:
        program = program[1:]
    if not program or program[0].startswith("-"):
        raise CommandError("give a script, or -m and a module, behind the options", EX_USAGE)
    if sys.flags.isolated or sys.flags.ignore_environment or sys.flags.no_site or not sys.executable:
        raise CommandError(
            "this Python is isolated (-I, -E, -S) or does not know itself; the program would not be reached",
            EX_UNAVAILABLE,
        )
    options = interpreter_options()
    if arguments.module:
        options.append("-m")
    return _become([sys.executable, *options, *program], {**os.environ, **variables})


def _variables(arguments: argparse.Namespace) -> dict[str, str]:
    """What the environment says already, and what the arguments say instead."""
    given: dict[str, Any] = {}
    try:
        if arguments.cafile is not None:
            given["cafile"] = os.path.abspath(arguments.cafile)
        if arguments.pin is not None:
            given["pins"] = tuple(map(Pin.parse, arguments.pin))
        if arguments.trust_file is not None:
            given["trust_file"] = os.path.abspath(arguments.trust_file)
        for name in ("require_tls", "allow_plaintext_login"):
            if getattr(arguments, name):
                given[name] = True
        settings = replace(Settings.from_environment(os.environ), **given)
        settings = replace(settings, known_hosts=_known_hosts(arguments, settings.known_hosts))
        settings.trusts()  # now, and not when the program wants to send
    except SMTPVerifyError as error:
        option = "SMTPVERIFY_CAFILE" if arguments.cafile is None else "--cafile"
        raise CommandError(re.sub("^roots:", f"{option}:", str(error)), EX_USAGE) from error
    if not os.path.isfile(os.path.join(startup_directory(), "sitecustomize.py")):
        raise CommandError(f"{startup_directory()}: there is no such directory", EX_UNAVAILABLE)
    if os.pathsep in startup_directory():
        raise CommandError(f"{startup_directory()}: PYTHONPATH can't hold a '{os.pathsep}'", EX_UNAVAILABLE)
    return settings.to_environment(os.environ)


def _known_hosts(arguments: argparse.Namespace, before: str | None) -> str | None:
    """The path of the known hosts: as asked for, as said before, or the user's own where there are any."""
    if arguments.known_hosts is not None:
        return None if arguments.known_hosts == "none" else os.path.abspath(arguments.known_hosts)
    if before:
        return before
    own = user_known_hosts()
    if own is None:
        return None
    try:
        os.stat(own)
    except FileNotFoundError:
        return None
    except OSError:  # that it can't be looked at does not mean that there are none: who reads it tells why
        pass
    return own


def _assignment(name: str, value: str) -> str:
    """Return what sets an environment variable in the user's shell."""
    if sys.platform == "win32" and "SHELL" not in os.environ:  # which Git's bash sets
        doubled = value.replace("'", "''")
        return f"$env:{name} = '{doubled}'"
    return f"export {name}={shlex.quote(value)}"


def _become(command: list[str], environment: Mapping[str, str]) -> int:
    sys.stdout.flush()
    if sys.platform != "win32":
        os.execve(command[0], command, environment)  # noqa: S606 # the user's own program
    # There execve() would start another process, and let the shell go on at once.
    with _ignore_ctrl_c():
        status = subprocess.call(command, env=environment)  # noqa: S603 # the same
    return status - (1 << 32) if status >> 31 else status  # of 0xC000013A sys.exit() would make -1


@contextlib.contextmanager
def _ignore_ctrl_c() -> Iterator[None]:
    """Take no notice of Ctrl-C, which the console hands to the program too: what it means is its decision."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: None)  # SIG_IGN may be inherited
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
