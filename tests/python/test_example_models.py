"""The example models: they are laid out as their libraries lay them out, and they work.

The reference for the image model is diffusers' own class, for its sampler diffusers' scheduler, and
for the language model the torch module that was trained.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.byte_mdlm import byte_mdlm
from examples.digits_dit import digits_dit
from examples.picture import write_png
from examples.safetensors_numpy import read_folder, read_header

DIT = digits_dit.MODEL
MDLM = byte_mdlm.MODEL
MIB = 1 << 20

# diffusers decorates some models for CUDA as it is imported, and torch warns where there is none.
pytestmark = pytest.mark.filterwarnings("ignore:CUDA is not available:UserWarning")


def block_matrices(headers: Mapping[str, dict[str, Any]], blocks: str) -> dict[str, list[int]]:
    """Return the shapes of the weight matrices within the blocks, class tables aside."""
    return {
        name: entry["shape"]
        for name, entry in headers.items()
        if blocks in name and len(entry["shape"]) == 2 and "embedding_table" not in name
    }


def headers_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the safetensors entries of all shards of a folder."""
    files = sorted(folder.glob("*.safetensors"))
    return {name: entry for file in files for name, entry in read_header(file).items()}


@pytest.fixture(scope="module")
def diffusers_dit() -> Any:
    """The shipped image model, loaded by diffusers, in float32."""
    from diffusers import DiTTransformer2DModel

    model_class: Any = DiTTransformer2DModel
    return model_class.from_pretrained(DIT / "transformer").float().eval()


def test_numpy_reads_the_bf16_weights_as_safetensors_does() -> None:
    from safetensors.torch import load_file

    for folder in (DIT / "transformer", MDLM):
        ours = read_folder(folder)
        theirs = {k: v for file in folder.glob("*.safetensors") for k, v in load_file(file).items()}
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            np.testing.assert_array_equal(ours[name], tensor.float().numpy())


def test_the_image_model_in_numpy_equals_diffusers(diffusers_dit: Any) -> None:
    import torch

    x = digits_dit.fixed_noise(8, seed=3)
    t = np.array([0, 1, 20, 250, 500, 750, 980, 999])
    y = np.array([0, 1, 2, 3, 9, 10, 10, 3])  # 10 is the null class
    with torch.no_grad():
        expected = diffusers_dit(
            torch.tensor(x), timestep=torch.tensor(t), class_labels=torch.tensor(y)
        ).sample.numpy()
    ours = digits_dit.DigitsDiT.load().forward(x, t, y)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


def test_the_numpy_sampler_equals_the_scheduler_of_diffusers(diffusers_dit: Any) -> None:
    import torch
    from diffusers import DDIMScheduler

    labels = np.arange(10)
    scheduler_class: Any = DDIMScheduler
    scheduler = scheduler_class.from_pretrained(DIT / "scheduler")
    scheduler.set_timesteps(10)
    x = torch.tensor(digits_dit.fixed_noise(10))
    y, null = torch.tensor(labels), torch.full((10,), digits_dit.NULL_CLASS)
    with torch.no_grad():
        for t in scheduler.timesteps:
            conditional, free = (
                diffusers_dit(x, timestep=t.expand(10), class_labels=c).sample for c in (y, null)
            )
            x = scheduler.step(free + 1.5 * (conditional - free), t, x).prev_sample
    model = digits_dit.DigitsDiT.load()
    ours = digits_dit.sample(model, labels, digits_dit.fixed_noise(10), steps=10, guidance=1.5)
    # Ten steps pass on the float32 rounding of each forward pass, so a little above 1e-4 at most.
    np.testing.assert_allclose(ours, x.numpy(), rtol=0, atol=1e-3)


def test_a_small_classifier_recognizes_95_percent_of_the_generated_digits() -> None:
    labels = np.arange(100) % 10
    model = digits_dit.DigitsDiT.load()
    images = digits_dit.sample(model, labels, digits_dit.fixed_noise(100), steps=25)
    assert digits_dit.accuracy(images, labels) >= 0.95
    # Recognizable is not enough: a digit must vary as handwriting does, not be one memory. Pixels
    # of one digit deviate by 0.25 to 0.38 among the real images, and by 0 among copies.
    for digit in range(10):
        assert images[labels == digit].std(axis=0).mean() > 0.1


def test_noise_is_not_recognized_as_the_digit_asked_for() -> None:
    # The judge must be able to say no: on noise it can be right one time in ten, by chance.
    labels = np.arange(500) % 10
    assert digits_dit.accuracy(digits_dit.fixed_noise(500), labels) < 0.2


def test_models_can_be_built_from_any_mapping_of_weights() -> None:
    class Lazy(Mapping[str, Any]):
        """A mapping that is no dict, as a quantized model is."""

        def __init__(self, folder: Path) -> None:
            self.tensors = read_folder(folder)

        def __getitem__(self, name: str) -> Any:
            return self.tensors[name].astype(np.float64)

        def __iter__(self) -> Iterator[str]:
            return iter(self.tensors)

        def __len__(self) -> int:
            return len(self.tensors)

    x = digits_dit.fixed_noise(2)
    np.testing.assert_array_equal(
        digits_dit.DigitsDiT(Lazy(DIT / "transformer")).forward(x, 5, [1, 2]),
        digits_dit.DigitsDiT.load().forward(x, 5, [1, 2]),
    )
    tokens = np.arange(64).reshape(2, 32)
    np.testing.assert_array_equal(
        byte_mdlm.ByteMdlm(Lazy(MDLM)).forward(tokens), byte_mdlm.ByteMdlm.load().forward(tokens)
    )


