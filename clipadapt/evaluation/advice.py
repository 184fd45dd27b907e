"""What to try next with a run, each piece of advice with the numbers that it comes from.

    run = Run.open("runs/fashion")
    for one in advice(run, Results.load(run.report).rows):
        print(one.text, one.why)

Rules of thumb over the run's own curves (metrics.jsonl) and report (results.json): whether tune still rose, fell or
stood still, whether the training set was learned by heart, whether texts lag behind value vectors, which values have
few items, what got worse. A rule speaks only where its figures are there; no advice means that none of these rules
applies, not that nothing can be better. Nothing here trains or reads pictures.
"""

from collections.abc import Iterator, Sequence

from clipadapt.config import Config
from clipadapt.evaluation.details import Advice, Training
from clipadapt.evaluation.training_log import training_of
from clipadapt.runs import Run
from clipadapt.statistics.rows import HEADLINE, Row, in_quoted_wording, select

RISING = 0.2
"""Share of the whole gain on tune that the last epoch still made, from which more epochs are worth their time."""
LEARNED = 0.95
"""Training accuracy from which there is nothing left to learn of the training set ..."""
APART = 0.2
"""... and how far tune is behind it where labels or variety, rather than steps, are what is missing."""
LAGGING = 0.8
"""Share of the value vectors' accuracy below which texts alone are worth more steps."""
SHOWN = 8
"""Values that are named."""


def advice(run: Run, rows: Sequence[Row]) -> list[Advice]:
    """All that applies, the most promising first. `rows`: of the run's report; none where it was not measured."""
    config, training = run.config, training_of(run)
    said = [row["advice"] for row in run.metrics() if isinstance(row.get("advice"), str)]
    found = [*_of_curves(run, config, training), *_of_accuracy(run, config), *_of_texts(config, rows)]
    found += [Advice(one, "said by training itself, which watches its labels, loss and accuracy") for one in said]
    return [*found, *_of_values(rows), *_of_losses(config, rows)]


def _of_curves(run: Run, config: Config, training: Training | None) -> Iterator[Advice]:
    """How tune went from epoch to epoch; by its loss, of which less is better, where it has no labels."""
    known = {} if training is None else training.figures
    name = config.eval.select_on if config.eval.select_on in known else "loss"
    sign = -1.0 if name == "loss" else 1.0
    points = [
        (str(row["when"]), sign * row[f"tune_{name}"])
        for row in run.metrics()
        if "when" in row and isinstance(row.get(f"tune_{name}"), int | float)
    ]
    epochs = [
        figure for when, figure in points if when.startswith("epoch ")
    ]  # vectors and texts alone are measured too
    if not epochs:
        return
    best, start = max(epochs), points[0][1]
    curve = " -> ".join(f"{abs(figure):.3f}" for figure in epochs)
    if best <= start:
        yield Advice(
            f"learn more slowly: train.lr={config.train.lr / 4:g}, and look at `clipadapt data check`",
            f"no epoch was better on tune than before training ({name} {abs(start):.3f}, then {curve})",
        )
    elif len(epochs) > 1 and epochs[-1] == best and epochs[-1] - epochs[-2] > RISING * (best - start):
        yield Advice(
            f"train longer: train.epochs={2 * config.train.epochs}",
            f"{name} on tune still {'fell' if name == 'loss' else 'rose'} in the last epoch ({curve})",
        )
    elif epochs.index(best) < len(epochs) - 2:
        yield Advice(
            f"stop earlier, or go slower: train.patience=2, or train.lr={config.train.lr / 2:g}",
            f"{name} on tune was best after epoch {epochs.index(best) + 1} of {len(epochs)} ({curve})",
        )


def _of_accuracy(run: Run, config: Config) -> Iterator[Advice]:
    """What is known of the training set, beside tune."""
    rows = run.metrics()
    last = [row["accuracy"] for row in rows if isinstance(row.get("accuracy"), float) and "lr" in row][-20:]
    tune = [row["tune_top1"] for row in rows if isinstance(row.get("tune_top1"), float)]
    if not last or not tune:
        return
    learned = sum(last) / len(last)
    if learned >= LEARNED and learned - tune[-1] > APART:
        yield Advice(
            "look at the labels (`clipadapt data audit`), widen augment.crop, or lower lora.rank "
            f"(now {config.lora.rank})",
            f"training accuracy is {learned:.0%} and tune's {tune[-1]:.0%}: the training set is learned by heart",
        )


def _of_texts(config: Config, rows: Sequence[Row]) -> Iterator[Advice]:
    """Free words are searched for by texts alone, whatever value vectors know."""
    means = {
        row.wording: row.mean
        for row in select(rows, task=HEADLINE, metric="balanced_accuracy")
        if row.paired and row.wording in ("texts", "vectors")
    }
    if len(means) == 2 and means["texts"] < LAGGING * means["vectors"] and config.lora.preset != "image":
        yield Advice(
            f"give texts more steps: train.text_warmup={2 * max(config.train.text_warmup, 100)}, and more names for "
            "values in the prompts file",
            f"texts alone recognise {means['texts']:.1%} and value vectors {means['vectors']:.1%}: a search in free "
            "words knows only the first",
        )


def _of_values(rows: Sequence[Row]) -> Iterator[Advice]:
    """Values with few training items that are not recognised."""
    recalls = [
        row
        for row in in_quoted_wording(select(rows, task="recognition", metric="recall", bin="few"))
        if row.paired and row.value is not None
    ]
    weak = sorted((row for row in recalls if row.mean < 0.5), key=lambda row: row.mean)
    if weak:
        named = ", ".join(f"{row.attribute} {row.value} ({row.mean:.0%})" for row in weak[:SHOWN])
        more = f" and {len(weak) - SHOWN} more" if len(weak) > SHOWN else ""
        yield Advice(
            "collect or label more items of these values; below about 20 each, what is measured is mostly luck, too",
            f"{len(weak)} of {len(recalls)} values with 20 training items or fewer are recognised less than half the "
            f"time: {named}{more}",
        )


def _of_losses(config: Config, rows: Sequence[Row]) -> Iterator[Advice]:
    """What the adaptation made worse."""
    worse = [row for row in in_quoted_wording(rows) if row.paired and row.value is None and row.verdict() == "worse"]
    if not worse:
        return
    worse.sort(key=lambda row: row.gain)
    named = ", ".join(f"{row.label()} ({100 * (row.delta or 0.0):+.1f} points)" for row in worse[:SHOWN])
    keys = f"loss.anchor={max(10.0, 2 * config.loss.anchor):g} and loss.answers={max(1.0, 2 * config.loss.answers):g}"
    known = ", with loss.attribute_weights 0 for what it knew already" if config.loss.name == "attributes" else ""
    yield Advice(
        f"hold more of the base: {keys}{known}; or find how much of the adaptation to keep with `clipadapt export "
        "--strength auto`",
        f"worse than the base: {named}",
    )
