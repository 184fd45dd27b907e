"""clipadapt events: a service's log as one file, also while it is being written.

    clipadapt events export logs events.parquet
    clipadapt events export logs answers.jsonl --answers
    clipadapt events pack logs                            # closed parts -> Parquet, a tenth of the size

Lines that are no record are left out and counted on stderr.
"""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Read and pack the log of a service.", no_args_is_help=True)

Log = Annotated[Path, typer.Argument(metavar="LOG", help="Folder that clipadapt serve --log wrote.")]


@app.command()
def export(
    log: Log,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A .parquet or .jsonl file.")],
    answers: Annotated[bool, typer.Option("--answers", help="What was answered, instead of what was clicked.")] = False,
) -> None:
    """Write all events, or all answers, into one file."""
    from clipadapt.deploy.event_log.read import read, write
    from clipadapt.errors import UsageError

    if out.suffix not in (".parquet", ".jsonl"):
        raise UsageError(f"{out}: name a .parquet or a .jsonl file")
    found = read(log, "answers" if answers else "events")
    write(found.table, out)
    for note in found.notes():
        typer.echo(note, err=True)
    typer.echo(f"wrote {found.table.num_rows:,} records to {out}", err=True)


@app.command()
def pack(log: Log) -> None:
    """Turn the parts that nobody writes to any more into Parquet."""
    from clipadapt.deploy.event_log.read import pack as pack_parts
    from clipadapt.errors import UsageError

    if not log.is_dir():
        raise UsageError(f"{log}: no such folder; name the one that was given to clipadapt serve --log")
    for made in pack_parts(log):
        typer.echo(made.name)
