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
# # 5. Subsequences
#
# Instead of unfolding a network over a whole record of $T$ samples one can cut it into many windows of
# $L \ll T$ and learn from batches of them. This notebook shows what that does to the loss, to the
# gradient, to the processor time and to the accuracy, side by side.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

import sysid

# %% [markdown]
# ## Windows
#
# Window $q$ starts at $t_q$; the network is unfolded for $L$ steps in each, and the loss is the mean
# over the $Q$ windows:
#
# $$\mathcal L^{(q)} = \frac1L\sum_{i=0}^{L-1}\bigl\|\hat y(t_q+i) - y(t_q+i)\bigr\|^2, \qquad
#   \mathcal L = \frac1Q\sum_{q=1}^{Q} \mathcal L^{(q)}$$
#
# The distance between starts is the `stride` $s$. With $s = L$ windows do not overlap, with $s = 1$ each
# sample is in $L$ of them; there are $Q = \lfloor (T-L)/s \rfloor + 1$.

# %%
record = sysid.generate("cascaded_tanks", 3000, seed=0, noise=0.01)
test = sysid.generate("cascaded_tanks", 1500, seed=1, noise=0.01)
past, valid = sysid.split_time(record, fraction=0.2, gap=240)

minutes = np.arange(300) * record.sampling_time / 60
figure, panels = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
for axes, stride in zip(panels, (80, 20), strict=True):
    axes.plot(minutes, record.y[:300], color="0.7")
    for q, start in enumerate(range(0, 300 - 80 + 1, stride)):
        ends = np.array([start, start + 79]) * record.sampling_time / 60
        axes.plot(ends, [-0.6 - 0.4 * q] * 2, color=f"C{q % 10}", lw=3, solid_capstyle="butt")
    axes.set(title=f"$L = 80$, stride {stride}", xlabel="time (min)")
panels[0].set(ylabel="level (V)")
plt.show()

# %% [markdown]
# `Subsequences` makes the windows as views, so that a stride of 1 costs no memory. No window reaches
# across two records or over a missing sample, and `report` accounts for what was dropped. Suppose that
# the level sensor failed for a while:

# %%
y = np.array(record.y)
y[1000:1010] = np.nan
gappy = record.replace(y=y, name="with a gap of 10")
for r in (record, gappy):
    print(sysid.Subsequences([r], length=80, stride=20).report().to_string(index=False))

windows = sysid.Subsequences([record], length=80, stride=20)
u_batch, y_batch = windows.batch(torch.arange(32))
print("a batch:", tuple(u_batch.shape), tuple(y_batch.shape), "(windows, samples, channels)")

# %% [markdown]
# ## What the loss means
#
# Each window starts from a state that nobody knows; by default from zero. The error is therefore
# largest at the start of each window, for a reason that has nothing to do with the weights. The
# curves below are the same network trained without and with a washout of 60 samples, judged on windows
# of the validation record at each position in the window.


# %%
def train(length, stride, washout, steps=500, batch_size=32, seed=0):
    """Train a GRU by a number of gradient steps; return it and the processor time, s."""
    torch.manual_seed(seed)
    model = sysid.GRU(nu=1, ny=1, hidden_size=12)
    q = len(sysid.Subsequences(past, length, stride))
    batch_size = min(batch_size, q)
    before = time.process_time()
    sysid.fit(
        model, past,
        loss="subsequence", length=length, stride=stride, washout=washout,
        batch_size=batch_size, learning_rate=1e-2, schedule="cosine", clip=1.0,
        max_epochs=max(1, round(steps / np.ceil(q / batch_size))),
    )  # fmt: skip
    return model, time.process_time() - before


def fit(model):
    """Return the fit of the free run on the test record after 100 samples, in percent."""
    return float(sysid.fit_index(test.y[100:], model.simulate(test)[100:])[0])


def error_by_position(model, length=240):
    """Return the RMS error at each position of the windows of the validation record."""
    u, y = sysid.Subsequences(valid, length, stride=4).batch(torch.arange(80))
    with torch.no_grad():
        y_hat, _ = model(u)
    return (y_hat - y).square().mean(dim=(0, 2)).sqrt().numpy()


figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
models = {}
for washout in (0, 60):
    models[washout], _ = train(120, 10, washout)
    axes.semilogy(error_by_position(models[washout]), label=f"trained with washout {washout}")
    print(f"washout {washout:2}: free-run fit on the test record {fit(models[washout]):.1f} %")
