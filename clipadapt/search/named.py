"""Queries that name a value: `Pattern: Striped`, or `striped` where one attribute alone has such a value.

A model that learned value vectors finds such a value by its text and that vector together; all other words go by their
text alone. Capitals and doubled spaces do not matter. Nothing here encodes anything.
"""

from clipadapt.towers.value_vectors import ValueVectors


def value_named(text: str, learned: ValueVectors) -> tuple[str, str] | None:
    """The attribute and value that a whole query names, as `learned` writes them; None: it names none, or two."""
    wanted = _plain(text)
    head, colon, tail = wanted.partition(":")
    found = [
        (name, value)
        for name, one in learned.attributes.items()
        for value in one.values
        if _plain(value) == wanted or (colon and _plain(name) == head.strip() and _plain(value) == tail.strip())
    ]
    return found[0] if len(found) == 1 else None


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
