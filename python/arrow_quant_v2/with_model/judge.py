"""Judge: how far the predictions of a quantized model are from those of the original."""

# torch is nothing but Any where its types are left out.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arrow_quant_v2.with_model.calls import ModelCalls, PlacedCall

MAX_CACHED_BYTES = 512 << 20

Floats = NDArray[np.float64]


class Judge:
    """Compares predictions on the same inputs: those of the original model's trajectories.

    Of images, sound and the like the error of a step is Σ (q − p)² / Σ p² over the samples of that
    step, p the original's prediction and q the other's. Of masked text it is the mean divergence
    KL(p ‖ q) of the masked tokens' distributions, in nats.

    Attributes
    ----------
    calls : ModelCalls
    """

    def __init__(self, model: Any, calls: ModelCalls, held_out_only: bool = True) -> None:
        self.calls = calls
        self._model = model
        self._held_out_only = held_out_only
        self._cache: dict[int, Tensor] = {}
        self._cached_bytes = 0

    @property
    def words(self) -> str:
        """What the errors are."""
        if self.calls.kind == "masked_fraction":
            return "divergence of the masked tokens' distributions, in nats"
        return "mean square error of the prediction, over its mean square"

    def error(self, quantized: Any) -> float:
        """Return the mean over steps; infinite where a prediction is not finite."""
        errors = self.errors(quantized)
        known = errors[~np.isnan(errors)]
        return float(known.mean()) if len(known) else float("nan")

    def errors(self, quantized: Any) -> Floats:
        """Return the error of each step; NaN where no sample of it is judged."""
        return self.sums(quantized).relative

    def sums(self, quantized: Any) -> StepSums:
        """Return what the errors are made of, step by step."""
        sums = StepSums(len(self.calls.timesteps))
        with evaluating(quantized):
            for number, call, positions in self._judged():
                exact = self._exact(number, call, positions)
                other = self.calls.run(quantized, call)[positions.to(exact.device)]
                for step in np.unique(call.step[positions.numpy()]):
                    of_step = torch.from_numpy(call.step[positions.numpy()] == step)
                    masks = None
                    if call.masked is not None:
                        masks = torch.from_numpy(call.masked)[positions][of_step]
                    sums.add(int(step), exact[of_step], other[of_step], masks)
        return sums

    def _judged(self) -> Iterator[tuple[int, PlacedCall, Tensor]]:
        """Return number, call and positions of the batch, where there is something to judge."""
        for number, call in enumerate(self.calls):
            wanted = call.held_out if self._held_out_only else np.ones(call.batch, np.bool_)
            if wanted.any():
                yield number, call, torch.from_numpy(np.flatnonzero(wanted))

    def _exact(self, number: int, call: PlacedCall, positions: Tensor) -> Tensor:
        """Return the original's prediction at some positions of a call's batch."""
        if number in self._cache:
            return self._cache[number]
        with evaluating(self._model):
            output = self.calls.run(self._model, call)
        exact = output[positions.to(output.device)].float()
        if self._cached_bytes + exact.nbytes <= MAX_CACHED_BYTES:
            self._cached_bytes += exact.nbytes
            self._cache[number] = exact
        return exact


class StepSums:
    """Sums over the samples of each step.

    Attributes
    ----------
    error, power : ndarray of float64, [steps]
        Σ (q − p)² and Σ p²; of masked text Σ KL of the masked tokens, and their number.
    values : ndarray of int64, [steps]
        How many numbers, or masked tokens, were summed.
    samples : ndarray of int64, [steps]
    """

    def __init__(self, steps: int) -> None:
        self.error = np.zeros(steps)
        self.power = np.zeros(steps)
        self.values = np.zeros(steps, np.int64)
        self.samples = np.zeros(steps, np.int64)

    @property
    def relative(self) -> Floats:
        """The error over the power of each step; NaN where there was no sample."""
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(self.power > 0, self.error / self.power, np.inf)
        ratio = np.where((self.power == 0) & (self.error == 0), 0.0, ratio)
        return np.where(self.values > 0, np.where(np.isnan(ratio), np.inf, ratio), np.nan)

    def add(self, step: int, exact: Tensor, other: Tensor, masked: Tensor | None) -> None:
        """Add predictions [samples, …] of a step; with masks, logits of the masked tokens."""
        exact, other = exact.float(), other.float()
        self.samples[step] += len(exact)
        if masked is None:
            self.error[step] += _sum_of_squares(other - exact)
            self.power[step] += _sum_of_squares(exact)
            self.values[step] += exact.numel()
            return
        masked = masked.to(exact.device)
        p, q = (torch.log_softmax(logits[masked].double(), -1) for logits in (exact, other))
        self.error[step] += float((p.exp() * (p - q)).sum())
        self.power[step] += len(p)
        self.values[step] += len(p)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Let a model run without gradients and in evaluation mode, and put its mode back."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def _sum_of_squares(values: Tensor) -> float:
    return float(values.square().sum(dtype=torch.float64))
