"""Rows, and the shop of coloured squares."""

from report_rows import compared, row  # noqa: F401
from shop import good, poor, shop, train, validation, words  # noqa: F401
