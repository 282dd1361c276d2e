"""From timesteps to log-SNR, by the model's scheduler or an assumed one."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrow_quant_v2.calibration.require import require
from arrow_quant_v2.calibration.scheduler_config import (
    NAME,
    entry,
    is_flow,
    read_scheduler_config,
)
from arrow_quant_v2.errors import ConfigurationError

Floats = NDArray[np.float64]

LIMIT = 20.0  # of |log-SNR|: pure noise and none have no finite one
ASSUMED_STEPS = 1000


class NoiseLevels:
    """How noisy a sample is at a timestep; larger timesteps are noisier, unless it is said.

    Attributes
    ----------
    schedule : str
        Where the levels came from.
    """

    def __init__(
        self, schedule: str, log_snr: Callable[[Floats, bool], Floats], last: float = 0.0
    ) -> None:
        self.schedule = schedule
        self._log_snr = log_snr
        self._last = last  # the noisiest timestep, unless they are fractions

    def log_snr_of(
        self, all_times: Floats, smaller_is_noisier: bool = False
    ) -> Callable[[Floats], Floats]:
        """Return the function from timesteps to ln(ᾱ / (1 − ᾱ)), cut off at ±20.

        Parameters
        ----------
        all_times : ndarray of float64
            All timesteps of a collection: if none is above 1, and some are fractions, they are
            parts of the whole time.
        smaller_is_noisier : bool
            Whether the model is given the time that has passed instead of that to come.
        """
        fractions = _are_fractions(all_times)
        whole = 1.0 if fractions else self._last

        def log_snr(times: Floats) -> Floats:
            if smaller_is_noisier:
                times = whole - times
            with np.errstate(divide="ignore", over="ignore"):
                levels: Floats = np.clip(self._log_snr(times, fractions), -LIMIT, LIMIT)
                return levels

        return log_snr


def noise_levels(scheduler: Any = None, beta_schedule: str | None = None) -> NoiseLevels:
    """Find the noise levels.

    Parameters
    ----------
    scheduler : object, mapping, str or os.PathLike, optional
        A diffusers scheduler, its config, or the file or folder with its config.
    beta_schedule : str, optional
        "linear" or "cosine", over 1000 steps, where there is no scheduler.

    Raises
    ------
    ConfigurationError
        If the scheduler is of a kind without known noise levels.
    """
    if scheduler is None:
        return _assumed(beta_schedule)
    if isinstance(scheduler, str | os.PathLike):
        scheduler = _read_config(Path(scheduler))
    if isinstance(scheduler, Mapping):
        scheduler = _from_config(scheduler)
    name = type(scheduler).__name__
    config = getattr(scheduler, "config", {})
    total = int(entry(config, "num_train_timesteps", ASSUMED_STEPS))
    if "EDM" in name or name == "CosineDPMSolverMultistepScheduler":
        return NoiseLevels(name, lambda times, _: -8 * times)  # c_noise = ln(σ) / 4
    if is_flow(name, config):
        return NoiseLevels(name, lambda times, fractions: _of_flow(times, fractions, total), total)
    alpha_bar = _alphas_cumprod(scheduler)
    if alpha_bar is not None:
        return _from_alphas(name, alpha_bar)
    raise ConfigurationError(
        f"scheduler: the noise levels of {name} are not known; pass a scheduler with "
        "alphas_cumprod or of flow matching, or beta_schedule='linear' or 'cosine' without one"
    )


def of_masked_fraction(times: Floats) -> Floats:
    """Return the logit of the unmasked fraction, cut off at ±20."""
    with np.errstate(divide="ignore"):
        levels: Floats = np.clip(np.log(1 - times) - np.log(times), -LIMIT, LIMIT)
        return levels


def of_sigma(times: Floats) -> Floats:
    """Return log-SNR of x + σ·noise, −2·ln σ, cut off at ±20."""
    with np.errstate(divide="ignore"):
        levels: Floats = np.clip(-2 * np.log(times), -LIMIT, LIMIT)
        return levels


def _assumed(beta_schedule: str | None) -> NoiseLevels:
    name = beta_schedule or "linear"
    if name == "linear":
        alpha_bar = _linear_alphas()
    elif name == "cosine":
        alpha_bar = _cosine_alphas()
    else:
        raise ConfigurationError(
            f"beta_schedule = {beta_schedule!r}: allowed are 'linear' and 'cosine'; other "
            "schedules are read from scheduler="
        )
    label = f"{name} betas over {ASSUMED_STEPS} steps"
    schedule = label if beta_schedule else f"assumed: {label}"
    return _from_alphas(schedule, alpha_bar)


def _from_alphas(schedule: str, alpha_bar: Floats) -> NoiseLevels:
    return NoiseLevels(
        schedule,
        lambda times, fractions: _of_alphas(times, fractions, alpha_bar),
        len(alpha_bar) - 1,
    )


def _linear_alphas() -> Floats:
    # Ho, Jain and Abbeel, "Denoising diffusion probabilistic models", 2020, section 4.
    betas = np.asarray(np.linspace(1e-4, 0.02, ASSUMED_STEPS), np.float64)
    alphas: Floats = np.cumprod(1 - betas, dtype=np.float64)
    return alphas


def _cosine_alphas() -> Floats:
    # Nichol and Dhariwal, "Improved denoising diffusion probabilistic models", 2021, eq. 17.
    t = np.arange(ASSUMED_STEPS + 1) / ASSUMED_STEPS
    curve = np.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    betas = np.minimum(1 - curve[1:] / curve[:-1], 0.999)
    alphas: Floats = np.cumprod(1 - betas, dtype=np.float64)
    return alphas


def _of_alphas(times: Floats, fractions: bool, alpha_bar: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        levels = np.clip(np.log(alpha_bar) - np.log1p(-alpha_bar), -LIMIT, LIMIT)
    scaled = times * (len(levels) - 1) if fractions else times
    found: Floats = np.interp(scaled, np.arange(len(levels)), levels)
    return found


def _of_flow(times: Floats, fractions: bool, total: int) -> Floats:
    # x = (1 − σ)·x0 + σ·noise, and the timestep is σ, or σ times the number of training steps.
    sigma = np.clip(times if fractions else times / total, 0, 1)
    levels: Floats = 2 * (np.log(1 - sigma) - np.log(sigma))
    return levels


def _are_fractions(times: Floats) -> bool:
    return bool(times.max(initial=0.0) <= 1 and np.any(times != np.round(times)))


def _alphas_cumprod(scheduler: Any) -> Floats | None:
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if alphas is None and getattr(scheduler, "betas", None) is not None:
        alphas = np.cumprod(1 - np.asarray(scheduler.betas, np.float64))
    return None if alphas is None else np.asarray(alphas, np.float64).reshape(-1)


def _read_config(path: Path) -> Mapping[str, Any]:
    config = read_scheduler_config(path)
    if config is None:
        raise ConfigurationError(
            f"scheduler = '{path}': there is no {NAME} in it; give the folder of a diffusers "
            "pipeline or of its scheduler"
        )
    return config


def _from_config(config: Mapping[str, Any]) -> Any:
    # The config of a scheduler in memory does not name its class.
    alike = "DDPMScheduler" if "beta_schedule" in config else "FlowMatchEulerDiscreteScheduler"
    name = config.get("_class_name", alike)
    diffusers = require("diffusers", "Reading a scheduler's config")
    kind = getattr(diffusers, str(name), None)
    if kind is None or not hasattr(kind, "from_config"):
        raise ConfigurationError(
            f"scheduler: its config has _class_name = {name!r}, which diffusers "
            f"{diffusers.__version__} does not have; pass the scheduler object"
        )
    return kind.from_config(dict(config))
