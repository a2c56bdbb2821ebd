"""Threads and forks: no verdict on another's connection, no context of another's trust, no leak."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from smtpverify import Pin, Trust, create_context
from smtpverify.tls import context as contexts
from tests.bed import HOST, Behaviour, Server, Tls
from tests.bed.network import LOOPBACK
from tests.gate import OTHER_PIN, pin_of
from tests.refusals import TLS12

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bed import Issued, World

ROOT = Path(__file__).parents[1]
CONNECTIONS, THREADS, FORKS, SHARE = 1000, 32, 4, 25
UNTRUSTED, WRONG_NAME, WRONG_PIN = "UntrustedCertificateError", "HostnameMismatchError", "PinMismatchError"


# --- a thousand connections ------------------------------------------------------------------------


def certificates(world: World) -> dict[str, Issued]:
    return {
        "good": world.good(),
        "old": world.good(),  # with TLS 1.2 at most
        "elsewhere": world.served("unknown_issuer"),
        "wrong name": world.served("wrong_name"),
        "expired": world.served("expired"),
        "self-signed": world.served("self_signed_leaf"),
    }


def trusts(world: World) -> dict[str, list[dict[str, Any]]]:
    """By kind; of one kind there are more than the cache holds."""
    good, own = pin_of(world.good()), pin_of(world.served("self_signed_leaf"))
    root = {"roots": str(world.root_file)}
    return {
        "root": [root],
        "elsewhere": [{"roots": str(world.unknown_file)}],
        "pin": [{**root, "pins": [f"sha256:{number:064x}", good]} for number in range(30)],
        "wrong pin": [{**root, "pins": [OTHER_PIN]}],
        "wrong pin too": [{**root, "pins": [own]}],
        "self-signed": [{**root, "pins": [own], "pins_only": True}],
        "pin alone": [{"pins": [good], "pins_only": True}],
        "TLS 1.3": [{**root, "minimum_version": 772}],
    }


def verdict(certificate: str, trust: str) -> str:
    """The error's name, or nothing where all is well."""
    if trust in ("self-signed", "pin alone"):
        borne = ("self-signed",) if trust == "self-signed" else ("good", "old")
        return "" if certificate in borne else WRONG_PIN
    if trust == "elsewhere":
        return "" if certificate == "elsewhere" else UNTRUSTED
    refused = {"elsewhere": UNTRUSTED, "self-signed": UNTRUSTED, "wrong name": WRONG_NAME}
    if certificate == "old" and trust == "TLS 1.3":
        return "TLSHandshakeError"
    if certificate in ("good", "old"):
        return WRONG_PIN if trust.startswith("wrong pin") else ""
    return {**refused, "expired": "CertificateExpiredError"}[certificate]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork()")
