"""What shows of smtplib's objects: results, attributes and debugging output, beside smtplib's own."""

from __future__ import annotations

import pickle
import re
import smtplib
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

import smtpverify
from smtpverify import SendResult
from tests.bed import HOST, Protocol, Tls
from tests.bed.network import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from tests.bed import Server
    from tests.conftest import ServerFactory

SENDER, RECIPIENT, REFUSED = "alice@example.org", "bob@example.net", "carol@example.net"
USER, PASSWORD = "alice", "correct horse"


class BySteps(smtpverify.SMTP):
    """A subclass with a step of its own, whose messages go by smtplib's course."""

    def rcpt(self, recip: str, options: Any = ()) -> tuple[int, bytes]:
        return super().rcpt(recip, options)


WAYS = {
    "step by step": (),
    "pipelined": ("PIPELINING",),
    "pipelined and chunked": ("PIPELINING", "CHUNKING"),
}
FACES: dict[str, type[smtplib.SMTP]] = {
    "SMTP": smtpverify.SMTP,
    "a subclass": BySteps,
    "smtplib": smtplib.SMTP,
}
over_ways = pytest.mark.parametrize("way", WAYS)
over_faces = pytest.mark.parametrize("face", FACES)


def connected(server: Server, kind: type[Any] = smtpverify.SMTP) -> Any:
    return kind(LOOPBACK, server.port, "client.example.org", timeout=5)


def refusing(line: str) -> str:
    return "550 5.1.1 nobody" if REFUSED in line else "250 2.1.5 ok"


# --- results -------------------------------------------------------------------------------------


def check_plain(found: object) -> None:
    """Fail if there is anything but plain tuples, which print and pickle as smtplib's do."""
    if isinstance(found, dict):
        for value in found.values():
            check_plain(value)
        assert type(found) is dict
        return
    assert type(found) is tuple
    assert [type(each) for each in found] == [int, bytes]


RESULTS: dict[str, Callable[[Any], Any]] = {
    "noop": lambda smtp: smtp.noop(),
    "rset": lambda smtp: smtp.rset(),
    "ehlo": lambda smtp: smtp.ehlo(),
    "helo": lambda smtp: smtp.helo(),
    "docmd": lambda smtp: smtp.docmd("NOOP"),
    "getreply": lambda smtp: (smtp.putcmd("NOOP"), smtp.getreply())[1],
    "mail": lambda smtp: smtp.mail(SENDER),
    "rcpt": lambda smtp: (smtp.mail(SENDER), smtp.rcpt(REFUSED))[1],
    "verify": lambda smtp: smtp.verify(RECIPIENT),
    "expn": lambda smtp: smtp.expn("staff"),
    "data": lambda smtp: (smtp.mail(SENDER), smtp.rcpt(RECIPIENT), smtp.data("hello"))[2],
    "login": lambda smtp: smtp.login(USER, PASSWORD),
    "sendmail": lambda smtp: smtp.sendmail(SENDER, [RECIPIENT, REFUSED], "hello"),
    "quit": lambda smtp: smtp.quit(),
}


@pytest.mark.parametrize("method", RESULTS)
@over_faces
def test_results_are_plain(smtp_server: ServerFactory, method: str, face: str) -> None:
    extensions = ("PIPELINING", "SIZE 1000", "AUTH PLAIN")
    with smtp_server(before_tls=extensions, replies={"RCPT": refusing}) as server:
        both = []
        for kind in (FACES[face], smtplib.SMTP):
            smtp = connected(server, kind)
            smtp.ehlo()
            both.append(RESULTS[method](smtp))
            smtp.close()
    found, expected = both
    check_plain(found)
    assert repr(found) == repr(expected)


def test_the_greeting_is_plain(smtp_server: ServerFactory) -> None:
    with smtp_server() as server:
        smtp = smtpverify.SMTP(timeout=5)
        greeting = smtp.connect(LOOPBACK, server.port)
        smtp.quit()
    check_plain(greeting)
    assert str(greeting) == "(220, b'mail.example.org ESMTP')"


