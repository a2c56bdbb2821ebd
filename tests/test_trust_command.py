"""`smtpverify trust`, as a process: what it shows, asks, and remembers; and what follows from it."""

from __future__ import annotations

import json
import os
import re
import select
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from smtpverify import Pin
from smtpverify.tls.known_hosts import read_known_hosts
from smtpverify.tls.x509 import Certificate
from tests.bed import Behaviour, Handshake, Issued, Starttls, Tls, closed_port
from tests.bed.certs import self_signed
from tests.gate import OTHER_PIN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed import Server, World
    from tests.conftest import ServerFactory

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no terminals of this kind")

# The process has the system's resolver, which knows no name of ours but this one.
PLACE = "localhost"
QUESTION = f"Is it the same, and {PLACE} to be trusted by this key? (yes/no) "


def command(*arguments: str, typed: str = "", **environment: str) -> Any:
    """Run a command without a terminal."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "smtpverify", *arguments],
        input=typed,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONUTF8": "1", "COLUMNS": "120", **environment},
    )


# The session's leader, to which the terminal belongs from then on.
_AT_TERMINAL = (
    "import fcntl, os, sys, termios\n"
    "fcntl.ioctl(2, termios.TIOCSCTTY, 0)\n"
    "os.execv(sys.executable, [sys.executable, '-W', 'error', '-m', 'smtpverify', *sys.argv[1:]])\n"
)


def sitting(*arguments: str, answer: bytes) -> tuple[int, str]:
    """Run a command at a terminal, and answer its question; the status, and what was shown."""
    if sys.platform == "win32":
        raise NotImplementedError
    import pty

    ours, theirs = pty.openpty()
    shown, asked = b"", False
    environment = {**os.environ, "PYTHONUTF8": "1", "TERM": "dumb", "COLUMNS": "120"}
    with subprocess.Popen(
        [sys.executable, "-c", _AT_TERMINAL, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=environment,
    ) as process:
        os.close(theirs)
        try:
            while True:
                assert select.select([ours], [], [], 40)[0], shown
                try:
                    octets = os.read(ours, 4096)
                except OSError:  # Linux: nobody is at the other end any more
                    break
                if not octets:
                    break
                shown += octets
                if b"(yes/no) " in shown and not asked:
                    asked = True
                    os.write(ours, answer)
            return process.wait(40), shown.decode().replace("\r\n", "\n")
        finally:
            process.kill()
            os.close(ours)


def key_of(issued: Issued) -> Pin:
    return Pin.of_spki(Certificate.from_der(issued.leaf_der))


def fingerprint_of(issued: Issued) -> Pin:
    return Pin.of_certificate(Certificate.from_der(issued.leaf_der))


@pytest.fixture
def stranger(world: World) -> Issued:
    return world.served("self_signed_leaf", PLACE)


@pytest.fixture
def file(own_configuration: Path) -> Path:
    """Give the path of the user's own known hosts, which are not there yet."""
    return own_configuration / "smtpverify" / "known_hosts"


def url(server: Server, scheme: str = "tls") -> str:
    return f"{scheme}://{PLACE}:{server.port}"


def flat(text: str) -> str:
    return " ".join(text.split())


def assert_nothing_said(server: Server) -> None:
    assert server.leaked() == []


# --- a stranger ----------------------------------------------------------------------------------


