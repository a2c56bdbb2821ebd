"""The task of docs/celery.md, with Celery's worker and Redis: who gets a message, how often, over what."""

from __future__ import annotations

import binascii
import os
import signal
import sys
import threading
from base64 import b64encode
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

import smtpverify
from tests.bed import End
from tests.interop.queueing import PASSWORD, VERBS, Relay, Worker, cut, running
from tests.interop.servers import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bed import World
    from tests.interop.servers import Running

SENDER, BOB, CAROL, DAVE = (f"{name}@example.org" for name in ("alice", "bob", "carol", "dave"))

pytestmark = pytest.mark.timeout(150)  # more than PATIENCE


@pytest.fixture(scope="module")
def single(redis_server: Running, world: World) -> Iterator[tuple[Worker, Relay]]:
    with running(redis_server, world, number=0, processes=1) as both:
        yield both


@pytest.fixture(scope="module")
def pair(redis_server: Running, world: World) -> Iterator[tuple[Worker, Relay]]:
    with running(redis_server, world, number=1, processes=2) as both:
        yield both


@pytest.fixture
def worker(single: tuple[Worker, Relay]) -> Worker:
    """One process, which has a connection."""
    worker, relay = single
    relay.start()
    assert worker.outcome(worker.tasks.queue(letter(), SENDER, [BOB])) is None
    return worker


@pytest.fixture
def relay(worker: Worker, single: tuple[Worker, Relay]) -> Relay:
    relay = single[1]
    relay.start()
    return relay


def letter(text: str = "hello") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Bcc"] = SENDER, BOB, DAVE
    message["Subject"] = "Grüße"
    message.set_content(text)
    return message


def identities(relay: Relay) -> list[str]:
    return [message_from_bytes(message.data)["Message-ID"] for message in relay.messages]


# --- accepted --------------------------------------------------------------------------------------


def test_a_message_arrives(worker: Worker, relay: Relay) -> None:
    message = letter("Grüße\n.\nFrom me\n")
    assert worker.outcome(worker.tasks.queue(message, SENDER, [BOB, DAVE])) is None
    [arrived] = relay.messages
    assert (arrived.mail_from, arrived.rcpts) == (SENDER, (BOB, DAVE))
    parsed = message_from_bytes(arrived.data, policy=policy.default)
    assert parsed.get_content().replace("\r\n", "\n") == message.get_content()
    assert (parsed["Subject"], parsed["Message-ID"]) == (message["Subject"], message["Message-ID"])
    assert parsed["Bcc"] is None


def test_a_connection_is_kept(worker: Worker, relay: Relay) -> None:
    results = [worker.tasks.queue(letter(str(number)), SENDER, [BOB]) for number in range(20)]
    assert [worker.outcome(result) for result in results] == [None] * 20
    assert len(set(identities(relay))) == len(relay.messages) == 20
    assert (relay.connections, relay.count("AUTH"), relay.count("RSET")) == ([], 0, 0)


def test_many_messages_take_one_connection_a_process(pair: tuple[Worker, Relay]) -> None:
    worker, relay = pair
    relay.start()
    results = [worker.tasks.queue(letter(str(number)), SENDER, [BOB]) for number in range(50)]
    assert [worker.outcome(result) for result in results] == [None] * 50
    assert len(set(identities(relay))) == len(relay.messages) == 50
    assert 1 <= len(relay.server.connections) <= 2
    for connection in relay.server.connections:
        assert (connection.handshake_done, connection.end) == (True, None)
        assert [line[:4] for line in connection.secure_commands].count("AUTH") == 1


# --- temporary failures ----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_refused_for_now_is_sent_later(worker: Worker, relay: Relay, verb: str) -> None:
    relay.tell(verb, "451 4.3.0 Later", "450 4.2.0 Later still")
    result = worker.tasks.queue(letter(), SENDER, [BOB])
    assert worker.outcome(result) is None
    worker.has_retried(result, 2)
    assert len(relay.messages) == (3 if verb == "." else 1)
    assert relay.count("MAIL") == 3
    assert len(set(identities(relay))) == 1


@pytest.mark.parametrize("verb", VERBS[:-1])
def test_a_connection_that_ends_before_the_message(worker: Worker, relay: Relay, verb: str) -> None:
    """Once it may have been old, and another is tried at once; the second time it is a failure."""
    relay.tell(verb, cut, cut)
    result = worker.tasks.queue(letter(), SENDER, [BOB])
    assert worker.outcome(result) is None
    worker.has_retried(result, 1)
    assert len(relay.messages) == 1
    assert relay.count("MAIL") == 3


def test_a_server_that_has_had_enough_of_a_connection(worker: Worker, relay: Relay) -> None:
    """421 to the next message on a used connection is no refusal of that message."""
    relay.tell("MAIL", "421 4.7.0 Too many messages here")
    result = worker.tasks.queue(letter(), SENDER, [BOB])
    assert worker.outcome(result) is None
    assert worker.retries(result) == 0
    assert (len(relay.messages), len(relay.connections)) == (1, 1)


