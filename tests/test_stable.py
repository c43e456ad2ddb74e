"""Models that are bounded by construction: for any weights, inputs and starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.func import functional_call

import sysid
from sysid import NARX, Model, Record, StateSpace
from sysid.kernels.backends import use_backend
from sysid.models.linear import estimate_state_space
from sysid.models.stable_weights import (
    RADIUS,
    START_RADIUS,
    Contraction,
    StableLags,
    companion_matrix,
    contracting_coordinates,
    spectral_radius,
    with_stable_poles,
)

MODELS = {
    "state space": lambda: StateSpace(2, 2, 4, hidden_sizes=(3,), stable=True),
    "linear state space": lambda: StateSpace(
        1, 1, 3, hidden_sizes=(), output_hidden_sizes=(), stable=True
    ),
    "integrating": lambda: StateSpace(1, 1, 4, (3,), stable=True, integrating=True),
    "linear inputs": lambda: StateSpace(2, 1, 3, (3,), stable=True, linear_input=True),
    "narx": lambda: NARX(1, 1, na=3, nb=2, hidden_sizes=(3,), stable=True),
    "narx with two outputs": lambda: NARX(2, 2, na=3, nb=2, hidden_sizes=(3,), stable=True),
}


def drawn(name: str, scale: float = 0.3, seed: int = 0) -> Model:
    """A model in float64 whose free parameters are drawn at random."""
    torch.manual_seed(seed)
    model: Model = MODELS[name]().double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(scale * torch.randn_like(p))
        if isinstance(model, StateSpace):
            model._fix_unseen()
    return model.eval()


def record_for(model: Model, samples: int = 60, n_init: int = 0) -> Record:
    rng = np.random.default_rng(1)
    u, y = rng.standard_normal((samples, model.nu)), rng.standard_normal((samples, model.ny))
    return Record(u, y, n_init=n_init)


def twin_weights(model: Model, count: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Free parameters of many models, each with a scale of its own between 0.001 and 1000."""
    out = {}
    for name, p in model.named_parameters():
        size = 10 ** (6 * torch.rand(count, generator=generator).double() - 3)
        noise = torch.randn(count, *p.shape, generator=generator, dtype=torch.float64)
        out[name] = noise * size.view(-1, *[1] * p.ndim)
    return out


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_no_state_space_of_a_thousand_leaves_its_bound(activation: str) -> None:
    count, samples, nu, nx = 1000, 400, 2, 4
    generator = torch.Generator().manual_seed(0)
    model = StateSpace(nu, 1, nx, hidden_sizes=(5, 3), activation=activation, stable=True).double()
    drawn = twin_weights(model, count, generator)
    start = 10 ** (6 * torch.rand(count, 1, generator=generator).double() - 3) * torch.randn(
        count, nx, generator=generator, dtype=torch.float64
    )
    u = 10 * torch.randn(count, samples, nu, generator=generator, dtype=torch.float64)
    u[::2] = u[::2].sign() * u.abs().amax()  # as hard as inputs within a bound can be

    def weight(free: torch.Tensor) -> torch.Tensor:
        return functional_call(model.A, {"free": free}, (torch.eye(nx).double(),)).mT

    with torch.no_grad():
        a = torch.func.vmap(weight)(drawn["A.free"])
        x, b = start, drawn["B.weight"]
        names = ["f.0", "f.2", "f.4"]
        largest = x.norm(dim=1)
        for k in range(samples):
            inner = torch.cat([x, u[:, k]], 1)
            for i, name in enumerate(names):
                inner = torch.einsum("bij,bj->bi", drawn[f"{name}.weight"], inner)
                inner = inner + drawn[f"{name}.bias"]
                if i < len(names) - 1:
                    inner = getattr(torch, activation)(inner)
            x = torch.einsum("bij,bj->bi", a, x) + torch.einsum("bij,bj->bi", b, u[:, k]) + inner
            largest = torch.maximum(largest, x.norm(dim=1))
        for i in range(count):
            for name, p in model.named_parameters():
                p.copy_(drawn[name][i])
            bound = model.state_bound(float(u[i].norm(dim=1).max()), float(start[i].norm()))
            assert largest[i] <= bound * (1 + 1e-9)  # sums of 400 samples, each rounded
    assert model.bounded.by_construction


