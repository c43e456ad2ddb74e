"""The rounds of an automatic search: candidates that are tried, left, resumed and chosen from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from sysid.experiment.candidates import Candidate, Candidates
from sysid.experiment.config import Config
from sysid.experiment.held_out import Split
from sysid.experiment.judging import Judge, Judgement
from sysid.experiment.trial import Trial

# Shares of the time: linear models, a first look at networks, recurrent ones, the better half of
# all, the best two; then what is near the best, and in the end the one that is chosen.
_LINEAR, _NETWORKS, _RECURRENT, _HALF, _BEST = 0.08, 0.25, 0.17, 0.17, 0.13
_FINISH, _AGAIN = 0.05, 0.20
_CENTRES = 10  # candidates near which others are looked for, the best first
_ALIKE = 1.25  # times the lowest error: no smaller model is worth more than that
_ROUNDING = 1e-4  # of an error
_PRONE = 1.5  # times the worst run of the best candidate


def leaves(trial: Trial, found: Judgement, floor: Judgement | None) -> bool:
    """Return whether a model leaves the measured range where it should not, or may leave it.

    What is not known to be bounded may run away from starts that were not tried. With inputs as
    recorded, none may. With others a plant may go further than it did: as often as
    the best linear model does, which goes no further than a sum of responses can.

    Args:
        trial: of the model.
        found: what was found of it.
        floor: what was found of the best linear model on the same runs, if there is one.
    """
    allowed = 0 if floor is None else floor.stressed
    if not found.bounded:
        return True
    return found.recorded > 0 or (found.stressed > allowed and not trial.candidate.linear)


def beats(found: Judgement, mean: Judgement) -> bool:
    """Return whether a model is better than the mean by more than rounding, over whole runs too.

    Over a few samples, where a run started says most of where it is, and little of the model.
    """
    return all(
        one < other - _ROUNDING * max(other, 1.0)
        for one, other in ((found.error, mean.error), (found.whole, mean.whole))
    )


class Search:
    """Tries candidates by rounds, and ranks them by what a judge says of them.

    Args:
        splits: training and validation records for a config, once or in turns.
        make_config: from a candidate to its config.
        candidates: what there is to try.
        judge: of models on what they have not seen.
        deadline: of ``time.perf_counter``.
        tell: called with a row each time that a candidate was worked on.
        again: whether the one that is chosen will be trained once more, for which time is left.
    """

    def __init__(
        self,
        splits: Callable[[Config], Sequence[Split]],
        make_config: Callable[[Candidate], Config],
        candidates: Candidates,
        judge: Judge,
        deadline: float,
        tell: Callable[[dict[str, Any]], None],
        again: bool = False,
    ) -> None:
        self.splits, self.make_config, self.tell = splits, make_config, tell
        self.candidates, self.judge = candidates, judge
        self.deadline, self.again = deadline, again
        self.trials: dict[str, Trial] = {}

    def run(self) -> None:
        """Try what there is time for."""
        total = self.deadline - time.perf_counter()
        end, share = self.deadline, _AGAIN if self.again else _FINISH
        self.deadline -= share * total
        total *= 1 - share
        # Without any model the time is exceeded rather than nothing found.
        self._work_on(self.candidates.mean(), math.inf, math.inf)
        linear = self._round(self.candidates.linear(), _LINEAR * total)
        networks = list(self.candidates.nonlinear([t.candidate for t in linear]))
        tried = self._round(networks, _NETWORKS * total)
        tried += self._round(self.candidates.recurrent(), _RECURRENT * total)
        tried = sorted([*linear[:2], *tried], key=self._order)
        half = [t.candidate for t in tried[: max(len(tried) // 2, 2)]]
        tried = self._round(half, _HALF * total)
        self._round([t.candidate for t in tried[:2]], _BEST * total)
        self._explore()
        self.deadline = end
        if (left := end - time.perf_counter()) > 0 and not self.again:
            self._work_on(self.ranked()[0].candidate, left)

    @property
    def mean(self) -> Trial:
        """The trial of the mean."""
        return self.trials[self.candidates.mean().name]

    @property
    def floor(self) -> Trial:
        """The best linear trial, or the mean where that is better."""
        return min(self._linear, key=self._order)

    def beats_mean(self, trial: Trial) -> bool:
        """Return whether a trial is better than the mean of the output, over whole runs too."""
        mean = self.mean.judgement
        if trial.judgement is None or mean is None:
            return trial.judgement is not None
        return beats(trial.judgement, mean)

    def runs_away(self, trial: Trial) -> bool:
        """Return whether a trial leaves the measured range where it should not."""
        floor = min(
            (
                t.judgement
                for t in self._linear
                if t.judgement is not None and not t.judgement.recorded
            ),
            key=lambda j: j.error,
            default=None,
        )
        return trial.judgement is None or leaves(trial, trial.judgement, floor)

    @property
    def _linear(self) -> list[Trial]:
        return [t for t in self.trials.values() if t.candidate.linear]

    def _order(self, trial: Trial) -> tuple[bool, bool, float]:
        is_worse = not (trial.candidate.is_mean or self.beats_mean(trial))
        return self.runs_away(trial), is_worse, trial.error

    def ranked(self) -> list[Trial]:
        """Return the trials that came to something, the one to choose first.

        That is the one with the fewest weights of all that are not worse than the best by more
        than chance explains, nor worse than the best linear one. The best of n that are alike
        is better than the others by about sqrt(2 ln n) of its standard errors, by luck, and a
        difference of two has a standard error that is larger by sqrt(2).
        """
        trials = sorted(self.trials.values(), key=self._order)
        trials = [t for t in trials if math.isfinite(t.error)] or trials[:1]
        best, floor = trials[0], self.floor
        if not self.beats_mean(best):
            best = floor = self.mean
        count = sum(not self.runs_away(t) for t in trials)
        luck = max(math.sqrt(math.log(count)), 1.0) if count else 1.0
        alike = [t for t in trials if self._as_good(t, best, luck) and t.error <= floor.error]
        first = min(alike, key=lambda t: (t.weights, t.error), default=best)
        return [first, *(t for t in trials if t is not first)]

    def _as_good(self, trial: Trial, best: Trial, luck: float) -> bool:
        """Return whether chance explains by how much a trial is worse than the best."""
        if trial.judgement is None or best.judgement is None or self.runs_away(trial):
            return trial is best
        return (
            trial.judgement.exceeds(best.judgement) <= luck
            and trial.error <= _ALIKE * best.error
            and trial.judgement.worst <= _PRONE * best.judgement.worst
        )

    def table(self, chosen: Trial) -> pd.DataFrame:
        """Return a row per candidate, the chosen one first, then by error."""
        for trial in self.trials.values():
            found = trial.judgement
            if not trial.verdict and found is not None and self.runs_away(trial):
                runs = found.recorded or found.stressed
                how = "as recorded" if found.recorded else "in another order or beyond"
                trial.verdict = f"runs away from {runs} starts with inputs {how}"
        trials = sorted(self.trials.values(), key=lambda t: (t is not chosen, *self._order(t)))
        return pd.DataFrame([t.row() for t in trials])

    def _round(self, candidates: Iterable[Candidate], seconds: float) -> list[Trial]:
        """Share a time out evenly; what one leaves goes to those after it. The best come first."""
        candidates = list(candidates)
        end = time.perf_counter() + seconds
        done = []
        for i, candidate in enumerate(candidates):
            if time.perf_counter() >= self.deadline:
                break
            left = end - time.perf_counter()
            done.append(self._work_on(candidate, left / (len(candidates) - i)))
        return sorted(done, key=self._order)

    def _work_on(
        self, candidate: Candidate, seconds: float, deadline: float | None = None
    ) -> Trial:
        trial = self.trials.get(candidate.name)
        if trial is None:
            trial = Trial(candidate, self.make_config(candidate), self.splits, self.judge)
            self.trials[candidate.name] = trial
        if not trial.reason:
            trial.go_on(seconds, self.deadline if deadline is None else deadline)
            self.tell(trial.row())
        return trial

    def _explore(self) -> None:
        """Try what is near the best, and go on from what is better, while there is time.

        Where all of that was tried, what is near the next best is.
        """
        while (left := self.deadline - time.perf_counter()) > 0:
            best = self._best
            new = self._untried()
            if not new:
                if best.reason:  # nothing near any is better, and it has ended
                    return
                self._work_on(best.candidate, left)
                continue
            for candidate in new:
                left = self.deadline - time.perf_counter()
                if left <= 0:
                    return
                self._work_on(candidate, min(1.2 * best.seconds, left))
                if self._best is not best:
                    break

    @property
    def _best(self) -> Trial:
        return min(self.trials.values(), key=self._order)

    def _untried(self) -> list[Candidate]:
        """Return what is near one of the best and new."""
        for trial in sorted(self.trials.values(), key=self._order)[:_CENTRES]:
            near = self.candidates.near(trial.candidate)
            if new := [c for c in near if c.name not in self.trials]:
                return new
        return []
