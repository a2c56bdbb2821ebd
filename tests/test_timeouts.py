"""`Timeouts`: RFC 5321's seconds, and no others than seconds."""

from __future__ import annotations

import math
import re
from dataclasses import FrozenInstanceError, astuple, fields
from typing import Any

import pytest

from smtpverify import Timeouts


def test_the_defaults_are_those_of_the_rfc() -> None:
    """RFC 5321 4.5.3.2.1 to 4.5.3.2.6, where it has any."""
    assert astuple(Timeouts()) == (60, 300, 300, 120, 180, 600)
    assert all(type(seconds) is float for seconds in astuple(Timeouts()))


@pytest.mark.parametrize("bad", [0, -1, -0.0, math.inf, -math.inf, math.nan, "5", None, 5j, [5]])
@pytest.mark.parametrize("name", [field.name for field in fields(Timeouts)])
def test_what_is_no_time(name: str, bad: Any) -> None:
    with pytest.raises(
        ValueError, match=rf"^{name}: {re.escape(repr(bad))} is not a positive number of seconds$"
    ):
        Timeouts(**{name: bad})
    for good in (5, 0.001, 1e9):
        assert astuple(Timeouts(**{name: good})).count(good) == 1
        assert getattr(Timeouts(**{name: good}), name) == good


def test_a_time_stays() -> None:
    """It was looked at when it was made."""
    timeouts = Timeouts(command=5)
    with pytest.raises(FrozenInstanceError):
        timeouts.command = 0  # type: ignore[misc]
    assert timeouts == Timeouts(command=5) != Timeouts()
    assert not hasattr(timeouts, "__dict__")
