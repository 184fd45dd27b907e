"""clipadapt bench prints every number whole, however narrow the terminal."""

import io

from rich.console import Console

from clipadapt.cli.bench import table
from clipadapt.export.latency import Figure


def test_no_number_is_cut_at_80_columns() -> None:
    slow = Figure("image", "onnxruntime int8", 128, 16, 10234.56, 11234.57, 21234.58, 1234.0, met=False)
    fast = Figure("text", "torch unmerged", 8, 2, 0.01, 0.02, 0.03, 12234123.0, met=True)
    out = io.StringIO()
    Console(file=out, width=80).print(table([slow, fast], "model"))
    shown = out.getvalue()
    assert "…" not in shown
    for text in ("10234.56", "11234.57", "21234.58", "1,234", "128", "16", "0.01", "12,234,123", "missed", "tower"):
        assert text in shown
