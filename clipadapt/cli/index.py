"""clipadapt index build|add|remove|compact|tune|info|search: a visual search index, its life and its answers.

    clipadapt index build --model run:runs/fashion --source shop --split train --out indexes/shop
    clipadapt index search indexes/shop --text "striped skirt" --where 'price<50' -k 10 --json
    clipadapt index search indexes/shop --image photo.jpg --text "in red" --not-text floral
    clipadapt index search indexes/shop --text "striped skirt, not mini, under 50"
    clipadapt index search indexes/shop --like 1163 --but "red, long sleeves"
    clipadapt index build ... --out indexes/large --shards 4      searched by four threads, built a quarter at a time
    clipadapt index build ... --out milvus:http://10.0.0.7:19530/shop        the same verbs, kept by a Milvus server

Results go to stdout; how a query was understood, measurements that say a rebuild is due and filters that nobody matches
go to stderr.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipadapt.cli import options
from clipadapt.cli.embed import Workers, encoder

if TYPE_CHECKING:
    from clipadapt.config import Data
    from clipadapt.data.catalogue import Catalogue
    from clipadapt.search.backend import Change, Hit
    from clipadapt.search.index import Index as Opened
    from clipadapt.search.meta import Target
    from clipadapt.search.query import QueryPart
    from clipadapt.search.typed import Typed
    from clipadapt.search.understanding.vocabulary import Vocabulary
    from clipadapt.search.vectors import Vectors
    from clipadapt.towers.encoder import Encoder

app = typer.Typer(help="Build, change, tune and search a visual search index.", no_args_is_help=True)

Index = Annotated[str, typer.Argument(metavar="INDEX", help="Folder of the index, or milvus:URI/COLLECTION.")]
Given = Annotated[Path | None, typer.Option("--vectors", help="What `clipadapt embed` wrote, instead of a source.")]
Override = Annotated[str | None, typer.Option("--model", help="MODEL in place of the one the index remembers.")]
Recall = Annotated[float, typer.Option("--recall", help="recall@10 wanted, of picture and of text queries.")]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
Some = list[str] | None


@app.command()
@options.with_catalogue
def build(
    model: options.Model,
    out: Annotated[
        str,
        typer.Option("--out", help="Folder, or milvus:URI/COLLECTION; an index that is there gets a new version."),
    ],
    catalogue: options.Catalogue,
    split: options.Split = None,
    vectors: Given = None,
    factory: Annotated[str, typer.Option("--factory", help="auto, Flat, IVF1024,SQ8,RFlat, HNSW32,Flat, ...")] = "auto",
    recall: Recall = 0.99,
    dims: Annotated[
        int | None,
        typer.Option("--dims", min=1, help="Keep the first N dimensions alone, as loss.dims trains; default: all."),
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(
            "--shards",
            min=1,
            help="Divide the items among N folders by a hash of their ids; default: as an index that is there, else 1.",
        ),
    ] = None,
    precision: options.Precision = "fp32",
    device: options.Device = "auto",
    workers: Workers = None,
) -> None:
    """Build an index of a catalogue, or of vectors, and measure its recall."""
    from clipadapt.search.index import Index as Built
    from clipadapt.search.opening import refuse_target
    from clipadapt.search.vectors import refuse_dims

    refuse_target(out, shards)
    given, shown = _given(model, split, vectors, catalogue)
    loaded = encoder(model, precision, device)
    if dims is not None:
        refuse_dims(dims, loaded.dim)
    built = Built.build(
        _embedded(loaded, given, workers), out, encoder=loaded, factory=factory, target=_target(recall), shown=shown,
        dims=dims, shards=shards,
    )  # fmt: skip
    typer.echo(f"{len(built)} items in {out}: {built.meta.factory}, {_recalls(built.meta.measured)}")
    typer.echo(f'search it: clipadapt index search {out} --text "..."', err=True)


@app.command()
@options.with_catalogue
def add(
    index: Index,
    catalogue: options.Catalogue,
    split: options.Split = None,
    vectors: Given = None,
    replace: Annotated[bool, typer.Option("--replace", help="Items that are there already get new vectors.")] = False,
    model: Override = None,
    precision: options.Precision = "fp32",
    device: options.Device = "auto",
    workers: Workers = None,
) -> None:
    """Add items, or with --replace update those that are there."""
    from clipadapt.search.index import Index as Opened
    from clipadapt.search.vectors import Vectors

    opened = Opened.open(index, verify=False)  # a change reads only what it makes anew, and compares that
    if vectors is not None and catalogue["source"] is None:
        more = Vectors.open(vectors)
    else:
        name = model or opened.model
        given, _ = _given(name, split, vectors, catalogue)
        more = _embedded(encoder(name, precision, device), given, workers)
    _report(index, opened, opened.update(more) if replace else opened.add(more))


@app.command()
def remove(
    index: Index,
    ids: Annotated[Some, typer.Argument(metavar="ID...", help="Items to remove.")] = None,
    file: Annotated[Path | None, typer.Option("--ids", help="Text file with an id per line.")] = None,
) -> None:
    """Remove items by id; they are not found any more."""
    from clipadapt.errors import UsageError
    from clipadapt.search.index import Index as Opened

    listed = [line.strip() for line in _read(file).decode("utf-8").splitlines() if line.strip()] if file else []
    wanted = [*(ids or []), *listed]
    if not wanted:
        raise UsageError("no id given; name items, or a file of them with --ids")
    opened = Opened.open(index, verify=False)
    _report(index, opened, opened.remove(wanted))


@app.command()
def tune(
    index: Index,
    recall: Recall = 0.99,
    memory: Annotated[float | None, typer.Option("--memory-mb", help="Most to hold in memory when mapped.")] = None,
    latency: Annotated[float | None, typer.Option("--latency-ms", help="Longest median of one picture query.")] = None,
    factory: Annotated[Some, typer.Option("--factory", help="Factories to try; default: those that suit.")] = None,
) -> None:
    """Measure factories against exact search, and rebuild with the quickest that reaches the target."""
    from clipadapt.search.index import Index as Opened

    opened = Opened.open(index)
    opened.tune(_target(recall, memory, latency), factory)
    typer.echo(f"{len(opened)} items in {index}: {opened.meta.factory}, {_recalls(opened.meta.measured)}")


@app.command()
def compact(
    index: Index,
    threads: Annotated[int, typer.Option("--threads", help="Cores to use; searches go on meanwhile.")] = 1,
) -> None:
    """Put what was added into the form that is searched quickly, or rebuild when it is time, while others go first."""
    import faiss

    from clipadapt.search.index import Index as Opened
    from clipadapt.threads import give_way

    give_way()
    faiss.omp_set_num_threads(max(threads, 1))
    opened = Opened.open(index, verify=False)
    done = opened.compact()
    says = {"seal": "what was added is searched through cells now", "rebuild": "built again from what was not removed"}
    typer.echo(f"{index}: {says[done] if done else 'nothing to do'}, {len(opened)} items")


@app.command()
def info(index: Index, as_json: Json = False) -> None:
    """Show what an index holds, what it is bound to, and the measured curve."""
    from clipadapt.search.embedded import Embedded
    from clipadapt.search.opening import open_backend

    found = open_backend(index, verify=False)
    meta, due, count = found.meta, found.due(), len(found)
    vectors = found.items.rows if isinstance(found, Embedded) else count
    columns, separators = list(found.columns), found.separators
    facts = {"items": count, "vectors": vectors, "columns": columns, "rebuild_due": due}
    if as_json:
        typer.echo(json.dumps(json.loads(meta.to_json()) | facts, indent=1))
        return
    kept = f"the first {meta.dim} of {meta.whole}" if meta.whole is not None else f"{meta.dim}"
    typer.echo(f"{count} items ({vectors} vectors of {kept} dimensions), columns: {', '.join(columns)}")
    for column, separator in separators.items():
        typer.echo(f"several values in {column}, split at {separator!r}")
    typer.echo(f"model {meta.model or 'unknown'}, {meta.image_space}")
    made_by = f"faiss {meta.faiss or 'unknown'}" if isinstance(found, Embedded) else "Milvus"
    typer.echo(f"{meta.factory} by {made_by}, {meta.memory / 1e6:,.1f} MB in memory, "
               f"{_recalls(meta.measured)}")  # fmt: skip
    for shard in meta.shards.parts if meta.shards is not None else ():
        later = f", {shard.later} of them came later" if shard.later else ""
        typer.echo(f"{shard.folder}: {shard.items} items ({shard.vectors} vectors{later}), {shard.factory}, "
                   f"{_recalls(shard.measured)}")  # fmt: skip
    for one in meta.segments:
        recalls = "searched one by one" if one.factory == "Flat" else _recalls(one.measured)
        typer.echo(f"{one.rows} vectors came later: {one.factory}, {recalls}")
    for kind, params in meta.search_params.items():
        typer.echo(f"{kind} queries: probe {params.probe}, refine {params.refine}")
    if meta.curve:
        typer.echo(f"{'factory':24} {'queries':8} {'probe':>6} {'refine':>6} {'recall@10':>9} {'at least':>8} "
                   f"{'p50 ms':>8} {'p99 ms':>8}")  # fmt: skip
    for point in meta.curve:
        typer.echo(f"{point.factory:24} {point.kind:8} {point.probe:6} {point.refine:6} {point.recall:9.4f} "
                   f"{point.low:8.4f} {point.p50_ms:8.2f} {point.p99_ms:8.2f}")  # fmt: skip
    for reason in due:
        typer.echo(f"a rebuild is due: {reason}; run clipadapt index tune {index}", err=True)


@app.command()
def search(
    index: Index,
    text: Annotated[Some, typer.Option("--text", help="Words to look for; several add up.")] = None,
    image: Annotated[list[Path] | None, typer.Option("--image", help="A picture to look for; several add up.")] = None,
    like: Annotated[Some, typer.Option("--like", help="Id of an item to find more like.")] = None,
    but: Annotated[
        str | None, typer.Option("--but", help="What is to be other than in the one --like or --image: 'red'.")
    ] = None,
    not_text: Annotated[Some, typer.Option("--not-text", help="Words that results should not be like.")] = None,
    not_image: Annotated[list[Path] | None, typer.Option("--not-image", help="A picture not to be like.")] = None,
    text_weight: Annotated[
        float | None, typer.Option("--text-weight", help="Weight of the words beside a picture, 0 to 1; default: 0.5.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", help="0.7,0.3,-0.2: a weight for every --text, then --image, then --like."),
    ] = None,
    where: Annotated[
        Some, typer.Option("--where", help="COLUMN=VALUE, price<50, c in (a, b), ...; all must hold.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Results.")] = 10,
    collapse: Annotated[bool, typer.Option(help="One result per product.")] = True,
    verify: Annotated[bool, typer.Option(help="Check every file's sha256 before searching.")] = True,
    model: Override = None,
    prompts: Annotated[
        str | None, typer.Option("--prompts", help="Prompts file whose other names for values are searched, too.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option("--queries", help="Query weights from `clipadapt tag`; default: those of the run.")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Search for the words as they stand.")] = False,
    as_json: Json = False,
) -> None:
    """Find items by words, pictures, items, or all of them, among those that meet conditions."""
    from clipadapt.prompts import Prompts
    from clipadapt.search.filters import parse_all
    from clipadapt.search.index import Index as Opened
    from clipadapt.search.query import Item, Query
    from clipadapt.search.typed import Known, typed

    positives: list[QueryPart] = [*(text or []), *map(_picture, image or []), *map(Item, like or [])]
    negatives: list[QueryPart] = [*(not_text or []), *map(_picture, not_image or [])]
    query = Query(tuple(positives), tuple(negatives), text_weight, weights=_weights(weights)) if but is None else None
    conditions = parse_all(where)
    known = Known.find(index, prompts=prompts, queries=queries, plain=plain)
    expand = Prompts.load(prompts).rewordings if prompts is not None else None
    opened = Opened.open(index, model=model, expand=expand, signals=known.signals, verify=verify)
    if query is None or not plain:
        vocabulary = known.vocabulary(opened)
        asked = typed(query, vocabulary) if query is not None else _same_but(opened, positives, but, plain, vocabulary)
        query, conditions = asked.query, (*conditions, *asked.conditions)
        _explain(asked, known.signals is not None)
    (hits,) = opened.search(query, k, where=conditions, collapse=collapse)
    if as_json:
        typer.echo(json.dumps([hit._asdict() for hit in hits], ensure_ascii=False, default=str))
    else:
        _print(hits)
    reasons = opened.unmatched_filters(conditions)
    if not hits and not reasons:
        reasons = ["no item meets the conditions" if len(opened) else "the index is empty"]
    for reason in reasons:
        typer.echo(reason, err=True)


def _same_but(
    index: "Opened", positives: "Sequence[QueryPart]", but: str | None, plain: bool, vocabulary: "Vocabulary"
) -> "Typed":
    """One item or picture, and what is to be other than in it."""
    from clipadapt.errors import UsageError
    from clipadapt.search.query import Item
    from clipadapt.search.typed import same_but

    if len(positives) != 1 or isinstance(positives[0], str) or but is None or plain:
        raise UsageError("--but changes one --like or one --image; leave out --text, --plain and further parts")
    start = positives[0]
    return same_but(start if isinstance(start, Item) else index.encoded(start), but, index, vocabulary)


def _explain(asked: "Typed", weighed: bool) -> None:
    """What was understood, where anything was, and what was odd."""
    if not asked.plain:
        typer.echo(f"understood: {asked.explain()}", err=True)
        if any(asked.query.wishes) and not weighed:
            typer.echo("no query weights: labels alone decide; fit some with clipadapt tag --fit", err=True)
    for note in asked.notes:
        typer.echo(note, err=True)


def _given(
    model: str, split: str | None, vectors: Path | None, catalogue: options.Catalogue
) -> "tuple[Vectors | Catalogue, Data | None]":
    """A folder of vectors, or the pictures that flags, a config or a run name, and their data section."""
    from clipadapt.errors import UsageError
    from clipadapt.inputs import resolve
    from clipadapt.search.vectors import Vectors

    if vectors is not None:
        if (given := [name for name in ("source", "config") if catalogue[name] is not None]) or split is not None:
            both = ", ".join(f"--{name}" for name in (*given, *(["split"] if split is not None else [])))
            raise UsageError(f"--vectors {vectors} has its pictures already; leave out {both}, or --vectors")
        return Vectors.open(vectors), None
    inputs = resolve(model=model, **catalogue)
    return inputs.items(split or inputs.data.splits.train), inputs.data


def _embedded(loaded: "Encoder", given: "Vectors | Catalogue", workers: int | None) -> "Vectors":
    from clipadapt.search.embed import embed_pictures
    from clipadapt.search.vectors import Vectors

    return given if isinstance(given, Vectors) else embed_pictures(loaded, given, workers=workers)


def _target(recall: float, memory: float | None = None, latency: float | None = None) -> "Target":
    from pydantic import ValidationError

    from clipadapt.errors import UsageError, listing
    from clipadapt.search.meta import Target
    from clipadapt.sections import describe

    try:
        return Target(recall=recall, memory_mb=memory, latency_ms=latency)
    except ValidationError as error:
        raise UsageError(f"the target cannot be:{listing(describe(error, Target))}") from error


def _weights(text: str | None) -> tuple[float, ...]:
    from clipadapt.errors import UsageError

    try:
        return tuple(float(part) for part in text.split(",")) if text is not None else ()
    except ValueError as error:
        raise UsageError(f"--weights {text}: numbers with commas between them, such as 0.7,0.3,-0.2") from error


def _picture(file: Path):
    from clipadapt.data.decode import decode
    from clipadapt.errors import CatalogueError

    try:
        return decode(_read(file))
    except CatalogueError as error:
        raise CatalogueError(f"{file}: {error}") from error


def _read(file: Path) -> bytes:
    from clipadapt.errors import UsageError

    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}; check the path") from error


def _recalls(measured: dict) -> str:
    if not measured:
        return "recall not measured"
    return ", ".join(f"recall@10 of {kind} queries {point.recall:.3f}" for kind, point in measured.items())


def _report(index: str, opened: "Opened", change: "Change") -> None:
    if opened.backend.compaction_due():
        typer.echo(f"a compaction is due, which searches go on beside: clipadapt index compact {index}", err=True)
    typer.echo(f"{change.added} added, {change.removed} removed, {change.items} items in the index")


def _print(hits: Sequence["Hit"]) -> None:
    width = max((len(hit.id) for hit in hits), default=0)
    for rank, hit in enumerate(hits, 1):
        known = ", ".join(f"{name}: {value}" for name, value in hit.attributes.items())
        typer.echo(f"{rank:3}  {hit.score:.3f}  {hit.id:{width}}  {known[:120]}")
