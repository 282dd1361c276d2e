"""What is summed of one layer's input at one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrow_quant_v2.calibration import histogram
from arrow_quant_v2.calibration.arena import Arena
from arrow_quant_v2.calibration.sample import Sample

_CHUNK = 1 << 21  # elements that are widened to float64 at once


class StepStatistics:
    """Sums, extremes, histogram and sampled rows of one layer at one step.

    Attributes
    ----------
    n_rows : int
        Rows in the sums.
    sums : ndarray of float64, [4, channels]
        Least, greatest, sum, and sum of squares of each channel.
    histogram : ndarray of float64, [1537]
        Elements in each bin.
    calibrating, held_out : Sample
    """

    def __init__(self, channels: int, cols: int, rows: int, held_out: int, arena: Arena) -> None:
        self._arena = arena
        self.n_rows = 0
        self.sums: NDArray[Any] = arena.zeros((4, channels), np.float64)
        self.sums[0] = np.inf
        self.sums[1] = -np.inf
        self.histogram: NDArray[Any] = arena.zeros((histogram.BINS,), np.float64)
        self.calibrating = Sample(rows, cols, arena)
        self.held_out = Sample(held_out, cols, arena)

    def add(self, x: Any) -> None:
        """Count a torch tensor of shape [batch, channels, positions]."""
        self.n_rows += x.shape[0] * x.shape[2]
        per_chunk = max(1, _CHUNK // max(1, x.shape[1] * x.shape[2]))
        for start in range(0, x.shape[0], per_chunk):
            chunk = x[start : start + per_chunk]
            self._add_sums(chunk)
            self.histogram += histogram.count(chunk)

    def _add_sums(self, x: Any) -> None:
        import torch

        wide = x.double()
        sums = torch.stack(
            [
                wide.amin((0, 2)),
                wide.amax((0, 2)),
                wide.sum((0, 2)),
                wide.square().sum((0, 2)),
            ]
        )
        self.add_sums(sums.cpu().numpy())

    def add_sums(self, sums: NDArray[np.float64]) -> None:
        """Add least, greatest, sum and sum of squares, [4, channels]."""
        np.minimum(self.sums[0], sums[0], out=self.sums[0])
        np.maximum(self.sums[1], sums[1], out=self.sums[1])
        self.sums[2:] += sums[2:]

    def add_all(self, other: StepStatistics) -> None:
        """Add what another one counted."""
        self.n_rows += other.n_rows
        self.add_sums(other.sums)
        self.histogram += other.histogram
        self.calibrating.add_all(other.calibrating)
        self.held_out.add_all(other.held_out)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything, for `restore`."""
        return {
            "n_rows": np.array(self.n_rows),
            "sums": self.sums,
            "histogram": self.histogram,
            **{f"calibrating.{k}": v for k, v in self.calibrating.arrays().items()},
            **{f"held_out.{k}": v for k, v in self.held_out.arrays().items()},
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `arrays` returned."""
        self.n_rows = int(arrays["n_rows"])
        self.sums[:] = arrays["sums"]
        self.histogram[:] = arrays["histogram"]
        for name, sample in (("calibrating", self.calibrating), ("held_out", self.held_out)):
            sample.restore({k: arrays[f"{name}.{k}"] for k in sample.arrays()})

    def release(self) -> None:
        """Give the memory back."""
        self._arena.release(self.sums)
        self._arena.release(self.histogram)
        self.calibrating.release()
        self.held_out.release()
