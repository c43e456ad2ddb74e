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
# # 1. Regression with a feed-forward network
#
# A neural network is a parametric model $\hat y = M(x; \theta)$ like any other, and training is
# least squares without a closed form. This notebook builds one from a single neuron, trains it
# with the five lines of batch gradient descent, shows where these five lines fail on engineering
# data, and does the same with `sysid.fit`.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import sysid

# %% [markdown]
# ## One neuron
#
# $$\hat y = \sigma\Bigl(\sum_{j=1}^{n} w_j x_j + b\Bigr), \qquad
#   \sigma(z) = \frac{1}{1 + e^{-z}}$$
#
# The weights $w$ say how steep the step is and in which direction it goes; $-b/w$ says where it
# is. Two neurons that step up and down again make a bump, and a sum of bumps can come as close as
# one likes to any continuous function on a bounded set. That is the whole reason why it works.


# %%
def sigmoid(z):
    return 1 / (1 + np.exp(-z))


x = np.linspace(-6, 6, 400)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
for w, b in ((1, 0), (4, 0), (4, -12)):
    left.plot(x, sigmoid(w * x + b), label=f"$w={w},\\ b={b}$")
left.set(title="one neuron", xlabel="$x$", ylabel=r"$\sigma(wx+b)$")
left.legend(frameon=False)
up, down = sigmoid(4 * x + 8), sigmoid(4 * x - 8)
right.plot(x, up, "--", color="0.6", label=r"$\sigma(4x+8)$")
right.plot(x, down, ":", color="0.4", label=r"$\sigma(4x-8)$")
right.plot(x, up - down, label="their difference")
right.set(title="two neurons make a bump", xlabel="$x$", ylim=(-0.05, 1.5))
right.legend(frameon=False, loc="upper left")
plt.show()

# %% [markdown]
# ## Layers
#
# In a fully connected feed-forward network the outputs of one layer are the inputs of the next,
# and the last layer is linear so that $\hat y$ is not confined to $(0, 1)$:
#
# $$z^{2} = \sigma(W_1 x + b_1), \qquad z^{3} = \sigma(W_2 z^{2} + b_2), \qquad
#   \hat y = W_3 z^{3} + b_3$$
#
# Below is $4 \to 200 \to 300 \to 1$. Check the parameters by hand: a layer from $n$ to $m$ neurons
# has $n m$ weights and $m$ biases, so almost all of them sit between the two hidden layers.

# %%
sysid.FFN(input_size=4, hidden_sizes=[200, 300], output_size=1).summary()

# %% [markdown]
# ## Five lines
#
# Training minimises the mean squared error over the $N$ pairs of the data set,
#
# $$\mathcal L(\theta) = \frac1N \sum_{i=1}^N \bigl(y^i - \hat y^i(\theta)\bigr)^2, \qquad
#   \theta \leftarrow \theta - \eta\, \frac{\partial \mathcal L}{\partial \theta}$$
#
# *Batch* gradient descent uses all pairs in each step. The loop body has five lines whatever the
# network is: forget the old gradient, predict, compare, differentiate, step.


# %%
def batch_gradient_descent(model, x, y, learning_rate, max_epochs):
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    losses = []
    for _ in range(max_epochs):
        optimizer.zero_grad()
        y_hat = model(x)
        loss = torch.mean((y_hat - y) ** 2)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def network(inputs, hidden, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Sigmoid(), nn.Linear(hidden, 1))


# %% [markdown]
# The one free choice is the learning rate $\eta$. The loss is locally a valley with curvature
# $\lambda$ across and much less along it; a step with $\eta > 2/\lambda$ jumps from one wall to a
# higher place on the other, and a small $\eta$ crawls along the floor.

# %%
rng = np.random.default_rng(0)
x_line = torch.linspace(-1, 1, 200)[:, None]
target = torch.sin(4 * x_line) + 0.5 * x_line
noisy = target + 0.1 * torch.tensor(rng.standard_normal((200, 1)), dtype=torch.float32)

