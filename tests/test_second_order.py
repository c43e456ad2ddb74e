"""Levenberg-Marquardt and L-BFGS against answers that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from systems import linear_record, two_by_two
from torch.func import functional_call, jacrev

import sysid
from sysid.data.records import Record
from sysid.experiment.config import parse_config
from sysid.models import FFN, GRU, LSTM, NARX, Model, StateSpace
from sysid.training.lbfgs import LBFGS
from sysid.training.levenberg_marquardt import LevenbergMarquardt
from sysid.training.objective import NormalEquations, Objective, StateEquations
from sysid.training.settings import TrainingSettings
from sysid.training.stages import make_loss
from sysid.training.trainer import Trainer


def with_gaps(record: Record) -> Record:
    """The record without some outputs, and cut in two by a missing input."""
    u, y = record.u.copy(), record.y.copy()
    u[45] = np.nan
    y[20:23, 0] = np.nan
    y[60, -1] = np.nan
    return record.replace(u=u, y=y)


def built(build, records: list[Record]) -> Model:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model = build().double()
    model.scaling.fit_(records)
    model.describe(records[0])
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    if getattr(model, "integrating", False):
        model._fix_unseen()
    return model


LOSSES = [
    (lambda: NARX(2, 2, 2, 1, hidden_sizes=(3,)), {"loss": "one_step"}),
    (lambda: FFN(2, [4], 2), {"loss": "one_step"}),
    (lambda: NARX(2, 2, 2, 1, hidden_sizes=(3,)), {"loss": "full_sequence"}),
    (lambda: NARX(2, 2, 2, 1, hidden_sizes=(3,)), {"loss": "subsequence", "length": 9}),
    (lambda: StateSpace(2, 2, 2), {"loss": "full_sequence", "washout": 4}),
    (lambda: StateSpace(2, 2, 2), {"loss": "subsequence", "length": 12, "washout": 4}),
    (
        lambda: StateSpace(2, 2, 2, output_limits=[[-0.5, 0.7], [-300.0, 200.0]]),
        {"loss": "full_sequence", "washout": 4},
    ),
    (lambda: StateSpace(2, 2, 3, integrating=True), {"loss": "full_sequence"}),
    (lambda: GRU(2, 2, 2, initial_state="encoder", n_init=3), {"loss": "full_sequence"}),
    (
        lambda: LSTM(2, 2, 2, initial_state="learned", feedback=True),
        {"loss": "full_sequence", "washout": 5},
    ),
    (lambda: GRU(2, 2, 2, initial_state="estimated", feedback=True), {"loss": "full_sequence"}),
    (
        lambda: GRU(2, 2, 2, feedback=True),
        {"loss": "subsequence", "length": 12, "stride": 7, "washout": 5},
    ),
]


@pytest.mark.parametrize(
    "build",
    [
        lambda: StateSpace(2, 2, 3, hidden_sizes=(8,)),
        lambda: GRU(2, 2, 3, initial_state="encoder", n_init=5),
        lambda: GRU(2, 2, 3, initial_state="learned", feedback=True),  # without compiled loops
    ],
)
def test_threads_do_not_see_weights_that_another_one_differentiates(build) -> None:  # type: ignore[no-untyped-def]
    """The threads of the normal equations share a model: each time the sums have the same bits."""
    records = [two_by_two(150)]
    chosen = TrainingSettings(optimiser="lm", loss="subsequence", length=20, washout=8, stride=3)
    model = built(build, records)
    objective = next(iter(make_loss(model, records, chosen).objectives(torch.Generator())))
    count = sum(p.numel() for p in model.parameters())
    first = objective.normal_equations(count)
    for _ in range(25):
        again = objective.normal_equations(count)
        assert again.value == first.value
        assert again.matrix.tobytes() == first.matrix.tobytes()
        assert again.vector.tobytes() == first.vector.tobytes()


@pytest.mark.parametrize(("build", "settings"), LOSSES)
def test_normal_equations_are_those_of_the_objective(build, settings) -> None:  # type: ignore[no-untyped-def]
    """Value and gradient by autograd; J'J by torch.func's Jacobian of the same errors."""
    records = [with_gaps(two_by_two(80)), two_by_two(50, seed=3)]
    model = built(build, records)
    chosen = TrainingSettings(optimiser="lm", output_weights=[2.0, 1.0], **settings)
    loss = make_loss(model, records, chosen)
    if loss.states is not None:
        loss.states.data.normal_(generator=torch.Generator().manual_seed(0))
    objective = next(iter(loss.objectives(torch.Generator())))
    count = sum(p.numel() for p in model.parameters())
    equations = objective.normal_equations(count)

    chosen_errors = list(objective.errors())
    others = [torch.randn(e.shape, dtype=e.dtype) for e in chosen_errors]
    parameters = [*model.parameters(), *([] if loss.states is None else [loss.states])]
    product = sum((e * o).sum() for e, o in zip(chosen_errors, others, strict=True))
    expected = torch.autograd.grad(product, parameters)
    pulled = objective.pulled(others, parameters)
    assert_allclose(pulled, torch.cat([g.flatten() for g in expected]), rtol=1e-12, atol=1e-15)

    value = objective.backward()
    assert_allclose(equations.value, float(value), rtol=1e-12)
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert_allclose(2 * equations.vector, gradient, rtol=1e-9, atol=1e-12)
    if loss.states is not None:
        own = np.stack([s.vector for s in equations.states])
        assert_allclose(2 * own, loss.states.grad, rtol=1e-9, atol=1e-12)

    states = loss.states

    class Errors(torch.nn.Module):
        """All errors of the objective, as the square root of its terms."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model
            if states is not None:
                self.states = states

        def forward(self):  # type: ignore[no-untyped-def]
            if states is not None:
                loss.states = self.states  # the one that is differentiated
            return errors_of(objective, loss)

    module = Errors()
    theta = {n: p.detach() for n, p in module.named_parameters()}
    jacobians = jacrev(lambda w: functional_call(module, w, ()))(theta)
    jacobians = {n: j.detach() for n, j in jacobians.items()}
    names = [n for n in theta if n != "states"]
    j = torch.cat([jacobians[n].flatten(1) for n in names], dim=1)
    assert_allclose(equations.matrix, j.T @ j, rtol=1e-9, atol=1e-12)
    if states is not None:
        for i, state in enumerate(equations.states):
            of_state = jacobians["states"][:, i]
            assert_allclose(state.cross, j.T @ of_state, rtol=1e-9, atol=1e-12)
            assert_allclose(state.matrix, of_state.T @ of_state, rtol=1e-9, atol=1e-12)


