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
# # 3. NARX
#
# A NARX model is a feed-forward network that sees past outputs and inputs, so a dynamic system
# becomes a regression. This notebook shows the regressors, the two very different questions that one
# can ask such a model, why a good answer to the first says little about the second, and the cure.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

import sysid
from sysid.analysis import plots

# %% [markdown]
# ## The plant
#
# A mass on a spring that gets stiffer as it is stretched, $m\ddot y + d\dot y + k_1 y + k_3 y^3 = u$,
# lightly damped. The training record has 10 % of measurement noise. The test record has none, which no
# test bench offers: here it lets us see the error of the model and not that of the sensor.

# %%
record = sysid.generate("duffing", 3000, seed=0, noise=0.1)
test = sysid.generate("duffing", 1500, seed=1)
past, valid = sysid.split_time(record, fraction=0.25, gap=10)

figure, axes = plt.subplots(2, 1, figsize=(9, 3.6), sharex=True, layout="constrained")
time = np.arange(300) * record.sampling_time * 1e3
axes[0].plot(time, record.u[:300], color="C2", lw=1)
axes[0].set(ylabel="force $u$ (V)", title="a first look at the training record")
axes[1].plot(time, record.y[:300], ".-", ms=3, lw=0.8)
axes[1].set(xlabel="time (ms)", ylabel="position $y$ (V)")
plt.show()

# %% [markdown]
# ## Regressors
#
# $$\hat y(k) = f\bigl(\varphi(k); \theta\bigr), \qquad
#   \varphi(k) = \bigl[\,y(k-1), \dots, y(k-n_a),\; u(k-n_k), \dots, u(k-n_b)\,\bigr]$$
#
# $n_a$ is the largest output lag, $n_b$ the largest and $n_k$ the smallest input lag. In a sampled
# system whose input is held between samples, $u(k)$ cannot act on $y(k)$ yet, hence $n_k = 1$; a
# second-order plant suggests $n_a = n_b = 2$. Each row of the table is one regression sample: the
# dynamics are in the columns, and the rows could be shuffled.

# %%
phi, target = sysid.narx_frame(record, na=2, nb=2, nk=1)
phi.join(target).head(4).round(4)

# %% [markdown]
# ## Two questions
#
# *One step ahead:* all measured outputs up to $k-1$ are known. Good for a controller or an alarm.
#
# $$\hat y(k) = f\bigl(\underbrace{y(k-1), \dots}_{\text{measured}}, u(k-1), \dots\bigr)$$
#
# *Free run, or simulation:* only the inputs are known, and the model is fed with its own past
# outputs. This is what one wants of a model of the plant: what if?
#
# $$\hat y(k) = f\bigl(\underbrace{\hat y(k-1), \dots}_{\text{its own}}, u(k-1), \dots\bigr)$$
#
# Training on the one-step error is plain regression, $\frac1N\sum_k (y(k) - f(\varphi(k)))^2$, since
# nothing in $\varphi$ depends on the weights.


# %%
def narx():
    torch.manual_seed(0)
    return sysid.NARX(nu=1, ny=1, na=2, nb=2, nk=1, hidden_sizes=(10,))


one_step = narx()
sysid.fit(one_step, past, valid, loss="one_step", optimiser="lm", max_epochs=30)

n = 20  # samples to start from; the same for all that follows
figure, axes = plt.subplots(2, 1, figsize=(9, 4.2), sharex=True, layout="constrained")
shown = slice(700, 900)
time = np.arange(shown.start, shown.stop) * test.sampling_time
free = one_step.simulate(test.replace(n_init=n))
for ax, y_hat, title in (
    (axes[0], one_step.predict(test), "one step ahead"),
    (axes[1], free, "free run"),
):
    fit = sysid.fit_index(test.y[n:], y_hat[n:])[0]
    ax.plot(time, test.y[shown], color="0.6", lw=2.5, label="true")
    ax.plot(time, y_hat[shown], color="C1", lw=1, label="model")
    ax.set(title=f"{title}: fit {fit:.1f} %", ylabel="position (V)")
    ax.legend(frameon=False, loc="lower right", ncols=2)
axes[1].set(xlabel="time (s)")
plt.show()

# %% [markdown]
# The same weights. One step ahead the model looks finished, and whoever stops there reports that
# number. In free run it is wrong by much more, and it is wrong in a certain way: too small at the
# resonance.
#
# ## Why a good predictor can be a bad simulator
#
# Two reasons, and they add up.
#
# **One step is easy.** Two measured outputs and the last inputs say nearly everything about the next
# output: further down even a linear model predicts it well, of a plant that is not linear. A loss
# that is nearly satisfied at once is a weak teacher. In free run a small error goes in again, and the
# poles of the model decide how much of it piles up.
#
# **Noise in the regressors biases the poles.** What stands in $\varphi$ is not the output $y_0$ but
# the measured $y = y_0 + e$. Least squares assumes that only the target is noisy. With noise in the
# regressors it does what is best for *predicting from noisy data*: it trusts the past outputs less
# than it should. Take the simplest plant, $y_0(k) = a\,y_0(k-1) + b\,u(k-1)$ with a white $u$. Then
#
# $$\hat a \;\to\; a\,\frac{\operatorname{var} y_0}{\operatorname{var} y_0 + \operatorname{var} e}$$
#
# whatever the number of samples: more data only make the wrong value more certain.

