"""Programs of others that send by smtplib, or take an ssl context: the lines of `docs/programs.md`."""

from __future__ import annotations

import asyncio
import email.message
import importlib
from typing import TYPE_CHECKING, Any

import aiosmtplib
import flask
import flask_mail
import flask_mailman
import pytest

import smtpverify
from tests.bed import Behaviour, Starttls, Tls
from tests.gate import in_uvloop, pin_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bed import Server, World
    from tests.conftest import ServerFactory

HOST = "mail.example.org"
ALICE, BOB = "alice@example.org", "bob@example.net"
STRIPPED = Behaviour(tls=Tls.STARTTLS, starttls=Starttls.ABSENT)
LOGIN = {"MAIL_USERNAME": "alice", "MAIL_PASSWORD": "secret"}
REFUSED = {
    "wrong_name": smtpverify.HostnameMismatchError,
    "unknown_issuer": smtpverify.UntrustedCertificateError,
    "expired": smtpverify.CertificateExpiredError,
}

Config = dict[str, Any]


def by_flask_mail(config: Config) -> None:
    app = flask.Flask(__name__)
    app.config.update(config)
    mail = flask_mail.Mail(app)
    with app.app_context():
        mail.send(flask_mail.Message("hello", sender=ALICE, recipients=[BOB], body="Hello."))


def by_flask_mailman(config: Config) -> None:
    app = flask.Flask(__name__)
    app.config.update(config)
    mail = flask_mailman.Mail(app)
    with app.app_context():
        mail.send_mail("hello", "Hello.", ALICE, [BOB])


SENDERS: dict[Callable[[Config], None], str] = {
    by_flask_mail: "flask_mail",
    by_flask_mailman: "flask_mailman.backends.smtp",
}
over_senders: pytest.MarkDecorator = pytest.mark.parametrize("send", SENDERS, ids=lambda send: send.__name__)


@pytest.fixture(autouse=True)
def the_line_of_the_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in SENDERS.values():
        monkeypatch.setattr(importlib.import_module(module), "smtplib", smtpverify)


def server_config(server: Server, **others: Any) -> Config:
    return {"MAIL_SERVER": HOST, "MAIL_PORT": server.port, **LOGIN, **others}


# --- Flask-Mail, Flask-Mailman -------------------------------------------------------------------


@over_senders
@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
def test_a_good_server(smtp_server: ServerFactory, send: Any, tls: Tls) -> None:
    switch = "MAIL_USE_TLS" if tls is Tls.STARTTLS else "MAIL_USE_SSL"
    with smtp_server(tls=tls) as server:
        send(server_config(server, **{switch: True}))
    (connection,) = server.connections
    assert connection.messages[0].rcpts == (BOB,)
    assert (connection.sni, connection.closed_cleanly) == (HOST, True)
    assert [one.password for one in connection.credentials] == ["secret"]
    assert not any(line.startswith("AUTH") for line in connection.clear_commands)


@over_senders
@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
@pytest.mark.parametrize("kind", REFUSED)
def test_an_impostor_gets_nothing(
    smtp_server: ServerFactory, world: World, send: Any, tls: Tls, kind: str
) -> None:
    switch = "MAIL_USE_TLS" if tls is Tls.STARTTLS else "MAIL_USE_SSL"
    with smtp_server(tls=tls, certificate=world.served(kind)) as server, pytest.raises(REFUSED[kind]):
        send(server_config(server, **{switch: True}))
    assert server.leaked() == []


@over_senders
def test_stripped_starttls(smtp_server: ServerFactory, send: Any) -> None:
    server = smtp_server(STRIPPED)
    with server, pytest.raises(smtpverify.TLSRequiredError):
        send(server_config(server, MAIL_USE_TLS=True))
    assert server.leaked() == []


@over_senders
@pytest.mark.parametrize("scheme", ["tls", "smtps"])
def test_a_relay_url_with_a_pin(smtp_server: ServerFactory, world: World, send: Any, scheme: str) -> None:
    """`MAIL_PORT` has a default, which does not count beside a URL's own port."""
    tls = Tls.STARTTLS if scheme == "tls" else Tls.IMPLICIT
    with smtp_server(tls=tls) as server:
        url = f"{scheme}://alice:secret@{HOST}:{server.port}?pin="
        send({"MAIL_SERVER": url + pin_of(world.good())})
        with pytest.raises(smtpverify.PinMismatchError):
            send({"MAIL_SERVER": url + "sha256:" + "0" * 64})
    assert [len(connection.messages) for connection in server.connections] == [1, 0]
    assert server.connections[1].leaked() == []


# --- aiosmtplib ----------------------------------------------------------------------------------


def by_aiosmtplib(
    server: Server, trust: smtpverify.Trust | None = None, run: Any = asyncio.run, **how: bool
) -> None:
    message = email.message.EmailMessage()
    message["From"], message["To"], message["Subject"] = ALICE, BOB, "hello"
    context = smtpverify.create_context(trust)
    login = {"username": "alice", "password": "secret"}
    where = {"hostname": "localhost", "port": server.port}  # uvloop has a resolver of its own
    options: Any = {**where, **login, **how, "tls_context": context, "timeout": 10}

    async def send() -> None:
        await aiosmtplib.send(message, **options)

    run(send())


HOW = {Tls.STARTTLS: {"start_tls": True}, Tls.IMPLICIT: {"use_tls": True}}


def cause_of(error: BaseException) -> BaseException:
    """What the gate raised; aiosmtplib wraps some of it."""
    while error.__cause__ is not None and not isinstance(error, smtpverify.SMTPVerifyError):
        error = error.__cause__
    return error


@pytest.mark.parametrize("run", [asyncio.run, in_uvloop])
@pytest.mark.parametrize("tls", HOW)
def test_aiosmtplib_and_a_good_server(smtp_server: ServerFactory, world: World, tls: Tls, run: Any) -> None:
    good = world.good("localhost")
    with smtp_server(tls=tls, certificate=good) as server:
        by_aiosmtplib(server, smtpverify.Trust(pins=pin_of(good)), run, **HOW[tls])
    (connection,) = server.connections
    assert connection.messages[0].rcpts == (BOB,)
    assert [one.password for one in connection.credentials] == ["secret"]
    assert not any(line.startswith("AUTH") for line in connection.clear_commands)


@pytest.mark.parametrize("run", [asyncio.run, in_uvloop])
@pytest.mark.parametrize("tls", HOW)
@pytest.mark.parametrize("kind", [*REFUSED, "wrong_pin"])
def test_aiosmtplib_and_an_impostor(
    smtp_server: ServerFactory, world: World, tls: Tls, kind: str, run: Any
) -> None:
    trust = smtpverify.Trust(pins="sha256:" + "0" * 64) if kind == "wrong_pin" else None
    certificate = world.served("good" if trust else kind, "localhost")
    server = smtp_server(tls=tls, certificate=certificate)
    with server, pytest.raises((aiosmtplib.SMTPException, smtpverify.SMTPVerifyError)) as caught:
        by_aiosmtplib(server, trust, run, **HOW[tls])
    assert type(cause_of(caught.value)) is REFUSED.get(kind, smtpverify.PinMismatchError)
    assert server.leaked() == []


def test_aiosmtplib_and_stripped_starttls(smtp_server: ServerFactory) -> None:
    """With `start_tls=True`; by its default it would go on in plaintext."""
    with smtp_server(STRIPPED) as server, pytest.raises(aiosmtplib.SMTPException):
        by_aiosmtplib(server, start_tls=True)
    assert server.leaked() == []