@over_ways
@over_faces
def test_refusals_are_plain(smtp_server: ServerFactory, way: str, face: str) -> None:
    with smtp_server(before_tls=WAYS[way], replies={"RCPT": refusing}) as server:
        smtp = connected(server, FACES[face])
        refused = smtp.sendmail(SENDER, [RECIPIENT, REFUSED], "hello")
        with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
            smtp.sendmail(SENDER, [REFUSED], "hello")
        results: list[SendResult] = []
        if isinstance(smtp, smtpverify.SMTP):
            results = list(smtp.send_messages([(SENDER, [RECIPIENT, REFUSED], "hello")]))
        smtp.quit()
    for each in (refused, caught.value.recipients, *(result.refused for result in results)):
        check_plain(each)
        assert each == {REFUSED: (550, b"5.1.1 nobody")}
        assert str(each) == "{'carol@example.net': (550, b'5.1.1 nobody')}"
        # It can be read where there is no smtpverify, such as in another's worker process.
        assert b"smtpverify" not in pickle.dumps(each)
    assert str(caught.value) == "{'carol@example.net': (550, b'5.1.1 nobody')}"


def test_late_refusals_are_plain(smtp_server: ServerFactory) -> None:
    replies = {".": lambda line: "552 5.2.2 full" if REFUSED in line else "250 2.0.0 ok"}
    with smtp_server(protocol=Protocol.LMTP, replies=replies) as server:
        smtp = connected(server, smtpverify.LMTP)
        refused = smtp.sendmail(SENDER, [RECIPIENT, REFUSED], "hello")
        smtp.quit()
    check_plain(refused)
    assert refused == {REFUSED: (552, b"5.2.2 full")}


def test_a_refusal_is_read_without_smtpverify(smtp_server: ServerFactory) -> None:
    with smtp_server(replies={"RCPT": refusing}) as server, connected(server) as smtp:
        refused = smtp.sendmail(SENDER, [RECIPIENT, REFUSED], "hello")
    code = f"import pickle; print(pickle.loads({pickle.dumps(refused)!r}))"
    command = [sys.executable, "-I", "-S", "-c", code]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == str(refused)


# --- attributes ----------------------------------------------------------------------------------


@over_faces
def test_the_user_is_kept_and_the_password_is_not(smtp_server: ServerFactory, face: str) -> None:
    with smtp_server(before_tls=("AUTH PLAIN",)) as server, connected(server, FACES[face]) as smtp:
        assert not hasattr(smtp, "user")
        smtp.login(USER, PASSWORD)
        assert smtp.user == USER
        if face != "smtplib":
            assert not hasattr(smtp, "password")
            assert PASSWORD not in repr(vars(smtp))


def test_the_user_of_a_login_that_was_refused(smtp_server: ServerFactory) -> None:
    for kind in (smtplib.SMTP, smtpverify.SMTP):
        with smtp_server(before_tls=("AUTH PLAIN",), auth_reply="535 no") as server:
            smtp = connected(server, kind)
            with pytest.raises(smtplib.SMTPAuthenticationError):
                smtp.login(USER, PASSWORD)
            assert smtp.user == USER
            smtp.quit()


def test_the_user_of_other_logins(smtp_server: ServerFactory) -> None:
    with smtp_server(before_tls=("AUTH PLAIN XOAUTH2",), replies={"AUTH": "235 ok"}) as server:
        with connected(server) as smtp:
            smtp.login_oauth2(USER, "token")
            assert smtp.user == USER
        url = f"smtp+notls://{USER}@{LOOPBACK}:{server.port}"
        with smtpverify.connect(url, password=PASSWORD, timeout=5) as smtp:
            assert smtp.user == USER


@over_faces
@pytest.mark.parametrize("form", [str, lambda port: str(port).encode()])
def test_forms_of_a_port(smtp_server: ServerFactory, face: str, form: Any) -> None:
    with smtp_server() as server:
        smtp = FACES[face](LOOPBACK, form(server.port), "client.example.org", timeout=5)
        assert smtp.noop()[0] == 250
        smtp.quit()


@pytest.mark.parametrize("port", [b"no such service", b"\xff", b"65536", b"-1", 1.5])
def test_ports_that_are_none(port: Any) -> None:
    with pytest.raises(smtpverify.RelayURLError, match=r"^port: "):
        smtpverify.SMTP(LOOPBACK, port)


# --- debugging output ----------------------------------------------------------------------------


def converse(module: ModuleType, kind: str, host: str, port: int, level: int = 1) -> None:
    """Say something of everything."""
    options: dict[str, Any] = {"timeout": 5, "local_hostname": "client.example.org"}
    if kind == "SMTP_SSL":
        options["context"] = ssl.create_default_context()
    smtp = getattr(module, kind)(**options)
    smtp.set_debuglevel(level)
    if kind == "SMTP_SSL":
        smtp._host = HOST
    smtp.connect(host, port)
    smtp.ehlo()
    smtp.mail(SENDER)
    smtp.rcpt(RECIPIENT)
    smtp.rcpt(REFUSED)
    smtp.data("hello\r\n.there")
    smtp.noop()
    smtp.docmd("HELP", "me")
    smtp.sendmail(SENDER, [RECIPIENT, REFUSED], "hello\r\n.there")
    smtp.quit()


