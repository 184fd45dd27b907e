"""INT8 after training: ranges from calibration, exceptions by measurement, and what it costs, measured.

    report = quantise(folder, calibration, write)     image.int8.onnx and text.int8.onnx beside the float files

Every site (a tensor and the products that read it) could be rounded by a fixed range. Each is tried alone, on tune, and
ranked by how far it turns vectors; from a graph in which all are rounded, the worst are put back to float until
decisions agree with the float model's. A choice of exceptions that loses too much is given up as soon as it has, so
most are judged by a part of tune. The trade: seconds to minutes of forward passes, no training.
Weights are int8 everywhere (see int8_graph), so exceptions cost time, not bytes. CPUs with VNNI or AMX multiply these
exactly; older ones may saturate, which costs accuracy. Nothing here knows how a graph is cut.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from jaxtyping import Float

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import ParityError
from clipadapt.export.calibration import Calibration, agreement
from clipadapt.export.int8_graph import Form, Plan, Range
from clipadapt.export.onnx_encoder import OnnxEncoder, file_of, session
from clipadapt.keyed import generator
from clipadapt.progress import track
from clipadapt.towers.identity import Tower
from clipadapt.towers.text import by_length

GOAL = 0.998
"""Share of tune's decisions that each tower alone must leave unchanged before exceptions stop; what both change adds
up, and tune is small: at 0.995 the two together kept 98.9% of the decisions on other photos."""
LOWEST = 0.9
"""Mean cosine under which an INT8 tower is taken for broken."""
_RANKED, _SAMPLES, _SHRINKS = 16, 2_048, (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
_STEPS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)

Batches = Sequence[np.ndarray]
Loss = Callable[[Float[np.ndarray, "n d"]], float]
"""Vectors of the first inputs of tune -> the share of all its decisions that they change; grows with their number."""


class Tuned(NamedTuple):
    """One tower's forms, and what they cost on tune."""

    forms: dict[str, Form]
    kept: list[str]
    """Where products stay float, worst first."""
    agreement: float
    """Share of decisions that stay; mean cosine where there are no attributes."""
    cosine: float
    """Mean over the inputs."""
    graph: onnx.ModelProto
    vectors: Float[np.ndarray, "n d"]
    """Of tune."""


def quantise(folder: Path, calibration: Calibration, write: Callable[[onnx.ModelProto, Path], None]) -> dict[str, Any]:
    """Adds the INT8 files to a folder that holds the float ones; `write` checks and writes a graph.

    Returns what belongs into clipadapt.json.

    Raises:
        ParityError: a tower does not survive.
        CatalogueError: a calibration picture is broken.
    """
    encoder = OnnxEncoder(folder)
    pictures = _pixels(encoder, calibration.pictures)
    tune = _pixels(encoder, calibration.tune)
    values = {name: _vectors(encoder, texts) for name, texts in calibration.values.items()}
    float_pictures = np.concatenate([encoder.run_images(batch) for batch in tune])

    decided = {name: (float_pictures @ vectors.T).argmax(axis=1) for name, vectors in values.items()}

    def loss(narrow: Float[np.ndarray, "n d"]) -> float:
        if not values:
            return (len(narrow) - _cosine(narrow, float_pictures[: len(narrow)]) * len(narrow)) / len(float_pictures)
        changed = [(narrow @ texts.T).argmax(axis=1) != decided[name][: len(narrow)] for name, texts in values.items()]
        return sum(int(one.sum()) for one in changed) / (len(values) * len(float_pictures))

    report: dict[str, Any] = {}
    image = _tune(_plan(folder, "image"), "pixels", pictures, tune, float_pictures, loss)
    write(image.graph, folder / file_of("image", "int8"))
    report["image"] = _summary(image)
    if encoder.text_input is not None:
        text, vectors = _text(encoder, folder, calibration, values, float_pictures)
        write(text.graph, folder / file_of("text", "int8"))
        report["text"] = _summary(text)
        pairs = {name: (vectors[name], values[name]) for name in values}
        report["agreement"] = agreement((image.vectors, float_pictures), pairs)
    for tower in report.keys() & {"image", "text"}:
        if not report[tower]["cosine"] >= LOWEST:
            raise ParityError(
                f"the {tower} tower in INT8 has a mean cosine of {report[tower]['cosine']:.3f} with the float one; "
                "calibrate with pictures and captions like those it will see, or ship the float files"
            )
    report["calibration"] = {
        "source": calibration.source, "split": calibration.pictures.split, "pictures": len(calibration.pictures),
        "captions": len(calibration.captions), "tune": len(calibration.tune), "decisions": list(calibration.values),
    }  # fmt: skip
    return report


