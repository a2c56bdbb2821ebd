"""The environment variables by which a Python is injected when it starts, read and written.

They reach the programs that a program starts, which no function can. What they say is checked when smtplib
is imported; what is not understood makes that import fail.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import TrustError, printable
from .inject import inject_for_good
from .paths import is_absolute
from .tls.pins import Pin
from .tls.trust import Trust
from .trust_file import read_trust_file

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Settings", "inject", "startup_directory"]

_PREFIX = "SMTPVERIFY_"
_SWITCHES = ("INJECT", "REQUIRE_TLS", "ALLOW_PLAINTEXT_LOGIN")
_PATHS = ("CAFILE", "TRUST_FILE", "KNOWN_HOSTS")
_KNOWN = (*_SWITCHES, *_PATHS, "PIN")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process is injected with.

    Attributes:
        cafile: absolute path of the CA certificates to trust, or None.
        pins: of which every server must bear one, on top of chain and name.
        trust_file: absolute path of a trust file, or None.
        known_hosts: absolute path of known hosts, or None.
        require_tls, allow_plaintext_login: as for `inject_into_smtplib`.
    """

    cafile: str | None = None
    pins: tuple[Pin, ...] = ()
    trust_file: str | None = None
    require_tls: bool = False
    allow_plaintext_login: bool = False
    known_hosts: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read them.

        Raises:
            TrustError, PinFormatError: a variable is unknown, or its value can't be used.
        """
        said = {
            name.removeprefix(_PREFIX): value
            for name, value in environment.items()
            if name.startswith(_PREFIX) and value
        }
        for name in said:
            if name not in _KNOWN:
                known = ", ".join(_PREFIX + each for each in _KNOWN)
                raise TrustError(f"{_PREFIX}{printable(name)}: this variable is unknown; known are {known}")
        for name in _SWITCHES:
            if said.get(name, "0") not in ("0", "1"):
                raise TrustError(f"{_PREFIX}{name}: 1 or 0 is wanted, not '{printable(said[name])}'")
        for name in _PATHS:
            # Each process has a directory of its own.
            if name in said and not is_absolute(said[name]):
                raise TrustError(
                    f"{_PREFIX}{name}: an absolute path is wanted, not '{printable(said[name])}'"
                )
        return cls(
            said.get("CAFILE"),
            tuple(Pin.parse(pin.strip()) for pin in said["PIN"].split(",")) if "PIN" in said else (),
            said.get("TRUST_FILE"),
            said.get("REQUIRE_TLS") == "1",
            said.get("ALLOW_PLAINTEXT_LOGIN") == "1",
            said.get("KNOWN_HOSTS"),
        )

    def to_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The variables that have to be set in an environment, so that Python is injected by these."""
        variables = {
            "INJECT": "1",
            "CAFILE": self.cafile,
            "PIN": ",".join(map(str, self.pins)),
            "TRUST_FILE": self.trust_file,
            "REQUIRE_TLS": "1" if self.require_tls else None,
            "ALLOW_PLAINTEXT_LOGIN": "1" if self.allow_plaintext_login else None,
            "KNOWN_HOSTS": self.known_hosts,
        }
        here = startup_directory()
        path = environment.get("PYTHONPATH", "").split(os.pathsep)
        ours = os.path.normcase(here)  # Windows knows it in capitals too
        path = [here, *(entry for entry in path if entry and os.path.normcase(entry) != ours)]
        return {
            "PYTHONPATH": os.pathsep.join(path),
            # Empty where something else stands there, which is not to hold any more.
            **{
                _PREFIX + name: value or ""
                for name, value in variables.items()
                if value or environment.get(_PREFIX + name)
            },
        }

    def trusts(self) -> tuple[Trust | None, dict[str, Trust]]:
        """The trust, or None for the usual one, and that by host.

        Raises:
            TrustError: a file can't be used.
        """
        trust = Trust(self.cafile, pins=self.pins, known_hosts=self.known_hosts)
        by_host = read_trust_file(self.trust_file) if self.trust_file else {}
        return None if trust == Trust() else trust, by_host


def startup_directory() -> str:
    """The directory that, on PYTHONPATH, has Python run our `sitecustomize`."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "startup")


def inject(environment: Mapping[str, str]) -> None:
    """Inject by an environment, to the end of the process.

    Raises:
        TrustError, PinFormatError: as for `Settings`.
    """
    settings = Settings.from_environment(environment)
    trust, by_host = settings.trusts()
    inject_for_good(trust, by_host, settings.require_tls, settings.allow_plaintext_login)
