"""The torchsummary table, right for every kind of model."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
import torchsummary
from torch import Tensor, nn

from sysid.kernels.backends import use_backend
from sysid.models.model import Model
from sysid.models.stable_weights import StableLinear


class _Row(nn.Module):
    """Stands in the table for one layer: its output's shape and its parameters as one.

    torchsummary fails on the tuples that recurrent layers return, counts only ``weight`` and
    ``bias``, counts a looped layer once per step and leaves its hooks behind after an error.
    So it is shown a chain of these, and never touches the model.
    """

    def __init__(self, shape: torch.Size, parameters: int, trainable: bool) -> None:
        super().__init__()
        self.shape = shape
        if parameters:
            self.weight = nn.Parameter(torch.empty(parameters), requires_grad=trainable)

    def forward(self, _: Tensor) -> Tensor:
        return torch.zeros(self.shape)


def print_summary(model: Model) -> None:
    """Print layers, output shapes and parameter counts with torchsummary, and what bounds it.

    The totals are ``sum(p.numel() for p in model.parameters())``. Each layer stands once,
    however often it is used; the model is not changed, nor is the random stream.
    """
    twin = copy.deepcopy(model).to(device="cpu", dtype=torch.float32).eval()
    rows: list[_Row] = []
    seen: set[int] = set()

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if id(module) not in seen:
            seen.add(id(module))
            first = output[0] if isinstance(output, tuple) else output
            rows.append(_row(module, first.shape))

    leaves = [m for m in twin.modules() if not list(m.children()) and m is not twin.scaling]
    for leaf in leaves:
        leaf.register_forward_hook(note)
    example = twin.example_input()
    # The reference calls the layers as modules, which is where the hooks are.
    with (
        torch.random.fork_rng(devices=[]),
        torch.no_grad(),
        warnings.catch_warnings(),
        use_backend("reference"),
    ):
        _run(twin, example)
        for leaf in leaves:  # a part that no forward pass calls by itself, as A in a loop
            if id(leaf) not in seen and list(leaf.parameters()):
                rows.append(_row(leaf, torch.Size([2, *_width(leaf)])))
        torchsummary.summary(nn.Sequential(*rows), tuple(example.shape[1:]), device="cpu")
    print(model.bounded)


def _run(model: Model, example: Tensor) -> None:
    y = torch.zeros(*example.shape[:-1], model.ny)
    core = getattr(model, "core", None)
    if core is not None:
        core(example)
    else:
        model.unfold(example, y, washout=model.n_memory)


def _row(module: nn.Module, shape: torch.Size) -> _Row:
    parameters = list(module.parameters())
    named = type(type(module).__name__, (_Row,), {})
    row: _Row = named(
        torch.Size([2, *shape[1:]]),
        sum(p.numel() for p in parameters),
        any(p.requires_grad for p in parameters),
    )
    return row


def _width(module: nn.Module) -> list[int]:
    if isinstance(module, (nn.Linear, StableLinear)):
        return [module.out_features]
    return [sum(p.numel() for p in module.parameters())]