def _text(
    encoder: OnnxEncoder,
    folder: Path,
    calibration: Calibration,
    values: Mapping[str, np.ndarray],
    pictures: Float[np.ndarray, "n d"],
) -> tuple[Tuned, dict[str, np.ndarray]]:
    """The text tower, tuned, and its vectors of the values."""
    assert encoder.text_input is not None
    labels = [text for texts in calibration.values.values() for text in texts]
    inputs = labels or calibration.captions
    order, batches = _tokens(encoder, inputs)
    expected = np.concatenate([encoder.run_texts(batch) for batch in batches])
    ends = np.cumsum([len(texts) for texts in calibration.values.values()])[:-1]

    def by_attribute(encoded: Float[np.ndarray, "n d"]) -> dict[str, np.ndarray]:
        placed = np.empty_like(encoded)
        placed[order] = encoded
        return dict(zip(calibration.values, np.split(placed, ends), strict=True)) if labels else {}

    def loss(narrow: Float[np.ndarray, "n d"]) -> float:
        if len(narrow) < len(expected):
            return 0.0  # a picture's decision needs all texts
        vectors = by_attribute(narrow)
        shares = agreement((pictures, pictures), {name: (vectors[name], values[name]) for name in vectors})
        return 1.0 - shares.get("all", _cosine(narrow, expected))

    captions = _tokens(encoder, calibration.captions)[1]
    tuned = _tune(_plan(folder, "text"), "tokens", captions, batches, expected, loss)
    return tuned, by_attribute(tuned.vectors)


def _tune(
    plan: Plan, name: str, inputs: Batches, tune: Batches, expected: Float[np.ndarray, "n d"], loss: Loss
) -> Tuned:
    """One tower, with the fewest exceptions that reach the goal."""
    ranges = measure_ranges(plan, name, inputs)
    forms, kept = _exceptions(plan, name, ranges, tune, expected, loss)
    graph = plan.quantised(ranges, forms)
    vectors = _run(graph, name, tune)
    names = plan.names()
    return Tuned(forms, [names[site] for site in kept], 1.0 - loss(vectors), _cosine(vectors, expected), graph, vectors)


def measure_ranges(plan: Plan, name: str, inputs: Batches) -> dict[str, Range]:
    """Site -> the range within which rounding to 8 bits loses least of what the inputs put there."""
    if not plan.sites:
        return {}
    watching = session(plan.watching().SerializeToString(), threads=torch.get_num_threads())
    sites = list(plan.sites)
    samples: dict[str, list[np.ndarray]] = {site: [] for site in sites}
    ends = dict.fromkeys(sites, (0.0, 0.0))
    for number, batch in enumerate(track(inputs, total=len(inputs), label="ranges", unit="batches")):
        draws = generator(0, "ranges", number)
        for site, tensor in zip(sites, watching.run(sites, {name: batch}), strict=True):
            flat = tensor.ravel()
            ends[site] = (min(ends[site][0], float(flat.min())), max(ends[site][1], float(flat.max())))
            samples[site].append(flat[draws.integers(0, flat.size, min(_SAMPLES, flat.size))])
    return {site: _range(np.concatenate(samples[site]), *ends[site]) for site in sites}


def _range(samples: Float[np.ndarray, " n"], low: float, high: float) -> Range:
    """The extremes, each drawn in as far as the mean squared error of the samples falls."""

    def error(within: Range) -> float:
        step, zero = within.scale()
        rounded = (np.clip(np.rint(samples / step) + zero, 0, 255) - zero) * step
        return float(np.square(rounded - samples).mean())

    high = min((Range(low, high * shrink) for shrink in _SHRINKS), key=error).high
    return min((Range(low * shrink, high) for shrink in _SHRINKS), key=error)


