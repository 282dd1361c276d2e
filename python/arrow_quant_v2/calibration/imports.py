"""Calibration data that other programs collected, made into calibration files."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from arrow_quant_v2.calibration.file import KEY, CalibrationWriter, LayerRows, StepRow
from arrow_quant_v2.calibration.imported_rows import ImportedRows, file_metadata
from arrow_quant_v2.calibration.require import require
from arrow_quant_v2.errors import ConfigurationError, TableError
from arrow_quant_v2.inspection import inspect_model
from arrow_quant_v2.runs import StrPath


def import_npz(path: StrPath, out: StrPath, **options: Any) -> dict[str, Any]:
    """Make a calibration file of arrays in an ``.npz`` file.

    Parameters
    ----------
    path : str or os.PathLike
        Its keys are ``layer`` or ``layer/timestep``; the arrays are input rows [rows, channels] of
        linear layers, or [trajectories, rows, channels].
    out : str or os.PathLike
        The file to write.
    **options
        As of `import_activations`, but for `channels` and `model`.

    Returns
    -------
    dict
        As of `import_activations`.

    Raises
    ------
    TableError
        If the file is broken; if an array has another shape, other types, or values that are not
        finite.
    """
    rows = ImportedRows("npz", Path(path), **options)
    for key, array in _named_arrays(Path(path)):
        layer, _, step = key.partition("/")
        if array.ndim not in (2, 3):
            raise TableError(
                f"{path}: {key!r} has the shape {list(array.shape)}; allowed are [rows, "
                "channels] and [trajectories, rows, channels]"
            )
        rows.add(layer, _number(step, f"{path}: {key!r}") if step else None, array)
    return rows.write(Path(out))


def import_activations(
    path: StrPath,
    out: StrPath,
    *,
    channels: Mapping[str, int] | None = None,
    model: StrPath | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Make a calibration file of a Parquet table of activations.

    Parameters
    ----------
    path : str or os.PathLike
        Columns: ``layer_name``, ``activations`` (lists of numbers: input rows, one after the
        other; or lists of lists, a row each), optionally ``step`` (the timestep), ``trajectory``
        (an integer) and ``channels``.
    out : str or os.PathLike
        The file to write.
    channels : mapping of str to int, optional
        How long the rows of each layer are, where the table does not tell.
    model : str or os.PathLike, optional
        The model, whose weights tell the same.
    **options
        ``component`` (str), ``scheduler`` and ``beta_schedule`` (as in `collect`),
        ``trajectories`` (int; where the data name none, a list of rows is cut into as many runs of
        consecutive ones, and lists of fewer rows go to as many in turn; every fourth is held out;
        8),
        ``rows_per_step`` (64), ``validation_rows_per_step`` (32), ``hessian`` (True), ``seed`` (0).

    Returns
    -------
    dict
        ``path``, ``num_layers``, ``num_trajectories``, ``num_steps``, ``file_bytes``.

    Raises
    ------
    TableError
        If a column is missing, a length does not fit, or a value is not finite.
    """
    source = Path(path)
    widths = dict(channels or {}) | (_widths_of(model) if model is not None else {})
    rows = ImportedRows("activations", source, **options)
    for layer, step, trajectory, width, values in _activations(source):
        if values.ndim == 1:
            known = width or widths.get(layer) or widths.get(f"{layer}.weight")
            if not known:
                raise TableError(
                    f"{source}: how many channels {layer!r} has is not known; pass channels= or "
                    "model=, or add a column 'channels'"
                )
            if len(values) % known:
                raise TableError(
                    f"{source}: {layer!r} has {len(values)} activations, which are no rows of "
                    f"{known} channels; check channels= and the table"
                )
            values = values.reshape(-1, known)
        rows.add(layer, step, values, trajectory)
    return rows.write(Path(out))


def import_imatrix(
    path: StrPath,
    out: StrPath,
    *,
    component: str = "",
    rename: Callable[[str], str] | None = None,
) -> dict[str, Any]:
    """Make a calibration file of an importance matrix of llama.cpp.

    It has the sums of squares of each input channel, and nothing else.

    Parameters
    ----------
    path : str or os.PathLike
        Of the older binary format, or a GGUF file, which needs the package gguf.
    out : str or os.PathLike
        The file to write.
    component : str
        As in `collect`.
    rename : callable(str), optional
        From the names there, ``blk.0.attn_q.weight``, to those of the model's weights.

    Returns
    -------
    dict
        As of `import_activations`.

    Raises
    ------
    TableError
        If it is no importance matrix, or has values that are not finite.
    """
    source = Path(path)
    with source.open("rb") as file:
        is_gguf = file.read(4) == b"GGUF"
    entries = list(_gguf_entries(source) if is_gguf else _legacy_entries(source))
    if not entries:
        raise TableError(f"{source} has no entries; collect an importance matrix with llama.cpp")
    metadata = file_metadata("imatrix", component, {"kind": "none"}, [], False)
    target = Path(out)
    with CalibrationWriter(target, metadata) as writer:
        for name, count, squares in entries:
            if count <= 0 or not np.isfinite(squares).all() or (squares < 0).any():
                raise TableError(
                    f"{source}: {name!r} has {count} rows, or sums of squares that are negative or "
                    "not finite; collect again, over more text"
                )
            step = StepRow(0, count, {"ch_sumsq": squares.astype(np.float32)})
            width = len(squares)
            writer.write(
                LayerRows(rename(name) if rename else name, width, width, [StepRow(-1, 0), step])
            )
    return {
        "path": str(target),
        "num_layers": len(entries),
        "num_trajectories": 0,
        "num_steps": 1,
        "file_bytes": target.stat().st_size,
    }


