"""`smtpverify explain`, as a process: what it says of each URL, and what it leaves alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from smtpverify.cli.explain import explanation
from smtpverify.schemes import DIALECTS, Mode
from tests.bed import Server

if TYPE_CHECKING:
    from smtpverify.schemes import Dialect
    from tests.bed import World

PIN = "sha256:5e5351563812b58297bf70dc7e4d010291f084ba29d7f0afd4d407a85f79bd4e"
NEW: Dialect = "opensmtpd-6.4"
OLD: Dialect = "opensmtpd-2012"


def explain(*arguments: str, home: Path, **environment: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "smtpverify", "explain", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=50,
        check=False,
        env={**os.environ, "HOME": str(home), "PYTHONUTF8": "1", "COLUMNS": "120", **environment},
    )


def test_what_is_printed(world: World, tmp_path: Path) -> None:
    run = explain(f"tls://alice@mail.example.org:587?pin={PIN}&auth=plain", "smtps://h", home=tmp_path)
    installed = "" if find_spec("keyring") else "not "
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == (
        "tls://alice@mail.example.org:587\n"
        "  opensmtpd-2012, the default\n"
        "    connection   STARTTLS, required\n"
        "    tries        1. mail.example.org port 587: STARTTLS\n"
        "    plaintext    never\n"
        "    server       must prove to be mail.example.org\n"
        f"    roots        the system's store ({world.root_file})\n"
        f"    pins         {PIN}\n"
        "    TLS          1.2 or later\n"
        "    login        as alice, by PLAIN\n"
        f"    password     in {tmp_path}/.netrc, which is not there\n"
        f"                 in the system's keyring; the package keyring is {installed}installed\n"
        "                 else the program's own password=; the commands ask for it\n"
        "  opensmtpd-6.4\n"
        "    not in this dialect: scheme: tls:// is unknown; known are smtp://, smtp+tls://, smtps://, "
        "smtp+notls://, lmtp://\n"
        "\n"
        "smtps://h\n"
        "  opensmtpd-2012, the default\n"
        "    connection   TLS from the first byte\n"
        "    tries        1. h port 465: TLS from the first byte\n"
        "    plaintext    never\n"
        "    server       must prove to be h\n"
        f"    roots        the system's store ({world.root_file})\n"
        "    TLS          1.2 or later\n"
        "    login        none\n"
        "  opensmtpd-6.4: the same\n"
    )


@pytest.mark.parametrize(
    ("url", "dialect", "tries", "plaintext"),
    [
        ("tls://h", OLD, [("STARTTLS", 25)], "never"),
        ("smtps://h:1465", OLD, [("IMPLICIT", 1465)], "never"),
        ("ssl://h", OLD, [("STARTTLS", 25), ("IMPLICIT", 465)], "never"),
        ("ssl://h:465", OLD, [("IMPLICIT", 465), ("STARTTLS", 465)], "never"),
        ("smtp+tls://h", OLD, [("STARTTLS", 25), ("PLAINTEXT", 25)], "fallback"),
        ("smtp+tls://h:26", NEW, [("STARTTLS", 26)], "never"),
        ("smtp://h", OLD, [("PLAINTEXT", 25)], "always"),
        ("smtp://h", NEW, [("STARTTLS", 25), ("PLAINTEXT", 25)], "fallback"),
        ("lmtp:///run/lmtp", NEW, [("PLAINTEXT", None)], "always"),
    ],
)
def test_tries(url: str, dialect: Any, tries: list[tuple[str, int | None]], plaintext: str) -> None:
    found = explanation(url, dialect)
    assert [(each["mode"], each["port"]) for each in found["tries"]] == tries
    assert [bool(each["when"]) for each in found["tries"]] == [False, True][: len(tries)]
    assert found["plaintext"] == plaintext
    assert (found["server"] is None) is (found["trust"] is None) is (plaintext == "always")


@pytest.mark.parametrize(
    ("url", "connection"),
    [
        ("ssl://h", "STARTTLS, else TLS from the first byte"),
        ("ssl://h:465", "TLS from the first byte, else STARTTLS"),
        ("smtps://h", "TLS from the first byte"),
    ],
)
def test_a_connection_is_told_in_the_order_of_its_tries(url: str, connection: str) -> None:
    assert explanation(url, OLD)["connection"] == connection


def test_json_has_the_same_keys_for_every_scheme(tmp_path: Path) -> None:
    schemes = sorted({scheme for dialect in DIALECTS.values() for scheme in dialect})
    run = explain("--json", *(f"{scheme}://alice@h:2525" for scheme in schemes), home=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    told = json.loads(run.stdout)
    assert told["version"] == 1
    keys = ["relay", "error", "protocol", "mode", "connection", "tries", "plaintext", "server", "trust"]
    for scheme, relay in zip(schemes, told["relays"], strict=True):
        assert relay["relay"] == f"{scheme}://alice@h:2525"
        for dialect, found in relay["dialects"].items():
            if scheme in DIALECTS[dialect]:
                assert list(found) == [*keys, "login", "ignored_extensions", "notes"]
                assert found["mode"] == DIALECTS[dialect][scheme].mode.name in Mode.__members__
            else:
                assert list(found) == ["relay", "error"]
    page = (Path(__file__).parents[1] / "docs" / "shell.md").read_text(encoding="utf-8")
    secure = told["relays"][schemes.index("tls")]["dialects"][OLD]
    shown = [*secure, *secure["tries"][0], *secure["server"], *secure["trust"], *secure["login"]]
    assert [key for key in shown if f"`{key}`" not in page] == []


def test_trust(world: World, tmp_path: Path) -> None:
    client, key = world.root.issue("alice").write(tmp_path)
    more = f"cafile={world.unknown_file}&client-cert={client}&client-key={key}&server-name=Straße.example"
    run = explain("--dialect", NEW, f"smtps://192.0.2.1?{more}", home=tmp_path)
    assert run.returncode == 0
    assert "    server       must prove to be xn--strae-oqa.example\n" in run.stdout
    assert f"    roots        {world.unknown_file}\n" in run.stdout
    assert f"    our own      {client}, with the key in {key}\n" in run.stdout
    assert OLD not in run.stdout
    pinned = explanation(f"smtps://192.0.2.1?pin-only={PIN}", OLD)
    assert pinned["server"] == {"name": "192.0.2.1", "kind": "IP", "verified": False}
    assert (pinned["trust"]["roots"], pinned["trust"]["pins"]) == (None, [PIN])
    told = explain(f"smtps://192.0.2.1?pin-only={PIN}", home=tmp_path).stdout
    assert "    server       must bear the pin, whatever its name\n" in told
    assert "    roots        none: the pins stand in their place\n" in told


@pytest.mark.parametrize(
    ("query", "environment", "told"),
    [
        ("?password-env=P", {}, "in the environment variable P, which is not set"),
        ("?password-env=P", {"P": "s3cret"}, "in the environment variable P, which is set"),
        ("?password-env=P&password-file={}/secret", {"P": "s3cret"}, "in the environment variable P, which "),
        ("?password-env=P&password-file={}/secret", {}, "in {}/secret, which is there"),
        ("?password-file={}/nothing", {}, "in {}/nothing, which is not there"),
    ],
)
def test_where_the_password_would_come_from(
    tmp_path: Path, query: str, environment: dict[str, str], told: str
) -> None:
    """Its file can't even be opened."""
    (tmp_path / "secret").write_text("s3cret")
    (tmp_path / "secret").chmod(0)
    url = f"tls://alice@h{query.format(tmp_path)}"
    run = explain(url, home=tmp_path, **environment)
    assert run.returncode == 0
    assert f"    password     {told.format(tmp_path)}" in run.stdout
    assert "s3cret" not in run.stdout + explain("--json", url, home=tmp_path, **environment).stdout


