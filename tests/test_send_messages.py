"""Many messages on one connection: one verdict each, in order, whatever becomes of the connection."""

from __future__ import annotations

import smtplib
import socket
import threading
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import smtpverify
from smtpverify import Outcome, SendResult
from smtpverify.smtp.channel import Channel
from tests.bed import Behaviour, Tls
from tests.bed.network import LOOPBACK
from tests.scripted import STEPS, Death, Plan, ScriptedServer, Seen
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


# --- the results and the server's record -------------------------------------------------------------

refusals = st.sampled_from([421, 450, 451, 550, 552, 554])
plans = st.builds(
    Plan,
    mail=st.just(250) | st.just(250) | refusals,
    rcpts=st.lists(st.sampled_from([250, 250, 250, 251, 421, 450, 550]), min_size=1, max_size=3).map(tuple),
    data=st.just(354) | st.just(354) | refusals,
    end=st.just(250) | st.just(250) | refusals,
)
deaths = st.none() | st.builds(
    Death,
    message=st.integers(0, 5),
    step=st.sampled_from(STEPS),
    said=st.sampled_from([b"", b"2", b"250 que"]),
    reset=st.booleans(),
)


def refusal_of(plan: Plan, way: str) -> tuple[type[Exception], int] | None:
    """What `sendmail` raises where all is said that is planned, and its code."""
    if plan.mail != 250:
        return smtplib.SMTPSenderRefused, plan.mail
    if 421 in plan.rcpts or not {250, 251} & set(plan.rcpts):
        return smtplib.SMTPRecipientsRefused, 0
    if plan.data != 354 and "chunked" not in way:
        return smtplib.SMTPDataError, plan.data
    return None if plan.end == 250 else (smtplib.SMTPDataError, plan.end)


def agrees(result: SendResult, seen: Seen, plan: Plan, way: str, broken: bool) -> None:
    """The result says no more than is so, and as much as can be known."""
    unsure = broken and way == "pipelined and chunked"  # a reply that had come may be lost with the rest
    if result.outcome is Outcome.ACCEPTED:
        assert (seen.whole, seen.told) == (True, 250)
        assert set(result.refused) == {
            f"user{number}@example.net" for number, code in enumerate(plan.rcpts) if code not in (250, 251)
        }
    elif result.outcome is Outcome.REFUSED:
        assert seen.told != 250
        kind, code = refusal_of(plan, way) or (None, 0)
        assert type(result.error) is kind
        assert not code or result.error.args[0] == code
    elif result.outcome is Outcome.NOT_SENT:
        assert not seen.whole
        assert type(result.error) is smtplib.SMTPServerDisconnected
    else:
        assert type(result.error) is smtpverify.DeliveryUnknownError
        # What goes at once with its envelope may not have been read; what was answered has its verdict.
        assert unsure or (seen.told is None and broken)
    if seen.told == 250 and not unsure:
        assert result.outcome is Outcome.ACCEPTED
    if seen.whole and seen.told is None:
        assert result.outcome is Outcome.UNKNOWN


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=st.lists(plans, min_size=1, max_size=6), death=deaths, lazily=st.booleans())
def test_the_results_are_the_server_s_record(told: list[Plan], death: Death | None, lazily: bool) -> None:
    """Never accepted that was not, never not sent that the server has whole."""
    for way, extensions in WAYS.items():
        with ScriptedServer(extensions, told, death) as server:
            messages = [
                (
                    f"{number}@example.org",
                    [f"user{one}@example.net" for one in range(len(plan.rcpts))],
                    "hello",
                )
                for number, plan in enumerate(told)
            ]
            smtp = smtpverify.SMTP(LOOPBACK, server.port, "client.example.org", timeout=5)
            results = list(smtp.send_messages(iter(messages) if lazily else messages))
            alive = smtp.sock is not None
            if alive:
                assert smtp.noop()[0] == 250, way
            smtp.close()
        assert len(results) == len(told), way
        for result, seen, plan in zip(results, server.seen, told, strict=True):
            agrees(result, seen, plan, way, broken=not alive)


@every_way
def test_a_transaction_that_was_refused_is_reset(way: str) -> None:
    """RSET goes before the next message, and behind the last: no MAIL in an open transaction."""
    told = [Plan(rcpts=(550,)), Plan(mail=550), Plan(), Plan(end=552), Plan(rcpts=(450,)), Plan(rcpts=(550,))]
    with ScriptedServer(WAYS[way], told) as server:
        smtp = smtpverify.SMTP(LOOPBACK, server.port, "client.example.org", timeout=5)
        messages = [(f"{number}@example.org", "bob@example.net", "hello") for number in range(len(told))]
        results = list(smtp.send_messages(messages))
        smtp.quit()
    assert [result.outcome is Outcome.ACCEPTED for result in results] == [number == 2 for number in range(6)]
    verbs = [command[:4].upper() for command in server.commands]
    assert verbs[-2:] == ["RSET", "QUIT"]
    # Without BDAT no RSET goes that is not needed.
    before = [verbs[at - 1] == "RSET" for at, verb in enumerate(verbs) if verb == "MAIL"]
    assert before == [False, *[True] * 5] if "and chunked" in way else [False, True, True, False, True, True]


