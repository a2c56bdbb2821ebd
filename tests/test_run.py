"""`smtpverify run`, and the environment that injects: real programs, in processes of their own."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import smtplib
import subprocess
import sys
import textwrap
import zipapp
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from smtpverify import Pin, Trust, TrustError, cli, environment, memory
from smtpverify.cli import run as run_command
from smtpverify.environment import Settings, startup_directory
from smtpverify.trust_file import read_trust_file
from tests.bed import HOST, Behaviour, Server, Starttls, Tls, World
from tests.gate import OTHER_PIN, pin_of

if TYPE_CHECKING:
    from tests.conftest import ServerFactory

ROOT = Path(smtpverify.__file__).parents[1]
STARTUP = Path(startup_directory())
NEEDS_UNIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and shells of Unix")
VARIABLE_NAMES = ("PYTHONPATH", "SMTPVERIFY_INJECT", "SMTPVERIFY_CAFILE", "SMTPVERIFY_PIN")

# Whether smtplib is injected, as a program can tell.
TELL = "import smtplib; print(hasattr(smtplib.SMTP.send, '__wrapped__'))"


def script(path: Path, code: str) -> Path:
    path.write_text(textwrap.dedent(code), encoding="utf-8")
    return path


def start(
    *command: object, env: dict[str, str] | None = None, cwd: Path | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)],
        check=False,
        capture_output=True,
        encoding="utf-8",
        cwd=cwd,
        timeout=50,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        **options,
    )


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return start(sys.executable, "-m", "smtpverify", "run", *arguments, **options)


def python(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return start(sys.executable, *arguments, **options)


def injected(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Start Python in the way that needs no command."""
    env = {"SMTPVERIFY_INJECT": "1", "PYTHONPATH": os.pathsep.join([str(STARTUP), str(ROOT)])}
    return python(*arguments, env={**env, **options.pop("env", {})}, **options)


# --- as python itself would ----------------------------------------------------------------------

WHOLE = """
import sys
main = sys.modules["__main__"]
print(sys.argv, main.__name__, main.__spec__ and main.__spec__.name, main.__package__, main.__file__)
print(sorted(vars(main)), vars() is vars(main), main.__doc__, getattr(main, '__cached__', ''))
print([entry for entry in sys.path if not entry.endswith("startup")], sys.orig_argv[-3:])
print(sys.flags, sys.warnoptions, sys._xoptions)
print(sys.stdin.read(), file=sys.stderr)
"""


def layout(directory: Path) -> None:
    """Make a script, a module, a package, a directory and an archive that can be run."""
    script(directory / "program.py", WHOLE)
    for name in ("package", "folder"):
        (directory / name).mkdir()
        script(directory / name / "__main__.py", WHOLE)
    script(directory / "package" / "__init__.py", "")
    zipapp.create_archive(directory / "folder", directory / "archive.pyz")


