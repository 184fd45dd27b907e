"""clipadapt init SOURCE: look at a catalogue and write a config and a prompts file that train at once.

Asks on a terminal, with a proposal for every answer; elsewhere, or with --yes, takes the proposals. Files that exist
are never overwritten unless --force says so, and nothing is written before both files have been read back and checked
against the source.
"""

import difflib
import shlex
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from clipadapt.data.inspect import Column, Inspection

DEFAULT_MODEL = "EVA02-B-16:merged2b_s8b_b131k"


def command(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Folder of pictures, table, Parquet or hub id.")],
    name: Annotated[
        str | None, typer.Option("--name", help="Of the two files; default: the source's own name.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take every proposal without asking.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files of that name.")] = False,
    model: Annotated[str, typer.Option("--model", help="MODEL to adapt.")] = DEFAULT_MODEL,
    split: Annotated[str | None, typer.Option("--split", help="Split to look at; default: train.")] = None,
    image: Annotated[
        str | None, typer.Option("--image", help="Column of pictures, where it cannot be guessed.")
    ] = None,
    folder: Annotated[Path, typer.Option("--folder", help="Where configs/ and prompts/ are.")] = Path(),
) -> None:
    """Look at your pictures and columns, and write configs/NAME.yaml and prompts/NAME.yaml that train at once."""
    from clipadapt.data.inspect import inspect
    from clipadapt.errors import UsageError

    inspection = inspect(source, split, image)
    if inspection.split == "validation" and len(inspection.splits) == 1:
        raise UsageError(f"{source}: there is only a split 'validation'; give its own folder: {source}/validation")
    _show(inspection)
    called = name or _name(source)
    if not yes and at_terminal():
        called = str(typer.prompt("Name of the two files", default=called, err=True))
        inspection = _confirmed(inspection)
    config_file, prompts_file = folder / "configs" / f"{called}.yaml", folder / "prompts" / f"{called}.yaml"
    existing = [str(file) for file in (config_file, prompts_file) if file.exists()]
    if existing and not force:
        raise UsageError(f"{' and '.join(existing)} exist already; choose another --name, or overwrite with --force")
    if not inspection.attributes:
        typer.echo(
            "no column looks like an attribute: captions alone are trained, and nothing can be recognised or measured; "
            f"name columns in data.attributes of {config_file}",
            err=True,
        )
    words = _prompts_text(inspection, called)
    config = _config_text(inspection, called, config_file, prompts_file, model)
    _write(config_file, prompts_file, config, words, inspection)
    typer.echo(f"wrote {config_file} and {prompts_file}; next:", err=True)
    for step in _next_steps(config_file, prompts_file):
        typer.echo(step)


def _next_steps(config: Path, prompts: Path) -> list[str]:
    """Commands that can be pasted; the config knows source, columns and splits, so none of them repeats any."""
    from clipadapt.cli.summary import shell_command

    return [
        shell_command("data", "check", "--config", config),
        shell_command("prompts", "preview", prompts, "--config", config),
        _launch(config),
    ]


def _launch(config: Path) -> str:
    return shlex.join(["accelerate", "launch", "-m", "clipadapt.launch", "--config", str(config)])


def at_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def _show(inspection: "Inspection") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    sizes = sorted(set(inspection.sizes))
    seen = f", from {sizes[0][0]}x{sizes[0][1]} to {sizes[-1][0]}x{sizes[-1][1]}" if len(sizes) > 1 else ""
    seen = seen or (f", {sizes[0][0]}x{sizes[0][1]}" if sizes else "")
    title = f"{inspection.source}: {inspection.items} pictures in {inspection.split!r}{seen}"
    table = Table(title=escape(title))
    for heading in ("column", "looks like", "used", "filled", "values", "because"):
        table.add_column(heading)
    for column in inspection.columns:
        table.add_row(
            escape(column.name), column.part, "yes" if column.proposed and column.part != "text" else "no",
            f"{column.filled / inspection.items:.0%}", str(len(column.values)), escape(column.why),
        )  # fmt: skip
    console = Console(stderr=True, emoji=False)
    console.print(table)
    for fault in inspection.broken:
        console.print(f"broken picture: {fault}", markup=False)


