"""The known hosts: what a file may say, who is believed by it, and what opportunistic relays keep in mind."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import os
import pickle
import ssl
import stat
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

import smtpverify
from smtpverify import (
    Cause,
    InsecureContextError,
    KnownHostsWarning,
    Pin,
    PinMismatchError,
    PlaintextFallbackWarning,
    Relay,
    RelayURLError,
    TLSDowngradeError,
    Trust,
    TrustError,
    UntrustedCertificateError,
    create_context,
    memory,
)
from smtpverify.tls import known_hosts
from smtpverify.tls.known_hosts import HEADING, parse_known_hosts, read_known_hosts, user_known_hosts
from smtpverify.tls.names import reference_identifier
from smtpverify.tls.x509 import Certificate
from tests.bed import HOST, Behaviour, Handshake, Issued, Server, Starttls, Tls
from tests.bed.network import LOOPBACK
from tests.gate import assert_no_byte, refusal, tcp, wrap

if TYPE_CHECKING:
    from tests.bed import World
    from tests.bed.network import Resolver
    from tests.conftest import ServerFactory

if sys.version_info >= (3, 11):
    import tomllib

ROOT = Path(__file__).parents[1]
KEY = "spki-sha256:" + 43 * "A" + "="
OTHER_KEY = "sha256:" + 32 * "ab"
IMPLICIT = Behaviour(tls=Tls.IMPLICIT)
posix = pytest.mark.skipif(sys.platform == "win32", reason="modes, owners and links of Unix")


def key_of(issued: Issued) -> Pin:
    return Pin.of_spki(Certificate.from_der(issued.leaf_der))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give the path of known hosts, which are not there yet."""
    return tmp_path / "known" / "hosts"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


# --- the file ------------------------------------------------------------------------------------


def test_a_file() -> None:
    known = parse_known_hosts(
        f"""\
# of the office

[keys] # by hand
"Printer.Example.org" = "{KEY}"
"straße.example" = ["{KEY}", "{OTHER_KEY}",] # two
localhost=[ "{KEY}" ]
"192.0.2.1" = ["{KEY}"]
"2001:DB8::1" = ["{KEY}"]\t
[tls]
"mx.example.net:25" = 2026-11-21
"[2001:db8::1]:587" = 2024-02-29 # a leap day
localhost = 2026-11-21
""".replace("localhost = 2026-11-21\n", "")
    )
    key, other = Pin.parse(KEY), Pin.parse(OTHER_KEY)
    assert known.keys == {
        "printer.example.org": (key,),
        "xn--strae-oqa.example": (key, other),
        "localhost": (key,),
        "192.0.2.1": (key,),
        "2001:db8::1": (key,),
    }
    assert known.tls == {
        ("mx.example.net", 25): datetime.date(2026, 11, 21),
        ("2001:db8::1", 587): datetime.date(2024, 2, 29),
    }


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", HEADING, "[keys]\r\n[tls]\r\n", "[tls]\n[keys]"])
def test_nobody_is_known(text: str) -> None:
    known = parse_known_hosts(text)
    assert (known.keys, known.tls) == ({}, {})


BROKEN = {
    f'"a.example" = ["{KEY}"]': "it stands above [keys] and [tls]",
    "[others]": "the table [others] is unknown; known are [keys] and [tls]",
    "[keys]\n[keys]": "a line above says the same, or something else, of it",
    f'[keys]\n"a.example" = ["{KEY}"]\n"A.example." = ["{KEY}"]': "a line above says the same",
    '[tls]\n"a.example:25" = 2026-11-21\n"a.example:25" = 2026-11-22': "a line above says the same",
    f'[keys]\na.example = ["{KEY}"]': 'it is no line such as "mail.example.org" = ["spki-sha256:…"]',
    f"[keys]\n'a.example' = [\"{KEY}\"]": "it is no line such as",
    f'[keys]\n"a.example" = ["{KEY}"] # and\n"b.example" = ["{KEY}"': "it is no line such as",
    '[keys]\n"a.example" = ["sha256:\\u0041"]': "it is no line such as",
    '[keys]\n"a.example" = []': 'a key is missing, as in ["spki-sha256:…"]',
    '[keys]\n"a.example" = [ ]': "a key is missing",
    '[keys]\n"a.example" = 2026-11-21': "a key is missing",
    '[keys]\n"a.example" = ["abc"]': "pin 'abc': the digest is not hexadecimal",
    f'[keys]\n"a.example" = ["sha1:{20 * "ab"}"]': "sha1 can be forged",
    f'[keys]\n"a.example:25" = ["{KEY}"]': "'a.example:25' has a port; a trust is for all ports of a host",
    f'[keys]\n"a b" = ["{KEY}"]': "is neither a host name nor an address",
    f'[keys]\n"" = ["{KEY}"]': "is neither a host name nor an address",
    '[tls]\n"a.example" = 2026-11-21': "a.example has no port, as in mail.example.org:25",
    '[tls]\n"a.example:0" = 2026-11-21': "a.example:0 has no port",
    '[tls]\n"a.example:65536" = 2026-11-21': "a.example:65536 has no port",
    '[tls]\n"a.example:x" = 2026-11-21': "a.example:x has no port",
    '[tls]\n"a.example:25" = "2026-11-21"': "a day is wanted, as in 2026-11-21",
    '[tls]\n"a.example:25" = 2026-02-29': "a day is wanted",
    '[tls]\n"a.example:25" = 20261121': "a day is wanted",
    f'[tls]\n"a.example:25" = ["{KEY}"]': "a day is wanted",
    "# a\x1b[2J": "it contains a control character",
    "[keys]\r\r\n": "it contains a control character",
    "[keys]\n[tls]\n#\r": "it contains a control character",
    "[keys]\n\ufeff[tls]": "it is no line such as",
    "[[keys]]": "it is no line such as",
    '["keys"]': "it is no line such as",
}


@pytest.mark.parametrize("text", BROKEN)
def test_what_makes_no_sense_is_named(text: str, file: Path) -> None:
    write(file, text)
    with pytest.raises(TrustError) as caught:
        Trust(known_hosts=file)
    message = str(caught.value)
    last = len(text.rstrip("\r\n").split("\n"))
    assert message.startswith(f"known hosts: {file}:{last}: ")
    assert BROKEN[text] in message
    assert message.isprintable()


