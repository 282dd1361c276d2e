"""Rows of linear layers that come as arrays, without a model that runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrow_quant_v2 import _build_info
from arrow_quant_v2.calibration.arena import Arena
from arrow_quant_v2.calibration.call import EVERY, REMAINDER, is_held_out
from arrow_quant_v2.calibration.file import FORMAT_VERSION, CalibrationWriter, layer_rows
from arrow_quant_v2.calibration.histogram import count_array
from arrow_quant_v2.calibration.layer_data import LayerData
from arrow_quant_v2.calibration.noise_levels import noise_levels
from arrow_quant_v2.calibration.row_keys import row_keys, sample_hashes, smallest
from arrow_quant_v2.calibration.sample import to_float16
from arrow_quant_v2.calibration.statistics import StepStatistics
from arrow_quant_v2.calibration.time_axis import TimeAxis
from arrow_quant_v2.errors import ConfigurationError, TableError

Rows = NDArray[np.float32]


class ImportedRows:
    """Collects arrays of rows, and writes a calibration file of them.

    Parameters
    ----------
    source : str
        For the metadata: "npz" or "activations".
    path : Path
        Where the arrays come from, for messages.
    component, scheduler, beta_schedule, trajectories, rows_per_step, validation_rows_per_step,
    hessian, seed
        The options of `import_activations`.
    """

    def __init__(
        self,
        source: str,
        path: Path,
        *,
        component: str = "",
        scheduler: Any = None,
        beta_schedule: str | None = None,
        trajectories: int = 8,
        rows_per_step: int = 64,
        validation_rows_per_step: int = 32,
        hessian: bool = True,
        seed: int = 0,
    ) -> None:
        if trajectories < 1:
            raise ConfigurationError(f"trajectories = {trajectories}: must be at least 1")
        self._source = source
        self._path = path
        self._component = component
        self._levels = noise_levels(scheduler, beta_schedule)
        self._trajectories = trajectories
        self._capacities = {
            "rows_per_step": rows_per_step,
            "validation_rows_per_step": validation_rows_per_step,
        }
        self._hessian = hessian
        self._seed = seed
        self._arena = Arena(path.parent, 1 << 62)
        self._layers: dict[str, LayerData] = {}
        self._timed: bool | None = None
        self._axis = TimeAxis("none")
        self._numbers: set[int] = set()
        self._turns: dict[tuple[str, float], int] = {}
        self._positions: dict[tuple[str, float, int], int] = {}

    def add(
        self, layer: str, time: float | None, rows: NDArray[Any], trajectory: int | None = None
    ) -> None:
        """Add rows [rows, channels] or [trajectories, rows, channels] of a layer.

        Raises
        ------
        TableError
            If they have another width than before, or are not finite numbers.
        """
        name = layer if layer.endswith("weight") else f"{layer}.weight"
        values = self._checked(name, rows)
        if self._timed is None:
            self._timed = time is not None
            self._axis = TimeAxis("timestep" if self._timed else "none")
        if self._timed != (time is not None):
            raise TableError(
                f"{self._path}: {name!r} has {'no ' if time is None else 'a '}timestep, and what "
                "came before otherwise; give one everywhere, or nowhere"
            )
        data = self._layer(name, values.shape[-1])
        moment = time or 0.0
        places = self._axis.add(np.array([moment]))
        if places is not None:
            for known in self._layers.values():
                known.renumber(places)
        (step,) = self._axis.steps_of(np.array([moment]))
        for number, part in self._parts((name, moment), values, trajectory):
            if len(part):
                self._count(name, data, int(step), moment, number, part)

    def write(self, out: Path) -> dict[str, Any]:
        """Write the file."""
        if not self._layers:
            raise TableError(f"{self._path} has no rows; give at least those of one layer")
        places = self._axis.finish()
        for data in self._layers.values():
            data.renumber(places)
        if self._timed:
            log_snr, schedule = (
                self._levels.log_snr_of(self._axis.all_times()),
                self._levels.schedule,
            )
        else:
            log_snr, schedule = np.zeros_like, "no time"
        axis, order = self._axis.described(log_snr, schedule)
        numbers = sorted(self._numbers)
        metadata = file_metadata(self._source, self._component, axis, numbers, self._hessian)
        metadata |= self._capacities | {"seed": self._seed}
        with CalibrationWriter(out, metadata) as writer:
            for name, data in self._layers.items():
                data.renumber(order)
                writer.write(layer_rows(name, data))
        return {
            "path": str(out),
            "num_layers": len(self._layers),
            "num_trajectories": len(numbers),
            "num_steps": len(axis["steps"]),
            "file_bytes": out.stat().st_size,
        }

    def _checked(self, name: str, rows: NDArray[Any]) -> Rows:
        if rows.dtype.kind not in "fiu":
            raise TableError(
                f"{self._path}: {name!r} has values of type {rows.dtype}; allowed are numbers"
            )
        values = np.asarray(rows, np.float32)
        if not np.isfinite(values).all():
            raise TableError(
                f"{self._path}: {name!r} has NaN or infinite values; collect it in float32"
            )
        if name in self._layers and self._layers[name].channels != values.shape[-1]:
            raise TableError(
                f"{self._path}: {name!r} has rows of {values.shape[-1]} channels, and of "
                f"{self._layers[name].channels} before; give all of one width"
            )
        return values

    def _layer(self, name: str, channels: int) -> LayerData:
        if name not in self._layers:
            self._layers[name] = LayerData(
                channels, channels, self._arena, hessian=self._hessian, **self._capacities
            )
        return self._layers[name]

    def _parts(
        self, key: tuple[str, float], values: Rows, trajectory: int | None
    ) -> list[tuple[int, Rows]]:
        """Return the rows of each trajectory."""
        if values.ndim == 3:
            return list(enumerate(values))
        if trajectory is not None:
            return [(int(trajectory), values)]
        if len(values) >= self._trajectories:
            return list(enumerate(np.array_split(values, self._trajectories)))
        turn = self._turns.get(key, 0)
        self._turns[key] = turn + 1
        return [(turn % self._trajectories, values)]

    def _count(
        self, name: str, data: LayerData, step: int, time: float, number: int, rows: Rows
    ) -> None:
        self._numbers.add(number)
        statistics = data.step(step)
        trajectory = np.array([number])
        held_out = bool(is_held_out(trajectory)[0])
        if not held_out:
            _add(statistics, rows)
            data.add_array_xtx(rows)
        key = (name, time, number)
        first = self._positions.get(key, 0)
        self._positions[key] = first + len(rows)
        position = np.arange(first, first + len(rows))
        hashes = sample_hashes(self._seed, trajectory, np.array([time]), np.array([0]))
        keys = row_keys(np.repeat(hashes, len(rows)), position)
        sample = statistics.held_out if held_out else statistics.calibrating
        picked = smallest(keys, sample.capacity)
        numbers = np.full(len(picked), number, np.int32)
        sample.add(keys[picked], numbers, to_float16(rows[picked]))


def file_metadata(
    source: str, component: str, axis: Mapping[str, Any], numbers: list[int], hessian: bool
) -> dict[str, Any]:
    """Return the metadata of a file that was converted."""
    none = {"schedule": "no time", "steps": [{"timestep": 0.0, "log_snr": 0.0}]}
    return {
        "format_version": FORMAT_VERSION,
        "tool_version": _build_info.VERSION,
        "source": source,
        "component": component,
        "model_class": "",
        "time_axis": none | dict(axis),
        "num_trajectories": len(numbers),
        "trajectory_ranges": _ranges(numbers),
        "validation": {"every": EVERY, "remainder": REMAINDER},
        "guidance_branches": 1,
        "num_calls": 0,
        "seed": 0,
        "rows_per_step": 0,
        "validation_rows_per_step": 0,
        "hessian": hessian,
    }


def _ranges(numbers: list[int]) -> list[list[int]]:
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number:
            ranges[-1][1] += 1
        else:
            ranges.append([number, number + 1])
    return ranges


def _add(statistics: StepStatistics, rows: Rows) -> None:
    wide = rows.astype(np.float64)
    statistics.n_rows += len(rows)
    statistics.add_sums(np.stack([wide.min(0), wide.max(0), wide.sum(0), np.square(wide).sum(0)]))
    statistics.histogram += count_array(rows)
