"""ONNX graphs of a trained model: whole sequences, and one step with the state in and out.

Inputs and outputs are float32 in physical units; scaling is done in float64 inside, so that a
small signal on a large offset keeps its digits. Recurrent layers are ONNX's own operators; what
feeds outputs back runs in a Scan over the step.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sysid.data.records import Array
from sysid.deploy.onnx_builder import Graph, Names
from sysid.deploy.weights import (
    Recurrent,
    array,
    chains,
    network_chain,
    output_limits,
    recurrent_layers,
)
from sysid.models import FFN, NARX, Model, StateSpace
from sysid.models.stateful import StatefulModel

OPSET = 20  # the first with Gelu
_IR_VERSION = 9  # of the time of that opset, so that older runtimes read the file

# ONNX's order of the gates, as places in torch's: i o f c of i f g o, and z r h of r z n.
_GATES = {"rnn": [0], "gru": [1, 0, 2], "lstm": [0, 3, 1, 2]}


def onnx_files(model: Model, path: Path, notes: Sequence[str] = ()) -> dict[Path, bytes]:
    """Return the ONNX files of a model.

    ``NAME.onnx`` takes ``u`` of shape ``(batch, time, nu)``, and for a model that starts from
    measured outputs ``y_start``, the first ``n_memory`` of them; it gives ``y_hat``,
    ``(batch, time, ny)``, and the state after the last sample. ``NAME_step.onnx`` takes ``u`` of
    shape ``(batch, nu)`` and a state, and gives ``y_hat`` and the next state; a bidirectional
    model has none. States are in the network's own units; the first one comes from a run over
    the samples before.

    Args:
        model: a model of any kind.
        path: ``NAME.onnx``.
        notes: lines for the files' metadata.

    Raises:
        ImportError: if onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise ImportError(
            "onnx must be installed to export to it, got none; pip install 'sysid[export]'"
        ) from None
    files = {path: _whole(model)}
    if model.causal:
        files[path.with_name(f"{path.stem}_step.onnx")] = _step(model)
    described = {
        "kind": model.kind,
        "arguments": json.dumps(model.arguments),
        "u_names": json.dumps(model.u_names),
        "u_units": json.dumps(model.u_units),
        "y_names": json.dumps(model.y_names),
        "y_units": json.dumps(model.y_units),
        "sampling_time": json.dumps(model.sampling_time),
        "notes": "\n".join(notes),
    }
    out = {}
    for file, graph in files.items():
        proto = onnx.helper.make_model(
            graph,
            producer_name="sysid",
            opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
        )
        onnx.helper.set_model_props(proto, described)
        onnx.checker.check_model(proto, full_check=True)
        out[file] = proto.SerializeToString()
    return out


def _states(model: Model) -> dict[str, list[int | str]]:
    """Return the name and the shape of each tensor of the state."""
    if isinstance(model, NARX):
        sizes = {"y_past": model.na * model.ny, "u_past": model.nb * model.nu}
        return {name: ["batch", size] for name, size in sizes.items() if size}
    if isinstance(model, StateSpace):
        return {"x": ["batch", model.nx]}
    if not isinstance(model, Recurrent):
        return {}
    rows = model.num_layers * (1 + model.bidirectional)
    out: dict[str, list[int | str]] = {
        name: [rows, "batch", model.hidden_size] for name in ("h", "c")[: model.state_tensors]
    }
    return out | ({"y_last": ["batch", model.ny]} if model.feedback else {})


def _outputs(g: Graph, model: Model, y: str) -> str:
    """Turn outputs in own units into physical ones, within their limits."""
    y = g.scaled_out(y, array(model.scaling.y_offset), array(model.scaling.y_scale))
    if (limits := output_limits(model)) is None:
        return y
    low, high = map(g.constant, limits)
    return g.op("Min", g.op("Max", y, low), high)


def _step(model: Model) -> Any:
    """One sample."""
    g, shapes = Graph(), _states(model)
    scaling = model.scaling
    u = g.given("u", ["batch", model.nu])
    states = [g.given(name, shape) for name, shape in shapes.items()]
    own = g.scaled_in(u, array(scaling.u_offset), array(scaling.u_scale))
    y, after = _advance(g, model, own, states)
    y = _outputs(g, model, y)
    g.result(y, "y_hat", ["batch", model.ny])
    for value, (name, shape) in zip(after, shapes.items(), strict=True):
        g.result(value, f"{name}_next", shape)
    return g.proto("step")


