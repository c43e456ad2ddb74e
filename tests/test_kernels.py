"""Compiled recurrences against their plain PyTorch reference, in values and gradients."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch import Tensor
from torch.func import jvp

from sysid.kernels import backends, drivers, functions, reference
from sysid.kernels.backends import use_backend
from sysid.models import FFN, GRU, LSTM, NARX, RNN, StateSpace

SIZES = st.fixed_dictionaries(
    {
        "steps": st.integers(1, 30),
        "batch": st.integers(1, 11),
        "inputs": st.integers(1, 5),
        "units": st.integers(1, 37),
        "lags": st.integers(1, 6),
        "outputs": st.integers(1, 9),
        "seed": st.integers(0, 2**31),
    }
)
NETWORK = ("steps", "batch", "inputs", "units", "lags", "outputs")
ACTIVATIONS = ("tanh", "sigmoid", "relu", "elu", "softplus", "sinh")
# Both sum in another order: rounding, grown by the recurrence over its steps.
CLOSE = {torch.float64: 1e-10, torch.float32: 1e-4}

each_size = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def draw(sizes: dict[str, int], dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    """Tensors of the given shapes, small enough for a recurrence to be stable."""
    generator = torch.Generator().manual_seed(sizes["seed"])
    out = []
    for shape in shapes:
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        if len(shape) == 2:
            values = 0.7 * values / max(shape) ** 0.5
        out.append(values.to(dtype).requires_grad_())
    return out


def tame(arguments: list[Tensor], activation: str) -> list[Tensor]:
    """The same, and smaller for a network that would leave all bounds."""
    if activation == "sinh":
        for a in arguments:
            a.data.mul_(0.3)
    return arguments


def compare(name: str, arguments: list[Tensor], dtype: torch.dtype, call=None) -> None:  # type: ignore[no-untyped-def]
    """Values and gradients of the two, and nothing written to."""
    kept = [a.detach().clone() for a in arguments]
    call = call or (lambda module, a: getattr(module, name)(*a))
    results = []
    for module in (functions, reference):
        with use_backend("fused"):
            out = call(module, arguments)
        out = out if isinstance(out, tuple) else (out,)
        generator = torch.Generator().manual_seed(1)
        score = sum(
            (o * torch.randn(o.shape, generator=generator, dtype=torch.float64).to(dtype)).sum()
            for o in out
        )
        results.append([*out, *torch.autograd.grad(score, arguments)])
    for ours, theirs in zip(*results, strict=True):
        tolerance = CLOSE[dtype]
        size = max(1.0, float(theirs.detach().abs().max()))
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * size)
    for a, before in zip(arguments, kept, strict=True):
        assert torch.equal(a, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
class TestEqualsTheReference:
    @each_size
    @given(sizes=SIZES, activation=st.sampled_from(["tanh", "relu"]))
    def test_rnn(self, dtype: torch.dtype, sizes: dict[str, int], activation: str) -> None:
        t, b, n, h = (sizes[k] for k in ("steps", "batch", "inputs", "units"))
        arguments = draw(sizes, dtype, (t, b, n), (b, h), (h, n), (h, h), (h,), (h,))
        compare("rnn", arguments, dtype, lambda m, a: m.rnn(*a, activation))

    @each_size
    @given(sizes=SIZES)
    def test_gru(self, dtype: torch.dtype, sizes: dict[str, int]) -> None:
        t, b, n, h = (sizes[k] for k in ("steps", "batch", "inputs", "units"))
        shapes = (t, b, n), (b, h), (3 * h, n), (3 * h, h), (3 * h,), (3 * h,)
        compare("gru", draw(sizes, dtype, *shapes), dtype)

    @each_size
    @given(sizes=SIZES)
    def test_lstm(self, dtype: torch.dtype, sizes: dict[str, int]) -> None:
        t, b, n, h = (sizes[k] for k in ("steps", "batch", "inputs", "units"))
        shapes = (t, b, n), (b, h), (b, h), (4 * h, n), (4 * h, h), (4 * h,), (4 * h,)
        compare("lstm", draw(sizes, dtype, *shapes), dtype)

    @each_size
    @given(sizes=SIZES, activation=st.sampled_from(ACTIVATIONS), deep=st.booleans())
    def test_network(
        self, dtype: torch.dtype, sizes: dict[str, int], activation: str, deep: bool
    ) -> None:
        t, b, m, h, lags, n = (sizes[k] for k in NETWORK)
        last = 7 if deep else h
        shapes = [(t, b, m), (lags, b, n), (n, lags * n + m), (h, lags * n + m), (h,)]
        shapes += [(last, h), (last,)] if deep else []
        shapes += [(n, last), (n,)]
        compare(
            "network", tame(draw(sizes, dtype, *shapes), activation), dtype,
            lambda module, a: module.network(*a[:3], pairs(a[3:]), activation),
        )  # fmt: skip

    @each_size
    @given(sizes=SIZES, linear=st.booleans())
    def test_network_of_one_layer(
        self, dtype: torch.dtype, sizes: dict[str, int], linear: bool
    ) -> None:
        t, b, m, _, lags, n = (sizes[k] for k in NETWORK)
        shapes = [(t, b, m), (lags, b, n), (n, lags * n + m), (n,)]
        shapes += [(n, lags * n + m)] if linear else []
        compare(
            "network", draw(sizes, dtype, *shapes), dtype,
            lambda module, a: module.network(
                *a[:2], a[4] if linear else None, pairs(a[2:4]), "tanh"
            ),
        )  # fmt: skip


def pairs(a: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of layers."""
    return list(zip(a[::2], a[1::2], strict=True))