def _confirmed(inspection: "Inspection") -> "Inspection":
    """The inspection as the person at the terminal wants it."""
    product = _asked(inspection, "Column whose items are one product (- for none)", inspection.named("product"))
    caption = _asked(inspection, "Column of ready captions (- for none)", inspection.named("caption"))
    proposed = ", ".join(attribute.name for attribute in inspection.attributes)
    names: list[str] = []
    while not names:
        answer = typer.prompt("Attributes, separated by commas", default=proposed, err=True)
        names = [known for part in answer.split(",") if (known := _known(inspection, part.strip()))]
    columns = tuple(_as_chosen(column, product, caption, names) for column in inspection.columns)
    return inspection._replace(columns=columns)


def _as_chosen(column: "Column", product: str | None, caption: str | None, attributes: list[str]) -> "Column":
    from dataclasses import replace

    parts = {product: "product", caption: "caption", **dict.fromkeys(attributes, "attribute")}
    if column.name in parts:
        return replace(column, part=parts[column.name], proposed=True)
    if column.part in ("product", "caption", "attribute"):
        return replace(column, part="text" if column.part != "attribute" else column.part, proposed=False)
    return column


def _asked(inspection: "Inspection", question: str, proposal: str | None) -> str | None:
    while True:
        answer = typer.prompt(question, default=proposal or "-", err=True).strip()
        if answer == "-":
            return None
        if known := _known(inspection, answer):
            return known


def _known(inspection: "Inspection", name: str) -> str | None:
    """The column of that name; says what there is when there is none."""
    names = [column.name for column in inspection.columns]
    if name in names or not name:
        return name or None
    close = difflib.get_close_matches(name, names, n=1)
    typer.echo(f"no column {name!r}; " + (f"did you mean {close[0]!r}?" if close else f"columns: {names}"), err=True)
    return None


def _name(source: str) -> str:
    """A file name from the source's own name; the folder above it where that is only `train` or `data`."""
    parts = [part for part in Path(source).expanduser().resolve().parts if part not in ("train", "data", "images")]
    stem = Path(parts[-1]).stem if len(parts) > 1 else "catalogue"
    return "".join(letter if letter.isalnum() else "_" for letter in stem.lower()).strip("_") or "catalogue"


def _prompts_text(inspection: "Inspection", name: str) -> str:
    from clipadapt.prompts.starter import Words, starter

    attributes = [
        Words(column.name, column.values, column.separator, column.filled == inspection.items)
        for column in inspection.of("attribute")
    ]
    return starter(name, attributes, caption=inspection.named("caption"), absent=inspection.absent)


def _config_text(inspection: "Inspection", name: str, file: Path, prompts: Path, model: str) -> str:
    from clipadapt.prompts.starter import scalar

    attributes = inspection.attributes
    if any(attribute.kind == "multi" for attribute in attributes):
        kinds = [
            f"    {scalar(a.name)}: " + (f'{{kind: multi, separator: "{a.separator}"}}' if a.kind == "multi" else "{}")
            for a in attributes
        ]
        listed = "\n".join(["  attributes:   # multi: a cell holds several values", *kinds])
    else:
        names = f"  attributes: [{', '.join(scalar(attribute.name) for attribute in attributes)}]"
        listed = "\n".join(textwrap.wrap(names, 118, subsequent_indent="    ", break_on_hyphens=False))
    batch, epochs = _size(inspection.items)
    left = [column.name for column in inspection.columns if column.part == "attribute" and not column.proposed]
    product, title = inspection.named("product"), inspection.named("caption")
    unknown = ", ".join(scalar(mark) for mark in ("", *inspection.unknown))
    has_validation = "validation" in inspection.splits
    lines = [
        f"# {name}: written by `clipadapt init` from {inspection.items} pictures; every line can be changed.",
        "#",
        f"#   {_launch(file)}",
        "#",
        "# Time and score depend on the model and the machine; nothing was measured with this file yet.",
        f"name: {name}",
        f"output_dir: runs/{name}",
        "model:",
        f"  name: {scalar(model)}   # or local-dir:PATH, transformers:ID, ... (README.md)",
        "data:",
        f"  source: {scalar(inspection.source)}",
        *([f"  image: {scalar(inspection.image)}   # column of pictures"] if inspection.image != "image" else []),
        listed,
        *([f"  # left out, for a picture hardly shows them: {', '.join(left)}"] if left else []),
        f"  product: {scalar(product) if product else 'null'}   # "
        + (
            "items of one product never cross splits" if product else "no column was found; alike pictures count as one"
        ),
        *([f"  title: {scalar(title)}   # so do items of equal titles"] if title and not product else []),
        *([f"  id: {scalar(identity)}"] if (identity := inspection.named("id")) and identity != "id" else []),
        f"  unknown: [{unknown}]   # cells that mean nobody knows",
        "  splits:",
        f"    train: {scalar(inspection.split)}",
        "    validation: validation"
        + ("" if has_validation else "   # the source has none: a fifth is carved, by product"),
        "    tune: 0.1   # carved from train by product, for every choice made on data",
        f"prompts: {scalar(str(prompts))}",
        *_recipe(epochs, batch, learnable=any(len(column.values) > 1 for column in inspection.of("attribute"))),
    ]
    return "\n".join(lines) + "\n"


