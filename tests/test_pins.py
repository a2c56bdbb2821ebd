"""Pins: every spelling that is read, every one that is not, and what a pin is compared with."""

from __future__ import annotations

import base64
import copy
import hashlib
import pickle
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest
from hypothesis import example, given, settings, strategies as st

from smtpverify import CertificateFormatError, Pin, PinFormatError
from smtpverify.tls.pins import find_pin
from smtpverify.tls.x509 import Certificate
from tests.minting import FULL, Parts, real

if TYPE_CHECKING:
    from collections.abc import Callable

moderately = settings(max_examples=150, deadline=None)
often = settings(max_examples=500, deadline=None)

Of = Literal["certificate", "spki"]
Spelling = Literal["smtpverify", "mercurial", "openssl", "curl", "msmtp"]
OFS: tuple[Of, ...] = get_args(Of)
SPELLINGS: tuple[Spelling, ...] = get_args(Spelling)
SIZES = {"sha256": 32, "sha384": 48, "sha512": 64}

DIGEST = bytes(range(0xA0, 0xC0))
HEX, COLONS = DIGEST.hex(), DIGEST.hex(":")
BASE64 = base64.b64encode(DIGEST).decode("ascii")
CERTIFICATE, SPKI = Pin("certificate", "sha256", DIGEST), Pin("spki", "sha256", DIGEST)

pins = st.builds(
    lambda of, algorithm, octets: Pin(of, algorithm, octets[: SIZES[algorithm]]),
    st.sampled_from(OFS),
    st.sampled_from(sorted(SIZES)),
    st.binary(min_size=64, max_size=64),
)


def refusal(text: str, certificate: Certificate | bytes | None = None) -> str:
    """Return the message with which a text is refused."""
    with pytest.raises(PinFormatError) as caught:
        Pin.parse(text, certificate=certificate)
    message = str(caught.value)
    assert message.isprintable()
    assert caught.value.__cause__ is None
    return message


# What is read


@pytest.mark.parametrize(
    ("text", "pin"),
    [
        # smtpverify
        (f"sha256:{HEX}", CERTIFICATE),
        (f"spki-sha256:{BASE64}", SPKI),
        (f"spki-sha256:{HEX}", SPKI),
        (f"spki-sha256:{COLONS}", SPKI),
        (f"SPKI-SHA256:{HEX.upper()}", SPKI),
        (f"SPKI-SHA-256:{BASE64}", SPKI),
        (f"sha-256:{HEX}", CERTIFICATE),
        # Mercurial's hostsecurity.<host>:fingerprints
        (f"sha256:{COLONS}", CERTIFICATE),
        (f"SHA256:{COLONS.upper()}", CERTIFICATE),
        # openssl x509 -fingerprint: 1.1, and 3.0
        (f"SHA256 Fingerprint={COLONS.upper()}", CERTIFICATE),
        (f"sha256 Fingerprint={COLONS.upper()}", CERTIFICATE),
        (f"sha256 fingerprint={COLONS}", CERTIFICATE),
        # curl --pinnedpubkey
        (f"sha256//{BASE64}", SPKI),
        (f"SHA256//{BASE64}", SPKI),
        (f"sha256//{HEX}", SPKI),
        # msmtp's tls_fingerprint
        (COLONS.upper(), CERTIFICATE),
        (COLONS, CERTIFICATE),
        (HEX, CERTIFICATE),
        # White space around it, as a file or a terminal leaves it
        (f" sha256:{HEX}\n", CERTIFICATE),
        (f"\tspki-sha256:{BASE64}\r\n", SPKI),
        (f"SHA256 Fingerprint= {COLONS} ", CERTIFICATE),
        (f"sha256: {COLONS}", CERTIFICATE),
        (f"\n{COLONS}\n", CERTIFICATE),
        # Longer hashes
        ("sha384:" + "ab" * 48, Pin("certificate", "sha384", b"\xab" * 48)),
        ("sha512 Fingerprint=" + ":".join(["CD"] * 64), Pin("certificate", "sha512", b"\xcd" * 64)),
        ("ab" * 48, Pin("certificate", "sha384", b"\xab" * 48)),
        ("ab" * 64, Pin("certificate", "sha512", b"\xab" * 64)),
        ("spki-sha512:" + "ab" * 64, Pin("spki", "sha512", b"\xab" * 64)),
        # 64 characters of base64 are 48 octets, of hexadecimal 32: the hash says which they are.
        ("spki-sha384:" + "ab" * 32, Pin("spki", "sha384", base64.b64decode("ab" * 32))),
        ("spki-sha256:" + "ab" * 32, Pin("spki", "sha256", b"\xab" * 32)),
    ],
)
def test_every_spelling_is_read(text: str, pin: Pin) -> None:
    assert Pin.parse(text) == pin


