"""The parts of a release, found in a run and compared with one another before anything is copied.

    bundle = gather(Run.open("runs/fashion"), Gate.load("eval/release_gate.yaml"))
    bundle.files       every file with its sha256, and where it goes
    bundle.verdicts    what the gate said of report/results.json

All parts must speak of one model: the spaces of the adapter (at the export's strength) are those of the merged model,
of every other export, of the system that the report measured and of the thresholds; the index is of the same
image_space; the prompts are those that were measured. All faults come in one message. Nothing here copies.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clipadapt.atomic import sha256_file
from clipadapt.deploy.lineage import Verdict
from clipadapt.errors import AdapterError, GateError, SpaceError, StoreError, UsageError, listing
from clipadapt.evaluation.gate import Gate, judge
from clipadapt.evaluation.results import RESULTS, Results
from clipadapt.prompts import Prompts
from clipadapt.runs import Run
from clipadapt.search.addresses import Reference, address_in
from clipadapt.search.opening import in_milvus, is_index, located, meta_of
from clipadapt.search.twins import INDEX, index_folder
from clipadapt.search.wishes import QUERIES, Signals
from clipadapt.sections import locate
from clipadapt.store import MANIFEST, Store
from clipadapt.tagging.thresholds import THRESHOLDS
from clipadapt.towers.adapter_card import AdapterCard, read_adapter_card
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.identity import TOWERS, Tower, adapted_space, read_card
from clipadapt.towers.load import load

MODEL, ADAPTER, EXPORTS, REPORT = "model", "adapter", "exports", "report"
PROMPTS = "prompts.yaml"
_MERGED = ("open_clip", "transformers")
_SHOWN = 4
_FITTED = "fit them again with clipadapt tag --model THE_MERGED_MODEL --config RUN/config.yaml --fit RUN"


class File(NamedTuple):
    """A file to copy."""

    source: Path
    target: str
    """Path inside the release."""
    bytes: int
    sha256: str


class IndexPart(NamedTuple):
    """The index of a release, described in words."""

    words: str
    files: tuple[File, ...] = ()
    """Of its current version, targets inside that version."""
    reference: Reference | None = None
    """Where Milvus keeps it, which is named and not copied."""


class Spaces(NamedTuple):
    """What a model's vectors mean."""

    image: str
    text: str | None


class Bundle(NamedTuple):
    """Everything a release is made of, found to belong together."""

    run: Run
    model: Path
    """The merged model."""
    files: tuple[File, ...]
    """All but the index."""
    indexed: IndexPart | None
    described: Mapping[str, str]
    """Part -> what it is."""
    base: str
    spaces: Spaces
    strength: Mapping[str, float]
    verdicts: tuple[Verdict, ...]


class _Card(NamedTuple):
    """What the merged model says of itself."""

    spaces: Spaces
    strength: dict[str, float]


def gather(
    run: Run,
    gate: Gate,
    *,
    exports: Sequence[Path] | None = None,
    index: str | Path | None = None,
    thresholds: Path | None = None,
    indexed: bool = True,
) -> Bundle:
    """Finds the parts of a run and compares them with one another and with the gate.

    Args:
        exports: other forms of the same model; null: all there are in the run's export/.
        index: a folder, or milvus:URI/COLLECTION; null: the run's own, if it has one.
        thresholds: what `clipadapt tag` fitted; null: the run's own, if it has them.
        indexed: False leaves any index out, for one that is still to be made.

    Raises:
        UsageError: a part is missing; says how to make it.
        SpaceError: parts do not belong together; names all of them.
        GateError: the report does not pass; with every reason.
        ModelError, StoreError: the merged model, or the index, was changed after it was written.
    """
    model = next((run.export / form for form in _MERGED if (run.export / form).is_dir()), None)
    if model is None:
        raise UsageError(
            f"{run.export}: holds no merged model; write one with: "
            f"clipadapt export run:{run.path} --to open_clip --out {run.export / 'open_clip'}"
        )
    others = _other_exports(run, model) if exports is None else list(exports)
    index = index or (run.path / INDEX if indexed and is_index(run.path / INDEX) else None)
    thresholds = thresholds or (run.path / THRESHOLDS if (run.path / THRESHOLDS).is_file() else None)
    results, prompts = _results(run), Prompts.load(run.config.prompts)
    adapter = _adapter_card(run)
    files = [
        *_folder(model, MODEL),
        *_folder(run.adapter, ADAPTER),
        *_folder(run.report, REPORT),
        *(file for folder in others for file in _folder(folder, f"{EXPORTS}/{folder.name}")),
        *([_file(thresholds, THRESHOLDS)] if thresholds else []),
        *([_file(run.path / QUERIES, QUERIES)] if (run.path / QUERIES).is_file() else []),
        *(
            _file(path, path.name)
            for name in ("config.yaml", "environment.json")
            if (path := run.path / name).is_file()
        ),
        _file(locate(run.config.prompts), PROMPTS),
    ]
    _distinct(files)
    card = _Card(*_loaded(model))
    wanted = _spaces(run, adapter, card.strength)
    faults = [
        *_differs(f"the merged model {model}", card.spaces, wanted),
        *(fault for folder in others for fault in _export_faults(folder, wanted)),
        *(_index_faults(index, wanted) if index else []),
        *(_threshold_faults(thresholds, wanted, prompts) if thresholds else []),
        *(_query_faults(run.path / QUERIES, wanted, prompts) if (run.path / QUERIES).is_file() else []),
        *_report_faults(run, results, wanted, adapter, prompts),
    ]
    if faults:
        raise SpaceError(f"{run.path}: {len(faults)} part(s) do not belong to adapter {run.adapter}{listing(faults)}")
    found = index_part(index) if index is not None else None
    described = {
        MODEL: model.name,
        ADAPTER: adapter.kind,
        **{f"{EXPORTS}/{folder.name}": folder.name for folder in others},
        **({INDEX: found.words} if found is not None else {}),
        PROMPTS: prompts.digest,
        **({THRESHOLDS: thresholds.name} if thresholds else {}),
        **({QUERIES: "weights of values in queries"} if (run.path / QUERIES).is_file() else {}),
        REPORT: f"{results.config['catalogue']['source']}, split {results.config['catalogue']['split']}",
    }
    verdict = _judged(run, gate, results, wanted)
    return Bundle(run, model, tuple(files), found, described, adapter.base, wanted, card.strength, (verdict,))


