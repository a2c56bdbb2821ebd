"""Exceptions and warnings: their bases, how they print, and that they survive a pickle."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import smtplib
import ssl
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

import smtpverify
from smtpverify import Cause, Diagnosis, errors
from smtpverify.errors import SMTPVerifyError, printable
from tests.bed import Protocol, Starttls, Tls
from tests.bed.network import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bed import Server
    from tests.conftest import ServerFactory

# Class -> its bases, and what else callers of smtplib and ssl catch it as.
BASES: dict[type[SMTPVerifyError], tuple[type[Exception], ...]] = {
    SMTPVerifyError: (smtplib.SMTPException, OSError),
    errors.PeerVerificationError: (SMTPVerifyError, ssl.SSLCertVerificationError, ssl.SSLError, ValueError),
    errors.UntrustedCertificateError: (errors.PeerVerificationError,),
    errors.CertificateExpiredError: (errors.PeerVerificationError,),
    errors.HostnameMismatchError: (errors.PeerVerificationError, ssl.CertificateError),
    errors.PinMismatchError: (errors.PeerVerificationError,),
    errors.TLSRequiredError: (SMTPVerifyError, smtplib.SMTPNotSupportedError),
    errors.STARTTLSRefusedError: (errors.TLSRequiredError, smtplib.SMTPResponseException),
    errors.TLSDowngradeError: (errors.TLSRequiredError,),
    errors.TLSHandshakeError: (SMTPVerifyError, ssl.SSLError),
    errors.TLSHandshakeTimeoutError: (errors.TLSHandshakeError, TimeoutError),
    errors.ProtocolError: (SMTPVerifyError, smtplib.SMTPServerDisconnected),
    errors.PlaintextInjectionError: (errors.ProtocolError,),
    errors.MalformedReplyError: (errors.ProtocolError, smtplib.SMTPResponseException),
    errors.GreetingError: (SMTPVerifyError, smtplib.SMTPConnectError, smtplib.SMTPResponseException),
    errors.UnsolicitedReplyError: (errors.ProtocolError,),
    errors.DeliveryUnknownError: (SMTPVerifyError, smtplib.SMTPServerDisconnected),
    errors.MessageTooLargeError: (SMTPVerifyError, smtplib.SMTPSenderRefused),
    errors.LMTPDataError: (SMTPVerifyError, smtplib.SMTPDataError, smtplib.SMTPRecipientsRefused),
    errors.CommandArgumentError: (SMTPVerifyError, ValueError),
    errors.AuthenticationError: (SMTPVerifyError, smtplib.SMTPAuthenticationError),
    errors.ServerSignatureError: (errors.AuthenticationError,),
    errors.PlaintextCredentialsError: (SMTPVerifyError,),
    errors.RelayURLError: (SMTPVerifyError, ValueError),
    errors.ReferenceIdentifierError: (SMTPVerifyError, ValueError),
    errors.PinFormatError: (SMTPVerifyError, ValueError),
    errors.TrustError: (SMTPVerifyError, ValueError),
    errors.InsecureContextError: (SMTPVerifyError, ValueError),
    errors.CertificateFormatError: (SMTPVerifyError, ValueError),
}
WARNINGS: dict[type[Warning], type[Warning]] = {
    errors.PlaintextWarning: UserWarning,
    errors.PlaintextFallbackWarning: errors.PlaintextWarning,
    errors.InsecureContextWarning: UserWarning,
    errors.KnownHostsWarning: UserWarning,
}

# What callers of smtplib unpack, for those that stand for a reply.
ARGS: dict[type[SMTPVerifyError], tuple[object, ...]] = {
    errors.STARTTLSRefusedError: (454, b"4.7.0 not now"),
    errors.MalformedReplyError: (454, b"4.7.0 not now"),
    errors.GreetingError: (454, b"4.7.0 not now"),
    errors.MessageTooLargeError: (454, b"4.7.0 not now", "alice@example.org"),
    errors.LMTPDataError: (454, b"4.7.0 not now"),
    errors.AuthenticationError: (454, b"4.7.0 not now"),
    errors.ServerSignatureError: (454, b"4.7.0 not now"),
}

every = pytest.mark.parametrize("kind", BASES, ids=lambda kind: kind.__name__)

DIAGNOSIS = Diagnosis(Cause.EXPIRED, "the certificate expired", "Have it renewed.", chain=(b"\x30\x00",))


def test_none_is_left_out() -> None:
    classes = {
        value for name, value in vars(errors).items() if isinstance(value, type) and not name.startswith("_")
    }
    assert classes == {*BASES, *WARNINGS}
    assert set(errors.__all__) == {one.__name__ for one in classes} | {"printable"}


@every
def test_bases(kind: type[SMTPVerifyError]) -> None:
    for base in BASES[kind]:
        assert issubclass(kind, base)
    assert kind.__name__ == "SMTPVerifyError" or kind.__doc__


@pytest.mark.parametrize("kind", WARNINGS)
def test_warnings(kind: type[Warning]) -> None:
    assert issubclass(kind, WARNINGS[kind])
    assert not issubclass(kind, smtplib.SMTPException)


def test_a_refusal_is_no_verdict_and_a_verdict_no_refusal() -> None:
    # Who falls back on the one must not fall back on the other.
    assert not issubclass(errors.PeerVerificationError, errors.TLSHandshakeError)
    assert not issubclass(errors.PeerVerificationError, (ConnectionError, smtplib.SMTPServerDisconnected))
    assert not issubclass(errors.TLSHandshakeError, ssl.SSLCertVerificationError)


@every
@pytest.mark.parametrize(
    ("host", "port", "shown"),
    [
        (None, None, "it failed"),
        (None, 25, "it failed"),
        ("mail.example.org", None, "mail.example.org: it failed"),
        ("mail.example.org", 25, "mail.example.org:25: it failed"),
        ("192.0.2.1", 25, "192.0.2.1:25: it failed"),
        ("::1", 465, "[::1]:465: it failed"),
        ("fe80::1%eth0", 25, "[fe80::1%eth0]:25: it failed"),
        ("::1", None, "::1: it failed"),
        ("a\n\x1b[2J", 25, r"a\x0a\x1b[2J:25: it failed"),
    ],
)
def test_str(kind: type[SMTPVerifyError], host: str | None, port: int | None, shown: str) -> None:
    error = kind("it failed", host=host, port=port)
    assert str(error) == shown
    assert f"{error}" == shown
    assert error.message == "it failed"
    if kind not in ARGS:
        assert repr(error) == f"{kind.__name__}('it failed')"
        assert error.args == ("it failed",)


@pytest.mark.parametrize("kind", ARGS)
def test_args_are_those_of_the_base(kind: Any) -> None:
    assert smtplib.SMTPResponseException in kind.__mro__
    error = full(kind)
    assert error.args == ARGS[kind] == (error.smtp_code, error.smtp_error, *ARGS[kind][2:])
    assert repr(error) == f"{kind.__name__}{ARGS[kind]!r}"
    bare = kind("it failed")
    too_large = (552, b"5.3.4 Message size exceeds the server's limit", "")
    assert bare.args == (too_large if kind is errors.MessageTooLargeError else (-1, b"it failed"))
    assert (bare.smtp_code, bare.smtp_error) == bare.args[:2]
    # No other class stands for a reply.
    for other in BASES.keys() - ARGS.keys():
        assert not issubclass(other, smtplib.SMTPResponseException)


@every
def test_attributes(kind: type[SMTPVerifyError]) -> None:
    error = kind("it failed")
    assert (error.host, error.port, error.diagnosis) == (None, None, None)
    error = kind("it failed", host="mail.example.org", port=25, diagnosis=DIAGNOSIS)
    assert (error.host, error.port, error.diagnosis) == ("mail.example.org", 25, DIAGNOSIS)


def test_attributes_that_the_bases_have() -> None:
    verdict = errors.HostnameMismatchError("it failed")
    assert (verdict.library, verdict.reason) == ("SSL", "CERTIFICATE_VERIFY_FAILED")
    assert (verdict.verify_code, verdict.verify_message) == (0, "")
    broken = errors.TLSHandshakeError("it failed")
    assert (broken.library, broken.reason) == ("SSL", "")
    refused = errors.STARTTLSRefusedError("it failed")
    assert (refused.smtp_code, refused.smtp_error) == (-1, b"it failed")
    refused = errors.STARTTLSRefusedError("it failed", smtp_code=454, smtp_error=b"4.7.0 not now", port=25)
    assert (refused.smtp_code, refused.smtp_error, refused.port) == (454, b"4.7.0 not now", 25)


def full(kind: type[SMTPVerifyError]) -> Any:
    """An error with every attribute set to something other than its default."""
    more: dict[str, Any] = {}
    if kind in ARGS:
        more = {"smtp_code": 454, "smtp_error": b"4.7.0 not now"}
    if issubclass(kind, errors.MessageTooLargeError):
        more["sender"] = "alice@example.org"
    if issubclass(kind, errors.LMTPDataError):
        more["recipients"] = {"bob@example.net": (454, b"4.7.0 not now")}
    if issubclass(kind, errors.AuthenticationError):
        more |= {"mechanism": "PLAIN", "offered": ("PLAIN", "LOGIN"), "complaint": b"{}"}
    error: Any = kind("it failed", host="mail.example.org", port=25, diagnosis=DIAGNOSIS, **more)
    assert {name: getattr(error, name) for name in more} == more
    if isinstance(error, errors.PeerVerificationError):
        error.verify_code, error.verify_message = 10, "certificate has expired"
    if isinstance(error, errors.TLSHandshakeError):
        error.reason = "NO_SHARED_CIPHER"
    return error


NAMES = (
    "args",
    "message",
    "host",
    "port",
    "diagnosis",
    "verify_code",
    "verify_message",
    "library",
    "reason",
    "smtp_code",
    "smtp_error",
    "errno",
    "strerror",
    "sender",
    "recipients",
    "mechanism",
    "offered",
    "complaint",
)


def by_another_process(error: Any) -> Any:
    """As `concurrent.futures` hands it on, from a pool of processes."""
    from concurrent.futures import process  # here: the simulation of Windows can't load it

    # The wrapper has no public name; starting processes for each class would cost seconds.
    wrapper: Any = process._ExceptionWithTraceback
    return pickle.loads(pickle.dumps(wrapper(error, None)))


@every
@pytest.mark.parametrize(
    "twin",
    [
        *(
            pytest.param(
                lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol)),
                id=f"pickle{protocol}",
            )
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
        copy.copy,
        copy.deepcopy,
        by_another_process,
    ],
)
def test_pickle_and_copy(kind: type[SMTPVerifyError], twin: Any) -> None:
    error = full(kind)
    other = twin(error)
    assert type(other) is kind
    assert other is not error
    assert str(other) == str(error) == "mail.example.org:25: it failed"
    assert {**vars(other), "__cause__": None} == {**vars(error), "__cause__": None}
    assert repr(other) == repr(error)
    for name in NAMES:
        assert getattr(other, name, None) == getattr(error, name, None)


@every
def test_it_can_be_raised_from_another(kind: type[SMTPVerifyError]) -> None:
    cause = ssl.SSLError(1, "[SSL] below")
    with pytest.raises(smtplib.SMTPException) as caught:
        raise kind("it failed") from cause
    assert caught.value.__cause__ is cause


def test_all_are_of_the_public_face() -> None:
    for kind in (*BASES, *WARNINGS):
        assert getattr(smtpverify, kind.__name__) is kind
        assert kind.__name__ in dir(smtpverify)


def refuse() -> None:
    raise full(errors.AuthenticationError)


def test_from_a_process_of_a_pool() -> None:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        caught = pool.submit(refuse).exception(timeout=50)
    assert isinstance(caught, errors.AuthenticationError)
    assert str(caught) == "mail.example.org:25: it failed"
    expected = full(errors.AuthenticationError)
    assert {name: getattr(caught, name) for name in vars(expected)} == vars(expected)
    assert caught.args == expected.args


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda result: pickle.loads(pickle.dumps(result))]
)
def test_a_result_with_an_error(twin: Any) -> None:
    error = full(errors.MessageTooLargeError)
    refused = {"bob@example.net": (550, b"5.1.1 nobody")}
    result = smtpverify.SendResult(smtpverify.Outcome.REFUSED, refused, error)
    other = twin(result)
    assert (other.outcome, other.refused, other.reply) == (result.outcome, refused, None)
    assert (repr(other.error), str(other.error), other.error.args) == (repr(error), str(error), error.args)
    if sys.version_info >= (3, 13):
        assert copy.replace(other, error=None) == smtpverify.SendResult(smtpverify.Outcome.REFUSED, refused)
        assert copy.replace(error.diagnosis, remedy="None.").cause is Cause.EXPIRED


def test_what_a_caller_adds_is_kept() -> None:
    """A note, and an attribute of a subclass whose constructor has another signature."""
    error = Named("mail.example.org")
    notes = vars(error)["__notes__"] = ["while sending the newsletter"]  # add_note(), from 3.11 on
    other = pickle.loads(pickle.dumps(error))
    assert (str(other), other.name, vars(other)["__notes__"]) == (str(error), "mail.example.org", notes)
    assert (other.args, other.smtp_code) == ((535, b"no"), 535)


class Named(errors.AuthenticationError):
    def __init__(self, name: str) -> None:
        super().__init__(f"{name} failed", smtp_code=535, smtp_error=b"no")
        self.name = name


FACES: dict[str, type[smtplib.SMTP]] = {"SMTP": smtpverify.SMTP, "injected": smtplib.SMTP}


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> Iterator[str]:
    """The face of the library; where it is smtplib's own, injected."""
    if request.param == "injected":
        with smtpverify.inject_into_smtplib():
            yield request.param
    else:
        yield request.param


