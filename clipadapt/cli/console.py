"""Where tables go: stdout, as wide as the terminal, or wide enough for a row to stay on its line where there is none.

A pipe or a log file has no width of its own; a terminal's default of 80 would squeeze every table that is kept.
Nothing here knows what is printed.
"""

import sys

from rich.console import Console

OFF_TERMINAL = 160
"""Characters of a line in a pipe or a file."""


def stdout_console() -> Console:
    """For results; messages go to stderr by other ways."""
    return Console(width=None if sys.stdout.isatty() else OFF_TERMINAL, emoji=False)
