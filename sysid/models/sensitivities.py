"""Sensitivities: outputs of a model and their derivatives to its weights, block by block.

The plain reference, exact and for every kind. A recurrence is one step

    [y(k), x(k+1)] = r(x(k), v(k); theta)

whose derivatives at all samples of a block are found at once, by ``torch.func``; what couples
the samples is a linear recursion, ``dx(k+1) = r_x dx(k) + r_theta``, done sample by sample.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from sysid.kernels.backends import fused
from sysid.models.linearisation import Step
from sysid.models.stable_weights import StableLinear

_NUMBERS = 1 << 22  # of the derivatives of single steps that are in memory together


class Block(NamedTuple):
    """Consecutive samples of a simulation.

    ``y_hat`` is ``(m, ny)``, or ``(batch, m, ny)``; ``jacobian`` has one dimension more: the
    derivative of each to the weights, in the order of ``parameters_to_vector`` over those with
    ``requires_grad``, then to the initial state where that is asked for.
    """

    start: int
    y_hat: Tensor
    jacobian: Tensor

    def with_moving_state(self, by_weights: Tensor) -> Block:
        """Return the derivatives to the weights alone, where the initial state moves with them.

        Args:
            by_weights: derivatives of the state, ``(state_size, P)``.
        """
        of_weights, of_state = self.jacobian.tensor_split([by_weights.shape[1]], dim=-1)
        return self._replace(jacobian=of_weights + of_state @ by_weights)


@dataclass(frozen=True)
class Recurrence:
    """One step of a model, and how what it returns becomes the next state.

    Args:
        step: ``model, (batch, state), (batch, inputs) -> (batch, rows)``, the outputs first.
        advance: ``(rows, state) -> state``, linear and along dimension 1, so that it also
            carries derivatives.
        linearise: ``(M, state), (M, inputs) -> Step``, for compiled code, with ``trajectory``:
            ``(batch, time, inputs), (batch, state) -> (batch, time + 1, state)``.
    """

    step: Callable[[Any, Tensor, Tensor], Tensor]
    advance: Callable[[Tensor, Tensor], Tensor]
    linearise: Callable[[Tensor, Tensor], Step] | None = None
    trajectory: Callable[[Tensor, Tensor], Tensor] | None = None


class _Call(nn.Module):
    """A function of a model as a module, which ``functional_call`` can give other weights."""

    def __init__(self, model: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model = model
        self.function = function

    def forward(self, *arguments: Tensor) -> Tensor:
        return self.function(self.model, *arguments)


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that are trained, by name, without their graph."""
    return {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}


def weight_count(model: nn.Module) -> int:
    """Return how many numbers are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def row_jacobian(
    model: nn.Module, function: Callable[..., Tensor], *arguments: Tensor
) -> tuple[Tensor, Tensor]:
    """Differentiate a function of rows to the weights, all rows at once.

    Args:
        model: whose weights the function uses.
        function: maps the model and ``(rows, ...)`` arguments to ``(rows, outputs)``, row by row.
        *arguments: its arguments.

    Returns:
        The outputs, and the Jacobian ``(rows, outputs, P)``.
    """
    y, to_weights, _ = _derivatives(model, function, arguments, of_first=False)
    return y, to_weights


def _derivatives(
    model: nn.Module,
    function: Callable[..., Tensor],
    arguments: tuple[Tensor, ...],
    of_weights: bool = True,
    of_first: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs and derivatives by row: to the weights, and to the first argument.

    What is not asked for has no columns.
    """
    # While it runs, functional_call lends a module other weights: another thread that uses the
    # module meanwhile would get these.
    module = _Call(copy.deepcopy(model), function)
    theta = {f"model.{n}": p for n, p in weights(model).items()} if of_weights else {}

    def of_row(theta: dict[str, Tensor], *row: Tensor) -> tuple[Tensor, Tensor]:
        out = functional_call(module, theta, tuple(a[None] for a in row))[0]
        return out, out

    wanted = (*([0] if theta else []), *([1] if of_first else []))
    rows = vmap(jacrev(of_row, wanted, has_aux=True), (None, *(0 for _ in arguments)))
    jacobians, y = rows(theta, *arguments)
    n, outputs = y.shape
    found = dict(zip(wanted, jacobians, strict=True))
    flat = [found[0][name].reshape(n, outputs, -1) for name in theta]
    none = y.new_zeros(n, outputs, 0)
    return y, torch.cat(flat, -1) if flat else none, found.get(1, none)


