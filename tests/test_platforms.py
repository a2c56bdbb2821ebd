"""Windows and macOS, simulated; docs/platforms.md tells what that can show.

`TABLE` lists each use, in `smtpverify/`, of what a system lacks or does in another way, with what happens
there and the test of this module that shows it. A use that is not listed fails a test, too.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import errno
import importlib.util
import io
import ntpath
import os
import posixpath
import select
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import types
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from smtpverify import LMTP, Pin, Relay, RelayURLError, Trust, TrustError, cli, connect, memory
from smtpverify.cli import CommandError, _prompt, demo, run as run_command
from smtpverify.cli._screen import Screen
from smtpverify.environment import Settings
from smtpverify.paths import configuration_directory, is_absolute
from smtpverify.smtp import endpoints
from smtpverify.smtp.channel import Channel
from smtpverify.tls import known_hosts, trust as trust_module
from smtpverify.tls.known_hosts import read_known_hosts, user_known_hosts
from smtpverify.tls.trust import source_of_roots
from smtpverify.trust_file import read_trust_file
from tests.bed import HOST, Protocol, Tls, World
from tests.windows import LACKS_MODULES, locking_module, socketpair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from tests.conftest import ServerFactory

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "smtpverify"
SCRIPT = "import sys, time; print('begun', flush=True); time.sleep(0.2); sys.exit(7)"
KEY = "spki-sha256:" + 32 * "ab"
CAFILE = r"C:\certs\ca.pem"

# --- the table -----------------------------------------------------------------------------------

# Modules, and names of modules, that not every system has.
MODULES = LACKS_MODULES | {"_winapi", "crypt", "msvcrt", "nis", "nt", "spwd", "winreg", "winsound"}
NAMES = {
    "asyncio": "get_child_watcher set_child_watcher open_unix_connection start_unix_server",
    "os": (
        "EX_CANTCREAT EX_CONFIG EX_DATAERR EX_IOERR EX_NOHOST EX_NOINPUT EX_NOPERM EX_NOUSER EX_OK "
        "EX_OSERR EX_OSFILE EX_PROTOCOL EX_SOFTWARE EX_TEMPFAIL EX_UNAVAILABLE EX_USAGE O_ASYNC "
        "O_CLOEXEC O_DIRECT O_DIRECTORY O_DSYNC O_EXLOCK O_NDELAY O_NOATIME O_NOCTTY O_NOFOLLOW "
        "O_NONBLOCK O_PATH O_RSYNC O_SHLOCK O_SYNC O_TMPFILE O_BINARY chown chroot confstr "
        "copy_file_range ctermid environb eventfd execl execle execlp execlpe execv execve execvp "
        "execvpe fchdir fchmod fchown fdatasync fork forkpty fpathconf fstatvfs get_blocking getegid "
        "getenvb geteuid getgid getgrouplist getgroups getloadavg getpgid getpgrp getpriority "
        "getrandom getresgid getresuid getsid getuid getxattr grantpt initgroups kill killpg lchmod "
        "lchown link listxattr lockf login_tty major makedev memfd_create minor mkfifo mknod name "
        "nice openpty pathconf pidfd_open pipe2 posix_fadvise posix_fallocate posix_openpt "
        "posix_spawn posix_spawnp pread preadv ptsname pwrite pwritev readlink readv register_at_fork "
        "removexattr rename replace sched_getaffinity sched_setaffinity sched_yield sendfile "
        "set_blocking setegid seteuid setgid setgroups setpgid setpriority setregid setresgid "
        "setresuid setreuid setsid setuid setxattr splice startfile statvfs symlink sync sysconf "
        "tcgetpgrp tcsetpgrp timerfd_create ttyname uname unlockpt unshare wait wait3 wait4 waitid "
        "waitpid writev"
    ),
    "select": "POLLERR POLLHUP POLLIN POLLOUT POLLPRI devpoll epoll kevent kqueue poll",
    "signal": (
        "SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGIO SIGKILL SIGPIPE SIGPROF SIGQUIT SIGSTOP SIGTERM "
        "SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1 SIGUSR2 SIGWINCH CTRL_BREAK_EVENT CTRL_C_EVENT alarm "
        "getitimer pause pthread_kill pthread_sigmask set_wakeup_fd setitimer siginterrupt sigpending "
        "sigtimedwait sigwait"
    ),
    "socket": (
        "AF_NETLINK AF_PACKET AF_UNIX AF_VSOCK CMSG_LEN MSG_DONTWAIT MSG_NOSIGNAL SCM_RIGHTS "
        "SO_REUSEPORT TCP_CORK TCP_DEFER_ACCEPT TCP_INFO TCP_NOTSENT_LOWAT TCP_QUICKACK "
        "TCP_USER_TIMEOUT fromshare recv_fds send_fds sethostname"
    ),
    "ssl": "enum_certificates enum_crls",
    "stat": "S_IMODE",
    "sys": "getwindowsversion platform",
    "time": "CLOCK_MONOTONIC clock_gettime clock_settime pthread_getcpuclockid tzset",
}
# Of an object whose module does not show, or in a text.
ANYWHERE = (
    *("TIOCGWINSZ", "TIOCOUTQ", "add_reader", "add_signal_handler", "add_writer", "expanduser", "st_gid"),
    *("st_uid", "/dev/fd", "/dev/tty", "/proc"),
)

ENDS_BY_STATUS = "the program is waited for, and its exit status passed on"
NO_MODES = "modes and owners say nothing of who may read or write, and are not looked at"
NOTHING_TO_DO = "nobody forks: there is nothing to renew in a child"
BRANCH = "chooses what a row above or below says"

# File -> what it uses -> (what happens without, or where it is another; the test that shows it).
TABLE: dict[str, dict[str, tuple[str, str]]] = {
    "cli/__init__.py": {
        "signal.SIGTERM": ("the handler is set, and runs where a program raises it", "test_sigterm"),
        "sys.platform": ("a pipe that nobody reads is EINVAL on Windows", "test_a_broken_pipe"),
    },
    "cli/_prompt.py": {
        "/dev/tty": ("whether standard error is a console decides", "test_who_is_asked_for_a_password"),
        "os.O_NOCTTY": ("the same", "test_who_is_asked_for_a_password"),
        "sys.platform": (BRANCH, "test_who_is_asked_for_a_password"),
    },
    "cli/_screen.py": {
        "sys.platform": ("escape sequences in Windows Terminal alone", "test_colours_on_a_console"),
    },
    "cli/demo.py": {
        "add_signal_handler": ("Ctrl-C is asyncio's business", "test_the_demo"),
        "signal.SIGTERM": ("the same", "test_the_demo"),
        "sys.platform": (BRANCH, "test_the_demo"),
    },
    "cli/explain.py": {"expanduser": ("%USERPROFILE%", "test_where_netrc_is")},
    "cli/run.py": {
        "os.execve": (ENDS_BY_STATUS, "test_the_program_is_waited_for"),
        "sys.platform": ("PowerShell's form of variables", "test_variables_for_a_shell"),
    },
    "inject.py": {"os.register_at_fork": (NOTHING_TO_DO, "test_without_fork")},
    "integrations/logging.py": {"os.register_at_fork": (NOTHING_TO_DO, "test_without_fork")},
    "memory.py": {
        "fcntl": ("msvcrt locks", "test_the_lock_of_windows"),
        "msvcrt": ("fcntl locks, tests/test_known_hosts.py", "test_the_lock_of_windows"),
        "os.O_NOFOLLOW": ("a link in the lock's place is followed", "test_the_lock_of_windows"),
        "os.fchmod": (NO_MODES, "test_the_lock_of_windows"),
        "os.fchown": (NO_MODES, "test_the_lock_of_windows"),
        "os.replace": ("tried again while others read", "test_a_file_that_others_read_is_replaced_later"),
        "stat.S_IMODE": (NO_MODES, "test_the_lock_of_windows"),
        "st_gid": (NO_MODES, "test_the_lock_of_windows"),
        "sys.platform": (BRANCH, "test_the_lock_of_windows"),
    },
    "paths.py": {
        "expanduser": ("%USERPROFILE%, behind %APPDATA%", "test_where_the_known_hosts_are"),
        "sys.platform": (BRANCH, "test_where_the_known_hosts_are"),
    },
    "smtp/credentials.py": {
        "os.geteuid": (NO_MODES, "test_modes_are_not_looked_at"),
        "stat.S_IMODE": (NO_MODES, "test_modes_are_not_looked_at"),
        "st_uid": (NO_MODES, "test_modes_are_not_looked_at"),
        "sys.platform": (BRANCH, "test_modes_are_not_looked_at"),
    },
    "smtp/endpoints.py": {
        "TIOCOUTQ": ("none; SO_NWRITE on macOS", "test_what_is_undelivered"),
        "fcntl": ("none", "test_what_is_undelivered"),
        "socket.AF_UNIX": ("RelayURLError", "test_lmtp_without_unix_sockets"),
        "socket.TCP_NOTSENT_LOWAT": ("left out", "test_what_is_undelivered"),
        "sys.platform": (BRANCH, "test_what_is_undelivered"),
        "termios": ("none", "test_what_is_undelivered"),
    },
    "tls/context.py": {"os.register_at_fork": (NOTHING_TO_DO, "test_without_fork")},
    "tls/known_hosts.py": {
        "os.O_NONBLOCK": ("no file there makes one wait", "test_modes_are_not_looked_at"),
        "os.geteuid": (NO_MODES, "test_modes_are_not_looked_at"),
        "stat.S_IMODE": (NO_MODES, "test_modes_are_not_looked_at"),
        "st_uid": (NO_MODES, "test_modes_are_not_looked_at"),
        "sys.platform": ("opened again", "test_a_file_that_is_being_replaced_is_read_later"),
    },
    "tls/trust.py": {
        "ssl.enum_certificates": ("nothing: the files tell", "test_the_store_of_windows"),
        "sys.platform": (BRANCH, "test_the_store_of_windows"),
    },
    "tls/waiting.py": {
        "time.CLOCK_MONOTONIC": ("time.monotonic()", "test_a_message_without_what_windows_lacks"),
        "time.clock_gettime": ("time.monotonic()", "test_a_message_without_what_windows_lacks"),
        "select.POLLIN": ("select()", "test_a_channel_without_poll"),
        "select.POLLOUT": ("select()", "test_a_channel_without_poll"),
        "select.poll": ("select()", "test_a_channel_without_poll"),
        "sys.platform": (BRANCH, "test_a_channel_without_poll"),
    },
}


def uses(source: str) -> set[str]:
    """What a source uses that not every system has."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                found.update(MODULES & {alias.name for alias in node.names})
            case ast.ImportFrom(module=str() as module):
                found.update(MODULES & {module})
                found.update(f"{module}.{alias.name}" for alias in node.names)
            case ast.Attribute(value=ast.Name(id=module)):
                found.update({f"{module}.{node.attr}", node.attr} - MODULES)
            case ast.Attribute():
                found.update({node.attr} - MODULES)
            case ast.Call(
                func=ast.Name(id="getattr" | "hasattr"),
                args=[ast.Name(id=module), ast.Constant(value=str() as name), *_],
            ):
                found.add(f"{module}.{name}")
            case ast.Constant(value=str() as text) if text.startswith("/"):
                found.add(text)
    listed = {f"{module}.{name}" for module, names in NAMES.items() for name in names.split()}
    return found & (MODULES | listed | set(ANYWHERE))


