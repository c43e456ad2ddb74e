"""The model classes, by the name that configs and model files use."""

from sysid.models.ensemble import Ensemble
from sysid.models.ffn import FFN
from sysid.models.model import Model
from sysid.models.narx import NARX
from sysid.models.recurrent import GRU, LSTM, RNN
from sysid.models.state_space import StateSpace

__all__ = [
    "FFN",
    "GRU",
    "LSTM",
    "MODELS",
    "NARX",
    "RNN",
    "SAVED",
    "Ensemble",
    "Model",
    "StateSpace",
]

MODELS: dict[str, type[Model]] = {m.kind: m for m in (FFN, NARX, RNN, GRU, LSTM, StateSpace)}
"""Every kind of model that is trained, by name."""

SAVED: dict[str, type[Model]] = {**MODELS, Ensemble.kind: Ensemble}
"""Every kind that a model file may hold: an ensemble is not trained as such."""
