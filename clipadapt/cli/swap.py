"""clipadapt release swap: another model goes live, index and all, while the catalogue changes and people search.

    clipadapt release swap releases runs/next --rate 1.20 --dry-run     what it costs, and how much results will move
    clipadapt release swap releases runs/next                           embeds, goes live, and keeps both the same
    clipadapt release rollback releases                                 the way back; no change of the catalogue is lost
    clipadapt release swap releases --finish                            the old index gets no more changes

Killed or stopped at any moment, the same command goes on where it was; the live release serves on meanwhile. Changes of
the catalogue go to `releases` as the INDEX (clipadapt index add releases ...), which is always the live one.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipadapt.cli import options

if TYPE_CHECKING:
    from clipadapt.config import Data
    from clipadapt.deploy.bundle import Bundle
    from clipadapt.deploy.creation import Compatible
    from clipadapt.deploy.releases import Releases
    from clipadapt.deploy.swap.pair import Pair
    from clipadapt.deploy.swap.plan import Plan
    from clipadapt.deploy.swap.state import Workplace


@options.with_catalogue
def swap(
    releases: Annotated[Path, typer.Argument(metavar="RELEASES", help="Folder of releases.")],
    catalogue: options.Catalogue,
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="Run of the new model; default: of the swap going on.")
    ] = None,
    gate: Annotated[str, typer.Option("--gate", help="Conditions; exit 3 when one does not hold.")] = (
        "eval/release_gate.yaml"
    ),
    compatibility_gate: Annotated[
        str, typer.Option(help="What new queries must show on an index whose vectors stay valid.")
    ] = "eval/compatibility_gate.yaml",
    export: Annotated[
        list[Path] | None, typer.Option("--export", help="Another form of the model; default: all in RUN/export.")
    ] = None,
    thresholds: Annotated[Path | None, typer.Option("--thresholds", help="What clipadapt tag fitted.")] = None,
    note: Annotated[str, typer.Option("--note", help="A sentence for the list.")] = "",
    rate: Annotated[float | None, typer.Option("--rate", min=0, help="What an hour of this machine costs.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it takes, and change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The plan as JSON.")] = False,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Items that speed and score are measured on.")] = 256,
    hold: Annotated[bool, typer.Option("--hold", help="Make all ready; `release promote` then goes live.")] = False,
    until_days: Annotated[
        float, typer.Option("--until-days", min=0, help="How long both indexes get changes once the new one is live.")
    ] = 7.0,
    stay: Annotated[
        bool, typer.Option(help="Keep both the same until then; else a rollback brings the old one up to date first.")
    ] = True,
    every: Annotated[float, typer.Option("--every", min=0, help="Seconds between looks at the live index.")] = 1.0,
    most_missing: Annotated[
        int | None,
        typer.Option("--most-missing", min=0, help="Items that may be left out, for they have no picture; default: 0."),
    ] = None,
    finish: Annotated[bool, typer.Option("--finish", help="The new one stays: end the swap.")] = False,
    give_up: Annotated[bool, typer.Option("--give-up", help="The old one stays: end the swap.")] = False,
    device: options.Device = "auto",
) -> None:
    """Replace the live release and its index by a new model's, without downtime."""
    from clipadapt.deploy.releases import Releases
    from clipadapt.deploy.swap.conduct import Swap
    from clipadapt.deploy.swap.pair import Pair
    from clipadapt.deploy.swap.state import Workplace
    from clipadapt.errors import UsageError
    from clipadapt.evaluation.gate import Gate
    from clipadapt.runs import Run

    store = Releases(releases)
    work = Workplace(store)
    if finish or give_up:
        _end(store, work, finish=finish)
        return
    state = work.state()
    if run is None and state is None:
        raise UsageError(f"{releases}: no swap is going on; name the RUN that is to replace the live release")
    path = run if run is not None or state is None else work.path_of(state)
    assert path is not None, "one of the two says it"
    found = Run.open(path)

    def begun() -> Swap:
        return Swap(
            store, found, Gate.load(gate), _data(work, path, catalogue),
            compatible=lambda bundle: compatible(store, bundle, compatibility_gate), exports=export,
            thresholds=thresholds, most_missing=most_missing, note=note, device=options.device_of(device),
        )  # fmt: skip

    if dry_run:
        _say(begun().plan(rate=rate, sample=sample), as_json, err=False)
        return
    with work.lock():
        swap = begun()
        pair = Pair.of(store, device=options.device_of(device))
        if pair is None or pair.live != pair.state.new:
            plan = swap.plan(rate=rate, sample=sample)
            _say(plan, as_json, err=not as_json)
            pair = swap.prepare(plan)
            if hold:
                typer.echo(f"release {pair.state.new} is ready; go live: clipadapt release promote {releases} "
                           f"{pair.state.new}", err=True)  # fmt: skip
            else:
                made = swap.go_live(pair, until_days)
                typer.echo(made.version)
                typer.echo(f"{made.folder} is live; undo it: clipadapt release rollback {releases}", err=True)
        else:
            typer.echo(f"release {pair.state.new} is live already", err=True)
            swap.remember()
            pair.mend()  # what was killed when it had just gone live
            pair = Pair.of(store, device=options.device_of(device)) or pair
    if stay:
        _stay(store, work, pair, until_days, every)


