"""Settling: the chosen model is trained to the end, judged once more, and given up if it fails."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sysid.data.records import Record
from sysid.experiment.config import Config
from sysid.experiment.judging import Judge, Judgement
from sysid.experiment.search import Search, beats, leaves
from sysid.experiment.trial import Trial
from sysid.training.trainer import Trainer

_STARTS = 200  # that a model is judged from before it is delivered
_TRIES = 3  # candidates before the best linear one
_NOISE = 2.0  # standard errors of the choice, beyond which a model is worse than foretold


@dataclass(frozen=True, eq=False)
class Settled:
    """What is delivered: the trial, its config, a trainer at its end, and the last judgement."""

    trial: Trial
    config: Config
    trainer: Trainer
    judgement: Judgement
    warning: str


def settle(
    search: Search,
    records: Sequence[Record],
    n_init: int,
    bounded: bool,
) -> Settled:
    """Return the first of the ranked trials that keeps what the choice foretold.

    It is judged from many starts over all records. If it runs away, or is worse than foretold
    by more than the noise of the choice, the next one is taken: at most three, then the best
    linear one, and then the mean.

    Args:
        search: that has come to its end.
        records: all records, which the model is then trained on where parts were held out in turn.
        n_init: samples that a run starts from.
        bounded: whether the plant stays in its range.

    Raises:
        ValueError: if not even the mean of the outputs can be had of these records.
    """
    judge = Judge([records], records, n_init, bounded, _STARTS)
    reserve = [search.floor, search.mean]
    # These are known first: others may go as far from the range as the linear one does.
    floor, mean = (_finished(search, trial, records, judge) for trial in reserve)
    failed: list[Settled] = []
    for trial in dict.fromkeys([*search.ranked()[:_TRIES], *reserve]):
        if time.perf_counter() > search.deadline and failed and trial not in reserve:
            continue
        done = {reserve[0]: floor, reserve[1]: mean}
        settled = done[trial] if trial in done else _finished(search, trial, records, judge)
        if settled is None:
            continue
        trial.verdict = _fault(settled, floor, mean)
        if not trial.verdict:
            trial.verdict = "delivered"
            return settled
        failed.append(settled)
    raise ValueError(
        f"none of {len(search.trials)} candidates could be trained, not even the mean of the "
        f"outputs: {search.mean.reason or search.mean.verdict}; look at what sysid advice says"
    )


def _finished(
    search: Search, trial: Trial, records: Sequence[Record], judge: Judge
) -> Settled | None:
    """Return a trial at its end and judged on everything; nothing if that fails."""
    try:
        config, trainer = trial.finish(records)
        found = judge.judge([trainer.model])
    except (ValueError, ArithmeticError, MemoryError, RuntimeError) as error:
        trial.verdict = f"failed when it was trained on everything: {error}"
        return None
    return Settled(trial, config, trainer, found, _warning(search, trial))


def _fault(settled: Settled, floor: Settled | None, mean: Settled | None) -> str:
    """Return what speaks against a model that was judged on everything, or nothing."""
    trial, found, foretold = settled.trial, settled.judgement, settled.trial.judgement
    # The best linear model is given up for the mean alone.
    if settled is not floor and leaves(trial, found, None if floor is None else floor.judgement):
        return f"runs away from {found.recorded + found.stressed} of {found.starts} starts"
    if mean is not None and settled is not mean and not beats(found, mean.judgement):
        return f"is no better than the mean on everything (error {found.error:.3g})"
    if floor is None or foretold is None or floor.trial.judgement is None or settled is floor:
        return ""
    # Where all is harder to follow than what was held out, it is so for the linear model, too.
    harder = max(floor.judgement.error / max(floor.trial.error, 1e-12), 1.0)
    limit = harder * (foretold.error + _NOISE * foretold.standard_error)
    if found.error > limit and not trial.candidate.is_mean:
        return f"has an error of {found.error:.3g} on everything, where {limit:.3g} was foretold"
    return ""


def _warning(search: Search, trial: Trial) -> str:
    mean = search.mean
    if search.beats_mean(trial):
        return ""
    return (
        "no candidate is better on what is held out than the mean of the output (free-run error "
        f"{trial.error:.3g} of its standard deviation, the mean {mean.error:.3g}): do not trust "
        "the model; give more records, with more movement in them, or more time"
    )
