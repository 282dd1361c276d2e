"""Quantizing with the model at hand: its predictions decide what is kept of the calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import refine_nets as nets
from arrow_quant_v2 import (
    ArrowQuantV2,
    ConfigurationError,
    DiffusionQuantConfig,
    QuantizationError,
    load_quantized,
)
from arrow_quant_v2.calibration import collect
from arrow_quant_v2.torch import load_model
from arrow_quant_v2.with_model.gate import Gate, block_of
from arrow_quant_v2.with_model.judgement import Judgement

SHAPE = (12, 128)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nets.save(nets.Blocks(), tmp_path_factory.mktemp("blocks") / "model")


def options(**chosen: Any) -> DiffusionQuantConfig:
    values: dict[str, Any] = {"bit_width": 2, "group_size": 64, "min_accuracy": 0.0}
    return DiffusionQuantConfig(**(values | chosen))


def quantize(folder: Path, out: Path, inputs: Any, **chosen: Any) -> dict[str, Any]:
    result: dict[str, Any] = ArrowQuantV2().quantize_diffusion_model(
        folder, out, options(**chosen), model=nets.Blocks(), inputs=inputs
    )
    return result


def error(path: Path, given: list[dict[str, Any]]) -> float:
    return nets.error_of(nets.Blocks(), load_model(nets.Blocks(), path).eval(), given)


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("made") / "out"
    return out, quantize(folder, out, nets.calls(SHAPE, 8))


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("transformer_blocks.3.attn1.to_q.weight", "transformer_blocks.3"),
        ("model.layers.12.mlp.up_proj.weight", "model.layers.12"),
        ("down_blocks.1.resnets.0.conv1.weight", "down_blocks.1"),
        ("time_embedding.linear_1.weight", "time_embedding.linear_1"),
        ("head.weight", "head"),
    ],
)
def test_a_block_is_a_name_up_to_its_first_number(name: str, block: str) -> None:
    assert block_of(name) == block


def test_the_predictions_of_other_trajectories_gain(
    folder: Path, made: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    ArrowQuantV2().quantize_diffusion_model(folder, tmp_path / "plain", options())
    fresh = nets.calls(SHAPE, 8, seed=77)
    assert error(made[0], fresh) < 0.9 * error(tmp_path / "plain", fresh)


def test_each_step_is_listed_with_both_errors(made: tuple[Path, dict[str, Any]]) -> None:
    steps = made[1]["model_gate"]
    names = [step["step"] for step in steps]
    assert {"leave out compensation", "leave out the calibration data"} <= set(names)
    assert any(name.startswith("correct biases, 1 group") for name in names)
    for step in steps:
        gain = step["error_before"] - step["error_after"]
        assert step["standard_error"] >= 0
        assert gain > 0.01 * step["error_before"] or not step["accepted"]
    errors = [step["error_after"] for step in steps if step["accepted"]]
    assert errors == sorted(errors, reverse=True)


def test_the_result_is_that_of_the_finished_model(made: tuple[Path, dict[str, Any]]) -> None:
    out, result = made
    assert result["quantized_path"] == str(out)
    held_out = [call | {"x": call["x"][[1, 5]]} for call in nets.calls(SHAPE, 8)]
    assert result["refinement"]["error_after"] == pytest.approx(error(out, held_out), rel=1e-4)
    with load_quantized(out) as source:
        stored = {tensor.name: tensor.stored_bytes for tensor in source.values()}
        corrected = [t.name for t in source.values() if t.bias_corrections.size]
    assert {layer["name"]: layer["stored_bytes"] for layer in result["layers"]} == stored
    assert len(corrected) == result["refinement"]["corrected_layers"]
    parts = sum(part.stat().st_size for part in out.glob("*.parquet"))
    assert result["model_size_mb"] == pytest.approx(parts / 1e6)
    groups = result["refinement"]["groups"]
    assert result["time_aware_applied"] == (groups > 1)
    assert result["time_aware_applied"] == (result["time_aware_reason"] == "")
    assert result["calibration"] == "collected from inputs"


def test_only_models_whose_inputs_are_quantized_alike_are_compared(
    folder: Path, tmp_path: Path
) -> None:
    given = nets.calls(SHAPE, 8)
    chosen = {"bit_width": 4, "activation_bits": 8, "activation_mode": "static"}
    result = quantize(folder, tmp_path / "out", given, **chosen)
    assert "leave out the calibration data" not in [s["step"] for s in result["model_gate"]]
    with load_quantized(tmp_path / "out") as source:
        modes = {t.activation.mode for t in source.values() if t.activation is not None}
    assert modes == {"static"}


def test_groups_of_static_ranges_stay_if_predictions_gain_by_them(
    folder: Path, tmp_path: Path
) -> None:
    given = nets.calls(SHAPE, 8, times=tuple(range(960, 0, -60)))
    for call in given[:8]:
        call["x"] *= 20
    chosen = {"bit_width": 4, "activation_bits": 4, "activation_mode": "static"}
    result = quantize(folder, tmp_path / "out", given, **chosen)
    steps = {step["step"]: step for step in result["model_gate"]}
    tried = steps["leave out groups of timesteps"]
    assert tried["error_after"] > tried["error_before"]
    assert not tried["accepted"]
    assert result["time_aware_applied"]


def test_nothing_else_is_left_behind(made: tuple[Path, dict[str, Any]], folder: Path) -> None:
    assert [entry.name for entry in made[0].parent.iterdir()] == ["out"]
    assert {entry.name for entry in folder.iterdir()} == {"model.safetensors"}


def test_inputs_are_those_beside_the_calibration_data(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    collect(nets.Blocks(), nets.calls(SHAPE, 8), out=model / "calibration.parquet")
    result = quantize(model, tmp_path / "out", None)
    assert result["refinement"]["held_out_trajectories"] == 2
    assert "leave out the calibration data" in [step["step"] for step in result["model_gate"]]
    assert result["calibration"] in ("none", str(model / "calibration.parquet"))


class Taste:
    """A judge to whom compensation in the first block is bad, and in the second good."""

    def __init__(self, compensated: Any) -> None:
        self._compensated = [block.down.codes for block in compensated.blocks]

    def judge(self, model: Any) -> Judgement:
        first, second = (
            bool(torch.equal(block.down.codes, codes))
            for block, codes in zip(model.blocks, self._compensated, strict=True)
        )
        error = 1 + 0.2 * first - 0.5 * second
        return Judgement(error, np.full(10, error / 10))


def test_compensation_is_left_out_of_blocks_that_are_better_without(
    folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "calibration.parquet"
    collect(nets.Blocks(), nets.calls(SHAPE, 8), out=data)
    chosen = options(calibration_path=str(data), enable_spatial=False)
    quantizer = ArrowQuantV2()
    quantizer.quantize_diffusion_model(folder, tmp_path / "all", chosen)
    judge: Any = Taste(load_model(nets.Blocks(), tmp_path / "all"))

    def run(path: Path, config: DiffusionQuantConfig, with_data: bool) -> dict[str, Any]:
        return quantizer.quantize_diffusion_model(folder, path, config if with_data else options())

    gate = Gate(nets.Blocks(), judge, run, tmp_path)
    best = gate.best(chosen, can_judge=True)
    accepted = [step["step"] for step in gate.steps if step["accepted"]]
    assert accepted == ["leave compensation out of blocks.0"] * 2
    methods = {layer["name"]: layer["method"] for layer in best.result["layers"]}
    assert "gptq" not in methods["blocks.0.up.weight"] + methods["blocks.0.down.weight"]
    assert "gptq" in methods["blocks.1.down.weight"]


ODD = np.array([1.0, 0.0] * 4)


@pytest.mark.parametrize(
    ("before", "after", "better", "surely"),
    [
        (np.full(8, 1.0), np.full(8, 0.98), True, True),
        (np.full(8, 1.0), np.full(8, 0.995), False, False),  # too little
        (np.full(8, 1.0), np.full(8, 1.1), False, False),
        (0.1 + ODD, 0.9 * (0.1 + ODD), True, True),
        (np.full(8, 1.0), 1.0 - 0.1 * (3 * ODD - 1), True, False),  # it may be chance
        (np.full(2, 1.0), np.array([0.9, 0.7]), True, False),
        (np.full(2, 1.0), np.full(2, 0.95), True, False),  # too little for two
        (np.full(2, 1.0), np.full(2, 0.9), True, True),
        (np.full(1, 1.0), np.full(1, 0.9), True, False),
        (np.full(1, 1.0), np.full(1, 0.5), True, True),
        (np.full(8, np.inf), np.full(8, 0.9), True, True),
        (np.full(8, 1.0), np.full(8, np.nan), False, False),
        (np.full(8, np.inf), np.full(8, np.inf), False, False),
        (np.zeros(0), np.zeros(0), False, False),
    ],
)
def test_an_error_is_lower_by_a_hundredth_and_surely_so_if_trajectories_agree(
    before: Any, after: Any, better: bool, surely: bool
) -> None:
    def judged(parts: Any) -> Judgement:
        return Judgement(float(parts.sum()) if len(parts) else float("nan"), parts)

    assert judged(after).is_better_than(judged(before)) == better
    assert judged(after).is_surely_better_than(judged(before)) == surely


def test_a_finished_output_is_replaced_only_if_asked(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = nets.calls(SHAPE, 4)
    ArrowQuantV2().quantize_diffusion_model(folder, out, options(bit_width=8))
    with pytest.raises(QuantizationError, match="overwrite=True"):
        quantize(folder, out, given)
    assert quantize(folder, out, given, overwrite=True)["bit_width"] == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_run_that_is_stopped_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    def stop(message: str, fraction: float) -> None:
        if "correction" in message:
            raise KeyError(message)

    with pytest.raises(KeyError):
        ArrowQuantV2().quantize_diffusion_model(
            folder,
            tmp_path / "out",
            options(),
            stop,
            model=nets.Blocks(),
            inputs=nets.calls(SHAPE, 4),
        )
    assert list(tmp_path.iterdir()) == []


def test_progress_never_falls(folder: Path, tmp_path: Path) -> None:
    seen: list[float] = []
    ArrowQuantV2().quantize_diffusion_model(
        folder,
        tmp_path / "out",
        options(),
        lambda _, fraction: seen.append(fraction),
        model=nets.Blocks(),
        inputs=nets.calls(SHAPE, 4),
    )
    assert seen == sorted(seen) and seen[-1] == 1


def test_one_trajectory_decides_nothing(folder: Path, tmp_path: Path) -> None:
    result = quantize(folder, tmp_path / "out", nets.calls((64, 128), 1))
    assert result["model_gate"] == []
    assert "held out" in result["refinement"]["reason"]
    assert "held out" in result["time_aware_reason"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inputs": []}, "inputs is given without model"),
        ({"model": nets.Blocks()}, "neither calibration data nor inputs"),
        ({"model": nets.Blocks(), "inputs": []}, "not called once"),
    ],
)
def test_what_is_missing_is_named(
    given: dict[str, Any], message: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ArrowQuantV2().quantize_diffusion_model(folder, tmp_path / "out", options(), **given)
    assert list(tmp_path.iterdir()) == []
