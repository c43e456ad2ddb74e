"""C99 code of a trained model: one header, one source file, and a program that runs a CSV file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template

import numpy as np

from sysid.data.records import Array
from sysid.deploy.weights import (
    Chain,
    Recurrent,
    array,
    chains,
    network_chain,
    output_limits,
    recurrent_layers,
    refuse_smoother,
)
from sysid.models import FFN, NARX, Model, StateSpace
from sysid.models.stateful import StatefulModel

# Each as torch computes it. F() is the function of the type, N() a number of it.
C_ACTIVATIONS = {
    "tanh": "F(tanh)(v)",
    "sigmoid": "1 / (1 + F(exp)(-v))",
    "relu": "v > 0 ? v : 0",
    "gelu": "N(0.5) * v * (1 + F(erf)(v * N(0.70710678118654752440)))",
    "silu": "v / (1 + F(exp)(-v))",
    "elu": "v > 0 ? v : F(expm1)(v)",
    "softplus": "(v > 0 ? v : 0) + F(log1p)(F(exp)(-F(fabs)(v)))",
    "sinh": "F(sinh)(v)",
}
"""The activations that C code has, by name."""


@dataclass(frozen=True)
class CCode:
    """The text of the header, of the source file and of a program for CSV files."""

    header: str
    source: str
    main: str


def c_code(model: Model, name: str, dtype: str = "double", notes: Sequence[str] = ()) -> CCode:
    """Return C code that computes what the model computes, in physical units.

    ``NAME_reset`` starts from measured samples, ``NAME_step`` takes a sample's inputs and gives
    its outputs, ``NAME_observe``, where the model feeds outputs back, takes measured ones.

    Args:
        model: a one-way model of any kind.
        name: what every name in the code begins with; a C identifier.
        dtype: ``double`` or ``float``.
        notes: lines of the header's comment, on how well the model fits, say.

    Raises:
        ValueError: for a bidirectional model, another type, or an activation without C code.
    """
    refuse_smoother(model, "export to C")
    if dtype not in ("double", "float"):
        raise ValueError(f"dtype must be double or float, got {dtype!r}")
    activation = getattr(model, "nonlinearity", getattr(model, "activation", "tanh"))
    if activation not in C_ACTIVATIONS:
        raise ValueError(
            f"activation must be one of {', '.join(C_ACTIVATIONS)} for C code, got "
            f"{activation!r}; train with one of these"
        )
    data = _Data(single=dtype == "float")
    snippets = _model_data(model, data)
    encoder = getattr(model, "encoder", None)
    if encoder is not None:
        data.chain("encoder", "ENCODER", network_chain(encoder.network))
    functions = {"activate": activation}
    if "gru" in snippets or "lstm" in snippets:
        functions["sigmoid"] = "sigmoid"
    if encoder is not None:
        functions["encoder_activate"] = "tanh"
    text = [
        f'#include "{name}.h"\n\n#include <math.h>\n',
        _MACROS[dtype],
        _named(data.text(), name),
        *(_named(_function(f, C_ACTIVATIONS[a]), name) for f, a in functions.items()),
        *(_snippet(f"{s}.c", name) for s in snippets),
    ]
    observe = _snippet("observe.h", name) if "observe" in snippets else ""
    fields = _header_fields(model, name, dtype, notes) | {"observe": observe}
    header = Template(_snippet("model.h", name)).substitute(fields)
    names = ", ".join(json.dumps(n, ensure_ascii=False) for n in (*model.u_names, *model.y_names))
    main = Template(_snippet("main.c", name)).substitute(names=names)
    return CCode(header, "\n".join(text), main)


_MACROS = {
    "double": "#define F(function) function\n#define N(number) number\n",
    "float": "#define F(function) function##f\n#define N(number) number##f\n",
}


class _Data:
    """Collects constants, each an array or a whole number."""

    def __init__(self, single: bool) -> None:
        self.single = single
        self.widest = 1
        self.sizes: dict[str, int] = {}
        self.arrays: list[str] = []
        self.chained: list[str] = []

    def array(self, name: str, values: Array) -> str:
        """Write numbers so that they read back to the same bits; return the name."""
        # C has no empty arrays: one number that is never looked at stands for none.
        numbers = [self._number(float(v)) for v in values.ravel()] or [self._number(0.0)]
        rows = [", ".join(numbers[i : i + 4]) for i in range(0, len(numbers), 4)]
        body = ",\n    ".join(rows)
        head = f"static const model_real {name}[{len(numbers)}]"
        self.arrays.append(f"{head} = {{\n    {body}\n}};\n")
        return name

    def chain(self, name: str, size: str, chain: Chain) -> None:
        """Write the layers of a chain; an empty one has one layer that is never looked at."""
        rows = []
        for i, layer in enumerate(chain):
            m, n = layer.weight.shape
            w = self.array(f"{name}_w{i}", layer.weight)
            b = self.array(f"{name}_b{i}", layer.bias)
            rows.append(f"{{{n}, {m}, {w}, {b}}}")
            self.widest = max(self.widest, m)
        body = ", ".join(rows) or "{0, 0, 0, 0}"
        self.chained.append(f"static const layer {name}[] = {{{body}}};\n")
        self.sizes[size] = len(chain)

    def text(self) -> str:
        """Return the declarations."""
        sizes = dict(self.sizes)
        layer_type: list[str] = []
        if self.chained:
            sizes["WIDEST"] = self.widest
            members = "    int n, m;\n    const model_real *w, *b;\n"
            layer_type = [f"typedef struct {{\n{members}}} layer;\n"]
        body = ", ".join(f"{k} = {v}" for k, v in sizes.items())
        return "\n".join([f"enum {{ {body} }};\n", *layer_type, *self.arrays, *self.chained])

    def _number(self, value: float) -> str:
        text = f"{np.float32(value):.9g}" if self.single else f"{value:.17g}"
        if not set(text) & set(".e"):
            text += ".0"
        return text + "f" if self.single else text


def _model_data(model: Model, data: _Data) -> list[str]:
    """Collect a model's constants; return the snippets of code that use them, in their order."""
    scaling = model.scaling
    for key in ("u_offset", "u_scale", "y_offset", "y_scale"):
        data.array(key, array(getattr(scaling, key)))
    fed_back = int(getattr(model, "feedback", False)) * model.ny
    data.sizes["FEEDBACK"] = fed_back
    if isinstance(model, StatefulModel):
        data.sizes["FED_BACK"] = model.state_size
        begin = ["own_output", "encoder" if model.encoder is not None else "reset"]
        if model.encoder is None:
            learned = model.learned_state
            zero = np.zeros(model.state_size)
            data.array("start", zero if learned is None else array(learned.value))
    if isinstance(model, Recurrent):
        _recurrent_data(model, data)
        encoding = ["chain"] if model.encoder is not None else []
        observing = ["observe"] if fed_back else []
        return ["affine", *encoding, "scale", model.kind, "recurrent", *begin, *observing]
    if not isinstance(model, (FFN, NARX, StateSpace)):
        raise TypeError(f"model must be of a kind that has C code, got {type(model).__name__}")
    for i, chain in enumerate(chains(model)):
        data.chain(f"chain{i}", f"CHAIN{i}", chain)
    shared = ["affine", "chain", "scale"]
    if isinstance(model, StateSpace):
        data.sizes["STATE"] = model.nx
        limits = output_limits(model)
        data.sizes["LIMITED"] = 0 if limits is None else model.ny
        for key, values in zip(("y_low", "y_high"), limits or (np.empty(0),) * 2, strict=True):
            data.array(key, values)
        return [*shared, "state_space", *begin]
    if isinstance(model, FFN):
        return [*shared, "ffn"]
    past = model.na * model.ny
    data.sizes |= {"NA": model.na, "NB": model.nb, "NK": model.nk, "PAST": past, "FED_BACK": 0}
    data.sizes |= {"PHI": model.example_input().shape[1], "STATE": _state_size(model)}
    return [*shared, "own_output", "narx", *(["observe"] if past else [])]


