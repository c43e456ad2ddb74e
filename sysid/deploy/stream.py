"""Stream: a model one sample at a time, for a loop that cannot wait for a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike

from sysid.data.records import Array, Record
from sysid.deploy.steps import STEPS, pack
from sysid.deploy.weights import array, output_limits, refuse_ensemble, refuse_smoother
from sysid.models import NARX
from sysid.models.parts import refuse_replaced
from sysid.models.stateful import StatefulModel

if TYPE_CHECKING:
    from sysid.models import Model


class Stream:
    """A model as it is now, fed sample by sample; it computes in double precision.

        stream = model.stream()
        stream.reset(record[:n])          # the measured past
        y_hat = stream.step(u)            # sample n, then n + 1, ...

    The outputs are those of ``model.simulate(record)`` from sample ``n`` on, where the record
    has ``n_init = n``. A step neither allocates tensors nor calls torch.

    Args:
        model: a one-way model of any kind; later changes of its weights are not seen.

    Raises:
        ValueError: if the model is bidirectional or an ensemble.

    Example:
        >>> import sysid
        >>> model = sysid.NARX(nu=1, ny=1, na=2, nb=2, hidden_sizes=(4,))
        >>> record = sysid.generate("linear", 20)
        >>> stream = model.stream()
        >>> stream.reset(record[:2])
        >>> y_hat = [stream.step(u) for u in record.u[2:]]
        >>> bool(np.allclose(y_hat, model.simulate(record)[2:]))
        True
        >>> stream.observe(record.y[-1])  # the measured output, in place of the model's own
        >>> stream.state.shape
        (5,)
    """

    def __init__(self, model: Model) -> None:
        refuse_ensemble(model, "stream")
        refuse_replaced(model)
        refuse_smoother(model, "stream")
        self.model = model
        self._step = STEPS[model.kind]
        self._weights, self._sizes, room = pack(model)
        scaling = model.scaling
        self._y_offset, self._y_scale = array(scaling.y_offset), array(scaling.y_scale)
        self._scaling = np.concatenate(
            [array(scaling.u_offset), array(scaling.u_scale), self._y_offset, self._y_scale]
        )
        self._limits = output_limits(model)
        self._size, self._fed_back = _layout(model)
        self._a, self._b = np.empty(room), np.empty(room)
        self._x: Array | None = None
        if model.n_memory == 0:
            self.reset()

    def reset(self, record: Record | None = None) -> None:
        """Start again, from the measured past where there is one.

        Args:
            record: all samples before the next step, in physical units; ``None``: nothing was
                measured, and the model starts as ``simulate`` does with ``n_init`` 0.

        Raises:
            ValueError: if the record's channels are not the model's, samples that the model
                starts from are missing, or it cannot start without any.
        """
        model = self.model
        if record is None and model.n_memory:
            raise ValueError(
                f"record must hold measured samples for this {model.kind} to start from, got "
                f"none; it looks back {model.n_memory} samples"
            )
        if record is not None:
            model.check_record(record)
            if model.starts_from_y:
                model.check_start(record, len(record))
        n = 0 if record is None else len(record)
        u = np.empty((0, model.nu)) if record is None else record.u
        y = record.y if record is not None and record.ny else np.full((n, model.ny), np.nan)
        own_u = model.scaling.scale_u(torch.tensor(u, device=model.device))
        own_y = model.scaling.scale_y(torch.tensor(y, device=model.device))
        if isinstance(model, NARX):
            self._x = _history(model, array(own_u), array(own_y))
        elif isinstance(model, StatefulModel):
            with torch.no_grad():
                settled = model.settle(own_u.to(model.dtype), own_y.to(model.dtype))
            self._x = np.concatenate([array(t).ravel() for t in settled])
        else:
            self._x = np.empty(0)

    def step(self, u: ArrayLike = ()) -> Array:
        """Take the inputs of the next sample and return its outputs.

        Args:
            u: ``(nu,)`` in physical units, or a number where there is one input.

        Returns:
            ``(ny,)`` in physical units.

        Raises:
            ValueError: if there are not ``nu`` finite inputs; the state stays as it was.
        """
        inputs = np.array(u, dtype=np.float64, ndmin=1)
        if inputs.shape != (self.model.nu,):
            raise ValueError(
                f"u must have {self.model.nu} values, one per input, got {inputs.shape}"
            )
        y = np.empty(self.model.ny)
        x = self._started()
        if not self._step(
            inputs, y, x, self._scaling, self._weights, self._sizes, self._a, self._b
        ):
            raise ValueError(f"u must be finite, got {inputs.tolist()}; hold the last value")
        return y if self._limits is None else np.clip(y, *self._limits, out=y)

    def observe(self, y: ArrayLike) -> None:
        """Take the outputs that were measured at the sample of the last step.

        The next steps then start from them instead of the model's own: with every output
        observed, steps are the one-step predictions of ``model.predict``.

        Args:
            y: ``(ny,)`` in physical units, or a number where there is one output; where it is
                NaN the model's own output stays.

        Raises:
            ValueError: if the model feeds no outputs back, or ``y`` is not of its size.
        """
        if self._fed_back is None:
            raise ValueError(
                f"model must feed outputs back to take measured ones, got a {self.model.kind} "
                "that sees inputs alone; use a narx or feedback=True"
            )
        measured = np.array(y, dtype=np.float64, ndmin=1)
        if measured.shape != (self.model.ny,) or np.isinf(measured).any():
            raise ValueError(
                f"y must have {self.model.ny} values, finite or NaN, got {measured.tolist()}"
            )
        own = (measured - self._y_offset) / self._y_scale
        np.copyto(self._started()[self._fed_back], own, where=~np.isnan(own))

    @property
    def state(self) -> Array:
        """A copy of the whole state; assign it, to this or to a stream of the same model."""
        return self._started().copy()

    @state.setter
    def state(self, value: ArrayLike) -> None:
        x = np.array(value, dtype=np.float64, ndmin=1)
        if x.shape != (self._size,) or not np.isfinite(x).all():
            raise ValueError(
                f"state must be {self._size} finite numbers, as `state` gave them, got {x.shape}"
            )
        self._x = x

    def _started(self) -> Array:
        if self._x is None:
            raise ValueError(
                f"stream must start from measured samples, got none yet; call reset(record[:n]) "
                f"with n of at least {self.model.n_memory}"
            )
        return self._x


def _layout(model: Model) -> tuple[int, slice | None]:
    """Return the length of the state, and where in it the output lies that is fed back next."""
    if isinstance(model, NARX):
        past = model.na * model.ny
        return past + (model.nb + 1) * model.nu, slice(0, model.ny) if past else None
    if isinstance(model, StatefulModel):
        size = model.state_size
        if model.feedback:
            return size + model.ny, slice(size, size + model.ny)
        return size, None
    return 0, None


def _history(model: NARX, u: Array, y: Array) -> Array:
    """Return what a NARX looks back on, newest first: ``na`` outputs, ``nb + 1`` inputs."""
    held = max(model.n_memory - len(y), 0)  # a lag before the first sample holds it
    y = np.concatenate([np.repeat(y[:1], held, axis=0), y])
    u = np.concatenate([np.repeat(u[:1], held, axis=0), u])
    if np.isnan(y).any():  # of slow outputs
        tensors = (torch.tensor(x, dtype=model.dtype, device=model.device) for x in (u, y))
        with torch.no_grad():
            y = array(model.fitted_start(*tensors))
    past_y = y[::-1][: model.na]
    past_u = u[::-1][: model.nb + 1]
    if len(past_u) <= model.nb:  # the oldest leaves at the first step
        past_u = np.concatenate([past_u, np.zeros((1, model.nu))])
    return np.concatenate([past_y.ravel(), past_u.ravel()])
