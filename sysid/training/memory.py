"""How much memory a training will need, before anything of it is taken."""

from __future__ import annotations

import torch
from torch import Tensor

from sysid.data.memory import free_memory, gigabytes
from sysid.data.records import Record
from sysid.models import FFN, NARX, Model
from sysid.training.settings import TrainingSettings

# Copies of the weights: gradient, best ones, and two snapshots; more by optimiser.
_COPIES = 5
_STATE = {"sgd": 1, "adam": 2, "adamw": 2}
_CHUNK = 1 << 20  # samples that are unfolded together at most
_PROBE = 16  # samples of the shorter run that is measured


def refuse_too_many_weights(model: Model) -> None:
    """Raise if the weights alone do not fit; the model may be one without memory (``meta``).

    Raises:
        ValueError: with the estimate.
    """
    weights = sum(p.numel() for p in model.parameters())
    needed = 4 * weights * _COPIES
    if needed > (free := free_memory()):
        raise ValueError(
            f"model must fit in memory, got {weights:.3g} weights, which need about "
            f"{gigabytes(needed)} where {gigabytes(free)} are free; make it smaller"
        )


def refuse_too_large(model: Model, records: list[Record], settings: TrainingSettings) -> None:
    """Raise if a training needs more memory than there is.

    Args:
        model: the model, in the type and on the device of the training.
        records: the training records.
        settings: how it is trained.

    Raises:
        ValueError: with the estimate and what most of it is for.
    """
    parts = estimate(model, records, settings)
    free = free_memory()
    if model.device.type == "cuda":
        free = torch.cuda.mem_get_info(model.device)[0]
    total = sum(parts.values())
    if total > free:
        most = max(parts, key=lambda name: parts[name])
        hint = {
            "weights": "make the model smaller",
            "data": "keep the records on disk as memory maps",
            "step": "lower training.batch_size, training.length or training.truncate",
        }[most]
        raise ValueError(
            f"training must fit in memory, got an estimate of {gigabytes(total)} where "
            f"{gigabytes(free)} are free, {gigabytes(parts[most])} of it for the {most}; {hint}"
        )


def estimate(model: Model, records: list[Record], settings: TrainingSettings) -> dict[str, float]:
    """Return the bytes that weights, data and the largest step need.

    What a step keeps for its gradient is measured on two short runs, not computed from the
    model's kind.
    """
    size = torch.finfo(model.dtype).bits // 8
    weights = sum(p.numel() for p in model.parameters())
    channels = model.nu + model.ny
    samples = sum(len(r) for r in records)
    copies: float = _COPIES + _STATE.get(settings.optimiser, 2 * settings.history)
    if settings.optimiser == "lm":
        copies = _COPIES + 3 * weights  # J'J, its factor and a copy
    in_memory = sum(len(r) for r in records if not r.on_disk)
    data = in_memory * channels * size
    loss = settings.loss or model.losses[0]
    together = min(_samples_of_a_step(records, settings, loss), _CHUNK)
    if loss == "one_step":
        width = channels if not isinstance(model, NARX) else _regressors(model)
        data += samples * (width + model.ny) * (8 + size)
    return {
        "weights": size * weights * copies,
        "data": data,
        "step": together * (bytes_per_sample(model, loss) + channels * size),
    }


def _regressors(model: NARX) -> int:
    return model.na * model.ny + (model.nb - model.nk + 1) * model.nu


def _samples_of_a_step(records: list[Record], settings: TrainingSettings, loss: str) -> float:
    longest, total = max(map(len, records)), sum(map(len, records))
    if loss == "one_step":
        return min(settings.batch_size or total, total)
    if loss == "subsequence":
        windows = max(1, total // settings.stride)
        return min(settings.batch_size or windows, windows) * settings.length
    together = min(settings.batch_size or len(records), len(records))
    return together * min(settings.truncate or longest, longest)


def bytes_per_sample(model: Model, loss: str) -> float:
    """Measure what automatic differentiation keeps for each sample of a batch."""
    few, many = (_kept(model, loss, n) for n in (_PROBE, 2 * _PROBE))
    return max(many - few, 0) / _PROBE


def _kept(model: Model, loss: str, samples: int) -> int:
    """Return the bytes that one forward pass over so many samples keeps for the gradient."""
    total = 0
    seen = {p.data_ptr() for p in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        nonlocal total
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            total += tensor.untyped_storage().nbytes()
        return tensor

    with torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        if loss == "one_step" and isinstance(model, (NARX, FFN)):
            width = _regressors(model) if isinstance(model, NARX) else model.nu
            model.core(torch.zeros(samples, width, dtype=model.dtype, device=model.device))
        else:
            length = model.n_memory + samples
            u, y = (
                torch.zeros(1, length, n, dtype=model.dtype, device=model.device)
                for n in (model.nu, model.ny)
            )
            model.unfold(u, y)
    return total
