"""Checks of a record's dynamics: excitation, drift, cause and effect, delays, memory, linearity."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from sysid.analysis import causality
from sysid.analysis import response as linear
from sysid.analysis.checks import channels
from sysid.analysis.delays import Delay, horizon
from sysid.analysis.excitation import band, frequencies
from sysid.analysis.findings import Finding
from sysid.analysis.plant import Plant
from sysid.analysis.regression import constant

_FEEDBACK = 0.05  # share of what is new in an input, from which feedback matters
_SWAPPED = 0.3  # the same, from which cause and effect look swapped


def drift(plant: Plant) -> Iterator[Finding]:
    """Name outputs that move over the record by more than inputs and plant explain."""
    for i, found in plant.responses.items():
        if found is None or found.integrates:
            continue
        size, t = linear.trend(plant.y[i], plant.u, plant.lags(i), found.order)
        if abs(size) > 0.5 and abs(t) > 8:
            yield Finding(
                "warning",
                "drift",
                plant.record.name,
                plant.record.y_names[i],
                f"it moves by {size:+.2g} standard deviations over the record, beyond what the "
                "input explains",
                "A model without that cause will learn a wrong slow dynamic.",
                "Remove the trend, or measure what causes it and add it as an input.",
            )


def excitation(plant: Plant) -> Iterator[Finding]:
    """Say how many frequencies each input holds, and where."""
    record = plant.record
    for i, name in enumerate(record.u_names):
        u = np.asarray(record.u[:, i], dtype=np.float64)
        if constant(u):
            continue
        count = max(frequencies(u), 1.0)
        low, high = band(u)
        unit = 1.0 if record.sampling_time is None else 0.5 / record.sampling_time
        shown = "of Nyquist's frequency" if record.sampling_time is None else "Hz"
        cover = f"98 % of its power lies from {low * unit:.3g} to {high * unit:.3g} {shown}"
        if count < 10:
            many = "1 frequency" if count < 1.5 else f"{round(count)} frequencies"
            yield Finding(
                "problem" if count < 2.5 else "warning",
                "excitation",
                record.name,
                name,
                f"it holds about {many}; {cover}",
                f"It is persistently exciting of an order of about {2 * round(count)}: no "
                "more parameters of a linear model than that can be found from it.",
                "Excite with noise, a multisine of many lines or a PRBS.",
            )
        else:
            yield Finding(
                "note",
                "excitation",
                record.name,
                name,
                f"{cover}; it holds about {count:.0f} frequencies, so it is persistently exciting "
                f"of an order of about {2 * count:.0f}",
                "The model is only known at frequencies and amplitudes that were excited.",
                f"Use it within {np.nanmin(u):.4g} to {np.nanmax(u):.4g}.",
            )


def amplitudes(plant: Plant) -> Iterator[Finding]:
    """Say which inner part of each input's range holds 98 % of its samples."""
    record = plant.record
    shares = {}
    for name, x in channels(record):
        if not constant(x):
            low, high = np.nanquantile(x, [0.01, 0.99])
            shares[name] = (low, high, float((high - low) / (np.nanmax(x) - np.nanmin(x))))
    for name in record.u_names:
        if name in shares and shares[name][2] < 0.5:
            low, high, share = shares[name]
            others = [y for y in record.y_names if y in shares]
            outputs = ", ".join(f"{shares[y][2]:.0%} of that of {y}" for y in others)
            yield Finding(
                "note",
                "amplitude",
                record.name,
                name,
                f"98 % of its samples lie in {share:.0%} of its range, {low:.4g} to {high:.4g}"
                + (f"; of the outputs' in {outputs}" if others else ""),
                "Outside of that the model rests on a few samples.",
                "Visit large and small amplitudes as often as the ones between.",
            )


def copied(plant: Plant) -> Iterator[Finding]:
    """Name inputs that a controller computed from the outputs, with nothing added."""
    record = plant.record
    for j, law in plant.laws.items():
        u, of = record.u_names[j], ", ".join(record.y_names[i] for i in plant.outputs)
        yield Finding(
            "problem",
            "feedback",
            record.name,
            f"{u}, {of}",
            f"{u} is in every sample {law.format(of)}, and nothing else",
            "A controller computed it and nothing was added: the plant cannot be identified, as "
            "its model cannot be told from the inverse of the controller. (Or the output is not "
            "the plant's answer, but was computed from the input.)",
            "Add a dither to the input, or move the set point while recording.",
        )


