"""Candidates: models and trainings that an automatic search tries, and what is near a good one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sysid.analysis.advice import Suggestion
from sysid.data.records import Record

_ORDERS = (1, 2, 3, 4, 6, 8)
_LM_SAMPLES = 400_000  # above, J'J over everything takes longer than it is worth
_PIECES = (100, 20, 5)  # that a record of a plant that integrates is cut into, one after the other
_WINDOWS = 64  # a step of Adam
SHORT = 2000  # samples, of which fewer are few
DRAWS = 3  # seeds that a good candidate is tried from
_FEW_STATES = 2
_HELD, _FAR = 10, 10  # samples at a limit; ranges of an output, beyond which there is none


@dataclass(frozen=True)
class Candidate:
    """A model section and a training section of a config, and the seed of the weights."""

    model: dict[str, Any]
    training: dict[str, Any]
    seed: int = 0

    @property
    def drawn(self) -> bool:
        """Whether its weights depend on the seed; a linear start has nothing random."""
        return self.model["kind"] == "gru" or bool(self.model["hidden_sizes"])

    @property
    def name(self) -> str:
        """Its family and sizes in a few words."""
        model = self.model
        hidden = model.get("hidden_sizes", ())
        sizes = {
            "state_space": ("nx",),
            "narx": ("na", "nb", "nk"),
        }.get(model["kind"], ("hidden_size",))
        words = [model["kind"], *(f"{s}={model[s]}" for s in sizes if model.get(s))]
        if "hidden_sizes" in model:
            words.append(f"hidden={'x'.join(map(str, hidden))}" if hidden else "linear")
        if "activation" in model:
            words.append(model["activation"])
        if decay := self.training.get("weight_decay"):
            words.append(f"decay={decay:g}")
        if self.training.get("horizons") == []:
            words.append("at once")
        if self.seed:
            words.append(f"seed={self.seed}")
        return " ".join(words)


class Candidates:
    """What is tried for some records, from simple to rich.

    Args:
        records: the training part.
        suggestion: orders and windows by advice on them; ``None`` where the data allow none.
        n_init: samples that a simulation may start from.
        integrates: whether the plant does. Then a free run is learned in pieces that get longer,
            and models integrate as well, see inputs act linearly, as forces and flows do, and
            start as a simulation does: a wrong start stays. No other kind is tried: one without
            sums drifts, and of many some drift the right way by luck.
        clipped: channels that stand at their limits; outputs among them stop there.
    """

    def __init__(
        self,
        records: list[Record],
        suggestion: Suggestion | None,
        n_init: int,
        integrates: bool = False,
        clipped: Sequence[str] = (),
    ) -> None:
        self.samples = sum(len(r) for r in records)
        self.longest = max(len(r) for r in records)
        self.nu, self.ny = records[0].nu, records[0].ny
        self.suggestion = suggestion
        self.n_init, self.integrates = n_init, integrates
        self.limits = _limits(records, clipped)

    def linear(self) -> Iterator[Candidate]:
        """Yield linear models of several orders: what each nonlinear one has to beat."""
        for order in self._orders:
            if self.nu and order <= self.longest // 20:
                yield self._state_space(order, ())
        for order in self._lags():
            if not self._sums:
                yield self._narx(order, ())

    def nonlinear(self, ranked: list[Candidate]) -> Iterator[Candidate]:
        """Yield networks of the orders of the best linear models, given the best first."""
        orders = [c.model["nx"] for c in ranked if c.model["kind"] == "state_space"][:2]
        if self._sums:  # friction looks like more states to a linear model
            for order, hidden in itertools.product(self._orders[:2], (2, 4)):
                yield self._state_space(order, (hidden,))
            return
        if self.samples < SHORT and orders:  # few samples: few states, and weights that decay
            yield self._state_space(_FEW_STATES, (4,), "softplus", 1e-3)
            orders = sorted({_FEW_STATES, *orders})
        for order in orders:
            for hidden in (4, 12):
                yield self._state_space(order, (hidden,))
        if self.nu:
            yield self._static()
        for order in self._lags():
            for hidden in (3, 6, 20):  # of sinh neurons a free run may explode where data are few
                yield self._narx(order, (hidden,))
        if (gru := self._gru()) is not None:
            yield gru

    def near(self, best: Candidate) -> Iterator[Candidate]:
        """Yield changes of one thing in a good candidate."""
        model, training = best.model, best.training
        if model["kind"] == "gru":
            for size in (model["hidden_size"] * 2, max(model["hidden_size"] // 2, 4)):
                yield Candidate(model | {"hidden_size": size}, training, best.seed)
        elif model["hidden_sizes"]:
            for factor in (1.6, 1 / 1.6):
                sizes = [max(round(factor * hidden), 2) for hidden in model["hidden_sizes"]]
                yield Candidate(model | {"hidden_sizes": sizes}, training, best.seed)
        if model["kind"] == "state_space" and model["hidden_sizes"] and "activation" not in model:
            yield Candidate(model | {"activation": "softplus"}, training, best.seed)
        order = "nx" if "nx" in model else "na" if "na" in model else ""
        if order:
            for change in (1, -1):
                value = model[order] + change
                if value >= (self._orders[0] if order == "nx" else 1):
                    both = {"nb": model["nb"] + change} if order == "na" and self.nu else {}
                    yield Candidate(model | {order: value} | both, training, best.seed)
        if training.get("horizons"):
            # What they led to may be a worse valley than that of the linear start.
            at_once = {k: v for k, v in training.items() if k != "horizon_epochs"}
            yield Candidate(model, at_once | {"horizons": []}, best.seed)
        if training.get("optimiser") == "lm" and not model.get("integrating"):
            decay = training.get("weight_decay", 0.0)
            for value in (1e-3, 1e-4) if not decay else (decay / 10, 0.0):
                yield Candidate(model, training | {"weight_decay": value}, best.seed)
        if best.drawn:
            for seed in range(best.seed + 1, best.seed + DRAWS):
                yield Candidate(model, training, seed)

    @property
    def _sums(self) -> bool:
        return self.integrates and self.nu > 0

    @property
    def _orders(self) -> Sequence[int]:
        """States of linear models; where there are sums, something must act on them."""
        return range(self.ny + 1, self.ny + 4) if self._sums else _ORDERS

    def _lags(self) -> list[int]:
        orders = {2, 5}
        if self.suggestion is not None:
            orders.add(min(max(self.suggestion.na, 1), 12))
        return sorted(o for o in orders if o <= max(self.longest // 20, 1))

    def _state_space(
        self, nx: int, hidden: tuple[int, ...], activation: str = "", decay: float = 0.0
    ) -> Candidate:
        model: dict[str, Any] = {"kind": "state_space", "nx": nx, "hidden_sizes": list(hidden)}
        training = self._second_order()
        if activation:
            model["activation"] = activation
        if decay:
            training["weight_decay"] = decay
        if self.limits:
            model["output_limits"] = self.limits
        if self._sums:
            model |= {"integrating": True, "linear_input": True}
            model |= {"feedthrough": False, "output_hidden_sizes": []}
            if self.n_init:
                training["state_samples"] = self.n_init
        if self._sums and self.longest >= 2 * _PIECES[0]:
            pieces = [self.longest // share for share in _PIECES]
            training |= {"horizons": pieces, "horizon_epochs": 15 if hidden else 5}
        return Candidate(model, training)

    def _static(self) -> Candidate:
        """Return a network without memory; in two layers it learns products of inputs better."""
        model = {"kind": "ffn", "hidden_sizes": [8, 8], "activation": "tanh"}
        training = {"loss": "one_step", "optimiser": self._second_order()["optimiser"]}
        return Candidate(model, training)

    def _narx(self, order: int, hidden: tuple[int, ...]) -> Candidate:
        nk = min(self.suggestion.nk if self.suggestion else 0, 5) if self.nu else 0
        model = {"kind": "narx", "na": order, "nb": nk + order if self.nu else 0, "nk": nk}
        growing = [h for h in (1, 10, 100) if 10 * h <= self.longest]
        horizons = {"horizons": growing, "horizon_epochs": 6 if hidden else 3}
        return Candidate(model | {"hidden_sizes": list(hidden)}, self._second_order() | horizons)

    def _second_order(self) -> dict[str, Any]:
        optimiser = "lm" if self.samples <= _LM_SAMPLES else "lbfgs"
        return {"loss": "full_sequence", "optimiser": optimiser}

    def _gru(self) -> Candidate | None:
        """Return a recurrent network that starts from measured samples, on windows."""
        if self.suggestion is None or not self.nu:
            return None
        start = max(self.n_init, 1)
        length = max(self.suggestion.length, 3 * start)
        if self.samples < 20 * length or length > self.longest:
            return None
        training = {
            "loss": "subsequence",
            "length": length,
            "stride": max(length // 10, 1),
            "batch_size": _WINDOWS,
            "optimiser": "adam",
            "learning_rate": 4e-3,
            "clip": 1.0,
        }
        return Candidate(
            {"kind": "gru", "hidden_size": 24, "initial_state": "encoder", "n_init": start},
            training,
        )


def _limits(records: list[Record], clipped: Sequence[str]) -> list[list[float]]:
    """Return least and largest value of each output, far away where none holds; or nothing."""
    names = records[0].y_names
    if not set(names) & set(clipped):
        return []
    out = []
    for i, name in enumerate(names):
        y = np.concatenate([r.y[:, i] for r in records])
        low, high = float(np.nanmin(y)), float(np.nanmax(y))
        far = _FAR * (high - low)
        held = [name in clipped and (y == end).sum() >= _HELD for end in (low, high)]
        out.append([low if held[0] else low - far, high if held[1] else high + far])
    return out