def test_a_stranger_is_confirmed_and_known(
    smtp_server: ServerFactory, stranger: Issued, file: Path, tmp_path: Path
) -> None:
    letter = tmp_path / "letter.eml"
    letter.write_text("From: a@example.org\nTo: b@example.org\nSubject: hello\n\nworld\n")
    with smtp_server(tls=Tls.STARTTLS, certificate=stranger) as server:
        assert command("send", url(server), str(letter)).returncode == 77
        status, shown = sitting("trust", url(server), answer=b"yes\n")
        assert status == 0
        leaf = Certificate.from_der(stranger.leaf_der)
        colons = fingerprint_of(stranger).format("msmtp")
        for expected in (
            f"{url(server)} not verified: the certificate is self-signed (",
            f"names {PLACE} subject ",
            f"valid from {leaf.not_before:%Y-%m-%d} until {leaf.not_after:%Y-%m-%d}",
            f"fingerprint SHA-256 {colons[:47]} {colons[48:]} key {key_of(stranger)}",
            "Compare the fingerprint with what the server's administrator",
            "On the server itself: openssl x509 -in server.pem -noout -fingerprint -sha256",
            f"{QUESTION}yes ✓ {PLACE} is known by its key now: {file}",
        ):
            assert expected in flat(shown)
        assert_nothing_said(server)
        # And it is: by every command, and again.
        assert command("send", url(server), str(letter)).returncode == 0
        assert len(server.messages) == 1
        check = json.loads(command("check", "--json", url(server)).stdout)["relays"][0]
        assert (check["verdict"], check["trust"]) == ("verified", f"the known hosts ({file})")
        again = command("trust", url(server))
        assert (again.returncode, flat(again.stdout)) == (
            0,
            f"{url(server)} ✓ verified: it is known by its key",
        )
    assert read_known_hosts(str(file)).keys == {PLACE: (key_of(stranger),)}


@pytest.mark.parametrize("answer", [b"no\n", b"\n", b"y\n", b"yes please\n", b"\x04"])
def test_anything_but_yes_is_no(
    smtp_server: ServerFactory, stranger: Issued, file: Path, answer: bytes
) -> None:
    with smtp_server(tls=Tls.IMPLICIT, certificate=stranger) as server:
        status, shown = sitting("trust", url(server, "smtps"), answer=answer)
    assert status == 1
    assert shown.endswith("\n✗ not trusted; nothing was stored\n")
    assert not file.exists()


def test_ctrl_c(smtp_server: ServerFactory, stranger: Issued, file: Path) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=stranger) as server:
        status, shown = sitting("trust", url(server), answer=b"\x03")
    assert status == 130
    assert shown.endswith(f"{QUESTION}^C")
    assert not file.exists()


def test_nobody_to_ask(smtp_server: ServerFactory, stranger: Issued, file: Path) -> None:
    """A yes from a pipe is nobody's word."""
    with smtp_server(tls=Tls.STARTTLS, certificate=stranger) as server:
        run = command("trust", url(server), typed="yes\n")
    assert run.returncode == 64
    assert run.stderr == (
        "smtpverify trust: there is no terminal to ask at; give the server's own by --fingerprint\n"
    )
    assert not file.exists()


