# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 9. From notebook to config to sweep
#
# A notebook is for finding out; a result that others shall rely on needs to be run again by somebody
# else, next year, on another machine. This notebook turns an experiment into a config of a dozen lines,
# gets the same numbers from it to the bit, and lets a sweep search for better ones.

# %%
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import yaml

import sysid

folder = Path(tempfile.mkdtemp())  # what this notebook writes goes there


def shell(line):
    """Run a command of sysid in the folder, and show what a terminal of 100 columns would."""
    print("$", line)
    arguments = [sys.executable, "-m", *shlex.split(line)]
    plain = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "CLICOLOR_FORCE")}
    done = subprocess.run(
        arguments, cwd=folder, env=plain, capture_output=True, text=True, check=False
    )
    for text in (done.stdout + done.stderr).strip().splitlines():
        print(text[:100].rstrip())
    print(f"(exit code {done.returncode})" if done.returncode else "")


# %% [markdown]
# ## The experiment, in Python
#
# What the notebooks before this one did: data, a split, a model, a training, a figure of merit. The
# state of such an experiment is spread over cells that were run in some order, and a few numbers in
# your head.

# %%
record = sysid.generate("cascaded_tanks", 2000, seed=0, noise=0.01)
test = sysid.generate("cascaded_tanks", 2000, seed=1, noise=0.01)
past, valid = sysid.split_time(record, fraction=0.2, gap=120)

torch.manual_seed(0)
model = sysid.GRU(nu=1, ny=1, hidden_size=12)
result = sysid.fit(
    model, past, valid,
    loss="subsequence", length=120, stride=6, washout=50, batch_size=32,
    learning_rate=1e-2, schedule="cosine", clip=1.0, max_epochs=25, seed=0,
)  # fmt: skip
y_hat = model.simulate(test)
in_notebook = float(sysid.fit_index(test.y, y_hat)[0])
print(f"fit of the free run on the test record: {in_notebook:.2f} %")

# %% [markdown]
# ## The same as a config
#
# The keys of `training` are the keywords of `sysid.fit`, and those of `model` the arguments of the
# class. What is left out has its default, and defaults are written out in the run directory, so that a
# change of defaults in a later version does not change an old result.

# %%
config = """\
name: tanks-gru
seed: 0
data: {source: system, name: cascaded_tanks, samples: 2000, noise: 0.01}
model: {kind: gru, hidden_size: 12}
training:
  loss: subsequence
  length: 120
  stride: 6
  washout: 50
  batch_size: 32
  learning_rate: 1e-2
  schedule: cosine
  clip: 1.0
  max_epochs: 25
"""
(folder / "tanks.yaml").write_text(config)
shell("sysid train tanks.yaml --out run")

# %% [markdown]
# With files in place of the built-in system the `data` section reads
# `{source: files, train: [run1.csv, run2.csv], test: [run3.csv], u: [pump], y: [level], time: t}`.
#
# The directory has all that is needed to look at the result, to use it, and to make it again:

# %%
for path in sorted((folder / "run").iterdir()):
    print(path.name)
from_run = sysid.load(folder / "run" / "model.safetensors")
y_run = from_run.simulate(test)
print("the same bits as in the notebook:", np.array_equal(y_run, y_hat))

# %% [markdown]
# ## What goes wrong, and when it is told
#
# A wrong key in a dictionary of settings is silently ignored by many tools, and one trains for a night
# with the default. Here the config is checked as a whole, before data are read, and everything that is
# wrong is told at once:

# %%
wrong = yaml.safe_load(config)
wrong["training"] |= {"lenght": 200, "optimiser": "adamm"}
wrong["data"]["sample"] = 3000
(folder / "wrong.yaml").write_text(yaml.safe_dump(wrong))
shell("sysid train wrong.yaml")

# %% [markdown]
# One number is changed on the command line, where the shell's history remembers it, and in no other
# place than the copy of the config in the run directory:

# %%
shell("sysid train tanks.yaml --set training.washout=0 --out no-washout")
shell("sysid compare run no-washout")

