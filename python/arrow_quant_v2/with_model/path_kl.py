"""How far the whole chain of sampling steps goes off: the divergence of its paths, in nats.

By the chain rule the divergence KL(P ‖ Q) of the paths of two reverse chains is the sum over steps
of what each step adds, on the original's trajectories; by the data-processing inequality it is at
least that of the samples.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrow_quant_v2.calibration.scheduler_config import entry, is_flow, read_scheduler_config

Floats = NDArray[np.float64]


def step_weights(log_snr: Floats) -> Floats:
    """Return λ of each step: the divergence it adds is λ · |ε_p − ε_q|².

    Two Gaussians with the variance σ² of the posterior q(x_s | x_t, x_0), whose means differ as the
    predicted noise does: λ = β² / (2 σ² α (1 − ᾱ_t)), α = ᾱ_t / ᾱ_s, β = 1 − α,
    σ² = β (1 − ᾱ_s) / (1 − ᾱ_t), and σ² = β for the last step, s being the next cleaner step (Ho,
    Jain and Abbeel, "Denoising diffusion probabilistic models", 2020, section 3.2).

    Parameters
    ----------
    log_snr : ndarray of float64, [steps]
        ln(ᾱ / (1 − ᾱ)), rising: from the noisiest step to the cleanest.

    Returns
    -------
    ndarray of float64, [steps]
        0 where a step does not change the noise level.
    """
    signal, noise = _sigmoid(log_snr), _sigmoid(-log_snr)  # ᾱ and 1 − ᾱ
    cleaner_signal = np.append(signal[1:], 1.0)
    cleaner_noise = np.append(noise[1:], 0.0)
    alpha = signal / cleaner_signal
    beta = 1 - alpha
    variance = beta * cleaner_noise / noise
    variance[-1] = beta[-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = beta**2 / (2 * variance * alpha * noise)
    result: Floats = np.where(beta > 0, weights, 0.0)
    return result


def noise_per_prediction(prediction: str, log_snr: Floats) -> Floats:
    """Return |dε|² over |d prediction|² at each step, for the same sample x_t.

    Parameters
    ----------
    prediction : str
        "epsilon"; "sample" of x_0; "v_prediction" of √ᾱ ε − √(1−ᾱ) x_0; "flow" of ε − x_0.
    log_snr : ndarray of float64, [steps]
    """
    if prediction == "sample":
        return np.exp(log_snr)
    if prediction == "v_prediction":
        return _sigmoid(log_snr)
    if prediction == "flow":  # x_t = (1 − σ) x_0 + σ ε
        return _sigmoid(log_snr / 2) ** 2
    return np.ones_like(log_snr)


def unmasking_weights(masked: Floats) -> Floats:
    """Return the probability that a masked token is unmasked at each step.

    Parameters
    ----------
    masked : ndarray of float64, [steps]
        The masked fraction, falling; after the last step nothing is masked.
    """
    after = np.append(masked[1:], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = np.where(masked > 0, (masked - after) / masked, 0.0)
    return result


def prediction_type(scheduler: Any) -> str:
    """Return what a model predicts, as its scheduler has it: one of `noise_per_prediction`'s.

    Parameters
    ----------
    scheduler : object, mapping, str or os.PathLike
        A diffusers scheduler, its config, or the file or folder with its config. What says nothing
        means noise, as in diffusers.
    """
    name, config = "", scheduler
    if isinstance(scheduler, str | os.PathLike):
        config = read_scheduler_config(Path(scheduler)) or {}
    elif not isinstance(scheduler, Mapping):
        name, config = type(scheduler).__name__, getattr(scheduler, "config", {})
    name = name or str(entry(config, "_class_name", ""))
    return "flow" if is_flow(name, config) else str(entry(config, "prediction_type", "epsilon"))


def _sigmoid(x: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-x))
    return result
