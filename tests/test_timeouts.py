"""`Timeouts`: RFC 5321's seconds, and no others than seconds."""

from __future__ import annotations

import math
from dataclasses import astuple, fields
from typing import Any

import pytest

from smtpverify import Timeouts


def test_the_defaults_are_those_of_the_rfc() -> None:
    """RFC 5321 4.5.3.2.1 to 4.5.3.2.6, where it has any."""
    assert astuple(Timeouts())[1:] == (300, 300, 120, 180, 600)


@pytest.mark.parametrize("bad", [0, -1, math.inf, math.nan, "5", None])
@pytest.mark.parametrize("name", [field.name for field in fields(Timeouts)])
def test_what_is_no_time(name: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: .* is not a positive number of seconds$"):
        Timeouts(**{name: bad})
    assert getattr(Timeouts(**{name: 5}), name) == 5
