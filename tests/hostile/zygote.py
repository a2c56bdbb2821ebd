"""A process that has imported the clients, and forks one process for each errand.

Reads errands as lines of JSON, one at a time, and answers each by its report. The other end is
`laboratory.Laboratory`.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import socket
import stat
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from tests.bed import HOST
from tests.bed.network import Resolver, stay_on_loopback
from tests.hostile.clients import CLIENTS, expected
from tests.hostile.errand import Errand, Report

RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # octets in a unit of ru_maxrss


def main() -> None:
    """Fork for each errand, until the input ends."""
    stay_on_loopback()
    socket.getaddrinfo = Resolver().getaddrinfo
    for module in sys.argv[1:]:
        __import__(module)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(asdict(fork(Errand(**json.loads(line))))) + "\n")
        sys.stdout.flush()


def fork(errand: Errand) -> Report:
    """Run an errand in a new process, and measure it from outside."""
    if sys.platform == "win32":
        raise NotImplementedError
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        with os.fdopen(writer, "w") as file:
            warm_up(errand)
            file.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\n")
            file.flush()
            signal.setitimer(signal.ITIMER_REAL, errand.limit)  # whose signal nobody handles: it kills
            json.dump(asdict(run(errand)), file)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        start = file.readline()
        began = time.monotonic()
        told = file.read()
    _, status, usage = os.wait4(pid, 0)
    if not start or status not in (0, signal.SIGALRM):
        raise ChildProcessError(f"a client ended with status {status}")
    report = Report(**json.loads(told)) if told else Report([], killed=True)
    report.seconds = time.monotonic() - began
    report.memory = (usage.ru_maxrss - int(start)) * RSS_UNIT
    return report


def warm_up(errand: Errand) -> None:
    """Deliver the same to a good server: what that takes is not to be measured."""
    good = replace(errand, host=HOST, port=errand.good_port, implicit=False, timeout=60.0)
    CLIENTS[errand.client](good, Report([]))
    gc.collect()


def run(errand: Errand) -> Report:
    """Run an errand in this process."""
    report = Report([])
    before = open_sockets()
    try:
        CLIENTS[errand.client](errand, report)
    except BaseException as error:  # noqa: BLE001 - which of them is what we want to know
        report.error, report.text = type(error).__name__, str(error)[:2000]
        report.expected = expected(error)
        report.sockets_held = open_sockets() - before
    gc.collect()
    report.sockets_left = open_sockets() - before
    return report


def open_sockets() -> int:
    """How many of this process's descriptors are sockets."""
    return sum(_is_socket(int(path.name)) for path in Path("/dev/fd").iterdir())


def _is_socket(descriptor: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:  # the directory's own, closed by now
        return False


if __name__ == "__main__":
    main()
