"""`integrations.logging.SMTPHandler`: the standard library's handler, to a server that is verified."""

from __future__ import annotations

import inspect
import logging
import logging.config
import logging.handlers
import os
import queue
import smtplib
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from smtpverify.integrations.logging import SMTPHandler
from tests.bed import Behaviour, Greeting, Pieces, Protocol, Starttls, Tls, closed_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bed import Server, World
    from tests.conftest import ServerFactory

HOST = "mail.example.org"
ALICE, BOB, CAROL = "alice@example.org", "bob@example.net", "carol@example.net"


class Recorded(SMTPHandler):
    """Keeps what goes to `handleError()`, and has it handled as ever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.errors: list[BaseException | None] = []

    def handleError(self, record: logging.LogRecord) -> None:
        self.errors.append(sys.exc_info()[1])
        super().handleError(record)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """Give a logger that only its own handlers hear."""
    made = logging.Logger("test")  # noqa: LOG001  not one of the program's
    yield made
    for handler in list(made.handlers):
        made.removeHandler(handler)
        handler.close()


def handler_for(server: Server, secure: tuple[str, ...] | None = (), **others: Any) -> Recorded:
    return Recorded((HOST, server.port), ALICE, BOB, "trouble", secure=secure, **others)


def url_handler(scheme: str, server: Server, **others: Any) -> Recorded:
    return Recorded(f"{scheme}://{HOST}:{server.port}", ALICE, BOB, "trouble", **others)


# --- as the standard library's -------------------------------------------------------------------


def test_the_arguments_are_the_standard_library_s_and_ours_by_keyword() -> None:
    theirs = inspect.signature(logging.handlers.SMTPHandler.__init__).parameters
    ours = inspect.signature(SMTPHandler.__init__).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    for name, parameter in theirs.items():
        assert (ours[name].default, ours[name].kind) == (parameter.default, parameter.kind)
    assert {ours[name].kind for name in ours.keys() - theirs.keys()} == {inspect.Parameter.KEYWORD_ONLY}


def test_the_mail_is_the_standard_library_s(smtp_server: ServerFactory, logger: logging.Logger) -> None:
    formatter = logging.Formatter("%(levelname)s\n%(message)s")
    with smtp_server() as server:
        for kind in (logging.handlers.SMTPHandler, SMTPHandler):
            handler = kind(("127.0.0.1", server.port), ALICE, [BOB, CAROL], "trouble")
            handler.setFormatter(formatter)
            logger.addHandler(handler)
        logger.error("it is %s", "broken: ß")
    theirs, ours = server.messages
    assert (ours.mail_from, ours.rcpts) == (theirs.mail_from, theirs.rcpts) == (ALICE, (BOB, CAROL))
    assert without_date(ours.data) == without_date(theirs.data)
    assert b"ERROR\r\nit is broken: " in ours.data
    assert all(connection.closed_cleanly for connection in server.connections)


def without_date(message: bytes) -> list[bytes]:
    return [line for line in message.split(b"\r\n") if not line.startswith(b"Date: ")]


def test_the_subject_may_depend_on_the_record(smtp_server: ServerFactory, logger: logging.Logger) -> None:
    class Telling(SMTPHandler):
        def getSubject(self, record: logging.LogRecord) -> str:
            return f"{self.subject}: {record.getMessage()}"

    with smtp_server() as server:
        logger.addHandler(Telling(("127.0.0.1", server.port), ALICE, BOB, "trouble"))
        logger.error("fire")
    assert b"\r\nSubject: trouble: fire\r\n" in server.messages[0].data


def test_filters_count(smtp_server: ServerFactory, logger: logging.Logger) -> None:
    def loud(record: logging.LogRecord) -> bool:
        return record.getMessage().isupper()

    with smtp_server(tls=Tls.STARTTLS) as server:
        handler = handler_for(server)
        handler.addFilter(loud)
        logger.addHandler(handler)
        logger.error("quiet")
        logger.error("LOUD")
    (message,) = server.messages
    assert b"LOUD" in message.data


@pytest.mark.skipif(sys.version_info < (3, 12), reason="filters give records from 3.12 on")
def test_a_filter_may_give_another_record(smtp_server: ServerFactory, logger: logging.Logger) -> None:
    def other(record: logging.LogRecord) -> logging.LogRecord:
        return logging.makeLogRecord({**record.__dict__, "msg": "another"})

    with smtp_server(tls=Tls.STARTTLS) as server:
        handler = handler_for(server)
        handler.addFilter(other)  # type: ignore[arg-type,unused-ignore]
        logger.addHandler(handler)
        logger.error("one")
    assert b"another" in server.messages[0].data


def test_a_configuration_names_it(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(tls=Tls.IMPLICIT, certificate=world.served("unknown_issuer")) as server:
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "handlers": {
                    "mail": {
                        "class": "smtpverify.integrations.logging.SMTPHandler",
                        "mailhost": f"smtps://{HOST}:{server.port}?cafile={world.unknown_file}",
                        "fromaddr": ALICE,
                        "toaddrs": [BOB],
                        "subject": "trouble",
                    }
                },
                "loggers": {"tests.configured": {"handlers": ["mail"], "propagate": False}},
            }
        )
        configured = logging.getLogger("tests.configured")
        configured.error("it is broken")
        configured.handlers.clear()
    assert len(server.messages) == 1


# --- TLS -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("credentials", [None, ("alice", "secret")])
@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
def test_a_good_server(
    smtp_server: ServerFactory, logger: logging.Logger, tls: Tls, credentials: tuple[str, str] | None
) -> None:
    """STARTTLS counts without credentials too, where the standard library's handler drops it."""
    with smtp_server(tls=tls) as server:
        if tls is Tls.STARTTLS:
            handler = handler_for(server, credentials=credentials)
        else:
            handler = url_handler("smtps", server, credentials=credentials)
        logger.addHandler(handler)
        logger.error("it is broken")
        logger.error("still broken")
    assert handler.errors == []
    assert len(server.messages) == 2
    for connection in server.connections:
        assert (connection.sni, connection.closed_cleanly) == (HOST, True)
        assert connection.clear_commands in (
            [],
            [f"ehlo {HOST}", "STARTTLS"],
            ["ehlo client.example.org", "STARTTLS"],
        )
        found = [(one.username, one.password) for one in connection.credentials]
        assert found == ([] if credentials is None else [credentials])


