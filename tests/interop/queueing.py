"""A Celery worker that runs docs/examples/celery_tasks.py, and a relay that does to it what it is told."""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
from collections import Counter, deque
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from celery.exceptions import TimeoutError as NotInTime

from tests.bed import Behaviour, End, Pieces, Server, Tls
from tests.bed.link import Ended
from tests.interop.conftest import directory
from tests.interop.servers import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bed import Connection, Message, World
    from tests.interop.servers import Running

    Saying = Callable[[str], Any]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
VERBS = ("MAIL", "RCPT", "DATA", ".")
FIRST_PAUSE = 0.05
PASSWORD = "XiKPzcvn"


def cut(line: str) -> NoReturn:
    """End the connection without a word."""
    raise Ended(End.SCRIPTED)


class Relay:
    """A server for the worker, which is told what to say to the next commands of a kind."""

    def __init__(self, world: World) -> None:
        self.certificate = self.good = world.served("address_good")
        self.told: dict[str, deque[str | bytes | Saying]] = {}
        self.server = Server(
            Behaviour(
                tls=Tls.STARTTLS,
                certificate=lambda name: self.certificate,
                greeting=Pieces(self.greeting),
                authenticator=lambda *_: self._say("AUTH", "") or "235 2.7.0 Welcome",
                replies={verb: partial(self._say, verb) for verb in (*VERBS, "STARTTLS", "RSET")},
            )
        )
        self.url = f"tls://alice:{PASSWORD}@127.0.0.1:{self.server.port}?cafile={world.root_file}"
        self.start()

    def greeting(self) -> list[bytes]:
        """What is said to a new connection."""
        return [self._say("", "") or b"220 mail.example.org ESMTP\r\n"]

    def _say(self, verb: str, line: str) -> Any:
        told = self.told.get(verb)
        reply = told.popleft() if told else None
        return reply(line) if callable(reply) else reply

    def tell(self, verb: str, *replies: str | bytes | Saying) -> None:
        self.told[verb] = deque(replies)

    def start(self) -> None:
        """Count from here, and say nothing unusual."""
        self.told, self.certificate = {}, self.good
        self._first = len(self.server.connections)
        self._before = Counter(map(id, self.server.messages))
        self._commands = Counter(self._verbs())

    def _verbs(self) -> list[str]:
        return [line[:4].upper() for one in self.server.connections for line in one.commands]

    @property
    def connections(self) -> list[Connection]:
        """Those made since."""
        return self.server.connections[self._first :]

    @property
    def messages(self) -> list[Message]:
        """Those that have arrived whole since, accepted or not."""
        return [message for message in self.server.messages if id(message) not in self._before]

    def count(self, verb: str) -> int:
        """How many commands of that kind came since."""
        return Counter(self._verbs())[verb] - self._commands[verb]


class Worker:
    """Celery's, started from the command line, and what it has logged."""

    def __init__(self, redis_server: Running, relay: Relay, base: Path, number: int, processes: int) -> None:
        self.log = base / "log"
        self.redis_url = f"redis://127.0.0.1:{redis_server.ports['redis']}/{number}"
        path = [str(EXAMPLES), str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "REDIS_URL": self.redis_url,
            "MAIL_RELAY": relay.url,
            "MAIL_PAUSE": str(FIRST_PAUSE),
        }
        options = ["--without-gossip", "--without-mingle", "--loglevel=INFO", f"--concurrency={processes}"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", *options],
                cwd=base,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.tasks = self._tasks()

    def _tasks(self) -> Any:
        """The very module that the page shows, as a program that queues mail has it."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REDIS_URL", self.redis_url)
            patch.syspath_prepend(EXAMPLES)
            sys.modules.pop("celery_tasks", None)
            return importlib.import_module("celery_tasks")

    def outcome(self, result: Any) -> BaseException | None:
        """Wait for the task's end; gives what it raised."""
        try:
            raised: BaseException | None = result.get(timeout=PATIENCE, propagate=False)
        except NotInTime:
            raise AssertionError(f"the task is {result.state}:\n{self.logged()}") from None
        return raised

    def logged(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def retries(self, result: Any) -> int:
        return self.logged().count(f"[{result.id}] retry: ")

    def has_retried(self, result: Any, times: int) -> None:
        """Wait for the log to say so: it may come after the result."""
        wait_until(lambda: self.retries(result) >= times, f"{times} retries")
        assert self.retries(result) == times

    def stop(self) -> None:
        """Let it end in its own way, which closes its connections."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()


@contextmanager
def running(
    redis_server: Running, world: World, number: int, processes: int
) -> Iterator[tuple[Worker, Relay]]:
    """A worker with a relay and a database of its own."""
    relay = Relay(world)
    with relay.server, directory() as base:
        worker = Worker(redis_server, relay, base, number, processes)
        try:
            yield worker, relay
        finally:
            worker.stop()
            gc.collect()  # results in cycles, which speak to Redis in the end
            worker.tasks.memory.close()
            worker.tasks.app.close()
