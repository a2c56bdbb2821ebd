"""A mutator led by the lines that inputs reach, for machines without atheris."""

from __future__ import annotations

import random
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType, TracebackType

# What protocols, URLs and certificates are made of.
TOKENS = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"-", b".", b":", b"@", b"/", b"?", b"=", b"%0a", b"%", b"[", b"]"),
    *(b"250", b"250-", b"421 ", b"354 ", b"\x30\x80", b"\x30\x82", b"\x82", b"\xff", b"\x7f", b"xn--", b"*."),
    *(b"tls://", b"smtp+tls://", b"lmtp:///", b"pin=", b"pin-only=", b"sha256:", b"sha1:", b"\xc3\xa9"),
)


class Coverage:
    """Counts the lines of a package that are reached while it is entered."""

    def __init__(self, package: str) -> None:
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        self._folder = str(Path(spec.origin).parent)
        self._seen: set[tuple[CodeType, int]] = set()
        self._before = 0

    @property
    def lines(self) -> int:
        """So many different ones were reached."""
        return len(self._seen)

    def grew(self) -> bool:
        """Whether new lines were reached since the last question."""
        before, self._before = self._before, len(self._seen)
        return self._before > before

    # Whoever else is watching, such as the coverage of the tests, goes on afterwards.

    def __enter__(self) -> Coverage:
        if sys.version_info >= (3, 12):
            monitoring: Any = sys.monitoring
            self._tool = next(tool for tool in (4, 3) if monitoring.get_tool(tool) is None)
            monitoring.use_tool_id(self._tool, "fuzz")
            monitoring.register_callback(self._tool, monitoring.events.LINE, self._on_line)
            monitoring.set_events(self._tool, monitoring.events.LINE)
            monitoring.restart_events()  # lines that were reached for another target
        else:
            self._traced = sys.gettrace()
            sys.settrace(self._trace)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if sys.version_info >= (3, 12):
            monitoring: Any = sys.monitoring
            monitoring.set_events(self._tool, 0)
            monitoring.free_tool_id(self._tool)
        else:
            sys.settrace(self._traced)

    def _on_line(self, code: CodeType, line: int) -> Any:
        if code.co_filename.startswith(self._folder):
            self._seen.add((code, line))
        return sys.monitoring.DISABLE  # type: ignore[attr-defined,unused-ignore]

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(self._folder):
            return None
        if event == "line":
            self._seen.add((frame.f_code, frame.f_lineno))
        return self._trace


class Mutator:
    """Makes inputs of inputs; the same ones for the same seed.

    Args:
        seeds: given first, as they are.
        seed: of the choices.
        longest: octets of an input.
    """

    def __init__(self, seeds: list[bytes], seed: int, longest: int) -> None:
        self._random = random.Random(seed)  # noqa: S311
        self._seeds, self._pool = seeds, list(seeds) or [b""]
        self._longest = longest

    @property
    def kept(self) -> int:
        """How many inputs have reached something new."""
        return len(self._pool) - len(self._seeds)

    def keep(self, octets: bytes) -> None:
        """Make others of this one, too."""
        self._pool.append(octets)

    def inputs(self, count: int) -> Iterator[bytes]:
        """So many inputs."""
        yield from self._seeds[:count]
        for _ in range(count - len(self._seeds)):
            octets = self._random.choice(self._pool)
            for _ in range(self._random.randint(1, 4)):
                octets = self._changed(octets)
            yield octets[: self._longest]

    def _changed(self, octets: bytes) -> bytes:
        choose = self._random
        at = choose.randint(0, len(octets))
        to = min(len(octets), at + choose.randint(0, 8))
        other = choose.choice(self._pool)
        start = choose.randint(0, len(other))
        new = choose.choice(
            (
                b"",
                bytes((choose.randrange(256),)),
                choose.randbytes(choose.randint(1, 4)),
                choose.choice(TOKENS),
                octets[at:to] * 2,
                other[start : start + choose.randint(0, 16)],
                other[start:],
            )
        )
        if new and len(new) == 1 and at < len(octets) and choose.random() < 0.3:
            new = bytes((octets[at] ^ 1 << choose.randrange(8),))  # a bit
            to = at + 1
        return octets[:at] + new + octets[to if choose.random() < 0.7 else at :]
