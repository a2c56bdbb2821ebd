"""Logging in: which mechanism goes to whom, what a refusal costs, and servers that lie."""

from __future__ import annotations

import hmac
import smtplib
from base64 import b64encode
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from smtpverify import (
    SMTP,
    AuthenticationError,
    CommandArgumentError,
    ServerSignatureError,
    Trust,
    schemes,
    stdlib,
)
from smtpverify.smtp import sasl
from smtpverify.tls.binding import server_end_point
from tests.bed import HOST, Behaviour, Server, Tls, World
from tests.bed.certs import CLIENT_AUTH
from tests.scram import FAILURE, SUCCESS, ScramServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bed.behaviour import Ask
    from tests.conftest import ServerFactory

TOKEN = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
JSON = b'{"status":"invalid_token","scope":"mail"}'


def offering(mechanisms: str, **fields: Any) -> Behaviour:
    """A server that offers these mechanisms in TLS, and says so in plaintext too."""
    extensions = ("8BITMIME", f"AUTH {mechanisms}")
    return Behaviour(tls=Tls.STARTTLS, before_tls=extensions, after_tls=extensions, **fields)


def in_tls(server: Server, **options: Any) -> SMTP:
    smtp = SMTP(HOST, server.port, timeout=5, **options)
    smtp.starttls()
    return smtp


def auths(server: Server) -> list[str]:
    """The mechanisms that were tried, in order."""
    commands = [command for connection in server.connections for command in connection.commands]
    return [command.split()[1] for command in commands if command.startswith("AUTH ")]


# --- the choice ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ("PLAIN", "PLAIN"),
        ("LOGIN", "LOGIN"),
        ("LOGIN PLAIN", "PLAIN"),
        ("plain login cram-md5", "CRAM-MD5"),
        ("PLAIN SCRAM-SHA-1 CRAM-MD5", "SCRAM-SHA-1"),
        ("PLAIN SCRAM-SHA-1 SCRAM-SHA-256", "SCRAM-SHA-256"),
        ("GSSAPI SCRAM-SHA-256 SCRAM-SHA-1-PLUS PLAIN", "SCRAM-SHA-1-PLUS"),
        ("SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"),
        ("XOAUTH2 OAUTHBEARER NTLM LOGIN", "LOGIN"),
    ],
)
def test_the_strongest_is_taken(smtp_server: ServerFactory, world: World, offered: str, taken: str) -> None:
    """Over a good server, which lets those in who know the password, by whatever mechanism."""
    scram = ScramServer(
        binding=server_end_point(smtpverify.Certificate.from_der(world.good().leaf_der)) or b""
    )
    behaviour = offering(offered, authenticator=scram if taken.startswith("SCRAM") else None)
    with smtp_server(behaviour) as server, in_tls(server) as smtp:
        assert smtp.mechanism is None
        assert smtp.login("alice", "secret") == (235, b"2.7.0 Authentication successful")
        assert smtp.mechanism == taken
    assert auths(server) == [taken]
    if taken.startswith("SCRAM"):
        assert scram.users == [b"alice"]
    elif taken != "CRAM-MD5":
        (credential,) = server.connections[0].credentials
        assert (credential.username, credential.password) == ("alice", "secret")


def test_the_order_is_the_one_of_the_documents() -> None:
    assert schemes.PASSWORD == (
        "SCRAM-SHA-256-PLUS",
        "SCRAM-SHA-1-PLUS",
        "SCRAM-SHA-256",
        "SCRAM-SHA-1",
        "CRAM-MD5",
        "PLAIN",
        "LOGIN",
    )


@pytest.mark.parametrize("named", ["PLAIN", "plain"])
def test_a_mechanism_by_name(smtp_server: ServerFactory, named: str) -> None:
    with smtp_server(offering("SCRAM-SHA-256 CRAM-MD5 PLAIN")) as server:
        with in_tls(server) as smtp:
            smtp.login("alice", "secret", mechanism=named)
        url = f"tls://alice:secret@{HOST}:{server.port}?auth={named}"
        with smtpverify.connect(url, timeout=5) as smtp:
            assert smtp.mechanism == "PLAIN"
    assert auths(server) == ["PLAIN", "PLAIN"]


