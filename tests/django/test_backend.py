"""The mail backend for Django: whom it sends to, what it counts, and what it tells."""

from __future__ import annotations

import logging
import smtplib
import ssl
import threading
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.test import override_settings

import smtpverify
from smtpverify import Outcome
from smtpverify.integrations.django import EmailBackend
from smtpverify.smtp.secrecy import Secret
from tests.bed import HOST, Behaviour, Protocol, Starttls, Tls, closed_port
from tests.bed.certs import CLIENT_AUTH
from tests.gate import OTHER_PIN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpverify import SendResult
    from tests.bed import Issued, Server, World
    from tests.conftest import ServerFactory

PATH = "smtpverify.integrations.django.EmailBackend"
LOGGER = "smtpverify.integrations.django"
HAS_MAILERS = hasattr(mail, "mailers")  # Django 6.1
# The settings of old, and whoever makes a backend by himself.
of_old = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")

# What is told to the backend -> how the server speaks TLS.
WAYS: dict[str, tuple[str, Tls]] = {
    "use_tls": ("", Tls.STARTTLS),
    "use_ssl": ("", Tls.IMPLICIT),
    "tls://": ("tls", Tls.STARTTLS),
    "smtps://": ("smtps", Tls.IMPLICIT),
    "ssl://": ("ssl", Tls.STARTTLS),
}
every_way = pytest.mark.parametrize("way", WAYS)


def made(kind: Any = EmailBackend, **options: Any) -> Any:
    """Make a backend as this Django does for a user who has nothing else in the settings."""
    alias = {"alias": "default"} if HAS_MAILERS else {}
    return kind(**alias, **{"timeout": 20, **options})


def by(way: str, server: Server, **options: Any) -> Any:
    scheme, _ = WAYS[way]
    if scheme:
        return made(relay_url=f"{scheme}://{HOST}:{server.port}", **options)
    return made(**{"host": HOST, "port": server.port, way: True, **options})


def pin_of(issued: Issued) -> str:
    return str(smtpverify.Pin.of_spki(smtpverify.Certificate.from_der(issued.leaf_der)))


def shown_by(error: BaseException) -> str:
    """What an error page would show of the frames that are not ours here."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    shown = [str(error)]
    for frame in frames:
        if frame.f_code.co_filename != __file__:
            shown += [
                repr(value) for value in frame.f_locals.values() if isinstance(value, (str, dict, Secret))
            ]
    assert len(shown) > 3
    return "\n".join(shown)


def letter(to: str = "bob@example.net", **fields: Any) -> Any:
    return EmailMessage("Hello", f"Hello {to}", "alice@example.org", [to], **fields)


def letters(count: int) -> list[Any]:
    return [letter(f"bob{number}@example.net") for number in range(count)]


class Telling(EmailBackend):
    """Keeps what it hears of each message."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.told: list[tuple[str, Outcome]] = []

    def on_result(self, email_message: Any, result: SendResult) -> None:
        super().on_result(email_message, result)
        self.told.append((email_message.to[0], result.outcome))


# --- whom it sends to ----------------------------------------------------------------------------


@every_way
def test_a_good_server_gets_login_and_mail(smtp_server: ServerFactory, way: str) -> None:
    with smtp_server(tls=WAYS[way][1]) as server:
        backend = by(way, server, username="alice", password="secret")
        assert backend.send_messages([letter()]) == 1
        assert backend.connection is None
    (connection,) = server.connections
    assert connection.handshake_done
    assert connection.closed_cleanly
    assert connection.sni == HOST
    assert [(each.username, each.password) for each in connection.credentials] == [("alice", "secret")]
    (message,) = connection.messages
    assert message.rcpts == ("bob@example.net",)
    assert b"\r\nHello bob@example.net" in message.data
    assert b"AUTH" not in connection.clear


