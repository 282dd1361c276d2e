"""Estimates by how much the outputs of quantized layers are off, in the order of the forward pass.

Each layer is corrected as soon as it is reached, so that the layers after it see inputs as they
will be: a bias that is right for exact inputs may be wrong for those of a quantized model.
"""

# torch is nothing but Any where its types are left out.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from arrow_quant_v2.calibration.hooks import evaluating
from arrow_quant_v2.with_model.calls import ModelCalls, PlacedCall
from arrow_quant_v2.with_model.quantized_copy import QuantizedCopy


@dataclass
class LayerShift:
    """What is lacking in a layer's output on average, step by step.

    Attributes
    ----------
    weight_name : str
        Of the tensor in the files; modules that share it share this.
    sums : ndarray of float32, [steps, out]
        Mean lack of each call, times its rows, summed.
    rows : ndarray of float64, [steps]
        Calibrating rows.
    power : float
        Sum over the channels of the exact output's mean squares, times rows; with `rows.sum()` the
        mean power of a row.
    cols : int
        Columns of the weight.
    """

    weight_name: str
    sums: NDArray[np.float32]
    rows: NDArray[np.float64]
    power: float
    cols: int

    @property
    def out(self) -> int:
        """Output channels."""
        return self.sums.shape[1]


@dataclass
class _Means:
    """Of one use of a layer: by step, mean output [out] and rows that it is the mean of."""

    of_step: dict[int, tuple[Tensor, int]]
    power: float  # of a row, mean


def estimate_shifts(
    model: Any,
    quantized: QuantizedCopy,
    calls: ModelCalls,
    from_outputs: bool,
    progress: Callable[[float], object],
) -> dict[str, LayerShift]:
    """Run the quantized model over the calibrating trajectories, with the original beside it.

    Parameters
    ----------
    model : torch.nn.Module
        In full precision.
    quantized : QuantizedCopy
        Its corrections are left out meanwhile, and afterwards.
    calls : ModelCalls
    from_outputs : bool
        Whether an output lacks what it has less than in the original model, which makes up for
        earlier layers, too; otherwise what it has less than the exact layer with the same input,
        which depends less on the trajectories at hand.
    progress : callable(float)
        Gets a fraction, 0 … 1.

    Returns
    -------
    dict of str to LayerShift
        By the name of the weight; layers that no call uses are not in it.
    """
    quantized.with_biases({}, None)
    shifts: dict[str, LayerShift] = {}
    with evaluating(model), evaluating(quantized.model):
        for number, call in enumerate(calls):
            progress(number / len(calls))
            if call.held_out.all():
                continue
            exact = _original_means(model, quantized, calls, call) if from_outputs else None
            _correct_in_order(model, quantized, calls, call, exact, shifts)
    return shifts


def _original_means(
    model: Any, quantized: QuantizedCopy, calls: ModelCalls, call: PlacedCall
) -> dict[str, list[_Means]]:
    """Return the means of the layers' outputs in the original model, of each use in this call."""
    means: dict[str, list[_Means]] = {name: [] for name in quantized.layers}

    def note(name: str) -> Callable[..., None]:
        return lambda module, _, output: means[name].append(
            _means_of(by_entry(module, output), call)
        )

    with ExitStack() as hooks:
        for name in quantized.layers:
            handle = model.get_submodule(name).register_forward_hook(note(name))
            hooks.callback(handle.remove)
        calls.run(model, call)
    return means


