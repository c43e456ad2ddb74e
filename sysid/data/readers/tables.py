"""Table: the columns a data file offers, before any of them is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sysid.data.stamps import Stamps

# What a file keeps of a record beside its columns, as JSON under this name.
METADATA = "sysid_record"


class StoredStamps(BaseModel):
    """What a file keeps of a record's time stamps; dates are texts."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    start: int | float | str
    unit: str
    name: str

    @classmethod
    def of(cls, stamps: Stamps) -> StoredStamps:
        """Return what is kept of a record's stamps."""
        start = stamps.start
        return cls(
            start=start.isoformat() if isinstance(start, pd.Timestamp) else start,
            unit=stamps.unit,
            name=stamps.name,
        )

    def stamps(self) -> Stamps:
        """Return them as a record has them.

        Raises:
            ValueError: if they are something else.
        """
        try:
            start = pd.Timestamp(self.start) if isinstance(self.start, str) else self.start
            stamps = Stamps(start, self.unit, self.name)
            stamps.column(1, 1.0)
        except (ValueError, OverflowError):
            raise ValueError(
                f"its stored stamps start at {self.start!r} in {self.unit!r}, which is no time"
            ) from None
        return stamps


class StoredRecord(BaseModel):
    """What a file keeps of a record beside its columns."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    sampling_time: float | None = Field(gt=0, allow_inf_nan=False)
    u_names: list[str]
    y_names: list[str]
    u_units: list[str]
    y_units: list[str]
    n_init: int = Field(ge=0)
    stamps: StoredStamps | None = None

    @classmethod
    def from_json(cls, text: str) -> StoredRecord:
        """Read what ``write`` stored.

        Raises:
            ValueError: if it is something else.
        """
        try:
            stored = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or METADATA
            raise ValueError(
                f"its stored {where} is not what was written: {first['msg']}"
            ) from None
        for kind in ("u", "y"):
            if len(getattr(stored, f"{kind}_names")) != len(getattr(stored, f"{kind}_units")):
                raise ValueError(f"its stored {kind}_units are not one per channel")
        return stored

    @property
    def units(self) -> dict[str, str]:
        """The unit of each channel."""
        return dict(
            zip([*self.u_names, *self.y_names], [*self.u_units, *self.y_units], strict=True)
        )


@dataclass(frozen=True)
class Table:
    """The columns of a file.

    Args:
        names: the columns that can be read.
        samples: their length; an estimate for a text file.
        load: reads the columns named.
        units: units that stand in the file itself; those in cells are there after ``load``.
        stored: what ``write`` kept of a record.
        unusable: columns that are there and no channel can be made of, with the rule they break.
        step: the seconds between samples that the file states beside its columns, and the words
            for where.
        aliases: other names of columns, such as ``data.u`` for ``u``.
        experiments: tables of the experiments that the file keeps apart, by their labels.
        words: what the user is told about how the file was read.
        refuse: raises if the rows of the file are no samples, whichever columns are asked for.
    """

    names: list[str]
    samples: int
    load: Callable[[Sequence[str]], pd.DataFrame]
    units: dict[str, str] = field(default_factory=dict)
    stored: StoredRecord | None = None
    unusable: dict[str, str] = field(default_factory=dict)
    step: tuple[float, str] | None = None
    aliases: dict[str, str] = field(default_factory=dict)
    experiments: dict[str, Table] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    refuse: Callable[[], None] = lambda: None

    def renamed(self, asked: Iterable[str]) -> Table:
        """Return the table with columns called as they are asked for, where that is an alias."""
        new = {self.aliases[name]: name for name in asked if name in self.aliases}
        if not new:
            return self
        old = {name: column for column, name in new.items()}

        def load(names: Sequence[str]) -> pd.DataFrame:
            frame = self.load([old.get(name, name) for name in names])
            return frame.rename(columns=new)

        return replace(
            self,
            names=[new.get(name, name) for name in self.names],
            load=load,
            units={new.get(name, name): unit for name, unit in self.units.items()},
            unusable={new.get(name, name): rule for name, rule in self.unusable.items()},
            aliases={},
        )


def repeated(names: Sequence[str]) -> dict[str, str]:
    """Return the names that stand more than once, with the rule they break."""
    places: dict[str, list[str]] = {}
    for i, name in enumerate(names, start=1):
        places.setdefault(name, []).append(str(i))
    return {
        name: f"stand once, got it in columns {', '.join(at)}; ask for '{name} (column {at[0]})'"
        for name, at in places.items()
        if name and len(at) > 1
    }


def distinct(names: Sequence[str]) -> list[str]:
    """Name columns so that no name stands twice, and none is empty.

    Example:
        >>> distinct(["u", "y", "y", ""])
        ['u', 'y (column 2)', 'y (column 3)', 'column 4']
    """
    twice = repeated(names)
    return [
        f"{name} (column {i})" if name in twice else name or f"column {i}"
        for i, name in enumerate(names, start=1)
    ]
