"""Dovecot that logs in, for itself and for Postfix: by password or token, or by the client's certificate."""

from __future__ import annotations

import re
import subprocess
import unicodedata
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from smtpverify import AuthenticationError
from tests.interop.servers import HOST, command, configured_dovecot, free_ports, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import smtpverify
    from tests.interop.servers import Running

PASSWORD = "c0rrect-horse"
OTHER_LETTERS = "pä55wörd€"
DECOMPOSED = unicodedata.normalize("NFD", OTHER_LETTERS)
# Users, their passwords, and how Dovecot stores those. It makes what a mechanism needs from PLAIN, of the
# octets as they are; from anything else it makes nothing.
STORED = {
    "bob": (PASSWORD, "PLAIN"),
    "carol": (OTHER_LETTERS, "PLAIN"),
    "dave": (PASSWORD, "SCRAM-SHA-256"),
    "erin": (PASSWORD, "SHA512-CRYPT"),
    "frank": (DECOMPOSED, "PLAIN"),
    "grace": (OTHER_LETTERS, "SCRAM-SHA-256"),
    "heidi": (PASSWORD, "PLAIN"),
    "i,v=a=n": (PASSWORD, "PLAIN"),
    "jürgen": (PASSWORD, "PLAIN"),
}
BY_PASSWORD = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")
BY_TOKEN = ("OAUTHBEARER", "XOAUTH2")
KEY = b"the key of those who issue tokens"
CONFIGURATION = "https://id.example.net/.well-known/openid-configuration"

# With auth_debug the log has each command of a client. Refusals go out twice a second, unless what was looked
# up says nodelay; hence the static passdb, which knows everybody, and says no.
COMMON = """\
base_dir = {base}/run
log_path = {base}/log
auth_debug = yes
auth_failure_delay = 0
protocols = submission
listen = 127.0.0.1
ssl = required
ssl_cert = <{certificate}
ssl_key = <{certificate}
mail_location = maildir:{mail}/%n
first_valid_uid = 1
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={base}/home/%n
}}
service submission-login {{
  service_count = 0
  inet_listener submission {{
    port = {submission}
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
submission_relay_host = 127.0.0.1
submission_relay_port = {relay}
submission_relay_trusted = yes
"""
BY_SECRET = """\
auth_mechanisms = {by_password} {by_token}
auth_username_chars =
passdb {{
  driver = passwd-file
  mechanisms = {by_password}
  args = {base}/users
}}
passdb {{
  driver = static
  args = nopassword=y nodelay=y
  mechanisms = {by_password}
  result_success = return-fail
}}
passdb {{
  driver = oauth2
  mechanisms = {by_token}
  args = {base}/oauth2.conf
}}
service auth {{
  unix_listener {sasl} {{
    mode = 0666
  }}
}}
"""
OAUTH2 = """\
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={base}/keys/
username_attribute = sub
openid_configuration_url = {configuration}
"""
BY_CERTIFICATE = """\
auth_mechanisms = external
auth_ssl_require_client_cert = yes
auth_ssl_username_from_cert = yes
ssl_ca = <{base}/authority.pem
ssl_require_crl = no
ssl_verify_client_cert = yes
ssl_cert_username_field = commonName
passdb {{
  driver = passwd-file
  args = {base}/users
}}
"""


@dataclass(frozen=True)
class Service:
    """A port to log in at, whose server writes down what it is told.

    Attributes:
        port: with STARTTLS.
        log: the server's.
        connected: a regular expression for what it writes down when a client connects, with `{client}` for
            the client's port.
        prefix: one for what stands before a command.
        refusal: what it says to a login that it refuses.
    """

    port: int
    log: Path
    connected: str
    prefix: str
    refusal: bytes

    def attempts(self, client: int, until: str = "AUTH") -> list[tuple[str, bool]]:
        """The mechanisms tried by a client, and whether with an initial response.

        Args:
            client: its port.
            until: a command, and all before it are written down when this is.
        """
        connected = re.compile(self.connected.format(client=client))
        pattern = re.compile(f"{self.prefix.format(client=client)}(.*)")
        commands: list[str] = []

        def written() -> bool:
            # The system may have given the same port to an earlier one.
            *_, last = connected.split(self.log.read_text(encoding="utf-8"))
            commands[:] = pattern.findall(last)
            return any(command.startswith(until) for command in commands)

        wait_until(written, f"{until} of port {client}")
        words = [command.split() for command in commands if command.startswith("AUTH ")]
        return [(mechanism, bool(response)) for _, mechanism, *response in words]


