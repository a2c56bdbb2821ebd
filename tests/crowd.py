"""A program: many connections from many threads, with forks in between. Task and findings are JSON.

A process of its own, so that descriptors, threads and warnings are all its own. Before each fork the threads
wait, most of them amid a connection, and one more holds the lock of the cache: what the child finds is a lock
that nobody will ever release, and other people's connections. They wait, since there are locks in OpenSSL as
well, and one that a thread holds at a fork nobody can release.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import queue
import random
import signal
import sys
import threading
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import smtpverify
from smtpverify import Trust, connect, create_context
from smtpverify.tls import context as contexts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PATIENCE = 50  # seconds, in which a child ends or is ended
DESCRIPTORS = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
Job = tuple[int, int, str]  # number of the server, number of the trust, name of the error or ""


@dataclass
class Gate:
    """Lets threads pass, or holds them all."""

    threads: int
    waiting: int = 0
    closed: bool = False
    done: int = 0  # jobs
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self) -> None:
        with self._changed:
            if self.closed:
                self.waiting += 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self.closed)
                self.waiting -= 1

    def count(self) -> None:
        """A job is done."""
        with self._changed:
            self.done += 1
            self._changed.notify_all()

    def leave(self) -> None:
        """A thread is done."""
        with self._changed:
            self.threads -= 1
            self._changed.notify_all()

    @contextlib.contextmanager
    def holding_all(self, after: int) -> Iterator[int]:
        """Once so many jobs are done, hold the threads; gives how many there are."""
        with self._changed:
            self._changed.wait_for(lambda: self.done >= after or not self.threads)
            self.closed = True
            self._changed.wait_for(lambda: self.waiting == self.threads)
            held = self.waiting
        try:
            yield held
        finally:
            with self._changed:
                self.closed = False
                self._changed.notify_all()


class Crowd:
    """What is to be done, and what was found."""

    def __init__(self, task: Any) -> None:
        self.servers: list[Any] = task["servers"]
        self.trusts = [Trust(**arguments) for arguments in task["trusts"]]
        self.jobs: list[Job] = [tuple(job) for job in task["jobs"]]
        self.wrong: list[str] = []
        self.sent: list[str] = []
        self.gate = Gate(task["threads"])
        self._mine = threading.local()
        self._watch()

    def _watch(self) -> None:
        """See that the context that judges a connection is that of its trust."""
        original = contexts.VerifyingContext.wrap_socket

        def wrap_socket(context: Any, *arguments: Any, **options: Any) -> Any:
            wanted = self._mine.trust
            if context.trust != wanted:
                self.wrong.append(f"the context of {context.trust} for {wanted}")
            wrapped = original(context, *arguments, **options)
            if wrapped.context is not context or wrapped._trust != wanted:
                self.wrong.append("the socket is another's")
            return wrapped

        contexts.VerifyingContext.wrap_socket = wrap_socket  # type: ignore[assignment, method-assign]

    def do(self, number: int, job: Job) -> None:
        """One connection, to its verdict; with a message where it is good."""
        which, trust, expected = job
        server = self.servers[which]
        self._mine.trust = self.trusts[trust]
        url = f"{server['scheme']}://127.0.0.1:{server['port']}?server-name={server['name']}"
        try:
            with connect(
                url, trust=self.trusts[trust], local_hostname="client.example.org", timeout=60
            ) as smtp:
                self.gate()
                peer = smtp.peer
                told = peer is not None and peer.certificate.sha256 == server["sha256"]
                if expected or not told or smtp.relay is None or smtp.relay.trust != self.trusts[trust]:
                    self.wrong.append(f"{job}: {peer}")
                marker = f"{os.getpid()}-{number}"
                smtp.sendmail(f"{marker}@example.org", [server["recipient"]], f"{marker}\n")
                if not smtp.has_extn(server["extension"]):
                    self.wrong.append(f"{job}: it offers {smtp.esmtp_features}")
                self.sent.append(marker)
        except smtpverify.SMTPVerifyError as error:
            if type(error).__name__ != expected:
                self.wrong.append(f"{job}: {error!r}")
        except Exception as error:  # noqa: BLE001 - a finding of its own
            self.wrong.append(f"{job}: {error!r}")

    def work(self, jobs: queue.SimpleQueue[tuple[int, Job]]) -> None:
        """A thread's life."""
        try:
            while True:
                try:
                    number, job = jobs.get_nowait()
                except queue.Empty:
                    return
                self.gate()
                self.do(number, job)
                self.gate.count()
        finally:
            self.gate.leave()

    def start(self, jobs: Iterable[tuple[int, Job]]) -> list[threading.Thread]:
        """As many threads as the gate counts."""
        waiting: queue.SimpleQueue[tuple[int, Job]] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        threads = [threading.Thread(target=self.work, args=(waiting,)) for _ in range(self.gate.threads)]
        for thread in threads:
            thread.start()
        return threads

    # --- forks -------------------------------------------------------------------------------------

    def fork(self, share: list[tuple[int, Job]]) -> Any:
        """What a child finds, that has nothing but what the parent had."""
        if sys.platform == "win32":
            raise NotImplementedError
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with contexts._cache._lock:
                held.set()
                release.wait()

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork among threads, since 3.12
            child = os.fork()
        if not child:
            self._be_child(reading, writing, share)
        release.set()
        holder.join()
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
        _, status = os.waitpid(child, 0)
        return json.loads(told) if status == 0 else {"status": status}

    def _be_child(self, reading: int, writing: int, share: list[tuple[int, Job]]) -> None:
        if sys.platform == "win32":
            raise NotImplementedError
        status = 1
        try:
            signal.alarm(PATIENCE)
            os.close(reading)
            self.gate, self.wrong, self.sent = Gate(4), [], []
            before = descriptors()
            for thread in self.start(share):
                thread.join()
            for trust in self.trusts:
                if create_context(trust).trust != trust:
                    self.wrong.append(f"another context for {trust}")
            os.write(writing, json.dumps(self.found(before)).encode("ascii"))
            status = 0
        finally:
            os._exit(status)  # without the parent's exit handlers, and its connections

    def found(self, before: int) -> dict[str, Any]:
        """What there is to tell."""
        return {
            "wrong": self.wrong,
            "sent": self.sent,
            "done": self.gate.done,
            "descriptors": [before, descriptors()],
            "cached": len(contexts._cache._contexts),
        }


def descriptors() -> int:
    """How many are open."""
    gc.collect()
    return len(list(DESCRIPTORS.iterdir()))


def main() -> None:
    task = json.load(sys.stdin)
    contexts._Cache.MOST = task["most"]
    unraisable: list[str] = []
    sys.unraisablehook = lambda what: unraisable.append(repr(what.exc_value))
    threading.excepthook = lambda what: unraisable.append(repr(what.exc_value))
    crowd = Crowd(task)
    crowd.do(0, crowd.jobs[0])  # so that all is imported, and all roots are found
    before = descriptors()
    forks, size = task["forks"], len(crowd.jobs)
    choice = random.Random(task["seed"])
    threads = crowd.start(enumerate(crowd.jobs[1:], 1))
    children, amid = [], []
    for turn in range(1, forks + 1):
        share = [(number, choice.choice(crowd.jobs)) for number in range(task["share"])]
        with crowd.gate.holding_all(after=turn * size // (forks + 1)) as held:
            amid.append(held)
            children.append(crowd.fork(share))
    for thread in threads:
        thread.join()
    told = crowd.found(before) | {"children": children, "amid": amid, "unraisable": unraisable}
    json.dump(told | {"threads": threading.active_count()}, sys.stdout)


if __name__ == "__main__":
    main()
