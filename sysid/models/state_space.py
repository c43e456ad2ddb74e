"""StateSpace: the general recurrent network, two feed-forward networks beside a linear system."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sysid.data.records import Array, Record
from sysid.data.slow_outputs import slow
from sysid.kernels.functions import network
from sysid.models import linearisation
from sysid.models.ffn import layers, weights_and_biases
from sysid.models.linear import estimate_state_space
from sysid.models.linearisation import Layer, Step
from sysid.models.model import Carried, check_count
from sysid.models.stability import Boundedness, of_state_space, refuse_unbounded_activation
from sysid.models.stable_weights import (
    START_RADIUS,
    Contraction,
    contracting_coordinates,
    put_weight,
    spectral_radius,
)
from sysid.models.stateful import StatefulModel

_LOG = logging.getLogger(__name__)
_MOST = 1 << 19  # samples that the linear start looks at, the first ones of each record


class StateSpace(StatefulModel):
    """Neural state-space model.

        x(k+1) = A x(k) + B u(k) + f(x(k), u(k))
        y(k)   = C x(k) + D u(k) + g(x(k), u(k))

    ``f`` and ``g`` are feed-forward networks whose last layers start at zero: the model
    starts as its linear part, which ``fit`` estimates from the training records.

    Args:
        nu: number of inputs.
        ny: number of outputs.
        nx: number of states.
        hidden_sizes: neurons of each hidden layer of ``f``; ``()`` for a linear state equation.
        output_hidden_sizes: the same for ``g``; ``None`` as in ``f``, ``()`` for a linear output
            map.
        activation: as for ``FFN``.
        feedthrough: whether ``y(k)`` depends on ``u(k)`` directly.
        initial_state: ``zero``, ``learned``, ``encoder`` or ``estimated``.
        n_init: measured samples that the encoder sees.
        output_limits: least and largest value of each output, in physical units, where a sensor
            or the plant saturates: what is simulated stops there, in training too.
        integrating: whether the first ``ny`` states are sums that nothing but ``C`` sees,

                x_1(k+1) = x_1(k) + A_12 x_2(k) + B_1 u(k) + f_1(x_2(k), u(k)),

            so that the plant is the same wherever its outputs are: a start elsewhere moves the
            simulation as a whole. ``f`` and ``g`` see the other states.
        linear_input: whether inputs act through ``B`` and ``D`` alone and ``f`` and ``g`` see
            states, as with a force on a mass with friction: inputs beyond those of the training
            records act as those within.
        stable: whether the model is bounded by construction: ``|A|_2 < 0.999`` beside a network
            ``f`` whose activation is bounded. From any start, any bounded input then gives a
            bounded state,

                |x(k)| <= max(|x(0)|, (|B u|_max + |f|_max) / (1 - |A|_2)),

            whatever the weights are. This excludes no stable plant whose poles are within 0.999,
            since a stable ``A`` has coordinates in which its norm is below one. With
            ``integrating`` it holds for all states but the first ``ny``, which are exact sums of
            something bounded: they grow no faster than in proportion to time.

    Raises:
        TypeError: for a count that is not a whole number.
        ValueError: for a value out of range, another activation or initial state.

    Example:
        >>> model = StateSpace(nu=1, ny=1, nx=2, hidden_sizes=(4,), output_hidden_sizes=())
        >>> y_hat, state = model(torch.zeros(4, 30, 1))
        >>> y_hat.shape, state[0].shape
        (torch.Size([4, 30, 1]), torch.Size([4, 2]))
        >>> import sysid
        >>> record = sysid.generate("linear", 200)
        >>> model.describe(record)  # what fit does first, with model.scaling.fit_
        >>> model.initialise([record])  # A, B, C and D from a subspace estimate
        >>> model.scoring_start(record)
        0
        >>> u, y = (torch.zeros(4, 30, 1) for _ in range(2))
        >>> next(model.window_sensitivities(u, y)).jacobian.shape
        torch.Size([4, 30, 1, 36])
    """

    kind: ClassVar[str] = "state_space"
    batch_dim: ClassVar[int] = 0
    feedback = False

    def __init__(
        self,
        nu: int,
        ny: int,
        nx: int,
        hidden_sizes: Sequence[int] = (15,),
        output_hidden_sizes: Sequence[int] | None = None,
        activation: str = "tanh",
        feedthrough: bool = True,
        initial_state: str = "estimated",
        n_init: int = 0,
        output_limits: Sequence[Sequence[float]] | None = None,
        integrating: bool = False,
        linear_input: bool = False,
        stable: bool = False,
    ) -> None:
        super().__init__(nu, ny)
        self.output_limits = _checked_limits(output_limits, ny)
        check_count("nx", nx)
        self.nx = nx
        self.integrating = _checked_sums(integrating, nu, ny, nx)
        self.sums = ny if integrating else 0
        self.linear_input = linear_input
        self.stable = stable
        self.hidden_sizes = tuple(hidden_sizes)
        self.output_hidden_sizes = (
            None if output_hidden_sizes is None else tuple(output_hidden_sizes)
        )
        self.activation, self.feedthrough = activation, feedthrough
        self.initial_state, self.n_init = initial_state, n_init
        g_sizes = self.hidden_sizes if output_hidden_sizes is None else tuple(output_hidden_sizes)
        g_inputs = nx + nu * feedthrough
        if stable and (self.hidden_sizes or g_sizes):
            refuse_unbounded_activation(activation)
        transition = 0.9 * torch.eye(nx)
        free = nn.Linear(nx, nx, bias=not self.hidden_sizes)
        bounded = Contraction(transition, self.sums, bias=not self.hidden_sizes) if stable else None
        self.A: nn.Linear | Contraction = bounded or free
        self.B = nn.Linear(nu, nx, bias=False) if nu else None
        self.C = nn.Linear(nx, ny, bias=not g_sizes)
        self.D = nn.Linear(nu, ny, bias=False) if nu and feedthrough else None
        self.f = layers(nx + nu, self.hidden_sizes, nx, activation) if hidden_sizes else None
        self.g = layers(g_inputs, g_sizes, ny, activation) if g_sizes else None
        with torch.no_grad():
            transition[:, : self.sums] = torch.eye(nx, self.sums)
            put_weight(self.A, transition)
            for bias in (self.A.bias, self.C.bias):
                if bias is not None:
                    bias.zero_()
            for network in (self.f, self.g):
                if network is not None:
                    for parameter in network[-1].parameters():
                        parameter.zero_()
        self._fix_unseen()
        self._prepare_state()

    @torch.no_grad()
    def _fix_unseen(self) -> None:
        """Put the weights that do not learn to one from a sum to itself, and else to zero."""
        of_sums = self.A.free if isinstance(self.A, Contraction) else self.A.weight
        of_sums[:, : self.sums] = torch.eye(self.nx, self.sums)
        for net in (self.f, self.g):
            if net is not None:
                first = weights_and_biases(net)[0][0]
                first[:, : self.sums] = 0
                if self.linear_input:
                    first[:, self.nx :] = 0

    @property
    def state_size(self) -> int:
        """The states."""
        return self.nx

    def _pack(self, flat: Tensor) -> Carried:
        return (flat,)

    def _run(self, inputs: Tensor, state: Carried) -> tuple[Tensor, Carried]:
        u = inputs.transpose(0, 1)  # time first
        states = self._states(u, state[0])
        before, after = states.split([len(u), 1])
        return self._output(before, u).transpose(0, 1), (after[0],)

    def trajectory(self, u: Tensor, state: Tensor) -> Tensor:
        """Return the states from the first sample to the one after the last."""
        return self._states(u.transpose(0, 1), state).transpose(0, 1)

    def _states(self, u: Tensor, state: Tensor) -> Tensor:
        """Return the states ``(T + 1, B, nx)``: a network fed its own last output."""
        linear = self._fixed(self.A.weight)
        if self.B is not None:
            linear = torch.cat([linear, self.B.weight], 1)
        if self.f is None:
            return network(u, state[None], None, [(linear, self.A.bias)], self.activation)
        (first, bias), *others = weights_and_biases(self.f)
        hidden = [(self._fixed(first), bias), *others]
        return network(u, state[None], linear, hidden, self.activation)

    def _fixed(self, weight: Tensor) -> Tensor:
        """Return a weight whose columns of sums, and of linear inputs, do not learn."""
        if not (self.integrating or self.linear_input):
            return weight
        sums = self.sums
        last = self.nx if self.linear_input else weight.shape[1]
        return torch.cat(
            [weight[:, :sums].detach(), weight[:, sums:last], weight[:, last:].detach()], 1
        )

    def _without_sums(self, state: Tensor) -> Tensor:
        """Return states with zeros for the sums, which the networks do not see."""
        if not self.integrating:
            return state
        return torch.cat([torch.zeros_like(state[..., : self.ny]), state[..., self.ny :]], -1)

    def _beside_states(self, u: Tensor) -> Tensor:
        """Return what the networks see of inputs: zeros where they act linearly."""
        return torch.zeros_like(u) if self.linear_input else u

    def _linearised(self, state: Tensor, u: Tensor) -> Step:
        transition = state.new_empty(len(state), self.ny + self.nx, self.nx)
        inner_state = self._without_sums(state)
        found: list[Layer] = []
        outputs = []
        parts = [
            (0, self.C, "C", self.D, "D", self.g, "g"),
            (self.ny, self.A, "A", self.B, "B", self.f, "f"),
        ]
        for first, of_x, x_name, of_u, u_name, net, name in parts:
            seen = inner_state if of_x is self.A else state  # the columns of sums do not learn
            own = [linearisation.linear(of_x, x_name, seen)]
            to_state, value = of_x.weight, of_x(state)
            if of_u is not None:
                own.append(linearisation.linear(of_u, u_name, u))
                value = value + of_u(u)
            if net is not None:
                seen = inner_state
                if net is self.f or self.feedthrough:
                    seen = torch.cat([inner_state, self._beside_states(u)], -1)
                added, to_seen, inner = linearisation.network(net, name, seen)
                to_state, value = to_state + to_seen[..., : self.nx], value + added
                own += inner
            transition[:, first : first + of_x.out_features] = to_state
            found += [x.starting(first) for x in own]
            outputs.append(value)
        if self.output_limits is None:
            return Step(outputs[0], transition, found)
        y = self._limited(outputs[0])
        free = (y == outputs[0]).to(y.dtype)  # outputs at a limit do not move
        transition[:, : self.ny] *= free[..., None]
        return Step(y, transition, [x if x.first else _masked(x, free) for x in found])

    def _output(self, x: Tensor, u: Tensor) -> Tensor:
        return self._limited(self._unlimited(x, u))

    def _limited(self, y: Tensor) -> Tensor:
        """Hold outputs in own units within their limits."""
        if self.output_limits is None:
            return y
        low, high = self.scaling.scale_y(
            torch.tensor(self.output_limits, dtype=torch.float64, device=y.device).T
        ).to(y.dtype)
        return torch.minimum(torch.maximum(y, low), high)

    def _unlimited(self, x: Tensor, u: Tensor) -> Tensor:
        y: Tensor = self.C(x)
        if self.D is not None:
            y = y + (u * self.D.weight[:, 0] if self.nu == 1 else self.D(u))
        if self.g is not None:
            x = self._without_sums(x)
            if self.feedthrough:
                x = torch.cat([x, self._beside_states(u)], -1)
            y = y + self.g(x)
        return y

    def initialise(self, records: list[Record]) -> None:
        """Start from the linear state-space model of the training records."""
        most = max(_MOST // len(records), 1)
        scaled = [self.scaling.scaled(r[:most]) for r in records]
        blocks = [(r.u, r.y) for r in scaled]
        radius = START_RADIUS if self.stable else None
        try:
            linear = estimate_state_space(
                blocks, self.nx, self.feedthrough, self.integrating, radius
            )
        except ValueError as error:
            if not any(slow(y).any() for _, y in blocks):
                raise
            _LOG.warning(f"training starts from random weights, without a linear model: {error}")
            return
        if self.stable:
            to = contracting_coordinates(linear.A, self.sums)
            linear = linear.seen_from(to)
            self._see_states_through(np.asarray(np.linalg.inv(to), dtype=np.float64))
        constant = self.C.bias if self.g is None else self.g[-1].bias
        with torch.no_grad():
            put_weight(self.A, torch.tensor(linear.A))
            self.C.weight.copy_(torch.tensor(linear.C))
            torch.as_tensor(constant).copy_(torch.tensor(linear.constant))
            if self.B is not None:
                self.B.weight.copy_(torch.tensor(linear.B))
            if self.D is not None:
                self.D.weight.copy_(torch.tensor(linear.D))

    @torch.no_grad()
    def _see_states_through(self, back: Array) -> None:
        """Let the networks see ``back x`` in the place of ``x``."""
        for net in (self.f, self.g):
            if net is not None:
                first = weights_and_biases(net)[0][0]
                first[:, : self.nx] = first[:, : self.nx] @ torch.tensor(back).to(first)

    @property
    def bounded(self) -> Boundedness:
        """What is known of how far the model can go; see ``Boundedness``."""
        inner = self.A.weight.detach()[self.sums :, self.sums :].cpu().double().numpy()
        return of_state_space(self, spectral_radius(inner))

    @torch.no_grad()
    def state_bound(self, u_max: float, x_max: float = 0.0) -> float:
        """Return what ``|x|`` never exceeds in a model with ``stable``, in its own units.

        Args:
            u_max: largest Euclidean norm of the scaled inputs.
            x_max: norm of the initial state.

        Raises:
            ValueError: for a model without ``stable``. With ``integrating`` the bound is that of
                the states that are not sums.

        Example:
            >>> model = StateSpace(1, 1, nx=2, hidden_sizes=(), output_hidden_sizes=(), stable=True)
            >>> model.state_bound(u_max=0.0, x_max=3.0)
            3.0
        """
        if not self.stable:
            raise ValueError("state_bound needs a model with stable=True; this one has no bound")
        inner = slice(self.sums, None)
        fed = 0.0
        if self.B is not None:
            fed += float(torch.linalg.matrix_norm(self.B.weight[inner], 2)) * u_max
        if self.A.bias is not None:
            fed += float(torch.linalg.vector_norm(self.A.bias[inner]))
        if self.f is not None:
            weight, bias = weights_and_biases(self.f)[-1]
            fed += float(torch.linalg.vector_norm((weight.abs().sum(1) + bias.abs())[inner]))
        norm = float(torch.linalg.matrix_norm(self.A.weight[inner, inner].double(), 2))
        return max(x_max, fed / (1 - norm))

    def example_input(self) -> Tensor:
        """Return a batch of two windows."""
        return torch.zeros(2, self.n_init + 5, self.nu)


def _masked(layer: Layer, free: Tensor) -> Layer:
    """Return a layer of the outputs without the rows that do not move; ``free`` is 0 there."""
    by = free.diag_embed() if layer.by is None else layer.by * free[..., None]
    return replace(layer, by=by)


def _checked_sums(integrating: bool, nu: int, ny: int, nx: int) -> bool:
    if integrating and nx <= ny:
        raise ValueError(
            f"nx must be more than ny={ny} with integrating, got {nx}; the first {ny} are sums"
        )
    if integrating and nu < 1:
        raise ValueError(f"nu must be at least 1 with integrating, got {nu}")
    return integrating


def _checked_limits(
    limits: Sequence[Sequence[float]] | None, ny: int
) -> tuple[tuple[float, ...], ...] | None:
    if limits is None:
        return None
    pairs = tuple(tuple(map(float, pair)) for pair in limits)
    right = all(len(p) == 2 and all(map(math.isfinite, p)) and p[0] < p[1] for p in pairs)
    if len(pairs) != ny or not right:
        raise ValueError(
            f"output_limits must be a pair [least, largest] for each of {ny} outputs, got {limits}"
        )
    return pairs
