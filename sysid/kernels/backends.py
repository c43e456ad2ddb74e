"""Which code runs a recurrence: the compiled loops, or their plain PyTorch reference."""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

BACKENDS = ("auto", "fused", "reference")
DEVICE_WIDTH = 128  # neurons of a layer whose weights one program keeps at hand

#: By the numbers that compiled code knows them by.
COMPILED_ACTIVATIONS = ("tanh", "sigmoid", "relu", "elu", "softplus", "sinh")

_chosen = ["auto"]
_warned: set[str] = set()


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run recurrences by another backend inside a ``with`` block.

    Args:
        name: ``auto`` (compiled where it can be, with one warning where it should have been),
            ``fused`` (compiled, or an error that says why not) or ``reference`` (plain PyTorch).

    Raises:
        ValueError: for another name.
    """
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {name!r}")
    _chosen.append(name)
    try:
        yield
    finally:
        _chosen.pop()


def backend() -> str:
    """Return the backend that was asked for."""
    return _chosen[-1]


def fused(*tensors: Tensor, activation: str = "tanh") -> bool:
    """Return whether the compiled loops shall run on these tensors.

    Raises:
        ValueError: if the backend is ``fused`` and they cannot.
    """
    if _chosen[-1] == "reference":
        return False
    # A transform, a trace or another device wants PyTorch's own operations: nothing to warn of.
    elsewhere = any(_is_elsewhere(t) for t in tensors) or _is_traced()
    reason = "tensors are traced, transformed or on another device" if elsewhere else ""
    if not elsewhere:
        reason = _obstacle(tensors, activation)
    if not reason:
        return True
    if _chosen[-1] == "fused":
        raise ValueError(f'backend "fused" must be able to run, but {reason}; use "auto"')
    if not elsewhere:
        warn_once(reason)
    return False


def on_device(*tensors: Tensor, activation: str, width: int, size: int) -> bool:
    """Return whether a network's free run shall run on a CUDA device by one kernel.

    Args:
        tensors: what it is made of.
        activation: of its hidden layers.
        width: neurons of its widest layer.
        size: numbers in its largest array.
    """
    if _chosen[-1] == "reference" or not all(_is_on_device(t) for t in tensors) or _is_traced():
        return False
    reason = _obstacle(tensors, activation, "triton")
    if not reason and (width > DEVICE_WIDTH or size >= 1 << 31):
        reason = f"a kernel holds {DEVICE_WIDTH} neurons and 2^31 numbers, got {width} and {size}"
    if reason:
        warn_once(reason)
    return not reason


def warn_once(reason: str) -> None:
    """Say for what reason the slower reference runs, the first time."""
    if reason not in _warned:
        _warned.add(reason)
        warnings.warn(f"a recurrence runs without compiled loops: {reason}", stacklevel=4)


def _obstacle(tensors: tuple[Tensor, ...], activation: str, compiler: str = "numba") -> str:
    dtypes = {t.dtype for t in tensors}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        return f"they are for float32 or float64, got {', '.join(sorted(map(str, dtypes)))}"
    if importlib.util.find_spec(compiler) is None:
        return f"{compiler} is not installed"
    if activation not in COMPILED_ACTIVATIONS:
        return f"activation {activation} has no compiled form"
    return ""


def _is_elsewhere(t: Tensor) -> bool:
    return t.device.type != "cpu" or is_transformed(t)


def _is_on_device(t: Tensor) -> bool:
    return t.is_cuda and not is_transformed(t)


def is_transformed(t: Tensor) -> bool:
    """Return whether a tensor is one of ``torch.func`` or of forward differentiation."""
    return (
        type(t) not in (Tensor, torch.nn.Parameter)
        or torch._C._functorch.is_functorch_wrapped_tensor(t)
        or forward_ad.unpack_dual(t).tangent is not None
    )


def _is_traced() -> bool:
    tracing: Any = torch.jit  # the function is not among what its module declares
    return torch.compiler.is_compiling() or bool(tracing.is_tracing())
