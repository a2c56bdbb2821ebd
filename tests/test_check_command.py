"""`smtpverify check` and `smtpverify pin`, as processes: what they tell of each kind of server."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from smtpverify import cli
from smtpverify.cli import check
from smtpverify.cli._client import address_of
from smtpverify.cli._probe import Verdict, look_at
from tests.bed import Behaviour, Greeting, Handshake, Issued, Starttls, Tls, World, closed_port
from tests.bed.certs import DAY, NOW
from tests.refusals import CASES, answering
from tests.test_causes import alert

if TYPE_CHECKING:
    from tests.bed import Server
    from tests.bed.network import Resolver
    from tests.conftest import ServerFactory

# The process has the system's resolver, which knows no name of ours but this one.
PLACE = "localhost"
PIN = "sha256:" + "0" * 64


def command(*arguments: str, typed: str = "") -> Any:
    return subprocess.run(
        [sys.executable, "-m", "smtpverify", *arguments],
        input=typed,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONUTF8": "1", "COLUMNS": "120"},
    )


def told(run: Any) -> str:
    """What was printed, as one line."""
    return " ".join(run.stdout.split())


def nothing_said(server: Server) -> bool:
    return not any(connection.leaked() for connection in server.connections)


def test_a_good_server(smtp_server: ServerFactory, world: World) -> None:
    certificate = world.served("good_via_intermediate", PLACE)
    extensions = ("SIZE 1000000", "AUTH SCRAM-SHA-256 PLAIN", "PIPELINING")
    with smtp_server(tls=Tls.STARTTLS, certificate=certificate, after_tls=extensions) as server:
        run = command("check", f"{PLACE}:{server.port}")
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert lines[0] == f"tls://{PLACE}:{server.port}"
    steps = [line.split()[1] for line in lines if line.startswith("  ✓")]
    assert len({line.index(" ms  ") for line in lines if line.startswith("  ✓")}) == 1
    assert steps == ["look", "connect", "greeting", "EHLO", "STARTTLS", "TLS", "EHLO", "QUIT"]
    leaf = smtpverify.Certificate.from_der(certificate.leaf_der)
    for expected in (
        f"names {PLACE} (matched: the same name)",
        "chain O=Bed Mail, issued by CN=Bed Intermediate,O=Bed Trust Services, until ",
        "days left)",
        f"trust the system's store ({world.root_file})",
        f"sha256:{leaf.sha256}",
        str(smtpverify.Pin.of_spki(leaf)),
        f"{smtpverify.Pin.of_certificate(leaf).format('mercurial')} (Mercurial)",
        "extensions SIZE AUTH PIPELINING",
        "mechanisms SCRAM-SHA-256 PLAIN",
        "size limit 1000000 octets",
        "hints the server calls itself mail.example.org in its greeting, not localhost",
        f"✓ verified: {PLACE}: certificate for {PLACE}, issued by CN=Bed Intermediate",
    ):
        assert expected in told(run)
    assert nothing_said(server)
    assert server.connections[0].closed_cleanly


def test_which_name_matched_and_by_which_rule(smtp_server: ServerFactory, world: World) -> None:
    wildcard, address = world.root.issue("a.example.org", "*.example.org"), world.served("address_good")
    with (
        smtp_server(tls=Tls.IMPLICIT, certificate=wildcard) as one,
        smtp_server(tls=Tls.IMPLICIT, certificate=address) as two,
    ):
        urls = (
            f"smtps://{PLACE}:{one.port}?server-name=mail.example.org",
            f"smtps://127.0.0.1:{two.port}",
            f"smtps://{PLACE}:{two.port}?pin-only={smtpverify.Pin.of_certificate(leaf_of(address))}",
        )
        run = command("check", *urls)
        found = json.loads(command("check", "--json", *urls).stdout)["relays"]
    assert (
        "names a.example.org *.example.org (matched: its wildcard stands for one label (RFC 9525 6.3)) chain"
        in told(run)
    )
    assert "names 127.0.0.1 (matched: the same address) ::1 chain" in told(run)
    assert [(each["matched"], each["matched_by"]) for each in found] == [
        ("*.example.org", "wildcard"),
        ("127.0.0.1", "address"),
        (None, "pin"),
    ]


def leaf_of(issued: Issued) -> smtpverify.Certificate:
    return smtpverify.Certificate.from_der(issued.leaf_der)


# Where the session, and no handshake, tells what is wrong.
BY_SESSION: dict[str, tuple[Behaviour, str]] = {
    "no STARTTLS": (Behaviour(starttls=Starttls.ABSENT), "the server does not offer STARTTLS"),
    "STARTTLS refused": (Behaviour(starttls=Starttls.REFUSED), "the server refused STARTTLS: 454 4.7.0 "),
    "injected": (
        Behaviour(starttls=Starttls.INJECTED_FRAGMENT, injection=b"250 \x1b[31m\xff\r\n"),
        r"plaintext came behind the change to TLS: '250 \x1b[31m\xff",
    ),
    "TLS at once": (answering(alert(40)), "the server speaks TLS where a greeting in plaintext was expected"),
    "sent away": (
        Behaviour(greeting="554 5.3.2 not you"),
        "the server refused the connection: 554 5.3.2 not you",
    ),
    "no EHLO": (Behaviour(replies={"EHLO": "502 no"}), "the server refused EHLO: 502 no"),
    "HTTP": (answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "no SMTP greeting came: the server broke"),
    "silence": (Behaviour(greeting_kind=Greeting.SILENT), "no SMTP greeting came: the server did not answer"),
}


def test_every_diagnosis(smtp_server: ServerFactory, world: World) -> None:
    """All servers of the tests of diagnoses, looked at by one process: the words of each, and the remedy."""
    expected: dict[str, tuple[str, str]] = {}
    urls = []
    for case in CASES.values():
        if case.trust is not None and not case.trust.pins:
            continue  # a minimum version, which can't be said at a shell
        served = world.served(case.served) if isinstance(case.served, str) else case.served(world)
        server = smtp_server(case.behaviour, certificate=case.behaviour.certificate or served)
        scheme = "tls" if case.behaviour.tls is Tls.STARTTLS else "smtps"
        at = f"{scheme}://{PLACE if case.host != '127.0.0.1' else case.host}:{server.port}"
        pins = [f"pin={pin}" for pin in case.trust.pins] if case.trust is not None else []
        names = [f"server-name={case.host}"] if case.host != "127.0.0.1" else []
        urls.append("?".join([at, "&".join(pins + names)]).rstrip("?"))
        own = {"reason": "{}", "verdict": "{}", "sha256": "{}"}
        if isinstance(served, Issued):
            own["sha256"] = f"sha256:{leaf_digest(served)}"
        expected[at] = case.summary.format_map(own), case.remedy.format_map(own)
    for behaviour, summary in BY_SESSION.values():
        server = smtp_server(replace(behaviour, tls=Tls.STARTTLS))
        urls.append(f"tls://{PLACE}:{server.port}")
        expected[urls[-1]] = summary, ""
    run = command("check", "--timeout", "3", *urls)
    assert (run.returncode, run.stderr) == (1, "")
    assert all(line.isprintable() for line in run.stdout.splitlines())
    sections = {part.partition("\n")[0]: part for part in run.stdout.split("\n\n")}
    assert list(sections) == list(expected)
    for at, (summary, remedy) in expected.items():
        verdict, _, told_remedy = sections[at].rpartition("\n✗ ")[2].partition("\n")
        pattern = re.escape(summary).replace(re.escape("{}"), ".+")
        assert re.match(rf"(refused|unreachable): {pattern}", verdict), (at, summary, verdict)
        assert remedy in " ".join(told_remedy.split())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_how_far_it_is(
    smtp_server: ServerFactory,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At a terminal: the step that is under way, or how many relays are done; and nothing is left of it."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("WT_SESSION", "1")  # else Windows draws nothing
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(PLACE)) as server:
        url = f"tls://{PLACE}:{server.port}"
        for urls, drawn in (
            ([url], ["look up …", "connect to 127.0.0.1 …", "greeting …", "EHLO …", "STARTTLS …", "QUIT …"]),
            ([url, url], ["0 of 2 looked at", "1 of 2 looked at"]),
        ):
            monkeypatch.setattr(sys, "stderr", terminal := Terminal())
            assert cli.main(["check", *urls]) == 0
            first, *texts, last = terminal.getvalue().split("\r\x1b[K")
            assert (first, last) == ("", "")
            assert [text for text in dict.fromkeys(texts) if text in drawn] == drawn
            monkeypatch.setattr(sys, "stderr", terminal := Terminal())
            assert cli.main(["check", "-v", *urls]) == 0
            assert "\x1b[K" not in terminal.getvalue()
    assert "…" not in capsys.readouterr().out


@pytest.mark.parametrize("stage", ["greeting", "handshake", "EHLO"])
def test_silence_is_no_answer(smtp_server: ServerFactory, stage: str) -> None:
    """Wherever it comes, a server that keeps us waiting may answer the next time."""
    silent = {
        "greeting": Behaviour(greeting_kind=Greeting.SILENT),
        "handshake": Behaviour(tls=Tls.STARTTLS, handshake=Handshake.SILENT),
        "EHLO": Behaviour(replies={"EHLO": b""}),
    }
    with smtp_server(silent[stage]) as server:
        run = command("check", "--timeout", "0.5", f"tls://{PLACE}:{server.port}")
    assert run.returncode == 2
    assert "✗ unreachable: " in run.stdout


def leaf_digest(issued: Issued) -> str:
    return hashlib.sha256(issued.leaf_der).hexdigest()


REFUSED: list[tuple[str, dict[str, Any], str, str | None, str]] = [
    ("wrong_name", {}, "TLS", "WRONG_NAME", "the certificate is valid for other.example.net, not for"),
    ("unknown_issuer", {}, "TLS", "UNKNOWN_ISSUER", "issued by CN=Elsewhere Root,O=Elsewhere, which is not"),
    ("self_signed_leaf", {}, "TLS", "SELF_SIGNED_LEAF", "the certificate is self-signed"),
    ("expired", {}, "TLS", "EXPIRED", "the certificate expired on"),
    ("missing_intermediate", {}, "TLS", "MISSING_INTERMEDIATE", "CN=Bed Intermediate"),
    ("good", {"starttls": Starttls.ABSENT}, "STARTTLS", "STARTTLS_NOT_OFFERED", "does not offer STARTTLS"),
    ("good", {"starttls": Starttls.REFUSED}, "STARTTLS", "STARTTLS_REFUSED", "refused STARTTLS: 454"),
    (
        "good",
        {"starttls": Starttls.INJECTED_SAME_SEGMENT},
        "STARTTLS",
        "PLAINTEXT_INJECTED",
        "plaintext came behind",
    ),
    ("good", {"handshake": Handshake.GARBAGE}, "TLS", None, "TLS"),
    ("good", {"greeting": "554 5.3.2 not you"}, "greeting", None, "the connection: 554 5.3.2 not you"),
]


@pytest.mark.parametrize(
    ("greeting", "named"),
    [("554 5.3.2 not you", None), ("554 5.3.2", None), ("421 mx.example.net closing", "mx.example.net")],
)
def test_whom_a_refusal_names(smtp_server: ServerFactory, greeting: str, named: str | None) -> None:
    with smtp_server(greeting=greeting) as server:
        (found,) = json.loads(command("check", "--json", f"{PLACE}:{server.port}").stdout)["relays"]
    hints = [hint for hint in found["hints"] if "calls itself" in hint]
    expected = [f"the server calls itself {named} in its greeting, not {PLACE}"] if named else []
    assert hints == expected


@pytest.mark.parametrize(("kind", "fields", "step", "cause", "summary"), REFUSED)
def test_refused(
    smtp_server: ServerFactory,
    world: World,
    kind: str,
    fields: dict[str, Any],
    step: str,
    cause: str | None,
    summary: str,
) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.served(kind, PLACE), **fields) as server:
        plain = command("check", f"tls://{PLACE}:{server.port}")
        structured = command("check", "--json", f"tls://{PLACE}:{server.port}")
    assert (plain.returncode, plain.stderr) == (structured.returncode, structured.stderr) == (1, "")
    assert summary in told(plain)
    assert "✗ refused: " in plain.stdout
    (found,) = json.loads(structured.stdout)["relays"]
    assert found["verdict"] == "refused"
    assert summary in found["summary"]
    failed = [each["step"] for each in found["steps"] if not each["ok"]]
    assert failed[-1] == step
    if cause is not None:
        assert found["cause"] == cause
    if found["chain"]:
        assert found["pins"]["smtpverify"] == "sha256:" + found["chain"][0]["sha256"]
        assert found["chain"][0]["sha256"] in plain.stdout
    assert nothing_said(server)


def test_from_the_first_byte(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(tls=Tls.IMPLICIT, certificate=world.good(PLACE)) as server:
        run = command("check", f"smtps://{PLACE}:{server.port}")
        either = command("check", "--timeout", "0.5", f"ssl://{PLACE}:{server.port}")
    assert run.returncode == either.returncode == 0
    steps = [line.split()[1] for line in run.stdout.splitlines() if line.startswith("  ✓")]
    assert steps == ["look", "connect", "TLS", "greeting", "EHLO", "QUIT"]
    assert "✗ greeting" in either.stdout
    assert "nothing came of it" in either.stdout


@pytest.mark.parametrize("scheme", ["smtp", "smtp+notls", "smtp+tls"])
def test_plaintext_is_no_verification(smtp_server: ServerFactory, scheme: str) -> None:
    with smtp_server() as server:
        run = command("check", f"{scheme}://{PLACE}:{server.port}")
    assert run.returncode == 1
    assert "✗ plaintext: the connection is in plaintext, where nobody can be verified" in told(run)
    assert ("✗ fallback" in run.stdout) is (scheme == "smtp+tls")
    written = (
        f"Write tls://{PLACE}:{server.port} for STARTTLS, or smtps://{PLACE} for TLS from the first byte."
    )
    in_vain = "If there used to be STARTTLS, somebody may be between you and the server. "
    in_vain += f"tls://{PLACE}:{server.port} never goes on in plaintext; "
    in_vain += f"TLS from the first byte is smtps://{PLACE}."
    assert (in_vain if scheme == "smtp+tls" else written) in told(run)
    assert nothing_said(server)


def test_nobody_there() -> None:
    with closed_port() as port:
        run = command("check", f"{PLACE}:{port}")
    assert run.returncode == 2
    assert f"✗ unreachable: no connection to 127.0.0.1 port {port} (Connection refused)" in told(run)


def test_plaintext_where_tls_is_expected(smtp_server: ServerFactory) -> None:
    """Whoever answers is not unreachable, whatever he speaks."""
    with smtp_server() as server:
        run = command("check", f"smtps://{PLACE}:{server.port}")
    assert run.returncode == 1
    assert "✗ refused: the server answered in plaintext where TLS was expected" in told(run)


def test_a_user_is_left_out(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(PLACE)) as server:
        run = command(
            "check", f"tls+auth://alice:s3cret@{PLACE}:{server.port}?auth=plain&password-env=NOT_SET"
        )
        assert run.returncode == 64  # given twice
        run = command("check", f"tls+auth://alice:s3cret@{PLACE}:{server.port}?auth=plain")
    assert run.returncode == 0
    assert "s3cret" not in run.stdout
    assert nothing_said(server)


def test_trust_and_pins(smtp_server: ServerFactory, world: World) -> None:
    certificate = world.served("unknown_issuer", PLACE)
    good, bad = (
        f"sha256:{certificate.leaf_der and smtpverify.Certificate.from_der(certificate.leaf_der).sha256}",
        "0" * 64,
    )
    with smtp_server(tls=Tls.STARTTLS, certificate=certificate) as server:
        at = f"tls://{PLACE}:{server.port}"
        assert command("check", at).returncode == 1
        trusted = command("check", "--cafile", str(world.unknown_file), "--pin", good, at)
        assert command("check", "--cafile", str(world.unknown_file), "--pin", bad, at).returncode == 1
        assert command("check", f"{at}?pin-only={good}").returncode == 0
        pinned = command("check", "--pin-only", bad, "--pin-only", good, at)
        assert command("check", "--pin-only", bad, at).returncode == 1
    assert pinned.returncode == 0
    assert "trust the pins alone" in told(pinned)
    assert trusted.returncode == 0
    assert f"trust {world.unknown_file}, and 1 pin " in told(trusted)


def test_what_expires_soon(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(PLACE)) as server:
        at = f"tls://{PLACE}:{server.port}"
        assert command("check", "--expires-in", "14", at).returncode == 0
        run = command("check", "--expires-in", "90", at)
        (found,) = json.loads(command("check", "--json", "--expires-in", "90", at).stdout)["relays"]
    assert (found["verdict"], found["cause"]) == ("refused", "EXPIRES_SOON")
    usage = command("check", "--expires-in", "-1", at)
    assert usage.returncode == 64
    assert "'-1' is not a number of days" in usage.stderr
    assert run.returncode == 1
    assert "✗ refused: a certificate of the chain has 89 days left, fewer than 90 Have it renewed." in told(
        run
    )


@pytest.mark.parametrize(
    ("hours", "shown", "verdict"),
    [
        (25, "(1 day left)", "a certificate of the chain has 1 day left, fewer than 14"),
        (49, "(2 days left)", "a certificate of the chain has 2 days left, fewer than 14"),
        (-1, "(expired)", "a certificate of the chain has expired"),  # behind a pin, which looks at no dates
    ],
)
def test_how_many_days(
    smtp_server: ServerFactory, world: World, hours: int, shown: str, verdict: str
) -> None:
    old = world.root.issue(PLACE, not_before=NOW - 60 * DAY, not_after=NOW + hours * DAY / 24)
    pin = f"pin-only={smtpverify.Pin.of_certificate(leaf_of(old))}"
    with smtp_server(tls=Tls.STARTTLS, certificate=old, before_tls=(), after_tls=()) as server:
        run = command("check", "--expires-in", "14", f"tls://{PLACE}:{server.port}?{pin}")
    assert run.returncode == 1
    assert shown in told(run)
    assert f"✗ refused: {verdict} Have it renewed." in told(run)
    assert "(and 1 line more)" in run.stdout


def test_several_and_a_file(smtp_server: ServerFactory, world: World, tmp_path: Path) -> None:
    bad = Behaviour(tls=Tls.STARTTLS, certificate=world.served("wrong_name", PLACE))
    with (
        smtp_server(tls=Tls.STARTTLS, certificate=world.good(PLACE)) as first,
        smtp_server(bad) as second,
        closed_port() as third,
    ):
        ports = [first.port, second.port, third]
        relays = [f"tls://{PLACE}:{port}" for port in ports]
        file = tmp_path / "relays"
        file.write_text(f"\ufeff# ours\n\n{relays[1]}\n  {relays[2]}\n", encoding="utf-8")
        run = command("check", "--json", "--file", str(file), relays[0])
        piped = command("check", "--file", "-", typed=f"{relays[0]}\n{relays[2]}\n")
    found = json.loads(run.stdout)
    assert found["version"] == 1
    assert [each["relay"] for each in found["relays"]] == relays
    assert [each["verdict"] for each in found["relays"]] == ["verified", "refused", "unreachable"]
    assert run.returncode == 1
    assert piped.returncode == 2
    assert piped.stdout.index(relays[0]) < piped.stdout.index(relays[2])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("tls://localhost # ours", "relay: the character U+0020 must be percent-encoded"),
        ("http://localhost", "scheme: http:// is unknown"),
        ("lmtp://localhost:24", "lmtp://localhost:24: LMTP is without TLS"),
    ],
)
def test_which_line_of_a_file(line: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "relays"
    file.write_text(f"# ours\n\n{line}\n", encoding="utf-8")
    run = command("check", "--file", str(file))
    piped = command("check", "--file", "-", typed=f"tls://localhost\n{line}\n")
    assert run.returncode == piped.returncode == 64
    assert run.stderr.startswith(f"smtpverify check: {file}:3: {told}")
    assert piped.stderr.startswith(f"smtpverify check: standard input:2: {told}")


def test_json(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(PLACE)) as server:
        run = command("check", "--json", f"tls://{PLACE}:{server.port}")
    (found,) = json.loads(run.stdout)["relays"]
    assert list(found) == [
        "relay",
        "verdict",
        "summary",
        "remedy",
        "cause",
        "address",
        "steps",
        "greeting",
        "tls",
        "names",
        "matched",
        "matched_by",
        "chain",
        "trust",
        "pins",
        "extensions",
        "mechanisms",
        "size_limit",
        "hints",
    ]
    page = (Path(__file__).parents[1] / "docs" / "shell.md").read_text(encoding="utf-8")
    nested = [*found["steps"][0], *found["tls"], *found["chain"][0], *found["pins"]]
    assert [key for key in (*found, *nested) if f"`{key}`" not in page] == []
    assert found["verdict"] == "verified"
    assert found["tls"]["version"] == "TLSv1.3"
    assert (found["names"], found["matched"], found["matched_by"]) == ([PLACE], PLACE, "name")
    assert [each["subject"] for each in found["chain"]] == ["O=Bed Mail", "CN=Bed Root,O=Bed Trust Services"]
    assert found["chain"][0]["days_left"] == 89
    assert found["mechanisms"] == ["PLAIN", "LOGIN"]
    assert found["extensions"]["auth"] == "PLAIN LOGIN"
    assert set(found["pins"]) == {"smtpverify", "spki", "mercurial", "openssl", "curl", "msmtp"}
    for spelling in found["pins"].values():
        smtpverify.Pin.parse(spelling)


@pytest.mark.parametrize("name", ["check", "pin"])
def test_verbose(smtp_server: ServerFactory, world: World, name: str) -> None:
    """On standard error, each line with its relay, where they are several."""
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(PLACE)) as server, closed_port() as port:
        at, nobody = f"tls://{PLACE}:{server.port}", f"tls://{PLACE}:{port}"
        quiet, alone = command(name, at), command(name, "-v", at)
        several = command(name, "-v", at, nobody)
    tls = next(line for line in alone.stderr.splitlines() if line.startswith("  verified: "))
    assert tls.startswith(f"  verified: {PLACE}: certificate for {PLACE}, issued by CN=Bed ")
    said = [
        f"  connecting to 127.0.0.1 port {server.port}",
        "← 220 mail.example.org ESMTP",
        "→ STARTTLS",
        "← 220 2.0.0 Ready to start TLS",
        tls,
    ]
    lines = [line for line in alone.stderr.splitlines() if line in said]
    assert lines == said
    assert len(alone.stdout.splitlines()) == len(quiet.stdout.splitlines())
    theirs = [line for line in several.stderr.splitlines() if line.startswith(at)]
    assert [line for line in theirs if line.removeprefix(f"{at} ") in said] == [
        f"{at} {line}" for line in said
    ]
    assert f"{nobody}   no connection to 127.0.0.1 port {port} (Connection refused)" in several.stderr


def test_verbose_beside_json(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.good(PLACE)) as server:
        run = command("check", "-v", "--json", f"tls://{PLACE}:{server.port}")
    assert json.loads(run.stdout)["relays"][0]["verdict"] == "verified"
    assert "→ STARTTLS" in run.stderr.splitlines()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "no relay was given"),
        (("http://localhost",), "scheme: http:// is unknown"),
        (("lmtp://localhost:24",), "LMTP is without TLS"),
        (("--pin", "x", "localhost"), "pin 'x'"),
        (("--cafile", "/nowhere", "localhost"), "check: --cafile: /nowhere: No such file"),
        (("--pin-only", "x", "localhost"), "pin 'x'"),
        (("--pin-only", PIN, "--cafile", "/nowhere", "h"), "--pin-only: the pin stands in the place of"),
        (("--pin-only", PIN, "--pin", PIN, "h"), "check: --pin-only: the pin stands in the place of"),
        (("--pin-only", PIN, f"tls://h?pin={PIN}"), "pin: the URL and the trust argument both give one"),
        (("--file", "/nowhere"), "check: /nowhere: No such file or directory\n"),
        (("--file", "", "localhost"), "check: : No such file or directory\n"),
        (
            ("--timeout", "1e12", "localhost"),
            "argument --timeout: '1e12' is not a positive number of seconds",
        ),
        (("--timeout", "0", "localhost"), "argument --timeout: '0' is not a positive number of seconds"),
        (("--timeout", "inf", "localhost"), "argument --timeout: 'inf' is not a positive number of seconds"),
        (("--timeout", "1m", "localhost"), "argument --timeout: '1m' is not a positive number of seconds"),
        (("--dance", "localhost"), "usage: smtpverify check "),
    ],
)
def test_usage(arguments: tuple[str, ...], why: str) -> None:
    run = command("check", *arguments)
    assert (run.returncode, run.stdout) == (64, "")
    assert why in run.stderr
    assert "Traceback" not in run.stderr


def test_everywhere(
    smtp_server: ServerFactory,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On the ports that a provider may have, in the order of preference; those of the test stand in."""
    with (
        smtp_server(tls=Tls.STARTTLS, certificate=world.good(PLACE)) as starttls,
        smtp_server(tls=Tls.STARTTLS, certificate=world.served("wrong_name", PLACE)) as wrong,
        closed_port() as nobody,
    ):
        ways = (f"smtps://{{}}:{nobody}", f"tls://{{}}:{starttls.port}")
        monkeypatch.setattr(check, "_EVERYWHERE", ways)
        assert cli.main(["check", "--all", PLACE]) == 0
        assert capsys.readouterr().out.endswith(f"✓ use tls://{PLACE}:{starttls.port}\n")
        monkeypatch.setattr(check, "_EVERYWHERE", (*ways, f"tls://{{}}:{wrong.port}"))
        assert cli.main(["check", "--all", PLACE]) == 1
        assert capsys.readouterr().out.endswith(f"✓ use tls://{PLACE}:{starttls.port}\n")
        monkeypatch.setattr(check, "_EVERYWHERE", ways[:1])
        assert cli.main(["check", "--all", PLACE]) == 2
        assert capsys.readouterr().out.endswith("✗ localhost: none of these can be used\n")
        monkeypatch.setattr(check, "_EVERYWHERE", (f"tls://{{}}:{starttls.port}",))
        other = f"tls://127.0.0.1?cafile={world.root_file}"  # has no other way to its name than the URL
        assert cli.main(["check", "--all", other]) == 1
        assert "valid for localhost, not for the address 127.0.0.1" in " ".join(
            capsys.readouterr().out.split()
        )
        kept = f"{other}&server-name={PLACE}&ignore-extension=pipelining"
        assert cli.main(["check", "--all", kept]) == 0
        assert "extensions   8BITMIME" in capsys.readouterr().out
    assert [way.format("h") for way in ("smtps://{}:465", "tls://{}:587")] == ["smtps://h:465", "tls://h:587"]


