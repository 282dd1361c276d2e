"""What the model itself says of a quantized one: its predictions, its layers, its samples."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arrow_quant_v2._core import CancelToken
from arrow_quant_v2.calibration.hooks import evaluating
from arrow_quant_v2.calibration.scheduler_config import scheduler_file
from arrow_quant_v2.errors import ConfigurationError
from arrow_quant_v2.runs import ProgressCallback
from arrow_quant_v2.with_model.calls import CallOptions, Inputs, ModelCalls, model_calls
from arrow_quant_v2.with_model.judge import Judge
from arrow_quant_v2.with_model.judgement import known_or_none
from arrow_quant_v2.with_model.layer_outputs import output_errors
from arrow_quant_v2.with_model.path_kl import (
    noise_per_prediction,
    prediction_type,
    step_weights,
    unmasking_weights,
)
from arrow_quant_v2.with_model.prediction import prediction_of
from arrow_quant_v2.with_model.quantized_copy import QuantizedCopy
from arrow_quant_v2.with_model.step_sums import StepSums, mean_over_steps
from arrow_quant_v2.with_model.time_grouping import begins_of, uniform_begins

GROUPS = 5  # of steps, where the model has none
QUARTER = 4


def validate_with_model(
    model: Any,
    original_path: Path,
    quantized_path: Path,
    inputs: Inputs | None,
    calibration: str | os.PathLike[str] | None,
    scheduler: Any,
    sampler: Callable[[Any], Any] | None,
    per_layer_accuracy: dict[str, float],
    progress: ProgressCallback,
    cancel: CancelToken,
) -> dict[str, Any]:
    """Compare a model and its quantized twin on the same inputs.

    Parameters
    ----------
    model : torch.nn.Module
        In full precision.
    original_path, quantized_path : Path
    inputs, calibration
        As `refine` takes them. Of the inputs beside a calibration the held-out trajectories count,
        of those that are given all.
    scheduler : object
        As `collect` takes it; None: that of the original's pipeline.
    sampler : callable(model), optional
        Makes samples, a tensor.
    per_layer_accuracy : dict of str to float
        Cosine similarity of weights.
    progress : callable(str, float)
    cancel : CancelToken
        Looked at before each call of a model, also those of the sampler.

    Returns
    -------
    dict
        The keys that `ArrowQuantV2.validate_quality` adds.
    """

    def report(message: str, fraction: float) -> None:
        cancel.check()
        progress(message, fraction)

    if scheduler is None and scheduler_file(original_path) is not None:
        scheduler = original_path
    report("reading the inputs", 0.0)
    calls = model_calls(model, inputs, calibration, CallOptions(scheduler=scheduler))
    calls.before_run = cancel.check
    judge = Judge(model, calls, held_out_only=inputs is None and calls.num_held_out > 0)
    quantized = QuantizedCopy(model, quantized_path)
    report("comparing predictions", 0.0)
    sums = judge.sums(quantized.model)
    found = _predictions(judge, sums) | _path_kl(calls, sums, scheduler)
    errors = output_errors(
        model, quantized, judge, lambda f: report("comparing layers", 0.4 + 0.4 * f)
    )
    begins = _begins(calls, quantized)
    found["output_sqnr_db"] = errors.sqnr_db(begins)
    found["output_sqnr_groups"] = _described(calls, begins)
    whole = {name: values[0] for name, values in errors.sqnr_db([0]).items()}
    found["disagreements"] = disagreements(per_layer_accuracy, whole)
    if sampler is not None:
        report("comparing samples", 0.8)
        found["sample_psnr_db"] = _psnr(sampler, model, quantized.model, cancel)
    report("done", 1.0)
    return found


def _predictions(judge: Judge, sums: StepSums) -> dict[str, Any]:
    """Describe the errors of the predictions; of masked text also their divergence."""
    calls = judge.calls
    relative = sums.relative
    per_step = []
    for step in np.flatnonzero(sums.values > 0).tolist():
        entry = {
            "timestep": float(calls.timesteps[step]),
            "log_snr": float(calls.log_snr[step]),
            "relative_error": float(relative[step]),
            "mse": float(sums.error[step] / sums.values[step]),
        }
        if calls.kind == "masked_fraction":
            entry["token_divergence"] = float(sums.of_tokens[step])
        per_step.append(entry)
    found: dict[str, Any] = {
        "noise_prediction_error": known_or_none(mean_over_steps(relative)),
        "noise_prediction_error_per_step": per_step,
        "validated_trajectories": calls.num_trajectories
        if not judge.held_out_only
        else calls.num_held_out,
    }
    if calls.kind == "masked_fraction":
        found["token_divergence"] = known_or_none(mean_over_steps(sums.of_tokens))
    return found


def _path_kl(calls: ModelCalls, sums: StepSums, scheduler: Any) -> dict[str, Any]:
    """Return the divergence of the paths, in nats of a sample; None and why where not known."""
    if (sums.samples == 0).any():
        return {"path_kl": None, "path_kl_reason": "some steps have no trajectory to validate on"}
    if calls.kind == "masked_fraction":
        per_sample = sums.divergence / sums.samples
        total = float((unmasking_weights(calls.timesteps) * per_sample).sum())
        return {"path_kl": total, "path_kl_reason": ""}
    if calls.kind == "none" or not calls.known_levels:
        return {
            "path_kl": None,
            "path_kl_reason": "the noise levels are not known: pass scheduler=",
        }
    kind = "flow" if "Flow" in calls.schedule else "epsilon"
    if scheduler is not None:
        kind = prediction_type(scheduler)
    per_sample = sums.error / sums.samples * noise_per_prediction(kind, calls.log_snr)
    return {
        "path_kl": float((step_weights(calls.log_snr) * per_sample).sum()),
        "path_kl_reason": "",
    }


def _begins(calls: ModelCalls, quantized: QuantizedCopy) -> list[int]:
    """Return the first step of each group: the quantized model's, else of five even ones."""
    if quantized.time_groups is not None:
        begins = begins_of(calls, quantized.time_groups)
        if begins is not None:
            return begins
    steps = len(calls.timesteps)
    enough = [set(range(steps)) for _ in range(steps)]
    return uniform_begins(calls.log_snr, np.full(steps, 64.0), enough, GROUPS)