@every_way
@pytest.mark.parametrize("silently", [False, True])
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("wrong_name", smtpverify.HostnameMismatchError),
        ("unknown_issuer", smtpverify.UntrustedCertificateError),
        ("expired", smtpverify.CertificateExpiredError),
    ],
)
def test_an_impostor_gets_nothing(
    smtp_server: ServerFactory,
    world: World,
    caplog: pytest.LogCaptureFixture,
    way: str,
    silently: bool,
    kind: str,
    error: type[Exception],
) -> None:
    with smtp_server(tls=WAYS[way][1], certificate=world.served(kind)) as server:
        backend = by(way, server, username="alice", password="secret", fail_silently=silently)
        if silently:
            assert backend.send_messages(letters(3)) == 0
        else:
            with pytest.raises(error) as caught:
                backend.send_messages(letters(3))
            assert "secret" not in shown_by(caught.value)
        backend.close()
    assert server.leaked() == []
    # Silence is for the caller.
    logged = [(record.name, record.levelname) for record in caplog.records]
    assert logged == ([(LOGGER, "ERROR")] if silently else [])
    assert all(f"{HOST}:{server.port}: the certificate" in text for text in caplog.messages)


@pytest.mark.parametrize("silently", [False, True])
@pytest.mark.parametrize("way", ["use_tls", "tls://"])
@pytest.mark.parametrize(
    ("starttls", "error"),
    [
        (Starttls.ABSENT, smtpverify.TLSRequiredError),
        (Starttls.REFUSED, smtpverify.STARTTLSRefusedError),
        (Starttls.INJECTED_SAME_SEGMENT, smtpverify.PlaintextInjectionError),
    ],
)
def test_without_starttls_nothing_leaves(
    smtp_server: ServerFactory,
    caplog: pytest.LogCaptureFixture,
    way: str,
    silently: bool,
    starttls: Starttls,
    error: type[Exception],
) -> None:
    with smtp_server(tls=Tls.STARTTLS, starttls=starttls) as server:
        backend = by(way, server, username="alice", password="secret", fail_silently=silently)
        if silently:
            assert backend.send_messages([letter()]) == 0
        else:
            with pytest.raises(error):
                backend.send_messages([letter()])
        backend.close()
    assert server.leaked() == []
    assert [record.levelname for record in caplog.records] == (["ERROR"] if silently else [])


@every_way
def test_a_ca_file(smtp_server: ServerFactory, world: World, way: str) -> None:
    certificate = world.served("unknown_issuer")
    with smtp_server(tls=WAYS[way][1], certificate=certificate) as server:
        assert by(way, server, ssl_cafile=str(world.unknown_file)).send_messages([letter()]) == 1
    with smtp_server(tls=WAYS[way][1], certificate=certificate) as server:
        backend = by(way, server, ssl_cafile=str(world.root_file))
        with pytest.raises(smtpverify.UntrustedCertificateError):
            backend.send_messages([letter()])
    assert server.leaked() == []


@every_way
@pytest.mark.parametrize("as_list", [False, True])
def test_pins(smtp_server: ServerFactory, world: World, way: str, as_list: bool) -> None:
    right = pin_of(world.good())
    wrong = pin_of(world.served("wrong_name"))
    with smtp_server(tls=WAYS[way][1]) as server:
        assert by(way, server, ssl_pins=[wrong, right] if as_list else right).send_messages([letter()]) == 1
    with smtp_server(tls=WAYS[way][1]) as server, pytest.raises(smtpverify.PinMismatchError):
        by(way, server, ssl_pins=[wrong] if as_list else wrong).send_messages([letter()])
    assert server.leaked() == []


