"""Parts: whether a model still has the layers that its arguments say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from sysid.models.model import Model

_HINT = (
    "its training, its files and what is exported are made for the layers that its arguments "
    "say. Choose sizes and activation by the arguments, put other weights into these layers with "
    "load_state_dict, or write the network as a model of its own, a subclass of sysid.Model"
)


def refuse_part(model: Model, name: str, value: object) -> None:
    """Raise if a registered layer or weight would be replaced by one of another kind or shape.

    Raises:
        TypeError: with the name and both.
    """
    before = model._modules.get(name)
    if before is not None and (
        not isinstance(value, nn.Module) or _structure(value) != _structure(before)
    ):
        raise TypeError(
            f"{name} of a {type(model).__name__} must stay {_words(before)}, got {_words(value)}: "
            + _HINT
        )
    weight = model._parameters.get(name)
    if weight is not None and getattr(value, "shape", None) != weight.shape:
        raise TypeError(
            f"{name} of a {type(model).__name__} must stay a parameter of shape "
            f"{tuple(weight.shape)}, got {_words(value)}: " + _HINT
        )


def refuse_replaced(model: Model) -> None:
    """Raise if a layer somewhere in a model is not the one that its arguments build.

    Raises:
        TypeError: with the name of the first such layer and what it is.
    """
    found = _structure(model)
    state = (str(model.arguments), found)
    if model.__dict__.get("_checked_parts") == state:
        return
    # Without memory or random numbers: what is built is not used.
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        expected = _structure(type(model)(**model.arguments))
    for name in (*expected, *found):
        if found.get(name) != expected.get(name):
            where = f"{name} of a {type(model).__name__}" if name else type(model).__name__
            raise TypeError(
                f"{where} must stay {expected.get(name, 'without such a layer')}, got "
                f"{found.get(name, 'none')}: " + _HINT
            )
    model.__dict__["_checked_parts"] = state


def _structure(module: nn.Module) -> dict[str, str]:
    """Return of each layer what it is: its type, and the names and shapes of its own weights."""
    out = {}
    for name, part in module.named_modules():
        own = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
        shapes = ", ".join(f"{weight} {tuple(value.shape)}" for weight, value in own)
        # A model is the kind that it is, whatever a subclass is called.
        kind = "" if part is module else type(part).__name__
        out[name] = f"{kind} with {shapes}" if shapes else kind
    if len(out) == 1:
        out[""] = type(module).__name__ + out[""]
    return out


def _words(value: object) -> str:
    if isinstance(value, nn.Module):
        return " ".join(str(value).split())
    return type(value).__name__
