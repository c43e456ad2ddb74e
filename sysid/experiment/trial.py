"""A trial: a candidate under training, which can be left and resumed, and is judged."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sysid.data.records import Record
from sysid.experiment.candidates import Candidate
from sysid.experiment.config import Config
from sysid.experiment.held_out import Split
from sysid.experiment.judging import Judge, Judgement
from sysid.models import Model
from sysid.models.baseline import Baseline, fit_baseline
from sysid.models.sensitivities import weight_count
from sysid.training.progress import Epoch
from sysid.training.trainer import Trainer

_PATIENCE = 40  # epochs without a better validation
_PLANNED = 0.85  # share of a time that a schedule is planned to take
_FEWEST = 4  # epochs of a schedule

_FAILURES = (ValueError, ArithmeticError, MemoryError, RuntimeError)


class Trial:
    """A candidate under training.

    With several splits it trains a model for each, epoch by epoch side by side, and takes all of
    them from the epoch that was best in the mean. A schedule of the learning rate is planned for
    the time that the trial is first given, and ends with it.

    Args:
        candidate: what is tried.
        config: the same as a config.
        splits: training and validation records for a config, one pair for each model.
        judge: of the models, each by what it has not seen.
    """

    def __init__(
        self,
        candidate: Candidate,
        config: Config,
        splits: Callable[[Config], Sequence[Split]],
        judge: Judge,
    ) -> None:
        self.candidate, self.config, self.judge = candidate, config, judge
        self.reason = ""  # why it has ended
        self.verdict = ""
        self.judgement: Judgement | None = None
        self.splits = splits
        self.trainers: list[Trainer] = []
        self.ended: list[str] = []
        self.epochs = 0  # of the loss itself, after all growing horizons
        self.best_epochs, self.lowest = 0, math.inf
        self.seconds = self.judging_seconds = 0.0

    @property
    def weights(self) -> int:
        """How many weights the model has; none where there is no model."""
        return weight_count(self.trainers[0].model) if self.trainers else 0

    @property
    def error(self) -> float:
        """The error that the judge found; infinite until there is one."""
        return math.inf if self.judgement is None else self.judgement.error

    def go_on(self, seconds: float, deadline: float) -> None:
        """Train for some seconds, at least to the first epoch of the loss itself, and judge."""
        started = time.perf_counter()
        before = self.best_epochs
        try:
            with np.errstate(all="ignore"):  # what is not finite is found out in the end
                if not self.trainers:
                    self._begin(seconds)
                self._train(started + seconds, deadline)
        except _FAILURES as error:  # what it had reached counts
            self.reason = " ".join(str(error).split())
        now = time.perf_counter()
        self.seconds += now - started
        if self.best_epochs > before:
            self._judge()
            self.judging_seconds += time.perf_counter() - now

    def _begin(self, seconds: float) -> None:
        """Make the trainers; with a schedule, once it is known how long an epoch takes."""
        if self.candidate.scheduled:
            began = time.perf_counter()
            self._make_trainers()
            _one_epoch(self.trainers)  # what is compiled is compiled here
            one = time.perf_counter()
            _one_epoch(self.trainers)
            epoch = max(time.perf_counter() - one, 1e-6)
            left = seconds - (time.perf_counter() - began)
            self._limit(max(int(_PLANNED * left / epoch), _FEWEST))
        self._make_trainers()

    def _make_trainers(self) -> None:
        trainers = []
        for train, valid in self.splits(self.config):
            model = self.config.build_model(train[0].nu, train[0].ny)
            nothing = np.zeros(train[0].ny)
            model.baseline = Baseline((0, 0, 0), None, nothing, nothing)  # see finish
            trainers.append(Trainer(model, train, valid, self.config.settings()))
        self.trainers, self.ended = trainers, [""] * len(trainers)

    def _limit(self, epochs: int) -> None:
        training = self.config.training.model_copy(update={"max_epochs": epochs})
        self.config = self.config.model_copy(update={"training": training})

    def _train(self, end: float, deadline: float) -> None:
        runs: list[Generator[Epoch, None, None]] = [t.epochs() for t in self.trainers]  # type: ignore[misc]
        try:
            while self._epoch(runs, deadline):
                now = time.perf_counter()
                # A schedule runs to its end, which was planned to be in time.
                if now >= deadline or (now >= end and not self.candidate.scheduled):
                    return
                waited = self.epochs - self.best_epochs
                if waited > _PATIENCE and not self.candidate.scheduled:
                    self.reason = "patience"
                    return
            if all(self.ended):
                self.reason = self.ended[0]
        finally:
            for run in runs:
                run.close()

    def _epoch(self, runs: Sequence[Generator[Epoch, None, None]], deadline: float) -> bool:
        """Train each model for one epoch of the loss itself; return whether there was one."""
        losses = []
        for i, (run, trainer) in enumerate(zip(runs, self.trainers, strict=True)):
            while not self.ended[i]:
                epoch = next(run, None)
                if epoch is None:
                    self.ended[i] = trainer.stopped_because
                elif epoch.stage == len(trainer.stages):
                    losses.append(epoch.valid_loss)
                    break
                elif time.perf_counter() >= deadline:
                    return False
            if self.ended[i]:
                losses.append(trainer.best_loss)
        if all(self.ended):
            return False
        self.epochs += 1
        mean = sum(a * b for a, b in zip(losses, self._shares(), strict=True)) / len(losses)
        # Trained again on everything, a schedule is not stopped early.
        to_the_end = self.candidate.scheduled and len(runs) > 1
        if mean < self.lowest or (to_the_end and math.isfinite(mean)):
            self.lowest, self.best_epochs = mean, self.epochs
            self._best = [_copied(t.model) for t in self.trainers]
        return True

    def _shares(self) -> list[float]:
        """Return each part's variance over the mean of all.

        Each loss is over the variance of what its own model was trained on; here all are over the
        same, or a part of the record that hardly moves would count for most.
        """
        variances = torch.stack([t.model.scaling.y_std.cpu() ** 2 for t in self.trainers])
        return (variances / variances.mean(dim=0)).mean(dim=1).tolist()

    def _judge(self) -> None:
        for trainer, weights in zip(self.trainers, self._best, strict=True):
            trainer.model.load_state_dict(weights)
        try:
            self.judgement = self.judge.judge([t.model for t in self.trainers])
        except _FAILURES as error:
            self.judgement, self.reason = None, " ".join(str(error).split())

    def finish(self, records: Sequence[Record]) -> tuple[Config, Trainer]:
        """Return the config that trains to where this trial is, and a trainer that did.

        Of several models, to where they were best in the mean, on everything.

        Args:
            records: all of them.
        """
        one = len(self.trainers) == 1
        if not self.candidate.scheduled:
            self._limit(self.epochs if one else self.best_epochs)
        config = self.config
        if one:
            # A linear baseline takes longer than an epoch; candidates have to do without.
            (trainer,) = self.trainers
            trainer.model.baseline = fit_baseline(trainer.train)
            return config, trainer
        model = config.build_model(records[0].nu, records[0].ny)
        trainer = Trainer(model, list(records), None, config.settings())
        for _ in trainer.epochs():
            pass
        return config, trainer

    def row(self) -> dict[str, Any]:
        """Return what the table says of it."""
        found = self.judgement
        return {
            "candidate": self.candidate.name,
            "weights": self.weights,
            "epochs": max((len(t.history) for t in self.trainers), default=0),
            "seconds": round(self.seconds + self.judging_seconds, 2),
            "valid_rmse": self.error,
            "standard_error": math.nan if found is None else found.standard_error,
            "worst": math.nan if found is None else found.worst,
            "runaways": 0 if found is None else found.recorded + found.stressed,
            "starts": 0 if found is None else found.starts,
            "stopped_because": self.reason or "time",
            "verdict": self.verdict,
        }


def _one_epoch(trainers: Sequence[Trainer]) -> None:
    for trainer in trainers:
        for _ in trainer.epochs():
            break


def _copied(model: Model) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in model.state_dict().items()}
