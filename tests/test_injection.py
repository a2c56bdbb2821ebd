"""Hostile values in every argument of the public face: an error ahead of the wire, or one line.

The arguments are found by introspection: a new one without a row here, or a reason for having none, fails.
"""

from __future__ import annotations

import contextlib
import email.errors
import inspect
import itertools
import re
import smtplib
from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

import smtpverify
from smtpverify import LMTP, SMTP, SMTP_SSL, Outcome
from tests.bed import HOST, Protocol, Tls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bed import Server
    from tests.bed.behaviour import Connection
    from tests.conftest import ServerFactory

SENDER, RECIPIENT = "alice@example.org", "bob@example.net"
LOCAL_NAME = "client.example.org"

# --- hostile values ------------------------------------------------------------------------------

CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
NARROWED = [
    # Their last octets are LF's and CR's; so are those of a pair of UTF-16 (CVE-2025-7962).
    *"\u010a\u010d\u020a\u560a\u560d\u760a\u760d\U0001f60a\U0001f60d",
    *"\uff1c\uff1e\ufe64\ufe65\u2024",  # become <, > and . where somebody normalizes
    *"\u2028\u2029\u00a0\u3000\ufeff",  # line ends and spaces to some readers
    *"\udc0a\udc0d\ud80a\ud80d",  # halves of characters
]
SMUGGLED = ["\r\nRSET\r\n", "\nRSET\n", "\rRSET\r", "\u010d\u010aRSET\u010d\u010a", "\u560d\u560aRSET"]
FORMS: list[Callable[[str], str]] = [
    "{}".format,
    "{}RSET".format,
    "a{}b@example.net".format,
    "{}a@example.net".format,
    "a@example.net{}".format,
    '"a{}b"@example.net'.format,
    "a@exam{}ple.net".format,
    "Bob{} <a@example.net>".format,
]
# What would add a parameter, a second path, or a command to an address that is taken as it is.
PATHS = [
    "a@b> SIZE=1",
    "a@b> SIZE=1 <c@d",
    "<a@b> SIZE=1",
    "<a@b> SMTPUTF8 <c@d>",
    "a@b>\r\nRCPT TO:<c@d",
    "a@b>\nRCPT TO:<c@d",
    '"a b" <c@d> NOTIFY=NEVER',
    '"a@b> X" c',
    '"a"b"@c',
    '"a\\"@b> SIZE=1',
    'a"> SIZE=1 "@b',
    "a@b, c@d",
    "a@b>,<c@d",
    "x:a@b,c@d;",
    "a b@c",
    "a@b c",
    "a\\ b@c",
    "(x)> SIZE=1 <a@b",
    "<a@b>>",
    "a@[127.0.0.1] SIZE=1",
    "a@[x> SIZE=1]",
]
TEXTS = [form(what) for what in (*CONTROLS, *NARROWED, *SMUGGLED) for form in FORMS] + PATHS
OCTETS = [text.encode("utf-8", "surrogatepass") for text in (*SMUGGLED, "\0", "\x85", *PATHS)]
VALUES: list[Any] = [*TEXTS, *OCTETS]

# --- clients and servers -------------------------------------------------------------------------


class ByItsSteps(SMTP):
    """A subclass with a step of its own, for which messages go by smtplib's course."""

    def rcpt(self, recip: str, options: Any = ()) -> tuple[int, bytes]:
        return super().rcpt(recip, options)


EVERYTHING = (
    "PIPELINING",
    "CHUNKING",
    "8BITMIME",
    "SMTPUTF8",
    "SIZE 100000",
    "AUTH PLAIN LOGIN XOAUTH2 OAUTHBEARER EXTERNAL",
)


@dataclass(frozen=True)
class Kind:
    """A client, and what its server is told."""

    client: type[SMTP]
    server: dict[str, Any] = field(default_factory=dict)


KINDS = {
    "bare": Kind(SMTP, {"before_tls": ()}),
    "everything": Kind(SMTP, {"before_tls": EVERYTHING}),
    "step by step": Kind(SMTP, {"before_tls": ("SMTPUTF8", "AUTH LOGIN")}),
    "a subclass": Kind(ByItsSteps, {"before_tls": EVERYTHING}),
    "in TLS": Kind(SMTP_SSL, {"tls": Tls.IMPLICIT, "after_tls": EVERYTHING}),
    "LMTP": Kind(LMTP, {"protocol": Protocol.LMTP, "before_tls": EVERYTHING}),
}

