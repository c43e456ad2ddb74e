"""Candidates: models and trainings that an automatic search tries, and what is near a good one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sysid.analysis.advice import Suggestion
from sysid.data.records import Record
from sysid.data.slow_outputs import spacing
from sysid.experiment.held_out import SHORT

_ORDERS = (1, 2, 3, 4, 6, 8)  # states of linear models
_LAGS = (2, 5, 10)
_LM_SAMPLES = 400_000  # above, J'J over everything takes longer than it is worth
_PIECES = (100, 20, 5)  # that a record of a plant that integrates is cut into, one after the other
_MOST_UNITS = 200  # of a recurrent network
_WINDOWS = 64  # a step of Adam
_MOST_WINDOWS = 4000  # an epoch of Adam
_ENDLESS = 1e12  # weight decay that leaves nothing but the mean
_TO_NOTHING = 8  # epochs in which it does
_SEEDS = 3  # that a good candidate is tried from
_FEW_STATES = 2
_ROWS = 0.5  # share of complete rows, below which a linear start is not to be had
_PAST = 20  # lags that a linear start of a state space looks at
_HELD, _FAR = 10, 10  # samples at a limit; ranges of an output, beyond which there is none


@dataclass(frozen=True)
class Candidate:
    """A model section and a training section of a config, and the seed of the weights."""

    model: dict[str, Any]
    training: dict[str, Any]
    seed: int = 0

    @property
    def recurrent(self) -> bool:
        """Whether it is a network that has nothing linear in it."""
        return bool(self.model["kind"] in ("gru", "lstm"))

    @property
    def linear(self) -> bool:
        """Whether the model is a linear one; its weights do not depend on the seed."""
        sizes = ("hidden_sizes", "output_hidden_sizes")
        return not self.recurrent and not any(self.model.get(s) for s in sizes)

    @property
    def scheduled(self) -> bool:
        """Whether the learning rate follows a schedule, which has to be run to its end."""
        return bool(self.training.get("schedule", "constant") != "constant")

    @property
    def is_mean(self) -> bool:
        """Whether nothing is left of the model but the mean of each output."""
        return bool(self.training.get("weight_decay") == _ENDLESS)

    @property
    def name(self) -> str:
        """Its family and sizes in a few words."""
        if self.is_mean:
            return "mean"
        model = self.model
        sizes = {
            "state_space": ("nx",),
            "narx": ("na", "nb", "nk"),
        }.get(model["kind"], ("hidden_size",))
        words = [model["kind"], *(f"{s}={model[s]}" for s in sizes if model.get(s))]
        if model.get("integrating"):
            words.append("integrating")
        if "hidden_sizes" in model:
            words.append(_size("hidden", model["hidden_sizes"]))
        if model.get("output_hidden_sizes") is not None and not model.get("integrating"):
            words.append(_size("output", model["output_hidden_sizes"]))
        if decay := self.training.get("weight_decay"):
            words.append(f"decay={decay:g}")
        if self.training.get("horizons") == []:
            words.append("at once")
        if self.seed:
            words.append(f"seed={self.seed}")
        return " ".join(words)


def _size(name: str, sizes: Sequence[int]) -> str:
    if sizes:
        return f"{name}={'x'.join(map(str, sizes))}"
    return "linear" if name == "hidden" else f"linear {name}"


class Candidates:
    """What is tried for some records, from simple to rich.

    Args:
        records: the training part.
        suggestion: orders and windows by advice on them; ``None`` where the data allow none.
        n_init: samples that a simulation may start from.
        integrates: whether the plant does. Then models with exact sums are tried as well. They
            see inputs act linearly, as forces and flows do, learn in pieces that get longer, and
            start as a simulation does, since a wrong start stays.
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
        # Steps of a free run in which a slow output is measured a few times.
        widest = max(float(spacing(r.y).max()) for r in records)
        self.fewest = 1 if widest <= 1 else min(3 * widest, self.longest)
        self.nu, self.ny = records[0].nu, records[0].ny
        self.suggestion = suggestion
        self.n_init, self.integrates = n_init, integrates
        self.limits = _limits(records, clipped)
        complete = sum(int(r.complete().sum()) for r in records)
        # Of what is trained on, with some to spare.
        coefficients = _PAST * (self.nu + self.ny)
        self.gappy = complete < max(_ROWS * self.samples, 2 * coefficients)

    def mean(self) -> Candidate:
        """Return the mean of each output as a model, which nothing may be worse than."""
        training = {"loss": "one_step", "optimiser": "lm", "weight_decay": _ENDLESS}
        training["max_epochs"] = _TO_NOTHING
        if self.nu:
            return Candidate({"kind": "ffn", "hidden_sizes": []}, training)
        model = {"kind": "narx", "na": 1, "nb": 0, "hidden_sizes": [], "linear": False}
        return Candidate(model, training)

    def linear(self) -> Iterator[Candidate]:
        """Yield linear models of several orders: what each nonlinear one has to beat."""
        if self._sums:
            for order in self._integrating_orders:
                yield self._integrating(order, ())
        for order in _ORDERS:
            if self.nu and order <= self.longest // 20:
                yield self._state_space(order, ())
        for order in self._lags():
            yield self._narx(order, ())
        if self.nu:
            training = {"loss": "one_step", "optimiser": "lm"}
            yield Candidate({"kind": "ffn", "hidden_sizes": []}, training)

    def nonlinear(self, ranked: list[Candidate]) -> Iterator[Candidate]:
        """Yield networks of the orders of the best linear models, given the best first."""
        states = [c.model for c in ranked if c.model["kind"] == "state_space"]
        orders = [m["nx"] for m in states if not m.get("integrating")][:2]
        if self._sums:  # friction looks like more states to a linear model
            for order in self._integrating_orders[:2]:
                for hidden in (2, 4):
                    yield self._integrating(order, (hidden,))
            orders = orders[:1]
        if self.samples < SHORT and orders:  # few samples: few states, and weights that decay
            yield self._state_space(_FEW_STATES, (4,), decay=1e-3)
            orders = sorted({_FEW_STATES, *orders})
        for order in orders:
            for hidden in (4, 12):
                yield self._state_space(order, (hidden,))
        for order in orders[:1]:
            yield self._state_space(order, (), (8,))  # a curve behind a linear system
            yield self._state_space(order, (8,), ())  # and before it
        if self.nu:
            yield self._static()
        for order in self._lags()[:2]:
            for hidden in (6, 20):
                yield self._narx(order, (hidden,))

    def recurrent(self) -> Iterator[Candidate]:
        """Yield a recurrent network that learns on windows, by Adam."""
        if (gru := self._gru("gru", 48)) is not None:
            yield gru

    def near(self, best: Candidate) -> Iterator[Candidate]:
        """Yield changes of one thing in a good candidate."""
        model, training = best.model, best.training
        if best.is_mean:
            return
        if best.recurrent:
            other = "lstm" if model["kind"] == "gru" else "gru"
            for other_cell in (
                {"hidden_size": model["hidden_size"] * 2},
                {"kind": other},
                {"hidden_size": max(model["hidden_size"] // 2, 4)},
            ):
                if (model | other_cell)["hidden_size"] <= _MOST_UNITS:
                    yield Candidate(model | other_cell, training, best.seed)
        for sizes in ("hidden_sizes", "output_hidden_sizes"):
            for factor in (1.6, 1 / 1.6) if model.get(sizes) else ():
                other_sizes = [max(round(factor * hidden), 2) for hidden in model[sizes]]
                yield Candidate(model | {sizes: other_sizes}, training, best.seed)
        order = "nx" if "nx" in model else "na" if "na" in model else ""
        if order:
            least = self._integrating_orders[0] if model.get("integrating") else 1
            for change in (1, -1):
                value = model[order] + change
                if value >= least:
                    both: dict[str, Any] = {order: value}
                    if order == "na" and self.nu:
                        both["nb"] = model["nb"] + change
                    yield Candidate(model | both, training, best.seed)
        if training.get("horizons"):
            # What they led to may be a worse valley than that of the linear start.
            at_once = {k: v for k, v in training.items() if k != "horizon_epochs"}
            yield Candidate(model, at_once | {"horizons": []}, best.seed)
        if training.get("optimiser") == "lm" and not model.get("integrating"):
            decay = training.get("weight_decay", 0.0)
            for value in (1e-3, 1e-4) if not decay else (decay / 10, 0.0):
                yield Candidate(model, training | {"weight_decay": value}, best.seed)
        if not best.linear:
            for seed in range(best.seed + 1, best.seed + _SEEDS):
                yield Candidate(model, training, seed)

    @property
    def _sums(self) -> bool:
        return self.integrates and self.nu > 0

    @property
    def _integrating_orders(self) -> Sequence[int]:
        """States of models with sums, on which something must act."""
        return range(self.ny + 1, self.ny + 4)

    def _lags(self) -> list[int]:
        orders = set(_LAGS)
        if self.suggestion is not None:
            orders.add(min(max(self.suggestion.na, 1), 12))
        # Each lag of each channel is a weight, of which a record must tell several times as many.
        most = self.samples // (5 * (self.nu + self.ny))
        return sorted(o for o in orders if o <= min(max(self.longest // 20, 1), most)) or [1]

    def _state_space(
        self,
        nx: int,
        hidden: tuple[int, ...],
        output: tuple[int, ...] | None = None,
        decay: float = 0.0,
    ) -> Candidate:
        model: dict[str, Any] = {"kind": "state_space", "nx": nx, "hidden_sizes": list(hidden)}
        model["stable"] = True
        training = self._second_order()
        if output is not None:
            model["output_hidden_sizes"] = list(output)
        if decay:
            training["weight_decay"] = decay
        if self.gappy:
            training["linear_start"] = False
        if self.limits:
            model["output_limits"] = self.limits
        return Candidate(model, training)

    def _integrating(self, nx: int, hidden: tuple[int, ...]) -> Candidate:
        found = self._state_space(nx, hidden, ())
        model = found.model | {"integrating": True, "linear_input": True, "feedthrough": False}
        training = dict(found.training)
        if self.n_init:
            training["state_samples"] = self.n_init
        if self.longest >= 2 * _PIECES[0]:
            pieces = [self.longest // share for share in _PIECES]
            training |= {"horizons": pieces, "horizon_epochs": 15 if hidden else 5}
        return Candidate(model, training)

    def _static(self) -> Candidate:
        """Return a network without memory; in two layers it learns products of inputs better."""
        model = {"kind": "ffn", "hidden_sizes": [8, 8], "activation": "tanh"}
        training = {"loss": "one_step", "optimiser": self._second_order()["optimiser"]}
        return Candidate(model, training)

    def _narx(self, order: int, hidden: tuple[int, ...]) -> Candidate:
        first, last = self._delays()
        model: dict[str, Any] = {
            "kind": "narx",
            "na": order,
            "nb": last + order if self.nu else 0,
            "nk": first,
        }
        growing = [h for h in (1, 10, 100) if self.fewest <= h <= self.longest // 10]
        horizons: dict[str, Any] = {}
        if growing:
            horizons = {"horizons": growing, "horizon_epochs": 6 if hidden else 3}
        model |= {"hidden_sizes": list(hidden), "stable": bool(hidden)}
        return Candidate(model, self._second_order() | horizons)

    def _delays(self) -> tuple[int, int]:
        """Return the shortest and the longest delay of the inputs, in samples."""
        if self.suggestion is None or not self.nu:
            return 0, 0
        delays = self.suggestion.delays.values() or [self.suggestion.nk]
        most = self.longest // 8  # a start needs as many samples of each held-out part
        return min(self.suggestion.nk, most), min(max(delays), most)

    def _second_order(self) -> dict[str, Any]:
        optimiser = "lm" if self.samples <= _LM_SAMPLES else "lbfgs"
        return {"loss": "full_sequence", "optimiser": optimiser}

    def _gru(self, kind: str, size: int) -> Candidate | None:
        """Return a recurrent network that starts from measured samples, on windows."""
        if not self.nu:
            return None
        start = max(self.n_init, 1)
        suggested = self.suggestion.length if self.suggestion else 200
        length = min(max(suggested, 3 * start, 100), self.longest // 4, 400)
        if length < 3 * start:
            length = min(3 * start, self.longest // 2)
        if length <= start + 5 or self.samples < 4 * length:
            return None
        training = {
            "loss": "subsequence",
            "length": length,
            "stride": max(self.samples // _MOST_WINDOWS, length // 20, 1),
            "batch_size": _WINDOWS,
            "optimiser": "adam",
            "learning_rate": 6e-3,
            "schedule": "one_cycle",
            "clip": 1.0,
        }
        return Candidate(
            {"kind": kind, "hidden_size": size, "initial_state": "encoder", "n_init": start},
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
