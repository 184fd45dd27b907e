"""ONNX files, one per tower: pixels or token ids in, unit vectors out, any batch and any text length.

    export("run:runs/fashion", "onnx", out)     image.onnx, text.onnx, tokenizer.json, preprocess.json, clipadapt.json;
                                                load it with load("onnx:out")
    export(model, "onnx", out, calibration=Calibration.of("my/catalogue"))     INT8 files beside them: "onnx:out@int8"
    export(model, "onnx", out, fp16=True)                                      fp16 files for a GPU: "onnx:out@fp16"

Adapters are merged and normalisation is part of the graph, so a server needs nothing but onnxruntime and the two JSON
files. A causal text tower takes texts at their true length, for there the rest of the columns is read by nobody.
Before the folder appears, onnx.checker has passed and the files have been run beside torch, in batches of other sizes
than they were traced with. Weights beyond 2 GB, protobuf's limit, go to a file of their own.
Nothing here knows how INT8 is fitted, what fp16 holds, or of servers.
"""

import ast
import json
import warnings
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipadapt.atomic import sha256_file
from clipadapt.errors import ExportError
from clipadapt.export.form import ExportForm, Options
from clipadapt.export.fp16 import add_fp16, prove_fp16
from clipadapt.export.onnx_encoder import PREPROCESS, Form, OnnxEncoder, file_of
from clipadapt.export.parity import Agreement, Probe, compare
from clipadapt.export.preparation import Prepared
from clipadapt.export.quantize import quantise
from clipadapt.export.tokens import TextInput
from clipadapt.towers import identity
from clipadapt.towers.encoder import TorchEncoder, evaluating
from clipadapt.towers.identity import TOWERS

OPSET = 18
INLINE = 2**31 - 2**24
"""Bytes of weights up to which a file holds them itself; protobuf's limit of 2 GB, less room for the graph."""
_BATCH, _LENGTH = 2, 7
"""What graphs are traced with; neither is kept."""


def write_onnx(ready: Prepared, folder: Path, options: Options = Options()) -> None:  # noqa: B008 - immutable
    """Fills an empty folder from a merged encoder; narrow files are fitted on float ones that were proven."""
    encoder, lineage = ready.encoder, ready.lineage
    text = None if encoder.context_length is None else TextInput.of(encoder.backend)
    write_graph(image_graph(encoder), folder / file_of("image", "fp32"))
    if text is not None:
        text.save(folder)
        write_graph(text_graph(encoder, text), folder / file_of("text", "fp32"))
    inputs = {"image": asdict(encoder.preprocess), "text": None if text is None else text.settings()}
    (folder / PREPROCESS).write_text(json.dumps(inputs, indent=2) + "\n", encoding="utf-8")
    described = {"format": "onnx", "dim": encoder.dim, "scale": encoder.scale, "opset": OPSET}
    described |= {"clipadapt": version("clipadapt"), "files": digests(folder)}
    identity.write_card(folder, lineage, **described)
    if not options.fp16 and options.calibration is None:
        return
    prove(folder, ready.measured)
    if options.fp16:
        add_fp16(folder, write_graph)
        described |= {"files": digests(folder)}
        identity.write_card(folder, lineage, **described)
        described |= {"fp16": {"cosine": prove_fp16(folder, ready.measured), "bytes": _share(folder, "fp16")}}
        identity.write_card(folder, lineage, **described)
    if options.calibration is not None:
        report = quantise(folder, options.calibration, write_graph)
        described |= {"files": digests(folder), "int8": report | {"bytes": _share(folder, "int8")}}
        identity.write_card(folder, lineage, **described)


def _share(folder: Path, form: Form) -> float:
    """Bytes of one form's files over those of the float ones."""

    def size(form: Form) -> int:
        names = [file_of(tower, form) for tower in TOWERS]
        return sum(file.stat().st_size for name in names for file in folder.glob(f"{name}*"))

    return size(form) / size("fp32")


def prove(folder: Path, measured: Probe) -> Agreement:
    """Runs the written files on the probe: pictures in batches of 1 and 3, each text alone at its own length.

    Raises:
        ParityError: a vector differs by more than rounding.
    """
    written = OnnxEncoder(folder)
    text = written.text_input

    def image(pixels: Tensor) -> Tensor:
        parts = [pixels[:1], pixels[1:]]
        return torch.cat([torch.from_numpy(written.run_images(part.numpy())) for part in parts])

    def texts(tokens: Tensor) -> Tensor:
        assert text is not None, "has a text tower"
        if text.end is None:
            return torch.from_numpy(written.run_texts(tokens.numpy()))
        lengths = (tokens == text.end).int().argmax(dim=1) + 1
        rows = [row[None, :length].numpy() for row, length in zip(tokens, lengths.tolist(), strict=True)]
        return torch.cat([torch.from_numpy(written.run_texts(row)) for row in rows])

    return compare(measured, image, None if text is None else texts, what="the ONNX files as onnxruntime runs them")