@pytest.mark.parametrize(
    ("offered", "options", "why"),
    [
        ("GSSAPI NTLM", {}, r"^No suitable authentication method found\. The server offers GSSAPI, NTLM"),
        ("PLAIN", {"mechanism": "SCRAM-SHA-256"}, r"offers PLAIN; wanted was SCRAM-SHA-256$"),
        ("XOAUTH2", {}, r"login_oauth2\(\) takes a token$"),
    ],
)
def test_no_mechanism(smtp_server: ServerFactory, offered: str, options: Any, why: str) -> None:
    with smtp_server(offering(offered)) as server, in_tls(server) as smtp:
        with pytest.raises(smtplib.SMTPNotSupportedError, match=why):
            smtp.login("alice", "secret", **options)
        assert smtp.noop()[0] == 250
    assert auths(server) == []


def test_an_offer_that_is_no_text(smtp_server: ServerFactory) -> None:
    refuse = {"AUTH": "535 5.7.8 no"}
    with smtp_server(offering("\x1b[2J PLAIN", replies=refuse)) as server, in_tls(server) as smtp:
        with pytest.raises(AuthenticationError, match=r"it offers \\x1b\[2J, PLAIN$"):
            smtp.login("alice", "secret")
        with pytest.raises(smtplib.SMTPNotSupportedError, match=r"offers \\x1b\[2J, PLAIN; wanted"):
            smtp.login("alice", "secret", mechanism="LOGIN")


def test_no_auth(smtp_server: ServerFactory) -> None:
    with (
        smtp_server(Behaviour(tls=Tls.STARTTLS, after_tls=("8BITMIME",))) as server,
        in_tls(server) as smtp,
        pytest.raises(smtplib.SMTPNotSupportedError, match="AUTH extension not supported"),
    ):
        smtp.login("alice", "secret")
    assert auths(server) == []


@pytest.mark.parametrize("named", ["XOAUTH2", "GSSAPI", "", "PLAIN\r\nNOOP"])
def test_a_name_of_no_mechanism_for_a_password(smtp_server: ServerFactory, named: str) -> None:
    with (
        smtp_server(offering("PLAIN XOAUTH2")) as server,
        in_tls(server) as smtp,
        pytest.raises(CommandArgumentError, match=r"^mechanism: .* is none of SCRAM-SHA-256-PLUS, "),
    ):
        smtp.login("alice", "secret", mechanism=named)
    assert auths(server) == []


