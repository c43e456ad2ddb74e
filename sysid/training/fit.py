"""fit: train a model to the end and say what was reached."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pydantic import ValidationError

from sysid.data.records import Record
from sysid.models import Model
from sysid.training.settings import TrainingSettings
from sysid.training.trainer import Trainer


@dataclass(frozen=True)
class FitResult:
    """A trained model and how it came about.

    Args:
        model: the model, with the weights of the best epoch; with ``combine="mean"`` the ensemble
            of all starts.
        history: a row per epoch: epoch, train_loss, valid_loss (mean squares in units of the
            outputs' standard deviation), learning_rate, seconds, stage.
        best_epoch: the one whose weights the model has.
        stopped_because: ``max_epochs``, ``patience``, ``seconds``, ``gradient`` or ``step``
            (nothing is left to improve), ``diverged`` or ``interrupted``.
        optimiser: the one that was used, and why.
        best_loss: mean square at the best epoch: of the validation records' free run, or of the
            training without them.
        messages: each time that an epoch diverged and was undone, and whether no epoch gave a
            stable model.
        starts: of several starts all results, of which this is the best.

    Example:
        >>> import sysid
        >>> model = sysid.NARX(nu=1, ny=1, na=2, nb=2, hidden_sizes=(4,))
        >>> result = sysid.fit(model, sysid.generate("linear", 100), optimiser="lm", max_epochs=3)
        >>> result.history.columns[:3].tolist(), result.model is model
        (['epoch', 'train_loss', 'valid_loss'], True)
        >>> len(result.spread)
        1
    """

    model: Model
    history: pd.DataFrame
    best_epoch: int
    stopped_because: str
    optimiser: str
    best_loss: float
    messages: tuple[str, ...] = ()
    starts: tuple[FitResult, ...] = ()

    @property
    def spread(self) -> pd.DataFrame:
        """What each start reached: start, best_loss, best_epoch, seconds, stopped_because."""
        rows = [
            {
                "start": i,
                "best_loss": r.best_loss,
                "best_epoch": r.best_epoch,
                "seconds": r.history.seconds.iloc[-1] if len(r.history) else 0.0,
                "stopped_because": r.stopped_because,
            }
            for i, r in enumerate(self.starts or (self,))
        ]
        return pd.DataFrame(rows)


def fit(
    model: Model,
    train: Record | Iterable[Record],
    valid: Record | Iterable[Record] | None = None,
    *,
    progress: bool | None = None,
    **settings: Any,
) -> FitResult:
    """Train a model in place and return it with its history.

    Args:
        model: the model to train.
        train: training records.
        valid: held-out records; the weights with the best free run on them are kept. Without
            them it is the epoch with the lowest training loss.
        progress: whether to show a progress bar; ``None``: if standard error is a terminal.
        **settings: the keys of a config's ``training`` section, see ``TrainingSettings``.

    Returns:
        What was reached: see ``FitResult``.

    Raises:
        ValueError: for settings that are wrong or do not go with the model and records.

    Example:
        >>> import sysid
        >>> record = sysid.generate("linear", 300, seed=0)
        >>> train, valid = sysid.split_time(record, 0.3, gap=2)
        >>> model = sysid.NARX(nu=1, ny=1, na=2, nb=2, hidden_sizes=(4,))
        >>> result = sysid.fit(model, train, valid, max_epochs=3)
        >>> result.stopped_because
        'max_epochs'
    """
    checked = checked_settings(settings)
    if checked.starts > 1:
        from sysid.training.multistart import fit_starts

        return fit_starts(model, train, valid, checked)
    return run_to_end(Trainer(model, train, valid, checked), progress)


def run_to_end(
    trainer: Trainer,
    progress: bool | None = None,
    after_epoch: Callable[[Trainer], None] | None = None,
) -> FitResult:
    """Run a trainer's epochs; Ctrl-C and SIGTERM end them early and keep the best model."""
    from sysid.training.interrupts import stopping_on_signals
    from sysid.training.progress import ProgressBar

    show = sys.stderr.isatty() if progress is None else progress
    try:
        with ProgressBar(trainer.most_epochs, show) as bar, stopping_on_signals(trainer.stop):
            for epoch in trainer.epochs():
                bar.update(epoch)
                if after_epoch is not None:
                    after_epoch(trainer)
    except KeyboardInterrupt:
        trainer.stopped_because = "interrupted"
    return FitResult(
        trainer.model,
        trainer.frame(),
        trainer.best_epoch,
        trainer.stopped_because,
        trainer.optimiser_reason,
        trainer.best_loss,
        tuple(trainer.messages),
    )


def checked_settings(values: dict[str, Any]) -> TrainingSettings:
    """Return the settings, or one error that lists all that is wrong with them."""
    try:
        return TrainingSettings(**values)
    except ValidationError as error:
        raise ValueError("; ".join(problems(error))) from None


def problems(error: ValidationError, prefix: str = "") -> list[str]:
    """Return ``path message, got value`` for each problem that pydantic found."""
    out = []
    for e in error.errors(include_url=False):
        path = ".".join(str(p) for p in e["loc"])
        if e["type"] == "extra_forbidden":
            message = "is not a key that is known here"
        else:
            message = e["msg"][0].lower() + e["msg"][1:]
            message = f"must be right: {message}, got {e['input']!r}"
        out.append(f"{prefix}{path} {message}")
    return out