def submission(server: Running) -> Service:
    """Dovecot's own."""
    return Service(
        server.ports["submission"],
        server.log,
        r"conn 127\.0\.0\.1:{client} \[\d+\]: Connection created",
        r"conn 127\.0\.0\.1:{client} \[\d+\]: Received new command: ",
        b"5.7.8 Authentication failed.",
    )


def smtpd(server: Running) -> Service:
    """Postfix's, which asks Dovecot."""
    return Service(
        server.ports["login"],
        server.log,
        r": connect from localhost\[127\.0\.0\.1\]:{client}\n",
        r" < localhost\[127\.0\.0\.1\]:{client}: ",
        b"5.7.8 Error: authentication failed: (reason unavailable)",
    )


@contextmanager
def by_secret(base: Path, certificate: Path, relay: int, sasl: Path) -> Iterator[Running]:
    """Dovecot's submission, and its SASL at a Unix socket, for `STORED` and for tokens signed by `KEY`."""
    doveadm = command("doveadm")
    users = []
    for user, (password, scheme) in STORED.items():
        stored = f"{{PLAIN}}{password}"
        if scheme != "PLAIN":
            made = subprocess.run(
                [doveadm, "-c", "/dev/null", "pw", "-s", scheme, "-p", password],
                check=True,
                capture_output=True,
            )
            stored = made.stdout.decode().strip()
        users.append(f"{user}:{stored}::::::nodelay=y\n")
    keys = base / "keys" / "default" / "HS256"
    keys.mkdir(parents=True)
    (keys / "default").write_bytes(b64encode(KEY))
    (base / "oauth2.conf").write_text(OAUTH2.format(base=base, configuration=CONFIGURATION))
    names = {"by_password": " ".join(BY_PASSWORD).lower(), "by_token": " ".join(BY_TOKEN).lower()}
    fields = {"certificate": certificate, "relay": relay, "sasl": sasl, **names}
    with configured_dovecot(base, COMMON + BY_SECRET, users, free_ports("submission"), **fields) as running:
        yield running


@contextmanager
def by_certificate(base: Path, certificate: Path, relay: int, authority: bytes) -> Iterator[Running]:
    """Dovecot's submission for the common names bob and carol, in certificates of an authority."""
    (base / "authority.pem").write_bytes(authority)
    users = [f"{user}:::::::nopassword=y nodelay=y\n" for user in ("bob", "carol")]
    fields = {"certificate": certificate, "relay": relay}
    with configured_dovecot(
        base, COMMON + BY_CERTIFICATE, users, free_ports("submission"), **fields
    ) as running:
        yield running


def client_port(smtp: smtpverify.SMTP) -> int:
    assert smtp.sock is not None
    port: int = smtp.sock.getsockname()[1]
    return port


@contextmanager
def refusal(
    service: Service, mechanism: str, said: bytes | None = None
) -> Iterator[pytest.ExceptionInfo[AuthenticationError]]:
    """A login is refused by a server's word, and the error says all there is to know."""
    said = said or service.refusal
    match = f"^{HOST}:{service.port}: the server refused {mechanism}: 535 {re.escape(said.decode())}; it "
    with pytest.raises(AuthenticationError, match=match) as raised:
        yield raised
    error = raised.value
    assert type(error) is AuthenticationError
    assert (error.smtp_code, error.smtp_error, error.mechanism) == (535, said, mechanism)


def forms(secret: str) -> Iterator[str]:
    """How a secret would look: as it is, escaped, in a URL, and in Base64 with anything before and behind."""
    octets = secret.encode()
    yield from {secret, ascii(secret)[1:-1], repr(octets)[2:-1], quote(secret, safe="")}
    for before in range(3):
        encoded = b64encode(bytes(before) + octets).decode()
        yield encoded[(before * 8 + 5) // 6 : (before + len(octets)) * 8 // 6]
