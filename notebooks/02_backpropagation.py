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
# # 2. Back-propagation
#
# Back-propagation is the chain rule, evaluated from the loss backwards, one block at a time. This
# notebook writes it in NumPy for three kinds of block, connects them to a network, holds the result
# against autograd to rounding errors, and counts why this direction is the one to take.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

import sysid

# %% [markdown]
# ## The interface
#
# A network is a chain of blocks: $z^{L}$ goes into block $L$ with its parameters $\theta_L$ and
# $z^{L+1}$ comes out; the last block compares with the data and returns the number $\ell$. Call
#
# $$\delta^{L} = \frac{\partial \ell}{\partial z^{L}}$$
#
# Then by the chain rule, one step from right to left,
#
# $$\delta^{L} = \delta^{L+1}\,\frac{\partial z^{L+1}}{\partial z^{L}}, \qquad
#   \frac{\partial \ell}{\partial \theta_L} = \delta^{L+1}\,\frac{\partial z^{L+1}}{\partial \theta_L}$$
#
# To answer, a block needs $\delta^{L+1}$ from its right neighbour and what it saw itself on the way
# forward, and nothing else of the network. That is an interface: whoever writes `forward` and
# `backward` for a new block can connect it to all the others.
#
# | block | forward | $\delta^{L}$ | gradient |
# |---|---|---|---|
# | linear | $z^{L+1} = W z^{L} + b$ | $\delta^{L+1} W$ | $W: (\delta^{L+1})^\top (z^L)^\top,\quad b: \delta^{L+1}$ |
# | sigmoid | $z^{L+1} = \sigma(z^{L})$ | $\delta^{L+1} \odot \sigma(1 - \sigma)$ | |
# | MSE | $\ell = \frac1N\sum_i (y^i - \hat y^i)^2$ | $\frac2N(\hat y - y)$ | |
#
# The code holds the $N$ samples of a batch in rows, so that $W z$ becomes `z @ W.T`; the gradient of
# the parameters is then a sum over the rows, which the matrix product does by itself.


# %%
class Linear:
    """z -> W z + b; counts multiplications on the way, for later."""

    multiplications = 0

    def __init__(self, inputs, outputs, rng):
        bound = 1 / np.sqrt(inputs)
        self.W = rng.uniform(-bound, bound, (outputs, inputs))
        self.b = rng.uniform(-bound, bound, outputs)

    def forward(self, z):
        self.z = z  # (N, inputs), kept for the way back
        Linear.multiplications += len(z) * self.W.size
        return z @ self.W.T + self.b

    def backward(self, delta):
        self.dW = delta.T @ self.z
        self.db = delta.sum(axis=0)
        Linear.multiplications += 2 * len(delta) * self.W.size
        return delta @ self.W

    def parameters(self):
        return [self.W, self.b]

    def gradients(self):
        return [self.dW, self.db]


class Sigmoid:
    """z -> 1 / (1 + exp(-z)), element by element."""

    def forward(self, z):
        self.s = 1 / (1 + np.exp(-z))
        return self.s

    def backward(self, delta):
        return delta * self.s * (1 - self.s)

    def parameters(self):
        return []

    gradients = parameters


class MSE:
    """The last block: predictions against data."""

    def forward(self, y_hat, y):
        self.error = y_hat - y
        return np.mean(self.error**2)

    def backward(self):
        return 2 * self.error / self.error.size


# %% [markdown]
# A chain of blocks is a block again:


# %%
class Chain:
    """Blocks in a row."""

    def __init__(self, *blocks):
        self.blocks = blocks

    def forward(self, z):
        for block in self.blocks:
            z = block.forward(z)
        return z

    def backward(self, delta):
        self.deltas = [delta]
        for block in reversed(self.blocks):
            delta = block.backward(delta)
            self.deltas.append(delta)
        return delta

    def parameters(self):
        return [p for block in self.blocks for p in block.parameters()]

    def gradients(self):
        return [g for block in self.blocks for g in block.gradients()]


rng = np.random.default_rng(0)
net = Chain(Linear(4, 20, rng), Sigmoid(), Linear(20, 10, rng), Sigmoid(), Linear(10, 1, rng))
loss = MSE()
x, y = rng.standard_normal((50, 4)), rng.standard_normal((50, 1))

