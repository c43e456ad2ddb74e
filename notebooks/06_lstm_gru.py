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
# # 6. LSTM and GRU
#
# Gates let a recurrent network decide what to keep, so that a gradient can reach far into the past.
# This notebook builds the LSTM from its equations, checks the shapes, measures how far each kind of
# network looks back, and trains all three on a plant with a long memory.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import nn

import sysid

# %% [markdown]
# ## Cell state and hidden state
#
# An LSTM has two states: the cell $c$, which remembers, and the hidden state $h$, which is shown.
#
# $$c(t) = f_c\bigl(c(t-1), h(t-1), u(t); W_c\bigr), \qquad h(t) = f_h\bigl(c(t), h(t-1), u(t); W_h\bigr)$$
#
# In full, with $\odot$ the product element by element and each gate a sigmoid layer of its own on
# $u(t)$ and $h(t-1)$:
#
# $$i = \sigma(\cdot), \quad f = \sigma(\cdot), \quad o = \sigma(\cdot), \quad g = \tanh(\cdot)$$
#
# $$c(t) = f \odot c(t-1) + i \odot g, \qquad h(t) = o \odot \tanh c(t)$$
#
# $f$ says how much of the old cell is kept, $i$ how much of the new value $g$ is written, $o$ how much is
# shown. The path along $c$ is the point: $\partial c(t)/\partial c(t-1) = f$ directly, with no weight
# matrix and no $\tanh'$ on the way. With $f$ near 1 a value stays, and so does its gradient. Compare a
# first-order lag with pole $f$: an LSTM is a bank of them whose poles are switched by the signals.

# %% [markdown]
# ## Shapes
#
# A batch of 3 sequences of 5 samples with 10 inputs, 20 units, one output:

# %%
B, L = 3, 5
u_size, hc_size, y_size = 10, 20, 1

lstm = nn.LSTM(u_size, hc_size, batch_first=True)
u = torch.randn(B, L, u_size)
h0 = torch.zeros(1, B, hc_size)
c0 = torch.zeros(1, B, hc_size)
h, (hn, cn) = lstm(u, (h0, c0))
output = nn.Linear(in_features=hc_size, out_features=y_size)
y = output(h)
print(h.shape, y.shape)

# %% [markdown]
# `h` has the hidden state at every sample, `hn` and `cn` the last ones alone. `sysid.LSTM` is this pair
# of layers, and takes the weights over by name:

# %%
model = sysid.LSTM(nu=u_size, ny=y_size, hidden_size=hc_size)
model.recurrence.load_state_dict(lstm.state_dict())
model.output.load_state_dict(output.state_dict())
y_hat, (h_last, c_last) = model(u)
print("largest difference:", float((y_hat - y).abs().max().detach()))
model.summary()

# %% [markdown]
# The equations once more, as code. torch stacks the gates in the order $i, f, g, o$ in one matrix:

# %%
W, R = lstm.weight_ih_l0, lstm.weight_hh_l0
b = lstm.bias_ih_l0 + lstm.bias_hh_l0
h_t, c_t = torch.zeros(B, hc_size), torch.zeros(B, hc_size)
for t in range(L):
    i, f, g, o = (u[:, t] @ W.T + h_t @ R.T + b).chunk(4, dim=1)
    c_t = torch.sigmoid(f) * c_t + torch.sigmoid(i) * torch.tanh(g)
    h_t = torch.sigmoid(o) * torch.tanh(c_t)
print("largest difference to hn:", float((h_t - hn[0]).abs().max().detach()))

# %% [markdown]
# ## GRU
#
# The gated recurrent unit does with one state: what is not kept is replaced.
#
# $$h(t) = z \odot h(t-1) + (1 - z) \odot n, \qquad n = \tanh\bigl(W u(t) + b + r \odot (R\,h(t-1) + d)\bigr)$$
#
# with an update gate $z$ and a reset gate $r$. It has three quarters of the parameters of an LSTM of the
# same size, a direct path with slope $z$, and for identification is often the better bargain.
#
# ## How far they look back, before training
#
# The gradient of the last output to the input $j$ samples ago, on random input. What is not seen before
# training will hardly be learned by following a gradient.


# %%
def memory(model, u, lags):
    """Return |d y_hat(T) / d u(T-j)| for j = 0, 1, ..."""
    u = torch.tensor(u[None], requires_grad=True)
    model(u)[0][0, -1, 0].backward()
    return u.grad[0].norm(dim=1).flip(0)[:lags].numpy()


def network(name, seed):
    """Return a random network; all have about the same number of parameters."""
    torch.manual_seed(seed)
    kind, hidden_size = sizes[name]
    model = sysid.MODELS[kind](nu=1, ny=1, hidden_size=hidden_size)
    if name == "LSTM, open":
        with torch.no_grad():
            model.recurrence.bias_ih_l0[12:24] = 3.0  # the forget gates of the 12 units
    return model


sizes = {"RNN": ("rnn", 24), "GRU": ("gru", 14), "LSTM": ("lstm", 12), "LSTM, open": ("lstm", 12)}
white = np.random.default_rng(0).standard_normal((200, 1))
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
for name in sizes:
    curves = [memory(network(name, seed), white, 60) for seed in range(10)]
    count = sum(p.numel() for p in network(name, 0).parameters())
    axes.semilogy(np.exp(np.mean(np.log(curves), axis=0)), label=f"{name}, {count} parameters")