def test_known_hosts(tmp_path: Path) -> None:
    """What they say of the server, and of no other."""
    file = tmp_path / "known"
    file.write_text(f'[keys]\n"a.example" = "{PIN}"\n[tls]\n"b.example:25" = 2026-11-21\n')
    file.chmod(0o600)
    urls = [f"smtp+tls://{host}.example?known-hosts={file}" for host in "abc"]
    run = explain("--dialect", "opensmtpd-2012", *urls, home=tmp_path)
    by_key, by_memory, unknown = run.stdout.split("\n\n")
    assert "    server       must bear the pin, whatever its name\n" in by_key
    assert f"    pins         {PIN}\n    known hosts  {file}\n" in by_key
    since = " " * 17 + "port 25 has offered TLS since 2026-11-21: no plaintext there any more\n"
    assert f"    known hosts  {file}\n{since}" in by_memory
    assert "must prove to be b.example" in by_memory
    assert f"    known hosts  {file}\n    TLS " in unknown
    told = json.loads(explain("--json", *urls, home=tmp_path).stdout)["relays"]
    trusts = [relay["dialects"]["opensmtpd-2012"]["trust"] for relay in told]
    assert [trust["known_hosts"]["tls_since"] for trust in trusts] == [{}, {"25": "2026-11-21"}, {}]
    assert [trust["pins_only"] for trust in trusts] == [True, False, False]


