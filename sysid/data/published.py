"""Published test errors on the official benchmarks, and the units that they are told in."""

from __future__ import annotations

from dataclasses import dataclass

_SITE = "nonlinearbenchmark.org, results workbook up to 2026-04"
_CH24 = "Champneys et al. 2024, arXiv 2405.10779"
_CH25 = "Champneys et al., rerun of 2025"
_TSFAST = "tsfast with its defaults, three seeds"
_SUBNET = "the SUBNET notebooks"
_DYNONET = "Piga and Forgione, dynoNet baseline 2024, one architecture for all sets"


@dataclass(frozen=True)
class Published:
    """One row of the public table: free-run RMSE on each test record, ``None`` if not told."""

    model: str
    source: str
    rmse: tuple[float | None, ...]


@dataclass(frozen=True)
class PublicTable:
    """What is published on a benchmark.

    ``unit`` is the one that errors are told in, ``factor`` what an error in the record's own unit
    is multiplied by.
    """

    title: str
    unit: str
    factor: float
    rows: tuple[Published, ...]


PUBLISHED: dict[str, PublicTable] = {
    "wiener_hammerstein": PublicTable(
        "Wiener-Hammerstein 2009",
        "mV",
        1e3,
        (
            Published("SUBNET, over 200 h of training", _SUBNET, (0.241,)),
            Published("GRU-100, best seed", _TSFAST, (0.561,)),
            Published("GRU-100, mean of seeds", _TSFAST, (0.580,)),
            Published("LSTM-100", _TSFAST, (0.836,)),
            Published("dynoNet", _DYNONET, (1.753,)),
            Published("linear", f"{_SITE}; {_CH24}", (43.4,)),
            Published("feed-forward NARX, one-step, best", f"{_SITE}; {_CH24}", (81.0,)),
        ),
    ),
    "silverbox": PublicTable(
        "Silverbox",
        "mV",
        1e3,
        (
            Published("SUBNET, 8 states", _SUBNET, (0.264, 1.406, 0.294)),
            Published("NL-LFR", _SITE, (0.289, 0.334, 0.257)),
            Published("PNLSS, another split of the arrow", _SITE, (None, 0.26, None)),
            Published("GRU-100, best seed", _TSFAST, (0.310, 1.31, 0.294)),
            Published("GRU-100, mean of seeds", _TSFAST, (0.325, 1.43, 0.312)),
            Published("dynoNet", _DYNONET, (1.218, 5.609, 1.348)),
            Published("feed-forward NARX, one-step, best", f"{_SITE}; {_CH24}", (2.8, 3.2, 2.4)),
            Published("linear", f"{_SITE}; {_CH24}", (6.96, 14.4, 6.58)),
        ),
    ),
    "cascaded_tanks": PublicTable(
        "Cascaded Tanks",
        "V",
        1.0,
        (
            Published("grey box, another split", _SITE, (0.18,)),
            Published("grey-box network", _SITE, (0.221,)),
            Published("liquid networks, ensemble", _SITE, (0.298,)),
            Published("GRU, ensemble of two folds", _SITE, (0.300,)),
            Published("GRU, single", _SITE, (0.396,)),
            Published("dynoNet", _DYNONET, (0.421,)),
            Published("linear", f"{_SITE}; {_CH24}", (0.588,)),
            Published("feed-forward NARX, one-step, best", f"{_SITE}; {_CH24}", (1.3,)),
        ),
    ),
    "emps": PublicTable(
        "EMPS",
        "mm",
        1e3,
        (
            Published("dynoNet, whose script scores the training file", _SITE, (2.64,)),
            Published("RKNN", _SITE, (3.68,)),
            Published("dynoNet", _DYNONET, (5.011,)),
            Published("linear", f"{_SITE}; {_CH24}", (5.53,)),
            Published("GRU", _CH25, (17.6,)),
            Published("LSTM, GRU, best of the usual", f"{_SITE}; {_CH24}", (74.0,)),
            Published("feed-forward NARX, one-step, best", f"{_SITE}; {_CH24}", (105.0,)),
        ),
    ),
}
