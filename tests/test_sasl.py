"""Mechanisms: the examples of their RFCs, and servers that make no sense or lie."""

from __future__ import annotations

import json
import smtplib
from base64 import b64decode, b64encode
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from smtpverify import AuthenticationError, CommandArgumentError, ServerSignatureError
from smtpverify.smtp.sasl import (
    MAX_ITERATIONS,
    MIN_ITERATIONS,
    CramMD5,
    External,
    Login,
    Mechanism,
    OAuthBearer,
    Plain,
    Scram,
    XOAuth2,
    _WithToken,
)
from smtpverify.smtp.saslprep import saslprep
from smtpverify.smtp.secrecy import Secret
from tests.scram import due

# RFC 5802 5 and RFC 7677 3: user "user", password "pencil".
SCRAM_EXAMPLES = {
    "SCRAM-SHA-1": (
        "fyko+d2lbbFgONRv9qkxdawL",
        b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    "SCRAM-SHA-256": (
        "rOprNGfwEbeRWgbNEkqO",
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        (
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        ),
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
}
TOKEN = "vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg=="

every = pytest.mark.parametrize("name", SCRAM_EXAMPLES)


def example(name: str) -> tuple[Scram, bytes, bytes, bytes, bytes]:
    nonce, *messages = SCRAM_EXAMPLES[name]
    return Scram(name, "user", "pencil", nonce=nonce), *messages  # type: ignore[return-value]


# --- SCRAM ---------------------------------------------------------------------------------------


@every
def test_scram_examples(name: str) -> None:
    scram, client_first, server_first, client_final, server_final = example(name)
    assert scram.respond(None) == client_first
    assert scram.respond(server_first) == client_final
    assert scram.respond(server_final) == b""
    scram.finish()
    with pytest.raises(AuthenticationError, match=r"all of SCRAM-SHA-[0-9]* had been said"):
        scram.respond(b"")


@every
def test_scram_where_the_server_waits(name: str) -> None:
    """Without an initial response the first challenge is empty (RFC 4954 4)."""
    scram, client_first, server_first, client_final, _ = example(name)
    assert scram.respond(b"") == client_first
    assert scram.respond(server_first) == client_final


@every
@pytest.mark.parametrize("user", ["", "\u00ad", "\u200d\ufe00"])
def test_a_user_of_which_nothing_is_left(name: str, user: str) -> None:
    with pytest.raises(CommandArgumentError, match=r"^user: nothing is left of it"):
        Scram(name, user, "pencil")


@every
@pytest.mark.parametrize(
    "lie",
    [
        b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        b"v=",
        b"v",
        b"",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ",
        b"x=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        b"v=\xff",
    ],
)
def test_a_server_that_does_not_know_the_password(name: str, lie: bytes) -> None:
    scram, _, server_first, _, _ = example(name)
    scram.respond(None)
    scram.respond(server_first)
    with pytest.raises(ServerSignatureError, match=r"the server's signature is wrong: it does not know"):
        scram.respond(lie)
    with pytest.raises(ServerSignatureError):
        scram.finish()


@every
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_server_that_skips_its_proof(name: str, steps: int) -> None:
    scram, _, server_first, _, _ = example(name)
    for challenge in [None, server_first][:steps]:
        scram.respond(challenge)
    with pytest.raises(ServerSignatureError, match="accepted without proving"):
        scram.finish()


@every
def test_a_signature_of_another_exchange(name: str) -> None:
    """What the server signs holds both nonces, so that it can't be said again."""
    _, _, server_first, _, server_final = example(name)
    scram = Scram(name, "user", "pencil", nonce="another")
    scram.respond(None)
    nonce = SCRAM_EXAMPLES[name][0].encode()
    scram.respond(server_first.replace(nonce, b"another"))
    with pytest.raises(ServerSignatureError):
        scram.respond(server_final)


@pytest.mark.parametrize(
    ("server_first", "why"),
    [
        (b"", "'' is no server-first-message"),
        (b"r=noncex", "is no server-first-message"),
        (b"r=noncex,s=QSXCR+Q6sek8bf92", "is no server-first-message"),
        (b"r=noncex,s=QSXCR+Q6sek8bf92,i=", "is no server-first-message"),
        (b"r=noncex,s=QSXCR+Q6sek8bf92,i=04096", "is no server-first-message"),
        (b"r=noncex,s=QSXCR+Q6sek8bf92,i=-1", "is no server-first-message"),
        (b"r=noncex,s=QSXCR+Q6sek8bf92,i=4096x", "is no server-first-message"),
        (b"r=noncex,s=,i=4096", "is no server-first-message"),
        (b"r=non cex,s=QSXC,i=4096", "is no server-first-message"),
        (b"s=QSXC,r=noncex,i=4096", "is no server-first-message"),
        (b"\xff\x00\x1b[2J", r"'\\xff\\x00\\x1b\[2J' is no server-first-message"),
        (b"m=x,r=noncex,s=QSXC,i=4096", "without an extension"),
        (b"r=noncex,s=Q,i=4096", "the salt is not Base64"),
        (b"r=nonce,s=QSXC,i=4096", "the server's nonce does not go on from ours"),
        (b"r=xnonce,s=QSXC,i=4096", "the server's nonce does not go on from ours"),
        (b"r=noncex,s=QSXC,i=1", "the server wants 1 iterations; 4096 to"),
        (b"r=noncex,s=QSXC,i=%d" % (MIN_ITERATIONS - 1), "wants 4095 iterations"),
        (b"r=noncex,s=QSXC,i=%d" % (MAX_ITERATIONS + 1), "iterations; 4096 to 2000000 are allowed"),
        (b"r=noncex,s=QSXC,i=9999999999", "wants 9999999999 iterations"),
        (b"r=noncex,s=QSXC,i=99999999999", "is no server-first-message"),
    ],
)
def test_challenges_without_sense(server_first: bytes, why: str) -> None:
    scram = Scram("SCRAM-SHA-256", "user", "pencil", nonce="nonce")
    scram.respond(None)
    with pytest.raises(AuthenticationError, match=why) as raised:
        scram.respond(server_first)
    assert raised.value.smtp_code == -1
    with pytest.raises(ServerSignatureError):
        scram.finish()


def test_the_fewest_iterations_are_enough_and_extensions_may_follow() -> None:
    scram = Scram("SCRAM-SHA-256", "user", "pencil", nonce="nonce")
    scram.respond(None)
    answer = scram.respond(b"r=noncex,s=QSXC,i=4096,t=more")
    assert answer is not None
    assert answer.startswith(b"c=biws,r=noncex,p=")


@pytest.mark.parametrize("step", [1, 2])
def test_a_server_that_says_why_not(step: int) -> None:
    scram, _, server_first, _, _ = example("SCRAM-SHA-1")
    scram.respond(None)
    if step == 2:
        scram.respond(server_first)
    assert scram.respond(b"e=unknown-user,x=y") == b""
    assert scram.complaint == b"e=unknown-user,x=y"
    with pytest.raises(ServerSignatureError):
        scram.finish()


@pytest.mark.parametrize(
    ("name", "binding", "plus_offered", "header"),
    [
        ("SCRAM-SHA-1", None, False, b"n,,"),
        ("SCRAM-SHA-1", b"hash", False, b"y,,"),  # we would have; nobody seems to offer it
        ("SCRAM-SHA-1", b"hash", True, b"n,,"),  # it was offered, and is not wanted
        ("SCRAM-SHA-1-PLUS", b"hash", True, b"p=tls-server-end-point,,"),
        ("SCRAM-SHA-256-PLUS", b"hash", True, b"p=tls-server-end-point,,"),
    ],
)
def test_channel_binding(name: str, binding: bytes | None, plus_offered: bool, header: bytes) -> None:
    """RFC 5802 6: what the flag says, and that the last message repeats it with what it binds to."""
    scram = Scram(name, "user", "pencil", binding=binding, plus_offered=plus_offered, nonce="nonce")
    assert scram.respond(None) == header + b"n=user,r=nonce"
    final = scram.respond(b"r=noncex,s=QSXC,i=4096") or b""
    bound = b64decode(final.partition(b",")[0].removeprefix(b"c="))
    assert bound == header + (b"hash" if name.endswith("-PLUS") else b"")


def test_no_channel_to_bind_to() -> None:
    with pytest.raises(CommandArgumentError, match="SCRAM-SHA-256-PLUS: there is no channel"):
        Scram("SCRAM-SHA-256-PLUS", "user", "pencil")


def test_a_scram_that_is_none() -> None:
    with pytest.raises(CommandArgumentError, match="SCRAM-MD5: not one of SCRAM-SHA-256, SCRAM-SHA-1"):
        Scram("SCRAM-MD5", "user", "pencil")


def test_nonces_are_fresh() -> None:
    firsts = {Scram("SCRAM-SHA-256", "user", "pencil").respond(None) for _ in range(100)}
    assert len(firsts) == 100
    assert all(len((first or b"").partition(b"r=")[2]) == 32 for first in firsts)


def test_names_in_scram() -> None:
    scram = Scram("SCRAM-SHA-256", "a=b,c", "pencil", nonce="nonce")
    assert scram.respond(None) == b"n,,n=a=3Db=2Cc,r=nonce"
    assert scram.identity == "a=b,c"


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([("SCRAM-SHA-1", "sha1"), ("SCRAM-SHA-256", "sha256")]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1),
    st.binary(min_size=1, max_size=40),
)
def test_scram_against_another_implementation(names: tuple[str, str], password: str, salt: bytes) -> None:
    scram = Scram(names[0], "user", password)
    first = scram.respond(None) or b""
    server_first = b"%s+server,s=%s,i=4096" % (first[first.index(b"r=") :], b64encode(salt))
    final = scram.respond(server_first) or b""
    without_proof, _, proof = final.rpartition(b",p=")
    signed = b",".join((first.removeprefix(b"n,,"), server_first, without_proof))
    proof_due, signature = due(names[1], password.encode(), salt, 4096, signed)
    assert b64decode(proof) == proof_due
    scram.respond(b"v=" + b64encode(signature))
    scram.finish()


# --- SASLprep ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "prepared"),
    [  # RFC 4013 3, and the mappings of 2.1
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("p\u00e4ss", "p\u00e4ss"),
        ("pa\u0308ss", "p\u00e4ss"),
        ("\u0627\u0628", "\u0627\u0628"),
        ("", ""),
    ],
)
def test_saslprep(text: str, prepared: str) -> None:
    assert saslprep(text, "password", stored=True) == prepared


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("\u0007", "prohibits"),
        ("a\u200e", "prohibits"),
        ("\ue000", "prohibits"),
        ("\ufdd0", "prohibits"),
        ("\ufffd", "prohibits"),
        ("\u2ff0", "prohibits"),
        ("\U000e0001", "prohibits"),
        ("\u06271", "both directions"),
        ("\u0627a\u0628", "both directions"),
        ("\U0001f600", "newer than Unicode 3.2"),
    ],
)
def test_saslprep_refuses(text: str, why: str) -> None:
    with pytest.raises(
        CommandArgumentError, match=f"^password: SCRAM wants it prepared.*{why}.*PLAIN"
    ) as raised:
        saslprep(text, "password", stored=True)
    assert text not in str(raised.value)


