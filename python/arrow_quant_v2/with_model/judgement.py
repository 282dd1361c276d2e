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
        """Return the standard error of the difference to another model's, on the same samples.

        Infinite where it cannot be told.
        """
        if len(self.parts) < 2 or not (math.isfinite(self.error) and math.isfinite(other.error)):
            return math.inf
        difference = self.parts - other.parts
        return float(np.sqrt(len(difference)) * difference.std(ddof=1))

    def is_better_than(self, other: Judgement) -> bool:
        """Return whether it is lower by 0.5 %, and by twice the standard error.

        By more where there are few samples and steps, in the manner of Student's t.
        """
        if not math.isfinite(self.error) or not math.isfinite(other.error):
            return math.isfinite(self.error) and math.isinf(other.error)
        few = 6 / max(1, len(self.parts) - 1)
        gain = other.error - self.error
        return gain > LEAST_GAIN * other.error and gain > (2 + few) * self.uncertainty(other)


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
