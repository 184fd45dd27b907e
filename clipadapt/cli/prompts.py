"""clipadapt prompts lint|preview: what a prompts file says, and what is wrong with it, before anything is trained.

Findings and captions go to stdout, in the form file:line:column that editors jump to; counts go to stderr.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from clipadapt.data.catalogue import Catalogue
    from clipadapt.prompts import Prompts
    from clipadapt.prompts.fit import Context
    from clipadapt.towers.encoder import Encoder

app = typer.Typer(help="Edit prompt templates and see what they say.", no_args_is_help=True)

File = Annotated[
    str, typer.Argument(metavar="PROMPTS.yaml", help="A prompts file, or a shipped one: prompts/fashion.yaml")
]
Source = Annotated[str | None, typer.Option("--source", help="Catalogue that the file is held against.")]
Split = Annotated[str, typer.Option("--split", help="Split of the source.")]
Model = Annotated[str | None, typer.Option("--model", help="MODEL whose tokenizer and text tower are asked, too.")]


@app.command()
def lint(
    path: File,
    source: Source = None,
    split: Split = "train",
    model: Model = None,
    near: Annotated[float, typer.Option(help="Cosine above which a model hears two values as one.")] = 0.98,
) -> None:
    """Say what is wrong: unknown fields, unused values, words that are cut, values that read alike; 1 on errors."""
    from clipadapt.prompts import Prompts
    from clipadapt.prompts import lint as checks

    prompts = Prompts.load(path)
    against = None
    if source is not None:
        catalogue = _catalogue(source, split)
        against = checks.Source.of(prompts, catalogue.columns, map(catalogue.row, range(len(catalogue))))
    findings = checks.lint(prompts, against)
    if model is not None:
        findings = sorted({*findings, *_model_findings(prompts, against, _load(model), near)})
    for finding in findings:
        typer.echo(finding.line(path))
    counts = {level: sum(finding.level == level for finding in findings) for level in ("error", "warning", "note")}
    typer.echo(", ".join(f"{count} {level}(s)" for level, count in counts.items()), err=True)
    if counts["error"]:
        raise typer.Exit(1)


@app.command()
def preview(
    path: File,
    source: Annotated[str, typer.Option("--source", help="Catalogue whose items are shown.")],
    split: Split = "train",
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

    prompts = Prompts.load(path)
    catalogue = _catalogue(source, split)
    prompts.check(catalogue.columns)
    context = _context(_load(model)) if model is not None else None
    count = context.count if context is not None else None
    chosen = generator(seed, "preview").permutation(len(catalogue))[:number]
    cards = [
        pages.card(prompts, catalogue.ids[item], catalogue.row(item), catalogue.picture(item) if out else None)
        for item in map(int, chosen)
    ]
    for card in cards:
        typer.echo("\n".join(pages.lines(card, count)))
    if out is not None:
        values = {name: list(catalogue.counts(name)) for name in prompts.attributes if name in catalogue.columns}
        atomic_write(out, pages.page(prompts, cards, values, count))
        typer.echo(f"wrote {out}", err=True)


def _catalogue(source: str, split: str) -> "Catalogue":
    """The items, each a product of its own: wording does not care about products."""
    from clipadapt.data.catalogue import Catalogue

    return Catalogue.load(source, split, product=None)


def _load(model: str) -> "Encoder":
    from clipadapt.errors import ModelError
    from clipadapt.towers.load import load

    encoder = load(model)
    if encoder.context_length is None:
        raise ModelError(f"{model} is an image tower alone; prompts need a model with a text tower")
    return encoder


def _context(encoder: Any) -> "Context":
    """What the model's tokenizer keeps of a text."""
    from clipadapt.prompts.fit import Context

    ids: Callable[[str], list[int]] = lambda text: encoder.tokenize([text])[0].tolist()  # noqa: E731
    return Context(ids, encoder.context_length)


def _model_findings(prompts: "Prompts", source: Any, encoder: "Encoder", near: float) -> list[Any]:
    from clipadapt.prompts import fit
    from clipadapt.towers.encode import value_vectors

    return [
        *fit.too_long(prompts, source, _context(encoder)),
        *fit.nearly_same(prompts, source, lambda name, values: value_vectors(encoder, prompts, name, values), near),
    ]