max_epochs = 8000
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
right.plot(x_line, noisy, ".", ms=3, color="0.7", label="data")
for rate in (0.01, 0.1, 0.3, 1.5):
    model = network(1, 20)
    losses = batch_gradient_descent(model, x_line, noisy, rate, max_epochs)
    (line,) = left.loglog(np.arange(1, max_epochs + 1), losses, label=rf"$\eta={rate}$")
    if rate < 1:
        right.plot(x_line, model(x_line).detach(), color=line.get_color(), label=rf"$\eta={rate}$")
left.axhline(0.1**2, color="k", lw=0.8, ls=":")
left.text(1.2, 0.1**2 * 1.15, "variance of the noise", fontsize="small")
left.set(xlabel="epoch", ylabel=r"$\mathcal{L}$", title="loss", ylim=(5e-3, 30))
left.legend(frameon=False, loc="upper right")
right.set(xlabel="$x$", ylabel="$y$", title="what was learned", xticks=[-1, -0.5, 0, 0.5, 1])
right.legend(frameon=False, fontsize="small")
plt.show()

# %% [markdown]
# The dotted line is the loss of a perfect model: noise cannot be learned, only memorised. The
# largest $\eta$ has left the picture after a few steps, the smallest one is still nearly a straight
# line after thousands. It is the same network, from the same weights, on the same data.
#
# ## The same five lines on engineering data
#
# The built-in system `static` is the impedance of a resonant circuit,
# $y = \sqrt{R^2 + (\omega L - 1/(\omega C))^2}$, from resistance, frequency, inductance and
# capacitance. The channels differ by three orders of magnitude, as they do on a test bench.

# %%
record = sysid.generate("static", 1200, seed=0, noise=0.02)
train, test = record[:900], record[900:]
record.to_frame().describe().loc[["min", "max", "std"]].round(3)


# %%
def to_tensor(block):
    return torch.tensor(block, dtype=torch.float32)


def fit_by_hand(u_mean, u_scale, y_mean, y_scale, rate):
    """Return the fit on the test part, in percent, of a network that sees scaled data."""
    model = network(4, 20)
    x, y = to_tensor((train.u - u_mean) / u_scale), to_tensor((train.y - y_mean) / y_scale)
    batch_gradient_descent(model, x, y, rate, 2000)
    with torch.no_grad():
        scaled = model(to_tensor((test.u - u_mean) / u_scale)).numpy()
    return float(sysid.fit_index(test.y, y_mean + y_scale * scaled)[0])


raw = fit_by_hand(0, 1, 0, 1, 1e-6)
by_hand = fit_by_hand(
    train.u.mean(axis=0), train.u.std(axis=0), train.y.mean(), train.y.std(), rate=0.2
)
print(f"raw units:    fit {raw:6.1f} %")
print(f"scaled units: fit {by_hand:6.1f} %")

# %% [markdown]
# `fit_index` is $100\,(1 - \lVert y - \hat y\rVert / \lVert y - \bar y\rVert)$: 100 is perfect, 0 is
# as good as the mean, and below 0 one would do better to say the mean. In raw units the frequency
# of about a thousand drives every neuron into saturation, where $\sigma' \approx 0$ and no gradient
# comes through; a larger $\eta$ diverges because the output is in hundreds of ohms. Nothing is
# wrong with the network: it was asked in the wrong units.
#
# ## `sysid.fit`
#
# `sysid` keeps the scaling inside the model, estimated from the training records alone. What goes in
# and comes out is in physical units, and the scaling is saved with the weights. The optimiser is a
# choice: `sgd` is the loop above, `adam` adapts a step for each weight, and `lm`
# (Levenberg-Marquardt) uses that the loss is a sum of squares and solves a linear least-squares
# problem in each epoch.

