"""Where a relay's password comes from, in which order, and what is wrong with a place that has none."""

from __future__ import annotations

import os
import re
import sys
import traceback
from typing import TYPE_CHECKING, Any

import keyring
import keyring.backend
import keyring.errors
import pytest

import smtpverify
from smtpverify import CommandArgumentError, Relay, RelayURLError
from smtpverify.smtp.credentials import Keeper, find_password
from tests.bed import HOST, Behaviour, Tls
from tests.scram import SUCCESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import ServerFactory

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="modes of files say nothing there")


class Ring(keyring.backend.KeyringBackend):
    """A keyring in memory."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.passwords: dict[tuple[str, str], str] = {}
        self.failure: Exception | None = None

    def get_password(self, service: str, username: str) -> str | None:
        if self.failure is not None:
            raise self.failure
        return self.passwords.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.passwords[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.passwords[service, username]


@pytest.fixture(autouse=True)
def ring() -> Iterator[Ring]:
    before = keyring.get_keyring()
    mine = Ring()
    keyring.set_keyring(mine)
    yield mine
    keyring.set_keyring(before)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody's own netrc decides a test."""
    directory = tmp_path / "home"
    directory.mkdir()
    monkeypatch.setenv("HOME", str(directory))
    monkeypatch.setenv("USERPROFILE", str(directory))
    monkeypatch.delenv("MAIL_PASSWORD", raising=False)
    return directory


def found(query: str = "", user: str = "alice", given: Any = None, scheme: str = "tls") -> str | None:
    keeper = find_password(
        Relay.parse(f"{scheme}://{user}@{HOST}{query}"), None if given is None else Keeper(given)
    )
    return None if keeper is None else keeper.ask().text


def write(path: Path, content: bytes | str, mode: int = 0o600) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def netrc(home: Path, content: str | bytes, mode: int = 0o600) -> None:
    # Python 3.10 and later read _netrc on Windows too, ~/.netrc first.
    write(home / ".netrc", content, mode)


# --- the order -----------------------------------------------------------------------------------