# --- pin -----------------------------------------------------------------------------------------


def test_pins(smtp_server: ServerFactory, world: World) -> None:
    certificate = world.served("self_signed_leaf", PLACE)
    leaf = smtpverify.Certificate.from_der(certificate.leaf_der)
    expected = f"{smtpverify.Pin.of_certificate(leaf)}\n{smtpverify.Pin.of_spki(leaf)}\n"
    with smtp_server(tls=Tls.STARTTLS, certificate=certificate) as server:
        run = command("pin", f"tls://{PLACE}:{server.port}")
        pinned = command("pin", f"tls://{PLACE}:{server.port}?pin-only={run.stdout.split()[0]}")
        spki = str(smtpverify.Pin.of_spki(leaf))
        option = command("pin", "--pin-only", spki, f"tls://{PLACE}:{server.port}")
    assert (run.returncode, run.stdout) == (1, expected)
    assert run.stderr.startswith("✗ these pins are not verified: the certificate is self-signed")
    assert (pinned.returncode, pinned.stdout) == (option.returncode, option.stdout) == (0, expected)
    assert pinned.stderr.startswith(f"✓ verified: {PLACE}: pinned sha256:")
    assert nothing_said(server)


def test_pins_of_several(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(tls=Tls.IMPLICIT, certificate=world.good(PLACE)) as server, closed_port() as port:
        run = command("pin", f"smtps://{PLACE}:{server.port}", f"tls://{PLACE}:{port}")
    assert run.returncode == 2
    lines = run.stdout.splitlines()
    assert (lines[0], lines[3]) == (f"# smtps://{PLACE}:{server.port}", f"# tls://{PLACE}:{port}")
    assert len(lines) == 4
    assert f"✗ unreachable: no connection to 127.0.0.1 port {port} (Connection refused)" in run.stderr


# --- in this process, with a resolver of its own -------------------------------------------------


def test_a_host_of_several_addresses(smtp_server: ServerFactory, resolve: Resolver, world: World) -> None:
    """Each is tried, as the library does; the one that answered counts."""
    resolve["mail.example.org"] = ("127.0.0.9", "127.0.0.1")
    with smtp_server(tls=Tls.STARTTLS) as server:
        findings = look_at(smtpverify.Relay.parse(f"tls://mail.example.org:{server.port}"), 5)
    assert [(step.name, step.good) for step in findings.steps[:3]] == [
        ("look up", True),
        ("connect to 127.0.0.9", False),
        ("connect to 127.0.0.1", True),
    ]
    assert findings.steps[1].detail == "Connection refused"
    assert (findings.verdict, findings.address) == (Verdict.VERIFIED, "127.0.0.1")
    with closed_port() as port:
        findings = look_at(smtpverify.Relay.parse(f"tls://mail.example.org:{port}"), 5)
    assert [step.good for step in findings.steps] == [True, False, False]
    assert findings.verdict is Verdict.UNREACHABLE
    each = ", ".join(f"{address} port {port} (Connection refused)" for address in ("127.0.0.9", "127.0.0.1"))
    assert findings.summary == f"no connection to {each}"


@pytest.mark.parametrize(
    ("reverse", "hint"),
    [
        ("mail.example.org", "the reverse name of 127.0.0.1 is mail.example.org, which leads back to it"),
        (
            "other.example.org",
            "the reverse name of 127.0.0.1 is other.example.org, which does not lead back to it",
        ),
        (
            "nowhere.invalid",
            "the reverse name of 127.0.0.1 is nowhere.invalid, which does not lead back to it",
        ),
        ("a\x1b[2J", r"the reverse name of 127.0.0.1 is a\x1b[2J, which does not lead back to it"),
        (None, "the address 127.0.0.1 has no reverse name"),
    ],
)
def test_reverse_names(
    smtp_server: ServerFactory,
    resolve: Resolver,
    monkeypatch: pytest.MonkeyPatch,
    reverse: str | None,
    hint: str,
) -> None:
    resolve["other.example.org"] = "127.0.0.9"

    def getnameinfo(address: Any, flags: int) -> tuple[str, str]:
        if reverse is None:
            raise socket.gaierror(socket.EAI_NONAME, "no name")
        return reverse, "0"

    monkeypatch.setattr(socket, "getnameinfo", getnameinfo)
    with smtp_server(tls=Tls.STARTTLS) as server:
        findings = look_at(smtpverify.Relay.parse(f"tls://mail.example.org:{server.port}"), 5)
    assert findings.hints == [hint]
    assert findings.verdict is Verdict.VERIFIED


def test_a_zone_is_part_of_an_address() -> None:
    assert address_of(("fe80::1", 25, 0, 3)) == "fe80::1%3"
    assert address_of(("fe80::1%eth0", 25, 0, 3)) == "fe80::1%eth0"
    assert address_of(("2001:db8::1", 25, 0, 0)) == "2001:db8::1"
    assert address_of(("192.0.2.1", 25)) == "192.0.2.1"
