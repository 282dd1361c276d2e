"""collect: runs a model, watches its layers, and writes a calibration file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from arrow_quant_v2.calibration.layers import LayerChoice
from arrow_quant_v2.calibration.noise_levels import noise_levels
from arrow_quant_v2.calibration.pipeline import denoiser_of, is_pipeline, others_like, run_pipeline
from arrow_quant_v2.calibration.require import require, require_model
from arrow_quant_v2.calibration.run import CollectionRun, RunOptions
from arrow_quant_v2.errors import ConfigurationError
from arrow_quant_v2.runs import ProgressCallback


def collect(
    model: Any,
    inputs: Iterable[Mapping[str, Any]] | None = None,
    *,
    out: str | os.PathLike[str] = "calibration.parquet",
    sampler: Callable[[Any], object] | None = None,
    prompts: Sequence[Any] | None = None,
    steps: int = 50,
    samples: int = 128,
    layers: LayerChoice | None = None,
    rows_per_step: int = 16,
    validation_rows_per_step: int = 8,
    hessian: bool = True,
    seed: int = 0,
    guidance_branches: int | None = None,
    smaller_is_noisier: bool | None = None,
    first_trajectory: int = 0,
    scheduler: Any = None,
    beta_schedule: str | None = None,
    mask_token_id: int | None = None,
    max_memory_mb: int = 4096,
    keep_inputs: bool = True,
    share_inputs: bool = True,
    progress_callback: ProgressCallback | None = None,
    resume: bool = True,
    component: str | None = None,
) -> dict[str, Any]:
    """Collect what the inputs of a model's layers look like in the course of sampling.

    Parameters
    ----------
    model : torch.nn.Module or diffusers.DiffusionPipeline
        In full precision: float32, float16 or bfloat16, on any device.
    inputs : iterable of mapping, optional
        The keyword arguments of one call of the model after the other; positional ones are a tuple
        under the key "args". A position in the batch is a trajectory. A call whose timestep is
        noisier than that of the call before, or whose batch has another size, begins new ones; one
        with the same timestep is another guidance branch, or a corrector.
    out : str or os.PathLike
        The file to write; see CALIBRATION.md for what it holds.
    sampler : callable, optional
        In place of `inputs`: is called with the model, and runs it as it likes.
    prompts : sequence, optional
        Of a pipeline: texts; where it is made for classes, their numbers or names. They are
        repeated until there are as many as `samples`.
    steps, samples : int
        Of a pipeline: sampling steps, and trajectories.
    layers : callable(name, module) or list of str, optional
        Which linear layers and convolutions to watch; texts are regular expressions that are
        searched in the name. By default those with 16,384 weights and 32 channels, or more.
    rows_per_step, validation_rows_per_step : int
        Rows stored per layer and step, of calibrating and of held-out trajectories.
    hessian : bool
        Whether to sum XᵀX, which takes 2·cols² bytes per layer in the file, and twice that while
        collecting. A convolution sums at most 4,096 output positions of a call.
    seed : int
        Decides which rows are stored, and the noise of a pipeline.
    guidance_branches : int, optional
        How many branches lie in one batch, one after the other; found out for pipelines.
    smaller_is_noisier : bool, optional
        Whether the timestep rises from noise to result; found out for pipelines, otherwise False.
    first_trajectory : int
        Number of the first, so that files from several runs can be merged.
    scheduler : object, mapping, str or os.PathLike, optional
        Where log-SNR comes from: a diffusers scheduler, its config or its folder; a pipeline has
        its own.
    beta_schedule : str, optional
        "linear" or "cosine", where there is no scheduler.
    mask_token_id : int, optional
        Of a text model without a timestep; by default that of its config.
    max_memory_mb : int
        Sums beyond it lie in mapped files beside `out`. In MiB.
    keep_inputs : bool
        Whether to store the calls' arguments beside `out`, up to 256 MiB, for `load_inputs`.
    share_inputs : bool
        Whether layers that get the same tensor are collected once.
    progress_callback : callable(str, float), optional
        Gets a message and a fraction, 0 … 1. What it raises stops the collection.
    resume : bool
        Whether to go on where an interrupted collection with the same settings stopped.
    component : str, optional
        The model's subfolder in its pipeline, "transformer"; of a pipeline that has several, which
        one to collect.

    Returns
    -------
    dict
        ``path`` and ``inputs_path`` (str; the latter None where none were kept), ``component``,
        ``num_trajectories``, ``num_calls``, ``num_layers``, ``num_aliases`` (those among them that
        share another's input), ``num_steps``, ``guidance_branches``, ``schedule`` (where log-SNR
        came from), ``hessian_bytes`` (of XᵀX in the file), ``file_bytes``, ``mapped_bytes`` (of
        sums that did not fit in memory), ``resumed_calls``, and ``warnings`` (list of str).

    Raises
    ------
    ConfigurationError
        If arguments contradict each other or the model.
    QuantizationError
        If an input is not finite, or layers that shared their input stop doing so.
    ImportError
        If torch is missing.

    Notes
    -----
    After Ctrl-C, or whatever else stops it between two calls of the model, a folder beside `out`
    keeps what was collected, and the same call of `collect` goes on from there.
    """
    require("torch", "Collecting calibration data")
    if not is_pipeline(model):
        require_model(model)
        if prompts is not None:
            raise ConfigurationError(
                f"prompts are for pipelines, and model is a {type(model).__name__}: pass a "
                "diffusers pipeline, or inputs= or sampler= in their place"
            )
    _check(inputs, sampler, is_pipeline(model))
    options = RunOptions(
        out=Path(out),
        layers=layers,
        rows_per_step=at_least("rows_per_step", rows_per_step),
        validation_rows_per_step=at_least("validation_rows_per_step", validation_rows_per_step, 0),
        hessian=hessian,
        seed=seed,
        guidance_branches=guidance_branches and at_least("guidance_branches", guidance_branches),
        smaller_is_noisier=smaller_is_noisier,
        first_trajectory=at_least("first_trajectory", first_trajectory, 0),
        mask_token_id=mask_token_id,
        max_memory_mb=at_least("max_memory_mb", max_memory_mb, 0),
        keep_inputs=keep_inputs,
        share_inputs=share_inputs,
        progress_callback=progress_callback,
        resume=resume,
        component=component or "",
        how={},
    )
    if is_pipeline(model):
        options.component, denoiser = denoiser_of(model, component)
        levels = noise_levels(scheduler or model.scheduler, beta_schedule)
        options.how = {
            "steps": at_least("steps", steps),
            "samples": at_least("samples", samples),
            "prompts": None if prompts is None else [str(prompt) for prompt in prompts],
        }
        run = CollectionRun(denoiser, options, levels)
        if others := others_like(model, options.component):
            run.warn(f"not collected: {', '.join(others)}; collect again with component=")
        return run.collect(lambda: run_pipeline(model, run, prompts, steps, samples, seed))
    run = CollectionRun(model, options, noise_levels(scheduler, beta_schedule))
    run.levels_are_assumed = scheduler is None and beta_schedule is None
    if sampler is not None:
        chosen = sampler
        return run.collect(lambda: chosen(model))
    return run.collect(lambda: run.call_with(inputs or ()))


def _check(inputs: object, sampler: object, pipeline: bool) -> None:
    given = [n for n, v in (("inputs", inputs), ("sampler", sampler)) if v is not None]
    if pipeline and given:
        raise ConfigurationError(
            f"{given[0]}: a pipeline runs itself; leave it out, or pass the pipeline's transformer "
            "or unet as the model"
        )
    if not pipeline and len(given) != 1:
        raise ConfigurationError(
            f"inputs and sampler: {len(given)} of them are given; pass one, the arguments of the "
            "model's calls or a function that runs it"
        )


def at_least(name: str, value: int, least: int = 1) -> int:
    """Return an option's value if it is an integer of at least `least`.

    Raises
    ------
    ConfigurationError
        Otherwise; names the option.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{name} = {value!r}: must be an integer of at least {least}")
    return value