def _other_exports(run: Run, model: Path) -> list[Path]:
    return [path for path in sorted(run.export.iterdir()) if path.is_dir() and path != model and path.name[0] != "."]


def _results(run: Run) -> Results:
    if not (run.report / RESULTS).is_file():
        raise UsageError(
            f"{run.report}: holds no {RESULTS}, and what was not measured is not released; measure it with: "
            f"clipadapt eval --model run:{run.path} --against {run.config.model.name} --out {run.report}"
        )
    return Results.load(run.report)


def _adapter_card(run: Run) -> AdapterCard:
    card = read_adapter_card(run.adapter) if run.adapter.is_dir() else None
    if card is None:
        raise AdapterError(f"{run.adapter}: no adapter of a run, so the release would have no lineage; train it first")
    return card


def _loaded(model: Path) -> tuple[Spaces, dict[str, float]]:
    """Loading is what shows that the weights are those that the card was written for."""
    encoder = load(str(model))
    assert isinstance(encoder, TorchEncoder), "a merged folder holds torch weights"
    strength = encoder.lineage.strength or {}
    return Spaces(encoder.image_space, encoder.text_space), {tower: strength.get(tower, 1.0) for tower in TOWERS}


def _spaces(run: Run, card: AdapterCard, strength: Mapping[str, float]) -> Spaces:
    """Those of the run's adapter at a strength; only one that is neither 0 nor 1 needs the adapter itself."""
    whole: dict[Tower, str | None] = {"image": card.image_space, "text": card.text_space}
    base: dict[Tower, str | None] = {"image": card.base_image_space, "text": card.base_text_space}
    spaces: dict[Tower, str | None] = {
        tower: whole[tower] if strength[tower] == 1.0 else base[tower] for tower in TOWERS
    }
    partly: list[Tower] = [
        tower for tower in TOWERS if strength[tower] not in (0.0, 1.0) and base[tower] != whole[tower]
    ]
    if partly:
        encoder = load(f"run:{run.path}")
        assert isinstance(encoder, TorchEncoder), "a run holds torch weights"
        assert encoder.adapters is not None, "a run carries its adapter"
        for tower in partly:
            spaces[tower] = adapted_space(tower, base[tower] or "", encoder.adapters.digest(tower), strength[tower])
    return Spaces(spaces["image"] or "", spaces["text"])


def _differs(what: str, spaces: Spaces, wanted: Spaces, remedy: str = "") -> Iterator[str]:
    for tower, one, other in zip(TOWERS, spaces, wanted, strict=True):
        if one != other:
            remedy = remedy or f"write the {tower} side anew from this run"
            yield f"{what} is of {one}, the adapter gives {other}; {remedy}"


def _export_faults(folder: Path, wanted: Spaces) -> Iterator[str]:
    card = read_card(folder)
    if card is None or "image_space" not in card:
        yield f"the export {folder} has no clipadapt.json that says which model it is of; export again"
        return
    yield from _differs(f"the export {folder}", Spaces(card["image_space"], card["text_space"]), wanted)


