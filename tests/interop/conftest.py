"""The servers, once for all tests; a missing one fails in CI, and skips elsewhere."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

import smtpverify
from tests.interop import servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


@contextmanager
def directory() -> Iterator[Path]:
    """A place whose path is short enough for Unix sockets, and open to the servers' users."""
    path = Path(tempfile.mkdtemp(prefix="smtpverify-", dir="/tmp"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def certificate(authority: trustme.CA) -> Iterator[Path]:
    with directory() as base:
        file = base / "certificate.pem"
        authority.issue_cert(servers.HOST).private_key_and_cert_chain_pem.write_to_path(str(file))
        yield file


@pytest.fixture(scope="session")
def trust(authority: trustme.CA) -> Iterator[smtpverify.Trust]:
    with directory() as base:
        authority.cert_pem.write_to_path(str(base / "ca.pem"))
        yield smtpverify.Trust(base / "ca.pem")


def started(server: AbstractContextManager[servers.Running]) -> Iterator[servers.Running]:
    """Run a server, or say why not."""
    try:
        running = server.__enter__()
    except servers.Missing as reason:
        if "CI" in os.environ:
            raise
        pytest.skip(str(reason))
    try:
        yield running
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def postfix(certificate: Path) -> Iterator[servers.Running]:
    with directory() as base:
        yield from started(servers.postfix(base, certificate))


@pytest.fixture(scope="session")
def dovecot(certificate: Path, postfix: servers.Running) -> Iterator[servers.Running]:
    with directory() as base:
        yield from started(servers.dovecot(base, certificate, postfix.ports["starttls"]))
