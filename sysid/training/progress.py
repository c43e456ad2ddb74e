"""What a training reports after each epoch, and the bar that shows it on a terminal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training data reached.

    ``train_loss`` is the mean over the epoch's steps, each before its step; ``valid_loss`` is
    of the free run after the epoch. Both are mean squares in units of the outputs' standard
    deviation over the training data. ``stage`` counts the ``horizons`` from 1; the loss itself
    comes last.
    """

    epoch: int
    train_loss: float
    valid_loss: float
    learning_rate: float
    seconds: float
    stage: int


class ProgressBar:
    """A bar on standard error; shows nothing unless asked to."""

    def __init__(self, total: int, show: bool) -> None:
        self.total, self.show = total, show
        self.bar: Any = None
        self.best = math.inf

    def __enter__(self) -> ProgressBar:
        if self.show:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("epoch {task.completed}/{task.total}"),
                BarColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self.bar.start()
            self.task = self.bar.add_task("", total=self.total)
        return self

    def update(self, epoch: Epoch) -> None:
        """Show an epoch's losses, as root mean squares: shares of the outputs' std."""
        if self.bar is None:
            return
        text = f"train {math.sqrt(epoch.train_loss):.4g}" if epoch.train_loss >= 0 else "train nan"
        if not math.isnan(epoch.valid_loss):
            self.best = min(self.best, epoch.valid_loss)
            text += f"  free run {math.sqrt(epoch.valid_loss):.4g}"
            text += f" (best {math.sqrt(self.best):.4g})"
        self.bar.update(self.task, completed=epoch.epoch, description=text)

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()