@pytest.mark.parametrize(
    ("where", "reply"),
    [
        ("", b"421 4.3.2 Busy\r\n"),
        ("", cut),
        ("STARTTLS", "454 4.7.0 TLS not available"),
        ("AUTH", "454 4.7.0 Temporary authentication failure"),
    ],
)
def test_a_relay_that_can_not_be_reached_for_now(
    worker: Worker, relay: Relay, where: str, reply: Any
) -> None:
    relay.tell("MAIL", cut)
    relay.tell(where, reply, reply)
    result = worker.tasks.queue(letter(), SENDER, [BOB])
    assert worker.outcome(result) is None
    assert len(relay.messages) == 1
    worker.has_retried(result, 2)


# --- unknown ---------------------------------------------------------------------------------------


def test_a_lost_reply_may_make_a_second_copy_of_the_same_name(worker: Worker, relay: Relay) -> None:
    relay.tell(".", cut)
    message = letter()
    result = worker.tasks.queue(message, SENDER, [BOB])
    assert worker.outcome(result) is None
    worker.has_retried(result, 1)
    assert identities(relay) == [message["Message-ID"]] * 2


def test_lost_replies_do_not_make_copies_for_ever(worker: Worker, relay: Relay) -> None:
    relay.tell(".", *[cut] * 100)
    message = letter()
    error = worker.outcome(worker.tasks.queue(message, SENDER, [BOB]))
    assert type(error) is smtpverify.DeliveryUnknownError
    assert identities(relay) == [message["Message-ID"]] * 4


# --- refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_refused_for_good_is_not_tried_again(worker: Worker, relay: Relay, verb: str) -> None:
    relay.tell(verb, "550 5.7.1 No")
    result = worker.tasks.queue(letter(), SENDER, [BOB])
    error = worker.outcome(result)
    assert (type(error).__name__, error and error.args) == ("Refused", ({BOB: "550 5.7.1 No"},))
    assert worker.retries(result) == 0
    assert relay.count("MAIL") == 1
    assert len(relay.messages) == (1 if verb == "." else 0)


def test_a_refusal_stays_one_where_the_connection_ends_behind_it(worker: Worker, relay: Relay) -> None:
    relay.tell("RCPT", "554 5.7.1 No")
    relay.tell("RSET", cut)
    result = worker.tasks.queue(letter(), SENDER, [BOB])
    assert type(worker.outcome(result)).__name__ == "Refused"
    assert relay.count("MAIL") == 1


def test_each_recipient_gets_it_once_or_not_at_all(worker: Worker, relay: Relay) -> None:
    """Accepted: never again; 4xx: alone, later; 5xx: never again, and it is told in the end."""
    relay.tell("RCPT", "250 2.1.5 Ok", "450 4.2.0 Later", "550 5.1.1 Nobody", "450 4.2.0 Later still")
    result = worker.tasks.queue(letter(), SENDER, [BOB, CAROL, DAVE])
    error = worker.outcome(result)
    assert (type(error).__name__, error and error.args) == ("Refused", ({DAVE: "550 5.1.1 Nobody"},))
    worker.has_retried(result, 2)
    assert [message.rcpts for message in relay.messages] == [(BOB,), (CAROL,)]
    assert relay.count("RCPT") == 5


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (b64encode(b"Subject: hello\n\nwithout an identity").decode(), ValueError),
        ("no Base64", binascii.Error),
    ],
)
def test_what_can_not_be_sent_is_not_tried_again(
    worker: Worker, relay: Relay, message: str, kind: type[Exception]
) -> None:
    result = worker.tasks.send.delay(SENDER, [BOB], message)
    assert type(worker.outcome(result)).__name__ == kind.__name__
    assert worker.retries(result) == 0
    assert relay.messages == []


# --- verification and login ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "raised", "cause"),
    [
        ("wrong_address", smtpverify.HostnameMismatchError, "ADDRESS_NOT_IN_CERTIFICATE"),
        ("self_signed_leaf", smtpverify.UntrustedCertificateError, "SELF_SIGNED_LEAF"),
    ],
)
def test_a_server_that_fails_verification_gets_nothing_and_is_told_of(
    worker: Worker, relay: Relay, world: World, kind: str, raised: type[Exception], cause: str
) -> None:
    relay.tell("MAIL", cut)  # of the connection that there is
    relay.certificate = world.served(kind, "127.0.0.1")
    result = worker.tasks.queue(letter(), SENDER, [BOB])
    assert type(worker.outcome(result)) is raised
    assert worker.retries(result) == 0
    [connection] = relay.connections
    assert (connection.handshake_done, connection.leaked()) == (False, [])
    assert f"nothing was sent: {cause}: " in worker.logged()


