"""Graph: collects the nodes and constants of an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sysid.data.records import Array
from sysid.deploy.weights import Chain

Names = list[str]

_OPERATORS = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu", "gelu": "Gelu", "elu": "Elu"}
_OPERATORS |= {"softplus": "Softplus", "sinh": "Sinh"}


class Graph:
    """Collects nodes and constants; names are made as they are needed."""

    def __init__(self, outer: Graph | None = None) -> None:
        self.outer = outer
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.count = 0

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, and return its name."""
        return self.ops(kind, *inputs, outputs=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> Names:
        """Add a node, and return the names of its outputs."""
        from onnx import helper

        names = [self.fresh(kind.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def fresh(self, prefix: str) -> str:
        """Return a name that is not taken, inside nested graphs either."""
        root = self
        while root.outer is not None:
            root = root.outer
        root.count += 1
        return f"{prefix}_{root.count}"

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """Add an array, and return its name."""
        from onnx import numpy_helper

        name = self.fresh("constant")
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def whole(self, *values: int) -> str:
        """Add whole numbers, and return their name."""
        return self.constant(list(values), np.int64)

    def given(self, name: str, shape: Sequence[int | str]) -> str:
        """Declare an input."""
        self.inputs.append(_float_tensor(name, shape))
        return name

    def result(self, value: str, name: str, shape: Sequence[int | str]) -> None:
        """Declare an output."""
        from onnx import helper

        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(_float_tensor(name, shape))

    def cut(self, x: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """Return ``x[start:stop:step]`` along an axis."""
        places = [self.whole(v) for v in (start, stop, axis, step)]
        return self.op("Slice", x, *places)

    def joined(self, parts: Names, axis: int = -1) -> str:
        """Put parts together along an axis."""
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=axis)

    def scaled_in(self, x: str, offset: Array, scale: Array) -> str:
        """Turn physical units into the network's own."""
        wide = self.op("Cast", x, to=_double())
        shifted = self.op("Sub", wide, self.constant(offset, np.float64))
        own = self.op("Div", shifted, self.constant(scale, np.float64))
        return self.op("Cast", own, to=_single())

    def scaled_out(self, y: str, offset: Array, scale: Array) -> str:
        """Turn the network's own units into physical ones."""
        wide = self.op("Cast", y, to=_double())
        spread = self.op("Mul", wide, self.constant(scale, np.float64))
        physical = self.op("Add", spread, self.constant(offset, np.float64))
        return self.op("Cast", physical, to=_single())

    def chain(self, x: str, chain: Chain, activation: str) -> str:
        """Apply layers with an activation between them."""
        for i, layer in enumerate(chain):
            product = self.op("MatMul", x, self.constant(layer.weight.T))
            x = self.op("Add", product, self.constant(layer.bias))
            if i < len(chain) - 1:
                x = self._activated(x, activation)
        return x

    def _activated(self, x: str, activation: str) -> str:
        if activation == "silu":
            return self.op("Mul", x, self.op("Sigmoid", x))
        if activation not in _OPERATORS:
            raise ValueError(
                f"activation must be one of silu, {', '.join(_OPERATORS)} for ONNX, got "
                f"{activation!r}; train with one of these"
            )
        return self.op(_OPERATORS[activation], x)

    def sum(self, x: str, parts: Sequence[Chain], activation: str) -> str:
        """Add up what several chains make of ``x``."""
        values = [self.chain(x, c, activation) for c in parts if c]
        return values[0] if len(values) == 1 else self.op("Add", *values)

    def proto(self, name: str) -> Any:
        """Return the finished graph."""
        from onnx import helper

        return helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.constants)


def _float_tensor(name: str, shape: Sequence[int | str]) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, _single(), list(shape))


def _single() -> int:
    from onnx import TensorProto

    return int(TensorProto.FLOAT)


def _double() -> int:
    from onnx import TensorProto

    return int(TensorProto.DOUBLE)
