"""Files of several collections merge into the one that a single collection would have written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arrow_quant_v2 import ConfigurationError, ValidationError
from arrow_quant_v2.calibration import collect, merge, read
from calibration_nets import calls, mlp


def collected(path: Path, given: list[dict[str, Any]], **options: Any) -> Path:
    collect(mlp(), given, out=path, scheduler={"_class_name": "DDIMScheduler"}, **options)
    return path


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """Trajectories 0 to 3, and 4 to 11."""
    given = list(calls(sets=3))
    return [
        collected(tmp_path / "a.parquet", given[:3]),
        collected(tmp_path / "b.parquet", given[3:], first_trajectory=4),
    ]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_merge_is_what_one_collection_would_have_written(
    tmp_path: Path, parts: list[Path], order: tuple[int, int]
) -> None:
    whole = read(collected(tmp_path / "whole.parquet", list(calls(sets=3))))
    result = merge([parts[i] for i in order], tmp_path / "merged.parquet")
    merged = read(result["path"])
    assert result["num_trajectories"] == 12
    assert merged.metadata == whole.metadata
    assert merged.aliases == whole.aliases
    assert merged.layers == whole.layers
    for name in whole.layers:
        want, got = whole[name], merged[name]
        assert got.xtx_rows == want.xtx_rows
        np.testing.assert_allclose(got.xtx, want.xtx, rtol=1e-5, atol=1e-5)
        assert got.steps.keys() == want.steps.keys()
        for number, step in want.steps.items():
            for field in ("ch_sum", "ch_sumsq"):
                np.testing.assert_allclose(
                    getattr(got.steps[number], field), getattr(step, field), rtol=1e-5, atol=1e-6
                )
            for field in ("ch_min", "ch_max", "histogram", "rows", "row_key", "row_trajectory"):
                np.testing.assert_array_equal(
                    getattr(got.steps[number], field), getattr(step, field)
                )
            assert got.steps[number].n_rows == step.n_rows


def test_a_merge_of_one_file_is_that_file(tmp_path: Path, parts: list[Path]) -> None:
    merge(parts[:1], tmp_path / "merged.parquet")
    assert (tmp_path / "merged.parquet").read_bytes() == parts[0].read_bytes()


def test_merging_does_not_depend_on_the_grouping(tmp_path: Path) -> None:
    given = list(calls(sets=3))
    three = [
        collected(tmp_path / f"{i}.parquet", given[3 * i : 3 * i + 3], first_trajectory=4 * i)
        for i in range(3)
    ]
    merge([three[0], three[2]], tmp_path / "gap.parquet")
    assert read(tmp_path / "gap.parquet").metadata["trajectory_ranges"] == [[0, 4], [8, 12]]
    merge([three[1], tmp_path / "gap.parquet"], tmp_path / "later.parquet")
    merge(three, tmp_path / "at once.parquet")
    one, other = read(tmp_path / "later.parquet"), read(tmp_path / "at once.parquet")
    assert one.metadata == other.metadata
    for number, step in one["out.weight"].steps.items():
        np.testing.assert_array_equal(step.rows, other["out.weight"].steps[number].rows)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"first_trajectory": 3}, "both have the trajectory 3"),
        ({"first_trajectory": 4, "seed": 1}, "differ in seed: 0 and 1"),
        ({"first_trajectory": 4, "hessian": False}, "differ in hessian"),
        ({"first_trajectory": 4, "layers": ["to_q"]}, "other layers"),
        ({"first_trajectory": 4, "share_inputs": False}, "share their inputs otherwise"),
        ({"first_trajectory": 4, "timesteps": (7,)}, "differ in time_axis"),
    ],
)
def test_files_that_are_not_alike_are_refused(
    tmp_path: Path, parts: list[Path], options: dict[str, Any], words: str
) -> None:
    given = list(calls(sets=1, timesteps=options.pop("timesteps", (900, 500, 100))))
    other = collected(tmp_path / "other.parquet", given, **options)
    with pytest.raises(ValidationError, match=words) as error:
        merge([parts[0], other], tmp_path / "merged.parquet")
    assert "other.parquet" in str(error.value)
    assert not (tmp_path / "merged.parquet").exists()


def test_a_merge_does_not_overwrite_its_sources(tmp_path: Path, parts: list[Path]) -> None:
    with pytest.raises(ConfigurationError, match="one of the files to merge"):
        merge(parts, parts[0])
    with pytest.raises(ConfigurationError, match="at least one"):
        merge([], tmp_path / "merged.parquet")
