"""Growth: a larger model that computes exactly what a smaller one does, and can learn more."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sysid.models.ffn import FFN
from sysid.models.model import Model
from sysid.models.narx import NARX
from sysid.models.recurrent import GRU, LSTM, RNN
from sysid.models.state_space import StateSpace
from sysid.models.stateful import StatefulModel

Places = list[int]
"""Where the rows or columns of a smaller tensor are in the larger one."""


def grow(model: Model, seed: int = 0, **larger: Any) -> Model:
    """Return a larger model with the same outputs, to go on training.

    The weights of the smaller model stand in the larger one. What is new sees all inputs, with
    weights that are drawn at random, and nothing sees it: the weights from it to the rest are
    zero, and training finds them. So nothing is lost of what was learned.

    Args:
        model: the smaller model.
        seed: of the new weights.
        **larger: arguments that are larger: ``hidden_sizes`` and ``output_hidden_sizes`` (as many
            layers as before), ``na``, ``nb``, ``nx``, ``hidden_size``.

    Returns:
        A new model of the same kind, on the same device, with the scaling and description of
        the smaller one.

    Raises:
        ValueError: if an argument is not one that can grow, or would shrink.

    Source: T. Chen, I. Goodfellow and J. Shlens, "Net2Net: accelerating learning via knowledge
    transfer", ICLR 2016, for the idea; here new units start silent rather than as copies.

    Example:
        >>> import sysid
        >>> model = sysid.NARX(nu=1, ny=1, na=2, nb=2, hidden_sizes=(4,))
        >>> grow(model, hidden_sizes=(8,), na=3).hidden_sizes
        (8,)
    """
    for name, value in larger.items():
        _check_growth(model, name, value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        grown = type(model)(**(model.arguments | larger))
    grown.to(device=model.device, dtype=model.dtype)
    new = dict(grown.named_parameters())
    with torch.no_grad():
        for name, old in model.named_parameters():
            _embed(old, new[name], *_places(model, grown, name))
        if isinstance(model, StatefulModel) and isinstance(grown, StatefulModel):
            _embed_prior(model, grown)
    grown.scaling.load_state_dict(model.scaling.state_dict())
    grown.describe_as(model)
    return grown.train(model.training)


def _check_growth(model: Model, name: str, value: Any) -> None:
    growing = {
        FFN: ("hidden_sizes",),
        NARX: ("hidden_sizes", "na", "nb"),
        StateSpace: ("hidden_sizes", "output_hidden_sizes", "nx"),
        RNN: ("hidden_size",),
        GRU: ("hidden_size",),
        LSTM: ("hidden_size",),
    }[type(model)]
    if name not in growing:
        raise ValueError(f"{name} must be one of {', '.join(growing)} to grow {model.kind}")
    before = getattr(model, name)
    if isinstance(before, tuple):
        fits = len(value) == len(before) and all(b >= a for a, b in zip(before, value, strict=True))
        rule = f"have {len(before)} sizes of at least {before}"
    else:
        fits, rule = value >= before, f"be at least {before}"
    if not fits:
        raise ValueError(f"{name} must {rule}, got {value}; a model grows and does not shrink")


def _embed(old: Tensor, new: Tensor, rows: Places, columns: Places) -> None:
    """Put a tensor into a larger one; its rows see nothing of what is new."""
    at = torch.tensor(rows, device=new.device)
    if old.ndim == 1:
        new[at] = old
        return
    new[at] = 0
    new[at[:, None], torch.tensor(columns, dtype=torch.long, device=new.device)] = old


def _embed_prior(model: StatefulModel, grown: StatefulModel) -> None:
    """Expect old states where they were expected, and new ones near zero."""
    old, new = model.prior, grown.prior
    if old is None or new is None or not old.known:
        return
    at = torch.tensor(_places(model, grown, "learned_state.value")[0], device=new.mean.device)
    new.mean[at] = old.mean
    least = old.root.diagonal()[old.sums :].min()
    new.root.copy_(least * torch.eye(len(new.root)).to(new.root))
    new.root[at[:, None], at] = old.root


def _places(model: Model, grown: Model, name: str) -> tuple[Places, Places]:
    """Return where rows and columns of a parameter are in the larger one."""
    module, _, rest = name.partition(".")
    if isinstance(model, StateSpace) and isinstance(grown, StateSpace):
        own = _state_space_places(model, grown, module, rest)
    elif isinstance(model, (RNN, GRU, LSTM)) and isinstance(grown, (RNN, GRU, LSTM)):
        own = _recurrent_places(model, grown, module, rest)
    else:
        own = _regression_places(model, grown, module, rest)
    return own


def _layer_places(
    rest: str, hidden: tuple[int, ...], first: Places, last: Places
) -> tuple[Places, Places]:
    """Return the places of a layer of ``layers``: every second module is a linear one."""
    layer = int(rest.split(".")[0]) // 2
    sizes = [first, *(_all(h) for h in hidden), last]
    return sizes[layer + 1], sizes[layer]


def _regression_places(model: Model, grown: Model, module: str, rest: str) -> tuple[Places, Places]:
    columns = _all(model.nu)
    if isinstance(model, NARX) and isinstance(grown, NARX):
        of_inputs = (model.nb - model.nk + 1) * model.nu
        columns = [*_all(model.na * model.ny), *_all(of_inputs, grown.na * model.ny)]
    if module == "linear_path":
        return _all(model.ny), columns
    hidden: tuple[int, ...] = getattr(model, "hidden_sizes", ())
    return _layer_places(rest, hidden, columns, _all(model.ny))


def _state_space_places(
    model: StateSpace, grown: StateSpace, module: str, rest: str
) -> tuple[Places, Places]:
    x, u, y = _all(model.nx), _all(model.nu), _all(model.ny)
    both = [*x, *_all(model.nu, grown.nx)]
    if module == "f":
        return _layer_places(rest, model.hidden_sizes, both, x)
    if module == "g":
        sizes = model.output_hidden_sizes
        hidden = model.hidden_sizes if sizes is None else sizes
        return _layer_places(rest, hidden, both if model.feedthrough else x, y)
    if module in ("learned_state", "encoder"):
        return _start_places(model, module, rest, x)
    return {"A": (x, x), "B": (x, u), "C": (y, x), "D": (y, u)}[module]


def _recurrent_places(
    model: RNN | GRU | LSTM, grown: RNN | GRU | LSTM, module: str, rest: str
) -> tuple[Places, Places]:
    before, after = model.hidden_size, grown.hidden_size
    directions = 1 + model.bidirectional

    def blocks(count: int) -> Places:
        return [p for block in range(count) for p in _all(before, block * after)]

    if module == "output":
        return _all(model.ny), blocks(directions)
    if module in ("learned_state", "encoder"):
        state = blocks(model.state_tensors * model.num_layers * directions)
        return _start_places(model, module, rest, state)
    gates = blocks(len(model.recurrence.weight_hh_l0) // before)
    if rest.startswith("weight_hh"):
        return gates, _all(before)
    lowest = rest.removesuffix("_reverse").endswith("l0")
    return gates, _all(model.recurrence.input_size) if lowest else blocks(directions)


def _start_places(
    model: StateSpace | RNN | GRU | LSTM, module: str, rest: str, state: Places
) -> tuple[Places, Places]:
    """Return the places of what gives the initial state."""
    if module == "learned_state" or model.encoder is None:
        return state, []
    hidden, window = (int(n) for n in next(model.encoder.network.parameters()).shape)
    return _layer_places(rest.partition(".")[2], (hidden,), _all(window), state)


def _all(count: int, start: int = 0) -> Places:
    return list(range(start, start + count))