KNOWN = "sha256:…, sha384:…, sha512:… (certificate) or spki-sha256:… (public key)"
NO_HEX = f"the digest is not hexadecimal; write {KNOWN}"
NO_DIGEST = f"the digest is not base64 or hexadecimal; write {KNOWN}"
UNKNOWN = f"unknown hash; write {KNOWN}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", NO_HEX),
        (" ", NO_HEX),
        ("mail.example.org", NO_HEX),
        (HEX[:-1], NO_HEX),
        (HEX + "g", NO_HEX),
        (HEX[:-1] + "g", NO_HEX),
        (f"0x{HEX}", NO_HEX),
        (BASE64, NO_HEX),
        (COLONS + ":", NO_HEX),
        (":" + COLONS, NO_HEX),
        (COLONS.replace(":", "::", 1), NO_HEX),
        (COLONS.replace(":", " "), NO_HEX),
        (COLONS.replace(":", "-"), NO_HEX),
        (HEX[0] + ":" + HEX[1:], NO_HEX),
        (HEX[:32] + "\n" + HEX[32:], NO_HEX),
        (HEX.replace("a", "\uff41"), NO_HEX),
        (f"sha256:{BASE64}", NO_HEX),
        (f"sha256:sha256:{HEX}", NO_HEX),
        ("sha256:", NO_HEX),
        (f"sha256={HEX}", NO_HEX),
        (f"sha256/{BASE64}", NO_HEX),
        (f"sha3-256:{HEX}", NO_HEX),  # of no spelling
        (f"sp\u212ai-sha256:{HEX}", NO_HEX),  # a Kelvin sign
        (f"\u017fha256:{HEX}", NO_HEX),  # a long s
        ("spki-sha256:", "the digest has 0 octets, not 32 for sha256"),
        ("sha256//", "the digest has 0 octets, not 32 for sha256"),
        ("spki-sha256:!", NO_DIGEST),
        ("sha256//" + BASE64.rstrip("="), NO_DIGEST),
        ("sha256//" + BASE64[:-5] + "-_8=", NO_DIGEST),
        ("sha256//" + BASE64[:20] + "\n" + BASE64[20:], NO_HEX),
        ("sha256//" + BASE64[:20] + " " + BASE64[20:], NO_DIGEST),
        ("sha256//" + BASE64 + "AAAA", NO_DIGEST),
        ("sha256//\u00e9" + BASE64[1:], NO_DIGEST),
        (f"sha224:{HEX[:56]}", UNKNOWN),
        (f"md4:{HEX[:32]}", UNKNOWN),
        (f"sha:{HEX}", NO_HEX),
        (f"SHA2-256 Fingerprint={COLONS}", UNKNOWN),
        (f"crc32//{BASE64}", UNKNOWN),
        (f"whirlpool Fingerprint={HEX}", UNKNOWN),
        (f"sha256:{HEX}00", "the digest has 33 octets, not 32 for sha256"),
        (f"sha256:{HEX[2:]}", "the digest has 31 octets, not 32 for sha256"),
        (f"sha512:{HEX}", "the digest has 32 octets, not 64 for sha512"),
        (f"sha384 Fingerprint={COLONS}", "the digest has 32 octets, not 48 for sha384"),
        (f"spki-sha512:{BASE64}", "the digest has 32 octets, not 64 for sha512"),
        (f"spki-sha512:{HEX}", "the digest has 32 octets, not 64 for sha512"),
        (f"spki-sha256:{COLONS}:00", "the digest has 33 octets, not 32 for sha256"),
        (HEX + "00", "the digest has 33 octets, not 32, 48 or 64"),
        ("00", "the digest has 1 octets, not 32, 48 or 64"),
    ],
)
def test_what_is_no_pin_says_why(text: str, problem: str) -> None:
    message = refusal(text)
    assert message.startswith("pin '")
    assert message.endswith(f"': {problem}")


def test_a_text_is_repeated_escaped_and_short() -> None:
    assert refusal("\x1b]0;\n" + "x" * 300).startswith(r"pin '\x1b]0;\x0a" + "x" * 195 + "…': ")


