"""What was collected of one layer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrow_quant_v2.calibration.arena import Arena
from arrow_quant_v2.calibration.statistics import StepStatistics

MAX_XTX_COLS = 32767  # a value in Parquet has less than 2 GiB
_BLOCK = 1 << 24  # elements of rows that are widened to float32 at once


class LayerData:
    """Statistics of one layer's input by step, and XᵀX over all of them.

    Attributes
    ----------
    channels, cols : int
    steps : dict of int to StepStatistics
    xtx : ndarray of float32, [cols, cols], or None
        Symmetric: both triangles are summed.
    xtx_rows : int
    """

    def __init__(
        self,
        channels: int,
        cols: int,
        arena: Arena,
        *,
        rows_per_step: int,
        validation_rows_per_step: int,
        hessian: bool,
    ) -> None:
        self.channels = channels
        self.cols = cols
        self.steps: dict[int, StepStatistics] = {}
        self.xtx: NDArray[Any] | None = None
        self.xtx_rows = 0
        self.hessian = hessian and cols <= MAX_XTX_COLS
        self._arena = arena
        self._capacities = rows_per_step, validation_rows_per_step

    def step(self, number: int) -> StepStatistics:
        """Return the statistics of a step, empty ones where there were none."""
        if number not in self.steps:
            self.steps[number] = self._new_step()
        return self.steps[number]

    def add_array_xtx(self, rows: NDArray[np.float32]) -> None:
        """Add Σ xᵀx of rows [n, cols], unless it is not wanted."""
        if self.hessian:
            sums = self._sums_of_products()
            sums += rows.T @ rows
            self.xtx_rows += len(rows)

    def add_xtx(self, rows: Any) -> None:
        """Add Σ xᵀx of rows, a torch tensor [n, cols]."""
        import torch

        sums = torch.from_numpy(self._sums_of_products())
        per_block = max(1, _BLOCK // self.cols)
        for start in range(0, rows.shape[0], per_block):
            block = rows[start : start + per_block].float()
            if block.device.type == "cpu":
                sums.addmm_(block.T, block)
            else:
                sums.add_((block.T @ block).cpu())
        self.xtx_rows += int(rows.shape[0])

    def renumber(self, places: Sequence[int]) -> None:
        """Give each step a new number; steps that get the same one are put together."""
        old, self.steps = self.steps, {}
        for number, statistics in sorted(old.items()):
            place = places[number]
            if place in self.steps:
                self.steps[place].add_all(statistics)
                statistics.release()
            else:
                self.steps[place] = statistics

    def release(self) -> None:
        """Give the memory back."""
        for statistics in self.steps.values():
            statistics.release()
        self.steps = {}
        if self.xtx is not None:
            self._arena.release(self.xtx)
            self.xtx = None

    def save(self, path: Path) -> None:
        """Write everything to a file for `restore`."""
        arrays: dict[str, NDArray[Any]] = {"xtx_rows": np.array(self.xtx_rows)}
        if self.xtx is not None:
            arrays["xtx"] = self.xtx
        for number, statistics in self.steps.items():
            arrays |= {f"{number}/{name}": a for name, a in statistics.arrays().items()}
        with path.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())

    def restore(self, path: Path) -> None:
        """Take over what `save` wrote."""
        with np.load(path) as arrays:
            self.xtx_rows = int(arrays["xtx_rows"])
            if "xtx" in arrays:
                self.xtx = self._arena.zeros((self.cols, self.cols), np.float32)
                self.xtx[:] = arrays["xtx"]
            by_step: dict[int, dict[str, NDArray[Any]]] = {}
            for name in arrays.files:
                if "/" in name:
                    number, field = name.split("/")
                    by_step.setdefault(int(number), {})[field] = arrays[name]
        for number, step_arrays in by_step.items():
            self.step(number).restore(step_arrays)

    def _sums_of_products(self) -> NDArray[Any]:
        if self.xtx is None:
            self.xtx = self._arena.zeros((self.cols, self.cols), np.float32)
        return self.xtx

    def _new_step(self) -> StepStatistics:
        return StepStatistics(self.channels, self.cols, *self._capacities, self._arena)