@pytest.mark.parametrize(("ny", "na"), [(1, 1), (1, 4), (2, 3)])
def test_no_narx_of_a_thousand_runs_away(ny: int, na: int) -> None:
    # A run of twenty memories, 1 / (1 - RADIUS), would show any pole outside the circle: the
    # second half of it would be larger than the first.
    count, samples = 1000, 20_000
    generator = torch.Generator().manual_seed(1)
    model = NARX(1, ny, na=na, nb=1, hidden_sizes=(4,), stable=True).double()
    drawn = twin_weights(model, count, generator)
    width = model.example_input().shape[1]

    def weight(free: torch.Tensor) -> torch.Tensor:
        return functional_call(
            model.linear_path, {"free": free}, (torch.eye(width).double(),)
        ).mT  # fmt: skip

    with torch.no_grad():
        paths = torch.func.vmap(weight)(drawn["linear_path.free"])
    poles = [spectral_radius(companion_matrix(p[:, : na * ny].numpy())) for p in paths]
    # Poles that lie close together move by the root of the rounding of coefficients.
    assert max(poles) < RADIUS + 5e-4
    for i in range(0, count, 100):  # the model's own loops, on some of them
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(drawn[name][i])
        u = 10 * torch.randn(1, samples, 1, generator=generator, dtype=torch.float64).sign()
        start = 1e3 * torch.randn(1, model.n_memory, ny, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            y = model.rollout(u, start)[0].abs()
        assert y[samples // 2 :].max() <= 10 * y[: samples // 2].max()


@pytest.mark.parametrize("name", MODELS)
def test_derivatives_are_those_of_automatic_differentiation(name: str) -> None:
    model = drawn(name)
    record = record_for(model)
    u, y = torch.tensor(record.u), torch.tensor(record.y)
    blocks = list(model.sensitivities(u, y, block=17, with_state=False))
    jacobian = torch.cat([b.jacobian for b in blocks])
    weights = {n: p.detach() for n, p in model.named_parameters()}

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self) -> torch.Tensor:
            return self.model.unfold(u[None], y[None])[0][0]

    def run(values: dict[str, torch.Tensor]) -> torch.Tensor:
        with use_backend("reference"):
            return functional_call(Whole(), {f"model.{n}": v for n, v in values.items()}, ())

    found = torch.func.jacrev(run)(weights)
    expected = torch.cat([found[n].flatten(2) for n in weights], -1)
    assert_allclose(jacobian, expected, atol=1e-9 * float(expected.abs().max()))


@pytest.mark.parametrize("name", MODELS)
def test_a_stream_a_batch_and_a_file_compute_the_same(name: str, tmp_path: Path) -> None:
    model = drawn(name)
    record = record_for(model, n_init=0)
    y_hat = model.simulate(record)
    stream = model.stream()
    n = model.n_memory
    stream.reset(record[:n] if n else None)
    steps = np.array([stream.step(u) for u in record.u[n:]])
    assert_allclose(steps, y_hat[n:], rtol=1e-9, atol=1e-9)
    model.save(tmp_path / "model.safetensors")
    loaded = sysid.load(tmp_path / "model.safetensors")
    assert (loaded.simulate(record) == y_hat).all()
    assert loaded.bounded == model.bounded


@pytest.mark.parametrize("kind", ["state space", "integrating"])
@pytest.mark.parametrize("optimiser", ["lm", "lbfgs", "adam"])
def test_optimisers_improve_it_and_keep_it_stable(kind: str, optimiser: str) -> None:
    record = sysid.generate("cascaded_tanks", 300, seed=0)
    torch.manual_seed(0)
    model = StateSpace(1, 1, 3, (3,), stable=True, integrating=kind == "integrating")
    settings = {"loss": "full_sequence", "optimiser": optimiser, "dtype": "float64"}
    result = sysid.fit(model, record, max_epochs=8, **settings)
    assert result.history.train_loss.iloc[-1] < result.history.train_loss.iloc[0]
    inner = model.A.weight.detach()[model.sums :, model.sums :]
    assert torch.linalg.matrix_norm(inner, 2) < RADIUS
    assert torch.equal(model.A.weight[:, : model.sums], torch.eye(3, model.sums).double())


@pytest.mark.parametrize("nx", [2, 3, 5])
def test_the_linear_start_is_that_of_the_free_model(nx: int) -> None:
    record = sysid.generate("linear", 800, seed=3)
    linear = estimate_state_space([(record.u, record.y)], nx, radius=START_RADIUS)
    moved = linear.seen_from(contracting_coordinates(linear.A))
    assert np.linalg.norm(moved.A, 2) < RADIUS
    models = []
    for stable in (False, True):
        torch.manual_seed(0)
        model = StateSpace(1, 1, nx, (4,), stable=stable).double()
        model.scaling.fit_([record])
        model.describe(record)
        model.initialise([record])
        # Networks that see something, too: they start with the same features of the same states.
        with torch.no_grad():
            model.g[-1].weight.fill_(0.1)
        models.append(model)
    free, stable_one = (m.simulate(record) for m in models)
    assert_allclose(stable_one, free, atol=1e-8 * record.y.std())


def test_slow_poles_are_pulled_in() -> None:
    u = np.repeat(np.random.default_rng(0).standard_normal(100), 20)
    y = np.cumsum(u)
    model = StateSpace(1, 1, 3, (4,), stable=True).double()
    record = Record(u, y)
    model.scaling.fit_([record])
    model.describe(record)
    model.initialise([record])
    a = model.A.weight.detach().numpy()
    assert spectral_radius(a) <= START_RADIUS + 1e-9
    assert np.linalg.norm(a, 2) < RADIUS


def test_parameters_and_weights_lead_to_each_other() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a = rng.standard_normal((4, 4))
        a *= 0.99 / np.linalg.norm(a, 2)
        layer = Contraction(torch.tensor(a), 0, bias=False)
        assert_allclose(layer.weight.detach(), a, atol=1e-12)
        lags = with_stable_poles(rng.standard_normal((2, 6)))
        assert spectral_radius(companion_matrix(lags)) < RADIUS
        path = StableLags(torch.tensor(np.hstack([lags, np.ones((2, 3))])), na=3)
        assert_allclose(path.weight.detach()[:, :6], lags, atol=1e-9)
        assert (path.weight[:, 6:] == 1).all()


def test_what_grows_is_the_same_and_stays_stable() -> None:
    for name, larger in (("state space", {"nx": 6, "hidden_sizes": (5,)}), ("narx", {"na": 5})):
        model = drawn(name)
        record = record_for(model, n_init=5)
        grown = sysid.grow(model, **larger)
        assert grown.bounded.by_construction
        start = 5 if name == "narx" else 0
        assert_allclose(
            grown.simulate(record.replace(n_init=start))[5:],
            model.simulate(record.replace(n_init=start))[5:],
            atol=1e-9,
        )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: StateSpace(1, 1, 2, (3,), activation="softplus", stable=True), "run away"),
        (lambda: NARX(1, 1, 2, 2, activation="relu", stable=True), "run away"),
        (lambda: NARX(1, 1, 2, 2, hidden_sizes=(), stable=True), "second linear path"),
        (lambda: StateSpace(1, 1, 2).state_bound(1.0), "no bound"),
    ],
)
def test_what_could_run_away_is_refused(build, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("model", "growth", "by_construction"),
    [
        (sysid.FFN(1, [3], 1), "bounded", True),
        (sysid.GRU(1, 1, 3, feedback=True), "bounded", True),
        (sysid.LSTM(1, 1, 3), "bounded", True),
        (sysid.RNN(1, 1, 3), "bounded", True),
        (sysid.RNN(1, 1, 3, nonlinearity="relu"), "unknown", False),
        (NARX(1, 1, 0, 2), "bounded", True),
        (NARX(1, 1, 2, 2, linear=False), "bounded", True),
        (NARX(1, 1, 2, 2, linear=False, activation="relu"), "unknown", False),
        (NARX(1, 1, 2, 2, stable=True), "bounded", True),
        (StateSpace(1, 1, 2), "bounded", False),  # A starts at 0.9 I
        (StateSpace(1, 1, 2, activation="softplus"), "unknown", False),
        (StateSpace(1, 1, 2, stable=True), "bounded", True),
        (StateSpace(1, 1, 2, stable=True, integrating=True), "linear", True),
        (
            StateSpace(1, 1, 2, stable=True, integrating=True, output_limits=[[0, 1]]),
            "bounded",
            True,
        ),
    ],
)
def test_models_say_what_bounds_them(
    model: Model, growth: str, by_construction: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (model.bounded.growth, model.bounded.by_construction) == (growth, by_construction)
    assert bool(model.bounded) == (growth == "bounded")
    model.summary()
    assert str(model.bounded) in capsys.readouterr().out


def test_an_ensemble_is_what_its_members_are() -> None:
    bounded = [StateSpace(1, 1, 2, stable=True), sysid.GRU(1, 1, 3)]
    assert sysid.Ensemble.of(bounded).bounded.by_construction
    assert (
        sysid.Ensemble.of([*bounded, NARX(1, 1, 2, 2, activation="elu")]).bounded.growth
        == "unknown"
    )


def test_a_pole_outside_the_circle_is_said() -> None:
    model = StateSpace(1, 1, 2)
    with torch.no_grad():
        model.A.weight.copy_(torch.diag(torch.tensor([1.93, 0.5])))
    assert "pole of modulus 1.93" in str(model.bounded)
    path = NARX(1, 1, 1, 1)
    with torch.no_grad():
        path.linear_path.weight.fill_(1.5)
    assert "pole of modulus 1.5" in str(path.bounded)
