"""Activation parameters by groups of timesteps: what is chosen, stored and reported."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arrow_quant_v2 import ArrowQuantV2, DiffusionQuantConfig, load_quantized
from arrow_quant_v2.calibration import collect
from folders import digests
from tiny import write_safetensors

WIDTH = 128
TRAJECTORIES = 8
STEPS = tuple(float(t) for t in range(950, 0, -100))
LAYERS = ("to_q.weight", "to_k.weight")


class Net(torch.nn.Module):  # type: ignore[misc]
    """Two layers; the noisier the step, the further out lies the input's first channel."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.to_q = torch.nn.Linear(WIDTH, 128)
        self.to_k = torch.nn.Linear(WIDTH, 128)
        with torch.no_grad():
            self.to_q.weight[:, 0] *= 0.01
            self.to_k.weight[:, 0] *= 0.01

    @staticmethod
    def inputs(t: float, seed: int) -> Any:
        generator = torch.Generator().manual_seed(1000 * seed + int(t))
        x = torch.randn(TRAJECTORIES, 8, WIDTH, generator=generator) * (1 + t / 200)
        x[..., 0] += 60 if t > 500 else 0
        return x

    def forward(self, x: Any, timestep: float) -> Any:
        return self.to_q(x) + self.to_k(x * 0.5)


@pytest.fixture(scope="module")
def net() -> Net:
    return Net().eval()