@pytest.mark.timeout(300)  # a loaded machine may take its time
def test_a_thousand_connections(world: World) -> None:
    choice = random.Random(20)
    kinds = [(kind, one) for kind, several in trusts(world).items() for one in several]
    first_of = {kind: next(at for at, (name, _) in enumerate(kinds) if name == kind) for kind, _ in kinds}
    with ExitStack() as stack:
        served: list[tuple[str, dict[str, Any]]] = []
        servers: list[Server] = []
        for (name, issued), tls in itertools.product(
            certificates(world).items(), (Tls.STARTTLS, Tls.IMPLICIT)
        ):
            extension = f"X-{len(served)}"
            behaviour = Behaviour(
                tls=tls,
                certificate=issued,
                tls_version=TLS12 if name == "old" else None,
                before_tls=("X-PLAIN",),
                after_tls=("PIPELINING", extension),
            )
            server = stack.enter_context(Server(behaviour, host=LOOPBACK))
            servers.append(server)
            served.append((name, {
                "scheme": "tls" if tls is Tls.STARTTLS else "smtps",
                "port": server.port,
                "name": HOST,
                "extension": extension,
                "recipient": f"user{len(served)}@example.net",
                "sha256": hashlib.sha256(issued.leaf_der).hexdigest(),
            }))  # fmt: skip
        every = [(which, first_of[kind]) for which in range(len(served)) for kind in first_of]
        while len(every) < CONNECTIONS + 1:
            every.append((choice.randrange(len(served)), choice.randrange(len(kinds))))
        jobs = [(which, trust, verdict(served[which][0], kinds[trust][0])) for which, trust in every]
        choice.shuffle(jobs)
        told = crowd({
            "servers": [one for _, one in served], "trusts": [one for _, one in kinds], "jobs": jobs,
            "threads": THREADS, "most": 8, "forks": FORKS, "share": SHARE, "seed": 20,
        })  # fmt: skip
    assert told["wrong"] == []
    assert told["unraisable"] == []
    assert told["threads"] == 1
    assert told["done"] == CONNECTIONS
    assert told["descriptors"][0] == told["descriptors"][1]
    assert told["cached"] == 8
    assert len(told["children"]) == FORKS
    assert max(told["amid"]) == THREADS
    for child in told["children"]:
        assert (child["wrong"], child["done"], child["cached"]) == ([], SHARE, 8)
        assert child["descriptors"][0] == child["descriptors"][1]
    # What the servers have: each message once, where it belongs, and nothing of what was refused.
    sent = [*told["sent"], *(one for child in told["children"] for one in child["sent"])]
    came = [message.mail_from.partition("@")[0] for server in servers for message in server.messages]
    assert sorted(came) == sorted(sent)
    assert len(set(sent)) == len(sent) > CONNECTIONS // 4
    for number, server in enumerate(servers):
        assert {rcpt for message in server.messages for rcpt in message.rcpts} <= {
            f"user{number}@example.net"
        }
        for connection in server.connections:
            assert len(connection.messages) in (0, 1)
            assert connection.messages or connection.leaked() == []
            assert set(connection.clear_commands) <= {"ehlo client.example.org", "STARTTLS"}


def crowd(task: dict[str, Any]) -> Any:
    command = [sys.executable, "-W", "error", "-m", "tests.crowd"]
    run = subprocess.run(
        command, input=json.dumps(task), cwd=ROOT, capture_output=True, text=True, check=False, timeout=280
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return json.loads(run.stdout)


# --- the cache -------------------------------------------------------------------------------------


def pinned(number: int) -> Trust:
    return Trust(pins=f"sha256:{number:064x}", pins_only=True)  # no roots to load


def together(count: int, work: Callable[[int], None]) -> None:
    """Have threads do something at once; what fails, fails here."""
    interval = sys.getswitchinterval()
    # As often as can be, and not before all have started: before Python 3.12 two threads that start with a
    # trace function can meet in its installation, and one dies of it.
    barrier = threading.Barrier(count, lambda: sys.setswitchinterval(1e-6), timeout=30)
    failures = list[BaseException]()

    def run(number: int) -> None:
        try:
            barrier.wait()
            work(number)
        except BaseException as failure:  # noqa: BLE001 - raised below
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if failures:
        raise failures[0]


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> contexts._Cache:
    """One of four places, which no other test fills."""
    monkeypatch.setattr(contexts._Cache, "MOST", 4)
    monkeypatch.setattr(contexts, "_cache", contexts._Cache())
    return contexts._cache


def test_a_context_is_that_of_its_trust(cache: contexts._Cache) -> None:
    """While others take its place in the cache, whoever asks."""
    many = [pinned(number) for number in range(12)]

    def ask(number: int) -> None:
        choice = random.Random(number)
        for _ in range(200):
            trust = choice.choice(many)
            assert create_context(trust).trust == trust
            assert len(cache._contexts) <= cache.MOST

    together(8, ask)
    assert len(cache._contexts) == cache.MOST
    assert all(context.trust == trust for trust, context in cache._contexts.items())


def test_the_same_context_for_all(cache: contexts._Cache, world: World) -> None:
    """However many ask for it first."""
    found = []
    together(16, lambda _: found.append(create_context(Trust(world.root_file))))
    assert len(found) == 16
    assert len(set(map(id, found))) == 1
    assert len(cache._contexts) == 1


def test_a_context_that_lost_its_place_is_what_it_was(cache: contexts._Cache) -> None:
    first = create_context(pinned(0))
    for number in range(1, 6):
        create_context(pinned(number))
    assert pinned(0) not in cache._contexts
    assert first.trust == pinned(0)
    again = create_context(pinned(0))
    assert again is not first
    assert again.trust == first.trust == pinned(0)
    assert again.trust.pins == (Pin.parse(f"sha256:{0:064x}"),)