def test_a_pin_in_place_of_the_chain(smtp_server: ServerFactory, world: World) -> None:
    """By a relay URL alone, which says so by the name of its key."""
    certificate = world.served("self_signed_leaf")
    for issued, sent in ((certificate, 1), (world.good(), 0)):
        pin = pin_of(issued)
        with smtp_server(tls=Tls.STARTTLS, certificate=certificate) as server:
            url = f"tls://{HOST}:{server.port}?pin-only={pin}"
            assert made(relay_url=url, fail_silently=True).send_messages([letter()]) == sent
        assert len(server.messages) == sent
        assert bool(server.leaked()) is bool(sent)


@pytest.mark.parametrize("way", ["use_tls", "use_ssl"])
def test_a_client_certificate(smtp_server: ServerFactory, world: World, tmp_path: Path, way: str) -> None:
    certificate, key = world.root.issue("client.example.org", extended_key_usage=[CLIENT_AUTH]).write(
        tmp_path, "client"
    )
    demanding = Behaviour(tls=WAYS[way][1], client_roots=(world.root,))
    with smtp_server(demanding) as server:
        backend = by(way, server, ssl_certfile=str(certificate), ssl_keyfile=str(key))
        assert backend.send_messages([letter()]) == 1
    with smtp_server(demanding) as server, pytest.raises(smtpverify.TLSHandshakeError):
        by(way, server).send_messages([letter()])
    assert server.messages == []


@pytest.mark.parametrize("way", ["use_tls", "use_ssl"])
def test_a_context_of_a_subclass(smtp_server: ServerFactory, world: World, way: str) -> None:
    """It is used if it verifies, and pins count beside it."""

    class Verifying(EmailBackend):
        ssl_context = ssl.create_default_context(cafile=str(world.unknown_file))

    class Careless(EmailBackend):
        ssl_context = ssl._create_unverified_context()  # the usual recipe

    certificate = world.served("unknown_issuer")
    wrong = pin_of(world.good())
    for kind, options, error in (
        (Verifying, {}, None),
        (Verifying, {"ssl_pins": wrong}, smtpverify.PinMismatchError),
        (Careless, {}, ImproperlyConfigured),
        (Careless, {"fail_silently": True}, ImproperlyConfigured),
    ):
        with smtp_server(tls=WAYS[way][1], certificate=certificate) as server:
            backend = made(kind, host=HOST, port=server.port, **{way: True}, **options)
            if error is None:
                assert backend.send_messages([letter()]) == 1
            else:
                with pytest.raises(error):
                    backend.send_messages([letter()])
                backend.close()
        assert bool(server.leaked()) is (error is None)


