"""Arrays for sums: zeros of their own, in memory as far as the budget goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arrow_quant_v2.calibration import arena
from arrow_quant_v2.calibration.arena import Arena


@pytest.mark.parametrize("max_bytes", [0, 1000, 1 << 30])
def test_arrays_are_zeros_that_do_not_overlap(tmp_path: Path, max_bytes: int) -> None:
    space = Arena(tmp_path / "sums", max_bytes)
    shapes = [(3, 5), (7,), (0, 4), (100, 10), (1,)]
    kinds = [np.float64, np.float16, np.uint8, np.float32, np.float64]
    arrays = [space.zeros(shape, kind) for shape, kind in zip(shapes, kinds, strict=True)]
    for i, array in enumerate(arrays):
        assert (array.shape, array.dtype) == (shapes[i], kinds[i])
        assert not array.any()
        array[...] = i + 1
    assert [set(np.unique(array).tolist()) for array in arrays] == [{1}, {2}, set(), {4}, {5}]


def test_what_exceeds_the_budget_is_in_files(tmp_path: Path) -> None:
    space = Arena(tmp_path / "sums", 800)
    space.zeros((100,), np.float64)
    assert space.mapped_bytes == 0
    space.zeros((1,), np.float64)
    assert space.mapped_bytes == 8
    assert len(list((tmp_path / "sums").iterdir())) == 1


def test_small_arrays_share_a_file_and_large_ones_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arena, "SLAB_BYTES", 4096)
    space = Arena(tmp_path / "sums", 0)
    small = [space.zeros((16,), np.float32) for _ in range(64 + 1)]
    assert len(list((tmp_path / "sums").iterdir())) == 2
    large = space.zeros((32, 32), np.float32)
    assert len(list((tmp_path / "sums").iterdir())) == 3
    for array in (large, *small):
        space.release(array)
    assert space.mapped_bytes == 0
    assert len(list((tmp_path / "sums").iterdir())) == 2


def test_released_memory_can_be_had_again(tmp_path: Path) -> None:
    space = Arena(tmp_path / "sums", 80)
    space.release(space.zeros((10,), np.float64))
    space.zeros((10,), np.float64)
    assert space.mapped_bytes == 0
