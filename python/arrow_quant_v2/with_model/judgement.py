"""Judgement: the error of a model's predictions, and whether it is less than another one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_GAIN = 0.005  # of the error, for a step to be taken


@dataclass(frozen=True)
class Judgement:
    """The error on held-out trajectories.

    Attributes
    ----------
    error : float
        The mean over steps; NaN where there is nothing to judge by, infinite where a prediction is
        not finite.
    parts : ndarray of float64
        What each sample and step adds to it.
    """

    error: float
    parts: NDArray[np.float64]

    def uncertainty(self, other: Judgement) -> float:
        """Return the standard error of the relative difference to another model's error.

        That of the mean logarithm of the ratio, over samples and steps; infinite where it cannot be
        told.
        """
        ratios = self._log_ratios(other)
        return float(ratios.std(ddof=1) / np.sqrt(len(ratios))) if len(ratios) > 1 else math.inf

    def is_better_than(self, other: Judgement) -> bool:
        """Return whether it is lower by 0.5 %, and surely so.

        Surely: the mean of what samples and steps gain is more than twice its standard error, or
        that of the logarithms of their ratios is; more where there are few, in the manner of
        Student's t.
        """
        if not math.isfinite(self.error) or not math.isfinite(other.error):
            return math.isfinite(self.error) and math.isinf(other.error)
        ratios = self._log_ratios(other)
        if len(ratios) < 2 or self.error >= other.error * (1 - LEAST_GAIN):
            return False
        return _is_sure(-ratios) or _is_sure(other.parts - self.parts)

    def _log_ratios(self, other: Judgement) -> NDArray[np.float64]:
        """Return ln(own / other's) of each sample and step; empty where there are none."""
        both = math.isfinite(self.error) and math.isfinite(other.error)
        if not both or len(self.parts) != len(other.parts):
            return np.zeros(0)
        least = 1e-9 * max(self.error, other.error, 1e-300)
        ratios: NDArray[np.float64] = np.log((self.parts + least) / (other.parts + least))
        return ratios


def _is_sure(gains: NDArray[np.float64]) -> bool:
    """Return whether the mean is above 0 by more than chance."""
    error = float(gains.std(ddof=1)) / math.sqrt(len(gains))
    return bool(gains.mean() > (2 + 6 / (len(gains) - 1)) * error)


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
