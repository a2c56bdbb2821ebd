"""By password: Dovecot, for itself and for Postfix, lets in who may come in, and no secret shows."""

from __future__ import annotations

import re
import smtplib
from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

import smtpverify
from smtpverify import RelayURLError
from tests.interop.logins import (
    BY_PASSWORD,
    BY_TOKEN,
    DECOMPOSED,
    OTHER_LETTERS,
    PASSWORD,
    STORED,
    client_port,
    forms,
    refusal,
    smtpd,
)
from tests.interop.servers import DOMAIN, HOST, PATIENCE, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from smtpverify import Trust
    from tests.interop.conftest import Dial, Hidden
    from tests.interop.logins import Service
    from tests.interop.servers import Running

MESSAGE = b"From: bob@example.net\r\nSubject: hello\r\n\r\nhello\r\n"
by_password = pytest.mark.parametrize("mechanism", BY_PASSWORD)


@pytest.mark.parametrize("secret", [PASSWORD, OTHER_LETTERS])
@pytest.mark.parametrize("before", ["", "\0bob\0", "user=bob\1auth=Bearer ", "\0carol\0"])
def test_what_shows_would_be_found(secret: str, before: str) -> None:
    said = before + secret + "\1\1"
    for shown in (said, repr(said), ascii(said), repr(said.encode()), quote(said), b64encode(said.encode())):
        assert any(form in str(shown) for form in forms(secret))
        assert not any(form in str(shown) for form in forms(secret[::-1]))


@by_password
@pytest.mark.parametrize("user", ["bob", "carol"])
def test_the_right_password(service: Service, dial: Dial, hidden: Hidden, mechanism: str, user: str) -> None:
    password = STORED[user][0]
    with dial(service) as smtp:
        client = client_port(smtp)
        assert smtp.login(user, password, mechanism=mechanism)[0] == 235
        assert smtp.noop()[0] == 250
    assert service.attempts(client) == [(mechanism, mechanism != "CRAM-MD5")]
    hidden(password)


@by_password
@pytest.mark.parametrize(("user", "wrong"), [("bob", OTHER_LETTERS), ("carol", PASSWORD)])
def test_a_wrong_password(
    service: Service, dial: Dial, hidden: Hidden, mechanism: str, user: str, wrong: str
) -> None:
    with dial(service) as smtp:
        client = client_port(smtp)
        with refusal(service, mechanism) as raised:
            smtp.login(user, wrong, mechanism=mechanism)
        assert raised.value.offered == (*BY_PASSWORD, *BY_TOKEN)
        assert smtp.noop()[0] == 250
    assert service.attempts(client, "quit") == [(mechanism, mechanism != "CRAM-MD5")]
    hidden(wrong, errors=[raised.value])


@by_password
@pytest.mark.parametrize("user", ["i,v=a=n", "jürgen"])
def test_a_user_of_other_characters(dovecots: Service, dial: Dial, mechanism: str, user: str) -> None:
    with dial(dovecots) as smtp:
        assert smtp.login(user, PASSWORD, mechanism=mechanism)[0] == 235
    with dial(dovecots) as smtp, refusal(dovecots, mechanism):
        smtp.login(user, "wrong", mechanism=mechanism)


@pytest.mark.parametrize("mechanism", [*BY_PASSWORD[:2], *BY_PASSWORD[3:]])
def test_without_an_initial_response(service: Service, dial: Dial, hidden: Hidden, mechanism: str) -> None:
    with dial(service) as smtp:
        client = client_port(smtp)
        with refusal(service, mechanism):
            smtp.login("bob", OTHER_LETTERS, mechanism=mechanism, initial_response_ok=False)
        assert smtp.login("bob", PASSWORD, mechanism=mechanism, initial_response_ok=False)[0] == 235
    assert service.attempts(client) == [(mechanism, False)] * 2
    hidden(OTHER_LETTERS, PASSWORD)


def test_the_strongest_by_itself(service: Service, dial: Dial) -> None:
    with dial(service) as smtp:
        client = client_port(smtp)
        with refusal(service, "SCRAM-SHA-256"):
            smtp.login("bob", "wrong")
        assert smtp.login("bob", PASSWORD)[0] == 235
        assert smtp.login("bob", PASSWORD) == (503, b"5.5.1 Logged in already")
    strongest = ("SCRAM-SHA-256", True)
    assert service.attempts(client) == [strongest, strongest]


