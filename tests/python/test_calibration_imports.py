"""Calibration data of other programs become calibration files, and are told from them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrow_quant_v2 import MetadataError, ModelNotFoundError, TableError
from arrow_quant_v2.calibration import (
    import_activations,
    import_imatrix,
    import_npz,
    merge,
    read,
)


@pytest.fixture
def rows() -> Any:
    return np.random.default_rng(0).normal(size=(80, 96)).astype(np.float32)


def check(data: Any, name: str, step: int, rows: Any) -> None:
    """80 rows in 8 runs, of which the second and the sixth are held out."""
    runs = rows.reshape(8, 10, -1)
    counted = runs[[0, 2, 3, 4, 6, 7]].reshape(60, -1).astype(np.float64)
    got = data[name].steps[step]
    assert got.n_rows == 60
    np.testing.assert_allclose(got.ch_sum, counted.sum(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got.ch_sumsq, np.square(counted).sum(0), rtol=1e-5)
    np.testing.assert_array_equal(got.ch_min, counted.min(0).astype(np.float32))
    assert got.histogram.sum() == counted.size
    held_out = got.row_trajectory % 4 == 1
    assert (held_out.sum(), (~held_out).sum()) == (20, 60)
    for row, trajectory in zip(got.rows, got.row_trajectory, strict=True):
        assert (runs[trajectory].astype(np.float16) == row).all(axis=1).any()
    assert np.all(np.diff(got.row_key.astype(object)) > 0)


def test_arrays_without_steps_are_one_step(tmp_path: Path, rows: Any) -> None:
    np.savez(tmp_path / "rows.npz", **{"blocks.0.fc": rows, "blocks.1.fc.weight": rows * 2})
    result = import_npz(tmp_path / "rows.npz", tmp_path / "c.parquet", component="transformer")
    data = read(tmp_path / "c.parquet")
    assert (result["num_layers"], result["num_trajectories"]) == (2, 8)
    assert data.layers == ["blocks.0.fc.weight", "blocks.1.fc.weight"]
    assert data.metadata["source"] == "npz"
    assert data.metadata["component"] == "transformer"
    assert data.metadata["time_axis"]["kind"] == "none"
    check(data, "blocks.0.fc.weight", 0, rows)
    counted = rows.reshape(8, 10, -1)[[0, 2, 3, 4, 6, 7]].reshape(60, -1)
    layer = data["blocks.0.fc.weight"]
    assert layer.xtx_rows == 60
    np.testing.assert_allclose(layer.xtx, counted.T @ counted, rtol=1e-4, atol=1e-4)


def test_arrays_with_timesteps_have_a_time_axis(tmp_path: Path, rows: Any) -> None:
    np.savez(tmp_path / "rows.npz", **{"fc/20": rows, "fc/900": rows * 2, "fc/500.5": rows})
    import_npz(tmp_path / "rows.npz", tmp_path / "c.parquet", beta_schedule="cosine", hessian=False)
    data = read(tmp_path / "c.parquet")
    assert [s["timestep"] for s in data.time_axis] == [900, 500.5, 20]
    check(data, "fc.weight", 0, rows * 2)
    check(data, "fc.weight", 2, rows)
    assert data["fc.weight"].xtx is None


def test_a_first_axis_of_trajectories_is_kept(tmp_path: Path, rows: Any) -> None:
    np.savez(tmp_path / "rows.npz", fc=rows.reshape(4, 20, 96))
    result = import_npz(tmp_path / "rows.npz", tmp_path / "c.parquet")
    assert result["num_trajectories"] == 4
    assert read(tmp_path / "c.parquet")["fc.weight"].steps[0].n_rows == 60


def test_a_table_of_activations_is_read(tmp_path: Path, rows: Any) -> None:
    table = pa.table(
        {
            "layer_name": ["fc", "fc", "other"],
            "step": [900, 20, 900],
            "activations": [rows.ravel(), rows.ravel() * 2, rows[:, :48].ravel()],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    widths = {"fc": 96, "other.weight": 48}
    import_activations(tmp_path / "a.parquet", tmp_path / "c.parquet", channels=widths)
    data = read(tmp_path / "c.parquet")
    assert data.metadata["source"] == "activations"
    check(data, "fc.weight", 0, rows)
    check(data, "fc.weight", 1, rows * 2)
    check(data, "other.weight", 0, rows[:, :48])


@pytest.mark.parametrize("nested", [True, False])
def test_lists_of_few_rows_go_to_trajectories_in_turn(
    tmp_path: Path, rows: Any, nested: bool
) -> None:
    columns: dict[str, Any] = {
        "layer_name": ["fc"] * 80,
        "activations": [[row.tolist()] if nested else row.tolist() for row in rows],
    }
    if not nested:
        columns["channels"] = [96] * 80
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    import_activations(tmp_path / "a.parquet", tmp_path / "c.parquet")
    check(
        read(tmp_path / "c.parquet"),
        "fc.weight",
        0,
        rows.reshape(10, 8, 96).swapaxes(0, 1).reshape(80, 96),
    )


def test_the_model_tells_how_long_rows_are(tmp_path: Path, tiny_model: Path) -> None:
    name = "blocks.1.mlp.fc1.weight"
    table = pa.table({"layer_name": [name], "activations": [np.ones(200 * 16, np.float32)]})
    pq.write_table(table, tmp_path / "a.parquet")
    import_activations(tmp_path / "a.parquet", tmp_path / "c.parquet", model=tiny_model)
    assert read(tmp_path / "c.parquet")[name].channels == 200


def legacy_imatrix(path: Path, entries: dict[str, tuple[int, Any]]) -> None:
    data = struct.pack("<i", len(entries))
    for name, (calls, values) in entries.items():
        data += struct.pack("<i", len(name)) + name.encode()
        data += struct.pack("<ii", calls, len(values)) + values.astype("<f4").tobytes()
    path.write_bytes(data + struct.pack("<ii", 3, 8) + b"wiki.txt")


def test_an_importance_matrix_has_sums_of_squares_and_counts(tmp_path: Path) -> None:
    squares = np.arange(1, 65, dtype=np.float32)
    legacy_imatrix(tmp_path / "i.dat", {"blk.0.ffn_up.weight": (7, squares)})
    result = import_imatrix(
        tmp_path / "i.dat",
        tmp_path / "c.parquet",
        component="transformer",
        rename=lambda name: name.replace("blk", "layers"),
    )
    assert result["num_layers"] == 1
    data = read(tmp_path / "c.parquet")
    assert (data.metadata["source"], data.metadata["component"]) == ("imatrix", "transformer")
    step = data["layers.0.ffn_up.weight"].steps[0]
    assert step.n_rows == 7
    np.testing.assert_array_equal(step.ch_sumsq, squares)
    assert len(step.ch_sum) == len(step.rows) == step.histogram.sum() == 0


def test_an_importance_matrix_in_gguf_is_the_same(tmp_path: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "i.gguf", "none")
    writer.add_type("imatrix")
    squares = np.arange(1, 65, dtype=np.float32)
    writer.add_tensor("blk.0.ffn_up.weight.in_sum2", squares[None])
    writer.add_tensor("blk.0.ffn_up.weight.counts", np.array([[7]], np.float32))
    experts = np.stack([squares, squares * 2])
    writer.add_tensor("blk.0.ffn_up_exps.weight.in_sum2", experts)
    writer.add_tensor("blk.0.ffn_up_exps.weight.counts", np.array([[3], [4]], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    import_imatrix(tmp_path / "i.gguf", tmp_path / "c.parquet")
    data = read(tmp_path / "c.parquet")
    for name, times in (("ffn_up", 1), ("ffn_up_exps", 3)):
        step = data[f"blk.0.{name}.weight"].steps[0]
        assert step.n_rows == 7
        np.testing.assert_array_equal(step.ch_sumsq, squares * times)


def write_npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def write_table(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


ONES = np.ones((8, 32), np.float32)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"fc": np.ones(8)}, r"'fc' has the shape \[8\]"),
        ({"fc": ONES * np.nan}, "'fc.weight' has NaN"),
        ({"fc": np.array([["a"]])}, "allowed are numbers"),
        ({"fc": np.array([[None]])}, "'fc' cannot be read .*; save numeric arrays"),
        ({"fc/1": ONES, "fc/2": np.ones((8, 33))}, "33 channels, and of 32 before"),
        ({"fc/1": ONES, "gc": ONES}, "has no timestep"),
        ({}, "has no rows"),
    ],
)
def test_arrays_that_are_no_rows_are_refused(
    tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    path = write_npz(tmp_path / "a.npz", **arrays)
    with pytest.raises(TableError, match=words):
        import_npz(path, tmp_path / "c.parquet")
    assert not (tmp_path / "c.parquet").exists()


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(TableError, match=r"a\.npz is no \.npz file .*; save one with numpy\.savez"):
        import_npz(tmp_path / "a.npz", tmp_path / "c.parquet")
    assert not (tmp_path / "c.parquet").exists()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"layer": ["a"]}, r"lacks the columns \['activations', 'layer_name'\]"),
        ({"layer_name": ["a"], "activations": [[1.0]]}, "how many channels 'a' has"),
        ({"layer_name": ["a"], "activations": [[1.0] * 3], "channels": [2]}, "no rows of 2"),
        ({"layer_name": [None], "activations": [[[1.0]]]}, "are null"),
        ({"layer_name": ["a"], "activations": [[["x"]]]}, "allowed are numbers"),
        ({"layer_name": ["a"], "activations": [[[1.0], [1.0, 2.0]]]}, "rows of"),
    ],
)
def test_a_table_that_holds_no_activations_is_refused(
    tmp_path: Path, columns: dict[str, Any], words: str
) -> None:
    path = write_table(tmp_path / "a.parquet", **columns)
    with pytest.raises(TableError, match=words):
        import_activations(path, tmp_path / "c.parquet")


@pytest.mark.parametrize("data", [b"", b"\x01\x00\x00\x00", b"\xff" * 64, b"\x02" + b"\x00" * 63])
def test_a_broken_importance_matrix_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "i.dat").write_bytes(data)
    with pytest.raises(TableError, match=r"importance matrix|has 0 rows"):
        import_imatrix(tmp_path / "i.dat", tmp_path / "c.parquet")
    assert not (tmp_path / "c.parquet").exists()


def test_other_tables_are_told_from_calibration_files(tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.parquet", layer_name=["a"], activations=[[[1.0] * 32]])
    with pytest.raises(MetadataError, match=r"import_activations\(\) makes one"):
        read(table)
    with pytest.raises(MetadataError, match=r"collect\(\) writes one"):
        read(write_table(tmp_path / "b.parquet", x=[1]))
    (tmp_path / "c.parquet").write_bytes(b"no table")
    with pytest.raises(MetadataError, match="no Parquet file"):
        read(tmp_path / "c.parquet")
    with pytest.raises(ModelNotFoundError, match="no such file"):
        read(tmp_path / "d.parquet")
    import_activations(table, tmp_path / "e.parquet")
    with pytest.raises(TableError, match="calibration file already"):
        import_activations(tmp_path / "e.parquet", tmp_path / "f.parquet")


def test_a_newer_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from arrow_quant_v2.calibration import imported_rows

    monkeypatch.setattr(imported_rows, "FORMAT_VERSION", 2)
    import_npz(write_npz(tmp_path / "a.npz", fc=ONES), tmp_path / "c.parquet")
    with pytest.raises(MetadataError, match=r"format version 2, .* reads up to 1"):
        merge([tmp_path / "c.parquet"], tmp_path / "d.parquet")


def test_neither_importing_nor_the_package_needs_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from arrow_quant_v2.calibration import collect\n"
        "collect(None, [])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: Collecting calibration data needs torch")
    assert "pip install 'arrow-quant-v2[torch]'" in last