def _described(calls: ModelCalls, begins: list[int]) -> list[dict[str, float]]:
    ends = [*begins[1:], len(calls.timesteps)]
    return [
        {
            "first_timestep": float(calls.timesteps[begin]),
            "last_timestep": float(calls.timesteps[end - 1]),
        }
        for begin, end in zip(begins, ends, strict=True)
    ]


def disagreements(cosines: dict[str, float], sqnr_db: dict[str, float | None]) -> list[str]:
    """Say which layers are among the best by their weights and the worst by outputs, or reverse.

    Parameters
    ----------
    cosines : dict of str to float
        Cosine similarity of the weights of each layer.
    sqnr_db : dict of str to float or None
        Of the outputs, in dB.

    Returns
    -------
    list of str
        A sentence for each such layer; the best and the worst are a quarter each.
    """
    names = [name for name in sqnr_db if sqnr_db[name] is not None and name in cosines]
    quarter = len(names) // QUARTER
    if quarter == 0:
        return []
    by_weight = sorted(names, key=lambda name: -cosines[name])
    by_output = sorted(names, key=lambda name: -(sqnr_db[name] or 0.0))
    found = []
    for name in names:
        for one, other, words in (
            (by_weight[:quarter], by_output[-quarter:], ("best", "worst")),
            (by_weight[-quarter:], by_output[:quarter], ("worst", "best")),
        ):
            if name in one and name in other:
                found.append(
                    f"{name}: by the cosine similarity of its weights, {cosines[name]:.4f}, it is "
                    f"in the {words[0]} quarter of {len(names)} layers, by the error of its "
                    f"outputs, {sqnr_db[name]:.1f} dB, in the {words[1]}; trust the outputs"
                )
    return found


def _psnr(sampler: Callable[[Any], Any], model: Any, quantized: Any, cancel: CancelToken) -> float:
    """Return 10·log10(range² / mean square difference) of samples from the same seed."""
    samples = []
    for network in (model, quantized):
        with evaluating(network), torch.random.fork_rng():
            torch.manual_seed(0)
            hook = network.register_forward_pre_hook(lambda module, args: cancel.check())
            try:
                made = sampler(network)
            finally:
                hook.remove()
        if made is None:
            raise ConfigurationError("sampler returned None: it must return samples, a tensor")
        made = prediction_of(made, None) if not hasattr(made, "__array__") else made
        samples.append(torch.as_tensor(made).detach().double().cpu())
    exact, other = samples
    if exact.shape != other.shape:
        raise ConfigurationError(
            f"sampler made samples of shape {list(exact.shape)} with the original and of "
            f"{list(other.shape)} with the quantized model: it must make as many each time"
        )
    spread = float(exact.max() - exact.min())
    difference = float((other - exact).square().mean())
    if difference == 0:
        return math.inf
    return 10 * math.log10(spread**2 / difference) if spread > 0 else -math.inf
