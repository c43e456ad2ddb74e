"""NARX: a feed-forward network on past outputs and inputs, one step ahead and in free run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from sysid.data.records import Record
from sysid.data.regressors import Orders
from sysid.data.slow_outputs import slow, with_stand_ins
from sysid.kernels.functions import network
from sysid.models import linearisation
from sysid.models.arx import fit_scaled_arx
from sysid.models.ffn import layers, weights_and_biases
from sysid.models.initial_state import StatePrior, fitted_states
from sysid.models.linearisation import Step
from sysid.models.model import Carried, GapTolerant, Model
from sysid.models.sensitivities import Block, Recurrence, unfold_sensitivities, weight_count
from sysid.models.stability import Boundedness, of_narx, refuse_unbounded_activation
from sysid.models.stable_weights import (
    StableLags,
    companion_matrix,
    put_weight,
    spectral_radius,
    with_stable_poles,
)

_ROWS = 4096  # windows predicted together; bounds the memory of a long record


class NARX(GapTolerant, Model):
    """Nonlinear autoregressive model with exogenous input.

        y(k) = f(phi(k)) + L phi(k)
        phi(k) = [y(k-1), ..., y(k-na), u(k-nk), u(k-nk-1), ..., u(k-nb)]

    with ``f`` a feed-forward network and ``L phi`` the linear path.

    Args:
        nu: number of inputs.
        ny: number of outputs.
        na: largest output lag.
        nb: largest input lag.
        nk: smallest input lag.
        hidden_sizes: neurons of each hidden layer of ``f``.
        activation: as for ``FFN``.
        linear: whether there is a linear path.
        stable: whether the model is bounded by construction: the poles of ``L`` are within 0.999
            beside a network ``f`` whose activation is bounded, so from any start any bounded
            input gives a bounded output, whatever the weights are (to the precision of float64;
            coefficients in float32 move poles that lie close together).

    Raises:
        TypeError: for an order or a size that is not a whole number.
        ValueError: for orders out of range, another activation, or a model without regressors.

    Example:
        >>> model = NARX(nu=1, ny=1, na=2, nb=2, hidden_sizes=(8,))
        >>> model(torch.zeros(10, 5)).shape  # phi has 2 outputs and 3 inputs
        torch.Size([10, 1])
        >>> model.rollout(torch.zeros(4, 30, 1), y_start=torch.zeros(4, 2, 1)).shape
        torch.Size([4, 30, 1])
        >>> model.core(torch.zeros(10, 5)).shape
        torch.Size([10, 1])
    """

    kind: ClassVar[str] = "narx"
    losses: ClassVar[tuple[str, ...]] = ("one_step", "subsequence", "full_sequence")

    def __init__(
        self,
        nu: int,
        ny: int,
        na: int,
        nb: int,
        nk: int = 0,
        hidden_sizes: Sequence[int] = (32,),
        activation: str = "tanh",
        linear: bool = True,
        stable: bool = False,
    ) -> None:
        super().__init__(nu, ny)
        self.orders = Orders(na, nb, nk)
        self.na, self.nb, self.nk = na, nb, nk
        self.hidden_sizes = tuple(hidden_sizes)
        self.activation = activation
        self.linear, self.stable = linear, stable
        width = na * ny + (nb - nk + 1) * nu
        if width == 0:
            raise ValueError("na must be at least 1 for a model without inputs, got 0")
        self.network = layers(width, self.hidden_sizes, ny, activation)
        if stable and na:
            self._refuse_unbounded()
        self.linear_path: nn.Linear | StableLags | None = None
        if linear:
            path = nn.Linear(width, ny, bias=False)
            bounded = stable and na > 0
            self.linear_path = StableLags(self._pulled_in(path.weight), na) if bounded else path

    def _refuse_unbounded(self) -> None:
        if not self.hidden_sizes:
            raise ValueError(
                "hidden_sizes must hold at least one layer with stable=True, got none: the "
                "network would be a second linear path, and nothing would bound it"
            )
        refuse_unbounded_activation(self.activation)

    def _pulled_in(self, weight: Tensor) -> Tensor:
        """Return a weight of the linear path with the poles of its past outputs pulled in."""
        if weight.device.type == "meta":  # a model without memory, whose shapes are looked at
            return weight
        columns = self.na * self.ny
        of_past = with_stable_poles(weight[:, :columns].detach().cpu().double().numpy())
        return torch.cat([torch.from_numpy(of_past).to(weight), weight[:, columns:].detach()], 1)

    @property
    def bounded(self) -> Boundedness:
        """What is known of how far the model can go; see ``Boundedness``."""
        columns = self.na * self.ny
        direct = [] if self.linear_path is None else [self.linear_path.weight[:, :columns]]
        if not self.hidden_sizes:
            direct.append(weights_and_biases(self.network)[0][0][:, :columns])
        radius = 0.0
        if columns and direct:
            whole = torch.stack(direct).sum(0).detach().cpu().double().numpy()
            radius = spectral_radius(companion_matrix(whole))
        return of_narx(self, radius)

    @property
    def n_memory(self) -> int:
        """The largest lag."""
        return self.orders.max_lag

    def forward(self, phi: Tensor) -> Tensor:
        """Return ``y(k)``, ``(..., ny)``, for regressors ``phi(k)``, in physical units."""
        split = self.na * self.ny
        y, u = phi[..., :split].double(), phi[..., split:].double()
        y = self.scaling.scale_y(y.unflatten(-1, (-1, self.ny))).flatten(-2) if split else y
        u = self.scaling.scale_u(u.unflatten(-1, (-1, self.nu))).flatten(-2) if self.nu else u
        return self._scale_out(self.core(torch.cat([y, u], -1).to(self.dtype)))

    def core(self, phi: Tensor) -> Tensor:
        """Return ``y(k)`` for regressors ``phi`` in the network's own units."""
        out: Tensor = self.network(phi)
        return out if self.linear_path is None else out + self.linear_path(phi)

    def rollout(self, u: Tensor, y_start: Tensor) -> Tensor:
        """Free run of a batch in physical units, differentiable.

        Args:
            u: ``(batch, time, nu)``.
            y_start: ``(batch, n, ny)``, the first outputs; ``n`` at least the largest lag.

        Returns:
            ``(batch, time, ny)``, of which the first ``n`` are ``y_start``.

        Raises:
            ValueError: if ``y_start`` is shorter than the largest lag.
        """
        if y_start.shape[1] < self.n_memory:
            raise ValueError(
                f"y_start must hold at least {self.n_memory} samples, got {y_start.shape[1]}"
            )
        start = self.scaling.scale_y(y_start.double()).to(self.dtype)
        free = self._free_run(self._scale_in(u), start)
        return torch.cat([y_start, self._scale_out(free)], dim=1)

    def _free_run(self, u: Tensor, y_start: Tensor) -> Tensor:
        """Return the outputs after ``y_start``, ``(batch, time - n, ny)``, in own units."""
        n = y_start.shape[1]
        return self._run_on(self._lags(u, n), y_start[:, n - self.na :])[:, self.na :]

    def _lags(self, u: Tensor, n: int) -> Tensor:
        """Return what ``phi`` holds of inputs, for the samples from ``n`` on."""
        return torch.cat(
            [u[:, n - lag : u.shape[1] - lag] for lag in range(self.nk, self.nb + 1)], dim=-1
        )

    def _run_on(self, phi_u: Tensor, y_start: Tensor) -> Tensor:
        """Return the last ``na`` outputs and those that follow, ``(batch, na + time, ny)``."""
        linear = None if self.linear_path is None else self.linear_path.weight
        layers = weights_and_biases(self.network)
        start = y_start.transpose(0, 1)
        y = network(phi_u.transpose(0, 1), start, linear, layers, self.activation)
        return y.transpose(0, 1)

    def unfold(
        self, u: Tensor, y: Tensor, washout: int = 0, carried: Carried | None = None
    ) -> tuple[Tensor, Carried]:
        """Free run from the first ``n_memory`` measured outputs."""
        if carried is not None:
            u_past, y_past = carried
            y_hat = self._free_run(torch.cat([u_past, u], 1), y_past)
            u_all, y_all = torch.cat([u_past, u], 1), torch.cat([y_past, y_hat], 1)
        else:
            n = self.n_memory
            y_hat = self._run_on(self._lags(u, n), y[:, n - self.na : n])
            if n > self.na:
                y_hat = torch.cat([y[:, : n - self.na], y_hat], 1)
            u_all, y_all = u, y_hat
        start = u_all.shape[1] - self.n_memory
        return y_hat, (u_all[:, start:], y_all[:, start:])

    def window_sensitivities(
        self,
        u: Tensor,
        y: Tensor,
        block: int = 2000,
        with_state: bool = False,
        state: Tensor | None = None,
        washout: int = 0,
    ) -> Iterator[Block]:
        """Do what ``sensitivities`` does for a batch of windows."""
        n, batch = self.n_memory, len(u)
        count = weight_count(self)
        yield Block(0, y[:, :n], u.new_zeros(batch, n, self.ny, count))
        past = y[:, n - self.na : n].flip(1).flatten(1)  # newest first
        change = past.new_zeros(*past.shape, count)
        for part in self._parts(u, past, change, block):
            yield part._replace(start=n + part.start)

    def _parts(
        self, u: Tensor, past: Tensor, change: Tensor, block: int, of_weights: bool = True
    ) -> Iterator[Block]:
        """Run freely from ``[y(k-1), ..., y(k-na)]`` and its derivatives by the columns."""

        def advance(y_now: Tensor, past: Tensor) -> Tensor:
            return torch.cat([y_now, past], dim=1)[:, : past.shape[1]]

        recurrence = Recurrence(
            lambda model, past, phi_u: model.core(torch.cat([past, phi_u], -1)),
            advance,
            self._linearised,
            self._trajectory if self.na else None,
        )
        lags = self._lags(u, self.n_memory)
        for part, _, _ in unfold_sensitivities(
            self, recurrence, lags, past, change, self.ny, block, of_weights
        ):
            yield part

    def _linearised(self, past: Tensor, phi_u: Tensor) -> Step:
        phi = torch.cat([past, phi_u], -1)
        y, to_phi, layers = linearisation.network(self.network, "network", phi)
        if self.linear_path is not None:
            y, to_phi = y + self.linear_path(phi), to_phi + self.linear_path.weight
            layers.append(linearisation.linear(self.linear_path, "linear_path", phi))
        return Step(y, to_phi[..., : past.shape[1]].expand(len(y), -1, -1), layers)

    def _trajectory(self, phi_u: Tensor, past: Tensor) -> Tensor:
        """Return ``[y(k-1), ..., y(k-na)]`` from the first sample to the one after the last."""
        start = past.unflatten(1, (self.na, self.ny)).flip(1)  # oldest first
        y = self._run_on(phi_u, start)
        return y.unfold(1, self.na, 1).flip(-1).transpose(2, 3).flatten(2)

    def _simulate(self, u: Tensor, y: Tensor | None, n_init: int) -> Tensor:
        start = y if y is not None else u.new_zeros(0, self.ny)
        held = max(self.n_memory - n_init, 0)  # a lag before the first sample holds it
        if held:
            u = torch.cat([u[:1].expand(held, -1), u])
            start = torch.cat([start[:1].expand(held, -1), start])
        if start.isnan().any():
            start = self.fitted_start(u[: len(start)], start)
        free = self._free_run(u[None], start[None])[0]
        return torch.cat([start[held:], free])

    def fitted_start(self, u: Tensor, y: Tensor) -> Tensor:
        """Return the free run that fits the outputs of a record's start best, as far as measured.

        Its first ``na`` outputs are found by least squares, near the line between those measured.

        Args:
            u: ``(n, nu)`` in the network's own units; ``n`` at least ``n_memory``.
            y: ``(n, ny)``, NaN where an output was not measured.

        Returns:
            ``(n, ny)``, without missing ones.

        Example:
            >>> model = NARX(nu=1, ny=1, na=2, nb=2, hidden_sizes=(4,))
            >>> y = torch.tensor([[1.0], [torch.nan], [1.0], [torch.nan]])
            >>> model.fitted_start(torch.zeros(4, 1), y).isnan().any().item()
            False
        """
        n, na = self.n_memory, self.na
        guess = with_stand_ins(y[None], len(y), between=True)
        if na == 0 or len(y) == n:
            return guess[0]
        start = guess[:, n - na : n].flip(1).flatten(1)  # newest first
        to_itself = torch.eye(start.shape[1], dtype=y.dtype, device=y.device)[None]

        def simulate(change: Tensor) -> tuple[Tensor, Tensor]:
            past = start + change
            parts = list(self._parts(u[None], past, to_itself, len(u), of_weights=False))
            first, by_start = (x.unflatten(1, (na, self.ny)).flip(1) for x in (past, to_itself))
            return (
                torch.cat([first, *(p.y_hat for p in parts)], 1),
                torch.cat([by_start, *(p.jacobian for p in parts)], 1),
            )

        change = fitted_states(simulate, y[None, n - na :], StatePrior(start.shape[1]))
        return torch.cat([guess[0, : n - na], simulate(change)[0][0]])

    def _predict(self, u: Tensor, y: Tensor, horizon: int) -> Tensor:
        out = torch.full_like(y, torch.nan)
        length = self.n_memory + horizon
        if len(y) < length:
            return out
        first = self.n_memory
        if slow(y.cpu().numpy()).any():
            y, first = self._observed(u, y)
        u_windows = u.unfold(0, length, 1).transpose(1, 2)  # (M, length, nu)
        y_windows = y.unfold(0, length, 1).transpose(1, 2)
        for s in range(0, len(u_windows), _ROWS):
            free = self._free_run(
                u_windows[s : s + _ROWS], y_windows[s : s + _ROWS, : self.n_memory]
            )
            out[length - 1 + s : length - 1 + s + len(free)] = free[:, -1]
        out[: first + horizon - 1] = torch.nan
        return out

    def _observed(self, u: Tensor, y: Tensor) -> tuple[Tensor, int]:
        """Return outputs with the model's own where slow ones were not measured, and their start.

        From the start on, each stands on nothing that was measured after it.
        """
        n = self.n_memory
        seen = ~y.isnan()
        start = max(n, int(seen.int().argmax(0).max()) + 1)
        filled = torch.cat([with_stand_ins(y[None, :start], start, between=False)[0], y[start:]])
        # Rows up to the next that holds a sample: what was measured there acts on what follows.
        ends = (seen.any(1).nonzero().flatten() + 1).tolist()
        edges = sorted({start, len(y), *(e for e in ends if e > start)})
        for a, b in pairwise(edges):
            if not seen[a:b].all():
                free = self._free_run(u[None, a - n : b], filled[None, a - n : a])[0]
                filled[a:b] = torch.where(seen[a:b], y[a:b], free)
        return filled, start

    def initialise(self, records: list[Record]) -> None:
        """Put the linear ARX model found by least squares into the linear path."""
        if self.linear_path is None:
            return
        solution = fit_scaled_arx(records, self.scaling, self.na, self.nb, self.nk)
        if solution is None:
            return
        last = self.network[-1]
        if not isinstance(last, nn.Linear):
            raise TypeError("the last layer must be linear")
        with torch.no_grad():
            weight = torch.tensor(solution[:-1].T)
            stable = isinstance(self.linear_path, StableLags)
            put_weight(self.linear_path, self._pulled_in(weight) if stable else weight)
            last.bias.copy_(torch.tensor(solution[-1]))
            # Small, not zero: the network starts next to the linear model, with gradients
            # that differ from neuron to neuron.
            last.weight.mul_(0.01)

    def example_input(self) -> Tensor:
        """Return one row of regressors."""
        return torch.zeros(2, self.na * self.ny + (self.nb - self.nk + 1) * self.nu)
