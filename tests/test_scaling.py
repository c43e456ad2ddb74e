"""Scaling against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sysid.data.records import Record
from sysid.data.scaling import Scaling

RNG = np.random.default_rng(0)
U, Y = RNG.normal(3, 2, (50, 2)), RNG.normal(-1, 1e-3, (50, 1))


@pytest.mark.parametrize(
    ("kind", "offset", "scale"),
    [
        ("standard", U.mean(0), U.std(0)),
        ("minmax", (U.max(0) + U.min(0)) / 2, np.ptp(U, axis=0) / 2),
        ("robust", np.median(U, 0), np.subtract(*np.percentile(U, [75, 25], axis=0))),
        ("none", [0, 0], [1, 1]),
    ],
)
def test_each_scaler_over_several_records(kind: str, offset, scale) -> None:  # type: ignore[no-untyped-def]
    records = [Record(U[:20], Y[:20]), Record(U[20:], Y[20:])]
    scaling = Scaling(2, 1).fit_(records, u=kind, y=kind)
    assert_allclose(scaling.u_offset, offset)
    assert_allclose(scaling.u_scale, scale)
    assert_allclose(scaling.y_std, Y.std(0))
    y = torch.tensor(Y)
    torch.testing.assert_close(scaling.unscale_y(scaling.scale_y(y)), y)


def test_a_models_dtype_leaves_the_scaling_in_double() -> None:
    scaling = Scaling(1, 1).fit_([Record(U[:, :1] + 1e6, Y)])
    before = scaling.u_offset.clone()
    scaling.float().half()
    assert scaling.u_offset.dtype == torch.float64
    assert torch.equal(scaling.u_offset, before)


def test_neuromancer_one_nan_does_not_zero_a_channel() -> None:
    u = U.copy()
    u[7, 0] = np.nan
    scaled = Scaling(2, 1).fit_([Record(u, Y)]).scale_u(torch.tensor(u))
    assert scaled[:, 0].isnan().sum() == 1
    assert scaled[8:, 0].std() > 0.5


def test_deepsi_one_nan_does_not_spoil_the_mean() -> None:
    y = Y.copy()
    y[7] = np.nan
    assert_allclose(Scaling(2, 1).fit_([Record(U, y)]).y_offset, np.nanmean(y, axis=0))


def test_a_constant_channel_keeps_its_unit() -> None:
    scaling = Scaling(0, 1).fit_([Record(None, np.full(9, 5.0))])
    assert scaling.y_scale.item() == 1.0
    assert scaling.y_offset.item() == 5.0


def test_what_cannot_be_scaled_is_refused() -> None:
    with pytest.raises(ValueError, match="scaler must be one of standard"):
        Scaling(2, 1).fit_([Record(U, Y)], u="max")
    with pytest.raises(ValueError, match="channel 'y1' must have measured values"):
        Scaling(2, 1).fit_([Record(U, Y * np.nan)])


def test_a_channel_that_one_record_lacks_is_scaled_by_the_others() -> None:
    gone = U[:20].copy()
    gone[:, 1] = np.nan
    scaling = Scaling(2, 1).fit_([Record(gone, Y[:20]), Record(U[20:], Y[20:])])
    assert_allclose(scaling.u_offset, [U[:, 0].mean(), U[20:, 1].mean()])
    assert_allclose(scaling.u_scale, [U[:, 0].std(), U[20:, 1].std()])


def test_a_memory_map_is_scaled_in_pieces(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("sysid.data.memory_maps.CHUNK", 7)
    on_disk = np.memmap(tmp_path / "u", np.float64, "w+", shape=U.shape)
    on_disk[:] = U
    assert_allclose(Scaling(2, 1).fit_([Record(on_disk, Y)]).u_scale, U.std(0))
    with pytest.raises(
        ValueError,
        match=r'scaler must be "standard".*, got "robust", which needs everything in memory',
    ):
        Scaling(2, 1).fit_([Record(on_disk, Y)], u="robust")


def test_figures_follow_a_model_to_another_device_but_not_to_another_dtype() -> None:
    scaling = Scaling(1, 1)
    scaling.fit_([Record([1.0, 2.0, 4.0], [0.0, 1.0, 5.0])])
    moved = scaling.half()
    assert {b.dtype for b in moved.buffers()} == {b.dtype for b in Scaling(1, 1).buffers()}
    assert {b.device.type for b in scaling.to("meta").buffers()} == {"meta"}