def test_an_image_grid_is_written_as_a_png_that_decodes_to_it(tmp_path: Path) -> None:
    grid = digits_dit.image_grid(digits_dit.fixed_noise(12), columns=5, zoom=2)
    assert grid.shape == (3 * 10 * 2, 5 * 10 * 2)  # 8 pixels and a border of 1 on each side
    write_png(tmp_path / "grid.png", grid)
    data = (tmp_path / "grid.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (100, 60)  # width, height in IHDR
    start = data.index(b"IDAT") + 4
    lines = np.frombuffer(zlib.decompress(data[start:-16]), np.uint8).reshape(60, 101)
    np.testing.assert_array_equal(lines[:, 1:], grid)


def test_the_language_model_in_numpy_equals_the_module_that_was_trained() -> None:
    import torch

    from examples.byte_mdlm.train import ByteMdlm

    module = ByteMdlm()
    module.load_state_dict({k: torch.tensor(v) for k, v in read_folder(MDLM).items()})
    tokens = np.frombuffer(byte_mdlm.HELD_OUT.read_bytes()[:512], np.uint8).astype(np.int64)
    tokens = np.where(np.arange(512) % 3 == 0, 256, tokens).reshape(4, 128)
    with torch.no_grad():
        expected = module(torch.tensor(tokens))[..., :256].numpy()
    ours = byte_mdlm.ByteMdlm.load().forward(tokens)
    # Logits reach about 20, so float32 of another summation order differs by about 1e-5.
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-3)


def test_held_out_text_takes_far_fewer_bits_than_under_a_unigram_model() -> None:
    model = byte_mdlm.ByteMdlm.load()
    # A unigram model fitted to the very text is the best of its kind. A third of the text's windows
    # estimate the bound to about 0.1 bit, and examples/README.md has the figure over all of them.
    bits = byte_mdlm.bits_per_byte(model, windows=128)
    assert bits < 0.6 * byte_mdlm.unigram_bits_per_byte()


def test_two_measurements_of_one_model_share_their_draws() -> None:
    model = byte_mdlm.ByteMdlm.load()
    first, second = (byte_mdlm.bits_per_byte(model, windows=8) for _ in range(2))
    assert first == second
    assert byte_mdlm.bits_per_byte(model, windows=8, seed=1) != first


def test_bits_per_byte_of_a_model_that_knows_nothing_are_eight() -> None:
    blank = {name: np.zeros_like(tensor) for name, tensor in read_folder(MDLM).items()}
    bits = byte_mdlm.bits_per_byte(byte_mdlm.ByteMdlm(blank), windows=8)
    assert bits == pytest.approx(8.0)  # log2 of 256 equally likely bytes


def test_generated_text_keeps_the_prompt_and_fills_every_mask() -> None:
    text = byte_mdlm.generate(byte_mdlm.ByteMdlm.load(), b"def main():\n    ", length=48)
    assert text.startswith(b"def main():\n    ")
    assert len(text) == 48
    readable = sum(32 <= byte < 127 or byte == 10 for byte in text)
    assert readable >= 46  # Python source is ASCII almost throughout


def test_weights_are_bf16_and_at_most_six_mebibytes_each() -> None:
    for folder in (DIT / "transformer", MDLM):
        assert {entry["dtype"] for entry in headers_of(folder).values()} == {"BF16"}
        assert sum(file.stat().st_size for file in folder.glob("*.safetensors")) <= 6 * MIB


def test_models_have_four_blocks_of_linear_layers_with_192_inputs_or_more() -> None:
    for folder, blocks in ((DIT / "transformer", "transformer_blocks."), (MDLM, "model.layers.")):
        matrices = block_matrices(headers_of(folder), blocks)
        assert len({name.split(blocks)[1].split(".")[0] for name in matrices}) >= 4
        assert min(shape[1] for shape in matrices.values()) >= 192


def test_the_image_model_lies_in_the_layout_of_a_diffusers_pipeline() -> None:
    index = json.loads((DIT / "model_index.json").read_text())
    assert index["_class_name"] == "DiTPipeline"
    components = {name: value for name, value in index.items() if isinstance(value, list)}
    assert components == {
        "scheduler": ["diffusers", "DDIMScheduler"],
        "transformer": ["diffusers", "DiTTransformer2DModel"],
    }
    assert (DIT / "scheduler" / "scheduler_config.json").is_file()
    assert (DIT / "transformer" / "diffusion_pytorch_model.safetensors").is_file()
    config = json.loads((DIT / "transformer" / "config.json").read_text())
    assert config["norm_type"] == "ada_norm_zero"


def test_the_language_model_lies_in_three_shards_that_agree_with_their_index() -> None:
    index = json.loads((MDLM / "model.safetensors.index.json").read_text())
    shards = sorted(file.name for file in MDLM.glob("*.safetensors"))
    assert shards == [f"model-{i:05d}-of-00003.safetensors" for i in (1, 2, 3)]
    found = {name: shard for shard in shards for name in read_header(MDLM / shard)}
    assert found == index["weight_map"]
    size = sum(2 * int(np.prod(entry["shape"])) for entry in headers_of(MDLM).values())
    assert index["metadata"]["total_size"] == size
    config = json.loads((MDLM / "config.json").read_text())
    assert config["model_type"] == "llada"
    assert config["mask_token_id"] == 256 < config["vocab_size"]