# --- what is tried -------------------------------------------------------------------------------

PATH = r'<(?:[^\s<>"\\]|"(?:[^"\\]|\\.)*")*>'
OPTIONS = r"(?: (?:size=[0-9]+|SMTPUTF8|BODY=8BITMIME))*"
MAIL = rf"mail from:{PATH}{OPTIONS}"
RCPT = rf"rcpt to:{PATH}"
TRANSACTION = rf"{MAIL}(?:\n{RCPT})*(?:\nDATA|\nBDAT [0-9]+ LAST)?(?:\nRSET)?"
OPTED = TRANSACTION.replace(OPTIONS, r"[^\n]*").replace(RCPT, rf"{RCPT}[^\n]*")
LINE = r"[^\n]+"


@dataclass(frozen=True)
class Row:
    """How a value gets into an argument, and what the server may hear where it is not refused."""

    call: Callable[[Any, Any], object]
    heard: str


def steps(smtp: Any, bad: Any, *options: Any) -> None:
    """The steps of a message by hand."""
    smtp.rset()
    smtp.mail(SENDER)
    smtp.rcpt(bad, *options)


def letter(**headers: Any) -> Message[Any, Any]:
    """A message of the old kind, which takes any header for one."""
    message: Message[Any, Any] = Message()
    for name, value in {"From": SENDER, "To": RECIPIENT, **headers}.items():
        message[name] = value
    message.set_payload("hello")
    return message


def many(smtp: SMTP, *mail: Any) -> None:
    """By `send_messages`, whose errors stand in its results."""
    (result,) = smtp.send_messages([mail if len(mail) > 1 else mail[0]])
    if result.error is not None and result.outcome is Outcome.REFUSED:
        raise result.error


def attribute(name: str, call: Callable[[SMTP], object]) -> Callable[[SMTP, Any], object]:
    """Write an attribute for the time of a call."""

    def with_it(smtp: SMTP, bad: Any) -> None:
        before = getattr(smtp, name)
        setattr(smtp, name, bad)
        try:
            call(smtp)
        finally:
            setattr(smtp, name, before)

    return with_it