@pytest.mark.parametrize("value", [None, b"sha256:" + HEX.encode(), 1, CERTIFICATE])
def test_only_a_str_is_a_text(value: Any) -> None:
    assert refusal(value) == f"a pin is a str, not {type(value).__name__}"


def attempt(text: str) -> Pin | PinFormatError:
    try:
        return Pin.parse(text)
    except PinFormatError as error:
        return error


@given(st.text(max_size=150))
@example("://")
@example("sha256//=")
@example("sha256//====")
@example("sha256//A===")
@example("spki-sha256:" + "=" * 44)
@moderately
def test_any_text_is_a_pin_or_an_error(text: str) -> None:
    """Raises: PinFormatError: the text is no pin; and nothing else is raised."""
    outcome = attempt(text)
    assert str(outcome).isprintable()


prefix = st.sampled_from(
    ["", "sha256:", "SHA-256:", "spki-sha256:", "sha256//", "sha256 Fingerprint=", "md5:", "sha1//"]
)
piece = st.sampled_from(
    [HEX, COLONS, BASE64, HEX[:40], "ab", "ab:cd", ":", "=", "==", "A", "/", " ", "\n", "é", "sha1:"]
)


@given(prefix, st.lists(piece, max_size=4).map("".join))
@often
def test_a_text_of_telling_pieces_too(start: str, digest: str) -> None:
    """A pin that is read holds a digest of its hash's size, by no hash that can be forged."""
    outcome = attempt(start + digest)
    assert str(outcome).isprintable()
    if isinstance(outcome, Pin):
        assert len(outcome.digest) == SIZES[outcome.algorithm]
        assert Pin.parse(str(outcome)) == outcome


# MD5 and SHA-1


def weak(algorithm: str, of: Of, certificate: Certificate) -> str:
    """Return a fingerprint that the certificate bears."""
    pinned = certificate.der if of == "certificate" else certificate.spki
    digest = hashlib.new(algorithm, pinned).digest()
    return f"{'spki-' if of == 'spki' else ''}{algorithm}:{digest.hex(':')}"


@pytest.fixture(scope="module")
def leaf() -> Certificate:
    return Certificate.from_der(real("ec"))


@pytest.fixture(scope="module")
def issuer() -> Certificate:
    return Certificate.from_der(real("rsa"))


@pytest.mark.parametrize("of", OFS)
@pytest.mark.parametrize("algorithm", ["md5", "sha1"])
def test_a_weak_fingerprint_is_refused_and_translated_for_its_own_certificate(
    algorithm: str, of: Of, leaf: Certificate, issuer: Certificate
) -> None:
    text = weak(algorithm, of, leaf)
    instead = Pin.of_certificate(leaf) if of == "certificate" else Pin.of_spki(leaf)
    forged = f"pin '{text}': {algorithm} can be forged"
    assert refusal(text) == f"{forged}; write {KNOWN}"
    bears = f"{forged}; the certificate at hand bears it; write {instead} instead"
    assert refusal(text, leaf) == refusal(text, leaf.der) == bears
    # Whoever answers is not to be blessed for having answered.
    not_borne = f"{forged}, and the certificate at hand does not bear it"
    assert refusal(text, issuer) == refusal(text, issuer.der) == not_borne
    assert Pin.parse(str(instead)).matches(leaf)


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        (HEX[:32], "md5"),
        (HEX[:40], "sha1"),
        (COLONS[:59].upper(), "sha1"),
        (f"SHA1 Fingerprint={COLONS[:59]}", "sha1"),
        (f"MD5 Fingerprint={COLONS[:47]}", "md5"),
        (f"sha-1:{HEX[:40]}", "sha1"),
        (f"sha1//{base64.b64encode(DIGEST[:20]).decode('ascii')}", "sha1"),
        (f"spki-md5:{HEX[:32]}", "md5"),
        (f"sha1:{HEX}", "sha1"),  # of the wrong length, too
        (f"md5//{BASE64}", "md5"),
    ],
)
def test_a_weak_fingerprint_is_refused_in_every_spelling(
    text: str, algorithm: str, leaf: Certificate
) -> None:
    assert refusal(text).endswith(f"': {algorithm} can be forged; write {KNOWN}")
    assert "does not bear it" in refusal(text, leaf)