def _whole(model: Model) -> Any:
    """A batch of sequences."""
    g, shapes, m = Graph(), _states(model), model.n_memory
    scaling = model.scaling
    u = g.given("u", ["batch", "time", model.nu])
    own = g.scaled_in(u, array(scaling.u_offset), array(scaling.u_scale))
    own_start = y_start = ""
    if m:
        y_start = g.given("y_start", ["batch", m, model.ny])
        own_start = g.scaled_in(y_start, array(scaling.y_offset), array(scaling.y_scale))
    states = _first_state(g, model, own, own_start)
    rest = g.cut(own, 1, m, _END) if m else own
    if isinstance(model, Recurrent) and not model.feedback:
        y, after = _layers(g, model, rest, states)
    elif shapes:
        y, after = _scan(g, model, rest, states)
    else:
        y, after = _advance(g, model, rest, states)
    y = _outputs(g, model, y)
    if m:
        y = g.joined([y_start, y], axis=1)
    g.result(y, "y_hat", ["batch", "time", model.ny])
    if model.causal:
        for value, (name, shape) in zip(after, shapes.items(), strict=True):
            g.result(value, f"{name}_last", shape)
    return g.proto("whole")


_END = np.iinfo(np.int64).max


def _first_state(g: Graph, model: Model, u: str, y_start: str) -> Names:
    """Return the state before the first sample that is computed."""
    m = model.n_memory
    if isinstance(model, NARX):
        out = []
        for block, lags, channels in ((y_start, model.na, model.ny), (u, model.nb, model.nu)):
            if lags * channels:  # newest first: rows m-1, m-2, ..., m-lags
                window = g.cut(block, 1, m - 1, m - 1 - lags if lags < m else -_END, -1)
                out.append(g.op("Reshape", window, g.whole(0, lags * channels)))
        return out
    if not isinstance(model, StatefulModel):
        return []
    if model.encoder is not None:
        blocks = [(g.cut(u, 1, 0, m), model.nu)] * bool(model.nu) + [(y_start, model.ny)]
        rows = [g.op("Reshape", block, g.whole(0, m * width)) for block, width in blocks]
        flat = g.chain(g.joined(rows), network_chain(model.encoder.network), "tanh")
        last = [g.op("Squeeze", g.cut(y_start, 1, m - 1, m), g.whole(1))] * model.feedback
    else:
        start = np.zeros(model.state_size)
        if model.learned_state is not None:
            start = array(model.learned_state.value)
        batch = g.cut(g.op("Shape", u), 0, 0, 1)
        shape = g.op("Concat", batch, g.whole(1), axis=0)
        flat = g.op("Tile", g.constant(start[None]), shape)
        last = [g.op("Tile", g.constant(np.zeros((1, model.ny))), shape)] * model.feedback
    if not isinstance(model, Recurrent):
        return [flat]
    tensors = model.state_tensors
    width = model.num_layers * (1 + model.bidirectional)
    parts = g.op("Reshape", flat, g.whole(0, tensors, width, model.hidden_size))
    in_order = g.op("Transpose", parts, perm=[1, 2, 0, 3])  # (tensors, rows, batch, hidden)
    cuts = [g.op("Squeeze", g.cut(in_order, 0, i, i + 1), g.whole(0)) for i in range(tensors)]
    return [*cuts, *last]


def _advance(g: Graph, model: Model, u: str, states: Names) -> tuple[str, Names]:
    """Return output and next state for inputs ``(batch, nu)``, all in own units."""
    if isinstance(model, FFN):
        return g.chain(u, chains(model)[0], model.activation), []
    if isinstance(model, NARX):
        return _advance_narx(g, model, u, states)
    if isinstance(model, StateSpace):
        z = g.joined([states[0], u] if model.nu else states)
        parts = chains(model)
        x = g.sum(z, parts[:2], model.activation)
        return g.sum(z, parts[2:], model.activation), [x]
    if not isinstance(model, Recurrent):
        raise TypeError(f"model must be of a kind that ONNX can hold, got {type(model).__name__}")
    inner = states[: model.state_tensors]
    v = g.joined(([u] if model.nu else []) + states[model.state_tensors :])
    y, after = _layers(g, model, g.op("Unsqueeze", v, g.whole(1)), inner)
    y = g.op("Squeeze", y, g.whole(1))
    return y, [*after, *([y] if model.feedback else [])]


