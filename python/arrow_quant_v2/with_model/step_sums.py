"""StepSums: what two models' predictions differ by, step by step."""

# torch is nothing but Any where its types are left out.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arrow_quant_v2.with_model.judgement import Judgement

Floats = NDArray[np.float64]


class StepSums:
    """Sums over the samples of each step; of masked text, over the masked tokens alone.

    Attributes
    ----------
    error, power : ndarray of float64, [steps]
        Σ (q − p)² and Σ p². Of masked text p and q are logits less their mean.
    values : ndarray of int64, [steps]
        How many numbers these are sums of.
    divergence : ndarray of float64, [steps]
        Of masked text: Σ KL(p ‖ q), in nats.
    tokens : ndarray of int64, [steps]
        How many tokens that is a sum of.
    samples : ndarray of int64, [steps]
    """

    def __init__(self, steps: int) -> None:
        self.error = np.zeros(steps)
        self.power = np.zeros(steps)
        self.values = np.zeros(steps, np.int64)
        self.divergence = np.zeros(steps)
        self.tokens = np.zeros(steps, np.int64)
        self.samples = np.zeros(steps, np.int64)
        # In the order in which they came: of each sample its step, its trajectory, and what it
        # added to `error`, or to `divergence`.
        self._steps: list[int] = []
        self._trajectories: list[int] = []
        self._parts: list[float] = []

    @property
    def relative(self) -> Floats:
        """The error of each step over its power; NaN where there was no sample."""
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(self.error == 0, 0.0, self.error / self.power)
        return _seen(ratio, self.values)

    @property
    def of_tokens(self) -> Floats:
        """The mean divergence of each step; NaN where no token was masked."""
        return _seen(self.divergence / np.maximum(self.tokens, 1), self.tokens)

    def add(
        self,
        step: int,
        trajectories: list[int],
        exact: Tensor,
        other: Tensor,
        masked: Tensor | None,
    ) -> None:
        """Add predictions [samples, …] of a step; with masks [samples, tokens], logits."""
        exact, other = exact.float(), other.float()
        self._steps += [step] * len(exact)
        self._trajectories += trajectories
        self.samples[step] += len(exact)
        if masked is None:
            parts = _squares_of_each(other - exact)
            self._parts += parts
            self.error[step] += sum(parts)
            self.power[step] += sum_of_squares(exact)
            self.values[step] += exact.numel()
            return
        for p_logits, q_logits, mask in zip(exact, other, masked.to(exact.device), strict=True):
            p, q = (torch.log_softmax(x[mask].double(), -1) for x in (p_logits, q_logits))
            part = float((p.exp() * (p - q)).sum())
            self._parts.append(part)
            self.divergence[step] += part
            self.tokens[step] += len(p)
            p, q = (logits - logits.mean(-1, keepdim=True) for logits in (p, q))
            self.error[step] += sum_of_squares(q - p)
            self.power[step] += sum_of_squares(p)
            self.values[step] += p.numel()

    def judgement(self, of_tokens: bool) -> Judgement:
        """Return the mean over steps, of divergences or else of relative errors."""
        values = self.of_tokens if of_tokens else self.relative
        whole = self.tokens if of_tokens else self.power
        steps = np.array(self._steps, np.int64)
        known = max(1, int((~np.isnan(values)).sum()))
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = np.array(self._parts, np.float64) / whole[steps] / known
        _, place = np.unique(self._trajectories, return_inverse=True)
        of_trajectory = np.zeros(len(set(self._trajectories)))
        np.add.at(of_trajectory, place, parts)
        return Judgement(mean_over_steps(values), of_trajectory)


def mean_over_steps(values: Floats) -> float:
    """Return the mean of what is known; NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def sum_of_squares(values: Tensor) -> float:
    """Return Σ x², summed in float64."""
    return float(values.square().sum(dtype=torch.float64))


def _squares_of_each(values: Tensor) -> list[float]:
    """Return Σ x² of each entry of the first axis."""
    return values.flatten(1).square().sum(1, dtype=torch.float64).tolist()


def _seen(values: Floats, count: NDArray[np.int64]) -> Floats:
    """Return values; NaN where nothing was counted, infinite where a sum was not finite."""
    return np.where(count > 0, np.where(np.isnan(values), np.inf, values), np.nan)
