"""One message, sent in each way, to servers that break off, stay silent, speak too much or too early."""

from __future__ import annotations

import smtplib
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from smtpverify import Timeouts
from smtpverify.smtp.channel import Channel
from tests.bed import Behaviour, Pieces, Tls
from tests.bed.behaviour import End
from tests.bed.link import Ended
from tests.bed.network import LOOPBACK
from tests.test_equivalence import WAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bed import Server, World
    from tests.conftest import ServerFactory

SENDER, RECIPIENTS = "alice@example.org", ["bob@example.net", "carol@example.net", "dave@example.net"]
TEXT = "Subject: hello\r\n\r\n.a\n..b\rc"
SENT = b"Subject: hello\r\n\r\n.a\r\n..b\r\nc\r\n"

every_way = pytest.mark.parametrize("way", WAYS)
# Where each way asks: BDAT takes the place of DATA.
STEPS = [
    (way, step)
    for way in WAYS
    for step in ("MAIL", "RCPT", "DATA", ".")
    if step != "DATA" or "chunked" not in way
]
every_step = pytest.mark.parametrize(("way", "step"), STEPS)


def connected(server: Server, **options: Any) -> smtpverify.SMTP:
    return smtpverify.SMTP(LOOPBACK, server.port, "client.example.org", **{"timeout": 5, **options})


def send(smtp: smtplib.SMTP) -> dict[str, tuple[int, bytes]]:
    return smtp.sendmail(SENDER, RECIPIENTS, TEXT)


def behaviour(way: str, **fields: Any) -> Behaviour:
    return Behaviour(before_tls=WAYS[way], after_tls=WAYS[way], **fields)


# --- good servers --------------------------------------------------------------------------------


