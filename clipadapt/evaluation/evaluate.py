"""One call from encoders to results: encode, measure every task of a suite, compare, report.

    results = evaluate(adapted, splits.validation, prompts, Suite.load("eval/attributes.yaml"), against=base,
                       train_counts=training_counts(splits.train, splits.tune), out="runs/fashion/report")
    results.headline("rare_balanced_accuracy").delta_low

Nothing that was fitted on a split is reported on it: such a call is refused. Pictures and texts come from the cache
where they were encoded before. How figures come about is the tasks' business, certainty that of `statistics`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clipadapt import places, runs
from clipadapt.data import bins
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.splits import refuse_fitted
from clipadapt.errors import ConfigError
from clipadapt.evaluation.details import Details, Reliability
from clipadapt.evaluation.examples import RULE, examples
from clipadapt.evaluation.inputs import EvalInputs, heads_of, missing, prepare
from clipadapt.evaluation.reliability import reliabilities
from clipadapt.evaluation.results import Results
from clipadapt.evaluation.suite import ImageToImage, ImageToText, Recognition, Retention, Suite, TextToImage
from clipadapt.evaluation.tasks import retention as retained
from clipadapt.evaluation.tasks.context import EvalContext, Measured
from clipadapt.evaluation.tasks.item_queries import image_to_image, image_to_text
from clipadapt.evaluation.tasks.recognition import headlines, recognition
from clipadapt.evaluation.tasks.text_to_image import text_to_image
from clipadapt.prompts import Prompts
from clipadapt.recognition.values import Wording
from clipadapt.recognition.vectors import VectorCache
from clipadapt.statistics.cells import Cell, to_rows
from clipadapt.statistics.evidence import Rankings
from clipadapt.statistics.rows import HEADLINE, Row
from clipadapt.statistics.sampling import Sampler
from clipadapt.towers.classifier import LinearHead
from clipadapt.towers.encoder import Encoder


def evaluate(
    encoder: Encoder,
    catalogue: Catalogue,
    prompts: Prompts,
    suite: Suite,
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
    progress: bool = True,
) -> Results:
    """Measures an encoder, and what changed against another, on one split.

    Args:
        split: what the split is called in rows, where it was carved and bears its source's name; null: its own.
        train_counts: attribute -> value -> labelled training items; without, there are no bins and no rare headline.
        headline: attributes whose mean is quoted where the suite names none; null: all exclusive ones.
        out: folder for results.json, report.md and report.html.
        systems: what the two are called in rows and reports; "adapted" and "base" when not given.
        holdout_pairs: the pairs that training did not see, for by: held_out_pair.
        tune: a split that temperatures are fitted on; without, probabilities use each model's own scale.
        fitted_on: what was chosen on data (weights, epoch, ...) -> the split, for the refusal and the record.
        broken: error stops at a picture that cannot be decoded, count leaves it out and says so in the report.

    Raises:
        ConfigError: the suite names what the catalogue does not have, or the split was used to choose something.
        CatalogueError: a picture is broken.
        PromptError: a value has no text, or the weights of its texts were fitted on these pictures.
    """
    split = split or catalogue.split
    refuse_fitted(catalogue, split, fitted_on or {}, tune)
    prompts.refuse_fitted(catalogue.fingerprint)
    suite.check(catalogue)
    cache = cache or VectorCache()
    names = systems or (("adapted", "base") if against is not None else ("model", ""))
    encoders = {names[0]: encoder} | ({names[1]: against} if against is not None else {})
    pair = (names[0], names[1] if against is not None else None)
    inputs = prepare(encoders, catalogue, cache, broken=broken, progress=progress)
    heads, head_notes = heads_of(encoders)
    context = _context(inputs, encoders, cache, prompts, suite, train_counts, holdout_pairs, heads)
    quoted = _headline(catalogue, suite, headline)
    measured, rows = _measure(context, pair, split, quoted, progress=progress)
    details = Details(
        confusions=tuple(measured.confusions),
        reliability=_reliabilities(context, tune, progress=progress),
        examples=tuple(
            example
            for task in suite.tasks
            if isinstance(task, TextToImage) and task.by == "value" and context.textless() is None
            for example in examples(context, task)
        ),
        example_rule=RULE,
        missing=missing(inputs.catalogue, _measured_attributes(context), suite.min_items),
        broken=inputs.broken,
        train_counts={name: dict(counts) for name, counts in (train_counts or {}).items()},
        margins=retained.margins(suite.tasks),
        notes=tuple(dict.fromkeys((*_product_notes(catalogue), *head_notes, *measured.notes))),
    )
    results = Results(_record(context, prompts, split, quoted, details, fitted_on or {}, tune), tuple(rows), details)
    if out is not None:
        results.save(out)
    return results


def _context(
    inputs: EvalInputs,
    encoders: Mapping[str, Encoder],
    cache: VectorCache,
    prompts: Wording,
    suite: Suite,
    counts: Mapping[str, Mapping[str, int]] | None,
    holdout_pairs: Sequence[Mapping[str, str]],
    heads: Mapping[str, LinearHead],
) -> EvalContext:
    certainty = suite.statistics
    sampler = Sampler(
        inputs.catalogue.products,
        draws=certainty.draws,
        swaps=certainty.permutations,
        seed=certainty.seed,
        memory_mb=certainty.memory_mb,
    )
    return EvalContext(
        inputs.catalogue, encoders, inputs.pictures, cache, prompts, suite, sampler, counts, tuple(holdout_pairs), heads
    )


def _measure(
    context: EvalContext, pair: tuple[str, str | None], split: str, quoted: tuple[str, ...], *, progress: bool
) -> tuple[Measured, list[Row]]:
    """Every task; headlines first."""
    measured, own_rows = Measured(), []
    textless = context.textless()
    for task in context.suite.tasks:
        if textless and isinstance(task, TextToImage | ImageToText | Retention):
            measured.notes.append(f"{task.task}: {textless}")
        elif isinstance(task, Recognition):
            measured += recognition(context, task)
        elif isinstance(task, TextToImage):
            measured += text_to_image(context, task)
        elif isinstance(task, ImageToImage):
            measured += image_to_image(context, task)
        elif isinstance(task, ImageToText):
            measured += image_to_text(context, task)
        else:
            found, rows = _retention(context, task, pair, progress=progress)
            measured.notes += found.notes
            own_rows += rows
    if any(isinstance(task, Recognition) for task in context.suite.tasks):
        first = headlines(context, measured.predictions, quoted)
        measured.cells, measured.notes = first.cells + measured.cells, first.notes + measured.notes
    measured.cells += _search_headline(context, measured.cells, quoted)
    measured.cells.sort(key=lambda cell: cell.task != HEADLINE)
    rows = to_rows(measured.cells, pair, split, context.sampler, context.suite.statistics)
    return measured, rows + own_rows


def _search_headline(context: EvalContext, cells: Sequence[Cell], quoted: tuple[str, ...]) -> list[Cell]:
    """The mean average precision over every value of the headline attributes."""
    about = ("text_to_image", "average_precision", "all", None)
    some = [
        cell for cell in cells if (cell.task, cell.metric, cell.bin, cell.value) == about and cell.attribute in quoted
    ]
    evidence = [cell.evidence for cell in some if isinstance(cell.evidence, Rankings)]
    if not evidence:
        return []
    known = np.unique(np.concatenate([context.rows(cell.attribute or "") for cell in some]))
    size = (len(known), context.sampler.products(known))
    return [Cell(HEADLINE, None, None, "all", "average_precision", None, *size, Rankings.of(evidence))]


def _retention(
    context: EvalContext, task: Retention, pair: tuple[str, str | None], *, progress: bool
) -> tuple[Measured, list[Row]]:
    certainty = context.suite.statistics
    catalogue = retained.load(task, certainty.seed)
    inputs = prepare(context.encoders, catalogue, context.vectors, progress=progress)
    words = retained.Templates(task)
    own = _context(inputs, context.encoders, context.vectors, words, context.suite, None, (), {})
    measured = retained.retention(own, task)
    return measured, to_rows(measured.cells, pair, task.split, own.sampler, certainty)


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


def _measured_attributes(context: EvalContext) -> tuple[str, ...]:
    """Attributes of any task, each once."""
    named = [
        name
        for task in context.suite.tasks
        if isinstance(task, Recognition | TextToImage | ImageToImage)
        for name in context.attributes(task.attributes)
    ]
    return tuple(dict.fromkeys(named))


def _reliabilities(context: EvalContext, tune: Catalogue | None, *, progress: bool) -> tuple[Reliability, ...]:
    """Of the first recognition task, if any."""
    task = next((task for task in context.suite.tasks if isinstance(task, Recognition)), None)
    if task is None:
        return ()
    fitted = None if tune is None else prepare(context.encoders, tune, context.vectors, progress=progress)
    return tuple(reliabilities(context, task, fitted))


def _record(
    context: EvalContext,
    prompts: Prompts,
    split: str,
    quoted: tuple[str, ...],
    details: Details,
    fitted_on: Mapping[str, str],
    tune: Catalogue | None,
) -> dict[str, Any]:
    """The config of results.json."""
    catalogue = context.catalogue
    counts = context.train_counts or {}
    record = {
        "suite": context.suite.model_dump(mode="json"),
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
            "split": split,
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
        "fitted_on": {**fitted_on, **({"temperatures": "tune"} if tune is not None else {})},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": runs.environment(context.suite.statistics.seed)["packages"],
    }
    return places.public(record)
