"""Judgement: the error of a model's predictions, and whether it is less than another one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_GAIN = 0.005  # of the error, for a step to be taken
GAIN_OF_ONE = 0.2  # beyond it, where there is one trajectory; over n² where there are n


@dataclass(frozen=True)
class Judgement:
    """The error on held-out trajectories.

    Attributes
    ----------
    error : float
        The mean over steps; NaN where there is nothing to judge by, infinite where a prediction is
        not finite.
    parts : ndarray of float64
        What each trajectory adds to it.
    """

    error: float
    parts: NDArray[np.float64]

    def uncertainty(self, other: Judgement) -> float:
        """Return the standard error of the relative difference to another model's error.

        That of the mean logarithm of the ratio, over trajectories; infinite where it cannot be
        told.
        """
        ratios = self._log_ratios(other)
        return float(ratios.std(ddof=1) / np.sqrt(len(ratios))) if len(ratios) > 1 else math.inf

    def is_better_than(self, other: Judgement) -> bool:
        """Return whether it is surely lower, as far as n trajectories can tell.

        By 0.5 % + 20 % / n², and by more than twice the standard error over trajectories; more
        where they are few, in the manner of Student's t. The steps of a trajectory err alike, and
        do not count one by one.
        """
        if not math.isfinite(self.error) or not math.isfinite(other.error):
            return math.isfinite(self.error) and math.isinf(other.error)
        gains = -self._log_ratios(other)
        if len(gains) == 0:
            return False
        least = LEAST_GAIN + GAIN_OF_ONE / len(gains) ** 2
        if self.error >= other.error * (1 - least):
            return False
        if len(gains) == 1:
            return True
        return bool(gains.mean() > (2 + 6 / (len(gains) - 1)) * self.uncertainty(other))

    def _log_ratios(self, other: Judgement) -> NDArray[np.float64]:
        """Return ln(own / other's) of each trajectory; empty where there are none."""
        both = math.isfinite(self.error) and math.isfinite(other.error)
        if not both or len(self.parts) != len(other.parts):
            return np.zeros(0)
        least = 1e-9 * max(self.error, other.error, 1e-300)
        ratios: NDArray[np.float64] = np.log((self.parts + least) / (other.parts + least))
        return ratios


def step_of_gate(
    step: str, before: Judgement, after: Judgement, accepted: bool
) -> dict[str, object]:
    """Return an entry of ``model_gate``."""
    return {
        "step": step,
        "error_before": before.error,
        "error_after": after.error,
        "standard_error": after.uncertainty(before),
        "accepted": accepted,
    }
