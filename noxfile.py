"""Every check of smtpverify, the same on a developer's machine and in CI.

`nox` runs all but the comparisons with other clients (`hostile`, `bench`), the fuzzers and the pictures, on
each interpreter of `VERSIONS` that is found and runs. With `CI` set in the environment a missing one is a
failure. `PYTHON_PATCH_RELEASES` names patch releases, such as `3.13.0 3.13.18`, that are tested in place of
the first one found of their version.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nox
from nox.logger import logger

VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15")
# The oldest and the newest of a version, and a distribution's own.
PATCH_RELEASES = os.environ.get("PYTHON_PATCH_RELEASES", "").split()
# Types are checked as they are on these systems, for the oldest and the newest Python.
PLATFORMS = ("linux", "darwin", "win32")
TYPED = (VERSIONS[0], VERSIONS[-1])
CI = "CI" in os.environ
# Whose tests are measured, and the gates count. Not all: it takes longer, and before Python 3.12 two threads
# that start can meet where a trace function is installed, so that one dies of it.
MEASURED = "3.14"
# All tests run on these, and on the newest found. On the others, those that depend on the Python most.
WHOLE = ("3.10", MEASURED, "3.15")
PART = [
    "tests/test_stdlib.py",
    "tests/test_public_face.py",
    "tests/test_context.py",
    "tests/test_gate.py",
    "tests/test_diagnosis.py",
    "tests/test_foreign.py",
    "tests/test_schemes.py",
    "tests/test_session.py",
    "tests/test_client.py",
    "tests/test_messages.py",
    "tests/test_authentication.py",
    "tests/test_tunnels.py",
    "tests/test_errors.py",
    "tests/test_waiting.py",
    "tests/test_inject.py",
    "tests/test_run.py",
    "tests/test_demo.py",
]

PYPROJECT = nox.project.load_toml("pyproject.toml")
# One file a process, its name led by the interpreter's. Apart from what they are combined into, since
# `coverage report` combines, and removes, what it finds next to its own file.
COVERAGE_PARTS = Path("build", "coverage", "parts", "data").absolute()
COVERAGE_COMBINED = Path("build", "coverage", "data").absolute()
# What this machine trusts must not decide a test; pip and uv go on needing it.
TEST_ENV = {"SSL_CERT_FILE": None, "SSL_CERT_DIR": None}

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = CI
nox.options.reuse_venv = "yes"


def runs(version: str) -> bool:
    """Whether the interpreter starts: a pyenv shim is on the path for versions that don't."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return True
    command = ["py", f"-{version}"] if sys.platform == "win32" else [f"python{version}"]
    try:
        subprocess.run([*command, "-c", "import ssl"], capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return False
    return True


FOUND = [version for version in VERSIONS if runs(version)]
# nox itself fails the session of an interpreter that it does not find.
SELECTED = [version for version in VERSIONS if version in FOUND or CI]
RELEASES = [
    *(version for version in SELECTED if not any(each.startswith(f"{version}.") for each in PATCH_RELEASES)),
    *PATCH_RELEASES,
]
# For the tools, some of which have no wheels for the newest Python in its first year.
TOOLS = "3.13" if "3.13" in FOUND else FOUND[-1] if FOUND else None
# Each line of Django that is supported, and an interpreter for it.
DJANGO = {"~=4.2.0": "3.10", "~=5.2.0": "3.11", "~=6.0.0": "3.12", ">=6.1": "3.13"}

for absent in VERSIONS:
    if absent not in SELECTED:
        logger.warning(f"Python {absent} is not here, or does not start: its sessions are left out.")


def group(name: str) -> tuple[str, ...]:
    """The requirements of one of pyproject.toml's dependency groups."""
    return nox.project.dependency_groups(PYPROJECT, name)


def coverage_data(version: str) -> list[Path]:
    """What the tests of one interpreter left for the session `coverage`."""
    return sorted(COVERAGE_PARTS.parent.glob(f"{COVERAGE_PARTS.name}.{version}.*"))


@nox.session(python=TOOLS)
def lint(session: nox.Session) -> None:
    """Ruff's rules and format."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session(python=TOOLS)
def types(session: nox.Session) -> None:
    """Mypy, for the oldest and the newest Python, as on each system."""
    session.install("-e", ".", *group("types"))
    for platform in PLATFORMS:
        for version in TYPED:
            session.run("mypy", "--platform", platform, "--python-version", version)


@nox.session(python=TOOLS)
def imports(session: nox.Session) -> None:
    """The layers, and who may touch sockets and TLS."""
    session.install(*group("imports"))
    session.run("lint-imports")


@nox.session(python=RELEASES)
def tests(session: nox.Session) -> None:
    """The tests, on one interpreter, or a part of them; arguments after `--` go to pytest instead."""
    session.install("-e", ".[demo]", *group("test"))
    COVERAGE_PARTS.parent.mkdir(parents=True, exist_ok=True)
    for stale in coverage_data(str(session.python)):
        stale.unlink()
    version = ".".join(str(session.python).split(".")[:2])
    session.run(
        *(["coverage", "run", "-m"] if version == MEASURED else []),
        "pytest",
        "--numprocesses=4",  # on two processors too: the tests wait more than they work
        *(session.posargs or ([] if version in (*WHOLE, FOUND[-1]) else PART)),
        env={**TEST_ENV, "COVERAGE_FILE": f"{COVERAGE_PARTS}.{session.python}"},
    )


@nox.session(python=TOOLS)
def interop(session: nox.Session) -> None:
    """Real servers (Postfix, Dovecot; as root), Redis and programs; skipped where missing, unless in CI."""
    session.install("-e", ".", *group("interop"), *group("programs"))
    session.run("pytest", "tests/interop", *session.posargs, env=TEST_ENV)


@nox.session(python=RELEASES)
def conformance(session: nox.Session) -> None:
    """CPython's own test_smtplib against the installed wheel, with regrtest's options; and the demo."""
    # uv would take the wheel of the last run for this one.
    session.install(*(["--reinstall-package=smtpverify"] if session.venv_backend == "uv" else []), ".[demo]")
    script = str(Path("tests", "conformance", "run.py"))
    for options in ((), ("--injected",)):
        session.run("python", "-E", "-bb", "-W", "default", script, *options, env=TEST_ENV)
    session.run("smtpverify", "demo", env=TEST_ENV, silent=True)


@nox.session
@nox.parametrize(
    ("python", "version"), [(python, version) for version, python in DJANGO.items() if python in SELECTED]
)
def django(session: nox.Session, version: str) -> None:
    """The mail backend for Django: our tests, and Django's own of its SMTP backend, from its sdist."""
    session.install("-e", ".", f"Django{version}", *group("test"), "pip")
    session.run("pytest", "tests/django", *session.posargs, env=TEST_ENV)
    # Fetches what pip needs the machine's roots for; no certificate is judged in there.
    session.run("python", str(Path("tests", "django", "run.py")))


@nox.session(python=TOOLS)
def coverage(session: nox.Session) -> None:
    """What the tests reached, and the gates of pyproject.toml."""
    if MEASURED not in SELECTED:
        session.skip(f"The tests are measured on Python {MEASURED}, which is not here.")
    if not coverage_data(MEASURED):
        session.error(f"No coverage data: the session tests-{MEASURED} makes it.")
    session.install("coverage >=7.11")
    env = {"COVERAGE_FILE": str(COVERAGE_COMBINED)}
    session.run("coverage", "combine", "--keep", "--quiet", str(COVERAGE_PARTS.parent), env=env)
    gates = PYPROJECT["tool"]["smtpverify"]["coverage"]
    strict = ",".join(gates["strict-files"])
    for files, percent in (
        (f"--include={strict}", gates["strict-files-percent"]),
        (f"--omit={strict}", gates["other-files-percent"]),
    ):
        session.run("coverage", "report", files, f"--fail-under={percent}", env=env)


@nox.session(python=TOOLS)
def docs(session: nox.Session) -> None:
    """The documentation, where every warning and broken reference is an error, and the manual pages."""
    session.install("-e", ".", *group("docs"))
    session.run("python", str(Path("docs", "manpages.py")), str(Path("build", "man")))
    session.run("sphinx-build", "-W", "-n", "--keep-going", "docs", str(Path("build", "docs")))


@nox.session(python=TOOLS, default=False)
def screenshots(session: nox.Session) -> None:
    """The pictures below docs/images."""
    session.install("-e", ".[demo]", *group("screenshots"))
    session.run("python", "-m", "docs.screenshots")


@nox.session(python=TOOLS, default=False)
def hostile(session: nox.Session) -> None:
    """The hostile servers, for smtplib and aiosmtplib too; `-- --write docs/hostile.md` keeps the results."""
    session.install("-e", ".", *group("bench"), *group("test"))
    session.run("python", "-m", "tests.hostile.run", *session.posargs, env=TEST_ENV)


@nox.session(python=TOOLS, default=False)
def bench(session: nox.Session) -> None:
    """The benchmarks."""
    session.install("-e", ".", *group("bench"))
    session.run("python", "-m", "benchmarks.run", *session.posargs, env=TEST_ENV)


@nox.session(python=TOOLS, default=False)
def fuzz(session: nox.Session) -> None:
    """The fuzz targets, by atheris where it has a wheel; arguments after `--` go to fuzz.run."""
    session.install("-e", ".")
    # It is built of libFuzzer, and where there is no wheel, there is no compiler for it either.
    session.install("--only-binary=:all:", *group("fuzz"), success_codes=[0, 1, 2])
    session.run("python", "-m", "fuzz.run", *session.posargs, env=TEST_ENV)
