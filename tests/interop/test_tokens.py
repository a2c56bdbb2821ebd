"""By OAuth token, and by the client's certificate."""

from __future__ import annotations

import hmac
import json
import smtplib
import time
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import trustme

import smtpverify
from tests.interop.logins import (
    BY_PASSWORD,
    BY_TOKEN,
    CONFIGURATION,
    KEY,
    PASSWORD,
    client_port,
    refusal,
    submission,
)
from tests.interop.servers import HOST, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from smtpverify import AuthenticationError, Trust
    from tests.interop.conftest import Dial, Hidden
    from tests.interop.logins import Service
    from tests.interop.servers import Running

    Certified = Callable[..., Trust]

# What Dovecot says of a token that it refuses, whatever is wrong with it.
COMPLAINTS = {
    "OAUTHBEARER": {"status": "invalid_token", "openid-configuration": CONFIGURATION},
    "XOAUTH2": {"status": "401", "schemes": "bearer", "scope": "mail", "openid-configuration": CONFIGURATION},
}
INVALID = b"5.7.8 Client didn't present valid SSL certificate"
by_token = pytest.mark.parametrize("mechanism", BY_TOKEN)


def jwt(user: str = "bob", *, lifetime: int = 600, key: bytes = KEY, **more: str) -> str:
    """A token (RFC 7519), by HS256 (RFC 7518 3.2)."""

    def encoded(octets: bytes) -> bytes:
        return urlsafe_b64encode(octets).rstrip(b"=")

    issued = int(time.time()) - 1000
    claims = {"sub": user, "iat": issued, "exp": issued + 1000 + lifetime, **more}
    signed = b".".join(
        encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)
    )
    return (signed + b"." + encoded(hmac.digest(key, signed, "sha256"))).decode()


@by_token
@pytest.mark.parametrize("padding", [0, 2200])
def test_the_right_token(service: Service, dial: Dial, hidden: Hidden, mechanism: str, padding: int) -> None:
    """One that is too long for a command waits for the server to ask (RFC 4954 4)."""
    token = jwt(padding="x" * padding)
    given = [token]  # for one time
    with dial(service) as smtp:
        client = client_port(smtp)
        assert smtp.login_oauth2("bob", given.pop, mechanism=mechanism)[0] == 235
        assert smtp.noop()[0] == 250
    assert given == []
    assert (len(token) > 3000) is bool(padding)
    assert service.attempts(client) == [(mechanism, not padding)]
    hidden(token, *token.split("."))


@by_token
@pytest.mark.parametrize("user", ["i,v=a=n", "jürgen"])
def test_a_token_of_other_characters(dovecots: Service, dial: Dial, mechanism: str, user: str) -> None:
    with dial(dovecots) as smtp:  # which wants the token to be of just this user
        assert smtp.login_oauth2(user, jwt(user), mechanism=mechanism)[0] == 235


@by_token
def test_wrong_tokens(service: Service, dial: Dial, hidden: Hidden, mechanism: str) -> None:
    """All at once: Dovecot answers them twice a second.

    OAUTHBEARER is what is chosen, and XOAUTH2 is not tried after it.
    """
    named = None if mechanism == "OAUTHBEARER" else mechanism

    def refused(token: str) -> AuthenticationError:
        given = [token]
        with dial(service) as smtp:
            client = client_port(smtp)
            with refusal(service, mechanism) as raised:
                smtp.login_oauth2("bob", given.pop, mechanism=named)
            assert smtp.noop()[0] == 250
        assert given == []
        assert service.attempts(client, "quit") == [(mechanism, len(token) < 300)]
        return raised.value

    tokens = [jwt(lifetime=-600), jwt(key=b"another"), jwt("carol"), jwt("carol", padding="x" * 2200)]
    with ThreadPoolExecutor(len(tokens)) as pool:
        errors = list(pool.map(refused, tokens))
    offered = ", ".join((*BY_PASSWORD, *BY_TOKEN))
    for error in errors:
        assert json.loads(error.complaint) == COMPLAINTS[mechanism]
        assert str(error).endswith(f"; it says: {error.complaint.decode()}; it offers {offered}")
    hidden(*tokens, *(part for token in tokens for part in token.split(".")), errors=errors)