# What numpy raises where a file, or an array in it, is not what it should be.
_BROKEN = (ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def _named_arrays(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Read the arrays of an ``.npz`` file one after the other."""
    with path.open("rb") as file:  # which numpy leaves open where the archive is broken
        try:
            arrays = np.load(file, allow_pickle=False)
        except _BROKEN as error:
            raise TableError(
                f"{path} is no .npz file of numeric arrays ({error}); save one with numpy.savez"
            ) from error
        if not hasattr(arrays, "files"):
            raise TableError(
                f"{path} holds one array without a name; save several with numpy.savez"
            )
        for key in arrays.files:
            try:
                array = arrays[key]
            except _BROKEN as error:
                raise TableError(
                    f"{path}: {key!r} cannot be read ({error}); save numeric arrays with "
                    "numpy.savez"
                ) from error
            yield key, array


_Activations = tuple[str, float | None, int | None, int | None, NDArray[Any]]


def _activations(path: Path) -> Iterator[_Activations]:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path} is no Parquet file ({error})") from error
    names = file.schema_arrow.names
    if KEY.encode() in (file.schema_arrow.metadata or {}):
        raise TableError(f"{path} is a calibration file already; use it as it is, or merge()")
    if missing := {"layer_name", "activations"} - set(names):
        raise TableError(
            f"{path} lacks the columns {sorted(missing)} and has {names}; a table of activations "
            "has 'layer_name' and 'activations', and may have 'step', 'trajectory', 'channels'"
        )
    wanted = ("layer_name", "activations", "step", "trajectory", "channels")
    for batch in file.iter_batches(batch_size=64, columns=[n for n in wanted if n in names]):
        columns = {name: batch.column(name) for name in batch.schema.names}
        for i in range(batch.num_rows):
            row = {
                name: column[i].as_py() for name, column in columns.items() if name != "activations"
            }
            values = columns["activations"][i]
            if row["layer_name"] is None or not values.is_valid:
                raise TableError(f"{path}: a layer_name or its activations are null; leave it out")
            yield (
                row["layer_name"],
                None if row.get("step") is None else _number(row["step"], f"{path}: step"),
                row.get("trajectory"),
                row.get("channels"),
                _array(values.values, f"{path}: {row['layer_name']!r}"),
            )


def _array(values: pa.Array, what: str) -> NDArray[Any]:
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        lengths = np.diff(values.offsets.to_numpy())
        if len(set(lengths.tolist())) > 1:
            raise TableError(f"{what}: rows of {sorted(set(lengths.tolist()))} values in one list")
        flat = values.flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat).reshape(len(values), -1)
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        raise TableError(f"{what}: activations are {values.type}; allowed are lists of numbers")
    array: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return array


def _widths_of(model: StrPath) -> dict[str, int]:
    layers = inspect_model(model)["layers"]
    return {layer["name"]: layer["shape"][1] for layer in layers if len(layer["shape"]) > 1}


def _number(text: object, what: str) -> float:
    try:
        return float(str(text))
    except ValueError as error:
        raise ConfigurationError(f"{what}: {text!r} is no timestep; give a number") from error


_Entry = tuple[str, int, NDArray[Any]]


def _legacy_entries(path: Path) -> Iterator[_Entry]:
    """Read llama.cpp's binary imatrix: of each entry its name, calls, and sums of squares."""
    with path.open("rb") as file:
        size = path.stat().st_size
        (count,) = _ints(file, 1, path)
        if not 0 <= count <= size // 12:
            raise TableError(f"{path} is no importance matrix; give a .dat or .gguf of llama.cpp")
        for _ in range(count):
            (length,) = _ints(file, 1, path)
            name = _bytes(file, length, path).decode(errors="replace")
            calls, values = _ints(file, 2, path)
            yield name, calls, np.frombuffer(_bytes(file, 4 * values, path), "<f4")


def _gguf_entries(path: Path) -> Iterator[_Entry]:
    gguf = require("gguf", "Reading an importance matrix in GGUF")
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    for name, squares in tensors.items():
        if not name.endswith(".in_sum2"):
            continue
        layer = name.removesuffix(".in_sum2")
        counts = tensors.get(f"{layer}.counts")
        if counts is None:
            raise TableError(f"{path}: {layer!r} has no counts; collect again with llama.cpp")
        # Of experts there are several, each with its own count.
        yield layer, int(np.sum(counts)), squares.reshape(-1, squares.shape[-1]).sum(axis=0)


def _ints(file: BinaryIO, count: int, path: Path) -> tuple[int, ...]:
    return struct.unpack(f"<{count}i", _bytes(file, 4 * count, path))


def _bytes(file: BinaryIO, count: int, path: Path) -> bytes:
    data = file.read(count) if count >= 0 else b""
    if len(data) != count:
        raise TableError(
            f"{path} ends within an entry, or is no importance matrix; copy it again, or give a "
            ".dat or .gguf of llama.cpp"
        )
    return data
