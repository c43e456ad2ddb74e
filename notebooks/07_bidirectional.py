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
# # 7. Bidirectional networks
#
# A bidirectional network runs over a record in both directions and combines the two states. It cannot
# predict, since it has seen the future; what it can do is tell what an output must have been from
# what came before *and* after, which is smoothing.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

import sysid

# %% [markdown]
# ## Two recurrences
#
# $$\overrightarrow{h}(t) = f_1\bigl(\overrightarrow{h}(t-1), u(t)\bigr), \qquad
#   \overleftarrow{h}(t) = f_2\bigl(\overleftarrow{h}(t+1), u(t)\bigr), \qquad
#   \hat y(t) = g\bigl(\overrightarrow{h}(t), \overleftarrow{h}(t)\bigr)$$
#
# The second one starts at the end of the record. So $\hat y(t)$ depends on every $u$, earlier and later.
# Whether a model is causal need not be argued: the matrix of derivatives
# $\partial \hat y(k) / \partial u(j)$ of a causal model is zero above its diagonal.


# %%
def derivatives(model, samples=40):
    """Return |d y_hat(k) / d u(j)|, a row for each k."""
    u = torch.randn(1, samples, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = model.double()
    rows = torch.autograd.functional.jacobian(lambda u: model(u)[0][0, :, 0], u)
    return rows[:, 0, :, 0].abs().numpy()


figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for axes, two_way in zip(panels, (False, True), strict=True):
    torch.manual_seed(0)
    model = sysid.LSTM(nu=1, ny=1, hidden_size=8, bidirectional=two_way)
    values = derivatives(model)
    image = axes.imshow(np.log10(np.maximum(values, 1e-12)), vmin=-6, vmax=-1, cmap="viridis")
    axes.set(
        xlabel="$j$, sample of the input", ylabel="$k$, sample of the output",
        title="bidirectional" if two_way else "one-way",
    )  # fmt: skip
    above = values[np.triu_indices_from(values, 1)]
    print(f"{'bidirectional' if two_way else 'one-way':14} largest entry above: {above.max():.2e}")
figure.colorbar(image, ax=panels, label=r"$\log_{10}|\partial\hat y(k)/\partial u(j)|$")
plt.show()

# %% [markdown]
# *Exactly* zero on the left. On the right the network would have to know the inputs of tomorrow, and
# so `sysid` refuses to run one sample by sample:

# %%
try:
    model.stream()
except ValueError as error:
    print(error)

# %% [markdown]
# ## What the future is good for
#
# To *simulate* a causal plant from its inputs the future is of no use: $y(t)$ does not depend on
# $u(t+1)$. The future is worth something where past outputs are known only in part, or with noise,
# because what comes after $y(t)$ bears its traces.
#
# Here the level sensor of the two tanks has 5 % of noise, and a fifth of its samples is missing. The
# test record is damaged in the same way, but we know what it was.

# %%
NOISE, MISSING = 0.05, 0.2


def damaged(record, seed):
    """Return the record with a share of its outputs missing."""
    gone = np.random.default_rng(seed).random(record.y.shape) < MISSING
    return record.replace(y=np.where(gone, np.nan, record.y))


measured = damaged(sysid.generate("cascaded_tanks", 6000, seed=0, noise=NOISE), seed=10)
test = damaged(sysid.generate("cascaded_tanks", 1000, seed=1, noise=NOISE), seed=11)
true = sysid.generate("cascaded_tanks", 1000, seed=1).y
gone = np.isnan(test.y)
print(f"{gone.sum()} of {len(test)} levels are missing")

# %% [markdown]
# ## Learning to smooth without knowing the truth
#
# The truth is never in the training data. The trick is to hide some of the *measured* outputs from the
# network, feed it with the others, and ask for the hidden ones. Their noise is independent of all that
# the network sees, so on average it cannot be fitted, and what remains to be learned is the plant.
#
# `hide_outputs` makes such records: the inputs, the outputs that are left as a line through them, and
# a flag for what is hidden.

# %%
past, last = sysid.split_time(measured, fraction=0.2, gap=100)
hidden = sysid.hide_outputs(past, share=0.2, length=100, copies=8)
print(len(hidden), "pieces; channels that go in:", ", ".join(hidden[0].u_names))

smoothers = {}
for name, two_way in (("one-way", False), ("bidirectional", True)):
    torch.manual_seed(0)
    model = sysid.LSTM(hidden[0].nu, hidden[0].ny, 16, bidirectional=two_way)
    sysid.fit(
        model, hidden, sysid.hide_outputs(last, seed=1),
        loss="full_sequence", batch_size=16, learning_rate=5e-3, schedule="cosine", clip=1.0,
        max_epochs=25,
    )  # fmt: skip
    smoothers[name] = model

# %% [markdown]
# `smooth` deals the measured outputs into ten folds, hides each once, and puts the answers together, so
# that no output is told from itself. The straight line between the neighbours is what one would do
# without a model.

# %%
k = np.arange(len(test))
line = np.interp(k, k[~gone[:, 0]], test.y[~gone[:, 0], 0])[:, None]
found = {"line": line} | {name: sysid.smooth(m, test) for name, m in smoothers.items()}

rows = {
    name: {
        "missing samples": sysid.nrmse(true[gone], y[gone])[0],
        "all samples": sysid.nrmse(true, y)[0],
    }
    for name, y in found.items()
}
rows["measured"] = {
    "missing samples": np.nan,
    "all samples": sysid.nrmse(true[~gone], test.y[~gone])[0],
}
pd.DataFrame(rows).T.round(4).rename_axis("RMS error to the truth / std")

# %%
shown = slice(300, 420)
minutes = np.arange(shown.start, shown.stop) * test.sampling_time / 60
figure, axes = plt.subplots(2, 1, figsize=(9, 4.6), sharex=True, layout="constrained")
axes[0].plot(minutes, true[shown], color="k", lw=1, label="true")
axes[0].plot(minutes, test.y[shown], ".", color="0.6", ms=5, label="measured")
for i, (name, y) in enumerate(found.items()):
    if name != "line":
        axes[0].plot(minutes, y[shown], f"C{i}", lw=1.2, label=name)
    axes[1].plot(minutes, (y - true)[shown], f"C{i}", lw=1, label=name)
axes[0].set(ylabel="level (V)")
axes[0].legend(frameon=False, ncols=4, fontsize="small", loc="upper left")
axes[1].set(xlabel="time (min)", ylabel="error (V)")
axes[1].legend(frameon=False, ncols=3, fontsize="small", loc="lower left")
plt.show()

# %% [markdown]
# The line copies the noise of its neighbours. The one-way network averages over the past and has to
# extrapolate to the sample it is asked for; the bidirectional one interpolates, and has twice as many
# neighbours to average over. The gain is a factor near $\sqrt 2$ where noise is the whole error, less
# where one-sided knowledge is already good, and it costs nothing but the right to be used in real time.
#
# Where a bidirectional network is the *wrong* tool: in a controller, in a simulator, in any comparison
# with models that do not see the future, and as a filter whose output feeds the training of a
# predictor (the future then leaks into the past of your training data).

# %% tags=["figures"]
{name: round(float(sysid.fit_index(true[gone], y[gone])[0]), 1) for name, y in found.items()}

# %% [markdown]
# ## Exercise
#
# A colleague trains a bidirectional LSTM on $u$ alone, simulates a test record, and finds it a little
# better than a one-way LSTM. The plant is causal. Name an explanation that does not need the future,
# and an experiment that tells.
#
# <details><summary>Answer</summary>
#
# ```python
# for two_way in (False, True):
#     model = sysid.LSTM(1, 1, 16, bidirectional=two_way)
#     print(sum(p.numel() for p in model.parameters()), "parameters")
#
# smoother = smoothers["bidirectional"]
# u = torch.zeros(1, 60, hidden[0].nu, requires_grad=True)
# smoother(u)[0][0, 30, 0].backward()
# print("share of the future:", float(u.grad[0, 31:].abs().sum() / u.grad.abs().sum()))
# ```
#
# It has twice the parameters, and it starts at both ends: towards the end of a record its backward
# state is fresh where that of the one-way network has long forgotten its wrong start. Compare with a
# one-way network of equal size, leave out the first samples, and look at the gradient to future inputs:
# if it is small, the future had no part in it. If it is large, then $u$ depends on $y$: the record was
# made in closed loop, and the controller's answer tells what the output was.
#
# </details>