FORM = ExportForm(
    "onnx",
    requires=lambda encoder: None,
    writes=write_onnx,
    verifies=prove,
    narrow=("int8", "fp16"),
    use="""import clipadapt

encoder = clipadapt.load("onnx:FOLDER")  # or onnxruntime alone: see preprocess.json and tokenizer.json""",
    hub="",
)


def image_graph(encoder: TorchEncoder) -> onnx.ModelProto:
    """pixels [batch, 3, size, size] float32 -> vectors [batch, dim] of unit length.

    Raises:
        ExportError: an operator that ONNX lacks, or a batch that tracing fixed.
    """
    size = encoder.preprocess.size
    pixels = torch.randn(_BATCH, 3, size, size, generator=torch.Generator().manual_seed(0))
    return _graph(encoder, encoder.image, pixels, "pixels", {0: "batch"})


def text_graph(encoder: TorchEncoder, text: TextInput) -> onnx.ModelProto:
    """tokens [batch, length] int64 -> vectors [batch, dim]; length is context_length where padding is attended to.

    Raises:
        ExportError: as image_graph.
    """
    tower = encoder.text
    assert tower is not None, "the model has a text tower"
    tokens = encoder.backend.tokens(["a", "striped cotton shirt"])[:_BATCH]
    if text.end is None:
        return _graph(encoder, tower, tokens, "tokens", {0: "batch"})
    short = tokens[:, : max(_LENGTH, encoder.backend.needed(tokens))]
    return _graph(encoder, tower, short, "tokens", {0: "batch", 1: "length"})


def _graph(encoder: TorchEncoder, tower: nn.Module, example: Tensor, name: str, free: dict[int, str]) -> Any:
    """Traces one tower, without the names, files and lines of the code it came from."""
    which = "image" if name == "pixels" else "text"
    shapes = dict.fromkeys(free, torch.export.Dim.DYNAMIC)
    with evaluating(encoder), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch's exporter says of its own deprecations
        try:
            program = torch.onnx.export(
                _Unit(tower).eval(),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[name],
                output_names=["vectors"],
                dynamic_shapes=(shapes,),
                verbose=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            raise ExportError(
                f"{encoder.name}: its {which} tower cannot be written as ONNX: {_reason(error)}; "
                "export to open_clip or transformers, which hold any operator"
            ) from error
    assert program is not None, "asked for with dynamo=True"
    model = program.model_proto
    del model.graph.value_info[:]  # shapes of the traced sizes; quantisers take them for the truth
    for node in model.graph.node:
        node.name = f"{_module(node)}/{node.name}"
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (model.graph.input[0], model.graph.output[0]):
        for number, label in free.items():
            dimension = value.type.tensor_type.shape.dim[number]
            if value is model.graph.output[0] and number:
                continue
            if not dimension.dim_param:
                raise ExportError(
                    f"{encoder.name}: tracing its {which} tower fixed the {label} at {dimension.dim_value}, so the "
                    "file would take no other; export to open_clip or transformers"
                )
            dimension.dim_param = label
    return model


def write_graph(model: onnx.ModelProto, file: Path) -> None:
    """Writes a graph that onnx.checker accepts, its weights beside it in FILE.data when they are too large for it.

    Raises:
        ExportError: the checker refuses it.
    """
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if size > INLINE:
        onnx.save_model(model, file, save_as_external_data=True, location=f"{file.name}.data")
    else:
        onnx.save_model(model, file)
    try:
        onnx.checker.check_model(str(file), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{file.name}: onnx.checker refuses the graph: {error}") from error


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every ONNX file and its weights, by name."""
    return {file.name: sha256_file(file) for file in sorted(folder.glob("*.onnx*"))}


def _module(node: onnx.NodeProto) -> str:
    """Path of the module that a node was traced in: `visual.trunk.blocks.0.attn.q_proj`."""
    scopes = next((one.value for one in node.metadata_props if one.key == "pkg.torch.onnx.name_scopes"), "[]")
    paths = [path for path in ast.literal_eval(scopes) if path.startswith("tower")]
    return paths[-1].partition(".")[2] if paths else ""


def _reason(error: Exception) -> str:
    """The innermost message, where torch's exporter names the operator."""
    inner: BaseException = error
    while inner.__cause__ is not None:
        inner = inner.__cause__
    return " ".join(str(inner).split())[:400]


class _Unit(nn.Module):
    """A tower with normalisation behind it."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, inputs: Tensor) -> Tensor:
        return F.normalize(self.tower(inputs), dim=-1)