axes.set(
    xlabel="lag $j$ (samples)",
    ylabel=r"$|\partial \hat y(T) / \partial u(T-j)|$",
    title="ten random networks of each kind, geometric mean",
)
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# A gate that is initialised near one half forgets half of its cell in each sample. The gates are not
# the memory; they are the *possibility* of one, since pushing a bias up is all that it takes, where an RNN
# has to find a matrix with its eigenvalues near one. "LSTM, open" begins with its forget gates pushed
# up by a bias of 3, $f \approx 0.95$.
#
# ## A plant with a long memory
#
# The two tanks again, but sampled every two seconds: nothing else changes, and the memory in samples
# is twice as long. All networks have about the same number of parameters, and get the same windows
# and the same number of gradient steps.

# %%
settings = {"sampling_time": 2.0, "noise": 0.01}
excitation = {
    seed: np.repeat(sysid.generate("cascaded_tanks", 1500, seed=seed).u, 2) for seed in (0, 1)
}
record = sysid.generate("cascaded_tanks", u=excitation[0], seed=0, **settings)
test = sysid.generate("cascaded_tanks", u=excitation[1], seed=1, **settings)
past, valid = sysid.split_time(record, fraction=0.2, gap=240)

scores, models, histories = [], {}, {}
for name in sizes:
    for seed in range(2):
        model = network(name, seed)
        result = sysid.fit(
            model, past, valid,
            loss="subsequence", length=240, stride=10, washout=120, batch_size=32,
            learning_rate=1e-2, schedule="cosine", clip=1.0, max_epochs=100,
        )  # fmt: skip
        y_hat = model.simulate(test)
        fit = float(sysid.fit_index(test.y[120:], y_hat[120:])[0])
        scores.append([name, seed, round(fit, 1)])
        histories[name, seed] = result.history
        if name not in models or result.best_loss < models[name][1]:
            models[name] = (model, result.best_loss, fit)
table = pd.DataFrame(scores, columns=["network", "seed", "free-run fit (%)"])
table.pivot(index="network", columns="seed", values="free-run fit (%)")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for i, name in enumerate(sizes):
    for seed in range(2):
        history = histories[name, seed]
        left.semilogy(
            history.epoch, np.sqrt(history.valid_loss), f"C{i}", lw=1,
            label=name if seed == 0 else None,
        )  # fmt: skip
    right.semilogy(memory(models[name][0], test.u[:1000], 240), f"C{i}", label=name)
left.set(
    xlabel="epoch",
    ylabel="validation, RMS error / std",
    title="learning, two seeds each",
    ylim=(0.06, 5),
)
left.legend(frameon=False, ncols=2)
right.set(
    xlabel="lag $j$ (samples)", ylabel=r"$|\partial \hat y(T) / \partial u(T-j)|$", ylim=(1e-6, 0.3),
    title="after training, the better seed",
)  # fmt: skip
plt.show()

# %%
figure, axes = plt.subplots(figsize=(9, 2.8), layout="constrained")
shown = slice(200, 800)
minutes = np.arange(shown.start, shown.stop) * test.sampling_time / 60
axes.plot(minutes, test.y[shown], color="0.6", lw=3, label="measured")
for i, name in enumerate(sizes):
    axes.plot(minutes, models[name][0].simulate(test)[shown], f"C{i}", lw=1, label=name)
axes.set(xlabel="time (min)", ylabel="level (V)", title="free run on a new record", ylim=(0, 13))
axes.legend(frameon=False, ncols=5, loc="upper right")
plt.show()

# %% [markdown]
# The vanilla network has stopped learning after a few epochs: the error says that it should look further
# back, and the gradient that would tell it how does not arrive. The LSTM waits on a plateau until its
# forget gates have opened, and then learns; with gates that begin open there is no waiting. The initial
# values of one bias decide more than the number of units does.
#
# Two seeds show how much of a difference in a single run is luck (the better one was chosen by
# validation, never by the test record); a comparison by one seed each is worth nothing.
#
# A word of caution: a plant's memory counts in *samples*. Sampling faster than the plant moves makes the
# problem harder and the data no richer. Before reaching for a larger network one should ask whether
# every second sample would do: [notebook 4](04_rnn.ipynb) has the same tanks at a lower rate, and there
# the vanilla network learns them.

# %% tags=["figures"]
{name: round(models[name][2], 1) for name in ("GRU", "LSTM, open")}

# %% [markdown]
# ## Exercise
#
# Count the parameters of an LSTM layer with $n_u$ inputs and $n_h$ units, and of a GRU, and check your
# formulas. How many units may a GRU have for the parameters of an LSTM with 12?
#
# <details><summary>Answer</summary>
#
# ```python
# def count(kind, nu, nh):
#     gates = {"rnn": 1, "gru": 3, "lstm": 4}[kind]
#     return gates * (nh * nu + nh * nh + 2 * nh)
#
#
# for kind in ("rnn", "gru", "lstm"):
#     layer = sysid.MODELS[kind](nu=2, ny=1, hidden_size=7).recurrence
#     assert sum(p.numel() for p in layer.parameters()) == count(kind, 2, 7)
# print([(n, count("gru", 1, n)) for n in (13, 14)], count("lstm", 1, 12))
# ```
#
# Each gate is a layer on $u$ and on $h$, and torch keeps two biases for each, of which one would do:
# $4\,(n_h n_u + n_h^2 + 2 n_h)$ for the LSTM, 3 in place of 4 for the GRU. Where $n_h^2$ dominates, a GRU
# may have $\sqrt{4/3}$ times the units, 14 for 12.
#
# </details>
