"""Text files as instruments, PLCs, databases and spreadsheets write them: the numbers come out.

All hold the same record, so that one test looks at all of them; what is refused says why and where.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from sysid.data import memory
from sysid.data.files import column_names, read

N, STEP = 240, 0.01
U = np.round(np.repeat(np.random.default_rng(0).uniform(-4, 4, N // 20), 20), 3)
Y = np.zeros(N)
for k in range(1, N):
    Y[k] = round(0.9 * Y[k - 1] + 0.1 * U[k - 1], 4)
T = np.round(STEP * np.arange(N), 4)
BEGIN = datetime(2024, 5, 6, 10, 0, 0)
NAMED = {"u": ["pump"], "y": ["level"]}


def rows(pattern: str = "{t:.2f},{u:.3f},{y:.4f}", **signs: str) -> str:
    """Write the samples by a pattern; ``decimal=","`` turns points into commas."""
    lines = [
        pattern.format(k=k, t=T[k], u=U[k], y=Y[k], d=BEGIN + timedelta(seconds=float(T[k])))
        for k in range(N)
    ]
    text = "\n".join(lines) + "\n"
    return text.replace(".", ",") if signs.get("decimal") == "," else text


@dataclass(frozen=True)
class Case:
    """A file, how it is asked for, and what it has to give beside the samples."""

    text: str | Callable[[], str]
    ask: dict[str, Any] = field(default_factory=lambda: dict(NAMED))
    step: float | None = STEP
    units: tuple[str, ...] | None = None
    name: str = "log.csv"
    encoding: str = "utf-8"
    scale: float = 1.0

    def write(self, folder: Path) -> Path:
        text = self.text if isinstance(self.text, str) else self.text()
        path = folder / self.name
        raw = text.encode(self.encoding)
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
        return path


def lvm(
    columns: str = "One",
    decimal: str = ".",
    channels: Sequence[str] = ("pump", "level"),
    comment: str = "",
    special: bool = False,
    separator: str = "\t",
) -> str:
    """A LabVIEW measurement file of one segment."""
    n = len(channels)
    word = "Tab" if separator == "\t" else "Comma"

    def key(name: str, *values: str) -> str:
        return separator.join([name, *values])

    head = [
        "LabVIEW Measurement", key("Writer_Version", "2"), key("Reader_Version", "2"),
        key("Separator", word), key("Decimal_Separator", decimal), key("Multi_Headings", "No"),
        key("X_Columns", columns), key("Time_Pref", "Relative"), key("Operator", "lab"),
        key("Date", "2024/05/06"), key("Time", "10:11:12.5"), "***End_of_Header***", "",
    ]  # fmt: skip
    if special:
        head += ["***Start_Special***", "Test_Name\tTank", "1\t2\t3", "***End_Special***"]
    head += [
        key("Channels", str(n)), key("Samples", *[str(N)] * n), key("Date", *["2024/05/06"] * n),
        key("Time", *["10:11:12.5"] * n), key("Y_Unit_Label", *["Volts", "mm"][:n]),
        key("X_Dimension", *["Time"] * n), key("X0", *["0.0E+0"] * n),
        key("Delta_X", *[f"{STEP:.6f}"] * n), "***End_of_Header***",
    ]  # fmt: skip
    names = {
        "One": ["X_Value", *channels, "Comment"],
        "No": ["X_Value", *channels, "Comment"],
        "Multi": [n for c in channels for n in ("X_Value", c)] + ["Comment"],
    }[columns]
    pattern = {"One": "{t:.4f}|{u:.3f}|{y:.4f}", "No": "|{u:.3f}|{y:.4f}"}.get(
        columns, "{t:.4f}|{u:.3f}|{t:.4f}|{y:.4f}"
    )
    body = rows(pattern.replace("|", separator)).splitlines()
    if comment:
        body[0] += separator + comment
        body[57] += separator + comment
    text = "\n".join([*head, separator.join(names), *body]) + "\n"
    if decimal == ",":
        text = (
            "\n".join(
                line.replace(".", ",") if i > 12 or line.startswith("Time") else line
                for i, line in enumerate(text.splitlines())
            ).replace("Decimal_Separator\t.", "Decimal_Separator\t,")
            + "\n"
        )
    return text


LABVIEW = {
    "X column": Case(lvm(), units=("Volts", "mm"), name="a.lvm"),
    "X column, asked for": Case(lvm(), NAMED | {"time": "X_Value"}, name="a.lvm"),
    "no X column, decimal commas": Case(lvm("No", ","), units=("Volts", "mm"), name="a.lvm"),
    "X column, decimal commas, as text": Case(lvm("One", ","), name="a.txt"),
    "an X column each": Case(lvm("Multi"), name="a.lvm"),
    "comments in some rows": Case(lvm(comment="valve stuck"), name="a.lvm"),
    "a special block": Case(lvm(special=True), name="a.lvm"),
    "commas between": Case(lvm(separator=","), name="a.lvm"),
    "packed": Case(lvm("No"), name="a.lvm.gz"),
}

MSO = """Model,MSO2024B
Firmware Version,1.56

