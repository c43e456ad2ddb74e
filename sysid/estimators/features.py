"""NARXFeatures: NARX regressors as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from sysid.data.records import Array, Record
from sysid.data.regressors import Orders, narx_regressors, regressor_names
from sysid.models.model import check_choice


class NARXFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turns samples into rows of past outputs and inputs, so that any regressor is a NARX.

    Row ``k`` is ``phi(k)`` of ``sysid.narx_regressors``: with ``y`` as the target, what follows
    predicts one step ahead. There are as many rows as samples.

    Args:
        na: largest output lag.
        nb: largest input lag.
        nk: smallest input lag.
        y: the columns of ``X`` that are outputs, by name or position; the last one by default.
            All others are inputs.
        start: what lags before the first sample are: ``nan``, or ``hold`` for the first sample.
    """

    def __init__(
        self,
        na: int = 2,
        nb: int = 2,
        nk: int = 0,
        y: Sequence[str | int] | None = None,
        start: str = "nan",
    ) -> None:
        self.na, self.nb, self.nk = na, nb, nk
        self.y = y
        self.start = start

    def fit(self, X: Any, y: Any = None) -> NARXFeatures:
        """Find the columns; nothing is learned from the values, or from ``y``."""
        check_choice("start", self.start, ("nan", "hold"))
        Orders(self.na, self.nb, self.nk)
        values = validate_data(self, X, dtype=np.float64)
        width = values.shape[1]
        names = list(getattr(self, "feature_names_in_", [f"x{i}" for i in range(width)]))
        chosen = [width - 1] if self.y is None else list(self.y)
        outputs = []
        for key in chosen:
            position = names.index(key) if isinstance(key, str) and key in names else key
            if isinstance(position, str) or not -width <= position < width:
                raise ValueError(
                    f"y must name columns of X, got {key!r}; there are {width}: {names}"
                )
            outputs.append(position % width)
        self.outputs_: NDArray[np.intp] = np.array(outputs, dtype=np.intp)
        self.inputs_: NDArray[np.intp] = np.setdiff1d(np.arange(width), self.outputs_)
        u_names = [str(names[i]) for i in self.inputs_]
        y_names = [str(names[i]) for i in self.outputs_]
        self.names_ = regressor_names(self.na, self.nb, self.nk, u_names, y_names)
        if not self.names_:
            raise ValueError("na must be at least 1 where X has no inputs, got 0")
        return self

    def transform(self, X: Any) -> Array:
        """Return ``(N, regressors)``, a row per sample."""
        check_is_fitted(self, "outputs_")
        values = validate_data(self, X, dtype=np.float64, reset=False)
        lag = Orders(self.na, self.nb, self.nk).max_lag
        # Rows before the first sample, found out by themselves and then said to be missing.
        extended = np.concatenate([np.repeat(values[:1], lag, axis=0), values])
        u = extended[:, self.inputs_] if len(self.inputs_) else None
        phi, _ = narx_regressors(Record(u, extended[:, self.outputs_]), self.na, self.nb, self.nk)
        if self.start == "nan":
            lags = [
                *np.repeat(np.arange(1, self.na + 1), len(self.outputs_)),
                *np.repeat(np.arange(self.nk, self.nb + 1), len(self.inputs_)),
            ]
            phi[np.arange(len(phi))[:, None] < np.array(lags)] = np.nan
        return phi

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return the names of the regressors, ``y1(k-1)`` and so on."""
        check_is_fitted(self, "outputs_")
        return np.array(self.names_, dtype=object)
