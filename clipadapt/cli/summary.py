"""What a training ends with on the terminal: the gain in plain words, where things lie, what to type next."""

import shlex
from pathlib import Path

from clipadapt.runs import Run

_METRICS = {
    "balanced_accuracy": "attributes recognised",
    "rare_balanced_accuracy": "rare values recognised",
}


def closing_summary(run: Run) -> str:
    """The lines that a newcomer reads last; figures are those of the report's headline rows."""
    index = run.path / "index"
    lines = ["", *_gains(run), "", "Where things are"]
    page = run.report / "report.html"
    if page.is_file():
        lines.append(f"  report    {page}   (open it in a browser)")
    lines.append(f"  adapter   {run.adapter}")
    if index.is_dir():
        lines.append(f"  index     {index}")
    lines += [f"  export    {folder}" for folder in sorted(run.export.glob("*")) if folder.is_dir()]
    lines += ["", "What to type next"]
    config = run.path / "config.yaml"
    if not index.is_dir():
        build = ("index", "build", "--model", f"run:{run.path}", "--config", config, "--split", "validation")
        lines.append(f"  {shell_command(*build, '--out', index)}")
    if index.is_dir():
        lines.append(f"  {shell_command('serve', run.path)}   (then open http://127.0.0.1:8000)")
    lines.append(f"  {shell_command('index', 'search', index, '--text', 'a striped shirt', '-k', '5')}")
    lines.append(f"  {shell_command('advise', run.path)}")
    lines.append(f"  {shell_command('prompts', 'preview', run.config.prompts, '--config', config)}")
    return "\n".join(lines)


def shell_command(*parts: str | Path) -> str:
    """A `clipadapt` command that can be pasted into a shell."""
    return shlex.join(["clipadapt", *map(str, parts)])


def _gains(run: Run) -> list[str]:
    from clipadapt.evaluation.results import Results
    from clipadapt.statistics.rows import HEADLINE, FileWording, in_quoted_wording, select

    if not (run.report / "results.json").is_file():
        return ["Nothing was measured (eval.suite is null)."]
    lines, rows = [], Results.load(run.report).rows
    in_file = FileWording(rows)
    for row in in_quoted_wording(select(rows, task=HEADLINE)):
        if row.metric in _METRICS and row.delta is not None:
            interval = f"95% interval {_percent(row.delta_low)} to {_percent(row.delta_high)}"
            lines.append(
                f"  {_METRICS[row.metric]:24} base {row.mean - row.delta:6.1%}   adapted {row.mean:6.1%}   "
                f"difference {row.delta:+.1%} ({interval}): {row.verdict()}"
            )
            if (file := in_file(row)) is not None:
                lines.append(f"  {'':24} in the prompts file's own wording: adapted {file.mean:.1%}")
    if not lines:
        return ["Nothing was compared with the base: no attribute has values that could be (see the report)."]
    return ["Base against adapted, on pictures of products that no choice was made on", *lines]


def _percent(fraction: float | None) -> str:
    return "unknown" if fraction is None else f"{fraction:+.1%}"
