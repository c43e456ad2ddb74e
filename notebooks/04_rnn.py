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
# # 4. Recurrent networks
#
# A recurrent network replaces the measured past of a NARX model by a state that it makes up itself.
# This notebook writes its two equations, unfolds them over a record, trains on the full-sequence
# loss, and spends most of its time on what decides in practice: where the state starts.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

import sysid

# %% [markdown]
# ## State equation and output map
#
# $$h(t) = f\bigl(h(t-1), u(t); W_f\bigr), \qquad \hat y(t) = g\bigl(h(t); W_g\bigr)$$
#
# It is a nonlinear state-space model whose state has no meaning but the one that training gives it.
# The vanilla network takes
#
# $$h(t) = \tanh\bigl(W_{uh}\,u(t) + W_{hh}\,h(t-1) + b_h\bigr), \qquad \hat y(t) = W_{hy}\,h(t) + b_y$$
#
# and that is all there is in `sysid.RNN`, whose weights are those of `torch.nn.RNN` by name:

# %%
torch.manual_seed(0)
model = sysid.RNN(nu=1, ny=1, hidden_size=8)
W_uh = model.recurrence.weight_ih_l0
W_hh = model.recurrence.weight_hh_l0
b_h = model.recurrence.bias_ih_l0 + model.recurrence.bias_hh_l0  # torch keeps two

u = torch.randn(1, 50, 1)  # (batch, time, channel)
h = torch.zeros(8)
y_loop = []
for t in range(50):
    h = torch.tanh(W_uh @ u[0, t] + W_hh @ h + b_h)
    y_loop.append(model.output(h))

y_hat, state = model(u)
print("largest difference:", float((torch.stack(y_loop) - y_hat[0]).abs().max().detach()))
print("outputs", tuple(y_hat.shape), " last state", tuple(state[0].shape))

# %% [markdown]
# `forward` returns the last state as well, so a record can go through in pieces, or one sample at a
# time for ever.
#
# ## Unfolding
#
# Over $T$ samples the loop becomes a chain of $T$ copies of one layer, which all have the same
# weights. To this chain [back-propagation](02_backpropagation.ipynb) applies as it is; the gradient
# of a shared weight is the sum over its copies.


# %%
def arrow(axes, start, end, color="0.3"):
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": color})


figure, axes = plt.subplots(figsize=(9, 2.4), layout="constrained")
for t, name in enumerate(("1", "2", "3", r"\dots", "T")):
    box = {"boxstyle": "round,pad=0.5", "fc": "#dbe9f6", "ec": "C0"}
    axes.text(2 * t, 1, "$f$" if t != 3 else "...", ha="center", va="center", bbox=box)
    axes.text(2 * t, -0.35, f"$u({name})$", ha="center")
    axes.text(2 * t, 2.15, rf"$\hat y({name})$", ha="center")
    arrow(axes, (2 * t, -0.05), (2 * t, 0.7))
    arrow(axes, (2 * t, 1.3), (2 * t, 2.05))
    arrow(axes, (2 * t - 1.7, 1), (2 * t - 0.3, 1), "C1")
    axes.text(2 * t - 1, 1.15, f"$h({('0', '1', '2', '3', 'T-1')[t]})$", ha="center", color="C1")
axes.set(xlim=(-2.2, 8.8), ylim=(-0.7, 2.6))
axes.axis("off")
plt.show()

# %% [markdown]
# The *full-sequence* loss compares over the whole record. One may leave out the first samples, the
# *washout*:
#
# $$\mathcal L = \frac{1}{T - w}\sum_{t=w+1}^{T} \bigl\|y(t) - \hat y(t)\bigr\|^2$$
#
# It is a simulation loss by construction: $u$ alone goes in. Everything that [notebook
# 3](03_narx.ipynb) had to do to get there comes for free, and so does its difficulty: nobody says what
# $h(0)$ is.
#
# ## The plant
#
# Two tanks, one above the other; a pump fills the upper one and the level of the lower one is
# measured. There are four records, each beginning with other levels, as experiments do that follow
# each other on a test bench. A fifth is for validation and a sixth for the test.

# %%
starts = (1.0, 9.0, 4.0, 7.0, 2.5)
records = [
    sysid.generate("cascaded_tanks", 600, seed=s, noise=0.01, initial_levels=(level, level))
    for s, level in enumerate(starts)
]
train, valid = records[:4], records[4]
test = sysid.generate("cascaded_tanks", 600, seed=9, noise=0.01, initial_levels=(8.5, 8.5))

