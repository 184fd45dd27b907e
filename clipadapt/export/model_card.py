"""README.md of an export: what the model is, what it was trained on, what was measured, what it is for.

The head is the hub's metadata, written by huggingface_hub, so that what the hub reads it can read. Figures come from
the run's report, and only where that report measured this very model: same base, adapter and strength. What is not
known (a licence, figures, counts) is said to be unknown. Folders of this machine are named by their last part alone.
Nothing here measures or uploads.
"""

import os
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any, NamedTuple, Protocol, runtime_checkable

from huggingface_hub import EvalResult, ModelCardData

from clipadapt.config import Config
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.splits import Splits, load_splits
from clipadapt.errors import ClipadaptError, ConfigError, ModelError
from clipadapt.evaluation.report.summary import quoted, subject
from clipadapt.evaluation.results import RESULTS, Results
from clipadapt.export.parity import Agreement
from clipadapt.export.preparation import Prepared, run_of
from clipadapt.runs import Run
from clipadapt.statistics.rows import Row, interval_text, points
from clipadapt.towers import hub
from clipadapt.towers.encoder import TorchEncoder

README = "README.md"
_TEMPLATE = Path(__file__).parent / "model_card.md"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_NARROW = ("", "These are of the float32 files; clipadapt.json says how far INT8 and fp16 files agree with them.")


@runtime_checkable
class Form(Protocol):
    """What a card needs to know of an export form."""

    @property
    def name(self) -> str: ...

    @property
    def use(self) -> str: ...

    @property
    def narrow(self) -> tuple[str, ...]: ...


class _Known(NamedTuple):
    """What a run says of a model."""

    config: Config
    results: Results | None
    """null: none that measured this model."""
    system: str
    """The model's name in the results."""


def describe(folder: Path, ready: Prepared, to: Form, agreement: Agreement) -> None:
    """Writes README.md into an export."""
    known = _known(ready.encoder)
    (folder / README).write_text(model_card(ready, to, agreement, known), encoding="utf-8")


def model_card(ready: Prepared, to: Form, agreement: Agreement, known: _Known | None) -> str:
    """The whole file."""
    encoder = ready.encoder
    name = encoder.name.partition(":")[2].rstrip("/").rpartition("/")[2] if known is None else known.config.name
    strengths = ready.lineage.strength
    fields = {
        "metadata": _metadata(name, encoder, to, known).to_yaml(line_break="\n"),
        "name": name,
        "base": _public(encoder.lineage.base),
        "made": _made(strengths, ready),
        "use": to.use,
        "data": "\n".join(_data(known)),
        "figures": "\n".join([*_figures(known), *(_NARROW if to.narrow else ())]),
        "image_space": encoder.image_space,
        "text_space": encoder.text_space or "no text tower",
        "size": encoder.preprocess.size,
        "agreement": ", ".join(f"{tower} {value:.1e}" for tower, value in agreement._asdict().items() if value),
        "version": version("clipadapt"),
    }
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(fields)


def _known(encoder: TorchEncoder) -> _Known | None:
    """None for a model that is no run."""
    if not encoder.name.startswith("run:"):
        return None
    try:
        run = run_of(encoder.name)
    except ModelError:  # an adapter that was copied out of its run
        return None
    results = _results(run)
    spaces = (encoder.image_space, encoder.text_space)
    systems: Mapping[str, Mapping[str, Any]] = {} if results is None else results.config["systems"]
    system = next((name for name, one in systems.items() if (one["image_space"], one["text_space"]) == spaces), None)
    return _Known(run.config, results if system else None, system or "")


def _results(run: Run) -> Results | None:
    if not (run.report / RESULTS).is_file():
        return None
    try:
        return Results.load(run.report)
    except ConfigError:  # of another version: the card then says that it knows no figures
        return None


def _metadata(name: str, encoder: TorchEncoder, to: Form, known: _Known | None) -> ModelCardData:
    base = _hub_base(encoder.lineage.base)
    source = known.config.data.source if known is not None else ""
    scored = [] if known is None or known.results is None else list(_scores(known))
    return ModelCardData(
        library_name=to.name,
        pipeline_tag="sentence-similarity" if to.name == "sentence-transformers" else "zero-shot-image-classification",
        tags=["clip", "clipadapt", "lora", "visual-search"],
        base_model=base,
        datasets=[source] if _on_hub(source) else None,
        model_name=name if scored else None,
        eval_results=scored or None,
    )


