"""fp16 graphs for GPUs: half-wide weights and products, float32 where pictures enter and where vectors leave.

    add_fp16(folder, write)     image.fp16.onnx and text.fp16.onnx beside the float files of `folder`

The length of a vector is taken in float32: the sum of squares of large features is more than fp16 can hold. On a CPU
these files run too, slower than the float ones, which is how they are proven without a GPU. The conversion is ours:
onnxruntime's own leaves a graph of ours with types that do not meet. Nothing here knows of INT8.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from clipadapt.errors import ParityError
from clipadapt.export.onnx_encoder import OnnxEncoder, file_of
from clipadapt.export.parity import Probe
from clipadapt.towers.identity import TOWERS

LOWEST = 0.999
"""Smallest cosine of a probe's vector with the float one that is still rounding; a healthy tower has 0.99999."""


def add_fp16(folder: Path, write: Callable[[onnx.ModelProto, Path], None]) -> None:
    """Writes the fp16 files of every tower that has a float file; `write` checks and writes a graph."""
    for tower in TOWERS:
        file = folder / file_of(tower, "fp32")
        if file.is_file():
            write(fp16_graph(onnx.load(file)), folder / file_of(tower, "fp16"))


def fp16_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with float16 inside; weights beyond its range are brought back to its ends, -inf stays -inf."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    tail = [node for node in graph.node if node.name.startswith("/") and node.op_type in _NORMALISING]
    inside = [node for node in graph.node if node not in tail]
    wide = {value.name for value in graph.input if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    read = {name for node in inside for name in node.input}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for tensor in [stored[name] for name in read & stored.keys()]:
        _narrow(tensor)
    for node in inside:
        for place, name in enumerate(node.input):
            if name in wide:
                node.input[place] = f"{name}_fp16"
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _narrow(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
                attribute.i = onnx.TensorProto.FLOAT16
    features = dict.fromkeys(node.input[0] for node in tail if node.op_type in ("ReduceL2", "Div"))
    entering = [name for name in features if any(name in node.output for node in inside)]
    for node in tail:
        for place, name in enumerate(node.input):
            if name in entering:
                node.input[place] = f"{name}_fp32"
    entrances = [helper.make_node("Cast", [name], [f"{name}_fp16"], to=onnx.TensorProto.FLOAT16) for name in wide]
    exits = [helper.make_node("Cast", [name], [f"{name}_fp32"], to=onnx.TensorProto.FLOAT) for name in entering]
    del graph.node[:]
    graph.node.extend([*entrances, *inside, *exits, *tail])
    return made


_NORMALISING = ("ReduceL2", "Clip", "Expand", "Div")
"""What torch's F.normalize becomes, behind the tower and so in no module of it."""


def _narrow(tensor: onnx.TensorProto) -> None:
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return
    values = numpy_helper.to_array(tensor)
    largest = np.finfo(np.float16).max
    narrow = np.where(np.isfinite(values), values.clip(-largest, largest), values).astype(np.float16)
    tensor.CopyFrom(numpy_helper.from_array(narrow, tensor.name))


def prove_fp16(folder: Path, measured: Probe) -> dict[str, Any]:
    """Runs the written files on the probe -> the smallest cosine by tower.

    Raises:
        ParityError: a tower does not survive.
    """
    written = OnnxEncoder(folder, "fp16")
    found = {"image": (torch.from_numpy(written.run_images(measured.pixels.numpy())), measured.image)}
    if measured.tokens is not None and measured.text is not None:
        found["text"] = (torch.from_numpy(written.run_texts(measured.tokens.numpy())), measured.text)
    cosines = {tower: float((one.double() * other.double()).sum(dim=1).min()) for tower, (one, other) in found.items()}
    for tower, cosine in cosines.items():
        if not cosine >= LOWEST:  # also true for NaN
            raise ParityError(
                f"the {tower} tower in fp16 has a cosine of {cosine:.4f} with the measured one: its numbers leave the "
                "range of fp16; ship the float files"
            )
    return cosines