def connect(server: Server, kind: Callable[..., Any] = smtplib.SMTP) -> Any:
    return kind(LOOPBACK, server.port, "client.example.org", timeout=5)


def unpacked(caught: pytest.ExceptionInfo[Any]) -> Any:
    return caught.value.args  # of which typeshed knows several forms


@pytest.mark.parametrize("kind", [smtplib.SMTP, smtpverify.SMTP])
def test_what_callers_unpack_of_a_refused_login(smtp_server: ServerFactory, kind: Any) -> None:
    with smtp_server(auth_reply="535 5.7.8 bad credentials", before_tls=("AUTH PLAIN",)) as server:
        smtp = connect(server, kind)
        with smtp, pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            smtp.login("alice", "secret words")
    code, message = unpacked(caught)
    assert (code, message) == (535, b"5.7.8 bad credentials")
    assert (caught.value.errno, caught.value.strerror) == (None, None)


def test_what_callers_unpack_of_challenges_without_sense(smtp_server: ServerFactory) -> None:
    with smtp_server(before_tls=("AUTH LOGIN",), replies={"AUTH": "334 ***"}) as server:
        smtp = connect(server, smtpverify.SMTP)
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            smtp.login("alice", "secret words")
    code, message = unpacked(caught)
    assert code == -1
    assert message == b"the server's challenge is not Base64 (RFC 4954 4): '***'"
    assert str(caught.value) == f"{LOOPBACK}:{server.port}: {message.decode()}"