def test_without_md5(smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where policy forbids it, as in FIPS mode."""
    monkeypatch.setattr(smtplib, "_have_cram_md5_support", False, raising=False)
    with smtp_server(offering("CRAM-MD5 PLAIN"), offering("CRAM-MD5")) as server:
        with in_tls(server) as smtp:
            smtp.login("alice", "secret")
        with in_tls(server) as smtp, pytest.raises(smtplib.SMTPNotSupportedError, match="No suitable"):
            smtp.login("alice", "secret")
    assert auths(server) == ["PLAIN"]


def test_md5_is_here_and_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stdlib.has_cram_md5()

    def blocked(*args: object) -> None:
        raise ValueError("digest is blocked")

    monkeypatch.setattr(hmac, "new", blocked)
    assert not stdlib.has_cram_md5()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_other_letters(smtp_server: ServerFactory, mechanism: str) -> None:
    with smtp_server(offering(mechanism)) as server:
        with in_tls(server) as smtp:
            smtp.login("\u00e4lice", "s\u00e4cret\u20ac")
        with smtpverify.connect(f"tls://%C3%A4lice:s%C3%A4cret%E2%82%AC@{HOST}:{server.port}", timeout=5):
            pass
    for connection in server.connections:
        (credential,) = connection.credentials
        assert (credential.username, credential.password) == ("\u00e4lice", "s\u00e4cret\u20ac")


def test_scram_prepares_other_letters(smtp_server: ServerFactory) -> None:
    scram = ScramServer("p\u00e4ss".encode())
    with smtp_server(offering("SCRAM-SHA-256", authenticator=scram)) as server, in_tls(server) as smtp:
        assert smtp.login("alice", "pa\u0308ss")[0] == 235
    with smtp_server(offering("SCRAM-SHA-256 PLAIN")) as server, in_tls(server) as smtp:
        with pytest.raises(CommandArgumentError, match=r"^password: .* PLAIN"):
            smtp.login("alice", "\U0001f600")
        assert smtp.login("alice", "\U0001f600", mechanism="plain")[0] == 235
    assert auths(server) == ["PLAIN"]


# --- a refusal -----------------------------------------------------------------------------------


@pytest.mark.parametrize("offered", ["SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN", "CRAM-MD5 LOGIN", "PLAIN LOGIN"])
@pytest.mark.parametrize("reply", [FAILURE, "454 4.7.0 later", "534 5.7.9 too weak", "503 5.5.1 Already"])
def test_once_is_enough(smtp_server: ServerFactory, offered: str, reply: str) -> None:
    """No weaker mechanism gets the password that a stronger did not get through."""
    behaviour = offering(offered, authenticator=lambda mechanism, initial, ask: reply)
    with smtp_server(behaviour) as server, in_tls(server) as smtp:
        with pytest.raises(AuthenticationError) as raised:
            smtp.login("alice", "secret")
        assert smtp.noop()[0] == 250
    strongest = offered.split(maxsplit=1)[0]
    assert auths(server) == [strongest]
    error = raised.value
    assert (error.smtp_code, error.smtp_error) == (int(reply[:3]), reply[4:].encode())
    assert (error.mechanism, error.offered) == (strongest, tuple(offered.split()))
    hint = (
        f". If the password is right, the server may not have it in the form for {strongest}; "
        'mechanism="PLAIN", or auth=plain in a URL, sends it as it is'
    )
    if reply != FAILURE or strongest == "PLAIN":
        hint = ""
    assert str(error) == (
        f"{HOST}:{server.port}: the server refused {strongest}: {reply}; "
        f"it offers {', '.join(offered.split())}{hint}"
    )
    assert isinstance(error, smtplib.SMTPAuthenticationError)


def test_what_is_offered_and_not_there(smtp_server: ServerFactory) -> None:
    """504 says that the mechanism is unknown (RFC 4954 4), and nothing of the password."""

    def unknown(mechanism: str, initial: bytes | None, ask: Ask) -> str:
        return SUCCESS if mechanism == "LOGIN" else "504 5.5.4 Unrecognized authentication type"

    offered = "SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN"
    with smtp_server(offering(offered, authenticator=unknown)) as server, in_tls(server) as smtp:
        assert smtp.login("alice", "secret")[0] == 235
        assert smtp.mechanism == "LOGIN"
    assert auths(server) == ["SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"]
    with (
        smtp_server(offering("PLAIN LOGIN", authenticator=unknown)) as server,
        in_tls(server) as smtp,
        pytest.raises(AuthenticationError, match="refused PLAIN: 504"),
    ):
        smtp.login("alice", "secret", mechanism="PLAIN")
    assert auths(server) == ["PLAIN"]


def test_503_is_no_success(smtp_server: ServerFactory) -> None:
    replies = {"AUTH": "503 5.5.1 Already authenticated"}
    with smtp_server(offering("PLAIN", replies=replies)) as server, in_tls(server) as smtp:
        with pytest.raises(AuthenticationError, match="refused PLAIN: 503"):
            smtp.auth("PLAIN", lambda challenge=None: "\0alice\0secret")
        assert smtp.mechanism is None


def test_a_second_login(smtp_server: ServerFactory) -> None:
    """The same user's is not sent; another's is an error (RFC 4954 4)."""
    with (
        smtp_server(offering("PLAIN XOAUTH2 EXTERNAL")) as server,
        smtpverify.connect(f"tls://alice:secret@{HOST}:{server.port}", timeout=5) as smtp,
    ):
        assert smtp.login("alice", "secret")[0] == 503
        assert smtp.login_oauth2("alice", TOKEN)[0] == 503
        assert smtp.login_external("alice")[0] == 503
        for again in (smtp.login, smtp.login_oauth2):
            with pytest.raises(AuthenticationError, match="logged in already, as another user") as raised:
                again("bob", "secret")
            assert raised.value.smtp_code == 503
        with pytest.raises(AuthenticationError, match="logged in already, with another password"):
            smtp.login("alice", "guess")
        assert smtp.noop()[0] == 250
        smtp.connect(f"tls://{HOST}:{server.port}")
        assert smtp.mechanism is None
        assert smtp.login("bob", "secret")[0] == 235
    assert auths(server) == ["PLAIN", "PLAIN"]


# --- SCRAM's servers -----------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
@pytest.mark.parametrize(
    ("lie", "why"),
    [
        ("signature", "the server's signature is wrong: it does not know the password"),
        ("silent", "the server accepted without proving that it knows the password"),
        ("early", "the server accepted without proving that it knows the password"),
    ],
)
def test_an_impostor(smtp_server: ServerFactory, mechanism: str, lie: str, why: str) -> None:
    """Nothing goes on with a server that says yes and does not know the password."""
    behaviour = offering(f"{mechanism} PLAIN", authenticator=ScramServer(lie=lie))
    with smtp_server(behaviour) as server:
        smtp = in_tls(server)
        with pytest.raises(ServerSignatureError, match=why) as raised:
            smtp.login("alice", "secret")
        assert (raised.value.host, raised.value.mechanism) == (HOST, mechanism)
        assert smtp.sock is None
        assert smtp.mechanism is None
        with pytest.raises(
            smtplib.SMTPServerDisconnected, match=r"connection was closed: .*(prov|signature)"
        ):
            smtp.sendmail("alice@example.org", "bob@example.org", "secret things")
    assert auths(server) == [mechanism]
    assert server.messages == []


def test_a_proof_is_not_another_s(smtp_server: ServerFactory) -> None:
    """What was proved in one exchange lets nobody in in the next."""
    scram = sasl.Scram("SCRAM-SHA-256", "alice", "secret")
    servers = [offering("SCRAM-SHA-256", authenticator=ScramServer(lie=lie)) for lie in ("", "early")]
    with smtp_server(*servers) as server:
        with in_tls(server) as smtp:
            assert smtp.auth("SCRAM-SHA-256", scram)[0] == 235
        with in_tls(server) as smtp:
            for initial_response_ok in (True, False):
                with pytest.raises(CommandArgumentError, match="serves one exchange; make another"):
                    smtp.auth("SCRAM-SHA-256", scram, initial_response_ok=initial_response_ok)
    assert len(auths(server)) == 1


@pytest.mark.parametrize(
    ("lie", "why"), [("replay", "nonce does not go on"), ("iterations", "wants 1 iterations")]
)
def test_challenges_out_of_bounds(smtp_server: ServerFactory, lie: str, why: str) -> None:
    with smtp_server(offering("SCRAM-SHA-256 PLAIN", authenticator=ScramServer(lie=lie))) as server:
        smtp = in_tls(server)
        with pytest.raises(AuthenticationError, match=why):
            smtp.login("alice", "secret")
        assert smtp.sock is None
    assert auths(server) == ["SCRAM-SHA-256"]


def test_a_wrong_password(smtp_server: ServerFactory) -> None:
    scram = ScramServer()
    with smtp_server(offering("SCRAM-SHA-256 PLAIN", authenticator=scram)) as server, in_tls(server) as smtp:
        with pytest.raises(AuthenticationError, match="refused SCRAM-SHA-256: 535"):
            smtp.login("alice", "guess")
        assert smtp.login("alice", "secret")[0] == 235  # another password is another try
    assert auths(server) == ["SCRAM-SHA-256", "SCRAM-SHA-256"]


def test_the_server_s_own_reason(smtp_server: ServerFactory) -> None:
    def complaining(mechanism: str, initial: bytes | None, ask: Ask) -> str:
        assert ask(b"e=unknown-user\x1b[2J") == b""
        return FAILURE

    with smtp_server(offering("SCRAM-SHA-256", authenticator=complaining)) as server, in_tls(server) as smtp:
        with pytest.raises(AuthenticationError, match=r"535 .*it says: e=unknown-user\\x1b\[2J;") as raised:
            smtp.login("alice", "secret")
        assert raised.value.complaint == b"e=unknown-user\x1b[2J"


@pytest.mark.parametrize(
    ("offered", "header"),
    [
        ("SCRAM-SHA-256", b"y,,"),  # we would have bound
        ("SCRAM-SHA-256 SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,"),
    ],
)
def test_binding_to_the_channel(
    smtp_server: ServerFactory, world: World, offered: str, header: bytes
) -> None:
    leaf = smtpverify.Certificate.from_der(world.good().leaf_der)
    scram = ScramServer(binding=server_end_point(leaf) or b"")
    with smtp_server(offering(offered, authenticator=scram)) as server, in_tls(server) as smtp:
        assert smtp.login("alice", "secret")[0] == 235
    assert scram.headers == [header]


def test_somebody_with_another_certificate_in_between(smtp_server: ServerFactory) -> None:
    """The proof is bound to his certificate, and of no use before the server's own."""
    scram = ScramServer(binding=b"the hash of another certificate")
    behaviour = offering("SCRAM-SHA-256 SCRAM-SHA-256-PLUS PLAIN", authenticator=scram)
    with (
        smtp_server(behaviour) as server,
        in_tls(server) as smtp,
        pytest.raises(AuthenticationError, match="refused SCRAM-SHA-256-PLUS: 535"),
    ):
        smtp.login("alice", "secret")
    assert auths(server) == ["SCRAM-SHA-256-PLUS"]


def test_where_plus_is_offered_and_not_wanted(smtp_server: ServerFactory) -> None:
    """`y` would make the server believe that its offer was hidden from us."""
    scram = ScramServer()
    behaviour = offering("SCRAM-SHA-256 SCRAM-SHA-256-PLUS", authenticator=scram)
    with smtp_server(behaviour) as server, in_tls(server) as smtp:
        assert smtp.login("alice", "secret", mechanism="SCRAM-SHA-256")[0] == 235
    assert scram.headers == [b"n,,"]


def test_on_loopback_there_is_nothing_to_bind_to(smtp_server: ServerFactory) -> None:
    scram = ScramServer()
    offered = ("AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256",)
    with (
        smtp_server(before_tls=offered, authenticator=scram) as server,
        SMTP("127.0.0.1", server.port, timeout=5) as smtp,
    ):
        assert smtp.login("alice", "secret")[0] == 235
    assert scram.headers == [b"n,,"]


# --- tokens --------------------------------------------------------------------------------------


def bearer(seen: list[bytes], *, accept: bool = True) -> Callable[[str, bytes | None, Ask], str]:
    """Take the first message of OAUTHBEARER or XOAUTH2, and refuse it in their way or not."""

    def authenticate(mechanism: str, initial: bytes | None, ask: Ask) -> str:
        seen.append(ask(b"") if initial is None else initial)
        if accept:
            return SUCCESS
        seen.append(ask(JSON))
        return FAILURE

    return authenticate


@pytest.mark.parametrize(
    ("offered", "named", "taken"),
    [
        ("XOAUTH2 OAUTHBEARER PLAIN", None, "OAUTHBEARER"),
        ("LOGIN XOAUTH2", None, "XOAUTH2"),
        ("XOAUTH2 OAUTHBEARER", "xoauth2", "XOAUTH2"),
    ],
)
def test_tokens(smtp_server: ServerFactory, offered: str, named: str | None, taken: str) -> None:
    seen: list[bytes] = []
    with smtp_server(offering(offered, authenticator=bearer(seen))) as server, in_tls(server) as smtp:
        assert smtp.login_oauth2("alice@example.org", lambda: TOKEN, mechanism=named)[0] == 235
        assert smtp.mechanism == taken
    where = f"host={HOST}\1port={server.port}\1"
    expected = {
        "OAUTHBEARER": f"n,a=alice@example.org,\1{where}auth=Bearer {TOKEN}\1\1",
        "XOAUTH2": f"user=alice@example.org\1auth=Bearer {TOKEN}\1\1",
    }
    assert seen == [expected[taken].encode()]


@pytest.mark.parametrize(("offered", "answer"), [("OAUTHBEARER", b"\1"), ("XOAUTH2", b"")])
def test_a_token_that_is_refused(smtp_server: ServerFactory, offered: str, answer: bytes) -> None:
    seen: list[bytes] = []
    behaviour = offering(offered, authenticator=bearer(seen, accept=False))
    with smtp_server(behaviour) as server, in_tls(server) as smtp:
        with pytest.raises(AuthenticationError) as raised:
            smtp.login_oauth2("alice@example.org", TOKEN)
        assert smtp.noop()[0] == 250
    assert seen[1:] == [answer]
    assert raised.value.complaint == JSON
    assert f"it says: {JSON.decode()}; it offers {offered}" in str(raised.value)


def test_a_token_is_asked_for_once_and_late(smtp_server: ServerFactory) -> None:
    """Not for a server that is not verified, nor for one that has no use for it."""
    asked = []

    def fresh() -> str:
        asked.append(1)
        return TOKEN

    with smtp_server(offering("PLAIN"), offering("XOAUTH2", authenticator=bearer([]))) as server:
        with (
            in_tls(server) as smtp,
            pytest.raises(smtplib.SMTPNotSupportedError, match="wanted was OAUTHBEARER or"),
        ):
            smtp.login_oauth2("alice", fresh)
        assert asked == []
        with in_tls(server) as smtp:
            smtp.login_oauth2("alice", fresh)
        assert asked == [1]


def test_a_callable_that_fails(smtp_server: ServerFactory) -> None:
    def broken() -> str:
        raise LookupError("no vault")

    with smtp_server(offering("XOAUTH2")) as server, in_tls(server) as smtp:
        with pytest.raises(LookupError, match="no vault"):
            smtp.login_oauth2("alice", broken)
        assert smtp.noop()[0] == 250
    assert auths(server) == []


def test_a_long_token_waits_for_its_challenge(smtp_server: ServerFactory) -> None:
    """RFC 4954 4: an AUTH command has 512 octets at most, and a response 12288."""
    seen: list[bytes] = []
    with smtp_server(offering("XOAUTH2", authenticator=bearer(seen))) as server:
        for length in (300, 360, 3000):
            with in_tls(server) as smtp:
                assert smtp.login_oauth2("alice", "t" * length)[0] == 235
        with in_tls(server) as smtp:
            with pytest.raises(CommandArgumentError, match=r"has \d+ octets, too many"):
                smtp.login_oauth2("alice", "t" * 9300)
            assert smtp.noop()[0] == 250
    commands = [line for each in server.connections for line in each.commands if line.startswith("AUTH")]
    assert [line == "AUTH XOAUTH2" for line in commands] == [False, True, True]
    assert all(len(line) <= 510 for line in commands)
    assert [first.count(b"t" * 300) for first in seen] == [1, 1, 10]


# --- client certificates -------------------------------------------------------------------------


def test_external(smtp_server: ServerFactory, world: World, tmp_path: Path) -> None:
    seen: list[bytes | None] = []

    def external(mechanism: str, initial: bytes | None, ask: Ask) -> str:
        seen.append(initial)
        return SUCCESS

    issued = world.root.issue("alice", extended_key_usage=(CLIENT_AUTH,))
    certificate, key = issued.write(tmp_path, "client")
    behaviour = offering("PLAIN EXTERNAL", authenticator=external, client_roots=(world.root,))
    with smtp_server(behaviour) as server:
        with in_tls(server, trust=Trust(client_cert=certificate, client_key=key)) as smtp:
            assert smtp.login_external()[0] == 235
            assert smtp.mechanism == "EXTERNAL"
        query = f"client-cert={certificate}&client-key={key}&auth=external"
        with smtpverify.connect(f"tls://{HOST}:{server.port}?{query}", timeout=5) as smtp:
            assert smtp.mechanism == "EXTERNAL"
        with smtpverify.connect(f"tls://bob@{HOST}:{server.port}?{query}", timeout=5) as smtp:
            assert smtp.mechanism == "EXTERNAL"
    assert seen == [b"", b"", b"bob"]
    assert [each.commands[-2] for each in server.connections] == [
        "AUTH EXTERNAL =",
        "AUTH EXTERNAL =",
        f"AUTH EXTERNAL {b64encode(b'bob').decode()}",
    ]


def test_external_that_is_not_offered(smtp_server: ServerFactory) -> None:
    with (
        smtp_server(offering("PLAIN")) as server,
        in_tls(server) as smtp,
        pytest.raises(smtplib.SMTPNotSupportedError, match="offers PLAIN; wanted was EXTERNAL"),
    ):
        smtp.login_external()


# --- auth() --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("334 not base64!", r"the server's challenge is not Base64 .*: 'not base64!'"),
        ("334 QUJD=QUJD", "not Base64"),
        ("334 QUJ", "not Base64"),
        ("334 \x1b[2J", r"not Base64 .*\\x1b"),
    ],
)
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"])
def test_challenges_that_are_not_base64(
    smtp_server: ServerFactory, line: str, why: str, mechanism: str
) -> None:
    def senseless(mechanism: str, initial: bytes | None, ask: Ask) -> str:
        ask(line)
        return SUCCESS

    with smtp_server(offering(mechanism, authenticator=senseless)) as server:
        smtp = in_tls(server)
        with pytest.raises(AuthenticationError, match=why) as raised:
            smtp.login("alice", "secret", initial_response_ok=mechanism != "LOGIN")
        assert (raised.value.smtp_code, raised.value.host) == (-1, HOST)
        assert smtp.sock is None


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "XOAUTH2"])
def test_challenges_without_end(smtp_server: ServerFactory, mechanism: str) -> None:
    asked = []

    def endless(mechanism: str, initial: bytes | None, ask: Ask) -> str:
        while True:
            asked.append(ask(b"username, please"))

    with smtp_server(offering(mechanism, authenticator=endless)) as server:
        smtp = in_tls(server)
        log_in = smtp.login_oauth2 if mechanism == "XOAUTH2" else smtp.login
        with pytest.raises(AuthenticationError, match=r"had been said|infinite loop|no server-first"):
            log_in("alice", "secret")
        assert smtp.sock is None
    assert len(asked) <= 5
    if mechanism == "LOGIN":  # asked for a name again and again, it never gives the password
        assert set(asked) == {b"alice"}