def test_names_may_be_newer_than_passwords() -> None:
    """RFC 5802 5.1: the name is a query (RFC 3454 7), 2.2: the password is a stored string."""
    assert saslprep("\U0001f600", "user", stored=False) == "\U0001f600"
    Scram("SCRAM-SHA-256", "\U0001f600", "pencil")
    with pytest.raises(CommandArgumentError, match=r"^password: "):
        Scram("SCRAM-SHA-256", "user", "\U0001f600")


def test_scram_prepares() -> None:
    plain, decomposed = (
        Scram("SCRAM-SHA-256", "user", password, nonce="nonce") for password in ("p\u00e4ss", "pa\u0308ss")
    )
    for scram in (plain, decomposed):
        scram.respond(None)
    server_first = b"r=noncex,s=QSXC,i=4096"
    assert plain.respond(server_first) == decomposed.respond(server_first)
    with pytest.raises(CommandArgumentError, match=r"^user: .*prohibits"):
        Scram("SCRAM-SHA-256", "a\nb", "pencil")


# --- OAuth ---------------------------------------------------------------------------------------


def test_oauthbearer_example() -> None:
    """RFC 7628 4."""
    bearer = OAuthBearer("user@example.com", TOKEN, host="server.example.com", port=587)
    assert b64encode(bearer.respond(None) or b"") == (
        b"bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9NTg3AWF1dGg9QmVhcmVyIHZG"
        b"OWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2c9PQEB"
    )
    failure = b64decode(
        "eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIiwic2NvcGUiOiJleGFtcGxlX3Njb3BlIiwib3BlbmlkLWNvbmZpZ3VyYXRp"
        "b24iOiJodHRwczovL2V4YW1wbGUuY29tLy53ZWxsLWtub3duL29wZW5pZC1jb25maWd1cmF0aW9uIn0="
    )
    assert b64encode(bearer.respond(failure) or b"") == b"AQ=="
    assert json.loads(bearer.complaint)["status"] == "invalid_token"
    with pytest.raises(AuthenticationError, match="all of OAUTHBEARER had been said"):
        bearer.respond(b"")


