"""The private names of the standard library: each is there, and is used by its owner alone.

A Python that moves one fails a test that has the name in its own.
"""

from __future__ import annotations

import argparse
import ast
import email.message
import importlib
import inspect
import io
import pkgutil
import smtplib
import socket
import ssl
import subprocess
import sys
from email.generator import BytesGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

import smtpverify
from smtpverify import SMTP, Trust, stdlib
from smtpverify.stdlib import SEAMS, Seam
from tests.bed import HOST, Behaviour, Tls, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import ServerFactory

LOOPBACK = "127.0.0.1"
ROOT = Path(smtpverify.__file__).parent
NAMES = {seam.name for seam in SEAMS}
# Those of which ours derive.
OWNERS = {"argparse", "email.generator", "logging", "logging.handlers", "smtplib", "socket", "ssl"}
# Python's own, and not its standard library's.
OPEN = {"__future__", "_"}


def id_of(seam: Seam) -> str:
    return f"{seam.owner}.{seam.name}"


def owner_of(seam: Seam) -> Any:
    module, *path = seam.owner.split(".")
    found: Any = importlib.import_module(module)
    for part in path:
        found = getattr(found, part) if hasattr(found, part) else importlib.import_module(f"{module}.{part}")
    return found


def instance_of(owner: Any) -> Any:
    """An object that the attribute is expected of."""
    if owner is ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with context.wrap_socket(socket.socket(), server_hostname=HOST, do_handshake_on_connect=False) as tls:
            return tls
    if owner is socket.SocketIO:
        with socket.socket() as sock:
            return socket.SocketIO(sock, "r")
    if owner is BytesGenerator:
        return BytesGenerator(io.BytesIO())
    return owner()


# --- what is there ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seam", SEAMS, ids=id_of)
def test_it_is_where_it_is_said_to_be(seam: Seam, smtp_server: ServerFactory) -> None:
    owner = owner_of(seam)
    if seam.name == "_host":  # in newer versions, of a connected one alone
        with smtp_server() as server, smtplib.SMTP(LOOPBACK, server.port) as smtp:
            assert vars(smtp)["_host"] == LOOPBACK
    elif seam.name == "_have_cram_md5_support" and sys.version_info < (3, 14):
        assert getattr(owner, seam.name, True) in (True, False)  # it came with a patch release of 3.13
    else:
        assert hasattr(instance_of(owner) if seam.per_object else owner, seam.name)


@pytest.mark.parametrize("seam", SEAMS, ids=id_of)
def test_a_seam_says_all_that_is_to_be_known(seam: Seam) -> None:
    assert seam.name.startswith("_") or seam.owner.startswith("_")
    assert seam.since
    assert seam.purpose
    assert id_of(seam) not in [id_of(each) for each in SEAMS if each is not seam]


def test_the_socket_is_opened_by_a_hook(smtp_server: ServerFactory) -> None:
    """Smtplib's own, which subclasses override, and injection replaces."""
    with smtp_server() as server:
        for owner in (smtplib.SMTP, SMTP):
            dial = mock.Mock(side_effect=lambda *_: socket.create_connection((LOOPBACK, server.port)))
            kind: Any = type("Dialling", (owner,), {stdlib.CONNECT_HOOK: dial})
            with kind(HOST, 25, timeout=5):
                assert dial.mock_calls == [mock.call(HOST, 25, mock.ANY)]


