"""Layers whose tensors have transforms and quantized activations, against plain formulas."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arrow_quant_v2.torch.activations import quantize_dynamic, quantize_static
from arrow_quant_v2.torch.layers import quantized_layer
from arrow_quant_v2.torch.transforms import hadamard
from handmade import HandmadeTensor, activation, plain_weight, sylvester, with_transforms

TRANSFORMS = [
    "",
    "hadamard",
    "low_rank",
    "input_scale",
    "hadamard low_rank",
    "hadamard input_scale",
    "low_rank input_scale",
    "hadamard low_rank input_scale",
]

# A module of each kind, and an input for it.
LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(96, 40), (2, 5, 96)),
    "linear of one row": (lambda: nn.Linear(96, 40), (96,)),
    "conv1d": (lambda: nn.Conv1d(32, 40, 3, padding="same"), (2, 32, 7)),
    "conv2d": (
        lambda: nn.Conv2d(32, 40, (3, 2), stride=2, padding=1, padding_mode="reflect", bias=False),
        (2, 32, 6, 5),
    ),
    "conv2d in groups": (lambda: nn.Conv2d(64, 40, 3, padding=1, groups=2), (2, 64, 4, 5)),
    "conv2d of one sample": (lambda: nn.Conv2d(32, 40, 1), (32, 4, 5)),
    "conv3d": (lambda: nn.Conv3d(16, 40, (1, 2, 2), dilation=2), (2, 16, 2, 5, 4)),
}


def layer_of(module: nn.Module, tensor: HandmadeTensor) -> Any:
    made: Any = tensor
    return quantized_layer(module, made, None, torch.device("cpu"), torch.float32)


def dense_of(module: nn.Module, tensor: HandmadeTensor) -> nn.Module:
    """The module in double precision with the weight of the format's definition."""
    dense: Any = copy.deepcopy(module).double()
    dense.weight = nn.Parameter(torch.from_numpy(plain_weight(tensor)))
    return dense


