"""What jaxtyping's import hook puts on every function of clipadapt while tests run: beartype, shapes included.

The hook hands functions over one by one, and beartype refuses `Self` on one that it meets without its class: those few
go unchecked. An int is taken where a float is declared, as type checkers do.
"""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep673Exception

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with its arguments and result checked, or as it is where beartype cannot."""
    try:
        return _check(function)
    except BeartypeDecorHintPep673Exception:
        return function