def errors_of(objective: Objective, loss) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """The weighted errors whose squares add up to the value, by the loss's own simulation."""
    if hasattr(objective, "phi"):
        error = loss.error(loss.core(objective.phi), objective.target)
        return error.flatten() / (~objective.target.isnan()).sum().double() ** 0.5
    if hasattr(objective, "places"):
        u, y = loss.gather(objective.places)
        error = loss.error(loss.model.unfold(u, y, loss.washout)[0], y)[:, loss.first :]
        return error.flatten() / (~y[:, loss.first :].isnan()).sum().double() ** 0.5
    u, y = loss.padded(objective.items)
    error = loss.error(loss.unfold(objective.items, u, y)[0], y)[:, loss.first :]
    return error.flatten() / (~y[:, loss.first :].isnan()).sum().double() ** 0.5


def test_states_are_eliminated_as_in_the_whole_system() -> None:
    rng = np.random.default_rng(0)
    j = rng.standard_normal((40, 5 + 2 * 3))
    j[:20, 8:] = 0
    j[20:, 5:8] = 0
    r, ridge = rng.standard_normal(40), rng.uniform(0.1, 1, 11)
    whole, vector = j.T @ j, j.T @ r
    states = [
        StateEquations(whole[:5, a : a + 3], whole[a : a + 3, a : a + 3], vector[a : a + 3])
        for a in (5, 8)
    ]
    equations = NormalEquations(float(r @ r), whole[:5, :5], vector[:5], states)
    expected = -np.linalg.solve(whole + np.diag(ridge), vector)
    assert_allclose(equations.solve(ridge, equations.whole_vector), expected, rtol=1e-10)
    assert_allclose(equations.times(ridge), whole @ ridge, rtol=1e-12)


def test_lm_finds_the_least_squares_solution_of_a_linear_model_in_two_steps() -> None:
    record = two_by_two(200)
    noise = np.random.default_rng(1).standard_normal((200, 2)) * record.y.std(0)
    record = record.replace(y=record.y + 0.1 * noise)
    torch.manual_seed(0)
    model = NARX(2, 2, 2, 1, hidden_sizes=(), linear=False)
    settings = {"loss": "one_step", "optimiser": "lm", "damping": 1e-10, "scaling_u": "none"}
    sysid.fit(model, record, scaling_y="none", max_epochs=2, **settings)
    phi, target = sysid.narx_regressors(record, 2, 1)
    design = np.hstack([phi, np.ones((len(phi), 1))])
    solution = np.linalg.lstsq(design, target, rcond=None)[0]
    layer = model.network[0]
    found = torch.cat([layer.weight, layer.bias[:, None]], dim=1).detach().numpy()
    reached = (((design @ found.T - target) / record.y.std(0)) ** 2).mean()
    best = (((design @ solution - target) / record.y.std(0)) ** 2).mean()
    assert_allclose(reached, best, rtol=1e-9)
    # Normal equations square the condition: one output is a thousand times the other.
    assert_allclose(found.T, solution, rtol=1e-4, atol=1e-6)