@pytest.mark.parametrize(
    ("user", "typed", "mechanism", "accepted"),
    [
        # SCRAM by what it stores for SCRAM; the password itself it can check too.
        ("dave", PASSWORD, "SCRAM-SHA-256", True),
        ("dave", PASSWORD, "PLAIN", True),
        ("dave", PASSWORD, "SCRAM-SHA-1", False),
        ("dave", PASSWORD, "CRAM-MD5", False),
        ("dave", OTHER_LETTERS, "SCRAM-SHA-256", False),
        # It offers SCRAM even to those of whose password it has only another hash.
        ("erin", PASSWORD, "PLAIN", True),
        ("erin", PASSWORD, "SCRAM-SHA-256", False),
        ("erin", PASSWORD, None, False),
        # SASLprep is ours alone (RFC 5802 5.1): Dovecot takes what it stores for prepared.
        ("carol", DECOMPOSED, "SCRAM-SHA-256", True),
        ("carol", DECOMPOSED, "SCRAM-SHA-1", True),
        ("carol", f"\u00ad{OTHER_LETTERS}", "SCRAM-SHA-256", True),
        ("carol", DECOMPOSED, "PLAIN", False),
        ("grace", DECOMPOSED, "SCRAM-SHA-256", True),
        ("grace", OTHER_LETTERS, "SCRAM-SHA-256", True),
        ("frank", DECOMPOSED, "PLAIN", True),
        ("frank", DECOMPOSED, "CRAM-MD5", True),
        ("frank", DECOMPOSED, "SCRAM-SHA-256", False),
    ],
)
def test_as_it_is_stored(
    dovecots: Service,
    dial: Dial,
    hidden: Hidden,
    user: str,
    typed: str,
    mechanism: str | None,
    accepted: bool,
) -> None:
    used = mechanism or "SCRAM-SHA-256"
    with dial(dovecots) as smtp:
        client = client_port(smtp)
        if accepted:
            assert smtp.login(user, typed, mechanism=mechanism)[0] == 235
        else:
            with refusal(dovecots, used):
                smtp.login(user, typed, mechanism=mechanism)
        assert smtp.noop()[0] == 250
    assert dovecots.attempts(client, "AUTH" if accepted else "quit") == [(used, used != "CRAM-MD5")]
    hidden(typed, STORED[user][0])


@by_password
def test_by_url(dovecots: Service, trust: Trust, hidden: Hidden, mechanism: str) -> None:
    password = quote(OTHER_LETTERS, safe="")
    url = f"tls://{{}}:{password}@{HOST}:{dovecots.port}?auth={mechanism.lower()}"
    with smtpverify.connect(url.format("carol"), trust=trust, timeout=PATIENCE) as smtp:
        client = client_port(smtp)
        assert smtp.noop()[0] == 250
    assert dovecots.attempts(client) == [(mechanism, mechanism != "CRAM-MD5")]
    with refusal(dovecots, mechanism) as raised:
        smtpverify.connect(url.format("heidi"), trust=trust, timeout=PATIENCE)
    hidden(OTHER_LETTERS, errors=[raised.value])
    attempts = re.compile(rf"\(auth failed, (\d+) attempts in \d+ secs\): user=<heidi>, method={mechanism},")
    wait_until(lambda: bool(attempts.search(dovecots.log.read_text())), "the end of a connection")
    assert attempts.findall(dovecots.log.read_text()) == ["1"]


@pytest.mark.parametrize("source", ["password-file", "password-env"])
def test_where_the_password_comes_from(
    postfix: Running,
    by_secret: Running,
    trust: Trust,
    hidden: Hidden,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
) -> None:
    def keep(password: str) -> None:
        monkeypatch.setenv("SMTPVERIFY_TESTS", password)
        file.write_text(f"{password}\n", encoding="utf-8")
        file.chmod(0o600)

    file, service = tmp_path / "password", smtpd(postfix)
    place = file if source == "password-file" else "SMTPVERIFY_TESTS"
    url = f"tls+auth://carol@{HOST}:{service.port}?{source}={place}"
    with pytest.raises(RelayURLError, match=f"^{source}: "):
        smtpverify.connect(url, trust=trust, timeout=PATIENCE)
    keep(PASSWORD)
    with refusal(service, "SCRAM-SHA-256") as raised:
        smtpverify.connect(url, trust=trust, timeout=PATIENCE)
    hidden(PASSWORD, errors=[raised.value])
    keep(OTHER_LETTERS)
    with smtpverify.connect(url, trust=trust, timeout=PATIENCE) as smtp:
        assert smtp.sendmail("carol@example.net", [f"dave@{DOMAIN}"], MESSAGE) == {}
    hidden(OTHER_LETTERS)
    (stored,) = postfix.delivered("dave")
    assert b"(Authenticated sender: carol)" in stored


def test_without_a_login(postfix: Running, by_secret: Running, dial: Dial) -> None:
    with dial(smtpd(postfix)) as smtp:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as raised:
            smtp.sendmail("carol@example.net", [f"dave@{DOMAIN}"], MESSAGE)
        assert [code for code, _ in raised.value.recipients.values()] == [554]