def test_the_order(home: Path, ring: Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source is asked only when those before it have nothing."""
    file = write(tmp_path / "file", "from the file\n")
    monkeypatch.setenv("MAIL_PASSWORD", "from the environment")
    netrc(home, f"machine {HOST} login alice password from-netrc\n")
    ring.set_password(HOST, "alice", "from the keyring")
    both = f"?password-env=MAIL_PASSWORD&password-file={file}"
    assert found(both, given="from the caller") == "from the caller"
    assert found(both, given=lambda: "from a callable") == "from a callable"
    assert found(both) == "from the environment"
    monkeypatch.delenv("MAIL_PASSWORD")
    assert found(both) == "from the file"
    assert found() == "from-netrc"
    (home / ".netrc").unlink()
    assert found() == "from the keyring"
    ring.delete_password(HOST, "alice")
    assert found() is None


def test_nobody_to_log_in(ring: Ring) -> None:
    ring.set_password(HOST, "alice", "secret")
    assert find_password(Relay.parse(f"tls://{HOST}"), None) is None
    assert find_password(Relay.parse(HOST), None) is None
    assert find_password(Relay.parse(f"tls://alice@{HOST}?auth=external"), None) is None
    assert find_password(Relay.parse("lmtp:///run/lmtp"), None) is None


@pytest.mark.parametrize("host", [HOST, f"tls://{HOST}", f"tls://{HOST}?auth=external"])
def test_a_password_of_nobody(host: str) -> None:
    with pytest.raises(RelayURLError, match=r"^user: it is missing; a password needs its user"):
        find_password(Relay.parse(host), Keeper("secret"))
    with pytest.raises(RelayURLError, match=r"^user: "):
        smtpverify.SMTP(host, password="secret")


def test_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "secret")
    with pytest.raises(RelayURLError, match="the URL and the password argument both give one"):
        found(user="alice:secret", given="secret")
    for query in ("?password-env=MAIL_PASSWORD", "?password-file=/x"):
        with pytest.raises(RelayURLError, match=r"^password: it is given twice"):
            Relay.parse(f"tls://alice:secret@{HOST}{query}")


def test_a_callable_is_asked_each_time() -> None:
    passwords = iter(["first", "second"])
    keeper = Keeper(lambda: next(passwords))
    assert [keeper.ask().text, keeper.ask().text] == ["first", "second"]


@pytest.mark.parametrize("given", [5, None, b"\xff", "\ud800"])
def test_a_callable_that_gives_something_else(given: Any) -> None:
    with pytest.raises(CommandArgumentError, match=r"^password: "):
        Keeper(lambda: given).ask()


# --- environment and file ------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "problem"), [(None, "is not set"), ("", "is empty")])
def test_a_variable_without_a_password(
    monkeypatch: pytest.MonkeyPatch, ring: Ring, value: str | None, problem: str
) -> None:
    """What was named must have it: another source may have another user's."""
    ring.set_password(HOST, "alice", "from the keyring")
    if value is not None:
        monkeypatch.setenv("MAIL_PASSWORD", value)
    with pytest.raises(
        RelayURLError, match=f"^password-env: the environment variable MAIL_PASSWORD {problem}"
    ):
        found("?password-env=MAIL_PASSWORD")


@pytest.mark.parametrize(
    ("content", "password"),
    [
        ("secret", "secret"),
        ("secret\n", "secret"),
        ("secret\r\n", "secret"),
        (" secret \n", " secret "),
        ("s\u00e4cret\n", "s\u00e4cret"),
    ],
)
def test_files(tmp_path: Path, content: str, password: str) -> None:
    file = write(tmp_path / "file", content)
    assert found(f"?password-file={file}") == password


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it holds nothing"),
        (b"\n", "it holds nothing"),
        (b"one\ntwo\n", "it holds more than one line"),
        (b"\nsecret\n", "it holds more than one line"),
        (b"x" * 70000, "it holds too much"),
    ],
)
def test_files_without_a_password(tmp_path: Path, content: bytes, problem: str) -> None:
    file = write(tmp_path / "file", content)
    with pytest.raises(RelayURLError, match=f"^password-file: .*file: {problem}"):
        found(f"?password-file={file}")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = write(tmp_path / "file", b"secret\xff\xfe")
    with pytest.raises(CommandArgumentError, match=r"^password: it can't be written in UTF-8") as raised:
        found(f"?password-file={file}")
    assert "secret" not in locals_of(raised.value)


@POSIX
def test_a_variable_that_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "secret\udcff")
    with pytest.raises(CommandArgumentError, match=r"^password: it can't be written in UTF-8") as raised:
        found("?password-env=MAIL_PASSWORD")
    assert "secret" not in locals_of(raised.value)