def compatible(store: "Releases", bundle: "Bundle", gate: str) -> "Compatible":
    """New queries against the current release's, on the run's validation split."""
    from clipadapt.deploy.bundle import INDEX, MODEL
    from clipadapt.deploy.compatibility import compatibility
    from clipadapt.deploy.creation import Compatible
    from clipadapt.errors import UsageError
    from clipadapt.evaluation.gate import Gate
    from clipadapt.inputs import resolve
    from clipadapt.search.index import Index
    from clipadapt.towers.load import load

    conditions = Gate.load(gate)
    if not store.store.exists():
        raise UsageError(
            f"{store.root}: nothing was promoted yet, so there is no index to keep; leave out --keep-index"
        )
    current = store.store.current()
    index = Index.open(current / INDEX, verify=False)
    inputs = resolve(model=f"run:{bundle.run.path}")
    split = inputs.default_split
    results = compatibility(
        load(str(bundle.model)),
        load(str(current / MODEL)),
        index.meta.image_space,
        inputs.catalogue(split),
        inputs.prompts,
        split=split,
        headline=inputs.headline,
        train_counts=inputs.training_counts(),
        fitted_on=inputs.fitted_on,
    )
    return Compatible(results, conditions)


def _data(work: "Workplace", run: Path, catalogue: options.Catalogue) -> "Data":
    """The catalogue that flags name, else that of the swap going on, else the run's."""
    from clipadapt.inputs import resolve

    state = work.state()
    if state is not None and all(value is None for value in catalogue.values()):
        return work.data_of(state)
    return resolve(model=f"run:{run}", **catalogue).data


def _say(plan: "Plan", as_json: bool, *, err: bool) -> None:
    if as_json:
        score = plan.score._asdict() if plan.score is not None else None
        typer.echo(json.dumps(plan._asdict() | {"score": score}, indent=1, ensure_ascii=False))
        return
    for line in plan.lines():
        typer.echo(line, err=err)


def _stay(store: "Releases", work: "Workplace", pair: "Pair", days: float, every: float) -> None:
    from datetime import datetime, timedelta

    from clipadapt.deploy.swap.pair import PATIENCE

    if pair.shared:
        if pair.live == pair.state.new:
            with work.lock(PATIENCE):
                work.remove()
        says = "the swap is over" if pair.live == pair.state.new else f"once {pair.state.new} is live, --finish ends it"
        typer.echo(f"both releases name one index, so nothing has to be kept the same; {says}", err=True)
        return
    until = datetime.fromisoformat(pair.state.until) if pair.state.until else store.clock() + timedelta(days=days)
    typer.echo(f"both get what changes until {until:%Y-%m-%d %H:%M}; stop this, and go on, as you like", err=True)
    if not pair.stay(until, every, lambda line: typer.echo(line, err=True)):
        typer.echo("the swap was ended, or another release is live", err=True)
    elif pair.live == pair.state.new:
        with work.lock(PATIENCE):
            work.remove()
        typer.echo(f"the swap is over: release {pair.state.old} gets no more changes", err=True)


def _end(store: "Releases", work: "Workplace", *, finish: bool) -> None:
    from clipadapt.deploy.swap.pair import PATIENCE
    from clipadapt.errors import UsageError
    from clipadapt.search.handover import mend, same_index

    if work.state() is None:
        raise UsageError(f"{store.root}: no swap is going on")
    with work.lock(PATIENCE):
        state = work.state()
        if state is None:
            return
        pointer = store.store.pointer()
        live = pointer.version if pointer is not None else None
        if finish and live == state.old:
            raise UsageError(f"{store.root}: {live} is live, which was to be replaced; go on, or --give-up")
        if not finish and state.new is not None and live == state.new:
            raise UsageError(f"{store.root}: {live} is live already; roll back first, or --finish")
        if state.new is None and (reference := work.reference(state)) is not None:
            store.drop_index(reference)
        if state.new is not None and not same_index(store.root, state.old, state.new):
            mend(store.root, state.old, state.new)
        work.remove()
        other = state.new if live == state.old else state.old
    typer.echo(f"the swap is over: {live} is live" + (f", {other} gets no more changes" if other else ""), err=True)
