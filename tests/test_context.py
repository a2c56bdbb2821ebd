"""The gate's context: what it is at birth, that nothing weakens it, and that one trust has one context."""

from __future__ import annotations

import _ssl
import copy
import importlib.util
import os
import pickle
import signal
import socket
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from smtpverify import InsecureContextError, Trust, TrustError, VerifyingContext, create_context
from smtpverify.tls import context as module
from smtpverify.tls.ciphers import restrict_ciphers
from smtpverify.tls.context import VerifyingObject, VerifyingSocket
from tests.bed import HOST, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PIN = "sha256:" + 64 * "0"

# What gives something out and changes nothing, or makes a connection; all the rest is refused.
READERS = {"wrap_socket", "wrap_bio", "cert_store_stats", "session_stats"}
INTERNAL = {"_wrap_socket", "_wrap_bio", "_encode_hostname"}
NAMES = [name for name in dir(ssl.SSLContext) if not name.startswith("__")]
METHODS = [
    name
    for name in NAMES
    if callable(getattr(ssl.SSLContext, name))
    and not isinstance(getattr(ssl.SSLContext, name), type)
    and not name.startswith("get_")
    and name not in READERS | INTERNAL
]
SETTINGS = [name for name in NAMES if hasattr(getattr(ssl.SSLContext, name), "__set__")]


def settings(context: ssl.SSLContext) -> dict[str, object]:
    return {name: getattr(context, name) for name in SETTINGS} | {
        "roots": context.get_ca_certs(binary_form=True),
        "ciphers": [cipher["name"] for cipher in context.get_ciphers()],
    }


def assert_of_no_use(context: ssl.SSLContext) -> None:
    with socket.socket() as sock, pytest.raises(InsecureContextError, match="behind its back"):
        context.wrap_socket(sock, server_hostname=HOST)
    with pytest.raises(InsecureContextError, match="behind its back"):
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=HOST)


def assert_of_use(context: ssl.SSLContext) -> None:
    with socket.socket() as sock, context.wrap_socket(sock, server_hostname=HOST) as wrapped:
        assert isinstance(wrapped, VerifyingSocket)
    wrapped_bio = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=HOST)
    assert type(wrapped_bio) is VerifyingObject


@pytest.fixture
def context() -> VerifyingContext:
    """Give a context of its own, that no other test shares."""
    return VerifyingContext()


# --- birth ---------------------------------------------------------------------------------------


def test_birth(context: VerifyingContext, world: World) -> None:
    usual = ssl.create_default_context()
    assert context.protocol is ssl.PROTOCOL_TLS_CLIENT
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname is True
    assert context.hostname_checks_common_name is False
    assert context.verify_flags == usual.verify_flags
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.maximum_version is usual.maximum_version
    assert context.options & usual.options == usual.options
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.get_ca_certs(binary_form=True) == [world.root.der]
    assert context.trust == Trust()


# What CPython offers where it is built with its own list and not with OpenSSL's.
SUITES = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-RSA-AES256-SHA384",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-RSA-AES128-SHA256",
    "DHE-RSA-AES256-GCM-SHA384",
    "DHE-RSA-AES128-GCM-SHA256",
    "DHE-RSA-AES256-SHA256",
    "DHE-RSA-AES128-SHA256",
]


def suites(context: ssl.SSLContext) -> list[str]:
    return [each["name"] for each in context.get_ciphers() if each["protocol"] != "TLSv1.3"]


def test_the_same_ciphers_on_every_python(context: VerifyingContext) -> None:
    assert suites(context) == SUITES
    assert context.security_level >= 2


