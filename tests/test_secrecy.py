"""Secrets show nowhere: they are searched for in every form that they have, in all that comes out."""

from __future__ import annotations

import contextlib
import copy
import logging
import pickle
import smtplib
import sys
import traceback
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

import smtpverify
from smtpverify import SMTP, Relay
from smtpverify.smtp import sasl
from smtpverify.smtp.credentials import Keeper
from smtpverify.smtp.secrecy import Hidden, Secret, hidden_command, scrubbed, shown
from tests.bed import HOST, Behaviour, Tls
from tests.scram import FAILURE, SUCCESS, ScramServer, due

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bed import Server
    from tests.bed.behaviour import Ask
    from tests.conftest import ServerFactory

USER = "alice"
SECRET = "s3cr\u00e4t/pass+word=%"
TOKEN = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"


def forms(secret: str) -> list[str]:
    """The secret as it is, as parts of it, and as each message that holds it goes over the wire."""
    octets = secret.encode()
    command = b64encode(b"\0" + USER.encode() + b"\0" + octets).decode()
    messages = [
        octets,
        b"\0" + USER.encode() + b"\0" + octets,
        f"user={USER}\1auth=Bearer {secret}\1\1".encode(),
    ]
    encoded = [b64encode(message).decode() for message in messages]
    # Base64 of the secret at any offset: what does not depend on its neighbours.
    inner = [
        b64encode(octets[start : len(octets) - (len(octets) - start) % 3]).decode() for start in range(3)
    ]
    return [
        secret,
        secret[:8],
        quote(secret, safe=""),
        ascii(secret)[1:-1],
        repr(octets)[2:-1],
        *encoded,
        *inner,
        *(command[start : start + 14] for start in range(10, len(command) - 14)),
    ]


def assert_hidden(text: str, *secrets: str) -> None:
    assert text
    for secret in secrets:
        for form in forms(secret):
            assert form not in text, f"{form!r} shows in {text!r}"


def test_the_search_finds_what_shows() -> None:
    for text in (
        f"AUTH PLAIN {b64encode(f'{chr(0)}{USER}{chr(0)}{SECRET}'.encode()).decode()}",
        f"tls://{USER}:{quote(SECRET, safe='')}@{HOST}",
        repr({"password": SECRET}),
        repr(SECRET.encode()),
        b64encode(f"n,a={USER},\1host={HOST}\1auth=Bearer {SECRET}\1\1".encode()).decode(),
    ):
        with pytest.raises(AssertionError, match="shows in"):
            assert_hidden(text, SECRET)


# --- everything that may come out ----------------------------------------------------------------


def of_server(mechanism: str, *, refuse: bool) -> Behaviour:
    """A server of one mechanism, which lets in or refuses, and in refusing repeats what it got."""

    def authenticate(name: str, initial: bytes | None, ask: Ask) -> str:
        got = ask(b"<1@example.org>") if initial is None else initial
        if name == "LOGIN":
            got = ask(b"Password:")
        if not refuse:
            return SUCCESS
        return f"535 5.7.8 what is {b64encode(got).decode()} or {got.decode('utf-8', 'replace')!r}?"

    extensions = ("8BITMIME", f"AUTH {mechanism}")
    authenticator: Any = authenticate
    if mechanism.startswith("SCRAM"):
        authenticator = ScramServer(b"another" if refuse else SECRET.encode())
    return Behaviour(tls=Tls.STARTTLS, after_tls=extensions, authenticator=authenticator)


def log_in(smtp: SMTP, mechanism: str) -> None:
    if "OAUTH" in mechanism:
        smtp.login_oauth2(USER, TOKEN)
    else:
        smtp.login(USER, SECRET)


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """What Python's audit events tell; hooks can't be taken away again, so this one falls silent."""
    told: list[str] = []
    listening = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if listening[0] and event.startswith("smtplib."):
            told.append(repr(arguments[1:]))

    sys.addaudithook(hook)
    yield told
    listening[0] = False


