"""RNN, GRU and LSTM: torch's recurrent layers as models of dynamic systems."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from sysid.kernels import functions
from sysid.kernels.backends import backend, is_transformed
from sysid.models import linearisation
from sysid.models.linearisation import Layer, Step
from sysid.models.model import Carried, check_choice, check_count
from sysid.models.stability import Boundedness
from sysid.models.stateful import StatefulModel

_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Cell(NamedTuple):
    """One step of one layer made linear; its rows are the new states, one tensor after another."""

    h: Tensor  # (M, H)
    by_input: Tensor  # by W_ih u + b_ih, (M, rows, gates)
    by_state: Tensor  # by W_hh h + b_hh, (M, rows, gates)
    by_own: Tensor  # by each of the old states directly, (M, rows, tensors, H)


class _Recurrent(StatefulModel):
    """A stack of recurrent layers and a linear output map, ``y(t) = W h(t) + b``.

    ``recurrence`` is torch's own module, so that its weights can be loaded with
    ``model.recurrence.load_state_dict(...)``.
    """

    batch_dim: ClassVar[int] = 1
    layer: ClassVar[Any]

    def __init__(
        self,
        nu: int,
        ny: int,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        dropout: float,
        initial_state: str,
        n_init: int,
        feedback: bool,
        **options: str,
    ) -> None:
        super().__init__(nu, ny)
        check_count("hidden_size", hidden_size)
        check_count("num_layers", num_layers)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        if dropout and num_layers == 1:
            raise ValueError(
                f"dropout must be 0 with one layer, got {dropout}; it acts between layers"
            )
        if nu + feedback * ny == 0:
            raise ValueError("nu must be at least 1 without feedback, got 0; set feedback=True")
        if bidirectional and (feedback or initial_state in ("encoder", "estimated")):
            raise ValueError(
                "bidirectional must be False with feedback or with initial_state "
                f'"{initial_state}"; a model that sees the whole record starts from "zero" '
                'or "learned"'
            )
        self.hidden_size, self.num_layers = hidden_size, num_layers
        self.bidirectional, self.dropout = bidirectional, dropout
        self.initial_state, self.n_init, self.feedback = initial_state, n_init, feedback
        self.recurrence = self.layer(
            nu + feedback * ny,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout,
            bidirectional=bidirectional,
            **options,
        )
        self.output = nn.Linear(hidden_size * (1 + bidirectional), ny)
        self._prepare_state()

    @property
    def causal(self) -> bool:
        """A bidirectional model sees the future."""
        return not self.bidirectional

    @property
    def state_size(self) -> int:
        """Hidden units over layers and directions, and for an LSTM its cells."""
        return self.num_layers * (1 + self.bidirectional) * self.hidden_size * self.state_tensors

    @property
    def bounded(self) -> Boundedness:
        """States end in ``tanh`` or are means of such, whatever is fed in or back."""
        if getattr(self, "nonlinearity", "tanh") == "relu":
            return Boundedness("unknown", False, "relu is not bounded, and its states feed it")
        return Boundedness("bounded", True, "its states are within -1 and 1, whatever is fed back")

    def _pack(self, flat: Tensor) -> Carried:
        rows = self.num_layers * (1 + self.bidirectional)
        # (B, tensors * rows * hidden) -> tensors x (rows, B, hidden)
        blocks = flat.unflatten(1, (self.state_tensors, rows, self.hidden_size))
        return tuple(b.transpose(0, 1).contiguous() for b in blocks.unbind(1))

    def _zero_state(self, batch: int) -> Carried:
        rows = self.num_layers * (1 + self.bidirectional)
        zeros = self.output.weight.new_zeros(rows, batch, self.hidden_size)
        return (zeros,) * self.state_tensors

    def _by_torch(self, inputs: Tensor) -> bool:
        """Return whether torch's own module runs: cuDNN, or the reference on request."""
        if inputs.device.type == "cpu":
            return backend() == "reference"
        return not is_transformed(inputs)  # cuDNN cannot be transformed

    def _run(self, inputs: Tensor, state: Carried) -> tuple[Tensor, Carried]:
        if self._by_torch(inputs):
            h, last = self.recurrence(inputs, state if self.state_tensors > 1 else state[0])
            return self.output(h), (last if self.state_tensors > 1 else (last,))
        x, last = inputs.transpose(0, 1), []  # (T, B, channels)
        for layer in range(self.num_layers):
            rows = [self._direction(x, state, layer, i) for i in range(1 + self.bidirectional)]
            x = torch.cat([h for h, _ in rows], -1) if self.bidirectional else rows[0][0]
            last += [end for _, end in rows]
            if self.dropout and layer < self.num_layers - 1:
                x = nn.functional.dropout(x, self.dropout, self.training)
        y = self.output(x).transpose(0, 1)  # after the map: what is turned is smaller
        return y, tuple(map(torch.stack, zip(*last, strict=True)))

    def _direction(self, x: Tensor, state: Carried, layer: int, i: int) -> tuple[Tensor, Carried]:
        """Run one layer in one direction; ``i = 1`` is backwards in time."""
        suffix = f"l{layer}{'_reverse' if i else ''}"
        weights = [getattr(self.recurrence, f"{name}_{suffix}") for name in _WEIGHTS]
        own = tuple(t[layer * (1 + self.bidirectional) + i] for t in state)
        h, last = self._layer(x.flip(0) if i else x, own, weights)
        return (h.flip(0) if i else h), last

    def _layer(self, u: Tensor, state: Carried, weights: list[Tensor]) -> tuple[Tensor, Carried]:
        """Return the states of one layer ``(T, B, H)``, and what it ends with."""
        raise NotImplementedError

    def trajectory(self, u: Tensor, state: Tensor) -> Tensor:
        """Return the states from the first sample to the one after the last."""
        x, parts = u.transpose(0, 1), self._pack(state)  # time first
        found = []
        for layer in range(self.num_layers):
            own = tuple(t[layer] for t in parts)
            states = self._states(x, own, self._weights(layer))  # each (T + 1, B, H)
            found.append(torch.stack(states))
            x = states[0][1:]
        # layers x (tensors, T + 1, B, H) -> (B, T + 1, tensors * layers * H)
        return torch.stack(found).permute(3, 2, 1, 0, 4).flatten(2)

    def _linearised(self, state: Tensor, u: Tensor) -> Step:
        parts = self._pack(state)
        nx, size = self.state_size, self.hidden_size
        x, to_x = u, u.new_zeros(len(u), u.shape[1], nx)  # the layer's input, and by the state
        transition = state.new_zeros(len(state), self.ny + nx, nx)
        above: list[Layer] = []  # layers so far, over the rows of x
        found: list[Layer] = []
        for layer in range(self.num_layers):
            name = f"recurrence.%s_l{layer}"
            weights = self._weights(layer)
            cell = self._cell(x, tuple(t[layer] for t in parts), weights)
            by_x, gates = cell.by_input @ weights[0], len(weights[0])
            to_state = by_x @ to_x
            by_h = cell.by_state @ weights[1]
            for i in range(self.state_tensors):
                at = slice((i * self.num_layers + layer) * size, None)
                own = cell.by_own[:, :, i] + (by_h if i == 0 else 0)
                to_state[:, :, at.start : at.start + size] += own
            own_layers = [
                Layer(name % "weight_ih", name % "bias_ih", cell.by_input, x, gates),
                Layer(name % "weight_hh", name % "bias_hh", cell.by_state, parts[0][layer], gates),
            ]
            both = [*(a.before(by_x) for a in above), *own_layers]
            for i in range(self.state_tensors):
                rows = slice(i * size, (i + 1) * size)
                first = self.ny + (i * self.num_layers + layer) * size
                transition[:, first : first + size] = to_state[:, rows]
                found += [a.only(rows).starting(first) for a in both]
            x, to_x = cell.h, to_state[:, :size]
            above = [a.only(slice(0, size)) for a in both]
        w = self.output.weight
        transition[:, : self.ny] = w @ to_x
        found += [a.before(w).starting(0) for a in above]
        found.append(linearisation.linear(self.output, "output", x).starting(0))
        return Step(self.output(x), transition, found)

    def _weights(self, layer: int) -> list[Tensor]:
        return [getattr(self.recurrence, f"{name}_l{layer}").detach() for name in _WEIGHTS]

    def _states(self, u: Tensor, state: Carried, weights: list[Tensor]) -> Carried:
        """Return the states of one layer with the first, each ``(T + 1, B, H)``."""
        h, _ = self._layer(u, state, weights)
        return (torch.cat([state[0][None], h]),)

    def _cell(self, u: Tensor, state: Carried, weights: list[Tensor]) -> Cell:
        """Return one step of one layer made linear."""
        raise NotImplementedError

    def example_input(self) -> Tensor:
        """Return a batch of two windows long enough for what the model needs."""
        return torch.zeros(2, self.n_init + 5, self.nu)


