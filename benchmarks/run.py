"""Run every benchmark; the figures are for reading, and nothing fails by them."""

from __future__ import annotations

from benchmarks import imports, sending

if __name__ == "__main__":
    imports.run()
    sending.run()