def test_what_callers_unpack_of_a_message_that_is_too_large(smtp_server: ServerFactory) -> None:
    with smtp_server(before_tls=("SIZE 10",)) as server:
        smtp = connect(server, smtpverify.SMTP)
        with smtp, pytest.raises(smtplib.SMTPSenderRefused, match="the message has 50") as caught:
            smtp.sendmail("alice@example.org", ["bob@example.net"], "x" * 48 + "\r\n")
    code, message, sender = unpacked(caught)
    assert (code, sender) == (552, "alice@example.org")
    assert message == b"5.3.4 Message size exceeds the server's limit"


def test_what_callers_unpack_of_starttls_refused(smtp_server: ServerFactory, face: str) -> None:
    with smtp_server(tls=Tls.STARTTLS, starttls=Starttls.REFUSED) as server:
        smtp = connect(server, FACES[face])
        with pytest.raises(smtplib.SMTPResponseException, match="the server refused STARTTLS: 454") as caught:
            smtp.starttls()
    assert isinstance(caught.value, errors.STARTTLSRefusedError)
    code, message = unpacked(caught)
    assert (code, message) == (454, b"4.7.0 TLS not available due to temporary reason")


@pytest.mark.parametrize(
    ("greeting", "code", "text"),
    [
        ("554 5.3.0 no", 554, b"5.3.0 no"),
        ("SSH-2.0-OpenSSH", -1, None),
        ("2200 what", 220, None),
        ("650 what", 650, b"what"),
    ],
)
def test_what_callers_unpack_of_a_greeting(
    smtp_server: ServerFactory, greeting: str, code: int, text: bytes | None
) -> None:
    with smtp_server(greeting=greeting) as server, pytest.raises(smtplib.SMTPConnectError) as caught:
        connect(server, smtpverify.SMTP)
    assert caught.value.args == (code, caught.value.smtp_error)
    assert isinstance(caught.value.smtp_error, bytes)
    if text is not None:
        assert caught.value.smtp_error == text


