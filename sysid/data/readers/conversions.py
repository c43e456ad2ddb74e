"""Files that are not read, and what to save them as instead."""

from __future__ import annotations

_PICKLED = (
    "a pickle can execute code when it is opened; in Python, if you trust it: "
    "pandas.read_pickle('FILE').to_parquet('FILE.parquet')"
)
_BAG = "export its topics, in Python with the package rosbags, or by `ros2 topic echo --csv`"

CONVERTED = {
    ".pkl": _PICKLED,
    ".pickle": _PICKLED,
    ".joblib": _PICKLED,
    ".xls": "open it in Excel or LibreOffice and save it as .xlsx or .csv",
    ".xlsb": "open it in Excel and save it as .xlsx or .csv",
    ".ods": "open it in LibreOffice and save it as .xlsx or .csv",
    ".bag": _BAG,
    ".db3": _BAG,
    ".mcap": _BAG,
    ".rdata": "in R: write.csv(x, 'FILE.csv', row.names = FALSE)",
    ".rds": "in R: write.csv(readRDS('FILE.rds'), 'FILE.csv', row.names = FALSE)",
    ".slx": "it is a Simulink model; log its signals and save them as a .mat file",
    ".m": "it is a MATLAB script; run it and save its signals as a .mat file",
    ".blf": "export it as .mf4 or .csv, by its logger's software or asammdf",
    ".dxd": "export it as .mat or .csv, by Dewesoft",
    ".zip": "unpack it, and name the files or the folder",
    ".7z": "unpack it, and name the files or the folder",
}