Waveform Type,ANALOG,
Point Format,Y,
Horizontal Units,s,
Horizontal Scale,0.04,
Horizontal Delay,0,
Sample Interval,0.01,
Record Length,240,
Gating,0.0% to 100.0%,
Probe Attenuation,1,1
Vertical Units,V,mm
Vertical Offset,0,0
Vertical Scale,1,1
Label,,
TIME,pump,level
"""
TDS = [
    "Record Length,2.400000e+02", "Sample Interval,1.000000e-02", "Trigger Point,1.200000e+02",
    ",", ",", ",", "Source,{name}", "Vertical Units,{unit}", "Vertical Scale,1.0e+00",
    "Vertical Offset,0.0e+00", "Horizontal Units,s", "Horizontal Scale,1.0e-01", "Pt Fmt,Y",
    "Yzero,0.0e+00", "Probe Atten,1.0e+00", "Model Number,TDS2014", "Serial Number,C01234",
    "Firmware Version,FV:v1.00",
]  # fmt: skip


def tds() -> str:
    """Two channels side by side, each with its settings beside the first rows."""
    lines = []
    for k in range(N):
        head = TDS[k] if k < len(TDS) else ","
        blocks = [
            f"{head.format(name=n, unit=q)},,{T[k]:012.9f},{v:010.5f},"
            for n, q, v in (("pump", "V", U[k]), ("level", "mm", Y[k]))
        ]
        lines.append(",".join(blocks))
    return "\n".join(lines) + "\n"


SIGLENT = """Record Length,Analog:240
Sample Interval,Analog:0.01
Vertical Units,CH1:V,CH2:mm
Vertical Scale,CH1:2.00,CH2:1.00
Vertical Offset,CH1:0.0,CH2:0.0
Horizontal Units,s
Horizontal Scale,0.05
Model Number,SDS1202X-E
Serial Number,SDS1EXXXXX
Software Version,8.2.6.1.37R2
Source,pump,level
Second,Volt,mm
"""
LECROY = """LECROYWS432,12345,Waveform,,
Segments,1,SegmentSize,240,
Segment,TrigTime,TimeSinceSegment1,,
#1,29-Sep-2008 10:37:20,0,,
Time,pump,level
"""
INFINIUM = """Revision:,1
Type:,raw
Start:,0
Points:,240
Count:,1
XDispRange:,1.0E-03
XInc:,1.0E-02
XOrg:,0.0
Frame:,"DSO9404A:MY1234"
Date:,06 MAY 2024
Time:,10:11:12:50
Data:,
"""
OSCILLOSCOPES = {
    "Keysight InfiniiVision": Case(
        "x-axis,1,2\nsecond,Volt,Volt\n" + rows("{t:+.6E},{u:+.6E},{y:+.6E}"),
        {"u": ["1"], "y": ["2"], "time": "x-axis"},
        units=("Volt", "Volt"),
    ),
    "Keysight, channels 1 and 3": Case(
        "x-axis,1,3\nsecond,Volt,Ampere\n" + rows("{t:+.6E},{u:+.6E},{y:+.6E}"),
        {"u": "1", "y": "3", "time": "x-axis"},
        units=("Volt", "Ampere"),
    ),
    "Keysight Infiniium, no names": Case(
        INFINIUM + rows("{t:.6E},{y:.6E}"), {"u": [], "y": ["2"], "time": "1"}
    ),
    "Rigol DS1000Z": Case(
        f"X,pump,level,Start,Increment,\nSequence,Volt,Volt,0.0,{STEP:e},\n"
        + rows("{k},{u:.3e},{y:.6e},"),
        units=("Volt", "Volt"),
    ),
    "Rigol, its time asked for": Case(
        f"X,pump,level,Start,Increment,\nSequence,Volt,mV,-3.0e-1,{STEP:e},\n"
        + rows("{k},{u:.3e},{y:.6e},"),
        NAMED | {"time": "X"},
        units=("Volt", "mV"),
    ),
    "Rigol, no separator at the end": Case(
        f"X,pump,level,Start,Increment\nSequence,Volt,Volt,0.0,{STEP:e}\n"
        + rows("{k},{u:.3e},{y:.6e}"),
    ),
    "Rigol, step beside the names": Case(
        f"pump,level,t0 = -1.0e-3, tInc = {STEP:e},\n" + rows("{u:.3f},{y:.4f},,")
    ),
    "Tektronix TDS": Case(tds, NAMED | {"time": "Time"}, units=("V", "mm")),
    "Tektronix MSO": Case(MSO + rows(), NAMED | {"time": "TIME"}, units=("V", "mm")),
    "Siglent": Case(SIGLENT + rows(), NAMED | {"time": "Source"}, units=("Volt", "mm")),
    "LeCroy": Case(LECROY + rows(), NAMED | {"time": "Time"}),
    "Rohde & Schwarz": Case(
        "in s,pump in V,level in V\n" + rows("{t:.5E},{u:.5E},{y:.5E}"),
        {"u": ["pump in V"], "y": ["level in V"], "time": "in s"},
    ),
    "PicoScope": Case(
        "Time,Channel A,Channel B\n(ms),(V),(mV)\n\n" + rows("{t:.8f},{u:.8f},{y:.8f}"),
        {"u": ["Channel A"], "y": ["Channel B"], "time": "Time"},
        step=STEP / 1000,
        units=("V", "mV"),
    ),
    "PicoScope, decimal commas": Case(
        "Time;Channel A;Channel B\n(s);(V);(mV)\n\n" + rows("{t:.8f};{u:.8f};{y:.8f}", decimal=","),
        {"u": ["Channel A"], "y": ["Channel B"], "time": "Time"},
        units=("V", "mV"),
    ),
}

PREAMBLES = {
    "a PLC's head": Case(
        "Project:\tTank 5\nPLC:\tCPU 1515-2 PN\nTrace:\tpump and level\nSampling:\t10 ms\n\n"
        "Time\tpump\tlevel\n" + rows("{t}\t{u}\t{y}")
    ),
    "a PLC's head with decimal commas": Case(
        "Projekt;Behälter\nCPU;1515-2\nDatum;06.05.2024\nUhrzeit;10:11:12\n\nZeit;pump;level\n"
        "s;%;mm\n" + rows("{t};{u};{y}", decimal=","),
        NAMED | {"time": "Zeit"},
        units=("%", "mm"),
        encoding="cp1252",
    ),
    "key: value lines": Case(
        "Operator: Lab 3\nRig: 7, new valve\nComment: a, b, c\ntime,pump,level\n" + rows()
    ),
    "keys with one value in a table of two columns": Case(
        "Model,AB12\nFirmware,1.2\nSample Interval,0.01\nUnits,mm\nTime,level\n" + rows("{t},{y}"),
        {"u": [], "y": ["level"], "time": "Time"},
    ),
    "a thousand comments": Case(
        "".join(f"# setting {i}: {i}\n" for i in range(1000)) + "t,pump,level\n" + rows()
    ),
    "six thousand lines of settings": Case(
        "".join(f"parameter {i} = {i * 0.1:.3f}\n" for i in range(6000)) + "t,pump,level\n" + rows()
    ),
    "six thousand keys with commas": Case(
        "".join(f"register {i},value\n" for i in range(6000)) + "t,pump,level\n" + rows()
    ),
    "a table of calibration above": Case(
        "gain,offset\n"
        + "".join(f"{i},{i / 7:.3f}\n" for i in range(150))
        + "\nt,pump,level\n"
        + rows()
    ),
    "a shorter table of as many columns above": Case(
        "channel,gain,offset\n"
        + "".join(f"{i},{i / 7:.3f},1.5\n" for i in range(15))
        + "time,pump,level\n"
        + rows(),
        NAMED | {"time": "time"},
    ),
    "comments with // and a step": Case(
        "// bench 5\n// sampling rate: 100 Hz\npump,level\n" + rows("{u},{y}")
    ),
    "a sampling time among comments": Case(
        "# dt = 10 ms\n# pump level\n" + rows("{u} {y}"), name="a.txt"
    ),
    "OpenFOAM probes": Case(
        "".join(f"# Probe {i} ({i} 0 0)\n" for i in range(2))
        + "#  Probe  0  1\n#  Time\n"
        + rows("   {t}   {u}   {y}"),
        {"u": ["0"], "y": ["1"], "time": "Time"},
        name="probes.dat",
    ),
    "comma names over blanks": Case(
        "# time, pump, level\n" + rows("{t:.6e} {u:.6e} {y:.6e}"),
        NAMED | {"time": "time"},
        name="a.dat",
    ),
    "quoted names over blanks": Case(
        '"time" "pump 1" "level 2"\n' + rows("{t} {u} {y}"),
        {"u": ["pump 1"], "y": ["level 2"], "time": "time"},
        name="a.dat",
    ),
    "a key before the units": Case(
        "Time,pump,level\nUnit,V,mm\n" + rows(), NAMED | {"time": "Time"}, units=("V", "mm")
    ),
    "the separator in a line above": Case(
        "sep=;\nt;pump;level\n" + rows("{t};{u};{y}", decimal=",")
    ),
    "names with blanks over blanks": Case(
        "Time [s]    Pump speed [V]    Water level [mm]\n" + rows("{t:10.4f} {u:10.4f} {y:10.4f}"),
        {"u": ["Pump speed [V]"], "y": ["Water level [mm]"], "time": "Time [s]"},
        name="a.prn",
    ),
    "Campbell TOA5": Case(
        '"TOA5","CR1000","CR1000","1234","CR1000.Std.24","CPU:tank.CR1","5544","Table1"\n'
        '"TIMESTAMP","RECORD","pump","level"\n"TS","RN","Volts","mm"\n"","","Smp","Avg"\n'
        + rows('"{d:%Y-%m-%d %H:%M:%S.%f}",{k},{u},{y}'),
        NAMED | {"time": "TIMESTAMP"},
        units=("Volts", "mm"),
        name="a.dat",
    ),
    "a title and empty cells, as spreadsheets": Case("Tank test,,\n,,\nt,pump,level\n" + rows()),
    "comments at the end": Case("t,pump,level\n" + rows() + "# end of file\n\n"),
    "comments amid the data": Case(
        "t,pump,level\n" + rows().replace("\n0.50,", "\n# valve moved by hand\n0.50,")
    ),
}


def late(pattern: str, header: str, at: int, decimal: str = ",") -> str:
    """Idle rows of whole zeros first: the decimal sign shows after line ``at``."""
    text = [header] + [pattern.format(t="0", u="0", y="0")] * at
    return "\n".join([*text, rows(pattern.replace("{t}", "0"), decimal=decimal)])


LATE = {
    "idle rows, then commas": (late("{u};{y}", "pump;level", 150), 150),
    "idle rows, then commas between tabs": (late("{u}\t{y}", "pump\tlevel", 3000), 3000),
    "idle rows, then commas between blanks": (late("{u}  {y}", "pump  level", 400), 400),
    "idle rows, then quoted commas": (late('"{u}","{y}"', '"pump","level"', 500), 500),
    "idle rows, then points": (late("{u};{y}", "pump;level", 500, "."), 500),
}

HEADLESS = {
    "DaISy": Case(
        rows("  {t:.6e}  {u:.6e}  {y:.6e}"), {"u": ["2"], "y": ["3"], "time": "1"}, name="a.dat"
    ),
    "commas": Case(rows(), {"u": "2", "y": "3", "time": "1"}),
    "by their names": Case(rows(), {"u": ["column 2"], "y": ["column 3"], "time": "column 1"}),
    "decimal commas": Case(
        rows("{t};{u};{y}", decimal=","), {"u": ["2"], "y": ["3"], "time": "1"}, name="a.asc"
    ),
    "comments above": Case(
        "# measured on Tuesday by two of us in the lab\n" + rows(),
        {"u": ["2"], "y": ["3"], "time": "1"},
        name="a.data",
    ),
    "text above": Case(
        "Bench 5\nTuesday\n" + rows("{t} {u} {y}"),
        {"u": ["2"], "y": ["3"], "time": "1", "header": 0},
        name="a.log",
    ),
    "lines skipped": Case(
        "Bench 5\nTuesday\n" + rows("{t} {u} {y}"),
        {"u": ["2"], "y": ["3"], "time": "1", "skip_rows": 2},
        name="a.txt",
    ),
    "no suffix at all": Case(rows(), {"u": ["2"], "y": ["3"], "time": "1"}, name="record"),
    "an unknown suffix": Case("t,pump,level\n" + rows(), name="log.run7"),
    "an array of pandas": Case(
        lambda: pd.DataFrame(np.column_stack([T, U, Y])).to_csv(),
        {"u": ["1"], "y": ["2"], "time": "0"},
    ),
    "an array of pandas without an index": Case(
        lambda: pd.DataFrame(np.column_stack([T, U, Y])).to_csv(index=False),
        {"u": ["1"], "y": ["2"], "time": "0"},
    ),
    "numbers as names, from 1": Case(
        "time,1,2\n" + rows(), {"u": ["1"], "y": ["2"], "time": "time"}
    ),
    "a date without a name": Case(
        ",pump,level\n" + rows("{d:%Y-%m-%d %H:%M:%S.%f},{u},{y}"), NAMED | {"time": "column 1"}
    ),
    "header given": Case("a,b,c\nd,e,f\nt,pump,level\ng,h,i\n" + rows(), NAMED | {"header": 3}),
    "header given with units": Case(
        "1,2,3\n4,5,6\nt,pump,level\ns,V,mm\n" + rows(), NAMED | {"header": 3}, units=("V", "mm")
    ),
    "numbers as names given": Case(
        "2020,2021,2022\n" + rows(), {"u": ["2021"], "y": ["2022"], "time": "2020", "header": 1}
    ),
    "a skipped table": Case(
        "t,pump,level\n1,2,3\n2,3,4\n\nt,pump,level\n" + rows(), NAMED | {"skip_rows": 4}
    ),
}

CELLS = {
    "units with a blank": Case(
        '"t","pump","level"\n' + rows('"{t}","{u} %","{y} cm"'), units=("%", "cm")
    ),
    "units without a blank": Case("t,pump,level\n" + rows("{t},{u}V,{y}mm"), units=("V", "mm")),
    "units with decimal commas": Case(
        "t;pump;level\n" + rows("{t};{u} V;{y} °C", decimal=","), units=("V", "°C")
    ),
    "units in windows-1252": Case(
        "t;pump;level\n" + rows("{t};{u} µV;{y} °C"), units=("µV", "°C"), encoding="cp1252"
    ),
    "compound units": Case(
        "t,pump,level\n" + rows("{t},{u} m/s,{y} kg/m^3"), units=("m/s", "kg/m^3")
    ),
    "a time with its unit": Case("time,pump,level\n" + rows("{t} ms,{u},{y}"), step=STEP / 1000),
    "plain where there is no unit": Case("t,pump,level\n" + rows("{t},{u} V,{y}"), units=("V", "")),
    "clear thousands": Case(
        "t,pump,level\n" + rows('{t},"{u:,.3f}","{y:,.4f}"').replace('"0.', '"1,000.', 0)
    ),
}
BIG = "".join(f'{k},"{1000 * v:,.1f}",{k}\n' for k, v in enumerate(U))

LABELLED = {
    "plotter": Case(rows("pump:{u},level:{y}"), step=None, name="a.txt"),
    "equal signs and blanks": Case(rows("pump={u} level={y}"), step=None, name="a.log"),
    "colons and blanks": Case(rows("pump: {u}  level: {y}"), step=None, name="a.log"),
    "tabs": Case(rows("pump:{u}\tlevel:{y}"), step=None, name="a.txt"),
    "semicolons and units": Case(
        rows("pump: {u} V; level: {y} mm;"), step=None, units=("V", "mm"), name="a.txt"
    ),
    "a time that is labelled": Case(rows("t:{t},pump:{u},level:{y}"), name="a.txt"),
    "a time in front": Case(
        rows("{t:.2f},pump:{u},level:{y}"), NAMED | {"time": "1"}, name="a.txt"
    ),
    "boot lines above": Case(
        "ets Jun  8 2016 00:22:57\n\nrst:0x1 (POWERON_RESET),boot:0x13\nReady\n"
        + rows("pump:{u},level:{y}"),
        step=None,
    ),
    "one JSON object a line": Case(rows('{{"t": {t}, "pump": {u}, "level": {y}}}'), name="a.log"),
    "names with blanks": Case(
        rows("Pump speed: {u}, Water level: {y}"),
        {"u": ["Pump speed"], "y": ["Water level"]},
        step=None,
        name="a.txt",
    ),
    "a serial monitor": Case(
        rows("10:00:00.{k:03d} -> {u},{y}"), {"u": ["2"], "y": ["3"]}, step=0.001, name="a.txt"
    ),
    "a serial monitor with names": Case(
        "10:00:00.000 -> millis,pump,level\n" + rows("10:00:00.{k:03d} -> {k},{u},{y}"),
        step=0.001,
        name="a.txt",
    ),
    "a serial monitor with labels": Case(
        rows("10:00:00.{k:03d} -> pump:{u},level:{y}"), step=0.001, name="a.txt"
    ),
}

PACKED = {
    f"{name}": Case("t,pump,level\n" + rows(), name=name)
    for name in ("a.csv.gz", "a.dat.gz", "a.TXT.GZ", "a.log.gz", "a.gz", "a.prn", "a.data")
} | {
    "gzip called csv": Case("t,pump,level\n" + rows(), name="b.csv.gz"),
    "utf-16 packed": Case("t\tpump\tlevel\n" + rows("{t}\t{u}\t{y}"), name="a.tsv.gz",
                          encoding="utf-16"),
}  # fmt: skip

KINDS = {
    "labview": LABVIEW, "oscilloscope": OSCILLOSCOPES, "preamble": PREAMBLES, "headless": HEADLESS,
    "cells": CELLS, "labels": LABELLED, "packed": PACKED,
}  # fmt: skip


def every() -> list[Any]:
    return [
        pytest.param(case, id=f"{kind}: {name}")
        for kind, cases in KINDS.items()
        for name, case in cases.items()
    ]


@pytest.mark.parametrize("case", every())
def test_a_layout_is_read(case: Case, tmp_path: Path) -> None:
    record = read(case.write(tmp_path), **case.ask)
    # What is written with four digits comes back with them.
    assert_allclose(record.y[:, 0], Y, rtol=0, atol=6e-5)
    if record.nu:
        assert_allclose(record.u[:, 0], U, rtol=0, atol=6e-4)
    if case.step is None:
        assert record.sampling_time is None
    else:
        assert record.sampling_time == pytest.approx(case.step, rel=1e-6)
    if case.units is not None:
        assert (*record.u_units, *record.y_units) == case.units


def test_each_kind_has_five_of_its_own() -> None:
    assert all(len(cases) >= 5 for cases in KINDS.values())


@pytest.mark.parametrize("name", LATE)
def test_a_decimal_sign_that_shows_late(name: str, tmp_path: Path) -> None:
    text, idle = LATE[name]
    (tmp_path / "a.csv").write_text(text)
    record = read(tmp_path / "a.csv", **NAMED)
    assert_allclose(record.u[idle:, 0], U, rtol=0, atol=1e-9)
    assert_allclose(record.y[idle:, 0], Y, rtol=0, atol=1e-9)
    assert not record.y[:idle].any()


def test_a_decimal_comma_in_the_last_row_alone(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("u1;y1\n" + "3;4\n" * 5000 + "1,5;2\n")
    record = read(tmp_path / "a.csv")
    assert (record.u[-1, 0], record.y[-1, 0], record.u[0, 0]) == (1.5, 2, 3)


def test_thousands_that_are_clear(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,pump,level\n" + BIG)
    assert_allclose(read(tmp_path / "a.csv", **NAMED).u[:, 0], 1000 * U, rtol=0, atol=0.06)
    (tmp_path / "b.csv").write_text("u1;y1\n1.234,5;1'234,0\n1,5;2'000'000,5\n")
    record = read(tmp_path / "b.csv")
    assert_allclose(record.u[:, 0], [1234.5, 1.5])


# Long form

STAMPS = [f"{BEGIN + timedelta(seconds=k):%Y-%m-%dT%H:%M:%SZ}" for k in range(N)]
INFLUX = (
    "#group,false,false,true,true,false,false,true,true\n"
    "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,string\n"
    "#default,_result,,,,,,,\n,result,table,_start,_stop,_time,_value,_field,_measurement\n"
)


def influx(order: int = 1, head: str = INFLUX) -> str:
    blocks = []
    for table, (name, x) in enumerate((("pump", U), ("level", Y))[::order]):
        lines = (
            f",,{table},{STAMPS[0]},{STAMPS[-1]},{STAMPS[k]},{x[k]},{name},tank" for k in range(N)
        )
        blocks.append(head + "\n".join(lines) + "\n")
    return "\n".join(blocks)


def in_turn(pattern: str, header: str, decimal: str = ".") -> str:
    """Rows of two tags at each time, one after the other."""
    lines = [header] + [
        pattern.format(n=n, s=STAMPS[k], v=f"{v:.4f}".replace(".", decimal), k=k)
        for k in range(N)
        for n, v in (("pump", U[k]), ("level", Y[k]))
    ]
    return "\n".join(lines) + "\n"


def one_by_one(pattern: str, header: str) -> str:
    """All rows of one tag, then all of the other."""
    lines = [header] + [
        pattern.format(n=n, s=STAMPS[k], v=f"{x[k]:.4f}", k=k)
        for n, x in (("pump", U), ("level", Y))
        for k in range(N)
    ]
    return "\n".join(lines) + "\n"


HMI = '"VarName";"TimeString";"VarValue";"Validity";"Time_ms"'
LONG = {
    "Siemens HMI": (
        in_turn('"{n}";"{s}";{v};1;{k}', HMI, ",") + f'"$RT_OFF$";"{STAMPS[-1]}";0;2;500\n',
        "VarName,VarValue", "VarValue", "TimeString", 1.0,
    ),
    "InfluxDB": (influx(), "_field,_value", "_value", "_time", 1.0),
    "InfluxDB, tables the other way": (influx(-1), "_field,_value", "_value", "_time", 1.0),
    "InfluxDB without annotations": (
        influx(1, INFLUX.splitlines()[-1] + "\n"), "_field,_value", "_value", "_time", 1.0,
    ),
    "Grafana": (
        one_by_one("{n};{s};{v}", "Series;Time;Value"), "Series,Value", "Value", "Time", 1.0,
    ),
    "tags in turn": (in_turn("{s},{n},{v}", "time,tag,value"), "tag,value", "value", "time", 1.0),
    "other words": (in_turn("{s};{n};{v}", "when;what;how much"), "what,how much", "how much",
                    "when", 1.0),
    "seconds": (in_turn("{k}\t{n}\t{v}", "t\tsensor\tx"), "sensor,x", "x", "t", 1.0),
    "numbered sensors": (
        in_turn("{k},{n},{v}", "t,sensor id,value").replace("pump", "7").replace("level", "9"),
        "sensor id,value", "value", "t", 1.0,
    ),
    "no time at all": (in_turn("{n},{v}", "signal,value"), "signal,value", "value", None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", LONG)
def test_long_form_is_pivoted_on_request(name: str, tmp_path: Path) -> None:
    text, pivot, _, time, step = LONG[name]
    (tmp_path / "a.csv").write_text(text)
    u, y = ("7", "9") if name == "numbered sensors" else ("pump", "level")
    record = read(tmp_path / "a.csv", u=[u], y=[y], time=time, pivot=pivot)
    assert_allclose(record.u[:, 0], U, rtol=0, atol=6e-5)
    assert_allclose(record.y[:, 0], Y, rtol=0, atol=6e-5)
    assert record.sampling_time == step
    assert {u, y} <= set(column_names(tmp_path / "a.csv", reading=_reading(pivot=pivot)))


def _reading(**given: Any) -> Any:
    from sysid.data.reading import Reading

    return Reading(**given)


@pytest.mark.parametrize("sampling_time", [None, 1.0])
@pytest.mark.parametrize("name", LONG)
def test_two_tags_never_pass_as_one_output(
    name: str, sampling_time: float | None, tmp_path: Path
) -> None:
    text, pivot, value, _, _ = LONG[name]
    (tmp_path / "a.csv").write_text(text)
    for asked in ({"y": [value]}, dict(NAMED), {}):
        with pytest.raises(ValueError, match=f"long form: .*--pivot {pivot}"):
            read(tmp_path / "a.csv", **asked, sampling_time=sampling_time)


def test_tags_with_stamps_of_their_own(tmp_path: Path) -> None:
    rows = [f"fast;{k};{k}" for k in range(6)] + [f"slow;{k};{10 * k}" for k in (0, 2, 4)]
    (tmp_path / "a.csv").write_text("\n".join(["name;t;value", *rows]))
    record = read(tmp_path / "a.csv", u=["fast"], y=["slow"], time="t", pivot="name,value")
    assert record.sampling_time == 1
    nan = np.nan
    np.testing.assert_array_equal(record.y[:, 0], [0, nan, 20, nan, 40, nan])


def test_a_tag_that_is_not_asked_for_adds_no_samples(tmp_path: Path) -> None:
    rows = [f"a,{k},{k}" for k in range(5)] + [f"b,{k + 0.5},{k}" for k in range(5)]
    (tmp_path / "a.csv").write_text("\n".join(["tag,t,value", *rows]))
    record = read(tmp_path / "a.csv", y=["a"], time="t", pivot="tag,value")
    np.testing.assert_array_equal(record.y[:, 0], range(5))


STATES = {
    "mode": "t,u1,y1,mode\n"
    + "".join(f"{k},{k % 3},{k},{('auto', 'hand')[k // 50 % 2]}\n" for k in range(200)),
    "alarm": "t,u1,y1,alarm\n"
    + "".join(f"{k},{k % 3},{k},{'high' if k % 7 == 0 else 'ok'}\n" for k in range(200)),
    "operator": "date,u1,y1,operator\n"
    + "".join(f"{s},1,2,{('A', 'B')[k % 2]}\n" for k, s in enumerate(STAMPS)),
    "quality": "u1,y1,quality\n"
    + "".join(f"{k},{k},{('good', 'bad')[k % 2]}\n" for k in range(200)),
    "quality of one": "t,y1,quality\n"
    + "".join(f"{k},{k},{('good', 'bad')[k // 9 % 2]}\n" for k in range(200)),
    "a number called channel": "t,y1,channel\n" + "".join(f"{k},{k},3\n" for k in range(200)),
}


@pytest.mark.parametrize("text", STATES.values(), ids=STATES)
def test_a_column_of_states_is_no_long_form(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert len(read(tmp_path / "a.csv")) >= 200


# What is refused

SEGMENTS = lvm() + lvm().split("***End_of_Header***\n", 1)[1].lstrip("\n")
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "segments of a LabVIEW file": (
        SEGMENTS, NAMED, "2 segments, with names in lines 23, 273; say with header which one"
    ),
    "a line that names no segment": (SEGMENTS, NAMED | {"header": 5}, "23 or 273, got 5"),
    "a step that is not that of the stamps": (
        "# sampling time: 0.02 s\nt,pump,level\n" + rows(), NAMED,
        "the file has sampling time in line 1, which is 0.02 s between samples, where its time "
        "stamps have 0.01 s",
    ),
    "a step that is not the one given": (
        "Sample Interval,0.02\npump,level\n" + rows("{u},{y}"), NAMED | {"sampling_time": 0.01},
        "which is 0.02 s between samples, where sampling_time is 0.01 s",
    ),
    "a step that is not Delta_X": (
        lvm().replace("0.010000\t0.010000", "0.020000\t0.020000"),
        NAMED | {"time": "X_Value"}, "Delta_X in line 21",
    ),
    "two steps": (
        lvm("No").replace("0.010000\t0.010000", "0.010000\t0.020000"), NAMED,
        "line 21 must have one Delta_X for all channels, got 0.01, 0.02",
    ),
    "X columns that differ": (
        lvm("Multi").replace("\t0.0300\t", "\t0.0350\t"), NAMED,
        "the same times, they differ in row 3",
    ),
    "an X column that is empty": (
        lvm("No"), NAMED | {"time": "X_Value"}, "leave time out, as Delta_X tells it"
    ),
    "a board that began again": (
        "millis,pump,level\n" + rows("{k},{u},{y}") + "millis,pump,level\n" + rows("{k},{u},{y}"),
        NAMED, "lines 1 and 242 are the same names: the recording began again there",
    ),
    "a board that began again soon": (
        "millis,pump,level\n0,1,2\n1,2,3\nmillis,pump,level\n" + rows("{k},{u},{y}"), NAMED,
        "lines 1 and 4 are the same names",
    ),
    "a board that began again, with boot lines": (
        "t,pump,level\n" + rows() + "boot v1.2\nReady\nt,pump,level\n" + rows(), NAMED,
        "lines 1 and 244 are the same names",
    ),
    "names in a comment that stand again": (
        "# t pump level\n" + rows("{t} {u} {y}") + "# t pump level\n" + rows("{t} {u} {y}"), NAMED,
        "lines 1 and 242 are the same names",
    ),
    "a label that is missing": (
        rows("pump:{u},level:{y}") + "pump:3\n", NAMED,
        "line 241 must have a value for each of pump, level, got 'pump:3'",
    ),
    "units that change": (
        "t,pump,level\n" + rows("{t},{u} V,{y}") + "9,100 mV,2\n", NAMED,
        "column 'pump' has the unit 'V' in row 0 .*, but '100 mV' in row 240",
    ),
    "a unit in some cells": (
        "t,pump,level\n" + rows("{t},{u} V,{y}") + "9,100,2\n", NAMED, "but '100' in row 240"
    ),
    "names or data": (
        "0,1,2\n" + rows("{k},1,2"), {"y": ["2"]}, "give header=1 if it has the names, or header=0"
    ),
    "no names": (rows(), {}, r"no line names the columns, .*u=\[\"2\"\] and y=\[\"3\"\]"),
    "a header beyond the end": ("t,pump,level\n" + rows(), NAMED | {"header": 999}, "241 lines"),
    "too many lines skipped": ("t,pump,level\n" + rows(), NAMED | {"skip_rows": 300}, "241 lines"),
    "a header of other columns": (
        "a,b\nt,pump,level\n" + rows(), NAMED | {"header": 1},
        "line 1 must name 3 columns, as many as the lines below have, got 2",
    ),
    "a line cut off at the end": (
        "t,pump,level\n" + rows() + "2.4,1", NAMED, "line 242 must have 3 fields, got 2"
    ),
    "a quote that joins lines": (
        't,pump,level,note\n0,1,2,"a\n1,2,3,b"\n' + rows("{t},{u},{y},"), NAMED,
        "line 2 must close its quotes",
    ),
    "a tag twice at a time": (
        "tag,t,value\na,0,1\na,0,2\nb,0,3\n", {"y": ["a"], "time": "t", "pivot": "tag,value"},
        "tag 'a' has two values at 0, the second in row 1",
    ),
    "pivot by one column": (
        "tag,t,value\na,0,1\nb,0,3\n", {"y": ["a"], "pivot": "tag"}, "TAG,VALUE, got 'tag'"
    ),
    "pivot by a column that is not there": (
        "tag,t,value\na,0,1\nb,0,3\n", {"y": ["a"], "pivot": "tag,valu"}, "did you mean 'value'"
    ),
    "tags of other lengths without time": (
        "tag,value\na,0\nb,0\na,1\n", {"y": ["a"], "u": ["b"], "pivot": "tag,value"},
        "without time stamps all tags must have as many values, got 2 of 'a', 1 of 'b'",
    ),
    "JSON": ('{"t": [1, 2], "y": [3, 4]}\n', {}, "it is JSON, not a table"),
    "a web page": ("<!DOCTYPE html>\n<html>\n</html>\n", {}, "it is XML or HTML"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_clear_is_refused_with_its_place(case: str, tmp_path: Path) -> None:
    text, ask, message = REFUSED[case]
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path / "a.csv", **ask)
    assert "\n" not in str(caught.value)


def test_a_segment_of_a_labview_file_is_chosen_by_its_names(tmp_path: Path) -> None:
    (tmp_path / "a.lvm").write_text(SEGMENTS)
    record = read(tmp_path / "a.lvm", **NAMED, header=273)
    assert_allclose(record.y[:, 0], Y, rtol=0, atol=6e-5)
    assert record.y_units == ("mm",)


def test_a_packed_file_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"0" * (memory._SMALL + (1 << 21))))
    with pytest.raises(ValueError, match="at most 1000 times as large as the file"):
        read(tmp_path / "a.csv.gz")


def test_a_packed_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(("t,pump,level\n" + rows()).encode())
    (tmp_path / "a.csv.gz").write_bytes(packed[:-40])
    with pytest.raises(ValueError, match="the packed file is cut off"):
        read(tmp_path / "a.csv.gz", **NAMED)


def test_names_with_commas_are_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('t,"Flow, l/min","Pressure, bar"\n' + rows())
    record = read(tmp_path / "a.csv", u=["Flow, l/min"], y=["Pressure, bar"])
    assert (record.u_names, record.y_names) == (("Flow, l/min",), ("Pressure, bar",))
    with pytest.raises(ValueError, match="got 'Pressur'"):
        read(tmp_path / "a.csv", u=["Flow, l/min"], y=["Pressur, bar"])


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a.bin", b"\x00\x01\x02"), ("a", b"\x89HDF\0"),
        ("a.mat.gz", gzip.compress(b"x", mtime=0)), ("a.png", b"\x89PNG"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_refused_by_its_suffix_or_content(
    name: str, raw: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(ValueError, match=r"file must end in \.csv"):
        read(tmp_path / name)