# %%
past, valid = sysid.split_time(train, fraction=0.25, gap=0)
histories, fits = {}, {}
settings = {
    "sgd": {"learning_rate": 0.2},
    "adam": {"learning_rate": 1e-2},
    "lm": {},
}
for optimiser, more in settings.items():
    torch.manual_seed(0)
    model = sysid.FFN(4, [20], 1)
    result = sysid.fit(model, past, valid, optimiser=optimiser, max_epochs=300, **more)
    histories[optimiser] = result.history
    fits[optimiser] = float(sysid.fit_index(test.y, model.simulate(test))[0])
    print(f"{optimiser:5} fit on test data {fits[optimiser]:5.1f} %")

# %%
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
for optimiser, history in histories.items():
    axes.loglog(history.epoch, np.sqrt(history.valid_loss), label=optimiser)
axes.axhline(0.02, color="k", lw=0.8, ls=":")
axes.text(1.1, 0.0215, "noise", fontsize="small")
axes.set(xlabel="epoch", ylabel="RMS error / std, validation")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# The three curves belong to one network, one loss and one data set. Where `lm` can be afforded (it
# solves a system as large as the number of weights), the choice of the optimiser is worth more than
# much tuning of the architecture. For 61 601 weights it cannot, and `adam` is what remains.
#
# ## Overfitting
#
# A network with more weights than data passes through every noisy point. It is not the number of
# epochs or neurons that tells, but data that the weights have never seen.

# %%
few = past[0][:60]
sizes = (2, 5, 10, 20, 40, 80)
errors = {"training": [], "validation": []}
for size in sizes:
    torch.manual_seed(0)
    model = sysid.FFN(4, [size], 1)
    sysid.fit(model, few, optimiser="lm", max_epochs=60)
    errors["training"].append(sysid.nrmse(few.y, model.simulate(few))[0])
    errors["validation"].append(sysid.nrmse(valid[0].y, model.simulate(valid[0]))[0])

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
for label, values in errors.items():
    axes.semilogy(range(len(sizes)), np.maximum(values, 1e-6), "o-", label=label)
axes.axhline(0.02, color="k", lw=0.8, ls=":")
axes.text(0, 0.026, "noise", fontsize="small")
axes.set_xticks(range(len(sizes)), sizes)
axes.set(xlabel="hidden neurons, trained on 60 rows", ylabel="RMS error / std", ylim=(5e-7, 3))
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# The training error falls below the noise, which is the sign that noise is being learned; the
# validation error does not follow. `sysid.fit(model, train, valid)` keeps the weights of the epoch
# with the lowest validation error, and [notebook 3](03_narx.ipynb) says what validation has to mean
# for a dynamic system.

# %% tags=["figures"]
{
    "gradient descent by hand": round(by_hand, 1),
    "sysid.fit, adam": round(fits["adam"], 1),
    "sysid.fit, lm": round(fits["lm"], 1),
}

# %% [markdown]
# ## Exercise
#
# A single *linear* layer has a closed-form solution. Write it with `numpy.linalg.lstsq`, and compare
# with `sysid.FFN(4, [], 1)` trained by `lm` for a few epochs. Why does one epoch (nearly) suffice,
# and what is the fit?
#
# <details><summary>Answer</summary>
#
# ```python
# phi = np.column_stack([train.u, np.ones(len(train))])
# theta, *_ = np.linalg.lstsq(phi, train.y, rcond=None)
# y_linear = np.column_stack([test.u, np.ones(len(test))]) @ theta
#
# linear = sysid.FFN(4, [], 1)
# sysid.fit(linear, train, optimiser="lm", max_epochs=5)
# np.testing.assert_allclose(linear.simulate(test), y_linear, rtol=1e-3)
# print(sysid.fit_index(test.y, y_linear))
# ```
#
# The two agree. For a model that is linear in its weights the squared error is a paraboloid, and
# Levenberg-Marquardt without damping steps to its minimum at once; the damping it starts with costs
# a few more epochs. The fit is poor, as the impedance is not linear in anything: that difference is
# what the hidden layer is for.
#
# </details>