@pytest.mark.parametrize(
    "mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2"]
)
@pytest.mark.parametrize("refuse", [False, True])
def test_nothing_that_comes_out(
    smtp_server: ServerFactory,
    mechanism: str,
    refuse: bool,
    heard: list[str],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Debugging output, audit events, logs, errors and their frames, the client itself."""
    caplog.set_level(logging.DEBUG)
    out = []
    with smtp_server(of_server(mechanism, refuse=refuse)) as server:
        smtp = SMTP(HOST, server.port, timeout=5)
        smtp.set_debuglevel(2)
        smtp.starttls()
        if refuse:
            with pytest.raises(smtpverify.AuthenticationError) as raised:
                log_in(smtp, mechanism)
            out += everything_of(raised.value)
        else:
            log_in(smtp, mechanism)
        out += [repr(smtp), repr(vars(smtp)), repr(smtp.peer)]
        smtp.quit()
    said = capfd.readouterr()
    assert f"AUTH {mechanism}" in said.err
    assert any(f"AUTH {mechanism}" in each for each in heard)
    for text in (*out, said.out, said.err, *heard, f"logged: {caplog.text}"):
        assert_hidden(text or "-", SECRET, TOKEN)


def everything_of(error: BaseException) -> list[str]:
    """What an error, its causes, and the local variables of our frames under it tell."""
    told = [
        str(error),
        repr(error),
        repr(error.args),
        repr(vars(error)),
        "".join(traceback.format_exception(error)),
        repr(copy.copy(error)),
        repr(pickle.loads(pickle.dumps(error))),
    ]
    for each in (error, error.__cause__, error.__context__):
        if each is None:
            continue
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if "smtpverify" in frame.f_code.co_filename and "tests" not in frame.f_code.co_filename:
                told.append(repr(frame.f_locals))
                told += [repr(vars(value)) for value in frame.f_locals.values() if hasattr(value, "__dict__")]
    return told


FAILURES: dict[str, Behaviour] = {
    "closed": Behaviour(tls=Tls.STARTTLS, closes_after=("AUTH",), replies={"AUTH": b""}),
    "421": Behaviour(tls=Tls.STARTTLS, replies={"AUTH": "421 4.3.0 going away"}, closes_after=("AUTH",)),
    "malformed": Behaviour(
        tls=Tls.STARTTLS, replies={"AUTH": lambda line: f"what is {line}?"}, closes_after=("AUTH",)
    ),
    "repeated": Behaviour(
        tls=Tls.STARTTLS, replies={"AUTH": lambda line: f"500 5.5.1 unknown: {line}"}, closes_after=("AUTH",)
    ),
    "repeated in part": Behaviour(
        tls=Tls.STARTTLS, replies={"AUTH": lambda line: f"500 5.5.1 unknown: {line[:-5]}..."}
    ),
    "repeated and broken": Behaviour(
        tls=Tls.STARTTLS, replies={"AUTH": lambda line: f"500-5.5.1 {line[:25]}\r\n500 {line[25:]}"}
    ),
    "repeated in lines": Behaviour(
        tls=Tls.STARTTLS, replies={"AUTH": lambda line: f"500-5.5.1 unknown:\r\n500 {line}"}
    ),
    "unasked": Behaviour(
        tls=Tls.STARTTLS, replies={"AUTH": lambda line: f"535 no\r\n{line}"}, closes_after=("AUTH",)
    ),
    "senseless": Behaviour(tls=Tls.STARTTLS, replies={"AUTH": "334 !"}),
    "endless": Behaviour(
        tls=Tls.STARTTLS, after_tls=("AUTH PLAIN",), authenticator=lambda name, initial, ask: ask(b"") and "x"
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize(
    "way",
    [
        lambda server: SMTP(HOST, server.port, timeout=5),
        lambda server: smtpverify.connect(url(server), timeout=5),
        lambda server: SMTP(url(server), timeout=5),
        lambda server: smtpverify.SMTP(timeout=5).connect(url(server)),
        lambda server: smtpverify.connect(url(server, ""), password=SECRET, timeout=5),
        lambda server: smtpverify.connect(url(server, ""), password=lambda: SECRET, timeout=5),
    ],
    ids=["login", "connect", "class", "method", "argument", "callable"],
)
def test_nothing_in_what_fails(
    smtp_server: ServerFactory,
    failure: str,
    way: Callable[[Server], Any],
    heard: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    with smtp_server(FAILURES[failure]) as server:
        smtp: Any = None
        with pytest.raises((smtplib.SMTPException, OSError)) as raised:  # noqa: PT012 - the first may succeed
            smtp = way(server)
            smtp.set_debuglevel(2)
            smtp.starttls()
            smtp.login(USER, SECRET)
        if smtp is not None:
            with contextlib.suppress(smtplib.SMTPServerDisconnected):
                smtp.noop()
            smtp.close()
    for text in (*everything_of(raised.value), *heard, capfd.readouterr().err or "-"):
        assert_hidden(text, SECRET)


def url(server: Server | int, password: str = SECRET) -> str:
    userinfo = f"{USER}:{quote(password, safe='')}" if password else USER
    return f"tls://{userinfo}@{HOST}:{server if isinstance(server, int) else server.port}"


@pytest.mark.parametrize("kind", ["wrong_name", "unknown_issuer"])
def test_nothing_in_a_failed_verification(smtp_server: ServerFactory, world: Any, kind: str) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.served(kind)) as server:
        for way in (smtpverify.connect, SMTP):
            with pytest.raises(smtpverify.PeerVerificationError) as raised:
                way(url(server), timeout=5)
            for text in everything_of(raised.value):
                assert_hidden(text, SECRET)


def test_nothing_when_plaintext_is_refused(
    smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smtpverify.smtp.endpoints.is_local", lambda sock: False)
    with smtp_server() as server, SMTP(HOST, server.port, timeout=5) as smtp:
        with pytest.raises(smtpverify.PlaintextCredentialsError) as raised:
            smtp.login(USER, SECRET)
        for text in everything_of(raised.value):
            assert_hidden(text, SECRET)


@pytest.mark.parametrize(
    "by_hand",
    [
        [("AUTH", b64encode(f"\0{USER}\0{SECRET}".encode()).decode(), "PLAIN ")],
        [("auth", "", "login"), (b64encode(USER.encode()).decode(),), (b64encode(SECRET.encode()).decode(),)],
    ],
    ids=["plain", "login"],
)
def test_auth_by_hand(
    smtp_server: ServerFactory, by_hand: list[Any], heard: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Programs that write AUTH themselves, by docmd(), are covered too."""
    with smtp_server(tls=Tls.STARTTLS) as server, SMTP(HOST, server.port, timeout=5) as smtp:
        smtp.starttls()
        smtp.ehlo()
        smtp.set_debuglevel(1)
        code = 0
        for command, *rest in by_hand:
            code, _ = smtp.docmd(command, rest[1] + rest[0]) if rest else smtp.docmd(command)
        assert code == 235
        smtp.noop()
    said = capfd.readouterr().err
    assert "***" in said
    assert r"send: 'noop\r\n'" in said  # what comes after it shows again
    for text in (said, *heard):
        assert_hidden(text, SECRET)
    assert server.connections[0].credentials[0].password == SECRET


LINE = b64encode(f"\0{USER}\0{SECRET}".encode()).decode()
ANSWERS = [b64encode(text.encode()).decode() for text in (USER, SECRET)]


@pytest.mark.parametrize(
    "lines",
    [
        [f"NOOP\r\nAUTH PLAIN {LINE}\r\n"],
        [f"NOOP\r\n auth\tplain {LINE}\r\nNOOP\r\n"],
        ["AUTH LOGIN\r\n{}\r\n{}\r\n".format(*ANSWERS)],
        ["NOOP\r\nAUTH LOGIN\r\n", *(f"{answer}\r\n" for answer in ANSWERS)],
        [" " * 30 + f"AUTH PLAIN {LINE}\r\n"],
    ],
    ids=["second", "in the middle", "with its answers", "answers behind it", "far behind"],
)
@pytest.mark.parametrize("kind", [str, bytes, bytearray])
def test_auth_by_hand_in_odd_ways(
    smtp_server: ServerFactory,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[str],
    kind: type,
    heard: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Hidden in TLS, and in plaintext never sent."""
    octets = [line if kind is str else kind(line.encode()) for line in lines]
    with smtp_server(Behaviour(tls=Tls.STARTTLS)) as server:
        with SMTP(HOST, server.port, timeout=5) as smtp:
            smtp.starttls()
            smtp.set_debuglevel(1)
            for each in octets:
                smtp.send(each)
            smtp.getreply()
            smtp.close()
        monkeypatch.setattr("smtpverify.smtp.endpoints.is_local", lambda sock: False)
        with SMTP(HOST, server.port, timeout=5) as smtp:
            with pytest.raises(smtpverify.PlaintextCredentialsError):
                smtp.send(octets[0])
            smtp.close()
    assert server.connections[1].clear == b""
    said = capfd.readouterr().err
    assert "***" in said
    for text in (said, *heard):
        assert_hidden(text, SECRET)


def test_text_that_speaks_of_auth(smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that sends a message by hand may say what it likes in it, but on its first line."""
    monkeypatch.setattr("smtpverify.smtp.endpoints.is_local", lambda sock: False)
    text = b"Subject: x\r\n\r\nAuthors\r\nauth plain and simple\r\nAUTH\r\n.\r\n"
    with smtp_server() as server, SMTP(HOST, server.port, timeout=5) as smtp:
        smtp.ehlo()
        with pytest.warns(smtpverify.PlaintextWarning):
            smtp.mail("a@example.org")
        smtp.rcpt("b@example.org")
        smtp.docmd("DATA")
        smtp.send(text)
        assert smtp.getreply()[0] == 250
    assert server.connections[0].messages[0].data == text.removesuffix(b".\r\n")


@pytest.mark.parametrize("said", ["500 5.5.1 unknown: {}", "500 {:.40}", "what is {}?"])
def test_a_server_that_repeats_auth_by_hand(
    smtp_server: ServerFactory, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    replies = {"AUTH": said.format}
    behaviour = Behaviour(tls=Tls.STARTTLS, replies=replies, closes_after=("AUTH",))
    with smtp_server(behaviour) as server, SMTP(HOST, server.port, timeout=5) as smtp:
        smtp.starttls()
        smtp.ehlo()
        smtp.set_debuglevel(1)
        told = ""
        try:
            told = repr(smtp.docmd("AUTH", f"PLAIN {LINE}"))
        except smtpverify.MalformedReplyError as error:
            told = f"{error} {error!r} {vars(error)}"
        smtp.close()
    for text in (told, capfd.readouterr().err):
        assert_hidden(text, SECRET)


def test_auth_by_hand_with_a_line_end(smtp_server: ServerFactory) -> None:
    """As `base64.encodebytes` makes one."""
    with smtp_server(tls=Tls.STARTTLS) as server, SMTP(HOST, server.port, timeout=5) as smtp:
        smtp.starttls()
        smtp.ehlo()
        with pytest.raises(smtpverify.CommandArgumentError, match=r"newline characters: \*\*\*$"):
            smtp.docmd("AUTH", f"PLAIN {LINE}\n")
        smtp.docmd("AUTH LOGIN")
        smtp.docmd(ANSWERS[0])
        with pytest.raises(smtpverify.CommandArgumentError, match=r"newline characters: \*\*\*$"):
            smtp.docmd(f"{ANSWERS[1]}\n")
        assert smtp.docmd(ANSWERS[1])[0] == 235
        with pytest.raises(smtpverify.CommandArgumentError, match=r"newline characters: NOOP x\\n$"):
            smtp.docmd("NOOP", "x\n")


def test_what_shows_of_a_login(smtp_server: ServerFactory, capfd: pytest.CaptureFixture[str]) -> None:
    with smtp_server(tls=Tls.STARTTLS) as server, SMTP(HOST, server.port, timeout=5) as smtp:
        smtp.starttls()
        smtp.ehlo()
        smtp.set_debuglevel(1)
        smtp.login(USER, SECRET)
    assert capfd.readouterr().err.splitlines()[:3] == [
        r"send: 'AUTH PLAIN ***\r\n'",
        r"reply: b'235 2.7.0 Authentication successful\r\n'",
        "reply: retcode (235); Msg: b'2.7.0 Authentication successful'",
    ]


WRONG: dict[str, Any] = {
    "too new": f"{SECRET}\U0001f600",
    "directions": f"{SECRET}\u05d0",
    "prohibited": f"{SECRET}\u200e",
    "half a character": f"{SECRET}\udcff",
    "octets": SECRET.encode() + b"\xff",
    "array": bytearray(SECRET.encode()),
    "list": [SECRET],
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize(
    "way",
    [
        lambda port, wrong: in_tls(port, lambda smtp: smtp.login(USER, wrong)),
        lambda port, wrong: smtpverify.connect(url(port, ""), password=wrong, timeout=5),
        lambda port, wrong: smtpverify.connect(url(port, ""), password=lambda: wrong, timeout=5),
        lambda port, wrong: SMTP(url(port, ""), password=wrong, timeout=5),
        lambda port, wrong: SMTP(password=wrong, timeout=5).connect(url(port, "")),
        lambda port, wrong: sasl.Scram("SCRAM-SHA-1", USER, wrong),
    ],
    ids=["login", "connect", "callable", "class", "method", "mechanism"],
)
def test_nothing_of_a_password_that_can_t_be_used(
    smtp_server: ServerFactory, wrong: Any, way: Callable[[int, Any], Any]
) -> None:
    behaviour = Behaviour(tls=Tls.STARTTLS, after_tls=("AUTH SCRAM-SHA-256",))
    with (
        smtp_server(behaviour) as server,
        pytest.raises(smtpverify.CommandArgumentError, match=r"^password: ") as raised,
    ):
        way(server.port, wrong)
    for text in everything_of(raised.value):
        assert_hidden(text, SECRET)


def in_tls(port: int, do: Callable[[SMTP], object]) -> None:
    with SMTP(HOST, port, timeout=5) as smtp:
        smtp.starttls()
        do(smtp)


@pytest.mark.parametrize(
    "way",
    [
        lambda: sasl.Plain(USER, f"{SECRET}\0"),
        lambda: sasl.Plain(USER, f"{SECRET}\udcff"),
        lambda: sasl.Login(USER, f"{SECRET}\udcff"),
        lambda: sasl.Plain(f"{USER}\0", SECRET),
        lambda: sasl.Login(f"{USER}\udcff", SECRET),
        lambda: sasl.Scram("SCRAM-SHA-0", USER, SECRET),
        lambda: sasl.Scram("SCRAM-SHA-1-PLUS", USER, SECRET),
        lambda: sasl.XOAuth2(USER, f"{SECRET}\n"),
        lambda: sasl.OAuthBearer(USER, f"{SECRET}\n"),
        lambda: sasl.OAuthBearer(f"{USER}\1", TOKEN),
    ],
)
def test_nothing_of_a_mechanism_that_can_t_be(way: Callable[[], object]) -> None:
    with pytest.raises(smtpverify.CommandArgumentError) as raised:
        way()
    for text in everything_of(raised.value):
        assert_hidden(text, SECRET, TOKEN)


def test_nothing_of_a_proof() -> None:
    """On which whoever sees it can try passwords."""
    scram = sasl.Scram("SCRAM-SHA-1", USER, SECRET, nonce="n")
    scram.respond(None)
    final = scram.respond(b"r=nx,s=QSXC,i=4096") or b""
    proof, signature = due(
        "sha1", SECRET.encode(), b64decode("QSXC"), 4096, b"n=alice,r=n,r=nx,s=QSXC,i=4096,c=biws,r=nx"
    )
    assert b64decode(final.partition(b"p=")[2]) == proof
    with pytest.raises(smtpverify.ServerSignatureError) as raised:
        scram.respond(b"v=AAAA")
    for text in everything_of(raised.value):
        for octets in (proof, signature):
            assert b64encode(octets).decode() not in text
            assert repr(octets)[2:-1] not in text


@pytest.mark.parametrize("offered", ["PLAIN", "XOAUTH2"])
def test_nothing_of_a_token_that_does_not_go(smtp_server: ServerFactory, offered: str) -> None:
    """The server takes none, or it is too long."""
    with (
        smtp_server(Behaviour(tls=Tls.STARTTLS, after_tls=(f"AUTH {offered}",))) as server,
        pytest.raises((smtplib.SMTPNotSupportedError, smtpverify.CommandArgumentError)) as raised,
    ):
        in_tls(server.port, lambda smtp: smtp.login_oauth2(USER, TOKEN * 300))
    for text in everything_of(raised.value):
        assert_hidden(text, TOKEN)


# --- relays --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        "tls://alice:{}@",
        "tls://alice:{}@a..b",
        "tls://alice:{}@b@c",
        "tls://alice:{}:x@mail.example.org",
        "tls://alice:{}%zz@mail.example.org",
        "tls://alice:{}%ff@mail.example.org",
        "tls://alice:{}%00@mail.example.org",
        "tls://alice:{}@mail.example.org:0",
        "tls://alice:{}@mail.example.org/x",
        "tls://alice:{}@mail.example.org?x=y",
        "tls://alice:{}@mail.example.org?pin=x",
        "tls://alice:{}@mail.example.org?cafile=/nowhere",
        "tls://alice:{}@mail.example.org?auth=gssapi",
        "tls://alice:{}@mail.example.org?password-env=X",
        "xyz://alice:{}@mail.example.org",
        "tls//alice:{}@mail.example.org",
        "alice:{}@mail.example.org",
        "tls://alice:{} @mail.example.org",
        "lmtp://alice:{}@/path",
    ],
)
def test_nothing_of_a_url_that_can_t_be_used(broken: str) -> None:
    text = broken.format(quote(SECRET, safe=""))
    ways: list[Any] = [Relay.parse, smtpverify.connect, SMTP, smtpverify.SMTP_SSL, smtpverify.LMTP]
    for way in ways:
        for given in (text, text.encode()):
            with pytest.raises(smtpverify.RelayURLError) as raised:
                way(given)
            for told in everything_of(raised.value):
                assert_hidden(told, SECRET)


def test_a_relay_that_shows() -> None:
    relay = Relay.parse(f"tls://{USER}:{quote(SECRET, safe='')}@{HOST}")
    assert relay.password == SECRET
    for text in (str(relay), repr(relay), f"{relay}", relay.to_url(password=False)):
        assert_hidden(text, SECRET)


# --- the pieces ----------------------------------------------------------------------------------


def test_secrets_and_keepers() -> None:
    secret = Secret(SECRET)
    assert (secret.text, secret.octets) == (SECRET, SECRET.encode())
    for each in (secret, Keeper(SECRET), Keeper(lambda: SECRET), sasl.Plain(USER, SECRET)):
        for text in (repr(each), str(each), f"{each}", repr([each])):
            assert_hidden(text, SECRET)
    for hidden in (secret, Hidden(SECRET.encode())):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(hidden)


def test_hidden_commands() -> None:
    assert shown(b"NOOP\r\n") == b"NOOP\r\n"
    assert shown(hidden_command(b"AUTH PLAIN AGFs\r\n")) == b"AUTH PLAIN ***\r\n"
    assert shown(hidden_command(b"  auth\tplain  AGFs\r\n")) == b"  auth\tplain  ***\r\n"
    for open_command in (b"AUTH LOGIN\r\n", b"AUTHORS\r\n", b"EHLO AUTH PLAIN x\r\n", b"AUTH PLAIN \r\n"):
        assert hidden_command(open_command) is open_command
    hidden = hidden_command(b"AUTH PLAIN AGFs\r\nNOOP\r\n")
    assert hidden == b"AUTH PLAIN AGFs\r\nNOOP\r\n"
    assert repr(hidden) == r"b'AUTH PLAIN ***\r\n'"
    for shown_by in (repr, str, format):
        assert shown_by(Hidden(b"AGFs\r\n")) == r"b'***\r\n'"
    assert repr(Hidden(b"AGFs")) == "b'***'"


@pytest.mark.parametrize(
    ("said", "secrets", "left"),
    [
        (b"no hunter2 here", [b"hunter2"], b"no *** here"),
        (b"no aHVudGVyMg== here", [b"hunter2"], b"no ***== here"),
        (b"hunter22 hunter2", [b"hunter2", b"hunter22"], b"*** ***"),
        (b"not an abc", [b"abc"], b"not an abc"),  # too short to be told from a word
        (b"not YWJj", [b"abc"], b"not ***"),
        (b"500 what is aHVudGVyMiBodW50", [b"hunter2 hunter2 hunter2"], b"500 what is ***"),
        (b"500-aHVudGVyMi\nBodW50ZXIy?", [b"hunter2 hunter2"], b"500-***\n***?"),
        (b"aHVudGVyMiBodW50x", [b"hunter2 hunter2 hunter2"], b"aHVudGVyMiBodW50x"),
        (b"your password1 is wrong", [b"password1234"], b"your password1 is wrong"),
        (b"nothing", [], b"nothing"),
        (b"nothing", [b""], b"nothing"),
    ],
)
def test_scrubbed(said: bytes, secrets: list[bytes], left: bytes) -> None:
    assert scrubbed(said, secrets) == left


def test_a_refusal_stays_readable(smtp_server: ServerFactory) -> None:
    """The user's name is no secret, and what the server says of it stays."""
    replies = {"AUTH": "535 5.7.8 no user alice, and no secret2 here"}
    with smtp_server(tls=Tls.STARTTLS, replies=replies) as server, SMTP(HOST, server.port, timeout=5) as smtp:
        smtp.starttls()
        with pytest.raises(smtpverify.AuthenticationError) as raised:
            smtp.login(USER, "secret2")
    assert raised.value.smtp_error == b"5.7.8 no user alice, and no *** here"
    assert FAILURE.startswith("535")


@pytest.mark.parametrize(
    "challenge",
    [lambda sent: f"334 what is {sent}?", lambda sent: f"334 {sent.split()[-1]}"],
    ids=["not Base64", "Base64"],
)
def test_nothing_in_a_challenge_that_repeats(
    smtp_server: ServerFactory, challenge: Callable[[str], str]
) -> None:
    replies = {"AUTH": challenge}
    with smtp_server(tls=Tls.STARTTLS, replies=replies) as server, SMTP(HOST, server.port, timeout=5) as smtp:
        smtp.starttls()
        with pytest.raises(smtpverify.AuthenticationError) as raised:
            smtp.login(USER, SECRET, mechanism="PLAIN")
    for text in everything_of(raised.value):
        assert_hidden(text, SECRET)


def test_nothing_in_challenges_without_end(smtp_server: ServerFactory) -> None:
    def repeat(mechanism: str, initial: bytes | None, ask: Ask) -> str:
        said = initial or b""
        while True:
            said = ask(said)

    behaviour = Behaviour(tls=Tls.STARTTLS, authenticator=repeat)
    with smtp_server(behaviour) as server, SMTP(HOST, server.port, timeout=5) as smtp:
        smtp.starttls()
        smtp.ehlo()
        with pytest.raises(smtpverify.AuthenticationError, match="infinite loop") as raised:
            smtp.auth("PLAIN", lambda challenge=None: f"\0{USER}\0{SECRET}")
    for text in everything_of(raised.value):
        assert_hidden(text, SECRET)
