"""Judge: how far the predictions of a quantized model are from those of the original."""

# torch is nothing but Any where its types are left out.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arrow_quant_v2.calibration.hooks import evaluating
from arrow_quant_v2.with_model.calls import ModelCalls, PlacedCall
from arrow_quant_v2.with_model.judgement import Judgement
from arrow_quant_v2.with_model.step_sums import StepSums, sum_of_squares

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

    def judge(self, quantized: Any) -> Judgement:
        """Return the error, the mean over steps; infinite where a prediction is not finite."""
        return self.sums(quantized).judgement(self.calls.kind == "masked_fraction")

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
                    trajectories = call.trajectory[positions.numpy()][of_step.numpy()]
                    sums.add(
                        int(step), trajectories.tolist(), exact[of_step], other[of_step], masks
                    )
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
        difference = sum_of_squares(alone - exact)
        return difference <= 1e-6 * sum_of_squares(exact)

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
