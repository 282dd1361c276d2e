"""refine: corrects the biases of a quantized model, with the model at hand."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from arrow_quant_v2.calibration.require import require
from arrow_quant_v2.errors import ConfigurationError
from arrow_quant_v2.runs import ProgressCallback


def refine(
    model: Any,
    quantized_path: str | os.PathLike[str],
    inputs: Iterable[Mapping[str, Any]] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    component: str | None = None,
    num_time_groups: int = 10,
    calibration: str | os.PathLike[str] | None = None,
    scheduler: Any = None,
    beta_schedule: str | None = None,
    guidance_branches: int | None = None,
    smaller_is_noisier: bool | None = None,
    mask_token_id: int | None = None,
    progress_callback: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Correct the biases of a quantized model, where that lowers the error of its predictions.

    The model and its quantized twin run side by side. In the order of the forward pass each
    quantized layer gets what its output lacks on average, so that the layers after it are judged by
    inputs as they will be. What was found is kept as one correction for all times, or one per group
    of timesteps, if the error of predictions on held-out trajectories falls by 1 %; more groups
    only if it falls by that much again. All corrections take at most 0.1 bit per weight together.

    Parameters
    ----------
    model : torch.nn.Module
        In full precision; it is left as it was. Its quantized twin takes as much memory again.
    quantized_path : str or os.PathLike
        What a quantization of this model made.
    inputs : iterable of mapping, optional
        The arguments of the model's calls, as `collect` takes them; they are gone through several
        times. By default those that `collect` kept beside `calibration`.
    out : str or os.PathLike, optional
        The directory to make. By default the model at `quantized_path` is replaced, in one step.
    component : str, optional
        The part of a pipeline that the model is; found out where only one fits.
    num_time_groups : int
        The most groups of timesteps, 1 … 256.
    calibration : str or os.PathLike, optional
        A calibration file: says how trajectories and noise levels are told, where nothing else
        does.
    scheduler, beta_schedule, guidance_branches, smaller_is_noisier, mask_token_id
        As in `collect`.
    progress_callback : callable(str, float), optional
        Gets a message and a fraction, 0 … 1. What it raises before 1 stops the work; nothing is
        changed then.

    Returns
    -------
    dict
        ``path`` (str), ``accepted`` (bool) and ``reason`` (str, why not), ``groups`` (of
        timesteps, 0 where nothing was accepted), ``corrected_layers``, ``error_before`` and
        ``error_after`` (on held-out trajectories, the mean over steps; ``error_words`` says of
        what), ``candidates`` (list of dict: ``name``, ``groups``, ``error_before``,
        ``error_after``, ``standard_error`` of their relative difference, ``accepted``,
        ``bits_per_weight``), ``bits_per_weight_before`` and ``bits_per_weight_after`` (stored bits
        of the quantized tensors), ``num_trajectories``, ``held_out_trajectories``.

    Raises
    ------
    ConfigurationError
        If there are no inputs, or arguments contradict each other or the model.
    ModelNotFoundError
        If there is no quantized model.
    MetadataError, ShapeMismatchError
        If it is not that of this model.
    ImportError
        If torch is missing.

    Examples
    --------
    >>> from arrow_quant_v2.calibration import refine
    >>> result = refine(pipe.transformer, "digits-int2", calibration="digits.parquet")
    >>> result["accepted"], result["groups"]
    (True, 1)
    """
    require("torch", "Refining a quantized model")
    from arrow_quant_v2.with_model.calls import CallOptions, model_calls
    from arrow_quant_v2.with_model.judge import Judge
    from arrow_quant_v2.with_model.quantized_copy import QuantizedCopy
    from arrow_quant_v2.with_model.refinement import Refinement
    from arrow_quant_v2.with_model.time_grouping import MAX_GROUPS

    groups = num_time_groups
    is_integer = isinstance(groups, int | np.integer) and not isinstance(groups, bool)
    if not is_integer or not 1 <= groups <= MAX_GROUPS:
        raise ConfigurationError(
            f"num_time_groups = {num_time_groups!r}: must be an integer from 1 to {MAX_GROUPS}"
        )
    options = CallOptions(
        guidance_branches, smaller_is_noisier, mask_token_id, scheduler, beta_schedule
    )
    calls = model_calls(model, inputs, calibration, options)
    quantized = QuantizedCopy(model, quantized_path, component)
    report = progress_callback or (lambda message, fraction: None)
    refinement = Refinement(model, quantized, Judge(model, calls), report)
    result = refinement.run(Path(quantized_path if out is None else out), num_time_groups)
    report("done", 1.0)
    return result
