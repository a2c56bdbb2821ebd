"""Where clients and servers meet, one pair at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tests.hostile import CASES
from tests.hostile.errand import Errand, Report
from tests.hostile.judgement import Outcome, judge, seconds_for
from tests.hostile.server import HostileServer

if TYPE_CHECKING:
    from types import TracebackType

    from tests.bed import World
    from tests.hostile import Case

ROOT = Path(__file__).parents[2]


class Laboratory:
    """A zygote, and a server for each case.

    Args:
        world: where certificates come from, and whom the clients trust.
        modules: to be imported by the zygote before it forks.
    """

    def __init__(self, world: World, *modules: str) -> None:
        self._world = world
        # A tracer for coverage would be measured as well.
        env = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_PROCESS")}
        # All clients find their roots in the same way: as OpenSSL does.
        env |= {"SSL_CERT_FILE": str(world.root_file), "SSL_CERT_DIR": str(world.empty_directory)}
        command = [sys.executable, "-m", "tests.hostile.zygote", *modules]
        self._stack = ExitStack()
        self._good = self._stack.enter_context(HostileServer(CASES["good_on_starttls"], world, timeout=0.0))
        self._zygote = self._stack.enter_context(
            subprocess.Popen(
                command, cwd=ROOT, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        )

    def __enter__(self) -> Laboratory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()  # and with it the zygote's input, upon which it ends

    def run(self, case: Case, client: str, timeout: float, bound: float | None = None) -> Outcome:
        """Let a client meet a case's server.

        Args:
            case, client: who meets whom.
            timeout: the client's, in seconds.
            bound: seconds that it may take in all, if not as usual.
        """
        bound = seconds_for(timeout) if bound is None else bound
        server = HostileServer(case, self._world, timeout)
        with server:
            errand = Errand(
                client=client,
                host=case.host,
                port=server.port,
                good_port=self._good.port,
                implicit=case.implicit,
                timeout=timeout,
                limit=bound + timeout,
                message=case.message,
            )
            report = self._send(errand)
        return judge(case, report, server.seen, bound)

    def _send(self, errand: Errand) -> Report:
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.write(json.dumps(asdict(errand)) + "\n")
        self._zygote.stdin.flush()
        return Report(**json.loads(self._zygote.stdout.readline()))