def test_three_hidden_layers_without_a_linear_path() -> None:
    shapes = [(9, 5, 2), (3, 5, 2), (6, 8), (6,), (5, 6), (5,), (4, 5), (4,), (2, 4), (2,)]
    compare(
        "network", draw({"seed": 0}, torch.float64, *shapes), torch.float64,
        lambda module, a: module.network(*a[:2], None, pairs(a[2:]), "sigmoid"),
    )  # fmt: skip


SMALL = {
    "rnn": lambda a: functions.rnn(*a, "tanh"),
    "gru": lambda a: functions.gru(*a),
    "lstm": lambda a: functions.lstm(*a),
    "network": lambda a: functions.network(*a[:3], pairs(a[3:]), "tanh")[2:],
}
SHAPES = {
    "rnn": [(4, 2, 2), (2, 3), (3, 2), (3, 3), (3,), (3,)],
    "gru": [(4, 2, 2), (2, 3), (9, 2), (9, 3), (9,), (9,)],
    "lstm": [(4, 2, 2), (2, 3), (2, 3), (12, 2), (12, 3), (12,), (12,)],
    "network": [(4, 2, 3), (2, 2, 1), (1, 5), (3, 5), (3,), (1, 3), (1,)],
}


@pytest.mark.parametrize("name", SMALL)
def test_gradcheck(name: str) -> None:
    arguments = draw({"seed": 3}, torch.float64, *SHAPES[name])
    with use_backend("fused"):
        assert torch.autograd.gradcheck(lambda *a: SMALL[name](a), arguments)


@pytest.mark.parametrize("name", SMALL)
def test_nan_in_nan_out(name: str) -> None:
    first, *rest = draw({"seed": 3}, torch.float64, *SHAPES[name])
    with torch.no_grad():
        first[1, 0, 0] = torch.nan
        with use_backend("fused"):
            out = SMALL[name]([first, *rest])
        out = out[0] if isinstance(out, tuple) else out
    assert out[1:, 0].isnan().all()
    assert out[:1].isfinite().all()
    assert out[:, 1].isfinite().all()


@pytest.mark.parametrize("activation", ["relu", "elu", "softplus", "sinh"])
def test_nan_passes_every_activation(activation: str) -> None:
    arguments = draw({"seed": 3}, torch.float64, *SHAPES["network"])
    with torch.no_grad():
        arguments[0][1] = torch.nan
        with use_backend("fused"):
            out = functions.network(*arguments[:3], pairs(arguments[3:]), activation)
        assert out[3:].isnan().all()


@pytest.mark.filterwarnings("ignore:a recurrence runs without compiled loops")
@pytest.mark.parametrize("name", SMALL)
def test_a_gradient_of_a_gradient_is_the_references(name: str) -> None:
    arguments = draw({"seed": 3}, torch.float64, *SHAPES[name])
    assert torch.autograd.gradgradcheck(lambda *a: SMALL[name](a), arguments)


def test_functional_transforms_take_the_reference_without_a_word() -> None:
    arguments = tuple(a.detach() for a in draw({"seed": 3}, torch.float64, *SHAPES["gru"]))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # of torch's own making
        _, ours = jvp(functions.gru, arguments, arguments)
        _, theirs = jvp(reference.gru, arguments, arguments)
    assert torch.equal(ours, theirs)