print("loss:", loss.forward(net.forward(x), y))
net.backward(loss.backward())
for p, g in zip(net.parameters(), net.gradients(), strict=True):
    print(f"parameter {p.shape!s:9} gradient {g.shape!s:9} norm {np.linalg.norm(g):.4f}")

# %% [markdown]
# ## Checked against autograd
#
# The same weights in torch, the same loss, in double precision. The two compute the same sums in
# another order, so the difference is a few units in the last place and not exactly zero.


# %%
def torch_gradients(net, x, y):
    """Return the gradients of the same chain by torch's autograd."""
    weights = [torch.tensor(p, requires_grad=True) for p in net.parameters()]
    z = torch.tensor(x)
    pairs = list(zip(weights[::2], weights[1::2], strict=True))
    for i, (W, b) in enumerate(pairs):
        z = z @ W.T + b
        if i < len(pairs) - 1:
            z = torch.sigmoid(z)
    torch.mean((z - torch.tensor(y)) ** 2).backward()
    return [w.grad.numpy() for w in weights]


worst = max(
    np.abs(ours - theirs).max()
    for ours, theirs in zip(net.gradients(), torch_gradients(net, x, y), strict=True)
)
print(f"largest difference to autograd: {worst:.1e}")
assert worst < 1e-12

# %% [markdown]
# ## Why not finite differences?
#
# $\partial\ell/\partial\theta_i \approx (\ell(\theta_i + \epsilon) - \ell(\theta_i)) / \epsilon$ needs no
# thought, and has two faults. The first is its accuracy: a large $\epsilon$ sees the curvature, a
# small one subtracts two nearly equal numbers, and at best half of the digits are left.


# %%
def finite_difference(i, epsilon):
    """Return the derivative of the loss to the i-th entry of the first matrix."""
    W = net.blocks[0].W
    before = loss.forward(net.forward(x), y)
    kept = W.flat[i]
    W.flat[i] = kept + epsilon
    after = loss.forward(net.forward(x), y)
    W.flat[i] = kept
    return (after - before) / epsilon


exact = net.gradients()[0].ravel()
steps = np.logspace(-15, 0, 46)
errors = [
    np.median([abs(finite_difference(i, e) / exact[i] - 1) for i in range(20)]) for e in steps
]
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.loglog(steps, errors, label="finite differences")
axes.axhline(worst / np.abs(exact).max(), color="C1", label="back-propagation against autograd")
axes.annotate("rounding", (1e-12, 3e-3), ha="center")
axes.annotate("curvature", (1e-3, 1e-1), ha="center")
axes.set(xlabel=r"step $\epsilon$", ylabel="relative error of the derivative")
axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 0.1))
plt.show()

# %% [markdown]
# The second is the price. Finite differences, and forward-mode differentiation just as well, go
# through the network once for *each parameter*. Going backwards, $\delta$ is as wide as one layer, and
# one pass serves all parameters: the loss is a single number, and its derivatives all share the right
# end of the chain. The blocks have counted their multiplications:

# %%
widths = [2, 4, 8, 16, 32, 64, 128, 256]
counts, forward, backward = [], [], []
for width in widths:
    wide = Chain(Linear(4, width, rng), Sigmoid(), Linear(width, 1, rng))
    counts.append(sum(p.size for p in wide.parameters()))
    Linear.multiplications = 0
    loss.forward(wide.forward(x), y)
    forward.append(Linear.multiplications)
    wide.backward(loss.backward())
    backward.append(Linear.multiplications)

ratio = np.array(backward) / np.array(forward)
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.loglog(counts, np.array(counts) + 1, "o-", label="finite differences, forward mode")
axes.loglog(counts, ratio, "o-", label="back-propagation")
axes.set(xlabel="parameters", ylabel="cost of the gradient\n(passes through the network)")
axes.legend(frameon=False)
plt.show()
print(
    "back-propagation costs", *sorted(set(ratio.round(6))), "passes, for any number of parameters"
)