def locals_of(error: BaseException) -> str:
    """The local variables of our frames, as a traceback shows them."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [frame for frame in frames if frame.f_globals["__name__"].startswith("smtpverify")]
    assert ours
    return repr([frame.f_locals for frame in ours])


def test_a_file_that_is_not_there(tmp_path: Path, ring: Ring) -> None:
    ring.set_password(HOST, "alice", "from the keyring")
    with pytest.raises(RelayURLError, match=r"^password-file: .*nowhere: No such file"):
        found(f"?password-file={tmp_path}/nowhere")
    with pytest.raises(RelayURLError, match=r"^password-file: "):
        found(f"?password-file={tmp_path}")


@POSIX
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o777])
def test_a_file_of_others(tmp_path: Path, mode: int) -> None:
    file = write(tmp_path / "file", "secret\n", mode)
    with pytest.raises(
        RelayURLError, match=rf"^password-file: {re.escape(str(file))}: others can read it; try chmod 600$"
    ):
        found(f"?password-file={file}")
    file.chmod(0o400)
    assert found(f"?password-file={file}") == "secret"


@POSIX
def test_a_file_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "win32":
        raise NotImplementedError
    file = write(tmp_path / "file", "secret\n")
    owner = file.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:  # root could read it anyway
        assert found(f"?password-file={file}") == "secret"
        os.chown(file, 4711, -1)
    with pytest.raises(RelayURLError, match="it belongs to another user"):
        found(f"?password-file={file}")


def test_modes_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "file", "secret\n", 0o644)
    monkeypatch.setattr(sys, "platform", "win32")
    assert found(f"?password-file={file}") == "secret"


@pytest.mark.parametrize("key", ["password-env", "password-file"])
@pytest.mark.parametrize(("value", "problem"), [("", "it is empty"), ("a%00b", "control character")])
def test_names_that_are_none(key: str, value: str, problem: str) -> None:
    with pytest.raises(RelayURLError, match=f"^{key}: {problem}|{key}: it contains a {problem}"):
        Relay.parse(f"tls://alice@{HOST}?{key}={value}")


@pytest.mark.parametrize("query", ["password-env=X", "password-file=/x", "auth=plain", "auth=xoauth2"])
def test_without_a_user(query: str) -> None:
    key = query.partition("=")[0]
    with pytest.raises(RelayURLError, match=f"^user: it is missing; {key} needs one"):
        Relay.parse(f"tls://{HOST}?{query}")


# --- netrc and keyring ---------------------------------------------------------------------------


def test_netrc_of_that_user_at_that_host(home: Path) -> None:
    netrc(home, f"machine {HOST} login alice password secret\nmachine b.example.org login bob password x\n")
    assert found() == "secret"
    assert found(user="bob") is None
    assert find_password(Relay.parse("tls://alice@other.example.org"), None) is None
    netrc(home, "default login alice password fallback\n")
    assert found() == "fallback"
    assert found(user="bob") is None
    netrc(home, f'machine {HOST} login alice password ""\n')
    if sys.version_info >= (3, 11):  # before, these were the characters of a password
        assert found() is None


def test_a_netrc_that_can_t_be_read(home: Path) -> None:
    for of_password in ("hunter2", "my hunter2", "my\nhunter2"):
        netrc(home, f"machine mail.example.org login alice password {of_password} is this\n")
        with pytest.raises(RelayURLError, match=r"^netrc: it can't be used: .*makes no sense in line [0-9]"):
            found()
        assert_untold(found, "hunter2")
    netrc(home, "machine mail.example.org login alice password hunter2\xe4\n".encode("latin-1"))
    with pytest.raises(RelayURLError, match=r"^netrc: it can't be used: it is not UTF-8"):
        found()
    assert_untold(found, "hunter2")
    (home / ".netrc").unlink()
    (home / ".netrc").mkdir()
    with pytest.raises(RelayURLError, match=r"^netrc: it can't be used: .*netrc"):
        found()


def assert_untold(way: Callable[[], object], secret: str) -> None:
    with pytest.raises(RelayURLError) as raised:
        way()
    assert secret not in str(raised.value)
    assert raised.value.__context__ is None


@POSIX
def test_a_netrc_of_others(home: Path) -> None:
    """Python's own module looks at its mode."""
    netrc(home, f"machine {HOST} login alice password secret\n", 0o644)
    with pytest.raises(RelayURLError, match=r"^netrc: .*permissive"):
        found()