def test_weight_decay_is_ridge_regression() -> None:
    record = linear_record(100)
    torch.manual_seed(0)
    model = FFN(1, [], 1)
    decay = 0.3
    settings = {"loss": "one_step", "optimiser": "lm", "damping": 1e-12, "weight_decay": decay}
    sysid.fit(model, record, max_epochs=4, **settings)
    u = (record.u - record.u.mean(0)) / record.u.std(0)
    y = (record.y - record.y.mean(0)) / record.y.std(0)
    design = np.hstack([u, np.ones((100, 1))])
    ridge = np.linalg.solve(design.T @ design / 100 + decay / 2 * np.eye(2), design.T @ y / 100)
    found = [float(p.detach()) for p in model.parameters()]
    assert_allclose(found, ridge.ravel(), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("optimiser", ["lm", "lbfgs"])
def test_a_simulation_error_goes_to_the_true_system_and_stops(optimiser: str) -> None:
    """No noise and the right structure: the error goes to rounding, from a wrong start."""
    record = linear_record(300)
    torch.manual_seed(0)
    model = StateSpace(1, 1, 2, hidden_sizes=(), output_hidden_sizes=())
    settings = {"loss": "full_sequence", "optimiser": optimiser, "linear_start": False}
    trainer = Trainer(model, record, None, TrainingSettings(max_epochs=200, **settings))
    list(trainer.epochs())
    assert trainer.stopped_because in ("gradient", "step")
    (objective,) = trainer.loss.objectives(trainer.generator)  # history is before each step
    assert float(objective.value()) < 1e-16


def test_each_record_has_an_initial_state_of_its_own() -> None:
    """Records that start far from rest are fitted from their first sample on."""
    records = [linear_record(300)[a : a + 60] for a in (50, 130, 210)]
    losses = {}
    for initial_state in ("zero", "estimated"):
        torch.manual_seed(0)
        model = StateSpace(
            1, 1, 2, hidden_sizes=(), output_hidden_sizes=(), initial_state=initial_state
        )
        settings = {"loss": "full_sequence", "optimiser": "lm", "max_epochs": 60}
        losses[initial_state] = sysid.fit(model, records, **settings).history.train_loss.min()
    assert losses["estimated"] < 1e-12
    assert losses["zero"] > 1e-3


def test_a_step_that_explodes_is_not_taken() -> None:
    """From a model at the edge of stability the loss never rises and never stops being finite."""
    record = linear_record(400)
    torch.manual_seed(0)
    model = NARX(1, 1, 2, 2, hidden_sizes=(6,))
    trainer = Trainer(
        model, record, None, TrainingSettings(loss="full_sequence", optimiser="lm", max_epochs=8)
    )
    with torch.no_grad():
        model.linear_path.weight[:, :2] = torch.tensor([[1.98, -0.985]])
    losses = [e.train_loss for e in trainer.epochs()]
    assert losses[0] > 1
    assert np.isfinite(losses).all()
    assert (np.diff(losses) <= 0).all()
    assert losses[-1] < losses[0]


class Rosenbrock(Objective):
    """``sum 100 (x(i+1) - x(i)^2)^2 + (1 - x(i))^2``: a curved valley."""

    def __init__(self, x: torch.nn.Parameter) -> None:
        self.x, self.evaluations = x, 0

    def of(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([10 * (x[1:] - x[:-1] ** 2), 1 - x[:-1]])

    def errors(self):  # type: ignore[no-untyped-def]
        self.evaluations += 1
        yield self.of(self.x)

    def stretches(self):  # type: ignore[no-untyped-def]
        x = self.x.detach()
        return [lambda: iter([(self.of(x), torch.func.jacrev(self.of)(x))])]


def test_lbfgs_needs_no_more_evaluations_than_scipys() -> None:
    from scipy.optimize import minimize, rosen, rosen_der

    start = np.tile([-1.2, 1.0], 10)
    options = {"maxcor": 20, "ftol": 0, "gtol": 1e-6, "maxiter": 10_000, "maxfun": 10_000}
    theirs = minimize(rosen, start, jac=rosen_der, method="L-BFGS-B", options=options)
    x = torch.nn.Parameter(torch.tensor(start))
    objective = Rosenbrock(x)
    optimiser = LBFGS([x], TrainingSettings(optimiser="lbfgs", history=20, tolerance=0))
    while (
        objective.evaluations < 2 * theirs.nfev
        and np.abs(rosen_der(x.detach().numpy())).max() > 1e-6
    ):
        optimiser.improve(objective)
    assert_allclose(x.detach().numpy(), np.ones(20), atol=1e-6)
    assert objective.evaluations <= 1.3 * theirs.nfev + LBFGS.iterations


def test_auto_chooses_by_size_and_says_why() -> None:
    record = linear_record(300)
    cases = [
        (StateSpace(1, 1, 2), {}, "lm, because with"),
        (LSTM(1, 1, 128, 2), {}, "lbfgs, because with"),
        (StateSpace(1, 1, 2), {"batch_size": 8}, "adam, because batch_size is set"),
        (LSTM(1, 1, 128, 2), {"weight_decay": 0.1}, "adam, because weight_decay is set"),
        (LSTM(1, 1, 4, 2, dropout=0.1), {}, "adam, because dropout"),
        (GRU(1, 1, 4, bidirectional=True), {}, "lbfgs, because with"),
    ]
    for model, settings, reason in cases:
        chosen = TrainingSettings(optimiser="auto", length=50, **settings)
        trainer = Trainer(model, record, None, chosen)
        assert trainer.optimiser_reason.startswith(reason)
        assert trainer.settings.optimiser == reason.split(",")[0]


@pytest.mark.parametrize(
    ("build", "settings", "match"),
    [
        (lambda: GRU(1, 1, 2, bidirectional=True), {"optimiser": "lm"}, "must be another than lm"),
        (lambda: GRU(1, 1, 2, 2, dropout=0.1), {"optimiser": "lm"}, "with dropout=0.1"),
        (lambda: GRU(1, 1, 2, 2, dropout=0.1), {"optimiser": "lbfgs"}, "with dropout=0.1"),
        (lambda: GRU(1, 1, 2), {"optimiser": "lm", "batch_size": 3}, "batch_size must be null"),
        (lambda: GRU(1, 1, 2), {"optimiser": "lm", "learning_rate": 1.0}, "learning_rate must be"),
        (lambda: GRU(1, 1, 2), {"horizons": [4]}, "horizons must be empty for gru"),
        (lambda: GRU(1, 1, 2), {"damping": 1.0}, "damping is of lm, got it with adam"),
        (lambda: GRU(1, 1, 2), {"optimiser": "lm", "history": 9}, "history is of lbfgs"),
        (lambda: NARX(1, 1, 1, 1), {"horizons": [4]}, "horizons must be empty with loss one_step"),
        (lambda: NARX(1, 1, 1, 1), {"horizons": [0]}, "horizons.0 must be right"),
    ],
)
def test_what_does_not_go_together_is_refused(build, settings, match: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=match):
        sysid.fit(build(), linear_record(300), **settings)


def test_horizons_come_before_the_loss() -> None:
    record = linear_record(300)
    torch.manual_seed(0)
    result = sysid.fit(
        NARX(1, 1, 2, 2, hidden_sizes=(4,)),
        record[:200],
        record[210:],
        loss="full_sequence",
        optimiser="lm",
        horizons=[1, 5, 20],
        horizon_epochs=2,
        max_epochs=3,
        tolerance=0,
    )
    assert result.history.stage.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 4]
    assert isinstance(result.optimiser, str)


def test_lm_is_an_optimiser_without_a_model_of_its_own() -> None:
    """What it needs of an objective is errors and normal equations."""

    class Line(Objective):
        def errors(self):  # type: ignore[no-untyped-def]
            yield a - 3

        def stretches(self):  # type: ignore[no-untyped-def]
            return [lambda: iter([((a - 3).detach(), torch.eye(2).double())])]

    a = torch.nn.Parameter(torch.zeros(2).double())
    optimiser = LevenbergMarquardt([a], [], TrainingSettings(optimiser="lm", damping=1e-9))
    optimiser.improve(Line())
    assert_allclose(a.detach(), [3, 3], rtol=1e-8)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_a_step_of_lm_bends_with_its_path(decay: float) -> None:
    """The bend is the second derivative of the errors along the step, taken by autograd."""
    x = torch.nn.Parameter(torch.tensor([-1.2, 1.0, 0.3]).double())
    objective = Rosenbrock(x)
    settings = TrainingSettings(optimiser="lm", damping=10.0, weight_decay=decay)
    optimiser = LevenbergMarquardt([x], [], settings)
    start = x.detach().clone()
    jacobian = torch.func.jacrev(objective.of)(start)
    whole = jacobian.T @ jacobian + decay / 2 * torch.eye(3)
    damped = whole + 10.0 * torch.diag(torch.diag(whole))
    gradient = jacobian.T @ objective.of(start) + decay / 2 * start
    step = -torch.linalg.solve(damped, gradient)
    along = torch.func.jacrev(torch.func.jacrev(objective.of))(start) @ step @ step
    bend = -torch.linalg.solve(damped, jacobian.T @ along)
    optimiser.improve(objective)
    # The errors are quadratic, so that differences are exact to rounding.
    assert_allclose(x.detach() - start, step + bend / 2, rtol=1e-9)


def test_a_step_that_bends_much_is_taken_straight_if_it_falls_as_foretold() -> None:
    x = torch.nn.Parameter(torch.tensor([1.0]).double())

    class Parabola(Objective):
        """``(x + 10 x^2)^2``: from 1, twice the bend is as long as the Gauss-Newton step."""

        def errors(self):  # type: ignore[no-untyped-def]
            yield x + 10 * x**2

        def stretches(self):  # type: ignore[no-untyped-def]
            z = x.detach()
            return [lambda: iter([(z + 10 * z**2, (1 + 20 * z)[None])])]

    LevenbergMarquardt([x], [], TrainingSettings(optimiser="lm", damping=1e-12)).improve(Parabola())
    assert_allclose(x.detach(), [1 - 11 / 21], rtol=1e-9)


def test_lm_goes_back_from_where_errors_have_no_derivatives() -> None:
    """Errors of a chaotic simulation are finite, and their sensitivities overflow."""
    x = torch.nn.Parameter(torch.tensor([0.0]).double())

    class Cliff(Objective):
        """``x - 2``, whose derivatives overflow beyond 1.5."""

        def errors(self):  # type: ignore[no-untyped-def]
            yield x - 2.0

        def stretches(self):  # type: ignore[no-untyped-def]
            slope = torch.tensor([[1.0 if float(x.detach()) < 1.5 else 1e200]]).double()
            return [lambda: iter([((x - 2).detach(), slope)])]

    optimiser = LevenbergMarquardt([x], [], TrainingSettings(optimiser="lm", damping=1e-3))
    optimiser.improve(Cliff())
    assert x > 1.5
    again = LevenbergMarquardt([x], [], TrainingSettings(optimiser="lm"))
    again.load_state_dict(optimiser.state_dict())
    again.improve(Cliff())
    assert x == 0
    again.improve(Cliff())
    assert x > 0


def test_output_limits_hold_in_training_and_simulation() -> None:
    """What a limit hides from the output weighs nothing, and J'J is still that of the objective."""
    record = linear_record(200)
    low, high = (float(q) for q in np.quantile(record.y, [0.2, 0.7]))
    clipped = record.replace(y=np.clip(record.y, low, high), n_init=20)
    settings = {"loss": "full_sequence", "optimiser": "lm", "max_epochs": 40}
    errors = {}
    for limits in (None, [[low, high]]):
        torch.manual_seed(0)
        model = StateSpace(1, 1, 2, hidden_sizes=(), output_hidden_sizes=(), output_limits=limits)
        sysid.fit(model, clipped, **settings)
        errors[limits is None] = float(np.std((model.simulate(clipped) - clipped.y)[20:]))
    # The limited model is linear but for its limits, as what was measured.
    assert errors[False] < 1e-4 * errors[True]
    assert model.simulate(clipped).max() <= high + 1e-12
    stream = model.stream()
    stream.reset(clipped[:20])
    steps = np.array([stream.step(u) for u in clipped.u[20:]])
    assert_allclose(steps, model.simulate(clipped)[20:], rtol=1e-9)
    for wrong in ([[1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]], [[0.0]]):
        with pytest.raises(ValueError, match="output_limits must be a pair"):
            StateSpace(1, 1, 2, output_limits=wrong)
    two = {"kind": "state_space", "nx": 2, "output_limits": [[0.0, 1.0], [0.0, 2.0]]}
    data = {"source": "system", "name": "linear"}
    assert parse_config({"data": data, "model": two}).build_model(1, 2).output_limits[1][1] == 2
