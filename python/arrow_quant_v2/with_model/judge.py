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
    held_out_only : bool
        Whether calibrating trajectories are left out.
    """

    def __init__(self, model: Any, calls: ModelCalls, held_out_only: bool = True) -> None:
        self.calls = calls
        self._model = model
        self.held_out_only = held_out_only
        self._cache: dict[int, Tensor] = {}
        self._cached_bytes = 0
        self._separable: bool | None = None  # None: not known yet

    @property
    def words(self) -> str:
        """What the errors are."""
        if self.calls.kind == "masked_fraction":
            return "divergence of the masked tokens' distributions, in nats"
        return "mean square error of the prediction, over its mean square"

    def error(self, quantized: Any) -> float:
        """Return the mean over steps; infinite where a prediction is not finite."""
        return mean_over_steps(self.errors_of(self.sums(quantized)))

    def errors_of(self, sums: StepSums) -> Floats:
        """Return the error of each step; NaN where no sample of it is judged."""
        return sums.of_tokens if self.calls.kind == "masked_fraction" else sums.relative

    def sums(self, quantized: Any) -> StepSums:
        """Return what the errors are made of, step by step."""
        sums = StepSums(len(self.calls.timesteps))
        with evaluating(quantized):
            for number, call, positions in self.judged():
                exact = self._exact(number, call, positions)
                other = self._predict(quantized, call, positions, exact)
                for step in np.unique(call.step[positions.numpy()]):
                    of_step = torch.from_numpy(call.step[positions.numpy()] == step)
                    masks = None
                    if call.masked is not None:
                        masks = torch.from_numpy(call.masked)[positions][of_step]
                    sums.add(int(step), exact[of_step], other[of_step], masks)
        return sums

    def _predict(self, model: Any, call: PlacedCall, positions: Tensor, exact: Tensor) -> Tensor:
        """Return a model's prediction at some positions, by running no others where that goes."""
        if len(positions) == call.batch:
            return self.calls.run(model, call)
        if self._separable is None:
            self._separable = self._is_separable(call.only(positions.numpy()), exact)
        if self._separable:
            return self.calls.run(model, call.only(positions.numpy()))
        return self.calls.run(model, call)[positions.to(exact.device)]

    def _is_separable(self, part: PlacedCall, exact: Tensor) -> bool:
        """Return whether the original predicts the same for a part of a batch."""
        try:
            with evaluating(self._model):
                alone = self.calls.run(self._model, part).float()
        except (RuntimeError, ValueError, IndexError, TypeError):
            return False  # an argument has other axes
        if alone.shape != exact.shape:
            return False
        difference = _sum_of_squares(alone - exact)
        return difference <= 1e-6 * _sum_of_squares(exact)

    def judged(self) -> Iterator[tuple[int, PlacedCall, Tensor]]:
        """Return number, call and positions of the batch, where there is something to judge."""
        for number, call in enumerate(self.calls):
            wanted = call.held_out if self.held_out_only else np.ones(call.batch, np.bool_)
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

    def add(self, step: int, exact: Tensor, other: Tensor, masked: Tensor | None) -> None:
        """Add predictions [samples, …] of a step; with masks [samples, tokens], logits."""
        exact, other = exact.float(), other.float()
        self.samples[step] += len(exact)
        if masked is not None:
            masked = masked.to(exact.device)
            p, q = (torch.log_softmax(logits[masked].double(), -1) for logits in (exact, other))
            self.divergence[step] += float((p.exp() * (p - q)).sum())
            self.tokens[step] += len(p)
            exact, other = (logits - logits.mean(-1, keepdim=True) for logits in (p, q))
        self.error[step] += _sum_of_squares(other - exact)
        self.power[step] += _sum_of_squares(exact)
        self.values[step] += exact.numel()


def mean_over_steps(values: Floats) -> float:
    """Return the mean of what is known; NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


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


def _seen(values: Floats, count: NDArray[np.int64]) -> Floats:
    """Return values; NaN where nothing was counted, infinite where a sum was not finite."""
    return np.where(count > 0, np.where(np.isnan(values), np.inf, values), np.nan)