@torch.no_grad()
def unfold_sensitivities(
    model: nn.Module,
    recurrence: Recurrence,
    inputs: Tensor,
    state: Tensor,
    sensitivity: Tensor,
    ny: int,
    block: int,
    of_weights: bool = True,
) -> Iterator[tuple[Block, Tensor, Tensor]]:
    """Run a recurrence with its derivatives over a batch.

    Args:
        model: whose weights the recurrence uses.
        recurrence: the step.
        inputs: ``(batch, time, inputs)``.
        state: ``(batch, state)``.
        sensitivity: ``(batch, state, columns)``, of the state: the weights' columns first.
        ny: outputs among the rows of a step.
        block: most samples of a block.
        of_weights: whether the weights have columns.

    Yields:
        The block, ``(batch, m, ...)``, and state and sensitivity after it.
    """
    if recurrence.linearise is not None and recurrence.trajectory is not None and fused(inputs):
        yield from _compiled(
            model,
            recurrence.linearise,
            recurrence.trajectory,
            inputs,
            state,
            sensitivity,
            ny,
            block,
            of_weights,
        )
        return
    batch, time, _ = inputs.shape
    columns, count = sensitivity.shape[-1], weight_count(model) if of_weights else 0
    numbers = batch * (ny + state.shape[1]) * max(columns, 1)
    size = max(1, min(block, _NUMBERS // numbers))
    for start in range(0, time, size):
        piece = inputs[:, start : start + size]
        m = piece.shape[1]
        states = []
        for v in piece.unbind(1):
            states.append(state)
            state = recurrence.advance(recurrence.step(model, state, v), state)
        flat = torch.stack(states, 1).flatten(0, 1)  # (B * m, state)
        rows, to_weights, to_state = _derivatives(
            model, recurrence.step, (flat, piece.flatten(0, 1)), of_weights
        )
        own = to_weights.unflatten(0, (batch, m))
        transition = to_state.unflatten(0, (batch, m))
        jacobian = inputs.new_empty(batch, m, ny, columns)
        for k in range(m):
            change = transition[:, k] @ sensitivity  # (B, rows, columns)
            change[..., :count] += own[:, k]
            jacobian[:, k] = change[:, :ny]
            sensitivity = recurrence.advance(change, sensitivity)
        y_hat = rows[:, :ny].unflatten(0, (batch, m))
        yield Block(start, y_hat, jacobian), state, sensitivity


def _compiled(
    model: nn.Module,
    linearise: Callable[[Tensor, Tensor], Step],
    trajectory: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
    state: Tensor,
    sensitivity: Tensor,
    ny: int,
    block: int,
    of_weights: bool,
) -> Iterator[tuple[Block, Tensor, Tensor]]:
    """Do the same by the compiled recursion."""
    from sysid.kernels.sensitivities import LayerArrays, advance

    batch, time, _ = inputs.shape
    columns, by_free = _columns(model) if of_weights else ({}, [])
    # Within a step a layer's derivatives are as many numbers as the state, squared, times a few.
    numbers = batch * max(sensitivity.shape[-1] * ny, 8 * state.shape[1] ** 2)
    size = max(1, min(block, _NUMBERS // numbers))
    for start in range(0, time, size):
        piece = inputs[:, start : start + size]
        m = piece.shape[1]
        states = trajectory(piece, state)
        step = linearise(states[:, :-1].flatten(0, 1), piece.flatten(0, 1))
        layers = [
            LayerArrays(
                None if x.by is None else x.by.unflatten(0, (batch, m)).numpy(),
                x.inputs.unflatten(0, (batch, m)).numpy(),
                x.n,
                columns[x.weight],
                -1 if x.bias is None else columns[x.bias],
                x.first,
            )
            for x in step.layers
            if x.weight in columns
        ]
        transition = step.transition.contiguous().unflatten(0, (batch, m)).numpy()
        array, after = advance(transition, layers, sensitivity.numpy(), ny)
        state, sensitivity = states[:, -1], torch.from_numpy(after)
        jacobian = torch.from_numpy(array)
        for places, by in by_free:
            jacobian[..., places] = jacobian[..., places] @ by.to(jacobian)
        yield Block(start, step.y.unflatten(0, (batch, m)), jacobian), state, sensitivity


def _columns(model: nn.Module) -> tuple[dict[str, int], list[tuple[Tensor, Tensor]]]:
    """Return the first column of each weight, and what leads from weights to free parameters.

    The recursion knows a stable layer by its weight; the columns that it yields are multiplied by
    the weight's derivative with respect to the free parameters.
    """
    columns, count = {}, 0
    for name, weight in weights(model).items():
        columns[name], count = count, count + weight.numel()
    by_free = []
    for name, module in model.named_modules():
        if isinstance(module, StableLinear) and f"{name}.free" in columns:
            first = columns[f"{name}.weight"] = columns.pop(f"{name}.free")
            by_free.append((first + module.places, module.derivative()))
    return columns, by_free
