"""What to type in MATLAB where a .mat file holds objects of its classes."""

from __future__ import annotations

from sysid.data.readers.structures import Unreadable

_DATASET = "s = {x}{{1}}.Values; t = s.Time; y = s.Data; save('FILE.mat', 't', 'y')"
_TO_TYPE = {
    "timeseries": "t = {x}.Time; y = squeeze({x}.Data); save('FILE.mat', 't', 'y')",
    "Simulink.Timeseries": "t = {x}.Time; y = squeeze({x}.Data); save('FILE.mat', 't', 'y')",
    "Simulink.SimulationData.Dataset": _DATASET,
    "Simulink.SimulationData.DatasetRef": _DATASET,
    "Simulink.SimulationData.Signal": (
        "t = {x}.Values.Time; y = {x}.Values.Data; save('FILE.mat', 't', 'y')"
    ),
    "Simulink.SimulationOutput": (
        "s = {x}.yout{{1}}.Values; t = s.Time; y = s.Data; save('FILE.mat', 't', 'y')"
    ),
    "tscollection": "t = {x}.Time; y = {x}.NAME.Data; save('FILE.mat', 't', 'y')",
    "table": "writetable({x}, 'FILE.csv')",
    "timetable": "writetimetable({x}, 'FILE.csv')",
    "iddata": "u = {x}.u; y = {x}.y; Ts = {x}.Ts; save('FILE.mat', 'u', 'y', 'Ts')",
    "datetime": "t = seconds({x} - {x}(1)); save('FILE.mat', 't', '-append')",
    "duration": "t = seconds({x}); save('FILE.mat', 't', '-append')",
    "string": "x = char({x}); save('FILE.mat', 'x', '-append')",
    "categorical": "x = double({x}); save('FILE.mat', 'x', '-append')",
    "sparse": "x = full({x}); save('FILE.mat', 'x', '-append')",
    "dlarray": "x = extractdata({x}); save('FILE.mat', 'x', '-append')",
    "gpuArray": "x = gather({x}); save('FILE.mat', 'x', '-append')",
}
_OTHER = "u = {x}.PROPERTY; save('FILE.mat', 'u', '-append')"


def unreadable(class_name: str, variable: str) -> Unreadable:
    """Return what is said of an object of a class, with what to type.

    Example:
        >>> unreadable("table", "log").rule
        "hold numbers, got a MATLAB table; type in MATLAB: writetable(log, 'FILE.csv')"
    """
    class_name = "".join(c for c in class_name if c.isprintable())[:64]
    if class_name == "function_handle":
        return Unreadable("hold numbers, got a MATLAB function; leave it out")
    typed = _TO_TYPE.get(class_name, _OTHER).format(x=variable or "x")
    kind = "sparse array" if class_name == "sparse" else class_name or "object"
    return Unreadable(f"hold numbers, got a MATLAB {kind}; type in MATLAB: {typed}")
