"""gevent and eventlet, which replace the sockets of the standard library, before we are imported or after.

Each test is a program of its own: what was patched stays so to the end of a process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from tests.bed import Behaviour, Server, Starttls, Tls, World
from tests.optional import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.conftest import ServerFactory

ROOT = Path(smtpverify.__file__).parents[1]
LIBRARIES = ("gevent", "eventlet")
ORDERS = ("first", "after import", "after use")
HOST = "localhost"  # as the system, and the resolvers of both libraries, know it


# Warnings are errors; these two are the libraries' own, and say that one should not do so.
PATCH = """
import sys, warnings
warnings.filterwarnings("ignore", r"\\s*Eventlet is deprecated")
warnings.filterwarnings("ignore", "Monkey-patching ssl after ssl has already been imported")

def patch():
    if sys.argv[1] == "gevent":
        from gevent import monkey
        monkey.patch_all()
    else:
        import eventlet
        eventlet.monkey_patch()
"""


def run(code: str, *arguments: object, options: tuple[str, ...] = (), directory: Path) -> Any:
    """Run a program; return what it prints, read as JSON."""
    program = directory / "program.py"
    program.write_text(PATCH + textwrap.dedent(code), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", *options, str(program), *map(str, arguments)],
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- verified servers and impostors --------------------------------------------------------------

# argv: the library, the order, and the ports of the servers; printed is what became of each try.
PROGRAM = """
import json

order, *ports = sys.argv[2:]
results = []

def use():
    for port in ports:
        scheme, _, number = port.partition(":")
        for way in WAYS:
            try:
                smtp = way(scheme, int(number))
                smtp.login("alice", "secret")
                smtp.sendmail("alice@example.org", ["bob@example.org"], "Subject: x\\r\\n\\r\\nhello\\r\\n")
                smtp.quit()
            except Exception as error:
                results.append(f"{type(error).__name__}: {error.diagnosis.cause.name}")
            else:
                results.append("sent")

if order == "first":
    patch()
{imports}
if order == "after use":
    use()
if order != "first":
    patch()
use()
print(json.dumps(results))
"""
STOCK = """
import smtplib

def way(scheme, port):
    if scheme == "smtps":
        return smtplib.SMTP_SSL("localhost", port, "localhost", timeout=10)
    smtp = smtplib.SMTP("localhost", port, "localhost", timeout=10)
    smtp.starttls()
    return smtp

WAYS = [way]
"""
OURS = """
import smtpverify
from smtpverify import SMTP  # which loads all that `import smtpverify` leaves for later

def by_url(scheme, port):
    smtp = smtpverify.connect(f"{scheme}://localhost:{port}", local_hostname="localhost", timeout=10)
    assert smtp.peer is smtp.sock.peer is not None
    return smtp

WAYS += [by_url]
"""
FACES = {
    "ours": (STOCK.replace("import smtplib", "import smtpverify as smtplib") + OURS, ()),
    "injected": (f"import smtpverify\nsmtpverify.inject_into_smtplib()\n{STOCK}", ()),
    "run": (STOCK, ("-m", "smtpverify", "run")),
}
CASES = ("tls", "smtps", "impostor")
IMPOSTORS = {
    "unknown_issuer": "UntrustedCertificateError: UNKNOWN_ISSUER",
    "wrong_name": "HostnameMismatchError: WRONG_NAME",
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_that_replaces_sockets(
    library: str, order: str, face: str, case: str, world: World, smtp_server: ServerFactory, tmp_path: Path
) -> None:
    """Whenever it does so, a verified server gets the mail, and an impostor gets nothing."""
    require(library)
    imports, options = FACES[face]
    schemes = {"tls": Tls.STARTTLS, "smtps": Tls.IMPLICIT}
    kinds = IMPOSTORS if case == "impostor" else {"good": "sent"}
    servers: list[tuple[str, str, Server]] = [
        (scheme, kind, smtp_server(Behaviour(tls=tls), certificate=world.served(kind, HOST)))
        for kind in kinds
        for scheme, tls in schemes.items()
        if case in (scheme, "impostor")
    ]
    for _, _, server in servers:
        server.__enter__()
    ports = [f"{scheme}:{server.port}" for scheme, _, server in servers]
    results = run(
        PROGRAM.replace("{imports}", imports), library, order, *ports, options=options, directory=tmp_path
    )
    times = (2 if face == "ours" else 1) * (2 if order == "after use" else 1)
    ways = 2 if face == "ours" else 1
    once = [kinds[kind] for _, kind, _ in servers for _ in range(ways)]
    assert results == once * (times // ways)
    for _, kind, server in servers:
        server.close()
        if kind == "good":
            assert len(server.messages) == times
            assert {seen.tls_version for seen in server.connections} == {"TLSv1.3"}
            assert not any(seen.leaked_in_clear() for seen in server.connections)
        else:
            assert len(server.connections) == times
            assert server.leaked() == []


# --- what else a replaced socket must not change -------------------------------------------------

# argv: the library, and what the scene wants.
SCENE = """
import json, smtplib, socket, ssl
import smtpverify

