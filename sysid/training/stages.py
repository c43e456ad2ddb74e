"""Stages: what a training goes through, from short horizons to the loss itself."""

from __future__ import annotations

from sysid.data.records import Record
from sysid.models import Model
from sysid.training.full_sequence import FullSequence
from sysid.training.losses import Loss, OneStep, Subsequence
from sysid.training.settings import TrainingSettings

LOSSES: dict[str, type[OneStep] | type[Subsequence] | type[FullSequence]] = {
    "one_step": OneStep,
    "subsequence": Subsequence,
    "full_sequence": FullSequence,
}


def make_loss(model: Model, records: list[Record], settings: TrainingSettings) -> Loss:
    """Return the loss that the settings name, or the model's usual one."""
    return LOSSES[settings.loss or model.losses[0]](model, records, settings)


def training_stages(model: Model, settings: TrainingSettings) -> list[TrainingSettings]:
    """Return the settings of each stage: one for each of ``horizons``, then the loss itself.

    In a stage of horizon ``h`` the loss scores ``h`` steps of free run from measured samples, in
    windows that do not overlap in what they score; where outputs are fed back and nothing has to
    wash out, one step is the one-step loss. A model whose initial state is estimated goes through
    pieces of ``h`` samples, each from a state of its own. A free run that would explode at first
    is so learned step by step, from weights that already predict.
    """
    first = max(settings.washout, model.n_memory)
    seconds = None
    if settings.seconds is not None and settings.horizons:
        seconds = settings.seconds / 2 / len(settings.horizons)
    out = []
    pieces = model.estimates_state and first == 0
    for horizon in settings.horizons:
        one_step = horizon == 1 and "one_step" in model.losses
        out.append(
            settings.model_copy(
                update=(
                    {"loss": "full_sequence", "restart": max(horizon, 2), "state_samples": None}
                    if pieces
                    else {
                        "loss": "one_step" if one_step else "subsequence",
                        "length": first + horizon,
                        "stride": horizon,
                        "restart": None,
                    }
                )
                | {"truncate": None, "max_epochs": settings.horizon_epochs, "seconds": seconds}
            )
        )
    return [*out, settings]
