"""Regressors of scikit-learn's kind, one for each model with a fixed recipe of inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from sysid.data.fields import far_more_channels
from sysid.data.records import Array, Record, as_records
from sysid.data.splitting import split_time
from sysid.models import FFN, GRU, LSTM, NARX, RNN, Model
from sysid.training.fit import fit


@dataclass(kw_only=True, eq=False, repr=False)
class _Regressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """What all regressors share: how they are trained and how they are used.

    Args:
        loss: what is unfolded; as for ``sysid.fit``.
        length: samples of a training window; ``None``: 100, or the longest record if shorter.
        stride: samples between window starts.
        washout: samples at the start of a window that the loss skips.
        batch_size: windows or rows a step; ``None``: all at once.
        optimiser: ``sgd``, ``adam``, ``adamw`` or ``lbfgs``.
        learning_rate: step size; ``None``: the optimiser's default.
        schedule: of the step size.
        clip: largest norm of the gradient.
        max_epochs: passes over the data.
        patience: epochs without a better validation before stopping.
        validation_fraction: share at the end of the data, after a gap, by whose free run the
            best weights are chosen; 0: by the training loss.
        dtype: ``float32`` or ``float64``; ``None``: the optimiser's default.
        device: ``auto``, ``cpu`` or ``cuda``.
        random_state: of the weights' start and the batches' order.
    """

    loss: str | None = None
    length: int | None = None
    stride: int = 1
    washout: int = 0
    batch_size: int | None = None
    optimiser: str = "adam"
    learning_rate: float | None = 1e-2
    schedule: str = "constant"
    clip: float | None = None
    max_epochs: int = 200
    patience: int | None = None
    validation_fraction: float = 0.0
    dtype: str | None = None
    device: str = "cpu"
    random_state: Any = None

    _model: ClassVar[type[Model]]

    def fit(self, X: Any, y: Any = None) -> _Regressor:
        """Train a model.

        Args:
            X: inputs, ``(N, nu)`` array or DataFrame, one row a sample in the order of time; or
                records, whose outputs are the targets.
            y: outputs, ``(N,)`` or ``(N, ny)``; left out where ``X`` is records.

        Returns:
            The estimator: ``model_``, ``history_``, ``best_epoch_`` and ``stopped_because_``.
        """
        records = self._records(X, y)
        first = records[0]
        seed = int(check_random_state(self.random_state).randint(2**31))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self._build(first.nu, first.ny)
        settings: dict[str, Any] = {
            f.name: getattr(self, f.name)
            for f in fields(_Regressor)
            if f.name not in ("random_state", "validation_fraction", "length")
        }
        if self.length is not None or (self.loss or model.losses[0]) == "subsequence":
            longest = max(len(r) for r in records)
            settings["length"] = min(100, longest) if self.length is None else self.length
        valid = None
        if self.validation_fraction:
            gap = max(settings.get("length", 0), model.n_memory, self.washout)
            records, valid = split_time(records, self.validation_fraction, gap)
        result = fit(model, records, valid, progress=False, seed=seed, **settings)
        self.model_ = result.model
        self.history_ = result.history
        self.best_epoch_ = result.best_epoch
        self.stopped_because_ = result.stopped_because
        return self

    def predict(self, X: Any, y: Any = None) -> Any:
        """Predict one step ahead from measured outputs, or simulate where there are none.

        Args:
            X: inputs as for ``fit``, or records.
            y: measured outputs of the same samples; ``None``: a free run from the mean output.

        Returns:
            Outputs in the shape of ``fit``'s ``y``, or a list of ``(N, ny)`` for records. With
            measured outputs, rows without enough history are NaN.
        """
        check_is_fitted(self, "model_")
        if _are_records(X):
            return [self.model_.predict(r) for r in as_records(X)]
        u = self._inputs(X)
        if y is None:
            return self._shaped(self._free_run(u))
        return self._shaped(self.model_.predict(self._record(u, self._outputs(y, len(u)))))

    def simulate(self, X: Any, y_init: Any = None) -> Any:
        """Free run: inputs and at most the first measured outputs go in.

        Args:
            X: inputs as for ``fit``, or records.
            y_init: the first ``n`` measured outputs; ``None``: it starts from the mean output.

        Returns:
            As ``predict``. Rows that the model starts from are the measured ones.
        """
        check_is_fitted(self, "model_")
        if _are_records(X):
            return [self.model_.simulate(r) for r in as_records(X)]
        u = self._inputs(X)
        if y_init is None:
            return self._shaped(self._free_run(u))
        start = self._outputs(y_init)[: len(u)]
        y = np.full((len(u), self.model_.ny), np.nan)
        y[: len(start)] = start
        record = self._record(u, y).replace(n_init=len(start))
        return self._shaped(self.model_.simulate(record))

    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Return R2 of the free run that starts from the first measured outputs.

        Samples that it starts from do not count; several outputs count alike.

        Args:
            X: inputs as for ``fit``, or records.
            y: measured outputs; left out where ``X`` is records.
            sample_weight: ``(N,)``, of arrays.
        """
        check_is_fitted(self, "model_")
        if _are_records(X):
            if sample_weight is not None:
                raise ValueError("sample_weight must be None with records, got weights")
            records, weights = as_records(X), None
        else:
            u = self._inputs(X)
            records = [self._record(u, self._outputs(y, len(u)))]
            weights = None if sample_weight is None else np.asarray(sample_weight, dtype=float)
        starts = [self.model_.scoring_start(r) for r in records]
        pairs = [
            np.hstack([r.y, self.model_.simulate(r)])[n:]
            for r, n in zip(records, starts, strict=True)
        ]
        rows = np.vstack(pairs)
        seen = ~np.isnan(rows).any(axis=1)
        if weights is not None:
            weights = weights[starts[0] :][seen]
        measured, simulated = np.split(rows[seen], 2, axis=1)
        if not np.isfinite(simulated).all():
            return -np.inf  # an unstable free run: the worst that there is
        return float(r2_score(measured, simulated, sample_weight=weights))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.non_deterministic = False
        return tags

    def _build(self, nu: int, ny: int) -> Model:
        """Return the model to train."""
        arguments = {f.name: getattr(self, f.name) for f in fields(self)}
        shared = {f.name for f in fields(_Regressor)}
        return self._model(nu, ny, **{k: v for k, v in arguments.items() if k not in shared})

    def _records(self, X: Any, y: Any) -> list[Record]:
        if _are_records(X):
            if y is not None:
                raise ValueError("y must be None where X is records, which hold their outputs")
            records = as_records(X)
            self.n_features_in_ = records[0].nu
            self._flat_ = False
            return records
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None; "
                "give outputs, or records as X"
            )
        _refuse_sequences(X, y)
        _refuse_samples_in_columns(X)
        X, y = validate_data(
            self, X, y, dtype=np.float64, multi_output=True, y_numeric=True, ensure_min_samples=2
        )
        self._flat_ = np.ndim(y) == 1
        names = getattr(self, "feature_names_in_", None)
        return [Record(X, y, u_names=None if names is None else list(names))]

    def _inputs(self, X: Any) -> Array:
        _refuse_sequences(X)
        u: Array = validate_data(self, X, dtype=np.float64, reset=False)
        return u

    def _outputs(self, y: Any, count: int | None = None) -> Array:
        _refuse_sequences(None, y)
        values = check_array(y, ensure_2d=False, dtype=np.float64, ensure_all_finite="allow-nan")
        values = values[:, None] if values.ndim == 1 else values
        if values.shape[1] != self.model_.ny or count not in (None, len(values)):
            raise ValueError(
                f"y must have {self.model_.ny} outputs{f' of {count} samples' if count else ''}, "
                f"got {values.shape}"
            )
        block: Array = values
        return block

    def _record(self, u: Array, y: Array) -> Record:
        return Record(u, y, u_names=self.model_.u_names, y_names=self.model_.y_names)

    def _free_run(self, u: Array) -> Array:
        """Simulate from the mean output and the first input, held before the first sample."""
        m = self.model_.n_memory
        mean = self.model_.baseline.mean if self.model_.baseline is not None else 0.0
        held = np.concatenate([np.repeat(u[:1], m, axis=0), u])
        y = np.broadcast_to(mean, (len(held), self.model_.ny))
        return self.model_.simulate(self._record(held, y))[m:]

    def _shaped(self, y: Array) -> Array:
        return y[:, 0] if self._flat_ else y