@pytest.mark.skipif(sys.platform == "win32", reason="modes say nothing of who may read")
def test_a_password_file_that_others_can_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    path.write_text("s3cret")
    url = f"tls://alice@h?password-file={path}"
    for mode, notes in ((0o640, [f"password-file: {path}: others can read it; try chmod 600"]), (0o600, [])):
        path.chmod(mode)
        assert explanation(url, OLD)["notes"] == notes
    path.chmod(0o644)
    monkeypatch.setenv("P", "s3cret")
    assert explanation(f"{url}&password-env=P", OLD)["notes"] == []  # where it is not looked at


def test_a_password_in_the_url_is_not_shown(tmp_path: Path) -> None:
    url = "smtp+tls://alice:s3cret@mail.example.org?auth=xoauth2&ignore-extension=chunking"
    run = explain(url, home=tmp_path)
    assert run.returncode == 0
    lines = run.stdout.splitlines()
    assert lines[0] == "smtp+tls://alice:***@mail.example.org"
    for expected in (
        "    login        as alice, by XOAUTH2",
        "    token        in the URL itself",
        "    ignored      CHUNKING",
        "    plaintext    possible, with a warning; not behind a certificate that failed",
    ):
        assert expected in lines
    told = "the login is refused where the connection is in plaintext: the server is on another machine"
    assert f"    notes        {told}" in lines
    assert "s3cret" not in run.stdout + explain("--json", url, home=tmp_path).stdout
    assert explanation("smtp+tls://alice:s3cret@localhost", OLD)["notes"] == []


@pytest.mark.parametrize(
    ("url", "login", "note"),
    [
        ("tls://alice@h", "as alice, by the first on offer of SCRAM-SHA-256-PLUS, SCRAM-SHA-1-PLUS, ", ""),
        (
            "tls://h?auth=external",
            "as whom the client's certificate names, by EXTERNAL",
            "EXTERNAL takes the",
        ),
        ("tls://h:465", "none", "port 465 is for TLS from the first byte (RFC 8314): smtps://"),
        ("smtps://h:587", "none", "port 587 is for STARTTLS: tls://"),
    ],
)
def test_login_and_notes(tmp_path: Path, url: str, login: str, note: str) -> None:
    run = explain("--dialect", OLD, url, home=tmp_path)
    assert f"    login        {login}" in run.stdout
    assert (f"    notes        {note}" in run.stdout) is bool(note)
    assert bool(explanation(url, OLD)["notes"]) is bool(note)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "mail.example.org:587",
            "scheme: it is missing; write tls://mail.example.org:587 (STARTTLS) or smtps:",
        ),
        ("tls://alice:s3cret@b@h", "user: write @ in a user or password as %40"),
        ("http://h", "scheme: http:// is unknown; known are smtp://, smtp+tls://, tls://"),
        ("tls://h?cafile=/nowhere", "cafile: /nowhere: No such file or directory"),
        ("tls://h\x1b", "relay: the character U+001B must be percent-encoded"),
        ("smtp+tls://h?pin=x", "pin: "),
    ],
)
def test_what_can_not_be_used(tmp_path: Path, url: str, told: str) -> None:
    run = explain("smtps://good", url, home=tmp_path)
    structured = explain("--json", url, home=tmp_path)
    assert (run.returncode, run.stderr) == (structured.returncode, structured.stderr) == (64, "")
    assert "\nURL 2\n  opensmtpd-2012, the default\n" in run.stdout
    assert f"    ✗ {told}" in re.sub(r"\n {6}(?=\S)", " ", run.stdout)
    (relay,) = json.loads(structured.stdout)["relays"]
    assert relay["relay"] is None
    assert relay["dialects"][OLD]["error"].startswith(told)
    assert "s3cret" not in run.stdout + structured.stdout
    assert "\x1b" not in run.stdout + structured.stdout


def test_nobody_is_connected_to(tmp_path: Path) -> None:
    with Server() as server:
        run = explain(f"smtp://localhost:{server.port}", home=tmp_path)
    assert run.returncode == 0
    assert server.connections == []


def test_usage_and_help(tmp_path: Path) -> None:
    assert explain(home=tmp_path).returncode == 64
    assert "invalid choice: 'x'" in explain("--dialect", "x", "tls://h", home=tmp_path).stderr
    run = explain("--help", home=tmp_path, COLUMNS="80")
    assert (run.returncode, run.stderr) == (0, "")
    assert "  smtpverify explain 'tls://alice@mail.example.org:587?password-env=MAIL'\n" in run.stdout
    assert all(len(line) <= 80 for line in run.stdout.splitlines())