def face(name):
    if name == "injected":
        smtpverify.inject_into_smtplib()
        return smtplib
    return smtpverify

def send(smtp):
    smtp.login("alice", "secret")
    smtp.sendmail("alice@example.org", ["bob@example.org"], "Subject: x\\r\\n\\r\\nhello\\r\\n")
    smtp.quit()
    return "sent"
"""


def scene(*parts: str, arguments: Sequence[object], directory: Path) -> Any:
    code = "".join(textwrap.dedent(part) for part in (SCENE, *parts))
    return run(code, *arguments, directory=directory)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    """Give the name of a library that is installed."""
    require(request.param)
    return str(request.param)


@pytest.mark.parametrize("connected", ["after", "before"])
@pytest.mark.parametrize("starttls", [Starttls.INJECTED_SAME_SEGMENT, Starttls.INJECTED_FRAGMENT])
@pytest.mark.parametrize("client", ["ours", "injected"])
def test_injected_plaintext_is_seen(
    library: str,
    client: str,
    starttls: Starttls,
    connected: str,
    world: World,
    smtp_server: ServerFactory,
    tmp_path: Path,
) -> None:
    """Also on a connection that was made before patching."""
    code = """
        module = face(sys.argv[3])
        if sys.argv[4] == "after":
            patch()
        smtp = module.SMTP("localhost", int(sys.argv[2]), "x", 10)
        smtp.ehlo()
        patch()
        try:
            smtp.starttls()
        except smtpverify.PlaintextInjectionError:
            print(json.dumps(smtp.sock is None))
        """
    with smtp_server(tls=Tls.STARTTLS, starttls=starttls, certificate=world.good(HOST)) as server:
        arguments = (library, server.port, client, connected)
        assert scene(code, arguments=arguments, directory=tmp_path) is True
    assert server.leaked() == []


# Client and server are greenlets of one thread: neither gets on while the other holds it.
GREEN_SERVER = """
patch()
if sys.argv[1] == "gevent":
    from gevent import spawn, Timeout
else:
    from eventlet import spawn, Timeout

def serve(listener, work):
    sock, _ = listener.accept()
    try:
        work(sock)
    finally:
        sock.close()

def start(work):
    listener = socket.create_server(("127.0.0.1", 0))
    spawn(serve, listener, work)
    return listener.getsockname()[1]

def secure(sock):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[2:4])
    return context.wrap_socket(sock, server_side=True)

def converse(sock, tls=None):
    file = sock.makefile("rwb")
    def say(*lines):
        file.write(b"".join(line + b"\\r\\n" for line in lines))
        file.flush()
    if tls is not True:
        say(b"220 green ESMTP")
    while line := file.readline():
        verb = line[:4].upper()
        if verb == b"EHLO":
            say(*([b"250-green", b"250 STARTTLS"] if tls is None else [b"250-green", b"250 PIPELINING"]))
        elif verb == b"STAR":
            say(b"220 go")
            return converse(secure(sock), True)
        elif verb == b"DATA":
            say(b"354 go")
            while file.readline() != b".\\r\\n":
                pass
            say(b"250 taken")
        elif verb == b"QUIT":
            return say(b"221 bye")
        else:
            say(b"250 ok")
