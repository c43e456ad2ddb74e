"""Ensemble: the mean of several trained models, which errs less than most of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sysid.data.records import Array, Record
from sysid.models.model import Carried, Model
from sysid.models.sensitivities import Block
from sysid.models.stability import Boundedness


class Ensemble(Model):
    """The mean of what several models of the same channels simulate or predict.

        y_hat(k) = 1/M sum_i y_hat_i(k)

    Each member starts as it does by itself, so with an estimated initial state each finds its
    own. An ensemble is not trained as such: its members are, ``combine: mean`` makes one of the
    ``starts`` of a training.

    Args:
        nu: number of inputs.
        ny: number of outputs.
        members: kind and arguments of each member.

    Raises:
        ValueError: if there is none, or one of a kind that is not trained.

    Example:
        >>> import sysid
        >>> record = sysid.generate("linear", 100)
        >>> models = [sysid.NARX(nu=1, ny=1, na=1, nb=1, hidden_sizes=(n,)) for n in (2, 3)]
        >>> results = [sysid.fit(model, record, max_epochs=2) for model in models]
        >>> ensemble = sysid.Ensemble.of(models)
        >>> both = (models[0].simulate(record) + models[1].simulate(record)) / 2
        >>> bool((ensemble.simulate(record) == both).all())
        True

    Source: L. K. Hansen and P. Salamon, "Neural network ensembles", IEEE Trans. Pattern Analysis
    and Machine Intelligence 12(10), 1990.
    """

    kind: ClassVar[str] = "ensemble"
    losses: ClassVar[tuple[str, ...]] = ()

    def __init__(self, nu: int, ny: int, members: Sequence[dict[str, Any]]) -> None:
        from sysid.models import MODELS

        super().__init__(nu, ny)
        if not members:
            raise ValueError("members must hold at least one model, got none")
        self.members = [dict(m) for m in members]
        self.models = nn.ModuleList()
        for member in self.members:
            arguments = dict(member)
            kind = arguments.pop("kind", None)
            if kind not in MODELS:
                raise ValueError(f"members must be of {', '.join(MODELS)}, got {kind!r}")
            self.models.append(MODELS[kind](**arguments))

    @classmethod
    def of(cls, models: Sequence[Model]) -> Ensemble:
        """Return the ensemble of trained models, which share their channels.

        Args:
            models: the members, copied.

        Raises:
            ValueError: if there is none.
        """
        if not models:
            raise ValueError("models must hold at least one model, got none")
        first = models[0]
        out = cls(first.nu, first.ny, [{"kind": m.kind, **m.arguments} for m in models])
        out.to(device=first.device, dtype=first.dtype)
        for own, model in zip(out._all, models, strict=True):
            own.take(model)
        out.scaling.load_state_dict(first.scaling.state_dict())
        out.describe_as(first)
        return out.eval()

    @property
    def _all(self) -> list[Model]:
        return [m for m in self.models if isinstance(m, Model)]

    def describe_as(self, other: Model) -> None:
        """Take the description of another model, for the members too."""
        super().describe_as(other)
        for model in self._all:
            model.describe_as(other)

    @property
    def bounded(self) -> Boundedness:
        """As the member of which least is known."""
        order = ("unknown", "linear", "bounded")
        found = min((m.bounded for m in self._all), key=lambda b: order.index(b.growth))
        every = all(m.bounded.by_construction for m in self._all)
        return Boundedness(found.growth, every, f"of its members, {found.reason}")

    @property
    def causal(self) -> bool:
        """Whether all members are."""
        return all(m.causal for m in self._all)

    @property
    def n_memory(self) -> int:
        """The longest of the members'."""
        return max(m.n_memory for m in self._all)

    @property
    def output_error(self) -> bool:
        """Whether all members are output-error models."""
        return all(m.output_error for m in self._all)

    @property
    def starts_from_y(self) -> bool:
        """Whether any member does."""
        return any(m.starts_from_y for m in self._all)

    def forward(self, u: Tensor) -> Tensor:
        """Return the mean output of a batch of sequences from the members' own initial states.

        Args:
            u: ``(batch, time, nu)``, in physical units.

        Returns:
            ``(batch, time, ny)``.

        Raises:
            ValueError: if a member starts from measured outputs, which are not given here.
        """
        if self.n_memory:
            raise ValueError("members must need no measured outputs for forward; use simulate")
        outputs = []
        for model in self._all:
            out = model(u)
            outputs.append(out[0] if isinstance(out, tuple) else out)
        return torch.stack(outputs).mean(dim=0)

    def simulate(self, record: Record) -> Array:
        """Return the mean of the members' free runs, as ``Model.simulate``."""
        whole = record
        if record.n_init == 0 and self.n_memory:  # all start where the last one can
            whole = record.replace(n_init=self.n_memory)
        return _mean([m.simulate(whole) for m in self._all])

    def predict(self, record: Record, horizon: int = 1) -> Array:
        """Return the mean of the members' predictions, as ``Model.predict``."""
        return _mean([m.predict(record, horizon) for m in self._all])

    def unfold(
        self, u: Tensor, y: Tensor, washout: int = 0, carried: Carried | None = None
    ) -> tuple[Tensor, Carried]:
        """Refuse: members are trained one by one."""
        raise ValueError("model must be a single network to be trained, got an ensemble")

    def window_sensitivities(
        self,
        u: Tensor,
        y: Tensor,
        block: int = 2000,
        with_state: bool = False,
        state: Tensor | None = None,
        washout: int = 0,
    ) -> Iterator[Block]:
        """Refuse: members are trained one by one."""
        raise ValueError("model must be a single network to be trained, got an ensemble")

    def _simulate(self, u: Tensor, y: Tensor | None, n_init: int) -> Tensor:
        raise NotImplementedError("an ensemble simulates in physical units")

    def example_input(self) -> Tensor:
        """Return a batch of two windows."""
        return torch.zeros(2, 5, self.nu)


def _mean(outputs: list[Array]) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):
        out: Array = np.mean(outputs, axis=0)
    return out
