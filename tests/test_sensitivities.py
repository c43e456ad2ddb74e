"""Sensitivities against torch.func's Jacobian of the same simulation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch.func import functional_call, jacrev

from sysid.kernels import sensitivities
from sysid.models import FFN, GRU, LSTM, NARX, RNN, Model, StateSpace

KINDS = {
    "ffn": lambda: FFN(2, [5, 4], 2),
    "narx": lambda: NARX(2, 2, 3, 1, hidden_sizes=(4,)),
    "narx without a linear path": lambda: NARX(2, 2, 1, 3, 1, hidden_sizes=(4, 3), linear=False),
    "narx of inputs alone": lambda: NARX(2, 2, 0, 2, hidden_sizes=(4,)),
    "rnn": lambda: RNN(2, 2, 4, initial_state="estimated"),
    "rnn with feedback": lambda: RNN(2, 2, 3, feedback=True, initial_state="learned"),
    "gru with an encoder": lambda: GRU(2, 2, 3, initial_state="encoder", n_init=4),
    "gru with both": lambda: GRU(2, 2, 3, initial_state="encoder", n_init=4, feedback=True),
    "lstm": lambda: LSTM(2, 2, 3, 2, initial_state="learned"),
    "state space": lambda: StateSpace(2, 2, 3, hidden_sizes=(4,)),
    "linear state space": lambda: StateSpace(
        2, 2, 3, hidden_sizes=(), output_hidden_sizes=(), feedthrough=False, initial_state="zero"
    ),
}


class Unfolded(torch.nn.Module):
    """``model.unfold`` as a module of its own, so that its weights can be given."""

    def __init__(self, model: Model, washout: int) -> None:
        super().__init__()
        self.model, self.washout = model, washout

    def forward(self, u, y):  # type: ignore[no-untyped-def]
        return self.model.unfold(u, y, self.washout)[0]


def shaken(build) -> Model:  # type: ignore[no-untyped-def]
    """A model none of whose weights is zero."""
    torch.manual_seed(1)
    model = build().double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model


def by_torch_func(model: Model, u, y, washout: int):  # type: ignore[no-untyped-def]
    module = Unfolded(model, washout)
    weights = {n: p.detach() for n, p in module.named_parameters()}
    jacobians = jacrev(lambda w: functional_call(module, w, (u, y)))(weights)
    flat = torch.cat([jacobians[n].flatten(3) for n in weights], dim=-1)
    return module(u, y).detach(), flat


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("block", [7, 2000])
@pytest.mark.parametrize("washout", [0, 6])
def test_sensitivities_are_the_jacobian_of_the_simulation(
    name: str, block: int, washout: int
) -> None:
    model = shaken(KINDS[name])
    u, y = torch.randn(30, 2).double(), torch.randn(30, 2).double()
    y_hat, jacobian = by_torch_func(model, u[None], y[None], washout)
    start = 0
    for part in model.sensitivities(u, y, block, with_state=False, washout=washout):
        assert part.start == start
        assert len(part.y_hat) <= block
        rows = slice(start, start + len(part.y_hat))
        torch.testing.assert_close(part.y_hat, y_hat[0, rows], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(part.jacobian, jacobian[0, rows], rtol=1e-9, atol=1e-11)
        start += len(part.y_hat)
    assert start == 30


@pytest.mark.parametrize("name", KINDS)
def test_a_batch_of_windows_is_the_windows_one_by_one(name: str) -> None:
    model = shaken(KINDS[name])
    u, y = torch.randn(3, 12, 2).double(), torch.randn(3, 12, 2).double()
    together = list(model.window_sensitivities(u, y, 5, with_state=False))
    for i in range(3):
        alone = list(model.sensitivities(u[i], y[i], 5, with_state=False))
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a.jacobian[i], b.jacobian, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in KINDS if "narx" not in n and n != "ffn"])
def test_the_initial_state_has_columns_of_its_own(name: str) -> None:
    model = shaken(KINDS[name])
    m = model.n_memory
    u, y = torch.randn(20, 2).double(), torch.randn(20, 2).double()
    state = torch.randn(model.state_size).double()

    def run(x):  # type: ignore[no-untyped-def]
        zero = x.new_zeros(1, 2 * model.feedback)
        return model._continue(u[None, m:], model._unflat(torch.cat([x[None], zero], 1)))[0][0]

    parts = list(model.sensitivities(u, y, 6, state=state))
    jacobian = torch.cat([p.jacobian for p in parts])[m:]
    y_hat = torch.cat([p.y_hat for p in parts])[m:]
    torch.testing.assert_close(y_hat, run(state), rtol=1e-12, atol=1e-12)
    count = sum(p.numel() for p in model.parameters())
    assert jacobian.shape == (20 - m, 2, count + model.state_size)
    torch.testing.assert_close(jacobian[..., count:], jacrev(run)(state), rtol=1e-9, atol=1e-11)


def test_frozen_weights_have_no_columns() -> None:
    model = shaken(KINDS["state space"])
    model.A.weight.requires_grad_(False)
    u, y = torch.randn(9, 2).double(), torch.randn(9, 2).double()
    (part,) = model.sensitivities(u, y, with_state=False)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert part.jacobian.shape == (9, 2, trained)


def test_a_bidirectional_model_has_no_sensitivities() -> None:
    model = GRU(1, 1, 2, bidirectional=True).double()
    u = torch.zeros(5, 1).double()
    with pytest.raises(ValueError, match="sensitivities must be of a model that runs forwards"):
        next(model.sensitivities(u, u))


def test_a_state_of_another_size_is_refused() -> None:
    u = torch.zeros(5, 1).double()
    with pytest.raises(ValueError, match="state must have 0 numbers"):
        next(NARX(1, 1, 1, 1).double().sensitivities(u, u, state=u[0]))


def test_many_windows_take_no_more_threads_than_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread for each of hundreds of windows made the normal equations 17 times slower."""
    taken = []

    def watched(pieces: Sequence[Callable[[], None]]) -> None:
        taken.append(len(pieces))
        for piece in pieces:
            piece()

    monkeypatch.setattr(sensitivities, "side_by_side", watched)
    model = shaken(KINDS["narx"])
    u, y = torch.randn(2, 50, 9, 2).double().unbind(0)
    list(model.window_sensitivities(u, y))
    assert taken
    assert max(taken) <= torch.get_num_threads()