def test_a_token_by_url(dovecots: Service, trust: Trust, hidden: Hidden) -> None:
    """A fresh one for each connection."""
    url = f"tls://bob@{HOST}:{dovecots.port}?auth="
    tokens = [jwt(lifetime=lifetime) for lifetime in (-600, 600, 601)]
    given = list(tokens)
    for mechanism in BY_TOKEN:
        name = mechanism.lower()
        with smtpverify.connect(url + name, trust=trust, timeout=PATIENCE, password=given.pop) as smtp:
            client = client_port(smtp)
        assert dovecots.attempts(client) == [(mechanism, True)]
    with refusal(dovecots, "XOAUTH2") as raised:
        smtpverify.connect(f"{url}xoauth2", trust=trust, timeout=PATIENCE, password=given.pop)
    assert given == []
    hidden(*tokens, errors=[raised.value])


# --- the client's certificate ----------------------------------------------------------------------


@pytest.fixture
def externals(by_certificate: Running) -> Service:
    return submission(by_certificate)


@pytest.fixture
def certified(authority: trustme.CA, trust: Trust, tmp_path: Path) -> Certified:
    """Trust with a certificate of the client's own."""

    def with_name(name: str, issuer: trustme.CA = authority) -> Trust:
        file = tmp_path / "client.pem"
        issuer.issue_cert(common_name=name).private_key_and_cert_chain_pem.write_to_path(str(file))
        return smtpverify.Trust(trust.roots, client_cert=file)

    return with_name


@pytest.mark.parametrize("authorize_as", ["", "bob"])
def test_a_certificate(externals: Service, dial: Dial, certified: Certified, authorize_as: str) -> None:
    with dial(externals, certified("bob")) as smtp:
        client = client_port(smtp)
        with pytest.raises(
            smtplib.SMTPNotSupportedError, match=r"The server offers EXTERNAL; wanted was SCRAM"
        ):
            smtp.login("bob", PASSWORD)
        assert smtp.login_external(authorize_as)[0] == 235
        assert smtp.noop()[0] == 250
    assert externals.attempts(client) == [("EXTERNAL", True)]


@pytest.mark.parametrize(
    ("name", "ours", "authorize_as", "said"),
    [
        ("nobody", True, "", None),
        ("bob", True, "carol", None),
        ("bob", False, "", INVALID),
        (None, True, "", INVALID),
        (None, True, "bob", INVALID),
    ],
)
def test_a_wrong_certificate(
    externals: Service,
    dial: Dial,
    trust: Trust,
    certified: Certified,
    authority: trustme.CA,
    name: str | None,
    ours: bool,
    authorize_as: str,
    said: bytes | None,
) -> None:
    issuer = authority if ours else trustme.CA()
    with dial(externals, trust if name is None else certified(name, issuer)) as smtp:
        client = client_port(smtp)
        with refusal(externals, "EXTERNAL", said) as raised:
            smtp.login_external(authorize_as)
        assert raised.value.offered == ("EXTERNAL",)
        assert smtp.noop()[0] == 250
    assert externals.attempts(client, "quit") == [("EXTERNAL", True)]


@pytest.mark.parametrize("user", ["", "bob@"])
def test_a_certificate_by_url(
    externals: Service, trust: Trust, certified: Certified, tmp_path: Path, user: str
) -> None:
    url = f"tls://{user}{HOST}:{externals.port}?auth=external"
    certified("bob")
    with smtpverify.connect(
        f"{url}&client-cert={tmp_path}/client.pem", trust=trust, timeout=PATIENCE
    ) as smtp:
        client = client_port(smtp)
        assert smtp.noop()[0] == 250
    assert externals.attempts(client) == [("EXTERNAL", True)]
    with refusal(externals, "EXTERNAL", INVALID):
        smtpverify.connect(url, trust=trust, timeout=PATIENCE)