@pytest.mark.parametrize("filler", ["x", " ", "漢"])
def test_a_certificate_draws_no_line_of_ours(
    smtp_server: ServerFactory, world: World, file: Path, filler: str
) -> None:
    """Its texts are its owner's, who would have the genuine server's fingerprint seen."""
    lie = f"    fingerprint  SHA-256 {Pin.parse(OTHER_PIN).digest[:16].hex(':').upper()}"
    names = [filler * columns + lie for columns in (20, 39, 40, 60, 63)] if filler != "漢" else [PLACE]
    impostor = world.unknown.issue(
        *names, *(f"{number}.example" for number in range(9)), common_name="printer"
    )
    wordy = self_signed(PLACE, common_name=filler * (36 // len(filler.encode())) + lie[:28])
    for issued in (impostor, wordy):
        with smtp_server(tls=Tls.STARTTLS, certificate=issued) as server:
            run = command("trust", "--fingerprint", OTHER_PIN, url(server), COLUMNS="80")
        assert run.returncode == 1
        digest = fingerprint_of(issued).digest
        ours = (
            f"    fingerprint  SHA-256 {digest[:16].hex(':').upper()}",
            f"{' ' * 25}{digest[16:].hex(':').upper()}",
        )
        lines = run.stdout.splitlines()
        at = lines.index(ours[0])
        assert lines[at + 1] == ours[1]
        for line in (*lines[:at], *lines[at + 2 :]):
            assert re.match(
                r"tls:|  not verified: |    (names|subject|valid|key) {5,}\S| {16,17}\S|✗ ", line
            ), line
            columns = len(line) + sum(char == "漢" for char in line)
            assert columns <= 80, line  # the terminal breaks none


# --- by a fingerprint that is known from elsewhere -----------------------------------------------


def test_into_the_file_that_the_url_names(
    smtp_server: ServerFactory, stranger: Issued, file: Path, tmp_path: Path
) -> None:
    """What is believed for it is asked there, and so it has to be written there."""
    other = tmp_path / "other"
    with smtp_server(tls=Tls.STARTTLS, certificate=stranger) as server:
        there = f"{url(server)}?known-hosts={other}"
        run = command("trust", "--fingerprint", str(fingerprint_of(stranger)), there)
        assert (run.returncode, run.stderr) == (0, "")
        assert flat(run.stdout).endswith(f"✓ {PLACE} is known by its key now: {other}")
        assert read_known_hosts(str(other)).keys == {PLACE: (key_of(stranger),)}
        assert not file.exists()
        known(server, stranger)
        assert command("trust", "--forget", there).returncode == 0
    assert read_known_hosts(str(other)).keys == {}
    assert read_known_hosts(str(file)).keys == {PLACE: (key_of(stranger),)}


@pytest.mark.parametrize("spelling", ["openssl", "mercurial", "msmtp", "smtpverify", "key"])
def test_by_a_fingerprint(smtp_server: ServerFactory, stranger: Issued, file: Path, spelling: Any) -> None:
    pin = key_of(stranger) if spelling == "key" else fingerprint_of(stranger)
    text = str(pin) if spelling == "key" else pin.format(spelling)
    with smtp_server(tls=Tls.STARTTLS, certificate=stranger) as server:
        run = command("trust", "--fingerprint", OTHER_PIN, "--fingerprint", text, url(server))
    assert (run.returncode, run.stderr) == (0, "")
    assert flat(run.stdout).endswith(f"✓ {PLACE} is known by its key now: {file}")
    assert read_known_hosts(str(file)).keys == {PLACE: (key_of(stranger),)}


def test_the_servers_own_and_not_its_issuers(smtp_server: ServerFactory, world: World, file: Path) -> None:
    """Of all that it sends; its issuer's key would be that of others, too."""
    issued = world.served("unknown_issuer_with_intermediate", PLACE)
    issuer = Pin.of_certificate(Certificate.from_der(issued.chain_ders[1]))
    with smtp_server(tls=Tls.STARTTLS, certificate=issued) as server:
        assert command("trust", "--fingerprint", str(issuer), url(server)).returncode == 1
        assert not file.exists()
        known(server, issued)
        assert command("check", url(server)).returncode == 0
    assert read_known_hosts(str(file)).keys == {PLACE: (key_of(issued),)}


def test_not_by_anothers(smtp_server: ServerFactory, stranger: Issued, world: World, file: Path) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=stranger) as server:
        run = command("trust", "--fingerprint", OTHER_PIN, url(server))
    assert run.returncode == 1
    assert run.stdout.endswith(
        "✗ this is not the fingerprint that was given\n✗ not trusted; nothing was stored\n"
    )
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(PLACE)) as server:
        run = command("trust", "--fingerprint", OTHER_PIN, url(server))
        assert run.returncode == 1
        expected = f"✗ verified, and of another fingerprint: {fingerprint_of(world.good(PLACE))}"
        assert flat(run.stdout).endswith(expected)
        assert (
            command("trust", "--fingerprint", str(fingerprint_of(world.good(PLACE))), url(server)).returncode
            == 0
        )
    assert not file.exists()


# --- who is known already ------------------------------------------------------------------------


