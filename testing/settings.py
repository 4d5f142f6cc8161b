"""What the command line (or the environment) says of simulations: which seeds."""

from __future__ import annotations

import os
from dataclasses import dataclass

SEED_VARIABLE, SEEDS_VARIABLE = "PERDURE_SEED", "PERDURE_SEEDS"


@dataclass(slots=True)
class Settings:
    """`seed`: repeat that one alone. `seeds`: how many, instead of what a test says."""

    seed: int | None = None
    seeds: int | None = None


def _number(variable: str) -> int | None:
    text = os.environ.get(variable, "")
    return int(text) if text.isdigit() else None


SETTINGS = Settings(_number(SEED_VARIABLE), _number(SEEDS_VARIABLE))
"""Of this process; the pytest plugin sets it from its options."""
