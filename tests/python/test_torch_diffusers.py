"""from_pretrained of diffusers, for directories that we wrote and for all others."""

from __future__ import annotations

import doctest
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import arrow_quant_v2.torch  # diffusers knows of it from now on
from arrow_quant_v2 import (
    ArrowQuantV2,
    ConfigurationError,
    DiffusionQuantConfig,
    MetadataError,
    ModelNotFoundError,
    load_quantized,
)
from arrow_quant_v2.torch import loading, timesteps
from arrow_quant_v2.torch.packed_weight import PackedWeight
from examples.digits_dit import digits_dit

# diffusers decorates some models for CUDA as it is imported, and torch warns where there is none.
pytestmark = pytest.mark.filterwarnings("ignore:CUDA is not available:UserWarning")


def quantize(source: Path, out: Path, bit_width: int, group_size: int = 128) -> Path:
    config = DiffusionQuantConfig(bit_width=bit_width, group_size=group_size, min_accuracy=0)
    ArrowQuantV2().quantize_diffusion_model(source, out, config)
    return out


def dense(model: Any, path: Path) -> Any:
    """Load the dequantized weights into an ordinary model."""
    with load_quantized(path) as source:
        model.load_state_dict({t.name: torch.from_numpy(t.dequantize()) for t in source.values()})
    return model.eval()


def packed(model: Any) -> int:
    return sum(isinstance(module, PackedWeight) for module in model.modules())


@pytest.fixture(scope="module")
def int4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantize(digits_dit.MODEL, tmp_path_factory.mktemp("dit") / "digits-int4", 4)


@pytest.fixture
def dit_class() -> Any:
    from diffusers import DiTTransformer2DModel

    return DiTTransformer2DModel