@every_way
def test_what_follows_a_refused_sender_is_no_verdict_on_recipients(way: str) -> None:
    """Pipelined, each RCPT is answered by 503, which is permanent, where the sender may come again."""
    with ScriptedServer(WAYS[way], [Plan(mail=451, rcpts=(250, 250))]) as server:
        smtp = smtpverify.SMTP(LOOPBACK, server.port, "client.example.org", timeout=5)
        to = ["bob@example.net", "carol@example.net"]
        [result] = smtp.send_messages([("0@example.org", to, b"hello")])
        smtp.quit()
    assert isinstance(result.error, smtplib.SMTPSenderRefused)
    assert (result.error.smtp_code, result.refused) == (451, {})


@every_way
@pytest.mark.parametrize("ending", ["leaves", "fails"])
def test_no_transaction_is_left_open(smtp_server: ServerFactory, way: str, ending: str) -> None:
    """Whoever stops behind a message that was refused: the next one is not refused for that."""

    def messages() -> Iterator[tuple[str, list[str], bytes]]:
        yield from letters(1, to="nobody")
        if ending == "fails":
            raise LookupError("no more")
        yield from letters(1)

    replies = {"RCPT": lambda line: "550 5.1.1 nobody" if "nobody" in line else None}
    with smtp_server(behaviour(way, replies=replies)) as server:
        smtp = connected(server)
        sending = smtp.send_messages(messages())
        assert next(sending).outcome is Outcome.REFUSED
        if ending == "fails":
            with pytest.raises(LookupError, match="no more"):
                next(sending)
            assert smtp.sendmail(SENDER, "bob@example.net", "afterwards") == {}
        else:
            sending.close()  # type: ignore[attr-defined]
            assert smtp.sock is None
            smtp.connect(LOOPBACK, server.port)
            assert smtp.sendmail(SENDER, "bob@example.net", "afterwards") == {}
        smtp.quit()
    assert server.messages[-1].data == b"afterwards\r\n"


# --- who else speaks --------------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize(
    "speaks",
    [
        lambda smtp, port: smtp.send("NOOP\r\n"),
        lambda smtp, port: smtp.getreply(),
        lambda smtp, port: smtp.putcmd("NOOP"),
        lambda smtp, port: smtp.docmd("NOOP"),
        lambda smtp, port: smtp.ehlo(),
        lambda smtp, port: smtp.mail(SENDER),
        lambda smtp, port: smtp.rcpt("bob@example.net"),
        lambda smtp, port: smtp.data("hello"),
        lambda smtp, port: smtp.rset(),
        lambda smtp, port: smtp.vrfy("bob"),
        lambda smtp, port: smtp.help(),
        lambda smtp, port: smtp.send_message(EmailMessage(), SENDER, ["bob@example.net"]),
        lambda smtp, port: smtp.connect(LOOPBACK, port),
    ],
)
def test_the_replies_are_not_for_others(smtp_server: ServerFactory, way: str, speaks: Any) -> None:
    """A command amid the iteration is refused, takes no reply, and changes nothing."""
    with smtp_server(behaviour(way)) as server, connected(server) as smtp:
        sending = smtp.send_messages(letters(5))
        assert next(sending).accepted
        with pytest.raises(RuntimeError, match=r"send_messages\(\) has not ended"):
            speaks(smtp, server.port)
        assert [result.outcome for result in sending] == [Outcome.ACCEPTED] * 4
    assert [message.data for message in server.messages] == [text for _, _, text in letters(5)]
    assert len(server.connections) == 1


@every_way
def test_no_other_connection_takes_over(smtp_server: ServerFactory, way: str) -> None:
    """What was sent in TLS has no verdict of another connection's, and the rest does not go in plaintext."""
    with smtp_server(behaviour(way, tls=Tls.STARTTLS), behaviour(way, tls=Tls.STARTTLS)) as server:
        smtp = connected(server, server_hostname="mail.example.org")
        smtp.starttls()
        sending = smtp.send_messages(letters(5))
        assert next(sending).accepted
        smtp.close()
        with pytest.raises(RuntimeError, match=r"send_messages\(\) has not ended"):
            smtp.connect(LOOPBACK, server.port)
        rest = [result.outcome for result in sending]
    assert len(server.connections) == 1
    assert server.leaked() == [
        line for line in server.connections[0].secure_commands if line in server.leaked()
    ]
    there = len(server.messages)
    assert Outcome.ACCEPTED not in rest
    assert all(outcome is Outcome.UNKNOWN for outcome in rest[: there - 1])