def test_keyrings(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    ring.set_password(HOST, "alice", "secret")
    assert found() == "secret"
    assert found(user="bob") is None
    ring.failure = keyring.errors.NoKeyringError("none here")
    assert found() is None
    ring.failure = keyring.errors.KeyringLocked("locked")
    with pytest.raises(RelayURLError, match=r"^keyring: it can't be read: locked"):
        found()


def test_without_the_package_keyring(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    ring.set_password(HOST, "alice", "secret")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert found() is None


def test_a_scheme_that_wants_a_login() -> None:
    with pytest.raises(
        RelayURLError, match=r"^password: tls\+auth:// wants one, and neither the URL nor netrc"
    ):
        found(scheme="tls+auth")
    assert found(scheme="tls+auth", given="secret") == "secret"


# --- end to end ----------------------------------------------------------------------------------


def test_logged_in_by_each(
    smtp_server: ServerFactory, tmp_path: Path, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "file", "from the file\n")
    monkeypatch.setenv("MAIL_PASSWORD", "from the environment")
    with smtp_server(tls=Tls.STARTTLS) as server:
        at = f"tls://alice@{HOST}:{server.port}"
        smtpverify.connect(at, password="as an argument", timeout=5).quit()
        smtpverify.SMTP(at, password=b"of octets", timeout=5).quit()
        smtpverify.SMTP(at, password=lambda: "of a callable", timeout=5).quit()
        smtpverify.connect(f"{at}?password-env=MAIL_PASSWORD", timeout=5).quit()
        smtpverify.connect(f"{at}?password-file={file}&auth=login", timeout=5).quit()
        smtpverify.connect(at, timeout=5).quit()
        ring.set_password(HOST, "alice", "from the keyring")
        smtpverify.connect(at, timeout=5).quit()
        reused = smtpverify.SMTP(password="for every connection", timeout=5)
        for _ in range(2):
            reused.connect(at)
        reused.quit()
    given = [[each.password for each in connection.credentials] for connection in server.connections]
    assert given == [
        ["as an argument"],
        ["of octets"],
        ["of a callable"],
        ["from the environment"],
        ["from the file"],
        [],
        ["from the keyring"],
        ["for every connection"],
        ["for every connection"],
    ]
    assert server.connections[4].credentials[0].mechanism == "LOGIN"


@pytest.mark.parametrize("kind", [smtpverify.SMTP_SSL, smtpverify.SMTP])
def test_other_classes(smtp_server: ServerFactory, kind: Any) -> None:
    with smtp_server(tls=Tls.IMPLICIT) as server:
        kind(f"smtps://alice@{HOST}:{server.port}", password="secret", timeout=5).quit()
    assert server.connections[0].credentials[0].password == "secret"


def test_lmtp(smtp_server: ServerFactory) -> None:
    from tests.bed import Protocol

    with smtp_server(protocol=Protocol.LMTP) as server:
        url = f"lmtp://alice@127.0.0.1:{server.port}"
        smtpverify.LMTP(url, password="secret", timeout=5).quit()
        smtpverify.connect(url, password="secret", timeout=5).quit()
    assert [each.credentials[0].password for each in server.connections] == ["secret", "secret"]


def test_a_token_for_each_connection(smtp_server: ServerFactory) -> None:
    seen: list[bytes | None] = []
    tokens = iter(["first", "second"])

    def authenticate(mechanism: str, initial: bytes | None, ask: Any) -> str:
        seen.append(initial)
        return SUCCESS

    behaviour = Behaviour(tls=Tls.STARTTLS, after_tls=("AUTH PLAIN XOAUTH2",), authenticator=authenticate)
    with smtp_server(behaviour) as server:
        smtp = smtpverify.SMTP(password=lambda: next(tokens), timeout=5)
        for _ in range(2):
            smtp.connect(f"tls://alice@{HOST}:{server.port}?auth=xoauth2")
            assert smtp.mechanism == "XOAUTH2"
        smtp.quit()
    assert seen == [
        b"user=alice\1auth=Bearer first\1\1",
        b"user=alice\1auth=Bearer second\1\1",
    ]


def test_nothing_is_asked_before_the_server_is_verified(smtp_server: ServerFactory, world: Any) -> None:
    asked: list[int] = []

    def fresh() -> str:
        asked.append(1)
        return "secret"

    with (
        smtp_server(tls=Tls.STARTTLS, certificate=world.served("wrong_name")) as server,
        pytest.raises(smtpverify.HostnameMismatchError),
    ):
        smtpverify.connect(f"tls://alice@{HOST}:{server.port}", password=fresh, timeout=5)
    assert asked == []
    assert server.connections[0].leaked() == []


def test_what_is_missing_is_told_before_any_packet(smtp_server: ServerFactory) -> None:
    with smtp_server(tls=Tls.STARTTLS) as server, pytest.raises(RelayURLError, match=r"^password-env: "):
        smtpverify.connect(f"tls://alice@{HOST}:{server.port}?password-env=MAIL_PASSWORD", timeout=5)
    assert server.connections == []


def test_in_a_url_and_back() -> None:
    url = f"tls://alice@{HOST}?auth=scram-sha-256&password-env=X&password-file=/run/a%20b"
    relay = Relay.parse(url)
    assert (relay.auth, relay.password_env, relay.password_file) == ("SCRAM-SHA-256", "X", "/run/a b")
    assert relay.to_url() == url
    assert Relay.parse(relay.to_url()) == relay
    with pytest.raises(
        RelayURLError, match=r"^auth: 'gssapi' is no mechanism of ours; known are SCRAM-SHA-256-PLUS"
    ):
        Relay.parse(f"tls://alice@{HOST}?auth=gssapi")
