"""Reads calibration files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from arrow_quant_v2.calibration.file import FORMAT_VERSION, KEY, SCHEMA, unpack
from arrow_quant_v2.calibration.histogram import BINS
from arrow_quant_v2.errors import MetadataError, ModelNotFoundError
from arrow_quant_v2.runs import StrPath


@dataclass
class StepData:
    """What is known of a layer's input at one step.

    Attributes
    ----------
    n_rows : int
        Rows in the sums; 0 where only held-out trajectories came here.
    ch_min, ch_max, ch_sum, ch_sumsq : ndarray of float32, [channels] or [0]
    histogram : ndarray of float32, [1537]
    rows : ndarray of float16, [stored, cols]
    row_trajectory : ndarray of int32, [stored]
    row_key : ndarray of uint64, [stored]
    row_masked : ndarray of bool, [stored] or [0]
    """

    n_rows: int
    ch_min: NDArray[np.float32]
    ch_max: NDArray[np.float32]
    ch_sum: NDArray[np.float32]
    ch_sumsq: NDArray[np.float32]
    histogram: NDArray[np.float32]
    rows: NDArray[np.float16]
    row_trajectory: NDArray[np.int32]
    row_key: NDArray[np.uint64]
    row_masked: NDArray[np.bool_]


@dataclass
class LayerCalibration:
    """What is known of a layer's input.

    Attributes
    ----------
    name : str
    alias : str
        The layer whose data these are; "" where it is this one.
    channels, cols : int
    steps : dict of int to StepData
        By index into the time axis.
    packed_xtx : ndarray of float32, [cols·(cols + 1)/2], or None
        The upper triangle of `xtx`, row by row.
    xtx_rows : int
        Rows that `xtx` sums.
    """

    name: str
    alias: str
    channels: int
    cols: int
    steps: dict[int, StepData]
    packed_xtx: NDArray[np.float32] | None
    xtx_rows: int

    @property
    def xtx(self) -> NDArray[np.float32] | None:
        """Σ xᵀx, float32 [cols, cols]; unpacked at each access, None if it was not collected."""
        return None if self.packed_xtx is None else unpack(self.packed_xtx, self.cols)


class CalibrationData(Mapping[str, LayerCalibration]):
    """A calibration file: maps names of layers to what is known of their inputs.

    Layers are read when they are asked for. Aliases have the data of their layer.

    Attributes
    ----------
    path : Path
    metadata : dict
        As CALIBRATION.md lists it.
    time_axis : list of dict
        ``timestep`` and ``log_snr`` of each step.
    aliases : dict of str to str
        From layers to the one that has the same input.
    """

    def __init__(self, path: StrPath) -> None:
        self.path = Path(path)
        self.metadata = read_metadata(self.path)
        self.time_axis: list[dict[str, float]] = self.metadata["time_axis"]["steps"]
        self._file = pq.ParquetFile(self.path)
        self._groups: dict[str, int] = {}
        self.aliases: dict[str, str] = {}
        for group in range(self._file.num_row_groups):
            table = self._file.read_row_group(group, columns=["layer_name", "input_alias"])
            name = table["layer_name"][0].as_py()
            self._groups[name] = group
            if alias := table["input_alias"][0].as_py():
                self.aliases[name] = alias

    @property
    def layers(self) -> list[str]:
        """The names of the layers, in the order of the file."""
        return list(self._groups)

    def __getitem__(self, name: str) -> LayerCalibration:
        alias = self.aliases.get(name, "")
        return self._read(name, alias, self._groups[alias or name])

    def _read(self, name: str, alias: str, group: int) -> LayerCalibration:
        table = self._file.read_row_group(group)
        rows = [_Row(table, i) for i in range(table.num_rows)]
        head = next(row for row in rows if row.number("step") == -1)
        cols = head.number("cols")
        packed = np.frombuffer(table["xtx"][head.index].as_py(), "<f4")
        return LayerCalibration(
            name,
            alias,
            head.number("channels"),
            cols,
            {row.number("step"): row.data(cols) for row in rows if row is not head},
            packed if len(packed) else None,
            head.number("n_rows"),
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)

    def __repr__(self) -> str:
        axis = len(self.time_axis)
        return f"<CalibrationData '{self.path}': {len(self)} layers, {axis} steps>"


def read(path: StrPath) -> CalibrationData:
    """Open a calibration file.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    CalibrationData
        A mapping; its layers are read when they are asked for.

    Raises
    ------
    ModelNotFoundError
        If there is no such file.
    MetadataError
        If it is no calibration file, or needs a newer version.
    """
    return CalibrationData(path)


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a calibration file; raises as `read` does."""
    if not path.is_file():
        raise ModelNotFoundError(f"{path}: there is no such file; collect() writes one")
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise MetadataError(f"{path} is no Parquet file ({error}); collect() writes one") from error
    text = (schema.metadata or {}).get(KEY.encode())
    if text is None:
        remedy = (
            "import_activations() makes one of it"
            if {"layer_name", "activations"} <= set(schema.names)
            else "collect() writes one"
        )
        raise MetadataError(
            f"{path} is no calibration file: it has no metadata '{KEY}' and the columns "
            f"{schema.names}; {remedy}"
        )
    metadata: dict[str, Any] = json.loads(text)
    version = metadata.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise MetadataError(
            f"{path} has the format version {version!r}, and this program reads up to "
            f"{FORMAT_VERSION}; use a newer arrow_quant_v2"
        )
    if missing := set(SCHEMA.names) - set(schema.names):
        raise MetadataError(f"{path} lacks the columns {sorted(missing)}; collect again")
    return metadata


@dataclass
class _Row:
    table: pa.Table
    index: int

    def number(self, name: str) -> int:
        return int(self.table[name][self.index].as_py())

    def values(self, name: str) -> NDArray[Any]:
        values: NDArray[Any] = self.table[name][self.index].values.to_numpy(zero_copy_only=False)
        return values

    def data(self, cols: int) -> StepData:
        histogram = np.zeros(BINS, np.float32)
        histogram[self.values("hist_idx")] = self.values("hist_mass")
        return StepData(
            self.number("n_rows"),
            self.values("ch_min"),
            self.values("ch_max"),
            self.values("ch_sum"),
            self.values("ch_sumsq"),
            histogram,
            self.values("rows").reshape(-1, cols),
            self.values("row_trajectory"),
            self.values("row_key"),
            self.values("row_masked").astype(bool),
        )
