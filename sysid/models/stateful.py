"""Models with a state: where the state starts, how it is carried, simulation and prediction."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from sysid.data.slow_outputs import with_stand_ins
from sysid.models import prediction
from sysid.models.initial_state import Encoder, LearnedState, StatePrior, fitted_states
from sysid.models.linearisation import Step
from sysid.models.model import Carried, Model, check_choice, check_count
from sysid.models.sensitivities import (
    Block,
    Recurrence,
    row_jacobian,
    unfold_sensitivities,
    weight_count,
)

INITIAL_STATES = ("zero", "learned", "encoder", "estimated")

_ROWS = 4096  # restarts predicted together; bounds the memory of a long record


class StatefulModel(Model):
    """A model ``x(k+1) = f(x(k), u(k))``, ``y(k) = g(x(k), u(k))`` that can go on from a state.

    ``initial_state`` says where a simulation starts:

    - ``zero``: from zero;
    - ``learned``: from a state that is trained with the weights;
    - ``encoder``: from the state that a network computes from the ``n_init`` measured samples
      before it;
    - ``estimated``: from the state that fits the first ``record.n_init`` measured outputs best
      (least squares by damped Gauss-Newton steps); from zero where ``n_init`` is 0, and in
      the windows of training.
    """

    losses: ClassVar[tuple[str, ...]] = ("subsequence", "full_sequence")

    batch_dim: ClassVar[int] = 0  # of the state's tensors
    state_tensors: ClassVar[int] = 1
    sums: int = 0  # states that are exact sums, the first ones
    feedback: bool
    initial_state: str
    n_init: int

    def _prepare_state(self) -> None:
        """Make what ``initial_state`` needs; the subclass knows its ``state_size`` by now."""
        check_choice("initial_state", self.initial_state, INITIAL_STATES)
        check_count("n_init", self.n_init, least=0)
        self.learned_state = (
            LearnedState(self.state_size) if self.initial_state == "learned" else None
        )
        self.prior = StatePrior(self.state_size, self.sums) if self.estimates_state else None
        self.encoder: Encoder | None = None
        if self.initial_state == "encoder":
            if self.n_init < 1:
                raise ValueError(
                    'n_init must be at least 1 with initial_state="encoder", got '
                    f"{self.n_init}; give the number of samples that the encoder sees"
                )
            self.encoder = Encoder(self.nu, self.ny, self.n_init, self.state_size)
        elif self.n_init:
            raise ValueError(
                f'n_init must be 0 with initial_state="{self.initial_state}", got {self.n_init}; '
                "only an encoder has a window of its own"
            )

    @property
    @abstractmethod
    def state_size(self) -> int:
        """Numbers in the state."""

    @abstractmethod
    def _pack(self, flat: Tensor) -> Carried:
        """Turn ``(batch, state_size)`` into the state's own tensors."""

    @property
    def batch_dims(self) -> list[int]:
        """Batch dimension of each tensor of the state, the output that is fed back last."""
        return [self.batch_dim] * self.state_tensors + [0]

    def _flat(self, state: Carried) -> Tensor:
        """Turn a state, and the output to feed back, into ``(batch, numbers)``."""
        parts = zip(state, self.batch_dims, strict=False)
        return torch.cat([t.movedim(d, 0).flatten(1) for t, d in parts], dim=1)

    @abstractmethod
    def _run(self, inputs: Tensor, state: Carried) -> tuple[Tensor, Carried]:
        """Run over ``(batch, time, nu [+ ny])`` in own units from a state."""

    @property
    def n_memory(self) -> int:
        """The encoder's window."""
        return self.n_init

    @property
    def estimates_state(self) -> bool:
        """With ``initial_state="estimated"``."""
        return self.initial_state == "estimated"

    @property
    def output_error(self) -> bool:
        """Fed with inputs alone, without an encoder, it never sees a measured output."""
        return not self.feedback and self.encoder is None

    @property
    def starts_from_y(self) -> bool:
        """Whether measured outputs at the start are put to use."""
        return self.feedback or self.initial_state in ("encoder", "estimated")

    def forward(self, u: Tensor, state: Carried | None = None) -> tuple[Tensor, Carried]:
        """Run over a batch of sequences in physical units.

        Args:
            u: ``(batch, time, nu)``.
            state: what an earlier call returned, to go on where it ended; the model's own
                initial state if ``None`` (zero, unless it is learned).

        Returns:
            ``y_hat`` of shape ``(batch, time, ny)``, and the state after the last sample.

        Raises:
            ValueError: if a model that sees the future is asked to go on from a state.
        """
        if state is None:
            state = self._start(u.shape[0])
        elif not self.causal:
            raise ValueError(
                "state must be None for a bidirectional model, which needs whole records: it "
                "sees the future, so a sequence cannot go through in pieces"
            )
        y_hat, state = self._continue(self._scale_in(u), state)
        return self._scale_out(y_hat), state

    def _start(self, batch: int) -> Carried:
        """Return the state that needs no measurement, with a zero output to feed back."""
        if self.learned_state is not None:
            state = self._pack(self.learned_state(batch))
        else:
            state = self._zero_state(batch)
        return (*state, state[0].new_zeros(batch, self.ny)) if self.feedback else state

    def _zero_state(self, batch: int) -> Carried:
        """Return the state's own tensors, all zero."""
        return self._pack(torch.zeros(batch, self.state_size, dtype=self.dtype, device=self.device))

    def _encode(self, u: Tensor, y: Tensor) -> Carried:
        """Return the state after a measured window."""
        if self.encoder is None:
            raise TypeError("this model has no encoder")
        state = self._pack(self.encoder(u, y))
        return (*state, y[:, -1]) if self.feedback else state

    def _encode_before(self, u: Tensor, y: Tensor) -> Carried:
        """Return the state after measured samples ``(n, nu)`` and ``(n, ny)``.

        A window that reaches before the first sample holds it.
        """
        m = self.n_memory
        held = max(m - len(y), 0)
        u_window = torch.cat([u[:1].expand(held, -1), u])[None, -m:]
        y_window = torch.cat([y[:1].expand(held, -1), y])[None, -m:]
        return self._encode(u_window, y_window)

    def _continue(
        self, u: Tensor, state: Carried, y_before: Tensor | None = None
    ) -> tuple[Tensor, Carried]:
        """Run from a state; a model with feedback is given ``y(k-1)`` as far as measured.

        Args:
            u: ``(batch, time, nu)`` in own units.
            state: the state; with feedback its last tensor is the output to feed back.
            y_before: ``(batch, m, ny)``: measured ``y(k-1)`` for the first ``m`` samples.
        """
        if not self.feedback:
            return self._run(u, state)
        *inner, y_last = state
        hidden: Carried = tuple(inner)
        pieces: list[Tensor] = []
        m = 0
        if y_before is not None and (m := min(y_before.shape[1], u.shape[1])):
            y_hat, hidden = self._run(torch.cat([u[:, :m], y_before[:, :m]], -1), hidden)
            pieces.append(y_hat)
            y_last = y_hat[:, -1]
        for k in range(m, u.shape[1]):
            y_hat, hidden = self._run(torch.cat([u[:, k : k + 1], y_last[:, None]], -1), hidden)
            pieces.append(y_hat)
            y_last = y_hat[:, 0]
        return torch.cat(pieces, dim=1), (*hidden, y_last)

    def unfold(
        self,
        u: Tensor,
        y: Tensor,
        washout: int = 0,
        carried: Carried | None = None,
        state: Tensor | None = None,
    ) -> tuple[Tensor, Carried]:
        """Run over windows from the initial state, or on from ``carried``.

        Args:
            u: ``(batch, time, nu)``.
            y: ``(batch, time, ny)``.
            washout: samples whose outputs are fed back as measured, where there is feedback.
            carried: what an earlier call returned.
            state: ``(batch, state_size)`` to start from in place of the model's own.
        """
        if carried is not None:
            return self._continue(u, carried)
        m = self.n_memory
        if m:
            y_hat, after = self._continue(u[:, m:], self._encode(u[:, :m], y[:, :m]))
            return torch.cat([y[:, :m], y_hat], dim=1), after
        y_before = _delayed(y[:, :washout]) if self.feedback else None
        start = self._start(len(u)) if state is None else self._from_numbers(state)
        return self._continue(u, start, y_before)

    def _from_numbers(self, flat: Tensor) -> Carried:
        """Return the state ``(batch, state_size)``, with a zero output to feed back."""
        state = self._pack(flat)
        return (*state, flat.new_zeros(len(flat), self.ny)) if self.feedback else state

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
        if not self.causal:
            raise ValueError(
                "sensitivities must be of a model that runs forwards, got a bidirectional one; "
                "train it by its gradient"
            )
        m, batch = self.n_memory, len(u)
        if state is None:
            x, dx = row_jacobian(self, StatefulModel._first_state, u[:, :m], y[:, :m])
        else:
            x = torch.cat([state, state.new_zeros(batch, self.feedback * self.ny)], dim=1)
            dx = x.new_zeros(*x.shape, weight_count(self))
        if with_state:
            to_itself = torch.eye(x.shape[1], self.state_size, dtype=x.dtype, device=x.device)
            dx = torch.cat([dx, to_itself.expand(batch, -1, -1)], dim=-1)
        if m:
            yield Block(0, y[:, :m], y.new_zeros(batch, m, self.ny, dx.shape[-1]))
        for part in self._unfolded(u[:, m:], y[:, m:], x, dx, block, 0 if m else washout):
            yield part._replace(start=m + part.start)

    def _unfolded(
        self,
        u: Tensor,
        y: Tensor,
        x: Tensor,
        dx: Tensor,
        block: int,
        washout: int,
        of_weights: bool = True,
    ) -> Iterator[Block]:
        """Run on from a state ``(batch, state)`` and its derivatives ``(batch, state, columns)``.

        With feedback, the first ``washout`` outputs are fed back as measured.
        """
        y_before = _delayed(y[:, :washout]) if self.feedback else y[:, :0]
        forced = min(y_before.shape[1], u.shape[1])
        stretches: list[tuple[int, Callable[[Any, Tensor, Tensor], Tensor], Tensor]] = [
            (forced, StatefulModel._step, u[:, forced:])
        ]
        if forced:
            measured = torch.cat([u[:, :forced], y_before[:, :forced]], dim=-1)
            stretches.insert(0, (0, StatefulModel._forced_step, measured))
        for start, step, inputs in stretches:
            compiled = (None, None) if self.feedback else (self._linearised, self.trajectory)
            recurrence = Recurrence(step, lambda rows, _: rows[:, self.ny :], *compiled)
            pieces = unfold_sensitivities(
                self, recurrence, inputs, x, dx, self.ny, block, of_weights
            )
            for part, after, change in pieces:
                x, dx = after, change
                yield part._replace(start=start + part.start)

    def _linearised(self, state: Tensor, u: Tensor) -> Step:
        """Return steps from states ``(M, state_size)`` made linear, without feedback."""
        raise NotImplementedError(f"{self.kind} must say how its step is made linear")

    def trajectory(self, u: Tensor, state: Tensor) -> Tensor:
        """Return the states from the first sample to the one after the last, without feedback.

        Args:
            u: ``(batch, time, nu)`` in scaled units.
            state: ``(batch, state_size)``, before the first sample.

        Returns:
            ``(batch, time + 1, state_size)``.

        Example:
            >>> from sysid import StateSpace
            >>> model = StateSpace(nu=1, ny=1, nx=2)
            >>> model.trajectory(torch.zeros(1, 3, 1), torch.zeros(1, 2)).shape
            torch.Size([1, 4, 2])
        """
        raise NotImplementedError(f"{self.kind} must say how it gets to its states")

    def _first_state(self, u: Tensor, y: Tensor) -> Tensor:
        """Return the state before the first sample that is simulated, from the encoder's window."""
        return self._flat(self._encode(u, y) if self.n_memory else self._start(len(u)))

    def _step(self, state: Tensor, u: Tensor) -> Tensor:
        """Return ``[y(k), x(k+1)]`` for a batch, with feedback of the output in the state."""
        y_hat, after = self._continue(u[:, None], self._unflat(state))
        return torch.cat([y_hat[:, 0], self._flat(after)], dim=1)

    def _forced_step(self, state: Tensor, u_and_y: Tensor) -> Tensor:
        """Do the same with the measured output fed back."""
        u, y_before = u_and_y[:, None, : self.nu], u_and_y[:, None, self.nu :]
        y_hat, after = self._continue(u, self._unflat(state), y_before)
        return torch.cat([y_hat[:, 0], self._flat(after)], dim=1)

    def _unflat(self, flat: Tensor) -> Carried:
        state = self._pack(flat[:, : self.state_size])
        return (*state, flat[:, self.state_size :]) if self.feedback else state

    def _simulate(self, u: Tensor, y: Tensor | None, n_init: int) -> Tensor:
        if self.n_memory and y is not None:
            y = with_stand_ins(y[None], len(y), between=False)[0]
            y_hat, _ = self._continue(u[None, n_init:], self._encode_before(u[:n_init], y))
            return torch.cat([y, y_hat[0]])
        state = self._start(1)
        y_before = None
        if y is not None and self.feedback:
            y_before = _delayed(y[None])
        if y is not None and self.initial_state == "estimated" and n_init:
            state = self._from_numbers(self.estimated_states(u[None, :n_init], y[None]))
        return self._continue(u[None], state, y_before)[0][0]

    def settle(self, u: Tensor, y: Tensor) -> Carried:
        """Return the state with which ``simulate`` goes on after the first ``n`` samples.

        Args:
            u: ``(n, nu)`` in own units; ``n`` may be 0 where the model has no encoder.
            y: ``(n, ny)``, the measured outputs; not looked at by a model that cannot use them.

        Returns:
            The tensors of the state, of a batch of one.

        Example:
            >>> import sysid
            >>> model = sysid.GRU(nu=1, ny=1, hidden_size=4)
            >>> [t.shape for t in model.settle(torch.zeros(5, 1), torch.zeros(5, 1))]
            [torch.Size([1, 1, 4])]
        """
        n = len(y)
        if self.n_memory:
            return self._encode_before(u, with_stand_ins(y[None], n, between=False)[0])
        state = self._start(1)
        if n == 0:
            return state
        if self.initial_state == "estimated":
            state = self._from_numbers(self.estimated_states(u[None], y[None]))
        if not self.feedback:
            return self._continue(u[None], state)[1]
        fed_back = _delayed(y[None])
        _, (*hidden, _) = self._continue(u[None], state, fed_back[:, :n])
        return (*hidden, fed_back[:, -1])

    @torch.no_grad()
    def estimated_states(self, u: Tensor, y: Tensor, prior: bool = True) -> Tensor:
        """Return the initial states that fit measured outputs best, each of its own window.

        Args:
            u: scaled inputs, ``(batch, T, nu)``.
            y: scaled outputs, ``(batch, T, ny)``; missing ones do not count.
            prior: whether the states that training went through have a weight.

        Returns:
            ``(batch, state_size)``.

        Example:
            >>> import sysid
            >>> model = sysid.RNN(nu=1, ny=1, hidden_size=3, initial_state="estimated")
            >>> model.estimated_states(torch.ones(2, 20, 1), torch.zeros(2, 20, 1)).shape
            torch.Size([2, 3])
        """
        whole = self.state_size + self.feedback * self.ny
        to_itself = torch.eye(whole, self.state_size, dtype=u.dtype, device=u.device)
        to_itself = to_itself.expand(len(u), -1, -1)

        def simulate(states: Tensor) -> tuple[Tensor, Tensor]:
            x = torch.cat([states, states.new_zeros(len(u), whole - self.state_size)], 1)
            run = self._unfolded(u, y, x, to_itself, u.shape[1], u.shape[1], of_weights=False)
            parts = list(run)
            y_hat = torch.cat([p.y_hat for p in parts], 1)
            return y_hat, torch.cat([p.jacobian for p in parts], 1)

        expected = self.prior if prior else None
        return fitted_states(simulate, y, expected or StatePrior(self.state_size, self.sums))

    def _predict(self, u: Tensor, y: Tensor, horizon: int) -> Tensor:
        if self.encoder is not None:
            return prediction.restarted(self, u, y, horizon)
        return prediction.carried(self, u, y, horizon)


def _delayed(y: Tensor) -> Tensor:
    """Return ``y(k-1)`` for ``k = 0, 1, ..., n`` from ``n`` samples, the first one held.

    ``(batch, n + 1, ny)``: the last measured output is fed to the sample after it, and on where
    the next one is missing.
    """
    return with_stand_ins(torch.cat([y[:, :1], y], dim=1), y.shape[1] + 1, between=False)
