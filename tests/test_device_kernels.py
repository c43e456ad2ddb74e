"""The free run on a CUDA device against its reference; without one, by Triton's interpreter."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_kernels import ACTIVATIONS, CLOSE, draw, pairs, tame
from torch import Tensor

from sysid.kernels import backends, functions, reference
from sysid.kernels.backends import use_backend
from sysid.models import NARX, StateSpace

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None, reason="triton is not installed"
    ),
]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = st.fixed_dictionaries(
    {
        "steps": st.integers(1, 6),
        "batch": st.integers(1, 3),
        "inputs": st.integers(1, 3),
        "units": st.integers(1, 37),
        "lags": st.integers(1, 6),
        "outputs": st.integers(1, 4),
        "hidden": st.integers(0, 3),
        "seed": st.integers(0, 2**31),
    }
)


@pytest.fixture(autouse=True, scope="module")
def _interpreted() -> object:
    """Let kernels run on the processor where there is no device."""
    with pytest.MonkeyPatch.context() as patch:
        if DEVICE == "cpu":
            patch.setattr(backends, "_is_on_device", lambda t: not backends.is_transformed(t))
        yield


def outcome(name: str, arguments: list[Tensor], linear: bool, activation: str) -> list[Tensor]:
    """Values, and gradients by all arguments."""
    there = [a.detach().to(DEVICE).requires_grad_() for a in arguments]
    kept = [a.detach().clone() for a in there]
    path, rest = (there[2], there[3:]) if linear else (None, there[2:])
    with use_backend(name):
        y = functions.network(there[0], there[1], path, pairs(rest), activation)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=DEVICE).view(y.shape)
    found = [y, *torch.autograd.grad((y * weights).sum(), there)]
    for a, before in zip(there, kept, strict=True):
        torch.testing.assert_close(a, before, rtol=0, atol=0, equal_nan=True)
    return found


def close(ours: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    for a, b in zip(ours, theirs, strict=True):
        size = max(1.0, float(b.detach().abs().max()))
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * size)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(sizes=SIZES, activation=st.sampled_from(ACTIVATIONS), linear=st.booleans())
def test_equals_the_reference(
    dtype: torch.dtype, sizes: dict[str, int], activation: str, linear: bool
) -> None:
    t, b, m, h, lags, n = (
        sizes[k] for k in ("steps", "batch", "inputs", "units", "lags", "outputs")
    )
    shapes: list[tuple[int, ...]] = [(t, b, m), (lags, b, n)]
    shapes += [(n, lags * n + m)] if linear else []
    width = lags * n + m
    for i in range(sizes["hidden"]):
        shapes += [(h + i, width), (h + i,)]
        width = h + i
    arguments = tame(draw(sizes, dtype, *shapes, (n, width), (n,)), activation)
    close(
        outcome("auto", arguments, linear, activation),
        outcome("reference", arguments, linear, activation),
        CLOSE[dtype],
    )


def test_it_is_the_kernel_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = draw({"seed": 0}, torch.float64, (3, 2, 1), (2, 2, 1), (4, 3), (4,), (1, 4), (1,))
    expected = outcome("reference", arguments, False, "tanh")
    monkeypatch.setattr(reference, "network", None)
    close(outcome("auto", arguments, False, "tanh"), expected, 1e-10)


def test_nan_in_nan_out() -> None:
    arguments = draw({"seed": 0}, torch.float32, (6, 2, 1), (2, 2, 1), (4, 3), (4,), (1, 4), (1,))
    arguments[0].data[2, 1] = torch.nan
    for activation in ACTIVATIONS:
        y = outcome("auto", arguments, False, activation)[0]
        assert y[:4].isfinite().all()
        assert y[:, 0].isfinite().all()
        assert y[4:, 1].isnan().all()


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from sysid.kernels import device_loops

both = ["y", "values"]
forward = [*both, "entry", "linear", "between", "biases", "last"]
back = [*both, "d_y", "d_values", "entry_t", "linear_t", "between_t", "last_t"]
for loop, arrays in ((device_loops.forward, forward), (device_loops.back, back)):
    for real, layers, code in (("*fp32", 2, 0), ("*fp64", 1, 4), ("*fp32", 0, 0), ("*fp32", 1, 5)):
        sizes = dict(N=2, OUT=2, PAST=16, H=32, LAYERS=layers, CODE=code)
        signature = dict.fromkeys(arrays, real) | dict.fromkeys(["steps", "batch", "lags"], "i32")
        signature |= dict.fromkeys(sizes, "constexpr")
        source = ASTSource(fn=loop, signature=signature, constexprs=sizes)
        triton.compile(source, target=GPUTarget("cuda", 80, 32))
"""


def test_kernels_compile_for_a_device() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr


def test_a_layer_too_wide_runs_without_it_and_says_so() -> None:
    backends._warned.clear()
    wide = backends.DEVICE_WIDTH + 1
    shapes = (3, 2, 1), (2, 2, 1), (wide, 3), (wide,), (1, wide), (1,)
    arguments = draw({"seed": 0}, torch.float64, *shapes)
    with pytest.warns(UserWarning, match="a kernel holds 128 neurons"):
        outcome("auto", arguments, False, "tanh")


def test_a_gradient_of_a_gradient() -> None:
    arguments = draw({"seed": 0}, torch.float64, (3, 1, 1), (1, 1, 1), (2, 2), (2,), (1, 2), (1,))
    given_, start, *rest = (a.detach().to(DEVICE).requires_grad_() for a in arguments)

    def run(v: Tensor) -> Tensor:
        return functions.network(v, start, None, pairs(rest), "tanh")

    backends._warned.clear()
    with pytest.warns(UserWarning, match="gradient of a gradient"):
        assert torch.autograd.gradgradcheck(run, given_)


@pytest.mark.parametrize(
    "build",
    [
        lambda: NARX(2, 1, 3, 3, hidden_sizes=[6]),
        lambda: StateSpace(2, 1, 3, (5,), (), initial_state="zero"),
    ],
    ids=["narx", "state space"],
)
def test_models(build) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model = build().double().to(DEVICE)
    u, y = torch.randn(2, 40, 2, device=DEVICE).double(), torch.randn(2, 40, 1, device=DEVICE)
    found = []
    for name in ("auto", "reference"):
        model.zero_grad()
        with use_backend(name):
            y_hat, _ = model.unfold(u, y.double())
        ((y_hat - y) ** 2).mean().backward()
        found.append([y_hat, *(p.grad for p in model.parameters() if p.grad is not None)])
    close(*found, 1e-9)