AUTH = rf"AUTH {LINE}(?:\nAUTH {LINE})*"
USERS = (f"user{number}" for number in itertools.count())  # nobody logs in twice
RESET = r"(?:RSET\nmail [^\n]*)"
ROWS: dict[str, list[Row]] = {
    "putcmd(cmd)": [Row(lambda smtp, bad: (smtp.putcmd(bad), smtp.getreply()), LINE)],
    "putcmd(args)": [Row(lambda smtp, bad: (smtp.putcmd("NOOP", bad), smtp.getreply()), f"NOOP(?: {LINE})?")],
    "docmd(cmd)": [Row(lambda smtp, bad: smtp.docmd(bad), LINE)],
    "docmd(args)": [Row(lambda smtp, bad: smtp.docmd("NOOP", bad), f"NOOP(?: {LINE})?")],
    "helo(name)": [Row(lambda smtp, bad: smtp.helo(bad), f"helo {LINE}")],
    "ehlo(name)": [Row(lambda smtp, bad: smtp.ehlo(bad), f"[el]hlo {LINE}")],
    "help(args)": [Row(lambda smtp, bad: smtp.help(bad), f"help(?: {LINE})?")],
    "verify(address)": [Row(lambda smtp, bad: smtp.verify(bad), f"vrfy(?: {LINE})?")],
    "vrfy(address)": [Row(lambda smtp, bad: smtp.vrfy(bad), f"vrfy(?: {LINE})?")],
    "expn(address)": [Row(lambda smtp, bad: smtp.expn(bad), f"expn(?: {LINE})?")],
    "mail(sender)": [
        Row(lambda smtp, bad: smtp.mail(bad), MAIL),
        Row(lambda smtp, bad: smtp.mail(bad, ["SMTPUTF8"]), MAIL),
    ],
    "mail(options)": [
        Row(lambda smtp, bad: smtp.mail(SENDER, [bad]), rf"mail from:<{SENDER}>[^\n]*"),
        Row(lambda smtp, bad: smtp.mail(SENDER, ["SIZE=1", bad]), rf"mail from:<{SENDER}>[^\n]*"),
    ],
    "rcpt(recip)": [Row(lambda smtp, bad: smtp.rcpt(bad), RCPT), Row(steps, rf"{RESET}\n{RCPT}")],
    "rcpt(options)": [
        Row(lambda smtp, bad: smtp.rcpt(RECIPIENT, [bad]), rf"rcpt to:<{RECIPIENT}>[^\n]*"),
        Row(lambda smtp, bad: smtp.rcpt(RECIPIENT, ["NOTIFY=NEVER", bad]), rf"rcpt to:<{RECIPIENT}>[^\n]*"),
    ],
    "sendmail(from_addr)": [
        Row(lambda smtp, bad: smtp.sendmail(bad, RECIPIENT, "x"), TRANSACTION),
        Row(lambda smtp, bad: smtp.sendmail(bad, RECIPIENT, b"x", ["SMTPUTF8"]), TRANSACTION),
    ],
    "sendmail(to_addrs)": [
        Row(lambda smtp, bad: smtp.sendmail(SENDER, bad, "x"), TRANSACTION),
        Row(lambda smtp, bad: smtp.sendmail(SENDER, [RECIPIENT, bad], "x"), TRANSACTION),
        Row(lambda smtp, bad: smtp.sendmail(SENDER, [RECIPIENT, bad], "x", ["SMTPUTF8"]), TRANSACTION),
    ],
    "sendmail(mail_options)": [
        Row(lambda smtp, bad: smtp.sendmail(SENDER, RECIPIENT, "x", [bad]), OPTED),
        Row(lambda smtp, bad: smtp.sendmail(SENDER, RECIPIENT, "x", ["SMTPUTF8", bad]), OPTED),
    ],
    "sendmail(rcpt_options)": [
        Row(lambda smtp, bad: smtp.sendmail(SENDER, RECIPIENT, "x", (), [bad]), OPTED),
        Row(lambda smtp, bad: smtp.sendmail(SENDER, RECIPIENT, "x", ["SMTPUTF8"], [bad]), OPTED),
    ],
    "send_message(msg)": [
        Row(lambda smtp, bad: smtp.send_message(letter(From=bad)), TRANSACTION),
        Row(lambda smtp, bad: smtp.send_message(letter(Sender=bad)), TRANSACTION),
        Row(lambda smtp, bad: smtp.send_message(letter(Cc=bad)), TRANSACTION),
        Row(lambda smtp, bad: smtp.send_message(letter(Bcc=bad)), TRANSACTION),
    ],
    "send_message(from_addr)": [Row(lambda smtp, bad: smtp.send_message(letter(), bad), TRANSACTION)],
    "send_message(to_addrs)": [
        Row(lambda smtp, bad: smtp.send_message(letter(), SENDER, bad), TRANSACTION),
        Row(lambda smtp, bad: smtp.send_message(letter(), SENDER, [RECIPIENT, bad]), TRANSACTION),
    ],
    "send_message(mail_options)": [
        Row(lambda smtp, bad: smtp.send_message(letter(), SENDER, RECIPIENT, [bad]), OPTED)
    ],
    "send_message(rcpt_options)": [
        Row(lambda smtp, bad: smtp.send_message(letter(), SENDER, RECIPIENT, [], [bad]), OPTED)
    ],
    "send_messages(messages)": [
        Row(lambda smtp, bad: many(smtp, bad, RECIPIENT, "x"), TRANSACTION),
        Row(lambda smtp, bad: many(smtp, SENDER, [RECIPIENT, bad], "x"), TRANSACTION),
        Row(lambda smtp, bad: many(smtp, letter(To=bad)), TRANSACTION),
    ],
    "login(user)": [Row(lambda smtp, bad: smtp.login(bad, "secret"), AUTH)],
    "login(password)": [Row(lambda smtp, bad: smtp.login(next(USERS), bad), AUTH)],
    "login(mechanism)": [Row(lambda smtp, bad: smtp.login("alice", "secret", mechanism=bad), AUTH)],
    "login_oauth2(user)": [Row(lambda smtp, bad: smtp.login_oauth2(bad, "token"), AUTH)],
    "login_oauth2(token)": [
        Row(lambda smtp, bad: smtp.login_oauth2(next(USERS), bad), AUTH),
        Row(lambda smtp, bad: smtp.login_oauth2(next(USERS), lambda: bad), AUTH),
        Row(lambda smtp, bad: smtp.login_oauth2(next(USERS), bad, mechanism="XOAUTH2"), AUTH),
    ],
    "login_oauth2(mechanism)": [
        Row(lambda smtp, bad: smtp.login_oauth2("alice", "token", mechanism=bad), AUTH)
    ],
    "login_external(authorize_as)": [Row(lambda smtp, bad: smtp.login_external(bad), AUTH)],
    "auth(mechanism)": [Row(lambda smtp, bad: smtp.auth(bad, lambda _=None: "x"), f"AUTH(?: {LINE})?")],
    "auth(authobject)": [Row(lambda smtp, bad: smtp.auth("PLAIN", lambda _=None: bad), f"AUTH {LINE}")],
    # Attributes that smtplib's callers write.
    "local_hostname": [
        Row(attribute("local_hostname", SMTP.ehlo), f"[el]hlo {LINE}"),
        Row(attribute("local_hostname", SMTP.helo), f"helo {LINE}"),
    ],
    "ehlo_msg": [Row(attribute("ehlo_msg", SMTP.ehlo), LINE)],
}