def test_the_certificate_at_hand_is_no_concern_of_a_strong_pin(leaf: Certificate) -> None:
    assert Pin.parse(f"sha256:{HEX}", certificate=leaf) == CERTIFICATE
    assert Pin.parse(f"sha256:{HEX}", certificate=b"no certificate") == CERTIFICATE
    with pytest.raises(CertificateFormatError, match=r"^certificate: "):
        Pin.parse(f"sha1:{HEX[:40]}", certificate=b"no certificate")


# What is written


@pytest.mark.parametrize(
    ("pin", "spelling", "text"),
    [
        (CERTIFICATE, "smtpverify", f"sha256:{HEX}"),
        (CERTIFICATE, "mercurial", f"sha256:{COLONS}"),
        (CERTIFICATE, "openssl", f"sha256 Fingerprint={COLONS.upper()}"),
        (CERTIFICATE, "msmtp", COLONS.upper()),
        (SPKI, "smtpverify", f"spki-sha256:{BASE64}"),
        (SPKI, "curl", f"sha256//{BASE64}"),
        (Pin("certificate", "sha512", b"\xab" * 64), "mercurial", "sha512:" + ":".join(["ab"] * 64)),
    ],
)
def test_a_pin_is_written_as_a_program_reads_it(pin: Pin, spelling: Spelling, text: str) -> None:
    assert pin.format(spelling) == text
    if spelling == "smtpverify":
        assert str(pin) == text


@pytest.mark.parametrize(
    ("pin", "spelling", "problem"),
    [
        (CERTIFICATE, "curl", "curl has no pins of a certificate"),
        (SPKI, "mercurial", "mercurial has no pins of an spki"),
        (SPKI, "openssl", "openssl has no pins of an spki"),
        (SPKI, "msmtp", "msmtp has no pins of an spki"),
        (Pin("spki", "sha512", bytes(64)), "curl", "curl has no pins made with sha512"),
        (Pin("certificate", "sha384", bytes(48)), "mercurial", "mercurial has no pins made with sha384"),
        (Pin("certificate", "sha512", bytes(64)), "msmtp", "msmtp has no pins made with sha512"),
    ],
)
def test_a_pin_that_a_program_can_t_read_is_not_written(pin: Pin, spelling: Spelling, problem: str) -> None:
    with pytest.raises(PinFormatError) as caught:
        pin.format(spelling)
    assert str(caught.value) == problem


@given(pins, st.sampled_from(SPELLINGS), st.sampled_from([str, str.strip, " {}\n".format]))
@example(Pin("spki", "sha384", base64.b64decode("ab" * 32)), "smtpverify", str)
@often
def test_what_is_written_is_read_again(pin: Pin, spelling: Spelling, around: Callable[[str], str]) -> None:
    """Whatever a program is given to read, is this pin to us as well."""
    try:
        text = pin.format(spelling)
    except PinFormatError:
        assert (pin.of == "spki") != (spelling == "curl") or pin.algorithm != "sha256"
        assert spelling != "smtpverify"
        return
    assert Pin.parse(around(text)) == pin
    assert Pin.parse(str(pin)) == pin


@given(pins)
@moderately
def test_case_and_colons_of_hexadecimal_are_of_no_account(pin: Pin) -> None:
    """One digest, whichever way it is printed."""
    start = ("spki-" if pin.of == "spki" else "") + pin.algorithm + ":"
    for text in (
        pin.digest.hex(),
        pin.digest.hex(":"),
        pin.digest.hex().upper(),
        pin.digest.hex(":").upper(),
    ):
        assert Pin.parse(start + text) == Pin.parse(start.upper() + text) == pin


# What is compared


def test_a_pin_matches_what_it_was_made_of(leaf: Certificate, issuer: Certificate) -> None:
    for algorithm in SIZES:
        for pin, pinned in (
            (Pin.of_certificate(leaf, algorithm), leaf.der),
            (Pin.of_spki(leaf, algorithm), leaf.spki),
        ):
            assert pin.digest == hashlib.new(algorithm, pinned).digest()
            assert pin.algorithm == algorithm
            assert pin.matches(leaf)
            assert not pin.matches(issuer)
    assert Pin.of_certificate(leaf) == Pin("certificate", "sha256", bytes.fromhex(leaf.sha256))
    assert Pin.of_spki(leaf).algorithm == "sha256"


def test_a_pin_of_the_key_survives_a_renewal_and_one_of_the_certificate_does_not() -> None:
    """RFC 7469 2.4: the SubjectPublicKeyInfo, that the pin may live longer than the certificate."""
    old, new = Certificate.from_der(FULL.der()), Certificate.from_der(Parts().der())
    assert old.spki == new.spki
    assert Pin.of_spki(old).matches(new)
    assert not Pin.of_certificate(old).matches(new)