def _index_faults(index: str | Path, wanted: Spaces) -> Iterator[str]:
    space = meta_of(index).image_space
    if space != wanted.image:
        yield f"the index {index} is of {space}, the adapter gives {wanted.image}; build it again with this run"


def _threshold_faults(file: Path, wanted: Spaces, prompts: Prompts) -> Iterator[str]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        spaces = Spaces(document["model"]["image_space"], document["model"]["text_space"])
        fitted_with = document["prompts"]["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file}: cannot be read as thresholds ({error!r}); fit them with clipadapt tag") from error
    yield from _differs(f"the thresholds {file}", spaces, wanted, _FITTED)
    if fitted_with != prompts.digest:
        yield f"the thresholds {file} were fitted with other prompts than {prompts.path}; fit them again"


def _query_faults(file: Path, wanted: Spaces, prompts: Prompts) -> Iterator[str]:
    signals = Signals.load(file)
    yield from _differs(f"the query weights {file}", Spaces(signals.image_space, signals.text_space), wanted, _FITTED)
    if signals.prompts["digest"] != prompts.digest:
        yield f"the query weights {file} were fitted with other prompts than {prompts.path}; fit them again"


def _report_faults(run: Run, results: Results, wanted: Spaces, adapter: AdapterCard, prompts: Prompts) -> Iterator[str]:
    systems = results.config["systems"]
    system = _system(results, wanted)
    if system is None:
        measured = ", ".join(f"{one['model']} ({one['image_space']})" for one in systems.values())
        yield f"the report {run.report} measured {measured}, not the merged model ({wanted.image}); measure that one"
    base = Spaces(adapter.base_image_space, adapter.base_text_space)
    others = {name: Spaces(one["image_space"], one["text_space"]) for name, one in systems.items() if name != system}
    for name, spaces in others.items() if system is not None else ():
        if spaces != base:
            other = systems[name]["model"]
            yield f"the report {run.report} compares with {other}, which is not the base {adapter.base}"
    if results.config["prompts"]["digest"] != prompts.digest:
        yield f"the report {run.report} was measured with other prompts than {prompts.path} holds now; measure again"


def _system(results: Results, wanted: Spaces) -> str | None:
    """The name under which the report measured a model of these spaces."""
    systems: Mapping[str, Mapping[str, Any]] = results.config["systems"]
    return next((name for name, one in systems.items() if (one["image_space"], one["text_space"]) == wanted), None)


def _judged(run: Run, gate: Gate, results: Results, wanted: Spaces) -> Verdict:
    system = _system(results, wanted)
    verdict = Verdict.of(gate, outcomes := judge(gate, [row for row in results.rows if row.system == system]))
    if not verdict.passed:
        failed = [one.reason for one in outcomes if not one.passed]
        raise GateError(
            f"{run.report / RESULTS}: gate {gate.name!r} not passed, {len(failed)} of {len(outcomes)} condition(s) do "
            f"not hold, so there is no release{listing(failed)}"
        )
    return verdict


def index_part(index: str | Path, reference: Reference | None = None) -> IndexPart:
    """The current version of an index, but for the list of its files; or where Milvus keeps it.

    Args:
        reference: what a release says of an address; None: that a person named it, or what the index's folder says.

    Raises:
        StoreError: a file is missing or changed since the index was written, or a server does not answer.
    """
    place, factory = located(index), meta_of(index).factory
    if not isinstance(place, Path):
        reference = reference or (None if in_milvus(index) else address_in(index_folder(index))) or Reference(place)
        return IndexPart(f"{factory} in Milvus, {place.name}", reference=reference)
    folder = Store(place).current(verify=True)
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / MANIFEST)
    return IndexPart(factory, tuple(_file(path, path.relative_to(folder).as_posix()) for path in files))


def _folder(folder: Path, target: str) -> Iterator[File]:
    if not folder.is_dir():
        raise UsageError(f"{folder}: is no folder, so it cannot be {target} of a release")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield _file(path, f"{target}/{path.relative_to(folder).as_posix()}")


def _file(path: Path, target: str) -> File:
    try:
        return File(path, target, path.stat().st_size, sha256_file(path))
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}); it would be {target} of the release") from error


def _distinct(files: Sequence[File]) -> None:
    targets = [file.target for file in files]
    twice = (
        sorted({target for target in targets if targets.count(target) > 1}) if len(set(targets)) < len(targets) else []
    )
    if twice:
        raise UsageError(f"two exports would both be {', '.join(twice[:_SHOWN])}; give their folders distinct names")