ELSEWHERE = "below, where connections are made"
NO_TEXT = "no text, and nothing of it is sent"
NOT_SENT = "it is looked up, and not sent"
FILES = "names a file"
CHALLENGE = "what the server has said; the answer is auth()'s, in base64"
# Why the rest has no row.
WITHOUT: dict[str, str] = {
    **dict.fromkeys(("__init__(host)", "__init__(port)", "__init__(local_hostname)"), ELSEWHERE),
    **dict.fromkeys(("__init__(server_hostname)", "__init__(dialect)"), ELSEWHERE),
    **dict.fromkeys(("__init__(ignore_extensions)", "connect(host)", "connect(port)"), ELSEWHERE),
    **dict.fromkeys(("smtpverify.connect(url)", "smtpverify.connect(local_hostname)"), ELSEWHERE),
    **dict.fromkeys(("smtpverify.connect(server_hostname)", "smtpverify.connect(dialect)"), ELSEWHERE),
    "smtpverify.connect(ignore_extensions)": ELSEWHERE,
    **dict.fromkeys(("__init__(password)", "smtpverify.connect(password)"), "login()'s"),
    **{
        f"{function}({argument})": NO_TEXT
        for function in ("__init__", "smtpverify.connect")
        for argument in ("timeout", "trust", "allow_plaintext_login")
    },
    "__init__(context)": NO_TEXT,
    **{f"{function}(source_address)": "for bind()" for function in ("__init__", "connect")},
    "smtpverify.connect(source_address)": "for bind()",
    **{
        f"{function}({name})": FILES
        for function in ("__init__", "starttls")
        for name in ("keyfile", "certfile")
    },
    "starttls(context)": NO_TEXT,
    "smtpverify.create_context(trust)": NO_TEXT,
    **{
        f"smtpverify.inject_into_smtplib({argument})": NO_TEXT
        for argument in ("trust", "require_tls", "allow_plaintext_login")
    },
    "smtpverify.inject_into_smtplib(trust_by_host)": "keys that are compared, test_inject.py",
    "set_debuglevel(debuglevel)": NO_TEXT,
    "login(initial_response_ok)": NO_TEXT,
    "auth(initial_response_ok)": NO_TEXT,
    **{f"auth_{mechanism}(challenge)": CHALLENGE for mechanism in ("plain", "login", "cram_md5")},
    "has_extn(opt)": NOT_SENT,
    "smtpverify.enhanced_status(reply)": NOT_SENT,
    "smtpverify.quoteaddr(addrstring)": "smtplib's own; what we send passes through more",
    "smtpverify.quotedata(data)": "smtplib's own; what we send passes through more",
    "mechanism": "what is known, and not to be written",
    "send(s)": "octets as they are: that is what it is for",
    "sendmail(msg)": "test_injection_bodies.py",
    "data(msg)": "test_injection_bodies.py",
    # Attributes.
    **dict.fromkeys(
        ("debuglevel", "default_port", "does_esmtp", "timeout", "context", "sock", "file"), NO_TEXT
    ),
    **dict.fromkeys(("ehlo_resp", "helo_resp", "esmtp_features"), "what the server has said"),
    **dict.fromkeys(("peer", "relay"), "nothing follows from what is written there"),
    **dict.fromkeys(("keyfile", "certfile"), FILES),
    "source_address": "for bind()",
    "command_encoding": "names a codec",
}