@pytest.mark.parametrize(
    ("policy", "offered", "level", "minimum"),
    [
        ("DEFAULT:@SECLEVEL=0", SUITES, 2, ssl.TLSVersion.TLSv1_2),
        ("DEFAULT:@SECLEVEL=3", SUITES, 3, ssl.TLSVersion.TLSv1_2),
        ("ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA", [SUITES[3]], 2, ssl.TLSVersion.TLSv1_2),
        (
            "AES128-SHA:ECDHE-RSA-AES128-SHA",
            ["AES128-SHA", "ECDHE-RSA-AES128-SHA"],
            2,
            ssl.TLSVersion.TLSv1_3,
        ),
    ],
)
def test_ciphers_under_a_policy(policy: str, offered: list[str], level: int, minimum: ssl.TLSVersion) -> None:
    """A system's policy may be stricter; where it excludes all of these suites, TLS 1.3 is left."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(policy)
    restrict_ciphers(context)
    assert sorted(suites(context)) == sorted(offered)
    assert context.security_level == level
    assert context.minimum_version is minimum


def test_another_class_in_the_place_of_ssl_s(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by `truststore.inject_into_ssl()`: there ssl's own setters find themselves again, without end."""
    expected = settings(VerifyingContext(Trust(world.root_file, minimum_version=ssl.TLSVersion.TLSv1_3)))
    native = {"verify_flags": _ssl._SSLContext.verify_flags}  # for create_default_context()
    monkeypatch.setattr(ssl, "SSLContext", type("SSLContext", (ssl.SSLContext,), native))
    trust = Trust(world.root_file, minimum_version=ssl.TLSVersion.TLSv1_3)
    assert settings(VerifyingContext(trust)) == expected


STAND_IN = """
import _ssl, ssl
Native = ssl.SSLContext
class SSLContext(Native):
    verify_flags = _ssl._SSLContext.verify_flags
    def __new__(cls, protocol):
        return Native.__new__(cls, protocol)
    def cert_store_stats(self):
        raise NotImplementedError
    def load_verify_locations(self, *args):
        raise NotImplementedError
ssl.SSLContext = SSLContext
"""


