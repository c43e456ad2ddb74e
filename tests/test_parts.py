"""Layers that a user puts in the place of others are refused by name, and never passed over."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from systems import two_by_two
from test_models import EXAMPLES, make
from torch import nn
from torch.nn.utils import parametrize, prune

import sysid


class Positive(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.abs()


def other_f(model: sysid.StateSpace) -> None:
    model.f = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def other_activation_within(model: sysid.StateSpace) -> None:
    model.f[1] = nn.ReLU()


def larger_output(model: sysid.LSTM) -> None:
    model.output = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))


def no_output(model: sysid.LSTM) -> None:
    model.output = nn.Identity()


def parametrised(model: sysid.LSTM) -> None:
    parametrize.register_parametrization(model.output, "weight", Positive())


def parametrised_recurrence(model: sysid.LSTM) -> None:
    parametrize.register_parametrization(model.recurrence, "weight_hh_l0", Positive())


def pruned(model: sysid.NARX) -> None:
    prune.l1_unstructured(model.network[0], "weight", amount=0.5)


def another_layer(model: sysid.NARX) -> None:
    model.network.append(nn.Tanh())


def attribute_that_layers_do_not_follow(model: sysid.NARX) -> None:
    model.activation = "relu"


def new_layer(model: sysid.NARX) -> None:
    model.correction = nn.Linear(2, 2)


CASES: dict[str, tuple[Callable[[], sysid.Model], Callable[..., None], str]] = {
    "f": (lambda: sysid.StateSpace(2, 2, nx=2, hidden_sizes=(3,)), other_f, "f of a StateSpace"),
    "f.1": (
        lambda: sysid.StateSpace(2, 2, nx=2, hidden_sizes=(3,)),
        other_activation_within,
        r"f\.1 of a StateSpace must stay Tanh, got ReLU",
    ),
    "output": (lambda: sysid.LSTM(2, 2, 4), larger_output, "output of a LSTM must stay Linear"),
    "identity": (lambda: sysid.GRU(2, 2, 4), no_output, "output of a GRU must stay .* Identity"),
    "parametrised": (lambda: sysid.LSTM(2, 2, 4), parametrised, "output of a LSTM .*Parametrized"),
    "recurrence": (
        lambda: sysid.LSTM(2, 2, 4),
        parametrised_recurrence,
        "recurrence of a LSTM .*ParametrizedLSTM",
    ),
    "pruned": (lambda: sysid.NARX(2, 2, 1, 1), pruned, r"network\.0 of a NARX .*weight_orig"),
    "appended": (
        lambda: sysid.NARX(2, 2, 1, 1),
        another_layer,
        r"network\.3 of a NARX must stay without such a layer, got Tanh",
    ),
    "activation": (
        lambda: sysid.NARX(2, 2, 1, 1),
        attribute_that_layers_do_not_follow,
        r"network\.1 of a NARX must stay ReLU, got Tanh",
    ),
    "added": (lambda: sysid.NARX(2, 2, 1, 1), new_layer, "correction of a NARX"),
}
AT_ONCE = ("f", "output", "identity")


@pytest.mark.parametrize("case", CASES)
def test_another_layer_is_refused_by_name_before_it_is_passed_over(
    case: str, tmp_path: Path
) -> None:
    build, replace, words = CASES[case]
    model, record = build(), two_by_two(80)
    model.simulate(record)  # what was right before is looked at again
    if case in AT_ONCE:
        with pytest.raises(TypeError, match=words):
            replace(model)
        model.simulate(record)  # nothing was changed
        return
    replace(model)
    for work in (
        lambda: sysid.fit(model, record, max_epochs=1),
        lambda: model.simulate(record),
        lambda: model.save(tmp_path / "m.safetensors"),
        lambda: model.stream(),
        lambda: sysid.export(model, tmp_path / "m.c"),
    ):
        with pytest.raises(TypeError, match=f"{words}.*load_state_dict.*subclass of sysid.Model"):
            work()
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize("name", EXAMPLES)
def test_weights_of_the_same_shape_go_in_in_every_way(name: str) -> None:
    model, record = make(name), two_by_two(80)
    twin = model.fresh(seed=9).to(model.dtype)
    twin.scaling.load_state_dict(model.scaling.state_dict())
    expected = model.simulate(record)
    twin.load_state_dict(model.state_dict())
    assert (twin.simulate(record) == expected).all()
    for part, layer in list(model.named_children()):
        setattr(twin, part, copy.deepcopy(layer))  # the same layer in every way
    for weight, value in list(model.named_parameters(recurse=False)):
        setattr(twin, weight, nn.Parameter(value.detach().clone()))
    assert (twin.simulate(record) == expected).all()
    assert (copy.deepcopy(twin).simulate(record) == expected).all()


def test_torchs_own_weights_go_into_a_recurrence() -> None:
    model, other = sysid.GRU(2, 2, 4), nn.GRU(2, 4, batch_first=True)
    model.recurrence.load_state_dict(other.state_dict())
    model.simulate(two_by_two(40))
    with pytest.raises(TypeError, match="recurrence of a GRU must stay GRU"):
        model.recurrence = nn.GRU(2, 5, batch_first=True)


def test_looking_again_costs_nothing_to_speak_of() -> None:
    from time import perf_counter

    from sysid.models.parts import refuse_replaced

    model = sysid.StateSpace(2, 2, nx=2)
    refuse_replaced(model)
    began = perf_counter()
    for _ in range(50):
        refuse_replaced(model)
    assert perf_counter() - began < 1  # 0.2 ms each where nothing else runs


def test_a_subclass_with_layers_of_its_own_is_one_model() -> None:
    class Deeper(sysid.GRU):
        def __init__(self, nu: int, ny: int, hidden_size: int) -> None:
            super().__init__(nu, ny, hidden_size)
            self.extra = nn.Linear(ny, ny)

    model = Deeper(2, 2, 4)
    model.simulate(two_by_two(40))
