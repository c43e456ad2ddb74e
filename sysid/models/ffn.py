"""Feed-forward networks: the plain stack of layers, and FFN, static regression with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from sysid.kernels.reference import SOFTPLUS_THRESHOLD
from sysid.models.model import Carried, GapTolerant, Model, check_choice, check_count
from sysid.models.sensitivities import Block, row_jacobian
from sysid.models.stability import Boundedness


class Sinh(nn.Module):
    """The hyperbolic sine."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``sinh(x)``."""
        return torch.sinh(x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "softplus": partial(nn.Softplus, threshold=SOFTPLUS_THRESHOLD),
    "sinh": Sinh,
}


def layers(
    input_size: int, hidden_sizes: Sequence[int], output_size: int, activation: str
) -> nn.Sequential:
    """Return ``W_L s(... s(W_1 x + b_1) ...) + b_L`` with activation ``s`` between layers.

    Args:
        input_size: width of ``x``.
        hidden_sizes: width of each hidden layer; empty for one linear layer.
        output_size: width of the result.
        activation: one of ``ACTIVATIONS``.
    """
    check_choice("activation", activation, ACTIVATIONS)
    for size in hidden_sizes:
        check_count("hidden_sizes", size)
    stack: list[nn.Module] = []
    for before, after in pairwise([input_size, *hidden_sizes]):
        stack += [nn.Linear(before, after), ACTIVATIONS[activation]()]
    return nn.Sequential(*stack, nn.Linear([input_size, *hidden_sizes][-1], output_size))


def weights_and_biases(network: nn.Sequential) -> list[tuple[Tensor, Tensor]]:
    """Return weight and bias of each of ``layers``."""
    return [(m.weight, m.bias) for m in network if isinstance(m, nn.Linear)]


class FFN(GapTolerant, Model):
    """Static regression ``y(k) = f(u(k))`` with a fully connected feed-forward network.

    Args:
        input_size: number of inputs.
        hidden_sizes: neurons of each hidden layer.
        output_size: number of outputs.
        activation: one of ``tanh``, ``sigmoid``, ``relu``, ``gelu``, ``silu``, ``elu``,
            ``softplus``, ``sinh``.

    Raises:
        TypeError: for a size that is not a whole number.
        ValueError: for a size below 1, or another activation.

    Example:
        >>> model = FFN(4, [200, 300], 1)
        >>> model(torch.zeros(10, 4)).shape
        torch.Size([10, 1])
        >>> model.summary()  # doctest: +ELLIPSIS
        ----------------------------------------------------------------
                Layer (type)               Output Shape         Param #
        ================================================================
                    Linear-1                  [-1, 200]           1,000
        ...
    """

    kind: ClassVar[str] = "ffn"
    losses: ClassVar[tuple[str, ...]] = ("one_step", "subsequence", "full_sequence")

    def __init__(
        self,
        input_size: int,
        hidden_sizes: Sequence[int],
        output_size: int,
        activation: str = "sigmoid",
    ) -> None:
        check_count("input_size", input_size)
        check_count("output_size", output_size)
        super().__init__(input_size, output_size)
        self.input_size, self.output_size = input_size, output_size
        self.hidden_sizes = tuple(hidden_sizes)
        self.activation = activation
        self.network = layers(input_size, self.hidden_sizes, output_size, activation)

    @property
    def bounded(self) -> Boundedness:
        """A static map of the inputs."""
        return Boundedness("bounded", True, "it has no memory")

    def forward(self, phi: Tensor) -> Tensor:
        """Return the output for inputs ``phi``, ``(..., input_size)``, in physical units."""
        return self._scale_out(self.core(self._scale_in(phi)))

    def core(self, phi: Tensor) -> Tensor:
        """Return the output in the network's own units.

        The inputs ``phi`` are ``(..., input_size)``.

        Example:
            >>> FFN(2, [8], 1).core(torch.zeros(10, 2)).shape
            torch.Size([10, 1])
        """
        out: Tensor = self.network(phi)
        return out

    def unfold(
        self, u: Tensor, y: Tensor, washout: int = 0, carried: Carried | None = None
    ) -> tuple[Tensor, Carried]:
        """Apply the network sample by sample; there is nothing to carry."""
        return self.core(u), ()

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
        batch, time, _ = u.shape
        for start in range(0, time, block):
            piece = u[:, start : start + block]
            y_hat, jacobian = row_jacobian(self, FFN.core, piece.flatten(0, 1))
            shape = (batch, piece.shape[1])
            yield Block(start, y_hat.unflatten(0, shape), jacobian.unflatten(0, shape))

    def _simulate(self, u: Tensor, y: Tensor | None, n_init: int) -> Tensor:
        return self.core(u)

    @property
    def output_error(self) -> bool:
        """A static model has no past."""
        return True

    def example_input(self) -> Tensor:
        """Return one row of inputs."""
        return torch.zeros(2, self.input_size)