figure, axes = plt.subplots(figsize=(9, 2.6), layout="constrained")
minutes = np.arange(600) * train[0].sampling_time / 60
for i, r in enumerate(train):
    axes.plot(minutes, r.y, label=f"record {i + 1}")
axes.set(xlabel="time (min)", ylabel="level (V)", title="four experiments")
axes.legend(frameon=False, ncols=4)
plt.show()

# %% [markdown]
# ## Where the state starts
#
# Four ways, with the same network and the same optimiser (`lbfgs`, a quasi-Newton method, takes the
# whole of the data in each step, as the full-sequence loss suggests):
#
# - **zero, no washout.** $h(0) = 0$ in each record. The true levels differ, so no weights fit, and the
#   loss bends the dynamics to make up for it.
# - **zero, washout.** The first samples do not count, until what the state began with is forgotten.
# - **learned.** One $h(0)$ for all records, trained with the weights. Right for a plant that always
#   starts at rest, and for nothing else.
# - **estimated.** The $h(0)$ of each record is found by least squares, in training with the weights
#   and for a new record on its first `n_init` measured samples.

# %%
n_init = 30
ways = {
    "zero": ({}, {}),
    "zero, washout": ({}, {"washout": 60}),
    "learned": ({"initial_state": "learned"}, {}),
    "estimated": ({"initial_state": "estimated"}, {}),
}
models = {}
for name, (arguments, settings) in ways.items():
    torch.manual_seed(1)
    models[name] = sysid.RNN(nu=1, ny=1, hidden_size=8, **arguments)
    sysid.fit(
        models[name], train, valid.replace(n_init=n_init),
        loss="full_sequence", optimiser="lbfgs", max_epochs=200, **settings,
    )  # fmt: skip

# %%
start = test.replace(n_init=n_init)
runs = {name: model.simulate(start) for name, model in models.items()}
rows = {
    name: {
        f"samples {n_init} to 130": sysid.fit_index(test.y[n_init:130], y_hat[n_init:130])[0],
        "samples 130 to 600": sysid.fit_index(test.y[130:], y_hat[130:])[0],
    }
    for name, y_hat in runs.items()
}
pd.DataFrame(rows).T.round(1).rename_axis("fit in percent")

# %%
figure, axes = plt.subplots(2, 1, figsize=(9, 4.2), sharex=True, layout="constrained")
minutes = np.arange(250) * test.sampling_time / 60
axes[0].plot(minutes, test.y[:250], color="0.6", lw=3, label="measured")
for i, (name, y_hat) in enumerate(runs.items()):
    axes[0].plot(minutes, y_hat[:250], color=f"C{i}", lw=1.2, label=name)
    axes[1].semilogy(minutes, np.abs(test.y - y_hat)[:250], color=f"C{i}", lw=1)
axes[0].axvspan(0, n_init * test.sampling_time / 60, color="0.9", lw=0)
axes[1].axvspan(0, n_init * test.sampling_time / 60, color="0.9", lw=0)
axes[0].set(ylabel="level (V)", title="free run on a new record; shaded: what the estimate sees")
axes[0].legend(frameon=False, ncols=3)
axes[1].set(xlabel="time (min)", ylabel="|error| (V)", ylim=(1e-3, 20))
plt.show()

# %% [markdown]
# All models from zero need many samples until they follow the plant: the plant itself takes that long
# to forget, and so must its model. Washout does not repair this. It keeps the wrong start from
# spoiling the weights, and says honestly that the first samples are not modelled. The estimated state
# is right after the samples it was estimated from. Where these measurements exist, use them; where
# they do not (a plant that is switched on), `learned` or `zero` is what is known.
#
# ## How far back a trained network looks
#
# $\partial \hat y(T)/\partial u(T-j)$ is the chain of the unfolded picture: $W_{hh}$ and
# $\operatorname{diag}(\tanh')$, $j$ times. For the plant the same quantity can be measured, by
# nudging its input and simulating again.


# %%
def memory(model, record, lags):
    """Return |d y_hat(T) / d u(T-j)| for j = 0, 1, ..., in physical units."""
    u = torch.tensor(record.u[None], requires_grad=True)
    model(u)[0][0, -1, 0].backward()
    return u.grad[0].abs().flip(0)[:lags, 0].numpy()