@every_way
def test_accepted(smtp_server: ServerFactory, way: str) -> None:
    def rcpt(line: str) -> str | None:
        return "550 5.1.1 nobody" if "carol" in line else None

    with smtp_server(behaviour(way, replies={"RCPT": rcpt})) as server, connected(server) as smtp:
        for _ in range(2):
            refused = send(smtp)
            assert refused == {"carol@example.net": (550, b"5.1.1 nobody")}
            assert smtpverify.enhanced_status(refused["carol@example.net"]) == "5.1.1"
    messages = server.connections[0].messages
    assert [one.data for one in messages] == [SENT, SENT]
    assert messages[0].rcpts == ("bob@example.net", "dave@example.net")
    assert server.connections[0].closed_cleanly


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Tells how often the client has had to wait for something of the server's since it was last asked.

    Reading again at once, since not all of the replies had come, is the same turn.
    """
    told: list[str] = []

    def listened(name: str, word: str) -> None:
        method = getattr(Channel, name)

        def wrapper(self: Channel, *args: Any, **kwargs: Any) -> Any:
            told.append(word)
            return method(self, *args, **kwargs)

        monkeypatch.setattr(Channel, name, wrapper)

    listened("write", "w")
    listened("_take", "r")

    def count() -> int:
        turns = [word for word, _ in groupby(told)].count("r")
        told.clear()
        return turns

    return count


@pytest.mark.parametrize(("way", "trips"), [("pipelined", 2), ("pipelined and chunked", 1)])
@pytest.mark.parametrize("recipients", [1, 100, 3000])
def test_round_trips(
    smtp_server: ServerFactory, turns: Callable[[], int], way: str, trips: int, recipients: int
) -> None:
    """However many recipients, a transaction waits for the server twice, or once (RFC 2920, RFC 3030)."""
    with smtp_server(behaviour(way)) as server, connected(server) as smtp:
        smtp.ehlo()
        turns()
        to = [f"user{number}@example.net" for number in range(recipients)]
        assert smtp.sendmail(SENDER, to, TEXT) == {}
        assert turns() == trips
    assert server.connections[0].messages[0].rcpts == tuple(to)


@pytest.mark.parametrize(("way", "trips"), [("pipelined", 8), ("pipelined and chunked", 7)])
def test_all_that_a_submission_waits_for(
    smtp_server: ServerFactory, turns: Callable[[], int], way: str, trips: int
) -> None:
    """Greeting, EHLO, STARTTLS, EHLO, AUTH, envelope, message, QUIT; besides TCP and TLS their handshakes."""
    extensions = (*WAYS[way], "AUTH PLAIN")
    with smtp_server(tls=Tls.STARTTLS, before_tls=extensions, after_tls=extensions) as server:
        smtp = connected(server, server_hostname="mail.example.org")
        smtp.starttls()
        smtp.login("alice", "secret")
        smtp.sendmail(SENDER, [f"user{number}@example.net" for number in range(100)], TEXT)
        smtp.quit()
    assert turns() == trips


def test_nothing_is_pipelined_unasked(smtp_server: ServerFactory) -> None:
    with smtp_server(behaviour("step by step")) as server, connected(server) as smtp:
        send(smtp)
    assert server.connections[0].round_trips == len(server.connections[0].commands) + 2  # greeting and data


@every_way
def test_a_group_larger_than_any_buffer(smtp_server: ServerFactory, way: str) -> None:
    """A server that stops reading until its replies are read does not hold us up (RFC 2920 3.1)."""
    long_reply = "".join(f"250-{'x' * 400}\r\n" for _ in range(20)) + "250 ok\r\n"
    to = [f"user{number}@{'y' * 60}.example.net" for number in range(1500)]
    replies = {"RCPT": long_reply.encode()}
    server = smtp_server(behaviour(way, replies=replies, socket_buffer=4096))
    with server, connected(server, timeout=20) as smtp:
        assert smtp.sendmail(SENDER, to, TEXT) == {}
    assert server.connections[0].messages[0].rcpts == tuple(to)


# --- refusals ------------------------------------------------------------------------------------


@every_step
@pytest.mark.parametrize("code", [451, 550])
def test_refused_and_usable(smtp_server: ServerFactory, way: str, step: str, code: int) -> None:
    answers = iter(
        [f"{code} 5.7.1 no", f"{code} 5.7.1 no", f"{code} 5.7.1 no"]
        if step == "RCPT"
        else [f"{code} 5.7.1 no"]
    )
    kind = {
        "MAIL": smtplib.SMTPSenderRefused,
        "RCPT": smtplib.SMTPRecipientsRefused,
        "DATA": smtplib.SMTPDataError,
        ".": smtplib.SMTPDataError,
    }[step]
    replies = {step: lambda line: next(answers, None)}
    with smtp_server(behaviour(way, replies=replies)) as server, connected(server) as smtp:
        with pytest.raises(kind) as raised:
            send(smtp)
        if isinstance(raised.value, smtplib.SMTPRecipientsRefused):
            assert raised.value.recipients == dict.fromkeys(RECIPIENTS, (code, b"5.7.1 no"))
        else:
            assert isinstance(raised.value, smtplib.SMTPResponseException)
            assert raised.value.smtp_code == code
            assert smtpverify.enhanced_status(raised.value) == ("5.7.1" if code == 550 else None)
        assert send(smtp) == {}
    # What was refused at its end had arrived.
    assert len(server.connections[0].messages) == (2 if step == "." else 1)


@pytest.mark.parametrize("way", ["pipelined", "step by step"])
def test_a_lone_dot(smtp_server: ServerFactory, way: str) -> None:
    """All recipients are refused and DATA is not: the data is empty (RFC 2920 3.1), and nobody gets it."""
    replies = {"RCPT": "550 no", "DATA": "354 go on", ".": "554 5.5.1 no valid recipients"}
    with smtp_server(behaviour(way, replies=replies)) as server, connected(server) as smtp:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(smtp)
        assert smtp.noop()[0] == 250
    connection = server.connections[0]
    assert connection.messages == []
    assert ("DATA" in connection.commands) == (way == "pipelined")
    assert b"hello" not in connection.clear


def test_no_lone_dot_for_somebody(smtp_server: ServerFactory) -> None:
    """A server that refuses the sender and accepts the rest would mail the empty message to somebody."""
    replies = {"MAIL": "550 no", "RCPT": "250 ok", "DATA": "354 go on"}
    with smtp_server(behaviour("pipelined", replies=replies)) as server:
        smtp = connected(server)
        with pytest.raises(smtplib.SMTPSenderRefused):
            send(smtp)
        assert smtp.sock is None
    assert not server.connections[0].clear.endswith(b".\r\n")


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "."])
@every_way
def test_the_server_takes_its_leave(smtp_server: ServerFactory, way: str, step: str) -> None:
    """RFC 5321 3.8: behind a 421 the connection is closed, and the exception is the step's own."""
    if step == "DATA" and "chunked" in way:
        step = "."
    replies = {step: "421 4.3.2 going down"}
    kinds = {"MAIL": smtplib.SMTPSenderRefused, "RCPT": smtplib.SMTPRecipientsRefused}
    with smtp_server(behaviour(way, replies=replies, closes_after=(step,))) as server:
        smtp = connected(server)
        with pytest.raises(kinds.get(step, smtplib.SMTPDataError)) as raised:
            send(smtp)
        if isinstance(raised.value, smtplib.SMTPRecipientsRefused):
            assert raised.value.recipients == {RECIPIENTS[0]: (421, b"4.3.2 going down")}
        assert smtp.sock is None
        with pytest.raises(smtplib.SMTPServerDisconnected):
            send(smtp)
    assert len(server.connections) == 1


