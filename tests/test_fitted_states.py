"""Training with initial states that are fitted to the first samples, as a simulation starts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from test_integrating import cart
from torch.nn.utils import parameters_to_vector, vector_to_parameters

import sysid
from sysid import GRU, RNN, Model, Record, StateSpace
from sysid.training import settings as training_settings
from sysid.training.full_sequence import FullSequence

KINDS = {
    "state space": lambda: StateSpace(1, 1, 3, hidden_sizes=(3,)),
    "integrating": lambda: StateSpace(1, 1, 3, hidden_sizes=(3,), integrating=True),
    "rnn": lambda: RNN(1, 1, 3, initial_state="estimated"),
    "gru with feedback": lambda: GRU(1, 1, 2, initial_state="estimated", feedback=True),
}


def loss_of(build, samples: int = 12) -> FullSequence:  # type: ignore[no-untyped-def]
    """Two records of unequal lengths whose first samples the model can explain nearly."""
    torch.manual_seed(0)
    model: Model = build().double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    if isinstance(model, StateSpace):
        model._fix_unseen()
    rng = np.random.default_rng(0)
    records = []
    for n in (60, 45):
        record = Record(rng.standard_normal(n), np.zeros(n), n_init=0)
        y = model.simulate(record)
        y[samples:] += 0.3 * rng.standard_normal((n - samples, 1))
        y[20] = np.nan
        records.append(record.replace(y=y))
    settings = training_settings.TrainingSettings(
        loss="full_sequence", optimiser="lm", state_samples=samples, washout=samples
    )
    return FullSequence(model, records, settings)


def free_weights(model: Model) -> list[torch.nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_those_of_the_loss_with_states_that_move(kind: str) -> None:
    loss = loss_of(KINDS[kind])
    assert loss.states is None
    (objective,) = loss.objectives(torch.Generator())
    weights = free_weights(loss.model)
    start = parameters_to_vector(weights).detach()
    count = len(start)

    loss.model.zero_grad()
    objective.backward()
    gradient = torch.cat([p.grad.flatten() for p in weights])
    equations = objective.normal_equations(count)
    assert equations.states == []
    assert_allclose(equations.value, float(objective.value()), rtol=1e-9)
    assert_allclose(2 * equations.vector, gradient, rtol=1e-6, atol=1e-9)

    for _ in range(4):
        direction = torch.randn(count, dtype=torch.float64) * (gradient != 0)  # no sums' columns
        values = []
        for step in (1e-5, -1e-5):
            vector_to_parameters(start + step * direction, weights)
            values.append(float(objective.value()))
        vector_to_parameters(start, weights)
        slope = (values[0] - values[1]) / 2e-5
        assert_allclose(float(gradient @ direction), slope, rtol=1e-3)


@pytest.mark.parametrize("optimiser", ["lm", "lbfgs", "adam"])
def test_what_is_trained_is_what_is_simulated(optimiser: str) -> None:
    """Where the plant integrates, a wrong start stays: training must not choose its own."""
    record = cart(300)
    rng = np.random.default_rng(1)
    record = record.replace(y=record.y + 0.02 * np.cumsum(rng.standard_normal((300, 1)), axis=0))
    torch.manual_seed(0)
    model = StateSpace(1, 1, 2, hidden_sizes=(2,), feedthrough=False, integrating=True)
    result = sysid.fit(
        model, record, loss="full_sequence", optimiser=optimiser, state_samples=20, washout=20,
        dtype="float64", max_epochs=10,
    )  # fmt: skip
    error = (model.simulate(record) - record.y)[20:] / record.y.std()
    now = sysid.fit(  # the loss before its first step is that of the weights of now
        model, record, loss="full_sequence", optimiser="lm", state_samples=20, washout=20,
        max_epochs=1, linear_start=False,
    ).history.train_loss.iloc[0]  # fmt: skip
    assert result.history.train_loss.iloc[-1] < result.history.train_loss.iloc[0]
    assert_allclose(float(np.mean(error**2)), now, rtol=1e-3)


def test_pieces_of_horizons_have_states_of_their_own() -> None:
    model = StateSpace(1, 1, 2, hidden_sizes=(2,), feedthrough=False, integrating=True)
    settings = {"loss": "full_sequence", "optimiser": "lm", "state_samples": 20}
    trainer = sysid.Trainer(
        model, cart(300), settings=training_settings.TrainingSettings(horizons=[50], **settings)
    )
    assert [s.state_samples for s in trainer.stages] == [None, 20]


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        (StateSpace(1, 1, 2), {"loss": "subsequence"}, "state_samples needs loss full_sequence"),
        (
            StateSpace(1, 1, 2, initial_state="zero"),
            {"loss": "full_sequence"},
            "state_samples must be null for state_space without an estimated state",
        ),
    ],
)
def test_where_it_has_no_meaning(model: Model, settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sysid.fit(model, cart(300), state_samples=20, optimiser="adam", max_epochs=1, **settings)
