"""Take the pictures of the documentation, below docs/images: `nox -s screenshots`.

The commands run in this process, before servers of the test bed that a resolver of the tests' own finds under
mail.example.org. What they write to a terminal becomes SVG, without fonts or anything else from elsewhere.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import socket
import tempfile
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from rich.console import Console
from rich.text import Text

from smtpverify import cli
from tests.bed import HOST, Authority, Behaviour, Issued, Resolver, Server, Tls
from tests.bed.certs import self_signed

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES = Path(__file__).parent / "images"
PORT = 587
CA_FILE = "our-ca.pem"
HOME = "/home/alice"  # in the place of a directory that is gone by then
CHECK = f"smtpverify check --cafile {CA_FILE} {HOST}:{PORT}"
EXTENSIONS = ("SIZE 52428800", "AUTH SCRAM-SHA-256 PLAIN", "PIPELINING", "CHUNKING", "8BITMIME")
FONTS = "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace"


class Terminal(io.StringIO):
    """One that takes colours."""

    def isatty(self) -> bool:
        """As `smtpverify.cli` asks."""
        return True


class Person(Terminal):
    """Who sits there, and says yes."""

    def readline(self, _size: int = -1, /) -> str:  # type: ignore[override] # of StringIO
        """As it would be typed, and shown."""
        print("yes")
        return "yes\n"


def main() -> None:
    """Take them all."""
    ca = Authority.root("Example CA", "Example")
    pictures = {
        "check-verified": (CHECK, 110, 0, ca.issue(HOST, organisation="Example Mail")),
        "check-refused": (CHECK, 110, 1, ca.issue("www.example.net", organisation="Example Web")),
        "trust": (f"smtpverify trust {HOST}:{PORT}", 110, 0, self_signed(HOST)),
        "demo": ("smtpverify demo", 84, 0, None),
    }
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as directory:
        ca.write(Path(directory, CA_FILE))
        for name, (command, width, status, certificate) in pictures.items():
            with surroundings(Path(directory), certificate):
                shown = run(command, width, status).replace(directory, HOME)
            path = IMAGES / f"{name}.svg"
            path.write_text(picture(name, command, width, shown), encoding="utf-8")
            print(path)


@contextmanager
def surroundings(directory: Path, certificate: Issued | None) -> Iterator[None]:
    """A directory to be in, and a server where mail.example.org is; in plaintext without a certificate."""
    before = Path.cwd()
    tls = Tls.STARTTLS if certificate else Tls.NONE
    with Server(Behaviour(tls=tls, certificate=certificate, after_tls=EXTENSIONS)) as server:
        resolver = Resolver()

        def getaddrinfo(host: str, port: int, *others: int, **more: int) -> list[object]:
            return resolver.getaddrinfo(host, server.port if port == PORT else port, *others, **more)

        os.chdir(directory)
        try:
            with mock.patch.object(socket, "getaddrinfo", getaddrinfo):
                yield
        finally:
            os.chdir(before)


def run(command: str, width: int, status: int) -> str:
    """What a command writes to a terminal; it must end with that status."""
    terminal = Terminal()
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    known_hosts = str(Path.cwd() / ".config")  # not those of whoever takes the pictures
    environment = {**plain, "TERM": "xterm-256color", "COLUMNS": str(width), "XDG_CONFIG_HOME": known_hosts}
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch("sys.stdin", Person()),
        redirect_stdout(terminal),
    ):
        ended = cli.main(shlex.split(command)[1:])
    if ended != status:
        raise AssertionError(f"{command}: status {ended}, not {status}:\n{terminal.getvalue()}")
    return terminal.getvalue()


def picture(name: str, command: str, width: int, shown: str) -> str:
    """The SVG of a terminal in which a command was typed; what is wider is cut off."""
    text = Text.from_ansi(f"\x1b[1m$ {command}\x1b[0m\n{shown.rstrip()}")
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(text, no_wrap=True, overflow="ellipsis")
    svg = console.export_svg(title=" ".join(command.split()[:2]), unique_id=name)
    # What rich would have from a server of somebody else's.
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", f"<title>{command}</title>", svg, flags=re.DOTALL)
    return re.sub(r"[ \t]+$", "", svg.replace("Fira Code, monospace", FONTS), flags=re.MULTILINE)


if __name__ == "__main__":
    main()