# --- connections that end, replies that do not come ------------------------------------------------


def not_accepted(server: Server, smtp: smtplib.SMTP, *, at_once: bool = False) -> None:
    """The message is not reported as accepted, and as not sent only if the server does not have it whole.

    It is unknown exactly if the server has it, where it was not sent at once with its envelope.
    """
    with pytest.raises(smtplib.SMTPException) as raised:
        send(smtp)
    assert smtp.sock is None
    server.close()
    arrived = bool(server.connections[0].messages)
    unknown = isinstance(raised.value, smtpverify.DeliveryUnknownError)
    assert unknown or not arrived
    assert at_once or unknown is arrived


BROKEN: dict[str, tuple[Any, bool]] = {
    "closed": (b"", True),
    "cut off": (b"250", True),
    "cut off in the text": (b"250 que", True),
    "cut off in the second line": (b"250-one\r\n250", True),
    "silent": (b"", False),
    "half, and silent": (b"250 ", False),
    "dripping": (Pieces(lambda: (b"%c" % octet for octet in b"250 " + b"x" * 200), 0.05), False),
    "no reply": (b"hello\r\n", False),
    "another protocol": (b"HTTP/1.1 400 Bad Request\r\n", False),
    "a code of four": (b"2500 ok\r\n", False),
    "a sign": (b"+25 ok\r\n", False),
    "an underscore": (b"2_0 ok\r\n", False),
    "codes that differ": (b"554-no\r\n250 ok\r\n", False),
    "a line without an end": (b"250 " + b"x" * 5000, False),
    "a reply without an end": (b"250-x\r\n" * 20000, False),
}


@pytest.mark.parametrize("broken", BROKEN)
@every_step
def test_what_is_no_reply_accepts_nothing(
    smtp_server: ServerFactory, way: str, step: str, broken: str
) -> None:
    reply, closes = BROKEN[broken]
    closing = (step,) if closes else ()
    server = smtp_server(behaviour(way, replies={step: reply}, closes_after=closing))
    not_accepted(server, connected(server, timeout=0.5), at_once=way == "pipelined and chunked")


@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
@pytest.mark.parametrize("broken", ["closed", "cut off", "cut off in the text"])
@every_way
def test_nor_inside_tls(smtp_server: ServerFactory, way: str, broken: str, tls: Tls) -> None:
    reply, _ = BROKEN[broken]
    server = smtp_server(behaviour(way, tls=tls, replies={".": reply}, closes_after=(".",)))
    scheme = "tls" if tls is Tls.STARTTLS else "smtps"
    url = f"{scheme}://mail.example.org:{server.port}"
    not_accepted(server, smtpverify.connect(url, timeout=5))