class RNN(_Recurrent):
    """Vanilla recurrent network, ``h(t) = s(W_ih u(t) + b_ih + W_hh h(t-1) + b_hh)``.

    Args:
        nu: number of inputs.
        ny: number of outputs.
        hidden_size: units of each layer.
        num_layers: layers; the states of one are the inputs of the next.
        bidirectional: whether a second network runs backwards: a smoother, not a predictor.
        dropout: share of units left out between layers while training.
        initial_state: ``zero``, ``learned``, ``encoder`` or ``estimated``.
        n_init: measured samples that the encoder sees.
        feedback: whether ``y(k-1)`` is fed in as well: measured in ``predict``, the model's
            own in ``simulate``.
        nonlinearity: ``tanh`` or ``relu``.

    Raises:
        TypeError: for a count that is not a whole number.
        ValueError: for a value out of range, or arguments that do not go together.

    Example:
        >>> model = RNN(nu=1, ny=1, hidden_size=8)
        >>> y_hat, state = model(torch.zeros(4, 30, 1))
        >>> y_hat, state = model(torch.zeros(4, 10, 1), state)  # goes on where it ended
        >>> y_hat.shape
        torch.Size([4, 10, 1])
    """

    kind: ClassVar[str] = "rnn"
    layer = nn.RNN

    def __init__(
        self,
        nu: int,
        ny: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        initial_state: str = "zero",
        n_init: int = 0,
        feedback: bool = False,
        nonlinearity: str = "tanh",
    ) -> None:
        check_choice("nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(
            nu,
            ny,
            hidden_size,
            num_layers,
            bidirectional,
            dropout,
            initial_state,
            n_init,
            feedback,
            nonlinearity=nonlinearity,
        )
        self.nonlinearity = nonlinearity

    def _layer(self, u: Tensor, state: Carried, weights: list[Tensor]) -> tuple[Tensor, Carried]:
        w_ih, w_hh, b_ih, b_hh = weights
        h = functions.rnn(u, state[0], w_ih, w_hh, b_ih, b_hh, self.nonlinearity)
        return h, (h[-1],)

    def _cell(self, u: Tensor, state: Carried, weights: list[Tensor]) -> Cell:
        w_ih, w_hh, b_ih, b_hh = weights
        activation = nn.Tanh() if self.nonlinearity == "tanh" else nn.ReLU()
        given = u @ w_ih.T + b_ih + state[0] @ w_hh.T + b_hh
        h, slope = linearisation.with_slope(activation, given)
        by = torch.diag_embed(slope)
        return Cell(h, by, by, torch.zeros_like(by)[:, :, None])


