"""LMTP: every recipient that was accepted has a verdict of its own behind the data (RFC 2033 4.2)."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from smtpverify import LMTP, Outcome
from tests.bed import Behaviour, Protocol
from tests.bed.network import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed import Server
    from tests.conftest import ServerFactory

SENDER = "alice@example.org"
TO = ["bob@example.net", "carol@example.net", "dave@example.net"]
every_way = pytest.mark.parametrize("extensions", [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")])


def server_with(extensions: tuple[str, ...], **replies: Any) -> Behaviour:
    if "END" in replies:
        replies["."] = replies.pop("END")
    return Behaviour(protocol=Protocol.LMTP, before_tls=extensions, replies=replies)


def connected(server: Server, **options: Any) -> LMTP:
    return LMTP(LOOPBACK, server.port, "client.example.org", timeout=5, **options)


def refuse(**codes: str) -> Any:
    """Refuse those whose name is given."""
    return lambda line: next((reply for name, reply in codes.items() if f"<{name}@" in line), None)


@every_way
def test_a_verdict_each(smtp_server: ServerFactory, extensions: tuple[str, ...]) -> None:
    behaviour = server_with(
        extensions, RCPT=refuse(bob="550 5.1.1 nobody"), END=refuse(carol="452 4.2.2 over quota")
    )
    with smtp_server(behaviour) as server, connected(server) as smtp:
        for _ in range(2):
            assert smtp.sendmail(SENDER, TO, "hello") == {
                "bob@example.net": (550, b"5.1.1 nobody"),
                "carol@example.net": (452, b"4.2.2 over quota"),
            }
        assert smtp.noop() == (250, b"2.0.0 Ok")  # and not a verdict that was left over
    assert len(server.connections[0].messages) == 2


@every_way
def test_nobody_is_left(smtp_server: ServerFactory, extensions: tuple[str, ...]) -> None:
    full = "552 5.2.2 over quota"
    behaviour = server_with(
        extensions, RCPT=refuse(bob="550 5.1.1 nobody"), END=refuse(carol=full, dave="451 4.3.0 later")
    )
    with smtp_server(behaviour) as server, connected(server) as smtp:
        with pytest.raises(smtpverify.LMTPDataError) as several:
            smtp.sendmail(SENDER, TO, "hello")
        assert (several.value.smtp_code, several.value.smtp_error) == (552, b"5.2.2 over quota")
        assert several.value.recipients == {
            "bob@example.net": (550, b"5.1.1 nobody"),
            "carol@example.net": (552, b"5.2.2 over quota"),
            "dave@example.net": (451, b"4.3.0 later"),
        }
        with pytest.raises(smtplib.SMTPDataError) as one:
            smtp.sendmail(SENDER, ["carol@example.net"], "hello")
        assert type(one.value) is smtplib.SMTPDataError
        assert one.value.args == (552, b"5.2.2 over quota")
        assert smtp.noop()[0] == 250


@every_way
def test_no_data_for_nobody(smtp_server: ServerFactory, extensions: tuple[str, ...]) -> None:
    """How many replies a lone dot would get, nobody knows: such a server is left."""
    behaviour = server_with(extensions, RCPT="550 no", DATA="354 go on")
    with smtp_server(behaviour) as server:
        smtp = connected(server)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            smtp.sendmail(SENDER, TO, "hello")
        assert (smtp.sock is None) is ("PIPELINING" in extensions)
        smtp.close()
    assert server.connections[0].messages == []


@every_way
def test_leave_taken_among_the_verdicts(smtp_server: ServerFactory, extensions: tuple[str, ...]) -> None:
    behaviour = server_with(extensions, END=refuse(carol="421 4.3.2 going down"))
    with smtp_server(behaviour) as server:
        smtp = connected(server)
        with pytest.raises(smtpverify.DeliveryUnknownError, match="421"):
            smtp.sendmail(SENDER, TO, "hello")
        assert smtp.sock is None


@every_way
def test_many(smtp_server: ServerFactory, extensions: tuple[str, ...]) -> None:
    behaviour = server_with(extensions, END=refuse(carol="452 4.2.2 over quota"))
    with smtp_server(behaviour) as server, connected(server) as smtp:
        results = list(smtp.send_messages((SENDER, TO[: 1 + number % 3], b"x") for number in range(30)))
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    assert [len(result.refused) for result in results] == [0, 1, 1] * 10


@every_way
def test_the_steps_by_themselves(smtp_server: ServerFactory, extensions: tuple[str, ...]) -> None:
    behaviour = server_with(extensions, END=refuse(bob="452 4.2.2 over quota"))
    with smtp_server(behaviour) as server, connected(server) as smtp:
        smtp.ehlo()
        for accepted, code in ((TO[:2], 250), (TO[:1], 452)):
            smtp.mail(SENDER)
            for recipient in accepted:
                smtp.rcpt(recipient)
            assert smtp.data("hello")[0] == code
        assert smtp.noop()[0] == 250


def test_steps_of_a_subclass(smtp_server: ServerFactory) -> None:
    class Own(LMTP):
        def rcpt(self, recip: str, options: Any = ()) -> tuple[int, bytes]:
            return super().rcpt(recip, options)

    behaviour = server_with(("PIPELINING",), END=refuse(carol="452 4.2.2 over quota"))
    with smtp_server(behaviour) as server, Own(LOOPBACK, server.port, timeout=5) as smtp:
        assert smtp.sendmail(SENDER, TO, "hello") == {"carol@example.net": (452, b"4.2.2 over quota")}
        assert smtp.noop()[0] == 250


@pytest.mark.skipif(not hasattr(__import__("socket"), "AF_UNIX"), reason="no Unix sockets")
def test_over_a_unix_socket(smtp_server: ServerFactory, tmp_path: Path) -> None:
    path = tmp_path / "lmtp"
    with smtp_server(server_with(("PIPELINING",)), path=path):
        with smtpverify.connect(f"lmtp://{path}", timeout=5) as smtp:
            assert smtp.sendmail(SENDER, TO, b"x" * 3_000_000) == {}
        timeouts = smtpverify.Timeouts(greeting=5)
        with LMTP(str(path), timeout=timeouts) as smtp:
            assert smtp.noop()[0] == 250