@dataclass(kw_only=True, eq=False, repr=False)
class FFNRegressor(_Regressor):
    """Static regression with a feed-forward network; see ``sysid.FFN``.

    Example:
        >>> X = np.linspace(-1, 1, 200)[:, None]
        >>> regressor = FFNRegressor(max_epochs=300, random_state=0).fit(X, X[:, 0] ** 2)
        >>> bool(regressor.score(X, X[:, 0] ** 2) > 0.99)
        True
    """

    hidden_sizes: Sequence[int] = (32,)
    activation: str = "tanh"

    _model: ClassVar[type[Model]] = FFN

    def _build(self, nu: int, ny: int) -> Model:
        return FFN(nu, self.hidden_sizes, ny, self.activation)


@dataclass(kw_only=True, eq=False, repr=False)
class NARXRegressor(_Regressor):
    """Nonlinear autoregression with exogenous input; see ``sysid.NARX`` for the orders."""

    na: int = 2
    nb: int = 2
    nk: int = 0
    hidden_sizes: Sequence[int] = (16,)
    activation: str = "tanh"
    linear: bool = True

    _model: ClassVar[type[Model]] = NARX


@dataclass(kw_only=True, eq=False, repr=False)
class _RecurrentRegressor(_Regressor):
    hidden_size: int = 16
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    initial_state: str = "zero"
    n_init: int = 0
    feedback: bool = False


