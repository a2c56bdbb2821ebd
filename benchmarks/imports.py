"""What `import smtpverify` costs beside `import smtplib`, on top of bare Python.

Seconds of fresh interpreters, the three kinds in turn; the least of each counts, since noise only adds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

KINDS = {"bare": "pass", "smtplib": "import smtplib", "smtpverify": "import smtpverify"}


def _wall_seconds(code: str) -> float:
    # os.times() counts in hundredths of a second, which is too coarse for this.
    # Compiled once, as an installed package is.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return time.perf_counter() - start


def run(rounds: int = 60) -> float:
    """Measure, print, and return the ratio."""
    least = dict.fromkeys(KINDS, float("inf"))
    for _ in range(rounds + 1):  # the first fills the caches
        for kind, code in KINDS.items():
            least[kind] = min(least[kind], _wall_seconds(code))
    smtplib, smtpverify = (least[kind] - least["bare"] for kind in ("smtplib", "smtpverify"))
    ratio = smtpverify / smtplib
    print(f"import, on top of bare Python ({least['bare'] * 1000:.1f} ms):")
    print(f"  smtplib     {smtplib * 1000:6.1f} ms")
    print(f"  smtpverify  {smtpverify * 1000:6.1f} ms   ratio {ratio:.2f} (to reach: at most 1.5)")
    return ratio