def debugged(
    capsys: pytest.CaptureFixture[str], module: ModuleType, kind: str, host: str, port: int, level: int = 1
) -> list[str]:
    capsys.readouterr()
    converse(module, kind, host, port, level)
    # From Python 3.13 on smtplib writes "from" and "to" in small letters, as smtpverify does in every one.
    return capsys.readouterr().err.lower().splitlines()


@over_ways
def test_debugging_output(smtp_server: ServerFactory, capsys: pytest.CaptureFixture[str], way: str) -> None:
    replies = {"RCPT": refusing, "HELP": b"214-2.0.0 none\r\n214 2.0.0 here\r\n"}
    with smtp_server(before_tls=WAYS[way], replies=replies) as server:
        expected = debugged(capsys, smtplib, "SMTP", LOOPBACK, server.port)
        found = debugged(capsys, smtpverify, "SMTP", LOOPBACK, server.port)
    assert expected[0].startswith("connect: to ")
    assert "reply: b'214-2.0.0 none\\r\\n'" in expected
    if way == "step by step":
        assert found == expected
    elif way == "pipelined":
        # The same lines, where the commands are sent before the replies to those before them.
        assert sorted(found) == sorted(expected)
        assert found != expected
    else:
        assert "send: 'bdat 15 last\\r\\n'" in found
        assert "send: b'hello\\r\\n.there\\r\\n'" in found


def test_debugging_output_in_tls(smtp_server: ServerFactory, capsys: pytest.CaptureFixture[str]) -> None:
    with smtp_server(tls=Tls.IMPLICIT, after_tls=(), replies={"RCPT": refusing}) as server:
        expected = debugged(capsys, smtplib, "SMTP_SSL", HOST, server.port)
        found = debugged(capsys, smtpverify, "SMTP_SSL", HOST, server.port)
    assert found == expected