def test_what_cannot_run_falls_back_with_one_warning() -> None:
    backends._warned.clear()
    arguments = [a.detach().bfloat16() for a in draw({"seed": 3}, torch.float64, *SHAPES["gru"])]
    with pytest.warns(UserWarning, match=r"without compiled loops.*float32 or float64"):
        functions.gru(*arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        functions.gru(*arguments)
    with use_backend("fused"), pytest.raises(ValueError, match="must be able to run"):
        functions.gru(*arguments)
    with pytest.raises(ValueError, match="backend must be one of auto, fused, reference"), \
            use_backend("numba"):  # fmt: skip
        pass


def test_softplus_of_models_and_reference_is_not_linear_before_rounding_is() -> None:
    """Torch's own is linear from 20 on, where 2e-9 of it is missing."""
    z = torch.linspace(-60, 60, 241, dtype=torch.float64)
    exact = torch.logaddexp(torch.zeros_like(z), z)
    for softplus in (FFN(1, [1], 1, activation="softplus").network[1],
                     reference.ACTIVATIONS["softplus"]):  # fmt: skip
        torch.testing.assert_close(softplus(z), exact, rtol=1e-15, atol=1e-25)


def test_elementary_functions_are_exact_to_rounding() -> None:
    from sysid.kernels.elementary import ACTIVATION_CODES, activate

    x = np.concatenate([np.linspace(-50, 50, 20_001), np.geomspace(1e-300, 1, 2001)])
    wide = x.astype(np.longdouble)
    exact = {"tanh": np.tanh(wide), "sigmoid": 1 / (1 + np.exp(-wide)), "sinh": np.sinh(wide)}
    for name, value in exact.items():
        y = x[None].copy()
        activate(ACTIVATION_CODES[name], y, 0, 0, len(x))
        error = np.abs(y[0] - value) / np.maximum(np.abs(value), 1e-300)
        # The rounding of x itself, at exp(x), is |x| eps.
        assert (
            (error < (4 + np.abs(x)) * np.finfo(np.float64).eps) | (np.abs(value) < 1e-290)
        ).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sinh_ends_where_its_type_does(dtype: type) -> None:
    from sysid.kernels.elementary import ACTIVATION_CODES, activate

    largest = np.log(np.finfo(dtype).max) + np.log(2)
    x = np.array([0.99, 0.999, 1.01, 2.5, 100, -0.99, -1.01, -100], dtype) * dtype(largest)
    y = x[None].copy()
    activate(ACTIVATION_CODES["sinh"], y, 0, 0, len(x))
    with np.errstate(over="ignore"):
        assert_allclose(y[0], np.sinh(x), rtol=2 * largest * np.finfo(dtype).eps)


@pytest.mark.parametrize("cls", [RNN, GRU, LSTM])
def test_models_equal_torch_s_own_layers(cls) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    for two_way in (False, True):
        model = cls(2, 2, 5, num_layers=2, bidirectional=two_way).double()
        u = torch.randn(3, 20, 2, dtype=torch.float64)
        ours, state = model(u)
        with use_backend("reference"):
            theirs, other = model(u)
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(state, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "build",
    [
        lambda: NARX(2, 2, 3, 2, hidden_sizes=()),
        lambda: NARX(2, 2, 0, 2, hidden_sizes=(4,)),
        lambda: NARX(0, 2, 2, 0, hidden_sizes=(4, 3), linear=False),
        lambda: StateSpace(2, 2, 3, hidden_sizes=(), initial_state="zero"),
        lambda: StateSpace(0, 2, 3, hidden_sizes=(4,), initial_state="zero"),
    ],
)
def test_corner_kinds_run_by_both(build) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model = build().double()
    u, y = torch.randn(3, 15, model.nu).double(), torch.randn(3, 15, 2).double()
    results = []
    for name in ("fused", "reference"):
        model.zero_grad()
        with use_backend(name):
            y_hat, _ = model.unfold(u, y)
        y_hat.square().mean().backward()
        results.append([y_hat, *(p.grad for p in model.parameters() if p.grad is not None)])
    torch.testing.assert_close(results[0], results[1], rtol=1e-11, atol=1e-11)


@contextmanager
def short_segments(threads: int) -> Iterator[None]:
    """Cut even a short record in time, in pieces of four samples."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_WORK": 1, "_WORK_IN_TIME": 1, "_LONGEST": 4}.items():
            patch.setattr(drivers, name, value)
        try:
            yield
        finally:
            torch.set_num_threads(before)


CALLS = {
    "rnn": lambda m, a: m.rnn(*a, "tanh"),
    "gru": lambda m, a: m.gru(*a),
    "lstm": lambda m, a: m.lstm(*a),
    "network": lambda m, a: m.network(*a[:3], pairs(a[3:]), "tanh"),
    "linear": lambda m, a: m.network(*a[:2], None, pairs(a[2:]), "tanh"),
}


def of_length(name: str, t: int, b: int, h: int, lags: int = 2) -> list[tuple[int, ...]]:
    """Shapes of a recurrence's arguments, with two inputs; a network has one output."""
    gates = {"rnn": 1, "gru": 3, "lstm": 4}.get(name, 0) * h
    states = [(b, h)] * (2 if name == "lstm" else 1)
    if gates:
        return [(t, b, 2), *states, (gates, 2), (gates, h), (gates,), (gates,)]
    past = lags + 2
    shapes = [(t, b, 2), (lags, b, 1)]
    return shapes + (
        [(1, past), (1,)] if name == "linear" else [(1, past), (h, past), (h,), (1, h), (1,)]
    )


@pytest.mark.parametrize("name", CALLS)
class TestARecordCutInTime:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        seed=st.integers(0, 2**31), steps=st.integers(8, 90), batch=st.integers(1, 3),
        units=st.integers(1, 9), lags=st.integers(1, 6), single=st.booleans(),
    )  # fmt: skip
    def test_equals_the_reference(
        self, name: str, seed: int, steps: int, batch: int, units: int, lags: int, single: bool
    ) -> None:
        dtype = torch.float32 if single else torch.float64
        arguments = draw({"seed": seed}, dtype, *of_length(name, steps, batch, units, lags))
        with short_segments(3):
            assert len(drivers.plan(steps, batch, 10**6, 1).time) == min(3, steps // 4) + 1
            compare(name, arguments, dtype, CALLS[name])

    @pytest.mark.parametrize("gain", [1.0, 4.0])
    def test_does_not_change_a_bit_forward(self, name: str, gain: float) -> None:
        """With the larger gain, no start is ever forgotten."""
        arguments = [
            gain * a.detach() for a in draw({"seed": 0}, torch.float32, *of_length(name, 400, 1, 6))
        ]
        whole = CALLS[name](functions, arguments)
        for threads in (2, 3, 5):
            with short_segments(threads):
                parts = CALLS[name](functions, arguments)
            for a, b in zip(*(x if isinstance(x, tuple) else (x,) for x in (whole, parts)),
                            strict=True):  # fmt: skip
                assert a.numpy().tobytes() == b.numpy().tobytes()

    def test_runs_no_more_again_than_it_takes_to_forget(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arguments = [
            0.5 * a.detach() for a in draw({"seed": 0}, torch.float32, *of_length(name, 4000, 1, 6))
        ]
        for a in arguments:
            a.requires_grad_()
        steps = {"_forward": 0, "_back": 0}
        for loop in steps:
            run = getattr(drivers, loop)

            def counted(tape, count: int, *rest: int, loop: str = loop, run=run) -> None:  # type: ignore[no-untyped-def]
                steps[loop] += count
                run(tape, count, *rest)

            monkeypatch.setattr(drivers, loop, counted)
        with short_segments(2):
            out = CALLS[name](functions, arguments)
            torch.stack(
                [o.sum() for o in (out if isinstance(out, tuple) else (out,))]
            ).sum().backward()
        assert 4000 < steps["_forward"] < 4300
        assert 4000 < steps["_back"] < 4300

    def test_nan_in_nan_out(self, name: str) -> None:
        arguments = draw({"seed": 0}, torch.float64, *of_length(name, 60, 1, 4))
        with torch.no_grad():
            arguments[0][20] = torch.nan
        with short_segments(3):
            out = CALLS[name](functions, arguments)
        out = out[0] if isinstance(out, tuple) else out
        first = len(out) - 60 + 20
        assert out[:first].isfinite().all()
        assert out[first:].isnan().all()


@pytest.mark.parametrize("name", CALLS)
def test_an_empty_batch_has_an_empty_answer(name: str) -> None:
    arguments = draw({"seed": 0}, torch.float64, *of_length(name, 9, 0, 4))
    results = []
    for module in (functions, reference):
        out = CALLS[name](module, arguments)
        out = out[0] if isinstance(out, tuple) else out
        results.append([out, *torch.autograd.grad(out.sum(), arguments, materialize_grads=True)])
    assert results[0][0].shape[1] == 0
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)


def test_threads_do_not_change_a_bit() -> None:
    torch.manual_seed(0)
    model = GRU(1, 1, 16)
    u = torch.randn(64, 100, 1)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(model(u)[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)


def test_a_forked_child_does_not_wait_for_its_parents_threads() -> None:
    # In a process of its own: a fork of this one would take its threads' locks along.
    code = """
import os, torch
torch.set_num_threads(2)
from sysid.models import GRU
model, u = GRU(1, 1, 16), torch.zeros(64, 100, 1)
with torch.no_grad():
    model._run(u, model._start(64))
    if os.fork() == 0:
        from sysid.kernels import functions
        w = [p.detach() for p in model.recurrence.parameters()]
        functions.gru(u.transpose(0, 1), torch.zeros(64, 16), *w)
        os._exit(0)
    print(os.wait()[1])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "0"
