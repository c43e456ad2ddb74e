"""The rounds of an automatic search: candidates that are tried, left, and gone on with."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch

from sysid.data.records import Record
from sysid.experiment.candidates import Candidate, Candidates
from sysid.experiment.config import Config
from sysid.experiment.straying import strays
from sysid.models.sensitivities import weight_count
from sysid.training.trainer import Trainer

_LOG = logging.getLogger(__name__)
# Shares of the time: linear models, a first look at networks, the better half of them, the best
# two; then what is near the best, and in the end the one that is chosen.
_ROUNDS = (0.08, 0.30, 0.25, 0.20)
_FINISH, _AGAIN = 0.05, 0.25
_SHORTER = 0.6  # of the rounds' time, where the best is tried from several seeds as well
_ALIKE = 1.05  # times the lowest error: no worse than that, as far as a held-out part tells
_CENTRES = 10  # candidates near which others are looked for, the best first
_PATIENCE = 40  # epochs without a better validation
_STRAYS = 2.0  # times its error is what a model counts by that leaves the measured range

Split = tuple[list[Record], list[Record]]


class Trial:
    """A candidate under training, which can be left and gone on with.

    Args:
        candidate: what is tried.
        config: the same as a config.
        splits: training and validation records; with several, each trains a model of its own, and
            the mean of their errors after equally many epochs counts. With one, which may be
            short, the model is also looked at on inputs in another order.
    """

    def __init__(
        self, candidate: Candidate, config: Config, splits: Callable[[Config], Sequence[Split]]
    ) -> None:
        self.candidate, self.config = candidate, config
        self.reason = ""
        self.strays = False
        self.trainers: list[Trainer] = []
        started = time.perf_counter()
        try:
            for train, valid in splits(config):
                model = config.build_model(train[0].nu, train[0].ny)
                self.trainers.append(Trainer(model, train, valid, config.settings()))
        except (ValueError, ArithmeticError, MemoryError) as error:
            self.reason, self.trainers = str(error), []
        self.ended = [""] * len(self.trainers)
        self.seconds = time.perf_counter() - started

    @property
    def weights(self) -> int:
        """How many weights the model has; none where there is no model."""
        return weight_count(self.trainers[0].model) if self.trainers else 0

    @property
    def loss(self) -> float:
        """The validation loss; infinite until each model has an epoch of the loss itself."""
        if not self.trainers or not all(map(_last_epochs, self.trainers)):
            return math.inf
        return self.trainers[0].best_loss if len(self.trainers) == 1 else self._in_the_mean()[0]

    @property
    def counts(self) -> float:
        """The loss by which it is compared: more for a model that strays."""
        return self.loss * _STRAYS**2 if self.strays else self.loss

    def _in_the_mean(self) -> tuple[float, int]:
        """Return the lowest mean of the losses after equally many epochs, and how many.

        Each loss is over the variance of what its own model was trained on; here all are over the
        same, or a part of the record that hardly moves would count for most.
        """
        variances = torch.stack([t.model.scaling.y_std.cpu() ** 2 for t in self.trainers])
        shares = (variances / variances.mean(dim=0)).mean(dim=1).tolist()
        last = [
            [share * loss for loss in _last_losses(t)]
            for t, share in zip(self.trainers, shares, strict=True)
        ]
        means = [sum(losses) / len(last) for losses in zip(*last, strict=False)]
        best = min(range(len(means)), key=means.__getitem__)
        return means[best], best + 1

    def go_on(self, seconds: float, deadline: float) -> None:
        """Train for some seconds, at least to the first epoch of the loss itself."""
        started = time.perf_counter()
        for i, trainer in enumerate(self.trainers):
            if self.reason:
                break
            if not self.ended[i]:
                left = started + seconds - time.perf_counter()
                self._train(i, trainer, left / (len(self.trainers) - i), deadline)
        if all(self.ended) and not self.reason:
            self.reason = self.ended[0]
        if len(self.trainers) == 1 and not math.isinf(self.loss):
            (trainer,) = self.trainers
            self.strays = strays(trainer.model, trainer.train, trainer.valid[0])
        self.seconds += time.perf_counter() - started

    def _train(self, i: int, trainer: Trainer, seconds: float, deadline: float) -> None:
        started = time.perf_counter()
        try:
            for _ in trainer.epochs():
                now = time.perf_counter()
                begun = _last_epochs(trainer) > 0
                if now >= deadline or (now - started >= seconds and begun):
                    break
                if len(trainer.history) - trainer.best_epoch > _PATIENCE and begun:
                    self.ended[i] = "patience"
                    break
            else:
                self.ended[i] = trainer.stopped_because
        except (ValueError, ArithmeticError) as error:
            self.reason = str(error)  # what it had reached counts

    def finished_config(self) -> Config:
        """Return the config that trains to where this trial is now.

        Of several models, to where they were best in the mean: the next one has no validation.
        """
        one = len(self.trainers) == 1
        epochs = _last_epochs(self.trainers[0]) if one else self._in_the_mean()[1]
        changes = {"max_epochs": epochs}
        return self.config.model_copy(
            update={"training": self.config.training.model_copy(update=changes)}
        )

    def row(self) -> dict[str, Any]:
        """Return what the table says of it."""
        return {
            "candidate": self.candidate.name,
            "weights": self.weights,
            "epochs": max((len(t.history) for t in self.trainers), default=0),
            "seconds": round(self.seconds, 2),
            "valid_rmse": math.sqrt(self.loss),
            "strays": self.strays,
            "stopped_because": self.reason or "time",
        }


def _last_losses(trainer: Trainer) -> list[float]:
    """Return the validation losses of the loss itself, after all growing horizons."""
    last = len(trainer.stages)
    return [
        math.inf if e.valid_loss is None or math.isnan(e.valid_loss) else e.valid_loss
        for e in trainer.history
        if e.stage == last
    ]


def _last_epochs(trainer: Trainer) -> int:
    return len(_last_losses(trainer))


class Search:
    """Tries candidates by rounds; the free run on the held-out part decides.

    Of those whose error is about the lowest, the one with the fewest weights is chosen: where data
    are few or none, it has the least to be wrong with. With several draws a candidate counts by the
    worst of as many seeds: what is lucky from one is left.

    Args:
        splits: training and validation records for a config, once or for several blocks.
        make_config: from a candidate to its config.
        candidates: what there is to try.
        deadline: of ``time.perf_counter``.
        tell: called with a row each time that a candidate was worked on.
        again: whether the one that is chosen will be trained once more, for which time is left.
        draws: seeds that a candidate is judged by, unless nothing in it is random.
    """

    def __init__(
        self,
        splits: Callable[[Config], Sequence[Split]],
        make_config: Callable[[Candidate], Config],
        candidates: Candidates,
        deadline: float,
        tell: Callable[[dict[str, Any]], None],
        again: bool = False,
        draws: int = 1,
    ) -> None:
        self.draws = draws
        self.splits, self.make_config, self.tell = splits, make_config, tell
        self.candidates = candidates
        self.deadline, self.again = deadline, again
        self.trials: dict[str, Trial] = {}

    def run(self) -> Trial:
        """Return the chosen trial.

        Raises:
            RuntimeError: if none gave a stable model.
        """
        total = self.deadline - time.perf_counter()
        left_over = _AGAIN if self.again else _FINISH
        end, self.deadline = self.deadline, self.deadline - left_over * total
        total *= _SHORTER if self.draws > 1 else 1
        linear = self._round(list(self.candidates.linear()), _ROUNDS[0] * total)
        networks = self.candidates.nonlinear([t.candidate for t in linear])
        ranked = self._round(list(networks), _ROUNDS[1] * total)
        ranked = sorted([*linear[:2], *ranked], key=lambda t: t.counts)
        half = [t.candidate for t in ranked[: max(len(ranked) // 2, 2)]]
        ranked = self._round(half, _ROUNDS[2] * total)
        self._round([t.candidate for t in ranked[:2]], _ROUNDS[3] * total)
        self._explore()
        if math.isinf(self.best.loss):
            raise RuntimeError(
                f"none of {len(self.trials)} candidates gave a stable model; look at what "
                f"sysid advice says, or give more time; the first: {self.best.reason or 'time'}"
            )
        chosen, self.deadline = self.chosen, end
        if (left := end - time.perf_counter()) > 0 and not self.again:
            self._work_on(chosen.candidate, left)
        if (rmse := math.sqrt(chosen.loss)) >= 1:
            _LOG.warning(
                f"no candidate is better on what is held out than the mean of the output "
                f"(free-run rmse {rmse:.3g} of its standard deviation): do not trust the "
                f"model; give more records, with more movement in them, or more time"
            )
        return chosen

    @property
    def best(self) -> Trial:
        """The trial with the lowest error so far, where one that strays has twice its own."""
        return min(self.trials.values(), key=self._error)

    @property
    def chosen(self) -> Trial:
        """The trial with the fewest weights among those with about the lowest error.

        Only those tried from enough seeds count, if there are any.
        """
        trials = list(self.trials.values())
        if self.draws > 1:
            enough = [t for t in trials if self._missing_draws(t) == 0]
            trials = [t for t in enough if not math.isinf(self._error(t)[0])] or trials
        limit = _ALIKE**2 * min(map(self._error, trials))[0]
        alike = [t for t in trials if self._error(t)[0] <= limit]
        return min(alike, key=lambda t: (t.weights, self._error(t)))

    def _error(self, trial: Trial) -> tuple[float, float]:
        """Return the loss that counts, and its own."""
        if self.draws == 1:
            return trial.counts, trial.counts
        return max([trial.counts, *(t.counts for t in self._drawn(trial))]), trial.counts

    def _missing_draws(self, trial: Trial) -> int:
        needed = self.draws if trial.candidate.drawn else 1
        return max(needed - len(self._drawn(trial)), 0)

    def _drawn(self, trial: Trial) -> list[Trial]:
        """Return the trials of the same from any seed, as far as they came to a result."""
        any_seed = replace(trial.candidate, seed=0)
        return [
            t
            for t in self.trials.values()
            if replace(t.candidate, seed=0) == any_seed and (t.reason or not math.isinf(t.loss))
        ]

    def table(self) -> pd.DataFrame:
        """Return a row per candidate, the chosen one first, then by error."""
        chosen = self.chosen
        trials = sorted(self.trials.values(), key=lambda t: (t is not chosen, self._error(t)))
        return pd.DataFrame([t.row() for t in trials])

    def _round(self, candidates: Sequence[Candidate], seconds: float) -> list[Trial]:
        """Share a time out evenly; what one leaves goes to those after it. The best come first."""
        end = time.perf_counter() + seconds
        done = []
        for i, candidate in enumerate(candidates):
            if time.perf_counter() >= self.deadline and self.trials:
                break
            left = end - time.perf_counter()
            done.append(self._work_on(candidate, left / (len(candidates) - i)))
        return sorted(done, key=lambda t: t.counts)

    def _work_on(self, candidate: Candidate, seconds: float) -> Trial:
        trial = self.trials.get(candidate.name)
        if trial is None:
            trial = Trial(candidate, self.make_config(candidate), self.splits)
            self.trials[candidate.name] = trial
        if not trial.reason:
            # Without any model the time is exceeded rather than nothing found.
            found = not math.isinf(self.best.loss)
            trial.go_on(seconds, self.deadline if found else math.inf)
            self.tell(trial.row())
        return trial

    def _explore(self) -> None:
        """Try what is near the best, and go on from what is better, while there is time.

        Where all of that was tried, what is near the next best is.
        """
        while (left := self.deadline - time.perf_counter()) > 0:
            best = self.best
            new = self._untried()
            if not new:
                if best.reason:  # nothing near any is better, and it has ended
                    return
                self._work_on(best.candidate, left)
                continue
            for candidate in new:
                if time.perf_counter() >= self.deadline:
                    return
                self._work_on(candidate, 1.2 * best.seconds)
                if self.best is not best:
                    break

    def _untried(self) -> list[Candidate]:
        """Return what is near one of the best and new; where seeds count, these first."""
        for trial in sorted(self.trials.values(), key=self._error)[:_CENTRES]:
            new = [c for c in self.candidates.near(trial.candidate) if c.name not in self.trials]
            if self.draws > 1:
                seeds = [c for c in new if c.seed != trial.candidate.seed]
                others = [c for c in new if c.seed == trial.candidate.seed]
                new = [*seeds[: self._missing_draws(trial)], *others]
            if new:
                return new
        return []