def known(server: Server, issued: Issued) -> None:
    run = command("trust", "--fingerprint", str(fingerprint_of(issued)), url(server))
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("kind", ["unknown_issuer", "good"])
def test_a_changed_key(
    smtp_server: ServerFactory, world: World, stranger: Issued, file: Path, kind: str
) -> None:
    other = world.served(kind, PLACE)
    with smtp_server(tls=Tls.STARTTLS, certificate=stranger) as server:
        known(server, stranger)
    with smtp_server(tls=Tls.STARTTLS, certificate=other) as server:
        check = command("check", url(server))
        assert check.returncode == 1
        assert (
            f"✗ refused: the server's key is not the one that it is known by: known is {key_of(stranger)}, "
            f"shown was {key_of(other)}"
        ) in flat(check.stdout)
        for answer, status in ((b"no\n", 1), (b"yes\n", 0)):
            assert read_known_hosts(str(file)).keys == {PLACE: (key_of(stranger),)}
            ended, shown = sitting("trust", url(server), answer=answer)
            assert ended == status
            assert (
                f"✗ {PLACE} is known by another key: {key_of(stranger)}. Its key was changed, or somebody is "
                "between you and the server."
            ) in flat(shown)
            assert "to be trusted by this key instead of the other? (yes/no)" in flat(shown)
        assert_nothing_said(server)
    assert read_known_hosts(str(file)).keys == {PLACE: (key_of(other),)}


def test_one_key_more(smtp_server: ServerFactory, world: World, stranger: Issued, file: Path) -> None:
    """A host may have another on another port."""
    other = world.served("unknown_issuer", PLACE)
    with (
        smtp_server(tls=Tls.STARTTLS, certificate=stranger) as one,
        smtp_server(tls=Tls.IMPLICIT, certificate=other) as two,
    ):
        known(one, stranger)
        run = command("trust", "--add", "--fingerprint", str(fingerprint_of(other)), url(two, "smtps"))
        assert run.returncode == 0
        assert command("check", url(one), url(two, "smtps")).returncode == 0
    assert read_known_hosts(str(file)).keys == {PLACE: (key_of(stranger), key_of(other))}


def test_listed_and_forgotten(smtp_server: ServerFactory, stranger: Issued, file: Path) -> None:
    nobody = command("trust", "--list")
    assert (nobody.returncode, nobody.stdout, nobody.stderr) == (0, "", f"nobody is known: {file}\n")
    with smtp_server(tls=Tls.STARTTLS, certificate=stranger) as server:
        known(server, stranger)
        assert command("check", url(server, "smtp+tls")).returncode == 0
        listed = command("trust", "--list").stdout.splitlines()
        assert listed[0] == f"{PLACE} {key_of(stranger)}"
        assert re.fullmatch(rf"{PLACE}:{server.port} has offered TLS since \d\d\d\d-\d\d-\d\d", listed[1])
        assert listed[2:] == []
        run = command("trust", "--forget", url(server), PLACE.upper())
        assert (run.returncode, run.stdout) == (1, f"✓ {PLACE} is forgotten\n✗ {PLACE} is not known\n")
        assert command("trust", "--list").stdout == ""
        assert command("check", url(server)).returncode == 1


def test_check_where_nothing_can_be_remembered(smtp_server: ServerFactory, world: World, file: Path) -> None:
    """That is no fallback: the server is verified."""
    file.parent.mkdir(parents=True)
    file.with_name("known_hosts.lock").mkdir()
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(PLACE)) as server:
        run = command("check", url(server, "smtp+tls"))
    assert run.returncode == 0
    assert "✗ warning " in run.stdout
    assert "a later downgrade to plaintext will go unnoticed" in run.stdout
    assert "fallback" not in run.stdout