# %% [markdown]
# *The gradient of a scalar costs about three evaluations of it, however many parameters there are.*
# This is what makes training possible at all. It is paid for in memory: each block keeps what it saw
# (`self.z`, `self.s`) until the way back has passed it, which for a recurrent network over a long
# record is a lot ([notebook 5](05_subsequences.ipynb)).
#
# When is forward mode better? When there are more outputs than parameters. Levenberg-Marquardt needs
# the derivative of *every* residual, not of their sum; for a small state-space model and a record of
# 100 000 samples that is the case, and `sysid` then goes forward.
#
# ## Training with it
#
# The five lines of [notebook 1](01_regression.ipynb) with nothing of torch in them, on the impedance
# of a resonant circuit in scaled units:

# %%
record = sysid.generate("static", 1200, seed=0, noise=0.02)
train, test = record[:900], record[900:]
x_train = (train.u - train.u.mean(axis=0)) / train.u.std(axis=0)
y_train = (train.y - train.y.mean()) / train.y.std()

net = Chain(Linear(4, 20, np.random.default_rng(0)), Sigmoid(), Linear(20, 1, rng))
losses = []
for _ in range(4000):
    losses.append(loss.forward(net.forward(x_train), y_train))
    net.backward(loss.backward())
    for p, g in zip(net.parameters(), net.gradients(), strict=True):
        p -= 0.2 * g

x_test = (test.u - train.u.mean(axis=0)) / train.u.std(axis=0)
y_hat = train.y.mean() + train.y.std() * net.forward(x_test)
fit = float(sysid.fit_index(test.y, y_hat)[0])
print(f"fit on test data: {fit:.1f} %")

# %% [markdown]
# ## What goes wrong in a deep chain
#
# $\delta^{L}$ is a product of all the blocks to its right. A sigmoid contributes
# $\sigma' = \sigma(1-\sigma) \le \tfrac14$, so that twenty of them leave next to nothing for the first
# layer: it does not learn, and no optimiser can help. Larger weights make up for it at one scale, and
# training does not stay there. A recurrent network unfolded over $T$ samples *is* such a chain, $T$ layers deep, with
# the same $W$ in each; gates ([notebook 6](06_lstm_gru.ipynb)) are the answer to this picture.

# %%
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
for scale in (1, 4, 16):
    rng = np.random.default_rng(1)
    blocks = []
    for _ in range(20):
        layer = Linear(30, 30, rng)
        layer.W *= scale
        blocks += [layer, Sigmoid()]
    deep = Chain(*blocks, Linear(30, 1, rng))
    loss.forward(deep.forward(rng.standard_normal((50, 30))), y)
    deep.backward(loss.backward())
    norms = [np.linalg.norm(d) for d in deep.deltas[1::2]][::-1]
    axes.semilogy(range(1, len(norms) + 1), norms, "o-", ms=3, label=f"weights times {scale}")
axes.set(xlabel="layer, from the input on", ylabel=r"$\|\delta\|$ at its output")
axes.set_xticks(range(1, 22, 4))
axes.legend(frameon=False)
plt.show()

# %% tags=["figures"]
{"network in NumPy": round(fit, 1)}

# %% [markdown]
# ## Exercise
#
# Write a block for $\tanh$. Check it against autograd to $10^{-12}$, and predict before you plot: in
# the deep chain above, does $\delta$ shrink faster or slower than with sigmoids?
#
# <details><summary>Answer</summary>
#
# ```python
# class Tanh(Sigmoid):
#     def forward(self, z):
#         self.t = np.tanh(z)
#         return self.t
#
#     def backward(self, delta):
#         return delta * (1 - self.t**2)
#
#
# block, z = Tanh(), np.random.default_rng(0).standard_normal((5, 3))
# block.forward(z)
# ours = block.backward(np.ones((5, 3)))
# z_torch = torch.tensor(z, requires_grad=True)
# torch.tanh(z_torch).sum().backward()
# assert np.abs(ours - z_torch.grad.numpy()).max() < 1e-12
# ```
#
# Slower: $\tanh'(0) = 1$ where $\sigma'(0) = \tfrac14$, so that with small weights the weights alone
# decide whether $\delta$ shrinks. This is why recurrent networks use $\tanh$ for their state and keep
# $\sigma$ for what has to be between 0 and 1: gates.
#
# </details>
