"""RNN, GRU and LSTM: torch's recurrent layers as models of dynamic systems."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sysid.kernels import functions
from sysid.kernels.backends import backend
from sysid.models.model import Carried, check_choice, check_count
from sysid.models.stateful import StatefulModel

_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


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

    def _pack(self, flat: Tensor) -> Carried:
        rows = self.num_layers * (1 + self.bidirectional)
        # (B, tensors * rows * hidden) -> tensors x (rows, B, hidden)
        blocks = flat.unflatten(1, (self.state_tensors, rows, self.hidden_size))
        return tuple(b.transpose(0, 1).contiguous() for b in blocks.unbind(1))

    def _zero_state(self, batch: int) -> Carried:
        rows = self.num_layers * (1 + self.bidirectional)
        zeros = self.output.weight.new_zeros(rows, batch, self.hidden_size)
        return (zeros,) * self.state_tensors

    def _run(self, inputs: Tensor, state: Carried) -> tuple[Tensor, Carried]:
        if inputs.device.type != "cpu" or backend() == "reference":
            h, last = self.recurrence(inputs, state if self.state_tensors > 1 else state[0])
            return self.output(h), (last if self.state_tensors > 1 else (last,))
        x, last = inputs.transpose(0, 1), []  # (T, B, channels)
        for layer in range(self.num_layers):
            rows = [self._direction(x, state, layer, i) for i in range(1 + self.bidirectional)]
            x = torch.cat([h for h, _ in rows], -1) if self.bidirectional else rows[0][0]
            last += [end for _, end in rows]
            if self.dropout and layer < self.num_layers - 1:
                x = nn.functional.dropout(x, self.dropout, self.training)
        return self.output(x.transpose(0, 1)), tuple(map(torch.stack, zip(*last, strict=True)))

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
        h = functions.rnn(u, state[0], *weights, self.nonlinearity)
        return h, (h[-1],)


class GRU(_Recurrent):
    """Gated recurrent unit; arguments as for ``RNN``, without ``nonlinearity``."""

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


class LSTM(_Recurrent):
    """Long short-term memory; arguments as for ``RNN``, without ``nonlinearity``.

        c(t) = f_c(c(t-1), h(t-1), u(t)),    h(t) = f_h(c(t), h(t-1), u(t))

    Source: Hochreiter and Schmidhuber, Neural Computation 9(8), 1997; the gates are torch's.
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