def _correct_in_order(
    model: Any,
    quantized: QuantizedCopy,
    calls: ModelCalls,
    call: PlacedCall,
    exact: dict[str, list[_Means]] | None,
    shifts: dict[str, LayerShift],
) -> None:
    """Run the quantized model, correcting each layer when it is reached, and sum what it took.

    `exact` are the means to be reached; None: those of the exact layer with the same input.
    """
    uses = dict.fromkeys(quantized.layers, 0)

    def wanted(name: str, args: Any, kwargs: Any) -> _Means | None:
        if exact is None:
            original = model.get_submodule(name)
            output = type(original).forward(original, *args, **kwargs)
            return _means_of(by_entry(original, output), call)
        use = uses[name]
        uses[name] += 1
        return exact[name][use] if use < len(exact[name]) else None

    def correct(name: str) -> Callable[..., Tensor | None]:
        def hook(module: Any, args: Any, kwargs: Any, output: Tensor) -> Tensor | None:
            means = wanted(name, args, kwargs)
            if means is None:
                return None
            entries = by_entry(module, output)
            if module._name not in shifts:
                shifts[module._name] = _no_shift(module, calls, entries)
            shift, lacking = shifts[module._name], {}
            for step, (mean, rows) in _means_of(entries, call).of_step.items():
                lacking[step] = means.of_step[step][0] - mean
                shift.sums[step] += (lacking[step] * rows).cpu().numpy()
                shift.rows[step] += rows
                shift.power += means.power * rows
            return _shifted(module, output, lacking, call)

        return hook

    with ExitStack() as hooks:
        for name, layer in quantized.layers.items():
            handle = layer.register_forward_hook(correct(name), with_kwargs=True)
            hooks.callback(handle.remove)
        calls.run(quantized.model, call)


def _no_shift(layer: Any, calls: ModelCalls, entries: Tensor) -> LayerShift:
    steps, out = len(calls.timesteps), entries.shape[-1]
    cols = int(np.prod(layer.weight_shape[1:]))
    return LayerShift(layer._name, np.zeros((steps, out), np.float32), np.zeros(steps), 0.0, cols)


def by_entry(module: Any, output: Tensor) -> Tensor:
    """See a layer's output as [entries, positions, out], entries along its first axis."""
    if isinstance(module, nn.Linear):
        output = output if output.dim() > 1 else output[None]
        return output.reshape(output.shape[0], -1, output.shape[-1])
    axes = len(module.kernel_size)
    output = output if output.dim() == axes + 2 else output[None]
    return output.flatten(2).transpose(1, 2)


def entry_positions(
    entries: int, call: PlacedCall, counted: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the position in the batch of each entry of a first axis.

    A multiple of the batch lies batch by batch. Anything else goes with all positions alike, and
    counts as the first one's that is counted.
    """
    if entries % call.batch == 0:
        return np.arange(entries) // (entries // call.batch)
    return np.full(entries, int(np.argmax(counted)))


def _entry_steps(entries: int, call: PlacedCall) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the step of each entry of a first axis, and whether it is calibrating."""
    calibrating = ~call.held_out
    position = entry_positions(entries, call, calibrating)
    return call.step[position], calibrating[position]


def _means_of(entries: Tensor, call: PlacedCall) -> _Means:
    steps, counted = _entry_steps(entries.shape[0], call)
    values = entries.float()
    of_entry = values.mean(dim=1)
    means = {}
    for step in np.unique(steps[counted]).tolist():
        picked = torch.from_numpy(np.flatnonzero(counted & (steps == step))).to(of_entry.device)
        means[step] = of_entry[picked].mean(dim=0), len(picked) * entries.shape[1]
    return _Means(means, float(values.square().sum(-1).mean()))


def _shifted(module: Any, output: Tensor, lacking: dict[int, Tensor], call: PlacedCall) -> Tensor:
    """Add to each entry of a layer's output what its step lacks."""
    axes = 0 if isinstance(module, nn.Linear) else len(module.kernel_size)
    batched = output.dim() > 1 + axes
    steps, _ = _entry_steps(output.shape[0] if batched else 1, call)
    channels = output.shape[-1 - axes]
    nothing = torch.zeros(channels, device=output.device)
    shift = torch.stack([lacking.get(step, nothing) for step in steps.tolist()])
    if not batched:
        return output + shift[0].reshape(-1, *[1] * axes).to(output.dtype)
    between = output.dim() - 2 - axes
    shape = (len(shift), *[1] * between, channels, *[1] * axes)
    return output + shift.reshape(shape).to(output.dtype)