# In one flight with its envelope a message is answered last, and a reply too many that has not come yet can't
# be told from that.
@pytest.mark.parametrize(
    ("way", "step"), [each for each in STEPS if each[0] != "pipelined and chunked" or each[1] == "."]
)
def test_one_reply_too_many(smtp_server: ServerFactory, way: str, step: str) -> None:
    """Whatever a second reply is taken for, no message counts as accepted that was not."""
    doubled = {"DATA": b"354 go\r\n250 ok\r\n"}.get(step, b"250 ok\r\n250 ok\r\n")
    with smtp_server(behaviour(way, replies={step: doubled})) as server:
        smtp = connected(server, timeout=0.5)
        with pytest.raises(smtplib.SMTPException):
            send(smtp)
        assert smtp.sock is None
    arrived = bool(server.connections[0].messages)
    assert arrived is (step == ".")


@every_way
@pytest.mark.parametrize("behind", [b"", b"421 4.7.0 enough\r\n"])
def test_a_server_that_closes_behind_a_message(smtp_server: ServerFactory, way: str, behind: bytes) -> None:
    """What was accepted stays accepted."""
    replies = {".": b"250 2.0.0 queued\r\n" + behind}
    with smtp_server(behaviour(way, replies=replies, closes_after=(".",))) as server:
        smtp = connected(server)
        assert send(smtp) == {}
        with pytest.raises(smtplib.SMTPServerDisconnected):
            send(smtp)


def test_an_early_reply(smtp_server: ServerFactory) -> None:
    """What is there before the message has ended is no reply to it."""
    for way in ("step by step", "pipelined"):
        server = smtp_server(behaviour(way, replies={"DATA": b"354 go on\r\n250 2.0.0 queued\r\n"}))
        smtp = connected(server)
        with pytest.raises(
            smtpverify.UnsolicitedReplyError, match=r"the server spoke unasked: '250 2\.0\.0 queued'$"
        ):
            send(smtp)
        server.close()
        assert server.connections[0].messages == []


def test_last_words(smtp_server: ServerFactory) -> None:
    """A server that closes in the middle of a large message may have said why."""
    replies = {"DATA": b"354 go on\r\n"}
    with smtp_server(behaviour("pipelined", replies=replies, closes_after=("DATA",))) as server:
        smtp = connected(server)
        with pytest.raises(smtplib.SMTPServerDisconnected) as raised:
            smtp.sendmail(SENDER, RECIPIENTS, b"x" * 30_000_000)
    assert not isinstance(raised.value, smtpverify.DeliveryUnknownError)


# --- time ----------------------------------------------------------------------------------------


def test_each_step_has_its_time(smtp_server: ServerFactory) -> None:
    for step, limits in {
        "MAIL": {"command": 0.2},
        "DATA": {"data_start": 0.2},
        ".": {"data_end": 0.2},
    }.items():
        with smtp_server(behaviour("step by step", replies={step: b""})) as server:
            smtp = connected(server, timeout=Timeouts(**limits))
            with pytest.raises(smtplib.SMTPServerDisconnected, match=r"within 0\.2 seconds"):
                send(smtp)


def test_a_large_message_in_pieces(smtp_server: ServerFactory) -> None:
    text = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n.\r\n" * 50_000
    for way in WAYS:
        with smtp_server(behaviour(way)) as server, connected(server) as smtp:
            assert smtp.sendmail(SENDER, RECIPIENTS, text) == {}
        assert server.connections[0].messages[0].data == text


def test_a_large_message_that_nobody_wants(smtp_server: ServerFactory) -> None:
    """Once nobody is left, the rest of the chunks is not sent."""
    server = smtp_server(behaviour("pipelined and chunked", replies={"RCPT": "550 no"}))
    with server, connected(server) as smtp:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            smtp.sendmail(SENDER, RECIPIENTS, b"x" * 40_000_000)
        assert smtp.noop()[0] == 250
    assert len(server.connections[0].clear) < 40_000_000