@pytest.mark.parametrize("start", ["", '"b",', '"b"'])
def test_spaces_cost_no_more_than_other_characters(start: str) -> None:
    """Twenty seconds it would be if each of them were tried with each."""
    line = f'"a.example" = [{start}{" " * 200_000}x'
    before = time.process_time()
    with pytest.raises(TrustError, match="it is no line such as"):
        parse_known_hosts(f"[keys]\n{line}")
    assert time.process_time() - before < 5


if sys.version_info >= (3, 11):  # where the standard library reads TOML

    @given(
        text=st.lists(
            st.sampled_from(
                [
                    *(line for text in BROKEN for line in text.split("\n")),
                    f'"b.example" = "{KEY}"',
                    f'c = ["{KEY}", "{OTHER_KEY}" , ]  # c',
                    '"d.example:25" = 2026-11-21',
                    "[keys]",
                    "[tls]\t#",
                    "",
                    "# ü",
                ]
            ),
            max_size=8,
        ).map("\n".join)
    )
    def test_what_is_read_is_toml(text: str) -> None:
        """Whatever we understand, every reader of TOML understands in the same way."""
        try:
            known = parse_known_hosts(text)
        except TrustError:
            return
        toml = tomllib.loads(text)
        assert known.keys == {
            reference_identifier(host).text: tuple(map(Pin.parse, [keys] if isinstance(keys, str) else keys))
            for host, keys in toml.get("keys", {}).items()
        }
        assert [f"{host}:{port}" for host, port in known.tls] == list(toml.get("tls", {}))
        assert list(known.tls.values()) == list(toml.get("tls", {}).values())


# Steps on a file: what is written down of whom.
HOSTS = st.sampled_from(["a.example", "B.example", "192.0.2.1", "2001:db8::1", "straße.example"])
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("keys"), HOSTS, st.lists(st.sampled_from([KEY, OTHER_KEY]), min_size=1, max_size=2)
        ),
        st.tuples(st.just("tls"), HOSTS, st.sampled_from([25, 587])),
        st.tuples(st.just("forget"), HOSTS, st.none()),
    ),
    max_size=12,
)
BEFORE = st.sampled_from(
    [
        None,
        "",
        "# mine",
        "[tls]\n# none\n\n[keys]\n",
        f'[keys]\r\n"z.example" = "{KEY}" # mine\r\n',
        f'[keys]\r\n"z.example" = "{KEY}"\r\n"a.example" = "{KEY}"',
        HEADING,
    ]
)


@given(before=BEFORE, steps=STEPS)
def test_what_is_written_is_read(
    before: str | None, steps: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A model in two dictionaries, and the file, agree; what stood there by hand stays."""
    file = tmp_path_factory.mktemp("known") / "hosts"
    if before is not None:
        write(file, before)
    kept = parse_known_hosts(before or "")
    keys, tls = dict(kept.keys), set(kept.tls)
    for what, host, value in steps:
        name = reference_identifier(host).text
        if what == "keys":
            memory.remember_keys(str(file), host, list(map(Pin.parse, value)))
            keys[name] = tuple(map(Pin.parse, value))
        elif what == "tls":
            memory.remember_tls(str(file), host, value)
            tls.add((name, value))
        else:
            known = name in keys or any(name == other for other, _ in tls)
            assert memory.forget(str(file), host) is known
            keys.pop(name, None)
            tls = {(other, port) for other, port in tls if other != name}
        found = read_known_hosts(str(file))
        assert (found.keys, set(found.tls)) == (keys, tls)
    if file.exists():
        assert read_known_hosts(str(file)) is read_known_hosts(str(file))  # read once
        lines = file.read_bytes().decode("utf-8").split("\n")
        theirs = [line for line in (before or "").split("\n") if line and not line.startswith('"a.')]
        assert [line for line in theirs if line not in lines] == []
        if sys.version_info >= (3, 11):
            tomllib.loads("\n".join(lines))
    assert {path.name for path in file.parent.iterdir()} <= {"hosts", "hosts.lock"}


def test_a_last_line_goes_with_its_end(file: Path) -> None:
    """What another has written, as on Windows, and without an end of the last."""
    file.parent.mkdir()
    file.write_bytes(f'[keys]\r\n"a.example" = "{KEY}"'.encode())
    assert memory.forget(str(file), "a.example")
    assert file.read_bytes() == b"[keys]\r\n"


def test_a_file_of_ours(tmp_path: Path) -> None:
    """As it looks; the directories and the file are the owner's alone, whatever the umask."""
    file = tmp_path / "config" / "smtpverify" / "known_hosts"
    before = os.umask(0)
    try:
        memory.remember_keys(str(file), "Printer.example.org", [Pin.parse(KEY)])
        memory.remember_tls(str(file), "mx.example.net", 25)
    finally:
        os.umask(before)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    lines = file.read_text(encoding="utf-8").splitlines()
    assert f'"printer.example.org" = ["{KEY}"]' in lines[lines.index(HEADING.splitlines()[2]) :]
    assert f'"mx.example.net:25" = {today}' in lines[lines.index(HEADING.splitlines()[4]) :]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.parent.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(f"{file}.lock").stat().st_mode) == 0o600