def test_what_callers_unpack_of_a_reply_that_is_none(smtp_server: ServerFactory) -> None:
    with smtp_server(replies={"NOOP": "what?"}) as server:
        smtp = connect(server, smtpverify.SMTP)
        with pytest.raises(smtplib.SMTPResponseException, match="'what\\?' is no line of a reply") as caught:
            smtp.noop()
    code, message = unpacked(caught)
    assert (code, message) == (-1, b"?")


def test_what_callers_unpack_of_lmtp(smtp_server: ServerFactory) -> None:
    refusal = "552 5.2.2 mailbox full"
    with smtp_server(protocol=Protocol.LMTP, replies={".": refusal}) as server:
        smtp = connect(server, smtpverify.LMTP)
        with smtp, pytest.raises(smtplib.SMTPDataError) as caught:
            smtp.sendmail("alice@example.org", ["bob@example.net", "carol@example.net"], "hello")
    code, message = unpacked(caught)
    assert (code, message) == (552, b"5.2.2 mailbox full")
    assert isinstance(caught.value, smtplib.SMTPRecipientsRefused)
    assert set(caught.value.recipients) == {"bob@example.net", "carol@example.net"}


# --- printable -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        (b"", ""),
        ("mail.example.org", "mail.example.org"),
        ("büro 🔑 漢字", "büro 🔑 漢字"),
        ("a b", "a b"),
        ("\0\a\b\t\n\v\f\r\x1b\x7f", r"\x00\x07\x08\x09\x0a\x0b\x0c\x0d\x1b\x7f"),
        ("\x80\x85\x9b\x9f\xa0\xad", r"\x80\x85\x9b\x9f\xa0\xad"),  # C1, NBSP, soft hyphen
        ("\u2028\u2029", r"\u2028\u2029"),  # separators of lines
        ("\u200b\u200d\ufeff", r"\u200b\u200d\ufeff"),  # of no width
        ("\u202a\u202b\u202c\u202d\u202e\u2066\u2069", r"\u202a\u202b\u202c\u202d\u202e\u2066\u2069"),  # bidi
        ("\ud800\udfff", r"\ud800\udfff"),
        ("\udc80\udcff", r"\x80\xff"),  # octets by surrogateescape
        ("\U000e0001\U0010ffff", r"\U000e0001\U0010ffff"),
        ("\ue000\u0378", r"\ue000\u0378"),  # private, unassigned
        ("\\n", r"\\n"),
        (b"\\n\r\n", r"\\n\x0d\x0a"),
        (b"\x1b[2J\x80\xff", r"\x1b[2J\x80\xff"),
        ("bü".encode(), r"b\xc3\xbc"),
    ],
)
def test_printable(text: str | bytes, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("char", ["a", "\n", "🔑"])
def test_long_text(char: str) -> None:
    one = printable(char)
    assert printable(200 * char) == 200 * one
    assert printable(201 * char) == 200 * one + "…"
    assert printable(10_000_000 * char) == 200 * one + "…"
    assert printable(5 * char, 5) == 5 * one
    assert printable(6 * char, 5) == 5 * one + "…"


def test_long_bytes() -> None:
    assert printable(200 * b"\xff") == 200 * r"\xff"
    assert printable(201 * b"\xff") == 200 * r"\xff" + "…"
    assert printable(b"abc", 0) == "…"


ANY = st.text(st.characters() | st.sampled_from("\0\n\r\x1b\x7f\x85\u2028\u202e\ud800\udcff\\…"))


@given(ANY | st.binary(), st.integers(0, 50))
def test_printable_is_of_one_line_and_shows_all(text: str | bytes, limit: int) -> None:
    """The docstring of `printable`: "the result is one line and unambiguous"."""
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert shown.endswith("…") or len(text) <= limit
    if len(text) > limit:
        return
    # Read back, it is what was given, an octet outside of ASCII as the character of the same number.
    assert _read_back(shown) == (text.decode("latin-1") if isinstance(text, bytes) else _octets_read(text))


def _octets_read(text: str) -> str:
    return "".join(chr(ord(char) - 0xDC00) if "\udc80" <= char <= "\udcff" else char for char in text)


def _read_back(shown: str) -> str:
    # unicode_escape reads Latin-1: what is not ASCII must be escaped first.
    escaped = "".join(char if char.isascii() else f"\\U{ord(char):08x}" for char in shown)
    return escaped.encode("ascii").decode("unicode_escape")


@given(ANY, st.none() | ANY, st.none() | st.integers(1, 65535))
def test_what_an_error_shows_of_its_host_is_printable(
    message: str, host: str | None, port: int | None
) -> None:
    error = SMTPVerifyError(printable(message), host=host, port=port)
    assert str(error).isprintable()


@pytest.mark.parametrize(
    "error",
    [
        smtpverify.AuthenticationError("no", smtp_code=535, smtp_error=b"5.7.8 no"),
        smtpverify.STARTTLSRefusedError("no", smtp_code=454, smtp_error=b"4.7.0 no"),
        smtpverify.MalformedReplyError("no", smtp_code=250, smtp_error=b"x"),
        smtpverify.GreetingError("no", smtp_code=554, smtp_error=b"no"),
        smtpverify.LMTPDataError("no", smtp_code=552, smtp_error=b"full"),
        smtpverify.MessageTooLargeError("no", sender="alice@example.org"),
        smtpverify.RelayURLError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_one_is_made_again_of_its_args(error: Any) -> None:
    """As Celery does, and what else takes an exception's class and `args` for all there is."""
    again = type(error)(*error.args)
    assert again.args == error.args
    for name in ("smtp_code", "smtp_error", "sender"):
        assert getattr(again, name, None) == getattr(error, name, None)
    if hasattr(error, "smtp_code"):
        assert str(again) == f"{error.smtp_code} {error.smtp_error.decode()}"