def test_what_a_pin_is_of_counts(leaf: Certificate) -> None:
    of_key, of_all = Pin.of_spki(leaf), Pin.of_certificate(leaf)
    assert not Pin("certificate", "sha256", of_key.digest).matches(leaf)
    assert not Pin("spki", "sha256", of_all.digest).matches(leaf)


def test_the_first_pin_that_the_leaf_bears_is_found(leaf: Certificate, issuer: Certificate) -> None:
    """RFC 7469 2.5: a backup pin is of a key that is not in use yet."""
    backup, own, own_key = CERTIFICATE, Pin.of_certificate(leaf), Pin.of_spki(leaf)
    assert find_pin([backup, own, own_key], leaf) is own
    assert find_pin(iter([backup, own_key, own]), leaf) is own_key
    assert find_pin([backup], leaf) is None
    assert find_pin([], leaf) is None
    assert find_pin([Pin.of_certificate(issuer), Pin.of_spki(issuer)], leaf) is None


# A value


@pytest.mark.parametrize(
    ("of", "algorithm", "digest", "problem"),
    [
        ("key", "sha256", DIGEST, "a pin is of a certificate or an spki, not of 'key'"),
        ("spki", "sha1", DIGEST[:20], "a pin is made with sha256, sha384, sha512, not with 'sha1'"),
        ("spki", "md5", DIGEST[:16], "a pin is made with sha256, sha384, sha512, not with 'md5'"),
        ("spki", "SHA256", DIGEST, "a pin is made with sha256, sha384, sha512, not with 'SHA256'"),
        ("certificate", "sha256", DIGEST[1:], "a sha256 digest has 32 octets, not 31"),
        ("certificate", "sha512", DIGEST, "a sha512 digest has 64 octets, not 32"),
        ("certificate", "sha256", b"", "a sha256 digest has 32 octets, not 0"),
    ],
)
def test_a_pin_can_t_be_made_wrong(of: Any, algorithm: str, digest: bytes, problem: str) -> None:
    with pytest.raises(PinFormatError) as caught:
        Pin(of, algorithm, digest)
    assert str(caught.value) == problem


def test_no_pin_is_made_with_a_weak_hash(leaf: Certificate) -> None:
    for make in (Pin.of_certificate, Pin.of_spki):
        with pytest.raises(
            PinFormatError, match=r"^a pin is made with sha256, sha384, sha512, not with 'sha1'$"
        ):
            make(leaf, "sha1")


@given(pins, pins)
@example(CERTIFICATE, SPKI)
@example(CERTIFICATE, Pin.parse(HEX))
@moderately
def test_a_pin_is_a_value(one: Pin, other: Pin) -> None:
    """Equal when all three parts are; then of one hash; and pickled and copied without loss."""
    same = (one.of, one.algorithm, one.digest) == (other.of, other.algorithm, other.digest)
    assert (one == other) == same
    assert not same or hash(one) == hash(other)
    assert (str(one) == str(other)) == same
    assert len({one, copy.copy(one), pickle.loads(pickle.dumps(one))}) == 1


def test_a_pin_does_not_change() -> None:
    with pytest.raises(AttributeError):
        CERTIFICATE.digest = bytes(32)  # type: ignore[misc]


@pytest.mark.parametrize("spare", ["=", "=="])
def test_base64_is_as_it_is_written(spare: str) -> None:
    """Python 3.10 reads more padding than there is; a pin has one spelling (RFC 4648 3.2)."""
    digest = base64.b64encode(bytes(32)).decode("ascii")
    assert Pin.parse(f"spki-sha256:{digest}").digest == bytes(32)
    with pytest.raises(PinFormatError):
        Pin.parse(f"spki-sha256:{digest}{spare}")


def test_no_bit_of_base64_is_passed_over() -> None:
    """The last digit but one has two bits to spare, which every Python reads as nothing."""
    assert base64.b64decode(f"{42 * 'A'}B=", validate=True) == bytes(32)
    with pytest.raises(PinFormatError):
        Pin.parse(f"spki-sha256:{42 * 'A'}B=")


def test_a_digest_is_bytes() -> None:
    for digest in (bytearray(32), "a" * 32):
        with pytest.raises(PinFormatError, match=r"^a digest is bytes, not (bytearray|str)$"):
            Pin("certificate", "sha256", digest)  # type: ignore[arg-type]
