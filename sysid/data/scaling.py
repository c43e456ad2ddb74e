"""Scaling: the map between physical units and a network's own, learned by scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sysid.data.records import Array, Record

SCALERS = ("standard", "minmax", "robust", "none")

_CHUNK = 1 << 20  # samples a step, so that a memory map is read in one pass


class Scaling(nn.Module):
    """``u_own = (u - u_offset) / u_scale`` and the same for ``y``, as buffers of a model.

    The buffers are float64 whatever the model's dtype: a small signal on a large offset keeps
    its digits. Before a fit it is the identity.

    Args:
        nu: number of inputs.
        ny: number of outputs.
    """

    u_offset: Tensor
    u_scale: Tensor
    y_offset: Tensor
    y_scale: Tensor
    y_std: Tensor

    def __init__(self, nu: int, ny: int) -> None:
        super().__init__()
        for name, size in (("u", nu), ("y", ny)):
            self.register_buffer(f"{name}_offset", torch.zeros(size, dtype=torch.float64))
            self.register_buffer(f"{name}_scale", torch.ones(size, dtype=torch.float64))
        self.register_buffer("y_std", torch.ones(ny, dtype=torch.float64))

    def fit_(self, records: list[Record], u: str = "standard", y: str = "standard") -> Scaling:
        """Learn from training records, in place; missing samples are ignored.

        Args:
            records: the training records, and nothing else.
            u: scaler of the inputs: ``standard``, ``minmax`` (to [-1, 1]), ``robust``
                (median and quartiles) or ``none``.
            y: scaler of the outputs.

        Raises:
            ValueError: for another scaler, or a channel without a single value.
        """
        for name, kind in (("u", u), ("y", y)):
            blocks = [getattr(r, name) for r in records]
            if blocks[0].shape[1] == 0:
                continue
            names = records[0].u_names if name == "u" else records[0].y_names
            for i, channel in enumerate(names):
                if all(np.isnan(b[:, i]).all() for b in blocks):
                    raise ValueError(
                        f"channel {channel!r} must have measured values to scale by, got none"
                    )
            offset, scale = _affine(kind, blocks)
            getattr(self, f"{name}_offset").copy_(torch.tensor(offset))
            getattr(self, f"{name}_scale").copy_(torch.tensor(scale))
            if name == "y":
                self.y_std.copy_(torch.tensor(_affine("standard", blocks)[1]))
        return self

    def scale_u(self, u: Tensor) -> Tensor:
        """Return inputs ``(..., nu)`` in the network's own units."""
        return (u - self.u_offset) / self.u_scale

    def scale_y(self, y: Tensor) -> Tensor:
        """Return outputs ``(..., ny)`` in the network's own units."""
        return (y - self.y_offset) / self.y_scale

    def unscale_y(self, y: Tensor) -> Tensor:
        """Return outputs ``(..., ny)`` in physical units."""
        return y * self.y_scale + self.y_offset

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Scaling:
        """Follow a model to another device, not to another dtype."""
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = buffer.to(fn(buffer.new_empty(0)).device)
        return self


def _affine(kind: str, blocks: list[Array]) -> tuple[Array, Array]:
    """Return offset and scale of all blocks together, by scikit-learn's scaler."""
    width = blocks[0].shape[1]
    if kind == "none":
        return np.zeros(width), np.ones(width)
    from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

    if kind == "robust":  # needs the quantiles of everything at once
        robust: Any = RobustScaler().fit(np.concatenate(blocks))
        return robust.center_, robust.scale_
    if kind not in SCALERS:
        raise ValueError(f"scaler must be one of {', '.join(SCALERS)}, got {kind!r}")
    scaler: Any = StandardScaler() if kind == "standard" else MinMaxScaler((-1, 1))
    for block in blocks:
        for start in range(0, len(block), _CHUNK):
            scaler.partial_fit(np.asarray(block[start : start + _CHUNK], dtype=np.float64))
    if kind == "standard":
        return scaler.mean_, scaler.scale_
    return -scaler.min_ / scaler.scale_, 1 / scaler.scale_
