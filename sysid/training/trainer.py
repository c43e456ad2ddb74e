"""Trainer: the loop over epochs, validation by free run, and the best weights kept."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from sysid.data.records import Record, as_records
from sysid.models import Model
from sysid.training.choice import choose_optimiser
from sysid.training.compatibility import refuse_conflicts, refuse_overlap
from sysid.training.distributed import Group
from sysid.training.memory import refuse_too_large
from sysid.training.optimisers import make_optimiser
from sysid.training.preparation import prepare
from sysid.training.progress import Epoch
from sysid.training.settings import TrainingSettings
from sysid.training.stages import make_loss, training_stages
from sysid.training.validation import free_run_error

_LOG = logging.getLogger(__name__)

# An epoch diverged if its loss is so many times that of the best epoch, or of the mean as a
# model (which is 1): noise and a bold step raise it by tens.
_EXPLOSION = 1e3
# After such an epoch the step is so many times smaller, so many times at most.
_SHRINK = 0.2
_RETREATS = 5


class Trainer:
    """Trains a model; ``for epoch in trainer.epochs(): ...`` is the whole loop.

    Args:
        model: the model; it is moved to the device and dtype of the settings. One that was
            never fitted gets its scaling, names and linear start from the training records.
        train: training records.
        valid: records that decide which weights are best; they touch nothing else.
        settings: how to train; see ``TrainingSettings``.
        group: the processes that share the work; one by default.

    Raises:
        ValueError: if settings, model and records do not go together, or a validation record
            shares samples with a training record.

    Example:
        >>> import sysid
        >>> train, valid = sysid.split_time(sysid.generate("linear", 300), 0.3, gap=2)
        >>> trainer = Trainer(sysid.NARX(nu=1, ny=1, na=2, nb=2), train, valid)
        >>> for epoch in trainer.epochs():
        ...     if epoch.epoch == 3:
        ...         trainer.stop()
        >>> trainer.stopped_because, len(trainer.frame())
        ('interrupted', 3)
        >>> again = Trainer(sysid.NARX(nu=1, ny=1, na=2, nb=2), train, valid)
        >>> again.load_state_dict(trainer.state_dict())  # goes on with the fourth epoch
        >>> again.validate() == epoch.valid_loss
        True
    """

    def __init__(
        self,
        model: Model,
        train: Record | Iterable[Record],
        valid: Record | Iterable[Record] | None = None,
        settings: TrainingSettings | None = None,
        group: Group | None = None,
    ) -> None:
        self.settings = settings = settings or TrainingSettings()
        self.group = group or Group()
        self.group.check(settings)
        self.model = model
        records = as_records(train)
        self.valid = [] if valid is None else as_records(valid)
        for record in (*records, *self.valid):
            if record.ny == 0:
                raise ValueError(f"record {record.name!r} must have outputs to train on, got none")
        refuse_overlap(records, self.valid)
        self.optimiser_reason = f"{settings.optimiser}, as asked for"
        if settings.optimiser == "auto":
            name, self.optimiser_reason = choose_optimiser(model, records, settings)
            self.settings = settings = settings.model_copy(update={"optimiser": name})
        if settings.starts > 1:
            raise ValueError(
                f"starts must be 1 for a Trainer, got {settings.starts}; call sysid.fit, which "
                "trains them side by side"
            )
        refuse_conflicts(model, settings)
        self.device = prepare(model, records, settings)
        for record in self.valid:
            model.check_record(record)
            model.data_n_init = record.n_init
        self.train = records
        refuse_too_large(model, records, settings)
        self.stages = training_stages(model, settings)
        self.generator = torch.Generator().manual_seed(settings.seed)
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed + self.group.rank)  # dropout is each one's own
            self._random_state = torch.get_rng_state()
        self.history: list[Epoch] = []
        self.best_epoch = 0
        self.best_loss = math.inf
        self._best = self._start = _copied(model)
        self.stopped_because = ""
        self.messages: list[str] = []
        self.retreats = 0
        # Where the last free run, and that of the best epoch, exceeded all bounds.
        self._unstable: str | None = None
        self._best_unstable: str | None = None
        self._stop = self._gave_up = False
        self._begin(0)

    def _begin(self, stage: int) -> None:
        """Make the loss and the optimiser of a stage."""
        settings = self.stages[stage]
        self.stage, self._first = stage, len(self.history)
        self.loss = make_loss(self.model, self.train, settings)
        steps = settings.max_epochs * self.loss.steps
        self.optimiser = make_optimiser(self.model, self.loss, settings, steps)
        self._lowest = math.inf  # training loss; that of another stage is another quantity
        if not self.valid:
            self.best_loss = math.inf
        # After the last epoch, and the last that a whole epoch went on from.
        self._state = self._good = self._snapshot()

    def stop(self) -> None:
        """Let ``epochs`` end before its next step; the epoch under way does not count."""
        self._stop = True

    def epochs(self) -> Iterator[Epoch]:
        """Train, and report after each epoch; the best weights are in the model at the end.

        Leaving the loop early, by ``break`` or by an interruption, also leaves them there. An
        epoch that diverged is undone and begun again with a smaller step, a few times at most.
        """
        if self.history:
            self._restore(self._state)
        try:
            started = time.perf_counter()
            while not self._finished():
                losses = self._train_epoch()
                if losses is None:
                    continue
                first_loss, train_loss = losses
                if self._diverged(train_loss):
                    # Its time counts for the epoch that takes its place.
                    self._retreat(self._good if self._diverged(first_loss) else self._state)
                    continue
                self.loss.note_states(train_loss)
                valid_loss = math.nan
                if self.valid:
                    valid_loss = self.group.agree(self.validate() if self.group.leads else None)
                monitored = valid_loss if self.valid else train_loss
                before = self.history[-1].seconds if self.history else 0.0
                epoch = Epoch(
                    len(self.history) + 1,
                    train_loss,
                    valid_loss,
                    self.optimiser.learning_rate,
                    before + self.group.agree(time.perf_counter() - started),
                    self.stage + 1,
                )
                self.history.append(epoch)
                self._lowest = min(self._lowest, train_loss)
                self.optimiser.end_epoch(monitored)
                if monitored < self.best_loss:
                    self.best_loss, self.best_epoch = monitored, epoch.epoch
                    self._best, self._best_unstable = _copied(self.model), self._unstable
                self._good, self._state = self._state, self._snapshot()
                yield epoch
                started = time.perf_counter()
            self._say_if_unstable()
        finally:
            self.model.load_state_dict(self._best)
            self.model.eval()

    def _finished(self) -> bool:
        """Decide whether to stop, and say why; a stage before the last leads to the next."""
        self._stopping()
        while (reason := self._stage_over()) and self.stage + 1 < len(self.stages):
            if reason in ("diverged", "interrupted"):
                break
            self._begin(self.stage + 1)
            self._leave_what_explodes()
        self.stopped_because = reason
        return bool(reason)

    def _leave_what_explodes(self) -> None:
        """Begin a stage from the start again if what a shorter horizon led to explodes.

        Of pieces in which less moves than the noise does, the noise is learned.
        """
        if not self.settings.at_once or self._value() <= _EXPLOSION:
            return
        led_to = _copied(self.model)
        self.model.load_state_dict(self._start)
        self._begin(self.stage)
        if self._value() <= _EXPLOSION:
            horizon = self.settings.horizons[self.stage - 1]
            self._say(
                f"what horizon {horizon} led to explodes over a longer one: back to the start; "
                "begin with longer horizons"
            )
        else:
            self.model.load_state_dict(led_to)
            self._begin(self.stage)

    def _value(self) -> float:
        """Return the loss over everything, before any step; more than all if it is not finite."""
        value = sum(float(o.value()) for o in self.loss.objectives(self.generator))
        return value if math.isfinite(value) else math.inf

    def _stage_over(self) -> str:
        settings, done = self.stages[self.stage], len(self.history)
        in_stage = done - self._first
        spent = self.history[-1].seconds if done else 0.0
        since = self.history[self._first - 1].seconds if self._first and self._warming_up else 0.0
        if self._gave_up:
            return "diverged"
        if self._stop:
            return "interrupted"
        if self.optimiser.stopped:
            return self.optimiser.stopped
        if in_stage >= settings.max_epochs:
            return "max_epochs"
        no_better = done - max(self.best_epoch, self._first)
        if settings.patience is not None and no_better >= settings.patience:
            return "patience"
        if in_stage and settings.seconds is not None and spent - since > settings.seconds:
            return "seconds"
        return ""

    @property
    def _warming_up(self) -> bool:
        return self.stage + 1 < len(self.stages)

    @property
    def most_epochs(self) -> int:
        """Epochs of all stages, if none ends early."""
        return sum(s.max_epochs for s in self.stages)

    def _train_epoch(self) -> tuple[float, float] | None:
        """Return the first step's loss and the mean, or None if the epoch was not finished.

        Each loss is from before its step.
        """
        self.group.align(self.model)
        self.model.train()
        losses: list[Tensor] = []
        # Dropout draws from torch's global stream: lend it ours, so that neither the caller's
        # draws change the training nor the training the caller's.
        with torch.random.fork_rng():
            torch.set_rng_state(self._random_state)
            if self.device.type == "cuda":
                torch.cuda.manual_seed(int(torch.randint(1 << 62, ())))
            for objective in self.loss.objectives(self.generator):
                if self._stopping():
                    return None
                shared = self.group.share(objective, self.optimiser.parameters)
                losses.append(self.optimiser.improve(shared))
            self._random_state = torch.get_rng_state()
        with torch.no_grad():
            # The weights tell what became of the last step.
            sums = torch.stack([p.sum() for p in self.model.parameters()])
            all_losses = torch.stack(losses).to(sums.device)
            mean = torch.where(sums.isfinite().all(), all_losses.mean(), torch.nan)
            # The only wait for the device in an epoch.
            first, mean_loss = torch.stack([all_losses[0], mean]).tolist()
        if len(self.history) == self._first:
            self._lowest = first
        return first, mean_loss

    def _stopping(self) -> bool:
        """Return whether all processes are to stop; a signal reaches each at its own time."""
        self._stop = self.group.agree(self._stop)
        return self._stop

    def _diverged(self, loss: float) -> bool:
        return not (math.isfinite(loss) and loss <= _EXPLOSION * max(1.0, self._lowest))

    def _retreat(self, good: dict[str, Any]) -> None:
        """Go back to the last good weights with a smaller step, or give up."""
        said = f"epoch {len(self.history) + 1} diverged"
        self._restore(good)
        if self.retreats < _RETREATS and self.optimiser.shrink(_SHRINK):
            self.retreats += 1
            self._state = self._good = self._snapshot()
            self._say(
                f"{said}: back to the weights after epoch {len(self.history)}, with a learning "
                f"rate of {self.optimiser.learning_rate:.3g}"
            )
        else:
            self._gave_up = True
            self._say(f"{said}: {self.retreats} smaller steps were tried")

    def _say_if_unstable(self) -> None:
        """Say so if the free run of no epoch was bounded."""
        unstable = self._best_unstable if self.best_epoch else self._unstable
        if unstable:
            self._say(
                f"{unstable}, and no epoch gave a stable model; train on the simulation error "
                "(loss: subsequence), or lower the orders"
            )

    def _say(self, message: str) -> None:
        self.messages.append(message)
        _LOG.warning(message)

    def validate(self) -> float:
        """Return the mean square of the free-run errors over the validation records.

        Raises:
            ValueError: if no sample of them is scored.
        """
        loss, self._unstable = free_run_error(self.model, self.valid, self.settings)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return all that ``load_state_dict`` needs to go on after the last whole epoch.

        It can be asked for at any time; what a part of an epoch changed is not in it.
        """
        return {
            "start": self._start if self.settings.horizons else None,
            "state": self._state,
            "good": self._good,
            "history": [asdict(e) for e in self.history[: self._state["epochs"]]],
            "messages": list(self.messages),
            "retreats": self.retreats,
        }

    def _snapshot(self) -> dict[str, Any]:
        """Copy what the next epoch changes."""
        return {
            "epochs": len(self.history),
            "model": _copied(self.model),
            "best": self._best,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "states": None if self.loss.states is None else self.loss.states.detach().clone(),
            "generator": self.generator.get_state(),
            "random_state": self._random_state,
            "stage": self.stage,
            "first": self._first,
            "lowest": self._lowest,
            "unstable": self._unstable,
            "best_unstable": self._best_unstable,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        """Put everything back to what it was when a snapshot was taken."""
        self.history = self.history[: state["epochs"]]
        if self.stage != state["stage"]:
            self._begin(state["stage"])
        self._first = state["first"]
        self.model.load_state_dict(state["model"])
        self._best = state["best"]
        self.best_epoch, self.best_loss = state["best_epoch"], state["best_loss"]
        # A copy: an optimiser may go on to write into what it was given.
        self.optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))
        if self.loss.states is not None:
            with torch.no_grad():
                self.loss.states.copy_(state["states"])
        self.generator.set_state(state["generator"])
        self._random_state = state["random_state"]
        self._lowest = state["lowest"]
        self._unstable, self._best_unstable = state["unstable"], state["best_unstable"]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another trainer with the same model, records and settings was.

        Args:
            state: what ``state_dict`` returned, with tensors of any device.
        """
        self.history = [Epoch(**e) for e in state["history"]]
        self.messages = list(state["messages"])
        self.retreats = state["retreats"]
        if not self.group.leads:  # what is drawn for dropout is each process's own
            for kept in (state["state"], state["good"]):
                kept["random_state"] = self._random_state
        self._restore(state["state"])
        self._state, self._good = state["state"], state["good"]
        self._start = state.get("start") or self._start

    def frame(self) -> pd.DataFrame:
        """Return the history, a row per epoch."""
        columns = list(Epoch.__dataclass_fields__)
        return pd.DataFrame([asdict(e) for e in self.history], columns=columns)


def _copied(model: Model) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in model.state_dict().items()}