def test_many_who_add(file: Path) -> None:
    """Each keeps what the others have added, whenever they have looked."""
    pins = [Pin.parse(f"sha256:{number:064x}") for number in range(12)]
    threads = [
        threading.Thread(target=memory.remember_keys, args=(str(file), HOST, [pin]), kwargs={"add": True})
        for pin in pins * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read_known_hosts(str(file)).keys[HOST]
    assert (len(found), set(found)) == (12, set(pins))


def test_what_was_known_longer_stays(file: Path) -> None:
    write(file, '[tls]\n"mx.example.net:25" = 2020-01-01\n')
    memory.remember_tls(str(file), "mx.example.net", 25)
    assert file.read_text(encoding="utf-8") == '[tls]\n"mx.example.net:25" = 2020-01-01\n'


def test_a_link_to_it_stays_one(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(write(file, ""))
    memory.remember_keys(str(link), "a.example", [Pin.parse(KEY)])
    assert link.is_symlink()
    assert list(read_known_hosts(str(file)).keys) == ["a.example"]


def test_what_makes_no_sense_is_not_written_anew(file: Path) -> None:
    write(file, "[keys]\nnonsense\n")
    for change in (
        lambda: memory.remember_keys(str(file), "a.example", [Pin.parse(KEY)]),
        lambda: memory.remember_tls(str(file), "a.example", 25),
        lambda: memory.forget(str(file), "a.example"),
    ):
        with pytest.raises(TrustError, match=":2: it is no line"):
            change()
    assert file.read_text(encoding="utf-8") == "[keys]\nnonsense\n"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o400])
@posix
def test_who_could_read_it_still_can(mode: int, file: Path) -> None:
    """Such as root's own in /etc, from which a mail server's user reads."""
    if sys.platform == "win32":
        raise NotImplementedError
    write(file, HEADING).chmod(mode)
    group = 4711 if os.geteuid() == 0 else os.getegid()
    os.chown(file, -1, group)
    memory.remember_tls(str(file), "a.example", 25)
    status = file.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (mode | 0o600, group)