def _exceptions(
    plan: Plan,
    name: str,
    ranges: Mapping[str, Range],
    tune: Batches,
    expected: Float[np.ndarray, "n d"],
    loss: Loss,
) -> tuple[dict[str, Form], list[str]]:
    """Forms of all sites, and the fewest exceptions of the tried numbers that reach the goal; at most half."""
    switchable = session(plan.switchable(ranges).SerializeToString(), threads=torch.get_num_threads())
    sites = list(plan.sites)

    def run(on: np.ndarray, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        return (switchable.run(None, {name: batch, "on": on})[0] for batch in batches)

    def reaches_goal(kept: np.ndarray) -> bool:
        narrow: list[np.ndarray] = []
        for vectors in run(~np.isin(np.arange(len(sites)), kept), tune):
            narrow.append(vectors)
            if loss(np.concatenate(narrow)) > 1.0 - GOAL:
                return False
        return True

    kept = np.arange(0)
    if not reaches_goal(kept):
        few = _first(tune, _RANKED)
        reference = expected[: sum(len(batch) for batch in few)]
        places = track(range(len(sites)), total=len(sites), label=f"which layers hurt ({name})", unit="layers")
        damage = [
            1 - _cosine(np.concatenate(list(run(np.arange(len(sites)) == place, few))), reference) for place in places
        ]
        order = np.argsort(damage)[::-1]
        counts = [step for step in _STEPS if step <= len(sites) // 2]
        for count in track(counts, total=len(counts), label=f"layers kept in float ({name})", unit="choices"):
            kept = order[:count]
            if reaches_goal(kept):
                break
    exceptions = [sites[place] for place in kept]
    forms: dict[str, Form] = {site: "float" if site in exceptions else "static" for site in sites}
    return forms, exceptions


def _first(batches: Batches, count: int) -> list[np.ndarray]:
    """Whole batches until there are `count` inputs."""
    taken: list[np.ndarray] = []
    for batch in batches:
        taken.append(batch)
        if sum(map(len, taken)) >= count:
            break
    return taken


def _plan(folder: Path, tower: Tower) -> Plan:
    return Plan.of(onnx.load(folder / file_of(tower, "fp32")))


def _run(graph: onnx.ModelProto, name: str, batches: Batches) -> Float[np.ndarray, "n d"]:
    running = session(graph.SerializeToString(), threads=torch.get_num_threads())
    return np.concatenate([running.run(None, {name: batch})[0] for batch in batches])


def _pixels(encoder: OnnxEncoder, catalogue: Catalogue, size: int = 8) -> list[np.ndarray]:
    pixels = np.stack([encoder.preprocess(catalogue.picture(row)).numpy() for row in range(len(catalogue))])
    return [pixels[start : start + size] for start in range(0, len(pixels), size)]


def _tokens(encoder: OnnxEncoder, texts: Sequence[str]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Places and ids of texts of equal length together, so that no padding is taken for a text."""
    assert encoder.text_input is not None
    ids = [encoder.text_input.tokens([text]) for text in texts]
    order: list[int] = []
    batches: list[np.ndarray] = []
    for places in _equal([one.shape[1] for one in ids]):
        order += places
        batches.append(np.concatenate([ids[place] for place in places]))
    return np.array(order), batches


def _equal(lengths: Sequence[int], size: int = 16) -> Iterator[list[int]]:
    for length in sorted(set(lengths)):
        places = [place for place, other in enumerate(lengths) if other == length]
        for batch in by_length([0] * len(places), size):
            yield [places[one] for one in batch]


def _vectors(encoder: OnnxEncoder, texts: list[str]) -> Float[np.ndarray, "n d"]:
    return encoder.encode_texts(texts).numpy()


def _cosine(narrow: Float[np.ndarray, "n d"], expected: Float[np.ndarray, "n d"]) -> float:
    """Mean over rows of unit vectors; 0 for what is not a number."""
    return float(np.nan_to_num((narrow.astype(np.float64) * expected).sum(axis=1), nan=0.0).mean())


def _summary(tuned: Tuned) -> dict[str, Any]:
    counts = {form: list(tuned.forms.values()).count(form) for form in ("static", "float")}
    return {"sites": counts, "kept_in_float": tuned.kept, "agreement": tuned.agreement, "cosine": tuned.cosine}
