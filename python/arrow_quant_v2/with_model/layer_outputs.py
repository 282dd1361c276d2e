"""What quantized layers put out for the inputs of the original model, layer by layer."""

# torch is nothing but Any where its types are left out.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arrow_quant_v2.calibration.hooks import evaluating
from arrow_quant_v2.with_model.bias_estimate import by_entry, entry_positions
from arrow_quant_v2.with_model.calls import PlacedCall
from arrow_quant_v2.with_model.judge import Judge
from arrow_quant_v2.with_model.quantized_copy import QuantizedCopy
from arrow_quant_v2.with_model.time_grouping import Begins

Floats = NDArray[np.float64]


class OutputErrors:
    """Squares of the outputs of layers, and of what quantizing changes in them.

    Attributes
    ----------
    error, power : dict of str to ndarray of float64, [steps]
        By the name of the weight.
    """

    def __init__(self) -> None:
        self.error: dict[str, Floats] = {}
        self.power: dict[str, Floats] = {}

    def sqnr_db(self, begins: Begins) -> dict[str, list[float | None]]:
        """Return 10·log10(power / error) of each layer in each group of steps.

        Infinite where nothing changes; None where a group has no rows of the layer.
        """
        return {
            name: [
                _decibel(power, error)
                for power, error in zip(
                    np.add.reduceat(self.power[name], begins),
                    np.add.reduceat(self.error[name], begins),
                    strict=True,
                )
            ]
            for name in self.error
        }


def output_errors(
    model: Any, quantized: QuantizedCopy, judge: Judge, progress: Callable[[float], object]
) -> OutputErrors:
    """Run the model, and hand each quantized layer the input that its original gets.

    Parameters
    ----------
    model : torch.nn.Module
        In full precision.
    quantized : QuantizedCopy
    judge : Judge
        Whose calls and positions count.
    progress : callable(float)
    """
    errors = OutputErrors()
    steps = len(judge.calls.timesteps)

    def compare(name: str, call: PlacedCall, positions: Tensor) -> Callable[..., None]:
        layer = quantized.layers[name]
        weight = layer._name
        zeros = np.zeros(steps)
        error = errors.error.setdefault(weight, zeros)
        power = errors.power.setdefault(weight, zeros.copy())
        judged = np.zeros(call.batch, np.bool_)
        judged[positions.numpy()] = True

        def hook(module: Any, args: Any, kwargs: Any, output: Tensor) -> None:
            exact = by_entry(module, output).float()
            other = by_entry(layer, layer(*args, **kwargs)).float()
            position = entry_positions(exact.shape[0], call, judged)
            lost = (other - exact).square().sum((1, 2), dtype=torch.float64).cpu().numpy()
            whole = exact.square().sum((1, 2), dtype=torch.float64).cpu().numpy()
            counted = judged[position]
            np.add.at(error, call.step[position][counted], lost[counted])
            np.add.at(power, call.step[position][counted], whole[counted])

        return hook

    with evaluating(model), evaluating(quantized.model):
        for number, call, positions in judge.judged():
            progress(number / len(judge.calls))
            with ExitStack() as hooks:
                for name in quantized.layers:
                    handle = model.get_submodule(name).register_forward_hook(
                        compare(name, call, positions), with_kwargs=True
                    )
                    hooks.callback(handle.remove)
                judge.calls.run(model, call)
    return errors


def _decibel(power: float, error: float) -> float | None:
    if power == 0:
        return None
    return float(10 * np.log10(power / error)) if error > 0 else float("inf")
