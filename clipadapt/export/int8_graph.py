"""Graph surgery for INT8: which products of a float graph can be 8 bits wide, and the graph in which they are.

    plan = Plan.of(model)              its products, grouped into sites: one tensor and all products that read it
    plan.switchable(ranges)            the float graph with rounding at each site behind a switch, to measure
    plan.quantised(ranges, forms)      the graph to ship; per site: static or float

Weights are int8 with one scale per output channel, embeddings with one per row, whatever a site's form: a float site
multiplies in float32 by weights that onnxruntime unpacks once, on loading, so exceptions cost speed but no bytes. A
static site rounds its input to uint8 by a fixed scale, and multiplies and adds its bias in onnxruntime's
MatMulIntegerToFloat: results stay float, so nothing is rounded twice. Scales are fixed, never taken from the input:
onnxruntime's dynamic operators have one for the whole batch, so a text's vector would depend on those beside it.
Products of two activations, norms and softmax stay float. Nothing here knows pictures or decides forms.
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
from jaxtyping import Float, Int8
from onnx import helper, numpy_helper

Form = Literal["static", "float"]
SMALL = 1_024
"""Weights of fewer numbers stay float32: they are not worth a node."""
_MICROSOFT = "com.microsoft"


class Range(NamedTuple):
    """What a site's input is rounded within; always holds 0."""

    low: float
    high: float

    def scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Step and the uint8 that stands for 0."""
        step = max(self.high - self.low, 1e-12) / 255
        return np.array(step, np.float32), np.array(np.clip(round(-self.low / step), 0, 255), np.uint8)


class Product(NamedTuple):
    """One MatMul or Gemm by a constant."""

    node: onnx.NodeProto
    weight: Float[np.ndarray, "k n"]
    bias: str | None
    """A constant that is added to it."""
    added: onnx.NodeProto | None
    """The Add that does so, which goes away; null for a Gemm."""

    @property
    def output(self) -> str:
        return (self.node if self.added is None else self.added).output[0]


@dataclass(frozen=True)
class Plan:
    """A float graph and its sites."""

    model: onnx.ModelProto
    sites: dict[str, list[Product]]
    """Tensor -> the products that read it; in the order of the graph."""

    @classmethod
    def of(cls, model: onnx.ModelProto) -> "Plan":
        """Finds every product by a constant of at least SMALL numbers."""
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        outputs = {value.name for value in model.graph.output}
        sites: dict[str, list[Product]] = {}
        for node in model.graph.node:
            weight = _weight(node, constants)
            if weight is None:
                continue
            if node.op_type == "Gemm":
                product = Product(node, weight, node.input[2] if len(node.input) > 2 else None, None)
            else:
                product = _with_bias(node, weight, constants, readers, outputs)
            sites.setdefault(node.input[0], []).append(product)
        return cls(model, sites)

    def names(self) -> dict[str, str]:
        """Site -> where it is, for people: `visual.trunk.blocks.0.attn.q_proj`, the first of its products.

        Outside any module that is the weight's name; of several sites in one module each has its number.
        """
        first = {site: products[0].node for site, products in self.sites.items()}
        places = {site: node.name.partition("/")[0] or node.input[1] for site, node in first.items()}
        alike = Counter(places.values())
        seen: Counter[str] = Counter()
        names = {}
        for site, place in places.items():
            seen[place] += 1
            names[site] = place if alike[place] == 1 else f"{place} ({seen[place]} of {alike[place]})"
        return names

    def watching(self) -> onnx.ModelProto:
        """The float graph with every site's tensor among its outputs."""
        model = _copy(self.model)
        kind = onnx.TensorProto.FLOAT
        model.graph.output.extend(helper.make_tensor_value_info(site, kind, None) for site in self.sites)
        return model

    def switchable(self, ranges: Mapping[str, Range]) -> onnx.ModelProto:
        """The graph with int8 weights, and a second input `on` [sites] bool: which sites round their input.

        It computes in float32 what `quantised` computes in integers, so one session measures every choice of forms.
        """
        model = _copy(self.model)
        model.graph.input.append(helper.make_tensor_value_info("on", onnx.TensorProto.BOOL, [len(self.sites)]))
        made = _GraphBuilder(model)
        rounded: dict[str, str] = {}
        before: dict[str, list[onnx.NodeProto]] = {}
        for number, (site, products) in enumerate(self.sites.items()):
            step, zero = (made.constant(f"{site}_{name}", value) for name, value in _named(ranges[site]))
            place = made.constant(f"{site}_place", np.array([number], np.int64))
            before[products[0].node.name] = [
                helper.make_node("Gather", ["on", place], [f"{site}_on"]),
                helper.make_node("QuantizeLinear", [site, step, zero], [f"{site}_q"]),
                helper.make_node("DequantizeLinear", [f"{site}_q", step, zero], [f"{site}_dq"]),
                helper.make_node("Where", [f"{site}_on", f"{site}_dq", site], [f"{site}_either"]),
            ]
            rounded |= {product.node.name: f"{site}_either" for product in products}
        nodes: list[onnx.NodeProto] = []
        for node in model.graph.node:
            nodes += before.get(node.name, [])
            if node.name in rounded:
                node.input[0] = rounded[node.name]
            nodes.append(node)
        made.replace(nodes)
        _narrow_weights(made, {product.node.name for products in self.sites.values() for product in products})
        made.drop_unused()
        return model

    def quantised(self, ranges: Mapping[str, Range], forms: Mapping[str, Form]) -> onnx.ModelProto:
        """The graph to ship.

        Args:
            ranges: of every static site.
            forms: of every site.
        """
        model = _copy(self.model)
        made = _GraphBuilder(model)
        by_name = {product.node.name: (site, product) for site, group in self.sites.items() for product in group}
        absorbed = {
            product.added.name
            for site, product in by_name.values()
            if product.added is not None and forms[site] != "float"
        }
        nodes: list[onnx.NodeProto] = []
        entered: set[str] = set()
        for node in model.graph.node:
            if node.name in absorbed:
                continue
            if node.name not in by_name or forms[by_name[node.name][0]] == "float":
                nodes.append(node)
                continue
            site, product = by_name[node.name]
            if site not in entered:
                nodes.append(_entrance(made, site, ranges[site]))
                entered.add(site)
            nodes.append(_static(made, site, product))
        made.replace(nodes)
        _narrow_weights(made, {name for name, (site, _) in by_name.items() if forms[site] == "float"})
        made.drop_unused()
        if any(node.domain == _MICROSOFT for node in model.graph.node):
            model.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))
        return model