def _recipe(epochs: int, batch: int, *, learnable: bool) -> list[str]:
    """How it is trained: by attribute values where there are some to tell apart, else by captions."""
    train = f"epochs: {epochs}, batch_size: {batch}, micro_batch: {min(batch, 32)}, lr: 2.0e-4"
    if not learnable:
        return ["lora: {preset: both, rank: 8, alpha: 16}", f"train: {{{train}}}"]
    return [
        "lora:",
        "  rank: 16",
        "  alpha: 32",
        '  plan: [["*.attention.{q,k,v,out}", 16], ["*.mlp.*", 16], ["*", null]]',
        "loss:",
        "  name: attributes   # which value has a picture ...",
        "  search: 1   # ... and which pictures have a value",
        "  scale: 50",
        "  caption_weight: 0",
        "  value_vectors: 10   # a vector for each value, which recognises and finds beside its texts",
        "  wordings: 2   # texts of a value in each step, in many wordings",
        "  anchor: 10   # holds what nothing is taught about where the base has it",
        "train:",
        "  order: pictures_first   # the image tower learns from value vectors, and the texts follow at the end",
        "  text_warmup: 200",
        "  text_warmup_lr: 5.0e-4",
        f"  {train.replace(', ', chr(10) + '  ')}",
        "  average: 0.98",
        "  balance: sqrt",
        "eval: {select_on: smooth}",
    ]


def _size(items: int) -> tuple[int, int]:
    """(batch size, epochs): a small catalogue takes small batches, so that an epoch still has steps enough."""
    for most, batch, epochs in ((500, 16, 20), (2_000, 32, 15), (5_000, 64, 10), (20_000, 128, 10), (100_000, 256, 5)):
        if items < most:
            return batch, epochs
    return 512, 5


def _write(config_file: Path, prompts_file: Path, config: str, words: str, inspection: "Inspection") -> None:
    """Writes both files once each has been read as it will be, and the first thousand items have their captions."""
    from clipadapt.atomic import atomic_write
    from clipadapt.config import Config
    from clipadapt.data.splits import load_splits
    from clipadapt.prompts import Prompts

    prompts = Prompts.parse(words, str(prompts_file))
    staged = config_file.with_name(f".{config_file.name}.part")
    for file in (config_file, prompts_file):
        file.parent.mkdir(parents=True, exist_ok=True)
    try:
        staged.write_text(config, encoding="utf-8")
        parsed = Config.load(staged)
        splits = load_splits(parsed.data, parsed.seed)
        prompts.check(splits.train.columns)
        for item in range(min(len(splits.train), 1_000)):
            prompts.captions(splits.train.row(item))
    finally:
        staged.unlink(missing_ok=True)
    atomic_write(prompts_file, words)
    atomic_write(config_file, config)
