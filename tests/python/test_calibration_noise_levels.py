"""Log-SNR of diffusers' schedulers is that of the samples that they make noisy."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest

from arrow_quant_v2 import ConfigurationError
from arrow_quant_v2.calibration.noise_levels import (
    NoiseLevels,
    noise_levels,
    of_masked_fraction,
    of_sigma,
)

DDPM_LIKE = {
    "DDPM linear": ("DDPMScheduler", {}),
    "DDIM scaled linear": ("DDIMScheduler", {"beta_schedule": "scaled_linear"}),
    "DDIM cosine": ("DDIMScheduler", {"beta_schedule": "squaredcos_cap_v2"}),
    "DPM solver": ("DPMSolverMultistepScheduler", {}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "LCM": ("LCMScheduler", {"num_train_timesteps": 500}),
}


def at(levels: NoiseLevels, *times: float) -> Any:
    values = np.array(times, np.float64)
    return levels.log_snr_of(values)(values)


@pytest.mark.parametrize("case", DDPM_LIKE)
def test_schedulers_with_alphas_give_their_logit(case: str) -> None:
    name, config = DDPM_LIKE[case]
    scheduler = getattr(diffusers, name)(**config)
    levels = noise_levels(scheduler)
    assert levels.schedule == name
    abar = scheduler.alphas_cumprod.double().numpy()
    want = np.log(abar / (1 - abar))[[400, 100, 0]]
    np.testing.assert_allclose(at(levels, 400, 100, 0), want, rtol=1e-5)
    between = at(levels, 100.5)[0]
    assert want[1] > between > at(levels, 101)[0]


@pytest.mark.parametrize("scale", [1, 1000])
def test_flow_matching_has_the_log_snr_of_its_sigma(scale: int) -> None:
    levels = noise_levels(diffusers.FlowMatchEulerDiscreteScheduler())
    got = at(levels, 1.0 * scale, 0.9 * scale, 0.5 * scale, 0.1 * scale, 0)
    want = [-20, 2 * np.log(0.1 / 0.9), 0, 2 * np.log(0.9 / 0.1), 20]
    np.testing.assert_allclose(got, want, atol=1e-9)


def test_a_scheduler_with_flow_sigmas_is_flow_matching() -> None:
    levels = noise_levels(
        diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    )
    assert at(levels, 500.0)[0] == 0


def test_edm_timesteps_are_quarter_logarithms_of_sigma() -> None:
    scheduler = diffusers.EDMEulerScheduler()
    scheduler.set_timesteps(10)
    times = scheduler.timesteps.double().numpy()
    sigma = scheduler.sigmas[:-1].double().numpy()
    np.testing.assert_allclose(at(noise_levels(scheduler), *times), -2 * np.log(sigma), rtol=1e-4)


def test_noise_without_an_end_is_cut_off() -> None:
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True)
    assert at(noise_levels(scheduler), 999)[0] == -20
    np.testing.assert_allclose(of_masked_fraction(np.array([1.0, 0.5, 0.0])), [-20, 0, 20])
    np.testing.assert_allclose(of_sigma(np.array([np.e, 0.0])), [-2, 20])


def test_a_config_and_its_folder_are_as_good_as_the_scheduler(tmp_path: Any) -> None:
    scheduler = diffusers.DDIMScheduler(beta_schedule="squaredcos_cap_v2")
    want = at(noise_levels(scheduler), 700, 20)
    np.testing.assert_array_equal(at(noise_levels(scheduler.config), 700, 20), want)
    flow = diffusers.FlowMatchEulerDiscreteScheduler().config
    assert at(noise_levels(flow), 500.0)[0] == 0
    scheduler.save_pretrained(tmp_path / "model" / "scheduler")
    for folder in (tmp_path / "model", tmp_path / "model" / "scheduler"):
        levels = noise_levels(folder)
        np.testing.assert_array_equal(at(levels, 700, 20), want)
        assert levels.schedule == "DDIMScheduler"


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_beta_schedule_is_that_of_ddpm(schedule: str) -> None:
    diffusers_name = {"linear": "linear", "cosine": "squaredcos_cap_v2"}[schedule]
    scheduler = diffusers.DDPMScheduler(beta_schedule=diffusers_name)
    want = at(noise_levels(scheduler), 990, 500, 1)
    levels = noise_levels(None, schedule)
    np.testing.assert_allclose(at(levels, 990, 500, 1), want, rtol=1e-3)
    assert levels.schedule == f"{schedule} betas over 1000 steps"


def test_timesteps_from_0_to_1_are_parts_of_the_whole() -> None:
    levels = noise_levels(None, "linear")
    np.testing.assert_allclose(at(levels, 1.0, 0.5), at(levels, 999, 499.5))


def test_without_anything_linear_betas_are_assumed_and_said() -> None:
    assert noise_levels().schedule == "assumed: linear betas over 1000 steps"


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        (object(), "the noise levels of object are not known"),
        ({"_class_name": "NoSuchScheduler"}, "'NoSuchScheduler'"),
        ("no/such/folder", "no scheduler_config.json"),
    ],
)
def test_a_scheduler_that_is_not_known_is_an_error(scheduler: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        noise_levels(scheduler)
