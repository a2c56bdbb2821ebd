"""Paths as this system writes them: which are absolute, and where a user's own configuration is."""

from __future__ import annotations

import os
import sys

__all__ = ["configuration_directory", "is_absolute"]


def is_absolute(path: str) -> bool:
    r"""Return whether a path names the same file in every process.

    On Windows it needs a drive or a share: `\certs\ca.pem` is relative to the current drive, although
    `os.path.isabs` accepts it before Python 3.13.
    """
    return os.path.isabs(path) and (sys.platform != "win32" or bool(os.path.splitdrive(path)[0]))


def configuration_directory() -> str | None:
    """Return the directory of the user's configuration, or None where the user has no home directory.

    `$XDG_CONFIG_HOME` on every system (XDG Base Directory Specification); else `%APPDATA%` on Windows, and
    `~/.config` on all others.
    """
    # "must be absolute ... should be ignored": in each current directory it would be another place.
    candidates = [os.environ.get("XDG_CONFIG_HOME", "")]
    if sys.platform == "win32":
        candidates.append(os.environ.get("APPDATA", ""))
    candidates.append(os.path.join(os.path.expanduser("~"), ".config"))
    return next(filter(is_absolute, candidates), None)