def test_oauthbearer_without_a_place_and_with_an_odd_name() -> None:
    assert OAuthBearer("a=b,c", "t").respond(None) == b"n,a=a=3Db=2Cc,\1auth=Bearer t\1\1"
    assert OAuthBearer("", "t").respond(None) == b"n,,\1auth=Bearer t\1\1"  # a saslname is not empty


def test_xoauth2() -> None:
    xoauth2 = XOAuth2("someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg")
    first = xoauth2.respond(None)
    assert (
        first == b"user=someuser@example.com\1auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\1\1"
    )
    assert xoauth2.respond(b'{"status":"400","schemes":"Bearer"}') == b""
    assert xoauth2.complaint == b'{"status":"400","schemes":"Bearer"}'


@pytest.mark.parametrize("kind", [OAuthBearer, XOAuth2])
@pytest.mark.parametrize("token", ["", "a b", "a\1b", "a\r\nb", "t\u00f6ken", "=", "a=b", "tok,en", 'to"ken'])
def test_what_is_no_token(kind: type[OAuthBearer | XOAuth2], token: str) -> None:
    with pytest.raises(CommandArgumentError, match=r"^token: it holds something else") as raised:
        kind("alice", token)
    assert not token or token not in str(raised.value)


@pytest.mark.parametrize("kind", [OAuthBearer, XOAuth2])
@pytest.mark.parametrize("user", ["a\1auth=Bearer x", "a\0"])
def test_a_user_that_would_add_to_the_message(kind: type[OAuthBearer | XOAuth2], user: str) -> None:
    with pytest.raises(CommandArgumentError, match=r"^user: it contains a control character"):
        kind(user, TOKEN)


