"""The fuzz targets, at every run of the tests: their corpus, some mutations of it, and that they can fail."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings, strategies as st

from fuzz import TARGETS
from fuzz.plain import Coverage, Mutator
from fuzz.run import CORPUS, HERE, seeds
from smtpverify.errors import CertificateFormatError, PinFormatError, ReferenceIdentifierError, RelayURLError
from smtpverify.relay import Relay
from smtpverify.smtp import conversation, delivery, replies, transaction
from smtpverify.tls import names, pins, x509

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = HERE.parent


def check_of(target: str) -> Callable[[bytes], None]:
    check: Callable[[bytes], None] = importlib.import_module(f"fuzz.{target}").check
    return check


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus(target: str) -> None:
    inputs = seeds(target)
    assert 24 <= len(inputs) <= 64
    assert len(set(inputs)) == len(inputs)
    for octets in inputs:
        check_of(target)(octets)


def test_the_corpus_is_small() -> None:
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted(TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.glob("*/*")) < 200_000


@pytest.mark.parametrize("target", TARGETS)
def test_mutations(target: str) -> None:
    """A thousand of the plain driver's own, the same at each run."""
    for octets in Mutator(seeds(target), 0, 512).inputs(1000):
        check_of(target)(octets)


@pytest.mark.parametrize("target", TARGETS)
def test_any_octets(target: str) -> None:
    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=200) | st.builds(bytes.__add__, st.sampled_from(seeds(target)), st.binary()))
    @example(b"")
    @example(b"\xff" * 60)
    def check(octets: bytes) -> None:
        check_of(target)(octets)

    check()


# --- that they find something ----------------------------------------------------------------------

REPLY = replies.Reply(250, b"ok")
LAX = re.compile(rb"([2-5][0-9]{2})(?:(.)([^\n]*))?\r?\n")
FAULTS: list[tuple[str, Any, str, Any]] = [
    ("replies", replies, "_LINE", LAX),
    ("replies", replies, "MAX_LINE", 30),
    ("replies", replies, "_ENHANCED", re.compile(rb"([0-9]\.[0-9]\.[0-9])")),
    ("url", Relay, "__str__", lambda relay: relay._location(password=True)),
    ("url", Relay, "__repr__", lambda relay: str(relay.password)),
    ("url", Relay, "to_url", lambda relay: f"smtp://{relay.host}"),
    ("pins", pins, "_WEAK_SIZES", {}),
    ("pins", pins, "printable", lambda text, *_: text),
    ("der", x509, "printable", lambda text, *_: str(text)),
    ("der", x509, "_escaped", str),
    ("der", x509, "_dotted", lambda oid: oid.decode("ascii")),
    (
        "names",
        names,
        "_dns_id_matches",
        lambda name, octets: octets.endswith(name.encode().partition(b".")[2]),
    ),
    ("names", names, "_NUMBER", re.compile("x")),
    ("names", names, "printable", lambda text, *_: str(text)),
    ("transaction", transaction.Transaction, "_refuse_data", lambda *_: None),
    ("transaction", transaction.Transaction, "lose", lambda self, *_: setattr(self, "done", True)),
    ("transaction", delivery, "_OCTETS_AHEAD", "many"),
    ("transaction", conversation.Conversation, "_expect_no_more", lambda _: None),
]


@pytest.mark.parametrize("fault", range(len(FAULTS)))
def test_a_fault_is_found(fault: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the corpus and some mutations of it: a target that can't fail would prove nothing."""
    target, place, name, wrong = FAULTS[fault]
    check, inputs = check_of(target), [*Mutator(seeds(target), 0, 512).inputs(5000)]
    monkeypatch.setattr(place, name, wrong)
    # Neither is what was read rightly remembered here, nor what is read wrongly elsewhere.
    monkeypatch.setattr(names, "_read", names._read.__wrapped__)
    ours = (CertificateFormatError, PinFormatError, ReferenceIdentifierError, RelayURLError)
    found = None
    for octets in inputs:
        try:
            check(octets)
        except (AssertionError, ValueError, TypeError, KeyError, AttributeError) as error:
            found = error
            break
    assert found is not None
    assert not isinstance(found, ours)


# --- the drivers -----------------------------------------------------------------------------------


def driver(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "fuzz.run", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout + run.stderr


def test_the_plain_driver() -> None:
    status, told = driver("--engine", "plain", "--runs", "300", "--seed", "2")
    assert status == 0, told
    for target in TARGETS:
        assert re.search(
            rf"^{target}: 300 runs in .* [0-9]+ lines reached, .* nothing found$", told, re.MULTILINE
        )


def test_no_target() -> None:
    status, told = driver("--runs", "1", "nothing")
    assert status == 2
    assert "no target: nothing" in told


def test_lines_that_are_reached() -> None:
    with Coverage("smtpverify") as coverage:
        assert not coverage.grew()
        pins.Pin.parse("ab" * 32)
        assert coverage.grew()
        before = coverage.lines
        pins.Pin.parse("ab" * 32)
        assert not coverage.grew()
        with pytest.raises(PinFormatError):
            pins.Pin.parse("ab" * 20)
        assert coverage.grew()
        assert coverage.lines > before