def test_each_use_is_in_the_table() -> None:
    found = {
        path.relative_to(SOURCES).as_posix(): uses(path.read_text(encoding="utf-8"))
        for path in SOURCES.rglob("*.py")
    }
    assert {path: names for path, names in found.items() if names} == {
        path: set(names) for path, names in TABLE.items()
    }


@pytest.mark.parametrize(
    ("source", "used"),
    [
        ("import fcntl", {"fcntl"}),
        ("from os import fork", {"os.fork"}),
        ("import os\nos.getuid()", {"os.getuid"}),
        ("import socket\ngetattr(socket, 'AF_UNIX')", {"socket.AF_UNIX"}),
        ("loop.add_signal_handler(2, f)", {"add_signal_handler"}),
        ("open('/dev/tty')", {"/dev/tty"}),
        ("import os\nos.path.join('a', 'b')", set()),
    ],
)
def test_uses(source: str, used: set[str]) -> None:
    assert uses(source) == used


def test_each_row_is_shown() -> None:
    assert all(
        callable(globals().get(test)) and without
        for rows in TABLE.values()
        for without, test in rows.values()
    )


# --- the simulations -----------------------------------------------------------------------------


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform's name, and a certificate store without certificates."""
    monkeypatch.setattr(ssl, "enum_certificates", lambda store: [], raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(trust_module, "_SLOT", 1e-9)  # else the store would be another's for ten seconds


@pytest.fixture
def windows_paths(windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    r"""Paths as on Windows; elsewhere `C:\x` is then a file of just that name in the given directory."""
    directory = tmp_path / "drives"
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.setattr(os, "path", ntpath)
    monkeypatch.setattr(os, "sep", "\\")
    monkeypatch.setattr(os, "pathsep", ";")
    return directory


def again(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Load a module once more, as another, without what Windows lacks."""
    for name in LACKS_MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    name = f"{module.__name__}_on_windows"
    spec = importlib.util.spec_from_file_location(name, module.__file__)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, loaded)  # dataclasses look it up
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.parametrize("name", ["tls.context", "inject", "integrations.logging"])
def test_without_fork(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    module = importlib.import_module(f"smtpverify.{name}")
    assert set(again(module, monkeypatch).__all__) == set(vars(module)["__all__"])


def test_sigterm(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows no other process can send it: TerminateProcess() ends one without a word."""

    def end(arguments: list[str]) -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    monkeypatch.setattr(cli, "_run", end)
    assert cli.main([]) == 143


PROGRAM = """
import sys
from tests import windows
windows.pretend()
import smtpverify
from smtpverify import LMTP, Trust, connect
with connect(sys.argv[1], trust=Trust(sys.argv[2], known_hosts=sys.argv[3]), timeout=30) as smtp:
    smtp.sendmail("alice@example.org", ["bob@example.net"], "Subject: hello\\n\\n" + 2_000_000 * "x")
    print(smtp.peer.reference.text)
try:
    LMTP("/run/lmtp")
except smtpverify.RelayURLError as error:
    print(error)
"""


def test_a_message_without_what_windows_lacks(
    smtp_server: ServerFactory, world: World, tmp_path: Path
) -> None:
    """Without fcntl, termios, poll() and the rest: in a process of its own, all of them at once."""
    known = tmp_path / "known" / "hosts"
    with smtp_server(tls=Tls.STARTTLS, host="127.0.0.1") as server:
        url = f"smtp+tls://127.0.0.1:{server.port}?server-name={HOST}"
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, url, str(world.root_file), str(known)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        HOST,
        "path: this system has no Unix sockets for Python; give a host and a port, as in lmtp://host:24",
    ]
    assert [len(message.data) > 2_000_000 for message in server.messages] == [True]
    assert list(read_known_hosts(str(known)).tls) == [(HOST, server.port)]


AS_ON_WINDOWS = (
    *("-p", "tests.windows", "-p", "no:cacheprovider", "-p", "no:xdist"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # they are imported to see the platform's own name
)


def test_the_tests_are_collected_on_windows() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-o", "addopts=", *AS_ON_WINDOWS],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "absolute"),
    [
        (r"C:\certs\ca.pem", True),
        ("C:/certs/ca.pem", True),
        (r"\\server\share\ca.pem", True),
        (r"\certs\ca.pem", False),  # on the current drive
        ("/certs/ca.pem", False),
        ("C:ca.pem", False),  # in the current directory of that drive
        ("ca.pem", False),
        ("", False),
    ],
)
def test_absolute_on_windows(path: str, absolute: bool, windows_paths: Path) -> None:
    assert is_absolute(path) is absolute
    environment = {"SMTPVERIFY_CAFILE": path}
    if absolute:
        assert Settings.from_environment(environment).cafile == path
    elif path:
        with pytest.raises(TrustError, match=r"^SMTPVERIFY_CAFILE: an absolute path is wanted, not '"):
            Settings.from_environment(environment)


@pytest.mark.skipif(sys.platform == "win32", reason="paths of POSIX")
def test_absolute_on_posix() -> None:
    assert is_absolute("/certs/ca.pem") is True
    assert is_absolute(CAFILE) is False


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({"APPDATA": r"C:\Users\a\AppData\Roaming"}, r"C:\Users\a\AppData\Roaming\smtpverify\known_hosts"),
        ({"XDG_CONFIG_HOME": r"D:\etc", "APPDATA": r"C:\Roaming"}, r"D:\etc\smtpverify\known_hosts"),
        ({"XDG_CONFIG_HOME": r"\etc", "APPDATA": r"C:\Roaming"}, r"C:\Roaming\smtpverify\known_hosts"),
        ({"APPDATA": "Roaming", "USERPROFILE": r"C:\Users\a"}, r"C:\Users\a\.config\smtpverify\known_hosts"),
        ({"HOME": r"C:\elsewhere"}, None),  # which is of no account there
        ({}, None),
    ],
)
def test_where_the_known_hosts_are(
    environment: dict[str, str], path: str | None, windows_paths: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CONFIG_HOME", "APPDATA", "USERPROFILE", "HOMEPATH", "HOMEDRIVE", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert user_known_hosts() == path
    if path is None:
        with pytest.raises(TrustError, match=r"^known_hosts: this user has no home directory"):
            Trust(known_hosts=True)


def test_where_the_known_hosts_are_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of Windows says nothing on macOS."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("APPDATA", "/roaming")
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    monkeypatch.setenv("HOME", "/Users/alice")
    if os.name != "nt":
        assert configuration_directory() == "/Users/alice/.config"


def test_where_netrc_is(
    windows_paths: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("USERPROFILE", r"C:\Users\alice")
    assert cli.main(["explain", "--json", "tls://alice@mail.example.org"]) == 0
    assert '"C:\\\\Users\\\\alice\\\\.netrc"' in capsys.readouterr().out


@pytest.mark.parametrize("path", [r"Z:\known_hosts", r"Z:\mail\of\us\known_hosts", r"\\server\share\a\known"])
def test_a_drive_that_is_not_there(path: str, windows_paths: Path) -> None:
    with pytest.raises(
        TrustError, match=r"^known hosts: (Z:\\\\|\\\\\\\\server\\\\share\\\\): there is no such"
    ):
        memory.remember_tls(path, HOST, 25)
    assert read_known_hosts(path).tls == {}


def test_the_lock_of_windows(windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locks = locking_module()
    monkeypatch.setitem(sys.modules, "msvcrt", locks)
    for name in ("O_NOFOLLOW", "fchmod", "fchown"):
        monkeypatch.delattr(os, name, raising=False)
    there = again(memory, monkeypatch)
    path = str(tmp_path / "there" / "known_hosts")
    there.remember_tls(path, HOST, 25)
    there.remember_keys(path, HOST, [Pin.parse(KEY)])
    assert locks.held == set()
    assert list(read_known_hosts(path).tls) == [(HOST, 25)]
    monkeypatch.setattr(there, "_PATIENCE", 0.0)
    with there._alone(f"{path}.lock"), pytest.raises(TrustError, match=r"lock: another process holds it$"):
        there.forget(path, HOST)
    assert there.forget(path, HOST) is True


class Busy:
    """A call that Windows refuses a number of times, since somebody has the file open."""

    def __init__(self, call: Any, times: float) -> None:
        self.call, self.left = call, times

    def __call__(self, *arguments: Any) -> Any:
        if self.left <= 0:
            return self.call(*arguments)
        self.left -= 1
        raise PermissionError(errno.EACCES, "The process cannot access the file", arguments[0])


@pytest.mark.parametrize(
    ("platform", "times", "refused"),
    [("win32", 3, False), ("win32", float("inf"), True), ("darwin", 1, True)],
)
def test_a_file_that_others_read_is_replaced_later(
    platform: str, times: float, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "known_hosts"
    memory.remember_tls(str(path), HOST, 25)
    before = path.read_bytes()
    monkeypatch.setattr(memory, "_PATIENCE", 0.1 if refused else 10.0)  # there are ten seconds for it
    monkeypatch.setattr(os, "replace", Busy(os.replace, times))
    monkeypatch.setattr(sys, "platform", platform)
    if refused:
        with pytest.raises(TrustError, match=r"known_hosts: The process cannot access the file$"):
            memory.remember_tls(str(path), HOST, 587)
        assert path.read_bytes() == before
    else:
        memory.remember_tls(str(path), HOST, 587)
        assert len(read_known_hosts(str(path)).tls) == 2
    assert sorted(each.name for each in tmp_path.iterdir()) == ["known_hosts", "known_hosts.lock"]


@pytest.mark.parametrize(
    ("platform", "times", "refused"),
    [("win32", 3, False), ("win32", float("inf"), True), ("darwin", 1, True)],
)
def test_a_file_that_is_being_replaced_is_read_later(
    platform: str, times: float, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "known_hosts")
    memory.remember_tls(path, HOST, 25)
    monkeypatch.setattr(known_hosts, "_PATIENCE", 0.1 if refused else 10.0)  # there is a second for it
    monkeypatch.setattr(os, "open", Busy(os.open, times))
    monkeypatch.setattr(sys, "platform", platform)
    if refused:
        with pytest.raises(TrustError, match=r"known_hosts: The process cannot access the file$"):
            read_known_hosts(path)
    else:
        assert list(read_known_hosts(path).tls) == [(HOST, 25)]


def test_modes_are_not_looked_at(windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "geteuid", raising=False)
    monkeypatch.delattr(os, "O_NONBLOCK", raising=False)
    known, password = tmp_path / "known_hosts", tmp_path / "password"
    known.write_text(f'[keys]\n"{HOST}" = "{KEY}"\n', encoding="utf-8")
    password.write_text("secret\r\n", encoding="utf-8", newline="")
    for file in (known, password):
        file.chmod(0o666)
    assert list(read_known_hosts(str(known)).keys) == [HOST]
    relay = Relay.parse(f"tls://alice@{HOST}?password-file={password}")
    keeper = smtpverify.smtp.credentials.find_password(relay, None)
    assert keeper is not None
    assert keeper.ask().text == "secret"


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """With which editors of Windows begin a file in UTF-8."""
    file = tmp_path / "file"
    file.write_bytes(b"\xef\xbb\xbfmail.example.org pin=" + KEY.encode() + b"\r\n")
    assert list(read_trust_file(file)) == [HOST]
    file.write_bytes(b"\xef\xbb\xbfsecret\r\n")
    file.chmod(0o600)
    relay = Relay.parse(f"tls://alice@{HOST}?password-file={file.as_posix()}")
    keeper = smtpverify.smtp.credentials.find_password(relay, None)
    assert keeper is not None
    assert keeper.ask().text == "secret"
    file.write_bytes(b'\xef\xbb\xbf[keys]\r\n"mail.example.org" = "' + KEY.encode() + b'"\r\n')
    memory.remember_tls(str(file), HOST, 25)
    assert memory.forget(str(file), HOST) is True
    assert file.read_bytes() == b"[keys]\r\n\n[tls]\n"
    file.write_bytes(b'[keys]\n\xef\xbb\xbf"mail.example.org" = "' + KEY.encode() + b'"\n')
    with pytest.raises(TrustError, match=":2: it is no line"):
        read_known_hosts(str(file))


# --- C:\… ----------------------------------------------------------------------------------------


@pytest.fixture
def cafile(windows_paths: Path, world: World) -> str:
    """Whose path is one of Windows."""
    for name in (CAFILE, r"C:\etc\certs\ca.pem"):
        (windows_paths / name).write_bytes(world.root_file.read_bytes())
    return CAFILE


@pytest.mark.skipif(sys.platform == "win32", reason="the names are paths there")
@pytest.mark.parametrize(
    "written",
    [
        r"C:\certs\ca.pem",
        "C:/certs/ca.pem",
        "C:%5Ccerts%5Cca.pem",
        "C%3A%5Ccerts%5Cca.pem",
        "C%3A%2Fcerts%2Fca.pem",
    ],
)
def test_a_cafile_on_a_drive_in_a_url(
    written: str, cafile: str, smtp_server: ServerFactory, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = Relay.parse(f"tls://{HOST}:587?cafile={written}&known-hosts=C:/known_hosts")
    assert (relay.trust.roots, relay.trust.known_hosts) == (CAFILE, r"C:\known_hosts")
    assert Relay.parse(relay.to_url()) == relay
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):  # that alone is believed
        monkeypatch.setenv(name, os.fspath(world.empty_directory))
    with monkeypatch.context() as elsewhere:  # the server's files have no drive
        elsewhere.setattr(os, "path", posixpath)
        server = smtp_server(tls=Tls.STARTTLS)
    with server:
        with connect(f"tls://{HOST}:{server.port}?cafile={written}") as smtp:
            assert smtp.peer is not None
            assert smtp.peer.reference.text == HOST
        with pytest.raises(smtpverify.UntrustedCertificateError):
            connect(f"tls://{HOST}:{server.port}", trust=Trust("certifi"))


@pytest.mark.skipif(sys.platform == "win32", reason="the names are paths there")
def test_a_cafile_on_a_drive_elsewhere(
    cafile: str, windows_paths: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trusts = windows_paths / r"C:\etc\trust"
    trusts.write_bytes(
        b"a.example  cafile=C:\\certs\\ca.pem\r\n"
        b"b.example  cafile=certs\\ca.pem # beside this file\r\n"
        b'c.example  cafile="C:/certs/ca.pem"\r\n'
    )
    assert {host: trust.roots for host, trust in read_trust_file(r"C:\etc\trust").items()} == {
        "a.example": CAFILE,
        "b.example": r"C:\etc\certs\ca.pem",
        "c.example": CAFILE,
    }
    settings = Settings.from_environment(
        {"SMTPVERIFY_CAFILE": CAFILE, "SMTPVERIFY_TRUST_FILE": r"C:\etc\trust"}
    )
    trust, by_host = settings.trusts()
    assert trust is not None
    assert trust.roots == CAFILE
    assert len(by_host) == 3
    variables = settings.to_environment({"PYTHONPATH": r"C:\lib;D:\lib"})
    assert variables["SMTPVERIFY_CAFILE"] == CAFILE
    assert variables["PYTHONPATH"].split(";")[1:] == [r"C:\lib", r"D:\lib"]
    for command in (["send", "-f", "a@example.org"], ["check"], ["pin"], ["login"], ["trust"]):
        command += ["--known-hosts", r"C:\known_hosts"]
        assert cli.main([*command, "--cafile", CAFILE, "nonsense://x"]) == 64
        assert "nonsense:// is unknown" in capsys.readouterr().err
        assert cli.main([*command, "--cafile", r"C:\absent.pem", f"tls://{HOST}"]) == 64
        assert r"C:\\absent.pem: No such file" in capsys.readouterr().err


def test_our_directory_stands_once_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows knows it in capitals too."""
    monkeypatch.setattr(os.path, "normcase", str.lower)
    first = Settings().to_environment({})["PYTHONPATH"]
    assert Settings().to_environment({"PYTHONPATH": first.upper()})["PYTHONPATH"] == first


def test_a_directory_that_would_be_two(world: World, tmp_path: Path) -> None:
    """OpenSSL would look for certificates in each of them, the second in the current directory."""
    directory = tmp_path / f"ours{os.pathsep}theirs"
    directory.mkdir()
    (directory / "5ed36f99.0").write_bytes(world.root_file.read_bytes())
    with pytest.raises(
        TrustError, match=r"^roots: the directory .*theirs can't be used: to OpenSSL '[:;]' ends"
    ):
        Trust(directory)


# --- roots ---------------------------------------------------------------------------------------


@pytest.fixture
def no_files_of_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither variables nor files: as on Windows, and with python.org's Python on macOS at first."""
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.delenv("SSL_CERT_DIR")
    openssl = "/Library/Frameworks/Python.framework/Versions/3.13/etc/openssl"
    paths = ssl.DefaultVerifyPaths(
        "", "", "SSL_CERT_FILE", f"{openssl}/cert.pem", "SSL_CERT_DIR", f"{openssl}/certs"
    )
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    monkeypatch.setattr(ssl.SSLContext, "set_default_verify_paths", lambda self: None, raising=False)


def refuse(*arguments: object) -> None:
    raise PermissionError(errno.EACCES, "Access is denied")


def test_the_store_of_windows(
    no_files_of_roots: None,
    windows: None,
    smtp_server: ServerFactory,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stores = {"ROOT": [(world.root.der, "x509_asn", True)], "CA": []}
    none = Trust()
    smtpverify.create_context(none)  # of certifi's
    monkeypatch.setattr(ssl, "enum_certificates", stores.__getitem__)
    with smtp_server(tls=Tls.STARTTLS) as server:
        for trust in (Trust(), Trust("system")):
            assert source_of_roots(trust) == "the certificate store of Windows"
            with connect(f"tls://{HOST}:{server.port}", trust=trust) as smtp:
                assert smtp.peer is not None
        with pytest.raises(smtpverify.UntrustedCertificateError):
            connect(f"tls://{HOST}:{server.port}", trust=none)
    assert Trust() == Trust() != none
    monkeypatch.setattr(ssl, "enum_certificates", refuse)
    assert Trust() != none  # what can't be read is not what is empty
    monkeypatch.setattr(ssl, "enum_certificates", lambda store: [])
    with pytest.raises(TrustError, match=r"^roots: the system's store of CA certificates is empty$"):
        Trust("system")


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_certifi_where_the_system_has_none(
    platform: str, no_files_of_roots: None, windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as python.org's Python on macOS before 'Install Certificates.command' has run."""
    monkeypatch.setattr(sys, "platform", platform)
    trust = Trust()
    assert source_of_roots(trust) == "the package certifi"
    assert len(smtpverify.create_context(trust).get_ca_certs()) > 50


@pytest.mark.skipif(sys.platform == "win32", reason="links want a privilege there")
def test_the_link_of_install_certificates(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "cert.pem"
    link.symlink_to(world.root_file)
    monkeypatch.setenv("SSL_CERT_FILE", str(link))
    assert source_of_roots(Trust("system")) == f"the system's store ({link})"


@pytest.mark.skipif(sys.platform == "win32", reason="the names are paths there")
def test_directories_of_roots(windows_paths: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """`;` stands between them, so that a drive's colon does not."""
    names = [r"C:\a", r"D:\b"]
    for name in names:
        (windows_paths / name).mkdir()
        (windows_paths / name / "5ed36f99.0").write_bytes(world.root_file.read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(windows_paths / "absent"))
    monkeypatch.setenv("SSL_CERT_DIR", ";".join(names))
    assert source_of_roots(Trust()) == r"the certificate store of Windows (C:\\a, D:\\b)"


# --- sockets -------------------------------------------------------------------------------------

NO_UNIX = "path: this system has no Unix sockets for Python; give a host and a port, as in lmtp://host:24"


@pytest.fixture
def no_unix_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX", raising=False)
    monkeypatch.setattr(socket, "socketpair", socketpair)


def test_lmtp_without_unix_sockets(
    no_unix_sockets: None, smtp_server: ServerFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    for way in (
        lambda: LMTP("/run/lmtp"),
        lambda: LMTP().connect("/run/lmtp"),
        lambda: LMTP("lmtp:///run/lmtp"),
        lambda: connect("lmtp:///run/lmtp"),
    ):
        with pytest.raises(RelayURLError) as caught:
            way()
        assert str(caught.value) == NO_UNIX
    message = ["-f", "a@example.org", "b@example.org", "--body", "x"]
    assert cli.main(["send", "lmtp:///run/lmtp", *message]) == 64
    assert capsys.readouterr().err == f"smtpverify send: {NO_UNIX}\n"
    assert cli.main(["explain", "lmtp:///run/lmtp"]) == 0
    assert "can't be used on this system, which has no Unix sockets" in capsys.readouterr().out
    with smtp_server(protocol=Protocol.LMTP) as server:
        assert cli.main(["send", f"lmtp://{server.host}:{server.port}", *message]) == 0


def test_injected_lmtp_without_unix_sockets(no_unix_sockets: None) -> None:
    """The class of smtplib does what it does without us."""
    with pytest.raises(AttributeError, match="AF_UNIX") as stock:
        smtplib.LMTP("/run/lmtp")
    smtpverify.inject_into_smtplib()
    try:
        with pytest.raises(AttributeError) as injected:
            smtplib.LMTP("/run/lmtp")
    finally:
        smtpverify.extract_from_smtplib()
    assert str(injected.value) == str(stock.value)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection over loopback."""
    ours, theirs = socketpair()
    with closing(ours), closing(theirs):
        yield ours, theirs


class Darwin:
    """A socket of macOS, which tells by SO_NWRITE what it has not delivered."""

    def __init__(self, *told: int) -> None:
        self._told = told

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.SOL_SOCKET, 0x1024)
        if not self._told:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        return self._told[0]


def test_what_is_undelivered(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "TCP_NOTSENT_LOWAT", raising=False)
    endpoints.prepare(pair[0])
    assert pair[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    pair[0].setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while pair[0].send(bytes(65536)):
            pass
    monkeypatch.setattr(sys, "platform", "win32")
    assert endpoints.undelivered(pair[0]) == 0
    monkeypatch.setattr(sys, "platform", "darwin")
    assert endpoints.undelivered(Darwin(4711)) == 4711
    assert endpoints.undelivered(Darwin()) == 0
    assert endpoints.undelivered(object()) == 0
    monkeypatch.setattr(sys, "platform", "linux")
    if sys.modules.get("fcntl"):
        assert endpoints.undelivered(pair[0]) > 0
    for name in ("fcntl", "termios"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            assert endpoints.undelivered(pair[0]) == 0


@pytest.mark.parametrize("way", ["a name", "a platform"])
def test_a_channel_without_poll(
    way: str, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("poll", "POLLIN", "POLLOUT"):
        monkeypatch.delattr(select, name, raising=False)
    if way == "a platform":
        monkeypatch.setattr(select, "poll", None, raising=False)
        monkeypatch.setattr(sys, "platform", "win32")
    ours, theirs = pair
    channel = Channel(ours)
    assert channel.unread() == b""
    reading = threading.Thread(target=drain, args=(theirs, 3_000_000))
    reading.start()
    channel.write(bytes(3_000_000), 30.0)  # waits for room
    reading.join(30)
    assert channel.read(30.0).code == 250


def drain(sock: socket.socket, count: int) -> None:
    while count > 0:
        count -= len(sock.recv(65536))
    sock.sendall(b"250 2.0.0 Ok\r\n")


# --- the command ---------------------------------------------------------------------------------


class Console(io.TextIOWrapper):
    """A console, as far as a stream tells."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("terminal", "escapes"), [("", False), ("WT_SESSION", True)])
def test_colours_on_a_console(
    terminal: str, escapes: bool, windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old console prints escape sequences as they are: it gets neither colours nor bars."""
    for name in ("TERM", "NO_COLOR", "WT_SESSION"):
        monkeypatch.delenv(name, raising=False)
    if terminal:
        monkeypatch.setenv(terminal, "6b1c")
    octets = io.BytesIO()
    screen = Screen(Console(octets, encoding="cp1252", newline="\r\n"))
    assert (screen.colour, screen.draws) == (escapes, escapes)
    screen.line("✓ verified … → é Ж")
    assert octets.getvalue() == b"+ verified ... > \\xe9 \\u0416\r\n"
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen(Console(octets, encoding="cp1252"))
    assert (screen.colour, screen.draws) == (False, escapes)


def test_help_on_any_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """Help is printed as it is: every code page has ASCII."""
    whole = io.StringIO()
    parser = cli.whole_parser()
    parser.print_help(whole)
    monkeypatch.setattr(sys, "stdout", whole)
    for command in cli.COMMANDS:
        with pytest.raises(SystemExit):
            parser.parse_args([command, "--help"])
    assert whole.getvalue().isascii()
    assert len(whole.getvalue()) > 10_000


@pytest.mark.parametrize(("console", "asked"), [(True, True), (False, False), (None, False)])
def test_who_is_asked_for_a_password(
    console: bool | None, asked: bool, windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_NOCTTY", raising=False)
    stream: Any = io.StringIO()
    stream.isatty = lambda: console
    monkeypatch.setattr(sys, "stderr", None if console is None else stream)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "secret")
    relay = Relay.parse(f"tls://alice@{HOST}")
    if asked:
        keeper = _prompt.password_for(relay, piped=False)
        assert keeper is not None
        assert keeper.ask().text == "secret"
    else:
        with pytest.raises(CommandError, match="there is no password for alice, and no terminal to ask at"):
            _prompt.password_for(relay, piped=False)


@pytest.mark.filterwarnings("ignore:.*ByteString:DeprecationWarning")  # aiosmtpd's, on Python 3.15
def test_the_demo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(self: object, *arguments: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.SelectorEventLoop, "add_signal_handler", refuse)
    monkeypatch.setattr(demo, "sys", types.SimpleNamespace(platform="win32"))  # asyncio goes by the name too
    assert cli.main(["demo"]) == 0
    assert "smtpverify, nothing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "passed_on"), [(0, 0), (7, 7), (0xC000013A, 0xC000013A - (1 << 32)), (0x7FFFFFFF, 0x7FFFFFFF)]
)
def test_the_program_is_waited_for(
    status: int, passed_on: int, windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C is the program's business meanwhile, which the console tells of it too."""

    def call(command: list[str], env: dict[str, str]) -> int:
        assert command[0] == sys.executable
        signal.raise_signal(signal.SIGINT)
        return status

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(subprocess, "call", call)
    assert cli.main(["run", "script.py"]) == passed_on
    assert signal.getsignal(signal.SIGINT) is before


def test_a_real_program_is_waited_for(
    windows: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    statuses = [cli.main(["run", str(script)])]
    in_a_thread(lambda: statuses.append(cli.main(["run", str(script)])))  # which signals are not for
    assert statuses == [7, 7]
    assert capfd.readouterr().out.split() == ["begun", "begun"]


def in_a_thread(work: Any) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.parametrize("shell", [None, "/usr/bin/bash"])
def test_variables_for_a_shell(
    shell: str | None, windows: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_command, "user_known_hosts", lambda: None)
    monkeypatch.setattr(run_command, "startup_directory", lambda: str(SOURCES / "startup"))
    monkeypatch.delenv("SHELL", raising=False)
    if shell:
        monkeypatch.setenv("SHELL", shell)
    monkeypatch.setenv("PYTHONPATH", "it's")
    assert cli.main(["run", "--print-environment"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "INJECT" in line] == [
        "export SMTPVERIFY_INJECT=1" if shell else "$env:SMTPVERIFY_INJECT = '1'"
    ]
    [path] = [line for line in lines if "PYTHONPATH" in line]
    assert path.startswith("export PYTHONPATH=" if shell else "$env:PYTHONPATH = '")
    assert path.endswith("""it'"'"'s'""" if shell else "it''s'")


@pytest.mark.parametrize("command", [["run", "--print-environment"], ["completion", "bash"]])
def test_a_posix_shell_reads_no_cr(
    command: list[str], windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as that of Git, to which it would be part of a value."""
    pytest.importorskip("shtab")
    monkeypatch.setattr(run_command, "user_known_hosts", lambda: None)
    monkeypatch.setattr(run_command, "startup_directory", lambda: str(SOURCES / "startup"))
    monkeypatch.setenv("SHELL", "/usr/bin/bash")
    octets = io.BytesIO()
    with io.TextIOWrapper(octets, encoding="utf-8", newline="\r\n") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert cli.main(command) == 0
        assert octets.getvalue().endswith(b"\n")
        assert b"\r" not in octets.getvalue()


class Broken(io.TextIOWrapper):
    """A pipe that nobody reads, as the C library of Windows tells of it."""

    def write(self, text: str) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    def flush(self) -> None:
        if sys.stdout is self:
            raise OSError(errno.EINVAL, "Invalid argument")


@pytest.mark.parametrize(("platform", "status"), [("win32", 141), ("linux", 71)])
@pytest.mark.parametrize("command", [["explain", f"tls://{HOST}"], ["explain", "--help"]])
def test_a_broken_pipe(
    command: list[str], platform: str, status: int, windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    reading, writing = os.pipe()
    os.close(reading)
    with Broken(os.fdopen(writing, "wb"), encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        assert cli.main(command) == status


def test_output_that_can_not_be_flushed(windows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is buffered, and only the last flush fails."""
    reading, writing = os.pipe()
    os.close(reading)
    done: list[str] = []

    class Late(Broken):
        def write(self, text: str) -> int:
            return len(text)

        def flush(self) -> None:
            if done:
                super().flush()

    def run(arguments: list[str]) -> int:
        done.append("all")
        return 0

    with Late(os.fdopen(writing, "wb"), encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(cli, "_run", run)
        assert cli.main([]) == 141


def test_a_file_of_windows_is_no_recipient(windows_paths: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["send", "tls://127.0.0.1:9", "-f", "a@example.org", "b@example.org"]
    assert cli.main([*arguments, r"C:\mail\from@carol.eml"]) == 66
    assert r"C:\\mail\\from@carol.eml: No such file" in capsys.readouterr().err
