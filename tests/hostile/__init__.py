"""A bed of hostile servers, and what comes of it when clients meet them.

How to read it:

- `cases/` has the servers: each a small function, whose decorator says what a client must do and who
  describes the attack, and whose docstring says what the server does;
- `conversation` is the good server that they all depart from;
- `judgement` says what no client may ever do;
- `clients` is the code that meets them; `zygote` runs it in a process of its own, and measures that;
- `laboratory` brings the two together.

`test_cases` holds smtpverify to all of it. ``python -m tests.hostile.run`` has other clients beside it, and
writes `docs/hostile.md`.
"""

from __future__ import annotations

from importlib import import_module

from tests.hostile.case import CASES, GROUPS, Case, Must

__all__ = ["CASES", "GROUPS", "Case", "Must"]

# They fill CASES, in this order.
for _kind in (
    "good",
    "starttls",
    "certificates",
    "handshakes",
    "greetings",
    "stalls",
    "endings",
    "replies",
    "authentication",
    "texts",
):
    import_module(f"tests.hostile.cases.{_kind}")
