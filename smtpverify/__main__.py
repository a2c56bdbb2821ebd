"""`python -m smtpverify` is the command `smtpverify`."""

from __future__ import annotations

import sys

from .cli import main

sys.exit(main())