def arguments() -> set[str]:
    """Every argument and attribute of the public face."""
    found = set()
    for client in (SMTP, SMTP_SSL, LMTP):
        for name in dir(client):
            if (not name.startswith("_") or name == "__init__") and callable(getattr(client, name)):
                parameters = list(inspect.signature(getattr(client, name)).parameters)
                found |= {f"{name}({parameter})" for parameter in parameters[1:]}
        instance = client()
        found |= {
            name
            for name in dir(instance)
            if not name.startswith("_") and not callable(getattr(instance, name))
        }
    for name in dir(smtpverify):
        value = getattr(smtpverify, name)
        if inspect.isfunction(value) and not name.startswith("_"):
            found |= {f"smtpverify.{name}({parameter})" for parameter in inspect.signature(value).parameters}
    return found


def test_every_argument_has_its_row() -> None:
    found = arguments()
    assert found - set(ROWS) - set(WITHOUT) == set(), "say how hostile values are kept out of these"
    assert (set(ROWS) | set(WITHOUT)) - found == set(), "these are gone"
    assert not set(ROWS) & set(WITHOUT)


# --- on a connection -----------------------------------------------------------------------------

REFUSALS: Any = (
    smtpverify.SMTPVerifyError,
    ValueError,
    smtplib.SMTPNotSupportedError,
    # By newer versions of email, of a header with a line end.
    getattr(email.errors, "HeaderWriteError", ValueError),
)
# The server has its say: the value was sent.
ANSWERS = (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused)
NO_LINE_END = re.compile(rb"\r(?!\n)|(?<!\r)\n")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def received(connection: Connection) -> bytes:
    """What one connection has brought, in clear or in TLS."""
    return connection.clear + connection.secure


def refused(smtp: SMTP, call: Callable[[Any, Any], object], bad: Any) -> bool:
    """Whether a value is refused, in our own words or in smtplib's."""
    kinds = REFUSALS if isinstance(bad, str) else (*REFUSALS, TypeError, AttributeError)
    try:
        call(smtp, bad)
    except kinds:
        return True
    except ANSWERS:
        return False
    return False


def is_own(address: str, given: str, argument: str) -> bool:
    """Whether an address is the one that was given, and no other; white space may fold a header."""
    if argument in ("send_message(msg)", "send_messages(messages)"):
        given += "".join(given.split())
    return address in (SENDER, RECIPIENT) or address in given


CASES = [(argument, number) for argument, rows in ROWS.items() for number in range(len(rows))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("argument", "number"), CASES)
def test_hostile_values(smtp_server: ServerFactory, kind: str, argument: str, number: int) -> None:
    """RFC 5321 4.1.1.1: a value ends no command and begins none; what is refused leaves no trace."""
    row = ROWS[argument][number]
    allowed = re.compile(row.heard, re.IGNORECASE)
    tried = KINDS[kind]
    with smtp_server(**tried.server) as server, contextlib.ExitStack() as stack:
        smtp = tried.client(HOST, server.port, LOCAL_NAME, timeout=10)
        stack.callback(smtp.close)
        smtp.ehlo()
        connection = server.connections[0]
        before, refusals = len(connection.commands), 0
        for bad in VALUES:
            written = smtp._written
            if refused(smtp, row.call, bad):
                refusals += 1
                # An RSET and a MAIL of the row's own may go before it, and an RSET behind it.
                if smtp._written == written:
                    continue
            assert smtp.sock is not None, ascii(bad)
            smtp.rset()  # the reply says that all before it was heard
            said = "\n".join(connection.commands[before:-1])
            before = len(connection.commands)
            assert not CONTROL.search(said.replace("\n", ""))
            assert allowed.fullmatch(said) or said in ahead(kind, argument, number), (ascii(bad), said)
            if PATH in row.heard and str(bad).isascii():
                assert all(is_own(path[1:-1], str(bad), argument) for path in re.findall(PATH, said)), said
        assert smtp.noop()[0] == 250
        assert connection.commands[before:] == ["noop"]
    assert not NO_LINE_END.search(received(connection))
    # Controls are refused in every place, but for what goes in base64, and a display name, which is dropped.
    assert refusals >= (len(CONTROLS) * (len(FORMS) - 1) if argument not in IN_BASE64 else 0)


