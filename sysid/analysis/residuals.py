"""Residual analysis: what a model leaves, tested against the past of outputs and inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sysid.analysis.compare import run
from sysid.data.records import Array, Record
from sysid.models import Model


@dataclass(frozen=True)
class ResidualAnalysis:
    """Correlations and verdicts.

    ``correlations`` has a row per test, output, input and lag: test, output, input, lag, value
    (a correlation coefficient), band (that a right model leaves at no lag of the test).
    ``verdicts`` has a row per test, output and input: test, output, input, statistic, degrees,
    p_value, passed, lags (those outside the band: with one of them, no test passes), words.
    ``note`` says what was left out.
    """

    correlations: pd.DataFrame
    verdicts: pd.DataFrame
    residuals: Array
    horizon: int | str
    note: str

    @property
    def passed(self) -> bool:
        """Whether every test passed."""
        return bool(self.verdicts["passed"].all())


def residual_analysis(
    model: Model,
    record: Record,
    horizon: int | str = 1,
    lags: int = 25,
    confidence: float = 0.99,
) -> ResidualAnalysis:
    """Test what a model leaves of a record, ``e(k) = y(k) - y_hat(k)``.

    Args:
        model: the model.
        record: a measured record, best one that was not trained on.
        horizon: steps ahead of ``y_hat``, or ``"simulation"``.
        lags: largest lag.
        confidence: chance that a test of a right model passes.

    Returns:
        See ``ResidualAnalysis``; the tests are those of ``check_residuals``.

    Raises:
        ValueError: if the record has no outputs, or too few complete samples for the lags.

    Example:
        >>> import sysid
        >>> record = sysid.generate("linear", 400, noise=0.05)
        >>> model = sysid.NARX(nu=1, ny=1, na=1, nb=1, hidden_sizes=())  # too low an order
        >>> _ = sysid.fit(model, record, loss="one_step", max_epochs=1)
        >>> residual_analysis(model, record).passed
        False
    """
    if record.ny == 0:
        raise ValueError(f"record {record.name!r} must have measured outputs, got none")
    start = model.scoring_start(record)
    y_hat = run(model, record, horizon)
    e = np.array(record.y - y_hat)
    e[:start] = np.nan
    return check_residuals(
        e, record.u, lags, confidence, horizon, output=record.y_names, inputs=record.u_names
    )


def check_residuals(
    e: Array,
    u: Array,
    lags: int = 25,
    confidence: float = 0.99,
    horizon: int | str = 1,
    output: tuple[str, ...] | None = None,
    inputs: tuple[str, ...] | None = None,
) -> ResidualAnalysis:
    """Test residuals for whiteness and independence of inputs, linear and nonlinear.

    For each output ``e`` and input ``u``, on the longest stretch without a missing sample:

    - ``whiteness``: Ljung-Box statistic of the autocorrelation of ``e``, lags ``1 ... M``
      (one-step residuals alone: those of a longer horizon are correlated by nature);
    - ``input``: ``e(k)`` against ``u(k - lag)``, lags ``0 ... M``;
    - ``input squared``: ``e(k)`` against ``u^2(k - lag)``, which finds even terms that were
      missed, lags ``0 ... M``;
    - ``squared``: ``e^2(k)`` against ``u^2(k - lag)``, which finds odd ones, lags ``0 ... M``;
    - ``product``: ``e(k)`` against ``e(k - lag) u(k - lag)``, lags ``1 ... M``, one-step alone.

    With ``a`` and ``b`` independent, ``sqrt(N) r_ab`` is jointly normal with covariance
    ``P_ij = sum_k r_a(k) r_b(k + i - j)``, from the autocorrelation coefficients of both. Two
    statistics judge them: ``N r' P^-1 r``, chi-squared with a degree of freedom a lag, which
    sees much that is small; and the largest coefficient, in ``sqrt(P_00 / N)``, with Sidak's
    bound over the lags, which sees one that is large. A test fails where either has half of the
    chance that it may fail by; the band is that of the second, so that what leaves it has failed.

    Args:
        e: residuals, ``(N, ny)``.
        u: inputs, ``(N, nu)``.
        lags: largest lag ``M``.
        confidence: chance that a test passes where nothing is wrong.
        horizon: of the residuals: steps ahead, or ``"simulation"``.
        output: names of the outputs.
        inputs: names of the inputs.

    Raises:
        ValueError: if lags or confidence are out of range, or complete samples too few.

    Source:
        L. Ljung, System Identification, 2nd edition, 1999, section 16.6, pages 511 to 514
        (whiteness, and the covariance P of residuals and inputs); G. M. Ljung and G. E. P. Box,
        Biometrika 65(2), 1978; S. A. Billings and W. S. F. Voon, International Journal of
        Control 44(1), 1986 (nonlinear correlations).
    """
    _check(lags, confidence)
    keep = longest_complete(np.hstack([e, u]))
    n = keep.stop - keep.start
    if n < 4 * (lags + 1):
        raise ValueError(
            f"lags must be at most a quarter of the complete samples, got {lags} for a stretch "
            f"of {n}; use a longer record or fewer lags"
        )
    outputs = output or tuple(f"y{i + 1}" for i in range(e.shape[1]))
    inputs = inputs or tuple(f"u{i + 1}" for i in range(u.shape[1]))
    tables, verdicts = [], []
    one_step = horizon == 1
    for i, y_name in enumerate(outputs):
        x = e[keep, i] - e[keep, i].mean()
        if not x.std() > 0:
            verdicts.append(_nothing_left(y_name))
            continue
        if one_step:
            table, verdict = _whiteness(x, lags, confidence)
            tables.append(table.assign(test="whiteness", output=y_name, input=""))
            verdicts.append({"test": "whiteness", "output": y_name, "input": "", **verdict})
        for j, u_name in enumerate(inputs):
            v = u[keep, j] - u[keep, j].mean()
            if not v.std() > 0:
                verdicts.append(_constant(y_name, u_name))
                continue
            for test, a, b, first in _pairs(x, v, one_step):
                table, verdict = _independence(test, a, b, first, lags, confidence)
                tables.append(table.assign(test=test, output=y_name, input=u_name))
                verdicts.append({"test": test, "output": y_name, "input": u_name, **verdict})
    columns = ["test", "output", "input", "lag", "value", "band"]
    correlations = pd.concat(tables)[columns] if tables else pd.DataFrame(columns=columns)
    left_out = len(e) - n
    note = f"the longest complete stretch, {n} samples, was tested; {left_out} were left out"
    return ResidualAnalysis(
        correlations.reset_index(drop=True),
        pd.DataFrame(verdicts),
        e,
        horizon,
        note if left_out else "",
    )


def _pairs(e: Array, u: Array, one_step: bool) -> list[tuple[str, Array, Array, int]]:
    """Return name, series, what it is correlated with, and first lag of each test."""
    pairs = [("input", e, u, 0)]
    if len(np.unique(u)) > 2:  # the square of a two-level input says what the input says
        square = u**2 - np.mean(u**2)
        pairs.append(("input squared", e, square, 0))
        pairs.append(("squared", e**2 - np.mean(e**2), square, 0))
    if one_step:
        product = e * u
        pairs.append(("product", e, product - product.mean(), 1))
    return pairs


def _whiteness(e: Array, lags: int, confidence: float) -> tuple[pd.DataFrame, dict[str, object]]:
    from statsmodels.stats.diagnostic import acorr_ljungbox

    r = correlation(e, e, lags)[1:]
    box = acorr_ljungbox(e, lags=[lags])
    statistic, p = float(box["lb_stat"].iloc[0]), float(box["lb_pvalue"].iloc[0])
    table = pd.DataFrame({"lag": range(1, lags + 1), "value": r})
    return _judged("whiteness", statistic, lags, p, table, 1 / math.sqrt(len(e)), confidence)


def _independence(
    test: str, a: Array, b: Array, first: int, lags: int, confidence: float
) -> tuple[pd.DataFrame, dict[str, object]]:
    from scipy import linalg
    from scipy.stats import chi2

    n = len(a)
    r = correlation(a, b, lags)[first:]
    reach = min(n - lags - 1, max(50, 10 * lags, math.isqrt(n)))
    r_a, r_b = correlation(a, a, reach), correlation(b, b, reach + lags)
    two_sided_a = np.concatenate([r_a[:0:-1], r_a])  # lags -reach ... reach
    two_sided_b = np.concatenate([r_b[:0:-1], r_b])  # lags -(reach + lags) ... reach + lags
    # P at lag distance d: sum over k of r_a(k) r_b(k + d).
    row = np.array(
        [two_sided_a @ two_sided_b[lags + d : lags + d + 2 * reach + 1] for d in range(len(r))]
    )
    spread = max(float(row[0]), 1e-12)
    # Coefficients at large lags are noise, and can make P lose its rank: keep what it surely has.
    values, vectors = linalg.eigh(linalg.toeplitz(row))
    good = values > 1e-3 * values.max()
    projected = vectors.T[good] @ r
    statistic = float(n * np.sum(projected**2 / values[good]))
    degrees = int(good.sum())
    p = float(chi2.sf(statistic, degrees))
    table = pd.DataFrame({"lag": range(first, lags + 1), "value": r})
    return _judged(test, statistic, degrees, p, table, math.sqrt(spread / n), confidence)


def correlation(a: Array, b: Array, lags: int) -> Array:
    """Return ``sum_k a(k) b(k - lag) / sqrt(sum a^2 sum b^2)`` for lags ``0 ... lags``."""
    from scipy.signal import correlate

    full = correlate(a, b, mode="full", method="fft" if len(a) > 2000 else "direct")
    middle = len(b) - 1
    out: Array = full[middle : middle + lags + 1] / math.sqrt(float((a @ a) * (b @ b)))
    return out


_WORDS = {
    "whiteness": (
        "one-step errors look like white noise",
        "one-step errors are predictable from their own past: the model misses dynamics or the "
        "colour of the noise; try larger orders or output feedback",
    ),
    "input": (
        "nothing of the input is left in the errors",
        "the input still explains part of the errors: the path from it is wrong at these lags",
    ),
    "input squared": (
        "no even nonlinearity of the input is left",
        "an even nonlinearity of the input is left: give the network more neurons or lags",
    ),
    "squared": (
        "the size of the errors does not depend on the input",
        "errors are larger at some amplitudes of the input: an odd nonlinearity is left, or "
        "the noise depends on the level",
    ),
    "product": (
        "errors do not depend on past errors times inputs",
        "errors depend on past errors times inputs: a product of output and input is missed",
    ),
}


def _judged(
    test: str,
    statistic: float,
    degrees: int,
    p: float,
    table: pd.DataFrame,
    spread: float,
    confidence: float,
) -> tuple[pd.DataFrame, dict[str, object]]:
    """Return the table with its band, and the verdict of both statistics.

    ``p`` is that of the joint statistic, ``spread`` the standard deviation of a coefficient.
    """
    from scipy.stats import norm

    count = len(table)
    chance = (1 - confidence) / 2
    each = -math.expm1(math.log1p(-chance) / count)  # Sidak
    table["band"] = float(norm.isf(each / 2)) * spread
    out = table.loc[table["value"].abs() > table["band"], "lag"].tolist()
    largest = 2 * float(norm.sf(float(table["value"].abs().max()) / spread))
    p_largest = -math.expm1(count * math.log1p(-largest)) if largest < 1 else 1.0
    p = min(1.0, 2 * min(p, p_largest))
    passed = p >= 1 - confidence and not out
    words = _WORDS[test][0 if passed else 1]
    if out:
        words += " (lag " + ", ".join(map(str, out[:6])) + (", ...)" if len(out) > 6 else ")")
    elif not passed:
        words += " (no lag by itself, but all together)"
    return table, {
        "statistic": statistic,
        "degrees": degrees,
        "p_value": p,
        "passed": passed,
        "lags": out,
        "words": words,
    }


def _nothing_left(output: str) -> dict[str, object]:
    words = "the error is constant: there is nothing to test"
    return _untested("all", output, "", words)


def _constant(output: str, name: str) -> dict[str, object]:
    return _untested("input", output, name, "the input is constant: it explains nothing")


def _untested(test: str, output: str, name: str, words: str) -> dict[str, object]:
    return {
        "test": test,
        "output": output,
        "input": name,
        "statistic": math.nan,
        "degrees": 0,
        "p_value": math.nan,
        "passed": True,
        "lags": [],
        "words": words,
    }


def _check(lags: int, confidence: float) -> None:
    if isinstance(lags, bool) or not isinstance(lags, (int, np.integer)) or lags < 1:
        raise ValueError(f"lags must be a whole number of at least 1, got {lags!r}")
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence must be in [0.5, 1), got {confidence}")


def worst_stretch(residuals: Array, length: int) -> slice:
    """Return the ``length`` samples with the largest sum of squares, missing ones as zero.

    Args:
        residuals: ``(N, ny)``.
        length: samples; the whole record if it has no more.
    """
    power = np.square(np.nan_to_num(residuals, posinf=0, neginf=0)).sum(axis=1)
    if length >= len(power):
        return slice(0, len(power))
    total = np.concatenate([[0.0], np.cumsum(power)])
    start = int(np.argmax(total[length:] - total[:-length]))
    return slice(start, start + length)


def longest_complete(block: Array) -> slice:
    """Return the longest run of rows without NaN or infinity."""
    good = np.isfinite(block).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(int)))
    runs = edges.reshape(-1, 2)
    if not len(runs):
        return slice(0, 0)
    a, b = runs[np.argmax(runs[:, 1] - runs[:, 0])]
    return slice(int(a), int(b))
