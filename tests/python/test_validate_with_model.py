"""validate_quality with a model: predictions, paths, layers and samples, by plain arithmetic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import refine_nets as nets
from arrow_quant_v2 import ArrowQuantV2, ConfigurationError
from arrow_quant_v2.calibration import collect
from arrow_quant_v2.torch import load_model
from arrow_quant_v2.with_model.path_kl import (
    noise_per_prediction,
    prediction_type,
    step_weights,
    unmasking_weights,
)
from arrow_quant_v2.with_model.validation import disagreements

SHAPE = (6, 128)
ADDED = {
    "noise_prediction_error",
    "noise_prediction_error_per_step",
    "path_kl",
    "path_kl_reason",
    "output_sqnr_db",
    "output_sqnr_groups",
    "disagreements",
    "validated_trajectories",
}
DDPM = {"_class_name": "DDPMScheduler", "beta_schedule": "linear", "num_train_timesteps": 1000}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nets.save(nets.Blocks(), tmp_path_factory.mktemp("blocks") / "model")


@pytest.fixture(scope="module")
def int2(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nets.quantized(folder, tmp_path_factory.mktemp("int2") / "out")


def validated(folder: Path, int2: Path, **options: Any) -> dict[str, Any]:
    chosen = {"model": nets.Blocks(), "inputs": nets.calls(SHAPE)} | options
    result: dict[str, Any] = ArrowQuantV2().validate_quality(folder, int2, **chosen)
    return result


def test_without_a_model_the_result_is_as_ever(folder: Path, int2: Path) -> None:
    plain = ArrowQuantV2().validate_quality(folder, int2)
    assert not ADDED & set(plain)
    with_model = validated(folder, int2)
    assert set(with_model) - set(plain) == ADDED
    assert {key: with_model[key] for key in plain} == plain


def test_errors_of_each_step_are_those_of_plain_arithmetic(folder: Path, int2: Path) -> None:
    result = validated(folder, int2)
    net, other, given = nets.Blocks(), load_model(nets.Blocks(), int2), nets.calls(SHAPE)
    steps = result["noise_prediction_error_per_step"]
    assert [step["timestep"] for step in steps] == list(nets.TIMES)
    for step, kwargs in zip(steps, given, strict=True):
        with torch.no_grad():
            exact, found = (nets.first(m(**kwargs)).double() for m in (net, other))
        mse = float(((found - exact) ** 2).mean())
        assert step["mse"] == pytest.approx(mse, rel=1e-4)
        assert step["relative_error"] == pytest.approx(mse / float((exact**2).mean()), rel=1e-4)
    assert result["noise_prediction_error"] == pytest.approx(nets.error_of(net, other, given), 1e-4)
    assert result["validated_trajectories"] == 8


def test_beside_a_calibration_only_held_out_trajectories_count(
    folder: Path, int2: Path, tmp_path: Path
) -> None:
    data = tmp_path / "calibration.parquet"
    collect(nets.Blocks(), nets.calls(SHAPE), out=data)
    result = validated(folder, int2, inputs=None, calibration=data)
    assert result["validated_trajectories"] == 2
    held_out = [call | {"x": call["x"][[1, 5]]} for call in nets.calls(SHAPE)]
    expected = nets.error_of(nets.Blocks(), load_model(nets.Blocks(), int2), held_out)
    assert result["noise_prediction_error"] == pytest.approx(expected, rel=1e-4)


def test_outputs_of_layers_are_compared_on_the_originals_inputs(folder: Path, int2: Path) -> None:
    result = validated(folder, int2, scheduler=DDPM)
    net, other = nets.Blocks(), load_model(nets.Blocks(), int2)
    assert set(result["output_sqnr_db"]) == {
        f"blocks.{i}.{name}.weight" for i in (0, 1) for name in ("up", "down")
    }
    groups = result["output_sqnr_groups"]
    assert groups[0]["first_timestep"] == 900 and groups[-1]["last_timestep"] == 100
    for group, sqnr in zip(groups, result["output_sqnr_db"]["blocks.1.down.weight"], strict=True):
        error = power = 0.0
        for kwargs in nets.calls(SHAPE):
            if group["first_timestep"] >= kwargs["timestep"] >= group["last_timestep"]:
                seen: list[Any] = []
                hook = net.blocks[1].down.register_forward_hook(lambda *a, s=seen: s.extend(a[1:]))
                with torch.no_grad():
                    net(**kwargs)
                    (inputs,), exact = seen
                    found = other.blocks[1].down(inputs)
                hook.remove()
                error += float(((found - exact) ** 2).sum())
                power += float((exact**2).sum())
        assert sqnr == pytest.approx(10 * np.log10(power / error), abs=1e-3)


def test_the_divergence_of_paths_is_that_of_the_chain_of_gaussians(
    folder: Path, int2: Path
) -> None:
    result = validated(folder, int2, scheduler=DDPM)
    abar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[[900, 700, 500, 300, 100]]
    cleaner = np.append(abar[1:], 1)
    alpha = abar / cleaner
    beta = 1 - alpha
    variance = beta * (1 - cleaner) / (1 - abar)
    variance[-1] = beta[-1]
    weights = beta**2 / (2 * variance * alpha * (1 - abar))
    mse = np.array([step["mse"] for step in result["noise_prediction_error_per_step"]])
    expected = (weights * mse * 6 * 128).sum()
    assert result["path_kl"] == pytest.approx(expected, rel=1e-3)
    flow = validated(folder, int2, scheduler={"_class_name": "FlowMatchEulerDiscreteScheduler"})
    assert flow["path_kl"] > 0
    unknown = validated(folder, int2)
    assert unknown["path_kl"] is None and "pass scheduler=" in unknown["path_kl_reason"]


def test_weights_of_fifty_steps_are_the_published_ones() -> None:
    # Flat over most of the chain, with a spike where it is nearly clean.
    abar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[980::-20]
    weights = step_weights(np.log(abar / (1 - abar)))
    found = weights[[0, 10, 20, 30, 40, 45, 48]]
    assert found == pytest.approx([0.25, 0.19, 0.14, 0.11, 0.15, 0.38, 31], rel=0.15)
    assert weights[-1] == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction", "flow"])
def test_errors_of_other_predictions_are_errors_of_noise(prediction: str) -> None:
    abar = np.array([0.01, 0.5, 0.99])
    sigma = np.sqrt(1 - abar) / (np.sqrt(abar) + np.sqrt(1 - abar))
    signal, noise = np.sqrt(abar), np.sqrt(1 - abar)
    x0, x0_other = 0.3, 0.5
    if prediction == "flow":
        signal, noise = 1 - sigma, sigma
    xt = 0.7
    eps, eps_other = (xt - signal * x0) / noise, (xt - signal * x0_other) / noise
    made = {
        "epsilon": (eps, eps_other),
        "sample": (x0, x0_other),
        "v_prediction": (signal * eps - noise * x0, signal * eps_other - noise * x0_other),
        "flow": (eps - x0, eps_other - x0_other),
    }[prediction]
    expected = ((eps - eps_other) / (made[0] - made[1])) ** 2
    found = noise_per_prediction(prediction, np.log(abar / (1 - abar)))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, "epsilon"),
        ({"prediction_type": "v_prediction"}, "v_prediction"),
        ({"prediction_type": "sample"}, "sample"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "flow"),
        ({"prediction_type": "flow_prediction"}, "flow"),
    ],
)
def test_schedulers_say_what_is_predicted(
    config: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    assert prediction_type(config) == expected
    folder = tmp_path / "pipeline" / "scheduler"
    folder.mkdir(parents=True)
    file = folder / "scheduler_config.json"
    file.write_text(json.dumps(config))
    for path in (file, folder, folder.parent, str(file)):
        assert prediction_type(path) == expected


def test_masked_tokens_are_compared_by_their_distributions(tmp_path: Path) -> None:
    net = nets.MaskedText().eval()
    path = nets.save(net, tmp_path / "model")
    int2 = nets.quantized(path, tmp_path / "int2", modality="text")
    net.config = {"mask_token_id": 64}
    given = nets.token_calls()
    result = ArrowQuantV2().validate_quality(path, int2, model=net, inputs=given)
    other = load_model(nets.MaskedText(), int2)
    divergences = []
    for kwargs in given:
        masked = kwargs["input_ids"] == 64
        with torch.no_grad():
            p, q = (m(**kwargs)["logits"][masked].double().log_softmax(-1) for m in (net, other))
        divergences.append(float((p.exp() * (p - q)).sum(-1).mean()))
    steps = result["noise_prediction_error_per_step"]
    assert [step["token_divergence"] for step in steps] == pytest.approx(divergences, rel=1e-4)
    assert result["token_divergence"] == pytest.approx(np.mean(divergences), rel=1e-4)
    # 40, 30, 20 and 10 tokens are masked; 10 are unmasked at each step.
    assert result["path_kl"] == pytest.approx(10 * np.sum(divergences), rel=1e-4)
    np.testing.assert_allclose(unmasking_weights(np.array([1, 0.5, 0.0])), [0.5, 1, 0])


def test_samples_come_from_the_same_seed(folder: Path, int2: Path) -> None:
    def sampler(model: Any) -> Any:
        x = torch.randn(2, *SHAPE)
        for time in nets.TIMES:
            x = x - 0.1 * model(x, timestep=time)["sample"]
        return x

    net, inputs = nets.Blocks(), nets.calls(SHAPE)
    state = torch.random.get_rng_state()
    result = validated(folder, int2, model=net, inputs=inputs, sampler=sampler)
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.no_grad():
        made = []
        for model in (nets.Blocks(), load_model(nets.Blocks(), int2)):
            torch.manual_seed(0)
            made.append(sampler(model).double())
    spread = float(made[0].max() - made[0].min())
    expected = 10 * np.log10(spread**2 / float((made[1] - made[0]).square().mean()))
    assert result["sample_psnr_db"] == pytest.approx(expected, abs=1e-3)


def test_layers_that_weights_and_outputs_rank_differently_are_named() -> None:
    cosines = {"a": 0.99, "b": 0.98, "c": 0.97, "d": 0.90}
    sqnr = {"a": 10.0, "b": 20.0, "c": 21.0, "d": 30.0}
    first, second = disagreements(cosines, dict(sqnr))
    assert first.startswith("a: by the cosine similarity of its weights, 0.9900")
    assert "best quarter" in first and "10.0 dB, in the worst" in first
    assert second.startswith("d:") and "worst quarter" in second
    assert disagreements(cosines, {"a": 30.0, "b": 20.0, "c": 19.0, "d": 10.0}) == []
    assert disagreements({"a": 0.9}, {"a": 1.0}) == []


def test_a_model_whose_samples_depend_on_each_other_is_compared_as_a_whole(
    folder: Path, int2: Path, tmp_path: Path
) -> None:
    class Mixing(nets.Blocks):
        def forward(self, x: Any, timestep: Any) -> Any:
            return super().forward(x + x.mean(0, keepdim=True), timestep)

    data = tmp_path / "calibration.parquet"
    collect(Mixing(), nets.calls(SHAPE), out=data)
    result = validated(folder, int2, model=Mixing(), inputs=None, calibration=data)
    errors = []
    for kwargs in nets.calls(SHAPE):
        with torch.no_grad():
            exact, found = (
                nets.first(m(**kwargs))[[1, 5]] for m in (Mixing(), load_model(Mixing(), int2))
            )
        errors.append(float(((found - exact) ** 2).sum() / (exact**2).sum()))
    assert result["noise_prediction_error"] == pytest.approx(np.mean(errors), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": None}, "inputs is given without model"),
        ({"model": None, "inputs": None, "scheduler": DDPM}, "scheduler is given without model"),
        ({"inputs": None}, "inputs is not given, and neither is calibration"),
        (
            {"inputs": None, "calibration": "nowhere.parquet"},
            "calibration = 'nowhere.parquet': there is no such file; name one",
        ),
        ({"calibration": "nowhere.parquet"}, "or leave it out, since inputs are given"),
        ({"inputs": ["x"]}, "call 0 in inputs is of type str"),
        ({"model": "path"}, "model is 'path': pass the network itself"),
        ({"sampler": lambda model: None}, "sampler returned None"),
    ],
)
def test_what_does_not_go_together_is_refused(
    options: dict[str, Any], message: str, folder: Path, int2: Path
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        validated(folder, int2, **options)