@every_way
def test_leaving_a_with_block(smtp_server: ServerFactory, way: str) -> None:
    with smtp_server(behaviour(way)) as server:
        with connected(server) as smtp:
            sending = smtp.send_messages(letters(5))
            assert next(sending).accepted
        assert smtp.sock is None

        def fail(smtp: smtpverify.SMTP) -> None:
            for _ in smtp.send_messages(letters(5)):
                raise LookupError

        other = connected(server)
        with pytest.raises(LookupError), other:
            fail(other)
        assert other.sock is None
        assert Outcome.ACCEPTED not in {result.outcome for result in sending}


@every_way
def test_how_far_ahead(way: str) -> None:
    """Step by step nothing, pipelined one; chunked no more than 64 messages."""
    ahead = []
    taken = 0

    def counted() -> Iterator[tuple[str, str, bytes]]:
        nonlocal taken
        for number in range(150):
            taken += 1
            yield f"{number}@example.org", "bob@example.net", b"hello"

    with ScriptedServer(WAYS[way], [Plan()] * 150) as server:
        smtp = smtpverify.SMTP(LOOPBACK, server.port, "client.example.org", timeout=5)
        for number, _ in enumerate(smtp.send_messages(counted()), 1):
            ahead.append(taken - number)
        smtp.close()
    assert taken == 150
    assert max(ahead) <= {"step by step": 0, "step by step, chunked": 0, "pipelined": 1}.get(way, 64)
    assert max(ahead) > 0 or "step" in way


def test_how_many_octets_ahead() -> None:
    """64 KiB and the message that exceeds it."""
    ahead = []
    taken = 0

    def counted() -> Iterator[tuple[str, str, bytes]]:
        nonlocal taken
        for number in range(40):
            taken += 1
            yield f"{number}@example.org", "bob@example.net", b"x" * 16384

    with ScriptedServer(WAYS["pipelined and chunked"], [Plan()] * 40) as server:
        smtp = smtpverify.SMTP(LOOPBACK, server.port, "client.example.org", timeout=5)
        for number, _ in enumerate(smtp.send_messages(counted()), 1):
            ahead.append(taken - number)
        smtp.close()
    assert 0 < max(ahead) <= 4


