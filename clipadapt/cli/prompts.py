"""clipadapt prompts lint|preview|score|weigh: what a prompts file says, what is wrong with it, and what it achieves.

Findings, captions and tables go to stdout, findings in the form file:line:column that editors jump to; counts and
progress go to stderr.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from clipadapt.cli import options

if TYPE_CHECKING:
    from clipadapt.data.catalogue import Catalogue
    from clipadapt.prompt_scoring.distance import AttributeDistances
    from clipadapt.prompt_scoring.inputs import ScoringInputs
    from clipadapt.prompt_scoring.table import Table
    from clipadapt.prompts import Prompts
    from clipadapt.prompts.fit import Context
    from clipadapt.towers.encoder import Encoder

app = typer.Typer(help="Edit prompt templates and see what they say.", no_args_is_help=True)

File = Annotated[
    str, typer.Argument(metavar="PROMPTS.yaml", help="A prompts file, or a shipped one: prompts/fashion.yaml")
]
Model = Annotated[str | None, typer.Option("--model", help="MODEL whose tokenizer and text tower check texts too.")]


@app.command()
@options.with_catalogue
def lint(
    path: File,
    catalogue: options.Catalogue,
    split: options.Split = None,
    model: Model = None,
    near: Annotated[float, typer.Option(help="Cosine above which two values count as the same to the model.")] = 0.99,
) -> None:
    """Say what is wrong: unknown fields, unused values, words that are cut, values that read alike; 1 on errors."""
    from clipadapt.prompts import Prompts
    from clipadapt.prompts import lint as checks

    prompts = Prompts.load(path)
    against = None
    if any(catalogue.values()):
        items = _items(split, catalogue)
        prompts = prompts.with_separators(items.separators)
        against = checks.Source.of(prompts, items.columns, map(items.row, range(len(items))))
    findings = checks.lint(prompts, against)
    if model is not None:
        findings = sorted({*findings, *_model_findings(prompts, against, _text_encoder(model), near)})
    for finding in findings:
        typer.echo(finding.line(path))
    counts = {level: sum(finding.level == level for finding in findings) for level in ("error", "warning", "note")}
    typer.echo(", ".join(f"{count} {level}(s)" for level, count in counts.items()), err=True)
    if counts["error"]:
        raise typer.Exit(1)


@app.command()
@options.with_catalogue
def preview(
    path: File,
    catalogue: options.Catalogue,
    split: options.Split = None,
    out: Annotated[Path | None, typer.Option("--out", help="HTML page to write, pictures inside.")] = None,
    number: Annotated[int, typer.Option("-n", min=1, help="Items to show.")] = 24,
    seed: Annotated[int, typer.Option(help="Another seed shows other items.")] = 0,
    model: Model = None,
) -> None:
    """Show what captions say of real items, beside their pictures, with token counts."""
    from clipadapt.atomic import atomic_write
    from clipadapt.keyed import generator
    from clipadapt.prompts import Prompts
    from clipadapt.prompts import preview as pages

    items = _items(split, catalogue)
    prompts = Prompts.load(path).with_separators(items.separators)
    prompts.check(items.columns)
    context = _context(_text_encoder(model)) if model is not None else None
    count = context.count if context is not None else None
    chosen = generator(seed, "preview").permutation(len(items))[:number]
    cards = [
        pages.card(prompts, items.ids[row], items.row(row), items.picture(row) if out else None)
        for row in map(int, chosen)
    ]
    for card in cards:
        typer.echo("\n".join(pages.lines(card, count)))
    if bare := sum(not card.captioned for card in cards):
        advice = f"`clipadapt prompts lint {path}` with the same source says why"
        typer.echo(f"{bare} of {len(cards)} items have no caption; {advice}", err=True)
    if out is not None:
        values = {name: list(items.counts(name)) for name in prompts.attributes if name in items.columns}
        atomic_write(out, pages.page(prompts, cards, values, count))
        typer.echo(f"wrote {out}", err=True)


@app.command()
@options.with_catalogue
def score(
    path: File,
    model: options.Model,
    catalogue: options.Catalogue,
    split: options.Split = None,
    against: Annotated[
        str | None, typer.Option(help="Another prompts file, or plain: the plain texts of this one.")
    ] = None,
    attribute: options.Attributes = None,
    values: Annotated[bool, typer.Option("--values", help="Show every value, too.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Score again on every save, and show what moved.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the whole table.")] = None,
    min_items: Annotated[int, typer.Option(min=1, help="Values with fewer items are left out.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the carved split and the random words.")] = 0,
) -> None:
    """Measure recognition with these prompts: against other prompts, against random words, and template by template.

    With a run as the model, also how far each template lies from what the run was trained with.
    """
    from clipadapt.atomic import refuse_unwritable
    from clipadapt.prompt_scoring.distance import distances
    from clipadapt.prompt_scoring.table import plain_of
    from clipadapt.prompts import Prompts
    from clipadapt.sections import locate

    if json_file is not None:
        refuse_unwritable(json_file.parent)
    prompts = Prompts.load(path)
    other = Prompts.load(against) if against not in (None, "plain") else None
    scored = _scoring(prompts, split, model, attribute, min_items, seed, catalogue)
    if other is not None:
        scored.refuse_seen(other)

    def judged(edited: Prompts) -> "Table":
        scored.refuse_seen(edited)
        names = scored.add_attributes(edited)
        words = plain_of(edited) if against == "plain" else other
        found = scored.scorer.table(edited, words, against, attributes=names)
        known = None if scored.trained is None else distances(scored.scorer, edited, scored.trained, names)
        _show(found, known, values, json_file)
        return found

    table = judged(prompts)
    if watch:
        _follow(locate(path), table, judged)


@app.command()
@options.with_catalogue
def weigh(
    path: File,
    model: options.Model,
    catalogue: options.Catalogue,
    split: Annotated[
        str, typer.Option("--split", help="Split that weights are fitted to; tune is split off train by product.")
    ] = "tune",
    out: Annotated[Path | None, typer.Option("--out", help="File to write; default: NAME.weighed.yaml.")] = None,
    labels: Annotated[bool, typer.Option("--labels/--no-labels", help="Fit to labels, or to pictures alone.")] = True,
    attribute: options.Attributes = None,
    min_items: Annotated[int, typer.Option(min=1, help="Values with fewer items are left out.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the carved split and the folds.")] = 0,
) -> None:
    """Fit a weight per template, judge it out of fold, and write a copy of the file with the weights that help."""
    from clipadapt.atomic import atomic_write, refuse_unwritable
    from clipadapt.cli.console import stdout_console
    from clipadapt.errors import PromptError
    from clipadapt.prompt_scoring import show
    from clipadapt.prompt_scoring.weigh import weigh as fit
    from clipadapt.prompts import Prompts
    from clipadapt.prompts.weights import reweighed
    from clipadapt.sections import locate

    prompts = Prompts.load(path)
    file = locate(path)
    target = out or file.with_suffix(".weighed.yaml")
    refuse_unwritable(target.parent)
    scored = _scoring(prompts, split, model, attribute, min_items, seed, catalogue)
    scored.add_attributes(prompts)
    fingerprint, before = scored.catalogue.fingerprint, prompts.library.fitted_on
    if before is not None and before.fingerprint != fingerprint:
        raise PromptError(
            f"{path}:{before.place.line}: its weights were fitted on other pictures already ({before.split!r}); weigh "
            "the file they were fitted for, so that one split stands behind all weights"
        )
    method: Literal["labels", "no_labels"] = "labels" if labels else "no_labels"
    weighings = fit(scored.scorer, prompts, method, scored.encoder.scale, seed=seed)
    stdout_console().print(show.weighed(weighings))
    helpful = {one.attribute: one.after for one in weighings if one.claimed}
    if not helpful:
        typer.echo("no attribute gains by other weights; nothing was written", err=True)
        return
    text = file.read_text(encoding="utf-8-sig")
    written = reweighed(text, helpful, split=split, seed=seed, fingerprint=fingerprint, name=path)
    Prompts.parse(written, str(target))
    atomic_write(target, written)
    typer.echo(f"wrote {target}; score it on another split than {split!r}", err=True)


def _items(split: str | None, catalogue: options.Catalogue) -> "Catalogue":
    """The items that a file is checked on: of the split named, else of train or the first split there is."""
    from clipadapt.inputs import resolve

    inputs = resolve(**catalogue)
    there = inputs.opened.splits()
    train = inputs.data.splits.train
    return inputs.items(split or (train if train in there else there[0]))


def _scoring(
    prompts: "Prompts", split: str | None, model: str, attributes: list[str] | None, min_items: int, seed: int,
    catalogue: options.Catalogue,
) -> "ScoringInputs":  # fmt: skip
    from clipadapt.inputs import resolve
    from clipadapt.prompt_scoring.inputs import ScoringInputs

    columns = attributes or prompts.attributes
    inputs = resolve(model=model, **catalogue).about([*columns]).with_seed(seed)
    return ScoringInputs(prompts, inputs, split, model, attributes, min_items, seed)


def _text_encoder(model: str) -> "Encoder":
    from clipadapt.prompt_scoring.inputs import text_encoder

    return text_encoder(model)


def _show(
    table: "Table", distances: "Sequence[AttributeDistances] | None", values: bool, json_file: Path | None
) -> None:
    import json

    from clipadapt.atomic import atomic_write
    from clipadapt.cli.console import stdout_console
    from clipadapt.prompt_scoring import show

    console = stdout_console()
    for grid in (*show.grids(table, values=values), *show.distance_grids(distances or ())):
        console.print(grid)
    for reason in table.skipped:
        typer.echo(f"not scored: {reason}", err=True)
    if json_file is not None:
        atomic_write(json_file, json.dumps(show.document(table, distances), indent=1, ensure_ascii=False) + "\n")


def _follow(path: Path, table: "Table", judged: "Callable[[Prompts], Table]") -> None:
    """Scores every save until interrupted; a file at fault leaves the last table standing."""
    from clipadapt.errors import PromptError
    from clipadapt.prompt_scoring import show
    from clipadapt.prompt_scoring.watch import saves

    typer.echo(f"watching {path}; stop with Ctrl-C", err=True)
    try:
        for saved in saves(path):
            try:
                if isinstance(saved, PromptError):
                    raise saved
                last, table = table, judged(saved)
                typer.echo("\n".join(show.moved(last, table)))
            except PromptError as error:
                typer.echo(f"{error}\nthe table above still stands", err=True)
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)


def _context(encoder: Any) -> "Context":
    """What the model's tokenizer keeps of a text."""
    from clipadapt.prompts.fit import Context

    ids: Callable[[str], list[int]] = lambda text: encoder.tokenize([text])[0].tolist()  # noqa: E731
    return Context(ids, encoder.context_length)


def _model_findings(prompts: "Prompts", source: Any, encoder: "Encoder", near: float) -> list[Any]:
    from functools import partial

    from clipadapt.prompts import fit
    from clipadapt.recognition.values import value_vectors
    from clipadapt.towers.encode import encode_texts_batched

    encode = partial(encode_texts_batched, encoder)
    return [
        *fit.too_long(prompts, source, _context(encoder)),
        *fit.nearly_same(prompts, source, lambda name, values: value_vectors(prompts, name, values, encode), near),
    ]
