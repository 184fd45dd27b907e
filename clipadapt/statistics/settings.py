"""How certainty is measured: the `statistics` section of a suite file, and what else measures takes its defaults."""

from typing import Annotated

from pydantic import Field

from clipadapt.sections import Positive, Section


class Statistics(Section):
    """How certainty is measured."""

    draws: Annotated[int, Field(ge=100)] = 2_000
    """Bayesian bootstrap draws over products."""
    permutations: Annotated[int, Field(ge=100)] = 2_000
    coverage: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    seed: int = 0
    memory_mb: Positive = 1024
    """Of draws and of swaps that are kept between figures; past it they are made again when needed, which takes longer
    and changes no figure."""