# --- the others ----------------------------------------------------------------------------------


def test_plain() -> None:
    """RFC 4616 4."""
    assert Plain("tim", "tanstaaftanstaaf").respond(None) == b"\0tim\0tanstaaftanstaaf"
    assert Plain("\u00e4lice", "s\u00e4cret").respond(b"") == b"\0\xc3\xa4lice\0s\xc3\xa4cret"
    for user, password in (("a\0b", "x"), ("a", "x\0y")):
        with pytest.raises(CommandArgumentError, match="a NUL has no place"):
            Plain(user, password)


def test_login() -> None:
    login = Login("alice", "s\u00e4cret")
    assert login.respond(None) == b"alice"
    assert login.respond(b"Password:") == b"s\xc3\xa4cret"
    login = Login("alice", "secret")
    assert login.respond(b"Username:") == b"alice"
    assert login.respond(b"Password:") == b"secret"
    with pytest.raises(AuthenticationError, match="all of LOGIN had been said"):
        login.respond(b"And the other one:")


def test_login_of_a_server_that_ignores_the_initial_response() -> None:
    """It asks again: the password is not for its log of user names."""
    login = Login("alice", "secret")
    assert [login.respond(each) for each in (None, b"Username:", b"Password:")] == [
        b"alice",
        b"alice",
        b"secret",
    ]