def test_no_password_over_plaintext(
    smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with smtp_server() as server:  # on this machine
        login: dict[str, Any] = {"username": "alice", "password": "secret"}
        assert made(host=HOST, port=server.port, **login).send_messages([letter()]) == 1
    monkeypatch.setattr("smtpverify.smtp.endpoints.is_local", lambda _sock: False)
    with smtp_server() as server:
        backend = made(host=HOST, port=server.port, fail_silently=True, **login)
        assert backend.send_messages([letter()]) == 0
        backend.close()
    assert server.leaked() == []
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_plaintext_warns(smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpverify.smtp.endpoints.is_local", lambda _sock: False)
    with smtp_server() as server:
        with pytest.warns(smtpverify.PlaintextWarning):
            assert made(host=HOST, port=server.port).send_messages([letter()]) == 1
        assert made(relay_url=f"smtp+notls://{HOST}:{server.port}").send_messages([letter()]) == 1


def test_lmtp(smtp_server: ServerFactory, tmp_path: Path) -> None:
    with smtp_server(protocol=Protocol.LMTP, path=tmp_path / "lmtp") as server:
        backend = made(relay_url=f"lmtp://{server.path}")
        assert backend.host == server.path
        assert backend.send_messages(letters(2)) == 2
    assert len(server.messages) == 2


# --- what it is told -----------------------------------------------------------------------------


def test_a_relay_url_is_taken_apart() -> None:
    backend = made(relay_url="smtps://alice@mail.example.org", password="secret")
    assert (backend.host, backend.port, backend.use_ssl) == (HOST, 465, False)
    assert backend.relay.user == "alice"
    assert backend.connection_class is smtpverify.SMTP
    assert made(host=HOST, use_ssl=True).connection_class is smtpverify.SMTP_SSL


def test_the_ports_of_a_scheme_are_its_own_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ssl://` has two, and a port that is given serves both tries."""
    asked: list[tuple[str, int]] = []

    class Asking(smtpverify.SMTP):
        def connect(self, host: str = "", port: int = 0, *_others: Any) -> tuple[int, bytes]:
            asked.append((str(host), port))
            return 220, b"hello"

    monkeypatch.setattr(smtpverify, "SMTP", Asking)
    made(relay_url=f"ssl://{HOST}").open()
    made(host=HOST, port=587).open()
    assert asked == [(f"ssl://{HOST}", 0), (HOST, 587)]


@pytest.mark.parametrize(
    ("user", "options"),
    [
        ("alice:secret@", {}),
        ("alice@", {"password": "secret"}),
        ("alice@", {"username": "alice", "password": "secret"}),
        ("", {"username": "alice", "password": "secret"}),
    ],
)
def test_user_and_password_beside_a_relay_url(
    smtp_server: ServerFactory, user: str, options: dict[str, Any]
) -> None:
    with smtp_server(tls=Tls.STARTTLS) as server:
        backend = made(relay_url=f"tls://{user}{HOST}:{server.port}", **options)
        assert backend.send_messages([letter()]) == 1
    (connection,) = server.connections
    assert [(each.username, each.password) for each in connection.credentials] == [("alice", "secret")]


def test_no_traceback_shows_the_password(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.served("wrong_name")) as server:
        for userinfo, options in (("alice:sesame@", {}), ("alice@", {"password": "sesame"})):
            backend = made(relay_url=f"tls://{userinfo}{HOST}:{server.port}", **options)
            with pytest.raises(smtpverify.HostnameMismatchError) as caught:
                backend.open()
            assert "sesame" not in shown_by(caught.value)
    assert server.leaked() == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"host": "other.example.org"}, "host is given beside relay_url"),
        ({"port": 587}, "port is given beside relay_url"),
        ({"use_tls": True}, "use_tls is given beside relay_url"),
        ({"use_ssl": True}, "use_ssl is given beside relay_url"),
        ({"username": "bob"}, "names another user"),
        ({"password": "other"}, "password is given beside relay_url"),
        ({"relay_url": "mail.example.org"}, "scheme is missing; write tls://mail.example.org"),
        ({"relay_url": "http://mail.example.org"}, "scheme: http:// is unknown"),
        ({"relay_url": "tls://mail.example.org:0"}, "port: it is no number from 1 to 65535"),
        ({"ssl_pins": "md5:00"}, "relay_url: "),
        ({"ssl_cafile": "nowhere.pem"}, "nowhere.pem: No such file"),
        ({"relay_url": "", "host": "tls://mail.example.org"}, "wants to be given as relay_url"),
        ({"relay_url": "", "host": HOST, "ssl_pins": OTHER_PIN}, "ssl_pins is given without use_tls"),
    ],
)
@pytest.mark.parametrize("silently", [False, True])
def test_contradictions(options: dict[str, Any], problem: str, silently: bool) -> None:
    given = {"relay_url": "tls://alice:sesame@mail.example.org", "fail_silently": silently, **options}
    with pytest.raises(ImproperlyConfigured, match=problem) as caught:
        made(**given)
    if HAS_MAILERS:
        assert str(caught.value).startswith("MAILERS['default']: OPTIONS: ")
    assert "sesame" not in shown_by(caught.value)


