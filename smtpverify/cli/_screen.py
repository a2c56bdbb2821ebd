"""What goes to standard output: in colour, in symbols and as wide as the reader can take it."""

from __future__ import annotations

import enum
import io
import os
import shutil
import sys
import textwrap
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["Screen", "Style", "counted", "print_for_shell"]

_WIDEST = 120  # longer lines are hard to read
_NARROWEST = 60
_RESET = "\x1b[0m"
_IN_ASCII = {"✓": "+", "✗": "x", "─": "-", "│": "|", "…": "...", "→": ">", "←": "<"}


class Style(enum.Enum):
    """How a text looks; the value is its SGR sequence (ECMA-48 8.3.117)."""

    PLAIN = ""
    TITLE = "\x1b[1m"
    FAINT = "\x1b[2m"
    GOOD = "\x1b[32m"
    BAD = "\x1b[1;31m"


class Screen:
    """Writes lines to a stream.

    Args:
        stream: standard output if None.

    Attributes:
        width: in columns; 80 where the stream is no terminal, and `COLUMNS` does not say otherwise.
        colour: whether styles show: on a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
        draws: whether a text can be drawn in the place of another.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._lock, self._muted = threading.Lock(), False
        self.draws = _takes_escape_sequences(self._stream)
        self.colour = self.draws and not os.environ.get("NO_COLOR")  # https://no-color.org: and not empty
        self.width = max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size().columns))
        self._substitutes = str.maketrans({} if self._can_encode("".join(_IN_ASCII)) else _IN_ASCII)

    def shown(self, text: str) -> str:
        """The text in characters that the stream can take."""
        text = text.translate(self._substitutes)
        return text if self._can_encode(text) else text.encode("ascii", "backslashreplace").decode()

    def paint(self, text: str, style: Style) -> str:
        """The text with its style, where styles show."""
        return f"{style.value}{text}{_RESET}" if self.colour and style.value else text

    def line(self, text: str = "", style: Style = Style.PLAIN) -> None:
        """Write a line, and see that it is read at once; from several threads, one line at a time."""
        self._write(f"{self.paint(self.shown(text), style)}\n")

    def draw(self, text: str) -> None:
        """Write a text in the place of the one that was drawn before; where `draws` alone."""
        self._write(f"\r\x1b[K{self.shown(text)}")

    def mute(self) -> None:
        """Write no more, whatever other threads still want to."""
        with self._lock:
            self._muted = True

    def _write(self, text: str) -> None:
        with self._lock:
            if not self._muted:
                print(text, end="", file=self._stream, flush=True)

    def paragraph(self, text: str, style: Style = Style.PLAIN) -> None:
        """Write a text in lines that fit, all but the first indented: below its first word, behind any mark.

        Words stay whole, since they may be pins or URLs for somebody to copy.
        """
        before = len(text) - len(text.lstrip(" ✓✗"))
        for text_of_line in textwrap.wrap(
            self.shown(text),
            self.width,
            subsequent_indent=" " * max(2, before),
            break_long_words=False,
            break_on_hyphens=False,
        ):
            self.line(text_of_line, style)

    def verdict(self, text: str, style: Style) -> None:
        """Write a line that must not be missed: as a paragraph for who sits there, whole for grep."""
        if self._stream.isatty():
            self.paragraph(text, style)
        else:
            self.line(text, style)

    def item(self, head: str, text: str) -> None:
        """Write a text of somebody else's behind its head, where no line of it can pass for one of ours."""
        room = self.width - len(head)
        shown = self.shown(text)
        # A character takes two columns at most, and the terminal breaks what is longer at its own will.
        lines = textwrap.wrap(shown, room if shown.isascii() else room // 2, break_on_hyphens=False)
        for number, text_of_line in enumerate(lines):
            self.line((" " * len(head) if number else head) + text_of_line)

    def block(self, title: str, text: str) -> None:
        """Write a text of several lines, which is quoted as it is, under its title."""
        self.line(f"  {title}", Style.FAINT)
        for text_of_line in text.splitlines():
            self.line(f"  │ {text_of_line}".rstrip())

    def _can_encode(self, text: str) -> bool:
        try:
            text.encode(self._encoding)
        except UnicodeEncodeError:
            return False
        return True


def counted(number: int, noun: str) -> str:
    """So many of them: "1 day", "2 days"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def print_for_shell(text: str) -> None:
    """Print what a shell is to read: with LF alone, since a CR would be part of a value to Git's bash."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(newline="\n")
    print(text)


def _takes_escape_sequences(stream: TextIO) -> bool:
    if os.environ.get("TERM") == "dumb" or not stream.isatty():
        return False
    # The console of Windows prints escape sequences as they are; Windows Terminal says who it is.
    return sys.platform != "win32" or "WT_SESSION" in os.environ
