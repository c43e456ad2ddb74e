"""Scaling: the map between physical units and a network's own, learned by scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sysid.data.memory_maps import chunks
from sysid.data.records import Array, Record

SCALERS = ("standard", "minmax", "robust", "none")


class Scaling(nn.Module):
    """``u_own = (u - u_offset) / u_scale`` and the same for ``y``, as buffers of a model.

    The buffers are float64 whatever the model's dtype: a small signal on a large offset keeps
    its digits. Before a fit it is the identity.

    Args:
        nu: number of inputs.
        ny: number of outputs.

    Example:
        >>> scaling = Scaling(nu=1, ny=1).fit_([Record([0.0, 2.0], [10.0, 30.0])])
        >>> own = scaling.scale_y(torch.tensor([[30.0]]))
        >>> own, scaling.unscale_y(own)
        (tensor([[1.]], dtype=torch.float64), tensor([[30.]], dtype=torch.float64))
        >>> scaling.scale_u(torch.tensor([[0.0]])), scaling.scaled(Record([0.0], [10.0])).y
        (tensor([[-1.]], dtype=torch.float64), array([[-1.]]))
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

        Example:
            >>> Scaling(1, 1).fit_([Record([0.0, 2.0], [10.0, 30.0])], y="minmax").y_offset
            tensor([20.], dtype=torch.float64)
        """
        for name, kind in (("u", u), ("y", y)):
            blocks = [getattr(r, name) for r in records]
            if blocks[0].shape[1] == 0:
                continue
            offset, scale, std, seen = _affine(kind, blocks)
            names = records[0].u_names if name == "u" else records[0].y_names
            for channel, count in zip(names, seen, strict=True):
                if count == 0:
                    raise ValueError(
                        f"channel {channel!r} must have measured values to scale by, got none"
                    )
            getattr(self, f"{name}_offset").copy_(torch.tensor(offset))
            getattr(self, f"{name}_scale").copy_(torch.tensor(scale))
            if name == "y":
                self.y_std.copy_(torch.tensor(std))
        return self

    def scale_u(self, u: Tensor) -> Tensor:
        """Return inputs ``(..., nu)`` in the network's own units.

        Args:
            u: ``(..., nu)`` in physical units.
        """
        return (u - self.u_offset) / self.u_scale

    def scale_y(self, y: Tensor) -> Tensor:
        """Return outputs ``(..., ny)`` in the network's own units.

        Args:
            y: ``(..., ny)`` in physical units.
        """
        return (y - self.y_offset) / self.y_scale

    def scaled(self, record: Record) -> Record:
        """Return a record in the network's own units.

        Args:
            record: in physical units.
        """
        u, y = (
            torch.tensor(np.asarray(b, dtype=np.float64), device=self.u_scale.device)
            for b in (record.u, record.y)
        )
        return Record(
            self.scale_u(u).cpu().numpy() if record.nu else None,
            self.scale_y(y).cpu().numpy(),
            name=record.name,
        )

    def unscale_y(self, y: Tensor) -> Tensor:
        """Return outputs ``(..., ny)`` in physical units.

        Args:
            y: ``(..., ny)`` in the network's own units.
        """
        return y * self.y_scale + self.y_offset

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Scaling:
        """Follow a model to another device, not to another dtype."""
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = buffer.to(fn(buffer.new_empty(0)).device)
        return self


def _affine(kind: str, blocks: list[Array]) -> tuple[Array, Array, Array, Array]:
    """Return offset, scale, standard deviation and count of each channel over all blocks.

    One pass over the data by scikit-learn's scalers, unless the kind is ``robust``, which needs
    everything at once.
    """
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    if kind not in SCALERS:
        raise ValueError(f"scaler must be one of {', '.join(SCALERS)}, got {kind!r}")
    width = blocks[0].shape[1]
    standard: list[Any] = [StandardScaler() for _ in range(width)]
    extreme: list[Any] = [MinMaxScaler((-1, 1)) for _ in range(width)]
    seen = np.zeros(width)
    for piece in (p for b in blocks for p in chunks(b)):
        for i in range(width):
            # Channel by channel: a piece in which one is missing would make its mean NaN.
            values = np.asarray(piece[:, i], dtype=np.float64)
            values = values[~np.isnan(values), None]
            if len(values):
                seen[i] += len(values)
                standard[i].partial_fit(values)
                extreme[i].partial_fit(values)
    if not seen.all():
        return np.zeros(width), np.ones(width), np.ones(width), seen
    std = np.concatenate([s.scale_ for s in standard])
    if kind == "standard":
        return np.concatenate([s.mean_ for s in standard]), std, std, seen
    if kind == "minmax":
        factor = np.concatenate([s.scale_ for s in extreme])
        return -np.concatenate([s.min_ for s in extreme]) / factor, 1 / factor, std, seen
    if kind == "robust":
        return *_robust(blocks), std, seen
    return np.zeros(width), np.ones(width), std, seen


def _robust(blocks: list[Array]) -> tuple[Array, Array]:
    """Return median and quartile range."""
    from sklearn.preprocessing import RobustScaler

    if any(isinstance(b, np.memmap) for b in blocks):
        raise ValueError(
            'scaler must be "standard", "minmax" or "none" for records on a disk, got "robust", '
            "which needs everything in memory"
        )
    robust: Any = RobustScaler().fit(np.concatenate(blocks))
    return robust.center_, robust.scale_