@of_old
@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"EMAIL_HOST": "other.example.org"}, "host is given beside relay_url"),
        ({"EMAIL_PORT": 587}, "port is given beside relay_url"),
        ({"EMAIL_USE_TLS": True}, "use_tls is given beside relay_url"),
        ({"EMAIL_SSL_PINS": "md5:00"}, "md5"),
        ({"EMAIL_SSL_CAFILE": "nowhere.pem"}, "nowhere.pem: No such file"),
        ({}, None),
        (
            {"EMAIL_HOST_USER": "alice", "EMAIL_TIMEOUT": 9, "EMAIL_SSL_CAFILE": "", "EMAIL_SSL_PINS": []},
            None,
        ),
    ],
)
def test_settings_and_a_relay_url(given: dict[str, Any], problem: str | None) -> None:
    with override_settings(EMAIL_RELAY_URL="tls://mail.example.org:587", **given):
        if problem is None:
            assert EmailBackend().port == 587
            assert EmailBackend(relay_url="", host="other.example.org", use_tls=True).port == 25
            return
        with pytest.raises(ImproperlyConfigured, match=problem):
            EmailBackend()


@pytest.mark.parametrize("silently", [False, True])
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"ssl_cafile": "nowhere.pem", "use_tls": True}, "nowhere.pem: No such file"),
        ({"ssl_certfile": "nowhere.pem"}, "nowhere.pem: No such file"),
        ({"ssl_pins": ["md5:00"], "use_ssl": True}, "md5"),
        ({"host": "010.0.0.1"}, "leading zeros"),
    ],
)
def test_what_cannot_be_used_is_never_silent(options: dict[str, Any], problem: str, silently: bool) -> None:
    backend = made(**{"host": HOST, **options}, fail_silently=silently)
    with pytest.raises(ImproperlyConfigured, match=problem):
        backend.send_messages([letter()])


@of_old
def test_tls_of_both_kinds() -> None:
    with pytest.raises(ValueError, match="mutually exclusive"):
        EmailBackend(use_tls=True, use_ssl=True)
    if HAS_MAILERS:
        with pytest.raises(ImproperlyConfigured, match="incompatible"):
            made(host=HOST, use_tls=True, use_ssl=True)
        with pytest.raises(ImproperlyConfigured, match="must define 'host'"):
            made()


@of_old
def test_by_settings_of_old(smtp_server: ServerFactory, world: World) -> None:
    """A project that names the backend, and has what it always had."""
    pin = pin_of(world.good())
    with (
        smtp_server(tls=Tls.STARTTLS) as server,
        override_settings(
            EMAIL_BACKEND=PATH,
            EMAIL_HOST=HOST,
            EMAIL_PORT=server.port,
            EMAIL_HOST_USER="alice",
            EMAIL_HOST_PASSWORD="secret",
            EMAIL_USE_TLS=True,
            EMAIL_TIMEOUT=20,
            EMAIL_SSL_CAFILE=str(world.root_file),
            EMAIL_SSL_PINS=[pin],
        ),
    ):
        assert mail.send_mail("Hello", "Hello Bob", "alice@example.org", ["bob@example.net"]) == 1
        batch = [("Hello", "Hello", "alice@example.org", [f"{name}@example.net"]) for name in "abc"]
        assert mail.send_mass_mail(batch) == 3
        with mail.get_connection() as backend:
            assert isinstance(backend, EmailBackend)
            assert backend.open() is False
            assert backend.send_messages(letters(2)) == 2
            assert backend.send_messages(letters(2)) == 2
            assert backend.connection.peer.pin is not None
    assert [len(connection.messages) for connection in server.connections] == [1, 3, 4]
    assert all(connection.credentials for connection in server.connections)


@pytest.mark.skipif(not HAS_MAILERS, reason="MAILERS came with Django 6.1")
def test_by_mailers(smtp_server: ServerFactory) -> None:
    with smtp_server(tls=Tls.STARTTLS) as server:
        options = {"relay_url": f"tls://alice@{HOST}:{server.port}", "password": "secret"}
        with override_settings(
            MAILERS={"default": {"BACKEND": PATH, "OPTIONS": options}},
            EMAIL_RELAY_URL="tls://settings-of-old.example.org",
        ):
            letter().send()
            assert mail.mailers.default.send_messages(letters(2)) == 2
    assert [len(connection.messages) for connection in server.connections] == [1, 2]