# %%
a, b = 0.95, 0.1
rng = np.random.default_rng(0)
u = rng.standard_normal(20_000)
y0 = np.zeros_like(u)
for k in range(1, len(u)):
    y0[k] = a * y0[k - 1] + b * u[k - 1]

levels = np.linspace(0, 0.5, 11)
found = []
for level in levels:
    y = y0 + level * y0.std() * rng.standard_normal(len(u))
    phi, target = sysid.narx_regressors(sysid.Record(u, y), na=1, nb=1, nk=1)
    found.append(np.linalg.lstsq(phi, target, rcond=None)[0][0, 0])

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.plot(levels * 100, found, "o", label=r"$\hat a$ by least squares, 20 000 samples")
axes.plot(levels * 100, a / (1 + levels**2), color="C1", label="the formula")
axes.axhline(a, color="k", lw=0.8, ls=":")
axes.text(38, a - 0.016, "true $a$")
axes.set(xlabel="noise (% of the std of the output)", ylabel="pole")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# A pole that is too small is too much damping: the resonance of the free run above was too low. The
# predictor is *right* to be biased, for prediction. It answers another question than the one we ask.
#
# ## The cure: train on what you want
#
# Unfold the model in free run over windows of $L$ samples and put *that* error into the loss,
#
# $$\mathcal L = \frac1Q\sum_{q=1}^{Q} \frac1L \sum_{i} \bigl\|y(t_q+i) - \hat y(t_q+i)\bigr\|^2, \qquad
#   \hat y(k) = f\bigl(\hat y(k-1), \dots, u(k-1), \dots\bigr)$$
#
# Now a weight acts on the loss at once and again through every output fed back, and the gradient runs
# back through the window, as in a recurrent network. What the model is fed with is its own, noise-free
# output: the noise has left the regressors and stands in the target alone, where least squares wants
# it. `loss="subsequence"` does this over windows, `loss="full_sequence"` over the whole record.

# %%
simulated = narx()
sysid.fit(
    simulated, past, valid, loss="subsequence", length=100, stride=10, optimiser="lm", max_epochs=20
)
scores = sysid.compare(
    {"one-step": one_step, "subsequence": simulated}, test, (1, 3, 10, 30, "simulation")
)
scores.pivot(index="model", columns="horizon", values="fit_index")[
    ["1", "3", "10", "30", "simulation"]
].round(1)

# %% [markdown]
# `compare` scores all models on the same samples, next to two that need no network: the mean, and
# `ARX`, the linear model of the same orders by least squares. Read it along a row: a model that was
# trained one step ahead loses with every step, one that was trained in free run hardly does. Read
# the column `1`: even one step ahead it is the better one here, because the past outputs of this test
# record are free of noise, and the right poles are then the best predictor too.

# %%
plots.fit_against_horizon(scores)

# %%
start = test.replace(n_init=n)
plots.simulation(
    start[:500],
    {"one-step": one_step.simulate(start)[:500], "subsequence": simulated.simulate(start)[:500]},
    n_init=n,
    title="Free run of the two NARX models; below, what is left",
)

# %% [markdown]
# ## What validation has to be
#
# `sysid.fit` keeps the weights of the best epoch, and judges it by free run on held-out data
# *whatever the training loss is*. Judged by the one-step error, nothing would have warned us:

# %%
plots.learning_curve(
    sysid.fit(narx(), past, valid, loss="one_step", optimiser="lm", max_epochs=30).history
)

# %% [markdown]
# The training loss says that nothing is left to learn; the free run on the validation record stands
# far above, and does not come down with it.
#
# Three ways to go wrong, in the order in which they happen:
#
# 1. **A random split.** The rows of $\varphi$ overlap. Shuffled into training and validation, each
#    validation row has neighbours in training that share all but one of its numbers. Split in time,
#    with a gap of at least the largest lag.
# 2. **More lags than needed.** They lower the one-step error a little, because several noisy outputs
#    average the noise, and give the free run more ways to become unstable.
# 3. **A one-step fit of 98 % in a paper.** Ask for the free run, and for the same figure of a linear
#    model and of $\hat y(k) = y(k-1)$.

# %%
fits = scores[scores.horizon == "simulation"].set_index("model").fit_index

# %% tags=["figures"]
{
    "one-step NARX, free run": round(float(fits["one-step"]), 1),
    "subsequence NARX, free run": round(float(fits["subsequence"]), 1),
}

# %% [markdown]
# ## Exercise
#
# The window length $L$ says how many steps the error may pile up before it is punished. Train the
# same NARX with $L = 4$, 10 and 30 and plot or print the fit of the free run. What does the shortest
# possible window amount to?
#
# <details><summary>Answer</summary>
#
# ```python
# for length in (4, 10, 30):
#     model = narx()
#     sysid.fit(
#         model, past, valid,
#         loss="subsequence", length=length, stride=5, optimiser="lm", max_epochs=15,
#     )
#     y_hat = model.simulate(start)
#     print(length, sysid.fit_index(test.y[n:], y_hat[n:]))
# ```
#
# The fit rises with $L$, steeply at first. A window of three samples has two to start from and one
# to predict, which is the one-step loss again: subsequences lie between the two extremes, and $L$ is
# the knob. It should be about as long as the plant remembers (`sysid.advice(record)` suggests a
# length).
#
# </details>