def _scores(known: _Known) -> Iterator[EvalResult]:
    assert known.results is not None, "was measured"
    catalogue = known.results.config["catalogue"]
    for row in _rows(known):
        yield EvalResult(
            task_type="zero-shot-image-classification",
            dataset_type=catalogue["source"] if _on_hub(catalogue["source"]) else "private",
            dataset_name=_public(catalogue["source"]),
            dataset_split=row.split,
            metric_type=row.metric,
            metric_value=round(row.mean, 4),
            metric_name=f"{subject(row)}, {interval_text(row.low, row.high)} of 100",
        )


def _rows(known: _Known) -> list[Row]:
    """Headlines, and one figure per attribute and task, of this model."""
    assert known.results is not None, "was measured"
    return [row for row in quoted(known.results.rows) if row.system == known.system]


def _made(strengths: Mapping[str, float] | None, ready: Prepared) -> str:
    if strengths is None:
        return "It was not adapted."
    factors = ", ".join(f"{tower} {value:g}" for tower, value in strengths.items())
    how = "" if ready.curve is None else ", chosen on a tune split (strength.html draws what was tried)"
    return f"What training added is merged into the weights at strength {factors}{how}: the graph is the base's."


def _data(known: _Known | None) -> Iterator[str]:
    if known is None:
        yield "No run is known, so neither is what this model was trained on."
        return
    settings = known.config.data
    yield f"Source: {_public(settings.source)}" + (f", revision {settings.revision}" if settings.revision else "")
    yield f"Attributes: {', '.join(settings.kinds())}. Captions: {_public(known.config.prompts)}."
    yield ""
    splits = _splits(known.config)
    if splits is None:
        yield "The source was not at hand when this was written, so its counts are missing."
        return
    yield "| split | pictures | products | labelled pictures by attribute |"
    yield "|---|---:|---:|---|"
    for name, catalogue in splits._asdict().items():
        yield f"| {name} | {len(catalogue)} | {len(set(catalogue.products.tolist()))} | {_labelled(catalogue)} |"
    yield ""
    yield from (f"{name}: {line}." for name, catalogue in splits._asdict().items() for line in catalogue.kept_out)


def _splits(config: Config) -> Splits | None:
    """Without a look at any picture; None where the source is not at hand any more."""
    source = config.data.source
    if not Path(os.path.expandvars(source)).expanduser().exists() and not _on_hub(source):
        return None
    try:
        return load_splits(config.data.model_copy(update={"broken": "error", "prepared": None}), config.seed)
    except ClipadaptError:
        return None


def _labelled(catalogue: Catalogue) -> str:
    counts = {
        attribute.name: sum(bool(had) for had in catalogue.value_sets(attribute.name))
        for attribute in catalogue.attributes
    }
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _figures(known: _Known | None) -> Iterator[str]:
    if known is None or known.results is None:
        yield (
            "No figures: no report measured this model at this strength. `clipadapt eval --model FOLDER --against BASE "
            "--config CONFIG.yaml --out DIR` makes one."
        )
        return
    results = known.results
    catalogue, coverage = results.config["catalogue"], results.config["suite"]["statistics"]["coverage"]
    yield (
        f"On {catalogue['items']} pictures of {catalogue['products']} products, split {catalogue['split']}, on which "
        f"nothing was chosen. Percent, with {coverage:.0%} intervals clustered by product."
    )
    yield ""
    rows = _rows(known)
    against = next((row.against for row in rows if row.paired), None)
    yield f"| what | this model | against {against or 'nothing'} | items | products |"
    yield "|---|---|---|---:|---:|"
    for row in rows:
        delta = "–"
        if row.paired:
            delta = f"{points(row.delta, signed=True)} {interval_text(row.delta_low, row.delta_high, signed=True)}"
            delta += f", {row.verdict()}"
        figure = f"{points(row.mean)} {interval_text(row.low, row.high)}"
        yield f"| {_escaped(subject(row))} | {figure} | {delta} | {row.n} | {row.products} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _public(source: str) -> str:
    """A hub id or model name as it is; of a folder of this machine, its last part."""
    if _on_hub(source):
        return source
    scheme, colon, rest = source.partition(":")
    named = rest if colon and scheme in hub.SCHEMES else source
    return named if colon and named is source else Path(named).name or named


def _on_hub(source: str) -> bool:
    return bool(_HUB_ID.fullmatch(source)) and not Path(source).expanduser().exists()


def _hub_base(base: str) -> str | None:
    """The hub's id of the base; null for one that is not there."""
    import open_clip

    name = hub.parse(base)
    if name.scheme == "open_clip":
        known = open_clip.get_pretrained_cfg(name.name, name.tag or "") or {}
        return known.get("hf_hub", "").strip("/") or None
    return name.name if name.scheme in ("hf-hub", "transformers") and _on_hub(name.name) else None