@pytest.mark.skipif(not HAS_MAILERS, reason="the deprecation came with Django 6.1")
def test_whom_the_deprecation_concerns() -> None:
    """Whoever makes a backend himself is told; Django, which makes one by old settings, is not."""
    with pytest.warns(PendingDeprecationWarning, match="Directly creating EmailBackend"):
        EmailBackend()
    # Of the settings, not of the backend.
    with pytest.warns(PendingDeprecationWarning) as told, override_settings(EMAIL_BACKEND=PATH):
        mail.get_connection()
    assert not [each for each in told if "Directly" in str(each.message)]


# --- what it counts ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["use_tls", "tls://"])
def test_many_messages_go_ahead_of_their_replies(smtp_server: ServerFactory, way: str) -> None:
    """The server answers no message before the third has been taken."""
    extensions = ("PIPELINING", "CHUNKING", "8BITMIME")
    third = threading.Event()
    waited: list[bool] = []

    def end(_line: str) -> None:
        waited.append(third.wait(20))

    def source() -> Iterator[Any]:
        for number, each in enumerate(letters(100)):
            if number == 2:
                third.set()
            yield each

    with smtp_server(tls=WAYS[way][1], after_tls=extensions, replies={".": end}) as server:
        assert by(way, server, timeout=30).send_messages(source()) == 100
    (connection,) = server.connections
    assert [message.rcpts[0] for message in connection.messages] == [each.to[0] for each in letters(100)]
    assert set(waited) == {True}


def test_messages_to_nobody_are_left_out(smtp_server: ServerFactory) -> None:
    nobody = EmailMessage("Hello", "Hello", "alice@example.org", [])
    with smtp_server() as server:
        backend = made(host=HOST, port=server.port)
        assert backend.send_messages([]) == 0
        assert server.connections == []
        assert backend.send_messages([nobody]) == 0
        assert backend.send_messages([nobody, letter(), nobody]) == 1
    assert len(server.messages) == 1


def refusing(line: str) -> str | None:
    return "550 5.1.1 nobody" if "bob2@" in line else None


def test_a_refusal_in_between(smtp_server: ServerFactory, caplog: pytest.LogCaptureFixture) -> None:
    """Silently, it is left out of the count; else it is raised, and no more are taken."""
    caplog.set_level(logging.INFO)
    batch = letters(5)
    with smtp_server(replies={"RCPT": refusing}) as server:
        assert made(host=HOST, port=server.port, fail_silently=True).send_messages(batch) == 4
    assert [message.rcpts[0][:4] for message in server.messages] == ["bob0", "bob1", "bob3", "bob4"]
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "hidden by fail_silently" in caplog.text

    with smtp_server(replies={"RCPT": refusing}) as server:
        backend = made(Telling, host=HOST, port=server.port)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            backend.send_messages(batch)
        assert backend.connection is None
    told = dict(backend.told)
    assert told["bob2@example.net"] is Outcome.REFUSED
    accepted = [to for to, outcome in backend.told if outcome is Outcome.ACCEPTED]
    assert accepted == [message.rcpts[0] for message in server.messages]
    assert accepted[:2] == ["bob0@example.net", "bob1@example.net"]


def test_no_more_are_taken_behind_a_refusal(smtp_server: ServerFactory) -> None:
    """Where nothing goes ahead, that is to the message; as Django's own backend has it."""
    source = iter(letters(9))
    with smtp_server(before_tls=(), replies={"RCPT": refusing}) as server:
        backend = made(Telling, host=HOST, port=server.port)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            backend.send_messages(source)
    assert [message.rcpts[0][:4] for message in server.messages] == ["bob0", "bob1"]
    assert [each.to[0][:4] for each in source] == ["bob3", "bob4", "bob5", "bob6", "bob7", "bob8"]


