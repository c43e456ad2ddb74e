"""Tables in long form: a row holds one signal at one time, named in a column of its own."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sysid.data.columns import unknown_column
from sysid.data.stamps import seconds_of
from sysid.data.time_names import Rank, rank

_TAG = re.compile(
    r"(var|tag|signal|series|sensor|channel|variable|parameter|point|item|metric|measurement|field|"
    r"topic|probe|quantity|object|name|id|key|device|register)s?"
    r"([ _-]?(name|id|key|no|number|path))?",
    re.I,
)
_VALUE = re.compile(
    r"((var|tag|signal|sensor|point|item|raw|real|measured)?[ _-]?(value|val|reading|wert)|v)",
    re.I,
)
_MOST_TAGS = 1000
# What a Siemens HMI writes into its archive at start and stop, beside the tags.
_CONTROL = re.compile(r"\$RT_\w+\$")
Load = Callable[[Sequence[str]], pd.DataFrame]


def parse_pivot(text: str, names: Sequence[str]) -> tuple[str, str]:
    """Return the column of tags and that of values, given as ``"TAG,VALUE"``.

    Raises:
        ValueError: if they are not two columns of the file.
    """
    given = [n.strip() for n in next(csv.reader([text], skipinitialspace=True), [])]
    if len(given) != 2:
        raise ValueError(f"pivot must name two columns, TAG,VALUE, got {text!r}")
    for name in given:
        if name not in names:
            raise ValueError(unknown_column(name, names))
    return given[0], given[1]


def time_like(names: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """Return the columns that may be time stamps, by what they hold or by their names."""
    by_kind = [n for n, kind in zip(names, kinds, strict=True) if kind == "stamp"]
    by_name = [
        n
        for n, k in zip(names, kinds, strict=True)
        if rank(n) is not Rank.NONE and k in ("number", "text")
    ]
    return list(dict.fromkeys([*by_kind, *by_name]))


def pivoted(
    load: Load, tag: str, value: str, time: str | None, stamps: Sequence[str]
) -> tuple[list[str], int, Load]:
    """Return the columns, the number of samples and the loader of a table with a column a tag.

    Args:
        load: the loader of the long table.
        tag: its column of tags.
        value: its column of values.
        time: the column of time stamps that was asked for.
        stamps: the columns that may be it.
    """
    for name in stamps:
        if time is None and name not in (tag, value):
            # What is the same in all rows, such as the range of a query, is no time.
            time = name if _varies(load([name])[name]) else None
    tags = load([tag])[tag].astype(str).str.strip()
    found = [t for t in dict.fromkeys(tags) if not _CONTROL.fullmatch(t) and t != "nan"]
    if len(found) > _MOST_TAGS:
        raise ValueError(f"column {tag!r} must name signals, got {len(found)} different texts")
    if time in found:
        raise ValueError(f"no tag may be called as the column of time, {time!r}; rename it")

    def load_wide(names: Sequence[str]) -> pd.DataFrame:
        asked = [n for n in names if n != time] or found
        long = load([n for n in (tag, value, time) if n is not None])
        long[tag] = tags
        long = long[tags.isin(asked).to_numpy()]
        wide = _wide(long, tag, value, time)
        return wide.reindex(columns=list(names))

    names = ([time] if time is not None else []) + found
    return names, max(1, len(tags) // max(1, len(found))), load_wide


def _wide(long: pd.DataFrame, tag: str, value: str, time: str | None) -> pd.DataFrame:
    """Put the values of each tag into a column, on the stamps of all of them."""
    groups = {str(name): g for name, g in long.groupby(tag, sort=False)}
    if time is None:
        sizes = {name: len(g) for name, g in groups.items()}
        if len(set(sizes.values())) > 1:
            shown = ", ".join(f"{n} of {name!r}" for name, n in list(sizes.items())[:4])
            raise ValueError(
                f"without time stamps all tags must have as many values, got {shown}; "
                "name the column of time stamps with time"
            )
        return pd.DataFrame({name: g[value].to_numpy() for name, g in groups.items()})
    twice = np.flatnonzero(long.duplicated([tag, time]).to_numpy())
    if len(twice):
        row = long.iloc[twice[0]]
        raise ValueError(
            f"tag {row[tag]!r} has two values at {row[time]}, the second in row "
            f"{long.index[twice[0]]}; delete one of them"
        )
    wide = pd.DataFrame(
        {name: pd.Series(g[value].to_numpy(), index=g[time]) for name, g in groups.items()}
        if _shared([g[time] for g in groups.values()])
        else {name: g.set_index(time)[value] for name, g in _on_all(long, groups, time).items()}
    )
    wide.index.name = time
    return wide.reset_index()


def _shared(stamps: Sequence[pd.Series[Any]]) -> bool:
    """Return whether all tags have the same stamps in the same order."""
    return all(
        len(s) == len(stamps[0]) and bool((s.to_numpy() == stamps[0].to_numpy()).all())
        for s in stamps
    )


def _on_all(
    long: pd.DataFrame, groups: dict[str, pd.DataFrame], time: str
) -> dict[str, pd.DataFrame]:
    """Put each tag on the stamps of all, in the order of time; others are missing."""
    each = long[[time]].drop_duplicates()
    order = np.argsort(seconds_of(each.reset_index(drop=True), time), kind="stable")
    index = pd.Index(each[time].to_numpy()[order], name=time)
    return {name: g.set_index(time).reindex(index).reset_index() for name, g in groups.items()}


def refuse_long_form(load: Load, names: Sequence[str], kinds: Sequence[str]) -> None:
    """Raise for a table in long form, of which a column would be several signals in turn.

    A column of text with few words is a state of the plant where the stamps go on through it,
    and names signals where each of its words has stamps of its own.

    Args:
        load: loads columns by their names.
        names: the columns.
        kinds: what each of them holds.
    """
    texts = [
        n
        for n, kind in zip(names, kinds, strict=True)
        if kind == "text" or (kind == "number" and _TAG.fullmatch(n))
    ]
    values = [n for n, kind in zip(names, kinds, strict=True) if kind == "number"]
    stamps = time_like(names, kinds)
    values = [n for n in values if n not in stamps] or values
    texts = [n for n in texts if n not in stamps]
    frame = load([*texts, *stamps]) if texts else pd.DataFrame()
    for tag in texts:
        words = frame[tag].dropna().astype(str).str.strip()
        words = words[~words.str.fullmatch(_CONTROL)]
        tags = list(dict.fromkeys(words))
        if not 2 <= len(tags) <= min(_MOST_TAGS, len(words) // 2):
            continue
        clock = _clock_of_tags(frame, tag, stamps)
        others = [n for n in values if n != tag]
        named = [n for n in others if _VALUE.fullmatch(n)]
        by_names = bool(_TAG.fullmatch(tag.strip("_ "))) and (bool(named) or len(others) == 1)
        in_turn = len(others) == 1 and (words.to_numpy()[1:] != words.to_numpy()[:-1]).mean() > 0.5
        if clock or by_names or in_turn:
            value = (named or [n for n in others if n != clock] or values)[0]
            shown = ", ".join(map(repr, tags[:4])) + (", ..." if len(tags) > 4 else "")
            raise ValueError(
                f"the table is in long form: column {tag!r} names the signal of each row, {shown}; "
                f'give pivot="{tag},{value}" (--pivot {tag},{value}) to make a column of each'
            )


def _clock_of_tags(frame: pd.DataFrame, tag: str, stamps: Sequence[str]) -> str | None:
    """Return the time column whose stamps repeat, but not within a tag."""
    for name in stamps:
        again = frame[name].duplicated().mean() > 0.1
        if again and _varies(frame[name]) and not frame.duplicated([tag, name]).any():
            return name
    return None


def _varies(column: pd.Series[Any]) -> bool:
    return bool((column != column.iloc[0]).any()) if len(column) else False