"""


def test_other_greenlets_run_while_we_wait(library: str, world: World, tmp_path: Path) -> None:
    """In the handshake, for a reply, and while a message that fits into no buffer is sent."""
    code = """
        message = b"Subject: x\\r\\n\\r\\n" + (b"x" * 76 + b"\\r\\n") * 200_000
        with smtpverify.SMTP("localhost", start(converse), "x", timeout=20) as smtp:
            smtp.starttls()
            smtp.sendmail("alice@example.org", ["bob@example.org"], message)
        port = start(lambda sock: converse(secure(sock), False))
        with smtpverify.SMTP_SSL("localhost", port, "x", timeout=20) as smtp:
            smtp.sendmail("alice@example.org", ["bob@example.org"], message)
        print(json.dumps("sent"))
        """
    certificate = world.good(HOST).write(tmp_path)
    assert scene(GREEN_SERVER, code, arguments=(library, *certificate), directory=tmp_path) == "sent"


def test_time_limits_hold_for_all_of_a_wait(library: str, world: World, tmp_path: Path) -> None:
    """A server may not keep us by an octet now and then, nor by reading none."""
    code = """
        import threading

        def drip(sock, octet):
            sock.settimeout(0.05)
            while True:
                sock.sendall(octet)
                try:
                    if not sock.recv(4096):
                        return
                except TimeoutError:
                    pass
                except ConnectionError:
                    return

        def in_the_reply(sock):
            sock.sendall(b"220 ")
            drip(sock, b"x")

        def in_the_handshake(sock):
            sock.recv(4096)
            sock.sendall(b"\\x16\\x03\\x03\\x40\\x00\\x02")
            drip(sock, b"\\0")

        def in_a_record(sock):
            tls = secure(sock)
            tls.sendall(b"220 ok\\r\\n")
            tls.recv(4096)
            raw = socket.socket(fileno=tls.detach())
            raw.sendall(b"\\x17\\x03\\x03\\x40\\x00")
            drip(raw, b"x")

        def reading_nothing(sock):
            tls = secure(sock)
            tls.sendall(b"220 ok\\r\\n")
            for reply in (b"250 ok", b"250 ok", b"250 ok", b"354 go"):
                tls.recv(4096)
                tls.sendall(reply + b"\\r\\n")
            threading.Event().wait()

        def plain(port):
            smtpverify.SMTP("localhost", port, "x", timeout=0.5)

        def handshake(port):
            smtpverify.SMTP_SSL("localhost", port, "x", timeout=0.5)

        def tls(port):
            smtp = smtpverify.SMTP_SSL("localhost", port, "x", timeout=20)
            smtp.sock.settimeout(0.5)
            smtp.sendmail("a@example.org", ["b@example.org"], b"x" * 76 * 400_000)

        results = []
        ways = {in_the_reply: plain, in_the_handshake: handshake, in_a_record: tls, reading_nothing: tls}
        for work, way in ways.items():  # none of which would end by itself
            try:
                way(start(work))
            except Exception as error:
                results.append(type(error).__name__)
        print(json.dumps(results))
        """
    certificate = world.good(HOST).write(tmp_path)
    assert scene(GREEN_SERVER, code, arguments=(library, *certificate), directory=tmp_path) == [
        "ProtocolError",
        "TLSHandshakeTimeoutError",
        "SMTPServerDisconnected",
        "SMTPServerDisconnected",
    ]


def test_another_timeout_ends_the_wait(library: str, world: World, tmp_path: Path) -> None:
    """That of the library, which is raised in the middle of it."""
    code = """
        def silent(sock):
            sock.recv(4096)
            sock.recv(4096)

        def greet(sock):
            sock.sendall(b"220 ok\\r\\n")
            silent(sock)

        def handshake():
            smtpverify.SMTP_SSL("localhost", start(silent), "x", timeout=60)

        def reply():
            with smtpverify.SMTP("localhost", start(greet), "x", timeout=60) as smtp:
                smtp.noop()

        results = []
        for wait in (handshake, reply):
            timeout = Timeout(0.3)
            try:
                with timeout:
                    wait()
            except Timeout as caught:
                results.append(caught is timeout)
        print(json.dumps(results))
        """
    certificate = world.good(HOST).write(tmp_path)
    assert scene(GREEN_SERVER, code, arguments=(library, *certificate), directory=tmp_path) == [True, True]


@pytest.mark.parametrize("client", ["ours", "injected"])
def test_connections_made_before(
    library: str, client: str, world: World, smtp_server: ServerFactory, tmp_path: Path
) -> None:
    """They go on, in plaintext, where TLS begins afterwards, and in TLS."""
    code = """
        module, starttls, implicit = face(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
        plain = module.SMTP("localhost", starttls, "x", 10)
        secure = module.SMTP_SSL("localhost", implicit, "x", timeout=10)
        kept = secure.sock
        patch()
        plain.starttls()
        assert secure.sock is kept
        print(json.dumps([send(plain), send(secure)]))
        """
    good = world.good(HOST)
    with (
        smtp_server(tls=Tls.STARTTLS, certificate=good) as starttls,
        smtp_server(tls=Tls.IMPLICIT, certificate=good) as implicit,
    ):
        sent = scene(code, arguments=(library, client, starttls.port, implicit.port), directory=tmp_path)
    assert sent == ["sent", "sent"]
    assert [len(starttls.messages), len(implicit.messages)] == [1, 1]


@pytest.mark.parametrize("kind", ["good", "wrong_name"])
@pytest.mark.parametrize("client", ["ours", "injected"])
def test_contexts_of_the_ssl_module(
    library: str, client: str, kind: str, world: World, smtp_server: ServerFactory, tmp_path: Path
) -> None:
    """Those made after patching can be used; those made before can't, not even with `smtplib`."""
    code = """
        module, starttls, implicit = face(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
        before = ssl.create_default_context()
        patch()
        results = []
        for context in (ssl.create_default_context(), before):
            for tls in (False, True):
                try:
                    if tls:
                        smtp = module.SMTP_SSL("localhost", implicit, "x", timeout=10, context=context)
                    else:
                        smtp = module.SMTP("localhost", starttls, "x", 10)
                        smtp.starttls(context=context)
                    results.append(send(smtp))
                except smtpverify.SMTPVerifyError as error:
                    results.append(f"{type(error).__name__}: {error}")
        print(json.dumps(results))
        """
    served = world.served(kind, HOST)
    with (
        smtp_server(tls=Tls.STARTTLS, certificate=served) as starttls,
        smtp_server(tls=Tls.IMPLICIT, certificate=served) as implicit,
    ):
        results = scene(code, arguments=(library, client, starttls.port, implicit.port), directory=tmp_path)
    for result in results[:2]:
        assert result.partition(":")[0] == ("sent" if kind == "good" else "HostnameMismatchError")
    for result in results[2:]:
        assert result.startswith("InsecureContextError: ")
        assert result.endswith("can't be used any more; make it after monkey-patching")
    assert len(starttls.messages) == len(implicit.messages) == (kind == "good")
    assert not any(seen.leaked_in_clear() for seen in starttls.connections)


def test_what_connects_directly(library: str, tmp_path: Path) -> None:
    """Their sockets do; what derives from them, or is wrapped by them, may lead to a proxy."""
    code = """
        import functools
        patch()
        from smtpverify.smtp.endpoints import connects_directly, is_system_socket

        class Proxied(socket.socket):
            pass

        listener = socket.create_server(("127.0.0.1", 0))
        sock = socket.create_connection(listener.getsockname(), 10)
        proxied = Proxied(socket.AF_INET, socket.SOCK_STREAM)
        wrapped = functools.wraps(socket.create_connection)(lambda *args, **kwargs: sock)
        results = [is_system_socket(sock), is_system_socket(proxied)]
        results += [connects_directly(socket.create_connection), connects_directly(wrapped)]
        if sys.argv[1] == "eventlet":
            import eventlet.patcher
            Original = eventlet.patcher.original("socket").socket
            Inner = type("Inner", (Original,), {"__module__": "proxies"})
            results += [is_system_socket(socket.socket(each())) for each in (Original, Inner)]
        for each in (sock, proxied, listener):
            each.close()
        print(json.dumps(results))
        """
    expected = [True, False, True, False]
    assert scene(code, arguments=(library,), directory=tmp_path) == expected + [True, False] * (
        library == "eventlet"
    )


@pytest.mark.parametrize("client", ["ours", "injected"])
def test_a_login_in_plaintext_on_this_machine(
    library: str, client: str, smtp_server: ServerFactory, tmp_path: Path
) -> None:
    """By an address, and by a name that only the resolver knows to be here."""
    code = """
        module, port = face(sys.argv[2]), int(sys.argv[3])
        patch()
        lookup = socket.getaddrinfo
        owner = sys.modules[socket.create_connection.__globals__["__name__"]]
        def resolve(host, *args, **kwargs):
            return lookup("127.0.0.1" if host == "mail.example.org" else host, *args, **kwargs)
        owner.getaddrinfo = resolve
        hosts = ("127.0.0.1", "mail.example.org")
        print(json.dumps([send(module.SMTP(host, port, "x", 10)) for host in hosts]))
        """
    with smtp_server() as server:
        sent = scene(code, arguments=(library, client, server.port), directory=tmp_path)
    assert sent == ["sent", "sent"]
    assert len(server.messages) == 2


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """CI may not pass over it in silence."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"^no-such-library is not installed for Python 3"):
        require("no-such-library")
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match=r"^no-such-library is not installed.* 'test' wants it$"):
        require("no-such-library")
    monkeypatch.setattr("tests.optional.ABSENT", {"no-such-library"})
    with pytest.raises(pytest.skip.Exception, match=r"^there is no no-such-library for Python 3\.\d+ on"):
        require("no-such-library")