def test_another_class_that_was_there_first(world: World, tmp_path: Path) -> None:
    (tmp_path / "truststore.py").write_text(STAND_IN, encoding="utf-8")
    code = (
        "import truststore, ssl, sys; from smtpverify import Trust, create_context; "
        "context = create_context(Trust(sys.argv[1])); "
        "print(context.verify_mode.name, context.check_hostname, isinstance(context, ssl.SSLContext))"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(smtpverify.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", code, str(world.root_file)],
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert (done.stdout, done.stderr) == ("CERT_REQUIRED True False\n", "")


def replace_context(monkeypatch: pytest.MonkeyPatch, module: str, wrap_socket: Any) -> None:
    """Put a class with another `wrap_socket()` in the place of `ssl.SSLContext`."""
    replaced = {"__module__": module, "wrap_socket": wrap_socket}
    monkeypatch.setattr(ssl, "SSLContext", type("SSLContext", (ssl.SSLContext,), replaced))


def test_the_sockets_of_truststore_are_not_used(
    context: VerifyingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_context(monkeypatch, "truststore._api", None)
    assert_of_use(context)


class Final(ssl.SSLSocket):
    """A class that lets nobody derive from it."""

    def __init_subclass__(cls) -> None:
        raise TypeError("the class is final")


class Closable:
    """What is no socket at all."""

    closed = False

    def close(self) -> None:
        self.closed = True


def test_sockets_that_can_not_be_verified(context: VerifyingContext, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Closable()
    with monkeypatch.context() as patch, socket.socket() as sock:
        replace_context(patch, "library", lambda *_, **__: made)
        with pytest.raises(
            InsecureContextError, match=r"\(Closable\), and they can't be verified: they are not"
        ):
            context.wrap_socket(sock, server_hostname=HOST)
    assert made.closed
    monkeypatch.setattr(VerifyingContext, "sslsocket_class", Final)
    sock = socket.socket()
    with pytest.raises(
        InsecureContextError, match=r"\(Final\), and they can't be verified: the class is final"
    ):
        context.wrap_socket(sock, server_hostname=HOST)
    assert sock.fileno() == -1


def test_sockets_of_another_context(context: VerifyingContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL would have verified them by that one's roots, or not at all."""
    blind = ssl._create_unverified_context()

    def wrap(_: ssl.SSLContext, sock: socket.socket, **options: Any) -> ssl.SSLSocket:
        return blind.wrap_socket(sock, **options)

    replace_context(monkeypatch, "library", wrap)
    sock = socket.socket()
    with pytest.raises(InsecureContextError, match="can't be verified: they are of another context"):
        context.wrap_socket(sock, server_hostname=HOST)
    assert sock.fileno() == -1


def test_verify_flags_are_those_of_the_running_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a future `ssl.create_default_context` adds, the gate has too."""
    future = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    future.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    monkeypatch.setattr("smtpverify.tls.context._default_context", lambda *_: future)
    assert VerifyingContext().verify_flags == future.verify_flags


def test_birth_with_another_trust(world: World) -> None:
    trust = Trust(roots=world.unknown_file, minimum_version=ssl.TLSVersion.TLSv1_3)
    context = VerifyingContext(trust)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.get_ca_certs(binary_form=True) == [world.unknown.der]


def test_pins_only_has_no_roots() -> None:
    context = VerifyingContext(Trust(pins=PIN, pins_only=True))
    assert context.cert_store_stats()["x509"] == 0
    assert context.verify_mode is ssl.CERT_NONE
    # With pins on top of chain and name, OpenSSL judges these.
    assert VerifyingContext(Trust(pins=PIN)).verify_mode is ssl.CERT_REQUIRED


def test_keys_are_logged_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert ssl.create_default_context().keylog_filename == str(tmp_path / "keys")
    assert VerifyingContext().keylog_filename is None


# --- it can't be changed -------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_every_method_that_changes_is_refused(context: VerifyingContext, name: str) -> None:
    """All that the running Python's SSLContext has, so that a new one is found here."""
    before = settings(context)
    with pytest.raises(InsecureContextError, match=f"can't be changed \\({name}\\)"):
        getattr(context, name)()
    assert getattr(context, name).__name__ == name
    assert settings(context) == before


@pytest.mark.parametrize("name", [*SETTINGS, "trust", "sslsocket_class", "sslobject_class", "wrap_socket"])
def test_every_attribute_is_refused_another_value(context: VerifyingContext, name: str) -> None:
    before = settings(context)
    with pytest.raises(InsecureContextError, match=f"can't be changed \\({name}\\)"):
        setattr(context, name, object())
    with pytest.raises(InsecureContextError, match=f"can't be changed \\({name}\\)"):
        delattr(context, name)
    assert settings(context) == before
    assert_of_use(context)


WEAKER: dict[str, Any] = {
    "_host_flags": 0,
    "_msg_callback": lambda *_: None,
    "check_hostname": False,
    "hostname_checks_common_name": True,
    "keylog_filename": os.devnull,
    "maximum_version": ssl.TLSVersion.TLSv1_2,
    "minimum_version": ssl.TLSVersion.MINIMUM_SUPPORTED,
    "options": ssl.OP_ALL,
    "post_handshake_auth": True,
    "sni_callback": lambda *_: None,
    "sslobject_class": ssl.SSLObject,
    "sslsocket_class": ssl.SSLSocket,
    "trust": None,
    "verify_flags": ssl.VERIFY_DEFAULT,
    "verify_mode": ssl.CERT_OPTIONAL,
}
# Without a setter, or for servers alone.
FIXED = {"num_tickets", "protocol", "security_level"}


def test_the_weaker_values_are_for_every_setting() -> None:
    assert set(SETTINGS) <= set(WEAKER) | FIXED


@pytest.mark.parametrize("name", WEAKER)
def test_weaker_values_are_refused(context: VerifyingContext, name: str) -> None:
    with pytest.raises(InsecureContextError, match=f"can't be changed \\({name}\\)"):
        setattr(context, name, WEAKER[name])
    assert_of_use(context)


# The first's setter sets _host_flags, and is refused; the second is for servers alone; the last has none.
FIXED_BEHIND = {"hostname_checks_common_name", "sni_callback", "sslsocket_class"}


@pytest.mark.parametrize("name", sorted(WEAKER.keys() - FIXED_BEHIND))
def test_changed_behind_its_back(context: VerifyingContext, name: str) -> None:
    """What the base classes' setters do can't be hindered, but found out."""
    object.__setattr__(context, name, WEAKER[name])
    assert_of_no_use(context)


def test_certificates_switched_off_behind_its_back(context: VerifyingContext) -> None:
    super(VerifyingContext, context).__setattr__("check_hostname", False)
    ssl.SSLContext.verify_mode.__set__(context, ssl.CERT_NONE)  # type: ignore[attr-defined]
    assert context.verify_mode is ssl.CERT_NONE
    assert_of_no_use(context)


def test_ciphers_changed_behind_its_back(context: VerifyingContext) -> None:
    ssl.SSLContext.set_ciphers(context, "ALL:@SECLEVEL=0")
    assert_of_no_use(context)


def test_class_changed_behind_its_back(context: VerifyingContext, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AttributeError):
        object.__setattr__(context, "sslsocket_class", ssl.SSLSocket)
    monkeypatch.setattr(VerifyingContext, "sslsocket_class", ssl.SSLSocket)
    assert_of_use(context)  # whatever class its sockets were made of
    monkeypatch.setattr(VerifyingContext, "sslobject_class", ssl.SSLObject)
    assert_of_no_use(context)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("check_hostname", True),
        ("verify_mode", ssl.CERT_REQUIRED),
        ("verify_mode", 2),
        ("minimum_version", ssl.TLSVersion.TLSv1_2),
        ("hostname_checks_common_name", False),
        ("keylog_filename", None),
        ("post_handshake_auth", False),
        ("trust", Trust),
    ],
)
def test_what_is_so_already_may_be_set(context: VerifyingContext, name: str, value: Any) -> None:
    """Libraries insist on the good values, and must be able to."""
    before = settings(context)
    setattr(context, name, value() if value is Trust else value)
    context.options |= ssl.OP_NO_COMPRESSION
    assert settings(context) == before
    assert_of_use(context)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("minimum_version", ssl.TLSVersion.TLSv1_3),
        ("verify_flags", ssl.VERIFY_CRL_CHECK_CHAIN),
        ("a_new_one", 1),
        ("_sealed", False),
        ("__class__", ssl.SSLContext),
    ],
)
def test_stricter_values_are_refused_too(context: VerifyingContext, name: str, value: object) -> None:
    """Everybody with an equal trust shares the context, and wants it as it is."""
    with pytest.raises(InsecureContextError, match=f"{name}\\); make a Trust"):
        setattr(context, name, value)
    assert_of_use(context)


def test_it_is_born_once(context: VerifyingContext, world: World) -> None:
    with pytest.raises(InsecureContextError, match="trust"):
        context.__init__(Trust(roots=world.unknown_file))  # type: ignore[misc]
    with pytest.raises(InsecureContextError, match="set_ciphers"):
        context.__init__()  # type: ignore[misc]
    assert context.get_ca_certs(binary_form=True) == [world.root.der]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_it_has_no_copies(context: VerifyingContext, copied: Callable[[object], object]) -> None:
    """A copy would have the settings' record and none of the settings."""
    with pytest.raises(TypeError, match="cannot pickle"):
        copied(context)


# --- one context a trust -------------------------------------------------------------------------


def test_equal_trusts_share_a_context(world: World) -> None:
    trust = Trust(roots=world.root_file)
    assert create_context(trust) is create_context(trust)
    assert create_context(Trust(roots=world.root_file)) is create_context(trust)
    assert create_context() is create_context(Trust())
    assert create_context(trust).trust == trust


@pytest.mark.parametrize(
    "other",
    [
        {"pins": PIN},
        {"pins": PIN, "pins_only": True},
        {"minimum_version": ssl.TLSVersion.TLSv1_3},
        {"roots": "certifi"},
    ],
)
def test_other_trusts_have_other_contexts(world: World, other: dict[str, Any]) -> None:
    trust = Trust(**{"roots": world.root_file} | other)
    assert create_context(trust) is not create_context(Trust(roots=world.root_file))
    assert create_context(trust).trust == trust


def test_a_changed_ca_file_makes_another_context(world: World, tmp_path: Path) -> None:
    file = world.root.write(tmp_path / "ca.pem")
    before = create_context(Trust(roots=file))
    assert create_context(Trust(roots=file)) is before
    world.unknown.write(file)
    assert create_context(Trust(roots=file)) is not before
    assert create_context(Trust(roots=file)).get_ca_certs(binary_form=True) == [world.unknown.der]


def test_the_oldest_context_goes(world: World) -> None:
    trusts = [Trust(roots=world.root_file, pins=f"sha256:{number:064x}") for number in range(1, 66)]
    first, *contexts = map(create_context, trusts[:64])
    assert create_context(trusts[0]) is first
    create_context(trusts[64])
    assert [create_context(trust) for trust in trusts[1:64]] == contexts
    assert create_context(trusts[0]) is not first


def test_threads_share_a_context(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    start, both, loaded = threading.Barrier(32), threading.Barrier(2), []

    def load_roots(context: ssl.SSLContext, roots: str | None) -> None:
        loaded.append(roots)
        with pytest.raises(threading.BrokenBarrierError):  # nobody else comes here meanwhile
            both.wait(0.2)

    monkeypatch.setattr(module, "load_roots", load_roots)
    trust = Trust(roots=world.root_file, pins="sha256:" + 32 * "ab")

    def make(_: int) -> VerifyingContext:
        start.wait(10)
        return create_context(trust)

    with ThreadPoolExecutor(32) as pool:
        contexts = list(pool.map(make, range(32)))
    assert len(set(map(id, contexts))) == 1
    assert loaded == [str(world.root_file)]


@pytest.fixture
def lock_held(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let another thread be in the middle of making a context."""
    inside, go_on = threading.Event(), threading.Event()

    def load_roots(context: ssl.SSLContext, roots: str | None) -> None:
        inside.set()
        assert go_on.wait(10)

    trust = Trust(roots=world.root_file, pins="sha256:" + 32 * "cd")
    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr(module, "load_roots", load_roots)
        made = pool.submit(create_context, trust)
        assert inside.wait(10)
        patch.undo()
        yield
        go_on.set()
        assert create_context(trust) is made.result(10)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.usefixtures("lock_held")
def test_a_forked_child_makes_contexts(world: World) -> None:
    """The thread that held the lock does not exist in the child."""
    trust = Trust(roots=world.root_file, pins="sha256:" + 32 * "ef")
    if sys.platform == "win32":
        raise NotImplementedError
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(10)  # for a child that waits for the lock
            status = 0 if create_context(trust).get_ca_certs(True) == [world.root.der] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_where_there_is_no_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    spec = importlib.util.spec_from_file_location("smtpverify.tls.context_without_fork", module.__file__)
    assert spec is not None
    assert spec.loader is not None
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert again.create_context() is again.create_context()


def test_a_failure_is_not_kept(world: World, tmp_path: Path) -> None:
    file = world.root.write(tmp_path / "ca.pem")
    trust = Trust(roots=file)
    file.rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(TrustError, match=r"ca\.pem: No such file"):
            create_context(trust)
    (tmp_path / "away").rename(file)
    assert create_context(trust).get_ca_certs(True) == [world.root.der]


def test_ctrl_c_in_the_handshake_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[VerifyingSocket] = []

    def interrupted(self: VerifyingSocket, block: bool = False) -> None:
        made.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(VerifyingSocket, "do_handshake", interrupted)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(KeyboardInterrupt):
            create_context().wrap_socket(ours, server_hostname=HOST)
        assert made[0].fileno() == -1
        assert theirs.recv(1) == b""