IN_BASE64 = ("login(user)", "login(password)", "auth(authobject)")


def ahead(kind: str, argument: str, number: int) -> tuple[str, ...]:
    """What may be said for a value that is refused: nothing of the value is in it."""
    if (argument, number) == ("rcpt(recip)", 1):
        return (f"rset\nmail from:<{SENDER}>",)
    return ("rset",) if kind == "a subclass" else ()  # it leaves no transaction open, begun or not


# --- on the way to a connection ------------------------------------------------------------------

QUIET = r"(?:[el]hlo [^\n]+)?"
HOSTS: list[Callable[[str], str]] = [
    "{}".format,
    "mail{}.example.org".format,
    "{}mail.example.org".format,
    "mail.example.org{}".format,
    "127.0.0.1{}".format,
    "[::1{}]".format,
    "[fe80::1%{}]".format,
    "::1%a{}".format,
    "/nowhere/{}".format,
]
URLS: list[Callable[[str, str], str]] = [
    lambda bad, where: f"{bad}smtp://{where}",
    lambda bad, where: f"smtp{bad}://{where}",
    lambda bad, where: f"smtp://us{bad}er:secret@{where}",
    lambda bad, where: f"smtp://user:sec{bad}ret@{where}",
    lambda bad, where: f"smtp://{bad}{where}",
    lambda bad, where: f"smtp://{where}{bad}",
    lambda bad, where: f"smtp://{where}/{bad}",
    lambda bad, where: f"smtp://{where}?ignore-extension={bad}",
    lambda bad, where: f"smtp://{where}?{bad}=1",
    lambda bad, where: f"tls://{where}?server-name=mail{bad}.example.org",
    lambda bad, where: f"tls://{where}?pin=sha256:{bad}",
    lambda bad, where: f"tls://{where}?cafile=/nowhere/{bad}",
    lambda bad, where: f"lmtp:///nowhere/{bad}",
]
INSIDE = [*CONTROLS, *NARROWED, *SMUGGLED, " ", "<", ">", " RSET"]


def escaped(text: str) -> str:
    """The same in a URL's own way, as far as it can be said there."""
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


@dataclass
class Tried:
    """A server, and how one value after the other is tried on it."""

    server: Server
    refused: int = 0

    def meets(self, connect: Callable[..., SMTP], *arguments: Any, **options: Any) -> None:
        """Try to connect."""
        try:
            smtp = connect(*arguments, **options)
        except (smtpverify.SMTPVerifyError, UnicodeEncodeError):
            self.refused += 1
        except OSError:  # to a place that the value has become part of
            pass
        else:
            smtp.close()

    def heard(self) -> list[str]:
        """What the server was told, connection by connection; ends it."""
        self.server.close()
        assert not any(NO_LINE_END.search(received(one)) for one in self.server.connections)
        return ["\n".join(one.commands) for one in self.server.connections]


@pytest.fixture
def tried(smtp_server: ServerFactory) -> Iterator[Tried]:
    """A good server without TLS."""
    with smtp_server(before_tls=("AUTH PLAIN LOGIN",)) as server:
        yield Tried(server)


def by_connect(client: type[SMTP], host: str, port: int) -> SMTP:
    smtp = client(local_hostname=LOCAL_NAME, timeout=10)
    try:
        smtp.connect(host, port)
    except BaseException:
        assert smtp.sock is None
        raise
    return smtp


