"""A grown model does what the smaller one did, and can learn more."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from systems import linear_record, two_by_two

import sysid
from sysid.models import FFN, GRU, LSTM, NARX, RNN, StateSpace

CASES = [
    (lambda: FFN(2, [3, 4], 2), {"hidden_sizes": (5, 4)}),
    (lambda: NARX(2, 2, 2, 2, 1, hidden_sizes=(3,)), {"na": 4, "nb": 3}),
    (lambda: NARX(2, 2, 2, 2, hidden_sizes=(3, 2)), {"hidden_sizes": (4, 6)}),
    (lambda: NARX(2, 2, 0, 2, hidden_sizes=(3,), linear=False), {"na": 2, "nb": 2}),
    (lambda: RNN(2, 2, 3, 2), {"hidden_size": 5}),
    (lambda: GRU(2, 2, 3, 2, bidirectional=True), {"hidden_size": 7}),
    (lambda: GRU(2, 2, 3, initial_state="encoder", n_init=4, feedback=True), {"hidden_size": 40}),
    (lambda: LSTM(2, 2, 3, 2, initial_state="learned", feedback=True), {"hidden_size": 4}),
    (lambda: StateSpace(2, 2, 2, (3,)), {"nx": 4}),
    (lambda: StateSpace(2, 2, 2, (3, 3), (4,), feedthrough=False), {"hidden_sizes": (5, 6)}),
    (
        lambda: StateSpace(2, 2, 2, (), (3,), initial_state="encoder", n_init=3),
        {"nx": 3, "output_hidden_sizes": (8,)},
    ),
    (lambda: StateSpace(2, 2, 2, (), (), initial_state="learned"), {"nx": 3}),
]


@pytest.mark.parametrize(("build", "larger"), CASES)
def test_the_outputs_stay_and_new_weights_get_gradients(build, larger) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    record = two_by_two(60)
    model = build().double()
    model.scaling.fit_([record])
    model.describe(record)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    grown = sysid.grow(model, **larger)
    record = record.replace(n_init=8)  # both start from the same samples
    # The sums have more terms, which are zero: the same to rounding.
    assert_allclose(grown.simulate(record), model.simulate(record), rtol=1e-9, atol=1e-12)
    assert sum(p.numel() for p in grown.parameters()) > sum(p.numel() for p in model.parameters())
    assert {k: getattr(grown, k) for k in larger} == larger
    assert grown.y_names == record.y_names
    u, y = (torch.tensor(b)[None] for b in (record.u, record.y / record.y.std(0)))
    (grown.unfold(u, y)[0] - y).square().mean().backward()
    old = dict(model.named_parameters())
    for name, p in grown.named_parameters():
        if p.shape != old[name].shape:
            assert p.grad.abs().sum() > 0, name


def test_growing_goes_on_from_what_was_reached() -> None:
    record = linear_record(400)
    settings = {"optimiser": "lm", "loss": "full_sequence", "max_epochs": 15, "washout": 4}
    torch.manual_seed(0)
    model = NARX(1, 1, 1, 1, hidden_sizes=(2,))
    small = sysid.fit(model, record, **settings)
    large = sysid.fit(sysid.grow(model, na=2, nb=2), record, **settings)
    assert large.history.train_loss.iloc[0] <= small.history.train_loss.iloc[-1] * (1 + 1e-6)
    assert large.history.train_loss.min() < 1e-3 * small.history.train_loss.min()


def test_growing_leaves_the_callers_random_stream_alone() -> None:
    model = GRU(1, 1, 2)
    before = torch.get_rng_state()
    first, second = sysid.grow(model, hidden_size=3), sysid.grow(model, hidden_size=3)
    assert torch.equal(before, torch.get_rng_state())
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not np.shares_memory(
        model.output.bias.detach().numpy(), first.output.bias.detach().numpy()
    )


@pytest.mark.parametrize(
    ("larger", "match"),
    [
        ({"na": 1}, "na must be at least 2, got 1"),
        ({"hidden_sizes": (4, 4)}, "hidden_sizes must have 1 sizes"),
        ({"hidden_sizes": (3,)}, "hidden_sizes must have 1 sizes of at least"),
        ({"nk": 1}, "nk must be one of hidden_sizes, na, nb to grow narx"),
    ],
)
def test_what_does_not_grow_is_refused(larger, match: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=match):
        sysid.grow(NARX(1, 1, 2, 2, hidden_sizes=(4,)), **larger)