def test_a_refused_password_is_tried_once(worker: Worker, relay: Relay) -> None:
    relay.tell("MAIL", cut)
    relay.tell("AUTH", *["535 5.7.8 No"] * 100)
    result = worker.tasks.queue(letter(), SENDER, [BOB])
    assert type(worker.outcome(result)) is smtpverify.AuthenticationError
    assert worker.retries(result) == 0
    assert relay.count("AUTH") == 1
    assert PASSWORD not in worker.logged()


# --- delivered again by the broker -----------------------------------------------------------------


def test_a_task_that_comes_again_sends_nothing_again(worker: Worker, relay: Relay) -> None:
    """What a broker does when it has not seen the acknowledgement: the same task, with the same id."""
    message = letter()
    result = worker.tasks.queue(message, SENDER, [BOB])
    assert worker.outcome(result) is None
    result.forget()
    text = b64encode(message.as_bytes()).decode()
    again = worker.tasks.send.apply_async((SENDER, [BOB], text), task_id=result.id)
    assert worker.outcome(again) is None
    assert identities(relay) == [message["Message-ID"]]
    # The same goes for a message that was queued twice, and for each recipient by itself.
    assert worker.outcome(worker.tasks.queue(message, SENDER, [BOB, CAROL])) is None
    assert [message.rcpts for message in relay.messages] == [(BOB,), (CAROL,)]
    assert 0 < worker.tasks.memory.ttl(f"mail:accepted:{message['Message-ID']}") <= 7 * 86400


def test_without_the_memory_nothing_is_sent(worker: Worker, relay: Relay) -> None:
    message, memory = letter(), worker.tasks.memory
    message["Message-ID"] = "<unreadable@example.org>"
    key = f"mail:accepted:{message['Message-ID']}"
    memory.set(key, "no set, and so an error to whoever asks for one")
    result = worker.tasks.queue(message, SENDER, [BOB])
    wait_until(lambda: worker.retries(result) > 0, "a retry")
    assert relay.messages == []
    memory.delete(key)
    assert worker.outcome(result) is None
    assert len(relay.messages) == 1


def test_what_can_not_be_noted_is_not_sent_again(worker: Worker, relay: Relay) -> None:
    """Neither that it was accepted, nor that its claim has ended."""
    message, memory = letter(), worker.tasks.memory
    message["Message-ID"] = "<unwritable@example.org>"

    def spoil(line: str) -> None:
        memory.set(f"mail:accepted:{message['Message-ID']}", "no set")
        memory.delete(f"mail:claim:{message['Message-ID']}")

    relay.tell(".", spoil)
    result = worker.tasks.queue(message, SENDER, [BOB])
    assert worker.outcome(result) is None
    assert worker.retries(result) == 0
    assert len(relay.messages) == 1
    assert "could not be noted" in worker.logged()
    assert "stays claimed" in worker.logged()


def test_two_processes_do_not_send_the_same_message(pair: tuple[Worker, Relay]) -> None:
    """The second copy of a task comes while the first one waits for the reply to the message."""
    worker, relay = pair
    relay.start()
    message, sent, may_go = letter(), threading.Event(), threading.Event()

    def slowly(line: str) -> None:
        sent.set()
        assert may_go.wait(PATIENCE)

    relay.tell(".", slowly)
    first = worker.tasks.queue(message, SENDER, [BOB])
    assert sent.wait(PATIENCE), worker.logged()
    second = worker.tasks.queue(message, SENDER, [BOB])
    try:
        wait_until(lambda: worker.retries(second) >= 2, "retries of the second copy")
    finally:
        may_go.set()
    assert worker.outcome(first) is worker.outcome(second) is None
    assert identities(relay) == [message["Message-ID"]]


def test_a_process_that_dies_and_a_worker_that_ends(redis_server: Running, world: World) -> None:
    """What was in hand is delivered again, once its claim is gone; who ends in order takes leave by QUIT."""
    with running(redis_server, world, number=2, processes=1) as (worker, relay):
        message = letter()

        def die(line: str) -> NoReturn:
            stats = worker.tasks.app.control.inspect(timeout=PATIENCE, limit=1).stats()
            [process] = [pid for told in stats.values() for pid in told["pool"]["processes"]]
            if sys.platform == "win32":
                raise NotImplementedError
            os.kill(process, signal.SIGKILL)
            cut(line)

        relay.tell(".", die)
        result = worker.tasks.queue(message, SENDER, [BOB])
        wait_until(lambda: worker.retries(result) > 0, "the task to come again")
        assert len(relay.messages) == 1
        claim = f"mail:claim:{message['Message-ID']}"
        assert 0 < worker.tasks.memory.ttl(claim) <= 1800
        worker.tasks.memory.delete(claim)  # as time will do
        assert worker.outcome(result) is None
        assert identities(relay) == [message["Message-ID"]] * 2
        worker.stop()
        assert worker.process.returncode == 0
        relay.server.wait_closed()
        assert [one.end for one in relay.server.connections] == [End.SCRIPTED, End.QUIT]