@every_way
def test_an_interrupt_while_waiting(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows which replies are still to come: the connection is closed."""

    def interrupted(channel: Channel, limit: float) -> None:
        raise KeyboardInterrupt

    with ScriptedServer(WAYS[way], [Plan()] * 20) as server:
        smtp = smtpverify.SMTP(LOOPBACK, server.port, "client.example.org", timeout=5)
        smtp.ehlo()
        monkeypatch.setattr(Channel, "read", interrupted)
        messages = [(f"{number}@example.org", "bob@example.net", "hello") for number in range(20)]
        sending = smtp.send_messages(iter(messages))
        with pytest.raises(KeyboardInterrupt):
            list(sending)
        assert smtp.sock is None
        assert list(sending) == []
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtp.noop()
    assert all(command.upper() != "NOOP" for command in server.commands)


# --- what can't be sent -----------------------------------------------------------------------------


def test_a_message_of_a_broken_kind(smtp_server: ServerFactory) -> None:
    """Whatever its own code raises: it is refused, and the others are sent."""

    class Broken(EmailMessage):
        def get_all(self, name: str, failobj: Any = None) -> Any:
            raise IndexError("string index out of range")

    not_parts = EmailMessage()
    not_parts["From"], not_parts["To"] = SENDER, "bob@example.net"
    not_parts.set_payload([1])  # type: ignore[list-item]
    for way in WAYS:
        with smtp_server(behaviour(way)) as server, connected(server) as smtp:
            one, two = letters(2)
            results = list(smtp.send_messages([one, Broken(), not_parts, two]))
        assert [result.outcome.value for result in results] == ["accepted", "refused", "refused", "accepted"]
        assert [type(result.error) for result in results[1:3]] == [IndexError, AttributeError]
        assert [message.data for message in server.messages] == [one[2], two[2]]


def test_a_bad_recipient_of_a_subclass(smtp_server: ServerFactory) -> None:
    """Known only when those before it were named to the server: the transaction is reset."""

    class Own(smtpverify.SMTP):
        def rcpt(self, recip: str, options: Any = ()) -> tuple[int, bytes]:
            return super().rcpt(recip, options)

    with smtp_server() as server, Own(LOOPBACK, server.port, timeout=5) as smtp:
        messages: list[Any] = [(SENDER, ["bob@example.net", "eve\n@example.net"], "one"), *letters(1)]
        refused, accepted = smtp.send_messages(messages)
        assert isinstance(refused.error, smtpverify.CommandArgumentError)
        assert (refused.outcome, accepted.outcome) == (Outcome.REFUSED, Outcome.ACCEPTED)
        with pytest.raises(smtpverify.CommandArgumentError):
            smtp.sendmail(SENDER, ["bob@example.net", "eve\n@example.net"], "one")
        assert smtp.sendmail(SENDER, "bob@example.net", "three") == {}
    assert [message.data for message in server.messages] == [b"letter 0\r\n", b"three\r\n"]
    assert all(len(message.rcpts) == 1 for message in server.messages)


def test_a_subclass_and_a_connection_that_is_lost(smtp_server: ServerFactory) -> None:
    """Where smtplib closes of itself, that too ends the matter for a subclass."""

    class Own(smtpverify.SMTP):
        def rcpt(self, recip: str, options: Any = ()) -> tuple[int, bytes]:
            if recip.startswith("bob1"):
                self.close()
            return super().rcpt(recip, options)

    with smtp_server() as server:
        smtp = Own(LOOPBACK, server.port, timeout=5)
        results = list(smtp.send_messages(letters(3)))
        assert [result.outcome.value for result in results] == ["accepted", "unknown", "not sent"]

        class Bad(smtpverify.SMTP):
            def rcpt(self, recip: str, options: Any = ()) -> tuple[int, bytes]:
                self.close()
                raise ValueError("and gone")

        gone = Bad(LOOPBACK, server.port, timeout=5)
        with pytest.raises(ValueError, match="and gone"):
            gone.sendmail(SENDER, "bob@example.net", "hello")
        assert gone.sock is None


class Narrow(smtpverify.SMTP):
    """A client whose system takes little at a time."""

    def _get_socket(self, host: str, port: int, timeout: float | None) -> socket.socket:
        sock = super()._get_socket(host, port, timeout)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return sock


@pytest.mark.parametrize("last_words", [b"", b"421 4.3.2 going down\r\n"])
def test_replies_that_had_come_when_a_write_failed(last_words: bytes) -> None:
    """Two messages are accepted while the third is written; the server closes in the midst of that."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind((LOOPBACK, 0))
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as sock, sock.makefile("rb") as file:
                sock.sendall(b"220 hello\r\n")
                file.readline()
                sock.sendall(b"250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n")
                bodies = 0
                while bodies < 3:
                    line = file.readline()
                    if line.startswith(b"BDAT"):
                        bodies += 1
                        if bodies < 3:
                            file.read(int(line.split()[1]))
                # RSET, MAIL, RCPT, BDAT of each, but for the first RSET and the last BDAT.
                sock.sendall(b"250 ok\r\n" * (3 + 4 + 3) + last_words)
                sock.shutdown(socket.SHUT_WR)
                closed.wait(10)

        closed = threading.Event()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with Narrow(LOOPBACK, listener.getsockname()[1], "client.example.org", timeout=5) as smtp:
            mails = [*letters(2), (SENDER, ["carol@example.net"], b"x" * 250_000)]
            results = [*smtp.send_messages(iter(mails))]
        closed.set()
        thread.join(10)
    assert [result.outcome for result in results] == [Outcome.ACCEPTED, Outcome.ACCEPTED, Outcome.NOT_SENT]
    assert ("421" in str(results[2].error)) is bool(last_words)


def test_a_send_of_a_subclass_gets_the_message_too(
    smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no command, whatever it begins with, and goes to another machine in plaintext."""
    monkeypatch.setattr("smtpverify.smtp.endpoints.is_local", lambda _sock: False)
    monkeypatch.setattr("smtpverify.smtp.endpoints.is_loopback", lambda _host: False)
    sent: list[Any] = []

    class Own(smtpverify.SMTP):
        def send(self, s: Any) -> None:
            sent.append(s)
            super().send(s)

    text = "Author: me\r\n\r\n.\r\n"
    with smtp_server() as server, Own(f"smtp://{LOOPBACK}:{server.port}", timeout=5) as smtp:
        assert smtp.sendmail(SENDER, "bob@example.net", text) == {}
        with pytest.raises(smtpverify.PlaintextCredentialsError):
            smtp.docmd("AUTH", "PLAIN")
    assert b"Author: me\r\n\r\n..\r\n.\r\n" in sent
    assert [message.data for message in server.messages] == [text.encode()]
