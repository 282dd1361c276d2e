"""Runs a diffusers pipeline for as many samples as are asked for."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from arrow_quant_v2.calibration.row_keys import sample_hashes
from arrow_quant_v2.errors import ConfigurationError

if TYPE_CHECKING:
    from arrow_quant_v2.calibration.run import CollectionRun

BATCH = 8  # trajectories that run side by side
_DENOISERS = ("transformer", "unet")


def is_pipeline(model: Any) -> bool:
    """Return whether a model is a diffusers pipeline."""
    return hasattr(model, "components") and hasattr(model, "scheduler") and callable(model)


def denoiser_of(pipe: Any, component: str | None = None) -> tuple[str, Any]:
    """Return name and module of what a pipeline denoises with.

    Parameters
    ----------
    pipe : diffusers.DiffusionPipeline
    component : str, optional
        Its name, where the pipeline has several ("transformer_2").

    Raises
    ------
    ConfigurationError
        If there is none of that name, or of a known one.
    """
    if component is not None and getattr(pipe, component, None) is None:
        raise ConfigurationError(
            f"component = {component!r}: {type(pipe).__name__} has {sorted(pipe.components)}"
        )
    for name in _DENOISERS if component is None else (component,):
        module = getattr(pipe, name, None)
        if module is not None:
            return name, module
    raise ConfigurationError(
        f"model: {type(pipe).__name__} has neither a transformer nor a unet among "
        f"{sorted(pipe.components)}; pass the model itself, with sampler="
    )


def others_like(pipe: Any, component: str) -> list[str]:
    """Return further denoisers, which a collection of `component` leaves out."""
    pattern = re.compile(f"({'|'.join(_DENOISERS)})(_[0-9]+)?")
    return [
        name
        for name, module in pipe.components.items()
        if module is not None and name != component and pattern.fullmatch(name)
    ]


def run_pipeline(
    pipe: Any,
    run: CollectionRun,
    prompts: Sequence[Any] | None,
    steps: int,
    samples: int,
    seed: int,
) -> None:
    """Sample from a pipeline, in batches whose noise depends on the seed and their number alone.

    Raises
    ------
    ConfigurationError
        If the pipeline needs prompts, or takes none.
    """
    import torch

    accepted = inspect.signature(pipe.__call__).parameters
    denoiser = run.model
    first = run.collector.settings.first_trajectory
    given = _conditions(pipe, denoiser, accepted, prompts, samples, seed)
    with _quiet(pipe):
        for start in range(0, samples, BATCH):
            size = min(BATCH, samples - start)
            run.report(f"sampling trajectories {start + 1} to {start + size}", start / samples)
            if not run.begin_set(size):
                continue
            numbers = np.arange(first + start, first + start + size)
            generators = [torch.Generator().manual_seed(s) for s in _seeds(seed, numbers)]
            chosen = {name: values[start : start + size] for name, values in given.items()}
            if "class_labels" in chosen:
                _sample_classes(pipe, denoiser, chosen["class_labels"], steps, generators)
                continue
            arguments: dict[str, Any] = {"num_inference_steps": steps, "generator": generators}
            if chosen:
                arguments.update(chosen)
            else:
                arguments["batch_size"] = size
            arguments["output_type"] = "latent"
            pipe(**{name: value for name, value in arguments.items() if name in accepted})


def _conditions(
    pipe: Any, denoiser: Any, accepted: Any, prompts: Any, samples: int, seed: int
) -> dict[str, list[Any]]:
    """Return what each sample is made for, by the name of the pipeline's argument."""
    name = type(pipe).__name__
    if prompts is not None and (isinstance(prompts, str) or len(prompts) == 0):
        raise ConfigurationError(f"prompts = {prompts!r}: give a list of at least one")
    if "class_labels" in accepted:
        classes = int(denoiser.config.num_embeds_ada_norm)
        labels = _labels(pipe, prompts, classes, seed)
        return {"class_labels": [labels[i % len(labels)] for i in range(samples)]}
    if "prompt" in accepted:
        if prompts is None:
            raise ConfigurationError(
                f"prompts: {name} needs some; 32 to 128 of those that the model is meant for do"
            )
        return {"prompt": [str(prompts[i % len(prompts)]) for i in range(samples)]}
    if prompts is not None:
        raise ConfigurationError(f"prompts: {name} takes none; leave them out")
    if "batch_size" not in accepted:
        raise ConfigurationError(
            f"model: how to run {name} is not known; pass its transformer or unet, with sampler= a "
            "function that runs the pipeline"
        )
    return {}


def _labels(pipe: Any, prompts: Any, classes: int, seed: int) -> list[int]:
    if prompts is None:
        return [int(i) for i in np.random.default_rng(seed).permutation(classes)]
    names = {str(key): int(value) for key, value in pipe.labels.items()}
    labels = []
    for prompt in prompts:
        label = prompt if isinstance(prompt, int | np.integer) else names.get(str(prompt), prompt)
        if isinstance(label, str) and label.isdecimal():
            label = int(label)
        if isinstance(label, str) or not 0 <= int(label) < classes:
            raise ConfigurationError(
                f"prompts: {prompt!r} is no class of {type(pipe).__name__}; allowed are 0 to "
                f"{classes - 1}, and the names in pipe.labels"
            )
        labels.append(int(label))
    return labels


def _sample_classes(
    pipe: Any, denoiser: Any, labels: list[int], steps: int, generators: list[Any]
) -> None:
    """Run the sampling loop of a class-conditional transformer, without decoding.

    Guidance as in "Classifier-free diffusion guidance" (Ho and Salimans, 2022), with the class
    after the last one as the null class.
    """
    import torch

    scheduler, config = pipe.scheduler, denoiser.config
    guidance = inspect.signature(pipe.__call__).parameters["guidance_scale"].default
    size, channels = config.sample_size, config.in_channels
    x = torch.cat([torch.randn((1, channels, size, size), generator=g) for g in generators])
    x = x.to(denoiser.device, denoiser.dtype)
    null = torch.full((len(labels),), config.num_embeds_ada_norm)
    both = torch.cat([torch.tensor(labels), null]).to(denoiser.device)
    scheduler.set_timesteps(steps)
    noise = {}
    if "generator" in inspect.signature(scheduler.step).parameters:
        noise["generator"] = generators
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(torch.cat([x, x]), t)
        time = t.to(denoiser.device).expand(len(scaled))
        output = denoiser(scaled, timestep=time, class_labels=both).sample
        conditional, unconditional = output.chunk(2)
        # Only the noise is guided; a predicted variance comes after it.
        guided = unconditional + guidance * (conditional - unconditional)
        x = scheduler.step(guided[:, :channels], t, x, **noise).prev_sample


def _seeds(seed: int, numbers: Any) -> list[int]:
    zeros = np.zeros(len(numbers))
    hashes = sample_hashes(seed, numbers, zeros, zeros.astype(np.int64))
    return [int(h) >> 1 for h in hashes]


@contextmanager
def _quiet(pipe: Any) -> Iterator[None]:
    """Switch the pipeline's own progress bar off."""
    before = getattr(pipe, "_progress_bar_config", None)
    pipe.set_progress_bar_config(**{**(before or {}), "disable": True})
    try:
        yield
    finally:
        if before is None:
            del pipe._progress_bar_config
        else:
            pipe._progress_bar_config = before
