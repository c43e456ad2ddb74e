"""Files of measurement systems: TDMS (LabVIEW) and MF4/MDF (vehicles), opened as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sysid.data.memory import refuse_swollen, refuse_too_large
from sysid.data.readers.optional import needed
from sysid.data.readers.structures import Measured, Structure, Unreadable, laid_out
from sysid.data.readers.tables import Table
from sysid.data.reading import Reading

_HINT = "cut the file, or export fewer channels"


def open_tdms(path: Path, reading: Reading) -> Table:
    """Return the channels of a TDMS file; those of a group with a wave form have its time."""
    nptdms = needed("nptdms", "tdms")
    with nptdms.TdmsFile.open(path) as file:
        groups = file.groups()
        size = sum(len(c) * c.dtype.itemsize for g in groups for c in g.channels() if c.dtype)
        refuse_too_large("its channels", size, _HINT)
        refuse_swollen("its channels", size, path)
        return laid_out({group.name: _tdms_group(group) for group in groups}, reading)


def _tdms_group(group: Any) -> Structure:
    channels: dict[str, Any] = {}
    times = set()
    for channel in group.channels():
        properties = channel.properties
        if channel.dtype is None or not len(channel):
            continue
        channels[channel.name] = Measured(channel[:], str(properties.get("unit_string", "")))
        if properties.get("wf_increment"):
            start, step = properties.get("wf_start_offset", 0.0), properties["wf_increment"]
            times.add((float(start), float(step), len(channel)))
    if len(times) == 1 and "time" not in channels:
        start, step, samples = times.pop()
        channels["time"] = Measured(start + step * np.arange(samples), "s")
    return Structure((channels,))


def open_mf4(path: Path, reading: Reading) -> Table:
    """Return the channels of an MF4 or MDF file; each group has its own time."""
    asammdf = needed("asammdf", "mf4")
    refuse_too_large("its channels", 2 * path.stat().st_size, _HINT)
    with asammdf.MDF(path) as file:
        groups = {f"group{index}": _mf4_group(file, index, path) for index in file.virtual_groups}
    filled = {name: group for name, group in groups.items() if group.elements[0]}
    return laid_out(filled, reading)


def _mf4_group(file: Any, index: int, path: Path) -> Structure:
    names = [(None, group, channel) for group, channel in _channels(file, index)]
    channels: dict[str, Any] = {}
    size = 0
    for signal in file.select(names, ignore_value2text_conversions=True) if names else []:
        if not len(signal.samples):
            continue
        size += signal.samples.nbytes
        refuse_swollen("its channels", size, path)
        if signal.samples.dtype.kind not in "biuf" or signal.samples.ndim != 1:
            channels[signal.name] = Unreadable("hold numbers, one a sample")
            continue
        channels[signal.name] = Measured(signal.samples, signal.unit or "")
        channels.setdefault("time", Measured(signal.timestamps, "s"))
    return Structure((channels,))


def _channels(file: Any, index: int) -> list[tuple[int, int]]:
    """Return the groups and places of the channels that share one time."""
    included = file.included_channels(index)[index]
    return [(group, channel) for group, channels in included.items() for channel in channels]