def test_smtplib_s_own_authobjects(smtp_server: ServerFactory) -> None:
    """Programs set `user` and `password`, and hand over a method."""
    with smtp_server(offering("PLAIN LOGIN CRAM-MD5")) as server:
        for mechanism, method in (
            ("PLAIN", "auth_plain"),
            ("LOGIN", "auth_login"),
            ("CRAM-MD5", "auth_cram_md5"),
        ):
            for initial in (True, False):
                with in_tls(server) as smtp:
                    smtp.ehlo()
                    smtp.user, smtp.password = "alice", "secret"
                    assert smtp.auth(mechanism, getattr(smtp, method), initial_response_ok=initial)[0] == 235
    passwords = {each.password for connection in server.connections for each in connection.credentials}
    assert passwords == {"secret", ""}


class Foreign:
    """An authobject with attributes that are called as ours are, and mean something else."""

    identity = 5
    complaint = None

    def __call__(self, challenge: bytes | None = None) -> str:
        return "\0alice\0secret"


@pytest.mark.parametrize("user", [None, b"alice"])
def test_an_authobject_that_looks_like_ours(smtp_server: ServerFactory, user: Any) -> None:
    refusing = offering("PLAIN", auth_reply=FAILURE)
    with smtp_server(offering("PLAIN"), refusing) as server:
        with in_tls(server) as smtp:
            smtp.user = user
            assert smtp.auth("PLAIN", Foreign())[0] == 235
        with in_tls(server) as smtp, pytest.raises(AuthenticationError, match="refused PLAIN: 535") as raised:
            smtp.auth("PLAIN", Foreign())
    assert raised.value.complaint == b""


