"""A Python without what Windows lacks: as far as a process on another system can pretend.

`python -m pytest -p tests.windows` collects and runs the tests in one; `pretend()` makes one of this process.
What it can't pretend: how the system itself behaves. Paths, files in use, sockets and consoles stay POSIX's.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import os
import select
import shutil
import signal
import socket
import ssl
import sys
import types
import warnings
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec

__all__ = ["LACKS", "LACKS_MODULES", "locking_module", "pretend", "socketpair"]

LACKS_MODULES = frozenset(
    {"curses", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
)
LACKS: dict[types.ModuleType, tuple[str, ...]] = {
    os: (
        *("O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "chown", "fchown", "fork", "forkpty", "getegid", "geteuid"),
        *(
            "getgid",
            "getpgid",
            "getuid",
            "killpg",
            "mkfifo",
            "openpty",
            "register_at_fork",
            "setsid",
            "wait4",
        ),
    ),
    socket: ("AF_UNIX", "TCP_NOTSENT_LOWAT"),
    select: ("epoll", "poll"),
    signal: (
        *("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1", "alarm"),
        *("pthread_kill", "pthread_sigmask", "setitimer"),
    ),
}
# Code of others, which is not on trial, and asks for the platform when it is imported.
_FIRST = (
    *("asyncio", "concurrent.futures", "ctypes", "doctest", "getpass", "http.server", "logging.handlers"),
    *("mimetypes", "multiprocessing", "pathlib", "pdb", "platform", "shutil", "smtplib", "subprocess"),
    *("tempfile", "urllib.request", "uuid", "venv", "zipfile"),
    *("aiosmtpd.controller", "aiosmtpd.smtp", "certifi", "coverage", "cryptography.x509", "django.conf"),
    *("django.core.checks", "django.core.mail", "django.test", "hypothesis", "idna", "keyring", "shtab"),
    *("trustme", "typing_extensions"),
)


class _Missing(importlib.abc.MetaPathFinder):
    """Finds no module that Windows lacks."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in LACKS_MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def locking_module() -> Any:
    """Make a `msvcrt` whose locks are of this process, by file; `held` has them."""
    module: Any = types.ModuleType("msvcrt")
    module.LK_UNLCK, module.LK_NBLCK = 0, 2
    module.held = set()

    def locking(descriptor: int, mode: int, count: int) -> None:
        file = os.fstat(descriptor).st_ino
        if mode == module.LK_UNLCK:
            module.held.remove(file)
        elif file in module.held:
            raise PermissionError(13, "Permission denied")
        else:
            module.held.add(file)

    module.locking = locking
    return module


def socketpair() -> tuple[socket.socket, socket.socket]:
    """Make a pair as Windows does: over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.socket()
        ours.connect(listener.getsockname())
        theirs, _ = listener.accept()
    return ours, theirs


def pretend() -> None:
    """Take from this process, for good, what Windows lacks, and give it Windows' name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # theirs
        for name in _FIRST:
            with contextlib.suppress(ImportError):  # of an extra, perhaps
                importlib.import_module(name)
    for name in LACKS_MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Missing())
    for module, names in LACKS.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    vars(socket)["socketpair"] = socketpair
    sys.modules["msvcrt"] = locking_module()
    vars(shutil)["which"] = lambda *arguments, **options: None  # it would ask the system
    vars(ssl)["enum_certificates"] = lambda store: []
    sys.platform = "win32"


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Pretend ahead of the first import of a test."""
    pretend()
