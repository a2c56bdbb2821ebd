"""What of Mercurial the extension touches, as far as it does: the tests in `interop` have the real one."""

from __future__ import annotations

import os
import re
import socket
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Abort(Exception):
    def __init__(self, message: bytes, hint: bytes | None = None) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class SecurityError(Abort):
    pass


class Ui:
    """A user's configuration (`"section.name"`), and what the user is told."""

    def __init__(self, config: dict[str, str], *, insecure: bool = False, typed: str | None = None) -> None:
        self._config = {key.encode(): value.encode() for key, value in config.items()}
        self._typed = typed
        self.insecureconnections = insecure
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self.prompts: list[str | None] = []

    def config(self, section: bytes, name: bytes, default: bytes | None = None) -> bytes | None:
        if (section, name, default) == (b"smtp", b"tls", None):
            default = b"none"  # registered
        return self._config.get(b"%s.%s" % (section, name), default)

    def hasconfig(self, section: bytes, name: bytes) -> bool:
        return b"%s.%s" % (section, name) in self._config

    def configlist(self, section: bytes, name: bytes) -> list[bytes]:
        return [part for part in re.split(rb"[\s,]+", self.config(section, name) or b"") if part]

    def configbool(self, section: bytes, name: bytes) -> bool:
        return bool(parsebool(self.config(section, name) or b""))

    def warn(self, message: bytes) -> None:
        self.warnings.append(message.decode())

    def note(self, message: bytes) -> None:
        self.notes.append(message.decode())

    def getpass(self, prompt: bytes | None = None, default: bytes | None = None) -> bytes | None:
        self.prompts.append(prompt if prompt is None else prompt.decode())
        return default if self._typed is None else self._typed.encode()


def parsebool(text: bytes) -> bool | None:
    words = {b"1": True, b"yes": True, b"true": True, b"on": True, b"always": True}
    words |= {b"0": False, b"no": False, b"false": False, b"off": False, b"never": False}
    return words.get(text.lower())


def getport(port: bytes) -> int:
    return int(port) if port.isdigit() else socket.getservbyname(port.decode())


def smtp_login(ui: Ui, smtp: Any, _host: bytes, _port: int) -> None:
    username = ui.config(b"smtp", b"username")
    password = ui.config(b"smtp", b"password") or ui.getpass()
    if username and password:
        smtp.login(username.decode(), password.decode())


def never(*_: object) -> None:
    raise AssertionError("Mercurial's own SMTP was used")


def wrapfunction(container: ModuleType, name: str, wrapper: Callable[..., Any]) -> None:
    original = getattr(container, name)
    setattr(container, name, lambda *args: wrapper(original, *args))


def modules() -> dict[str, ModuleType]:
    """Make them all, by their full names."""
    contents: dict[str, dict[str, Any]] = {
        "mercurial": {},
        "mercurial.encoding": {"strfromlocal": bytes.decode, "strtolocal": str.encode},
        "mercurial.error": {"Abort": Abort, "SecurityError": SecurityError},
        "mercurial.extensions": {"wrapfunction": wrapfunction},
        "mercurial.mail": {"_smtp": never, "_smtp_login": smtp_login},
        "mercurial.util": {"expandpath": os.path.expandvars},
        "mercurial.utils": {},
        "mercurial.utils.stringutil": {"parsebool": parsebool},
        "mercurial.utils.urlutil": {"getport": getport},
    }
    made = {}
    for name, content in contents.items():
        made[name] = module = ModuleType(name)
        vars(module).update(content)
        package, _, own = name.rpartition(".")
        if package:
            setattr(made[package], own, module)
    return made