# %% [markdown]
# ## A sweep
#
# A `sweep` section names keys and what they may be. Each trial is a training; the free run on the
# *validation* part decides, and the test record is never looked at. Trials that are clearly behind are
# ended early.

# %%
searching = yaml.safe_load(config) | {
    "name": "tanks-sweep",
    "sweep": {
        "trials": 8,
        "space": {
            "model.hidden_size": {"int": [4, 24], "log": True},
            "training.learning_rate": {"float": [1e-3, 3e-2], "log": True},
            "training.washout": {"choice": [0, 25, 50, 75]},
        },
    },
}
(folder / "sweep.yaml").write_text(yaml.safe_dump(searching, sort_keys=False))
command = [sys.executable, "-m", "sysid", "sweep", "sweep.yaml", "--out", "sweep"]
subprocess.run(command, cwd=folder, capture_output=True, check=True)

trials = pd.read_csv(folder / "sweep" / "trials.csv")
shown = ["state", "valid_loss", "model.hidden_size", "training.learning_rate", "training.washout"]
trials[[*shown, "epochs"]].round(5)

# %%
complete = trials[trials.state == "complete"]
figure, panels = plt.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
for axes, key in zip(panels, searching["sweep"]["space"], strict=True):
    axes.semilogy(complete[key], np.sqrt(complete.valid_loss), "o")
    axes.plot(complete[key].iloc[:1], np.sqrt(complete.valid_loss.iloc[:1]), "o", ms=12, mfc="none")
    axes.set(xlabel=key.split(".")[1].replace("_", " "))
panels[1].set_xscale("log")
panels[2].set_xlabel("washout (samples)")
panels[0].set_ylabel("validation, RMS error / std")
plt.show()

# %% [markdown]
# Eight trials in three dimensions are few: the plot tells which key matters, not which value is best. A
# second sweep around the best trial, or `--workers 4`, is the next step. A sweep that was interrupted
# goes on with the same command; with `--storage postgresql://...` several machines share one.
#
# The best trial is left as a config that can be run like any other:

# %%
best = yaml.safe_load((folder / "sweep" / "best.yaml").read_text())
print(yaml.safe_dump({k: best[k] for k in ("name", "model", "training")}, sort_keys=False))
shell("sysid train sweep/best.yaml --out best")
swept = sysid.load(folder / "best" / "model.safetensors")
swept_fit = float(sysid.fit_index(test.y, swept.simulate(test))[0])
print(f"test record: {in_notebook:.1f} % by hand, {swept_fit:.1f} % after the sweep")

# %% [markdown]
# The sweep has found what validates better; whether it also tests better is another question, and the
# line above answers it for this record. A choice among trials by a few hundred samples is itself
# noisy, and a percent in either direction is what it costs (see the exercise). More validation data are
# worth more than more trials.
#
# From here on it is engineering: the config goes into version control, the run directory is the result,
# `report.html` in it goes to those who asked the question, and `sysid export best -o plant.c` to where
# the model is to work.

# %% tags=["figures"]
{"in the notebook": round(in_notebook, 1), "best of the sweep": round(swept_fit, 1)}

# %% [markdown]
# ## Exercise
#
# Suppose that the sweep had chosen by the *test* record. How much too good would its figure be? Take
# ten models that are all equally good, whose fits on a record scatter by half a percent, choose the best on
# one record and look at it on another.
#
# <details><summary>Answer</summary>
#
# ```python
# rng = np.random.default_rng(0)
# fits = 90 + 0.5 * rng.standard_normal((10_000, 10, 2))  # repetitions, models, records
# chosen = fits[:, :, 0].argmax(axis=1)
# rows = np.arange(len(fits))
# print("reported:", fits[rows, chosen, 0].mean(), " on another record:", fits[rows, chosen, 1].mean())
# ```
#
# The reported fit is too good by one and a half standard deviations, and the more trials the more so; the
# model itself is no better than any of the others. This is also true of the validation record, which is why
# its figure is no result either: it chooses, and the test record tells.
#
# </details>
