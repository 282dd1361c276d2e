from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from arrow_quant_v2 import ArrowQuantV2, DiffusionQuantConfig
from tiny import tiny_tensors, write_safetensors

# Shells start background jobs with the signal ignored; the tests of Ctrl-C need it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """A directory with one safetensors file and a config."""
    directory = tmp_path / "model"
    directory.mkdir()
    write_safetensors(directory / "model.safetensors", tiny_tensors())
    config = {"architectures": ["DiTTransformer2DModel"], "_class_name": "DiTTransformer2DModel"}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.fixture
def tiny_int4(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model at 4 bits in groups of 64."""
    output = tmp_path / "model-int4"
    config = DiffusionQuantConfig(bit_width=4, group_size=64)
    ArrowQuantV2().quantize_diffusion_model(tiny_model, output, config)
    return output
