"""The stored rows of one layer at one step: those with the smallest keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrow_quant_v2.calibration.arena import Arena
from arrow_quant_v2.calibration.row_keys import Keys, smallest

FLOAT16_MAX = 65504.0


class Sample:
    """At most `capacity` rows, kept by key; so neither order nor grouping of `add` matters.

    Attributes
    ----------
    keys : ndarray of uint64, [stored]
    trajectories : ndarray of int32, [stored]
    masked : ndarray of bool, [stored]
    masks : bool
        Whether `masked` means something.
    """

    def __init__(self, capacity: int, cols: int, arena: Arena) -> None:
        self._arena = arena
        self._rows: NDArray[Any] = arena.zeros((capacity, cols), np.float16)
        self.capacity = capacity
        self.keys: Keys = np.empty(0, np.uint64)
        self.trajectories: NDArray[np.int32] = np.empty(0, np.int32)
        self.masked: NDArray[np.bool_] = np.empty(0, bool)
        self.masks = False

    def wanted(self, keys: Keys) -> NDArray[np.bool_]:
        """Return which keys would enter, so that only their rows need be fetched."""
        if self.capacity == 0:
            return np.zeros(len(keys), bool)
        if len(self.keys) < self.capacity:
            return np.ones(len(keys), bool)
        wanted: NDArray[np.bool_] = keys < self.keys.max()
        return wanted

    def add(
        self,
        keys: Keys,
        trajectories: NDArray[np.int32],
        rows: NDArray[np.float16],
        masked: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take rows [n, cols] with their keys and trajectories, as far as they are wanted."""
        if masked is not None:
            self.masks = True
        else:
            masked = np.zeros(len(keys), bool)
        stored = len(self.keys)
        kept = smallest(np.concatenate([self.keys, keys]), self.capacity)
        old, new = kept[kept < stored], kept[kept >= stored] - stored
        free = np.setdiff1d(np.arange(len(kept)), old)
        # Rows that stay beyond the new end cannot be: the sample never shrinks.
        self._rows[free] = rows[new]
        self.keys = _put(self.keys, free, keys[new], len(kept))
        self.trajectories = _put(self.trajectories, free, trajectories[new], len(kept))
        self.masked = _put(self.masked, free, masked[new], len(kept))

    def add_all(self, other: Sample) -> None:
        """Take the rows of another sample."""
        keys, trajectories, rows, masked = other.in_order()
        if len(keys):
            self.add(keys, trajectories, rows, masked if other.masks else None)

    def in_order(
        self,
    ) -> tuple[Keys, NDArray[np.int32], NDArray[np.float16], NDArray[np.bool_]]:
        """Return keys, trajectories, rows [stored, cols] and masks, in the order of the keys."""
        order = np.argsort(self.keys, kind="stable")
        return (
            self.keys[order],
            self.trajectories[order],
            np.asarray(self._rows[order]),
            self.masked[order],
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything, for `restore`."""
        keys, trajectories, rows, masked = self.in_order()
        return {
            "keys": keys,
            "trajectories": trajectories,
            "rows": rows,
            "masked": masked,
            "masks": np.array(self.masks),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `arrays` returned."""
        self.keys = arrays["keys"]
        self.trajectories = arrays["trajectories"]
        self.masked = arrays["masked"]
        self.masks = bool(arrays["masks"])
        self._rows[: len(self.keys)] = arrays["rows"]

    def release(self) -> None:
        """Give the memory of the rows back."""
        self._arena.release(self._rows)


def to_float16(rows: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round to half precision; what lies beyond its range becomes its largest value."""
    return np.clip(rows, -FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)


def _put(
    values: NDArray[Any], places: NDArray[np.int64], new: NDArray[Any], length: int
) -> NDArray[Any]:
    result = np.empty(length, values.dtype)
    result[: len(values)] = values[:length]
    result[places] = new
    return result
