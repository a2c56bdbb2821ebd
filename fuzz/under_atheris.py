"""One target under atheris: `python -m fuzz.under_atheris TARGET` and libFuzzer's arguments."""

from __future__ import annotations

import importlib
import sys

import atheris


def main() -> None:
    """Never returns."""
    target = sys.argv.pop(1)
    with atheris.instrument_imports(include=["smtpverify"]):
        module = importlib.import_module(f"{__package__}.{target}")
    atheris.Setup(sys.argv, module.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
