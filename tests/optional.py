"""Packages that some tests want: where one is missing, the test is skipped, and fails in CI."""

from __future__ import annotations

import importlib.metadata
import os
import sys

import pytest

# Those that the dependency group `test` has for some platforms only.
ABSENT = {"uvloop"} if sys.platform == "win32" else set()


def require(package: str) -> None:
    """Skip the test where a package is not installed, and say why; fail where CI ought to have it."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        python = f"Python {sys.version_info.major}.{sys.version_info.minor} on {sys.platform}"
        if package in ABSENT:
            pytest.skip(f"there is no {package} for {python}")
        if "CI" in os.environ:
            pytest.fail(f"{package} is not installed for {python}, and the dependency group 'test' wants it")
        pytest.skip(f"{package} is not installed for {python}")
