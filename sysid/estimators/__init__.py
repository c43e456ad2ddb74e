"""The scikit-learn face: regressors, NARX features and splits in time."""

from sysid.estimators.features import NARXFeatures
from sysid.estimators.regressors import (
    FFNRegressor,
    GRURegressor,
    LSTMRegressor,
    NARXRegressor,
    RNNRegressor,
)
from sysid.estimators.time_split import TimeSplit

__all__ = [
    "FFNRegressor",
    "GRURegressor",
    "LSTMRegressor",
    "NARXFeatures",
    "NARXRegressor",
    "RNNRegressor",
    "TimeSplit",
]