@posix
def test_another_group_does_not_read_in_its_place(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    write(file, HEADING).chmod(0o644)
    monkeypatch.setattr(os, "fchown", refused)
    memory.remember_tls(str(file), "a.example", 25)
    assert stat.S_IMODE(file.stat().st_mode) == 0o604


def test_what_nobody_could_read_is_not_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would stop everybody who reads it, and for good."""
    memory.remember_tls(str(file), "a.example", 25)
    before = file.read_bytes()
    with pytest.raises(TrustError, match="a key is missing"):
        memory.remember_keys(str(file), "b.example", [])
    with pytest.raises(TrustError, match=r"b\.example:0 has no port"):
        memory.remember_tls(str(file), "b.example", 0)
    monkeypatch.setattr(known_hosts, "_LARGEST", len(before) + 10)
    with pytest.raises(TrustError, match="hosts: it is larger than"):
        memory.remember_tls(str(file), "b.example", 25)
    assert file.read_bytes() == before
    memory.remember_tls(str(file), "a.example", 25)


def test_full_known_hosts_keep_no_mail_back(
    smtp_server: ServerFactory, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has names and certificates enough could fill them."""
    write(file, HEADING)
    monkeypatch.setattr(known_hosts, "_LARGEST", len(HEADING) + 10)
    with smtp_server(tls=Tls.STARTTLS) as server:
        for _ in range(2):
            with pytest.warns(KnownHostsWarning, match="hosts: it is larger than"):
                send(server, file)
    assert len(server.messages) == 2


def test_where_it_can_not_be_written(file: Path, tmp_path: Path) -> None:
    (tmp_path / "known").write_text("a file where the directory should be", encoding="utf-8")
    with pytest.raises(TrustError, match=r"^known hosts: .*hosts: (Not a directory|File exists)$"):
        memory.remember_tls(str(file), "a.example", 25)


def test_an_interrupt_leaves_nothing_behind(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    write(file, HEADING)
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        memory.remember_tls(str(file), "a.example", 25)
    assert {path.name for path in file.parent.iterdir()} == {"hosts", "hosts.lock"}
    assert file.read_text(encoding="utf-8") == HEADING


def test_another_who_writes_is_not_waited_for_endlessly(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_PATIENCE", 0.05)
    write(file, HEADING)
    with memory._alone(f"{file}.lock"), pytest.raises(TrustError, match=r"hosts\.lock: another process"):
        memory.remember_tls(str(file), "a.example", 25)
    memory.remember_tls(str(file), "a.example", 25)
    assert list(read_known_hosts(str(file)).tls) == [("a.example", 25)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nobody forks here")
def test_a_fork_does_not_keep_the_lock(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread's: the child has the file of the lock open for as long as it lives."""
    monkeypatch.setattr(memory, "_PATIENCE", 0.0)
    if sys.platform == "win32":
        raise NotImplementedError
    ours, theirs = os.pipe()
    with memory._alone(str(file.parent.parent / "lock")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads
            child = os.fork()
        if not child:
            os.close(theirs)
            os.read(ours, 1)
            os._exit(0)
        os.close(ours)
    try:
        with memory._alone(str(file.parent.parent / "lock")):
            pass
    finally:
        os.close(theirs)
        os.waitpid(child, 0)


@posix
def test_a_link_in_place_of_the_lock_is_not_followed(file: Path, tmp_path: Path) -> None:
    write(file, HEADING)
    Path(f"{file}.lock").symlink_to(tmp_path / "somewhere")
    with pytest.raises(TrustError, match="hosts: Too many levels of symbolic links"):
        memory.remember_tls(str(file), "a.example", 25)
    assert not (tmp_path / "somewhere").exists()


WRITER = """
import sys
from smtpverify import Pin, memory
path, number = sys.argv[1], int(sys.argv[2])
memory._PATIENCE = 50.0  # for eight who do nothing else, on a slow disk
sys.stdin.read()
for turn in range(20):
    memory.remember_keys(path, f"host-{number}-{turn}.example", [Pin.parse(sys.argv[3])])
    memory.remember_tls(path, f"host-{number}-{turn}.example", 25)
    memory.remember_tls(path, "all.example", 25)
    if turn % 4 == 0:
        assert memory.forget(path, f"host-{number}-{turn}.example")
"""


def test_many_who_write(file: Path) -> None:
    """Eight processes, none of which undoes what another has written, and readers who see it whole."""
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-W", "error", "-c", WRITER, str(file), str(number), KEY],
                    stdin=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    cwd=ROOT,
                )
            )
            for number in range(8)
        ]
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.close()
        seen = 0
        while any(writer.poll() is None for writer in writers):
            known = read_known_hosts(str(file))
            assert len(known.keys) >= seen - 8  # one each may just have been forgotten
            seen = max(seen, len(known.keys))
        for writer in writers:
            assert writer.stderr is not None
            assert (writer.wait(), writer.stderr.read()) == (0, "")
    known = read_known_hosts(str(file))
    names = {f"host-{number}-{turn}.example" for number in range(8) for turn in range(20) if turn % 4}
    assert set(known.keys) == names
    assert set(known.tls) == {(name, 25) for name in names} | {("all.example", 25)}
    assert {path.name for path in file.parent.iterdir()} == {"hosts", "hosts.lock"}


@pytest.mark.skipif(sys.platform == "win32", reason="HOME means nothing there")
def test_the_users_own(own_configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = own_configuration / "smtpverify" / "known_hosts"
    assert user_known_hosts() == str(own)
    assert Trust(known_hosts=True).known_hosts == str(own)
    assert Trust(known_hosts=False) == Trust()
    monkeypatch.setenv("HOME", "/home/alice")
    for value in ("", "relative/path"):
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
        assert user_known_hosts() == "/home/alice/.config/smtpverify/known_hosts"


@pytest.mark.skipif(sys.platform == "win32", reason="HOME means nothing there")
def test_without_a_home(own_configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current directory is none: what was known would be forgotten in another, and found in others'."""
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "alice")
    with pytest.raises(TrustError, match=r"^known_hosts: this user has no home directory; name a file"):
        Trust(known_hosts=True)
    with pytest.raises(RelayURLError, match=r"^known-hosts: this user has no home directory"):
        Relay.parse("tls://mail.example.org?known-hosts")


# --- a Trust with known hosts --------------------------------------------------------------------


def test_a_value(file: Path) -> None:
    trust = Trust(known_hosts=str(file))
    assert trust == Trust(known_hosts=file) != Trust()
    assert hash(trust) == hash(Trust(known_hosts=file))
    assert pickle.loads(pickle.dumps(trust)) == trust
    assert dataclasses.replace(trust, minimum_version=ssl.TLSVersion.TLSv1_3).known_hosts == str(file)
    write(file, f'[keys]\n"{HOST}" = "{KEY}"\n')
    assert trust == Trust(known_hosts=file)  # whatever it says
    chosen = trust.for_host(reference_identifier(HOST))
    assert (chosen.pins, chosen.pins_only, chosen.keys_from) == ((Pin.parse(KEY),), True, str(file))
    assert chosen is trust.for_host(reference_identifier(HOST.upper()))
    assert pickle.loads(pickle.dumps(chosen)) == chosen != Trust(pins=KEY, pins_only=True)
    assert trust.for_host(reference_identifier("other.example.org")) is trust


@pytest.mark.parametrize("value", [b"path", 3, "", "a\0b"])
def test_no_path(value: Any) -> None:
    with pytest.raises(TrustError, match=r"^known_hosts: "):
        Trust(known_hosts=value)


@posix
def test_no_file(tmp_path: Path) -> None:
    if sys.platform == "win32":
        raise NotImplementedError
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, problem in (("directory", "(it is no file|Is a directory)"), ("pipe", "it is no file")):
        with pytest.raises(TrustError, match=f"^known hosts: .*/{name}: {problem}$"):
            Trust(known_hosts=tmp_path / name)
    latin = tmp_path / "latin"
    latin.write_bytes(b"# stra\xdfe")
    latin.chmod(0o600)
    with pytest.raises(TrustError, match="it is not UTF-8"):
        Trust(known_hosts=latin)
    write(tmp_path / "beneath", "")
    with pytest.raises(TrustError, match=r"^known hosts: .*: Not a directory$"):
        Trust(known_hosts=tmp_path / "beneath" / "file")


def test_what_is_no_file_does_not_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    system_open = os.open

    def noting(*args: Any) -> int:
        opened.append(system_open(*args))
        return opened[-1]

    monkeypatch.setattr(os, "open", noting)
    with pytest.raises(TrustError, match="Is a directory"):
        known_hosts.text_of(str(tmp_path))
    (descriptor,) = opened
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_too_large(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_hosts, "_LARGEST", 10)
    with pytest.raises(TrustError, match="it is larger than 10 octets"):
        Trust(known_hosts=write(file, "# 9 octets\n"))


@pytest.mark.parametrize(
    ("mode", "problem"), [(0o620, "others can write"), (0o602, "others can write"), (0o644, "")]
)
@posix
def test_what_others_write_is_not_believed(mode: int, problem: str, file: Path) -> None:
    write(file, HEADING).chmod(mode)
    if problem:
        with pytest.raises(TrustError, match="others can write to it; try chmod 600"):
            Trust(known_hosts=file)
    else:
        Trust(known_hosts=file)


@posix
def test_anothers_file_is_not_believed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "win32":
        raise NotImplementedError
    write(file, HEADING)
    owner = file.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner:
        with pytest.raises(TrustError, match="it belongs to another user"):
            Trust(known_hosts=file)
    else:
        Trust(known_hosts=file)  # root's own is believed by all
        os.chown(file, 4711, -1)
        with pytest.raises(TrustError, match="it belongs to another user"):
            Trust(known_hosts=file)
    monkeypatch.setattr(sys, "platform", "win32")
    Trust(known_hosts=file)


# --- who is believed -----------------------------------------------------------------------------


@pytest.fixture
def stranger(world: World) -> Issued:
    """A server for which no CA vouches."""
    return world.served("self_signed_leaf")


@pytest.fixture
def known(file: Path, stranger: Issued) -> Trust:
    """Known hosts in which the stranger is."""
    memory.remember_keys(str(file), HOST, [key_of(stranger)])
    return Trust(known_hosts=file)


def test_a_key_stands_in_place_of_a_chain(smtp_server: ServerFactory, stranger: Issued, known: Trust) -> None:
    server = smtp_server(IMPLICIT, certificate=stranger)
    refusal(UntrustedCertificateError, Cause.SELF_SIGNED_LEAF, wrap, server, Trust())
    with wrap(server, known) as sock:
        assert sock.peer is not None
        assert (sock.peer.pin, sock.peer.matched, sock.peer.chain) == (key_of(stranger), None, ())
        assert isinstance(sock.context, smtpverify.VerifyingContext)
        assert sock.context.trust.keys_from == known.known_hosts


@pytest.mark.parametrize("kind", ["good", "unknown_issuer", "self_signed_root_in_chain", "expired"])
def test_a_changed_key_is_refused(smtp_server: ServerFactory, world: World, known: Trust, kind: str) -> None:
    """Also where a CA vouches for it: somebody has said that this server has that key."""
    issued = world.good() if kind == "good" else world.served(kind)
    with smtp_server(IMPLICIT, certificate=issued) as server:
        error = refusal(PinMismatchError, Cause.KNOWN_KEY_CHANGED, wrap, server, known)
        assert_no_byte(server)
    (old,) = known.for_host(reference_identifier(HOST)).pins
    assert str(error) == (
        f"{HOST}:{server.port}: the server's key is not the one that it is known by: known is {old}, "
        f"shown was {key_of(issued)}"
    )
    assert (
        f"'smtpverify trust --forget {HOST}' strikes the old one from {known.known_hosts}"
        in error.diagnosis.remedy
    )
    assert error.diagnosis.expected_pins == (str(old),)


def test_others_are_verified_as_ever(
    smtp_server: ServerFactory, world: World, known: Trust, stranger: Issued
) -> None:
    with (
        smtp_server(IMPLICIT, certificate=world.good("other.example.org")) as server,
        wrap(server, known, "other.example.org") as sock,
    ):
        assert sock.peer is not None
        assert str(sock.peer.matched) == "other.example.org"
    with smtp_server(IMPLICIT, certificate=stranger) as server:
        refusal(UntrustedCertificateError, Cause.SELF_SIGNED_LEAF, wrap, server, known, "other.example.org")
        assert_no_byte(server)


def test_the_context_of_a_connection_is_for_its_host(
    smtp_server: ServerFactory, stranger: Issued, known: Trust
) -> None:
    """A program may take it for the next connection, which is to somebody else."""
    with smtp_server(IMPLICIT, certificate=stranger) as server:
        with wrap(server, known) as sock:
            context = sock.context
        with tcp(server) as plain, context.wrap_socket(plain, server_hostname=HOST.upper()) as sock:
            assert sock.recv(4) == b"220 "
        with tcp(server) as plain:
            error = refusal(TrustError, None, context.wrap_socket, plain, server_hostname="other.example.org")
            assert str(error) == f"this trust is for {HOST} by its key, and not for other.example.org"
            error = refusal(
                TrustError,
                None,
                context.wrap_bio,
                ssl.MemoryBIO(),
                ssl.MemoryBIO(),
                server_hostname="other.example.org",
            )


def test_many_keys_put_out_no_context_with_roots(file: Path) -> None:
    """Else whoever writes to that many hosts would load the roots again and again."""
    write(file, "[keys]\n" + "".join(f'"{number}.example" = "{KEY}"\n' for number in range(80)))
    trust = Trust(known_hosts=file)
    context = create_context(trust)
    by_key = [
        create_context(trust.for_host(reference_identifier(f"{number}.example"))) for number in range(80)
    ]
    assert create_context(trust) is context
    assert create_context(trust.for_host(reference_identifier("79.example"))) is by_key[-1]
    assert create_context(trust.for_host(reference_identifier("0.example"))) is not by_key[0]


def test_the_file_is_asked_for_each_connection(
    smtp_server: ServerFactory, world: World, file: Path, stranger: Issued
) -> None:
    context = create_context(Trust(known_hosts=file))
    server = smtp_server(IMPLICIT, certificate=stranger)

    def connect() -> None:
        with tcp(server) as sock:
            context.wrap_socket(sock, server_hostname=HOST).close()

    refusal(UntrustedCertificateError, Cause.SELF_SIGNED_LEAF, connect)
    memory.remember_keys(str(file), HOST, [key_of(stranger)])
    connect()
    memory.remember_keys(str(file), HOST, [key_of(world.good())])
    refusal(PinMismatchError, Cause.KNOWN_KEY_CHANGED, connect)
    memory.remember_keys(str(file), HOST, [key_of(world.good()), key_of(stranger)])
    connect()
    memory.forget(str(file), HOST)
    refusal(UntrustedCertificateError, Cause.SELF_SIGNED_LEAF, connect)
    write(file, "nonsense")
    refusal(TrustError, None, connect)
    file.unlink()
    refusal(UntrustedCertificateError, Cause.SELF_SIGNED_LEAF, connect)


def test_pins_say_it_already(smtp_server: ServerFactory, world: World, file: Path, stranger: Issued) -> None:
    """With a pin besides chain and name, a known key takes nothing away from it."""
    memory.remember_keys(str(file), HOST, [key_of(stranger)])
    pinned = Trust(known_hosts=file, pins=str(key_of(world.good())))
    assert pinned.for_host(reference_identifier(HOST)) is pinned
    with smtp_server(IMPLICIT, certificate=world.good()) as server, wrap(server, pinned) as sock:
        assert sock.peer is not None
        assert str(sock.peer.matched) == HOST
    with smtp_server(IMPLICIT, certificate=stranger) as server:
        refusal(UntrustedCertificateError, Cause.SELF_SIGNED_LEAF, wrap, server, pinned)
        assert_no_byte(server)


def test_the_rest_of_the_trust_counts(
    smtp_server: ServerFactory, world: World, stranger: Issued, file: Path, tmp_path: Path
) -> None:
    """The client's certificate, and the oldest version."""
    memory.remember_keys(str(file), HOST, [key_of(stranger)])
    mine = world.root.issue("client.example.org", extended_key_usage=())
    certificate, key = mine.write(tmp_path, "client")
    recent = ssl.TLSVersion.TLSv1_3
    trust = Trust(known_hosts=file, client_cert=certificate, client_key=key, minimum_version=recent)
    with (
        smtp_server(IMPLICIT, certificate=stranger, client_roots=(world.root,)) as server,
        wrap(server, trust) as sock,
    ):
        assert sock.recv(100).startswith(b"220 ")
    assert server.connections[0].client_certificate == mine.leaf_der
    with smtp_server(IMPLICIT, certificate=stranger, tls_version=ssl.TLSVersion.TLSv1_2) as server:
        refusal(smtpverify.TLSHandshakeError, None, wrap, server, trust)
        assert_no_byte(server)


def test_in_memory(smtp_server: ServerFactory, world: World, stranger: Issued, known: Trust) -> None:
    """As asyncio does it."""

    async def talk(server: Server) -> bytes:
        reader, writer = await asyncio.open_connection(
            server.host, server.port, ssl=create_context(known), server_hostname=HOST
        )
        greeting = await reader.readline()
        writer.close()
        with contextlib.suppress(ssl.SSLError):  # the bed has nothing to say to a close_notify
            await writer.wait_closed()
        return greeting

    with smtp_server(IMPLICIT, certificate=stranger) as server:
        assert asyncio.run(talk(server)).startswith(b"220 ")
    with smtp_server(IMPLICIT, certificate=world.good()) as server:
        refusal(PinMismatchError, Cause.KNOWN_KEY_CHANGED, lambda: asyncio.run(talk(server)))
        assert_no_byte(server)


def test_a_socket_that_somebody_else_made(
    smtp_server: ServerFactory, world: World, stranger: Issued, known: Trust
) -> None:
    """By a context without verification, even: the key is looked at by us."""
    for issued, accepted in ((stranger, True), (world.good(), False)):
        with smtp_server(IMPLICIT, certificate=issued) as server:
            careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
            smtp = smtpverify.SMTP(trust=known, server_hostname=HOST)
            smtp.sock = careless.wrap_socket(tcp(server))
            if accepted:
                smtp.getreply()
                assert smtp.peer is not None
                assert smtp.peer.pin == key_of(stranger)
            else:
                refusal(PinMismatchError, Cause.KNOWN_KEY_CHANGED, smtp.getreply)
            smtp.close()


@pytest.mark.parametrize("way", ["starttls", "implicit", "url", "own context"])
def test_by_every_way(
    smtp_server: ServerFactory, world: World, stranger: Issued, known: Trust, way: str
) -> None:
    behaviour = IMPLICIT if way in ("implicit", "own context") else Behaviour(tls=Tls.STARTTLS)

    def talk(server: Server) -> None:
        if way == "starttls":
            with smtpverify.SMTP(HOST, server.port, trust=known) as smtp:
                smtp.starttls()
                smtp.login("alice", "s3cret")
        elif way == "url":
            url = f"tls://alice:s3cret@{HOST}:{server.port}?known-hosts={known.known_hosts}"
            smtpverify.connect(url).quit()
        else:
            options: Any = {"context": create_context(known)} if way == "own context" else {"trust": known}
            with smtpverify.SMTP_SSL(HOST, server.port, **options) as smtp:
                smtp.login("alice", "s3cret")

    with smtp_server(behaviour, certificate=stranger) as server:
        talk(server)
    assert [each.password for each in server.connections[0].credentials] == ["s3cret"]
    with smtp_server(behaviour, certificate=world.good()) as server:
        error = refusal(PinMismatchError, Cause.KNOWN_KEY_CHANGED, talk, server)
        assert error.port == server.port
    assert server.leaked() == []


def test_injected(smtp_server: ServerFactory, world: World, stranger: Issued, known: Trust) -> None:
    import smtplib

    def talk(server: Server) -> None:
        with smtplib.SMTP(HOST, server.port) as smtp:
            smtp.starttls()
            smtp.login("alice", "s3cret")

    with smtpverify.inject_into_smtplib(known):
        with smtp_server(tls=Tls.STARTTLS, certificate=stranger) as server:
            talk(server)
        assert [each.password for each in server.connections[0].credentials] == ["s3cret"]
        with smtp_server(tls=Tls.STARTTLS, certificate=world.good()) as server:
            refusal(PinMismatchError, Cause.KNOWN_KEY_CHANGED, talk, server)
        assert server.leaked() == []


def test_injected_a_context_is_not_for_its_host_alone(
    smtp_server: ServerFactory, world: World, stranger: Issued, known: Trust
) -> None:
    """A program may take it from one object for another, whose server has to prove what it always had to."""
    import smtplib

    with smtpverify.inject_into_smtplib(known):
        with smtp_server(IMPLICIT, certificate=stranger) as server:
            first = smtplib.SMTP_SSL(HOST, server.port)
            first.ehlo()
            second = smtplib.SMTP_SSL(context=first.context)
            for smtp in (first, second):
                refusal(UntrustedCertificateError, None, smtp.connect, "other.example.org", server.port)
        with smtp_server(IMPLICIT, certificate=world.good("other.example.org")) as other:
            for smtp in (first, second):
                smtp.connect("other.example.org", other.port)
                smtp.login("alice", "s3cret")
                smtp.quit()
    assert [len(each.credentials) for each in server.connections] == [0, 0, 0]
    assert [len(each.credentials) for each in other.connections] == [1, 1]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="smtplib takes no certificate from 3.12 on")
def test_injected_with_a_certificate(
    smtp_server: ServerFactory, world: World, stranger: Issued, known: Trust, tmp_path: Path
) -> None:
    import smtplib

    certificate, key = world.root.issue("client.example.org", extended_key_usage=()).write(tmp_path, "client")

    def talk(server: Server) -> None:
        options: Any = {"keyfile": key, "certfile": certificate}
        with smtplib.SMTP_SSL(HOST, server.port, **options) as smtp:
            smtp.login("alice", "s3cret")

    with smtpverify.inject_into_smtplib(known):
        with smtp_server(IMPLICIT, certificate=stranger) as server:
            talk(server)
        assert [each.password for each in server.connections[0].credentials] == ["s3cret"]
        with smtp_server(IMPLICIT, certificate=world.good()) as server:
            refusal(PinMismatchError, Cause.KNOWN_KEY_CHANGED, talk, server)
        assert server.leaked() == []


@pytest.mark.parametrize("careful", [True, False])
def test_injected_beside_a_context(
    smtp_server: ServerFactory, world: World, stranger: Issued, known: Trust, careful: bool
) -> None:
    """A program's own context gives way where a key is known, and stays where none is."""
    import smtplib

    def talk(server: Server, host: str) -> None:
        context = world.client_context()
        if not careful:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP(host, server.port) as smtp:
            smtp.starttls(context=context)
            smtp.login("alice", "s3cret")

    warned = contextlib.nullcontext() if careful else pytest.warns(smtpverify.InsecureContextWarning)
    with smtpverify.inject_into_smtplib(known), warned:
        with smtp_server(tls=Tls.STARTTLS, certificate=stranger) as server:
            talk(server, HOST)
        with smtp_server(tls=Tls.STARTTLS, certificate=world.good("other.example.org")) as other:
            talk(other, "other.example.org")
        with smtp_server(tls=Tls.STARTTLS, certificate=stranger) as impostor:
            refusal(UntrustedCertificateError, None, talk, impostor, "other.example.org")
    for good in (server, other):
        assert [each.password for each in good.connections[0].credentials] == ["s3cret"]
    assert impostor.leaked() == []


def test_injected_a_known_key_wants_tls(
    smtp_server: ServerFactory, known: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    import smtplib

    with smtp_server(Behaviour()) as server, smtpverify.inject_into_smtplib(known):
        smtp = smtplib.SMTP(HOST, server.port)
        error = refusal(smtpverify.TLSRequiredError, None, smtp.mail, "alice@example.org")
        assert str(error).endswith("nothing goes in plaintext, since a trust was given for this host")
        smtp.close()
    assert server.leaked() == []


def test_a_callers_context_can_not_know(known: Trust, smtp_server: ServerFactory, world: World) -> None:
    with (
        smtp_server(tls=Tls.STARTTLS) as server,
        smtpverify.SMTP(HOST, server.port, trust=known) as smtp,
        pytest.raises(InsecureContextError, match="gives known hosts with a key for the server too"),
    ):
        smtp.starttls(context=world.client_context())
    assert server.leaked() == []


def test_a_callers_context_for_others(known: Trust, smtp_server: ServerFactory, world: World) -> None:
    with (
        smtp_server(tls=Tls.STARTTLS, certificate=world.good("other.example.org")) as server,
        smtpverify.SMTP("other.example.org", server.port, trust=known) as smtp,
    ):
        smtp.starttls(context=world.client_context())
        assert smtp.peer is not None
        assert str(smtp.peer.matched) == "other.example.org"


@pytest.mark.parametrize("beside", [True, False])
def test_a_context_of_ours(known: Trust, smtp_server: ServerFactory, stranger: Issued, beside: bool) -> None:
    """Of the same trust, with the trust beside it or without."""
    options: Any = {"trust": known} if beside else {}
    with (
        smtp_server(tls=Tls.STARTTLS, certificate=stranger) as server,
        smtpverify.SMTP(HOST, server.port, **options) as smtp,
    ):
        smtp.starttls(context=create_context(known))
        assert smtp.peer is not None
        assert smtp.peer.pin == key_of(stranger)


# --- in a relay URL ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "=", "=1", "=yes"])
def test_the_users_own_in_a_url(value: str) -> None:
    relay = Relay.parse(f"tls://mail.example.org?known-hosts{value}")
    assert relay.trust == Trust(known_hosts=True)
    assert Relay.parse(relay.to_url()) == relay


def test_a_path_in_a_url(file: Path) -> None:
    relay = Relay.parse(f"smtp+tls://mail.example.org?known-hosts={file}")
    assert relay.trust == Trust(known_hosts=file)
    assert relay.to_url() == f"smtp+tls://mail.example.org?known-hosts={file}"
    for name in ("1", "none"):
        relay = Relay.parse(f"tls://a.example?known-hosts=./{name}")
        assert relay.trust.known_hosts == str(Path.cwd() / name)


def test_a_url_says_more_of_it(file: Path, tmp_path: Path) -> None:
    """The file of the URL is used in place of that of the trust; and one goes with a pin."""
    trust = Trust(known_hosts=file)
    assert Relay.parse("tls://a.example", trust=trust).trust is trust
    assert Relay.parse(f"tls://a.example?pin={KEY}", trust=trust).trust == Trust(known_hosts=file, pins=KEY)
    other = f"tls://a.example?known-hosts={tmp_path / 'other'}"
    assert Relay.parse(other, trust=trust).trust == Trust(known_hosts=tmp_path / "other")


def test_what_a_url_can_not_say(file: Path) -> None:
    write(file, "[keys]\nnonsense")
    for url, message in {
        f"tls://a.example?known-hosts={file}": f"known-hosts: {file}:2: it is no line",
        "tls://a.example?known-hosts=none": "known-hosts: leave it out for none; a file",
        "tls://a.example?known-hosts=a&known-hosts=b": "known-hosts: it is given twice",
        f"smtp://a.example?known-hosts={file}": "query: smtp:// never uses TLS; known-hosts would be",
    }.items():
        with pytest.raises(RelayURLError) as caught:
            Relay.parse(url)
        assert str(caught.value).startswith(message)


# --- who has offered TLS -------------------------------------------------------------------------

# What may be met in the place of TLS, for which an opportunistic relay goes on in plaintext.
DOWNGRADES = {
    "not offered": Behaviour(tls=Tls.STARTTLS, starttls=Starttls.ABSENT),
    "refused": Behaviour(tls=Tls.STARTTLS, starttls=Starttls.REFUSED),
    "EHLO refused": Behaviour(replies={"EHLO": "502 5.5.1 Not implemented"}),
    "broken off": Behaviour(tls=Tls.STARTTLS, handshake=Handshake.BROKEN_OFF),
}


def send(
    server: Server, file: Path | None, scheme: str = "smtp+tls", host: str = HOST, **options: Any
) -> Any:
    """Send a message by an opportunistic relay URL; the peer."""
    query = f"?known-hosts={file}" if file else ""
    with smtpverify.connect(f"{scheme}://{host}:{server.port}{query}", **options) as smtp:
        smtp.sendmail("alice@example.org", ["bob@example.org"], b"Subject: hello\r\n\r\nworld\r\n")
        return smtp.peer


@pytest.mark.parametrize("how", DOWNGRADES)
@pytest.mark.parametrize("scheme", ["smtp+tls", "smtp"])
def test_a_downgrade_is_refused(smtp_server: ServerFactory, file: Path, how: str, scheme: str) -> None:
    options: Any = {"dialect": "opensmtpd-6.4"} if scheme == "smtp" else {}
    with smtp_server(Behaviour(tls=Tls.STARTTLS), DOWNGRADES[how], DOWNGRADES[how]) as server:
        assert send(server, file, scheme, **options) is not None
        error = refusal(TLSDowngradeError, Cause.TLS_DOWNGRADE, send, server, file, scheme, **options)
    today = read_known_hosts(str(file)).tls[HOST, server.port]
    assert str(error) == (
        f"{HOST}:{server.port}: the server has offered TLS since {today}, and TLS was not to be had now; "
        "nothing was sent in plaintext"
    )
    assert error.__cause__ is not None
    assert f"'smtpverify trust --forget {HOST}' strikes it from {file}" in error.diagnosis.remedy
    assert isinstance(error, smtpverify.TLSRequiredError)
    assert len(server.messages) == 1
    assert [line for each in server.connections[1:] for line in each.leaked()] == []


@pytest.mark.parametrize("how", DOWNGRADES)
def test_without_known_hosts_there_is_no_memory(smtp_server: ServerFactory, how: str) -> None:
    with smtp_server(Behaviour(tls=Tls.STARTTLS), DOWNGRADES[how], Behaviour()) as server:
        send(server, None)
        with pytest.warns(PlaintextFallbackWarning):
            assert send(server, None) is None
    assert len(server.messages) == 2


def test_a_server_without_tls_stays_one(smtp_server: ServerFactory, file: Path) -> None:
    """What was never offered is not missed, and nothing is written down."""
    with smtp_server(Behaviour()) as server:
        for _ in range(2):
            with pytest.warns(PlaintextFallbackWarning):
                assert send(server, file) is None
    assert not file.exists()


def test_a_failed_verification_is_not_kept_in_mind(
    smtp_server: ServerFactory, file: Path, stranger: Issued
) -> None:
    """Anybody can offer STARTTLS in a server's name."""
    with smtp_server(tls=Tls.STARTTLS, certificate=stranger) as server:
        refusal(UntrustedCertificateError, None, send, server, file)
    assert not file.exists()


def test_another_port_and_another_host_are_others(
    smtp_server: ServerFactory, file: Path, resolve: Resolver
) -> None:
    with smtp_server(tls=Tls.STARTTLS) as secure, smtp_server(Behaviour()) as plain:
        send(secure, file)
        with pytest.warns(PlaintextFallbackWarning):
            send(plain, file)
        with pytest.warns(PlaintextFallbackWarning):
            send(plain, file, host="other.example.org")
    assert list(read_known_hosts(str(file)).tls) == [(HOST, secure.port)]


def test_the_name_that_is_proved_counts(smtp_server: ServerFactory, file: Path) -> None:
    with smtp_server(Behaviour(tls=Tls.STARTTLS), Behaviour()) as server:
        url = f"smtp+tls://{LOOPBACK}:{server.port}?server-name={HOST}&known-hosts={file}"
        smtpverify.connect(url).quit()
        refusal(TLSDowngradeError, Cause.TLS_DOWNGRADE, smtpverify.connect, url)
    assert list(read_known_hosts(str(file)).tls) == [(HOST, server.port)]


def test_strict_relays_remember_nothing(smtp_server: ServerFactory, file: Path) -> None:
    """They need no memory to refuse."""
    with smtp_server(tls=Tls.STARTTLS) as server:
        send(server, file, "tls")
    assert not file.exists()


def test_a_known_key_wants_tls(smtp_server: ServerFactory, file: Path, stranger: Issued) -> None:
    memory.remember_keys(str(file), HOST, [key_of(stranger)])
    with smtp_server(Behaviour()) as server:
        error = refusal(TLSDowngradeError, Cause.TLS_DOWNGRADE, send, server, file)
    assert "the server is known by its key, and TLS was not to be had now" in str(error)
    assert server.leaked() == []


def test_forgotten(smtp_server: ServerFactory, file: Path) -> None:
    with smtp_server(Behaviour(tls=Tls.STARTTLS), Behaviour()) as server:
        send(server, file)
        assert memory.forget(str(file), HOST)
        with pytest.warns(PlaintextFallbackWarning):
            send(server, file)


def test_what_can_not_be_written_is_told(
    smtp_server: ServerFactory, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mail goes: the server is verified, and TLS is there."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with smtp_server(tls=Tls.STARTTLS) as server:
        with pytest.warns(KnownHostsWarning) as caught:
            send(server, file)
        (warning,) = caught
        assert str(warning.message) == (
            f"known hosts: {file}: No space left on device; a later downgrade to plaintext will go unnoticed"
        )
        assert warning.filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error", KnownHostsWarning)
            refusal(KnownHostsWarning, None, send, server, file)
    assert len(server.messages) == 1


@pytest.mark.parametrize("at", ["before", "between"])
def test_what_can_not_be_read_stops_everything(smtp_server: ServerFactory, file: Path, at: str) -> None:
    """Rather than to go on as if nobody were known."""
    plain = Behaviour(tls=Tls.STARTTLS, starttls=Starttls.ABSENT)

    def spoil() -> str:
        write(file, "[tls]\nnonsense")
        return "502 5.5.1 Not implemented"

    if at == "before":
        spoil()
        with smtp_server(plain) as server:
            refusal(RelayURLError, None, send, server, file)
    else:
        with smtp_server(plain, replies={"EHLO": lambda _: spoil()}) as server:
            refusal(TrustError, None, send, server, file)
    assert server.leaked() == []


def test_many_threads_learn_it_at_once(smtp_server: ServerFactory, file: Path) -> None:
    failures: list[BaseException] = []

    def work(server: Server) -> None:
        try:
            send(server, file)
        except BaseException as failure:  # noqa: BLE001 - looked at below
            failures.append(failure)

    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(smtp_server(tls=Tls.STARTTLS)) for _ in range(6)]
        threads = [threading.Thread(target=work, args=(server,)) for server in servers * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert set(read_known_hosts(str(file)).tls) == {(HOST, server.port) for server in servers}
