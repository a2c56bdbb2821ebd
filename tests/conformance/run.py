"""CPython's own test_smtplib, with smtpverify's classes in the place of smtplib's.

Run it as `python -E -bb -W default tests/conformance/run.py`, the options that CPython's regrtest gives
its interpreter. It fails where a test fails, and where the tests did not run on our classes. With
`--injected` they run on smtplib's own, into which verification is injected.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import smtplib
import sys
import unittest
from collections import Counter
from typing import Any
from unittest import mock

import smtpverify
from smtpverify.smtp.stock import begin

NAMES = ("SMTP", "SMTP_SSL", "LMTP")
# test_smtplib has 81 tests or more in every Python from 3.10 on.
LEAST_TESTS = 70
LEAST_CLIENTS = {"SMTP": 40, "LMTP": 5}


def has_test_package() -> bool:
    """Whether this interpreter ships CPython's tests; a distribution's often does not."""
    return (
        importlib.util.find_spec("test") is not None
        and importlib.util.find_spec("test.test_smtplib") is not None
    )


def substitute() -> Counter[str]:
    """Put our classes in the place of smtplib's, and count the clients made of each.

    A client of smtplib's own, not of ours, is counted as "stdlib".
    """
    clients: Counter[str] = Counter()
    original = smtplib.SMTP

    def count(cls: type[Any], *_args: object, **_kwargs: object) -> object:
        kind = "stdlib"
        for name in NAMES:  # a more special one comes later
            if issubclass(cls, getattr(smtpverify, name)):
                kind = name
        clients[kind] += 1
        return object.__new__(cls)

    for name in NAMES:
        ours, theirs = getattr(smtpverify, name), getattr(smtplib, name)
        if ours is theirs or not issubclass(ours, original):
            sys.exit(f"conformance: smtpverify.{name} is no subclass of smtplib.SMTP of its own")
        setattr(smtplib, name, ours)
    original.__new__ = count  # type: ignore[assignment]
    return clients


def inject() -> Counter[str]:
    """Inject into smtplib's own classes, and count the connections that each has begun."""
    clients: Counter[str] = Counter()

    def count(smtp: object, *where: Any) -> None:
        clients["LMTP" if isinstance(smtp, smtplib.LMTP) else "SMTP"] += 1
        begin(smtp, *where)

    mock.patch("smtpverify.smtp.methods.begin", count).start()
    smtpverify.inject_into_smtplib()
    return clients


def main() -> int:
    """Run the tests; return 0 where they passed or the interpreter has none."""
    python = ".".join(map(str, sys.version_info[:3]))
    if not has_test_package():
        # What a distribution splits off is its own affair; any other interpreter has them.
        if "CI" in os.environ and sys.base_prefix != "/usr":
            print(f"conformance: Python {python} in {sys.base_prefix} ships no test.test_smtplib")
            return 1
        print(f"conformance: skipped, Python {python} ships no test.test_smtplib")
        return 0

    clients = inject() if "--injected" in sys.argv else substitute()
    suite = unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module("test.test_smtplib"))
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=1).run(suite)

    problems = [] if result.wasSuccessful() else ["tests failed"]
    ran = result.testsRun - len(result.skipped)
    if ran < LEAST_TESTS:
        problems.append(f"{ran} tests ran, of {LEAST_TESTS} at least")
    problems += [
        f"{clients[name]} clients were made of smtpverify.{name}, of {least} at least"
        for name, least in LEAST_CLIENTS.items()
        if clients[name] < least
    ]
    if clients["stdlib"]:
        problems.append(f"{clients['stdlib']} clients were made of smtplib's own classes")

    made = ", ".join(f"{count} {name}" for name, count in sorted(clients.items()))
    whose = "injected clients" if "--injected" in sys.argv else "smtpverify's clients"
    print(f"conformance: Python {python}, {ran} of CPython's tests on {whose} ({made})")
    for problem in problems:
        print(f"conformance: FAILED: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
