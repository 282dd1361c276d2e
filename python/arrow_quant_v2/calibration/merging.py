"""merge: one calibration file of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrow_quant_v2.calibration.calibration_data import CalibrationData, LayerCalibration, StepData
from arrow_quant_v2.calibration.call import is_held_out
from arrow_quant_v2.calibration.file import CalibrationWriter, LayerRows, StepRow
from arrow_quant_v2.calibration.row_keys import smallest
from arrow_quant_v2.errors import ConfigurationError, ValidationError
from arrow_quant_v2.runs import StrPath

_ALIKE = (
    "source",
    "component",
    "model_class",
    "time_axis",
    "validation",
    "seed",
    "rows_per_step",
    "validation_rows_per_step",
    "hessian",
)


def merge(paths: Sequence[StrPath], out: StrPath) -> dict[str, Any]:
    """Merge calibration files of one model whose trajectories have different numbers.

    Parameters
    ----------
    paths : sequence of str or os.PathLike
        Files of `collect` with the same settings, each with its own ``first_trajectory``.
    out : str or os.PathLike
        The file to write; it holds what one collection of all trajectories would, up to the
        rounding of sums to float32. One layer at a time is in memory.

    Returns
    -------
    dict
        ``path``, ``num_trajectories``, ``num_calls``, ``num_layers``, ``num_steps``,
        ``file_bytes``.

    Raises
    ------
    ValidationError
        If the files are not alike, or share trajectories.
    ConfigurationError
        If there are none, or `out` is among them.
    """
    if not paths:
        raise ConfigurationError("paths: give at least one calibration file")
    target = Path(out)
    if any(Path(path).resolve() == target.resolve() for path in paths):
        raise ConfigurationError(f"out = '{target}' is one of the files to merge; name another")
    files = [CalibrationData(path) for path in paths]
    metadata = _merged_metadata(files)
    with CalibrationWriter(target, metadata) as writer:
        for name in files[0].layers:
            writer.write(_merged_layer(name, files, metadata))
    return {
        "path": str(target),
        "num_trajectories": metadata["num_trajectories"],
        "num_calls": metadata["num_calls"],
        "num_layers": len(files[0]),
        "num_steps": len(metadata["time_axis"]["steps"]),
        "file_bytes": target.stat().st_size,
    }


def _merged_metadata(files: Sequence[CalibrationData]) -> dict[str, Any]:
    first = files[0]
    for other in files[1:]:
        for key in _ALIKE:
            if other.metadata[key] != first.metadata[key]:
                raise ValidationError(
                    f"'{first.path}' and '{other.path}' differ in {key}: "
                    f"{_short(first.metadata[key])} and {_short(other.metadata[key])}; collect "
                    "both with the same model, timesteps and settings"
                )
        if set(other.layers) != set(first.layers) or other.aliases != first.aliases:
            names = sorted(set(other.layers) ^ set(first.layers)) or sorted(
                name for name in first.layers if first.aliases.get(name) != other.aliases.get(name)
            )
            raise ValidationError(
                f"'{first.path}' and '{other.path}' have other layers, or layers that share their "
                f"inputs otherwise: {', '.join(names[:5])}; collect both with the same layers= and "
                "share_inputs=False"
            )
    merged = dict(first.metadata)
    merged["trajectory_ranges"] = _merged_ranges(files)
    for key in ("num_trajectories", "num_calls"):
        merged[key] = sum(file.metadata[key] for file in files)
    merged["guidance_branches"] = max(file.metadata["guidance_branches"] for file in files)
    return merged


def _merged_ranges(files: Sequence[CalibrationData]) -> list[list[int]]:
    ranges = sorted(
        (begin, end, file.path)
        for file in files
        for begin, end in file.metadata["trajectory_ranges"]
    )
    merged: list[list[int]] = []
    last_path = None
    for begin, end, path in ranges:
        if merged and begin < merged[-1][1]:
            raise ValidationError(
                f"'{last_path}' and '{path}' both have the trajectory {begin}; collect each with a "
                "first_trajectory= after the last one of the others"
            )
        if merged and begin == merged[-1][1]:
            merged[-1][1] = end
        else:
            merged.append([begin, end])
        last_path = path
    return merged


def _merged_layer(
    name: str, files: Sequence[CalibrationData], metadata: Mapping[str, Any]
) -> LayerRows:
    first = files[0][name]
    if first.alias:
        rows = [StepRow(-1, 0)]
        return LayerRows(name, first.channels, first.cols, rows, first.alias)
    steps: dict[int, list[StepData]] = {}
    xtx: NDArray[np.float64] | None = None
    xtx_rows = 0
    for file in files:
        layer = file[name]
        _check_widths(first, layer, files[0], file)
        for number, step in layer.steps.items():
            steps.setdefault(number, []).append(step)
        if layer.packed_xtx is not None:
            xtx = layer.packed_xtx.astype(np.float64) if xtx is None else xtx + layer.packed_xtx
        xtx_rows += layer.xtx_rows
    rows = [StepRow(-1, xtx_rows)]
    rows += [_merged_step(number, parts, metadata) for number, parts in sorted(steps.items())]
    packed = None if xtx is None else xtx.astype(np.float32)
    return LayerRows(name, first.channels, first.cols, rows, xtx=packed)


def _merged_step(number: int, parts: Sequence[StepData], metadata: Mapping[str, Any]) -> StepRow:
    lists: dict[str, NDArray[Any]] = {}
    counted = [part for part in parts if part.n_rows]
    if counted:
        lists["ch_min"] = np.min([part.ch_min for part in counted], axis=0)
        lists["ch_max"] = np.max([part.ch_max for part in counted], axis=0)
        lists["ch_sum"] = _summed([part.ch_sum for part in counted])
        lists["ch_sumsq"] = _summed([part.ch_sumsq for part in counted])
        histogram = _summed([part.histogram for part in counted])
        bins = np.flatnonzero(histogram)
        lists["hist_idx"], lists["hist_mass"] = bins.astype(np.uint16), histogram[bins]
    keys = np.concatenate([part.row_key for part in parts])
    trajectories = np.concatenate([part.row_trajectory for part in parts])
    held_out = is_held_out(trajectories.astype(np.int64))
    kept = np.concatenate(
        [
            places[smallest(keys[places], metadata[limit])]
            for places, limit in (
                (np.flatnonzero(~held_out), "rows_per_step"),
                (np.flatnonzero(held_out), "validation_rows_per_step"),
            )
        ]
    )
    kept = kept[np.argsort(keys[kept], kind="stable")]
    lists["rows"] = np.concatenate([part.rows for part in parts])[kept].reshape(-1)
    lists["row_trajectory"], lists["row_key"] = trajectories[kept], keys[kept]
    masked = np.concatenate([part.row_masked for part in parts])
    if len(masked):
        lists["row_masked"] = masked[kept]
    return StepRow(number, sum(part.n_rows for part in parts), lists)


def _summed(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.asarray(np.sum(parts, axis=0, dtype=np.float64), np.float32)


def _check_widths(
    a: LayerCalibration, b: LayerCalibration, first: CalibrationData, other: CalibrationData
) -> None:
    if (a.channels, a.cols) != (b.channels, b.cols):
        raise ValidationError(
            f"layer {a.name!r} has {a.channels} channels and {a.cols} columns in '{first.path}', "
            f"{b.channels} and {b.cols} in '{other.path}'; collect both with the same model"
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
