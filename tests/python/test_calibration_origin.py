"""Calibration data of another model: what is told, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from arrow_quant_v2 import ArrowQuantV2, ConfigurationError, DiffusionQuantConfig
from arrow_quant_v2.calibration import collect, read
from tiny import write_safetensors

WIDTH = 128


class OneTransformer2DModel(torch.nn.Module):  # type: ignore[misc]
    """Two layers, which two classes have by the same names."""

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.config = config
        self.proj = torch.nn.Linear(WIDTH, WIDTH)
        self.head = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Any, timestep: float) -> Any:
        return self.head(self.proj(x)) * timestep


class OtherTransformer2DModel(OneTransformer2DModel):
    pass


def collected(net: Any, out: Path, component: str = "") -> Path:
    x = torch.randn(8, 16, WIDTH, generator=torch.Generator().manual_seed(1))
    calls = [{"x": x, "timestep": t} for t in (900.0, 500.0, 100.0)]
    collect(net, calls, out=out, keep_inputs=False, component=component)
    return out


def saved(folder: Path, config: dict[str, Any], *layers: str) -> Path:
    folder.mkdir(parents=True)
    net = OneTransformer2DModel()
    tensors = {
        f"{name}.weight": ("F32", getattr(net, name).weight.detach().numpy()) for name in layers
    }
    write_safetensors(folder / "model.safetensors", tensors)
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def warnings_of(model: Path, data: Path, out: Path) -> list[str]:
    config = DiffusionQuantConfig(
        group_size=64, min_accuracy=0.0, calibration_path=str(data), modality="image"
    )
    result = ArrowQuantV2().quantize_diffusion_model(model, out, config)
    warnings: list[str] = result["warnings"]
    assert json.loads((out / "manifest.json").read_text())["warnings"] == warnings
    return warnings


ONE = {"_class_name": "OneTransformer2DModel"}
TEXT = {"architectures": ["OneTransformer2DModel"]}


@pytest.mark.parametrize(
    ("net", "config", "warned"),
    [
        (OneTransformer2DModel, ONE, False),
        (OneTransformer2DModel, {"_class_name": "Transformer2DModel"}, False),  # its former name
        (OneTransformer2DModel, {}, False),
        (OtherTransformer2DModel, ONE, True),
        (OtherTransformer2DModel, TEXT, True),
        (lambda: OtherTransformer2DModel(TEXT), ONE, False),
    ],
)
def test_data_of_another_class_are_told(
    net: Any, config: dict[str, Any], warned: bool, tmp_path: Path
) -> None:
    data = collected(net(), tmp_path / "data.parquet")
    model = saved(tmp_path / "model", config, "proj", "head")
    expected = (
        f"{data}: collected from a model of class OtherTransformer2DModel, and this one's is "
        "OneTransformer2DModel; layers of the same name, 'head.weight' the first, may have other "
        "inputs; collect the calibration data from this very model"
    )
    assert warnings_of(model, data, tmp_path / "out") == ([expected] if warned else [])


@pytest.mark.parametrize(
    ("config", "warned"),
    [
        ({}, True),
        (ONE, True),
        (TEXT, False),  # the head may be tied to the embedding
        (TEXT | {"tie_word_embeddings": False}, True),
    ],
)
def test_layers_that_the_model_lacks_are_told(
    config: dict[str, Any], warned: bool, tmp_path: Path
) -> None:
    data = collected(OneTransformer2DModel(), tmp_path / "data.parquet")
    model = saved(tmp_path / "model", config, "proj")
    expected = (
        f"{data}: 1 of its 2 layers are not in the model; the first is 'head.weight'; collect the "
        "calibration data from this very model"
    )
    assert warnings_of(model, data, tmp_path / "out") == ([expected] if warned else [])


@pytest.mark.parametrize(("component", "refused"), [("transformer", False), ("unet", True)])
def test_data_of_another_component_are_refused(
    component: str, refused: bool, tmp_path: Path
) -> None:
    data = collected(OneTransformer2DModel(), tmp_path / "data.parquet", component)
    saved(tmp_path / "model" / "transformer", ONE, "proj", "head")
    index = {"_class_name": "OnePipeline", "transformer": ["diffusers", "OneTransformer2DModel"]}
    (tmp_path / "model" / "model_index.json").write_text(json.dumps(index))
    if refused:
        with pytest.raises(ConfigurationError, match="they are of component 'unet'"):
            warnings_of(tmp_path / "model", data, tmp_path / "out")
    else:
        assert warnings_of(tmp_path / "model", data, tmp_path / "out") == []


def test_a_class_is_named_as_the_config_of_the_model_has_it(tmp_path: Path) -> None:
    class Config:
        architectures = None

        def __init__(self, *names: str) -> None:
            self.architectures = list(names)

    for config, name in ((None, "OneTransformer2DModel"), (Config("Named"), "Named")):
        data = collected(OneTransformer2DModel(config), tmp_path / f"{name}.parquet")
        assert read(data).metadata["model_class"] == name
