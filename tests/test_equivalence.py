"""Step by step, pipelined, chunked: a message ends as with smtplib, whatever the server replies."""

from __future__ import annotations

import smtplib
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import smtpverify
from tests.bed import Behaviour, Server
from tests.bed.network import LOOPBACK
from tests.scripted import Death, Plan, ScriptedServer

WAYS = {
    "step by step": ("8BITMIME",),
    "step by step, chunked": ("8BITMIME", "CHUNKING"),
    "pipelined": ("8BITMIME", "PIPELINING"),
    "pipelined and chunked": ("8BITMIME", "PIPELINING", "CHUNKING"),
}
SENDER = "alice@example.org"
TEXTS = {
    250: "2.1.5 Ok",
    251: "will forward",
    354: "go ahead",
    421: "4.3.2 closing",
    450: "4.2.0 busy",
    451: "try later",
    452: "4.5.3 too many",
    500: "what",
    503: "5.5.1 bad sequence",
    550: "5.1.1 nobody",
    552: "5.3.4 too large",
    554: "5.6.0 no",
}


@dataclass(frozen=True)
class Script:
    """What a server replies."""

    mail: int
    rcpts: tuple[int, ...]
    data: int
    end: int
    lines: int  # of each reply

    def reply(self, code: int) -> bytes:
        """The reply with a code."""
        text = TEXTS[code]
        first = "".join(f"{code}-{text}\r\n" for _ in range(self.lines - 1))
        return f"{first}{code} {text}\r\n".encode()

    def behaviour(self, extensions: tuple[str, ...]) -> Behaviour:
        """The same for the test bed."""
        by_address = {f"user{number}@": code for number, code in enumerate(self.rcpts)}

        def rcpt(line: str) -> bytes:
            return next(self.reply(code) for start, code in by_address.items() if f"<{start}" in line)

        replies: dict[str, Any] = {"MAIL": self.reply(self.mail), "RCPT": rcpt, ".": self.reply(self.end)}
        if self.data != 354:
            replies["DATA"] = self.reply(self.data)
        closing = tuple(
            verb
            for verb, codes in (("MAIL", (self.mail,)), ("DATA", (self.data,)), (".", (self.end,)))
            if 421 in codes
        )
        return Behaviour(before_tls=extensions, replies=replies, closes_after=closing)


refusals = [354, 421, 450, 451, 500, 503, 550, 552, 554]
# smtplib takes 251 for a refusal of MAIL, which a server that says so will not mean.
usually = st.sampled_from([250] * 8 + refusals)
scripts = st.builds(
    Script,
    mail=usually,
    # The bed closes behind a verb, not behind one of several RCPT: no 421 here.
    rcpts=st.lists(usually.filter(lambda code: code != 421) | st.just(251), min_size=1, max_size=4).map(
        tuple
    ),
    data=st.sampled_from([354] * 6 + [250, 421, 451, 503, 554]),
    end=usually,
    lines=st.integers(1, 3),
)
bodies = st.text("\r\n.a", max_size=12)


def verdict(client: smtplib.SMTP, recipients: list[str], body: str) -> tuple[object, ...]:
    """What became of one message, in terms that can be compared."""
    try:
        return ("accepted", client.sendmail(SENDER, recipients, body))
    except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:
        return (type(error), error.args)
    finally:
        client.close()


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=scripts, body=bodies)
def test_the_verdict_is_smtplibs(script: Script, body: str) -> None:
    """RFC 2920 3.1, RFC 3030 2: extensions change how a transaction is sent, and not what becomes of it."""
    recipients = [f"user{number}@example.net" for number in range(len(script.rcpts))]
    with Server(*(script.behaviour(one) for one in ((), *WAYS.values())), host=LOOPBACK) as server:
        stock = smtplib.SMTP(LOOPBACK, server.port, "client.example.org", timeout=5)
        expected = verdict(stock, recipients, body)
        found = {}
        for way in WAYS:
            client = smtpverify.SMTP(LOOPBACK, server.port, "client.example.org", timeout=5)
            found[way] = verdict(client, recipients, body)
    whole = [connection.messages for connection in server.connections]
    for number, way in enumerate(WAYS, 1):
        # BDAT goes without the question that this server answers with something else.
        if script.data == 354 or "chunked" not in way:
            assert found[way] == expected, way
            assert [one.data for one in whole[number]] == [one.data for one in whole[0]], way


@pytest.mark.parametrize("way", WAYS)
def test_all_refused_twice_over(way: str) -> None:
    """A recipient given twice is counted once by smtplib, which goes on to DATA with nobody left."""
    script = Script(250, (550,), 354, 250, 1)
    with Server(script.behaviour(WAYS[way]), host=LOOPBACK) as server:
        client = smtpverify.SMTP(LOOPBACK, server.port, "client.example.org", timeout=5)
        result = verdict(client, ["user0@example.net"] * 2, "hello")
        assert result == (
            smtplib.SMTPRecipientsRefused,
            ({"user0@example.net": (550, b"5.1.1 nobody")},),
        )
    assert server.connections[0].messages == []