@pytest.mark.parametrize("client", [SMTP, SMTP_SSL, LMTP])
@pytest.mark.parametrize("form", range(len(HOSTS)))
def test_hosts(tried: Tried, client: type[SMTP], form: int) -> None:
    """By the constructor and by connect(): a host that is refused is not looked up, and none is sent."""
    port = tried.server.port
    for bad in INSIDE:
        host = HOSTS[form](bad)
        tried.meets(client, host, port, LOCAL_NAME, timeout=10)
        tried.meets(by_connect, client, host, port)
        with contextlib.suppress(UnicodeEncodeError):
            tried.meets(client, host.encode(), port, LOCAL_NAME, timeout=10)
    assert set(tried.heard()) <= {""}
    # A path may hold controls; the system reads it to its end, but for NUL.
    assert tried.refused >= (2 if HOSTS[form]("").startswith("/") and client is LMTP else len(CONTROLS))


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("form", range(len(URLS)))
def test_urls(tried: Tried, form: int, raw: bool) -> None:
    """Wherever a value stands in a relay URL, as it is or percent-encoded."""
    for bad in INSIDE:
        url = URLS[form](bad if raw else escaped(bad), f"127.0.0.1:{tried.server.port}")
        tried.meets(smtpverify.connect, url, local_hostname=LOCAL_NAME, timeout=10)
        client = LMTP if url.startswith("lmtp") else SMTP
        tried.meets(client, url, local_hostname=LOCAL_NAME, timeout=10)
    for said in tried.heard():
        assert re.fullmatch(rf"{QUIET}(?:\nAUTH [^\n]+)*", said), said
    assert tried.refused >= 2 * len(CONTROLS)


def test_ports(tried: Tried) -> None:
    for bad in INSIDE:
        for port in (f"{tried.server.port}{bad}", f"{bad}{tried.server.port}", bad):
            tried.meets(SMTP, HOST, port, LOCAL_NAME, timeout=10)
            tried.meets(SMTP, f"{HOST}:{port}", local_hostname=LOCAL_NAME, timeout=10)
            tried.meets(smtpverify.connect, f"smtp://{HOST}:{port}", timeout=10)
    assert tried.heard() == []
    assert tried.refused == 9 * len(INSIDE)


@pytest.mark.parametrize("connect", [SMTP, smtpverify.connect])
def test_words(tried: Tried, connect: Callable[..., SMTP]) -> None:
    """Dialects and extensions are of a known form."""
    where = f"smtp://{HOST}:{tried.server.port}"
    for bad in INSIDE:
        tried.meets(connect, where, dialect=f"opensmtpd-2012{bad}")
        tried.meets(connect, where, ignore_extensions=[f"chunking{bad}"])
    assert tried.heard() == []
    assert tried.refused == 2 * len(INSIDE)


def deliver(connect: Callable[..., SMTP], *arguments: Any, **options: Any) -> SMTP:
    with connect(*arguments, **options, timeout=10) as smtp:
        smtp.sendmail(SENDER, RECIPIENT, "x")
    return smtp


@pytest.mark.parametrize("client", [SMTP, LMTP])
def test_local_names(smtp_server: ServerFactory, client: type[SMTP]) -> None:
    protocol, scheme = (Protocol.LMTP, "lmtp") if client is LMTP else (Protocol.SMTP, "smtp")
    with smtp_server(protocol=protocol) as server:
        tried, where = Tried(server), f"{scheme}://{HOST}:{server.port}"
        for bad in INSIDE:
            for name in (bad, f"client{bad}.example.org"):
                tried.meets(deliver, client, HOST, server.port, name)
                tried.meets(deliver, smtpverify.connect, where, local_hostname=name)
    for said in tried.heard():
        assert not CONTROL.search(said.replace("\n", ""))
        assert re.fullmatch(rf"(?:[el]hlo [^\n]+\n{TRANSACTION}\n)?quit|", said, re.IGNORECASE), said
    assert tried.refused >= 4 * len(CONTROLS)


def log_in(port: int, server_hostname: str) -> SMTP:
    with SMTP(HOST, port, LOCAL_NAME, server_hostname=server_hostname, timeout=10) as smtp:
        smtp.starttls()
        smtp.login("user", "secret")
    return smtp


def test_server_names(smtp_server: ServerFactory) -> None:
    """What is no name is in no ClientHello, and no credential goes to whoever answers to it."""
    with smtp_server(tls=Tls.STARTTLS) as server:
        tried, where = Tried(server), f"tls://user:secret@127.0.0.1:{server.port}"
        for bad in INSIDE:
            name = f"mail{bad}.example.org"
            tried.meets(smtpverify.connect, where, server_hostname=name, timeout=10)
            tried.meets(log_in, server.port, name)
    assert tried.refused == 2 * len(INSIDE)
    assert server.leaked() == []
    for connection in server.connections:
        assert connection.sni is None or re.fullmatch(r"[a-z0-9.-]+", connection.sni)
