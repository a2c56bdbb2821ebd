"""Fuzzing: one module a target, each with `check(octets)`, which holds whatever octets are.

A target raises AssertionError where a promise is broken, and lets pass what is no error of ours.
`python -m fuzz.run` drives them; the tests replay `corpus/`.
"""

from __future__ import annotations

TARGETS = ("replies", "url", "pins", "der", "names", "transaction")
