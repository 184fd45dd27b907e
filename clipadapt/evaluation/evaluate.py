"""One call from encoders to results: encode, measure every task of a suite, compare, report.

    results = evaluate(adapted, splits.validation, "prompts/fashion.yaml", "eval/attributes.yaml", against=base,
                       train_counts=training_counts(splits.train, splits.tune), out="runs/fashion/report")
    results.headline("rare_balanced_accuracy").delta_low

Nothing that was fitted on a split is reported on it: such a call is refused. Pictures and texts come from the cache
where they were encoded before. How figures come about is the tasks' business, certainty that of `statistics`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from clipadapt import places, runs
from clipadapt.atomic import refuse_unwritable
from clipadapt.data import bins
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.splits import refuse_fitted
from clipadapt.errors import ConfigError
from clipadapt.evaluation.advice import advice
from clipadapt.evaluation.details import Details
from clipadapt.evaluation.inputs import heads_of, missing, prepare
from clipadapt.evaluation.results import Results
from clipadapt.evaluation.suite import Suite
from clipadapt.evaluation.tasks import examples, flips
from clipadapt.evaluation.tasks.context import EvalContext, Measured
from clipadapt.evaluation.training_log import training_of
from clipadapt.prompts import Prompts
from clipadapt.recognition.values import HeldOutWording
from clipadapt.recognition.vectors import VectorCache
from clipadapt.statistics.cells import to_rows
from clipadapt.statistics.rows import QUOTED, Row, Wording
from clipadapt.statistics.sampling import Sampler
from clipadapt.towers.encoder import Encoder


def evaluate(
    encoder: Encoder,
    catalogue: Catalogue,
    prompts: Prompts | str | Path,
    suite: Suite | str | Path,
    *,
    split: str | None = None,
    against: Encoder | None = None,
    train_counts: Mapping[str, Mapping[str, int]] | None = None,
    headline: Sequence[str] | None = None,
    out: str | Path | None = None,
    systems: tuple[str, str] | None = None,
    holdout_pairs: Sequence[Mapping[str, str]] = (),
    tune: Catalogue | None = None,
    fitted_on: Mapping[str, str] | None = None,
    cache: VectorCache | None = None,
    broken: Literal["error", "count"] = "error",
    run: runs.Run | None = None,
    show_pictures: bool = True,
    progress: bool = True,
) -> Results:
    """Measures an encoder, and what changed against another, on one split.

    Args:
        prompts: texts of values, or the path of a prompts file.
        suite: what is measured, or the path of its file.
        split: what the split is called in rows, where it was carved and bears its source's name; null: its own.
        train_counts: attribute -> value -> labelled training items; without, there are no bins and no rare headline.
        headline: attributes whose mean is quoted where the suite names none; null: all exclusive ones.
        out: folder for results.json, report.md and report.html.
        systems: what the two are called in rows and reports; "adapted" and "base" when not given.
        holdout_pairs: the pairs that training did not see, for by: held_out_pair.
        tune: a split that temperatures are fitted on; without, probabilities use each model's own scale.
        fitted_on: what was chosen on data (weights, epoch, ...) -> the split, for the refusal and the record.
        broken: error stops at a picture that cannot be decoded, count leaves it out and says so in the report.
        show_pictures: whether report.html may hold thumbnails; without, item ids stand in their place.
        run: the run that the encoder is of, whose training the report draws, with advice on what to try next.

    Raises:
        ConfigError: the suite names what the catalogue does not have, or the split was used to choose something.
        CatalogueError: a picture is broken.
        PromptError: a value has no text, or the weights of its texts were fitted on these pictures.
        StoreError: `out` cannot be written.
    """
    prompts = prompts if isinstance(prompts, Prompts) else Prompts.load(prompts)
    suite = suite if isinstance(suite, Suite) else Suite.load(suite)
    split = split or catalogue.split
    refuse_fitted(catalogue, split, fitted_on or {}, tune)
    prompts.refuse_fitted(catalogue.fingerprint)
    suite.check(catalogue)
    if out is not None:
        refuse_unwritable(out)
    cache, held_out = cache or VectorCache(), HeldOutWording(prompts)
    names = systems or (("adapted", "base") if against is not None else ("model", ""))
    encoders = {names[0]: encoder} | ({names[1]: against} if against is not None else {})
    inputs = prepare(encoders, catalogue, cache, broken=broken, progress=progress)
    heads, head_notes = heads_of(encoders)
    context = EvalContext(
        inputs.catalogue,
        encoders,
        inputs.pictures,
        cache,
        prompts,
        Sampler.of(inputs.catalogue.products, suite.statistics),
        split,
        suite.min_items,
        suite.statistics,
        train_counts,
        tuple(holdout_pairs),
        heads,
        tune,
        progress,
        show_pictures,
        words=_words(encoders, prompts, held_out),
    )
    quoted = _headline(catalogue, suite, headline)
    measured, rows = _measure(context, suite, quoted)
    attributes = dict.fromkeys(name for task in suite.tasks for name in task.attributes_of(context))
    details = Details(
        confusions=tuple(measured.confusions),
        reliability=tuple(measured.reliability.values()),
        examples=tuple(measured.examples),
        example_rule=examples.RULE,
        flips=tuple(measured.flips),
        flip_rule=flips.RULE,
        missing=missing(inputs.catalogue, tuple(attributes), suite.min_items),
        broken=inputs.broken,
        train_counts={name: dict(counts) for name, counts in (train_counts or {}).items()},
        margins=measured.margins,
        training=None if run is None else training_of(run),
        advice=() if run is None else tuple(advice(run, rows)),
        notes=tuple(dict.fromkeys((*_product_notes(catalogue), *head_notes, *measured.notes))),
    )
    results = Results(_record(context, suite, prompts, quoted, details, fitted_on or {}), tuple(rows), details)
    if out is not None:
        results.save(out)
    return results


def _measure(context: EvalContext, suite: Suite, quoted: tuple[str, ...]) -> tuple[Measured, list[Row]]:
    """Every task, those that go by words in each wording; headlines first."""
    textless = context.textless()
    left_out = [task for task in suite.tasks if textless and task.needs_texts]
    tasks = [task for task in suite.tasks if task not in left_out]
    worded = {type(task) for task in tasks if task.by_wording}
    measured = Measured(notes=[f"{task.task}: {textless}" for task in left_out])
    by_wording: list[tuple[EvalContext, Measured]] = []
    for wording in context.words if worded else ():
        part, found = context.in_wording(wording), Measured()
        for task in tasks:
            if task.by_wording:
                found += task.measure(part)
        by_wording.append((part, found if wording == QUOTED else _figures_over_values(found)))
    for task in tasks:
        if not (task.by_wording and by_wording):
            measured += task.measure(context)
    headlines = Measured()
    for kind in dict.fromkeys(type(task) for task in suite.tasks):
        for part, found in by_wording if kind in worded else ():
            headlines += kind.headlines(part, found, quoted)
        if kind not in worded or not by_wording:
            headlines += kind.headlines(context, measured, quoted)
    for _, found in by_wording:
        measured += found
    cells = headlines.cells + measured.cells
    measured.notes = headlines.notes + measured.notes
    return measured, to_rows(cells, context.systems, context.split, context.sampler, context.statistics) + measured.rows


def _words(
    encoders: Mapping[str, Encoder], prompts: Prompts, held_out: HeldOutWording
) -> Mapping[Wording, Prompts | HeldOutWording]:
    """What values are called in each wording; texts and value vectors each alone, too, where a model mixes them."""
    mixes = any(getattr(encoder, "value_vectors", None) is not None for encoder in encoders.values())
    words: dict[Wording, Prompts | HeldOutWording] = {"held_out": held_out, "file": prompts}
    if mixes:
        words["texts"] = words["vectors"] = held_out
    return words


def _figures_over_values(found: Measured) -> Measured:
    """What is reported in other wordings than the quoted one: the figures over all values."""
    cells = [cell for cell in found.cells if cell.value is None]
    return Measured(cells, found.rows, predictions=found.predictions, notes=found.notes)


def _product_notes(catalogue: Catalogue) -> list[str]:
    """What stands for products, where no column names them."""
    if catalogue.grouped_by is None:
        return []
    groups = len(set(catalogue.products.tolist()))
    return [f"no column names products: {catalogue.grouped_by} make {groups} groups, which intervals go by"]


def _headline(catalogue: Catalogue, suite: Suite, headline: Sequence[str] | None) -> tuple[str, ...]:
    if suite.headline is not None:
        return suite.headline
    if headline is not None:
        if unknown := [name for name in headline if name not in catalogue.columns]:
            raise ConfigError(f"headline: no column {', '.join(unknown)} in {catalogue.source}; see eval.headline")
        return tuple(headline)
    return tuple(one.name for one in catalogue.attributes if one.kind == "exclusive")


def _record(
    context: EvalContext,
    suite: Suite,
    prompts: Prompts,
    quoted: tuple[str, ...],
    details: Details,
    fitted_on: Mapping[str, str],
) -> dict[str, Any]:
    """The config of results.json."""
    catalogue = context.catalogue
    counts = context.train_counts or {}
    record = {
        "suite": suite.model_dump(mode="json"),
        "systems": {
            system: {
                "model": one.name,
                "image_space": one.image_space,
                "text_space": one.text_space,
                **({"head": dict(context.heads[system].fitted)} if system in context.heads else {}),
            }
            for system, one in context.encoders.items()
        },
        "catalogue": {
            "source": catalogue.source,
            "split": context.split,
            "items": len(catalogue),
            "products": len(context.sampler.names),
            "fingerprint": catalogue.fingerprint,
        },
        "prompts": {"path": prompts.path, "digest": prompts.digest},
        "headline": list(quoted),
        "rare": {name: sorted(bins.rare(counts.get(name, {}))) for name in quoted if context.train_counts is not None},
        "missing": {one.attribute: {"unknown": one.unknown, "too_few": list(one.too_few)} for one in details.missing},
        "broken": list(details.broken),
        "notes": list(details.notes),
        "fitted_on": {**fitted_on, **({"temperatures": "tune"} if context.tune is not None else {})},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": runs.environment(suite.statistics.seed)["packages"],
    }
    return places.public(record)
