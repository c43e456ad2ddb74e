"""C code of every kind against simulate, compiled by gcc and clang without a warning."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from systems import two_by_two
from test_cli import run as command
from test_models import CAUSAL, make

import sysid
from sysid.deploy.c_code import C_ACTIVATIONS
from sysid.deploy.export import export
from sysid.models import ffn

FLAGS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]
# double: other sums in another order. float: 24 bits, through a hundred steps of a stable system.
TOLERANCE = {"double": 1e-12, "float": 1e-5}


def compiled(compiler: str, folder: Path) -> Path:
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    program = folder / f"plant_{compiler}"
    sources = ["plant.c", "plant_main.c"]
    done = subprocess.run(
        [compiler, *FLAGS, *sources, "-o", program, "-lm"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return program


def run(program: Path, record: sysid.Record, *arguments: object) -> np.ndarray:
    sysid.write(record, program.parent / "in.csv")
    command = [program, "in.csv", "out.csv", *map(str, arguments)]
    subprocess.run(command, cwd=program.parent, check=True)
    return np.loadtxt(program.parent / "out.csv", delimiter=",", skiprows=1, ndmin=2)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("dtype", ["double", "float"])
@pytest.mark.parametrize("name", CAUSAL)
def test_c_code_equals_simulate(name: str, dtype: str, compiler: str, tmp_path: Path) -> None:
    model, record = make(name), two_by_two(150)
    export(model, tmp_path / "plant.c", dtype=dtype)
    program = compiled(compiler, tmp_path)
    estimated = getattr(model, "initial_state", "") == "estimated"  # C starts from zero instead
    for n in {model.n_memory} if estimated else {model.n_memory, 1, 20}:
        expected = model.simulate(record.replace(n_init=n))
        error = (run(program, record, n) - expected)[n:] / expected.std(axis=0)
        assert np.abs(error).max() < TOLERANCE[dtype], n


@pytest.mark.parametrize("name", CAUSAL)
def test_the_code_takes_nothing_from_outside_but_math(name: str, tmp_path: Path) -> None:
    export(make(name), tmp_path / "plant.c")
    subprocess.run(["gcc", "-O2", "-c", "plant.c"], cwd=tmp_path, check=True)
    out = subprocess.run(["nm", "-u", "plant.o"], cwd=tmp_path, capture_output=True, text=True)
    used = {line.split()[-1] for line in out.stdout.splitlines()}
    # A compiler may write a loop over memory as a call of these three.
    assert used <= {"exp", "tanh", "memset", "memcpy", "memmove"}
    assert "#include <math.h>" in (tmp_path / "plant.c").read_text()
    includes = re.findall(r"#include (.*)", (tmp_path / "plant.c").read_text())
    assert includes == ['"plant.h"', "<math.h>"]


@pytest.mark.parametrize("activation", C_ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["double", "float"])
def test_every_activation(activation: str, dtype: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = sysid.FFN(1, (6, 5), 1, activation).double()
    limit = 3 if activation == "sinh" else 60  # into all saturations
    record = sysid.Record(np.linspace(-limit, limit, 500), np.zeros(500))
    export(model, tmp_path / "plant.c", dtype=dtype)
    expected = model.simulate(record)
    actual = run(compiled("gcc", tmp_path), record)
    # Float: the arguments are up to 60, of which 24 bits leave 4e-6.
    tolerance = TOLERANCE[dtype] * 10
    assert_allclose(actual / expected.std(), expected / expected.std(), rtol=0, atol=tolerance)


def test_all_activations_have_c_code() -> None:
    assert set(C_ACTIVATIONS) == set(ffn.ACTIVATIONS)


def test_an_activation_without_c_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ffn.ACTIVATIONS, "mish", torch.nn.Mish)
    model = sysid.FFN(1, (3,), 1, "mish")
    with pytest.raises(ValueError, match=r"activation must be one of tanh, .* got 'mish'"):
        export(model, tmp_path / "plant.c")
    assert list(tmp_path.iterdir()) == []


OBSERVING = """
#include "plant.h"
#include <stdio.h>
int main(void)
{
    plant_state s;
    plant_real u[2], y[2], seen[2];
    double a, b, c, d;
    int k = 0;
    while (scanf("%lf,%lf,%lf,%lf", &a, &b, &c, &d) == 4) {
        u[0] = a; u[1] = b; seen[0] = c; seen[1] = d;
        if (k++ == 0 && plant_reset(&s, u, seen, 1) != 0)
            return 1;
        if (k > 1) {
            plant_step(&s, u, y);
            plant_observe(&s, seen);
            printf("%.17g,%.17g\\n", y[0], y[1]);
        }
    }
    return 0;
}
"""


@pytest.mark.parametrize("name", ["narx", "rnn_feedback"])
def test_observed_outputs_make_steps_predictions(name: str, tmp_path: Path) -> None:
    model, record = make(name), two_by_two(60)
    export(model, tmp_path / "plant.c")
    (tmp_path / "plant_main.c").write_text(OBSERVING)
    program = compiled("gcc", tmp_path)
    rows = "\n".join(",".join(f"{v:.17g}" for v in r) for r in np.hstack([record.u, record.y]))
    done = subprocess.run([program], input=rows, capture_output=True, text=True, check=True)
    actual = np.loadtxt(done.stdout.splitlines(), delimiter=",")
    expected = model.predict(record)[1:]
    seen = ~np.isnan(expected)
    seen[: model.n_memory] = False
    assert_allclose(actual[seen], expected[seen], rtol=1e-10, atol=1e-10)


def test_the_header_says_what_the_model_is(tmp_path: Path) -> None:
    model = make("lstm")
    model.u_names, model.u_units = ("pump", "a */ b"), ("V", "")
    model.y_units = ("m", "")
    files = export(model, tmp_path / "plant.c", notes=["fit of y1 on test: 97.5 %"])
    assert [f.name for f in files] == ["plant.h", "plant.c", "plant_main.c"]
    text = files[0].read_text()
    for part in ("pump [V]", "y1 [m]", "0.1 s", "hidden_size = 4", "97.5 %", "a * / b"):
        assert part in text
    compiled("gcc", tmp_path)


def test_a_program_without_its_columns_or_its_start_says_so(tmp_path: Path) -> None:
    export(make("narx"), tmp_path / "plant.c")
    program = compiled("gcc", tmp_path)
    for text, match in (("u1,y1,y2\n1,2,3\n", "called u2"), ("u1,u2,y1,y2\n1,2,3,4\n", "start")):
        (tmp_path / "in.csv").write_text(text)
        done = subprocess.run(
            [program, "in.csv", "out.csv"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert match in done.stderr


def test_wrong_requests(tmp_path: Path) -> None:
    model = make("lstm")
    (tmp_path / "there.h").touch()
    for path, match, options in (
        ("plant.txt", r"format must be onnx for NAME.onnx, c for NAME.c, got None", {}),
        ("plant.c", r"format must be .*, got onnx", {"format": "onnx"}),
        ("no/plant.c", "path must be in a directory that exists", {}),
        ("there.c", r"path must be new, got .*there.h, which exists", {}),
        ("3-plant.c", r"path must be a C identifier with .c, got '3-plant.c'", {}),
        ("plant.c", "dtype must be double or float, got 'half'", {"dtype": "half"}),
    ):
        with pytest.raises(ValueError, match=match):
            export(model, tmp_path / path, **options)
    with pytest.raises(ValueError, match="model must be one-way to export to C"):
        export(make("lstm_both_ways"), tmp_path / "plant.c")
    assert [f.name for f in tmp_path.iterdir()] == ["there.h"]


def test_the_command_exports_a_run_with_its_figures(tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.mkdir()
    sysid.save(make("narx"), done / "model.safetensors")
    simulation = {"rmse": 0.25, "nrmse": 0.05, "fit_index": 95.125, "r2": 0.99}
    figures = {"test": {"run3": {"y1": {"simulation": simulation}}}}
    (done / "metrics.json").write_text(json.dumps(figures))
    said = command("export", "done", "-o", "plant.c", "--dtype", "float", cwd=tmp_path).stdout
    assert said.split() == ["plant.h", "plant.c", "plant_main.c"]
    header = (tmp_path / "plant.h").read_text()
    assert "fit of y1 on test record run3: 95.12 % in free run, rmse 0.25" in header
    assert "typedef float plant_real" in header
    compiled("gcc", tmp_path)
    out = command("export", "done/model.safetensors", "-o", "p.onnx", "--json", cwd=tmp_path).stdout
    assert json.loads(out) == {"files": ["p.onnx", "p_step.onnx"]}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("export", "m.safetensors", "-o", "there.c"), "path must be new, got there.c"),
        (("export", "m.safetensors", "-o", "x.c", "--format", "onnx"), "format must be"),
        (("export", "m.safetensors", "-o", "x.c", "--dtype", "half"), "dtype must be double"),
        (("export", "both.safetensors", "-o", "x.c"), "model must be one-way to export to C"),
        (("export", "none", "-o", "x.c"), "must exist"),
    ],
)
def test_a_wrong_command_gets_one_line(
    arguments: tuple[str, ...], match: str, tmp_path: Path
) -> None:
    sysid.save(make("narx"), tmp_path / "m.safetensors")
    sysid.save(make("lstm_both_ways"), tmp_path / "both.safetensors")
    (tmp_path / "there.c").touch()
    before = set(tmp_path.iterdir())
    message = command(*arguments, cwd=tmp_path, code=2).stderr
    assert match in message
    assert message.count("\n") == 1
    assert set(tmp_path.iterdir()) == before
