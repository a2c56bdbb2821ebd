"""The tools: how each is asked about a server, and what of its output matters."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.bed import Server
from tests.diagnosis import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from tests.bed import World
    from tests.diagnosis import Subject

# Postfix's commands are not on every user's path.
PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))


class MissingToolError(Exception):
    """A tool is not installed."""


@dataclass(frozen=True)
class Said:
    """What a tool said.

    Attributes:
        lines: those that matter.
        remedy: what it told to do, or "".
        status: the exit status; None where it did not end by itself.
    """

    lines: tuple[str, ...]
    remedy: str
    status: int | None

    def names(self, subject: Subject) -> bool:
        """Whether the cause is named."""
        return bool(subject.told and re.search(subject.told, "\n".join(self.lines), re.IGNORECASE))


@dataclass(frozen=True)
class Tool:
    """A program that is asked about a server.

    Attributes:
        name: for the page.
        command: of the port and the CA file, and whether TLS is expected from the first byte.
        essence: picks the lines that matter, and a remedy, from the output.
    """

    name: str
    command: Callable[[str, str, bool], Sequence[str]]
    essence: Callable[[str], tuple[Iterable[str], str]]

    def ask(self, subject: Subject, world: World, configuration: Path, limit: float) -> Said:
        """Ask about a server of that kind.

        Args:
            subject: the server, which is started for this.
            world: its certificates.
            configuration: Postfix's directory, in the place of the machine's.
            limit: seconds until the tool is killed.
        """
        with Server(subject.behaviour(world)) as server:
            output, status = _run(
                self.command(str(server.port), str(world.root_file), subject.implicit), configuration, limit
            )
            lines, remedy = self.essence(output.replace(f":{server.port}", ":25"))
        return Said(tuple(lines), remedy, status)


def _run(command: Sequence[str], configuration: Path, limit: float) -> tuple[str, int | None]:
    environment = {
        **os.environ,
        "LC_ALL": "C",
        "MAIL_CONFIG": str(configuration),
        "PYTHONUTF8": "1",
        "XDG_CONFIG_HOME": str(configuration),  # no known hosts but those of the run
    }
    with subprocess.Popen(
        [_found(command[0]), *command[1:]],
        stdin=subprocess.DEVNULL,  # where OpenSSL's ends once the handshake is done
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        encoding="utf-8",
        errors="backslashreplace",
    ) as process:
        try:
            return process.communicate(timeout=limit)[0], process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            return process.communicate()[0], None


def _smtpverify(port: str, cafile: str, implicit: bool) -> list[str]:
    url = f"{'smtps' if implicit else 'tls'}://{HOST}:{port}"
    return [sys.executable, "-m", "smtpverify", "check", "--json", "--cafile", cafile, url]


def _of_smtpverify(output: str) -> tuple[list[str], str]:
    found: dict[str, Any]
    (found,) = json.loads(output)["relays"]
    mark = "✓" if found["verdict"] == "verified" else "✗"
    return [f"{mark} {found['verdict']}: {found['summary']}"], found["remedy"]


def _postfix(port: str, cafile: str, implicit: bool) -> list[str]:
    # By address, since it asks DNS for names, where this one is not.
    wrapped = ["-w"] if implicit else []
    return ["posttls-finger", *wrapped, "-c", "-l", "secure", "-F", cafile, f"[127.0.0.1]:{port}", HOST]


def _of_postfix(output: str) -> tuple[list[str], str]:
    lines = [line.removeprefix("posttls-finger: ") for line in output.splitlines()]
    told = [line for line in lines if "fingerprint=" not in line]
    return [re.sub(r" with cipher .*| to 127\S+: -1$", "", line) for line in told], ""


def _openssl(port: str, cafile: str, implicit: bool) -> list[str]:
    ways = [] if implicit else ["-starttls", "smtp"]
    names = ["-verify_hostname", HOST, "-verify_return_error"]
    return ["openssl", "s_client", "-connect", f"{HOST}:{port}", *ways, *names, "-CAfile", cafile]


def _of_openssl(output: str) -> tuple[list[str], str]:
    # Its verdict, as it is found; or else its report, and what broke off the handshake.
    lines = output.splitlines()
    told = [line for line in lines if line.startswith(("verify error:", "notAfter=", "Didn't find"))]
    if not told:
        told = [match[0] for line in lines if (match := re.search(r"error:\w+:[^:]+:[^:]*:[^:]+", line))]
    return told or [line for line in lines if line.startswith(("Verification: ", "Verified peername: "))], ""


TOOLS = (
    Tool("smtpverify", _smtpverify, _of_smtpverify),
    Tool("posttls-finger", _postfix, _of_postfix),
    Tool("openssl", _openssl, _of_openssl),
)


def versions() -> str:
    """The versions of the tools that are not ours."""
    asked = {"Postfix": ["postconf", "-d", "-h", "mail_version"], "OpenSSL": ["openssl", "version"]}
    told = {
        name: subprocess.run([_found(command[0]), *command[1:]], capture_output=True, text=True, check=True)
        for name, command in asked.items()
    }
    return ", ".join(f"{name} {re.findall(r'[0-9][0-9a-z.]+', run.stdout)[0]}" for name, run in told.items())


def _found(name: str) -> str:
    path = shutil.which(name, path=PATH)
    if path is None:
        raise MissingToolError(f"{name} is not installed")
    return path
