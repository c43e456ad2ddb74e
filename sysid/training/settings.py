"""The settings of a training, one model that `fit` and a config's `training` section share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

LossName = Literal["one_step", "subsequence", "full_sequence"]
OptimiserName = Literal["sgd", "adam", "adamw", "lbfgs", "lm", "auto"]
ScheduleName = Literal["constant", "cosine", "one_cycle", "plateau"]
ScalerName = Literal["standard", "minmax", "robust", "none"]
_USED_BY = {"damping": ("lm",), "tolerance": ("lbfgs", "lm"), "history": ("lbfgs",)}
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TrainingSettings(BaseModel):
    """How a model is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss: LossName | None = Field(
        None,
        description="what is unfolded; subsequence for a model with a state, else one_step",
    )
    length: int = Field(100, ge=1, description="samples of a window (loss: subsequence)")
    stride: int = Field(1, ge=1, description="samples between window starts")
    washout: int = Field(0, ge=0, description="samples at the start that the loss skips")
    truncate: int | None = Field(
        None,
        ge=1,
        description="samples between cuts of the gradient, the state carried on "
        "(loss: full_sequence); null for none",
    )
    restart: int | None = Field(
        None,
        ge=2,
        description="samples of a piece of a record that starts by itself, from a state of its "
        "own or from measured outputs (loss: full_sequence); null for whole records",
    )
    state_samples: int | None = Field(
        None,
        ge=1,
        description="first samples that the state of each record is fitted to, as a simulation "
        "starts, for a model with an estimated state (loss: full_sequence); null to fit it to all "
        "of them",
    )
    batch_size: int | None = Field(
        None, ge=1, description="windows, rows or records a step; null for all at once"
    )
    optimiser: OptimiserName = Field(
        "adam", description="auto chooses lm, lbfgs or adam by the size of model and data"
    )
    learning_rate: Positive | None = Field(
        None,
        description="step size; null for 1e-2 (sgd), 1e-3 (adam, adamw), 1 (first step of lbfgs)",
    )
    momentum: float = Field(0.0, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(0.0, ge=0, description="of sgd, adam, adamw and lm")
    schedule: ScheduleName = Field(
        "constant",
        description="of the learning rate; plateau halves it after 5 epochs without a better "
        "validation",
    )
    clip: Positive | None = Field(None, description="largest norm of the gradient")
    max_epochs: int = Field(100, ge=1, description="most passes over the training data")
    patience: int | None = Field(
        None, ge=1, description="epochs without a better validation before stopping"
    )
    horizons: list[Annotated[int, Field(ge=1)]] = Field(
        [], description="steps of free run that are learned first, one after the other"
    )
    horizon_epochs: int = Field(20, ge=1, description="most epochs for each of horizons")
    seconds: Positive | None = Field(
        None, description="time after which no epoch is begun; at most half of it is for horizons"
    )
    dtype: Literal["float32", "float64"] | None = Field(
        None, description="null for float32, and float64 with lbfgs and lm"
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto for a GPU where there is one (not with lm); cpu, cuda or cuda:1 by name",
    )
    seed: int = Field(0, ge=0, description="of the batches' order and of dropout")
    scaling_u: ScalerName = Field(
        "standard", description="of inputs: by std, to [-1, 1], by quartiles, or not at all"
    )
    scaling_y: ScalerName = Field("standard", description="of outputs, as scaling_u")
    output_weights: list[Positive] | None = Field(
        None, description="importance of each output, beside its scale"
    )
    starts: int = Field(1, ge=1, description="seeds to train from, in parallel; see combine")
    combine: Literal["best", "mean"] = Field(
        "best",
        description="what becomes of several starts: the one that validation picks, or the mean "
        "of them all, an ensemble",
    )
    linear_start: bool = Field(
        True, description="whether the linear path starts from an estimated linear model"
    )
    history: int = Field(50, ge=1, description="curvature pairs that lbfgs keeps")
    damping: Positive = Field(1e-2, description="that lm starts with, as a share of diag(J'J)")
    tolerance: float = Field(
        1e-9, ge=0, description="relative gradient or step at which lbfgs and lm have ended"
    )

    @property
    def at_once(self) -> bool:
        """Whether the optimiser takes everything at once, and in float64."""
        return self.optimiser in ("lbfgs", "lm")

    @property
    def step_size(self) -> float:
        """The learning rate, or the optimiser's default."""
        if self.learning_rate is not None:
            return self.learning_rate
        return {"sgd": 1e-2, "lbfgs": 1.0, "lm": 1.0}.get(self.optimiser, 1e-3)

    def conflicts(
        self, kind: str, losses: tuple[str, ...], n_memory: int, estimates_state: bool
    ) -> list[tuple[str, str]]:
        """Return ``(key, message)`` of each setting that the model or the others rule out.

        Args:
            kind: of the model.
            losses: that it can be trained by.
            n_memory: measured samples that it starts from.
            estimates_state: whether a piece of a record has an initial state of its own.
        """
        out = []
        if self.loss is not None and self.loss not in losses:
            out.append(("loss", f"must be one of {', '.join(losses)} for {kind}, got {self.loss}"))
        loss = self.loss or losses[0]
        first = max(self.washout, n_memory)
        if loss == "subsequence" and first >= self.length:
            out.append(
                (
                    "length",
                    f"must be more than the {first} samples that start each window "
                    f"(washout, lags or encoder), got {self.length}",
                )
            )
        if loss == "one_step" and self.washout:
            out.append(("washout", f"must be 0 with loss one_step, got {self.washout}"))
        if self.truncate is not None and loss != "full_sequence":
            out.append(("truncate", f"needs loss full_sequence, got {loss}"))
        if self.truncate is not None and self.truncate <= first:
            out.append(("truncate", f"must be more than {first} samples, got {self.truncate}"))
        starts = n_memory > 0 or estimates_state or kind == "ffn"
        if self.horizons and not starts and self.washout == 0:
            out.append(
                (
                    "horizons",
                    f"must be empty for {kind} without washout, encoder or estimated state: its "
                    "windows start from the wrong state",
                )
            )
        out += self._restart_conflicts(kind, loss, first, starts)
        if self.state_samples is not None and loss != "full_sequence":
            out.append(("state_samples", f"needs loss full_sequence, got {loss}"))
        if self.state_samples is not None and not estimates_state:
            out.append(("state_samples", f"must be null for {kind} without an estimated state"))
        if self.combine == "mean" and self.starts == 1:
            out.append(("combine", "must be best with a single start, got mean; raise starts"))
        if self.horizons and loss == "one_step":
            out.append(("horizons", f"must be empty with loss one_step, got {self.horizons}"))
        epochs = type(self).model_fields["horizon_epochs"].default
        if self.horizon_epochs != epochs and not self.horizons:
            out.append(("horizon_epochs", f"needs horizons, got {self.horizon_epochs} without any"))
        return out + self._optimiser_conflicts()

    def _restart_conflicts(
        self, kind: str, loss: str, first: int, starts: bool
    ) -> list[tuple[str, str]]:
        if self.restart is None:
            return []
        out = []
        if loss != "full_sequence":
            out.append(("restart", f"needs loss full_sequence, got {loss}"))
        if self.truncate is not None:
            out.append(("restart", "must be null with truncate, which carries the state on"))
        if not starts:
            out.append(("restart", f"must be null for {kind} without encoder or estimated state"))
        if self.restart <= first:
            out.append(("restart", f"must be more than {first} samples, got {self.restart}"))
        return out

    def _optimiser_conflicts(self) -> list[tuple[str, str]]:
        """Return ``(key, message)`` of what goes with another optimiser than the one chosen."""
        out = []
        if self.at_once:
            name = self.optimiser
            for key in ("batch_size", "truncate", "clip"):
                if getattr(self, key) is not None:
                    out.append((key, f"must be null with {name}, which takes everything at once"))
            if self.schedule != "constant":
                out.append(("schedule", f"must be constant with {name}, got {self.schedule}"))
        if self.optimiser == "lbfgs" and self.weight_decay:
            out.append(("weight_decay", f"must be 0 with lbfgs, got {self.weight_decay}"))
        for key, users in _USED_BY.items():
            default = type(self).model_fields[key].default
            if getattr(self, key) != default and self.optimiser not in (*users, "auto"):
                out.append((key, f"is of {' and '.join(users)}, got it with {self.optimiser}"))
        if self.optimiser == "lm" and self.learning_rate is not None:
            out.append(("learning_rate", "must be null with lm, whose damping adapts"))
        if self.momentum and self.optimiser != "sgd":
            out.append(("momentum", f"must be 0 with {self.optimiser}, got {self.momentum}"))
        return out