def plant_memory(record, lags, nudge=0.05):
    """Return the same of the plant, by finite differences."""
    out = []
    for j in lags:
        u = record.u.copy()
        u[-1 - j] += nudge
        changed = sysid.generate("cascaded_tanks", u=u, initial_levels=(8.5, 8.5))
        same = sysid.generate("cascaded_tanks", u=record.u, initial_levels=(8.5, 8.5))
        out.append(abs(changed.y[-1, 0] - same.y[-1, 0]) / nudge)
    return out


short = test[:300]
some = np.arange(1, 120, 12)
torch.manual_seed(1)
untrained = sysid.RNN(nu=1, ny=1, hidden_size=8)
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.semilogy(some, plant_memory(short, some), "ks", ms=5, label="plant")
axes.semilogy(memory(models["estimated"], short, 120), color="C3", label="trained network")
axes.semilogy(memory(untrained, short, 120), color="0.6", label="before training")
axes.set(xlabel="lag $j$ (samples)", ylabel=r"$|\partial y(T) / \partial u(T-j)|$", ylim=(1e-8, 1))
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# Before training the network forgets within a few samples, and the gradient that could tell it to
# remember has vanished at the lags where it is needed. Here training has got there nevertheless, since
# it was given the whole record, a good optimiser and a plant that is not sampled too fast.
# [Notebook 6](06_lstm_gru.ipynb) takes these away.
#
# ## Multi-layer networks
#
# The hidden states of a layer are the inputs of the next, and each layer has its own initial state:
#
# $$h^{(1)}(t) = f_1\bigl(h^{(1)}(t-1), u(t)\bigr), \qquad
#   h^{(2)}(t) = f_2\bigl(h^{(2)}(t-1), h^{(1)}(t)\bigr), \qquad \hat y(t) = g\bigl(h^{(2)}(t)\bigr)$$

# %%
torch.manual_seed(1)
deep = sysid.RNN(nu=1, ny=1, hidden_size=5, num_layers=2, initial_state="estimated")
sysid.fit(
    deep, train, valid.replace(n_init=n_init),
    loss="full_sequence", optimiser="lbfgs", max_epochs=200,
)  # fmt: skip
rows = {
    name: {
        "parameters": sum(p.numel() for p in model.parameters()),
        "fit in percent": sysid.fit_index(test.y[n_init:], model.simulate(start)[n_init:])[0],
    }
    for name, model in {"1 x 8": models["estimated"], "2 x 5": deep}.items()
}
pd.DataFrame(rows).T.round(1).rename_axis("layers x units")

# %% [markdown]
# Depth lets nonlinearity build on nonlinearity within one sample, and makes the chain of the gradient
# longer. For two tanks there is little to build on. Start with one layer.

# %% tags=["figures"]
{
    f"RNN, state {name}": round(float(sysid.fit_index(test.y[n_init:], y_hat[n_init:])[0]), 1)
    for name, y_hat in runs.items()
    if name in ("zero, washout", "estimated")
}

# %% [markdown]
# ## Exercise
#
# With ReLU instead of tanh, $W_{uh} = 1$, $W_{hh} = \tfrac12$ and no biases, what is the answer of a
# one-unit network to an impulse? And to the impulse with its sign turned? Check it.
#
# <details><summary>Answer</summary>
#
# ```python
# model = sysid.RNN(1, 1, hidden_size=1, nonlinearity="relu")
# with torch.no_grad():
#     for parameter in model.parameters():
#         parameter.zero_()
#     model.recurrence.weight_ih_l0.fill_(1.0)
#     model.recurrence.weight_hh_l0.fill_(0.5)
#     model.output.weight.fill_(1.0)
# impulse = torch.zeros(1, 6, 1)
# impulse[0, 0] = 1
# y, _ = model(impulse)
# assert (y[0, :, 0] == 0.5 ** torch.arange(6)).all()
# assert (model(-impulse)[0] == 0).all()
# ```
#
# $\hat y(t) = 0.5^t$: on positive signals a ReLU network is linear, with the eigenvalues of $W_{hh}$ as
# its poles. On the negative impulse it says nothing at all, and its gradient is zero there too: such a
# unit is dead. With $W_{hh} > 1$ the answer grows without bound, which $\tanh$ cannot do; that is
# why $\tanh$ is the default.
#
# </details>
