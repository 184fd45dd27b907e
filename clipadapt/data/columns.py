"""Which columns of a source play which part; what is missing is reported all at once, with near misses.

Nothing here reads a cell: names in, names out.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from clipadapt.errors import CatalogueError, listing

DEFAULT_PRODUCT = "product"
_FLAGS: ContextVar[bool] = ContextVar("flags", default=False)


def option(name: str) -> str:
    """How a person names a column's part: `data.image` in a config, `--image` where only flags were given."""
    flags = {"attributes": "attribute"}
    return f"--{flags.get(name, name)}" if _FLAGS.get() else f"data.{name}"


@contextmanager
def keys_are_flags() -> Iterator[None]:
    """Messages within name the command line's flags, for there is no config to correct."""
    before = _FLAGS.set(True)
    try:
        yield
    finally:
        _FLAGS.reset(before)


class Roles(NamedTuple):
    """The columns found for the parts that need not be there."""

    product: str | None
    id: str | None


def choose_columns(
    available: Sequence[str],
    source: str,
    *,
    attributes: Sequence[str],
    product: str | None,
    item_id: str | None,
    left_out: Mapping[str, str] | None = None,
) -> Roles:
    """Checks the names asked for.

    The default product column may be absent, for many sources have none, unless something is called almost so: an
    overlooked product column lets the items of one product into train and validation both.

    Args:
        left_out: columns of the source without a text -> why.

    Raises:
        CatalogueError: columns that are not there, each with the nearest name that is.
    """
    reasons = left_out or {}
    known = frozenset(available)
    faults = [
        f"attribute {name!r}: " + (f"the column was left out: {reasons[name]}" if name in reasons else
                                   f"no such column{near(name, available)}")
        for name in attributes if name not in known
    ]  # fmt: skip
    twice = sorted({name for name in attributes if list(attributes).count(name) > 1})
    faults += [f"attribute {name!r}: named twice" for name in twice]
    if item_id is not None and item_id not in available:
        faults.append(f"id {item_id!r}: no such column{near(item_id, available)}")
    if product is not None and product not in available:
        similar = nearest(product, available)
        if product != DEFAULT_PRODUCT or similar:
            faults.append(
                f"product {product!r}: no such column{near(product, available)}; "
                + ("leave it out" if _FLAGS.get() else "null")
                + " if every item is a product of its own"
            )
        product = None
    if faults:
        raise CatalogueError(
            f"{source}: {len(faults)} column(s) cannot be used as asked:{listing(faults)}"
            f"\ncolumns there are: {', '.join(available) or 'none'}; name yours with "
            f"{option('attributes')}, {option('product')}, {option('id')}"
        )
    if item_id is None and "id" in available:
        item_id = "id"
    return Roles(product, item_id)


def nearest(name: str, available: Sequence[str]) -> str | None:
    """The most similar name, spaces, underscores, hyphens and case aside; None when nothing is similar."""
    plain = {_plain(other): other for other in available}
    close = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.7)
    if close:
        return plain[close[0]]
    start = _plain(name)
    return next((other for key, other in plain.items() if key.startswith(start)), None)


def near(name: str, available: Sequence[str]) -> str:
    """The words "; did you mean ...?", or nothing."""
    similar = nearest(name, available)
    return f"; did you mean {similar!r}?" if similar else ""


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