def narrow(weight: Float[np.ndarray, "..."], axis: int) -> tuple[Int8[np.ndarray, "..."], Float[np.ndarray, " n"]]:
    """int8 numbers within [-127, 127] and their scale for each index along `axis`."""
    others = tuple(number for number in range(weight.ndim) if number != axis)
    scale = np.maximum(np.abs(weight).max(axis=others), 1e-12).astype(np.float32) / np.float32(127)
    shape = [-1 if number == axis else 1 for number in range(weight.ndim)]
    return np.clip(np.rint(weight / scale.reshape(shape)), -127, 127).astype(np.int8), scale


def _entrance(made: "_GraphBuilder", site: str, within: Range) -> onnx.NodeProto:
    """Rounds a site's tensor to uint8, once for all its products."""
    step, zero = (made.constant(f"{site}_{name}", value) for name, value in _named(within))
    return helper.make_node("QuantizeLinear", [site, step, zero], [f"{site}_q"])


def _static(made: "_GraphBuilder", site: str, product: Product) -> onnx.NodeProto:
    output = product.output
    weight, scale = (made.constant(f"{output}_{name}", value) for name, value in _pair(product))
    zero = made.constant(f"{output}_w_zero", np.zeros(product.weight.shape[1], np.int8))
    inputs = [f"{site}_q", weight, f"{site}_step", scale, f"{site}_zero", zero]
    inputs += [] if product.bias is None else [product.bias]
    return helper.make_node("MatMulIntegerToFloat", inputs, [output], product.node.name, domain=_MICROSOFT)


def _named(within: Range) -> Iterable[tuple[str, np.ndarray]]:
    return zip(("step", "zero"), within.scale(), strict=True)


def _pair(product: Product) -> Iterable[tuple[str, np.ndarray]]:
    return zip(("w", "w_scale"), narrow(product.weight, 1), strict=True)


