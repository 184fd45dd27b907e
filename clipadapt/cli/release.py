"""clipadapt release create|promote|rollback|list|purge|swap: what serves, as one thing that can be undone in a second.

    clipadapt release create releases runs/fashion --note "new sleeves"
    clipadapt release promote releases 000004
    clipadapt release rollback releases
    clipadapt eval --model release:releases ...

Names and lists go to stdout, what to do next to stderr. A release that does not pass its gate ends with 3. While two
releases are being swapped (swap.py), promote and rollback move between them without losing a change of the catalogue.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipadapt.cli.swap import compatible, swap

if TYPE_CHECKING:
    from clipadapt.deploy.releases import Releases
    from clipadapt.deploy.retention_policy import Release
    from clipadapt.deploy.swap.pair import Pair

app = typer.Typer(help="Bundle, promote, roll back, list, purge and swap releases.", no_args_is_help=True)

Store = Annotated[Path, typer.Argument(metavar="RELEASES", help="Folder of releases.")]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]


@app.command()
def create(
    releases: Store,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run, measured and exported.")],
    gate: Annotated[str, typer.Option("--gate", help="Conditions; exit 3 when one does not hold.")] = (
        "eval/release_gate.yaml"
    ),
    export: Annotated[
        list[Path] | None, typer.Option("--export", help="Another form of the model; default: all in RUN/export.")
    ] = None,
    index: Annotated[
        str | None, typer.Option("--index", help="Folder, or milvus:URI/COLLECTION; default: RUN/index.")
    ] = None,
    keep_index: Annotated[
        bool, typer.Option("--keep-index", help="Keep the current release's index, if new queries fit it.")
    ] = False,
    compatibility_gate: Annotated[str, typer.Option(help="What new queries must show on it.")] = (
        "eval/compatibility_gate.yaml"
    ),
    thresholds: Annotated[Path | None, typer.Option("--thresholds", help="What clipadapt tag fitted.")] = None,
    note: Annotated[str, typer.Option("--note", help="A sentence for the list.")] = "",
    promote_it: Annotated[bool, typer.Option("--promote", help="Put it in use at once.")] = False,
) -> None:
    """Bundle a run's model, adapter, exports, index, prompts and report, if they pass and belong together."""
    from clipadapt.deploy import creation
    from clipadapt.deploy.bundle import gather
    from clipadapt.deploy.releases import Releases
    from clipadapt.errors import UsageError
    from clipadapt.evaluation.gate import Gate
    from clipadapt.runs import Run

    if keep_index and index is not None:
        raise UsageError("--index names an index and --keep-index keeps another; give one of them")
    store = Releases(releases)
    bundle = gather(Run.open(run), Gate.load(gate), exports=export, index=index, thresholds=thresholds)
    keep = compatible(store, bundle, compatibility_gate) if keep_index else None
    made = creation.create(store, bundle, keep=keep, note=note)
    typer.echo(made.version)
    for verdict in made.info.gates if made.info else ():
        for reason in verdict.reasons:
            typer.echo(f"gate {verdict.gate}: {reason}", err=True)
    if promote_it:
        store.promote(made.version)
        typer.echo(f"{made.folder} is current; undo it: clipadapt release rollback {releases}", err=True)
    else:
        typer.echo(f"wrote {made.folder}; put it in use: clipadapt release promote {releases} {made.version}", err=True)


@app.command()
def promote(
    releases: Store,
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="Its number, as `list` shows it.")],
) -> None:
    """Make a release the current one, after reading every file of it."""
    from clipadapt.deploy.releases import Releases

    store = Releases(releases)
    with _swapping(store) as pair:
        wanted = store.numbered(release)
        swapped = pair is not None and pair.live != wanted and wanted in (pair.state.old, pair.state.new)
        made = pair.switch(lambda: store.promote(wanted)) if pair and swapped else store.promote(wanted)
    typer.echo(made.version)
    typer.echo(f"{made.folder} is current; undo it: clipadapt release rollback {releases}", err=True)


@app.command()
def rollback(
    releases: Store,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="In a swap: without waiting for changes that the old index lacks.")
    ] = False,
) -> None:
    """Return to the release that was promoted before."""
    from clipadapt.deploy.releases import Releases
    from clipadapt.errors import CatalogueError, StoreError

    store = Releases(releases)
    if at_once:
        made = store.rollback()
    else:
        with _swapping(store) as pair:
            swapped = pair is not None and store.target() in (pair.state.old, pair.state.new)
            live = pair.live if pair else None
            try:
                made = pair.switch(store.rollback) if pair and swapped else store.rollback()
            except (CatalogueError, StoreError) as error:
                if pair is None or not swapped or pair.live != live:
                    raise
                raise type(error)(f"{error}\nor roll back without these changes: --at-once") from error
    typer.echo(made.version)
    typer.echo(f"{made.folder} is current again", err=True)


@app.command(name="list")
def list_(releases: Store, as_json: Json = False) -> None:
    """Show every release with its lineage, gates and spaces, oldest first."""
    from clipadapt.deploy.releases import Releases

    found = Releases(releases).all()
    if as_json:
        typer.echo(json.dumps([_document(one) for one in found], indent=1, ensure_ascii=False))
        return
    for one in found:
        _print(one)
    if not found:
        typer.echo(f"{releases}: no release; create one with clipadapt release create", err=True)


@app.command()
def purge(
    releases: Store,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[RELEASE]...", help="Those to remove; default: all that may go.")
    ] = None,
) -> None:
    """Remove releases older than 30 days that nobody needs; says why the others stay."""
    from clipadapt.deploy.releases import Releases

    removed, stays = Releases(releases).purge(names or None)
    for name in removed:
        typer.echo(name)
    for name, why in sorted(stays.items()):
        typer.echo(f"{name} stays: {why}", err=True)


app.command()(swap)


@contextlib.contextmanager
def _swapping(store: "Releases") -> "Iterator[Pair | None]":
    """The two releases of a swap, where there is one; torch is imported only then."""
    from clipadapt.deploy.swap.state import Workplace

    if Workplace(store).state() is None:
        yield None
        return
    from clipadapt.deploy.swap.pair import working

    with working(store) as pair:
        yield pair


def _document(one: "Release") -> dict:
    known = {"version": one.version, "path": str(one.folder), "current": one.current, "rollback": one.target}
    return known | (one.info.to_json() if one.info else {"unreadable": True})


def _print(one: "Release") -> None:
    mark = "current" if one.current else "rollback" if one.target else ""
    if one.info is None:
        typer.echo(f"{one.version}  {mark:8}  its manifest.json cannot be read")
        return
    info = one.info
    gates = ", ".join(f"{verdict.gate} {'passed' if verdict.passed else 'not passed'}" for verdict in info.gates)
    parent = f", made from {info.parent}" if info.parent else ""
    typer.echo(f"{one.version}  {mark:8}  {info.created:%Y-%m-%d %H:%M}  {info.name}  {info.note}".rstrip())
    typer.echo(f"{'':8}base {info.base}{parent}, after {info.follows or 'nothing'}; gates: {gates}")
    typer.echo(f"{'':8}{info.image_space}, {info.text_space or 'no text tower'}; {', '.join(info.parts)}")