def test_larger_than_the_server_takes(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(before_tls=("SIZE 1000", "PIPELINING")) as server, connected(server) as smtp:
        with pytest.raises(
            smtpverify.MessageTooLargeError, match=r"the message has 1001 octets, and the server takes 1000$"
        ) as raised:
            smtp.sendmail(SENDER, RECIPIENTS, "x" * 1001)
        assert (raised.value.smtp_code, raised.value.sender) == (552, SENDER)
        assert smtp.sendmail(SENDER, RECIPIENTS, "x" * 1000) == {}
    assert [command.split()[0] for command in server.connections[0].commands][1] == "mail"
    assert len(server.connections[0].messages) == 1


# --- connections that are cut ------------------------------------------------------------------------


def cut(said: bytes) -> Pieces:
    """Some octets, and then the end of the connection; in TLS without a close_notify."""

    def pieces() -> Iterator[bytes]:
        yield said
        raise Ended(End.SCRIPTED)

    return Pieces(pieces)


@pytest.mark.parametrize("tls", [Tls.NONE, Tls.STARTTLS, Tls.IMPLICIT])
@pytest.mark.parametrize("said", [b"", b"250", b"250 que", b"250-one\r\n250"])
@every_way
def test_an_end_that_nobody_announced(smtp_server: ServerFactory, way: str, said: bytes, tls: Tls) -> None:
    """An attacker can cut TLS anywhere, and close_notify is what he can't make (RFC 8446 6.1)."""
    server = smtp_server(behaviour(way, tls=tls, replies={".": cut(said)}))
    scheme = {Tls.NONE: "smtp+notls", Tls.STARTTLS: "tls", Tls.IMPLICIT: "smtps"}[tls]
    host = LOOPBACK if tls is Tls.NONE else "mail.example.org"
    smtp = smtpverify.connect(f"{scheme}://{host}:{server.port}", timeout=5)
    with pytest.raises(smtpverify.DeliveryUnknownError):
        send(smtp)
    assert smtp.sock is None
    server.close()
    assert len(server.messages) == 1


@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
@every_way
def test_a_whole_reply_and_no_close_notify(smtp_server: ServerFactory, way: str, tls: Tls) -> None:
    """The twin: what is a reply is one, however the connection ends."""
    server = smtp_server(behaviour(way, tls=tls, replies={".": cut(b"250 2.0.0 queued\r\n")}))
    scheme = "tls" if tls is Tls.STARTTLS else "smtps"
    smtp = smtpverify.connect(f"{scheme}://mail.example.org:{server.port}", timeout=5)
    assert send(smtp) == {}
    assert smtp.quit()[0] == 221


@every_way
def test_leave_taken_amid_the_recipients(smtp_server: ServerFactory, way: str) -> None:
    """As smtplib: nobody gets it, though the first was accepted, and those that follow count as not asked."""
    said = {"bob": None, "carol": "421 4.3.2 going down", "dave": None}

    def rcpt(line: str) -> str | None:
        return next(reply for name, reply in said.items() if f"<{name}@" in line)

    with smtp_server(behaviour(way, replies={"RCPT": rcpt})) as server:
        smtp = connected(server)
        with pytest.raises(smtplib.SMTPRecipientsRefused) as raised:
            send(smtp)
        assert raised.value.recipients == {"carol@example.net": (421, b"4.3.2 going down")}
        assert smtp.sock is None


@pytest.mark.parametrize("way", ["step by step, chunked", "pipelined and chunked"])
def test_a_large_message_that_breaks_off(smtp_server: ServerFactory, way: str) -> None:
    """A connection that ends behind the first chunk: what is not whole was not sent."""
    server = smtp_server(behaviour(way, replies={"BDAT": cut(b"")}))
    smtp = connected(server)
    with pytest.raises(smtplib.SMTPServerDisconnected) as raised:
        smtp.sendmail(SENDER, RECIPIENTS, b"x" * 30_000_000)
    assert not isinstance(raised.value, smtpverify.DeliveryUnknownError)
    server.close()
    assert server.messages == []


@pytest.mark.parametrize("way", ["step by step, chunked", "pipelined and chunked"])
def test_a_chunk_that_is_refused(smtp_server: ServerFactory, way: str) -> None:
    """The rest is not sent, RSET forgets what was, and the next message is a new one (RFC 3030 2)."""
    answers = iter([None, "452 4.3.1 full"])
    server = smtp_server(behaviour(way, replies={"BDAT": lambda line: next(answers, None)}))
    with server, connected(server) as smtp:
        with pytest.raises(smtplib.SMTPDataError) as raised:
            smtp.sendmail(SENDER, RECIPIENTS, b"x" * 40_000_000)
        assert raised.value.args == (452, b"4.3.1 full")
        assert send(smtp) == {}
    assert [message.data for message in server.messages] == [SENT]
    assert len(server.connections[0].clear) < 40_000_000


def test_refused_and_then_accepted(smtp_server: ServerFactory) -> None:
    """A server that refuses everybody and takes the message says both: nobody knows."""
    replies = {"RCPT": "550 5.1.1 nobody", "BDAT": "250 2.0.0 Ok"}
    with (
        smtp_server(behaviour("pipelined and chunked", replies=replies)) as server,
        connected(server) as smtp,
    ):
        with pytest.raises(
            smtpverify.DeliveryUnknownError, match=r"refused the message and then accepted it$"
        ):
            send(smtp)
        assert smtp.noop()[0] == 250


@every_way
@pytest.mark.parametrize("answer", ["500 5.5.1 what", "421 4.3.2 bye", b"", b"250 ok\r\n250 ok\r\n"])
def test_a_server_that_can_not_reset(smtp_server: ServerFactory, way: str, answer: Any) -> None:
    """It is not spoken to again; the refusal is what is told."""
    replies = {"MAIL": "550 5.7.1 no", "RSET": answer}
    with smtp_server(behaviour(way, replies=replies)) as server:
        smtp = connected(server, timeout=0.3)
        with pytest.raises(smtplib.SMTPSenderRefused) as raised:
            send(smtp)
        assert raised.value.args == (550, b"5.7.1 no", SENDER)
        if answer == b"250 ok\r\n250 ok\r\n":  # seen before the next command
            with pytest.raises(smtpverify.UnsolicitedReplyError):
                smtp.noop()
        assert smtp.sock is None
    with smtp_server(behaviour(way, replies=replies)) as server:
        smtp = connected(server, timeout=0.3)
        results = list(smtp.send_messages([(SENDER, RECIPIENTS, TEXT)] * 3))
        assert smtp.sock is None
    outcomes = [result.outcome.value for result in results]
    at_once = way == "pipelined and chunked"
    doubled = answer == b"250 ok\r\n250 ok\r\n"
    assert outcomes[0] == "refused"
    assert "accepted" not in outcomes
    if not doubled:
        assert outcomes[1:] == (["unknown"] * 2 if at_once else ["not sent"] * 2)
    assert server.messages == []


# --- TLS and plaintext alike --------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
@every_way
def test_inside_tls(smtp_server: ServerFactory, way: str, tls: Tls) -> None:
    """Accepted, refused, and accepted again; nothing of it in plaintext."""
    answers = iter([None, "552 5.3.4 too large", None])
    server = smtp_server(behaviour(way, tls=tls, replies={".": lambda line: next(answers)}))
    scheme = "tls" if tls is Tls.STARTTLS else "smtps"
    with server, smtpverify.connect(f"{scheme}://mail.example.org:{server.port}", timeout=5) as smtp:
        assert send(smtp) == {}
        with pytest.raises(smtplib.SMTPDataError) as raised:
            send(smtp)
        assert raised.value.args == (552, b"5.3.4 too large")
        assert smtpverify.enhanced_status(raised.value) == "5.3.4"
        assert send(smtp) == {}
    (connection,) = server.connections
    assert [message.data for message in connection.messages] == [SENT] * 3
    assert b"alice" not in connection.clear
    assert connection.closed_cleanly


@pytest.mark.parametrize(("way", "count"), [("pipelined", 6), ("pipelined and chunked", 5)])
def test_the_server_s_count_of_waits(smtp_server: ServerFactory, way: str, count: int) -> None:
    """From the other side: behind the greeting, EHLO, AUTH, envelope, message, QUIT.

    Not in TLS, where the server's count depends on whether EHLO comes together with the handshake's end.
    """
    with smtp_server(before_tls=(*WAYS[way], "AUTH PLAIN")) as server, connected(server) as smtp:
        smtp.login("alice", "secret")
        smtp.sendmail(SENDER, [f"user{number}@example.net" for number in range(100)], TEXT)
    assert server.connections[0].round_trips == count
