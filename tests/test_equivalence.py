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