class GRU(_Recurrent):
    """Gated recurrent unit; arguments as for ``RNN``, without ``nonlinearity``.

    Example:
        >>> model = GRU(nu=2, ny=1, hidden_size=8, initial_state="encoder", n_init=20)
        >>> twin = model.fresh(seed=1)
        >>> twin.take(model)  # twin.describe_as(model): names and units alone
        >>> twin.n_memory, twin(model.example_input())[0].shape
        (20, torch.Size([2, 25, 1]))
    """

    kind: ClassVar[str] = "gru"
    layer = nn.GRU

    def __init__(
        self,
        nu: int,
        ny: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        initial_state: str = "zero",
        n_init: int = 0,
        feedback: bool = False,
    ) -> None:
        super().__init__(
            nu, ny, hidden_size, num_layers, bidirectional, dropout, initial_state, n_init, feedback
        )

    def _layer(self, u: Tensor, state: Carried, weights: list[Tensor]) -> tuple[Tensor, Carried]:
        h = functions.gru(u, state[0], *weights)
        return h, (h[-1],)

    def _cell(self, u: Tensor, state: Carried, weights: list[Tensor]) -> Cell:
        w_ih, w_hh, b_ih, b_hh = weights
        (h,) = state
        g_r, g_z, g_n = (u @ w_ih.T + b_ih).chunk(3, 1)
        a_r, a_z, q = (h @ w_hh.T + b_hh).chunk(3, 1)
        r, z = torch.sigmoid(g_r + a_r), torch.sigmoid(g_z + a_z)
        n = torch.tanh(g_n + r * q)
        d_n = (1 - z) * (1 - n**2)
        by_rz = [d_n * q * r * (1 - r), (h - n) * z * (1 - z)]
        return Cell(
            n + z * (h - n),
            torch.cat([torch.diag_embed(d) for d in (*by_rz, d_n)], -1),
            torch.cat([torch.diag_embed(d) for d in (*by_rz, d_n * r)], -1),
            torch.diag_embed(z)[:, :, None],
        )