def test_some_recipients_refused_is_sent(smtp_server: ServerFactory) -> None:
    message = letter()
    message.cc = ["bob2@example.net"]
    with smtp_server(replies={"RCPT": refusing}) as server:
        assert made(host=HOST, port=server.port).send_messages([message]) == 1
    assert server.messages[0].rcpts == ("bob@example.net",)


@pytest.mark.parametrize("silently", [False, True])
@pytest.mark.parametrize("extensions", [("PIPELINING",), ("PIPELINING", "CHUNKING"), ()])
def test_the_connection_dies_in_between(
    smtp_server: ServerFactory, silently: bool, extensions: tuple[str, ...]
) -> None:
    count = 0

    def end(_line: str) -> str | None:
        nonlocal count
        count += 1
        return "421 4.3.2 going down" if count == 4 else None

    with smtp_server(before_tls=extensions, replies={".": end}) as server:
        backend = made(Telling, host=HOST, port=server.port, fail_silently=silently)
        if silently:
            assert backend.send_messages(letters(9)) == 3
        else:
            with pytest.raises(smtplib.SMTPException):
                backend.send_messages(letters(9))
        assert backend.connection is None
    outcomes = [outcome for _, outcome in backend.told]
    assert outcomes[:3] == [Outcome.ACCEPTED] * 3
    assert Outcome.ACCEPTED not in outcomes[3:]
    assert len(outcomes) == 9 or not silently


@pytest.mark.parametrize("silently", [False, True])
def test_an_address_that_is_none(smtp_server: ServerFactory, silently: bool) -> None:
    """Those before it are sent, those behind it are not; Django raises it silent or not."""
    batch = [*letters(2), letter("evil@example.org\nBcc: eve@example.net"), letter("late@example.net")]
    with smtp_server() as server:
        backend = made(Telling, host=HOST, port=server.port, fail_silently=silently)
        with pytest.raises(ValueError, match=r"[Ii]nvalid address|newlines"):
            backend.send_messages(batch)
    assert [message.rcpts[0] for message in server.messages] == ["bob0@example.net", "bob1@example.net"]
    assert [outcome for _, outcome in backend.told] == [Outcome.ACCEPTED] * 2


def test_a_source_that_fails(smtp_server: ServerFactory) -> None:
    def source() -> Iterator[Any]:
        yield letter()
        raise LookupError("no more")

    with smtp_server() as server, pytest.raises(LookupError, match="no more"):
        made(host=HOST, port=server.port).send_messages(source())
    assert len(server.messages) == 1


@pytest.mark.parametrize("silently", [False, True])
@pytest.mark.parametrize("refused", [True, False])
def test_a_connection_that_is_dead_already(
    smtp_server: ServerFactory, caplog: pytest.LogCaptureFixture, silently: bool, refused: bool
) -> None:
    """Whether the server has gone, or wants no EHLO: nothing is sent, and nothing else is new."""
    caplog.set_level(logging.INFO)
    replies = {"EHLO": "550 no", "HELO": "550 no"} if refused else {}
    with smtp_server(replies=replies) as server:
        backend = made(Telling, host=HOST, port=server.port, fail_silently=silently)
        backend.open()
        if not refused:
            backend.connection.close()
        if silently:
            assert backend.send_messages(iter(letters(3))) == 0
        else:
            with pytest.raises(smtplib.SMTPException):
                backend.send_messages(iter(letters(3)))
        backend.close()
    assert server.leaked() == []
    assert backend.told[0] == ("bob0@example.net", Outcome.NOT_SENT)
    assert ("hidden by fail_silently" in caplog.text) is silently


