"""Many messages on one connection: one verdict each, in order, whatever becomes of the connection."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from smtpverify import Outcome
from tests.bed import Behaviour, Tls
from tests.bed.network import LOOPBACK
from tests.test_equivalence import WAYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bed import Server
    from tests.conftest import ServerFactory

every_way = pytest.mark.parametrize("way", WAYS)
SENDER = "alice@example.org"


def connected(server: Server, **options: Any) -> smtpverify.SMTP:
    return smtpverify.SMTP(LOOPBACK, server.port, "client.example.org", **{"timeout": 5, **options})


def behaviour(way: str, **fields: Any) -> Behaviour:
    return Behaviour(before_tls=WAYS[way], after_tls=WAYS[way], **fields)


def letters(count: int, to: str = "bob") -> Iterator[tuple[str, list[str], bytes]]:
    for number in range(count):
        yield SENDER, [f"{to}{number}@example.net"], b"letter %d\r\n" % number


def arrived(server: Server) -> list[bytes]:
    server.close()
    return [message.data for connection in server.connections for message in connection.messages]


@every_way
@pytest.mark.parametrize("lazily", [True, False])
def test_each_gets_its_result(smtp_server: ServerFactory, way: str, lazily: bool) -> None:
    server = smtp_server(behaviour(way))
    with connected(server) as smtp:
        results = list(smtp.send_messages(letters(200) if lazily else [*letters(200)]))
        assert smtp.sendmail(SENDER, "bob@example.net", "afterwards") == {}
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    assert all(result.accepted and result.error is None and result.refused == {} for result in results)
    assert results[0].reply == (250, b"2.0.0 Ok: queued")
    assert arrived(server) == [letter for _, _, letter in letters(200)] + [b"afterwards\r\n"]


@every_way
def test_refusals_in_between(smtp_server: ServerFactory, way: str) -> None:
    """A message that is refused, or can't be sent, is one result among the others."""

    def rcpt(line: str) -> str | None:
        return "550 5.1.1 nobody" if "nobody" in line else None

    def mail(line: str) -> str | None:
        return "451 4.7.1 later" if "later" in line else None

    message = EmailMessage()
    message["From"], message["To"], message["Bcc"] = SENDER, "bob@example.net", "carol@example.net"
    message.set_content("an object")
    messages: list[Any] = [
        (SENDER, ["bob@example.net"], "one"),
        (SENDER, ["nobody@example.net"], "two"),
        (SENDER, ["nobody@example.net", "bob@example.net"], "three"),
        ("later@example.org", ["bob@example.net"], "four"),
        (SENDER, ["bob@example.net\r\nRCPT TO:<eve@example.net>"], "five"),
        (SENDER, [], "six"),
        (SENDER, ["bob@example.net"], "s\u00e9ven"),
        message,
        EmailMessage(),
        None,
        (SENDER, "bob@example.net", b"last"),
    ]
    server = smtp_server(behaviour(way, replies={"RCPT": rcpt, "MAIL": mail}))
    with connected(server) as smtp:
        results = list(smtp.send_messages(messages))
    shown = [(result.outcome, type(result.error)) for result in results]
    accepted, refused = (Outcome.ACCEPTED, type(None)), Outcome.REFUSED
    assert shown == [
        accepted,
        (refused, smtplib.SMTPRecipientsRefused),
        accepted,
        (refused, smtplib.SMTPSenderRefused),
        (refused, smtpverify.CommandArgumentError),
        (refused, smtplib.SMTPRecipientsRefused),
        (refused, UnicodeEncodeError),
        accepted,
        (refused, ValueError),
        (refused, TypeError),
        accepted,
    ]
    assert results[2].refused == {"nobody@example.net": (550, b"5.1.1 nobody")}
    first, third, eighth, last = arrived(server)
    assert (first, third, last) == (b"one\r\n", b"three\r\n", b"last\r\n")
    assert b"an object" in eighth
    assert b"carol" not in eighth
    (connection,) = server.connections
    assert connection.messages[2].rcpts == ("bob@example.net", "carol@example.net")


def dying(way: str, ending: str, after: int) -> Behaviour:
    """A server that fails at the reply to a message, and says nothing that makes sense from then on."""
    count = 0

    def end(line: str) -> Any:
        nonlocal count
        count += 1
        return None if count <= after else ENDINGS[ending]

    def other(line: str) -> Any:
        return None if count <= after else ENDINGS[ending]

    replies = {"RSET": other, "MAIL": other, "RCPT": other, "DATA": other, ".": end}
    return behaviour(way, replies=replies, closes_after=(".",) if ending == "closed" else ())


ENDINGS: dict[str, Any] = {"closed": b"", "421": "421 4.3.2 bye", "silent": b"", "malformed": b"?\r\n"}