# --- every code at every step ----------------------------------------------------------------------

codes = st.sampled_from([250, 250, 250, 251, 252, 354, 421, 450, 451, 500, 503, 550, 552, 554])
plans = st.builds(
    Plan,
    mail=usually,
    rcpts=st.lists(codes, min_size=1, max_size=5).map(tuple),
    data=st.sampled_from([354] * 6 + [250, 421, 450, 451, 503, 554]),
    end=usually | st.sampled_from([251, 252]),
)
FURTHER = ["SIZE", "SIZE 1000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]


def all_of_it(client: smtplib.SMTP, recipients: list[str], body: str | bytes) -> dict[str, object]:
    """What became of one message, with each attribute that smtplib gives."""
    shown: dict[str, object] = {}
    try:
        shown["refused"] = client.sendmail("0@example.org", recipients, body)
    except smtplib.SMTPException as error:
        shown |= {"kind": type(error), "args": error.args}
        for name in ("smtp_code", "smtp_error", "sender", "recipients"):
            if hasattr(error, name):
                shown[name] = getattr(error, name)
    # smtplib keeps the connection where DATA was answered by 421, or by what is no answer to it.
    if shown.get("kind") is not smtplib.SMTPDataError or shown["smtp_code"] not in (250, 421):
        shown["open"] = client.sock is not None
    return shown


def smtplib_is_right(plan: Plan, recipients: list[str], way: str) -> bool:
    """Where it is not: refusals are counted by address, so that a recipient given twice hides one of them.

    And a server asked by BDAT has nothing to say to DATA.
    """
    # smtplib breaks off at a 421, whatever it has counted.
    said = plan.rcpts[: plan.rcpts.index(421) + 1] if 421 in plan.rcpts else plan.rcpts
    nobody = not {250, 251} & set(said)
    hidden = nobody and 421 not in said and len(set(recipients)) < len(recipients)
    return not (plan.mail == 250 and hidden) and (plan.data == 354 or "chunked" not in way)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plan=plans,
    twice=st.booleans(),
    lines=st.integers(1, 3),
    further=st.sets(st.sampled_from(FURTHER)),
    body=bodies | bodies.map(str.encode),
)
def test_all_that_smtplib_tells(
    plan: Plan, twice: bool, lines: int, further: set[str], body: str | bytes
) -> None:
    """Result, or kind and attributes of the exception, and whether the connection is open still."""
    recipients = [f"user{0 if twice else number}@example.net" for number in range(len(plan.rcpts))]
    found = {}
    for way, extensions in {"stock": (), **WAYS}.items():
        kind: type[smtplib.SMTP] = smtplib.SMTP if way == "stock" else smtpverify.SMTP
        offered = (*extensions, *sorted(further))
        with ScriptedServer(offered, [plan, Plan()], lines=lines) as server:
            client = kind(LOOPBACK, server.port, "client.example.org", timeout=2)
            found[way] = all_of_it(client, recipients, body)
            if client.sock is not None and way != "stock":  # which leaves a refused DATA open
                assert client.sendmail("1@example.org", ["user@example.net"], b"next") == {}, way
                assert server.seen[1].told == 250
            client.close()
        assert server.seen[0].whole or "refused" not in found[way], way
        if smtplib_is_right(plan, recipients, way):
            assert found[way] == found["stock"], way


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "half", "."])
def test_a_connection_that_ends_at_a_step(way: str, step: str, reset: bool) -> None:
    """By a FIN or a RST: sent whole, and unknown, or not sent."""
    if step == "DATA" and "chunked" in way:
        step = "half"
    with ScriptedServer(WAYS[way], [Plan(rcpts=(250, 250))], Death(0, step, reset=reset)) as server:
        client = smtpverify.SMTP(LOOPBACK, server.port, "client.example.org", timeout=5)
        with pytest.raises(smtplib.SMTPServerDisconnected) as raised:
            client.sendmail("0@example.org", ["bob@example.net", "carol@example.net"], "hello\n" * 10)
        assert client.sock is None
    unknown = isinstance(raised.value, smtpverify.DeliveryUnknownError)
    assert server.seen[0].whole is (step == ".")
    # What goes in one flight with its envelope has been sent whole; half of it is in the server's hands.
    assert unknown is (step == "." or way == "pipelined and chunked" or step == "half")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("said", [b"2", b"250", b"250 ", b"250 que", b"250 queued\r", b"250-queued\r\n250"])
@pytest.mark.parametrize("reset", [False, True])
def test_a_final_reply_that_is_cut_off(way: str, said: bytes, reset: bool) -> None:
    with ScriptedServer(WAYS[way], [Plan()], Death(0, ".", said, reset)) as server:
        client = smtpverify.SMTP(LOOPBACK, server.port, "client.example.org", timeout=5)
        with pytest.raises(smtpverify.DeliveryUnknownError, match="its reply did not come"):
            client.sendmail("0@example.org", "bob@example.net", "hello")
        assert client.sock is None
    assert server.seen[0].whole
