"""The shop of coloured squares."""

from shop import good, poor, shop, train, validation, words  # noqa: F401