@pytest.fixture(scope="module")
def model(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("net")
    tensors = {
        name: ("F32", getattr(net, name.split(".")[0]).weight.detach().numpy()) for name in LAYERS
    }
    write_safetensors(folder / "model.safetensors", tensors)
    return folder


@pytest.fixture(scope="module")
def calibration(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "calibration.parquet"
    calls = [{"x": net.inputs(t, seed=1), "timestep": t} for t in STEPS]
    rows = {"rows_per_step": 40, "validation_rows_per_step": 16}
    collect(net, calls, out=out, keep_inputs=False, **rows)
    return out


Quantize = Any


@pytest.fixture
def quantize(model: Path, calibration: Path, tmp_path: Path) -> Quantize:
    def run(name: str = "out", **options: Any) -> dict[str, Any]:
        chosen: dict[str, Any] = {"bit_width": 8, "group_size": 64, "min_accuracy": 0.0}
        chosen |= {"calibration_path": str(calibration), "enable_spatial": False} | options
        config = DiffusionQuantConfig(**chosen)
        result: dict[str, Any] = ArrowQuantV2().quantize_diffusion_model(
            model, tmp_path / name, config
        )
        return result

    return run


def activations(result: dict[str, Any]) -> list[Any]:
    with load_quantized(result["quantized_path"]) as model:
        return [model[name].activation for name in LAYERS]


def groups_of(result: dict[str, Any]) -> Any:
    with load_quantized(result["quantized_path"]) as model:
        return model.time_groups()


def steps_of(result: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [
        step
        for layer in result["layers"]
        for step in layer["activation_steps"]
        if step["name"] == name
    ]


def quantized(x: Any, activation: Any, group: int) -> Any:
    """What a runtime makes of rows, by FORMAT.md."""
    top = 2**activation.bits - 1
    group = group if len(activation.scale) > 1 else 0
    if activation.mode == "static":
        scale, zero = activation.scale[group], activation.zero_point[group]
        return scale * (np.clip(np.round(x / scale) + zero, 0, top) - zero)
    low = activation.clip[group] * np.minimum(x.min(-1, keepdims=True), 0)
    high = activation.clip[group] * np.maximum(x.max(-1, keepdims=True), 0)
    scale = (high - low) / top
    return scale * np.clip(np.round((x - low) / scale), 0, top) + low


def output_error(net: Net, result: dict[str, Any]) -> float:
    """Relative error of to_q's outputs on fresh inputs, mean over the steps."""
    groups, activation = groups_of(result), activations(result)[0]
    weight = net.to_q.weight.detach().numpy()
    errors = []
    for t in STEPS:
        x = net.inputs(t, seed=7).reshape(-1, WIDTH).numpy()
        y = x @ weight.T
        group = groups.group_of(t) if groups else 0
        errors.append(((quantized(x, activation, group) @ weight.T - y) ** 2).sum() / (y**2).sum())
    return float(np.mean(errors))


def test_inputs_are_clipped_where_that_helps_group_by_group(net: Net, quantize: Quantize) -> None:
    result = quantize(activation_bits=4)
    groups = groups_of(result)
    assert 2 <= len(groups) <= 10
    for activation in activations(result):
        assert (activation.bits, activation.mode) == (4, "dynamic")
        assert len(activation.clip) == len(groups)
        assert activation.clip[0] <= 0.65 < activation.clip[-1]
    assert all(step["accepted"] for step in steps_of(result, "clip"))
    assert result["time_aware_applied"]
    plain = quantize("one group", activation_bits=4, enable_time_aware=False)
    assert groups_of(plain) is None
    assert not plain["time_aware_applied"]
    assert output_error(net, result) < 0.9 * output_error(net, plain)


def test_without_clipping_ranges_are_taken_whole_from_each_row(
    net: Net, quantize: Quantize
) -> None:
    plain = quantize("plain", activation_bits=4, enable_activation_clipping=False)
    for activation in activations(plain):
        assert (activation.bits, activation.mode) == (4, "dynamic")
        assert activation.clip.tolist() == [1.0]
    assert not any(layer["activation_steps"] for layer in plain["layers"])
    assert not plain["time_aware_applied"]
    assert plain["time_aware_reason"].startswith("enable_activation_clipping is off")
    clipped = quantize("clipped", activation_bits=4)
    assert output_error(net, clipped) < 0.9 * output_error(net, plain)


def test_static_ranges_are_searched_without_clipping_too(quantize: Quantize) -> None:
    static = {"activation_bits": 4, "activation_mode": "static"}
    with_it, without = (
        quantize(name, **static, enable_activation_clipping=on)
        for name, on in (("with", True), ("without", False))
    )
    assert steps_of(with_it, "static range") == steps_of(without, "static range") != []


def test_eight_bits_take_the_range_of_each_row_as_it_is(quantize: Quantize) -> None:
    result = quantize(activation_bits=8)
    for activation in activations(result):
        assert (activation.bits, activation.clip.tolist()) == (8, [1.0])
    assert not result["time_aware_applied"]
    assert "activations need no parameters" in result["time_aware_reason"]


@pytest.mark.parametrize("bits", [4, 8])
def test_static_ranges_differ_between_groups(bits: int, net: Net, quantize: Quantize) -> None:
    result = quantize(activation_bits=bits, activation_mode="static")
    groups = groups_of(result)
    for activation in activations(result):
        assert (activation.bits, activation.mode) == (bits, "static")
        assert len(activation.scale) == len(groups) >= 2
        assert activation.scale[0] > 1.3 * activation.scale[-1]
        assert ((activation.zero_point >= 0) & (activation.zero_point < 2**bits)).all()
        assert (activation.zero_point == np.round(activation.zero_point)).all()
    plain = quantize("one", activation_bits=bits, activation_mode="static", num_time_groups=1)
    assert output_error(net, result) < 0.9 * output_error(net, plain)


def test_without_activation_bits_groups_are_even_and_inputs_stay_as_they_are(
    quantize: Quantize,
) -> None:
    result = quantize(num_time_groups=3)
    assert len(groups_of(result)) == 3
    assert activations(result) == [None, None]
    assert not result["time_aware_applied"]


def test_the_groups_are_those_of_the_parts_and_of_the_manifest(quantize: Quantize) -> None:
    groups = groups_of(quantize(activation_bits=4, num_time_groups=2))
    assert groups.timesteps == STEPS
    assert len(groups.boundaries_timestep) == 1
    assert 400 < groups.boundaries_timestep[0] < 600
    assert groups.schedule.startswith("assumed: linear")
    assert (groups.interpolation, groups.activation_interpolation) == ("", "")


def test_layers_report_each_step_with_the_errors_before_and_after(quantize: Quantize) -> None:
    result = quantize(
        activation_bits=4,
        activation_mode="static",
        enable_boundary_smoothing=True,
        enable_transition_optimization=True,
    )
    assert result["thermodynamic_applied"]
    for layer in result["layers"]:
        names = [step["name"] for step in layer["activation_steps"]]
        assert names[:3] == ["static range", "ranges of groups", "boundary smoothing"]
        for step in layer["activation_steps"]:
            if step["accepted"] and step["name"] != "boundary smoothing":
                assert step["error_after"] < step["error_before"]
    smooth = {step["accepted"] for step in steps_of(result, "boundary smoothing")}
    assert smooth == {groups_of(result).activation_interpolation != ""}


def test_jumps_are_diagnosed_and_logged_and_change_no_parameter(
    model: Path, calibration: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"activation_bits": 8, "activation_mode": "static", "bit_width": 8}
    options |= {"calibration_path": str(calibration), "min_accuracy": 0.0}
    quantizer = ArrowQuantV2()
    assert quantizer.get_markov_metrics() is None
    plain = quantizer.quantize_diffusion_model(
        model, tmp_path / "plain", DiffusionQuantConfig(**options)
    )
    assert quantizer.get_markov_metrics() is None
    options["enable_markov_validation"] = True
    with caplog.at_level(logging.WARNING, logger="arrow_quant_v2"):
        diagnosed = quantizer.quantize_diffusion_model(
            model, tmp_path / "diagnosed", DiffusionQuantConfig(**options)
        )
    metrics = quantizer.get_markov_metrics()
    assert metrics == diagnosed["markov_validation"]
    assert metrics is not None
    assert 0 <= metrics["score"] < 1
    assert {layer["name"] for layer in metrics["layers"]} == set(LAYERS)
    assert metrics["num_violations"] == len(metrics["violations"]) > 0
    assert {v["cause"] for v in metrics["violations"]} <= {"real", "sampling noise"}
    assert any("smoothness_threshold" in record.message for record in caplog.records)
    for before, after in zip(activations(plain), activations(diagnosed), strict=True):
        assert before.scale.tolist() == after.scale.tolist()
    again = quantizer.quantize_diffusion_model(
        model, tmp_path / "diagnosed", DiffusionQuantConfig(**options)
    )
    assert again["up_to_date"]
    assert again["markov_validation"] == metrics


def test_any_number_of_threads_gives_the_same_bytes(quantize: Quantize, tmp_path: Path) -> None:
    options = {"activation_bits": 4, "activation_mode": "static"}
    options |= {"enable_transition_optimization": True, "enable_markov_validation": True}
    for threads in (1, 3):
        quantize(str(threads), num_threads=threads, **options)
    assert digests(tmp_path / "1") == digests(tmp_path / "3")


def test_only_so_many_trajectories_are_used(quantize: Quantize) -> None:
    options = {"activation_bits": 8, "activation_mode": "static", "num_time_groups": 1}
    all_of_them = activations(quantize("all", **options))[0].scale
    few = activations(quantize("few", calibration_samples=2, **options))[0].scale
    assert few.tolist() != all_of_them.tolist()


def test_what_cannot_take_part_says_why(model: Path, tmp_path: Path, quantize: Quantize) -> None:
    config = DiffusionQuantConfig(
        activation_bits=8, activation_mode="static", enable_markov_validation=True
    )
    result = ArrowQuantV2().quantize_diffusion_model(model, tmp_path / "bare", config)
    assert activations(result) == [None, None]
    assert result["thermodynamic_reason"] == "no calibration data"
    assert any(text.startswith("activation_bits") for text in result["warnings"])
    weights_only = quantize("weights", enable_boundary_smoothing=True)
    assert not weights_only["thermodynamic_applied"]
    assert "activation_bits" in weights_only["thermodynamic_reason"]