def test_user_and_password_of_a_url(smtp_server: ServerFactory, logger: logging.Logger) -> None:
    with smtp_server(tls=Tls.STARTTLS) as server:
        handler = Recorded(
            f"tls://alice@{HOST}:{server.port}", ALICE, BOB, "trouble", password=lambda: "fresh"
        )
        logger.addHandler(handler)
        logger.error("it is broken")
    assert handler.errors == []
    assert [one.password for one in server.connections[0].credentials] == ["fresh"]


@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("wrong_name", smtpverify.HostnameMismatchError),
        ("unknown_issuer", smtpverify.UntrustedCertificateError),
        ("expired", smtpverify.CertificateExpiredError),
    ],
)
def test_an_impostor_gets_nothing_and_it_is_told(
    smtp_server: ServerFactory,
    world: World,
    logger: logging.Logger,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    error: type[Exception],
    tls: Tls,
) -> None:
    with smtp_server(tls=tls, certificate=world.served(kind)) as server:
        credentials = ("alice", "secret")
        if tls is Tls.STARTTLS:
            handler = handler_for(server, credentials=credentials)
        else:
            handler = url_handler("smtps", server, credentials=credentials)
        logger.addHandler(handler)
        logger.error("it is broken")
    assert [type(one) for one in handler.errors] == [error]
    assert server.leaked() == []
    printed = capsys.readouterr().err
    assert printed.startswith("--- Logging error ---\n")
    assert f"\nsmtpverify.errors.{error.__name__}: {HOST}:{server.port}: the certificate " in printed
    assert "secret" not in printed