def test_debugging_output_of_lmtp(
    smtp_server: ServerFactory, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = str(tmp_path / "lmtp")
    with smtp_server(protocol=Protocol.LMTP, before_tls=(), replies={"RCPT": refusing}, path=path):
        expected = debugged(capsys, smtplib, "LMTP", path, 0)
        found = debugged(capsys, smtpverify, "LMTP", path, 0)
    assert found == expected


def test_debugging_output_with_the_time(
    smtp_server: ServerFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    with smtp_server(before_tls=(), replies={"RCPT": refusing}) as server:
        both = [
            debugged(capsys, module, "SMTP", LOOPBACK, server.port, level=2)
            for module in (smtplib, smtpverify)
        ]
    time = re.compile(r"\d\d:\d\d:\d\d(\.\d+)? ")
    assert all(time.match(line) for lines in both for line in lines)
    expected, found = ([time.sub("", line, count=1) for line in lines] for lines in both)
    assert found == expected


@pytest.mark.parametrize("text", ["{}", "no {} here", "more\r\n535 5.7.8 {}"])
def test_debugging_output_has_no_secret(
    smtp_server: ServerFactory, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    said = f"535-5.7.8 {text.format(PASSWORD)}\r\n535 5.7.8 no\r\n".replace("more\r\n535 ", "more\r\n535-")
    with smtp_server(before_tls=("AUTH LOGIN",), auth_reply=said.encode()) as server:
        smtp = connected(server)
        smtp.set_debuglevel(1)
        with pytest.raises(smtplib.SMTPAuthenticationError):
            smtp.login(USER, PASSWORD)
        smtp.quit()
    shown = capsys.readouterr().err
    assert PASSWORD not in shown
    assert "reply: b'535-5.7.8 " in shown
    assert "send: 'AUTH LOGIN ***\\r\\n'" in shown
    assert "send: '***\\r\\n'" in shown


# --- in place of the module ------------------------------------------------------------------------

# What was loaded before smtpverify stands in the place of smtplib.
LOADED_BEFORE = {
    "nothing": "",
    "smtplib": "import smtplib",
    "our classes": "smtpverify.SMTP",
    "everything": "[getattr(smtpverify, name) for name in dir(smtpverify)]",
    "the standard library's handler": "import logging.handlers",
    "and injected": "smtpverify.inject_into_smtplib()",
}
IN_PLACE = """
import sys, warnings
import smtpverify
{before}
sys.modules["smtplib"] = smtpverify
import smtplib
real = smtpverify.stdlib.smtplib
assert smtplib is smtpverify and real is not smtpverify
assert smtplib.SMTP.__module__ == "smtpverify.smtp.client"
assert issubclass(smtplib.SMTP, real.SMTP) and smtplib.SMTP is not real.SMTP
for name in real.__all__ + ["LMTP", "SMTP_PORT", "CRLF", "socket"]:
    assert name in ("SMTP", "SMTP_SSL", "LMTP") or getattr(smtplib, name) is getattr(real, name), name

import importlib, pkgutil
for each in pkgutil.walk_packages(smtpverify.__path__, "smtpverify."):
    # These want others' packages.
    if not any(part in each.name for part in ("__main__", ".mercurial", ".django", "._demo_")):
        importlib.import_module(each.name)

def send(module, port):
    with module.SMTP({host!r}, port, "client.example.org", timeout=5) as smtp:
        assert smtp.sendmail("alice@example.org", ["bob@example.net"], "hello") == {{}}

def check_tls(module):
    smtp = module.SMTP({host!r}, {starttls}, "client.example.org", timeout=5)
    try:
        smtp.starttls()
    except smtpverify.HostnameMismatchError:
        return True
    finally:
        smtp.close()

send(smtplib, {port})
assert check_tls(smtplib)
import logging, logging.handlers
handler = logging.handlers.SMTPHandler(({host!r}, {port}), "alice@example.org", ["bob@example.net"], "hello")
handler.emit(logging.makeLogRecord({{"msg": "hello"}}))

import pickle
assert pickle.loads(pickle.dumps(smtplib.SMTPDataError(550, b"no"))).args == (550, b"no")

ours = [dict(vars(cls)) for cls in smtplib.SMTP.__mro__ if cls.__module__.startswith("smtpverify")]
stock = None if {injected} else dict(vars(real.SMTP))
injection = smtpverify.inject_into_smtplib()
assert ours == [dict(vars(cls)) for cls in smtplib.SMTP.__mro__ if cls.__module__.startswith("smtpverify")]
assert stock is None or vars(real.SMTP) != stock
assert check_tls(real) and check_tls(smtplib)
send(real, {port})
send(smtplib, {port})
smtpverify.extract_from_smtplib()
assert stock is None or dict(vars(real.SMTP)) == stock
importlib.reload(smtpverify)
assert not hasattr(smtpverify, "no_such_name")
send(smtplib, {port})
print("sent")
"""


@pytest.mark.parametrize("before", LOADED_BEFORE)
def test_in_place_of_the_module(smtp_server: ServerFactory, before: str) -> None:
    # The certificate is for a name, and the host is an address.
    with smtp_server(before_tls=()) as server, smtp_server(tls=Tls.STARTTLS) as starttls:
        code = IN_PLACE.format(
            before=LOADED_BEFORE[before],
            host=LOOPBACK,
            port=server.port,
            starttls=starttls.port,
            injected="injected" in before,
        )
        command = [sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert (done.stderr, done.stdout) == ("", "sent\n")
    assert sum(len(one.messages) for one in server.connections) == 5
    assert not any(one.handshake_done and one.leaked() for one in starttls.connections)


def by_subclass(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(smtplib.SMTP):
        pass

    monkeypatch.setattr(smtplib, "SMTP", Own)


def by_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtplib, "SMTP", smtpverify.SMTP)


def by_mock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtplib, "SMTP", mock.MagicMock())


@pytest.mark.parametrize("replace", [by_subclass, by_ours, by_mock])
def test_injection_where_another_class_goes_by_the_name(
    smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch, replace: Any
) -> None:
    stock, ours, connect = smtplib.SMTP, dict(vars(smtpverify.SMTP)), vars(smtplib.SMTP)["connect"]
    replace(monkeypatch)
    with smtpverify.inject_into_smtplib():
        assert dict(vars(smtpverify.SMTP)) == ours
        assert vars(stock)["connect"] is not connect
        with smtp_server(tls=Tls.STARTTLS) as server:
            smtp = connected(server, stock)
            with pytest.raises(smtpverify.HostnameMismatchError):
                smtp.starttls()
    assert vars(stock)["connect"] is connect
