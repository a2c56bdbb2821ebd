"""How the documentation is built: `nox -s docs`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import smtpverify

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "smtpverify"
author = "The smtpverify developers"
copyright = "the smtpverify developers"
version = release = smtpverify.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"smtpverify {version}"

# Docstrings are written for reading as they stand, with single backticks for code.
default_role = "code"
python_maximum_signature_line_length = 88
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_param = False
# One line may speak of several attributes or exceptions.
napoleon_custom_sections = [("Attributes", "params_style"), ("Raises", "params_style")]

# The standard library's types have no page here.
nitpick_ignore_regex = [("py:class", r"(_?ssl|socket|datetime|os|email)\..*")]

_WHERE = "host: str | None = None, port: int | None = None, diagnosis: Diagnosis | None = None"

# What a signature shows -> what tells a reader more: names that only the source knows, and defaults
# without a text of their own.
READABLE = {
    r"\bAuthObject\b": "Callable[..., str | bytes | None]",
    r"\bDialect\b": "str",
    r"\bMail\b": "email.message.Message | tuple[str, Iterable[str] | str, str | bytes]",
    r"(?<![.])\bMessage\b(\[Any, Any\])?": "email.message.Message",
    r"\bMessageData\b": "str | bytes",
    r"\b(Password|Token)\b": "str | bytes | Callable[[], str | bytes]",
    r" \| ~?(smtpverify\.smtp\.secrecy\.)?Secret\b": "",
    r"\bRecipients\b": "Iterable[str] | str",
    r"\bSourceAddress\b": "tuple[str, int]",
    r"\bStrPath\b": "str | os.PathLike",
    r"\b(smtpverify\.tls\.context\.)?Verifying(Socket|Object)\b": r"ssl.SSL\2",
    r"\b_ssl\b": "ssl",
    r"\*\*where: ~?(typing_extensions\.)?Unpack\[_Where\]": _WHERE,
    r"\*\*reply: ~?(typing_extensions\.)?Unpack\[_Reply\]": (
        f"smtp_code: int = -1, smtp_error: bytes | None = None, {_WHERE}"
    ),
    r"<object object>": "...",
    r"<factory>": "Trust()",
}


def readable(_app: Sphinx, *described: object) -> tuple[str | None, ...]:
    """Rewrite a signature and what it returns, the last two of what autodoc tells."""
    shown: list[str | None] = []
    for part in described[-2:]:
        text = None if part is None else str(part)
        for pattern, replacement in READABLE.items():
            text = text and re.sub(pattern, replacement, text)
        shown.append(text)
    return tuple(shown)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", readable)