def test_an_authobject_may_give_octets(smtp_server: ServerFactory) -> None:
    with smtp_server(offering("PLAIN")) as server, in_tls(server) as smtp:
        smtp.ehlo()
        assert smtp.auth("plain", sasl.Plain("alice", "s\u00e4cret"))[0] == 235
        assert smtp.auth("PLAIN", lambda challenge=None: b"\0bob\0secret")[0] == 235
    assert [each.password for each in server.connections[0].credentials] == ["s\u00e4cret", "secret"]


def test_an_authobject_that_fails(smtp_server: ServerFactory) -> None:
    """In the midst of an exchange the server would take the next command for an answer."""

    def broken(challenge: bytes | None = None) -> str:
        if challenge is None:
            raise LookupError("before")
        raise LookupError("between")

    with smtp_server(offering("LOGIN")) as server:
        smtp = in_tls(server)
        smtp.ehlo()
        with pytest.raises(LookupError, match="before"):
            smtp.auth("LOGIN", broken)
        assert smtp.noop()[0] == 250
        with pytest.raises(LookupError, match="between"):
            smtp.auth("LOGIN", broken, initial_response_ok=False)
        assert smtp.sock is None
        with pytest.raises(smtplib.SMTPServerDisconnected, match="between"):
            smtp.noop()


