"""Django's own tests of its SMTP backend, with ours in its place.

Run it as `python tests/django/run.py`, by a Python that has Django, aiosmtpd and pip. The tests are those of
the installed version, from its sdist, which is fetched once. It fails where a test fails, apart from the
`DEVIATIONS`, and where one of those does not; and where the tests did not run on our backend.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import re
import smtplib
import subprocess
import sys
import tarfile
import unittest
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.mail.backends import smtp as django_smtp

import smtpverify

SDISTS = Path(__file__).parents[2] / "build" / "django"
# Every Django from 4.2 on has 40 or more.
LEAST_TESTS = 40
THEIRS = "--theirs"  # run them on Django's own backend, and print the names of those that fail

# Test -> what its failure says, and the reason.
DEVIATIONS = {
    "test_email_tls_attempts_starttls": (
        r"TLSRequiredError: 127\.0\.0\.1:\d+: the server does not offer STARTTLS",
        "the same exception, an SMTPException, in words that name the server",
    ),
    "test_ssl_context_uses_ssl_certfile_and_keyfile": (
        r"TrustError: client certificate: .*certfile: No such file or directory",
        "the context is a verifying one, and its files are read, where the test has a mock and no files",
    ),
}


def fetched() -> Path:
    """The directory `tests` of the installed Django's sdist."""
    tests = SDISTS / f"django-{django.__version__}" / "tests"
    if not tests.exists():
        SDISTS.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "Django"]
        wanted = f"Django=={django.__version__}"
        subprocess.run([*command, "--dest", str(SDISTS), wanted], check=True)
        (sdist,) = [
            path
            for path in SDISTS.glob("*.tar.gz")
            if path.name.lower() == f"django-{django.__version__}.tar.gz"
        ]
        with tarfile.open(sdist) as archive:
            prefix = f"{archive.getnames()[0].partition('/')[0]}/tests/mail/"
            for member in archive.getmembers():
                if member.name.startswith(prefix):
                    member.name = member.name.removeprefix(prefix)
                    archive.extract(member, tests / "mail", filter="data")
    return tests


def substitute() -> Counter[str]:
    """Put our backend and our clients in the place of Django's and smtplib's, and count the backends made.

    The tests put mocks into `smtplib` and into what Django's module knows by that name; so both are ours.
    """
    from smtpverify.integrations.django import EmailBackend

    backends: Counter[str] = Counter()
    original: Any = django_smtp.EmailBackend

    def count(cls: type[Any], *_args: object, **_kwargs: object) -> object:
        backends["ours" if issubclass(cls, EmailBackend) else "Django's"] += 1
        return object.__new__(cls)

    original.__new__ = count
    django_smtp.EmailBackend = EmailBackend
    django_smtp.smtplib = smtpverify
    for name in ("SMTP", "SMTP_SSL"):
        setattr(smtplib, name, getattr(smtpverify, name))
    return backends


def suite() -> unittest.TestSuite:
    """The tests of the SMTP backend, wherever this Django has them."""
    found = unittest.TestSuite()
    for name in ("mail.tests", "mail.test_backends"):
        if importlib.util.find_spec(name) is None:
            continue
        module = importlib.import_module(name)
        for case in vars(module).values():
            if isinstance(case, type) and case.__name__.startswith("SMTPBackend"):
                found.addTest(unittest.defaultTestLoader.loadTestsFromTestCase(case))
    return found


def names(tests: Any) -> set[str]:
    """The names of the tests of a suite."""
    if isinstance(tests, unittest.TestCase):
        return {tests._testMethodName}
    return set().union(*map(names, tests))


def failures(result: unittest.TestResult) -> list[tuple[str, str]]:
    """Name of a test, and what it printed, of those that failed; a subtest counts for its test."""
    return [
        (test.id().rpartition(".")[2].partition(" ")[0], text)
        for test, text in (*result.failures, *result.errors)
    ]


def run() -> unittest.TestResult:
    """Run the tests in the surroundings that Django's own runtests.py makes for them."""
    from django.test.utils import setup_test_environment
    from django.utils import deprecation

    settings.configure(SECRET_KEY="none", USE_TZ=True)
    django.setup()
    setup_test_environment()
    for category in (
        deprecation.RemovedInNextVersionWarning,
        deprecation.RemovedAfterNextVersionWarning,
        ResourceWarning,
        RuntimeWarning,
    ):
        warnings.simplefilter("error", category)
    # What fails is judged, and printed then: a failure that is expected is not to look like one.
    return unittest.TextTestRunner(stream=io.StringIO(), verbosity=0).run(suite())


def fail_with_theirs() -> set[str]:
    """The tests that fail in this Python with Django's own backend, too: some depend on a patch release."""
    command = [sys.executable, __file__, THEIRS]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return set(json.loads(output.splitlines()[-1]))


def judged(failed: list[tuple[str, str]], theirs: set[str]) -> list[str]:
    """What is wrong with the failures, once those that are expected are taken out."""
    expected = DEVIATIONS.keys() & names(suite())
    problems = [f"{name} passed, and is listed" for name in expected.difference(name for name, _ in failed)]
    for name, text in failed:
        pattern, reason = DEVIATIONS.get(name, ("", ""))
        if reason and re.search(pattern, text):
            print(f"django: deviates: {name}: {reason}")
        elif name in theirs:
            print(f"django: fails with Django's own backend, too: {name}")
        else:
            problems.append(f"{name}\n{text}")
    return problems


def main() -> int:
    """Run the tests; return 0 where they passed, but for the deviations."""
    sys.path.insert(0, str(fetched()))
    if THEIRS in sys.argv:
        print(json.dumps([name for name, _ in failures(run())]))
        return 0
    theirs = fail_with_theirs()
    backends = substitute()
    result = run()
    failed = failures(result)

    problems = judged(failed, theirs)
    ran = result.testsRun - len(result.skipped)
    if ran < LEAST_TESTS:
        problems.append(f"{ran} tests ran, of {LEAST_TESTS} at least")
    if backends["Django's"] or not backends["ours"]:
        problems.append(f"these backends were made: {dict(backends)}")
    python = ".".join(map(str, sys.version_info[:3]))
    print(
        f"django: Python {python}, Django {django.__version__}, {ran} of its tests on "
        f"{backends['ours']} backends of ours, {len(failed)} of them listed or failing anyway"
    )
    for problem in problems:
        print(f"django: FAILED: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
