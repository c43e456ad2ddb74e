"""evaluating: a model in evaluation mode for the length of a with-statement."""

from __future__ import annotations

from torch import nn


class evaluating:  # noqa: N801 - reads as a with-statement's verb
    """Switch to evaluation mode and back."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.training = model.training

    def __enter__(self) -> None:
        self.model.eval()

    def __exit__(self, *_: object) -> None:
        self.model.train(self.training)
