"""One SMTP object through any course of connections and deliveries, and what its servers know of it."""

from __future__ import annotations

import contextlib
import select
import smtplib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import smtpverify
from smtpverify import SMTP, CommandArgumentError, DeliveryUnknownError, Outcome, SendResult
from tests.bed.network import LOOPBACK
from tests.scripted import STEPS, Death, Plan, ScriptedServer, Seen
from tests.test_send_messages import agrees, plans

if TYPE_CHECKING:
    from collections.abc import Callable

WAYS: dict[str, tuple[str, ...]] = {
    "step by step": ("8BITMIME",),
    "step by step, chunked": ("CHUNKING", "SIZE"),
    "pipelined": ("PIPELINING", "SMTPUTF8"),
    "pipelined and chunked": ("PIPELINING", "CHUNKING"),
}
bodies = st.sampled_from(["hello", b"hello\n.\n", "", ".\r.\r\n", "x" * 5000])
Letter = tuple[str, list[str], Any]


@dataclass
class Reported:
    """What was said of a message; None for one whose result nobody has waited for."""

    number: int
    result: SendResult | None
    broken: bool  # the connection was at its end by then


class Course(RuleBasedStateMachine):
    """What a program may do with one object."""

    def __init__(self) -> None:
        super().__init__()
        self.client = SMTP(local_hostname="client.example.org", timeout=10)
        self.server: ScriptedServer | None = None
        self.way = ""
        self.reported: list[Reported] = []
        self.accepted = 0

    # --- connections -------------------------------------------------------------------------------

    def connected(self) -> bool:
        return self.client.sock is not None

    @initialize(way=st.sampled_from(list(WAYS)))
    def first(self, way: str) -> None:
        self.connect(way, 1)

    @rule(way=st.sampled_from(list(WAYS)), lines=st.integers(1, 3))
    def connect(self, way: str, lines: int) -> None:
        """Go on to another server, from whatever state."""
        self.settle()
        self.way = way
        self.server = ScriptedServer(WAYS[way], [], lines=lines)
        self.server.__enter__()
        assert self.client.connect(LOOPBACK, self.server.port)[0] == 220
        assert self.client.ehlo_resp is None

    def settle(self) -> None:
        """Have the server end, and its record beside what was reported."""
        self.client.close()
        if self.server is None:
            return
        server, self.server = self.server, None
        server.__exit__(None, None, None)
        assert sorted(one.number for one in self.reported) == list(range(len(server.plans)))
        for one in self.reported:
            seen, plan = server.seen[one.number], server.plans[one.number]
            if one.result is not None:
                agrees(one.result, seen, plan, self.way, broken=one.broken)
        taken = sum(seen.told == 250 for seen in server.seen)
        assert self.accepted <= taken
        self.reported, self.accepted = [], 0

    def teardown(self) -> None:
        self.settle()

    @precondition(connected)
    @rule()
    def leave(self) -> None:
        assert self.client.quit()[0] == 221
        assert not self.connected()

    @precondition(connected)
    @rule(step=st.sampled_from(STEPS), said=st.sampled_from([b"", b"2", b"250 que"]), reset=st.booleans())
    def doom(self, step: str, said: bytes, reset: bool) -> None:
        """Have the server die at a step of the next message."""
        assert self.server is not None
        self.server.death = Death(len(self.server.plans), step, said, reset)

    # --- messages ----------------------------------------------------------------------------------

    def letters(self, told: list[Plan], body: Any) -> list[Letter]:
        """One message for each plan, of which the server is told."""
        assert self.server is not None
        start = len(self.server.plans)
        self.server.seen += [Seen() for _ in told]
        self.server.plans += told
        return [
            (
                f"{start + number}@example.org",
                [f"user{one}@example.net" for one in range(len(plan.rcpts))],
                body,
            )
            for number, plan in enumerate(told)
        ]

    def report(self, letter: Letter, result: SendResult | None) -> None:
        number = int(letter[0].partition("@")[0])
        self.reported.append(Reported(number, result, not self.connected()))
        self.accepted += result is not None and result.accepted

    @precondition(connected)
    @rule(plan=plans, body=bodies)
    def sendmail(self, plan: Plan, body: Any) -> None:
        (letter,) = self.letters([plan], body)
        try:
            result = SendResult(Outcome.ACCEPTED, self.client.sendmail(*letter))
        except DeliveryUnknownError as error:
            result = SendResult(Outcome.UNKNOWN, error=error)
        except smtplib.SMTPServerDisconnected as error:
            result = SendResult(Outcome.NOT_SENT, error=error)
        except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:
            result = SendResult(Outcome.REFUSED, error=error)
        assert self.connected() or result.outcome is not Outcome.ACCEPTED
        self.report(letter, result)

    @precondition(connected)
    @rule(told=st.lists(plans, min_size=1, max_size=4), lazily=st.booleans(), body=bodies)
    def send_messages(self, told: list[Plan], lazily: bool, body: Any) -> None:
        letters = self.letters(told, body)
        results = list(self.client.send_messages(iter(letters) if lazily else letters))
        for letter, result in zip(letters, results, strict=True):
            self.report(letter, result)

    @precondition(connected)
    @rule(told=st.lists(plans, min_size=1, max_size=4), count=st.integers(0, 3), lazily=st.booleans())
    def leave_messages(self, told: list[Plan], count: int, lazily: bool) -> None:
        """Take some results, and no more."""
        letters = self.letters(told, "hello")
        sending: Any = self.client.send_messages(iter(letters) if lazily else letters)
        results = [result for _, result in zip(range(count), sending, strict=False)]
        if count < len(told) and self.connected() and count:
            with pytest.raises(RuntimeError, match="has not ended"):
                self.client.noop()
        sending.close()
        for letter, result in zip(letters, [*results, None, None, None, None], strict=False):
            self.report(letter, result)

    @precondition(connected)
    @rule(plan=plans, body=bodies)
    def by_hand(self, plan: Plan, body: Any) -> None:
        """Each step gives what the server says to it."""
        (letter,) = self.letters([plan], body)
        result = None
        try:
            assert self.client.mail(letter[0])[0] == plan.mail
            codes = [self.client.rcpt(recipient)[0] for recipient in letter[1]]
            assert codes == [code if plan.mail == 250 else 503 for code in plan.rcpts]
            assert self.client.data(body)[0] == plan.end
            refused = {
                recipient: (code, b"")
                for recipient, code in zip(letter[1], codes, strict=True)
                if code not in (250, 251)
            }
            if plan.end == 250:
                result = SendResult(Outcome.ACCEPTED, refused)
        except smtplib.SMTPDataError as error:
            result = SendResult(Outcome.REFUSED, error=error)
        except smtplib.SMTPServerDisconnected:
            assert not self.connected()
        if result is not None and isinstance(result.error, smtplib.SMTPDataError):
            wanted = plan.mail == 250 and {250, 251} & set(plan.rcpts)
            assert result.error.smtp_code == (plan.data if wanted else 503)
            result = None  # of steps by hand nobody makes one verdict
        self.report(letter, result)
        if self.connected():
            with contextlib.suppress(smtplib.SMTPServerDisconnected):  # a 421 came last
                assert self.client.rset()[0] == 250

    # --- what is no message ------------------------------------------------------------------------

    @precondition(connected)
    @rule(bad=st.sampled_from(["a\r\nRSET", "a@b> SIZE=1", "a@b\0", "\u010d\u010a@b"]))
    def hostile(self, bad: str) -> None:
        """Nothing is sent, and all goes on as before."""
        assert self.server is not None
        self.client.ehlo_or_helo_if_needed()
        before = len(self.server.commands)
        for attempt in (
            lambda: self.client.sendmail(bad, ["bob@example.net"], "x"),
            lambda: self.client.sendmail("0@example.org", ["bob@example.net", bad], "x"),
            lambda: self.client.rcpt(bad),
        ):
            with pytest.raises((CommandArgumentError, UnicodeEncodeError)):
                attempt()
        (result,) = self.client.send_messages([("0@example.org", [bad], "x")])
        assert result.outcome is Outcome.REFUSED
        assert self.client.noop()[0] == 250
        assert self.server.commands[before:] == ["noop"]

    @precondition(connected)
    @rule(said=st.sampled_from([b"250 ok\r\n", b"421 bye\r\n", b"354", b"x\r\n"]), number=st.integers(0, 3))
    def unasked(self, said: bytes, number: int) -> None:
        """A reply that nobody asked for ends the connection, ahead of the next command."""
        assert self.server is not None
        assert self.client.noop()[0] == 250
        before = len(self.server.commands)
        self.server._sock.sendall(said)
        assert select.select([self.client.sock], [], [], 10)[0]
        attempts: list[Callable[[], object]] = [
            self.client.noop,
            self.client.rset,
            lambda: self.client.sendmail("0@example.org", ["bob@example.net"], "x"),
            lambda: self.client.mail("0@example.org"),
        ]
        with pytest.raises(smtpverify.UnsolicitedReplyError):
            attempts[number]()
        assert not self.connected()
        assert len(self.server.commands) == before

    @invariant()
    def in_step(self) -> None:
        """An open connection answers in its turn; a closed one says why."""
        ended = None
        if self.connected():
            try:
                assert self.client.noop()[0] == 250
            except smtplib.SMTPServerDisconnected as error:
                ended = error
        # It may end by a 421, which by hand is a reply, and never by a reply that was left over.
        assert type(ended) in (type(None), smtplib.SMTPServerDisconnected)
        if not self.connected():
            with pytest.raises(smtplib.SMTPServerDisconnected):
                self.client.noop()


@pytest.mark.timeout(300)  # to shrink what it finds takes time
@pytest.mark.parametrize("seed", range(2))
def test_any_course(seed: int) -> None:
    """Nothing is reported as sent that was not, and no verdict is lost."""
    quick = settings(
        max_examples=60,
        stateful_step_count=15,
        deadline=None,
        derandomize=bool(seed),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    run_state_machine_as_test(Course, settings=quick)  # type: ignore[no-untyped-call,unused-ignore]
