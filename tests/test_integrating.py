"""A state space whose first states are sums: the plant is the same wherever its outputs are."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import sysid
from sysid import FitResult, Record, StateSpace


def cart(samples: int = 400, start: float = 0.0) -> Record:
    """A position whose velocity has friction like that of a slide."""
    u = np.repeat(np.random.default_rng(0).normal(size=samples // 10), 10)
    position, velocity, y = start, 0.0, []
    for force in u:
        y.append(position)
        position += 0.1 * velocity
        velocity += 0.1 * (force - velocity - np.tanh(5 * velocity))
    return Record(u, np.array(y), sampling_time=0.1, n_init=20)


def trained(optimiser: str, epochs: int = 8) -> tuple[StateSpace, FitResult]:
    torch.manual_seed(0)
    model = StateSpace(1, 1, 3, hidden_sizes=(3,), feedthrough=False, integrating=True)
    settings = {"loss": "full_sequence", "optimiser": optimiser, "dtype": "float64"}
    return model, sysid.fit(model, cart(), max_epochs=epochs, **settings)


@pytest.mark.parametrize("optimiser", ["lm", "lbfgs", "adam"])
def test_training_leaves_sums_what_they_are(optimiser: str) -> None:
    model, result = trained(optimiser)
    assert result.history.train_loss.iloc[-1] < result.history.train_loss.iloc[0]
    assert torch.equal(model.A.weight[:, :1], torch.eye(3, 1, dtype=torch.float64))
    for network in (model.f, model.g):
        assert (network[0].weight[:, 0] == 0).all()
        assert (network[0].weight[:, 1:] != 0).all()


def test_a_start_elsewhere_moves_the_whole_simulation() -> None:
    model, result = trained("lm", 40)
    assert result.best_loss < 1e-4
    here, there = cart(), cart(start=100.0)
    assert_allclose(model.simulate(there), model.simulate(here) + 100, atol=1e-6)


def test_a_stream_sums_as_a_simulation_does() -> None:
    model, _ = trained("lm")
    record = cart().replace(n_init=0)
    stream = model.stream()
    steps = np.array([stream.step(u) for u in record.u]).reshape(-1, 1)
    assert_allclose(steps, model.simulate(record), rtol=1e-9, atol=1e-9)


def test_what_grows_still_integrates() -> None:
    model, _ = trained("lm")
    grown = sysid.grow(model, hidden_sizes=(5,), nx=4)
    assert grown.integrating
    assert torch.equal(grown.A.weight[:, :1], torch.eye(4, 1, dtype=torch.float64))
    assert (grown.f[0].weight[:, 0] == 0).all()
    assert_allclose(grown.simulate(cart()), model.simulate(cart()), atol=1e-6)


def test_what_cannot_integrate_is_refused() -> None:
    with pytest.raises(ValueError, match="nx must be more than ny=2 with integrating, got 2"):
        StateSpace(1, 2, 2, integrating=True)
    with pytest.raises(ValueError, match="nu must be at least 1 with integrating, got 0"):
        StateSpace(0, 1, 2, integrating=True)
    model = StateSpace(1, 1, 2, integrating=True)
    settings = {"optimiser": "adam", "max_epochs": 1}
    with pytest.raises(ValueError, match="weight_decay must be 0 for a model that integrates"):
        sysid.fit(model, cart(), weight_decay=0.1, **settings)
    still = cart().replace(y=np.ones(400))
    with pytest.raises(ValueError, match="for a linear start of a model that integrates"):
        sysid.fit(model, still, scaling_y="none", loss="full_sequence", **settings)


@pytest.mark.parametrize("optimiser", ["lm", "lbfgs", "adam"])
@pytest.mark.parametrize("integrating", [False, True])
def test_inputs_that_act_linearly(integrating: bool, optimiser: str) -> None:
    torch.manual_seed(0)
    model = StateSpace(
        1, 1, 3, hidden_sizes=(3,), integrating=integrating, linear_input=True,
        initial_state="zero",
    )  # fmt: skip
    settings = {"loss": "full_sequence", "optimiser": optimiser, "dtype": "float64"}
    before = [network[0].weight.detach().clone() for network in (model.f, model.g)]
    record = cart() if integrating else sysid.generate("duffing", 400)
    sysid.fit(model, record, max_epochs=8, **settings)
    for network, weight in zip((model.f, model.g), before, strict=True):
        assert (network[0].weight[:, 3:] == 0).all()
        seen = slice(int(integrating), 3)
        assert (network[0].weight[:, seen] != weight[:, seen]).all()
    # From one state, the next one is affine in the input.
    u = torch.tensor([[[0.0]], [[1.0]], [[100.0]]], dtype=torch.float64)
    state = (torch.full((3, 3), 0.3, dtype=torch.float64),)
    y, (after,) = model(u, state)
    for value in (after, y[:, 0]):
        torch.testing.assert_close(value[2] - value[0], 100 * (value[1] - value[0]))


def test_the_jacobian_where_inputs_act_linearly() -> None:
    torch.manual_seed(0)
    model = StateSpace(1, 1, 3, hidden_sizes=(3,), linear_input=True, initial_state="zero").double()
    with torch.no_grad():
        for p in (*model.f[-1].parameters(), *model.g[-1].parameters()):
            p.normal_(0, 0.1)
    u, y = torch.randn(2, 9, 1).double(), torch.zeros(2, 9, 1).double()
    weights = dict(model.named_parameters())

    def outputs(weights):  # type: ignore[no-untyped-def]
        return torch.func.functional_call(model, weights, (u,))[0]

    exact = torch.func.jacrev(outputs)(weights)
    exact = torch.cat([exact[name].reshape(2, 9, 1, -1) for name in weights], -1)
    found = torch.cat([b.jacobian for b in model.window_sensitivities(u, y)], 1)
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-12)