def _recurrent_data(model: Recurrent, data: _Data) -> None:
    data.sizes |= {
        "LAYERS": model.num_layers,
        "HIDDEN": model.hidden_size,
        "INPUTS": model.nu + model.ny * model.feedback,
    }
    layers = recurrent_layers(model)
    for key in ("w_ih", "w_hh", "b_ih", "b_hh"):
        names = [data.array(f"{key}_l{i}", getattr(x, key)) for i, x in enumerate(layers)]
        data.arrays.append(
            f"static const model_real *const {key}[{len(names)}] = {{{', '.join(names)}}};\n"
        )
    data.array("w_out", array(model.output.weight))
    data.array("b_out", array(model.output.bias))


def _state_size(model: Model) -> int:
    if isinstance(model, NARX):
        return model.na * model.ny + (model.nb + 1) * model.nu
    if isinstance(model, StatefulModel):
        return model.state_size + model.ny * model.feedback
    return 1  # C has no empty struct


def _header_fields(model: Model, name: str, dtype: str, notes: Sequence[str]) -> dict[str, object]:
    step = model.sampling_time
    lines = [
        f"{name}: a model of kind {model.kind}, written by sysid.",
        *(f"input  {_channel(n, u)}" for n, u in zip(model.u_names, model.u_units, strict=True)),
        *(f"output {_channel(n, u)}" for n, u in zip(model.y_names, model.y_units, strict=True)),
        f"sampling time {'unknown' if step is None else f'{step:.9g} s'}",
        *(f"{key} = {value}" for key, value in model.arguments.items()),
        *notes,
    ]
    # A comment that a channel's name would end is no comment.
    comment = "\n".join(f" * {line.replace('*/', '* /')}" for line in lines)
    return {
        "comment": comment,
        "type": dtype,
        "nu": model.nu,
        "ny": model.ny,
        "n_start": model.n_memory,
        "size": _state_size(model),
        "reset": _reset_comment(model),
    }


def _reset_comment(model: Model) -> str:
    if model.n_memory:
        return (
            "n is at least 1; where the\n * model looks back beyond the first of them, that one "
            "is held. Returns 0, or -1 if n < 1."
        )
    if not isinstance(model, StatefulModel):
        return "The model is static: nothing is\n * looked at. Returns 0."
    start = "learned in training" if model.learned_state is not None else "zero"
    looked = "" if model.feedback else "; y is not looked at"
    estimated = (
        "\n * (sysid itself estimates it by least squares; x is what its stream.state is.)"
        if model.initial_state == "estimated"
        else ""
    )
    return f"n may be 0{looked}.\n * The state before them is {start}. Returns 0.{estimated}"


def _channel(name: str, unit: str) -> str:
    return f"{name} [{unit}]" if unit else name


def _function(name: str, expression: str) -> str:
    return f"static model_real {name}(model_real v)\n{{\n    return {expression};\n}}\n"


def _snippet(file: str, name: str) -> str:
    text = (resources.files("sysid.deploy") / "c" / file).read_text(encoding="utf-8")
    return _named(text, name)


def _named(text: str, name: str) -> str:
    """Put the model's name where the snippets say ``model``."""
    for placeholder, own in (
        ("model_", f"{name}_"),
        ("MODEL_", f"{name.upper()}_"),
        ('"model.h"', f'"{name}.h"'),
        ("model INPUT", f"{name} INPUT"),
    ):
        text = text.replace(placeholder, own)
    return text
