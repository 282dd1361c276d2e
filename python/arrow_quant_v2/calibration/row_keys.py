"""Keys of rows: hashes that decide which rows are stored, whatever order they come in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

# Multipliers of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
# generators", 2014).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def mix(values: Keys) -> Keys:
    """Return the splitmix64 hash of each value; of arrays, so that overflow is silent."""
    z = values + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    hashed: Keys = z ^ (z >> np.uint64(31))
    return hashed


def sample_hashes(
    seed: int,
    trajectory: NDArray[np.int64],
    timestep: NDArray[np.float64],
    visit: NDArray[np.int64],
) -> Keys:
    """Return a hash of each position in a batch.

    Parameters
    ----------
    seed : int
    trajectory, timestep, visit : arrays of shape [batch]
        `visit` numbers the times that the trajectory passes the layer at this timestep: guidance
        branches, correctors, layers that a call uses more than once.

    Returns
    -------
    ndarray of uint64, [batch]
    """
    start = mix(np.full(trajectory.shape, seed & 0xFFFFFFFFFFFFFFFF, np.uint64))
    bits = np.ascontiguousarray(timestep + 0.0).view(np.uint64)  # + 0.0 makes -0.0 a 0.0
    for part in (trajectory.astype(np.uint64), bits, visit.astype(np.uint64)):
        start = mix(start ^ part)
    return start


def row_keys(hashes: Keys, position: NDArray[np.int64]) -> Keys:
    """Return the keys of rows from the hash of their sample and their position in it."""
    return mix(hashes ^ mix(position.astype(np.uint64)))


def smallest(keys: Keys, count: int) -> NDArray[np.int64]:
    """Return the indices of the `count` smallest keys, smallest first."""
    picked = np.argpartition(keys, count)[:count] if len(keys) > count else np.arange(len(keys))
    return picked[np.argsort(keys[picked], kind="stable")].astype(np.int64)