def test_a_downgrade_at_the_shell(
    smtp_server: ServerFactory, world: World, file: Path, tmp_path: Path
) -> None:
    letter = tmp_path / "letter.eml"
    letter.write_text("From: a@example.org\nTo: b@example.org\nSubject: hello\n\nworld\n")
    good = Behaviour(tls=Tls.STARTTLS, certificate=world.good(PLACE))
    with smtp_server(good, Behaviour()) as server:
        assert command("send", url(server, "smtp+tls"), str(letter)).returncode == 0
        run = command("send", url(server, "smtp+tls"), str(letter))
        assert run.returncode == 69
        assert f"{PLACE}:{server.port}: the server has offered TLS since " in run.stderr
        assert f"'smtpverify trust --forget {PLACE}' strikes it from {file}" in flat(run.stderr)
        assert len(server.messages) == 1
        assert command("trust", "--forget", url(server)).returncode == 0
        run = command("send", url(server, "smtp+tls"), str(letter))
        assert run.returncode == 0
        assert "warning: " in run.stderr
    assert len(server.messages) == 2


# --- nothing to trust ----------------------------------------------------------------------------


def test_a_ca_vouches(smtp_server: ServerFactory, world: World, file: Path) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(PLACE)) as server:
        run = command("trust", url(server))
    assert (run.returncode, run.stderr) == (0, "")
    assert flat(run.stdout) == f"{url(server)} ✓ verified: a CA vouches for it, and no key need be stored"
    assert not file.exists()


NOTHING: list[tuple[dict[str, Any], int, str]] = [
    ({"starttls": Starttls.ABSENT}, 1, "✗ refused: the server does not offer STARTTLS If it used to"),
    ({"handshake": Handshake.BROKEN_OFF}, 1, "✗ refused: "),
    ({"greeting": "554 5.3.2 not you"}, 1, "not you"),
]


@pytest.mark.parametrize(("fields", "status", "told"), NOTHING)
def test_no_certificate_to_see(
    smtp_server: ServerFactory, stranger: Issued, file: Path, fields: dict[str, Any], status: int, told: str
) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=stranger, **fields) as server:
        run = command("trust", url(server))
    assert (run.returncode, run.stderr) == (status, "")
    assert told in flat(run.stdout)
    assert not file.exists()


def test_more_amiss_than_the_chain(
    smtp_server: ServerFactory, world: World, stranger: Issued, file: Path
) -> None:
    """No key that somebody confirms would help."""
    behaviour = Behaviour(tls=Tls.IMPLICIT, certificate=stranger, client_roots=(world.root,))
    with smtp_server(behaviour, tls_version=ssl.TLSVersion.TLSv1_2) as server:
        run = command("trust", "--fingerprint", str(fingerprint_of(stranger)), url(server, "smtps"))
    assert run.returncode == 1
    assert "client certificate" in flat(run.stdout)
    assert not file.exists()


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("expired", "Have the server's certificate renewed."),
        ("wrong_name", "Connect by a name that the certificate bears"),
        ("missing_intermediate", "Have the server send its whole chain"),
        ("unknown_issuer", ""),
    ],
)
def test_what_has_another_cure(smtp_server: ServerFactory, world: World, kind: str, remedy: str) -> None:
    """It is told before somebody overrules it."""
    issued = world.served(kind, PLACE)
    with smtp_server(tls=Tls.STARTTLS, certificate=issued) as server:
        run = command("trust", "--fingerprint", str(fingerprint_of(issued)), url(server))
    assert run.returncode == 0
    before = flat(run.stdout.partition("    names ")[0])
    assert remedy in before
    assert (" is not trusted" in before[-16:]) is not bool(remedy)  # there it ends with the summary


