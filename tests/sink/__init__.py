"""A fast mail server in C, for benchmarks, so that it is not the server that is measured."""

from __future__ import annotations

import re
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).with_name("sink.c")
COUNTS = re.compile(r"turns (\d+) messages (\d+) recipients (\d+) octets (\d+)\n")


class Counts(NamedTuple):
    """What the sink saw on one connection; turns are the waits of a client for its replies."""

    turns: int
    messages: int
    recipients: int
    octets: int


@dataclass
class Sink:
    """A running sink."""

    port: int
    process: subprocess.Popen[str] = field(repr=False)

    def counts(self) -> Counts:
        """Wait for the end of the connection that ends next, and tell what came over it."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = COUNTS.fullmatch(line)
        if match is None:
            raise RuntimeError(f"the sink said {line!r}")
        return Counts(*map(int, match.groups()))


def build(directory: Path) -> Path:
    """Compile the sink.

    Raises:
        SystemExit: there is no compiler, or there are no headers of OpenSSL.
    """
    program = directory / "sink"
    command = ["cc", "-O2", "-D_GNU_SOURCE", "-o", str(program), str(SOURCE), "-lssl", "-lcrypto"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise SystemExit("The benchmarks need a C compiler (Debian: gcc).") from None
    except subprocess.CalledProcessError as error:
        told = f"{error.stderr}\nThe benchmarks need OpenSSL's headers (Debian: libssl-dev)."
        raise SystemExit(told) from None
    return program


@contextmanager
def running(program: Path, key_and_chain: bytes, *extensions: str) -> Iterator[Sink]:
    """Run the sink, with these extensions offered besides STARTTLS and AUTH PLAIN."""
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(key_and_chain)
        file.flush()
        command = [str(program), file.name, *extensions]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield Sink(int(process.stdout.readline()), process)
            finally:
                process.terminate()
