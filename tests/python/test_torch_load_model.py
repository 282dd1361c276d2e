"""arrow_quant_v2.torch.load_model, against diffusers' own classes and models made here."""

from __future__ import annotations

import copy
import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from arrow_quant_v2 import (
    ArrowQuantV2,
    ConfigurationError,
    DiffusionQuantConfig,
    MetadataError,
    ModelNotFoundError,
    ShapeMismatchError,
    load_quantized,
)
from arrow_quant_v2.torch import (
    QuantizedConv1d,
    QuantizedConv2d,
    QuantizedConv3d,
    QuantizedLinear,
    cache_weights,
    load_model,
)
from arrow_quant_v2.torch.packed_weight import PackedWeight
from examples.digits_dit import digits_dit

# diffusers decorates some models for CUDA as it is imported, and torch warns where there is none.
pytestmark = pytest.mark.filterwarnings("ignore:CUDA is not available:UserWarning")


class Net(nn.Module):
    """Every layer that can be packed, some of them with a short last group of 32."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.enter = nn.Linear(200, width)
        self.one = nn.Conv1d(width, 136, 3, padding=1)
        self.two = nn.Conv2d(136, 128, 3, stride=2, padding=1, padding_mode="circular")
        self.three = nn.Conv3d(128, 128, (3, 1, 1), groups=2, bias=False)
        self.register_buffer("shift", torch.full((128,), 0.5))

    def forward(self, x: Tensor) -> Tensor:  # [batch, tokens, 200]
        x = self.one(self.enter(x).transpose(1, 2))
        x = self.two(x.unflatten(2, (4, -1))).unsqueeze(2)
        return self.three(x.expand(-1, -1, 3, -1, -1)) + self.shift[:, None, None, None]


def quantized(model: nn.Module, folder: Path, **options: Any) -> Path:
    """Quantize the weights that `model` has; return the directory."""
    source = folder / "source"
    source.mkdir()
    save_file(
        {k: v.detach().clone() for k, v in model.state_dict().items()},
        source / "model.safetensors",
    )
    options = {"group_size": 32, "bit_width": 4, "min_accuracy": 0, "mode": "base"} | options
    ArrowQuantV2().quantize_diffusion_model(source, folder / "out", DiffusionQuantConfig(**options))
    return folder / "out"


def dense(model: nn.Module, path: Path) -> nn.Module:
    """Load the dequantized weights into an ordinary model."""
    with load_quantized(path) as source:
        state = {t.name: torch.from_numpy(t.dequantize()) for t in source.values()}
    model.load_state_dict(state)
    return model.eval()


@functools.cache
def seeded_net() -> Net:
    torch.manual_seed(1)
    return Net().eval()


@pytest.fixture(scope="module", params=[2, 4, 8])
def net_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantized(seeded_net(), tmp_path_factory.mktemp("net"), bit_width=request.param)


@pytest.fixture(scope="module")
def int4_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantized(seeded_net(), tmp_path_factory.mktemp("int4"))


def test_layers_with_packed_weights_compute_what_dense_ones_compute(net_path: Path) -> None:
    packed, reference = load_model(Net(), net_path).eval(), dense(Net(), net_path)
    kinds = [QuantizedLinear, QuantizedConv1d, QuantizedConv2d, QuantizedConv3d]
    assert [type(m) for m in packed.children()] == kinds
    x = torch.randn(2, 16, 200)
    with torch.no_grad():
        assert torch.equal(packed(x), reference(x))


def test_dequantized_weights_have_the_bits_that_load_quantized_gives(net_path: Path) -> None:
    model = load_model(Net(), net_path)
    with load_quantized(net_path) as source:
        for name, module in model.named_children():
            assert isinstance(module, PackedWeight)
            expected = source[f"{name}.weight"].dequantize()
            np.testing.assert_array_equal(module.dequantize().numpy(), expected)
            np.testing.assert_array_equal(module.weight.numpy(), expected)


def test_weights_far_from_one_have_a_scale_of_the_tensor(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(128, 128))
    with torch.no_grad():
        model[0].weight.mul_(1e-6)
    path = quantized(model, tmp_path)
    layer = load_model(nn.Sequential(nn.Linear(128, 128)), path)[0]
    assert layer.tensor_scale.item() < 1
    with load_quantized(path) as source:
        np.testing.assert_array_equal(layer.dequantize().numpy(), source["0.weight"].dequantize())


def test_a_layer_takes_the_bytes_that_the_format_counts(net_path: Path) -> None:
    model = load_model(Net(), net_path)
    with load_quantized(net_path) as source:
        for name, module in model.named_children():
            tensor = source[f"{name}.weight"]
            stored = tensor.codes().nbytes + tensor.scales.nbytes + tensor.offsets.nbytes
            # The column tensor_scale; in a model nearly always 1, and then not held.
            stored += 0 if module.tensor_scale is None else 4
            assert sum(buffer.nbytes for buffer in module.buffers()) == stored
            assert all(parameter.ndim == 1 for parameter in module.parameters())


def test_the_weight_tells_shape_type_and_device_without_decoding(
    int4_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = load_model(Net(), int4_path, dtype=torch.bfloat16).two

    def fail(*_: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(PackedWeight, "_matrix", fail)
    assert layer.weight.shape == (128, 136, 3, 3)
    assert (layer.weight.dtype, layer.weight.device) == (torch.bfloat16, torch.device("cpu"))
    assert layer.weight.ndim == 4
    assert layer.weight.is_floating_point()
    with pytest.raises(AssertionError, match="decoded"):
        layer.weight + 1


def test_the_input_decides_the_type_that_is_computed_in(int4_path: Path) -> None:
    layer, reference = load_model(Net(), int4_path).enter, dense(Net(), int4_path).enter
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        x = torch.randn(3, 200, dtype=dtype)
        assert torch.equal(layer(x), copy.deepcopy(reference).to(dtype)(x))


def test_a_model_without_memory_becomes_whole(int4_path: Path) -> None:
    with torch.device("meta"):
        empty = Net()
    model, x = load_model(empty, int4_path).eval(), torch.randn(1, 16, 200)
    assert model is empty
    assert not any(t.is_meta for t in model.state_dict().values())
    with torch.no_grad():
        assert torch.equal(model(x), load_model(Net(), int4_path).eval()(x))


@pytest.mark.parametrize(
    "cast", [lambda m: m.half(), lambda m: m.to(torch.bfloat16), lambda m: m.double()]
)
def test_casting_a_model_leaves_what_is_stored_in_its_type(
    cast: Callable[[nn.Module], nn.Module], int4_path: Path
) -> None:
    model = load_model(Net(), int4_path)
    before = {k: v.clone() for k, v in model.state_dict().items() if not k.endswith("bias")}
    after = cast(model).state_dict()
    for name, tensor in before.items():
        if name != "shift":
            assert tensor.dtype == after[name].dtype
            assert torch.equal(tensor, after[name])
    assert model.enter.weight.dtype == model.enter.bias.dtype == model.shift.dtype != torch.float32
    assert model.enter(torch.randn(1, 200, dtype=model.shift.dtype)).dtype == model.shift.dtype


def test_the_asked_type_is_that_of_what_is_not_packed(int4_path: Path) -> None:
    model = load_model(Net(), int4_path, dtype=torch.float16, device="cpu")
    assert {p.dtype for p in model.parameters()} == {torch.float16}
    assert model.shift.dtype == torch.float16
    assert model.enter.scales.dtype == torch.float16
    assert model.enter.codes.dtype == torch.uint8


def test_copies_states_and_pickles_compute_the_same(int4_path: Path) -> None:
    model, x = load_model(Net(), int4_path).eval(), torch.randn(1, 16, 200)
    cache_weights(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    restored = torch.load(file, weights_only=False)
    other = quantized_twin(int4_path)
    with torch.no_grad():
        expected = model(x)
        assert not torch.equal(other(x), expected)
        other.load_state_dict(model.state_dict())
        for same in (copy.deepcopy(model), restored, other):
            assert torch.equal(same(x), expected)


def quantized_twin(path: Path) -> nn.Module:
    """Return a model with the same layers and other values."""
    model = load_model(Net(), path).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("codes"):
            buffer.zero_()
    return model


def test_cached_weights_compute_the_same_and_can_be_forgotten(
    int4_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = load_model(Net(), int4_path).eval(), torch.randn(1, 16, 200)
    decoded = []
    matrix = PackedWeight._matrix
    monkeypatch.setattr(PackedWeight, "_matrix", lambda s: (decoded.append(1), matrix(s))[1])
    with torch.no_grad():
        expected = model(x)
        assert len(decoded) == 4
        cache_weights(model, True)
        assert torch.equal(model(x), expected)
        assert torch.equal(model(x), expected)
        assert len(decoded) == 8
        model.double()
        model.float()
        assert torch.equal(model(x), expected)
        assert len(decoded) == 12
        cache_weights(model, False)
        model(x)
        assert len(decoded) == 16


def test_gradients_reach_the_input(int4_path: Path) -> None:
    model = load_model(Net(), int4_path).requires_grad_(False)
    x = torch.randn(2, 200, requires_grad=True)
    model.enter(x).sum().backward()
    assert torch.equal(x.grad[0], model.enter.dequantize().sum(0))


def test_modules_that_share_a_weight_still_do(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(128, 128), nn.Linear(128, 128)
            self.b.weight = self.a.weight
            self.c = self.a
            self.table = nn.Embedding(40, 128)
            self.out = nn.Linear(128, 40, bias=False)
            self.out.weight = self.table.weight

    source = Tied()
    tensors = {k: v for k, v in source.state_dict().items() if k[0] != "c"}
    holder = nn.Module()
    for name in ("a.weight", "a.bias", "b.bias", "table.weight"):
        holder.register_parameter(name.replace(".", "_"), nn.Parameter(tensors[name]))
    (tmp_path / "source").mkdir()
    save_file(
        {n: tensors[n] for n in ("a.weight", "a.bias", "b.bias", "table.weight")},
        tmp_path / "source" / "model.safetensors",
    )
    config = DiffusionQuantConfig(bit_width=8, group_size=32, mode="base")
    ArrowQuantV2().quantize_diffusion_model(tmp_path / "source", tmp_path / "out", config)
    model = load_model(Tied(), tmp_path / "out")
    assert isinstance(model.a, QuantizedLinear)
    assert model.c is model.a
    assert model.b.codes is model.a.codes
    assert model.out.weight is model.table.weight
    assert torch.equal(model.b.bias, source.b.bias)
    assert torch.equal(model.table.weight, source.table.weight)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m: delattr(m, "two"), MetadataError, "Net has no tensor two.bias, two.weight"),
        (lambda m: m.add_module("new", nn.Linear(2, 2)), MetadataError, "no tensor new.weight"),
        (
            lambda m: m.add_module("two", nn.Conv2d(136, 128, 1)),
            ShapeMismatchError,
            r"'two.weight' has the shape \[128, 136, 3, 3\] in .*, and \[128, 136, 1, 1\]",
        ),
    ],
    ids=["lacks", "has more", "shape"],
)
def test_a_model_that_differs_is_told_by_name(
    change: Callable[[nn.Module], None], error: type[Exception], message: str, int4_path: Path
) -> None:
    model = Net()
    change(model)
    with pytest.raises(error, match=message):
        load_model(model, int4_path)
    assert type(model.enter) is nn.Linear  # nothing was changed


def test_what_fits_is_loaded_where_that_is_asked_for(
    int4_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = Net()
    del model.two
    model.new = nn.Linear(2, 2)
    load_model(model, int4_path, strict=False)
    assert isinstance(model.enter, QuantizedLinear)
    assert "has no tensor two.bias, two.weight" in caplog.text
    assert "no tensor new.weight, new.bias" in caplog.text


def test_modules_with_a_forward_of_their_own_get_dense_weights(int4_path: Path) -> None:
    class Doubled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    class Renamed(nn.Linear):
        pass

    model, x = Net(), torch.randn(1, 200)
    expected = dense(Net(), int4_path).enter(x)
    model.enter = Doubled(200, 128)
    load_model(model, int4_path)
    assert type(model.enter) is Doubled
    assert torch.equal(model.enter(x), 2 * expected)
    model = Net()
    model.enter = Renamed(200, 128)
    assert torch.equal(load_model(model, int4_path).enter(x), expected)
    assert isinstance(model.enter, QuantizedLinear)


def test_hooks_and_mode_of_a_replaced_layer_go_on(int4_path: Path) -> None:
    model, seen = Net().eval(), []
    model.enter.register_forward_hook(lambda *_: seen.append(1))
    load_model(model, int4_path)
    model.enter(torch.randn(1, 200))
    assert seen == [1]
    assert not model.enter.training


def test_a_path_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        load_model(Net(), tmp_path)


@pytest.fixture(scope="module")
def dit_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dit") / "digits-int4"
    ArrowQuantV2().quantize_diffusion_model(
        digits_dit.MODEL, path, DiffusionQuantConfig(bit_width=4)
    )
    return path


def empty_dit(device: str = "cpu") -> Any:
    from diffusers import DiTTransformer2DModel

    model_class: Any = DiTTransformer2DModel
    with torch.device(device):
        return model_class.from_config(model_class.load_config(digits_dit.MODEL / "transformer"))


def test_a_transformer_of_diffusers_runs(dit_path: Path) -> None:
    model = load_model(empty_dit(), dit_path, component="transformer").eval()
    assert sum(isinstance(m, QuantizedLinear) for m in model.modules()) > 20
    inputs = {
        "hidden_states": torch.randn(4, 1, 8, 8),
        "timestep": torch.tensor([0, 10, 500, 999]),
        "class_labels": torch.arange(4),
    }
    with torch.no_grad():
        expected = dense(empty_dit(), dit_path)(**inputs).sample
        assert torch.equal(model(**inputs).sample, expected)


def test_buffers_that_a_class_computes_come_back_from_the_meta_device(dit_path: Path) -> None:
    model = load_model(empty_dit("meta"), dit_path, dtype=torch.float16)
    expected = empty_dit().pos_embed.pos_embed
    assert torch.equal(model.pos_embed.pos_embed, expected.half())


def test_buffers_that_nobody_can_compute_are_told_by_name(int4_path: Path) -> None:
    with torch.device("meta"):
        model = Net()
        model.register_buffer("table", torch.zeros(3), persistent=False)
    with pytest.raises(MetadataError, match="table of Net lie on the meta device"):
        load_model(model, int4_path)


def test_a_model_is_loaded_once(int4_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="this Net holds packed weights already"):
        load_model(load_model(Net(), int4_path), int4_path)


def test_another_component_is_refused_with_those_that_are_there(dit_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"component = 'unet': .* has 'transformer'"):
        load_model(empty_dit(), dit_path, component="unet")
