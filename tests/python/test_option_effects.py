"""Every option does what it says: changing it changes the result, or the table says when it would.

The rows of options without effect are those of speed and memory, and those of mechanisms that did
not take part in the run, as its result says.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from arrow_quant_v2 import ArrowQuantError, ArrowQuantV2, DiffusionQuantConfig, load_quantized
from arrow_quant_v2.calibration import collect
from folders import digests
from tiny import Tensor, tiny_tensors, to_bf16, write_safetensors

Outcome = dict[str, Any]
CALIBRATION = "calibration data"  # stands for the path of the file that the fixture makes
MANY_STEPS = "calibration data of many steps"  # the same
RANGES: dict[str, Any] = {
    "calibration_path": MANY_STEPS,
    "activation_bits": 4,
    "activation_mode": "static",
}
VALIDATION = {"enable_markov_validation": True}
SMOOTHING = {"enable_boundary_smoothing": True}
TRANSITIONS = {"enable_transition_optimization": True}


def bits(outcome: Outcome) -> list[int]:
    return [layer["bit_width"] for layer in outcome["layers"]]


def methods(outcome: Outcome) -> list[str]:
    return [layer["method"] for layer in outcome["layers"]]


def trials(outcome: Outcome) -> list[str]:
    return [trial["name"] for layer in outcome["layers"] for trial in layer["trials"]]


def at(key: str) -> Callable[[Outcome], Any]:
    return lambda outcome: outcome.get(key)


def activation_steps(outcome: Outcome) -> list[Any]:
    return [layer["activation_steps"] for layer in outcome["layers"]]


class Row(NamedTuple):
    """`change` on top of `base` changes what `shows` sees of the outcome."""

    change: dict[str, Any]
    shows: Callable[[Outcome], Any]
    base: dict[str, Any] | None = None


OPTIONS_WITH_EFFECT = {
    "bit_width": Row({"bit_width": 8}, bits),
    "modality": Row({"modality": "audio"}, at("modality")),
    "group_size": Row({"group_size": 32}, at("bits_per_weight")),
    "enable_time_aware": Row({"enable_time_aware": False}, at("time_aware_reason")),
    "enable_spatial": Row({"enable_spatial": False}, at("spatial_reason")),
    "min_accuracy": Row({"min_accuracy": 0.9999}, bits),
    "deployment_profile": Row({"deployment_profile": "cloud"}, bits),
    "fail_fast": Row({"fail_fast": True}, at("error"), {"min_accuracy": 0.9999}),
    "enable_transition_optimization": Row(
        {"enable_transition_optimization": True}, at("thermodynamic_reason")
    ),
    "enable_markov_validation": Row({"enable_markov_validation": True}, at("thermodynamic_reason")),
    "enable_boundary_smoothing": Row(
        {"enable_boundary_smoothing": True}, at("thermodynamic_reason")
    ),
    "calibration_path": Row({"calibration_path": CALIBRATION}, methods),
    "compensation": Row({"compensation": "off"}, methods, {"calibration_path": CALIBRATION}),
    "rotation": Row({"rotation": "off"}, trials, {"calibration_path": CALIBRATION, "bit_width": 2}),
    "modules_to_not_compensate": Row(
        {"modules_to_not_compensate": ["to_q"]}, methods, {"calibration_path": CALIBRATION}
    ),
    "activation_bits": Row({"activation_bits": 8}, at("files")),
    "activation_mode": Row({"activation_mode": "static"}, at("warnings")),
    "enable_activation_clipping": Row(
        {"enable_activation_clipping": False},
        at("time_aware_reason"),
        RANGES | {"activation_mode": "dynamic"},
    ),
    "num_time_groups": Row({"num_time_groups": 1}, at("time_groups"), RANGES),
    "calibration_samples": Row({"calibration_samples": 4}, activation_steps, RANGES),
    "smoothness_threshold": Row(
        {"smoothness_threshold": 0.0}, at("markov_validation"), RANGES | VALIDATION
    ),
    "window_size": Row({"window_size": 1}, activation_steps, RANGES | SMOOTHING),
    "interpolation": Row({"interpolation": "cubic"}, activation_steps, RANGES | SMOOTHING),
    "markov_weight": Row({"markov_weight": 50.0}, activation_steps, RANGES | TRANSITIONS),
    "entropy_weight": Row({"entropy_weight": 5.0}, activation_steps, RANGES | TRANSITIONS),
    "learning_rate": Row({"learning_rate": 0.1}, activation_steps, RANGES | TRANSITIONS),
    "max_iterations": Row({"max_iterations": 0}, activation_steps, RANGES | TRANSITIONS),
    "convergence_threshold": Row(
        {"convergence_threshold": 0.9}, activation_steps, RANGES | TRANSITIONS
    ),
    "beta_schedule": Row({"beta_schedule": "cosine"}, at("time_groups"), RANGES),
    "quality": Row({"quality": "high"}, trials, {"calibration_path": CALIBRATION}),
    "mode": Row({"mode": "base"}, bits, {"components": ["transformer"]}),
    "method": Row({"method": "rtn"}, at("cosine_similarity")),
    "error_norm": Row({"error_norm": 2}, at("cosine_similarity")),
    "components": Row({"components": ["vae"]}, at("num_quantized")),
    "modules_to_not_convert": Row({"modules_to_not_convert": ["fc1"]}, bits),
    "modules_to_convert": Row({"modules_to_convert": ["pos_embed"]}, bits),
    "layer_bit_widths": Row({"layer_bit_widths": {r"mlp\.fc\d": 8}}, bits),
    "target_bits_per_weight": Row({"target_bits_per_weight": 8.5}, bits),
    "target_size_mb": Row({"target_size_mb": 1.3}, bits),
    "on_nonfinite": Row({"on_nonfinite": "keep"}, at("error"), {"components": ["broken"]}),
    "variant": Row({"variant": "fp16"}, at("worst_cosine_similarity")),
    "max_part_size_mb": Row({"max_part_size_mb": 1}, at("parts"), {"bit_width": 8}),
    "overwrite": Row({"overwrite": True}, at("error"), {"output": "taken"}),
}

# The same output and the same result: with these on top of the base.
OPTIONS_WITHOUT_EFFECT: dict[str, tuple[Any, dict[str, Any]]] = {
    "num_threads": (3, {}),
    "enable_streaming": (True, {}),
    "max_memory_limit_mb": (2048, {"enable_streaming": True}),
    "log_violations": (False, {"enable_markov_validation": True}),
}


def weights(seed: int) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)

    def weight(rows: int, cols: int) -> Tensor:
        return "BF16", to_bf16(rng.standard_t(4, (rows, cols)).astype(np.float32))

    return {
        "pos_embed.weight": weight(128, 128),
        "blocks.0.attn.to_q.weight": weight(1024, 1024),
        "blocks.0.mlp.fc1.weight": weight(256, 128),
    }


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """Two components, one of them in two variants, and one with a weight that is not finite."""
    root = tmp_path / "pipeline"
    names = ("transformer", "vae", "broken")
    for seed, name in enumerate(names):
        (root / name).mkdir(parents=True)
        write_safetensors(root / name / "diffusion_pytorch_model.safetensors", weights(seed))
    write_safetensors(
        root / "transformer" / "diffusion_pytorch_model.fp16.safetensors", weights(len(names))
    )
    write_safetensors(root / "vae" / "diffusion_pytorch_model.safetensors", tiny_tensors())
    infinite = np.full((128, 128), np.inf, np.float32)
    broken = {"blocks.0.attn.to_q.weight": ("F32", infinite)}
    write_safetensors(root / "broken" / "diffusion_pytorch_model.safetensors", broken)
    index: dict[str, object] = {"_class_name": "DiTPipeline"}
    index |= {"transformer": ["diffusers", "DiTTransformer2DModel"]}
    index |= {"vae": ["diffusers", "AutoencoderKL"], "broken": ["diffusers", "AutoencoderKL"]}
    (root / "model_index.json").write_text(json.dumps(index))
    return root


def calibration_data(folder: Path) -> Path:
    """Of the layer to_q: inputs whose columns lean on each other."""
    block = torch.nn.Module()
    block.attn = torch.nn.Module()
    block.attn.to_q = torch.nn.Linear(1024, 1024, bias=False)
    net = torch.nn.Module()
    net.blocks = torch.nn.ModuleList([block])
    net.forward = lambda x, timestep: block.attn.to_q(x)
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(64, 1024, generator=generator)
    calls = [
        {"x": torch.randn(4, 16, 64, generator=generator) @ mix, "timestep": float(t)}
        for t in (900, 500, 100)
    ]
    path = folder / "calibration.parquet"
    collect(net, calls, out=path, keep_inputs=False, resume=False)
    return path


def data_of_many_steps(folder: Path) -> Path:
    """Of the layer fc1: inputs that spread more at noisier steps."""
    block = torch.nn.Module()
    block.mlp = torch.nn.Module()
    block.mlp.fc1 = torch.nn.Linear(128, 256, bias=False)
    net = torch.nn.Module()
    net.blocks = torch.nn.ModuleList([block])
    net.forward = lambda x, timestep: block.mlp.fc1(x)
    generator = torch.Generator().manual_seed(0)
    calls = [
        {"x": torch.randn(8, 16, 128, generator=generator) * (1 + t / 200), "timestep": float(t)}
        for t in range(950, 0, -100)
    ]
    path = folder / "many-steps.parquet"
    collect(net, calls, out=path, keep_inputs=False, resume=False)
    return path


CALIBRATIONS = {CALIBRATION: calibration_data, MANY_STEPS: data_of_many_steps}


def outcome_of(pipeline: Path, name: str, options: dict[str, Any]) -> Outcome:
    """The result without what no two runs share; {"error": its code} of a run that failed."""
    chosen = dict(options)
    if make_data := CALIBRATIONS.get(chosen.get("calibration_path", "")):
        chosen["calibration_path"] = str(make_data(pipeline.parent))
    output = pipeline.parent / name / chosen.pop("output", "out")
    taken = pipeline.parent / name / "taken"
    taken.mkdir(parents=True)
    (taken / "mine.txt").write_text("mine")
    try:
        result = ArrowQuantV2().quantize_diffusion_model(
            pipeline, output, DiffusionQuantConfig(**chosen)
        )
    except ArrowQuantError as error:
        return {"error": error.code}
    for key in ("quantized_path", "quantization_time_s", "flush_time_s", "peak_memory_mb"):
        del result[key]
    result["parts"] = len(list(output.rglob("*.parquet")))
    result["files"] = digests(output)
    with load_quantized(output) as model:
        names = sorted({tensor.component for tensor in model.values()})
        result["time_groups"] = [repr(model.time_groups(name)) for name in names]
    return result


def test_every_option_is_in_one_of_the_tables() -> None:
    rows = [*OPTIONS_WITH_EFFECT, *OPTIONS_WITHOUT_EFFECT]
    assert sorted(rows) == sorted(DiffusionQuantConfig().to_dict())


@pytest.mark.parametrize("option", OPTIONS_WITH_EFFECT)
def test_changing_an_option_changes_the_result(option: str, pipeline: Path) -> None:
    change, shows, given = OPTIONS_WITH_EFFECT[option]
    base = given or {}
    assert list(change) == [option]
    before = outcome_of(pipeline, "before", base)
    after = outcome_of(pipeline, "after", base | change)
    assert shows(after) != shows(before)


@pytest.mark.parametrize("option", OPTIONS_WITHOUT_EFFECT)
def test_an_option_without_effect_changes_nothing(option: str, pipeline: Path) -> None:
    value, base = OPTIONS_WITHOUT_EFFECT[option]
    assert getattr(DiffusionQuantConfig(**base), option) != value
    before = outcome_of(pipeline, "before", base)
    after = outcome_of(pipeline, "after", base | {option: value})
    assert after == before
    applied = [key for key, value in after.items() if key.endswith("_applied") and value]
    assert applied == []


def test_a_calibration_file_that_is_not_there_is_refused(pipeline: Path) -> None:
    outcome = outcome_of(pipeline, "out", {"calibration_path": "/nowhere/c.parquet"})
    assert outcome == {"error": "Configuration"}
