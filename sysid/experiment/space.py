"""The search space of a sweep: what is varied, drawn by optuna, put into a config."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    import optuna


class Dimension(BaseModel):
    """The values that one key of a config may have."""

    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True)

    choice: list[Any] | None = Field(None, min_length=1, description="one of these")
    whole: tuple[int, int] | None = Field(
        None, alias="int", description="a whole number from ... to"
    )
    real: tuple[float, float] | None = Field(
        None, alias="float", description="a number from ... to"
    )
    log: bool = Field(False, description="whether numbers are drawn by their logarithm")

    @model_validator(mode="after")
    def _one_kind(self) -> Dimension:
        kinds = {"choice": self.choice, "int": self.whole, "float": self.real}
        given = [kind for kind, value in kinds.items() if value is not None]
        if len(given) != 1:
            raise ValueError(f"one of choice, int and float must be given, got {given or 'none'}")
        limits = self.whole or self.real
        if limits is not None and not limits[0] < limits[1]:
            raise ValueError(f"the first limit must be below the second, got {list(limits)}")
        if self.log and (limits is None or limits[0] <= 0):
            raise ValueError("log needs int or float with limits above 0")
        return self

    def draw(self, trial: optuna.Trial, key: str) -> Any:
        """Return a value for a trial."""
        if self.whole is not None:
            return trial.suggest_int(key, *self.whole, log=self.log)
        if self.real is not None:
            return trial.suggest_float(key, *self.real, log=self.log)
        # Text, so that a list (of layer sizes) can be chosen as well.
        return json.loads(
            trial.suggest_categorical(key, [json.dumps(c) for c in self.choice or []])
        )

    def read(self, value: Any) -> Any:
        """Return the value of a finished trial's parameter."""
        return json.loads(value) if self.choice is not None else value

    def examples(self) -> list[Any]:
        """Return the limits, or every choice."""
        return list(self.whole or self.real or self.choice or [])


class SweepSection(BaseModel):
    """What ``sysid sweep`` tries."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trials: int = Field(40, ge=1, description="trainings, over all workers and machines")
    heartbeat: int = Field(
        10,
        ge=1,
        description="seconds between a worker's signs of life; after twice that it is dead",
    )
    space: dict[str, Dimension] = Field(
        min_length=1, description="keys as for --set, and their values"
    )


def with_values(config: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return a config, as nested dictionaries, with some dotted keys set, and no sweep in it."""
    out: dict[str, Any] = json.loads(json.dumps({k: v for k, v in config.items() if k != "sweep"}))
    for key, value in values.items():
        *path, last = key.split(".")
        section = out
        for name in path:
            section = section.setdefault(name, {})
        section[last] = value
    return out