def _narrow_weights(made: "_GraphBuilder", products: Container[str]) -> None:
    """int8 for the weights of those products, of convolutions and of embeddings, unpacked where they are read."""
    constants = {tensor.name: tensor for tensor in made.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in made.graph.node:
        tensor = constants.get(node.input[1 if node.op_type == "Conv" else 0]) if node.op_type in _TABLES else None
        if node.name in products:
            stored = numpy_helper.to_array(constants[node.input[1]])
            nodes += made.unpacked(node, 1, stored, 0 if _attribute(node, "transB") else 1)
        elif tensor is not None and node.op_type == "Conv" and _large(tensor):
            nodes += made.unpacked(node, 1, numpy_helper.to_array(tensor), 0)
        elif tensor is not None and _large(tensor) and len(tensor.dims) == 2 and not _attribute(node, "axis"):
            nodes += _rows(made, node, numpy_helper.to_array(tensor))
            continue
        nodes.append(node)
    made.replace(nodes)


_TABLES = ("Conv", "Gather")


def _rows(made: "_GraphBuilder", node: onnx.NodeProto, table: np.ndarray) -> list[onnx.NodeProto]:
    """Rows are looked up as int8 and only those that were are widened."""
    output = node.output[0]
    numbers, scale = narrow(table, 0)
    names = made.constant(f"{output}_rows", numbers), made.constant(f"{output}_scale", scale[:, None])
    return [
        helper.make_node("Gather", [names[0], node.input[1]], [f"{output}_int"], node.name, axis=0),
        helper.make_node("Gather", [names[1], node.input[1]], [f"{output}_step"], axis=0),
        helper.make_node("Cast", [f"{output}_int"], [f"{output}_wide"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{output}_wide", f"{output}_step"], [output]),
    ]


class _GraphBuilder:
    """Constants and nodes of a graph under construction."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self._known = {tensor.name for tensor in model.graph.initializer}
        self._unpacked: dict[tuple[str, int], str] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        if name not in self._known:
            self._known.add(name)
            self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def unpacked(self, node: onnx.NodeProto, place: int, stored: np.ndarray, axis: int) -> list[onnx.NodeProto]:
        """Lets `node` read its input `place` from int8; the nodes that unpack it, none where another did."""
        source = node.input[place]
        known = (source, axis)
        if known in self._unpacked:
            node.input[place] = self._unpacked[known]
            return []
        numbers, scale = narrow(stored, axis)
        shape = [-1 if number == axis else 1 for number in range(stored.ndim)]
        names = self.constant(f"{source}_w8", numbers), self.constant(f"{source}_s8", scale.reshape(shape))
        self._unpacked[known] = node.input[place] = f"{source}_unpacked"
        cast = helper.make_node("Cast", [names[0]], [f"{source}_wide"], to=onnx.TensorProto.FLOAT)
        return [cast, helper.make_node("Mul", [f"{source}_wide", names[1]], [f"{source}_unpacked"])]

    def replace(self, nodes: list[onnx.NodeProto]) -> None:
        kept = [_copy(node) for node in nodes]
        del self.graph.node[:]
        self.graph.node.extend(kept)

    def drop_unused(self) -> None:
        read = {name for node in self.graph.node for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)


def _weight(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> Float[np.ndarray, "k n"] | None:
    """The constant that a product multiplies by, as [in, out]; null for any other node."""
    if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in constants:
        return None
    tensor = constants[node.input[1]]
    if len(tensor.dims) != 2 or not _large(tensor):
        return None
    plain = node.op_type == "MatMul" or all(
        (_attribute(node, name, default) == default) for name, default in (("alpha", 1.0), ("beta", 1.0), ("transA", 0))
    )
    if not plain:
        return None
    weight = numpy_helper.to_array(tensor)
    return weight.T if _attribute(node, "transB") else weight


def _with_bias(
    node: onnx.NodeProto,
    weight: np.ndarray,
    constants: Mapping[str, onnx.TensorProto],
    readers: Mapping[str, list[onnx.NodeProto]],
    outputs: set[str],
) -> Product:
    """A MatMul together with the Add of a constant vector that alone reads it."""
    following = readers.get(node.output[0], [])
    if len(following) == 1 and following[0].op_type == "Add" and node.output[0] not in outputs:
        other = next((name for name in following[0].input if name != node.output[0]), "")
        if other in constants and list(constants[other].dims) == [weight.shape[1]]:
            return Product(node, weight, other, following[0])
    return Product(node, weight, None, None)


def _large(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type == onnx.TensorProto.FLOAT and int(np.prod(tensor.dims)) >= SMALL


def _attribute(node: onnx.NodeProto, name: str, default: float = 0) -> Any:
    return next((helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)


def _copy(message: Any) -> Any:
    made = type(message)()
    made.CopyFrom(message)
    return made
