"""The programs of `docs/programs-table.md`, each in a process of its own, with what makes it verify."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.programs import ALONE, PROGRAMS, Program
from tests.programs.trial import faults, meet, version

if TYPE_CHECKING:
    from tests.bed import World

# What verifies well by itself, and has no line of ours, is to go on so.
CASES = [
    pytest.param(one, way, id=f"{one.name}-{way}")
    for one in PROGRAMS.values()
    for way in one.ways or (ALONE,)
]


@pytest.mark.parametrize(("program", "way"), CASES)
def test_the_good_server_gets_all_and_no_impostor_anything(world: World, program: Program, way: str) -> None:
    if version(program) is None:
        assert not (program.in_ci and "CI" in os.environ), f"{program.name} is missing"
        pytest.skip(f"{program.name} is not installed")
    outcome, told = meet(world, program, way)
    assert faults(outcome) == [], told