def test_nobody_there(file: Path) -> None:
    with closed_port() as port:
        run = command("trust", f"tls://{PLACE}:{port}")
    assert (run.returncode, run.stderr) == (2, "")
    assert "✗ unreachable: " in run.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "no relay was given"),
        (("--forget",), "no relay was given"),
        (("--list", "localhost"), "--list prints all that is known; nothing goes with it"),
        (("--list", "--forget", "localhost"), "--list prints all that is known; nothing goes with it"),
        (("--list", "--add"), "--list prints all that is known; nothing goes with it"),
        (("--list", "--fingerprint", OTHER_PIN), "--list prints all that is known; nothing goes with it"),
        (("--forget", "--add", "localhost"), "--forget goes neither with --fingerprint nor with --add"),
        (("--forget", "--fingerprint", OTHER_PIN, "localhost"), "--forget goes neither with --fingerprint"),
        (("smtp://localhost",), "smtp://localhost: smtp:// never uses TLS, and shows no key"),
        (("lmtp://localhost:24",), "lmtp://localhost:24: LMTP is without TLS"),
        (
            (f"tls://localhost?pin-only={OTHER_PIN}",),
            "tls://localhost: the URL has a pin, which says already",
        ),
        (("--fingerprint", "abc", "localhost"), "pin 'abc': the digest is not hexadecimal"),
        (("--fingerprint", 20 * "ab", "localhost"), "sha1 can be forged"),
        (("--known-hosts", "none", "localhost"), "without known hosts there is nowhere to remember a key"),
        (("--known-hosts", "/dev/null", "localhost"), "known hosts: /dev/null: it is no file"),
        (("--cafile", "/nowhere", "localhost"), "trust: --cafile: /nowhere: No such file or directory"),
        (("--forget", "a b"), "is neither a host name nor an address"),
    ],
)
def test_usage(arguments: tuple[str, ...], told: str) -> None:
    run = command("trust", *arguments)
    assert (run.returncode, run.stdout) == (64, "")
    assert run.stderr.startswith("smtpverify trust: ")
    assert told in run.stderr


def test_without_a_home(smtp_server: ServerFactory, world: World, tmp_path: Path) -> None:
    """A service may have none: then nobody is known, and there is nowhere to remember a key."""
    nowhere = {"HOME": "relative", "XDG_CONFIG_HOME": ""}
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(PLACE)) as server:
        assert command("check", url(server), **nowhere).returncode == 0
        run = command("trust", url(server), **nowhere)
        assert (run.returncode, run.stdout) == (64, "")
        assert "nowhere to remember a key" in run.stderr
        file = tmp_path / "known"
        assert command("trust", "--known-hosts", str(file), url(server), **nowhere).returncode == 0


def test_known_hosts_that_make_no_sense(smtp_server: ServerFactory, stranger: Issued, file: Path) -> None:
    """Every command stops at them, rather than to go on as if nobody were known."""
    file.parent.mkdir(parents=True)
    file.write_text("[keys]\nnonsense\n")
    with smtp_server(tls=Tls.STARTTLS, certificate=stranger) as server:
        for name in ("check", "pin", "trust", "send"):
            run = command(name, url(server), typed="Subject: hello\n\n")
            assert run.returncode == 64
            assert f"known hosts: {file}:2: it is no line such as" in run.stderr
            other = command(name, "--known-hosts", "none", url(server), typed="Subject: hello\n\n")
            assert f"{file}" not in other.stderr
    assert server.leaked() == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_where_nothing_can_be_written(
    smtp_server: ServerFactory, stranger: Issued, own_configuration: Path
) -> None:
    own_configuration.mkdir()
    own_configuration.chmod(0o500)
    with smtp_server(tls=Tls.STARTTLS, certificate=stranger) as server:
        run = command("trust", "--fingerprint", str(fingerprint_of(stranger)), url(server))
    assert run.returncode == 71
    assert "Permission denied" in run.stderr
    assert "Traceback" not in run.stderr


def test_verbose_and_nobody_to_ask(smtp_server: ServerFactory, stranger: Issued) -> None:
    """Nor is a standard input that is closed anybody."""
    with smtp_server(Behaviour(tls=Tls.STARTTLS, certificate=stranger)) as server:
        line = 'exec "$0" -W error -m smtpverify trust -v "$1" <&-'
        run = subprocess.run(
            ["/bin/sh", "-c", line, sys.executable, url(server)],
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONUTF8": "1"},
        )
    assert run.returncode == 64
    lines = run.stderr.splitlines()
    assert lines.count("→ STARTTLS") == 2
    assert lines[-1].startswith("smtpverify trust: there is no terminal to ask at; ")
    assert_nothing_said(server)