@dataclass(kw_only=True, eq=False, repr=False)
class RNNRegressor(_RecurrentRegressor):
    """Vanilla recurrent network; see ``sysid.RNN``."""

    nonlinearity: str = "tanh"

    _model: ClassVar[type[Model]] = RNN


@dataclass(kw_only=True, eq=False, repr=False)
class GRURegressor(_RecurrentRegressor):
    """Gated recurrent unit; see ``sysid.GRU``."""

    _model: ClassVar[type[Model]] = GRU


@dataclass(kw_only=True, eq=False, repr=False)
class LSTMRegressor(_RecurrentRegressor):
    """Long short-term memory; see ``sysid.LSTM``."""

    _model: ClassVar[type[Model]] = LSTM


def _refuse_sequences(X: Any, y: Any = None) -> None:
    """Raise for several sequences in one array or list, which scikit-learn's checks do not name."""
    for name, values in (("X", X), ("y", y)):
        several = getattr(values, "ndim", 0) > 2
        if isinstance(values, list | tuple):
            shapes = {np.shape(v) for v in values}
            several = len(shapes) > 1 or any(len(shape) > 1 for shape in shapes)
        if several:
            raise ValueError(
                f"{name} must be one sequence, a row for each sample; give several sequences as "
                "records, [sysid.Record(u, y) for u, y in zip(X, Y)], in place of X"
            )


def _refuse_samples_in_columns(X: Any) -> None:
    """Raise for an array without names that has far more columns than rows."""
    if isinstance(X, np.ndarray) and X.ndim == 2 and far_more_channels(*X.shape):
        rows = "1 sample" if len(X) == 1 else f"{len(X)} samples"
        raise ValueError(
            f"X must have a row for each sample, got {rows} of {X.shape[1]} inputs; give X.T, or a "
            "DataFrame with a name for each input if it is right"
        )


def _are_records(X: Any) -> bool:
    return isinstance(X, Record) or (
        isinstance(X, (list, tuple)) and len(X) > 0 and all(isinstance(r, Record) for r in X)
    )