def direction(plant: Plant) -> Iterator[Finding]:
    """Name swapped columns, and inputs that react to an output."""
    record = plant.record
    for i, found in plant.responses.items():
        if found is None:
            continue
        y_name, e = record.y_names[i], plant.innovations(i)
        for at, j in enumerate(plant.inputs):
            u_name = record.u_names[j]
            if j in plant.laws:
                continue
            back = causality.backwards(plant.y[i], e, plant.u[at])
            if back <= _FEEDBACK:
                continue
            known = plant.delays[i, j]
            there = causality.forwards(plant.y[i], plant.u[at], known.latest if known else 0)
            channel = f"{u_name}, {y_name}"
            if back > _SWAPPED and there < 0.3 * back:
                yield Finding(
                    "problem",
                    "direction",
                    record.name,
                    channel,
                    f"the past of {y_name} explains {back:.0%} of what is new in {u_name}, "
                    f"and the past of {u_name} {there:.0%} of what is new in {y_name}",
                    "Cause and effect look swapped.",
                    "Check which column is the input.",
                )
            else:
                yield Finding(
                    "warning",
                    "feedback",
                    record.name,
                    channel,
                    f"the past of {y_name} explains {back:.0%} of what is new in {u_name}",
                    "The input reacts to the output: a controller was closed. Impulse responses "
                    "by correlation are biased, and noise comes back through the input.",
                    "Use models with a noise path (NARX, one-step loss first), or add a dither.",
                )


def delays(plant: Plant) -> Iterator[Finding]:
    """Say after how many samples each input acts, or that it does not."""
    record = plant.record
    for (i, j), found in plant.delays.items():
        if j in plant.laws:  # every lag does as well as every other
            continue
        rows = int(np.isfinite(plant.y[i]).sum())
        yield from _delay(
            record.name, record.u_names[j], record.y_names[i], found, horizon(rows, len(plant.u))
        )


def _delay(record: str, u: str, y: str, found: Delay | None, longest: int) -> Iterator[Finding]:
    channel = f"{u}, {y}"
    if found is None:
        yield Finding(
            "warning",
            "delay",
            record,
            channel,
            f"no linear influence of {u} on {y} is seen within {longest} samples",
            "It does not act, acts later, acts only nonlinearly, or the record is too short or too "
            "noisy to show it.",
            "Leave the input out if it has no reason to matter.",
        )
    elif not found.known and found.latest > 2:
        yield Finding(
            "note",
            "delay",
            record,
            channel,
            f"when {u} acts cannot be told: {found.lag} to {found.latest} samples fit alike",
            "The input changes too little, or too slowly, to tell a delay from the plant's lag.",
            "Know the dead time from the plant, or excite with steps or noise.",
        )
    elif found.latest > 1:
        between = f"{found.lag} to " if found.latest > found.lag else ""
        yield Finding(
            "note",
            "delay",
            record,
            channel,
            f"{u} acts after {between}{found.latest} samples (F test: p = {found.p_value:.1g})",
            "Input lags before the delay only add noise.",
            f"Set nk to {found.lag}.",
        )


def memory(plant: Plant) -> Iterator[Finding]:
    """Say whether an output integrates, how long it remembers, and how linear it is."""
    record = plant.record
    for i, found in plant.responses.items():
        name = record.y_names[i]
        if found is None:
            continue
        if found.integrates:
            yield Finding(
                "warning",
                "integration",
                record.name,
                name,
                f"a linear model has a pole at {found.pole:.5f}, not clearly below 1",
                "The plant integrates: errors of a free run add up, and a network fed with inputs "
                "alone does not know where it starts.",
                'Use NARX, feedback or initial_state="encoder", and long windows.',
            )
        elif found.settling > 300:
            yield Finding(
                "warning",
                "sampling",
                record.name,
                name,
                f"the impulse response takes {found.settling} samples to settle",
                "The record is sampled much faster than the plant moves: windows get long.",
                f"Keep every {max(2, found.settling // 60)}th sample after a low-pass filter.",
            )
        if not plant.laws:  # a model of the controller is no measure
            yield from _linearity(record.name, name, found)


def _linearity(record: str, name: str, found: linear.Response) -> Iterator[Finding]:
    if np.isfinite(found.fit):
        yield Finding(
            "note",
            "linearity",
            record,
            name,
            f"a linear model of order {found.free_order} explains {max(found.fit, 0):.2%} of its "
            "variance in free run",
            "The rest is nonlinearity, noise and what was not measured.",
            "Compare every network with this.",
        )


def alone(plant: Plant) -> Iterator[Finding]:
    """Say of a record without inputs how far its own past tells what comes."""
    if plant.record.nu:
        return
    for i, found in plant.responses.items():
        if found is not None:
            yield Finding(
                "note",
                "no inputs",
                plant.record.name,
                plant.record.y_names[i],
                f"the last {found.order} samples explain {max(found.one_step, 0):.2%} of the next "
                "one's variance, linearly",
                "The rest is nonlinear or new in every sample, which no free run can foresee.",
                "Compare every network's one-step forecast with this.",
            )


CHECKS: tuple[Callable[[Plant], Iterator[Finding]], ...] = (
    drift,
    excitation,
    amplitudes,
    copied,
    direction,
    delays,
    memory,
    alone,
)