def test_the_first_failure_is_the_one_that_is_raised(smtp_server: ServerFactory) -> None:
    """A bad address is seen ahead of the replies to the messages before it."""
    extensions = ("PIPELINING", "CHUNKING")
    batch = [letter("bob2@example.net"), letter("bob2@example.org"), letter("evil@example.org\nX: y")]
    with smtp_server(before_tls=extensions, replies={"RCPT": refusing}) as server:
        backend = made(host=HOST, port=server.port)
        with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
            backend.send_messages(batch)
    assert list(caught.value.recipients) == ["bob2@example.net"]
    assert server.messages == []


def test_leaving_spoils_nothing(
    smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def late(_self: object) -> None:
        raise TimeoutError("too late")

    monkeypatch.setattr(smtpverify.SMTP, "quit", late)
    caplog.set_level(logging.INFO)
    with smtp_server() as server:
        assert made(host=HOST, port=server.port).send_messages([letter()]) == 1
    assert len(server.messages) == 1
    assert caplog.messages == [f"{HOST}: too late (on leaving)"]


def test_a_send_of_a_subclass(smtp_server: ServerFactory) -> None:
    class Own(EmailBackend):
        def _send(self, email_message: Any) -> bool:
            email_message.subject = "Changed"
            return bool(super()._send(email_message))

    with smtp_server() as server:
        assert made(Own, host=HOST, port=server.port).send_messages(letters(2)) == 2
    assert all(b"Subject: Changed\r\n" in message.data for message in server.messages)


def test_many_threads_share_a_connection(smtp_server: ServerFactory) -> None:
    counts: list[int] = []
    with smtp_server(tls=Tls.STARTTLS) as server, by("use_tls", server) as backend:
        threads = [
            threading.Thread(target=lambda: counts.append(backend.send_messages(letters(5))))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counts == [5] * 6
    assert [len(connection.messages) for connection in server.connections] == [30]


# --- what it tells -------------------------------------------------------------------------------


@pytest.mark.parametrize("silently", [False, True])
def test_a_port_that_is_closed(caplog: pytest.LogCaptureFixture, silently: bool) -> None:
    """No failed verification: INFO, which nobody sees unasked."""
    caplog.set_level(logging.INFO)
    with closed_port() as port:
        backend = made(host=HOST, port=port, use_tls=True, fail_silently=silently)
        if silently:
            assert backend.open() is None
        else:
            with pytest.raises(ConnectionRefusedError):
                backend.open()
    assert [record.levelname for record in caplog.records] == (["INFO"] if silently else [])
    assert all(text.startswith(f"{HOST}: ") for text in caplog.messages)


def test_a_login_that_failed_leaves_a_connection_to_close(smtp_server: ServerFactory) -> None:
    with smtp_server(tls=Tls.STARTTLS, auth_reply="535 5.7.8 no") as server:
        backend = by("use_tls", server, username="alice", password="wrong")
        for _ in range(2):  # the second try closes the connection of the first
            with pytest.raises(smtpverify.AuthenticationError):
                backend.open()
        assert backend.connection is None
        backend.close()
        assert backend._partial_connection is None
    assert [connection.closed_cleanly for connection in server.connections] == [True, True]


def test_a_handler_that_mails_comes_to_an_end(smtp_server: ServerFactory, world: World) -> None:
    """It reports a failed verification by a mail to the same impostor."""
    with smtp_server(tls=Tls.STARTTLS, certificate=world.served("wrong_name")) as server:

        class Mailing(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                report = EmailMessage(
                    "Report", record.getMessage(), "root@example.org", ["admin@example.org"]
                )
                by("use_tls", server, fail_silently=True).send_messages([report])

        handler = Mailing()
        logger = logging.getLogger("smtpverify")
        logger.addHandler(handler)
        try:
            assert by("use_tls", server, fail_silently=True).send_messages([letter()]) == 0
        finally:
            logger.removeHandler(handler)
    assert len(server.connections) == 2
    assert server.leaked() == []
