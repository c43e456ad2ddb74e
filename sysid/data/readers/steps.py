"""The sampling time that the lines above a table state."""

from __future__ import annotations

import re

from sysid.data.readers.cells import is_number, is_unit
from sysid.data.readers.lines import Lines
from sysid.data.time_names import SECONDS

_LINE = re.compile(
    r'^[#%\s"/]*(?P<key>[A-Za-z][A-Za-z _-]*?)"?\s*(?:[\[(](?P<unit>[^\])]+)[\])])?"?'
    r"(?:\s*[:=,;\t]+\s*|\s{2,}|\s(?=[\d.]))(?P<values>.*)$"
)
_INTERVAL = (
    r"(sampl(e|ing) (interval|time|period|step)|delta ?[xt]|[xt] ?inc(rement)?|dt|time step)"
)
_RATE = r"(sampl(e|ing) (rate|freq(uency)?)|fs|scan rate)"
_EITHER = r"(interval|sampling|sample|increment|rate|time (increment|interval))"
_HERTZ = re.compile(r"([kMG]?)(Hz|Sa/s|S/s|sps|SPS|samples/s|1/s)")
_PREFIX = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_VALUE = re.compile(r"(?:[A-Za-z]\w*:)?([+-]?[\d.,]+(?:[eE][+-]?\d+)?)\s*([^\d\s.,].*)?")


def stated_step(lines: Lines, delimiter: str, end: int, begin: int = 0) -> tuple[float, str] | None:
    """Return the seconds between samples that a line of the preamble states, and where.

    Args:
        lines: the lines.
        delimiter: what parts the fields of the table; a comma may be one in the preamble, too.
        end: index of the line where the preamble ends.
        begin: index of the line where it begins.

    Returns:
        The step and words for its place; None where no line states one, or they differ.
    """
    found = []
    for i in range(begin, min(end, len(lines))):
        match = _LINE.match(lines[i])
        if match and (step := _step(match, delimiter)) is not None:
            found.append((step, f"{match['key'].strip()} in line {i + 1}"))
    if not found or any(abs(step - found[0][0]) > 0.01 * found[0][0] for step, _ in found):
        return None
    return found[0]


def stated_units(lines: Lines, delimiter: str, end: int, begin: int = 0) -> list[str]:
    """Return the units of the channels that a line of the preamble states, without its key."""
    for i in range(begin, min(end, len(lines))):
        if re.match(r"\W*(vertical|y|channel)[ _-]units?\b", lines[i], re.IGNORECASE):
            units = [re.sub(r"^\w+:", "", c) for c in lines.split(i, delimiter)[1:]]
            if all(map(is_unit, units)):
                return units
    return []


def _step(match: re.Match[str], delimiter: str) -> float | None:
    """Return the step that a key and its values state."""
    key = re.sub(r"[\s_-]+", " ", match["key"]).strip().lower()
    sure = "s" if re.fullmatch(_INTERVAL, key) else "Hz" if re.fullmatch(_RATE, key) else None
    if sure is None and not re.fullmatch(_EITHER, key):
        return None
    steps = set()
    for text in re.split(r"[\t;,]" if delimiter == "," else r"[\t;]|, ", match["values"]):
        if not text.strip(' "'):
            continue
        value = _VALUE.fullmatch(text.strip(' "'))
        if value is None or not is_number(value[1]):
            return None
        unit = (value[2] or match["unit"] or sure or "").strip()
        steps.add(_in_seconds(float(value[1].replace(",", ".")), unit))
    step = steps.pop() if len(steps) == 1 else None
    return step if step is not None and 0 < step < float("inf") else None


def _in_seconds(value: float, unit: str) -> float | None:
    if unit.lower() in SECONDS:
        return value * SECONDS[unit.lower()]
    if (hertz := _HERTZ.fullmatch(unit)) and value > 0:
        return 1 / (value * _PREFIX[hertz[1]])
    return None