@every_way
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("lazily", [True, False])
def test_a_connection_that_dies(smtp_server: ServerFactory, way: str, ending: str, lazily: bool) -> None:
    """What the server has is accepted or unknown, what it has not is not reported as accepted."""
    after = 0 if ending == "closed" else 10
    server = smtp_server(dying(way, ending, after))
    smtp = connected(server, timeout=0.5)
    taken = list(smtp.send_messages(letters(100) if lazily else [*letters(100)]))
    assert len(taken) == 100
    outcomes = [result.outcome for result in taken]
    assert outcomes[:after] == [Outcome.ACCEPTED] * after
    assert Outcome.ACCEPTED not in outcomes[after:]
    assert outcomes[-1] is Outcome.NOT_SENT
    assert smtp.sock is None
    there = set(arrived(server))
    for number, result in enumerate(taken):
        if result.outcome is Outcome.NOT_SENT:
            assert b"letter %d\r\n" % number not in there
            assert isinstance(result.error, smtplib.SMTPServerDisconnected)
            assert not isinstance(result.error, smtpverify.DeliveryUnknownError)
        elif result.outcome is Outcome.UNKNOWN:
            assert isinstance(result.error, smtpverify.DeliveryUnknownError)
    if ending == "421":
        assert outcomes[10] is Outcome.REFUSED
    elif way != "pipelined and chunked":
        assert outcomes[after:] == [Outcome.UNKNOWN] + [Outcome.NOT_SENT] * (99 - after)


@every_way
def test_a_server_that_is_gone_already(smtp_server: ServerFactory, way: str) -> None:
    server = smtp_server(behaviour(way, closes_after=("NOOP",)))
    smtp = connected(server)
    smtp.ehlo()
    smtp.noop()
    server.close()
    results = list(smtp.send_messages(letters(3)))
    assert [result.outcome for result in results] == [Outcome.NOT_SENT] * 3


@every_way
def test_one_is_taken_at_a_time(smtp_server: ServerFactory, way: str) -> None:
    """The iterable is read as there is room, and results come while it is."""
    taken = 0

    def counted() -> Iterator[tuple[str, list[str], bytes]]:
        nonlocal taken
        for letter in letters(500):
            taken += 1
            yield letter

    with smtp_server(behaviour(way)) as server, connected(server) as smtp:
        for number, _ in enumerate(smtp.send_messages(counted()), 1):
            assert taken - number <= 65
    assert taken == 500


@every_way
def test_an_iterable_that_fails(smtp_server: ServerFactory, way: str) -> None:
    """Every message that it gave has its result before its error comes."""

    def failing() -> Iterator[tuple[str, list[str], bytes]]:
        yield from letters(5)
        raise LookupError("no more")

    server = smtp_server(behaviour(way))
    with connected(server) as smtp:
        sending = smtp.send_messages(failing())
        assert [next(sending).accepted for _ in range(5)] == [True] * 5
        with pytest.raises(LookupError, match="no more"):
            next(sending)
        assert smtp.noop()[0] == 250
    assert len(arrived(server)) == 5


@every_way
def test_who_leaves_early(smtp_server: ServerFactory, way: str) -> None:
    """Nothing hangs, and no reply is taken for another's."""
    with smtp_server(behaviour(way)) as server, connected(server) as smtp:
        sending = smtp.send_messages(letters(100))
        assert next(sending).accepted
        with pytest.raises(RuntimeError, match=r"send_messages\(\) has not ended"):
            smtp.noop()
        with pytest.raises(RuntimeError, match=r"send_messages\(\) has not ended"):
            smtp.sendmail(SENDER, "bob@example.net", "hello")
        with pytest.raises(RuntimeError, match=r"send_messages\(\) has not ended"):
            smtp.send_messages(letters(1))
        sending.close()  # type: ignore[attr-defined]
        if smtp.sock is not None:
            assert smtp.noop()[0] == 250
        else:
            assert "pipelined" in way
    with smtp_server(behaviour(way)) as server:
        smtp = connected(server)
        sending = smtp.send_messages(letters(100))
        next(sending)
        assert smtp.quit()[0] == 221
        assert smtp.sock is None
        assert next(sending).outcome in (Outcome.NOT_SENT, Outcome.UNKNOWN, Outcome.ACCEPTED)
        sending.close()  # type: ignore[attr-defined]


def test_an_interrupt(smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    with smtp_server(behaviour("pipelined and chunked")) as server:
        smtp = connected(server)

        def interrupted() -> Iterator[tuple[str, list[str], bytes]]:
            yield from letters(3)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(smtp.send_messages(interrupted()))
        assert smtp.sock is None


def test_large_among_small(smtp_server: ServerFactory) -> None:
    large = b"x" * 70 + b"\r\n"
    messages = [(SENDER, ["bob@example.net"], large * (100_000 if number == 3 else 1)) for number in range(8)]
    for way in WAYS:
        server = smtp_server(behaviour(way, tls=Tls.STARTTLS))
        with connected(server, server_hostname="mail.example.org", timeout=20) as smtp:
            smtp.starttls()
            assert all(result.accepted for result in smtp.send_messages(messages))
        assert arrived(server) == [message for _, _, message in messages]


@pytest.mark.parametrize("step", ["rcpt", "sendmail", "getreply"])
def test_steps_of_a_subclass(smtp_server: ServerFactory, step: str) -> None:
    called = 0

    def own(self: Any, *args: Any) -> Any:
        nonlocal called
        called += 1
        return getattr(super(kind, self), step)(*args)

    kind = type("Own", (smtpverify.SMTP,), {step: own})
    replies = iter([None, "552 5.3.4 too large", b""])
    server = smtp_server(behaviour("pipelined and chunked", replies={".": lambda line: next(replies)}))
    smtp = kind(LOOPBACK, server.port, timeout=0.5)
    before = called
    results = list(smtp.send_messages(letters(4)))
    assert called > before
    assert [result.outcome for result in results] == [
        Outcome.ACCEPTED,
        Outcome.REFUSED,
        Outcome.UNKNOWN,
        Outcome.NOT_SENT,
    ]