def test_the_chain_is_there(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(tls=Tls.IMPLICIT) as server, socket.create_connection((LOOPBACK, server.port)) as sock:
        context = ssl.create_default_context(cafile=world.root_file)
        with context.wrap_socket(sock, server_hostname=HOST) as tls:
            assert stdlib.has_tls(tls)
            assert stdlib.presented_chain(tls)[0] == tls.getpeercert(True)
            assert stdlib.verified_chain(tls)[-1] == world.root.der
        assert not stdlib.has_tls(tls)
        assert stdlib.presented_chain(tls) == ()


# --- what is done without -----------------------------------------------------------------------------

DELIVER = """
import sys, warnings
warnings.simplefilter("error")
sys.path.insert(0, {root!r})
{before}
import {owner_module}
owner = {owner}
if hasattr(owner, {name!r}):
    delattr(owner, {name!r})
{after}
import smtpverify
trust = smtpverify.Trust({roots!r})
smtp = smtpverify.SMTP({host!r}, {port}, trust=trust, server_hostname={name_of_server!r})
smtp.set_debuglevel(1)
smtp.starttls()
smtp.login("alice", "secret")
from email.message import EmailMessage
message = EmailMessage()
message["From"], message["To"] = "alice@example.org", "bob@example.org"
message.set_content("hello")
message.add_attachment(b"octets", maintype="application", subtype="octet-stream")
smtp.send_message(message)
smtp.rset()
smtp.quit()
import smtpverify.cli, smtpverify.cli.run
print("sent")
"""
EARLY = ("smtplib", "ssl", "socket", "_socket", "_ssl", "dataclasses", "typing", "functools")
MISSING = [seam for seam in SEAMS if seam.otherwise and not seam.per_object]
NEEDED = [seam for seam in SEAMS if not seam.otherwise and not seam.per_object and seam.owner != "argparse"]


def without(seam: Seam, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a delivery in a Python that lacks a name."""
    module = seam.owner.partition(".")[0] if seam.owner.partition(".")[0] != "email" else "email.generator"
    code = DELIVER.format(
        root=str(ROOT.parent),
        owner_module=module,
        owner=seam.owner,
        name=seam.name,
        before=options.pop("before", ""),
        after=options.pop("after", ""),
        **{"host": "", "port": 0, "roots": "", "name_of_server": "", **options},
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("seam", MISSING, ids=id_of)
def test_without_it_mail_goes_all_the_same(seam: Seam, smtp_server: ServerFactory, world: World) -> None:
    # What smtplib and the library's other users need of it is put back once it was missed.
    before, after = "", ""
    if seam.owner in ("sys", "_ssl", "socket", "_socket"):
        before = f"import {', '.join(EARLY)}\nkept = {id_of(seam)}"
        after = f"import smtpverify.smtp.client, smtpverify.tls.context\nowner.{seam.name} = kept"
    with smtp_server(tls=Tls.STARTTLS) as server:
        done = without(
            seam,
            before=before,
            after=after,
            host=LOOPBACK,
            port=server.port,
            roots=str(world.root_file),
            name_of_server=HOST,
        )
    assert (done.stdout, done.returncode) == ("sent\n", 0), done.stderr
    assert len(server.messages) == 1


@pytest.mark.parametrize("seam", NEEDED, ids=id_of)
def test_without_it_the_import_says_so(seam: Seam) -> None:
    done = without(seam)
    version = ".".join(map(str, sys.version_info[:3]))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: smtpverify can't be used on Python {version}, where {seam.owner} has no {seam.name} "
        f"({seam.purpose}); use a newer smtpverify, or an older Python"
    )


def test_another_class_in_the_place_of_smtplib_s() -> None:
    """A program's own subclass, say, which was put there before the import; injection takes smtplib's too."""
    code = (
        "import smtplib; Stock = smtplib.SMTP; smtplib.SMTP = type('Own', (Stock,), {}); import smtpverify; "
        "print(Stock in smtpverify.SMTP.__mro__, smtplib.SMTP in smtpverify.SMTP.__mro__); "
        "before = vars(Stock)['starttls']; smtpverify.inject_into_smtplib(); "
        "print(vars(Stock)['starttls'] is before)"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT.parent)!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "True False\nFalse\n"


# --- where it is used ----------------------------------------------------------------------------------


def modules() -> Iterator[Path]:
    return (path for path in ROOT.rglob("*.py") if path != ROOT / "stdlib.py")


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__")) and name not in OPEN


def defined_by_us() -> set[str]:
    """Every private name that our sources give to something."""
    found = set()
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
            elif isinstance(node, ast.alias):
                found.add(node.asname or node.name)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)  # by setattr(), or in __slots__
    hooks = set(vars(stdlib.Client)) | set(vars(stdlib.Generator))
    return (found | hooks) - NAMES


def private_uses(path: Path, defined: set[str]) -> list[str]:
    """The private names in a module that are not ours."""
    found = []
    node: Any
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names = [node.name] if node.name in NAMES else []
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value] if node.value in NAMES else []
        elif isinstance(node, ast.Import):
            names = [each.name.partition(".")[0] for each in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [(node.module or "").partition(".")[0]] * (node.module != "_thread")  # documented
            names += [each.name for each in node.names]
        found += [f"{node.lineno}: {name}" for name in names if is_private(name) and name not in defined]
    return found


DEFINED = defined_by_us()


@pytest.mark.parametrize("path", sorted(modules()), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_module_uses_a_private_name(path: Path) -> None:
    found = private_uses(path, DEFINED)
    # Mercurial's own functions, which are not the standard library's.
    allowed = ("_smtp", "_smtp_login") if path.name == "mercurial.py" else ()
    assert [each for each in found if each.partition(": ")[2] not in allowed] == []


@pytest.mark.parametrize(
    "source",
    [
        "smtp._host",
        "smtp._host = 1",
        "getattr(smtp, '_host')",
        "def _get_socket(self): ...",
        "import _ssl",
        "from _thread import _local",
        "from smtplib import _MAXLINE",
        "socket._GLOBAL_DEFAULT_TIMEOUT",
        "sys._getframe()",
        "smtp._unknown_to_us",
    ],
)
def test_a_use_is_found(source: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(source)
    assert private_uses(tmp_path / "module.py", DEFINED) != []


def classes() -> Iterator[type]:
    for each in pkgutil.walk_packages(smtpverify.__path__, "smtpverify."):
        # These want Mercurial, Django, aiosmtpd.
        if not each.name.endswith("__main__") and not each.name.startswith(
            ("smtpverify.integrations.", "smtpverify.cli._demo_", "smtpverify.startup")
        ):
            for value in vars(importlib.import_module(each.name)).values():
                if inspect.isclass(value) and value.__module__ == each.name:
                    yield value


def test_no_class_overrides_a_private_name_by_accident() -> None:
    """What a base of the standard library has under the same name, it would call."""
    found = [
        f"{cls.__qualname__}.{name}"
        for cls in classes()
        if cls.__module__ != "smtpverify.stdlib"
        for base in cls.__mro__[1:]
        if base.__module__ in OWNERS
        for name in vars(cls)
        if is_private(name) and name in vars(base)
        # A context refuses all that changes it, by whatever name.
        if not (cls is smtpverify.VerifyingContext and stdlib.changes_context(name))
    ]
    assert found == []


# --- what it does ---------------------------------------------------------------------------------------


def test_cram_md5(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stdlib.has_cram_md5()
    monkeypatch.setattr(smtplib, "_have_cram_md5_support", False, raising=False)
    assert not stdlib.has_cram_md5()


def test_the_default_timeout() -> None:
    assert inspect.signature(smtplib.SMTP).parameters["timeout"].default is stdlib.DEFAULT_TIMEOUT


def test_the_options_of_this_interpreter() -> None:
    assert [each for each in stdlib.interpreter_options() if not each.startswith("-")] == []


def test_the_commands_of_a_parser() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--file")
    parser.add_subparsers().add_parser("check")
    found = [stdlib.commands_of(action) for action in stdlib.parser_actions(parser)]
    assert [list(each) if each else None for each in found] == [None, None, ["check"]]


def test_a_socket_behind_a_file() -> None:
    one, other = socket.socketpair()
    with one, other, one.makefile("rb") as file:
        assert stdlib.socket_behind(file, other) is one
        assert stdlib.socket_behind(None, other) is other


def test_a_generator_without_a_file_writes_text() -> None:
    out = io.BytesIO()
    generator = stdlib.Generator(out)
    generator.flatten(email.message.Message())
    written: list[str] = []
    del generator._fp  # type: ignore[attr-defined]
    generator.write = written.append  # type: ignore[assignment]
    generator.write_octets(b"octets\xff")
    assert written == ["octets\udcff"]


def test_a_subclass_of_a_user_may_use_any_name_without_an_underscore(
    smtp_server: ServerFactory, world: World
) -> None:
    """What is ours on the class, and is not documented, begins with one."""
    documented = {"peer", "relay", "mechanism", "send_messages", "login_oauth2", "login_external"}
    for name in ("SMTP", "SMTP_SSL", "LMTP"):
        ours, theirs = getattr(smtpverify, name), getattr(smtplib, name)
        added = {each for each in dir(ours) if not each.startswith("_")} - set(dir(theirs))
        assert added == documented

    class Logged(SMTP):
        answer = transmit = expect_no_more = expect_silence = goes_as_utf8 = has_reply = heard = None
        late_replies = warn_of_plaintext = written = channel = state = guard = session = trust = None

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.written = self.heard = self.late_replies = self.answer = 0
            super().__init__(*args, **kwargs)

    server = smtp_server(Behaviour(tls=Tls.STARTTLS))
    with server, Logged(HOST, server.port, trust=Trust(world.root_file)) as smtp:
        smtp.starttls()
        smtp.login("alice", "secret")
        smtp.sendmail("alice@example.org", ["bob@example.org"], "hello")
        results = smtp.send_messages([("alice@example.org", "bob@example.org", "again")])
        assert [each.outcome for each in results] == [smtpverify.Outcome.ACCEPTED]
        assert (smtp.written, smtp.answer) == (0, 0)
    assert len(server.messages) == 2
