"""The choice of an optimiser by the size of the work."""

from __future__ import annotations

from sysid.data.records import Record
from sysid.models import Model
from sysid.models.sensitivities import weight_count
from sysid.training.settings import TrainingSettings

_LM_WORK = 3e11  # multiplications of one J'J: some seconds on a laptop
_LBFGS_WORK = 1e11  # samples times weights: as much for one gradient


def choose_optimiser(
    model: Model, records: list[Record], settings: TrainingSettings
) -> tuple[str, str]:
    """Return what ``optimiser: auto`` stands for, and why, in a sentence.

    Levenberg-Marquardt where ``J'J`` is quickly summed, L-BFGS where at least the gradient over
    everything is, and Adam for the rest, and where a setting asks for gradient steps.
    """
    for key in ("batch_size", "truncate", "clip", "learning_rate"):
        if getattr(settings, key) is not None:
            return "adam", f"adam, because {key} is set, which is of gradient steps"
    if settings.schedule != "constant":
        return "adam", f"adam, because schedule is {settings.schedule}, which is of gradient steps"
    if getattr(model, "dropout", 0.0):
        return "adam", "adam, because dropout makes each gradient a random one"
    if any(r.on_disk for r in records):
        return "adam", "adam, because the records are on a disk and are read batch by batch"
    weights, samples = weight_count(model), sum(len(r) for r in records) * model.ny
    size = f"{weights} weights and {samples} samples"
    if model.causal and samples * weights**2 <= _LM_WORK:
        return "lm", f"lm, because with {size} second-order steps are cheap"
    if settings.weight_decay:
        return "adam", f"adam, because weight_decay is set and with {size} J'J is not cheap"
    if samples * weights <= _LBFGS_WORK:
        return "lbfgs", f"lbfgs, because with {size} gradients are cheap and J'J is not"
    return "adam", f"adam, because {size} are too many for steps over everything"
