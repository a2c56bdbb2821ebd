"""The servers, once for all tests; a missing one fails in CI, and skips elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

import smtpverify
from tests.interop import logins, servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    Dial = Callable[..., smtpverify.SMTP]
    Hidden = Callable[..., None]


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
def sasl() -> Iterator[Path]:
    """Where Postfix looks for Dovecot's SASL."""
    with directory() as base:
        yield base / "sasl"


@pytest.fixture(scope="session")
def postfix(certificate: Path, sasl: Path) -> Iterator[servers.Running]:
    with directory() as base:
        yield from started(servers.postfix(base, certificate, sasl))


@pytest.fixture(scope="session")
def dovecot(certificate: Path, postfix: servers.Running) -> Iterator[servers.Running]:
    with directory() as base:
        yield from started(servers.dovecot(base, certificate, postfix.ports["starttls"]))


@pytest.fixture(scope="session")
def by_secret(certificate: Path, postfix: servers.Running, sasl: Path) -> Iterator[servers.Running]:
    with directory() as base:
        yield from started(logins.by_secret(base, certificate, postfix.ports["starttls"], sasl))


@pytest.fixture(scope="session")
def by_certificate(
    certificate: Path, postfix: servers.Running, authority: trustme.CA
) -> Iterator[servers.Running]:
    with directory() as base:
        relay, pem = postfix.ports["starttls"], authority.cert_pem.bytes()
        yield from started(logins.by_certificate(base, certificate, relay, pem))


@pytest.fixture(params=["Dovecot", "Postfix"])
def service(
    request: pytest.FixtureRequest, by_secret: servers.Running, postfix: servers.Running
) -> logins.Service:
    return logins.submission(by_secret) if request.param == "Dovecot" else logins.smtpd(postfix)


@pytest.fixture
def dovecots(by_secret: servers.Running) -> logins.Service:
    return logins.submission(by_secret)


@pytest.fixture
def dial(trust: smtpverify.Trust) -> Dial:
    """Connect to a service, and go into TLS."""

    def dialled(service: logins.Service, trust: smtpverify.Trust = trust) -> smtpverify.SMTP:
        smtp = smtpverify.SMTP(servers.HOST, service.port, trust=trust, timeout=servers.PATIENCE)
        smtp.starttls()
        return smtp

    return dialled


@pytest.fixture
def hidden(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Hidden:
    """Check that AUTH was shown by the debug output, and these secrets neither there nor in the errors."""
    monkeypatch.setattr(smtpverify.SMTP, "debuglevel", 2)  # from the first word on

    def check(*secrets: str, errors: Iterable[BaseException] = ()) -> None:
        shown = capsys.readouterr().err
        assert re.search(r"send: 'AUTH [A-Z0-9-]+( \*\*\*)?\\r\\n'", shown), shown
        shown += "".join(f"{error} {error!r} {vars(error)}" for error in errors)
        assert [form for secret in secrets for form in logins.forms(secret) if form in shown] == []

    return check


@pytest.fixture(scope="session")
def redis_server() -> Iterator[servers.Running]:
    with directory() as base:
        yield from started(servers.redis(base))
