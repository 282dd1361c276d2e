"""Tables of bias corrections, small enough beside the weights that they correct."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from arrow_quant_v2.with_model.bias_estimate import LayerShift
from arrow_quant_v2.with_model.time_grouping import Begins

MAX_BITS_PER_WEIGHT = 0.1  # of all corrections, over all quantized weights
BITS = 16  # of a value
GREATEST = float(np.finfo(np.float16).max)

Tables = dict[str, NDArray[np.float16]]


def bias_tables(
    shifts: Mapping[str, LayerShift], begins: Begins, num_weights: int, share: float = 1.0
) -> Tables:
    """Make the tables for a grouping.

    The layers whose correction removes most error per byte come first: one value for all times
    each, and then values for each group, as long as all together stay within 0.1 bit per weight.

    Parameters
    ----------
    shifts : mapping of str to LayerShift
        By the name of the weight.
    begins : list of int
        The first step of each group.
    num_weights : int
        All quantized weights.
    share : float
        The part of what is lacking that is added, 0 … 1: less, where the estimate is uncertain.

    Returns
    -------
    dict of str to ndarray of float16, [groups or 1, out]
        Layers that the budget does not reach are not in it.
    """
    budget = MAX_BITS_PER_WEIGHT * num_weights
    ones = {name: _means(shift, [0]) for name, shift in shifts.items() if shift.rows.sum() > 0}
    tables: Tables = {}
    for name in sorted(ones, key=lambda n: -_gain(shifts[n], ones[n], [0])):
        bits = BITS * shifts[name].out
        if bits <= budget:
            budget -= bits
            tables[name] = _stored(ones[name], share)
    if len(begins) == 1:
        return tables
    grouped = {name: _means(shifts[name], begins) for name in tables}
    gains = {
        name: _gain(shifts[name], grouped[name] - ones[name], begins) / (len(begins) - 1)
        for name in tables
    }
    for name in sorted(tables, key=lambda n: -gains[n]):
        bits = BITS * shifts[name].out * (len(begins) - 1)
        if bits <= budget:
            budget -= bits
            tables[name] = _stored(grouped[name], share)
    return tables


def bytes_of(tables: Tables) -> int:
    """Return what tables take in the files."""
    return sum(table.nbytes for table in tables.values())


def _means(shift: LayerShift, begins: Begins) -> NDArray[np.float64]:
    """Return what is lacking on average in each group, [groups, out]."""
    rows = np.add.reduceat(shift.rows, begins)
    sums = np.add.reduceat(shift.sums.astype(np.float64), begins, axis=0)
    overall = sums.sum(axis=0) / shift.rows.sum()
    means: NDArray[np.float64] = np.where(
        rows[:, None] > 0, sums / np.maximum(rows, 1)[:, None], overall
    )
    return means


def _gain(shift: LayerShift, values: NDArray[np.float64], begins: Begins) -> float:
    """Return the squares that values [groups, out] remove, over the output's, per output value."""
    rows = np.add.reduceat(shift.rows, begins)
    removed = float((rows * (values**2).sum(axis=1)).sum())
    return removed / shift.power / shift.out if shift.power > 0 else 0.0


def _stored(values: NDArray[np.float64], share: float) -> NDArray[np.float16]:
    return np.ascontiguousarray(np.clip(share * values, -GREATEST, GREATEST), np.float16)
