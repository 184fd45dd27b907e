"""The shop of coloured squares."""

from shop import good, shop, train, validation  # noqa: F401
