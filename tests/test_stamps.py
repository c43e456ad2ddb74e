"""Time stamps: which columns are time, in which unit, what is refused, and what is written back."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sysid import Record, Stamps, read, write
from sysid.data.assembly import guess_columns
from sysid.data.dates import is_stamp, read_dates
from sysid.data.errors import TimeStampError
from sysid.data.parquet import map_parquet
from sysid.data.stamps import seconds_of, time_column, uniform_step
from sysid.data.time_columns import time_names
from sysid.data.time_names import Rank, rank, unit_of

N = 40
K = np.arange(N)


def table(path: Path, **columns: Any) -> Path:
    """Write a CSV file of some columns and an input and output beside them."""
    frame = pd.DataFrame({"u": np.sin(K), "y": np.cos(K)})
    for i, (name, values) in enumerate(columns.items()):
        frame.insert(i, name, np.asarray(values))
    file = path / "log.csv"
    frame.to_csv(file, index=False)
    return file


# Names

CERTAIN = [
    *("t", "time", "Time", "TIME", "Timestamp", "time_stamp", "Time_Stamp", "%time", "_time"),
    *("Zeit", "Datum", "date", "DateTime", "temps", "tiempo", "millis", "elapsed", "X_Value"),
    *("Uhrzeit", "Zeitstempel", "timeMs", "tSec", "t(s)", "Zeit (h)", "seconds since start"),
    *("t, ms", "t ms", "Time/mins", "Time (UTC)", "Timestamp (epoch ms)", "Elapsed milliseconds"),
    *("elapsed time (sec)", "T [s]", "time (hh:mm:ss)", "x [s]", "field.header.stamp"),
]


@pytest.mark.parametrize("name", CERTAIN)
def test_a_name_of_time(name: str) -> None:
    assert rank(name) is Rank.CERTAIN
    assert guess_columns(["u", name, "y"]) == (["u"], ["y"], name)


@pytest.mark.parametrize(
    "name",
    ["Temperature", "thyme", "time_constant", "dead time [s]", "runtime_pump", "lifetime", "T",
     "T [K]", "t [degC]", "t_in", "T_min", "k", "index", "Sample", "No", "time step", "h", "min",
     "_start", "x", "cycle time (ms)", "timeout", "time_index", "sentiment"],
)  # fmt: skip
def test_a_name_that_is_not_of_time(name: str) -> None:
    assert rank(name) is Rank.NONE


@pytest.mark.parametrize(
    ("name", "unit"),
    [("t [ms]", "ms"), ("time_us", "us"), ("Time (µs)", "µs"), ("Time (\u03bcs)", "µs"),
     ("Time, ms", "ms"), ("t/ms", "ms"), ("timeMs", "ms"), ("Time [10 ms]", "10 ms"),
     ("Elapsed milliseconds", "milliseconds"), ("Time (furlongs)", "furlongs"), ("time", None),
     ("time_ticks", "ticks"), ("Time (UTC)", None), ("Datum [dd.mm.yyyy]", None),
     ("test time [sec.]", "sec")],
)  # fmt: skip
def test_the_unit_of_a_name(name: str, unit: str | None) -> None:
    assert unit_of(name) == unit


# Units

STEPS = {
    "t [ms]": 20, "t, ms": 20, "t ms": 20, "Time (msec)": 20, "millis": 20,
    "Elapsed milliseconds": 20, "time_us": 20_000, "Time (usec)": 20_000, "micros": 20_000,
    "timestamp_ns": 20_000_000, "nanos": 20_000_000, "Time [sec]": 0.02, "t_secs": 0.02,
    "seconds": 0.02, "Time/mins": 0.02 / 60, "Time (minutes)": 0.02 / 60, "Zeit [h]": 0.02 / 3600,
    "Time (hours)": 0.02 / 3600, "Time (hrs)": 0.02 / 3600, "Zeit (Std)": 0.02 / 3600,
    "Time [days]": 0.02 / 86400, "Zeit [Tage]": 0.02 / 86400, "Time (0.01 s)": 2,
    "Zeit (Sekunden)": 0.02, "temps (heures)": 0.02 / 3600,
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_every_usual_spelling_of_a_unit(name: str, tmp_path: Path) -> None:
    record = read(table(tmp_path, **{name: STEPS[name] * K}))
    # A time of 1e-7 days has the precision of float64 itself: no more is lost.
    assert record.sampling_time == pytest.approx(0.02, rel=1e-9)


@pytest.mark.parametrize(
    "name",
    ["Time (furlongs)", "t, jiffy", "time_ticks", "Time [months]", "Time (samples/s)", "Time (V)"],
)
def test_an_unknown_unit_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(TimeStampError, match=r"not a known unit of time \(ns, us, ms, s, min, h"):
        read(table(tmp_path, **{name: K}), time=name)


@pytest.mark.parametrize(
    ("per_second", "dtype"), [(1, float), (1e3, np.int64), (1e6, np.int64), (1e9, np.int64)]
)
def test_an_epoch_is_known_by_its_size(
    per_second: float, dtype: type, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stamps = (1_714_953_600 * int(per_second) + np.rint(0.02 * K * per_second).astype(np.int64)
              if dtype is np.int64 else 1.7e9 + 0.02 * K)  # fmt: skip
    record = read(table(tmp_path, Timestamp=stamps))
    # Seconds since 1970 have a resolution of 2e-7 s in float64.
    assert record.sampling_time == pytest.approx(0.02, rel=1e-5)
    assert ("since 1970" in caplog.text) == (per_second > 1)
    assert_allclose(record.to_frame()["Timestamp"], stamps, rtol=0, atol=5e-7)


def serial(first: float, step: float, digits: int = 10) -> list[float]:
    return [float(f"{first + step * i / 86400:.{digits}f}") for i in K]


@pytest.mark.parametrize(
    ("name", "stamps", "step"),
    [
        ("time", serial(44103.9986111111, 1), 1),
        ("time", serial(44103.5, 1, 6), 1),
        ("time", serial(738063.25, 0.5), 0.5),
        ("Time", serial(45000, 900), 900),
        ("Datum", (45000 + K).tolist(), 86400),
        ("datenum", serial(738063, 60, 7), 60),
    ],
)
def test_serial_days_are_known_by_size_and_step(
    name: str, stamps: list[float], step: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = read(table(tmp_path, **{name: stamps}))
    # Six decimals of a day are 0.09 s, over forty samples.
    assert record.sampling_time == pytest.approx(step, rel=3e-3)
    assert "days" in caplog.text


@pytest.mark.parametrize(
    ("first", "step"), [(0, 20), (45000, 0.5), (43200, 1), (100, 0.001), (50000, 0.02)]
)
def test_plain_seconds_stay_seconds(first: float, step: float, tmp_path: Path) -> None:
    assert read(table(tmp_path, time=first + step * K)).sampling_time == pytest.approx(step)


def test_seconds_that_could_be_days_are_said(tmp_path: Path, caplog: Any) -> None:
    read(table(tmp_path, time=45000 + K))
    assert "seconds, though by their size they could be a spreadsheet's" in caplog.text


@pytest.mark.parametrize(
    ("name", "first", "match"),
    [
        ("time_ms", 1.6e18, "in ns they would be dates since 1970"),
        ("time [s]", 1.7e12, "in ms they would be dates"),
        ("t (us)", 1.7e18, "in ns they would"),
        ("seconds", 1.7e15, "in us they would"),
        ("time", 5e13, "no unit, and its numbers up to .* too large for seconds"),
    ],
)
def test_a_unit_that_the_numbers_contradict_is_refused(
    name: str, first: float, match: str, tmp_path: Path
) -> None:
    with pytest.raises(TimeStampError, match=match):
        read(table(tmp_path, **{name: np.int64(first) + 20_000_000 * K}))


# Faults

DATES = pd.date_range("2024-05-06", periods=N, freq="2s")
ROWS = {
    "newest first": (K[::-1], "written newest first; sort its rows by time"),
    "doubled": (np.insert(K[:-1], 9, 8), "row 9 repeats the time of row 8"),
    "a hole": (
        np.append(np.delete(K, [7, 8, 9]), [40, 41, 42]),
        "uniformly spaced, got a step of 8",
    ),
    "unsorted": (np.r_[K[:10], K[11], K[10], K[12:]], "does not at row 11"),
}


@pytest.mark.parametrize("name", ["time", "Time", "Timestamp", "DateTime", "Zeit", "logged at"])
@pytest.mark.parametrize("fault", ROWS)
@pytest.mark.parametrize("given", [None, 2.0])
def test_a_fault_is_refused_whatever_is_given(
    name: str, fault: str, given: float | None, tmp_path: Path
) -> None:
    rows, match = ROWS[fault]
    dates = DATES[0] + pd.to_timedelta(2 * rows, unit="s")
    with pytest.raises(TimeStampError, match=match):
        read(table(tmp_path, **{name: dates}), sampling_time=given)


@pytest.mark.parametrize("name", ["t", "millis", "Elapsed (ms)", "Zeit [h]", "clock", "X_Value"])
def test_numbers_newest_first_or_of_another_step_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(TimeStampError, match="newest first"):
        read(table(tmp_path, **{name: 20 * K[::-1]}), sampling_time=0.02)
    with pytest.raises(TimeStampError, match="sampling_time must be that of the time stamps"):
        read(table(tmp_path, **{name: 20 * K}), sampling_time=0.7)


def test_none_ignores_the_time_columns(tmp_path: Path) -> None:
    path = table(tmp_path, Time=DATES[::-1])
    assert read(path, time="none", sampling_time=3.0).sampling_time == 3.0
    assert read(path, time="none").sampling_time is None


def test_two_time_columns_must_agree(tmp_path: Path) -> None:
    agreeing = table(tmp_path, Timestamp=DATES, millis=2000 * K)
    assert read(agreeing).sampling_time == 2.0
    coarse = table(tmp_path, Timestamp=DATES.floor("10s"), millis=2000 * K)
    assert read(coarse).sampling_time == 2.0  # what is exact beside what is not
    contradicting = table(tmp_path, Timestamp=DATES, millis=500 * K)
    with pytest.raises(
        TimeStampError, match=r"'Timestamp' and 'millis' have steps of 2 s and 0\.5"
    ):
        read(contradicting)
    assert read(contradicting, time="millis").sampling_time == 0.5


def test_a_name_repeated_among_the_numbers_is_a_restart(tmp_path: Path) -> None:
    path = table(tmp_path, millis=[*range(20), "millis", *range(19)])
    with pytest.raises(TimeStampError, match=r"'millis' among numbers in row 20; .*restart"):
        read(path)


# Content


def test_a_leading_column_that_rises_evenly_is_time(tmp_path: Path, caplog: Any) -> None:
    assert read(table(tmp_path, stempel=0.25 * K)).sampling_time == 0.25
    assert "'stempel' is taken for time in seconds, as it rises evenly" in caplog.text
    with pytest.raises(TimeStampError, match="sampling_time must be that"):
        read(table(tmp_path, stempel=0.25 * K), sampling_time=1.0)
    with pytest.raises(TimeStampError, match="newest first"):
        read(table(tmp_path, stempel=0.25 * K[::-1]))
    assert read(table(tmp_path, Nr=K, wann=DATES)).sampling_time == 2.0


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Position (mm)", 1.5 * K), ("s [m]", 0.5 * K), ("hour", K // 4), ("minute", 15 * (K % 4)),
        ("k", K), ("index", K), ("Sample", 1 + K), ("row", K), ("Unnamed: 0", K), ("seq", 2 * K),
        ("Temperature", np.cos(K)), ("thyme", K**2), ("time_constant", np.full(N, 0.3)),
        ("runtime_pump", np.sqrt(K)), ("ramp [V]", 0.1 * K), ("clock", K % 2), ("T", np.sqrt(K)),
    ],
)  # fmt: skip
def test_what_is_not_time_is_left_alone(name: str, values: Any, tmp_path: Path) -> None:
    assert read(table(tmp_path, **{name: values})).sampling_time is None
    assert read(table(tmp_path, **{name: values}), sampling_time=0.1).sampling_time == 0.1


@pytest.mark.parametrize("name", ["u", "ramp", "time", "t"])
def test_a_signal_that_is_named_is_never_time(name: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({name: 0.5 * K, "y": np.cos(K)})
    frame.to_csv(tmp_path / "ramp.csv", index=False)
    assert read(tmp_path / "ramp.csv", u=[name], y=["y"]).sampling_time is None
    assert time_names([name, "y"], [name, "y"], {}) == []


# Rounding


def test_the_rounding_of_a_number_format_is_not_jitter() -> None:
    single = (1000 + 0.001 * K).astype(np.float32)
    assert time_column(pd.DataFrame({"t": single}), "t").step() == pytest.approx(0.001)
    as_double = pd.DataFrame({"t": single.astype(np.float64)})
    assert time_column(as_double, "t").step() == pytest.approx(0.001)
    sixtieths = pd.DataFrame({"t_ms": np.rint(K * 1000 / 60).astype(int)})
    assert time_column(sixtieths, "t_ms").step() == pytest.approx(1 / 60, rel=1e-3)
    printed = pd.DataFrame({"t": np.round(K * 0.0333, 2)})
    assert time_column(printed, "t").step() == pytest.approx(0.0333, rel=5e-3)


@pytest.mark.parametrize(
    "stamps",
    [[0, 1, 3], [0, 1, 2.1, 3, 4], [0, 1, 2, 3, 5, 6, 7], [0, 7, 21, 30, 44, 58],
     [0, 10, 17, 30, 40]],
)  # fmt: skip
def test_jitter_and_holes_are_not_rounding(stamps: Sequence[float]) -> None:
    with pytest.raises(TimeStampError, match="uniformly spaced"):
        time_column(pd.DataFrame({"t": stamps}), "t").step()


def test_unsigned_numbers_that_fall_do_not_wrap() -> None:
    stamps = pd.DataFrame({"t": np.array([3, 2, 1], dtype=np.uint8)})
    assert_array_equal(seconds_of(stamps, "t"), [0, -1, -2])
    with pytest.raises(TimeStampError, match="newest first"):
        uniform_step(seconds_of(stamps, "t"), "t")


# Dates


def written(form: str, freq: str = "15min", first: str = "2020-09-29 13:45") -> list[str]:
    dates = pd.date_range(first, periods=N, freq=freq)
    return [d.strftime(form) for d in dates]


@pytest.mark.parametrize(
    "form",
    ["%d/%m/%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%d-%b-%Y %H:%M:%S",
     "%Y/%m/%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S+02:00", "%Y-%m-%dT%H:%M:%SZ", "%d-%m-%y %H:%M",
     "%b %d, %Y %H:%M", "%Y-%m-%d %H:%M:%S,000", "%Y%m%d %H%M%S", "%Y%m%dT%H%M%S", "%Y%m%d%H%M%S",
     "%a %d %b %Y %H:%M:%S GMT", "%d. %B %Y %H:%M", "%Y-%m-%d %I:%M %p", "%m-%d-%Y %H:%M",
     "%Y.%m.%d %H:%M:%S.%f"],
)  # fmt: skip
def test_dates_that_are_clear_are_read(form: str, tmp_path: Path) -> None:
    record = read(table(tmp_path, time=written(form)))
    assert record.sampling_time == 900.0
    assert record.stamps is not None
    start = pd.Timestamp(record.stamps.start)
    assert start.tz_localize(None) == pd.Timestamp("2020-09-29 13:45")


@pytest.mark.parametrize("form", ["%d/%m/%Y %H:%M", "%m/%d/%Y", "%d-%m-%y", "%d.%m.%Y %H:%M:%S"])
def test_dates_of_two_readings_need_a_format(form: str, tmp_path: Path) -> None:
    stamps = written(form, "D", "2020-03-01")[:5]
    frame = pd.DataFrame({"time": stamps, "u": range(5), "y": range(5)})
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(TimeStampError, match=r"day or the month comes first.*--date-format"):
        read(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv", date_format=form).sampling_time == 86400.0


def test_a_date_format_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, time=written("%d/%m/%Y %H:%M"))
    with pytest.raises(TimeStampError, match=r"'29/09/2020 13:45' in row 0, which is not written"):
        read(path, date_format="%m/%d/%Y %H:%M")
    with pytest.raises(TimeStampError, match="in the codes of strptime"):
        read(path, date_format="%Q")


def test_a_date_format_reads_what_no_rule_does(tmp_path: Path) -> None:
    hours = written("%Y%m%d%H", "h", "2024-01-30")
    assert read(table(tmp_path, MESS_DATUM=hours), time="MESS_DATUM",
                date_format="%Y%m%d%H").sampling_time == 3600.0  # fmt: skip
    clock = written("%H.%M.%S", "s", "2024-01-30 23:59:50")
    assert read(table(tmp_path, Zeit=clock), date_format="%H.%M.%S").sampling_time == 1.0


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["21:00:48.335", "21:00:48.435"], [0, 0.1]),
        (["23:59:59", "00:00:00", "00:00:01"], [0, 1, 2]),
        (["0:00:00", "12:30:00", "25:00:00"], [0, 45000, 90000]),
        (["00:12.5", "00:13.0"], [0, 0.5]),
        (["11:59 PM", "12:00 AM"], [0, 60]),
        (["0 days 00:00:01", "1 days 00:00:01"], [0, 86400]),
        (["2024-10-27T02:30:00+02:00", "2024-10-27T02:00:00+01:00"], [0, 1800]),
        (["2024-10-27 02:30 CEST", "2024-10-27 02:00 CET"], [0, 1800]),
        (["2024-01-31 12:00:00,500", "2024-01-31 12:00:01"], [0, 0.5]),
        (["03-Mär-2024", "04-Mar-2024"], [0, 86400]),
        (["20240228", "20240229", "20240301"], [0, 86400, 172800]),
    ],
)
def test_seconds_of_dates_and_times_of_day(texts: list[str], expected: list[float]) -> None:
    assert_allclose(seconds_of(pd.DataFrame({"date": texts}), "date"), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("texts", "match"),
    [
        (["2024-01-01", "pump on"], "got 'pump on' in row 1"),
        (["2024-13-01 10:00:00"], "got '2024-13-01 10:00:00' in row 0"),
        (["31/31/2024 10:00"], "got '31/31/2024 10:00' in row 0"),
        (["2024-01-31 12:00:00", "2024-01-31 12:00:00+01:00"], "without a zone in row 0"),
        (["2024-01-31 12:00:00 XYZ"], "zone 'XYZ'"),
        (["25:61:00 PM"], "got '25:61:00 PM'"),
    ],
)
def test_what_is_no_date_is_refused_with_its_row(texts: list[str], match: str) -> None:
    with pytest.raises(TimeStampError, match=match.replace("+", r"\+")):
        read_dates(pd.Series(texts), "t")


@pytest.mark.parametrize("time", [None, "Date", "Time"])
def test_date_and_time_in_two_columns_are_joined(time: str | None, tmp_path: Path) -> None:
    dates = pd.date_range("2020-09-29 23:59:50", periods=N, freq="s")
    path = table(tmp_path, Date=dates.strftime("%d.%m.%Y"), Time=dates.strftime("%H:%M:%S"))
    record = read(path, u=["u"], y=["y"], time=time)
    assert record.sampling_time == 1.0
    assert record.to_frame()["Time"].iloc[-1] == dates[-1]


def test_the_format_of_days_leaves_a_column_of_times_alone(tmp_path: Path, caplog: Any) -> None:
    path = table(tmp_path, Datum=["01.02.2026"] * N, Uhrzeit=written("%H:%M", "min", "2026-02-01"))
    assert read(path).sampling_time == 60.0
    assert "comes first" in caplog.text
    assert "column 'Uhrzeit' is taken for time without it" in caplog.text
    record = read(path, date_format="%d.%m.%Y")
    assert record.to_frame()["Uhrzeit"].iloc[1] == pd.Timestamp("2026-02-01 00:01")


def test_a_file_of_dates_and_little_else_is_data(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "Datum;Uhrzeit;u\n29.09.2020;21:00:00;1\n29.09.2020;21:00:01;2\n"
    )
    assert read(tmp_path / "a.csv").sampling_time == 1.0
    assert [is_stamp(t) for t in ("1.5", "x-axis", "v2", "12", "COM3:9600")] == [False] * 5


# Written back

FORMS: dict[str, Callable[[], Any]] = {
    "Time_Stamp": lambda: written("%Y-%m-%d %H:%M"),
    "Timestamp (epoch ms)": lambda: 1_714_953_600_000 + 20 * K,
    "time_ns": lambda: 1_609_060_363_469_351_911 + 20_000_000 * K,
    "Zeit [h]": lambda: 2.0 + 0.25 * K,
    "Uhrzeit": lambda: written("%H:%M:%S", "s", "2024-01-30 23:59:50"),
    "Date": lambda: written("%Y-%m-%dT%H:%M:%S+02:00"),
    "t": lambda: 5 + 0.1 * K,
    "elapsed": lambda: [f"{23 + i // 2}:{30 * (i % 2):02d}:00" for i in K],
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".npz", ".mat"])
def test_stamps_come_back_as_they_were_read(name: str, suffix: str, tmp_path: Path) -> None:
    record = read(table(tmp_path, **{name: FORMS[name]()}))
    part = record[10:30]
    write(part, tmp_path / f"log{suffix}")
    again = read(tmp_path / f"log{suffix}")
    assert again.replace(name="log") == part.replace(name="log")
    assert pickle.loads(pickle.dumps(part)) == part
    assert_array_equal(again.to_frame()[name], record.to_frame()[name][10:30])
    given = pd.DataFrame({name: FORMS[name]()})
    assert_allclose(seconds_of(part.to_frame(), name), seconds_of(given[10:30], name), rtol=1e-12)


def test_a_record_without_stamps_is_as_before() -> None:
    record = Record(K, K, 0.5)
    assert record.stamps is None
    assert record[10:].to_frame()["t"].iloc[0] == 0.0
    assert record == record.replace(stamps=Stamps(0.0))  # both count seconds from the first sample
    assert record != record.replace(stamps=Stamps(1.0))
    taken = Record(K, K, 0.5, u_names=["x"], stamps=Stamps(0, "s", "x")).to_frame()
    assert list(taken.columns) == ["t", "x", "y1"]
    with pytest.raises(ValueError, match="stamps must come with a sampling_time"):
        Record(K, K, stamps=Stamps(0.0))


def test_every_other_sample_keeps_its_stamps() -> None:
    record = Record(K, K, 1.0, stamps=Stamps(pd.Timestamp("2024-02-28 23:59:59"), "date", "Datum"))
    frame = record[1::2].to_frame()
    assert frame["Datum"].tolist()[:2] == [
        pd.Timestamp("2024-02-29"),
        pd.Timestamp("2024-02-29 00:00:02"),
    ]


def test_row_groups_must_go_on_with_one_step(tmp_path: Path) -> None:
    frame = pd.DataFrame({"time_ms": [0, 10, 20, 40, 60, 80], "y": range(6)})
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=3)
    with pytest.raises(TimeStampError, match=r"steps of 0.02 s in row group 1"):
        map_parquet(tmp_path / "a.parquet", tmp_path / "a", y=["y"], time="time_ms")


def test_nothing_is_said_where_all_is_clear(tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    read(table(tmp_path, Time=DATES))
    read(table(tmp_path, t=0.1 * K))
    assert not caplog.records