class LSTM(_Recurrent):
    """Long short-term memory; arguments as for ``RNN``, without ``nonlinearity``.

        c(t) = f_c(c(t-1), h(t-1), u(t)),    h(t) = f_h(c(t), h(t-1), u(t))

    Source: Hochreiter and Schmidhuber, Neural Computation 9(8), 1997; the gates are torch's.

    Example:
        >>> LSTM(nu=1, ny=1, hidden_size=8, num_layers=2).state_size  # 2 x 8 hidden, 2 x 8 cells
        32
    """

    kind: ClassVar[str] = "lstm"
    layer = nn.LSTM
    state_tensors = 2

    def __init__(
        self,
        nu: int,
        ny: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        initial_state: str = "zero",
        n_init: int = 0,
        feedback: bool = False,
    ) -> None:
        super().__init__(
            nu, ny, hidden_size, num_layers, bidirectional, dropout, initial_state, n_init, feedback
        )

    def _layer(self, u: Tensor, state: Carried, weights: list[Tensor]) -> tuple[Tensor, Carried]:
        h, c = functions.lstm(u, *state, *weights)
        return h, (h[-1], c)

    def _states(self, u: Tensor, state: Carried, weights: list[Tensor]) -> Carried:
        return functions.lstm_states(u, *state, *weights)

    def _cell(self, u: Tensor, state: Carried, weights: list[Tensor]) -> Cell:
        w_ih, w_hh, b_ih, b_hh = weights
        h, c = state
        a_i, a_f, a_g, a_o = (u @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, 1)
        i, f, g, o = torch.sigmoid(a_i), torch.sigmoid(a_f), torch.tanh(a_g), torch.sigmoid(a_o)
        s = torch.tanh(f * c + i * g)
        by_c = [g * i * (1 - i), c * f * (1 - f), i * (1 - g**2), torch.zeros_like(o)]
        of_c = o * (1 - s**2)  # dh'/dc'
        by_h = [of_c * d for d in by_c[:3]] + [s * o * (1 - o)]
        # rows h', c'
        by = torch.cat([torch.cat([torch.diag_embed(d) for d in ds], -1) for ds in (by_h, by_c)], 1)
        own_c = torch.cat([torch.diag_embed(of_c * f), torch.diag_embed(f)], 1)
        return Cell(o * s, by, by, torch.stack([torch.zeros_like(own_c), own_c], 2))