@pytest.mark.parametrize("block", [1, 2, 4, 32, 256])
def test_the_butterfly_is_the_product_with_sylvesters_matrix(block: int) -> None:
    x = torch.randn(3, 2, 512)
    matrix = torch.from_numpy(np.kron(np.eye(512 // block), sylvester(block)))
    torch.testing.assert_close(hadamard(x, block), (x.double() @ matrix).float())
    torch.testing.assert_close(hadamard(hadamard(x, block), block), x)


def test_the_butterfly_leaves_its_input_as_it_is_and_has_a_gradient() -> None:
    x = torch.randn(300, 2, 512)  # more values than are transformed at a time
    whole = hadamard(x, 64)
    for part in (x[:1, :1], x[7:8, :, 64:192], x[::3]):
        before = part.clone()
        hadamard(part, 64)
        assert torch.equal(part, before)
    for part in ((slice(7, 8), slice(1), slice(64, 192)), (slice(0, 300, 3),), (slice(0, 0),)):
        assert torch.equal(hadamard(x[part], 64), whole[part])
    given = torch.randn(2, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: hadamard(values, 8), given)


@pytest.mark.parametrize("transforms", TRANSFORMS)
@pytest.mark.parametrize("kind", LAYERS)
def test_a_weight_with_transforms_is_the_one_of_the_format(kind: str, transforms: str) -> None:
    module, x = LAYERS[kind][0](), torch.randn(LAYERS[kind][1])
    tensor = with_transforms(tuple(module.weight.shape), transforms)
    layer, dense = layer_of(module, tensor), dense_of(module, tensor)
    torch.testing.assert_close(layer.dequantize(), dense.weight.float(), rtol=0, atol=2e-6)
    torch.testing.assert_close(layer(x), dense(x.double()).float(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("transforms", TRANSFORMS)
@pytest.mark.parametrize("kind", LAYERS)
def test_quantized_activations_of_many_bits_leave_the_function_as_it_is(
    kind: str, transforms: str
) -> None:
    module, x = LAYERS[kind][0](), torch.randn(LAYERS[kind][1])
    shape = tuple(module.weight.shape)
    # With 20 bits what is left of the quantization is less than float32's rounding of the sums.
    tensor = with_transforms(shape, transforms, activation=activation(20))
    expected = dense_of(module, tensor)(x.double()).float()
    torch.testing.assert_close(layer_of(module, tensor)(x), expected, rtol=0, atol=2e-4)


def plain_dynamic(x: Tensor, bits: int, clip: float) -> Tensor:
    """One range for all of x, in double precision."""
    lo, hi = clip * min(x.min().item(), 0), clip * max(x.max().item(), 0)
    scale = (hi - lo) / (2**bits - 1)
    return lo + scale * torch.round((x.double() - lo) / scale).clamp(0, 2**bits - 1)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_linear_layer_quantizes_each_token_by_its_own_range(bits: int) -> None:
    module, x = nn.Linear(64, 40), torch.randn(2, 3, 64) * torch.tensor([1.0, 5, 20])[:, None]
    clip = activation(bits, clip=np.array([0.8], np.float32))
    tensor = with_transforms((40, 64), "hadamard low_rank input_scale", activation=clip)
    scaled = x.double() / torch.from_numpy(tensor.input_scale)
    rotated = scaled @ torch.from_numpy(sylvester(64))
    codes = torch.stack([plain_dynamic(row, bits, 0.8) for row in rotated.reshape(6, 64)])
    stored = torch.from_numpy(plain_weight(HandmadeTensor((40, 64))))
    assert tensor.low_rank is not None
    u, v = (torch.from_numpy(m).double() for m in tensor.low_rank)
    expected = codes.reshape(2, 3, 64) @ stored.T + scaled @ v.T @ u.T + module.bias
    # A value that lies between two codes may fall to either side in another precision: none does.
    torch.testing.assert_close(layer_of(module, tensor)(x), expected.float(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("transforms", ["", "hadamard"])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_quantizes_each_patch_by_its_own_range(groups: int, transforms: str) -> None:
    module = nn.Conv2d(32, 40, 2, stride=2, padding=1, groups=groups)
    x = torch.randn(3, 32, 5, 5) * torch.tensor([1.0, 5, 20]).view(3, 1, 1, 1)
    shape, cols = tuple(module.weight.shape), module.weight[0].numel()
    tensor = with_transforms(shape, transforms, activation=activation(4))
    stored = torch.from_numpy(plain_weight(HandmadeTensor(shape))).reshape(40, cols)
    block = tensor.hadamard_block or 1
    matrix = torch.from_numpy(np.kron(np.eye(cols // block), sylvester(block)))
    assert module.bias is not None
    patches = F.unfold(x.double(), 2, padding=1, stride=2)  # [3, 32 · 4, 9]
    parts = []
    for of_group, weight in zip(patches.chunk(groups, 1), stored.chunk(groups), strict=True):
        rows = of_group.transpose(1, 2) @ matrix
        codes = [plain_dynamic(row, 4, 1) for row in rows.reshape(-1, cols)]
        parts.append(torch.stack(codes).reshape(rows.shape) @ weight.T)
    expected = (torch.cat(parts, 2) + module.bias).transpose(1, 2).reshape(3, 40, 3, 3)
    torch.testing.assert_close(layer_of(module, tensor)(x), expected.float(), rtol=0, atol=1e-4)


def test_dynamic_ranges_hold_zero_and_survive_constants() -> None:
    x = torch.tensor([[1.0, 2.0], [-3.0, -1.0], [0.0, 0.0], [4.0, 4.0]])
    quantized = quantize_dynamic(x, 8, torch.tensor(1.0))
    torch.testing.assert_close(quantized, x, rtol=0, atol=3 / 255 / 2)
    assert quantized[2].tolist() == [0, 0]


def test_static_ranges_clamp_and_keep_zero() -> None:
    x = torch.tensor([-10.0, -1.0, 0.0, 0.24, 0.26, 100.0])
    quantized = quantize_static(x, 4, torch.tensor(0.5), torch.tensor(2.0))
    assert quantized.tolist() == [-1.0, -1.0, 0.0, 0.0, 0.5, 6.5]


def test_half_precision_inputs_give_half_precision_outputs() -> None:
    tensor = with_transforms((40, 96), "hadamard low_rank input_scale", activation=activation(8))
    module, x = nn.Linear(96, 40), torch.randn(4, 96)
    exact = layer_of(module, tensor)(x)
    half = layer_of(module, tensor).bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0, atol=0.05 * exact.abs().max().item())


def test_cached_weights_serve_quantized_activations_too() -> None:
    tensor = with_transforms((40, 96), "hadamard input_scale", activation=activation(8))
    layer, x = layer_of(nn.Linear(96, 40), tensor), torch.randn(4, 96)
    expected = layer(x)
    layer.cache_weight()
    assert torch.equal(layer(x), expected)
    assert torch.equal(layer(x), expected)


def test_what_transforms_need_moves_and_is_saved_but_never_cast() -> None:
    tensor = with_transforms((40, 96), "hadamard low_rank input_scale", activation=activation(8))
    layer = layer_of(nn.Linear(96, 40), tensor)
    expected = {name: buffer.dtype for name, buffer in layer.state_dict().items()}
    assert expected == {
        "bias": torch.float32,
        "codes": torch.int8,
        "scales": torch.float16,
        "input_scale": torch.float32,
        "low_rank_u": torch.bfloat16,
        "low_rank_v": torch.bfloat16,
        "act_clip": torch.float32,
    }
    expected["bias"] = torch.float16
    assert {name: b.dtype for name, b in layer.half().state_dict().items()} == expected
