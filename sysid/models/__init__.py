"""The model classes, by the name that configs and model files use."""

from sysid.models.ffn import FFN
from sysid.models.model import Model
from sysid.models.narx import NARX
from sysid.models.recurrent import GRU, LSTM, RNN
from sysid.models.state_space import StateSpace

__all__ = ["FFN", "GRU", "LSTM", "MODELS", "NARX", "RNN", "Model", "StateSpace"]

MODELS: dict[str, type[Model]] = {m.kind: m for m in (FFN, NARX, RNN, GRU, LSTM, StateSpace)}
"""Every kind of model, by name."""
