"""Models of diffusers with what depends on time, from a quantized directory to their outputs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import arrow_quant_v2.torch  # noqa: F401  # diffusers knows of it from now on
from arrow_quant_v2 import ArrowQuantV2, DiffusionQuantConfig, _core, load_quantized
from arrow_quant_v2.torch import timestep
from arrow_quant_v2.torch.layers import quantized_layer
from arrow_quant_v2.torch.packed_weight import PackedWeight
from examples.digits_dit import digits_dit
from handmade import grid
from test_extras import WEIGHT, transformed

# diffusers decorates some models for CUDA as it is imported, and torch warns where there is none.
pytestmark = pytest.mark.filterwarnings("ignore:CUDA is not available:UserWarning")

LAYER = "transformer_blocks.1.attn1.to_q"
GRID = json.dumps(dataclasses.asdict(grid((725.0, 175.0))))
BIAS = np.stack([np.full(192, value, np.float16) for value in (1, 2, 4)])
INPUTS = {"hidden_states": torch.zeros(3, 1, 8, 8), "class_labels": torch.arange(3)}


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dit") / "int8"
    ArrowQuantV2().quantize_diffusion_model(
        digits_dit.MODEL, path, DiffusionQuantConfig(bit_width=8)
    )
    return path


def load(path: Path) -> Any:
    from diffusers import DiTTransformer2DModel

    model_class: Any = DiTTransformer2DModel
    return model_class.from_pretrained(path, subfolder="transformer")


def output_of_layer(model: Any, **inputs: Any) -> Any:
    """What LAYER gives while the model runs."""
    seen = []
    hook = model.get_submodule(LAYER).register_forward_hook(lambda *a: seen.append(a[2]))
    with torch.no_grad():
        model(**inputs)
    hook.remove()
    return seen[0]


def test_biases_follow_the_timestep_of_the_model(int8: Path, tmp_path: Path) -> None:
    _core.revise_model(int8, tmp_path / "out", "transformer", GRID, {f"{LAYER}.weight": BIAS}, {})
    plain, revised = load(int8), load(tmp_path / "out")
    for t, added in [(torch.tensor([950, 300, 0]), [1, 2, 4]), (torch.tensor([0]), [4, 4, 4])]:
        inputs = INPUTS | {"timestep": t.expand(3)}
        difference = output_of_layer(revised, **inputs) - output_of_layer(plain, **inputs)
        expected = torch.tensor(added, dtype=torch.float32)[:, None, None].expand_as(difference)
        torch.testing.assert_close(difference, expected, rtol=0, atol=1e-5)
    # By hand for all three samples, whatever the model is told.
    inputs = INPUTS | {"timestep": torch.tensor([950, 300, 0])}
    with timestep(300):
        difference = output_of_layer(revised, **inputs) - output_of_layer(plain, **inputs)
    torch.testing.assert_close(difference, torch.full_like(difference, 2), rtol=0, atol=1e-5)


def test_quantized_activations_cost_little_at_eight_bits_and_more_at_four(
    int8: Path, tmp_path: Path
) -> None:
    with load_quantized(int8) as source:
        names = [t.name for t in source.values() if t.quant_type != "none"]
    inputs = INPUTS | {
        "hidden_states": torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1)),
        "timestep": torch.tensor([900, 500, 20]),
    }
    with torch.no_grad():
        exact = load(int8)(**inputs).sample
    errors = {}
    one = np.ones(1, np.float32)
    for bits in (4, 8):
        out = tmp_path / str(bits)
        ranges = (bits, "dynamic", one, one, one)
        _core.revise_model(int8, out, "transformer", None, {}, dict.fromkeys(names, ranges))
        model = load(out)
        layers = [m for m in model.modules() if isinstance(m, PackedWeight)]
        assert {layer.act_bits for layer in layers} == {bits}
        with torch.no_grad():
            error = model(**inputs).sample - exact
        errors[bits] = (error.square().mean() / exact.square().mean()).item()
    # Sixteen times finer steps make an error 256 times smaller in the mean square, or nearly.
    assert 0 < errors[8] < 1e-3
    assert 50 * errors[8] < errors[4] < 0.2


def test_weights_and_corrections_are_those_of_the_files(int8: Path, tmp_path: Path) -> None:
    _core.revise_model(int8, tmp_path / "out", "transformer", GRID, {f"{LAYER}.weight": BIAS}, {})
    model = load(tmp_path / "out")
    with load_quantized(tmp_path / "out") as source:
        for name, module in model.named_modules():
            if isinstance(module, PackedWeight):
                tensor = source[f"{name}.weight"]
                np.testing.assert_array_equal(module.dequantize().numpy(), tensor.dequantize())
                stored = module.bias_corrections
                assert (stored is not None) == (name == LAYER)
                if stored is not None:
                    np.testing.assert_array_equal(stored.numpy(), tensor.bias_corrections)


@pytest.mark.parametrize(
    "transforms", [["hadamard"], ["input_scale"], ["hadamard", "low_rank", "input_scale"]]
)
def test_transforms_are_undone_to_the_same_bits_as_by_the_reader(
    transforms: list[str], tiny_int4: Path
) -> None:
    transformed(tiny_int4, transforms)
    with load_quantized(tiny_int4) as source:
        tensor = source[WEIGHT]
        module = torch.nn.Linear(128, 256)
        layer = quantized_layer(module, tensor, None, torch.device("cpu"), torch.float32)
        np.testing.assert_array_equal(layer.dequantize().numpy(), tensor.dequantize())
