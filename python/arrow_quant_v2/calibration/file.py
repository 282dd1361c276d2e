"""The calibration file: what is written, as arrow_quant/io/CALIBRATION.md has it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from arrow_quant_v2.calibration.layer_data import LayerData
from arrow_quant_v2.calibration.sample import Sample

KEY = "arrow_quant.calibration"
FORMAT_VERSION = 1


def _list_of(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", kind, nullable=False))


_COLUMNS: dict[str, pa.DataType] = {
    "layer_name": pa.string(),
    "input_alias": pa.string(),
    "channels": pa.int64(),
    "cols": pa.int64(),
    "step": pa.int32(),
    "n_rows": pa.int64(),
    "ch_min": _list_of(pa.float32()),
    "ch_max": _list_of(pa.float32()),
    "ch_sum": _list_of(pa.float32()),
    "ch_sumsq": _list_of(pa.float32()),
    "hist_idx": _list_of(pa.uint16()),
    "hist_mass": _list_of(pa.float32()),
    "rows": _list_of(pa.float16()),
    "row_trajectory": _list_of(pa.int32()),
    "row_key": _list_of(pa.uint64()),
    "row_masked": _list_of(pa.bool_()),
    "xtx": pa.large_binary(),
}
SCHEMA = pa.schema([pa.field(name, kind, nullable=False) for name, kind in _COLUMNS.items()])
# Sums, samples and products are noise to a compressor.
_COMPRESSION = dict.fromkeys(
    ("rows.list.element", "row_key.list.element", "xtx"), "none"
) | dict.fromkeys(
    (
        name if pa.types.is_primitive(kind) or kind == pa.string() else f"{name}.list.element"
        for name, kind in _COLUMNS.items()
        if name not in ("rows", "row_key", "xtx")
    ),
    "zstd",
)

Values = NDArray[Any]
_NONE: dict[str, Values] = {
    name: np.empty(0, np.float16 if name == "rows" else kind.value_type.to_pandas_dtype())
    for name, kind in _COLUMNS.items()
    if pa.types.is_list(kind)
}


@dataclass
class StepRow:
    """A row of the table; `lists` has the columns that are lists, those left out are empty."""

    step: int
    n_rows: int
    lists: Mapping[str, Values] = field(default_factory=dict)


@dataclass
class LayerRows:
    """All rows of a layer; the first has step −1. `xtx` is the packed upper triangle."""

    name: str
    channels: int
    cols: int
    rows: list[StepRow]
    alias: str = ""
    xtx: NDArray[np.float32] | None = None


class CalibrationWriter:
    """Writes a calibration file layer by layer; it appears whole when `close` returns.

    Parameters
    ----------
    path : Path
    metadata : mapping
        The object under `arrow_quant.calibration`.
    """

    def __init__(self, path: Path, metadata: Mapping[str, Any]) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.tmp")
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False)
        self._writer = pq.ParquetWriter(
            self._temporary,
            SCHEMA.with_metadata({KEY: text}),
            compression=_COMPRESSION,
            use_dictionary=False,
            write_statistics=False,
        )

    def write(self, layer: LayerRows) -> None:
        """Write the row group of a layer."""
        table = _table(layer)
        self._writer.write_table(table, row_group_size=table.num_rows)

    def close(self) -> None:
        """Flush to the disk, and give the file its name."""
        self._writer.close()
        with self._temporary.open("rb") as file:
            os.fsync(file.fileno())
        self._temporary.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def __enter__(self) -> CalibrationWriter:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self.close()
        else:
            with suppress(Exception):
                self._writer.close()
            self._temporary.unlink(missing_ok=True)


def layer_rows(name: str, data: LayerData, alias: str = "") -> LayerRows:
    """Return what a file says of a collected layer."""
    if alias:
        return LayerRows(name, data.channels, data.cols, [StepRow(-1, 0)], alias)
    rows = [StepRow(-1, data.xtx_rows)]
    for step, statistics in sorted(data.steps.items()):
        lists = _sample_lists([statistics.calibrating, statistics.held_out])
        if statistics.n_rows:
            sums = statistics.sums.astype(np.float32)
            lists |= dict(zip(("ch_min", "ch_max", "ch_sum", "ch_sumsq"), sums, strict=True))
            bins = np.flatnonzero(statistics.histogram)
            lists["hist_idx"] = bins.astype(np.uint16)
            lists["hist_mass"] = statistics.histogram[bins].astype(np.float32)
        rows.append(StepRow(step, statistics.n_rows, lists))
    xtx = None if data.xtx is None else pack(data.xtx)
    return LayerRows(name, data.channels, data.cols, rows, xtx=xtx)


def pack(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the upper triangle of a matrix [n, n], row by row, with the diagonal."""
    n = len(matrix)
    packed = np.empty(n * (n + 1) // 2, np.float32)
    start = 0
    for i in range(n):
        packed[start : start + n - i] = matrix[i, i:]
        start += n - i
    return packed


def unpack(packed: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Return the symmetric matrix [n, n] of a packed upper triangle."""
    matrix = np.empty((n, n), np.float32)
    start = 0
    for i in range(n):
        matrix[i, i:] = packed[start : start + n - i]
        matrix[i:, i] = matrix[i, i:]
        start += n - i
    return matrix


def _sample_lists(samples: list[Sample]) -> dict[str, Values]:
    parts = [sample.in_order() for sample in samples]
    keys, trajectories, rows, masked = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(keys, kind="stable")
    lists: dict[str, Values] = {
        "rows": rows[order].reshape(-1),
        "row_trajectory": trajectories[order],
        "row_key": keys[order],
    }
    if any(sample.masks for sample in samples):
        lists["row_masked"] = masked[order]
    return lists


def _table(layer: LayerRows) -> pa.Table:
    count = len(layer.rows)
    columns = {
        "layer_name": pa.array([layer.name] * count, pa.string()),
        "input_alias": pa.array([layer.alias] * count, pa.string()),
        "channels": pa.array([layer.channels] * count, pa.int64()),
        "cols": pa.array([layer.cols] * count, pa.int64()),
        "step": pa.array([row.step for row in layer.rows], pa.int32()),
        "n_rows": pa.array([row.n_rows for row in layer.rows], pa.int64()),
        "xtx": _binaries(layer.xtx, count),
    }
    for name, none in _NONE.items():
        columns[name] = _lists(name, [row.lists.get(name, none) for row in layer.rows])
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _lists(name: str, values: list[Values]) -> pa.Array:
    kind = _COLUMNS[name]
    offsets = np.concatenate([[0], np.cumsum([len(v) for v in values])]).astype(np.int32)
    elements = pa.array(np.concatenate(values), kind.value_type)
    return pa.ListArray.from_arrays(pa.array(offsets), elements, type=kind)


def _binaries(first: NDArray[np.float32] | None, count: int) -> pa.Array:
    """Return a column whose first row has the bytes of an array, and whose others are empty."""
    data = np.empty(0, np.float32) if first is None else first
    offsets = np.array([0] + [data.nbytes] * count, np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data.astype("<f4", copy=False))]
    return pa.Array.from_buffers(pa.large_binary(), count, buffers)
