"""Moment: where a timestep lies among the groups of timesteps."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from arrow_quant_v2.time_groups import TimeGroups


@dataclass(frozen=True)
class Blend:
    """Values of group `lower`, and of the one after it by `share`, 0 … 1."""

    lower: int
    share: float = 0.0


@dataclass(frozen=True)
class Moment:
    """A timestep's group, and how far its values have gone over to the next group's.

    Bias corrections and activation parameters pass smoothly over a boundary where the grid says so,
    each for itself.
    """

    group: int
    biases: Blend
    activations: Blend

    @staticmethod
    def at(timestep: float, groups: TimeGroups) -> Moment:
        """Find a timestep in the grid."""
        group = groups.group_of(timestep)
        biases, activations = (
            _blend(timestep, group, groups, curve)
            for curve in (groups.interpolation, groups.activation_interpolation)
        )
        return Moment(group, biases, activations)

    def bias(self, table: Tensor) -> Tensor:
        """Return the row of a table [groups, outputs] that holds at this moment, float32."""
        if len(table) == 1:
            return table[0].float()
        row = table[self.biases.lower].float()
        share = self.biases.share
        return row if share == 0 else row.lerp(table[self.biases.lower + 1].float(), share)

    def clip(self, table: Tensor) -> Tensor:
        """Return the clip ratio of a table [groups], interpolated in its logarithm."""
        if len(table) == 1:
            return table[0]
        lower, share = self.activations.lower, self.activations.share
        here = table[lower]
        if share == 0:
            return here
        logarithms = math.log(float(here)), math.log(float(table[lower + 1]))
        return here.new_tensor(math.exp(_lerp(*logarithms, share)))

    def quantizer(self, scale: Tensor, zero_point: Tensor, bits: int) -> tuple[Tensor, Tensor]:
        """Return scale and zero point of tables [groups], interpolated as ranges.

        The width of a range is interpolated in its logarithm, the centre linearly; the result is
        widened to hold 0, and its zero point is an integer again.
        """
        if len(scale) == 1:
            return scale[0], zero_point[0]
        lower, share = self.activations.lower, self.activations.share
        if share == 0:
            return scale[lower], zero_point[lower]
        codes = 2**bits - 1
        widths = [float(s) * codes for s in scale[lower : lower + 2]]
        centres = [
            float(s) * (codes / 2 - float(z))
            for s, z in zip(scale[lower : lower + 2], zero_point[lower : lower + 2], strict=True)
        ]
        half = math.exp(_lerp(math.log(widths[0]), math.log(widths[1]), share)) / 2
        centre = _lerp(centres[0], centres[1], share)
        low, high = min(centre - half, 0.0), max(centre + half, 0.0)
        step = scale.new_tensor((high - low) / codes)
        zero = min(max(round(-low / float(step)), 0), codes)
        return step, zero_point.new_tensor(float(zero))


def _lerp(a: float, b: float, share: float) -> float:
    return a + (b - a) * share


def _blend(timestep: float, group: int, groups: TimeGroups, curve: str) -> Blend:
    """Return what holds at a timestep of a group where values go over along a curve."""
    if curve:
        position = _position(timestep, groups)
        begins = _begins(groups)
        for lower in (group - 1, group):
            if lower >= 0 and lower + 2 < len(begins):
                share = _share(position, begins[lower : lower + 3], groups.window, curve)
                if 0 < share < 1:
                    return Blend(lower, share)
    return Blend(group)


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


def _share(position: float, begins: list[int], window: int, curve: str) -> float:
    """Return the share of the group after a boundary: 0 before its window, 1 after it.

    `begins` are the first steps of the group before the boundary, of the one after it, and of the
    next. The window is centred half a step before the boundary's first step, `window` steps wide,
    and at most as wide as the shorter of both groups.
    """
    before, boundary, after = begins
    half = min(window, boundary - before, after - boundary) / 2
    if half <= 0:
        return 0.0
    u = (position - (boundary - 0.5) + half) / (2 * half)
    return _ramp(min(max(u, 0.0), 1.0), curve)


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
