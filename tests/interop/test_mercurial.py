"""Mercurial's own `hg email`, in processes of its own, with the extension and the bed's servers."""

from __future__ import annotations

import hashlib
import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.bed import Behaviour, Issued, Starttls, Tls

if TYPE_CHECKING:
    from tests.bed import World
    from tests.conftest import ServerFactory

ROOT = Path(__file__).parents[2]
EXTENSION = "smtpverify.integrations.mercurial"
HOST = "localhost"  # which is no other host's name in any process's resolver
MAIL = ("-r", ".", "-f", "alice@example.org", "-t", "bob@example.net", "-s", "one change")

Config = dict[str, str]


class Hg(Protocol):
    """Runs hg in a repository with one change, with the extension loaded and no other configuration."""

    def __call__(
        self, *arguments: str, config: Config, answer: str = "", extension: str = EXTENSION
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(scope="session")
def program() -> str:
    found = Path(sys.executable).with_name("hg.exe" if os.name == "nt" else "hg")
    if not found.exists():
        assert "CI" not in os.environ, "Mercurial is missing"
        pytest.skip("Mercurial is not installed")
    return str(found)


def environment() -> Config:
    return {**os.environ, "HGRCPATH": "", "HGENCODING": "utf-8", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def repository(program: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository with one change."""
    path = tmp_path_factory.mktemp("repository")
    (path / "file").write_text("text\n")
    for command in (["init"], ["commit", "-A", "-m", "one change", "-u", "alice"]):
        subprocess.run([program, *command], check=True, capture_output=True, cwd=path, env=environment())
    return path


@pytest.fixture
def hg(program: str, repository: Path) -> Hg:
    def run(
        *arguments: str, config: Config, answer: str = "", extension: str = EXTENSION
    ) -> subprocess.CompletedProcess[str]:
        everything = {
            "extensions.patchbomb": "",
            f"extensions.{extension}": "",
            f"extensions.{extension}:required": "yes",
            **config,
        }
        options = [part for key, value in everything.items() for part in ("--config", f"{key}={value}")]
        return subprocess.run(
            [program, *arguments, *options],
            check=False,
            input=answer,
            capture_output=True,
            encoding="utf-8",
            cwd=repository,
            env=environment(),
            timeout=50,
        )

    return run


def smtp(port: int, tls: str = "", **others: str) -> Config:
    config = {"smtp.host": HOST, "smtp.port": str(port), **({"smtp.tls": tls} if tls else {})}
    return config | {f"smtp.{name}": value for name, value in others.items()}


def fingerprint(issued: Issued, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, issued.leaf_der).digest().hex(':')}"


TLS_1_2 = ssl.TLSVersion.TLSv1_2
MODES = {"starttls": Tls.STARTTLS, "smtps": Tls.IMPLICIT}
over_modes = pytest.mark.parametrize("tls", MODES)


# --- good servers --------------------------------------------------------------------------------


@over_modes
def test_a_good_server_gets_mail_and_password(
    hg: Hg, smtp_server: ServerFactory, world: World, tls: str
) -> None:
    with smtp_server(tls=MODES[tls], certificate=world.good(HOST)) as server:
        done = hg("email", *MAIL, config=smtp(server.port, tls, username="alice", password="secret"))
    assert (done.returncode, done.stderr) == (0, "")
    (message,) = server.messages
    assert (message.mail_from, message.rcpts) == ("alice@example.org", ("bob@example.net",))
    assert b"\r\nX-Mercurial-Node: " in message.data
    (connection,) = server.connections
    assert connection.closed_cleanly
    assert connection.sni == HOST
    assert connection.clear_commands == ([] if tls == "smtps" else connection.clear_commands[:2])
    assert [(one.username, one.password) for one in connection.credentials] == [("alice", "secret")]


def test_plaintext_where_it_was_asked_for(hg: Hg, smtp_server: ServerFactory) -> None:
    with smtp_server() as server:
        done = hg("email", *MAIL, config=smtp(server.port, "none", local_hostname="laptop.example.org"))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(server.messages) == 1
    assert server.connections[0].commands[0] == "ehlo laptop.example.org"


def test_a_relay_url_is_a_host(hg: Hg, smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(HOST)) as server:
        url = f"tls://alice:secret@{HOST}:{server.port}"
        done = hg("email", "-v", *MAIL, config={"smtp.host": url})
    assert (done.returncode, done.stderr) == (0, "")
    assert f"(verified: {HOST}: certificate for {HOST}" in done.stdout
    assert "secret" not in done.stdout
    assert len(server.messages) == len(server.connections[0].credentials) == 1


def test_mercurial_asks_for_the_password(hg: Hg, smtp_server: ServerFactory, world: World) -> None:
    config = {"ui.interactive": "yes", "ui.nontty": "yes"}
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(HOST)) as server:
        done = hg(
            "email",
            *MAIL,
            config=smtp(server.port, "starttls", username="alice") | config,
            answer="\nsecret\n",
        )
    assert (done.returncode, done.stderr) == (0, "password: ")
    assert [one.password for one in server.connections[0].credentials] == ["secret"]


def test_nobody_to_ask_for_the_password(hg: Hg, smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(HOST)) as server:
        done = hg("email", *MAIL, config=smtp(server.port, "starttls", username="alice"))
    assert done.returncode == 255
    assert done.stderr.startswith("abort: no password for alice at the mail server\n(set smtp.password, ")
    assert server.leaked() == []


def test_a_series_goes_over_one_connection(
    hg: Hg, smtp_server: ServerFactory, world: World, tmp_path: Path
) -> None:
    introduction = tmp_path / "introduction"
    introduction.write_text("Please look at this.\n")
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(HOST)) as server:
        done = hg("email", "--desc", str(introduction), *MAIL, config=smtp(server.port, "starttls"))
    assert done.returncode == 0, done.stderr
    assert len(server.messages) == 2
    assert len(server.connections) == 1


# --- impostors -----------------------------------------------------------------------------------


@over_modes
def test_a_wrong_name_gets_nothing_and_no_fingerprint_is_proposed(
    hg: Hg, smtp_server: ServerFactory, world: World, tls: str
) -> None:
    with smtp_server(tls=MODES[tls], certificate=world.served("wrong_name", HOST)) as server:
        done = hg("email", *MAIL, config=smtp(server.port, tls, username="alice", password="secret"))
    assert done.returncode == 255
    assert done.stderr.startswith(
        f"abort: {HOST}:{server.port}: the certificate is valid for other.example.net, not for {HOST}\n"
    )
    assert "fingerprint" not in done.stderr
    assert server.leaked() == []


@over_modes
@pytest.mark.parametrize("kind", ["unknown_issuer", "self_signed_leaf", "self_signed_root_in_chain"])
def test_an_unknown_ca_gets_nothing_and_the_proposed_fingerprint_is_what_mercurial_reads(
    hg: Hg, smtp_server: ServerFactory, world: World, kind: str, tls: str, tmp_path: Path
) -> None:
    issued = world.served(kind, HOST)
    with smtp_server(tls=MODES[tls], certificate=issued) as server:
        config = smtp(server.port, tls, username="alice", password="secret")
        refused = hg("email", *MAIL, config=config)
        assert refused.returncode == 255
        head, _, lines = refused.stderr.partition("[hostsecurity]\n")
        assert head.startswith(f"abort: {HOST}:{server.port}: the ")
        assert lines.startswith(f"{HOST}:fingerprints = {fingerprint(issued)}\n")
        assert server.leaked() == []
        # As a user would, into a file of Mercurial's.
        file = tmp_path / "hgrc"
        file.write_text("[hostsecurity]\n" + lines.partition("\n")[0])
        done = hg("email", *MAIL, config=config | {"ui.quiet": "yes"} | read(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(server.messages) == 1


def read(file: Path) -> Config:
    section, line = file.read_text().splitlines()
    key, _, value = line.partition(" = ")
    return {f"{section.strip('[]')}.{key}": value}


def test_a_fingerprint_of_another_certificate(hg: Hg, smtp_server: ServerFactory, world: World) -> None:
    """Also where the certificate itself is good: the fingerprint is what was asked for."""
    other = world.served("unknown_issuer", HOST)
    config = {f"hostsecurity.{HOST}:fingerprints": fingerprint(other, "sha512")}
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(HOST)) as server:
        done = hg("email", *MAIL, config=smtp(server.port, "starttls") | config)
    assert done.returncode == 255
    assert (
        f"abort: {HOST}:{server.port}: the certificate is not the pinned one: expected sha512:" in done.stderr
    )
    assert server.leaked() == []


def test_insecure_does_not_count(hg: Hg, smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.served("self_signed_leaf", HOST)) as server:
        done = hg("email", "--insecure", *MAIL, config=smtp(server.port, "starttls"))
    assert done.returncode == 255
    assert done.stderr.startswith(f"(--insecure does not count for the mail server {HOST})\nabort: ")
    assert server.leaked() == []


def test_starttls_stripped(hg: Hg, smtp_server: ServerFactory) -> None:
    with smtp_server(Behaviour(tls=Tls.STARTTLS, starttls=Starttls.ABSENT)) as server:
        done = hg("email", *MAIL, config=smtp(server.port, "starttls", username="alice", password="secret"))
    assert done.returncode == 255
    assert done.stderr.startswith(f"abort: {HOST}:{server.port}: the server does not offer STARTTLS\n")
    assert server.leaked() == []


# --- whom to believe -----------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [f"hostsecurity.{HOST}:verifycertsfile", "web.cacerts"])
def test_a_file_of_cas(hg: Hg, smtp_server: ServerFactory, world: World, setting: str) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.served("unknown_issuer", HOST)) as server:
        done = hg("email", *MAIL, config=smtp(server.port, "starttls") | {setting: str(world.unknown_file)})
    assert (done.returncode, done.stderr) == (0, "")
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(HOST)) as server:
        done = hg("email", *MAIL, config=smtp(server.port, "starttls") | {setting: str(world.unknown_file)})
    assert done.returncode == 255
    assert server.leaked() == []


@pytest.mark.parametrize(
    ("key", "value", "abort"),
    [
        (f"hostsecurity.{HOST}:fingerprints", f"sha1:{'0a' * 20}", "sha1 can be forged"),
        (f"hostfingerprints.{HOST}", "0a" * 20, "a SHA-1 fingerprint can be forged"),
        (f"hostsecurity.{HOST}:minimumprotocol", "tls1.0", "TLS below 1.2 is never spoken"),
        ("hostsecurity.minimumprotocol", "tls1.9", "unknown protocol"),
        ("hostsecurity.ciphers", "DEFAULT", "smtpverify lets nobody choose ciphers"),
        ("smtp.tls", "startls", "'startls' is none of starttls, smtps, none"),
    ],
)
def test_what_can_t_be_honoured_is_refused(
    hg: Hg, smtp_server: ServerFactory, world: World, key: str, value: str, abort: str
) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(HOST)) as server:
        done = hg("email", *MAIL, config=smtp(server.port, "starttls") | {key: value})
    assert done.returncode == 255
    assert done.stderr.startswith(f"abort: {key}: ")
    assert abort in done.stderr.splitlines()[0]
    assert server.connections == []


# --- loading -------------------------------------------------------------------------------------


def test_the_package_s_own_name_is_the_extension_too(
    hg: Hg, smtp_server: ServerFactory, world: World
) -> None:
    """Mercurial would take a package without hooks, and go on as if it were not there."""
    with smtp_server(tls=Tls.STARTTLS, certificate=world.served("wrong_name", HOST)) as server:
        done = hg("email", *MAIL, config=smtp(server.port, "starttls"), extension="smtpverify")
    assert done.returncode == 255
    assert "the certificate is valid for other.example.net" in done.stderr
    assert server.leaked() == []


def test_a_file_s_path_will_do_as_well(hg: Hg, smtp_server: ServerFactory, world: World) -> None:
    path = ROOT / "smtpverify" / "integrations" / "mercurial.py"
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(HOST)) as server:
        done = hg(
            "email", "-v", *MAIL, config=smtp(server.port, "starttls") | {"extensions.other": str(path)}
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert "(verified: " in done.stdout


def test_an_older_tls_than_told(hg: Hg, smtp_server: ServerFactory, world: World) -> None:
    behaviour = Behaviour(tls=Tls.IMPLICIT, certificate=world.good(HOST), tls_version=TLS_1_2)
    config = {f"hostsecurity.{HOST}:minimumprotocol": "tls1.3", "hostsecurity.minimumprotocol": "tls1.2"}
    with smtp_server(behaviour) as server:
        done = hg("email", *MAIL, config=smtp(server.port, "smtps") | config)
    assert done.returncode == 255
    assert server.leaked() == []
