"""Have one program send to several servers: `python -m tests.programs.send NAME WAY SECURITY:PORT…`.

Its modules are imported once. Each mail is then sent by a process forked for it, since many programs keep
what they were configured with, and end where they can't send.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from importlib import import_module

from tests.programs import LINE, PROGRAMS, Errand, Program

PATIENCE = 30  # seconds for one mail; some programs wait for ever


def main() -> None:
    """Send the mails at the same time, and wait for all of them."""
    name, way, *servers = sys.argv[1:]
    import_module("smtplib")
    if "smtpverify.inject" in sys.modules:
        # The server is here, and is to count as one elsewhere.
        vars(import_module("smtpverify.smtp.endpoints"))["is_local"] = lambda sock: False
    for module in PROGRAMS[name].modules:
        import_module(module)
    sys.stdout.flush()
    children = [_forked(PROGRAMS[name], way, server) for server in servers]
    for child in children:
        os.waitpid(child, 0)


def _forked(program: Program, way: str, server: str) -> int:
    if sys.platform == "win32":
        raise NotImplementedError
    child = os.fork()
    if child:
        return child
    signal.alarm(PATIENCE)
    security, port = server.split(":")
    status = 1
    try:
        program.send(Errand(int(port), implicit=security == "tls", line=way == LINE))
        status = 0
    except Exception as error:  # noqa: BLE001 whatever a program raises where it could not send
        told = "".join(traceback.format_exception(error))
        print(f"--- {program.name}, {server}\n{told}", file=sys.stderr, flush=True)
    finally:
        sys.stdout.flush()
        os._exit(status)  # the parent's own clean-up is the parent's


if __name__ == "__main__":
    main()
