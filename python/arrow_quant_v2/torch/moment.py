"""Moment: where a timestep lies among the groups of timesteps."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from arrow_quant_v2.time_groups import TimeGroups


@dataclass(frozen=True)
class Moment:
    """A timestep's group, and how far its biases have gone over to the next group's.

    Activation parameters are those of `group`. Biases pass smoothly over a boundary where the grid
    says so: they are those of group `lower`, and of the one after it by `share`.
    """

    group: int
    lower: int
    share: float

    @staticmethod
    def at(timestep: float, groups: TimeGroups) -> Moment:
        """Find a timestep in the grid."""
        group = groups.group_of(timestep)
        if groups.interpolation:
            position = _position(timestep, groups)
            begins = _begins(groups)
            for lower in (group - 1, group):
                if lower >= 0 and lower + 2 < len(begins):
                    share = _share(position, begins[lower : lower + 3], groups)
                    if 0 < share < 1:
                        return Moment(group, lower, share)
        return Moment(group, group, 0.0)

    def bias(self, table: Tensor) -> Tensor:
        """Return the row of a table [groups, outputs] that holds at this moment, float32."""
        if len(table) == 1:
            return table[0].float()
        row = table[self.lower].float()
        return row if self.share == 0 else row.lerp(table[self.lower + 1].float(), self.share)


def _position(timestep: float, groups: TimeGroups) -> float:
    """Return where a timestep lies among the steps of the calibration, in steps."""
    steps = np.array(groups.timesteps, np.float64)
    order = np.argsort(steps)
    return float(np.interp(timestep, steps[order], order))


def _begins(groups: TimeGroups) -> list[int]:
    """Return the first step of each group, and the number of steps."""
    of_step = [groups.group_of(step) for step in groups.timesteps]
    count = len(groups.boundaries_timestep) + 1
    return [sum(g < group for g in of_step) for group in range(count + 1)]


def _share(position: float, begins: list[int], groups: TimeGroups) -> float:
    """Return the share of the group after a boundary: 0 before its window, 1 after it.

    `begins` are the first steps of the group before the boundary, of the one after it, and of the
    next. The window is centred half a step before the boundary's first step, `window` steps wide,
    and at most as wide as the shorter of both groups.
    """
    before, boundary, after = begins
    half = min(groups.window, boundary - before, after - boundary) / 2
    if half <= 0:
        return 0.0
    u = (position - (boundary - 0.5) + half) / (2 * half)
    return _ramp(min(max(u, 0.0), 1.0), groups.interpolation)


def _ramp(u: float, interpolation: str) -> float:
    """Go from 0 to 1 as u does: a line; a step smoothed by a quadratic B-spline; a logistic."""
    if interpolation == "cubic":
        v = 3 * u
        if v < 1:
            return v**3 / 6
        return (((9 - 2 * v) * v - 9) * v + 3) / 6 if v < 2 else 1 - (3 - v) ** 3 / 6
    if interpolation == "sigmoid":
        low, high = _logistic(-5), _logistic(5)
        return (_logistic(10 * (u - 0.5)) - low) / (high - low)
    return u


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))