class WithItsOwn(SMTP):
    """A subclass that answers PLAIN itself, from the attributes that smtplib sets."""

    def auth_plain(self, challenge: Any = None) -> str:
        return f"\0{self.user}\0{self.password}-and-a-code"


def test_a_mechanism_put_into_the_object(smtp_server: ServerFactory) -> None:
    with smtp_server(offering("PLAIN")) as server, in_tls(server) as smtp:
        own: Any = lambda challenge=None: f"\0{smtp.user}\0{smtp.password[::-1]}"  # noqa: E731
        smtp.auth_plain = own  # type: ignore[method-assign]
        assert smtp.login("alice", "secret")[0] == 235
    assert server.connections[0].credentials[0].password == "terces"


def test_a_subclass_s_own_mechanism(smtp_server: ServerFactory) -> None:
    with smtp_server(offering("PLAIN")) as server, WithItsOwn(HOST, server.port, timeout=5) as smtp:
        smtp.starttls()
        assert smtp.login("alice", "secret")[0] == 235
        assert smtp.mechanism == "PLAIN"
        assert not hasattr(smtp, "password")
    assert [each.password for each in server.connections[0].credentials] == ["secret-and-a-code"]


@pytest.mark.parametrize("mechanism", ["", "A B", "PLAIN\r\n", "\u00c4", "X" * 21, "PLAIN AGE="])
def test_what_is_no_name_of_a_mechanism(smtp_server: ServerFactory, mechanism: str) -> None:
    with (
        smtp_server(offering("PLAIN")) as server,
        in_tls(server) as smtp,
        pytest.raises(CommandArgumentError, match="no name of one"),
    ):
        smtp.auth(mechanism, lambda challenge=None: "x")
    assert auths(server) == []


