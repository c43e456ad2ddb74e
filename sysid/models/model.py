"""Model: what every kind of model has, and the checks that a record belongs to it."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from sysid.data.hiding import measured_channels
from sysid.data.records import Array, Record
from sysid.data.scaling import Scaling
from sysid.data.slow_outputs import first_start
from sysid.models.belonging import refuse_foreign, refuse_without_start
from sysid.models.evaluating import evaluating
from sysid.models.parts import refuse_part, refuse_replaced
from sysid.models.sensitivities import Block
from sysid.models.stability import Boundedness

if TYPE_CHECKING:
    from sysid.deploy.stream import Stream
    from sysid.models.baseline import Baseline

Carried = tuple[Tensor, ...]

_DESCRIPTION: tuple[str, ...] = ("u_names", "y_names", "u_units", "y_units", "sampling_time")
_DESCRIPTION += ("data_n_init", "baseline", "fitted")


class Model(nn.Module, ABC):
    """A model of a dynamic system with ``nu`` inputs and ``ny`` outputs.

    What a user passes in or gets back is in physical units; ``scaling`` holds the map to
    the units that the network works in, and is saved with the weights. A model that was
    never fitted has the identity as its scaling.

    A subclass keeps each argument of its constructor as an attribute of the same name, so
    that it can be saved and built again.

    Example:
        >>> import sysid
        >>> record = sysid.generate("linear", 50)
        >>> model = sysid.NARX(nu=1, ny=1, na=2, nb=2, hidden_sizes=(4,)).fresh(seed=0)
        >>> model.simulate(record).shape, model.predict(record, horizon=5).shape
        ((50, 1), (50, 1))
        >>> y_hat, _ = model.unfold(torch.zeros(3, 20, 1), torch.zeros(3, 20, 1))  # own units
        >>> u = y = torch.zeros(20, 1)
        >>> (block,) = [b for b in model.sensitivities(u, y) if b.start >= model.n_memory]
        >>> y_hat.shape, block.jacobian.shape  # 34 weights
        (torch.Size([3, 20, 1]), torch.Size([18, 1, 34]))
    """

    kind: ClassVar[str]
    losses: ClassVar[tuple[str, ...]]

    def __init__(self, nu: int, ny: int) -> None:
        super().__init__()
        check_count("nu", nu, least=0)
        check_count("ny", ny)
        self.nu = nu
        self.ny = ny
        self.scaling = Scaling(nu, ny)
        self.u_names: tuple[str, ...] = tuple(f"u{i + 1}" for i in range(nu))
        self.y_names: tuple[str, ...] = tuple(f"y{i + 1}" for i in range(ny))
        self.u_units: tuple[str, ...] = ("",) * nu
        self.y_units: tuple[str, ...] = ("",) * ny
        self.sampling_time: float | None = None
        self.data_n_init = 0  # of the records that it was judged on
        self.baseline: Baseline | None = None
        self.fitted = False

    def __setattr__(self, name: str, value: Any) -> None:
        refuse_part(self, name, value)
        super().__setattr__(name, value)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that build this model again."""
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        return {name: getattr(self, name) for name in names}

    @property
    def causal(self) -> bool:
        """Whether ``y_hat(k)`` depends on nothing after ``k``."""
        return True

    @property
    def sees_outputs(self) -> bool:
        """Whether it was trained on ``hide_outputs``: measured outputs are among its inputs."""
        return measured_channels(self.u_names, self.y_names) is not None

    @property
    @abstractmethod
    def bounded(self) -> Boundedness:
        """What is known of how far a free run can go under bounded inputs, from any start."""

    @property
    def n_memory(self) -> int:
        """Measured samples that a simulation starts from when ``record.n_init`` is 0."""
        return 0

    @property
    def estimates_state(self) -> bool:
        """Whether the state that a record starts from is estimated for each record."""
        return False

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def scoring_start(self, record: Record) -> int:
        """Return the first sample of a ``record``'s simulation that counts."""
        n = record.n_init or self.n_memory
        return first_start(record, n) if self.n_memory and record.ny else n

    def describe(self, record: Record) -> None:
        """Take channel names, units and the sampling time from a training ``record``."""
        self.u_names, self.y_names = record.u_names, record.y_names
        self.u_units, self.y_units = record.u_units, record.y_units
        self.sampling_time = record.sampling_time
        self.fitted = True

    def fresh(self, seed: int) -> Self:
        """Return a model with the same arguments, its weights drawn from ``seed``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return type(self)(**self.arguments)

    def take(self, other: Model) -> None:
        """Take weights, scaling and description of ``other``, a model with the same arguments."""
        self.to(device=other.device, dtype=other.dtype)
        self.load_state_dict(other.state_dict())
        self.describe_as(other)

    def describe_as(self, other: Model) -> None:
        """Take channel names, units, the sampling time and the baseline of ``other``."""
        for name in _DESCRIPTION:
            setattr(self, name, getattr(other, name))

    def initialise(self, records: list[Record]) -> None:
        """Start the linear part, if any, from a linear model of the training ``records``."""

    @abstractmethod
    def unfold(
        self, u: Tensor, y: Tensor, washout: int = 0, carried: Carried | None = None
    ) -> tuple[Tensor, Carried]:
        """Simulate a batch of windows in the network's own units, differentiably.

        Args:
            u: ``(batch, time, nu)``.
            y: ``(batch, time, ny)``; only what may start the simulation is looked at: the
                first ``n_memory`` samples, and the first ``washout`` where the model feeds
                back outputs. Nothing of it once ``carried`` is given.
            washout: samples at the start of the window that the loss does not score.
            carried: what an earlier call returned, to go on where it ended.

        Returns:
            ``y_hat`` of shape ``(batch, time, ny)``, and what the next call carries on.
        """

    @property
    def state_size(self) -> int:
        """Numbers in the state that a simulation starts from, beside measured samples."""
        return 0

    def sensitivities(
        self,
        u: Tensor,
        y: Tensor,
        block: int = 2000,
        with_state: bool = True,
        *,
        state: Tensor | None = None,
        washout: int = 0,
    ) -> Iterator[Block]:
        """Simulate one record with the derivatives of its outputs, in the network's own units.

        The simulation is that of ``unfold``; memory does not grow with the record.

        Args:
            u: ``(N, nu)``.
            y: ``(N, ny)``; what may start the simulation, as for ``unfold``.
            block: most samples of a block.
            with_state: whether to add the derivatives to the initial state.
            state: ``(state_size,)`` to start from; the model's own initial state if ``None``.
            washout: as for ``unfold``.

        Yields:
            Blocks in the order of time: ``y_hat`` of shape ``(m, ny)`` and ``jacobian`` of
            shape ``(m, ny, P)``, with ``state_size`` columns more if ``with_state``.

        Raises:
            ValueError: for a state of another size, or a model that sees the future.
        """
        if state is not None and state.shape != (self.state_size,):
            raise ValueError(f"state must have {self.state_size} numbers, got {tuple(state.shape)}")
        batch = None if state is None else state[None]
        for part in self.window_sensitivities(u[None], y[None], block, with_state, batch, washout):
            yield Block(part.start, part.y_hat[0], part.jacobian[0])

    @abstractmethod
    def window_sensitivities(
        self,
        u: Tensor,
        y: Tensor,
        block: int = 2000,
        with_state: bool = False,
        state: Tensor | None = None,
        washout: int = 0,
    ) -> Iterator[Block]:
        """Do what ``sensitivities`` does for a batch of windows.

        ``u`` is ``(batch, time, nu)``, ``y`` ``(batch, time, ny)``, ``state`` ``(batch,
        state_size)``; ``block``, ``with_state`` and ``washout`` are as there.
        """

    @abstractmethod
    def _simulate(self, u: Tensor, y: Tensor | None, n_init: int) -> Tensor:
        """Simulate one record ``(N, nu)`` in the network's own units; ``(N, ny)``."""

    def _predict(self, u: Tensor, y: Tensor, horizon: int) -> Tensor:
        """Predict one record; an output-error model predicts what it simulates."""
        raise NotImplementedError

    @property
    def output_error(self) -> bool:
        """Whether measured outputs never enter, so that a prediction is a simulation."""
        return False

    @torch.no_grad()
    def simulate(self, record: Record) -> Array:
        """Free run: inputs and at most the first ``n_init`` measured outputs go in.

        Args:
            record: the experiment, in physical units. Its outputs after ``n_init`` (or
                after ``n_memory`` samples where ``n_init`` is 0) are not looked at.

        Returns:
            ``(N, ny)`` in physical units. Rows that the model starts from are the measured
            ones, else its own. An unstable free run ends in infinite values, never in NaN.

        Raises:
            ValueError: if the record's channels or sampling time are not the model's, an
                input is missing, or outputs to start from are needed and not there.
        """
        self.check_record(record)
        n_start = min(self.scoring_start(record), len(record))
        needs = self.n_memory > 0 or (record.ny > 0 and record.n_init > 0 and self.starts_from_y)
        y = None
        if needs:
            self.check_start(record, n_start)
            y = self._scaled(record.y[:n_start], "y")
        with evaluating(self):
            y_hat = self._simulate(self._scaled(record.u, "u"), y, n_start)
        out = self._physical(y_hat)
        # All that went in is finite, so what is not a number is what came of infinity.
        out[np.isnan(out)] = np.inf
        if self.n_memory > 0:
            start = record.y[:n_start]
            out[:n_start] = np.where(np.isnan(start), out[:n_start], start)
        return out

    @property
    def starts_from_y(self) -> bool:
        """Whether measured outputs at the start are put to use."""
        return self.n_memory > 0

    @torch.no_grad()
    def predict(self, record: Record, horizon: int = 1) -> Array:
        """Predict ``horizon`` steps ahead.

        Args:
            record: the experiment with measured outputs, in physical units.
            horizon: row ``k`` uses measured outputs up to ``k - horizon``.

        Returns:
            ``(N, ny)`` in physical units; NaN where there is not enough history.

        Raises:
            ValueError: as for ``simulate``, or for a horizon below 1.
        """
        check_count("horizon", horizon)
        if self.output_error:
            return self.simulate(record)
        self.check_record(record, inputs=not isinstance(self, GapTolerant))
        if record.ny == 0:
            raise ValueError(
                f"record {record.name!r} must have measured outputs to predict from, "
                "got none; use simulate"
            )
        with evaluating(self):
            y_hat = self._predict(self._scaled(record.u, "u"), self._scaled(record.y, "y"), horizon)
        return self._physical(y_hat)

    def check_record(self, record: Record, inputs: bool = True) -> None:
        """Raise if a record cannot belong to this model.

        Args:
            record: any record.
            inputs: whether its inputs have to be complete.

        Raises:
            TypeError: if it is no record.
            ValueError: if its channels or sampling time are not the model's, or inputs miss.

        Example:
            >>> import sysid
            >>> sysid.GRU(nu=2, ny=1, hidden_size=4).check_record(Record([1.0], [2.0], name="run"))
            Traceback (most recent call last):
            ValueError: record 'run' must have 2 inputs, got 1: u1; choose the columns that \
the model was trained on
        """
        refuse_replaced(self)
        refuse_foreign(self, record, inputs)

    def check_start(self, record: Record, n_start: int) -> None:
        """Raise if the outputs that a simulation starts from are not there.

        Args:
            record: the experiment.
            n_start: samples at its start that the simulation starts from.

        Raises:
            ValueError: if there are no outputs, or one of them is missing.

        Example:
            >>> import sysid
            >>> sysid.NARX(nu=1, ny=1, na=2, nb=2).check_start(Record([1.0, 2.0], [3.0, 4.0]), 2)
        """
        refuse_without_start(self, record, n_start)

    def _scaled(self, block: Array, which: str) -> Tensor:
        tensor = torch.tensor(np.asarray(block, dtype=np.float64), device=self.device)
        scaled = self.scaling.scale_u(tensor) if which == "u" else self.scaling.scale_y(tensor)
        return scaled.to(self.dtype)

    def _physical(self, y_hat: Tensor) -> Array:
        out: Array = self.scaling.unscale_y(y_hat.double()).cpu().numpy()
        return out

    def _scale_in(self, u: Tensor) -> Tensor:
        """Scale the inputs of ``forward``, in the precision of the scaling."""
        return self.scaling.scale_u(u.double()).to(self.dtype)

    def _scale_out(self, y_hat: Tensor) -> Tensor:
        return self.scaling.unscale_y(y_hat.double()).to(y_hat.dtype)

    @abstractmethod
    def example_input(self) -> Tensor:
        """Return a smallest input of ``forward`` for the summary."""

    def summary(self) -> None:
        """Print the torchsummary table of layers, output shapes and parameters."""
        from sysid.models.summary import print_summary

        print_summary(self)

    def stream(self) -> Stream:
        """Return the model as it is now, one sample at a time; see ``sysid.deploy.stream``.

        Raises:
            ValueError: if the model is bidirectional.
        """
        from sysid.deploy.stream import Stream

        return Stream(self)

    def save(self, path: str | Path) -> None:
        """Write the model to one ``.safetensors`` file at ``path``; see ``sysid.save``."""
        from sysid.models.files import save

        save(self, path)


class GapTolerant:
    """Marks kinds whose prediction looks at a bounded past, so that a gap ends by itself."""


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raise unless a value is a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def check_choice(name: str, value: Any, allowed: Any) -> None:
    """Raise unless a value is one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, got {value!r}")