axes.axhline(0.01 * record.y.std(), color="k", lw=0.8, ls=":")
axes.text(190, 0.0113 * record.y.std(), "noise")
axes.axvline(120, color="0.7", lw=1)
axes.text(122, 1.2, "$L$")
axes.set(xlabel="position in the window (samples)", ylabel="RMS error (V)")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# Without a washout the loss is dominated by samples that no weights can get right. The optimiser spends
# the network on them all the same: the beginning is no better for it, and the rest of the window is
# worse, and the rest of the window is what a simulation consists of. A washout should be about as
# long as the plant remembers, and $L$ a few times that.
#
# ## Speed and accuracy, side by side
#
# The same network, the same number of gradient steps. The last row is the other end, $L = T$: the
# record as one sequence.

# %%
rows = []
for length, washout in ((10, 0), (30, 10), (90, 45), (240, 60)):
    model, seconds = train(length, max(1, length // 8), washout)
    rows.append([length, washout, 32 * length, round(seconds, 1), round(fit(model), 1)])

torch.manual_seed(0)
model = sysid.GRU(nu=1, ny=1, hidden_size=12)
before = time.process_time()
sysid.fit(
    model, past, loss="full_sequence", washout=60,
    learning_rate=1e-2, schedule="cosine", clip=1.0, max_epochs=500,
)  # fmt: skip
seconds = time.process_time() - before
rows.append([len(past[0]), 60, len(past[0]), round(seconds, 1), round(fit(model), 1)])
table = pd.DataFrame(
    rows,
    columns=["L", "washout", "samples a step", "processor time (s)", "free-run fit (%)"],
)
table

# %%
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.semilogx(table["L"], table["free-run fit (%)"], "o-")
axes.set(xlabel="window length $L$ (samples)", ylabel="free-run fit (%)")
axes.set_xticks(table["L"], table["L"])
axes.minorticks_off()
plt.show()

# %% [markdown]
# - **$L$ too short**: fast, and wrong in a way that more steps do not cure. A window that is shorter
#   than the plant's memory starts from a wrong state and ends before it is forgotten. What is
#   learned is to settle in a hurry; the fit below zero says that the mean would have been better.
# - **$L$ long enough**: the samples of one window have to be computed one after the other, those of
#   different windows together, and a step with several times the samples costs less than that many
#   times the processor time. With a large record this is what makes training affordable, and a
#   random draw of windows looks at many places of it in each step.
# - **$L = T$**: exact, but for one state at the beginning; each step sees everything. It is sequential
#   work, and the path stored for the way back is as long as the record. On a record that is as short as
#   this one it is the best choice, and for `lbfgs` and `lm`, which want all of the data in each
#   step, the natural one ([notebook 4](04_rnn.ipynb), [notebook 8](08_real_plant.ipynb)).
#
# ## Overlap
#
# Overlapping windows hold no new measurements. What they do give is each sample at many positions,
# and more distinct batches: below, the same number of gradient steps with and without overlap.

# %%
rows = []
for stride in (90, 30, 5):
    q = len(sysid.Subsequences(past, 90, stride))
    model, seconds = train(90, stride, 45)
    rows.append([stride, q, round(seconds, 1), round(fit(model), 1)])
pd.DataFrame(rows, columns=["stride", "windows", "processor time (s)", "free-run fit (%)"])

# %% [markdown]
# Overlap matters most where windows are few. And it is why validation windows must never be drawn at
# random from the same record: with a stride of 1, each would share all but one of its samples with a
# training window.

# %% tags=["figures"]
{
    "washout 0": round(fit(models[0]), 1),
    "washout 60": round(fit(models[60]), 1),
    "L = 240": float(table["free-run fit (%)"].iloc[3]),
}

# %% [markdown]
# ## Exercise
#
# `truncate=100` in `loss="full_sequence"` cuts the gradient every 100 samples but carries the state on.
# What is the same as in windows of 100, and what is not? Say before you try which of the two needs a
# washout.
#
# <details><summary>Answer</summary>
#
# ```python
# torch.manual_seed(0)
# model = sysid.GRU(nu=1, ny=1, hidden_size=12)
# sysid.fit(
#     model, past, loss="full_sequence", truncate=100, washout=60,
#     learning_rate=1e-2, clip=1.0, max_epochs=5,
# )
# print(fit(model))
# ```
#
# In both the gradient looks back 100 samples at most, so neither can learn what only a longer look
# would tell. But with `truncate` the state that each piece begins with is the one that the piece before
# ended with, right up to the weights' last change: there is one wrong start in the record in place of
# one in each window, and the washout is needed once. In return the pieces have to come in order, one
# after the other, where windows can be shuffled and batched.
#
# </details>