@pytest.mark.parametrize("bit_width", [2, 4, 8])
def test_a_pipeline_draws_the_pictures_of_the_dequantized_model(
    bit_width: int, tmp_path: Path, dit_class: Any
) -> None:
    from diffusers import AutoencoderKL, DiTPipeline

    autoencoder: Any = AutoencoderKL
    pipeline: Any = DiTPipeline
    path = quantize(digits_dit.MODEL, tmp_path / "out", bit_width)
    torch.manual_seed(0)
    # The digits are drawn in pixels, and the pipeline wants an autoencoder: a small random one. It
    # wants ImageNet's number of classes, too, where it is guided.
    vae = autoencoder(
        in_channels=1, out_channels=1, latent_channels=1, block_out_channels=(8,), norm_num_groups=1
    ).eval()

    def draw(**parts: Any) -> Any:
        pipe = pipeline.from_pretrained(path, vae=vae, **parts)
        pipe.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(3)
        return pipe, pipe(
            [3, 7],
            guidance_scale=1.0,
            num_inference_steps=2,
            output_type="np",
            generator=generator,
        ).images

    pipe, images = draw()
    assert packed(pipe.transformer) == 28  # seven layers in each of four blocks
    reference = dense(dit_class.from_config(dit_class.load_config(path / "transformer")), path)
    _, expected = draw(transformer=reference)
    assert images.shape == (2, 8, 8, 1)
    np.testing.assert_allclose(images, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("subfolder", [True, False])
def test_a_component_loads_by_subfolder_or_by_its_own_path(
    subfolder: bool, int4: Path, dit_class: Any
) -> None:
    model = (
        dit_class.from_pretrained(int4, subfolder="transformer")
        if subfolder
        else dit_class.from_pretrained(str(int4 / "transformer"))
    )
    assert packed(model) > 20
    assert not model.training
    assert model.dtype == torch.float32
    assert model.config.quantization_config.bits == 4
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_the_asked_type_is_that_of_parameters_and_computation(int4: Path, dit_class: Any) -> None:
    model = dit_class.from_pretrained(
        int4, subfolder="transformer", dtype=torch.bfloat16, device_map="cpu"
    )
    assert model.dtype == torch.bfloat16
    output = model(
        torch.randn(1, 1, 8, 8, dtype=torch.bfloat16),
        timestep=torch.tensor([5]),
        class_labels=torch.tensor([1]),
    ).sample
    assert output.dtype == torch.bfloat16
    codes = {buffer.dtype for name, buffer in model.named_buffers() if name.endswith("codes")}
    assert codes == {torch.uint8, torch.int8}
    assert model.to(torch.float32).dtype == torch.float32


def test_what_was_loaded_is_told_where_asked(int4: Path, dit_class: Any) -> None:
    _, info = dit_class.from_pretrained(
        int4, subfolder="transformer", output_loading_info=True, low_cpu_mem_usage=False
    )
    assert all(value == [] for value in info.values())


def test_a_unet_runs_with_quantized_convolutions(tmp_path: Path) -> None:
    from diffusers import UNet2DModel

    unet_class: Any = UNet2DModel
    torch.manual_seed(0)
    unet = unet_class(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
    )
    unet.save_pretrained(tmp_path / "unet")
    path = quantize(tmp_path / "unet", tmp_path / "out", 4, group_size=32)
    model = unet_class.from_pretrained(path)
    kinds = {type(m).__name__ for m in model.modules() if isinstance(m, PackedWeight)}
    assert kinds == {"QuantizedConv2d"}
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([10, 900])
    with torch.no_grad():
        expected = dense(unet, path)(x, t).sample
        torch.testing.assert_close(model(x, t).sample, expected, rtol=0, atol=1e-6)
        assert model.half()(x.half(), t).sample.dtype == torch.float16


def test_a_flux_transformer_runs(tmp_path: Path) -> None:
    from diffusers import FluxTransformer2DModel

    flux_class: Any = FluxTransformer2DModel
    torch.manual_seed(0)
    flux = flux_class(
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(8, 12, 12),
    )
    flux.save_pretrained(tmp_path / "flux")
    path = quantize(tmp_path / "flux", tmp_path / "out", 8, group_size=32)
    model = flux_class.from_pretrained(path)
    assert packed(model) > 10
    inputs = {
        "hidden_states": torch.randn(2, 16, 4),
        "encoder_hidden_states": torch.randn(2, 5, 32),
        "pooled_projections": torch.randn(2, 32),
        "timestep": torch.tensor([0.3, 0.9]),
        "img_ids": torch.zeros(16, 3),
        "txt_ids": torch.zeros(5, 3),
    }
    with torch.no_grad():
        expected = dense(flux, path)(**inputs).sample
        torch.testing.assert_close(model(**inputs).sample, expected, rtol=0, atol=1e-6)


def test_a_diffusers_that_is_too_old_leaves_the_rest_working(tmp_path: Path) -> None:
    (tmp_path / "diffusers").mkdir()
    (tmp_path / "diffusers" / "__init__.py").touch()
    code = (
        f"import logging, sys; sys.path.insert(0, {str(tmp_path)!r}); logging.basicConfig()\n"
        "from arrow_quant_v2.torch import load_model"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pip install -U diffusers" in done.stderr


def test_the_examples_in_docstrings_run(int4: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(int4.parent)
    examples = [
        example
        for module in (arrow_quant_v2.torch, loading, timesteps)
        for example in doctest.DocTestFinder(exclude_empty=True).find(module)
        if example.examples
    ]
    assert len(examples) >= 3
    for example in examples:
        example.globs = {}
        assert doctest.DocTestRunner().run(example).failed == 0


def test_models_that_are_not_ours_load_as_ever(dit_class: Any) -> None:
    model = dit_class.from_pretrained(digits_dit.MODEL, subfolder="transformer")
    assert packed(model) == 0
    assert getattr(model, "hf_quantizer", None) is None


def test_a_name_on_the_hub_is_refused_with_the_remedy() -> None:
    from diffusers.quantizers.auto import DiffusersAutoQuantizer

    quantizer = DiffusersAutoQuantizer.from_config({"quant_method": "arrow_quant", "bits": 4})
    with pytest.raises(ConfigurationError, match="snapshot_download"):
        quantizer.validate_environment(torch_dtype=None, device_map=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device_map": "auto"}, "device_map = 'auto'"),
        ({"use_flashpack": True}, "use_flashpack"),
    ],
)
def test_what_is_not_supported_is_refused(
    options: dict[str, Any], message: str, int4: Path, dit_class: Any
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        dit_class.from_pretrained(int4, subfolder="transformer", **options)


def test_a_loaded_model_is_not_saved_in_another_format(
    int4: Path, tmp_path: Path, dit_class: Any
) -> None:
    model = dit_class.from_pretrained(int4, subfolder="transformer")
    with pytest.raises(ValueError, match="not serializable"):
        model.save_pretrained(tmp_path / "saved")


def test_a_component_without_its_manifest_is_an_error(
    int4: Path, tmp_path: Path, dit_class: Any
) -> None:
    shutil.copytree(int4 / "transformer", tmp_path / "alone")
    with pytest.raises(ModelNotFoundError, match="manifest"):
        dit_class.from_pretrained(tmp_path / "alone")


def test_a_config_of_another_size_is_an_error_that_names_tensors(
    int4: Path, tmp_path: Path, dit_class: Any
) -> None:
    shutil.copytree(int4, tmp_path / "copy")
    file = tmp_path / "copy" / "transformer" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_layers": 3}))
    with pytest.raises(MetadataError, match=r"no tensor transformer_blocks\.3\..* and \d+ more"):
        dit_class.from_pretrained(tmp_path / "copy", subfolder="transformer")
