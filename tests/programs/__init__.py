"""Programs of others that send mail, and what impostors get of them: by themselves, and with smtpverify."""

from __future__ import annotations

from tests.programs import applications, libraries
from tests.programs.program import ALONE, HOST, LINE, PASSWORD, PROGRAMS, RUN, Errand, Program

__all__ = [
    "ALONE",
    "HOST",
    "LINE",
    "PASSWORD",
    "PROGRAMS",
    "RUN",
    "Errand",
    "Program",
    "applications",
    "libraries",
]