def test_cram_md5() -> None:
    """RFC 2195 2."""
    cram = CramMD5("tim", "tanstaaftanstaaf")
    assert cram.respond(None) is None
    assert (
        cram.respond(b"<1896.697170952@postoffice.reston.mci.net>") == b"tim b913a602c7eda7a495b4e6e7334d3890"
    )
    assert CramMD5("tim", "tanstaaftanstaaf").respond(b"<1896.697170952@postoffice.reston.mci.net>") == (
        b"tim b913a602c7eda7a495b4e6e7334d3890"
    )


def test_external() -> None:
    assert External().respond(None) == b""
    assert External("\u00e4lice").respond(b"") == b"\xc3\xa4lice"
    with pytest.raises(CommandArgumentError, match="NUL"):
        External("a\0b")


MECHANISMS: list[tuple[Any, bytes]] = [
    (lambda secret: Plain("alice", secret), b""),
    (lambda secret: Login("alice", secret), b""),
    (lambda secret: CramMD5("alice", secret), b"challenge"),
    (lambda secret: Scram("SCRAM-SHA-256", "alice", secret), b""),
    (lambda secret: OAuthBearer("alice", secret), b""),
    (lambda secret: XOAuth2("alice", secret), b""),
]


@pytest.mark.parametrize("make", [make for make, _ in MECHANISMS])
@pytest.mark.parametrize("kind", [str, bytes, Secret])
def test_secrets_may_be_octets(make: Any, kind: Any) -> None:
    secret = b"secret" if kind is bytes else kind("secret")
    assert make(secret).secrets == (b"secret",)
    assert "secret" not in repr(vars(make(secret)))


@pytest.mark.parametrize("make", [make for make, _ in MECHANISMS])
@pytest.mark.parametrize("secret", [None, 5, "\ud800", b"\xff"])
def test_what_is_no_secret(make: Any, secret: Any) -> None:
    with pytest.raises(CommandArgumentError, match=r"^(password|token): "):
        make(secret)


def test_in_the_hands_of_smtplib() -> None:
    """The method `auth()` calls a mechanism as it does its own."""

    class Client(smtplib.SMTP):
        def __init__(self, *replies: tuple[int, bytes]) -> None:
            super().__init__()
            self.said: list[str] = []
            self.replies = iter(replies)

        def docmd(self, cmd: str, args: str = "") -> tuple[int, bytes]:
            self.said.append(f"{cmd} {args}".strip())
            return next(self.replies)

    challenge = b64encode(SCRAM_EXAMPLES["SCRAM-SHA-1"][2])
    verifier = b64encode(SCRAM_EXAMPLES["SCRAM-SHA-1"][4])
    client = Client((334, challenge), (334, verifier), (235, b"ok"))
    scram = example("SCRAM-SHA-1")[0]
    assert client.auth("SCRAM-SHA-1", scram) == (235, b"ok")
    scram.finish()
    assert [b64decode(each.rpartition(" ")[2]) for each in client.said[:2]] == [
        SCRAM_EXAMPLES["SCRAM-SHA-1"][1],
        SCRAM_EXAMPLES["SCRAM-SHA-1"][3],
    ]
    client = Client((334, b64encode(b"<x@y>")), (235, b"ok"))
    assert client.auth("CRAM-MD5", CramMD5("alice", "secret"))[0] == 235
    assert client.said[0] == "AUTH CRAM-MD5"


def test_a_mechanism_of_nothing() -> None:
    for nothing in (Mechanism(), _WithToken("alice", TOKEN)):
        with pytest.raises(NotImplementedError):
            nothing.respond(None)
