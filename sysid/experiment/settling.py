"""Settling: the chosen model is trained to the end, judged once more, and given up if it fails."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sysid.data.records import Record
from sysid.experiment.config import Config
from sysid.experiment.judging import Judge, Judgement
from sysid.experiment.search import Search
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
    """
    judge = Judge([records], records, n_init, bounded, _STARTS)
    ranked, reserve = search.ranked(), [search.floor, search.mean]
    failed: list[Settled] = []
    for trial in dict.fromkeys([*ranked[:_TRIES], *reserve]):
        late = time.perf_counter() > search.deadline
        if late and failed and trial not in reserve:
            continue
        try:
            config, trainer = trial.finish(records)
            found = judge.judge([trainer.model])
        except (ValueError, ArithmeticError, MemoryError, RuntimeError) as error:
            trial.verdict = f"failed when it was trained on everything: {error}"
            continue
        settled = Settled(trial, config, trainer, found, _warning(search, trial))
        trial.verdict = _fault(search, trial, found)
        if not trial.verdict:
            trial.verdict = "delivered"
            return settled
        failed.append(settled)
    least = min(failed, key=lambda s: (search.leaves(s.judgement), s.judgement.error))
    least.trial.verdict = f"delivered, though it {least.trial.verdict}"
    return least


def _fault(search: Search, trial: Trial, found: Judgement) -> str:
    """Return what speaks against a model that was judged on everything, or nothing."""
    if search.leaves(found):
        return f"runs away from {found.recorded + found.stressed} of {found.starts} starts"
    foretold = trial.judgement
    if foretold is None:
        return "came to nothing"
    limit = foretold.error + _NOISE * foretold.standard_error
    if found.error > limit and not trial.candidate.is_mean:
        return f"has an error of {found.error:.3g} on everything, where {limit:.3g} was foretold"
    return ""


def _warning(search: Search, trial: Trial) -> str:
    mean = search.mean
    if trial.error < mean.error and not trial.candidate.is_mean:
        return ""
    return (
        "no candidate is better on what is held out than the mean of the output (free-run error "
        f"{trial.error:.3g} of its standard deviation, the mean {mean.error:.3g}): do not trust "
        "the model; give more records, with more movement in them, or more time"
    )