def test_raise_exceptions_keeps_its_meaning(
    smtp_server: ServerFactory,
    world: World,
    logger: logging.Logger,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with smtp_server(tls=Tls.STARTTLS, certificate=world.served("wrong_name")) as server:
        handler = handler_for(server)
        logger.addHandler(handler)
        logger.error("it is broken")
    assert [type(one) for one in handler.errors] == [smtpverify.HostnameMismatchError]
    assert capsys.readouterr().err == ""
    assert server.leaked() == []


def test_stripped_starttls(smtp_server: ServerFactory, logger: logging.Logger) -> None:
    with smtp_server(Behaviour(tls=Tls.STARTTLS, starttls=Starttls.ABSENT)) as server:
        handler = handler_for(server, credentials=("alice", "secret"))
        logger.addHandler(handler)
        logger.error("it is broken")
    assert [type(one) for one in handler.errors] == [smtpverify.TLSRequiredError]
    assert server.leaked() == []


def test_whom_to_believe(smtp_server: ServerFactory, world: World, logger: logging.Logger) -> None:
    good, other = world.served("unknown_issuer"), world.served("self_signed_leaf")
    pin = smtpverify.Pin.of_certificate(smtpverify.Certificate.from_der(good.leaf_der))
    trust = smtpverify.Trust(pins=pin, pins_only=True)
    with smtp_server(Behaviour(certificate=good), Behaviour(certificate=other), tls=Tls.STARTTLS) as server:
        handler = handler_for(server, trust=trust)
        logger.addHandler(handler)
        logger.error("it is broken")
        logger.error("still broken")
    assert [type(one) for one in handler.errors] == [smtpverify.PinMismatchError]
    assert [len(connection.messages) for connection in server.connections] == [1, 0]


def test_server_hostname(smtp_server: ServerFactory, logger: logging.Logger) -> None:
    with smtp_server(tls=Tls.STARTTLS) as server:
        handler = Recorded(("127.0.0.1", server.port), ALICE, BOB, "trouble", secure=(), server_hostname=HOST)
        logger.addHandler(handler)
        logger.error("it is broken")
    assert handler.errors == []
    assert len(server.messages) == 1


def test_a_client_certificate(
    smtp_server: ServerFactory, world: World, logger: logging.Logger, tmp_path: Path
) -> None:
    mine = world.root.issue("alice.example.org", extended_key_usage=())
    certificate, key = mine.write(tmp_path)
    with smtp_server(tls=Tls.STARTTLS, client_roots=(world.root,)) as server:
        handler = handler_for(server, (str(key), str(certificate)))
        logger.addHandler(handler)
        logger.error("it is broken")
    assert handler.errors == []
    assert server.connections[0].client_certificate == mine.leaf_der


def test_a_dialect_of_urls(smtp_server: ServerFactory, logger: logging.Logger) -> None:
    with smtp_server(tls=Tls.STARTTLS) as server:
        for handler in (
            url_handler("smtp+tls", server, secure=(), dialect="opensmtpd-6.4"),
            handler_for(server, dialect="opensmtpd-6.4"),
        ):
            logger.addHandler(handler)
        logger.error("it is broken")
    assert [len(connection.messages) for connection in server.connections] == [1, 1]
    assert all(connection.handshake_done for connection in server.connections)


def test_lmtp(smtp_server: ServerFactory, logger: logging.Logger) -> None:
    with smtp_server(protocol=Protocol.LMTP) as server:
        handler = url_handler("lmtp", server)
        logger.addHandler(handler)
        logger.error("it is broken")
    assert handler.errors == []
    assert len(server.messages) == 1


# --- plaintext -----------------------------------------------------------------------------------


def test_unsaid_plaintext_warns_when_it_is_set_up_and_never_again(
    smtp_server: ServerFactory, logger: logging.Logger
) -> None:
    with smtp_server() as server:
        with pytest.warns(smtpverify.PlaintextWarning, match=rf"^{HOST}: log records will be") as caught:
            handler = handler_for(server, None)
        assert caught[0].filename == __file__
        logger.addHandler(handler)
        logger.error("it is broken")
        logger.error("still broken")
    assert handler.errors == []
    assert len(server.messages) == 2


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", f"smtp+notls://{HOST}"])
def test_plaintext_that_was_said_or_stays_here_does_not_warn(
    smtp_server: ServerFactory, logger: logging.Logger, host: str
) -> None:
    with smtp_server() as server:
        logger.addHandler(Recorded((host, server.port), ALICE, BOB, "trouble"))
        logger.error("it is broken")
    assert len(server.messages) == 1


def test_credentials_do_not_go_in_plaintext_to_another_machine(
    smtp_server: ServerFactory, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smtpverify.smtp.endpoints.is_local", lambda sock: False)
    with smtp_server(before_tls=("AUTH PLAIN",)) as server:
        told = {"credentials": ("alice", "secret")}
        refused = url_handler("smtp+notls", server, **told)
        logger.addHandler(refused)
        logger.error("it is broken")
        logger.removeHandler(refused)
        allowed = url_handler("smtp+notls", server, **told, allow_plaintext_login=True)
        logger.addHandler(allowed)
        logger.error("it is broken")
    assert [type(one) for one in refused.errors] == [smtpverify.PlaintextCredentialsError]
    assert allowed.errors == []
    assert [len(connection.credentials) for connection in server.connections] == [0, 1]
    assert server.connections[0].leaked() == []


# --- what is refused when it is set up -----------------------------------------------------------


@pytest.mark.parametrize(
    ("mailhost", "others", "error", "message"),
    [
        ("tsl://mail.example.org", {}, smtpverify.RelayURLError, "scheme: tsl:// is unknown"),
        ("smtp://mail.example.org", {"secure": ()}, smtpverify.RelayURLError, "scheme: secure asks for TLS"),
        ("smtp+tls://mail.example.org", {"secure": ()}, smtpverify.RelayURLError, "scheme: secure asks for"),
        (
            "tls://bob@mail.example.org",
            {"credentials": ("alice", "secret")},
            smtpverify.RelayURLError,
            "user: the URL and credentials both give one",
        ),
        ("tls://mail.example.org?cafile=nowhere.pem", {}, smtpverify.RelayURLError, "cafile: "),
        (("mail.example.org", 65536), {"secure": ()}, smtpverify.RelayURLError, "port: "),
        (
            "mail.example.org",
            {"trust": smtpverify.Trust(pins="sha256:" + "0a" * 32)},
            smtpverify.RelayURLError,
            "trust: without secure=",
        ),
        ("mail.example.org", {"secure": ("nowhere.key",)}, smtpverify.TrustError, "client_key: a key needs"),
        ("localhost", {"timeout": 0}, ValueError, "timeout: 0 is not a positive number of seconds"),
    ],
)
def test_what_can_t_be_used_is_refused_at_once(
    mailhost: Any, others: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        SMTPHandler(mailhost, ALICE, BOB, "trouble", **others)
    assert type(caught.value) is error
    assert str(caught.value).startswith(message)


# --- failures ------------------------------------------------------------------------------------


def test_recipients_that_were_refused_are_told(smtp_server: ServerFactory, logger: logging.Logger) -> None:
    def answer(line: str) -> str | None:
        return "550 5.1.1 nobody here" if CAROL in line else None

    with smtp_server(tls=Tls.STARTTLS, replies={"RCPT": answer}) as server:
        handler = Recorded((HOST, server.port), ALICE, [BOB, CAROL], "trouble", secure=())
        logger.addHandler(handler)
        logger.error("it is broken")
    (error,) = handler.errors
    assert isinstance(error, smtplib.SMTPRecipientsRefused)
    assert error.recipients == {CAROL: (550, b"5.1.1 nobody here")}
    assert server.messages[0].rcpts == (BOB,)


@pytest.mark.parametrize("greeting", [Greeting.SILENT, Greeting.SPOKEN])
def test_no_server_keeps_the_program_for_ever(
    smtp_server: ServerFactory, logger: logging.Logger, greeting: Greeting
) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"220-wait\r\n"

    slow = Pieces(endless, pause=0.02)
    with smtp_server(greeting_kind=greeting, greeting=slow) as server:
        handler = url_handler("tls", server, timeout=0.3)
        logger.addHandler(handler)
        logger.error("it is broken")
    assert isinstance(handler.errors[0], smtplib.SMTPServerDisconnected)


def test_nobody_listens(logger: logging.Logger) -> None:
    with closed_port() as port:
        handler = Recorded(("localhost", port), ALICE, BOB, "trouble")
        logger.addHandler(handler)
        logger.error("it is broken")
    assert [type(one) for one in handler.errors] == [ConnectionRefusedError]


def test_a_record_that_can_t_be_formatted(smtp_server: ServerFactory, logger: logging.Logger) -> None:
    with smtp_server(tls=Tls.STARTTLS) as server:
        handler = handler_for(server)
        logger.addHandler(handler)
        logger.error("%d", "no number")
    assert [type(one) for one in handler.errors] == [TypeError]
    assert server.connections == []


def test_an_interrupt_goes_through_and_leaves_no_connection(
    smtp_server: ServerFactory, logger: logging.Logger
) -> None:
    def password() -> str:
        if not handler.level:
            raise KeyboardInterrupt
        return "secret"

    with smtp_server(tls=Tls.STARTTLS) as server:
        handler = Recorded(f"tls://alice@{HOST}:{server.port}", ALICE, BOB, "trouble", password=password)
        logger.addHandler(handler)
        with pytest.raises(KeyboardInterrupt):
            logger.error("it is broken")
        server.wait_closed()
        handler.setLevel(logging.ERROR)
        logger.error("still broken")  # the interrupt has not left this thread for one that sends
    assert handler.errors == []
    assert len(server.messages) == 1


# --- records that come of sending ----------------------------------------------------------------


def test_a_record_made_while_sending_is_not_mailed(
    smtp_server: ServerFactory, logger: logging.Logger
) -> None:
    """Not by this handler, and not by another that would have this one send in its turn."""

    def password() -> str:
        logger.error("asked for the password")
        return "secret"

    with smtp_server(tls=Tls.STARTTLS) as server:
        handlers = [
            Recorded(f"tls://alice@{HOST}:{server.port}", ALICE, to, "trouble", password=password)
            for to in (BOB, CAROL)
        ]
        for handler in handlers:
            logger.addHandler(handler)
        logger.error("it is broken")
    assert [handler.errors for handler in handlers] == [[], []]
    assert [message.rcpts for message in server.messages] == [(BOB,), (CAROL,)]
    assert all(b"it is broken" in message.data for message in server.messages)


def test_nor_is_it_where_records_know_no_thread(
    smtp_server: ServerFactory, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "logThreads", False)
    monkeypatch.setattr(logging, "logProcesses", False)

    def password() -> str:
        logger.error("asked for the password")
        return "secret"

    with smtp_server(tls=Tls.STARTTLS) as server:
        handler = Recorded(f"tls://alice@{HOST}:{server.port}", ALICE, BOB, "trouble", password=password)
        logger.addHandler(handler)
        logger.error("it is broken")
    assert handler.errors == []
    assert len(server.messages) == 1


def test_nor_is_it_when_another_thread_brings_it_at_once(
    smtp_server: ServerFactory, logger: logging.Logger
) -> None:
    def password() -> str:
        record = logger.makeRecord("test", logging.ERROR, __file__, 1, "asked for it", (), None)
        other = threading.Thread(target=handler.handle, args=(record,))
        other.start()
        other.join()
        return "secret"

    with smtp_server(tls=Tls.STARTTLS) as server:
        handler = Recorded(f"tls://alice@{HOST}:{server.port}", ALICE, BOB, "trouble", password=password)
        logger.addHandler(handler)
        logger.error("it is broken")
    assert handler.errors == []
    assert len(server.messages) == len(server.connections) == 1


def test_a_captured_warning_of_ours_is_not_mailed(
    smtp_server: ServerFactory, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    capturing = logging.getLogger("py.warnings")
    seen: list[logging.LogRecord] = []
    watching = logging.Handler()
    monkeypatch.setattr(watching, "emit", seen.append)
    with smtp_server(Behaviour(tls=Tls.STARTTLS, starttls=Starttls.ABSENT)) as server:
        handler = url_handler("smtp+tls", server)
        for one in (logger, capturing):
            one.addHandler(handler)
        capturing.addHandler(watching)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)
            try:
                logger.error("it is broken")
            finally:
                logging.captureWarnings(False)
                capturing.removeHandler(handler)
                capturing.removeHandler(watching)
    assert handler.errors == []
    assert ["PlaintextFallbackWarning" in record.getMessage() for record in seen] == [True]
    assert len(server.messages) == 1


def test_nor_is_it_when_a_queue_brings_it_later_in_another_thread(
    smtp_server: ServerFactory, logger: logging.Logger
) -> None:
    """With a listener whose every mail makes a record, there would be no end of it."""
    waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    logger.addHandler(logging.handlers.QueueHandler(waiting))

    def password() -> str:
        logger.error("asked for the password")
        return "secret"

    def deliver() -> None:
        handler.handle(waiting.get_nowait())

    with smtp_server(tls=Tls.STARTTLS) as server:
        handler = Recorded(f"tls://alice@{HOST}:{server.port}", ALICE, BOB, "trouble", password=password)
        logger.error("it is broken")
        first = threading.Thread(target=deliver)
        first.start()
        first.join()
        assert waiting.qsize() == 1
        deliver()  # the record of the first delivery
        assert waiting.empty()
        logger.error("still broken")
        deliver()
    assert handler.errors == []
    assert len(server.messages) == 2
    assert b"still broken" in server.messages[1].data


def test_what_another_thread_has_to_tell_is_mailed_and_waits_for_nobody(
    smtp_server: ServerFactory, logger: logging.Logger
) -> None:
    """While one thread sends, and waits for the other: with a lock they would wait for ever."""
    asked: list[str] = []

    def password() -> str:
        if not asked:
            asked.append("once")
            other = threading.Thread(target=logger.error, args=("trouble of its own",))
            other.start()
            other.join()
        return "secret"

    with smtp_server(tls=Tls.STARTTLS) as server:
        handler = Recorded(f"tls://alice@{HOST}:{server.port}", ALICE, BOB, "trouble", password=password)
        logger.addHandler(handler)
        logger.error("it is broken")
    assert handler.errors == []
    assert sorted(b"trouble of its own" in message.data for message in server.messages) == [False, True]


def test_a_record_of_another_process_is_not_taken_for_one_of_ours(
    smtp_server: ServerFactory, logger: logging.Logger
) -> None:
    made: list[logging.LogRecord] = []

    def password() -> str:
        made.append(logger.makeRecord("test", logging.ERROR, __file__, 1, "%s", ("elsewhere",), None))
        return "secret"

    with smtp_server(tls=Tls.STARTTLS) as server:
        handler = Recorded(f"tls://alice@{HOST}:{server.port}", ALICE, BOB, "trouble", password=password)
        logger.addHandler(handler)
        logger.error("it is broken")
        (record,) = made
        handler.handle(record)
        assert len(server.messages) == 1
        record.process = -1
        handler.handle(record)
    assert handler.errors == []
    assert len(server.messages) == 2


def test_the_memory_of_sendings_is_bounded(
    smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smtpverify.integrations.logging import _Sendings

    monkeypatch.setattr(_Sendings, "MOST", 3)
    sendings = _Sendings()
    for ident in (*range(5), *[7] * 5):
        monkeypatch.setattr(threading, "get_ident", lambda ident=ident: ident)
        with sendings.one():
            assert list(sendings._since) == [ident]
    assert {ident: len(times) for ident, times in sendings._past.items()} == {3: 1, 4: 1, 7: 3}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_does_not_believe_that_it_is_sending() -> None:
    code = (
        "import os\n"
        "from smtpverify.integrations.logging import _sendings\n"
        "with _sendings.one():\n"
        "    child = os.fork()\n"
        "    here = list(_sendings._since)\n"
        "    if child == 0:\n"
        "        os._exit(1 if here else 0)\n"
        "    assert here\n"
        "    print(os.waitpid(child, 0)[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=50)
    assert (done.stdout, done.stderr) == (b"0\n", b"")
