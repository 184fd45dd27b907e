"""How long a model takes: percentiles per tower, form, batch and threads, with a budget marked met or missed.

    figures = bench("run:runs/fashion", batches=(1, 8), budget_ms=20.0)

Forms are torch with adapters on (unmerged), torch merged, onnxruntime float and onnxruntime INT8. They take turns in
one process, so that whatever slows the machine slows all of them. Tokenizing and resizing are left out. INT8 files of a
folder are timed as they are; for any other model all sites are rounded, by ranges of random inputs, since time does not
depend on values: that is the speed INT8 can have, not its accuracy. Nothing here writes files that stay.
"""

import copy
import functools
import itertools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
import torch

from clipadapt.errors import UsageError
from clipadapt.export.int8_graph import Plan
from clipadapt.export.onnx import write_onnx
from clipadapt.export.onnx_encoder import FORMS, OnnxEncoder, file_of, session
from clipadapt.export.preparation import Prepared, merged
from clipadapt.export.quantize import measure_ranges
from clipadapt.towers.encoder import Encoder, TorchEncoder
from clipadapt.towers.identity import Tower
from clipadapt.towers.load import load

Form = Literal["torch unmerged", "torch", "onnxruntime", "onnxruntime int8", "onnxruntime fp16"]
TEXT = "a photo of a striped cotton shirt with long sleeves"
"""Twelve tokens of CLIP's, as fashion captions have 8 to 20."""
Call = Callable[[], object]
_FORMS: Mapping[str, Form] = {"fp32": "onnxruntime", "int8": "onnxruntime int8", "fp16": "onnxruntime fp16"}
_INPUTS: Mapping[Tower, str] = {"image": "pixels", "text": "tokens"}


class Figure(NamedTuple):
    """Times of one call, in milliseconds."""

    tower: Tower
    form: Form
    batch: int
    threads: int
    p50: float
    p95: float
    p99: float
    throughput: float
    """Pictures or texts per second at the median."""
    met: bool
    """Whether p50 is within the budget."""


def bench(
    model: str | Encoder,
    *,
    batches: Sequence[int] = (1, 8),
    threads: Sequence[int] = (),
    rounds: int = 50,
    warmup: int = 5,
    budget_ms: float = 20.0,
) -> list[Figure]:
    """Times both towers of a model in every form it can have here.

    Args:
        model: a MODEL string or an encoder; it stays as it is.
        batches: pictures or texts per call.
        threads: of each call; none: what torch is set to.
        rounds: timed calls of each contestant, after `warmup` untimed ones.

    Raises:
        UsageError: no batch, round or thread to time.
        ExportError, ModelError: the model cannot be loaded, or written as ONNX.
    """
    if rounds < 1 or warmup < 0 or not batches or min([*batches, *threads]) < 1:
        raise UsageError("bench: rounds, batches and threads have to be 1 or more")
    encoder = load(model) if isinstance(model, str) else model
    before = torch.get_num_threads()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as temporary:
        subject = _subject(encoder, Path(temporary))
        try:
            for count in threads or (before,):
                torch.set_num_threads(count)
                sessions = {
                    name: session(file, threads=count, fp16=name[1] == "onnxruntime fp16")
                    for name, file in subject.files.items()
                }
                for tower, batch in itertools.product(subject.inputs, batches):
                    calls = _calls(subject, sessions, tower, batch)
                    times = alternating(calls, rounds, warmup)
                    figures += [_figure(tower, form, batch, count, times[form], budget_ms) for form in calls]
        finally:
            torch.set_num_threads(before)
    return figures


def alternating(calls: Mapping[Form, Call], rounds: int, warmup: int) -> dict[Form, list[float]]:
    """Seconds of each contestant's calls, which take turns."""
    times: dict[Form, list[float]] = {form: [] for form in calls}
    for number in range(warmup + rounds):
        for form, call in calls.items():
            started = time.perf_counter()
            call()
            if number >= warmup:
                times[form].append(time.perf_counter() - started)
    return times


class _Subject(NamedTuple):
    """One model in all its forms, and one input of each tower."""

    inputs: dict[Tower, np.ndarray]
    torch: dict[Form, TorchEncoder]
    files: dict[tuple[Tower, Form], Path]


def _subject(encoder: Encoder, folder: Path) -> _Subject:
    noise = np.random.default_rng(0).standard_normal((1, 3, encoder.preprocess.size, encoder.preprocess.size))
    inputs: dict[Tower, np.ndarray] = {"image": noise.astype(np.float32)}
    if isinstance(encoder, OnnxEncoder):
        if encoder.text_input is not None:
            inputs["text"] = encoder.text_input.tokens([TEXT])
        files = {
            (tower, _FORMS[form]): encoder.folder / file_of(tower, form)
            for form in FORMS
            for tower in inputs
            if file_of(tower, form) in encoder.card["files"]
        }
        return _Subject(inputs, {}, files)
    if not isinstance(encoder, TorchEncoder):
        raise UsageError(f"{encoder.name}: bench times torch models and ONNX folders; name one of those")
    whole = copy.deepcopy(encoder, {id(one): one for one in (getattr(encoder.backend, "tokenizer", None),) if one})
    if encoder.context_length is not None:
        inputs["text"] = encoder.tokenize([TEXT]).numpy()
    measured, lineage = merged(whole, None)
    write_onnx(Prepared(whole, measured, lineage, None), folder)
    files: dict[tuple[Tower, Form], Path] = {}
    for tower, example in inputs.items():
        files[tower, "onnxruntime"] = folder / file_of(tower, "fp32")
        files[tower, "onnxruntime int8"] = folder / file_of(tower, "int8")
        plan = Plan.of(onnx.load(files[tower, "onnxruntime"]))
        ranges = measure_ranges(plan, _INPUTS[tower], [example])
        graph = plan.quantised(ranges, dict.fromkeys(plan.sites, "static"))
        onnx.save_model(graph, files[tower, "onnxruntime int8"])
    unmerged: dict[Form, TorchEncoder] = {"torch unmerged": encoder} if encoder.adapters is not None else {}
    return _Subject(inputs, {**unmerged, "torch": whole}, files)


def _calls(subject: _Subject, sessions: Mapping[tuple[Tower, Form], Any], tower: Tower, batch: int) -> dict[Form, Call]:
    """Form -> what is timed: one forward pass, nothing around it."""
    inputs = np.repeat(subject.inputs[tower], batch, axis=0)
    tensor = torch.from_numpy(inputs)

    def eager(encoder: TorchEncoder) -> Call:
        run = encoder.image_features if tower == "image" else encoder.text_features
        return torch.no_grad()(lambda: torch.nn.functional.normalize(run(tensor), dim=-1))

    calls: dict[Form, Call] = {form: eager(encoder) for form, encoder in subject.torch.items()}
    for (of_tower, form), running in sessions.items():
        if of_tower == tower:
            calls[form] = functools.partial(running.run, None, {_INPUTS[tower]: inputs})
    return calls


def _figure(tower: Tower, form: Form, batch: int, threads: int, seconds: Sequence[float], budget: float) -> Figure:
    p50, p95, p99 = (float(value) * 1e3 for value in np.percentile(seconds, (50, 95, 99)))
    return Figure(tower, form, batch, threads, p50, p95, p99, batch / p50 * 1e3, p50 <= budget)