def _advance_narx(g: Graph, model: NARX, u: str, states: Names) -> tuple[str, Names]:
    left = list(states)
    y_past = left.pop(0) if model.na else ""
    all_u = g.joined([u, *left]) if model.nu else ""
    lagged = [g.cut(all_u, 1, model.nk * model.nu, _END)] if model.nu else []
    phi = g.joined([y_past] * bool(model.na) + lagged)
    y = g.sum(phi, chains(model), model.activation)
    after = []
    if model.na:
        kept = [g.cut(y_past, 1, 0, (model.na - 1) * model.ny)] if model.na > 1 else []
        after.append(g.joined([y, *kept]))
    if left:
        after.append(g.cut(all_u, 1, 0, model.nb * model.nu))
    return y, after


def _scan(g: Graph, model: Model, u: str, states: Names) -> tuple[str, Names]:
    """Run the step over ``(batch, time, nu)``."""
    body = Graph(outer=g)
    shapes = _states(model)
    inside = [body.given(body.fresh(name), shape) for name, shape in shapes.items()]
    step_u = body.given(body.fresh("u"), ["batch", model.nu])
    y, after = _advance(body, model, step_u, inside)
    for value, (name, shape) in zip(after, shapes.items(), strict=True):
        body.result(value, body.fresh(name), shape)
    body.result(y, body.fresh("y"), ["batch", model.ny])
    in_time = g.op("Transpose", u, perm=[1, 0, 2])
    *last, y_all = g.ops(
        "Scan",
        *states,
        in_time,
        outputs=len(states) + 1,
        body=body.proto("one_step"),
        num_scan_inputs=1,
    )
    return g.op("Transpose", y_all, perm=[1, 0, 2]), last


def _layers(g: Graph, model: Recurrent, v: str, states: Names) -> tuple[str, Names]:
    """Run recurrent layers and the output map over ``(batch, time, inputs)``."""
    directions = [recurrent_layers(model, b) for b in (False, True)[: 1 + model.bidirectional]]
    count = len(directions)
    x = g.op("Transpose", v, perm=[1, 0, 2])
    ends: list[Names] = []
    attributes: dict[str, Any] = {"hidden_size": model.hidden_size}
    attributes["direction"] = "bidirectional" if count == 2 else "forward"
    if model.kind == "gru":
        attributes["linear_before_reset"] = 1  # as torch has it
    if model.kind == "rnn":
        name = getattr(model, "nonlinearity", "tanh").capitalize()
        attributes["activations"] = [name] * count
    for i in range(model.num_layers):
        weights = [_gates_in_order(model, d[i]) for d in directions]
        w, r, b = (g.constant(np.stack(parts)) for parts in zip(*weights, strict=True))
        start = [g.cut(s, 0, i * count, (i + 1) * count) for s in states]
        y, *last = g.ops(
            model.kind.upper(), x, w, r, b, "", *start, outputs=1 + len(states), **attributes
        )
        ends.append(last)
        # (time, directions, batch, hidden) -> (time, batch, directions * hidden)
        turned = g.op("Transpose", y, perm=[0, 2, 1, 3])
        x = g.op("Reshape", turned, g.whole(0, 0, count * model.hidden_size))
    after = [g.joined(list(parts), axis=0) for parts in zip(*ends, strict=True)]
    weight, bias = array(model.output.weight), array(model.output.bias)
    y = g.op("Add", g.op("MatMul", x, g.constant(weight.T)), g.constant(bias))
    return g.op("Transpose", y, perm=[1, 0, 2]), after


def _gates_in_order(model: Recurrent, layer: Any) -> tuple[Array, Array, Array]:
    """Return a layer's weights with the gates in ONNX's order, the two biases one after another."""
    order = _GATES[model.kind]

    def moved(rows: Array) -> Array:
        blocks = rows.reshape(len(order), model.hidden_size, -1)[order]
        out: Array = blocks.reshape(rows.shape)
        return out

    return (
        moved(layer.w_ih),
        moved(layer.w_hh),
        np.concatenate([moved(layer.b_ih), moved(layer.b_hh)]),
    )