# --- where it does not go ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces",
    [["AU", "TH PLAIN "], ["NOOP\r\n  A", "UTH"], [" " * 80, "auth"], ["X" * 70 + "\rA", "UTH PLAIN "]],
)
def test_not_over_plaintext_piece_by_piece(
    smtp_server: ServerFactory,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    pieces: list[str],
) -> None:
    """By hand, in pieces of a line: refused over plaintext, and hidden in TLS."""
    secret = "AGFsaWNlAHNlY3JldA=="
    with smtp_server(tls=Tls.STARTTLS) as server:
        smtp = in_tls(server)
        smtp.set_debuglevel(1)
        for piece in (*pieces, f" PLAIN {secret}"):
            smtp.send(piece)
        smtp.close()
        assert secret not in capfd.readouterr().err
        monkeypatch.setattr("smtpverify.smtp.endpoints.is_local", lambda sock: False)
        smtp = SMTP(HOST, server.port, timeout=5)
        with pytest.raises(smtpverify.PlaintextCredentialsError):
            deque(map(smtp.send, (*pieces, f" PLAIN {secret}\r\n")), 0)
        smtp.close()
    assert secret.encode() not in server.connections[1].clear


@pytest.mark.parametrize(
    "log_in",
    [
        lambda smtp: smtp.login("alice", "secret"),
        lambda smtp: smtp.login("alice", "secret", mechanism="SCRAM-SHA-256"),
        lambda smtp: smtp.login_oauth2("alice", TOKEN),
        lambda smtp: smtp.login_external("alice"),
        lambda smtp: smtp.auth("PLAIN", sasl.Plain("alice", "secret")),
    ],
)
@pytest.mark.parametrize("stripped", [False, True])
def test_not_over_plaintext(
    smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch, log_in: Any, stripped: bool
) -> None:
    """Before a byte, also where somebody has taken STARTTLS out of what the server offers."""
    monkeypatch.setattr("smtpverify.smtp.endpoints.is_local", lambda sock: False)
    offered = ("AUTH PLAIN SCRAM-SHA-256 XOAUTH2 EXTERNAL",)
    with smtp_server(before_tls=offered, tls=Tls.NONE) as server:
        with SMTP(HOST, server.port, timeout=5) as smtp:
            if stripped:
                smtp.ehlo()
                assert not smtp.has_extn("starttls")
            with pytest.raises(smtpverify.PlaintextCredentialsError):
                log_in(smtp)
            assert smtp.noop()[0] == 250
        url = f"smtp+tls://alice:secret@{HOST}:{server.port}"  # which falls back
        with (
            pytest.warns(smtpverify.PlaintextFallbackWarning),
            pytest.raises(smtpverify.PlaintextCredentialsError),
        ):
            smtpverify.connect(url, timeout=5)
        with SMTP(HOST, server.port, timeout=5, allow_plaintext_login=True) as smtp:
            smtp.login("alice", "secret", mechanism="PLAIN")
    tried = [each for connection in server.connections[:-1] for each in connection.commands]
    assert not [command for command in tried if command.upper().startswith("AUTH")]
    assert b"secret" not in b"".join(connection.clear for connection in server.connections[:-1])
    assert server.connections[-1].credentials[0].password == "secret"