@pytest.mark.parametrize(
    "program",
    [
        ["program.py", "one", "--cafile", "two", "-h", "--", "-m", "three"],
        ["./program.py", "a", "b"],
        ["-m", "program", "--pin", "x", "--", "-c"],
        ["-m", "package", "run"],
        ["folder", "-m", "x"],
        ["archive.pyz", "demo", "-"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("options", [[], ["-O", "-W", "error", "-X", "dev", "-B", "-s"]], ids=["", "options"])
def test_a_program_sees_what_python_shows_it(program: list[str], options: list[str], tmp_path: Path) -> None:
    layout(tmp_path)
    expected = python("-B", *options, *program, cwd=tmp_path, input="stdin")
    assert (expected.returncode, expected.stderr) == (0, "stdin\n")
    done = start(
        sys.executable, "-B", *options, "-m", "smtpverify", "run", *program, cwd=tmp_path, input="stdin"
    )
    assert done.stderr == expected.stderr
    assert done.returncode == 0
    assert done.stdout.splitlines() == expected.stdout.splitlines()


@pytest.mark.parametrize(
    "code",
    [
        "",
        "raise SystemExit",
        "import sys; sys.exit(3)",
        "import sys; sys.exit('words')",
        "import sys; sys.exit((1, 2))",
        "import os; os._exit(7)",
        "def f():\n    raise LookupError('x')\nf()",
        "this is no Python",
        "raise KeyboardInterrupt",
        "import atexit; atexit.register(print, 'bye'); print('hello')",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import sys; sys.stdout.write('no line end'); sys.stdout.flush(); sys.stderr.write('!')",
    ],
)
def test_a_program_ends_as_it_would(code: str, tmp_path: Path) -> None:
    program = script(tmp_path / "program.py", code)
    expected, done = python(program), run(program)
    assert (done.returncode, done.stdout) == (expected.returncode, expected.stdout)
    assert done.stderr == expected.stderr


@pytest.mark.parametrize("program", [["absent.py"], ["-m", "absent"], ["empty"]], ids=" ".join)
def test_what_is_not_there_is_python_s_to_tell(program: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    expected, done = python(*program, cwd=tmp_path), run(*program, cwd=tmp_path)
    assert expected.returncode != 0
    assert (done.returncode, done.stderr) == (expected.returncode, expected.stderr)


@NEEDS_UNIX
def test_ctrl_c_is_the_program_s(tmp_path: Path) -> None:
    # A wait for the signal could begin after it has come.
    program = script(tmp_path / "program.py", "print('ready', flush=True)\nwhile True: pass")
    command = [sys.executable, "-m", "smtpverify", "run", str(program)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().endswith("KeyboardInterrupt\n")
        assert process.wait(50) == -signal.SIGINT


# --- what is reached -----------------------------------------------------------------------------


def test_a_program_is_injected(tmp_path: Path) -> None:
    program = script(tmp_path / "program.py", TELL)
    assert run(program).stdout == "True\n"
    assert injected(program).stdout == "True\n"
    assert python(program).stdout == "False\n"


CHILDREN = f"""
import multiprocessing, os, pickle, subprocess, sys

class Mine:
    def __init__(self):
        self.word = "mine"

def tell(queue, mine):
    import smtplib
    queue.put((hasattr(smtplib.SMTP.send, "__wrapped__"), mine.word, type(mine).__module__))

if __name__ == "__main__":
    for method in ("spawn", "forkserver"):
        if method in multiprocessing.get_all_start_methods():
            context = multiprocessing.get_context(method)
            queue = context.Queue()
            process = context.Process(target=tell, args=(queue, Mine()))
            process.start()
            print(*queue.get(), flush=True)
            process.join()
    print(type(pickle.loads(pickle.dumps(Mine()))) is Mine, flush=True)
    subprocess.run([sys.executable, "-c", {TELL!r}], check=True)
    subprocess.run([sys.executable, "-I", "-c", {TELL!r}], check=True)
"""


def test_children_are_injected_unless_they_are_isolated(tmp_path: Path) -> None:
    done = run(script(tmp_path / "program.py", CHILDREN))
    assert done.stderr == ""
    methods = 1 if sys.platform == "win32" else 2
    assert done.stdout.splitlines() == ["True mine __mp_main__"] * methods + ["True", "True", "False"]


def test_a_program_can_t_end_what_was_asked_for_outside(tmp_path: Path) -> None:
    code = """
        import smtpverify
        smtpverify.extract_from_smtplib()
        with smtpverify.inject_into_smtplib():
            pass
        smtpverify.extract_from_smtplib()
        """
    program = script(tmp_path / "program.py", textwrap.dedent(code) + TELL)
    assert run(program).stdout == "True\n"
    assert python(program).stdout == "False\n"


@pytest.mark.parametrize(
    "code",
    [
        "import smtpverify",
        "import smtpverify as smtplib; smtplib.SMTP",
        "from smtplib import SMTP; assert hasattr(SMTP.send, '__wrapped__')",
        "import importlib, smtplib; importlib.reload(smtplib)",
        "import sys, smtplib; del sys.modules['smtplib']",
        "import importlib.util as util; util.find_spec('smtplib').loader.get_source('smtplib').index('SMTP')",
        "import inspect, smtplib; inspect.getsource(smtplib).index('SMTP')",
        "import logging.handlers, email.message, smtplib",
    ],
)
def test_whoever_imports_smtplib_and_however_often(code: str, tmp_path: Path) -> None:
    done = injected("-c", f"{code}\n{TELL}")
    assert (done.stdout, done.stderr) == ("True\n", "")


# As Mercurial's demandimport does it.
FINDERS_IN_FRONT = """
import importlib.util, sys

class InFront:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        spec = self.finder.find_spec(name, path, target)
        if spec is not None and LAZY:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec

import email.message, email.generator, socket, ssl, logging.handlers, hashlib, hmac  # as they are
sys.meta_path[:] = [InFront(finder) for finder in sys.meta_path]
"""


@pytest.mark.parametrize("lazy", [False, True])
def test_finders_that_others_have_put_in_front_of_all(lazy: bool) -> None:
    code = f"LAZY = False\n{FINDERS_IN_FRONT}LAZY = {lazy}\nimport smtplib\nLAZY = False\n{TELL}"
    done = injected("-c", code)
    assert (done.stdout, done.stderr) == ("True\n", "")


# As Mercurial's demandimport: every finder is wrapped, and every module loaded when it is looked at.
LAZY = """
import importlib.util, sys

class Lazy:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, *args):
        spec = self.finder.find_spec(*args)
        if spec is not None and args[0] == "smtplib":
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec

sys.meta_path[:] = map(Lazy, sys.meta_path)
"""


def test_finders_that_somebody_has_wrapped() -> None:
    done = injected("-c", LAZY + TELL)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_run_of_another_installation_within_run(tmp_path: Path) -> None:
    other = tmp_path / "smtpverify"
    shutil.copytree(STARTUP, other / "startup")
    env = {"PYTHONPATH": os.pathsep.join(map(str, (STARTUP, other / "startup")))}
    done = injected("-c", TELL, env=env)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_program_without_mail_pays_nothing() -> None:
    code = "import sys; print(sorted(name for name in sys.modules if name.startswith(('smtp', 'ssl'))))"
    done = injected("-c", code)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_another_interpreter_that_does_not_have_smtpverify(tmp_path: Path) -> None:
    """Its package is found beside its startup directory."""
    other = getattr(sys, "_base_executable", sys.executable)
    environment = {"SMTPVERIFY_INJECT": "1", "PYTHONPATH": str(STARTUP)}
    code = f"{TELL}\nimport smtpverify; print(smtpverify.__file__); import smtpverify.relay"
    done = start(other, "-c", code, cwd=tmp_path, env=environment)
    assert (done.stdout, done.stderr) == (f"True\n{smtpverify.__file__}\n", "")


# --- the environment -----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "", "0"])
def test_the_switch_is_off(value: str | None) -> None:
    env = {"PYTHONPATH": str(STARTUP)} | ({} if value is None else {"SMTPVERIFY_INJECT": value})
    done = python("-c", TELL, env=env)
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        ({"SMTPVERIFY_INJECT": "yes"}, "SMTPVERIFY_INJECT: 1 or 0 is wanted, not 'yes'"),
        ({"SMTPVERIFY_REQUIRE_TLS": "on"}, "SMTPVERIFY_REQUIRE_TLS: 1 or 0 is wanted, not 'on'"),
        (
            {"SMTPVERIFY_PINS": "x"},
            "SMTPVERIFY_PINS: this variable is unknown; known are SMTPVERIFY_INJECT, ",
        ),
        ({"SMTPVERIFY_CAFILE": "ca.pem"}, "SMTPVERIFY_CAFILE: an absolute path is wanted, not 'ca.pem'"),
        ({"SMTPVERIFY_CAFILE": "/absent.pem"}, "roots: /absent.pem: "),
        ({"SMTPVERIFY_TRUST_FILE": "/absent"}, "trust file: /absent: "),
        ({"SMTPVERIFY_KNOWN_HOSTS": "a"}, "SMTPVERIFY_KNOWN_HOSTS: an absolute path is wanted, not 'a'"),
        ({"SMTPVERIFY_KNOWN_HOSTS": "/dev/null"}, "known hosts: /dev/null: it is no file"),
        ({"SMTPVERIFY_PIN": "sha256:00"}, "pin 'sha256:00': "),
    ],
)
def test_what_is_not_understood_lets_no_mail_out(env: dict[str, str], complaint: str) -> None:
    """Not even where the program swallows that, and tries again."""
    code = "import smtplib\nexcept ImportError as error: print(error)\n"
    done = injected("-c", f"try: {code}try: {code}print('on')", env=env)
    first, second, last = done.stdout.splitlines()
    assert first.startswith(f"smtplib: smtpverify can't be injected: {complaint}")
    assert second == first
    assert last == "on"
    assert injected("-c", "print(1)", env=env).stdout == "1\n"


def test_an_environment_that_the_program_clears(tmp_path: Path) -> None:
    """What was asked for outside is not lost where a program drops what it does not know."""
    code = """
        import os
        os.environ.clear()
        import smtplib
        from smtpverify.smtp.methods import patches as found
        print(found.policy.require_tls, found.policy.trusts[0][1].pins)
        """
    program = script(tmp_path / "program.py", code)
    done = run("--require-tls", "--pin", OTHER_PIN, program)
    assert (done.stdout, done.stderr) == (f"True {(Pin.parse(OTHER_PIN),)}\n", "")


def test_nothing_is_left_where_loading_anew_fails(tmp_path: Path) -> None:
    trust_file = tmp_path / "trust"
    trust_file.write_text(f"{HOST}\n", encoding="utf-8")
    code = """
        import importlib, os, smtplib, sys
        held = smtplib.SMTP
        os.remove(sys.argv[1])
        try: importlib.reload(smtplib)
        except ImportError as error: print(str(error).partition(": /")[0])
        print(hasattr(held.send, "__wrapped__"), [name for name in vars(smtplib) if name.endswith("MTP")])
        """
    done = run("--trust-file", trust_file, script(tmp_path / "program.py", code), trust_file)
    complaint = "smtplib: smtpverify can't be injected: trust file"
    assert (done.stdout, done.stderr) == (f"{complaint}\nTrue []\n", "")


def test_smtplib_that_was_imported_before(tmp_path: Path) -> None:
    """By a .pth file, which Python reads before it looks for a sitecustomize."""
    code = f"import smtplib, runpy; runpy.run_path({str(STARTUP / 'sitecustomize.py')!r})"
    script(tmp_path / "sitecustomize.py", code)
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = injected("-c", TELL, env=env)
    assert (done.stdout, done.stderr) == ("True\n", "")
    done = injected("-c", "print('on')", env={**env, "SMTPVERIFY_PIN": "x"})
    assert (done.returncode, done.stdout) == (1, "")
    assert "smtplib: smtpverify can't be injected: pin 'x': " in done.stderr


def test_a_python_that_is_too_old() -> None:
    code = (
        "import sys; sys.version_info = 3, 9\ntry: import smtplib\nexcept ImportError as error: print(error)"
    )
    done = injected("-c", code)
    assert done.stdout.startswith(
        "smtplib: smtpverify can't be injected: smtpverify, which is to verify its "
    )
    assert done.stdout.endswith("needs Python 3.10 or later\n")


@pytest.mark.parametrize("switch", ["0", "1"])
def test_the_sitecustomize_that_was_displaced_is_run(switch: str, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        code = f"import sys\nsys.path.append({name!r})\nprint({name!r}, __name__, __file__)"
        script(tmp_path / name / "sitecustomize.py", code)
    code = "import sys, sitecustomize; print(sys.path[-1], sitecustomize.__file__)"
    path = os.pathsep.join(map(str, (STARTUP, tmp_path / "first", tmp_path / "second", ROOT)))
    done = injected("-c", f"{code}\n{TELL}", env={"PYTHONPATH": path, "SMTPVERIFY_INJECT": switch})
    file = tmp_path / "first" / "sitecustomize.py"
    expected = [f"first sitecustomize {file}", f"first {file}", str(switch == "1")]
    assert (done.stdout.splitlines(), done.stderr) == (expected, "")


def test_a_displaced_sitecustomize_that_fails_does_not_disarm_ours(tmp_path: Path) -> None:
    script(tmp_path / "sitecustomize.py", "raise LookupError('theirs')")
    done = injected("-c", TELL, env={"PYTHONPATH": os.pathsep.join(map(str, (STARTUP, tmp_path, ROOT)))})
    assert done.stdout == "True\n"
    assert "theirs" in done.stderr  # as Python tells of any


def test_settings_come_back_from_the_environment(tmp_path: Path) -> None:
    settings = Settings(
        str(tmp_path / "ca.pem"),
        (Pin.parse(OTHER_PIN), Pin.parse(OTHER_PIN)),
        str(tmp_path / "t"),
        True,
        True,
    )
    variables = settings.to_environment({"PYTHONPATH": os.pathsep.join(["a", str(STARTUP), "", "b"])})
    assert variables.pop("PYTHONPATH") == os.pathsep.join([str(STARTUP), "a", "b"])
    assert Settings.from_environment(variables) == settings
    assert Settings.from_environment({}) == Settings()
    assert Settings().to_environment({}) == {"PYTHONPATH": str(STARTUP), "SMTPVERIFY_INJECT": "1"}


def test_injected_in_process(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """What the startup module calls."""
    seen: list[tuple[Any, ...]] = []
    monkeypatch.setattr(environment, "inject_for_good", lambda *given: seen.append(given))
    monkeypatch.setenv("SMTPVERIFY_CAFILE", str(world.root_file))
    monkeypatch.setenv("SMTPVERIFY_REQUIRE_TLS", "1")
    environment.inject(os.environ)
    assert seen == [(Trust(world.root_file), {}, True, False)]


# --- mail ----------------------------------------------------------------------------------------

starttls_server = Behaviour(tls=Tls.STARTTLS)
MAILERS = {
    "starttls": (
        Tls.STARTTLS,
        """
        import smtplib, sys
        with smtplib.SMTP("localhost", int(sys.argv[1]), "localhost", 5) as smtp:
            smtp.starttls()
            smtp.login("alice", "secret")
            smtp.sendmail("alice@example.org", ["bob@example.org"], "Subject: hello\\n\\nhello")
        """,
    ),
    "implicit": (
        Tls.IMPLICIT,
        """
        import smtplib, sys
        with smtplib.SMTP_SSL("localhost", int(sys.argv[1]), "localhost", timeout=5) as smtp:
            smtp.login("alice", "secret")
            smtp.sendmail("alice@example.org", ["bob@example.org"], "Subject: hello\\n\\nhello")
        """,
    ),
    "careless": (
        Tls.STARTTLS,
        """
        import contextlib, smtplib, sys
        smtp = smtplib.SMTP("localhost", int(sys.argv[1]), "localhost", 5)
        for step in (
            smtp.starttls,
            lambda: smtp.login("alice", "secret"),
            lambda: smtp.sendmail("alice@example.org", ["bob@example.org"], "Subject: hello\\n\\nhello"),
        ):
            with contextlib.suppress(Exception):
                step()
        smtp.close()
        """,
    ),
    "log": (
        Tls.STARTTLS,
        """
        import logging, logging.handlers, sys
        handler = logging.handlers.SMTPHandler(
            ("localhost", int(sys.argv[1])), "alice@example.org", ["bob@example.org"], "hello",
            credentials=("alice", "secret"), secure=(), timeout=5,
        )
        logging.getLogger().addHandler(handler)
        logging.error("fire")
        """,
    ),
}
every_mailer = pytest.mark.parametrize("mailer", MAILERS)


def mail(way: Any, mailer: str, server: Server, directory: Path, *options: object, **more: Any) -> Any:
    program = script(directory / "mailer.py", MAILERS[mailer][1])
    done = way(*options, program, server.port, **more)
    server.close()
    return done


def passwords(server: Server) -> list[str]:
    return [each.password for seen in server.connections for each in seen.credentials]


@every_mailer
def test_a_good_server_gets_the_mail(
    mailer: str, smtp_server: ServerFactory, world: World, tmp_path: Path
) -> None:
    with smtp_server(tls=MAILERS[mailer][0], certificate=world.good("localhost")) as server:
        done = mail(run, mailer, server, tmp_path)
    assert done.returncode == 0
    assert (len(server.messages), passwords(server)) == (1, ["secret"])
    assert all(b"AUTH" not in seen.clear.upper() for seen in server.connections)


@pytest.mark.parametrize("kind", ["unknown_issuer", "wrong_name", "self_signed_leaf", "expired", "stripped"])
@every_mailer
def test_an_impostor_gets_nothing(
    mailer: str, kind: str, smtp_server: ServerFactory, world: World, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {
        "certificate": world.served("good" if kind == "stripped" else kind, "localhost")
    }
    if kind == "stripped":
        fields |= {"tls": Tls.NONE} if mailer == "implicit" else {"starttls": Starttls.ABSENT}
    with smtp_server(**{"tls": MAILERS[mailer][0], **fields}) as server:
        done = mail(run, mailer, server, tmp_path)
    assert server.leaked() == []
    if mailer in ("starttls", "implicit"):
        assert done.returncode == 1
        assert "smtpverify.errors." in done.stderr.splitlines()[-1]


@every_mailer
def test_without_injection_an_impostor_gets_all(
    mailer: str, smtp_server: ServerFactory, world: World, tmp_path: Path
) -> None:
    served = world.served("unknown_issuer", "localhost")
    with smtp_server(tls=MAILERS[mailer][0], certificate=served) as server:
        mail(python, mailer, server, tmp_path)
    assert (len(server.messages), passwords(server)) == (1, ["secret"])


def test_trust_from_the_command_line(smtp_server: ServerFactory, world: World, tmp_path: Path) -> None:
    private, good = world.served("unknown_issuer", "localhost"), world.good("localhost")
    self_signed = world.served("self_signed_leaf", "localhost")
    lines = f'localhost "cafile={world.unknown_file}" pin={pin_of(private)}\n'
    trust_file = script(tmp_path / "trusts", lines)
    pinned = script(tmp_path / "pinned", f"localhost pin-only={pin_of(self_signed)}")
    elsewhere = script(tmp_path / "elsewhere", f"mail.example.org cafile={world.unknown_file}")
    for served, options, sent in (
        (private, [], 0),
        (private, ["--cafile", world.unknown_file], 1),
        (good, ["--cafile", world.unknown_file], 0),
        (good, ["--pin", pin_of(good)], 1),
        (good, ["--pin", OTHER_PIN], 0),
        (good, ["--pin", OTHER_PIN, f"--pin={pin_of(good)}"], 1),
        (private, ["--trust-file", trust_file], 1),
        (good, ["--trust-file", trust_file], 0),
        (self_signed, ["--trust-file", pinned], 1),
        (private, ["--trust-file", pinned], 0),
        (good, ["--trust-file", elsewhere], 1),
        (private, ["--trust-file", elsewhere, "--cafile", world.unknown_file], 1),
    ):
        with smtp_server(starttls_server, certificate=served) as server:
            mail(run, "starttls", server, tmp_path, *options)
        assert (len(server.messages), len(passwords(server))) == (sent, sent), options
        assert sent or server.leaked() == []


def test_known_hosts(
    smtp_server: ServerFactory, world: World, tmp_path: Path, own_configuration: Path
) -> None:
    """The user's own, without being asked for; others, or none, by an option or by the environment."""
    stranger, good = world.served("self_signed_leaf", "localhost"), world.good("localhost")
    other = tmp_path / "other"
    for path, issued in ((own_configuration / "smtpverify" / "known_hosts", stranger), (other, good)):
        memory.remember_keys(str(path), "localhost", [Pin.parse(pin_of(issued))])
    by_environment = {"SMTPVERIFY_KNOWN_HOSTS": str(other)}
    none_after_all = {"SMTPVERIFY_KNOWN_HOSTS": str(own_configuration / "smtpverify" / "known_hosts")}
    for served, options, env, sent in (
        (stranger, [], {}, 1),
        (good, [], {}, 0),
        (stranger, ["--known-hosts", "none"], {}, 0),
        (good, ["--known-hosts", "none"], {}, 1),
        (stranger, ["--known-hosts", other], {}, 0),
        (good, ["--known-hosts", other], {}, 1),
        (stranger, [], by_environment, 0),
        (stranger, ["--known-hosts", "none"], by_environment, 0),
        (stranger, ["--known-hosts", "none"], none_after_all, 0),
        (good, [], by_environment, 1),
    ):
        with smtp_server(starttls_server, certificate=served) as server:
            mail(run, "starttls", server, tmp_path, *options, env=env)
        assert (len(server.messages), len(passwords(server))) == (sent, sent), (options, env)
        assert sent or server.leaked() == []


def test_without_known_hosts_none_are_named(own_configuration: Path) -> None:
    """Nothing in the environment speaks of a file that is not there."""
    assert "KNOWN_HOSTS" not in run("--print-environment").stdout
    own = own_configuration / "smtpverify" / "known_hosts"
    memory.remember_tls(str(own), "localhost", 25)
    assert f"export SMTPVERIFY_KNOWN_HOSTS={own}\n" in run("--print-environment").stdout


def test_known_hosts_that_can_not_be_looked_at(tmp_path: Path) -> None:
    """They are not taken for none."""
    file = tmp_path / "smtpverify" / "known_hosts"
    file.parent.mkdir()
    file.symlink_to(file)
    done = run("script.py", env={"XDG_CONFIG_HOME": str(tmp_path)})
    assert (done.returncode, done.stdout) == (64, "")
    assert f"known hosts: {file}: Too many levels of symbolic links" in done.stderr


def test_paths_are_those_of_the_place_where_it_was_run(
    smtp_server: ServerFactory, world: World, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_bytes(world.unknown_file.read_bytes())
    mailer = script(tmp_path / "mailer.py", MAILERS["starttls"][1])
    starter = script(
        tmp_path / "starter.py",
        f"import os, subprocess, sys; os.chdir('/')\n"
        f"sys.exit(subprocess.call([sys.executable, {str(mailer)!r}, sys.argv[1]]))",
    )
    served = world.served("unknown_issuer", "localhost")
    with smtp_server(starttls_server, certificate=served) as server:
        assert run("--cafile", "ca.pem", starter, server.port, cwd=tmp_path).returncode == 0
    assert len(server.messages) == 1


def test_run_within_run_keeps_what_was_said(smtp_server: ServerFactory, world: World, tmp_path: Path) -> None:
    served = world.served("unknown_issuer", "localhost")
    for inner, sent in (([], 1), (["--cafile", world.root_file], 0)):
        with smtp_server(starttls_server, certificate=served) as server:
            options = ["--cafile", world.unknown_file, "-m", "smtpverify", "run", *inner]
            mail(run, "starttls", server, tmp_path, *options)
        assert len(server.messages) == sent
        assert sent or server.leaked() == []


def test_required_tls(smtp_server: ServerFactory, tmp_path: Path) -> None:
    """On loopback nothing requires it but a line of the trust file."""
    code = """
        import smtplib, sys
        with smtplib.SMTP("localhost", int(sys.argv[1]), "localhost", 5) as smtp:
            smtp.sendmail("alice@example.org", ["bob@example.org"], "Subject: hello\\n\\nhello")
        """
    program = script(tmp_path / "program.py", code)
    named = script(tmp_path / "trusts", "localhost # with the usual CAs\n")
    with smtp_server() as server:
        assert run("--require-tls", program, server.port).returncode == 0
    assert len(server.messages) == 1
    with smtp_server() as server:
        done = run("--trust-file", named, program, server.port)
    assert "TLSRequiredError" in done.stderr
    assert server.leaked() == []


# --- the command ---------------------------------------------------------------------------------


@NEEDS_UNIX
def test_the_environment_for_a_shell(tmp_path: Path, world: World) -> None:
    directory = tmp_path / "it's here"
    directory.mkdir()
    cafile = directory / "ca.pem"
    cafile.write_bytes(world.root_file.read_bytes())
    done = run("--cafile", cafile, "--pin", OTHER_PIN, "--print-environment")
    assert (done.returncode, done.stderr) == (0, "")
    show = f"""eval "$0"; printf '%s\\n' {" ".join(f'"${name}"' for name in VARIABLE_NAMES)}"""
    shown = start("sh", "-c", show, done.stdout).stdout.splitlines()
    assert shown == [os.pathsep.join([str(STARTUP), str(ROOT)]), "1", str(cafile), OTHER_PIN]
    told = start("sh", "-c", 'eval "$0"; exec "$@"', done.stdout, sys.executable, "-c", TELL)
    assert told.stdout == "True\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give a script, or -m and a module, behind the options"),
        (["--"], "give a script"),
        (["-m"], "give a script"),
        (["--cafile", "/absent.pem", "x.py"], "--cafile: /absent.pem: "),
        (["--trust-file", "/absent", "x.py"], "trust file: /absent: "),
        (["--pin", "md5:00", "x.py"], "pin 'md5:00': "),
    ],
)
def test_usage_errors(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", *arguments]) == 64
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"smtpverify run: {complaint}")
    assert shown.err.count("\n") == 1


def test_an_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--dance", "x.py"]) == 64
    assert "--dance" in capsys.readouterr().err


def test_an_unknown_variable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SMTPVERIFY_CA_FILE", "x")
    assert cli.main(["run", "x.py"]) == 64
    assert "SMTPVERIFY_CA_FILE: this variable is unknown" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: smtpverify run [OPTIONS] (SCRIPT | -m MODULE) [ARGS ...]\n")
    for option in ("--cafile", "--pin", "--trust-file", "--require-tls", "--allow-plaintext-login"):
        assert f"  {option}" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


@pytest.mark.parametrize("option", ["-I", "-E"])
def test_an_isolated_python_is_told(option: str, tmp_path: Path) -> None:
    program = script(tmp_path / "program.py", "print('ran')")
    main = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import smtpverify.cli; "
    done = python(option, "-c", f"{main}sys.exit(smtpverify.cli.main(['run', {str(program)!r}]))")
    assert (done.returncode, done.stdout) == (69, "")
    assert "isolated" in done.stderr


def test_without_the_startup_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_command, "startup_directory", lambda: str(tmp_path))
    assert cli.main(["run", "x.py"]) == 69
    assert f"{tmp_path}: there is no such directory" in capsys.readouterr().err


def test_a_startup_directory_that_pythonpath_can_t_hold(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be read as two, and the program run without us."""
    there = tmp_path / f"a{os.pathsep}b"
    shutil.copytree(STARTUP, there)
    monkeypatch.setattr(run_command, "startup_directory", lambda: str(there))
    assert cli.main(["run", "--print-environment"]) == 69
    assert f"{there}: PYTHONPATH can't hold a " in capsys.readouterr().err


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_the_program_takes_our_place_where_it_can(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows execve() would return to the shell before the program has ended."""
    seen: list[Any] = []

    def execve(path: str, command: list[str], environment: dict[str, str]) -> None:
        seen.append((path, command, environment["SMTPVERIFY_INJECT"]))
        raise SystemExit(0)  # it does not return

    def call(command: list[str], env: dict[str, str]) -> int:
        seen.append((command[0], command, env["SMTPVERIFY_INJECT"]))
        return 5

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(subprocess, "call", call)
    arguments = argparse.Namespace(
        cafile=None,
        pin=None,
        trust_file=None,
        known_hosts=None,
        require_tls=True,
        allow_plaintext_login=False,
        print_environment=False,
        module=False,
        program=["x.py", "--", "y"],
    )
    if platform == "win32":
        assert run_command.run(arguments) == 5
    else:
        with pytest.raises(SystemExit):
            run_command.run(arguments)
    [(path, command, switch)] = seen
    assert (path, command[0], command[-3:], switch) == (
        sys.executable,
        sys.executable,
        ["x.py", "--", "y"],
        "1",
    )


# --- trust files ---------------------------------------------------------------------------------


def test_a_trust_file(tmp_path: Path, world: World) -> None:
    (tmp_path / "a ca.pem").write_bytes(world.root_file.read_bytes())
    certificate, key = world.good().write(tmp_path)
    file = script(
        tmp_path / "trusts",
        f"""
        # A comment, and an empty line.

        MAIL.Example.ORG   "cafile=a ca.pem"\tpin={OTHER_PIN} pin={OTHER_PIN}   # and another
        faß.example.org cafile="{world.root_file}"#no-comment
        printer.example.org pin-only={OTHER_PIN} client-cert={certificate.name} client-key={key.name}
        192.0.2.1
        ::1 pin={OTHER_PIN}\r
        """.replace("#no-comment", ""),
    )
    assert read_trust_file(file) == {
        "mail.example.org": Trust(tmp_path / "a ca.pem", pins=[OTHER_PIN] * 2),
        "xn--fa-hia.example.org": Trust(world.root_file),
        "printer.example.org": Trust(pins=OTHER_PIN, pins_only=True, client_cert=certificate, client_key=key),
        "192.0.2.1": Trust(),
        "::1": Trust(pins=OTHER_PIN),
    }


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("a.example.org roots=x", "the key 'roots' is unknown; known are cafile, pin, pin-only, "),
        ("a.example.org pin", "pin: it has no value, as in pin=…"),
        ("a.example.org cafile=", "cafile: it has no value"),
        ("a.example.org secure", "the key 'secure' is unknown"),
        ("a.example.org pin=md5:00", "pin 'md5:00': "),
        ("a.example.org cafile=absent.pem", "roots: /"),
        ("a.example.org cafile=a cafile=b", "cafile: it is given twice"),
        (
            f"a.example.org pin={OTHER_PIN} pin-only={OTHER_PIN}",
            "pin-only: it stands in place of the chain, and",
        ),
        (f"a.example.org cafile=x pin-only={OTHER_PIN}", "pin-only: it stands in place of the chain, for"),
        ("a.example.org client-key=x", "client_key: a key needs its certificate"),
        ('a.example.org cafile="x', "a quotation mark is missing"),
        ('"a.example.org', "a quotation mark is missing"),
        ("a.example.org:587", "'a.example.org:587' has a port"),
        ("*.example.org", ""),
        ("cafile=x", ""),
        ("first.example.org", "first.example.org has a line already"),
        ("FIRST.example.org.", "FIRST.example.org. has a line already"),
        ("a.example.org \x1b[31m=x", r"the key '\x1b[31m' is unknown"),
    ],
)
def test_a_line_that_can_t_be_used_is_named(line: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "trusts"
    file.write_text(f"# comment\nfirst.example.org\n{line}\nlast.example.org\n", encoding="utf-8")
    with pytest.raises(TrustError) as caught:
        read_trust_file(file)
    assert str(caught.value).startswith(f"trust file: {file}:3: {complaint}")
    assert str(caught.value).isprintable()


def test_a_file_that_is_no_trust_file(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match=r"^trust file: .*absent: No such file"):
        read_trust_file(tmp_path / "absent")
    (tmp_path / "octets").write_bytes(b"mail.example.org\n\xff")
    with pytest.raises(TrustError, match=r"octets: it is not UTF-8$"):
        read_trust_file(tmp_path / "octets")


def test_smtplib_here_was_left_alone() -> None:
    """Nothing above injects this very process."""
    assert not hasattr(smtplib.SMTP.send, "__wrapped__")
